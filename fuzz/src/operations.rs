//! Top-k, cross-entropy and the gradients.

use crate::compare::{
    Expected, Outputs, Row, UNTOUCHED, assert_arithmetics_agree, assert_same,
    assert_same_normalizer, assert_untouched, is_same, log_probabilities, probabilities,
};
use crate::input::Input;
use crate::losses::Losses;
use online_softmax::{Backend, Candidate, Error, Outcome, Softmax};
use support::Bounds;

/// The best are those of a full sort, loss and gradients those of `f64` within their bounds;
/// backends of one arithmetic have the same bits, and a target that is no class is refused.
pub fn operations(bytes: &[u8]) -> usize {
    let mut input = Input::new(bytes);
    let k = usize::from(input.byte());
    let target = input.count();
    let patterned = input.pattern(crate::input::LONGEST);
    let row = input.row();
    let upstream = &patterned[..row.len()];
    let k = if k == 0xFF && row.len() < 2500 {
        row.len() + 3
    } else {
        k
    };
    let expected = Expected::new(Row::new(&row));
    let best = sorted(&row, k);
    let losses = Losses::new(&row, k + 3 * target, upstream);
    assert_arithmetics_agree(|softmax, backend| {
        assert_refuses_targets(softmax, &row, row.len() + target);
        let mut outputs = outputs_of_best(softmax, &row, k, &best);
        let (results, _) = probabilities(softmax, &row);
        let gradient = softmax_gradient(softmax, &results, upstream);
        assert_softmax_gradient(backend, &results, upstream, &gradient);
        outputs.add("softmax_gradient", gradient);
        let (results, _) = log_probabilities(softmax, &row);
        let gradient = log_softmax_gradient(softmax, &results, upstream);
        assert_log_softmax_gradient(backend, &results, upstream, &gradient);
        outputs.add("log_softmax_gradient", gradient);
        // Of values that are no probabilities the bits are the same, too.
        let gradient = softmax_gradient(softmax, &row, upstream);
        outputs.add("softmax_gradient of logits", gradient);
        let gradient = log_softmax_gradient(softmax, &row, upstream);
        outputs.add("log_softmax_gradient of logits", gradient);

        outputs.append(losses.outputs(softmax, backend));

        if let Some(target) = target.checked_rem(row.len()) {
            let loss = softmax.cross_entropy(&row, target).unwrap();
            expected.assert_loss(backend, target, loss);
            let (again, gradient) = loss_and_gradient(softmax, &row, target).unwrap();
            assert!(is_same(again, loss), "{backend:?}: {again:e} and {loss:e}");
            expected.assert_loss_gradient(backend, target, &gradient);
            outputs.add("cross_entropy", vec![loss]);
            outputs.add("cross_entropy_gradient", gradient);
        }
        outputs
    });
    row.len()
}

/// The indices of the `k` best by a full sort; NaN is none of them.
pub(crate) fn sorted(row: &[f32], k: usize) -> Vec<usize> {
    let mut indices: Vec<usize> = (0..row.len()).filter(|i| !row[*i].is_nan()).collect();
    // Stable: of equal ones the first is first.
    indices.sort_by(|a, b| row[*b].partial_cmp(&row[*a]).unwrap());
    indices.truncate(k);
    indices
}

/// The results of top-k, which are at the places that are `expected`.
pub(crate) fn outputs_of_best(
    softmax: Softmax,
    row: &[f32],
    k: usize,
    expected: &[usize],
) -> Outputs {
    let mut places = vec![Candidate::default(); k];
    let (normalizer, best) = softmax.top_k(row, &mut places).unwrap();
    let indices: Vec<usize> = best.iter().map(|candidate| candidate.index).collect();
    assert_eq!(indices, expected, "{k} best, {softmax:?}");
    let what = format_args!("normalizer and that of top_k, {softmax:?}");
    assert_same_normalizer(normalizer, softmax.normalizer(row).unwrap(), what);
    let values = |of: fn(&Candidate) -> f32| best.iter().map(of).collect();
    let mut outputs = Outputs::default();
    outputs.add("best logits", values(|candidate| candidate.logit));
    outputs.add("best", values(|candidate| candidate.probability));
    outputs.add_normalizer("top_k", normalizer);
    if normalizer.outcome() != Outcome::FullyMasked {
        let probabilities: Vec<f32> = best
            .iter()
            .map(|candidate| normalizer.probability(candidate.logit))
            .collect();
        let what = format_args!("probabilities of the best, {softmax:?}");
        assert_same(outputs.get("best"), &probabilities, what);
    }
    outputs
}

/// The loss and its gradient; in place they are the same.
pub(crate) fn loss_and_gradient(
    softmax: Softmax,
    row: &[f32],
    target: usize,
) -> Result<(f32, Vec<f32>), Error> {
    let mut apart = vec![UNTOUCHED; row.len()];
    let mut in_place = row.to_vec();
    let loss = softmax.cross_entropy_gradient(row, target, &mut apart);
    let again = softmax.cross_entropy_gradient_in_place(&mut in_place, target);
    let what = format_args!("gradient in place and apart, {softmax:?}");
    match (loss, again) {
        (Ok(loss), Ok(again)) => {
            assert_same(&[again], &[loss], what);
            assert_same(&in_place, &apart, what);
            Ok((loss, apart))
        }
        (loss, again) => {
            assert_eq!(loss.unwrap_err(), again.unwrap_err(), "{what}");
            assert_untouched(&apart);
            assert_same(&in_place, row, what);
            loss.map(|loss| (loss, apart))
        }
    }
}

fn assert_refuses_targets(softmax: Softmax, row: &[f32], target: usize) {
    let columns = row.len();
    let error = Error::TargetOutOfRange { columns, target };
    assert_eq!(softmax.cross_entropy(row, target), Err(error));
    assert_eq!(loss_and_gradient(softmax, row, target), Err(error));
}

fn softmax_gradient(softmax: Softmax, results: &[f32], upstream: &[f32]) -> Vec<f32> {
    let mut gradient = vec![UNTOUCHED; results.len()];
    softmax
        .softmax_gradient(results, upstream, &mut gradient)
        .unwrap();
    let mut in_place = upstream.to_vec();
    softmax
        .softmax_gradient_in_place(results, &mut in_place)
        .unwrap();
    assert_same(&in_place, &gradient, format_args!("in place, {softmax:?}"));
    gradient
}

fn log_softmax_gradient(softmax: Softmax, results: &[f32], upstream: &[f32]) -> Vec<f32> {
    let mut gradient = vec![UNTOUCHED; results.len()];
    softmax
        .log_softmax_gradient(results, upstream, &mut gradient)
        .unwrap();
    let mut in_place = upstream.to_vec();
    softmax
        .log_softmax_gradient_in_place(results, &mut in_place)
        .unwrap();
    assert_same(&in_place, &gradient, format_args!("in place, {softmax:?}"));
    gradient
}

/// Gradients beyond this may overflow.
const LARGEST: f64 = 3.4e38;

/// p_i · (g_i − Σ p g), the difference to 2^−23 · Σ |p g|, and three roundings of it and of the
/// result. All NaN if a value is.
fn assert_softmax_gradient(backend: Backend, results: &[f32], upstream: &[f32], gradient: &[f32]) {
    if results.iter().chain(upstream).any(|value| value.is_nan()) {
        assert!(gradient.iter().all(|value| value.is_nan()), "{backend:?}");
        return;
    }
    let products = || {
        let pairs = results.iter().zip(upstream);
        pairs.map(|(p, g)| f64::from(*p) * f64::from(*g))
    };
    let sum: f64 = products().sum();
    let size: f64 = products().map(f64::abs).sum();
    if upstream.iter().any(|g| g.is_infinite()) {
        return;
    }
    for (i, (p, g)) in results.iter().zip(upstream).enumerate() {
        let difference = f64::from(*g) - sum;
        let truth = f64::from(*p) * difference;
        let bound = size * 2_f64.powi(-23) + difference.abs() * 3.0 * 2_f64.powi(-24);
        let error = (f64::from(gradient[i]) - truth).abs();
        assert!(
            error <= f64::from(*p) * bound + Bounds::SMALL,
            "{backend:?}: softmax_gradient [{i}] = {:e} for {truth:e}",
            gradient[i]
        );
    }
}

/// g_i − e^(l_i) · Σ g, to 2^−22 · |e^(l_i) · Σ g| and the rounding of the result. All NaN if an
/// upstream value is.
fn assert_log_softmax_gradient(
    backend: Backend,
    results: &[f32],
    upstream: &[f32],
    gradient: &[f32],
) {
    if upstream.iter().any(|value| value.is_nan()) {
        assert!(gradient.iter().all(|value| value.is_nan()), "{backend:?}");
        return;
    }
    let size: f64 = upstream.iter().map(|g| f64::from(*g).abs()).sum();
    if upstream.iter().any(|g| g.is_infinite()) {
        return;
    }
    let sum: f64 = upstream.iter().map(|g| f64::from(*g)).sum();
    // What `f64` may lose, here and there.
    let lost = size * upstream.len() as f64 * 2_f64.powi(-52);
    for (i, (l, g)) in results.iter().zip(upstream).enumerate() {
        let probability = f64::from(*l).exp();
        let subtracted = probability * sum;
        let truth = f64::from(*g) - subtracted;
        // Of an exponential below 2^−126 an ULP is more than its part.
        let of_exponential = (probability * 2_f64.powi(-22)).max(2_f64.powi(-148)) * sum.abs();
        let bound = of_exponential + probability * lost + truth.abs() * 2_f64.powi(-24);
        if truth.abs() > LARGEST {
            continue;
        }
        let error = (f64::from(gradient[i]) - truth).abs();
        assert!(
            l.is_nan() && gradient[i].is_nan() || error <= bound + Bounds::SMALL,
            "{backend:?}: log_softmax_gradient [{i}] = {:e} for {truth:e}",
            gradient[i]
        );
    }
}

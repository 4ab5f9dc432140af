//! The specification of a row's results, special values included: every form of the crate's
//! functions held against it.

use crate::oracle::Truth;
use crate::{Bounds, bits, bits_of, bits_of_parts, ulp};
use online_softmax::{Backend, Normalizer, Outcome, Softmax, Stream};

/// What was computed of a row.
pub struct Results {
    pub softmax: Vec<f32>,
    pub log_softmax: Vec<f32>,
    pub log_sum_exp: f32,
    pub normalizer: Normalizer,
}

/// The outcome by definition.
pub fn expected_outcome(row: &[f32]) -> Outcome {
    if row.is_empty() {
        Outcome::Empty
    } else if row.iter().any(|logit| logit.is_nan()) {
        Outcome::NaN
    } else if row.contains(&f32::INFINITY) {
        Outcome::PositiveInfinity
    } else if row.iter().all(|logit| *logit == f32::NEG_INFINITY) {
        Outcome::FullyMasked
    } else {
        Outcome::Finite
    }
}

macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        let holds: bool = $condition;
        if !holds {
            return Err(format!($($message)+));
        }
    };
}

/// Computes a row in all forms, which must agree with one another, and holds the results against
/// the table of special values and the accuracy bounds.
pub fn verify(backend: Backend, row: &[f32]) -> Result<Results, String> {
    let name = backend.name();
    let truth = (expected_outcome(row) == Outcome::Finite).then(|| Truth::of(row));
    let results = compute(backend, row, truth).map_err(|error| format!("{name}: {error}"))?;
    hold(backend, row, truth, &results).map_err(|error| format!("{name}: {error}"))?;
    Ok(results)
}

fn hold(
    backend: Backend,
    row: &[f32],
    truth: Option<Truth>,
    results: &Results,
) -> Result<(), String> {
    let outcome = expected_outcome(row);
    let normalizer = results.normalizer;
    ensure!(
        normalizer.outcome() == outcome,
        "expected {outcome:?}: {normalizer:?}"
    );
    let (max, log_sum_exp) = match outcome {
        Outcome::Finite => {
            hold_finite(backend, row, &truth.unwrap(), results)?;
            let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            (max, results.log_sum_exp)
        }
        Outcome::Empty | Outcome::FullyMasked => (f32::NEG_INFINITY, f32::NEG_INFINITY),
        Outcome::PositiveInfinity => (f32::INFINITY, f32::INFINITY),
        Outcome::NaN => (f32::NAN, f32::NAN),
    };
    ensure!(
        max == normalizer.max() || max.is_nan() && normalizer.max().is_nan(),
        "expected the maximum {max}: {normalizer:?}"
    );
    ensure!(
        bits(results.log_sum_exp) == bits(log_sum_exp),
        "expected the log-sum-exp {log_sum_exp}, not {}",
        results.log_sum_exp
    );
    if outcome != Outcome::Finite {
        let all = results.softmax.iter().chain(&results.log_softmax);
        for (index, value) in all.enumerate() {
            ensure!(value.is_nan(), "result {index} is {value} and not NaN");
        }
        let denominator = normalizer.denominator();
        let is_right = match outcome {
            Outcome::Empty | Outcome::FullyMasked => bits(denominator) == 0,
            _ => denominator.is_nan(),
        };
        ensure!(is_right, "the denominator is {denominator}: {normalizer:?}");
        let read_out = [normalizer.probability(0.0), normalizer.log_probability(0.0)];
        ensure!(
            read_out.iter().all(|value| value.is_nan()),
            "the normalizer gives {read_out:?} and not NaN: {normalizer:?}"
        );
    }
    Ok(())
}

fn hold_finite(
    backend: Backend,
    row: &[f32],
    truth: &Truth,
    results: &Results,
) -> Result<(), String> {
    let bounds = Bounds::of(backend);
    let error = ulp::error_above_one(results.log_sum_exp, truth.log_sum_exp());
    ensure!(
        error <= bounds.log_sum_exp,
        "log-sum-exp {:e}, {error} ULP from {:e}",
        results.log_sum_exp,
        truth.log_sum_exp()
    );
    let error = ulp::error(results.normalizer.denominator(), truth.denominator());
    ensure!(
        error <= 1.0,
        "the denominator is {error} ULP from {:e}: {:?}",
        truth.denominator(),
        results.normalizer
    );
    let outputs = results.softmax.iter().zip(&results.log_softmax);
    for (index, (logit, (p, log_p))) in row.iter().zip(outputs).enumerate() {
        if *logit == f32::NEG_INFINITY {
            ensure!(
                bits(*p) == 0 && *log_p == f32::NEG_INFINITY,
                "a masked logit, {index}, has {p:e} and {log_p:e}"
            );
            continue;
        }
        let true_p = truth.probability(*logit);
        if true_p < Bounds::SMALL {
            let error = (f64::from(*p) - true_p).abs();
            ensure!(
                error <= Bounds::SMALL,
                "probability {index}, of {logit:e}, is {p:e} and not {true_p:e}"
            );
        } else {
            let error = ulp::error(*p, true_p);
            ensure!(
                error <= bounds.softmax,
                "probability {index}, of {logit:e}, is {p:e}, {error} ULP from {true_p:e}"
            );
        }
        ensure!(
            *p >= 0.0 && p.is_sign_positive(),
            "probability {index}, of {logit:e}, is {p:e}"
        );
        let true_log_p = truth.log_probability(*logit);
        let error = ulp::error(*log_p, true_log_p);
        ensure!(
            error <= bounds.log_softmax && *log_p <= 0.0,
            "log-probability {index}, of {logit:e}, is {log_p:e}, {error} ULP from {true_log_p:e}"
        );
    }
    Ok(())
}

/// The results of a row, after a check that all forms of a function give the same.
fn compute(backend: Backend, row: &[f32], truth: Option<Truth>) -> Result<Results, String> {
    let softmax = Softmax::new().backend(backend).map_err(text)?;
    let normalizer = softmax.normalizer(row).map_err(text)?;

    let mut probabilities = vec![7.0; row.len()];
    let of_row = softmax.row(row, &mut probabilities).map_err(text)?;
    let mut in_place = row.to_vec();
    let of_row_in_place = softmax.row_in_place(&mut in_place).map_err(text)?;
    ensure!(
        bits_of(&in_place) == bits_of(&probabilities)
            && bits_of_parts(of_row_in_place) == bits_of_parts(of_row),
        "row_in_place differs from row"
    );

    let mut log_probabilities = vec![7.0; row.len()];
    let of_log_row = softmax.log_row(row, &mut log_probabilities).map_err(text)?;
    in_place.copy_from_slice(row);
    let of_log_row_in_place = softmax.log_row_in_place(&mut in_place).map_err(text)?;
    ensure!(
        bits_of(&in_place) == bits_of(&log_probabilities)
            && bits_of_parts(of_log_row_in_place) == bits_of_parts(of_log_row),
        "log_row_in_place differs from log_row"
    );

    let log_sum_exp = softmax.log_sum_exp(row).map_err(text)?;
    let of_normalizer = normalizer.log_sum_exp();
    // Both are within their bound of the truth. They need not have the same bits.
    ensure!(
        bits(log_sum_exp) == bits(of_normalizer)
            || log_sum_exp.is_finite()
                && ulp::error_above_one(log_sum_exp, f64::from(of_normalizer)) <= 1.0,
        "log_sum_exp differs from that of the normalizer: {log_sum_exp}, {of_normalizer}"
    );

    for chunk in [1, 7, 64, 1000] {
        if chunk > 1 || row.len() <= 1000 {
            let mut stream = Stream::new().backend(backend).map_err(text)?;
            for logits in row.chunks(chunk) {
                stream.extend(logits);
            }
            let streamed = stream.finish();
            ensure!(
                bits_of_parts(streamed) == bits_of_parts(normalizer),
                "in chunks of {chunk} {streamed:?}, whole {normalizer:?}"
            );
        }
    }

    let pushed: Normalizer = row.iter().copied().collect();
    let (first, second) = row.split_at(row.len() / 2);
    let first = softmax.normalizer(first).map_err(text)?;
    let second = softmax.normalizer(second).map_err(text)?;
    for (other, form) in [
        (of_row, "of row"),
        (of_log_row, "of log_row"),
        (pushed, "pushed"),
        (first.merge(second), "merged"),
    ] {
        let both = format!("{form}: {other:?}, normalizer: {normalizer:?}");
        ensure!(other.outcome() == normalizer.outcome(), "{both}");
        ensure!(
            other.max() == normalizer.max() || other.max().is_nan() && normalizer.max().is_nan(),
            "{both}"
        );
        let is_near = match truth {
            Some(truth) => {
                ulp::error_above_one(other.log_sum_exp(), truth.log_sum_exp()) <= 1.0
                    && ulp::error(other.denominator(), truth.denominator()) <= 1.0
                    && ulp::error(
                        other.log_probability(other.max()),
                        truth.log_probability(other.max()),
                    ) <= 2.0
            }
            None => bits(other.log_sum_exp()) == bits(log_sum_exp),
        };
        ensure!(is_near, "{both}");
    }

    Ok(Results {
        softmax: probabilities,
        log_softmax: log_probabilities,
        log_sum_exp,
        normalizer,
    })
}

fn text(error: online_softmax::Error) -> String {
    error.to_string()
}

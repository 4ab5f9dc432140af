//! The cross-entropy of matrices, on every backend, against `f64` and against PyTorch.

use online_softmax::{Backend, CrossEntropy, Error, FullyMasked, Mask, Softmax};
use support::loss::{LossOfRow, LossSetting, Targets};
use support::options::Setting;
use support::rows::Random;
use support::{Bounds, THOROUGH, backends, bits_of, is_fused, on, setting, ulp};

support::on_every_backend!(
    losses_are_those_of_pytorch,
    losses_are_those_of_f64,
    losses_with_options_are_those_of_f64,
    losses_of_confident_rows,
    a_row_has_the_bits_of_its_matrix,
    means_of_many_rows,
    special_values,
    masked_classes,
    large_logits,
    upstream_is_a_factor,
    errors_write_nothing,
);

fn cross_entropy<'a>(softmax: Softmax<'a>, setting: &'a LossSetting) -> CrossEntropy<'a> {
    let mut loss = CrossEntropy::new()
        .softmax(softmax)
        .label_smoothing(setting.label_smoothing);
    if let Some(weights) = &setting.class_weights {
        loss = loss.class_weights(weights);
    }
    if let Some(ignored) = setting.ignored {
        loss = loss.ignore(ignored);
    }
    loss
}

/// All that is computed of a matrix.
struct Results {
    losses: Vec<f32>,
    sum: f32,
    mean: f32,
    gradient: Vec<f32>,
    by_row: Vec<f32>,
}

/// The results, after a check that the forms in place have the same bits.
fn results(
    loss: &CrossEntropy,
    logits: &[f32],
    columns: usize,
    targets: &Targets,
    upstream: &[f32],
) -> Result<Results, Error> {
    let mut losses = vec![7.0; upstream.len()];
    let mut gradient = vec![7.0; logits.len()];
    let mut by_row = gradient.clone();
    let mut in_place = logits.to_vec();
    let mut by_row_in_place = logits.to_vec();
    let (sum, mean, again, in_place_again);
    match targets {
        Targets::Classes(targets) => {
            loss.rows(logits, columns, targets, &mut losses)?;
            sum = loss.sum(logits, columns, targets)?;
            mean = loss.mean(logits, columns, targets)?;
            again = loss.gradient(logits, columns, targets, &mut gradient)?;
            in_place_again = loss.gradient_in_place(&mut in_place, columns, targets)?;
            loss.gradient_rows(logits, columns, targets, upstream, &mut by_row)?;
            loss.gradient_rows_in_place(&mut by_row_in_place, columns, targets, upstream)?;
        }
        Targets::Distributions(targets) => {
            loss.soft_rows(logits, columns, targets, &mut losses)?;
            sum = loss.soft_sum(logits, columns, targets)?;
            mean = loss.soft_mean(logits, columns, targets)?;
            again = loss.soft_gradient(logits, columns, targets, &mut gradient)?;
            in_place_again = loss.soft_gradient_in_place(&mut in_place, columns, targets)?;
            loss.soft_gradient_rows(logits, columns, targets, upstream, &mut by_row)?;
            loss.soft_gradient_rows_in_place(&mut by_row_in_place, columns, targets, upstream)?;
        }
    }
    assert_eq!(bits_of(&[again, in_place_again]), bits_of(&[mean, mean]));
    assert_eq!(bits_of(&in_place), bits_of(&gradient));
    assert_eq!(bits_of(&by_row_in_place), bits_of(&by_row));
    Ok(Results {
        losses,
        sum,
        mean,
        gradient,
        by_row,
    })
}

/// The documented bounds of losses, in ULP.
fn bound(backend: Backend, setting: &LossSetting, targets: &Targets) -> f64 {
    let is_plain = setting.label_smoothing == 0.0
        && setting.class_weights.is_none()
        && matches!(targets, Targets::Classes(_));
    Bounds::of(backend).log_softmax + if is_plain { 0.0 } else { 2.0 }
}

/// The largest errors in ULP, of gradients in 2^−23 of the larger of their terms.
#[derive(Clone, Copy, Debug, Default)]
struct Worst {
    loss: f64,
    of_rows: f64,
    gradient: f64,
}

/// Compares results with the truth of each row. `scale` is that of the logits.
fn check(
    results: &Results,
    truths: &[LossOfRow],
    upstream: &[f32],
    scale: f64,
    bound: f64,
    worst: &mut Worst,
) {
    for (loss, truth) in results.losses.iter().zip(truths) {
        let error = ulp::error(*loss, truth.loss);
        assert!(
            error <= bound,
            "{loss:e}, {error} ULP from {:e}",
            truth.loss
        );
        worst.loss = worst.loss.max(error);
    }
    let sum: f64 = truths.iter().map(|truth| truth.loss).sum();
    let count: f64 = truths.iter().map(|truth| truth.count).sum();
    for (got, truth) in [(results.sum, sum), (results.mean, sum / count)] {
        let error = ulp::error(got, truth);
        assert!(error <= bound + 1.0, "{got:e}, {error} ULP from {truth:e}");
        worst.of_rows = worst.of_rows.max(error);
    }
    if results.gradient.is_empty() {
        return;
    }
    let columns = results.gradient.len() / truths.len();
    for (row, truth) in truths.iter().enumerate() {
        let of_mean = scale / count;
        let of_row = scale * f64::from(upstream[row]);
        for (gradient, factor) in [(&results.gradient, of_mean), (&results.by_row, of_row)] {
            let gradient = &gradient[row * columns..][..columns];
            let truths = truth.gradient.iter().zip(&truth.size);
            for (got, (truth, size)) in gradient.iter().zip(truths) {
                let error = (f64::from(*got) - truth * factor).abs();
                // Probabilities below 2^−126 may be 0.
                let error = error - Bounds::SMALL * (1.0 + 4.0 * factor.abs());
                let size = size * factor.abs() * 2_f64.powi(-23);
                assert!(
                    error <= 8.0 * size,
                    "{got:e} for {:e}, {:e} too far",
                    truth * factor,
                    error
                );
                if error > 0.0 {
                    worst.gradient = worst.gradient.max(error / size);
                }
            }
        }
    }
}

/// The upstream gradients 1, −2, 3, …
fn alternating(rows: usize) -> Vec<f32> {
    let sign = |row: usize| if row.is_multiple_of(2) { 1.0 } else { -1.0 };
    (0..rows).map(|row| (row + 1) as f32 * sign(row)).collect()
}

/// The records of `tests/data/cross_entropy.py`, which says what they are.
fn losses_are_those_of_pytorch(backend: Backend) {
    let text = include_str!("../data/cross_entropy.csv");
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split(',').collect()).collect();
    let mut worst = Worst::default();
    let mut cases = 0;
    for case in lines.chunk_by(|_, next| next[0] != "case") {
        let values = |kind: &str| -> Vec<f64> {
            let line = case.iter().find(|line| line[0] == kind).unwrap();
            line[1..]
                .iter()
                .map(|value| value.parse().unwrap())
                .collect()
        };
        let floats = |kind| -> Vec<f32> { values(kind).iter().map(|x| *x as f32).collect() };
        let [_, kind, rows, columns, smoothing, ignored] = case[0][..] else {
            panic!("{:?}", case[0]);
        };
        let (rows, columns): (usize, usize) = (rows.parse().unwrap(), columns.parse().unwrap());
        let targets = match kind {
            "classes" => Targets::Classes(values("targets").iter().map(|x| *x as usize).collect()),
            _ => Targets::Distributions(floats("targets")),
        };
        let weights = floats("weights");
        let setting = LossSetting {
            label_smoothing: smoothing.parse().unwrap(),
            class_weights: (!weights.is_empty()).then_some(weights),
            ignored: ignored.parse().ok(),
        };
        let loss = cross_entropy(on(backend), &setting);
        let logits = floats("logits");
        let upstream = alternating(rows);
        let got = results(&loss, &logits, columns, &targets, &upstream).unwrap();
        let bound = bound(backend, &setting, &targets);
        let truths = values("none");
        for (got, truth) in got.losses.iter().zip(&truths) {
            // In `f64` log-softmax loses what is near zero; not so here.
            let error = ulp::error(*got, *truth);
            assert!(
                error <= bound || (f64::from(*got) - truth).abs() < 1e-14,
                "{got:e}, {error} ULP from {truth:e}: {setting:?}"
            );
            worst.loss = worst.loss.max(if *truth > 1e-6 { error } else { 0.0 });
        }
        for (got, kind) in [(got.sum, "sum"), (got.mean, "mean")] {
            let truth = values(kind)[0];
            let error = ulp::error(got, truth);
            assert!(
                error <= bound + 1.0 || truth == 0.0,
                "{got:e}, {error} ULP from {truth:e}"
            );
            worst.of_rows = worst.of_rows.max(error);
        }
        for (got, kind) in [(&got.gradient, "gradient"), (&got.by_row, "gradient_none")] {
            for (got, truth) in got.iter().zip(values(kind)) {
                // Of the larger of two terms, at most the weight and the upstream gradient.
                let error = (f64::from(*got) - truth).abs();
                assert!(error < 1e-6 * truth.abs().max(0.5), "{got:e} and {truth:e}");
                worst.gradient = worst.gradient.max(error);
            }
        }
        cases += 1;
    }
    assert_eq!(cases, 66);
    println!("{}: {worst:.3?} (gradient: absolute)", backend.name());
}

const COLUMNS: [usize; 8] = [1, 2, 10, 31, 32, 33, 129, 2079];

/// Class weights and smoothing or none, targets that may be ignored or soft.
fn loss_settings(random: &mut Random, rows: usize, columns: usize) -> Vec<(LossSetting, Targets)> {
    let mut settings = Vec::new();
    for label_smoothing in [0.0, 0.1, 1.0] {
        for has_weights in [false, true] {
            let weights = (0..columns).map(|_| (random.unit() * 2.0) as f32).collect();
            let of_ignored = |ignored| LossSetting {
                label_smoothing,
                class_weights: has_weights.then(|| Vec::clone(&weights)),
                ignored,
            };
            for ignored in [None, Some(0), Some(usize::MAX)] {
                let mut classes: Vec<usize> = (0..rows).map(|_| random.below(columns)).collect();
                if ignored == Some(usize::MAX) {
                    classes[rows / 2] = usize::MAX;
                }
                settings.push((of_ignored(ignored), Targets::Classes(classes)));
            }
            let mut targets: Vec<f32> = (0..rows * columns)
                .map(|_| match random.below(4) {
                    0 => 0.0,
                    _ => random.unit() as f32,
                })
                .collect();
            for targets in targets.chunks_mut(columns) {
                let sum: f32 = targets.iter().sum();
                targets
                    .iter_mut()
                    .for_each(|target| *target /= sum.max(1e-3));
            }
            settings.push((of_ignored(None), Targets::Distributions(targets)));
        }
    }
    if !THOROUGH {
        random.shuffle(&mut settings);
        settings.truncate(6);
    }
    settings
}

fn random_logits(random: &mut Random, len: usize) -> Vec<f32> {
    let spread = random.pick(&[0.1, 4.0, 30.0, 100.0]);
    let offset = random.pick(&[0.0, 0.0, -60.0, 170.0, 1e4]);
    (0..len)
        .map(|_| (offset + random.unit() * spread) as f32)
        .collect()
}

fn losses_are_those_of_f64(backend: Backend) {
    let mut random = Random(21);
    let [mut plain, mut other] = [Worst::default(); 2];
    for columns in COLUMNS {
        let few = if columns > 100 { 3 } else { 70 };
        for rows in [1, few] {
            for (setting, targets) in loss_settings(&mut random, rows, columns) {
                let logits = random_logits(&mut random, rows * columns);
                let upstream = alternating(rows);
                let loss = cross_entropy(on(backend), &setting);
                let got = results(&loss, &logits, columns, &targets, &upstream).unwrap();
                let truths: Vec<LossOfRow> = (0..rows)
                    .map(|row| {
                        let logits = &logits[row * columns..][..columns];
                        setting.of_row(logits, None, &vec![false; columns], &targets, row)
                    })
                    .collect();
                if truths.iter().all(|truth| truth.count == 0.0) {
                    assert!(got.mean.is_nan() && got.sum == 0.0);
                    assert!(got.gradient.iter().all(|gradient| *gradient == 0.0));
                    continue;
                }
                let bound = bound(backend, &setting, &targets);
                let is_plain = bound == Bounds::of(backend).log_softmax;
                let worst = if is_plain { &mut plain } else { &mut other };
                check(&got, &truths, &upstream, 1.0, bound, worst);
            }
        }
    }
    println!("{}: {plain:.3?}, with options {other:.3?}", backend.name());
}

fn losses_with_options_are_those_of_f64(backend: Backend) {
    let mut random = Random(22);
    let mut worst = Worst::default();
    for columns in [2_usize, 10, 33, 129] {
        let rows = 6;
        let len = rows * columns;
        let keep: Vec<bool> = (0..columns)
            .map(|column| column == 1 || random.below(3) > 0)
            .collect();
        let additive: Vec<f32> = (0..len)
            .map(|place| match random.below(5) {
                0 if place % columns != 1 => f32::NEG_INFINITY,
                _ => (random.unit() * 8.0 - 4.0) as f32,
            })
            .collect();
        for options in [
            setting!(scale: Some(0.3)),
            setting!(keep: Some(keep.clone())),
            setting!(additive: Some(additive.clone())),
            setting!(length: Some(columns.div_ceil(2) + 1)),
            setting!(causal: Some(1)),
            setting!(sink: Some(2.0)),
            setting!(scale: Some(-0.7), keep: Some(keep), additive: Some(additive), sink: Some(0.5)),
        ] {
            for (setting, targets) in loss_settings(&mut random, rows, columns) {
                let logits = random_logits(&mut random, len);
                let masked = options.masked(&vec![0.0; len], columns, 1);
                let prepared = options.prepared(backend, &logits, columns, 1);
                let upstream = alternating(rows);
                let loss = cross_entropy(options.on(backend), &setting);
                let got = results(&loss, &logits, columns, &targets, &upstream).unwrap();
                let truths: Vec<LossOfRow> = (0..rows)
                    .map(|row| {
                        let range = row * columns..(row + 1) * columns;
                        let is_masked: Vec<bool> = masked[range.clone()]
                            .iter()
                            .map(|logit| *logit == f32::NEG_INFINITY)
                            .collect();
                        let logits = &prepared[range];
                        setting.of_row(logits, options.sink, &is_masked, &targets, row)
                    })
                    .collect();
                let scale = f64::from(options.scale.unwrap_or(1.0));
                let bound = bound(backend, &setting, &targets);
                if truths.iter().any(|truth| truth.count != 0.0) {
                    check(&got, &truths, &upstream, scale, bound, &mut worst);
                }
            }
        }
    }
    println!("{}: {worst:.3?}", backend.name());
}

/// Losses from 1e-38 to 1 keep their relative accuracy, and so do p − 1 and the mean.
fn losses_of_confident_rows(backend: Backend) {
    let setting = LossSetting::default();
    for columns in [2, 3, 17, 40, 300, 3000] {
        let gaps: Vec<f32> = (0..170).map(|gap| 0.5 * gap as f32).collect();
        let mut logits = vec![-3.0; gaps.len() * columns];
        for (row, gap) in logits.chunks_mut(columns).zip(&gaps) {
            row[columns / 2] += gap;
        }
        let targets = Targets::Classes(vec![columns / 2; gaps.len()]);
        let loss = cross_entropy(on(backend), &setting);
        let ones = vec![1.0; gaps.len()];
        let got = results(&loss, &logits, columns, &targets, &ones).unwrap();
        let bounds = Bounds::of(backend);
        for (row, loss) in got.losses.iter().enumerate() {
            let logits = &logits[row * columns..][..columns];
            let truth = setting.of_row(logits, None, &vec![false; columns], &targets, row);
            let error = ulp::error(*loss, truth.loss);
            assert!(
                error <= bounds.log_softmax,
                "{loss:e}, not {:e}",
                truth.loss
            );
            let of_target = got.by_row[row * columns + columns / 2];
            let error = ulp::error(of_target, truth.gradient[columns / 2]);
            assert!(error <= bounds.softmax, "{of_target:e}, {error} ULP");
        }
    }
}

/// And the loss is, but for the sign, that of `log_rows` within the last place.
fn a_row_has_the_bits_of_its_matrix(backend: Backend) {
    let mut random = Random(23);
    for columns in COLUMNS {
        let rows = if columns > 100 { 7 } else { 150 };
        for (setting, targets) in loss_settings(&mut random, rows, columns) {
            let logits = random_logits(&mut random, rows * columns);
            let upstream = alternating(rows);
            let loss = cross_entropy(on(backend), &setting);
            let all = results(&loss, &logits, columns, &targets, &upstream).unwrap();
            for row in 0..rows {
                let range = row * columns..(row + 1) * columns;
                let target = match &targets {
                    Targets::Classes(classes) => Targets::Classes(vec![classes[row]]),
                    Targets::Distributions(targets) => {
                        Targets::Distributions(targets[range.clone()].to_vec())
                    }
                };
                let of_row = &upstream[row..=row];
                let one = results(&loss, &logits[range.clone()], columns, &target, of_row);
                let one = one.unwrap();
                assert_eq!(bits_of(&one.losses), bits_of(&all.losses[row..=row]));
                assert_eq!(bits_of(&one.by_row), bits_of(&all.by_row[range]));
            }
        }
    }
}

/// Rows whose losses a sum in `f32` would lose.
fn means_of_many_rows(backend: Backend) {
    let rows = if THOROUGH { 3_000_000 } else { 300_000 };
    let logits: Vec<f32> = [1.0, 0.0].repeat(rows);
    let targets: Vec<usize> = (0..rows).map(|row| usize::from(row == 0)).collect();
    let loss = CrossEntropy::new().backend(backend).unwrap();
    let small = (-1.0_f64).exp().ln_1p();
    let truth = small * rows as f64 + 1.0;
    let sum = loss.sum(&logits, 2, &targets).unwrap();
    let mean = loss.mean(&logits, 2, &targets).unwrap();
    let bound = Bounds::of(backend).log_softmax + 1.0;
    assert!(ulp::error(sum, truth) <= bound, "{sum} and {truth}");
    assert!(ulp::error(mean, truth / rows as f64) <= bound);
}

fn special_values(backend: Backend) {
    let loss = CrossEntropy::new().backend(backend).unwrap();
    let (nan, infinity) = (f32::NAN, f32::INFINITY);
    let mut losses = [7.0; 2];
    let mut gradient = [7.0; 6];

    // A target of 0 adds 0, also where the logit is −∞.
    let logits = [2.0, -infinity, 0.5];
    let mean = loss.soft_gradient(&logits, 3, &[0.95, 0.0, 0.05], &mut gradient[..3]);
    assert!((mean.unwrap() - 0.276_413).abs() < 1e-6);
    for (got, truth) in gradient.iter().zip([-0.132_426, 0.0, 0.132_426]) {
        assert!((got - truth).abs() < 1e-6, "{gradient:?}");
    }
    assert_eq!(gradient[1], 0.0);
    // One above 0 makes it +∞, and so does smoothing.
    assert_eq!(loss.soft_mean(&logits, 3, &[0.5, 0.5, 0.0]), Ok(infinity));
    assert_eq!(loss.mean(&logits, 3, &[1]), Ok(infinity));
    let smoothed = loss.label_smoothing(0.1);
    assert_eq!(smoothed.mean(&logits, 3, &[0]), Ok(infinity));
    assert_eq!(
        smoothed.soft_mean(&logits, 3, &[1.0, 0.0, 0.0]),
        Ok(infinity)
    );
    loss.gradient(&logits, 3, &[1], &mut gradient[..3]).unwrap();
    assert_eq!(gradient[1], -1.0);

    // A class of weight 0 adds 0.
    let weights = [1.0, 0.0, 1.0];
    assert_eq!(loss.class_weights(&weights).sum(&logits, 3, &[1]), Ok(0.0));
    let weighted = smoothed.class_weights(&weights);
    assert!(weighted.sum(&logits, 3, &[1]).unwrap().is_finite());

    // Ignored rows are 0, whatever they are, and in no mean.
    for ignored in [0, 9, usize::MAX] {
        let loss = loss.ignore(ignored);
        for other in [nan, infinity, -infinity] {
            let logits = [other, nan, other, 1.0, 1.0, -infinity];
            let targets = [ignored, 1];
            loss.rows(&logits, 3, &targets, &mut losses).unwrap();
            assert_eq!(losses, [0.0, core::f32::consts::LN_2]);
            assert_eq!(loss.mean(&logits, 3, &targets), Ok(losses[1]));
            assert_eq!(loss.sum(&logits, 3, &targets), Ok(losses[1]));
            let mean = loss.gradient(&logits, 3, &targets, &mut gradient);
            assert_eq!(mean, Ok(losses[1]));
            assert_eq!(gradient, [0.0, 0.0, 0.0, 0.5, -0.5, 0.0]);
            let mean = loss.label_smoothing(0.5).mean(&logits[..5], 5, &[ignored]);
            assert!(mean.unwrap().is_nan());
        }
    }

    // The mean of nothing is NaN, the sum 0.
    assert!(loss.mean(&[], 3, &[]).unwrap().is_nan());
    assert!(loss.soft_mean(&[], 3, &[]).unwrap().is_nan());
    assert_eq!(loss.sum(&[], 3, &[]), Ok(0.0));
    assert!(loss.gradient(&[], 3, &[], &mut []).unwrap().is_nan());
    assert_eq!(loss.ignore(4).sum(&[], 0, &[4, 4]), Ok(0.0));

    // A row without a softmax is NaN, and no other.
    for special in [nan, infinity] {
        for smoothing in [0.0, 0.1] {
            let loss = loss.label_smoothing(smoothing);
            let logits = [special, 0.0, 1.0, 5.0, 5.0, 5.0];
            loss.rows(&logits, 3, &[1, 0], &mut losses).unwrap();
            assert!(losses[0].is_nan() && (losses[1] - 3_f32.ln()).abs() < 1e-6);
            assert!(loss.mean(&logits, 3, &[1, 0]).unwrap().is_nan());
            loss.gradient(&logits, 3, &[1, 0], &mut gradient).unwrap();
            assert!(gradient[..3].iter().all(|value| value.is_nan()));
            assert!(gradient[3..].iter().all(|value| value.is_finite()));
        }
    }
    let fully_masked = [-infinity; 3];
    assert!(loss.mean(&fully_masked, 3, &[0]).unwrap().is_nan());

    // One class, equal logits.
    assert_eq!(loss.mean(&[3.0, -7.0], 1, &[0, 0]).map(f32::to_bits), Ok(0));
    assert_eq!(loss.mean(&[0.25; 4], 4, &[3]), Ok(4_f32.ln()));
}

/// A masked class is as one that does not exist.
fn masked_classes(backend: Backend) {
    let keep = [true, true, false, true];
    let additive = [0.0, 0.0, f32::NEG_INFINITY, 0.0];
    let mut random = Random(24);
    for softmax in [
        on(backend).mask(Mask::Keep(&keep)),
        on(backend).mask(Mask::Additive(&additive)),
    ] {
        for smoothing in [0.0, 0.2] {
            for weights in [None, Some([0.5, 1.0, 9.0, 2.0])] {
                let (mut of_all, mut of_three) = ([7.0; 4], [7.0; 3]);
                let logits = random_logits(&mut random, 4);
                let without = [logits[0], logits[1], logits[3]];
                let loss = CrossEntropy::new().label_smoothing(smoothing);
                let (masked, plain) = (loss.softmax(softmax), loss.softmax(on(backend)));
                let weights_of_three = weights.map(|weights| [weights[0], weights[1], weights[3]]);
                let (masked, plain) = match (&weights, &weights_of_three) {
                    (Some(weights), Some(of_three)) => {
                        (masked.class_weights(weights), plain.class_weights(of_three))
                    }
                    _ => (masked, plain),
                };
                let got = masked.gradient(&logits, 4, &[3], &mut of_all).unwrap();
                let expected = plain.gradient(&without, 3, &[2], &mut of_three).unwrap();
                // The sums differ in the order of their terms at most.
                let near = |a: f32, b: f32| (a - b).abs() <= 4e-7 * a.abs().max(0.1);
                assert!(near(got, expected), "{got} and {expected}");
                assert_eq!(of_all[2], 0.0);
                for (a, b) in [of_all[0], of_all[1], of_all[3]].iter().zip(of_three) {
                    assert!(near(*a, b), "{of_all:?} and {of_three:?}");
                }
                // As a target it is impossible, and has no gradient.
                assert_eq!(masked.mean(&logits, 4, &[2]), Ok(f32::INFINITY));
                masked.gradient(&logits, 4, &[2], &mut of_all).unwrap();
                assert_eq!(of_all[2], 0.0);
            }
        }
    }
    let nothing = on(backend).mask(Mask::Length(0));
    let loss = CrossEntropy::new().softmax(nothing);
    assert!(loss.mean(&[1.0; 3], 3, &[0]).unwrap().is_nan());
    let zero = loss.softmax(nothing.fully_masked(FullyMasked::Zero));
    let mut gradient = [7.0; 3];
    for smoothing in [0.0, 0.1] {
        let zero = zero.label_smoothing(smoothing);
        let mean = zero.gradient(&[1.0; 3], 3, &[0], &mut gradient);
        assert_eq!((mean, gradient), (Ok(f32::INFINITY), [0.0; 3]));
        let mean = zero.soft_gradient(&[1.0; 3], 3, &[0.5, 0.5, 0.0], &mut gradient);
        assert_eq!((mean, gradient), (Ok(f32::INFINITY), [0.0; 3]));
    }
}

/// Distances between logits that `f32` does not hold, with targets that make the loss finite.
fn large_logits(backend: Backend) {
    let loss = CrossEntropy::new().backend(backend).unwrap();
    let logits = [f32::MAX, -f32::MAX];
    let mut losses = [7.0];
    loss.soft_rows(&logits, 2, &[0.75, 0.25], &mut losses)
        .unwrap();
    let truth = f64::from(f32::MAX) * 0.5;
    assert!(ulp::error(losses[0], truth) <= 1.0, "{losses:?}");
    let weighted = loss.class_weights(&[1.0, 0.25]);
    weighted.rows(&logits, 2, &[1], &mut losses).unwrap();
    assert!(ulp::error(losses[0], truth) <= 1.0, "{losses:?}");
    assert_eq!(loss.mean(&logits, 2, &[1]), Ok(f32::INFINITY));
}

/// A power of two, so that no product is rounded.
fn upstream_is_a_factor(backend: Backend) {
    let loss = CrossEntropy::new().softmax(on(backend));
    let logits = [0.5, -1.0, 2.0, 3.0, 0.0, -2.0];
    let targets = [2, 0];
    let [mut gradient, mut doubled, mut in_place] = [[f32::NAN; 6], [f32::NAN; 6], logits];
    let mean = loss.gradient(&logits, 3, &targets, &mut gradient).unwrap();
    let upstream = loss.upstream(-2.0);
    let of_doubled = upstream.gradient(&logits, 3, &targets, &mut doubled);
    upstream
        .gradient_in_place(&mut in_place, 3, &targets)
        .unwrap();
    assert_eq!(of_doubled, Ok(mean));
    assert_eq!(doubled, gradient.map(|gradient| -2.0 * gradient));
    assert_eq!(in_place, doubled);
}

fn errors_write_nothing(backend: Backend) {
    let loss = CrossEntropy::new().backend(backend).unwrap();
    let (mut losses, mut gradient) = ([7.0; 2], [7.0; 6]);
    let logits = [0.0; 6];
    let partial = Error::PartialRow {
        columns: 4,
        given: 6,
    };
    assert_eq!(loss.rows(&logits, 4, &[0, 0], &mut losses), Err(partial));
    assert_eq!(loss.mean(&logits, 4, &[0, 0]), Err(partial));
    assert_eq!(loss.soft_mean(&logits, 4, &logits), Err(partial));
    let targets = Error::TargetsMismatch {
        expected: 2,
        given: 3,
    };
    assert_eq!(loss.mean(&logits, 3, &[0; 3]), Err(targets));
    assert_eq!(
        targets.to_string(),
        "expected 2 targets, one for each row, but 3 were given"
    );
    let target = Error::TargetOutOfRange {
        columns: 3,
        target: 3,
    };
    assert_eq!(loss.rows(&logits, 3, &[0, 3], &mut losses), Err(target));
    assert_eq!(loss.sum(&logits, 3, &[3, 0]), Err(target));
    assert_eq!(loss.ignore(2).mean(&logits, 3, &[3, 0]), Err(target));
    assert!(loss.ignore(3).mean(&logits, 3, &[3, 0]).is_ok());
    assert_eq!(
        loss.gradient(&logits, 3, &[3, 0], &mut gradient),
        Err(target)
    );
    assert_eq!(
        loss.gradient_in_place(&mut gradient, 3, &[0, 3]),
        Err(target)
    );
    let weights = Error::WeightsMismatch {
        columns: 3,
        given: 2,
    };
    let weighted = loss.class_weights(&[1.0; 2]);
    assert_eq!(weighted.mean(&logits, 3, &[0, 0]), Err(weights));
    assert_eq!(weighted.soft_mean(&logits, 3, &logits), Err(weights));
    assert_eq!(
        weights.to_string(),
        "expected 3 weights, one for each class, but 2 were given"
    );
    let places = Error::RowsMismatch {
        expected: 3,
        given: 2,
    };
    assert_eq!(loss.rows(&logits, 2, &[0; 3], &mut losses), Err(places));
    assert_eq!(
        loss.soft_rows(&logits, 2, &logits, &mut losses),
        Err(places)
    );
    assert_eq!(
        loss.gradient_rows(&logits, 2, &[0; 3], &[1.0; 2], &mut gradient),
        Err(places)
    );
    let length = Error::LengthMismatch {
        expected: 6,
        given: 5,
    };
    assert_eq!(
        loss.gradient(&logits, 3, &[0; 2], &mut gradient[..5]),
        Err(length)
    );
    assert_eq!(loss.soft_sum(&logits, 3, &[0.0; 5]), Err(length));
    for result in [
        loss.ignore(0).soft_mean(&logits, 3, &logits),
        loss.softmax(Softmax::new().soft_cap(1.0))
            .gradient(&logits, 3, &[0; 2], &mut gradient),
        loss.softmax(Softmax::new().soft_cap(1.0))
            .soft_gradient_in_place(&mut gradient, 3, &logits),
    ] {
        let error = result.unwrap_err();
        assert!(matches!(error, Error::UnsupportedOption { .. }), "{error}");
    }
    let masked = loss.softmax(Softmax::new().mask(Mask::Keep(&[true; 4])));
    assert!(masked.mean(&logits, 3, &[0; 2]).is_err());
    assert!(
        masked
            .soft_gradient_in_place(&mut gradient, 3, &logits)
            .is_err()
    );
    assert_eq!((losses, gradient), ([7.0; 2], [7.0; 6]));
}

#[test]
fn backends_of_one_arithmetic_have_the_same_bits() {
    let mut random = Random(25);
    for columns in COLUMNS {
        let rows = 5;
        let keep: Vec<bool> = (0..columns).map(|column| column % 4 != 1).collect();
        for options in [
            Setting::default(),
            setting!(scale: Some(0.7), keep: Some(keep), sink: Some(1.0)),
        ] {
            for (setting, targets) in loss_settings(&mut random, rows, columns) {
                let logits = random_logits(&mut random, rows * columns);
                let bits_on = |backend: Backend| {
                    let loss = cross_entropy(options.on(backend), &setting);
                    let got = results(&loss, &logits, columns, &targets, &alternating(rows));
                    let got = got.unwrap();
                    let mut bits = bits_of(&[got.sum, got.mean]);
                    for values in [&got.losses, &got.gradient, &got.by_row] {
                        bits.extend(bits_of(values));
                    }
                    bits
                };
                for class in [true, false] {
                    let mut of_class = backends().filter(|backend| is_fused(*backend) == class);
                    if let Some(first) = of_class.next() {
                        let expected = bits_on(first);
                        for other in of_class {
                            assert!(bits_on(other) == expected, "{other:?}, {columns}");
                        }
                    }
                }
            }
        }
    }
}

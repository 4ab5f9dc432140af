//! Top-k, cross-entropy and the gradients, on every backend, against `f64`.

use online_softmax::{Backend, Candidate, Error, Outcome};
use support::oracle::Truth;
use support::rows::Random;
use support::{Bounds, THOROUGH, backends, is_fused, on, ulp};

support::on_every_backend!(
    the_best_are_those_of_a_full_sort,
    ties_masks_and_nan_among_the_best,
    cross_entropy_is_a_log_probability,
    gradient_of_cross_entropy,
    gradients_of_results,
    gradients_are_finite_differences,
    gradients_of_rows_and_in_place,
    gradients_of_large_values,
    log_differences,
    errors_write_nothing,
);

const LENGTHS: [usize; 17] = [
    1, 2, 10, 31, 32, 33, 64, 100, 127, 128, 129, 300, 2079, 2080, 2081, 4129, 10_000,
];

/// Logits with a spread from 0.1 to 100; a third of them rounded, so that some are equal.
fn random_row(random: &mut Random, len: usize) -> Vec<f32> {
    let spread = random.pick(&[0.1, 4.0, 30.0, 100.0]);
    let is_rounded = random.below(3) == 0;
    (0..len)
        .map(|_| {
            let logit = (random.unit() * spread) as f32;
            if is_rounded { logit.round() } else { logit }
        })
        .collect()
}

/// Probabilities or upstream gradients of any sign.
fn random_values(random: &mut Random, len: usize) -> Vec<f32> {
    (0..len)
        .map(|_| (random.unit() * 4.0 - 2.0) as f32)
        .collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn check_best(backend: Backend, row: &[f32], k: usize) {
    let mut sorted: Vec<usize> = (0..row.len())
        .filter(|index| !row[*index].is_nan())
        .collect();
    sorted.sort_by(|a, b| row[*b].partial_cmp(&row[*a]).unwrap().then(a.cmp(b)));
    sorted.truncate(k);

    let mut places = vec![Candidate::default(); k];
    let (normalizer, best) = on(backend).top_k(row, &mut places).unwrap();
    let found: Vec<usize> = best.iter().map(|candidate| candidate.index).collect();
    assert_eq!(found, sorted, "{}, {k} of {}", backend.name(), row.len());
    let expected = on(backend).normalizer(row).unwrap();
    assert_eq!(normalizer.outcome(), expected.outcome());
    if expected.outcome() == Outcome::Finite {
        assert_eq!(normalizer, expected);
    }
    for candidate in best {
        assert_eq!(candidate.logit.to_bits(), row[candidate.index].to_bits());
        let probability = normalizer.probability(candidate.logit);
        assert!(
            candidate.probability.to_bits() == probability.to_bits()
                || candidate.probability.is_nan() && probability.is_nan()
        );
    }
}

fn the_best_are_those_of_a_full_sort(backend: Backend) {
    let mut random = Random(1);
    for len in LENGTHS {
        for k in [0, 1, 2, 5, 50, len / 2, len, len + 3] {
            check_best(backend, &random_row(&mut random, len), k);
        }
        let mut ascending = random_row(&mut random, len);
        ascending.sort_by(f32::total_cmp);
        check_best(backend, &ascending, 7);
        ascending.reverse();
        check_best(backend, &ascending, 7);
    }
    check_best(backend, &[], 3);
    // Where a first bound was found long before.
    for k in [1, 50, 127, 300] {
        let mut row = random_row(&mut random, if THOROUGH { 150_001 } else { 20_001 });
        check_best(backend, &row, k);
        row.sort_by(f32::total_cmp);
        check_best(backend, &row, k);
    }
}

fn ties_masks_and_nan_among_the_best(backend: Backend) {
    let mut random = Random(2);
    let special = [
        f32::NEG_INFINITY,
        f32::NAN,
        -0.0,
        0.0,
        1.0,
        f32::MAX,
        f32::INFINITY,
    ];
    for len in [1, 2, 33, 64, 200, 3000] {
        for choices in 1..=special.len() {
            let row: Vec<f32> = (0..len).map(|_| random.pick(&special[..choices])).collect();
            for k in [1, 3, 40, len] {
                check_best(backend, &row, k);
            }
        }
        check_best(backend, &vec![1.5; len], 5);
    }
    // A NaN beside the best, in its own lane and in others.
    for distance in [1, 8, 16, 32, 64, 128] {
        let mut row = vec![0.0; 500];
        row[300] = 9.0;
        row[300 - distance] = f32::NAN;
        check_best(backend, &row, 2);
    }
}

fn cross_entropy_is_a_log_probability(backend: Backend) {
    let bound = Bounds::of(backend).log_softmax;
    let mut random = Random(3);
    let mut worst: f64 = 0.0;
    for len in LENGTHS {
        for _ in 0..8 {
            let mut row = random_row(&mut random, len);
            let target = random.below(len);
            if random.below(2) == 0 {
                row[target] += (random.unit() * 90.0) as f32;
            }
            let loss = on(backend).cross_entropy(&row, target).unwrap();
            let truth = -Truth::of(&row).log_probability(row[target]);
            assert!(loss >= 0.0 && loss.is_sign_positive());
            let error = ulp::error(loss, truth);
            assert!(error <= bound, "{}: {loss:e} not {truth:e}", backend.name());
            worst = worst.max(error);
        }
    }
    println!("{}: cross-entropy {worst:.3} ULP", backend.name());

    let softmax = on(backend);
    assert_eq!(softmax.cross_entropy(&[5.0], 0), Ok(0.0));
    assert_eq!(
        softmax.cross_entropy(&[0.0, f32::NEG_INFINITY], 1),
        Ok(f32::INFINITY)
    );
    for row in [
        [f32::NAN, 0.0],
        [f32::INFINITY, 0.0],
        [f32::NEG_INFINITY; 2],
    ] {
        assert!(softmax.cross_entropy(&row, 1).unwrap().is_nan());
    }
}

fn gradient_of_cross_entropy(backend: Backend) {
    let bounds = Bounds::of(backend);
    let mut random = Random(4);
    let mut worst: f64 = 0.0;
    for len in LENGTHS {
        for _ in 0..4 {
            let mut row = random_row(&mut random, len);
            let target = random.below(len);
            if random.below(2) == 0 {
                row[target] += (random.unit() * 60.0) as f32;
            }
            let mut gradient = vec![7.0; len];
            let softmax = on(backend);
            let loss = softmax
                .cross_entropy_gradient(&row, target, &mut gradient)
                .unwrap();
            assert_eq!(loss, softmax.cross_entropy(&row, target).unwrap());
            let mut in_place = row.clone();
            assert_eq!(
                softmax.cross_entropy_gradient_in_place(&mut in_place, target),
                Ok(loss)
            );
            assert_eq!(bits(&in_place), bits(&gradient));

            let truth = Truth::of(&row);
            for (index, (got, logit)) in gradient.iter().zip(&row).enumerate() {
                let truth = if index == target {
                    truth.log_probability(*logit).exp_m1()
                } else {
                    truth.probability(*logit)
                };
                if truth.abs() >= Bounds::SMALL {
                    let error = ulp::error(*got, truth);
                    assert!(
                        error <= bounds.softmax,
                        "{}: {got:e} not {truth:e}",
                        backend.name()
                    );
                    worst = worst.max(error);
                } else {
                    assert!((f64::from(*got) - truth).abs() <= Bounds::SMALL);
                }
            }
        }
    }
    println!(
        "{}: gradient of the cross-entropy {worst:.3} ULP",
        backend.name()
    );

    let mut gradient = [0.0; 2];
    let loss = on(backend).cross_entropy_gradient(&[f32::NAN, 0.0], 1, &mut gradient);
    assert!(loss.unwrap().is_nan() && gradient.iter().all(|value| value.is_nan()));
}

/// p · (g − Σ p g) and g − e^l · Σ g, with the bounds that their documentation states, and the
/// rounding of the result.
fn gradients_of_results(backend: Backend) {
    let mut random = Random(5);
    for len in LENGTHS {
        let row = random_row(&mut random, len);
        let upstream = random_values(&mut random, len);
        let softmax = on(backend);
        let mut results = vec![0.0; len];
        let mut gradient = vec![7.0; len];

        softmax.row(&row, &mut results).unwrap();
        softmax
            .softmax_gradient(&results, &upstream, &mut gradient)
            .unwrap();
        let products = || {
            results
                .iter()
                .zip(&upstream)
                .map(|(p, g)| f64::from(*p) * f64::from(*g))
        };
        let sum: f64 = products().sum();
        let size: f64 = products().map(f64::abs).sum();
        for ((got, p), g) in gradient.iter().zip(&results).zip(&upstream) {
            let difference = f64::from(*g) - sum;
            let bound = size * 2.0_f64.powi(-23) + difference.abs() * 2.0_f64.powi(-22);
            let error = (f64::from(*got) - f64::from(*p) * difference).abs();
            assert!(error <= f64::from(*p) * bound + Bounds::SMALL);
        }

        softmax.log_row(&row, &mut results).unwrap();
        softmax
            .log_softmax_gradient(&results, &upstream, &mut gradient)
            .unwrap();
        let sum: f64 = upstream.iter().map(|g| f64::from(*g)).sum();
        for ((got, l), g) in gradient.iter().zip(&results).zip(&upstream) {
            let subtracted = f64::from(*l).exp() * sum;
            let truth = f64::from(*g) - subtracted;
            let bound = subtracted.abs() * 2.0_f64.powi(-22) + truth.abs() * 2.0_f64.powi(-23);
            let error = (f64::from(*got) - truth).abs();
            assert!(
                error <= bound + Bounds::SMALL,
                "{}: {got:e} not {truth:e}",
                backend.name()
            );
        }
    }
}

/// Of Σ g_i a_i(x), with a the softmax or log-softmax, by central differences in `f64`.
fn gradients_are_finite_differences(backend: Backend) {
    let mut random = Random(6);
    for len in [1, 2, 5, 33, 70] {
        let row: Vec<f32> = (0..len).map(|_| (random.unit() * 4.0) as f32).collect();
        let upstream = random_values(&mut random, len);
        let weighted = |row: &[f64], is_log: bool| -> f64 {
            let log_denominator = row.iter().map(|logit| logit.exp()).sum::<f64>().ln();
            row.iter()
                .zip(&upstream)
                .map(|(logit, g)| {
                    let log_probability = logit - log_denominator;
                    let result = if is_log {
                        log_probability
                    } else {
                        log_probability.exp()
                    };
                    f64::from(*g) * result
                })
                .sum()
        };
        let softmax = on(backend);
        let mut results = vec![0.0; len];
        let mut gradient = vec![0.0; len];
        for is_log in [false, true] {
            if is_log {
                softmax.log_row(&row, &mut results).unwrap();
                softmax
                    .log_softmax_gradient(&results, &upstream, &mut gradient)
                    .unwrap();
            } else {
                softmax.row(&row, &mut results).unwrap();
                softmax
                    .softmax_gradient(&results, &upstream, &mut gradient)
                    .unwrap();
            }
            for (index, got) in gradient.iter().enumerate() {
                let moved = |by: f64| {
                    let mut row: Vec<f64> = row.iter().map(|logit| f64::from(*logit)).collect();
                    row[index] += by;
                    weighted(&row, is_log)
                };
                let slope = (moved(1e-5) - moved(-1e-5)) / 2e-5;
                assert!((f64::from(*got) - slope).abs() <= 2e-5, "{got} not {slope}");
            }
        }
    }
}

/// The bits of each row by itself.
fn gradients_of_rows_and_in_place(backend: Backend) {
    let mut random = Random(8);
    let softmax = on(backend);
    for columns in LENGTHS {
        let len = 3 * columns;
        let upstream = random_values(&mut random, len);
        let logits = random_row(&mut random, len);
        let (mut probabilities, mut logs) = (vec![0.0; len], vec![0.0; len]);
        softmax.rows(&logits, columns, &mut probabilities).unwrap();
        softmax.log_rows(&logits, columns, &mut logs).unwrap();
        let [mut expected, mut expected_of_logs] = [(); 2].map(|()| vec![7.0; len]);
        for start in (0..len).step_by(columns) {
            let row = start..start + columns;
            let (p, g) = (&probabilities[row.clone()], &upstream[row.clone()]);
            softmax
                .softmax_gradient(p, g, &mut expected[row.clone()])
                .unwrap();
            let mut in_place = g.to_vec();
            softmax.softmax_gradient_in_place(p, &mut in_place).unwrap();
            assert_eq!(bits(&in_place), bits(&expected[row.clone()]));

            let logs = &logs[row.clone()];
            let of_logs = &mut expected_of_logs[row];
            softmax.log_softmax_gradient(logs, g, of_logs).unwrap();
            in_place.copy_from_slice(g);
            softmax
                .log_softmax_gradient_in_place(logs, &mut in_place)
                .unwrap();
            assert_eq!(bits(&in_place), bits(of_logs));
        }

        let mut gradient = vec![7.0; len];
        softmax
            .softmax_gradient_rows(&probabilities, &upstream, columns, &mut gradient)
            .unwrap();
        assert_eq!(bits(&gradient), bits(&expected));
        gradient.copy_from_slice(&upstream);
        softmax
            .softmax_gradient_rows_in_place(&probabilities, columns, &mut gradient)
            .unwrap();
        assert_eq!(bits(&gradient), bits(&expected));
        softmax
            .log_softmax_gradient_rows(&logs, &upstream, columns, &mut gradient)
            .unwrap();
        assert_eq!(bits(&gradient), bits(&expected_of_logs));
        gradient.copy_from_slice(&upstream);
        softmax
            .log_softmax_gradient_rows_in_place(&logs, columns, &mut gradient)
            .unwrap();
        assert_eq!(bits(&gradient), bits(&expected_of_logs));
    }
    assert_eq!(softmax.softmax_gradient_rows(&[], &[], 0, &mut []), Ok(()));
}

/// Against sums in `f64`.
fn log_differences(backend: Backend) {
    let mut random = Random(9);
    let normalizer = |row: &[f32]| on(backend).normalizer(row).unwrap();
    let difference = |a: &[f32], b: &[f32]| normalizer(a).log_difference(normalizer(b));
    for len in LENGTHS {
        for other_len in [1, len.div_ceil(2), len] {
            let (row, mut other) = (random_row(&mut random, len), random_row(&mut random, len));
            other.truncate(other_len);
            let max = row.iter().chain(&other).copied().fold(f32::MIN, f32::max);
            let sum = |row: &[f32]| -> f64 {
                row.iter()
                    .map(|logit| (f64::from(*logit) - f64::from(max)).exp())
                    .sum()
            };
            let (a, b) = (sum(&row), sum(&other));
            let (log, sign) = difference(&row, &other);
            assert_eq!(difference(&other, &row), (log, -sign));
            if row == other {
                assert_eq!((log, sign), (f32::NEG_INFINITY, 0.0));
                continue;
            }
            let truth = f64::from(max) + (a - b).abs().ln();
            let error = (f64::from(log) - truth).abs();
            let bound = 2_f64.powi(-22) * (a + b) / (a - b).abs() + 2_f64.powi(-24) * truth.abs();
            assert!(error <= bound, "{log}, not {truth}");
            assert!(f64::from(sign) == (a - b).signum() || (a - b).abs() < 1e-6 * a);
        }
        let row = random_row(&mut random, len);
        assert_eq!(difference(&row, &row), (f32::NEG_INFINITY, 0.0));
        assert_eq!(difference(&row, &[]), (normalizer(&row).log_sum_exp(), 1.0));
    }
    let (nan, infinity) = (f32::NAN, f32::INFINITY);
    // Near 1, where the logarithm is near 0.
    let (log, sign) = difference(&[0.0, -40.0], &[-42.0]);
    assert!(ulp::error(log, ((-40.0_f64).exp() - (-42.0_f64).exp()).ln_1p()) <= 2.0);
    assert_eq!(sign, 1.0);
    assert_eq!(difference(&[infinity], &[1.0]), (infinity, 1.0));
    assert_eq!(difference(&[1.0], &[infinity]), (infinity, -1.0));
    assert_eq!(difference(&[], &[2.0]), (2.0, -1.0));
    assert_eq!(difference(&[-infinity], &[2.0]), (2.0, -1.0));
    assert_eq!(difference(&[], &[-infinity]), (-infinity, 0.0));
    assert_eq!(difference(&[3e38], &[-3e38]), (3e38, 1.0));
    for (a, b) in [
        (nan, 1.0),
        (1.0, nan),
        (nan, infinity),
        (infinity, infinity),
    ] {
        let (log, sign) = difference(&[a], &[b]);
        assert!(log.is_nan() && sign.is_nan());
    }
}

/// Finite where the result is.
fn gradients_of_large_values(backend: Backend) {
    let softmax = on(backend);
    let near = |got: &[f32], truths: &[f64]| {
        for (got, truth) in got.iter().zip(truths) {
            let error = (f64::from(*got) - truth).abs();
            assert!(error <= 3e32, "{got:e}, not {truth:e}");
        }
    };
    let mut gradient = [7.0; 3];
    let upstream = [3e38, -3e38, -3e38];
    softmax
        .softmax_gradient(&[0.2, 0.4, 0.4], &upstream, &mut gradient)
        .unwrap();
    near(&gradient, &[9.6e37, -4.8e37, -4.8e37]);
    softmax
        .softmax_gradient(&[0.0, 0.0, 1.0], &upstream, &mut gradient)
        .unwrap();
    assert_eq!(gradient, [0.0; 3]);

    // Σ g = 9e38, and −9e38.
    let log_third = [(1.0_f32 / 3.0).ln(); 3];
    for size in [3e38, -3e38] {
        softmax
            .log_softmax_gradient(&log_third, &[size; 3], &mut gradient)
            .unwrap();
        near(&gradient, &[0.0; 3]);
    }
    softmax
        .log_softmax_gradient(&log_third, &[3e38, 3e38, 0.0], &mut gradient)
        .unwrap();
    near(&gradient, &[1e38, 1e38, -2e38]);
    let many = vec![1e38; 1000];
    let mut gradient = vec![7.0; 1000];
    softmax
        .log_softmax_gradient(&vec![(1e-3_f32).ln(); 1000], &many, &mut gradient)
        .unwrap();
    for got in gradient {
        assert!(got.abs() < 1e33, "{got:e}");
    }
    // One that overflows does so.
    let mut gradient = [7.0; 2];
    softmax
        .log_softmax_gradient(&[0.0, -200.0], &[-3e38, 3e38], &mut gradient)
        .unwrap();
    assert_eq!(gradient, [-3e38, 3e38]);
    softmax
        .log_softmax_gradient(&[0.0, -200.0], &[-1e38, 3.4e38], &mut gradient)
        .unwrap();
    near(&gradient[1..], &[3.4e38]);
    near(&gradient[..1], &[-3.4e38]);
    softmax
        .log_softmax_gradient(&[0.0, -200.0], &[-3e38, 3.4e38], &mut gradient)
        .unwrap();
    assert!(gradient.iter().all(|value| value.is_finite()));
}

fn errors_write_nothing(backend: Backend) {
    let softmax = on(backend);
    let mut places = [7.0; 3];
    let out_of_range = Error::TargetOutOfRange {
        columns: 2,
        target: 2,
    };
    assert_eq!(softmax.cross_entropy(&[0.0; 2], 2), Err(out_of_range));
    assert_eq!(
        out_of_range.to_string(),
        "expected a target below 2, the columns of the row, but 2 was given"
    );
    assert!(softmax.cross_entropy(&[0.0; 0], 0).is_err());
    assert!(
        softmax
            .cross_entropy_gradient(&[0.0; 2], 0, &mut places)
            .is_err()
    );
    assert!(
        softmax
            .cross_entropy_gradient(&[0.0; 3], 3, &mut places)
            .is_err()
    );
    assert!(
        softmax
            .cross_entropy_gradient_in_place(&mut places, 3)
            .is_err()
    );
    assert!(
        softmax
            .softmax_gradient(&[0.5; 2], &[1.0; 2], &mut places)
            .is_err()
    );
    assert!(
        softmax
            .softmax_gradient(&[0.5; 3], &[1.0; 2], &mut places)
            .is_err()
    );
    assert!(
        softmax
            .log_softmax_gradient(&[0.5; 2], &[1.0; 2], &mut places)
            .is_err()
    );
    assert!(
        softmax
            .log_softmax_gradient(&[0.5; 3], &[1.0; 4], &mut places)
            .is_err()
    );
    let partial = Error::PartialRow {
        columns: 2,
        given: 3,
    };
    for result in [
        softmax.softmax_gradient_rows(&[0.5; 3], &[1.0; 3], 2, &mut places),
        softmax.softmax_gradient_rows_in_place(&[0.5; 3], 2, &mut places),
        softmax.log_softmax_gradient_rows(&[-1.0; 3], &[1.0; 3], 2, &mut places),
        softmax.log_softmax_gradient_rows_in_place(&[-1.0; 3], 2, &mut places),
    ] {
        assert_eq!(result, Err(partial));
    }
    assert!(
        softmax
            .softmax_gradient_in_place(&[0.5; 2], &mut places)
            .is_err()
    );
    assert!(
        softmax
            .log_softmax_gradient_in_place(&[0.5; 4], &mut places)
            .is_err()
    );
    assert_eq!(places, [7.0; 3]);
}

#[test]
fn backends_of_one_arithmetic_have_the_same_bits() {
    let mut random = Random(7);
    for len in LENGTHS {
        let row = random_row(&mut random, len);
        let upstream = random_values(&mut random, len);
        let target = random.below(len);
        let results_of = |backend: Backend| {
            let softmax = on(backend);
            let mut results = vec![0.0; len];
            let mut all = Vec::new();
            let loss = softmax
                .cross_entropy_gradient(&row, target, &mut results)
                .unwrap();
            all.push(loss.to_bits());
            all.extend(bits(&results));
            softmax
                .softmax_gradient(&row, &upstream, &mut results)
                .unwrap();
            all.extend(bits(&results));
            let logs: Vec<f32> = row.iter().map(|logit| -logit).collect();
            softmax
                .log_softmax_gradient(&logs, &upstream, &mut results)
                .unwrap();
            all.extend(bits(&results));
            let mut places = [Candidate::default(); 9];
            let (_, best) = softmax.top_k(&row, &mut places).unwrap();
            all.extend(best.iter().map(|candidate| candidate.probability.to_bits()));
            all
        };
        for class in [true, false] {
            let mut of_class = backends().filter(|backend| is_fused(*backend) == class);
            if let Some(first) = of_class.next() {
                for other in of_class {
                    assert_eq!(results_of(first), results_of(other), "{other:?}, {len}");
                }
            }
        }
    }
}

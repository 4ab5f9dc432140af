//! Properties that hold of every row, tried on random ones.

use online_softmax::{Backend, Normalizer, Outcome, Softmax, Stream};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use support::oracle::Truth;
use support::rows::Random;
use support::verify::verify;
use support::{Bounds, THOROUGH, bits_of, bits_of_parts, on, ulp};

support::on_every_backend!(
    any_bits_give_what_the_specification_says,
    a_shift_changes_nothing,
    a_permutation_permutes,
    merging_is_associative,
    chunks_do_not_matter,
    in_place_is_as_apart,
    probabilities_sum_to_one,
    a_greater_logit_has_no_smaller_probability,
    parts_come_back,
    nothing_panics,
);

/// Tries `property` on random inputs; a failure names the backend and the least input found.
fn hold<S: Strategy>(
    backend: Backend,
    inputs: S,
    property: impl Fn(S::Value) -> Result<(), TestCaseError>,
) {
    let default = Config::default();
    let config = Config {
        cases: if THOROUGH {
            default.cases * 8
        } else {
            default.cases / 2
        },
        failure_persistence: None,
        ..default
    };
    if let Err(error) = TestRunner::new(config).run(&inputs, property) {
        panic!("{}: {error}", backend.name());
    }
}

/// Rows of ordinary length; now and then one of several blocks.
fn row(logit: impl Strategy<Value = f32> + Clone) -> impl Strategy<Value = Vec<f32>> {
    prop_oneof![
        4 => prop::collection::vec(logit.clone(), 1..150),
        4 => prop::collection::vec(logit.clone(), 1..8),
        1 => prop::collection::vec(logit, 500..1500),
    ]
}

fn any_bits() -> impl Strategy<Value = f32> + Clone {
    prop_oneof![
        20 => any::<u32>().prop_map(f32::from_bits),
        1 => Just(0.0),
        1 => Just(-0.0),
    ]
}

/// Logits of all sizes, near one another more often than not; masks among them.
fn finite_row() -> impl Strategy<Value = Vec<f32>> {
    let scale = prop_oneof![Just(1.0), Just(10.0), Just(100.0), Just(1e4), Just(1e30)];
    let offset = prop_oneof![Just(0.0), -300.0..300_f32, -1e6..1e6_f32];
    (scale, offset).prop_flat_map(|(scale, offset)| {
        row(prop_oneof![
            10 => (-1.0..1.0_f32).prop_map(move |unit| unit * scale + offset),
            1 => Just(offset),
            1 => Just(-1e30_f32),
        ])
    })
}

struct Outputs {
    softmax: Vec<f32>,
    log_softmax: Vec<f32>,
    log_sum_exp: f32,
}

fn outputs(backend: Backend, row: &[f32]) -> Outputs {
    let softmax = on(backend);
    let (mut probabilities, mut log_probabilities) = (vec![0.0; row.len()], vec![0.0; row.len()]);
    softmax.row(row, &mut probabilities).unwrap();
    softmax.log_row(row, &mut log_probabilities).unwrap();
    Outputs {
        softmax: probabilities,
        log_softmax: log_probabilities,
        log_sum_exp: softmax.log_sum_exp(row).unwrap(),
    }
}

/// Two results with one true value are at most twice the bound apart.
fn are_of_one_truth(backend: Backend, a: &Outputs, b: &Outputs) -> Result<(), TestCaseError> {
    let bounds = Bounds::of(backend);
    for (index, (p, q)) in a.softmax.iter().zip(&b.softmax).enumerate() {
        let distance = (f64::from(*p) - f64::from(*q)).abs();
        let small = 2.0 * Bounds::SMALL;
        prop_assert!(
            distance <= small || ulp::error(*p, f64::from(*q)) <= 2.0 * bounds.softmax,
            "probability {index}: {p:e} and {q:e}"
        );
    }
    for (index, (p, q)) in a.log_softmax.iter().zip(&b.log_softmax).enumerate() {
        prop_assert!(
            ulp::error(*p, f64::from(*q)) <= 2.0 * bounds.log_softmax,
            "log-probability {index}: {p:e} and {q:e}"
        );
    }
    Ok(())
}

fn any_bits_give_what_the_specification_says(backend: Backend) {
    let inputs = prop_oneof![
        row(any_bits()),
        row(any_bits().prop_map(|logit| if logit.is_finite() { logit } else { -1.5 })),
        finite_row(),
    ];
    hold(backend, inputs, |row| {
        verify(backend, &row).map(drop).map_err(TestCaseError::fail)
    });
}

fn a_shift_changes_nothing(backend: Backend) {
    // Multiples of a power of two with few enough bits that the sums are exact.
    let grid = -(1_i32 << 20)..1 << 20;
    let shift = -(1_i32 << 23) + (1 << 20)..(1 << 23) - (1 << 20);
    let inputs = (0..30_i32, shift).prop_flat_map(move |(exponent, shift)| {
        let unit = 2_f32.powi(-exponent);
        let logits = row(grid.clone().prop_map(move |integer| integer as f32 * unit));
        (logits, Just(shift as f32 * unit))
    });
    hold(backend, inputs, |(row, shift)| {
        let shifted: Vec<f32> = row.iter().map(|logit| logit + shift).collect();
        for (logit, moved) in row.iter().zip(&shifted) {
            prop_assert_eq!(f64::from(*moved), f64::from(*logit) + f64::from(shift));
        }
        let (before, after) = (outputs(backend, &row), outputs(backend, &shifted));
        are_of_one_truth(backend, &before, &after)?;
        let bound = Bounds::of(backend).log_sum_exp;
        let [before, after] = [before.log_sum_exp, after.log_sum_exp].map(f64::from);
        let tolerance = |result: f64| bound * ulp::spacing(result.abs().max(1.0));
        let distance = (after - before - f64::from(shift)).abs();
        prop_assert!(distance <= tolerance(before) + tolerance(after));
        Ok(())
    });
}

fn a_permutation_permutes(backend: Backend) {
    hold(backend, (finite_row(), any::<u64>()), |(row, seed)| {
        let mut order: Vec<usize> = (0..row.len()).collect();
        Random(seed).shuffle(&mut order);
        let permute =
            |values: &[f32]| -> Vec<f32> { order.iter().map(|index| values[*index]).collect() };
        let of_row = outputs(backend, &row);
        let expected = Outputs {
            softmax: permute(&of_row.softmax),
            log_softmax: permute(&of_row.log_softmax),
            log_sum_exp: of_row.log_sum_exp,
        };
        let got = outputs(backend, &permute(&row));
        are_of_one_truth(backend, &got, &expected)?;
        let error = ulp::error_above_one(got.log_sum_exp, f64::from(expected.log_sum_exp));
        prop_assert!(error <= 2.0 * Bounds::of(backend).log_sum_exp);
        Ok(())
    });
}

fn merging_is_associative(backend: Backend) {
    let softmax = on(backend);
    let part = || {
        prop_oneof![
            8 => finite_row(),
            1 => Just(Vec::new()),
            1 => row(Just(f32::NEG_INFINITY)),
            1 => row(any_bits()),
        ]
    };
    hold(backend, (part(), part(), part()), |(a, b, c)| {
        let [x, y, z] = [&a, &b, &c].map(|part| softmax.normalizer(part).unwrap());
        let left = x.merge(y).merge(z);
        let right = x.merge(y.merge(z));
        prop_assert_eq!(left.outcome(), right.outcome());
        prop_assert_eq!(bits_of(&[left.max()]), bits_of(&[right.max()]));
        if left.outcome() == Outcome::Finite {
            let truth = Truth::of(&[a, b, c].concat());
            for merged in [left, right] {
                let error = ulp::error_above_one(merged.log_sum_exp(), truth.log_sum_exp());
                prop_assert!(error <= Bounds::of(backend).log_sum_exp, "{:?}", merged);
                let error = ulp::error(merged.denominator(), truth.denominator());
                prop_assert!(error <= 1.0, "{:?}: {}", merged, error);
            }
        }
        for (one, other) in [(x, y), (y, z), (z, x), (x, x)] {
            let (merged, swapped) = (one.merge(other), other.merge(one));
            prop_assert_eq!(bits_of_parts(merged), bits_of_parts(swapped));
        }
        let identity = Normalizer::new();
        for state in [x, y, z, left, right, identity] {
            let bits = bits_of_parts(state);
            prop_assert_eq!(bits_of_parts(state.merge(identity)), bits);
            prop_assert_eq!(bits_of_parts(identity.merge(state)), bits);
        }
        Ok(())
    });
}

fn chunks_do_not_matter(backend: Backend) {
    let softmax = on(backend);
    let rows = prop_oneof![finite_row(), row(any_bits())];
    let cuts = prop::collection::vec(0..200_usize, 1..20);
    hold(backend, (rows, cuts), |(row, cuts)| {
        let mut stream = Stream::new().backend(backend).unwrap();
        let mut unread = &row[..];
        for cut in cuts {
            let (chunk, others) = unread.split_at(cut.min(unread.len()));
            stream.extend(chunk);
            unread = others;
        }
        stream.extend(unread);
        let whole = softmax.normalizer(&row).unwrap();
        prop_assert_eq!(bits_of_parts(stream.finish()), bits_of_parts(whole));
        Ok(())
    });
}

fn in_place_is_as_apart(backend: Backend) {
    let softmax = on(backend);
    let rows = prop_oneof![finite_row(), row(any_bits())];
    hold(backend, rows, |row| {
        let apart = outputs(backend, &row);
        let mut in_place = row.clone();
        softmax.row_in_place(&mut in_place).unwrap();
        prop_assert_eq!(bits_of(&in_place), bits_of(&apart.softmax));
        in_place.copy_from_slice(&row);
        softmax.log_row_in_place(&mut in_place).unwrap();
        prop_assert_eq!(bits_of(&in_place), bits_of(&apart.log_softmax));
        Ok(())
    });
}

fn probabilities_sum_to_one(backend: Backend) {
    hold(backend, finite_row(), |row| {
        let probabilities = outputs(backend, &row).softmax;
        let sum: f64 = probabilities.iter().copied().map(f64::from).sum();
        let tolerance = row.len() as f64 * 2_f64.powi(-24);
        prop_assert!((sum - 1.0).abs() <= tolerance, "{}", sum);
        prop_assert!(probabilities.iter().all(|p| (0.0..=1.0).contains(p)));
        Ok(())
    });
}

fn a_greater_logit_has_no_smaller_probability(backend: Backend) {
    // Also rows of neighbouring numbers.
    let close = (any_bits(), 0..60_u32).prop_flat_map(|(logit, width)| {
        let logit = if logit.abs() < 1e6 { logit } else { -9.75 };
        row((0..=width).prop_map(move |step| f32::from_bits(logit.to_bits() + step)))
    });
    let rows = prop_oneof![finite_row(), close];
    hold(backend, rows, |row| {
        let Outputs {
            softmax,
            log_softmax,
            ..
        } = outputs(backend, &row);
        let mut order: Vec<usize> = (0..row.len()).collect();
        order.sort_by(|a, b| row[*a].total_cmp(&row[*b]));
        let mut greatest = 0.0_f64;
        for pair in order.windows(2) {
            let [lower, higher] = [pair[0], pair[1]];
            greatest = greatest.max(f64::from(softmax[lower]));
            let least = greatest * (1.0 - 2_f64.powi(-22));
            prop_assert!(
                f64::from(softmax[higher]) >= least,
                "{:e} of {:e} after {:e}",
                softmax[higher],
                row[higher],
                greatest
            );
            prop_assert!(log_softmax[higher] >= log_softmax[lower]);
            if row[lower] == row[higher] {
                prop_assert_eq!(softmax[lower].to_bits(), softmax[higher].to_bits());
            }
        }
        Ok(())
    });
}

fn parts_come_back(backend: Backend) {
    let softmax = on(backend);
    let rows = prop_oneof![finite_row(), row(any_bits()), Just(Vec::new())];
    hold(backend, rows, |row| {
        let sent = softmax.normalizer(&row).unwrap();
        let (max, rest) = sent.to_parts();
        let received = Normalizer::from_parts(max, rest);
        prop_assert_eq!(bits_of_parts(received), bits_of_parts(sent));
        prop_assert_eq!(received.outcome(), sent.outcome());
        Ok(())
    });
}

/// What a normalizer can be asked.
fn ask(normalizer: Normalizer, logit: f32) -> [f32; 5] {
    [
        normalizer.max(),
        normalizer.denominator(),
        normalizer.log_sum_exp(),
        normalizer.probability(logit),
        normalizer.log_probability(logit),
    ]
}

#[test]
fn any_parts_make_a_state() {
    let rest = prop_oneof![
        any::<u64>().prop_map(f64::from_bits),
        any::<f64>(),
        Just(0.0),
        Just(-0.0),
        Just(-1.0),
        Just(f64::INFINITY),
    ];
    let max = prop_oneof![
        any_bits(),
        Just(f32::INFINITY),
        Just(f32::NEG_INFINITY),
        Just(f32::NAN),
    ];
    let parts = (max, rest);
    let inputs = (parts.clone(), parts, any_bits());
    hold(Backend::Scalar, inputs, |(one, other, logit)| {
        let a = Normalizer::from_parts(one.0, one.1);
        let b = Normalizer::from_parts(other.0, other.1);
        if a.outcome() != Outcome::NaN {
            prop_assert_eq!(a.to_parts(), one);
        }
        for mut state in [a, a.merge(b), b.merge(a)] {
            ask(state, logit);
            state.push(logit);
            ask(state, logit);
            let (max, rest) = state.to_parts();
            let again = Normalizer::from_parts(max, rest);
            prop_assert_eq!(bits_of_parts(again), bits_of_parts(state));
        }
        prop_assert_eq!(bits_of_parts(a.merge(b)), bits_of_parts(b.merge(a)));
        Ok(())
    });
}

/// Any bits, any lengths, any number of columns: an error or a result.
fn nothing_panics(backend: Backend) {
    let softmax = on(backend);
    let columns = prop_oneof![0..40_usize, any::<usize>()];
    let inputs = (
        prop::collection::vec(any_bits(), 0..300),
        0..300_usize,
        columns,
        any_bits(),
    );
    hold(backend, inputs, |(row, places, columns, logit)| {
        let mut out = vec![1.0; places];
        let mut same = vec![1.0; row.len()];
        for out in [&mut out, &mut same] {
            let is_ok = row.len() == out.len();
            prop_assert_eq!(softmax.row(&row, out).is_ok(), is_ok);
            prop_assert_eq!(softmax.log_row(&row, out).is_ok(), is_ok);
            prop_assert_eq!(backend.exp(&row, out).is_ok(), is_ok);
            let is_ok = is_ok && row.len().checked_rem(columns).unwrap_or(row.len()) == 0;
            prop_assert_eq!(softmax.rows(&row, columns, out).is_ok(), is_ok);
            prop_assert_eq!(softmax.log_rows(&row, columns, out).is_ok(), is_ok);
            let _ = softmax.log_sum_exp_rows(&row, columns, out);
        }
        let _ = softmax.rows_in_place(&mut row.clone(), columns);
        softmax.row_in_place(&mut row.clone()).unwrap();
        softmax.log_row_in_place(&mut row.clone()).unwrap();
        softmax.log_sum_exp(&row).unwrap();
        let normalizer = softmax.normalizer(&row).unwrap();
        ask(normalizer, logit);
        let mut stream = Stream::new().backend(backend).unwrap();
        stream.extend(&row);
        prop_assert_eq!(bits_of_parts(stream.finish()), bits_of_parts(normalizer));
        online_softmax::softmax_in_place(&mut row.clone());
        online_softmax::log_softmax_in_place(&mut row.clone());
        prop_assert_eq!(
            bits_of(&[online_softmax::log_sum_exp(&row)]),
            bits_of(&[Softmax::new().log_sum_exp(&row).unwrap()])
        );
        Ok(())
    });
}

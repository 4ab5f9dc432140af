//! The checks of `online-softmax` on arbitrary input, one function for each fuzz target. Each makes
//! a row (or several) of the bytes, as [`input`] says, panics where the contract is broken, and
//! returns how many logits it has checked.
//!
//! The oracle is [`oracle`]: `f64`, a compensated sum, the maximum's own term left out.

pub mod input;
pub mod oracle;

use input::Input;
use online_softmax::{Backend, Error, Normalizer, Outcome, Softmax, Stream};
use oracle::{Oracle, ulps, ulps_above_one};

/// A check: the bytes of its input, and the number of logits it was run on.
pub type Check = fn(&[u8]) -> usize;

/// All checks by the names of their fuzz targets.
pub const CHECKS: [(&str, Check); 5] = [
    ("backends_agree", backends_agree),
    ("against_reference", against_reference),
    ("stream_chunks", stream_chunks),
    ("merge_tree", merge_tree),
    ("special_values", special_values),
];

/// The backends without fused multiply-add: the same bits on all.
const UNFUSED: &[Backend] = &[Backend::Scalar, Backend::Portable];

/// Those with: the same bits on all.
const FUSED: &[Backend] = &[Backend::Avx2, Backend::Avx512, Backend::Neon];

/// What a place holds that nothing has been written to.
const UNTOUCHED: f32 = 0.123;

/// What the contract allows a backend, in ULP.
struct Bounds {
    softmax: f64,
    log_softmax: f64,
    exponential: f64,
}

impl Bounds {
    fn of(backend: Backend) -> Self {
        if UNFUSED.contains(&backend) {
            Bounds {
                softmax: 3.0,
                log_softmax: 3.0,
                exponential: 1.5,
            }
        } else {
            Bounds {
                softmax: 2.5,
                log_softmax: 2.0,
                exponential: 1.0,
            }
        }
    }
}

/// log Σ e^x of every backend, merged normalizers included, in ULP of max(1, |result|).
const LOG_SUM_EXP_BOUND: f64 = 2.0;

/// Every backend of one arithmetic gives the same bits in every operation (but for the payload of
/// NaN), in place as apart, row by row as all rows at once.
pub fn backends_agree(bytes: &[u8]) -> usize {
    let mut input = Input::new(bytes);
    let columns = input.count();
    let row = input.row();
    for class in [UNFUSED, FUSED] {
        let mut of_first: Option<(Backend, Results)> = None;
        for backend in class.iter().copied() {
            let Ok(softmax) = Softmax::new().backend(backend) else {
                assert!(!backend.is_available(), "{backend:?} was refused");
                continue;
            };
            let results = Results::new(softmax, backend, &row, columns);
            match &of_first {
                None => of_first = Some((backend, results)),
                Some((first, expected)) => {
                    results.assert_same(expected, format_args!("{backend:?} and {first:?}"));
                }
            }
        }
    }
    row.len()
}

/// All results of a backend for a row, and for a matrix of the same logits.
struct Results {
    probabilities: Vec<f32>,
    log_probabilities: Vec<f32>,
    /// Of the normalizer alone, of the softmax and of the log-softmax.
    normalizers: [Normalizer; 3],
    log_sum_exp: f32,
    exponentials: Vec<f32>,
    probabilities_of_rows: Vec<f32>,
    log_probabilities_of_rows: Vec<f32>,
    log_sum_exp_of_rows: Vec<f32>,
}

impl Results {
    fn new(softmax: Softmax, backend: Backend, row: &[f32], columns: usize) -> Self {
        let normalizer = softmax.normalizer(row).unwrap();
        let (probabilities, of_softmax) = probabilities(softmax, row);
        let (log_probabilities, of_log_softmax) = log_probabilities(softmax, row);
        let log_sum_exp = softmax.log_sum_exp(row).unwrap();
        let expected = normalizer.log_sum_exp();
        assert_same(
            &[log_sum_exp],
            &[expected],
            format_args!("{backend:?}: log_sum_exp"),
        );
        let mut exponentials = vec![UNTOUCHED; row.len()];
        backend.exp(row, &mut exponentials).unwrap();

        assert_refuses_partial_rows(softmax, row, columns);
        let rows = row.len().checked_div(columns).unwrap_or(0);
        let matrix = &row[..rows * columns];
        let mut probabilities_of_rows = vec![UNTOUCHED; matrix.len()];
        softmax
            .rows(matrix, columns, &mut probabilities_of_rows)
            .unwrap();
        let mut in_place = matrix.to_vec();
        softmax.rows_in_place(&mut in_place, columns).unwrap();
        let what = format_args!("{backend:?}: rows in place, {columns} columns");
        assert_same(&in_place, &probabilities_of_rows, what);
        let mut log_probabilities_of_rows = vec![UNTOUCHED; matrix.len()];
        softmax
            .log_rows(matrix, columns, &mut log_probabilities_of_rows)
            .unwrap();
        let mut log_sum_exp_of_rows = vec![UNTOUCHED; rows];
        softmax
            .log_sum_exp_rows(matrix, columns, &mut log_sum_exp_of_rows)
            .unwrap();
        if let Some(start) = rows.checked_sub(1).map(|last| last * columns) {
            let last = &matrix[start..];
            let what = format_args!("{backend:?}: last of rows, {columns} columns");
            let (expected, _) = self::probabilities(softmax, last);
            assert_same(&probabilities_of_rows[start..], &expected, what);
            let (expected, _) = self::log_probabilities(softmax, last);
            assert_same(&log_probabilities_of_rows[start..], &expected, what);
            let expected = softmax.log_sum_exp(last).unwrap();
            assert_same(&log_sum_exp_of_rows[rows - 1..], &[expected], what);
        }

        Results {
            probabilities,
            log_probabilities,
            normalizers: [normalizer, of_softmax, of_log_softmax],
            log_sum_exp,
            exponentials,
            probabilities_of_rows,
            log_probabilities_of_rows,
            log_sum_exp_of_rows,
        }
    }

    fn assert_same(&self, other: &Self, who: std::fmt::Arguments) {
        for (operation, a, b) in [
            ("softmax", &self.probabilities, &other.probabilities),
            (
                "log_softmax",
                &self.log_probabilities,
                &other.log_probabilities,
            ),
            (
                "log_sum_exp",
                &vec![self.log_sum_exp],
                &vec![other.log_sum_exp],
            ),
            ("exp", &self.exponentials, &other.exponentials),
            (
                "rows",
                &self.probabilities_of_rows,
                &other.probabilities_of_rows,
            ),
            (
                "log_rows",
                &self.log_probabilities_of_rows,
                &other.log_probabilities_of_rows,
            ),
            (
                "log_sum_exp_rows",
                &self.log_sum_exp_of_rows,
                &other.log_sum_exp_of_rows,
            ),
        ] {
            assert_same(a, b, format_args!("{operation} of {who}"));
        }
        for (a, b) in self.normalizers.into_iter().zip(other.normalizers) {
            assert_same_normalizer(a, b, format_args!("normalizer of {who}"));
        }
    }
}

/// If `row` is no whole number of rows, every operation says so and writes nothing.
fn assert_refuses_partial_rows(softmax: Softmax, row: &[f32], columns: usize) {
    if row.len().checked_rem(columns).unwrap_or(row.len()) == 0 {
        return;
    }
    let given = row.len();
    let expected = Err(Error::PartialRow { columns, given });
    let mut out = vec![UNTOUCHED; given];
    assert_eq!(softmax.rows(row, columns, &mut out), expected);
    assert_eq!(softmax.log_rows(row, columns, &mut out), expected);
    assert_eq!(softmax.log_sum_exp_rows(row, columns, &mut out), expected);
    assert_eq!(softmax.rows_in_place(&mut out, columns), expected);
    assert!(
        out.iter().all(|value| *value == UNTOUCHED),
        "written in spite of an error"
    );
}

/// Every result of a finite row is within the bounds of the contract.
pub fn against_reference(bytes: &[u8]) -> usize {
    let row = Input::new(bytes).row();
    let is_finite = oracle::outcome(&row) == Outcome::Finite;
    let oracle = Oracle::new(&row);
    let truth = |of: &dyn Fn(f32) -> f64| row.iter().map(|x| of(*x)).collect::<Vec<f64>>();
    let true_probabilities = truth(&|x| oracle.probability(x));
    let true_log_probabilities = truth(&|x| oracle.log_probability(x));
    let true_exponentials = truth(&|x| f64::from(x).exp());
    for backend in Backend::available() {
        let bounds = Bounds::of(backend);
        let softmax = Softmax::new().backend(backend).unwrap();

        let mut exponentials = vec![UNTOUCHED; row.len()];
        backend.exp(&row, &mut exponentials).unwrap();
        for ((x, result), truth) in row.iter().zip(exponentials).zip(&true_exponentials) {
            if *x <= 0.0 {
                let error = ulps(result, *truth);
                assert!(
                    error <= bounds.exponential,
                    "{backend:?}: exp({x:e}) = {result:e} for {truth:e}, {error} ULP"
                );
            }
        }
        if !is_finite {
            continue;
        }

        let (probabilities, of_softmax) = probabilities(softmax, &row);
        for (i, (result, truth)) in probabilities.iter().zip(&true_probabilities).enumerate() {
            let error = ulps(*result, *truth);
            let smallest_normal = f64::from(f32::MIN_POSITIVE);
            let is_right = if *truth >= smallest_normal {
                error <= bounds.softmax
            } else {
                (f64::from(*result) - truth).abs() <= smallest_normal
            };
            assert!(
                is_right,
                "{backend:?}: softmax [{i}] = {result:e} for {truth:e}, {error} ULP, logit {:e}",
                row[i]
            );
        }

        let (log_probabilities, of_log_softmax) = log_probabilities(softmax, &row);
        for (i, (result, truth)) in log_probabilities
            .iter()
            .zip(&true_log_probabilities)
            .enumerate()
        {
            let error = ulps(*result, *truth);
            assert!(
                *result as f64 == *truth || error <= bounds.log_softmax,
                "{backend:?}: log_softmax [{i}] = {result:e} for {truth:e}, {error} ULP, logit {:e}",
                row[i]
            );
        }
        let alone = softmax.normalizer(&row).unwrap();
        for normalizer in [alone, of_softmax, of_log_softmax] {
            assert_log_sum_exp(normalizer, &oracle, format_args!("{backend:?}"));
        }
    }
    row.len()
}

fn assert_log_sum_exp(normalizer: Normalizer, oracle: &Oracle, who: std::fmt::Arguments) {
    let (result, truth) = (normalizer.log_sum_exp(), oracle.log_sum_exp());
    let error = ulps_above_one(result, truth);
    assert!(
        error <= LOG_SUM_EXP_BOUND,
        "{who}: log_sum_exp = {result:e} for {truth:e}, {error} ULP"
    );
}

/// A stream has the bits of the whole, however it is cut, whether it is asked in between, and
/// whichever backend of one arithmetic takes which part.
pub fn stream_chunks(bytes: &[u8]) -> usize {
    let mut input = Input::new(bytes);
    let asked_after = input.count();
    let number_of_chunks = 1 + input.byte() % 8;
    let mut lengths: Vec<usize> = (0..number_of_chunks).map(|_| input.count()).collect();
    if lengths.iter().all(|length| *length == 0) {
        lengths.push(1);
    }
    let row = input.row();
    for class in [UNFUSED, FUSED] {
        let available: Vec<Backend> = class
            .iter()
            .copied()
            .filter(|backend| backend.is_available())
            .collect();
        for backend in &available {
            let softmax = Softmax::new().backend(*backend).unwrap();
            let mut stream = Stream::new().backend(*backend).unwrap();
            let mut shared_stream = stream.clone();
            let mut read = 0;
            let mut others = available.iter().cycle();
            for length in lengths.iter().cycle() {
                if read >= asked_after && read - asked_after < *length {
                    let expected = softmax.normalizer(&row[..read]).unwrap();
                    let what = format_args!("{backend:?}: stream after {read}");
                    assert_same_normalizer(stream.finish(), expected, what);
                }
                let next = row.len().min(read + length);
                stream.extend(&row[read..next]);
                if let Some(other) = others.next() {
                    shared_stream = shared_stream.backend(*other).unwrap();
                }
                shared_stream.extend(&row[read..next]);
                read = next;
                if read == row.len() {
                    break;
                }
            }
            let expected = softmax.normalizer(&row).unwrap();
            let what = format_args!("{backend:?}: stream in chunks of {lengths:?}");
            assert_same_normalizer(stream.finish(), expected, what);
            let what = format_args!("{available:?}: stream in chunks of {lengths:?}");
            assert_same_normalizer(shared_stream.finish(), expected, what);
        }
    }
    row.len()
}

/// The normalizers of slices, merged in any tree, say what the whole row is: the outcome and the
/// maximum exactly, log Σ e^x and the probabilities within the bounds of a single backend (a
/// merge adds only errors of `f64`). Merging is commutative, and the empty one its identity.
pub fn merge_tree(bytes: &[u8]) -> usize {
    let mut input = Input::new(bytes);
    let number_of_slices = 1 + usize::from(input.byte() % 32);
    let plan: Vec<[u8; 3]> = (0..number_of_slices)
        .map(|_| [input.byte(), input.byte(), input.byte()])
        .collect();
    let row = input.row();
    let backends: Vec<Backend> = Backend::available().collect();

    let mut unread = &row[..];
    let mut states = Vec::new();
    for [cut, by, _] in &plan {
        let is_last = states.len() + 1 == plan.len();
        let length = if is_last {
            unread.len()
        } else {
            unread.len() * usize::from(*cut) / 256
        };
        let (slice, others) = unread.split_at(length);
        states.push(
            match backends.get(usize::from(*by) % (backends.len() + 1)) {
                Some(backend) => Softmax::new()
                    .backend(*backend)
                    .unwrap()
                    .normalizer(slice)
                    .unwrap(),
                None => slice.iter().copied().collect(),
            },
        );
        unread = others;
    }
    for [a, b, c] in &plan {
        if states.len() < 2 {
            break;
        }
        let first = states.swap_remove(usize::from(a ^ c) % states.len());
        let second = states.swap_remove(usize::from(b ^ c) % states.len());
        let merged = first.merge(second);
        assert_same_normalizer(second.merge(first), merged, format_args!("commuted"));
        assert_same_normalizer(
            merged.merge(Normalizer::new()),
            merged,
            format_args!("identity"),
        );
        let (max, rest) = merged.to_parts();
        let sent = Normalizer::from_parts(max, rest);
        assert_same_normalizer(sent, merged, format_args!("sent"));
        states.push(merged);
    }
    let [merged] = states[..] else {
        unreachable!("each step leaves one state fewer");
    };

    assert_eq!(merged.outcome(), oracle::outcome(&row));
    if merged.outcome() != Outcome::Finite {
        return row.len();
    }
    let oracle = Oracle::new(&row);
    assert_eq!(f64::from(merged.max()), oracle.max);
    assert_log_sum_exp(merged, &oracle, format_args!("merged"));
    let bounds = Bounds::of(Backend::Scalar);
    for logit in row.iter().copied().take(256) {
        let (result, truth) = (merged.probability(logit), oracle.probability(logit));
        assert!(
            truth < f64::from(f32::MIN_POSITIVE) || ulps(result, truth) <= bounds.softmax,
            "merged: probability({logit:e}) = {result:e} for {truth:e}"
        );
        let (result, truth) = (merged.log_probability(logit), oracle.log_probability(logit));
        assert!(
            f64::from(result) == truth || ulps(result, truth) <= bounds.log_softmax,
            "merged: log_probability({logit:e}) = {result:e} for {truth:e}"
        );
    }
    row.len()
}

/// The outcome is that of a plain scan, whoever is asked, and the results are as the contract's
/// table of special values says.
pub fn special_values(bytes: &[u8]) -> usize {
    let row = Input::new(bytes).row();
    let expected = oracle::outcome(&row);
    let pushed: Normalizer = row.iter().copied().collect();
    assert_special_normalizer(pushed, &row, expected, format_args!("pushed"));
    for backend in Backend::available() {
        let softmax = Softmax::new().backend(backend).unwrap();
        let mut stream = Stream::new().backend(backend).unwrap();
        stream.extend(&row);
        let (probabilities, of_row) = probabilities(softmax, &row);
        let (log_probabilities, of_log_row) = log_probabilities(softmax, &row);
        for (normalizer, operation) in [
            (softmax.normalizer(&row).unwrap(), "normalizer"),
            (stream.finish(), "stream"),
            (of_row, "softmax"),
            (of_log_row, "log_softmax"),
        ] {
            let who = format_args!("{backend:?}: {operation}");
            assert_special_normalizer(normalizer, &row, expected, who);
        }
        for (i, x) in row.iter().enumerate() {
            let (a, log_a) = (probabilities[i], log_probabilities[i]);
            let is_right = match expected {
                Outcome::Finite if row.len() == 1 => a == 1.0 && log_a == 0.0,
                Outcome::Finite if *x == f32::NEG_INFINITY => {
                    a.to_bits() == 0 && log_a == f32::NEG_INFINITY
                }
                Outcome::Finite => (0.0..=1.0).contains(&a) && log_a <= 0.0,
                _ => a.is_nan() && log_a.is_nan(),
            };
            assert!(
                is_right,
                "{backend:?}: [{i}] of {x:e} is {a:e}, its logarithm {log_a:e}"
            );
        }
        let is_uniform = row.iter().all(|x| *x == row[0]) && row.len().is_power_of_two();
        if expected == Outcome::Finite && is_uniform {
            let share = 1.0 / row.len() as f32;
            assert!(
                probabilities.iter().all(|a| *a == share),
                "{backend:?}: {} equal logits {:e} have {:e}",
                row.len(),
                row[0],
                probabilities[0]
            );
        }
    }
    row.len()
}

fn assert_special_normalizer(
    normalizer: Normalizer,
    row: &[f32],
    expected: Outcome,
    who: std::fmt::Arguments,
) {
    assert_eq!(normalizer.outcome(), expected, "{who}");
    let (max, denominator) = (normalizer.max(), normalizer.denominator());
    let log_sum_exp = normalizer.log_sum_exp();
    let is_right = match expected {
        Outcome::NaN => max.is_nan() && denominator.is_nan() && log_sum_exp.is_nan(),
        Outcome::PositiveInfinity => {
            max == f32::INFINITY && denominator.is_nan() && log_sum_exp == f32::INFINITY
        }
        Outcome::Empty | Outcome::FullyMasked => {
            max == f32::NEG_INFINITY && denominator == 0.0 && log_sum_exp == f32::NEG_INFINITY
        }
        Outcome::Finite => {
            max == row.iter().copied().fold(f32::NEG_INFINITY, f32::max)
                && (1.0..=row.len() as f32).contains(&denominator)
                && log_sum_exp >= max
                && (row.len() > 1 || log_sum_exp == max)
        }
    };
    assert!(
        is_right,
        "{who}: max {max:e}, denominator {denominator:e}, log {log_sum_exp:e}"
    );
}

/// The softmax; in place it is the same.
fn probabilities(softmax: Softmax, row: &[f32]) -> (Vec<f32>, Normalizer) {
    let mut apart = vec![UNTOUCHED; row.len()];
    let normalizer = softmax.row(row, &mut apart).unwrap();
    let mut in_place = row.to_vec();
    let again = softmax.row_in_place(&mut in_place).unwrap();
    let what = format_args!("softmax in place and apart, {softmax:?}");
    assert_same(&in_place, &apart, what);
    assert_same_normalizer(again, normalizer, what);
    (apart, normalizer)
}

/// The log-softmax; in place it is the same.
fn log_probabilities(softmax: Softmax, row: &[f32]) -> (Vec<f32>, Normalizer) {
    let mut apart = vec![UNTOUCHED; row.len()];
    let normalizer = softmax.log_row(row, &mut apart).unwrap();
    let mut in_place = row.to_vec();
    let again = softmax.log_row_in_place(&mut in_place).unwrap();
    let what = format_args!("log_softmax in place and apart, {softmax:?}");
    assert_same(&in_place, &apart, what);
    assert_same_normalizer(again, normalizer, what);
    (apart, normalizer)
}

/// The same bits; all NaN are one.
fn assert_same(a: &[f32], b: &[f32], what: std::fmt::Arguments) {
    assert_eq!(a.len(), b.len(), "{what}");
    for (i, (a, b)) in a.iter().zip(b).enumerate() {
        assert!(
            a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan(),
            "{what}: [{i}] is {a:e} and {b:e}"
        );
    }
}

fn assert_same_normalizer(a: Normalizer, b: Normalizer, what: std::fmt::Arguments) {
    let ((a_max, a_rest), (b_max, b_rest)) = (a.to_parts(), b.to_parts());
    assert_same(&[a_max], &[b_max], what);
    assert!(
        a_rest.to_bits() == b_rest.to_bits() || a_rest.is_nan() && b_rest.is_nan(),
        "{what}: the rest is {a_rest:e} and {b_rest:e}"
    );
    assert_eq!(a.outcome(), b.outcome(), "{what}");
}

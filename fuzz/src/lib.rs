//! The checks of `online-softmax` on arbitrary input, one function for each fuzz target. Each makes
//! a row (or several) of the bytes, as [`input`] says, panics where the contract is broken, and
//! returns how many logits it has checked.
//!
//! The oracle, the measure of error and the options are those of the tests, of the crate `support`.

mod axes;
mod compare;
pub mod input;
mod losses;
mod operations;
mod options;
mod sampling;

pub use axes::axes;
use compare::{
    Expected, Outputs, Row, UNTOUCHED, assert_arithmetics_agree, assert_log_probability,
    assert_log_sum_exp, assert_probability, assert_same, assert_same_normalizer, assert_untouched,
    log_probabilities, probabilities,
};
use input::Input;
use online_softmax::{Backend, Error, Normalizer, Outcome, Softmax, Stream};
pub use operations::operations;
pub use options::options;
pub use sampling::sampling;
use support::oracle::Truth;
use support::verify::expected_outcome;
use support::{Bounds, FUSED, UNFUSED, on, ulp};

/// A check: the bytes of its input, and the number of logits it was run on.
pub type Check = fn(&[u8]) -> usize;

/// All checks by the names of their fuzz targets.
pub const CHECKS: [(&str, Check); 9] = [
    ("backends_agree", backends_agree),
    ("against_reference", against_reference),
    ("stream_chunks", stream_chunks),
    ("merge_tree", merge_tree),
    ("special_values", special_values),
    ("axes", axes),
    ("options", options),
    ("operations", operations),
    ("sampling", sampling),
];

/// Every backend of one arithmetic gives the same bits in every operation (but for the payload of
/// NaN), in place as apart, row by row as all rows at once.
pub fn backends_agree(bytes: &[u8]) -> usize {
    let mut input = Input::new(bytes);
    let columns = input.count();
    let row = input.row();
    assert_arithmetics_agree(|softmax, backend| {
        let mut outputs = Outputs::of_row(softmax, &row);
        let mut exponentials = vec![UNTOUCHED; row.len()];
        backend.exp(&row, &mut exponentials).unwrap();
        outputs.add("exp", exponentials);

        assert_refuses_partial_rows(softmax, &row, columns);
        let rows = row.len().checked_div(columns).unwrap_or(0);
        let matrix = &row[..rows * columns];
        let of_rows = outputs_of_rows(softmax, matrix, columns);
        if let Some(start) = rows.checked_sub(1).map(|last| last * columns) {
            let last = &matrix[start..];
            let what = format_args!("{backend:?}: last of rows, {columns} columns");
            let (expected, _) = probabilities(softmax, last);
            assert_same(&of_rows.get("rows")[start..], &expected, what);
            let (expected, _) = log_probabilities(softmax, last);
            assert_same(&of_rows.get("log_rows")[start..], &expected, what);
            let expected = softmax.log_sum_exp(last).unwrap();
            let log_sum_exp = &of_rows.get("log_sum_exp_rows")[rows - 1..];
            assert_same(log_sum_exp, &[expected], what);
        }
        outputs.append(of_rows);
        outputs
    });
    row.len()
}

/// The results of all rows of a matrix at once; in place they are the same.
fn outputs_of_rows(softmax: Softmax, matrix: &[f32], columns: usize) -> Outputs {
    let mut apart = vec![UNTOUCHED; matrix.len()];
    softmax.rows(matrix, columns, &mut apart).unwrap();
    let mut in_place = matrix.to_vec();
    softmax.rows_in_place(&mut in_place, columns).unwrap();
    let what = format_args!("rows in place, {columns} columns, {softmax:?}");
    assert_same(&in_place, &apart, what);
    softmax.log_rows(matrix, columns, &mut in_place).unwrap();
    let rows = matrix.len().checked_div(columns).unwrap_or(0);
    let mut log_sum_exp = vec![UNTOUCHED; rows];
    softmax
        .log_sum_exp_rows(matrix, columns, &mut log_sum_exp)
        .unwrap();
    let mut outputs = Outputs::default();
    outputs.add("rows", apart);
    outputs.add("log_rows", in_place);
    outputs.add("log_sum_exp_rows", log_sum_exp);
    outputs
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
    assert_untouched(&out);
}

/// Every result of a finite row is within the bounds of the contract.
pub fn against_reference(bytes: &[u8]) -> usize {
    let row = Input::new(bytes).row();
    let expected = Expected::new(Row::new(&row));
    let true_exponentials: Vec<f64> = row.iter().map(|x| f64::from(*x).exp()).collect();
    for backend in Backend::available() {
        let bounds = Bounds::of(backend);
        let softmax = on(backend);

        let mut exponentials = vec![UNTOUCHED; row.len()];
        backend.exp(&row, &mut exponentials).unwrap();
        for ((x, result), truth) in row.iter().zip(exponentials).zip(&true_exponentials) {
            if *x <= 0.0 {
                let error = ulp::error(result, *truth);
                assert!(
                    error <= bounds.exponential,
                    "{backend:?}: exp({x:e}) = {result:e} for {truth:e}, {error} ULP"
                );
            }
        }
        let Some(truth) = &expected.truth else {
            continue;
        };

        let (probabilities, of_softmax) = probabilities(softmax, &row);
        let (log_probabilities, of_log_softmax) = log_probabilities(softmax, &row);
        expected.assert_bounds(backend, &probabilities, &log_probabilities);
        let alone = softmax.normalizer(&row).unwrap();
        for normalizer in [alone, of_softmax, of_log_softmax] {
            assert_log_sum_exp(normalizer, truth, format_args!("{backend:?}"));
        }
    }
    row.len()
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
            let softmax = on(*backend);
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
                Some(backend) => on(*backend).normalizer(slice).unwrap(),
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

    assert_eq!(merged.outcome(), expected_outcome(&row));
    if merged.outcome() != Outcome::Finite {
        return row.len();
    }
    let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    assert_eq!(merged.max(), max);
    let truth = Truth::of(&row);
    assert_log_sum_exp(merged, &truth, format_args!("merged"));
    for logit in row.iter().copied().take(256) {
        let result = merged.probability(logit);
        let who = format_args!("merged: probability({logit:e})");
        assert_probability(result, truth.probability(logit), who);
        let result = merged.log_probability(logit);
        let who = format_args!("merged: log_probability({logit:e})");
        assert_log_probability(Backend::Scalar, result, truth.log_probability(logit), who);
    }
    row.len()
}

/// The outcome is that of a plain scan, whoever is asked, and the results are as the contract's
/// table of special values says.
pub fn special_values(bytes: &[u8]) -> usize {
    let logits = Input::new(bytes).row();
    let row = Row::new(&logits);
    let pushed: Normalizer = logits.iter().copied().collect();
    row.assert_special_normalizer(pushed, format_args!("pushed"));
    for backend in Backend::available() {
        let softmax = on(backend);
        let mut stream = Stream::new().backend(backend).unwrap();
        stream.extend(&logits);
        let (probabilities, of_row) = probabilities(softmax, &logits);
        let (log_probabilities, of_log_row) = log_probabilities(softmax, &logits);
        for (normalizer, operation) in [
            (softmax.normalizer(&logits).unwrap(), "normalizer"),
            (stream.finish(), "stream"),
            (of_row, "softmax"),
            (of_log_row, "log_softmax"),
        ] {
            row.assert_special_normalizer(normalizer, format_args!("{backend:?}: {operation}"));
        }
        row.assert_special(
            &probabilities,
            &log_probabilities,
            format_args!("{backend:?}"),
        );
    }
    logits.len()
}

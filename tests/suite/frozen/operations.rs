//! The operations without options.

use super::Record;
use super::arguments;
use super::inputs::{Kind, matrix, tensor};
use online_softmax::{Backend, Candidate, CrossEntropy, Normalizer, Softmax, Stream, reference};

/// Lengths of rows beside all up to 70: around those of blocks, of groups of blocks, and of the
/// thresholds between forms.
const LENGTHS: [usize; 23] = [
    95, 96, 97, 127, 128, 129, 160, 255, 256, 257, 511, 512, 513, 1000, 1024, 1025, 2047, 2048,
    2049, 4095, 4096, 4097, 33_000,
];

/// Columns of matrices.
const COLUMNS: [usize; 16] = [
    1, 2, 3, 7, 10, 17, 31, 32, 33, 64, 100, 197, 256, 1000, 1025, 4097,
];

/// Lengths of an axis, and of what is inside of it.
const AXES: [usize; 7] = [1, 2, 7, 64, 65, 129, 300];
const INNERS: [usize; 12] = [1, 2, 3, 8, 16, 31, 32, 33, 64, 100, 257, 600];

/// What results are written over.
const UNWRITTEN: f32 = 7.0;

pub(crate) fn digest(record: &mut Record) {
    for len in (0..=70).chain(LENGTHS) {
        for kind in Kind::of_length(len) {
            let row = kind.row(len, 0);
            record.of("inputs").values(&row);
            of_row(record, &row);
            of_state(record, &row);
            losses(record, &row);
            if len <= 300 {
                normalizers(record, &row);
                references(record, &row);
            }
        }
    }
    free_functions(record);
    matrices(record);
    tensors(record);
    best(record);
    gradients(record);
    exponentials(record);
}

fn of_row(record: &mut Record, row: &[f32]) {
    let softmax = record.softmax();
    let mut results = vec![UNWRITTEN; row.len()];
    let of_row = softmax.row(row, &mut results).unwrap();
    record.of("row").values(&results);
    record.of("row").normalizer(of_row);
    let of_log_row = softmax.log_row(row, &mut results).unwrap();
    record.of("log_row").values(&results);
    record.of("log_row").normalizer(of_log_row);

    results.copy_from_slice(row);
    let of_row = softmax.row_in_place(&mut results).unwrap();
    record.of("row_in_place").values(&results);
    record.of("row_in_place").normalizer(of_row);
    results.copy_from_slice(row);
    let of_log_row = softmax.log_row_in_place(&mut results).unwrap();
    record.of("log_row_in_place").values(&results);
    record.of("log_row_in_place").normalizer(of_log_row);
}

/// What is read off a row without a result for each logit.
fn of_state(record: &mut Record, row: &[f32]) {
    let softmax = record.softmax();
    let normalizer = softmax.normalizer(row).unwrap();
    record.of("normalizer").normalizer(normalizer);
    let log_sum_exp = softmax.log_sum_exp(row).unwrap();
    record.of("log_sum_exp").value(log_sum_exp);
    // Of the sizes of chunks neighbouring lengths have all.
    let chunk = match row.len() {
        0..=300 => [1, 3, 7, 33, 65][row.len() % 5],
        301..=5000 => [7, 33, 129, 999][row.len() % 4],
        _ => 1001,
    };
    stream(record, row, chunk);
}

/// Chunks of one size; what was seen is asked for in the middle too.
fn stream(record: &mut Record, row: &[f32], chunk: usize) {
    let mut stream = Stream::new().backend(record.backend).unwrap();
    for (index, chunk) in row.chunks(chunk).enumerate() {
        stream.extend(chunk);
        if index % 8 == 3 {
            record.of("stream").normalizer(stream.finish());
        }
    }
    record.of("stream").normalizer(stream.finish());
}

fn normalizers(record: &mut Record, row: &[f32]) {
    let mut pushed = Normalizer::new();
    for logit in row {
        pushed.push(*logit);
        record.of("normalizer, push").normalizer(pushed);
    }

    let softmax = record.softmax();
    let mut merged = Normalizer::new();
    for part in row.chunks(row.len() / 3 + 1) {
        merged = merged.merge(softmax.normalizer(part).unwrap());
        record.of("normalizer, merge").normalizer(merged);
    }
    merged = merged.merge(pushed);
    record.of("normalizer, merge").normalizer(merged);

    for state in [pushed, merged] {
        let (max, rest) = state.to_parts();
        let back = Normalizer::from_parts(max, rest);
        record.of("normalizer, from_parts").normalizer(back);
        let digest = record.of("normalizer, read");
        digest.values(&[state.max(), state.denominator(), state.log_sum_exp()]);
        for logit in row.iter().step_by(3).copied().chain([0.5, -20.0]) {
            digest.value(state.probability(logit));
            digest.value(state.log_probability(logit));
        }
    }
}

fn losses(record: &mut Record, row: &[f32]) {
    let softmax = record.softmax();
    let mut gradient = vec![UNWRITTEN; row.len()];
    let Some(last) = row.len().checked_sub(1) else {
        return;
    };
    let target = [0, row.len() / 2, last][(row.len() + row.len() / 3) % 3];
    let loss = softmax.cross_entropy(row, target).unwrap();
    record.of("cross_entropy").value(loss);
    let loss = softmax
        .cross_entropy_gradient(row, target, &mut gradient)
        .unwrap();
    record.of("cross_entropy_gradient").value(loss);
    record.of("cross_entropy_gradient").values(&gradient);
    gradient.copy_from_slice(row);
    let loss = softmax
        .cross_entropy_gradient_in_place(&mut gradient, target)
        .unwrap();
    record.of("cross_entropy_gradient_in_place").value(loss);
    record
        .of("cross_entropy_gradient_in_place")
        .values(&gradient);
}

/// The textbook forms know of no backend, so both columns have the same.
fn references(record: &mut Record, row: &[f32]) {
    let mut results = vec![UNWRITTEN; row.len()];
    reference::three_loop(row, &mut results);
    record.of("reference, three_loop").values(&results);
    reference::online(row, &mut results);
    record.of("reference, online").values(&results);
}

/// They run on the best backend; on the others the methods stand in for them.
fn free_functions(record: &mut Record) {
    let is_best = record.backend == Backend::best();
    let softmax = if is_best {
        Softmax::new()
    } else {
        record.softmax()
    };
    for len in (0..40).chain([100, 1000]) {
        let kind = Kind::EVERY[len % Kind::EVERY.len()];
        let row = kind.row(len, 1);
        let digest = record.of("free functions");
        let mut results = vec![UNWRITTEN; len];
        let mut candidates = [Candidate::default(); 3];
        let [mut in_place, mut log_in_place] = [row.clone(), row.clone()];
        if is_best {
            digest.normalizer(online_softmax::softmax(&row, &mut results).unwrap());
            digest.values(&results);
            digest.normalizer(online_softmax::log_softmax(&row, &mut results).unwrap());
            digest.values(&results);
            digest.normalizer(online_softmax::softmax_in_place(&mut in_place));
            digest.normalizer(online_softmax::log_softmax_in_place(&mut log_in_place));
            digest.value(online_softmax::log_sum_exp(&row));
            digest.candidates(online_softmax::top_k(&row, &mut candidates));
        } else {
            digest.normalizer(softmax.row(&row, &mut results).unwrap());
            digest.values(&results);
            digest.normalizer(softmax.log_row(&row, &mut results).unwrap());
            digest.values(&results);
            digest.normalizer(softmax.row_in_place(&mut in_place).unwrap());
            digest.normalizer(softmax.log_row_in_place(&mut log_in_place).unwrap());
            digest.value(softmax.log_sum_exp(&row).unwrap());
            digest.candidates(softmax.top_k(&row, &mut candidates).unwrap());
        }
        digest.values(&in_place);
        digest.values(&log_in_place);
        if len == 0 {
            continue;
        }
        let upstream = Kind::Small.row(len, 2);
        if is_best {
            digest.value(online_softmax::cross_entropy(&row, len / 2).unwrap());
            let loss = online_softmax::cross_entropy_gradient(&row, len / 2, &mut results);
            digest.value(loss.unwrap());
            digest.values(&results);
            online_softmax::softmax_gradient(&in_place, &upstream, &mut results).unwrap();
            digest.values(&results);
            online_softmax::log_softmax_gradient(&log_in_place, &upstream, &mut results).unwrap();
        } else {
            digest.value(softmax.cross_entropy(&row, len / 2).unwrap());
            let loss = softmax.cross_entropy_gradient(&row, len / 2, &mut results);
            digest.value(loss.unwrap());
            digest.values(&results);
            softmax
                .softmax_gradient(&in_place, &upstream, &mut results)
                .unwrap();
            digest.values(&results);
            softmax
                .log_softmax_gradient(&log_in_place, &upstream, &mut results)
                .unwrap();
        }
        digest.values(&results);
    }
}

fn matrices(record: &mut Record) {
    for columns in COLUMNS {
        let (rows, usual) = match columns {
            0..=33 => (67, 20),
            34..=256 => (35, 7),
            _ => (4, 3),
        };
        of_matrix(record, &matrix(rows, columns, true), columns);
        of_matrix(record, &matrix(usual, columns, false), columns);
    }
    // Few rows: several are under way together, and some are left over.
    for rows in 0..=6 {
        for columns in [5, 10, 33, 100, 300, 2050] {
            of_matrix(record, &matrix(rows, columns, rows % 2 == 1), columns);
        }
    }
}

fn of_matrix(record: &mut Record, logits: &[f32], columns: usize) {
    let softmax = record.softmax();
    record.of("inputs").values(logits);
    let mut results = vec![UNWRITTEN; logits.len()];
    softmax.rows(logits, columns, &mut results).unwrap();
    record.of("rows").values(&results);
    softmax.log_rows(logits, columns, &mut results).unwrap();
    record.of("log_rows").values(&results);
    results.copy_from_slice(logits);
    softmax.rows_in_place(&mut results, columns).unwrap();
    record.of("rows_in_place").values(&results);
    let mut out = vec![UNWRITTEN; logits.len() / columns];
    softmax.log_sum_exp_rows(logits, columns, &mut out).unwrap();
    record.of("log_sum_exp_rows").values(&out);
    losses_of_matrix(record, logits, columns);
}

/// Weights, smoothing, ignored rows and soft targets in turn.
fn losses_of_matrix(record: &mut Record, logits: &[f32], columns: usize) {
    let rows = logits.len() / columns;
    let weights: Vec<f32> = (0..columns).map(|i| 0.25 + (i % 7) as f32).collect();
    let targets: Vec<usize> = (0..rows).map(|row| row * 5 % columns).collect();
    let soft_targets: Vec<f32> = (0..logits.len()).map(|i| (i % 5) as f32 * 0.125).collect();
    let loss = CrossEntropy::new().softmax(record.softmax());
    let mut losses = vec![UNWRITTEN; rows];
    let mut gradient = vec![UNWRITTEN; logits.len()];
    for (name, loss) in [
        ("CrossEntropy", loss),
        ("CrossEntropy, weights", loss.class_weights(&weights)),
        ("CrossEntropy, smoothing", loss.label_smoothing(0.1)),
        (
            "CrossEntropy, all",
            loss.class_weights(&weights).label_smoothing(0.3).ignore(1),
        ),
    ] {
        loss.rows(logits, columns, &targets, &mut losses).unwrap();
        record.of(name).values(&losses);
        let mean = loss.gradient(logits, columns, &targets, &mut gradient);
        record.of(name).value(mean.unwrap());
        record.of(name).values(&gradient);
    }
    for loss in [loss, loss.class_weights(&weights).label_smoothing(0.3)] {
        let digest = record.of("CrossEntropy, soft targets");
        loss.soft_rows(logits, columns, &soft_targets, &mut losses)
            .unwrap();
        digest.values(&losses);
        let mean = loss.soft_gradient(logits, columns, &soft_targets, &mut gradient);
        digest.value(mean.unwrap());
        digest.values(&gradient);
    }
}

fn tensors(record: &mut Record) {
    for inner in INNERS {
        for axis in AXES {
            if inner * axis <= 20_000 {
                let outer = if inner * axis <= 2000 { 2 } else { 1 };
                of_tensor(record, [outer, axis, inner]);
            }
        }
    }
    for shape in [[5, 3, 4], [1, 2100, 20], [1, 65, 600], [1, 300, 100]] {
        of_tensor(record, shape);
    }
}

fn of_tensor(record: &mut Record, shape: [usize; 3]) {
    let softmax = record.softmax();
    let logits = tensor(shape);
    record.of("inputs").values(&logits);
    let mut results = vec![UNWRITTEN; logits.len()];
    softmax.axis(&logits, shape, &mut results).unwrap();
    record.of("axis").values(&results);
    softmax.log_axis(&logits, shape, &mut results).unwrap();
    record.of("log_axis").values(&results);
    results.copy_from_slice(&logits);
    softmax.axis_in_place(&mut results, shape).unwrap();
    record.of("axis_in_place").values(&results);
    let mut out = vec![UNWRITTEN; shape[0] * shape[2]];
    softmax.log_sum_exp_axis(&logits, shape, &mut out).unwrap();
    record.of("log_sum_exp_axis").values(&out);
}

fn best(record: &mut Record) {
    let softmax = record.softmax();
    for len in (0..=70).chain(LENGTHS) {
        for kind in Kind::of_length(len) {
            let row = kind.row(len, 5);
            let places: &[usize] = match len {
                0..=70 => &[0, 1, 2, 5, 80],
                71..=4000 => &[1, 5, 31, 64, 65, 200],
                _ => &[5, 300],
            };
            let places = places[(len + kind as usize) % places.len()];
            let mut best = vec![Candidate::default(); places];
            let found = softmax.top_k(&row, &mut best).unwrap();
            record.of("top_k").candidates(found);
        }
    }
    // More than are read before the first candidates are looked for.
    let row = Kind::AnyFinite.row(70_000, 5);
    let mut best = [Candidate::default(); 40];
    let found = softmax.top_k(&row, &mut best).unwrap();
    record.of("top_k").candidates(found);
}

fn gradients(record: &mut Record) {
    for len in (0..=40).chain([63, 64, 65, 127, 128, 129, 513, 1000, 4099]) {
        for kind in [
            Kind::Small,
            Kind::Usual,
            Kind::Huge,
            Kind::AnyFinite,
            Kind::Nan,
            Kind::Infinite,
        ] {
            for log in [false, true] {
                let [results, upstream] = arguments::of_gradient(log, kind, len);
                record.of("inputs").values(&results);
                record.of("inputs").values(&upstream);
                of_gradient(record, log, &results, &upstream);
            }
        }
    }
}

fn of_gradient(record: &mut Record, log: bool, results: &[f32], upstream: &[f32]) {
    let softmax = record.softmax();
    let mut gradient = vec![UNWRITTEN; results.len()];
    let name = if log {
        softmax
            .log_softmax_gradient(results, upstream, &mut gradient)
            .unwrap();
        "log_softmax_gradient"
    } else {
        softmax
            .softmax_gradient(results, upstream, &mut gradient)
            .unwrap();
        "softmax_gradient"
    };
    record.of(name).values(&gradient);
}

fn exponentials(record: &mut Record) {
    let arguments = arguments::of_exponential();
    record.of("inputs").values(&arguments);
    // The last register of each is not full.
    for arguments in arguments.chunks(1003) {
        let mut exponentials = vec![UNWRITTEN; arguments.len()];
        record.backend.exp(arguments, &mut exponentials).unwrap();
        record.of("exp").values(&exponentials);
    }
}

/// Beyond the 2^21 logits from which a row is computed twice instead of stored.
#[cfg(not(debug_assertions))]
pub(crate) const LONGEST: usize = (1 << 21) + 4099;

#[cfg(not(debug_assertions))]
pub(crate) fn digest_longest(record: &mut Record) {
    for (kind, len) in [
        (Kind::Usual, LONGEST),
        (Kind::SomeMasked, LONGEST),
        (Kind::Huge, LONGEST),
        (Kind::Confident, LONGEST),
        (Kind::Ascending, LONGEST),
        (Kind::Usual, 1 << 21),
        (Kind::Usual, (1 << 19) + 1),
    ] {
        let row = kind.row(len, 0);
        record.of("inputs").values(&row);
        of_row(record, &row);
        of_state(record, &row);
        stream(record, &row, 100_003);
        let mut best = [Candidate::default(); 40];
        let found = record.softmax().top_k(&row, &mut best).unwrap();
        record.of("top_k").candidates(found);
        scaled(record, &row);
    }
    let [mut rows, second] = [Kind::Wide.row(LONGEST, 0), Kind::Usual.row(LONGEST, 1)];
    rows.extend(second);
    of_matrix(record, &rows, LONGEST);
    // Rows of usual length in a matrix that no cache holds.
    for (rows, columns) in [(2100, 1000), (70, 33_000)] {
        of_matrix(record, &matrix(rows, columns, rows < 100), columns);
    }
    of_tensor(record, [1, 1050, 2050]);
}

/// An option that changes logits, so that a result waits where it is to be written.
#[cfg(not(debug_assertions))]
fn scaled(record: &mut Record, row: &[f32]) {
    let softmax = record.softmax().scale(0.75).sink(1.0);
    let mut results = vec![UNWRITTEN; row.len()];
    let of_row = softmax.row(row, &mut results).unwrap();
    let digest = record.of("row, scaled, with a sink");
    digest.values(&results);
    digest.normalizer(of_row);
    digest.normalizer(softmax.normalizer(row).unwrap());
}

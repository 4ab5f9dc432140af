//! The softmax along an axis that is not the last: each column against the true result, beside
//! columns of all other kinds.

use online_softmax::{Backend, Error, Outcome};
use support::oracle::Truth;
use support::rows::Random;
use support::verify::expected_outcome;
use support::{Bounds, THOROUGH, backends, bits, bits_of, is_fused, on, ulp};

support::on_every_backend!(
    columns_are_within_the_bounds,
    confident_columns,
    late_maxima,
    maxima_that_rise_twice,
    nan_hides_nothing,
    long_columns,
    special_columns_beside_ordinary_ones,
    round_results_are_exact,
    one_column_is_a_row,
    columns_are_rows_of_the_transpose,
    any_alignment_and_nothing_outside,
    errors_write_nothing,
    dimensions_of_zero,
);

/// Of columns (`inner`): around the registers, the groups of lanes and the strips of all backends.
const COLUMNS: [usize; 15] = [
    2, 3, 15, 16, 17, 31, 32, 33, 64, 100, 255, 256, 257, 512, 1024,
];

/// Around the tiles of rows.
const ROWS: [usize; 10] = [1, 2, 3, 7, 8, 9, 63, 64, 65, 200];

/// All shapes of these columns and rows, but for large ones in a debug build.
fn for_each_shape(mut test: impl FnMut(&mut Random, [usize; 3])) {
    let mut random = Random(1);
    for inner in COLUMNS {
        for axis in ROWS {
            let outer = 1 + random.below(3);
            if THOROUGH || outer * axis * inner <= 10_000 {
                test(&mut random, [outer, axis, inner]);
            }
        }
    }
}

/// Each column has a spread from 0.1 to 100, an offset to ±1e5, perhaps order or gaps, and some
/// are masked in part.
fn random_column(random: &mut Random, axis: usize) -> Vec<f32> {
    let spread = random.pick(&[0.1, 1.0, 10.0, 30.0, 100.0]);
    let offset = random.pick(&[
        0.0, 0.0, -50.0, 50.0, -104.0, 208.0, 300.0, -1e3, 1e4, -1e5, 1e5,
    ]);
    let mut column: Vec<f32> = (0..axis)
        .map(|_| (offset + (random.unit() - 0.5) * spread) as f32)
        .collect();
    match random.below(8) {
        0 => column.sort_by(f32::total_cmp),
        1 => column.sort_by(|a, b| b.total_cmp(a)),
        2 => column[random.below(axis)] += (1.0 + random.unit() * 99.0) as f32,
        3 | 4 => {
            let kept = random.below(axis);
            for (place, logit) in column.iter_mut().enumerate() {
                if place != kept && random.below(3) == 0 {
                    *logit = random.pick(&[f32::NEG_INFINITY, -1e30, f32::MIN]);
                }
            }
        }
        _ => {}
    }
    column
}

/// The tensor of these columns, those of the first slab first.
fn tensor_of(columns: &[Vec<f32>], [outer, axis, inner]: [usize; 3]) -> Vec<f32> {
    (0..outer * axis * inner)
        .map(|place| {
            let (slab, row, column) = (place / inner / axis, place / inner % axis, place % inner);
            columns[slab * inner + column][row]
        })
        .collect()
}

fn columns_of(tensor: &[f32], [outer, axis, inner]: [usize; 3]) -> Vec<Vec<f32>> {
    (0..outer * inner)
        .map(|column| {
            let first = column / inner * axis * inner + column % inner;
            (0..axis).map(|row| tensor[first + row * inner]).collect()
        })
        .collect()
}

fn random_columns(random: &mut Random, [outer, axis, inner]: [usize; 3]) -> Vec<Vec<f32>> {
    (0..outer * inner)
        .map(|_| random_column(random, axis))
        .collect()
}

/// The softmax and the log-softmax, columns by columns; in place the same.
fn results_of(
    backend: Backend,
    tensor: &[f32],
    shape: [usize; 3],
) -> (Vec<Vec<f32>>, Vec<Vec<f32>>) {
    let mut results = vec![f32::MAX; tensor.len()];
    on(backend).axis(tensor, shape, &mut results).unwrap();
    let mut in_place = tensor.to_vec();
    on(backend).axis_in_place(&mut in_place, shape).unwrap();
    assert!(
        bits_of(&in_place) == bits_of(&results),
        "{}: {shape:?} in place",
        backend.name()
    );
    let probabilities = columns_of(&results, shape);
    results.fill(f32::MAX);
    on(backend).log_axis(tensor, shape, &mut results).unwrap();
    (probabilities, columns_of(&results, shape))
}

/// The worst errors, in ULP, of probabilities and their logarithms.
#[derive(Default)]
struct Worst([f64; 2]);

impl Worst {
    fn print(&self, backend: Backend, what: &str) {
        let [softmax, log_softmax] = self.0;
        println!(
            "{}: {what}: axis {softmax:.3}, log_axis {log_softmax:.3} ULP",
            backend.name()
        );
    }

    /// Holds the results of a column against its true ones.
    fn hold(&mut self, backend: Backend, column: &[f32], softmax: &[f32], log_softmax: &[f32]) {
        let bounds = Bounds::of(backend);
        if expected_outcome(column) != Outcome::Finite {
            let mut all = softmax.iter().chain(log_softmax);
            assert!(all.all(|value| value.is_nan()), "{column:?}: {softmax:?}");
            return;
        }
        let truth = Truth::of(column);
        for ((logit, p), log_p) in column.iter().zip(softmax).zip(log_softmax) {
            let context = || format!("{}: {logit}: {p:e}, {log_p:e}", backend.name());
            if *logit == f32::NEG_INFINITY {
                assert!(p.to_bits() == 0 && *log_p == *logit, "{}", context());
                continue;
            }
            let expected = truth.probability(*logit);
            assert!(p.is_sign_positive(), "{}", context());
            if expected >= Bounds::SMALL {
                let error = ulp::error(*p, expected);
                assert!(error <= bounds.softmax, "{} not {expected:e}", context());
                self.0[0] = self.0[0].max(error);
            } else {
                let error = (f64::from(*p) - expected).abs();
                assert!(error <= Bounds::SMALL, "{} not {expected:e}", context());
            }
            let expected = truth.log_probability(*logit);
            let error = ulp::error(*log_p, expected);
            assert!(
                error <= bounds.log_softmax,
                "{} not {expected:e}",
                context()
            );
            self.0[1] = self.0[1].max(error);
        }
    }

    fn hold_all(&mut self, backend: Backend, columns: &[Vec<f32>], shape: [usize; 3]) {
        let tensor = tensor_of(columns, shape);
        hold_log_sum_exp(backend, columns, &log_sum_exps(backend, &tensor, shape));
        let (softmax, log_softmax) = results_of(backend, &tensor, shape);
        for ((column, softmax), log_softmax) in columns.iter().zip(&softmax).zip(&log_softmax) {
            self.hold(backend, column, softmax, log_softmax);
        }
    }
}

fn log_sum_exps(backend: Backend, tensor: &[f32], shape: [usize; 3]) -> Vec<f32> {
    let [outer, _, inner] = shape;
    let mut out = vec![f32::MAX; outer * inner];
    on(backend)
        .log_sum_exp_axis(tensor, shape, &mut out)
        .unwrap();
    out
}

/// Holds the log-sum-exp of each column against the true one.
fn hold_log_sum_exp(backend: Backend, columns: &[Vec<f32>], got: &[f32]) {
    for (column, got) in columns.iter().zip(got) {
        match expected_outcome(column) {
            Outcome::Finite => {
                let truth = Truth::of(column).log_sum_exp();
                let error = ulp::error_above_one(*got, truth);
                assert!(error <= Bounds::LOG_SUM_EXP, "{got}, not {truth}");
            }
            Outcome::Empty | Outcome::FullyMasked => assert_eq!(*got, f32::NEG_INFINITY),
            Outcome::PositiveInfinity => assert_eq!(*got, f32::INFINITY, "{}", backend.name()),
            Outcome::NaN => assert!(got.is_nan(), "{}: {got}", backend.name()),
        }
    }
}

fn columns_are_within_the_bounds(backend: Backend) {
    let mut worst = Worst::default();
    for_each_shape(|random, shape| {
        let columns = random_columns(random, shape);
        worst.hold_all(backend, &columns, shape);
    });
    worst.print(backend, "random columns");
}

/// The maximum is from 1 to 100 above all others.
fn confident_columns(backend: Backend) {
    let mut worst = Worst::default();
    let mut random = Random(2);
    for inner in [2, 17, 64, 256, 300] {
        for axis in [2, 3, 8, 65, 200] {
            let columns: Vec<Vec<f32>> = (0..inner)
                .map(|column| {
                    let gap = 1.0 + column as f32 * 99.0 / inner as f32;
                    let offset = random.pick(&[0.0, -80.0, 150.0, 1e3, -1e5]);
                    let mut logits: Vec<f32> = (0..axis)
                        .map(|_| offset - gap - random.unit() as f32 * 4.0)
                        .collect();
                    logits[random.below(axis)] = offset;
                    logits
                })
                .collect();
            worst.hold_all(backend, &columns, [1, axis, inner]);
        }
    }
    worst.print(backend, "confident columns");
}

/// The maximum comes after many rows, and is by little to very much above them: beside columns of
/// which it is not, and which must not change.
/// A maximum in each of three tiles, around what a shift holds for.
fn maxima_that_rise_twice(backend: Backend) {
    const SHAPE: [usize; 3] = [1, 192, 33];
    for first in [90.0, 96.0, 103.0, 104.0] {
        for second in [110.0, 117.5, 119.0, 125.5] {
            for third in [120.0, 205.0, 208.5, 212.0] {
                let mut logits = vec![0.0; SHAPE.iter().product()];
                for (row, logit) in [(0, first), (64, second), (128, third)] {
                    logits[row * SHAPE[2]] = logit;
                }
                let mut results = vec![0.0; logits.len()];
                on(backend).axis(&logits, SHAPE, &mut results).unwrap();
                let column = |values: &[f32]| -> Vec<f32> {
                    values.iter().step_by(SHAPE[2]).copied().collect()
                };
                let truth = Truth::of(&column(&logits));
                for (logit, result) in column(&logits).iter().zip(column(&results)) {
                    let expected = truth.probability(*logit);
                    let context = || format!("{first}, {second}, {third}: {logit} {result:e}");
                    if expected < Bounds::SMALL {
                        assert!((f64::from(result) - expected).abs() <= Bounds::SMALL);
                    } else {
                        let error = ulp::error(result, expected);
                        assert!(error <= Bounds::of(backend).softmax, "{}", context());
                    }
                }
            }
        }
    }
}

fn late_maxima(backend: Backend) {
    let mut worst = Worst::default();
    let mut random = Random(4);
    let far = [
        21.0, 23.0, 43.0, 60.0, 90.0, 103.0, 105.0, 150.0, 207.0, 209.0, 250.0, 1e4, 1e30,
    ];
    for first in [
        0.0,
        -60.0,
        -103.0,
        -105.0,
        -300.0,
        90.0,
        150.0,
        f32::NEG_INFINITY,
    ] {
        for rows in [3, 64, 65, 130, 200] {
            let mut column = |jump: f32, at: usize| -> Vec<f32> {
                (0..rows)
                    .map(|row| {
                        let below = random.unit() as f32 * 9.0;
                        if row < at {
                            first - below
                        } else {
                            jump - below
                        }
                    })
                    .collect()
            };
            let mut columns = Vec::new();
            for at in [1, rows / 2, rows - 1] {
                columns.extend(far.map(|jump| column(jump, at)));
                columns.push(column(first, at));
            }
            let shape = [1, rows, columns.len()];
            worst.hold_all(backend, &columns, shape);
        }
    }
    worst.print(backend, "late maxima");
}

/// A NaN comes before or after a logit far below all others, in a column that a register may hold in
/// the same lane, among ordinary ones.
fn nan_hides_nothing(backend: Backend) {
    let mut worst = Worst::default();
    let mut random = Random(5);
    let inner = 256;
    for low in [-110.0, -130.0, -300.0, -1e30, f32::NEG_INFINITY] {
        for nan in [f32::NAN, -f32::NAN] {
            for (low_row, nan_row) in [(0, 1), (1, 0), (5, 63), (63, 5), (64, 66)] {
                let mut columns = vec![vec![0.0; 70]; inner];
                for logit in columns.iter_mut().flatten() {
                    *logit = random.unit() as f32 * 9.0;
                }
                let lane = random.below(inner);
                for distance in [0, 64, 128] {
                    columns[(lane + distance) % inner][nan_row] = nan;
                    columns[(lane + distance + 32) % inner][low_row] = low;
                }
                worst.hold_all(backend, &columns, [1, 70, inner]);
            }
        }
    }
    worst.print(backend, "beside NaN");
}

fn long_columns(backend: Backend) {
    let mut worst = Worst::default();
    let mut random = Random(3);
    let shapes: &[_] = if THOROUGH {
        &[[1, 100_000, 3], [1, 20_000, 40], [2, 3_000, 256]]
    } else {
        &[[1, 20_000, 3], [1, 1_000, 40], [1, 100, 256]]
    };
    for shape in shapes {
        let mut columns = random_columns(&mut random, *shape);
        // Of equal weight, and rising all the time.
        columns[0] = (0..shape[1]).map(|_| random.unit() as f32 * 0.01).collect();
        columns[1].sort_by(f32::total_cmp);
        columns[2] = (0..shape[1]).map(|row| row as f32 * 0.125).collect();
        worst.hold_all(backend, &columns, *shape);
    }
    worst.print(backend, "long columns");
}

/// Columns of special values; of some the results are known exactly.
fn special_columns(axis: usize, place: usize) -> Vec<(Vec<f32>, Option<f32>)> {
    let ordinary = || -> Vec<f32> { (0..axis).map(|row| row as f32 * 0.25 - 1.0).collect() };
    let with = |value: f32| {
        let mut column = ordinary();
        column[place] = value;
        column
    };
    let only = |value: f32, others: f32| {
        let mut column = vec![others; axis];
        column[place] = value;
        column
    };
    let mut run = ordinary();
    run[..place].fill(f32::NEG_INFINITY);
    let mut both = with(f32::INFINITY);
    both[axis / 2] = f32::NAN;
    vec![
        (with(f32::NAN), None),
        (with(-f32::NAN), None),
        (with(f32::INFINITY), None),
        (both, None),
        (only(f32::NAN, f32::NEG_INFINITY), None),
        (only(f32::INFINITY, f32::NEG_INFINITY), None),
        (only(f32::INFINITY, f32::INFINITY), None),
        (vec![f32::NEG_INFINITY; axis], None),
        (run, None),
        (with(-1e30), None),
        (with(f32::MAX), Some(1.0)),
        (only(f32::MIN, f32::NEG_INFINITY), Some(1.0)),
        (only(0.0, f32::NEG_INFINITY), Some(1.0)),
        (only(1e5, -1e30), Some(1.0)),
        (only(-77.7, f32::MIN), Some(1.0)),
    ]
}

/// They are as they should be, and their neighbours have the bits that they have without them.
fn special_columns_beside_ordinary_ones(backend: Backend) {
    let mut random = Random(4);
    let mut worst = Worst::default();
    for (axis, inner) in [(1, 3), (2, 2), (8, 17), (9, 33), (65, 40), (17, 256)] {
        let shape = [2, axis, inner];
        let ordinary = random_columns(&mut random, shape);
        let (softmax, log_softmax) = results_of(backend, &tensor_of(&ordinary, shape), shape);
        let place = random.below(axis);
        for (special, exact) in special_columns(axis, place) {
            for index in [0, inner - 1, inner + inner / 2] {
                let mut columns = ordinary.clone();
                columns[index].clone_from(&special);
                let tensor = tensor_of(&columns, shape);
                let (softmax_beside, log_beside) = results_of(backend, &tensor, shape);
                hold_log_sum_exp(backend, &columns, &log_sum_exps(backend, &tensor, shape));
                for other in (0..2 * inner).filter(|other| *other != index) {
                    assert_eq!(bits_of(&softmax_beside[other]), bits_of(&softmax[other]));
                    assert_eq!(bits_of(&log_beside[other]), bits_of(&log_softmax[other]));
                }
                let (softmax, log_softmax) = (&softmax_beside[index], &log_beside[index]);
                worst.hold(backend, &special, softmax, log_softmax);
                if let Some(exact) = exact {
                    let results = (softmax[place], log_softmax[place]);
                    assert_eq!(results, (exact, 0.0), "{special:?}");
                }
            }
        }
    }
    worst.print(backend, "special columns");
}

/// 1 of one element, 1/N of N equal ones.
fn round_results_are_exact(backend: Backend) {
    let mut random = Random(5);
    for axis in [1, 2, 4, 8, 16, 64, 256, 4096] {
        for inner in [2, 5, 33, 256] {
            if !THOROUGH && axis * inner > 200_000 {
                continue;
            }
            let shape = [1, axis, inner];
            let columns: Vec<Vec<f32>> = (0..inner)
                .map(|_| {
                    let value = (random.unit() * 2.0 - 1.0) as f32;
                    let scale = random.pick(&[1.0, 100.0, 300.0, 1e5, 1e30, f32::MAX]);
                    // Every second one has a neighbour that is not constant.
                    if random.below(2) == 0 {
                        vec![value * scale; axis]
                    } else {
                        random_column(&mut random, axis)
                    }
                })
                .collect();
            let (softmax, log_softmax) = results_of(backend, &tensor_of(&columns, shape), shape);
            for ((column, softmax), log_softmax) in columns.iter().zip(softmax).zip(log_softmax) {
                if column.iter().all(|logit| *logit == column[0]) {
                    let context = || format!("{}: {} of {axis}", backend.name(), column[0]);
                    assert_eq!(softmax, vec![1.0 / axis as f32; axis], "{}", context());
                    if axis == 1 {
                        assert_eq!(log_softmax, [0.0], "{}", context());
                    }
                }
            }
        }
    }
}

fn one_column_is_a_row(backend: Backend) {
    let mut random = Random(6);
    for (outer, axis) in [(1, 1), (3, 7), (5, 64), (2, 545), (1, 5000), (4, 129)] {
        let columns = random_columns(&mut random, [outer, axis, 1]);
        let matrix = columns.concat();
        let (softmax, log_softmax) = results_of(backend, &matrix, [outer, axis, 1]);
        let mut results = vec![f32::MAX; matrix.len()];
        on(backend).rows(&matrix, axis, &mut results).unwrap();
        assert_eq!(bits_of(&results), bits_of(&softmax.concat()));
        on(backend).log_rows(&matrix, axis, &mut results).unwrap();
        assert_eq!(bits_of(&results), bits_of(&log_softmax.concat()));
        let mut sums = vec![f32::MAX; outer];
        on(backend)
            .log_sum_exp_rows(&matrix, axis, &mut sums)
            .unwrap();
        let of_axis = log_sum_exps(backend, &matrix, [outer, axis, 1]);
        assert_eq!(bits_of(&of_axis), bits_of(&sums));
    }
}

/// Each is within its bound of the truth.
fn columns_are_rows_of_the_transpose(backend: Backend) {
    let bounds = Bounds::of(backend);
    let mut random = Random(7);
    for shape in [[1, 2, 3], [2, 9, 33], [1, 200, 256], [3, 64, 31]] {
        let columns = random_columns(&mut random, shape);
        let (softmax, log_softmax) = results_of(backend, &tensor_of(&columns, shape), shape);
        let transpose = columns.concat();
        let mut results = vec![f32::MAX; transpose.len()];
        let near = |a: &f32, b: &f32, bound: f64, small: f64| {
            let difference = (f64::from(*a) - f64::from(*b)).abs();
            bits(*a) == bits(*b) || difference <= small || ulp::error(*a, f64::from(*b)) <= bound
        };
        on(backend)
            .rows(&transpose, shape[1], &mut results)
            .unwrap();
        for (a, b) in softmax.iter().flatten().zip(&results) {
            assert!(near(a, b, 2.0 * bounds.softmax, Bounds::SMALL), "{a} {b}");
        }
        on(backend)
            .log_rows(&transpose, shape[1], &mut results)
            .unwrap();
        for (a, b) in log_softmax.iter().flatten().zip(&results) {
            assert!(near(a, b, 2.0 * bounds.log_softmax, 0.0), "{a} {b}");
        }
    }
}

/// Whatever lies before and after the tensor.
fn any_alignment_and_nothing_outside(backend: Backend) {
    const UNTOUCHED: f32 = 123.25;
    let mut random = Random(8);
    for shape in [[1, 3, 2], [2, 9, 17], [1, 8, 33], [2, 5, 256]] {
        let tensor = tensor_of(&random_columns(&mut random, shape), shape);
        let (expected, expected_log) = results_of(backend, &tensor, shape);
        for before in 0..18 {
            let place = before..before + tensor.len();
            let mut logits = vec![f32::NAN; tensor.len() + 50];
            logits[place.clone()].copy_from_slice(&tensor);
            for (is_log, expected) in [(false, &expected), (true, &expected_log)] {
                let mut out = vec![UNTOUCHED; logits.len()];
                let (from, to) = (&logits[place.clone()], &mut out[place.clone()]);
                if is_log {
                    on(backend).log_axis(from, shape, to).unwrap();
                } else {
                    on(backend).axis(from, shape, to).unwrap();
                }
                let columns = columns_of(&out[place.clone()], shape);
                assert_eq!(bits_of(&columns.concat()), bits_of(&expected.concat()));
                let mut outside = out[..place.start].iter().chain(&out[place.end..]);
                assert!(outside.all(|value| *value == UNTOUCHED), "{shape:?}");
            }
        }
    }
}

#[test]
fn backends_of_one_arithmetic_have_the_same_bits() {
    for_each_shape(|random, shape| {
        let mut columns = random_columns(random, shape);
        if random.below(3) == 0 {
            let column = random.below(columns.len());
            columns[column][random.below(shape[1])] = random.pick(&[f32::NAN, f32::INFINITY]);
        }
        let tensor = tensor_of(&columns, shape);
        let bits_on = |backend: Backend| {
            let (softmax, log_softmax) = results_of(backend, &tensor, shape);
            let mut bits = bits_of(&[softmax, log_softmax].concat().concat());
            bits.extend(bits_of(&log_sum_exps(backend, &tensor, shape)));
            bits
        };
        for class in [true, false] {
            let mut of_class = backends().filter(|backend| is_fused(*backend) == class);
            if let Some(first) = of_class.next() {
                let expected = bits_on(first);
                for other in of_class {
                    assert!(bits_on(other) == expected, "{other:?}: {shape:?}");
                }
            }
        }
    });
}

fn errors_write_nothing(backend: Backend) {
    let softmax = on(backend);
    let too_large = |shape| Error::TooLarge { shape };
    let mismatch = |shape, given| Error::ShapeMismatch { shape, given };
    let max = usize::MAX;
    for (shape, logits, places, expected, numbers) in [
        ([2, 3, 4], 23, 23, mismatch([2, 3, 4], 23), ["24", "23"]),
        ([2, 3, 4], 25, 25, mismatch([2, 3, 4], 25), ["24", "25"]),
        ([2, 3, 1], 7, 7, mismatch([2, 3, 1], 7), ["6", "7"]),
        ([0, 3, 4], 1, 1, mismatch([0, 3, 4], 1), ["0", "1"]),
        ([max, max, 0], 1, 1, mismatch([max, max, 0], 1), ["0", "1"]),
        ([max, 2, 1], 24, 24, too_large([max, 2, 1]), ["× 2", "most"]),
        ([2, 3, max], 24, 24, too_large([2, 3, max]), ["2 ×", "most"]),
        // Of this the product is 0 if it wraps around.
        (
            [1 << (usize::BITS / 2), 1 << (usize::BITS / 2), 2],
            0,
            0,
            too_large([1 << (usize::BITS / 2), 1 << (usize::BITS / 2), 2]),
            ["× 2", "most"],
        ),
        (
            [2, 3, 4],
            24,
            23,
            Error::LengthMismatch {
                expected: 24,
                given: 23,
            },
            ["24", "23"],
        ),
    ] {
        let logits = vec![1.0; logits];
        let mut results = vec![7.0; places];
        assert_eq!(softmax.axis(&logits, shape, &mut results), Err(expected));
        assert_eq!(
            softmax.log_axis(&logits, shape, &mut results),
            Err(expected)
        );
        if logits.len() == places {
            let sums = softmax.log_sum_exp_axis(&logits, shape, &mut results);
            assert_eq!(sums, Err(expected));
            assert_eq!(softmax.axis_in_place(&mut results, shape), Err(expected));
        }
        assert!(results.iter().all(|value| *value == 7.0));
        let message = expected.to_string();
        for number in numbers {
            assert!(message.contains(number), "{number} in {message}");
        }
    }
}

fn dimensions_of_zero(backend: Backend) {
    let mut sums = [7.0; 12];
    let places = Error::RowsMismatch {
        expected: 12,
        given: 11,
    };
    let softmax = on(backend);
    assert_eq!(
        softmax.log_sum_exp_axis(&[], [3, 0, 4], &mut sums[..11]),
        Err(places)
    );
    assert_eq!(sums, [7.0; 12]);
    for shape in [[3, 0, 4], [12, 0, 1], [1, 0, 12]] {
        sums.fill(7.0);
        assert_eq!(softmax.log_sum_exp_axis(&[], shape, &mut sums), Ok(()));
        assert_eq!(sums, [f32::NEG_INFINITY; 12]);
    }
    for shape in [[0, 3, 4], [3, 4, 0], [0, 0, 0]] {
        assert_eq!(softmax.log_sum_exp_axis(&[], shape, &mut []), Ok(()));
    }
    let shape = [usize::MAX, 0, 2];
    assert_eq!(
        softmax.log_sum_exp_axis(&[], shape, &mut sums),
        Err(Error::TooLarge { shape })
    );
    let max = usize::MAX;
    for shape in [
        [0, 3, 4],
        [3, 0, 4],
        [3, 4, 0],
        [0, 0, 0],
        [2, 0, 1],
        [0, 2, 1],
        [max, max, 0],
        [0, max, max],
        [max, 0, max],
    ] {
        let (nothing, mut nowhere) = ([0.0_f32; 0], [0.0_f32; 0]);
        assert_eq!(on(backend).axis(&nothing, shape, &mut nowhere), Ok(()));
        assert_eq!(on(backend).axis_in_place(&mut [], shape), Ok(()));
        assert_eq!(on(backend).log_axis(&nothing, shape, &mut nowhere), Ok(()));
    }
}

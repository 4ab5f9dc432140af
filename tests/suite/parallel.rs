//! Rows in parallel, on every backend: the bits and the errors of the serial form, whatever the
//! number of threads.

use online_softmax::{Backend, Error, Mask, ParallelSoftmax, Softmax};
use rayon::ThreadPool;
use support::options::Setting;
use support::rows::Random;
use support::{THOROUGH, bits_of, on, setting};

support::on_every_backend!(
    matrices,
    long_rows,
    masks_of_the_same_rows,
    other_options,
    axes,
    any_alignment_and_nothing_outside,
    errors_write_nothing,
    nothing_to_do,
);

/// Rows and columns. All have several parts of unequal length, and 6 rows of masks repeat.
const MATRICES: [[usize; 2]; 5] = [
    [200_004, 1],
    [20_010, 10],
    [6006, 33],
    [210, 1000],
    [42, 5000],
];

fn pools() -> Vec<ThreadPool> {
    let builder = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads);
    let threads: &[usize] = if THOROUGH { &[1, 2, 3, 7] } else { &[3] };
    let pools = threads.iter().map(|threads| builder(*threads).build());
    pools.map(Result::unwrap).collect()
}

/// Rows of every outcome: ordinary ones, large ones, confident ones, those with NaN and ±∞, and
/// those of nothing but −∞.
fn matrix(random: &mut Random, rows: usize, columns: usize) -> Vec<f32> {
    let mut matrix = Vec::with_capacity(rows * columns);
    for _ in 0..rows {
        let spread = random.pick(&[1.0, 10.0, 10.0, 100.0, 1e30]);
        let start = matrix.len();
        matrix.extend((0..columns).map(|_| ((random.unit() - 0.5) * spread) as f32));
        let row = &mut matrix[start..];
        let place = random.below(columns);
        match random.below(24) {
            0 => row[place] = f32::NAN,
            1 => row[place] = f32::INFINITY,
            2 => row[place..].fill(f32::NEG_INFINITY),
            3 => row.fill(f32::NEG_INFINITY),
            4 => row[place] += 50.0,
            _ => {}
        }
    }
    matrix
}

fn keep(random: &mut Random, rows: usize, columns: usize) -> Vec<bool> {
    let mut keep: Vec<bool> = (0..rows * columns).map(|_| random.below(4) > 0).collect();
    keep[random.below(rows) * columns..][..columns].fill(false);
    keep
}

fn additive(random: &mut Random, rows: usize, columns: usize) -> Vec<f32> {
    let mut value = || match random.below(5) {
        0 => f32::NEG_INFINITY,
        _ => (random.unit() * 4.0) as f32,
    };
    (0..rows * columns).map(|_| value()).collect()
}

/// A call that writes to its second argument.
type Call<'a> = &'a (dyn Fn(&[f32], &mut [f32]) -> Result<(), Error> + Sync);

/// Calls the serial form once, and the parallel one in every pool.
fn compare(
    name: &str,
    pools: &[ThreadPool],
    logits: &[f32],
    len: usize,
    serial: Call<'_>,
    parallel: Call<'_>,
) {
    let mut expected = vec![7.0; len];
    let expected_result = serial(logits, &mut expected);
    let expected = bits_of(&expected);
    for pool in pools {
        let mut results = vec![7.0; len];
        let result = pool.install(|| parallel(logits, &mut results));
        let threads = pool.current_num_threads();
        assert_eq!(result, expected_result, "{name}, {threads} threads");
        // The first difference, as all results are too many to print.
        let mut pairs = bits_of(&results).into_iter().zip(&expected);
        let first = pairs.position(|(found, expected)| found != *expected);
        assert_eq!(first, None, "{name}, {threads} threads");
    }
}

/// All forms over rows.
fn compare_rows(
    name: &str,
    pools: &[ThreadPool],
    softmax: Softmax<'_>,
    logits: &[f32],
    columns: usize,
) {
    let parallel = softmax.parallel();
    let len = logits.len();
    compare(
        &format!("rows, {name}"),
        pools,
        logits,
        len,
        &|logits, results| softmax.rows(logits, columns, results),
        &|logits, results| parallel.rows(logits, columns, results),
    );
    compare(
        &format!("rows_in_place, {name}"),
        pools,
        logits,
        len,
        &|logits, results| {
            results.copy_from_slice(logits);
            softmax.rows_in_place(results, columns)
        },
        &|logits, results| {
            results.copy_from_slice(logits);
            parallel.rows_in_place(results, columns)
        },
    );
    compare(
        &format!("log_rows, {name}"),
        pools,
        logits,
        len,
        &|logits, results| softmax.log_rows(logits, columns, results),
        &|logits, results| parallel.log_rows(logits, columns, results),
    );
    compare(
        &format!("log_sum_exp_rows, {name}"),
        pools,
        logits,
        len / columns,
        &|logits, results| softmax.log_sum_exp_rows(logits, columns, results),
        &|logits, results| parallel.log_sum_exp_rows(logits, columns, results),
    );
}

/// All forms over an axis.
fn compare_axes(
    name: &str,
    pools: &[ThreadPool],
    softmax: Softmax<'_>,
    logits: &[f32],
    shape: [usize; 3],
) {
    let parallel = softmax.parallel();
    let len = logits.len();
    compare(
        &format!("axis, {name}"),
        pools,
        logits,
        len,
        &|logits, results| softmax.axis(logits, shape, results),
        &|logits, results| parallel.axis(logits, shape, results),
    );
    compare(
        &format!("axis_in_place, {name}"),
        pools,
        logits,
        len,
        &|logits, results| {
            results.copy_from_slice(logits);
            softmax.axis_in_place(results, shape)
        },
        &|logits, results| {
            results.copy_from_slice(logits);
            parallel.axis_in_place(results, shape)
        },
    );
    compare(
        &format!("log_axis, {name}"),
        pools,
        logits,
        len,
        &|logits, results| softmax.log_axis(logits, shape, results),
        &|logits, results| parallel.log_axis(logits, shape, results),
    );
}

/// Each setting over each matrix.
fn compare_settings(backend: Backend, settings: fn(&mut Random, usize, usize) -> Vec<Setting>) {
    let pools = pools();
    let mut random = Random(1);
    let matrices = if THOROUGH {
        &MATRICES[..]
    } else {
        &MATRICES[2..4]
    };
    for [rows, columns] in matrices.iter().copied() {
        let logits = matrix(&mut random, rows, columns);
        for (index, setting) in settings(&mut random, rows, columns).iter().enumerate() {
            let name = format!("{rows} × {columns}, setting {index}");
            compare_rows(&name, &pools, setting.on(backend), &logits, columns);
        }
    }
}

fn matrices(backend: Backend) {
    compare_settings(backend, |_, _, _| vec![Setting::default()]);
    // Large enough for the serial form to choose another one.
    if THOROUGH {
        let logits = matrix(&mut Random(2), 2200, 1000);
        compare_rows("2200 × 1000", &pools(), on(backend), &logits, 1000);
        let logits = matrix(&mut Random(3), 3, 100_000);
        compare_rows("3 × 100000", &pools(), on(backend), &logits, 100_000);
    }
}

/// Rows that are read in parts, or must not be: of every outcome, and with shifts that are final
/// at once, or change within the row.
fn long_rows(backend: Backend) {
    type Change = fn(&mut [f32]);
    let changes: [(&str, Change); 14] = [
        ("ordinary", |_| ()),
        ("confident", |row| row[70_000] = 24.0),
        ("another shift after the first slice", |row| {
            row[70_000] = 40.0
        }),
        ("another shift at once", |row| {
            row.iter_mut().for_each(|logit| *logit -= 300.0)
        }),
        ("negative", |row| {
            row.iter_mut().for_each(|logit| *logit -= 20.0)
        }),
        ("masked at the start", |row| {
            row[..5000].fill(f32::NEG_INFINITY)
        }),
        ("masked within", |row| {
            row[5000..80_000].fill(f32::NEG_INFINITY)
        }),
        ("masked within, negative", |row| {
            row.iter_mut().for_each(|logit| *logit -= 20.0);
            row[80_000..].fill(f32::NEG_INFINITY);
        }),
        ("masked", |row| row.fill(f32::NEG_INFINITY)),
        ("NaN", |row| row[70_001] = f32::NAN),
        ("NaN at the start", |row| row[1] = f32::NAN),
        ("infinite", |row| row[99_999] = f32::INFINITY),
        ("infinite and NaN", |row| {
            row[99_999] = f32::INFINITY;
            row[3] = f32::NAN;
        }),
        ("large", |row| {
            row[50_000..].iter_mut().for_each(|logit| *logit *= 1e30)
        }),
    ];
    let pools = pools();
    let mut random = Random(5);
    let lens: &[usize] = if THOROUGH {
        &[131_073, 163_840, 300_001]
    } else {
        &[140_001]
    };
    for columns in lens.iter().copied() {
        for (name, change) in changes {
            let mut row: Vec<f32> = (0..columns)
                .map(|_| ((random.unit() - 0.5) * 20.0) as f32)
                .collect();
            change(&mut row);
            compare_rows(
                &format!("{columns}, {name}"),
                &pools,
                on(backend),
                &row,
                columns,
            );
            for sink in [3.0, 50.0, -60.0] {
                let softmax = on(backend).sink(sink);
                let name = format!("{columns}, {name}, sink {sink}");
                compare_rows(&name, &pools, softmax, &row, columns);
            }
        }
    }
    if THOROUGH {
        // So long that numerators are computed again by the last pass.
        let row = matrix(&mut random, 1, (1 << 21) + 77);
        compare_rows("2^21 + 77", &pools, on(backend), &row, row.len());
    }
}

/// A part sees the masks of its own rows.
fn masks_of_the_same_rows(backend: Backend) {
    compare_settings(backend, |random, rows, columns| {
        let mut settings = vec![
            setting! { causal: Some(0) },
            setting! { causal: Some(columns / 2), scale: Some(0.5), is_zero: true },
            setting! { causal: Some(usize::MAX) },
            setting! {
                causal: Some(3), length: Some(columns.div_ceil(2)), sink: Some(1.0),
                keep: Some(keep(random, rows, columns)),
            },
        ];
        for mask_rows in [1, 6, rows] {
            settings.push(setting! { keep: Some(keep(random, mask_rows, columns)) });
            settings.push(setting! { additive: Some(additive(random, mask_rows, columns)) });
            settings.push(setting! {
                keep: Some(keep(random, mask_rows, columns)),
                additive: Some(additive(random, 2, columns)),
                scale: Some(2.0),
                soft_cap: Some(30.0),
                is_zero: true,
            });
        }
        settings
    });
}

fn other_options(backend: Backend) {
    compare_settings(backend, |_, _, columns| {
        vec![
            setting! { scale: Some(0.125) },
            setting! { soft_cap: Some(30.0) },
            setting! { length: Some(columns * 2 / 3) },
            setting! { length: Some(0), is_zero: true },
            setting! { sink: Some(0.5) },
            setting! { sink: Some(f32::INFINITY) },
            setting! { sink: Some(f32::NAN) },
            setting! { is_zero: true },
        ]
    });
}

fn axes(backend: Backend) {
    let pools = pools();
    let mut random = Random(4);
    let shapes = [
        [6, 100, 300],
        [200, 10, 100],
        [12, 1, 20_000],
        [60_000, 3, 2],
        [1, 300, 300],
        [120, 1000, 1],
    ];
    let shapes = if THOROUGH { &shapes[..] } else { &shapes[..2] };
    for shape in shapes.iter().copied() {
        let [outer, axis, inner] = shape;
        let slab = axis * inner;
        let logits = matrix(&mut random, outer, slab);
        let mut settings = vec![
            Setting::default(),
            setting! { scale: Some(0.5), soft_cap: Some(20.0) },
            setting! { length: Some(axis / 2), is_zero: true },
            setting! { length: Some(axis), sink: Some(1.0) },
            setting! { sink: Some(f32::INFINITY) },
            setting! { keep: Some(keep(&mut random, outer, slab)) },
            setting! { additive: Some(additive(&mut random, outer, slab)) },
            setting! { additive: Some(additive(&mut random, 1, slab)), length: Some(axis.min(2)) },
        ];
        if outer % 3 == 0 {
            settings.push(setting! {
                keep: Some(keep(&mut random, 3, slab)), is_zero: true,
            });
        }
        for (index, setting) in settings.iter().enumerate() {
            let name = format!("{shape:?}, setting {index}");
            compare_axes(&name, &pools, setting.on(backend), &logits, shape);
        }
    }
}

fn any_alignment_and_nothing_outside(backend: Backend) {
    let columns = 1000;
    let logits = matrix(&mut Random(5), 201, columns);
    let softmax = on(backend);
    for (start, offset) in [(0, 1), (3, 0), (7, 15)] {
        let logits = &logits[start..][..200 * columns];
        let mut expected = vec![0.0; logits.len()];
        softmax.rows(logits, columns, &mut expected).unwrap();
        for pool in pools() {
            let mut results = vec![7.0; offset + logits.len() + 9];
            let places = &mut results[offset..][..logits.len()];
            pool.install(|| softmax.parallel().rows(logits, columns, places))
                .unwrap();
            let (before, results) = results.split_at(offset);
            let (results, after) = results.split_at(logits.len());
            assert!(bits_of(results) == bits_of(&expected), "{start}, {offset}");
            assert!(before.iter().chain(after).all(|value| *value == 7.0));
        }
    }
}

type CallOf<'a, S> = &'a dyn Fn(S, &mut [f32]) -> Result<(), Error>;

fn compare_errors<'a>(
    softmax: Softmax<'a>,
    len: usize,
    serial: CallOf<Softmax<'a>>,
    parallel: CallOf<ParallelSoftmax<'a>>,
) {
    let mut results = vec![7.0; len];
    let expected = serial(softmax, &mut results).unwrap_err();
    assert_eq!(parallel(softmax.parallel(), &mut results), Err(expected));
    assert!(results.iter().all(|value| *value == 7.0), "{expected}");
}

/// Calls each form with wrong arguments, and compares the error with that of the serial form.
fn errors_write_nothing(backend: Backend) {
    const LEN: usize = 200_000;
    let logits = vec![1.0; LEN];
    let keep = vec![true; 1500];
    let additive = vec![0.0; 3000];
    let softmax = on(backend);
    let masked = [
        softmax.mask(Mask::Keep(&keep)),
        softmax.mask(Mask::Additive(&additive)),
        softmax.mask(Mask::Length(1001)),
    ];
    let cases = [
        (softmax, LEN - 1, 1000),
        (softmax, LEN, 1001),
        (softmax, LEN, 0),
    ]
    .into_iter()
    .chain(masked.map(|softmax| (softmax, LEN, 1000)));
    for (softmax, len, columns) in cases {
        compare_errors(
            softmax,
            len,
            &|softmax, results| softmax.rows(&logits, columns, results),
            &|softmax, results| softmax.rows(&logits, columns, results),
        );
        compare_errors(
            softmax,
            len,
            &|softmax, results| softmax.rows_in_place(results, columns),
            &|softmax, results| softmax.rows_in_place(results, columns),
        );
        compare_errors(
            softmax,
            len,
            &|softmax, results| softmax.log_rows(&logits, columns, results),
            &|softmax, results| softmax.log_rows(&logits, columns, results),
        );
        let rows = len.checked_div(columns).unwrap_or(1);
        compare_errors(
            softmax,
            rows,
            &|softmax, results| softmax.log_sum_exp_rows(&logits, columns, results),
            &|softmax, results| softmax.log_sum_exp_rows(&logits, columns, results),
        );
    }
    let causal = softmax.mask(Mask::Causal { first: 0 });
    let cases = [
        (softmax, LEN - 1, [200, 10, 100]),
        (softmax, LEN, [200, 10, 101]),
        (softmax, LEN, [usize::MAX, 2, 2]),
        (softmax, LEN, [201, 1000, 1]),
        (causal, LEN, [200, 10, 100]),
    ]
    .into_iter()
    .chain(masked.map(|softmax| (softmax, LEN, [200, 10, 100])))
    .chain(masked.map(|softmax| (softmax, LEN, [200, 1000, 1])));
    for (softmax, len, shape) in cases {
        compare_errors(
            softmax,
            len,
            &|softmax, results| softmax.axis(&logits, shape, results),
            &|softmax, results| softmax.axis(&logits, shape, results),
        );
        compare_errors(
            softmax,
            len,
            &|softmax, results| softmax.axis_in_place(results, shape),
            &|softmax, results| softmax.axis_in_place(results, shape),
        );
        compare_errors(
            softmax,
            len,
            &|softmax, results| softmax.log_axis(&logits, shape, results),
            &|softmax, results| softmax.log_axis(&logits, shape, results),
        );
    }
}

fn nothing_to_do(backend: Backend) {
    let parallel = on(backend).parallel();
    for columns in [0, 5] {
        assert_eq!(parallel.rows(&[], columns, &mut []), Ok(()));
        assert_eq!(parallel.rows_in_place(&mut [], columns), Ok(()));
        assert_eq!(parallel.log_rows(&[], columns, &mut []), Ok(()));
    }
    let mut out = vec![7.0; 200_000];
    assert_eq!(parallel.log_sum_exp_rows(&[], 0, &mut out), Ok(()));
    assert!(out.iter().all(|value| *value == f32::NEG_INFINITY));
    for shape in [[0, 5, 7], [usize::MAX, 0, 2], [usize::MAX, 2, 0], [3, 0, 1]] {
        assert_eq!(parallel.axis(&[], shape, &mut []), Ok(()));
        assert_eq!(parallel.axis_in_place(&mut [], shape), Ok(()));
        assert_eq!(parallel.log_axis(&[], shape, &mut []), Ok(()));
    }
}

//! All options at once, in matrices and tensors.

use super::*;

support::on_every_backend!(
    matrices_with_options,
    long_rows_with_options,
    tensors_with_options,
    order_of_options,
    attention,
);

fn matrices_with_options(backend: Backend) {
    let mut random = Random(1);
    let mut judge = Judge::new(backend);
    for (rows, columns) in MATRICES {
        if THOROUGH || rows * columns <= 1000 {
            for setting in settings(&mut random, rows, columns, 1) {
                let logits: Vec<f32> = (0..rows)
                    .flat_map(|_| random_logits(&mut random, columns))
                    .collect();
                judge.matrix(&setting, &logits, columns);
            }
        }
    }
    judge.print("matrices");
}

/// One row longer than what is prepared at a time, and such a one after another.
fn long_rows_with_options(backend: Backend) {
    let mut random = Random(2);
    let mut judge = Judge::new(backend);
    for (rows, columns) in [(1, 4097), (2, 10_007)] {
        let settings = settings(&mut random, rows, columns, 1);
        for setting in settings.iter().step_by(if THOROUGH { 1 } else { 9 }) {
            let logits = random_logits(&mut random, rows * columns);
            judge.matrix(setting, &logits, columns);
        }
    }
    judge.print("long rows");
}

fn tensors_with_options(backend: Backend) {
    let mut random = Random(3);
    let mut judge = Judge::new(backend);
    for shape in TENSORS {
        let [outer, axis, inner] = shape;
        let is_all = THOROUGH || outer * axis * inner <= 3000;
        let settings = settings(&mut random, outer, axis, inner);
        for setting in settings.iter().step_by(if is_all { 1 } else { 3 }) {
            let mut logits = random_logits(&mut random, outer * axis * inner);
            // Columns far apart.
            for (place, logit) in logits.iter_mut().enumerate() {
                *logit += [0.0, -300.0, 1e3, 0.5, 150.0][place % inner % 5];
            }
            judge.tensor(setting, &logits, shape);
        }
    }
    judge.print("tensors");
}

/// Scale, soft cap, additive mask, keep mask; neither scale nor cap for the sink.
fn order_of_options(backend: Backend) {
    let near = |softmax: Softmax, row: &[f32], expected: &[f64]| {
        let mut results = vec![f32::MAX; row.len()];
        softmax.row(row, &mut results).unwrap();
        for (got, expected) in results.iter().zip(expected) {
            let difference = (f64::from(*got) - expected).abs();
            assert!(difference < 1e-6, "{results:?} not {expected:?}");
        }
    };
    let logistic = |x: f64| 1.0 / (1.0 + (-x).exp());
    let scaled = on(backend).scale(2.0);
    let (low, high) = (logistic(-3.0), logistic(3.0));
    near(
        scaled.mask(Mask::Additive(&[0.0, 3.0])),
        &[0.5, 0.5],
        &[low, high],
    );
    let capped = scaled.soft_cap(1.0);
    near(
        capped.mask(Mask::Additive(&[0.0, 3.0])),
        &[0.5, 0.5],
        &[low, high],
    );
    let difference = 2_f64.tanh() - 1_f64.tanh();
    near(
        capped,
        &[1.0, 0.5],
        &[logistic(difference), logistic(-difference)],
    );
    near(capped.sink(5.0), &[1e3], &[logistic(1.0 - 5.0)]);
    near(scaled.sink(5.0), &[1.0], &[logistic(2.0 - 5.0)]);
    // A bias raises no logit that is not kept.
    let biased = capped.mask(Mask::Additive(&[0.0, 1e9, 3.0]));
    near(
        biased.mask(Mask::Keep(&[true, false, true])),
        &[0.5; 3],
        &[low, 0.0, high],
    );
    // Of masks of one kind the last.
    let masks = on(backend).mask(Mask::Length(1)).mask(Mask::Length(2));
    near(masks, &[1.0; 3], &[0.5, 0.5, 0.0]);
}

/// Scores of 64 queries and keys, of which only the first are there, as attention has them.
fn attention(backend: Backend) {
    const SIZE: usize = 64;
    let mut random = Random(14);
    let mut judge = Judge::new(backend);
    let mut normal = || (0..12).map(|_| random.unit()).sum::<f64>() - 6.0;
    let vectors: Vec<f64> = (0..2 * SIZE * SIZE).map(|_| normal()).collect();
    let (queries, keys) = vectors.split_at(SIZE * SIZE);
    let scores: Vec<f32> = (0..SIZE * SIZE)
        .map(|place| {
            let query = &queries[place / SIZE * SIZE..][..SIZE];
            let key = &keys[place % SIZE * SIZE..][..SIZE];
            query.iter().zip(key).map(|(q, k)| q * k).sum::<f64>() as f32
        })
        .collect();
    for length in [1, 2, 7, 31, 32, 33, 50, 63, 64] {
        for causal in [None, Some(0)] {
            let setting = setting!(scale: Some(0.125), length: Some(length), causal);
            judge.matrix(&setting, &scores, SIZE);
            let mut results = vec![f32::MAX; SIZE * SIZE];
            setting
                .on(backend)
                .rows(&scores, SIZE, &mut results)
                .unwrap();
            for (row, results) in results.chunks(SIZE).enumerate() {
                let visible = length.min(causal.map_or(SIZE, |_| row + 1));
                let sum: f64 = results[..visible].iter().map(|p| f64::from(*p)).sum();
                assert!((sum - 1.0).abs() < 1e-6, "{sum} in row {row}");
                assert!(results[..visible].iter().all(|p| *p > 0.0));
                assert!(results[visible..].iter().all(|p| p.to_bits() == 0));
            }
        }
    }
    judge.print("attention");
}

#[test]
fn backends_of_one_arithmetic_have_the_same_bits() {
    let mut random = Random(16);
    let check = |setting: &Setting, logits: &[f32], shape: [usize; 3]| {
        for class in [true, false] {
            let bits_on = |backend: Backend| match shape {
                [_, columns, 1] => all_bits(&setting.on(backend), logits, columns),
                _ => axis_bits(&setting.on(backend), logits, shape),
            };
            let mut of_class = backends().filter(|backend| is_fused(*backend) == class);
            if let Some(first) = of_class.next() {
                let expected = bits_on(first);
                for other in of_class {
                    assert!(
                        bits_on(other) == expected,
                        "{other:?}: {shape:?}: {setting:?}"
                    );
                }
            }
        }
    };
    let matrices = MATRICES.map(|(rows, columns)| [rows, columns, 1]);
    for shape in matrices.into_iter().chain(TENSORS) {
        let [rows, axis, inner] = shape;
        if THOROUGH || rows * axis * inner <= 2000 {
            for setting in settings(&mut random, rows, axis, inner) {
                let mut logits = random_logits(&mut random, rows * axis * inner);
                if random.below(5) == 0 {
                    let place = random.below(logits.len());
                    logits[place] = random.pick(&[f32::NAN, f32::INFINITY]);
                }
                check(&setting, &logits, shape);
            }
        }
    }
}

//! The sink, a logit that has no result.

use super::*;

support::on_every_backend!(sinks_of_all_sizes, infinite_sinks_and_nan,);

fn sinks_of_all_sizes(backend: Backend) {
    let mut random = Random(11);
    let mut judge = Judge::new(backend);
    for offset in [0.0, -1000.0, -100.0, 150.0, 1e5] {
        for distance in [
            f32::NEG_INFINITY,
            -200.0,
            -20.0,
            0.0,
            15.0,
            50.0,
            130.0,
            300.0,
        ] {
            for columns in [1, 2, 31, 64, 300, 1000] {
                if !THOROUGH && columns == 1000 && distance != 0.0 {
                    continue;
                }
                let row: Vec<f32> = (0..columns)
                    .map(|_| offset - random.unit() as f32 * 8.0)
                    .collect();
                let setting = setting!(sink: Some(offset + distance));
                judge.matrix(&setting, &row, columns);
                judge.tensor(
                    &setting,
                    &[row.clone(), row.clone()].concat(),
                    [1, columns, 2],
                );

                let softmax = setting.on(backend);
                let mut results = vec![f32::MAX; columns];
                softmax.row(&row, &mut results).unwrap();
                let sum: f64 = results.iter().map(|p| f64::from(*p)).sum();
                let truth = Truth::of(&setting.with_sink(&row));
                let sum_of_all = sum + truth.probability(offset + distance);
                assert!(
                    (sum_of_all - 1.0).abs() < 1e-6,
                    "{offset}, {distance}: {sum_of_all}"
                );
                assert!(sum < 1.0 || distance < -15.0, "{offset}, {distance}: {sum}");

                let got = softmax.normalizer(&row).unwrap();
                let mut pushed = on(backend).normalizer(&row).unwrap();
                pushed.push(offset + distance);
                let (max, rest) = got.to_parts();
                let (expected_max, expected) = pushed.to_parts();
                assert_eq!(max, expected_max);
                assert!(
                    (rest - expected).abs() <= 1e-12 * expected,
                    "{rest} not {expected}"
                );
            }
        }
    }
    judge.print("sinks");
}

fn infinite_sinks_and_nan(backend: Backend) {
    let mut random = Random(12);
    let mut judge = Judge::new(backend);
    for sink in [f32::INFINITY, f32::NAN, f32::NEG_INFINITY, 3.0] {
        for special in [0.0, f32::NEG_INFINITY, f32::INFINITY, f32::NAN] {
            for length in [None, Some(0), Some(20)] {
                for all_special in [false, true] {
                    let is_zero = random.below(2) == 0;
                    let sink = Some(sink);
                    let setting = setting!(sink, length, is_zero);
                    let mut logits = random_logits(&mut random, 80);
                    let end = if all_special { 80 } else { 1 };
                    logits[..end].fill(special);
                    judge.matrix(&setting, &logits, 40);
                    judge.tensor(&setting, &logits, [1, 40, 2]);
                }
            }
        }
    }
}

//! The scale is a multiplication beforehand.

use super::*;

support::on_every_backend!(scale_is_multiplication_beforehand,);

fn scale_is_multiplication_beforehand(backend: Backend) {
    let mut random = Random(4);
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    for scale in [
        0.0,
        -0.0,
        -1.5,
        0.125,
        1.0 / 3.0,
        1e-40,
        1e30,
        inf,
        -inf,
        nan,
    ] {
        for special in [
            None,
            Some(0.0),
            Some(-0.0),
            Some(-inf),
            Some(inf),
            Some(nan),
        ] {
            let mut both = |len: usize| {
                let mut logits = random_logits(&mut random, len);
                if let Some(special) = special {
                    logits[random.below(len)] = special;
                }
                let scaled: Vec<f32> = logits.iter().map(|logit| logit * scale).collect();
                (logits, scaled)
            };
            let softmax = on(backend).scale(scale);
            for (rows, columns) in [(1, 1), (1, 40), (1, 5000), (3, 7), (9, 600), (2, 2)] {
                if !THOROUGH && special.is_some() && rows * columns > 1000 {
                    continue;
                }
                let (logits, scaled) = both(rows * columns);
                let expected = all_bits(&on(backend), &scaled, columns);
                let got = all_bits(&softmax, &logits, columns);
                assert!(got == expected, "{backend:?}: {scale}, {rows} × {columns}");
            }
            for shape in [[1, 1, 2], [2, 9, 33], [3, 20, 256]] {
                if !THOROUGH && special.is_some() && shape[2] == 256 {
                    continue;
                }
                let (logits, scaled) = both(shape.iter().product());
                let expected = axis_bits(&on(backend), &scaled, shape);
                let got = axis_bits(&softmax, &logits, shape);
                assert!(got == expected, "{backend:?}: {scale}, {shape:?}");
            }
        }
    }
}

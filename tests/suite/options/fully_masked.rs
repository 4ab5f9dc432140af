//! What a fully masked row is.

use super::*;

support::on_every_backend!(fully_masked_rows,);

fn fully_masked_rows(backend: Backend) {
    let mut random = Random(13);
    let mut judge = Judge::new(backend);
    for columns in [1, 2, 33, 100, 600] {
        let rows = 8;
        let mut logits = random_logits(&mut random, rows * columns);
        logits[2 * columns..4 * columns].fill(f32::NEG_INFINITY);
        // The second row, and each fourth after it.
        let is_masked = |place: usize| place / columns % 4 == 1;
        let places = 0..rows * columns;
        let keep: Vec<bool> = places.clone().map(|place| !is_masked(place)).collect();
        let masked_or = |place: usize| {
            if is_masked(place) {
                f32::NEG_INFINITY
            } else {
                1.0
            }
        };
        let additive: Vec<f32> = places.map(masked_or).collect();
        let plain = Setting::default();
        for form in [
            plain.clone(),
            Setting {
                keep: Some(keep.clone()),
                ..plain.clone()
            },
            Setting {
                additive: Some(additive.clone()),
                ..plain.clone()
            },
            Setting {
                length: Some(0),
                ..plain.clone()
            },
            Setting {
                keep: Some(keep),
                causal: Some(0),
                ..plain.clone()
            },
        ] {
            for is_zero in [false, true] {
                for sink in [None, Some(f32::NEG_INFINITY), Some(-5.0)] {
                    let setting = Setting {
                        is_zero,
                        sink,
                        ..form.clone()
                    };
                    if !THOROUGH && columns == 600 && sink.is_some() {
                        continue;
                    }
                    judge.matrix(&setting, &logits, columns);
                    if setting.causal.is_none() && columns % 3 == 0 {
                        judge.tensor(&setting, &logits, [rows, columns / 3, 3]);
                    }
                }
            }
        }
    }

    let nothing = on(backend).mask(Mask::Length(0));
    let mut row = [1.0, 2.0];
    nothing.row_in_place(&mut row).unwrap();
    assert!(row.iter().all(|value| value.is_nan()));
    let zero = nothing.fully_masked(FullyMasked::Zero);
    zero.row_in_place(&mut row).unwrap();
    assert_eq!(bits_of(&row), [0, 0]);
    zero.log_row_in_place(&mut row).unwrap();
    assert_eq!(row, [f32::NEG_INFINITY; 2]);
    zero.fully_masked(FullyMasked::Nan)
        .row_in_place(&mut row)
        .unwrap();
    assert!(row[0].is_nan());
    zero.sink(0.0).row_in_place(&mut row).unwrap();
    assert_eq!(bits_of(&row), [0, 0]);
    let nothing: [f32; 0] = [];
    let mut empty = zero.row(&nothing, &mut [0.0_f32; 0]).unwrap();
    assert_eq!(empty.outcome(), Outcome::Empty);
    empty = zero.sink(0.5).row(&nothing, &mut [0.0_f32; 0]).unwrap();
    assert_eq!((empty.max(), empty.denominator()), (0.5, 1.0));
}

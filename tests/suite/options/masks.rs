//! Masks to keep and to add: what they hide, and how they repeat.

use super::*;

support::on_every_backend!(
    nothing_behind_a_mask_matters,
    nothing_behind_an_additive_mask_matters,
    masks_repeat,
);

/// Masked logits of any value give the bits that zeros give.
fn check_behind(backend: Backend, masks: &[Setting], shape: [usize; 3]) {
    let [rows, axis, inner] = shape;
    let mut random = Random(7);
    for mask in masks {
        let prepared = mask.prepared(backend, &vec![0.0; rows * axis * inner], axis, inner);
        for with in [
            Setting::default(),
            setting!(scale: Some(0.5), soft_cap: Some(3.0)),
            setting!(sink: Some(1.0), is_zero: true),
        ] {
            let setting = Setting {
                scale: with.scale,
                soft_cap: with.soft_cap,
                sink: with.sink,
                is_zero: with.is_zero,
                ..mask.clone()
            };
            let mut logits = random_logits(&mut random, rows * axis * inner);
            let mut bits_with = |behind: f32| {
                for (logit, prepared) in logits.iter_mut().zip(&prepared) {
                    if *prepared == f32::NEG_INFINITY {
                        *logit = behind;
                    }
                }
                let softmax = setting.on(backend);
                if inner == 1 {
                    all_bits(&softmax, &logits, axis)
                } else {
                    axis_bits(&softmax, &logits, shape)
                }
            };
            let expected = bits_with(0.0);
            for behind in [
                f32::NAN,
                -f32::NAN,
                f32::INFINITY,
                f32::MAX,
                f32::NEG_INFINITY,
            ] {
                assert!(
                    bits_with(behind) == expected,
                    "{backend:?}: {behind} in {shape:?} behind {setting:?}"
                );
            }
        }
    }
}

fn nothing_behind_a_mask_matters(backend: Backend) {
    let mut random = Random(8);
    for shape in [
        [1, 2, 1],
        [1, 40, 1],
        [1, 600, 1],
        [5, 33, 1],
        [2, 9, 33],
        [3, 4, 256],
    ] {
        let [rows, axis, inner] = shape;
        let keep = Some(random_keep(&mut random, rows * axis * inner));
        let mut masks = vec![
            setting!(keep),
            setting!(length: Some(axis / 2)),
            setting!(length: Some(0)),
        ];
        if inner == 1 {
            masks.push(setting!(causal: Some(0)));
        }
        check_behind(backend, &masks, shape);
    }
}

fn nothing_behind_an_additive_mask_matters(backend: Backend) {
    let mut random = Random(9);
    for shape in [[1, 2, 1], [1, 40, 1], [1, 600, 1], [5, 33, 1], [2, 9, 33]] {
        let mut additive = random_additive(&mut random, shape.iter().product());
        additive[0] = f32::NEG_INFINITY;
        let mask = setting!(additive: Some(additive));
        check_behind(backend, &[mask], shape);
    }
}

/// A mask of fewer rows gives the bits of one that has them all.
fn masks_repeat(backend: Backend) {
    let mut random = Random(10);
    for [rows, axis, inner] in [
        [2, 3, 1],
        [6, 5, 1],
        [96, 100, 1],
        [20, 544, 1],
        [3, 4097, 1],
        [5, 3, 2],
        [6, 4, 256],
    ] {
        let slab = axis * inner;
        let counts = divisors(rows);
        for (mask_rows, keep_rows) in counts.iter().zip(counts.iter().rev()) {
            let logits = random_logits(&mut random, rows * slab);
            let additive = random_additive(&mut random, mask_rows * slab);
            let keep = random_keep(&mut random, keep_rows * slab);
            let all_additive = additive.iter().copied().cycle().take(rows * slab);
            let all_keep = keep.iter().copied().cycle().take(rows * slab);
            let long = setting!(
                additive: Some(all_additive.collect()),
                keep: Some(all_keep.collect())
            );
            let short = setting!(additive: Some(additive), keep: Some(keep));
            let bits_of = |setting: &Setting| match inner {
                1 => all_bits(&setting.on(backend), &logits, axis),
                _ => axis_bits(&setting.on(backend), &logits, [rows, axis, inner]),
            };
            assert!(
                bits_of(&short) == bits_of(&long),
                "{mask_rows} of {rows} × {axis} × {inner}"
            );
        }
    }
}

//! Masks to keep and to add: what they hide, and how they repeat.

use super::*;
use support::options::row_of_mask;

support::on_every_backend!(
    nothing_behind_a_mask_matters,
    nothing_behind_an_additive_mask_matters,
    masks_of_every_shape,
    shapes_are_found_or_refused,
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
            masks.push(setting!(window: Some((1, 0)), causal: Some(1)));
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

/// The values of a mask of `shape` for all rows of `logits` logits.
fn with_all_rows<T: Copy>(
    mask: &[T],
    shape: [usize; 3],
    dimensions: [usize; 3],
    logits: usize,
) -> Vec<T> {
    let rows = 0..dimensions.iter().product();
    rows.flat_map(|row| {
        let row = row_of_mask(shape, dimensions, row);
        mask[row * logits..][..logits].iter().copied()
    })
    .collect()
}

/// A mask of fewer rows gives the bits of one that has them all.
fn masks_of_every_shape(backend: Backend) {
    let mut random = Random(10);
    for (dimensions, axis, inner) in [
        ([1, 1, 2], 3, 1),
        ([1, 3, 2], 5, 1),
        ([2, 2, 2], 7, 1),
        ([4, 3, 8], 100, 1),
        ([2, 5, 2], 544, 1),
        ([3, 1, 1], 4097, 1),
        ([5, 1, 1], 3, 2),
        ([2, 3, 1], 4, 256),
        ([2, 2, 3], 7, 5),
    ] {
        let [items, heads, matrix_rows] = dimensions;
        let (rows, slab) = (items * heads * matrix_rows, axis * inner);
        for _ in 0..if THOROUGH { 12 } else { 4 } {
            let shapes = [(); 2].map(|()| random_shape(&mut random, dimensions));
            let [additive_len, keep_len] =
                shapes.map(|shape| shape.iter().product::<usize>() * slab);
            let logits = random_logits(&mut random, rows * slab);
            let additive = random_additive(&mut random, additive_len);
            let keep = random_keep(&mut random, keep_len);
            let long = setting!(
                additive: Some(with_all_rows(&additive, shapes[0], dimensions, slab)),
                keep: Some(with_all_rows(&keep, shapes[1], dimensions, slab)),
            );
            let short = setting!(
                additive: Some(additive),
                additive_shape: Some(shapes[0]),
                keep: Some(keep),
                keep_shape: Some(shapes[1]),
                matrix_rows: Some(matrix_rows),
                heads: Some(heads),
            );
            let bits_of = |setting: &Setting| match inner {
                1 => all_bits(&setting.on(backend), &logits, axis),
                _ => axis_bits(&setting.on(backend), &logits, [rows, axis, inner]),
            };
            let context = format!("{shapes:?} of {dimensions:?} × {axis} × {inner}");
            assert!(bits_of(&short) == bits_of(&long), "{context}");
        }
    }
}

/// A mask without a shape has the one shape of so many rows. If there are two that mean different
/// things, or none, it is refused.
fn shapes_are_found_or_refused(backend: Backend) {
    let mut random = Random(11);
    let columns = 3;
    for items in 1..=4 {
        for heads in 1..=3 {
            for matrix_rows in 1..=4 {
                let dimensions = [items, heads, matrix_rows];
                let rows: usize = dimensions.iter().product();
                let logits = random_logits(&mut random, rows * columns);
                for mask_rows in 0..=rows + 1 {
                    let keep = random_keep(&mut random, mask_rows * columns);
                    let mut meanings = Vec::new();
                    for bits in 0..8 {
                        let mut shape = dimensions;
                        for (bit, size) in shape.iter_mut().enumerate() {
                            if bits >> bit & 1 == 0 {
                                *size = 1;
                            }
                        }
                        if shape.iter().product::<usize>() == mask_rows {
                            let meaning: Vec<usize> = (0..rows)
                                .map(|row| row_of_mask(shape, dimensions, row))
                                .collect();
                            if !meanings.contains(&meaning) {
                                meanings.push(meaning);
                            }
                        }
                    }
                    let softmax = on(backend).matrix_rows(matrix_rows).heads(heads);
                    let mut results = vec![7.0; logits.len()];
                    let found =
                        softmax
                            .mask(Mask::Keep(&keep))
                            .rows(&logits, columns, &mut results);
                    let context = format!("{mask_rows} rows for {dimensions:?}: {found:?}");
                    match &meanings[..] {
                        [] => {
                            let (columns, given) = (columns, keep.len());
                            let error = Error::MaskMismatch {
                                rows,
                                columns,
                                given,
                            };
                            assert_eq!(found, Err(error), "{context}");
                        }
                        [meaning] => {
                            assert_eq!(found, Ok(()), "{context}");
                            let row = |row: &usize| &keep[row * columns..][..columns];
                            let all: Vec<bool> = meaning.iter().flat_map(row).copied().collect();
                            let mut expected = vec![7.0; logits.len()];
                            let plain = on(backend).mask(Mask::Keep(&all));
                            plain.rows(&logits, columns, &mut expected).unwrap();
                            assert!(bits_of(&results) == bits_of(&expected), "{context}");
                        }
                        _ => {
                            assert!(
                                matches!(found, Err(Error::AmbiguousMask { .. })),
                                "{context}"
                            );
                        }
                    }
                    if meanings.len() != 1 {
                        assert!(results.iter().all(|value| *value == 7.0), "{context}");
                    }
                }
            }
        }
    }
}

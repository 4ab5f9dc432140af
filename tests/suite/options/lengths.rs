//! The masks of a length and of causality are masks that keep.

use super::*;

support::on_every_backend!(
    length_and_causal_are_keep,
    length_and_causal_of_equal_logits_are_keep,
);

fn check_as_keep(
    backend: Backend,
    sinks: &[Option<f32>],
    mut logits: impl FnMut(&mut Random, usize) -> Vec<f32>,
) {
    let mut random = Random(6);
    let is_small = |(rows, columns): &(usize, usize)| THOROUGH || rows * columns <= 1000;
    for (rows, columns) in MATRICES.into_iter().filter(is_small) {
        for length in [None, Some(0), Some(columns.div_ceil(2)), Some(columns)] {
            for causal in [None, Some(0), Some(columns / 3), Some(usize::MAX)] {
                let (is_zero, sink) = (random.below(2) == 0, random.pick(sinks));
                let setting = setting!(length, causal, is_zero, sink);
                let keep = setting.by_keep(rows * columns, columns, 1);
                let logits = logits(&mut random, rows * columns);
                let expected = all_bits(&keep.on(backend), &logits, columns);
                let got = all_bits(&setting.on(backend), &logits, columns);
                let context = format!("{rows} × {columns}: {setting:?}: {:?}", &logits[..1]);
                assert!(got == expected, "{backend:?}: {context}");
            }
        }
    }
    for shape in TENSORS {
        let [outer, axis, inner] = shape;
        for length in 0..=axis.min(9) {
            let (is_zero, sink) = (random.below(2) == 0, random.pick(sinks));
            let setting = setting!(length: Some(length), is_zero, sink);
            let keep = setting.by_keep(outer * axis * inner, axis, inner);
            let logits = logits(&mut random, outer * axis * inner);
            let expected = axis_bits(&keep.on(backend), &logits, shape);
            let got = axis_bits(&setting.on(backend), &logits, shape);
            assert!(got == expected, "{backend:?}: {shape:?}: {setting:?}");
        }
    }
}

fn length_and_causal_are_keep(backend: Backend) {
    check_as_keep(backend, &[None, Some(f32::INFINITY)], random_logits);
}

fn length_and_causal_of_equal_logits_are_keep(backend: Backend) {
    check_as_keep(backend, &[None, Some(0.5)], |random, len| {
        vec![random.pick(&[0.0, 0.3, -7.7, 1e3]); len]
    });
}

//! What lengths, causal masks and windows hide is hidden as by a mask that keeps, and what they leave
//! is a row of its own.

use super::*;

support::on_every_backend!(
    length_and_causal_are_keep,
    length_and_causal_of_equal_logits_are_keep,
    visible_columns_are_a_row_of_their_own,
    extreme_offsets,
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
            for causal in [None, Some(0), Some(columns as isize / 3), Some(isize::MAX)] {
                let (is_zero, sink) = (random.below(2) == 0, random.pick(sinks));
                let [_, _, matrix_rows] = random_dimensions(&mut random, rows);
                let matrix_rows = random.pick(&[None, Some(matrix_rows)]);
                let setting = setting!(length, causal, is_zero, sink, matrix_rows);
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
            let lengths = (0..outer).map(|_| random.below(axis + 1)).collect();
            for setting in [
                setting!(length: Some(length), is_zero, sink),
                setting!(lengths: Some(lengths), matrix_rows: Some(1), is_zero, sink),
            ] {
                let keep = setting.by_keep(outer * axis * inner, axis, inner);
                let logits = logits(&mut random, outer * axis * inner);
                let expected = axis_bits(&keep.on(backend), &logits, shape);
                let got = axis_bits(&setting.on(backend), &logits, shape);
                assert!(got == expected, "{backend:?}: {shape:?}: {setting:?}");
            }
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

/// The visible columns of each row have the bits of a row of them alone, and what is hidden is
/// masked, whatever it holds.
fn check_visible(backend: Backend, setting: &Setting, rows: usize, columns: usize) {
    let mut random = Random((rows * columns) as u64);
    let mut logits: Vec<f32> = (0..rows)
        .flat_map(|_| random_logits(&mut random, columns))
        .collect();
    let beside = setting!(
        scale: setting.scale,
        soft_cap: setting.soft_cap,
        sink: setting.sink,
        is_zero: setting.is_zero,
    );
    for (row, logits) in logits.chunks_mut(columns).enumerate() {
        let visible = setting.visible(row, rows, columns);
        for (column, logit) in logits.iter_mut().enumerate() {
            if !visible.contains(&column) {
                *logit = random.pick(&[f32::NAN, f32::INFINITY, f32::MAX, -0.0]);
            } else if random.below(4000) == 0 {
                *logit = random.pick(&[f32::NAN, f32::INFINITY]);
            }
        }
    }
    let (softmax, beside) = (setting.on(backend), beside.on(backend));
    let mut results = vec![f32::MAX; logits.len()];
    softmax.rows(&logits, columns, &mut results).unwrap();
    let mut logs = vec![f32::MAX; logits.len()];
    softmax.log_rows(&logits, columns, &mut logs).unwrap();
    let mut sums = vec![f32::MAX; rows];
    softmax
        .log_sum_exp_rows(&logits, columns, &mut sums)
        .unwrap();
    let mut in_place = logits.clone();
    softmax.rows_in_place(&mut in_place, columns).unwrap();
    assert!(bits_of(&in_place) == bits_of(&results));
    for (row, sum_of_row) in sums.into_iter().enumerate() {
        let context = || format!("{backend:?}: row {row} of {rows} × {columns}: {setting:?}");
        let place = row * columns..(row + 1) * columns;
        let (logits, results) = (&logits[place.clone()], &results[place.clone()]);
        let logs = &logs[place];
        let visible = setting.visible(row, rows, columns);
        let (start, end) = (visible.start, visible.end);
        let mut expected = vec![f32::MAX; visible.len()];
        let mut of_row = beside.row(&logits[visible.clone()], &mut expected).unwrap();
        assert!(
            bits_of(&results[start..end]) == bits_of(&expected),
            "{}",
            context()
        );
        beside
            .log_row(&logits[visible.clone()], &mut expected)
            .unwrap();
        assert!(
            bits_of(&logs[start..end]) == bits_of(&expected),
            "{}",
            context()
        );
        let sum = beside.log_sum_exp(&logits[visible.clone()]).unwrap();
        assert_eq!(bits(sum_of_row), bits(sum), "{}", context());
        if of_row.outcome() == Outcome::Empty {
            of_row = Normalizer::new().merge([f32::NEG_INFINITY].into_iter().collect());
        }
        let masked = match of_row.outcome() {
            Outcome::Finite => [0.0, f32::NEG_INFINITY],
            Outcome::FullyMasked if setting.is_zero => [0.0, f32::NEG_INFINITY],
            _ => [f32::NAN; 2],
        };
        for (results, masked) in [results, logs].into_iter().zip(masked) {
            let hidden = results[..start].iter().chain(&results[end..]);
            for result in hidden {
                assert_eq!(bits(*result), bits(masked), "{}", context());
            }
        }
    }
}

fn visible_columns_are_a_row_of_their_own(backend: Backend) {
    let mut random = Random(17);
    for (rows, columns) in [
        (6, 1),
        (12, 5),
        (24, 31),
        (12, 64),
        (36, 100),
        (12, 300),
        (6, 1200),
    ] {
        if !THOROUGH && rows * columns > 4000 {
            continue;
        }
        for index in 0..if THOROUGH { 60 } else { 12 } {
            let [items, heads, matrix_rows] = random_dimensions(&mut random, rows);
            let mut setting = setting!(
                matrix_rows: Some(matrix_rows),
                heads: Some(heads),
                is_zero: index % 2 == 0,
                scale: random.pick(&[None, None, Some(0.5)]),
                sink: random.pick(&[None, None, Some(1.0)]),
            );
            if index % 3 != 1 {
                let count = random.pick(&[items, items * heads]);
                setting.lengths = Some((0..count).map(|_| random.below(columns + 1)).collect());
            }
            if index % 4 > 1 {
                let offset = random.below(2 * columns) as isize - columns as isize / 2;
                setting.causal = Some(offset);
            }
            if index % 3 > 0 {
                let sides = [0, 1, 7, columns / 2, columns];
                setting.window = Some((random.pick(&sides), random.pick(&sides)));
            }
            if index % 5 == 0 {
                setting.length = Some(random.below(columns + 1));
            }
            check_visible(backend, &setting, rows, columns);
        }
    }
    for (rows, columns, causal) in [(3, 4500, 4498), (2, 2200, 2100)] {
        let setting = setting!(causal: Some(causal), window: Some((2050, 0)));
        check_visible(backend, &setting, rows, columns);
    }
}

/// No offset and no side overflows.
fn extreme_offsets(backend: Backend) {
    let offsets = [
        isize::MIN,
        isize::MIN + 1,
        -3,
        -1,
        0,
        1,
        3,
        isize::MAX - 1,
        isize::MAX,
    ];
    let sides = [0, 1, 3, usize::MAX / 2, usize::MAX - 1, usize::MAX];
    for offset in offsets.map(Some).into_iter().chain([None]) {
        for before in sides {
            for after in sides {
                for window in [None, Some((before, after))] {
                    let setting = setting!(causal: offset, window, matrix_rows: Some(3));
                    check_visible(backend, &setting, 6, 5);
                }
            }
        }
    }
}

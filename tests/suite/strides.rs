//! Rows with gaps: the bits of rows without; what is between them has no effect and is not written.

use online_softmax::{Backend, Mask, Softmax};
use support::options::Setting;
use support::rows::Random;
use support::{THOROUGH, bits_of, on, setting};

support::on_every_backend!(
    rows_apart,
    rows_apart_with_options,
    views_of_a_tensor,
    one_row_of_any_stride
);

const MARK: f32 = 7.5;

fn random_logits(random: &mut Random, len: usize) -> Vec<f32> {
    let spread = random.pick(&[1.0, 20.0, 300.0]);
    let mut value = || match random.below(300) {
        0 => f32::NEG_INFINITY,
        1 => random.pick(&[f32::NAN, f32::INFINITY, f32::MIN, -1e30]),
        _ => ((random.unit() - 0.5) * spread) as f32,
    };
    (0..len).map(|_| value()).collect()
}

/// Rows with `gap` values of `filler` after each but the last, which has `last_gap`.
fn apart(rows: &[f32], columns: usize, [gap, last_gap]: [usize; 2], filler: f32) -> Vec<f32> {
    let mut apart = Vec::new();
    for row in rows.chunks(columns) {
        apart.extend_from_slice(row);
        apart.extend(core::iter::repeat_n(filler, gap));
    }
    apart.truncate(apart.len() - gap + last_gap);
    apart
}

/// All forms of a call, with gaps and without.
fn check(softmax: Softmax, logits: &[f32], columns: usize, gaps: [usize; 2]) {
    let rows = logits.len() / columns;
    let strided = softmax.row_stride(columns + gaps[0]);
    let context = format!("{rows} × {columns}, {gaps:?}");
    for filler in [f32::NAN, f32::INFINITY] {
        let logits_apart = apart(logits, columns, gaps, filler);
        let mut expected = vec![0.0; logits.len()];
        let mut results = vec![MARK; logits_apart.len()];
        softmax.rows(logits, columns, &mut expected).unwrap();
        strided.rows(&logits_apart, columns, &mut results).unwrap();
        let expected_apart = apart(&expected, columns, gaps, MARK);
        assert!(bits_of(&results) == bits_of(&expected_apart), "{context}");

        let mut in_place = logits_apart.clone();
        strided.rows_in_place(&mut in_place, columns).unwrap();
        let expected_apart = apart(&expected, columns, gaps, filler);
        assert!(bits_of(&in_place) == bits_of(&expected_apart), "{context}");

        softmax.log_rows(logits, columns, &mut expected).unwrap();
        results.fill(MARK);
        strided
            .log_rows(&logits_apart, columns, &mut results)
            .unwrap();
        let expected_apart = apart(&expected, columns, gaps, MARK);
        assert!(bits_of(&results) == bits_of(&expected_apart), "{context}");

        let [mut sums, mut expected] = [(); 2].map(|()| vec![MARK; rows]);
        softmax
            .log_sum_exp_rows(logits, columns, &mut expected)
            .unwrap();
        strided
            .log_sum_exp_rows(&logits_apart, columns, &mut sums)
            .unwrap();
        assert!(bits_of(&sums) == bits_of(&expected), "{context}");
    }
}

const SIZES: [[usize; 2]; 14] = [
    [1, 5],
    [40, 1],
    [37, 2],
    [33, 7],
    [35, 16],
    [20, 31],
    [17, 32],
    [19, 33],
    [9, 64],
    [5, 100],
    [5, 129],
    [4, 513],
    [2, 2048],
    [3, 2100],
];

fn rows_apart(backend: Backend) {
    let mut random = Random(21);
    for [rows, columns] in SIZES {
        for gap in [1, 3, 16, 100] {
            if THOROUGH || rows * columns < 700 || gap == 3 {
                let logits = random_logits(&mut random, rows * columns);
                for last_gap in [0, gap / 2, gap] {
                    check(on(backend), &logits, columns, [gap, last_gap]);
                }
            }
        }
        let logits = random_logits(&mut random, rows * columns);
        check(on(backend), &logits, columns, [0, 0]);
    }
}

fn rows_apart_with_options(backend: Backend) {
    let mut random = Random(22);
    for [rows, columns] in SIZES {
        if !THOROUGH && rows * columns > 1000 {
            continue;
        }
        let len = rows * columns;
        let keep: Vec<bool> = (0..len).map(|_| random.below(3) > 0).collect();
        let additive: Vec<f32> = (0..len).map(|_| random.unit() as f32).collect();
        let lengths = (0..rows).map(|row| row % (columns + 1)).collect();
        let settings: [Setting; 7] = [
            setting!(scale: Some(0.5), soft_cap: Some(20.0)),
            setting!(keep: Some(keep.clone()), sink: Some(0.5)),
            setting!(keep: Some(keep[..columns].to_vec()), additive: Some(additive)),
            setting!(length: Some(columns / 2), is_zero: true),
            setting!(lengths: Some(lengths), matrix_rows: Some(1), scale: Some(2.0)),
            setting!(causal: Some(columns as isize / 3), sink: Some(f32::INFINITY)),
            setting!(causal: Some(2), window: Some((5, 0)), keep: Some(keep)),
        ];
        for setting in settings {
            let logits = random_logits(&mut random, len);
            let gap = random.pick(&[1, 9, 33]);
            let last_gap = random.below(gap + 1);
            check(setting.on(backend), &logits, columns, [gap, last_gap]);
        }
    }
}

/// The columns of a tensor one part after another: together they change all of it, and each part no
/// other.
fn views_of_a_tensor(backend: Backend) {
    let (rows, stride) = (23, 70);
    let tensor = random_logits(&mut Random(23), rows * stride);
    let mut results = tensor.clone();
    let mut expected = tensor.clone();
    let causal = on(backend).mask(Mask::Causal { offset: 4 });
    for (softmax, columns) in [(on(backend), 0..8), (causal, 8..41), (on(backend), 41..70)] {
        let strided = softmax.row_stride(stride);
        let view = &mut results[columns.start..];
        strided.rows_in_place(view, columns.len()).unwrap();
        let part: Vec<f32> = tensor
            .chunks(stride)
            .flat_map(|row| row[columns.clone()].iter().copied())
            .collect();
        let mut of_part = vec![0.0; part.len()];
        softmax.rows(&part, columns.len(), &mut of_part).unwrap();
        for (row, of_part) in expected
            .chunks_mut(stride)
            .zip(of_part.chunks(columns.len()))
        {
            row[columns.clone()].copy_from_slice(of_part);
        }
        assert!(bits_of(&results) == bits_of(&expected), "{columns:?}");
    }
}

/// Products of a number of rows and these overflow: to 0, to 1, or to a few.
const LARGE_STRIDES: [usize; 10] = [
    usize::MAX,
    usize::MAX / 2 + 1,
    usize::MAX / 4 + 1,
    usize::MAX / 8 + 1,
    usize::MAX / 15 + 1,
    usize::MAX / 16 + 1,
    // Inverses of 7 and 15 modulo 2^64, and twice these.
    0x6DB6_DB6D_B6DB_6DB7_u64 as usize,
    0xDB6D_B6DB_6DB6_DB6E_u64 as usize,
    0xEEEE_EEEE_EEEE_EEEF_u64 as usize,
    0xDDDD_DDDD_DDDD_DDDE_u64 as usize,
];

fn one_row_of_any_stride(backend: Backend) {
    let mut random = Random(24);
    for columns in [1, 3, 10, 20, 32, 33, 100, 600, 2100] {
        let logits = random_logits(&mut random, columns + 5);
        let masks = [
            Mask::Length(columns - columns / 3),
            Mask::Causal { offset: 7 },
        ];
        for softmax in [on(backend)]
            .into_iter()
            .chain(masks.into_iter().map(|mask| on(backend).mask(mask)))
        {
            let mut expected = vec![MARK; columns];
            let mut expected_log = expected.clone();
            let mut expected_sum = [MARK];
            let row = &logits[..columns];
            softmax.rows(row, columns, &mut expected).unwrap();
            softmax.log_rows(row, columns, &mut expected_log).unwrap();
            softmax
                .log_sum_exp_rows(row, columns, &mut expected_sum)
                .unwrap();
            for stride in LARGE_STRIDES {
                let strided = softmax.row_stride(stride);
                // A part of the gap may be there.
                for len in [columns, columns + 5] {
                    let logits = &logits[..len];
                    let check = |results: &[f32], expected: &[f32], rest: &[f32]| {
                        let (results, gap) = results.split_at(columns);
                        let context = format!("{columns} columns, stride {stride:#x}");
                        assert!(bits_of(results) == bits_of(expected), "{context}");
                        assert!(bits_of(gap) == bits_of(rest), "{context}: the gap");
                    };
                    let mut results = vec![MARK; len];
                    strided.rows(logits, columns, &mut results).unwrap();
                    check(&results, &expected, &[MARK; 5][..len - columns]);
                    results.fill(MARK);
                    strided.log_rows(logits, columns, &mut results).unwrap();
                    check(&results, &expected_log, &[MARK; 5][..len - columns]);
                    let mut in_place = logits.to_vec();
                    strided.rows_in_place(&mut in_place, columns).unwrap();
                    check(&in_place, &expected, &logits[columns..]);
                    let mut sum = [MARK];
                    strided.log_sum_exp_rows(logits, columns, &mut sum).unwrap();
                    assert!(bits_of(&sum) == bits_of(&expected_sum), "{stride:#x}");
                }
            }
        }
    }
}

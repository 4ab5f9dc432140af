//! Masks that do not fit are refused, and nothing is written.

use super::*;

support::on_every_backend!(
    errors_write_nothing,
    matrices_and_heads_that_do_not_fit,
    strides_that_do_not_fit,
);

fn errors_write_nothing(backend: Backend) {
    let keep = |len: usize| Setting {
        keep: Some(vec![true; len]),
        ..Setting::default()
    };
    let additive = |len: usize| Setting {
        additive: Some(vec![0.0; len]),
        ..Setting::default()
    };
    let length = |length| setting!(length: Some(length));
    let mismatch = |rows, columns, given| Error::MaskMismatch {
        rows,
        columns,
        given,
    };
    let beyond = |columns, given| Error::LengthBeyondRow { columns, given };
    let check = |results: &[Result<(), Error>], expected: Error, numbers: &[usize]| {
        for (call, result) in results.iter().enumerate() {
            assert_eq!(*result, Err(expected), "call {call}");
        }
        let message = expected.to_string();
        for number in numbers {
            assert!(message.contains(&number.to_string()), "{number}: {message}");
        }
    };
    let mut out = [7.0; 24];

    for given in [0, 1, 4, 7, 9, 600] {
        for setting in [keep(given), additive(given), length(given.max(4))] {
            let (softmax, out) = (setting.on(backend), &mut out[..6]);
            let expected = match setting.length {
                Some(length) => beyond(3, length),
                None => mismatch(2, 3, given),
            };
            let numbers = [3, setting.length.unwrap_or(given)];
            let results = [
                softmax.rows(&[0.0; 6], 3, out),
                softmax.rows_in_place(out, 3),
                softmax.log_rows(&[0.0; 6], 3, out),
                softmax.log_sum_exp_rows(&[0.0; 6], 3, &mut out[..2]),
                softmax.axis(&[0.0; 6], [2, 3, 1], out),
                softmax.axis_in_place(out, [2, 3, 1]),
                softmax.log_axis(&[0.0; 6], [2, 3, 1], out),
            ];
            check(&results, expected, &numbers);
        }
    }
    // Whole rows, but neither one nor all: nothing wraps around.
    for (rows, given) in [(3, 6), (4, 6), (4, 9), (5, 12), (8, 12), (8, 15)] {
        for setting in [keep(given), additive(given)] {
            let (softmax, out) = (setting.on(backend), &mut out[..3 * rows]);
            let expected = mismatch(rows, 3, given);
            let logits = vec![0.0; 3 * rows];
            let results = [
                softmax.rows(&logits, 3, out),
                softmax.rows_in_place(out, 3),
                softmax.log_rows(&logits, 3, out),
                softmax.log_sum_exp_rows(&logits, 3, &mut out[..rows]),
                softmax.axis(&logits, [rows, 3, 1], out),
                softmax.axis(&logits, [rows, 1, 3], out),
                softmax.axis_in_place(out, [rows, 1, 3]),
                softmax.log_axis(&logits, [rows, 1, 3], out),
            ];
            check(&results, expected, &[rows, 3, given]);
        }
    }
    for given in [0, 1, 4, 6] {
        for setting in [keep(given), additive(given), length(given.max(4))] {
            let (softmax, out) = (setting.on(backend), &mut out[..3]);
            let row = &[0.0; 3];
            let expected = match setting.length {
                Some(length) => beyond(3, length),
                None => mismatch(1, 3, given),
            };
            let numbers = [3, setting.length.unwrap_or(given)];
            let results = [
                softmax.row(row, out).map(drop),
                softmax.row_in_place(out).map(drop),
                softmax.log_row(row, out).map(drop),
                softmax.log_row_in_place(out).map(drop),
                softmax.normalizer(row).map(drop),
                softmax.log_sum_exp(row).map(drop),
                softmax.top_k(row, &mut [Candidate::default(); 2]).map(drop),
                softmax.cross_entropy(row, 1).map(drop),
                softmax.cross_entropy_gradient(row, 1, out).map(drop),
                softmax.cross_entropy_gradient_in_place(out, 1).map(drop),
            ];
            check(&results, expected, &numbers);
        }
    }
    let shape = [2, 3, 4];
    let causal = Error::UnsupportedOption {
        option: "a causal mask",
        operation: "a softmax along an inner axis",
    };
    let with_causal = setting!(causal: Some(0));
    let window = Error::UnsupportedOption {
        option: "a window",
        operation: "a softmax along an inner axis",
    };
    let with_window = setting!(window: Some((1, 1)));
    for (setting, expected, numbers) in [
        (keep(3), mismatch(2, 12, 3), &[12, 3][..]),
        (additive(13), mismatch(2, 12, 13), &[12, 13]),
        (keep(36), mismatch(2, 12, 36), &[12, 36]),
        (length(4), beyond(3, 4), &[3, 4]),
        (with_causal, causal, &[]),
        (with_window, window, &[]),
    ] {
        let softmax = setting.on(backend);
        let results = [
            softmax.axis(&[0.0; 24], shape, &mut out),
            softmax.axis_in_place(&mut out, shape),
            softmax.log_axis(&[0.0; 24], shape, &mut out),
        ];
        check(&results, expected, numbers);
    }
    assert_eq!(out, [7.0; 24]);
}

fn matrices_and_heads_that_do_not_fit(backend: Backend) {
    let partial = |matrix_rows, heads, given| Error::PartialMatrix {
        matrix_rows,
        heads,
        given,
    };
    let lengths = |matrices, items, given| Error::LengthsMismatch {
        matrices,
        items,
        given,
    };
    let shape = |shape, given| Error::MaskShapeMismatch {
        expected: [2, 2, 3],
        columns: 2,
        shape,
        given,
    };
    let plain = on(backend);
    let matrices = plain.matrix_rows(3);
    let heads = matrices.heads(2);
    let (keep, additive) = ([true; 48], [0.0; 48]);
    let ambiguous = Error::AmbiguousMask {
        shapes: [[1, 1, 2], [2, 1, 1]],
        columns: 6,
        given: 12,
    };
    // 12 rows of 2 columns.
    for (softmax, expected, numbers) in [
        (plain.matrix_rows(5), partial(5, 1, 12), &[5, 12][..]),
        (plain.matrix_rows(0), partial(0, 1, 12), &[0, 12]),
        (plain.matrix_rows(24), partial(24, 1, 12), &[24, 12]),
        (plain.heads(2), partial(12, 2, 12), &[2, 12]),
        (matrices.heads(3), partial(3, 3, 12), &[3, 12]),
        (matrices.heads(0), partial(3, 0, 12), &[3, 0, 12]),
        (
            matrices.heads(usize::MAX),
            partial(3, usize::MAX, 12),
            &[3, 12],
        ),
        (plain.mask(Mask::Lengths(&[])), lengths(1, 1, 0), &[1, 0]),
        (
            plain.mask(Mask::Lengths(&[2; 12])),
            lengths(1, 1, 12),
            &[1, 12],
        ),
        (
            matrices.mask(Mask::Lengths(&[2])),
            lengths(4, 4, 1),
            &[4, 1],
        ),
        (
            matrices.mask(Mask::Lengths(&[2; 2])),
            lengths(4, 4, 2),
            &[4, 2],
        ),
        (
            matrices.mask(Mask::Lengths(&[2; 5])),
            lengths(4, 4, 5),
            &[4, 5],
        ),
        (
            heads.mask(Mask::Lengths(&[2; 3])),
            lengths(4, 2, 3),
            &[4, 2, 3],
        ),
        (
            matrices.mask(Mask::Lengths(&[1, 2, 3, 0])),
            Error::LengthBeyondRow {
                columns: 2,
                given: 3,
            },
            &[2, 3],
        ),
        (
            heads.mask(Mask::KeepShaped {
                keep: &keep[..8],
                shape: [4, 1, 1],
            }),
            shape([4, 1, 1], 8),
            &[2, 3, 4, 8],
        ),
        (
            heads.mask(Mask::KeepShaped {
                keep: &keep[..8],
                shape: [2, 1, 3],
            }),
            shape([2, 1, 3], 8),
            &[2, 3, 8],
        ),
        (
            heads.mask(Mask::AdditiveShaped {
                additive: &additive[..9],
                shape: [1, 1, 3],
            }),
            shape([1, 1, 3], 9),
            &[2, 3, 9],
        ),
        (
            heads.mask(Mask::AdditiveShaped {
                additive: &additive,
                shape: [usize::MAX, usize::MAX, 3],
            }),
            shape([usize::MAX, usize::MAX, 3], 48),
            &[2, 3, 48],
        ),
        (
            heads.mask(Mask::Keep(&keep[..10])),
            Error::MaskMismatch {
                rows: 12,
                columns: 2,
                given: 10,
            },
            &[12, 2, 10],
        ),
    ] {
        let message = expected.to_string();
        for number in numbers {
            assert!(message.contains(&number.to_string()), "{number}: {message}");
        }
        let mut out = [7.0; 24];
        for result in [
            softmax.rows(&[0.0; 24], 2, &mut out),
            softmax.rows_in_place(&mut out, 2),
            softmax.log_rows(&[0.0; 24], 2, &mut out),
            softmax.log_sum_exp_rows(&[0.0; 24], 2, &mut out[..12]),
            softmax.axis(&[0.0; 24], [12, 2, 1], &mut out),
        ] {
            assert_eq!(result, Err(expected), "{message}");
        }
        assert_eq!(out, [7.0; 24]);
    }
    // Two matrices of two rows, and a mask of two rows.
    for softmax in [
        plain.matrix_rows(2).mask(Mask::Keep(&keep[..12])),
        plain.matrix_rows(2).mask(Mask::Additive(&additive[..12])),
    ] {
        let mut out = [7.0; 24];
        assert_eq!(softmax.rows(&[0.0; 24], 6, &mut out), Err(ambiguous));
        assert_eq!(
            softmax.axis(&[0.0; 24], [4, 3, 2], &mut out),
            Err(ambiguous)
        );
        assert_eq!(out, [7.0; 24]);
        let message = ambiguous.to_string();
        for part in ["[1, 1, 2]", "[2, 1, 1]", "12", "6"] {
            assert!(message.contains(part), "{message}");
        }
    }
    // One row is a matrix of one row.
    let row = [0.0; 3];
    let expected = Err(partial(2, 1, 1));
    let softmax = plain.matrix_rows(2);
    assert_eq!(softmax.row(&row, &mut [0.0; 3]).map(drop), expected);
    assert_eq!(softmax.normalizer(&row).map(drop), expected);
    assert_eq!(softmax.log_sum_exp(&row).map(drop), expected);
    assert_eq!(softmax.cross_entropy(&row, 1).map(drop), expected);
    assert!(
        plain
            .matrix_rows(1)
            .heads(1)
            .row(&row, &mut [0.0; 3])
            .is_ok()
    );
    // The gradients take no options.
    for softmax in [plain.matrix_rows(1), plain.heads(1), plain.row_stride(3)] {
        let result = softmax.softmax_gradient(&row, &row, &mut [0.0; 3]);
        assert!(matches!(result, Err(Error::UnsupportedOption { .. })));
    }
    // Without logits nothing is checked but lengths.
    let nothing = plain.matrix_rows(3).mask(Mask::Keep(&keep));
    assert_eq!(nothing.rows(&[], 2, &mut []), Ok(()));
    assert_eq!(plain.matrix_rows(0).rows(&[], 0, &mut []), Ok(()));
    assert_eq!(
        nothing.mask(Mask::Lengths(&[2])).rows(&[], 2, &mut []),
        Ok(())
    );
}

fn strides_that_do_not_fit(backend: Backend) {
    let softmax = on(backend);
    let (logits, mut out) = ([0.0; 24], [7.0; 24]);
    let partial = |stride, given| Error::PartialStridedRow {
        columns: 3,
        stride,
        given,
    };
    for (stride, len, expected) in [
        (
            2,
            6,
            Error::StrideBelowColumns {
                columns: 3,
                given: 2,
            },
        ),
        (
            0,
            6,
            Error::StrideBelowColumns {
                columns: 3,
                given: 0,
            },
        ),
        (
            3,
            7,
            Error::PartialRow {
                columns: 3,
                given: 7,
            },
        ),
        (4, 2, partial(4, 2)),
        (4, 5, partial(4, 5)),
        (4, 6, partial(4, 6)),
        (usize::MAX, 2, partial(usize::MAX, 2)),
    ] {
        let softmax = softmax.row_stride(stride);
        let rows = len / 3;
        for result in [
            softmax.rows(&logits[..len], 3, &mut out[..len]),
            softmax.rows_in_place(&mut out[..len], 3),
            softmax.log_rows(&logits[..len], 3, &mut out[..len]),
            softmax.log_sum_exp_rows(&logits[..len], 3, &mut out[..rows]),
        ] {
            assert_eq!(result, Err(expected), "{stride}, {len}");
        }
        let message = expected.to_string();
        assert!(message.contains('3'), "{message}");
    }
    let rows = softmax.row_stride(5);
    let mismatch = Error::RowsMismatch {
        expected: 2,
        given: 3,
    };
    assert_eq!(
        rows.log_sum_exp_rows(&logits[..10], 3, &mut out[..3]),
        Err(mismatch)
    );
    let mismatch = Error::LengthMismatch {
        expected: 8,
        given: 10,
    };
    assert_eq!(rows.rows(&logits[..8], 3, &mut out[..10]), Err(mismatch));
    let axis = Error::UnsupportedOption {
        option: "a row stride",
        operation: "a softmax along an axis",
    };
    for shape in [[8, 3, 1], [2, 3, 4]] {
        assert_eq!(rows.axis(&logits, shape, &mut out), Err(axis));
        assert_eq!(rows.axis_in_place(&mut out, shape), Err(axis));
        assert_eq!(rows.log_axis(&logits, shape, &mut out), Err(axis));
    }
    let below = Error::StrideBelowColumns {
        columns: 6,
        given: 5,
    };
    assert_eq!(rows.row_in_place(&mut out[..6]).map(drop), Err(below));
    assert_eq!(out, [7.0; 24]);
    assert_eq!(rows.rows(&[], 3, &mut []), Ok(()));
    assert_eq!(rows.rows(&[], 0, &mut []), Ok(()));
}

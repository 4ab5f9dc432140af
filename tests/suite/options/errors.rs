//! Masks that do not fit are refused, and nothing is written.

use super::*;

support::on_every_backend!(errors_write_nothing,);

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
    // Whole rows, but not as many as divide the rows of the matrix: nothing wraps around.
    for (rows, given) in [(3, 6), (4, 9), (5, 12), (8, 15)] {
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
    for (setting, expected, numbers) in [
        (keep(3), mismatch(2, 12, 3), &[12, 3][..]),
        (additive(13), mismatch(2, 12, 13), &[12, 13]),
        (keep(36), mismatch(2, 12, 36), &[12, 36]),
        (length(4), beyond(3, 4), &[3, 4]),
        (with_causal, causal, &[]),
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

//! The table of special values, line by line and backend by backend, in every form of every
//! function; and the errors.

use online_softmax::{Backend, Error, Normalizer, Outcome, Softmax, Stream};
use support::rows::Random;
use support::verify::{Results, expected_outcome, verify};
use support::{Bounds, THOROUGH, bits, bits_of_parts, on, ulp};

support::on_every_backend!(
    an_empty_row,
    any_nan,
    any_positive_infinity,
    nan_beside_positive_infinity,
    nothing_but_negative_infinity,
    negative_infinity_among_finite,
    leading_negative_infinities,
    a_finite_logit_among_negative_infinities,
    large_masks,
    the_largest_numbers,
    one_element,
    equal_elements,
    zeros_of_both_signs,
    subnormal_logits,
    refused_lengths,
    refused_shapes,
    rows_without_columns,
    rows_of_one_column,
    a_row_changes_no_other_row,
);

const NAN: f32 = f32::NAN;
const INFINITY: f32 = f32::INFINITY;
const MASKED: f32 = f32::NEG_INFINITY;

/// Below, at and above what a register, a group of lanes, a block or a sum of blocks holds.
const LENGTHS: [usize; 18] = [
    1, 2, 7, 8, 16, 31, 32, 33, 64, 65, 96, 100, 128, 129, 513, 1024, 5000, 70000,
];

/// The first place, the last, the middle, both sides of the first group's and the first block's
/// end, and the tail.
fn places(len: usize) -> Vec<usize> {
    let mut places = vec![
        0,
        1,
        7,
        len / 2,
        31,
        32,
        63,
        64,
        127,
        128,
        len - len % 32,
        len - len % 64,
        len.saturating_sub(2),
        len - 1,
    ];
    if !THOROUGH {
        match len {
            0..100 => {}
            100..1000 => places = vec![0, 32, len / 2, len - len % 32, len - 1],
            1000..10_000 => places = vec![0, len - 1],
            _ => places = vec![len - len % 64],
        }
    }
    places.retain(|place| *place < len);
    places.sort_unstable();
    places.dedup();
    places
}

/// Finite rows to put special values in.
fn finite_rows(len: usize) -> Vec<Vec<f32>> {
    let mut random = Random(len as u64);
    let mut row = |max: f64, spread: f64| -> Vec<f32> {
        (0..len)
            .map(|_| (max - spread * random.unit()) as f32)
            .collect()
    };
    let rows = vec![row(5.0, 10.0), row(-250.0, 40.0), row(1e5, 3e5)];
    for_length(len, &rows).to_vec()
}

/// All of `values`; but for a short row in a debug build the first only.
fn for_length<T>(len: usize, values: &[T]) -> &[T] {
    if len >= 100 && !THOROUGH {
        &values[..1]
    } else {
        values
    }
}

/// For every length, finite row and place.
fn everywhere(mut test: impl FnMut(&[f32], usize)) {
    for len in LENGTHS {
        for row in finite_rows(len) {
            for place in places(len) {
                test(&row, place);
            }
        }
    }
}

fn verified(backend: Backend, row: &[f32], context: &str) -> Results {
    verify(backend, row).unwrap_or_else(|error| panic!("{context}, {} logits: {error}", row.len()))
}

fn all_nan(values: &[f32]) -> bool {
    values.iter().all(|value| value.is_nan())
}

fn an_empty_row(backend: Backend) {
    let results = verified(backend, &[], "an empty row");
    assert_eq!(results.normalizer.outcome(), Outcome::Empty);
    assert_eq!(results.log_sum_exp, MASKED);
    assert_eq!(
        bits_of_parts(results.normalizer),
        bits_of_parts(Normalizer::new())
    );
    let stream = Stream::new().backend(backend).unwrap();
    assert_eq!(stream.finish(), Normalizer::new());
}

fn any_nan(backend: Backend) {
    // Signalling, quiet, and of both signs.
    let kinds = [0x7FC0_0000, 0xFFC0_0000, 0x7F80_0001, 0xFFFF_FFFF].map(f32::from_bits);
    let mut random = Random(4);
    everywhere(|finite, place| {
        let mut row = finite.to_vec();
        row[place] = random.pick(&kinds);
        let results = verified(backend, &row, &format!("NaN at {place}"));
        assert_eq!(results.normalizer.outcome(), Outcome::NaN);
        assert!(all_nan(&results.softmax) && all_nan(&results.log_softmax));
        assert!(results.log_sum_exp.is_nan());

        let mut row = vec![MASKED; finite.len()];
        row[place] = random.pick(&kinds);
        let results = verified(backend, &row, &format!("NaN at {place} among -inf"));
        assert_eq!(results.normalizer.outcome(), Outcome::NaN);
    });
}

fn any_positive_infinity(backend: Backend) {
    everywhere(|finite, place| {
        for (mut row, context) in [
            (finite.to_vec(), "among finite"),
            (vec![MASKED; finite.len()], "among -inf"),
            (vec![INFINITY; finite.len()], "among its like"),
        ] {
            row[place] = INFINITY;
            let results = verified(backend, &row, &format!("+inf at {place} {context}"));
            assert_eq!(results.normalizer.outcome(), Outcome::PositiveInfinity);
            assert!(all_nan(&results.softmax) && all_nan(&results.log_softmax));
            assert_eq!(results.log_sum_exp, INFINITY);
        }
    });
}

fn nan_beside_positive_infinity(backend: Backend) {
    for len in LENGTHS {
        if len > 1 {
            let finite = &finite_rows(len)[0];
            let places = places(len);
            for nan in &places {
                for infinity in &places {
                    if nan != infinity {
                        for masked in [false, true] {
                            let mut row = finite.clone();
                            if masked {
                                row.fill(MASKED);
                            }
                            (row[*nan], row[*infinity]) = (NAN, INFINITY);
                            let context = format!("NaN at {nan}, +inf at {infinity}");
                            let results = verified(backend, &row, &context);
                            assert_eq!(results.normalizer.outcome(), Outcome::NaN, "{context}");
                            assert!(results.log_sum_exp.is_nan(), "{context}");
                        }
                    }
                }
            }
        }
    }
}

fn nothing_but_negative_infinity(backend: Backend) {
    for len in LENGTHS {
        let results = verified(backend, &vec![MASKED; len], "all -inf");
        assert_eq!(results.normalizer.outcome(), Outcome::FullyMasked);
        assert!(all_nan(&results.softmax) && all_nan(&results.log_softmax));
        assert_eq!(results.log_sum_exp, MASKED);
        assert_eq!(results.normalizer.max(), MASKED);
        assert_eq!(results.normalizer.denominator(), 0.0);
    }
}

fn negative_infinity_among_finite(backend: Backend) {
    everywhere(|finite, place| {
        if finite.len() > 1 {
            let mut row = finite.to_vec();
            row[place] = MASKED;
            let context = format!("-inf at {place}");
            let results = verified(backend, &row, &context);
            assert_eq!(results.normalizer.outcome(), Outcome::Finite, "{context}");
            assert_eq!(bits(results.softmax[place]), 0, "{context}");
            assert_eq!(results.log_softmax[place], MASKED, "{context}");
            // The oracle held the others to their bounds without it; here is the crate's own word.
            row.remove(place);
            let without = verified(backend, &row, &context);
            let (a, b) = (results.log_sum_exp, without.log_sum_exp);
            let error = ulp::error_above_one(a, f64::from(b));
            assert!(error <= 1.0, "{context}: {a} and {b}");
        }
    });
    // Every second one, and every one but each 33rd.
    for len in LENGTHS {
        for row in finite_rows(len) {
            for (step, masks_the_step) in [(2, true), (33, false), (64, false), (32, false)] {
                let mut row = row.clone();
                for (index, logit) in row.iter_mut().enumerate() {
                    if (index % step == 1) == masks_the_step {
                        *logit = MASKED;
                    }
                }
                verified(backend, &row, &format!("-inf by {step}"));
            }
        }
    }
}

fn leading_negative_infinities(backend: Backend) {
    everywhere(|finite, place| {
        let mut row = finite.to_vec();
        row[..place].fill(MASKED);
        let results = verified(backend, &row, &format!("-inf before {place}"));
        assert_eq!(results.normalizer.outcome(), Outcome::Finite);
        let mut row = finite.to_vec();
        row[place + 1..].fill(MASKED);
        let results = verified(backend, &row, &format!("-inf after {place}"));
        assert_eq!(results.normalizer.outcome(), Outcome::Finite);
    });
}

fn a_finite_logit_among_negative_infinities(backend: Backend) {
    for len in LENGTHS {
        for place in places(len) {
            let logits = [
                -104.5,
                0.0,
                -0.0,
                -1e30,
                1e30,
                250.0,
                f32::MIN,
                f32::MAX,
                1e-45,
            ];
            for logit in for_length(len, &logits).iter().copied() {
                let mut row = vec![MASKED; len];
                row[place] = logit;
                let context = format!("{logit} at {place} among -inf");
                let results = verified(backend, &row, &context);
                assert_eq!(results.softmax[place], 1.0, "{context}");
                assert_eq!(results.log_softmax[place], 0.0, "{context}");
                assert_eq!(results.log_sum_exp, logit, "{context}");
                assert_eq!(results.normalizer.denominator(), 1.0, "{context}");
            }
        }
    }
}

fn large_masks(backend: Backend) {
    everywhere(|finite, place| {
        for mask in for_length(finite.len(), &[-1e30, -1e9, f32::MIN])
            .iter()
            .copied()
        {
            // One logit masked, all but one, all before it, all.
            let mut one = finite.to_vec();
            one[place] = mask;
            let mut all_but_one = vec![mask; finite.len()];
            all_but_one[place] = finite[place];
            let mut before = finite.to_vec();
            before[..place].fill(mask);
            for row in [one, all_but_one, before] {
                let context = format!("{mask:e} about {place}");
                let results = verified(backend, &row, &context);
                if row.iter().any(|logit| *logit != mask) {
                    for (logit, p) in row.iter().zip(&results.softmax) {
                        assert!(*logit != mask || bits(*p) == 0, "{context}: {p:e}");
                    }
                }
            }
        }
    });
    for len in LENGTHS {
        verified(backend, &vec![-1e30; len], "all -1e30");
    }
}

fn the_largest_numbers(backend: Backend) {
    everywhere(|finite, place| {
        let pairs = [
            (f32::MIN, f32::MAX),
            (f32::MAX, f32::MIN),
            (f32::MIN, f32::MIN.next_up()),
            (f32::MAX.next_down(), f32::MAX),
            (0.0, f32::MAX),
            (0.0, f32::MIN),
            (f32::MIN, 0.0),
        ];
        for (all, one) in for_length(finite.len(), &pairs).iter().copied() {
            let mut row = vec![all; finite.len()];
            row[place] = one;
            let context = format!("{one:e} at {place} among {all:e}");
            let results = verified(backend, &row, &context);
            assert_eq!(results.normalizer.outcome(), Outcome::Finite, "{context}");
        }
    });
    for len in LENGTHS {
        let mut random = Random(len as u64);
        let row: Vec<f32> = (0..len)
            .map(|_| ((random.unit() * 2.0 - 1.0) * f64::from(f32::MAX)) as f32)
            .collect();
        verified(backend, &row, "to ±3.4e38");
    }
}

fn one_element(backend: Backend) {
    let mut random = Random(5);
    let mut elements = vec![
        0.0,
        -0.0,
        1.0,
        -1.0,
        -104.0,
        208.0,
        1e30,
        -1e30,
        f32::MAX,
        f32::MIN,
        f32::from_bits(1),
        -f32::from_bits(1),
    ];
    elements.extend(
        (0..if THOROUGH { 100_000 } else { 1000 })
            .map(|_| f32::from_bits(random.next_u64() as u32)),
    );
    for element in elements {
        if element.is_finite() {
            let results = verified(backend, &[element], &format!("{element:e}"));
            assert_eq!(results.softmax, [1.0], "{element:e}");
            assert_eq!(results.log_softmax, [0.0], "{element:e}");
            assert_eq!(results.log_sum_exp, element);
            assert_eq!(results.normalizer.max(), element);
            assert_eq!(results.normalizer.denominator(), 1.0);
        }
    }
}

fn equal_elements(backend: Backend) {
    let longest = if THOROUGH { 24 } else { 16 };
    let softmax = on(backend);
    let mut elements = vec![
        0.0,
        -0.0,
        1.5,
        -0.1,
        3.7,
        -104.0,
        -104.1,
        88.7,
        207.9,
        208.1,
        1e5,
        -1e6,
        -1e30,
        1e30,
        f32::MAX,
        f32::MIN,
        1e-40,
    ];
    for exponent in 0..=longest {
        let len = 1_usize << exponent;
        if exponent > longest - 6 {
            elements.truncate(3);
        }
        for element in &elements {
            let row = vec![*element; len];
            let mut probabilities = vec![0.0; len];
            softmax.row(&row, &mut probabilities).unwrap();
            let expected = 1.0 / len as f32;
            assert!(
                probabilities.iter().all(|p| *p == expected),
                "{}: of {len} times {element:e} not all are 1/{len}",
                backend.name()
            );
        }
    }
    // Of any number, to the bound.
    for len in (1..200).chain(LENGTHS) {
        verified(backend, &vec![-7.3; len], "equal");
    }
}

fn zeros_of_both_signs(backend: Backend) {
    for len in LENGTHS {
        for step in [2, 3, 32] {
            let mut row = vec![0.0; len];
            row.iter_mut().step_by(step).for_each(|zero| *zero = -0.0);
            let results = verified(backend, &row, "zeros");
            let first = results.softmax[0];
            assert!(results.softmax.iter().all(|p| *p == first));
        }
    }
}

fn subnormal_logits(backend: Backend) {
    for len in LENGTHS {
        let mut random = Random(len as u64);
        let row: Vec<f32> = (0..len)
            .map(|_| f32::from_bits(random.next_u64() as u32 & 0x807F_FFFF))
            .collect();
        let results = verified(backend, &row, "subnormal");
        let exact = Bounds::of(backend).softmax * f64::from(f32::EPSILON);
        for p in results.softmax {
            assert!((f64::from(p) * len as f64 - 1.0).abs() <= exact);
        }
    }
}

#[test]
fn the_state_is_small_and_can_be_sent() {
    fn can_be_sent<T: Copy + Send + Sync + 'static>() {}
    can_be_sent::<Normalizer>();
    assert!(size_of::<Normalizer>() <= 32);
}

/// NaN before +∞ before finite before fully masked before empty, whichever side.
#[test]
fn merges_of_special_states() {
    let state = |logits: &[f32]| logits.iter().copied().collect::<Normalizer>();
    let states = [
        state(&[]),
        state(&[MASKED, MASKED]),
        state(&[1.5, -2.0]),
        state(&[0.0]),
        state(&[-0.0]),
        state(&[-0.0, 0.0, -1.0]),
        state(&[f32::MIN]),
        state(&[INFINITY, 3.0]),
        state(&[NAN]),
        state(&[NAN, INFINITY]),
        Normalizer::from_parts(INFINITY, -0.0),
        Normalizer::from_parts(-0.0, -0.0),
        Normalizer::from_parts(NAN, 0.0),
        Normalizer::from_parts(0.0, f64::NAN),
        Normalizer::from_parts(INFINITY, f64::NAN),
        Normalizer::from_parts(MASKED, f64::NAN),
    ];
    let rank = |outcome| match outcome {
        Outcome::Empty => 0,
        Outcome::FullyMasked => 1,
        Outcome::Finite => 2,
        Outcome::PositiveInfinity => 3,
        Outcome::NaN => 4,
    };
    for a in states {
        for b in states {
            let (one, other) = (a.merge(b), b.merge(a));
            assert_eq!(bits_of_parts(one), bits_of_parts(other), "{a:?} {b:?}");
            let expected = if rank(a.outcome()) > rank(b.outcome()) {
                a.outcome()
            } else {
                b.outcome()
            };
            assert_eq!(one.outcome(), expected, "{a:?} {b:?}");
            let (max, log_sum_exp, denominator) = (one.max(), one.log_sum_exp(), one.denominator());
            match expected {
                Outcome::NaN => assert!(all_nan(&[max, log_sum_exp, denominator])),
                Outcome::PositiveInfinity => {
                    assert_eq!((max, log_sum_exp), (INFINITY, INFINITY));
                    assert!(denominator.is_nan());
                }
                Outcome::Empty | Outcome::FullyMasked => {
                    assert_eq!((max, log_sum_exp), (MASKED, MASKED));
                    assert_eq!(denominator, 0.0);
                }
                Outcome::Finite => assert!(max.is_finite() && denominator >= 1.0),
            }
        }
        let mut pushed = a;
        pushed.push(NAN);
        assert_eq!(pushed.outcome(), Outcome::NaN);
    }
    for (logits, outcome) in [
        (&[NAN, INFINITY][..], Outcome::NaN),
        (&[INFINITY, NAN], Outcome::NaN),
        (&[INFINITY, MASKED, 1.0], Outcome::PositiveInfinity),
        (&[MASKED, INFINITY], Outcome::PositiveInfinity),
        (&[MASKED], Outcome::FullyMasked),
        (&[MASKED, 2.0], Outcome::Finite),
        (&[2.0, MASKED], Outcome::Finite),
        (&[], Outcome::Empty),
    ] {
        assert_eq!(state(logits).outcome(), outcome, "{logits:?}");
        assert_eq!(expected_outcome(logits), outcome, "{logits:?}");
    }
    assert_eq!(Normalizer::default(), Normalizer::new());
}

/// What a refused call must leave alone.
const UNTOUCHED: f32 = 123.25;

fn assert_refused<T: core::fmt::Debug>(
    result: Result<T, Error>,
    expected: Error,
    numbers: [usize; 2],
    written: &[f32],
) {
    assert_eq!(result.unwrap_err(), expected);
    let message = expected.to_string();
    for number in numbers {
        assert!(message.contains(&number.to_string()), "{number}: {message}");
    }
    assert!(
        written.iter().all(|value| *value == UNTOUCHED),
        "{message}: something was written"
    );
}

fn refused_lengths(backend: Backend) {
    let softmax = on(backend);
    for (logits, places) in [(3, 2), (2, 3), (0, 1), (1, 0), (1000, 1001), (1001, 1000)] {
        let row = vec![1.5; logits];
        let mut out = vec![UNTOUCHED; places];
        let expected = Error::LengthMismatch {
            expected: logits,
            given: places,
        };
        let numbers = [logits, places];
        assert_refused(softmax.row(&row, &mut out), expected, numbers, &out);
        assert_refused(softmax.log_row(&row, &mut out), expected, numbers, &out);
        assert_refused(softmax.rows(&row, 1, &mut out), expected, numbers, &out);
        assert_refused(softmax.log_rows(&row, 1, &mut out), expected, numbers, &out);
        assert_refused(backend.exp(&row, &mut out), expected, numbers, &out);
        let normalizer = online_softmax::softmax(&row, &mut out);
        assert_refused(normalizer, expected, numbers, &out);
        let normalizer = online_softmax::log_softmax(&row, &mut out);
        assert_refused(normalizer, expected, numbers, &out);
    }
}

fn refused_shapes(backend: Backend) {
    let softmax = on(backend);
    for (given, columns) in [
        (10, 3),
        (10, 11),
        (1, 2),
        (1, 0),
        (10, 0),
        (10, usize::MAX),
        (4, usize::MAX / 2 + 1),
        (8, usize::MAX / 4 + 2),
    ] {
        let matrix = vec![1.5; given];
        let mut out = vec![UNTOUCHED; given];
        let expected = Error::PartialRow { columns, given };
        let numbers = [columns, given];
        let refused = softmax.rows(&matrix, columns, &mut out);
        assert_refused(refused, expected, numbers, &out);
        let refused = softmax.log_rows(&matrix, columns, &mut out);
        assert_refused(refused, expected, numbers, &out);
        let refused = softmax.rows_in_place(&mut out, columns);
        assert_refused(refused, expected, numbers, &out);
        for places in [0, 1, 3] {
            let out = &mut out[..places.min(given)];
            let refused = softmax.log_sum_exp_rows(&matrix, columns, out);
            assert_refused(refused, expected, numbers, out);
        }
    }
    for (given, columns, places) in [(12, 3, 5), (12, 3, 3), (12, 12, 0), (0, 3, 2), (3, 1, 1)] {
        let mut out = vec![UNTOUCHED; places];
        let rows = given / columns;
        assert_refused(
            softmax.log_sum_exp_rows(&vec![1.5; given], columns, &mut out),
            Error::RowsMismatch {
                expected: rows,
                given: places,
            },
            [rows, places],
            &out,
        );
    }
}

fn rows_without_columns(backend: Backend) {
    let softmax = on(backend);
    let nothing: [f32; 0] = [];
    for columns in [0, 1, 5, usize::MAX] {
        softmax.rows(&nothing, columns, &mut [0.0_f32; 0]).unwrap();
        softmax.rows_in_place(&mut [], columns).unwrap();
        softmax
            .log_rows(&nothing, columns, &mut [0.0_f32; 0])
            .unwrap();
        softmax.log_sum_exp_rows(&[], columns, &mut []).unwrap();
    }
    // Any number of rows may have no columns.
    let mut out = [UNTOUCHED; 3];
    softmax.log_sum_exp_rows(&[], 0, &mut out).unwrap();
    assert_eq!(out, [MASKED; 3]);
}

#[test]
fn an_unavailable_backend_is_refused() {
    let mut refused = 0;
    for backend in support::EVERY_BACKEND {
        if support::processor_has(backend) {
            assert!(Softmax::new().backend(backend).is_ok());
            assert!(Stream::new().backend(backend).is_ok());
            continue;
        }
        refused += 1;
        let expected = Error::UnavailableBackend {
            backend,
            best: Backend::best(),
        };
        let mut out = [UNTOUCHED];
        assert_eq!(Softmax::new().backend(backend).unwrap_err(), expected);
        assert_eq!(Stream::new().backend(backend).unwrap_err(), expected);
        assert_eq!(backend.exp(&[1.0], &mut out), Err(expected));
        assert_eq!(out, [UNTOUCHED]);
        let message = expected.to_string();
        assert!(message.contains(backend.name()), "{message}");
        assert!(message.contains(Backend::best().name()), "{message}");
    }
    // No processor has both Avx2 and Neon.
    assert!(refused > 0);
}

#[test]
fn messages_say_what_was_expected_and_what_was_given() {
    let shape = [usize::MAX, 2, 3];
    let message = Error::TooLarge { shape }.to_string();
    for number in shape {
        assert!(message.contains(&number.to_string()), "{message}");
    }
    let error: Box<dyn std::error::Error> = Box::new(Error::PartialRow {
        columns: 17,
        given: 45,
    });
    assert!(error.to_string().contains("17") && error.to_string().contains("45"));
    let copy = Error::TooLarge { shape };
    let (one, two) = (copy, copy);
    assert_eq!(one, two);
}

/// Whatever the logit is, its probability is 1 and its logarithm 0, also in a matrix.
fn rows_of_one_column(backend: Backend) {
    let softmax = on(backend);
    let logits: Vec<f32> = (0..3000)
        .map(|i| (i as f32 - 1500.0) * if i % 2 == 0 { 0.0517 } else { 1.37 })
        .collect();
    let mut results = vec![f32::NAN; logits.len()];
    softmax.rows(&logits, 1, &mut results).unwrap();
    assert!(results.iter().all(|result| *result == 1.0));
    softmax.log_rows(&logits, 1, &mut results).unwrap();
    assert!(results.iter().all(|result| *result == 0.0));
    softmax.log_sum_exp_rows(&logits, 1, &mut results).unwrap();
    assert_eq!(results, logits);
    for logit in &logits {
        let mut result = [f32::NAN];
        let normalizer = softmax.row(&[*logit], &mut result).unwrap();
        assert_eq!((result, normalizer.to_parts()), ([1.0], (*logit, 0.0)));
        let normalizer = softmax.log_row(&[*logit], &mut result).unwrap();
        assert_eq!((result, normalizer.to_parts()), ([0.0], (*logit, 0.0)));
    }
}

/// Rows that are done together: what is unusual in one is hidden by no other, in the same column or in
/// another.
fn a_row_changes_no_other_row(backend: Backend) {
    const ROWS: usize = 20;
    let softmax = on(backend);
    let equal = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| bits(*a) == bits(*b));
    for columns in [10, 33, 40, 49, 64, 100, 257] {
        let mut random = Random(columns as u64);
        let usual: Vec<f32> = (0..ROWS * columns)
            .map(|_| (10.0 * random.unit() - 5.0) as f32)
            .collect();
        for low in [-60.0, -1e30, MASKED] {
            for special in [NAN, INFINITY, MASKED, 1e30] {
                for place in [0, 7, 23, 39, 55, columns - 1].map(|p| p.min(columns - 1)) {
                    let mut logits = usual.clone();
                    logits[2 * columns + 7] = low;
                    logits[3 * columns + place] = special;
                    let (mut results, mut alone) = (vec![7.0; logits.len()], vec![7.0; columns]);
                    let context = format!("{low} beside {special}, {place} of {columns}");
                    softmax.rows(&logits, columns, &mut results).unwrap();
                    for (row, of_row) in logits.chunks(columns).zip(results.chunks(columns)) {
                        softmax.row(row, &mut alone).unwrap();
                        assert!(equal(of_row, &alone), "{context}");
                    }
                    softmax.log_rows(&logits, columns, &mut results).unwrap();
                    for (row, of_row) in logits.chunks(columns).zip(results.chunks(columns)) {
                        softmax.log_row(row, &mut alone).unwrap();
                        assert!(equal(of_row, &alone), "log, {context}");
                    }
                }
            }
        }
    }
}

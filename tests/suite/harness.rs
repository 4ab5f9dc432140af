//! Tests of what the other tests rely on: the measure of error must be able to fail, the oracle
//! must be right, and every backend that the processor has must have been found.

use online_softmax::{Backend, Outcome};
use support::oracle::Truth;
use support::rows::{Order, Recipe};
use support::verify::expected_outcome;
use support::{EVERY_BACKEND, backends, on, processor_has, ulp};

#[test]
fn every_backend_of_the_processor_is_available() {
    let available: Vec<Backend> = Backend::available().collect();
    for backend in EVERY_BACKEND {
        let count = available.iter().filter(|other| **other == backend).count();
        assert_eq!(
            count,
            usize::from(processor_has(backend)),
            "{} in {available:?}",
            backend.name()
        );
        assert_eq!(backend.is_available(), count == 1, "{}", backend.name());
    }
    assert!(available.contains(&Backend::best()));
    assert!(backends().count() >= 2);
    assert!(available.contains(&Backend::Scalar) && available.contains(&Backend::Portable));
}

#[test]
fn backends_have_their_names() {
    let names = EVERY_BACKEND.map(Backend::name);
    assert_eq!(names, ["scalar", "portable", "avx2", "avx512", "neon"]);
}

#[test]
fn a_forced_backend_is_the_one_that_runs() {
    // The two classes of arithmetic differ in some bit of a long enough row.
    let row = Recipe {
        len: 1000,
        order: Order::Shuffled,
        spread: 20.0,
        max: 3.0,
        gap: 0.0,
        seed: 1,
    }
    .row();
    let bits_on = |backend| {
        let mut probabilities = vec![0.0; row.len()];
        let softmax = on(backend);
        softmax.row(&row, &mut probabilities).unwrap();
        support::bits_of(&probabilities)
    };
    for backend in backends() {
        assert_eq!(
            bits_on(backend) == bits_on(Backend::Scalar),
            !support::is_fused(backend),
            "{}",
            backend.name()
        );
    }
}

const TINY: f64 = f32::MIN_POSITIVE as f64;

#[test]
fn spacing_is_that_of_the_binade() {
    let two_to = |exponent: i32| 2_f64.powi(exponent);
    for (truth, spacing) in [
        (1.0, two_to(-23)),
        (-1.0, two_to(-23)),
        (1.5, two_to(-23)),
        (1.0_f64.next_down(), two_to(-24)),
        (2.0_f64.next_down(), two_to(-23)),
        (2.0, two_to(-22)),
        (0.75, two_to(-24)),
        (TINY, two_to(-149)),
        (TINY.next_down(), two_to(-149)),
        (2.0 * TINY, two_to(-148)),
        (two_to(-149), two_to(-149)),
        (two_to(-300), two_to(-149)),
        (f64::MIN_POSITIVE / 4.0, two_to(-149)),
        (0.0, two_to(-149)),
        (-0.0, two_to(-149)),
        (f64::from(f32::MAX), two_to(104)),
        (1e300, two_to(104)),
    ] {
        assert_eq!(ulp::spacing(truth), spacing, "{truth:e}");
    }
}

#[test]
fn spacing_is_the_distance_to_the_next_float() {
    let mut value = f32::from_bits(1);
    while value < f32::MAX / 4.0 {
        for value in [value, value.next_up(), value * 1.37] {
            let distance = f64::from(value.next_up()) - f64::from(value);
            assert_eq!(ulp::spacing(f64::from(value)), distance, "{value:e}");
        }
        value *= 2.0;
    }
}

#[test]
fn errors_are_seen() {
    let next = |value: f32| value.next_up();
    let subnormal = f32::from_bits(5);
    for (got, truth, error) in [
        // Right.
        (1.0, 1.0, 0.0),
        (0.0, 0.0, 0.0),
        (-0.0, 0.0, 0.0),
        (subnormal, f64::from(subnormal), 0.0),
        (f32::MAX, f64::from(f32::MAX), 0.0),
        // A neighbour.
        (next(1.0), 1.0, 1.0),
        (1.0_f32.next_down(), 1.0, 0.5),
        (1.0, 1.0_f64 - 2_f64.powi(-24), 1.0),
        (next(2.0), 2.0, 1.0),
        (2.0_f32.next_down(), 2.0, 0.5),
        (next(1e-30), f64::from(1e-30_f32), 1.0),
        (next(-1e-30), f64::from(-1e-30_f32), 1.0),
        (next(subnormal), f64::from(subnormal), 1.0),
        (next(f32::MIN_POSITIVE), TINY, 1.0),
        (f32::MIN_POSITIVE.next_down(), TINY, 1.0),
        // Part of one.
        (1.0, 1.0 + 2_f64.powi(-25), 0.25),
        (0.0, 2_f64.powi(-150), 0.5),
        // Something where zero was due, and zero where something was.
        (f32::from_bits(1), 0.0, 1.0),
        (-f32::from_bits(1), 0.0, 1.0),
        (1.0, 0.0, 2_f64.powi(149)),
        (-1.0, 0.0, 2_f64.powi(149)),
        (0.0, 1.0, 2_f64.powi(23)),
        (0.0, TINY, 2_f64.powi(23)),
        // The sign.
        (-1.0, 1.0, 2_f64.powi(24)),
        (1.0, -1.0, 2_f64.powi(24)),
        (-subnormal, f64::from(subnormal), 10.0),
    ] {
        assert_eq!(ulp::error(got, truth), error, "{got:e} for {truth:e}");
    }
}

#[test]
fn nan_and_infinities_are_infinite_errors() {
    let huge = f64::from(f32::MAX);
    let beyond = huge * 2.0;
    for (got, truth) in [
        (f32::NAN, 1.0),
        (f32::NAN, 0.0),
        (f32::NAN, f64::INFINITY),
        (1.0, f64::NAN),
        (f32::INFINITY, f64::NAN),
        (f32::INFINITY, 1.0),
        (f32::INFINITY, huge),
        (f32::NEG_INFINITY, -huge),
        (f32::NEG_INFINITY, 0.0),
        (f32::INFINITY, f64::NEG_INFINITY),
        (f32::NEG_INFINITY, f64::INFINITY),
        (f32::NEG_INFINITY, beyond),
        (1.0, f64::INFINITY),
        (f32::MAX, f64::INFINITY),
        (-1.0, f64::NEG_INFINITY),
    ] {
        assert_eq!(ulp::error(got, truth), f64::INFINITY, "{got} for {truth}");
        assert_eq!(
            ulp::error_above_one(got, truth),
            f64::INFINITY,
            "{got} for {truth}"
        );
    }
    for (got, truth) in [
        (f32::NAN, f64::NAN),
        (f32::INFINITY, f64::INFINITY),
        (f32::NEG_INFINITY, f64::NEG_INFINITY),
        (f32::INFINITY, beyond),
        (f32::NEG_INFINITY, -beyond),
    ] {
        assert_eq!(ulp::error(got, truth), 0.0, "{got} for {truth}");
        assert_eq!(ulp::error_above_one(got, truth), 0.0, "{got} for {truth}");
    }
    assert!(ulp::error(f32::MAX, beyond) > 1e6);
}

#[test]
fn errors_near_zero_can_be_measured_against_one() {
    let one_ulp = 2_f32.powi(-23);
    assert_eq!(ulp::error_above_one(one_ulp, 0.0), 1.0);
    assert_eq!(ulp::error_above_one(-one_ulp, 0.0), 1.0);
    assert_eq!(ulp::error_above_one(0.5 + one_ulp, 0.5), 1.0);
    assert_eq!(ulp::error_above_one(-0.5 + one_ulp, -0.5), 1.0);
    assert_eq!(ulp::error_above_one(4.0_f32.next_up(), 4.0), 1.0);
    assert_eq!(ulp::error_above_one(-4.0, 4.0), 2_f64.powi(24));
}

/// A row, one of its logits, its probability and log-probability, and the log-sum-exp of the row;
/// computed with 60 digits.
type Known = (&'static [f32], f32, f64, f64, f64);

const MASK: f32 = f32::NEG_INFINITY;
const LN_2: f32 = core::f32::consts::LN_2;

#[expect(clippy::excessive_precision, reason = "a digit more does no harm")]
const KNOWN: [Known; 11] = [
    (
        &[30.0, 0.0],
        30.0,
        0.999_999_999_999_906_4,
        -9.357_622_968_839_736_8e-14,
        30.000_000_000_000_093_6,
    ),
    (
        &[30.0, 0.0],
        0.0,
        9.357_622_968_839_299e-14,
        -30.000_000_000_000_093_6,
        30.000_000_000_000_093_6,
    ),
    (
        &[1.0, 2.0, 3.0],
        3.0,
        0.665_240_955_774_821_9,
        -0.407_605_964_444_380_3,
        3.407_605_964_444_380_3,
    ),
    (
        &[1.0, 2.0, 3.0],
        1.0,
        0.090_030_573_170_380_46,
        -2.407_605_964_444_380_3,
        3.407_605_964_444_380_3,
    ),
    (
        &[-1e30, -0.0, -80.0, -80.0],
        0.0,
        1.0,
        -3.609_702_775_690_830_3e-35,
        3.609_702_775_690_830_3e-35,
    ),
    (
        &[-1e30, -0.0, -80.0, -80.0],
        -80.0,
        1.804_851_387_845_415_2e-35,
        -80.0,
        3.609_702_775_690_830_3e-35,
    ),
    (
        &[1e6, 999_998.5, 999_900.0],
        999_998.5,
        0.182_425_523_806_356_35,
        -1.701_413_277_982_752_4,
        1_000_000.201_413_278,
    ),
    (
        &[-104.0, -200.5],
        -200.5,
        1.231_919_972_666_034e-42,
        -96.5,
        -104.0,
    ),
    (
        &[f32::MAX, f32::MAX, f32::MAX],
        f32::MAX,
        1.0 / 3.0,
        -1.098_612_288_668_109_8,
        f32::MAX as f64,
    ),
    (
        &[MASK, 7.25, MASK, -1.0],
        -1.0,
        2.611_903_190_957_194_3e-4,
        -8.250_261_224_435_228,
        7.250_261_224_435_228,
    ),
    (
        &[-LN_2, -LN_2],
        -LN_2,
        0.5,
        -core::f64::consts::LN_2,
        -1.904_654_299_957_767_9e-9,
    ),
];

#[test]
fn the_oracle_is_right() {
    let near = |got: f64, truth: f64, scale: f64| {
        assert!((got - truth).abs() < 2e-15 * scale, "{got:e} for {truth:e}");
    };
    for (row, logit, p, log_p, log_sum_exp) in KNOWN {
        let truth = Truth::of(row);
        near(truth.probability(logit), p, p);
        near(truth.log_probability(logit), log_p, -log_p);
        // The maximum and the log of the denominator may cancel; the bound is to max(1, |result|).
        let cancels = log_sum_exp.abs() < row[0].abs().into();
        let scale = if cancels { 1.0 } else { log_sum_exp.abs() };
        near(truth.log_sum_exp(), log_sum_exp, scale);
    }
}

#[test]
fn the_oracle_is_right_for_equal_logits() {
    let truth = Truth::of(&[-1e30; 1000]);
    assert_eq!(truth.denominator(), 1000.0);
    assert_eq!(truth.probability(-1e30), 1e-3);
    assert_eq!(Truth::of(&[MASK, 2.0]).log_sum_exp(), 2.0);
}

#[test]
fn outcomes_by_precedence() {
    let (nan, infinity) = (f32::NAN, f32::INFINITY);
    for (row, outcome) in [
        (&[infinity, nan, MASK][..], Outcome::NaN),
        (&[MASK, infinity, 1.0], Outcome::PositiveInfinity),
        (&[MASK, f32::MIN], Outcome::Finite),
        (&[MASK, MASK], Outcome::FullyMasked),
        (&[], Outcome::Empty),
    ] {
        assert_eq!(expected_outcome(row), outcome, "{row:?}");
    }
}

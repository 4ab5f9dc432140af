//! A floating-point environment that the caller has changed: subnormal numbers count as zero, or
//! results are not rounded to nearest. Rust assumes that neither happens; C code may do both. The
//! bounds of the error do not hold then, but calls return, and the first changes no outcome.

use core::arch::asm;
use online_softmax::{Backend, Normalizer, Outcome, Stream};
use support::calls::{Digest, Slices, call_everything, fill};
use support::on;
use support::verify::expected_outcome;

support::on_every_backend!(
    outcomes_are_right_where_subnormals_are_zero,
    nan_and_infinity_are_seen_in_other_rounding_modes,
    every_call_returns_in_every_environment
);
#[cfg(debug_assertions)]
support::on_every_backend!(no_operand_is_subnormal);

const DENORMALS_ARE_ZERO: u32 = 1 << 6;
const FLUSH_TO_ZERO: u32 = 1 << 15;
/// The bits of the rounding mode. 0 is to nearest.
const ROUNDING: u32 = 3 << 13;

/// Flags that an operation leaves: an operand was subnormal; an inexact result was.
#[cfg(debug_assertions)]
const SUBNORMAL: u32 = 1 << 1 | 1 << 4;

/// What is set in MXCSR, and its name.
const ENVIRONMENTS: [(u32, &str); 8] = [
    (0, "the usual one"),
    (DENORMALS_ARE_ZERO, "denormals are zero"),
    (FLUSH_TO_ZERO, "flush to zero"),
    (DENORMALS_ARE_ZERO | FLUSH_TO_ZERO, "both"),
    (1 << 13, "rounds down"),
    (2 << 13, "rounds up"),
    (3 << 13, "rounds toward zero"),
    (
        3 << 13 | DENORMALS_ARE_ZERO | FLUSH_TO_ZERO,
        "rounds toward zero, both",
    ),
];

fn mxcsr() -> u32 {
    let mut bits = 0_u32;
    // SAFETY: the register is written to a place of 32 bits.
    unsafe { asm!("stmxcsr [{}]", in(reg) &mut bits, options(nostack)) };
    bits
}

fn set_mxcsr(bits: u32) {
    // SAFETY: of the bits that `mxcsr` gave, only those of modes are changed, which raise nothing.
    unsafe { asm!("ldmxcsr [{}]", in(reg) &bits, options(nostack)) };
}

/// Runs `call` with the modes set, and takes them back before anything else happens.
#[inline(never)]
fn with_modes<T>(modes: u32, call: impl FnOnce() -> T) -> T {
    struct Restore(u32);
    impl Drop for Restore {
        fn drop(&mut self) {
            set_mxcsr(self.0);
        }
    }
    let usual = Restore(mxcsr());
    set_mxcsr(usual.0 | modes);
    call()
}

/// What a backend makes of a row.
struct Of {
    probabilities: Vec<f32>,
    log_probabilities: Vec<f32>,
    normalizers: [Normalizer; 4],
    log_sum_exp: f32,
}

fn of(backend: Backend, row: &[f32]) -> Of {
    let softmax = on(backend);
    let (mut probabilities, mut log_probabilities) = (vec![7.0; row.len()], vec![7.0; row.len()]);
    let mut stream = Stream::new().backend(backend).unwrap();
    stream.extend(row);
    Of {
        normalizers: [
            softmax.row(row, &mut probabilities).unwrap(),
            softmax.log_row(row, &mut log_probabilities).unwrap(),
            softmax.normalizer(row).unwrap(),
            stream.finish(),
        ],
        log_sum_exp: softmax.log_sum_exp(row).unwrap(),
        probabilities,
        log_probabilities,
    }
}

/// Rows of every outcome.
fn rows(len: usize) -> Vec<Vec<f32>> {
    let mut usual = vec![0.0; len];
    fill(&mut usual);
    let with = |value: f32| {
        let mut row = usual.clone();
        row[len / 2] = value;
        row
    };
    let subnormal = |index: usize| {
        f32::from_bits(index as u32 % 5) * if index.is_multiple_of(2) { 1.0 } else { -1.0 }
    };
    vec![
        with(f32::NAN),
        with(f32::INFINITY),
        with(f32::NEG_INFINITY),
        with(1e-40),
        with(1e30),
        with(-1e30),
        (0..len).map(subnormal).collect(),
        vec![f32::NEG_INFINITY; len],
        vec![f32::MAX; len],
        vec![-f32::MAX; len],
        usual,
    ]
}

fn outcomes_are_right_where_subnormals_are_zero(backend: Backend) {
    let mut worst = 0.0_f64;
    in_environments(backend, 0, |expected, found, row, what| {
        for normalizer in found.normalizers {
            assert_eq!(normalizer.outcome(), expected, "{what}");
        }
        if expected == Outcome::Finite {
            worst = worst.max(largest_error(found, &of(backend, row), row, what));
        } else {
            assert!(found.has_no_probability(), "{what}");
        }
    });
    assert_eq!(worst, 0.0, "a probability that is not small has other bits");
}

/// In the other rounding modes 0 − 0 may be −0, and a sum less than the largest of its terms. A row
/// may then be reported as NaN, and a fully masked one as any other. NaN and +∞ are still seen.
fn nan_and_infinity_are_seen_in_other_rounding_modes(backend: Backend) {
    in_environments(backend, ROUNDING, |expected, found, _, what| {
        if !matches!(expected, Outcome::NaN | Outcome::PositiveInfinity) {
            return;
        }
        for normalizer in found.normalizers {
            let outcome = normalizer.outcome();
            let is_seen = outcome == expected || outcome == Outcome::NaN;
            assert!(is_seen, "{what}: {outcome:?}");
        }
        assert!(found.has_no_probability(), "{what}");
    });
}

/// Computes every row in the environments whose rounding mode is usual, or in the others.
fn in_environments(
    backend: Backend,
    rounding: u32,
    mut check: impl FnMut(Outcome, &Of, &[f32], &str),
) {
    let environments = ENVIRONMENTS.into_iter();
    for (modes, environment) in
        environments.filter(|(modes, _)| (modes & ROUNDING != 0) == (rounding != 0))
    {
        for len in [1, 2, 9, 32, 33, 100, 257, 2049] {
            for row in rows(len) {
                let expected = expected_outcome(&row);
                let found = with_modes(modes, || of(backend, &row));
                let what = format!("{environment}, {len}: {expected:?}");
                check(expected, &found, &row, &what);
            }
        }
    }
}

impl Of {
    fn has_no_probability(&self) -> bool {
        let mut all = self.probabilities.iter().chain(&self.log_probabilities);
        all.all(|result| result.is_nan())
    }
}

/// What a probability may be off by in any environment, as a part of itself.
const LARGEST_ERROR: f64 = 1e-4;

/// How far the probabilities of a row differ from those of the usual environment.
fn largest_error(found: &Of, usual: &Of, row: &[f32], what: &str) -> f64 {
    let difference = f64::from(found.log_sum_exp) - f64::from(usual.log_sum_exp);
    let error = difference.abs() / f64::from(usual.log_sum_exp).abs().max(1.0);
    assert!(
        error < LARGEST_ERROR,
        "{what}: {} for {}",
        found.log_sum_exp,
        usual.log_sum_exp
    );
    let mut worst = 0.0_f64;
    for (place, logit) in row.iter().enumerate() {
        let (p, log_p) = (found.probabilities[place], found.log_probabilities[place]);
        if *logit == f32::NEG_INFINITY {
            assert_eq!((p, log_p), (0.0, f32::NEG_INFINITY), "{what}");
            continue;
        }
        let expected = f64::from(usual.probabilities[place]);
        // What is as small as a normal number may be zero.
        if expected < 2.0 * f64::from(f32::MIN_POSITIVE) {
            assert!((0.0..=3.0 * f32::MIN_POSITIVE).contains(&p), "{what}: {p}");
            continue;
        }
        let off = (f64::from(p) - expected).abs() / expected;
        let off_by_log = (f64::from(log_p).exp() - expected).abs() / expected;
        assert!(off < LARGEST_ERROR, "{what}: {p} for {expected}");
        assert!(
            off_by_log < LARGEST_ERROR,
            "{what}: e^{log_p} for {expected}"
        );
        worst = worst.max(off);
    }
    worst
}

/// Subnormal operands and results are slow on many processors. Rows of logits that are far apart
/// have none, but for numerators below 2^−126 and, in a log-softmax, rests of numerators below 2^−100.
/// Where operations are those of the source: an optimizer may compute what is one number in a register
/// whose other lanes hold anything.
#[cfg(debug_assertions)]
fn no_operand_is_subnormal(backend: Backend) {
    let softmax = on(backend);
    for columns in [5, 10, 20, 40, 64, 100, 1000, 3000] {
        // Confident rows, whose small terms a log-softmax sums once more.
        let below = [
            9.2, 1e30, 50.1, 83.3, 90.2, 97.4, 130.0, 300.0, 104.5, 109.3, 111.2,
        ];
        let (few, many) = (&below[..8], &below[..]);
        for maximum in [0.0, 100.0, -1000.0] {
            let logits_of = |below: &[f32]| -> Vec<f32> {
                (0..20 * columns)
                    .map(|index| match index % columns {
                        0 => maximum,
                        column => maximum - below[column % below.len()],
                    })
                    .collect()
            };
            let check = |what: &str, call: &mut dyn FnMut()| {
                let usual = mxcsr();
                set_mxcsr(usual & !SUBNORMAL);
                call();
                let flags = mxcsr() & SUBNORMAL;
                set_mxcsr(usual);
                assert_eq!(flags, 0, "{what}, {columns} columns, maximum {maximum}");
            };
            let mut logits = logits_of(many);
            let mut results = vec![7.0; logits.len()];
            check("rows", &mut || {
                softmax.rows(&logits, columns, &mut results).unwrap();
            });
            if columns > 32 {
                // Small terms share a lane, and the rounding error of their sum may be subnormal.
                continue;
            }
            logits = logits_of(few);
            check("log_rows", &mut || {
                softmax.log_rows(&logits, columns, &mut results).unwrap();
            });
            let (row, of_row) = (&logits[..columns], &mut results[..columns]);
            check("row", &mut || {
                softmax.row(row, of_row).unwrap();
            });
            check("log_row", &mut || {
                softmax.log_row(row, of_row).unwrap();
            });
        }
    }
}

fn every_call_returns_in_every_environment(backend: Backend) {
    for (modes, environment) in ENVIRONMENTS {
        for len in [0, 1, 16, 33, 51, 96, 264] {
            let mut logits = vec![0.0; len];
            fill(&mut logits);
            let (mut results, before) = (vec![0.0; len], logits.clone());
            let additive: Vec<f32> = (0..len).map(|index| (index % 5) as f32 * 1e-40).collect();
            let keep: Vec<bool> = (0..len).map(|index| index % 7 != 3).collect();
            let mut slices = Slices {
                logits: &mut logits,
                results: &mut results,
                additive: &additive,
                keep: &keep,
            };
            let mut digest = Digest::default();
            with_modes(modes, || call_everything(backend, &mut slices, &mut digest));
            assert_eq!(logits, before, "{environment}");
        }
    }
}

/// The modes take effect: the tests above are not of the usual environment alone.
#[test]
fn modes_take_effect() {
    let product = |factor: f32| core::hint::black_box(1e-30_f32) * core::hint::black_box(factor);
    let third = || core::hint::black_box(1.0_f32) / core::hint::black_box(3.0);
    assert!(product(1e-10) > 0.0);
    assert_eq!(with_modes(FLUSH_TO_ZERO, || product(1e-10)), 0.0);
    let subnormal = || core::hint::black_box(1e-40_f32) * core::hint::black_box(1e20);
    assert!(subnormal() > 0.0);
    assert_eq!(with_modes(DENORMALS_ARE_ZERO, subnormal), 0.0);
    assert!(with_modes(1 << 13, third) < with_modes(2 << 13, third));
}

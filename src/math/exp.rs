//! The exponential, as a power of two and a fraction: e^x = 2^n · (1 + t).
//!
//! Near zero the logit itself is reduced, and no maximum is subtracted from it. The range is kept
//! by adding an *integer*, the bias, to n:
//!
//! ```text
//! n = round(x · log2 e)
//! r = x − n · ln 2            |r| ≤ ln 2 / 2, in two steps; the first is exact
//! t = e^r − 1                 a polynomial of degree 6
//! numerator = 2^(n + bias − 127) · (1 + t)
//! ```
//!
//! 1. Why no maximum is subtracted: x − max is rounded to `f32`, with an error of half its spacing,
//!    and e^x turns that into a relative error: up to 65 ULP of the result for x − max = −80. Adding
//!    an integer to n is exact. (Dukhan and Ablavatski, "Two-Pass Softmax", arXiv 2001.04438, carry
//!    the exponent the same way.) Far from zero n · ln 2 is no longer exact. There the maximum is
//!    subtracted, and there the subtraction is exact (Sterbenz's lemma) for every logit that is near
//!    enough to the maximum to matter. See [`Shift`](super::shift::Shift).
//! 2. Why 2^n and t stay apart: 2^n · t is exact in a fused operation or as a product, so a sum of
//!    rounded numerators can recover what their rounding left out. See
//!    [`CompensatedSum`](super::compensated_sum::CompensatedSum).
//!
//! # Error bound
//!
//! Relative errors in u = 2^−24, of logits to ±231. `tests/proofs/run` proves the upper rows,
//! by Gappa and Sollya: `high` is exact, and each term is at most this. The test
//! `numerators_are_within_their_bounds` finds the lower rows over every logit. They are smaller, as
//! the worst cases of the terms do not meet.
//!
//! | term | fused | fused, precise | unfused |
//! |---|---|---|---|
//! | rounding of r | 0.25 | | |
//! | the polynomial, exact | 0.12 | 0.12 | 0.12 |
//! | its evaluation | 0.49 | 0.64 | 0.69 |
//! | 1 + t: the sum of these | 0.86 | 0.76 | 0.82 |
//! | numerator: 1 + t and its rounding | 1.57 | 1.48 | 1.53 |
//! | | | | |
//! | 1 + t, every logit | −0.692 to 0.727 | −0.595 to 0.612 | −0.625 to 0.645 |
//! | numerator, every logit | −1.382 to 1.433 | −1.210 to 1.251 | −1.218 to 1.272 |
//! | 1 + t without its last rounding, every logit | | −0.250 to 0.294 | −0.276 to 0.312 |
//!
//! The lower rows are computed in `f64`, whose own error is below 2^−27 u.

use super::epilogue::Epilogue;
use crate::simd::{Lanewise, Simd, Unrolled, Vector};

/// log2 e, rounded to nearest.
pub(super) const LOG2_E: f32 = core::f32::consts::LOG2_E;

/// The first 15 bits of ln 2. Its product with an integer of 9 bits is exact, fused or not.
pub(super) const LN_2_HIGH: f32 = f32::from_bits(0x3F31_7200);

/// ln 2 − [`LN_2_HIGH`], rounded to nearest.
pub(super) const LN_2_LOW: f32 = f32::from_bits(0x35BF_BE8E);

/// Coefficients of r² to r⁶ in e^r ≈ 1 + r + r² · (…). A search among the neighbours of those from
/// Sollya,
///
/// ```text
/// fpminimax(exp(x), [|2,3,4,5,6|], [|SG...|], [-0.3467;0.3467], relative, 1+x)
/// ```
///
/// found these, for the least sum of the largest errors of 1 + t, before and after it is rounded,
/// as they are computed fused: 0.69 + 1.37 of 2^−24. The relative error of the exact polynomial is
/// at most 7.2e-9, 2^−27.
const COEFFICIENTS: [f32; 5] = [
    f32::from_bits(0x3EFF_FFFE),
    f32::from_bits(0x3E2A_AA44),
    f32::from_bits(0x3D2A_ADC5),
    f32::from_bits(0x3C09_228B),
    f32::from_bits(0x3AB3_E2C1),
];

/// 1.5 · 2^23. A float near it has a spacing of 1, so adding it rounds to an integer. The integer
/// is then in the low bits of the representation.
pub(super) const ROUND: f32 = 12_582_912.0;

/// The numerator of 0 is 2^47. Numerators are normal down to e^−119.9. It takes more than 2^24 of
/// those to reach the smallest subnormal result.
pub(super) const HEADROOM: i32 = 47;

/// The bias of logits near zero. Even, as every bias.
pub(super) const UNIT_BIAS: i32 = 127 + HEADROOM;

/// Turns a scale under [`UNIT_BIAS`] into 2^n.
const FROM_UNIT_BIAS: f32 = 1.0 / (1_u64 << HEADROOM) as f32;

/// The bias of a [`Shift`](super::shift::Shift) and the constants of the exponential, in registers.
#[derive(Clone, Copy)]
pub(crate) struct ExpConstants<V> {
    /// A logit whose 2^n is flushed to zero. Lower logits are raised to it.
    pub(crate) lowest: V,
    pub(super) round: V,
    log2_e: V,
    minus_ln_2_high: V,
    minus_ln_2_low: V,
    coefficients: [V; 5],
}

/// `scale · (1 + expm1)`: a power of two, or zero where it would be below 2^−126; and e^r − 1.
#[derive(Clone, Copy)]
pub(crate) struct ScaledExp<V> {
    pub(crate) scale: V,
    pub(crate) expm1: V,
}

impl<V: Lanewise> ScaledExp<V> {
    /// The exponential, rounded.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn value(self) -> V {
        self.scale.mul_add(self.expm1, self.scale)
    }
}

impl<V: Lanewise, const COUNT: usize> ScaledExp<Unrolled<V, COUNT>> {
    /// That of one register; `index` is below `COUNT`.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn register(&self, index: usize) -> ScaledExp<V> {
        ScaledExp {
            scale: self.scale.0[index],
            expm1: self.expm1.0[index],
        }
    }
}

impl<V: Vector> ExpConstants<V> {
    /// For a scale of 2^(n + bias − 127).
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn new<S: Simd<Vector = V>>(simd: S, bias: i32) -> Self {
        ExpConstants {
            lowest: simd.splat(bias as f32 * -core::f32::consts::LN_2),
            round: simd.splat(ROUND + bias as f32),
            log2_e: simd.splat(LOG2_E),
            minus_ln_2_high: simd.splat(-LN_2_HIGH),
            minus_ln_2_low: simd.splat(-LN_2_LOW),
            coefficients: [
                simd.splat(COEFFICIENTS[0]),
                simd.splat(COEFFICIENTS[1]),
                simd.splat(COEFFICIENTS[2]),
                simd.splat(COEFFICIENTS[3]),
                simd.splat(COEFFICIENTS[4]),
            ],
        }
    }
}

impl<V: Lanewise> ExpConstants<V> {
    /// For `COUNT` registers side by side.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn unrolled<const COUNT: usize>(&self) -> ExpConstants<Unrolled<V, COUNT>> {
        let [c0, c1, c2, c3, c4] = self.coefficients;
        ExpConstants {
            lowest: Unrolled::splat(self.lowest),
            round: Unrolled::splat(self.round),
            log2_e: Unrolled::splat(self.log2_e),
            minus_ln_2_high: Unrolled::splat(self.minus_ln_2_high),
            minus_ln_2_low: Unrolled::splat(self.minus_ln_2_low),
            coefficients: [
                Unrolled::splat(c0),
                Unrolled::splat(c1),
                Unrolled::splat(c2),
                Unrolled::splat(c3),
                Unrolled::splat(c4),
            ],
        }
    }

    /// e^x · 2^(bias − 127). −∞ gives 0; NaN gives NaN. The result must be below 2^127: a logit is
    /// at most [`RESCALE_THRESHOLD`](super::shift::RESCALE_THRESHOLD) above the maximum that the
    /// [`Shift`](super::shift::Shift) was made for.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn exp_scaled(&self, logits: V) -> ScaledExp<V> {
        // The clamp makes the exponent field zero for every logit that is too low.
        self.exp_scaled_in_range(logits.max_keep_nan(self.lowest))
    }

    /// The same for logits that are not below [`lowest`](Self::lowest).
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn exp_scaled_in_range(&self, logits: V) -> ScaledExp<V> {
        self.scale_and_expm1::<false>(logits)
    }

    /// As [`exp_scaled`](Self::exp_scaled), with a smaller error of 1 + `expm1`: 0.5 instead of 0.7
    /// of 2^−24.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn exp_precise(&self, logits: V) -> ScaledExp<V> {
        self.scale_and_expm1::<true>(logits.max_keep_nan(self.lowest))
    }

    /// What [`exp_precise`](Self::exp_precise) leaves out of `scale · (1 + expm1)` by its last
    /// rounding. With it the error is below 0.32 of 2^−24.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn rest_of_precise(&self, logits: V) -> V {
        let (numerator, rest) = self.with_rest(logits.max_keep_nan(self.lowest));
        numerator.scale * rest
    }

    /// The numerators of logits: less `offset` and clamped if `CLAMPED`, otherwise in range and
    /// under no offset; by [`exp_precise`](Self::exp_precise) if `PRECISE`.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn numerators<const CLAMPED: bool, const PRECISE: bool>(
        &self,
        logits: V,
        offset: V,
    ) -> ScaledExp<V> {
        if CLAMPED {
            self.scale_and_expm1::<PRECISE>((logits - offset).max_keep_nan(self.lowest))
        } else {
            self.scale_and_expm1::<PRECISE>(logits)
        }
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn scale_and_expm1<const PRECISE: bool>(&self, x: V) -> ScaledExp<V> {
        self.evaluate::<PRECISE, _>(
            x,
            #[inline(always)]
            |biased, high, tail| ScaledExp {
                scale: biased.low_bits_to_exponent(),
                expm1: if PRECISE || !V::IS_FUSED {
                    high + tail
                } else {
                    tail
                },
            },
        )
    }

    /// The precise numerator, and what the last rounding of `expm1` leaves out.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn with_rest(&self, x: V) -> (ScaledExp<V>, V) {
        self.evaluate::<true, _>(
            x,
            #[inline(always)]
            |biased, high, tail| {
                let expm1 = high + tail;
                let scale = biased.low_bits_to_exponent();
                (ScaledExp { scale, expm1 }, (high - expm1) + tail)
            },
        )
    }

    /// Calls `finish` with n + bias, and two parts of e^r − 1; if it is not precise, the second is
    /// the whole.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn evaluate<const PRECISE: bool, R>(&self, x: V, finish: impl FnOnce(V, V, V) -> R) -> R {
        // n + bias in the low bits of a float.
        let biased = x.mul_add(self.log2_e, self.round);
        let n = biased - self.round;
        // This step is exact.
        let high = n.mul_add(self.minus_ln_2_high, x);
        // r in two parts costs two operations, of which an unfused reduction has one already.
        let is_precise = PRECISE || !V::IS_FUSED;
        let low = n * self.minus_ln_2_low;
        let r = if is_precise {
            high + low
        } else {
            n.mul_add(self.minus_ln_2_low, high)
        };
        let r_squared = r * r;
        let [c2, c3, c4, c5, c6] = self.coefficients;
        // Estrin's scheme: as many operations as Horner's, in a shorter chain.
        let q = c6
            .mul_add(r_squared, c5.mul_add(r, c4))
            .mul_add(r_squared, c3.mul_add(r, c2));
        let tail = if is_precise {
            q.mul_add(r_squared, low)
        } else {
            q.mul_add(r_squared, r)
        };
        finish(biased, high, tail)
    }
}

/// The exponential itself, for arguments ≤ 0.
#[derive(Clone, Copy)]
pub(crate) struct Exp<V> {
    constants: ExpConstants<V>,
    /// What a scale is to be multiplied by to be 2^n.
    unit: V,
    zero: V,
}

impl<V: Vector> Exp<V> {
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn new<S: Simd<Vector = V>>(simd: S) -> Self {
        Exp {
            constants: ExpConstants::new(simd, UNIT_BIAS),
            unit: simd.splat(FROM_UNIT_BIAS),
            zero: simd.splat(0.0),
        }
    }

    /// e^x as 2^n and t, for x ≤ 0.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn parts(&self, arguments: V) -> ScaledExp<V> {
        let parts = self.constants.exp_precise(arguments);
        ScaledExp {
            scale: parts.scale * self.unit,
            ..parts
        }
    }

    /// e^x for x ≤ 0. A greater x counts as 0; NaN stays NaN.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn of(&self, arguments: V) -> V {
        // 0 − max(0 − x, 0) is min(x, 0) and keeps a NaN.
        let arguments = self.zero - (self.zero - arguments).max_keep_nan(self.zero);
        self.constants.exp_precise(arguments).value() * self.unit
    }
}

impl<V: Vector> Epilogue<V> for Exp<V> {
    #[cfg_attr(not(unoptimized), inline(always))]
    fn apply(&self, arguments: V) -> V {
        self.of(arguments)
    }
}

#[cfg(test)]
mod tests {
    use super::{ExpConstants, UNIT_BIAS};
    use crate::backend::Backend;
    use crate::dispatch::dispatch;
    use crate::simd::{Lanewise, Simd, Vector, WithSimd, lanes_of};
    use std::{env, println, vec::Vec};

    /// `expm1` of each logit. Returns whether the backend is fused.
    struct Expm1<'a, const PRECISE: bool> {
        logits: &'a [f32],
        /// e^r − 1, and what its last rounding leaves out.
        out: &'a mut Vec<(f32, f32)>,
    }

    impl<const PRECISE: bool> WithSimd for Expm1<'_, PRECISE> {
        type Output = bool;

        fn with_simd<S: Simd>(self, simd: S) -> bool {
            let constants = ExpConstants::new(simd, UNIT_BIAS);
            for logits in self.logits.chunks(S::Vector::WIDTH) {
                let x = simd.load(logits, 0.0);
                let numerators = constants.scale_and_expm1::<PRECISE>(x);
                // Unfused, every numerator is precise.
                let rests = if PRECISE || !S::Vector::IS_FUSED {
                    constants.with_rest(x).1
                } else {
                    simd.splat(0.0)
                };
                let lanes = lanes_of(numerators.expm1).into_iter().zip(lanes_of(rests));
                self.out.extend(lanes.take(logits.len()));
            }
            S::Vector::IS_FUSED
        }
    }

    /// The least and the largest relative error, in 2^−24.
    #[derive(Clone, Copy, Debug)]
    struct Range(f64, f64);

    impl Range {
        fn see(&mut self, ratio: f64) {
            let error = (ratio - 1.0) * f64::from(1 << 24);
            (self.0, self.1) = (self.0.min(error), self.1.max(error));
        }

        fn is_within(self, other: Self) -> bool {
            self.0 >= other.0 && self.1 <= other.1
        }
    }

    /// What is in "Error bound" of the module: the errors of 1 + t and of the rounded numerator.
    fn bounds(is_fused: bool, is_precise: bool) -> [Range; 3] {
        match (is_fused, is_precise) {
            (true, false) => [
                Range(-0.692, 0.727),
                Range(-1.382, 1.433),
                Range(-0.692, 0.727),
            ],
            (true, true) => [
                Range(-0.595, 0.612),
                Range(-1.210, 1.251),
                Range(-0.250, 0.294),
            ],
            (false, _) => [
                Range(-0.625, 0.645),
                Range(-1.218, 1.272),
                Range(-0.276, 0.312),
            ],
        }
    }

    /// Every logit that can be reduced, to 231 either way, if `ONLINE_SOFTMAX_EXHAUSTIVE` is 1 in
    /// the environment; else a sample. Below 2^−24 e^x is 1 + x.
    fn errors_of_numerators<const PRECISE: bool>(backend: Backend) {
        let is_exhaustive = env::var("ONLINE_SOFTMAX_EXHAUSTIVE").is_ok_and(|value| value == "1");
        let stride = if is_exhaustive { 1 } else { 2003 };
        let magnitudes = (0x3380_0000_u32..=0x4367_0000).step_by(stride);
        let mut logits = magnitudes.flat_map(|bits| [bits, bits | 1 << 31].map(f32::from_bits));
        let mut errors = [Range(0.0, 0.0); 3];
        let (mut chunk, mut out) = (Vec::new(), Vec::new());
        loop {
            chunk.clear();
            out.clear();
            chunk.extend(logits.by_ref().take(4096));
            if chunk.is_empty() {
                break;
            }
            let is_fused = dispatch(
                backend,
                Expm1::<PRECISE> {
                    logits: &chunk,
                    out: &mut out,
                },
            );
            for (logit, (expm1, rest)) in chunk.iter().zip(&out) {
                // 2^n is the power of two that is nearest to the quotient.
                let quotient = f64::from(*logit).exp() / (1.0 + f64::from(*expm1));
                let exponent = (quotient * core::f64::consts::SQRT_2).to_bits() >> 52 << 52;
                let truth = quotient / f64::from_bits(exponent);
                errors[0].see(1.0 / truth);
                let rounded = f64::from(1.0 + *expm1) / (1.0 + f64::from(*expm1));
                errors[1].see(rounded / truth);
                let rest = f64::from(*rest);
                let with_rest = 1.0 + f64::from(*expm1) + rest;
                errors[2].see(with_rest / (1.0 + f64::from(*expm1)) / truth);
            }
            for (errors, bounds) in errors.iter().zip(bounds(is_fused, PRECISE)) {
                assert!(errors.is_within(bounds), "{backend:?}: {errors:?}");
            }
        }
        println!("{backend:?}, precise: {PRECISE}: {errors:?}");
        // Some logits are near the bounds.
        assert!(errors[1].1 - errors[0].0 > 1.6);
    }

    #[test]
    fn numerators_are_within_their_bounds() {
        for backend in Backend::available() {
            errors_of_numerators::<false>(backend);
            errors_of_numerators::<true>(backend);
        }
    }
}

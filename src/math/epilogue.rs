//! The last operation on a row: how a numerator, or a logit, becomes a result.

use crate::math::two_float::TwoFloat;
use crate::simd::{Lanewise, Simd, Unrolled, Vector};

/// What the last pass makes of what it loads: a logit, or a numerator that was stored.
pub(crate) trait Epilogue<V: Vector>: Copy {
    /// Whether numerators are computed again from logits. Then an unrolled loop in a function of
    /// its own is faster.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn recomputes(&self) -> bool {
        false
    }

    fn apply(&self, loaded: V) -> V;

    /// [`apply`](Self::apply) to each register.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn apply_unrolled<const COUNT: usize>(
        &self,
        mut loaded: Unrolled<V, COUNT>,
    ) -> Unrolled<V, COUNT> {
        for register in &mut loaded.0 {
            *register = self.apply(*register);
        }
        loaded
    }
}

/// numerator / denominator with one rounding, by 1 / denominator in two floats.
///
/// Fused, the quotient is lowered by 2^−26 of itself. An error upwards is twice as many ULP just
/// below a power of two as one downwards is, so that makes the two equal. Unfused, two factors of 12
/// bits have an exact product, to which the others are added.
#[derive(Clone, Copy)]
pub(crate) struct Quotient<V> {
    pub(crate) inverse: V,
    /// The rest of 1 / denominator beside `inverse`, or unfused beside its first 12 bits.
    pub(crate) inverse_rest: V,
}

/// 2^−26.
const LOWERED: f32 = 1.0 / (1_u32 << 26) as f32;

impl<V: Lanewise> Quotient<V> {
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn new(inverse: TwoFloat<V>, splat: impl Fn(f32) -> V) -> Self {
        let TwoFloat { high, low } = inverse;
        let first = high.first_half();
        Quotient {
            inverse: high,
            inverse_rest: if V::IS_FUSED {
                low - high * splat(LOWERED)
            } else {
                (high - first) + low
            },
        }
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn scaled(self, scale: V) -> Self {
        Quotient {
            inverse: self.inverse * scale,
            inverse_rest: self.inverse_rest * scale,
        }
    }
}

impl<V: Vector> Epilogue<V> for Quotient<V> {
    #[cfg_attr(not(unoptimized), inline(always))]
    fn apply(&self, numerators: V) -> V {
        if V::IS_FUSED {
            numerators.mul_add(self.inverse, numerators * self.inverse_rest)
        } else {
            let first = numerators.first_half();
            let rest = first * self.inverse_rest + (numerators - first) * self.inverse;
            first * self.inverse.first_half() + rest
        }
    }
}

/// The factor of a [`Probability`]: 2^64.
pub(crate) const SCALE: f32 = (1_u128 << 64) as f32;

/// As [`Quotient`], but a result below 2^−126 is 0. Results near that are as accurate as others: they
/// are computed with a factor of 2^64, so that no part of them is subnormal.
#[derive(Clone, Copy)]
pub(crate) struct Probability<V> {
    scaled_quotient: Quotient<V>,
    /// 2^−64.
    scale: V,
    /// The numerator whose result is 2^−126, or a little less.
    negligible: V,
}

impl<V: Vector> Probability<V> {
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn new<S: Simd<Vector = V>>(simd: S, quotient: Quotient<V>, negligible: V) -> Self {
        Self::of_scaled(simd, quotient.scaled(simd.splat(SCALE)), negligible)
    }

    /// For a quotient that was multiplied by [`SCALE`].
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn of_scaled<S: Simd<Vector = V>>(
        simd: S,
        scaled_quotient: Quotient<V>,
        negligible: V,
    ) -> Self {
        Probability {
            scaled_quotient,
            scale: simd.splat(1.0 / SCALE),
            negligible,
        }
    }
}

/// The least normal number, reduced by more than the relative error of a numerator: 1e−6 is 8 ULP.
pub(crate) const NEGLIGIBLE: f64 = f32::MIN_POSITIVE as f64 * (1.0 - 1e-6);

impl<V: Vector> Epilogue<V> for Probability<V> {
    #[cfg_attr(not(unoptimized), inline(always))]
    fn apply(&self, numerators: V) -> V {
        // Nothing negligible is multiplied: products would be subnormal, and one takes about 150
        // cycles on Intel processors.
        let kept = numerators.and_gt(self.negligible, numerators);
        let quotient = self.scaled_quotient.apply(kept) * self.scale;
        // Of a row without a softmax it is NaN.
        numerators.and_gt(self.negligible, quotient)
    }
}

/// As [`Probability`], but the probability of the maximum is computed in two floats: exactly
/// 1, or 1/N of N equal logits. The quotient of a rounded numerator may miss these.
#[derive(Clone, Copy)]
pub(crate) struct ExactMax<V> {
    pub(crate) probability: Probability<V>,
    /// The numerator of the maximum.
    pub(crate) max_term: V,
    /// The probability of the maximum.
    pub(crate) of_max: V,
}

impl<V: Vector> Epilogue<V> for ExactMax<V> {
    #[cfg_attr(not(unoptimized), inline(always))]
    fn apply(&self, numerators: V) -> V {
        let quotient = self.probability.apply(numerators);
        let (result, _) = quotient.select_eq(numerators, self.max_term, self.of_max);
        result
    }
}

/// x − log Σ e^x. The log-sum-exp is two floats, whose sum has all bits of log d beside the maximum.
#[derive(Clone, Copy)]
pub(crate) struct LogProbability<V> {
    pub(crate) log_sum_exp: TwoFloat<V>,
}

impl<V: Lanewise> LogProbability<V> {
    /// Of a log-sum-exp that [`log_sum_exp`] made.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn of(log_sum_exp: TwoFloat<V>) -> Self {
        LogProbability { log_sum_exp }
    }
}

/// The other terms over that of the maximum. `rest` is what the rounded exponential of the maximum
/// leaves out. It is added where the other terms are so small that no other logit equals the
/// maximum: equal terms must have equal errors.
#[cfg_attr(not(unoptimized), inline(always))]
pub(crate) fn beside_max_term(other_terms: f64, max_term: f64, rest: f32) -> f64 {
    if other_terms < 0.5 * max_term {
        other_terms / (max_term + f64::from(rest))
    } else {
        other_terms / max_term
    }
}

/// m + log d.
#[cfg_attr(not(unoptimized), inline(always))]
pub(crate) fn log_sum_exp<V: Lanewise>(max: V, log_denominator: TwoFloat<V>) -> TwoFloat<V> {
    let TwoFloat { high, low } = TwoFloat::sum(max, log_denominator.high);
    TwoFloat {
        high,
        low: low + log_denominator.low,
    }
}

impl<V: Vector> Epilogue<V> for LogProbability<V> {
    #[cfg_attr(not(unoptimized), inline(always))]
    fn apply(&self, logits: V) -> V {
        (logits - self.log_sum_exp.high) - self.log_sum_exp.low
    }
}

/// One value, whatever is loaded: the result of a row that has no softmax.
#[derive(Clone, Copy)]
pub(crate) struct Constant<V>(pub(crate) V);

impl<V: Vector> Epilogue<V> for Constant<V> {
    #[cfg_attr(not(unoptimized), inline(always))]
    fn apply(&self, _: V) -> V {
        self.0
    }
}

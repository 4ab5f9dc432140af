//! The last operation on a row: how a numerator, or a logit, becomes a result.

use crate::simd::{Unrolled, Vector};

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

/// numerator / denominator, with 1 / denominator in two floats.
#[derive(Clone, Copy)]
pub(crate) struct Quotient<V> {
    pub(crate) inverse: V,
    pub(crate) inverse_low: V,
}

impl<V: Vector> Epilogue<V> for Quotient<V> {
    #[cfg_attr(not(unoptimized), inline(always))]
    fn apply(&self, numerators: V) -> V {
        numerators.mul_add(self.inverse, numerators * self.inverse_low)
    }
}

/// As [`Quotient`], but a result below 2^−126 is 0.
#[derive(Clone, Copy)]
pub(crate) struct Probability<V> {
    pub(crate) quotient: Quotient<V>,
    /// The numerator whose result is 2^−126, or a little less.
    pub(crate) negligible: V,
}

/// The least normal number, reduced by more than the relative error of a numerator: 1e−6 is 8 ULP.
pub(crate) const NEGLIGIBLE: f64 = f32::MIN_POSITIVE as f64 * (1.0 - 1e-6);

impl<V: Vector> Epilogue<V> for Probability<V> {
    #[cfg_attr(not(unoptimized), inline(always))]
    fn apply(&self, numerators: V) -> V {
        let quotient = self.quotient.apply(numerators);
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

/// (x − max) − log(denominator). Both terms have one sign, so nothing cancels.
#[derive(Clone, Copy)]
pub(crate) struct LogProbability<V> {
    pub(crate) max: V,
    pub(crate) log_denominator: V,
}

impl<V: Vector> Epilogue<V> for LogProbability<V> {
    #[cfg_attr(not(unoptimized), inline(always))]
    fn apply(&self, logits: V) -> V {
        (logits - self.max) - self.log_denominator
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

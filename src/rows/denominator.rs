//! The denominator of a row that was read by the recurrence.

use crate::math::epilogue::beside_max_term;
use crate::math::reduce::first_lane;
use crate::math::shift::Shift;
use crate::normalizer::Normalizer;
use crate::simd::Simd;

/// The denominator of a row under its shift, in two terms: the numerator of the maximum, and those
/// of all other logits.
#[derive(Clone, Copy)]
pub(crate) struct Denominator {
    pub(super) max: f32,
    pub(super) max_term: f64,
    pub(super) max_term_rest: f32,
    pub(super) other_terms: f64,
    pub(super) shift: Shift,
    pub(super) is_empty: bool,
}

impl Denominator {
    /// Computes the term of the maximum.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn exp_max<S: Simd>(&mut self, simd: S) {
        let logit = simd.splat(self.max) - simd.splat(self.shift.offset);
        let constants = self.shift.constants(simd);
        let numerator = constants.exp_precise(logit);
        self.max_term_rest = first_lane(constants.rest_of_precise(logit));
        let scale = f64::from(first_lane(numerator.scale));
        self.max_term = scale + scale * f64::from(first_lane(numerator.expm1));
    }

    /// The state of the row, relative to the term of the maximum.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn normalizer(&self) -> Normalizer {
        if self.is_empty {
            Normalizer::new()
        } else if self.max.is_infinite() {
            // The other terms are NaN if a logit was, and have no other use.
            Normalizer::from_parts(self.max, self.other_terms * 0.0)
        } else {
            let other_terms = beside_max_term(self.other_terms, self.max_term, self.max_term_rest);
            Normalizer::from_parts(self.max, other_terms)
        }
    }
}

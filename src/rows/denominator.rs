//! The denominator of a row that was read by the recurrence.

use super::normalize::{normalize, recompute};
use crate::math::epilogue::{Constant, ExactMax, Probability};
use crate::math::reduce::first_lane;
use crate::math::shift::Shift;
use crate::normalizer::Normalizer;
use crate::options::Sink;
use crate::simd::{LANES, Simd, Vector};
use crate::source::{Source, SrcDst};

/// The denominator of a row under its shift, in three terms: the numerator of the maximum, those of
/// all other logits, and that of the sink.
#[derive(Clone, Copy)]
pub(crate) struct Denominator {
    pub(super) max: f32,
    pub(super) max_term: f64,
    /// The numerator of the maximum as it is stored.
    pub(super) max_term_rounded: f32,
    pub(super) other_terms: f64,
    sink_term: f64,
    pub(super) shift: Shift,
    pub(super) is_empty: bool,
    pub(super) sink: Sink,
}

impl Denominator {
    /// The terms of the maximum and of the sink are not computed yet.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn new(
        max: f32,
        other_terms: f64,
        shift: Shift,
        is_empty: bool,
        sink: Sink,
    ) -> Self {
        Denominator {
            max,
            max_term: 0.0,
            max_term_rounded: 0.0,
            other_terms,
            sink_term: 0.0,
            shift,
            is_empty,
            sink,
        }
    }

    /// Computes the terms of the maximum and of the sink.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn exp_max_and_sink<S: Simd>(&mut self, simd: S) {
        (self.max_term, self.max_term_rounded) = self.exp_scaled(simd, self.max);
        if self.sink.logit > f32::NEG_INFINITY {
            (self.sink_term, _) = self.exp_scaled(simd, self.sink.logit);
        }
    }

    /// The numerator of a logit: exact; and rounded, as the last pass computes it.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn exp_scaled<S: Simd>(&self, simd: S, logit: f32) -> (f64, f32) {
        let logit = simd.splat(logit) - simd.splat(self.shift.offset);
        let constants = self.shift.constants(simd);
        let numerator = constants.exp_precise(logit);
        let scale = f64::from(first_lane(numerator.scale));
        let exact = scale + scale * f64::from(first_lane(numerator.expm1));
        (exact, first_lane(constants.exp_scaled(logit).value()))
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn total(&self) -> f64 {
        self.max_term + self.other_terms + self.sink_term
    }

    /// The largest logit, including the sink.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn largest(&self) -> f32 {
        self.max.max(self.sink.logit)
    }

    /// Whether the row has a softmax.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn is_finite(&self) -> bool {
        self.largest().is_finite() && !self.max.is_nan() && !self.other_terms.is_nan()
    }

    /// Writes the probabilities of a row. `equal_terms` is how many logits equal the maximum, if all
    /// others are −∞: then, without a sink, their results are exactly one over it.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn normalize<S: Simd, R: SrcDst>(
        mut self,
        simd: S,
        row: R,
        equal_terms: Option<usize>,
    ) {
        if !self.is_finite() {
            let is_fully_masked = self.largest() == f32::NEG_INFINITY && !self.other_terms.is_nan();
            let fallback = self.sink.fallback(is_fully_masked);
            return normalize(simd, row, &Constant(simd.splat(fallback)));
        }
        if let Some(count) = equal_terms {
            self.set_equal_terms(count);
        }
        let shift = self.shift.lanes(simd);
        if equal_terms.is_some() || self.is_nearly_one() {
            recompute(simd, row, shift, self.exact_max(simd));
        } else {
            recompute(simd, row, shift, self.probability(simd));
        }
    }

    /// How many values of the row are `max`, if all others are `masked`. The row is given as logits
    /// or as numerators.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn equal_terms<S: Simd, L: Source>(
        &self,
        simd: S,
        row: L,
        max: f32,
        masked: f32,
    ) -> Option<usize> {
        if self.is_finite() {
            count_if_constant(simd, row, max, masked).filter(|count| *count > 0)
        } else {
            None
        }
    }

    /// All terms but the sink's are `count` equal ones.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn set_equal_terms(&mut self, count: usize) {
        self.other_terms = (count - 1) as f64 * self.max_term;
    }

    /// Whether the probability of the maximum may round to 1.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn is_nearly_one(&self) -> bool {
        self.other_terms + self.sink_term < self.max_term * 1e-6
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn probability<S: Simd>(&self, simd: S) -> Probability<S::Vector> {
        Probability::new(simd, self.total())
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn exact_max<S: Simd>(&self, simd: S) -> ExactMax<S::Vector> {
        ExactMax {
            probability: self.probability(simd),
            max_term: simd.splat(self.max_term_rounded),
            of_max: simd.splat((self.max_term / self.total()) as f32),
        }
    }

    /// The state of the row, relative to the term of the maximum.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn normalizer(&self) -> Normalizer {
        if self.sink.logit > self.max {
            let terms = self.max_term + self.other_terms;
            Normalizer::from_parts(self.sink.logit, terms / self.sink_term)
        } else if self.is_empty {
            Normalizer::new()
        } else if self.max.is_infinite() {
            // The other terms are NaN if a logit was, and have no other use.
            Normalizer::from_parts(self.max, self.other_terms * 0.0)
        } else {
            let terms = self.other_terms + self.sink_term;
            Normalizer::from_parts(self.max, terms / self.max_term)
        }
    }
}

/// How many values are `value`, if all others are `masked`.
#[cfg_attr(not(unoptimized), inline(always))]
fn count_if_constant<S: Simd, L: Source>(
    simd: S,
    row: L,
    value: f32,
    masked: f32,
) -> Option<usize> {
    let (values, masks) = (simd.splat(value), simd.splat(masked));
    let mut count = 0;
    for register in 0..row.len().div_ceil(S::Vector::WIDTH) {
        let start = register * S::Vector::WIDTH;
        let lanes = row.load(simd, start);
        let (others, equal) = lanes.select_eq(lanes, values, masks);
        let (_, all) = others.select_eq(others, masks, masks);
        let width = S::Vector::WIDTH.min(row.len() - start);
        if width == S::Vector::WIDTH {
            if all as usize != width {
                return None;
            }
            count += equal as usize;
        } else {
            // The lanes past the end hold anything.
            let mut last = [0.0; LANES];
            lanes.store(&mut last);
            for lane in last.iter().take(width) {
                if *lane == value {
                    count += 1;
                } else if *lane != masked {
                    return None;
                }
            }
        }
    }
    Some(count)
}

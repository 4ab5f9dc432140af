//! Rows beyond the caches: the recurrence reads the row, then each exponential is computed again.
//! Two reads and one write, the least there is.

use super::recurrence;
use crate::math::shift::Shift;
use crate::normalizer::Normalizer;
use crate::options::Sink;
use crate::simd::Simd;
use crate::source::SrcDst;

/// The softmax of a row. Returns its state.
#[cfg_attr(not(unoptimized), inline(always))]
pub(super) fn softmax<S: Simd, R: SrcDst>(simd: S, row: R, sink: Sink) -> Normalizer {
    let mut denominator = recurrence::denominator(simd, row.logits());
    denominator.sink = sink;
    if denominator.is_finite() {
        let shift = Shift::of(denominator.largest());
        denominator.other_terms *= denominator.shift.rescale_factor(shift);
        denominator.shift = shift;
        denominator.exp_max_and_sink(simd);
    }
    let (max, masked) = (denominator.max, f32::NEG_INFINITY);
    let equal_terms = denominator.equal_terms(simd, row.logits(), max, masked);
    denominator.normalize(simd, row, equal_terms);
    denominator.normalizer()
}

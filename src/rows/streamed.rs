//! Rows beyond the caches: the recurrence reads the row, then each exponential is computed again.
//! Two reads and one write, the least there is.

use super::by_recurrence::ByRecurrence;
use super::denominator::Denominator;
use crate::math::shift::Shift;
use crate::normalizer::Normalizer;
use crate::options::Sink;
use crate::simd::Simd;
use crate::source::SrcDst;

pub(crate) struct Streamed(Denominator);

impl ByRecurrence for Streamed {
    #[cfg_attr(not(unoptimized), inline(always))]
    fn finish<S: Simd>(simd: S, mut denominator: Denominator, sink: Sink) -> Self {
        denominator.sink = sink;
        if denominator.is_finite() {
            let shift = Shift::of(denominator.largest());
            denominator.other_terms *= denominator.shift.rescale_factor(shift);
            denominator.shift = shift;
            denominator.exp_max_and_sink(simd);
        }
        Streamed(denominator)
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn normalize_pass<S: Simd, R: SrcDst>(&self, simd: S, row: R) {
        let denominator = self.0;
        let (max, masked) = (denominator.max, f32::NEG_INFINITY);
        let equal_terms = denominator.equal_terms(simd, row.logits(), max, masked);
        denominator.normalize(simd, row, false, equal_terms);
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn normalizer(&self) -> Normalizer {
        self.0.normalizer()
    }
}

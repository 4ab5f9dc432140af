//! Rows beyond the caches: the recurrence reads the row, then each exponential is computed again.
//! Two reads and one write, the least there is.

use super::algorithm::Algorithm;
use super::denominator::Denominator;
use super::normalize::RowEpilogue;
use super::recurrence::denominator;
use crate::math::shift::Shift;
use crate::normalizer::Normalizer;
use crate::options::Sink;
use crate::simd::Simd;
use crate::source::{Source, SrcDst};

pub(crate) struct Streamed(Denominator);

impl Algorithm for Streamed {
    type Maxima<S: Simd> = ();
    type Shift<S: Simd> = ();
    type Sums<S: Simd> = Denominator;

    #[cfg_attr(not(unoptimized), inline(always))]
    fn max_pass<S: Simd, L: Source>(_: S, _: L) {}

    #[cfg_attr(not(unoptimized), inline(always))]
    fn choose_shift<S: Simd>(_: S, (): (), _: Sink) {}

    #[cfg_attr(not(unoptimized), inline(always))]
    fn exp_sum_pass<S: Simd, R: SrcDst>(simd: S, row: R, (): (), _: usize) -> Denominator {
        denominator(simd, row.logits())
    }

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
    fn last_pass<R: SrcDst>(row: R) -> impl SrcDst {
        row
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn epilogue<S: Simd, L: Source>(
        &self,
        simd: S,
        logits: L,
        has_numerators: bool,
    ) -> RowEpilogue<S::Vector> {
        let denominator = self.0;
        let (max, masked) = (denominator.max, f32::NEG_INFINITY);
        let equal_terms = denominator.equal_terms(simd, logits, max, masked);
        denominator.epilogue(simd, has_numerators, equal_terms)
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn normalizer<S: Simd, R: SrcDst>(&self, _: S, _: R) -> Normalizer {
        self.0.normalizer()
    }
}

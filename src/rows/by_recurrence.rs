//! The algorithms whose maximum and denominator come from one read by the recurrence.

use super::algorithm::Algorithm;
use super::denominator::Denominator;
use super::recurrence::denominator;
use crate::normalizer::Normalizer;
use crate::options::Sink;
use crate::simd::Simd;
use crate::source::{Source, SrcDst};

/// What is made of the denominator. The recurrence reads the row, the last pass reads it again.
pub(super) trait ByRecurrence: Sized {
    fn finish<S: Simd>(simd: S, denominator: Denominator, sink: Sink) -> Self;

    /// The last pass, over the logits.
    fn normalize_pass<S: Simd, R: SrcDst>(&self, simd: S, row: R);

    fn normalizer(&self) -> Normalizer;
}

impl<B: ByRecurrence> Algorithm for B {
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
    fn finish<S: Simd>(simd: S, denominator: Denominator, sink: Sink) -> Self {
        <B as ByRecurrence>::finish(simd, denominator, sink)
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn normalize_pass<S: Simd, R: SrcDst>(&self, simd: S, row: R) {
        ByRecurrence::normalize_pass(self, simd, row);
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn normalizer<S: Simd, R: SrcDst>(&self, _: S, _: R) -> Normalizer {
        ByRecurrence::normalizer(self)
    }
}

//! The log-softmax: the recurrence reads the row, the last pass subtracts.

use super::algorithm::Algorithm;
use super::denominator::Denominator;
use super::normalize::RowEpilogue;
use super::recurrence::denominator;
use crate::math::epilogue::{Constant, LogProbability};
use crate::normalizer::{Normalizer, Outcome};
use crate::options::Sink;
use crate::simd::Simd;
use crate::source::{Source, SrcDst};

pub(crate) struct LogSoftmax(Normalizer, Sink);

impl Algorithm for LogSoftmax {
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
    fn finish<S: Simd>(_: S, denominator: Denominator, sink: Sink) -> Self {
        LogSoftmax(sink.merge_into(denominator.normalizer()), sink)
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn last_pass<R: SrcDst>(row: R) -> impl SrcDst {
        row
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn epilogue<S: Simd, L: Source>(&self, simd: S, _: L, _: bool) -> RowEpilogue<S::Vector> {
        let LogSoftmax(normalizer, sink) = self;
        if normalizer.outcome() == Outcome::Finite {
            RowEpilogue::LogProbability(LogProbability {
                max: simd.splat(normalizer.max()),
                log_denominator: simd.splat(normalizer.log_denominator() as f32),
            })
        } else {
            let is_fully_masked = normalizer.outcome() == Outcome::FullyMasked;
            let fallback = sink.fallback(is_fully_masked);
            RowEpilogue::Fallback(Constant(simd.splat(fallback)))
        }
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn normalizer<S: Simd, R: SrcDst>(&self, _: S, _: R) -> Normalizer {
        self.0
    }
}

//! The log-softmax: the recurrence reads the row, the last pass subtracts.

use super::by_recurrence::ByRecurrence;
use super::denominator::Denominator;
use super::normalize::RowEpilogue;
use crate::math::epilogue::{Constant, LogProbability};
use crate::normalizer::{Normalizer, Outcome};
use crate::options::Sink;
use crate::simd::Simd;
use crate::source::Source;

pub(crate) struct LogSoftmax(Normalizer, Sink);

impl ByRecurrence for LogSoftmax {
    #[cfg_attr(not(unoptimized), inline(always))]
    fn finish<S: Simd>(_: S, denominator: Denominator, sink: Sink) -> Self {
        LogSoftmax(sink.merge_into(denominator.normalizer()), sink)
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn epilogue<S: Simd, L: Source>(&self, simd: S, _: L) -> RowEpilogue<S::Vector> {
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
    fn normalizer(&self) -> Normalizer {
        self.0
    }
}

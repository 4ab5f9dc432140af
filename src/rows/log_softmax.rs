//! The log-softmax: the recurrence reads the row, the last pass subtracts.

use super::by_recurrence::ByRecurrence;
use super::denominator::Denominator;
use super::normalize::normalize;
use crate::math::epilogue::{Constant, LogProbability};
use crate::normalizer::{Normalizer, Outcome};
use crate::options::Sink;
use crate::simd::Simd;
use crate::source::SrcDst;

pub(crate) struct LogSoftmax(Normalizer, Sink);

impl ByRecurrence for LogSoftmax {
    #[cfg_attr(not(unoptimized), inline(always))]
    fn finish<S: Simd>(_: S, denominator: Denominator, sink: Sink) -> Self {
        LogSoftmax(sink.merge_into(denominator.normalizer()), sink)
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn normalize_pass<S: Simd, R: SrcDst>(&self, simd: S, row: R) {
        let LogSoftmax(normalizer, sink) = self;
        if normalizer.outcome() == Outcome::Finite {
            let log_probability = LogProbability {
                max: simd.splat(normalizer.max()),
                log_denominator: simd.splat(normalizer.log_denominator() as f32),
            };
            normalize(simd, row, &log_probability);
        } else {
            let is_fully_masked = normalizer.outcome() == Outcome::FullyMasked;
            let fallback = sink.fallback(is_fully_masked);
            normalize(simd, row, &Constant(simd.splat(fallback)));
        }
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn normalizer(&self) -> Normalizer {
        self.0
    }
}

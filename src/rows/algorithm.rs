//! What the algorithms of rows have in common: the steps between and within the passes.

use super::normalize::{RowEpilogue, normalize, normalize_numerators};
use crate::normalizer::Normalizer;
use crate::options::Sink;
use crate::simd::Simd;
use crate::source::{Source, SrcDst};

/// A softmax as passes over a row and the steps between them.
pub(super) trait Algorithm: Sized {
    /// Whether the last pass loads numerators that the second has stored, where there is scratch.
    const USES_SCRATCH: bool = false;

    /// What the first pass finds, by lanes.
    type Maxima<S: Simd>;

    /// What the second pass needs of the first.
    type Shift<S: Simd>;

    /// What the second pass finds, by lanes.
    type Sums<S: Simd>;

    /// The first pass. It writes nothing.
    fn max_pass<S: Simd, L: Source>(simd: S, logits: L) -> Self::Maxima<S>;

    fn choose_shift<S: Simd>(simd: S, maxima: Self::Maxima<S>, sink: Sink) -> Self::Shift<S>;

    /// The second pass. It may store numerators in scratch. The memory `ahead` logits further on is
    /// prefetched, unless that is 0.
    fn exp_sum_pass<S: Simd, R: SrcDst>(
        simd: S,
        row: R,
        shift: Self::Shift<S>,
        ahead: usize,
    ) -> Self::Sums<S>;

    fn finish<S: Simd>(simd: S, sums: Self::Sums<S>, sink: Sink) -> Self;

    /// What the last pass loads and writes.
    fn last_pass<R: SrcDst>(row: R) -> impl SrcDst;

    /// How numerators become results. The last pass loads the numerators if `has_numerators`, otherwise
    /// the logits.
    fn epilogue<S: Simd, L: Source>(
        &self,
        simd: S,
        loaded: L,
        has_numerators: bool,
    ) -> RowEpilogue<S::Vector>;

    /// The last pass. It writes the results.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn normalize_pass<S: Simd, R: SrcDst>(&self, simd: S, row: R) {
        let row = Self::last_pass(row);
        let has_numerators = Self::USES_SCRATCH && R::HAS_SCRATCH;
        match self.epilogue(simd, row.logits(), has_numerators) {
            RowEpilogue::Fallback(epilogue) => normalize(simd, row, &epilogue),
            RowEpilogue::Probability(shift, epilogue) => {
                normalize_numerators(simd, row, has_numerators, shift, epilogue);
            }
            RowEpilogue::ExactMax(shift, epilogue) => {
                normalize_numerators(simd, row, has_numerators, shift, epilogue);
            }
            RowEpilogue::LogProbability(epilogue) => normalize(simd, row, &epilogue),
        }
    }

    /// The state of the row. To be called before the last pass.
    fn normalizer<S: Simd, R: SrcDst>(&self, simd: S, row: R) -> Normalizer;
}

//! What the algorithms of rows have in common: the steps between and within the passes.

use crate::normalizer::Normalizer;
use crate::options::Sink;
use crate::simd::Simd;
use crate::source::{Source, SrcDst};

/// A softmax as passes over a row and the steps between them.
pub(super) trait Algorithm: Sized {
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

    /// The last pass. It writes the results.
    fn normalize_pass<S: Simd, R: SrcDst>(&self, simd: S, row: R);

    /// The state of the row. To be called before the last pass.
    fn normalizer<S: Simd, R: SrcDst>(&self, simd: S, row: R) -> Normalizer;
}

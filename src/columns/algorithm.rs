//! What the algorithms of columns have in common: the passes, and the size of what they see at
//! once.

use super::cells::Cells;
use super::sums::Sums;
use crate::math::shift::LaneShifts;
use crate::options::Sink;
use crate::simd::Simd;
use crate::source::SrcDst;

/// Rows of a tile, whose numerators are summed in `f32`.
pub(super) const TILE: usize = 64;

/// Groups of columns of a strip. The values of a row that are read at once lie side by side in
/// memory; more of them would be faster where rows are as long as a page (8 groups: 10 to 15 % for
/// 1024 to 4096 columns on an Intel core), but need more than 8 KiB of stack.
pub(super) const STRIP: usize = 4;

/// A softmax as passes over columns. Its value is what the last pass needs.
pub(super) trait ColumnAlgorithm<S: Simd>: Copy {
    /// Sums the numerators of a strip in the tile whose first row is `first`. It may store
    /// numerators in scratch.
    fn exp_sum_pass<R: SrcDst>(
        sums: &mut [Sums<S>; STRIP],
        strip: Cells<S>,
        first: usize,
        slab: &mut R,
        sink: Sink,
    );

    /// Of columns without a softmax.
    fn new(simd: S) -> Self;

    fn finish(&mut self, simd: S, sums: &Sums<S>, sink: Sink);

    /// What the last pass loads and writes.
    fn last_pass<R: SrcDst>(slab: &mut R) -> impl SrcDst;

    /// Whether [`normalize_row`](Self::normalize_row) is right for a group. Otherwise it is left to
    /// [`normalize_unusual`](Self::normalize_unusual).
    fn is_usual(_: S, _: &Sums<S>, _: Sink) -> bool {
        true
    }

    /// The last pass over a row of a group.
    fn normalize_row<R: SrcDst>(&self, simd: S, shifts: &LaneShifts<S>, cells: &mut R);

    /// The last pass over an unusual group.
    fn normalize_unusual<R: SrcDst>(
        &self,
        columns: Cells<S>,
        slab: &mut R,
        sums: &Sums<S>,
        sink: Sink,
    );
}

//! What the algorithms of columns have in common: the passes, and the size of what they see at
//! once.

use super::rectangle::Rectangle;
use super::state::GroupState;
use crate::math::shift::GroupShifts;
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
    /// Takes a tile, whose first row is `first`, into the states of a strip: finds its maxima,
    /// raises the shifts where they must be, and sums its numerators. It may store these in
    /// scratch.
    fn read_tile<R: SrcDst>(
        sums: &mut [GroupState<S>; STRIP],
        strip: Rectangle<S>,
        first: usize,
        slab: &mut R,
        sink: Sink,
    );

    /// Without columns.
    fn new(simd: S) -> Self;

    /// Computes from the state of a group what the last pass needs.
    fn finish(&mut self, simd: S, sums: &GroupState<S>, sink: Sink);

    /// What the last pass loads and writes.
    fn last_pass<R: SrcDst>(slab: &mut R) -> impl SrcDst;

    /// Whether [`normalize_row`](Self::normalize_row) is right for a group. Otherwise it is left to
    /// [`normalize_with_exceptions`](Self::normalize_with_exceptions).
    fn has_no_exception(_: Rectangle<S>, _: &GroupState<S>, _: Sink) -> bool {
        true
    }

    /// The last pass over a row of a group.
    fn normalize_row<R: SrcDst>(&self, simd: S, shifts: &GroupShifts<S>, cells: &mut R);

    /// The last pass over another group.
    fn normalize_with_exceptions<R: SrcDst>(
        &self,
        columns: Rectangle<S>,
        slab: &mut R,
        sums: &GroupState<S>,
        sink: Sink,
    );
}

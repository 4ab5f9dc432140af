//! Softmax down columns: a lane is a softmax of its own.
//!
//! ```text
//!           inner columns
//!         ┌──────────────┬──────────────┬────┐
//!         │ strip        │ strip        │ …  │   strip: up to 4 groups of 32 columns, done one
//!  axis   │ ┌──┬──┬──┐   │              │    │          after another
//!  rows   │ │g │g │g │ … │              │    │   group: 32 columns, a lane each
//!         │ ├──┴──┴──┴───│              │    │
//!         │ │ next tile  │              │    │   tile:  64 rows of a strip; their numerators are
//!         └──────────────┴──────────────┴────┘          summed in f32
//!                   a slab of [axis, inner]
//! ```
//!
//! ```text
//! for each strip of the slab
//!     for each tile of the strip
//!         m' ← maxima of the tile
//!         for each group
//!             if some m' > limit                          rare: raise the shifts
//!                 sums ← sums · e^(shift − shift')
//!         for each row:  sums ← sums + numerators;  scratch ← numerators
//!         m ← max(m, m')
//!     for each row:  results ← numerators / sums
//! ```
//!
//! This is the online recurrence, tile by tile. Where a shift is raised, the numerators that are in
//! scratch already are rescaled by powers of two. The log-softmax stores nothing. It sums with the
//! steps of the recurrence, which leave the term of the maximum out of the sum.

use crate::math::shift::LaneShifts;
use crate::options::Sink;
use crate::simd::{LANES, Simd, WithSimd};
use crate::source::SrcDst;
use cells::{Cells, split_group};
use log_softmax::LogProbabilities;
use softmax::Probabilities;
use sums::Sums;

mod cells;
mod log_softmax;
mod softmax;
mod sums;

/// Rows of a tile, whose numerators are summed in `f32`.
const TILE: usize = 64;

/// Groups of columns of a strip. The values of a row that are read at once lie side by side in memory;
/// more of them would be faster where rows are as long as a page (8 groups: 10 to 15 % for 1024 to 4096
/// columns on an Intel core), but need more than 8 KiB of stack.
const STRIP: usize = 4;

/// How far ahead memory is prefetched, in rows.
const ROWS_AHEAD: usize = 4;

/// Columns whose maximum in the first tile is at most this far from zero have shifts without offset.
/// A later logit more than twice as far above makes their terms negligible.
const NEAR: f32 = 104.0;

/// The softmax, or the log-softmax if `LOG`, of each column of each slab of a tensor
/// [outer, `axis`, `inner`].
pub(crate) struct Columns<const LOG: bool, R> {
    pub(crate) tensor: R,
    pub(crate) axis: usize,
    pub(crate) inner: usize,
    pub(crate) sink: Sink,
}

impl<const LOG: bool, R: SrcDst> WithSimd for Columns<LOG, R> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let mut unread = self.tensor;
        while let Ok((slab, others)) = unread.split_at(self.axis * self.inner) {
            if LOG {
                of_slab::<LogProbabilities<S>, S, R>(simd, slab, self.inner, self.sink);
            } else {
                of_slab::<Probabilities<S>, S, R>(simd, slab, self.inner, self.sink);
            }
            unread = others;
        }
    }
}

/// A softmax as passes over columns. Its value is what the last pass needs.
trait ColumnAlgorithm<S: Simd>: Copy {
    /// Sums the numerators of a strip in the tile whose first row is `first`. It may store numerators
    /// in scratch.
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

#[inline(always)]
fn of_slab<A: ColumnAlgorithm<S>, S: Simd, R: SrcDst>(
    simd: S,
    mut slab: R,
    inner: usize,
    sink: Sink,
) {
    let rows = slab.len().checked_div(inner).unwrap_or(0);
    let mut start = 0;
    while start < inner {
        let strip = Cells {
            simd,
            start,
            width: (STRIP * LANES).min(inner - start),
            inner,
            rows,
        };
        let mut sums = [Sums::new(simd); STRIP];
        let mut first = 0;
        while first < rows {
            simd.vectorize(
                #[inline(always)]
                |_| A::exp_sum_pass(&mut sums, strip, first, &mut slab, sink),
            );
            first += TILE;
        }
        simd.vectorize(
            #[inline(always)]
            |simd| normalize_pass::<A, S, R>(simd, strip, &mut slab, &sums, sink),
        );
        start += strip.width;
    }
}

/// The last pass over a strip.
#[inline(always)]
fn normalize_pass<A: ColumnAlgorithm<S>, S: Simd, R: SrcDst>(
    simd: S,
    strip: Cells<S>,
    slab: &mut R,
    sums: &[Sums<S>; STRIP],
    sink: Sink,
) {
    let mut algorithms = [A::new(simd); STRIP];
    let mut are_usual = [true; STRIP];
    let of_groups = algorithms.iter_mut().zip(&mut are_usual).zip(sums);
    for (_, ((algorithm, is_usual), sums)) in strip.groups().zip(of_groups) {
        simd.vectorize(
            #[inline(always)]
            |simd| algorithm.finish(simd, sums, sink),
        );
        *is_usual = simd.vectorize(
            #[inline(always)]
            |simd| A::is_usual(simd, sums, sink),
        );
    }
    let mut slab = A::last_pass(slab);
    for cells in strip.rows(&mut slab) {
        let mut unread = cells;
        for ((algorithm, is_usual), sums) in algorithms.iter().zip(are_usual).zip(sums) {
            let (mut cells, others) = split_group(unread);
            strip.prefetch(&cells);
            if is_usual {
                algorithm.normalize_row(simd, &sums.shifts, &mut cells);
            }
            match others {
                Some(others) => unread = others,
                None => break,
            }
        }
    }
    let of_groups = algorithms.iter().zip(are_usual).zip(sums);
    for (columns, ((algorithm, is_usual), sums)) in strip.groups().zip(of_groups) {
        if !is_usual {
            simd.vectorize(
                #[inline(always)]
                |_| algorithm.normalize_unusual(columns, &mut slab, sums, sink),
            );
        }
    }
}

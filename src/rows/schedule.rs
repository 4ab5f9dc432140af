//! Sizes of rows: what fixes the order of sums ([`BLOCK`], [`SUMMED`]), and thresholds that were found by
//! measurement. Those of columns are in `columns/algorithm.rs` and `columns/cells.rs`.
//!
//! Figures were measured with `benches/peers` on an AMD EPYC core (family 26) unless said otherwise.

/// Logits of a block. The recurrence checks the shift once a block.
pub(crate) const BLOCK: usize = 4 * crate::simd::LANES;

/// Logits of a slice: their numerators are summed from one bias, then the sum is added to that of the row.
pub(super) const SUMMED: usize = 16 * BLOCK;

/// The longest row that is transposed: each column has a lane of its own.
pub(super) const SHORT: usize = crate::simd::LANES;

/// Columns for which a sum begins at a power of two above the sum of the row: its high parts are then
/// combined without error, in any order. With more columns the low parts would lose too much.
pub(super) const EXACT: usize = 128;

/// Logits of a batch of rows, which stay in the first-level cache with their results.
pub(super) const BATCHED: usize = 4096;

/// The longest row that is written from its first result on. Longer ones are written from where a
/// line of a cache begins, which saves 2 to 7 %.
pub(super) const UNALIGNED: usize = 256;

/// The longest row that is read twice before it is written, which costs less than the recurrence
/// while the row stays in a cache. The two ways to sum differ in bits, so this is the same
/// everywhere.
pub(crate) const CACHED: usize = 1 << 21;

/// The longest row whose first pass does without prefetching.
pub(super) const NEAR: usize = 1 << 15;

/// The smallest matrix, in logits, that is read from beyond the second-level cache.
const LARGE: usize = 1 << 17;

/// The smallest matrix, in logits, that is read from beyond the third-level cache.
const VERY_LARGE: usize = 1 << 21;

/// How far ahead, in logits, a large matrix is prefetched. Processors prefetch by themselves within a
/// page of memory, which is a row of 1024. Saves 15 % at 4 MiB.
pub(super) const AHEAD: usize = 1024;

/// The same for a very large matrix: main memory takes longer. Saves 55 % at 64 MiB.
const FAR_AHEAD: usize = 4096;

/// How far ahead a matrix of `len` logits is prefetched in the second pass over a batch of `batch` logits; 0 is
/// not at all. The first pass has read the batch, so the next one is prefetched, unless the batch is one row
/// that the first pass prefetches for itself.
#[cfg_attr(not(unoptimized), inline(always))]
pub(super) fn prefetch_distance(len: usize, batch: usize) -> usize {
    match len {
        0..LARGE => 0,
        LARGE.. if batch <= NEAR => batch,
        LARGE..VERY_LARGE => AHEAD,
        _ => FAR_AHEAD,
    }
}

/// Logits of short rows with masks that are preprocessed at a time: they stay in the first-level cache.
pub(crate) const PREPROCESSED: usize = 4096;

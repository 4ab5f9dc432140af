//! Sizes of rows: what fixes the order of sums ([`BLOCK`], [`SLICE`]), and thresholds that were
//! found by measurement. Those of columns are in `columns/algorithm.rs` and `columns/rectangle.rs`.
//!
//! Figures were measured with `benches/peers` on an AMD EPYC core (family 26) unless said
//! otherwise.

use crate::simd::LANES;

/// Logits of a block. The recurrence checks the shift once a block.
pub(crate) const BLOCK: usize = 4 * LANES;

/// Logits of a slice: their numerators are summed from one start, then the sum is added to that of
/// the row.
pub(crate) const SLICE: usize = 16 * BLOCK;

/// The longest row that is transposed on any backend: a virtual lane has at most two of its
/// columns. See [`LONGEST_SHORT`](crate::simd::Simd::LONGEST_SHORT). With room for 64 columns, 49 to
/// 63 would take 0.69 to 0.8 times the time of a batch, and 64 columns 0.97 times; but on `Avx2` 10
/// to 48 columns 1.03 to 1.05 times, and on `Avx512` a gradient with a mask would need more than 8
/// KiB of stack.
pub(super) const LONGEST_SHORT: usize = LANES + 16;

/// The longest row whose sum begins at a power of two above the sum of the row: its high parts are
/// then combined without error, in any order. With more columns the low parts would lose too much.
pub(super) const LONGEST_EXACT: usize = 128;

/// Logits of a batch of rows, which stay in the first-level cache with their results.
pub(super) const BATCH_LOGITS: usize = 4096;

/// The longest row that is written from its first result on. Longer ones are written from the start
/// of a cache line on, which saves 2 to 7 %.
pub(super) const LONGEST_UNALIGNED: usize = 256;

/// The longest row whose numerators are stored between the passes. Those of longer ones are
/// computed again, which costs less than to write them to memory and to read them.
pub(crate) const LONGEST_STORED: usize = 1 << 21;

/// The smallest matrix, in logits, that is read from beyond the second-level cache.
const LARGE: usize = 1 << 17;

/// The smallest matrix, in logits, that is read from beyond the third-level cache.
const VERY_LARGE: usize = 1 << 21;

/// The smallest matrix, in logits, whose results are written past the caches if its rows are read
/// one by one: logits and results together take 32 MiB. Under a causal mask of 512 to 4096 columns
/// that takes 0.5 to 0.6 times the time; of fewer columns it would take 0.9 to 1.3 times.
pub(crate) const BEYOND_CACHES: usize = 1 << 22;

/// The longest row of such a matrix whose numerators are kept on the stack. Those of longer rows are
/// computed again.
pub(super) const LONGEST_STAGED: usize = 1024;

/// The longest row of such a matrix, without a mask, whose numerators are computed again: 0.82 to
/// 0.96 times the time. From 8192 columns on it would take 1 to 1.2 times.
const LONGEST_RECOMPUTED: usize = 4096;

/// Whether rows without a mask of a matrix of `len` logits are written past the caches. For a
/// softmax of up to [`LONGEST_STAGED`] columns that takes 0.6 to 0.95 times the time, for a
/// log-softmax of more columns 0.75 to 1 times; with fewer it would take 0.95 to 1.05 times.
#[cfg_attr(not(unoptimized), inline(always))]
pub(super) fn are_past_caches<const LOG: bool>(len: usize, columns: usize) -> bool {
    let has_gain = if LOG {
        columns > LONGEST_STAGED
    } else {
        columns <= LONGEST_RECOMPUTED
    };
    len >= BEYOND_CACHES && has_gain
}

/// How far ahead, in logits, such a row is prefetched.
pub(super) const STAGED_AHEAD: usize = 2048;

/// How far ahead, in logits, a very large matrix is prefetched: main memory takes longer.
pub(super) const FAR_AHEAD: usize = 4096;

/// The longest rows of a very large matrix that are read several at a time. Longer ones are read
/// one by one, with less memory under way at once: 0.67 to 0.82 times the time from 512 columns on.
const LONGEST_FAR_BATCHED: usize = 256;

/// Whether the rows of a matrix of `len` logits are best read one by one.
#[cfg_attr(not(unoptimized), inline(always))]
pub(super) fn is_row_by_row(len: usize, columns: usize) -> bool {
    columns > SLICE || len >= VERY_LARGE && columns > LONGEST_FAR_BATCHED
}

/// How far ahead, in logits, a matrix of `len` logits is prefetched while the numerators of a
/// batch, or of a slice, of `count` logits are computed; 0: no prefetch. So the next one is read
/// from memory meanwhile, which saves up to 15 %, or 28 % of a log-sum-exp from main memory. There
/// passes that write go without: on an AMD EPYC core of family 25 their prefetches cost 2 to 36 %.
#[cfg_attr(not(unoptimized), inline(always))]
pub(super) fn prefetch_distance(len: usize, count: usize, is_written: bool) -> usize {
    match len {
        0..LARGE => 0,
        LARGE..VERY_LARGE => count.min(BATCH_LOGITS),
        _ if is_written => 0,
        _ => FAR_AHEAD,
    }
}

/// Logits of short rows with masks that are preprocessed at a time: they stay in the first-level
/// cache.
pub(crate) const PREPROCESSED_LOGITS: usize = 4096;

//! Softmax down columns: a lane is a softmax of its own.
//!
//! ```text
//!           inner columns
//!         ┌──────────────┬──────────────┬────┐
//!         │ strip        │ strip        │ …  │   strip: up to 4 groups of 32 columns, strips are
//!  axis   │ ┌──┬──┬──┐   │              │    │          done one after another
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
//!             first tile, all |m'| ≤ 104:      shifts from m';  limits ← min(m' + 22, 118)
//!             other first tile, or some m' > limit:   (at most once)
//!                 shifts from the maxima of all remaining rows;  limits ← +∞
//!                 sums and scratch are rescaled
//!             m ← max(m, m')
//!         for each row:  scratch ← numerators;  sums ← sums + numerators   (two f32)
//!         totals ← totals + sums   (f64)
//!     for each row:  results ← scratch / totals
//! ```
//!
//! Without vectors a group is one column ([`OneColumn`](crate::simd::scalar::OneColumn)), and a
//! strip has four.
//!
//! This is the online recurrence, tile by tile. The log-softmax reads the columns for their maxima
//! first, then sums, then writes: three reads, nothing stored. Its totals leave out the term of the
//! maximum. The log-sum-exp takes the first two reads.
//!
//! # Error bound
//!
//! Numerators, quotients and the last roundings are those of rows, and so is the bound of the
//! softmax (`rows`): tiles are summed as slices are, totals in `f64`. The log-softmax sums the other
//! terms from zero, without an order (Knuth's TwoSum), and never subtracts the maximum's term from a
//! sum: its bound is that of rows.

mod algorithm;
mod log_softmax;
pub(crate) mod log_sum_exp;
mod rectangle;
pub(crate) mod slab;
mod softmax;
mod state;

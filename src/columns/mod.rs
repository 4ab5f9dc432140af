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

mod algorithm;
mod cells;
mod log_softmax;
pub(crate) mod slab;
mod softmax;
mod sums;

//! The logits of a range, packed side by side.
//!
//! Few classes of a row matter to a sampler, and they lie far apart. Registers with one of them
//! among fifteen others would waste most of the work of an exponential. So they are packed first.

use crate::simd::{LANES, Simd, Vector, WIDEST};
use crate::source::Source;

/// Registers that are looked at together.
const TOGETHER: usize = 4;

/// Packed logits that are handed on: this many or more, but for the last.
const ENOUGH: usize = 4 * LANES;

/// The logits above `low` and not above `high`. No bound is NaN.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    pub(super) low: f32,
    pub(super) high: f32,
}

impl Range {
    pub(super) const fn above(low: f32) -> Self {
        Range {
            low,
            high: f32::INFINITY,
        }
    }

    /// A bit for each lane within.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn lanes<S: Simd>(self, simd: S, logits: S::Vector) -> u32 {
        logits.gt_mask(simd.splat(self.low)) & !logits.gt_mask(simd.splat(self.high))
    }
}

/// Hands the logits of `row` that are within `range` to `take`, in their order, with −0 as +0.
/// Returns how many are above it. `take` must be `#[inline(always)]`.
#[cfg_attr(not(unoptimized), inline(always))]
pub(super) fn for_each_within<S: Simd, L: Source>(
    simd: S,
    row: L,
    range: Range,
    mut take: impl FnMut(&[f32]),
) -> usize {
    let width = S::Vector::WIDTH;
    let (low, high) = (simd.splat(range.low), simd.splat(range.high));
    let mut packed = [0.0; ENOUGH + (TOGETHER + 1) * WIDEST];
    let mut unread = row;
    let mut count_above = 0;
    while unread.len() > 0 {
        let mut count = 0;
        while count < ENOUGH && unread.len() > 0 {
            let (block, others) = unread
                .split_at(TOGETHER * width)
                .unwrap_or((unread, L::empty()));
            unread = others;
            // Past the end −∞, which is in no range.
            let mut largest = simd.splat(f32::NEG_INFINITY);
            for register in 0..TOGETHER {
                (_, largest) = block.load(simd, register * width).min_max(largest);
            }
            if largest.gt_mask(low) == 0 {
                continue;
            }
            for register in 0..TOGETHER {
                let logits = block.load(simd, register * width) + simd.splat(0.0);
                let above = logits.gt_mask(high);
                let lanes = logits.gt_mask(low) & !above;
                count_above += above.count_ones() as usize;
                if let Some((_, places)) = packed.split_at_mut_checked(count)
                    && let Some(places) = places.first_chunk_mut()
                {
                    logits.compress(lanes, places);
                    count += lanes.count_ones() as usize;
                }
            }
        }
        take(packed.get(..count).unwrap_or(&[]));
    }
    count_above
}

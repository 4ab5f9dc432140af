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
/// `take` must be `#[inline(always)]`.
#[cfg_attr(not(unoptimized), inline(always))]
pub(super) fn for_each_within<S: Simd, L: Source>(
    simd: S,
    row: L,
    range: Range,
    mut take: impl FnMut(&[f32]),
) {
    let mut packed = [0.0; ENOUGH + (TOGETHER + 1) * WIDEST];
    let mut unread = row;
    while unread.len() > 0 {
        let mut count = 0;
        while count < ENOUGH && unread.len() > 0 {
            let (block, others) = unread
                .split_at(TOGETHER * S::Vector::WIDTH)
                .unwrap_or((unread, L::empty()));
            unread = others;
            let mut lanes = [0; TOGETHER];
            let mut all = 0;
            for (register, lanes) in lanes.iter_mut().enumerate() {
                // Past the end −∞, which is in no range.
                *lanes = range.lanes(simd, block.load(simd, register * S::Vector::WIDTH));
                all |= *lanes;
            }
            if all == 0 {
                continue;
            }
            for (register, lanes) in lanes.into_iter().enumerate() {
                let logits = block.load(simd, register * S::Vector::WIDTH) + simd.splat(0.0);
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
}

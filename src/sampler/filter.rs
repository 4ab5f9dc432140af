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

/// Packs the lanes of a register that `lanes` has a bit for behind `count` others, if there are
/// [`WIDEST`] places left, all of which may be overwritten. Returns the new count, which is no field
/// beside the places, so that it stays in a register.
#[cfg_attr(not(unoptimized), inline(always))]
pub(super) fn pack<V: Vector>(register: V, lanes: u32, places: &mut [f32], count: usize) -> usize {
    let free = places.get_mut(count..).unwrap_or(&mut []);
    match free.first_chunk_mut() {
        Some(free) => {
            register.compress(lanes, free);
            count + lanes.count_ones() as usize
        }
        None => count,
    }
}

/// The logits above `low` and not above `high`. No bound is NaN. It has an upper end unless that is +∞.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    pub(super) low: f32,
    pub(super) high: f32,
}

impl Range {
    /// A bit for each lane within.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn lanes<S: Simd>(self, simd: S, logits: S::Vector) -> u32 {
        logits.gt_mask(simd.splat(self.low)) & !logits.gt_mask(simd.splat(self.high))
    }
}

/// A range in registers.
struct Filter<V> {
    low: V,
    high: V,
    /// The middle of the range, and the square of the distance of its farther end. Logits that are
    /// all farther are not within. Rounding is monotonic, so that holds of what is computed too.
    middle: V,
    farthest: V,
    has_upper_end: bool,
    has_two_ends: bool,
}

impl<V: Vector> Filter<V> {
    #[cfg_attr(not(unoptimized), inline(always))]
    fn new<S: Simd<Vector = V>>(simd: S, range: Range) -> Self {
        let middle = 0.5 * range.low + 0.5 * range.high;
        let distance = (range.high - middle).max(middle - range.low);
        let farthest = distance * distance;
        Filter {
            low: simd.splat(range.low),
            high: simd.splat(range.high),
            middle: simd.splat(middle),
            farthest: simd.splat(farthest),
            has_upper_end: range.high < f32::INFINITY,
            has_two_ends: farthest < f32::INFINITY,
        }
    }

    /// Packs the logits within of up to [`TOGETHER`] registers.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn pack<S: Simd<Vector = V>, L: Source>(
        &self,
        simd: S,
        block: L,
        places: &mut [f32],
        counts: Counts,
    ) -> Counts {
        let Counts {
            mut within,
            mut above,
        } = counts;
        if !self.has_upper_end {
            let mut largest = self.low;
            for register in 0..TOGETHER {
                (_, largest) = largest.min_max(block.load(simd, register * V::WIDTH));
            }
            if largest.gt_mask(self.low) == 0 {
                return counts;
            }
            for register in 0..TOGETHER {
                let logits = block.load(simd, register * V::WIDTH) + simd.splat(0.0);
                within = pack(logits, logits.gt_mask(self.low), places, within);
            }
            return Counts { within, above };
        }
        if self.has_two_ends {
            let mut nearest = simd.splat(f32::INFINITY);
            for register in 0..TOGETHER {
                let distance = block.load(simd, register * V::WIDTH) - self.middle;
                (nearest, _) = nearest.min_max(distance * distance);
            }
            let all = u32::MAX >> (u32::BITS - V::WIDTH as u32);
            if nearest.gt_mask(self.farthest) == all {
                return counts;
            }
        }
        for register in 0..TOGETHER {
            // Past the end −∞, which is in no range.
            let logits = block.load(simd, register * V::WIDTH) + simd.splat(0.0);
            let lanes_above = logits.gt_mask(self.high);
            above += lanes_above.count_ones() as usize;
            let lanes = logits.gt_mask(self.low) & !lanes_above;
            within = pack(logits, lanes, places, within);
        }
        Counts { within, above }
    }
}

#[derive(Clone, Copy)]
struct Counts {
    within: usize,
    above: usize,
}

/// Hands the logits of `row` that are within `range` to `take`, in their order, with −0 as +0.
/// Returns how many are above it, if its lower end is −∞. `take` must be `#[inline(always)]`.
#[cfg_attr(not(unoptimized), inline(always))]
pub(super) fn for_each_within<S: Simd, L: Source>(
    simd: S,
    row: L,
    range: Range,
    mut take: impl FnMut(&[f32]),
) -> usize {
    let filter = Filter::new(simd, range);
    let mut places = [0.0; ENOUGH + (TOGETHER + 1) * WIDEST];
    let mut counts = Counts {
        within: 0,
        above: 0,
    };
    let mut unread = row;
    loop {
        counts.within = 0;
        let is_last = loop {
            // Whole blocks apart from the last: no load of theirs looks for the end.
            match unread.split_at(TOGETHER * S::Vector::WIDTH) {
                Ok((block, others)) => {
                    counts = filter.pack(simd, block, &mut places, counts);
                    unread = others;
                }
                Err(last) => {
                    counts = filter.pack(simd, last, &mut places, counts);
                    break true;
                }
            }
            if counts.within >= ENOUGH {
                break false;
            }
        };
        take(places.get(..counts.within).unwrap_or(&[]));
        if is_last {
            return counts.above;
        }
    }
}

//! The first pass over a row of several slices. Each lane has a maximum of its own, and from it the start of
//! its sum: many small numerators beside a large one are summed precisely in all lanes but that one.

use super::schedule::{AHEAD, BLOCK, NEAR};
use super::state::{Extremes, Maxima};
use crate::math::reduce::largest;
use crate::simd::{LANES, Simd, Vector};
use crate::source::{LINE, Source};

#[cfg_attr(not(unoptimized), inline(always))]
pub(super) fn maxima<S: Simd, L: Source>(simd: S, row: L) -> Maxima<S> {
    let is_far = row.len() > NEAR;
    let mut lanes = simd.splat(f32::NEG_INFINITY).group();
    let mut extremes = Extremes::new(simd);
    let mut unread = row;
    let last = loop {
        match unread.split_at(BLOCK) {
            Ok((block, others)) => {
                if is_far {
                    for line in 0..BLOCK / LINE {
                        block.prefetch(simd, AHEAD + line * LINE);
                    }
                }
                for (register, maximum) in lanes.as_mut().iter_mut().enumerate() {
                    let start = register * S::Vector::WIDTH;
                    let more = extremes.lower_by_four([
                        block.load(simd, start),
                        block.load(simd, LANES + start),
                        block.load(simd, 2 * LANES + start),
                        block.load(simd, 3 * LANES + start),
                    ]);
                    (_, *maximum) = maximum.min_max(more);
                }
                unread = others;
            }
            Err(last) => break last,
        }
    };
    for group in 0..BLOCK / LANES {
        for (register, maximum) in lanes.as_mut().iter_mut().enumerate() {
            let start = group * LANES + register * S::Vector::WIDTH;
            if start < last.len() {
                let logits = last.load(simd, start);
                extremes.add_first(simd, logits, S::Vector::WIDTH.min(last.len() - start));
                (_, *maximum) = maximum.min_max(logits);
            }
        }
    }
    let max = simd.splat(largest(simd, &lanes));
    extremes.highest = max;
    Maxima {
        max,
        are_usual: extremes.are_usual(simd),
        lanes,
    }
}

//! The largest logit of a row, and its column.

use crate::math::reduce::largest_lane;
use crate::rows::schedule::BLOCK;
use crate::simd::{Lanewise, Simd, Vector, lanes_of};
use crate::source::Source;

/// Registers that are compared side by side.
const UNROLL: usize = 4;

/// The largest logit; −∞ of an empty row, NaN if a logit is.
#[cfg_attr(not(unoptimized), inline(always))]
pub(super) fn maximum<S: Simd, L: Source>(simd: S, logits: L) -> f32 {
    simd.vectorize(
        #[inline(always)]
        move |simd| {
            let (zero, least) = (simd.splat(0.0), simd.splat(f32::MIN));
            let mut largest = [simd.splat(f32::NEG_INFINITY); UNROLL];
            // 0, or NaN from a logit that is NaN or +∞ on.
            let mut nan = [zero; UNROLL];
            let mut unread = logits;
            while unread.len() > 0 {
                let (block, others) = unread.split_at(BLOCK).unwrap_or((unread, L::empty()));
                for register in 0..block.len().div_ceil(S::Vector::WIDTH) {
                    let logits = block.load(simd, register * S::Vector::WIDTH);
                    let place = register % UNROLL;
                    (_, largest[place]) = largest[place].min_max(logits);
                    nan[place] = logits.max_keep_nan(least).mul_add(zero, nan[place]);
                }
                unread = others;
            }
            let mut maximum = f32::NEG_INFINITY;
            let mut has_nan = false;
            for (largest, nan) in largest.into_iter().zip(nan) {
                maximum = maximum.max(largest_lane(largest));
                has_nan |= lanes_of(nan).iter().any(|lane| lane.is_nan());
            }
            if has_nan && maximum < f32::INFINITY {
                return f32::NAN;
            }
            maximum
        },
    )
}

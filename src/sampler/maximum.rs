//! The largest logit of a row, and its column.

use crate::math::reduce::largest_lane;
use crate::simd::{Simd, Unrolled, Vector, lanes_of, unroll};
use crate::source::Source;

/// Registers that are compared side by side.
const UNROLL: usize = 4;

/// The largest logit; −∞ of an empty row, NaN if a logit is.
#[cfg_attr(not(unoptimized), inline(always))]
pub(super) fn maximum<S: Simd, L: Source>(simd: S, logits: L) -> f32 {
    simd.vectorize(
        #[inline(always)]
        move |simd| {
            let mut found = Found {
                largest: Unrolled::splat(simd.splat(f32::NEG_INFINITY)),
                nan: Unrolled::splat(simd.splat(0.0)),
            };
            // Whole parts apart from the last: no load of theirs looks for the end.
            let mut unread = logits;
            while let Ok((part, others)) = unread.split_at(UNROLL * S::Vector::WIDTH) {
                found.add(simd, part);
                unread = others;
            }
            found.add(simd, unread);
            let mut maximum = f32::NEG_INFINITY;
            let mut has_nan = false;
            for (largest, nan) in found.largest.0.into_iter().zip(found.nan.0) {
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

struct Found<V> {
    largest: Unrolled<V, UNROLL>,
    /// 0, or NaN from a logit that is NaN or +∞ on.
    nan: Unrolled<V, UNROLL>,
}

impl<V: Vector> Found<V> {
    /// Looks at up to [`UNROLL`] registers.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn add<S: Simd<Vector = V>, L: Source>(&mut self, simd: S, part: L) {
        let (zero, least) = (simd.splat(0.0), simd.splat(f32::MIN));
        unroll::<UNROLL>(
            #[inline(always)]
            |i| {
                let logits = part.load(simd, i * V::WIDTH);
                (_, self.largest.0[i]) = self.largest.0[i].min_max(logits);
                self.nan.0[i] = logits.max_keep_nan(least).mul_add(zero, self.nan.0[i]);
            },
        );
    }
}

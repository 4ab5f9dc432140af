//! One lane of plain `f32`: every target, unfused.

use super::{FIRST_HALF, HAS_VECTORS, LANES, Lanewise, Simd, Vector, operations::leaf};

/// Proof of nothing: plain arithmetic runs everywhere.
#[derive(Clone, Copy)]
pub(crate) struct Scalar;

impl Simd for Scalar {
    type Vector = f32;
    type Group = [f32; LANES];
    type Totals = [f64; LANES];
    const UNROLL: usize = if HAS_VECTORS { 8 } else { 1 };
    const LANE_BY_LANE: bool = !HAS_VECTORS;
    const COLUMN_BY_COLUMN: bool = !HAS_VECTORS;

    #[inline(never)]
    fn vectorize<R>(self, f: impl FnOnce(Self) -> R) -> R {
        f(self)
    }

    leaf! {
        fn splat(self, value: f32) -> f32 {
            value
        }

        fn group(self, register: f32) -> Self::Group {
            [register; LANES]
        }

        fn load(self, values: &[f32], fill: f32) -> f32 {
            values.first().copied().unwrap_or(fill)
        }
    }
}

/// Adds a lane to a total that is not −0. A target without vectors has no `f64` instructions either:
/// an addition is a call of some dozens of instructions. Most lanes of a short row are 0, which
/// changes nothing.
#[cfg_attr(not(unoptimized), inline(always))]
pub(crate) fn add_nonzero(total: &mut f64, value: f32) {
    if HAS_VECTORS || value != 0.0 {
        *total += f64::from(value);
    }
}

/// [`Scalar`] for columns one by one: a group is one lane. Without vectors 32 columns at once would be
/// 32 copies of the code for one.
#[derive(Clone, Copy)]
pub(crate) struct OneColumn;

impl Simd for OneColumn {
    type Vector = f32;
    type Group = [f32; 1];
    type Totals = [f64; 1];
    const GROUP_LANES: usize = 1;
    const UNROLL: usize = 1;

    #[inline(never)]
    fn vectorize<R>(self, f: impl FnOnce(Self) -> R) -> R {
        f(self)
    }

    leaf! {
        fn splat(self, value: f32) -> f32 {
            value
        }

        fn group(self, register: f32) -> Self::Group {
            [register]
        }

        fn load(self, values: &[f32], fill: f32) -> f32 {
            Scalar.load(values, fill)
        }
    }
}

impl Lanewise for f32 {
    const IS_FUSED: bool = false;

    leaf! {
        fn mul_add(self, factor: f32, addend: f32) -> f32 {
            self * factor + addend
        }

        fn max_keep_nan(self, bound: f32) -> f32 {
            if self < bound { bound } else { self }
        }

        fn low_bits_to_exponent(self) -> f32 {
            f32::from_bits(self.to_bits() << 23)
        }

        fn first_half(self) -> f32 {
            f32::from_bits(self.to_bits() & FIRST_HALF)
        }
    }
}

impl Vector for f32 {
    const WIDTH: usize = 1;
    type Square = [f32; 1];
    const FOLD_DISTANCES: [usize; 4] = [0, 0, 0, 0];

    leaf! {
        fn square(self) -> Self::Square {
            [self]
        }

        fn transpose(_: &mut Self::Square) {}

        fn fold_pair(_: usize, a: f32, b: f32) -> (f32, f32) {
            (a, b)
        }

        fn exponent(self) -> f32 {
            (self.to_bits() >> 23) as f32 - 127.0
        }

        fn divide(self, divisor: Self) -> Self {
            self / divisor
        }

        fn store(self, values: &mut [f32]) {
            if let Some(value) = values.first_mut() {
                *value = self;
            }
        }

        fn add_to(self, totals: &mut [f64]) {
            if let Some(total) = totals.first_mut() {
                add_nonzero(total, self);
            }
        }

        fn min_drop_nan(self, bound: f32) -> f32 {
            if self < bound { self } else { bound }
        }

        fn min_max(self, other: f32) -> (f32, f32) {
            if self < other {
                (self, other)
            } else {
                (other, self)
            }
        }

        fn gt_mask(self, bound: f32) -> u32 {
            u32::from(self > bound)
        }

        fn select_eq(self, keys: f32, value: f32, replacement: f32) -> (f32, u32) {
            if keys == value {
                (replacement, 1)
            } else {
                (self, 0)
            }
        }

        fn and_gt(self, bound: f32, value: f32) -> f32 {
            if self > bound { value } else { 0.0 }
        }
    }
}

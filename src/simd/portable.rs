//! Eight lanes of [`wide::f32x8`], which picks SSE2, AVX, simd128 or NEON when it is compiled,
//! unfused. Targets without these run [`Scalar`](super::scalar::Scalar) in its place.

use super::{FIRST_HALF, LANES, Lanewise, Simd, Vector, operations::leaf};
use wide::{bytemuck::cast, f32x4, f32x8, u32x4, u32x8};

/// Proof of nothing: what `wide` was compiled to runs wherever the crate does.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

/// `wide`'s `fast_max` and `fast_min` return their second operand when one is NaN if they are
/// SSE's instructions, and their first (or NaN) in every other form.
const NAN_GIVES_SECOND: bool = cfg!(target_feature = "sse");

/// Whether `fast_max` and `fast_min` are instructions; `wide`'s plain form of them compares in an
/// order that can lose a NaN.
const HAS_INSTRUCTIONS: bool = cfg!(any(
    target_feature = "sse",
    target_feature = "simd128",
    all(target_feature = "neon", target_arch = "aarch64")
));

/// Not `f32x8::splat`, which contains `[value; 8]`; nor eight values in one array, of which the
/// compiler (1.95) makes the same.
#[cfg_attr(not(unoptimized), inline(always))]
fn splat(value: f32) -> f32x8 {
    let half = f32x4::new([value, value, value, value]);
    cast([half, half])
}

/// Copies as many values as the shorter of both has, at most 7. Of known lengths: no function is
/// called.
#[cfg_attr(not(unoptimized), inline(always))]
fn copy(values: &[f32], places: &mut [f32]) {
    let count = values.len().min(places.len());
    let mut done = 0;
    copy_chunk::<4>(values, places, count, &mut done);
    copy_chunk::<2>(values, places, count, &mut done);
    copy_chunk::<1>(values, places, count, &mut done);
}

#[cfg_attr(not(unoptimized), inline(always))]
fn copy_chunk<const LEN: usize>(
    values: &[f32],
    places: &mut [f32],
    count: usize,
    done: &mut usize,
) {
    if count & LEN != 0
        && let Some((_, values)) = values.split_at_checked(*done)
        && let Some((_, places)) = places.split_at_mut_checked(*done)
        && let Some(values) = values.first_chunk::<LEN>()
        && let Some(places) = places.first_chunk_mut::<LEN>()
    {
        *places = *values;
        *done += LEN;
    }
}

impl Simd for Portable {
    type Vector = f32x8;
    type Group = [f32x8; LANES / 8];
    type Totals = [f64; LANES];
    const UNROLL: usize = 4;
    const IS_SMALL: bool = cfg!(small);

    #[inline(never)]
    fn vectorize<R>(self, f: impl FnOnce(Self) -> R) -> R {
        f(self)
    }

    leaf! {
        fn splat(self, value: f32) -> f32x8 {
            splat(value)
        }

        fn group(self, register: f32x8) -> Self::Group {
            [register, register, register, register]
        }

        fn load(self, values: &[f32], fill: f32) -> f32x8 {
            match values.first_chunk() {
                Some(full) => f32x8::new(*full),
                None => {
                    // In registers: a wide load of what was just stored in pieces waits for it.
                    let at = |index: usize| values.get(index).copied().unwrap_or(fill);
                    f32x8::new([at(0), at(1), at(2), at(3), at(4), at(5), at(6), fill])
                }
            }
        }
    }
}

impl Lanewise for f32x8 {
    const IS_FUSED: bool = false;

    leaf! {
        fn mul_add(self, factor: Self, addend: Self) -> Self {
            // Not `f32x8::mul_add`: whether that one is fused depends on the build.
            self * factor + addend
        }

        fn max_keep_nan(self, bound: Self) -> Self {
            if NAN_GIVES_SECOND {
                bound.fast_max(self)
            } else {
                self.fast_max(bound)
            }
        }

        fn low_bits_to_exponent(self) -> Self {
            cast::<u32x8, f32x8>(cast::<f32x8, u32x8>(self) << 23_u32)
        }

        fn first_half(self) -> Self {
            let half = u32x4::new([FIRST_HALF, FIRST_HALF, FIRST_HALF, FIRST_HALF]);
            self & cast::<[u32x4; 2], f32x8>([half, half])
        }
    }
}

impl Vector for f32x8 {
    const WIDTH: usize = 8;
    type Square = [f32x8; 8];
    const FOLD_DISTANCES: [usize; 4] = [4, 1, 2, 0];

    leaf! {
        fn square(self) -> Self::Square {
            cast([[self, self, self, self], [self, self, self, self]])
        }

        fn transpose(square: &mut Self::Square) {
            *square = f32x8::transpose(*square);
        }

        fn fold_pair(step: usize, a: Self, b: Self) -> (Self, Self) {
            let ([a0, a1, a2, a3, a4, a5, a6, a7], [b0, b1, b2, b3, b4, b5, b6, b7]) =
                (a.to_array(), b.to_array());
            let (first, second) = match step {
                0 => (
                    [a0, a1, a2, a3, b0, b1, b2, b3],
                    [a4, a5, a6, a7, b4, b5, b6, b7],
                ),
                1 => (
                    [a0, a1, b0, b1, a4, a5, b4, b5],
                    [a2, a3, b2, b3, a6, a7, b6, b7],
                ),
                _ => (
                    [a0, a2, b0, b2, a4, a6, b4, b6],
                    [a1, a3, b1, b3, a5, a7, b5, b7],
                ),
            };
            (f32x8::new(first), f32x8::new(second))
        }

        fn exponent(self) -> Self {
            // As the low bits of 2^23, whose spacing is 1.
            let two_23 = splat((1_u32 << 23) as f32);
            let shifted = cast::<f32x8, u32x8>(self) >> 23_u32;
            let biased = cast::<u32x8, f32x8>(shifted | cast::<f32x8, u32x8>(two_23));
            biased - two_23 - splat(127.0)
        }

        fn divide(self, divisor: Self) -> Self {
            self / divisor
        }

        fn store(self, values: &mut [f32]) {
            let lanes = self.to_array();
            match values.first_chunk_mut() {
                Some(full) => *full = lanes,
                None => copy(&lanes, values),
            }
        }

        fn add_to(self, totals: &mut [f64]) {
            for (total, lane) in totals.iter_mut().zip(self.to_array()) {
                *total += f64::from(lane);
            }
        }

        fn min_drop_nan(self, bound: Self) -> Self {
            if NAN_GIVES_SECOND {
                self.fast_min(bound)
            } else {
                self.simd_lt(bound).bitselect(self, bound)
            }
        }

        fn min_max(self, other: Self) -> (Self, Self) {
            if HAS_INSTRUCTIONS {
                // The operands are swapped, so that of two instructions that each drop a NaN one
                // drops the first operand and one the second.
                (self.fast_min(other), other.fast_max(self))
            } else {
                let (mut smaller, mut larger) = (self.to_array(), other.to_array());
                for (a, b) in smaller.iter_mut().zip(&mut larger) {
                    (*a, *b) = a.min_max(*b);
                }
                (f32x8::new(smaller), f32x8::new(larger))
            }
        }

        fn gt_mask(self, bound: Self) -> u32 {
            self.simd_gt(bound).to_bitmask()
        }

        fn select_eq(self, keys: Self, value: Self, replacement: Self) -> (Self, u32) {
            let equal = keys.simd_eq(value);
            (
                equal.bitselect(replacement, self),
                equal.to_bitmask().count_ones(),
            )
        }

        fn and_gt(self, bound: Self, value: Self) -> Self {
            self.simd_gt(bound) & value
        }
    }
}

//! Four lanes of NEON: aarch64, fused.
//!
//! Where there is a [`Neon`] or an [`F32x4`], NEON is available: only detection makes the first,
//! and only with the first is the second made. So the `SAFETY` comments below are of memory only.

use crate::simd::operations::{leaf, operations};
use crate::simd::{FIRST_HALF, LANES, Lanewise, Simd, Vector, WIDEST};
use core::arch::aarch64::*;
use core::ops::{Add, Mul, Sub};

/// Proof that NEON is available, as on every aarch64 target with hardware floats.
#[derive(Clone, Copy)]
pub(crate) struct Neon(());

impl Neon {
    /// The proof, if this target has NEON.
    #[inline]
    pub(crate) fn detect() -> Option<Self> {
        cfg!(target_feature = "neon").then_some(Neon(()))
    }
}

/// A register; its existence is the proof that [`Neon`] is.
#[derive(Clone, Copy)]
pub(crate) struct F32x4(float32x4_t);

/// A bit for each lane, the lowest for the first.
// SAFETY: both types are four `u32`, which may have any bits.
const BIT_OF_LANE: uint32x4_t = unsafe { core::mem::transmute::<[u32; 4], _>([1, 2, 4, 8]) };

impl Simd for Neon {
    type Vector = F32x4;
    type Group = [F32x4; LANES / 4];
    type Totals = [f64; LANES];
    const UNROLL: usize = 8;

    #[inline(never)]
    fn vectorize<R>(self, f: impl FnOnce(Self) -> R) -> R {
        #[target_feature(enable = "neon")]
        fn run<R>(simd: Neon, f: impl FnOnce(Neon) -> R) -> R {
            f(simd)
        }
        // SAFETY: `self` proves that NEON is available.
        unsafe { run(self, f) }
    }

    leaf! {
        fn splat(self, value: f32) -> F32x4 {
            // SAFETY: no memory is touched.
            F32x4(unsafe { vdupq_n_f32(value) })
        }

        fn group(self, register: F32x4) -> Self::Group {
            [register; LANES / 4]
        }

        fn load(self, values: &[f32], fill: f32) -> F32x4 {
            if let Some(full) = values.first_chunk::<{ F32x4::WIDTH }>() {
                // SAFETY: the array has as many values as are read.
                return F32x4(unsafe { vld1q_f32(full.as_ptr()) });
            }
            let mut padded = [fill; F32x4::WIDTH];
            for (place, value) in padded.iter_mut().zip(values) {
                *place = *value;
            }
            // SAFETY: as above.
            F32x4(unsafe { vld1q_f32(padded.as_ptr()) })
        }
    }
}

operations! {
    impl Add for F32x4: add(a, b) = vaddq_f32(a, b);
    impl Sub for F32x4: sub(a, b) = vsubq_f32(a, b);
    impl Mul for F32x4: mul(a, b) = vmulq_f32(a, b);
}

impl Lanewise for F32x4 {
    const IS_FUSED: bool = true;

    operations! {
        mul_add(a, factor, addend) = vfmaq_f32(addend, a, factor);
        // A NaN in either operand is returned; `bound` has none.
        max_keep_nan(a, bound) = vmaxq_f32(a, bound);
        low_bits_to_exponent(a) =
            vreinterpretq_f32_u32(vshlq_n_u32::<23>(vreinterpretq_u32_f32(a)));
        first_half(a) =
            vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(a), vdupq_n_u32(FIRST_HALF)));
    }
}

impl Vector for F32x4 {
    const WIDTH: usize = 4;
    type Square = [Self; 4];
    const FOLD_DISTANCES: [usize; 4] = [1, 2, 0, 0];

    operations! {
        exponent(a) = {
            let biased = vcvtq_f32_u32(vshrq_n_u32::<23>(vreinterpretq_u32_f32(a)));
            vsubq_f32(biased, vdupq_n_f32(127.0))
        };
        divide(a, divisor) = vdivq_f32(a, divisor);
        // Both kinds of minimum return some NaN.
        min_drop_nan(a, bound) = vbslq_f32(vcltq_f32(a, bound), a, bound);
        min_max(a, b) -> (Self, Self) = (vminq_f32(a, b), vmaxq_f32(a, b));
        gt_mask(a, bound) -> u32 = vaddvq_u32(vandq_u32(vcgtq_f32(a, bound), BIT_OF_LANE));
        select_eq(a, keys, key, replacement) -> (Self, u32) = {
            let equal = vceqq_f32(keys, key);
            (vbslq_f32(equal, replacement, a), vaddvq_u32(vshrq_n_u32::<31>(equal)))
        };
        and_gt(a, bound, value) = vreinterpretq_f32_u32(
            vandq_u32(vcgtq_f32(a, bound), vreinterpretq_u32_f32(value)),
        );
    }

    leaf! {
        fn square(self) -> Self::Square {
            [self; 4]
        }

        fn fold_pair(step: usize, a: Self, b: Self) -> (Self, Self) {
            // SAFETY: no memory is touched.
            unsafe {
                if step == 0 {
                    let (a, b) = (vreinterpretq_f64_f32(a.0), vreinterpretq_f64_f32(b.0));
                    let (first, second) = (vtrn1q_f64(a, b), vtrn2q_f64(a, b));
                    (F32x4(vreinterpretq_f32_f64(first)), F32x4(vreinterpretq_f32_f64(second)))
                } else {
                    (F32x4(vuzp1q_f32(a.0, b.0)), F32x4(vuzp2q_f32(a.0, b.0)))
                }
            }
        }

        fn transpose(square: &mut Self::Square) {
            let [a, b, c, d] = *square;
            // SAFETY: no memory is touched.
            unsafe {
                let (ab_even, ab_odd) = (vtrn1q_f32(a.0, b.0), vtrn2q_f32(a.0, b.0));
                let (cd_even, cd_odd) = (vtrn1q_f32(c.0, d.0), vtrn2q_f32(c.0, d.0));
                let pairs = vreinterpretq_f64_f32;
                let lanes = vreinterpretq_f32_f64;
                let (even, more_even) = (pairs(ab_even), pairs(cd_even));
                let (odd, more_odd) = (pairs(ab_odd), pairs(cd_odd));
                *square = [
                    F32x4(lanes(vtrn1q_f64(even, more_even))),
                    F32x4(lanes(vtrn1q_f64(odd, more_odd))),
                    F32x4(lanes(vtrn2q_f64(even, more_even))),
                    F32x4(lanes(vtrn2q_f64(odd, more_odd))),
                ];
            }
        }

        fn store(self, values: &mut [f32]) {
            if let Some(full) = values.first_chunk_mut::<{ Self::WIDTH }>() {
                // SAFETY: the array has as many places as are written.
                return unsafe { vst1q_f32(full.as_mut_ptr(), self.0) };
            }
            let mut lanes = [0.0; Self::WIDTH];
            // SAFETY: as above.
            unsafe { vst1q_f32(lanes.as_mut_ptr(), self.0) };
            for (place, lane) in values.iter_mut().zip(lanes) {
                *place = lane;
            }
        }

        fn add_to(self, totals: &mut [f64]) {
            let Some(totals) = totals.first_chunk_mut::<{ Self::WIDTH }>() else {
                return;
            };
            let totals = totals.as_mut_ptr();
            // SAFETY: there are four totals; two are read and written, then two more.
            unsafe {
                let low = vcvt_f64_f32(vget_low_f32(self.0));
                vst1q_f64(totals, vaddq_f64(vld1q_f64(totals), low));
                let totals = totals.add(2);
                let high = vcvt_high_f64_f32(self.0);
                vst1q_f64(totals, vaddq_f64(vld1q_f64(totals), high));
            }
        }

        fn add_biased_to(self, bias: f64, sums: &mut [u64; WIDEST]) {
            let sums = sums.as_mut_ptr();
            // SAFETY: there are sixteen sums; two are read and written, then two more.
            unsafe {
                let bias = vdupq_n_f64(bias);
                let low = vaddq_f64(vcvt_f64_f32(vget_low_f32(self.0)), bias);
                vst1q_u64(sums, vaddq_u64(vld1q_u64(sums), vreinterpretq_u64_f64(low)));
                let sums = sums.add(2);
                let high = vaddq_f64(vcvt_high_f64_f32(self.0), bias);
                vst1q_u64(sums, vaddq_u64(vld1q_u64(sums), vreinterpretq_u64_f64(high)));
            }
        }
    }
}

//! Four lanes of NEON: aarch64, fused.

use crate::simd::{LANES, Lanewise, Simd, Vector};
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

impl F32x4 {
    const COUNT: usize = 4;
}

impl Simd for Neon {
    type Vector = F32x4;
    const UNROLL: usize = 8;

    #[inline(always)]
    fn vectorize<R>(self, f: impl FnOnce(Self) -> R) -> R {
        #[target_feature(enable = "neon")]
        #[inline(never)]
        fn run<R>(simd: Neon, f: impl FnOnce(Neon) -> R) -> R {
            f(simd)
        }
        // SAFETY: `self` proves that NEON is available.
        unsafe { run(self, f) }
    }

    #[inline(always)]
    fn splat(self, value: f32) -> F32x4 {
        // SAFETY: `self` proves that NEON is available.
        F32x4(unsafe { vdupq_n_f32(value) })
    }

    #[inline(always)]
    fn load(self, values: &[f32], fill: f32) -> F32x4 {
        if values.len() >= F32x4::COUNT {
            // SAFETY: the length was just checked; `self` proves that NEON is available.
            return F32x4(unsafe { vld1q_f32(values.as_ptr()) });
        }
        let mut padded = [fill; F32x4::COUNT];
        for (place, value) in padded.iter_mut().zip(values) {
            *place = *value;
        }
        // SAFETY: the array has four values; `self` proves that NEON is available.
        F32x4(unsafe { vld1q_f32(padded.as_ptr()) })
    }
}

impl Add for F32x4 {
    type Output = Self;
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: an `F32x4` exists, so NEON is available (`Neon::detect`).
        F32x4(unsafe { vaddq_f32(self.0, other.0) })
    }
}

impl Sub for F32x4 {
    type Output = Self;
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        // SAFETY: an `F32x4` exists, so NEON is available (`Neon::detect`).
        F32x4(unsafe { vsubq_f32(self.0, other.0) })
    }
}

impl Mul for F32x4 {
    type Output = Self;
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        // SAFETY: an `F32x4` exists, so NEON is available (`Neon::detect`).
        F32x4(unsafe { vmulq_f32(self.0, other.0) })
    }
}

impl Lanewise for F32x4 {
    #[inline(always)]
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        // SAFETY: an `F32x4` exists, so NEON is available (`Neon::detect`).
        F32x4(unsafe { vfmaq_f32(addend.0, self.0, factor.0) })
    }

    #[inline(always)]
    fn max_keep_nan(self, bound: Self) -> Self {
        // SAFETY: an `F32x4` exists, so NEON is available (`Neon::detect`).
        // A NaN in either operand is returned; `bound` has none.
        F32x4(unsafe { vmaxq_f32(self.0, bound.0) })
    }

    #[inline(always)]
    fn low_bits_to_exponent(self) -> Self {
        // SAFETY: an `F32x4` exists, so NEON is available (`Neon::detect`).
        F32x4(unsafe { vreinterpretq_f32_u32(vshlq_n_u32::<23>(vreinterpretq_u32_f32(self.0))) })
    }
}

impl Vector for F32x4 {
    const WIDTH: usize = Self::COUNT;
    type Group = [Self; LANES / Self::COUNT];

    #[inline(always)]
    fn group(self) -> Self::Group {
        [self; LANES / Self::COUNT]
    }

    #[inline(always)]
    fn divide(self, divisor: Self) -> Self {
        // SAFETY: an `F32x4` exists, so NEON is available (`Neon::detect`).
        F32x4(unsafe { vdivq_f32(self.0, divisor.0) })
    }

    #[inline(always)]
    fn store(self, values: &mut [f32]) {
        if values.len() >= Self::COUNT {
            // SAFETY: the length was just checked; an `F32x4` exists, so NEON is available.
            return unsafe { vst1q_f32(values.as_mut_ptr(), self.0) };
        }
        let mut lanes = [0.0; Self::COUNT];
        // SAFETY: the array has four places; an `F32x4` exists, so NEON is available.
        unsafe { vst1q_f32(lanes.as_mut_ptr(), self.0) };
        for (place, lane) in values.iter_mut().zip(lanes) {
            *place = lane;
        }
    }

    #[inline(always)]
    fn add_to(self, totals: &mut [f64]) {
        let Some(totals) = totals.first_chunk_mut::<{ Self::COUNT }>() else {
            return;
        };
        let totals = totals.as_mut_ptr();
        // SAFETY: there are four totals; an `F32x4` exists, so NEON is available (`Neon::detect`).
        unsafe {
            let low = vcvt_f64_f32(vget_low_f32(self.0));
            vst1q_f64(totals, vaddq_f64(vld1q_f64(totals), low));
            let totals = totals.add(2);
            let high = vcvt_high_f64_f32(self.0);
            vst1q_f64(totals, vaddq_f64(vld1q_f64(totals), high));
        }
    }

    #[inline(always)]
    fn min_drop_nan(self, bound: Self) -> Self {
        // SAFETY: an `F32x4` exists, so NEON is available (`Neon::detect`).
        // Both kinds of minimum return some NaN.
        F32x4(unsafe { vbslq_f32(vcltq_f32(self.0, bound.0), self.0, bound.0) })
    }

    #[inline(always)]
    fn min_max(self, other: Self) -> (Self, Self) {
        // SAFETY: an `F32x4` exists, so NEON is available (`Neon::detect`).
        unsafe {
            (
                F32x4(vminq_f32(self.0, other.0)),
                F32x4(vmaxq_f32(self.0, other.0)),
            )
        }
    }

    #[inline(always)]
    fn gt_mask(self, bound: Self) -> u32 {
        const BIT_OF_LANE: [u32; 4] = [1, 2, 4, 8];
        // SAFETY: an `F32x4` exists, so NEON is available (`Neon::detect`); the array has four values.
        unsafe {
            let greater = vcgtq_f32(self.0, bound.0);
            vaddvq_u32(vandq_u32(greater, vld1q_u32(BIT_OF_LANE.as_ptr())))
        }
    }

    #[inline(always)]
    fn select_eq(self, keys: Self, value: Self, replacement: Self) -> (Self, u32) {
        // SAFETY: an `F32x4` exists, so NEON is available (`Neon::detect`).
        unsafe {
            let equal = vceqq_f32(keys.0, value.0);
            (
                F32x4(vbslq_f32(equal, replacement.0, self.0)),
                vaddvq_u32(vshrq_n_u32::<31>(equal)),
            )
        }
    }

    #[inline(always)]
    fn and_gt(self, bound: Self, value: Self) -> Self {
        // SAFETY: an `F32x4` exists, so NEON is available (`Neon::detect`).
        F32x4(unsafe {
            let greater = vcgtq_f32(self.0, bound.0);
            vreinterpretq_f32_u32(vandq_u32(greater, vreinterpretq_u32_f32(value.0)))
        })
    }
}

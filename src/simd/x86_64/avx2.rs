//! Eight lanes of AVX2 with FMA: x86-64, fused.

use super::{align_stack, detect::features};
use crate::simd::{LANES, Lanewise, Simd, Vector};
use core::arch::x86_64::*;
use core::ops::{Add, Mul, Sub};

/// Proof that the processor has AVX2, FMA and POPCNT and that the operating system keeps their registers.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(());

impl Avx2 {
    /// The proof, if this machine can give it.
    #[inline]
    pub(crate) fn detect() -> Option<Self> {
        features().avx2.then_some(Avx2(()))
    }
}

/// A register; its existence is the proof that [`Avx2`] is.
#[derive(Clone, Copy)]
pub(crate) struct F32x8(__m256);

impl F32x8 {
    const COUNT: usize = 8;

    /// All bits set in the first `count` lanes.
    #[inline(always)]
    fn first_lanes(count: usize) -> __m256i {
        const ONES_THEN_ZEROS: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
        let start = Self::COUNT - count.min(Self::COUNT);
        // SAFETY: reads 8 of the 16 values from `start`, and `start <= 8`; AVX is available,
        // as callers hold an `Avx2` or an `F32x8`.
        unsafe { _mm256_loadu_si256(ONES_THEN_ZEROS.as_ptr().add(start).cast()) }
    }
}

impl Simd for Avx2 {
    type Vector = F32x8;
    const UNROLL: usize = 8;

    #[inline(always)]
    fn vectorize<R>(self, f: impl FnOnce(Self) -> R) -> R {
        #[target_feature(enable = "avx2,fma,popcnt")]
        #[inline(never)]
        fn run<R>(simd: Avx2, f: impl FnOnce(Avx2) -> R) -> R {
            align_stack::<__m256>();
            f(simd)
        }
        // SAFETY: `self` proves that AVX2, FMA and POPCNT are available.
        unsafe { run(self, f) }
    }

    #[inline(always)]
    fn prefetch(self, values: &[f32], distance: usize) {
        let address = values.as_ptr().wrapping_add(distance);
        // SAFETY: SSE is part of x86-64, and a prefetch of any address does nothing but that.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
    }

    #[inline(always)]
    fn splat(self, value: f32) -> F32x8 {
        // SAFETY: `self` proves that AVX2 is available.
        F32x8(unsafe { _mm256_set1_ps(value) })
    }

    #[inline(always)]
    fn load(self, values: &[f32], fill: f32) -> F32x8 {
        if values.len() >= F32x8::COUNT {
            // SAFETY: the length was just checked; `self` proves that AVX2 is available.
            return F32x8(unsafe { _mm256_loadu_ps(values.as_ptr()) });
        }
        let mask = F32x8::first_lanes(values.len());
        // SAFETY: only the first `values.len()` lanes are read, which the mask says;
        // `self` proves that AVX2 is available.
        F32x8(unsafe {
            let loaded = _mm256_maskload_ps(values.as_ptr(), mask);
            _mm256_blendv_ps(_mm256_set1_ps(fill), loaded, _mm256_castsi256_ps(mask))
        })
    }

    #[cfg(feature = "half")]
    #[inline(always)]
    fn load_upper_halves(self, halves: &[u16], fill: f32) -> F32x8 {
        match halves.first_chunk() {
            Some(full) => self.widen_upper_halves(full),
            None => {
                let mut padded = [(fill.to_bits() >> 16) as u16; F32x8::COUNT];
                for (place, half) in padded.iter_mut().zip(halves) {
                    *place = *half;
                }
                self.widen_upper_halves(&padded)
            }
        }
    }

    #[cfg(feature = "half")]
    #[inline(always)]
    fn load_pairs(self, pairs: &[u16]) -> F32x8 {
        let count = pairs.len() / 2;
        if count >= F32x8::COUNT {
            // SAFETY: the length was just checked; `self` proves that AVX2 is available.
            return F32x8(unsafe { _mm256_loadu_ps(pairs.as_ptr().cast()) });
        }
        let mask = F32x8::first_lanes(count);
        // SAFETY: only the first `count` pairs are read, which the mask says;
        // `self` proves that AVX2 is available.
        F32x8(unsafe { _mm256_maskload_ps(pairs.as_ptr().cast(), mask) })
    }
}

impl Avx2 {
    #[cfg(feature = "half")]
    #[inline(always)]
    fn widen_upper_halves(self, halves: &[u16; F32x8::COUNT]) -> F32x8 {
        // SAFETY: the array has as many values as are read; `self` proves that AVX2 is available.
        F32x8(unsafe {
            let halves = _mm_loadu_si128(halves.as_ptr().cast());
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(halves)))
        })
    }
}

impl Add for F32x8 {
    type Output = Self;
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: an `F32x8` exists, so AVX2 is available (`Avx2::detect`).
        F32x8(unsafe { _mm256_add_ps(self.0, other.0) })
    }
}

impl Sub for F32x8 {
    type Output = Self;
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        // SAFETY: an `F32x8` exists, so AVX2 is available (`Avx2::detect`).
        F32x8(unsafe { _mm256_sub_ps(self.0, other.0) })
    }
}

impl Mul for F32x8 {
    type Output = Self;
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        // SAFETY: an `F32x8` exists, so AVX2 is available (`Avx2::detect`).
        F32x8(unsafe { _mm256_mul_ps(self.0, other.0) })
    }
}

impl Lanewise for F32x8 {
    #[inline(always)]
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        // SAFETY: an `F32x8` exists, so FMA is available (`Avx2::detect`).
        F32x8(unsafe { _mm256_fmadd_ps(self.0, factor.0, addend.0) })
    }

    #[inline(always)]
    fn max_keep_nan(self, bound: Self) -> Self {
        // SAFETY: an `F32x8` exists, so AVX2 is available (`Avx2::detect`).
        // Of two operands with a NaN, the second is returned.
        F32x8(unsafe { _mm256_max_ps(bound.0, self.0) })
    }

    #[inline(always)]
    fn low_bits_to_exponent(self) -> Self {
        // SAFETY: an `F32x8` exists, so AVX2 is available (`Avx2::detect`).
        F32x8(unsafe { _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_castps_si256(self.0))) })
    }
}

impl Vector for F32x8 {
    const WIDTH: usize = Self::COUNT;
    type Group = [Self; LANES / Self::COUNT];

    #[inline(always)]
    fn group(self) -> Self::Group {
        [self; LANES / Self::COUNT]
    }

    #[inline(always)]
    fn divide(self, divisor: Self) -> Self {
        // SAFETY: an `F32x8` exists, so AVX2 is available (`Avx2::detect`).
        F32x8(unsafe { _mm256_div_ps(self.0, divisor.0) })
    }

    #[inline(always)]
    fn store(self, values: &mut [f32]) {
        if values.len() >= Self::COUNT {
            // SAFETY: the length was just checked; an `F32x8` exists, so AVX2 is available.
            return unsafe { _mm256_storeu_ps(values.as_mut_ptr(), self.0) };
        }
        let mask = Self::first_lanes(values.len());
        // SAFETY: only the first `values.len()` lanes are written, which the mask says;
        // an `F32x8` exists, so AVX2 is available.
        unsafe { _mm256_maskstore_ps(values.as_mut_ptr(), mask, self.0) }
    }

    #[inline(always)]
    fn add_to(self, totals: &mut [f64]) {
        let Some(totals) = totals.first_chunk_mut::<{ Self::COUNT }>() else {
            return;
        };
        let totals = totals.as_mut_ptr();
        // SAFETY: there are eight totals; an `F32x8` exists, so AVX2 is available (`Avx2::detect`).
        unsafe {
            let low = _mm256_cvtps_pd(_mm256_castps256_ps128(self.0));
            let high = _mm256_cvtps_pd(_mm256_extractf128_ps::<1>(self.0));
            _mm256_storeu_pd(totals, _mm256_add_pd(_mm256_loadu_pd(totals), low));
            let totals = totals.add(4);
            _mm256_storeu_pd(totals, _mm256_add_pd(_mm256_loadu_pd(totals), high));
        }
    }

    #[inline(always)]
    fn min_drop_nan(self, bound: Self) -> Self {
        // SAFETY: an `F32x8` exists, so AVX2 is available (`Avx2::detect`).
        // Of two operands with a NaN, the second is returned.
        F32x8(unsafe { _mm256_min_ps(self.0, bound.0) })
    }

    #[inline(always)]
    fn min_max(self, other: Self) -> (Self, Self) {
        // SAFETY: an `F32x8` exists, so AVX2 is available (`Avx2::detect`).
        // Of two operands with a NaN, the second is returned: once `other`, once `self`.
        unsafe {
            (
                F32x8(_mm256_min_ps(self.0, other.0)),
                F32x8(_mm256_max_ps(other.0, self.0)),
            )
        }
    }

    #[inline(always)]
    fn gt_mask(self, bound: Self) -> u32 {
        // SAFETY: an `F32x8` exists, so AVX2 is available (`Avx2::detect`).
        unsafe { _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(self.0, bound.0)).cast_unsigned() }
    }

    #[inline(always)]
    fn select_eq(self, keys: Self, value: Self, replacement: Self) -> (Self, u32) {
        // SAFETY: an `F32x8` exists, so AVX2 is available (`Avx2::detect`).
        unsafe {
            let equal = _mm256_cmp_ps::<_CMP_EQ_OQ>(keys.0, value.0);
            (
                F32x8(_mm256_blendv_ps(self.0, replacement.0, equal)),
                _mm256_movemask_ps(equal).count_ones(),
            )
        }
    }

    #[inline(always)]
    fn and_gt(self, bound: Self, value: Self) -> Self {
        // SAFETY: an `F32x8` exists, so AVX2 is available (`Avx2::detect`).
        unsafe {
            let greater = _mm256_cmp_ps::<_CMP_GT_OQ>(self.0, bound.0);
            F32x8(_mm256_and_ps(greater, value.0))
        }
    }

    #[cfg(feature = "half")]
    #[inline(always)]
    fn store_upper_halves(self, halves: &mut [u16]) {
        // SAFETY: an `F32x8` exists, so AVX2 is available (`Avx2::detect`).
        let rounded = unsafe {
            let bits = _mm256_castps_si256(self.0);
            let is_odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
            let to_even = _mm256_add_epi32(is_odd, _mm256_set1_epi32(0x7FFF));
            let rounded = _mm256_srli_epi32::<16>(_mm256_add_epi32(bits, to_even));
            let high = _mm256_extracti128_si256::<1>(rounded);
            _mm_packus_epi32(_mm256_castsi256_si128(rounded), high)
        };
        if let Some(full) = halves.first_chunk_mut::<{ Self::COUNT }>() {
            // SAFETY: the array has as many places as are written; an `F32x8` exists, so AVX2 is
            // available.
            return unsafe { _mm_storeu_si128(full.as_mut_ptr().cast(), rounded) };
        }
        let mut last = [0; Self::COUNT];
        // SAFETY: as above.
        unsafe { _mm_storeu_si128(last.as_mut_ptr().cast(), rounded) };
        for (place, half) in halves.iter_mut().zip(last) {
            *place = half;
        }
    }

    #[cfg(feature = "half")]
    #[inline(always)]
    fn store_in_pairs(self, pairs: &mut [u16]) {
        let count = pairs.len() / 2;
        if count >= Self::COUNT {
            // SAFETY: the length was just checked; an `F32x8` exists, so AVX2 is available.
            return unsafe { _mm256_storeu_ps(pairs.as_mut_ptr().cast(), self.0) };
        }
        let mask = Self::first_lanes(count);
        // SAFETY: only the first `count` pairs are written, which the mask says;
        // an `F32x8` exists, so AVX2 is available.
        unsafe { _mm256_maskstore_ps(pairs.as_mut_ptr().cast(), mask, self.0) }
    }
}

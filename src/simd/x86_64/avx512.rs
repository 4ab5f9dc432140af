//! Sixteen lanes of AVX-512F: x86-64, fused.
//!
//! Nothing beyond AVX-512F is used or enabled: with `avx512dq` and `avx512vl` together, compilers
//! from 1.95 on have been reported to miscompile (rust-lang/rust#158622).

use super::{align_stack, detect::features};
#[cfg(feature = "half")]
use crate::simd::half::Half;
use crate::simd::{LANES, Lanewise, Simd, Vector};
use core::arch::x86_64::*;
use core::ops::{Add, Mul, Sub};

/// Proof that the processor has AVX-512F and POPCNT and that the operating system keeps its registers.
#[derive(Clone, Copy)]
pub(crate) struct Avx512(());

impl Avx512 {
    /// The proof, if this machine can give it.
    #[inline]
    pub(crate) fn detect() -> Option<Self> {
        features().avx512.then_some(Avx512(()))
    }
}

/// A register; its existence is the proof that [`Avx512`] is.
#[derive(Clone, Copy)]
pub(crate) struct F32x16(__m512);

impl F32x16 {
    const COUNT: usize = 16;

    /// A one for each of the first `count` lanes, `count` below 16.
    #[inline(always)]
    fn first_lanes(count: usize) -> __mmask16 {
        (1 << (count & 15)) - 1
    }
}

impl Simd for Avx512 {
    type Vector = F32x16;
    const UNROLL: usize = 8;

    #[inline(always)]
    fn vectorize<R>(self, f: impl FnOnce(Self) -> R) -> R {
        #[target_feature(enable = "avx512f,popcnt")]
        #[inline(never)]
        fn run<R>(simd: Avx512, f: impl FnOnce(Avx512) -> R) -> R {
            align_stack::<__m512>();
            f(simd)
        }
        // SAFETY: `self` proves that AVX-512F and POPCNT are available.
        unsafe { run(self, f) }
    }

    #[inline(always)]
    fn prefetch(self, values: &[f32], distance: usize) {
        let address = values.as_ptr().wrapping_add(distance);
        // SAFETY: SSE is part of x86-64, and a prefetch of any address does nothing but that.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
    }

    #[inline(always)]
    fn splat(self, value: f32) -> F32x16 {
        // SAFETY: `self` proves that AVX-512F is available.
        F32x16(unsafe { _mm512_set1_ps(value) })
    }

    #[inline(always)]
    fn load(self, values: &[f32], fill: f32) -> F32x16 {
        if values.len() >= F32x16::COUNT {
            // SAFETY: the length was just checked; `self` proves that AVX-512F is available.
            return F32x16(unsafe { _mm512_loadu_ps(values.as_ptr()) });
        }
        let mask = F32x16::first_lanes(values.len());
        // SAFETY: only the first `values.len()` lanes are read, which the mask says;
        // `self` proves that AVX-512F is available.
        F32x16(unsafe { _mm512_mask_loadu_ps(_mm512_set1_ps(fill), mask, values.as_ptr()) })
    }

    #[cfg(feature = "half")]
    #[inline(always)]
    fn load_upper_halves(self, halves: &[u16], fill: f32) -> F32x16 {
        let halves = self.load_halves(halves, (fill.to_bits() >> 16) as u16);
        // SAFETY: `self` proves that AVX-512F is available.
        F32x16(unsafe {
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(halves)))
        })
    }

    #[cfg(feature = "half")]
    #[inline(always)]
    fn load_f16(self, halves: &[u16], fill: f32) -> F32x16 {
        let halves = self.load_halves(halves, half::f16::narrow(fill).to_bits());
        // SAFETY: `self` proves that AVX-512F is available.
        F32x16(unsafe { _mm512_cvtph_ps(halves) })
    }

    #[cfg(feature = "half")]
    #[inline(always)]
    fn load_pairs(self, pairs: &[u16]) -> F32x16 {
        let count = pairs.len() / 2;
        if count >= F32x16::COUNT {
            // SAFETY: the length was just checked; `self` proves that AVX-512F is available.
            return F32x16(unsafe { _mm512_loadu_ps(pairs.as_ptr().cast()) });
        }
        let mask = F32x16::first_lanes(count);
        // SAFETY: only the first `count` pairs are read, which the mask says;
        // `self` proves that AVX-512F is available.
        F32x16(unsafe { _mm512_maskz_loadu_ps(mask, pairs.as_ptr().cast()) })
    }
}

#[cfg(feature = "half")]
impl Avx512 {
    /// The first of `halves`; where there are fewer, `fill` takes their place.
    #[inline(always)]
    fn load_halves(self, halves: &[u16], fill: u16) -> __m256i {
        if let Some(full) = halves.first_chunk::<{ F32x16::COUNT }>() {
            // SAFETY: the array has as many values as are read; `self` proves that AVX is
            // available.
            return unsafe { _mm256_loadu_si256(full.as_ptr().cast()) };
        }
        let mut padded = [fill; F32x16::COUNT];
        for (place, half) in padded.iter_mut().zip(halves) {
            *place = *half;
        }
        // SAFETY: as above.
        unsafe { _mm256_loadu_si256(padded.as_ptr().cast()) }
    }
}

#[cfg(feature = "half")]
impl F32x16 {
    /// Writes to the first places of `halves`, or to all if there are fewer.
    #[inline(always)]
    fn store_halves(self, rounded: __m256i, halves: &mut [u16]) {
        if let Some(full) = halves.first_chunk_mut::<{ Self::COUNT }>() {
            // SAFETY: the array has as many places as are written; an `F32x16` exists, so AVX is
            // available.
            return unsafe { _mm256_storeu_si256(full.as_mut_ptr().cast(), rounded) };
        }
        let mut last = [0; Self::COUNT];
        // SAFETY: as above.
        unsafe { _mm256_storeu_si256(last.as_mut_ptr().cast(), rounded) };
        for (place, half) in halves.iter_mut().zip(last) {
            *place = half;
        }
    }
}

impl Add for F32x16 {
    type Output = Self;
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: an `F32x16` exists, so AVX-512F is available (`Avx512::detect`).
        F32x16(unsafe { _mm512_add_ps(self.0, other.0) })
    }
}

impl Sub for F32x16 {
    type Output = Self;
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        // SAFETY: an `F32x16` exists, so AVX-512F is available (`Avx512::detect`).
        F32x16(unsafe { _mm512_sub_ps(self.0, other.0) })
    }
}

impl Mul for F32x16 {
    type Output = Self;
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        // SAFETY: an `F32x16` exists, so AVX-512F is available (`Avx512::detect`).
        F32x16(unsafe { _mm512_mul_ps(self.0, other.0) })
    }
}

impl Lanewise for F32x16 {
    #[inline(always)]
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        // SAFETY: an `F32x16` exists, so AVX-512F is available (`Avx512::detect`).
        F32x16(unsafe { _mm512_fmadd_ps(self.0, factor.0, addend.0) })
    }

    #[inline(always)]
    fn max_keep_nan(self, bound: Self) -> Self {
        // SAFETY: an `F32x16` exists, so AVX-512F is available (`Avx512::detect`).
        // Of two operands with a NaN, the second is returned.
        F32x16(unsafe { _mm512_max_ps(bound.0, self.0) })
    }

    #[inline(always)]
    fn low_bits_to_exponent(self) -> Self {
        // SAFETY: an `F32x16` exists, so AVX-512F is available (`Avx512::detect`).
        F32x16(unsafe { _mm512_castsi512_ps(_mm512_slli_epi32::<23>(_mm512_castps_si512(self.0))) })
    }
}

impl Vector for F32x16 {
    const WIDTH: usize = Self::COUNT;
    type Group = [Self; LANES / Self::COUNT];

    #[inline(always)]
    fn group(self) -> Self::Group {
        [self; LANES / Self::COUNT]
    }

    #[inline(always)]
    fn divide(self, divisor: Self) -> Self {
        // SAFETY: an `F32x16` exists, so AVX-512F is available (`Avx512::detect`).
        F32x16(unsafe { _mm512_div_ps(self.0, divisor.0) })
    }

    #[inline(always)]
    fn store(self, values: &mut [f32]) {
        if values.len() >= Self::COUNT {
            // SAFETY: the length was just checked; an `F32x16` exists, so AVX-512F is available.
            return unsafe { _mm512_storeu_ps(values.as_mut_ptr(), self.0) };
        }
        let mask = Self::first_lanes(values.len());
        // SAFETY: only the first `values.len()` lanes are written, which the mask says;
        // an `F32x16` exists, so AVX-512F is available.
        unsafe { _mm512_mask_storeu_ps(values.as_mut_ptr(), mask, self.0) }
    }

    #[inline(always)]
    fn add_to(self, totals: &mut [f64]) {
        let Some(totals) = totals.first_chunk_mut::<{ Self::COUNT }>() else {
            return;
        };
        let totals = totals.as_mut_ptr();
        // SAFETY: there are sixteen totals; an `F32x16` exists, so AVX-512F is available
        // (`Avx512::detect`).
        unsafe {
            let upper_half = _mm512_extractf64x4_pd::<1>(_mm512_castps_pd(self.0));
            let low = _mm512_cvtps_pd(_mm512_castps512_ps256(self.0));
            let high = _mm512_cvtps_pd(_mm256_castpd_ps(upper_half));
            _mm512_storeu_pd(totals, _mm512_add_pd(_mm512_loadu_pd(totals), low));
            let totals = totals.add(8);
            _mm512_storeu_pd(totals, _mm512_add_pd(_mm512_loadu_pd(totals), high));
        }
    }

    #[inline(always)]
    fn min_drop_nan(self, bound: Self) -> Self {
        // SAFETY: an `F32x16` exists, so AVX-512F is available (`Avx512::detect`).
        // Of two operands with a NaN, the second is returned.
        F32x16(unsafe { _mm512_min_ps(self.0, bound.0) })
    }

    #[inline(always)]
    fn min_max(self, other: Self) -> (Self, Self) {
        // SAFETY: an `F32x16` exists, so AVX-512F is available (`Avx512::detect`).
        // Of two operands with a NaN, the second is returned: once `other`, once `self`.
        unsafe {
            (
                F32x16(_mm512_min_ps(self.0, other.0)),
                F32x16(_mm512_max_ps(other.0, self.0)),
            )
        }
    }

    #[inline(always)]
    fn gt_mask(self, bound: Self) -> u32 {
        // SAFETY: an `F32x16` exists, so AVX-512F is available (`Avx512::detect`).
        u32::from(unsafe { _mm512_cmp_ps_mask::<_CMP_GT_OQ>(self.0, bound.0) })
    }

    #[inline(always)]
    fn select_eq(self, keys: Self, value: Self, replacement: Self) -> (Self, u32) {
        // SAFETY: an `F32x16` exists, so AVX-512F is available (`Avx512::detect`).
        unsafe {
            let equal = _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(keys.0, value.0);
            (
                F32x16(_mm512_mask_mov_ps(self.0, equal, replacement.0)),
                equal.count_ones(),
            )
        }
    }

    #[inline(always)]
    fn and_gt(self, bound: Self, value: Self) -> Self {
        // SAFETY: an `F32x16` exists, so AVX-512F is available (`Avx512::detect`).
        unsafe {
            let greater = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(self.0, bound.0);
            F32x16(_mm512_maskz_mov_ps(greater, value.0))
        }
    }

    #[cfg(feature = "half")]
    #[inline(always)]
    fn store_upper_halves(self, halves: &mut [u16]) {
        // SAFETY: an `F32x16` exists, so AVX-512F is available (`Avx512::detect`).
        let rounded = unsafe {
            let lower_half = _mm512_set1_epi32(0xFFFF);
            let up = _mm512_add_epi32(_mm512_castps_si512(self.0), _mm512_set1_epi32(0x8000));
            // Of a tie nothing is left there.
            let is_tie = _mm512_testn_epi32_mask(up, lower_half);
            let even = _mm512_mask_and_epi32(up, is_tie, up, _mm512_set1_epi32(!0x1_0000));
            _mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(even))
        };
        self.store_halves(rounded, halves);
    }

    #[cfg(feature = "half")]
    #[inline(always)]
    fn store_f16(self, halves: &mut [u16]) {
        // SAFETY: an `F32x16` exists, so AVX-512F is available (`Avx512::detect`).
        let rounded =
            unsafe { _mm512_cvtps_ph::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(self.0) };
        self.store_halves(rounded, halves);
    }

    #[cfg(feature = "half")]
    #[inline(always)]
    fn store_in_pairs(self, pairs: &mut [u16]) {
        let count = pairs.len() / 2;
        if count >= Self::COUNT {
            // SAFETY: the length was just checked; an `F32x16` exists, so AVX-512F is available.
            return unsafe { _mm512_storeu_ps(pairs.as_mut_ptr().cast(), self.0) };
        }
        let mask = Self::first_lanes(count);
        // SAFETY: only the first `count` pairs are written, which the mask says;
        // an `F32x16` exists, so AVX-512F is available.
        unsafe { _mm512_mask_storeu_ps(pairs.as_mut_ptr().cast(), mask, self.0) }
    }
}

//! Sixteen lanes of AVX-512F: x86-64, fused.
//!
//! Nothing beyond AVX-512F is used or enabled: with `avx512dq` and `avx512vl` together, compilers
//! from 1.95 on have been reported to miscompile (rust-lang/rust#158622).
//!
//! Where there is an [`Avx512`] or an [`F32x16`], these instructions are available: only detection
//! makes the first, and only with the first is the second made. So the `SAFETY` comments below are
//! of memory only.

use super::{EVEN_LANES, ODD_LANES, align_stack, detect::features, squares};
use crate::simd::operations::{leaf, operations};
use crate::simd::past_caches::Fenced;
use crate::simd::{FIRST_HALF, LANES, Lanewise, Simd, Vector, WIDEST};
use core::arch::x86_64::*;
use core::ops::{Add, Mul, Sub};

/// Proof that the processor has AVX-512F and POPCNT and that the operating system keeps its
/// registers.
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
    leaf! {
        /// Transposes the four lanes of each quarter.
        fn transpose_lanes([a, b, c, d]: [Self; 4]) -> [Self; 4] {
            // SAFETY: no memory is touched.
            unsafe {
                let ab_low = _mm512_castps_pd(_mm512_unpacklo_ps(a.0, b.0));
                let ab_high = _mm512_castps_pd(_mm512_unpackhi_ps(a.0, b.0));
                let cd_low = _mm512_castps_pd(_mm512_unpacklo_ps(c.0, d.0));
                let cd_high = _mm512_castps_pd(_mm512_unpackhi_ps(c.0, d.0));
                [
                    F32x16(_mm512_castpd_ps(_mm512_unpacklo_pd(ab_low, cd_low))),
                    F32x16(_mm512_castpd_ps(_mm512_unpackhi_pd(ab_low, cd_low))),
                    F32x16(_mm512_castpd_ps(_mm512_unpacklo_pd(ab_high, cd_high))),
                    F32x16(_mm512_castpd_ps(_mm512_unpackhi_pd(ab_high, cd_high))),
                ]
            }
        }

        /// Transposes whole quarters.
        fn transpose_quarters([a, b, c, d]: [Self; 4]) -> [Self; 4] {
            // SAFETY: no memory is touched.
            unsafe {
                let ab_even = _mm512_shuffle_f32x4::<EVEN_LANES>(a.0, b.0);
                let ab_odd = _mm512_shuffle_f32x4::<ODD_LANES>(a.0, b.0);
                let cd_even = _mm512_shuffle_f32x4::<EVEN_LANES>(c.0, d.0);
                let cd_odd = _mm512_shuffle_f32x4::<ODD_LANES>(c.0, d.0);
                [
                    F32x16(_mm512_shuffle_f32x4::<EVEN_LANES>(ab_even, cd_even)),
                    F32x16(_mm512_shuffle_f32x4::<EVEN_LANES>(ab_odd, cd_odd)),
                    F32x16(_mm512_shuffle_f32x4::<ODD_LANES>(ab_even, cd_even)),
                    F32x16(_mm512_shuffle_f32x4::<ODD_LANES>(ab_odd, cd_odd)),
                ]
            }
        }

        /// A one for each of the first `count` lanes, `count` below 16.
        fn first_lanes(count: usize) -> __mmask16 {
            (1 << (count & 15)) - 1
        }

        /// Writes the first `count` lanes, or all if there are fewer.
        ///
        /// # Safety
        ///
        /// There must be that many places, of any alignment.
        unsafe fn store_first(self, count: usize, places: *mut f32) {
            if count >= Self::WIDTH {
                // SAFETY: the caller has places for all lanes.
                return unsafe { _mm512_storeu_ps(places, self.0) };
            }
            let mask = Self::first_lanes(count);
            // SAFETY: only lanes of the mask are written, for which the caller has places.
            unsafe { _mm512_mask_storeu_ps(places, mask, self.0) }
        }

        /// Writes to the first places of `halves`, or to all if there are fewer.
        #[cfg(feature = "half")]
        fn store_halves(self, rounded: __m256i, halves: &mut [u16]) {
            if let Some(full) = halves.first_chunk_mut::<{ Self::WIDTH }>() {
                // SAFETY: the array has as many places as are written.
                return unsafe { _mm256_storeu_si256(full.as_mut_ptr().cast(), rounded) };
            }
            let count = halves.len();
            // SAFETY: only pairs of the mask are written, and `halves` has as many.
            unsafe {
                let pairs = _mm512_castsi256_si512(rounded);
                let mask = Self::first_lanes(count / 2);
                _mm512_mask_storeu_epi32(halves.as_mut_ptr().cast(), mask, pairs);
            }
            if count % 2 == 1
                && let Some(last) = halves.last_mut()
            {
                // SAFETY: no memory is touched.
                *last = unsafe {
                    let index = _mm512_set1_epi32((count / 2) as i32);
                    let pairs = _mm512_castsi256_si512(rounded);
                    _mm512_cvtsi512_si32(_mm512_permutexvar_epi32(index, pairs)) as u16
                };
            }
        }
    }
}

#[cfg(feature = "half")]
impl Avx512 {
    leaf! {
        /// Widens the first of `halves`; where there are fewer, `fill` takes their place.
        fn widen_halves(
            self,
            halves: &[u16],
            fill: f32,
            widen: impl FnOnce(__m256i) -> __m512,
        ) -> F32x16 {
            if let Some(full) = halves.first_chunk::<{ F32x16::WIDTH }>() {
                // SAFETY: the array has as many values as are read.
                return F32x16(widen(unsafe { _mm256_loadu_si256(full.as_ptr().cast()) }));
            }
            let count = halves.len();
            // The last of an odd number is alone in its pair.
            let last = halves.last().map_or(0, |last| i32::from(*last));
            let place = ((count & 1) << (count / 2)) as __mmask16;
            // SAFETY: only pairs of the mask are read, and `halves` has as many.
            let loaded = unsafe {
                let mask = F32x16::first_lanes(count / 2);
                let pairs = _mm512_maskz_loadu_epi32(mask, halves.as_ptr().cast());
                _mm512_castsi512_si256(_mm512_mask_set1_epi32(pairs, place, last))
            };
            let lanes = F32x16::first_lanes(count);
            let widened = widen(loaded);
            // SAFETY: no memory is touched.
            F32x16(unsafe { _mm512_mask_blend_ps(lanes, _mm512_set1_ps(fill), widened) })
        }
    }
}

impl Simd for Avx512 {
    type Vector = F32x16;
    type Group = [F32x16; LANES / 16];
    type Totals = [f64; LANES];
    const UNROLL: usize = 8;

    // 33 columns take 0.55 to 0.7 times the time of a batch, 48 columns 0.6 to 0.75 times.
    const LONGEST_SHORT: usize = LANES + 16;
    const WRITES_PAST_CACHES: bool = true;

    #[inline(never)]
    fn vectorize<R>(self, f: impl FnOnce(Self) -> R) -> R {
        #[target_feature(enable = "avx512f,popcnt")]
        fn run<R>(simd: Avx512, f: impl FnOnce(Avx512) -> R) -> R {
            align_stack::<__m512>();
            f(simd)
        }
        // SAFETY: `self` proves that AVX-512F and POPCNT are available.
        unsafe { run(self, f) }
    }

    leaf! {
        fn prefetch(self, values: &[f32], distance: usize) {
            let address = values.as_ptr().wrapping_add(distance);
            // SAFETY: a prefetch of any address does nothing but that.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
        }

        fn splat(self, value: f32) -> F32x16 {
            // SAFETY: no memory is touched.
            F32x16(unsafe { _mm512_set1_ps(value) })
        }

        fn group(self, register: F32x16) -> Self::Group {
            [register; LANES / 16]
        }

        fn load(self, values: &[f32], fill: f32) -> F32x16 {
            if values.len() >= F32x16::WIDTH {
                // SAFETY: the length was just checked.
                return F32x16(unsafe { _mm512_loadu_ps(values.as_ptr()) });
            }
            // A load of no lane from an address without memory is slow.
            if values.is_empty() {
                return self.splat(fill);
            }
            let mask = F32x16::first_lanes(values.len());
            // SAFETY: only lanes of the mask are read, which `values` has.
            F32x16(unsafe { _mm512_mask_loadu_ps(_mm512_set1_ps(fill), mask, values.as_ptr()) })
        }
    }

    squares! { F32x16, _mm512_loadu_ps, _mm512_storeu_ps }

    leaf! {
        #[cfg(feature = "half")]
        fn load_upper_halves(self, halves: &[u16], fill: f32) -> F32x16 {
            self.widen_halves(
                halves,
                fill,
                #[inline(always)]
                // SAFETY: no memory is touched.
                |halves| unsafe {
                    _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(halves)))
                },
            )
        }

        #[cfg(feature = "half")]
        fn load_f16(self, halves: &[u16], fill: f32) -> F32x16 {
            self.widen_halves(
                halves,
                fill,
                #[inline(always)]
                // SAFETY: no memory is touched.
                |halves| unsafe { _mm512_cvtph_ps(halves) },
            )
        }

        #[cfg(feature = "half")]
        fn load_pairs(self, pairs: &[u16]) -> F32x16 {
            let count = pairs.len() / 2;
            if count >= F32x16::WIDTH {
                // SAFETY: the length was just checked.
                return F32x16(unsafe { _mm512_loadu_ps(pairs.as_ptr().cast()) });
            }
            let mask = F32x16::first_lanes(count);
            // SAFETY: only lanes of the mask are read, which `pairs` has.
            F32x16(unsafe { _mm512_maskz_loadu_ps(mask, pairs.as_ptr().cast()) })
        }
    }
}

operations! {
    impl Add for F32x16: add(a, b) = _mm512_add_ps(a, b);
    impl Sub for F32x16: sub(a, b) = _mm512_sub_ps(a, b);
    impl Mul for F32x16: mul(a, b) = _mm512_mul_ps(a, b);
}

impl Lanewise for F32x16 {
    const IS_FUSED: bool = true;

    operations! {
        mul_add(a, factor, addend) = _mm512_fmadd_ps(a, factor, addend);
        // Of two operands with a NaN, the second is returned.
        max_keep_nan(a, bound) = _mm512_max_ps(bound, a);
        low_bits_to_exponent(a) =
            _mm512_castsi512_ps(_mm512_slli_epi32::<23>(_mm512_castps_si512(a)));
        first_half(a) = _mm512_castsi512_ps(_mm512_and_epi32(
            _mm512_castps_si512(a),
            _mm512_set1_epi32(FIRST_HALF as i32),
        ));
    }
}

impl Vector for F32x16 {
    const WIDTH: usize = 16;
    type Square = [Self; 16];
    const FOLD_DISTANCES: [usize; 4] = [4, 8, 1, 2];

    operations! {
        exponent(a) = _mm512_getexp_ps(a);
        divide(a, divisor) = _mm512_div_ps(a, divisor);
        // Of two operands with a NaN, the second is returned.
        min_drop_nan(a, bound) = _mm512_min_ps(a, bound);
        // The same: once `b`, once `a`.
        min_max(a, b) -> (Self, Self) = (_mm512_min_ps(a, b), _mm512_max_ps(b, a));
        gt_mask(a, bound) -> u32 = u32::from(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(a, bound));
        select_eq(a, keys, key, replacement) -> (Self, u32) = {
            let equal = _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(keys, key);
            (_mm512_mask_mov_ps(a, equal, replacement), equal.count_ones())
        };
        and_gt(a, bound, value) =
            _mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(a, bound), value);
    }

    leaf! {
        fn square(self) -> Self::Square {
            [self; 16]
        }

        fn transpose(square: &mut Self::Square) {
            // Squares of 4 × 4 lanes first, which lie in the quarters of four registers each; then
            // the quarters of every fourth register.
            let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = *square;
            let [a, b, c, d] = Self::transpose_lanes([a, b, c, d]);
            let [e, f, g, h] = Self::transpose_lanes([e, f, g, h]);
            let [i, j, k, l] = Self::transpose_lanes([i, j, k, l]);
            let [m, n, o, p] = Self::transpose_lanes([m, n, o, p]);
            let [a, e, i, m] = Self::transpose_quarters([a, e, i, m]);
            let [b, f, j, n] = Self::transpose_quarters([b, f, j, n]);
            let [c, g, k, o] = Self::transpose_quarters([c, g, k, o]);
            let [d, h, l, p] = Self::transpose_quarters([d, h, l, p]);
            *square = [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p];
        }

        fn fold_pair(step: usize, a: Self, b: Self) -> (Self, Self) {
            // SAFETY: no memory is touched.
            unsafe {
                let (first, second) = match step {
                    0 => (
                        _mm512_shuffle_f32x4::<0b01_00_01_00>(a.0, b.0),
                        _mm512_shuffle_f32x4::<0b11_10_11_10>(a.0, b.0),
                    ),
                    1 => (
                        _mm512_shuffle_f32x4::<EVEN_LANES>(a.0, b.0),
                        _mm512_shuffle_f32x4::<ODD_LANES>(a.0, b.0),
                    ),
                    2 => {
                        let (a, b) = (_mm512_castps_pd(a.0), _mm512_castps_pd(b.0));
                        (
                            _mm512_castpd_ps(_mm512_unpacklo_pd(a, b)),
                            _mm512_castpd_ps(_mm512_unpackhi_pd(a, b)),
                        )
                    }
                    _ => (
                        _mm512_shuffle_ps::<EVEN_LANES>(a.0, b.0),
                        _mm512_shuffle_ps::<ODD_LANES>(a.0, b.0),
                    ),
                };
                (F32x16(first), F32x16(second))
            }
        }

        fn store(self, values: &mut [f32]) {
            // SAFETY: `values` has as many places as it says.
            unsafe { self.store_first(values.len(), values.as_mut_ptr()) }
        }

        fn store_past_caches(self, places: Fenced<'_>) {
            let places = places.places();
            let address = places.as_mut_ptr();
            let is_aligned = address.cast::<__m512>().is_aligned();
            // Miri does not know the instruction.
            if places.len() < Self::WIDTH || !is_aligned || cfg!(miri) {
                return self.store(places);
            }
            // SAFETY: length and alignment were just checked. `Fenced` places are borrowed by a
            // `PastCaches`, whose end is the fence that this store needs.
            unsafe { _mm512_stream_ps(address, self.0) }
        }

        fn add_to(self, totals: &mut [f64]) {
            let Some(totals) = totals.first_chunk_mut::<{ Self::WIDTH }>() else {
                return;
            };
            let totals = totals.as_mut_ptr();
            // SAFETY: there are sixteen totals; eight are read and written, then eight more.
            unsafe {
                let upper_half = _mm512_extractf64x4_pd::<1>(_mm512_castps_pd(self.0));
                let low = _mm512_cvtps_pd(_mm512_castps512_ps256(self.0));
                let high = _mm512_cvtps_pd(_mm256_castpd_ps(upper_half));
                _mm512_storeu_pd(totals, _mm512_add_pd(_mm512_loadu_pd(totals), low));
                let totals = totals.add(8);
                _mm512_storeu_pd(totals, _mm512_add_pd(_mm512_loadu_pd(totals), high));
            }
        }

        fn add_biased_to(self, bias: f64, sums: &mut [u64; WIDEST]) {
            let sums = sums.as_mut_ptr();
            // SAFETY: there are sixteen sums; eight are read and written, then eight more.
            unsafe {
                let bias = _mm512_set1_pd(bias);
                let upper_half = _mm512_extractf64x4_pd::<1>(_mm512_castps_pd(self.0));
                let low = _mm512_cvtps_pd(_mm512_castps512_ps256(self.0));
                let high = _mm512_cvtps_pd(_mm256_castpd_ps(upper_half));
                let low = _mm512_castpd_si512(_mm512_add_pd(low, bias));
                let high = _mm512_castpd_si512(_mm512_add_pd(high, bias));
                let first = sums.cast();
                _mm512_storeu_epi64(first, _mm512_add_epi64(_mm512_loadu_epi64(first), low));
                let last = sums.add(8).cast();
                _mm512_storeu_epi64(last, _mm512_add_epi64(_mm512_loadu_epi64(last), high));
            }
        }

        fn compress(self, lanes: u32, places: &mut [f32; WIDEST]) {
            // SAFETY: `places` has as many places as are written.
            unsafe {
                let compressed = _mm512_maskz_compress_ps(lanes as __mmask16, self.0);
                _mm512_storeu_ps(places.as_mut_ptr(), compressed);
            }
        }

        #[cfg(feature = "half")]
        fn store_upper_halves(self, halves: &mut [u16]) {
            // SAFETY: no memory is touched.
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
        fn store_f16(self, halves: &mut [u16]) {
            const TO_NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
            // SAFETY: no memory is touched.
            let rounded = unsafe { _mm512_cvtps_ph::<TO_NEAREST>(self.0) };
            self.store_halves(rounded, halves);
        }

        #[cfg(feature = "half")]
        fn store_in_pairs(self, pairs: &mut [u16]) {
            // SAFETY: a lane takes the place of two of `pairs`.
            unsafe { self.store_first(pairs.len() / 2, pairs.as_mut_ptr().cast()) }
        }
    }
}

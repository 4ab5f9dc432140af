//! Eight lanes of AVX2 with FMA: x86-64, fused.
//!
//! Where there is an [`Avx2`] or an [`F32x8`], these instructions are available: only detection
//! makes the first, and only with the first is the second made. So the `SAFETY` comments below are
//! of memory only.

use super::{EVEN_LANES, ODD_LANES, align_stack, detect::features, squares};
use crate::simd::operations::{leaf, operations};
use crate::simd::{FIRST_HALF, LANES, Lanewise, Simd, Vector, WIDEST};
use core::arch::x86_64::*;
use core::ops::{Add, Mul, Sub};

/// Proof that the processor has AVX2, FMA and POPCNT and that the operating system keeps their
/// registers.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(());

impl Avx2 {
    /// The proof, if this machine can give it.
    #[inline]
    pub(crate) fn detect() -> Option<Self> {
        features().avx2.then_some(Avx2(()))
    }

    leaf! {
        /// All bits set in the first `count` lanes.
        fn first_lanes(self, count: usize) -> __m256i {
            const ONES_THEN_ZEROS: [i32; 16] =
                [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
            let start = F32x8::WIDTH - count.min(F32x8::WIDTH);
            // SAFETY: reads 8 of the 16 values from `start`, and `start <= 8`.
            unsafe { _mm256_loadu_si256(ONES_THEN_ZEROS.as_ptr().add(start).cast()) }
        }
    }
}

/// A register; its existence is the proof that [`Avx2`] is.
#[derive(Clone, Copy)]
pub(crate) struct F32x8(__m256);

impl F32x8 {
    leaf! {
        /// Transposes the four lanes of each half.
        fn transpose_lanes([a, b, c, d]: [Self; 4]) -> [Self; 4] {
            // SAFETY: no memory is touched.
            unsafe {
                let ab_low = _mm256_castps_pd(_mm256_unpacklo_ps(a.0, b.0));
                let ab_high = _mm256_castps_pd(_mm256_unpackhi_ps(a.0, b.0));
                let cd_low = _mm256_castps_pd(_mm256_unpacklo_ps(c.0, d.0));
                let cd_high = _mm256_castps_pd(_mm256_unpackhi_ps(c.0, d.0));
                [
                    F32x8(_mm256_castpd_ps(_mm256_unpacklo_pd(ab_low, cd_low))),
                    F32x8(_mm256_castpd_ps(_mm256_unpackhi_pd(ab_low, cd_low))),
                    F32x8(_mm256_castpd_ps(_mm256_unpacklo_pd(ab_high, cd_high))),
                    F32x8(_mm256_castpd_ps(_mm256_unpackhi_pd(ab_high, cd_high))),
                ]
            }
        }

        /// Transposes whole halves.
        fn transpose_halves(a: Self, b: Self) -> [Self; 2] {
            // SAFETY: no memory is touched.
            unsafe {
                [
                    F32x8(_mm256_permute2f128_ps::<0x20>(a.0, b.0)),
                    F32x8(_mm256_permute2f128_ps::<0x31>(a.0, b.0)),
                ]
            }
        }

        /// Writes the first `count` lanes, or all if there are fewer.
        ///
        /// # Safety
        ///
        /// There must be that many places, of any alignment.
        unsafe fn store_first(self, count: usize, places: *mut f32) {
            if count >= Self::WIDTH {
                // SAFETY: the caller has places for all lanes.
                return unsafe { _mm256_storeu_ps(places, self.0) };
            }
            // The proof that `self` was made with.
            let mask = Avx2(()).first_lanes(count);
            // SAFETY: only lanes of the mask are written, for which the caller has places.
            unsafe { _mm256_maskstore_ps(places, mask, self.0) }
        }
    }
}

/// For each mask of lanes: the lanes that are in it, the lowest first, a byte each.
static COMPRESSED: [u64; 256] = {
    let mut table = [0; 256];
    let mut mask = 0;
    while mask < table.len() {
        let (mut lane, mut count) = (0, 0);
        while lane < F32x8::WIDTH {
            if mask >> lane & 1 == 1 {
                table[mask] |= (lane as u64) << (8 * count);
                count += 1;
            }
            lane += 1;
        }
        mask += 1;
    }
    table
};

impl Simd for Avx2 {
    type Vector = F32x8;
    type Group = [F32x8; LANES / 8];
    type Totals = [f64; LANES];
    const UNROLL: usize = 8;

    // 33 columns take 0.55 to 0.7 times the time of a batch, 48 columns 0.6 to 0.75 times.
    const LONGEST_SHORT: usize = LANES + 16;

    #[inline(never)]
    fn vectorize<R>(self, f: impl FnOnce(Self) -> R) -> R {
        #[target_feature(enable = "avx2,fma,popcnt")]
        fn run<R>(simd: Avx2, f: impl FnOnce(Avx2) -> R) -> R {
            align_stack::<__m256>();
            f(simd)
        }
        // SAFETY: `self` proves that AVX2, FMA and POPCNT are available.
        unsafe { run(self, f) }
    }

    leaf! {
        fn prefetch(self, values: &[f32], distance: usize) {
            let address = values.as_ptr().wrapping_add(distance);
            // SAFETY: a prefetch of any address does nothing but that.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
        }

        fn splat(self, value: f32) -> F32x8 {
            // SAFETY: no memory is touched.
            F32x8(unsafe { _mm256_set1_ps(value) })
        }

        fn group(self, register: F32x8) -> Self::Group {
            [register; LANES / 8]
        }

        fn load(self, values: &[f32], fill: f32) -> F32x8 {
            if values.len() >= F32x8::WIDTH {
                // SAFETY: the length was just checked.
                return F32x8(unsafe { _mm256_loadu_ps(values.as_ptr()) });
            }
            // A load of no lane from an address without memory is slow, and faults in QEMU 7.2.
            if values.is_empty() {
                return self.splat(fill);
            }
            let mask = self.first_lanes(values.len());
            // SAFETY: only lanes of the mask are read, which `values` has.
            F32x8(unsafe {
                let loaded = _mm256_maskload_ps(values.as_ptr(), mask);
                _mm256_blendv_ps(_mm256_set1_ps(fill), loaded, _mm256_castsi256_ps(mask))
            })
        }
    }

    squares! { F32x8, _mm256_loadu_ps, _mm256_storeu_ps }

    leaf! {
        #[cfg(feature = "half")]
        fn load_upper_halves(self, halves: &[u16], fill: f32) -> F32x8 {
            if let Some(full) = halves.first_chunk::<{ F32x8::WIDTH }>() {
                // SAFETY: the array has as many values as are read.
                return F32x8(unsafe {
                    let halves = _mm_loadu_si128(full.as_ptr().cast());
                    _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(halves)))
                });
            }
            let count = halves.len();
            // The last of an odd number is alone in its pair.
            let last = halves.last().map_or(0, |last| i32::from(*last) << 16);
            let lanes = self.first_lanes(count);
            // SAFETY: only pairs of the mask are read, and `halves` has as many.
            F32x8(unsafe {
                let mask = _mm256_castsi256_si128(self.first_lanes(count / 2));
                let pairs = _mm_maskload_epi32(halves.as_ptr().cast(), mask);
                let widened = _mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(pairs));
                let is_loaded = self.first_lanes(count & !1);
                let loaded = _mm256_blendv_epi8(_mm256_set1_epi32(last), widened, is_loaded);
                let fill = _mm256_set1_ps(fill);
                _mm256_blendv_ps(fill, _mm256_castsi256_ps(loaded), _mm256_castsi256_ps(lanes))
            })
        }

        #[cfg(feature = "half")]
        fn load_pairs(self, pairs: &[u16]) -> F32x8 {
            let count = pairs.len() / 2;
            if count >= F32x8::WIDTH {
                // SAFETY: the length was just checked.
                return F32x8(unsafe { _mm256_loadu_ps(pairs.as_ptr().cast()) });
            }
            let mask = self.first_lanes(count);
            // SAFETY: only lanes of the mask are read, which `pairs` has.
            F32x8(unsafe { _mm256_maskload_ps(pairs.as_ptr().cast(), mask) })
        }
    }
}

operations! {
    impl Add for F32x8: add(a, b) = _mm256_add_ps(a, b);
    impl Sub for F32x8: sub(a, b) = _mm256_sub_ps(a, b);
    impl Mul for F32x8: mul(a, b) = _mm256_mul_ps(a, b);
}

impl Lanewise for F32x8 {
    const IS_FUSED: bool = true;

    operations! {
        mul_add(a, factor, addend) = _mm256_fmadd_ps(a, factor, addend);
        // Of two operands with a NaN, the second is returned.
        max_keep_nan(a, bound) = _mm256_max_ps(bound, a);
        low_bits_to_exponent(a) =
            _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_castps_si256(a)));
        first_half(a) = _mm256_and_ps(a, _mm256_set1_ps(f32::from_bits(FIRST_HALF)));
    }
}

impl Vector for F32x8 {
    const WIDTH: usize = 8;
    type Square = [Self; 8];
    const FOLD_DISTANCES: [usize; 4] = [4, 1, 2, 0];

    operations! {
        exponent(a) = {
            let biased = _mm256_cvtepi32_ps(_mm256_srli_epi32::<23>(_mm256_castps_si256(a)));
            _mm256_sub_ps(biased, _mm256_set1_ps(127.0))
        };
        divide(a, divisor) = _mm256_div_ps(a, divisor);
        // Of two operands with a NaN, the second is returned.
        min_drop_nan(a, bound) = _mm256_min_ps(a, bound);
        // The same: once `b`, once `a`.
        min_max(a, b) -> (Self, Self) = (_mm256_min_ps(a, b), _mm256_max_ps(b, a));
        gt_mask(a, bound) -> u32 =
            _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(a, bound)).cast_unsigned();
        select_eq(a, keys, key, replacement) -> (Self, u32) = {
            let equal = _mm256_cmp_ps::<_CMP_EQ_OQ>(keys, key);
            (_mm256_blendv_ps(a, replacement, equal), _mm256_movemask_ps(equal).count_ones())
        };
        and_gt(a, bound, value) = _mm256_and_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(a, bound), value);
    }

    leaf! {
        fn square(self) -> Self::Square {
            [self; 8]
        }

        fn transpose(square: &mut Self::Square) {
            // Squares of 4 × 4 lanes first, which lie in the halves of four registers each; then
            // the halves of every fourth register.
            let [a, b, c, d, e, f, g, h] = *square;
            let upper = Self::transpose_lanes([a, b, c, d]);
            let lower = Self::transpose_lanes([e, f, g, h]);
            for i in 0..4 {
                [square[i], square[i + 4]] = Self::transpose_halves(upper[i], lower[i]);
            }
        }

        fn fold_pair(step: usize, a: Self, b: Self) -> (Self, Self) {
            if step == 0 {
                let [first, second] = Self::transpose_halves(a, b);
                return (first, second);
            }
            // SAFETY: no memory is touched.
            unsafe {
                if step == 1 {
                    let (a, b) = (_mm256_castps_pd(a.0), _mm256_castps_pd(b.0));
                    let (first, second) = (_mm256_unpacklo_pd(a, b), _mm256_unpackhi_pd(a, b));
                    (F32x8(_mm256_castpd_ps(first)), F32x8(_mm256_castpd_ps(second)))
                } else {
                    (
                        F32x8(_mm256_shuffle_ps::<EVEN_LANES>(a.0, b.0)),
                        F32x8(_mm256_shuffle_ps::<ODD_LANES>(a.0, b.0)),
                    )
                }
            }
        }

        fn store(self, values: &mut [f32]) {
            // SAFETY: `values` has as many places as it says.
            unsafe { self.store_first(values.len(), values.as_mut_ptr()) }
        }

        fn add_to(self, totals: &mut [f64]) {
            let Some(totals) = totals.first_chunk_mut::<{ Self::WIDTH }>() else {
                return;
            };
            let totals = totals.as_mut_ptr();
            // SAFETY: there are eight totals; four are read and written, then four more.
            unsafe {
                let low = _mm256_cvtps_pd(_mm256_castps256_ps128(self.0));
                let high = _mm256_cvtps_pd(_mm256_extractf128_ps::<1>(self.0));
                _mm256_storeu_pd(totals, _mm256_add_pd(_mm256_loadu_pd(totals), low));
                let totals = totals.add(4);
                _mm256_storeu_pd(totals, _mm256_add_pd(_mm256_loadu_pd(totals), high));
            }
        }

        fn add_biased_to(self, bias: f64, sums: &mut [u64; WIDEST]) {
            let sums = sums.as_mut_ptr();
            // SAFETY: there are sixteen sums; four are read and written, then four more.
            unsafe {
                let bias = _mm256_set1_pd(bias);
                let low = _mm256_cvtps_pd(_mm256_castps256_ps128(self.0));
                let high = _mm256_cvtps_pd(_mm256_extractf128_ps::<1>(self.0));
                let low = _mm256_castpd_si256(_mm256_add_pd(low, bias));
                let high = _mm256_castpd_si256(_mm256_add_pd(high, bias));
                let first = sums.cast();
                _mm256_storeu_si256(first, _mm256_add_epi64(_mm256_loadu_si256(first), low));
                let last = sums.add(4).cast();
                _mm256_storeu_si256(last, _mm256_add_epi64(_mm256_loadu_si256(last), high));
            }
        }

        fn compress(self, lanes: u32, places: &mut [f32; WIDEST]) {
            let sources = COMPRESSED[lanes as usize % COMPRESSED.len()];
            // SAFETY: `places` has as many places as are written.
            unsafe {
                let sources = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(sources.cast_signed()));
                let compressed = _mm256_permutevar8x32_ps(self.0, sources);
                _mm256_storeu_ps(places.as_mut_ptr(), compressed);
            }
        }

        #[cfg(feature = "half")]
        fn store_upper_halves(self, halves: &mut [u16]) {
            // SAFETY: no memory is touched.
            let rounded = unsafe {
                let bits = _mm256_castps_si256(self.0);
                let is_odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
                let to_even = _mm256_add_epi32(is_odd, _mm256_set1_epi32(0x7FFF));
                let rounded = _mm256_srli_epi32::<16>(_mm256_add_epi32(bits, to_even));
                let high = _mm256_extracti128_si256::<1>(rounded);
                _mm_packus_epi32(_mm256_castsi256_si128(rounded), high)
            };
            if let Some(full) = halves.first_chunk_mut::<{ Self::WIDTH }>() {
                // SAFETY: the array has as many places as are written.
                return unsafe { _mm_storeu_si128(full.as_mut_ptr().cast(), rounded) };
            }
            let count = halves.len();
            // The proof that `self` was made with.
            let mask = Avx2(()).first_lanes(count / 2);
            // SAFETY: only pairs of the mask are written, and `halves` has as many.
            unsafe {
                let mask = _mm256_castsi256_si128(mask);
                _mm_maskstore_epi32(halves.as_mut_ptr().cast(), mask, rounded);
            }
            if count % 2 == 1
                && let Some(last) = halves.last_mut()
            {
                // SAFETY: no memory is touched.
                *last = unsafe {
                    let index = _mm256_set1_epi32((count / 2) as i32);
                    let pairs = _mm256_castsi128_si256(rounded);
                    let pair = _mm256_permutevar8x32_epi32(pairs, index);
                    _mm256_cvtsi256_si32(pair) as u16
                };
            }
        }

        #[cfg(feature = "half")]
        fn store_in_pairs(self, pairs: &mut [u16]) {
            // SAFETY: a lane takes the place of two of `pairs`.
            unsafe { self.store_first(pairs.len() / 2, pairs.as_mut_ptr().cast()) }
        }
    }
}

//! What an algorithm may ask of an instruction set: the private traits [`Simd`] and [`Vector`].
//!
//! The algorithms are written once, generic over [`Simd`]. Each file below gives the operations of
//! one instruction set and contains no algorithm. A value of a `Simd` type is the proof that its
//! instructions may run: on x86-64 and aarch64 only detection, or a register that exists, makes
//! one.
//!
//! # Inlining
//!
//! An intrinsic becomes one instruction only inside a function that is compiled with its target
//! feature. [`Simd::vectorize`] is that function. Everything that it runs is inlined into it,
//! closures included. Code that is not inlined would turn each operation into a call.
//!
//! Builds of `opt-level` 0 are the exception (the cfg `unoptimized`, from `build.rs`). There
//! functions are not inlined, as each inlined copy keeps its own operands in the frame of the
//! function around it, and the frame would overflow a small stack: 850 KB. Real calls free their
//! frames. They are slow but sound: Rust's own ABI passes vectors in memory, whatever the features.
//!
//! Builds for size (`opt-level` "s" or "z") inline as well, but they do not unroll loops. A register
//! whose index is the counter of a loop is kept in memory, and `[value; N]` is such a loop. So an
//! instruction set and [`Unrolled`] contain no loop over registers ([`unroll`]): in wasm a softmax
//! built for size took nine times as long with them.
//!
//! # Two arithmetic classes
//!
//! Only [`Lanewise::mul_add`] and formulas that ask [`Lanewise::IS_FUSED`] tell them apart: fused
//! (one rounding: AVX2 with FMA, AVX-512, NEON) and unfused (two roundings: scalar, portable).
//! Every other operation is exact or correctly rounded, but for which of −0 and +0
//! [`Vector::min_max`] returns. So all backends of a class give the same bits.

use core::ops::{Add, Mul, Sub};

#[cfg(target_arch = "aarch64")]
pub(crate) mod aarch64;
#[cfg(feature = "half")]
pub(crate) mod half;
mod operations;
pub(crate) mod past_caches;
pub(crate) mod portable;
pub(crate) mod scalar;
mod unrolled;
#[cfg(target_arch = "x86_64")]
pub(crate) mod x86_64;

use operations::leaf;
use past_caches::Fenced;
pub(crate) use unrolled::{Unrolled, for_each_register, map_group, unroll, unroll_registers};

/// Virtual lanes of every backend. All sums of a row are taken in groups of this many, however many
/// registers a group needs, so the order of additions is the same everywhere.
pub(crate) const LANES: usize = 32;

/// Whether `wide` has vector instructions on this target. Without them one lane is faster.
pub(crate) const HAS_VECTORS: bool = cfg!(any(
    target_feature = "sse2",
    target_feature = "simd128",
    all(target_feature = "neon", target_arch = "aarch64")
));

/// Lanes of the widest register.
pub(crate) const WIDEST: usize = 16;

/// The bits that [`Lanewise::first_half`] keeps.
const FIRST_HALF: u32 = 0xFFFF_F000;

/// An instruction set that may be used here. It makes vectors.
pub(crate) trait Simd: Copy {
    /// One register.
    type Vector: Vector;

    /// The registers of a group.
    type Group: Copy + AsRef<[Self::Vector]> + AsMut<[Self::Vector]>;

    /// A total for each lane of a group.
    type Totals: Copy + Default + AsRef<[f64]> + AsMut<[f64]>;

    /// Lanes of a group: [`LANES`], but for [`OneColumn`](scalar::OneColumn).
    const GROUP_LANES: usize = LANES;

    /// Registers of a group.
    const REGISTERS: usize = Self::GROUP_LANES / Self::Vector::WIDTH;

    /// Whether a register has several lanes. A constant, so that no code is generated for rows as
    /// lanes where it is false.
    const HAS_LANES: bool = Self::Vector::WIDTH > 1;

    /// Registers of an [`Unrolled`] loop body, as measured: 4 or 8, and 1 where there
    /// are no vectors.
    const UNROLL: usize;

    /// The longest row of a matrix that is transposed, as measured: [`LANES`] columns or half as
    /// many more.
    const LONGEST_SHORT: usize = LANES;

    /// Whether the target has no vectors: sums go one virtual lane after another, so that the lane
    /// stays in registers, and passes go value by value. Otherwise the compiler may combine
    /// neighbouring lanes to vectors.
    const LANE_BY_LANE: bool = false;

    /// Whether columns are done by [`OneColumn`](scalar::OneColumn).
    const COLUMN_BY_COLUMN: bool = false;

    /// Whether the size of the code counts for more than some hundredths of its speed.
    const IS_SMALL: bool = false;

    /// Whether [`Vector::store_past_caches`] is more than a store, and worth it: a register is a
    /// cache line. With registers of half a line it takes 0.85 to 1.2 times the time.
    const WRITES_PAST_CACHES: bool = false;

    /// Runs `f` in a function of its own that is compiled for these instructions. It has all
    /// registers to itself, whatever its caller holds. `f` must be `#[inline(always)]`.
    ///
    /// Implementations are `#[inline(never)]` themselves. On a function with target features the
    /// compiler (1.95) ignores that attribute for calls from functions without them.
    fn vectorize<R>(self, f: impl FnOnce(Self) -> R) -> R;

    /// [`vectorize`](Self::vectorize)s an operation. There is one copy of it in a program, whoever
    /// calls this.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn run<O: WithSimd>(self, operation: O) -> O::Output {
        self.vectorize(
            #[inline(always)]
            move |simd| operation.with_simd(simd),
        )
    }

    leaf! {
        /// Asks for the memory `distance` values beyond the start of `values` to be fetched. The
        /// address may be anything.
        fn prefetch(self, values: &[f32], distance: usize) {
            let _ = (values, distance);
        }

        /// Register `index` of a group; zero if the group has no such register.
        fn register(self, group: &Group<Self>, index: usize) -> Self::Vector {
            match group.as_ref().get(index) {
                Some(register) => *register,
                None => self.splat(0.0),
            }
        }
    }

    /// `value` in every lane.
    fn splat(self, value: f32) -> Self::Vector;

    /// `register` in each place of a group.
    fn group(self, register: Self::Vector) -> Self::Group;

    /// The first [`Vector::WIDTH`] of `values`, and `fill` where there are fewer.
    fn load(self, values: &[f32], fill: f32) -> Self::Vector;

    leaf! {
        /// A square, each register of which is loaded as by [`load`](Self::load): register i from
        /// value i · `stride` on.
        fn load_square(self, values: &[f32], stride: usize, fill: f32) -> Square<Self> {
            let mut square = self.splat(fill).square();
            for (row, register) in square.as_mut().iter_mut().enumerate() {
                *register = self.load(values.get(row * stride..).unwrap_or(&[]), fill);
            }
            square
        }

        /// Writes the registers of a square, one after another, each as by [`Vector::store`]: the
        /// first `count` lanes of register i, or all if there are fewer, to the places from
        /// i · `stride` on.
        fn store_square(
            self,
            square: &Square<Self>,
            values: &mut [f32],
            stride: usize,
            count: usize,
        ) {
            for (row, register) in square.as_ref().iter().enumerate() {
                register.store(places_of(values, row * stride, count, Self::Vector::WIDTH));
            }
        }

        /// As [`load`](Self::load), of values that are given by the upper 16 bits of their
        /// representations (`bf16`).
        #[cfg(feature = "half")]
        fn load_upper_halves(self, halves: &[u16], fill: f32) -> Self::Vector {
            half::load_upper_halves(self, halves, fill)
        }

        /// As [`load`](Self::load), of values that are given by their representations as `f16`.
        #[cfg(feature = "half")]
        fn load_f16(self, halves: &[u16], fill: f32) -> Self::Vector {
            half::load_f16(self, halves, fill)
        }

        /// Loads what [`Vector::store_in_pairs`] stored, and 0 where there are fewer.
        #[cfg(feature = "half")]
        fn load_pairs(self, pairs: &[u16]) -> Self::Vector {
            half::load_pairs(self, pairs)
        }
    }
}

/// A computation for any instruction set: what [`dispatch`](crate::dispatch::dispatch) runs.
pub(crate) trait WithSimd {
    type Output;

    /// `#[inline(always)]` in every implementation.
    fn with_simd<S: Simd>(self, simd: S) -> Self::Output;
}

/// What is done to every lane alike, in one register or in an [`Unrolled`] array of registers.
/// "Exact" and "correctly rounded" are as in IEEE 754.
pub(crate) trait Lanewise:
    Copy + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self>
{
    /// Whether [`mul_add`](Self::mul_add) rounds once.
    const IS_FUSED: bool;

    /// `self · factor + addend`, with one rounding (fused class) or two (unfused).
    /// `vfmadd`, `fmla`; or a multiplication and an addition.
    fn mul_add(self, factor: Self, addend: Self) -> Self;

    /// The larger of `self` and `bound`; NaN where `self` is NaN. `vmaxps` with `self` as its
    /// second operand; `fmax`.
    fn max_keep_nan(self, bound: Self) -> Self;

    /// The low nine bits of each lane's representation as sign and exponent of a float with an
    /// empty mantissa. `vpslld` by 23; `shl`.
    fn low_bits_to_exponent(self) -> Self;

    /// The first 12 bits of each lane's significand; the others are 0. `and`.
    fn first_half(self) -> Self;
}

/// One register of `f32` lanes.
pub(crate) trait Vector: Lanewise {
    /// Lanes of one register: a divisor of [`LANES`], at most [`WIDEST`].
    const WIDTH: usize;

    /// As many registers as a register has lanes.
    type Square: Copy + AsRef<[Self]> + AsMut<[Self]>;

    /// A square with `self` in each register.
    fn square(self) -> Self::Square;

    /// Exchanges lane j of register i with lane i of register j.
    /// `vunpcklps`, `vunpckhps` and shuffles of larger parts.
    fn transpose(square: &mut Self::Square);

    /// In step i of [`fold_lanes`](crate::math::reduce::fold_lanes), two registers are combined whose
    /// numbers differ by this; 0 where there is no such step. In this order lane i becomes that of
    /// register i.
    const FOLD_DISTANCES: [usize; 4];

    /// For step `step` of [`fold_lanes`](crate::math::reduce::fold_lanes): lanes of `a` and `b`, and
    /// for each of them, in the same place, the lane of the same row that it is combined with.
    /// Shuffles of two operands: `vshuff32x4`, `vunpcklpd`, `vshufps`; `trn1`, `uzp1`.
    fn fold_pair(step: usize, a: Self, b: Self) -> (Self, Self);

    /// The quotient, correctly rounded. `vdivps`, `fdiv`.
    fn divide(self, divisor: Self) -> Self;

    /// floor(log2 x) of positive normal numbers x; another number for others.
    /// `vgetexpps`; or an integer shift and a conversion.
    fn exponent(self) -> Self;

    /// Writes the lanes to the first `WIDTH` places of `values`, or to all if there are fewer.
    fn store(self, values: &mut [f32]);

    /// Adds each lane to the first `WIDTH` of `totals`. Does nothing if there are fewer.
    fn add_to(self, totals: &mut [f64]);

    /// The smaller of `self` and `bound`; `bound` where `self` is NaN. `vminps`; or a comparison
    /// and a selection.
    fn min_drop_nan(self, bound: Self) -> Self;

    /// (smaller, larger). A NaN in either operand is in at least one of the two results.
    /// `vminps` and `vmaxps` with their operands exchanged; `fmin` and `fmax`.
    fn min_max(self, other: Self) -> (Self, Self);

    /// A bit for each lane, the lowest for the first: whether `self` is greater than `bound`.
    /// False for a NaN. `vcmpps` to a mask register, or `vcmpps` and `vmovmskps`.
    fn gt_mask(self, bound: Self) -> u32;

    /// `self`, with `replacement` in the lanes where `keys` equals `value`; and how many they are.
    /// `vcmpps` and `vblendvps`.
    fn select_eq(self, keys: Self, value: Self, replacement: Self) -> (Self, u32);

    /// `value` in the lanes where `self` is greater than `bound`, and zero in the others.
    /// `vcmpps` and `vandps`.
    fn and_gt(self, bound: Self, value: Self) -> Self;

    leaf! {
        /// Adds, modulo 2^64, the representation of each lane + `bias`, computed in `f64`, to the first
        /// `WIDTH` of `sums`. `vcvtps2pd`, `vaddpd` and `vpaddq`; `fcvtl`, `fadd` and `add`.
        fn add_biased_to(self, bias: f64, sums: &mut [u64; WIDEST]) {
            for (sum, lane) in sums.iter_mut().zip(lanes_of(self)).take(Self::WIDTH) {
                *sum = sum.wrapping_add((f64::from(lane) + bias).to_bits());
            }
        }

        /// As [`store`](Self::store), past the caches where a whole register goes to places that
        /// are aligned for it. `vmovntps`.
        fn store_past_caches(self, places: Fenced<'_>) {
            self.store(places.places());
        }

        /// Writes the lanes that `lanes` has a bit for, the lowest for the first, to the first of
        /// `places`, in their order. The other places up to `WIDTH` may be overwritten too.
        /// `vcompressps`, `vpermps`; or one lane after another.
        fn compress(self, lanes: u32, places: &mut [f32; WIDEST]) {
            // Without a branch: which lanes are wanted is not to be predicted.
            let mut count = 0;
            for (lane, value) in lanes_of(self).into_iter().enumerate().take(Self::WIDTH) {
                places[count % WIDEST] = value;
                count += (lanes >> lane & 1) as usize;
            }
        }

        /// Writes the upper 16 bits of the lanes' representations (`bf16`), rounded to nearest,
        /// ties to even, to the first `WIDTH` places of `halves`, or to all if there are fewer.
        /// `f32::NAN` stays a NaN; one whose payload is only in the lower half may not.
        #[cfg(feature = "half")]
        fn store_upper_halves(self, halves: &mut [u16]) {
            half::store_upper_halves(self, halves);
        }

        /// Writes the lanes as `f16`, rounded to nearest, ties to even, to the first `WIDTH` places
        /// of `halves`, or to all if there are fewer.
        #[cfg(feature = "half")]
        fn store_f16(self, halves: &mut [u16]) {
            half::store_f16(self, halves);
        }

        /// Writes each lane, all 32 bits, to two of the first 2 · `WIDTH` places of `pairs`, or to
        /// all if there are fewer.
        #[cfg(feature = "half")]
        fn store_in_pairs(self, pairs: &mut [u16]) {
            half::store_in_pairs(self, pairs);
        }
    }
}

/// As many registers as a register has lanes.
pub(crate) type Square<S> = <<S as Simd>::Vector as Vector>::Square;

/// The registers of a group.
pub(crate) type Group<S> = <S as Simd>::Group;

/// The places from `start` on for a register of `width` lanes, of which `count` are to be written.
#[cfg_attr(not(unoptimized), inline(always))]
pub(crate) fn places_of<T>(places: &mut [T], start: usize, count: usize, width: usize) -> &mut [T] {
    let from_start = places.get_mut(start..).unwrap_or(&mut []);
    // Nothing is compared where it is known to the compiler that all lanes are written.
    if count >= width || count >= from_start.len() {
        return from_start;
    }
    from_start.get_mut(..count).unwrap_or(&mut [])
}

/// A constant, which is copied: `[0.0; WIDEST]` is a loop.
const ZEROS: [f32; WIDEST] = [0.0; WIDEST];

/// The lanes of a register, and 0 past its end.
#[cfg_attr(not(unoptimized), inline(always))]
pub(crate) fn lanes_of<V: Vector>(register: V) -> [f32; WIDEST] {
    let mut lanes = ZEROS;
    register.store(&mut lanes);
    lanes
}

/// A group, loaded from as many values.
#[cfg_attr(not(unoptimized), inline(always))]
pub(crate) fn load_group<S: Simd>(simd: S, lanes: &[f32; LANES]) -> Group<S> {
    map_group::<S>(
        simd.group(simd.splat(0.0)),
        #[inline(always)]
        |index, _| {
            let start = index * S::Vector::WIDTH;
            simd.load(lanes.get(start..).unwrap_or(&[]), 0.0)
        },
    )
}

/// The lanes of a group.
#[cfg_attr(not(unoptimized), inline(always))]
pub(crate) fn store_group<S: Simd>(group: &Group<S>) -> [f32; LANES] {
    const ZEROS: [f32; LANES] = [0.0; LANES];
    let mut lanes = ZEROS;
    for (index, register) in group.as_ref().iter().enumerate() {
        let start = index * S::Vector::WIDTH;
        register.store(lanes.get_mut(start..).unwrap_or(&mut []));
    }
    lanes
}

#[cfg(test)]
mod tests {
    use super::{Simd, Vector, WIDEST, WithSimd, lanes_of};
    use crate::backend::Backend;
    use crate::dispatch::dispatch;
    use crate::math::reduce::fold_lanes;

    struct Transpose;

    impl WithSimd for Transpose {
        type Output = ();

        fn with_simd<S: Simd>(self, simd: S) {
            let width = S::Vector::WIDTH;
            let mut square = simd.splat(0.0).square();
            for (row, register) in square.as_mut().iter_mut().enumerate() {
                let values: [f32; WIDEST] = core::array::from_fn(|lane| (100 * row + lane) as f32);
                *register = simd.load(&values, 0.0);
            }
            S::Vector::transpose(&mut square);
            for (row, register) in square.as_ref().iter().enumerate() {
                let mut values = [0.0; WIDEST];
                register.store(&mut values);
                for (lane, value) in values[..width].iter().enumerate() {
                    assert_eq!(*value, (100 * lane + row) as f32, "{row}, {lane}");
                }
            }
        }
    }

    struct Fold;

    impl WithSimd for Fold {
        type Output = ();

        fn with_simd<S: Simd>(self, simd: S) {
            // The sum is exact, and differs for each row.
            let value = |row: usize, lane: usize| (1000 * row + lane * lane) as f32;
            let mut square = simd.splat(0.0).square();
            for (row, register) in square.as_mut().iter_mut().enumerate() {
                let values: [f32; WIDEST] = core::array::from_fn(|lane| value(row, lane));
                *register = simd.load(&values, 0.0);
            }
            let rows = square.as_mut();
            fold_lanes::<S::Vector>(|step, i, j| {
                let (first, second) = S::Vector::fold_pair(step, rows[i], rows[j]);
                rows[i] = first + second;
            });
            let width = S::Vector::WIDTH;
            for (row, sum) in lanes_of(rows[0])[..width].iter().enumerate() {
                let expected: f32 = (0..width).map(|lane| value(row, lane)).sum();
                assert_eq!(*sum, expected, "{row}");
            }
        }
    }

    #[test]
    fn the_fold_of_a_row_is_in_its_lane() {
        for backend in Backend::available() {
            dispatch(backend, Fold);
        }
    }

    #[test]
    fn transposes_turn_rows_into_lanes() {
        for backend in Backend::available() {
            dispatch(backend, Transpose);
        }
    }
}

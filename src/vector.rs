//! What an algorithm may ask of an instruction set: the private traits [`Simd`] and [`Vector`].
//!
//! The kernels are written once, generic over [`Simd`]; each file below this one gives the
//! operations of one instruction set and nothing else. A value of a `Simd` type is proof that its
//! instructions may run: [`Backend::dispatch`](crate::Backend) alone makes them, after asking the
//! processor.
//!
//! Everything from [`Simd::vectorize`] down to the operations is `#[inline(always)]`, closures included.
//! An intrinsic becomes a single instruction only inside a function compiled with its target
//! feature, and only those behind `vectorize` are: code that failed to be inlined there would turn each
//! operation into a call, and pass vectors by an ABI that depends on the caller's features.
//!
//! Two arithmetic classes exist, and only [`Lanewise::mul_add`] tells them apart: fused (one
//! rounding: AVX2 with FMA, AVX-512, NEON) and unfused (two: scalar, portable). All else is exact
//! or correctly rounded, so that within a class every backend gives the same bits.

#[cfg(feature = "half")]
use crate::half::{Half, narrow_register};
use core::ops::{Add, Mul, Sub};
#[cfg(feature = "half")]
use half::{bf16, f16, slice::HalfBitsSliceExt};

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
pub(crate) mod portable;
pub(crate) mod scalar;

/// Virtual lanes of every backend: a group of this many logits is the unit of all sums, however
/// many registers it takes, so that the order of additions is the same everywhere.
pub(crate) const LANES: usize = 32;

/// An instruction set that may be used here; makes vectors.
pub(crate) trait Simd: Copy {
    /// One register.
    type Vector: Vector;

    /// Registers of a group of [`LANES`].
    const REGISTERS: usize = LANES / Self::Vector::WIDTH;

    /// Registers of [`Unrolled`] that keep the units busiest, as measured: 4 or 8.
    const UNROLL: usize;

    /// Runs `task` in a function of its own, compiled for the instructions: what it needs has all
    /// registers to itself, whatever its caller holds.
    fn vectorize<T: SimdFnOnce<Self>>(self, task: T) -> T::Output;

    /// Asks for what lies `distance` beyond the start of `values`, which may be anything or nothing,
    /// to be brought nearer.
    #[inline(always)]
    fn prefetch(self, values: &[f32], distance: usize) {
        let _ = (values, distance);
    }

    /// One register of a group: zero if there are not so many.
    #[inline(always)]
    fn register(self, group: &Group<Self>, index: usize) -> Self::Vector {
        match group.as_ref().get(index) {
            Some(register) => *register,
            None => self.splat(0.0),
        }
    }

    /// `value` in every lane.
    fn splat(self, value: f32) -> Self::Vector;

    /// The first [`Vector::WIDTH`] of `values`; where there are fewer, `fill` takes their place.
    fn load(self, values: &[f32], fill: f32) -> Self::Vector;

    /// The same of values that are given by the upper halves of their representations; the lower
    /// are zero.
    #[cfg(feature = "half")]
    #[inline(always)]
    fn load_upper_halves(self, halves: &[u16], fill: f32) -> Self::Vector {
        let mut values = [fill; LANES];
        for (value, half) in values.iter_mut().zip(halves).take(Self::Vector::WIDTH) {
            *value = f32::from_bits(u32::from(*half) << 16);
        }
        self.load(&values, fill)
    }

    /// The same of values that are given by the representations of `f16`.
    #[cfg(feature = "half")]
    #[inline(always)]
    fn load_f16(self, halves: &[u16], fill: f32) -> Self::Vector {
        let mut values = [fill; LANES];
        for (value, half) in values.iter_mut().zip(halves).take(Self::Vector::WIDTH) {
            *value = f16::from_bits(*half).widen();
        }
        self.load(&values, fill)
    }

    /// What [`Vector::store_in_pairs`] stored; where there is less, 0 takes its place.
    #[cfg(feature = "half")]
    #[inline(always)]
    fn load_pairs(self, pairs: &[u16]) -> Self::Vector {
        let mut values = [0.0; LANES];
        for (value, pair) in values
            .iter_mut()
            .zip(pairs.as_chunks().0)
            .take(Self::Vector::WIDTH)
        {
            let [low, high] = *pair;
            *value = f32::from_bits(u32::from(low) | u32::from(high) << 16);
        }
        self.load(&values, 0.0)
    }
}

/// A computation on one instruction set.
pub(crate) trait SimdFnOnce<S: Simd> {
    type Output;

    /// `#[inline(always)]` in every implementation.
    fn run(self, simd: S) -> Self::Output;
}

/// What is done to every lane alike. "Exact" and "correctly rounded" are as in IEEE 754.
pub(crate) trait Lanewise:
    Copy + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self>
{
    /// `self · factor + addend`, with one rounding (fused class) or two (unfused).
    fn mul_add(self, factor: Self, addend: Self) -> Self;

    /// The larger of `self` and `bound`; a NaN in `self` stays.
    fn max_keep_nan(self, bound: Self) -> Self;

    /// The low nine bits of each lane's representation as sign and exponent of a float with an
    /// empty mantissa: a shift left by 23.
    fn low_bits_to_exponent(self) -> Self;
}

/// One register of `f32` lanes.
pub(crate) trait Vector: Lanewise {
    /// Lanes of one register: a divisor of [`LANES`].
    const WIDTH: usize;

    /// The registers that make up [`LANES`] lanes.
    type Group: Copy + AsRef<[Self]> + AsMut<[Self]>;

    /// A group with `self` in each register.
    fn group(self) -> Self::Group;

    /// The quotient, correctly rounded.
    fn divide(self, divisor: Self) -> Self;

    /// Writes the lanes to the first `WIDTH` places of `values`, or to all if there are fewer.
    fn store(self, values: &mut [f32]);

    /// Adds each lane to the first `WIDTH` of `totals`, or to all if there are fewer.
    fn add_to(self, totals: &mut [f64]);

    /// The smaller of `self` and `bound`; `bound` where `self` is NaN.
    fn min_drop_nan(self, bound: Self) -> Self;

    /// (smaller, larger). A NaN in either operand is in at least one of the results.
    fn min_max(self, other: Self) -> (Self, Self);

    /// A bit for each lane, the lowest for the first: whether that of `self` is greater than that of
    /// `bound`. Never because of a NaN.
    fn gt_mask(self, bound: Self) -> u32;

    /// The lanes for which `keys` equals `value` replaced by `replacement`, and how many they were.
    fn select_eq(self, keys: Self, value: Self, replacement: Self) -> (Self, u32);

    /// The lanes of `value` for which `self` is greater than `bound`; zero for the others.
    fn and_gt(self, bound: Self, value: Self) -> Self;

    /// Writes the upper halves of the lanes' representations, rounded to nearest, ties to even, to
    /// the first `WIDTH` places of `halves`, or to all if there are fewer. A NaN whose lower half
    /// is zero, as that of `f32::NAN` is, stays one.
    #[cfg(feature = "half")]
    #[inline(always)]
    fn store_upper_halves(self, halves: &mut [u16]) {
        narrow_register::<_, bf16>(self, halves.reinterpret_cast_mut());
    }

    /// Writes the representations of the lanes as `f16`, rounded likewise, to the first `WIDTH`
    /// places of `halves`, or to all if there are fewer.
    #[cfg(feature = "half")]
    #[inline(always)]
    fn store_f16(self, halves: &mut [u16]) {
        narrow_register::<_, f16>(self, halves.reinterpret_cast_mut());
    }

    /// Writes each lane to two of the first 2 · `WIDTH` places of `pairs`, or to all if there are
    /// fewer.
    #[cfg(feature = "half")]
    #[inline(always)]
    fn store_in_pairs(self, pairs: &mut [u16]) {
        let mut values = [0.0; LANES];
        self.store(&mut values);
        for (pair, value) in pairs
            .as_chunks_mut()
            .0
            .iter_mut()
            .zip(values)
            .take(Self::WIDTH)
        {
            let bits = value.to_bits();
            *pair = [bits as u16, (bits >> 16) as u16];
        }
    }
}

/// The registers that make up [`LANES`] lanes.
pub(crate) type Group<S> = <<S as Simd>::Vector as Vector>::Group;

/// Registers side by side: an operation on all of them is several that do not wait for each other,
/// which keeps the units of a processor busy through a long formula.
#[derive(Clone, Copy)]
pub(crate) struct Unrolled<V, const COUNT: usize>(pub(crate) [V; COUNT]);

macro_rules! for_each_register {
    ($trait:ident, $method:ident) => {
        impl<V: Lanewise, const COUNT: usize> $trait for Unrolled<V, COUNT> {
            type Output = Self;

            #[inline(always)]
            fn $method(mut self, other: Self) -> Self {
                for register in 0..COUNT {
                    self.0[register] = self.0[register].$method(other.0[register]);
                }
                self
            }
        }
    };
}

for_each_register!(Add, add);
for_each_register!(Sub, sub);
for_each_register!(Mul, mul);

impl<V: Lanewise, const COUNT: usize> Lanewise for Unrolled<V, COUNT> {
    #[inline(always)]
    fn mul_add(mut self, factor: Self, addend: Self) -> Self {
        for register in 0..COUNT {
            self.0[register] = self.0[register].mul_add(factor.0[register], addend.0[register]);
        }
        self
    }

    #[inline(always)]
    fn max_keep_nan(mut self, bound: Self) -> Self {
        for register in 0..COUNT {
            self.0[register] = self.0[register].max_keep_nan(bound.0[register]);
        }
        self
    }

    #[inline(always)]
    fn low_bits_to_exponent(mut self) -> Self {
        for register in 0..COUNT {
            self.0[register] = self.0[register].low_bits_to_exponent();
        }
        self
    }
}

/// Aligns the stack of the function that this is inlined into as `Register` is aligned. Compilers
/// align it to 16 bytes, and with it the registers that are kept there for a while, which are then
/// read and written across two lines of a cache, or two pages.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn align_stack<Register>() {
    core::hint::black_box(&core::mem::MaybeUninit::<Register>::uninit());
}

//! Conversions between half precision and `f32`, for values and registers. The plain forms serve
//! the instruction sets that have no instruction for it.

use super::{Simd, Vector, WIDEST};
use half::{bf16, f16, slice::HalfBitsSliceExt, slice::HalfFloatSliceExt};

/// A type of 16 bits. Both directions are free of branches, so that they become vector
/// instructions.
pub(crate) trait Half: Copy {
    /// Exact.
    fn widen(self) -> f32;

    /// The first of `halves` in a register; −∞ past the end.
    fn load<S: Simd>(simd: S, halves: &[Self]) -> S::Vector;

    /// To nearest, ties to even.
    fn narrow(value: f32) -> Self;

    /// The same of a register, to the first of `places`; nothing past the end.
    fn store<V: Vector>(results: V, places: &mut [Self]);

    /// The same memory.
    fn bits(halves: &mut [Self]) -> &mut [u16];
}

/// [`Half::store`] without instructions of its own, in loops of known length where there are any.
#[cfg_attr(not(unoptimized), inline(always))]
fn narrow_register<V: Vector, H: Half>(results: V, places: &mut [H]) {
    let mut wide = [0.0; WIDEST];
    results.store(&mut wide);
    let count = V::WIDTH.min(places.len());
    if let (Some(places), Some(wide)) = (places.get_mut(..V::WIDTH), wide.get(..V::WIDTH)) {
        narrow_all(places, wide);
    } else if let (Some(places), Some(wide)) = (places.get_mut(..count), wide.get(..count)) {
        narrow_all(places, wide);
    }
}

#[cfg_attr(not(unoptimized), inline(always))]
fn narrow_all<H: Half>(places: &mut [H], values: &[f32]) {
    for (place, value) in places.iter_mut().zip(values) {
        *place = H::narrow(*value);
    }
}

const INFINITY: u32 = f32::INFINITY.to_bits();
const SIGN: u32 = 1 << 31;

impl Half for bf16 {
    #[cfg_attr(not(unoptimized), inline(always))]
    fn widen(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn load<S: Simd>(simd: S, halves: &[Self]) -> S::Vector {
        simd.load_upper_halves(halves.reinterpret_cast(), f32::NEG_INFINITY)
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn narrow(value: f32) -> Self {
        let bits = value.to_bits();
        let rounded = bits.wrapping_add(0x7FFF + (bits >> 16 & 1)) >> 16;
        // The payload of a NaN might be in the bits that are cut off.
        let quiet = bits >> 16 | 0x40;
        let is_nan = bits & !SIGN > INFINITY;
        bf16::from_bits(if is_nan { quiet } else { rounded } as u16)
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn store<V: Vector>(results: V, places: &mut [Self]) {
        results.store_upper_halves(places.reinterpret_cast_mut());
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn bits(halves: &mut [Self]) -> &mut [u16] {
        halves.reinterpret_cast_mut()
    }
}

impl Half for f16 {
    #[cfg_attr(not(unoptimized), inline(always))]
    fn widen(self) -> f32 {
        let bits = u32::from(self.to_bits());
        // As an `f32` the exponent is too small by 127 − 15; so is that of a subnormal number.
        let scaled = f32::from_bits((bits & 0x7FFF) << 13) * f32::from_bits((127 + 112) << 23);
        let is_finite = bits & 0x7C00 != 0x7C00;
        let magnitude = if is_finite {
            scaled.to_bits()
        } else {
            scaled.to_bits() | INFINITY
        };
        f32::from_bits(magnitude | (bits & 0x8000) << 16)
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn load<S: Simd>(simd: S, halves: &[Self]) -> S::Vector {
        simd.load_f16(halves.reinterpret_cast(), f32::NEG_INFINITY)
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn narrow(value: f32) -> Self {
        let bits = value.to_bits();
        let magnitude = bits & !SIGN;
        // Below 2^−14 the spacing is that of ½ in `f32`, which therefore does the rounding.
        let small = (f32::from_bits(magnitude) + 0.5)
            .to_bits()
            .wrapping_sub(0.5_f32.to_bits());
        let rebiased = magnitude.wrapping_sub((127 - 15) << 23);
        let normal = rebiased.wrapping_add(0xFFF + (magnitude >> 13 & 1)) >> 13;
        let finite = if magnitude < (127 - 14) << 23 {
            small
        } else {
            normal
        };
        let special = if magnitude > INFINITY { 0x7E00 } else { 0x7C00 };
        let is_finite = magnitude < (127 + 16) << 23;
        let rounded = if is_finite { finite } else { special };
        f16::from_bits((rounded | (bits & SIGN) >> 16) as u16)
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn store<V: Vector>(results: V, places: &mut [Self]) {
        results.store_f16(places.reinterpret_cast_mut());
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn bits(halves: &mut [Self]) -> &mut [u16] {
        halves.reinterpret_cast_mut()
    }
}

/// [`Simd::load_upper_halves`] by value.
#[cfg_attr(not(unoptimized), inline(always))]
pub(super) fn load_upper_halves<S: Simd>(simd: S, halves: &[u16], fill: f32) -> S::Vector {
    load_by_value(simd, halves, fill, |half| bf16::from_bits(half).widen())
}

/// [`Simd::load_f16`] by value.
#[cfg_attr(not(unoptimized), inline(always))]
pub(super) fn load_f16<S: Simd>(simd: S, halves: &[u16], fill: f32) -> S::Vector {
    load_by_value(simd, halves, fill, |half| f16::from_bits(half).widen())
}

#[cfg_attr(not(unoptimized), inline(always))]
fn load_by_value<S: Simd>(
    simd: S,
    halves: &[u16],
    fill: f32,
    widen: impl Fn(u16) -> f32,
) -> S::Vector {
    let mut values = [fill; WIDEST];
    for (value, half) in values.iter_mut().zip(halves).take(S::Vector::WIDTH) {
        *value = widen(*half);
    }
    simd.load(&values, fill)
}

/// [`Simd::load_pairs`] by value.
#[cfg_attr(not(unoptimized), inline(always))]
pub(super) fn load_pairs<S: Simd>(simd: S, pairs: &[u16]) -> S::Vector {
    let mut values = [0.0; WIDEST];
    let pairs = pairs.as_chunks().0.iter();
    for (value, [low, high]) in values.iter_mut().zip(pairs).take(S::Vector::WIDTH) {
        *value = f32::from_bits(u32::from(*low) | u32::from(*high) << 16);
    }
    simd.load(&values, 0.0)
}

/// [`Vector::store_upper_halves`] by value.
#[cfg_attr(not(unoptimized), inline(always))]
pub(super) fn store_upper_halves<V: Vector>(register: V, halves: &mut [u16]) {
    narrow_register::<_, bf16>(register, halves.reinterpret_cast_mut());
}

/// [`Vector::store_f16`] by value.
#[cfg_attr(not(unoptimized), inline(always))]
pub(super) fn store_f16<V: Vector>(register: V, halves: &mut [u16]) {
    narrow_register::<_, f16>(register, halves.reinterpret_cast_mut());
}

/// [`Vector::store_in_pairs`] by value.
#[cfg_attr(not(unoptimized), inline(always))]
pub(super) fn store_in_pairs<V: Vector>(register: V, pairs: &mut [u16]) {
    let mut values = [0.0; WIDEST];
    register.store(&mut values);
    let places = pairs.as_chunks_mut().0.iter_mut();
    for (place, value) in places.zip(values).take(V::WIDTH) {
        let bits = value.to_bits();
        *place = [bits as u16, (bits >> 16) as u16];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Backend;
    use crate::dispatch::dispatch;
    use crate::simd::WithSimd;
    use std::{vec, vec::Vec};

    #[test]
    fn every_half_is_widened_as_by_the_crate_half() {
        for bits in 0..=u16::MAX {
            let (brain, ieee) = (bf16::from_bits(bits), f16::from_bits(bits));
            let same = |ours: f32, theirs: f32| {
                ours.to_bits() == theirs.to_bits() || ours.is_nan() && theirs.is_nan()
            };
            assert!(same(brain.widen(), brain.to_f32()), "bf16 {bits:#x}");
            assert!(same(ieee.widen(), ieee.to_f32()), "f16 {bits:#x}");
        }
    }

    #[test]
    fn floats_are_narrowed_as_by_the_crate_half() {
        // All exponents and signs, and the mantissas around each tie of both types.
        for high in 0..=u16::MAX {
            for low in [
                0, 1, 0x0FFF, 0x1000, 0x1001, 0x1FFF, 0x7FFF, 0x8000, 0x8001, 0xFFFF,
            ] {
                for ties in [0, 0x2000, 0x4000] {
                    let value = f32::from_bits(u32::from(high) << 16 | low ^ ties);
                    let (brain, ieee) = (bf16::narrow(value), f16::narrow(value));
                    if value.is_nan() {
                        assert!(brain.is_nan() && ieee.is_nan(), "{:#x}", value.to_bits());
                    } else {
                        assert_eq!(brain, bf16::from_f32(value), "{value:e}");
                        assert_eq!(ieee, f16::from_f32(value), "{value:e}");
                    }
                }
            }
        }
    }

    /// Widens halves in registers; narrows values, after they were stored in pairs.
    struct Convert<'a, H> {
        halves: &'a [H],
        widened: &'a mut [f32],
        values: &'a [f32],
        narrowed: &'a mut [H],
        pairs: &'a mut [u16],
    }

    impl<H: Half> WithSimd for Convert<'_, H> {
        type Output = ();

        #[cfg_attr(not(unoptimized), inline(always))]
        fn with_simd<S: Simd>(self, simd: S) {
            for start in (0..self.values.len()).step_by(S::Vector::WIDTH) {
                H::load(simd, &self.halves[start..]).store(&mut self.widened[start..]);
                let pairs = &mut self.pairs[2 * start..];
                simd.load(&self.values[start..], 0.0).store_in_pairs(pairs);
                H::store(simd.load_pairs(pairs), &mut self.narrowed[start..]);
            }
        }
    }

    fn registers_convert_as_single_values<H: Half>(lower_half: u32, of_bits: fn(u16) -> H) {
        // The last register is not full.
        let halves: Vec<H> = (0..u16::MAX).map(of_bits).collect();
        let values: Vec<f32> = (0..u16::MAX)
            .map(|upper| f32::from_bits(u32::from(upper) << 16 | lower_half))
            .map(|value| if value.is_nan() { f32::NAN } else { value })
            .collect();
        for backend in Backend::available() {
            let (mut widened, mut narrowed) = (vec![7.0; halves.len()], halves.clone());
            dispatch(
                backend,
                Convert {
                    halves: &halves,
                    widened: &mut widened,
                    values: &values,
                    narrowed: &mut narrowed,
                    pairs: &mut vec![7; 2 * halves.len()],
                },
            );
            let same = |a: f32, b: f32| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
            for (half, wide) in halves.iter().zip(widened) {
                assert!(same(half.widen(), wide), "{backend:?}: {wide:e}");
            }
            for (value, half) in values.iter().zip(narrowed) {
                let expected = H::narrow(*value).widen();
                assert!(same(half.widen(), expected), "{backend:?}: {value:e}");
            }
        }
    }

    #[test]
    fn registers_are_converted_as_single_values() {
        for lower_half in [0, 1, 0x1000, 0x3000, 0x7FFF, 0x8000, 0x8001, 0xFFFF] {
            registers_convert_as_single_values(lower_half, bf16::from_bits);
            registers_convert_as_single_values(lower_half, f16::from_bits);
        }
    }
}

//! Half precision: `bf16` and `f16` are widened as they are loaded, and rounded as they are stored.

use crate::error::Error;
use crate::kernel::{OutOfPlace, Source, SrcDst};
use crate::normalizer::Normalizer;
use crate::softmax::{Softmax, check_length};
use crate::top_k::Candidate;
use crate::vector::{LANES, Simd, Vector};
use half::{bf16, f16, slice::HalfFloatSliceExt};

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for half::bf16 {}
    impl Sealed for half::f16 {}
}

/// A type of logits: `f32`, `bf16` and `f16`.
///
/// The feature `half` makes the methods of [`Softmax`] that read logits take any of them. They are
/// widened in registers, and all is computed and summed as of `f32`: the results are, bit for bit,
/// those of logits that were converted before.
pub trait Logit: sealed::Sealed + Copy {
    #[doc(hidden)]
    fn normalizer(softmax: &Softmax<'_>, logits: &[Self]) -> Result<Normalizer, Error>;

    #[doc(hidden)]
    fn cross_entropy(softmax: &Softmax<'_>, logits: &[Self], target: usize) -> Result<f32, Error>;

    #[doc(hidden)]
    fn top_k<'b>(
        softmax: &Softmax<'_>,
        logits: &[Self],
        best: &'b mut [Candidate],
    ) -> Result<(Normalizer, &'b [Candidate]), Error>;
}

/// A type of results for logits of type `L`: `f32`, or `L` itself.
///
/// Those of half precision are the results in `f32`, rounded to nearest, ties to even; options
/// other than a sink and what a fully masked row is are refused with them
/// ([`Error::UnsupportedOption`]).
pub trait Probability<L>: sealed::Sealed + Copy {
    #[doc(hidden)]
    fn checked_row<const LOG: bool>(
        softmax: &Softmax<'_>,
        logits: &[L],
        results: &mut [Self],
    ) -> Result<Normalizer, Error>;

    #[doc(hidden)]
    fn checked_rows<const LOG: bool>(
        softmax: &Softmax<'_>,
        logits: &[L],
        columns: usize,
        results: &mut [Self],
    ) -> Result<(), Error>;

    #[doc(hidden)]
    fn checked_axis<const LOG: bool>(
        softmax: &Softmax<'_>,
        logits: &[L],
        shape: [usize; 3],
        results: &mut [Self],
    ) -> Result<(), Error>;
}

macro_rules! logit {
    ($type:ty) => {
        impl Logit for $type {
            fn normalizer(softmax: &Softmax<'_>, logits: &[Self]) -> Result<Normalizer, Error> {
                softmax.checked_normalizer(logits)
            }

            fn cross_entropy(
                softmax: &Softmax<'_>,
                logits: &[Self],
                target: usize,
            ) -> Result<f32, Error> {
                softmax.checked_cross_entropy(logits, target)
            }

            fn top_k<'b>(
                softmax: &Softmax<'_>,
                logits: &[Self],
                best: &'b mut [Candidate],
            ) -> Result<(Normalizer, &'b [Candidate]), Error> {
                softmax.checked_top_k(logits, best)
            }
        }
    };
}

macro_rules! probability {
    ($row:ident: $logit:ty => $probability:ty) => {
        impl Probability<$logit> for $probability {
            fn checked_row<const LOG: bool>(
                softmax: &Softmax<'_>,
                logits: &[$logit],
                results: &mut [Self],
            ) -> Result<Normalizer, Error> {
                check_length(logits.len(), results.len())?;
                softmax.checked_row::<LOG, _>($row { logits, results })
            }

            fn checked_rows<const LOG: bool>(
                softmax: &Softmax<'_>,
                logits: &[$logit],
                columns: usize,
                results: &mut [Self],
            ) -> Result<(), Error> {
                check_length(logits.len(), results.len())?;
                softmax.checked_rows::<LOG, _>($row { logits, results }, columns)
            }

            fn checked_axis<const LOG: bool>(
                softmax: &Softmax<'_>,
                logits: &[$logit],
                shape: [usize; 3],
                results: &mut [Self],
            ) -> Result<(), Error> {
                check_length(logits.len(), results.len())?;
                softmax.checked_axis::<LOG, _>($row { logits, results }, shape)
            }
        }
    };
}

logit!(f32);
logit!(bf16);
logit!(f16);
probability!(OutOfPlace: f32 => f32);
probability!(OutOfPlace: bf16 => f32);
probability!(OutOfPlace: f16 => f32);
probability!(Narrow: bf16 => bf16);
probability!(Narrow: f16 => f16);

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
#[inline(always)]
pub(crate) fn narrow_register<V: Vector, H: Half>(results: V, places: &mut [H]) {
    let mut wide = [0.0; LANES];
    results.store(&mut wide);
    let count = V::WIDTH.min(places.len());
    if let (Some(places), Some(wide)) = (places.get_mut(..V::WIDTH), wide.get(..V::WIDTH)) {
        narrow_all(places, wide);
    } else if let (Some(places), Some(wide)) = (places.get_mut(..count), wide.get(..count)) {
        narrow_all(places, wide);
    }
}

#[inline(always)]
fn narrow_all<H: Half>(places: &mut [H], values: &[f32]) {
    for (place, value) in places.iter_mut().zip(values) {
        *place = H::narrow(*value);
    }
}

const INFINITY: u32 = f32::INFINITY.to_bits();
const SIGN: u32 = 1 << 31;

impl Half for bf16 {
    #[inline(always)]
    fn widen(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }

    #[inline(always)]
    fn load<S: Simd>(simd: S, halves: &[Self]) -> S::Vector {
        simd.load_upper_halves(halves.reinterpret_cast(), f32::NEG_INFINITY)
    }

    #[inline(always)]
    fn narrow(value: f32) -> Self {
        let bits = value.to_bits();
        let rounded = bits.wrapping_add(0x7FFF + (bits >> 16 & 1)) >> 16;
        // The payload of a NaN might be in the bits that are cut off.
        let quiet = bits >> 16 | 0x40;
        let is_nan = bits & !SIGN > INFINITY;
        bf16::from_bits(if is_nan { quiet } else { rounded } as u16)
    }

    #[inline(always)]
    fn store<V: Vector>(results: V, places: &mut [Self]) {
        results.store_upper_halves(places.reinterpret_cast_mut());
    }

    #[inline(always)]
    fn bits(halves: &mut [Self]) -> &mut [u16] {
        halves.reinterpret_cast_mut()
    }
}

impl Half for f16 {
    #[inline(always)]
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

    #[inline(always)]
    fn load<S: Simd>(simd: S, halves: &[Self]) -> S::Vector {
        simd.load_f16(halves.reinterpret_cast(), f32::NEG_INFINITY)
    }

    #[inline(always)]
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

    #[inline(always)]
    fn store<V: Vector>(results: V, places: &mut [Self]) {
        results.store_f16(places.reinterpret_cast_mut());
    }

    #[inline(always)]
    fn bits(halves: &mut [Self]) -> &mut [u16] {
        halves.reinterpret_cast_mut()
    }
}

impl<H: Half> Source for &[H] {
    #[inline(always)]
    fn len(self) -> usize {
        <[H]>::len(self)
    }

    #[inline(always)]
    fn split_at(self, count: usize) -> Result<(Self, Self), Self> {
        self.split_at_checked(count).ok_or(self)
    }

    #[inline(always)]
    fn empty() -> Self {
        &[]
    }

    #[inline(always)]
    fn load<S: Simd>(self, simd: S, start: usize) -> S::Vector {
        H::load(simd, self.get(start..).unwrap_or(&[]))
    }

    #[inline(always)]
    fn at(self, index: usize) -> f32 {
        self.get(index)
            .map_or(f32::NEG_INFINITY, |half| half.widen())
    }
}

/// Results of the type of the logits, which no weight could wait in.
pub(crate) struct Narrow<'a, H> {
    pub(crate) logits: &'a [H],
    pub(crate) results: &'a mut [H],
}

impl<H: Half> SrcDst for Narrow<'_, H> {
    const HAS_SCRATCH: bool = false;

    #[inline(always)]
    fn len(&self) -> usize {
        self.results.len()
    }

    #[inline(always)]
    fn split_at(self, count: usize) -> Result<(Self, Self), Self> {
        if count > self.logits.len() || count > self.results.len() {
            return Err(self);
        }
        let (logits, other_logits) = self.logits.split_at(count);
        let (results, other_results) = self.results.split_at_mut(count);
        let others = Narrow {
            logits: other_logits,
            results: other_results,
        };
        Ok((Narrow { logits, results }, others))
    }

    #[inline(always)]
    fn logits(&self) -> impl Source {
        self.logits
    }

    #[inline(always)]
    fn store<V: Vector>(&mut self, start: usize, results: V) {
        H::store(results, self.results.get_mut(start..).unwrap_or(&mut []));
    }

    #[inline(always)]
    fn prefetch<S: Simd>(&self, _: S, _: usize) {}

    #[inline(always)]
    fn align_offset(&self) -> usize {
        0
    }

    #[inline(always)]
    fn part(&mut self, start: usize, len: usize) -> impl SrcDst {
        let range = start..start.saturating_add(len);
        match (self.logits.get(range.clone()), self.results.get_mut(range)) {
            (Some(logits), Some(results)) => Narrow { logits, results },
            _ => Narrow {
                logits: &[],
                results: &mut [],
            },
        }
    }

    #[inline(always)]
    fn stored(self) -> impl SrcDst {
        self
    }

    #[inline(always)]
    fn with_scratch(&mut self, columns: usize) -> Option<impl SrcDst> {
        let logits = self.logits.get(..columns)?;
        let (results, others) = self.results.split_at_mut_checked(columns)?;
        let weights = others.get_mut(..columns.checked_mul(2)?)?;
        Some(Scratch {
            logits,
            results,
            weights: H::bits(weights),
        })
    }
}

/// A row of a matrix, whose weights wait, each in two places, where later rows get their results.
struct Scratch<'a, L, H> {
    logits: L,
    results: &'a mut [H],
    weights: &'a mut [u16],
}

impl<L: Source, H: Half> SrcDst for Scratch<'_, L, H> {
    #[inline(always)]
    fn len(&self) -> usize {
        self.results.len()
    }

    #[inline(always)]
    fn split_at(self, count: usize) -> Result<(Self, Self), Self> {
        let (Ok((logits, other_logits)), true, true) = (
            self.logits.split_at(count),
            count <= self.results.len(),
            count <= self.weights.len() / 2,
        ) else {
            return Err(self);
        };
        let (results, other_results) = self.results.split_at_mut(count);
        let (weights, other_weights) = self.weights.split_at_mut(2 * count);
        let row = Scratch {
            logits,
            results,
            weights,
        };
        let others = Scratch {
            logits: other_logits,
            results: other_results,
            weights: other_weights,
        };
        Ok((row, others))
    }

    #[inline(always)]
    fn logits(&self) -> impl Source {
        self.logits
    }

    #[inline(always)]
    fn store<V: Vector>(&mut self, start: usize, weights: V) {
        weights.store_in_pairs(self.weights.get_mut(2 * start..).unwrap_or(&mut []));
    }

    #[inline(always)]
    fn prefetch<S: Simd>(&self, _: S, _: usize) {}

    #[inline(always)]
    fn align_offset(&self) -> usize {
        0
    }

    #[inline(always)]
    fn part(&mut self, start: usize, len: usize) -> impl SrcDst {
        let range = start..start.saturating_add(len);
        let in_pairs = 2 * range.start..2 * range.end.min(self.results.len());
        match (
            self.logits.part(start, len),
            self.results.get_mut(range),
            self.weights.get_mut(in_pairs),
        ) {
            (Some(logits), Some(results), Some(weights)) => Scratch {
                logits,
                results,
                weights,
            },
            _ => Scratch {
                logits: L::empty(),
                results: &mut [],
                weights: &mut [],
            },
        }
    }

    #[inline(always)]
    fn stored(self) -> impl SrcDst {
        FromScratch {
            weights: Pairs(self.weights),
            results: self.results,
        }
    }
}

/// Results, and the weights that they are to be made of.
struct FromScratch<'a, H> {
    weights: Pairs<'a>,
    results: &'a mut [H],
}

impl<H: Half> SrcDst for FromScratch<'_, H> {
    #[inline(always)]
    fn len(&self) -> usize {
        self.results.len()
    }

    #[inline(always)]
    fn split_at(self, count: usize) -> Result<(Self, Self), Self> {
        let (Ok((weights, other_weights)), true) =
            (self.weights.split_at(count), count <= self.results.len())
        else {
            return Err(self);
        };
        let (results, other_results) = self.results.split_at_mut(count);
        let others = FromScratch {
            weights: other_weights,
            results: other_results,
        };
        Ok((FromScratch { weights, results }, others))
    }

    #[inline(always)]
    fn logits(&self) -> impl Source {
        self.weights
    }

    #[inline(always)]
    fn store<V: Vector>(&mut self, start: usize, results: V) {
        H::store(results, self.results.get_mut(start..).unwrap_or(&mut []));
    }

    #[inline(always)]
    fn prefetch<S: Simd>(&self, _: S, _: usize) {}

    #[inline(always)]
    fn align_offset(&self) -> usize {
        0
    }

    #[inline(always)]
    fn part(&mut self, start: usize, len: usize) -> impl SrcDst {
        let range = start..start.saturating_add(len);
        match (self.weights.part(start, len), self.results.get_mut(range)) {
            (Some(weights), Some(results)) => FromScratch { weights, results },
            _ => FromScratch {
                weights: Pairs(&[]),
                results: &mut [],
            },
        }
    }

    #[inline(always)]
    fn stored(self) -> impl SrcDst {
        self
    }
}

/// Values of which each is in two places.
#[derive(Clone, Copy)]
struct Pairs<'a>(&'a [u16]);

impl Source for Pairs<'_> {
    #[inline(always)]
    fn len(self) -> usize {
        self.0.len() / 2
    }

    #[inline(always)]
    fn split_at(self, count: usize) -> Result<(Self, Self), Self> {
        if count > self.len() {
            return Err(self);
        }
        let (first, others) = self.0.split_at(2 * count);
        Ok((Pairs(first), Pairs(others)))
    }

    #[inline(always)]
    fn empty() -> Self {
        Pairs(&[])
    }

    #[inline(always)]
    fn load<S: Simd>(self, simd: S, start: usize) -> S::Vector {
        simd.load_pairs(self.0.get(2 * start..).unwrap_or(&[]))
    }

    #[inline(always)]
    fn at(self, index: usize) -> f32 {
        let pair = self.0.get(2 * index..).and_then(<[u16]>::first_chunk);
        pair.map_or(0.0, |[low, high]| {
            f32::from_bits(u32::from(*low) | u32::from(*high) << 16)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Backend;
    use crate::backend::WithSimd;
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

        #[inline(always)]
        fn run<S: Simd>(self, simd: S) {
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
            backend.dispatch(Convert {
                halves: &halves,
                widened: &mut widened,
                values: &values,
                narrowed: &mut narrowed,
                pairs: &mut vec![7; 2 * halves.len()],
            });
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

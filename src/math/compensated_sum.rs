//! Sums with a correction term.
//!
//! # Error bound
//!
//! One step, under the invariant of [`CompensatedSum`]: with the sum H ≥ 2 · scale and s =
//! fl(H + v), both H − s and (H − s) + scale are exact, so `low` gets H + scale · (1 + t) − s with
//! one rounding. Gappa proves it for H to 2^40 · scale (`tests/proofs/compensated_sum.gappa`);
//! beyond, v is less than half the spacing of H and the step is trivial. (Dekker's Fast2Sum:
//! Muller et al., "Handbook of Floating-Point Arithmetic", 2nd ed., theorem 4.3. Sums: Higham,
//! "Accuracy and Stability of Numerical Algorithms", 2nd ed., section 4.3.)
//!
//! m steps: what each leaves out is at most half the spacing of the sum, u · H with u = 2^−24. So
//! |low| ≤ m · u · H, its m − 1 roundings err by at most half their spacing, together less than
//! m² · u² · H / 2: 0.01 u of H for m = 64, the terms of a lane in a slice or a tile.
//!
//! A sum that begins at zero breaks the invariant where a term v exceeds the sum before it. Then
//! H − s is rounded, by at most u · v. These terms at least double the sum, and all of them are in
//! it, so they cost at most 1 u of the sum in all.

use super::exp::ScaledExp;
use super::two_float::TwoFloat;
use crate::simd::{Group, Lanewise, Simd, Vector, map_group};

/// A sum of numerators, one for each lane of a group, as two floats: the rounded sum, and the
/// sum of what rounding left out of it. It adds the numerators as they are before they are rounded.
///
/// Invariant (Dekker's Fast2Sum): when a numerator is added, the rounded sum of its lane is zero or
/// not smaller than it. Then (high − sum) + scale is exact. A sum that begins with a number that is
/// larger than every numerator ([`starting_at`](Self::starting_at)) keeps the invariant by itself;
/// one that begins at zero loses some bits of a numerator that exceeds the sum of those before it.
#[derive(Clone, Copy)]
pub(crate) struct CompensatedSum<S: Simd> {
    pub(crate) high: Group<S>,
    pub(crate) low: Group<S>,
}

/// Adds a rounded numerator to `high`. Returns what rounding left out.
#[cfg_attr(not(unoptimized), inline(always))]
pub(crate) fn add_rounded<V: Lanewise>(high: &mut V, numerator: ScaledExp<V>) -> V {
    let sum = *high + numerator.value();
    let correction = (*high - sum) + numerator.scale;
    *high = sum;
    numerator.scale.mul_add(numerator.expm1, correction)
}

/// The same without the invariant: the numerator may be larger than the sum. Two operations more.
#[cfg_attr(not(unoptimized), inline(always))]
pub(crate) fn add_unordered<V: Lanewise>(high: &mut V, numerator: ScaledExp<V>) -> V {
    let value = numerator.value();
    let rest = numerator
        .scale
        .mul_add(numerator.expm1, numerator.scale - value);
    let sum = TwoFloat::sum(*high, value);
    *high = sum.high;
    rest + sum.low
}

impl<S: Simd> CompensatedSum<S> {
    /// Zero.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn new(simd: S) -> Self {
        Self::starting_at(simd, &simd.group(simd.splat(0.0)))
    }

    /// A sum that begins with `sum_start`. In each lane that is a power of two larger than every
    /// numerator, or 0 if all are 0. [`remove_start`](Self::remove_start) subtracts it in the end.
    /// It should be small: the error of `low` grows with it.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn starting_at(simd: S, sum_start: &Group<S>) -> Self {
        let low = simd.group(simd.splat(0.0));
        Self::from_parts(*sum_start, low)
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn from_parts(high: Group<S>, low: Group<S>) -> Self {
        CompensatedSum { high, low }
    }

    /// Exact: the start is a power of two and at most the sum.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn remove_start(mut self, sum_start: &Group<S>) -> Self {
        self.high = map_group::<S>(
            self.high,
            #[inline(always)]
            |register, high| match sum_start.as_ref().get(register) {
                Some(sum_start) => high - *sum_start,
                None => high,
            },
        );
        self
    }

    /// Adds one numerator to each lane of a register.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn add(&mut self, register: usize, numerator: ScaledExp<S::Vector>) {
        if let (Some(high), Some(low)) = (
            self.high.as_mut().get_mut(register),
            self.low.as_mut().get_mut(register),
        ) {
            *low = *low + add_rounded(high, numerator);
        }
    }

    /// [`add`](Self::add) without the invariant.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn add_unordered(&mut self, register: usize, numerator: ScaledExp<S::Vector>) {
        if let (Some(high), Some(low)) = (
            self.high.as_mut().get_mut(register),
            self.low.as_mut().get_mut(register),
        ) {
            *low = *low + add_unordered(high, numerator);
        }
    }

    /// Adds both parts to `totals`.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn flush(&self, totals: &mut [f64]) {
        for group in [&self.high, &self.low] {
            for (register, lanes) in group.as_ref().iter().enumerate() {
                let start = register * S::Vector::WIDTH;
                lanes.add_to(totals.get_mut(start..).unwrap_or(&mut []));
            }
        }
    }
}

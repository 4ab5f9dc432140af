//! Exact sums of numbers that are rounded to integers.

use crate::simd::{Vector, WIDEST};

/// 2^52. From here on the spacing of `f64` is 1.
const ROUND: f64 = (1_u64 << 52) as f64;

/// A number between 0 and 2^51, rounded to an integer, ties to even.
#[cfg_attr(not(unoptimized), inline(always))]
pub(crate) fn to_integer(value: f32) -> u64 {
    // The mantissa is the integer.
    (f64::from(value) + ROUND)
        .to_bits()
        .wrapping_sub(ROUND.to_bits())
}

/// The sum of the lanes of registers, each rounded by [`to_integer`]. Exact, so it depends neither
/// on the order nor on the registers.
#[derive(Clone, Copy)]
pub(crate) struct IntegerSum {
    /// Sums of representations, modulo 2^64. Subtracting 2^52 from each would cost two operations
    /// of 25 where a register has 16 lanes.
    lanes: [u64; WIDEST],
    added: u64,
}

impl IntegerSum {
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn new() -> Self {
        IntegerSum {
            lanes: [0; WIDEST],
            added: 0,
        }
    }

    /// Adds all lanes of a register.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn add<V: Vector>(&mut self, register: V) {
        register.add_biased_to(ROUND, &mut self.lanes);
        self.added += V::WIDTH as u64;
    }

    /// The sum, which must be below 2^64.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn total(&self) -> u64 {
        let biased = self.lanes.iter().copied().fold(0, u64::wrapping_add);
        biased.wrapping_sub(self.added.wrapping_mul(ROUND.to_bits()))
    }
}

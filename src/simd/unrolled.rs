//! Several registers side by side.

use super::Lanewise;
use core::ops::{Add, Mul, Sub};

/// `COUNT` registers that go through the same formula. Their operations do not depend on each
/// other, so a processor overlaps them.
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

//! Several registers side by side.

use super::{Lanewise, operations::leaf};
use core::ops::{Add, Mul, Sub};

/// `COUNT` registers that go through the same formula. Their operations do not depend on each
/// other, so a processor overlaps them.
#[derive(Clone, Copy)]
pub(crate) struct Unrolled<V, const COUNT: usize>(pub(crate) [V; COUNT]);

macro_rules! for_each_register {
    ($(impl $operator:ident: $name:ident $operands:tt;)+) => {
        $(
            impl<V: Lanewise, const COUNT: usize> $operator for Unrolled<V, COUNT> {
                type Output = Self;
                for_each_register! { $name $operands; }
            }
        )+
    };
    ($($name:ident($($operand:ident),*);)+) => {
        leaf! {
            $(
                fn $name(mut self $(, $operand: Self)*) -> Self {
                    if V::IS_FUSED {
                        // Unrolled here, a log-softmax with AVX2 has 4 % more instructions.
                        for register in 0..COUNT {
                            self.0[register] =
                                self.0[register].$name($($operand.0[register]),*);
                        }
                    } else {
                        unroll::<COUNT>(
                            #[inline(always)]
                            |i| self.0[i] = self.0[i].$name($($operand.0[i]),*),
                        );
                    }
                    self
                }
            )+
        }
    };
}

for_each_register! {
    impl Add: add(other);
    impl Sub: sub(other);
    impl Mul: mul(other);
}

impl<V: Lanewise, const COUNT: usize> Lanewise for Unrolled<V, COUNT> {
    const IS_FUSED: bool = V::IS_FUSED;

    for_each_register! {
        mul_add(factor, addend);
        max_keep_nan(bound);
        low_bits_to_exponent();
        first_half();
    }
}

/// Calls `body` with 0 to `N` − 1, `N` at most 16, without a loop. The compiler unrolls loops of a
/// small body only, and where it does not, an [`Unrolled`] is kept in memory. `body` must be
/// `#[inline(always)]`.
#[cfg_attr(not(unoptimized), inline(always))]
pub(crate) fn unroll<const N: usize>(mut body: impl FnMut(usize)) {
    const { assert!(N <= 16) };
    macro_rules! calls {
        ($($i:literal)*) => {
            $(
                if $i < N {
                    body($i);
                }
            )*
        };
    }
    calls!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
}

/// The same over values of type `T`, if that is a register. Other values need no register each, and
/// their loop is smaller.
#[cfg_attr(not(unoptimized), inline(always))]
pub(crate) fn unroll_registers<const N: usize, T>(mut body: impl FnMut(usize)) {
    if size_of::<T>() > size_of::<f64>() {
        unroll::<N>(body);
    } else {
        for i in 0..N {
            body(i);
        }
    }
}

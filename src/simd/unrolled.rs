//! Several registers side by side.

use super::{Group, Lanewise, Simd, operations::leaf};
use core::mem::{self, MaybeUninit};
use core::ops::{Add, Mul, Sub};

/// `COUNT` registers that go through the same formula. Their operations do not depend on each
/// other, so a processor overlaps them.
#[derive(Clone, Copy)]
pub(crate) struct Unrolled<V, const COUNT: usize>(pub(crate) [V; COUNT]);

impl<V: Copy, const COUNT: usize> Unrolled<V, COUNT> {
    /// `value` in each register. `[value; COUNT]` is a loop, which builds for size keep. In others a
    /// log-softmax on `Scalar` takes 0.7 of the time with it.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn splat(value: V) -> Self {
        // Miri is to see the other.
        if !cfg!(any(small, miri)) {
            return Unrolled([value; COUNT]);
        }
        let mut registers = [const { MaybeUninit::uninit() }; COUNT];
        unroll::<COUNT>(
            #[inline(always)]
            |i| {
                registers[i].write(value);
            },
        );
        // SAFETY: `unroll` has written every register, as it does not compile for more than it calls
        // its body for. A `MaybeUninit<V>` is laid out as a `V`.
        Unrolled(unsafe { mem::transmute_copy(&registers) })
    }
}

macro_rules! register_by_register {
    ($(impl $operator:ident: $name:ident $operands:tt;)+) => {
        $(
            impl<V: Lanewise, const COUNT: usize> $operator for Unrolled<V, COUNT> {
                type Output = Self;
                register_by_register! { $name $operands; }
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

register_by_register! {
    impl Add: add(other);
    impl Sub: sub(other);
    impl Mul: mul(other);
}

impl<V: Lanewise, const COUNT: usize> Lanewise for Unrolled<V, COUNT> {
    const IS_FUSED: bool = V::IS_FUSED;

    register_by_register! {
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

/// Calls `body` with the index of each register of a group, without a loop where these are few.
#[cfg_attr(not(unoptimized), inline(always))]
pub(crate) fn for_each_register<S: Simd>(mut body: impl FnMut(usize)) {
    if S::REGISTERS <= 8 {
        unroll::<8>(
            #[inline(always)]
            |register| {
                if register < S::REGISTERS {
                    body(register);
                }
            },
        );
    } else {
        (0..S::REGISTERS).for_each(body);
    }
}

/// `group` with each register as `of` makes it from its index and from what it was. Without a loop
/// where the registers are few.
#[cfg_attr(not(unoptimized), inline(always))]
pub(crate) fn map_group<S: Simd>(
    mut group: Group<S>,
    mut of: impl FnMut(usize, S::Vector) -> S::Vector,
) -> Group<S> {
    for_each_register::<S>(
        #[inline(always)]
        |index| {
            if let Some(register) = group.as_mut().get_mut(index) {
                *register = of(index, *register);
            }
        },
    );
    group
}

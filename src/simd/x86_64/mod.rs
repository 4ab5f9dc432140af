//! Instruction sets of x86-64, and which of them may run.

pub(crate) mod avx2;
pub(crate) mod avx512;
pub(crate) mod detect;

/// Which of four lanes, or of four quarters, a shuffle takes of each of its two operands.
const EVEN_LANES: i32 = 0b10_00_10_00;
const ODD_LANES: i32 = 0b11_01_11_01;

/// Aligns the stack of the function that this is inlined into as `Register` is aligned. Compilers
/// align it to 16 bytes, and with it the registers that are kept there for a while, which are then
/// read and written across two cache lines, or two pages.
#[cfg_attr(not(unoptimized), inline(always))]
fn align_stack<Register>() {
    core::hint::black_box(&core::mem::MaybeUninit::<Register>::uninit());
}

/// Whether `len` values have all of every register of a square but the last. Register i begins at
/// value i · `stride`, and a square has as many registers as `width`.
#[cfg_attr(not(unoptimized), inline(always))]
fn are_whole(len: usize, stride: usize, width: usize) -> bool {
    stride.saturating_mul(width - 2).saturating_add(width) <= len
}

/// [`Simd::load_square`](super::Simd::load_square) and its counterpart, for a register type with
/// the intrinsics that load and store a whole register at any alignment.
macro_rules! squares {
    ($register:ident, $load:ident, $store:ident) => {
        crate::simd::operations::leaf! {
            fn load_square(
                self,
                values: &[f32],
                stride: usize,
                fill: f32,
            ) -> crate::simd::Square<Self> {
                let mut square = self.splat(fill).square();
                // Not in a loop: the square would be kept in memory.
                if crate::simd::x86_64::are_whole(values.len(), stride, $register::WIDTH) {
                    crate::simd::unroll::<{ $register::WIDTH - 1 }>(
                        #[inline(always)]
                        |row| {
                            // SAFETY: `are_whole` says that `values` has all of every register but
                            // the last.
                            let values = unsafe { $load(values.as_ptr().add(row * stride)) };
                            square[row] = $register(values);
                        },
                    );
                } else {
                    crate::simd::unroll::<{ $register::WIDTH - 1 }>(
                        #[inline(always)]
                        |row| {
                            let values = values.get(row * stride..).unwrap_or(&[]);
                            square[row] = self.load(values, fill);
                        },
                    );
                }
                let start = ($register::WIDTH - 1) * stride;
                let last = self.load(values.get(start..).unwrap_or(&[]), fill);
                square[$register::WIDTH - 1] = last;
                square
            }

            fn store_square(
                self,
                square: &crate::simd::Square<Self>,
                values: &mut [f32],
                stride: usize,
                count: usize,
            ) {
                let are_whole =
                    crate::simd::x86_64::are_whole(values.len(), stride, $register::WIDTH);
                if count >= $register::WIDTH && are_whole {
                    crate::simd::unroll::<{ $register::WIDTH - 1 }>(
                        #[inline(always)]
                        |row| {
                            // SAFETY: `are_whole` says that `values` has places for all of every
                            // register but the last.
                            unsafe { $store(values.as_mut_ptr().add(row * stride), square[row].0) };
                        },
                    );
                } else {
                    crate::simd::unroll::<{ $register::WIDTH - 1 }>(
                        #[inline(always)]
                        |row| {
                            let places = crate::simd::places_of(
                                values,
                                row * stride,
                                count,
                                $register::WIDTH,
                            );
                            square[row].store(places);
                        },
                    );
                }
                let start = ($register::WIDTH - 1) * stride;
                let places = crate::simd::places_of(values, start, count, $register::WIDTH);
                square[$register::WIDTH - 1].store(places);
            }
        }
    };
}

use squares;

//! Instruction sets of x86-64, and which of them may run.

pub(crate) mod avx2;
pub(crate) mod avx512;
pub(crate) mod detect;

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

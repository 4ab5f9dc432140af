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

//! Softmax over one buffer in the module's memory. `softmax.mjs` copies rows into it and out of it.

#![cfg_attr(target_arch = "wasm32", no_std)]
#![cfg(target_arch = "wasm32")]

use core::arch::wasm32::{memory_grow, memory_size, unreachable};
use core::slice;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

const PAGE: usize = 1 << 16;

/// Where the buffer begins, and its length. It is at the end of the memory and grows with it.
static START: AtomicUsize = AtomicUsize::new(0);
static LEN: AtomicUsize = AtomicUsize::new(0);

/// Makes room for `len` logits and returns where they are; null if there is no more memory. Memory may
/// have moved in JavaScript: views of it must be made anew.
#[unsafe(no_mangle)]
pub extern "C" fn reserve(len: usize) -> *mut f32 {
    if START.load(Relaxed) == 0 {
        START.store(memory_size::<0>() * PAGE, Relaxed);
    }
    let start = START.load(Relaxed);
    let Some(end) = len
        .checked_mul(4)
        .and_then(|bytes| bytes.checked_add(start))
    else {
        return core::ptr::null_mut();
    };
    let pages = end.div_ceil(PAGE).saturating_sub(memory_size::<0>());
    if pages > 0 && memory_grow::<0>(pages) == usize::MAX {
        return core::ptr::null_mut();
    }
    LEN.store(len, Relaxed);
    start as *mut f32
}

/// What was reserved.
fn row() -> &'static mut [f32] {
    let (start, len) = (START.load(Relaxed), LEN.load(Relaxed));
    if len == 0 {
        return &mut [];
    }
    // SAFETY: `reserve` made room for so many values at the end of the memory, where nothing else is. The
    // module has one thread, and no function calls another with the row.
    unsafe { slice::from_raw_parts_mut(start as *mut f32, len) }
}

/// The softmax of what was reserved, in its place.
#[unsafe(no_mangle)]
pub extern "C" fn softmax() {
    online_softmax::softmax_in_place(row());
}

/// The log-softmax of what was reserved, in its place.
#[unsafe(no_mangle)]
pub extern "C" fn log_softmax() {
    online_softmax::log_softmax_in_place(row());
}

/// The log-sum-exp of what was reserved.
#[unsafe(no_mangle)]
pub extern "C" fn log_sum_exp() -> f32 {
    online_softmax::log_sum_exp(row())
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    unreachable()
}

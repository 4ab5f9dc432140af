//! A row and its results in memory of the module, and what is done to them.

#![cfg_attr(target_arch = "wasm32", no_std)]

use core::cell::UnsafeCell;

const LONGEST: usize = 1 << 15;

/// Memory that the page reads and writes.
struct Memory(UnsafeCell<[f32; LONGEST]>);

// SAFETY: the module has one thread.
unsafe impl Sync for Memory {}

impl Memory {
    const fn new() -> Self {
        Memory(UnsafeCell::new([0.0; LONGEST]))
    }

    /// The first `len` places. No caller keeps them.
    #[allow(clippy::mut_from_ref, reason = "each caller takes each memory once")]
    fn take(&'static self, len: usize) -> &'static mut [f32] {
        // SAFETY: the module has one thread, and nothing else refers to the memory.
        let all = unsafe { &mut *self.0.get() };
        &mut all[..len.min(LONGEST)]
    }
}

static ROW: Memory = Memory::new();
static RESULTS: Memory = Memory::new();

/// Where the row is.
#[unsafe(no_mangle)]
pub extern "C" fn row() -> *mut f32 {
    ROW.take(LONGEST).as_mut_ptr()
}

/// Where the results are.
#[unsafe(no_mangle)]
pub extern "C" fn results() -> *mut f32 {
    RESULTS.take(LONGEST).as_mut_ptr()
}

/// The operation of this build on the first `len` logits.
#[unsafe(no_mangle)]
pub extern "C" fn run(len: usize) {
    online_softmax_operations::run(ROW.take(len), RESULTS.take(len));
}

#[cfg(feature = "all")]
mod all {
    use super::{RESULTS, ROW};
    use online_softmax_digest::{Backend, LONGEST, digest};

    /// Row to results. The slices have one length, so there is no error.
    #[unsafe(no_mangle)]
    pub extern "C" fn softmax(len: usize) {
        let _ = online_softmax::softmax(ROW.take(len), RESULTS.take(len));
    }

    #[unsafe(no_mangle)]
    pub extern "C" fn log_softmax(len: usize) {
        let _ = online_softmax::log_softmax(ROW.take(len), RESULTS.take(len));
    }

    #[unsafe(no_mangle)]
    pub extern "C" fn log_sum_exp(len: usize) -> f32 {
        online_softmax::log_sum_exp(ROW.take(len))
    }

    /// The digest of the best backend; 0 if there is an error.
    #[unsafe(no_mangle)]
    pub extern "C" fn digest_of_results() -> u64 {
        let digest = digest(Backend::best(), ROW.take(LONGEST), RESULTS.take(LONGEST));
        digest.map_or(0, |(digest, _)| digest)
    }
}

#[cfg(target_arch = "wasm32")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    core::arch::wasm32::unreachable()
}

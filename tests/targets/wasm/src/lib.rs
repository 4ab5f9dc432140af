//! A row of at most [`LONGEST`] logits in memory of the module, and what is done to it.

#![cfg_attr(target_arch = "wasm32", no_std)]

use core::cell::UnsafeCell;

const LONGEST: usize = 1 << 15;

/// A row that the page writes to.
struct Row<const LEN: usize>(UnsafeCell<[f32; LEN]>);

// SAFETY: the module has one thread.
unsafe impl<const LEN: usize> Sync for Row<LEN> {}

static LOGITS: Row<LONGEST> = Row(UnsafeCell::new([0.0; LONGEST]));

/// The row.
fn row(len: usize) -> &'static mut [f32] {
    // SAFETY: the module has one thread, and no function keeps this reference.
    let all = unsafe { &mut *LOGITS.0.get() };
    &mut all[..len.min(LONGEST)]
}

/// Where the row is.
#[unsafe(no_mangle)]
pub extern "C" fn address() -> *mut f32 {
    row(LONGEST).as_mut_ptr()
}

/// The softmax of the first `len` logits, in their place.
#[unsafe(no_mangle)]
pub extern "C" fn softmax(len: usize) {
    online_softmax::softmax_in_place(row(len));
}

#[cfg(feature = "all")]
mod all {
    use super::{Row, row};
    use core::cell::UnsafeCell;
    use online_softmax::Backend;

    static RESULTS: Row<{ super::LONGEST }> = Row(UnsafeCell::new([0.0; super::LONGEST]));

    fn results(len: usize) -> &'static mut [f32] {
        // SAFETY: as for `row`.
        let all = unsafe { &mut *RESULTS.0.get() };
        &mut all[..len]
    }

    /// The digest of the best backend.
    #[unsafe(no_mangle)]
    pub extern "C" fn digest() -> u64 {
        let longest = online_softmax_digest::LONGEST;
        let backend = Backend::best();
        match online_softmax_digest::digest(backend, row(longest), results(longest)) {
            Ok((digest, _)) => digest,
            Err(_) => 0,
        }
    }

    /// The textbook's three loops over the first `len` logits.
    #[unsafe(no_mangle)]
    pub extern "C" fn textbook(len: usize) {
        online_softmax::reference::three_loop(row(len), results(len));
    }
}

#[cfg(target_arch = "wasm32")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    core::arch::wasm32::unreachable()
}

//! Places that are written past the caches, by non-temporal stores: a cache line that is written
//! whole goes to memory without being read first.
//!
//! Such stores are not ordered with others. A fence must follow before anyone else may see them, so
//! they go through [`PastCaches`] alone, which borrows the places, and whose end is the fence.
//! (Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1, section 10.4.6.2.)

use super::{Simd, Vector};

/// Borrows places to write them past the caches.
pub(crate) struct PastCaches<'a>(&'a mut [f32]);

/// Places of a register. Only [`PastCaches`] makes them, from those that it borrows.
pub(crate) struct Fenced<'a>(&'a mut [f32]);

impl<'a> PastCaches<'a> {
    pub(crate) fn new(places: &'a mut [f32]) -> Self {
        PastCaches(places)
    }

    /// Writes a register to the places from `start`, if there are so many; past the caches if they
    /// are aligned for it.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn store<V: Vector>(&mut self, start: usize, register: V) {
        if let Some(places) = self.0.get_mut(start..start + V::WIDTH) {
            register.store_past_caches(Fenced(places));
        }
    }

    /// Copies `values` to the places from `start`, if there are so many, likewise.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn copy<S: Simd>(&mut self, simd: S, start: usize, values: &[f32]) {
        let Some(places) = self.0.get_mut(start..start + values.len()) else {
            return;
        };
        let width = S::Vector::WIDTH;
        for (places, values) in places.chunks_mut(width).zip(values.chunks(width)) {
            simd.load(values, 0.0).store_past_caches(Fenced(places));
        }
    }
}

impl Drop for PastCaches<'_> {
    #[cfg_attr(not(unoptimized), inline(always))]
    fn drop(&mut self) {
        // Miri does not know the instruction, nor the stores that need it.
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        // SAFETY: every x86-64 processor has this instruction. It orders stores, no more.
        unsafe {
            core::arch::x86_64::_mm_sfence();
        }
    }
}

impl<'a> Fenced<'a> {
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn places(self) -> &'a mut [f32] {
        self.0
    }
}

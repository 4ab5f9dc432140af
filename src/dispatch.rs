//! The one place that turns a [`Backend`] into instructions.

use crate::backend::Backend;
use crate::simd::{HAS_VECTORS, Simd, WithSimd, portable::Portable, scalar::Scalar};

#[cfg(target_arch = "aarch64")]
use crate::simd::aarch64::neon::Neon;
#[cfg(target_arch = "x86_64")]
use crate::simd::x86_64::{avx2::Avx2, avx512::Avx512};

/// Runs `operation` with the instructions of `backend`, or of [`Portable`] if this machine cannot
/// run that one.
#[cfg_attr(not(unoptimized), inline(always))]
pub(crate) fn dispatch<O: WithSimd>(backend: Backend, operation: O) -> O::Output {
    if !HAS_VECTORS {
        // All backends give the same bits there, and one copy of each operation is enough.
        return Scalar.run(operation);
    }
    match backend {
        // Where code is to be small, `Portable` does the same: it gives the same bits.
        Backend::Scalar if !cfg!(small) => return Scalar.run(operation),
        #[cfg(target_arch = "x86_64")]
        Backend::Avx512 => {
            if let Some(avx512) = Avx512::detect() {
                return avx512.run(operation);
            }
        }
        #[cfg(target_arch = "x86_64")]
        Backend::Avx2 => {
            if let Some(avx2) = Avx2::detect() {
                return avx2.run(operation);
            }
        }
        #[cfg(target_arch = "aarch64")]
        Backend::Neon => {
            if let Some(neon) = Neon::detect() {
                return neon.run(operation);
            }
        }
        _ => {}
    }
    Portable.run(operation)
}

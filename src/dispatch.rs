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
        return run(Scalar, operation);
    }
    match backend {
        Backend::Scalar => return run(Scalar, operation),
        #[cfg(target_arch = "x86_64")]
        Backend::Avx512 => {
            if let Some(avx512) = Avx512::detect() {
                return run(avx512, operation);
            }
        }
        #[cfg(target_arch = "x86_64")]
        Backend::Avx2 => {
            if let Some(avx2) = Avx2::detect() {
                return run(avx2, operation);
            }
        }
        #[cfg(target_arch = "aarch64")]
        Backend::Neon => {
            if let Some(neon) = Neon::detect() {
                return run(neon, operation);
            }
        }
        _ => {}
    }
    run(Portable, operation)
}

#[cfg_attr(not(unoptimized), inline(always))]
fn run<S: Simd, O: WithSimd>(simd: S, operation: O) -> O::Output {
    simd.vectorize(
        #[inline(always)]
        move |simd| operation.with_simd(simd),
    )
}

//! The public names of the instruction sets, and which of them this machine has.

use crate::simd::HAS_VECTORS;
#[cfg(target_arch = "aarch64")]
use crate::simd::aarch64::neon::Neon;
#[cfg(target_arch = "x86_64")]
use crate::simd::x86_64::{avx2::Avx2, avx512::Avx512};

/// The instructions a computation runs on.
///
/// | backend | where | arithmetic |
/// |---|---|---|
/// | [`Scalar`](Backend::Scalar) | every target; on wasm with simd128, and in builds for size, as `Portable` | unfused |
/// | [`Portable`](Backend::Portable) | every target: eight lanes of SSE2, AVX, simd128 or NEON, chosen at compile time; where there are none of these, as `Scalar` | unfused |
/// | [`Avx2`](Backend::Avx2) | x86-64 with AVX2 and FMA, detected at run time | fused |
/// | [`Avx512`](Backend::Avx512) | x86-64 with AVX-512F, detected at run time | fused |
/// | [`Neon`](Backend::Neon) | aarch64 | fused |
///
/// All backends of one arithmetic give the same bits on every machine, except for the payload and
/// the sign of NaN. A browser's best backend is `Portable`; a server that asks for `Portable`
/// reproduces its results. So there is no backend for wasm's `relaxed-simd`, whose `relaxed_madd`
/// rounds once or twice, depending on the machine.
///
/// The promise assumes the default floating-point environment of Rust: rounding to nearest, and
/// subnormal numbers that are not flushed to zero (no FTZ or DAZ, which some audio and game code
/// sets for its thread).
///
/// All variants exist on every target. Those that the target lacks are never available.
///
/// ```
/// use online_softmax::{Backend, Softmax};
///
/// let logits = [1.0, 2.0, 3.0];
/// let (mut here, mut anywhere) = ([0.0; 3], [0.0; 3]);
/// Softmax::new().backend(Backend::best())?.row(&logits, &mut here)?;
/// Softmax::new().backend(Backend::Portable)?.row(&logits, &mut anywhere)?;
/// assert!((here[2] - anywhere[2]).abs() < 1e-6);
/// # Ok::<(), online_softmax::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Backend {
    /// One lane of plain code.
    Scalar,
    /// Eight lanes of `wide::f32x8`.
    Portable,
    /// Eight lanes of AVX2 with FMA.
    Avx2,
    /// Sixteen lanes of AVX-512F.
    Avx512,
    /// Four lanes of NEON.
    Neon,
}

/// From best to worst on targets with vector instructions.
const BY_SPEED: [Backend; 5] = [
    Backend::Avx512,
    Backend::Avx2,
    Backend::Neon,
    Backend::Portable,
    Backend::Scalar,
];

/// Whether the target has backends that are detected at run time.
const IS_DETECTED: bool = cfg!(any(target_arch = "x86_64", target_arch = "aarch64"));

impl Backend {
    /// The fastest that is available here.
    ///
    /// On x86-64 the first call executes `cpuid`; later calls use its result.
    #[must_use]
    pub fn best() -> Self {
        if !IS_DETECTED {
            // Known to the compiler, so that a program contains no other.
            return if HAS_VECTORS {
                Backend::Portable
            } else {
                Backend::Scalar
            };
        }
        let best = BY_SPEED.into_iter().find(|backend| backend.is_available());
        match best {
            Some(Backend::Portable) | None if !HAS_VECTORS => Backend::Scalar,
            Some(backend) => backend,
            None => Backend::Portable,
        }
    }

    /// All that are available here, including `Scalar` and `Portable`. The best is first where the
    /// target has vector instructions.
    ///
    /// ```
    /// use online_softmax::Backend;
    ///
    /// assert!(Backend::available().any(|backend| backend == Backend::Portable));
    /// ```
    pub fn available() -> impl Iterator<Item = Self> {
        BY_SPEED
            .into_iter()
            .filter(|backend| backend.is_available())
    }

    /// Whether this machine can run it.
    #[must_use]
    pub fn is_available(self) -> bool {
        match self {
            Backend::Scalar | Backend::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Backend::Avx2 => Avx2::detect().is_some(),
            #[cfg(target_arch = "x86_64")]
            Backend::Avx512 => Avx512::detect().is_some(),
            #[cfg(target_arch = "aarch64")]
            Backend::Neon => Neon::detect().is_some(),
            #[allow(
                unreachable_patterns,
                reason = "which patterns remain depends on the target"
            )]
            _ => false,
        }
    }

    /// "scalar", "portable", "avx2", "avx512" or "neon".
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Backend::Scalar => "scalar",
            Backend::Portable => "portable",
            Backend::Avx2 => "avx2",
            Backend::Avx512 => "avx512",
            Backend::Neon => "neon",
        }
    }
}

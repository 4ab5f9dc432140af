//! The public names of the backends, which of them this machine has, and the one place that
//! dispatches.

use crate::vector::{Simd, SimdFnOnce, portable::Portable, scalar::Scalar};

#[cfg(target_arch = "aarch64")]
use crate::vector::neon::Neon;
#[cfg(target_arch = "x86_64")]
use crate::vector::{avx2::Avx2, avx512::Avx512};

/// The instructions a computation runs on.
///
/// | backend | where | arithmetic |
/// |---|---|---|
/// | [`Scalar`](Backend::Scalar) | every target | unfused |
/// | [`Portable`](Backend::Portable) | every target: eight lanes of SSE2, AVX, simd128, NEON or plain code, chosen when it is compiled | unfused |
/// | [`Avx2`](Backend::Avx2) | x86-64 with AVX2 and FMA, found at run time | fused |
/// | [`Avx512`](Backend::Avx512) | x86-64 with AVX-512F, found at run time | fused |
/// | [`Neon`](Backend::Neon) | aarch64 | fused |
///
/// All backends of one arithmetic give the same bits, on every machine (of a NaN, the payload and
/// the sign excepted). So a result from a browser, where the best is `Portable`, is reproduced on a
/// server by asking for `Portable` there.
///
/// All variants exist on every target; those that the target lacks are never available.
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

/// From best to worst where vectors are instructions.
const BY_SPEED: [Backend; 5] = [
    Backend::Avx512,
    Backend::Avx2,
    Backend::Neon,
    Backend::Portable,
    Backend::Scalar,
];

/// Whether `wide` has vector instructions on this target; without any, one lane is faster.
const PORTABLE_IS_VECTOR: bool = cfg!(any(
    target_feature = "sse2",
    target_feature = "simd128",
    all(target_feature = "neon", target_arch = "aarch64")
));

impl Backend {
    /// The fastest that is available here.
    ///
    /// On x86-64 this is found by `cpuid` at the first call and then remembered.
    #[must_use]
    pub fn best() -> Self {
        let best = BY_SPEED.into_iter().find(|backend| backend.is_available());
        match best {
            Some(Backend::Portable) | None if !PORTABLE_IS_VECTOR => Backend::Scalar,
            Some(backend) => backend,
            None => Backend::Portable,
        }
    }

    /// All that are available here, `Scalar` and `Portable` always among them; the best first
    /// where the target has vector instructions.
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
            Backend::Avx2 => x86::features().avx2,
            #[cfg(target_arch = "x86_64")]
            Backend::Avx512 => x86::features().avx512,
            #[cfg(target_arch = "aarch64")]
            Backend::Neon => cfg!(target_feature = "neon"),
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

    /// Runs `kernel` on this backend, or on `Portable` if this one is not available.
    #[inline]
    pub(crate) fn dispatch<K: WithSimd>(self, kernel: K) -> K::Output {
        let task = AnySimd(kernel);
        match self {
            Backend::Scalar => Scalar.vectorize(task),
            #[cfg(target_arch = "x86_64")]
            Backend::Avx512 if self.is_available() => {
                // SAFETY: `is_available` has just found AVX-512F and POPCNT.
                unsafe { Avx512::new() }.vectorize(task)
            }
            #[cfg(target_arch = "x86_64")]
            Backend::Avx2 if self.is_available() => {
                // SAFETY: `is_available` has just found AVX2, FMA and POPCNT.
                unsafe { Avx2::new() }.vectorize(task)
            }
            #[cfg(target_arch = "aarch64")]
            Backend::Neon if self.is_available() => {
                // SAFETY: `is_available` has just found NEON.
                unsafe { Neon::new() }.vectorize(task)
            }
            _ => Portable.vectorize(task),
        }
    }
}

/// A [`SimdFnOnce`] for any instruction set.
pub(crate) trait WithSimd {
    type Output;

    /// `#[inline(always)]` in every implementation: see [`crate::vector`].
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

struct AnySimd<K>(K);

impl<S: Simd, K: WithSimd> SimdFnOnce<S> for AnySimd<K> {
    type Output = K::Output;

    #[inline(always)]
    fn run(self, simd: S) -> K::Output {
        self.0.run(simd)
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use core::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};
    use core::sync::atomic::{AtomicU8, Ordering};

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct Features {
        /// AVX2, FMA and POPCNT, which every processor with AVX2 has.
        pub(super) avx2: bool,
        /// AVX-512F, and all that `avx2` says.
        pub(super) avx512: bool,
    }

    /// What `cpuid` says, as far as it matters.
    #[derive(Clone, Copy, Debug)]
    pub(super) struct Cpuid {
        pub(super) leaf_1_ecx: u32,
        pub(super) leaf_7_ebx: u32,
    }

    const FMA: u32 = 1 << 12;
    const POPCNT: u32 = 1 << 23;
    const OSXSAVE: u32 = 1 << 27;
    const AVX: u32 = 1 << 28;
    const AVX2: u32 = 1 << 5;
    const AVX512F: u32 = 1 << 16;
    /// The operating system keeps the xmm and ymm registers.
    const YMM_STATE: u64 = 0b110;
    /// Those, the mask registers and both halves of the zmm registers.
    const ZMM_STATE: u64 = 0b1110_0110;

    const fn all(register: u32, bits: u32) -> bool {
        register & bits == bits
    }

    /// The processor must have the instructions, and the operating system must keep the registers
    /// (XCR0, which may be read only where OSXSAVE is set; pass 0 where it is not).
    pub(super) const fn decide(cpuid: Cpuid, xcr0: u64) -> Features {
        let avx2 = all(cpuid.leaf_1_ecx, OSXSAVE | AVX | FMA | POPCNT)
            && all(cpuid.leaf_7_ebx, AVX2)
            && xcr0 & YMM_STATE == YMM_STATE;
        Features {
            avx2,
            avx512: avx2 && all(cpuid.leaf_7_ebx, AVX512F) && xcr0 & ZMM_STATE == ZMM_STATE,
        }
    }

    const KNOWN: u8 = 1;
    const HAS_AVX2: u8 = 2;
    const HAS_AVX512: u8 = 4;

    /// [`decide`] of this machine, remembered. A race only decides it twice.
    #[inline]
    pub(super) fn features() -> Features {
        static CACHE: AtomicU8 = AtomicU8::new(0);
        let mut known = CACHE.load(Ordering::Relaxed);
        if known == 0 {
            known = KNOWN | detect();
            CACHE.store(known, Ordering::Relaxed);
        }
        Features {
            avx2: known & HAS_AVX2 != 0,
            avx512: known & HAS_AVX512 != 0,
        }
    }

    #[cold]
    fn detect() -> u8 {
        let highest_leaf = __cpuid(0).eax;
        let cpuid = Cpuid {
            leaf_1_ecx: __cpuid(1).ecx,
            leaf_7_ebx: if highest_leaf >= 7 {
                __cpuid_count(7, 0).ebx
            } else {
                0
            },
        };
        let xcr0 = if all(cpuid.leaf_1_ecx, OSXSAVE) {
            // SAFETY: OSXSAVE was just found, so `xgetbv` may be executed, and register 0 exists.
            unsafe { read_xcr0() }
        } else {
            0
        };
        let features = decide(cpuid, xcr0);
        let avx2 = if features.avx2 { HAS_AVX2 } else { 0 };
        let avx512 = if features.avx512 { HAS_AVX512 } else { 0 };
        avx2 | avx512
    }

    /// # Safety
    ///
    /// `cpuid` must have reported OSXSAVE.
    #[target_feature(enable = "xsave")]
    unsafe fn read_xcr0() -> u64 {
        // SAFETY: the caller has found OSXSAVE.
        unsafe { _xgetbv(0) }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn detection_needs_instructions_and_operating_system() {
            let leaf_1_bits = [0, FMA, POPCNT, OSXSAVE, AVX];
            let leaf_7_bits = [0, AVX2, AVX512F];
            for missing_1 in leaf_1_bits {
                for missing_7 in leaf_7_bits {
                    for xcr0 in 0..=0xFF_u64 {
                        let cpuid = Cpuid {
                            leaf_1_ecx: !missing_1,
                            leaf_7_ebx: !missing_7,
                        };
                        let ymm_kept = xcr0 & 0b10 != 0 && xcr0 & 0b100 != 0;
                        let zmm_kept = ymm_kept && xcr0 >> 5 == 0b111;
                        let avx2 = missing_1 == 0 && missing_7 != AVX2 && ymm_kept;
                        let avx512 = avx2 && missing_7 != AVX512F && zmm_kept;
                        assert_eq!(
                            decide(cpuid, xcr0),
                            Features { avx2, avx512 },
                            "{cpuid:x?} {xcr0:x}"
                        );
                    }
                }
            }
        }

        #[test]
        fn known_processors() {
            let nehalem = Cpuid {
                leaf_1_ecx: 0x0298_E3FF,
                leaf_7_ebx: 0,
            };
            let haswell = Cpuid {
                leaf_1_ecx: 0x7FFA_FBFF,
                leaf_7_ebx: 0x0000_27AB,
            };
            let skylake_x = Cpuid {
                leaf_1_ecx: 0x7FFE_FBFF,
                leaf_7_ebx: 0xD39F_FFFB,
            };
            let (no, yes) = (false, true);
            for (cpuid, xcr0, avx2, avx512) in [
                (nehalem, 0, no, no),
                (haswell, 0x7, yes, no),
                (haswell, 0x3, no, no),
                (skylake_x, 0xE7, yes, yes),
                (skylake_x, 0x7, yes, no),
                (skylake_x, 0x67, yes, no),
                (skylake_x, 0, no, no),
            ] {
                assert_eq!(
                    decide(cpuid, xcr0),
                    Features { avx2, avx512 },
                    "{cpuid:x?} {xcr0:x}"
                );
            }
        }

        #[test]
        fn agrees_with_the_standard_library() {
            assert_eq!(
                features().avx2,
                std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma")
            );
            assert_eq!(features().avx512, std::is_x86_feature_detected!("avx512f"));
        }
    }
}

//! Which instructions of x86-64 may run: what the processor has, and which registers the operating
//! system keeps.

use core::arch::x86_64::{__cpuid_count, _xgetbv, CpuidResult};
use core::sync::atomic::{AtomicU8, Ordering};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Features {
    /// AVX2, FMA and POPCNT, which every processor with AVX2 has.
    pub(crate) avx2: bool,
    /// AVX-512F, and all that `avx2` says.
    pub(crate) avx512: bool,
}

/// What `cpuid` says, as far as it matters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cpuid {
    pub(crate) leaf_1_ecx: u32,
    pub(crate) leaf_7_ebx: u32,
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
pub(crate) const fn decide(cpuid: Cpuid, xcr0: u64) -> Features {
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
pub(crate) fn features() -> Features {
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
    let features = if cfg!(miri) {
        // Miri has no `cpuid`. It has the instructions that it was told to compile for.
        Features {
            avx2: cfg!(all(
                target_feature = "avx2",
                target_feature = "fma",
                target_feature = "popcnt"
            )),
            avx512: cfg!(target_feature = "avx512f"),
        }
    } else {
        of_processor()
    };
    let avx2 = if features.avx2 { HAS_AVX2 } else { 0 };
    let avx512 = if features.avx512 { HAS_AVX512 } else { 0 };
    avx2 | avx512
}

fn of_processor() -> Features {
    let cpuid = read(cpuid);
    let xcr0 = if all(cpuid.leaf_1_ecx, OSXSAVE) {
        // SAFETY: OSXSAVE was just found, so `xgetbv` may be executed, and register 0 exists.
        unsafe { read_xcr0() }
    } else {
        0
    };
    decide(cpuid, xcr0)
}

/// Reads the leaves that there are: above the highest, processors of Intel give that one again.
fn read(cpuid: impl Fn(u32) -> CpuidResult) -> Cpuid {
    let highest_leaf = cpuid(0).eax;
    Cpuid {
        leaf_1_ecx: cpuid(1).ecx,
        leaf_7_ebx: if highest_leaf >= 7 { cpuid(7).ebx } else { 0 },
    }
}

/// A leaf of `cpuid`, the first of its subleaves.
fn cpuid(leaf: u32) -> CpuidResult {
    #[allow(unused_unsafe, reason = "a safe function from Rust 1.94 on")]
    // SAFETY: every processor of x86-64 has `cpuid`.
    unsafe {
        __cpuid_count(leaf, 0)
    }
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

    /// The bits of `bits` that the low bits of `choice` choose.
    fn chosen(bits: &[u32], choice: u32) -> u32 {
        let bits = bits.iter().enumerate();
        let chosen = bits.filter(|(index, _)| choice >> index & 1 == 1);
        chosen.fold(0, |sum, (_, bit)| sum | bit)
    }

    /// The whole truth table: each bit that matters set or not, and all others set or not.
    #[test]
    fn detection_needs_instructions_and_operating_system() {
        let leaf_1_bits = [FMA, POPCNT, OSXSAVE, AVX];
        let leaf_7_bits = [AVX2, AVX512F];
        let others_1 = !chosen(&leaf_1_bits, 0b1111);
        let others_7 = !chosen(&leaf_7_bits, 0b11);
        for (choice_1, choice_7) in (0..16).flat_map(|one| (0..4).map(move |seven| (one, seven))) {
            for (xcr0, are_set) in (0..=0xFF).flat_map(|xcr0| [(xcr0, 0_u32), (xcr0, 1)]) {
                let others = 0_u32.wrapping_sub(are_set);
                let cpuid = Cpuid {
                    leaf_1_ecx: chosen(&leaf_1_bits, choice_1) | others_1 & others,
                    leaf_7_ebx: chosen(&leaf_7_bits, choice_7) | others_7 & others,
                };
                // SSE and AVX, bits 1 and 2; the mask registers and the zmm registers, bits 5 to 7.
                let ymm_kept = xcr0 & 0b10 != 0 && xcr0 & 0b100 != 0;
                let zmm_kept = ymm_kept && xcr0 >> 5 == 0b111;
                let avx2 = choice_1 == 0b1111 && choice_7 & 1 == 1 && ymm_kept;
                let avx512 = avx2 && choice_7 == 0b11 && zmm_kept;
                assert_eq!(
                    decide(cpuid, xcr0 | u64::from(others) << 8),
                    Features { avx2, avx512 },
                    "{cpuid:x?} {xcr0:x}"
                );
            }
        }
    }

    #[test]
    fn a_leaf_that_is_not_there_is_not_read() {
        let of_highest = |highest| {
            read(move |leaf| CpuidResult {
                eax: if leaf == 0 { highest } else { u32::MAX },
                ebx: u32::MAX,
                ecx: u32::MAX,
                edx: u32::MAX,
            })
        };
        for (highest, leaf_7_ebx) in [(1, 0), (6, 0), (7, u32::MAX), (0x20, u32::MAX)] {
            assert_eq!(of_highest(highest).leaf_7_ebx, leaf_7_ebx, "{highest}");
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
            (skylake_x, 0xA7, yes, no),
            (skylake_x, 0xC7, yes, no),
            // Bits of a newer register are none of AVX-512.
            (skylake_x, 0x6_0007, yes, no),
            (skylake_x, 0x6_00E7, yes, yes),
            // The zmm registers without the ymm registers, which are their lower halves.
            (skylake_x, 0xE3, no, no),
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

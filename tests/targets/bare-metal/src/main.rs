//! What an operation costs, or the digest of results. Printed by semihosting, that is by QEMU.

#![no_std]
#![no_main]

mod board;
#[cfg(feature = "digest")]
#[path = "digest.rs"]
mod job;
#[cfg(not(feature = "digest"))]
#[path = "measure.rs"]
mod job;

#[cfg_attr(target_arch = "arm", cortex_m_rt::entry)]
#[cfg_attr(target_arch = "riscv32", riscv_rt::entry)]
fn main() -> ! {
    job::run();
    semihosting::process::exit(0)
}

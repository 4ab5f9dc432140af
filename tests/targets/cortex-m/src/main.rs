//! What an operation costs, or the digest of results. Printed through the debugger, that is by QEMU.

#![no_std]
#![no_main]

use cortex_m_rt::entry;
use cortex_m_semihosting::debug;
use panic_semihosting as _;

#[cfg(feature = "digest")]
#[path = "digest.rs"]
mod job;
#[cfg(not(feature = "digest"))]
#[path = "measure.rs"]
mod job;

#[entry]
fn main() -> ! {
    job::run();
    debug::exit(debug::EXIT_SUCCESS);
    loop {}
}

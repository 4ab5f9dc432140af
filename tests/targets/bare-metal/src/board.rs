//! What differs between the boards: memory, and the counter of instructions.

use core::cell::UnsafeCell;

/// Whether the board has 16 KiB of RAM instead of megabytes.
const IS_SMALL: bool = !cfg!(any(target_arch = "riscv32", target_abi = "eabihf"));

/// The longest row.
pub const LONGEST: usize = match (IS_SMALL, cfg!(feature = "digest")) {
    (true, true) => 1000,
    (true, false) => 100,
    (false, true) => 5000,
    (false, false) => 1000,
};

/// Bytes below the stack pointer that are painted: less than the stack has.
#[cfg(not(feature = "digest"))]
pub const PAINTED: usize = if IS_SMALL { 12_000 } else { 100_000 };

/// Memory of a program with one thread and no interrupts.
pub struct Memory<const LEN: usize>(UnsafeCell<[f32; LEN]>);

// SAFETY: there is one thread.
unsafe impl<const LEN: usize> Sync for Memory<LEN> {}

impl<const LEN: usize> Memory<LEN> {
    pub const fn new() -> Self {
        Memory(UnsafeCell::new([0.0; LEN]))
    }

    /// The memory. To be called once.
    #[allow(clippy::mut_from_ref, reason = "see above: it is called once")]
    pub fn take(&'static self) -> &'static mut [f32; LEN] {
        // SAFETY: there is one thread, and each caller runs once.
        unsafe { &mut *self.0.get() }
    }
}

/// Counts instructions: with `-icount shift=0` QEMU's clock advances by 1 ns with each.
#[cfg(all(target_arch = "arm", not(feature = "digest")))]
pub struct Counter(cortex_m::peripheral::SYST);

#[cfg(all(target_arch = "arm", not(feature = "digest")))]
impl Counter {
    /// Instructions of a tick of the board's clock: 25 MHz, or 16 MHz.
    const TICK_TENTHS: u64 = if IS_SMALL { 625 } else { 400 };

    pub fn start() -> Self {
        let mut timer = cortex_m::Peripherals::take().unwrap().SYST;
        timer.set_clock_source(cortex_m::peripheral::syst::SystClkSource::Core);
        timer.set_reload(0x00FF_FFFF);
        timer.clear_current();
        timer.enable_counter();
        Counter(timer)
    }

    /// Instructions of `f`, at most 2^24 ticks.
    pub fn count(&mut self, f: impl FnOnce()) -> u64 {
        let before = cortex_m::peripheral::SYST::get_current();
        f();
        let ticks = before.wrapping_sub(cortex_m::peripheral::SYST::get_current()) & 0x00FF_FFFF;
        u64::from(ticks) * Self::TICK_TENTHS / 10
    }
}

/// Counts instructions.
#[cfg(all(target_arch = "riscv32", not(feature = "digest")))]
pub struct Counter;

#[cfg(all(target_arch = "riscv32", not(feature = "digest")))]
impl Counter {
    pub fn start() -> Self {
        Counter
    }

    /// Instructions of `f`.
    pub fn count(&mut self, f: impl FnOnce()) -> u64 {
        let before = riscv::register::minstret::read64();
        f();
        riscv::register::minstret::read64() - before
    }
}

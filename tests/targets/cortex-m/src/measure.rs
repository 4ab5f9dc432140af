//! Runs one operation on rows of some lengths and prints instructions and stack.

use core::hint::black_box;
use core::ptr;
use cortex_m::peripheral::{SYST, syst::SystClkSource};
use cortex_m_semihosting::hprintln;

const LENGTHS: [usize; 5] = [1, 10, 32, 100, 1000];
const LONGEST: usize = 1000;
/// Bytes below the stack pointer that are painted.
const PAINTED: usize = 100_000;
const PAINT: u32 = 0xA5A5_5A5A;
/// With `-icount shift=0` an instruction takes 1 ns, and the counter runs at 25 MHz.
const INSTRUCTIONS_PER_TICK: u32 = 40;

#[inline(never)]
fn operation(row: &mut [f32], results: &mut [f32]) {
    #[cfg(feature = "softmax")]
    online_softmax::softmax_in_place(row);
    #[cfg(feature = "log_softmax")]
    online_softmax::log_softmax_in_place(row);
    #[cfg(feature = "log_sum_exp")]
    {
        row[0] = online_softmax::log_sum_exp(row);
    }
    #[cfg(feature = "top_k")]
    {
        let mut best = [online_softmax::Candidate::default(); 5];
        online_softmax::top_k(row, &mut best);
        black_box(best);
    }
    #[cfg(feature = "textbook")]
    {
        online_softmax::reference::three_loop(row, results);
    }
    black_box((row, results));
}

/// Logits between −8 and 8.
fn fill(row: &mut [f32]) {
    let mut state = 1_u32;
    for logit in row {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *logit = (state >> 8) as f32 / (1 << 20) as f32 - 8.0;
    }
}

fn ticks(times: u32, mut f: impl FnMut()) -> u32 {
    let before = SYST::get_current();
    for _ in 0..times {
        f();
    }
    before.wrapping_sub(SYST::get_current()) & 0x00FF_FFFF
}

/// How far below this function's frame `f` writes.
#[inline(never)]
fn stack(f: impl FnOnce()) -> usize {
    let here = 0_u32;
    let top = ptr::from_ref(&here) as usize - 128;
    let bottom = (top - PAINTED) as *mut u32;
    // SAFETY: the board has 4 MiB of RAM, of which the stack has what statics leave; nothing lies in
    // the painted part, which is below the frame of this function.
    unsafe {
        for i in 0..PAINTED / 4 {
            bottom.add(i).write_volatile(PAINT);
        }
    }
    f();
    // SAFETY: as above.
    let untouched = unsafe { (0..PAINTED / 4).find(|i| bottom.add(*i).read_volatile() != PAINT) };
    PAINTED - 4 * untouched.unwrap_or(PAINTED / 4)
}

pub fn run() {
    let mut timer = cortex_m::Peripherals::take().unwrap().SYST;
    timer.set_clock_source(SystClkSource::Core);
    timer.set_reload(0x00FF_FFFF);
    timer.clear_current();
    timer.enable_counter();
    let mut row = [0.0; LONGEST];
    let mut results = [0.0; LONGEST];
    for len in LENGTHS {
        let (row, results) = (&mut row[..len], &mut results[..len]);
        let times = 4000 / len as u32;
        let overhead = ticks(times, || fill(black_box(row)));
        let all = ticks(times, || {
            fill(black_box(row));
            operation(row, results);
        });
        let instructions = (all - overhead) * INSTRUCTIONS_PER_TICK / times;
        fill(row);
        let bytes = stack(|| operation(row, results));
        let tenths = instructions * 10 / len as u32;
        hprintln!("{} {}.{} {}", len, tenths / 10, tenths % 10, bytes);
    }
}

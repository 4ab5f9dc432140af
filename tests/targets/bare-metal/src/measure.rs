//! Runs one operation on rows of some lengths. Prints instructions for an element, and stack.

use crate::board::{Counter, LONGEST, Memory, PAINTED};
use core::hint::black_box;
use core::ptr;
use online_softmax_operations::run as operation;
use semihosting::println;

const PAINT: u32 = 0xA5A5_5A5A;

static ROW: Memory<LONGEST> = Memory::new();
static RESULTS: Memory<LONGEST> = Memory::new();

/// Logits between −8 and 8.
fn fill(row: &mut [f32]) {
    let mut state = 1_u32;
    for logit in row {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *logit = (state >> 8) as f32 / (1 << 20) as f32 - 8.0;
    }
}

/// How far below this function's frame `f` writes.
#[inline(never)]
fn stack(f: impl FnOnce()) -> usize {
    let here = 0_u32;
    let top = (ptr::from_ref(&here) as usize - 128) & !3;
    let bottom = (top - PAINTED) as *mut u32;
    // SAFETY: the painted part is stack, below the frame of this function.
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
    let (row, results) = (ROW.take(), RESULTS.take());
    let mut counter = Counter::start();
    for len in [10, 100, 1000] {
        let Some((row, results)) = row.get_mut(..len).zip(results.get_mut(..len)) else {
            return;
        };
        let times = 2000 / len as u64;
        let filling = counter.count(|| (0..times).for_each(|_| fill(black_box(row))));
        let all = counter.count(|| {
            for _ in 0..times {
                fill(black_box(row));
                operation(row, results);
            }
        });
        let tenths = (all - filling) * 10 / times / len as u64;
        fill(row);
        let bytes = stack(|| operation(row, results));
        println!("{len} {}.{} {bytes}", tenths / 10, tenths % 10);
    }
}

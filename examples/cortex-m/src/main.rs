//! Classifies one reading on a Cortex-M4F: the probabilities of ten classes and the most probable.
//!
//! `cargo run --release` builds it and runs it under QEMU, after
//! `rustup target add thumbv7em-none-eabihf` and with Debian's package qemu-system-arm.

#![no_std]
#![no_main]

use cortex_m_rt::entry;
use cortex_m_semihosting::{debug, hprintln};
use online_softmax::{Outcome, softmax_in_place};
use panic_semihosting as _;

/// What a small network made of one image of a handwritten digit.
const LOGITS: [f32; 10] = [-3.1, 0.4, 1.9, 7.2, -5.0, 2.2, -8.6, 0.9, 5.8, 1.3];

#[entry]
fn main() -> ! {
    let mut row = LOGITS;
    let normalizer = softmax_in_place(&mut row);
    let is_right = normalizer.outcome() == Outcome::Finite;

    let mut best = 0;
    for (class, probability) in row.iter().enumerate() {
        hprintln!("{} {:.6}", class, probability);
        if *probability > row[best] {
            best = class;
        }
    }
    hprintln!("the digit is {}", best);

    let sum: f32 = row.iter().sum();
    if is_right && best == 3 && (sum - 1.0).abs() < 1e-6 {
        debug::exit(debug::EXIT_SUCCESS);
    } else {
        debug::exit(debug::EXIT_FAILURE);
    }
    loop {
        cortex_m::asm::wfi();
    }
}

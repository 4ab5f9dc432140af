//! Prints the digest of results.

use cortex_m_semihosting::hprintln;
use online_softmax::Backend;
use online_softmax_digest::{LONGEST, digest};

pub fn run() {
    let (mut row, mut results) = ([0.0; LONGEST], [0.0; LONGEST]);
    match digest(Backend::best(), &mut row, &mut results) {
        Ok((digest, _)) => hprintln!("{:016x}", digest),
        Err(error) => hprintln!("{}", error),
    }
}

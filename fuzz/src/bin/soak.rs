//! A check on input from a seed, without a fuzzer, until it has seen so many logits:
//!
//! ```text
//! cargo run --release --bin soak -- 100000000 [CHECK [SEED]]
//! ```
//!
//! The check is `backends_agree` unless another is named.

use online_softmax::Backend;
use online_softmax_fuzz::CHECKS;
use std::process::ExitCode;
use std::time::Instant;
use support::rows::Random;

/// The most bytes of one input.
const LONGEST_INPUT: u64 = 512;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let wanted = arguments
        .next()
        .and_then(|number| number.parse::<u64>().ok());
    let name = arguments.next().unwrap_or("backends_agree".into());
    let seed = arguments
        .next()
        .map_or(Ok(1), |number| number.parse::<u64>());
    let check = CHECKS.iter().find(|(known, _)| *known == name);
    let (Some(wanted), Some((_, check)), Ok(seed)) = (wanted, check, seed) else {
        eprintln!(
            "usage: soak LOGITS [CHECK [SEED]]; checks: {:?}",
            CHECKS.map(|(name, _)| name)
        );
        return ExitCode::FAILURE;
    };
    let backends: Vec<_> = Backend::available().map(Backend::name).collect();
    println!("{name} on {}, seed {seed}", backends.join(", "));

    let begin = Instant::now();
    let mut random = Random(seed);
    let (mut logits, mut inputs) = (0, 0_u64);
    let mut bytes = Vec::new();
    while logits < wanted {
        bytes.clear();
        let length = random.next_u64() % LONGEST_INPUT;
        while bytes.len() < length as usize {
            bytes.extend(random.next_u64().to_le_bytes());
        }
        let result = std::panic::catch_unwind(|| check(&bytes));
        let Ok(checked) = result else {
            eprintln!("failed on the input {bytes:02x?}");
            return ExitCode::FAILURE;
        };
        logits += checked as u64;
        inputs += 1;
    }
    let seconds = begin.elapsed().as_secs_f64();
    println!(
        "{logits} logits in {inputs} rows, {seconds:.1} s, {:.1} million logits a second: no failure",
        logits as f64 / seconds / 1e6
    );
    ExitCode::SUCCESS
}

//! Log-sum-exp beside rten-vecmath and candle.
//!
//! ```text
//! RUSTFLAGS=-Cllvm-args=-inline-threshold=3000 \
//! cargo run --release --manifest-path benches/peers/Cargo.toml --features candle \
//!     --bin log_sum_exp -- [--seconds SECONDS_A_SHAPE] [ROWSxCOLUMNS ...]
//! ```
//!
//! Without the feature candle is left out.
//!
//! rten-vecmath has no log-sum-exp, but the log-softmax of one element gives it: x − log a. That is
//! faster than the maximum and the sum from its two functions for them.

use peers::{Contender, Operation, as_uninit, compare};
use rten_simd::SimdOp;
use rten_vecmath::LogSoftmax;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut log_probabilities = Vec::new();
    let rten = Contender::new("rten-vecmath", move |logits, columns, results| {
        log_probabilities.resize(columns, 0.0);
        for (row, result) in logits.chunks_exact(columns).zip(results) {
            // SAFETY: it writes floats and nothing else.
            LogSoftmax::new(row, unsafe { as_uninit(&mut log_probabilities) }).dispatch();
            *result = row[0] - log_probabilities[0];
        }
    });
    let peers = vec![
        rten,
        #[cfg(feature = "candle")]
        peers::candle::log_sum_exp(),
    ];
    compare(Operation::LogSumExp, peers)
}

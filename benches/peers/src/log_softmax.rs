//! Log-softmax beside rten-vecmath and candle.
//!
//! ```text
//! RUSTFLAGS=-Cllvm-args=-inline-threshold=3000 \
//! cargo run --release --manifest-path benches/peers/Cargo.toml --features candle \
//!     --bin log_softmax -- [--seconds SECONDS_A_SHAPE] [ROWSxCOLUMNS ...]
//! ```
//!
//! Without the feature candle is left out.

use peers::{Contender, Operation, as_uninit, compare};
use rten_simd::SimdOp;
use rten_vecmath::LogSoftmax;
use std::process::ExitCode;

fn main() -> ExitCode {
    let rten = Contender::each_row("rten-vecmath", |logits, log_probabilities| {
        // SAFETY: it writes floats and nothing else.
        LogSoftmax::new(logits, unsafe { as_uninit(log_probabilities) }).dispatch();
    });
    let peers = vec![
        rten,
        #[cfg(feature = "candle")]
        peers::candle::log_softmax(),
    ];
    compare(Operation::LogSoftmax, peers)
}

//! Softmax beside rten-vecmath and candle.
//!
//! ```text
//! cargo run --release --manifest-path benches/peers/Cargo.toml --features candle -- \
//!     [--seconds SECONDS_A_SHAPE] [ROWSxCOLUMNS ...]
//! ```
//!
//! Without the feature candle is left out.

use peers::{Contender, Operation, as_uninit, compare};
use rten_simd::SimdOp;
use rten_vecmath::Softmax;
use std::process::ExitCode;

fn main() -> ExitCode {
    let rten = Contender::each_row("rten-vecmath", |logits, probabilities| {
        // SAFETY: it writes floats and nothing else.
        Softmax::new(logits, unsafe { as_uninit(probabilities) }).dispatch();
    });
    let peers = vec![
        rten,
        #[cfg(feature = "candle")]
        peers::candle::softmax(),
    ];
    compare(Operation::Softmax, peers)
}

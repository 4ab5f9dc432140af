//! Softmax beside rten-vecmath.
//!
//! ```text
//! cargo run --release --manifest-path benches/peers/Cargo.toml -- \
//!     [--seconds SECONDS_A_SHAPE] [ROWSxCOLUMNS ...]
//! ```

use peers::{Contender, Operation, as_uninit, compare};
use rten_simd::SimdOp;
use rten_vecmath::Softmax;
use std::process::ExitCode;

fn main() -> ExitCode {
    let rten = Contender::each_row("rten-vecmath", |logits, probabilities| {
        // SAFETY: it writes floats and nothing else.
        Softmax::new(logits, unsafe { as_uninit(probabilities) }).dispatch();
    });
    compare(Operation::Softmax, vec![rten])
}

//! Ordinary ways to call online-softmax with `f32` logits, a test for each.
//!
//! A feature of a crate is on as soon as any crate of a program asks for it. So nothing that
//! compiles without a feature may fail to compile with it, and the result must be the same. What
//! breaks first is code that leaves a type to inference: it compiles only as long as the crate takes
//! a single type in that place. `cargo test` and `cargo test --features half` run here in turn.
//!
//! Add a test for every style that a caller reports; take none away.
#![cfg(test)]

mod elements;
mod functions;
mod operations;
mod slices;

/// The softmax of `[0, ln 3]`, to a few ULP.
fn is_quarter_and_rest(probabilities: &[f32]) -> bool {
    let near = |value: f32, to: f32| (value - to).abs() < 1e-6;
    probabilities.len() == 2 && near(probabilities[0], 0.25) && near(probabilities[1], 0.75)
}

/// Its logits.
const QUARTER_AND_REST: [f32; 2] = [0.0, 1.098_612_3];

//! candle, on one thread, as its users run it: each call allocates the tensor that it returns, which is
//! dropped when the next one begins. The copy of the logits into a tensor is not measured.

use crate::{Contender, Implementation};
use candle_core::{D, Device, Result, Tensor};

/// What the report says of it.
pub const NOTE: &str = "candle allocates its results, and that is part of its time; the others are given \
    a place for them.";

/// Its softmax.
#[must_use]
pub fn softmax() -> Contender {
    contender(candle_nn::ops::softmax_last_dim)
}

/// Its log-softmax.
#[must_use]
pub fn log_softmax() -> Contender {
    contender(|logits| candle_nn::ops::log_softmax(logits, D::Minus1))
}

/// Its log-sum-exp.
#[must_use]
pub fn log_sum_exp() -> Contender {
    contender(|logits| logits.log_sum_exp(D::Minus1))
}

fn contender(operation: fn(&Tensor) -> Result<Tensor>) -> Contender {
    // SAFETY: contenders are made on the main thread before there are others.
    unsafe { std::env::set_var("RAYON_NUM_THREADS", "1") };
    Contender::of(
        "candle",
        Candle {
            operation,
            logits: None,
            results: None,
        },
    )
}

struct Candle {
    operation: fn(&Tensor) -> Result<Tensor>,
    logits: Option<Tensor>,
    results: Option<Tensor>,
}

impl Implementation for Candle {
    fn load(&mut self, logits: &[f32], columns: usize) {
        let shape = (logits.len() / columns, columns);
        self.results = None;
        self.logits =
            Some(Tensor::from_slice(logits, shape, &Device::Cpu).expect("the shape fits"));
    }

    fn compute(&mut self, _: &[f32], _: usize, _: &mut [f32]) {
        self.results = None;
        let logits = self.logits.as_ref().expect("logits are loaded first");
        self.results = Some((self.operation)(logits).expect("it is a matrix of f32 on the CPU"));
    }

    fn unload(&self, results: &mut [f32]) {
        let computed = self.results.as_ref().expect("results are computed first");
        let computed = computed.flatten_all().and_then(|all| all.to_vec1::<f32>());
        let computed = computed.expect("they are f32 on the CPU");
        results[..computed.len()].copy_from_slice(&computed);
    }
}

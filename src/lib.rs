#![doc = include_str!("../README.md")]
#![no_std]

#[cfg(test)]
extern crate std;

mod axis;
mod backend;
mod error;
mod exp;
mod gradient;
#[cfg(feature = "half")]
mod half;
mod kernel;
mod loss;
mod normalizer;
mod options;
pub mod reference;
mod softmax;
mod stream;
mod top_k;
mod vector;

#[cfg(feature = "half")]
pub use crate::half::{Logit, Probability};
pub use backend::Backend;
pub use error::Error;
pub use gradient::{log_softmax_gradient, softmax_gradient};
pub use loss::{cross_entropy, cross_entropy_gradient};
pub use normalizer::{Normalizer, Outcome};
pub use options::{FullyMasked, Mask};
pub use softmax::{
    Softmax, log_softmax, log_softmax_in_place, log_sum_exp, softmax, softmax_in_place,
};
pub use stream::Stream;
pub use top_k::{Candidate, top_k};

#![doc = include_str!("../README.md")]
#![no_std]
#![cfg_attr(docsrs, feature(doc_cfg))]
// Only the vector types and the detection of instruction sets need it: `simd`.
#![deny(unsafe_code)]

#[cfg(test)]
extern crate std;

mod backend;
mod checks;
mod columns;
mod dispatch;
mod driver;
mod error;
mod functions;
mod gradient;
#[cfg(feature = "half")]
mod half;
mod loss;
mod mask;
mod math;
mod normalizer;
mod options;
pub mod reference;
mod rows;
#[allow(unsafe_code, reason = "intrinsics and their detection")]
mod simd;
mod softmax;
mod source;
mod stream;
mod top_k;

#[cfg(feature = "half")]
pub use crate::half::{Logit, Probability, SoftmaxOf};
pub use backend::Backend;
pub use error::Error;
pub use functions::{log_softmax, log_softmax_in_place, log_sum_exp, softmax, softmax_in_place};
pub use gradient::{log_softmax_gradient, softmax_gradient};
pub use loss::{cross_entropy, cross_entropy_gradient};
pub use mask::{FullyMasked, Mask};
pub use normalizer::{Normalizer, Outcome};
pub use softmax::Softmax;
pub use stream::Stream;
pub use top_k::{Candidate, top_k};

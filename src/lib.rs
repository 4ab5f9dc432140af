#![doc = include_str!("../README.md")]
//!
//! # Floating-point environment
//!
//! Rust code is compiled for the default environment: results are rounded to nearest, and subnormal
//! numbers are numbers. A program in another language may have changed it. The test
//! `float_environment` shows on x86-64 what the crate does then. No call panics or hangs.
//!
//! - *Subnormal operands or results count as zero.* Every [`Outcome`] is right, and probabilities
//!   of 2^−125 and more have the usual bits. Subnormal `f16` logits are numbers on `Avx512`, and
//!   zero on the other backends.
//! - *Another rounding mode.* The bounds and the same bits are lost. A row may be reported as NaN,
//!   and a fully masked one as any other. A row with NaN or +∞ still has no probability.
//!
//! # Memory that others change
//!
//! A call may read a logit more than once. The slices of a call are borrowed, so safe code cannot
//! change them meanwhile. If a caller makes slices from pointers, no other thread may write to them
//! during the call, and the slices of results may not overlap any other: both are undefined
//! behaviour.
#![no_std]
#![cfg_attr(docsrs, feature(doc_cfg))]
// Only `simd` has unsafe code: intrinsics, their detection, and registers side by side.
#![deny(unsafe_code)]

#[cfg(test)]
extern crate std;

// The path of a call, from top to bottom. A module imports only from those below it. All may import
// the values at the end.
//
// softmax, parallel, functions, stream, loss, gradient,
//   top_k, sampler, half                                       public calls
//   checks                                                     every `Error`
//   driver                                                     options → operations on parts
//   rows (a row fills the registers), columns (a lane each)    algorithms; start with their mod.rs
//   dispatch                                                   `Backend` → instructions
//   source                                                     logits and results in memory
//   math                                                       formulas over registers
//   simd                                                       instruction sets
// backend, broadcast, error, mask, normalizer, options         values
mod backend;
mod broadcast;
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
#[cfg(feature = "rayon")]
mod parallel;
pub mod reference;
mod rows;
mod sampler;
#[allow(
    unsafe_code,
    reason = "intrinsics, their detection, and registers side by side"
)]
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
pub use loss::{CrossEntropy, cross_entropy, cross_entropy_gradient};
pub use mask::{FullyMasked, Mask};
pub use normalizer::{Normalizer, Outcome};
#[cfg(feature = "rayon")]
pub use parallel::ParallelSoftmax;
pub use sampler::{Kept, Sampler};
pub use softmax::Softmax;
pub use stream::Stream;
pub use top_k::{Candidate, top_k};

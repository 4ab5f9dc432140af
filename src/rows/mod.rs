//! Softmax across a row: a row fills the registers.
//!
//! # The way of a row
//!
//! ```text
//!               max_pass       choose_shift     exp_sum_pass          finish          normalize_pass
//! ThreePass     maximum    →   shift, bias  →   numerators → scratch  denominator  →  numerator / d
//! Streamed                                      the recurrence        denominator  →  exp, / d
//! LogSoftmax                                    the recurrence        log d        →  (x − m) − log d
//! reads         1                               1                                     1
//! ```
//!
//! An [`Algorithm`](algorithm::Algorithm) is these steps. The passes read or write the row. What lies between two passes
//! waits for the end of one: lanes are combined, a quotient is taken. So the rows of a matrix
//! overlap: while one waits, a pass over a neighbour runs ([`matrix`]).
//!
//! # Which algorithm
//!
//! [`ThreePass`](three_pass::ThreePass) for a softmax of up to [`CACHED`](schedule::CACHED) columns: the row is still in a cache when it is
//! read again. [`Streamed`](streamed::Streamed) for longer ones. [`LogSoftmax`](log_softmax::LogSoftmax) for every log-softmax.
//!
//! # The same bits
//!
//! 32 virtual lanes ([`LANES`](crate::simd::LANES)), blocks of 128 logits, and the points where the
//! shift moves depend on the position in the row and on its logits alone. They do not depend on the
//! registers, on where a stream was cut, or on what is done with the result. A numerator that was
//! stored becomes a result by the same operations as one that was just computed.
//!
//! # Glossary
//!
//! | word | meaning |
//! |---|---|
//! | numerator | e^x under the shift of the row, rounded to `f32` |
//! | shift | what the numerators are relative to, near the maximum ([`Shift`](crate::math::shift::Shift)) |
//! | lane | one of 32 positions in a group; each has a maximum and a sum of its own |
//! | group | 32 logits: 2 registers of AVX-512, 4 of AVX2, 8 of NEON, 32 scalars |
//! | block | 4 groups |
//! | slice | 16 blocks, whose numerators are summed in `f32` |
//! | scratch | the places of results while they hold numerators |
//! | term | a summand of the denominator |

mod batch;
mod denominator;
mod log_denominators;
pub(crate) mod log_sum_exp;
pub(crate) mod matrix;
mod normalize;
mod other_terms;
pub(crate) mod preprocess;
mod quotients;
pub(crate) mod recurrence;
pub(crate) mod row;
pub(crate) mod schedule;
mod short;
mod slices;
mod state;
mod streamed;
mod sums;

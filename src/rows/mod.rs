//! Softmax across a row.
//!
//! # The path of a row
//!
//! ```text
//! state::extremes_of        the largest logit; are all logits usual?
//!    ↓  state                the shift; where the sum begins
//! sums::exp_sums            numerators, and their sum in two floats; numerators → scratch
//!    ↓  quotients, log_denominators     one division; one logarithm
//! normalize::normalize      numerator · (1 / d)      log-softmax: (x − m) − log d
//! ```
//!
//! The passes go over logits. What lies between the passes ([`state`], [`quotients`],
//! [`log_denominators`]) is a long chain of dependent operations. So it is done for all rows of
//! a batch at once: row i is lane i.
//!
//! # Which form for which length
//!
//! | columns | form | |
//! |---|---|---|
//! | to 32 | [`short`] | as many rows at once as a register has lanes, transposed in registers |
//! | to 2048 (to 256 in a matrix of 2^21 logits or more) | [`batch`] | each pass goes over several rows, at most as many as lanes, as long as they fit in the first-level cache; also the last rows of a matrix of short ones |
//! | to 2^21 | [`batch`] of one row | read once, slice by slice ([`slices`]); numerators are stored |
//! | above | the same | numerators are not stored but computed again: two reads and one write |
//!
//! Rows of which a mask leaves different columns are batches too ([`masked`]).
//!
//! A row by itself ([`row`]) is a batch of one row ([`slices`]), whatever its length. So is each
//! row of a matrix where registers have one lane, where results of half precision hold no
//! numerators, and where a matrix is so large that fewer rows at a time are faster ([`schedule`]).
//! Targets without vector instructions have no other form.
//!
//! # Usual and unusual logits
//!
//! If all logits of a batch are between −45 and 24, and there is no sink, all rows have one shift,
//! no logit is clamped, and no result is so small that it must be flushed to zero. Other batches
//! take about a tenth more time. Two kinds of exceptions are found for each row; if there is one,
//! the last pass of the batch has more operations: rows without a softmax, and rows whose largest
//! probability may be exactly one over an integer ([`quotients`]). NaN needs no other operations
//! for the results of a softmax: it makes the sum NaN, and a NaN sum makes every result NaN. Only
//! the normalizer and the log-sum-exp must tell NaN from +∞; for that rows are searched
//! ([`other_terms`]).
//!
//! # The same bits
//!
//! The forms, and usual and unusual batches, give the same bits. The sum of a row is that of 32
//! virtual lanes ([`LANES`](crate::simd::LANES)), combined by one tree, whatever the registers. Two
//! shifts of a row without an offset differ by a power of two, which changes no bit of a quotient.
//! Up to [`LONGEST_EXACT`](schedule::LONGEST_EXACT) columns the high parts of the sum are added
//! without error, in any order. A numerator that was stored becomes a result by the same operations
//! as one that was just computed.
//!
//! The recurrence ([`recurrence`]) has a sum of its own. It serves streams and normalizers. Where
//! it moves its shift depends on the logits alone, not on how a stream was cut.
//!
//! # Glossary
//!
//! | word | meaning |
//! |---|---|
//! | numerator | e^x under the shift of the row, rounded to `f32` |
//! | shift | what the numerators are relative to, near the maximum ([`Shift`](crate::math::shift::Shift)) |
//! | lane | one of the positions in a register; a virtual lane is one of 32 positions in a group, and has a sum of its own |
//! | start of a sum | a power of two above every numerator ([`CompensatedSum`](crate::math::compensated_sum::CompensatedSum)) |
//! | group | 32 logits, in as many registers as hold them ([`REGISTERS`](crate::simd::Simd::REGISTERS)) |
//! | block | 4 groups, the unit of the recurrence |
//! | slice | 2048 logits, whose numerators are summed from one start |
//! | scratch | the places of results while they hold numerators |
//! | term | a summand of the denominator: a numerator before it is rounded |
//! | unit shift | the shift of logits near zero: nothing is subtracted, and the numerator of 0 is 2^47 |
//! | `LOG` | log-softmax instead of softmax |
//! | `ONE` | a batch of exactly one row |
//! | `CLAMPED` | logits may be negligible, or have an offset; if not, they have the unit shift |
//! | `PRECISE` | the exponential keeps r in two parts; for log-softmax and log-sum-exp |
//! | `STORED` | numerators are read, not logits |
//! | confident | said of a row whose other terms are less than 1/64 (short rows: 1/1024) of the largest |

mod batch;
mod denominator;
mod log_denominators;
pub(crate) mod log_sum_exp;
pub(crate) mod masked;
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
mod sums;

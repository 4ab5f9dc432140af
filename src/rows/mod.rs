//! Softmax across a row.
//!
//! # The way of a row
//!
//! ```text
//! max_pass           the largest logit; are all logits usual?
//!    ↓  state        the shift; where the sum begins
//! exp_sum            numerators, and their sum in two floats; numerators → scratch
//!    ↓  quotients, log_denominators     one division; one logarithm
//! normalize          numerator · (1 / d)             log-softmax: (x − m) − log d
//! ```
//!
//! The passes go over logits. What lies between the passes ([`state`], [`quotients`],
//! [`log_denominators`]) is a long chain of dependent operations. So it is done for as many rows at
//! once as a register has lanes: row i is lane i.
//!
//! # Which form for which length
//!
//! | columns | form | |
//! |---|---|---|
//! | to 32 | [`short`] | as many rows at once as a register has lanes, transposed in registers |
//! | to 2048 | [`batch`] | each pass goes over several rows, at most as many as lanes, as long as they fit in the first-level cache; also the last rows of a matrix of short ones |
//! | to 2^21 | [`batch`] of one row | read once, slice by slice ([`slices`]); numerators are stored |
//! | above | the same | numerators are not stored but computed again: two reads and one write |
//!
//! A row by itself ([`row`]) is a batch of one row ([`slices`]), whatever its length. So is each
//! row of a matrix where registers have one lane. Targets without vector instructions have no other
//! form.
//!
//! # Usual and unusual logits
//!
//! If all logits of a batch are between −45 and 24, and there is no sink, all rows have one shift,
//! no logit is clamped, and no result is so small that it must be flushed to zero. Other batches
//! pay for that: about a tenth more time. Two kinds of exceptions are found for each row; if there
//! is one, the batch takes the slower way: rows without a softmax, and rows whose largest
//! probability may be exactly one over an integer ([`quotients`]). NaN needs no care: it makes the
//! sum NaN, and a NaN sum makes every result NaN.
//!
//! # The same bits
//!
//! The forms, and usual and unusual batches, give the same bits. The sum of a row is that of 32
//! virtual lanes ([`LANES`](crate::simd::LANES)), combined by one tree, whatever the registers. Two
//! shifts of a row without an offset differ by a power of two, which changes no bit of a quotient.
//! Up to [`EXACT`](schedule::EXACT) columns the high parts of the sum are added without error, in
//! any order. A numerator that was stored becomes a result by the same operations as one that was
//! just computed.
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
//! | bias | where a sum begins: a power of two above every numerator ([`CompensatedSum`](crate::math::compensated_sum::CompensatedSum)) |
//! | group | 32 logits: 2 registers of AVX-512, 4 of AVX2, 8 of NEON, 32 scalars |
//! | block | 4 groups, the unit of the recurrence |
//! | slice | 2048 logits, whose numerators are summed from one bias |
//! | scratch | the places of results while they hold numerators |
//! | term | a summand of the denominator |
//! | confident | said of a row whose other terms are less than 1/64 (short rows: 1/1024) of the largest |

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
mod sums;

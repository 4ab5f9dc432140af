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
//! | to 32, or to 48 ([`LONGEST_SHORT`](crate::simd::Simd::LONGEST_SHORT)) | [`short`] | as many rows at once as a register has lanes, transposed in registers |
//! | to 2048 (to 256 in a matrix of 2^21 logits or more) | [`batch`] | each pass goes over several rows, at most as many as lanes, as long as they fit in the first-level cache; also the last rows of a matrix of short ones |
//! | to 2^21 | [`batch`] of one row | read once, slice by slice ([`slices`]); numerators are stored |
//! | above | the same | numerators are not stored but computed again: two reads and one write |
//!
//! Matrices of 2^22 logits or more, beyond the caches: where a register is a cache line, the results
//! of rows of 257 to 4096 columns, and of a log-softmax above 1024, are written past the caches
//! ([`staged`]). So are rows of more than 256 columns with a mask or, up to 1024 (512 of a log-softmax), preprocessed logits
//! ([`masked_staged`]), and rows whose numerators are computed again.
//!
//! Rows of which a mask leaves different columns are batches too ([`masked`]). Where as many as a
//! register has lanes follow one another, each with at most 32 columns from the first on, they are
//! transposed, with −∞ in the lanes of rows that end before a column; so are rows of at most 32
//! columns with gaps between them. Where code is to be small
//! ([`IS_SMALL`](crate::simd::Simd::IS_SMALL)) both are batches. With results of half precision,
//! which have no room for preprocessed logits, masked rows are read one by one.
//!
//! A row by itself ([`row`]) is a batch of one row ([`slices`]), whatever its length. So is each
//! row of a matrix where registers have one lane, where results of half precision hold no
//! numerators, and where a matrix is so large that fewer rows at a time are faster ([`schedule`]).
//! Targets without vector instructions have no other form. Where code is to be small
//! ([`IS_SMALL`](crate::simd::Simd::IS_SMALL)), a row by itself is read slice by slice even if it is
//! one slice. With the feature `rayon` several threads
//! may share a row of more than 2^17 columns (`parts`).
//!
//! # Usual and unusual logits
//!
//! If all logits of a batch are between −42 and 24, and there is no sink, all rows have one shift,
//! no logit is clamped, and no result is so small that it must be flushed to zero. Other batches
//! take 1.1 to 1.4 times the time. On Intel processors an operation on a subnormal number takes
//! about 150 cycles. There it is more where numerators themselves are subnormal (2^−127 to 2^−126,
//! of a logit about 120 below the maximum), and in a log-softmax of confident rows where their
//! rounding errors are.
//!
//! Two kinds of exceptions are found for each row; if there is one, the last pass of the batch has
//! more operations: rows without a softmax, and rows whose largest probability may be exactly one
//! over an integer ([`quotients`]). NaN needs no other operations for the results of a softmax: it
//! makes the sum NaN, and a NaN sum makes every result NaN. Only the normalizer and the log-sum-exp
//! must tell NaN from +∞; for that rows are searched ([`other_terms`]).
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
//! # Error bound
//!
//! A relative error of u = 2^−24 is at most one ULP of a result p: half an ULP at the lower end of
//! its binade, one at the upper. So an ULP bound is the sum of the relative errors in u, of the
//! roundings of the result itself, and of this: where p is just below a power of two and the result
//! is above it, the last rounding is by half of the larger spacing, 1 ULP of p instead of 1/2.
//!
//! Softmax, in u and ULP; e is from the table of the module `math::exp`, "every logit":
//!
//! | term | fused | unfused |
//! |---|---|---|
//! | numerator, too large | 1.433 | 1.272 |
//! | denominator, too small: 1 + t of its terms | 0.692 | 0.625 |
//! | their sum to 2048 columns: start, lanes and tree (`math::compensated_sum`) | 0.03 | 0.03 |
//! | 1 / d in two floats, one Newton step | 10^−6 | 10^−6 |
//! | rounding of numerator · (1 / d) | 0.5 | 0.5 |
//! | **sum** | **2.66** | **2.43** |
//! | below a power of two: + 0.5 | 3.16 | **2.93** |
//! | fused, 2^−26 is taken off the quotient: − 0.25 | **2.91** | |
//!
//! The other way round (numerator too small) it is 2.64 + 0.25 fused and 2.39 unfused. So the error is
//! below 3 ULP for every row. Results near 2^−126 are computed with a factor of 2^64, and none of
//! 2^−126 or more is set to zero: [`NEGLIGIBLE`](crate::math::epilogue::NEGLIGIBLE) leaves 16 u for
//! the errors above.
//!
//! Log-softmax, x − (m + log d), with the precise exponential. The other terms o = d − 1 err as each
//! term and the maximum's do. The maximum's has no last rounding where o < 1/2, and o errs by 0.90 u
//! (fused) or 0.95 u; beside equal maxima their errors are equal. Log d errs by that times
//! o / (1 + o), at most log d:
//!
//! | term | fused | unfused |
//! |---|---|---|
//! | o over the term of the maximum | 0.90 | 0.95 |
//! | sum of o, to 2048 columns; where o is 1/16, the largest that is not summed alone, 1/256 to 32 | 0.19 | 0.19 |
//! | log1p where log d is small; 0.46 u and 0.48 u below 1/4 | 0.08 | 0.08 |
//! | rounding of the result of the maximum | 0.5 | 0.5 |
//! | **sum** | **1.67** | **1.72** |
//! | below a power of two: + 0.5 | **2.17** | **2.22** |
//!
//! For other logits two roundings are at most 1 ULP, 1.5 below a power of two, and log d ≥ 0.47 errs
//! by 1.1 ULP or less: 2.1 and 2.6. These worst cases do not meet: a search uphill found 1.61.
//!
//! Log-sum-exp: log d errs by 1.21 u or 1.27 u and 0.32 u, which is 0.8 ULP of 1, and m + log d is
//! rounded once: 1.3 ULP of max(1, |result|), 1.8 below a power of two.
//!
//! Above 2048 columns the sums of K = N / 2048 slices are added to those of the row, and normalized
//! each time: 3 · K · u² of the sum in all, 0.0015 u at 2^24 columns.
//!
//! The recurrence adds slices in `f64`. Its sums begin at zero, so o has up to 1 u more
//! (`math::compensated_sum`).
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
//! | confident | said of a row whose other terms are less than 1/16 (to 32 columns: 1/256) of the largest |

mod batch;
mod denominator;
mod log_denominators;
pub(crate) mod log_sum_exp;
pub(crate) mod masked;
pub(crate) mod masked_staged;
pub(crate) mod matrix;
mod normalize;
pub(crate) mod other_terms;
#[cfg(feature = "rayon")]
pub(crate) mod parts;
pub(crate) mod preprocess;
mod quotients;
pub(crate) mod recurrence;
pub(crate) mod results;
pub(crate) mod row;
pub(crate) mod schedule;
mod short;
mod slices;
mod staged;
mod state;
mod sums;
pub(crate) mod targets;
mod writer;

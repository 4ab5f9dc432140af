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
//! An [`Algorithm`] is these steps. The passes read or write the row. What lies between two passes
//! waits for the end of one: lanes are combined, a quotient is taken. So the rows of a matrix
//! overlap: while one waits, a pass over a neighbour runs ([`matrix`]).
//!
//! # Which algorithm
//!
//! [`ThreePass`] for a softmax of up to [`CACHED`] columns: the row is still in a cache when it is
//! read again. [`Streamed`] for longer ones. [`LogSoftmax`] for every log-softmax.
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

use crate::normalizer::Normalizer;
use crate::options::Sink;
use crate::simd::{Simd, WithSimd};
use crate::source::{Source, SrcDst};
use log_softmax::LogSoftmax;
use normalize::{RowEpilogue, normalize};
use schedule::CACHED;
use streamed::Streamed;
use three_pass::ThreePass;

mod denominator;
mod log_softmax;
pub(crate) mod matrix;
mod normalize;
pub(crate) mod preprocess;
pub(crate) mod recurrence;
pub(crate) mod schedule;
mod streamed;
mod three_pass;

/// A softmax as passes over a row and the steps between them.
trait Algorithm: Sized {
    /// Whether the last pass loads numerators that the second has stored, where there is scratch.
    const USES_SCRATCH: bool = false;

    /// What the first pass finds, by lanes.
    type Maxima<S: Simd>;

    /// What the second pass needs of the first.
    type Shift<S: Simd>;

    /// What the second pass finds, by lanes.
    type Sums<S: Simd>;

    /// The first pass. It writes nothing.
    fn max_pass<S: Simd, L: Source>(simd: S, logits: L) -> Self::Maxima<S>;

    fn choose_shift<S: Simd>(simd: S, maxima: Self::Maxima<S>, sink: Sink) -> Self::Shift<S>;

    /// The second pass. It may store numerators in scratch. The memory `ahead` logits further on is
    /// prefetched, unless that is 0.
    fn exp_sum_pass<S: Simd, R: SrcDst>(
        simd: S,
        row: R,
        shift: Self::Shift<S>,
        ahead: usize,
    ) -> Self::Sums<S>;

    fn finish<S: Simd>(simd: S, sums: Self::Sums<S>, sink: Sink) -> Self;

    /// What the last pass loads and writes.
    fn last_pass<R: SrcDst>(row: R) -> impl SrcDst;

    /// How what the last pass loads becomes results.
    fn epilogue<S: Simd, L: Source>(
        &self,
        simd: S,
        loaded: L,
        has_numerators: bool,
    ) -> RowEpilogue<S::Vector>;

    /// The last pass. It writes the results.
    #[inline(always)]
    fn normalize_pass<S: Simd, R: SrcDst>(&self, simd: S, row: R) {
        let row = Self::last_pass(row);
        let has_numerators = Self::USES_SCRATCH && R::HAS_SCRATCH;
        match self.epilogue(simd, row.logits(), has_numerators) {
            RowEpilogue::Fallback(epilogue) => normalize(simd, row, &epilogue),
            RowEpilogue::Probability(epilogue) => normalize(simd, row, &epilogue),
            RowEpilogue::ExactMax(epilogue) => normalize(simd, row, &epilogue),
            RowEpilogue::LogProbability(epilogue) => normalize(simd, row, &epilogue),
        }
    }

    /// The state of the row. To be called before the last pass.
    fn normalizer<S: Simd, R: SrcDst>(&self, simd: S, row: R) -> Normalizer;
}

/// The softmax of one row, or the log-softmax if `LOG`. Returns the state of the row.
pub(crate) struct Row<const LOG: bool, R> {
    pub(crate) row: R,
    pub(crate) sink: Sink,
}

impl<const LOG: bool, R: SrcDst> WithSimd for Row<LOG, R> {
    type Output = Normalizer;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Normalizer {
        let Row { row, sink } = self;
        if LOG {
            one_row::<LogSoftmax, S, R>(simd, row, sink)
        } else if row.len() <= CACHED {
            one_row::<ThreePass, S, R>(simd, row, sink)
        } else {
            one_row::<Streamed, S, R>(simd, row, sink)
        }
    }
}

#[inline(always)]
fn one_row<A: Algorithm, S: Simd, R: SrcDst>(simd: S, mut row: R, sink: Sink) -> Normalizer {
    let shift = A::choose_shift(simd, A::max_pass(simd, row.logits()), sink);
    let sums = A::exp_sum_pass(simd, row.reborrow(), shift, 0);
    let algorithm = A::finish(simd, sums, sink);
    let normalizer = algorithm.normalizer(simd, row.reborrow());
    algorithm.normalize_pass(simd, row);
    normalizer
}

//! One row by itself.

use super::algorithm::Algorithm;
use super::log_softmax::LogSoftmax;
use super::schedule::CACHED;
use super::streamed::Streamed;
use super::three_pass::ThreePass;
use crate::normalizer::Normalizer;
use crate::options::Sink;
use crate::simd::{Simd, WithSimd};
use crate::source::SrcDst;

/// The softmax of one row, or the log-softmax if `LOG`. Returns the state of the row.
pub(crate) struct Row<const LOG: bool, R> {
    pub(crate) row: R,
    pub(crate) sink: Sink,
}

impl<const LOG: bool, R: SrcDst> WithSimd for Row<LOG, R> {
    type Output = Normalizer;

    #[cfg_attr(not(unoptimized), inline(always))]
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

#[cfg_attr(not(unoptimized), inline(always))]
fn one_row<A: Algorithm, S: Simd, R: SrcDst>(simd: S, mut row: R, sink: Sink) -> Normalizer {
    let shift = A::choose_shift(simd, A::max_pass(simd, row.logits()), sink);
    let sums = A::exp_sum_pass(simd, row.reborrow(), shift, 0);
    let algorithm = A::finish(simd, sums, sink);
    let normalizer = algorithm.normalizer(simd, row.reborrow());
    algorithm.normalize_pass(simd, row);
    normalizer
}

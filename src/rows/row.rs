//! One row by itself.

use super::batch::Batch;
use super::other_terms::{confident, has_nan, other_terms};
use super::schedule::{CACHED, SHORT, prefetch_distance};
use super::short;
use super::state::{RowShift, States};
use super::streamed;
use crate::math::reduce::first_lane;
use crate::normalizer::Normalizer;
use crate::options::Sink;
use crate::simd::{Simd, Vector, WithSimd};
use crate::source::{SrcDst, Unwritten};

/// The softmax of one row, or the log-softmax if `LOG`. Returns the state of the row.
pub(crate) struct Row<const LOG: bool, R> {
    pub(crate) row: R,
    pub(crate) sink: Sink,
}

impl<const LOG: bool, R: SrcDst> WithSimd for Row<LOG, R> {
    type Output = Normalizer;

    #[cfg_attr(not(unoptimized), inline(always))]
    fn with_simd<S: Simd>(self, simd: S) -> Normalizer {
        let Row { mut row, sink } = self;
        let columns = row.len();
        if columns == 0 {
            return sink.merge_into(Normalizer::new());
        }
        if columns > CACHED && !LOG {
            return streamed::softmax(simd, row, sink);
        }
        if S::Vector::WIDTH == 1 && columns <= SHORT && !LOG {
            let mut transposed = short::Columns::load(simd, row.logits(), columns);
            let maxima = transposed.maxima();
            let has_nan = first_lane(maxima.max) == f32::INFINITY && has_nan(simd, row.logits());
            let states = transposed.states::<false>(&maxima, sink);
            let logits = Unwritten(row.logits());
            let normalizer = normalizer::<false, S, _>(&logits, simd, &states, sink, has_nan);
            transposed.normalize(&states, sink);
            transposed.store(&mut row);
            return normalizer;
        }
        let batch = Batch::<S, true> {
            simd,
            rows: 1,
            columns,
            sink,
            ahead: prefetch_distance(columns, columns),
        };
        let maxima = batch.max_pass(row.logits());
        let has_nan = first_lane(maxima.max) == f32::INFINITY && has_nan(simd, row.logits());
        if LOG {
            let mut logits = Unwritten(row.logits());
            let states = batch.without_sink().states::<true, _>(&mut logits, maxima);
            let normalizer = normalizer::<true, S, _>(&logits, simd, &states, Sink::NONE, has_nan);
            let denominators = batch.log_denominators(row.logits(), &states, true);
            batch.subtract(&mut row, &denominators);
            sink.merge_into(normalizer)
        } else {
            let states = batch.states::<false, R>(&mut row, maxima);
            let normalizer = if R::HAS_SCRATCH {
                normalizer::<false, S, _>(&row.reborrow().last_pass(), simd, &states, sink, has_nan)
            } else {
                normalizer::<false, S, _>(&Unwritten(row.logits()), simd, &states, sink, has_nan)
            };
            batch.normalize(&mut row, &states);
            normalizer
        }
    }
}

/// The state of a row of numerators, or of logits if there is no scratch.
#[cfg_attr(not(unoptimized), inline(always))]
fn normalizer<const PRECISE: bool, S: Simd, R: SrcDst>(
    row: &R,
    simd: S,
    states: &States<S::Vector>,
    sink: Sink,
    has_nan: bool,
) -> Normalizer {
    let max = first_lane(states.shifts.max);
    let exact = |high, low| f64::from(first_lane(high)) + f64::from(first_lane(low));
    let sum = exact(states.sum.high, states.sum.low);
    if !max.is_finite() || sum.is_nan() {
        let is_nan = has_nan || sum.is_nan() && max < f32::INFINITY;
        let row = Normalizer::from_parts(max, if is_nan { f64::NAN } else { 0.0 });
        return sink.merge_into(row);
    }
    let max_term = states.max_term();
    let mut other_terms_sum = sum - exact(max_term.high, max_term.low);
    let max_term_rounded = first_lane(max_term.high);
    let max_term = exact(max_term.high, max_term.low);
    if other_terms_sum < f64::from(confident(row.len())) * max_term {
        let shift = RowShift::of_first(&states.shifts);
        let others = other_terms::<PRECISE, S, R>(simd, row, shift, max_term_rounded);
        other_terms_sum = f64::from(others.high) + f64::from(others.low);
    }
    if sink.logit == f32::NEG_INFINITY {
        return Normalizer::from_parts(max, other_terms_sum / max_term);
    }
    let sink_term = states.term(simd, sink.logit);
    let sink_term = exact(sink_term.high, sink_term.low);
    if sink.logit > max {
        Normalizer::from_parts(sink.logit, (max_term + other_terms_sum) / sink_term)
    } else {
        Normalizer::from_parts(max, (other_terms_sum + sink_term) / max_term)
    }
}

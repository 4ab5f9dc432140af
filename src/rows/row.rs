//! The operation on one row.

use super::batch::Batch;
use super::schedule::{LONGEST_STORED, SLICE, prefetch_distance};
use crate::math::reduce::first_lane;
use crate::math::two_float::TwoFloat;
use crate::normalizer::Normalizer;
use crate::options::Sink;
use crate::simd::{Simd, Vector, WithSimd};
use crate::source::{SrcDst, Unwritten};
use core::num::NonZeroUsize;

/// The softmax of one row, or the log-softmax if `LOG`. Returns the state of the row.
pub(crate) struct Row<const LOG: bool, R> {
    pub(crate) row: R,
    pub(crate) sink: Sink,
    /// For a row of a matrix, the logits of the matrix. The state of such a row is not wanted, and
    /// what is returned in its place has no meaning.
    pub(crate) matrix_len: Option<NonZeroUsize>,
}

impl<const LOG: bool, R> Row<LOG, R> {
    /// A row by itself.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn new(row: R, sink: Sink) -> Self {
        Row {
            row,
            sink,
            matrix_len: None,
        }
    }
}

/// What the normalizer of a row is made of, without the sink. A caller that does not want it does
/// no operation on `f64`.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct NormalizerParts {
    max_term: Packed,
    // Between the other two: were these side by side, the compiler would load both by one wide
    // load, which must wait until both narrower stores have reached the cache.
    max: f32,
    other_terms: Packed,
}

/// A two-float, stored and loaded as one word, for the same reason.
#[derive(Clone, Copy)]
struct Packed(u64);

impl Packed {
    #[cfg_attr(not(unoptimized), inline(always))]
    fn new(high: f32, low: f32) -> Self {
        Packed(u64::from(high.to_bits()) | u64::from(low.to_bits()) << 32)
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn first_lanes<V: Vector>(number: TwoFloat<V>) -> Self {
        Packed::new(first_lane(number.high), first_lane(number.low))
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn value(self) -> f64 {
        f64::from(f32::from_bits(self.0 as u32)) + f64::from(f32::from_bits((self.0 >> 32) as u32))
    }
}

impl NormalizerParts {
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn normalizer(&self, sink: Sink) -> Normalizer {
        let other_terms = self.other_terms.value() / self.max_term.value();
        sink.merge_into(Normalizer::of_row(self.max, other_terms))
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn constant(max: f32, other_terms: f32) -> Self {
        NormalizerParts {
            max,
            max_term: Packed::new(1.0, 0.0),
            other_terms: Packed::new(other_terms, 0.0),
        }
    }
}

impl<const LOG: bool, R: SrcDst> WithSimd for Row<LOG, R> {
    type Output = NormalizerParts;

    #[cfg_attr(not(unoptimized), inline(always))]
    fn with_simd<S: Simd>(self, simd: S) -> NormalizerParts {
        let Row {
            mut row,
            sink,
            matrix_len,
        } = self;
        let columns = row.len();
        if columns == 0 {
            // The parts of an empty normalizer.
            return NormalizerParts::constant(f32::NEG_INFINITY, -1.0);
        }
        let recomputes = S::HAS_LANES && !S::IS_SMALL && columns > LONGEST_STORED;
        let ahead = prefetch_distance(
            matrix_len.map_or(columns, NonZeroUsize::get),
            columns.min(SLICE),
            !LOG && R::HAS_SCRATCH && !recomputes,
        );
        let batch = Batch::of_row(simd, columns, sink, ahead, recomputes);
        let is_wanted = matrix_len.is_none();
        let (state, other_terms);
        if LOG {
            let logits = &mut Unwritten(row.logits());
            state = batch.without_sink().state::<true, _>(logits);
            other_terms = batch.other_terms::<true, false, _>(row.logits(), &state.states);
            let denominators = batch.log_denominators(&state.states, other_terms);
            batch.log_softmax_pass(&mut row, &denominators);
        } else if R::HAS_SCRATCH && !batch.recomputes {
            state = batch.state::<false, _>(&mut row);
            other_terms = if is_wanted {
                batch.other_terms::<false, true, _>(row.numerators(), &state.states)
            } else {
                state.states.other_terms(simd)
            };
            batch.normalize(&mut row, &state.states);
        } else {
            state = batch.state::<false, _>(&mut Unwritten(row.logits()));
            other_terms = if is_wanted {
                batch.other_terms::<false, false, _>(row.logits(), &state.states)
            } else {
                state.states.other_terms(simd)
            };
            batch.normalize(&mut row, &state.states);
        }
        let max = first_lane(state.states.shifts.max);
        let sum = first_lane(state.states.sum.high);
        if max.is_finite() && sum == 0.0 {
            // The sink is so much larger that all numerators are 0.
            NormalizerParts::constant(max, 0.0)
        } else if max.is_finite() && !sum.is_nan() {
            NormalizerParts {
                max,
                max_term: Packed::first_lanes(state.states.max_term()),
                other_terms: Packed::first_lanes(other_terms),
            }
        } else if state.has_nan || sum.is_nan() && max != f32::INFINITY {
            // The maximum may be NaN or not: which one differs by backend.
            NormalizerParts::constant(max, f32::NAN)
        } else {
            NormalizerParts::constant(max, 0.0)
        }
    }
}

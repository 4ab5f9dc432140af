//! Results of rows that have one place a row: log-sum-exp, and what losses are made of.

use super::log_denominators::LogDenominators;
use super::other_terms::has_nan;
use crate::options::Sink;
use crate::simd::{Simd, Vector, lanes_of};
use crate::source::Source;

/// Places for results of rows that their maxima and denominators make, one a row.
pub(crate) trait RowResults: Sized {
    /// Whether a logarithm near zero must be accurate relative to itself.
    const IS_PRECISE: bool;

    fn len(&self) -> usize;

    /// The first `count` places, or all if there are fewer, and the others.
    fn split_at(self, count: usize) -> (Self, Self);

    /// Writes the results of some rows, at most as many as a register has lanes. `max` are the
    /// largest logits, without the sink.
    fn write<S: Simd, L: Source>(
        self,
        simd: S,
        rows: L,
        columns: usize,
        sink: Sink,
        denominators: &LogDenominators<S::Vector>,
        max: S::Vector,
    );

    /// Writes the results of rows without logits.
    fn write_empty(self, sink: Sink);
}

/// Of each row log Σ e^x.
impl RowResults for &mut [f32] {
    const IS_PRECISE: bool = false;

    #[cfg_attr(not(unoptimized), inline(always))]
    fn len(&self) -> usize {
        <[f32]>::len(self)
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn split_at(self, count: usize) -> (Self, Self) {
        let count = count.min(self.len());
        self.split_at_mut(count)
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn write<S: Simd, L: Source>(
        self,
        simd: S,
        rows: L,
        columns: usize,
        sink: Sink,
        denominators: &LogDenominators<S::Vector>,
        max: S::Vector,
    ) {
        denominators.log_sum_exp().store(self);
        let maxima = lanes_of(max);
        for (index, out) in self.iter_mut().enumerate() {
            if !denominators.has_softmax(index) {
                let row = rows.slice(index * columns, columns);
                let row = row.unwrap_or(L::empty());
                let sink = sink.logit;
                *out = if sink.is_nan() || has_nan(simd, row) {
                    f32::NAN
                } else {
                    sink.max(maxima[index % maxima.len()])
                };
            }
        }
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn write_empty(self, sink: Sink) {
        self.fill(sink.logit);
    }
}

/// The maxima and the logarithms of the denominators, these in two floats; with a sink those of row
/// and sink. A row without a softmax has the maximum 0 and a denominator so that the difference of
/// both is its log-softmax, negated: NaN, or +∞ if it is fully masked and its results are 0.
pub(crate) struct LogNormalizers<'a> {
    pub(crate) max: &'a mut [f32],
    pub(crate) log_denominator: &'a mut [f32],
    pub(crate) log_denominator_low: &'a mut [f32],
}

impl RowResults for LogNormalizers<'_> {
    const IS_PRECISE: bool = true;

    #[cfg_attr(not(unoptimized), inline(always))]
    fn len(&self) -> usize {
        self.max.len()
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn split_at(self, count: usize) -> (Self, Self) {
        let (max, other_max) = RowResults::split_at(self.max, count);
        let (log_denominator, other) = RowResults::split_at(self.log_denominator, count);
        let (log_denominator_low, other_low) =
            RowResults::split_at(self.log_denominator_low, count);
        let first = LogNormalizers {
            max,
            log_denominator,
            log_denominator_low,
        };
        let others = LogNormalizers {
            max: other_max,
            log_denominator: other,
            log_denominator_low: other_low,
        };
        (first, others)
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn write<S: Simd, L: Source>(
        self,
        _: S,
        _: L,
        _: usize,
        _: Sink,
        denominators: &LogDenominators<S::Vector>,
        _: S::Vector,
    ) {
        let (max, log_denominator) = denominators.with_fallback();
        max.store(self.max);
        log_denominator.high.store(self.log_denominator);
        log_denominator.low.store(self.log_denominator_low);
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn write_empty(self, sink: Sink) {
        let (max, log_denominator) = if sink.logit == f32::NEG_INFINITY {
            (0.0, 0.0 - sink.fully_masked)
        } else if sink.allows_softmax() {
            (sink.logit, 0.0)
        } else {
            (0.0, f32::NAN)
        };
        self.max.fill(max);
        self.log_denominator.fill(log_denominator);
        self.log_denominator_low.fill(0.0);
    }
}

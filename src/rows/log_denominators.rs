//! The logarithms of denominators, for as many rows at once as a register has lanes.
//!
//! A denominator is 1 + other terms, relative to the term of the maximum: so its logarithm keeps
//! its accuracy where it is near zero.

use super::state::States;
use crate::math::epilogue::{Constant, LogProbability, log_sum_exp};
use crate::math::logarithm::log1p;
use crate::math::two_float::TwoFloat;
use crate::normalizer::{Normalizer, Outcome};
use crate::options::Sink;
use crate::simd::{Simd, Vector, WIDEST, lanes_of};

/// The maximum m and log d of rows; row i is lane i.
#[derive(Clone, Copy)]
pub(crate) struct LogDenominators<V> {
    /// m, or with a sink the larger of both; 0 for rows without a softmax.
    max: V,
    log_denominator: TwoFloat<V>,
    /// Of rows without a softmax what their results are; of others −0, which added to a result
    /// changes nothing.
    fallback: V,
    have_softmax: u32,
}

impl<V: Vector> LogDenominators<V> {
    /// The states are those without the sink; `other_terms` are all terms but those of the maxima.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn of<S: Simd<Vector = V>>(
        simd: S,
        states: &States<V>,
        other_terms: TwoFloat<V>,
        sink: Sink,
    ) -> Self {
        let max_term = states.max_term_beside(simd, &other_terms);
        let other_terms = other_terms.divide(simd, max_term);
        let usual = LogDenominators {
            max: states.shifts.max,
            log_denominator: log1p(simd, other_terms),
            fallback: simd.splat(-0.0),
            have_softmax: u32::MAX,
        };
        if states.shifts.are_usual && sink.logit == f32::NEG_INFINITY {
            usual
        } else {
            usual.with_exceptions(simd, states, sink, other_terms)
        }
    }

    /// The same where rows may have no softmax, or a sink.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn with_exceptions<S: Simd<Vector = V>>(
        self,
        simd: S,
        states: &States<V>,
        sink: Sink,
        other_terms: TwoFloat<V>,
    ) -> Self {
        let have_softmax = states.have_softmax(simd, states.sum.high);
        let has_sink = sink.logit != f32::NEG_INFINITY;
        let mut max = lanes_of(self.max);
        let (mut high, mut low) = (
            lanes_of(self.log_denominator.high),
            lanes_of(self.log_denominator.low),
        );
        let (sums, others) = (
            lanes_of(states.sum.high),
            [lanes_of(other_terms.high), lanes_of(other_terms.low)],
        );
        let mut fallback = [-0.0; WIDEST];
        let mut with_sink = 0;
        for lane in 0..V::WIDTH {
            let mut has_softmax = (have_softmax >> lane) & 1 == 1;
            let is_fully_masked = max[lane] == f32::NEG_INFINITY && sums[lane] == 0.0;
            if has_sink && (has_softmax || is_fully_masked) {
                let row = if has_softmax {
                    let others = f64::from(others[0][lane]) + f64::from(others[1][lane]);
                    Normalizer::of_row(max[lane], others)
                } else {
                    Normalizer::FULLY_MASKED
                };
                let (normalizer, log_denominator) = (sink.log_merge)(row, sink.logit);
                has_softmax = normalizer.outcome() == Outcome::Finite;
                max[lane] = normalizer.max();
                high[lane] = log_denominator as f32;
                low[lane] = (log_denominator - f64::from(high[lane])) as f32;
            }
            if has_softmax {
                with_sink |= 1 << lane;
            } else {
                fallback[lane] = sink.fallback(is_fully_masked);
                (max[lane], high[lane], low[lane]) = (0.0, 0.0, 0.0);
            }
        }
        LogDenominators {
            max: simd.load(&max, 0.0),
            log_denominator: TwoFloat {
                high: simd.load(&high, 0.0),
                low: simd.load(&low, 0.0),
            },
            fallback: simd.load(&fallback, 0.0),
            have_softmax: with_sink,
        }
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn two_floats(&self) -> TwoFloat<V> {
        log_sum_exp(self.max, self.log_denominator)
    }

    /// m + log d of each row; meaningless for rows without a softmax.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn log_sum_exp(&self) -> V {
        let sum = self.two_floats();
        sum.high + sum.low
    }

    /// m and log d. Of a row without a softmax 0, and its results negated.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn with_fallback(&self) -> (V, TwoFloat<V>) {
        let log_denominator = TwoFloat {
            high: self.log_denominator.high - self.fallback,
            ..self.log_denominator
        };
        (self.max, log_denominator)
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn has_softmax(&self, index: usize) -> bool {
        (self.have_softmax >> (index % WIDEST)) & 1 == 1
    }

    /// For registers whose lanes are of different rows ([`short`](super::short)); `fallback` is to
    /// be added.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn epilogue(&self) -> LogProbability<V> {
        LogProbability::of(self.two_floats())
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn fallback(&self) -> V {
        self.fallback
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn rows(&self) -> RowLogDenominators {
        let log_sum_exp = self.two_floats();
        RowLogDenominators {
            high: lanes_of(log_sum_exp.high),
            low: lanes_of(log_sum_exp.low),
            fallback: lanes_of(self.fallback),
            have_softmax: self.have_softmax,
        }
    }
}

/// The log-sum-exp of each row.
pub(super) struct RowLogDenominators {
    high: [f32; WIDEST],
    low: [f32; WIDEST],
    fallback: [f32; WIDEST],
    have_softmax: u32,
}

impl RowLogDenominators {
    /// That of row `index`, below [`WIDEST`].
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn row<S: Simd>(
        &self,
        simd: S,
        index: usize,
    ) -> Result<LogProbability<S::Vector>, Constant<S::Vector>> {
        let index = index % WIDEST;
        if (self.have_softmax >> index) & 1 == 1 {
            Ok(LogProbability::of(TwoFloat {
                high: simd.splat(self.high[index]),
                low: simd.splat(self.low[index]),
            }))
        } else {
            Err(Constant(simd.splat(self.fallback[index])))
        }
    }
}

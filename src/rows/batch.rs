//! Rows that fill registers: each pass goes over all rows of a batch, and what lies between the passes is
//! done once for the batch, a row a lane ([`state`](super::state)).

use super::log_denominators::LogDenominators;
use super::normalize::{normalize, normalize_numerators};
use super::other_terms::other_terms;
use super::quotients::{Quotients, UnusualRow};
use super::schedule::{BATCHED, EXACT, SUMMED};
use super::slices;
use super::state::{Extremes, Maxima, RowShifts, Shifts, States};
use super::sums::{Terms, combine};
use crate::math::reduce::{first, fold, larger};
use crate::math::two_float::TwoFloat;
use crate::options::Sink;
use crate::simd::{Group, Simd, Vector, lanes_of, unroll};
use crate::source::{Source, SrcDst, Unwritten};

/// How many rows of a batch stay in the first-level cache with their results: at least one, and at most
/// one for each lane.
#[cfg_attr(not(unoptimized), inline(always))]
pub(super) fn rows_of_batch<S: Simd>(columns: usize) -> usize {
    let fitting = BATCHED.checked_div(columns).unwrap_or(1);
    fitting.clamp(1, S::Vector::WIDTH)
}

/// The rows of a batch, at most as many as a register has lanes.
#[derive(Clone, Copy)]
pub(super) struct Batch<S> {
    pub(super) simd: S,
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) sink: Sink,
    /// How far ahead memory is prefetched, in logits.
    pub(super) ahead: usize,
}

impl<S: Simd> Batch<S> {
    /// The softmax of each row.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn softmax<R: SrcDst>(self, matrix: &mut R) {
        let maxima = self.max_pass(matrix.logits());
        let states = self.states(matrix, maxima);
        self.normalize(matrix, &states);
    }

    /// The last pass of a softmax.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn normalize<R: SrcDst>(self, matrix: &mut R, states: &States<S::Vector>) {
        let simd = self.simd;
        let quotients = Quotients::of(simd, states, self.sink);
        let shifts = RowShifts::of(&states.shifts);
        let of_rows = quotients.rows();
        if quotients.are_usual {
            for index in 0..self.rows {
                let row = self.row(matrix, index);
                let quotient = of_rows.row(simd, index);
                normalize_numerators(simd, row, shifts.row(index), quotient);
            }
        } else {
            let unusual = quotients.unusual_rows();
            for index in 0..self.rows {
                let row = self.row(matrix, index);
                let shift = shifts.row(index);
                match unusual.row(simd, index, of_rows.row(simd, index)) {
                    UnusualRow::Probability(probability) => {
                        normalize_numerators(simd, row, shift, probability);
                    }
                    UnusualRow::ExactMax(exact_max) => {
                        normalize_numerators(simd, row, shift, exact_max);
                    }
                    UnusualRow::Constant(constant) => {
                        normalize_numerators(simd, row, shift, constant);
                    }
                }
            }
        }
    }

    /// The log-softmax of each row.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn log_softmax<R: SrcDst>(self, matrix: &mut R) {
        let maxima = self.max_pass(matrix.logits());
        let states = self
            .without_sink()
            .states(&mut Unwritten(matrix.logits()), maxima);
        let denominators = self.log_denominators(matrix.logits(), &states, true);
        self.subtract(matrix, &denominators);
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn log_denominators<L: Source>(
        self,
        matrix: L,
        states: &States<S::Vector>,
        is_precise: bool,
    ) -> LogDenominators<S::Vector> {
        let shifts = RowShifts::of(&states.shifts);
        let other_terms = |index: usize, max: f32| {
            let row = matrix.slice(index * self.columns, self.columns);
            let row = Unwritten(row.unwrap_or(L::empty()));
            other_terms(self.simd, &row, shifts.row(index), max)
        };
        let other_terms = is_precise.then_some(other_terms);
        LogDenominators::of(self.simd, states, self.sink, self.rows, other_terms)
    }

    /// The last pass of a log-softmax.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn subtract<R: SrcDst>(
        self,
        matrix: &mut R,
        denominators: &LogDenominators<S::Vector>,
    ) {
        let of_rows = denominators.rows();
        for index in 0..self.rows {
            let row = self.row(matrix, index);
            match of_rows.row(self.simd, index) {
                Ok(log_probability) => normalize(self.simd, row, &log_probability),
                Err(constant) => normalize(self.simd, row, &constant),
            }
        }
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn without_sink(self) -> Self {
        Batch {
            sink: Sink::NONE,
            ..self
        }
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn row<R: SrcDst>(self, matrix: &mut R, index: usize) -> impl SrcDst {
        matrix.slice(index * self.columns, self.columns)
    }

    /// The maxima and sums of rows. Numerators are stored where there is scratch.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn states<R: SrcDst>(self, matrix: &mut R, maxima: Maxima<S>) -> States<S::Vector> {
        let simd = self.simd;
        let shifts = Shifts::of(simd, &maxima, self.columns, self.sink);
        let sum = simd.vectorize(
            #[inline(always)]
            |_| self.exp_sum_pass(matrix, &shifts, &maxima.lanes),
        );
        States { shifts, sum }
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn max_pass<L: Source>(self, matrix: L) -> Maxima<S> {
        let simd = self.simd;
        if self.columns > SUMMED {
            return slices::maxima(simd, matrix);
        }
        let mut maxima = simd.splat(f32::NEG_INFINITY).square();
        let mut are_usual = true;
        let mut unread = matrix;
        for maximum in maxima.as_mut().iter_mut().take(self.rows) {
            if let Ok((row, others)) = unread.split_at(self.columns) {
                let extremes = extremes_of(simd, row);
                *maximum = extremes.highest;
                are_usual &= extremes.are_usual(simd);
                unread = others;
            }
        }
        let max = if self.rows == 1 {
            let mut lanes = lanes_of(first(maxima.as_ref(), simd.splat(f32::NEG_INFINITY)));
            let lanes = lanes.get_mut(..S::Vector::WIDTH).unwrap_or(&mut []);
            fold(lanes, larger);
            simd.splat(first(lanes, f32::NEG_INFINITY))
        } else {
            S::Vector::transpose(&mut maxima);
            fold(maxima.as_mut(), |a, b| a.min_max(b).1);
            first(maxima.as_ref(), simd.splat(f32::NEG_INFINITY))
        };
        Maxima {
            max,
            are_usual,
            lanes: max.group(),
        }
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn exp_sum_pass<R: SrcDst>(
        self,
        matrix: &mut R,
        shifts: &Shifts<S::Vector>,
        lane_maxima: &Group<S>,
    ) -> TwoFloat<S::Vector> {
        let simd = self.simd;
        let (mut highs, mut lows) = (simd.splat(0.0).square(), simd.splat(0.0).square());
        let of_rows = RowShifts::of(shifts);
        let places = highs.as_mut().iter_mut().zip(lows.as_mut());
        for (index, (high, low)) in places.take(self.rows).enumerate() {
            let row = self.row(matrix, index);
            let shift = of_rows.row(index);
            let bias = if self.columns > SUMMED {
                shifts.lane_bias(simd, lane_maxima)
            } else {
                simd.splat(shift.bias).group()
            };
            let sum = if shifts.are_usual {
                Terms::<S, false>::of(simd, shift, bias, self.ahead).sum(row)
            } else {
                Terms::<S, true>::of(simd, shift, bias, self.ahead).sum(row)
            };
            (*high, *low) = (sum.high, sum.low);
        }
        let is_exact = self.columns <= EXACT;
        let zero = simd.splat(0.0);
        if self.rows == 1 {
            let mut highs = lanes_of(first(highs.as_ref(), zero));
            let mut lows = lanes_of(first(lows.as_ref(), zero));
            let highs = highs.get_mut(..S::Vector::WIDTH).unwrap_or(&mut []);
            let lows = lows.get_mut(..S::Vector::WIDTH).unwrap_or(&mut []);
            let sum = combine(highs, lows, is_exact, 0.0);
            TwoFloat {
                high: simd.splat(sum.high),
                low: simd.splat(sum.low),
            }
        } else {
            S::Vector::transpose(&mut highs);
            S::Vector::transpose(&mut lows);
            combine(highs.as_mut(), lows.as_mut(), is_exact, zero)
        }
    }
}

/// The extremes of a row, by lanes.
#[cfg_attr(not(unoptimized), inline(always))]
fn extremes_of<S: Simd, L: Source>(simd: S, row: L) -> Extremes<S::Vector> {
    let width = S::Vector::WIDTH;
    let mut extremes = Extremes::new(simd);
    let mut unread = row;
    let last = loop {
        match unread.split_at(4 * width) {
            Ok((block, others)) => {
                extremes.add_four([
                    block.load(simd, 0),
                    block.load(simd, width),
                    block.load(simd, 2 * width),
                    block.load(simd, 3 * width),
                ]);
                unread = others;
            }
            Err(last) => break last,
        }
    };
    unroll::<4>(
        #[inline(always)]
        |i| {
            let start = i * width;
            if start < last.len() {
                let logits = last.load(simd, start);
                extremes.add_first(simd, logits, width.min(last.len() - start));
            }
        },
    );
    extremes
}

//! Rows that fill registers: each pass goes over all rows of a batch, and what lies between the passes is
//! done once for the batch, a row a lane ([`state`](super::state)).

use super::log_denominators::LogDenominators;
use super::normalize::{normalize, normalize_numerators};
use super::other_terms::{confident, other_terms};
use super::quotients::{Quotients, UnusualRow};
use super::schedule::{BATCHED, EXACT, SUMMED};
use super::slices;
use super::state::{Extremes, Maxima, RowShift, RowShifts, Shifts, States};
use super::sums::{Terms, combine, combine_lanes};
use crate::math::reduce::{first, fold, largest_lane};
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

/// The rows of a batch, at most as many as a register has lanes. Exactly one if `ONE`: then nothing is
/// transposed. Only such a batch may have more than [`SUMMED`] columns.
#[derive(Clone, Copy)]
pub(super) struct Batch<S, const ONE: bool> {
    pub(super) simd: S,
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) sink: Sink,
    /// How far ahead memory is prefetched, in logits.
    pub(super) ahead: usize,
}

impl<S: Simd, const ONE: bool> Batch<S, ONE> {
    /// The softmax of each row.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn softmax<R: SrcDst>(self, matrix: &mut R) {
        let maxima = self.max_pass(matrix.logits());
        let states = self.states::<false, R>(matrix, maxima);
        self.normalize(matrix, &states);
    }

    /// The last pass of a softmax.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn normalize<R: SrcDst>(self, matrix: &mut R, states: &States<S::Vector>) {
        let simd = self.simd;
        let quotients = Quotients::of(simd, states, self.sink);
        if ONE {
            let (row, shift) = (self.row(matrix, 0), RowShift::of_first(&states.shifts));
            if quotients.are_usual {
                normalize_numerators(simd, row, shift, quotients.quotient);
            } else {
                normalize_unusual(simd, row, shift, quotients.unusual_row(0));
            }
            return;
        }
        let shifts = RowShifts::of(&states.shifts);
        let of_rows = quotients.rows();
        for index in 0..self.rows {
            let (row, shift) = (self.row(matrix, index), shifts.row(index));
            if quotients.are_usual {
                normalize_numerators(simd, row, shift, of_rows.row(simd, index));
            } else {
                let quotients = quotients.of_row(simd, index);
                normalize_unusual(simd, row, shift, quotients.unusual_row(index));
            }
        }
    }

    /// The log-softmax of each row.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn log_softmax<R: SrcDst>(self, matrix: &mut R) {
        let maxima = self.max_pass(matrix.logits());
        let states = self
            .without_sink()
            .states::<true, _>(&mut Unwritten(matrix.logits()), maxima);
        let denominators = self.log_denominators(matrix.logits(), &states, true);
        self.subtract(matrix, &denominators);
    }

    /// If `is_precise`, small logarithms are accurate relative to themselves.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn log_denominators<L: Source>(
        self,
        matrix: L,
        states: &States<S::Vector>,
        is_precise: bool,
    ) -> LogDenominators<S::Vector> {
        let simd = self.simd;
        let mut others = states.other_terms(simd);
        let max_term = states.max_term().high;
        let bound = max_term * simd.splat(confident(self.columns));
        let are_confident = bound.gt_mask(others.high);
        if is_precise && are_confident != 0 {
            let shifts = RowShifts::of(&states.shifts);
            let max_terms = lanes_of(max_term);
            let (mut highs, mut lows) = (lanes_of(others.high), lanes_of(others.low));
            for index in 0..self.rows.min(S::Vector::WIDTH) {
                if (are_confident >> index) & 1 == 1
                    && let Some(row) = matrix.slice(index * self.columns, self.columns)
                {
                    let (row, shift) = (Unwritten(row), shifts.row(index));
                    let max_term = max_terms[index];
                    let sum = simd.vectorize(
                        #[inline(always)]
                        |simd| other_terms::<true, S, _>(simd, &row, shift, max_term),
                    );
                    (highs[index], lows[index]) = (sum.high, sum.low);
                }
            }
            others = TwoFloat {
                high: simd.load(&highs, 0.0),
                low: simd.load(&lows, 0.0),
            };
        }
        LogDenominators::of(simd, states, others, self.sink)
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
    pub(super) fn states<const PRECISE: bool, R: SrcDst>(
        self,
        matrix: &mut R,
        maxima: Maxima<S>,
    ) -> States<S::Vector> {
        let simd = self.simd;
        let shifts = Shifts::of::<S, PRECISE>(simd, &maxima, self.columns, self.sink);
        let sum = if ONE {
            self.exp_sum_of_one::<PRECISE, _>(self.row(matrix, 0), &shifts, &maxima.lanes)
        } else {
            simd.vectorize(
                #[inline(always)]
                |_| self.exp_sum_pass::<PRECISE, R>(matrix, &shifts),
            )
        };
        States { shifts, sum }
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn max_pass<L: Source>(self, matrix: L) -> Maxima<S> {
        let simd = self.simd;
        if ONE && self.columns > SUMMED {
            return slices::maxima(simd, matrix);
        }
        let mut are_usual = true;
        let max = if ONE {
            let extremes = extremes_of(simd, matrix);
            are_usual = extremes.are_usual(simd);
            simd.splat(largest_lane(extremes.highest))
        } else {
            // In a function of its own, as the other passes over a batch: a square takes a kilobyte of stack.
            let usual = &mut are_usual;
            simd.vectorize(
                #[inline(always)]
                |_| self.max_of_rows(matrix, usual),
            )
        };
        Maxima {
            max,
            are_usual,
            lanes: max.group(),
        }
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn max_of_rows<L: Source>(self, matrix: L, are_usual: &mut bool) -> S::Vector {
        let simd = self.simd;
        let mut maxima = simd.splat(f32::NEG_INFINITY).square();
        let mut unread = matrix;
        for maximum in maxima.as_mut().iter_mut().take(self.rows) {
            if let Ok((row, others)) = unread.split_at(self.columns) {
                let extremes = extremes_of(simd, row);
                *maximum = extremes.highest;
                *are_usual &= extremes.are_usual(simd);
                unread = others;
            }
        }
        S::Vector::transpose(&mut maxima);
        fold(
            maxima.as_mut(),
            #[inline(always)]
            |a, b| a.min_max(b).1,
        );
        first(maxima.as_ref(), simd.splat(f32::NEG_INFINITY))
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn exp_sum_pass<const PRECISE: bool, R: SrcDst>(
        self,
        matrix: &mut R,
        shifts: &Shifts<S::Vector>,
    ) -> TwoFloat<S::Vector> {
        let simd = self.simd;
        let zero = simd.splat(0.0);
        let (mut highs, mut lows) = (zero.square(), zero.square());
        let of_rows = RowShifts::of(shifts);
        let places = highs.as_mut().iter_mut().zip(lows.as_mut());
        for (index, (high, low)) in places.take(self.rows).enumerate() {
            let row = self.row(matrix, index);
            let shift = of_rows.row(index);
            let bias = simd.splat(shift.bias).group();
            let sum = self.exp_sum::<PRECISE, _>(row, shifts.are_usual, shift, bias);
            (*high, *low) = (sum.high, sum.low);
        }
        let is_exact = self.columns <= EXACT;
        simd.vectorize(
            #[inline(always)]
            |_| {
                S::Vector::transpose(&mut highs);
                S::Vector::transpose(&mut lows);
                combine(highs.as_mut(), lows.as_mut(), is_exact, zero)
            },
        )
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn exp_sum_of_one<const PRECISE: bool, R: SrcDst>(
        self,
        row: R,
        shifts: &Shifts<S::Vector>,
        lane_maxima: &Group<S>,
    ) -> TwoFloat<S::Vector> {
        let simd = self.simd;
        let bias = if self.columns > SUMMED {
            shifts.lane_bias(simd, lane_maxima)
        } else {
            shifts.bias.group()
        };
        let shift = RowShift::of_first(shifts);
        let sum = self.exp_sum::<PRECISE, _>(row, shifts.are_usual, shift, bias);
        let sum = combine_lanes(&sum, self.columns <= EXACT);
        TwoFloat {
            high: simd.splat(sum.high),
            low: simd.splat(sum.low),
        }
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn exp_sum<const PRECISE: bool, R: SrcDst>(
        self,
        row: R,
        are_usual: bool,
        shift: RowShift,
        bias: Group<S>,
    ) -> TwoFloat<S::Vector> {
        if are_usual {
            self.sum_terms::<false, PRECISE, R>(row, shift, &bias)
        } else {
            self.sum_terms::<true, PRECISE, R>(row, shift, &bias)
        }
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn sum_terms<const CLAMPED: bool, const PRECISE: bool, R: SrcDst>(
        self,
        row: R,
        shift: RowShift,
        bias: &Group<S>,
    ) -> TwoFloat<S::Vector> {
        Terms::<S, CLAMPED, PRECISE>::of(self.simd, shift, *bias, self.ahead).sum(row)
    }
}

#[cfg_attr(not(unoptimized), inline(always))]
fn normalize_unusual<S: Simd, R: SrcDst>(
    simd: S,
    row: R,
    shift: RowShift,
    quotients: UnusualRow<S::Vector>,
) {
    match quotients {
        UnusualRow::Probability(probability) => {
            normalize_numerators(simd, row, shift, probability);
        }
        UnusualRow::ExactMax(exact_max) => normalize_numerators(simd, row, shift, exact_max),
        UnusualRow::Constant(constant) => normalize(simd, row.last_pass(), &constant),
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
            if start + width <= last.len() {
                extremes.add(last.load(simd, start));
            } else if start < last.len() {
                extremes.add_first(simd, last.load(simd, start), last.len() - start);
            }
        },
    );
    extremes
}

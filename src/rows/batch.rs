//! Rows that fill registers. In each pass a row lies across the lanes; between the passes row i is
//! lane i ([`state`](super::state)), and all rows of the batch are done at once.

use super::log_denominators::LogDenominators;
use super::normalize::{Recompute, normalize};
use super::other_terms::{confidence_threshold, lane_sums, other_terms};
use super::quotients::{Quotients, UnusualRow};
use super::schedule::{BATCH_LOGITS, LONGEST_EXACT};
use super::slices::{Reader, SingleRow};
use super::state::{
    Extremes, Maxima, RowShift, RowShifts, ShiftedMaxima, States, start_over_scale,
};
use super::sums::{RowExpSum, combine_rows, total};
use super::writer::Writer;
use crate::math::epilogue::Epilogue;
use crate::math::reduce::{first, fold_lanes};
use crate::math::shift::RegisterShift;
use crate::math::two_float::TwoFloat;
use crate::options::Sink;
use crate::simd::{Simd, Square, Vector, WIDEST, lanes_of};
use crate::source::{Source, SrcDst, Unwritten};

/// How many rows of a batch stay in the first-level cache with their results: at least one, and at
/// most one for each lane.
#[cfg_attr(not(unoptimized), inline(always))]
pub(super) fn rows_of_batch<S: Simd>(columns: usize) -> usize {
    let fitting = BATCH_LOGITS.checked_div(columns).unwrap_or(1);
    fitting.clamp(1, S::Vector::WIDTH)
}

/// The rows of a batch, at most as many as a register has lanes. Exactly one if `ONE`: then nothing
/// is transposed. Only such a batch may have more than [`SLICE`](super::schedule::SLICE) columns.
#[derive(Clone, Copy)]
pub(super) struct Batch<S, const ONE: bool, P = Even> {
    pub(super) simd: S,
    pub(super) rows: usize,
    pub(super) places: P,
    pub(super) sink: Sink,
    /// How far ahead memory is prefetched, in logits.
    pub(super) ahead: usize,
    /// Whether numerators are not stored but computed again, and results are written past the caches
    /// if they are beside the logits: two reads and one write, the least there is for a row beyond
    /// the caches. Only of one row.
    pub(super) recomputes: bool,
}

/// Where the rows of a batch lie in a matrix.
pub(super) trait Places: Copy {
    /// Whether the calls around are so deep that two squares on the stack are too much.
    const ARE_IN_DEEP_CALLS: bool = false;

    /// Columns of the longest row. All rows are at most as long as [`LONGEST_EXACT`], or none is.
    fn columns(self) -> usize;

    /// From one row of the matrix to the next.
    fn stride(self) -> usize;

    /// Where row `index` begins, and its columns.
    fn of_row(self, index: usize) -> (usize, usize);

    /// [`start_over_scale`] of the columns of each row.
    fn starts_over_scale<S: Simd>(self, simd: S) -> S::Vector;

    /// [`confidence_threshold`] of the columns of each row.
    fn confidence_thresholds<S: Simd>(self, simd: S) -> S::Vector;

    /// The columns of each row, if they differ.
    fn ends<S: Simd>(self, simd: S) -> Option<S::Vector>;
}

/// Rows of one length, one `stride` after another.
#[derive(Clone, Copy)]
pub(super) struct Even {
    pub(super) columns: usize,
    /// At least `columns`.
    pub(super) stride: usize,
}

impl Places for Even {
    #[cfg_attr(not(unoptimized), inline(always))]
    fn columns(self) -> usize {
        self.columns
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn of_row(self, index: usize) -> (usize, usize) {
        (index * self.stride, self.columns)
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn stride(self) -> usize {
        self.stride
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn starts_over_scale<S: Simd>(self, simd: S) -> S::Vector {
        simd.splat(start_over_scale(self.columns))
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn confidence_thresholds<S: Simd>(self, simd: S) -> S::Vector {
        simd.splat(confidence_threshold(self.columns))
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn ends<S: Simd>(self, _simd: S) -> Option<S::Vector> {
        None
    }
}

/// Calls `body` with the first rows of a matrix. What is cut off has the length that was asked for,
/// of logits and of results, which saves checks that [`SrcDst::slice`] leaves.
#[cfg_attr(not(unoptimized), inline(always))]
fn for_each_row<R: SrcDst>(
    rows: usize,
    places: impl Places,
    matrix: R,
    mut body: impl FnMut(usize, R),
) {
    let (mut unread, mut position) = (matrix, 0);
    for index in 0..rows {
        let (start, columns) = places.of_row(index);
        let Ok((_, from_start)) = unread.split_at(start.saturating_sub(position)) else {
            return;
        };
        let Ok((row, others)) = from_start.split_at(columns) else {
            return;
        };
        body(index, row);
        (unread, position) = (others, start + columns);
    }
}

impl<S: Simd> Batch<S, true> {
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn of_row(
        simd: S,
        columns: usize,
        sink: Sink,
        ahead: usize,
        recomputes: bool,
    ) -> Self {
        Batch {
            simd,
            rows: 1,
            places: Even {
                columns,
                stride: columns,
            },
            sink,
            ahead,
            recomputes,
        }
    }
}

impl<S: Simd, const ONE: bool, P: Places> Batch<S, ONE, P> {
    /// The softmax of each row.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn softmax<R: SrcDst>(self, matrix: &mut R) {
        if R::HAS_SCRATCH && self.recomputes {
            let states = self.states::<false, _>(&mut Unwritten(matrix.logits()));
            self.normalize(matrix, &states);
        } else {
            let states = self.states::<false, R>(matrix);
            self.normalize(matrix, &states);
        }
    }

    /// The last pass of a softmax.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn normalize<R: SrcDst>(self, matrix: &mut R, states: &States<S::Vector>) {
        let simd = self.simd;
        let quotients = Quotients::of(simd, states, self.sink);
        if ONE {
            let (row, shift) = (
                self.row(matrix, 0),
                RowShift::of_first(&states.shifts.shift),
            );
            if quotients.are_usual {
                self.normalize_row(row, shift, quotients.quotient);
            } else {
                self.normalize_unusual(row, shift, quotients.unusual_row(simd, 0));
            }
            return;
        }
        let shifts = RowShifts::of(&states.shifts.shift);
        if !quotients.are_usual {
            for index in 0..self.rows {
                let (row, shift) = (self.row(matrix, index), shifts.row(index));
                let quotients = quotients.of_row(simd, index);
                self.normalize_unusual(row, shift, quotients.unusual_row(simd, index));
            }
            return;
        }
        let of_rows = quotients.rows();
        if R::HAS_SCRATCH {
            // Rows are cut from the results alone.
            return for_each_row(
                self.rows,
                self.places,
                matrix.reborrow().last_pass(),
                #[inline(always)]
                |index, row| normalize(simd, row, &of_rows.row(simd, index)),
            );
        }
        for index in 0..self.rows {
            let (row, shift) = (self.row(matrix, index), shifts.row(index));
            self.normalize_row(row, shift, of_rows.row(simd, index));
        }
    }

    /// The log-softmax of each row.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn log_softmax<R: SrcDst>(self, matrix: &mut R) {
        let states = self
            .without_sink()
            .states::<true, _>(&mut Unwritten(matrix.logits()));
        let other_terms = self.other_terms::<true, false, _>(matrix.logits(), &states);
        let denominators = self.log_denominators(&states, other_terms);
        self.log_softmax_pass(matrix, &denominators);
    }

    /// All terms but those of the maxima. The logits, or stored numerators if `STORED`,
    /// are read again where the other terms are small.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn other_terms<const PRECISE: bool, const STORED: bool, L: Source>(
        self,
        matrix: L,
        states: &States<S::Vector>,
    ) -> TwoFloat<S::Vector> {
        let simd = self.simd;
        let mut others = states.other_terms(simd);
        let max_term = states.max_term();
        let bound = max_term.high * self.places.confidence_thresholds(simd);
        let are_confident = bound.gt_mask(others.high);
        // Of one column there are none.
        if are_confident != 0 && self.places.columns() > 1 {
            let shifts = RowShifts::of(&states.shifts.shift);
            let max_terms = lanes_of(max_term.high);
            if ONE || P::ARE_IN_DEEP_CALLS {
                let (mut highs, mut lows) = (lanes_of(others.high), lanes_of(others.low));
                for index in 0..self.rows.min(S::Vector::WIDTH) {
                    let (start, columns) = self.places.of_row(index);
                    if (are_confident >> index) & 1 == 1
                        && let Some(row) = matrix.slice(start, columns)
                    {
                        let (shift, max_term) = (shifts.row(index), max_terms[index]);
                        let sum = simd.vectorize(
                            #[inline(always)]
                            move |simd| {
                                other_terms::<PRECISE, STORED, S, _>(simd, row, shift, max_term)
                            },
                        );
                        (highs[index], lows[index]) = (sum.high, sum.low);
                    }
                }
                return TwoFloat {
                    high: simd.load(&highs, 0.0),
                    low: simd.load(&lows, 0.0),
                };
            }
            let sums = simd.vectorize(
                #[inline(always)]
                |_| {
                    self.summed_again::<PRECISE, STORED, L>(
                        matrix,
                        are_confident,
                        &shifts,
                        &max_terms,
                    )
                },
            );
            let of_confident = |again: S::Vector, part: S::Vector| {
                let other_rows = part - bound.and_gt(others.high, part);
                bound.and_gt(others.high, again) + other_rows
            };
            others = TwoFloat {
                high: of_confident(sums.high, others.high),
                low: of_confident(sums.low, others.low),
            };
        }
        others
    }

    /// [`other_terms`] of the rows that `rows` has a bit for.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn summed_again<const PRECISE: bool, const STORED: bool, L: Source>(
        self,
        matrix: L,
        rows: u32,
        shifts: &RowShifts,
        max_terms: &[f32; WIDEST],
    ) -> TwoFloat<S::Vector> {
        let simd = self.simd;
        let zero = simd.splat(0.0);
        let (mut highs, mut lows) = (zero.square(), zero.square());
        let squares = highs.as_mut().iter_mut().zip(lows.as_mut());
        for (index, (high, low)) in squares.enumerate().take(self.rows) {
            let (start, columns) = self.places.of_row(index);
            if (rows >> index) & 1 == 1
                && let Some(row) = matrix.slice(start, columns)
            {
                let (shift, max_term) = (shifts.row(index), max_terms[index % WIDEST]);
                let sum = lane_sums::<PRECISE, STORED, S, L>(simd, row, shift, max_term);
                (*high, *low) = (sum.high, sum.low);
            }
        }
        combine_rows(highs.as_mut(), lows.as_mut(), false, zero).renormalized()
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn log_denominators(
        self,
        states: &States<S::Vector>,
        other_terms: TwoFloat<S::Vector>,
    ) -> LogDenominators<S::Vector> {
        LogDenominators::of(self.simd, states, other_terms, self.sink)
    }

    /// The last pass of a log-softmax.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn log_softmax_pass<R: SrcDst>(
        self,
        matrix: &mut R,
        denominators: &LogDenominators<S::Vector>,
    ) {
        let of_rows = denominators.rows();
        for index in 0..self.rows {
            let row = self.row(matrix, index);
            match of_rows.row(self.simd, index) {
                Ok(log_probability) => self.write(row, log_probability),
                Err(constant) => normalize(self.simd, row, &constant),
            }
        }
    }

    /// The last pass over a row whose numerators are not stored.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn write<R: SrcDst>(self, mut row: R, epilogue: impl Epilogue<S::Vector>) {
        let simd = self.simd;
        if ONE
            && S::WRITES_PAST_CACHES
            && self.recomputes
            && let Some((logits, results)) = row.out_of_place()
        {
            return simd.vectorize(
                #[inline(always)]
                move |simd| {
                    let mut writer = Writer::new(results);
                    writer.write(simd, logits, epilogue);
                    writer.finish(simd);
                },
            );
        }
        normalize(simd, row, &epilogue);
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
        let (start, columns) = self.places.of_row(index);
        matrix.slice(start, columns)
    }

    /// The maxima and sums of rows. Numerators are stored where there is scratch.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn states<const PRECISE: bool, R: SrcDst>(
        self,
        matrix: &mut R,
    ) -> States<S::Vector> {
        let simd = self.simd;
        if ONE {
            return self.state::<PRECISE, R>(matrix).states;
        }
        // Each pass in a function of its own: a square takes up to a kilobyte of stack.
        let mut are_usual = false;
        let usual = &mut are_usual;
        let logits = matrix.logits();
        let max = simd.vectorize(
            #[inline(always)]
            |_| self.max_pass(logits, usual),
        );
        let maxima = Maxima { max, are_usual };
        let shifts = ShiftedMaxima::of::<S, PRECISE>(simd, &maxima, self.sink);
        let sum = simd.vectorize(
            #[inline(always)]
            |_| self.exp_sum_pass::<PRECISE, R>(matrix, &shifts),
        );
        States { shifts, sum }
    }

    /// The state of the only row.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn state<const PRECISE: bool, R: SrcDst>(self, row: &mut R) -> SingleRow<S::Vector> {
        let Batch {
            simd,
            places,
            sink,
            ahead,
            ..
        } = self;
        Reader {
            simd,
            columns: places.columns(),
            sink,
            ahead,
        }
        .state::<PRECISE, R>(row)
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn max_pass<L: Source>(self, matrix: L, are_usual: &mut bool) -> S::Vector {
        let simd = self.simd;
        let mut maxima = simd.splat(f32::NEG_INFINITY).square();
        let mut extremes = Extremes::new(simd);
        let rows = maxima.as_mut();
        for_each_row(
            self.rows,
            self.places,
            Unwritten(matrix),
            #[inline(always)]
            |index, row| {
                extremes = extremes.next_row(simd, row.logits());
                if let Some(maximum) = rows.get_mut(index) {
                    *maximum = extremes.highest;
                }
            },
        );
        fold_lanes::<S::Vector>(
            #[inline(always)]
            |step, i, j| {
                if j < rows.len() {
                    let (first, second) = S::Vector::fold_pair(step, rows[i], rows[j]);
                    (_, rows[i]) = first.min_max(second);
                }
            },
        );
        extremes.highest = first(rows, simd.splat(f32::NEG_INFINITY));
        *are_usual = extremes.are_usual(simd);
        extremes.highest
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn exp_sum_pass<const PRECISE: bool, R: SrcDst>(
        self,
        matrix: &mut R,
        shifts: &ShiftedMaxima<S::Vector>,
    ) -> TwoFloat<S::Vector> {
        let simd = self.simd;
        let zero = simd.splat(0.0);
        let mut sums = TwoFloat {
            high: zero.square(),
            low: zero.square(),
        };
        let starts = lanes_of(shifts.max_term.scale * self.places.starts_over_scale(simd));
        if shifts.are_usual {
            self.exp_sums(matrix, &starts, &mut sums, |_| {
                RowExpSum::<S, false, PRECISE>::of(simd, RegisterShift::unit(simd), self.ahead)
            });
        } else {
            let of_rows = RowShifts::of(&shifts.shift);
            self.exp_sums(matrix, &starts, &mut sums, |index| {
                RowExpSum::<S, true, PRECISE>::of(simd, of_rows.row(index).lanes(simd), self.ahead)
            });
        }
        let is_exact = self.places.columns() <= LONGEST_EXACT;
        simd.vectorize(
            #[inline(always)]
            |_| combine_rows(sums.high.as_mut(), sums.low.as_mut(), is_exact, zero),
        )
    }

    /// The sums of rows, each across the lanes of a register. `terms` are those of a row.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn exp_sums<const CLAMPED: bool, const PRECISE: bool, R: SrcDst>(
        self,
        matrix: &mut R,
        starts: &[f32; WIDEST],
        sums: &mut TwoFloat<Square<S>>,
        terms: impl Fn(usize) -> RowExpSum<S, CLAMPED, PRECISE>,
    ) {
        let simd = self.simd;
        let is_exact = self.places.columns() <= LONGEST_EXACT;
        let (highs, lows) = (sums.high.as_mut(), sums.low.as_mut());
        for_each_row(
            self.rows,
            self.places,
            matrix.reborrow(),
            #[inline(always)]
            |index, row| {
                let start = starts[index % WIDEST];
                let mut of_row = terms(index).sums(row, simd.splat(start));
                let sum = total(simd, &mut of_row, self.places.columns(), is_exact);
                if let (Some(high), Some(low)) = (highs.get_mut(index), lows.get_mut(index)) {
                    (*high, *low) = (sum.high, sum.low);
                }
            },
        );
    }

    /// Applies an epilogue of numerators to a row. Where these were not stored, they are computed
    /// again.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn normalize_row<R: SrcDst, E: Epilogue<S::Vector>>(
        self,
        row: R,
        shift: RowShift,
        epilogue: E,
    ) {
        let simd = self.simd;
        if R::HAS_SCRATCH && !self.recomputes {
            normalize(simd, row.last_pass(), &epilogue);
        } else {
            self.write(row, Recompute::new(simd, shift.lanes(simd), epilogue));
        }
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn normalize_unusual<R: SrcDst>(
        self,
        row: R,
        shift: RowShift,
        quotients: UnusualRow<S::Vector>,
    ) {
        match quotients {
            UnusualRow::Probability(probability) => self.normalize_row(row, shift, probability),
            UnusualRow::ExactMax(exact_max) => self.normalize_row(row, shift, exact_max),
            UnusualRow::Constant(constant) => normalize(self.simd, row.last_pass(), &constant),
        }
    }
}

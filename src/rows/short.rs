//! Rows of at most [`LONGEST_SHORT`] columns, as many at once as a register has lanes: lane i is
//! row i. Squares of the matrix are transposed in registers on the way in and on the way out.
//!
//! ```text
//! matrix              registers                          matrix
//! row 0  a b c …      a₀ a₁ a₂ …   column a of all rows   row 0  a b c …
//! row 1  a b c …  →   b₀ b₁ b₂ …   softmax by lanes    →  row 1  a b c …
//! row 2  a b c …      c₀ c₁ c₂ …                          row 2  a b c …
//! ```
//!
//! No operation goes across lanes. The bits are those of the form with a row across lanes: there
//! columns i and i + [`LANES`] are in a virtual lane of their own, whose sum begins at the start of
//! the row. So here the two are added to that start one after the other, the high parts of the
//! lanes are added without error, and the low parts are combined by the same tree.
//!
//! Of rows that end at different columns ([`masked_rows`]) the missing logits are −∞. Their
//! numerators are 0, and adding 0 changes no bit. Such rows are never usual
//! ([`rows`](super)), as −∞ is not.

use super::batch::{Batch, Even, Places};
use super::log_denominators::LogDenominators;
use super::quotients::Quotients;
use super::results::RowResults;
use super::schedule::LONGEST_SHORT;
use super::state::{Extremes, Maxima, ShiftedMaxima, States};
use crate::math::epilogue::{Epilogue, LogProbability};
use crate::math::exp::{ExpConstants, ScaledExp};
use crate::math::reduce::{first, fold};
use crate::math::two_float::TwoFloat;
use crate::options::Sink;
use crate::simd::{LANES, Lanewise, Simd, Unrolled, Vector, WIDEST, unroll};
use crate::source::{Source, SrcDst};

/// A matrix of as many rows as a register has lanes, transposed.
struct Transposed<S: Simd, const CELLS: usize, P = Dense> {
    simd: S,
    places: P,
    /// The columns, and what is beyond the end of the rows.
    cells: [S::Vector; CELLS],
    /// What rounding left out of the sums of virtual lanes.
    lows: [S::Vector; LANES / 2],
}

/// Rows without gaps between them. A type of its own: that the stride is the same number saves 5 % of
/// a softmax of 16 columns on an AMD EPYC core (family 25).
#[derive(Clone, Copy)]
struct Dense {
    columns: usize,
}

impl Dense {
    #[cfg_attr(not(unoptimized), inline(always))]
    fn even(self) -> Even {
        Even {
            columns: self.columns,
            stride: self.columns,
        }
    }
}

impl Places for Dense {
    #[cfg_attr(not(unoptimized), inline(always))]
    fn columns(self) -> usize {
        self.columns
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn stride(self) -> usize {
        self.columns
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn of_row(self, index: usize) -> (usize, usize) {
        self.even().of_row(index)
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn starts_over_scale<S: Simd>(self, simd: S) -> S::Vector {
        self.even().starts_over_scale(simd)
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn confidence_thresholds<S: Simd>(self, simd: S) -> S::Vector {
        self.even().confidence_thresholds(simd)
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn ends<S: Simd>(self, simd: S) -> Option<S::Vector> {
        self.even().ends(simd)
    }
}

/// The softmax, or the log-softmax if `LOG`, of as many rows at a time as a register has lanes.
/// There are no gaps between rows. Returns the rows that are left.
#[cfg_attr(not(unoptimized), inline(always))]
pub(super) fn rows<const LOG: bool, S: Simd, R: SrcDst>(
    simd: S,
    matrix: R,
    columns: usize,
    sink: Sink,
) -> R {
    let mut unread = matrix;
    let mut transposed = Transposed::<S, LONGEST_SHORT>::new(simd, Dense { columns });
    loop {
        let mut rows = match unread.split_at(S::Vector::WIDTH * columns) {
            Ok((rows, others)) => {
                unread = others;
                rows
            }
            Err(rest) => return rest,
        };
        transposed.write_results::<LOG, R>(&mut rows, sink);
    }
}

/// The same for as many rows as a register has lanes, which may end at different columns, at most
/// [`LANES`], and have gaps between them. Each is written as if it were as long as the longest: of
/// masked logits the results are those of −∞.
#[cfg_attr(not(unoptimized), inline(always))]
pub(super) fn masked_rows<const LOG: bool, S: Simd, R: SrcDst>(
    simd: S,
    rows: &mut R,
    places: impl Places,
    sink: Sink,
) {
    Transposed::<S, LANES, _>::new(simd, places).write_results::<LOG, R>(rows, sink);
}

/// log Σ e^x of as many rows at a time as a register has lanes. Returns the rows that are left, and
/// the places of their results.
#[cfg_attr(not(unoptimized), inline(always))]
pub(super) fn log_sum_exp<S: Simd, L: Source, O: RowResults>(
    simd: S,
    matrix: L,
    columns: usize,
    sink: Sink,
    out: O,
) -> (L, O) {
    let (mut unread, mut unwritten) = (matrix, out);
    // With more cells the losses would need too much stack.
    let places = Dense { columns };
    let mut transposed = Transposed::<S, LANES>::new(simd, places);
    loop {
        let Ok((rows, others)) = unread.split_at(S::Vector::WIDTH * columns) else {
            return (unread, unwritten);
        };
        let (out, others_out) = unwritten.split_at(S::Vector::WIDTH);
        let maxima = transposed.load(rows);
        let denominators = transposed.log_denominators(&maxima, rows, sink, O::IS_PRECISE);
        let max = maxima.max + simd.splat(0.0);
        out.write(
            simd,
            rows,
            #[inline(always)]
            |index| places.of_row(index),
            sink,
            &denominators,
            max,
        );
        (unread, unwritten) = (others, others_out);
    }
}

impl<S: Simd, const CELLS: usize, P: Places> Transposed<S, CELLS, P> {
    #[cfg_attr(not(unoptimized), inline(always))]
    fn new(simd: S, places: P) -> Self {
        let zero = simd.splat(0.0);
        Transposed {
            simd,
            places,
            cells: [zero; CELLS],
            lows: [zero; LANES / 2],
        }
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn write_results<const LOG: bool, R: SrcDst>(&mut self, rows: &mut R, sink: Sink) {
        let maxima = self.load(rows.logits());
        if LOG {
            let denominators = self.log_denominators(&maxima, rows.logits(), sink, true);
            let epilogue = WithFallback {
                log_probability: denominators.epilogue(),
                fallback: denominators.fallback(),
            };
            self.write(rows, epilogue);
        } else {
            let states = self.states::<false>(&maxima, sink);
            let quotients = Quotients::of(self.simd, &states, sink);
            if quotients.are_usual {
                self.write(rows, quotients.quotient);
            } else {
                self.write(rows, quotients.unusual(self.simd));
            }
        }
    }

    /// Loads rows and finds their maxima.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn load<L: Source>(&mut self, rows: L) -> Maxima<S::Vector> {
        let (simd, places, width) = (self.simd, self.places, S::Vector::WIDTH);
        let (columns, ends) = (places.columns(), places.ends(simd));
        let mut extremes = Extremes::new(simd);
        for (tile, cells) in self.cells.chunks_exact_mut(width).enumerate() {
            let start = tile * width;
            if start >= columns {
                break;
            }
            // The lanes past the end of a row are of the next row, masked or of a gap, or −∞.
            let mut square = rows.load_square(simd, start, places.stride());
            S::Vector::transpose(&mut square);
            // Not in a loop, which would keep the square in memory.
            unroll::<WIDEST>(
                #[inline(always)]
                |i| {
                    if let (Some(cell), Some(register)) = (cells.get_mut(i), square.as_ref().get(i))
                    {
                        *cell = match ends {
                            None => *register,
                            Some(ends) => visible(simd, ends, start + i, *register),
                        };
                    }
                },
            );
            let in_tile = cells.get(..columns - start).unwrap_or(cells);
            let (fours, others) = in_tile.as_chunks::<4>();
            for four in fours {
                extremes.add_four(*four);
            }
            for column in others {
                extremes.add(*column);
            }
        }
        Maxima {
            max: extremes.highest,
            are_usual: extremes.are_usual(simd),
        }
    }

    /// Applies `epilogue` and writes the rows. Where there is no gap between rows, a row is written
    /// with what is beyond its end, which the next row overwrites. The last row is written exactly.
    /// So the last columns come first.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn write<R: SrcDst>(&self, rows: &mut R, epilogue: impl Epilogue<S::Vector>) {
        let (simd, width) = (self.simd, S::Vector::WIDTH);
        let (columns, stride) = (self.places.columns(), self.places.stride());
        for (tile, cells) in self.cells.chunks_exact(width).enumerate().rev() {
            let start = tile * width;
            if start < columns {
                let mut square = simd.splat(0.0).square();
                unroll::<WIDEST>(
                    #[inline(always)]
                    |i| {
                        if let (Some(cell), Some(register)) =
                            (cells.get(i), square.as_mut().get_mut(i))
                        {
                            *register = epilogue.apply(*cell);
                        }
                    },
                );
                S::Vector::transpose(&mut square);
                let count = if columns == stride {
                    width
                } else {
                    columns - start
                };
                rows.store_square(simd, start, stride, count, &square);
            }
        }
    }

    /// The numerators take the places of the logits unless `PRECISE`.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn states<const PRECISE: bool>(
        &mut self,
        maxima: &Maxima<S::Vector>,
        sink: Sink,
    ) -> States<S::Vector> {
        let shifts = ShiftedMaxima::of::<S, PRECISE>(self.simd, maxima, sink);
        let sum = self.exp_sum::<PRECISE>(&shifts);
        States { shifts, sum }
    }

    /// The sums of the numerators, which take the places of the logits unless `PRECISE`.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn exp_sum<const PRECISE: bool>(
        &mut self,
        shifts: &ShiftedMaxima<S::Vector>,
    ) -> TwoFloat<S::Vector> {
        if shifts.are_usual {
            self.exp_sum_clamped::<PRECISE, false>(shifts)
        } else {
            self.exp_sum_clamped::<PRECISE, true>(shifts)
        }
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn exp_sum_clamped<const PRECISE: bool, const CLAMPED: bool>(
        &mut self,
        shifts: &ShiftedMaxima<S::Vector>,
    ) -> TwoFloat<S::Vector> {
        let (simd, columns) = (self.simd, self.places.columns());
        let constants = shifts.shift.constants(simd);
        let zero = simd.splat(0.0);
        let terms = ColumnExpSum::<PRECISE, CLAMPED, S> {
            constants,
            offset: shifts.shift.offset,
            sum_start: shifts.max_term.scale * self.places.starts_over_scale(simd),
        };
        let half = LANES / 2;
        let (cells, second_cells) = halves(&mut self.cells, LANES);
        let (cells, _) = halves(cells, columns);
        // The second columns of lanes are taken by fours. The numerators of those past the end
        // are 0.
        let paired = if CELLS > LANES {
            columns.saturating_sub(LANES)
        } else {
            0
        };
        let past_end = if CLAMPED {
            simd.splat(f32::NEG_INFINITY)
        } else {
            constants.lowest
        };
        let (fours, _) = second_cells.as_chunks_mut::<4>();
        let (second_cells, _) = halves(fours, paired.div_ceil(4));
        for cell in second_cells.as_flattened_mut().iter_mut().skip(paired) {
            *cell = past_end;
        }
        let mut high = zero;
        for low in self.lows.iter_mut().skip(columns) {
            *low = zero;
        }
        // The low parts of lanes 16 to 31 are added to those of lanes 0 to 15, as the first step of
        // the tree does.
        let (lower, upper) = halves(cells, half);
        let (second_lower, second_upper) = halves(second_cells, half / 4);
        terms.add::<true>(lower, second_lower, &mut self.lows, &mut high);
        terms.add::<false>(upper, second_upper, &mut self.lows, &mut high);
        let lanes = columns.next_power_of_two().min(half);
        let lows = self.lows.get_mut(..lanes).unwrap_or(&mut []);
        fold(
            lows,
            #[inline(always)]
            |a, b| a + b,
        );
        TwoFloat {
            high,
            low: first(lows, zero),
        }
    }

    /// The rows as a batch.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn batch(&self, sink: Sink) -> Batch<S, false, P> {
        Batch {
            simd: self.simd,
            rows: S::Vector::WIDTH,
            places: self.places,
            sink,
            ahead: 0,
            recomputes: false,
        }
    }

    /// If `is_precise`, small logarithms are accurate relative to themselves.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn log_denominators<L: Source>(
        &mut self,
        maxima: &Maxima<S::Vector>,
        rows: L,
        sink: Sink,
        is_precise: bool,
    ) -> LogDenominators<S::Vector> {
        let states = self.states::<true>(maxima, Sink::NONE);
        let batch = self.batch(sink);
        let other_terms = if is_precise {
            batch.other_terms::<true, false, _>(rows, &states)
        } else {
            states.other_terms(self.simd)
        };
        batch.log_denominators(&states, other_terms)
    }
}

/// The logits in a column, and −∞ in the lanes of rows that end before it.
#[cfg_attr(not(unoptimized), inline(always))]
fn visible<S: Simd>(simd: S, ends: S::Vector, column: usize, logits: S::Vector) -> S::Vector {
    // Half of one is added, as neither comparison holds for equal numbers.
    let column = simd.splat(column as f32 + 0.5);
    // No arithmetic with a masked logit, which may be NaN.
    ends.and_gt(column, logits) - column.and_gt(ends, simd.splat(f32::INFINITY))
}

/// The first `count`, or all if there are fewer, and the others.
#[cfg_attr(not(unoptimized), inline(always))]
fn halves<T>(values: &mut [T], count: usize) -> (&mut [T], &mut [T]) {
    let count = count.min(values.len());
    values.split_at_mut_checked(count).unwrap_or_default()
}

/// Computes and sums the numerators of columns.
struct ColumnExpSum<const PRECISE: bool, const CLAMPED: bool, S: Simd> {
    constants: ExpConstants<S::Vector>,
    offset: S::Vector,
    sum_start: S::Vector,
}

impl<const PRECISE: bool, const CLAMPED: bool, S: Simd> ColumnExpSum<PRECISE, CLAMPED, S> {
    /// Adds the numerators of virtual lanes, of which the first few have a second column, to
    /// `high`, and what rounding leaves out to `lows`, or puts it there if `FIRST`.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn add<const FIRST: bool>(
        &self,
        cells: &mut [S::Vector],
        second_cells: &mut [[S::Vector; 4]],
        lows: &mut [S::Vector; LANES / 2],
        high: &mut S::Vector,
    ) {
        let (cells, single_cells) = halves(cells, 4 * second_cells.len());
        let (lows, single_lows) = halves(lows, cells.len());
        let lanes = cells.as_chunks_mut::<4>().0.iter_mut().zip(second_cells);
        for ((cells, second_cells), lows) in lanes.zip(lows.as_chunks_mut::<4>().0) {
            let mut sums = Unrolled::<_, 4>::splat(self.sum_start);
            let rest = self.step(cells, &mut sums, high);
            let rest = rest + self.step(second_cells, &mut sums, high);
            put::<FIRST, 4, S>(rest, lows);
        }
        let (fours, others) = single_cells.as_chunks_mut::<4>();
        let (lows, other_lows) = halves(single_lows, 4 * fours.len());
        self.add_single::<FIRST, 4>(fours, lows, high);
        self.add_single::<FIRST, 1>(others.as_chunks_mut::<1>().0, other_lows, high);
    }

    /// The same for lanes of one column.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn add_single<const FIRST: bool, const COUNT: usize>(
        &self,
        cells: &mut [[S::Vector; COUNT]],
        lows: &mut [S::Vector],
        high: &mut S::Vector,
    ) {
        for (cells, lows) in cells.iter_mut().zip(lows.as_chunks_mut::<COUNT>().0) {
            let mut sums = Unrolled::<_, COUNT>::splat(self.sum_start);
            put::<FIRST, COUNT, S>(self.step(cells, &mut sums, high), lows);
        }
    }

    /// Adds one column to each of several lanes. Returns what rounding leaves out.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn step<const COUNT: usize>(
        &self,
        cells: &mut [S::Vector; COUNT],
        sums: &mut Unrolled<S::Vector, COUNT>,
        high: &mut S::Vector,
    ) -> Unrolled<S::Vector, COUNT> {
        let constants = self.constants.unrolled::<COUNT>();
        let offset = Unrolled::<_, COUNT>::splat(self.offset);
        let numerators = constants.numerators::<CLAMPED, PRECISE>(Unrolled(*cells), offset);
        if !PRECISE {
            *cells = numerators.value().0;
        }
        let mut rest = Unrolled::<_, COUNT>::splat(self.sum_start);
        unroll::<COUNT>(
            #[inline(always)]
            |i| rest.0[i] = add_one(&mut sums.0[i], high, numerators.register(i)),
        );
        rest
    }
}

#[cfg_attr(not(unoptimized), inline(always))]
fn put<const FIRST: bool, const COUNT: usize, S: Simd>(
    rest: Unrolled<S::Vector, COUNT>,
    lows: &mut [S::Vector; COUNT],
) {
    *lows = if FIRST {
        rest.0
    } else {
        (Unrolled(*lows) + rest).0
    };
}

/// Adds a numerator to the sum of its virtual lane, and what that grows by to `high`. Returns what
/// rounding leaves out.
#[cfg_attr(not(unoptimized), inline(always))]
fn add_one<V: Lanewise>(lane_sum: &mut V, high: &mut V, numerator: ScaledExp<V>) -> V {
    let sum = *lane_sum + numerator.value();
    let added = sum - *lane_sum;
    *lane_sum = sum;
    *high = *high + added;
    let rest = numerator.scale - added;
    numerator.scale.mul_add(numerator.expm1, rest)
}

/// A log-softmax where some lanes may have none.
#[derive(Clone, Copy)]
struct WithFallback<V> {
    log_probability: LogProbability<V>,
    fallback: V,
}

impl<V: Vector> Epilogue<V> for WithFallback<V> {
    #[cfg_attr(not(unoptimized), inline(always))]
    fn apply(&self, logits: V) -> V {
        self.log_probability.apply(logits) + self.fallback
    }
}

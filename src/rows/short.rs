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
//! each column is in a lane of its own, whose sum begins at the start of the row. So here each
//! column is rounded by that start, the high parts are added without error, and the low parts are
//! combined by the same tree.

use super::batch::{Batch, Even};
use super::log_denominators::LogDenominators;
use super::quotients::Quotients;
use super::schedule::LONGEST_SHORT;
use super::state::{Extremes, Maxima, ShiftedMaxima, States};
use crate::math::epilogue::{Epilogue, LogProbability};
use crate::math::exp::{ExpConstants, ScaledExp};
use crate::math::reduce::{first, fold};
use crate::math::two_float::TwoFloat;
use crate::options::Sink;
use crate::simd::{Lanewise, Simd, Unrolled, Vector, unroll};
use crate::source::{Source, SrcDst};

/// A matrix of as many rows as a register has lanes, transposed.
struct Transposed<S: Simd> {
    simd: S,
    columns: usize,
    /// The columns, and what is beyond the end of the rows.
    cells: [S::Vector; LONGEST_SHORT],
    /// What rounding left out of the sums.
    lows: [S::Vector; LONGEST_SHORT / 2],
}

/// The softmax, or the log-softmax if `LOG`, of as many rows at a time as a register has lanes.
/// Returns the rows that are left.
#[cfg_attr(not(unoptimized), inline(always))]
pub(super) fn rows<const LOG: bool, S: Simd, R: SrcDst>(
    simd: S,
    matrix: R,
    columns: usize,
    sink: Sink,
) -> R {
    let mut unread = matrix;
    let mut transposed = Transposed::new(simd, columns);
    loop {
        let mut rows = match unread.split_at(S::Vector::WIDTH * columns) {
            Ok((rows, others)) => {
                unread = others;
                rows
            }
            Err(rest) => return rest,
        };
        let maxima = transposed.load(rows.logits());
        if LOG {
            let denominators = transposed.log_denominators(&maxima, rows.logits(), sink, true);
            let epilogue = WithFallback {
                log_probability: denominators.epilogue(),
                fallback: denominators.fallback(),
            };
            transposed.write(&mut rows, epilogue);
        } else {
            let states = transposed.states::<false>(&maxima, sink);
            let quotients = Quotients::of(simd, &states, sink);
            if quotients.are_usual {
                transposed.write(&mut rows, quotients.quotient);
            } else {
                transposed.write(&mut rows, quotients.unusual());
            }
        }
    }
}

/// log Σ e^x of as many rows at a time as a register has lanes. Returns the rows that are left, and
/// the places of their results.
#[cfg_attr(not(unoptimized), inline(always))]
pub(super) fn log_sum_exp<S: Simd, L: Source>(
    simd: S,
    matrix: L,
    columns: usize,
    sink: Sink,
    out: &mut [f32],
) -> (L, &mut [f32]) {
    let (mut unread, mut unwritten) = (matrix, out);
    let mut transposed = Transposed::new(simd, columns);
    let batch = transposed.batch(sink);
    loop {
        let Ok((rows, others)) = unread.split_at(batch.rows * columns) else {
            return (unread, unwritten);
        };
        let Some((out, others_out)) = unwritten.split_at_mut_checked(batch.rows) else {
            return (unread, &mut []);
        };
        let maxima = transposed.load(rows);
        let denominators = transposed.log_denominators(&maxima, rows, sink, false);
        batch.write(rows, &denominators, maxima.max + simd.splat(0.0), out);
        (unread, unwritten) = (others, others_out);
    }
}

impl<S: Simd> Transposed<S> {
    #[cfg_attr(not(unoptimized), inline(always))]
    fn new(simd: S, columns: usize) -> Self {
        let zero = simd.splat(0.0);
        Transposed {
            simd,
            columns,
            cells: [zero; LONGEST_SHORT],
            lows: [zero; LONGEST_SHORT / 2],
        }
    }

    /// Loads rows and finds their maxima.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn load<L: Source>(&mut self, rows: L) -> Maxima<S::Vector> {
        let (simd, columns, width) = (self.simd, self.columns, S::Vector::WIDTH);
        let mut extremes = Extremes::new(simd);
        for (tile, cells) in self.cells.chunks_exact_mut(width).enumerate() {
            let start = tile * width;
            if start >= columns {
                break;
            }
            // The lanes past the end of a row are of the next row, or −∞.
            let mut square = rows.load_square(simd, start, columns);
            S::Vector::transpose(&mut square);
            for (cell, register) in cells.iter_mut().zip(square.as_ref()) {
                *cell = *register;
            }
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

    /// Applies `epilogue` and writes the rows. A row is written with what is beyond its end, which
    /// the next row overwrites. The last row is written exactly. So the last columns come first.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn write<R: SrcDst>(&self, rows: &mut R, epilogue: impl Epilogue<S::Vector>) {
        let (simd, columns, width) = (self.simd, self.columns, S::Vector::WIDTH);
        for (tile, cells) in self.cells.chunks_exact(width).enumerate().rev() {
            let start = tile * width;
            if start < columns {
                let mut square = simd.splat(0.0).square();
                for (cell, register) in cells.iter().zip(square.as_mut()) {
                    *register = epilogue.apply(*cell);
                }
                S::Vector::transpose(&mut square);
                rows.store_square(simd, start, columns, &square);
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
        let constants = shifts.shift.constants(self.simd);
        let zero = self.simd.splat(0.0);
        let mut high = zero;
        let terms = ColumnExpSum::<PRECISE, CLAMPED, S> {
            constants,
            offset: shifts.shift.offset,
            sum_start: shifts.sum_start(self.simd, self.columns),
        };
        let cells = self.cells.get_mut(..self.columns).unwrap_or(&mut []);
        let lows = &mut self.lows;
        let (first_cells, other_cells) = match cells.split_at_mut_checked(lows.len()) {
            Some((first, others)) => (first, others),
            None => {
                for low in &mut lows[cells.len()..] {
                    *low = zero;
                }
                (cells, &mut [][..])
            }
        };
        terms.add::<true>(first_cells, lows, &mut high);
        // The low parts of columns 16 to 31 are added to those of columns 0 to 15, as the first
        // step of the tree does.
        terms.add::<false>(other_cells, lows, &mut high);
        let columns = self.columns.next_power_of_two().min(LONGEST_SHORT / 2);
        let lows = lows.get_mut(..columns).unwrap_or(&mut []);
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
    fn batch(&self, sink: Sink) -> Batch<S, false> {
        Batch {
            simd: self.simd,
            rows: S::Vector::WIDTH,
            places: Even {
                columns: self.columns,
                stride: self.columns,
            },
            sink,
            ahead: 0,
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

/// Computes and sums the numerators of columns.
struct ColumnExpSum<const PRECISE: bool, const CLAMPED: bool, S: Simd> {
    constants: ExpConstants<S::Vector>,
    offset: S::Vector,
    sum_start: S::Vector,
}

impl<const PRECISE: bool, const CLAMPED: bool, S: Simd> ColumnExpSum<PRECISE, CLAMPED, S> {
    /// Adds the numerators to `high`, and what rounding leaves out to `lows`, or puts it there if
    /// `FIRST`.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn add<const FIRST: bool>(
        &self,
        cells: &mut [S::Vector],
        lows: &mut [S::Vector],
        high: &mut S::Vector,
    ) {
        let (fours, others) = cells.as_chunks_mut::<4>();
        let (four_lows, other_lows) = lows
            .split_at_mut_checked(4 * fours.len())
            .unwrap_or_default();
        for (cells, lows) in fours.iter_mut().zip(four_lows.as_chunks_mut::<4>().0) {
            self.step::<FIRST, 4>(cells, lows, high);
        }
        let other_lows = other_lows.as_chunks_mut::<1>().0;
        for (cells, lows) in others.as_chunks_mut::<1>().0.iter_mut().zip(other_lows) {
            self.step::<FIRST, 1>(cells, lows, high);
        }
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn step<const FIRST: bool, const COUNT: usize>(
        &self,
        cells: &mut [S::Vector; COUNT],
        lows: &mut [S::Vector; COUNT],
        high: &mut S::Vector,
    ) {
        let constants = self.constants.unrolled::<COUNT>();
        let offset = Unrolled([self.offset; COUNT]);
        let numerators = constants.numerators::<CLAMPED, PRECISE>(Unrolled(*cells), offset);
        if !PRECISE {
            *cells = numerators.value().0;
        }
        unroll::<COUNT>(
            #[inline(always)]
            |i| {
                let low = add_one(high, self.sum_start, numerators.register(i));
                lows[i] = if FIRST { low } else { lows[i] + low };
            },
        );
    }
}

/// Rounds a numerator as a sum that begins at `sum_start` would, adds it, and returns the
/// remainder. Each column begins at `sum_start`, as a lane of its own does, so that a tie is
/// rounded to the same side.
#[cfg_attr(not(unoptimized), inline(always))]
fn add_one<V: Lanewise>(high: &mut V, sum_start: V, numerator: ScaledExp<V>) -> V {
    let rounded = (sum_start + numerator.value()) - sum_start;
    *high = *high + rounded;
    let rest = numerator.scale - rounded;
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

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

use super::batch::Batch;
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
struct Transposed<'a, S: Simd> {
    simd: S,
    columns: usize,
    cells: &'a mut [S::Vector; LONGEST_SHORT],
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
    let mut cells = [simd.splat(0.0); LONGEST_SHORT];
    loop {
        let mut rows = match unread.split_at(S::Vector::WIDTH * columns) {
            Ok((rows, others)) => {
                unread = others;
                rows
            }
            Err(rest) => return rest,
        };
        let mut transposed = Transposed {
            simd,
            columns,
            cells: &mut cells,
        };
        let maxima = transposed.load(rows.logits());
        if LOG {
            let denominators = transposed.log_denominators(&maxima, rows.logits(), sink, true);
            transposed.apply(WithFallback {
                log_probability: denominators.epilogue(),
                fallback: denominators.fallback(),
            });
        } else {
            let states = transposed.states::<false>(&maxima, sink);
            transposed.normalize(&states, sink);
        }
        transposed.store(&mut rows);
    }
}

/// The logarithms of the denominators, and the maxima, of as many rows as a register has lanes.
#[cfg_attr(not(unoptimized), inline(always))]
pub(super) fn log_sum_exp<S: Simd, L: Source>(
    simd: S,
    rows: L,
    columns: usize,
    sink: Sink,
) -> (LogDenominators<S::Vector>, S::Vector) {
    let mut transposed = Transposed {
        simd,
        columns,
        cells: &mut [simd.splat(0.0); LONGEST_SHORT],
    };
    let maxima = transposed.load(rows);
    let denominators = transposed.log_denominators(&maxima, rows, sink, false);
    (denominators, maxima.max + simd.splat(0.0))
}

impl<S: Simd> Transposed<'_, S> {
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

    /// A row is written with what is beyond its end, which the next row overwrites. The last row is
    /// written exactly. So the last columns come first.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn store<R: SrcDst>(&mut self, rows: &mut R) {
        let (simd, columns, width) = (self.simd, self.columns, S::Vector::WIDTH);
        for (tile, cells) in self.cells.chunks_exact(width).enumerate().rev() {
            let start = tile * width;
            if start < columns {
                let mut square = simd.splat(0.0).square();
                for (cell, register) in cells.iter().zip(square.as_mut()) {
                    *register = *cell;
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

    /// Makes probabilities of numerators.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn normalize(&mut self, states: &States<S::Vector>, sink: Sink) {
        let quotients = Quotients::of(self.simd, states, sink);
        if quotients.are_usual {
            self.apply(quotients.quotient);
        } else {
            self.apply(quotients.unusual());
        }
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
        let (mut high, mut lows) = (zero, [zero; LONGEST_SHORT / 2]);
        let terms = ColumnExpSum::<PRECISE, CLAMPED, S> {
            constants,
            offset: shifts.shift.offset,
            sum_start: shifts.sum_start(self.simd, self.columns),
        };
        let cells = self.cells.get_mut(..self.columns).unwrap_or(&mut []);
        // The low parts of columns 16 to 31 are added to those of columns 0 to 15, as the first
        // step of the tree does.
        for cells in cells.chunks_mut(LONGEST_SHORT / 2) {
            let (cells, lows) = terms.add::<4>(cells, &mut lows, &mut high);
            terms.add::<1>(cells, lows, &mut high);
        }
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

    /// If `is_precise`, small logarithms are accurate relative to themselves.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn log_denominators<L: Source>(
        &mut self,
        maxima: &Maxima<S::Vector>,
        rows: L,
        sink: Sink,
        is_precise: bool,
    ) -> LogDenominators<S::Vector> {
        let (simd, columns) = (self.simd, self.columns);
        let states = self.states::<true>(maxima, Sink::NONE);
        let batch = Batch::<S, false> {
            simd,
            rows: S::Vector::WIDTH,
            columns,
            sink,
            ahead: 0,
        };
        let other_terms = if is_precise {
            batch.other_terms::<true, false, _>(rows, &states)
        } else {
            states.other_terms(simd)
        };
        batch.log_denominators(&states, other_terms)
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn apply(&mut self, epilogue: impl Epilogue<S::Vector>) {
        for column in self.cells.iter_mut().take(self.columns) {
            *column = epilogue.apply(*column);
        }
    }
}

/// Computes and sums the numerators of columns.
struct ColumnExpSum<const PRECISE: bool, const CLAMPED: bool, S: Simd> {
    constants: ExpConstants<S::Vector>,
    offset: S::Vector,
    sum_start: S::Vector,
}

impl<const PRECISE: bool, const CLAMPED: bool, S: Simd> ColumnExpSum<PRECISE, CLAMPED, S> {
    /// `COUNT` columns at a time. Returns what is left.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn add<'a, 'b, const COUNT: usize>(
        &self,
        cells: &'a mut [S::Vector],
        lows: &'b mut [S::Vector],
        high: &mut S::Vector,
    ) -> (&'a mut [S::Vector], &'b mut [S::Vector]) {
        let constants = self.constants.unrolled::<COUNT>();
        let (mut cells, mut lows) = (cells, lows);
        loop {
            if cells.len() < COUNT || lows.len() < COUNT {
                return (cells, lows);
            }
            let (these, other_cells) = cells.split_at_mut(COUNT);
            let (these_lows, other_lows) = lows.split_at_mut(COUNT);
            let mut logits = Unrolled([self.offset; COUNT]);
            unroll::<COUNT>(
                #[inline(always)]
                |i| logits.0[i] = these[i],
            );
            let offset = Unrolled([self.offset; COUNT]);
            let numerators = constants.numerators::<CLAMPED, PRECISE>(logits, offset);
            let values = numerators.value();
            unroll::<COUNT>(
                #[inline(always)]
                |i| {
                    let low = add_one(high, self.sum_start, numerators.register(i));
                    these_lows[i] = these_lows[i] + low;
                    if !PRECISE {
                        these[i] = values.0[i];
                    }
                },
            );
            (cells, lows) = (other_cells, other_lows);
        }
    }
}

/// Rounds a numerator as a sum that begins at `sum_start` would, adds it, and returns the remainder.
/// Each column begins at `sum_start`, as a lane of its own does, so that a tie is rounded to the
/// same side.
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

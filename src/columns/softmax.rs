//! The softmax of columns.

use super::algorithm::{ColumnAlgorithm, STRIP, TILE};
use super::rectangle::{Rectangle, larger, load, set_register, split_group, store};
use super::state::{GroupState, exact_terms, fallback_of, sum_start};
use crate::math::compensated_sum::CompensatedSum;
use crate::math::epilogue::{Epilogue, ExactMax, NEGLIGIBLE, Probability, Quotient, SCALE};
use crate::math::shift::{GroupShifts, Shift};
use crate::math::two_float::TwoFloat;
use crate::options::Sink;
use crate::simd::{
    Group, Simd, Unrolled, Vector, WIDEST, for_each_register, lanes_of, map_group, unroll,
};
use crate::source::{Source, SrcDst};

/// The first pass over a strip in a tile: the maxima of each group, and in each lane a lower bound
/// of its logits. NaN is ignored.
#[cfg_attr(not(unoptimized), inline(always))]
fn max_pass<S: Simd, R: SrcDst>(
    simd: S,
    strip: Rectangle<S>,
    slab: &mut R,
    maxima: &mut [Group<S>; STRIP],
) -> S::Vector {
    let mut least = simd.splat(f32::INFINITY);
    for cells in strip.rows(slab) {
        let mut unread = cells;
        for maxima in &mut *maxima {
            let (cells, others) = split_group::<S, _>(unread);
            strip.prefetch(&cells);
            let logits = load(simd, &cells);
            for_each_register::<S>(
                #[inline(always)]
                |register| least = simd.register(&logits, register).min_drop_nan(least),
            );
            *maxima = larger(simd, *maxima, &logits);
            match others {
                Some(others) => unread = others,
                None => break,
            }
        }
    }
    least
}

/// The second pass over a strip in a tile: stores the numerators and adds them to the sums.
/// `UNROLL` registers at a time: those of some groups of a row, or of a group in some rows, if the
/// groups of a row are too few. `are_clamped` says whether a column has an offset, or a numerator
/// may be zero.
///
/// While a row has `groups_at_once` more groups, those are the registers of these groups, and the
/// pass goes row by row: memory is then read and written in order. Rows that are a multiple of 4
/// KiB apart alias: the processor delays a load whose low address bits match those of a recent
/// store. The groups that are left go one by one, several rows at a time.
#[cfg_attr(not(unoptimized), inline(always))]
fn exp_sum_pass<const UNROLL: usize, S: Simd, R: SrcDst>(
    simd: S,
    strip: Rectangle<S>,
    slab: &mut R,
    sums: &[GroupState<S>; STRIP],
    tile_sums: &mut [CompensatedSum<S>; STRIP],
    are_clamped: bool,
) {
    let groups_at_once = UNROLL.div_ceil(S::REGISTERS);
    let in_rows = (strip.width / (groups_at_once * S::GROUP_LANES) * groups_at_once).min(STRIP);
    let (sums, left) = sums.split_at(in_rows);
    let (tile_sums, tile_sums_left) = tile_sums.split_at_mut(in_rows);
    if in_rows > 0 {
        let width = in_rows * S::GROUP_LANES;
        for cells in (Rectangle { width, ..strip }).rows(slab) {
            let mut unread = cells;
            let chunks = tile_sums.chunks_exact_mut(groups_at_once);
            for (sums, tile_sums) in sums.chunks_exact(groups_at_once).zip(chunks) {
                let Ok((cells, others)) = unread.split_at(groups_at_once * S::GROUP_LANES) else {
                    break;
                };
                exp_sum_cells::<UNROLL, S, _>(
                    simd,
                    sums,
                    tile_sums,
                    &mut [Some(cells)],
                    are_clamped,
                );
                unread = others;
            }
        }
    }
    let left = left.chunks_exact(1).zip(tile_sums_left.chunks_exact_mut(1));
    for (columns, (sums, tile_sums)) in strip.groups().skip(in_rows).zip(left) {
        let mut rows = columns.rows(slab);
        for _ in 0..strip.rows.div_ceil(groups_at_once) {
            let mut cells = [const { None }; UNROLL];
            for cells in cells.iter_mut().take(groups_at_once) {
                *cells = rows.next();
            }
            if let Some(cells) = cells.get_mut(..groups_at_once) {
                exp_sum_cells::<UNROLL, S, _>(simd, sums, tile_sums, cells, are_clamped);
            }
        }
    }
}

/// Rectangle of one row in some groups, or of some rows in one.
#[cfg_attr(not(unoptimized), inline(always))]
fn exp_sum_cells<const UNROLL: usize, S: Simd, R: SrcDst>(
    simd: S,
    sums: &[GroupState<S>],
    tile_sums: &mut [CompensatedSum<S>],
    cells: &mut [Option<R>],
    are_clamped: bool,
) {
    let is_whole = |cells: &Option<R>| {
        cells
            .as_ref()
            .is_some_and(|cells| cells.len() >= sums.len() * S::GROUP_LANES)
    };
    if cells.iter().all(is_whole) && !are_clamped {
        exp_sum_cells_as::<false, UNROLL, S, R>(simd, sums, tile_sums, cells);
    } else {
        exp_sum_cells_as::<true, UNROLL, S, R>(simd, sums, tile_sums, cells);
    }
}

/// Lanes past the end of a row count as −∞, which changes no sum.
#[cfg_attr(not(unoptimized), inline(always))]
fn exp_sum_cells_as<const CLAMPED: bool, const UNROLL: usize, S: Simd, R: SrcDst>(
    simd: S,
    sums: &[GroupState<S>],
    tile_sums: &mut [CompensatedSum<S>],
    cells: &mut [Option<R>],
) {
    let registers = sums.len() * S::REGISTERS;
    let start = |register: usize| register % registers * S::Vector::WIDTH;
    let empty = Unrolled::<_, UNROLL>::splat(simd.splat(f32::NEG_INFINITY));
    for first in (0..cells.len() * registers).step_by(UNROLL) {
        let mut constants = Shift::unit().constants(simd).unrolled();
        let (mut logits, mut offsets) = (empty, empty);
        unroll::<UNROLL>(
            #[inline(always)]
            |i| {
                let register = first + i;
                if let Some(sums) = sums.get(register % registers / S::REGISTERS) {
                    offsets.0[i] = sums.shifts.set(register % S::REGISTERS, &mut constants, i);
                }
                if let Some(Some(cells)) = cells.get(register / registers)
                    && start(register) < cells.len()
                {
                    logits.0[i] = cells.logits().load(simd, start(register));
                }
            },
        );
        let numerators = if CLAMPED {
            constants.exp_scaled(logits - offsets)
        } else {
            constants.exp_scaled_in_range(logits)
        };
        let values = numerators.value();
        unroll::<UNROLL>(
            #[inline(always)]
            |i| {
                let register = first + i;
                if let Some(tile_sum) = tile_sums.get_mut(register % registers / S::REGISTERS) {
                    tile_sum.add(register % S::REGISTERS, numerators.register(i));
                }
                if R::HAS_SCRATCH
                    && let Some(Some(cells)) = cells.get_mut(register / registers)
                    && start(register) < cells.len()
                {
                    cells.store(start(register), values.0[i]);
                }
            },
        );
    }
}

/// A [`Probability`] for each lane: its scaled quotient.
#[derive(Clone, Copy)]
pub(super) struct Probabilities<S: Simd> {
    simd: S,
    inverse: Group<S>,
    inverse_rest: Group<S>,
    negligible: Group<S>,
}

impl<S: Simd> ColumnAlgorithm<S> for Probabilities<S> {
    #[cfg_attr(not(unoptimized), inline(always))]
    fn read_tile<R: SrcDst>(
        sums: &mut [GroupState<S>; STRIP],
        strip: Rectangle<S>,
        first: usize,
        slab: &mut R,
        sink: Sink,
    ) {
        let simd = strip.simd;
        let tile = strip.below(first, TILE);
        let mut maxima = [simd.group(simd.splat(f32::NEG_INFINITY)); STRIP];
        let least = simd.vectorize(
            #[inline(always)]
            |simd| max_pass(simd, tile, slab, &mut maxima),
        );
        let mut tile_sums = [CompensatedSum::new(simd); STRIP];
        let mut are_clamped = false;
        let of_groups = sums.iter_mut().zip(&mut tile_sums).zip(&maxima);
        for (columns, ((sums, tile_sum), maxima)) in strip.groups().zip(of_groups) {
            sums.raise(columns, first, maxima, slab, sink);
            *tile_sum = CompensatedSum::starting_at(simd, &sum_start(&sums.shifts, maxima));
            are_clamped |= sums.shifts.may_clamp(least);
        }
        simd.vectorize(
            #[inline(always)]
            |simd| {
                let sums = &*sums;
                let tile_sums = &mut tile_sums;
                match S::UNROLL {
                    8 => exp_sum_pass::<8, S, R>(simd, tile, slab, sums, tile_sums, are_clamped),
                    4 => exp_sum_pass::<4, S, R>(simd, tile, slab, sums, tile_sums, are_clamped),
                    _ => exp_sum_pass::<1, S, R>(simd, tile, slab, sums, tile_sums, are_clamped),
                }
            },
        );
        for (sums, (tile_sum, maxima)) in sums.iter_mut().zip(tile_sums.iter().zip(&maxima)) {
            let sum_start = sum_start(&sums.shifts, maxima);
            tile_sum
                .remove_start(&sum_start)
                .flush(sums.totals.as_mut());
        }
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn new(simd: S) -> Self {
        let zero = simd.group(simd.splat(0.0));
        Probabilities {
            simd,
            inverse: zero,
            inverse_rest: zero,
            negligible: zero,
        }
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn finish(&mut self, simd: S, sums: &GroupState<S>, sink: Sink) {
        for register in 0..S::REGISTERS {
            let denominators = denominators(simd, sums, register, sink);
            let [mut high, mut low, mut negligible] = [[0.0; WIDEST]; 3];
            for lane in 0..S::Vector::WIDTH {
                let inverse = 1.0 / denominators[lane];
                high[lane] = inverse as f32;
                low[lane] = (inverse - f64::from(inverse as f32)) as f32;
                negligible[lane] = (denominators[lane] * NEGLIGIBLE) as f32;
            }
            let (high, low) = (simd.load(&high, 0.0), simd.load(&low, 0.0));
            let quotient = Quotient::new(
                TwoFloat { high, low },
                #[inline(always)]
                |value| simd.splat(value),
            )
            .scaled(simd.splat(SCALE));
            let places = [
                (&mut self.inverse, quotient.inverse),
                (&mut self.inverse_rest, quotient.inverse_rest),
                (&mut self.negligible, simd.load(&negligible, 0.0)),
            ];
            for (group, lanes) in places {
                if let Some(place) = group.as_mut().get_mut(register) {
                    *place = lanes;
                }
            }
        }
    }

    /// Each column has a softmax, or results of 0, and no probability must be exact.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn has_no_exception(columns: Rectangle<S>, sums: &GroupState<S>, sink: Sink) -> bool {
        let simd = columns.simd;
        let mut has_no_exception = true;
        for (register, maxima) in sums.maxima.as_ref().iter().enumerate() {
            let denominators = denominators(simd, sums, register, sink);
            let max_terms = exact_terms::<false, S>(&sums.shifts, register, *maxima);
            let (maxima, totals) = (lanes_of(*maxima), sums.totals_of(register));
            let count = columns.width.saturating_sub(register * S::Vector::WIDTH);
            let lanes = maxima
                .into_iter()
                .zip(totals)
                .zip(max_terms.into_iter().zip(denominators));
            has_no_exception &= lanes.take(count.min(S::Vector::WIDTH)).all(
                |((max, total), (max_term, denominator))| {
                    fallback_of(max, total, sink) == 0.0 && !may_be_exact(max_term, denominator)
                },
            );
        }
        has_no_exception
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn last_pass<R: SrcDst>(slab: &mut R) -> impl SrcDst {
        slab.reborrow().last_pass()
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn normalize_row<R: SrcDst>(&self, simd: S, shifts: &GroupShifts<S>, cells: &mut R) {
        self.write_row(simd, shifts, cells, |register, numerators| {
            self.probability(register).apply(numerators)
        });
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn normalize_with_exceptions<R: SrcDst>(
        &self,
        columns: Rectangle<S>,
        slab: &mut R,
        sums: &GroupState<S>,
        sink: Sink,
    ) {
        let simd = self.simd;
        let exceptions = Exceptions::of(simd, sums, sink);
        for mut cells in columns.rows(slab) {
            self.write_row(
                simd,
                &sums.shifts,
                &mut cells,
                #[inline(always)]
                |register, numerators| {
                    let exact_max = ExactMax {
                        probability: self.probability(register),
                        max_term: simd.register(&exceptions.max_term, register),
                        of_max: simd.register(&exceptions.of_max, register),
                    };
                    exact_max.apply(numerators) + simd.register(&exceptions.fallback, register)
                },
            );
        }
    }
}

impl<S: Simd> Probabilities<S> {
    /// Writes what `epilogue` makes of the numerators of each register.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn write_row<R: SrcDst>(
        &self,
        simd: S,
        shifts: &GroupShifts<S>,
        cells: &mut R,
        epilogue: impl Fn(usize, S::Vector) -> S::Vector,
    ) {
        let results = map_group::<S>(
            load(simd, cells),
            #[inline(always)]
            |register, lanes| {
                let numerators = if R::HAS_SCRATCH {
                    lanes
                } else {
                    shifts.exp_scaled(register, lanes).value()
                };
                epilogue(register, numerators)
            },
        );
        store(simd, cells, &results);
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn probability(&self, register: usize) -> Probability<S::Vector> {
        let of = |group| self.simd.register(group, register);
        let quotient = Quotient {
            inverse: of(&self.inverse),
            inverse_rest: of(&self.inverse_rest),
        };
        Probability::of_scaled(self.simd, quotient, of(&self.negligible))
    }
}

/// What a group with exceptions needs beside its [`Probabilities`].
struct Exceptions<S: Simd> {
    /// The numerators whose probability must be exact, and NaN, which no numerator equals.
    max_term: Group<S>,
    /// Their probabilities.
    of_max: Group<S>,
    /// What is added to each result: −0 for a column with a softmax.
    fallback: Group<S>,
}

impl<S: Simd> Exceptions<S> {
    #[cfg_attr(not(unoptimized), inline(always))]
    fn of(simd: S, sums: &GroupState<S>, sink: Sink) -> Self {
        let zero = simd.group(simd.splat(0.0));
        let mut exceptions = Exceptions {
            max_term: zero,
            of_max: zero,
            fallback: zero,
        };
        for (register, maxima) in sums.maxima.as_ref().iter().enumerate() {
            let denominators = denominators(simd, sums, register, sink);
            let exact = exact_terms::<false, S>(&sums.shifts, register, *maxima);
            let rounded = lanes_of(sums.shifts.exp_scaled(register, *maxima).value());
            let (maxima, totals) = (lanes_of(*maxima), sums.totals_of(register));
            let [mut max_term, mut of_max, mut fallback] = [[0.0; WIDEST]; 3];
            for lane in 0..S::Vector::WIDTH {
                of_max[lane] = (exact[lane] / denominators[lane]) as f32;
                max_term[lane] = if may_be_exact(exact[lane], denominators[lane]) {
                    rounded[lane]
                } else {
                    f32::NAN
                };
                fallback[lane] = fallback_of(maxima[lane], totals[lane], sink);
            }
            set_register(simd, &mut exceptions.max_term, register, &max_term);
            set_register(simd, &mut exceptions.of_max, register, &of_max);
            set_register(simd, &mut exceptions.fallback, register, &fallback);
        }
        exceptions
    }
}

/// The denominators of the columns of a register.
#[cfg_attr(not(unoptimized), inline(always))]
fn denominators<S: Simd>(
    simd: S,
    sums: &GroupState<S>,
    register: usize,
    sink: Sink,
) -> [f64; WIDEST] {
    let mut denominators = exact_terms::<false, S>(&sums.shifts, register, simd.splat(sink.logit));
    let totals = sums.totals_of(register);
    let lanes = denominators.iter_mut().zip(totals);
    for (denominator, total) in lanes.take(S::Vector::WIDTH) {
        *denominator += total;
    }
    denominators
}

/// Whether the probability of the maximum is within rounding of 1 or of one over an integer.
#[cfg_attr(not(unoptimized), inline(always))]
fn may_be_exact(max_term: f64, total: f64) -> bool {
    const ROUND: f64 = (1_u64 << 52) as f64;
    let inverse = total / max_term;
    let integer = (inverse + ROUND) - ROUND;
    max_term > 0.0 && (inverse < 1.0 + 1e-6 || (inverse - integer).abs() <= inverse * 1e-9)
}

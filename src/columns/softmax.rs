//! The softmax of columns.

use super::cells::{Cells, larger, load, split_group, store};
use super::sums::{Sums, exp_scaled_once, fallback_of};
use super::{ColumnAlgorithm, STRIP, TILE};
use crate::math::epilogue::{Epilogue, ExactMax, NEGLIGIBLE, Probability};
use crate::math::shift::{LaneShifts, Shift};
use crate::options::Sink;
use crate::simd::{Group, LANES, Simd, Unrolled, Vector, load_group, store_group};
use crate::source::{Source, SrcDst};

/// The largest and the smallest logits of a strip in a tile.
struct Extremes<S: Simd> {
    /// The maxima of each group.
    maxima: [Group<S>; STRIP],
    /// No logit is less than what is in its lane here; a NaN is not one.
    least: S::Vector,
}

/// The first pass over a strip in a tile.
#[inline(always)]
fn max_pass<S: Simd, R: SrcDst>(simd: S, strip: Cells<S>, slab: &mut R) -> Extremes<S> {
    let mut maxima = [simd.splat(f32::NEG_INFINITY).group(); STRIP];
    let mut least = simd.splat(f32::INFINITY);
    for cells in strip.rows(slab) {
        let mut unread = cells;
        for maxima in &mut maxima {
            let (cells, others) = split_group(unread);
            strip.prefetch(&cells);
            let logits = load(simd, &cells);
            for lanes in logits.as_ref() {
                least = lanes.min_drop_nan(least);
            }
            *maxima = larger(simd, *maxima, &logits);
            match others {
                Some(others) => unread = others,
                None => break,
            }
        }
    }
    Extremes { maxima, least }
}

/// Stores the numerators of a strip in a tile, and adds them to the sums. `UNROLL` registers at a time:
/// those of some groups of a row, or of a group in some rows, if the groups of a row are too few.
///
/// It goes row by row. Where a row is as long as a page, logits above one another have equal low bits
/// in their addresses, and a processor takes a load for one of what was just stored.
#[inline(always)]
fn exp_sum_pass<const UNROLL: usize, S: Simd, R: SrcDst>(
    simd: S,
    strip: Cells<S>,
    slab: &mut R,
    sums: &mut [Sums<S>; STRIP],
) {
    let at_once = UNROLL.div_ceil(S::REGISTERS);
    let many = strip.width / (at_once * LANES) * at_once;
    let (sums, of_few) = sums.split_at_mut(many.min(STRIP));
    if many > 0 {
        let width = many * LANES;
        for cells in (Cells { width, ..strip }).rows(slab) {
            let mut unread = cells;
            for sums in sums.chunks_exact_mut(at_once) {
                let Ok((cells, others)) = unread.split_at(at_once * LANES) else {
                    break;
                };
                exp_sum_cells::<UNROLL, S, _>(simd, sums, &mut [Some(cells)]);
                unread = others;
            }
        }
    }
    for (columns, sums) in strip.groups().skip(many).zip(of_few.chunks_exact_mut(1)) {
        let mut rows = columns.rows(slab);
        for _ in 0..strip.rows.div_ceil(at_once) {
            let mut cells = [const { None }; UNROLL];
            for cells in cells.iter_mut().take(at_once) {
                *cells = rows.next();
            }
            if let Some(cells) = cells.get_mut(..at_once) {
                exp_sum_cells::<UNROLL, S, _>(simd, sums, cells);
            }
        }
    }
}

/// Cells of one row in some groups, or of some rows in one.
#[inline(always)]
fn exp_sum_cells<const UNROLL: usize, S: Simd, R: SrcDst>(
    simd: S,
    sums: &mut [Sums<S>],
    cells: &mut [Option<R>],
) {
    let is_whole = |cells: &Option<R>| {
        cells
            .as_ref()
            .is_some_and(|cells| cells.len() >= sums.len() * LANES)
    };
    if cells.iter().all(is_whole) && !sums.iter().any(|sums| sums.is_clamped) {
        exp_sum_cells_as::<false, UNROLL, S, R>(simd, sums, cells);
    } else {
        exp_sum_cells_as::<true, UNROLL, S, R>(simd, sums, cells);
    }
}

/// Lanes past the end of a row count as −∞, which changes no sum.
#[inline(always)]
fn exp_sum_cells_as<const CLAMPED: bool, const UNROLL: usize, S: Simd, R: SrcDst>(
    simd: S,
    sums: &mut [Sums<S>],
    cells: &mut [Option<R>],
) {
    let registers = sums.len() * S::REGISTERS;
    let start = |register: usize| register % registers * S::Vector::WIDTH;
    let empty = Unrolled([simd.splat(f32::NEG_INFINITY); UNROLL]);
    for first in (0..cells.len() * registers).step_by(UNROLL) {
        let mut constants = Shift::unit().constants(simd).unrolled();
        let (mut logits, mut offsets) = (empty, empty);
        for i in 0..UNROLL {
            let register = first + i;
            if let Some(sums) = sums.get(register % registers / S::REGISTERS) {
                offsets.0[i] = sums.shifts.set(register % S::REGISTERS, &mut constants, i);
            }
            if let Some(Some(cells)) = cells.get(register / registers)
                && start(register) < cells.len()
            {
                logits.0[i] = cells.logits().load(simd, start(register));
            }
        }
        let numerators = if CLAMPED {
            constants.exp_scaled(logits - offsets)
        } else {
            constants.exp_scaled_in_range(logits)
        };
        let values = numerators.value();
        for i in 0..UNROLL {
            let register = first + i;
            if let Some(sums) = sums.get_mut(register % registers / S::REGISTERS) {
                sums.sum
                    .add(register % S::REGISTERS, numerators.register(i));
            }
            if R::HAS_SCRATCH
                && let Some(Some(cells)) = cells.get_mut(register / registers)
                && start(register) < cells.len()
            {
                cells.store(start(register), values.0[i]);
            }
        }
    }
}

/// An [`ExactMax`] for each lane.
#[derive(Clone, Copy)]
pub(super) struct Probabilities<S: Simd> {
    simd: S,
    shifts: LaneShifts<S>,
    inverse: Group<S>,
    inverse_low: Group<S>,
    negligible: Group<S>,
    /// NaN where no probability must be exact.
    max_term: Group<S>,
    of_max: Group<S>,
    /// Zero, or what each result is where there is no softmax.
    fallback: Group<S>,
    /// Whether the last three matter in any lane.
    are_usual: bool,
}

impl<S: Simd> ColumnAlgorithm<S> for Probabilities<S> {
    #[inline(always)]
    fn exp_sum_pass<R: SrcDst>(
        sums: &mut [Sums<S>; STRIP],
        strip: Cells<S>,
        first: usize,
        slab: &mut R,
        sink: Sink,
    ) {
        let simd = strip.simd;
        let tile = strip.below(first, TILE);
        let Extremes { maxima, least } = simd.vectorize(
            #[inline(always)]
            |simd| max_pass(simd, tile, slab),
        );
        for (columns, (sums, maxima)) in strip.groups().zip(sums.iter_mut().zip(&maxima)) {
            sums.raise_shift(columns, first, maxima, slab, sink);
            sums.begin(maxima, least);
        }
        simd.vectorize(
            #[inline(always)]
            |simd| {
                if S::UNROLL == 8 {
                    exp_sum_pass::<8, S, R>(simd, tile, slab, sums);
                } else {
                    exp_sum_pass::<4, S, R>(simd, tile, slab, sums);
                }
            },
        );
        for (_, sums) in strip.groups().zip(sums) {
            sums.end();
        }
    }

    #[inline(always)]
    fn finish(simd: S, sums: &Sums<S>, sink: Sink) -> Self {
        let (max_term, max_term_rounded) = exp_scaled_once(simd, &sums.shifts, &sums.maxima);
        let (sink_terms, _) = exp_scaled_once(simd, &sums.shifts, &simd.splat(sink.logit).group());
        let maxima = store_group::<S>(&sums.maxima);
        let mut exact_terms = store_group::<S>(&max_term_rounded);
        let [
            mut inverse,
            mut inverse_low,
            mut negligible,
            mut of_max,
            mut fallback,
        ] = [[0.0; LANES]; 5];
        let mut are_usual = true;
        for lane in 0..LANES {
            let total = sums.totals[lane] + sink_terms[lane];
            let exact = 1.0 / total;
            inverse[lane] = exact as f32;
            inverse_low[lane] = (exact - f64::from(inverse[lane])) as f32;
            negligible[lane] = (total * NEGLIGIBLE) as f32;
            if may_be_exact(max_term[lane], total) {
                of_max[lane] = (max_term[lane] / total) as f32;
                are_usual = false;
            } else {
                exact_terms[lane] = f32::NAN;
            }
            fallback[lane] = fallback_of(maxima[lane], sums.totals[lane], sink);
            are_usual &= fallback[lane] == 0.0;
        }
        Probabilities {
            simd,
            shifts: sums.shifts,
            inverse: load_group(simd, &inverse),
            inverse_low: load_group(simd, &inverse_low),
            negligible: load_group(simd, &negligible),
            max_term: load_group(simd, &exact_terms),
            of_max: load_group(simd, &of_max),
            fallback: load_group(simd, &fallback),
            are_usual,
        }
    }

    #[inline(always)]
    fn last_pass<R: SrcDst>(slab: &mut R) -> impl SrcDst {
        slab.reborrow().last_pass()
    }

    #[inline(always)]
    fn normalize_row<R: SrcDst>(&self, simd: S, cells: &mut R) {
        let mut results = load(simd, cells);
        for (register, lanes) in results.as_mut().iter_mut().enumerate() {
            *lanes = if self.are_usual {
                self.usual::<R>(register, *lanes)
            } else {
                self.any::<R>(register, *lanes)
            };
        }
        store(simd, cells, 0..S::REGISTERS, &results);
    }
}

impl<S: Simd> Probabilities<S> {
    #[inline(always)]
    fn numerators<R: SrcDst>(&self, register: usize, loaded: S::Vector) -> S::Vector {
        if R::HAS_SCRATCH {
            loaded
        } else {
            self.shifts.exp_scaled(register, loaded).value()
        }
    }

    #[inline(always)]
    fn usual<R: SrcDst>(&self, register: usize, loaded: S::Vector) -> S::Vector {
        let numerators = self.numerators::<R>(register, loaded);
        self.probability(register).apply(numerators)
    }

    #[inline(always)]
    fn any<R: SrcDst>(&self, register: usize, loaded: S::Vector) -> S::Vector {
        let of = |group| self.simd.register(group, register);
        let probability = ExactMax {
            probability: self.probability(register),
            max_term: of(&self.max_term),
            of_max: of(&self.of_max),
        };
        let numerators = self.numerators::<R>(register, loaded);
        probability.apply(numerators) + of(&self.fallback)
    }

    #[inline(always)]
    fn probability(&self, register: usize) -> Probability<S::Vector> {
        let of = |group| self.simd.register(group, register);
        Probability {
            inverse: of(&self.inverse),
            inverse_low: of(&self.inverse_low),
            negligible: of(&self.negligible),
        }
    }
}

/// Whether the probability of the maximum is 1 or one over an integer, or nearly so.
#[inline(always)]
fn may_be_exact(max_term: f64, total: f64) -> bool {
    const ROUND: f64 = (1_u64 << 52) as f64;
    let inverse = total / max_term;
    let integer = (inverse + ROUND) - ROUND;
    max_term > 0.0 && (inverse < 1.0 + 1e-6 || (inverse - integer).abs() <= inverse * 1e-9)
}

//! The passes along an axis that is not the last: a slab of `[axis, inner]` values, row-major, and
//! the softmax of each of its columns.
//!
//! Each lane of a group is a column, with a maximum, a reference and a sum of its own:
//!
//! ```text
//! for each strip of columns
//!     for each tile of 64 rows
//!         maxima' ← maximum of the tile
//!         for each group of 32 columns
//!             if some maximum' > limit                 rare: raise the references
//!                 sums ← sums · e^(reference − reference')
//!         for each row:  sums ← sums + weight(logits)
//!         maxima ← max(maxima, maxima')
//!     for each row:  results ← weight / sums
//! ```
//!
//! which is the recurrence of the [kernel](crate::kernel), tile by tile. The weights are stored in
//! the places of the results in between; where a reference is raised, those that are there already
//! are rescaled, by powers of two. The log-softmax sums by the kernel's own recurrence instead, which
//! leaves each maximum's own term out, and stores nothing.

use crate::exp::{LaneShifts, RESCALE_THRESHOLD, ScaledExp, Shift};
use crate::kernel::{
    CompensatedSum, Epilogue, ExactMax, LINE, LogProbability, NEGLIGIBLE, Probability, Sink,
    Source, SrcDst, load_group, store_group,
};
use crate::normalizer::{Normalizer, Outcome};
use crate::vector::{Group, LANES, Lanewise, Simd, SimdFnOnce, Unrolled, Vector};
use core::ops::Range;

/// Rows of a tile: of so many logits the weights are summed in `f32`.
const TILE: usize = 64;

/// Groups of columns of a strip, which are read side by side: so much of a row is read at once, as
/// memory likes it.
const STRIP: usize = 8;

/// How far ahead memory is prefetched, in rows.
const ROWS_AHEAD: usize = 4;

/// Columns of which the maximum of the first tile is at most so far from zero need no offset of their
/// references, unless a logit more than twice as far above comes later: beside it they are nothing.
const NEAR: f32 = 104.0;

/// The softmax of each column of `slab`.
#[inline(always)]
pub(crate) fn softmax<S: Simd, R: SrcDst>(simd: S, slab: R, inner: usize, sink: Sink) {
    Probabilities::of_columns(simd, slab, inner, sink);
}

/// The log-softmax of each column of `slab`.
#[inline(always)]
pub(crate) fn log_softmax<S: Simd, R: SrcDst>(simd: S, slab: R, inner: usize, sink: Sink) {
    LogProbabilities::of_columns(simd, slab, inner, sink);
}

/// A softmax in passes over columns; made of their sums, it is what the last pass writes.
trait ColumnPasses<S: Simd>: Copy {
    /// Sums the weights of a strip in the tile of rows from `first` on; it may store something in
    /// the places of the results.
    fn sum<R: SrcDst>(
        sums: &mut [Sums<S>; STRIP],
        strip: Cells<S>,
        first: usize,
        slab: &mut R,
        sink: Sink,
    );

    fn new(simd: S, sums: &Sums<S>, sink: Sink) -> Self;

    /// What the last pass reads.
    fn last<R: SrcDst>(slab: &mut R) -> impl SrcDst;

    /// The last pass over a row of a group.
    fn write<R: SrcDst>(&self, simd: S, cells: &mut R);

    #[inline(always)]
    fn of_columns<R: SrcDst>(simd: S, mut slab: R, inner: usize, sink: Sink) {
        let rows = slab.len().checked_div(inner).unwrap_or(0);
        let mut start = 0;
        while start < inner {
            let strip = Cells {
                simd,
                start,
                width: (STRIP * LANES).min(inner - start),
                inner,
                rows,
            };
            let mut sums = [Sums::new(simd); STRIP];
            let mut first = 0;
            while first < rows {
                Self::sum(&mut sums, strip, first, &mut slab, sink);
                first += TILE;
            }
            let mut passes = [Self::new(simd, &sums[0], sink); STRIP];
            for ((_, passes), sums) in strip.groups().zip(&mut passes).zip(&sums).skip(1) {
                *passes = Self::new(simd, sums, sink);
            }
            simd.vectorize(Write {
                strip,
                slab: &mut Self::last(&mut slab),
                passes: &passes,
            });
            start += strip.width;
        }
    }
}

/// Columns side by side, a strip or a group of one, in some rows.
#[derive(Clone, Copy)]
struct Cells<S> {
    simd: S,
    start: usize,
    width: usize,
    inner: usize,
    rows: usize,
}

impl<S: Simd> Cells<S> {
    /// At most `rows` rows from `first` on.
    #[inline(always)]
    fn below(self, first: usize, rows: usize) -> Self {
        Cells {
            start: self.start + first * self.inner,
            rows: rows.min(self.rows - first),
            ..self
        }
    }

    /// The groups of a strip; the last may be smaller.
    #[inline(always)]
    fn groups(self) -> impl Iterator<Item = Self> {
        (0..self.width.div_ceil(LANES)).map(move |group| Cells {
            start: self.start + group * LANES,
            width: LANES.min(self.width - group * LANES),
            ..self
        })
    }

    /// The cells of each row.
    #[inline(always)]
    fn rows<'a, R: SrcDst>(&self, slab: &'a mut R) -> Rows<impl SrcDst + use<'a, R, S>> {
        let before_last = self.rows.saturating_sub(1) * self.inner;
        Rows {
            unread: Some(slab.part(self.start, before_last + self.width)),
            width: self.width,
            between: self.inner - self.width,
        }
    }

    #[inline(always)]
    fn prefetch<R: SrcDst>(&self, cells: &R) {
        for line in 0..LANES / LINE {
            cells.prefetch(self.simd, ROWS_AHEAD * self.inner + line * LINE);
        }
    }

    #[inline(always)]
    fn maxima<R: SrcDst>(&self, slab: &mut R, mut maxima: Group<S>) -> Group<S> {
        for cells in self.rows(slab) {
            self.prefetch(&cells);
            maxima = larger(self.simd, maxima, &load(self.simd, &cells));
        }
        maxima
    }

    /// The lanes that have a column.
    #[inline(always)]
    fn lanes(&self) -> u32 {
        u32::MAX >> (LANES - self.width)
    }
}

/// [`Cells`], row by row.
struct Rows<R> {
    unread: Option<R>,
    width: usize,
    between: usize,
}

impl<R: SrcDst> Iterator for Rows<R> {
    type Item = R;

    #[inline(always)]
    fn next(&mut self) -> Option<R> {
        let Ok((cells, others)) = self.unread.take()?.split_at(self.width) else {
            return None;
        };
        if let Ok((_, below)) = others.split_at(self.between) {
            self.unread = Some(below);
        }
        Some(cells)
    }
}

/// The cells of a row, −∞ where there are none.
#[inline(always)]
fn load<S: Simd, R: SrcDst>(simd: S, cells: &R) -> Group<S> {
    let mut group = simd.splat(f32::NEG_INFINITY).group();
    let logits = cells.logits();
    let registers = group.as_mut().iter_mut().enumerate();
    match logits.split_at(LANES) {
        Ok((logits, _)) => {
            for (register, lanes) in registers {
                *lanes = logits.load(simd, register * S::Vector::WIDTH);
            }
        }
        Err(logits) => {
            for (register, lanes) in registers {
                let start = register * S::Vector::WIDTH;
                if start < logits.len() {
                    *lanes = logits.load(simd, start);
                }
            }
        }
    }
    group
}

/// Writes some registers of a row.
#[inline(always)]
fn store<S: Simd, R: SrcDst>(simd: S, cells: &mut R, registers: Range<usize>, group: &Group<S>) {
    let len = cells.len();
    if len >= LANES {
        let mut cells = cells.part(0, LANES);
        for register in registers {
            cells.store(register * S::Vector::WIDTH, simd.register(group, register));
        }
    } else {
        for register in registers {
            let start = register * S::Vector::WIDTH;
            if start < len {
                cells.store(start, simd.register(group, register));
            }
        }
    }
}

/// For each lane whether that of `group` is greater than that of `bounds`, as bits.
#[inline(always)]
fn gt_mask<S: Simd>(simd: S, group: &Group<S>, bounds: &Group<S>) -> u32 {
    let mut greater = 0;
    for (register, lanes) in group.as_ref().iter().enumerate() {
        let bounds = simd.register(bounds, register);
        greater |= lanes.gt_mask(bounds) << (register * S::Vector::WIDTH);
    }
    greater
}

/// Larger lanes of the two. A NaN may or may not be one.
#[inline(always)]
fn larger<S: Simd>(simd: S, mut group: Group<S>, other: &Group<S>) -> Group<S> {
    for (register, lanes) in group.as_mut().iter_mut().enumerate() {
        (_, *lanes) = lanes.min_max(simd.register(other, register));
    }
    group
}

/// What is to be known of a strip in a tile before it is weighed.
struct Extremes<S: Simd> {
    /// The maxima of each group.
    maxima: [Group<S>; STRIP],
    /// No logit is less than what is in its lane here; a NaN is not one.
    least: S::Vector,
}

/// Finds the [`Extremes`] of a strip.
struct Scan<'a, S, R> {
    strip: Cells<S>,
    slab: &'a mut R,
}

impl<S: Simd, R: SrcDst> SimdFnOnce<S> for Scan<'_, S, R> {
    type Output = Extremes<S>;

    #[inline(always)]
    fn run(self, simd: S) -> Extremes<S> {
        let Scan { strip, slab } = self;
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
}

/// The first [`LANES`] cells of a row, or all if there are no more, and the others.
#[inline(always)]
fn split_group<R: SrcDst>(cells: R) -> (R, Option<R>) {
    match cells.split_at(LANES) {
        Ok((group, others)) if others.len() > 0 => (group, Some(others)),
        Ok((last, _)) | Err(last) => (last, None),
    }
}

/// Sums the weights of a strip in a tile, and stores them.
struct ExpSum<'a, S: Simd, R> {
    strip: Cells<S>,
    slab: &'a mut R,
    sums: &'a mut [Sums<S>; STRIP],
}

impl<S: Simd, R: SrcDst> SimdFnOnce<S> for ExpSum<'_, S, R> {
    type Output = ();

    #[inline(always)]
    fn run(self, simd: S) {
        if S::UNROLL == 8 {
            self.exp_scaled::<8>(simd);
        } else {
            self.exp_scaled::<4>(simd);
        }
    }
}

impl<S: Simd, R: SrcDst> ExpSum<'_, S, R> {
    /// With so many registers side by side: those of some groups, row by row, and of the groups that
    /// are too few for that, those of some rows.
    ///
    /// Row by row, because where a row is as long as a page, logits above one another have the same
    /// low bits in their addresses, and a processor takes a load for one of what was just stored.
    #[inline(always)]
    fn exp_scaled<const UNROLL: usize>(self, simd: S) {
        let ExpSum { strip, slab, sums } = self;
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
                    weigh_cells::<UNROLL, S, _>(simd, sums, &mut [Some(cells)]);
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
                    weigh_cells::<UNROLL, S, _>(simd, sums, cells);
                }
            }
        }
    }
}

/// Cells of one row in some groups, or of some rows in one.
#[inline(always)]
fn weigh_cells<const UNROLL: usize, S: Simd, R: SrcDst>(
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
        weigh_cells_as::<false, UNROLL, S, R>(simd, sums, cells);
    } else {
        weigh_cells_as::<true, UNROLL, S, R>(simd, sums, cells);
    }
}

/// Where there are none −∞ is weighed, which changes nothing.
#[inline(always)]
fn weigh_cells_as<const CLAMPED: bool, const UNROLL: usize, S: Simd, R: SrcDst>(
    simd: S,
    sums: &mut [Sums<S>],
    cells: &mut [Option<R>],
) {
    let registers = sums.len() * S::REGISTERS;
    let start = |register: usize| register % registers * S::Vector::WIDTH;
    let empty = Unrolled([simd.splat(f32::NEG_INFINITY); UNROLL]);
    for first in (0..cells.len() * registers).step_by(UNROLL) {
        let mut lanes = Shift::unit().splat(simd).unrolled();
        let (mut logits, mut offsets) = (empty, empty);
        for i in 0..UNROLL {
            let register = first + i;
            if let Some(sums) = sums.get(register % registers / S::REGISTERS) {
                offsets.0[i] = sums.shifts.set(register % S::REGISTERS, &mut lanes, i);
            }
            if let Some(Some(cells)) = cells.get(register / registers)
                && start(register) < cells.len()
            {
                logits.0[i] = cells.logits().load(simd, start(register));
            }
        }
        let weights = if CLAMPED {
            lanes.exp_scaled(logits - offsets)
        } else {
            lanes.exp_scaled_in_range(logits)
        };
        let values = weights.value();
        for i in 0..UNROLL {
            let register = first + i;
            if let Some(sums) = sums.get_mut(register % registers / S::REGISTERS) {
                let (power, excess) = (weights.power.0[i], weights.excess.0[i]);
                let weight = ScaledExp { power, excess };
                sums.sum.add(register % S::REGISTERS, weight);
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

/// What is known of a group of columns: −∞ and zero where there is none.
#[derive(Clone, Copy)]
struct Sums<S: Simd> {
    simd: S,
    maxima: Group<S>,
    shifts: LaneShifts<S>,
    /// The largest logits that the references are good for.
    limits: Group<S>,
    /// The sum of a tile, which began with more than any weight of it, and of those before it.
    sum: CompensatedSum<S>,
    above: Group<S>,
    totals: [f64; LANES],
    /// Whether there is an offset, or a weight in the tile that may be nothing.
    is_clamped: bool,
}

impl<S: Simd> Sums<S> {
    #[inline(always)]
    fn new(simd: S) -> Self {
        let empty = simd.splat(f32::NEG_INFINITY).group();
        Sums {
            simd,
            maxima: empty,
            shifts: LaneShifts::of(simd, &empty),
            limits: empty,
            sum: CompensatedSum::new(simd),
            above: simd.splat(0.0).group(),
            totals: [0.0; LANES],
            is_clamped: true,
        }
    }

    /// Begins with a tile, for whose maxima the references are good.
    #[inline(always)]
    fn begin(&mut self, maxima: &Group<S>, least: S::Vector) {
        let simd = self.simd;
        self.maxima = larger(simd, self.maxima, maxima);
        self.above = *maxima;
        for (register, maximum) in self.above.as_mut().iter_mut().enumerate() {
            // Twice a power of two is more than the weight.
            let power = self.shifts.exp_scaled(register, *maximum).power;
            *maximum = power + power;
        }
        self.sum = CompensatedSum::above(simd, &self.above);
        self.is_clamped = self.shifts.may_clamp(least);
    }

    #[inline(always)]
    fn end(&mut self) {
        self.sum.remove_bias(&self.above).flush(&mut self.totals);
    }

    /// Makes the references good for the maxima of a tile, of which the first row is `first`.
    #[inline(always)]
    fn raise_shift<R: SrcDst>(
        &mut self,
        columns: Cells<S>,
        first: usize,
        maxima: &Group<S>,
        slab: &mut R,
        sink: Sink,
    ) {
        let simd = columns.simd;
        if first > 0 && gt_mask(simd, maxima, &self.limits) == 0 {
            return;
        }
        let known = with_sink(simd, *maxima, sink);
        let not_far_below = gt_mask(simd, &known, &simd.splat(-NEAR).group());
        let far_above = gt_mask(simd, &known, &simd.splat(NEAR).group());
        if first == 0 && not_far_below & !far_above & columns.lanes() == columns.lanes() {
            self.shifts = LaneShifts::of(simd, &known);
            self.limits = known;
            for limit in self.limits.as_mut() {
                *limit = *limit + simd.splat(RESCALE_THRESHOLD);
            }
        } else {
            self.rescale(columns, slab, first, sink);
            self.limits = simd.splat(f32::INFINITY).group();
        }
    }

    /// Makes the references those of the maxima of all rows, of which those from `first` on were not
    /// weighed yet.
    #[inline(always)]
    fn rescale<R: SrcDst>(&mut self, columns: Cells<S>, slab: &mut R, first: usize, sink: Sink) {
        let simd = columns.simd;
        let maxima = columns.below(first, columns.rows).maxima(slab, self.maxima);
        let shifts = LaneShifts::of(simd, &with_sink(simd, maxima, sink));
        let half_factors = self.shifts.half_rescale_factors(&shifts);
        self.shifts = shifts;
        let factors = store_group::<S>(&half_factors).map(f64::from);
        for (total, factor) in self.totals.iter_mut().zip(factors) {
            *total *= factor * factor;
        }
        if R::HAS_SCRATCH {
            let mut stored = slab.view().stored();
            let weighed = Cells {
                rows: first,
                ..columns
            };
            for mut cells in weighed.rows(&mut stored).take(first) {
                let mut weights = load(simd, &cells);
                for (register, lanes) in weights.as_mut().iter_mut().enumerate() {
                    let factor = simd.register(&half_factors, register);
                    *lanes = *lanes * factor * factor;
                }
                store(simd, &mut cells, 0..S::REGISTERS, &weights);
            }
        }
    }
}

/// The recurrence in every lane, of which the references are known, over a tile.
struct WeighOthers<'a, S: Simd, R> {
    cells: Cells<S>,
    slab: &'a mut R,
    sums: &'a mut Sums<S>,
}

impl<S: Simd, R: SrcDst> SimdFnOnce<S> for WeighOthers<'_, S, R> {
    type Output = ();

    #[inline(always)]
    fn run(self, simd: S) {
        let WeighOthers { cells, slab, sums } = self;
        let shifts = sums.shifts;
        let mut maxima = sums.maxima;
        let mut sum = CompensatedSum::new(simd);
        for cells in cells.rows(slab) {
            let logits = load(simd, &cells);
            for (register, maximum) in maxima.as_mut().iter_mut().enumerate() {
                let (smaller, larger) = maximum.min_max(simd.register(&logits, register));
                *maximum = larger;
                sum.add(register, shifts.exp_scaled(register, smaller));
            }
        }
        sums.maxima = maxima;
        sum.flush(&mut sums.totals);
    }
}

/// The largest logits of the columns, the sink among them.
#[inline(always)]
fn with_sink<S: Simd>(simd: S, mut maxima: Group<S>, sink: Sink) -> Group<S> {
    for maximum in maxima.as_mut() {
        *maximum = maximum.max_keep_nan(simd.splat(sink.logit));
    }
    maxima
}

/// The weights of a logit in each lane: unrounded, and as they are stored.
#[inline(always)]
fn weigh_one<S: Simd>(
    simd: S,
    shifts: &LaneShifts<S>,
    logits: &Group<S>,
) -> ([f64; LANES], Group<S>) {
    let (mut powers, mut excesses, mut rounded) = (*logits, *logits, *logits);
    for register in 0..S::REGISTERS {
        let weight = shifts.exp_scaled(register, simd.register(logits, register));
        for (group, lanes) in [
            (&mut powers, weight.power),
            (&mut excesses, weight.excess),
            (&mut rounded, weight.value()),
        ] {
            if let Some(register) = group.as_mut().get_mut(register) {
                *register = lanes;
            }
        }
    }
    let mut weights = [0.0; LANES];
    let parts = store_group::<S>(&powers)
        .into_iter()
        .zip(store_group::<S>(&excesses));
    for (weight, (power, excess)) in weights.iter_mut().zip(parts) {
        *weight = f64::from(power) + f64::from(power) * f64::from(excess);
    }
    (weights, rounded)
}

/// A [`ExactMax`] for each lane.
#[derive(Clone, Copy)]
struct Probabilities<S: Simd> {
    simd: S,
    shifts: LaneShifts<S>,
    inverse: Group<S>,
    inverse_residue: Group<S>,
    negligible: Group<S>,
    /// NaN where no probability can be a round number.
    max_term: Group<S>,
    of_maximum: Group<S>,
    /// Zero, or what each result is where there is no softmax.
    fallback: Group<S>,
    /// Whether the last three matter in any lane.
    are_usual: bool,
}

impl<S: Simd> ColumnPasses<S> for Probabilities<S> {
    #[inline(always)]
    fn sum<R: SrcDst>(
        sums: &mut [Sums<S>; STRIP],
        strip: Cells<S>,
        first: usize,
        slab: &mut R,
        sink: Sink,
    ) {
        let simd = strip.simd;
        let tile = strip.below(first, TILE);
        let Extremes { maxima, least } = simd.vectorize(Scan { strip: tile, slab });
        for (columns, (sums, maxima)) in strip.groups().zip(sums.iter_mut().zip(&maxima)) {
            sums.raise_shift(columns, first, maxima, slab, sink);
            sums.begin(maxima, least);
        }
        simd.vectorize(ExpSum {
            strip: tile,
            slab,
            sums,
        });
        for (_, sums) in strip.groups().zip(sums) {
            sums.end();
        }
    }

    #[inline(always)]
    fn new(simd: S, sums: &Sums<S>, sink: Sink) -> Self {
        let (max_term, max_term_rounded) = weigh_one(simd, &sums.shifts, &sums.maxima);
        let (sink_terms, _) = weigh_one(simd, &sums.shifts, &simd.splat(sink.logit).group());
        let maxima = store_group::<S>(&sums.maxima);
        let mut round = store_group::<S>(&max_term_rounded);
        let [
            mut inverse,
            mut residue,
            mut negligible,
            mut of_maximum,
            mut fallback,
        ] = [[0.0; LANES]; 5];
        let mut are_usual = true;
        for lane in 0..LANES {
            let total = sums.totals[lane] + sink_terms[lane];
            let exact = 1.0 / total;
            inverse[lane] = exact as f32;
            residue[lane] = (exact - f64::from(inverse[lane])) as f32;
            negligible[lane] = (total * NEGLIGIBLE) as f32;
            if may_be_round(max_term[lane], total) {
                of_maximum[lane] = (max_term[lane] / total) as f32;
                are_usual = false;
            } else {
                round[lane] = f32::NAN;
            }
            fallback[lane] = fallback_of(maxima[lane], sums.totals[lane], sink);
            are_usual &= fallback[lane] == 0.0;
        }
        Probabilities {
            simd,
            shifts: sums.shifts,
            inverse: load_group(simd, &inverse),
            inverse_residue: load_group(simd, &residue),
            negligible: load_group(simd, &negligible),
            max_term: load_group(simd, &round),
            of_maximum: load_group(simd, &of_maximum),
            fallback: load_group(simd, &fallback),
            are_usual,
        }
    }

    #[inline(always)]
    fn last<R: SrcDst>(slab: &mut R) -> impl SrcDst {
        slab.view().stored()
    }

    #[inline(always)]
    fn write<R: SrcDst>(&self, simd: S, cells: &mut R) {
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
    fn weights<R: SrcDst>(&self, register: usize, loaded: S::Vector) -> S::Vector {
        if R::HAS_SCRATCH {
            loaded
        } else {
            self.shifts.exp_scaled(register, loaded).value()
        }
    }

    #[inline(always)]
    fn usual<R: SrcDst>(&self, register: usize, loaded: S::Vector) -> S::Vector {
        let weights = self.weights::<R>(register, loaded);
        self.probability(register).finish(weights)
    }

    #[inline(always)]
    fn any<R: SrcDst>(&self, register: usize, loaded: S::Vector) -> S::Vector {
        let of = |group| self.simd.register(group, register);
        let probability = ExactMax {
            probability: self.probability(register),
            max_term: of(&self.max_term),
            of_maximum: of(&self.of_maximum),
        };
        let weights = self.weights::<R>(register, loaded);
        probability.finish(weights) + of(&self.fallback)
    }

    #[inline(always)]
    fn probability(&self, register: usize) -> Probability<S::Vector> {
        let of = |group| self.simd.register(group, register);
        Probability {
            inverse: of(&self.inverse),
            inverse_residue: of(&self.inverse_residue),
            negligible: of(&self.negligible),
        }
    }
}

/// Whether the probability of the maximum is 1, or one over an integer, or nearly so.
#[inline(always)]
fn may_be_round(max_term: f64, total: f64) -> bool {
    const ROUND: f64 = (1_u64 << 52) as f64;
    let inverse = total / max_term;
    let integer = (inverse + ROUND) - ROUND;
    max_term > 0.0 && (inverse < 1.0 + 1e-6 || (inverse - integer).abs() <= inverse * 1e-9)
}

/// The last pass over a strip.
struct Write<'a, S, R, P> {
    strip: Cells<S>,
    slab: &'a mut R,
    passes: &'a [P; STRIP],
}

impl<S: Simd, R: SrcDst, P: ColumnPasses<S>> SimdFnOnce<S> for Write<'_, S, R, P> {
    type Output = ();

    #[inline(always)]
    fn run(self, _: S) {
        let Write {
            strip,
            slab,
            passes,
        } = self;
        for cells in strip.rows(slab) {
            let mut unread = cells;
            for passes in passes {
                let (mut cells, others) = split_group(unread);
                strip.prefetch(&cells);
                passes.write(strip.simd, &mut cells);
                match others {
                    Some(others) => unread = others,
                    None => break,
                }
            }
        }
    }
}

/// A [`LogProbability`] for each lane.
#[derive(Clone, Copy)]
struct LogProbabilities<S: Simd> {
    simd: S,
    maximum: Group<S>,
    log_denominator: Group<S>,
    /// Zero, or what each result is where there is no softmax.
    fallback: Group<S>,
}

impl<S: Simd> ColumnPasses<S> for LogProbabilities<S> {
    #[inline(always)]
    fn sum<R: SrcDst>(
        sums: &mut [Sums<S>; STRIP],
        strip: Cells<S>,
        first: usize,
        slab: &mut R,
        _: Sink,
    ) {
        for (columns, sums) in strip.groups().zip(sums) {
            if first == 0 {
                let maxima = columns.maxima(slab, sums.maxima);
                sums.shifts = LaneShifts::of(strip.simd, &maxima);
            }
            strip.simd.vectorize(WeighOthers {
                cells: columns.below(first, TILE),
                slab,
                sums,
            });
        }
    }

    #[inline(always)]
    fn new(simd: S, sums: &Sums<S>, sink: Sink) -> Self {
        let (max_term, _) = weigh_one(simd, &sums.shifts, &sums.maxima);
        let maxima = store_group::<S>(&sums.maxima);
        let [mut maximum, mut log_denominator, mut fallback] = [[0.0; LANES]; 3];
        for lane in 0..LANES {
            let column = Normalizer::from_parts(maxima[lane], sums.totals[lane] / max_term[lane]);
            let normalizer = sink.with_sink(column);
            fallback[lane] = fallback_of(maxima[lane], sums.totals[lane], sink);
            if normalizer.outcome() == Outcome::Finite {
                maximum[lane] = normalizer.max();
                log_denominator[lane] = normalizer.log_denominator() as f32;
            }
        }
        LogProbabilities {
            simd,
            maximum: load_group(simd, &maximum),
            log_denominator: load_group(simd, &log_denominator),
            fallback: load_group(simd, &fallback),
        }
    }

    #[inline(always)]
    fn last<R: SrcDst>(slab: &mut R) -> impl SrcDst {
        slab.view()
    }

    #[inline(always)]
    fn write<R: SrcDst>(&self, simd: S, cells: &mut R) {
        let mut results = load(simd, cells);
        for (register, lanes) in results.as_mut().iter_mut().enumerate() {
            let of = |group| self.simd.register(group, register);
            let log_probability = LogProbability {
                maximum: of(&self.maximum),
                log_denominator: of(&self.log_denominator),
            };
            *lanes = log_probability.finish(*lanes) + of(&self.fallback);
        }
        store(simd, cells, 0..S::REGISTERS, &results);
    }
}

/// What is to be added to each result of a column: zero if it has a softmax.
#[inline(always)]
fn fallback_of(maximum: f32, sum: f64, sink: Sink) -> f32 {
    let has_softmax = maximum.max(sink.logit).is_finite() && !maximum.is_nan() && !sum.is_nan();
    if has_softmax {
        0.0
    } else {
        sink.fallback(maximum == f32::NEG_INFINITY && !sum.is_nan())
    }
}

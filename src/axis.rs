//! The passes along an axis that is not the last: a slab of `[axis, inner]` values, row-major, and
//! the softmax of each of its columns.
//!
//! Each lane of a group is a column, with a maximum, a reference and a sum of its own:
//!
//! ```text
//! for each strip of columns
//!     for each tile of 8 rows, for each group of 32 columns:  maxima  ← max(maxima, logits)
//!     for each tile, for each group:                          sums    ← sums + weight(logits)
//!     for each tile, for each group:                          results ← weight / sum
//! ```
//!
//! The weights are stored in the places of the results in between. The log-softmax sums by the
//! recurrence of the [kernel](crate::kernel) instead, which leaves each maximum's own term out, and
//! stores nothing.

use crate::exp::LaneReferences;
use crate::kernel::{
    BLOCK, Finish, LINE, LogProbability, Logits, NEGLIGIBLE, Probability, RoundProbability, Row,
    SUMMED, Sum, Terms, load_group, store_group,
};
use crate::normalizer::{Normalizer, Outcome};
use crate::vector::{Group, LANES, Lanewise, Simd, Vector};

/// Groups of columns that are read side by side where rows are pages of memory apart. Fewer would
/// leave the lines of a column in few sets of the caches, to throw one another out.
const STRIP: usize = 8;

/// Rows of a tile of such a strip: of those in one set, the first-level cache has room for all.
const TILE: usize = 8;

/// A row of a multiple of so many columns falls into few sets.
const ALIASED: usize = 256;

/// Rows of a tile of one group: of so many logits the weights are summed in `f32`.
const LONG_TILE: usize = SUMMED / LANES;

/// How far ahead memory is prefetched, in rows.
const ROWS_AHEAD: usize = 4;

/// The softmax of each column of `slab`.
#[inline(always)]
pub(crate) fn softmax<S: Simd, R: Row>(simd: S, slab: R, inner: usize, terms: Terms) {
    Probabilities::of_columns(simd, slab, inner, terms);
}

/// The log-softmax of each column of `slab`.
#[inline(always)]
pub(crate) fn log_softmax<S: Simd, R: Row>(simd: S, slab: R, inner: usize, terms: Terms) {
    LogProbabilities::of_columns(simd, slab, inner, terms);
}

/// A softmax in passes over columns; made of their sums, it is what the last pass writes.
trait ColumnPasses<S: Simd>: Copy {
    /// Adds the weights of some rows; it may store something in the places of the results.
    fn sum<R: Row>(cells: &Cells<S>, slab: &mut R, sums: &mut Sums<S>, terms: Terms);

    fn new(simd: S, sums: &Sums<S>, terms: Terms) -> Self;

    /// What the last pass reads.
    fn last<R: Row>(slab: &mut R) -> impl Row;

    /// The results of one register, of stored weights or of logits.
    fn finish(&self, register: usize, loaded: S::Vector, are_weights: bool) -> S::Vector;

    #[inline(always)]
    fn of_columns<R: Row>(simd: S, mut slab: R, inner: usize, terms: Terms) {
        let mut start = 0;
        while start < inner {
            let strip = Strip::new(simd, &slab, inner, start);
            let mut sums = [Sums::new(simd); STRIP];
            for tile in 0..strip.tiles {
                for (group, sums) in (0..strip.groups).zip(&mut sums) {
                    sums.maxima = strip.cells(tile, group).maxima(&mut slab, sums.maxima);
                }
            }
            for tile in 0..strip.tiles {
                for (group, sums) in (0..strip.groups).zip(&mut sums) {
                    Self::sum(&strip.cells(tile, group), &mut slab, sums, terms);
                }
            }
            let mut finish = [Self::new(simd, &sums[0], terms); STRIP];
            for (finish, sums) in finish.iter_mut().zip(&sums).take(strip.groups).skip(1) {
                *finish = Self::new(simd, sums, terms);
            }
            let mut last = Self::last(&mut slab);
            for tile in 0..strip.tiles {
                for (group, finish) in (0..strip.groups).zip(&finish) {
                    strip.cells(tile, group).write(&mut last, finish);
                }
            }
            start = strip.end;
        }
    }
}

/// Columns that are read side by side.
struct Strip<S> {
    simd: S,
    start: usize,
    end: usize,
    groups: usize,
    inner: usize,
    rows: usize,
    rows_of_tile: usize,
    tiles: usize,
}

impl<S: Simd> Strip<S> {
    #[inline(always)]
    fn new(simd: S, slab: &impl Row, inner: usize, start: usize) -> Self {
        let (groups, rows_of_tile) = if inner.is_multiple_of(ALIASED) {
            (STRIP, TILE)
        } else {
            (1, LONG_TILE)
        };
        let end = inner.min(start + groups * LANES);
        let rows = slab.len().checked_div(inner).unwrap_or(0);
        Strip {
            simd,
            start,
            end,
            groups: (end - start).div_ceil(LANES),
            inner,
            rows,
            rows_of_tile,
            tiles: rows.div_ceil(rows_of_tile),
        }
    }

    #[inline(always)]
    fn cells(&self, tile: usize, group: usize) -> Cells<S> {
        let start = self.start + group * LANES;
        let first_row = tile * self.rows_of_tile;
        Cells {
            simd: self.simd,
            start: first_row * self.inner + start,
            width: LANES.min(self.end - start),
            inner: self.inner,
            rows: self.rows_of_tile.min(self.rows - first_row),
        }
    }
}

/// A group of columns, or fewer at the end of the rows, in some rows.
struct Cells<S> {
    simd: S,
    start: usize,
    width: usize,
    inner: usize,
    rows: usize,
}

impl<S: Simd> Cells<S> {
    #[inline(always)]
    fn row<'a, R: Row>(&self, slab: &'a mut R, row: usize) -> impl Row + use<'a, R, S> {
        let cells = slab.part(self.start + row * self.inner, self.width);
        for line in 0..LANES / LINE {
            cells.prefetch(self.simd, ROWS_AHEAD * self.inner + line * LINE);
        }
        cells
    }

    /// A NaN may or may not be the maximum of its column.
    #[inline(always)]
    fn maxima<R: Row>(&self, slab: &mut R, mut maxima: Group<S>) -> Group<S> {
        for row in 0..self.rows {
            let cells = self.row(slab, row);
            for (register, maximum) in maxima.as_mut().iter_mut().enumerate() {
                let start = register * S::Vector::WIDTH;
                if start < self.width {
                    (_, *maximum) = maximum.order(cells.logits().load(self.simd, start));
                }
            }
        }
        maxima
    }

    /// Stores the weights and sums them.
    #[inline(always)]
    fn weigh<R: Row>(
        &self,
        slab: &mut R,
        references: LaneReferences<S>,
        mut sum: Sum<S>,
    ) -> Sum<S> {
        for row in 0..self.rows {
            let mut cells = self.row(slab, row);
            for register in 0..S::REGISTERS {
                let start = register * S::Vector::WIDTH;
                if start < self.width {
                    let logits = cells.logits().load(self.simd, start);
                    let weight = references.weigh(register, logits);
                    sum.add(register, weight);
                    if R::KEEPS_WEIGHTS {
                        cells.store(start, weight.value());
                    }
                }
            }
        }
        sum
    }

    /// The recurrence in every lane, of which the reference is known: at most as many rows as make
    /// a block.
    #[inline(always)]
    fn sum_others<R: Row>(
        &self,
        slab: &mut R,
        first_row: usize,
        references: LaneReferences<S>,
        mut maxima: Group<S>,
    ) -> (Group<S>, Sum<S>) {
        let mut sum = Sum::new(self.simd);
        for row in first_row..self.rows.min(first_row + BLOCK / LANES) {
            let cells = self.row(slab, row);
            for (register, maximum) in maxima.as_mut().iter_mut().enumerate() {
                let start = register * S::Vector::WIDTH;
                if start < self.width {
                    let logits = cells.logits().load(self.simd, start);
                    let (smaller, larger) = maximum.order(logits);
                    *maximum = larger;
                    sum.add(register, references.weigh(register, smaller));
                }
            }
        }
        (maxima, sum)
    }

    #[inline(always)]
    fn write<R: Row, P: ColumnPasses<S>>(&self, slab: &mut R, finish: &P) {
        let finish = *finish;
        for row in 0..self.rows {
            let mut cells = self.row(slab, row);
            for register in 0..S::REGISTERS {
                let start = register * S::Vector::WIDTH;
                if start < self.width {
                    let loaded = cells.logits().load(self.simd, start);
                    cells.store(start, finish.finish(register, loaded, R::KEEPS_WEIGHTS));
                }
            }
        }
    }
}

/// What is known of a group of columns: −∞ and zero where there is none.
#[derive(Clone, Copy)]
struct Sums<S: Simd> {
    maxima: Group<S>,
    /// The maxima of the rows that are summed, if the maximum's own term is to be left out.
    maxima_so_far: Group<S>,
    totals: [f64; LANES],
}

impl<S: Simd> Sums<S> {
    #[inline(always)]
    fn new(simd: S) -> Self {
        let nothing = simd.splat(f32::NEG_INFINITY).group();
        Sums {
            maxima: nothing,
            maxima_so_far: nothing,
            totals: [0.0; LANES],
        }
    }

    #[inline(always)]
    fn references(&self, simd: S, terms: Terms) -> LaneReferences<S> {
        let mut largest = self.maxima;
        for maximum in largest.as_mut() {
            *maximum = maximum.at_least(simd.splat(terms.sink));
        }
        LaneReferences::of(simd, &largest)
    }
}

/// The weights of a logit in each lane: unrounded, and as they are stored.
#[inline(always)]
fn weigh_one<S: Simd>(
    simd: S,
    references: &LaneReferences<S>,
    logits: &Group<S>,
) -> ([f64; LANES], Group<S>) {
    let (mut powers, mut excesses, mut rounded) = (*logits, *logits, *logits);
    for register in 0..S::REGISTERS {
        let weight = references.weigh(register, simd.register(logits, register));
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

/// A [`RoundProbability`] for each lane.
#[derive(Clone, Copy)]
struct Probabilities<S: Simd> {
    simd: S,
    references: LaneReferences<S>,
    inverse: Group<S>,
    inverse_residue: Group<S>,
    negligible: Group<S>,
    own: Group<S>,
    of_maximum: Group<S>,
    /// Zero, or what each result is where there is no softmax.
    instead: Group<S>,
}

impl<S: Simd> ColumnPasses<S> for Probabilities<S> {
    #[inline(always)]
    fn sum<R: Row>(cells: &Cells<S>, slab: &mut R, sums: &mut Sums<S>, terms: Terms) {
        let references = sums.references(cells.simd, terms);
        let mut above = sums.maxima;
        for (register, maximum) in above.as_mut().iter_mut().enumerate() {
            // Twice a power of two is more than the weight.
            let power = references.weigh(register, *maximum).power;
            *maximum = power + power;
        }
        let sum = Sum::above(cells.simd, &above);
        cells.weigh(slab, references, sum).flush(&mut sums.totals);
    }

    #[inline(always)]
    fn new(simd: S, sums: &Sums<S>, terms: Terms) -> Self {
        let references = sums.references(simd, terms);
        let (own, own_rounded) = weigh_one(simd, &references, &sums.maxima);
        let (sink, _) = weigh_one(simd, &references, &simd.splat(terms.sink).group());
        let maxima = store_group::<S>(&sums.maxima);
        let [
            mut inverse,
            mut residue,
            mut negligible,
            mut of_maximum,
            mut instead,
        ] = [[0.0; LANES]; 5];
        for lane in 0..LANES {
            let total = sums.totals[lane] + sink[lane];
            let exact = 1.0 / total;
            inverse[lane] = exact as f32;
            residue[lane] = (exact - f64::from(inverse[lane])) as f32;
            negligible[lane] = (total * NEGLIGIBLE) as f32;
            if own[lane] > 0.0 {
                of_maximum[lane] = (own[lane] / total) as f32;
            }
            instead[lane] = instead_of(maxima[lane], sums.totals[lane], terms);
        }
        Probabilities {
            simd,
            references,
            inverse: load_group(simd, &inverse),
            inverse_residue: load_group(simd, &residue),
            negligible: load_group(simd, &negligible),
            own: own_rounded,
            of_maximum: load_group(simd, &of_maximum),
            instead: load_group(simd, &instead),
        }
    }

    #[inline(always)]
    fn last<R: Row>(slab: &mut R) -> impl Row {
        slab.view().stored()
    }

    #[inline(always)]
    fn finish(&self, register: usize, loaded: S::Vector, are_weights: bool) -> S::Vector {
        let weights = if are_weights {
            loaded
        } else {
            self.references.weigh(register, loaded).value()
        };
        let of = |group| self.simd.register(group, register);
        let probability = RoundProbability {
            probability: Probability {
                inverse: of(&self.inverse),
                inverse_residue: of(&self.inverse_residue),
                negligible: of(&self.negligible),
            },
            own: of(&self.own),
            of_maximum: of(&self.of_maximum),
        };
        probability.finish(weights) + of(&self.instead)
    }
}

/// A [`LogProbability`] for each lane.
#[derive(Clone, Copy)]
struct LogProbabilities<S: Simd> {
    simd: S,
    maximum: Group<S>,
    log_denominator: Group<S>,
    /// Zero, or what each result is where there is no softmax.
    instead: Group<S>,
}

impl<S: Simd> ColumnPasses<S> for LogProbabilities<S> {
    #[inline(always)]
    fn sum<R: Row>(cells: &Cells<S>, slab: &mut R, sums: &mut Sums<S>, _: Terms) {
        let references = LaneReferences::of(cells.simd, &sums.maxima);
        let mut row = 0;
        while row < cells.rows {
            let (maxima, sum) = cells.sum_others(slab, row, references, sums.maxima_so_far);
            sums.maxima_so_far = maxima;
            sum.flush(&mut sums.totals);
            row += BLOCK / LANES;
        }
    }

    #[inline(always)]
    fn new(simd: S, sums: &Sums<S>, terms: Terms) -> Self {
        let references = LaneReferences::of(simd, &sums.maxima);
        let (own, _) = weigh_one(simd, &references, &sums.maxima);
        let maxima = store_group::<S>(&sums.maxima_so_far);
        let [mut maximum, mut log_denominator, mut instead] = [[0.0; LANES]; 3];
        for lane in 0..LANES {
            let column = Normalizer::from_parts(maxima[lane], sums.totals[lane] / own[lane]);
            let normalizer = terms.with_sink(column);
            instead[lane] = instead_of(maxima[lane], sums.totals[lane], terms);
            if normalizer.outcome() == Outcome::Finite {
                maximum[lane] = normalizer.max();
                log_denominator[lane] = normalizer.log_denominator() as f32;
            }
        }
        LogProbabilities {
            simd,
            maximum: load_group(simd, &maximum),
            log_denominator: load_group(simd, &log_denominator),
            instead: load_group(simd, &instead),
        }
    }

    #[inline(always)]
    fn last<R: Row>(slab: &mut R) -> impl Row {
        slab.view()
    }

    #[inline(always)]
    fn finish(&self, register: usize, logits: S::Vector, _: bool) -> S::Vector {
        let of = |group| self.simd.register(group, register);
        let log_probability = LogProbability {
            maximum: of(&self.maximum),
            log_denominator: of(&self.log_denominator),
        };
        log_probability.finish(logits) + of(&self.instead)
    }
}

/// What is to be added to each result of a column: zero if it has a softmax.
#[inline(always)]
fn instead_of(maximum: f32, sum: f64, terms: Terms) -> f32 {
    let has_softmax = maximum.max(terms.sink).is_finite() && !maximum.is_nan() && !sum.is_nan();
    if has_softmax {
        0.0
    } else {
        terms.instead(maximum == f32::NEG_INFINITY && !sum.is_nan())
    }
}

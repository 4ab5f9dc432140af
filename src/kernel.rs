//! The passes over a row, written once for every instruction set.
//!
//! # The recurrence
//!
//! A row x_1 … x_N is read once, and two things are carried: the maximum so far and the sum of all
//! exponentials *but the maximum's own*. With `smaller`, `larger` = the maximum and a new logit in
//! order, a step is
//!
//! ```text
//! rest    ← rest · e^(reference − reference') + e^(smaller − reference')
//! maximum ← larger
//! ```
//!
//! which is the online softmax of Milakov and Gimelshein (arXiv 1805.02867),
//! d ← d · e^(m − m') + e^(x − m'), with d = (rest + e^(m − reference)) · e^(reference − m). Keeping
//! the maximum's own term out makes log1p(rest) as precise for a rest of 1e-30 as for one of 3, and
//! scaling by a reference instead of by the maximum makes the first factor 1 at almost every step:
//! the reference follows only when the maximum has risen by more than [`RESCALE_THRESHOLD`].
//!
//! ```text
//! maxima ← the first group of 32 logits                   one recurrence in each of 32 lanes
//! for each block of 128 logits
//!     if some logit > limit                               rare: raise the reference
//!         rest ← rest · e^(reference − reference')
//!     for each group of 32 in the block
//!         (smaller, maxima) ← order(maxima, group)
//!         sums ← sums + weight(smaller)                   f32, and what rounding leaves out
//!     every 16 blocks:  rest ← rest + sums;  sums ← 0     f64
//! ```
//!
//! A row that is to be written, and that a cache holds, is read for its maximum first
//! ([`ThreePass`]): the reference is then known, no limit has to be watched, and the weights can stay
//! in the places of the results until they are divided.
//!
//! # The merge rule
//!
//! Two states combine as (m, d) ⊕ (m', d') = (M, d·e^(m−M) + d'·e^(m'−M)), M = max(m, m'). The 32
//! lanes share a reference, so theirs is [`Online::finish`]: all lane maxima but the largest join
//! the rest. Whole states with references of their own merge in [`Normalizer::merge`].
//!
//! # The same bits
//!
//! Lanes, blocks and the points where the reference moves are fixed by the position in the row and
//! its logits alone, not by the registers, by where a stream was cut, or by what is done with the
//! result. A stored weight is divided as one that was just computed, and logits are read before
//! anything is written in their place.

use crate::exp::{ExpConstants, RESCALE_THRESHOLD, ScaledExp, Shift};
use crate::normalizer::{Normalizer, Outcome};
use crate::vector::{Group, LANES, Lanewise, Simd, SimdFnOnce, Unrolled, Vector};

/// Logits between two looks at whether the reference must be raised.
pub(crate) const BLOCK: usize = 4 * LANES;

/// Logits of which the weights are summed in `f32` before the sum joins one in `f64`.
const SUMMED: usize = 16 * BLOCK;

/// Logits of the least matrix that is read from beyond the second-level cache, and how far ahead,
/// in logits, it is then prefetched. Processors do it by themselves within a page of memory, which
/// is a row of 1024.
const LARGE: usize = 1 << 19;
const AHEAD: usize = 1024;

/// The same for the third-level cache: main memory takes longer.
const VERY_LARGE: usize = 1 << 21;
const FAR_AHEAD: usize = 4096;

/// Logits in a line of a cache.
pub(crate) const LINE: usize = 16;

/// Logits to be read; the hook for all that is done to a logit as it is loaded.
pub(crate) trait Source: Copy {
    fn len(self) -> usize;

    /// The first `count` and the others; `self` if there are fewer.
    fn split_at(self, count: usize) -> Result<(Self, Self), Self>;

    /// The first [`LANES`], or all if there are fewer, and the others.
    #[inline(always)]
    fn split_group(self) -> (Self, Self) {
        self.split_at(LANES)
            .unwrap_or_else(|all| (all, Self::empty()))
    }

    fn empty() -> Self;

    /// `len` from `start`, if there are so many.
    #[inline(always)]
    fn part(self, start: usize, len: usize) -> Option<Self> {
        let (_, from_start) = self.split_at(start).ok()?;
        let (part, _) = from_start.split_at(len).ok()?;
        Some(part)
    }

    /// A register of logits from `start`; −∞ past the end.
    fn load<S: Simd>(self, simd: S, start: usize) -> S::Vector;

    /// One logit; −∞ past the end.
    fn at(self, index: usize) -> f32;

    /// Prefetches the logit so far beyond the first.
    #[inline(always)]
    fn prefetch<S: Simd>(self, simd: S, distance: usize) {
        let _ = (simd, distance);
    }
}

impl Source for &[f32] {
    #[inline(always)]
    fn len(self) -> usize {
        <[f32]>::len(self)
    }

    #[inline(always)]
    fn split_at(self, count: usize) -> Result<(Self, Self), Self> {
        self.split_at_checked(count).ok_or(self)
    }

    #[inline(always)]
    fn empty() -> Self {
        &[]
    }

    #[inline(always)]
    fn load<S: Simd>(self, simd: S, start: usize) -> S::Vector {
        simd.load(self.get(start..).unwrap_or(&[]), f32::NEG_INFINITY)
    }

    #[inline(always)]
    fn at(self, index: usize) -> f32 {
        self.get(index).copied().unwrap_or(f32::NEG_INFINITY)
    }

    #[inline(always)]
    fn prefetch<S: Simd>(self, simd: S, distance: usize) {
        simd.prefetch(self, distance);
    }
}

/// The weights of a row, as they were stored, or, if only its logits are there, weighed anew.
#[derive(Clone, Copy)]
struct Weights<L> {
    loaded: L,
    shift: Shift,
    are_stored: bool,
}

impl<L: Source> Source for Weights<L> {
    #[inline(always)]
    fn len(self) -> usize {
        self.loaded.len()
    }

    #[inline(always)]
    fn split_at(self, count: usize) -> Result<(Self, Self), Self> {
        let of = |loaded| Weights { loaded, ..self };
        match self.loaded.split_at(count) {
            Ok((first, others)) => Ok((of(first), of(others))),
            Err(all) => Err(of(all)),
        }
    }

    #[inline(always)]
    fn empty() -> Self {
        Weights {
            loaded: L::empty(),
            shift: Shift::unit(),
            are_stored: true,
        }
    }

    #[inline(always)]
    fn load<S: Simd>(self, simd: S, start: usize) -> S::Vector {
        let unweighed = Recompute::new(simd, self.shift, self.are_stored, Unchanged);
        unweighed.finish(self.loaded.load(simd, start))
    }

    #[inline(always)]
    fn at(self, index: usize) -> f32 {
        self.loaded.at(index)
    }
}

/// Logits, and places of the same number for the results.
pub(crate) trait SrcDst: Sized {
    /// Whether the places of the results can hold weights in between.
    const HAS_SCRATCH: bool = true;

    fn len(&self) -> usize;

    /// The first `count` and the others; `self` if there are fewer.
    fn split_at(self, count: usize) -> Result<(Self, Self), Self>;

    fn logits(&self) -> impl Source;

    /// Writes a register of results from `start`; nothing past the end.
    fn store<V: Vector>(&mut self, start: usize, results: V);

    /// Prefetches the logit and the place of the result so far beyond the first.
    fn prefetch<S: Simd>(&self, simd: S, distance: usize);

    /// Results before the first that begins a line of a cache.
    fn align_offset(&self) -> usize;

    /// The same row, borrowed for one pass.
    #[inline(always)]
    fn view(&mut self) -> impl SrcDst {
        self.part(0, self.len())
    }

    /// `len` logits and places from `start`; none if there are not so many.
    fn part(&mut self, start: usize, len: usize) -> impl SrcDst;

    /// What was stored, as a row of its own; the row itself if it keeps no weights.
    fn stored(self) -> impl SrcDst;

    /// The first `columns` as a row that keeps its weights, if that needs places of others: those
    /// are overwritten.
    #[inline(always)]
    fn with_scratch(&mut self, columns: usize) -> Option<impl SrcDst> {
        let _ = columns;
        None::<InPlace<'_>>
    }
}

/// Results beside their logits; the two have one length.
pub(crate) struct OutOfPlace<'a, L> {
    pub(crate) logits: L,
    pub(crate) results: &'a mut [f32],
}

impl<L: Source> SrcDst for OutOfPlace<'_, L> {
    #[inline(always)]
    fn len(&self) -> usize {
        self.results.len()
    }

    #[inline(always)]
    fn split_at(self, count: usize) -> Result<(Self, Self), Self> {
        let (Ok((logits, other_logits)), true) =
            (self.logits.split_at(count), count <= self.results.len())
        else {
            return Err(self);
        };
        let (results, other_results) = self.results.split_at_mut(count);
        let others = OutOfPlace {
            logits: other_logits,
            results: other_results,
        };
        Ok((OutOfPlace { logits, results }, others))
    }

    #[inline(always)]
    fn logits(&self) -> impl Source {
        self.logits
    }

    #[inline(always)]
    fn store<V: Vector>(&mut self, start: usize, results: V) {
        results.store(self.results.get_mut(start..).unwrap_or(&mut []));
    }

    #[inline(always)]
    fn prefetch<S: Simd>(&self, simd: S, distance: usize) {
        self.logits.prefetch(simd, distance);
        simd.prefetch(self.results, distance);
    }

    #[inline(always)]
    fn align_offset(&self) -> usize {
        self.results.as_ptr().align_offset(LINE * size_of::<f32>())
    }

    #[inline(always)]
    fn part(&mut self, start: usize, len: usize) -> impl SrcDst {
        let range = start..start.saturating_add(len);
        match (self.logits.part(start, len), self.results.get_mut(range)) {
            (Some(logits), Some(results)) => OutOfPlace { logits, results },
            _ => OutOfPlace {
                logits: L::empty(),
                results: &mut [],
            },
        }
    }

    #[inline(always)]
    fn stored(self) -> impl SrcDst {
        InPlace(self.results)
    }
}

/// Results in the place of their logits.
pub(crate) struct InPlace<'a>(pub(crate) &'a mut [f32]);

impl SrcDst for InPlace<'_> {
    #[inline(always)]
    fn len(&self) -> usize {
        self.0.len()
    }

    #[inline(always)]
    fn split_at(self, count: usize) -> Result<(Self, Self), Self> {
        if count > self.0.len() {
            return Err(self);
        }
        let (row, others) = self.0.split_at_mut(count);
        Ok((InPlace(row), InPlace(others)))
    }

    #[inline(always)]
    fn logits(&self) -> impl Source {
        &*self.0
    }

    #[inline(always)]
    fn store<V: Vector>(&mut self, start: usize, results: V) {
        results.store(self.0.get_mut(start..).unwrap_or(&mut []));
    }

    #[inline(always)]
    fn prefetch<S: Simd>(&self, simd: S, distance: usize) {
        simd.prefetch(self.0, distance);
    }

    #[inline(always)]
    fn align_offset(&self) -> usize {
        self.0.as_ptr().align_offset(LINE * size_of::<f32>())
    }

    #[inline(always)]
    fn part(&mut self, start: usize, len: usize) -> impl SrcDst {
        let range = start..start.saturating_add(len);
        InPlace(self.0.get_mut(range).unwrap_or(&mut []))
    }

    #[inline(always)]
    fn stored(self) -> impl SrcDst {
        self
    }
}

/// What a softmax is taken with beside its logits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sink {
    /// One more logit, of the denominator alone; below +∞. −∞ is none.
    pub(crate) logit: f32,
    /// What each result of a fully masked row is.
    pub(crate) fully_masked: f32,
}

impl Sink {
    pub(crate) const NONE: Self = Sink {
        logit: f32::NEG_INFINITY,
        fully_masked: f32::NAN,
    };

    /// The state of a row, and of the sink.
    #[inline(always)]
    pub(crate) fn with_sink(self, normalizer: Normalizer) -> Normalizer {
        if self.logit == f32::NEG_INFINITY {
            normalizer
        } else {
            normalizer.merge(Normalizer::from_parts(self.logit, 0.0))
        }
    }

    /// The result of a masked logit.
    pub(crate) fn masked(self, of_row: &Normalizer, is_log: bool) -> f32 {
        match of_row.outcome() {
            Outcome::Finite if is_log => f32::NEG_INFINITY,
            Outcome::Finite => 0.0,
            outcome => self.fallback(outcome == Outcome::FullyMasked),
        }
    }

    /// What each result of a row without a softmax is.
    #[inline(always)]
    pub(crate) fn fallback(self, is_fully_masked: bool) -> f32 {
        if is_fully_masked {
            self.fully_masked
        } else {
            f32::NAN
        }
    }
}

/// The recurrence between two reads: what a stream keeps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Online {
    /// The largest logit that each lane has seen.
    maxima: [f32; LANES],
    /// The sum of the weights of all its others, but for what is still summed in `f32`.
    other_terms: [f64; LANES],
    /// That sum, what rounding left out of it, and of how many blocks it is.
    sums: [f32; LANES],
    low: [f32; LANES],
    summed: usize,
    /// Lanes that have seen a logit.
    lanes: usize,
    shift: Shift,
    /// The largest logit that `shift` is good for. −∞ before there is a finite logit and after
    /// +∞: then every block is looked at.
    limit: f32,
}

impl Online {
    pub(crate) fn new() -> Self {
        Online {
            maxima: [f32::NEG_INFINITY; LANES],
            other_terms: [0.0; LANES],
            sums: [0.0; LANES],
            low: [0.0; LANES],
            summed: 0,
            lanes: 0,
            shift: Shift::of(0.0),
            limit: f32::NEG_INFINITY,
        }
    }

    pub(crate) fn is_new(&self) -> bool {
        self.lanes == 0
    }

    /// Reads logits: of a new row the first [`LANES`], then blocks of [`BLOCK`]. A group or block
    /// may be short only at the end of the row.
    #[inline(always)]
    pub(crate) fn read<S: Simd, L: Source>(&mut self, simd: S, logits: L) {
        let mut running = Running::resume(simd, self);
        let mut unread = logits;
        if self.is_new() {
            let (group, others) = unread.split_group();
            running.start(group);
            unread = others;
        }
        let last = loop {
            match unread.split_at(BLOCK) {
                Ok((block, others)) => {
                    running.block(block);
                    unread = others;
                }
                Err(last) => break last,
            }
        };
        if last.len() > 0 {
            running.block(last);
        }
        *self = running.pause();
    }

    /// Merges the lanes: every maximum but the largest joins the rest.
    #[inline(always)]
    pub(crate) fn finish<S: Simd>(&self, simd: S) -> Denominator {
        // Adding zero makes −0 into +0: which of the two is found first differs by backend.
        let maximum = reduce(self.maxima, LANES, larger) + 0.0;
        let other_terms = self.total_other_terms();
        let mut denominator = Denominator {
            maximum,
            max_term: 0.0,
            max_term_rounded: 0.0,
            other_terms: total(other_terms),
            sink_term: 0.0,
            shift: self.shift,
            is_empty: self.lanes == 0,
            sink: Sink::NONE,
        };
        if maximum == f32::INFINITY {
            if self.maxima.iter().any(is_nan) {
                denominator.other_terms = f64::NAN;
            }
            return denominator;
        }

        let shift = self.shift.splat(simd);
        let offset = simd.splat(self.shift.offset);
        denominator.exp_max_term(simd);
        let mut sum = CompensatedSum::new(simd);
        let mut equal_lanes = 0;
        for register in 0..self.lanes.div_ceil(S::Vector::WIDTH) {
            let start = register * S::Vector::WIDTH;
            let maxima = (&self.maxima[..]).load(simd, start);
            let (others, equal) =
                maxima.select_eq(maxima, simd.splat(maximum), simd.splat(f32::NEG_INFINITY));
            sum.add(register, shift.exp_scaled(others - offset));
            equal_lanes += equal;
        }
        let mut totals = other_terms;
        sum.flush(&mut totals);
        denominator.other_terms =
            total(totals) + (f64::from(equal_lanes) - 1.0) * denominator.max_term;
        denominator
    }

    /// The sum of the weights of all but the maximum of each lane.
    #[inline(always)]
    fn total_other_terms(&self) -> [f64; LANES] {
        let mut other_terms = self.other_terms;
        for ((other_terms, sum), low) in other_terms.iter_mut().zip(self.sums).zip(self.low) {
            *other_terms += f64::from(sum);
            *other_terms += f64::from(low);
        }
        other_terms
    }

    /// [`Running::raise_shift`], out of the way of the loop.
    #[cold]
    #[inline(never)]
    fn raise_shift(&mut self, block: &[f32; BLOCK]) -> bool {
        self.other_terms = self.total_other_terms();
        self.sums = [0.0; LANES];
        self.low = [0.0; LANES];
        self.summed = 0;
        let logits = || block.iter().chain(&self.maxima);
        let maximum = logits().fold(f32::NEG_INFINITY, |maximum, logit| maximum.max(*logit));
        if maximum == f32::INFINITY {
            if logits().any(is_nan) {
                self.other_terms = [f64::NAN; LANES];
            }
            self.maxima = [maximum; LANES];
            self.limit = f32::NEG_INFINITY;
            return false;
        }
        let shift = Shift::of(maximum);
        let rescaling = self.shift.rescale_factor(shift);
        for other_terms in &mut self.other_terms {
            // Before the first finite logit there is no rest, and the factor may be infinite.
            if *other_terms != 0.0 {
                *other_terms *= rescaling;
            }
        }
        self.shift = shift;
        self.limit = maximum + RESCALE_THRESHOLD;
        true
    }
}

/// The recurrence with its lanes in registers.
struct Running<S: Simd> {
    simd: S,
    maxima: Group<S>,
    other_terms: [f64; LANES],
    sum: CompensatedSum<S>,
    /// Blocks in `sum`.
    summed: usize,
    lanes: usize,
    shift: Shift,
    offset: S::Vector,
    in_lanes: ExpConstants<S::Vector>,
    limit: f32,
}

/// A sum of weights as they were before they were rounded, by lanes: in `f32` with what rounding
/// left out of it, then in `f64`.
#[derive(Clone, Copy)]
pub(crate) struct CompensatedSum<S: Simd> {
    simd: S,
    sums: Group<S>,
    low: Group<S>,
}

impl<S: Simd> CompensatedSum<S> {
    #[inline(always)]
    pub(crate) fn new(simd: S) -> Self {
        Self::above(simd, &simd.splat(0.0).group())
    }

    /// A sum that begins, in each lane, with more than any weight of that lane, to be [taken
    /// off](Self::remove_bias) in the end. Not with more than is needed: what the sum is too large for
    /// is left out of it, and the sum of that is not corrected.
    #[inline(always)]
    pub(crate) fn above(simd: S, weights: &Group<S>) -> Self {
        CompensatedSum {
            simd,
            sums: *weights,
            low: simd.splat(0.0).group(),
        }
    }

    /// Exact: what the sums began with and what they are now are multiples of the spacing of the
    /// larger.
    #[inline(always)]
    pub(crate) fn remove_bias(mut self, weights: &Group<S>) -> Self {
        for (sums, weights) in self.sums.as_mut().iter_mut().zip(weights.as_ref()) {
            *sums = *sums - *weights;
        }
        self
    }

    /// Adds to one register of the lanes. Kahan's correction, (sum − rounded) + weight, is exact
    /// where the sum is the larger of the two (Dekker's Fast2Sum); here the weight in it is the
    /// one before rounding.
    #[inline(always)]
    pub(crate) fn add(&mut self, register: usize, weight: ScaledExp<S::Vector>) {
        if let (Some(sum), Some(low)) = (
            self.sums.as_mut().get_mut(register),
            self.low.as_mut().get_mut(register),
        ) {
            let rounded = *sum + weight.value();
            let correction = (*sum - rounded) + weight.power;
            *low = *low + weight.power.mul_add(weight.excess, correction);
            *sum = rounded;
        }
    }

    /// Adds all to `totals`.
    #[inline(always)]
    pub(crate) fn flush(&self, totals: &mut [f64; LANES]) {
        for lanes in [&self.sums, &self.low] {
            for (register, lanes) in lanes.as_ref().iter().enumerate() {
                let start = register * S::Vector::WIDTH;
                lanes.add_to(totals.get_mut(start..).unwrap_or(&mut []));
            }
        }
    }
}

impl<S: Simd> Running<S> {
    #[inline(always)]
    fn resume(simd: S, state: &Online) -> Self {
        Running {
            simd,
            maxima: load_group(simd, &state.maxima),
            other_terms: state.other_terms,
            sum: CompensatedSum {
                simd,
                sums: load_group(simd, &state.sums),
                low: load_group(simd, &state.low),
            },
            summed: state.summed,
            lanes: state.lanes,
            shift: state.shift,
            offset: simd.splat(state.shift.offset),
            in_lanes: state.shift.splat(simd),
            limit: state.limit,
        }
    }

    #[inline(always)]
    fn pause(&self) -> Online {
        Online {
            maxima: store_group::<S>(&self.maxima),
            other_terms: self.other_terms,
            sums: store_group::<S>(&self.sum.sums),
            low: store_group::<S>(&self.sum.low),
            summed: self.summed,
            lanes: self.lanes,
            shift: self.shift,
            limit: self.limit,
        }
    }

    /// The first group of a row: its logits are the lanes' maxima, and there is no rest yet.
    #[inline(always)]
    fn start<L: Source>(&mut self, group: L) {
        for (lane, maxima) in self.maxima.as_mut().iter_mut().enumerate() {
            if lane * S::Vector::WIDTH < group.len() {
                *maxima = group.load(self.simd, lane * S::Vector::WIDTH);
            }
        }
        self.lanes = group.len();
        let maximum = largest(self.simd, &self.maxima);
        if !maximum.is_infinite() {
            self.shift = Shift::of(maximum);
            self.offset = self.simd.splat(self.shift.offset);
            self.in_lanes = self.shift.splat(self.simd);
            self.limit = maximum + RESCALE_THRESHOLD;
        }
    }

    #[inline(always)]
    fn block<L: Source>(&mut self, block: L) {
        let groups = groups_of(block);
        let mut highest = block.load(self.simd, 0);
        for group in groups {
            for register in 0..S::REGISTERS {
                let start = register * S::Vector::WIDTH;
                if start < group.len() {
                    (_, highest) = highest.min_max(group.load(self.simd, start));
                }
            }
        }
        let is_above = highest.gt_mask(self.simd.splat(self.limit)) != 0;
        if is_above && !self.raise_shift(block) {
            return;
        }
        if S::UNROLL == 8 {
            self.steps::<8, L>(block);
        } else {
            self.steps::<4, L>(block);
        }
        self.summed += 1;
        if self.summed == SUMMED / BLOCK {
            self.sum.flush(&mut self.other_terms);
            self.sum = CompensatedSum::new(self.simd);
            self.summed = 0;
        }
    }

    /// The steps of the recurrence in every lane. Past the end −∞ is weighed, which changes nothing.
    #[inline(always)]
    fn steps<const UNROLL: usize, L: Source>(&mut self, block: L) {
        let lanes = self.in_lanes.unrolled::<UNROLL>();
        for step in 0..BLOCK / S::Vector::WIDTH / UNROLL {
            let first = step * UNROLL;
            if first * S::Vector::WIDTH >= block.len() {
                break;
            }
            let mut smaller = Unrolled([self.simd.splat(f32::NEG_INFINITY); UNROLL]);
            for (i, smaller) in smaller.0.iter_mut().enumerate() {
                let start = (first + i) * S::Vector::WIDTH;
                let maximum = self.maxima.as_mut().get_mut((first + i) % S::REGISTERS);
                if let (true, Some(maximum)) = (start < block.len(), maximum) {
                    let (less, more) = maximum.min_max(block.load(self.simd, start));
                    *maximum = more;
                    *smaller = less - self.offset;
                }
            }
            let weights = lanes.exp_scaled(smaller);
            for i in 0..UNROLL {
                let (power, excess) = (weights.power.0[i], weights.excess.0[i]);
                let register = (first + i) % S::REGISTERS;
                self.sum.add(register, ScaledExp { power, excess });
            }
        }
    }

    /// Raises the reference for a block with a logit above the limit. False if all that can matter
    /// from here on, the block included, is whether there is a NaN: the maximum is +∞.
    #[inline(always)]
    fn raise_shift<L: Source>(&mut self, block: L) -> bool {
        let mut logits = [f32::NEG_INFINITY; BLOCK];
        for register in 0..block.len().div_ceil(S::Vector::WIDTH) {
            let start = register * S::Vector::WIDTH;
            store(block.load(self.simd, start), &mut logits, start);
        }
        let mut state = self.pause();
        let goes_on = state.raise_shift(&logits);
        *self = Running::resume(self.simd, &state);
        goes_on
    }
}

#[inline(always)]
pub(crate) fn load_group<S: Simd>(simd: S, lanes: &[f32; LANES]) -> Group<S> {
    let mut group = simd.splat(0.0).group();
    for (lane, register) in group.as_mut().iter_mut().enumerate() {
        *register = (&lanes[..]).load(simd, lane * S::Vector::WIDTH);
    }
    group
}

#[inline(always)]
pub(crate) fn store_group<S: Simd>(group: &Group<S>) -> [f32; LANES] {
    let mut lanes = [0.0; LANES];
    for (lane, register) in group.as_ref().iter().enumerate() {
        store(*register, &mut lanes, lane * S::Vector::WIDTH);
    }
    lanes
}

#[inline(always)]
fn store<V: Vector>(register: V, values: &mut [f32], start: usize) {
    register.store(values.get_mut(start..).unwrap_or(&mut []));
}

#[inline(always)]
fn first_lane<V: Vector>(register: V) -> f32 {
    let mut lane = [0.0];
    register.store(&mut lane);
    lane[0]
}

/// The first `count` lanes, a power of two, combined, always by the same tree.
#[inline(always)]
pub(crate) fn reduce<T: Copy>(
    mut lanes: [T; LANES],
    count: usize,
    combine: impl Fn(T, T) -> T,
) -> T {
    let mut half = count / 2;
    while half > 0 {
        for lane in 0..half {
            lanes[lane] = combine(lanes[lane], lanes[lane + half]);
        }
        half /= 2;
    }
    lanes[0]
}

#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if b > a { b } else { a }
}

/// The largest lane. One NaN among others may or may not be it.
#[inline(always)]
fn largest<S: Simd>(simd: S, group: &Group<S>) -> f32 {
    let mut highest = simd.splat(f32::NEG_INFINITY);
    for register in group.as_ref() {
        (_, highest) = highest.min_max(*register);
    }
    let mut lanes = [f32::NEG_INFINITY; LANES];
    highest.store(&mut lanes);
    reduce(lanes, S::Vector::WIDTH, larger)
}

/// Σ lanes.
#[inline(always)]
pub(crate) fn total(lanes: [f64; LANES]) -> f64 {
    reduce(lanes, LANES, |a, b| a + b)
}

/// The groups of a block; of a short one the last are short or empty.
#[inline(always)]
fn groups_of<L: Source>(block: L) -> [L; BLOCK / LANES] {
    let (first, others) = block.split_group();
    let (second, others) = others.split_group();
    let (third, fourth) = others.split_group();
    [first, second, third, fourth]
}

/// A row's denominator, in weights under its reference: the maximum's own, the rest and the sink's.
#[derive(Clone, Copy)]
pub(crate) struct Denominator {
    maximum: f32,
    max_term: f64,
    /// The maximum's own weight as it is stored.
    max_term_rounded: f32,
    other_terms: f64,
    sink_term: f64,
    shift: Shift,
    is_empty: bool,
    sink: Sink,
}

impl Denominator {
    /// Weighs the maximum and the sink.
    #[inline(always)]
    fn exp_max_term<S: Simd>(&mut self, simd: S) {
        (self.max_term, self.max_term_rounded) = self.exp_scaled(simd, self.maximum);
        if self.sink.logit > f32::NEG_INFINITY {
            (self.sink_term, _) = self.exp_scaled(simd, self.sink.logit);
        }
    }

    /// The weight of a logit, unrounded and rounded.
    #[inline(always)]
    fn exp_scaled<S: Simd>(&self, simd: S, logit: f32) -> (f64, f32) {
        let logit = simd.splat(logit) - simd.splat(self.shift.offset);
        let weight = self.shift.splat(simd).exp_scaled(logit);
        let power = f64::from(first_lane(weight.power));
        let exact = power + power * f64::from(first_lane(weight.excess));
        (exact, first_lane(weight.value()))
    }

    #[inline(always)]
    fn total(&self) -> f64 {
        self.max_term + self.other_terms + self.sink_term
    }

    /// The largest logit, the sink among them.
    #[inline(always)]
    fn largest(&self) -> f32 {
        self.maximum.max(self.sink.logit)
    }

    #[inline(always)]
    fn is_finite(&self) -> bool {
        self.largest().is_finite() && !self.maximum.is_nan() && !self.other_terms.is_nan()
    }

    /// What each result is if that is not so.
    #[inline(always)]
    fn fallback<S: Simd>(&self, simd: S) -> Constant<S::Vector> {
        let is_fully_masked = self.largest() == f32::NEG_INFINITY && !self.other_terms.is_nan();
        Constant(simd.splat(self.sink.fallback(is_fully_masked)))
    }

    /// Whether the probability of the maximum can be so round a number that it must come out
    /// exactly: 1, or 1/N if all N values of the row, which `row` has as logits or weights, are
    /// equal to the maximum's, `max_term`, or masked.
    #[inline(always)]
    fn is_round<S: Simd, L: Source>(
        &mut self,
        simd: S,
        row: L,
        max_term: f32,
        masked: f32,
    ) -> bool {
        if let Some(others) =
            count_if_constant(simd, row, max_term, masked).and_then(|count| count.checked_sub(1))
        {
            self.other_terms = others as f64 * self.max_term;
            return true;
        }
        self.other_terms + self.sink_term < self.max_term * 1e-6
    }

    #[inline(always)]
    fn probability<S: Simd>(&self, simd: S) -> Probability<S::Vector> {
        Probability::new(simd, self.total())
    }

    #[inline(always)]
    fn exact_max<S: Simd>(&self, simd: S) -> ExactMax<S::Vector> {
        ExactMax {
            probability: self.probability(simd),
            max_term: simd.splat(self.max_term_rounded),
            of_maximum: simd.splat((self.max_term / self.total()) as f32),
        }
    }

    /// Relative to the maximum's own weight.
    #[inline(always)]
    pub(crate) fn normalizer(&self) -> Normalizer {
        if self.sink.logit > self.maximum {
            Normalizer::from_parts(
                self.sink.logit,
                (self.max_term + self.other_terms) / self.sink_term,
            )
        } else if self.is_empty {
            Normalizer::new()
        } else if self.maximum.is_infinite() {
            // The rest is NaN if a logit was; there is no other use for it.
            Normalizer::from_parts(self.maximum, self.other_terms * 0.0)
        } else {
            Normalizer::from_parts(
                self.maximum,
                (self.other_terms + self.sink_term) / self.max_term,
            )
        }
    }
}

/// What the last pass makes of what is loaded: a logit, or a weight that was stored.
pub(crate) trait Epilogue<V: Vector>: Copy {
    fn finish(&self, loaded: V) -> V;

    /// Whether it takes so long that registers side by side, in a function of their own, are worth
    /// it.
    #[inline(always)]
    fn recomputes(&self) -> bool {
        false
    }

    /// [`Self::finish`] of each, if it [is long](Self::recomputes).
    #[inline(always)]
    fn apply_unrolled<const COUNT: usize>(
        &self,
        mut unrolled: Unrolled<V, COUNT>,
    ) -> Unrolled<V, COUNT> {
        for register in &mut unrolled.0 {
            *register = self.finish(*register);
        }
        unrolled
    }
}

/// weight / denominator, with 1 / denominator in two floats. A result below 2^−126 is 0.
#[derive(Clone, Copy)]
pub(crate) struct Probability<V> {
    pub(crate) inverse: V,
    pub(crate) inverse_residue: V,
    /// The weight of such a result, or a little less.
    pub(crate) negligible: V,
}

/// The least normal number, less what a weight may be too small by.
pub(crate) const NEGLIGIBLE: f64 = f32::MIN_POSITIVE as f64 * (1.0 - 1e-6);

impl<V: Vector> Probability<V> {
    #[inline(always)]
    fn new<S: Simd<Vector = V>>(simd: S, denominator: f64) -> Self {
        let inverse = 1.0 / denominator;
        Probability {
            inverse: simd.splat(inverse as f32),
            inverse_residue: simd.splat((inverse - f64::from(inverse as f32)) as f32),
            negligible: simd.splat((denominator * NEGLIGIBLE) as f32),
        }
    }
}

impl<V: Vector> Epilogue<V> for Probability<V> {
    #[inline(always)]
    fn finish(&self, weights: V) -> V {
        let quotient = weights.mul_add(self.inverse, weights * self.inverse_residue);
        weights.and_gt(self.negligible, quotient)
    }
}

/// A [`Probability`], and that of the maximum known: a weight was rounded, and its quotient may
/// miss a round number.
#[derive(Clone, Copy)]
pub(crate) struct ExactMax<V> {
    pub(crate) probability: Probability<V>,
    pub(crate) max_term: V,
    pub(crate) of_maximum: V,
}

impl<V: Vector> Epilogue<V> for ExactMax<V> {
    #[inline(always)]
    fn finish(&self, weights: V) -> V {
        let quotient = self.probability.finish(weights);
        quotient
            .select_eq(weights, self.max_term, self.of_maximum)
            .0
    }
}

/// What is a weight already.
#[derive(Clone, Copy)]
struct Unchanged;

impl<V: Vector> Epilogue<V> for Unchanged {
    #[inline(always)]
    fn finish(&self, weights: V) -> V {
        weights
    }
}

/// Weighs what is loaded first, unless that is done.
#[derive(Clone, Copy)]
struct Recompute<V, F> {
    lanes: ExpConstants<V>,
    offset: V,
    are_weights: bool,
    finish: F,
}

impl<V: Vector, F: Epilogue<V>> Recompute<V, F> {
    #[inline(always)]
    fn new<S: Simd<Vector = V>>(simd: S, shift: Shift, are_weights: bool, finish: F) -> Self {
        Recompute {
            lanes: shift.splat(simd),
            offset: simd.splat(shift.offset),
            are_weights,
            finish,
        }
    }
}

impl<V: Vector, F: Epilogue<V>> Epilogue<V> for Recompute<V, F> {
    #[inline(always)]
    fn finish(&self, logits: V) -> V {
        let weights = if self.are_weights {
            logits
        } else {
            self.lanes.exp_scaled(logits - self.offset).value()
        };
        self.finish.finish(weights)
    }

    #[inline(always)]
    fn recomputes(&self) -> bool {
        !self.are_weights
    }

    #[inline(always)]
    fn apply_unrolled<const COUNT: usize>(&self, logits: Unrolled<V, COUNT>) -> Unrolled<V, COUNT> {
        let logits = logits - Unrolled([self.offset; COUNT]);
        let weights = self.lanes.unrolled().exp_scaled(logits).value();
        self.finish.apply_unrolled(weights)
    }
}

/// (x − maximum) − log(denominator): both terms have one sign, so nothing cancels.
#[derive(Clone, Copy)]
pub(crate) struct LogProbability<V> {
    pub(crate) maximum: V,
    pub(crate) log_denominator: V,
}

impl<V: Vector> Epilogue<V> for LogProbability<V> {
    #[inline(always)]
    fn finish(&self, logits: V) -> V {
        (logits - self.maximum) - self.log_denominator
    }
}

/// The same, whatever the logit.
#[derive(Clone, Copy)]
struct Constant<V>(V);

impl<V: Vector> Epilogue<V> for Constant<V> {
    #[inline(always)]
    fn finish(&self, _: V) -> V {
        self.0
    }
}

/// The longest row that is written from its first logit on, not from where a line of a cache begins.
const UNALIGNED: usize = 256;

/// The last pass.
#[inline(always)]
fn write<S: Simd, R: SrcDst>(simd: S, mut row: R, finish: &impl Epilogue<S::Vector>) {
    if row.len() > UNALIGNED {
        let align_offset = row.align_offset();
        match row.split_at(align_offset) {
            Ok((unaligned, others)) => {
                write_group(simd, unaligned, finish);
                row = others;
            }
            Err(all) => row = all,
        }
    }
    if finish.recomputes() {
        let finish = *finish;
        row = simd.vectorize(WriteBlocks { row, finish });
    }
    loop {
        match row.split_at(LANES) {
            Ok((group, others)) => {
                write_group(simd, group, finish);
                row = others;
            }
            Err(last) if last.len() > 0 => return write_group(simd, last, finish),
            Err(_) => return,
        }
    }
}

/// Writes the whole blocks of a row; returns what is left.
struct WriteBlocks<R, F> {
    row: R,
    finish: F,
}

impl<S: Simd, R: SrcDst, F: Epilogue<S::Vector>> SimdFnOnce<S> for WriteBlocks<R, F> {
    type Output = R;

    #[inline(always)]
    fn run(self, simd: S) -> R {
        let WriteBlocks { mut row, finish } = self;
        loop {
            match row.split_at(BLOCK) {
                Ok((block, others)) => {
                    if S::UNROLL == 8 {
                        write_block::<8, S, R>(simd, block, &finish);
                    } else {
                        write_block::<4, S, R>(simd, block, &finish);
                    }
                    row = others;
                }
                Err(last) => return last,
            }
        }
    }
}

#[inline(always)]
fn write_block<const UNROLL: usize, S: Simd, R: SrcDst>(
    simd: S,
    mut block: R,
    finish: &impl Epilogue<S::Vector>,
) {
    for step in 0..BLOCK / S::Vector::WIDTH / UNROLL {
        let first = step * UNROLL;
        let start = |i: usize| (first + i) * S::Vector::WIDTH;
        let mut loaded = Unrolled([simd.splat(0.0); UNROLL]);
        for (i, loaded) in loaded.0.iter_mut().enumerate() {
            *loaded = block.logits().load(simd, start(i));
        }
        let results = finish.apply_unrolled(loaded);
        for (i, results) in results.0.into_iter().enumerate() {
            block.store(start(i), results);
        }
    }
}

#[inline(always)]
fn write_group<S: Simd, R: SrcDst>(simd: S, mut group: R, finish: &impl Epilogue<S::Vector>) {
    for register in 0..S::REGISTERS {
        let start = register * S::Vector::WIDTH;
        if start < group.len() {
            let loaded = group.logits().load(simd, start);
            group.store(start, finish.finish(loaded));
        }
    }
}

#[inline(always)]
fn denominator<S: Simd, L: Source>(simd: S, logits: L) -> Denominator {
    let mut online = Online::new();
    online.read(simd, logits);
    online.finish(simd)
}

/// The normalizer of a row: one read.
#[inline(always)]
pub(crate) fn normalizer<S: Simd, L: Source>(simd: S, logits: L) -> Normalizer {
    denominator(simd, logits).normalizer()
}

/// The longest row that is read twice before it is written, which costs less than the recurrence
/// while the row stays in a cache. The two ways to sum differ in bits, so this is the same
/// everywhere.
pub(crate) const CACHED: usize = 1 << 21;

/// The longest row of which the passes overlap with those of its neighbours: three of them, with
/// their results, stay in the first-level cache.
const SHORT: usize = 1024;

/// The longest row that is scanned before the row above it is written: then it is still in the
/// second-level cache when it is weighed. Longer ones are prefetched for the scan.
const OVERLAPPED: usize = 1 << 15;

/// A softmax in passes over a row, and the few steps between them, each of which waits for the one
/// before: lanes are combined, a quotient is taken.
pub(crate) trait Algorithm: Sized {
    /// Whether the last pass is to read weights that the second has stored.
    const USES_SCRATCH: bool = false;

    /// What the first pass finds, by lanes.
    type Scan<S: Simd>;

    /// What the second is to know of the first.
    type Plan<S: Simd>;

    /// What the second finds, by lanes.
    type Sums<S: Simd>;

    /// The first pass, which writes nothing.
    fn scan<S: Simd, L: Source>(simd: S, logits: L) -> Self::Scan<S>;

    fn plan<S: Simd>(simd: S, scan: Self::Scan<S>, sink: Sink) -> Self::Plan<S>;

    /// The second pass; it may store something in the places of the results. What lies so far
    /// `ahead` is prefetched, unless that is 0.
    fn sum<S: Simd, R: SrcDst>(simd: S, row: R, plan: Self::Plan<S>, ahead: usize)
    -> Self::Sums<S>;

    fn new<S: Simd>(simd: S, sums: Self::Sums<S>, sink: Sink) -> Self;

    /// The last pass, which writes the results.
    fn write<S: Simd, R: SrcDst>(&self, simd: S, row: R);

    /// To be called before the last pass.
    fn normalizer<S: Simd, R: SrcDst>(&self, simd: S, row: R) -> Normalizer;

    /// The softmax of each row of a matrix. What is between two passes over a row is done while
    /// there is a pass over a neighbour to be done, which does not wait for it.
    #[inline(always)]
    fn softmax_rows<S: Simd, R: SrcDst>(simd: S, matrix: R, columns: usize, sink: Sink) {
        let ahead = match matrix.len() {
            0..LARGE => 0,
            LARGE..VERY_LARGE => AHEAD,
            _ => FAR_AHEAD,
        };
        if Self::USES_SCRATCH && !R::HAS_SCRATCH {
            return Self::softmax_rows_among_others(simd, matrix, columns, sink, ahead);
        }
        if columns <= SHORT {
            Self::softmax_short_rows(simd, matrix, columns, sink, ahead);
        } else {
            Self::softmax_long_rows(simd, matrix, columns, sink, ahead);
        }
    }

    /// Of a matrix with room for the weights of a row in the places of those after it, as long as
    /// there are enough of these.
    #[inline(always)]
    fn softmax_rows_among_others<S: Simd, R: SrcDst>(
        simd: S,
        matrix: R,
        columns: usize,
        sink: Sink,
        ahead: usize,
    ) {
        let mut unread = matrix;
        let mut scan = Self::scan(simd, unread.part(0, columns).logits());
        while unread.len() > 0 {
            let plan = Self::plan(simd, scan, sink);
            let sums = if let Some(row) = unread.with_scratch(columns) {
                Self::sum(simd, row, plan, ahead)
            } else {
                Self::sum(simd, unread.part(0, columns), plan, ahead)
            };
            scan = Self::scan(simd, unread.part(columns, columns).logits());
            let passes = Self::new(simd, sums, sink);
            if let Some(row) = unread.with_scratch(columns) {
                passes.write(simd, row);
            } else {
                passes.write(simd, unread.part(0, columns));
            }
            match unread.split_at(columns) {
                Ok((_, others)) => unread = others,
                Err(_) => return,
            }
        }
    }

    /// With three rows under way.
    #[inline(always)]
    fn softmax_short_rows<S: Simd, R: SrcDst>(
        simd: S,
        matrix: R,
        columns: usize,
        sink: Sink,
        ahead: usize,
    ) {
        let mut unread = Some(matrix);
        let (mut scanned, mut summed) = (None, None);
        loop {
            let mut finished = None;
            if let Some((row, sums)) = summed.take() {
                finished = Some((row, Self::new(simd, sums, sink)));
            }
            if let Some((mut row, scan)) = scanned.take() {
                let plan = Self::plan(simd, scan, sink);
                let sums = Self::sum(simd, R::view(&mut row), plan, ahead);
                summed = Some((row, sums));
            }
            if let Some((row, passes)) = finished {
                passes.write(simd, row);
            }
            match unread.take().map(|matrix| matrix.split_at(columns)) {
                Some(Ok((row, others))) => {
                    let scan = Self::scan(simd, R::logits(&row));
                    scanned = Some((row, scan));
                    unread = Some(others);
                }
                _ if summed.is_none() => return,
                _ => {}
            }
        }
    }

    /// With two rows under way, if they stay in the second-level cache.
    #[inline(always)]
    fn softmax_long_rows<S: Simd, R: SrcDst>(
        simd: S,
        matrix: R,
        columns: usize,
        sink: Sink,
        ahead: usize,
    ) {
        let mut unread = matrix;
        let mut summed: Option<(R, Self::Sums<S>)> = None;
        loop {
            let mut finished = None;
            if let Some((row, sums)) = summed.take() {
                finished = Some((row, Self::new(simd, sums, sink)));
            }
            let Ok((mut row, others)) = unread.split_at(columns) else {
                if let Some((row, passes)) = finished {
                    passes.write(simd, row);
                }
                return;
            };
            let scan = Self::scan(simd, row.logits());
            let plan = Self::plan(simd, scan, sink);
            if let Some((row, passes)) = finished {
                passes.write(simd, row);
            }
            let sums = Self::sum(simd, row.view(), plan, ahead);
            if columns <= OVERLAPPED {
                summed = Some((row, sums));
            } else {
                Self::new(simd, sums, sink).write(simd, row);
            }
            unread = others;
        }
    }

    /// The softmax of a row.
    #[inline(always)]
    fn softmax<S: Simd, R: SrcDst>(simd: S, mut row: R, sink: Sink) -> Normalizer {
        let plan = Self::plan(simd, Self::scan(simd, row.logits()), sink);
        let sums = Self::sum(simd, row.view(), plan, 0);
        let passes = Self::new(simd, sums, sink);
        let normalizer = passes.normalizer(simd, row.view());
        passes.write(simd, row);
        normalizer
    }
}

/// The recurrence reads the row, then each logit is weighed anew: two reads and one write, the
/// least there is.
pub(crate) struct Streamed(Denominator);

impl Algorithm for Streamed {
    type Scan<S: Simd> = ();
    type Plan<S: Simd> = ();
    type Sums<S: Simd> = Denominator;

    #[inline(always)]
    fn scan<S: Simd, L: Source>(_: S, _: L) {}

    #[inline(always)]
    fn plan<S: Simd>(_: S, (): (), _: Sink) {}

    #[inline(always)]
    fn sum<S: Simd, R: SrcDst>(simd: S, row: R, (): (), _: usize) -> Denominator {
        denominator(simd, row.logits())
    }

    #[inline(always)]
    fn new<S: Simd>(simd: S, mut denominator: Denominator, sink: Sink) -> Self {
        denominator.sink = sink;
        if denominator.is_finite() {
            let shift = Shift::of(denominator.largest());
            denominator.other_terms *= denominator.shift.rescale_factor(shift);
            denominator.shift = shift;
            denominator.exp_max_term(simd);
        }
        Streamed(denominator)
    }

    #[inline(always)]
    fn write<S: Simd, R: SrcDst>(&self, simd: S, row: R) {
        let mut denominator = self.0;
        if !denominator.is_finite() {
            write(simd, row, &denominator.fallback(simd));
        } else if denominator.is_round(simd, row.logits(), denominator.maximum, f32::NEG_INFINITY) {
            let finish = denominator.exact_max(simd);
            let finish = Recompute::new(simd, denominator.shift, false, finish);
            write(simd, row, &finish);
        } else {
            let finish = denominator.probability(simd);
            let finish = Recompute::new(simd, denominator.shift, false, finish);
            write(simd, row, &finish);
        }
    }

    #[inline(always)]
    fn normalizer<S: Simd, R: SrcDst>(&self, _: S, _: R) -> Normalizer {
        self.0.normalizer()
    }
}

/// The three loops of the textbook: the maximum; the weights, which are stored, and their sum; the
/// division.
pub(crate) struct ThreePass(Denominator);

/// What the weights of a row are relative to, and how large they are.
pub(crate) struct Plan<S: Simd> {
    maximum: f32,
    shift: Shift,
    /// More than any weight, for each lane.
    above: Group<S>,
    /// Whether some weight may be nothing, but for those of an incomplete last block.
    is_clamped: bool,
}

/// The sum of the weights of a row, in parts.
pub(crate) struct ExpSums<S: Simd> {
    maximum: f32,
    shift: Shift,
    /// The last part, and in `f64` those before it.
    sum: CompensatedSum<S>,
    totals: [f64; LANES],
    is_empty: bool,
}

impl Algorithm for ThreePass {
    const USES_SCRATCH: bool = true;

    type Scan<S: Simd> = Extremes<S>;
    type Plan<S: Simd> = Plan<S>;
    type Sums<S: Simd> = ExpSums<S>;

    #[inline(always)]
    fn scan<S: Simd, L: Source>(simd: S, logits: L) -> Extremes<S> {
        Extremes::of(simd, logits)
    }

    #[inline(always)]
    fn plan<S: Simd>(simd: S, scan: Extremes<S>, sink: Sink) -> Plan<S> {
        // Adding zero makes −0 into +0: which of the two is found first differs by backend.
        let maximum = largest(simd, &scan.maxima) + 0.0;
        let largest = maximum.max(sink.logit);
        let shift = Shift::of(if largest > f32::NEG_INFINITY {
            largest
        } else {
            0.0
        });
        let lanes = shift.splat(simd);
        let is_clamped = shift.offset != 0.0 || lanes.lowest.gt_mask(scan.least) != 0;
        let mut above = scan.maxima;
        for maxima in above.as_mut() {
            // Twice a power of two is more than the weight.
            let power = lanes.exp_scaled(*maxima - simd.splat(shift.offset)).power;
            *maxima = power + power;
        }
        Plan {
            maximum,
            shift,
            above,
            is_clamped,
        }
    }

    #[inline(always)]
    fn sum<S: Simd, R: SrcDst>(simd: S, row: R, plan: Plan<S>, ahead: usize) -> ExpSums<S> {
        let mut sums = ExpSums {
            maximum: plan.maximum,
            shift: plan.shift,
            sum: CompensatedSum::new(simd),
            totals: [0.0; LANES],
            is_empty: row.len() == 0,
        };
        if plan.maximum == f32::INFINITY {
            if has_nan(simd, row.logits()) {
                sums.totals = [f64::NAN; LANES];
            }
        } else {
            exp_scaled(simd, row, &plan, &mut sums, ahead);
        }
        sums
    }

    #[inline(always)]
    fn new<S: Simd>(simd: S, mut sums: ExpSums<S>, sink: Sink) -> Self {
        sums.sum.flush(&mut sums.totals);
        let mut denominator = Denominator {
            maximum: sums.maximum,
            max_term: 0.0,
            max_term_rounded: 0.0,
            other_terms: total(sums.totals),
            sink_term: 0.0,
            shift: sums.shift,
            is_empty: sums.is_empty,
            sink,
        };
        if denominator.maximum != f32::INFINITY {
            denominator.exp_max_term(simd);
            denominator.other_terms -= denominator.max_term;
        }
        ThreePass(denominator)
    }

    #[inline(always)]
    fn write<S: Simd, R: SrcDst>(&self, simd: S, row: R) {
        let mut denominator = self.0;
        let (shift, are_weights) = (denominator.shift, R::HAS_SCRATCH);
        let row = row.stored();
        let weights = Weights {
            loaded: row.logits(),
            shift,
            are_stored: are_weights,
        };
        if !denominator.is_finite() {
            write(simd, row, &denominator.fallback(simd));
        } else if denominator.is_round(simd, weights, denominator.max_term_rounded, 0.0) {
            let finish = denominator.exact_max(simd);
            let finish = Recompute::new(simd, shift, are_weights, finish);
            write(simd, row, &finish);
        } else {
            let finish = denominator.probability(simd);
            let finish = Recompute::new(simd, shift, are_weights, finish);
            write(simd, row, &finish);
        }
    }

    /// Where the maximum is nearly all of the sum, the rest is summed anew without it: the sum is
    /// not precise enough to find so small a difference in it.
    #[inline(always)]
    fn normalizer<S: Simd, R: SrcDst>(&self, simd: S, row: R) -> Normalizer {
        let mut denominator = self.0;
        if denominator.is_finite() && denominator.other_terms < 1e-3 * denominator.max_term {
            let row = row.stored();
            let weights = Weights {
                loaded: row.logits(),
                shift: denominator.shift,
                are_stored: R::HAS_SCRATCH,
            };
            denominator.other_terms = sum_of_others(simd, weights, denominator.max_term_rounded);
        }
        denominator.normalizer()
    }
}

/// The sum of stored weights other than `max_term`.
#[inline(always)]
fn sum_of_others<S: Simd, L: Source>(simd: S, weights: L, max_term: f32) -> f64 {
    let (max_term, zero) = (simd.splat(max_term), simd.splat(0.0));
    let mut totals = [0.0; LANES];
    for register in 0..weights.len().div_ceil(S::Vector::WIDTH) {
        let start = register * S::Vector::WIDTH;
        // Past the end −∞ is loaded.
        let weights = weights.load(simd, start).max_keep_nan(zero);
        let (others, _) = weights.select_eq(weights, max_term, zero);
        others.add_to(totals.get_mut(start % LANES..).unwrap_or(&mut []));
    }
    total(totals)
}

/// How many values are `value`, if all others are `masked`.
#[inline(always)]
fn count_if_constant<S: Simd, L: Source>(
    simd: S,
    row: L,
    value: f32,
    masked: f32,
) -> Option<usize> {
    let (values, masks) = (simd.splat(value), simd.splat(masked));
    let mut count = 0;
    for register in 0..row.len().div_ceil(S::Vector::WIDTH) {
        let start = register * S::Vector::WIDTH;
        let lanes = row.load(simd, start);
        let (others, equal) = lanes.select_eq(lanes, values, masks);
        let (_, all) = others.select_eq(others, masks, masks);
        let width = S::Vector::WIDTH.min(row.len() - start);
        if width == S::Vector::WIDTH {
            if all as usize != width {
                return None;
            }
            count += equal as usize;
        } else {
            // Past the end there may be anything.
            let mut last = [0.0; LANES];
            lanes.store(&mut last);
            for lane in last.iter().take(width) {
                if *lane == value {
                    count += 1;
                } else if *lane != masked {
                    return None;
                }
            }
        }
    }
    Some(count)
}

/// What the first pass finds in a row.
pub(crate) struct Extremes<S: Simd> {
    /// The maxima of the lanes; −∞ where there is none.
    maxima: Group<S>,
    /// No logit of a whole block is less than the least of these. With a NaN among them it may be
    /// anything.
    least: S::Vector,
}

impl<S: Simd> Extremes<S> {
    #[inline(always)]
    fn of<L: Source>(simd: S, logits: L) -> Self {
        let mut extremes = Extremes::<S> {
            maxima: simd.splat(f32::NEG_INFINITY).group(),
            least: simd.splat(f32::INFINITY),
        };
        let is_far = logits.len() > OVERLAPPED;
        let mut unread = logits;
        let last = loop {
            match unread.split_at(BLOCK) {
                Ok((block, others)) => {
                    if is_far {
                        for line in 0..BLOCK / LINE {
                            block.prefetch(simd, AHEAD + line * LINE);
                        }
                    }
                    extremes.least = extremes.least.min_max(extremes.raise(simd, block)).0;
                    unread = others;
                }
                Err(last) => break last,
            }
        };
        if last.len() > 0 {
            extremes.raise(simd, last);
        }
        extremes
    }

    /// Returns the least of the block, by lanes.
    #[inline(always)]
    fn raise<L: Source>(&mut self, simd: S, block: L) -> S::Vector {
        let groups = groups_of(block);
        let mut lowest = simd.splat(f32::INFINITY);
        for (register, maximum) in self.maxima.as_mut().iter_mut().enumerate() {
            let start = register * S::Vector::WIDTH;
            let mut highest = [*maximum; BLOCK / LANES];
            for (highest, group) in highest.iter_mut().zip(groups) {
                if start < group.len() {
                    *highest = group.load(simd, start);
                }
            }
            let [a, b, c, d] = highest;
            let ((less, more), (other_less, other_more)) = (a.min_max(b), c.min_max(d));
            (_, *maximum) = maximum.min_max(more.min_max(other_more).1);
            (lowest, _) = lowest.min_max(less.min_max(other_less).0);
        }
        lowest
    }
}

/// By its bits: LLVM 22 cannot compile a vectorised comparison with itself for wasm's simd128.
#[inline(always)]
fn is_nan(value: &f32) -> bool {
    value.to_bits() & 0x7FFF_FFFF > 0x7F80_0000
}

#[inline(always)]
fn has_nan<S: Simd, L: Source>(simd: S, logits: L) -> bool {
    for register in 0..logits.len().div_ceil(S::Vector::WIDTH) {
        let mut values = [0.0; LANES];
        logits
            .load(simd, register * S::Vector::WIDTH)
            .store(&mut values);
        if values.iter().any(is_nan) {
            return true;
        }
    }
    false
}

/// Stores the weights of a row and sums them.
#[inline(always)]
fn exp_scaled<S: Simd, R: SrcDst>(
    simd: S,
    mut row: R,
    plan: &Plan<S>,
    sums: &mut ExpSums<S>,
    ahead: usize,
) {
    if row.len() >= SUMMED {
        let mut totals = [0.0; LANES];
        row = simd.vectorize(ExpSumSlices {
            row,
            plan,
            ahead,
            totals: &mut totals,
        });
        sums.totals = totals;
    }
    let part = row;
    sums.sum = simd.vectorize(ExpSum { part, plan, ahead });
}

/// Weighs the parts of a row that have [`SUMMED`] logits; returns what is left.
struct ExpSumSlices<'a, S: Simd, R> {
    row: R,
    plan: &'a Plan<S>,
    ahead: usize,
    totals: &'a mut [f64; LANES],
}

impl<S: Simd, R: SrcDst> SimdFnOnce<S> for ExpSumSlices<'_, S, R> {
    type Output = R;

    #[inline(always)]
    fn run(self, simd: S) -> R {
        let ExpSumSlices {
            mut row,
            plan,
            ahead,
            totals,
        } = self;
        let lanes = plan.shift.splat(simd);
        loop {
            match row.split_at(SUMMED) {
                Ok((part, others)) => {
                    let (_, sum) = plan.exp_sum_blocks(simd, part, &lanes, ahead);
                    sum.remove_bias(&plan.above).flush(totals);
                    row = others;
                }
                Err(last) => return last,
            }
        }
    }
}

/// Weighs fewer than [`SUMMED`] logits.
struct ExpSum<'a, S: Simd, R> {
    part: R,
    plan: &'a Plan<S>,
    ahead: usize,
}

impl<S: Simd, R: SrcDst> SimdFnOnce<S> for ExpSum<'_, S, R> {
    type Output = CompensatedSum<S>;

    #[inline(always)]
    fn run(self, simd: S) -> CompensatedSum<S> {
        let ExpSum { part, plan, ahead } = self;
        let lanes = plan.shift.splat(simd);
        let (last, sum) = plan.exp_sum_blocks(simd, part, &lanes, ahead);
        // Two registers at a time: few of what is left is past the end then.
        let offset = simd.splat(plan.shift.offset);
        exp_sum_block::<true, 2, S, R>(last, &lanes.unrolled(), offset, sum)
            .remove_bias(&plan.above)
    }
}

impl<S: Simd> Plan<S> {
    /// The whole blocks of a row; returns what is left, and a sum that began [above](Sum::above).
    #[inline(always)]
    fn exp_sum_blocks<R: SrcDst>(
        &self,
        simd: S,
        row: R,
        lanes: &ExpConstants<S::Vector>,
        ahead: usize,
    ) -> (R, CompensatedSum<S>) {
        let offset = simd.splat(self.shift.offset);
        let sum = CompensatedSum::above(simd, &self.above);
        match (self.is_clamped, S::UNROLL) {
            (true, _) => exp_sum_blocks::<true, 4, S, R>(row, lanes, offset, sum, ahead),
            (false, 8) => exp_sum_blocks::<false, 8, S, R>(row, lanes, offset, sum, ahead),
            (false, _) => exp_sum_blocks::<false, 4, S, R>(row, lanes, offset, sum, ahead),
        }
    }
}

/// The whole blocks of a row; returns what is left. The sum is moved, so that it is in registers
/// here whatever becomes of it elsewhere.
#[inline(always)]
fn exp_sum_blocks<const CLAMPED: bool, const UNROLL: usize, S: Simd, R: SrcDst>(
    mut row: R,
    lanes: &ExpConstants<S::Vector>,
    offset: S::Vector,
    mut sum: CompensatedSum<S>,
    ahead: usize,
) -> (R, CompensatedSum<S>) {
    let lanes = lanes.unrolled::<UNROLL>();
    loop {
        match row.split_at(BLOCK) {
            Ok((block, others)) => {
                if ahead > 0 {
                    for line in 0..BLOCK / LINE {
                        block.prefetch(sum.simd, ahead + line * LINE);
                    }
                }
                sum = exp_sum_block::<CLAMPED, UNROLL, S, R>(block, &lanes, offset, sum);
                row = others;
            }
            Err(last) => return (last, sum),
        }
    }
}

/// A block, or what is left of one. Past the end −∞ is weighed, which changes no sum.
#[inline(always)]
fn exp_sum_block<const CLAMPED: bool, const UNROLL: usize, S: Simd, R: SrcDst>(
    mut block: R,
    lanes: &ExpConstants<Unrolled<S::Vector, UNROLL>>,
    offset: S::Vector,
    mut sum: CompensatedSum<S>,
) -> CompensatedSum<S> {
    for step in 0..BLOCK / S::Vector::WIDTH / UNROLL {
        let first = step * UNROLL;
        if first * S::Vector::WIDTH >= block.len() {
            break;
        }
        let empty = sum.simd.splat(f32::NEG_INFINITY);
        let mut logits = Unrolled([empty; UNROLL]);
        for (i, logits) in logits.0.iter_mut().enumerate() {
            let start = (first + i) * S::Vector::WIDTH;
            if start < block.len() {
                let loaded = block.logits().load(sum.simd, start);
                *logits = if CLAMPED { loaded - offset } else { loaded };
            }
        }
        let weights = if CLAMPED {
            lanes.exp_scaled(logits)
        } else {
            lanes.exp_scaled_in_range(logits)
        };
        let values = weights.value();
        for i in 0..UNROLL {
            let (power, excess) = (weights.power.0[i], weights.excess.0[i]);
            sum.add((first + i) % S::REGISTERS, ScaledExp { power, excess });
            let start = (first + i) * S::Vector::WIDTH;
            if R::HAS_SCRATCH && start < block.len() {
                block.store(start, values.0[i]);
            }
        }
    }
    sum
}

/// The log-softmax: the recurrence reads the row, the second pass subtracts.
pub(crate) struct LogSoftmax(Normalizer, Sink);

impl Algorithm for LogSoftmax {
    type Scan<S: Simd> = ();
    type Plan<S: Simd> = ();
    type Sums<S: Simd> = Denominator;

    #[inline(always)]
    fn scan<S: Simd, L: Source>(_: S, _: L) {}

    #[inline(always)]
    fn plan<S: Simd>(_: S, (): (), _: Sink) {}

    #[inline(always)]
    fn sum<S: Simd, R: SrcDst>(simd: S, row: R, (): (), _: usize) -> Denominator {
        denominator(simd, row.logits())
    }

    #[inline(always)]
    fn new<S: Simd>(_: S, denominator: Denominator, sink: Sink) -> Self {
        LogSoftmax(sink.with_sink(denominator.normalizer()), sink)
    }

    #[inline(always)]
    fn write<S: Simd, R: SrcDst>(&self, simd: S, row: R) {
        if self.0.outcome() == Outcome::Finite {
            let log_probability = LogProbability {
                maximum: simd.splat(self.0.max()),
                log_denominator: simd.splat(self.0.log_denominator() as f32),
            };
            write(simd, row, &log_probability);
        } else {
            let is_fully_masked = self.0.outcome() == Outcome::FullyMasked;
            let fallback = self.1.fallback(is_fully_masked);
            write(simd, row, &Constant(simd.splat(fallback)));
        }
    }

    #[inline(always)]
    fn normalizer<S: Simd, R: SrcDst>(&self, _: S, _: R) -> Normalizer {
        self.0
    }
}

/// e^x of each argument, x ≤ 0; greater x counts as 0.
#[inline(always)]
pub(crate) fn exponential<S: Simd, R: SrcDst>(simd: S, row: R) {
    write(simd, row, &Exponential::new(simd));
}

#[derive(Clone, Copy)]
pub(crate) struct Exponential<V> {
    lanes: ExpConstants<V>,
    unit: V,
    zero: V,
}

impl<V: Vector> Exponential<V> {
    #[inline(always)]
    pub(crate) fn new<S: Simd<Vector = V>>(simd: S) -> Self {
        Exponential {
            lanes: Shift::unit().splat(simd),
            unit: simd.splat(Shift::UNIT),
            zero: simd.splat(0.0),
        }
    }

    #[inline(always)]
    pub(crate) fn of(&self, arguments: V) -> V {
        // 0 − max(0 − x, 0) is min(x, 0) and keeps a NaN.
        let arguments = self.zero - (self.zero - arguments).max_keep_nan(self.zero);
        self.lanes.exp_scaled(arguments).value() * self.unit
    }
}

impl<V: Vector> Epilogue<V> for Exponential<V> {
    #[inline(always)]
    fn finish(&self, arguments: V) -> V {
        self.of(arguments)
    }
}

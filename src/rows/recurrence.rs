//! The online recurrence: maximum and denominator from one read.

use super::denominator::Denominator;
use super::other_terms::has_nan;
use super::schedule::{BLOCK, SLICE};
use crate::math::compensated_sum::CompensatedSum;
use crate::math::exp::ExpConstants;
use crate::math::reduce::{is_nan, larger, largest, largest_lane, reduce, total};
use crate::math::shift::{RESCALE_THRESHOLD, Shift};
use crate::normalizer::Normalizer;
use crate::simd::scalar::add_nonzero;
use crate::simd::{
    Group, LANES, Simd, Unrolled, Vector, WithSimd, load_group, store_group, unroll,
};
use crate::source::Source;

/// The recurrence between two reads: what a stream keeps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RecurrenceState {
    /// The largest logit that each lane has seen.
    maxima: [f32; LANES],
    /// In each lane the sum of the numerators of all its other logits, without the current slice.
    other_terms: [f64; LANES],
    /// The sum of the current slice, rounded.
    high: [f32; LANES],
    /// What rounding left out of `high`.
    low: [f32; LANES],
    /// Blocks in the current slice.
    blocks_in_slice: usize,
    /// Lanes that have seen a logit.
    lanes: usize,
    shift: Shift,
    /// The largest logit that `shift` holds for. −∞ before the first finite logit and after +∞:
    /// then every block is checked.
    limit: f32,
}

impl RecurrenceState {
    pub(crate) fn new() -> Self {
        RecurrenceState {
            maxima: [f32::NEG_INFINITY; LANES],
            other_terms: [0.0; LANES],
            high: [0.0; LANES],
            low: [0.0; LANES],
            blocks_in_slice: 0,
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
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn read<S: Simd, L: Source>(&mut self, simd: S, logits: L) {
        let mut running = Registers::load(simd, self);
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
        *self = running.store();
    }

    /// Merges the lanes: every maximum but the largest joins the other terms.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn finish<S: Simd>(&self, simd: S) -> Denominator {
        // Adding zero makes −0 into +0: which zero is kept differs by backend.
        let maximum = reduce(self.maxima, larger) + 0.0;
        let other_terms = self.total_other_terms();
        let mut denominator = Denominator {
            max: maximum,
            max_term: 0.0,
            max_term_rest: 0.0,
            other_terms: total(other_terms),
            shift: self.shift,
            is_empty: self.lanes == 0,
        };
        if maximum == f32::INFINITY {
            if self.maxima.iter().any(is_nan) {
                denominator.other_terms = f64::NAN;
            }
            return denominator;
        }

        let shift = self.shift.constants(simd);
        let offset = simd.splat(self.shift.offset);
        denominator.exp_max(simd);
        let mut sum = CompensatedSum::new(simd);
        let mut equal_lanes = 0;
        for register in 0..self.lanes.div_ceil(S::Vector::WIDTH) {
            let start = register * S::Vector::WIDTH;
            let maxima = (&self.maxima[..]).load(simd, start);
            let (others, equal) =
                maxima.select_eq(maxima, simd.splat(maximum), simd.splat(f32::NEG_INFINITY));
            sum.add(register, shift.exp_precise(others - offset));
            equal_lanes += equal;
        }
        let mut totals = other_terms;
        sum.flush(&mut totals);
        denominator.other_terms =
            total(totals) + (f64::from(equal_lanes) - 1.0) * denominator.max_term;
        denominator
    }

    /// The sum of the numerators of all but the maximum of each lane.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn total_other_terms(&self) -> [f64; LANES] {
        let mut other_terms = self.other_terms;
        for ((other_terms, sum), low) in other_terms.iter_mut().zip(self.high).zip(self.low) {
            add_nonzero(other_terms, sum);
            add_nonzero(other_terms, low);
        }
        other_terms
    }
}

/// The recurrence with its lanes in registers.
struct Registers<S: Simd> {
    simd: S,
    maxima: Group<S>,
    other_terms: [f64; LANES],
    sum: CompensatedSum<S>,
    /// Blocks in `sum`.
    blocks_in_slice: usize,
    lanes: usize,
    shift: Shift,
    offset: S::Vector,
    constants: ExpConstants<S::Vector>,
    limit: f32,
}

impl<S: Simd> Registers<S> {
    #[cfg_attr(not(unoptimized), inline(always))]
    fn load(simd: S, state: &RecurrenceState) -> Self {
        Registers {
            simd,
            maxima: load_group(simd, &state.maxima),
            other_terms: state.other_terms,
            sum: CompensatedSum::from_parts(
                load_group(simd, &state.high),
                load_group(simd, &state.low),
            ),
            blocks_in_slice: state.blocks_in_slice,
            lanes: state.lanes,
            shift: state.shift,
            offset: simd.splat(state.shift.offset),
            constants: state.shift.constants(simd),
            limit: state.limit,
        }
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn store(&self) -> RecurrenceState {
        RecurrenceState {
            maxima: store_group::<S>(&self.maxima),
            other_terms: self.other_terms,
            high: store_group::<S>(&self.sum.high),
            low: store_group::<S>(&self.sum.low),
            blocks_in_slice: self.blocks_in_slice,
            lanes: self.lanes,
            shift: self.shift,
            limit: self.limit,
        }
    }

    /// The first group of a row: its logits are the maxima of the lanes, and there are no other
    /// terms.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn start<L: Source>(&mut self, group: L) {
        for (lane, maxima) in self.maxima.as_mut().iter_mut().enumerate() {
            if lane * S::Vector::WIDTH < group.len() {
                *maxima = group.load(self.simd, lane * S::Vector::WIDTH);
            }
        }
        self.lanes = group.len();
        let maximum = largest(self.simd, &self.maxima);
        if !maximum.is_infinite() {
            self.use_shift(Shift::of(maximum), maximum);
        }
    }

    #[cfg_attr(not(unoptimized), inline(always))]
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
        match S::UNROLL {
            8 => self.steps::<8, L>(block),
            4 => self.steps::<4, L>(block),
            _ => self.steps::<1, L>(block),
        }
        self.blocks_in_slice += 1;
        if self.blocks_in_slice == SLICE / BLOCK {
            self.sum.flush(&mut self.other_terms);
            self.sum = CompensatedSum::new(self.simd);
            self.blocks_in_slice = 0;
        }
    }

    /// The steps of the recurrence in every lane. Past the end logits count as −∞, which changes
    /// nothing.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn steps<const UNROLL: usize, L: Source>(&mut self, block: L) {
        let constants = self.constants.unrolled::<UNROLL>();
        for step in 0..BLOCK / S::Vector::WIDTH / UNROLL {
            let first = step * UNROLL;
            if first * S::Vector::WIDTH >= block.len() {
                break;
            }
            let mut smaller = Unrolled::<_, UNROLL>::splat(self.simd.splat(f32::NEG_INFINITY));
            unroll::<UNROLL>(
                #[inline(always)]
                |i| {
                    let start = (first + i) * S::Vector::WIDTH;
                    let maximum = self.maxima.as_mut().get_mut((first + i) % S::REGISTERS);
                    if let (true, Some(maximum)) = (start < block.len(), maximum) {
                        let (less, more) = maximum.min_max(block.load(self.simd, start));
                        *maximum = more;
                        smaller.0[i] = less - self.offset;
                    }
                },
            );
            let numerators = constants.exp_precise(smaller);
            unroll::<UNROLL>(
                #[inline(always)]
                |i| {
                    let register = (first + i) % S::REGISTERS;
                    self.sum.add(register, numerators.register(i));
                },
            );
        }
    }

    /// Raises the shift for a block with a logit above the limit. Returns false if the maximum is
    /// +∞. Then only a NaN can still change the result.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn raise_shift<L: Source>(&mut self, block: L) -> bool {
        if self.is_infinite() {
            if has_nan(self.simd, block) {
                self.other_terms = [f64::NAN; LANES];
            }
            return false;
        }
        self.sum.flush(&mut self.other_terms);
        self.sum = CompensatedSum::new(self.simd);
        self.blocks_in_slice = 0;
        // Rare, so in a function of its own. It gets copies: a reference to a part of `self` would
        // keep all of it in memory.
        let (shift, maxima, mut other_terms) = (self.shift, self.maxima, self.other_terms);
        let terms = &mut other_terms;
        let maximum = self.simd.vectorize(
            #[inline(always)]
            move |simd| rescale_to_block(simd, block, &maxima, shift, terms),
        );
        self.other_terms = other_terms;
        if maximum == f32::INFINITY {
            self.maxima = self.simd.group(self.simd.splat(maximum));
            self.limit = f32::NEG_INFINITY;
            return false;
        }
        self.use_shift(Shift::of(maximum), maximum);
        true
    }

    /// Whether +∞ was found by [`raise_shift`](Self::raise_shift).
    #[cfg_attr(not(unoptimized), inline(always))]
    fn is_infinite(&self) -> bool {
        let largest_finite = self.simd.splat(f32::MAX);
        let all_lanes = u32::MAX >> (u32::BITS as usize - S::Vector::WIDTH);
        let mut maxima = self.maxima.as_ref().iter();
        maxima.all(|maxima| maxima.gt_mask(largest_finite) == all_lanes)
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn use_shift(&mut self, shift: Shift, maximum: f32) {
        self.shift = shift;
        self.offset = self.simd.splat(shift.offset);
        self.constants = shift.constants(self.simd);
        self.limit = maximum + RESCALE_THRESHOLD;
    }
}

/// Rescales sums to the shift of the largest logit so far, the block included. Returns that logit.
/// If it is +∞, the sums become NaN if a logit is NaN.
#[cfg_attr(not(unoptimized), inline(always))]
fn rescale_to_block<S: Simd, L: Source>(
    simd: S,
    block: L,
    maxima: &Group<S>,
    shift: Shift,
    other_terms: &mut [f64; LANES],
) -> f32 {
    // The least of the negated logits, as a minimum can drop a NaN.
    let zero = simd.splat(0.0);
    let mut lowest = simd.splat(f32::INFINITY);
    for maxima in maxima.as_ref() {
        lowest = (zero - *maxima).min_drop_nan(lowest);
    }
    for register in 0..block.len().div_ceil(S::Vector::WIDTH) {
        let logits = block.load(simd, register * S::Vector::WIDTH);
        lowest = (zero - logits).min_drop_nan(lowest);
    }
    let maximum = largest_lane(zero - lowest);
    if maximum == f32::INFINITY {
        if has_nan(simd, block) || store_group::<S>(maxima).iter().any(is_nan) {
            *other_terms = [f64::NAN; LANES];
        }
        return maximum;
    }
    let factor = shift.rescale_factor(Shift::of(maximum));
    for other_terms in other_terms {
        // Before the first finite logit there are none, and the factor may be infinite. None is −0.
        if other_terms.to_bits() != 0 {
            *other_terms *= factor;
        }
    }
    maximum
}

/// The groups of a block; of a short one the last are short or empty.
#[cfg_attr(not(unoptimized), inline(always))]
pub(super) fn groups_of<L: Source>(block: L) -> [L; BLOCK / LANES] {
    let (first, others) = block.split_group();
    let (second, others) = others.split_group();
    let (third, fourth) = others.split_group();
    [first, second, third, fourth]
}

#[cfg_attr(not(unoptimized), inline(always))]
pub(super) fn denominator<S: Simd, L: Source>(simd: S, logits: L) -> Denominator {
    let mut state = RecurrenceState::new();
    state.read(simd, logits);
    state.finish(simd)
}

/// Takes more logits into a state.
pub(crate) struct Extend<'a, L> {
    pub(crate) state: &'a mut RecurrenceState,
    pub(crate) logits: L,
}

impl<L: Source> WithSimd for Extend<'_, L> {
    type Output = ();

    #[cfg_attr(not(unoptimized), inline(always))]
    fn with_simd<S: Simd>(self, simd: S) {
        self.state.read(simd, self.logits);
    }
}

/// The normalizer of a state and the last logits of its row.
pub(crate) struct FinishWith<'a> {
    pub(crate) state: &'a RecurrenceState,
    pub(crate) last: &'a [f32],
}

impl WithSimd for FinishWith<'_> {
    type Output = Normalizer;

    #[cfg_attr(not(unoptimized), inline(always))]
    fn with_simd<S: Simd>(self, simd: S) -> Normalizer {
        let mut state = *self.state;
        if !self.last.is_empty() {
            state.read(simd, self.last);
        }
        state.finish(simd).normalizer()
    }
}

/// The normalizer of a row.
pub(crate) struct NormalizerOf<L>(pub(crate) L);

impl<L: Source> WithSimd for NormalizerOf<L> {
    type Output = Normalizer;

    #[cfg_attr(not(unoptimized), inline(always))]
    fn with_simd<S: Simd>(self, simd: S) -> Normalizer {
        denominator(simd, self.0).normalizer()
    }
}

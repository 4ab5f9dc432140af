//! Rows that a cache holds, in the three loops of the textbook: the maximum; the numerators, which
//! are stored, and their sum; the division.

use super::algorithm::Algorithm;
use super::denominator::Denominator;
use super::normalize::Numerators;
use super::recurrence::groups_of;
use super::schedule::{AHEAD, BLOCK, OVERLAPPED, SUMMED};
use crate::math::compensated_sum::CompensatedSum;
use crate::math::exp::ExpConstants;
use crate::math::reduce::{is_nan, largest, total};
use crate::math::shift::Shift;
use crate::normalizer::Normalizer;
use crate::options::Sink;
use crate::simd::{Group, LANES, Lanewise, Simd, Unrolled, Vector, unroll};
use crate::source::{LINE, Source, SrcDst};

pub(crate) struct ThreePass(Denominator);

/// What the numerators of a row are relative to, and how large they can be.
pub(crate) struct ChosenShift<S: Simd> {
    max: f32,
    shift: Shift,
    /// In each lane a value larger than every numerator.
    bias: Group<S>,
    /// Whether whole blocks need the offset subtracted or low logits clamped. An incomplete last block is
    /// always clamped.
    is_clamped: bool,
}

/// The sum of the numerators of a row, in two parts.
pub(crate) struct ExpSums<S: Simd> {
    max: f32,
    shift: Shift,
    /// The last slice, and in `f64` those before it.
    sum: CompensatedSum<S>,
    totals: [f64; LANES],
    is_empty: bool,
}

impl Algorithm for ThreePass {
    type Maxima<S: Simd> = Extremes<S>;
    type Shift<S: Simd> = ChosenShift<S>;
    type Sums<S: Simd> = ExpSums<S>;

    #[cfg_attr(not(unoptimized), inline(always))]
    fn max_pass<S: Simd, L: Source>(simd: S, logits: L) -> Extremes<S> {
        Extremes::of(simd, logits)
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn choose_shift<S: Simd>(simd: S, extremes: Extremes<S>, sink: Sink) -> ChosenShift<S> {
        // Adding zero turns −0 into +0: which of the two is found first differs by backend.
        let max = largest(simd, &extremes.maxima) + 0.0;
        let largest = max.max(sink.logit);
        let shift = Shift::of(if largest > f32::NEG_INFINITY {
            largest
        } else {
            0.0
        });
        let constants = shift.constants(simd);
        let is_clamped = shift.offset != 0.0 || constants.clamps(extremes.least);
        let mut bias = extremes.maxima;
        for maxima in bias.as_mut() {
            // Twice the power of two is more than the numerator.
            let scale = constants
                .exp_scaled(*maxima - simd.splat(shift.offset))
                .scale;
            *maxima = scale + scale;
        }
        ChosenShift {
            max,
            shift,
            bias,
            is_clamped,
        }
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn exp_sum_pass<S: Simd, R: SrcDst>(
        simd: S,
        row: R,
        chosen: ChosenShift<S>,
        ahead: usize,
    ) -> ExpSums<S> {
        let mut sums = ExpSums {
            max: chosen.max,
            shift: chosen.shift,
            sum: CompensatedSum::new(simd),
            totals: [0.0; LANES],
            is_empty: row.len() == 0,
        };
        if chosen.max == f32::INFINITY {
            if has_nan(simd, row.logits()) {
                sums.totals = [f64::NAN; LANES];
            }
        } else {
            chosen.exp_sum(simd, row, &mut sums, ahead);
        }
        sums
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn finish<S: Simd>(simd: S, mut sums: ExpSums<S>, sink: Sink) -> Self {
        sums.sum.flush(&mut sums.totals);
        let all_terms = total(sums.totals);
        let mut denominator =
            Denominator::new(sums.max, all_terms, sums.shift, sums.is_empty, sink);
        if denominator.max != f32::INFINITY {
            denominator.exp_max_and_sink(simd);
            denominator.other_terms -= denominator.max_term;
        }
        ThreePass(denominator)
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn normalize_pass<S: Simd, R: SrcDst>(&self, simd: S, row: R) {
        let denominator = self.0;
        let row = row.last_pass();
        let numerators = self.numerators(row.logits(), R::HAS_SCRATCH);
        let max_term = denominator.max_term_rounded;
        let equal_terms = denominator.equal_terms(simd, numerators, max_term, 0.0);
        denominator.normalize(simd, row, R::HAS_SCRATCH, equal_terms);
    }

    /// Where the maximum's term is nearly all of the sum, the others are summed again without it: the
    /// sum is not precise enough to find so small a difference in it.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn normalizer<S: Simd, R: SrcDst>(&self, simd: S, row: R) -> Normalizer {
        let mut denominator = self.0;
        if denominator.is_finite() && denominator.other_terms < 1e-3 * denominator.max_term {
            let row = row.last_pass();
            let numerators = self.numerators(row.logits(), R::HAS_SCRATCH);
            denominator.other_terms = sum_of_others(simd, numerators, denominator.max_term_rounded);
        }
        denominator.normalizer()
    }
}

impl ThreePass {
    /// What the last pass loads, as numerators.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn numerators<L: Source>(&self, loaded: L, are_stored: bool) -> Numerators<L> {
        Numerators {
            loaded,
            shift: self.0.shift,
            are_stored,
        }
    }
}

/// The sum of the numerators other than `max_term`.
#[cfg_attr(not(unoptimized), inline(always))]
fn sum_of_others<S: Simd, L: Source>(simd: S, numerators: L, max_term: f32) -> f64 {
    let (max_term, zero) = (simd.splat(max_term), simd.splat(0.0));
    let mut totals = [0.0; LANES];
    for register in 0..numerators.len().div_ceil(S::Vector::WIDTH) {
        let start = register * S::Vector::WIDTH;
        // Past the end −∞ is loaded.
        let numerators = numerators.load(simd, start).max_keep_nan(zero);
        let (others, _) = numerators.select_eq(numerators, max_term, zero);
        others.add_to(totals.get_mut(start % LANES..).unwrap_or(&mut []));
    }
    total(totals)
}

/// What the first pass finds in a row.
pub(crate) struct Extremes<S: Simd> {
    /// The maximum of each lane; −∞ where there is none.
    maxima: Group<S>,
    /// The smallest lane is at most every logit of the whole blocks. Meaningless if a logit is NaN.
    least: S::Vector,
}

impl<S: Simd> Extremes<S> {
    #[cfg_attr(not(unoptimized), inline(always))]
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

    /// Raises the maxima by a block. Returns the least logits of the block, by lanes.
    #[cfg_attr(not(unoptimized), inline(always))]
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

#[cfg_attr(not(unoptimized), inline(always))]
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

impl<S: Simd> ChosenShift<S> {
    /// Stores the numerators of a row and sums them: slices of [`SUMMED`] logits, then the rest.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn exp_sum<R: SrcDst>(&self, simd: S, mut row: R, sums: &mut ExpSums<S>, ahead: usize) {
        if row.len() >= SUMMED {
            let totals = &mut sums.totals;
            row = simd.vectorize(
                #[inline(always)]
                move |simd| self.exp_sum_slices(simd, row, totals, ahead),
            );
        }
        sums.sum = simd.vectorize(
            #[inline(always)]
            move |simd| self.exp_sum_rest(simd, row, ahead),
        );
    }

    /// The slices of a row. Returns what is left.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn exp_sum_slices<R: SrcDst>(
        &self,
        simd: S,
        mut row: R,
        totals: &mut [f64; LANES],
        ahead: usize,
    ) -> R {
        let constants = self.shift.constants(simd);
        let mut sums = [0.0; LANES];
        let rest = loop {
            match row.split_at(SUMMED) {
                Ok((slice, others)) => {
                    let (_, sum) = self.exp_sum_blocks(simd, slice, &constants, ahead);
                    sum.remove_bias(&self.bias).flush(&mut sums);
                    row = others;
                }
                Err(rest) => break rest,
            }
        };
        *totals = sums;
        rest
    }

    /// Fewer than [`SUMMED`] logits.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn exp_sum_rest<R: SrcDst>(&self, simd: S, row: R, ahead: usize) -> CompensatedSum<S> {
        let constants = self.shift.constants(simd);
        let (last, sum) = self.exp_sum_blocks(simd, row, &constants, ahead);
        // Two registers at a time, so that few lanes are past the end.
        let offset = simd.splat(self.shift.offset);
        exp_sum_block::<true, 2, S, R>(simd, last, &constants.unrolled(), offset, sum)
            .remove_bias(&self.bias)
    }

    /// The whole blocks of a row. Returns what is left, and a sum that has the bias.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn exp_sum_blocks<R: SrcDst>(
        &self,
        simd: S,
        row: R,
        constants: &ExpConstants<S::Vector>,
        ahead: usize,
    ) -> (R, CompensatedSum<S>) {
        let offset = simd.splat(self.shift.offset);
        let sum = CompensatedSum::with_bias(simd, &self.bias);
        match (self.is_clamped, S::UNROLL) {
            (true, _) => exp_sum_blocks::<true, 4, S, R>(simd, row, constants, offset, sum, ahead),
            (false, 8) => {
                exp_sum_blocks::<false, 8, S, R>(simd, row, constants, offset, sum, ahead)
            }
            (false, _) => {
                exp_sum_blocks::<false, 4, S, R>(simd, row, constants, offset, sum, ahead)
            }
        }
    }
}

/// The whole blocks of a row. Returns what is left. The sum is moved, so that it is in registers here
/// whatever holds it elsewhere.
#[cfg_attr(not(unoptimized), inline(always))]
fn exp_sum_blocks<const CLAMPED: bool, const UNROLL: usize, S: Simd, R: SrcDst>(
    simd: S,
    mut row: R,
    constants: &ExpConstants<S::Vector>,
    offset: S::Vector,
    mut sum: CompensatedSum<S>,
    ahead: usize,
) -> (R, CompensatedSum<S>) {
    let constants = constants.unrolled::<UNROLL>();
    loop {
        match row.split_at(BLOCK) {
            Ok((block, others)) => {
                if ahead > 0 {
                    for line in 0..BLOCK / LINE {
                        block.prefetch(simd, ahead + line * LINE);
                    }
                }
                sum = exp_sum_block::<CLAMPED, UNROLL, S, R>(simd, block, &constants, offset, sum);
                row = others;
            }
            Err(last) => return (last, sum),
        }
    }
}

/// A block, or what is left of one. Past the end the logits count as −∞, which changes no sum.
#[cfg_attr(not(unoptimized), inline(always))]
fn exp_sum_block<const CLAMPED: bool, const UNROLL: usize, S: Simd, R: SrcDst>(
    simd: S,
    mut block: R,
    constants: &ExpConstants<Unrolled<S::Vector, UNROLL>>,
    offset: S::Vector,
    mut sum: CompensatedSum<S>,
) -> CompensatedSum<S> {
    for step in 0..BLOCK / S::Vector::WIDTH / UNROLL {
        let first = step * UNROLL;
        if first * S::Vector::WIDTH >= block.len() {
            break;
        }
        let mut logits = Unrolled([simd.splat(f32::NEG_INFINITY); UNROLL]);
        unroll::<UNROLL>(
            #[inline(always)]
            |i| {
                let start = (first + i) * S::Vector::WIDTH;
                if start < block.len() {
                    let loaded = block.logits().load(simd, start);
                    logits.0[i] = if CLAMPED { loaded - offset } else { loaded };
                }
            },
        );
        let numerators = if CLAMPED {
            constants.exp_scaled(logits)
        } else {
            constants.exp_scaled_in_range(logits)
        };
        let values = numerators.value();
        unroll::<UNROLL>(
            #[inline(always)]
            |i| {
                sum.add((first + i) % S::REGISTERS, numerators.register(i));
                let start = (first + i) * S::Vector::WIDTH;
                if R::HAS_SCRATCH && start < block.len() {
                    block.store(start, values.0[i]);
                }
            },
        );
    }
    sum
}

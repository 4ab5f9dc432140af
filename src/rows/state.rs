//! What lies between the passes, for as many rows at once as a register has lanes: row i is lane i.

use super::schedule::LONGEST_EXACT;
use crate::math::exp::ScaledExp;
use crate::math::reduce::first_lane;
use crate::math::shift::RegisterShift;
use crate::math::two_float::TwoFloat;
use crate::options::Sink;
use crate::simd::{Simd, Vector, WIDEST, lanes_of};
use crate::source::Source;

/// Rows whose logits are all in this range have one shift. None of their numerators is clamped, and
/// none of their results is below 2^−120: e^−66 / 2^24 is above it.
const USUAL: core::ops::RangeInclusive<f32> = -42.0..=24.0;

/// What the first pass finds in rows.
#[derive(Clone, Copy)]
pub(super) struct Maxima<V> {
    /// The largest logit of each row.
    pub(super) max: V,
    /// Whether all logits are usual.
    pub(super) are_usual: bool,
}

/// The largest logit so far, by lanes; a NaN may be kept or lost, as a row that has one has a sum that
/// is NaN. And the least, also of other rows: a NaN hides at most what is in its own row.
#[derive(Clone, Copy)]
pub(super) struct Extremes<V> {
    pub(super) highest: V,
    pub(super) lowest: V,
    /// Unusual logits of an incomplete register, a bit for each.
    unusual: u32,
}

impl<V: Vector> Extremes<V> {
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn new<S: Simd<Vector = V>>(simd: S) -> Self {
        Extremes {
            highest: simd.splat(f32::NEG_INFINITY),
            lowest: simd.splat(f32::INFINITY),
            unusual: 0,
        }
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn add(&mut self, logits: V) {
        (_, self.highest) = self.highest.min_max(logits);
        self.lowest = logits.min_drop_nan(self.lowest);
    }

    /// Four registers.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn add_four(&mut self, [a, b, c, d]: [V; 4]) {
        let ((less, more), (other_less, other_more)) = (a.min_max(b), c.min_max(d));
        self.lowest = less.min_max(other_less).0.min_drop_nan(self.lowest);
        (_, self.highest) = self.highest.min_max(more.min_max(other_more).1);
    }

    /// The extremes of the next row: of the least logits of all rows, and the largest of this one.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn next_row<S: Simd<Vector = V>, L: Source>(self, simd: S, row: L) -> Self {
        let mut extremes = Extremes {
            highest: simd.splat(f32::NEG_INFINITY),
            ..self
        };
        let mut unread = row;
        while let Ok((block, others)) = unread.split_at(4 * V::WIDTH) {
            extremes.add_four([
                block.load(simd, 0),
                block.load(simd, V::WIDTH),
                block.load(simd, 2 * V::WIDTH),
                block.load(simd, 3 * V::WIDTH),
            ]);
            unread = others;
        }
        while let Ok((register, others)) = unread.split_at(V::WIDTH) {
            extremes.add(register.load(simd, 0));
            unread = others;
        }
        if unread.len() > 0 {
            match row.len().checked_sub(V::WIDTH) {
                // A logit may be added twice.
                Some(start) => extremes.add(row.load(simd, start)),
                None => extremes.add_first(simd, row.load(simd, 0), row.len()),
            }
        }
        extremes
    }

    /// The first `count` lanes of a register. The others are −∞.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn add_first<S: Simd<Vector = V>>(&mut self, simd: S, logits: V, count: usize) {
        (_, self.highest) = self.highest.min_max(logits);
        let lanes = !(u32::MAX << count);
        self.unusual |= (unusual_lanes(simd, logits, logits)) & lanes;
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn are_usual<S: Simd<Vector = V>>(&self, simd: S) -> bool {
        self.unusual | unusual_lanes(simd, self.lowest, self.highest) == 0
    }
}

/// The extremes of a row, by lanes.
#[cfg_attr(not(unoptimized), inline(always))]
pub(super) fn extremes_of<S: Simd, L: Source>(simd: S, row: L) -> Extremes<S::Vector> {
    Extremes::new(simd).next_row(simd, row)
}

/// A bit for each lane that is below or above the usual range.
#[cfg_attr(not(unoptimized), inline(always))]
fn unusual_lanes<S: Simd>(simd: S, lowest: S::Vector, highest: S::Vector) -> u32 {
    let (start, end) = (simd.splat(*USUAL.start()), simd.splat(*USUAL.end()));
    start.gt_mask(lowest) | highest.gt_mask(end)
}

/// The shifts of rows.
#[derive(Clone, Copy)]
pub(super) struct ShiftedMaxima<V> {
    pub(super) max: V,
    pub(super) shift: RegisterShift<V>,
    /// The numerators of the maxima.
    pub(super) max_term: ScaledExp<V>,
    pub(super) are_usual: bool,
}

impl<V: Vector> ShiftedMaxima<V> {
    /// `PRECISE` is for [`ExpConstants::exp_precise`](crate::math::exp::ExpConstants::exp_precise).
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn of<S: Simd<Vector = V>, const PRECISE: bool>(
        simd: S,
        maxima: &Maxima<V>,
        sink: Sink,
    ) -> Self {
        let are_usual = maxima.are_usual && sink.logit == f32::NEG_INFINITY;
        let shift = if are_usual {
            RegisterShift::unit(simd)
        } else {
            RegisterShift::of_row(simd, maxima.max.max_keep_nan(simd.splat(sink.logit)))
        };
        Self::under::<S, PRECISE>(simd, maxima.max, shift, are_usual)
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn under<S: Simd<Vector = V>, const PRECISE: bool>(
        simd: S,
        max: V,
        shift: RegisterShift<V>,
        are_usual: bool,
    ) -> Self {
        // Adding zero turns −0 into +0: which of the two is found first differs by backend.
        let max = max + simd.splat(0.0);
        let constants = shift.constants(simd);
        let max_term = if PRECISE {
            constants.exp_precise(max - shift.offset)
        } else {
            constants.exp_scaled(max - shift.offset)
        };
        ShiftedMaxima {
            max,
            shift,
            max_term,
            are_usual,
        }
    }

    /// Where the sums of rows begin.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn sum_start<S: Simd<Vector = V>>(&self, simd: S, columns: usize) -> V {
        self.max_term.scale * simd.splat(start_over_scale(columns))
    }
}

/// The start of a sum, divided by the scale of the largest numerator. The start is a power of two
/// above every numerator; with at most [`LONGEST_EXACT`] columns, above their sum. A numerator is
/// less than twice its scale.
#[cfg_attr(not(unoptimized), inline(always))]
pub(super) fn start_over_scale(columns: usize) -> f32 {
    if columns <= LONGEST_EXACT {
        2.0 * columns.next_power_of_two() as f32
    } else {
        2.0
    }
}

/// The maximum and the denominator of rows.
#[derive(Clone, Copy)]
pub(super) struct States<V> {
    pub(super) shifts: ShiftedMaxima<V>,
    /// The sum of the numerators, without the sink's.
    pub(super) sum: TwoFloat<V>,
}

/// The shift of one row.
#[derive(Clone, Copy)]
pub(super) struct RowShift {
    pub(super) offset: f32,
    pub(super) round: f32,
}

/// [`RowShift`] of each row.
pub(super) struct RowShifts {
    offset: [f32; WIDEST],
    round: [f32; WIDEST],
}

impl RowShifts {
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn of<V: Vector>(shift: &RegisterShift<V>) -> Self {
        RowShifts {
            offset: lanes_of(shift.offset),
            round: lanes_of(shift.round),
        }
    }

    /// That of row `index`, below [`WIDEST`].
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn row(&self, index: usize) -> RowShift {
        let index = index % WIDEST;
        RowShift {
            offset: self.offset[index],
            round: self.round[index],
        }
    }
}

impl RowShift {
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn of_first<V: Vector>(shift: &RegisterShift<V>) -> Self {
        RowShift {
            offset: first_lane(shift.offset),
            round: first_lane(shift.round),
        }
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn lanes<S: Simd>(&self, simd: S) -> RegisterShift<S::Vector> {
        RegisterShift {
            offset: simd.splat(self.offset),
            round: simd.splat(self.round),
        }
    }
}

impl<V: Vector> States<V> {
    /// The same row in every lane.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn of_one<S: Simd<Vector = V>>(
        simd: S,
        shifts: ShiftedMaxima<V>,
        sum: TwoFloat<f32>,
    ) -> Self {
        States {
            shifts,
            sum: TwoFloat {
                high: simd.splat(sum.high),
                low: simd.splat(sum.low),
            },
        }
    }

    /// The numerators of the maxima, exactly.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn max_term(&self) -> TwoFloat<V> {
        as_two_float(self.shifts.max_term)
    }

    /// The same for a logarithm. Where the other terms are so small that no other logit equals the
    /// maximum, the last rounding of the exponential is added; equal terms must have equal errors.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn max_term_beside<S: Simd<Vector = V>>(
        &self,
        simd: S,
        other_terms: &TwoFloat<V>,
    ) -> TwoFloat<V> {
        let shift = self.shifts.shift;
        let rest = shift
            .constants(simd)
            .rest_of_precise(self.shifts.max - shift.offset);
        let TwoFloat { high, low } = self.max_term();
        let half = high * simd.splat(0.5);
        TwoFloat {
            high,
            low: low + half.and_gt(other_terms.high, rest),
        }
    }

    /// The sums of all numerators but the largest.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn other_terms<S: Simd<Vector = V>>(&self, simd: S) -> TwoFloat<V> {
        let (sum, max_term) = (self.sum.renormalized(), self.max_term());
        let difference = TwoFloat::sum(sum.high, simd.splat(0.0) - max_term.high);
        let low = difference.low + (sum.low - max_term.low);
        TwoFloat::sum(difference.high, low)
    }

    /// The denominators.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn total<S: Simd<Vector = V>>(&self, simd: S, sink: Sink) -> TwoFloat<V> {
        let mut total = self.sum;
        if sink.logit > f32::NEG_INFINITY {
            total = total.add(self.term(simd, sink.logit));
        }
        total.renormalized()
    }

    /// The numerator of one logit under the shift of each row, exactly.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn term<S: Simd<Vector = V>>(&self, simd: S, logit: f32) -> TwoFloat<V> {
        let shift = self.shifts.shift;
        let logits = simd.splat(logit) - shift.offset;
        as_two_float(shift.constants(simd).exp_scaled(logits))
    }

    /// A bit for each row that has a softmax.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn have_softmax<S: Simd<Vector = V>>(&self, simd: S, total: V) -> u32 {
        let infinity = simd.splat(f32::INFINITY);
        total.gt_mask(simd.splat(0.0)) & infinity.gt_mask(self.shifts.max)
    }

    /// Of rows without a softmax, what their results are; of others 0.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn fallback<S: Simd<Vector = V>>(
        &self,
        simd: S,
        have_softmax: u32,
        sink: Sink,
    ) -> V {
        if have_softmax == u32::MAX >> (32 - V::WIDTH) {
            return simd.splat(0.0);
        }
        let (max, sum) = (lanes_of(self.shifts.max), lanes_of(self.sum.high));
        let mut fallback = [0.0; WIDEST];
        for (lane, fallback) in fallback.iter_mut().enumerate() {
            if (have_softmax >> lane) & 1 == 0 {
                let is_fully_masked = max[lane] == f32::NEG_INFINITY && sum[lane] == 0.0;
                *fallback = sink.fallback(is_fully_masked);
            }
        }
        simd.load(&fallback, 0.0)
    }
}

#[cfg_attr(not(unoptimized), inline(always))]
fn as_two_float<V: Vector>(numerator: ScaledExp<V>) -> TwoFloat<V> {
    let high = numerator.value();
    TwoFloat {
        high,
        low: numerator
            .scale
            .mul_add(numerator.expm1, numerator.scale - high),
    }
}

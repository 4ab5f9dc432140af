//! What lies between the passes, for as many rows at once as a register has lanes: row i is lane i.

use super::schedule::EXACT;
use crate::math::exp::ScaledExp;
use crate::math::reduce::first_lane;
use crate::math::shift::LaneShift;
use crate::math::two_float::TwoFloat;
use crate::options::Sink;
use crate::simd::{Group, Simd, Vector, WIDEST, lanes_of};

/// Rows whose logits are all in this range have one shift. None of their numerators is clamped, and none
/// of their results is below 2^−126: e^−69 / 2^21 is above it.
const USUAL: core::ops::RangeInclusive<f32> = -45.0..=24.0;

/// What the first pass finds in rows.
#[derive(Clone, Copy)]
pub(super) struct Maxima<S: Simd> {
    /// The largest logit of each row.
    pub(super) max: S::Vector,
    /// Whether all logits are usual.
    pub(super) are_usual: bool,
    /// Of a row of several slices the largest logit of each lane.
    pub(super) lanes: Group<S>,
}

/// The largest and the least logit so far, by lanes. A NaN may be kept or lost: a row that has one has
/// a sum that is NaN.
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
        (self.lowest, _) = self.lowest.min_max(logits);
    }

    /// Four registers.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn add_four(&mut self, logits: [V; 4]) {
        let more = self.lower_by_four(logits);
        (_, self.highest) = self.highest.min_max(more);
    }

    /// Four registers, without raising `highest`. Returns their largest logits.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn lower_by_four(&mut self, [a, b, c, d]: [V; 4]) -> V {
        let ((less, more), (other_less, other_more)) = (a.min_max(b), c.min_max(d));
        (self.lowest, _) = self.lowest.min_max(less.min_max(other_less).0);
        more.min_max(other_more).1
    }

    /// The first `count` lanes of a register. The others are −∞.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn add_first<S: Simd<Vector = V>>(&mut self, simd: S, logits: V, count: usize) {
        (_, self.highest) = self.highest.min_max(logits);
        let lanes = !(u32::MAX << count);
        self.unusual |= (bounds(simd, logits, logits)) & lanes;
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn are_usual<S: Simd<Vector = V>>(&self, simd: S) -> bool {
        self.unusual | bounds(simd, self.lowest, self.highest) == 0
    }
}

/// A bit for each lane that is below or above the usual range.
#[cfg_attr(not(unoptimized), inline(always))]
fn bounds<S: Simd>(simd: S, lowest: S::Vector, highest: S::Vector) -> u32 {
    let (start, end) = (simd.splat(*USUAL.start()), simd.splat(*USUAL.end()));
    start.gt_mask(lowest) | highest.gt_mask(end)
}

/// The shifts of rows, and where their sums begin.
#[derive(Clone, Copy)]
pub(super) struct Shifts<V> {
    pub(super) max: V,
    pub(super) shift: LaneShift<V>,
    /// The numerators of the maxima.
    pub(super) max_term: ScaledExp<V>,
    /// A power of two that is larger than every numerator; for at most [`EXACT`] columns, than their sum.
    pub(super) bias: V,
    pub(super) are_usual: bool,
}

impl<V: Vector> Shifts<V> {
    /// `PRECISE` is for [`ExpConstants::exp_precise`](crate::math::exp::ExpConstants::exp_precise).
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn of<S: Simd<Vector = V>, const PRECISE: bool>(
        simd: S,
        maxima: &Maxima<S>,
        columns: usize,
        sink: Sink,
    ) -> Self {
        // Adding zero turns −0 into +0: which of the two is found first differs by backend.
        let max = maxima.max + simd.splat(0.0);
        let are_usual = maxima.are_usual && sink.logit == f32::NEG_INFINITY;
        let shift = if are_usual {
            LaneShift::unit(simd)
        } else {
            LaneShift::of(simd, max.max_keep_nan(simd.splat(sink.logit)))
        };
        let max_term = if PRECISE {
            shift.constants(simd).exp_precise(max - shift.offset)
        } else {
            shift.constants(simd).exp_scaled(max - shift.offset)
        };
        // Twice the power of two is more than the numerator.
        let terms = if columns <= EXACT {
            columns.next_power_of_two()
        } else {
            1
        };
        Shifts {
            max,
            shift,
            max_term,
            bias: max_term.scale * simd.splat(2.0 * terms as f32),
            are_usual,
        }
    }

    /// Where the sums of the lanes of one row begin, from the maximum of each.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn lane_bias<S: Simd<Vector = V>>(&self, simd: S, maxima: &Group<S>) -> Group<S> {
        let constants = self.shift.constants(simd);
        let mut bias = *maxima;
        for bias in bias.as_mut() {
            let scale = constants.exp_scaled(*bias - self.shift.offset).scale;
            *bias = scale + scale;
        }
        bias
    }
}

/// The maximum and the denominator of rows.
#[derive(Clone, Copy)]
pub(super) struct States<V> {
    pub(super) shifts: Shifts<V>,
    /// The sum of the numerators, without the sink's.
    pub(super) sum: TwoFloat<V>,
}

/// The lanes of [`States`] that the passes over a single row need.
#[derive(Clone, Copy)]
pub(super) struct RowShift {
    pub(super) offset: f32,
    pub(super) round: f32,
    pub(super) bias: f32,
}

/// [`RowShift`] of each row.
pub(super) struct RowShifts {
    offset: [f32; WIDEST],
    round: [f32; WIDEST],
    bias: [f32; WIDEST],
}

impl RowShifts {
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn of<V: Vector>(shifts: &Shifts<V>) -> Self {
        RowShifts {
            offset: lanes_of(shifts.shift.offset),
            round: lanes_of(shifts.shift.round),
            bias: lanes_of(shifts.bias),
        }
    }

    /// That of row `index`, below [`WIDEST`].
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn row(&self, index: usize) -> RowShift {
        let index = index % WIDEST;
        RowShift {
            offset: self.offset[index],
            round: self.round[index],
            bias: self.bias[index],
        }
    }
}

impl RowShift {
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn of_first<V: Vector>(shifts: &Shifts<V>) -> Self {
        RowShift {
            offset: first_lane(shifts.shift.offset),
            round: first_lane(shifts.shift.round),
            bias: first_lane(shifts.bias),
        }
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn shift<S: Simd>(&self, simd: S) -> LaneShift<S::Vector> {
        LaneShift {
            offset: simd.splat(self.offset),
            round: simd.splat(self.round),
        }
    }
}

impl<V: Vector> States<V> {
    /// The numerators of the maxima, exactly.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn max_term(&self) -> TwoFloat<V> {
        exact(self.shifts.max_term)
    }

    /// The sums of all numerators but the largest.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn other_terms<S: Simd<Vector = V>>(&self, simd: S) -> TwoFloat<V> {
        let (sum, max_term) = (self.sum.normalized(), self.max_term());
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
        total.normalized()
    }

    /// The numerators of a logit, exactly.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn term<S: Simd<Vector = V>>(&self, simd: S, logit: f32) -> TwoFloat<V> {
        let shift = self.shifts.shift;
        let logits = simd.splat(logit) - shift.offset;
        exact(shift.constants(simd).exp_scaled(logits))
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
pub(super) fn exact<V: Vector>(numerator: ScaledExp<V>) -> TwoFloat<V> {
    let high = numerator.value();
    TwoFloat {
        high,
        low: numerator
            .scale
            .mul_add(numerator.expm1, numerator.scale - high),
    }
}

//! What the numerators of a row are relative to: the [`Shift`], which follows the maximum.
//!
//! [`Shift`] is that of one row, [`RegisterShift`] has one in each lane of a register, and
//! [`GroupShifts`] in each lane of a group.
//!
//! | range | of | for |
//! |---|---|---|
//! | −42 to 24, `USUAL` in `rows/state.rs` | logits | rows: one shift, no clamp, no result below 2^−126 |
//! | 0 to 24, [`NEAR_ZERO`] | maxima | rows: the unit shift |
//! | −2 to 20, [`UNIT_MAXIMA`] | maxima | the recurrence: the unit shift |
//! | −104 to 208, [`WITHOUT_OFFSET`] | maxima | all: no offset |
//! | −104 to 104, `NEAR` in `columns/state.rs` | maxima of the first tile | columns: shifts without a search of all rows |
//! | 22, [`RESCALE_THRESHOLD`] | what the maximum rises | the recurrence and columns: the shift stays |

use super::exp::{ExpConstants, LOG2_E, ROUND, ScaledExp, UNIT_BIAS};
use crate::simd::{Group, Simd, Unrolled, Vector};

/// The range of maxima for which a logit is reduced as it is. Below and above it the maximum is
/// subtracted. That is exact: every logit within 104 of the maximum is within a factor of two of
/// it.
const WITHOUT_OFFSET: core::ops::RangeInclusive<f32> = -104.0..=208.0;

/// Maxima that share the unit shift, so that the exponentials need not wait for the maximum.
/// Numerators are below 2^76 then.
const UNIT_MAXIMA: core::ops::RangeInclusive<f32> = -2.0..=20.0;

/// Maxima of rows that share the unit shift. Numerators below e^−120.26 are flushed to zero; 2^24
/// such terms beside one of 1 would make log d 2^−149.5, less than the smallest subnormal number.
/// The largest maximum leaves room for a sum of 2^24 terms.
pub(crate) const NEAR_ZERO: core::ops::RangeInclusive<f32> = 0.0..=24.0;

/// [`ROUND`] with the bias of logits near zero.
const UNIT_ROUND: f32 = ROUND + UNIT_BIAS as f32;

/// How far, in logits, the maximum may rise above the one that a [`Shift`] was made for before the
/// shift must be raised. Numerators are then at most e^22 = 2^32 times larger, and below 2^110, so
/// their sums stay in range.
pub(crate) const RESCALE_THRESHOLD: f32 = 22.0;

/// What the numerators of a row are relative to: numerator(x) = e^(x − offset) · 2^(bias − 127).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shift {
    /// Subtracted from each logit, exactly.
    pub(crate) offset: f32,
    /// Even, so that a tie is rounded to the same n under every shift.
    bias: i32,
}

impl Shift {
    /// A shift under which the numerator of `max` is between 2^44 and 2^78.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn of(max: f32) -> Self {
        if UNIT_MAXIMA.contains(&max) {
            Self::unit()
        } else {
            Self::of_distant(max)
        }
    }

    /// Not inlined, so that the processor predicts the usual shift and does not wait for the
    /// maximum.
    #[cold]
    #[inline(never)]
    fn of_distant(max: f32) -> Self {
        if WITHOUT_OFFSET.contains(&max) {
            let half_exponent = (max * (LOG2_E / 2.0)) as i32;
            Shift {
                offset: 0.0,
                bias: UNIT_BIAS - 2 * half_exponent,
            }
        } else {
            Shift {
                offset: max,
                bias: UNIT_BIAS,
            }
        }
    }

    /// The unit shift, of logits near zero.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn unit() -> Self {
        Shift {
            offset: 0.0,
            bias: UNIT_BIAS,
        }
    }

    /// A shift under which the numerator of `max`, a finite logit, is about 2^`exponent`, and not
    /// above its double.
    pub(crate) fn with_max_at(max: f32, exponent: i32) -> Self {
        let offset = if WITHOUT_OFFSET.contains(&max) {
            0.0
        } else {
            max
        };
        Shift {
            offset,
            bias: 127 + exponent - ((max - offset) * LOG2_E) as i32,
        }
    }

    /// What a sum of numerators under `self` is to be multiplied by to hold under `other`.
    pub(crate) fn rescale_factor(self, other: Self) -> f64 {
        let factor = libm::scalbn(1.0, other.bias - self.bias);
        if self.offset == other.offset {
            factor
        } else {
            factor * libm::exp(f64::from(self.offset) - f64::from(other.offset))
        }
    }

    /// The constants of the exponential under this shift.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn constants<S: Simd>(self, simd: S) -> ExpConstants<S::Vector> {
        ExpConstants::new(simd, self.bias)
    }
}

/// A [`Shift`] for each lane of a register, for the maximum of that lane.
#[derive(Clone, Copy)]
pub(crate) struct RegisterShift<V> {
    pub(crate) offset: V,
    /// The bias, and [`ROUND`].
    pub(crate) round: V,
}

impl<V: Vector> RegisterShift<V> {
    /// The shift for each maximum. Not the bits of [`Shift::of`]: the half exponent is rounded, not
    /// truncated, and no maxima share the unit shift. Columns use it.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn of<S: Simd<Vector = V>>(simd: S, max: V) -> Self {
        let (start, end) = (
            simd.splat(*WITHOUT_OFFSET.start()),
            simd.splat(*WITHOUT_OFFSET.end()),
        );
        let (zero, round) = (simd.splat(0.0), simd.splat(ROUND));
        // −∞ must not be subtracted from −∞.
        let max = max.max_keep_nan(simd.splat(f32::MIN));
        let above = max.and_gt(end, max);
        let below = (zero - max).and_gt(zero - start, max);
        let offset = above + below;
        let half_exponent = (max - offset).mul_add(simd.splat(LOG2_E / 2.0), round) - round;
        RegisterShift {
            offset,
            round: simd.splat(UNIT_ROUND) - (half_exponent + half_exponent),
        }
    }

    /// The shift of rows: as [`of`](Self::of), except that all maxima near zero ([`NEAR_ZERO`])
    /// share the unit shift.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn of_row<S: Simd<Vector = V>>(simd: S, max: V) -> Self {
        let (start, end) = (simd.splat(*NEAR_ZERO.start()), simd.splat(*NEAR_ZERO.end()));
        let (zero, unit) = (simd.splat(0.0), simd.splat(UNIT_ROUND));
        let shift = Self::of(simd, max);
        let difference = shift.round - unit;
        let above = max.and_gt(end, difference);
        let below = (zero - max).and_gt(zero - start, difference);
        RegisterShift {
            round: unit + (above + below),
            ..shift
        }
    }

    /// The square root of the factor from numerators under the unit shift to those under this one.
    /// Zero if this one has an offset: then all logits near zero are negligible.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn sqrt_factor_from_unit<S: Simd<Vector = V>>(&self, simd: S) -> V {
        self.sqrt_factor_from(simd, simd.splat(UNIT_ROUND))
    }

    /// The same from a shift with `round`, for logits far below the maximum of this one.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn sqrt_factor_from<S: Simd<Vector = V>>(&self, simd: S, round: V) -> V {
        let zero = simd.splat(0.0);
        let exponent = (self.round - round)
            .mul_add(simd.splat(0.5), simd.splat(127.0))
            .max_keep_nan(zero);
        let scale = (exponent + simd.splat(ROUND)).low_bits_to_exponent();
        let of_offset = self.offset.and_gt(zero, scale) + (zero - self.offset).and_gt(zero, scale);
        scale - of_offset
    }

    /// [`Shift::unit`] in each lane.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn unit<S: Simd<Vector = V>>(simd: S) -> Self {
        RegisterShift {
            offset: simd.splat(0.0),
            round: simd.splat(UNIT_ROUND),
        }
    }

    /// The constants of the exponential. Its argument is the logit less `offset`.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn constants<S: Simd<Vector = V>>(&self, simd: S) -> ExpConstants<V> {
        let bias = self.round - simd.splat(ROUND);
        let mut constants = Shift::unit().constants(simd);
        constants.lowest = bias * simd.splat(-core::f32::consts::LN_2);
        constants.round = self.round;
        constants
    }
}

/// A [`Shift`] for each lane of a group, for the maximum of that lane.
#[derive(Clone, Copy)]
pub(crate) struct GroupShifts<S: Simd> {
    simd: S,
    offsets: Group<S>,
    /// The biases, and [`ROUND`].
    rounds: Group<S>,
}

impl<S: Simd> GroupShifts<S> {
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn of(simd: S, maxima: &Group<S>) -> Self {
        let (mut offsets, mut rounds) = (*maxima, *maxima);
        for (offset, round) in offsets.as_mut().iter_mut().zip(rounds.as_mut()) {
            let shift = RegisterShift::of(simd, *offset);
            (*offset, *round) = (shift.offset, shift.round);
        }
        GroupShifts {
            simd,
            offsets,
            rounds,
        }
    }

    /// Puts the shifts of one register into place `place` of unrolled constants. Returns what is to
    /// be subtracted from the logits of that register.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn set<const COUNT: usize>(
        &self,
        register: usize,
        constants: &mut ExpConstants<Unrolled<S::Vector, COUNT>>,
        place: usize,
    ) -> S::Vector {
        if let (Some(lowest), Some(round)) = (
            constants.lowest.0.get_mut(place),
            constants.round.0.get_mut(place),
        ) {
            *lowest = self.lowest(register);
            *round = self.simd.register(&self.rounds, register);
        }
        self.simd.register(&self.offsets, register)
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn bias(&self, register: usize) -> S::Vector {
        self.simd.register(&self.rounds, register) - self.simd.splat(ROUND)
    }

    /// As [`ExpConstants::lowest`].
    #[cfg_attr(not(unoptimized), inline(always))]
    fn lowest(&self, register: usize) -> S::Vector {
        self.bias(register) * self.simd.splat(-core::f32::consts::LN_2)
    }

    /// Whether some lane has an offset, or a logit as low as `least` is too low for
    /// [`ExpConstants::exp_scaled_in_range`].
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn may_clamp(&self, least: S::Vector) -> bool {
        let zero = self.simd.splat(0.0);
        let mut lanes = 0;
        for (register, offset) in self.offsets.as_ref().iter().enumerate() {
            lanes |= self.lowest(register).gt_mask(least);
            lanes |= offset.gt_mask(zero) | zero.gt_mask(*offset);
        }
        lanes != 0
    }

    /// The numerators of one register of logits, as [`ExpConstants::exp_scaled`].
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn exp_scaled(&self, register: usize, logits: S::Vector) -> ScaledExp<S::Vector> {
        let mut constants = Shift::unit().constants(self.simd).unrolled::<1>();
        let offset = self.set(register, &mut constants, 0);
        constants
            .exp_scaled(Unrolled([logits - offset]))
            .register(0)
    }

    /// The same, as [`ExpConstants::exp_precise`].
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn exp_precise(&self, register: usize, logits: S::Vector) -> ScaledExp<S::Vector> {
        let mut constants = Shift::unit().constants(self.simd).unrolled::<1>();
        let offset = self.set(register, &mut constants, 0);
        constants
            .exp_precise(Unrolled([logits - offset]))
            .register(0)
    }

    /// [`ExpConstants::rest_of_precise`] of one register of logits.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn rest_of_precise(&self, register: usize, logits: S::Vector) -> S::Vector {
        let mut constants = Shift::unit().constants(self.simd).unrolled::<1>();
        let offset = self.set(register, &mut constants, 0);
        constants.rest_of_precise(Unrolled([logits - offset])).0[0]
    }

    /// The square root of what numerators under `self` are to be multiplied by to hold under
    /// `other`, for logits far below the maxima of `other`. Zero where they are negligible under
    /// it. It is a power of two: both biases are even.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn sqrt_rescale_factors(&self, other: &Self) -> Group<S> {
        let simd = self.simd;
        let mut factors = self.rounds;
        for (register, factor) in factors.as_mut().iter_mut().enumerate() {
            let other = RegisterShift {
                offset: simd.register(&other.offsets, register),
                round: simd.register(&other.rounds, register),
            };
            *factor = other.sqrt_factor_from(simd, *factor);
        }
        factors
    }
}

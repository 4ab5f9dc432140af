//! The exponential, as a power of two and a fraction: e^x = 2^n · (1 + t).
//!
//! Nothing is subtracted from a logit to keep its exponential in range. The logit itself is
//! reduced, and the range is kept by shifting the *integer* n:
//!
//! ```text
//! n = round(x · log2 e)
//! r = x − n · ln 2            |r| ≤ ln 2 / 2, in two steps, the first of them exact
//! t = e^r − 1                 a polynomial of degree 6
//! weight = 2^(n + shift) · (1 + t)
//! ```
//!
//! Subtracting a maximum first would round, by up to 65 ULP of the result for x − max = −80
//! (x − max carries an error of half its spacing, which e^x turns into a relative one). Shifting n
//! is exact. (Dukhan and Ablavatski, "Two-Pass Softmax", arXiv 2001.04438, carry the exponent
//! the same way.) Only far from zero, where n · ln 2 is no longer exact, is the maximum
//! subtracted; there the subtraction is exact instead (Sterbenz's lemma), for every logit near
//! enough to the maximum to matter.
//!
//! The two parts of a weight are left apart: 2^n · t is exact in a fused operation or as a product,
//! so that a sum of rounded weights can recover what their rounding left out.

use crate::vector::{Group, Lanewise, Simd, Unrolled, Vector};

/// log2 e, rounded to nearest.
const LOG2_E: f32 = core::f32::consts::LOG2_E;

/// The first 15 bits of ln 2: its product with an integer of 9 bits is exact, fused or not.
const LN_2_HIGH: f32 = f32::from_bits(0x3F31_7200);

/// ln 2 − [`LN_2_HIGH`], rounded to nearest.
const LN_2_LOW: f32 = f32::from_bits(0x35BF_BE8E);

/// Coefficients of r² to r⁶ in e^r ≈ 1 + r + r² · (…), from Sollya:
///
/// ```text
/// fpminimax(exp(x), [|2,3,4,5,6|], [|SG...|], [-0.3467;0.3467], relative, 1+x)
/// ```
///
/// The relative error of the exact polynomial is at most 3.3e-9, 2^−28.2.
const COEFFICIENTS: [f32; 5] = [
    f32::from_bits(0x3EFF_FFFD),
    f32::from_bits(0x3E2A_AA49),
    f32::from_bits(0x3D2A_AD13),
    f32::from_bits(0x3C09_1CC4),
    f32::from_bits(0x3AB4_A669),
];

/// 1.5 · 2^23: a float near it has a spacing of 1, so that adding it rounds to an integer, which
/// then stands in the low bits of the representation.
const ROUND: f32 = 12_582_912.0;

/// Exponent of the weight of the largest logit, about. Of the range of `f32` above 1 this much is
/// used, and below it e^−120 then still has a weight: more than 2^24 of these are needed to be as
/// much as the smallest subnormal result.
const HEADROOM: i32 = 48;

/// The range of maxima for which a logit is reduced as it is. Below and above, the maximum is
/// subtracted, exactly: every logit within 104 of it is within a factor of two of it.
const UNSHIFTED: core::ops::RangeInclusive<f32> = -104.0..=208.0;

/// The maxima that share a reference, so that weighing need not wait for the maximum.
const USUAL: core::ops::RangeInclusive<f32> = -2.0..=20.0;

/// How far above the maximum it was made for a [`Shift`] still serves, in logits: weights are
/// then at most e^22 = 2^32 times larger, and below 2^110, so that their sums stay in range.
pub(crate) const RESCALE_THRESHOLD: f32 = 22.0;

/// What the weights of a row are relative to: weight(x) = e^(x − offset) · 2^(bias − 127).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shift {
    /// What is to be subtracted from a logit, exactly.
    pub(crate) offset: f32,
    /// Even, so that a tie is rounded to the same n under every reference.
    bias: i32,
}

impl Shift {
    /// A reference under which the weight of `max` is near 2^[`HEADROOM`], or up to 2^30 above.
    #[inline(always)]
    pub(crate) fn of(max: f32) -> Self {
        if USUAL.contains(&max) {
            Self::unit()
        } else {
            Self::of_unusual(max)
        }
    }

    /// Not inlined, so that the usual is a guess of the processor's, and known before the maximum.
    #[cold]
    #[inline(never)]
    fn of_unusual(max: f32) -> Self {
        if UNSHIFTED.contains(&max) {
            let half_exponent = (max * (LOG2_E / 2.0)) as i32;
            Shift {
                offset: 0.0,
                bias: 126 + HEADROOM - 2 * half_exponent,
            }
        } else {
            Shift {
                offset: max,
                bias: 126 + HEADROOM,
            }
        }
    }

    /// The reference under which a weight times [`Self::UNIT`] is the exponential itself.
    #[inline(always)]
    pub(crate) fn unit() -> Self {
        Shift {
            offset: 0.0,
            bias: 126 + HEADROOM,
        }
    }

    /// 2^(127 − bias) of [`Self::unit`].
    pub(crate) const UNIT: f32 = 1.0 / (1_u64 << (HEADROOM - 1)) as f32;

    /// What a sum of weights under `self` is to be multiplied by to hold under `other`.
    pub(crate) fn rescale_factor(self, other: Self) -> f64 {
        let power = libm::scalbn(1.0, other.bias - self.bias);
        if self.offset == other.offset {
            power
        } else {
            power * libm::exp(f64::from(self.offset) - f64::from(other.offset))
        }
    }

    /// The same in every lane.
    #[inline(always)]
    pub(crate) fn splat<S: Simd>(self, simd: S) -> ExpConstants<S::Vector> {
        ExpConstants {
            lowest: simd.splat(self.bias as f32 * -core::f32::consts::LN_2),
            round: simd.splat(ROUND + self.bias as f32),
            log2_e: simd.splat(LOG2_E),
            minus_ln_2_high: simd.splat(-LN_2_HIGH),
            minus_ln_2_low: simd.splat(-LN_2_LOW),
            coefficients: [
                simd.splat(COEFFICIENTS[0]),
                simd.splat(COEFFICIENTS[1]),
                simd.splat(COEFFICIENTS[2]),
                simd.splat(COEFFICIENTS[3]),
                simd.splat(COEFFICIENTS[4]),
            ],
        }
    }
}

/// A [`Shift`] for each lane of a group, for the maximum of that lane.
#[derive(Clone, Copy)]
pub(crate) struct LaneShifts<S: Simd> {
    simd: S,
    offsets: Group<S>,
    /// The biases, and [`ROUND`].
    rounds: Group<S>,
}

impl<S: Simd> LaneShifts<S> {
    #[inline(always)]
    pub(crate) fn of(simd: S, maxima: &Group<S>) -> Self {
        let (start, end) = (simd.splat(*UNSHIFTED.start()), simd.splat(*UNSHIFTED.end()));
        let (zero, round) = (simd.splat(0.0), simd.splat(ROUND));
        let (mut offsets, mut rounds) = (*maxima, *maxima);
        for (offset, biased) in offsets.as_mut().iter_mut().zip(rounds.as_mut()) {
            // −∞ is nothing that could be subtracted from −∞.
            let maximum = offset.max_keep_nan(simd.splat(f32::MIN));
            let above = maximum.and_gt(end, maximum);
            let below = (zero - maximum).and_gt(zero - start, maximum);
            *offset = above + below;
            let half_exponent =
                (maximum - *offset).mul_add(simd.splat(LOG2_E / 2.0), round) - round;
            *biased = simd.splat(ROUND + (126 + HEADROOM) as f32) - (half_exponent + half_exponent);
        }
        LaneShifts {
            simd,
            offsets,
            rounds,
        }
    }

    /// Makes those of one register the `place`-th of several side by side; what is to be subtracted
    /// from its logits.
    #[inline(always)]
    pub(crate) fn set<const COUNT: usize>(
        &self,
        register: usize,
        lanes: &mut ExpConstants<Unrolled<S::Vector, COUNT>>,
        place: usize,
    ) -> S::Vector {
        if let (Some(lowest), Some(round)) =
            (lanes.lowest.0.get_mut(place), lanes.round.0.get_mut(place))
        {
            *lowest = self.lowest(register);
            *round = self.simd.register(&self.rounds, register);
        }
        self.simd.register(&self.offsets, register)
    }

    #[inline(always)]
    fn bias(&self, register: usize) -> S::Vector {
        self.simd.register(&self.rounds, register) - self.simd.splat(ROUND)
    }

    /// As [`ExpConstants::lowest`].
    #[inline(always)]
    fn lowest(&self, register: usize) -> S::Vector {
        self.bias(register) * self.simd.splat(-core::f32::consts::LN_2)
    }

    /// Whether there is an offset, or some lane of a logit may be too low for
    /// [`ExpConstants::exp_scaled_in_range`] though it is not below that lane of `least`.
    #[inline(always)]
    pub(crate) fn may_clamp(&self, least: S::Vector) -> bool {
        let zero = self.simd.splat(0.0);
        let mut lanes = 0;
        for (register, offset) in self.offsets.as_ref().iter().enumerate() {
            lanes |= self.lowest(register).gt_mask(least);
            lanes |= offset.gt_mask(zero) | zero.gt_mask(*offset);
        }
        lanes != 0
    }

    /// The weights of one register of logits, as [`ExpConstants::exp_scaled`].
    #[inline(always)]
    pub(crate) fn exp_scaled(&self, register: usize, logits: S::Vector) -> ScaledExp<S::Vector> {
        let mut lanes = Shift::unit().splat(self.simd).unrolled::<1>();
        let offset = self.set(register, &mut lanes, 0);
        let weight = lanes.exp_scaled(Unrolled([logits - offset]));
        ScaledExp {
            power: weight.power.0[0],
            excess: weight.excess.0[0],
        }
    }

    /// The square root of what weights under `self`, of logits far below the maxima of `other`, are
    /// to be multiplied by to hold under `other`; zero where they are nothing under it. A power of
    /// two: both biases are even.
    #[inline(always)]
    pub(crate) fn half_rescale_factors(&self, other: &Self) -> Group<S> {
        let simd = self.simd;
        let (zero, half) = (simd.splat(0.0), simd.splat(0.5));
        let mut factors = self.rounds;
        for (register, factor) in factors.as_mut().iter_mut().enumerate() {
            let difference = simd.register(&other.rounds, register) - *factor;
            let exponent = difference
                .mul_add(half, simd.splat(127.0))
                .max_keep_nan(zero);
            let power = (exponent + simd.splat(ROUND)).low_bits_to_exponent();
            let offset = simd.register(&other.offsets, register);
            let is_shifted = offset.and_gt(zero, power) + (zero - offset).and_gt(zero, power);
            *factor = power - is_shifted;
        }
        factors
    }
}

/// The bias of a [`Shift`] and the constants of the exponential, in registers.
#[derive(Clone, Copy)]
pub(crate) struct ExpConstants<V> {
    /// The logit whose 2^n is just flushed to zero; nothing lower is worth computing.
    pub(crate) lowest: V,
    round: V,
    log2_e: V,
    minus_ln_2_high: V,
    minus_ln_2_low: V,
    coefficients: [V; 5],
}

/// `power · (1 + excess)`: a power of two, or zero where the weight is below 2^−126; and e^r − 1.
#[derive(Clone, Copy)]
pub(crate) struct ScaledExp<V> {
    pub(crate) power: V,
    pub(crate) excess: V,
}

impl<V: Lanewise> ScaledExp<V> {
    /// The weight, rounded.
    #[inline(always)]
    pub(crate) fn value(self) -> V {
        self.power.mul_add(self.excess, self.power)
    }
}

impl<V: Lanewise> ExpConstants<V> {
    /// For so many registers side by side.
    #[inline(always)]
    pub(crate) fn unrolled<const COUNT: usize>(&self) -> ExpConstants<Unrolled<V, COUNT>> {
        ExpConstants {
            lowest: Unrolled([self.lowest; COUNT]),
            round: Unrolled([self.round; COUNT]),
            log2_e: Unrolled([self.log2_e; COUNT]),
            minus_ln_2_high: Unrolled([self.minus_ln_2_high; COUNT]),
            minus_ln_2_low: Unrolled([self.minus_ln_2_low; COUNT]),
            coefficients: self.coefficients.map(|value| Unrolled([value; COUNT])),
        }
    }

    /// The weights of logits less the offset of the [`Shift`], at most [`RESCALE_THRESHOLD`] above the
    /// maximum that it was made for. −∞ has the weight 0; NaN has NaN.
    #[inline(always)]
    pub(crate) fn exp_scaled(&self, logits: V) -> ScaledExp<V> {
        // The clamp makes the exponent come out as zero for all that is too low.
        self.exp_scaled_in_range(logits.max_keep_nan(self.lowest))
    }

    /// The same for logits of which none is below [`Self::lowest`].
    #[inline(always)]
    pub(crate) fn exp_scaled_in_range(&self, x: V) -> ScaledExp<V> {
        // n + bias in the low bits of a float.
        let biased = x.mul_add(self.log2_e, self.round);
        let n = biased - self.round;
        // The high part is exact, and is rounded only when all else is added to it.
        let high = n.mul_add(self.minus_ln_2_high, x);
        let low = n * self.minus_ln_2_low;
        let r = high + low;
        let r_squared = r * r;
        let [c2, c3, c4, c5, c6] = self.coefficients;
        // Estrin's scheme: as many operations as Horner's, fewer of them waiting for another.
        let q = c6
            .mul_add(r_squared, c5.mul_add(r, c4))
            .mul_add(r_squared, c3.mul_add(r, c2));
        ScaledExp {
            power: biased.low_bits_to_exponent(),
            excess: high + q.mul_add(r_squared, low),
        }
    }
}

/// The hyperbolic tangent, of the same exponential:
///
/// ```text
/// tanh y = sign(y) · −E / (2 + E)         E = e^(−2·|y|) − 1 = (2^n − 1) + 2^n · t
/// ```
///
/// Nothing cancels in E: for small |y| n is 0 and E is t, and otherwise 2^n is ½ at the most. At
/// most 3 ULP from the true value on every backend (the test `hyperbolic_tangent`); ±∞ has ±1, NaN
/// has NaN.
pub(crate) struct Tanh<V> {
    lanes: ExpConstants<V>,
    unit: V,
    zero: V,
    one: V,
}

impl<V: Vector> Tanh<V> {
    #[inline(always)]
    pub(crate) fn new<S: Simd<Vector = V>>(simd: S) -> Self {
        Tanh {
            lanes: Shift::unit().splat(simd),
            unit: simd.splat(Shift::UNIT),
            zero: simd.splat(0.0),
            one: simd.splat(1.0),
        }
    }

    #[inline(always)]
    pub(crate) fn of(&self, y: V) -> V {
        let magnitude = y.max_keep_nan(self.zero - y);
        let weight = self.lanes.exp_scaled(self.zero - (magnitude + magnitude));
        let power = weight.power * self.unit;
        let e = power.mul_add(weight.excess, power - self.one);
        let tanh = (self.zero - e).divide((self.one + self.one) + e);
        let sign = y.and_gt(self.zero, self.one) - (self.zero - y).and_gt(self.zero, self.one);
        tanh * sign
    }
}

//! The weights of classes: integers, so that their sums are exact and depend on no order.

use crate::math::exp::ExpConstants;
use crate::math::integer_sum::{IntegerSum, to_integer};
use crate::math::reduce::first_lane;
use crate::math::shift::Shift;
use crate::rows::schedule::BLOCK;
use crate::simd::{Lanewise, Simd, Unrolled, Vector, unroll};
use crate::source::Source;

/// From a logit to the weight of its class: e^(x/T) under a shift, rounded to an integer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tempering {
    /// 1 / temperature.
    scale: f32,
    shift: Shift,
}

/// The exponent of the largest weight, at most. A weight fits the mantissa of `f64` with it.
const MOST_BITS: i32 = 49;

impl Tempering {
    /// For a row of `len` logits, the largest of which is `max`, finite. `None` if max / temperature
    /// overflows: then the temperature counts as 0.
    pub(super) fn new(max: f32, temperature: f32, len: usize) -> Option<Self> {
        let scale = 1.0 / temperature;
        let tempered = max * scale;
        // A weight is below 2^(exponent + 1), and the sum of all below 2^62.
        let exponent = MOST_BITS.min(61 - (usize::BITS - len.leading_zeros()) as i32);
        tempered.is_finite().then(|| Tempering {
            scale,
            shift: Shift::with_max_at(tempered, exponent.max(0)),
        })
    }

    /// The temperature.
    pub(super) fn temperature(self) -> f64 {
        1.0 / f64::from(self.scale)
    }

    /// The tempered logit.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn tempered(self, logit: f32) -> f32 {
        logit * self.scale
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn weights<S: Simd>(self, simd: S) -> Weights<S::Vector> {
        Weights {
            scale: simd.splat(self.scale),
            offset: simd.splat(self.shift.offset),
            constants: self.shift.constants(simd),
        }
    }
}

/// A row with its largest logit, which is finite.
#[derive(Clone, Copy)]
pub(super) struct Tempered<L> {
    pub(super) logits: L,
    pub(super) max: f32,
    pub(super) tempering: Tempering,
}

impl<L> Tempered<L> {
    /// The weight of a class.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn weight<S: Simd>(&self, simd: S, logit: f32) -> u64 {
        let weights = self.tempering.weights(simd);
        to_integer(first_lane(weights.of(simd.splat(logit))))
    }

    /// The share of a class in `mass`.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn probability<S: Simd>(&self, simd: S, logit: f32, mass: u64) -> f32 {
        let tempered = |logit| f64::from(self.tempering.tempered(logit));
        let of_max = self.weight(simd, self.max) as f64;
        let ratio = libm::exp(tempered(logit) - tempered(self.max));
        (ratio * of_max / mass as f64).min(1.0) as f32
    }
}

/// A [`Tempering`] in registers.
#[derive(Clone, Copy)]
pub(super) struct Weights<V> {
    scale: V,
    offset: V,
    constants: ExpConstants<V>,
}

impl<V: Lanewise> Weights<V> {
    /// The weights before they are rounded. −∞ gives 0.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn of(&self, logits: V) -> V {
        // Not fused: the offset is a product that was rounded.
        let tempered = logits * self.scale - self.offset;
        self.constants.exp_scaled(tempered).value()
    }
}

impl<V: Vector> Weights<V> {
    #[cfg_attr(not(unoptimized), inline(always))]
    fn unrolled<const COUNT: usize>(&self) -> Weights<Unrolled<V, COUNT>> {
        Weights {
            scale: Unrolled::<_, COUNT>::splat(self.scale),
            offset: Unrolled::<_, COUNT>::splat(self.offset),
            constants: self.constants.unrolled(),
        }
    }
}

/// Registers side by side.
const UNROLL: usize = 4;

/// Parts of a row whose weights are kept.
const PARTS: usize = 32;

/// The weights of the parts of a row.
pub(super) struct Total {
    masses: [u64; PARTS],
    /// Logits of a part; the last may be shorter.
    pub(super) step: usize,
}

impl Total {
    /// Reads the row.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn of<S: Simd, L: Source>(simd: S, row: Tempered<L>) -> Self {
        let mut total = Total {
            masses: [0; PARTS],
            step: row.logits.len().div_ceil(PARTS).next_multiple_of(BLOCK),
        };
        let mut unread = row.logits;
        for mass in &mut total.masses {
            let (part, others) = unread.split_at(total.step).unwrap_or((unread, L::empty()));
            if part.len() > 0 {
                *mass = mass_of_all(simd, part, row.tempering);
            }
            unread = others;
        }
        total
    }

    pub(super) fn mass(&self) -> u64 {
        self.masses.iter().sum()
    }

    /// The weight of part `index`.
    pub(super) fn part(&self, index: usize) -> u64 {
        self.masses.get(index).copied().unwrap_or(0)
    }
}

/// The weight of all classes of a part.
#[cfg_attr(not(unoptimized), inline(always))]
fn mass_of_all<S: Simd, L: Source>(simd: S, logits: L, tempering: Tempering) -> u64 {
    simd.vectorize(
        #[inline(always)]
        move |simd| {
            let weights = tempering.weights(simd).unrolled::<UNROLL>();
            let mut sums = IntegerSum::new();
            // Whole parts apart from the last: no load of theirs looks for the end.
            let mut unread = logits;
            while let Ok((part, others)) = unread.split_at(UNROLL * S::Vector::WIDTH) {
                add_weights(simd, part, &weights, &mut sums);
                unread = others;
            }
            add_weights(simd, unread, &weights, &mut sums);
            sums.total()
        },
    )
}

/// Adds the weights of up to [`UNROLL`] registers.
#[cfg_attr(not(unoptimized), inline(always))]
fn add_weights<S: Simd, L: Source>(
    simd: S,
    part: L,
    weights: &Weights<Unrolled<S::Vector, UNROLL>>,
    sums: &mut IntegerSum,
) {
    let mut logits = Unrolled::<_, UNROLL>::splat(simd.splat(f32::NEG_INFINITY));
    unroll::<UNROLL>(
        #[inline(always)]
        |i| logits.0[i] = part.load(simd, i * S::Vector::WIDTH),
    );
    let of_logits = weights.of(logits);
    unroll::<UNROLL>(
        #[inline(always)]
        |i| sums.add(of_logits.0[i]),
    );
}

//! What a loss with soft targets, class weights or label smoothing needs of a row: sums over its
//! classes, and gradients from its probabilities.

use super::preprocess::unmasked;
use crate::math::exp::Exp;
use crate::math::reduce;
use crate::math::two_float::TwoFloat;
use crate::options::Preprocessing;
use crate::simd::{Group, LANES, Lanewise, Simd, Vector, WIDEST, WithSimd, store_group};
use crate::source::Source;

/// How much each class of a row counts.
pub(crate) trait Coefficients: Copy {
    /// Those of the classes from `start` on; 0 past the end.
    fn load<S: Simd>(self, simd: S, start: usize) -> S::Vector;
}

/// Target probabilities, multiplied by the weights of the classes.
#[derive(Clone, Copy)]
pub(crate) struct SoftTargets<'a> {
    pub(crate) targets: &'a [f32],
    pub(crate) weights: Option<&'a [f32]>,
}

impl Coefficients for SoftTargets<'_> {
    #[cfg_attr(not(unoptimized), inline(always))]
    fn load<S: Simd>(self, simd: S, start: usize) -> S::Vector {
        let targets = load(simd, self.targets, start);
        match self.weights {
            Some(weights) => targets * load(simd, weights, start),
            None => targets,
        }
    }
}

/// The weights of the classes, 1 by default; 0 for masked classes.
#[derive(Clone, Copy)]
pub(crate) struct ClassWeights<'a> {
    pub(crate) weights: Option<&'a [f32]>,
    /// How many classes are visible.
    pub(crate) visible: usize,
    pub(crate) masks: Preprocessing<'a>,
}

impl Coefficients for ClassWeights<'_> {
    #[cfg_attr(not(unoptimized), inline(always))]
    fn load<S: Simd>(self, simd: S, start: usize) -> S::Vector {
        let count = self.visible.saturating_sub(start).min(S::Vector::WIDTH);
        let mut unmasked = unmasked(simd, &self.masks, start);
        if count < S::Vector::WIDTH {
            let ones = [1.0; WIDEST];
            unmasked = unmasked * simd.load(ones.get(..count).unwrap_or(&[]), 0.0);
        }
        match self.weights {
            Some(weights) => unmasked * load(simd, weights, start),
            None => unmasked,
        }
    }
}

#[cfg_attr(not(unoptimized), inline(always))]
fn load<S: Simd>(simd: S, values: &[f32], start: usize) -> S::Vector {
    simd.load(values.get(start..).unwrap_or(&[]), 0.0)
}

/// Sums over the classes of a row, with coefficients t.
#[derive(Clone, Copy)]
pub(crate) struct ClassSums {
    /// Σ t_c · (m − z_c). A class whose coefficient is 0 adds 0, whatever its logit is.
    pub(crate) distances: f64,
    /// Σ t_c.
    pub(crate) coefficients: f64,
}

/// Computes [`ClassSums`] of the first `columns` classes. Logits that are missing are −∞.
pub(crate) struct SumsOverClasses<L, C> {
    pub(crate) logits: L,
    pub(crate) columns: usize,
    /// m; finite.
    pub(crate) max: f32,
    pub(crate) coefficients: C,
}

impl<L: Source, C: Coefficients> WithSimd for SumsOverClasses<L, C> {
    type Output = ClassSums;

    /// The distances are halved until the end, as m − z may overflow where t · (m − z) does not.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn with_simd<S: Simd>(self, simd: S) -> ClassSums {
        let zero = simd.splat(0.0);
        let (half, half_max) = (simd.splat(-0.5), simd.splat(0.5 * self.max));
        let none = TwoFloat {
            high: simd.group(zero),
            low: simd.group(zero),
        };
        let (mut distances, mut coefficients) = (none, none);
        for group in (0..self.columns).step_by(LANES) {
            for register in 0..S::REGISTERS {
                let start = group + register * S::Vector::WIDTH;
                if start >= self.columns {
                    break;
                }
                let coefficient = self.coefficients.load(simd, start);
                let distance = self.logits.load(simd, start).mul_add(half, half_max);
                let product = coefficient * distance;
                let (product, _) = product.select_eq(coefficient, zero, zero);
                add::<S>(&mut distances, register, product);
                add::<S>(&mut coefficients, register, coefficient);
            }
        }
        ClassSums {
            distances: 2.0 * total::<S>(&distances),
            coefficients: total::<S>(&coefficients),
        }
    }
}

/// Adds to the lanes of a register.
#[cfg_attr(not(unoptimized), inline(always))]
fn add<S: Simd>(sums: &mut TwoFloat<Group<S>>, register: usize, terms: S::Vector) {
    if let (Some(high), Some(low)) = (
        sums.high.as_mut().get_mut(register),
        sums.low.as_mut().get_mut(register),
    ) {
        let sum = TwoFloat::sum(*high, terms);
        (*high, *low) = (sum.high, *low + sum.low);
    }
}

/// The sum of all lanes. The low part of an infinite lane is NaN, and left out.
#[cfg_attr(not(unoptimized), inline(always))]
fn total<S: Simd>(sums: &TwoFloat<Group<S>>) -> f64 {
    let (high, low) = (store_group::<S>(&sums.high), store_group::<S>(&sums.low));
    let mut totals = [0.0; LANES];
    for (total, (high, low)) in totals.iter_mut().zip(high.iter().zip(low)) {
        *total = f64::from(*high)
            + if high.is_finite() {
                f64::from(low)
            } else {
                0.0
            };
    }
    reduce::total(totals)
}

/// Turns the probabilities p of a row into the gradient p_c · a − w_c · (q_c · s + u) of its loss,
/// where q are the target probabilities and w the weights of the classes. Masked classes have no
/// target.
pub(crate) struct SubtractTargets<'a> {
    pub(crate) row: &'a mut [f32],
    /// a.
    pub(crate) factor: f32,
    /// q; without them they are 0.
    pub(crate) targets: Option<&'a [f32]>,
    /// s.
    pub(crate) target_factor: f32,
    /// u.
    pub(crate) uniform: f32,
    pub(crate) classes: ClassWeights<'a>,
}

impl WithSimd for SubtractTargets<'_> {
    type Output = ();

    #[cfg_attr(not(unoptimized), inline(always))]
    fn with_simd<S: Simd>(self, simd: S) {
        let (zero, factor) = (simd.splat(0.0), simd.splat(self.factor));
        let (target_factor, uniform) = (simd.splat(self.target_factor), simd.splat(self.uniform));
        for start in (0..self.row.len()).step_by(S::Vector::WIDTH) {
            let mut targets = uniform;
            if let Some(given) = self.targets {
                targets = load(simd, given, start).mul_add(target_factor, uniform);
            }
            let targets = targets * self.classes.load(simd, start);
            let probabilities = load(simd, self.row, start);
            let gradient = probabilities.mul_add(factor, zero - targets);
            gradient.store(self.row.get_mut(start..).unwrap_or(&mut []));
        }
    }
}

/// p − 1 = e^(−loss) − 1 of each loss −log p, to full relative precision however near to zero.
pub(crate) struct TargetGradients<'a>(pub(crate) &'a mut [f32]);

impl WithSimd for TargetGradients<'_> {
    type Output = ();

    #[cfg_attr(not(unoptimized), inline(always))]
    fn with_simd<S: Simd>(self, simd: S) {
        let (zero, one, exp) = (simd.splat(0.0), simd.splat(1.0), Exp::new(simd));
        for start in (0..self.0.len()).step_by(S::Vector::WIDTH) {
            let losses = load(simd, self.0, start);
            let power = exp.parts(zero - losses);
            let gradients = power.scale.mul_add(power.expm1, power.scale - one);
            gradients.store(self.0.get_mut(start..).unwrap_or(&mut []));
        }
    }
}

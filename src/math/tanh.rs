//! The hyperbolic tangent, from the exponential of [`exp`](super::exp).

use super::exp::Exp;
use crate::simd::{Simd, Vector};

/// The hyperbolic tangent:
///
/// ```text
/// tanh y = sign(y) · −E / (2 + E)         E = e^(−2·|y|) − 1 = (2^n − 1) + 2^n · t
/// ```
///
/// Nothing cancels in E. For small |y| n is 0 and E is t; otherwise 2^n is at most ½. The error is
/// at most 3 ULP on every backend (the test `hyperbolic_tangent`). ±∞ gives ±1, NaN gives NaN.
pub(crate) struct Tanh<V> {
    exp: Exp<V>,
    zero: V,
    one: V,
}

impl<V: Vector> Tanh<V> {
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn new<S: Simd<Vector = V>>(simd: S) -> Self {
        Tanh {
            exp: Exp::new(simd),
            zero: simd.splat(0.0),
            one: simd.splat(1.0),
        }
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn of(&self, y: V) -> V {
        let magnitude = y.max_keep_nan(self.zero - y);
        let exp = self.exp.parts(self.zero - (magnitude + magnitude));
        let e = exp.scale.mul_add(exp.expm1, exp.scale - self.one);
        let tanh = (self.zero - e).divide((self.one + self.one) + e);
        let sign = y.and_gt(self.zero, self.one) - (self.zero - y).and_gt(self.zero, self.one);
        tanh * sign
    }
}

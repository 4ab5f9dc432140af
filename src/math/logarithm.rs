//! The logarithm of denominators.
//!
//! # Error bound
//!
//! The sum of both parts of [`log1p`] errs by at most 0.46 · 2^−24 of it below 1/4 (unfused 0.48)
//! and 0.92 (0.99) where 1 + f is near √2 and k is 0 (`tests/proofs/run`). The polynomial is 0.08
//! of it. The rest is rounding in f³ · q(f), and the low part of x, which may be 3 · 2^−24 of x and
//! is multiplied by 1 − f instead of 1 / (1 + f). Near zero both are smaller, as f².

use super::exp::{LN_2_HIGH, LN_2_LOW, ROUND};
use super::two_float::TwoFloat;
use crate::simd::{Lanewise, Simd, Vector};

/// Coefficients of q in log(1 + f) ≈ f − f²/2 + f³ · q(f), from Sollya:
///
/// ```text
/// fpminimax((log1p(x)-x+x^2/2)/x^3, 8, [|SG...|], [-0.2930;0.4143], absolute)
/// ```
///
/// The relative error of the exact logarithm is at most 4.6e-9, 2^−27.7.
const COEFFICIENTS: [f32; 9] = [
    f32::from_bits(0x3EAA_AAAA),
    f32::from_bits(0xBE7F_FFF3),
    f32::from_bits(0x3E4C_CE96),
    f32::from_bits(0xBE2A_B146),
    f32::from_bits(0x3E11_EEFA),
    f32::from_bits(0xBDFD_DEE8),
    f32::from_bits(0x3DEE_3D68),
    f32::from_bits(0xBDEE_E00B),
    f32::from_bits(0x3D96_5BBB),
];

/// 2^−50.
const SMALLEST: f32 = 1.0 / (1_u64 << 50) as f32;

/// log(1 + x), for 0 ≤ x < 2^126.
///
/// ```text
/// 1 + x = 2^k · (1 + f)              f = x if k is 0; 1/√2 ≤ 1 + f < √2
/// log(1 + x) = k · ln 2 + f − f²/2 + f³ · q(f)
/// ```
///
/// All terms but the last are two-floats, so the high part of the result is nearly correctly
/// rounded.
#[cfg_attr(not(unoptimized), inline(always))]
pub(crate) fn log1p<S: Simd>(simd: S, x: TwoFloat<S::Vector>) -> TwoFloat<S::Vector> {
    let (zero, one, half) = (simd.splat(0.0), simd.splat(1.0), simd.splat(0.5));
    let sum = TwoFloat::sum(one, x.high);
    let sum = TwoFloat::sum_ordered(sum.high, sum.low + x.low);
    let k = (sum.high * simd.splat(core::f32::consts::SQRT_2)).exponent();
    let scale = (simd.splat(ROUND + 127.0) - k).low_bits_to_exponent();
    let scaled = TwoFloat::sum_ordered(sum.high * scale - one, sum.low * scale);
    let (high, _) = scaled.high.select_eq(k, zero, x.high);
    let (low, _) = scaled.low.select_eq(k, zero, x.low);

    // Of a smaller number the logarithm is the number itself, and its square may be subnormal.
    let size = high.max_keep_nan(zero - high);
    let f = size.and_gt(simd.splat(SMALLEST), high);
    let square = TwoFloat::product(simd, f, f);
    let mut q = simd.splat(COEFFICIENTS[8]);
    for coefficient in COEFFICIENTS[..8].iter().rev() {
        q = q.mul_add(f, simd.splat(*coefficient));
    }
    let first = TwoFloat::sum_ordered(high, zero - square.high * half);
    let low = (low - f * low) - square.low * half;
    let low = (f * square.high).mul_add(q, low + first.low);

    let sum = TwoFloat::sum_ordered(k * simd.splat(LN_2_HIGH), first.high);
    TwoFloat {
        high: sum.high,
        low: k.mul_add(simd.splat(LN_2_LOW), low + sum.low),
    }
    .renormalized()
}

#[cfg(test)]
mod tests {
    use super::log1p;
    use crate::math::two_float::TwoFloat;
    use crate::simd::scalar::Scalar;

    /// From 2^−100 to 2^30 in small steps, each with a low part.
    #[test]
    fn logarithms_are_nearly_correctly_rounded() {
        let mut bits = 0x0D80_0000_u32;
        let mut largest = 0.0_f64;
        while bits < 0x4E80_0000 {
            let high = f32::from_bits(bits);
            let x = TwoFloat {
                high,
                low: high * 1e-8,
            };
            let truth = libm::log1p(f64::from(x.high) + f64::from(x.low));
            let result = log1p(Scalar, x);
            let error = (f64::from(result.high) + f64::from(result.low) - truth) / truth;
            largest = largest.max(error.abs());
            bits += 12_347;
        }
        // A fifth of the last bit.
        assert!(largest < 1.2e-8, "{largest:e}");
        assert!(largest > 1e-10, "{largest:e} is too good to be true");
    }

    #[test]
    fn the_logarithm_of_one_is_zero() {
        let zero = TwoFloat {
            high: 0.0,
            low: 0.0,
        };
        assert_eq!(log1p(Scalar, zero).high, 0.0);
    }
}

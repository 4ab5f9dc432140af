//! Numbers as unevaluated sums of two floats, with 48 bits.

use crate::simd::{Lanewise, Simd, Vector};

/// high + low. Usually |low| is at most half the spacing of `high`.
#[derive(Clone, Copy)]
pub(crate) struct TwoFloat<V> {
    pub(crate) high: V,
    pub(crate) low: V,
}

impl<V: Lanewise> TwoFloat<V> {
    /// a + b, exactly (Knuth's TwoSum).
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn sum(a: V, b: V) -> Self {
        let high = a + b;
        let of_b = high - a;
        let low = (a - (high - of_b)) + (b - of_b);
        TwoFloat { high, low }
    }

    /// a + b, exactly if a is 0 or |a| ≥ |b| (Dekker's Fast2Sum).
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn sum_ordered(a: V, b: V) -> Self {
        let high = a + b;
        let low = b - (high - a);
        TwoFloat { high, low }
    }

    /// a · b, exactly (TwoProduct; Veltkamp's and Dekker's where operations are not fused).
    /// Unfused, both factors must be below 2^115.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn product<S: Simd<Vector = V>>(simd: S, a: V, b: V) -> Self {
        let high = a * b;
        let minus_high = simd.splat(0.0) - high;
        let low = if V::IS_FUSED {
            a.mul_add(b, minus_high)
        } else {
            let (a, b) = (Self::split(simd, a), Self::split(simd, b));
            let without_low = (a.high * b.high + minus_high) + a.high * b.low + a.low * b.high;
            without_low + a.low * b.low
        };
        TwoFloat { high, low }
    }

    /// Two numbers of 12 bits each whose sum is `value`.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn split<S: Simd<Vector = V>>(simd: S, value: V) -> Self {
        let scaled = value * simd.splat(4097.0);
        let high = scaled - (scaled - value);
        TwoFloat {
            high,
            low: value - high,
        }
    }

    /// The sum of two numbers, to about 2^−46 of it if both are positive.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn add(self, other: Self) -> Self {
        let high = Self::sum(self.high, other.high);
        TwoFloat {
            high: high.high,
            low: (self.low + other.low) + high.low,
        }
    }

    /// The same where the sum of the high parts is exact.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn add_exact_high(self, other: Self) -> Self {
        TwoFloat {
            high: self.high + other.high,
            low: self.low + other.low,
        }
    }

    /// The same number, with the low part at most half the spacing of the high one.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn renormalized(self) -> Self {
        Self::sum_ordered(self.high, self.low)
    }
}

impl<V: Vector> TwoFloat<V> {
    /// The quotient, to about 2^−45 of it.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn divide<S: Simd<Vector = V>>(self, simd: S, divisor: Self) -> Self {
        let high = self.high.divide(divisor.high);
        let product = Self::product(simd, high, divisor.high);
        let rest = (self.high - product.high) - product.low;
        let rest = rest + (self.low - high * divisor.low);
        TwoFloat {
            high,
            low: rest.divide(divisor.high),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::TwoFloat;
    use crate::simd::scalar::Scalar;

    fn value(number: TwoFloat<f32>) -> f64 {
        f64::from(number.high) + f64::from(number.low)
    }

    /// Numbers of all sizes and signs between 2^−20 and 2^20.
    fn numbers() -> impl Iterator<Item = f32> {
        let mut state = 1_u32;
        core::iter::repeat_with(move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let exponent = 107 + (state >> 3) % 40;
            f32::from_bits(state & 0x807F_FFFF | exponent << 23)
        })
    }

    fn pairs() -> impl Iterator<Item = (f32, f32)> {
        numbers().zip(numbers().skip(7)).take(10_000)
    }

    #[test]
    fn sums_are_exact() {
        for (a, b) in pairs() {
            let exact = f64::from(a) + f64::from(b);
            assert_eq!(value(TwoFloat::sum(a, b)), exact, "{a:e} + {b:e}");
            let (larger, smaller) = if a.abs() >= b.abs() { (a, b) } else { (b, a) };
            assert_eq!(value(TwoFloat::sum_ordered(larger, smaller)), exact);
            assert_eq!(TwoFloat::sum(a, b).high, a + b);
        }
    }

    #[test]
    fn products_are_exact() {
        for (a, b) in pairs() {
            let product = TwoFloat::product(Scalar, a, b);
            assert_eq!(value(product), f64::from(a) * f64::from(b), "{a:e} · {b:e}");
        }
    }

    #[test]
    fn sums_and_quotients_of_two_floats_keep_45_bits() {
        let of = |high: f32, low: f32| TwoFloat::sum_ordered(high.abs(), low * high * 1e-8);
        let mut numbers = numbers();
        for (a, b) in pairs() {
            let fraction = numbers.next().unwrap().fract();
            let (a, b) = (of(a, fraction), of(b, 0.5 - fraction));
            for (result, exact) in [
                (a.add(b), value(a) + value(b)),
                (a.divide(Scalar, b), value(a) / value(b)),
            ] {
                let error = (value(result) / exact - 1.0).abs();
                assert!(error < 1.0 / (1_u64 << 45) as f64, "{error:e}");
            }
        }
    }
}

//! Fractions of integers, exactly.

/// ⌊`whole` · `fraction`⌋. The fraction is in [0, 1).
pub(super) fn floor_of(whole: u64, fraction: f32) -> u64 {
    let (product, exponent) = product(whole, fraction);
    product.checked_shr(exponent).unwrap_or(0) as u64
}

/// ⌈`whole` · `fraction`⌉. The fraction is in [0, 1).
pub(super) fn ceil_of(whole: u64, fraction: f32) -> u64 {
    let floor = floor_of(whole, fraction);
    let (product, exponent) = product(whole, fraction);
    let is_less = u128::from(floor).checked_shl(exponent).unwrap_or(0) < product;
    floor + u64::from(is_less)
}

/// `whole` · `fraction` = product · 2^−exponent.
fn product(whole: u64, fraction: f32) -> (u128, u32) {
    let bits = fraction.to_bits() & (u32::MAX >> 1);
    let (mantissa, exponent) = (bits & 0x7F_FFFF, bits >> 23);
    // Subnormal numbers have the exponent of the least normal ones.
    let hidden = u32::from(exponent > 0) << 23;
    let product = u128::from(whole) * u128::from(mantissa | hidden);
    (product, 150_u32.saturating_sub(exponent.max(1)))
}

#[cfg(test)]
mod tests {
    use super::{ceil_of, floor_of};

    #[test]
    fn fractions_are_exact() {
        let fractions = [
            0.0,
            f32::from_bits(1),
            f32::MIN_POSITIVE,
            1e-10,
            0.1,
            0.25,
            0.5,
            0.95,
            1.0_f32.next_down(),
        ];
        for whole in [0, 1, 2, 10, 1 << 20, (1 << 28) - 1] {
            for fraction in fractions {
                // Below 2^53 · 2^−k exact in `f64`.
                let product = whole as f64 * f64::from(fraction);
                assert_eq!(floor_of(whole, fraction), product.floor() as u64);
                assert_eq!(ceil_of(whole, fraction), product.ceil() as u64);
            }
        }
        assert_eq!(floor_of(1 << 62, 0.5), 1 << 61);
        assert_eq!(ceil_of((1 << 62) + 1, 0.5), (1 << 61) + 1);
        assert_eq!(
            floor_of(u64::MAX, 1.0_f32.next_down()),
            u64::MAX - (1 << 40)
        );
        assert_eq!(floor_of(5, -0.0), 0);
    }
}

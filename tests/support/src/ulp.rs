//! The measure of error: ULP, the spacing of `f32` at the true result.

/// The spacing of `f32` in the binade of `truth`; in the lowest binade that of the subnormals.
pub fn spacing(truth: f64) -> f64 {
    let exponent = i64::from((truth.to_bits() >> 52) as u32 & 0x7FF) - 1023;
    let spacing_exponent = exponent.clamp(-126, 127) - 23;
    f64::from_bits(((1023 + spacing_exponent) as u64) << 52)
}

/// The largest finite `f32` and half its spacing: from here on, to round is to overflow.
const OVERFLOW: f64 = f32::MAX as f64 + (1_u128 << 103) as f64;

/// The error of `got` in the spacing at `truth`. A NaN for a number, a number for a NaN, and a
/// number for an infinity (or the other way round, unless the truth rounds to it) are infinite
/// errors.
pub fn error(got: f32, truth: f64) -> f64 {
    error_in(got, truth, spacing(truth))
}

/// The same, in the spacing at max(1, |`truth`|).
pub fn error_above_one(got: f32, truth: f64) -> f64 {
    error_in(got, truth, spacing(truth.abs().max(1.0)))
}

fn error_in(got: f32, truth: f64, spacing: f64) -> f64 {
    let right = if truth.is_nan() {
        got.is_nan()
    } else if got.is_infinite() {
        truth.abs() >= OVERFLOW && (truth > 0.0) == (got > 0.0)
    } else {
        let error = (f64::from(got) - truth).abs() / spacing;
        return if error.is_nan() { f64::INFINITY } else { error };
    };
    if right { 0.0 } else { f64::INFINITY }
}

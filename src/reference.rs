//! The textbook forms, one loop for each line of the definition, for comparison with the kernels of
//! this crate.
//!
//! Plain `f32`, scalar, with `libm::expf`. They lose accuracy where every such code does (the
//! README's table says how much), and special values are not handled: a row with a NaN, +∞
//! or nothing but −∞ gives NaN.

/// The three-loop softmax: the maximum; the exponentials and their sum; the division.
///
/// ```text
/// m = max_i x_i        d = Σ_i e^(x_i − m)        a_i = e^(x_i − m) / d
/// ```
///
/// If the two slices differ in length, only as many values as the shorter one has are used.
///
/// ```
/// let mut probabilities = [0.0; 2];
/// online_softmax::reference::three_loop(&[3.0, 3.0], &mut probabilities);
/// assert_eq!(probabilities, [0.5, 0.5]);
/// ```
pub fn three_loop(logits: &[f32], probabilities: &mut [f32]) {
    let mut m = f32::NEG_INFINITY;
    for (x, _) in logits.iter().zip(&*probabilities) {
        m = m.max(*x);
    }
    let mut d = 0.0;
    for (x, a) in logits.iter().zip(&mut *probabilities) {
        *a = libm::expf(*x - m);
        d += *a;
    }
    for (_, a) in logits.iter().zip(probabilities) {
        *a /= d;
    }
}

/// The two-loop online softmax of Milakov and Gimelshein, "Online normalizer calculation for
/// softmax", arXiv 1805.02867: the maximum and the denominator in one loop, the denominator
/// rescaled whenever the maximum grows.
///
/// ```text
/// m_i = max(m_{i−1}, x_i)
/// d_i = d_{i−1} · e^(m_{i−1} − m_i) + e^(x_i − m_i)        a_i = e^(x_i − m_N) / d_N
/// ```
///
/// If the two slices differ in length, only as many values as the shorter one has are used.
///
/// ```
/// let mut probabilities = [0.0; 2];
/// online_softmax::reference::online(&[3.0, 3.0], &mut probabilities);
/// assert_eq!(probabilities, [0.5, 0.5]);
/// ```
pub fn online(logits: &[f32], probabilities: &mut [f32]) {
    let mut m = f32::NEG_INFINITY;
    let mut d = 0.0;
    for (x, _) in logits.iter().zip(&*probabilities) {
        let previous = m;
        m = m.max(*x);
        // Nothing finite yet: e^(−∞ − −∞) would be NaN and stay.
        if m > f32::NEG_INFINITY {
            d = d * libm::expf(previous - m) + libm::expf(*x - m);
        }
        if x.is_nan() {
            d = f32::NAN;
        }
    }
    for (x, a) in logits.iter().zip(probabilities) {
        *a = libm::expf(*x - m) / d;
    }
}

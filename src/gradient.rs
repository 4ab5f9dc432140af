//! Gradients through softmax and log-softmax, from their results.

use crate::checks;
use crate::error::Error;
use crate::math::exp::Exp;
use crate::math::reduce::total;
use crate::simd::{LANES, Lanewise, Simd, Vector, WithSimd};
use crate::softmax::Softmax;

/// The gradient through a softmax on the best backend: [`Softmax::softmax_gradient`].
///
/// ```
/// let mut gradient = [0.0; 2];
/// online_softmax::softmax_gradient(&[0.5, 0.5], &[1.0, 0.0], &mut gradient)?;
/// assert_eq!(gradient, [0.25, -0.25]);
/// # Ok::<(), online_softmax::Error>(())
/// ```
///
/// # Errors
///
/// As [`Softmax::softmax_gradient`].
pub fn softmax_gradient(
    probabilities: &[f32],
    upstream: &[f32],
    gradient: &mut [f32],
) -> Result<(), Error> {
    Softmax::new().softmax_gradient(probabilities, upstream, gradient)
}

/// The gradient through a log-softmax on the best backend: [`Softmax::log_softmax_gradient`].
///
/// ```
/// let log_half = -core::f32::consts::LN_2;
/// let mut gradient = [0.0; 2];
/// online_softmax::log_softmax_gradient(&[log_half; 2], &[1.0, 0.0], &mut gradient)?;
/// assert_eq!(gradient, [0.5, -0.5]);
/// # Ok::<(), online_softmax::Error>(())
/// ```
///
/// # Errors
///
/// As [`Softmax::log_softmax_gradient`].
pub fn log_softmax_gradient(
    log_probabilities: &[f32],
    upstream: &[f32],
    gradient: &mut [f32],
) -> Result<(), Error> {
    Softmax::new().log_softmax_gradient(log_probabilities, upstream, gradient)
}

impl Softmax<'_> {
    /// The gradient by the logits of a row, from its softmax p and the gradient g by p:
    ///
    /// ```text
    /// p_i · (g_i − Σ_j p_j g_j)
    /// ```
    ///
    /// The products are rounded to `f32` and summed in `f64`. The error of the difference is at
    /// most 2^−23 · Σ_j |p_j g_j|, plus the rounding of the result. A NaN in p or g makes the whole
    /// gradient NaN.
    ///
    /// # Errors
    ///
    /// [`Error::LengthMismatch`] if the slices differ in length; [`Error::UnsupportedOption`] with
    /// any option, because the gradient is by the preprocessed logits. Then nothing is written.
    ///
    /// ```
    /// let softmax = online_softmax::Softmax::new();
    /// let mut gradient = [9.0; 3];
    /// softmax.softmax_gradient(&[0.0, 0.0, 1.0], &[1.0, 2.0, 3.0], &mut gradient)?;
    /// assert_eq!(gradient, [0.0; 3]);
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    pub fn softmax_gradient(
        &self,
        probabilities: &[f32],
        upstream: &[f32],
        gradient: &mut [f32],
    ) -> Result<(), Error> {
        checks::no_options(&self.driver.options, GRADIENT)?;
        checks::length(probabilities.len(), upstream.len())?;
        checks::length(probabilities.len(), gradient.len())?;
        self.driver.dispatch(Gradient::<false> {
            results: probabilities,
            upstream,
            gradient,
        });
        Ok(())
    }

    /// The gradient by the logits of a row, from its log-softmax l ≤ 0 and the gradient g by l:
    ///
    /// ```text
    /// g_i − e^(l_i) · Σ_j g_j
    /// ```
    ///
    /// The sum is an `f64`. The error of the difference is at most 2^−22 · |e^(l_i) Σ_j g_j| +
    /// 2^−50 · Σ_j |g_j|, plus the rounding of the result. An intermediate value may overflow for
    /// gradients near the largest `f32`. A NaN in `upstream` makes the whole gradient NaN.
    ///
    /// # Errors
    ///
    /// [`Error::LengthMismatch`] if the slices differ in length; [`Error::UnsupportedOption`] with
    /// any option, because the gradient is by the preprocessed logits. Then nothing is written.
    ///
    /// ```
    /// let softmax = online_softmax::Softmax::new();
    /// let mut gradient = [9.0; 2];
    /// softmax.log_softmax_gradient(&[0.0, f32::NEG_INFINITY], &[1.0, 2.0], &mut gradient)?;
    /// assert_eq!(gradient, [-2.0, 2.0]);
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    pub fn log_softmax_gradient(
        &self,
        log_probabilities: &[f32],
        upstream: &[f32],
        gradient: &mut [f32],
    ) -> Result<(), Error> {
        checks::no_options(&self.driver.options, GRADIENT)?;
        checks::length(log_probabilities.len(), upstream.len())?;
        checks::length(log_probabilities.len(), gradient.len())?;
        self.driver.dispatch(Gradient::<true> {
            results: log_probabilities,
            upstream,
            gradient,
        });
        Ok(())
    }
}

const GRADIENT: &str = "a gradient from results";

/// Through a softmax, or through a log-softmax if `LOG`.
struct Gradient<'a, const LOG: bool> {
    results: &'a [f32],
    upstream: &'a [f32],
    gradient: &'a mut [f32],
}

impl<const LOG: bool> WithSimd for Gradient<'_, LOG> {
    type Output = ();

    #[cfg_attr(not(unoptimized), inline(always))]
    fn with_simd<S: Simd>(self, simd: S) {
        let registers = self.results.len().div_ceil(S::Vector::WIDTH);
        let mut totals = [0.0; LANES];
        for register in 0..registers {
            let start = register * S::Vector::WIDTH;
            let upstream = load(simd, self.upstream, start);
            let summand = if LOG {
                upstream
            } else {
                load(simd, self.results, start) * upstream
            };
            summand.add_to(totals.get_mut(start % LANES..).unwrap_or(&mut []));
        }

        // The negated sum in two floats.
        let sum = -total(totals);
        let high = simd.splat(sum as f32);
        let low = simd.splat((sum - f64::from(sum as f32)) as f32);
        let exp = Exp::new(simd);
        for register in 0..registers {
            let start = register * S::Vector::WIDTH;
            let results = load(simd, self.results, start);
            let upstream = load(simd, self.upstream, start);
            let gradient = self.gradient.get_mut(start..).unwrap_or(&mut []);
            if LOG {
                let probabilities = exp.of(results);
                let less_high = probabilities.mul_add(high, upstream);
                (less_high + probabilities * low).store(gradient);
            } else {
                (results * ((upstream + high) + low)).store(gradient);
            }
        }
    }
}

/// Zero past the end.
#[cfg_attr(not(unoptimized), inline(always))]
fn load<S: Simd>(simd: S, values: &[f32], start: usize) -> S::Vector {
    simd.load(values.get(start..).unwrap_or(&[]), 0.0)
}

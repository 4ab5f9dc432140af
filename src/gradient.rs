//! Gradients through softmax and log-softmax, from their results.

use crate::checks;
use crate::error::Error;
use crate::math::exp::Exp;
use crate::math::reduce::total;
use crate::simd::{LANES, Lanewise, Simd, Vector, WIDEST, WithSimd};
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
    /// most 2^−23 · Σ_j |p_j g_j|, plus the rounding of the result. No intermediate value overflows
    /// where the result does not, if p is a softmax. A NaN in p or g makes the whole gradient NaN.
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
        let columns = probabilities.len();
        self.checked_gradient::<false>(probabilities, columns, (upstream, gradient))
    }

    /// [`softmax_gradient`](Self::softmax_gradient) in the place of the upstream gradient: the same
    /// bits.
    ///
    /// # Errors
    ///
    /// As [`softmax_gradient`](Self::softmax_gradient).
    ///
    /// ```
    /// let mut gradient = [1.0, 0.0];
    /// online_softmax::Softmax::new().softmax_gradient_in_place(&[0.5, 0.5], &mut gradient)?;
    /// assert_eq!(gradient, [0.25, -0.25]);
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    pub fn softmax_gradient_in_place(
        &self,
        probabilities: &[f32],
        gradient: &mut [f32],
    ) -> Result<(), Error> {
        let columns = probabilities.len();
        self.checked_gradient::<false>(probabilities, columns, gradient)
    }

    /// [`softmax_gradient`](Self::softmax_gradient) of each row of a matrix: row-major, `columns`
    /// values a row, no gaps.
    ///
    /// # Errors
    ///
    /// As [`softmax_gradient`](Self::softmax_gradient); [`Error::PartialRow`] if the number of
    /// probabilities is not a multiple of `columns`. Then nothing is written.
    ///
    /// ```
    /// let softmax = online_softmax::Softmax::new();
    /// let (upstream, mut gradient) = ([1.0, 0.0, 0.0, 4.0], [9.0; 4]);
    /// softmax.softmax_gradient_rows(&[0.5; 4], &upstream, 2, &mut gradient)?;
    /// assert_eq!(gradient, [0.25, -0.25, -1.0, 1.0]);
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    pub fn softmax_gradient_rows(
        &self,
        probabilities: &[f32],
        upstream: &[f32],
        columns: usize,
        gradient: &mut [f32],
    ) -> Result<(), Error> {
        self.checked_gradient::<false>(probabilities, columns, (upstream, gradient))
    }

    /// [`softmax_gradient_rows`](Self::softmax_gradient_rows) in the place of the upstream gradient:
    /// the same bits.
    ///
    /// # Errors
    ///
    /// As [`softmax_gradient_rows`](Self::softmax_gradient_rows).
    ///
    /// ```
    /// let softmax = online_softmax::Softmax::new();
    /// let mut gradient = [1.0, 0.0, 0.0, 4.0];
    /// softmax.softmax_gradient_rows_in_place(&[0.5; 4], 2, &mut gradient)?;
    /// assert_eq!(gradient, [0.25, -0.25, -1.0, 1.0]);
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    pub fn softmax_gradient_rows_in_place(
        &self,
        probabilities: &[f32],
        columns: usize,
        gradient: &mut [f32],
    ) -> Result<(), Error> {
        self.checked_gradient::<false>(probabilities, columns, gradient)
    }

    /// The gradient by the logits of a row, from its log-softmax l ≤ 0 and the gradient g by l:
    ///
    /// ```text
    /// g_i − e^(l_i) · Σ_j g_j
    /// ```
    ///
    /// The sum is an `f64`. The error of the difference is at most 2^−22 · |e^(l_i) Σ_j g_j| +
    /// 2^−50 · Σ_j |g_j|, plus the rounding of the result. No intermediate value overflows where
    /// the result does not. A NaN in `upstream` makes the whole gradient NaN.
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
        let columns = log_probabilities.len();
        self.checked_gradient::<true>(log_probabilities, columns, (upstream, gradient))
    }

    /// [`log_softmax_gradient`](Self::log_softmax_gradient) in the place of the upstream gradient:
    /// the same bits.
    ///
    /// # Errors
    ///
    /// As [`log_softmax_gradient`](Self::log_softmax_gradient).
    ///
    /// ```
    /// let log_half = -core::f32::consts::LN_2;
    /// let mut gradient = [1.0, 0.0];
    /// online_softmax::Softmax::new().log_softmax_gradient_in_place(&[log_half; 2], &mut gradient)?;
    /// assert_eq!(gradient, [0.5, -0.5]);
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    pub fn log_softmax_gradient_in_place(
        &self,
        log_probabilities: &[f32],
        gradient: &mut [f32],
    ) -> Result<(), Error> {
        let columns = log_probabilities.len();
        self.checked_gradient::<true>(log_probabilities, columns, gradient)
    }

    /// [`log_softmax_gradient`](Self::log_softmax_gradient) of each row of a matrix: row-major,
    /// `columns` values a row, no gaps.
    ///
    /// # Errors
    ///
    /// As [`log_softmax_gradient`](Self::log_softmax_gradient); [`Error::PartialRow`] if the number
    /// of log-probabilities is not a multiple of `columns`. Then nothing is written.
    ///
    /// ```
    /// let softmax = online_softmax::Softmax::new();
    /// let (upstream, mut gradient) = ([1.0, 2.0], [9.0; 2]);
    /// softmax.log_softmax_gradient_rows(&[0.0; 2], &upstream, 1, &mut gradient)?;
    /// assert_eq!(gradient, [0.0; 2]);
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    pub fn log_softmax_gradient_rows(
        &self,
        log_probabilities: &[f32],
        upstream: &[f32],
        columns: usize,
        gradient: &mut [f32],
    ) -> Result<(), Error> {
        self.checked_gradient::<true>(log_probabilities, columns, (upstream, gradient))
    }

    /// [`log_softmax_gradient_rows`](Self::log_softmax_gradient_rows) in the place of the upstream
    /// gradient: the same bits.
    ///
    /// # Errors
    ///
    /// As [`log_softmax_gradient_rows`](Self::log_softmax_gradient_rows).
    ///
    /// ```
    /// let mut gradient = [1.0, 2.0];
    /// let softmax = online_softmax::Softmax::new();
    /// softmax.log_softmax_gradient_rows_in_place(&[0.0; 2], 1, &mut gradient)?;
    /// assert_eq!(gradient, [0.0; 2]);
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    pub fn log_softmax_gradient_rows_in_place(
        &self,
        log_probabilities: &[f32],
        columns: usize,
        gradient: &mut [f32],
    ) -> Result<(), Error> {
        self.checked_gradient::<true>(log_probabilities, columns, gradient)
    }

    fn checked_gradient<const LOG: bool>(
        &self,
        results: &[f32],
        columns: usize,
        places: impl Places,
    ) -> Result<(), Error> {
        checks::no_options(&self.driver.options, GRADIENT)?;
        checks::length(results.len(), places.upstream().len())?;
        checks::length(results.len(), places.len())?;
        checks::whole_rows(results.len(), columns)?;
        self.driver.dispatch(Gradients::<LOG, _> {
            results,
            columns,
            places,
        });
        Ok(())
    }
}

const GRADIENT: &str = "a gradient from results";

/// Upstream values, and places for as many gradients.
trait Places: Sized {
    fn len(&self) -> usize;

    fn upstream(&self) -> &[f32];

    fn gradient(&mut self) -> &mut [f32];

    /// The first `count` and the others, if there are so many.
    fn split_at(self, count: usize) -> Option<(Self, Self)>;
}

/// In place.
impl Places for &mut [f32] {
    #[cfg_attr(not(unoptimized), inline(always))]
    fn len(&self) -> usize {
        <[f32]>::len(self)
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn upstream(&self) -> &[f32] {
        self
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn gradient(&mut self) -> &mut [f32] {
        self
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn split_at(self, count: usize) -> Option<(Self, Self)> {
        self.split_at_mut_checked(count)
    }
}

/// Out of place.
impl Places for (&[f32], &mut [f32]) {
    #[cfg_attr(not(unoptimized), inline(always))]
    fn len(&self) -> usize {
        self.1.len()
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn upstream(&self) -> &[f32] {
        self.0
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn gradient(&mut self) -> &mut [f32] {
        self.1
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn split_at(self, count: usize) -> Option<(Self, Self)> {
        let (upstream, other_upstream) = self.0.split_at_checked(count)?;
        let (gradient, other_gradient) = self.1.split_at_mut_checked(count)?;
        Some(((upstream, gradient), (other_upstream, other_gradient)))
    }
}

/// Through the softmax of each row, or through the log-softmax if `LOG`.
struct Gradients<'a, const LOG: bool, P> {
    results: &'a [f32],
    columns: usize,
    places: P,
}

impl<const LOG: bool, P: Places> WithSimd for Gradients<'_, LOG, P> {
    type Output = ();

    #[cfg_attr(not(unoptimized), inline(always))]
    fn with_simd<S: Simd>(self, simd: S) {
        let columns = self.columns.max(1);
        let mut places = self.places;
        for results in self.results.chunks_exact(columns) {
            let Some((row, others)) = places.split_at(columns) else {
                return;
            };
            places = others;
            let sum =
                Sum::<S>::new::<LOG>(simd, sum_of_row::<LOG, S>(simd, results, row.upstream()));
            write_row::<LOG, S>(simd, sum, results, row);
        }
    }
}

/// What is taken from each upstream value.
#[cfg_attr(not(unoptimized), inline(always))]
fn sum_of_row<const LOG: bool, S: Simd>(simd: S, results: &[f32], upstream: &[f32]) -> f64 {
    let mut totals = [0.0; LANES];
    let (groups, last) = results.as_chunks::<LANES>();
    let (of_groups, of_last) = upstream.as_chunks::<LANES>();
    for (results, upstream) in groups.iter().zip(of_groups) {
        add_group::<LOG, S>(simd, results, upstream, &mut totals);
    }
    add_group::<LOG, S>(simd, last, of_last, &mut totals);
    total(totals)
}

/// Adds what is summed of up to [`LANES`] columns to the totals of their lanes.
#[cfg_attr(not(unoptimized), inline(always))]
fn add_group<const LOG: bool, S: Simd>(
    simd: S,
    results: &[f32],
    upstream: &[f32],
    totals: &mut [f64; LANES],
) {
    // Up to a constant, so that the totals stay in registers.
    for register in 0..LANES / S::Vector::WIDTH {
        let start = register * S::Vector::WIDTH;
        if start >= results.len() {
            break;
        }
        let upstream = load(simd, upstream, start);
        let summands = if LOG {
            upstream
        } else {
            load(simd, results, start) * upstream
        };
        summands.add_to(totals.get_mut(start..).unwrap_or(&mut []));
    }
}

/// A negated sum, in every lane.
struct Sum<S: Simd> {
    /// In two floats, times `factor`.
    high: S::Vector,
    low: S::Vector,
    /// A power of two, so that the sum, and its difference from an upstream value, do not overflow.
    factor: S::Vector,
    inverse: S::Vector,
}

impl<S: Simd> Sum<S> {
    #[cfg_attr(not(unoptimized), inline(always))]
    fn new<const LOG: bool>(simd: S, sum: f64) -> Self {
        let (factor, inverse) = match LOG {
            true if sum.abs() < LARGE => (1.0, 1.0),
            true => (1.0 / SCALE, SCALE),
            false => (0.5, 2.0),
        };
        let sum = -sum * f64::from(factor);
        Sum {
            high: simd.splat(sum as f32),
            low: simd.splat((sum - f64::from(sum as f32)) as f32),
            factor: simd.splat(factor),
            inverse: simd.splat(inverse),
        }
    }
}

#[cfg_attr(not(unoptimized), inline(always))]
fn write_row<const LOG: bool, S: Simd>(
    simd: S,
    sum: Sum<S>,
    results: &[f32],
    mut places: impl Places,
) {
    let exp = Exp::new(simd);
    if LOG {
        // Exponentials side by side need more registers than there may be.
        return write_registers::<LOG, S>(simd, &exp, &sum, results, places);
    }
    let (groups, last) = results.as_chunks::<WIDEST>();
    for results in groups {
        let Some((group, others)) = places.split_at(WIDEST) else {
            return;
        };
        places = others;
        write_registers::<LOG, S>(simd, &exp, &sum, results, group);
    }
    write_registers::<LOG, S>(simd, &exp, &sum, last, places);
}

#[cfg_attr(not(unoptimized), inline(always))]
fn write_registers<const LOG: bool, S: Simd>(
    simd: S,
    exp: &Exp<S::Vector>,
    sum: &Sum<S>,
    results: &[f32],
    mut places: impl Places,
) {
    for start in (0..results.len()).step_by(S::Vector::WIDTH) {
        let results = load(simd, results, start);
        let upstream = load(simd, places.upstream(), start) * sum.factor;
        let gradient = if LOG {
            let probabilities = exp.of(results);
            let less_high = probabilities.mul_add(sum.high, upstream);
            (less_high + probabilities * sum.low) * sum.inverse
        } else {
            (results * sum.inverse) * ((upstream + sum.high) + sum.low)
        };
        gradient.store(places.gradient().get_mut(start..).unwrap_or(&mut []));
    }
}

/// A sum of upstream gradients beyond this may overflow in `f32`, or its difference from one.
const LARGE: f64 = 1.0e37;

/// More than the number of upstream gradients that a sum can have.
const SCALE: f32 = (1_u128 << 70) as f32;

/// Zero past the end.
#[cfg_attr(not(unoptimized), inline(always))]
fn load<S: Simd>(simd: S, values: &[f32], start: usize) -> S::Vector {
    simd.load(values.get(start..).unwrap_or(&[]), 0.0)
}

//! Half precision: `bf16` and `f16` logits and results. They are widened as they are loaded and
//! rounded as they are stored; all arithmetic is that of `f32`.

use crate::checks::{self, out_of_place};
use crate::error::Error;
use crate::normalizer::Normalizer;
use crate::softmax::Softmax;
use crate::source::{InPlace, SrcDst};
use crate::top_k::Candidate;
use core::marker::PhantomData;

mod sealed {
    use crate::source::Element;

    #[allow(private_bounds, reason = "nobody outside may implement or call it")]
    pub trait Sealed: Element {}
    impl Sealed for f32 {}
    impl Sealed for half::bf16 {}
    impl Sealed for half::f16 {}
}

/// A type of logits: `f32`, [`bf16`](half::bf16) or [`f16`](half::f16). Results in place have it
/// too.
pub trait Logit: sealed::Sealed {}
impl Logit for f32 {}
impl Logit for half::bf16 {}
impl Logit for half::f16 {}

/// A type of results for logits of type `L`: `f32`, or `L` itself.
///
/// Results of half precision are the `f32` results, rounded to nearest, ties to even.
pub trait Probability<L>: sealed::Sealed {}
impl<L: Logit> Probability<L> for f32 {}
impl Probability<half::bf16> for half::bf16 {}
impl Probability<half::f16> for half::f16 {}

impl<'a> Softmax<'a> {
    /// The same softmax over logits of type `L`.
    ///
    /// ```
    /// use half::bf16;
    /// use online_softmax::Softmax;
    ///
    /// let logits = [bf16::ONE; 4];
    /// let mut probabilities = [0.0; 4];
    /// Softmax::new().of::<bf16>().row(&logits, &mut probabilities)?;
    /// assert_eq!(probabilities, [0.25; 4]);
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    #[must_use]
    pub fn of<L: Logit>(self) -> SoftmaxOf<'a, L> {
        SoftmaxOf {
            softmax: self,
            logits: PhantomData,
        }
    }
}

/// A [`Softmax`] over logits of type `L`, made by [`Softmax::of`].
///
/// It has all methods of [`Softmax`] that read logits but `cross_entropy_gradient`, `axis` forms
/// included. Every method has the name, the options, the errors and the special values of the
/// method of [`Softmax`]. The results are, bit for bit, those of logits that were converted to
/// `f32` before the call. Results of type `L` are then rounded to nearest, ties to even.
///
/// ```
/// use half::f16;
/// use online_softmax::{Mask, Softmax};
///
/// let mut rows = [f16::from_f32(2.0); 6];
/// let causal = Softmax::new().scale(0.5).mask(Mask::Causal { first: 0 }).of::<f16>();
/// causal.rows_in_place(&mut rows, 3)?;
/// assert_eq!(rows.map(f16::to_f32), [1.0, 0.0, 0.0, 0.5, 0.5, 0.0]);
/// # Ok::<(), online_softmax::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct SoftmaxOf<'a, L> {
    softmax: Softmax<'a>,
    logits: PhantomData<fn(L)>,
}

impl<L: Logit> SoftmaxOf<'_, L> {
    /// The softmax of a row: [`Softmax::row`].
    ///
    /// # Errors
    ///
    /// As [`Softmax::row`].
    pub fn row<P: Probability<L>>(
        &self,
        logits: &[L],
        probabilities: &mut [P],
    ) -> Result<Normalizer, Error> {
        self.softmax
            .checked_row::<false, _>(out_of_place(logits, probabilities)?)
    }

    /// The softmax of a row in its place: [`Softmax::row_in_place`].
    ///
    /// # Errors
    ///
    /// As [`Softmax::row_in_place`].
    pub fn row_in_place(&self, row: &mut [L]) -> Result<Normalizer, Error> {
        self.softmax.checked_row::<false, _>(InPlace(row))
    }

    /// The log-softmax of a row: [`Softmax::log_row`].
    ///
    /// # Errors
    ///
    /// As [`Softmax::log_row`].
    pub fn log_row<P: Probability<L>>(
        &self,
        logits: &[L],
        log_probabilities: &mut [P],
    ) -> Result<Normalizer, Error> {
        self.softmax
            .checked_row::<true, _>(out_of_place(logits, log_probabilities)?)
    }

    /// The log-softmax of a row in its place: [`Softmax::log_row_in_place`].
    ///
    /// # Errors
    ///
    /// As [`Softmax::log_row_in_place`].
    pub fn log_row_in_place(&self, row: &mut [L]) -> Result<Normalizer, Error> {
        self.softmax.checked_row::<true, _>(InPlace(row))
    }

    /// The normalizer of a row: [`Softmax::normalizer`].
    ///
    /// # Errors
    ///
    /// As [`Softmax::normalizer`].
    pub fn normalizer(&self, logits: &[L]) -> Result<Normalizer, Error> {
        self.softmax.checked_normalizer(logits)
    }

    /// log Σ e^x of a row: [`Softmax::log_sum_exp`].
    ///
    /// # Errors
    ///
    /// As [`Softmax::log_sum_exp`].
    pub fn log_sum_exp(&self, logits: &[L]) -> Result<f32, Error> {
        self.softmax.checked_log_sum_exp(logits)
    }

    /// The softmax of each row of a matrix: [`Softmax::rows`].
    ///
    /// # Errors
    ///
    /// As [`Softmax::rows`].
    pub fn rows<P: Probability<L>>(
        &self,
        logits: &[L],
        columns: usize,
        probabilities: &mut [P],
    ) -> Result<(), Error> {
        let matrix = out_of_place(logits, probabilities)?;
        let len = matrix.len();
        checks::rows(&self.softmax.driver.options, len, columns)?;
        self.softmax
            .driver
            .rows::<false, _>(matrix, columns, 0, len);
        Ok(())
    }

    /// The softmax of each row of a matrix in its place: [`Softmax::rows_in_place`].
    ///
    /// # Errors
    ///
    /// As [`Softmax::rows_in_place`].
    pub fn rows_in_place(&self, rows: &mut [L], columns: usize) -> Result<(), Error> {
        let matrix = InPlace(rows);
        let len = matrix.len();
        checks::rows(&self.softmax.driver.options, len, columns)?;
        self.softmax
            .driver
            .rows::<false, _>(matrix, columns, 0, len);
        Ok(())
    }

    /// The log-softmax of each row of a matrix: [`Softmax::log_rows`].
    ///
    /// # Errors
    ///
    /// As [`Softmax::log_rows`].
    pub fn log_rows<P: Probability<L>>(
        &self,
        logits: &[L],
        columns: usize,
        log_probabilities: &mut [P],
    ) -> Result<(), Error> {
        let matrix = out_of_place(logits, log_probabilities)?;
        let len = matrix.len();
        checks::rows(&self.softmax.driver.options, len, columns)?;
        self.softmax.driver.rows::<true, _>(matrix, columns, 0, len);
        Ok(())
    }

    /// log Σ e^x of each row of a matrix: [`Softmax::log_sum_exp_rows`].
    ///
    /// # Errors
    ///
    /// As [`Softmax::log_sum_exp_rows`].
    pub fn log_sum_exp_rows(
        &self,
        logits: &[L],
        columns: usize,
        out: &mut [f32],
    ) -> Result<(), Error> {
        self.softmax.checked_log_sum_exp_rows(logits, columns, out)
    }

    /// The softmax along the middle axis of a tensor: [`Softmax::axis`].
    ///
    /// # Errors
    ///
    /// As [`Softmax::axis`].
    pub fn axis<P: Probability<L>>(
        &self,
        logits: &[L],
        shape: [usize; 3],
        probabilities: &mut [P],
    ) -> Result<(), Error> {
        self.softmax
            .checked_axis::<false, _>(out_of_place(logits, probabilities)?, shape)
    }

    /// The softmax along the middle axis of a tensor in its place: [`Softmax::axis_in_place`].
    ///
    /// # Errors
    ///
    /// As [`Softmax::axis_in_place`].
    pub fn axis_in_place(&self, data: &mut [L], shape: [usize; 3]) -> Result<(), Error> {
        self.softmax.checked_axis::<false, _>(InPlace(data), shape)
    }

    /// The log-softmax along the middle axis of a tensor: [`Softmax::log_axis`].
    ///
    /// # Errors
    ///
    /// As [`Softmax::log_axis`].
    pub fn log_axis<P: Probability<L>>(
        &self,
        logits: &[L],
        shape: [usize; 3],
        log_probabilities: &mut [P],
    ) -> Result<(), Error> {
        self.softmax
            .checked_axis::<true, _>(out_of_place(logits, log_probabilities)?, shape)
    }

    /// log Σ e^x along the middle axis of a tensor: [`Softmax::log_sum_exp_axis`].
    ///
    /// # Errors
    ///
    /// As [`Softmax::log_sum_exp_axis`].
    pub fn log_sum_exp_axis(
        &self,
        logits: &[L],
        shape: [usize; 3],
        out: &mut [f32],
    ) -> Result<(), Error> {
        self.softmax.checked_log_sum_exp_axis(logits, shape, out)
    }

    /// The most probable classes of a row: [`Softmax::top_k`].
    ///
    /// # Errors
    ///
    /// As [`Softmax::top_k`].
    pub fn top_k<'b>(
        &self,
        logits: &[L],
        best: &'b mut [Candidate],
    ) -> Result<(Normalizer, &'b [Candidate]), Error> {
        self.softmax.checked_top_k(logits, best)
    }

    /// The cross-entropy of a row and a class: [`Softmax::cross_entropy`].
    ///
    /// # Errors
    ///
    /// As [`Softmax::cross_entropy`].
    pub fn cross_entropy(&self, logits: &[L], target: usize) -> Result<f32, Error> {
        self.softmax.checked_cross_entropy(logits, target)
    }
}

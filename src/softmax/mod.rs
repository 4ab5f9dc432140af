//! The public methods over `f32` rows, matrices and axes. They check their arguments; the [`Driver`]
//! does the work.

use crate::backend::Backend;
use crate::checks::{self, out_of_place};
use crate::driver::Driver;
use crate::error::Error;
use crate::normalizer::Normalizer;
use crate::options::Options;
use crate::source::{InPlace, Layout, Source, SrcDst};

mod builder;

/// A configured softmax. It is a small `Copy` value; its methods are the operations.
///
/// ```text
/// softmax      a_i = e^(x_i − m) / d         m = max_i x_i,  d = Σ_i e^(x_i − m)
/// log-softmax  log a_i = (x_i − m) − log d
/// log-sum-exp  m + log d
/// ```
///
/// # Accuracy
///
/// In ULP of the `f32` result, for every row length to 2^24, every order and every spread of
/// logits. The true result is the exact one of the `f32` logits.
///
/// | result | fused backends | `Scalar`, `Portable` |
/// |---|---|---|
/// | softmax ≥ 2^−126 | 3 | 3 |
/// | softmax < 2^−126 | within 2^−126 | within 2^−126 |
/// | log-softmax | 2 | 3 |
/// | log-sum-exp | 2 ULP of max(1, \|result\|) | the same |
///
/// # Special values
///
/// | row | softmax | log-softmax | log-sum-exp | [`Outcome`](crate::Outcome) |
/// |---|---|---|---|---|
/// | empty | nothing written | nothing written | −∞ | `Empty` |
/// | any NaN | all NaN | all NaN | NaN | `NaN` |
/// | any +∞, no NaN | all NaN | all NaN | +∞ | `PositiveInfinity` |
/// | all −∞ | all NaN | all NaN | −∞ | `FullyMasked` |
/// | −∞ among finite | exactly 0 there | −∞ there | as without them | `Finite` |
/// | finite, to ±3.4e38 | as all others | as all others | as all others | `Finite` |
/// | one element | exactly 1 | exactly 0 | the element | `Finite` |
/// | N equal, a power of two, others −∞ | exactly 1/N | | | `Finite` |
///
/// If a row has no softmax, all its results are NaN, also those of masked logits.
///
/// # Method
///
/// Rows of at most 32 or 48 columns are transposed in registers, so that each lane is a row. Longer ones,
/// to 2048, go through the textbook's three loops, several rows at a time. Longer rows are read
/// slice by slice. All slices have one shift, and their sums are added. Rows of more than 2^21
/// columns are read twice, shorter ones once before the last pass. Streams and normalizers are read
/// by the online recurrence (Milakov and Gimelshein, "Online normalizer calculation for softmax",
/// arXiv 1805.02867), in 32 lanes. The exponential reduces the logit itself, not its difference
/// from the maximum, and keeps the exponent separate (Dukhan and Ablavatski, "Two-Pass Softmax",
/// arXiv 2001.04438). Sums are compensated; sums of rows and their reciprocals are two floats.
/// Along an inner axis each lane is a column, and the recurrence goes tile by tile.
#[derive(Clone, Copy, Debug)]
pub struct Softmax<'a> {
    pub(crate) driver: Driver<'a>,
}

impl Default for Softmax<'_> {
    /// [`Softmax::new`].
    fn default() -> Self {
        Softmax::new()
    }
}

impl<'a> Softmax<'a> {
    /// The softmax without options, on the best backend.
    ///
    /// Options apply to each logit in this order: scale, soft cap, masks.
    #[must_use]
    pub fn new() -> Self {
        Softmax {
            driver: Driver {
                backend: Backend::best(),
                options: Options::default(),
            },
        }
    }

    /// The same on `backend`.
    ///
    /// # Errors
    ///
    /// [`Error::UnavailableBackend`] if this machine cannot run it.
    ///
    /// ```
    /// use online_softmax::{Backend, Softmax};
    ///
    /// let reproducible = Softmax::new().backend(Backend::Portable)?;
    /// assert_eq!(reproducible.log_sum_exp(&[0.5])?, 0.5);
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    pub fn backend(mut self, backend: Backend) -> Result<Self, Error> {
        checks::backend(backend)?;
        self.driver.backend = backend;
        Ok(self)
    }

    /// The softmax of a row.
    ///
    /// # Errors
    ///
    /// [`Error::LengthMismatch`] if the slices differ in length; [`Error::MaskMismatch`] or
    /// [`Error::LengthBeyondRow`] if a mask does not fit. Then nothing is written.
    ///
    /// ```
    /// use online_softmax::{Outcome, Softmax};
    ///
    /// let mut probabilities = [0.0; 2];
    /// let normalizer = Softmax::new().row(&[0.0, 0.0], &mut probabilities)?;
    /// assert_eq!(probabilities, [0.5, 0.5]);
    /// assert_eq!(normalizer.outcome(), Outcome::Finite);
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    pub fn row(&self, logits: &[f32], probabilities: &mut [f32]) -> Result<Normalizer, Error> {
        self.checked_row::<false, _>(out_of_place(logits, probabilities)?)
    }

    /// The softmax of a row in its place: the same bits as [`row`](Self::row).
    ///
    /// # Errors
    ///
    /// None without options; [`Error::MaskMismatch`] or [`Error::LengthBeyondRow`] if a mask does
    /// not fit.
    ///
    /// ```
    /// let mut row = [5.0];
    /// online_softmax::Softmax::new().row_in_place(&mut row)?;
    /// assert_eq!(row, [1.0]);
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    pub fn row_in_place(&self, row: &mut [f32]) -> Result<Normalizer, Error> {
        self.checked_row::<false, _>(InPlace(row))
    }

    /// The log-softmax of a row.
    ///
    /// # Errors
    ///
    /// As [`row`](Self::row).
    ///
    /// ```
    /// let mut log_probabilities = [0.0; 2];
    /// online_softmax::Softmax::new().log_row(&[0.0, 0.0], &mut log_probabilities)?;
    /// assert_eq!(log_probabilities, [-core::f32::consts::LN_2; 2]);
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    pub fn log_row(
        &self,
        logits: &[f32],
        log_probabilities: &mut [f32],
    ) -> Result<Normalizer, Error> {
        self.checked_row::<true, _>(out_of_place(logits, log_probabilities)?)
    }

    /// The log-softmax of a row in its place: the same bits as [`log_row`](Self::log_row).
    ///
    /// # Errors
    ///
    /// As [`row_in_place`](Self::row_in_place).
    ///
    /// ```
    /// let mut row = [0.0, f32::NEG_INFINITY];
    /// online_softmax::Softmax::new().log_row_in_place(&mut row)?;
    /// assert_eq!(row, [0.0, f32::NEG_INFINITY]);
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    pub fn log_row_in_place(&self, row: &mut [f32]) -> Result<Normalizer, Error> {
        self.checked_row::<true, _>(InPlace(row))
    }

    /// The normalizer of a row: one read, nothing is written.
    ///
    /// # Errors
    ///
    /// None without options; [`Error::MaskMismatch`] or [`Error::LengthBeyondRow`] if a mask does
    /// not fit.
    ///
    /// ```
    /// let normalizer = online_softmax::Softmax::new().normalizer(&[1.0, 2.0, 2.0])?;
    /// assert_eq!(normalizer.max(), 2.0);
    /// assert!((normalizer.denominator() - 2.3678794).abs() < 1e-6);
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    pub fn normalizer(&self, logits: &[f32]) -> Result<Normalizer, Error> {
        self.checked_normalizer(logits)
    }

    /// log Σ e^x of a row: one read, nothing is written.
    ///
    /// With weights b > 0, log Σ b e^x, add log b to the logits. With factors of both signs, take
    /// [`Normalizer::log_difference`].
    ///
    /// # Errors
    ///
    /// As [`normalizer`](Self::normalizer).
    ///
    /// ```
    /// use online_softmax::{Mask, Softmax};
    ///
    /// assert_eq!(Softmax::new().log_sum_exp(&[-1e30, 2.0])?, 2.0);
    ///
    /// let log_weights = [2.0, 3.0].map(f32::ln);
    /// let weighted = Softmax::new().mask(Mask::Additive(&log_weights));
    /// // log(2e + 3e²)
    /// assert!((weighted.log_sum_exp(&[1.0, 2.0])? - 3.317951).abs() < 1e-6);
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    pub fn log_sum_exp(&self, logits: &[f32]) -> Result<f32, Error> {
        self.checked_log_sum_exp(logits)
    }

    /// The softmax of each row of a matrix: row-major, `columns` values a row, no gaps.
    ///
    /// # Errors
    ///
    /// [`Error::LengthMismatch`] if the slices differ in length; [`Error::PartialRow`] if the
    /// length is not a multiple of `columns`; [`Error::MaskMismatch`] or [`Error::LengthBeyondRow`]
    /// if a mask does not fit. Then nothing is written.
    ///
    /// ```
    /// let mut probabilities = [0.0; 4];
    /// online_softmax::Softmax::new().rows(&[1.0, 1.0, 3.0, 3.0], 2, &mut probabilities)?;
    /// assert_eq!(probabilities, [0.5; 4]);
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    pub fn rows(
        &self,
        logits: &[f32],
        columns: usize,
        probabilities: &mut [f32],
    ) -> Result<(), Error> {
        self.checked_rows::<false, _>(out_of_place(logits, probabilities)?, columns)
    }

    /// The softmax of each row of a matrix in its place: the same bits as [`rows`](Self::rows).
    ///
    /// # Errors
    ///
    /// [`Error::PartialRow`] if the number of values is not a multiple of `columns`;
    /// [`Error::MaskMismatch`] or [`Error::LengthBeyondRow`] if a mask does not fit. Then nothing
    /// is written.
    ///
    /// ```
    /// let mut rows = [1.0, 1.0, 3.0, 3.0];
    /// online_softmax::Softmax::new().rows_in_place(&mut rows, 1)?;
    /// assert_eq!(rows, [1.0; 4]);
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    pub fn rows_in_place(&self, rows: &mut [f32], columns: usize) -> Result<(), Error> {
        self.checked_rows::<false, _>(InPlace(rows), columns)
    }

    /// The log-softmax of each row of a matrix: row-major, `columns` values a row, no gaps.
    ///
    /// # Errors
    ///
    /// As [`rows`](Self::rows).
    ///
    /// ```
    /// let mut log_probabilities = [1.0; 4];
    /// online_softmax::Softmax::new().log_rows(&[1.0, 2.0, 3.0, 4.0], 1, &mut log_probabilities)?;
    /// assert_eq!(log_probabilities, [0.0; 4]);
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    pub fn log_rows(
        &self,
        logits: &[f32],
        columns: usize,
        log_probabilities: &mut [f32],
    ) -> Result<(), Error> {
        self.checked_rows::<true, _>(out_of_place(logits, log_probabilities)?, columns)
    }

    /// log Σ e^x of each row of a matrix. `out` has a place for each row. A row of no columns gives
    /// −∞.
    ///
    /// # Errors
    ///
    /// [`Error::PartialRow`] if the number of logits is not a multiple of `columns`;
    /// [`Error::RowsMismatch`] if `out` does not have one place for each row;
    /// [`Error::MaskMismatch`] or [`Error::LengthBeyondRow`] if a mask does not fit. Then nothing
    /// is written.
    ///
    /// ```
    /// let mut out = [0.0; 2];
    /// online_softmax::Softmax::new().log_sum_exp_rows(&[1.0, -1e30, 3.0, -1e30], 2, &mut out)?;
    /// assert_eq!(out, [1.0, 3.0]);
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    pub fn log_sum_exp_rows(
        &self,
        logits: &[f32],
        columns: usize,
        out: &mut [f32],
    ) -> Result<(), Error> {
        self.checked_log_sum_exp_rows(logits, columns, out)
    }

    /// The softmax along the middle axis of a tensor of `shape` [outer, axis, inner], row-major, no
    /// gaps: of each `axis` values that lie `inner` apart. With `inner` = 1 it is
    /// [`rows`](Self::rows). Otherwise the same guarantees hold, but the last bits may differ from
    /// those of `rows` over a transposed copy.
    ///
    /// Each column takes one lane, so an axis is fast from about 16 columns (`inner`).
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`] if the product of the dimensions overflows; [`Error::ShapeMismatch`] if
    /// it is not the number of logits; [`Error::LengthMismatch`] if the slices differ in length;
    /// [`Error::MaskMismatch`] or [`Error::LengthBeyondRow`] if a mask does not fit;
    /// [`Error::UnsupportedOption`] with a row stride, or with a causal mask or a window unless
    /// `inner` is 1. Then nothing is written.
    ///
    /// ```
    /// let mut probabilities = [0.0; 4];
    /// online_softmax::Softmax::new().axis(&[1.0, 5.0, 1.0, 5.0], [1, 2, 2], &mut probabilities)?;
    /// assert_eq!(probabilities, [0.5; 4]);
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    pub fn axis(
        &self,
        logits: &[f32],
        shape: [usize; 3],
        probabilities: &mut [f32],
    ) -> Result<(), Error> {
        self.checked_axis::<false, _>(out_of_place(logits, probabilities)?, shape)
    }

    /// [`axis`](Self::axis) in the place of the logits: the same bits.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`] if the product of the dimensions overflows; [`Error::ShapeMismatch`] if
    /// it is not the number of values; the errors of [`axis`](Self::axis) about masks. Then nothing
    /// is written.
    ///
    /// ```
    /// let mut data = [3.0, 7.0];
    /// online_softmax::Softmax::new().axis_in_place(&mut data, [1, 1, 2])?;
    /// assert_eq!(data, [1.0; 2]);
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    pub fn axis_in_place(&self, data: &mut [f32], shape: [usize; 3]) -> Result<(), Error> {
        self.checked_axis::<false, _>(InPlace(data), shape)
    }

    /// The log-softmax along the middle axis of a tensor, as [`axis`](Self::axis).
    ///
    /// # Errors
    ///
    /// As [`axis`](Self::axis).
    ///
    /// ```
    /// let mut log_probabilities = [1.0; 2];
    /// online_softmax::Softmax::new().log_axis(&[3.0, 7.0], [1, 1, 2], &mut log_probabilities)?;
    /// assert_eq!(log_probabilities, [0.0; 2]);
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    pub fn log_axis(
        &self,
        logits: &[f32],
        shape: [usize; 3],
        log_probabilities: &mut [f32],
    ) -> Result<(), Error> {
        self.checked_axis::<true, _>(out_of_place(logits, log_probabilities)?, shape)
    }

    /// log Σ e^x along the middle axis of a tensor of `shape` [outer, axis, inner]: of each `axis`
    /// values that lie `inner` apart. `out` has outer · inner places, row-major. With `inner` = 1 it
    /// is [`log_sum_exp_rows`](Self::log_sum_exp_rows). Otherwise the same guarantees hold. An axis
    /// without values gives −∞.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`] if a product of the dimensions overflows; [`Error::ShapeMismatch`] if
    /// the product of all is not the number of logits; [`Error::RowsMismatch`] if `out` does not
    /// have outer · inner places; the errors of [`axis`](Self::axis) about masks. Then nothing is
    /// written.
    ///
    /// ```
    /// let mut out = [0.0; 2];
    /// let softmax = online_softmax::Softmax::new();
    /// softmax.log_sum_exp_axis(&[1.0, -1e30, -1e30, 5.0], [1, 2, 2], &mut out)?;
    /// assert_eq!(out, [1.0, 5.0]);
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    pub fn log_sum_exp_axis(
        &self,
        logits: &[f32],
        shape: [usize; 3],
        out: &mut [f32],
    ) -> Result<(), Error> {
        self.checked_log_sum_exp_axis(logits, shape, out)
    }

    pub(crate) fn checked_row<const LOG: bool, R: SrcDst>(
        &self,
        row: R,
    ) -> Result<Normalizer, Error> {
        checks::masks(&self.driver.options, 1, row.len(), 1)?;
        Ok(self.driver.row::<LOG, R>(row))
    }

    pub(crate) fn checked_rows<const LOG: bool, R: SrcDst>(
        &self,
        matrix: R,
        columns: usize,
    ) -> Result<(), Error> {
        let layout = checks::rows(&self.driver.options, matrix.len(), columns)?;
        self.driver.rows::<LOG, R>(matrix, layout, 0);
        Ok(())
    }

    pub(crate) fn checked_axis<const LOG: bool, R: SrcDst>(
        &self,
        tensor: R,
        shape: [usize; 3],
    ) -> Result<(), Error> {
        checks::shape(shape, tensor.len())?;
        checks::axis(&self.driver.options, shape)?;
        let [_, axis, inner] = shape;
        if inner == 1 {
            return self.checked_rows::<LOG, R>(tensor, axis);
        }
        if tensor.len() > 0 {
            self.driver.axis::<LOG, R>(tensor, shape, 0);
        }
        Ok(())
    }

    pub(crate) fn checked_normalizer<L: Source>(&self, logits: L) -> Result<Normalizer, Error> {
        checks::masks(&self.driver.options, 1, logits.len(), 1)?;
        Ok(self.driver.normalizer(logits))
    }

    pub(crate) fn checked_log_sum_exp<L: Source>(&self, logits: L) -> Result<f32, Error> {
        checks::masks(&self.driver.options, 1, logits.len(), 1)?;
        Ok(self.driver.log_sum_exp(logits))
    }

    pub(crate) fn checked_log_sum_exp_rows<L: Source>(
        &self,
        logits: L,
        columns: usize,
        out: &mut [f32],
    ) -> Result<(), Error> {
        let options = &self.driver.options;
        let layout = checks::log_sum_exp_rows(options, logits.len(), columns, out.len())?;
        self.driver.log_sum_exp_rows(logits, layout, 0, out);
        Ok(())
    }

    pub(crate) fn checked_log_sum_exp_axis<L: Source>(
        &self,
        logits: L,
        shape: [usize; 3],
        out: &mut [f32],
    ) -> Result<(), Error> {
        let [_, axis, inner] = shape;
        let len = logits.len();
        checks::log_sum_exp_axis(&self.driver.options, shape, len, out.len())?;
        if inner == 1 {
            let layout = Layout {
                rows: out.len(),
                columns: axis,
                stride: axis,
            };
            self.driver.log_sum_exp_rows(logits, layout, 0, out);
        } else {
            self.driver.log_sum_exp_axis(logits, axis, inner, out);
        }
        Ok(())
    }
}

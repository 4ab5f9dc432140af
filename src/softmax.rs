//! The public functions over rows: arguments are checked here, and nothing is computed.

use crate::axis;
use crate::backend::{Backend, Kernel};
use crate::error::Error;
use crate::kernel::{self, Apart, InPlace, Logits, Row, Terms};
use crate::normalizer::Normalizer;
use crate::vector::Simd;
use core::marker::PhantomData;

/// The softmax of a row on the best backend: [`Softmax::row`].
///
/// ```
/// let mut probabilities = [0.0; 3];
/// online_softmax::softmax(&[1.0, 2.0, 3.0], &mut probabilities)?;
/// assert!((probabilities[2] - 0.66524094).abs() < 1e-6);
/// # Ok::<(), online_softmax::Error>(())
/// ```
///
/// # Errors
///
/// As [`Softmax::row`].
pub fn softmax(logits: &[f32], probabilities: &mut [f32]) -> Result<Normalizer, Error> {
    Softmax::new().row(logits, probabilities)
}

/// The softmax of a row in its place, on the best backend: [`Softmax::row_in_place`].
///
/// ```
/// let mut row = [0.0, f32::NEG_INFINITY, 0.0];
/// online_softmax::softmax_in_place(&mut row);
/// assert_eq!(row, [0.5, 0.0, 0.5]);
/// ```
pub fn softmax_in_place(row: &mut [f32]) -> Normalizer {
    Softmax::new().softmax_of(InPlace(row))
}

/// The log-softmax of a row on the best backend: [`Softmax::log_row`].
///
/// ```
/// let mut log_probabilities = [0.0; 2];
/// online_softmax::log_softmax(&[30.0, 0.0], &mut log_probabilities)?;
/// assert!((log_probabilities[0] / -9.3576229688e-14 - 1.0).abs() < 1e-6);
/// # Ok::<(), online_softmax::Error>(())
/// ```
///
/// # Errors
///
/// As [`Softmax::log_row`].
pub fn log_softmax(logits: &[f32], log_probabilities: &mut [f32]) -> Result<Normalizer, Error> {
    Softmax::new().log_row(logits, log_probabilities)
}

/// The log-softmax of a row in its place, on the best backend: [`Softmax::log_row_in_place`].
///
/// ```
/// let mut row = [7.0];
/// online_softmax::log_softmax_in_place(&mut row);
/// assert_eq!(row, [0.0]);
/// ```
pub fn log_softmax_in_place(row: &mut [f32]) -> Normalizer {
    Softmax::new().log_softmax_of(InPlace(row))
}

/// log Σ e^x of a row on the best backend: [`Softmax::log_sum_exp`].
///
/// ```
/// assert!((online_softmax::log_sum_exp(&[1000.0, 1000.0]) - 1000.6931).abs() < 1e-3);
/// assert_eq!(online_softmax::log_sum_exp(&[]), f32::NEG_INFINITY);
/// ```
#[must_use]
pub fn log_sum_exp(logits: &[f32]) -> f32 {
    Softmax::new().normalizer_of(logits).log_sum_exp()
}

/// A configured softmax: a small value to copy, whose methods are the operations.
///
/// ```text
/// softmax      a_i = e^(x_i − m) / d         m = max_i x_i,  d = Σ_i e^(x_i − m)
/// log-softmax  log a_i = (x_i − m) − log d
/// log-sum-exp  m + log d
/// ```
///
/// Accuracy, in ULP of the `f32` result, for any row length to 2^24, any order and any spread; the
/// true result is that of the `f32` logits, computed exactly:
///
/// | result | fused backends | `Scalar`, `Portable` |
/// |---|---|---|
/// | softmax ≥ 2^−126 | 2.5 | 3 |
/// | softmax < 2^−126 | within 2^−126 | within 2^−126 |
/// | log-softmax | 2 | 3 |
/// | log-sum-exp | 2 ULP of max(1, \|result\|) | the same |
///
/// Special values:
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
/// | N equal, a power of two | exactly 1/N | | | `Finite` |
///
/// The method is described at the top of the source of the kernel and of the exponential.
#[derive(Clone, Copy, Debug)]
pub struct Softmax<'a> {
    backend: Backend,
    borrowed: PhantomData<&'a ()>,
}

impl Default for Softmax<'_> {
    /// [`Softmax::new`].
    fn default() -> Self {
        Softmax::new()
    }
}

impl<'a> Softmax<'a> {
    /// The plain softmax, on the best backend.
    #[must_use]
    pub fn new() -> Self {
        Softmax {
            backend: Backend::best(),
            borrowed: PhantomData,
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
    pub fn backend(self, backend: Backend) -> Result<Self, Error> {
        backend.require()?;
        Ok(Softmax { backend, ..self })
    }

    /// The softmax of a row.
    ///
    /// # Errors
    ///
    /// [`Error::LengthMismatch`] if the slices differ in length; nothing is written then.
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
        Ok(self.softmax_of(apart(logits, probabilities)?))
    }

    /// The softmax of a row in its place: the same bits as [`row`](Self::row).
    ///
    /// # Errors
    ///
    /// None without options.
    ///
    /// ```
    /// let mut row = [5.0];
    /// online_softmax::Softmax::new().row_in_place(&mut row)?;
    /// assert_eq!(row, [1.0]);
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    pub fn row_in_place(&self, row: &mut [f32]) -> Result<Normalizer, Error> {
        Ok(self.softmax_of(InPlace(row)))
    }

    /// The log-softmax of a row.
    ///
    /// # Errors
    ///
    /// [`Error::LengthMismatch`] if the slices differ in length; nothing is written then.
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
        Ok(self.log_softmax_of(apart(logits, log_probabilities)?))
    }

    /// The log-softmax of a row in its place: the same bits as [`log_row`](Self::log_row).
    ///
    /// # Errors
    ///
    /// None without options.
    ///
    /// ```
    /// let mut row = [0.0, f32::NEG_INFINITY];
    /// online_softmax::Softmax::new().log_row_in_place(&mut row)?;
    /// assert_eq!(row, [0.0, f32::NEG_INFINITY]);
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    pub fn log_row_in_place(&self, row: &mut [f32]) -> Result<Normalizer, Error> {
        Ok(self.log_softmax_of(InPlace(row)))
    }

    /// The normalizer of a row: one read, nothing written.
    ///
    /// # Errors
    ///
    /// None without options.
    ///
    /// ```
    /// let normalizer = online_softmax::Softmax::new().normalizer(&[1.0, 2.0, 2.0])?;
    /// assert_eq!(normalizer.max(), 2.0);
    /// assert!((normalizer.denominator() - 2.3678794).abs() < 1e-6);
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    pub fn normalizer(&self, logits: &[f32]) -> Result<Normalizer, Error> {
        Ok(self.normalizer_of(logits))
    }

    /// log Σ e^x of a row: one read, nothing written.
    ///
    /// # Errors
    ///
    /// None without options.
    ///
    /// ```
    /// let softmax = online_softmax::Softmax::new();
    /// assert_eq!(softmax.log_sum_exp(&[-1e30, 2.0])?, 2.0);
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    pub fn log_sum_exp(&self, logits: &[f32]) -> Result<f32, Error> {
        Ok(self.normalizer_of(logits).log_sum_exp())
    }

    /// The softmax of each row of a matrix: row-major, `columns` values a row, no gaps.
    ///
    /// # Errors
    ///
    /// [`Error::LengthMismatch`] if the slices differ in length, [`Error::PartialRow`] if that is
    /// not a multiple of `columns`; nothing is written then.
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
        let matrix = apart(logits, probabilities)?;
        self.softmax_of_rows(matrix, columns)
    }

    /// The softmax of each row of a matrix in its place.
    ///
    /// # Errors
    ///
    /// [`Error::PartialRow`] if the number of values is not a multiple of `columns`; nothing is
    /// written then.
    ///
    /// ```
    /// let mut rows = [1.0, 1.0, 3.0, 3.0];
    /// online_softmax::Softmax::new().rows_in_place(&mut rows, 1)?;
    /// assert_eq!(rows, [1.0; 4]);
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    pub fn rows_in_place(&self, rows: &mut [f32], columns: usize) -> Result<(), Error> {
        self.softmax_of_rows(InPlace(rows), columns)
    }

    /// The log-softmax of each row of a matrix: row-major, `columns` values a row, no gaps.
    ///
    /// # Errors
    ///
    /// [`Error::LengthMismatch`] if the slices differ in length, [`Error::PartialRow`] if that is
    /// not a multiple of `columns`; nothing is written then.
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
        let matrix = apart(logits, log_probabilities)?;
        self.log_softmax_of_rows(matrix, columns)
    }

    /// log Σ e^x of each row of a matrix; `out` has a place for each row. A row of no columns has
    /// −∞.
    ///
    /// # Errors
    ///
    /// [`Error::PartialRow`] if the number of logits is not a multiple of `columns`,
    /// [`Error::RowsMismatch`] if `out` has not a place for each row and no more; nothing is
    /// written then.
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
        check_rows(logits.len(), columns)?;
        match logits.len().checked_div(columns) {
            Some(rows) if rows != out.len() => Err(Error::RowsMismatch {
                expected: rows,
                given: out.len(),
            }),
            _ => {
                self.backend.dispatch(LogSumExpRows {
                    logits,
                    columns,
                    out,
                });
                Ok(())
            }
        }
    }

    /// The softmax along the middle axis of a tensor of `shape` [outer, axis, inner], row-major, no
    /// gaps: of each `axis` values that lie `inner` apart. With `inner` = 1 it is
    /// [`rows`](Self::rows); otherwise the same contracts hold, but the last bits may differ from
    /// those of `rows` over a transposed copy.
    ///
    /// Best from some 16 columns (`inner`) on: each takes one lane.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`] if the dimensions have no product, [`Error::ShapeMismatch`] if it is not
    /// the number of logits, [`Error::LengthMismatch`] if the slices differ in length; nothing is
    /// written then.
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
        check_shape(logits.len(), shape)?;
        self.along_axis::<false, _>(apart(logits, probabilities)?, shape)
    }

    /// [`axis`](Self::axis) in the place of the logits: the same bits.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`] if the dimensions have no product, [`Error::ShapeMismatch`] if it is not
    /// the number of values; nothing is written then.
    ///
    /// ```
    /// let mut data = [3.0, 7.0];
    /// online_softmax::Softmax::new().axis_in_place(&mut data, [1, 1, 2])?;
    /// assert_eq!(data, [1.0; 2]);
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    pub fn axis_in_place(&self, data: &mut [f32], shape: [usize; 3]) -> Result<(), Error> {
        check_shape(data.len(), shape)?;
        self.along_axis::<false, _>(InPlace(data), shape)
    }

    /// The log-softmax along the middle axis of a tensor: as [`axis`](Self::axis).
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
        check_shape(logits.len(), shape)?;
        self.along_axis::<true, _>(apart(logits, log_probabilities)?, shape)
    }

    fn along_axis<const LOG: bool, R: Row>(
        &self,
        tensor: R,
        shape: [usize; 3],
    ) -> Result<(), Error> {
        let [_, axis, inner] = shape;
        if inner == 1 {
            return if LOG {
                self.log_softmax_of_rows(tensor, axis)
            } else {
                self.softmax_of_rows(tensor, axis)
            };
        }
        if tensor.len() > 0 {
            self.dispatch(AlongAxis::<LOG, R> {
                tensor,
                axis,
                inner,
            });
        }
        Ok(())
    }

    /// Runs `kernel` on the backend of this softmax.
    pub(crate) fn dispatch<K: Kernel>(&self, kernel: K) -> K::Output {
        self.backend.dispatch(kernel)
    }

    fn softmax_of<R: Row>(&self, row: R) -> Normalizer {
        self.backend.dispatch(SoftmaxOf(row))
    }

    fn softmax_of_rows<R: Row>(&self, matrix: R, columns: usize) -> Result<(), Error> {
        check_rows(matrix.len(), columns)?;
        if matrix.len() > 0 {
            self.backend.dispatch(SoftmaxRows { matrix, columns });
        }
        Ok(())
    }

    fn log_softmax_of<R: Row>(&self, row: R) -> Normalizer {
        self.backend.dispatch(LogSoftmaxOf(row))
    }

    fn log_softmax_of_rows<R: Row>(&self, matrix: R, columns: usize) -> Result<(), Error> {
        check_rows(matrix.len(), columns)?;
        if matrix.len() > 0 {
            self.backend.dispatch(LogSoftmaxRows { matrix, columns });
        }
        Ok(())
    }

    pub(crate) fn normalizer_of(&self, logits: &[f32]) -> Normalizer {
        self.backend.dispatch(NormalizerOf(logits))
    }
}

impl Backend {
    /// e^x of each argument, the exponential that the softmax is made of: for x ≤ 0, the only
    /// arguments a softmax has. A greater argument counts as 0; NaN stays NaN.
    ///
    /// At most 1 ULP from the true value on the fused backends and 1.5 on the others, for every
    /// `f32` ≤ 0, subnormal results included (the test `exponential` tries them all).
    ///
    /// # Errors
    ///
    /// [`Error::UnavailableBackend`] if this machine cannot run the backend,
    /// [`Error::LengthMismatch`] if the slices differ in length; nothing is written then.
    ///
    /// ```
    /// let mut exponentials = [0.0; 3];
    /// online_softmax::Backend::best().exp(&[0.0, -1.0, f32::NEG_INFINITY], &mut exponentials)?;
    /// assert_eq!([exponentials[0], exponentials[2]], [1.0, 0.0]);
    /// assert!((exponentials[1] - 0.36787944).abs() < 1e-7);
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    pub fn exp(self, arguments: &[f32], exponentials: &mut [f32]) -> Result<(), Error> {
        self.require()?;
        self.dispatch(Exponential(apart(arguments, exponentials)?));
        Ok(())
    }

    pub(crate) fn require(self) -> Result<(), Error> {
        if self.is_available() {
            Ok(())
        } else {
            Err(Error::UnavailableBackend {
                backend: self,
                best: Backend::best(),
            })
        }
    }
}

pub(crate) fn apart<'a>(logits: &'a [f32], results: &'a mut [f32]) -> Result<Apart<'a>, Error> {
    check_length(logits.len(), results.len())?;
    Ok(Apart { logits, results })
}

pub(crate) fn check_length(expected: usize, given: usize) -> Result<(), Error> {
    if expected == given {
        Ok(())
    } else {
        Err(Error::LengthMismatch { expected, given })
    }
}

fn check_rows(values: usize, columns: usize) -> Result<(), Error> {
    match values.checked_rem(columns) {
        Some(0) => Ok(()),
        None if values == 0 => Ok(()),
        _ => Err(Error::PartialRow {
            columns,
            given: values,
        }),
    }
}

fn check_shape(given: usize, shape: [usize; 3]) -> Result<(), Error> {
    let [outer, axis, inner] = shape;
    // A dimension of 0 makes the product 0, however large the others.
    let product = if shape.contains(&0) {
        Some(0)
    } else {
        outer
            .checked_mul(axis)
            .and_then(|product| product.checked_mul(inner))
    };
    match product {
        None => Err(Error::TooLarge { shape }),
        Some(product) if product != given => Err(Error::ShapeMismatch { shape, given }),
        Some(_) => Ok(()),
    }
}

struct AlongAxis<const LOG: bool, R> {
    tensor: R,
    axis: usize,
    inner: usize,
}

impl<const LOG: bool, R: Row> Kernel for AlongAxis<LOG, R> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let mut unread = self.tensor;
        while let Ok((slab, others)) = unread.cut(self.axis * self.inner) {
            if LOG {
                axis::log_softmax(simd, slab, self.inner, Terms::NONE);
            } else {
                axis::softmax(simd, slab, self.inner, Terms::NONE);
            }
            unread = others;
        }
    }
}

struct SoftmaxOf<R>(R);

impl<R: Row> Kernel for SoftmaxOf<R> {
    type Output = Normalizer;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Normalizer {
        kernel::softmax(simd, self.0)
    }
}

struct SoftmaxRows<R> {
    matrix: R,
    columns: usize,
}

impl<R: Row> Kernel for SoftmaxRows<R> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        kernel::softmax_rows(simd, self.matrix, self.columns);
    }
}

struct LogSoftmaxOf<R>(R);

impl<R: Row> Kernel for LogSoftmaxOf<R> {
    type Output = Normalizer;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Normalizer {
        kernel::log_softmax(simd, self.0)
    }
}

struct LogSoftmaxRows<R> {
    matrix: R,
    columns: usize,
}

impl<R: Row> Kernel for LogSoftmaxRows<R> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        kernel::log_softmax_rows(simd, self.matrix, self.columns);
    }
}

struct LogSumExpRows<'a> {
    logits: &'a [f32],
    columns: usize,
    out: &'a mut [f32],
}

impl Kernel for LogSumExpRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let mut unread = self.logits;
        for place in self.out {
            let (row, others) = unread.split_at_checked(self.columns).unwrap_or_default();
            *place = kernel::normalizer(simd, row).log_sum_exp();
            unread = others;
        }
    }
}

struct NormalizerOf<L>(L);

impl<L: Logits> Kernel for NormalizerOf<L> {
    type Output = Normalizer;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Normalizer {
        kernel::normalizer(simd, self.0)
    }
}

struct Exponential<R>(R);

impl<R: Row> Kernel for Exponential<R> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        kernel::exponential(simd, self.0);
    }
}

//! The public functions over rows: arguments are checked here, and nothing is computed.

use crate::axis;
use crate::backend::{Backend, WithSimd};
use crate::error::Error;
use crate::kernel::{
    self, Algorithm, BLOCK, CACHED, InPlace, LogSoftmax, OutOfPlace, Sink, Source, SrcDst,
    Streamed, ThreePass,
};
use crate::normalizer::Normalizer;
use crate::options::{Fill, FillBelow, Options, Prepare};
use crate::stream::Stream;
use crate::vector::{LANES, Simd};
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
    Softmax::new().row_of::<false, _>(InPlace(row), 0)
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
    Softmax::new().row_of::<true, _>(InPlace(row), 0)
}

/// log Σ e^x of a row on the best backend: [`Softmax::log_sum_exp`].
///
/// ```
/// assert!((online_softmax::log_sum_exp(&[1000.0, 1000.0]) - 1000.6931).abs() < 1e-3);
/// assert_eq!(online_softmax::log_sum_exp(&[]), f32::NEG_INFINITY);
/// ```
#[must_use]
pub fn log_sum_exp(logits: &[f32]) -> f32 {
    Softmax::new().normalizer_of(logits, 0).log_sum_exp()
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
/// | N equal, a power of two, others −∞ | exactly 1/N | | | `Finite` |
///
/// A row that has no softmax is NaN throughout, also where it is masked.
///
/// The method is described at the top of the source of the kernel and of the exponential.
#[derive(Clone, Copy, Debug)]
pub struct Softmax<'a> {
    pub(crate) backend: Backend,
    pub(crate) options: Options<'a>,
}

/// Declares a method that writes `f32` results of `f32` logits; with the feature `half`, of any
/// [`Logit`](crate::Logit) and any [`Probability`](crate::Probability) of it.
macro_rules! writes {
    ($(#[$attribute:meta])* fn $name:ident($logits:ident $(, $argument:ident: $type:ty)?; $results:ident)
        -> $output:ty = $checked:ident::<$log:literal>) => {
        $(#[$attribute])*
        #[cfg(not(feature = "half"))]
        pub fn $name(
            &self,
            $logits: &[f32],
            $($argument: $type,)?
            $results: &mut [f32],
        ) -> Result<$output, Error> {
            self.$checked::<$log, _>(apart($logits, $results)? $(, $argument)?)
        }

        $(#[$attribute])*
        #[cfg(feature = "half")]
        pub fn $name<L: crate::Logit, P: crate::Probability<L>>(
            &self,
            $logits: &[L],
            $($argument: $type,)?
            $results: &mut [P],
        ) -> Result<$output, Error> {
            P::$checked::<$log>(self, $logits, $($argument,)? $results)
        }
    };
}

/// Declares a method that reads `f32` logits, or with the feature `half` any
/// [`Logit`](crate::Logit).
macro_rules! reads {
    ($(#[$attribute:meta])* fn $name:ident $(<$lifetime:lifetime>)? ($logits:ident $(, $argument:ident: $type:ty)?)
        -> $output:ty = $checked:ident, $of_logit:ident $(, $read_out:ident)?) => {
        $(#[$attribute])*
        #[cfg(not(feature = "half"))]
        pub fn $name $(<$lifetime>)? (
            &self,
            $logits: &[f32],
            $($argument: $type,)?
        ) -> Result<$output, Error> {
            self.$checked($logits, $($argument)?)$(.map(|normalizer| normalizer.$read_out()))?
        }

        $(#[$attribute])*
        #[cfg(feature = "half")]
        pub fn $name <$($lifetime,)? L: crate::Logit> (
            &self,
            $logits: &[L],
            $($argument: $type,)?
        ) -> Result<$output, Error> {
            L::$of_logit(self, $logits, $($argument)?)$(.map(|normalizer| normalizer.$read_out()))?
        }
    };
}

pub(crate) use reads;

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
            options: Options::default(),
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

    writes! {
        /// The softmax of a row.
        ///
        /// # Errors
        ///
        /// [`Error::LengthMismatch`] if the slices differ in length, [`Error::MaskMismatch`] or
        /// [`Error::LengthBeyondRow`] if a mask does not fit; nothing is written then.
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
        fn row(logits; probabilities) -> Normalizer = checked_row::<false>
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

    writes! {
        /// The log-softmax of a row.
        ///
        /// # Errors
        ///
        /// [`Error::LengthMismatch`] if the slices differ in length, [`Error::MaskMismatch`] or
        /// [`Error::LengthBeyondRow`] if a mask does not fit; nothing is written then.
        ///
        /// ```
        /// let mut log_probabilities = [0.0; 2];
        /// online_softmax::Softmax::new().log_row(&[0.0, 0.0], &mut log_probabilities)?;
        /// assert_eq!(log_probabilities, [-core::f32::consts::LN_2; 2]);
        /// # Ok::<(), online_softmax::Error>(())
        /// ```
        fn log_row(logits; log_probabilities) -> Normalizer = checked_row::<true>
    }

    /// The log-softmax of a row in its place: the same bits as [`log_row`](Self::log_row).
    ///
    /// # Errors
    ///
    /// None without options; [`Error::MaskMismatch`] or [`Error::LengthBeyondRow`] if a mask does
    /// not fit.
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

    reads! {
        /// The normalizer of a row: one read, nothing written.
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
        fn normalizer(logits) -> Normalizer = checked_normalizer, normalizer
    }

    reads! {
        /// log Σ e^x of a row: one read, nothing written.
        ///
        /// # Errors
        ///
        /// None without options; [`Error::MaskMismatch`] or [`Error::LengthBeyondRow`] if a mask does
        /// not fit.
        ///
        /// ```
        /// let softmax = online_softmax::Softmax::new();
        /// assert_eq!(softmax.log_sum_exp(&[-1e30, 2.0])?, 2.0);
        /// # Ok::<(), online_softmax::Error>(())
        /// ```
        fn log_sum_exp(logits) -> f32 = checked_normalizer, normalizer, log_sum_exp
    }

    writes! {
        /// The softmax of each row of a matrix: row-major, `columns` values a row, no gaps.
        ///
        /// # Errors
        ///
        /// [`Error::LengthMismatch`] if the slices differ in length, [`Error::PartialRow`] if that is
        /// not a multiple of `columns`, [`Error::MaskMismatch`] or [`Error::LengthBeyondRow`] if a mask
        /// does not fit; nothing is written then.
        ///
        /// ```
        /// let mut probabilities = [0.0; 4];
        /// online_softmax::Softmax::new().rows(&[1.0, 1.0, 3.0, 3.0], 2, &mut probabilities)?;
        /// assert_eq!(probabilities, [0.5; 4]);
        /// # Ok::<(), online_softmax::Error>(())
        /// ```
        fn rows(logits, columns: usize; probabilities) -> () = checked_rows::<false>
    }

    /// The softmax of each row of a matrix in its place.
    ///
    /// # Errors
    ///
    /// [`Error::PartialRow`] if the number of values is not a multiple of `columns`,
    /// [`Error::MaskMismatch`] or [`Error::LengthBeyondRow`] if a mask does not fit; nothing is
    /// written then.
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

    writes! {
        /// The log-softmax of each row of a matrix: row-major, `columns` values a row, no gaps.
        ///
        /// # Errors
        ///
        /// [`Error::LengthMismatch`] if the slices differ in length, [`Error::PartialRow`] if that is
        /// not a multiple of `columns`, [`Error::MaskMismatch`] or [`Error::LengthBeyondRow`] if a mask
        /// does not fit; nothing is written then.
        ///
        /// ```
        /// let mut log_probabilities = [1.0; 4];
        /// online_softmax::Softmax::new().log_rows(&[1.0, 2.0, 3.0, 4.0], 1, &mut log_probabilities)?;
        /// assert_eq!(log_probabilities, [0.0; 4]);
        /// # Ok::<(), online_softmax::Error>(())
        /// ```
        fn log_rows(logits, columns: usize; log_probabilities) -> () = checked_rows::<true>
    }

    /// log Σ e^x of each row of a matrix; `out` has a place for each row. A row of no columns has
    /// −∞.
    ///
    /// # Errors
    ///
    /// [`Error::PartialRow`] if the number of logits is not a multiple of `columns`,
    /// [`Error::RowsMismatch`] if `out` has not a place for each row and no more,
    /// [`Error::MaskMismatch`] or [`Error::LengthBeyondRow`] if a mask does not fit; nothing is
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
        let rows = logits.len().checked_div(columns);
        if rows.is_some_and(|rows| rows != out.len()) {
            return Err(Error::RowsMismatch {
                expected: rows.unwrap_or(0),
                given: out.len(),
            });
        }
        self.options.check(out.len(), columns, 1)?;
        if self.options.takes_logits_alone() {
            self.dispatch(LogSumExpRows {
                logits,
                columns,
                out,
            });
        } else {
            let mut unread = logits;
            for (index, place) in out.iter_mut().enumerate() {
                let (row, others) = unread.split_at_checked(columns).unwrap_or_default();
                *place = self.normalizer_of(row, index).log_sum_exp();
                unread = others;
            }
        }
        Ok(())
    }

    writes! {
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
        /// the number of logits, [`Error::LengthMismatch`] if the slices differ in length,
        /// [`Error::MaskMismatch`] or [`Error::LengthBeyondRow`] if a mask does not fit,
        /// [`Error::UnsupportedOption`] with a causal mask unless `inner` is 1; nothing is written
        /// then.
        ///
        /// ```
        /// let mut probabilities = [0.0; 4];
        /// online_softmax::Softmax::new().axis(&[1.0, 5.0, 1.0, 5.0], [1, 2, 2], &mut probabilities)?;
        /// assert_eq!(probabilities, [0.5; 4]);
        /// # Ok::<(), online_softmax::Error>(())
        /// ```
        fn axis(logits, shape: [usize; 3]; probabilities) -> () = checked_axis::<false>
    }

    /// [`axis`](Self::axis) in the place of the logits: the same bits.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`] if the dimensions have no product, [`Error::ShapeMismatch`] if it is not
    /// the number of values, and those of [`axis`](Self::axis) of masks; nothing is written then.
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

    writes! {
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
        fn log_axis(logits, shape: [usize; 3]; log_probabilities) -> () = checked_axis::<true>
    }

    /// Runs `kernel` on the backend of this softmax.
    pub(crate) fn dispatch<K: WithSimd>(&self, kernel: K) -> K::Output {
        self.backend.dispatch(kernel)
    }

    pub(crate) fn checked_row<const LOG: bool, R: SrcDst>(
        &self,
        row: R,
    ) -> Result<Normalizer, Error> {
        self.check_results::<R>()?;
        self.options.check(1, row.len(), 1)?;
        Ok(self.row_of::<LOG, R>(row, 0))
    }

    pub(crate) fn checked_rows<const LOG: bool, R: SrcDst>(
        &self,
        matrix: R,
        columns: usize,
    ) -> Result<(), Error> {
        self.check_results::<R>()?;
        check_rows(matrix.len(), columns)?;
        if let Some(rows) = matrix.len().checked_div(columns) {
            self.options.check(rows, columns, 1)?;
            self.rows_of::<LOG, R>(matrix, columns);
        }
        Ok(())
    }

    pub(crate) fn checked_axis<const LOG: bool, R: SrcDst>(
        &self,
        tensor: R,
        shape: [usize; 3],
    ) -> Result<(), Error> {
        self.check_results::<R>()?;
        check_shape(tensor.len(), shape)?;
        let [outer, axis, inner] = shape;
        if inner == 1 {
            return self.checked_rows::<LOG, R>(tensor, axis);
        }
        self.options
            .check_not_causal("a softmax along an inner axis")?;
        self.options.check(outer, axis, inner)?;
        if tensor.len() > 0 {
            self.axis_of::<LOG, R>(tensor, axis, inner);
        }
        Ok(())
    }

    pub(crate) fn checked_normalizer<L: Source>(&self, logits: L) -> Result<Normalizer, Error> {
        self.options.check(1, logits.len(), 1)?;
        Ok(self.normalizer_of(logits, 0))
    }

    /// Results of half precision have no room for logits between two passes.
    fn check_results<R: SrcDst>(&self) -> Result<(), Error> {
        if R::HAS_SCRATCH || self.options.leaves_logits() {
            Ok(())
        } else {
            self.options.check_none("results of half precision")
        }
    }

    fn passes_over_row<const LOG: bool, R: SrcDst>(&self, row: R, sink: Sink) -> Normalizer {
        if LOG {
            self.dispatch(RowOf {
                passes: PhantomData::<LogSoftmax>,
                row,
                sink,
            })
        } else if row.len() <= CACHED {
            self.dispatch(RowOf {
                passes: PhantomData::<ThreePass>,
                row,
                sink,
            })
        } else {
            self.dispatch(RowOf {
                passes: PhantomData::<Streamed>,
                row,
                sink,
            })
        }
    }

    fn passes_over_rows<const PLAIN: bool, const LOG: bool, R: SrcDst>(
        &self,
        matrix: R,
        columns: usize,
        sink: Sink,
    ) {
        if LOG {
            let passes = PhantomData::<LogSoftmax>;
            self.dispatch(RowsOf::<PLAIN, _, _> {
                passes,
                matrix,
                columns,
                sink,
            });
        } else if columns <= CACHED {
            let passes = PhantomData::<ThreePass>;
            self.dispatch(RowsOf::<PLAIN, _, _> {
                passes,
                matrix,
                columns,
                sink,
            });
        } else {
            let passes = PhantomData::<Streamed>;
            self.dispatch(RowsOf::<PLAIN, _, _> {
                passes,
                matrix,
                columns,
                sink,
            });
        }
    }

    /// The softmax, or log-softmax, of a row, which is that of this index.
    pub(crate) fn row_of<const LOG: bool, R: SrcDst>(
        &self,
        mut row: R,
        index: usize,
    ) -> Normalizer {
        let sink = self.options.sink(LOG);
        if self.options.leaves_logits() {
            return self.passes_over_row::<LOG, _>(row, sink);
        }
        let columns = row.len();
        let visible = self.options.visible(index, columns);
        let mut normalizer = Normalizer::new();
        let changes_logits = self.options.changes_logits();
        if changes_logits {
            self.dispatch(Prepare {
                row: row.part(0, visible),
                preprocessing: self.options.preprocessing_of(index, columns, 0),
            });
        } else {
            normalizer = self.visible_row_of::<LOG, _>(row.part(0, visible), sink);
        }
        let mut row = row.stored();
        if changes_logits {
            normalizer = self.visible_row_of::<LOG, _>(row.part(0, visible), sink);
        }
        if visible < columns {
            normalizer = normalizer.merge(Normalizer::FULLY_MASKED);
        }
        let written = if sink.logit < f32::INFINITY {
            visible
        } else {
            0
        };
        self.dispatch(Fill {
            row: row.part(written, columns - written),
            value: sink.masked(&normalizer, LOG),
        });
        normalizer
    }

    /// With a sink of +∞ or NaN there is nothing to write, only what the row is to be found.
    fn visible_row_of<const LOG: bool, R: SrcDst>(&self, row: R, sink: Sink) -> Normalizer {
        if sink.logit < f32::INFINITY {
            self.passes_over_row::<LOG, R>(row, sink)
        } else {
            sink.with_sink(self.dispatch(NormalizerOf(row.logits())))
        }
    }

    fn rows_of<const LOG: bool, R: SrcDst>(&self, matrix: R, columns: usize) {
        let sink = self.options.sink(LOG);
        if self.options.leaves_logits() {
            return if self.options.is_plain() {
                self.passes_over_rows::<true, LOG, _>(matrix, columns, sink)
            } else {
                self.passes_over_rows::<false, LOG, _>(matrix, columns, sink)
            };
        }
        let mut index = 0;
        let mut unread = matrix;
        while unread.len() > 0 {
            let rows = self.options.rows_alike(index, columns);
            let (mut rows, others) = match unread.split_at(rows.saturating_mul(columns)) {
                Ok((rows, others)) => (rows, Some(others)),
                Err(last) => (last, None),
            };
            let count = rows.len().checked_div(columns).unwrap_or(1);
            if self.options.has_lengths() {
                self.row_of::<LOG, _>(rows, index);
            } else {
                self.dispatch(Prepare {
                    row: rows.view(),
                    preprocessing: self.options.preprocessing_of(index, columns, 0),
                });
                self.passes_over_rows::<false, LOG, _>(rows.stored(), columns, sink);
            }
            index += count;
            match others {
                Some(others) => unread = others,
                None => return,
            }
        }
    }

    fn axis_of<const LOG: bool, R: SrcDst>(&self, tensor: R, axis: usize, inner: usize) {
        let sink = self.options.sink(LOG);
        if self.options.leaves_logits() {
            return self.dispatch(AlongAxis::<LOG, _> {
                tensor,
                axis,
                inner,
                sink,
            });
        }
        let visible = self.options.visible(0, axis);
        let mut index = 0;
        let mut unread = tensor;
        while let Ok((mut slab, others)) = unread.split_at(axis * inner) {
            self.dispatch(Prepare {
                row: slab.part(0, visible * inner),
                preprocessing: self.options.preprocessing_of(index, axis * inner, 0),
            });
            let mut slab = slab.stored();
            if sink.logit < f32::INFINITY && visible > 0 {
                self.dispatch(AlongAxis::<LOG, _> {
                    tensor: slab.part(0, visible * inner),
                    axis: visible,
                    inner,
                    sink,
                });
                self.dispatch(FillBelow {
                    slab,
                    start: visible * inner,
                    inner,
                    value: if LOG { f32::NEG_INFINITY } else { 0.0 },
                });
            } else {
                let column = sink.with_sink(Normalizer::FULLY_MASKED);
                self.dispatch(Fill {
                    row: slab,
                    value: sink.masked(&column, LOG),
                });
            }
            index += 1;
            unread = others;
        }
    }

    /// The normalizer of a row, which is that of this index.
    pub(crate) fn normalizer_of<L: Source>(&self, logits: L, index: usize) -> Normalizer {
        if self.options.takes_logits_alone() {
            return self.dispatch(NormalizerOf(logits));
        }
        let mut stream = Stream::on(self.backend);
        let visible = self.for_each_prepared(logits, index, |prepared, _| stream.extend(prepared));
        let normalizer = stream.finish();
        let normalizer = if visible < logits.len() {
            normalizer.merge(Normalizer::FULLY_MASKED)
        } else {
            normalizer
        };
        self.options.sink(false).with_sink(normalizer)
    }

    /// Calls `read` with the logits that the softmax is to be taken of and where they begin, some
    /// at a time: a first group, then whole blocks. Returns how many are visible.
    pub(crate) fn for_each_prepared<L: Source>(
        &self,
        logits: L,
        index: usize,
        mut read: impl FnMut(&[f32], usize),
    ) -> usize {
        let columns = logits.len();
        let visible = self.options.visible(index, columns);
        let mut unread = logits.part(0, visible).unwrap_or(logits);
        let mut buffer = [0.0; LANES + 4 * BLOCK];
        let mut size = buffer.len();
        let mut start = 0;
        while unread.len() > 0 {
            let (logits, others) = unread.split_at(size).unwrap_or((unread, L::empty()));
            let Some(results) = buffer.get_mut(..logits.len()) else {
                break;
            };
            self.dispatch(Prepare {
                row: OutOfPlace { logits, results },
                preprocessing: self.options.preprocessing_of(index, columns, start),
            });
            read(buffer.get(..logits.len()).unwrap_or(&[]), start);
            start += logits.len();
            unread = others;
            size = 4 * BLOCK;
        }
        visible
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

pub(crate) fn apart<'a>(
    logits: &'a [f32],
    results: &'a mut [f32],
) -> Result<OutOfPlace<'a, &'a [f32]>, Error> {
    check_length(logits.len(), results.len())?;
    Ok(OutOfPlace { logits, results })
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
    sink: Sink,
}

impl<const LOG: bool, R: SrcDst> WithSimd for AlongAxis<LOG, R> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let mut unread = self.tensor;
        while let Ok((slab, others)) = unread.split_at(self.axis * self.inner) {
            if LOG {
                axis::log_softmax(simd, slab, self.inner, self.sink);
            } else {
                axis::softmax(simd, slab, self.inner, self.sink);
            }
            unread = others;
        }
    }
}

struct RowOf<P, R> {
    passes: PhantomData<P>,
    row: R,
    sink: Sink,
}

impl<P: Algorithm, R: SrcDst> WithSimd for RowOf<P, R> {
    type Output = Normalizer;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Normalizer {
        P::softmax(simd, self.row, self.sink)
    }
}

/// With no terms but [`Sink::NONE`] if `PLAIN`, so that none costs anything.
struct RowsOf<const PLAIN: bool, P, R> {
    passes: PhantomData<P>,
    matrix: R,
    columns: usize,
    sink: Sink,
}

impl<const PLAIN: bool, P: Algorithm, R: SrcDst> WithSimd for RowsOf<PLAIN, P, R> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let sink = if PLAIN { Sink::NONE } else { self.sink };
        P::softmax_rows(simd, self.matrix, self.columns, sink);
    }
}

struct LogSumExpRows<'a> {
    logits: &'a [f32],
    columns: usize,
    out: &'a mut [f32],
}

impl WithSimd for LogSumExpRows<'_> {
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

impl<L: Source> WithSimd for NormalizerOf<L> {
    type Output = Normalizer;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Normalizer {
        kernel::normalizer(simd, self.0)
    }
}

struct Exponential<R>(R);

impl<R: SrcDst> WithSimd for Exponential<R> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        kernel::exponential(simd, self.0);
    }
}

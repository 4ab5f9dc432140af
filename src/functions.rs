//! The free functions of one row, on the best backend, and the exponential.

use crate::backend::Backend;
use crate::checks::{self, out_of_place};
use crate::dispatch::dispatch;
use crate::error::Error;
use crate::normalizer::Normalizer;
use crate::options::Sink;
use crate::rows::log_sum_exp::LogSumExpRows;
use crate::rows::preprocess::Exponential;
use crate::rows::row::{NormalizerParts, Row};
use crate::source::{InPlace, Layout, SrcDst};

/// The softmax of a row on the best backend: [`Softmax::row`](crate::Softmax::row).
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
/// [`Error::LengthMismatch`] if the slices differ in length. Then nothing is written.
#[inline]
pub fn softmax(logits: &[f32], probabilities: &mut [f32]) -> Result<Normalizer, Error> {
    Ok(softmax_state(logits, probabilities)?.normalizer(Sink::NONE))
}

fn softmax_state(logits: &[f32], probabilities: &mut [f32]) -> Result<NormalizerParts, Error> {
    Ok(state::<false, _>(out_of_place(logits, probabilities)?))
}

/// The softmax of a row in its place, on the best backend:
/// [`Softmax::row_in_place`](crate::Softmax::row_in_place).
///
/// ```
/// let mut row = [0.0, f32::NEG_INFINITY, 0.0];
/// online_softmax::softmax_in_place(&mut row);
/// assert_eq!(row, [0.5, 0.0, 0.5]);
/// ```
#[inline]
pub fn softmax_in_place(row: &mut [f32]) -> Normalizer {
    softmax_in_place_state(row).normalizer(Sink::NONE)
}

fn softmax_in_place_state(row: &mut [f32]) -> NormalizerParts {
    state::<false, _>(InPlace(row))
}

/// The log-softmax of a row on the best backend: [`Softmax::log_row`](crate::Softmax::log_row).
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
/// [`Error::LengthMismatch`] if the slices differ in length. Then nothing is written.
#[inline]
pub fn log_softmax(logits: &[f32], log_probabilities: &mut [f32]) -> Result<Normalizer, Error> {
    Ok(log_softmax_state(logits, log_probabilities)?.normalizer(Sink::NONE))
}

fn log_softmax_state(
    logits: &[f32],
    log_probabilities: &mut [f32],
) -> Result<NormalizerParts, Error> {
    Ok(state::<true, _>(out_of_place(logits, log_probabilities)?))
}

/// The log-softmax of a row in its place, on the best backend:
/// [`Softmax::log_row_in_place`](crate::Softmax::log_row_in_place).
///
/// ```
/// let mut row = [7.0];
/// online_softmax::log_softmax_in_place(&mut row);
/// assert_eq!(row, [0.0]);
/// ```
#[inline]
pub fn log_softmax_in_place(row: &mut [f32]) -> Normalizer {
    log_softmax_in_place_state(row).normalizer(Sink::NONE)
}

fn log_softmax_in_place_state(row: &mut [f32]) -> NormalizerParts {
    state::<true, _>(InPlace(row))
}

/// The state from which the inlined functions make a normalizer, if their caller has a use for it.
fn state<const LOG: bool, R: SrcDst>(row: R) -> NormalizerParts {
    let sink = Sink::NONE;
    dispatch(Backend::best(), Row::<LOG, R>::new(row, sink))
}

/// log Σ e^x of a row on the best backend: [`Softmax::log_sum_exp`](crate::Softmax::log_sum_exp).
///
/// ```
/// assert!((online_softmax::log_sum_exp(&[1000.0, 1000.0]) - 1000.6931).abs() < 1e-3);
/// assert_eq!(online_softmax::log_sum_exp(&[]), f32::NEG_INFINITY);
/// ```
#[must_use]
pub fn log_sum_exp(logits: &[f32]) -> f32 {
    let mut out = [f32::NEG_INFINITY];
    dispatch(
        Backend::best(),
        LogSumExpRows::<true, _, _> {
            logits,
            layout: Layout::of_row(logits.len()),
            sink: Sink::NONE,
            out: &mut out[..],
        },
    );
    out[0]
}

impl Backend {
    /// e^x of each argument, for x ≤ 0: the exponential that the softmax is made of. An argument
    /// above 0 counts as 0. NaN gives NaN.
    ///
    /// The error is at most 1 ULP on the fused backends and 1.5 ULP on the others, for every `f32`
    /// ≤ 0, subnormal results included (the test `exponential` tries them all).
    ///
    /// # Errors
    ///
    /// [`Error::UnavailableBackend`] if this machine cannot run the backend;
    /// [`Error::LengthMismatch`] if the slices differ in length. Then nothing is written.
    ///
    /// ```
    /// let mut exponentials = [0.0; 3];
    /// online_softmax::Backend::best().exp(&[0.0, -1.0, f32::NEG_INFINITY], &mut exponentials)?;
    /// assert_eq!([exponentials[0], exponentials[2]], [1.0, 0.0]);
    /// assert!((exponentials[1] - 0.36787944).abs() < 1e-7);
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    pub fn exp(self, arguments: &[f32], exponentials: &mut [f32]) -> Result<(), Error> {
        checks::backend(self)?;
        dispatch(self, Exponential(out_of_place(arguments, exponentials)?));
        Ok(())
    }
}

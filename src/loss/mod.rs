//! The cross-entropy of a row and a class, and its gradient. [`CrossEntropy`] is that of many
//! rows.

mod batch;
mod class_targets;
mod cross_entropy;
mod group;
mod soft_targets;

use crate::backend::Backend;
use crate::checks::{self, out_of_place};
use crate::dispatch::dispatch;
use crate::error::Error;
use crate::mask::FullyMasked;
use crate::normalizer::{Normalizer, Outcome};
use crate::options::{Preprocessing, RowOptions, Sink};
use crate::rows::preprocess::Preprocess;
use crate::rows::recurrence::NormalizerOf;
use crate::rows::row::Row;
use crate::simd::scalar::Scalar;
use crate::softmax::Softmax;
use crate::source::{InPlace, Source};

pub use cross_entropy::CrossEntropy;

/// −log p(target) on the best backend: [`Softmax::cross_entropy`].
///
/// ```
/// let loss = online_softmax::cross_entropy(&[0.0, 0.0, 0.0, 0.0], 2)?;
/// assert!((loss - 4.0_f32.ln()).abs() < 1e-6);
/// # Ok::<(), online_softmax::Error>(())
/// ```
///
/// # Errors
///
/// As [`Softmax::cross_entropy`].
pub fn cross_entropy(logits: &[f32], target: usize) -> Result<f32, Error> {
    checks::target(logits.len(), target)?;
    // Not by the method, so that a program has no code for options.
    let normalizer = dispatch(Backend::best(), NormalizerOf(logits));
    Ok(loss(normalizer, logits.at(Scalar, target)))
}

/// The loss and its gradient on the best backend: [`Softmax::cross_entropy_gradient`].
///
/// ```
/// let mut gradient = [0.0; 2];
/// let loss = online_softmax::cross_entropy_gradient(&[3.0, 3.0], 0, &mut gradient)?;
/// assert_eq!(gradient, [-0.5, 0.5]);
/// assert_eq!(loss, core::f32::consts::LN_2);
/// # Ok::<(), online_softmax::Error>(())
/// ```
///
/// # Errors
///
/// As [`Softmax::cross_entropy_gradient`].
pub fn cross_entropy_gradient(
    logits: &[f32],
    target: usize,
    gradient: &mut [f32],
) -> Result<f32, Error> {
    let row = out_of_place(logits, gradient)?;
    let loss = cross_entropy(logits, target)?;
    dispatch(Backend::best(), Row::<false, _>::new(row, Sink::NONE));
    set_target(gradient, target, loss);
    Ok(loss)
}

impl Softmax<'_> {
    /// The cross-entropy −log p(target) = log d + (m − x_target), in natural units: one read. It is
    /// as accurate as the log-softmax, also near zero, where the prediction is confident and right.
    ///
    /// NaN if the row has no softmax; +∞ if all logits are masked and the results of such rows are
    /// 0 ([`FullyMasked::Zero`]). +∞ if the target's logit is −∞ or masked, and another logit is
    /// not.
    ///
    /// # Errors
    ///
    /// [`Error::TargetOutOfRange`] if the row has no such class; [`Error::MaskMismatch`] or
    /// [`Error::LengthBeyondRow`] if a mask does not fit.
    ///
    /// ```
    /// let loss = online_softmax::Softmax::new().cross_entropy(&[30.0, 0.0], 0)?;
    /// assert_eq!(loss, 9.3576229688e-14);
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    pub fn cross_entropy(&self, logits: &[f32], target: usize) -> Result<f32, Error> {
        self.checked_cross_entropy(logits, target)
    }

    pub(crate) fn checked_cross_entropy<L: Source>(
        &self,
        logits: L,
        target: usize,
    ) -> Result<f32, Error> {
        let options = &self.driver.options;
        checks::target(logits.len(), target)?;
        checks::masks(options, 1, logits.len(), 1)?;
        let normalizer = self.driver.normalizer(logits);
        let is_masked = normalizer.outcome() == Outcome::FullyMasked;
        if is_masked && options.fully_masked == FullyMasked::Zero {
            return Ok(f32::INFINITY);
        }
        let logit = self.preprocessed_logit(logits, &options.over_row(logits.len()), 0, target);
        Ok(loss(normalizer, logit))
    }

    /// Writes the gradient of the cross-entropy by the logits, (p_i − [i = target]) · scale, and
    /// returns the cross-entropy. The probabilities are those of [`row`](Self::row). p − 1 of the
    /// target keeps its relative accuracy where p is near 1.
    ///
    /// All NaN if the row has no softmax.
    ///
    /// # Errors
    ///
    /// [`Error::TargetOutOfRange`] if the row has no such class; [`Error::LengthMismatch`] if the
    /// slices differ in length; [`Error::MaskMismatch`] or [`Error::LengthBeyondRow`] if a mask
    /// does not fit; [`Error::UnsupportedOption`] with a soft cap. Then nothing is written.
    ///
    /// ```
    /// let mut gradient = [0.0; 2];
    /// online_softmax::Softmax::new().cross_entropy_gradient(&[30.0, 0.0], 0, &mut gradient)?;
    /// assert!((gradient[0] / -9.3576229688e-14 - 1.0).abs() < 1e-6);
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    pub fn cross_entropy_gradient(
        &self,
        logits: &[f32],
        target: usize,
        gradient: &mut [f32],
    ) -> Result<f32, Error> {
        checks::no_soft_cap(&self.driver.options, GRADIENT)?;
        let row = out_of_place(logits, gradient)?;
        let loss = self.checked_cross_entropy(logits, target)?;
        self.driver.row::<false, _>(row);
        self.subtract_target(gradient, target, loss);
        Ok(loss)
    }

    /// [`cross_entropy_gradient`](Self::cross_entropy_gradient) in the place of the logits: the
    /// same bits.
    ///
    /// # Errors
    ///
    /// Those of [`cross_entropy_gradient`](Self::cross_entropy_gradient), except that of slices
    /// that differ in length. Then nothing is written.
    ///
    /// ```
    /// let mut row = [1.0, 1.0];
    /// online_softmax::Softmax::new().cross_entropy_gradient_in_place(&mut row, 1)?;
    /// assert_eq!(row, [0.5, -0.5]);
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    pub fn cross_entropy_gradient_in_place(
        &self,
        row: &mut [f32],
        target: usize,
    ) -> Result<f32, Error> {
        checks::no_soft_cap(&self.driver.options, GRADIENT)?;
        let loss = self.checked_cross_entropy(&*row, target)?;
        self.driver.row::<false, _>(InPlace(row));
        self.subtract_target(row, target, loss);
        Ok(loss)
    }

    /// The logit of the target in row `index` after preprocessing; −∞ if it is masked.
    fn preprocessed_logit<L: Source>(
        &self,
        row: L,
        options: &RowOptions<'_>,
        index: usize,
        target: usize,
    ) -> f32 {
        if !options.visible(index).contains(&target) {
            return f32::NEG_INFINITY;
        }
        self.preprocess(
            row.at(Scalar, target),
            options.preprocessing_of(index, target),
        )
    }

    /// Whether the options mask a class of row `index`.
    fn is_masked(&self, options: &RowOptions<'_>, index: usize, class: usize) -> bool {
        if !self.driver.options.are_given {
            return false;
        }
        let masks = Preprocessing {
            scale: None,
            soft_cap: None,
            ..options.preprocessing_of(index, class)
        };
        !options.visible(index).contains(&class) || self.preprocess(0.0, masks) == f32::NEG_INFINITY
    }

    #[inline(never)]
    fn preprocess(&self, logit: f32, preprocessing: Preprocessing<'_>) -> f32 {
        let mut logit = [logit];
        self.driver.dispatch(Preprocess {
            row: InPlace(&mut logit),
            preprocessing,
        });
        logit[0]
    }

    /// Turns probabilities into the gradient. The scale of the logits is a factor of all.
    fn subtract_target(&self, gradient: &mut [f32], target: usize, loss: f32) {
        set_target(gradient, target, loss);
        if self.driver.options.scale.is_some() {
            self.driver.dispatch(Preprocess {
                row: InPlace(gradient),
                preprocessing: self.driver.options.scale_alone(),
            });
        }
    }
}

/// −log p of a class with this logit.
fn loss(normalizer: Normalizer, logit: f32) -> f32 {
    // Subtracted from zero, so that a loss of zero is not −0.
    0.0 - normalizer.log_probability(logit)
}

/// The gradient of the target, p − 1 = e^(−loss) − 1.
fn set_target(gradient: &mut [f32], target: usize, loss: f32) {
    if let Some(place) = gradient.get_mut(target) {
        *place = libm::expm1(-f64::from(loss)) as f32;
    }
}

const GRADIENT: &str = "the gradient of a cross-entropy";

//! Cross-entropy of a row of logits and a class, and its gradient.

use crate::error::Error;
use crate::kernel::{InPlace, Source};
use crate::normalizer::Outcome;
use crate::options::Prepare;
use crate::softmax::{Softmax, apart, reads};

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
    Softmax::new().cross_entropy(logits, target)
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
    Softmax::new().cross_entropy_gradient(logits, target, gradient)
}

impl Softmax<'_> {
    reads! {
        /// −log p(target) = log d + (m − x_target), in natural units: one read. As precise as the
        /// log-softmax, for a confident, right prediction too, where it is near zero.
        ///
        /// NaN if the row has no softmax, +∞ if the target has the logit −∞ or is masked, and others are
        /// not.
        ///
        /// # Errors
        ///
        /// [`Error::TargetOutOfRange`] if the row has no such class.
        ///
        /// ```
        /// let loss = online_softmax::Softmax::new().cross_entropy(&[30.0, 0.0], 0)?;
        /// assert_eq!(loss, 9.3576229688e-14);
        /// # Ok::<(), online_softmax::Error>(())
        /// ```
        fn cross_entropy(logits, target: usize) -> f32 = checked_cross_entropy, cross_entropy
    }

    pub(crate) fn checked_cross_entropy<L: Source>(
        &self,
        logits: L,
        target: usize,
    ) -> Result<f32, Error> {
        let logit = self.logit_of(logits, target)?;
        self.options.check(1, logits.len(), 1)?;
        let normalizer = self.normalizer_of(logits, 0);
        let is_masked = normalizer.outcome() == Outcome::FullyMasked;
        if is_masked && self.options.is_zero_if_fully_masked() {
            return Ok(f32::INFINITY);
        }
        // Subtracted from zero, so that the loss of certainty is not −0.
        Ok(0.0 - normalizer.log_probability(logit))
    }

    /// The gradient of the cross-entropy by the logits, (p_i − [i = target]) · scale, and the
    /// cross-entropy itself. The probabilities are those of [`row`](Self::row); that of the target less 1 keeps
    /// its relative precision where the two are near.
    ///
    /// All NaN if the row has no softmax.
    ///
    /// # Errors
    ///
    /// [`Error::TargetOutOfRange`] if the row has no such class, [`Error::LengthMismatch`] if the
    /// slices differ in length, [`Error::MaskMismatch`] or [`Error::LengthBeyondRow`] if a mask does
    /// not fit, [`Error::UnsupportedOption`] with a soft cap; nothing is written then.
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
        self.options.check_no_soft_cap(GRADIENT)?;
        let row = apart(logits, gradient)?;
        let loss = self.checked_cross_entropy(logits, target)?;
        self.row_of::<false, _>(row, 0);
        self.subtract_target(gradient, target, loss);
        Ok(loss)
    }

    /// [`cross_entropy_gradient`](Self::cross_entropy_gradient) in the place of the logits: the
    /// same bits.
    ///
    /// # Errors
    ///
    /// [`Error::TargetOutOfRange`] if the row has no such class; nothing is written then.
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
        self.options.check_no_soft_cap(GRADIENT)?;
        let loss = self.checked_cross_entropy(&*row, target)?;
        self.row_of::<false, _>(InPlace(row), 0);
        self.subtract_target(row, target, loss);
        Ok(loss)
    }

    /// The logit of the target as the softmax sees it.
    fn logit_of<L: Source>(&self, logits: L, target: usize) -> Result<f32, Error> {
        let columns = logits.len();
        if target >= columns {
            return Err(Error::TargetOutOfRange { columns, target });
        }
        if target >= self.options.visible(0, columns) {
            return Ok(f32::NEG_INFINITY);
        }
        let mut prepared = [logits.at(target)];
        self.dispatch(Prepare {
            row: InPlace(&mut prepared),
            preprocessing: self.options.preprocessing_of(0, columns, target),
        });
        Ok(prepared[0])
    }

    /// Makes probabilities the gradient: that of the target becomes p − 1 = e^(−loss) − 1, and the
    /// scale of the logits is a factor of all.
    fn subtract_target(&self, gradient: &mut [f32], target: usize, loss: f32) {
        if let Some(place) = gradient.get_mut(target) {
            *place = libm::expm1(-f64::from(loss)) as f32;
        }
        if self.options.scale().is_some() {
            self.dispatch(Prepare {
                row: InPlace(gradient),
                preprocessing: self.options.scale_alone(),
            });
        }
    }
}

const GRADIENT: &str = "the gradient of a cross-entropy";

//! [`CrossEntropy`], a builder.

use crate::backend::Backend;
use crate::error::Error;
use crate::softmax::Softmax;

/// The cross-entropy of the rows of a matrix and their targets, with its gradient. It is a small
/// `Copy` value; its methods are the operations.
///
/// Targets are classes (`&[usize]`, one a row), or distributions over the classes (`&[f32]`, one a
/// row; the methods that begin with `soft_`). With the probabilities p of a row of C classes, the
/// target distribution q (1 for the target class, otherwise 0), class weights w (1 by default) and
/// the label smoothing ε (0 by default)
///
/// ```text
/// t_c      = w_c · ((1 − ε) · q_c + ε / C)
/// loss     = Σ_c t_c · −log p_c
/// gradient = (p_c · Σ_j t_j − t_c) · scale          by logit c
///
/// sum      = Σ_n loss_n
/// mean     = Σ_n loss_n / Σ_n w_(target of row n)   classes
///            Σ_n loss_n / N                         distributions
/// ```
///
/// These are the definitions of PyTorch's `torch.nn.functional.cross_entropy`, with the reductions
/// `none`, `sum` and `mean`. The scale is that of the [`Softmax`] with which the probabilities are
/// computed, 1 by default. Every ε and every weight does what the formulas say.
///
/// # Special values
///
/// | | loss | gradient |
/// |---|---|---|
/// | an ignored row | 0, left out of sums and means | 0 |
/// | t_c = 0 | class c adds 0, also where its logit is −∞ | |
/// | a logit of −∞ where t_c > 0 | +∞ | −t_c there |
/// | a masked class where q_c > 0 | +∞ | 0 there |
/// | a row without a softmax | NaN | all NaN |
/// | a fully masked row with results of 0 | +∞ | 0 |
/// | the mean of nothing | NaN | |
///
/// Label smoothing has t_c > 0 for every class that is not masked: a logit of −∞ makes the loss +∞.
/// A masked class is as one that does not exist: C counts the others.
///
/// With smoothing a loss is +∞ as soon as Σ_c w_c · (m − z_c), m the largest logit, overflows `f32`:
/// logits must be 1e35 or so apart.
///
/// # Accuracy
///
/// In ULP of the `f32` result; without smoothing, weights and soft targets as accurate as the
/// log-softmax, also near zero, where predictions are confident and right.
///
/// | result | fused backends | `Scalar`, `Portable` |
/// |---|---|---|
/// | loss of a class | 2 | 3 |
/// | loss with ε, w or soft targets, none negative | 4 | 5 |
/// | mean or sum of non-negative losses | 1 more than a loss | 1 more than a loss |
///
/// Sums over rows are `f64` in a fixed order, so they are as accurate for any number of rows. The
/// error of a gradient is at most 2^−20 of the larger of its two terms, where the probability is
/// not below 2^−126. That of the target class keeps its relative accuracy where p is near 1, if
/// there is no smoothing and no soft target.
///
/// # Method
///
/// Rows go in groups of at most 16. Their maxima and denominators are those of the log-softmax. The
/// gradient is a softmax of each row, of which the targets are subtracted. Nothing is allocated.
///
/// ```
/// use online_softmax::CrossEntropy;
///
/// let logits = [2.0, 0.5, 0.1, 0.3, 0.2, 3.0];
/// let mut gradient = [0.0; 6];
/// let mean = CrossEntropy::new().gradient(&logits, 3, &[0, 2], &mut gradient)?;
/// assert!((mean - 0.2186193).abs() < 1e-6);
/// # Ok::<(), online_softmax::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct CrossEntropy<'a> {
    pub(super) softmax: Softmax<'a>,
    pub(super) label_smoothing: f32,
    pub(super) class_weights: Option<&'a [f32]>,
    pub(super) ignored: Option<usize>,
    pub(super) upstream: f32,
}

impl Default for CrossEntropy<'_> {
    /// [`CrossEntropy::new`].
    fn default() -> Self {
        CrossEntropy::new()
    }
}

impl<'a> CrossEntropy<'a> {
    /// The cross-entropy without options, on the best backend.
    #[must_use]
    pub fn new() -> Self {
        CrossEntropy {
            softmax: Softmax::new(),
            label_smoothing: 0.0,
            class_weights: None,
            ignored: None,
            upstream: 1.0,
        }
    }

    /// The same with the probabilities of `softmax`: its backend, scale, cap, masks and sink. Row n
    /// of the matrix is row n of the masks. Gradients allow no cap.
    ///
    /// ```
    /// use online_softmax::{CrossEntropy, Mask, Softmax};
    ///
    /// let two_of_three = Softmax::new().mask(Mask::Keep(&[true, false, true]));
    /// let mut gradient = [0.0; 3];
    /// let loss = CrossEntropy::new()
    ///     .softmax(two_of_three)
    ///     .gradient(&[1.0, 9.0, 1.0], 3, &[0], &mut gradient)?;
    /// assert_eq!(loss, core::f32::consts::LN_2);
    /// assert_eq!(gradient, [-0.5, 0.0, 0.5]);
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    #[must_use]
    pub fn softmax(mut self, softmax: Softmax<'a>) -> Self {
        self.softmax = softmax;
        self
    }

    /// The same on `backend`.
    ///
    /// # Errors
    ///
    /// [`Error::UnavailableBackend`] if this machine cannot run it.
    ///
    /// ```
    /// use online_softmax::{Backend, CrossEntropy};
    ///
    /// let reproducible = CrossEntropy::new().backend(Backend::Portable)?;
    /// assert_eq!(reproducible.mean(&[0.5, 7.0], 1, &[0, 0])?, 0.0);
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    pub fn backend(mut self, backend: Backend) -> Result<Self, Error> {
        self.softmax = self.softmax.backend(backend)?;
        Ok(self)
    }

    /// Sets ε: each target distribution is mixed with the uniform one, (1 − ε) · q_c + ε / C.
    /// Usually between 0 and 1. Each row is then read twice.
    ///
    /// Source: Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", arXiv
    /// 1512.00567.
    ///
    /// ```
    /// let mut losses = [0.0; 1];
    /// let smoothed = online_softmax::CrossEntropy::new().label_smoothing(0.5);
    /// smoothed.rows(&[2.0, 0.0], 2, &[0], &mut losses)?;
    /// // 0.75 · 0.126928 + 0.25 · 2.126928
    /// assert!((losses[0] - 0.626928).abs() < 1e-6);
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    #[must_use]
    pub fn label_smoothing(mut self, smoothing: f32) -> Self {
        self.label_smoothing = smoothing;
        self
    }

    /// Sets w: a weight for each class, by which its part of a loss is multiplied. The mean of rows
    /// with target classes divides by the sum of their weights.
    ///
    /// ```
    /// let rare = online_softmax::CrossEntropy::new().class_weights(&[1.0, 3.0]);
    /// let mean = rare.mean(&[2.0, 0.0, 2.0, 0.0], 2, &[0, 1])?;
    /// // (0.126928 + 3 · 2.126928) / 4
    /// assert!((mean - 1.626928).abs() < 1e-6);
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    #[must_use]
    pub fn class_weights(mut self, weights: &'a [f32]) -> Self {
        self.class_weights = Some(weights);
        self
    }

    /// Leaves out the rows with this target, whatever their logits are: loss and gradient are 0, and
    /// means do not count them. It need not be a class.
    ///
    /// ```
    /// let padded = online_softmax::CrossEntropy::new().ignore(usize::MAX);
    /// let mut losses = [7.0; 2];
    /// padded.rows(&[3.0, 3.0, 1.0, f32::NAN], 2, &[0, usize::MAX], &mut losses)?;
    /// assert_eq!(losses, [core::f32::consts::LN_2, 0.0]);
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    #[must_use]
    pub fn ignore(mut self, target: usize) -> Self {
        self.ignored = Some(target);
        self
    }

    /// Sets what gradients are multiplied by, 1 by default: the gradient by the loss that follows,
    /// the scale of a loss in mixed precision, or 1 / the number of batches that are accumulated.
    /// It changes no loss.
    ///
    /// ```
    /// let mut gradient = [0.0; 2];
    /// let halved = online_softmax::CrossEntropy::new().upstream(0.5);
    /// halved.gradient(&[3.0, 3.0], 2, &[0], &mut gradient)?;
    /// assert_eq!(gradient, [-0.25, 0.25]);
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    #[must_use]
    pub fn upstream(mut self, upstream: f32) -> Self {
        self.upstream = upstream;
        self
    }
}

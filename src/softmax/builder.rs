//! The options of a softmax, each a method.

use super::Softmax;
use crate::mask::{FullyMasked, Mask};
use crate::options::Options;

impl<'a> Softmax<'a> {
    /// Multiplies every logit by `scale` and rounds to `f32`: 1/temperature, or 1/√d in attention.
    /// The results are, bit for bit, those of logits that were multiplied before the call.
    ///
    /// Every `scale` does what the formula says. 0 makes all finite logits equal and ±∞ NaN. A
    /// negative scale reverses the order and makes −∞ +∞. An infinite one makes all logits ±∞, and
    /// 0 NaN. NaN makes all NaN.
    ///
    /// A temperature of 0 is not a scale of ∞, whose results are NaN: the most probable class is
    /// that of [`top_k`](Self::top_k) with one place.
    ///
    /// ```
    /// let mut probabilities = [0.0; 2];
    /// let hot = online_softmax::Softmax::new().scale(0.5);
    /// hot.row(&[0.0, 2.0], &mut probabilities)?;
    /// assert!((probabilities[1] - 0.7310586).abs() < 1e-6);
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    #[must_use]
    pub fn scale(self, scale: f32) -> Self {
        self.with(|options| options.scale = Some(scale))
    }

    /// Replaces every logit z, after the scale, by cap · tanh(z / cap), which is within ±`cap`.
    ///
    /// The quotient and the product are rounded to `f32`. The hyperbolic tangent is within 3 ULP on
    /// every backend. Every `cap` does what the formula says: 0, infinite and NaN caps make some
    /// logits NaN; the sign of the cap has no effect.
    ///
    /// Source: Bello et al., "Neural Combinatorial Optimization with Reinforcement Learning", arXiv
    /// 1611.09940. Gemma 2 uses it in attention.
    ///
    /// The cap of −∞ is −`cap`: logits that are set to −∞ are not masked any more. A [`Mask`] is
    /// applied after the cap.
    ///
    /// ```
    /// let mut row = [1000.0, -1000.0];
    /// online_softmax::Softmax::new().soft_cap(1.0).row_in_place(&mut row)?;
    /// assert!((row[0] - 0.880797).abs() < 1e-6);
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    #[must_use]
    pub fn soft_cap(self, cap: f32) -> Self {
        self.with(|options| options.soft_cap = Some(cap))
    }

    /// Masks logits, or adds to them, after scale and soft cap. Masks of different kinds apply
    /// together. A second mask of the same kind replaces the first; a shaped mask is of the kind of
    /// the one without a shape.
    ///
    /// The call that uses a mask checks its shape ([`Error::MaskMismatch`],
    /// [`Error::AmbiguousMask`], [`Error::MaskShapeMismatch`]) and lengths
    /// ([`Error::LengthsMismatch`], [`Error::LengthBeyondRow`]).
    ///
    /// ```
    /// use online_softmax::{Mask, Softmax};
    ///
    /// let mut attention = [0.0; 9];
    /// Softmax::new().mask(Mask::Causal { offset: 0 }).rows_in_place(&mut attention, 3)?;
    /// assert_eq!(attention[..6], [1.0, 0.0, 0.0, 0.5, 0.5, 0.0]);
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    ///
    /// [`Error::MaskMismatch`]: crate::Error::MaskMismatch
    /// [`Error::AmbiguousMask`]: crate::Error::AmbiguousMask
    /// [`Error::MaskShapeMismatch`]: crate::Error::MaskShapeMismatch
    /// [`Error::LengthsMismatch`]: crate::Error::LengthsMismatch
    /// [`Error::LengthBeyondRow`]: crate::Error::LengthBeyondRow
    #[must_use]
    pub fn mask(self, mask: Mask<'a>) -> Self {
        self.with(|options| options.set_mask(mask))
    }

    /// Says that `rows` rows make one matrix, for instance the queries of a head. Lengths, causal
    /// masks and windows begin anew with each matrix, and a mask with values may be that of one
    /// matrix ([`Mask`]). By default all rows of a call are one matrix.
    ///
    /// A call whose rows are not whole matrices is refused ([`Error::PartialMatrix`]). A call for
    /// one row has a matrix of one row. Along an axis with `inner` > 1 the rows of a matrix are
    /// `rows` outer indices.
    ///
    /// ```
    /// use online_softmax::{Mask, Softmax};
    ///
    /// // Three heads of two queries and two keys.
    /// let mut scores = [0.0; 12];
    /// let causal = Softmax::new().matrix_rows(2).mask(Mask::Causal { offset: 0 });
    /// causal.rows_in_place(&mut scores, 2)?;
    /// assert_eq!(scores, [[1.0, 0.0, 0.5, 0.5]; 3].concat()[..]);
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    ///
    /// [`Error::PartialMatrix`]: crate::Error::PartialMatrix
    #[must_use]
    pub fn matrix_rows(self, rows: usize) -> Self {
        self.with(|options| options.matrix_rows = Some(rows))
    }

    /// Says that `count` matrices in a row are the heads of one item of a batch, so that a mask
    /// matrix, a mask row or a length may serve all heads of its item ([`Mask`]). By default an item
    /// is one matrix.
    ///
    /// A call whose rows are not whole items is refused ([`Error::PartialMatrix`]).
    ///
    /// ```
    /// use online_softmax::{Mask, Softmax};
    ///
    /// // Two items of two heads, each of one query and three keys.
    /// let mut scores = [0.0; 12];
    /// let padded = Softmax::new().matrix_rows(1).heads(2).mask(Mask::Lengths(&[2, 1]));
    /// padded.rows_in_place(&mut scores, 3)?;
    /// assert_eq!(scores[..6], [0.5, 0.5, 0.0, 0.5, 0.5, 0.0]);
    /// assert_eq!(scores[6..], [1.0, 0.0, 0.0, 1.0, 0.0, 0.0]);
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    ///
    /// [`Error::PartialMatrix`]: crate::Error::PartialMatrix
    #[must_use]
    pub fn heads(self, count: usize) -> Self {
        self.with(|options| options.heads = Some(count))
    }

    /// Says that row i of a matrix begins i · `stride` values after the first row, in the logits and
    /// in the results alike: a view of some columns of a larger matrix. By default rows have no
    /// gaps.
    ///
    /// What lies between the rows has no effect and is not written. The gap after the last row may be
    /// missing, or there in part. The bits are those of the same rows without gaps. Results of
    /// [`log_sum_exp_rows`](Self::log_sum_exp_rows) have no gaps.
    ///
    /// A stride less than the columns is refused ([`Error::StrideBelowColumns`]), and so are slices
    /// that end within a row ([`Error::PartialStridedRow`]), and a stride along an axis
    /// ([`Error::UnsupportedOption`]). A call for one row needs no stride.
    ///
    /// Rows of at most 32 columns are slower with gaps than without.
    ///
    /// ```
    /// // The first two columns of a matrix of two rows of three.
    /// let mut matrix = [1.0, 1.0, 7.0, 2.0, 2.0, 8.0];
    /// online_softmax::Softmax::new().row_stride(3).rows_in_place(&mut matrix, 2)?;
    /// assert_eq!(matrix, [0.5, 0.5, 7.0, 0.5, 0.5, 8.0]);
    ///
    /// // The last two.
    /// let mut matrix = [7.0, 1.0, 1.0, 8.0, 2.0, 2.0];
    /// online_softmax::Softmax::new().row_stride(3).rows_in_place(&mut matrix[1..], 2)?;
    /// assert_eq!(matrix, [7.0, 0.5, 0.5, 8.0, 0.5, 0.5]);
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    ///
    /// [`Error::StrideBelowColumns`]: crate::Error::StrideBelowColumns
    /// [`Error::PartialStridedRow`]: crate::Error::PartialStridedRow
    /// [`Error::UnsupportedOption`]: crate::Error::UnsupportedOption
    #[must_use]
    pub fn row_stride(self, stride: usize) -> Self {
        self.with(|options| options.row_stride = Some(stride))
    }

    /// Adds one logit to the denominator of every row. It has no result of its own, and neither
    /// scale nor cap changes it. The probabilities of a row then sum to less than 1. −∞ means no
    /// sink; +∞ and NaN act as they do in a row. The [`Normalizer`] of a row includes the sink.
    ///
    /// Source: Xiao et al., "Efficient Streaming Language Models with Attention Sinks", arXiv
    /// 2309.17453.
    ///
    /// ```
    /// let mut row = [0.0];
    /// online_softmax::Softmax::new().sink(0.0).row_in_place(&mut row)?;
    /// assert_eq!(row, [0.5]);
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    ///
    /// [`Normalizer`]: crate::Normalizer
    #[must_use]
    pub fn sink(self, logit: f32) -> Self {
        self.with(|options| options.sink = Some(logit))
    }

    /// Sets the results of fully masked rows: NaN by default. A row with a finite sink is not fully
    /// masked. With [`FullyMasked::Zero`] the cross-entropy of such a row is +∞, and the gradient
    /// of the target −1: leave such rows out of a loss.
    ///
    /// ```
    /// use online_softmax::{FullyMasked, Mask, Softmax};
    ///
    /// let mut row = [1.0, 2.0];
    /// let nothing = Softmax::new().mask(Mask::Length(0)).fully_masked(FullyMasked::Zero);
    /// nothing.row_in_place(&mut row)?;
    /// assert_eq!(row, [0.0; 2]);
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    #[must_use]
    pub fn fully_masked(self, results: FullyMasked) -> Self {
        self.with(|options| options.fully_masked = results)
    }

    fn with(mut self, set: impl FnOnce(&mut Options<'a>)) -> Self {
        set(&mut self.driver.options);
        self.driver.options.are_given = true;
        self
    }
}

//! Which logits take part in a softmax, and what a row without any gives.

/// Which logits of a row, or of a matrix row by row, take part, or what is added to them.
///
/// A masked logit counts as −∞, whatever it is: its probability is exactly 0, its log-probability
/// −∞.
///
/// A `Keep` or `Additive` mask has the values of one row, of all rows of the matrix, or of a number
/// of rows that divides it; then it repeats. Along an axis with `inner` > 1, a "row" is all
/// `axis · inner` logits that share an outer index. Every other shape is an error
/// ([`Error::MaskMismatch`](crate::Error::MaskMismatch)), unless there are no logits.
///
/// `Keep` masks whatever `Additive` adds. A length is one number for all rows: rows of different
/// lengths need a `Keep` mask, or a call for each length.
///
/// ```
/// use online_softmax::{Mask, Softmax};
///
/// let mut probabilities = [0.0; 4];
/// let first_two = Softmax::new().mask(Mask::Length(2));
/// first_two.row(&[1.0, 1.0, 7.0, f32::NAN], &mut probabilities)?;
/// assert_eq!(probabilities, [0.5, 0.5, 0.0, 0.0]);
/// # Ok::<(), online_softmax::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Mask<'a> {
    /// Keeps the logits for which it is `true`.
    Keep(&'a [bool]),
    /// Adds these values to the logits; −∞ masks.
    Additive(&'a [f32]),
    /// Keeps the first n columns; along an axis, the first n along that axis. The others are not
    /// read: the results of the first n are, bit for bit, those of a row that has no others.
    Length(usize),
    /// Row i of a matrix keeps the columns 0 ..= `first` + i. The others are not read, as with a
    /// length. i counts all rows of the call, so each head and each sequence of a batch needs a
    /// call of its own:
    ///
    /// ```
    /// use online_softmax::{Mask, Softmax};
    ///
    /// let (heads, queries, keys) = (2, 2, 2);
    /// let mut scores = vec![1.0; heads * queries * keys];
    /// let causal = Softmax::new().mask(Mask::Causal { first: keys - queries });
    /// for head in scores.chunks_exact_mut(queries * keys) {
    ///     causal.rows_in_place(head, keys)?;
    /// }
    /// assert_eq!(scores, [1.0, 0.0, 0.5, 0.5, 1.0, 0.0, 0.5, 0.5]);
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    Causal {
        /// The last column that the first row sees.
        first: usize,
    },
}

/// The results of a row of which every logit is −∞ or masked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum FullyMasked {
    /// NaN: such a row has no softmax.
    #[default]
    Nan,
    /// 0 each; −∞ each as logarithms.
    Zero,
}

//! Which logits take part in a softmax, and what a row without any gives.

/// Which logits of a row, or of a matrix row by row, take part, or what is added to them.
///
/// A masked logit counts as −∞, whatever it is: its probability is exactly 0, its log-probability
/// −∞. `Keep` masks whatever `Additive` adds. Masks of different kinds apply together.
///
/// # Matrices and heads
///
/// Without options all rows of a call are one matrix.
/// [`matrix_rows`](crate::Softmax::matrix_rows) makes them several, and
/// [`heads`](crate::Softmax::heads) says how many matrices in a row are the heads of one item of a
/// batch. The logits are then a tensor [items, heads, rows of a matrix, columns]. Lengths, causal
/// masks and windows begin anew with each matrix.
///
/// The shape of a mask with values is [items or 1, heads or 1, rows of a matrix or 1, columns]: a
/// dimension of 1 serves all items, heads or rows. `Keep` and `Additive` take the shape from the
/// number of values:
///
/// | rows of the mask | shape | |
/// |---|---|---|
/// | all | [items, heads, rows, columns] | a value for each logit |
/// | those of a matrix | [1, 1, rows, columns] | one mask matrix for all matrices |
/// | those of a matrix for each item | [items, 1, rows, columns] | one for all heads of an item |
/// | one for each item | [items, 1, 1, columns] | for instance the padding of a sequence |
/// | one for each matrix | [items, heads, 1, columns] | |
/// | others with a dimension of 1 | [1, heads, rows, columns], [1, heads, 1, columns] | for instance a position bias of each head |
/// | one | [1, 1, 1, columns] | |
///
/// A number of values that fits none of them is an error
/// ([`Error::MaskMismatch`](crate::Error::MaskMismatch)). So is one that fits two that mean
/// different things ([`Error::AmbiguousMask`](crate::Error::AmbiguousMask)): of 4 matrices of 4
/// rows, a mask of 4 rows may be one matrix or a row for each. `KeepShaped` and `AdditiveShaped`
/// say which. They are never ambiguous; code for any shape should use them. Nothing wraps around.
/// Without logits no mask is an error.
///
/// Along an axis with `inner` > 1, a "row" is all `axis · inner` logits that share an outer index.
///
/// ```
/// use online_softmax::{FullyMasked, Mask, Softmax};
///
/// // Two items of two heads, each with two queries and three keys. The second item has two keys.
/// let mut scores = [1.0; 2 * 2 * 2 * 3];
/// let attention = Softmax::new()
///     .matrix_rows(2)
///     .heads(2)
///     .mask(Mask::Lengths(&[3, 2]))
///     .mask(Mask::Causal { offset: 1 });
/// attention.rows_in_place(&mut scores, 3)?;
/// let third = 1.0 / 3.0;
/// let of_first = [0.5, 0.5, 0.0, third, third, third];
/// let of_second = [0.5, 0.5, 0.0, 0.5, 0.5, 0.0];
/// assert_eq!(scores[..12], [of_first, of_first].concat());
/// assert_eq!(scores[12..], [of_second, of_second].concat());
/// # Ok::<(), online_softmax::Error>(())
/// ```
///
/// # Columns that are left out
///
/// `Length`, `Lengths`, `Causal` and `Window` leave a row some columns side by side. The others
/// have no effect, whatever they are, and cost little more than the writing of their results. The
/// results of a row are, bit for bit, those of its visible columns as a row of their own.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Mask<'a> {
    /// Keeps the logits for which it is `true`.
    Keep(&'a [bool]),
    /// Adds these values to the logits; −∞ masks.
    Additive(&'a [f32]),
    /// Keeps the first n columns; along an axis, the first n along that axis.
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
    Length(usize),
    /// The same with a length for each matrix, or for each item, whose heads share it. Any other
    /// number of lengths is an error
    /// ([`Error::LengthsMismatch`](crate::Error::LengthsMismatch)). With `Length` the shorter one
    /// holds.
    Lengths(&'a [usize]),
    /// Row i of each matrix keeps the columns j ≤ i + `offset`: its own column and those before.
    /// `offset` is keys − queries where the last query sees all keys, as with a cache of earlier
    /// keys. If it is negative, the first rows see nothing and are fully masked.
    ///
    /// ```
    /// use online_softmax::{Mask, Softmax};
    ///
    /// let (heads, queries, keys) = (2, 2, 3);
    /// let mut scores = vec![1.0; heads * queries * keys];
    /// let causal = Softmax::new().matrix_rows(queries).mask(Mask::Causal { offset: 0 });
    /// causal.rows_in_place(&mut scores, keys)?;
    /// assert_eq!(scores[..6], [1.0, 0.0, 0.0, 0.5, 0.5, 0.0]);
    /// assert_eq!(scores[6..], scores[..6]);
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    Causal {
        /// The last column that the first row of a matrix sees.
        offset: isize,
    },
    /// Row i of each matrix keeps the columns i − `before` ..= i + `after`: a sliding window.
    ///
    /// With `Causal { offset }` the window slides along the diagonal of the causal mask, around
    /// column i + `offset`. Row i then keeps i + `offset` − `before` ..= i + `offset`; `after` has
    /// no effect. Lengths apply too.
    ///
    /// ```
    /// use online_softmax::{Mask, Softmax};
    ///
    /// let mut scores = [0.0; 3 * 4];
    /// let window = Softmax::new().mask(Mask::Window { before: 0, after: 1 });
    /// window.rows_in_place(&mut scores, 4)?;
    /// assert_eq!(scores[..4], [0.5, 0.5, 0.0, 0.0]);
    /// assert_eq!(scores[4..8], [0.0, 0.5, 0.5, 0.0]);
    /// assert_eq!(scores[8..], [0.0, 0.0, 0.5, 0.5]);
    ///
    /// // The last of three queries is at the last of four keys. Each sees two.
    /// let mut scores = [0.0; 3 * 4];
    /// let window = Softmax::new()
    ///     .mask(Mask::Window { before: 1, after: 0 })
    ///     .mask(Mask::Causal { offset: 1 });
    /// window.rows_in_place(&mut scores, 4)?;
    /// assert_eq!(scores[..4], [0.5, 0.5, 0.0, 0.0]);
    /// assert_eq!(scores[8..], [0.0, 0.0, 0.5, 0.5]);
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    ///
    /// Source: Beltagy et al., "Longformer: The Long-Document Transformer", arXiv 2004.05150.
    Window {
        /// Columns before that of the row.
        before: usize,
        /// Columns after that of the row.
        after: usize,
    },
    /// `Keep` of a given shape.
    ///
    /// ```
    /// use online_softmax::{Mask, Softmax};
    ///
    /// // Two matrices of two rows. The mask has a row for each matrix.
    /// let mut scores = [0.0; 2 * 2 * 2];
    /// let keep = Mask::KeepShaped { keep: &[true, true, false, true], shape: [2, 1, 1] };
    /// Softmax::new().matrix_rows(2).mask(keep).rows_in_place(&mut scores, 2)?;
    /// assert_eq!(scores, [0.5, 0.5, 0.5, 0.5, 0.0, 1.0, 0.0, 1.0]);
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    KeepShaped {
        /// As in `Keep`.
        keep: &'a [bool],
        /// Items, heads and rows of a matrix, each as the logits have it or 1.
        shape: [usize; 3],
    },
    /// `Additive` of a given shape.
    AdditiveShaped {
        /// As in `Additive`.
        additive: &'a [f32],
        /// Items, heads and rows of a matrix, each as the logits have it or 1.
        shape: [usize; 3],
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

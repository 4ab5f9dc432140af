//! The options of a softmax, and what they require of a row.

use crate::broadcast::{Broadcast, Dimensions};
use crate::mask::{FullyMasked, Mask};
use crate::normalizer::{Normalizer, Outcome};
use core::ops::Range;

/// The options of a softmax.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Options<'a> {
    /// Whether any of them was set.
    pub(crate) are_given: bool,
    pub(crate) scale: Option<f32>,
    pub(crate) soft_cap: Option<f32>,
    pub(crate) additive: Option<MaskValues<'a, f32>>,
    pub(crate) keep: Option<MaskValues<'a, bool>>,
    pub(crate) length: Option<usize>,
    pub(crate) lengths: Option<&'a [usize]>,
    pub(crate) causal: Option<isize>,
    pub(crate) window: Option<Window>,
    /// Rows of a matrix; all rows if `None`.
    pub(crate) matrix_rows: Option<usize>,
    /// Matrices of an item; 1 if `None`.
    pub(crate) heads: Option<usize>,
    pub(crate) row_stride: Option<usize>,
    pub(crate) sink: Option<f32>,
    pub(crate) fully_masked: FullyMasked,
}

/// A mask with values, and its shape if it was given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MaskValues<'a, T> {
    pub(crate) values: &'a [T],
    pub(crate) shape: Option<[usize; 3]>,
}

/// How many columns a row sees before and after its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    before: usize,
    after: usize,
}

impl<'a> Options<'a> {
    pub(crate) fn set_mask(&mut self, mask: Mask<'a>) {
        match mask {
            Mask::Keep(keep) => {
                self.keep = Some(MaskValues {
                    values: keep,
                    shape: None,
                });
            }
            Mask::KeepShaped { keep, shape } => {
                self.keep = Some(MaskValues {
                    values: keep,
                    shape: Some(shape),
                });
            }
            Mask::Additive(additive) => {
                self.additive = Some(MaskValues {
                    values: additive,
                    shape: None,
                });
            }
            Mask::AdditiveShaped { additive, shape } => {
                self.additive = Some(MaskValues {
                    values: additive,
                    shape: Some(shape),
                });
            }
            Mask::Length(length) => self.length = Some(length),
            Mask::Lengths(lengths) => self.lengths = Some(lengths),
            Mask::Causal { offset } => self.causal = Some(offset),
            Mask::Window { before, after } => self.window = Some(Window { before, after }),
        }
    }

    /// Whether every logit takes part in the softmax, as it is given.
    pub(crate) fn allows_whole_matrices(&self) -> bool {
        !self.are_given || !self.changes_logits() && !self.hides_columns() && self.allows_softmax()
    }

    /// Whether some logits are preprocessed.
    pub(crate) fn changes_logits(&self) -> bool {
        self.scale.is_some()
            || self.soft_cap.is_some()
            || self.additive.is_some()
            || self.keep.is_some()
    }

    /// Whether some columns are left out.
    fn hides_columns(&self) -> bool {
        self.length.is_some() || self.lengths.is_some() || self.is_diagonal()
    }

    /// Whether the columns that a row sees depend on its place in the matrix.
    fn is_diagonal(&self) -> bool {
        self.causal.is_some() || self.window.is_some()
    }

    /// Whether the sink is not +∞ or NaN.
    fn allows_softmax(&self) -> bool {
        self.sink(false).allows_softmax()
    }

    /// Whether the denominator is that of the given logits and of nothing else.
    pub(crate) fn has_plain_denominator(&self) -> bool {
        !self.are_given || self.allows_whole_matrices() && self.sink.is_none()
    }

    /// The dimensions of so many rows, if they are whole items.
    pub(crate) fn dimensions(&self, rows: usize) -> Option<Dimensions> {
        let (matrix_rows, heads) = (self.matrix_rows.unwrap_or(rows), self.heads.unwrap_or(1));
        let of_item = matrix_rows.saturating_mul(heads);
        match rows.checked_rem(of_item) {
            Some(0) => Some(Dimensions {
                items: rows / of_item,
                heads,
                matrix_rows,
            }),
            None if rows == 0 => Some(Dimensions {
                items: 0,
                heads,
                matrix_rows,
            }),
            _ => None,
        }
    }

    /// The options over `rows` rows of `columns` columns, each of `inner` logits. The caller has
    /// checked that they fit.
    pub(crate) fn over(&self, rows: usize, columns: usize, inner: usize) -> RowOptions<'_> {
        let dimensions = self.dimensions(rows).unwrap_or(Dimensions {
            items: 1,
            heads: 1,
            matrix_rows: rows,
        });
        let logits = columns.saturating_mul(inner);
        RowOptions {
            options: self,
            dimensions,
            columns,
            logits,
            additive: self
                .additive
                .and_then(|mask| mask.broadcast(dimensions, logits)),
            keep: self
                .keep
                .and_then(|mask| mask.broadcast(dimensions, logits)),
        }
    }

    /// The options over a row by itself.
    pub(crate) fn over_row(&self, columns: usize) -> RowOptions<'_> {
        self.over(1, columns, 1)
    }

    /// The scale as the only preprocessing.
    pub(crate) fn scale_alone(&self) -> Preprocessing<'a> {
        Preprocessing {
            scale: self.scale,
            ..Preprocessing::NONE
        }
    }

    pub(crate) fn sink(&self, is_log: bool) -> Sink {
        if !self.are_given {
            return Sink::NONE;
        }
        Sink {
            logit: self.sink.unwrap_or(f32::NEG_INFINITY),
            fully_masked: match (self.fully_masked, is_log) {
                (FullyMasked::Nan, _) => f32::NAN,
                (FullyMasked::Zero, false) => 0.0,
                (FullyMasked::Zero, true) => f32::NEG_INFINITY,
            },
            log_merge: |row, logit| {
                let merged = row.merge(Normalizer::from_parts(logit, 0.0));
                (merged, merged.log_denominator())
            },
        }
    }
}

impl<'a, T> MaskValues<'a, T> {
    fn broadcast(self, dimensions: Dimensions, columns: usize) -> Option<Broadcast<'a, T>> {
        Broadcast::new(self.values, self.shape, dimensions, columns).ok()
    }
}

/// The options over the rows of a call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowOptions<'a> {
    options: &'a Options<'a>,
    dimensions: Dimensions,
    columns: usize,
    /// Logits of a row: `columns` unless the axis is an inner one.
    logits: usize,
    additive: Option<Broadcast<'a, f32>>,
    keep: Option<Broadcast<'a, bool>>,
}

impl<'a> RowOptions<'a> {
    pub(crate) fn changes_logits(&self) -> bool {
        self.options.changes_logits()
    }

    /// The columns of a row that lengths, a causal mask and a window leave.
    pub(crate) fn visible(&self, row: usize) -> Range<usize> {
        let (matrix, place) = self.dimensions.place(row);
        self.diagonal().at(place, self.length(matrix))
    }

    /// [`visible`](Self::visible) of a row and those after it, with one division in all.
    pub(crate) fn visible_from(&self, row: usize) -> impl Iterator<Item = Range<usize>> {
        let (mut matrix, mut place) = self.dimensions.place(row);
        let (diagonal, mut length) = (self.diagonal(), self.length(matrix));
        core::iter::from_fn(move || {
            if place == self.dimensions.matrix_rows {
                (matrix, place) = (matrix + 1, 0);
                length = self.length(matrix);
            }
            place += 1;
            Some(diagonal.at(place - 1, length))
        })
    }

    fn diagonal(&self) -> Diagonal {
        let Options { causal, window, .. } = *self.options;
        let offset = causal.unwrap_or(0);
        let end_after = |after| offset.saturating_add_unsigned(after).saturating_add(1);
        let mut diagonal = Diagonal {
            start: isize::MIN,
            end: causal.map_or(isize::MAX, |_| end_after(0)),
        };
        if let Some(Window { before, after }) = window {
            diagonal.start = offset.saturating_sub_unsigned(before);
            diagonal.end = diagonal.end.min(end_after(after));
        }
        diagonal
    }

    /// How many columns of the rows of a matrix lengths leave.
    fn length(&self, matrix: usize) -> usize {
        let Options {
            length, lengths, ..
        } = *self.options;
        let length = length.unwrap_or(self.columns).min(self.columns);
        lengths.map_or(length, |lengths| {
            length.min(self.length_of(lengths, matrix))
        })
    }

    /// The length for a matrix: there is one for each, or one for each item.
    fn length_of(&self, lengths: &[usize], matrix: usize) -> usize {
        let index = if lengths.len() == self.dimensions.matrices() {
            matrix
        } else {
            matrix.checked_div(self.dimensions.heads).unwrap_or(0)
        };
        lengths.get(index).copied().unwrap_or(self.columns)
    }

    /// How many rows in a row see the same columns, whichever the first of them is.
    pub(crate) fn most_rows_alike(&self) -> usize {
        if self.options.is_diagonal() {
            1
        } else if self.options.lengths.is_some() {
            self.dimensions.matrix_rows
        } else {
            usize::MAX
        }
    }

    /// How many rows from this one on see the same columns.
    pub(crate) fn rows_alike(&self, row: usize) -> usize {
        let most = self.most_rows_alike();
        (most - row.checked_rem(most).unwrap_or(0)).max(1)
    }

    /// How many rows from this one on have masks that follow one another, so that they can be
    /// preprocessed as one row.
    pub(crate) fn rows_in_sequence(&self, row: usize) -> usize {
        let additive = self.additive.map(|mask| mask.rows_in_sequence(row));
        let keep = self.keep.map(|mask| mask.rows_in_sequence(row));
        let rows = [additive, keep].into_iter().flatten();
        rows.min().unwrap_or(usize::MAX)
    }

    /// The preprocessing of the logits of a row from `start` on.
    pub(crate) fn preprocessing_of(&self, row: usize, start: usize) -> Preprocessing<'a> {
        Preprocessing {
            scale: self.options.scale,
            soft_cap: self.options.soft_cap,
            additive: self
                .additive
                .map(|mask| mask.of_row(row, self.logits, start)),
            keep: self.keep.map(|mask| mask.of_row(row, self.logits, start)),
        }
    }
}

/// The columns that a causal mask and a window leave of a row, less its place in its matrix.
#[derive(Clone, Copy)]
struct Diagonal {
    start: isize,
    end: isize,
}

impl Diagonal {
    /// Of these columns, those of a row of `length` columns.
    fn at(self, place: usize, length: usize) -> Range<usize> {
        let end = place.saturating_add_signed(self.end).min(length);
        place.saturating_add_signed(self.start).min(end)..end
    }
}

/// What happens to each logit before the softmax, in this order. A mask begins with the value for
/// the first logit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Preprocessing<'a> {
    pub(crate) scale: Option<f32>,
    pub(crate) soft_cap: Option<f32>,
    pub(crate) additive: Option<&'a [f32]>,
    pub(crate) keep: Option<&'a [bool]>,
}

impl Preprocessing<'_> {
    pub(crate) const NONE: Preprocessing<'static> = Preprocessing {
        scale: None,
        soft_cap: None,
        additive: None,
        keep: None,
    };
}

/// The sink, and the results of rows that have no softmax.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sink {
    /// One more logit, in the denominator alone. −∞ is none.
    pub(crate) logit: f32,
    /// The results of a fully masked row.
    pub(crate) fully_masked: f32,
    /// Merges a row and the sink, and takes the logarithm of the denominator. A function pointer,
    /// so that a program that sets no option does not link `f64` arithmetic: 6 KB on a Cortex-M4F.
    pub(crate) log_merge: fn(Normalizer, f32) -> (Normalizer, f64),
}

impl Sink {
    pub(crate) const NONE: Self = Sink {
        logit: f32::NEG_INFINITY,
        fully_masked: f32::NAN,
        log_merge: |row, _| (row, f64::NAN),
    };

    /// Whether a row with this sink can have a softmax: the sink is not +∞ or NaN.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn allows_softmax(self) -> bool {
        self.logit < f32::INFINITY
    }

    /// The state of a row and the sink.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn merge_into(self, normalizer: Normalizer) -> Normalizer {
        if self.logit == f32::NEG_INFINITY {
            normalizer
        } else {
            normalizer.merge(Normalizer::from_parts(self.logit, 0.0))
        }
    }

    /// The result of a masked logit.
    pub(crate) fn masked(self, of_row: &Normalizer, is_log: bool) -> f32 {
        match of_row.outcome() {
            Outcome::Finite if is_log => f32::NEG_INFINITY,
            Outcome::Finite => 0.0,
            outcome => self.fallback(outcome == Outcome::FullyMasked),
        }
    }

    /// The results of the masked logits beside those of a row that has a softmax, or of a row whose
    /// logits are all masked.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn beside(self, are_all_masked: bool, is_log: bool) -> f32 {
        if are_all_masked {
            self.masked(&self.merge_into(Normalizer::FULLY_MASKED), is_log)
        } else if is_log {
            f32::NEG_INFINITY
        } else {
            0.0
        }
    }

    /// The results of a row that has no softmax.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn fallback(self, is_fully_masked: bool) -> f32 {
        if is_fully_masked {
            self.fully_masked
        } else {
            f32::NAN
        }
    }
}

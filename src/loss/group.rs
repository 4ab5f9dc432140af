//! Rows that are done together, and their targets.

use crate::options::{Options, RowOptions};
use crate::source::Layout;

/// The most rows of a group: a batch of the widest registers. More would take too much stack.
pub(super) const ROWS: usize = 16;

/// The most logits of a group of several rows: they stay in a cache until they are read again.
const LOGITS: usize = 1 << 14;

/// The targets of some rows.
#[derive(Clone, Copy)]
pub(super) enum Targets<'a> {
    Classes(&'a [usize]),
    /// As many probabilities as there are logits.
    Distributions(&'a [f32]),
}

impl<'a> Targets<'a> {
    /// Those of `count` rows from `first` on.
    pub(super) fn of_rows(self, first: usize, count: usize, columns: usize) -> Self {
        match self {
            Targets::Classes(classes) => {
                Targets::Classes(classes.get(first..first + count).unwrap_or(&[]))
            }
            Targets::Distributions(targets) => {
                let range = first * columns..(first + count) * columns;
                Targets::Distributions(targets.get(range).unwrap_or(&[]))
            }
        }
    }

    pub(super) fn class(self, row: usize) -> Option<usize> {
        match self {
            Targets::Classes(classes) => classes.get(row).copied(),
            Targets::Distributions(_) => None,
        }
    }

    pub(super) fn distribution(self, row: usize, columns: usize) -> Option<&'a [f32]> {
        match self {
            Targets::Classes(_) => None,
            Targets::Distributions(targets) => targets.get(row * columns..(row + 1) * columns),
        }
    }
}

/// A group of rows of a matrix.
#[derive(Clone, Copy)]
pub(super) struct Group<'a> {
    /// The index of its first row.
    pub(super) first: usize,
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) targets: Targets<'a>,
    /// The rows of the whole matrix.
    pub(super) all_rows: usize,
}

impl<'a> Group<'a> {
    /// The layout of the whole matrix.
    pub(super) fn layout(&self) -> Layout {
        Layout {
            rows: self.all_rows,
            columns: self.columns,
            stride: self.columns,
        }
    }

    pub(super) fn options<'b>(&self, options: &'b Options<'_>) -> RowOptions<'b> {
        options.over(self.all_rows, self.columns, 1)
    }

    /// The groups of a matrix, in order.
    pub(super) fn all(
        rows: usize,
        columns: usize,
        targets: Targets<'a>,
    ) -> impl Iterator<Item = Group<'a>> + Clone {
        let most = LOGITS.checked_div(columns).unwrap_or(ROWS).clamp(1, ROWS);
        (0..rows).step_by(most).map(move |first| {
            let count = most.min(rows - first);
            Group {
                first,
                rows: count,
                columns,
                targets: targets.of_rows(first, count, columns),
                all_rows: rows,
            }
        })
    }

    pub(super) fn len(&self) -> usize {
        self.rows * self.columns
    }
}

//! Which row of a mask serves which row of the logits.

/// The rows of a call: those of a tensor [items, heads, rows of a matrix, columns].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dimensions {
    pub(crate) items: usize,
    pub(crate) heads: usize,
    pub(crate) matrix_rows: usize,
}

/// How far, in rows of the mask, two rows lie apart that follow one another in a dimension. 0: one
/// mask row serves the whole dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Steps {
    item: usize,
    head: usize,
    row: usize,
}

/// A mask with values, over the rows of a call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Broadcast<'a, T> {
    values: &'a [T],
    dimensions: Dimensions,
    steps: Steps,
}

/// Why a number of rows is not that of one shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Misfit {
    /// No shape has so many rows.
    None,
    /// These two have, and they mean different things.
    Ambiguous([[usize; 3]; 2]),
}

impl Dimensions {
    pub(crate) fn shape(self) -> [usize; 3] {
        [self.items, self.heads, self.matrix_rows]
    }

    pub(crate) fn matrices(self) -> usize {
        self.items.saturating_mul(self.heads)
    }

    /// The matrix of a row, and the place of the row in it.
    pub(crate) fn place(self, row: usize) -> (usize, usize) {
        match row.checked_rem(self.matrix_rows) {
            Some(place) => (row / self.matrix_rows, place),
            None => (0, 0),
        }
    }

    /// The item of a matrix, and the place of the matrix in it.
    fn item(self, matrix: usize) -> (usize, usize) {
        match matrix.checked_rem(self.heads) {
            Some(head) => (matrix / self.heads, head),
            None => (0, 0),
        }
    }

    /// `None` unless each dimension of the mask is 1 or that of the logits.
    fn steps(self, shape: [usize; 3]) -> Option<Steps> {
        let fits = shape
            .iter()
            .zip(self.shape())
            .all(|(given, full)| *given == 1 || *given == full);
        let [items, heads, rows] = shape;
        let step = |dimension, step| if dimension > 1 { step } else { 0 };
        fits.then(|| Steps {
            item: step(items, heads * rows),
            head: step(heads, rows),
            row: step(rows, 1),
        })
    }

    /// The steps of the only shape that has so many rows. Shapes that mean the same count as one.
    fn only_steps(self, rows: usize) -> Result<Steps, Misfit> {
        let mut found: Option<([usize; 3], Steps)> = None;
        for items in [1, self.items] {
            for heads in [1, self.heads] {
                for matrix_rows in [1, self.matrix_rows] {
                    let shape = [items, heads, matrix_rows];
                    let Some(steps) = self.steps(shape) else {
                        continue;
                    };
                    if items * heads * matrix_rows != rows {
                        continue;
                    }
                    match found {
                        Some((other, others)) if others != steps => {
                            return Err(Misfit::Ambiguous([other, shape]));
                        }
                        _ => found = Some((shape, steps)),
                    }
                }
            }
        }
        found.map(|(_, steps)| steps).ok_or(Misfit::None)
    }
}

impl<'a, T> Broadcast<'a, T> {
    /// A mask with rows of `columns` values, at least one. Without a shape it is the only one that
    /// fits.
    pub(crate) fn new(
        values: &'a [T],
        shape: Option<[usize; 3]>,
        dimensions: Dimensions,
        columns: usize,
    ) -> Result<Self, Misfit> {
        if values.len().checked_rem(columns) != Some(0) {
            return Err(Misfit::None);
        }
        let rows = values.len() / columns;
        let steps = match shape {
            None => dimensions.only_steps(rows)?,
            Some(shape) => {
                let steps = dimensions.steps(shape).ok_or(Misfit::None)?;
                let [items, heads, matrix_rows] = shape;
                if items * heads * matrix_rows != rows {
                    return Err(Misfit::None);
                }
                steps
            }
        };
        Ok(Broadcast {
            values,
            dimensions,
            steps,
        })
    }

    /// The values for the columns of a row from `start` on.
    pub(crate) fn of_row(&self, row: usize, columns: usize, start: usize) -> &'a [T] {
        let (matrix, place) = self.dimensions.place(row);
        let (item, head) = self.dimensions.item(matrix);
        let Steps {
            item: of_item,
            head: of_head,
            row: of_row,
        } = self.steps;
        let mask_row = item * of_item + head * of_head + place * of_row;
        self.values.get(mask_row * columns + start..).unwrap_or(&[])
    }

    /// How many rows from this one on have mask rows that follow one another.
    pub(crate) fn rows_in_sequence(&self, row: usize) -> usize {
        let Dimensions { matrix_rows, .. } = self.dimensions;
        if self.steps.row == 0 {
            return 1;
        }
        matrix_rows - self.dimensions.place(row).1
    }
}

//! The errors of the crate.

use crate::backend::Backend;
use crate::normalizer::Outcome;
use core::fmt;

/// The reason why a call was refused. Then nothing has been written.
///
/// ```
/// let error = online_softmax::softmax(&[1.0, 2.0, 3.0], &mut [0.0; 2]).unwrap_err();
/// assert_eq!(error.to_string(), "expected 3 values, as many as in the first slice, but 2 were given");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// A slice does not have the length that the other arguments require.
    LengthMismatch {
        /// The length that is required.
        expected: usize,
        /// The length that was given.
        given: usize,
    },
    /// The number of places for results is not the number of rows.
    RowsMismatch {
        /// The number of rows.
        expected: usize,
        /// The number of places that were given.
        given: usize,
    },
    /// The number of values is not a whole number of rows.
    PartialRow {
        /// Columns of a row.
        columns: usize,
        /// Values that were given.
        given: usize,
    },
    /// The number of values is not the product of the dimensions.
    ShapeMismatch {
        /// The dimensions.
        shape: [usize; 3],
        /// Values that were given.
        given: usize,
    },
    /// The product of the dimensions overflows `usize`.
    TooLarge {
        /// The dimensions.
        shape: [usize; 3],
    },
    /// The distance from row to row is less than the columns of a row.
    StrideBelowColumns {
        /// Columns of a row.
        columns: usize,
        /// The distance that was given.
        given: usize,
    },
    /// The number of values is not that of whole rows which lie a stride apart.
    PartialStridedRow {
        /// Columns of a row.
        columns: usize,
        /// The distance from row to row.
        stride: usize,
        /// Values that were given.
        given: usize,
    },
    /// The number of rows is not a whole number of matrices, or of items with several heads.
    PartialMatrix {
        /// Rows of a matrix.
        matrix_rows: usize,
        /// Matrices of an item.
        heads: usize,
        /// Rows that were given.
        given: usize,
    },
    /// A mask has none of the shapes that the logits allow ([`Mask`](crate::Mask)).
    MaskMismatch {
        /// Rows of the call.
        rows: usize,
        /// Logits of a row; along an axis, of all rows that share an outer index.
        columns: usize,
        /// Values of the mask that was given.
        given: usize,
    },
    /// The number of values of a mask fits two shapes that mean different things.
    AmbiguousMask {
        /// The two: items, heads and rows of a matrix.
        shapes: [[usize; 3]; 2],
        /// Logits of a row; along an axis, of all rows that share an outer index.
        columns: usize,
        /// Values of the mask that was given.
        given: usize,
    },
    /// A mask does not have the shape that was given with it, or the logits do not allow that
    /// shape.
    MaskShapeMismatch {
        /// Items, heads and rows of a matrix of the logits.
        expected: [usize; 3],
        /// Logits of a row; along an axis, of all rows that share an outer index.
        columns: usize,
        /// The shape that was given.
        shape: [usize; 3],
        /// Values of the mask that was given.
        given: usize,
    },
    /// The number of lengths is neither that of the matrices nor that of the items.
    LengthsMismatch {
        /// The number of matrices.
        matrices: usize,
        /// The number of items.
        items: usize,
        /// Lengths that were given.
        given: usize,
    },
    /// The length of a mask exceeds the columns of a row.
    LengthBeyondRow {
        /// Columns of a row.
        columns: usize,
        /// The length that was given.
        given: usize,
    },
    /// The operation does not support the option.
    UnsupportedOption {
        /// The option that was given.
        option: &'static str,
        /// The operation.
        operation: &'static str,
    },
    /// The row has no class of that index.
    TargetOutOfRange {
        /// Columns of the row.
        columns: usize,
        /// The index that was given.
        target: usize,
    },
    /// The number of targets is not the number of rows.
    TargetsMismatch {
        /// The number of rows.
        expected: usize,
        /// The number of targets that were given.
        given: usize,
    },
    /// The number of class weights is not the number of columns.
    WeightsMismatch {
        /// Columns of a row.
        columns: usize,
        /// Weights that were given.
        given: usize,
    },
    /// A parameter is a number that has no meaning.
    ParameterOutOfRange {
        /// The parameter.
        parameter: &'static str,
        /// What it must be.
        expected: &'static str,
        /// The representation of what was given ([`f32::to_bits`]): an error with a NaN is equal to
        /// itself.
        given_bits: u32,
    },
    /// The softmax of the row is not a distribution to draw from.
    NoDistribution {
        /// What kind of row was given.
        outcome: Outcome,
    },
    /// This machine or target cannot run the backend that was asked for.
    UnavailableBackend {
        /// What was asked for.
        backend: Backend,
        /// The best that is available instead.
        best: Backend,
    },
}

/// A number with nine decimals, by operations on integers: the formatting of floats in `core` has
/// panics that no linker can rule out, and takes more code than a softmax.
struct Decimal(f32);

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: u64 = 1_000_000_000;
        let Decimal(number) = *self;
        let magnitude = f64::from(number.abs());
        let units = (magnitude * UNITS as f64) as u64;
        let sign = if number < 0.0 { "-" } else { "" };
        if number.is_nan() {
            f.write_str("NaN")
        } else if magnitude == f64::INFINITY {
            write!(f, "{sign}∞")
        } else if magnitude > UNITS as f64 {
            write!(f, "{sign}(more than 10^9)")
        } else if units == 0 && magnitude > 0.0 {
            write!(f, "{sign}(less than 10^-9)")
        } else {
            write!(f, "{sign}{}.{:09}", units / UNITS, units % UNITS)
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Error::LengthMismatch { expected, given } => write!(
                f,
                "expected {expected} values, as many as in the first slice, but {given} were given"
            ),
            Error::RowsMismatch { expected, given } => write!(
                f,
                "expected {expected} places, one for each row, but {given} were given"
            ),
            Error::PartialRow { columns, given } => write!(
                f,
                "expected whole rows of {columns} columns, but {given} values were given"
            ),
            Error::ShapeMismatch {
                shape: [outer, axis, inner],
                given,
            } => write!(
                f,
                "expected {outer} × {axis} × {inner} = {} values, but {given} were given",
                outer.saturating_mul(axis).saturating_mul(inner)
            ),
            Error::TooLarge {
                shape: [outer, axis, inner],
            } => write!(
                f,
                "expected a shape of at most {} values, but {outer} × {axis} × {inner} was given",
                usize::MAX
            ),
            Error::StrideBelowColumns { columns, given } => write!(
                f,
                "expected a row stride of at least {columns}, the columns of a row, but {given} was \
                 given"
            ),
            Error::PartialStridedRow {
                columns,
                stride,
                given,
            } => write!(
                f,
                "expected whole rows of {columns} columns, {stride} apart, but {given} values were \
                 given"
            ),
            Error::PartialMatrix {
                matrix_rows,
                heads: 1,
                given,
            } => write!(
                f,
                "expected whole matrices of {matrix_rows} rows, but {given} rows were given"
            ),
            Error::PartialMatrix {
                matrix_rows,
                heads,
                given,
            } => write!(
                f,
                "expected whole items of {heads} matrices of {matrix_rows} rows, but {given} rows \
                 were given"
            ),
            Error::MaskMismatch {
                rows,
                columns,
                given,
            } => write!(
                f,
                "expected a mask for {rows} rows of {columns} values, for one of them, or for the \
                 rows of one matrix or one for each matrix, but {given} values were given"
            ),
            Error::AmbiguousMask {
                shapes: [one, other],
                columns,
                given,
            } => write!(
                f,
                "expected a mask of one shape, but the {given} values that were given are {one:?} \
                 or {other:?} rows of {columns}; a shaped mask says which"
            ),
            Error::MaskShapeMismatch {
                expected: [items, heads, rows],
                columns,
                shape,
                given,
            } => write!(
                f,
                "expected a mask of {items} or 1, {heads} or 1, {rows} or 1 rows of {columns} \
                 values, but {given} values of shape {shape:?} were given"
            ),
            Error::LengthsMismatch {
                matrices,
                items,
                given,
            } if matrices == items => write!(
                f,
                "expected {matrices} lengths, one for each matrix, but {given} were given"
            ),
            Error::LengthsMismatch {
                matrices,
                items,
                given,
            } => write!(
                f,
                "expected {matrices} lengths, one for each matrix, or {items}, one for each item, \
                 but {given} were given"
            ),
            Error::LengthBeyondRow { columns, given } => write!(
                f,
                "expected a length of at most {columns}, the columns of the row, but {given} was \
                 given"
            ),
            Error::UnsupportedOption { option, operation } => {
                write!(
                    f,
                    "expected no such option in {operation}, but {option} was given"
                )
            }
            Error::TargetOutOfRange { columns, target } => write!(
                f,
                "expected a target below {columns}, the columns of the row, but {target} was given"
            ),
            Error::TargetsMismatch { expected, given } => write!(
                f,
                "expected {expected} targets, one for each row, but {given} were given"
            ),
            Error::WeightsMismatch { columns, given } => write!(
                f,
                "expected {columns} weights, one for each class, but {given} were given"
            ),
            Error::ParameterOutOfRange {
                parameter,
                expected,
                given_bits,
            } => write!(
                f,
                "expected {parameter} to be {expected}, but {} was given",
                Decimal(f32::from_bits(given_bits))
            ),
            Error::NoDistribution { outcome } => write!(
                f,
                "expected a row whose largest logit is finite, but {} was given",
                match outcome {
                    Outcome::Empty => "an empty row",
                    Outcome::FullyMasked => "a row of −∞ alone",
                    Outcome::PositiveInfinity => "a row with +∞",
                    Outcome::NaN => "a row with NaN",
                    Outcome::Finite => "another",
                }
            ),
            Error::UnavailableBackend { backend, best } => write!(
                f,
                "expected a backend that runs here, such as {}, but {} was given",
                best.name(),
                backend.name()
            ),
        }
    }
}

impl core::error::Error for Error {}

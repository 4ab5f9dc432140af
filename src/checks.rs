//! Checks of arguments. Every [`Error`] of the crate is made here.

use crate::backend::Backend;
use crate::broadcast::{Broadcast, Dimensions, Misfit};
use crate::error::Error;
use crate::mask::FullyMasked;
use crate::normalizer::Outcome;
use crate::options::{MaskValues, Options};
use crate::source::{Element, Layout, OutOfPlace};

/// Logits and places for as many results.
pub(crate) fn out_of_place<'a, L: Element, E: Element>(
    logits: &'a [L],
    results: &'a mut [E],
) -> Result<OutOfPlace<'a, &'a [L], E>, Error> {
    length(logits.len(), results.len())?;
    Ok(OutOfPlace { logits, results })
}

pub(crate) fn length(expected: usize, given: usize) -> Result<(), Error> {
    if expected == given {
        Ok(())
    } else {
        Err(Error::LengthMismatch { expected, given })
    }
}

/// The number of rows; 0 if rows have no columns.
pub(crate) fn whole_rows(values: usize, columns: usize) -> Result<usize, Error> {
    match values.checked_rem(columns) {
        Some(0) => Ok(values / columns),
        None if values == 0 => Ok(0),
        _ => Err(Error::PartialRow {
            columns,
            given: values,
        }),
    }
}

/// Where the rows lie; none if rows have no columns.
fn layout(options: &Options<'_>, values: usize, columns: usize) -> Result<Layout, Error> {
    let stride = stride(options, columns)?;
    let layout = Layout {
        rows: 0,
        columns,
        stride,
    };
    if stride == columns || columns == 0 {
        let rows = whole_rows(values, columns)?;
        return Ok(Layout { rows, ..layout });
    }
    match values.checked_rem(stride) {
        // The last row need not have its gap. The stride of a row by itself may be any number: with
        // no more than the values there are, products with it do not overflow.
        Some(rest) if rest == 0 || rest >= columns => Ok(Layout {
            rows: layout.rows_in(values),
            stride: stride.min(values.max(columns)),
            ..layout
        }),
        _ => Err(Error::PartialStridedRow {
            columns,
            stride,
            given: values,
        }),
    }
}

pub(crate) fn result_for_each_row(
    values: usize,
    columns: usize,
    given: usize,
) -> Result<(), Error> {
    let expected = whole_rows(values, columns)?;
    if expected == given || columns == 0 {
        Ok(())
    } else {
        Err(Error::RowsMismatch { expected, given })
    }
}

/// The options of a loss of a matrix. The number of rows.
pub(crate) fn loss(options: &Options<'_>, values: usize, columns: usize) -> Result<usize, Error> {
    const LOSS: &str = "a loss of a matrix";
    unsupported(options.row_stride.is_some(), "a row stride", LOSS)?;
    unsupported(options.window.is_some(), "a window", LOSS)?;
    Ok(rows(options, values, columns)?.rows)
}

pub(crate) fn place_for_each_row(expected: usize, given: usize) -> Result<(), Error> {
    if expected == given {
        Ok(())
    } else {
        Err(Error::RowsMismatch { expected, given })
    }
}

fn stride(options: &Options<'_>, columns: usize) -> Result<usize, Error> {
    match options.row_stride {
        Some(given) if given < columns => Err(Error::StrideBelowColumns { columns, given }),
        stride => Ok(stride.unwrap_or(columns)),
    }
}

/// A matrix and its masks.
pub(crate) fn rows(options: &Options<'_>, values: usize, columns: usize) -> Result<Layout, Error> {
    let layout = layout(options, values, columns)?;
    masks(options, layout.rows, columns, 1)?;
    Ok(layout)
}

/// A matrix with a result for each row, and its masks. Rows of no columns may be any number.
pub(crate) fn log_sum_exp_rows(
    options: &Options<'_>,
    values: usize,
    columns: usize,
    given: usize,
) -> Result<Layout, Error> {
    let mut layout = layout(options, values, columns)?;
    if columns == 0 {
        layout.rows = given;
    }
    if layout.rows != given {
        return Err(Error::RowsMismatch {
            expected: layout.rows,
            given,
        });
    }
    masks(options, given, columns, 1)?;
    Ok(layout)
}

/// The options of a tensor along an axis.
pub(crate) fn axis(options: &Options<'_>, shape: [usize; 3]) -> Result<(), Error> {
    let [outer, axis, inner] = shape;
    const AXIS: &str = "a softmax along an axis";
    const INNER_AXIS: &str = "a softmax along an inner axis";
    unsupported(options.row_stride.is_some(), "a row stride", AXIS)?;
    if inner != 1 {
        unsupported(options.causal.is_some(), "a causal mask", INNER_AXIS)?;
        unsupported(options.window.is_some(), "a window", INNER_AXIS)?;
    }
    masks(options, outer, axis, inner)
}

/// A tensor of `shape` with a result for each of its columns.
pub(crate) fn log_sum_exp_axis(
    options: &Options<'_>,
    tensor: [usize; 3],
    values: usize,
    given: usize,
) -> Result<(), Error> {
    shape(tensor, values)?;
    let [outer, axis, inner] = tensor;
    let Some(expected) = outer.checked_mul(inner) else {
        return Err(Error::TooLarge { shape: tensor });
    };
    place_for_each_row(expected, given)?;
    if inner == 1 {
        masks(options, outer, axis, 1)
    } else {
        self::axis(options, tensor)
    }
}

pub(crate) fn shape(shape: [usize; 3], given: usize) -> Result<(), Error> {
    let [outer, axis, inner] = shape;
    // A dimension of 0 makes the product 0, however large the others are.
    let product = if shape.contains(&0) {
        Some(0)
    } else {
        outer
            .checked_mul(axis)
            .and_then(|product| product.checked_mul(inner))
    };
    match product {
        None => Err(Error::TooLarge { shape }),
        Some(product) if product != given => Err(Error::ShapeMismatch { shape, given }),
        Some(_) => Ok(()),
    }
}

/// The masks and lengths of `options`, for `rows` rows, each of `columns` columns of `inner`
/// logits.
pub(crate) fn masks(
    options: &Options<'_>,
    rows: usize,
    columns: usize,
    inner: usize,
) -> Result<(), Error> {
    if !options.are_given {
        return Ok(());
    }
    stride(options, columns)?;
    let dimensions = options.dimensions(rows).ok_or(Error::PartialMatrix {
        matrix_rows: options.matrix_rows.unwrap_or(rows),
        heads: options.heads.unwrap_or(1),
        given: rows,
    })?;
    let logits = columns.saturating_mul(inner);
    let has_logits = rows > 0 && logits > 0;
    if has_logits {
        mask_values(options.keep, dimensions, rows, logits)?;
        mask_values(options.additive, dimensions, rows, logits)?;
    }
    let lengths = options.lengths.unwrap_or(&[]);
    let (matrices, items, given) = (dimensions.matrices(), dimensions.items, lengths.len());
    if has_logits && options.lengths.is_some() && given != matrices && given != items {
        return Err(Error::LengthsMismatch {
            matrices,
            items,
            given,
        });
    }
    let mut beyond = options.length.iter().chain(lengths);
    match beyond.find(|length| **length > columns) {
        Some(&given) => Err(Error::LengthBeyondRow { columns, given }),
        None => Ok(()),
    }
}

/// A mask over `rows` rows of `columns` logits.
fn mask_values<T>(
    mask: Option<MaskValues<'_, T>>,
    dimensions: Dimensions,
    rows: usize,
    columns: usize,
) -> Result<(), Error> {
    let Some(MaskValues { values, shape }) = mask else {
        return Ok(());
    };
    let given = values.len();
    match (Broadcast::new(values, shape, dimensions, columns), shape) {
        (Ok(_), _) => Ok(()),
        (Err(Misfit::Ambiguous(shapes)), _) => Err(Error::AmbiguousMask {
            shapes,
            columns,
            given,
        }),
        (Err(Misfit::None), None) => Err(Error::MaskMismatch {
            rows,
            columns,
            given,
        }),
        (Err(Misfit::None), Some(shape)) => Err(Error::MaskShapeMismatch {
            expected: dimensions.shape(),
            columns,
            shape,
            given,
        }),
    }
}

pub(crate) fn target(columns: usize, target: usize) -> Result<(), Error> {
    if target < columns {
        Ok(())
    } else {
        Err(Error::TargetOutOfRange { columns, target })
    }
}

/// A class for each row, unless it is `ignored`.
pub(crate) fn class_targets(
    values: usize,
    columns: usize,
    targets: &[usize],
    ignored: Option<usize>,
) -> Result<(), Error> {
    let (expected, given) = (whole_rows(values, columns)?, targets.len());
    if expected != given && columns > 0 {
        return Err(Error::TargetsMismatch { expected, given });
    }
    targets
        .iter()
        .filter(|class| Some(**class) != ignored)
        .try_for_each(|class| target(columns, *class))
}

/// A weight for each class, if there are any.
pub(crate) fn class_weights(columns: usize, weights: Option<&[f32]>) -> Result<(), Error> {
    match weights {
        Some(weights) if weights.len() != columns => Err(Error::WeightsMismatch {
            columns,
            given: weights.len(),
        }),
        _ => Ok(()),
    }
}

/// `operation` leaves no rows out.
pub(crate) fn none_ignored(ignored: Option<usize>, operation: &'static str) -> Result<(), Error> {
    match ignored {
        None => Ok(()),
        Some(_) => Err(Error::UnsupportedOption {
            option: "a target to ignore",
            operation,
        }),
    }
}

/// The parameters of a sampler.
pub(crate) fn sampler(temperature: f32, top_p: f32, min_p: f32) -> Result<(), Error> {
    let is_temperature = (0.0..f32::INFINITY).contains(&temperature);
    parameter(
        "the temperature",
        "finite and at least 0",
        temperature,
        is_temperature,
    )?;
    parameter("top-p", "at least 0", top_p, top_p >= 0.0)?;
    parameter("min-p", "from 0 to 1", min_p, (0.0..=1.0).contains(&min_p))
}

/// The number that decides a draw.
pub(crate) fn uniform(uniform: f32) -> Result<(), Error> {
    let is_uniform = (0.0..1.0).contains(&uniform);
    parameter(
        "the uniform number",
        "at least 0 and below 1",
        uniform,
        is_uniform,
    )
}

fn parameter(
    parameter: &'static str,
    expected: &'static str,
    given: f32,
    is_in_range: bool,
) -> Result<(), Error> {
    if is_in_range {
        return Ok(());
    }
    Err(Error::ParameterOutOfRange {
        parameter,
        expected,
        given_bits: given.to_bits(),
    })
}

/// What was made of a distribution, or what the row is instead of one.
pub(crate) fn distribution<T>(drawn: Result<T, Outcome>) -> Result<T, Error> {
    drawn.map_err(|outcome| Error::NoDistribution { outcome })
}

pub(crate) fn backend(backend: Backend) -> Result<(), Error> {
    if backend.is_available() {
        Ok(())
    } else {
        Err(Error::UnavailableBackend {
            backend,
            best: Backend::best(),
        })
    }
}

/// `operation` takes no option.
pub(crate) fn no_options(options: &Options<'_>, operation: &'static str) -> Result<(), Error> {
    let masks = !options.allows_whole_matrices();
    let fully_masked = options.fully_masked != FullyMasked::Nan;
    unsupported(options.scale.is_some(), "a scale", operation)?;
    unsupported(options.soft_cap.is_some(), "a soft cap", operation)?;
    unsupported(options.sink.is_some(), "a sink", operation)?;
    unsupported(fully_masked, "a result for fully masked rows", operation)?;
    unsupported(masks, "a mask", operation)?;
    unsupported(options.matrix_rows.is_some(), "rows of a matrix", operation)?;
    unsupported(options.heads.is_some(), "heads", operation)?;
    unsupported(options.row_stride.is_some(), "a row stride", operation)
}

/// `operation` takes no soft cap.
pub(crate) fn no_soft_cap(options: &Options<'_>, operation: &'static str) -> Result<(), Error> {
    unsupported(options.soft_cap.is_some(), "a soft cap", operation)
}

fn unsupported(is_given: bool, option: &'static str, operation: &'static str) -> Result<(), Error> {
    if is_given {
        Err(Error::UnsupportedOption { option, operation })
    } else {
        Ok(())
    }
}

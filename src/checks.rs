//! Checks of arguments. Every [`Error`] of the crate is made here.

use crate::backend::Backend;
use crate::error::Error;
use crate::mask::FullyMasked;
use crate::normalizer::Outcome;
use crate::options::Options;
use crate::source::{Element, OutOfPlace};

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

/// A result for each row. Rows of no columns may be any number.
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

pub(crate) fn place_for_each_row(expected: usize, given: usize) -> Result<(), Error> {
    if expected == given {
        Ok(())
    } else {
        Err(Error::RowsMismatch { expected, given })
    }
}

/// A matrix and its masks. The number of rows; 0 if rows have no columns.
pub(crate) fn rows(options: &Options<'_>, values: usize, columns: usize) -> Result<usize, Error> {
    let rows = whole_rows(values, columns)?;
    masks(options, rows, columns, 1)?;
    Ok(rows)
}

/// A matrix with a result for each row, and its masks.
pub(crate) fn log_sum_exp_rows(
    options: &Options<'_>,
    values: usize,
    columns: usize,
    given: usize,
) -> Result<(), Error> {
    result_for_each_row(values, columns, given)?;
    masks(options, given, columns, 1)
}

/// The options of a tensor of `shape` with an inner axis.
pub(crate) fn inner_axis(options: &Options<'_>, shape: [usize; 3]) -> Result<(), Error> {
    let [outer, axis, inner] = shape;
    not_causal(options, "a softmax along an inner axis")?;
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
        inner_axis(options, tensor)
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

/// The masks and lengths of `options`, for a matrix of `rows` rows, each of `columns` columns of
/// `inner` logits. A mask with values has whole rows, and their number divides `rows`.
pub(crate) fn masks(
    options: &Options<'_>,
    rows: usize,
    columns: usize,
    inner: usize,
) -> Result<(), Error> {
    if !options.are_given {
        return Ok(());
    }
    let logits = columns.saturating_mul(inner);
    if rows > 0 && logits > 0 {
        for given in options.mask_lens() {
            let mask_rows = given / logits;
            let repeats = rows.checked_rem(mask_rows) == Some(0);
            if given % logits != 0 || !repeats {
                return Err(Error::MaskMismatch {
                    rows,
                    columns: logits,
                    given,
                });
            }
        }
    }
    match options.length {
        Some(given) if given > columns => Err(Error::LengthBeyondRow { columns, given }),
        _ => Ok(()),
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
    let option = if options.scale.is_some() {
        "a scale"
    } else if options.soft_cap.is_some() {
        "a soft cap"
    } else if options.sink.is_some() {
        "a sink"
    } else if options.fully_masked != FullyMasked::Nan {
        "a result for fully masked rows"
    } else if !options.allows_whole_matrices() {
        "a mask"
    } else {
        return Ok(());
    };
    Err(Error::UnsupportedOption { option, operation })
}

/// `operation` takes no soft cap.
pub(crate) fn no_soft_cap(options: &Options<'_>, operation: &'static str) -> Result<(), Error> {
    match options.soft_cap {
        None => Ok(()),
        Some(_) => Err(Error::UnsupportedOption {
            option: "a soft cap",
            operation,
        }),
    }
}

/// `operation` takes no causal mask.
pub(crate) fn not_causal(options: &Options<'_>, operation: &'static str) -> Result<(), Error> {
    match options.causal {
        None => Ok(()),
        Some(_) => Err(Error::UnsupportedOption {
            option: "a causal mask",
            operation,
        }),
    }
}

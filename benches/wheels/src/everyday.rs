//! What `everyday.py` calls: operations by their names.

use online_softmax::{Candidate, CrossEntropy, Error, Mask, Sampler, Softmax, top_k};
use std::ffi::{CStr, c_char};
use std::slice;

/// The arguments of an operation; which of them it has is said by [`compute`].
struct Arguments<'a> {
    logits: &'a [f32],
    /// A bias for each column, or as many values as logits.
    other: &'a [f32],
    targets: &'a [usize],
    shape: [usize; 3],
    uniform: f32,
}

/// Runs the operation `name`: 0 if it is done, 1 if the arguments are wrong.
///
/// # Safety
///
/// `name` must be a C string; each pointer must be valid for as many initialized values as the number
/// after it says, `results` for reads and writes, `shape` for three numbers, and aligned and not null;
/// nothing else may use the results during the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn everyday(
    name: *const c_char,
    logits: *const f32,
    len: usize,
    other: *const f32,
    other_len: usize,
    targets: *const usize,
    targets_len: usize,
    shape: *const usize,
    uniform: f32,
    results: *mut f32,
    results_len: usize,
) -> i32 {
    // SAFETY: the caller promises all of it.
    let (name, arguments, results) = unsafe {
        let arguments = Arguments {
            logits: slice::from_raw_parts(logits, len),
            other: slice::from_raw_parts(other, other_len),
            targets: slice::from_raw_parts(targets, targets_len),
            shape: *shape.cast(),
            uniform,
        };
        let results = slice::from_raw_parts_mut(results, results_len);
        (CStr::from_ptr(name), arguments, results)
    };
    i32::from(compute(name.to_str().unwrap_or(""), &arguments, results).is_none())
}

fn compute(name: &str, arguments: &Arguments<'_>, results: &mut [f32]) -> Option<()> {
    let Arguments {
        logits,
        other,
        targets,
        shape,
        uniform,
    } = *arguments;
    let columns = shape[2];
    let (softmax, losses) = (Softmax::new(), CrossEntropy::new());
    let mut first = |result: Result<f32, Error>| {
        results[0] = result.ok()?;
        Some(())
    };
    match name {
        "causal" => {
            let causal = softmax.matrix_rows(shape[1]);
            let causal = causal.mask(Mask::Causal { offset: 0 });
            causal.rows(logits, columns, results).ok()
        }
        "lengths" => {
            let lengths = softmax
                .matrix_rows(shape[1])
                .heads(shape[0] / targets.len());
            let lengths = lengths.mask(Mask::Lengths(targets));
            lengths.rows(logits, columns, results).ok()
        }
        "scale and bias" => {
            let biased = softmax.scale(0.125).mask(Mask::Additive(other));
            biased.rows(logits, columns, results).ok()
        }
        "softmax of axis 1" => softmax.axis(logits, shape, results).ok(),
        "log-sum-exp of axis 1" => softmax.log_sum_exp_axis(logits, shape, results).ok(),
        "cross-entropy" => first(losses.mean(logits, columns, targets)),
        "smoothed cross-entropy" => {
            first(losses.label_smoothing(0.1).mean(logits, columns, targets))
        }
        "soft cross-entropy" => first(losses.soft_mean(logits, columns, other)),
        "cross-entropy, gradient" => {
            let mean = losses.gradient(logits, columns, targets, results);
            mean.ok().map(drop)
        }
        "gradient of softmax" => {
            let gradient = softmax.softmax_gradient_rows(logits, other, columns, results);
            gradient.ok()
        }
        "top 5" => {
            let mut candidates = [Candidate::default(); 5];
            let (_, best) = top_k(logits, &mut candidates);
            for (result, candidate) in results.iter_mut().zip(best) {
                *result = candidate.probability;
            }
            Some(())
        }
        "draw, top-p" => {
            let sampler = Sampler::new().temperature(0.7).top_p(0.95);
            first(sampler.draw(logits, uniform).map(|drawn| drawn.logit))
        }
        _ => None,
    }
}

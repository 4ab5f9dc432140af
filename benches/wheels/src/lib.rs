//! What `compare.py` and `everyday.py` call of online-softmax.

mod everyday;

use online_softmax::{Backend, Error, Softmax};
use std::ffi::{CString, c_char};
use std::slice;
use std::sync::OnceLock;

/// The softmax of each row of `columns` logits; 0 if it has been written, 1 if `len` is not a
/// multiple of `columns`.
///
/// # Safety
///
/// `logits` must be valid for reads and `probabilities` for writes of `len` initialized floats, both
/// aligned and not null; they must not overlap, and nothing else may use them during the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn softmax_rows(
    logits: *const f32,
    len: usize,
    columns: usize,
    probabilities: *mut f32,
) -> i32 {
    // SAFETY: the caller promises the same.
    unsafe {
        call(logits, len, probabilities, len, |logits, results| {
            Softmax::new().rows(logits, columns, results).map(drop)
        })
    }
}

/// The log-softmax of each row, otherwise as [`softmax_rows`].
///
/// # Safety
///
/// As for [`softmax_rows`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn log_softmax_rows(
    logits: *const f32,
    len: usize,
    columns: usize,
    log_probabilities: *mut f32,
) -> i32 {
    // SAFETY: the caller promises the same.
    unsafe {
        call(logits, len, log_probabilities, len, |logits, results| {
            Softmax::new().log_rows(logits, columns, results).map(drop)
        })
    }
}

/// The log-sum-exp of each row, otherwise as [`softmax_rows`].
///
/// # Safety
///
/// As for [`softmax_rows`], but there are only `len / columns` results, and `columns` is not 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn log_sum_exp_rows(
    logits: *const f32,
    len: usize,
    columns: usize,
    results: *mut f32,
) -> i32 {
    // SAFETY: the caller promises the same.
    unsafe {
        call(logits, len, results, len / columns, |logits, results| {
            let softmax = Softmax::new();
            softmax.log_sum_exp_rows(logits, columns, results).map(drop)
        })
    }
}

/// # Safety
///
/// `logits` must be valid for reads of `len` and `results` for writes of `count` initialized floats,
/// both aligned and not null; they must not overlap, and nothing else may use them during the call.
unsafe fn call(
    logits: *const f32,
    len: usize,
    results: *mut f32,
    count: usize,
    operation: impl FnOnce(&[f32], &mut [f32]) -> Result<(), Error>,
) -> i32 {
    // SAFETY: the caller promises `len` initialized floats, which nothing writes during the call.
    let logits = unsafe { slice::from_raw_parts(logits, len) };
    // SAFETY: the caller promises `count` initialized floats, which nothing else uses during the call.
    let results = unsafe { slice::from_raw_parts_mut(results, count) };
    i32::from(operation(logits, results).is_err())
}

/// The name of the backend that `softmax_rows` runs on: a C string that is never freed.
#[unsafe(no_mangle)]
pub extern "C" fn backend() -> *const c_char {
    static NAME: OnceLock<CString> = OnceLock::new();
    NAME.get_or_init(|| {
        let name = format!("{:?}", Backend::best());
        CString::new(name).expect("the name of a variant has no NUL")
    })
    .as_ptr()
}

//! What `compare.py` calls of online-softmax.

use online_softmax::{Backend, Softmax};
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
    // SAFETY: the caller promises `len` initialized floats, which nothing writes during the call.
    let logits = unsafe { slice::from_raw_parts(logits, len) };
    // SAFETY: the caller promises `len` initialized floats, which nothing else uses during the call.
    let probabilities = unsafe { slice::from_raw_parts_mut(probabilities, len) };
    i32::from(Softmax::new().rows(logits, columns, probabilities).is_err())
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

//! The functions of `online_softmax.h`.

#![cfg_attr(target_os = "none", no_std)]

use core::slice;
use online_softmax::{Candidate, Error};

const OK: i32 = 0;
const NULL: i32 = 1;
const OVERLAP: i32 = 2;
const ALIGNMENT: i32 = 3;
const LENGTH: i32 = 4;

const MAX_K: usize = 64;

/// `online_softmax_candidate`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct CCandidate {
    index: usize,
    logit: f32,
    probability: f32,
}

/// Whether a slice of `len` may be made of `pointer`, as far as that can be seen.
fn check<T>(pointer: *const T, len: usize) -> Result<(), i32> {
    if len == 0 {
        Ok(())
    } else if pointer.is_null() {
        Err(NULL)
    } else if !pointer.is_aligned() {
        Err(ALIGNMENT)
    } else if len > isize::MAX as usize / size_of::<T>() {
        Err(LENGTH)
    } else {
        Ok(())
    }
}

/// Whether two checked pieces of memory have a byte in common.
fn overlap<T, U>(a: *const T, a_len: usize, b: *const U, b_len: usize) -> bool {
    let (a, b) = (a as usize, b as usize);
    let (a_bytes, b_bytes) = (a_len * size_of::<T>(), b_len * size_of::<U>());
    a_bytes > 0 && b_bytes > 0 && a < b.saturating_add(b_bytes) && b < a.saturating_add(a_bytes)
}

/// # Safety
///
/// `pointer` is valid for reads of `len` values, which nothing writes to during `'a`, or `len` is 0.
unsafe fn read<'a, T>(pointer: *const T, len: usize) -> &'a [T] {
    if len == 0 {
        return &[];
    }
    // SAFETY: the caller's; and null, alignment and length have been checked.
    unsafe { slice::from_raw_parts(pointer, len) }
}

/// # Safety
///
/// `pointer` is valid for `len` values that nothing else reads or writes during `'a`, or `len` is 0.
unsafe fn write<'a, T>(pointer: *mut T, len: usize) -> &'a mut [T] {
    if len == 0 {
        return &mut [];
    }
    // SAFETY: the caller's; and null, alignment and length have been checked.
    unsafe { slice::from_raw_parts_mut(pointer, len) }
}

/// One of the two operations on a row, in place where both pointers are equal.
///
/// # Safety
///
/// Both pointers are valid for `len` values.
unsafe fn row(
    logits: *const f32,
    results: *mut f32,
    len: usize,
    out_of_place: impl FnOnce(&[f32], &mut [f32]) -> Result<(), Error>,
    in_place: impl FnOnce(&mut [f32]),
) -> i32 {
    if let Err(status) = check(logits, len).and(check(results, len)) {
        return status;
    }
    if logits == results.cast_const() {
        // SAFETY: the caller's; there is no other reference.
        in_place(unsafe { write(results, len) });
        return OK;
    }
    if overlap(logits, len, results, len) {
        return OVERLAP;
    }
    // SAFETY: the caller's; the two do not overlap.
    let (logits, results) = unsafe { (read(logits, len), write(results, len)) };
    out_of_place(logits, results).map_or(LENGTH, |()| OK)
}

/// # Safety
///
/// The pointers are valid for `len` values.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn online_softmax(
    logits: *const f32,
    probabilities: *mut f32,
    len: usize,
) -> i32 {
    // SAFETY: the caller's.
    unsafe {
        row(
            logits,
            probabilities,
            len,
            |logits, results| online_softmax::softmax(logits, results).map(drop),
            |row| _ = online_softmax::softmax_in_place(row),
        )
    }
}

/// # Safety
///
/// The pointers are valid for `len` values.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn online_log_softmax(
    logits: *const f32,
    log_probabilities: *mut f32,
    len: usize,
) -> i32 {
    // SAFETY: the caller's.
    unsafe {
        row(
            logits,
            log_probabilities,
            len,
            |logits, results| online_softmax::log_softmax(logits, results).map(drop),
            |row| _ = online_softmax::log_softmax_in_place(row),
        )
    }
}

/// # Safety
///
/// `logits` is valid for `len` values, and `result` for one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn online_log_sum_exp(
    logits: *const f32,
    len: usize,
    result: *mut f32,
) -> i32 {
    if let Err(status) = check(logits, len).and(check(result, 1)) {
        return status;
    }
    if overlap(logits, len, result, 1) {
        return OVERLAP;
    }
    // SAFETY: the caller's; the two do not overlap.
    unsafe { *result = online_softmax::log_sum_exp(read(logits, len)) };
    OK
}

/// # Safety
///
/// `logits` is valid for `len` values, `best` for `k`, and `found` for one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn online_softmax_top_k(
    logits: *const f32,
    len: usize,
    best: *mut CCandidate,
    k: usize,
    found: *mut usize,
) -> i32 {
    let checked = check(logits, len).and(check(best, k)).and(check(found, 1));
    if let Err(status) = checked {
        return status;
    }
    if overlap(logits, len, best, k) || overlap(logits, len, found, 1) || overlap(best, k, found, 1)
    {
        return OVERLAP;
    }
    let mut candidates = [Candidate::default(); MAX_K];
    let Some(candidates) = candidates.get_mut(..k) else {
        return LENGTH;
    };
    // SAFETY: the caller's; the three do not overlap.
    let (logits, best, found) = unsafe { (read(logits, len), write(best, k), &mut *found) };
    let (_, candidates) = online_softmax::top_k(logits, candidates);
    for (place, candidate) in best.iter_mut().zip(candidates) {
        *place = CCandidate {
            index: candidate.index,
            logit: candidate.logit,
            probability: candidate.probability,
        };
    }
    *found = candidates.len();
    OK
}

#[cfg(target_os = "none")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}

//! Slices that end and begin at pages without access: a read or write past an end, which no
//! comparison of results can see, is a fault here. Where a slice is some values away from such a
//! page, the values between are NaN, which no result may depend on and no call may change.

use core::ffi::{c_int, c_long, c_void};
use core::ops::Range;
use online_softmax::Backend;
use support::calls::{Digest, Slices, call_everything, fill};
use support::{THOROUGH, bits};

support::on_every_backend!(nothing_beside_a_slice_is_touched);
#[cfg(feature = "half")]
support::on_every_backend!(nothing_beside_halves_is_touched);

unsafe extern "C" {
    fn mmap(
        address: *mut c_void,
        length: usize,
        protection: c_int,
        flags: c_int,
        file: c_int,
        offset: c_long,
    ) -> *mut c_void;
    fn mprotect(address: *mut c_void, length: usize, protection: c_int) -> c_int;
    fn munmap(address: *mut c_void, length: usize) -> c_int;
    fn fork() -> c_int;
    fn waitpid(process: c_int, status: *mut c_int, options: c_int) -> c_int;
    fn _exit(status: c_int) -> !;
}

const NO_ACCESS: c_int = 0;
const READ_AND_WRITE: c_int = 3;
const PRIVATE_AND_ANONYMOUS: c_int = 0x22;

/// A multiple of the page size of every Linux.
const GUARD: usize = 1 << 16;

/// Values between two stretches of memory without access.
struct Guarded<T> {
    start: *mut T,
    len: usize,
}

impl<T: Copy> Guarded<T> {
    /// Room for [`GUARD`] bytes of values, all `value`.
    fn new(value: T) -> Self {
        // SAFETY: a new mapping, at an address of the system's choice.
        let mapping = unsafe {
            mmap(
                core::ptr::null_mut(),
                3 * GUARD,
                NO_ACCESS,
                PRIVATE_AND_ANONYMOUS,
                -1,
                0,
            )
        };
        assert_ne!(mapping.addr(), usize::MAX, "mmap failed");
        // SAFETY: the range is within the mapping, and begins and ends at pages.
        let (start, refused) = unsafe {
            let start = mapping.add(GUARD);
            (start, mprotect(start, GUARD, READ_AND_WRITE))
        };
        assert_eq!(refused, 0, "mprotect failed");
        let (start, len) = (start.cast::<T>(), GUARD / size_of::<T>());
        for index in 0..len {
            // SAFETY: the range was made accessible, and is aligned to a page.
            unsafe { start.add(index).write(value) };
        }
        Guarded { start, len }
    }

    fn values(&mut self) -> &mut [T] {
        // SAFETY: the values were written, and are borrowed by nobody else while `self` is.
        unsafe { core::slice::from_raw_parts_mut(self.start, self.len) }
    }

    /// Where `len` values are, `offset` values from the first or the last.
    fn place(&self, len: usize, offset: usize, at_the_end: bool) -> Range<usize> {
        if at_the_end {
            self.len - offset - len..self.len - offset
        } else {
            offset..offset + len
        }
    }
}

impl<T> Drop for Guarded<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping of `new`, which nothing borrows any more.
        unsafe { munmap(self.start.cast::<c_void>().sub(GUARD), 3 * GUARD) };
    }
}

/// Lengths around the widths of registers and the limits between the forms of the crate.
fn lengths() -> Vec<usize> {
    let mut lengths: Vec<usize> = (0..=if THOROUGH { 257 } else { 70 }).collect();
    lengths.extend([128, 129, 255, 256, 264, 310, 528, 850, 1071]);
    if THOROUGH {
        lengths.extend([
            1023, 1024, 1025, 2047, 2048, 2049, 2080, 4095, 4097, 4224, 10_007,
        ]);
    }
    lengths
}

/// How far slices are from a page without access, in values; next to it first.
fn offsets(len: usize) -> Range<usize> {
    let is_short = len <= 36;
    match (THOROUGH, is_short) {
        (true, _) => 0..16,
        (false, true) => 0..2,
        (false, false) => 0..1,
    }
}

fn nothing_beside_a_slice_is_touched(backend: Backend) {
    let mut logits = Guarded::new(f32::NAN);
    let mut results = Guarded::new(f32::NAN);
    let mut additive = Guarded::new(f32::NAN);
    let mut keep = Guarded::new(true);
    for len in lengths() {
        let mut row = vec![0.0; len];
        fill(&mut row);
        let bias: Vec<f32> = (0..len).map(|index| (index % 5) as f32 - 2.0).collect();
        let kept: Vec<bool> = (0..len).map(|index| index % 7 != 3).collect();
        let mut expected = Digest::default();
        let mut elsewhere = Slices {
            logits: &mut row.clone(),
            results: &mut vec![0.0; len],
            additive: &bias,
            keep: &kept,
        };
        call_everything(backend, &mut elsewhere, &mut expected);
        for (offset, at_the_end) in offsets(len).flat_map(|i| [(i, true), (i, false)]) {
            // At 0 all of them are next to a page without access; else each has another alignment.
            let place = logits.place(len, offset, at_the_end);
            let of_results = results.place(len, 3 * offset % 16, at_the_end);
            let of_additive = additive.place(len, 5 * offset % 16, at_the_end);
            let of_keep = keep.place(len, 7 * offset % 16, at_the_end);
            logits.values()[place.clone()].copy_from_slice(&row);
            additive.values()[of_additive.clone()].copy_from_slice(&bias);
            keep.values()[of_keep.clone()].copy_from_slice(&kept);
            let mut slices = Slices {
                logits: &mut logits.values()[place.clone()],
                results: &mut results.values()[of_results.clone()],
                additive: &additive.values()[of_additive.clone()],
                keep: &keep.values()[of_keep],
            };
            let mut digest = Digest::default();
            call_everything(backend, &mut slices, &mut digest);
            assert_eq!(digest.0, expected.0, "{len} values, {offset} from a page");
            logits.values()[place].fill(f32::NAN);
            results.values()[of_results].fill(f32::NAN);
            additive.values()[of_additive].fill(f32::NAN);
            for memory in [&mut logits, &mut results] {
                let is_nan = |value: &f32| bits(*value) == bits(f32::NAN);
                assert!(
                    memory.values().iter().all(is_nan),
                    "{len} values, {offset} from a page"
                );
            }
        }
    }
}

/// Rows and matrices of half precision, which have loads and stores of their own.
#[cfg(feature = "half")]
fn nothing_beside_halves_is_touched(backend: Backend) {
    halves(backend, half::bf16::from_f32);
    halves(backend, half::f16::from_f32);
}

#[cfg(feature = "half")]
fn halves<H>(backend: Backend, of: fn(f32) -> H)
where
    H: online_softmax::Logit + online_softmax::Probability<H> + Copy + PartialEq + 'static,
{
    let softmax = support::on(backend).of::<H>();
    let poison = of(13.0);
    let (mut logits, mut results) = (Guarded::new(poison), Guarded::new(poison));
    for len in lengths() {
        let mut row = vec![0.0; len];
        fill(&mut row);
        let row: Vec<H> = row.into_iter().map(of).collect();
        let columns = [1, 3, 8, 10, 17, 31, 32, 50, 63, 64];
        let columns = columns
            .into_iter()
            .filter(|columns| len.is_multiple_of(*columns));
        for (offset, at_the_end) in offsets(len).flat_map(|i| [(i, true), (i, false)]) {
            let place = logits.place(len, offset, at_the_end);
            let of_results = results.place(len, 3 * offset % 16, at_the_end);
            logits.values()[place.clone()].copy_from_slice(&row);
            let of_row = &mut logits.values()[place.clone()];
            let out = &mut results.values()[of_results.clone()];
            softmax.row(of_row, out).unwrap();
            softmax.log_row(of_row, out).unwrap();
            softmax.normalizer(of_row).unwrap();
            softmax.log_sum_exp(of_row).unwrap();
            softmax.top_k(of_row, &mut [Default::default(); 5]).unwrap();
            for columns in columns.clone() {
                softmax.rows(of_row, columns, out).unwrap();
                softmax.log_rows(of_row, columns, out).unwrap();
                softmax
                    .axis(of_row, [1, len / columns, columns], out)
                    .unwrap();
                softmax.rows_in_place(of_row, columns).unwrap();
                of_row.copy_from_slice(&row);
            }
            softmax.log_row_in_place(of_row).unwrap();
            softmax.row_in_place(of_row).unwrap();
            of_row.fill(poison);
            out.fill(poison);
            for memory in [&mut logits, &mut results] {
                let is_poison = |value: &H| *value == poison;
                assert!(
                    memory.values().iter().all(is_poison),
                    "{len} halves, {offset} from a page"
                );
            }
        }
    }
}

/// Whether a process in which `touch` runs lives on after it.
fn survives(touch: impl FnOnce()) -> bool {
    // SAFETY: the child does nothing but `touch` memory and exit; it takes no lock.
    let child = unsafe { fork() };
    assert!(child >= 0, "fork failed");
    if child == 0 {
        touch();
        // SAFETY: this is the child, whose memory nobody uses afterwards.
        unsafe { _exit(0) }
    }
    let mut status = -1;
    // SAFETY: the child is waited for once, and `status` is a place for its status.
    let waited = unsafe { waitpid(child, &mut status, 0) };
    assert_eq!(waited, child, "waitpid failed");
    status == 0
}

/// The tests above can fail: a load or a store of one lane too much is a fault.
#[test]
fn a_lane_beside_a_slice_is_a_fault() {
    let mut row = Guarded::new(1.0_f32);
    let values = row.values();
    let (first, len) = (values.as_mut_ptr(), values.len());
    for (lane, is_beside) in [
        (0, false),
        (len - 1, false),
        (len, true),
        (usize::MAX, true),
    ] {
        let place = first.wrapping_add(lane);
        // SAFETY: within the slice it is a read; beside it, the end of a process without any use.
        let lives = survives(|| unsafe {
            place.read_volatile();
        });
        assert_eq!(lives, !is_beside, "a read of lane {lane}");
        // SAFETY: as above, of a write.
        let lives = survives(|| unsafe { place.write_volatile(2.0) });
        assert_eq!(lives, !is_beside, "a write of lane {lane}");
    }
}

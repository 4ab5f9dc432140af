//! Rows that end and begin at pages without access: a read or write past an end, which no
//! comparison of results can see, is a fault here.

use core::ffi::{c_int, c_long, c_void};
use online_softmax::{Backend, Mask, Softmax, Stream};
use support::{THOROUGH, on};

support::on_every_backend!(nothing_beside_a_row_is_touched);

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
}

const NO_ACCESS: c_int = 0;
const READ_AND_WRITE: c_int = 3;
const PRIVATE_AND_ANONYMOUS: c_int = 0x22;

/// A multiple of the page size of every Linux.
const GUARD: usize = 1 << 16;

/// Logits between two stretches of memory without access.
struct Guarded {
    start: *mut u8,
    values: usize,
}

impl Guarded {
    /// Room for `values`; their size must be a multiple of [`GUARD`].
    fn new(values: usize) -> Self {
        let size = values * size_of::<f32>();
        assert_eq!(size % GUARD, 0);
        // SAFETY: a new mapping, at an address of the system's choice.
        let start = unsafe {
            mmap(
                core::ptr::null_mut(),
                size + 2 * GUARD,
                NO_ACCESS,
                PRIVATE_AND_ANONYMOUS,
                -1,
                0,
            )
        };
        assert_ne!(start.addr(), usize::MAX, "mmap failed");
        let start: *mut u8 = start.cast();
        // SAFETY: the range is within the mapping, and begins and ends at pages.
        let refused = unsafe { mprotect(start.add(GUARD).cast(), size, READ_AND_WRITE) };
        assert_eq!(refused, 0, "mprotect failed");
        Guarded { start, values }
    }

    fn values(&mut self) -> &mut [f32] {
        // SAFETY: the range was made accessible, is zeroed by the system and aligned to a page,
        // and is borrowed by nobody else while `self` is.
        unsafe { core::slice::from_raw_parts_mut(self.start.add(GUARD).cast(), self.values) }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // SAFETY: the mapping of `new`, which nothing borrows any more.
        unsafe {
            munmap(
                self.start.cast(),
                self.values * size_of::<f32>() + 2 * GUARD,
            )
        };
    }
}

fn nothing_beside_a_row_is_touched(backend: Backend) {
    let softmax = on(backend);
    let mut lengths: Vec<usize> = (0..=200).collect();
    lengths.extend([
        255, 256, 257, 272, 310, 511, 512, 513, 527, 1000, 1023, 1025, 4095, 4097,
    ]);
    if THOROUGH {
        lengths.extend(201..2200);
        lengths.push(10_007);
    }
    let values = 4 * GUARD / size_of::<f32>();
    let (mut first, mut second) = (Guarded::new(values), Guarded::new(values));
    let (logits, results) = (first.values(), second.values());
    for (index, logit) in logits.iter_mut().enumerate() {
        *logit = (index % 97) as f32 - 60.0;
    }
    let template = logits.to_vec();
    for len in lengths {
        for at_the_end in [true, false] {
            let place = if at_the_end {
                values - len..values
            } else {
                0..len
            };
            let (row, out) = (&mut logits[place.clone()], &mut results[place]);
            softmax.row(row, out).unwrap();
            softmax.log_row(row, out).unwrap();
            softmax.normalizer(row).unwrap();
            backend.exp(row, out).unwrap();
            let mut stream = Stream::new().backend(backend).unwrap();
            stream.extend(row);
            assert_eq!(stream.finish(), softmax.normalizer(row).unwrap());
            // To 32 columns squares of registers are loaded and stored by one check.
            for columns in [1, 3, 8, 10, 13, 17, 31, 32, 64] {
                if len % columns == 0 {
                    softmax.rows_in_place(row, columns).unwrap();
                    row.copy_from_slice(&template[..len]);
                    softmax.rows(row, columns, out).unwrap();
                    softmax.log_rows(row, columns, out).unwrap();
                    let rows = len / columns;
                    let out = if at_the_end {
                        &mut out[len - rows..]
                    } else {
                        &mut out[..rows]
                    };
                    softmax.log_sum_exp_rows(row, columns, out).unwrap();
                }
            }
            let several = if THOROUGH {
                &[1, 7, 32, 64][..]
            } else {
                &[7, 64]
            };
            for &columns in several {
                masked_and_apart(softmax, row, out, columns);
                row.copy_from_slice(&template[..len]);
            }
            softmax.log_row_in_place(row).unwrap();
            softmax.row_in_place(row).unwrap();
            row.copy_from_slice(&template[..len]);
        }
    }
}

/// The ends of the slices are those of a row with a gap before it, and of rows whose first and last
/// columns are masked.
fn masked_and_apart(softmax: Softmax, row: &mut [f32], out: &mut [f32], columns: usize) {
    let stride = columns + 3;
    let len = row.len();
    if len % stride >= columns || len.is_multiple_of(stride) {
        let apart = softmax.row_stride(stride);
        let causal = apart.mask(Mask::Causal { offset: 0 });
        let rows = len.div_ceil(stride);
        for softmax in [apart, causal] {
            softmax.rows(row, columns, out).unwrap();
            softmax.log_rows(row, columns, out).unwrap();
            let mut sums = vec![0.0; rows];
            softmax.log_sum_exp_rows(row, columns, &mut sums).unwrap();
            softmax.rows_in_place(row, columns).unwrap();
        }
    }
    if len.is_multiple_of(columns) {
        let window = Mask::Window {
            before: 1,
            after: 2,
        };
        let lengths = [columns / 2];
        for softmax in [
            softmax.mask(window),
            softmax.mask(Mask::Causal { offset: 1 }).scale(0.5),
            softmax.mask(Mask::Lengths(&lengths)),
        ] {
            softmax.rows(row, columns, out).unwrap();
            softmax.log_rows(row, columns, out).unwrap();
            softmax.rows_in_place(row, columns).unwrap();
        }
    }
}

//! The results of a backend over seeded rows, special values among them, as one number.

#![no_std]

pub use online_softmax::Backend;
use online_softmax::{Error, Softmax};

/// Of one more than this many results, a digest is made.
pub const LEAST: u32 = 1_000_000;

/// The longest row.
pub const LONGEST: usize = 5000;

/// Row lengths: those around the limits between the forms of the crate, and others.
const LENGTHS: [usize; 19] = [
    1, 2, 3, 7, 10, 16, 17, 31, 32, 33, 64, 100, 128, 129, 197, 1000, 2048, 2049, LONGEST,
];

/// Columns of the matrix that a row is read as.
const COLUMNS: usize = 3;

/// Logits that begin every eleventh row.
const SPECIAL: [f32; 8] = [
    f32::NEG_INFINITY,
    -1e30,
    300.0,
    -300.0,
    -0.0,
    f32::MAX,
    f32::INFINITY,
    f32::NAN,
];

struct Digest(u64);

impl Digest {
    /// FNV-1a over 32 bits at a time.
    fn add_bits(&mut self, bits: u32) {
        self.0 = (self.0 ^ u64::from(bits)).wrapping_mul(0x0000_0100_0000_01B3);
    }

    /// All NaN are one.
    fn add(&mut self, value: f32) {
        let bits = if value.is_nan() { f32::NAN } else { value }.to_bits();
        self.add_bits(bits);
    }

    /// The halves of the representation.
    fn add_f64(&mut self, value: f64) {
        let bits = if value.is_nan() { f64::NAN } else { value }.to_bits();
        self.add_bits(bits as u32);
        self.add_bits((bits >> 32) as u32);
    }
}

fn fill(row: &mut [f32], number: u32, state: &mut u32) {
    let spread = [0.5, 4.0, 16.0, 60.0][number as usize % 4];
    for logit in row.iter_mut() {
        *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *logit = ((*state >> 8) as f32 / (1 << 23) as f32 - 1.0) * spread;
    }
    if number.is_multiple_of(11) {
        let index = number as usize / 11;
        row[index % row.len()] = SPECIAL[index % SPECIAL.len()];
    }
}

/// The digest of softmax, also along an axis, of its normalizers, of log-softmax and log-sum-exp; and of
/// how many results it is. The longest row is the longest of [`LENGTHS`] that fits into `row` and `results`.
pub fn digest(backend: Backend, row: &mut [f32], results: &mut [f32]) -> Result<(u64, u32), Error> {
    let softmax = Softmax::new().backend(backend)?;
    let longest = row.len().min(results.len());
    let lengths = LENGTHS.iter().filter(|len| **len <= longest).count();
    let mut digest = Digest(0xCBF2_9CE4_8422_2325);
    let (mut state, mut count, mut number) = (1, 0, 0);
    while count <= LEAST {
        let len = LENGTHS[number as usize % lengths];
        let (row, results) = (&mut row[..len], &mut results[..len]);
        fill(row, number, &mut state);
        digest.add(softmax.log_sum_exp(row)?);
        let (_, other_terms) = softmax.row(row, results)?.to_parts();
        digest.add_f64(other_terms);
        results.iter().for_each(|result| digest.add(*result));
        let tensor = len - len % COLUMNS;
        let (logits, probabilities) = (&row[..tensor], &mut results[..tensor]);
        softmax.axis(logits, [1, len / COLUMNS, COLUMNS], probabilities)?;
        probabilities.iter().for_each(|result| digest.add(*result));
        softmax.log_row_in_place(row)?;
        row.iter().for_each(|result| digest.add(*result));
        count += (2 * len + tensor) as u32 + 1;
        number += 1;
    }
    Ok((digest.0, count))
}

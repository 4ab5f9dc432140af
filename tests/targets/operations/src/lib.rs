//! One operation, which a feature chooses.

#![no_std]

#[allow(unused_imports, reason = "each operation uses some")]
use core::hint::black_box;
#[allow(unused_imports, reason = "each operation uses some")]
use online_softmax::{Candidate, Mask, Softmax};

/// Columns of the matrix that the features `rows` and `axis` see in a row; what is left is not used.
pub const COLUMNS: usize = 10;

/// The operation on a row; both slices have one length. Errors are ignored, as there are none.
#[inline(never)]
#[allow(
    unused_variables,
    reason = "some operations are in place, and there may be none"
)]
pub fn run(row: &mut [f32], results: &mut [f32]) {
    #[cfg(feature = "softmax")]
    {
        online_softmax::softmax_in_place(row);
    }
    #[cfg(feature = "log_softmax")]
    {
        online_softmax::log_softmax_in_place(row);
    }
    #[cfg(feature = "log_sum_exp")]
    black_box(online_softmax::log_sum_exp(row));
    #[cfg(feature = "rows")]
    {
        let (rows, _) = row.split_at_mut(row.len() - row.len() % COLUMNS);
        let _ = black_box(Softmax::new().rows_in_place(rows, COLUMNS));
    }
    #[cfg(feature = "axis")]
    {
        let (tensor, _) = row.split_at_mut(row.len() - row.len() % COLUMNS);
        let shape = [1, tensor.len() / COLUMNS, COLUMNS];
        let _ = black_box(Softmax::new().axis_in_place(tensor, shape));
    }
    #[cfg(feature = "options")]
    {
        let masked = Mask::Length(row.len() - row.len() / 4);
        let _ = Softmax::new().scale(0.125).mask(masked).row_in_place(row);
    }
    #[cfg(feature = "top_k")]
    {
        let mut best = [Candidate::default(); 5];
        online_softmax::top_k(row, &mut best);
        black_box(best);
    }
    #[cfg(feature = "cross_entropy")]
    let _ = black_box(online_softmax::cross_entropy(row, row.len() / 2));
    #[cfg(feature = "cross_entropy_gradient")]
    let _ = black_box(online_softmax::cross_entropy_gradient(
        row,
        row.len() / 2,
        results,
    ));
    #[cfg(feature = "softmax_gradient")]
    let _ = black_box(online_softmax::softmax_gradient(row, row, results));
    #[cfg(feature = "half")]
    {
        use half::f16;
        let mut halves = [f16::ZERO; 100];
        for part in row.chunks_mut(100) {
            let halves = &mut halves[..part.len()];
            for (half, logit) in halves.iter_mut().zip(&*part) {
                *half = f16::from_bits(logit.to_bits() as u16 & 0x3FFF);
            }
            let _ = Softmax::new().of::<f16>().row(halves, part);
        }
    }
    #[cfg(feature = "textbook")]
    online_softmax::reference::three_loop(row, results);
    black_box((row, results));
}

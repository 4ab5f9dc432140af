//! Runs an operation on a matrix a number of times and does nothing else that takes longer for more
//! times: the difference between two numbers is what the operation costs.
//!
//! ```text
//! online-softmax-instructions BACKEND OPERATION COLUMNS TIMES
//! ```

use online_softmax::{Backend, Softmax};
use std::hint::black_box;

/// Logits in the matrix, at least: whole blocks of rows, and several of them.
const LOGITS: usize = 32_768;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [backend, operation, columns, times] = arguments.as_slice() else {
        panic!("arguments: BACKEND OPERATION COLUMNS TIMES");
    };
    let columns: usize = columns.parse().expect("a number of columns");
    let times: usize = times.parse().expect("a number of times");
    let backend = Backend::available()
        .find(|available| available.name() == backend)
        .expect("a backend that is available");
    let softmax = Softmax::new().backend(backend).expect("it is available");

    let rows = LOGITS.div_ceil(columns);
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let logits: Vec<f32> = (0..rows * columns).map(|_| random.logit()).collect();
    let mut results = vec![0.0; logits.len()];
    for _ in 0..times {
        let (logits, results) = (black_box(&logits[..]), black_box(&mut results[..]));
        match operation.as_str() {
            "softmax" => softmax.rows(logits, columns, results),
            "log_softmax" => softmax.log_rows(logits, columns, results),
            "log_sum_exp" => softmax.log_sum_exp_rows(logits, columns, &mut results[..rows]),
            _ => panic!("no such operation"),
        }
        .expect("the lengths fit");
    }
    // What the script divides by.
    println!("{}", logits.len());
}

/// Marsaglia's xorshift: the same at every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Nearly normal, of standard deviation 4.
    fn logit(&mut self) -> f32 {
        let mut uniform = || (self.next() >> 40) as f32 / (1 << 24) as f32 - 0.5;
        // The variance of a uniform value is 1/12: four have a standard deviation of 3^(−1/2).
        4.0 * 3.0_f32.sqrt() * (uniform() + uniform() + uniform() + uniform())
    }
}

//! Drawing a token with temperature and top-p beside candle-transformers' `LogitsProcessor`.
//!
//! ```text
//! cargo run --release --manifest-path benches/peers/Cargo.toml --features candle-transformers \
//!     --bin sampling -- [LOGITS.npy]
//! ```
//!
//! Without a file, rows of 128256 normal logits are drawn from, of standard deviations 2 to 4; with
//! one, its first row, repeated to that length with a little noise. The time is the median over
//! rounds, in which all take turns; ratios are of one round.

use candle_core::{Device, Tensor};
use candle_transformers::generation::{LogitsProcessor, Sampling};
use online_softmax::{Backend, Sampler, Softmax};
use std::hint::black_box;
use std::time::Instant;

const COLUMNS: usize = 128_256;
const TEMPERATURE: f32 = 0.7;
const TOP_P: f32 = 0.95;
const ROUNDS: usize = 60;

fn main() {
    let mut rows = Vec::new();
    for deviation in [2.0, 3.0, 4.0] {
        rows.push((format!("normal · {deviation}"), normal(deviation)));
    }
    if let Some(path) = std::env::args().nth(1) {
        let row = first_row(&path);
        let noise = normal(0.05);
        let places = (0..COLUMNS).map(|i| i * 2_654_435_761 % row.len());
        let logits = places.zip(noise).map(|(place, noise)| row[place] + noise);
        rows.push((path, logits.collect()));
    }
    println!("{}", processor());
    println!(
        "| logits | backend | kept | log-sum-exp, µs | draw, µs | draw ÷ log-sum-exp | candle ÷ draw |"
    );
    println!("|---|---|---:|---:|---:|---:|---:|");
    for (name, row) in &rows {
        for backend in Backend::available() {
            compare(name, row, backend);
        }
    }
}

fn compare(name: &str, row: &[f32], backend: Backend) {
    const AVAILABLE: &str = "it is available";
    let softmax = Softmax::new().backend(backend).expect(AVAILABLE);
    let sampler = Sampler::new().backend(backend).expect(AVAILABLE);
    let sampler = sampler.temperature(TEMPERATURE).top_p(TOP_P);
    let tensor = Tensor::from_slice(row, row.len(), &Device::Cpu).expect("the shape fits");
    let nucleus = Sampling::TopP {
        p: f64::from(TOP_P),
        temperature: f64::from(TEMPERATURE),
    };
    let mut candle = LogitsProcessor::from_sampling(1, nucleus);

    let mut rounds = Vec::new();
    for round in 0..ROUNDS {
        let uniform = (round as f32 * 0.618_034).fract();
        rounds.push([
            time(|| {
                softmax
                    .log_sum_exp(black_box(row))
                    .map(drop)
                    .expect("no mask")
            }),
            time(|| {
                black_box(sampler.draw(black_box(row), uniform)).expect("the logits are finite");
            }),
            time(|| {
                black_box(candle.sample(&tensor)).expect("it is a row of f32 on the CPU");
            }),
        ]);
    }
    let median = |of: &dyn Fn(&[f64; 3]) -> f64| {
        let mut values: Vec<f64> = rounds.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    println!(
        "| {name} | {} | {} | {:.1} | {:.1} | {:.2} | {:.1} |",
        backend.name(),
        sampler.kept(row).count,
        median(&|round| round[0] * 1e6),
        median(&|round| round[1] * 1e6),
        median(&|round| round[1] / round[0]),
        median(&|round| round[2] / round[1]),
    );
}

fn time(function: impl FnOnce()) -> f64 {
    let start = Instant::now();
    function();
    start.elapsed().as_secs_f64()
}

/// Normal logits, the same at every run: Marsaglia's xorshift, and the method of Box and Muller.
fn normal(deviation: f64) -> Vec<f32> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut uniform = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        ((state >> 40) as f64 + 0.5) / f64::from(1 << 24)
    };
    let mut logit = || {
        let radius = (-2.0 * uniform().ln()).sqrt();
        (deviation * radius * (std::f64::consts::TAU * uniform()).cos()) as f32
    };
    (0..COLUMNS).map(|_| logit()).collect()
}

/// The first row of a .npy file of little-endian f32 in C order.
fn first_row(path: &str) -> Vec<f32> {
    let array = Tensor::read_npy(path).expect("it is a .npy file");
    let row = array.get(0).and_then(|row| row.to_vec1());
    row.expect("it has rows of f32")
}

fn processor() -> String {
    let information = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = information
        .lines()
        .find(|line| line.starts_with("model name"));
    name.unwrap_or(std::env::consts::ARCH).to_owned()
}

//! Speed of every backend, of the textbook forms they replace and of `memcpy`, the floor of
//! whatever reads and writes each value once.
//!
//! ```text
//! cargo bench --bench softmax                      # all, about two minutes
//! cargo bench --bench softmax -- softmax/avx2      # those whose names contain it
//! ```
//!
//! `benches/chart` draws the group `softmax`; `benches/peers` compares within one process, where
//! the clock's wandering cancels.

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput};
use online_softmax::{Backend, Candidate, CrossEntropy, Mask, Sampler, Softmax, reference};
use std::hint::black_box;
use std::time::Duration;

/// Below a register, within one block, around the sizes of classifiers, attention and vocabularies,
/// and beyond the second-level cache.
const LENGTHS: [usize; 8] = [10, 64, 100, 1000, 4096, 32_768, 128_256, 1 << 20];

/// A few of them for the other operations.
const FEW_LENGTHS: [usize; 3] = [100, 4096, 1 << 20];

/// rows × columns of 64 MiB, beyond most last-level caches.
const MATRICES: [(usize, usize); 3] = [(65_536, 256), (16_384, 1024), (128, 131_072)];

/// Rows shorter than this are measured as a matrix of at least so many values, 32 KiB read and
/// written in all: of a single one, the call would be measured more than the kernel.
const LEAST_VALUES: usize = 4096;

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(600))
        .sample_size(20)
        .nresamples(10_000)
        .without_plots()
        .configure_from_args();
    softmax(&mut criterion);
    log_softmax(&mut criterion);
    log_sum_exp(&mut criterion);
    matrix(&mut criterion);
    exp(&mut criterion);
    operations(&mut criterion);
    losses(&mut criterion);
    criterion.final_summary();
}

fn softmax(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("softmax");
    for columns in LENGTHS {
        let rows = rows_of(columns);
        let mut bench = Bench::new(&mut group, columns.to_string(), rows * columns);
        for backend in Backend::available() {
            let softmax = on(backend);
            bench.run(backend.name(), |logits, probabilities| {
                if rows == 1 {
                    softmax.row(logits, probabilities).map(drop)
                } else {
                    softmax.rows(logits, columns, probabilities)
                }
                .expect("the lengths fit");
            });
        }
        bench.run("reference three_loop", |logits, probabilities| {
            each_row(logits, columns, probabilities, reference::three_loop);
        });
        bench.run("reference online", |logits, probabilities| {
            each_row(logits, columns, probabilities, reference::online);
        });
        bench.run("memcpy", memcpy);
    }
}

fn log_softmax(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("log_softmax");
    for columns in FEW_LENGTHS {
        let rows = rows_of(columns);
        let mut bench = Bench::new(&mut group, columns.to_string(), rows * columns);
        for backend in Backend::available() {
            let softmax = on(backend);
            bench.run(backend.name(), |logits, log_probabilities| {
                softmax
                    .log_rows(logits, columns, log_probabilities)
                    .expect("the lengths fit");
            });
        }
        bench.run("memcpy", memcpy);
    }
}

/// It only reads, so `memcpy` is a comparison here and no floor.
fn log_sum_exp(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("log_sum_exp");
    for columns in FEW_LENGTHS {
        let rows = rows_of(columns);
        let mut bench = Bench::new(&mut group, columns.to_string(), rows * columns);
        for backend in Backend::available() {
            let softmax = on(backend);
            bench.run(backend.name(), |logits, results| {
                softmax
                    .log_sum_exp_rows(logits, columns, &mut results[..rows])
                    .expect("the lengths fit");
            });
        }
        bench.run("memcpy", memcpy);
    }
}

fn matrix(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("matrix");
    // An iteration takes up to a tenth of a second.
    group.sample_size(10);
    for (rows, columns) in MATRICES {
        let shape = format!("{rows} × {columns}");
        let mut bench = Bench::new(&mut group, shape, rows * columns);
        for backend in Backend::available() {
            let softmax = on(backend);
            bench.run(backend.name(), |logits, probabilities| {
                softmax
                    .rows(logits, columns, probabilities)
                    .expect("the lengths fit");
            });
        }
        bench.run("memcpy", memcpy);
    }
}

/// The exponential alone, on the arguments a softmax has, none of them positive.
fn exp(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("exp");
    let mut bench = Bench::new(&mut group, LEAST_VALUES.to_string(), LEAST_VALUES);
    for argument in &mut bench.input {
        *argument = -argument.abs();
    }
    for backend in Backend::available() {
        bench.run(backend.name(), |arguments, exponentials| {
            backend
                .exp(arguments, exponentials)
                .expect("the lengths fit");
        });
    }
    bench.run("reference libm", |arguments, exponentials| {
        for (x, e) in arguments.iter().zip(exponentials) {
            *e = libm::expf(*x);
        }
    });
    bench.run("memcpy", memcpy);
}

/// Everything but the plain softmax of rows, on a matrix of 32 × 32768, one backend beside another.
fn operations(criterion: &mut Criterion) {
    const ROWS: usize = 32;
    const COLUMNS: usize = 32_768;
    let keep: Vec<bool> = (0..COLUMNS).map(|column| column % 3 > 0).collect();
    let bias = logits(COLUMNS);
    let mut group = criterion.benchmark_group("operations");
    group.sample_size(20);
    for backend in Backend::available() {
        let softmax = on(backend);
        let mut bench = Bench::new(&mut group, backend.name().into(), ROWS * COLUMNS);
        bench.run("axis 0 of 1024 × 1024", |logits, probabilities| {
            softmax
                .axis(logits, [1, 1024, 1024], probabilities)
                .expect("the shape fits");
        });
        for (name, with_option) in [
            ("plain", softmax),
            ("scale", softmax.scale(0.125)),
            ("soft_cap", softmax.soft_cap(30.0)),
            ("keep", softmax.mask(Mask::Keep(&keep))),
            ("additive", softmax.mask(Mask::Additive(&bias))),
            ("length, a half", softmax.mask(Mask::Length(COLUMNS / 2))),
            ("causal", softmax.mask(Mask::Causal { first: COLUMNS / 2 })),
            ("sink", softmax.sink(1.0)),
        ] {
            bench.run(name, |logits, probabilities| {
                with_option
                    .rows(logits, COLUMNS, probabilities)
                    .expect("the lengths fit");
            });
        }
        bench.run("top_k of 50", |logits, _| {
            let mut best = [Candidate::default(); 50];
            for row in logits.chunks_exact(COLUMNS) {
                black_box(softmax.top_k(row, &mut best)).expect("no mask");
            }
        });
        let sampler = Sampler::new().backend(backend).expect("it is available");
        for (name, sampler) in [
            ("draw, temperature 0.7", sampler.temperature(0.7)),
            ("draw, top_p 0.95", sampler.temperature(0.7).top_p(0.95)),
            ("draw, top_k 50", sampler.temperature(0.7).top_k(50)),
        ] {
            bench.run(name, |logits, _| {
                for row in logits.chunks_exact(COLUMNS) {
                    black_box(sampler.draw(row, 0.5)).expect("the logits are finite");
                }
            });
        }
        bench.run("cross_entropy", |logits, _| {
            for row in logits.chunks_exact(COLUMNS) {
                black_box(softmax.cross_entropy(row, 7)).expect("there is such a class");
            }
        });
        bench.run("cross_entropy_gradient", |logits, gradient| {
            each_row(logits, COLUMNS, gradient, |row, gradient| {
                softmax
                    .cross_entropy_gradient(row, 7, gradient)
                    .expect("there is such a class");
            });
        });
        bench.run("log_sum_exp_axis 0 of 1024 × 1024", |logits, sums| {
            softmax
                .log_sum_exp_axis(logits, [1, 1024, 1024], &mut sums[..1024])
                .expect("the shape fits");
        });
        bench.run("softmax_gradient", |probabilities, gradient| {
            each_row(probabilities, COLUMNS, gradient, |row, gradient| {
                softmax
                    .softmax_gradient(row, &bias, gradient)
                    .expect("the lengths fit");
            });
        });
        bench.run("log_softmax_gradient", |log_probabilities, gradient| {
            each_row(log_probabilities, COLUMNS, gradient, |row, gradient| {
                softmax
                    .log_softmax_gradient(row, &bias, gradient)
                    .expect("the lengths fit");
            });
        });
    }
}

/// The cross-entropy of matrices: the mean, and the gradient of the mean.
fn losses(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("losses");
    group.sample_size(20);
    for (rows, columns) in [(1797, 10), (4096, 1000), (32, 50_257)] {
        let targets: Vec<usize> = (0..rows).map(|row| row * 7 % columns).collect();
        let soft_targets = vec![1.0 / columns as f32; rows * columns];
        let mut bench = Bench::new(&mut group, format!("{rows} × {columns}"), rows * columns);
        for backend in Backend::available() {
            let loss = CrossEntropy::new().softmax(on(backend));
            for (name, loss) in [("", loss), (" smoothed", loss.label_smoothing(0.1))] {
                bench.run(&format!("{}{name} mean", backend.name()), |logits, _| {
                    black_box(loss.mean(logits, columns, &targets)).expect("the lengths fit");
                });
                let name = format!("{}{name} gradient", backend.name());
                bench.run(&name, |logits, gradient| {
                    loss.gradient(logits, columns, &targets, gradient)
                        .expect("the lengths fit");
                });
            }
            let name = format!("{} soft gradient", backend.name());
            bench.run(&name, |logits, gradient| {
                loss.soft_gradient(logits, columns, &soft_targets, gradient)
                    .expect("the lengths fit");
            });
        }
    }
}

/// One input and the place for its results, for everything that is compared on it.
struct Bench<'a, 'c> {
    group: &'a mut BenchmarkGroup<'c, WallTime>,
    parameter: String,
    input: Vec<f32>,
    output: Vec<f32>,
}

impl<'a, 'c> Bench<'a, 'c> {
    fn new(group: &'a mut BenchmarkGroup<'c, WallTime>, parameter: String, values: usize) -> Self {
        group.throughput(Throughput::Elements(values as u64));
        Bench {
            group,
            parameter,
            input: logits(values),
            // Not zeros, which would be pages that do not exist until they are written.
            output: vec![1.0; values],
        }
    }

    fn run(&mut self, name: &str, mut function: impl FnMut(&[f32], &mut [f32])) {
        let (input, output) = (&self.input, &mut self.output);
        let id = BenchmarkId::new(name, &self.parameter);
        self.group.bench_function(id, |bencher| {
            bencher.iter(|| function(black_box(input), black_box(output)));
        });
    }
}

fn on(backend: Backend) -> Softmax<'static> {
    Softmax::new().backend(backend).expect("it is available")
}

fn rows_of(columns: usize) -> usize {
    LEAST_VALUES.div_ceil(columns)
}

fn each_row(
    logits: &[f32],
    columns: usize,
    results: &mut [f32],
    function: impl Fn(&[f32], &mut [f32]),
) {
    let rows = logits.chunks_exact(columns);
    for (row, result) in rows.zip(results.chunks_exact_mut(columns)) {
        function(row, result);
    }
}

fn memcpy(from: &[f32], to: &mut [f32]) {
    to.copy_from_slice(from);
}

/// Nearly normal, of standard deviation 4, the same at every run.
fn logits(count: usize) -> Vec<f32> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut uniform = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 24) as f32 - 0.5
    };
    // The variance of a uniform value is 1/12: four have a standard deviation of 3^(−1/2).
    let scale = 4.0 * 3.0_f32.sqrt();
    (0..count)
        .map(|_| scale * (uniform() + uniform() + uniform() + uniform()))
        .collect()
}

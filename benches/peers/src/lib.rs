//! online-softmax beside its peers, the textbook forms and `memcpy`, in one process and interleaved.
//!
//! A processor's clock wanders, by more than what there is to tell apart. So every contender runs
//! once in every round, in an order shuffled anew, and is compared with the best backend's time *of
//! that round*; of these ratios the median is printed. Beside it the least time of all rounds.
//!
//! The peers are in the programs of this crate, one for each operation: [`compare`] is their common
//! part.
//!
//! What is compared with is to be at its best. So the whole program is optimised at once, and the
//! log forms are built with the flag that their programs name: without it, passes of rten-vecmath call a function for every
//! vector instruction and take four times as long.

use online_softmax::{Backend, Softmax, reference};
use std::fmt::Write;
use std::hint::black_box;
use std::mem::MaybeUninit;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// rows × columns: from what few classes need to a large vocabulary, and 64 MiB.
const SHAPES: [Shape; 12] = [
    Shape::new(65_536, 10),
    Shape::new(8192, 32),
    Shape::new(4096, 64),
    Shape::new(4096, 100),
    Shape::new(1024, 256),
    Shape::new(1024, 1000),
    Shape::new(256, 4096),
    Shape::new(32, 32_768),
    Shape::new(32, 50_257),
    Shape::new(16, 128_256),
    Shape::new(1, 1_048_576),
    Shape::new(16_384, 1024),
];

/// For all shapes together a little more than a minute.
const SECONDS_A_SHAPE: f64 = 5.5;

const LEAST_ROUNDS: usize = 3;
const MOST_ROUNDS: usize = 1001;

/// The compiler's flag that has rten-vecmath inlined.
const INLINE: &str = "-Cllvm-args=-inline-threshold=3000";

/// Runs the comparison that the arguments of the program ask for.
#[must_use]
pub fn compare(operation: Operation, peers: Vec<Contender>) -> ExitCode {
    let Some(arguments) = Arguments::parse(std::env::args().skip(1)) else {
        eprintln!("arguments: [--seconds SECONDS_A_SHAPE] [ROWSxCOLUMNS ...]");
        return ExitCode::FAILURE;
    };
    let mut contenders = operation.contenders(peers);
    let mut results = Vec::new();
    for shape in &arguments.shapes {
        eprintln!("{} × {} ...", shape.rows, shape.columns);
        match measure(operation, &mut contenders, *shape, arguments.budget) {
            Ok(times) => results.push((*shape, times)),
            Err(wrong) => {
                eprintln!("{wrong}");
                return ExitCode::FAILURE;
            }
        }
    }
    print!("{}", report(operation, &contenders, &results));
    ExitCode::SUCCESS
}

struct Arguments {
    budget: Duration,
    shapes: Vec<Shape>,
}

impl Arguments {
    fn parse(mut words: impl Iterator<Item = String>) -> Option<Self> {
        let mut seconds = SECONDS_A_SHAPE;
        let mut shapes = Vec::new();
        while let Some(word) = words.next() {
            match word.as_str() {
                "--seconds" => seconds = words.next()?.parse().ok()?,
                shape => {
                    let (rows, columns) = shape.split_once('x')?;
                    let shape = Shape::new(rows.parse().ok()?, columns.parse().ok()?);
                    shape.rows.checked_mul(shape.columns).filter(|n| *n > 0)?;
                    shapes.push(shape);
                }
            }
        }
        if shapes.is_empty() {
            shapes.extend(SHAPES);
        }
        Some(Arguments {
            budget: Duration::try_from_secs_f64(seconds).ok()?,
            shapes,
        })
    }
}

#[derive(Clone, Copy)]
struct Shape {
    rows: usize,
    columns: usize,
}

impl Shape {
    const fn new(rows: usize, columns: usize) -> Self {
        Shape { rows, columns }
    }

    const fn values(self) -> usize {
        self.rows * self.columns
    }
}

/// From logits and a number of columns to results.
type Function = Box<dyn FnMut(&[f32], usize, &mut [f32])>;

/// Something to compare.
pub struct Contender {
    name: String,
    function: Function,
    /// Whether it computes the operation, and its results are checked.
    computes: bool,
}

impl Contender {
    /// A function of a whole matrix.
    pub fn new(
        name: impl Into<String>,
        function: impl FnMut(&[f32], usize, &mut [f32]) + 'static,
    ) -> Self {
        Contender {
            name: name.into(),
            function: Box::new(function),
            computes: true,
        }
    }

    fn memcpy() -> Self {
        Contender {
            computes: false,
            ..Self::new("memcpy", |logits, _, results| {
                results.copy_from_slice(logits);
            })
        }
    }

    /// A function of one row.
    pub fn each_row(
        name: impl Into<String>,
        mut function: impl FnMut(&[f32], &mut [f32]) + 'static,
    ) -> Self {
        Self::new(name, move |logits, columns, results| {
            let rows = logits.chunks_exact(columns);
            for (row, result) in rows.zip(results.chunks_exact_mut(columns)) {
                function(row, result);
            }
        })
    }
}

/// What is computed of each row.
#[derive(Clone, Copy, PartialEq)]
pub enum Operation {
    /// As many results as logits.
    Softmax,
    /// As many results as logits.
    LogSoftmax,
    /// One result a row, at the front of the place for results.
    LogSumExp,
}

impl Operation {
    const fn name(self) -> &'static str {
        match self {
            Operation::Softmax => "softmax",
            Operation::LogSoftmax => "log-softmax",
            Operation::LogSumExp => "log-sum-exp",
        }
    }

    /// The best backend first.
    fn contenders(self, peers: Vec<Contender>) -> Vec<Contender> {
        let best = Backend::best();
        let others = Backend::available().filter(|backend| *backend != best);
        let mut contenders: Vec<_> = std::iter::once(best)
            .chain(others)
            .map(|backend| self.ours(backend))
            .collect();
        contenders.extend(peers);
        if self == Operation::Softmax {
            contenders.push(Contender::each_row(ONLINE, reference::online));
            contenders.push(Contender::each_row("three-loop", reference::three_loop));
        }
        contenders.push(Contender::memcpy());
        contenders
    }

    fn ours(self, backend: Backend) -> Contender {
        const FITS: &str = "the lengths fit";
        let softmax = Softmax::new().backend(backend).expect("it is available");
        let name = backend.name();
        match self {
            Operation::Softmax => Contender::new(name, move |logits, columns, results| {
                softmax.rows(logits, columns, results).expect(FITS);
            }),
            Operation::LogSoftmax => Contender::new(name, move |logits, columns, results| {
                softmax.log_rows(logits, columns, results).expect(FITS);
            }),
            Operation::LogSumExp => Contender::new(name, move |logits, columns, results| {
                let results = &mut results[..logits.len() / columns];
                softmax
                    .log_sum_exp_rows(logits, columns, results)
                    .expect(FITS);
            }),
        }
    }

    /// Whether a contender computes what it is said to compute, roughly: the textbook sum of a
    /// million values is off by some thousandths.
    fn check(self, logits: &[f32], columns: usize, results: &[f32]) -> bool {
        logits.chunks_exact(columns).enumerate().all(|(i, row)| {
            // No logit is so far from zero that the maximum would have to be subtracted in f64.
            let d: f64 = row.iter().map(|x| f64::from(*x).exp()).sum();
            let near = |result: f32, truth: f64, scale: f64| {
                (f64::from(result) - truth).abs() <= 0.02 * scale
            };
            if self == Operation::LogSumExp {
                return near(results[i], d.ln(), 1.0);
            }
            let result = &results[i * columns..][..columns];
            row.iter()
                .map(|x| f64::from(*x))
                .zip(result)
                .all(|(x, y)| match self {
                    Operation::Softmax => near(*y, x.exp() / d, x.exp() / d),
                    _ => near(*y, x - d.ln(), 1.0),
                })
        })
    }
}

const ONLINE: &str = "online";

/// The same place, for functions that promise to fill it.
///
/// # Safety
///
/// Nothing uninitialised may be written there.
pub unsafe fn as_uninit(values: &mut [f32]) -> &mut [MaybeUninit<f32>] {
    let count = values.len();
    // SAFETY: the layouts are the same, the unique borrow is passed on, and the caller promises that
    // the values stay floats.
    unsafe { std::slice::from_raw_parts_mut(values.as_mut_ptr().cast(), count) }
}

/// Seconds of each contender in each round: `times[round][contender]`.
type Times = Vec<Vec<f64>>;

fn measure(
    operation: Operation,
    contenders: &mut [Contender],
    shape: Shape,
    budget: Duration,
) -> Result<Times, String> {
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let logits: Vec<f32> = (0..shape.values()).map(|_| random.logit()).collect();
    let mut results = vec![0.0_f32; shape.values()];

    // The first rows suffice to tell a wrong contender. All of it is run, to touch all memory.
    let checked = shape.columns * shape.rows.min(16);
    for contender in &mut *contenders {
        results.fill(f32::NAN);
        (contender.function)(&logits, shape.columns, &mut results);
        let right = operation.check(&logits[..checked], shape.columns, &results);
        if contender.computes && !right {
            let (operation, name) = (operation.name(), &contender.name);
            return Err(format!("{name} does not compute the {operation}"));
        }
    }

    let mut order: Vec<usize> = (0..contenders.len()).collect();
    let mut times = Times::new();
    let start = Instant::now();
    while times.len() < LEAST_ROUNDS || start.elapsed() < budget && times.len() < MOST_ROUNDS {
        random.shuffle(&mut order);
        let mut round = vec![0.0; contenders.len()];
        for contender in &order {
            let function = &mut contenders[*contender].function;
            let start = Instant::now();
            function(black_box(&logits), shape.columns, black_box(&mut results));
            round[*contender] = start.elapsed().as_secs_f64();
        }
        times.push(round);
    }
    Ok(times)
}

fn report(operation: Operation, contenders: &[Contender], results: &[(Shape, Times)]) -> String {
    let compiler = concat!(env!("RUSTC_VERSION"), " ", env!("RUSTC_FLAGS"));
    let mut text = format!(
        "{}; {}; best backend: {}; f32, one thread, {} of each row, out of place.\n",
        processor(),
        compiler.trim(),
        contenders[0].name,
        operation.name(),
    );
    let mut table = |title: &str, cell: &dyn Fn(Shape, &Times, usize) -> String| {
        let names: Vec<&str> = contenders.iter().map(|c| c.name.as_str()).collect();
        _ = writeln!(text, "\n{title}:\n");
        _ = writeln!(text, "| rows × columns | {} |", names.join(" | "));
        _ = writeln!(text, "|---|{}", "---:|".repeat(names.len()));
        for (shape, times) in results {
            _ = write!(text, "| {} × {} |", shape.rows, shape.columns);
            for contender in 0..names.len() {
                _ = write!(text, " {} |", cell(*shape, times, contender));
            }
            _ = writeln!(text);
        }
    };
    table(
        "Least time of all rounds, nanoseconds per element",
        &|shape, times, contender| {
            let least = times.iter().map(|round| round[contender]).reduce(f64::min);
            let nanoseconds = least.unwrap_or(f64::NAN) * 1e9 / shape.values() as f64;
            three_digits(nanoseconds)
        },
    );
    table(
        "Time as a multiple of the best backend's, median of all rounds",
        &|_, times, contender| format!("{}×", three_digits(ratio(times, contender, 0))),
    );

    if operation != Operation::Softmax && !env!("RUSTC_FLAGS").contains(INLINE) {
        _ = writeln!(
            text,
            "\nrten-vecmath is not at its best: build with RUSTFLAGS={INLINE}"
        );
    }
    let position = |name: &str| contenders.iter().position(|c| c.name == name);
    let thousand = results.iter().find(|(shape, _)| shape.columns == 1000);
    if let (Some(online), Some(portable), Some((_, times))) = (
        position(ONLINE),
        position(Backend::Portable.name()),
        thousand,
    ) {
        _ = writeln!(
            text,
            "\nsoftmax vs online reference at 1000 columns: best {:.1}×, portable {:.1}×",
            ratio(times, online, 0),
            ratio(times, online, portable),
        );
    }
    text
}

/// The median over all rounds of the time of one contender divided by that of the other.
fn ratio(times: &Times, of: usize, to: usize) -> f64 {
    let mut ratios: Vec<f64> = times.iter().map(|round| round[of] / round[to]).collect();
    ratios.sort_by(f64::total_cmp);
    ratios[ratios.len() / 2]
}

fn three_digits(number: f64) -> String {
    let decimals = match number {
        100.0.. => 0,
        10.0.. => 1,
        1.0.. => 2,
        _ => 3,
    };
    format!("{number:.decimals$}")
}

fn processor() -> String {
    let information = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = information
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find_map(|(key, value)| (key.trim() == "model name").then_some(value.trim()));
    name.unwrap_or("unknown processor").to_owned()
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

    fn shuffle(&mut self, items: &mut [usize]) {
        for i in (1..items.len()).rev() {
            items.swap(i, (self.next() >> 32) as usize % (i + 1));
        }
    }
}

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
//! log forms are built with the flag that their programs name: without it, passes of rten-vecmath
//! call a function for every vector instruction and take four times as long.
//!
//! Errors are in units in the last place (ULP) of the `f32` result, against `f64`, over all results:
//! of the log-sum-exp in ULP of max(1, |result|). All of them are normal numbers.

use online_softmax::{Backend, Softmax, reference};
use std::fmt::Write;
use std::hint::black_box;
use std::mem::MaybeUninit;
use std::process::ExitCode;
use std::time::{Duration, Instant};

#[cfg(feature = "candle")]
pub mod candle;

/// rows × columns: from what few classes need to a large vocabulary, and 64 MiB.
const SHAPES: [Shape; 13] = [
    Shape::new(65_536, 10),
    Shape::new(16_384, 17),
    Shape::new(8192, 32),
    Shape::new(4096, 64),
    Shape::new(4096, 100),
    Shape::new(2048, 197),
    Shape::new(1024, 256),
    Shape::new(1024, 1000),
    Shape::new(256, 4096),
    Shape::new(32, 32_768),
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
            Ok(measured) => results.push((*shape, measured)),
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

/// A way to compute. `load` comes first, and `unload` last: neither is measured.
pub trait Implementation {
    /// Copies the logits, where `compute` needs them elsewhere.
    fn load(&mut self, _logits: &[f32], _columns: usize) {}

    /// From logits and a number of columns to results.
    fn compute(&mut self, logits: &[f32], columns: usize, results: &mut [f32]);

    /// Copies the results, where `compute` leaves them elsewhere.
    fn unload(&self, _results: &mut [f32]) {}
}

impl<F: FnMut(&[f32], usize, &mut [f32])> Implementation for F {
    fn compute(&mut self, logits: &[f32], columns: usize, results: &mut [f32]) {
        self(logits, columns, results);
    }
}

/// Something to compare.
pub struct Contender {
    name: String,
    implementation: Box<dyn Implementation>,
    role: Role,
}

#[derive(Clone, Copy, PartialEq)]
enum Role {
    Backend,
    Peer,
    Textbook,
    /// It does not compute the operation, and its results are not checked.
    Memcpy,
}

impl Contender {
    /// A peer.
    pub fn of(name: impl Into<String>, implementation: impl Implementation + 'static) -> Self {
        Contender {
            name: name.into(),
            implementation: Box::new(implementation),
            role: Role::Peer,
        }
    }

    /// A function of a whole matrix.
    pub fn new(
        name: impl Into<String>,
        function: impl FnMut(&[f32], usize, &mut [f32]) + 'static,
    ) -> Self {
        Self::of(name, function)
    }

    fn with_role(self, role: Role) -> Self {
        Contender { role, ..self }
    }

    fn memcpy() -> Self {
        let copy = |logits: &[f32], _: usize, results: &mut [f32]| results.copy_from_slice(logits);
        Self::new("memcpy", copy).with_role(Role::Memcpy)
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
            .map(|backend| self.ours(backend).with_role(Role::Backend))
            .collect();
        contenders.extend(peers);
        if self == Operation::Softmax {
            let online = Contender::each_row(ONLINE, reference::online);
            let three_loop = Contender::each_row("three-loop", reference::three_loop);
            contenders.extend([online, three_loop].map(|it| it.with_role(Role::Textbook)));
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

    /// The results in `f64`.
    fn truth(self, logits: &[f32], columns: usize) -> Vec<f64> {
        let mut truth = Vec::with_capacity(logits.len());
        for row in logits.chunks_exact(columns) {
            let row = || row.iter().map(|x| f64::from(*x));
            let max = row().fold(f64::NEG_INFINITY, f64::max);
            let top = row().position(|x| x == max);
            // The denominator less the 1 of the maximum: a log-softmax near 0 depends on its digits.
            let others = row().enumerate().filter(|(i, _)| Some(*i) != top);
            let rest: f64 = others.map(|(_, x)| (x - max).exp()).sum();
            let log = rest.ln_1p();
            match self {
                Operation::Softmax => truth.extend(row().map(|x| (x - max).exp() / (1.0 + rest))),
                Operation::LogSoftmax => truth.extend(row().map(|x| x - max - log)),
                Operation::LogSumExp => truth.push(max + log),
            }
        }
        truth
    }

    /// The worst error in ULP, unless a result is one of something else: the textbook sum of a million
    /// values is off by some thousandths.
    fn worst_error(self, truth: &[f64], results: &[f32]) -> Option<f64> {
        let mut worst: f64 = 0.0;
        for (truth, result) in truth.iter().zip(results) {
            let error = (f64::from(*result) - truth).abs();
            let (scale, size) = match self {
                Operation::Softmax => (*truth, *truth),
                Operation::LogSoftmax => (1.0, truth.abs()),
                Operation::LogSumExp => (1.0, truth.abs().max(1.0)),
            };
            if error.is_nan() || error > 0.02 * scale {
                return None;
            }
            worst = worst.max(error / ulp(size));
        }
        Some(worst)
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

/// The unit in the last place of a normal `f32` of this size.
fn ulp(size: f64) -> f64 {
    let power_of_two = f64::from_bits(size.to_bits() & 0x7FF0_0000_0000_0000);
    power_of_two * f64::from(f32::EPSILON)
}

/// Seconds of each contender in each round: `times[round][contender]`.
type Times = Vec<Vec<f64>>;

/// Of one shape.
struct Measured {
    times: Times,
    /// Of each contender in ULP, where it has one.
    errors: Vec<Option<f64>>,
}

fn measure(
    operation: Operation,
    contenders: &mut [Contender],
    shape: Shape,
    budget: Duration,
) -> Result<Measured, String> {
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let logits: Vec<f32> = (0..shape.values()).map(|_| random.logit()).collect();
    let mut results = vec![0.0_f32; shape.values()];

    let truth = operation.truth(&logits, shape.columns);
    let mut errors = Vec::new();
    for contender in &mut *contenders {
        results.fill(f32::NAN);
        let implementation = &mut contender.implementation;
        implementation.load(&logits, shape.columns);
        implementation.compute(&logits, shape.columns, &mut results);
        implementation.unload(&mut results);
        let error = operation.worst_error(&truth, &results);
        if error.is_none() && contender.role != Role::Memcpy {
            let (operation, name) = (operation.name(), &contender.name);
            return Err(format!("{name} does not compute the {operation}"));
        }
        errors.push(error.filter(|_| contender.role != Role::Memcpy));
    }
    drop(truth);

    let mut order: Vec<usize> = (0..contenders.len()).collect();
    let mut times = Times::new();
    let start = Instant::now();
    while times.len() < LEAST_ROUNDS || start.elapsed() < budget && times.len() < MOST_ROUNDS {
        random.shuffle(&mut order);
        let mut round = vec![0.0; contenders.len()];
        for contender in &order {
            let implementation = &mut contenders[*contender].implementation;
            let (logits, results) = (black_box(&logits), black_box(&mut results));
            let start = Instant::now();
            implementation.compute(logits, shape.columns, results);
            round[*contender] = start.elapsed().as_secs_f64();
        }
        times.push(round);
    }
    Ok(Measured { times, errors })
}

fn report(operation: Operation, contenders: &[Contender], results: &[(Shape, Measured)]) -> String {
    let mut text = format!(
        "{} of each row, f32, one thread, out of place. Best backend: {}.\n",
        operation.name(),
        contenders[0].name,
    );
    let mut table = |title: &str, cell: &dyn Fn(Shape, &Measured, usize) -> String| {
        let names: Vec<&str> = contenders.iter().map(|c| c.name.as_str()).collect();
        _ = writeln!(text, "\n{title}:\n");
        _ = writeln!(text, "| rows × columns | {} |", names.join(" | "));
        _ = writeln!(text, "|---|{}", "---:|".repeat(names.len()));
        for (shape, measured) in results {
            _ = write!(text, "| {} × {} |", shape.rows, shape.columns);
            for contender in 0..names.len() {
                _ = write!(text, " {} |", cell(*shape, measured, contender));
            }
            _ = writeln!(text);
        }
    };
    table(
        "Least time of all rounds, nanoseconds per element",
        &|shape, measured, contender| {
            let times = measured.times.iter().map(|round| round[contender]);
            let least = times.reduce(f64::min).unwrap_or(f64::NAN);
            three_digits(least * 1e9 / shape.values() as f64)
        },
    );
    table(
        "Time as a multiple of the best backend's, median of all rounds",
        &|_, measured, contender| {
            format!("{}×", three_digits(ratio(&measured.times, contender, 0)))
        },
    );
    table("Worst error, ULP", &|_, measured, contender| {
        measured.errors[contender].map_or(String::new(), three_digits)
    });

    let peers = contenders.iter().enumerate();
    let peers = peers.filter(|(_, contender)| contender.role == Role::Peer);
    let peers: Vec<usize> = peers.map(|(index, _)| index).collect();
    let best_peer = results.iter().filter_map(|(_, Measured { times, .. })| {
        let ratios = peers.iter().map(|peer| ratio(times, *peer, 0));
        ratios.reduce(f64::min)
    });
    let mean = best_peer.map(f64::ln).sum::<f64>() / results.len() as f64;
    _ = writeln!(
        text,
        "\nThe best peer's time, geometric mean over the shapes: {}×.",
        three_digits(mean.exp()),
    );
    #[cfg(feature = "candle")]
    {
        _ = writeln!(text, "{}", candle::NOTE);
    }
    if operation != Operation::Softmax && !env!("RUSTC_FLAGS").contains(INLINE) {
        _ = writeln!(
            text,
            "\nrten-vecmath is not at its best: build with RUSTFLAGS={INLINE}"
        );
    }
    let position = |name: &str| contenders.iter().position(|c| c.name == name);
    let thousand = results.iter().find(|(shape, _)| shape.columns == 1000);
    if let (Some(online), Some(portable), Some((_, Measured { times, .. }))) = (
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
    let compiler = concat!(env!("RUSTC_VERSION"), " ", env!("RUSTC_FLAGS"));
    _ = writeln!(text, "\n{}; {}.", processor(), compiler.trim());
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

/// Some clouds hide the model's name, but not its numbers.
fn processor() -> String {
    let information = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let fields = || information.lines().filter_map(|line| line.split_once(':'));
    let value =
        |name: &str| fields().find_map(|(key, value)| (key.trim() == name).then_some(value.trim()));
    match (value("model name"), value("cpu family"), value("model")) {
        (Some(name), Some(family), Some(model)) => {
            format!("{name} (family {family}, model {model})")
        }
        _ => std::env::consts::ARCH.to_owned(),
    }
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

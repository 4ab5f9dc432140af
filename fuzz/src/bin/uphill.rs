//! A search uphill for the rows with the largest errors, on one backend of each arithmetic:
//!
//! ```text
//! cargo run --release --bin uphill -- SECONDS [SEED]
//! ```
//!
//! SECONDS is the time for each form and output. Prints the worst row of each as a line of
//! `tests/suite/worst_rows.csv`, the table of the test `worst_rows`; and, to standard error, how many
//! results it computed.
//!
//! An error is the sum of those of one numerator, of the denominator and of the last roundings. So
//! a search begins with logits whose numerators are much too large or small (the pools). It aims:
//! it chooses one logit so that a result falls just below a power of two, where an ULP halves. Then
//! it changes the row at random, and keeps what is not worse.

use online_softmax::{Backend, Softmax};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use support::oracle::Truth;
use support::rows::Random;
use support::{FUSED, UNFUSED, backends, on, ulp};

/// The longest row that is not long.
const LONGEST: usize = 300;

/// Changes before a search begins again; of a long row fewer.
const STEPS: usize = 1500;
const LONG_STEPS: usize = 12;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Output {
    Softmax,
    LogSoftmax,
    LogSumExp,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Form {
    /// Short rows, batches and single rows have the same bits.
    Rows,
    Columns,
    /// Of 2^20 to 2^24 columns.
    LongRows,
}

/// A row: runs of equal logits.
#[derive(Clone, Debug)]
struct Runs(Vec<(f32, usize)>);

impl Runs {
    fn len(&self) -> usize {
        self.0.iter().map(|(_, count)| count).sum()
    }

    fn fill(&self, row: &mut Vec<f32>) {
        row.clear();
        for (logit, count) in &self.0 {
            row.extend(std::iter::repeat_n(*logit, *count));
        }
    }

    /// Σ e^x of all runs but one.
    fn sum_without(&self, left_out: usize) -> f64 {
        let others = self.0.iter().enumerate().filter(|(i, _)| *i != left_out);
        others
            .map(|(_, (logit, count))| f64::from(*logit).exp() * *count as f64)
            .sum()
    }
}

/// Logits of one backend with large errors.
struct Pools {
    /// Their rounded numerators are too large, or too small.
    numerators: [Vec<f32>; 2],
    /// Their numerators before rounding are.
    terms: [Vec<f32>; 2],
}

impl Pools {
    const SIZE: usize = 40;

    fn new(softmax: Softmax, output: Output, random: &mut Random) -> Self {
        let sample = |random: &mut Random, low: f64, high: f64| {
            (0..2_000_000)
                .map(|_| (low + (high - low) * random.unit()) as f32)
                .collect::<Vec<f32>>()
        };
        let mut errors = Vec::new();
        let mut out = [0.0; 65];
        // Beside a logit of 0 the denominator is 1, so a result is the numerator.
        for x in sample(random, -80.0, -26.0) {
            softmax.row(&[0.0, x], &mut out[..2]).unwrap();
            errors.push((f64::from(out[1]) / f64::from(x).exp(), x));
        }
        let numerators = Self::ends(&mut errors);
        errors.clear();
        // The denominator has the terms before they are rounded, in 48 bits.
        let lowest = if output == Output::Softmax {
            -4.0
        } else {
            -20.0
        };
        for x in sample(random, lowest, 0.0) {
            let mut row = [x; 65];
            row[0] = 0.0;
            let normalizer = if output == Output::Softmax {
                softmax.row(&row, &mut out).unwrap()
            } else {
                softmax.log_row(&row, &mut out).unwrap()
            };
            let (_, other_terms) = normalizer.to_parts();
            errors.push((other_terms / f64::from(x).exp(), x));
        }
        let terms = Self::ends(&mut errors);
        Pools { numerators, terms }
    }

    /// The logits of the largest and of the least errors.
    fn ends(errors: &mut [(f64, f32)]) -> [Vec<f32>; 2] {
        errors.sort_by(|a, b| b.0.total_cmp(&a.0));
        let logits = |part: &[(f64, f32)]| part.iter().map(|(_, x)| *x).collect();
        [
            logits(&errors[..Self::SIZE]),
            logits(&errors[errors.len() - Self::SIZE..]),
        ]
    }

    fn any(&self, random: &mut Random) -> f32 {
        let up = random.below(2);
        let pool = if random.below(2) == 0 {
            &self.numerators[up]
        } else {
            &self.terms[up]
        };
        random.pick(pool)
    }
}

struct Search<'a> {
    softmax: Softmax<'a>,
    output: Output,
    form: Form,
    pools: Pools,
    random: Random,
    row: Vec<f32>,
    results: Vec<f32>,
    data: Vec<f32>,
    rows: u64,
    evaluated: u64,
}

impl Search<'_> {
    /// The largest error of the row.
    fn error(&mut self, runs: &Runs) -> f64 {
        runs.fill(&mut self.row);
        self.rows += 1;
        self.evaluated += self.row.len() as u64;
        let Search {
            softmax,
            row,
            results,
            data,
            ..
        } = self;
        let truth = Truth::of_runs(&runs.0);
        results.clear();
        results.resize(row.len(), f32::NAN);
        match (self.output, self.form) {
            (Output::LogSumExp, _) => {
                let result = softmax.log_sum_exp(row).unwrap();
                return ulp::error_above_one(result, truth.log_sum_exp());
            }
            (output, Form::Columns) => {
                data.clear();
                data.extend(row.iter().flat_map(|logit| [*logit; 2]));
                let mut columns = vec![f32::NAN; data.len()];
                let shape = [1, row.len(), 2];
                if output == Output::Softmax {
                    softmax.axis(data, shape, &mut columns).unwrap();
                } else {
                    softmax.log_axis(data, shape, &mut columns).unwrap();
                }
                for (result, column) in results.iter_mut().zip(columns.chunks_exact(2)) {
                    *result = column[0];
                }
            }
            (Output::Softmax, _) => drop(softmax.row(row, results).unwrap()),
            (Output::LogSoftmax, _) => drop(softmax.log_row(row, results).unwrap()),
        }
        let mut worst = 0.0_f64;
        let mut start = 0;
        for (logit, count) in &runs.0 {
            // Equal logits have equal results.
            let error = if self.output == Output::LogSoftmax {
                ulp::error(results[start], truth.log_probability(*logit))
            } else if truth.probability(*logit) >= support::Bounds::SMALL {
                ulp::error(results[start], truth.probability(*logit))
            } else {
                0.0
            };
            worst = worst.max(error);
            start += count;
        }
        worst
    }

    fn start(&mut self) -> Runs {
        if self.form == Form::LongRows {
            return self.start_long();
        }
        let random = &mut self.random;
        // Too large a numerator over too small a denominator; at times the other way round.
        let up = random.pick(&[0, 0, 0, 1]);
        let firsts = match self.output {
            Output::Softmax => &self.pools.numerators[up],
            Output::LogSoftmax | Output::LogSumExp => &self.pools.terms[1 - up],
        };
        let others = match self.output {
            Output::Softmax => &self.pools.terms[1 - up],
            Output::LogSoftmax | Output::LogSumExp => &self.pools.terms[up],
        };
        // The pair whose result is nearest above a power of two: little more is to be added.
        let distance = |(first, other): (f32, f32)| {
            let ratio = f64::from(other - first).exp();
            let inverse = match self.output {
                Output::Softmax => ratio,
                Output::LogSoftmax | Output::LogSumExp => ratio.ln_1p(),
            };
            inverse.log2().ceil() - inverse.log2()
        };
        let pairs = (0..1 + random.below(200)).map(|_| (random.pick(firsts), random.pick(others)));
        let nearest = pairs.min_by(|a, b| distance(*a).total_cmp(&distance(*b)));
        let (first, other) = nearest.unwrap_or_default();
        let mut runs = Runs(vec![(first, 1), (other, 1), (other - 12.0, 1), (-10.0, 1)]);
        self.aim(&mut runs, 0);
        runs
    }

    /// One maximum or one in each lane, and so much below it that all others together are about
    /// 2^−6 of it or more, in few runs: sums of equal slices round the same way time and again.
    fn start_long(&mut self) -> Runs {
        let random = &mut self.random;
        let len = 1_usize << (20 + random.below(5));
        let max = 20.0 * random.unit() as f32;
        let gap = (len as f32).ln() + 4.15 - random.pick(&[0.1, 1.0, 4.0]) * random.unit() as f32;
        let maxima = random.pick(&[1, 32]);
        let mut runs = vec![(max, maxima)];
        let pieces = 1 + random.below(2);
        for _ in 0..pieces {
            let near = max - gap + 0.05 * random.unit() as f32;
            runs.push((near, len / pieces - 40));
        }
        if random.below(2) == 0 {
            let up = random.below(2);
            runs.push((random.pick(&self.pools.numerators[up]), 1));
            runs.push((-10.0, 1));
        }
        Runs(runs)
    }

    /// Chooses the last logit so that the result of run `of` is just below a power of two.
    fn aim(&mut self, runs: &mut Runs, of: usize) {
        let longest = self.longest();
        let random = &mut self.random;
        let filler = runs.0.len() - 1;
        if of >= filler {
            return;
        }
        let below = 1.0 - 1.5 * random.unit() / f64::from(1 << 24);
        let (logit, others) = (f64::from(runs.0[of].0), runs.sum_without(filler));
        let least = others / logit.exp();
        // 1 / p must exceed this.
        let inverse = if self.output == Output::Softmax {
            least.log2().ceil().exp2() / below
        } else {
            let least_log = least.ln();
            let exponent = least_log.log2().ceil() + random.below(2) as f64;
            (exponent.exp2() * below).exp()
        };
        let mut rest = logit.exp() * inverse - others;
        // Most of it by more logits of another run, whose errors are large.
        let more_of = random.below(filler);
        let term = f64::from(runs.0[more_of].0).exp();
        let more = (rest / term).floor().max(0.0) as usize;
        if more_of != of && runs.len().saturating_add(more) <= longest {
            runs.0[more_of].1 += more;
            rest -= more as f64 * term;
        }
        let rest = rest / runs.0[filler].1 as f64;
        let aimed = rest.ln();
        if aimed.is_finite() && aimed > -85.0 {
            runs.0[filler].0 = aimed as f32;
        }
    }

    fn longest(&self) -> usize {
        match self.form {
            Form::LongRows => 1 << 24,
            Form::Rows | Form::Columns => LONGEST,
        }
    }

    fn change(&mut self, runs: &mut Runs) {
        let (len, longest) = (runs.len(), self.longest());
        let random = &mut self.random;
        let index = random.below(runs.0.len());
        let count = runs.0.len();
        let (logit, times) = &mut runs.0[index];
        match random.below(7) {
            0 | 1 => {
                let step = (random.next_u64() & ((1 << random.below(14)) - 1)) as u32;
                let bits = logit.to_bits();
                *logit = f32::from_bits(if random.below(2) == 0 {
                    bits.saturating_add(step)
                } else {
                    bits.saturating_sub(step)
                });
            }
            2 => *logit += core::f32::consts::LN_2 * (random.below(9) as f32 - 4.0),
            3 if self.form != Form::LongRows => *logit = self.pools.any(random),
            4 => {
                let more = 1 + random.below(*times);
                if random.below(2) == 0 && *times > more {
                    *times -= more;
                } else if len + more <= longest {
                    *times += more;
                }
            }
            5 if count < 8 && len < longest => {
                let logit = self.pools.any(random);
                runs.0.insert(index, (logit, 1));
            }
            5 if count > 2 => drop(runs.0.remove(index)),
            _ => {
                let of = random.below(count - 1);
                self.aim(runs, of);
            }
        }
        for (logit, _) in &mut runs.0 {
            *logit = logit.clamp(-85.0, 85.0);
        }
    }

    fn run(&mut self, time: Duration) -> (f64, Runs) {
        let begin = Instant::now();
        let steps = if self.form == Form::LongRows {
            LONG_STEPS
        } else {
            STEPS
        };
        let mut best = (0.0, Runs(vec![(0.0, 1)]));
        while begin.elapsed() < time {
            let mut here = self.start();
            let mut error = self.error(&here);
            for _ in 0..steps {
                let mut next = here.clone();
                self.change(&mut next);
                let next_error = self.error(&next);
                // A little downhill at times.
                if next_error >= error - 0.02 * self.random.unit().powi(8) {
                    (error, here) = (next_error, next);
                }
                if error > best.0 {
                    best = (error, here.clone());
                }
                if begin.elapsed() >= time {
                    break;
                }
            }
        }
        best
    }
}

/// The name of the class, and its backend: the last one is the widest.
fn classes() -> impl Iterator<Item = (&'static str, Backend)> {
    [("fused", FUSED), ("unfused", UNFUSED)]
        .into_iter()
        .filter_map(|(name, class)| {
            let backend = backends().filter(|backend| class.contains(backend)).last();
            backend.map(|backend| (name, backend))
        })
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let numbers: Result<Vec<u64>, _> = arguments.iter().map(|number| number.parse()).collect();
    let (seconds, seed) = match numbers.as_deref() {
        Ok([seconds]) => (*seconds, 1),
        Ok([seconds, seed]) => (*seconds, *seed),
        _ => {
            eprintln!("usage: uphill SECONDS [SEED]");
            return ExitCode::FAILURE;
        }
    };
    let mut evaluated = 0;
    println!("class,output,form,ulps,runs");
    for (class, backend) in classes() {
        for output in [Output::Softmax, Output::LogSoftmax, Output::LogSumExp] {
            for form in [Form::Rows, Form::Columns, Form::LongRows] {
                if output == Output::LogSumExp && form == Form::Columns {
                    continue;
                }
                let mut random = Random(seed);
                let mut search = Search {
                    softmax: on(backend),
                    output,
                    form,
                    pools: Pools::new(on(backend), output, &mut random),
                    random,
                    row: Vec::new(),
                    results: Vec::new(),
                    data: Vec::new(),
                    rows: 0,
                    evaluated: 0,
                };
                let (error, worst) = search.run(Duration::from_secs(seconds));
                let runs: Vec<String> = worst
                    .0
                    .iter()
                    .map(|(logit, count)| format!("{logit:?}x{count}"))
                    .collect();
                println!("{class},{output:?},{form:?},{error:.3},{}", runs.join(" "));
                eprintln!("{} results in {} rows", search.evaluated, search.rows);
                evaluated += search.evaluated;
            }
        }
    }
    eprintln!("{evaluated} results in all");
    ExitCode::SUCCESS
}

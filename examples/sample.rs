//! Draws tokens from rows of logits over a vocabulary, as a language model's text is generated.
//!
//! ```text
//! cargo run --release --example sample
//! cargo run --release --example sample -- --top-p 0.9 --seed 7 LOGITS.npy
//! ```
//!
//! A model would compute new logits after each token. Here the rows of the file take turns.

use npyz::NpyFile;
use online_softmax::{Backend, Sampler};
use std::error::Error;
use std::ffi::OsString;
use std::fmt::Display;
use std::fs::File;
use std::io::{BufReader, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::{Duration, Instant};

const HELP: &str = "\
Draws tokens from rows of logits.

Usage: sample [OPTIONS] [FILE]

FILE is a .npy array of f32, rows × vocabulary. Without FILE, the row in tests/data is taken.

Options:
  --tokens N         how many tokens; 100 without it
  --temperature X    0.7 without it; 0 takes the most probable token
  --top-k N          of the N most probable tokens
  --top-p X          of the most probable tokens that sum to X; 0.95 without it
  --min-p X          of the tokens that are at least X times as probable as the first
  --seed N           of the random numbers; 1 without it
  --backend NAME     scalar, portable, avx2, avx512 or neon instead of the best of this machine
  -h, --help         this text

Each line of standard output is a token, its logit, and its probability among those it was drawn
from. Standard error tells the backend and the time of a token. The exit status is 0, or 2 after an
error.
";

/// An error is one line that says what is wrong and where.
type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

struct Options {
    file: PathBuf,
    tokens: usize,
    seed: u64,
    backend: Backend,
    sampler: Sampler,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sample: {}", error.to_string().replace(['\n', '\r'], " "));
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<()> {
    let mut out = std::io::stdout().lock();
    let Some(options) = parse_options()? else {
        return Ok(out.write_all(HELP.as_bytes())?);
    };
    let name = options.file.display();
    let (logits, columns) = at(&name, read(&options.file))?;

    let mut random = Random(options.seed);
    let mut took = Duration::ZERO;
    for row in logits.chunks_exact(columns).cycle().take(options.tokens) {
        let uniform = random.uniform();
        let start = Instant::now();
        let drawn = options.sampler.draw(row, uniform);
        took += start.elapsed();
        let drawn = at(&name, drawn)?;
        writeln!(out, "{} {} {}", drawn.index, drawn.logit, drawn.probability)?;
    }
    let each = took.as_secs_f64() * 1e6 / options.tokens as f64;
    eprintln!(
        "sample: {}: {} tokens of a vocabulary of {columns}, {each:.1} µs each",
        options.backend.name(),
        options.tokens,
    );
    Ok(())
}

/// `None` if help is asked for.
fn parse_options() -> Result<Option<Options>> {
    use lexopt::prelude::*;

    let mut file = None;
    let (mut tokens, mut seed, mut backend) = (100, 1, Backend::best());
    let mut sampler = Sampler::new().temperature(0.7).top_p(0.95);
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("tokens") => tokens = number("--tokens", &arguments.value()?)?,
            Long("seed") => seed = number("--seed", &arguments.value()?)?,
            Long("temperature") => {
                sampler = sampler.temperature(number("--temperature", &arguments.value()?)?);
            }
            Long("top-k") => sampler = sampler.top_k(number("--top-k", &arguments.value()?)?),
            Long("top-p") => sampler = sampler.top_p(number("--top-p", &arguments.value()?)?),
            Long("min-p") => sampler = sampler.min_p(number("--min-p", &arguments.value()?)?),
            Long("backend") => backend = parse_backend(&arguments.value()?)?,
            Long("help") | Short('h') => return Ok(None),
            Value(name) if file.is_none() => file = Some(PathBuf::from(name)),
            _ => return Err(argument.unexpected().into()),
        }
    }
    if tokens == 0 {
        return Err("--tokens 0: expected a whole number from 1".into());
    }
    let of_tests = "tests/data/vocab_logits_1x30522.npy";
    Ok(Some(Options {
        file: file.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(of_tests)),
        tokens,
        seed,
        backend,
        sampler: at("--backend", sampler.backend(backend))?,
    }))
}

fn number<T: FromStr>(option: &str, value: &OsString) -> Result<T> {
    let number = value.to_str().and_then(|text| text.parse().ok());
    number.ok_or_else(|| format!("{option} {value:?}: expected a number").into())
}

fn parse_backend(value: &OsString) -> Result<Backend> {
    use Backend::{Avx2, Avx512, Neon, Portable, Scalar};

    let known = [Scalar, Portable, Avx2, Avx512, Neon];
    let named = known.into_iter().find(|backend| value == backend.name());
    named.ok_or_else(|| {
        let names = known.map(Backend::name).join(", ");
        format!("--backend {value:?}: expected one of {names}").into()
    })
}

fn at<T>(place: impl Display, result: Result<T, impl Display>) -> Result<T> {
    result.map_err(|error| format!("{place}: {error}").into())
}

/// The logits, and the columns of a row.
fn read(path: &PathBuf) -> Result<(Vec<f32>, usize)> {
    let file = NpyFile::new(BufReader::new(File::open(path)?))?;
    let columns = file.shape().last().copied().unwrap_or(0);
    let columns = usize::try_from(columns)?;
    let logits = file.into_vec::<f32>()?;
    if logits.is_empty() {
        return Err("expected at least one row of logits, but the array is empty".into());
    }
    Ok((logits, columns))
}

/// The splitmix64 generator.
struct Random(u64);

impl Random {
    /// In [0, 1), a multiple of 2^−24.
    fn uniform(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^= bits >> 31;
        (bits >> 40) as f32 / (1 << 24) as f32
    }
}

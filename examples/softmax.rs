//! The softmax, log-softmax or log-sum-exp of logits in a `.npy` or CSV file.
//!
//! ```text
//! cargo run --release --example softmax -- --top 3 tests/data/digits_logits_1797x10.npy
//! ```
//!
//! It takes attention scores too: of padded sentences, with the true length of each, or causally.
//!
//! ```text
//! cargo run --release --example softmax -- tests/data/attention_scores_3x64x64.npy \
//!     --lengths tests/data/attention_lengths_3.npy --causal --output probabilities.npy
//! ```

use npyz::{Deserialize, NpyFile, NpyHeader, Order, WriterBuilder};
use online_softmax::{Backend, FullyMasked, Mask, Softmax};
use std::error::Error;
use std::ffi::OsString;
use std::fmt::Display;
use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

const HELP: &str = "\
The softmax of logits along their last axis, or another.

Usage: softmax [OPTIONS] [FILE]

FILE is a .npy array of f32 or f64, of any rank, or CSV, one row a line. Without FILE, or with -,
standard input is read. Values are rounded to f32; nan, inf and -inf are numbers too.

Options:
  --log            the log-softmax instead
  --log-sum-exp    the log-sum-exp instead: one value for each row
  --top N          a table of the N most probable classes of each row instead
  --axis N         along this axis instead of the last; 0 is the first, -1 the last
  --scale X        multiply every logit by X first: 1/temperature, 1/sqrt(d)
  --lengths FILE   mask all but the first columns of each row: how many is said by FILE, a .npy
                   array with an integer for each item of the leading axis
  --causal         mask the columns beyond i in row i of each matrix of the last two axes
  --fully-masked NAME
                   zero or nan, the results of rows that are all masked or -inf; nan without it
  --output FILE    write FILE, as .npy or .csv by its ending, instead of CSV to standard output
  --backend NAME   scalar, portable, avx2, avx512 or neon instead of the best of this machine
  -h, --help       this text

The masks, --log-sum-exp and --top are of the last axis only.

Standard error tells the backend, the rows and columns, and the time of the computation alone.
The exit status is 0, or 2 after an error.
";

/// An error is one line that says what is wrong and where.
type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

struct Options {
    /// Standard input if there is none.
    input: Option<PathBuf>,
    /// Standard output if there is none; the name ends in .npy or .csv.
    output: Option<PathBuf>,
    operation: Operation,
    backend: Backend,
    /// The last if there is none; from the end if it is negative.
    axis: Option<isize>,
    scale: Option<f32>,
    lengths: Option<PathBuf>,
    causal: bool,
    fully_masked: FullyMasked,
}

#[derive(Clone, Copy)]
enum Operation {
    Softmax,
    LogSoftmax,
    LogSumExp,
    Top(usize),
}

/// Values in C order.
struct Tensor {
    values: Vec<f32>,
    shape: Vec<usize>,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&error.to_string().replace(['\n', '\r'], " "));
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<()> {
    let Some(options) = parse_options()? else {
        return to_standard_output(|out| out.write_all(HELP.as_bytes()));
    };
    let softmax = configure(&options)?;
    let logits = read(options.input.as_deref())?;
    let along = along(&options, &logits)?;
    let lengths = read_masks(&options, &logits)?;
    let softmax = masked(softmax, &options, &logits, lengths.as_deref());
    let (results, took) = compute(softmax, options.operation, &logits, along)?;
    write(&options, lengths.as_deref(), &logits, &results)?;
    let backend = options.backend.name();
    let what = match options.axis {
        None => format!("{} rows × {} columns", logits.rows(), logits.columns()),
        Some(axis) => format!("axis {axis} of shape {:?}", logits.shape),
    };
    say(&format!("{backend}, {what}, {took:.1?}"));
    Ok(())
}

/// As `eprintln`, but does not panic where standard error is closed.
fn say(message: &str) {
    let _ = writeln!(io::stderr(), "softmax: {message}");
}

fn at<T>(place: impl Display, result: Result<T, impl Display>) -> Result<T> {
    result.map_err(|error| format!("{place}: {error}").into())
}

// Options

/// `None` if help is asked for.
fn parse_options() -> Result<Option<Options>> {
    use lexopt::prelude::*;

    let (mut input, mut output, mut operation) = (None, None, None);
    let (mut axis, mut scale, mut lengths, mut causal) = (None, None, None, false);
    let mut backend = Backend::best();
    let mut fully_masked = FullyMasked::default();
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("log") => choose(&mut operation, "--log", Operation::LogSoftmax)?,
            Long("log-sum-exp") => choose(&mut operation, "--log-sum-exp", Operation::LogSumExp)?,
            Long("top") => {
                let n = parse_top(&arguments.value()?)?;
                choose(&mut operation, "--top", Operation::Top(n))?;
            }
            Long("output") => output = Some(parse_output(arguments.value()?)?),
            Long("backend") => backend = parse_backend(&arguments.value()?)?,
            Long("axis") => axis = Some(parse_axis(&arguments.value()?)?),
            Long("scale") => scale = Some(parse_scale(&arguments.value()?)?),
            Long("lengths") => lengths = Some(PathBuf::from(arguments.value()?)),
            Long("causal") => causal = true,
            Long("fully-masked") => fully_masked = parse_fully_masked(&arguments.value()?)?,
            Long("help") | Short('h') => return Ok(None),
            Value(name) if input.is_none() => input = Some(name),
            _ => return Err(argument.unexpected().into()),
        }
    }
    if let (Some((_, Operation::Top(_))), Some(_)) = (&operation, &output) {
        return Err("--top and --output exclude each other".into());
    }
    Ok(Some(Options {
        input: input.filter(|name| name != "-").map(PathBuf::from),
        output,
        operation: operation.map_or(Operation::Softmax, |(_, operation)| operation),
        backend,
        axis,
        scale,
        lengths,
        causal,
        fully_masked,
    }))
}

/// Refuses a second operation other than the first.
fn choose(
    chosen: &mut Option<(&'static str, Operation)>,
    option: &'static str,
    operation: Operation,
) -> Result<()> {
    match chosen.replace((option, operation)) {
        Some((earlier, _)) if earlier != option => {
            Err(format!("{earlier} and {option} exclude each other").into())
        }
        _ => Ok(()),
    }
}

fn parse_top(value: &OsString) -> Result<usize> {
    match value.to_str().and_then(|text| text.parse().ok()) {
        Some(n) if n > 0 => Ok(n),
        _ => Err(format!("--top {value:?}: expected a whole number from 1").into()),
    }
}

fn parse_output(value: OsString) -> Result<PathBuf> {
    let path = PathBuf::from(value);
    if has_ending(&path, "npy") || has_ending(&path, "csv") {
        Ok(path)
    } else {
        Err(format!("--output {path:?}: expected a name that ends in .npy or .csv").into())
    }
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

fn parse_axis(value: &OsString) -> Result<isize> {
    let axis = value.to_str().and_then(|text| text.parse().ok());
    axis.ok_or_else(|| format!("--axis {value:?}: expected a whole number").into())
}

fn parse_scale(value: &OsString) -> Result<f32> {
    let scale = value.to_str().and_then(|text| text.parse().ok());
    scale.ok_or_else(|| format!("--scale {value:?}: expected a number").into())
}

fn parse_fully_masked(value: &OsString) -> Result<FullyMasked> {
    match value.to_str() {
        Some("zero") => Ok(FullyMasked::Zero),
        Some("nan") => Ok(FullyMasked::Nan),
        _ => Err(format!("--fully-masked {value:?}: expected zero or nan").into()),
    }
}

fn has_ending(path: &Path, ending: &str) -> bool {
    path.extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case(ending))
}

fn configure(options: &Options) -> Result<Softmax<'static>> {
    let softmax = at("--backend", Softmax::new().backend(options.backend))?;
    let softmax = softmax.fully_masked(options.fully_masked);
    Ok(match options.scale {
        Some(scale) => softmax.scale(scale),
        None => softmax,
    })
}

/// How many logits there are along the axis, and how far apart: [axis, inner].
fn along(options: &Options, logits: &Tensor) -> Result<[usize; 2]> {
    let Some(given) = options.axis else {
        return Ok([logits.columns(), 1]);
    };
    let shape = &logits.shape;
    let from_start = match given {
        0.. => given,
        _ => given + shape.len() as isize,
    };
    let axis = usize::try_from(from_start).ok();
    let Some(axis) = axis.filter(|&axis| axis < shape.len()) else {
        let count = shape.len();
        let expected = format!("expected an axis of shape {shape:?}");
        return Err(format!("--axis {given}: {expected}, which has {count}").into());
    };
    let last = shape.len() - 1;
    if axis < last
        && let Some(other) = of_last_axis_only(options)
    {
        let place = format!("--axis {given}");
        return Err(format!("{place}: {other} is of the last axis only, here {last}").into());
    }
    let inner = shape[axis + 1..].iter();
    // Before these there may be a 0, so that the product need not be within `usize`.
    Ok([
        shape[axis],
        inner.fold(1, |inner, &n| inner.saturating_mul(n)),
    ])
}

fn of_last_axis_only(options: &Options) -> Option<&'static str> {
    match options.operation {
        Operation::LogSumExp => Some("--log-sum-exp"),
        Operation::Top(_) => Some("--top"),
        _ if options.lengths.is_some() => Some("--lengths"),
        _ if options.causal => Some("--causal"),
        _ => None,
    }
}

/// The lengths for [`masked`], if there are any.
fn read_masks(options: &Options, logits: &Tensor) -> Result<Option<Vec<usize>>> {
    let shape = &logits.shape;
    let option = match options.lengths {
        Some(_) => "--lengths",
        None => "--causal",
    };
    if (options.lengths.is_some() || options.causal) && shape.len() < 2 {
        let expected = "expected logits of two axes or more";
        return Err(format!("{option}: {expected}, but found shape {shape:?}").into());
    }
    let items = shape.first().copied().unwrap_or(1);
    let Some(path) = options.lengths.as_deref() else {
        return Ok(None);
    };
    let mut lengths = read_lengths(path, items, logits.columns())?;
    if options.causal && shape.len() == 2 {
        // Each row has a length of its own, which the causal mask makes shorter.
        for (length, row) in lengths.iter_mut().zip(1..) {
            *length = row.min(*length);
        }
    }
    Ok(Some(lengths))
}

/// The softmax with the masks. The last two axes are a matrix, and the matrices of one leading index
/// are an item. Of two axes with lengths each row is an item.
fn masked<'a>(
    mut softmax: Softmax<'a>,
    options: &Options,
    logits: &Tensor,
    lengths: Option<&'a [usize]>,
) -> Softmax<'a> {
    let shape = &logits.shape;
    if lengths.is_none() && !options.causal {
        return softmax;
    }
    match shape[..] {
        [_, ref heads @ .., rows, _] => {
            let heads = heads.iter().product();
            softmax = softmax.matrix_rows(rows).heads(heads);
        }
        _ if lengths.is_some() => softmax = softmax.matrix_rows(1),
        _ => {}
    }
    if let Some(lengths) = lengths {
        softmax = softmax.mask(Mask::Lengths(lengths));
    }
    if options.causal && (lengths.is_none() || shape.len() > 2) {
        softmax = softmax.mask(Mask::Causal { offset: 0 });
    }
    softmax
}

// Reading

fn read(input: Option<&Path>) -> Result<Tensor> {
    let Some(path) = input else {
        let mut bytes = Vec::new();
        let read = io::stdin().read_to_end(&mut bytes);
        let parsed = read.map_err(Into::into).and_then(|_| parse(&bytes, false));
        return at("standard input", parsed);
    };
    let read = fs::read(path).map_err(Into::into);
    let parsed = read.and_then(|bytes| parse(&bytes, has_ending(path, "npy")));
    at(path.display(), parsed)
}

fn parse(bytes: &[u8], named_npy: bool) -> Result<Tensor> {
    // No text starts with the first byte of the .npy magic.
    if named_npy || bytes.starts_with(b"\x93") {
        parse_npy(bytes)
    } else {
        parse_csv(bytes)
    }
}

fn parse_npy(mut bytes: &[u8]) -> Result<Tensor> {
    let header = parse_header(&mut bytes)?;
    let value_bytes = match header.dtype().descr().as_str() {
        "'<f4'" | "'>f4'" => 4,
        "'<f8'" | "'>f8'" => 8,
        other => return Err(format!("expected dtype f4 or f8, but found {other}").into()),
    };
    if header.shape().last() == Some(&0) {
        let shape = header.shape();
        return Err(format!("expected at least one column, but found shape {shape:?}").into());
    }
    let shape = shape_of(&header, value_bytes, bytes.len())?;
    let (order, strides) = (header.order(), header.strides().to_vec());
    let values = match NpyFile::with_header(header, bytes).try_data::<f32>() {
        Ok(values) => values.collect::<io::Result<Vec<f32>>>()?,
        Err(npy) => npy
            .data::<f64>()?
            .map(|value| value.map(|value| value as f32))
            .collect::<io::Result<_>>()?,
    };
    let values = match order {
        Order::C => values,
        Order::Fortran => to_c_order(&values, &shape, &strides),
    };
    Ok(Tensor { values, shape })
}

fn parse_header(bytes: &mut &[u8]) -> Result<NpyHeader> {
    NpyHeader::from_reader(bytes).map_err(|error| {
        let error = error.to_string();
        let summary = error.lines().next().unwrap_or_default();
        format!("expected a .npy header, but could not read one: {summary}").into()
    })
}

/// The shape, once the data is known to have all its values: a header alone allocates nothing.
fn shape_of(header: &NpyHeader, value_bytes: usize, data_bytes: usize) -> Result<Vec<usize>> {
    let sizes = header.shape().iter().map(|&n| usize::try_from(n));
    let shape: Vec<usize> = sizes.collect::<Result<_, _>>()?;
    let expected_bytes = shape
        .iter()
        .try_fold(value_bytes, |bytes, &n| bytes.checked_mul(n));
    if expected_bytes != Some(data_bytes) {
        let each = format!("{value_bytes} bytes for each value of shape {shape:?}");
        Err(format!("expected {each}, but found {data_bytes} bytes in all").into())
    } else {
        Ok(shape)
    }
}

fn to_c_order(values: &[f32], shape: &[usize], strides: &[u64]) -> Vec<f32> {
    let value_at = |mut position: usize| {
        let mut offset = 0;
        for (&n, &stride) in shape.iter().zip(strides).rev() {
            offset += position % n * stride as usize;
            position /= n;
        }
        values[offset]
    };
    (0..values.len()).map(value_at).collect()
}

/// A length for each item of the leading axis, none beyond the columns.
fn read_lengths(path: &Path, items: usize, columns: usize) -> Result<Vec<usize>> {
    let read = fs::read(path).map_err(Into::into);
    let parsed = read.and_then(|bytes| parse_lengths(&bytes, items, columns));
    at(path.display(), parsed)
}

fn parse_lengths(mut bytes: &[u8], items: usize, columns: usize) -> Result<Vec<usize>> {
    let header = parse_header(&mut bytes)?;
    let integers = match header.dtype().descr().as_str() {
        "'|i1'" => parse_integers::<i8>,
        "'<i2'" | "'>i2'" => parse_integers::<i16>,
        "'<i4'" | "'>i4'" => parse_integers::<i32>,
        "'<i8'" | "'>i8'" => parse_integers::<i64>,
        "'|u1'" => parse_integers::<u8>,
        "'<u2'" | "'>u2'" => parse_integers::<u16>,
        "'<u4'" | "'>u4'" => parse_integers::<u32>,
        "'<u8'" | "'>u8'" => parse_integers::<u64>,
        other => return Err(format!("expected a dtype of integers, but found {other}").into()),
    };
    let shape = header.shape();
    if *shape != [items as u64] {
        let expected = "a length for each item of the leading axis";
        return Err(format!("expected shape [{items}], {expected}, but found {shape:?}").into());
    }
    let integers = integers(header, bytes)?.into_iter();
    let check = |(item, length)| match usize::try_from(length) {
        Ok(length) if length <= columns => Ok(length),
        _ => {
            let expected = format!("expected a length from 0 to {columns}");
            Err(format!("item {item}: {expected}, but found {length}").into())
        }
    };
    integers.enumerate().map(check).collect()
}

fn parse_integers<T: Deserialize + Into<i128>>(
    header: NpyHeader,
    bytes: &[u8],
) -> Result<Vec<i128>> {
    shape_of(&header, size_of::<T>(), bytes.len())?;
    let integers = NpyFile::with_header(header, bytes).data::<T>()?;
    Ok(integers
        .map(|integer| integer.map(Into::into))
        .collect::<io::Result<_>>()?)
}

fn parse_csv(bytes: &[u8]) -> Result<Tensor> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true) // Rows are checked here, where the line is known.
        .trim(csv::Trim::All)
        .from_reader(bytes);
    let (mut values, mut rows, mut columns) = (Vec::new(), 0, 0);
    for record in reader.byte_records() {
        let record = record?;
        let line = || line_of(bytes, record.position().map_or(0, csv::Position::byte));
        if rows == 0 {
            columns = record.len();
        } else if record.len() != columns {
            let (line, found) = (line(), record.len());
            let expected = format!("expected {columns} columns as in the first row");
            return Err(format!("line {line}: {expected}, but found {found}").into());
        }
        for (field, column) in record.iter().zip(1..) {
            let text = String::from_utf8_lossy(field);
            values.push(text.parse().map_err(|_| {
                let start: String = text.chars().take(40).collect();
                let place = format!("line {}, column {column}", line());
                format!("{place}: expected a number, but found {start:?}")
            })?);
        }
        rows += 1;
    }
    if rows == 0 {
        return Err("expected rows of numbers, but found none".into());
    }
    let shape = vec![rows, columns];
    Ok(Tensor { values, shape })
}

/// The line of the record at `byte`. The reader's own count lags where lines end in "\r\n" or are
/// empty, as it has a record start right after the one before.
fn line_of(bytes: &[u8], byte: u64) -> usize {
    let (before, record) = bytes.split_at(byte as usize);
    let skipped = record.iter().take_while(|byte| b"\r\n".contains(byte));
    let line_ends = before.iter().chain(skipped).filter(|&&byte| byte == b'\n');
    1 + line_ends.count()
}

// Computing

impl Tensor {
    /// A scalar is a row of one column.
    fn columns(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    fn rows(&self) -> usize {
        self.values.len() / self.columns()
    }
}

impl Operation {
    /// Results of a row of so many columns.
    fn results(self, columns: usize) -> usize {
        match self {
            Operation::LogSumExp => 1,
            _ => columns,
        }
    }
}

fn compute(
    softmax: Softmax<'_>,
    operation: Operation,
    logits: &Tensor,
    [axis, inner]: [usize; 2],
) -> Result<(Tensor, Duration)> {
    let mut shape = logits.shape.clone();
    if let Operation::LogSumExp = operation {
        shape.pop();
    }
    // Not zeros, whose pages might be made only while the clock runs.
    let mut results = vec![f32::NAN; shape.iter().product()];
    let values = &logits.values;
    let start = Instant::now();
    let along = [
        values.len().checked_div(axis * inner).unwrap_or(0),
        axis,
        inner,
    ];
    match operation {
        Operation::Softmax | Operation::Top(_) => softmax.axis(values, along, &mut results),
        Operation::LogSoftmax => softmax.log_axis(values, along, &mut results),
        Operation::LogSumExp => softmax.log_sum_exp_rows(values, axis, &mut results),
    }?;
    let took = start.elapsed();
    let values = results;
    Ok((Tensor { values, shape }, took))
}

/// The logits that the softmax is taken of: scaled, and −∞ where they are masked.
fn prepared(options: &Options, lengths: Option<&[usize]>, logits: &Tensor) -> Result<Tensor> {
    // Equal logits have a probability, unless they are masked.
    let mut values = vec![0.0; logits.values.len()];
    let softmax = Softmax::new().fully_masked(FullyMasked::Zero);
    masked(softmax, options, logits, lengths).rows_in_place(&mut values, logits.columns())?;
    for (value, logit) in values.iter_mut().zip(&logits.values) {
        *value = if *value > 0.0 {
            logit * options.scale.unwrap_or(1.0)
        } else {
            f32::NEG_INFINITY
        };
    }
    let shape = logits.shape.clone();
    Ok(Tensor { values, shape })
}

// Writing

fn write(
    options: &Options,
    lengths: Option<&[usize]>,
    logits: &Tensor,
    results: &Tensor,
) -> Result<()> {
    let columns = options.operation.results(logits.columns());
    let write_csv = |out: &mut dyn Write| write_csv(out, results, columns);
    match (&options.output, options.operation) {
        (Some(path), _) if has_ending(path, "npy") => to_file(path, |out| write_npy(out, results)),
        (Some(path), _) => to_file(path, write_csv),
        (None, Operation::Top(n)) => {
            let logits = prepared(options, lengths, logits)?;
            to_standard_output(|out| write_top(out, n, &logits, results))
        }
        (None, _) => to_standard_output(write_csv),
    }
}

fn to_standard_output(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    match write(&mut out).and_then(|()| out.flush()) {
        // The reader, `head` for one, has all it wants.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => at("standard output", written),
    }
}

/// Writes a file beside `path` and renames it, so that `path` is whole or untouched.
fn to_file(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    let folder = folder.unwrap_or(Path::new("."));
    // `make_in`, as what `tempfile_in` makes may be read by its owner only.
    let made = tempfile::Builder::new()
        .prefix(".softmax-")
        .make_in(folder, |name| File::create_new(name));
    let mut file = at(path.display(), made)?;
    let mut out = BufWriter::new(file.as_file_mut());
    at(path.display(), write(&mut out).and_then(|()| out.flush()))?;
    drop(out);
    let renamed = file.persist(path).map_err(|error| error.error);
    at(path.display(), renamed.map(drop))
}

fn write_npy(out: &mut dyn Write, tensor: &Tensor) -> io::Result<()> {
    let shape: Vec<u64> = tensor.shape.iter().map(|&n| n as u64).collect();
    let options = npyz::WriteOptions::new().default_dtype().shape(&shape);
    let mut npy = options.writer(out).begin_nd()?;
    npy.extend(&tensor.values)?;
    npy.finish()
}

/// One row a line. `Display` of `f32` gives digits that parse to the same bits.
fn write_csv(out: &mut dyn Write, tensor: &Tensor, columns: usize) -> io::Result<()> {
    for row in tensor.values.chunks(columns) {
        for (column, value) in row.iter().enumerate() {
            let separator = if column == 0 { "" } else { "," };
            write!(out, "{separator}{value}")?;
        }
        writeln!(out)?;
    }
    Ok(())
}

/// Ranks by logit, as small probabilities round to the same; ties by lower index.
fn write_top(out: &mut dyn Write, n: usize, logits: &Tensor, results: &Tensor) -> io::Result<()> {
    writeln!(out, "     row   rank   class  probability")?;
    let logits = logits.values.chunks(logits.columns());
    let probabilities = results.values.chunks(results.columns());
    for (row, (logits, probabilities)) in logits.zip(probabilities).enumerate() {
        let mut classes: Vec<usize> = (0..logits.len()).collect();
        classes.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
        for (class, rank) in classes.into_iter().take(n).zip(1..) {
            let probability = probabilities[class];
            writeln!(out, "{row:8} {rank:6} {class:7} {probability:12.6}")?;
        }
    }
    Ok(())
}

//! The examples `softmax` and `sample`, run as a user runs them.
//!
//! `cargo test` builds the examples first; `cargo test --test cli` alone does not.

#![cfg(not(any(miri, target_family = "wasm")))] // They have no processes.

use npyz::{NpyFile, Order, WriterBuilder};
use online_softmax::{Backend, Candidate, FullyMasked, Mask, Sampler, Softmax};
use std::fs::{self, File};
use std::io::{BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

const DIGITS: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/data/digits_logits_1797x10.npy"
);
const VOCABULARY: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/data/vocab_logits_1x30522.npy"
);
const ATTENTION: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/data/attention_scores_3x64x64.npy"
);
const LENGTHS: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/data/attention_lengths_3.npy"
);

// Running

fn program() -> Command {
    example("softmax")
}

fn example(name: &str) -> Command {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).unwrap();
    let file = format!("{name}{}", std::env::consts::EXE_SUFFIX);
    let path = profile.join("examples").join(file);
    assert!(
        path.exists(),
        "{} is not there: `cargo build --example {name}` makes it",
        path.display()
    );
    Command::new(path)
}

/// The exit status, standard output and standard error.
fn run(arguments: &[&str], input: &[u8]) -> (Option<i32>, String, String) {
    let mut child = program()
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that refuses its arguments does not read, and the pipe may be gone.
    let _ = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    let [stdout, stderr] =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    (output.status.code(), stdout, stderr)
}

/// Standard output and the one line of standard error.
#[track_caller]
fn succeeds(arguments: &[&str], input: &[u8]) -> (String, String) {
    let (status, stdout, stderr) = run(arguments, input);
    assert_eq!(status, Some(0), "{arguments:?}: {stderr}");
    (stdout, the_line(&stderr))
}

/// The one line of standard error.
#[track_caller]
fn fails(arguments: &[&str], input: &[u8]) -> String {
    let (status, stdout, stderr) = run(arguments, input);
    assert_eq!(status, Some(2), "{arguments:?}: {stderr}");
    assert_eq!(stdout, "", "{arguments:?}");
    the_line(&stderr)
}

#[track_caller]
fn the_line(stderr: &str) -> String {
    line_of("softmax: ", stderr)
}

#[track_caller]
fn line_of(program: &str, stderr: &str) -> String {
    let line = stderr.strip_suffix('\n').unwrap_or_default();
    assert!(!line.contains('\n'), "expected one line: {stderr:?}");
    let message = line.strip_prefix(program);
    message.expect("starts with the program's name").to_owned()
}

#[track_caller]
fn assert_contains(line: &str, parts: &[&str]) {
    for part in parts {
        assert!(line.contains(part), "expected {part:?} in {line:?}");
    }
}

// Data

fn parse_csv(text: &str) -> Vec<Vec<f32>> {
    let parse_row = |line: &str| {
        line.split(',')
            .map(|field| field.parse().unwrap())
            .collect()
    };
    text.lines().map(parse_row).collect()
}

fn read_npy(path: impl AsRef<Path>) -> (Vec<u64>, Vec<f32>) {
    let npy = NpyFile::new(BufReader::new(File::open(path).unwrap())).unwrap();
    assert_eq!(npy.order(), Order::C);
    (npy.shape().to_vec(), npy.into_vec().unwrap())
}

fn write_npy<T: npyz::Serialize + Copy>(
    path: &str,
    dtype: &str,
    (shape, order): (&[u64], Order),
    values: &[T],
) {
    let mut npy = npyz::WriteOptions::new()
        .dtype(npyz::DType::Plain(dtype.parse().unwrap()))
        .shape(shape)
        .order(order)
        .writer(File::create(path).unwrap())
        .begin_nd()
        .unwrap();
    npy.extend(values).unwrap();
    npy.finish().unwrap();
}

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Folder(TempDir::new().unwrap())
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn names(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<PathBuf> = entries.map(|it| it.unwrap().file_name().into()).collect();
        names.sort();
        names
    }
}

// An independent reference

fn log_sum_exp(row: &[f32]) -> f64 {
    let max = f64::from(row.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let terms = row.iter().map(|&logit| (f64::from(logit) - max).exp());
    max + terms.sum::<f64>().ln()
}

fn log_softmax(row: &[f32]) -> Vec<f64> {
    let normalizer = log_sum_exp(row);
    row.iter()
        .map(|&logit| f64::from(logit) - normalizer)
        .collect()
}

fn softmax(row: &[f32]) -> Vec<f64> {
    log_softmax(row).into_iter().map(f64::exp).collect()
}

fn is_close(found: f32, expected: f64) -> bool {
    (f64::from(found) - expected).abs() <= 5e-7 * expected.abs()
}

#[track_caller]
fn assert_close(found: &[f32], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (index, (&found, &expected)) in found.iter().zip(expected).enumerate() {
        assert!(is_close(found, expected), "{index}: {found} for {expected}");
    }
}

#[test]
fn the_measure_can_fail() {
    assert!(is_close(0.25, 0.25) && is_close(0.0, 0.0));
    assert!(!is_close(0.25, 0.250_001) && !is_close(1e-9, 0.0) && !is_close(f32::NAN, 0.0));
}

// Results

#[test]
fn softmax_of_the_digits() {
    let (shape, logits) = read_npy(DIGITS);
    assert_eq!(shape, [1797, 10]);
    let (stdout, line) = succeeds(&[DIGITS], b"");
    let rows = parse_csv(&stdout);
    assert_eq!(rows.len(), 1797);
    for (row, logits) in rows.iter().zip(logits.chunks(10)) {
        assert_close(row, &softmax(logits));
        let sum: f64 = row.iter().map(|&probability| f64::from(probability)).sum();
        assert!((sum - 1.0).abs() < 1e-6, "{sum}");
    }
    let size = "1797 rows × 10 columns, ";
    assert_contains(&line, &[Backend::best().name(), size]);
    let time = line.split(", ").last().unwrap();
    assert!(
        time.starts_with(|c: char| c.is_ascii_digit()) && time.ends_with('s'),
        "{line}"
    );
}

#[test]
fn log_softmax_of_the_digits() {
    let (_, logits) = read_npy(DIGITS);
    let rows = parse_csv(&succeeds(&["--log", DIGITS], b"").0);
    assert_eq!(rows.len(), 1797);
    for (row, logits) in rows.iter().zip(logits.chunks(10)) {
        assert_close(row, &log_softmax(logits));
    }
}

#[test]
fn log_sum_exp_of_the_digits() {
    let (_, logits) = read_npy(DIGITS);
    let rows = parse_csv(&succeeds(&["--log-sum-exp", DIGITS], b"").0);
    assert_eq!(rows.len(), 1797);
    for (row, logits) in rows.iter().zip(logits.chunks(10)) {
        assert_close(row, &[log_sum_exp(logits)]);
    }
}

#[test]
fn softmax_of_the_vocabulary() {
    let (_, logits) = read_npy(VOCABULARY);
    let (stdout, line) = succeeds(&[VOCABULARY], b"");
    let rows = parse_csv(&stdout);
    assert_eq!(rows.len(), 1);
    assert_close(&rows[0], &softmax(&logits));
    assert_contains(&line, &["1 rows × 30522 columns"]);
}

#[test]
fn a_forced_backend_gives_its_own_bits() {
    let (_, logits) = read_npy(DIGITS);
    for backend in Backend::available() {
        let (stdout, line) = succeeds(&["--backend", backend.name(), DIGITS], b"");
        assert_contains(&line, &[backend.name()]);
        let mut expected = vec![0.0; logits.len()];
        let softmax = Softmax::new().backend(backend).unwrap();
        softmax.rows(&logits, 10, &mut expected).unwrap();
        // CSV must lose nothing.
        assert_eq!(parse_csv(&stdout).concat(), expected, "{}", backend.name());
    }
}

#[test]
fn top_ranks_the_classes() {
    let (_, logits) = read_npy(DIGITS);
    let (stdout, _) = succeeds(&["--top", "3", DIGITS], b"");
    let table: Vec<Vec<&str>> = stdout
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(table[0], ["row", "rank", "class", "probability"]);
    assert_eq!(table.len(), 1 + 3 * 1797);
    for (row, logits) in logits.chunks(10).enumerate() {
        let mut ranked: Vec<(usize, f64)> = softmax(logits).into_iter().enumerate().collect();
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
        for (rank, &(class, probability)) in (1..=3).zip(&ranked) {
            let line = &table[3 * row + rank];
            assert_eq!(line[..3], [row, rank, class].map(|n| n.to_string()));
            assert!((line[3].parse::<f64>().unwrap() - probability).abs() <= 6e-7);
        }
    }
}

#[test]
fn top_breaks_ties_by_index_and_stops_at_the_last_class() {
    // The probabilities of the last two round to 0 alike; their logits differ.
    let (stdout, _) = succeeds(&["--top", "9"], b"1,1,-300,-200");
    let classes = stdout
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().nth(2));
    assert_eq!(
        classes.collect::<Option<Vec<_>>>().unwrap(),
        ["0", "1", "3", "2"]
    );
}

#[test]
fn help_is_on_standard_output() {
    for option in ["--help", "-h"] {
        let (status, stdout, stderr) = run(&[option], b"");
        assert_eq!((status, stderr.as_str()), (Some(0), ""));
        assert_contains(
            &stdout,
            &[
                "Usage:",
                "--log-sum-exp",
                "--top N",
                "--backend",
                "--axis N",
                "--scale X",
                "--lengths FILE",
                "--causal",
                "--fully-masked",
            ],
        );
    }
}

// Axis, scale and masks

/// The values that the example writes as .npy, of the shape of its input.
#[track_caller]
fn values(arguments: &[&str]) -> Vec<f32> {
    let folder = Folder::new();
    let output = folder.path("out.npy");
    succeeds(&[arguments, &["--output", &output]].concat(), b"");
    read_npy(&output).1
}

/// The same bits, but for those of NaN.
#[track_caller]
fn assert_same(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        let is_same = found.to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan();
        assert!(is_same, "{index}: {found} for {expected}");
    }
}

fn attention() -> (Vec<f32>, [usize; 3]) {
    let (shape, scores) = read_npy(ATTENTION);
    assert_eq!(shape, [3, 64, 64]);
    (scores, [57, 5, 42])
}

#[test]
fn any_axis() {
    let (_, digits) = read_npy(DIGITS);
    let mut expected = vec![0.0; digits.len()];
    let softmax = Softmax::new();
    softmax.axis(&digits, [1, 1797, 10], &mut expected).unwrap();
    assert_same(&values(&[DIGITS, "--axis", "0"]), &expected);
    for column in 0..10 {
        let sum: f64 = expected[column..]
            .iter()
            .step_by(10)
            .copied()
            .map(f64::from)
            .sum();
        assert!((sum - 1.0).abs() < 1e-4, "{sum}");
    }
    let (stdout, line) = succeeds(&[DIGITS, "--axis", "-2"], b"");
    assert_same(&parse_csv(&stdout).concat(), &expected);
    assert_contains(&line, &["axis -2 of shape [1797, 10], "]);

    let scores = attention().0;
    for (axis, shape) in [
        ("0", [1, 3, 64 * 64]),
        ("-3", [1, 3, 64 * 64]),
        ("1", [3, 64, 64]),
        ("2", [3 * 64, 64, 1]),
        ("-1", [3 * 64, 64, 1]),
    ] {
        let mut expected = vec![0.0; scores.len()];
        softmax.axis(&scores, shape, &mut expected).unwrap();
        assert_same(&values(&[ATTENTION, "--axis", axis]), &expected);
        softmax.log_axis(&scores, shape, &mut expected).unwrap();
        assert_same(&values(&[ATTENTION, "--axis", axis, "--log"]), &expected);
    }
    assert_eq!(
        succeeds(&[DIGITS, "--axis", "1", "--top", "1"], b"").0,
        succeeds(&[DIGITS, "--top", "1"], b"").0
    );
    assert_eq!(
        succeeds(&[DIGITS, "--axis", "-1", "--log-sum-exp"], b"").0,
        succeeds(&[DIGITS, "--log-sum-exp"], b"").0
    );
}

#[test]
fn an_axis_of_an_empty_array() {
    let folder = Folder::new();
    let (input, output) = (folder.path("in.npy"), folder.path("out.npy"));
    let large = u64::MAX / 8;
    for (shape, axis) in [
        (&[2, 0, 3][..], "0"),
        (&[2, 0, 3], "1"),
        (&[0, large, large, 3], "0"),
    ] {
        write_empty_npy(&input, shape);
        succeeds(&[&input, "--axis", axis, "--output", &output], b"");
        assert_eq!(read_npy(&output).1, []);
    }
    write_npy(&input, "<f4", (&[], Order::C), &[1.0_f32]);
    assert_contains(
        &fails(&[&input, "--axis", "0"], b""),
        &["--axis 0: ", "[], which has 0"],
    );
}

/// By hand, as the writer multiplies the dimensions.
fn write_empty_npy(path: &str, shape: &[u64]) {
    let dimensions: String = shape.iter().map(|n| format!("{n}, ")).collect();
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({dimensions})}}\n");
    let length = u16::try_from(header.len()).unwrap().to_le_bytes();
    let bytes = [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes()].concat();
    fs::write(path, bytes).unwrap();
}

#[test]
fn scaled() {
    let (_, digits) = read_npy(DIGITS);
    for scale in ["0.125", "-1e0", "0"] {
        let softmax = Softmax::new().scale(scale.parse().unwrap());
        let mut expected = vec![0.0; digits.len()];
        softmax.rows(&digits, 10, &mut expected).unwrap();
        assert_same(&values(&[DIGITS, "--scale", scale]), &expected);
        softmax.log_rows(&digits, 10, &mut expected).unwrap();
        assert_same(&values(&[DIGITS, "--scale", scale, "--log"]), &expected);
        softmax.axis(&digits, [1, 1797, 10], &mut expected).unwrap();
        assert_same(
            &values(&[DIGITS, "--scale", scale, "--axis", "0"]),
            &expected,
        );
        let mut expected = vec![0.0; 1797];
        softmax
            .log_sum_exp_rows(&digits, 10, &mut expected)
            .unwrap();
        assert_same(
            &values(&[DIGITS, "--scale", scale, "--log-sum-exp"]),
            &expected,
        );
    }
}

#[test]
fn masked_to_the_lengths_of_the_sentences() {
    let (scores, lengths) = attention();
    let found = values(&[ATTENTION, "--lengths", LENGTHS]);
    for (item, length) in lengths.into_iter().enumerate() {
        let rows = item * 64 * 64..(item + 1) * 64 * 64;
        let masked = Softmax::new().mask(Mask::Length(length));
        let mut expected = vec![0.0; 64 * 64];
        masked
            .rows(&scores[rows.clone()], 64, &mut expected)
            .unwrap();
        assert_same(&found[rows.clone()], &expected);
        for (row, scores) in found[rows.clone()].chunks(64).zip(scores[rows].chunks(64)) {
            let (seen, masked) = row.split_at(length);
            let sum: f64 = seen.iter().copied().map(f64::from).sum();
            assert!(
                (sum - 1.0).abs() <= 64.0 * 2.0 * f64::from(2.0_f32.powi(-24)),
                "{sum}"
            );
            assert_close(seen, &softmax(&scores[..length]));
            assert!(masked.iter().all(|probability| probability.to_bits() == 0));
        }
    }
}

#[test]
fn masked_causally() {
    let scores = attention().0;
    let found = values(&[ATTENTION, "--causal"]);
    let causal = Softmax::new().mask(Mask::Causal { first: 0 });
    for (found, scores) in found.chunks(64 * 64).zip(scores.chunks(64 * 64)) {
        let mut expected = vec![0.0; 64 * 64];
        causal.rows(scores, 64, &mut expected).unwrap();
        assert_same(found, &expected);
        for (row, probabilities) in found.chunks(64).enumerate() {
            let (seen, masked) = probabilities.split_at(row + 1);
            assert_close(seen, &softmax(&scores[row * 64..][..=row]));
            assert!(masked.iter().all(|probability| probability.to_bits() == 0));
        }
    }
}

#[test]
fn masked_both_ways_and_scaled() {
    let (scores, lengths) = attention();
    let options = [
        ATTENTION,
        "--lengths",
        LENGTHS,
        "--causal",
        "--scale",
        "-0.5",
    ];
    let with = |more: &[&str]| values(&[&options, more].concat());
    let [mut rows, mut log_rows] = [(); 2].map(|()| vec![0.0; scores.len()]);
    let mut log_sum_exps = Vec::new();
    let mut table = String::new();
    for (item, length) in lengths.into_iter().enumerate() {
        for row in item * 64..(item + 1) * 64 {
            let softmax = Softmax::new()
                .scale(-0.5)
                .mask(Mask::Length(length))
                .mask(Mask::Causal { first: row % 64 });
            let places = row * 64..(row + 1) * 64;
            let scores = &scores[places.clone()];
            softmax.row(scores, &mut rows[places.clone()]).unwrap();
            softmax.log_row(scores, &mut log_rows[places]).unwrap();
            log_sum_exps.push(softmax.log_sum_exp(scores).unwrap());
            let mut best = [Candidate::default(); 7];
            let (_, best) = softmax.top_k(scores, &mut best).unwrap();
            for (candidate, rank) in best.iter().zip(1..) {
                let (index, probability) = (candidate.index, candidate.probability);
                table += &format!("{row:8} {rank:6} {index:7} {probability:12.6}\n");
            }
        }
    }
    assert_same(&with(&[]), &rows);
    assert_same(&with(&["--log"]), &log_rows);
    assert_same(&with(&["--log-sum-exp"]), &log_sum_exps);
    let found = succeeds(&[&options[..], &["--top", "7"]].concat(), b"").0;
    for (found, expected) in found.lines().skip(1).zip(table.lines()) {
        assert_eq!(found[..24], expected[..24]);
        let [found, expected] = [found, expected].map(|line| line[24..].trim().parse::<f64>());
        // The last digit may be rounded the other way.
        assert!((found.unwrap() - expected.unwrap()).abs() <= 1.1e-6);
    }
    assert_eq!(found.lines().count(), 1 + 3 * 64 * 7);
}

#[test]
fn items_of_more_than_a_matrix_have_the_same_length() {
    let folder = Folder::new();
    let (input, lengths) = (folder.path("in.npy"), folder.path("lengths.npy"));
    let logits: Vec<f32> = (0..120).map(|i| (i * i % 23) as f32 / 4.0).collect();
    write_npy(&input, "<f4", (&[2, 3, 4, 5], Order::C), &logits);
    write_npy(&lengths, "<i8", (&[2], Order::C), &[4_i64, 2]);
    let found = values(&[&input, "--causal", "--lengths", &lengths]);
    for (row, (found, logits)) in found.chunks(5).zip(logits.chunks(5)).enumerate() {
        let seen = [4, 2][row / 12].min(row % 4 + 1);
        assert_close(&found[..seen], &softmax(&logits[..seen]));
        assert_eq!(found[seen..], [0.0; 5][seen..]);
    }
}

#[test]
fn lengths_of_csv_rows_and_of_every_type() {
    let folder = Folder::new();
    let path = folder.path("lengths.npy");
    let text = b"0,0,0\n0,0,0\n0,0,0\n";
    let third = 1.0_f32 / 3.0;
    let expected = format!("0.5,0.5,0\nNaN,NaN,NaN\n{third},{third},{third}\n");
    let check = || {
        let options = ["--lengths", &path];
        assert_eq!(succeeds(&options, text).0, expected);
        let zero = succeeds(&[&options[..], &["--fully-masked", "zero"]].concat(), text).0;
        assert_eq!(zero, expected.replace("NaN", "0"));
        let nan = succeeds(&[&options[..], &["--fully-masked", "nan"]].concat(), text).0;
        assert_eq!(nan, expected);
        let causal = succeeds(&[&options[..], &["--causal"]].concat(), text).0;
        assert_eq!(causal, expected.replace("0.5,0.5,0", "1,0,0"));
    };
    let shape = (&[3][..], Order::C);
    write_npy(&path, "|i1", shape, &[2_i8, 0, 3]);
    check();
    write_npy(&path, "<i2", shape, &[2_i16, 0, 3]);
    check();
    write_npy(&path, ">i4", shape, &[2_i32, 0, 3]);
    check();
    write_npy(&path, ">i8", shape, &[2_i64, 0, 3]);
    check();
    write_npy(&path, "|u1", shape, &[2_u8, 0, 3]);
    check();
    write_npy(&path, ">u2", shape, &[2_u16, 0, 3]);
    check();
    write_npy(&path, "<u4", shape, &[2_u32, 0, 3]);
    check();
    write_npy(&path, "<u8", shape, &[2_u64, 0, 3]);
    check();
}

#[test]
fn fully_masked_rows_as_asked() {
    let text = b"-inf,-inf\n0,0\n";
    for (name, results) in [("zero", FullyMasked::Zero), ("nan", FullyMasked::Nan)] {
        let softmax = Softmax::new().fully_masked(results);
        let logits = [f32::NEG_INFINITY, f32::NEG_INFINITY, 0.0, 0.0];
        let mut expected = [1.0; 4];
        softmax.log_rows(&logits, 2, &mut expected).unwrap();
        let (stdout, _) = succeeds(&["--fully-masked", name, "--log"], text);
        assert_same(&parse_csv(&stdout).concat(), &expected);
    }
}

#[test]
fn masked_classes_rank_last() {
    let (stdout, _) = succeeds(&["--causal", "--top", "2"], b"1,2,3\n1,9,nan\n");
    let lines: Vec<&str> = stdout.lines().skip(1).collect();
    let expected = [
        "       0      1       0     1.000000",
        "       0      2       1     0.000000",
        "       1      1       1     0.999665",
        "       1      2       0     0.000335",
    ];
    assert_eq!(lines, expected);
}

// .npy

#[test]
fn npy_keeps_its_shape() {
    let folder = Folder::new();
    let (input, output) = (folder.path("in.npy"), folder.path("out.npy"));
    let shapes: [&[u64]; 7] = [
        &[],
        &[5],
        &[3, 1],
        &[2, 3, 4],
        &[2, 1, 3, 2],
        &[0, 4],
        &[2, 0, 3],
    ];
    for shape in shapes {
        let count = shape.iter().product::<u64>() as usize;
        let columns = shape.last().map_or(1, |&n| n as usize);
        let logits: Vec<f32> = (0..count).map(|i| (i * i % 7) as f32 - 3.5).collect();
        write_npy(&input, "<f4", (shape, Order::C), &logits);

        succeeds(&[&input, "--output", &output], b"");
        let (found_shape, found) = read_npy(&output);
        assert_eq!(found_shape, shape);
        assert_close(
            &found,
            &logits.chunks(columns).flat_map(softmax).collect::<Vec<_>>(),
        );

        succeeds(&["--log-sum-exp", &input, "--output", &output], b"");
        let (found_shape, found) = read_npy(&output);
        assert_eq!(
            found_shape,
            shape.split_last().map_or(shape, |(_, outer)| outer)
        );
        assert_close(
            &found,
            &logits.chunks(columns).map(log_sum_exp).collect::<Vec<_>>(),
        );
    }
    assert_eq!(folder.names(), ["in.npy", "out.npy"].map(PathBuf::from));
}

#[test]
fn npy_of_either_type_byte_order_and_axis_order() {
    let folder = Folder::new();
    let [f4, f8, big_f4, big_f8, fortran] =
        ["f4", "f8", "big_f4", "big_f8", "fortran"].map(|name| folder.path(&format!("{name}.npy")));
    let shape: &[u64] = &[2, 3, 4];
    let logits: Vec<f64> = (0..24).map(|i| f64::from(i * i % 11) / 3.0).collect();
    let rounded: Vec<f32> = logits.iter().map(|&logit| logit as f32).collect();
    write_npy(&f4, "<f4", (shape, Order::C), &rounded);
    write_npy(&f8, "<f8", (shape, Order::C), &logits);
    write_npy(&big_f4, ">f4", (shape, Order::C), &rounded);
    write_npy(&big_f8, ">f8", (shape, Order::C), &logits);
    let mut transposed = Vec::new();
    for k in 0..4 {
        for j in 0..3 {
            transposed.extend((0..2).map(|i| rounded[(i * 3 + j) * 4 + k]));
        }
    }
    write_npy(&fortran, "<f4", (shape, Order::Fortran), &transposed);

    let (expected, line) = succeeds(&[&f4], b"");
    assert_contains(&line, &["6 rows × 4 columns"]);
    for (row, logits) in parse_csv(&expected).iter().zip(rounded.chunks(4)) {
        assert_close(row, &softmax(logits));
    }
    for path in [&f8, &big_f4, &big_f8, &fortran] {
        assert_eq!(succeeds(&[path], b"").0, expected, "{path}");
    }
}

#[test]
fn npy_from_standard_input() {
    let bytes = fs::read(DIGITS).unwrap();
    assert_eq!(succeeds(&["-"], &bytes).0, succeeds(&[DIGITS], b"").0);
}

// CSV

#[test]
fn csv_from_standard_input_and_file() {
    let folder = Folder::new();
    let (file, output) = (folder.path("logits.txt"), folder.path("probabilities.csv"));
    let text = b"1,2,3\r\n\r\n\"0\", 0.0 ,+0e3\n-1.5,1e1,.5";
    let (expected, line) = succeeds(&[], text);
    assert_contains(&line, &["3 rows × 3 columns"]);
    let rows = parse_csv(&expected);
    let logits = [[1.0, 2.0, 3.0], [0.0; 3], [-1.5, 10.0, 0.5]];
    assert_eq!(rows.len(), 3);
    for (row, logits) in rows.iter().zip(logits) {
        assert_close(row, &softmax(&logits));
    }
    fs::write(&file, text).unwrap();
    assert_eq!(succeeds(&["-"], text).0, expected);
    assert_eq!(succeeds(&[&file], b"").0, expected);
    assert_eq!(succeeds(&[&file, "--output", &output], b"").0, "");
    assert_eq!(fs::read_to_string(output).unwrap(), expected);
}

#[test]
fn csv_has_nan_and_infinities() {
    let text = b"nan,1\ninf,0\n-inf,0\n-inf,-inf\nNaN,-Infinity\n";
    let (stdout, _) = succeeds(&[], text);
    assert_eq!(stdout, "NaN,NaN\nNaN,NaN\n0,1\nNaN,NaN\nNaN,NaN\n");
    let (stdout, _) = succeeds(&["--log"], text);
    assert_eq!(stdout, "NaN,NaN\nNaN,NaN\n-inf,0\nNaN,NaN\nNaN,NaN\n");
    let (stdout, _) = succeeds(&["--log-sum-exp"], text);
    assert_eq!(stdout, "NaN\ninf\n0\n-inf\nNaN\n");
}

// Errors

#[test]
fn arguments_are_refused() {
    for (arguments, parts) in [
        (
            &["--top", "2", "--log"][..],
            &["--top", "--log", "exclude"][..],
        ),
        (
            &["--log", "--log-sum-exp"],
            &["--log and --log-sum-exp exclude"],
        ),
        (
            &["--top", "2", "--output", "a.csv"],
            &["--top", "--output", "exclude"],
        ),
        (&["--top", "0"], &["--top", "\"0\"", "from 1"]),
        (&["--top", "few"], &["--top", "\"few\""]),
        (&["--top"], &["--top"]),
        (
            &["--output", "a.txt"],
            &["--output", "a.txt", ".npy or .csv"],
        ),
        (
            &["--output", "npy"],
            &["--output", "\"npy\"", ".npy or .csv"],
        ),
        (
            &["--backend", "sse9"],
            &["--backend", "sse9", "scalar", "avx512"],
        ),
        (&["--axis", "last"], &["--axis", "\"last\"", "whole number"]),
        (&["--scale", "half"], &["--scale", "\"half\"", "number"]),
        (
            &["--fully-masked", "one"],
            &["--fully-masked", "\"one\"", "zero or nan"],
        ),
        (&["--lengths"], &["--lengths"]),
        (&["--causal=yes"], &["--causal"]),
        (&["--axis", "2"], &["--axis 2: ", "[1, 2]", "has 2"]),
        (&["--axis", "-3"], &["--axis -3: ", "[1, 2]", "has 2"]),
        (
            &["--axis", "0", "--top", "1"],
            &["--axis 0: --top ", "last", "here 1"],
        ),
        (
            &["--axis", "-2", "--log-sum-exp"],
            &["--axis -2: --log-sum-exp ", "last", "here 1"],
        ),
        (
            &["--axis", "0", "--log", "--causal"],
            &["--axis 0: --causal ", "last", "here 1"],
        ),
        (
            &["--axis", "0", "--lengths", LENGTHS],
            &["--axis 0: --lengths ", "last", "here 1"],
        ),
        (&["--sideways"], &["--sideways"]),
        (&["--log=yes"], &["--log"]),
        (&["one.csv", "two.csv"], &["two.csv"]),
    ] {
        assert_contains(&fails(arguments, b"1,2"), parts);
    }
}

#[test]
fn an_unavailable_backend_is_refused() {
    // No machine has both, so that this tests something everywhere.
    let absent = [Backend::Avx512, Backend::Avx2, Backend::Neon]
        .into_iter()
        .find(|backend| !backend.is_available())
        .unwrap();
    let line = fails(&["--backend", absent.name()], b"1,2");
    assert_contains(&line, &["--backend", absent.name(), Backend::best().name()]);
}

#[test]
fn csv_errors_name_line_and_column() {
    let folder = Folder::new();
    let input = folder.path("logits.csv");
    for (text, parts) in [
        (&b"1,2\n3,x\n"[..], &["line 2, column 2: ", "\"x\""][..]),
        (
            b"1,2\r\n\r\n\r\ny\x07,4\r\n",
            &["line 4, column 1: ", "\"y\\u{7}\""],
        ),
        (b"1,\n", &["line 1, column 2: ", "\"\""]),
        (b"\n\na,b,c\n1,2,3\n", &["line 3, column 1: ", "\"a\""]),
        (b"1\n\xff\xfe\n", &["line 2, column 1: "]),
        (b"1,2,3\n4,5\n", &["line 2: ", "3 columns", "found 2"]),
        (
            b"1,2\r\n3,4\r\n5,6,7\r\n",
            &["line 3: ", "2 columns", "found 3"],
        ),
        (b"", &["no", "rows"]),
        (b"\n\n", &["no", "rows"]),
    ] {
        let line = fails(&[], text);
        assert_contains(&line, parts);
        assert!(line.starts_with("standard input: "), "{line}");
        fs::write(&input, text).unwrap();
        assert_eq!(
            line.replace("standard input", &input),
            fails(&[&input], b"")
        );
    }
}

#[test]
fn npy_errors_name_the_file() {
    let folder = Folder::new();
    let path = folder.path("bad.npy");
    let check = |parts: &[&str]| {
        let line = fails(&[&path], b"");
        assert!(line.starts_with(&path), "{line}");
        assert_contains(&line, parts);
    };
    write_npy(&path, "<i8", (&[2], Order::C), &[1_i64, 2]);
    check(&["f4 or f8", "'<i8'"]);
    write_npy(&path, "<f4", (&[3, 0], Order::C), &[0.0_f32; 0]);
    check(&["column", "[3, 0]"]);

    let digits = fs::read(DIGITS).unwrap();
    fs::write(&path, &digits[..digits.len() - 1]).unwrap();
    check(&["[1797, 10]", "71879"]);
    fs::write(&path, [&digits[..], b"0"].concat()).unwrap();
    check(&["[1797, 10]", "71881"]);
    for garbage in [
        &b""[..],
        b"1,2\n",
        &digits[..20],
        b"\x93NUMPY\x01\x00\x07\x00{'a': \n",
    ] {
        fs::write(&path, garbage).unwrap();
        check(&[".npy header"]);
    }
    fs::remove_file(&path).unwrap();
    check(&[]);
    fs::create_dir(&path).unwrap();
    check(&[]);
}

#[test]
fn lengths_that_do_not_fit_are_refused() {
    let folder = Folder::new();
    let (path, output) = (folder.path("lengths.npy"), folder.path("out.npy"));
    let check = |parts: &[&str]| {
        let line = fails(&[ATTENTION, "--lengths", &path, "--output", &output], b"");
        assert!(line.starts_with(&path), "{line}");
        assert_contains(&line, parts);
        assert!(!folder.names().contains(&PathBuf::from("out.npy")));
        // Nor is a part of it written to standard output.
        assert_eq!(fails(&[ATTENTION, "--lengths", &path], b""), line);
    };
    check(&[]); // It is not there.
    write_npy(&path, "<i8", (&[2], Order::C), &[1_i64, 2]);
    check(&["shape [3]", "found [2]"]);
    write_npy(&path, "<i8", (&[3, 1], Order::C), &[1_i64, 2, 3]);
    check(&["shape [3]", "found [3, 1]"]);
    write_npy(&path, "<i8", (&[3], Order::C), &[64_i64, 0, -1]);
    check(&["item 2: ", "from 0 to 64", "found -1"]);
    write_npy(&path, "<i4", (&[3], Order::C), &[64, 65, -1]);
    check(&["item 1: ", "from 0 to 64", "found 65"]);
    write_npy(&path, "<u8", (&[3], Order::C), &[u64::MAX; 3]);
    check(&["item 0: ", "from 0 to 64", "found 18446744073709551615"]);
    write_npy(&path, "<f4", (&[3], Order::C), &[1.0_f32; 3]);
    check(&["integers", "'<f4'"]);
    fs::write(&path, "1,2,3\n").unwrap();
    check(&[".npy header"]);
    let lengths = fs::read(LENGTHS).unwrap();
    fs::write(&path, &lengths[..lengths.len() - 1]).unwrap();
    check(&["8 bytes", "[3]", "found 23"]);
}

#[test]
fn masks_of_a_single_row_are_refused() {
    let folder = Folder::new();
    let path = folder.path("row.npy");
    write_npy(&path, "<f4", (&[3], Order::C), &[0.0_f32; 3]);
    for option in [&["--causal"][..], &["--lengths", LENGTHS]] {
        let line = fails(&[&[&path[..]], option].concat(), b"");
        assert_contains(&line, &[option[0], ": ", "two axes", "[3]"]);
    }
}

#[test]
fn a_large_shape_in_a_small_file_is_refused() {
    let folder = Folder::new();
    let path = folder.path("large.npy");
    // The bytes of the values are 2⁶⁴.
    let header = "{'descr': '<f8', 'fortran_order': False, 'shape': (1073741824, 2147483648)}\n";
    let length = u16::try_from(header.len()).unwrap().to_le_bytes();
    let bytes = [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes()].concat();
    fs::write(&path, bytes).unwrap();
    assert_contains(&fails(&[&path], b""), &[&path, "[1073741824, 2147483648]"]);
}

#[test]
fn an_error_leaves_no_output_behind() {
    let folder = Folder::new();
    for output in ["out.csv", "out.npy"].map(|name| folder.path(name)) {
        fails(&["--output", &output], b"1,2\n3\n");
        fails(&["--output", &output, "--backend", "sse9"], b"1,2\n");
        assert!(folder.names().is_empty());
    }
    let output = folder.path("earlier.csv");
    fs::write(&output, "earlier").unwrap();
    fails(&["--output", &output], b"1,x\n");
    assert_eq!(fs::read_to_string(&output).unwrap(), "earlier");
    assert_eq!(folder.names(), [PathBuf::from("earlier.csv")]);
}

#[test]
fn an_output_that_cannot_be_made_is_named() {
    let folder = Folder::new();
    let output = folder.path("absent/out.csv");
    assert_contains(&fails(&["--output", &output], b"1,2"), &[&output]);
    let output = folder.path("folder.npy");
    fs::create_dir(&output).unwrap();
    assert_contains(&fails(&["--output", &output], b"1,2"), &[&output]);
    assert_eq!(folder.names(), [PathBuf::from("folder.npy")]);
}

#[test]
fn an_output_replaces_an_earlier_one_and_has_the_usual_permissions() {
    let folder = Folder::new();
    let output = folder.path("out.csv");
    fs::write(&output, "earlier").unwrap();
    let usual = fs::metadata(&output).unwrap().permissions();
    succeeds(&["--output", &output], b"0,0\n");
    assert_eq!(fs::read_to_string(&output).unwrap(), "0.5,0.5\n");
    assert_eq!(fs::metadata(&output).unwrap().permissions(), usual);
}

#[test]
fn a_closed_pipe_is_no_error() {
    let mut child = program()
        .arg(VOCABULARY)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The row is longer than a pipe holds, so that the program must meet the closed end.
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert_contains(&the_line(&stderr), &["30522 columns"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error() {
    // The second output is so short that only the last flush meets the end of the disk.
    for argument in [DIGITS, "--help"] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = program().arg(argument).stdout(full).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{argument}: {stderr}");
        assert_contains(&the_line(&stderr), &["standard output: "]);
    }
}

// Sampling

/// The exit status, standard output and standard error of the example `sample`.
fn sample(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = example("sample").args(arguments).output().unwrap();
    let [stdout, stderr] =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    (output.status.code(), stdout, stderr)
}

/// The tokens with their logits and probabilities, and the line about the run.
fn tokens(arguments: &[&str]) -> (Vec<(usize, f32, f32)>, String) {
    let (status, stdout, stderr) = sample(arguments);
    assert_eq!(status, Some(0), "{stderr}");
    let token = |line: &str| {
        let fields: Vec<&str> = line.split(' ').collect();
        let [index, logit, probability] = fields[..] else {
            panic!("{line}");
        };
        let numbers = [logit, probability].map(|field| field.parse().unwrap());
        (index.parse().unwrap(), numbers[0], numbers[1])
    };
    (
        stdout.lines().map(token).collect(),
        line_of("sample: ", &stderr),
    )
}

#[test]
fn a_hundred_tokens_of_the_vocabulary() {
    let (_, logits) = read_npy(VOCABULARY);
    let (drawn, line) = tokens(&[]);
    assert_eq!(drawn.len(), 100);
    assert_contains(
        &line,
        &["100 tokens", "30522", "µs each", Backend::best().name()],
    );
    let kept = Sampler::new().temperature(0.7).top_p(0.95).kept(&logits);
    for (index, logit, probability) in &drawn {
        assert_eq!(*logit, logits[*index]);
        assert!(kept.contains(*index, *logit));
        assert!(*probability > 0.0 && *probability < 1.0);
    }
    assert_eq!(tokens(&[VOCABULARY]).0, drawn, "a seed reproduces a text");
    assert_ne!(tokens(&["--seed", "2"]).0, drawn);
}

#[test]
fn tokens_of_any_rows_by_any_options() {
    let (_, logits) = read_npy(DIGITS);
    let most_probable: Vec<usize> = logits
        .chunks(10)
        .take(5)
        .map(|row| {
            let mut best = [Candidate::default()];
            Softmax::new().top_k(row, &mut best).unwrap().1[0].index
        })
        .collect();
    for options in [
        &["--temperature", "0"][..],
        &["--top-k", "1"],
        &["--top-p", "0"],
        &["--min-p", "1", "--backend", "portable"],
    ] {
        let (drawn, _) = tokens(&[options, &["--tokens", "5", DIGITS]].concat());
        let classes: Vec<usize> = drawn.iter().map(|(class, ..)| *class).collect();
        assert_eq!(classes, most_probable, "{options:?}");
        assert!(drawn.iter().all(|(_, _, probability)| *probability == 1.0));
    }
}

#[test]
fn sampling_says_what_is_wrong() {
    for (arguments, parts) in [
        (&["--tokens", "0"][..], &["--tokens 0"][..]),
        (&["--top-p", "x"], &["--top-p", "expected a number"]),
        (
            &["--top-p", "-1"],
            &["expected top-p to be at least 0", "-1"],
        ),
        (&["--temperature", "nan"], &["the temperature", "NaN"]),
        (&["--backend", "sse"], &["--backend", "expected one of"]),
        (&["--unknown"], &["--unknown"]),
        (&["missing.npy"], &["missing.npy"]),
    ] {
        let (status, stdout, stderr) = sample(arguments);
        assert_eq!((status, stdout.as_str()), (Some(2), ""), "{arguments:?}");
        assert_contains(&line_of("sample: ", &stderr), parts);
    }
    let (status, stdout, _) = sample(&["--help"]);
    assert_eq!(status, Some(0));
    assert_contains(&stdout, &["Usage:", "--top-p X", "--seed N"]);
}

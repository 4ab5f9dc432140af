//! The rows with the largest errors that a search uphill found (`fuzz/src/bin/uphill.rs`), one for
//! each class of arithmetic, output and form, against the promised bounds. The docs of `rows` derive
//! them. The figures are those of the search; some rows were found when the bounds did not hold yet.

use online_softmax::Backend;
use support::oracle::Truth;
use support::{THOROUGH, is_fused, on, ulp};

support::on_every_backend!(worst_rows_are_within_bounds);

/// A line of `worst_rows.csv`.
struct Worst {
    is_fused: bool,
    output: String,
    form: String,
    /// The error that the search measured.
    ulps: f64,
    /// Equal logits side by side: each logit, and how many there are.
    runs: Vec<(f32, usize)>,
}

fn worst_rows() -> Vec<Worst> {
    let mut reader = csv::Reader::from_reader(&include_bytes!("worst_rows.csv")[..]);
    let rows = reader.records().map(|record| {
        let record = record.unwrap();
        let runs = record[4].split(' ').map(|run| {
            let (logit, count) = run.split_once('x').unwrap();
            (logit.parse().unwrap(), count.parse().unwrap())
        });
        Worst {
            is_fused: &record[0] == "fused",
            output: record[1].to_owned(),
            form: record[2].to_owned(),
            ulps: record[3].parse().unwrap(),
            runs: runs.collect(),
        }
    });
    rows.collect()
}

/// The bound that the crate promises. For the softmax it is proven.
fn bound(worst: &Worst) -> f64 {
    match (&worst.output[..], worst.is_fused) {
        ("Softmax", _) => 3.0,
        ("LogSoftmax", true) => 2.0,
        ("LogSoftmax", false) => 3.0,
        ("LogSumExp", _) => 2.0,
        other => panic!("{other:?}"),
    }
}

/// The results of a row, by the form: for rows one alone, and as the last of a matrix.
fn results(backend: Backend, worst: &Worst, row: &[f32]) -> Vec<Vec<f32>> {
    const ROWS: usize = 17;
    let softmax = on(backend);
    let mut alone = vec![f32::NAN; row.len()];
    let is_log = worst.output == "LogSoftmax";
    if worst.form == "Columns" {
        let data: Vec<f32> = row.iter().flat_map(|logit| [*logit; 2]).collect();
        let mut out = vec![f32::NAN; data.len()];
        let shape = [1, row.len(), 2];
        if is_log {
            softmax.log_axis(&data, shape, &mut out).unwrap();
        } else {
            softmax.axis(&data, shape, &mut out).unwrap();
        }
        return vec![out.chunks_exact(2).map(|pair| pair[1]).collect()];
    }
    if worst.output == "LogSumExp" {
        return vec![vec![softmax.log_sum_exp(row).unwrap()]];
    }
    let matrix = row.repeat(if row.len() > 300 { 1 } else { ROWS });
    let mut of_matrix = vec![f32::NAN; matrix.len()];
    if is_log {
        softmax.log_row(row, &mut alone).unwrap();
        let columns = row.len();
        softmax.log_rows(&matrix, columns, &mut of_matrix).unwrap();
    } else {
        softmax.row(row, &mut alone).unwrap();
        softmax.rows(&matrix, row.len(), &mut of_matrix).unwrap();
    }
    let last = of_matrix.split_off(of_matrix.len() - row.len());
    vec![alone, of_matrix.into_iter().take(row.len()).collect(), last]
}

/// The largest error of the results.
fn error(worst: &Worst, row: &[f32], truth: &Truth, results: &[f32]) -> f64 {
    if worst.output == "LogSumExp" {
        return ulp::error_above_one(results[0], truth.log_sum_exp());
    }
    let errors = row.iter().zip(results).map(|(logit, result)| {
        let truth = if worst.output == "Softmax" {
            truth.probability(*logit)
        } else {
            truth.log_probability(*logit)
        };
        if worst.output != "Softmax" {
            ulp::error(*result, truth)
        } else if truth < support::Bounds::SMALL {
            0.0
        } else {
            ulp::error(*result, truth)
        }
    });
    errors.fold(0.0, f64::max)
}

/// Longer rows take an unoptimised build minutes.
const LONGEST: usize = if THOROUGH { usize::MAX } else { 1 << 14 };

fn worst_rows_are_within_bounds(backend: Backend) {
    for worst in worst_rows() {
        if worst.runs.iter().map(|(_, count)| count).sum::<usize>() > LONGEST {
            continue;
        }
        let logits = worst.runs.iter();
        let row: Vec<f32> = logits
            .flat_map(|(logit, count)| std::iter::repeat_n(*logit, *count))
            .collect();
        let truth = Truth::of_runs(&worst.runs);
        let largest = results(backend, &worst, &row)
            .iter()
            .filter(|results| !results.is_empty())
            .map(|results| error(&worst, &row, &truth, results))
            .fold(0.0, f64::max);
        let what = format!(
            "{}: {} of {}, {} ULP when found, {largest}",
            backend.name(),
            worst.output,
            worst.form,
            worst.ulps
        );
        println!("{what}");
        // Rows of the other class are rows like any.
        let bound = bound(&Worst {
            is_fused: is_fused(backend),
            ..worst
        });
        assert!(largest <= bound, "{what}");
    }
}

/// The oracle of runs is that of rows.
#[test]
fn runs_have_the_truth_of_their_rows() {
    for runs in [
        &[(0.5, 1), (0.25, 3)][..],
        &[(-3.0, 2), (1.0, 2), (-0.0, 5)],
        &[(7.0, 1)],
        &[(-90.0, 4), (10.0, 3)],
    ] {
        let logits = runs.iter();
        let row: Vec<f32> = logits
            .flat_map(|(logit, count)| std::iter::repeat_n(*logit, *count))
            .collect();
        let (of_runs, of_row) = (Truth::of_runs(runs), Truth::of(&row));
        let ratio = of_runs.denominator() / of_row.denominator();
        assert!((ratio - 1.0).abs() < 1e-14, "{runs:?}");
        let difference = of_runs.log_probability(runs[0].0) - of_row.log_probability(runs[0].0);
        assert!(difference.abs() <= 1e-14, "{runs:?}");
    }
}

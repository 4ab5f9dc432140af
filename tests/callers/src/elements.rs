//! The type of the elements is left to inference.

use crate::{QUARTER_AND_REST, is_quarter_and_rest};
use online_softmax::{Normalizer, Softmax, Stream, softmax};

#[test]
fn an_empty_literal() {
    assert_eq!(Softmax::new().log_sum_exp(&[]), Ok(f32::NEG_INFINITY));
}

#[test]
fn empty_literals_in_and_out() {
    let normalizer = Softmax::new().row(&[], &mut []).unwrap();
    assert_eq!(normalizer, Normalizer::new());
    assert!(Softmax::new().rows(&[], 3, &mut []).is_ok());
}

#[test]
fn an_empty_literal_in_place() {
    let normalizer = Softmax::new().row_in_place(&mut []).unwrap();
    assert_eq!(normalizer, Normalizer::default());
}

#[test]
fn an_empty_vector_without_a_type() {
    let logits = Vec::new();
    let normalizer = Softmax::new().normalizer(&logits).unwrap();
    assert_eq!(normalizer, Normalizer::new());
}

#[test]
fn float_literals() {
    let mut probabilities = [0.0; 2];
    Softmax::new().row(&[3.0, 3.0], &mut probabilities).unwrap();
    assert_eq!(probabilities, [0.5; 2]);
}

#[test]
fn negative_literals_and_an_infinity() {
    let mut probabilities = [0.0; 3];
    Softmax::new()
        .row(&[-1.0, f32::NEG_INFINITY, -1.0], &mut probabilities)
        .unwrap();
    assert_eq!(probabilities, [0.5, 0.0, 0.5]);
}

#[test]
fn logits_that_are_parsed() {
    let logits: Vec<_> = "0.5 0.5 0.5 0.5"
        .split_whitespace()
        .map(|word| word.parse().unwrap())
        .collect();
    let mut probabilities = vec![0.0; logits.len()];
    Softmax::new().row(&logits, &mut probabilities).unwrap();
    assert_eq!(probabilities, [0.25; 4]);
}

#[test]
fn a_literal_of_what_is_parsed() {
    let sum = Softmax::new().log_sum_exp(&["1.5".parse().unwrap()]);
    assert_eq!(sum, Ok(1.5));
}

#[test]
fn results_of_default() {
    let mut probabilities = [Default::default(); 2];
    Softmax::new()
        .row(&QUARTER_AND_REST, &mut probabilities)
        .unwrap();
    assert!(is_quarter_and_rest(&probabilities));
}

#[test]
fn a_whole_array_of_default() {
    let mut sums: [_; 2] = Default::default();
    Softmax::new()
        .log_sum_exp_rows(&[2.5, 0.5], 1, &mut sums)
        .unwrap();
    assert_eq!(sums, [2.5, 0.5]);
}

#[test]
fn results_of_a_vector_macro() {
    let mut log_probabilities = vec![0.0; 1];
    Softmax::new()
        .log_row(&[7.0], &mut log_probabilities)
        .unwrap();
    assert_eq!(log_probabilities, [0.0]);
}

#[test]
fn integers_mapped_by_into() {
    let mut probabilities = [0.0; 2];
    Softmax::new()
        .row(&[2_i16, 2].map(|v| v.into()), &mut probabilities)
        .unwrap();
    assert_eq!(probabilities, [0.5; 2]);
}

#[test]
fn bytes_collected_by_into() {
    let bytes: &[u8] = &[9, 9, 9, 9];
    let logits = bytes.iter().copied().map(Into::into).collect::<Vec<_>>();
    let mut probabilities = vec![0.0; 4];
    Softmax::new().row(&logits, &mut probabilities).unwrap();
    assert_eq!(probabilities, [0.25; 4]);
}

#[test]
fn an_array_from_a_function_with_a_cast() {
    let logits: [_; 4] = std::array::from_fn(|i| (i / 4) as _);
    let mut probabilities = [0.0; 4];
    Softmax::new().row(&logits, &mut probabilities).unwrap();
    assert_eq!(probabilities, [0.25; 4]);
}

#[test]
fn a_cast_in_a_literal() {
    let sum = Softmax::new().log_sum_exp(&[f64::from(3) as _]);
    assert_eq!(sum, Ok(3.0));
}

#[test]
fn a_sum_in_a_literal() {
    let halves = [0.5_f32; 4];
    let sum = Softmax::new().log_sum_exp(&[halves.iter().sum()]);
    assert_eq!(sum, Ok(2.0));
}

#[test]
fn a_product_in_a_literal() {
    let loss = Softmax::new().cross_entropy(&[[0.5_f32, 4.0].iter().product()], 0);
    assert_eq!(loss, Ok(0.0));
}

#[test]
fn zeros_extended_and_pushed() {
    let mut logits = Vec::with_capacity(3);
    logits.extend([1.0; 2]);
    logits.push(f32::NEG_INFINITY);
    let mut probabilities = [0.0; 3];
    Softmax::new().row(&logits, &mut probabilities).unwrap();
    assert_eq!(probabilities, [0.5, 0.5, 0.0]);
}

#[test]
fn a_stream_of_nothing() {
    let mut stream = Stream::new();
    stream.extend(&[]);
    stream.extend(&["2".parse().unwrap()]);
    stream.extend(&Vec::new());
    assert_eq!(stream.finish().log_sum_exp(), 2.0);
}

#[test]
fn a_row_and_an_axis_of_default() {
    let mut data = [Default::default(); 4];
    Softmax::new().axis_in_place(&mut data, [1, 2, 2]).unwrap();
    assert_eq!(data, [0.5; 4]);
}

#[test]
fn elements_of_tuples() {
    let (logits, targets): (Vec<_>, Vec<_>) = [(4.0, 0), (4.0, 1)].into_iter().unzip();
    let loss = Softmax::new().cross_entropy(&logits, targets[1]).unwrap();
    assert!((loss - std::f32::consts::LN_2).abs() < 1e-6);
}

#[test]
fn arithmetic_on_a_result() {
    let mut probabilities = [0.0; 2];
    softmax(&[1.0, 1.0], &mut probabilities).unwrap();
    let percent = probabilities.map(|probability| 100.0 * probability);
    assert_eq!(percent, [50.0; 2]);
    let mut logs = [0.0; 2];
    Softmax::new().log_row(&percent, &mut logs).unwrap();
    let total: f32 = logs.iter().map(|log| log.exp()).sum();
    assert!((total - 1.0).abs() < 1e-6);
}

#[test]
fn a_method_of_the_result_without_a_type() {
    let mut probabilities = vec![Default::default(); 2];
    Softmax::new().row(&[0.0, 0.0], &mut probabilities).unwrap();
    let most = probabilities.iter().copied().fold(0.0, f32::max);
    assert_eq!(most, 0.5);
}

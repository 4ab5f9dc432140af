//! What the logits and the results are kept in.

use crate::{QUARTER_AND_REST, is_quarter_and_rest};
use online_softmax::{Error, Mask, Softmax, softmax, softmax_in_place};
use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;

#[test]
fn vectors() {
    let logits = QUARTER_AND_REST.to_vec();
    let mut probabilities = vec![0.0; logits.len()];
    Softmax::new().row(&logits, &mut probabilities).unwrap();
    assert!(is_quarter_and_rest(&probabilities));
}

#[test]
fn boxes() {
    let logits: Box<[f32]> = Box::new(QUARTER_AND_REST);
    let mut probabilities: Box<[_]> = vec![0.0; 2].into_boxed_slice();
    Softmax::new().row(&logits, &mut probabilities).unwrap();
    assert!(is_quarter_and_rest(&probabilities));
}

#[test]
fn shared_slices() {
    let logits: Rc<[f32]> = Rc::from(QUARTER_AND_REST);
    let more: Arc<[f32]> = Arc::from(&logits[..]);
    let mut probabilities = [0.0; 2];
    Softmax::new().row(&logits, &mut probabilities).unwrap();
    assert!(is_quarter_and_rest(&probabilities));
    Softmax::new().row(&more, &mut probabilities).unwrap();
    assert!(is_quarter_and_rest(&probabilities));
}

#[test]
fn a_cow() {
    let logits = Cow::from(&QUARTER_AND_REST[..]);
    let mut probabilities = [0.0; 2];
    Softmax::new().row(&logits, &mut probabilities).unwrap();
    assert!(is_quarter_and_rest(&probabilities));
}

#[test]
fn ranges() {
    let data = [9.0, 0.5, 0.5, 9.0];
    let mut results = vec![0.0; 4];
    let softmax = Softmax::new();
    softmax.row(&data[1..3], &mut results[2..]).unwrap();
    assert_eq!(results, [0.0, 0.0, 0.5, 0.5]);
}

#[test]
fn explicit_slices() {
    let logits = QUARTER_AND_REST.to_vec();
    let mut probabilities = vec![0.0; 2];
    Softmax::new()
        .row(logits.as_slice(), probabilities.as_mut_slice())
        .unwrap();
    assert!(is_quarter_and_rest(&probabilities));
}

#[test]
fn a_dereferenced_vector_in_place() {
    let mut row = QUARTER_AND_REST.to_vec();
    softmax_in_place(&mut row);
    assert!(is_quarter_and_rest(&row));
    let row: &mut Vec<_> = &mut QUARTER_AND_REST.to_vec();
    Softmax::new().row_in_place(&mut *row).unwrap();
    Softmax::new()
        .log_row_in_place(&mut QUARTER_AND_REST.to_vec())
        .unwrap();
    assert!(is_quarter_and_rest(row));
}

#[test]
fn rows_by_chunks() {
    let logits = [QUARTER_AND_REST; 3].concat();
    let mut probabilities = vec![0.0; logits.len()];
    for (row, results) in logits
        .chunks_exact(2)
        .zip(probabilities.chunks_exact_mut(2))
    {
        Softmax::new().row(row, results).unwrap();
    }
    assert!(probabilities.chunks_exact(2).all(is_quarter_and_rest));
}

#[test]
fn rows_of_an_array_of_arrays() {
    let logits = [QUARTER_AND_REST; 2];
    let mut probabilities = [[0.0; 2]; 2];
    let flat = probabilities.as_flattened_mut();
    Softmax::new().rows(logits.as_flattened(), 2, flat).unwrap();
    assert!(is_quarter_and_rest(&probabilities[1]));
    for (row, results) in logits.iter().zip(&mut probabilities) {
        Softmax::new().log_row(row, results).unwrap();
    }
    assert!(is_quarter_and_rest(&probabilities[0].map(f32::exp)));
}

#[test]
fn rows_of_a_vector_of_vectors() {
    let logits = vec![QUARTER_AND_REST.to_vec(); 2];
    let results: Vec<_> = logits
        .iter()
        .map(|row| {
            let mut results = vec![0.0; row.len()];
            Softmax::new().row(row, &mut results).unwrap();
            results
        })
        .collect();
    assert!(results.iter().all(|row| is_quarter_and_rest(row)));
}

#[test]
fn halves_of_one_buffer() {
    let mut buffer = [0.5, 0.5, 0.0, 0.0];
    let (logits, results) = buffer.split_at_mut(2);
    Softmax::new().row(logits, results).unwrap();
    assert_eq!(buffer, [0.5; 4]);
}

/// A struct of a caller, with a slice of it borrowed apart from the rest.
struct Layer {
    scores: Vec<f32>,
    weights: Vec<f32>,
    keep: [bool; 2],
}

#[test]
fn fields_of_a_struct() {
    let mut layer = Layer {
        scores: vec![1.0, 9.0],
        weights: vec![0.0; 2],
        keep: [true, false],
    };
    let softmax = Softmax::new().mask(Mask::Keep(&layer.keep));
    softmax.row(&layer.scores, &mut layer.weights).unwrap();
    assert_eq!(layer.weights, [1.0, 0.0]);
    let Layer { scores, .. } = &mut layer;
    Softmax::new().rows_in_place(scores, 1).unwrap();
    assert_eq!(layer.scores, [1.0; 2]);
}

/// A type that is a slice by `Deref`.
struct Tensor(Vec<f32>);

impl std::ops::Deref for Tensor {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.0
    }
}

impl std::ops::DerefMut for Tensor {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.0
    }
}

#[test]
fn a_type_that_is_a_slice_by_deref() {
    let logits = Tensor(QUARTER_AND_REST.to_vec());
    let mut results = Tensor(vec![0.0; 2]);
    Softmax::new().row(&logits, &mut results).unwrap();
    assert!(is_quarter_and_rest(&results));
    Softmax::new()
        .axis(&logits, [1, 2, 1], &mut results)
        .unwrap();
    assert!(is_quarter_and_rest(&results));
}

#[test]
fn lengths_that_differ() {
    let error = Softmax::new().row(&[1.0, 2.0], &mut []).unwrap_err();
    assert!(matches!(
        error,
        Error::LengthMismatch {
            expected: 2,
            given: 0
        }
    ));
    assert_eq!(
        softmax(&[1.0, 2.0], &mut [0.0]),
        Err(Error::LengthMismatch {
            expected: 2,
            given: 1
        })
    );
}

//! Functions and methods as values, in closures and in generic code.

use crate::{QUARTER_AND_REST, is_quarter_and_rest};
use online_softmax::{
    Backend, Error, Normalizer, Softmax, log_softmax, log_sum_exp, softmax, softmax_in_place,
};

#[test]
fn a_function_pointer() {
    let f: fn(&[f32], &mut [f32]) -> _ = softmax;
    let mut probabilities = [0.0; 2];
    assert!(f(&QUARTER_AND_REST, &mut probabilities).is_ok());
    assert!(is_quarter_and_rest(&probabilities));
}

#[test]
fn a_table_of_function_pointers() {
    type Operation = fn(&[f32], &mut [f32]) -> Result<Normalizer, Error>;
    let operations: [(&str, Operation); 2] = [("softmax", softmax), ("log-softmax", log_softmax)];
    for (name, operation) in operations {
        let mut results = [0.0; 2];
        operation(&QUARTER_AND_REST, &mut results).unwrap();
        assert_eq!(is_quarter_and_rest(&results), name == "softmax");
    }
}

#[test]
fn a_function_as_a_value() {
    let f = log_sum_exp;
    assert_eq!(f(&[1.5]), 1.5);
    assert_eq!(f(&[]), f32::NEG_INFINITY);
}

#[test]
fn a_function_given_to_map() {
    let rows = [[1.5], [2.5]];
    let sums: Vec<_> = rows.iter().map(|row| log_sum_exp(row)).collect();
    assert_eq!(sums, [1.5, 2.5]);
    let sums: Vec<_> = rows.as_flattened().chunks(1).map(log_sum_exp).collect();
    assert_eq!(sums, [1.5, 2.5]);
}

#[test]
fn a_function_given_to_for_each() {
    let mut rows = [0.0; 4];
    rows.chunks_mut(2).for_each(|row| {
        softmax_in_place(row);
    });
    assert_eq!(rows, [0.5; 4]);
}

#[test]
fn a_method_path() {
    let mut probabilities = [0.0; 2];
    Softmax::row(&Softmax::new(), &QUARTER_AND_REST, &mut probabilities).unwrap();
    assert!(is_quarter_and_rest(&probabilities));
}

#[test]
fn a_method_path_as_a_value() {
    let row = Softmax::row;
    let mut probabilities = [0.0; 2];
    row(&Softmax::default(), &[], &mut []).unwrap();
    row(&Softmax::new(), &QUARTER_AND_REST, &mut probabilities).unwrap();
    assert!(is_quarter_and_rest(&probabilities));
}

#[test]
fn a_method_path_as_a_function_pointer() {
    type Method = fn(&Softmax<'static>, &[f32], &mut [f32]) -> Result<Normalizer, Error>;
    let methods: [Method; 2] = [Softmax::row, Softmax::log_row];
    let mut results = [[0.0; 2]; 2];
    for (method, results) in methods.iter().zip(&mut results) {
        method(&Softmax::new(), &QUARTER_AND_REST, results).unwrap();
    }
    assert!(is_quarter_and_rest(&results[0]));
    assert!(is_quarter_and_rest(&results[1].map(f32::exp)));
}

#[test]
fn a_method_path_given_to_map() {
    let softmax = Softmax::new();
    let rows = [[1.5], [2.5]];
    let sums: Result<Vec<_>, _> = rows.iter().map(|row| softmax.log_sum_exp(row)).collect();
    assert_eq!(sums, Ok(vec![1.5, 2.5]));
    let states: Vec<_> = std::iter::repeat(&softmax)
        .zip(rows.as_flattened().chunks(1))
        .map(|(softmax, row)| Softmax::normalizer(softmax, row).unwrap())
        .map(|state| Normalizer::log_sum_exp(&state))
        .collect();
    assert_eq!(states, [1.5, 2.5]);
}

#[test]
fn a_closure_with_types_left_out() {
    let softmax = Softmax::new().scale(0.5);
    let of = |logits, probabilities| softmax.row(logits, probabilities);
    let mut probabilities = [0.0; 2];
    of(
        &QUARTER_AND_REST.map(|logit| 2.0 * logit),
        &mut probabilities,
    )
    .unwrap();
    assert!(is_quarter_and_rest(&probabilities));
}

#[test]
fn a_closure_that_makes_its_results() {
    let of = |logits: &[_]| {
        let mut probabilities = vec![0.0; logits.len()];
        Softmax::new()
            .row(logits, &mut probabilities)
            .map(|_| probabilities)
    };
    assert!(is_quarter_and_rest(&of(&QUARTER_AND_REST).unwrap()));
}

#[test]
fn a_boxed_closure() {
    type InPlace<'a> = Box<dyn Fn(&mut [f32]) -> Result<(), Error> + 'a>;
    let softmax = Softmax::new();
    let of: InPlace<'_> = Box::new(|rows| softmax.rows_in_place(rows, 2));
    let mut rows = QUARTER_AND_REST;
    of(&mut rows).unwrap();
    assert!(is_quarter_and_rest(&rows));
}

fn generic_over_a_reference(logits: impl AsRef<[f32]>, mut results: impl AsMut<[f32]>) {
    let softmax = Softmax::new();
    softmax.row(logits.as_ref(), results.as_mut()).unwrap();
}

#[test]
fn a_generic_function() {
    let mut probabilities = [0.0; 2];
    generic_over_a_reference(QUARTER_AND_REST, &mut probabilities);
    assert!(is_quarter_and_rest(&probabilities));
    generic_over_a_reference(vec![0.0, 0.0], &mut probabilities[..]);
    assert_eq!(probabilities, [0.5; 2]);
}

fn generic_over_a_function<F>(operation: F) -> [f32; 2]
where
    F: Fn(&[f32], &mut [f32]) -> Result<Normalizer, Error>,
{
    let mut results = [0.0; 2];
    operation(&QUARTER_AND_REST, &mut results).unwrap();
    results
}

#[test]
fn a_function_given_to_a_generic_one() {
    let softmax_of = Softmax::new();
    assert!(is_quarter_and_rest(&generic_over_a_function(softmax)));
    let results = generic_over_a_function(|logits, results| softmax_of.row(logits, results));
    assert!(is_quarter_and_rest(&results));
}

fn generic_over_a_number<T>(values: &[T]) -> f32
where
    T: Copy + Into<f32>,
{
    let logits: Vec<_> = values.iter().map(|value| (*value).into()).collect();
    Softmax::new().log_sum_exp(&logits).unwrap()
}

#[test]
fn a_function_generic_over_a_number() {
    assert_eq!(generic_over_a_number(&[3_u8]), 3.0);
    assert_eq!(generic_over_a_number(&[-3_i16]), -3.0);
}

/// A trait of a caller, for its own types and `Softmax`.
trait Activation {
    fn apply(&self, row: &mut [f32]);
}

impl Activation for Softmax<'_> {
    fn apply(&self, row: &mut [f32]) {
        self.row_in_place(row).unwrap();
    }
}

#[test]
fn a_trait_of_the_caller() {
    let activations: [Box<dyn Activation>; 1] = [Box::new(Softmax::new())];
    let mut row = QUARTER_AND_REST;
    activations[0].apply(&mut row);
    assert!(is_quarter_and_rest(&row));
}

fn with_a_question_mark(logits: &[f32]) -> Result<f32, Box<dyn std::error::Error>> {
    let softmax = Softmax::new().backend(Backend::Portable)?;
    let mut probabilities = vec![0.0; logits.len()];
    softmax.row(logits, &mut probabilities)?;
    let first = probabilities.first().ok_or("no logits")?;
    Ok(first + softmax.log_sum_exp(&[])?.exp())
}

#[test]
fn a_question_mark() {
    assert_eq!(with_a_question_mark(&[1.0, 1.0]).unwrap(), 0.5);
    assert!(with_a_question_mark(&[]).is_err());
}

#[test]
fn options_kept_in_a_constant_place() {
    fn softmax<'a>() -> &'a Softmax<'a> {
        static SOFTMAX: std::sync::OnceLock<Softmax> = std::sync::OnceLock::new();
        SOFTMAX.get_or_init(|| Softmax::new().scale(1.0))
    }
    let mut row = QUARTER_AND_REST;
    softmax().row_in_place(&mut row).unwrap();
    assert!(is_quarter_and_rest(&row));
}

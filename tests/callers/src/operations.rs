//! The operations beside the softmax of a row.

use crate::{QUARTER_AND_REST, is_quarter_and_rest};
use online_softmax::{
    Candidate, CrossEntropy, FullyMasked, Kept, Mask, Normalizer, Sampler, Softmax, Stream,
    cross_entropy, cross_entropy_gradient, softmax_gradient, top_k,
};

#[test]
fn rows_with_literals() {
    let mut probabilities = [0.0; 4];
    Softmax::new()
        .rows(&[1.0, 1.0, 5.0, 5.0], 2, &mut probabilities)
        .unwrap();
    assert_eq!(probabilities, [0.5; 4]);
}

#[test]
fn log_rows_of_what_is_parsed() {
    let logits: Vec<_> = "1,2".split(',').flat_map(str::parse).collect();
    let mut logs = vec![Default::default(); 2];
    Softmax::new().log_rows(&logits, 1, &mut logs).unwrap();
    assert_eq!(logs, [0.0; 2]);
}

#[test]
fn an_axis_of_what_is_cast() {
    let logits: Vec<_> = (0..6).map(|i| (i % 2) as _).collect();
    let mut probabilities = [0.0; 6];
    let softmax = Softmax::new();
    softmax
        .axis(&logits, [1, 3, 2], &mut probabilities)
        .unwrap();
    assert!(probabilities.iter().all(|p| (3.0 * p - 1.0).abs() < 1e-6));
}

#[test]
fn a_log_axis_of_default() {
    let mut logs = [Default::default(); 2];
    Softmax::new()
        .log_axis(&[4.0, 8.0], [2, 1, 1], &mut logs)
        .unwrap();
    assert_eq!(logs, [0.0; 2]);
}

#[test]
fn sums_of_rows() {
    let logits: Vec<_> = ["1", "2"]
        .iter()
        .map(|word| word.parse().unwrap())
        .collect();
    let mut sums = vec![0.0; 2];
    Softmax::new()
        .log_sum_exp_rows(&logits, 1, &mut sums)
        .unwrap();
    assert_eq!(sums, [1.0, 2.0]);
}

#[test]
fn the_best_of_literals() {
    let mut best = [Candidate::default(); 2];
    let (_, best) = Softmax::new().top_k(&[1.0, 3.0, 2.0], &mut best).unwrap();
    assert_eq!(best.iter().map(|c| c.index).collect::<Vec<_>>(), [1, 2]);
    assert!(best[0].probability > best[1].probability);
}

#[test]
fn the_best_of_nothing() {
    let (normalizer, best) = Softmax::new().top_k(&[], &mut []).unwrap();
    assert!(best.is_empty() && normalizer == Normalizer::new());
}

#[test]
fn the_best_in_default_places() {
    let mut best: [_; 1] = Default::default();
    let logits = [2_u8, 7].map(Into::into);
    let (_, best) = top_k(&logits, &mut best);
    let [Candidate { index, .. }] = best else {
        panic!("{best:?}");
    };
    assert_eq!(*index, 1);
}

#[test]
fn cross_entropy_of_what_is_parsed() {
    let words = ["0", "0"];
    let logits: Vec<_> = words.iter().map(|word| word.parse().unwrap()).collect();
    let loss = Softmax::new().cross_entropy(&logits, 1).unwrap();
    assert_eq!(Ok(loss), cross_entropy(&logits, 0));
    assert!((loss - 2_f32.ln()).abs() < 1e-6);
}

#[test]
fn gradients_in_default_places() {
    let mut gradient = [Default::default(); 2];
    cross_entropy_gradient(&[3.0, 3.0], 0, &mut gradient).unwrap();
    assert_eq!(gradient, [-0.5, 0.5]);
    softmax_gradient(&[0.5, 0.5], &[1.0, 0.0], &mut gradient).unwrap();
    assert_eq!(gradient, [0.25, -0.25]);
}

#[test]
fn losses_of_literals() {
    let loss = CrossEntropy::new().label_smoothing(0.0).ignore(9);
    let mut losses = [Default::default(); 3];
    let logits = [1.0, 1.0, 2.0, 2.0, 3.0, 3.0];
    loss.rows(&logits, 2, &[0, 9, 1], &mut losses).unwrap();
    assert_eq!(losses, [2_f32.ln(), 0.0, 2_f32.ln()]);
    assert_eq!(loss.mean(&logits, 2, &[0, 9, 1]), Ok(2_f32.ln()));
}

#[test]
fn weighted_losses_of_what_is_collected() {
    let weights: Vec<_> = (0..2).map(|i| 1.0 + i as f32).collect();
    let targets: Vec<_> = (0..2).collect();
    let logits = vec![0.0; 4];
    let mean = CrossEntropy::default()
        .class_weights(&weights)
        .mean(&logits, 2, &targets);
    assert_eq!(mean, Ok(2_f32.ln()));
}

#[test]
fn gradients_of_losses_in_default_places() {
    let mut gradient = [Default::default(); 2];
    let loss = CrossEntropy::new().softmax(Softmax::new().scale(2.0));
    loss.gradient(&[3.0, 3.0], 2, &[0], &mut gradient).unwrap();
    assert_eq!(gradient, [-1.0, 1.0]);
    let mut rows = [3.0; 2];
    loss.gradient_in_place(&mut rows, 2, &[0]).unwrap();
    assert_eq!(rows, gradient);
}

#[test]
fn soft_targets_of_what_is_parsed() {
    let targets: Vec<_> = "0.5,0.5".split(',').flat_map(str::parse).collect();
    let loss = CrossEntropy::new();
    assert_eq!(loss.soft_mean(&[1.0; 2], 2, &targets), Ok(2_f32.ln()));
    let mut rows = [1.0; 2];
    loss.soft_gradient_in_place(&mut rows, 2, &targets).unwrap();
    assert_eq!(rows, [0.0; 2]);
}

#[test]
fn gradients_in_the_place_of_literals() {
    let mut gradient = [1.0, 0.0];
    let softmax = Softmax::new();
    softmax
        .softmax_gradient_in_place(&[0.5, 0.5], &mut gradient)
        .unwrap();
    assert_eq!(gradient, [0.25, -0.25]);
}

#[test]
fn sums_along_an_axis() {
    let mut sums = [Default::default(); 2];
    Softmax::new()
        .log_sum_exp_axis(&[1.0, 2.0], [1, 1, 2], &mut sums)
        .unwrap();
    assert_eq!(sums, [1.0, 2.0]);
}

#[test]
fn options_of_literals() {
    let softmax = Softmax::new()
        .scale(2.0)
        .mask(Mask::Additive(&[0.0, f32::NEG_INFINITY, 0.0]))
        .fully_masked(FullyMasked::Zero);
    let mut probabilities = [Default::default(); 3];
    softmax.row(&[1.0, 2.0, 1.0], &mut probabilities).unwrap();
    assert_eq!(probabilities, [0.5, 0.0, 0.5]);
}

#[test]
fn a_bias_that_is_collected() {
    let bias: Vec<_> = (0..2).map(|i| -1.5 * i as f32).collect();
    let softmax = Softmax::new().mask(Mask::Additive(&bias));
    let mut row = vec![0.0, 1.5];
    softmax.row_in_place(&mut row).unwrap();
    assert_eq!(row, [0.5; 2]);
}

#[test]
fn a_normalizer_that_is_collected() {
    let normalizer: Normalizer = QUARTER_AND_REST.into_iter().collect();
    let probabilities = QUARTER_AND_REST.map(|logit| normalizer.probability(logit));
    assert!(is_quarter_and_rest(&probabilities));
}

#[test]
fn a_normalizer_of_parsed_logits() {
    let mut normalizer = Normalizer::new();
    normalizer.push("2".parse().unwrap());
    normalizer.extend([]);
    assert_eq!(normalizer.log_sum_exp(), 2.0);
}

#[test]
fn states_that_are_folded() {
    let parts = QUARTER_AND_REST.chunks(1);
    let whole = parts
        .map(|part| Softmax::new().normalizer(part).unwrap())
        .fold(Normalizer::new(), Normalizer::merge);
    let probabilities = QUARTER_AND_REST.map(|logit| whole.probability(logit));
    assert!(is_quarter_and_rest(&probabilities));
}

#[test]
fn a_stream_over_chunks() {
    let mut stream = Stream::new();
    QUARTER_AND_REST
        .chunks(1)
        .for_each(|part| stream.extend(part));
    let whole = stream.finish();
    assert_eq!(Softmax::new().normalizer(&QUARTER_AND_REST), Ok(whole));
}

#[test]
fn a_class_that_is_drawn() {
    let logits: Vec<_> = ["1", "3", "2"].iter().flat_map(|x| x.parse()).collect();
    let sampler = Sampler::new()
        .temperature(0.7)
        .top_k(2)
        .top_p(0.5)
        .min_p(0.05);
    let Candidate { index, logit, .. } = sampler.draw(&logits, 0.99).unwrap();
    assert_eq!((index, logit), (1, 3.0));
    let Kept { count, mass, .. } = sampler.kept(&logits);
    assert!(count == 1 && mass > 0.5);
}

#[test]
fn a_draw_by_default() {
    let uniform = "0.75".parse().unwrap();
    let drawn = Sampler::default().draw(&[0.0, 0.0], uniform).unwrap();
    assert_eq!((drawn.index, drawn.probability), (1, 0.5));
    assert!(Sampler::new().draw(&[], Default::default()).is_err());
}

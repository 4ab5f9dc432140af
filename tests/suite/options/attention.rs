//! Real attention scores, a batch in one call, against the true softmax.

use super::*;
use npyz::NpyFile;
use std::fs;
use std::path::Path;

support::on_every_backend!(a_batch_in_one_call, other_masks_of_a_batch);

const ITEMS: usize = 3;
const SIZE: usize = 64;

fn data(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    fs::read(folder.join(name)).unwrap()
}

/// Two heads an item: the scores of the file, and those negated.
fn scores() -> Vec<f32> {
    let bytes = data("attention_scores_3x64x64.npy");
    let scores: Vec<f32> = NpyFile::new(&bytes[..]).unwrap().into_vec().unwrap();
    let items = scores.chunks(SIZE * SIZE);
    items
        .flat_map(|item| item.iter().copied().chain(item.iter().map(|score| -score)))
        .collect()
}

fn lengths() -> Vec<usize> {
    let bytes = data("attention_lengths_3.npy");
    let lengths: Vec<i64> = NpyFile::new(&bytes[..]).unwrap().into_vec().unwrap();
    lengths.iter().map(|length| *length as usize).collect()
}

/// Holds each row of the results against the softmax of the scores that `sees` leaves of it: item,
/// query and key.
fn hold(
    backend: Backend,
    softmax: Softmax,
    what: &str,
    sees: impl Fn(usize, usize, usize) -> bool,
) {
    let scores = scores();
    assert_eq!(scores.len(), ITEMS * 2 * SIZE * SIZE);
    let mut results = vec![f32::MAX; scores.len()];
    softmax.rows(&scores, SIZE, &mut results).unwrap();
    let mut logs = vec![f32::MAX; scores.len()];
    softmax.log_rows(&scores, SIZE, &mut logs).unwrap();
    let mut judge = Judge::new(backend);
    for (row, scores) in scores.chunks(SIZE).enumerate() {
        let (item, query) = (row / (2 * SIZE), row % SIZE);
        let seen = scores.iter().enumerate().map(|(key, score)| {
            if sees(item, query, key) {
                *score
            } else {
                f32::NEG_INFINITY
            }
        });
        let seen: Vec<f32> = seen.collect();
        let place = row * SIZE..(row + 1) * SIZE;
        judge.hold(&Setting::default(), &seen, &results[place.clone()], false);
        judge.hold(&Setting::default(), &seen, &logs[place], true);
    }
    judge.print(what);
}

fn a_batch_in_one_call(backend: Backend) {
    let lengths = lengths();
    let attention = on(backend)
        .matrix_rows(SIZE)
        .heads(2)
        .mask(Mask::Lengths(&lengths));
    hold(backend, attention, "lengths", |item, _, key| {
        key < lengths[item]
    });
    let causal = attention.mask(Mask::Causal { offset: 0 });
    hold(backend, causal, "lengths, causal", |item, query, key| {
        key < lengths[item] && key <= query
    });
}

fn other_masks_of_a_batch(backend: Backend) {
    let lengths = lengths();
    let padding: Vec<bool> = lengths
        .iter()
        .flat_map(|length| (0..SIZE).map(move |key| key < *length))
        .collect();
    let attention = on(backend).matrix_rows(SIZE).heads(2);
    let padded = attention.mask(Mask::Keep(&padding));
    hold(backend, padded, "padding", |item, _, key| {
        key < lengths[item]
    });
    let window = padded.mask(Mask::Window {
        before: 7,
        after: 3,
    });
    hold(backend, window, "padding, window", |item, query, key| {
        key < lengths[item] && key + 7 >= query && key <= query + 3
    });
    let bias: Vec<f32> = (0..SIZE * SIZE)
        .map(|place| {
            if place / SIZE >= place % SIZE {
                0.0
            } else {
                f32::NEG_INFINITY
            }
        })
        .collect();
    let biased = padded.mask(Mask::Additive(&bias));
    hold(backend, biased, "padding, additive", |item, query, key| {
        key < lengths[item] && key <= query
    });
}

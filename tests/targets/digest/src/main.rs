//! Prints the digest of the backend of a name, by default `portable`, over rows to a longest length.
//! `native` is the best backend whose arithmetic is fused.

use online_softmax_digest::{Backend, LONGEST, digest};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or("portable".to_owned());
    let longest = arguments.next().map_or(LONGEST, |len| len.parse().unwrap());
    let is_meant = |backend: &Backend| match name.as_str() {
        "native" => !matches!(backend, Backend::Portable | Backend::Scalar),
        name => backend.name() == name,
    };
    let backend = Backend::available()
        .find(is_meant)
        .expect("a backend that is available");
    let (mut row, mut results) = (vec![0.0; longest], vec![0.0; longest]);
    let (digest, count) = digest(backend, &mut row, &mut results).unwrap();
    println!("{digest:016x} {count} {}", backend.name());
}

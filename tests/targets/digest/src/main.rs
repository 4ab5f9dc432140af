//! Prints the digest of the backend of a name, by default `portable`.

use online_softmax::Backend;
use online_softmax_digest::{LONGEST, digest};

fn main() {
    let name = std::env::args().nth(1).unwrap_or("portable".to_owned());
    let backend = Backend::available()
        .find(|backend| backend.name() == name)
        .expect("a backend that is available");
    let (mut row, mut results) = (vec![0.0; LONGEST], vec![0.0; LONGEST]);
    let (digest, count) = digest(backend, &mut row, &mut results).unwrap();
    println!("{digest:016x} {count}");
}

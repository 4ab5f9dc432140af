//! Calls every operation on every backend over slices that are blocks of the heap by themselves.
//! Prints a digest of the results of each backend; backends of one arithmetic must have the same.
//!
//! ```text
//! online-softmax-memory BACKENDS LENGTH...   BACKENDS by name, with commas; or "all"
//! online-softmax-memory --planted            reads a value past the end of a block
//! ```

use online_softmax::Backend;
use support::calls::{Digest, Slices, call_everything, fill};
use support::{is_fused, verify::verify};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (backends, lengths) = match arguments.as_slice() {
        [option] if option == "--planted" => return read_past_the_end(),
        [backends, lengths @ ..] => (backends, lengths),
        [] => panic!("arguments: BACKENDS LENGTH..., or --planted"),
    };
    let available: Vec<Backend> = Backend::available().collect();
    let backends: Vec<Backend> = match backends.as_str() {
        "all" => available,
        names => {
            let of_name = |name| {
                available
                    .iter()
                    .find(|backend| backend.name() == name)
                    .copied()
            };
            let named = names.split(',');
            named
                .map(|name| of_name(name).expect("a backend that is available"))
                .collect()
        }
    };
    let lengths: Vec<usize> = lengths
        .iter()
        .map(|len| len.parse().expect("a length"))
        .collect();
    let mut of_class = [None; 2];
    for backend in backends {
        let mut digest = Digest::default();
        lengths
            .iter()
            .for_each(|len| of_length(backend, *len, &mut digest));
        println!("{:<8} {:016x}", backend.name(), digest.0);
        let expected = of_class[usize::from(is_fused(backend))].get_or_insert(digest.0);
        assert_eq!(digest.0, *expected, "not the bits of its arithmetic");
    }
}

fn of_length(backend: Backend, len: usize, digest: &mut Digest) {
    let mut logits = vec![0.0; len].into_boxed_slice();
    let mut results = logits.clone();
    fill(&mut logits);
    let additive: Box<[f32]> = (0..len).map(|place| (place % 5) as f32 - 2.0).collect();
    let keep: Box<[bool]> = (0..len).map(|place| place % 7 != 3).collect();
    // Under Miri the digest has to do: the oracle takes minutes there.
    if !cfg!(miri) {
        verify(backend, &logits).unwrap_or_else(|error| panic!("{len} logits: {error}"));
    }
    let mut slices = Slices {
        logits: &mut logits,
        results: &mut results,
        additive: &additive,
        keep: &keep,
    };
    call_everything(backend, &mut slices, digest);
}

/// What a kernel would do that loads a register where there is one value less.
fn read_past_the_end() {
    let row = vec![1.0_f32; 7].into_boxed_slice();
    // SAFETY: there is none. What checks this program must refuse it.
    let lane = unsafe { row.as_ptr().add(7).read_volatile() };
    println!("read {lane} past the end");
}

//! The exponential of every backend against the correctly rounded one.
//!
//! With `ONLINE_SOFTMAX_EXHAUSTIVE=1` in the environment, for every `f32` ≤ 0 (minutes in a release
//! build); else for a sample, and for the neighbours of all numbers where the method changes course.

use online_softmax::Backend;
use support::rows::Random;
use support::{Bounds, EVERY_BACKEND, THOROUGH, bits, is_exhaustive, is_fused, processor_has, ulp};

support::on_every_backend!(error_is_within_bound, special_values);

/// Arguments computed with one call.
const CHUNK: usize = 1 << 15;

/// The representations of −0 to −∞, one step apart each.
const REPRESENTATIONS: core::ops::RangeInclusive<u32> = 0x8000_0000..=0xFF80_0000;

/// Those whose exponential rounds to neither: −2^−25 to −105, and a little more.
const NEITHER_0_NOR_1: core::ops::RangeInclusive<u32> = 0xB300_0000..=0xC2D2_0000;

/// Arguments where the method changes course, and their neighbours: −k · ln 2 and halfway between,
/// where the results become subnormal and zero, the powers of two.
fn edges() -> Vec<f32> {
    let ln_2 = core::f64::consts::LN_2;
    let mut centres: Vec<f32> = (0..=320)
        .map(|halves| (f64::from(halves) * -0.5 * ln_2) as f32)
        .collect();
    centres.extend((-149..128).map(|exponent| -(2_f64.powi(exponent) as f32)));
    centres.extend([-87.3, -88.0, -103.0, -104.0, -150.0, -1e4, -1e30, f32::MIN]);
    // Where errors near the bound were found.
    centres.extend([-5.839_380_7, -5.860_681, -5.870_813, -39.125_072]);
    let mut edges = Vec::new();
    for centre in centres {
        let bits = centre.to_bits();
        let neighbours = bits.saturating_sub(40)..=bits.saturating_add(40);
        edges.extend(
            neighbours
                .filter(|bits| REPRESENTATIONS.contains(bits))
                .map(f32::from_bits),
        );
    }
    edges
}

/// Calls `test` with every chunk of arguments. Each begins with another number of values to be
/// ignored, of the 32 that a group has, so that every lane has its turn, and the last group is
/// short by all numbers in turn.
fn for_each_chunk(mut test: impl FnMut(&[f32], usize)) {
    let (stride, stride_elsewhere) = match (is_exhaustive(), THOROUGH) {
        (true, _) => (1, 1),
        (false, true) => (37, 10_007),
        (false, false) => (499, 100_003),
    };
    let (first, last) = REPRESENTATIONS.into_inner();
    let sample = (first..*NEITHER_0_NOR_1.start())
        .step_by(stride_elsewhere)
        .chain(NEITHER_0_NOR_1.step_by(stride))
        .chain((*NEITHER_0_NOR_1.end() + 1..=last).step_by(stride_elsewhere))
        .map(f32::from_bits);
    let mut arguments = edges().into_iter().chain(sample);
    let mut chunk = Vec::with_capacity(CHUNK);
    for lane in (0..32).cycle() {
        chunk.clear();
        chunk.resize(lane, -1.0);
        let len = CHUNK - 7 * lane;
        chunk.extend(arguments.by_ref().take(len - lane));
        if chunk.len() == lane {
            break;
        }
        test(&chunk, lane);
    }
}

/// e^x for x ≤ 0.
fn true_exponential(argument: f32) -> f64 {
    let truth = core_math::exp(f64::from(argument));
    // Below 1 the spacing is half of that above, but `f64` rounds what is nearest to 1 up to it.
    if argument < 0.0 {
        truth.min(1.0_f64.next_down())
    } else {
        truth
    }
}

fn error_is_within_bound(backend: Backend) {
    let name = backend.name();
    let bound = Bounds::of(backend).exponential;
    let (mut worst, mut worst_argument) = (0.0, 0.0);
    let (mut count, mut rounded_right, mut beyond) = (0_u64, 0_u64, 0_u64);
    let mut exponentials = vec![0.0; CHUNK];
    for_each_chunk(|chunk, ignored| {
        let exponentials = &mut exponentials[..chunk.len()];
        exponentials.fill(f32::NAN);
        backend.exp(chunk, exponentials).unwrap();
        for (argument, got) in chunk.iter().zip(exponentials).skip(ignored) {
            let error = ulp::error(*got, true_exponential(*argument));
            beyond += u64::from(error > bound);
            if error > worst {
                (worst, worst_argument) = (error, *argument);
            }
            if NEITHER_0_NOR_1.contains(&argument.to_bits()) {
                count += 1;
                rounded_right += u64::from(*got == core_math::expf(*argument));
            }
        }
    });
    let share = 100.0 * rounded_right as f64 / count as f64;
    println!(
        "{name}: {worst:.4} ULP at {worst_argument:e}; {share:.3} % of {count} from -105 to -2^-25 \
         correctly rounded"
    );
    assert!(
        beyond == 0,
        "{name}: {beyond} arguments beyond {bound} ULP, the worst {worst_argument:e}: {worst}"
    );
}

fn special_values(backend: Backend) {
    let name = backend.name();
    let cases = [
        (0.0, 1.0),
        (-0.0, 1.0),
        (f32::NEG_INFINITY, 0.0),
        (f32::MIN, 0.0),
        (-1e30, 0.0),
        (-110.0, 0.0),
        (f32::NAN, f32::NAN),
        (-f32::NAN, f32::NAN),
        // A greater argument counts as 0.
        (f32::from_bits(1), 1.0),
        (0.5, 1.0),
        (1.0, 1.0),
        (88.0, 1.0),
        (f32::MAX, 1.0),
        (f32::INFINITY, 1.0),
    ];
    let mut random = Random(3);
    for len in [
        1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 129,
    ] {
        for index in 0..len {
            for (argument, expected) in cases {
                let mut arguments: Vec<f32> =
                    (0..len).map(|_| -100.0 * random.unit() as f32).collect();
                let mut without = vec![0.0; len];
                backend.exp(&arguments, &mut without).unwrap();
                arguments[index] = argument;
                let mut with = vec![0.0; len];
                backend.exp(&arguments, &mut with).unwrap();
                assert_eq!(
                    bits(with[index]),
                    bits(expected),
                    "{name}: e^{argument} is {} at {index} of {len}",
                    with[index]
                );
                // The other lanes are their own.
                without[index] = with[index];
                assert_eq!(
                    support::bits_of(&with),
                    support::bits_of(&without),
                    "{name}: {argument} at {index} of {len}"
                );
            }
        }
    }
    backend.exp(&[], &mut []).unwrap();
}

/// Whatever an argument's lane and neighbours, its exponential has the same bits, on every backend
/// of an arithmetic.
#[test]
fn backends_of_one_arithmetic_have_the_same_bits() {
    for fused in [false, true] {
        let class: Vec<Backend> = EVERY_BACKEND
            .into_iter()
            .filter(|backend| processor_has(*backend) && is_fused(*backend) == fused)
            .collect();
        let [first, others @ ..] = &class[..] else {
            continue;
        };
        for_each_chunk(|chunk, ignored| {
            let exponentials = |backend: Backend, arguments: &[f32]| {
                let mut exponentials = vec![f32::NAN; arguments.len()];
                backend.exp(arguments, &mut exponentials).unwrap();
                exponentials
            };
            let expected = exponentials(*first, chunk);
            for backend in others {
                compare(
                    *first,
                    *backend,
                    chunk,
                    &expected,
                    &exponentials(*backend, chunk),
                );
            }
            let moved = &chunk[ignored / 2 + 1..];
            let expected = &expected[ignored / 2 + 1..];
            compare(
                *first,
                *first,
                moved,
                expected,
                &exponentials(*first, moved),
            );
        });
    }
}

fn compare(first: Backend, second: Backend, arguments: &[f32], a: &[f32], b: &[f32]) {
    for (argument, (a, b)) in arguments.iter().zip(a.iter().zip(b)) {
        assert!(
            bits(*a) == bits(*b),
            "e^{argument:e}: {} has {a:e}, {} has {b:e}",
            first.name(),
            second.name()
        );
    }
}

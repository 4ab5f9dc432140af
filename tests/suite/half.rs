//! Half precision, on every backend: the bits of converting first and computing in `f32`.

use half::{bf16, f16};
use online_softmax::{Backend, Candidate, Error, Mask, Softmax};
use support::rows::Random;
use support::{bits, bits_of, bits_of_parts, on};

support::on_every_backend!(
    brain_floats_are_converted_first,
    ieee_halves_are_converted_first,
    options_and_results_of_half_precision,
    special_values,
);

const LENGTHS: [usize; 16] = [
    0, 1, 2, 15, 16, 17, 31, 33, 100, 128, 129, 300, 1024, 2081, 4097, 20_000,
];

macro_rules! same {
    ($softmax:ident, $row:ident, $f32_row:ident, $expected:ident, $to_f32:ident, $to_half:ident,
     $type:ty, $method:ident($($argument:tt)*)) => {
        $softmax.$method(&$f32_row[..], $($argument)* &mut $expected[..]).unwrap();
        $softmax.$method($row, $($argument)* &mut $to_f32[..]).unwrap();
        $softmax.$method($row, $($argument)* &mut $to_half[..]).unwrap();
        let name = concat!(stringify!($method), " of ", stringify!($type));
        assert_eq!(bits_of(&$to_f32), bits_of(&$expected), "{name}");
        assert_eq!(bits_of(&wide(&$to_half)), narrowed::<$type>(&$expected), "{name}");
    };
}

macro_rules! checks {
    ($type:ty) => {
        fn check(&self, softmax: Softmax<'_>, columns: usize, shape: [usize; 3]) {
            let row = self;
            let len = row.len();
            let f32_row = wide(row);
            let (mut expected, mut to_f32, mut to_half) =
                (vec![7.0; len], vec![7.0; len], vec![<$type>::of(7.0); len]);

            same!(
                softmax,
                row,
                f32_row,
                expected,
                to_f32,
                to_half,
                $type,
                row()
            );
            same!(
                softmax,
                row,
                f32_row,
                expected,
                to_f32,
                to_half,
                $type,
                log_row()
            );
            same!(
                softmax,
                row,
                f32_row,
                expected,
                to_f32,
                to_half,
                $type,
                rows(columns,)
            );
            same!(
                softmax,
                row,
                f32_row,
                expected,
                to_f32,
                to_half,
                $type,
                log_rows(columns,)
            );
            same!(
                softmax,
                row,
                f32_row,
                expected,
                to_f32,
                to_half,
                $type,
                axis(shape,)
            );
            same!(
                softmax,
                row,
                f32_row,
                expected,
                to_f32,
                to_half,
                $type,
                log_axis(shape,)
            );

            let expected = softmax.normalizer(&f32_row[..]).unwrap();
            let found = softmax.normalizer(row).unwrap();
            assert_eq!(bits_of_parts(found), bits_of_parts(expected), "{len}");
            assert_eq!(
                bits(softmax.log_sum_exp(row).unwrap()),
                bits(softmax.log_sum_exp(&f32_row[..]).unwrap())
            );
            let (mut found, mut expected) = ([Candidate::default(); 5], [Candidate::default(); 5]);
            let (_, found) = softmax.top_k(row, &mut found).unwrap();
            let (_, expected) = softmax.top_k(&f32_row[..], &mut expected).unwrap();
            assert_eq!(format!("{found:?}"), format!("{expected:?}"), "{len}");
            for target in [0, len / 2, len.saturating_sub(1)] {
                let found = softmax.cross_entropy(row, target);
                let expected = softmax.cross_entropy(&f32_row[..], target);
                assert_eq!(found.map(bits), expected.map(bits), "{len}");
            }
        }
    };
}

trait Half: Copy {
    fn of(value: f32) -> Self;
    fn wide(self) -> f32;
}

macro_rules! half {
    ($type:ty) => {
        impl Half for $type {
            fn of(value: f32) -> Self {
                <$type>::from_f32(value)
            }

            fn wide(self) -> f32 {
                self.to_f32()
            }
        }

        impl Check for [$type] {
            checks!($type);
        }
    };
}

/// Not generic functions: inference would not tell the one of two `Probability<_>` from the other.
trait Check {
    fn check(&self, softmax: Softmax<'_>, columns: usize, shape: [usize; 3]);
}

half!(bf16);
half!(f16);

fn random_row<H: Half>(random: &mut Random, len: usize) -> Vec<H> {
    let spread = random.pick(&[0.01, 4.0, 30.0, 200.0, 30_000.0]);
    (0..len)
        .map(|_| H::of(((random.unit() * 2.0 - 1.0) * spread) as f32))
        .collect()
}

fn wide<H: Half>(values: &[H]) -> Vec<f32> {
    values.iter().map(|value| value.wide()).collect()
}

/// Of the bits that converting the results of `f32` has.
fn narrowed<H: Half>(values: &[f32]) -> Vec<u32> {
    values
        .iter()
        .map(|value| bits(H::of(*value).wide()))
        .collect()
}

fn check_lengths<H: Half>(backend: Backend)
where
    [H]: Check,
{
    let mut random = Random(16);
    for len in LENGTHS {
        let row: Vec<H> = random_row(&mut random, len);
        let inner = [1, 2, 4, 20, 100]
            .into_iter()
            .rfind(|inner| len % inner == 0);
        let inner = inner.unwrap();
        row.check(on(backend), (len / inner).max(1), [1, len / inner, inner]);
    }
    let row: Vec<H> = random_row(&mut random, 64 * 256);
    row.check(on(backend), 64, [2, 32, 256]);
    // Equal logits, and one above all: the results that must be exact.
    [H::of(3.0); 64].check(on(backend), 16, [2, 2, 16]);
    let mut row = [H::of(-20_000.0); 64];
    row[5] = H::of(1.0);
    row.check(on(backend), 8, [1, 8, 8]);
}

fn brain_floats_are_converted_first(backend: Backend) {
    check_lengths::<bf16>(backend);
}

fn ieee_halves_are_converted_first(backend: Backend) {
    check_lengths::<f16>(backend);
}

fn special_values(backend: Backend) {
    let (nan, infinity) = (f32::NAN, f32::INFINITY);
    for values in [
        [nan, 0.0, -infinity, 1.0],
        [infinity, 0.0, 1.0, 2.0],
        [-infinity; 4],
        [-infinity, 0.0, -infinity, 1e-7],
        [f32::MAX, -f32::MAX, 65_504.0, 65_520.0],
    ] {
        let brain: Vec<bf16> = values.map(bf16::from_f32).to_vec();
        brain.check(on(backend), 2, [1, 2, 2]);
        let ieee: Vec<f16> = values.map(f16::from_f32).to_vec();
        ieee.check(on(backend), 2, [1, 2, 2]);
    }
}

fn options_and_results_of_half_precision(backend: Backend) {
    let row: Vec<bf16> = random_row(&mut Random(3), 700);
    let softmax = on(backend).sink(1.0);
    row.check(softmax, 70, [7, 10, 10]);

    // Results in `f32` take every option; those of half precision refuse what they cannot hold.
    let keep: Vec<bool> = (0..70).map(|column| column % 3 != 0).collect();
    let softmax = on(backend).scale(0.3).mask(Mask::Keep(&keep));
    let (mut found, mut expected) = (vec![0.0_f32; 700], vec![0.0_f32; 700]);
    softmax.rows(&row[..], 70, &mut found[..]).unwrap();
    softmax
        .rows(&wide(&row)[..], 70, &mut expected[..])
        .unwrap();
    assert_eq!(bits_of(&found), bits_of(&expected));
    let mut untouched = vec![bf16::ONE; 700];
    let refused = softmax.rows(&row[..], 70, &mut untouched[..]);
    assert!(matches!(refused, Err(Error::UnsupportedOption { .. })));
    assert!(untouched.iter().all(|value| *value == bf16::ONE));
    let refused = on(backend).row(&row[..], &mut [bf16::ONE; 3][..]);
    let mismatch = Error::LengthMismatch {
        expected: 700,
        given: 3,
    };
    assert_eq!(refused.unwrap_err(), mismatch);
}

//! Half precision, on every backend: the bits of converting first and computing in `f32`.

use half::{bf16, f16};
use online_softmax::{Backend, Candidate, Error, Normalizer, Probability, Softmax};
use support::options::Setting;
use support::rows::Random;
use support::{bits, bits_of, bits_of_parts, on, setting};

support::on_every_backend!(
    brain_floats_are_converted_first,
    ieee_halves_are_converted_first,
    options,
    special_values,
    errors,
    raised_shifts,
);

const LENGTHS: [usize; 16] = [
    0, 1, 2, 15, 16, 17, 31, 33, 100, 128, 129, 300, 1024, 2081, 4097, 20_000,
];

/// A type of half precision, converted by its own crate.
trait Half: online_softmax::Logit + Probability<Self> + Copy + Sized {
    fn of(value: f32) -> Self;
    fn wide(self) -> f32;
}

impl Half for bf16 {
    fn of(value: f32) -> Self {
        bf16::from_f32(value)
    }

    fn wide(self) -> f32 {
        self.to_f32()
    }
}

impl Half for f16 {
    fn of(value: f32) -> Self {
        f16::from_f32(value)
    }

    fn wide(self) -> f32 {
        self.to_f32()
    }
}

fn random_row<H: Half>(random: &mut Random, len: usize) -> Vec<H> {
    let spread = random.pick(&[0.01, 4.0, 30.0, 200.0, 30_000.0]);
    (0..len)
        .map(|_| H::of(((random.unit() * 2.0 - 1.0) * spread) as f32))
        .collect()
}

fn wide<H: Half>(values: &[H]) -> Vec<f32> {
    values.iter().map(|value| value.wide()).collect()
}

fn wide_bits<H: Half>(values: &[H]) -> Vec<u32> {
    values.iter().map(|value| bits(value.wide())).collect()
}

/// The bits after the results in `f32` are rounded.
fn rounded<H: Half>(values: &[f32]) -> Vec<u32> {
    let halves: Vec<H> = values.iter().map(|value| H::of(*value)).collect();
    wide_bits(&halves)
}

/// An operation, called with `f32` logits.
type OnF32<'a> = &'a dyn Fn(&[f32], &mut [f32]) -> Result<Option<Normalizer>, Error>;
type ToF32<'a, H> = &'a dyn Fn(&[H], &mut [f32]) -> Result<Option<Normalizer>, Error>;
type ToHalf<'a, H> = &'a dyn Fn(&[H], &mut [H]) -> Result<Option<Normalizer>, Error>;
type InPlace<'a, H> = Option<&'a dyn Fn(&mut [H]) -> Result<Option<Normalizer>, Error>>;

/// One operation in all its forms.
fn check_form<H: Half>(
    name: &str,
    logits: &[H],
    on_f32: OnF32,
    to_f32: ToF32<H>,
    to_half: ToHalf<H>,
    in_place: InPlace<H>,
) {
    let len = logits.len();
    let mut expected = vec![7.0; len];
    let normalizer = on_f32(&wide(logits), &mut expected).map(|found| found.map(bits_of_parts));
    let mut results = vec![7.0; len];
    let found = to_f32(logits, &mut results).map(|found| found.map(bits_of_parts));
    assert_eq!(found, normalizer, "{name} of {len} to f32");
    assert_eq!(
        bits_of(&results),
        bits_of(&expected),
        "{name} of {len} to f32"
    );
    let mut halves = vec![H::of(7.0); len];
    let found = to_half(logits, &mut halves).map(|found| found.map(bits_of_parts));
    assert_eq!(found, normalizer, "{name} of {len} to half");
    assert_eq!(
        wide_bits(&halves),
        rounded::<H>(&expected),
        "{name} of {len} to half"
    );
    if let Some(in_place) = in_place {
        let mut halves = logits.to_vec();
        let found = in_place(&mut halves).map(|found| found.map(bits_of_parts));
        assert_eq!(found, normalizer, "{name} of {len} in place");
        assert_eq!(
            wide_bits(&halves),
            rounded::<H>(&expected),
            "{name} of {len} in place"
        );
    }
}

/// Operations over the whole row.
fn check_row<H: Half>(softmax: Softmax<'_>, row: &[H]) {
    let of = softmax.of::<H>();
    check_form(
        "row",
        row,
        &|row, results| softmax.row(row, results).map(Some),
        &|row, results| of.row(row, results).map(Some),
        &|row, results| of.row(row, results).map(Some),
        Some(&|row| of.row_in_place(row).map(Some)),
    );
    check_form(
        "log_row",
        row,
        &|row, results| softmax.log_row(row, results).map(Some),
        &|row, results| of.log_row(row, results).map(Some),
        &|row, results| of.log_row(row, results).map(Some),
        Some(&|row| of.log_row_in_place(row).map(Some)),
    );
    let f32_row = wide(row);
    let expected = softmax.normalizer(&f32_row).map(bits_of_parts);
    assert_eq!(of.normalizer(row).map(bits_of_parts), expected);
    assert_eq!(
        of.log_sum_exp(row).map(bits),
        softmax.log_sum_exp(&f32_row).map(bits)
    );
    let (mut found, mut expected) = ([Candidate::default(); 5], [Candidate::default(); 5]);
    let found = of
        .top_k(row, &mut found)
        .map(|(_, found)| format!("{found:?}"));
    let expected = softmax.top_k(&f32_row, &mut expected);
    assert_eq!(found, expected.map(|(_, expected)| format!("{expected:?}")));
    for target in [0, row.len() / 2, row.len().saturating_sub(1)] {
        assert_eq!(
            of.cross_entropy(row, target).map(bits),
            softmax.cross_entropy(&f32_row, target).map(bits)
        );
    }
}

/// Operations over a matrix.
fn check_matrix<H: Half>(softmax: Softmax<'_>, matrix: &[H], columns: usize) {
    let of = softmax.of::<H>();
    check_form(
        "rows",
        matrix,
        &|matrix, results| softmax.rows(matrix, columns, results).map(|()| None),
        &|matrix, results| of.rows(matrix, columns, results).map(|()| None),
        &|matrix, results| of.rows(matrix, columns, results).map(|()| None),
        Some(&|matrix| of.rows_in_place(matrix, columns).map(|()| None)),
    );
    check_form(
        "log_rows",
        matrix,
        &|matrix, results| softmax.log_rows(matrix, columns, results).map(|()| None),
        &|matrix, results| of.log_rows(matrix, columns, results).map(|()| None),
        &|matrix, results| of.log_rows(matrix, columns, results).map(|()| None),
        None,
    );
    let rows = matrix.len() / columns;
    let (mut found, mut expected) = (vec![7.0; rows], vec![7.0; rows]);
    assert_eq!(
        of.log_sum_exp_rows(matrix, columns, &mut found),
        softmax.log_sum_exp_rows(&wide(matrix), columns, &mut expected)
    );
    assert_eq!(bits_of(&found), bits_of(&expected));
}

/// Operations along an axis.
fn check_axis<H: Half>(softmax: Softmax<'_>, tensor: &[H], shape: [usize; 3]) {
    let of = softmax.of::<H>();
    check_form(
        "axis",
        tensor,
        &|tensor, results| softmax.axis(tensor, shape, results).map(|()| None),
        &|tensor, results| of.axis(tensor, shape, results).map(|()| None),
        &|tensor, results| of.axis(tensor, shape, results).map(|()| None),
        Some(&|tensor| of.axis_in_place(tensor, shape).map(|()| None)),
    );
    check_form(
        "log_axis",
        tensor,
        &|tensor, results| softmax.log_axis(tensor, shape, results).map(|()| None),
        &|tensor, results| of.log_axis(tensor, shape, results).map(|()| None),
        &|tensor, results| of.log_axis(tensor, shape, results).map(|()| None),
        None,
    );
    let [mut found, mut expected] = [(); 2].map(|()| vec![7.0; shape[0] * shape[2]]);
    assert_eq!(
        of.log_sum_exp_axis(tensor, shape, &mut found),
        softmax.log_sum_exp_axis(&wide(tensor), shape, &mut expected)
    );
    assert_eq!(bits_of(&found), bits_of(&expected));
}

fn check_all<H: Half>(softmax: Softmax<'_>, values: &[H], columns: usize, shape: [usize; 3]) {
    check_row(softmax, values);
    check_matrix(softmax, values, columns);
    check_axis(softmax, values, shape);
}

fn check_lengths<H: Half>(backend: Backend) {
    let softmax = on(backend);
    let mut random = Random(16);
    for len in LENGTHS {
        let row: Vec<H> = random_row(&mut random, len);
        let inner = [1, 2, 4, 20, 100]
            .into_iter()
            .rfind(|inner| len % inner == 0);
        let inner = inner.unwrap();
        check_all(softmax, &row, (len / inner).max(1), [1, len / inner, inner]);
    }
    let row: Vec<H> = random_row(&mut random, 64 * 256);
    check_all(softmax, &row, 64, [2, 32, 256]);
    // Equal logits, and one above all: the results that must be exact.
    check_all(softmax, &[H::of(3.0); 64], 16, [2, 2, 16]);
    let mut row = [H::of(-20_000.0); 64];
    row[5] = H::of(1.0);
    check_all(softmax, &row, 8, [1, 8, 8]);
}

/// Rows of several slices whose shift is raised in a later one: what was stored is multiplied.
fn check_raised_shifts<H: Half>(backend: Backend) {
    let random = random_row::<H>(&mut Random(5), 3 * 5000);
    for (columns, most, last) in [
        (2049, -20.0, -46.0),
        (2049, 0.0, 40.0),
        (2049, -45.0, 76.0),
        (4500, 3.0, 300.0),
        (5000, -10.0, f32::NEG_INFINITY),
    ] {
        let mut matrix = vec![H::of(most); 3 * columns];
        for row in matrix.chunks_mut(columns) {
            row[columns - 1] = H::of(last);
            row[1] = H::of(most + 1.5);
        }
        check_matrix(on(backend), &matrix, columns);
        check_row(on(backend), &matrix[..columns]);
        let mut matrix = random[..3 * columns].to_vec();
        matrix[2 * columns - 1] = H::of(last);
        check_matrix(on(backend), &matrix, columns);
    }
}

fn raised_shifts(backend: Backend) {
    check_raised_shifts::<bf16>(backend);
    check_raised_shifts::<f16>(backend);
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
        check_all(on(backend), &values.map(bf16::from_f32), 2, [1, 2, 2]);
        check_all(on(backend), &values.map(f16::from_f32), 2, [1, 2, 2]);
    }
}

/// Every option, by itself and with others, over rows of 70 and of 700 and columns of 10.
fn check_options<H: Half>(backend: Backend) {
    let logits: Vec<H> = random_row(&mut Random(3), 700);
    let keep: Vec<bool> = (0..700).map(|place| place % 3 != 0 || place == 6).collect();
    let additive = (0..700).map(|place| match place % 7 {
        0 => f32::NEG_INFINITY,
        other => other as f32 * -0.25,
    });
    let additive: Vec<f32> = additive.collect();
    let settings = |len: usize, length: usize| {
        let keep = keep[..len].to_vec();
        let additive = additive[..len].to_vec();
        [
            setting!(scale: Some(0.3)),
            setting!(scale: Some(-2.0)),
            setting!(soft_cap: Some(3.0)),
            setting!(keep: Some(keep.clone())),
            setting!(additive: Some(additive.clone())),
            setting!(length: Some(length)),
            setting!(length: Some(0), is_zero: true),
            setting!(sink: Some(1.0)),
            setting!(sink: Some(f32::INFINITY)),
            setting!(
                scale: Some(0.5),
                soft_cap: Some(20.0),
                keep: Some(keep),
                additive: Some(additive),
                length: Some(length),
                sink: Some(-1.0),
                is_zero: true,
            ),
        ]
    };
    let causal = [
        setting!(causal: Some(0)),
        setting!(causal: Some(3), scale: Some(0.125), sink: Some(0.0)),
    ];
    for setting in settings(700, 333).iter().chain(&causal) {
        check_row(setting.on(backend), &logits);
    }
    let settings_of_rows = settings(70, 33).into_iter().chain(settings(700, 60));
    for setting in settings_of_rows.chain(causal) {
        check_matrix(setting.on(backend), &logits, 70);
    }
    for setting in settings(100, 7).iter().chain(&settings(700, 10)) {
        check_axis(setting.on(backend), &logits, [7, 10, 10]);
    }
}

fn options(backend: Backend) {
    check_options::<bf16>(backend);
    check_options::<f16>(backend);
}

fn errors(backend: Backend) {
    let row = [bf16::ONE; 6];
    let mut results = [bf16::ZERO; 6];
    let setting: Setting = setting!(keep: Some(vec![true; 4]));
    let masked = setting.on(backend).of::<bf16>();
    let mismatch = Error::MaskMismatch {
        rows: 3,
        columns: 2,
        given: 4,
    };
    assert_eq!(masked.rows(&row, 2, &mut results), Err(mismatch));
    assert_eq!(masked.rows_in_place(&mut results, 2), Err(mismatch));
    let of = on(backend).of::<bf16>();
    let mismatch = Error::LengthMismatch {
        expected: 6,
        given: 3,
    };
    assert_eq!(of.row(&row, &mut results[..3]), Err(mismatch));
    assert_eq!(of.row(&row, &mut [0.0; 3]), Err(mismatch));
    assert_eq!(results, [bf16::ZERO; 6]);
}

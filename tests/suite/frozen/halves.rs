//! The operations on `bf16` and `f16` logits, with results of `f32` and of their own type.

use super::inputs::{Kind, matrix, tensor};
use super::options::{MANY, Masks, SINK};
use super::{Digest, Record};
use adapter::{Form, Halves};
use half::{bf16, f16};
use online_softmax::{Candidate, Normalizer, Softmax};

/// The only calls of the crate with halves. Where its interface for them changes, this changes with
/// it, and no digest.
mod adapter {
    use super::{Candidate, Normalizer, Softmax, bf16, f16};

    /// An operation that writes results.
    #[derive(Clone, Copy)]
    pub(super) enum Form {
        Row,
        LogRow,
        Rows(usize),
        LogRows(usize),
        Axis([usize; 3]),
        LogAxis([usize; 3]),
    }

    pub(super) trait Halves: Copy {
        const NAME: &'static str;

        /// Rounded to nearest, ties to even.
        fn of(value: f32) -> Self;
        fn wide(self) -> f32;

        /// Those that have a normalizer give it.
        fn to_f32(
            softmax: Softmax<'_>,
            form: Form,
            logits: &[Self],
            results: &mut [f32],
        ) -> Option<Normalizer>;
        fn to_self(
            softmax: Softmax<'_>,
            form: Form,
            logits: &[Self],
            results: &mut [Self],
        ) -> Option<Normalizer>;

        fn normalizer(softmax: Softmax<'_>, logits: &[Self]) -> Normalizer;
        fn log_sum_exp(softmax: Softmax<'_>, logits: &[Self]) -> f32;
        fn top_k<'b>(
            softmax: Softmax<'_>,
            logits: &[Self],
            best: &'b mut [Candidate],
        ) -> (Normalizer, &'b [Candidate]);
        fn cross_entropy(softmax: Softmax<'_>, logits: &[Self], target: usize) -> f32;
    }

    macro_rules! written {
        ($softmax:ident, $form:ident, $logits:ident, $results:ident) => {
            let softmax = $softmax.of::<Self>();
            match $form {
                Form::Row => return Some(softmax.row($logits, $results).unwrap()),
                Form::LogRow => return Some(softmax.log_row($logits, $results).unwrap()),
                Form::Rows(columns) => softmax.rows($logits, columns, $results).unwrap(),
                Form::LogRows(columns) => softmax.log_rows($logits, columns, $results).unwrap(),
                Form::Axis(shape) => softmax.axis($logits, shape, $results).unwrap(),
                Form::LogAxis(shape) => softmax.log_axis($logits, shape, $results).unwrap(),
            }
        };
    }

    macro_rules! halves {
        ($type:ident) => {
            impl Halves for $type {
                const NAME: &'static str = stringify!($type);

                fn of(value: f32) -> Self {
                    $type::from_f32(value)
                }

                fn wide(self) -> f32 {
                    self.to_f32()
                }

                fn to_f32(
                    softmax: Softmax<'_>,
                    form: Form,
                    logits: &[Self],
                    results: &mut [f32],
                ) -> Option<Normalizer> {
                    written!(softmax, form, logits, results);
                    None
                }

                fn to_self(
                    softmax: Softmax<'_>,
                    form: Form,
                    logits: &[Self],
                    results: &mut [Self],
                ) -> Option<Normalizer> {
                    written!(softmax, form, logits, results);
                    None
                }

                fn normalizer(softmax: Softmax<'_>, logits: &[Self]) -> Normalizer {
                    softmax.of::<Self>().normalizer(logits).unwrap()
                }

                fn log_sum_exp(softmax: Softmax<'_>, logits: &[Self]) -> f32 {
                    softmax.of::<Self>().log_sum_exp(logits).unwrap()
                }

                fn top_k<'b>(
                    softmax: Softmax<'_>,
                    logits: &[Self],
                    best: &'b mut [Candidate],
                ) -> (Normalizer, &'b [Candidate]) {
                    softmax.of::<Self>().top_k(logits, best).unwrap()
                }

                fn cross_entropy(softmax: Softmax<'_>, logits: &[Self], target: usize) -> f32 {
                    softmax.of::<Self>().cross_entropy(logits, target).unwrap()
                }
            }
        };
    }

    halves!(bf16);
    halves!(f16);
}

pub(crate) fn digest(record: &mut Record) {
    of_type::<bf16>(record);
    of_type::<f16>(record);
}

const COLUMNS: [usize; 10] = [1, 3, 10, 17, 33, 64, 100, 256, 1025, 4097];
const AXES: [usize; 4] = [1, 7, 64, 130];
const INNERS: [usize; 5] = [1, 3, 10, 33, 100];

fn of_type<H: Halves>(record: &mut Record) {
    for len in (0..=36).chain([63, 64, 65, 127, 128, 129, 300, 1000, 2049, 4097, 33_000]) {
        let every = match len {
            0..=300 => 4,
            301..=1000 => 12,
            _ => Kind::EVERY.len(),
        };
        for kind in Kind::one_in(every, len) {
            of_row::<H>(record, &halves(&kind.row(len, 9)));
        }
    }
    for columns in COLUMNS {
        let rows = if columns > 300 { 4 } else { 19 };
        let logits: Vec<H> = halves(&matrix(rows, columns, columns % 2 == 0 || columns < 100));
        for form in [Form::Rows(columns), Form::LogRows(columns)] {
            written(record, "", record.softmax(), form, &logits);
        }
    }
    for inner in INNERS {
        for axis in AXES {
            let shape = [1 + inner % 2, axis, inner];
            let logits: Vec<H> = halves(&tensor(shape));
            for form in [Form::Axis(shape), Form::LogAxis(shape)] {
                written(record, "", record.softmax(), form, &logits);
            }
        }
    }
    with_options::<H>(record);
}

fn halves<H: Halves>(values: &[f32]) -> Vec<H> {
    values.iter().map(|value| H::of(*value)).collect()
}

fn of_row<H: Halves>(record: &mut Record, row: &[H]) {
    let softmax = record.softmax();
    for half in row {
        let name = format!("{}: inputs", H::NAME);
        record.of(&name).value(half.wide());
    }
    for form in [Form::Row, Form::LogRow] {
        written(record, "", softmax, form, row);
    }
    read(record, "", softmax, row);
}

/// Results in `f32` and in the type of the logits.
fn written<H: Halves>(
    record: &mut Record,
    options: &str,
    softmax: Softmax<'_>,
    form: Form,
    logits: &[H],
) {
    into_f32(record, options, softmax, form, logits);
    let mut results = vec![H::of(7.0); logits.len()];
    let normalizer = H::to_self(softmax, form, logits, &mut results);
    let (half, name) = (H::NAME, name_of(form));
    let digest = record.of(&format!("{half} to {half}: {name}{options}"));
    for result in results {
        digest.value(result.wide());
    }
    if let Some(normalizer) = normalizer {
        digest.normalizer(normalizer);
    }
}

fn into_f32<H: Halves>(
    record: &mut Record,
    options: &str,
    softmax: Softmax<'_>,
    form: Form,
    logits: &[H],
) {
    let mut results = vec![7.0; logits.len()];
    let normalizer = H::to_f32(softmax, form, logits, &mut results);
    let (half, name) = (H::NAME, name_of(form));
    let digest = record.of(&format!("{half} to f32: {name}{options}"));
    digest.values(&results);
    if let Some(normalizer) = normalizer {
        digest.normalizer(normalizer);
    }
}

fn name_of(form: Form) -> &'static str {
    match form {
        Form::Row => "row",
        Form::LogRow => "log_row",
        Form::Rows(_) => "rows",
        Form::LogRows(_) => "log_rows",
        Form::Axis(_) => "axis",
        Form::LogAxis(_) => "log_axis",
    }
}

/// What is read off a row without a result for each logit.
fn read<H: Halves>(record: &mut Record, options: &str, softmax: Softmax<'_>, row: &[H]) {
    let half = H::NAME;
    let mut digest_of = |operation: &str, take: &dyn Fn(&mut Digest)| {
        take(record.of(&format!("{half}: {operation}{options}")));
    };
    digest_of("normalizer", &|digest| {
        digest.normalizer(H::normalizer(softmax, row));
    });
    digest_of("log_sum_exp", &|digest| {
        digest.value(H::log_sum_exp(softmax, row));
    });
    let places = [1, 5, 70][row.len() % 3];
    digest_of("top_k", &|digest| {
        let mut best = vec![Candidate::default(); places];
        digest.candidates(H::top_k(softmax, row, &mut best));
    });
    if !row.is_empty() {
        digest_of("cross_entropy", &|digest| {
            digest.value(H::cross_entropy(softmax, row, row.len() / 2));
        });
    }
}

/// Results in `f32` are taken with every option; those of half precision with a sink and with what a
/// fully masked row is.
fn with_options<H: Halves>(record: &mut Record) {
    let backend = record.backend;
    for (configuration, into_halves) in [(SINK, true), (MANY, false)] {
        let options = format!(", {}", configuration.name);
        let mut take = |softmax: Softmax<'_>, form, logits: &[H]| {
            if into_halves {
                written(record, &options, softmax, form, logits);
            } else {
                into_f32(record, &options, softmax, form, logits);
            }
        };
        for len in [1, 2, 17, 18, 100, 700] {
            for kind in Kind::one_in(3, len) {
                let row: Vec<H> = halves(&kind.row(len, 11));
                let masks = Masks::new(configuration, 1, len, 1);
                for form in [Form::Row, Form::LogRow] {
                    take(masks.softmax(backend), form, &row);
                }
            }
        }
        for [rows, columns] in [[6, 10], [60, 100]] {
            let logits: Vec<H> = halves(&matrix(rows, columns, true));
            let masks = Masks::new(configuration, rows, columns, 1);
            for form in [Form::Rows(columns), Form::LogRows(columns)] {
                take(masks.softmax(backend), form, &logits);
            }
        }
        for shape in [[4, 5, 3], [6, 20, 10], [2, 33, 40]] {
            let logits: Vec<H> = halves(&tensor(shape));
            let masks = Masks::new(configuration, shape[0], shape[1], shape[2]);
            for form in [Form::Axis(shape), Form::LogAxis(shape)] {
                take(masks.softmax(backend), form, &logits);
            }
        }
        for kind in Kind::EVERY {
            let row: Vec<H> = halves(&kind.row(200, 11));
            let masks = Masks::new(configuration, 1, 200, 1);
            read(record, &options, masks.softmax(backend), &row);
        }
    }
}

#[cfg(not(debug_assertions))]
pub(crate) fn digest_longest(record: &mut Record) {
    longest_of_type::<bf16>(record);
    longest_of_type::<f16>(record);
}

#[cfg(not(debug_assertions))]
fn longest_of_type<H: Halves>(record: &mut Record) {
    use super::operations::LONGEST;
    for kind in [Kind::Usual, Kind::SomeMasked, Kind::Confident] {
        of_row::<H>(record, &halves(&kind.row(LONGEST, 0)));
    }
    let matrix: Vec<H> = halves(&matrix(2, LONGEST, false));
    for form in [Form::Rows(LONGEST), Form::LogRows(LONGEST)] {
        written(record, "", record.softmax(), form, &matrix);
    }
}

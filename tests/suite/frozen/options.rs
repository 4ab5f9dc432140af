//! Each option by itself and some together, over every operation that takes them. What an operation
//! does in place is digested with what it does apart.

use super::Record;
use super::inputs::{Kind, Random, matrix, tensor};
use online_softmax::{Backend, Candidate, FullyMasked, Mask, Softmax};

/// How many rows a mask has.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Rows {
    /// As many as the matrix.
    All,
    /// One for all.
    One,
    /// Those of a matrix, of which there are several.
    Several,
}

impl Rows {
    fn count(self, rows: usize) -> usize {
        match self {
            Rows::All => rows,
            Rows::One => 1,
            Rows::Several => [15, 3, 2]
                .into_iter()
                .find(|count| rows > *count && rows.is_multiple_of(*count))
                .unwrap_or(1),
        }
    }
}

/// What a softmax is taken with.
#[derive(Clone, Copy)]
pub(crate) struct Configuration {
    pub(crate) name: &'static str,
    scale: Option<f32>,
    soft_cap: Option<f32>,
    additive: Option<Rows>,
    keep: Option<Rows>,
    /// So many eighths of the columns.
    length: Option<usize>,
    /// Whether each row has a length of its own.
    lengths: bool,
    causal: Option<isize>,
    /// Columns before and after that of the row.
    window: Option<[usize; 2]>,
    sink: Option<f32>,
    zero: bool,
}

const NONE: Configuration = Configuration {
    name: "",
    scale: None,
    soft_cap: None,
    additive: None,
    keep: None,
    length: None,
    lengths: false,
    causal: None,
    window: None,
    sink: None,
    zero: false,
};

#[cfg(feature = "half")]
pub(crate) const SINK: Configuration = Configuration {
    name: "sink, zero if masked",
    sink: Some(1.5),
    zero: true,
    ..NONE
};

#[cfg(feature = "half")]
pub(crate) const MANY: Configuration = Configuration {
    name: "scale, additive, keep, length, sink",
    scale: Some(0.7),
    additive: Some(Rows::Several),
    keep: Some(Rows::One),
    length: Some(7),
    sink: Some(-1.25),
    ..NONE
};

macro_rules! configurations {
    ($($name:literal: $($option:ident = $value:expr),+;)+) => {
        [$({
            let mut configuration = NONE;
            configuration.name = $name;
            $(configuration.$option = $value;)+
            configuration
        }),+]
    };
}

const CONFIGURATIONS: [Configuration; 44] = configurations! {
    "scale 0.125": scale = Some(0.125);
    "scale 1.7": scale = Some(1.7);
    "scale -1": scale = Some(-1.0);
    "scale 0": scale = Some(0.0);
    "scale inf": scale = Some(f32::INFINITY);
    "scale NaN": scale = Some(f32::NAN);
    "soft cap 30": soft_cap = Some(30.0);
    "soft cap 1.5": soft_cap = Some(1.5);
    "soft cap 0": soft_cap = Some(0.0);
    "soft cap inf": soft_cap = Some(f32::INFINITY);
    "additive all": additive = Some(Rows::All);
    "additive one": additive = Some(Rows::One);
    "additive several": additive = Some(Rows::Several);
    "keep all": keep = Some(Rows::All);
    "keep one": keep = Some(Rows::One);
    "keep several": keep = Some(Rows::Several);
    "length 0": length = Some(0);
    "length 0, zero": length = Some(0), zero = true;
    "length 3/8": length = Some(3);
    "length all": length = Some(8);
    "causal 0": causal = Some(0);
    "causal 2": causal = Some(2);
    "causal beyond": causal = Some(10_000);
    "causal -2, zero": causal = Some(-2), zero = true;
    "window 3, 2": window = Some([3, 2]);
    "window 40, causal 5, scale": window = Some([40, 0]), causal = Some(5), scale = Some(0.3);
    "lengths": lengths = true;
    "lengths, keep all, sink": lengths = true, keep = Some(Rows::All), sink = Some(0.25);
    "sink 0.5": sink = Some(0.5);
    "sink 100": sink = Some(100.0);
    "sink -3e38": sink = Some(-3e38);
    "sink -inf": sink = Some(f32::NEG_INFINITY);
    "sink inf": sink = Some(f32::INFINITY);
    "sink NaN": sink = Some(f32::NAN);
    "zero if masked": zero = true;
    "sink -inf, zero": sink = Some(f32::NEG_INFINITY), zero = true;
    "sink inf, length, zero": sink = Some(f32::INFINITY), length = Some(3), zero = true;
    "keep all, zero": keep = Some(Rows::All), zero = true;
    "causal, length": causal = Some(1), length = Some(4);
    "scale, sink": scale = Some(0.3), sink = Some(2.0);
    "scale, keep, causal": scale = Some(0.088_388_346), keep = Some(Rows::Several), causal = Some(0);
    "scale, additive, length, zero":
        scale = Some(0.3), additive = Some(Rows::All), length = Some(5), zero = true;
    "cap, additive, keep, sink":
        soft_cap = Some(20.0), additive = Some(Rows::One), keep = Some(Rows::All), sink = Some(0.0);
    "all together":
        scale = Some(0.5), soft_cap = Some(15.0), additive = Some(Rows::Several),
        keep = Some(Rows::One), length = Some(7), causal = Some(3), sink = Some(-0.75), zero = true;
};

/// The masks of a configuration over some logits.
pub(crate) struct Masks {
    configuration: Configuration,
    additive: Vec<f32>,
    keep: Vec<bool>,
    length: Option<usize>,
    lengths: Option<Vec<usize>>,
    matrix_rows: Option<usize>,
}

impl Masks {
    /// Of `rows` rows, or slabs, of `columns` · `inner` logits.
    pub(crate) fn new(
        configuration: Configuration,
        rows: usize,
        columns: usize,
        inner: usize,
    ) -> Self {
        let logits = columns * inner;
        let mut random = Random((rows * 10_000 + logits) as u64);
        let additive_rows = configuration.additive.map_or(0, |kept| kept.count(rows));
        let additive = (0..additive_rows * logits).map(|_| match random.below(6) {
            0 => f32::NEG_INFINITY,
            1 => -1e30,
            2 => 0.0,
            _ => random.within(2),
        });
        let additive = additive.collect();
        let keep_rows = configuration.keep.map_or(0, |kept| kept.count(rows));
        let keep = (0..keep_rows * logits).map(|place| {
            // Some rows are masked throughout, where there are several.
            let is_masked_row = keep_rows > 1 && place / logits % 4 == 1;
            !is_masked_row && random.below(3) > 0
        });
        let mut keep: Vec<bool> = keep.collect();
        let mut additive: Vec<f32> = additive;
        let has_several =
            [configuration.additive, configuration.keep].contains(&Some(Rows::Several));
        let mut matrix_rows = has_several.then(|| Rows::Several.count(rows));
        if configuration.causal.is_some() {
            // The causal mask does not begin anew with each matrix: masks have all rows.
            matrix_rows = None;
            additive = repeated(&additive, rows * logits);
            keep = repeated(&keep, rows * logits);
        }
        let lengths = configuration.lengths.then(|| {
            matrix_rows = Some(1);
            (0..rows).map(|row| (row * 7 + 3) % (columns + 1)).collect()
        });
        let length = configuration.length.map(|eighths| columns * eighths / 8);
        Masks {
            configuration,
            additive,
            keep,
            length,
            lengths,
            matrix_rows,
        }
    }

    /// The one place that makes a softmax of a configuration.
    pub(crate) fn softmax(&self, backend: Backend) -> Softmax<'_> {
        let configuration = &self.configuration;
        let mut softmax = Softmax::new().backend(backend).expect("it is available");
        if let Some(scale) = configuration.scale {
            softmax = softmax.scale(scale);
        }
        if let Some(cap) = configuration.soft_cap {
            softmax = softmax.soft_cap(cap);
        }
        let shape = [1, 1, self.matrix_rows.unwrap_or(1)];
        if let Some(rows) = self.matrix_rows {
            softmax = softmax.matrix_rows(rows);
        }
        match configuration.additive {
            Some(Rows::Several) if self.matrix_rows.is_some() => {
                let additive = &self.additive;
                softmax = softmax.mask(Mask::AdditiveShaped { additive, shape });
            }
            Some(_) => softmax = softmax.mask(Mask::Additive(&self.additive)),
            None => {}
        }
        match configuration.keep {
            Some(Rows::Several) if self.matrix_rows.is_some() => {
                let keep = &self.keep;
                softmax = softmax.mask(Mask::KeepShaped { keep, shape });
            }
            Some(_) => softmax = softmax.mask(Mask::Keep(&self.keep)),
            None => {}
        }
        if let Some(length) = self.length {
            softmax = softmax.mask(Mask::Length(length));
        }
        if let Some(lengths) = &self.lengths {
            softmax = softmax.mask(Mask::Lengths(lengths));
        }
        if let Some([before, after]) = configuration.window {
            softmax = softmax.mask(Mask::Window { before, after });
        }
        if let Some(offset) = configuration.causal {
            softmax = softmax.mask(Mask::Causal { offset });
        }
        if let Some(sink) = configuration.sink {
            softmax = softmax.sink(sink);
        }
        if configuration.zero {
            softmax = softmax.fully_masked(FullyMasked::Zero);
        }
        softmax
    }
}

/// The values of a mask for all of `len` logits.
fn repeated<T: Copy>(mask: &[T], len: usize) -> Vec<T> {
    mask.iter().copied().cycle().take(len).collect()
}

/// Some are longer than what is prepared at once.
const LENGTHS: [usize; 10] = [0, 1, 4, 5, 17, 64, 65, 130, 545, 2100];

/// One has more logits than are prepared at once.
const MATRICES: [[usize; 2]; 8] = [
    [6, 1],
    [12, 3],
    [12, 10],
    [5, 17],
    [6, 33],
    [60, 100],
    [6, 300],
    [2, 1500],
];

const SHAPES: [[usize; 3]; 6] = [
    [4, 5, 1],
    [6, 70, 1],
    [4, 5, 3],
    [6, 70, 10],
    [2, 33, 40],
    [1, 9, 130],
];

pub(crate) fn digest(record: &mut Record) {
    let rows: Vec<Vec<f32>> = LENGTHS
        .into_iter()
        .flat_map(|len| {
            let every = match len {
                0..=20 => 2,
                21..=200 => 6,
                _ => Kind::EVERY.len(),
            };
            Kind::one_in(every, len).map(move |kind| kind.row(len, 7))
        })
        .collect();
    let matrices = MATRICES.map(|[rows, columns]| (columns, matrix(rows, columns, columns < 1000)));
    let tensors = SHAPES.map(|shape| (shape, tensor(shape)));

    for configuration in CONFIGURATIONS {
        for row in &rows {
            of_row(record, configuration, row);
        }
        for (columns, matrix) in &matrices {
            of_matrix(record, configuration, matrix, *columns);
        }
        for (shape, tensor) in &tensors {
            // A causal mask and a window are of rows.
            let is_of_rows = configuration.causal.is_some() || configuration.window.is_some();
            if !is_of_rows || shape[2] == 1 {
                of_tensor(record, configuration, tensor, *shape);
            }
        }
    }
}

fn of_row(record: &mut Record, configuration: Configuration, row: &[f32]) {
    let masks = Masks::new(configuration, 1, row.len(), 1);
    let softmax = masks.softmax(record.backend);
    let name = configuration.name;

    let mut results = vec![7.0; row.len()];
    let digest = record.of(&format!("{name}: row"));
    digest.normalizer(softmax.row(row, &mut results).unwrap());
    digest.values(&results);
    results.copy_from_slice(row);
    digest.normalizer(softmax.row_in_place(&mut results).unwrap());
    digest.values(&results);
    let digest = record.of(&format!("{name}: log_row"));
    digest.normalizer(softmax.log_row(row, &mut results).unwrap());
    digest.values(&results);
    results.copy_from_slice(row);
    digest.normalizer(softmax.log_row_in_place(&mut results).unwrap());
    digest.values(&results);

    let digest = record.of(&format!("{name}: normalizer, log_sum_exp, top_k"));
    digest.normalizer(softmax.normalizer(row).unwrap());
    digest.value(softmax.log_sum_exp(row).unwrap());
    let mut best = [Candidate::default(); 7];
    digest.candidates(softmax.top_k(row, &mut best).unwrap());

    let Some(last) = row.len().checked_sub(1) else {
        return;
    };
    let target = if row.len().is_multiple_of(2) {
        0
    } else {
        last / 2
    };
    let digest = record.of(&format!("{name}: cross_entropy, gradient"));
    digest.value(softmax.cross_entropy(row, target).unwrap());
    // The gradient through a cap is refused.
    if configuration.soft_cap.is_none() {
        let loss = softmax.cross_entropy_gradient(row, target, &mut results);
        digest.value(loss.unwrap());
        digest.values(&results);
        results.copy_from_slice(row);
        let loss = softmax.cross_entropy_gradient_in_place(&mut results, target);
        digest.value(loss.unwrap());
        digest.values(&results);
    }
}

fn of_matrix(record: &mut Record, configuration: Configuration, logits: &[f32], columns: usize) {
    let masks = Masks::new(configuration, logits.len() / columns, columns, 1);
    let softmax = masks.softmax(record.backend);
    let name = configuration.name;
    let mut results = vec![7.0; logits.len()];
    let digest = record.of(&format!("{name}: rows"));
    softmax.rows(logits, columns, &mut results).unwrap();
    digest.values(&results);
    results.copy_from_slice(logits);
    softmax.rows_in_place(&mut results, columns).unwrap();
    digest.values(&results);
    let digest = record.of(&format!("{name}: log_rows, log_sum_exp_rows"));
    softmax.log_rows(logits, columns, &mut results).unwrap();
    digest.values(&results);
    let mut out = vec![7.0; logits.len() / columns];
    softmax.log_sum_exp_rows(logits, columns, &mut out).unwrap();
    digest.values(&out);
}

fn of_tensor(record: &mut Record, configuration: Configuration, logits: &[f32], shape: [usize; 3]) {
    let masks = Masks::new(configuration, shape[0], shape[1], shape[2]);
    let softmax = masks.softmax(record.backend);
    let name = configuration.name;
    let mut results = vec![7.0; logits.len()];
    let digest = record.of(&format!("{name}: axis"));
    softmax.axis(logits, shape, &mut results).unwrap();
    digest.values(&results);
    results.copy_from_slice(logits);
    softmax.axis_in_place(&mut results, shape).unwrap();
    digest.values(&results);
    let digest = record.of(&format!("{name}: log_axis"));
    softmax.log_axis(logits, shape, &mut results).unwrap();
    digest.values(&results);
}

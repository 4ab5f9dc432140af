//! Every operation over slices that the caller owns, for tests of what else they touch.

use crate::{bits, on};
use online_softmax::{
    Backend, Candidate, CrossEntropy, FullyMasked, Mask, Normalizer, Sampler, Softmax, Stream,
};

/// Slices of one length. No operation touches memory beside them.
pub struct Slices<'a> {
    pub logits: &'a mut [f32],
    pub results: &'a mut [f32],
    pub additive: &'a [f32],
    pub keep: &'a [bool],
}

/// A digest of results: FNV-1a over 32 bits at a time. All NaN are one.
pub struct Digest(pub u64);

impl Default for Digest {
    fn default() -> Self {
        Digest(0xCBF2_9CE4_8422_2325)
    }
}

impl Digest {
    fn number(&mut self, number: u32) {
        self.0 = (self.0 ^ u64::from(number)).wrapping_mul(0x0000_0100_0000_01B3);
    }

    fn value(&mut self, value: f32) {
        self.number(bits(value));
    }

    fn values(&mut self, values: &[f32]) {
        values.iter().for_each(|value| self.value(*value));
    }

    fn normalizer(&mut self, normalizer: Normalizer) {
        self.value(normalizer.max());
        self.value(normalizer.denominator());
        self.value(normalizer.log_sum_exp());
    }
}

/// Logits of every kind that has a form of its own: usual ones, one that is far above the others,
/// one far below, and −∞ at the end. The first is the largest only in some rows.
pub fn fill(logits: &mut [f32]) {
    let len = logits.len();
    for (index, logit) in logits.iter_mut().enumerate() {
        *logit = (index * 37 % 97) as f32 * 0.375 - 20.0;
    }
    if len.is_multiple_of(3)
        && let [first, .., last] = logits
    {
        (*first, *last) = (300.0, f32::NEG_INFINITY);
    }
}

/// The columns of matrices, around the limits between the forms of the crate.
const COLUMNS: [usize; 18] = [
    1, 2, 3, 7, 8, 9, 10, 13, 16, 17, 31, 32, 33, 50, 51, 63, 64, 128,
];

/// The inner dimensions of tensors.
const INNER: [usize; 7] = [2, 3, 8, 17, 31, 33, 128];

/// Calls every operation on `backend`, in place and out of place, as a row and as every matrix and
/// tensor that the slices can be, with and without options. The logits are as before in the end.
pub fn call_everything(backend: Backend, slices: &mut Slices<'_>, digest: &mut Digest) {
    let (additive, keep) = (slices.additive, slices.keep);
    let len = slices.logits.len();
    let plain = on(backend);
    let masked = plain
        .scale(0.75)
        .mask(Mask::Additive(additive))
        .mask(Mask::Keep(keep))
        .sink(-1.0)
        .fully_masked(FullyMasked::Zero);
    exponentials(backend, slices, digest);
    stream(backend, slices, digest);
    gradients(&plain, slices, digest);
    for softmax in [
        plain,
        masked,
        plain.mask(Mask::Length(len / 2)),
        plain.soft_cap(30.0),
    ] {
        row(&softmax, slices, digest);
    }
    sampler(backend, slices, digest);
    for columns in COLUMNS
        .into_iter()
        .filter(|columns| len.is_multiple_of(*columns))
    {
        matrix(&plain, columns, slices, digest);
        matrix(&masked, columns, slices, digest);
        losses(&plain, columns, slices, digest);
        losses(&plain.mask(Mask::Keep(keep)), columns, slices, digest);
        matrix(
            &plain.mask(Mask::Causal { offset: 0 }),
            columns,
            slices,
            digest,
        );
    }
    for inner in INNER.into_iter().filter(|inner| len.is_multiple_of(*inner)) {
        let outer = if (len / inner).is_multiple_of(2) {
            2
        } else {
            1
        };
        let shape = [outer, len / inner / outer, inner];
        tensor(&plain, shape, slices, digest);
        tensor(&masked, shape, slices, digest);
        tensor(
            &plain.mask(Mask::Length(shape[1] / 2)),
            shape,
            slices,
            digest,
        );
    }
}

const FITS: &str = "the lengths fit";

fn sampler(backend: Backend, slices: &mut Slices<'_>, digest: &mut Digest) {
    let sampler = Sampler::new().top_k(50).top_p(0.9).min_p(1e-3);
    let sampler = sampler
        .temperature(0.7)
        .backend(backend)
        .expect("it is available");
    if let Ok(drawn) = sampler.draw(slices.logits, 0.5) {
        digest.number(drawn.index as u32);
        digest.value(drawn.probability);
    }
    digest.number(sampler.kept(slices.logits).count as u32);
}

/// Losses of matrices, and what else goes row by row.
fn losses(softmax: &Softmax<'_>, columns: usize, slices: &mut Slices<'_>, digest: &mut Digest) {
    let rows = slices.logits.len() / columns;
    let targets: Vec<usize> = (0..rows).map(|row| row % columns).collect();
    let plain = CrossEntropy::new().softmax(*softmax);
    for loss in [plain, plain.label_smoothing(0.1).ignore(0)] {
        let (logits, results) = (&*slices.logits, &mut *slices.results);
        let of_rows = &mut results[..rows];
        loss.rows(logits, columns, &targets, of_rows).expect(FITS);
        digest.values(of_rows);
        digest.value(
            loss.gradient(logits, columns, &targets, results)
                .expect(FITS),
        );
        digest.values(results);
        in_place(slices, digest, |row| {
            loss.gradient_in_place(row, columns, &targets).expect(FITS);
        });
    }
    let (logits, results) = (&*slices.logits, &mut *slices.results);
    let (additive, of_rows) = (slices.additive, &mut results[..rows]);
    plain
        .soft_rows(logits, columns, additive, of_rows)
        .expect(FITS);
    digest.values(of_rows);
    let gradient = Softmax::new().softmax_gradient_rows(logits, additive, columns, results);
    gradient.expect(FITS);
    digest.values(results);
}

/// Runs an operation in place, and puts the logits back.
fn in_place(slices: &mut Slices<'_>, digest: &mut Digest, operation: impl FnOnce(&mut [f32])) {
    let before = slices.logits.to_vec();
    operation(slices.logits);
    digest.values(slices.logits);
    slices.logits.copy_from_slice(&before);
}

fn row(softmax: &Softmax<'_>, slices: &mut Slices<'_>, digest: &mut Digest) {
    let (logits, results) = (&*slices.logits, &mut *slices.results);
    digest.normalizer(softmax.row(logits, results).expect(FITS));
    digest.values(results);
    digest.normalizer(softmax.log_row(logits, results).expect(FITS));
    digest.values(results);
    digest.normalizer(softmax.normalizer(logits).expect(FITS));
    digest.value(softmax.log_sum_exp(logits).expect(FITS));
    let mut best = [Candidate::default(); 5];
    let (normalizer, best) = softmax.top_k(logits, &mut best).expect(FITS);
    digest.normalizer(normalizer);
    for candidate in best {
        digest.number(candidate.index as u32);
        digest.value(candidate.probability);
    }
    if let Some(target) = logits.len().checked_sub(1) {
        digest.value(softmax.cross_entropy(logits, target).expect(FITS));
    }
    in_place(slices, digest, |row| {
        softmax.row_in_place(row).expect(FITS);
    });
    in_place(slices, digest, |row| {
        softmax.log_row_in_place(row).expect(FITS);
    });
}

fn matrix(softmax: &Softmax<'_>, columns: usize, slices: &mut Slices<'_>, digest: &mut Digest) {
    let (logits, results) = (&*slices.logits, &mut *slices.results);
    softmax.rows(logits, columns, results).expect(FITS);
    digest.values(results);
    softmax.log_rows(logits, columns, results).expect(FITS);
    digest.values(results);
    // The places of the log-sum-exps once begin and once end where all results do.
    let rows = logits.len() / columns;
    let (first, last) = (0..rows, logits.len() - rows..logits.len());
    for places in [first, last] {
        let out = &mut results[places];
        softmax.log_sum_exp_rows(logits, columns, out).expect(FITS);
        digest.values(out);
    }
    in_place(slices, digest, |rows| {
        softmax.rows_in_place(rows, columns).expect(FITS);
    });
}

fn tensor(softmax: &Softmax<'_>, shape: [usize; 3], slices: &mut Slices<'_>, digest: &mut Digest) {
    let (logits, results) = (&*slices.logits, &mut *slices.results);
    softmax.axis(logits, shape, results).expect(FITS);
    digest.values(results);
    softmax.log_axis(logits, shape, results).expect(FITS);
    digest.values(results);
    in_place(slices, digest, |data| {
        softmax.axis_in_place(data, shape).expect(FITS);
    });
}

fn exponentials(backend: Backend, slices: &mut Slices<'_>, digest: &mut Digest) {
    backend.exp(slices.logits, slices.results).expect(FITS);
    digest.values(slices.results);
}

fn stream(backend: Backend, slices: &mut Slices<'_>, digest: &mut Digest) {
    let mut stream = Stream::new().backend(backend).expect("it is available");
    let (first, second) = slices.logits.split_at(slices.logits.len() / 3);
    stream.extend(first);
    stream.extend(second);
    digest.normalizer(stream.finish());
}

fn gradients(softmax: &Softmax<'_>, slices: &mut Slices<'_>, digest: &mut Digest) {
    let (logits, results) = (&*slices.logits, &mut *slices.results);
    softmax
        .softmax_gradient(slices.additive, logits, results)
        .expect(FITS);
    digest.values(results);
    softmax
        .log_softmax_gradient(slices.additive, logits, results)
        .expect(FITS);
    digest.values(results);
    if let Some(target) = logits.len().checked_sub(1) {
        digest.value(
            softmax
                .cross_entropy_gradient(logits, target, results)
                .expect(FITS),
        );
        digest.values(results);
        in_place(slices, digest, |row| {
            softmax
                .cross_entropy_gradient_in_place(row, target)
                .expect(FITS);
        });
    }
}

//! Scale, soft cap, masks, sink and what a fully masked row is: every form of a call against the
//! plain softmax of logits that were prepared beforehand.

mod errors;
mod fully_masked;
mod gradients;
mod lengths;
mod masks;
mod scale;
mod sink;
mod soft_cap;
mod together;

use online_softmax::{Backend, Candidate, Error, FullyMasked, Mask, Normalizer, Outcome, Softmax};
use support::options::{Setting, capped, divisors};
use support::oracle::Truth;
use support::rows::Random;
use support::verify::expected_outcome;
use support::{
    Bounds, THOROUGH, backends, bits, bits_of, bits_of_parts, is_exhaustive, is_fused, on, setting,
    ulp,
};

/// Logits of a row, or a column, of which some are masked by their own value.
fn random_logits(random: &mut Random, len: usize) -> Vec<f32> {
    let spread = random.pick(&[0.1, 4.0, 30.0, 100.0]);
    let offset = random.pick(&[0.0, 0.0, -60.0, 170.0, 1e4]);
    (0..len)
        .map(|_| match random.below(60) {
            0 => f32::NEG_INFINITY,
            1 => -1e30,
            _ => (offset + (random.unit() - 0.5) * spread) as f32,
        })
        .collect()
}

fn random_additive(random: &mut Random, len: usize) -> Vec<f32> {
    (0..len)
        .map(|_| match random.below(5) {
            0 => f32::NEG_INFINITY,
            1 => random.pick(&[0.0, -1e30, -3.5]),
            _ => (random.unit() * 8.0 - 4.0) as f32,
        })
        .collect()
}

fn random_keep(random: &mut Random, len: usize) -> Vec<bool> {
    (0..len).map(|_| random.below(3) != 0).collect()
}

/// Each option alone, then some together. `inner` is 1 for a matrix.
fn settings(random: &mut Random, rows: usize, axis: usize, inner: usize) -> Vec<Setting> {
    let slab = axis * inner;
    let mut settings = Vec::new();
    let combinations = if THOROUGH { 16 } else { 6 };
    for index in 0..22 + combinations {
        let is_chosen = |alone: core::ops::Range<usize>, random: &mut Random| {
            alone.contains(&index) || index >= 22 && random.below(3) == 0
        };
        let mut setting = setting!(is_zero: random.below(2) == 0);
        if is_chosen(0..3, random) {
            setting.scale = Some(random.pick(&[0.125, 0.3, -1.5, 0.0, 1e-30]));
        }
        if is_chosen(3..6, random) {
            setting.soft_cap = Some(random.pick(&[0.5, 5.0, 30.0, -50.0]));
        }
        let mask_rows = random.pick(&divisors(rows));
        if is_chosen(6..9, random) {
            setting.additive = Some(random_additive(random, mask_rows * slab));
        }
        if is_chosen(9..12, random) {
            setting.keep = Some(random_keep(random, mask_rows * slab));
        }
        if is_chosen(12..15, random) {
            setting.length = Some(
                random
                    .pick(&[0, 1, axis / 2, axis - axis / 3, axis])
                    .min(axis),
            );
        }
        if setting.additive.is_some() && setting.scale.is_some() {
            // No −∞ becomes +∞ or NaN behind it: `nothing_behind_an_additive_mask_matters`.
            setting.scale = Some(0.3);
        }
        if inner == 1 && is_chosen(15..18, random) {
            setting.causal = Some(random.pick(&[0, axis / 2, usize::MAX - 1, usize::MAX]));
        }
        if is_chosen(18..22, random) {
            let sinks = [f32::NEG_INFINITY, -200.0, 0.0, 50.0, 130.0, 1e4];
            setting.sink = Some(random.pick(&sinks));
        }
        settings.push(setting);
    }
    settings
}

/// Holds results against the true ones, and keeps the worst error of probabilities and logarithms.
struct Judge {
    backend: Backend,
    worst: [f64; 2],
}

impl Judge {
    fn new(backend: Backend) -> Self {
        Judge {
            backend,
            worst: [0.0; 2],
        }
    }

    fn print(&self, what: &str) {
        let ([softmax, log_softmax], name) = (self.worst, self.backend.name());
        println!("{name}: {what}: softmax {softmax:.3}, log-softmax {log_softmax:.3} ULP");
    }

    /// The results, or logarithms, of a row or column, of which `prepared` are the logits.
    fn hold(&mut self, setting: &Setting, prepared: &[f32], results: &[f32], is_log: bool) {
        let bounds = Bounds::of(self.backend);
        let all = setting.with_sink(prepared);
        let instead = match expected_outcome(&all) {
            Outcome::Finite | Outcome::Empty => None,
            Outcome::FullyMasked if setting.is_zero && is_log => Some(f32::NEG_INFINITY),
            Outcome::FullyMasked if setting.is_zero => Some(0.0),
            _ => Some(f32::NAN),
        };
        if let Some(instead) = instead {
            let expected = vec![bits(instead); results.len()];
            assert_eq!(bits_of(results), expected, "{}", self.context(setting));
            return;
        }
        if prepared.is_empty() {
            return;
        }
        let truth = Truth::of(&all);
        for (logit, got) in prepared.iter().zip(results) {
            let context = || format!("{logit}: {got:e}, {}", self.context(setting));
            let (error, bound) = if *logit == f32::NEG_INFINITY {
                let masked = if is_log { f32::NEG_INFINITY } else { 0.0 };
                assert_eq!(got.to_bits(), masked.to_bits(), "{}", context());
                continue;
            } else if is_log {
                let expected = truth.log_probability(*logit);
                (ulp::error(*got, expected), bounds.log_softmax)
            } else {
                let expected = truth.probability(*logit);
                if expected < Bounds::SMALL {
                    let error = (f64::from(*got) - expected).abs();
                    assert!(error <= Bounds::SMALL, "{}", context());
                    continue;
                }
                (ulp::error(*got, expected), bounds.softmax)
            };
            assert!(error <= bound, "{error} ULP: {}", context());
            let worst = &mut self.worst[usize::from(is_log)];
            *worst = worst.max(error);
        }
    }

    fn context(&self, setting: &Setting) -> String {
        let mut text = format!("{}: {setting:?}", self.backend.name());
        text.truncate(1000);
        text
    }

    /// All forms of a call for a matrix, and those for one row for each of its rows.
    fn matrix(&mut self, setting: &Setting, logits: &[f32], columns: usize) {
        let softmax = setting.on(self.backend);
        let prepared = setting.prepared(self.backend, logits, columns, 1);
        let mut results = vec![f32::MAX; logits.len()];
        softmax.rows(logits, columns, &mut results).unwrap();
        let mut logs = vec![f32::MAX; logits.len()];
        softmax.log_rows(logits, columns, &mut logs).unwrap();
        let mut in_place = logits.to_vec();
        softmax.rows_in_place(&mut in_place, columns).unwrap();
        let context = self.context(setting);
        assert!(bits_of(&in_place) == bits_of(&results), "{context}");
        let mut sums = vec![f32::MAX; logits.len() / columns];
        softmax
            .log_sum_exp_rows(logits, columns, &mut sums)
            .unwrap();
        for (row, sum) in sums.iter().enumerate() {
            let place = row * columns..(row + 1) * columns;
            let (results, logs) = (&results[place.clone()], &logs[place.clone()]);
            let prepared = &prepared[place.clone()];
            self.hold(setting, prepared, results, false);
            self.hold(setting, prepared, logs, true);
            let of_row = setting.of_row(row, columns);
            let forms = self.row(&of_row, &logits[place], prepared);
            let context = || self.context(&of_row);
            assert!(forms.0 == bits_of(results), "row {row}: {}", context());
            assert!(forms.1 == bits_of(logs), "log_row {row}: {}", context());
            assert_eq!(forms.2, bits(*sum), "row {row}: {}", context());
        }
    }

    /// The bits of all forms of a call for a row: of its softmax, log-softmax and log-sum-exp.
    fn row(
        &self,
        setting: &Setting,
        logits: &[f32],
        prepared: &[f32],
    ) -> (Vec<u32>, Vec<u32>, u32) {
        let softmax = setting.on(self.backend);
        let context = || self.context(setting);
        let mut results = vec![f32::MAX; logits.len()];
        let of_row = softmax.row(logits, &mut results).unwrap();
        let mut logs = vec![f32::MAX; logits.len()];
        let of_log_row = softmax.log_row(logits, &mut logs).unwrap();
        for (results, is_log) in [(&results, false), (&logs, true)] {
            let mut in_place = logits.to_vec();
            if is_log {
                softmax.log_row_in_place(&mut in_place).unwrap();
            } else {
                softmax.row_in_place(&mut in_place).unwrap();
            }
            assert!(bits_of(&in_place) == bits_of(results), "{}", context());
        }

        let normalizer = softmax.normalizer(logits).unwrap();
        let mut places = vec![Candidate::default(); logits.len().min(5)];
        let (of_top_k, best) = softmax.top_k(logits, &mut places).unwrap();
        let all = setting.with_sink(prepared);
        let outcome = expected_outcome(&all);
        let truth = (outcome == Outcome::Finite).then(|| Truth::of(&all));
        for (form, normalizer) in [
            ("row", of_row),
            ("log_row", of_log_row),
            ("normalizer", normalizer),
            ("top_k", of_top_k),
        ] {
            assert_eq!(normalizer.outcome(), outcome, "{form}: {}", context());
            if let Some(truth) = truth {
                let got = normalizer.log_sum_exp();
                let error = ulp::error_above_one(got, truth.log_sum_exp());
                let bound = Bounds::of(self.backend).log_sum_exp;
                assert!(error <= bound, "{form}: {got}: {}", context());
            }
        }
        self.best(setting, prepared, best, truth);
        self.loss(setting, logits, prepared, truth);
        let log_sum_exp = softmax.log_sum_exp(logits).unwrap();
        match truth {
            Some(truth) => {
                let error = ulp::error_above_one(log_sum_exp, truth.log_sum_exp());
                let bound = Bounds::of(self.backend).log_sum_exp;
                assert!(error <= bound, "{log_sum_exp}: {}", context());
            }
            None => assert_eq!(bits(log_sum_exp), bits(normalizer.log_sum_exp())),
        }
        (bits_of(&results), bits_of(&logs), bits(log_sum_exp))
    }

    fn best(&self, setting: &Setting, prepared: &[f32], best: &[Candidate], truth: Option<Truth>) {
        let mut sorted: Vec<usize> = (0..prepared.len()).collect();
        sorted.retain(|index| !prepared[*index].is_nan());
        sorted.sort_by(|a, b| prepared[*b].partial_cmp(&prepared[*a]).unwrap());
        sorted.truncate(prepared.len().min(5));
        let found: Vec<usize> = best.iter().map(|candidate| candidate.index).collect();
        assert_eq!(found, sorted, "{}", self.context(setting));
        let is_masked = expected_outcome(&setting.with_sink(prepared)) == Outcome::FullyMasked;
        for candidate in best {
            assert_eq!(candidate.logit, prepared[candidate.index]);
            let is_right = match truth {
                Some(truth) => {
                    ulp::error(candidate.probability, truth.probability(candidate.logit)) <= 1.0
                }
                None if is_masked && setting.is_zero => candidate.probability.to_bits() == 0,
                None => candidate.probability.is_nan(),
            };
            assert!(is_right, "{candidate:?}: {}", self.context(setting));
        }
    }

    fn loss(&self, setting: &Setting, logits: &[f32], prepared: &[f32], truth: Option<Truth>) {
        let is_masked = expected_outcome(&setting.with_sink(prepared)) == Outcome::FullyMasked;
        for target in [0, prepared.len() / 2, prepared.len() - 1] {
            let loss = setting.on(self.backend).cross_entropy(logits, target);
            let loss = loss.unwrap();
            let is_right = match truth {
                Some(_) if prepared[target] == f32::NEG_INFINITY => loss == f32::INFINITY,
                Some(truth) => {
                    let expected = -truth.log_probability(prepared[target]);
                    ulp::error(loss, expected) <= Bounds::of(self.backend).log_softmax
                }
                None if is_masked && setting.is_zero => loss == f32::INFINITY,
                None => loss.is_nan(),
            };
            assert!(is_right, "loss {loss}: {}", self.context(setting));
        }
    }

    /// All forms of a call for a tensor of `shape`.
    fn tensor(&mut self, setting: &Setting, logits: &[f32], shape: [usize; 3]) {
        let [outer, axis, inner] = shape;
        let softmax = setting.on(self.backend);
        let mut sums = vec![f32::MAX; outer * inner];
        softmax.log_sum_exp_axis(logits, shape, &mut sums).unwrap();
        let mut results = vec![f32::MAX; logits.len()];
        softmax.axis(logits, shape, &mut results).unwrap();
        let mut in_place = logits.to_vec();
        softmax.axis_in_place(&mut in_place, shape).unwrap();
        let context = self.context(setting);
        assert!(bits_of(&in_place) == bits_of(&results), "{context}");
        let mut logs = vec![f32::MAX; logits.len()];
        softmax.log_axis(logits, shape, &mut logs).unwrap();
        let prepared = setting.prepared(self.backend, logits, axis, inner);
        let slabs = prepared
            .chunks(axis * inner)
            .zip(results.chunks(axis * inner));
        let sums = sums.chunks(inner);
        for (((prepared, results), logs), sums) in slabs.zip(logs.chunks(axis * inner)).zip(sums) {
            for column in 0..inner {
                let of = |slab: &[f32]| -> Vec<f32> {
                    slab[column..].iter().step_by(inner).copied().collect()
                };
                self.hold(setting, &of(prepared), &of(results), false);
                self.hold(setting, &of(prepared), &of(logs), true);
                let all = setting.with_sink(&of(prepared));
                let expected: Normalizer = all.iter().copied().collect();
                let (got, expected) = (sums[column], expected.log_sum_exp());
                let is_right = bits(got) == bits(expected)
                    || ulp::error_above_one(got, f64::from(expected)) <= 2.0;
                assert!(is_right, "{got}, not {expected}: {}", self.context(setting));
            }
        }
    }
}

/// All bits of a call for a matrix; of one row, those of the forms for a row too.
fn all_bits(softmax: &Softmax, logits: &[f32], columns: usize) -> Vec<u32> {
    let mut all = Vec::new();
    let mut results = vec![f32::MAX; logits.len()];
    softmax.rows(logits, columns, &mut results).unwrap();
    all.extend(bits_of(&results));
    softmax.log_rows(logits, columns, &mut results).unwrap();
    all.extend(bits_of(&results));
    let mut sums = vec![f32::MAX; logits.len() / columns];
    softmax
        .log_sum_exp_rows(logits, columns, &mut sums)
        .unwrap();
    all.extend(bits_of(&sums));
    if logits.len() == columns {
        let mut take = |normalizer: Normalizer| {
            let (max, rest) = bits_of_parts(normalizer);
            all.extend([max, rest as u32, (rest >> 32) as u32]);
        };
        take(softmax.row(logits, &mut results).unwrap());
        take(softmax.normalizer(logits).unwrap());
        let mut places = [Candidate::default(); 4];
        let (normalizer, best) = softmax.top_k(logits, &mut places).unwrap();
        take(normalizer);
        for candidate in best {
            let Candidate {
                index,
                logit,
                probability,
            } = *candidate;
            all.extend([index as u32, bits(logit + 0.0), bits(probability)]);
        }
        for target in [0, columns / 2, columns - 1] {
            all.push(bits(softmax.cross_entropy(logits, target).unwrap()));
        }
    }
    all
}

fn axis_bits(softmax: &Softmax, logits: &[f32], shape: [usize; 3]) -> Vec<u32> {
    let mut results = vec![f32::MAX; logits.len()];
    softmax.axis(logits, shape, &mut results).unwrap();
    let mut all = bits_of(&results);
    softmax.log_axis(logits, shape, &mut results).unwrap();
    all.extend(bits_of(&results));
    let mut sums = vec![f32::MAX; shape[0] * shape[2]];
    softmax.log_sum_exp_axis(logits, shape, &mut sums).unwrap();
    all.extend(bits_of(&sums));
    all
}

/// Rows and columns: some matrices have more logits than are prepared at a time.
const MATRICES: [(usize, usize); 14] = [
    (1, 1),
    (4, 1),
    (3, 2),
    (7, 5),
    (5, 33),
    (4, 64),
    (9, 100),
    (2, 129),
    (3, 300),
    (2, 545),
    (1, 1000),
    (97, 100),
    (20, 544),
    (2, 3000),
];

const TENSORS: [[usize; 3]; 9] = [
    [1, 1, 2],
    [2, 3, 2],
    [3, 7, 5],
    [2, 9, 33],
    [4, 8, 17],
    [1, 20, 256],
    [3, 65, 31],
    [2, 50, 100],
    [1, 300, 3],
];

//! Scale, soft cap, masks, sink and what a fully masked row is: every form of a call against the
//! plain softmax of logits that were prepared beforehand.

use online_softmax::{Backend, Candidate, Error, FullyMasked, Mask, Normalizer, Outcome, Softmax};
use support::oracle::Truth;
use support::rows::Random;
use support::verify::expected_outcome;
use support::{
    Bounds, THOROUGH, backends, bits, bits_of, bits_of_parts, is_exhaustive, is_fused, ulp,
};

support::on_every_backend!(
    matrices_with_options,
    long_rows_with_options,
    tensors_with_options,
    scale_is_multiplication_beforehand,
    hyperbolic_tangent,
    soft_cap_is_cap_times_tangent,
    length_and_causal_are_keep,
    length_and_causal_of_equal_logits_are_keep,
    nothing_behind_a_mask_matters,
    nothing_behind_an_additive_mask_matters,
    masks_repeat,
    sinks_of_all_sizes,
    infinite_sinks_and_nan,
    fully_masked_rows,
    order_of_options,
    attention,
    gradient_of_cross_entropy,
    errors_write_nothing,
    gradients_refuse_options,
);

fn on(backend: Backend) -> Softmax<'static> {
    Softmax::new().backend(backend).expect("it is available")
}

/// The options of a softmax, and what they mean.
#[derive(Clone, Debug, Default)]
struct Setting {
    scale: Option<f32>,
    soft_cap: Option<f32>,
    additive: Option<Vec<f32>>,
    keep: Option<Vec<bool>>,
    length: Option<usize>,
    causal: Option<usize>,
    sink: Option<f32>,
    is_zero: bool,
}

/// With these options alone.
macro_rules! setting {
    ($($option:ident $(: $value:expr)?),*) => {
        Setting { $($option $(: $value)?,)* ..Setting::default() }
    };
}

impl Setting {
    fn on(&self, backend: Backend) -> Softmax<'_> {
        let mut softmax = on(backend);
        // From the last to the first: the order of the calls does not matter.
        if self.is_zero {
            softmax = softmax.fully_masked(FullyMasked::Zero);
        }
        if let Some(sink) = self.sink {
            softmax = softmax.sink(sink);
        }
        if let Some(first) = self.causal {
            softmax = softmax.mask(Mask::Causal { first });
        }
        if let Some(length) = self.length {
            softmax = softmax.mask(Mask::Length(length));
        }
        if let Some(keep) = &self.keep {
            softmax = softmax.mask(Mask::Keep(keep));
        }
        if let Some(additive) = &self.additive {
            softmax = softmax.mask(Mask::Additive(additive));
        }
        if let Some(cap) = self.soft_cap {
            softmax = softmax.soft_cap(cap);
        }
        if let Some(scale) = self.scale {
            softmax = softmax.scale(scale);
        }
        softmax
    }

    /// What one row of a matrix is to be called with.
    fn of_row(&self, row: usize, columns: usize) -> Setting {
        let start = |len: usize| row % (len / columns) * columns;
        let mut of_row = self.clone();
        if let Some(keep) = &self.keep {
            of_row.keep = Some(keep[start(keep.len())..][..columns].to_vec());
        }
        if let Some(additive) = &self.additive {
            of_row.additive = Some(additive[start(additive.len())..][..columns].to_vec());
        }
        of_row.causal = self.causal.map(|first| first.saturating_add(row));
        of_row
    }

    /// The logits that the softmax is of, in slabs of `axis` · `inner`.
    fn prepared(&self, backend: Backend, logits: &[f32], axis: usize, inner: usize) -> Vec<f32> {
        let slab = axis * inner;
        let prepared = logits.iter().enumerate().map(|(place, logit)| {
            let (row, column) = (place / slab, place % slab / inner);
            let in_mask = |len: usize| row % (len / slab) * slab + place % slab;
            let mut logit = *logit;
            if let Some(scale) = self.scale {
                logit *= scale;
            }
            if let Some(cap) = self.soft_cap {
                logit = capped(backend, logit, cap);
            }
            let keep = self.keep.as_ref().map(|keep| keep[in_mask(keep.len())]);
            let bias = self.additive.as_ref().map(|mask| mask[in_mask(mask.len())]);
            let is_masked = keep == Some(false)
                || bias == Some(f32::NEG_INFINITY)
                || self.length.is_some_and(|length| column >= length)
                || self
                    .causal
                    .is_some_and(|first| column > first.saturating_add(row));
            if is_masked {
                f32::NEG_INFINITY
            } else {
                logit + bias.unwrap_or(-0.0)
            }
        });
        prepared.collect()
    }
}

/// cap · tanh(logit / cap) as the crate has it, which `soft_cap_is_cap_times_tangent` tests.
fn capped(backend: Backend, logit: f32, cap: f32) -> f32 {
    let softmax = on(backend).soft_cap(cap);
    softmax.normalizer(&[logit]).unwrap().max()
}

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
        let mask_rows = random.pick(&[1, 2, 3, rows]).min(rows);
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
        let all = with_sink(prepared, setting);
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
        let all = with_sink(prepared, setting);
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
        assert_eq!(bits(log_sum_exp), bits(normalizer.log_sum_exp()));
        (bits_of(&results), bits_of(&logs), bits(log_sum_exp))
    }

    fn best(&self, setting: &Setting, prepared: &[f32], best: &[Candidate], truth: Option<Truth>) {
        let mut sorted: Vec<usize> = (0..prepared.len()).collect();
        sorted.retain(|index| !prepared[*index].is_nan());
        sorted.sort_by(|a, b| prepared[*b].partial_cmp(&prepared[*a]).unwrap());
        sorted.truncate(prepared.len().min(5));
        let found: Vec<usize> = best.iter().map(|candidate| candidate.index).collect();
        assert_eq!(found, sorted, "{}", self.context(setting));
        let is_masked = expected_outcome(&with_sink(prepared, setting)) == Outcome::FullyMasked;
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
        let is_masked = expected_outcome(&with_sink(prepared, setting)) == Outcome::FullyMasked;
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
        let [_, axis, inner] = shape;
        let softmax = setting.on(self.backend);
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
        for ((prepared, results), logs) in slabs.zip(logs.chunks(axis * inner)) {
            for column in 0..inner {
                let of = |slab: &[f32]| -> Vec<f32> {
                    slab[column..].iter().step_by(inner).copied().collect()
                };
                self.hold(setting, &of(prepared), &of(results), false);
                self.hold(setting, &of(prepared), &of(logs), true);
            }
        }
    }
}

fn with_sink(prepared: &[f32], setting: &Setting) -> Vec<f32> {
    prepared.iter().copied().chain(setting.sink).collect()
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

fn matrices_with_options(backend: Backend) {
    let mut random = Random(1);
    let mut judge = Judge::new(backend);
    for (rows, columns) in MATRICES {
        if THOROUGH || rows * columns <= 1000 {
            for setting in settings(&mut random, rows, columns, 1) {
                let logits: Vec<f32> = (0..rows)
                    .flat_map(|_| random_logits(&mut random, columns))
                    .collect();
                judge.matrix(&setting, &logits, columns);
            }
        }
    }
    judge.print("matrices");
}

/// One row longer than what is prepared at a time, and such a one after another.
fn long_rows_with_options(backend: Backend) {
    let mut random = Random(2);
    let mut judge = Judge::new(backend);
    for (rows, columns) in [(1, 4097), (2, 10_007)] {
        let settings = settings(&mut random, rows, columns, 1);
        for setting in settings.iter().step_by(if THOROUGH { 1 } else { 5 }) {
            let logits = random_logits(&mut random, rows * columns);
            judge.matrix(setting, &logits, columns);
        }
    }
    judge.print("long rows");
}

fn tensors_with_options(backend: Backend) {
    let mut random = Random(3);
    let mut judge = Judge::new(backend);
    for shape in TENSORS {
        let [outer, axis, inner] = shape;
        for setting in settings(&mut random, outer, axis, inner) {
            let mut logits = random_logits(&mut random, outer * axis * inner);
            // Columns far apart.
            for (place, logit) in logits.iter_mut().enumerate() {
                *logit += [0.0, -300.0, 1e3, 0.5, 150.0][place % inner % 5];
            }
            judge.tensor(&setting, &logits, shape);
        }
    }
    judge.print("tensors");
}

fn scale_is_multiplication_beforehand(backend: Backend) {
    let mut random = Random(4);
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    for scale in [
        0.0,
        -0.0,
        -1.5,
        0.125,
        1.0 / 3.0,
        1e-40,
        1e30,
        inf,
        -inf,
        nan,
    ] {
        for special in [
            None,
            Some(0.0),
            Some(-0.0),
            Some(-inf),
            Some(inf),
            Some(nan),
        ] {
            let mut both = |len: usize| {
                let mut logits = random_logits(&mut random, len);
                if let Some(special) = special {
                    logits[random.below(len)] = special;
                }
                let scaled: Vec<f32> = logits.iter().map(|logit| logit * scale).collect();
                (logits, scaled)
            };
            let softmax = on(backend).scale(scale);
            for (rows, columns) in [(1, 1), (1, 40), (1, 5000), (3, 7), (9, 600), (2, 2)] {
                let (logits, scaled) = both(rows * columns);
                let expected = all_bits(&on(backend), &scaled, columns);
                let got = all_bits(&softmax, &logits, columns);
                assert!(got == expected, "{backend:?}: {scale}, {rows} × {columns}");
            }
            for shape in [[1, 1, 2], [2, 9, 33], [3, 20, 256]] {
                let (logits, scaled) = both(shape.iter().product());
                let expected = axis_bits(&on(backend), &scaled, shape);
                let got = axis_bits(&softmax, &logits, shape);
                assert!(got == expected, "{backend:?}: {scale}, {shape:?}");
            }
        }
    }
}

/// The documented bound of the tangent, as the soft cap of 1 shows it.
fn hyperbolic_tangent(backend: Backend) {
    let softmax = on(backend).soft_cap(1.0);
    let mut worst = (0.0, 0.0);
    // In descending order, as top_k gives them.
    let mut check = |arguments: &[f32]| {
        let mut places = [Candidate::default(); 64];
        let (_, found) = softmax.top_k(arguments, &mut places).unwrap();
        assert_eq!(found.len(), arguments.len());
        for candidate in found {
            let y = arguments[candidate.index];
            let error = ulp::error(candidate.logit, f64::from(y).tanh());
            assert!(
                error <= 3.0,
                "{backend:?}: tanh {y:e} is {:e}",
                candidate.logit
            );
            if error > worst.0 {
                worst = (error, y);
            }
        }
    };
    let step = match (is_exhaustive(), THOROUGH) {
        (true, _) => 1,
        (_, true) => 991,
        _ => 99_991,
    };
    // All magnitudes to +∞, and between 2^−6 and 16 more of them.
    let all = (0..=f32::INFINITY.to_bits()).rev().step_by(step);
    let middle = (0.015625_f32.to_bits()..16_f32.to_bits())
        .rev()
        .step_by(step.div_ceil(12));
    let magnitudes: Vec<f32> = if is_exhaustive() {
        Vec::new()
    } else {
        all.clone().chain(middle).map(f32::from_bits).collect()
    };
    let mut check_both = |chunk: &[f32]| {
        check(chunk);
        check(&chunk.iter().rev().map(|y| -y).collect::<Vec<f32>>());
    };
    if is_exhaustive() {
        let mut all = all.map(f32::from_bits).peekable();
        while all.peek().is_some() {
            check_both(&all.by_ref().take(64).collect::<Vec<f32>>());
        }
    }
    for chunk in magnitudes.chunks(64) {
        check_both(chunk);
    }
    check_both(&[
        f32::INFINITY,
        f32::MAX,
        20.0,
        9.1,
        1.0,
        f32::MIN_POSITIVE,
        1e-45,
        0.0,
    ]);
    println!(
        "{}: tanh {:.3} ULP at {:e}",
        backend.name(),
        worst.0,
        worst.1
    );

    for (y, expected) in [(f32::INFINITY, 1.0), (f32::NEG_INFINITY, -1.0), (0.0, 0.0)] {
        assert_eq!(capped(backend, y, 1.0), expected);
    }
    assert!(capped(backend, f32::NAN, 1.0).is_nan());
}

fn soft_cap_is_cap_times_tangent(backend: Backend) {
    let mut random = Random(5);
    let (mut worst, mut worst_result): (f64, f64) = (0.0, 0.0);
    for cap in [0.01, 0.1, 1.0, 5.0, 30.0, -50.0, 1e-30, 1e30] {
        for len in [1, 2, 33, 200, 700] {
            let logits = random_logits(&mut random, len);
            let tangent = |logit: &f32| f64::from(logit / cap).tanh();
            for logit in &logits {
                let expected = tangent(logit) * f64::from(cap);
                // 3 ULP of the tangent are at most 6 of the product.
                let error = ulp::error(capped(backend, *logit, cap), expected);
                assert!(error <= 6.5, "{backend:?}: {logit} to {cap}");
                worst = worst.max(error);
            }
            if cap.abs() > 100.0 {
                continue;
            }
            // The logits may be 4.5 · 2^−24 · cap from these, and so the maximum.
            let bound = Bounds::of(backend).softmax + 9.0 * f64::from(cap.abs());
            let correct: Vec<f32> = logits.iter().map(|z| tangent(z) as f32 * cap).collect();
            let truth = Truth::of(&correct);
            let mut results = vec![f32::MAX; len];
            let softmax = on(backend).soft_cap(cap);
            softmax.row(&logits, &mut results).unwrap();
            for (got, logit) in results.iter().zip(&correct) {
                let error = ulp::error(*got, truth.probability(*logit));
                assert!(error <= bound, "{backend:?}: {error} ULP, {cap}");
                if cap.abs() <= 0.1 {
                    worst_result = worst_result.max(error);
                }
            }
        }
    }
    let name = backend.name();
    println!("{name}: soft cap {worst:.3} ULP, softmax with a small one {worst_result:.3} ULP");
    for (cap, logit) in [(0.0, 0.0), (f32::INFINITY, 1.0), (f32::NAN, 1.0)] {
        let mut row = [2.0, logit];
        on(backend).soft_cap(cap).row_in_place(&mut row).unwrap();
        assert!(row.iter().all(|value| value.is_nan()), "{cap}");
    }
}

/// The mask of lengths and causes as one to keep.
fn as_keep(setting: &Setting, rows: usize, axis: usize, inner: usize) -> Setting {
    let seen = |place: usize| {
        let (row, column) = (place / (axis * inner), place / inner % axis);
        setting.length.is_none_or(|length| column < length)
            && setting
                .causal
                .is_none_or(|first| column <= first.saturating_add(row))
    };
    Setting {
        keep: Some((0..rows * axis * inner).map(seen).collect()),
        length: None,
        causal: None,
        ..setting.clone()
    }
}

fn check_as_keep(
    backend: Backend,
    sinks: &[Option<f32>],
    mut logits: impl FnMut(&mut Random, usize) -> Vec<f32>,
) {
    let mut random = Random(6);
    let is_small = |(rows, columns): &(usize, usize)| THOROUGH || rows * columns <= 1000;
    for (rows, columns) in MATRICES.into_iter().filter(is_small) {
        for length in [None, Some(0), Some(columns.div_ceil(2)), Some(columns)] {
            for causal in [None, Some(0), Some(columns / 3), Some(usize::MAX)] {
                let (is_zero, sink) = (random.below(2) == 0, random.pick(sinks));
                let setting = setting!(length, causal, is_zero, sink);
                let keep = as_keep(&setting, rows, columns, 1);
                let logits = logits(&mut random, rows * columns);
                let expected = all_bits(&keep.on(backend), &logits, columns);
                let got = all_bits(&setting.on(backend), &logits, columns);
                let context = format!("{rows} × {columns}: {setting:?}: {:?}", &logits[..1]);
                assert!(got == expected, "{backend:?}: {context}");
            }
        }
    }
    for shape in TENSORS {
        let [outer, axis, inner] = shape;
        for length in 0..=axis.min(9) {
            let (is_zero, sink) = (random.below(2) == 0, random.pick(sinks));
            let setting = setting!(length: Some(length), is_zero, sink);
            let keep = as_keep(&setting, outer, axis, inner);
            let logits = logits(&mut random, outer * axis * inner);
            let expected = axis_bits(&keep.on(backend), &logits, shape);
            let got = axis_bits(&setting.on(backend), &logits, shape);
            assert!(got == expected, "{backend:?}: {shape:?}: {setting:?}");
        }
    }
}

fn length_and_causal_are_keep(backend: Backend) {
    check_as_keep(backend, &[None, Some(f32::INFINITY)], random_logits);
}

fn length_and_causal_of_equal_logits_are_keep(backend: Backend) {
    check_as_keep(backend, &[None, Some(0.5)], |random, len| {
        vec![random.pick(&[0.0, 0.3, -7.7, 1e3]); len]
    });
}

/// Masked logits of any value give the bits that zeros give.
fn check_behind(backend: Backend, masks: &[Setting], shape: [usize; 3]) {
    let [rows, axis, inner] = shape;
    let mut random = Random(7);
    for mask in masks {
        let prepared = mask.prepared(backend, &vec![0.0; rows * axis * inner], axis, inner);
        for with in [
            Setting::default(),
            setting!(scale: Some(0.5), soft_cap: Some(3.0)),
            setting!(sink: Some(1.0), is_zero: true),
        ] {
            let setting = Setting {
                scale: with.scale,
                soft_cap: with.soft_cap,
                sink: with.sink,
                is_zero: with.is_zero,
                ..mask.clone()
            };
            let mut logits = random_logits(&mut random, rows * axis * inner);
            let mut bits_with = |behind: f32| {
                for (logit, prepared) in logits.iter_mut().zip(&prepared) {
                    if *prepared == f32::NEG_INFINITY {
                        *logit = behind;
                    }
                }
                let softmax = setting.on(backend);
                if inner == 1 {
                    all_bits(&softmax, &logits, axis)
                } else {
                    axis_bits(&softmax, &logits, shape)
                }
            };
            let expected = bits_with(0.0);
            for behind in [
                f32::NAN,
                -f32::NAN,
                f32::INFINITY,
                f32::MAX,
                f32::NEG_INFINITY,
            ] {
                assert!(
                    bits_with(behind) == expected,
                    "{backend:?}: {behind} in {shape:?} behind {setting:?}"
                );
            }
        }
    }
}

fn nothing_behind_a_mask_matters(backend: Backend) {
    let mut random = Random(8);
    for shape in [
        [1, 2, 1],
        [1, 40, 1],
        [1, 600, 1],
        [5, 33, 1],
        [2, 9, 33],
        [3, 4, 256],
    ] {
        let [rows, axis, inner] = shape;
        let keep = Some(random_keep(&mut random, rows * axis * inner));
        let mut masks = vec![
            setting!(keep),
            setting!(length: Some(axis / 2)),
            setting!(length: Some(0)),
        ];
        if inner == 1 {
            masks.push(setting!(causal: Some(0)));
        }
        check_behind(backend, &masks, shape);
    }
}

fn nothing_behind_an_additive_mask_matters(backend: Backend) {
    let mut random = Random(9);
    for shape in [[1, 2, 1], [1, 40, 1], [1, 600, 1], [5, 33, 1], [2, 9, 33]] {
        let mut additive = random_additive(&mut random, shape.iter().product());
        additive[0] = f32::NEG_INFINITY;
        let mask = setting!(additive: Some(additive));
        check_behind(backend, &[mask], shape);
    }
}

/// A mask of fewer rows gives the bits of one that has them all.
fn masks_repeat(backend: Backend) {
    let mut random = Random(10);
    for [rows, axis, inner] in [
        [2, 3, 1],
        [7, 5, 1],
        [97, 100, 1],
        [20, 544, 1],
        [3, 4097, 1],
        [5, 3, 2],
        [7, 4, 256],
    ] {
        let slab = axis * inner;
        for mask_rows in [1, 2, 3, 5, 50, rows - 1, rows] {
            if mask_rows > rows {
                continue;
            }
            let logits = random_logits(&mut random, rows * slab);
            let additive = random_additive(&mut random, mask_rows * slab);
            let keep = random_keep(&mut random, (1 + mask_rows / 2) * slab);
            let all_additive = additive.iter().copied().cycle().take(rows * slab);
            let all_keep = keep.iter().copied().cycle().take(rows * slab);
            let long = setting!(
                additive: Some(all_additive.collect()),
                keep: Some(all_keep.collect())
            );
            let short = setting!(additive: Some(additive), keep: Some(keep));
            let bits_of = |setting: &Setting| match inner {
                1 => all_bits(&setting.on(backend), &logits, axis),
                _ => axis_bits(&setting.on(backend), &logits, [rows, axis, inner]),
            };
            assert!(
                bits_of(&short) == bits_of(&long),
                "{mask_rows} of {rows} × {axis} × {inner}"
            );
        }
    }
}

fn sinks_of_all_sizes(backend: Backend) {
    let mut random = Random(11);
    let mut judge = Judge::new(backend);
    for offset in [0.0, -1000.0, -100.0, 150.0, 1e5] {
        for distance in [
            f32::NEG_INFINITY,
            -200.0,
            -20.0,
            0.0,
            15.0,
            50.0,
            130.0,
            300.0,
        ] {
            for columns in [1, 2, 31, 64, 300, 1000] {
                let row: Vec<f32> = (0..columns)
                    .map(|_| offset - random.unit() as f32 * 8.0)
                    .collect();
                let setting = setting!(sink: Some(offset + distance));
                judge.matrix(&setting, &row, columns);
                judge.tensor(
                    &setting,
                    &[row.clone(), row.clone()].concat(),
                    [1, columns, 2],
                );

                let softmax = setting.on(backend);
                let mut results = vec![f32::MAX; columns];
                softmax.row(&row, &mut results).unwrap();
                let sum: f64 = results.iter().map(|p| f64::from(*p)).sum();
                let truth = Truth::of(&with_sink(&row, &setting));
                let sum_of_all = sum + truth.probability(offset + distance);
                assert!(
                    (sum_of_all - 1.0).abs() < 1e-6,
                    "{offset}, {distance}: {sum_of_all}"
                );
                assert!(sum < 1.0 || distance < -15.0, "{offset}, {distance}: {sum}");

                let got = softmax.normalizer(&row).unwrap();
                let mut pushed = on(backend).normalizer(&row).unwrap();
                pushed.push(offset + distance);
                let (max, rest) = got.to_parts();
                let (expected_max, expected) = pushed.to_parts();
                assert_eq!(max, expected_max);
                assert!(
                    (rest - expected).abs() <= 1e-12 * expected,
                    "{rest} not {expected}"
                );
            }
        }
    }
    judge.print("sinks");
}

fn infinite_sinks_and_nan(backend: Backend) {
    let mut random = Random(12);
    let mut judge = Judge::new(backend);
    for sink in [f32::INFINITY, f32::NAN, f32::NEG_INFINITY, 3.0] {
        for special in [0.0, f32::NEG_INFINITY, f32::INFINITY, f32::NAN] {
            for length in [None, Some(0), Some(20)] {
                for all_special in [false, true] {
                    let is_zero = random.below(2) == 0;
                    let sink = Some(sink);
                    let setting = setting!(sink, length, is_zero);
                    let mut logits = random_logits(&mut random, 80);
                    let end = if all_special { 80 } else { 1 };
                    logits[..end].fill(special);
                    judge.matrix(&setting, &logits, 40);
                    judge.tensor(&setting, &logits, [1, 40, 2]);
                }
            }
        }
    }
}

fn fully_masked_rows(backend: Backend) {
    let mut random = Random(13);
    let mut judge = Judge::new(backend);
    for columns in [1, 2, 33, 100, 600] {
        let rows = 8;
        let mut logits = random_logits(&mut random, rows * columns);
        logits[2 * columns..4 * columns].fill(f32::NEG_INFINITY);
        // The second row, and each fourth after it.
        let is_masked = |place: usize| place / columns % 4 == 1;
        let places = 0..rows * columns;
        let keep: Vec<bool> = places.clone().map(|place| !is_masked(place)).collect();
        let masked_or = |place: usize| {
            if is_masked(place) {
                f32::NEG_INFINITY
            } else {
                1.0
            }
        };
        let additive: Vec<f32> = places.map(masked_or).collect();
        let plain = Setting::default();
        for form in [
            plain.clone(),
            Setting {
                keep: Some(keep.clone()),
                ..plain.clone()
            },
            Setting {
                additive: Some(additive.clone()),
                ..plain.clone()
            },
            Setting {
                length: Some(0),
                ..plain.clone()
            },
            Setting {
                keep: Some(keep),
                causal: Some(0),
                ..plain.clone()
            },
        ] {
            for is_zero in [false, true] {
                for sink in [None, Some(f32::NEG_INFINITY), Some(-5.0)] {
                    let setting = Setting {
                        is_zero,
                        sink,
                        ..form.clone()
                    };
                    judge.matrix(&setting, &logits, columns);
                    if setting.causal.is_none() && columns % 3 == 0 {
                        judge.tensor(&setting, &logits, [rows, columns / 3, 3]);
                    }
                }
            }
        }
    }

    let nothing = on(backend).mask(Mask::Length(0));
    let mut row = [1.0, 2.0];
    nothing.row_in_place(&mut row).unwrap();
    assert!(row.iter().all(|value| value.is_nan()));
    let zero = nothing.fully_masked(FullyMasked::Zero);
    zero.row_in_place(&mut row).unwrap();
    assert_eq!(bits_of(&row), [0, 0]);
    zero.log_row_in_place(&mut row).unwrap();
    assert_eq!(row, [f32::NEG_INFINITY; 2]);
    zero.fully_masked(FullyMasked::Nan)
        .row_in_place(&mut row)
        .unwrap();
    assert!(row[0].is_nan());
    zero.sink(0.0).row_in_place(&mut row).unwrap();
    assert_eq!(bits_of(&row), [0, 0]);
    let nothing: [f32; 0] = [];
    let mut empty = zero.row(&nothing, &mut [0.0_f32; 0]).unwrap();
    assert_eq!(empty.outcome(), Outcome::Empty);
    empty = zero.sink(0.5).row(&nothing, &mut [0.0_f32; 0]).unwrap();
    assert_eq!((empty.max(), empty.denominator()), (0.5, 1.0));
}

/// Scale, soft cap, additive mask, keep mask; neither scale nor cap for the sink.
fn order_of_options(backend: Backend) {
    let near = |softmax: Softmax, row: &[f32], expected: &[f64]| {
        let mut results = vec![f32::MAX; row.len()];
        softmax.row(row, &mut results).unwrap();
        for (got, expected) in results.iter().zip(expected) {
            let difference = (f64::from(*got) - expected).abs();
            assert!(difference < 1e-6, "{results:?} not {expected:?}");
        }
    };
    let logistic = |x: f64| 1.0 / (1.0 + (-x).exp());
    let scaled = on(backend).scale(2.0);
    let (low, high) = (logistic(-3.0), logistic(3.0));
    near(
        scaled.mask(Mask::Additive(&[0.0, 3.0])),
        &[0.5, 0.5],
        &[low, high],
    );
    let capped = scaled.soft_cap(1.0);
    near(
        capped.mask(Mask::Additive(&[0.0, 3.0])),
        &[0.5, 0.5],
        &[low, high],
    );
    let difference = 2_f64.tanh() - 1_f64.tanh();
    near(
        capped,
        &[1.0, 0.5],
        &[logistic(difference), logistic(-difference)],
    );
    near(capped.sink(5.0), &[1e3], &[logistic(1.0 - 5.0)]);
    near(scaled.sink(5.0), &[1.0], &[logistic(2.0 - 5.0)]);
    // A bias raises no logit that is not kept.
    let biased = capped.mask(Mask::Additive(&[0.0, 1e9, 3.0]));
    near(
        biased.mask(Mask::Keep(&[true, false, true])),
        &[0.5; 3],
        &[low, 0.0, high],
    );
    // Of masks of one kind the last.
    let masks = on(backend).mask(Mask::Length(1)).mask(Mask::Length(2));
    near(masks, &[1.0; 3], &[0.5, 0.5, 0.0]);
}

/// Scores of 64 queries and keys, of which only the first are there, as attention has them.
fn attention(backend: Backend) {
    const SIZE: usize = 64;
    let mut random = Random(14);
    let mut judge = Judge::new(backend);
    let mut normal = || (0..12).map(|_| random.unit()).sum::<f64>() - 6.0;
    let vectors: Vec<f64> = (0..2 * SIZE * SIZE).map(|_| normal()).collect();
    let (queries, keys) = vectors.split_at(SIZE * SIZE);
    let scores: Vec<f32> = (0..SIZE * SIZE)
        .map(|place| {
            let query = &queries[place / SIZE * SIZE..][..SIZE];
            let key = &keys[place % SIZE * SIZE..][..SIZE];
            query.iter().zip(key).map(|(q, k)| q * k).sum::<f64>() as f32
        })
        .collect();
    for length in [1, 2, 7, 31, 32, 33, 50, 63, 64] {
        for causal in [None, Some(0)] {
            let setting = setting!(scale: Some(0.125), length: Some(length), causal);
            judge.matrix(&setting, &scores, SIZE);
            let mut results = vec![f32::MAX; SIZE * SIZE];
            setting
                .on(backend)
                .rows(&scores, SIZE, &mut results)
                .unwrap();
            for (row, results) in results.chunks(SIZE).enumerate() {
                let visible = length.min(causal.map_or(SIZE, |first| first + row + 1));
                let sum: f64 = results[..visible].iter().map(|p| f64::from(*p)).sum();
                assert!((sum - 1.0).abs() < 1e-6, "{sum} in row {row}");
                assert!(results[..visible].iter().all(|p| *p > 0.0));
                assert!(results[visible..].iter().all(|p| p.to_bits() == 0));
            }
        }
    }
    judge.print("attention");
}

/// Against finite differences of the loss in `f64`, and to the last places.
fn gradient_of_cross_entropy(backend: Backend) {
    let mut random = Random(15);
    let mut worst: f64 = 0.0;
    for len in [1, 2, 5, 33, 70] {
        for setting in settings(&mut random, 1, len, 1) {
            let logits: Vec<f32> = (0..len).map(|_| (random.unit() * 4.0) as f32).collect();
            let prepared = setting.prepared(backend, &logits, len, 1);
            let visible: Vec<usize> = (0..len).filter(|index| prepared[*index] > -1e29).collect();
            if setting.soft_cap.is_some() || visible.is_empty() {
                continue;
            }
            let target = random.pick(&visible);
            let softmax = setting.on(backend);
            let mut gradient = vec![7.0; len];
            let loss = softmax
                .cross_entropy_gradient(&logits, target, &mut gradient)
                .unwrap();
            assert_eq!(Ok(loss), softmax.cross_entropy(&logits, target));
            let mut in_place = logits.clone();
            let again = softmax.cross_entropy_gradient_in_place(&mut in_place, target);
            assert_eq!((again, bits_of(&in_place)), (Ok(loss), bits_of(&gradient)));

            let scale = f64::from(setting.scale.unwrap_or(1.0));
            let moved = |index: usize, by: f64| {
                let bias = |index: usize| {
                    let additive = setting.additive.as_ref();
                    additive.map_or(0.0, |additive| f64::from(additive[index]))
                };
                let logit = |other: usize| {
                    let by = if other == index { by } else { 0.0 };
                    (f64::from(logits[other]) + by) * scale + bias(other)
                };
                let top = setting.sink.map_or(0.0, |sink| f64::from(sink.max(0.0)));
                let mut sum: f64 = visible
                    .iter()
                    .map(|other| (logit(*other) - top).exp())
                    .sum();
                sum += setting
                    .sink
                    .map_or(0.0, |sink| (f64::from(sink) - top).exp());
                // Less what all have in common, for the precision of the difference.
                (top - bias(target) - logit(target) + bias(target)) + sum.ln()
            };
            let truth = Truth::of(&with_sink(&prepared, &setting));
            for (index, got) in gradient.iter().enumerate() {
                if prepared[index] == f32::NEG_INFINITY {
                    assert_eq!(*got, 0.0);
                    continue;
                }
                let expected = if index == target {
                    truth.log_probability(prepared[index]).exp_m1()
                } else {
                    truth.probability(prepared[index])
                };
                if expected.abs() * scale.abs() >= Bounds::SMALL {
                    let error = ulp::error(*got, expected * scale);
                    // The multiplication may double it, in ULP, and rounds.
                    let bound = 2.0 * Bounds::of(backend).softmax + 0.5;
                    assert!(error <= bound, "{got:e}, {error} ULP: {setting:?}");
                    worst = worst.max(error);
                }
                if visible.contains(&index) && setting.sink.is_none_or(|sink| sink < 1e3) {
                    let slope = (moved(index, 1e-4) - moved(index, -1e-4)) / 2e-4;
                    let error = (f64::from(*got) - slope).abs();
                    assert!(
                        error <= 1e-6 * scale.abs().max(1.0),
                        "{got}, {slope}: {setting:?}"
                    );
                }
            }
        }
    }
    println!("{}: gradient with options {worst:.3} ULP", backend.name());
}

fn errors_write_nothing(backend: Backend) {
    let keep = |len: usize| Setting {
        keep: Some(vec![true; len]),
        ..Setting::default()
    };
    let additive = |len: usize| Setting {
        additive: Some(vec![0.0; len]),
        ..Setting::default()
    };
    let length = |length| setting!(length: Some(length));
    let mismatch = |rows, columns, given| Error::MaskMismatch {
        rows,
        columns,
        given,
    };
    let beyond = |columns, given| Error::LengthBeyondRow { columns, given };
    let check = |results: &[Result<(), Error>], expected: Error, numbers: &[usize]| {
        for (call, result) in results.iter().enumerate() {
            assert_eq!(*result, Err(expected), "call {call}");
        }
        let message = expected.to_string();
        for number in numbers {
            assert!(message.contains(&number.to_string()), "{number}: {message}");
        }
    };
    let mut out = [7.0; 24];

    for given in [0, 1, 4, 7, 9, 600] {
        for setting in [keep(given), additive(given), length(given.max(4))] {
            let (softmax, out) = (setting.on(backend), &mut out[..6]);
            let expected = match setting.length {
                Some(length) => beyond(3, length),
                None => mismatch(2, 3, given),
            };
            let numbers = [3, setting.length.unwrap_or(given)];
            let results = [
                softmax.rows(&[0.0; 6], 3, out),
                softmax.rows_in_place(out, 3),
                softmax.log_rows(&[0.0; 6], 3, out),
                softmax.log_sum_exp_rows(&[0.0; 6], 3, &mut out[..2]),
                softmax.axis(&[0.0; 6], [2, 3, 1], out),
                softmax.axis_in_place(out, [2, 3, 1]),
                softmax.log_axis(&[0.0; 6], [2, 3, 1], out),
            ];
            check(&results, expected, &numbers);
        }
    }
    for given in [0, 1, 4, 6] {
        for setting in [keep(given), additive(given), length(given.max(4))] {
            let (softmax, out) = (setting.on(backend), &mut out[..3]);
            let row = &[0.0; 3];
            let expected = match setting.length {
                Some(length) => beyond(3, length),
                None => mismatch(1, 3, given),
            };
            let numbers = [3, setting.length.unwrap_or(given)];
            let results = [
                softmax.row(row, out).map(drop),
                softmax.row_in_place(out).map(drop),
                softmax.log_row(row, out).map(drop),
                softmax.log_row_in_place(out).map(drop),
                softmax.normalizer(row).map(drop),
                softmax.log_sum_exp(row).map(drop),
                softmax.top_k(row, &mut [Candidate::default(); 2]).map(drop),
                softmax.cross_entropy(row, 1).map(drop),
                softmax.cross_entropy_gradient(row, 1, out).map(drop),
                softmax.cross_entropy_gradient_in_place(out, 1).map(drop),
            ];
            check(&results, expected, &numbers);
        }
    }
    let shape = [2, 3, 4];
    let causal = Error::UnsupportedOption {
        option: "a causal mask",
        operation: "a softmax along an inner axis",
    };
    let with_causal = setting!(causal: Some(0));
    for (setting, expected, numbers) in [
        (keep(3), mismatch(2, 12, 3), &[12, 3][..]),
        (additive(13), mismatch(2, 12, 13), &[12, 13]),
        (keep(36), mismatch(2, 12, 36), &[12, 36]),
        (length(4), beyond(3, 4), &[3, 4]),
        (with_causal, causal, &[]),
    ] {
        let softmax = setting.on(backend);
        let results = [
            softmax.axis(&[0.0; 24], shape, &mut out),
            softmax.axis_in_place(&mut out, shape),
            softmax.log_axis(&[0.0; 24], shape, &mut out),
        ];
        check(&results, expected, numbers);
    }
    assert_eq!(out, [7.0; 24]);
}

fn gradients_refuse_options(backend: Backend) {
    let softmax = on(backend);
    let mut out = [7.0; 3];
    for (softmax, name) in [
        (softmax.scale(1.0), "a scale"),
        (softmax.soft_cap(1.0), "a soft cap"),
        (softmax.mask(Mask::Keep(&[true; 3])), "a mask"),
        (softmax.mask(Mask::Additive(&[0.0; 3])), "a mask"),
        (softmax.mask(Mask::Length(3)), "a mask"),
        (softmax.mask(Mask::Causal { first: 2 }), "a mask"),
        (softmax.sink(0.0), "a sink"),
        (softmax.fully_masked(FullyMasked::Zero), "fully masked"),
    ] {
        let results = [
            softmax.softmax_gradient(&[0.3; 3], &[1.0; 3], &mut out),
            softmax.log_softmax_gradient(&[-1.0; 3], &[1.0; 3], &mut out),
        ];
        for result in results {
            let error = result.unwrap_err();
            assert!(matches!(error, Error::UnsupportedOption { .. }), "{error}");
            assert!(error.to_string().contains(name), "{name} in {error}");
        }
    }
    let capped = softmax.soft_cap(1.0);
    for result in [
        capped.cross_entropy_gradient(&[1.0; 3], 1, &mut out),
        capped.cross_entropy_gradient_in_place(&mut out, 1),
    ] {
        let message = result.unwrap_err().to_string();
        assert!(message.contains("a soft cap") && message.contains("cross-entropy"));
    }
    assert_eq!(out, [7.0; 3]);
}

#[test]
fn backends_of_one_arithmetic_have_the_same_bits() {
    let mut random = Random(16);
    let check = |setting: &Setting, logits: &[f32], shape: [usize; 3]| {
        for class in [true, false] {
            let bits_on = |backend: Backend| match shape {
                [_, columns, 1] => all_bits(&setting.on(backend), logits, columns),
                _ => axis_bits(&setting.on(backend), logits, shape),
            };
            let mut of_class = backends().filter(|backend| is_fused(*backend) == class);
            if let Some(first) = of_class.next() {
                let expected = bits_on(first);
                for other in of_class {
                    assert!(
                        bits_on(other) == expected,
                        "{other:?}: {shape:?}: {setting:?}"
                    );
                }
            }
        }
    };
    let matrices = MATRICES.map(|(rows, columns)| [rows, columns, 1]);
    for shape in matrices.into_iter().chain(TENSORS) {
        let [rows, axis, inner] = shape;
        if THOROUGH || rows * axis * inner <= 2000 {
            for setting in settings(&mut random, rows, axis, inner) {
                let mut logits = random_logits(&mut random, rows * axis * inner);
                if random.below(5) == 0 {
                    let place = random.below(logits.len());
                    logits[place] = random.pick(&[f32::NAN, f32::INFINITY]);
                }
                check(&setting, &logits, shape);
            }
        }
    }
}

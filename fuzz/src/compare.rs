//! What all checks compare by: the bounds of the contract, the table of special values, and bits.

use crate::oracle::{self, Oracle, ulps, ulps_above_one};
use online_softmax::{Backend, FullyMasked, Normalizer, Outcome, Softmax};
use std::fmt::Arguments;

/// The backends without fused multiply-add: the same bits on all.
pub(crate) const UNFUSED: &[Backend] = &[Backend::Scalar, Backend::Portable];

/// Those with: the same bits on all.
pub(crate) const FUSED: &[Backend] = &[Backend::Avx2, Backend::Avx512, Backend::Neon];

/// What a place holds that nothing has been written to.
pub(crate) const UNTOUCHED: f32 = 0.123;

/// 2^−126: a smaller probability is only to be no larger.
pub(crate) const SMALLEST_NORMAL: f64 = f32::MIN_POSITIVE as f64;

/// log Σ e^x of every backend, merged normalizers included, in ULP of max(1, |result|).
const LOG_SUM_EXP_BOUND: f64 = 2.0;

/// What the contract allows a backend, in ULP.
pub(crate) struct Bounds {
    pub(crate) softmax: f64,
    pub(crate) log_softmax: f64,
    pub(crate) exponential: f64,
}

impl Bounds {
    pub(crate) fn of(backend: Backend) -> Self {
        if UNFUSED.contains(&backend) {
            Bounds {
                softmax: 3.0,
                log_softmax: 3.0,
                exponential: 1.5,
            }
        } else {
            Bounds {
                softmax: 2.5,
                log_softmax: 2.0,
                exponential: 1.0,
            }
        }
    }

    /// A probability, or one less 1.
    pub(crate) fn assert_probability(&self, result: f32, truth: f64, who: Arguments) {
        let error = ulps(result, truth);
        let is_right = if truth.abs() >= SMALLEST_NORMAL {
            error <= self.softmax
        } else {
            (f64::from(result) - truth).abs() <= SMALLEST_NORMAL
        };
        assert!(is_right, "{who} = {result:e} for {truth:e}, {error} ULP");
    }

    pub(crate) fn assert_log_probability(&self, result: f32, truth: f64, who: Arguments) {
        let error = ulps(result, truth);
        assert!(
            f64::from(result) == truth || error <= self.log_softmax,
            "{who} = {result:e} for {truth:e}, {error} ULP"
        );
    }
}

pub(crate) fn assert_log_sum_exp(normalizer: Normalizer, oracle: &Oracle, who: Arguments) {
    let (result, truth) = (normalizer.log_sum_exp(), oracle.log_sum_exp());
    let error = ulps_above_one(result, truth);
    assert!(
        error <= LOG_SUM_EXP_BOUND,
        "{who}: log_sum_exp = {result:e} for {truth:e}, {error} ULP"
    );
}

/// A row as its softmax sees it, and what there is beside it.
#[derive(Clone, Copy)]
pub(crate) struct Row<'a> {
    pub(crate) logits: &'a [f32],
    /// One more logit of the denominator. −∞ is none.
    pub(crate) sink: f32,
    pub(crate) fully_masked: FullyMasked,
}

impl<'a> Row<'a> {
    /// With nothing beside it.
    pub(crate) fn new(logits: &'a [f32]) -> Self {
        Row {
            logits,
            sink: f32::NEG_INFINITY,
            fully_masked: FullyMasked::Nan,
        }
    }

    /// The sink among the logits.
    fn all(&self) -> Vec<f32> {
        let mut all = self.logits.to_vec();
        if self.sink != f32::NEG_INFINITY {
            all.push(self.sink);
        }
        all
    }

    /// What the results are where there is no softmax.
    fn instead(&self, outcome: Outcome) -> (f32, f32) {
        if outcome == Outcome::FullyMasked && self.fully_masked == FullyMasked::Zero {
            (0.0, f32::NEG_INFINITY)
        } else {
            (f32::NAN, f32::NAN)
        }
    }

    /// The results are as the contract's table of special values says.
    pub(crate) fn assert_special(
        &self,
        probabilities: &[f32],
        log_probabilities: &[f32],
        who: Arguments,
    ) {
        let all = self.all();
        let outcome = oracle::outcome(&all);
        let (instead, log_instead) = self.instead(outcome);
        for (i, x) in self.logits.iter().enumerate() {
            let (a, log_a) = (probabilities[i], log_probabilities[i]);
            let is_right = match outcome {
                Outcome::Finite if all.len() == 1 => a == 1.0 && log_a == 0.0,
                Outcome::Finite if *x == f32::NEG_INFINITY => {
                    a.to_bits() == 0 && log_a == f32::NEG_INFINITY
                }
                Outcome::Finite => (0.0..=1.0).contains(&a) && log_a <= 0.0,
                _ => is_same(a, instead) && is_same(log_a, log_instead),
            };
            assert!(
                is_right,
                "{who}: [{i}] of {x:e} is {a:e}, its logarithm {log_a:e}"
            );
        }
        let is_uniform = all.iter().all(|x| *x == all[0]) && all.len().is_power_of_two();
        if outcome == Outcome::Finite && is_uniform {
            let share = 1.0 / all.len() as f32;
            assert!(
                probabilities.iter().all(|a| *a == share),
                "{who}: {} equal logits {:e} have {:e}",
                all.len(),
                all[0],
                probabilities[0]
            );
        }
    }

    /// The normalizer says of the row what the table does.
    pub(crate) fn assert_special_normalizer(&self, normalizer: Normalizer, who: Arguments) {
        let all = self.all();
        let expected = oracle::outcome(&all);
        assert_eq!(normalizer.outcome(), expected, "{who}");
        let (max, denominator) = (normalizer.max(), normalizer.denominator());
        let log_sum_exp = normalizer.log_sum_exp();
        let is_right = match expected {
            Outcome::NaN => max.is_nan() && denominator.is_nan() && log_sum_exp.is_nan(),
            Outcome::PositiveInfinity => {
                max == f32::INFINITY && denominator.is_nan() && log_sum_exp == f32::INFINITY
            }
            Outcome::Empty | Outcome::FullyMasked => {
                max == f32::NEG_INFINITY && denominator == 0.0 && log_sum_exp == f32::NEG_INFINITY
            }
            Outcome::Finite => {
                max == all.iter().copied().fold(f32::NEG_INFINITY, f32::max)
                    && (1.0..=all.len() as f32).contains(&denominator)
                    && log_sum_exp >= max
                    && (all.len() > 1 || log_sum_exp == max)
            }
        };
        assert!(
            is_right,
            "{who}: max {max:e}, denominator {denominator:e}, log {log_sum_exp:e}"
        );
    }
}

/// The true results of a row, each in `f64`.
pub(crate) struct Truth<'a> {
    pub(crate) row: Row<'a>,
    pub(crate) outcome: Outcome,
    /// These and what follows mean something if the outcome is finite.
    pub(crate) oracle: Oracle,
    probabilities: Vec<f64>,
    log_probabilities: Vec<f64>,
}

impl<'a> Truth<'a> {
    pub(crate) fn new(row: Row<'a>) -> Self {
        let all = row.all();
        let oracle = Oracle::new(&all);
        let of_each = |of: &dyn Fn(f32) -> f64| row.logits.iter().map(|x| of(*x)).collect();
        Truth {
            row,
            outcome: oracle::outcome(&all),
            oracle,
            probabilities: of_each(&|x| oracle.probability(x)),
            log_probabilities: of_each(&|x| oracle.log_probability(x)),
        }
    }

    /// The results of a finite row are within the bounds.
    pub(crate) fn assert_bounds(
        &self,
        backend: Backend,
        probabilities: &[f32],
        log_probabilities: &[f32],
    ) {
        if self.outcome != Outcome::Finite {
            return;
        }
        let bounds = Bounds::of(backend);
        let results = probabilities.iter().zip(log_probabilities).enumerate();
        for (i, (probability, log_probability)) in results {
            let logit = self.row.logits[i];
            let who = format_args!("{backend:?}: softmax [{i}] of {logit:e}");
            bounds.assert_probability(*probability, self.probabilities[i], who);
            let who = format_args!("{backend:?}: log_softmax [{i}] of {logit:e}");
            bounds.assert_log_probability(*log_probability, self.log_probabilities[i], who);
        }
    }

    /// The results are within the bounds, or as the table of special values says.
    pub(crate) fn assert_results(
        &self,
        backend: Backend,
        probabilities: &[f32],
        log_probabilities: &[f32],
    ) {
        let who = format_args!("{backend:?}");
        self.row
            .assert_special(probabilities, log_probabilities, who);
        self.assert_bounds(backend, probabilities, log_probabilities);
    }

    /// The same for a normalizer.
    pub(crate) fn assert_normalizer(&self, normalizer: Normalizer, who: Arguments) {
        self.row.assert_special_normalizer(normalizer, who);
        if self.outcome == Outcome::Finite {
            assert_log_sum_exp(normalizer, &self.oracle, who);
        }
    }

    /// The cross-entropy is that of the target.
    pub(crate) fn assert_loss(&self, backend: Backend, target: usize, loss: f32) {
        let who = format_args!("{backend:?}: cross_entropy of {target}");
        if self.outcome == Outcome::Finite {
            let truth = -self.log_probabilities[target];
            Bounds::of(backend).assert_log_probability(loss, truth, who);
            assert!(loss.is_sign_positive(), "{who} is {loss:e}");
        } else {
            let (_, instead) = self.row.instead(self.outcome);
            assert!(is_same(loss, -instead), "{who} is {loss:e}");
        }
    }

    /// The gradient of the cross-entropy is p_i − [i = target], and the latter as precise as p_i.
    pub(crate) fn assert_loss_gradient(&self, backend: Backend, target: usize, gradient: &[f32]) {
        if self.outcome != Outcome::Finite {
            assert!(gradient.iter().all(|value| value.is_nan()), "{backend:?}");
            return;
        }
        for (i, value) in gradient.iter().enumerate() {
            let truth = if i == target {
                self.log_probabilities[i].exp_m1()
            } else {
                self.probabilities[i]
            };
            let who = format_args!("{backend:?}: gradient [{i}], target {target}");
            Bounds::of(backend).assert_probability(*value, truth, who);
        }
    }
}

/// What a backend gives, each under a name.
#[derive(Default)]
pub(crate) struct Outputs {
    values: Vec<(&'static str, Vec<f32>)>,
    normalizers: Vec<(&'static str, Normalizer)>,
}

impl Outputs {
    /// All that every row has.
    pub(crate) fn of_row(softmax: Softmax, row: &[f32]) -> Self {
        let mut outputs = Outputs::default();
        let normalizer = softmax.normalizer(row).unwrap();
        let (probabilities, of_softmax) = probabilities(softmax, row);
        let (log_probabilities, of_log_softmax) = log_probabilities(softmax, row);
        let log_sum_exp = vec![softmax.log_sum_exp(row).unwrap()];
        let what = format_args!("log_sum_exp, {softmax:?}");
        assert_same(&log_sum_exp, &[normalizer.log_sum_exp()], what);
        outputs.add("softmax", probabilities);
        outputs.add("log_softmax", log_probabilities);
        outputs.add("log_sum_exp", log_sum_exp);
        outputs.normalizers = vec![
            ("normalizer", normalizer),
            ("softmax", of_softmax),
            ("log_softmax", of_log_softmax),
        ];
        outputs
    }

    pub(crate) fn add(&mut self, name: &'static str, values: Vec<f32>) {
        self.values.push((name, values));
    }

    pub(crate) fn add_normalizer(&mut self, name: &'static str, normalizer: Normalizer) {
        self.normalizers.push((name, normalizer));
    }

    /// Those of another after these.
    pub(crate) fn append(&mut self, mut other: Self) {
        self.values.append(&mut other.values);
        self.normalizers.append(&mut other.normalizers);
    }

    /// The first values of that name.
    pub(crate) fn get(&self, name: &str) -> &[f32] {
        let (_, values) = self
            .values
            .iter()
            .find(|(known, _)| *known == name)
            .unwrap();
        values
    }

    pub(crate) fn normalizers(&self) -> &[(&'static str, Normalizer)] {
        &self.normalizers
    }

    /// The same bits.
    pub(crate) fn assert_same(&self, other: &Self, who: Arguments) {
        assert_eq!(self.values.len(), other.values.len(), "{who}");
        for ((name, a), (_, b)) in self.values.iter().zip(&other.values) {
            assert_same(a, b, format_args!("{name} of {who}"));
        }
        assert_eq!(self.normalizers.len(), other.normalizers.len(), "{who}");
        for ((name, a), (_, b)) in self.normalizers.iter().zip(&other.normalizers) {
            assert_same_normalizer(*a, *b, format_args!("normalizer of {name} of {who}"));
        }
    }
}

/// The backends of each arithmetic that are available have the same outputs.
pub(crate) fn assert_arithmetics_agree(
    mut outputs: impl FnMut(Softmax<'static>, Backend) -> Outputs,
) {
    for class in [UNFUSED, FUSED] {
        let mut of_first: Option<(Backend, Outputs)> = None;
        for backend in class.iter().copied() {
            let Ok(softmax) = Softmax::new().backend(backend) else {
                assert!(!backend.is_available(), "{backend:?} was refused");
                continue;
            };
            let outputs = outputs(softmax, backend);
            match &of_first {
                None => of_first = Some((backend, outputs)),
                Some((first, expected)) => {
                    outputs.assert_same(expected, format_args!("{backend:?} and {first:?}"));
                }
            }
        }
    }
}

/// The softmax; in place it is the same.
pub(crate) fn probabilities(softmax: Softmax, row: &[f32]) -> (Vec<f32>, Normalizer) {
    let mut apart = vec![UNTOUCHED; row.len()];
    let normalizer = softmax.row(row, &mut apart).unwrap();
    let mut in_place = row.to_vec();
    let again = softmax.row_in_place(&mut in_place).unwrap();
    let what = format_args!("softmax in place and apart, {softmax:?}");
    assert_same(&in_place, &apart, what);
    assert_same_normalizer(again, normalizer, what);
    (apart, normalizer)
}

/// The log-softmax; in place it is the same.
pub(crate) fn log_probabilities(softmax: Softmax, row: &[f32]) -> (Vec<f32>, Normalizer) {
    let mut apart = vec![UNTOUCHED; row.len()];
    let normalizer = softmax.log_row(row, &mut apart).unwrap();
    let mut in_place = row.to_vec();
    let again = softmax.log_row_in_place(&mut in_place).unwrap();
    let what = format_args!("log_softmax in place and apart, {softmax:?}");
    assert_same(&in_place, &apart, what);
    assert_same_normalizer(again, normalizer, what);
    (apart, normalizer)
}

/// The same bits; all NaN are one.
pub(crate) fn assert_same(a: &[f32], b: &[f32], what: Arguments) {
    assert_eq!(a.len(), b.len(), "{what}");
    for (i, (a, b)) in a.iter().zip(b).enumerate() {
        assert!(is_same(*a, *b), "{what}: [{i}] is {a:e} and {b:e}");
    }
}

pub(crate) fn is_same(a: f32, b: f32) -> bool {
    a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan()
}

pub(crate) fn assert_same_normalizer(a: Normalizer, b: Normalizer, what: Arguments) {
    let ((a_max, a_rest), (b_max, b_rest)) = (a.to_parts(), b.to_parts());
    assert_same(&[a_max], &[b_max], what);
    assert!(
        a_rest.to_bits() == b_rest.to_bits() || a_rest.is_nan() && b_rest.is_nan(),
        "{what}: the rest is {a_rest:e} and {b_rest:e}"
    );
    assert_eq!(a.outcome(), b.outcome(), "{what}");
}

/// Nothing was written.
pub(crate) fn assert_untouched(places: &[f32]) {
    assert!(
        places.iter().all(|value| *value == UNTOUCHED),
        "written in spite of an error"
    );
}

//! What all checks compare by: the bounds of the contract, the table of special values, and bits.

use online_softmax::{Backend, FullyMasked, Normalizer, Outcome, Softmax};
use std::fmt::Arguments;
use support::oracle::Truth;
use support::verify::expected_outcome;
use support::{Bounds, FUSED, UNFUSED, bits, on, ulp};

/// What a place holds that nothing has been written to.
pub(crate) const UNTOUCHED: f32 = 0.123;

/// A probability, or one less 1.
pub(crate) fn assert_probability(result: f32, truth: f64, who: Arguments) {
    let error = ulp::error(result, truth);
    let is_right = if truth.abs() >= Bounds::SMALL {
        error <= Bounds::SOFTMAX
    } else {
        (f64::from(result) - truth).abs() <= Bounds::SMALL
    };
    assert!(is_right, "{who} = {result:e} for {truth:e}, {error} ULP");
}

pub(crate) fn assert_log_probability(backend: Backend, result: f32, truth: f64, who: Arguments) {
    let error = ulp::error(result, truth);
    assert!(
        error <= Bounds::of(backend).log_softmax,
        "{who} = {result:e} for {truth:e}, {error} ULP"
    );
}

pub(crate) fn assert_log_sum_exp(normalizer: Normalizer, truth: &Truth, who: Arguments) {
    let (result, truth) = (normalizer.log_sum_exp(), truth.log_sum_exp());
    let error = ulp::error_above_one(result, truth);
    assert!(
        error <= Bounds::LOG_SUM_EXP,
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
        let outcome = expected_outcome(&all);
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
        let expected = expected_outcome(&all);
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

/// What is expected of a row: the true results, each in `f64`.
pub(crate) struct Expected<'a> {
    pub(crate) row: Row<'a>,
    pub(crate) outcome: Outcome,
    /// If the outcome is finite, as what follows.
    pub(crate) truth: Option<Truth>,
    probabilities: Vec<f64>,
    log_probabilities: Vec<f64>,
}

impl<'a> Expected<'a> {
    pub(crate) fn new(row: Row<'a>) -> Self {
        let all = row.all();
        let outcome = expected_outcome(&all);
        let truth = (outcome == Outcome::Finite).then(|| Truth::of(&all));
        let of_each = |of: fn(&Truth, f32) -> f64| match &truth {
            Some(truth) => row.logits.iter().map(|x| of(truth, *x)).collect(),
            None => Vec::new(),
        };
        Expected {
            row,
            outcome,
            truth,
            probabilities: of_each(Truth::probability),
            log_probabilities: of_each(Truth::log_probability),
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
        let results = probabilities.iter().zip(log_probabilities).enumerate();
        for (i, (probability, log_probability)) in results {
            let logit = self.row.logits[i];
            let who = format_args!("{backend:?}: softmax [{i}] of {logit:e}");
            assert_probability(*probability, self.probabilities[i], who);
            let who = format_args!("{backend:?}: log_softmax [{i}] of {logit:e}");
            assert_log_probability(backend, *log_probability, self.log_probabilities[i], who);
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
        if let Some(truth) = &self.truth {
            assert_log_sum_exp(normalizer, truth, who);
        }
    }

    /// The log-sum-exp alone.
    pub(crate) fn assert_log_sum_exp(&self, result: f32, who: Arguments) {
        let is_right = match (self.outcome, &self.truth) {
            (Outcome::NaN, _) => result.is_nan(),
            (Outcome::PositiveInfinity, _) => result == f32::INFINITY,
            (_, None) => result == f32::NEG_INFINITY,
            (_, Some(truth)) => {
                ulp::error_above_one(result, truth.log_sum_exp()) <= Bounds::LOG_SUM_EXP
            }
        };
        assert!(is_right, "{who} = {result:e}, {:?}", self.outcome);
    }

    /// The cross-entropy is that of the target.
    pub(crate) fn assert_loss(&self, backend: Backend, target: usize, loss: f32) {
        let who = format_args!("{backend:?}: cross_entropy of {target}");
        if self.outcome == Outcome::Finite {
            let truth = -self.log_probabilities[target];
            assert_log_probability(backend, loss, truth, who);
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
            assert_probability(*value, truth, who);
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
        assert_near(log_sum_exp[0], normalizer.log_sum_exp(), what);
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

    /// The results of the columns from `start` on by themselves; the others are masked.
    pub(crate) fn assert_has(&self, seen: &Self, start: usize, who: Arguments) {
        for (name, start) in [
            ("softmax", start),
            ("log_softmax", start),
            ("log_sum_exp", 0),
        ] {
            let (whole, seen) = (self.get(name), seen.get(name));
            let whole = &whole[start..][..seen.len()];
            assert_same(whole, seen, format_args!("{name} of {who}"));
        }
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
            if !backend.is_available() {
                assert!(Softmax::new().backend(backend).is_err(), "{backend:?}");
                continue;
            }
            let outputs = outputs(on(backend), backend);
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

/// Each is within the bound of the truth.
fn assert_near(a: f32, b: f32, who: Arguments) {
    let is_right = if b.is_finite() {
        ulp::error_above_one(a, f64::from(b)) <= 2.0 * Bounds::LOG_SUM_EXP
    } else {
        is_same(a, b)
    };
    assert!(is_right, "{who}: {a:e} and {b:e}");
}

/// The same bits; all NaN are one.
pub(crate) fn assert_same(a: &[f32], b: &[f32], what: Arguments) {
    assert_eq!(a.len(), b.len(), "{what}");
    for (i, (a, b)) in a.iter().zip(b).enumerate() {
        assert!(is_same(*a, *b), "{what}: [{i}] is {a:e} and {b:e}");
    }
}

pub(crate) fn is_same(a: f32, b: f32) -> bool {
    bits(a) == bits(b)
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

//! How losses and gradients of many rows are computed: group by group, without allocation.
//!
//! ```text
//! for each group of rows
//!     max, log d  ←  log-sum-exp of the rows         (rows::log_sum_exp)
//!     losses      ←  Σ t_c (m − z_c) + Σ t_c · log d  (rows::targets, or the target's logit alone)
//!     gradient    ←  softmax of the rows, times a, less the targets
//! ```
//!
//! The steps are functions that are not inlined, so that the locals of one are not on the stack
//! during another.

use super::cross_entropy::CrossEntropy;
use super::group::{Group, ROWS, Targets};
use crate::math::reduce;
use crate::options::Preprocessing;
use crate::rows::preprocess::{Preprocess, Preprocessed};
use crate::rows::results::LogNormalizers;
use crate::rows::targets::{
    ClassSums, ClassWeights, Coefficients, SoftTargets, SubtractTargets, SumsOverClasses,
    TargetGradients,
};
use crate::simd::scalar::Scalar;
use crate::source::{Element, InPlace, OutOfPlace, Source};

/// What was computed of the rows of a group. There is one of it during a call.
struct Losses {
    losses: [f32; ROWS],
    /// Σ t_c, by which a gradient multiplies the probabilities.
    totals: [f32; ROWS],
    /// −log p of the target class.
    cross_entropies: [f32; ROWS],
}

/// The maximum and the logarithm of the denominator of a row.
#[derive(Clone, Copy)]
struct LogNormalizer {
    max: f32,
    log_denominator: f64,
}

impl LogNormalizer {
    /// Σ t_c · −log p_c.
    fn loss(self, sums: ClassSums) -> f64 {
        sums.distances + product(sums.coefficients, self.log_denominator)
    }
}

/// The product, but 0 times infinity is 0.
fn product(factor: f64, value: f64) -> f64 {
    if factor == 0.0 && !value.is_nan() {
        0.0
    } else {
        factor * value
    }
}

impl CrossEntropy<'_> {
    /// Writes the loss of each row.
    pub(super) fn write_losses<L: Source>(
        &self,
        logits: L,
        columns: usize,
        targets: Targets<'_>,
        losses: &mut [f32],
    ) {
        let mut of_rows = Losses::NONE;
        let (mut unread, mut unwritten) = (logits, losses);
        for group in Group::all(unwritten.len(), columns, targets) {
            let (rows, others) = split(unread, group.len());
            self.losses(rows, &group, &mut of_rows);
            let (places, other_places) = split_mut(unwritten, group.rows);
            for (place, loss) in places.iter_mut().zip(of_rows.losses) {
                *place = loss;
            }
            (unread, unwritten) = (others, other_places);
        }
    }

    /// The sum of the losses of all rows.
    pub(super) fn sum_of_losses<L: Source>(
        &self,
        logits: L,
        rows: usize,
        columns: usize,
        targets: Targets<'_>,
    ) -> f64 {
        let mut of_rows = Losses::NONE;
        let mut unread = logits;
        let mut totals = [0.0; ROWS];
        for group in Group::all(rows, columns, targets) {
            let (rows, others) = split(unread, group.len());
            self.losses(rows, &group, &mut of_rows);
            of_rows.add_to(&mut totals, &group);
            unread = others;
        }
        reduce::total(totals)
    }

    /// What a mean divides the sum of the losses by: the sum of the weights of the target classes,
    /// or the number of rows with soft targets.
    pub(super) fn divisor(&self, rows: usize, targets: Targets<'_>) -> f64 {
        let Targets::Classes(classes) = targets else {
            return rows as f64;
        };
        let mut totals = [0.0; ROWS];
        for (row, class) in classes.iter().enumerate() {
            if Some(*class) != self.ignored {
                totals[row % ROWS] += f64::from(self.weight(*class));
            }
        }
        reduce::total(totals)
    }

    /// Writes the gradient of the mean, and returns the mean.
    pub(super) fn gradient_of_mean<L: Element>(
        &self,
        logits: Option<&[L]>,
        gradient: &mut [f32],
        rows: usize,
        columns: usize,
        targets: Targets<'_>,
    ) -> f32 {
        let divisor = self.divisor(rows, targets);
        let upstream = f64::from(self.upstream) / divisor;
        let sum = self.write_gradient(logits, gradient, rows, columns, targets, |_| upstream);
        (sum / divisor) as f32
    }

    /// Writes the gradient of each row, multiplied by its upstream gradient.
    pub(super) fn gradient_by_row<L: Element>(
        &self,
        logits: Option<&[L]>,
        gradient: &mut [f32],
        columns: usize,
        targets: Targets<'_>,
        upstream: &[f32],
    ) {
        let of_row = |row: usize| {
            let of_row = upstream.get(row).copied().unwrap_or(0.0);
            f64::from(self.upstream) * f64::from(of_row)
        };
        self.write_gradient(logits, gradient, upstream.len(), columns, targets, of_row);
    }

    /// Writes the gradient of each row, multiplied by `upstream` of its index, and returns the sum
    /// of the losses. Without logits these are in the places of the gradient.
    #[inline(never)]
    fn write_gradient<L: Element>(
        &self,
        logits: Option<&[L]>,
        gradient: &mut [f32],
        rows: usize,
        columns: usize,
        targets: Targets<'_>,
        upstream: impl Fn(usize) -> f64,
    ) -> f64 {
        let mut of_rows = Losses::NONE;
        let (mut unread, mut unwritten) = (logits, gradient);
        let mut totals = [0.0; ROWS];
        for group in Group::all(rows, columns, targets) {
            let (results, others) = split_mut(unwritten, group.len());
            let logits = unread.map(|logits| {
                let (logits, others) = split(logits, group.len());
                unread = Some(others);
                logits
            });
            match logits {
                Some(logits) => self.losses(logits, &group, &mut of_rows),
                None => self.losses(&*results, &group, &mut of_rows),
            }
            self.write_probabilities(logits, results, &group);
            of_rows.add_to(&mut totals, &group);
            self.subtract_targets(results, &group, &mut of_rows, &upstream);
            unwritten = others;
        }
        reduce::total(totals)
    }

    /// Writes the probabilities of a group.
    #[inline(never)]
    fn write_probabilities<L: Element>(
        &self,
        logits: Option<&[L]>,
        results: &mut [f32],
        group: &Group<'_>,
    ) {
        let driver = &self.softmax.driver;
        let (layout, first) = (group.layout(), group.first);
        match logits {
            Some(logits) => {
                driver.rows::<false, _>(OutOfPlace { logits, results }, layout, first);
            }
            None => driver.rows::<false, _>(InPlace(results), layout, first),
        }
    }

    /// The weight of a class.
    fn weight(&self, class: usize) -> f32 {
        match self.class_weights {
            Some(weights) => weights.get(class).copied().unwrap_or(f32::NAN),
            None => 1.0,
        }
    }

    fn is_ignored(&self, class: Option<usize>) -> bool {
        class.is_some() && class == self.ignored
    }

    /// Computes the losses of a group.
    #[inline(never)]
    fn losses<L: Source>(&self, logits: L, group: &Group<'_>, of_rows: &mut Losses) {
        self.write_log_normalizers(logits, group, of_rows);
        self.losses_of_rows(logits, group, of_rows);
    }

    /// Writes what a loss is computed from to the places of what it is computed to.
    #[inline(never)]
    fn write_log_normalizers<L: Source>(&self, logits: L, group: &Group<'_>, of_rows: &mut Losses) {
        let (layout, first) = (group.layout(), group.first);
        let out = LogNormalizers {
            max: of_rows.losses.get_mut(..group.rows).unwrap_or(&mut []),
            log_denominator: &mut of_rows.totals,
            log_denominator_low: &mut of_rows.cross_entropies,
        };
        let driver = &self.softmax.driver;
        driver.log_sum_exp_rows(logits, layout, first, out);
    }

    #[inline(never)]
    fn losses_of_rows<L: Source>(&self, logits: L, group: &Group<'_>, of_rows: &mut Losses) {
        let Group {
            rows,
            columns,
            targets,
            ..
        } = *group;
        let Losses {
            losses,
            totals,
            cross_entropies,
        } = of_rows;
        for row in 0..rows.min(ROWS) {
            let class = targets.class(row);
            if self.is_ignored(class) {
                (losses[row], totals[row], cross_entropies[row]) = (0.0, 1.0, 0.0);
                continue;
            }
            let normalizer = LogNormalizer {
                max: losses[row],
                log_denominator: f64::from(totals[row]) + f64::from(cross_entropies[row]),
            };
            let mut sums = match class {
                Some(class) => {
                    let logit = self.target_logit(logits, group, row, class);
                    let distance = f64::from(normalizer.max) - f64::from(logit);
                    let weight = f64::from(self.weight(class));
                    cross_entropies[row] = (distance + normalizer.log_denominator) as f32;
                    ClassSums {
                        distances: product(weight, distance),
                        coefficients: weight,
                    }
                }
                None => {
                    let coefficients = SoftTargets {
                        targets: targets.distribution(row, columns).unwrap_or(&[]),
                        weights: self.class_weights,
                    };
                    self.class_sums(logits, group, row, normalizer.max, coefficients)
                }
            };
            let mut loss = normalizer.loss(sums);
            if self.label_smoothing != 0.0 {
                let smoothing = f64::from(self.label_smoothing);
                let classes = self.classes(group, row);
                let uniform = self.class_sums(logits, group, row, normalizer.max, classes);
                let of_class = self.uniform(group, row);
                loss = product(1.0 - smoothing, loss) + product(of_class, normalizer.loss(uniform));
                sums.coefficients =
                    (1.0 - smoothing) * sums.coefficients + of_class * uniform.coefficients;
            }
            losses[row] = loss as f32;
            totals[row] = sums.coefficients as f32;
        }
    }

    /// The logit of a class in a row of a group, preprocessed.
    fn target_logit<L: Source>(
        &self,
        logits: L,
        group: &Group<'_>,
        row: usize,
        class: usize,
    ) -> f32 {
        let start = row * group.columns;
        if !self.softmax.driver.options.are_given {
            return logits.at(Scalar, start + class);
        }
        let of_row = logits.slice(start, group.columns).unwrap_or(L::empty());
        self.target_logit_with_options(of_row, group, row, class)
    }

    #[inline(never)]
    fn target_logit_with_options<L: Source>(
        &self,
        of_row: L,
        group: &Group<'_>,
        row: usize,
        class: usize,
    ) -> f32 {
        let options = group.options(&self.softmax.driver.options);
        self.softmax
            .preprocessed_logit(of_row, &options, group.first + row, class)
    }

    /// Whether the options mask a class of a row of a group.
    #[inline(never)]
    fn is_masked(&self, group: &Group<'_>, row: usize, class: usize) -> bool {
        let options = group.options(&self.softmax.driver.options);
        self.softmax.is_masked(&options, group.first + row, class)
    }

    /// The sums over the classes of a row of a group.
    #[inline(never)]
    fn class_sums<L: Source, C: Coefficients>(
        &self,
        logits: L,
        group: &Group<'_>,
        row: usize,
        max: f32,
        coefficients: C,
    ) -> ClassSums {
        let driver = &self.softmax.driver;
        let columns = group.columns;
        let of_row = logits.slice(row * columns, columns).unwrap_or(L::empty());
        let (options, index) = (group.options(&driver.options), group.first + row);
        let visible = options.visible(index).end;
        let logits = of_row.slice(0, visible).unwrap_or(L::empty());
        let preprocessing = options.preprocessing_of(index, 0);
        if driver.options.changes_logits() {
            driver.dispatch(SumsOverClasses {
                logits: Preprocessed::new(logits, &preprocessing),
                columns,
                max,
                coefficients,
            })
        } else {
            driver.dispatch(SumsOverClasses {
                logits,
                columns,
                max,
                coefficients,
            })
        }
    }

    /// The weights of the classes in a row of a group.
    fn classes(&self, group: &Group<'_>, row: usize) -> ClassWeights<'_> {
        let options = group.options(&self.softmax.driver.options);
        let index = group.first + row;
        ClassWeights {
            weights: self.class_weights,
            visible: options.visible(index).end,
            masks: Preprocessing {
                scale: None,
                soft_cap: None,
                ..options.preprocessing_of(index, 0)
            },
        }
    }

    /// The target probability that label smoothing gives to each class of a row that is not masked.
    #[inline(never)]
    fn uniform(&self, group: &Group<'_>, row: usize) -> f64 {
        if self.label_smoothing == 0.0 {
            return 0.0;
        }
        let driver = &self.softmax.driver;
        let mut count = group.columns as f64;
        if !driver.options.allows_whole_matrices() {
            let unweighted = ClassWeights {
                weights: None,
                ..self.classes(group, row)
            };
            count = driver
                .dispatch(SumsOverClasses {
                    logits: <&[f32]>::empty(),
                    columns: group.columns,
                    max: 0.0,
                    coefficients: unweighted,
                })
                .coefficients;
        }
        if count > 0.0 {
            f64::from(self.label_smoothing) / count
        } else {
            0.0
        }
    }

    /// Turns the probabilities of a group into gradients.
    #[inline(never)]
    fn subtract_targets(
        &self,
        gradient: &mut [f32],
        group: &Group<'_>,
        losses: &mut Losses,
        upstream: impl Fn(usize) -> f64,
    ) {
        let columns = group.columns;
        let scale = f64::from(self.softmax.driver.options.scale.unwrap_or(1.0));
        let mut factors = [0.0; ROWS];
        for (row, factor) in factors.iter_mut().enumerate().take(group.rows) {
            *factor = upstream(group.first + row) * scale;
        }
        let is_plain = self.label_smoothing == 0.0 && matches!(group.targets, Targets::Classes(_));
        if is_plain {
            self.multiply(gradient, group, &losses.totals, &factors);
            let cross_entropies = losses.cross_entropies.get_mut(..group.rows);
            let dispatch = TargetGradients(cross_entropies.unwrap_or(&mut []));
            self.softmax.driver.dispatch(dispatch);
        }
        for (row, upstream) in factors.into_iter().enumerate().take(group.rows) {
            let range = row * columns..(row + 1) * columns;
            let gradient = gradient.get_mut(range).unwrap_or(&mut []);
            let class = group.targets.class(row);
            if self.is_ignored(class) {
                gradient.fill(0.0);
                continue;
            }
            let factor = (f64::from(losses.totals[row]) * upstream) as f32;
            let of_target = if is_plain {
                losses.cross_entropies[row] * factor
            } else {
                self.subtract_from_row(gradient, group, row, factor, upstream)
            };
            if let Some(class) = class
                && !self.is_masked(group, row, class)
                && let Some(place) = gradient.get_mut(class)
            {
                *place = of_target;
            }
        }
    }

    /// Multiplies each row by its factor; rows with the same factor at once.
    fn multiply(
        &self,
        gradient: &mut [f32],
        group: &Group<'_>,
        totals: &[f32; ROWS],
        factors: &[f64; ROWS],
    ) {
        let factor_of = |row: usize| (f64::from(totals[row]) * factors[row]) as f32;
        let mut unwritten = gradient;
        let mut row = 0;
        while row < group.rows.min(ROWS) {
            let factor = factor_of(row);
            let first = row;
            while row < group.rows.min(ROWS) && factor_of(row).to_bits() == factor.to_bits() {
                row += 1;
            }
            let (rows, others) = split_mut(unwritten, (row - first) * group.columns);
            if factor != 1.0 {
                self.softmax.driver.dispatch(Preprocess {
                    row: InPlace(rows),
                    preprocessing: Preprocessing {
                        scale: Some(factor),
                        ..Preprocessing::NONE
                    },
                });
            }
            unwritten = others;
        }
    }

    /// Turns the probabilities of a row into its gradient where all classes have a target. Returns
    /// that of the target class.
    fn subtract_from_row(
        &self,
        gradient: &mut [f32],
        group: &Group<'_>,
        row: usize,
        factor: f32,
        upstream: f64,
    ) -> f32 {
        let target_factor = (1.0 - f64::from(self.label_smoothing)) * upstream;
        let uniform = self.uniform(group, row) * upstream;
        let class = group.targets.class(row).unwrap_or(0);
        let probability = gradient.get(class).copied().unwrap_or(0.0);
        self.softmax.driver.dispatch(SubtractTargets {
            row: gradient,
            factor,
            targets: group.targets.distribution(row, group.columns),
            target_factor: target_factor as f32,
            uniform: uniform as f32,
            classes: self.classes(group, row),
        });
        let target = f64::from(self.weight(class)) * (target_factor + uniform);
        (f64::from(probability) * f64::from(factor) - target) as f32
    }
}

impl Losses {
    const NONE: Self = Losses {
        losses: [0.0; ROWS],
        totals: [0.0; ROWS],
        cross_entropies: [0.0; ROWS],
    };

    /// Adds the loss of each row to the total of its index modulo [`ROWS`].
    fn add_to(&self, totals: &mut [f64; ROWS], group: &Group<'_>) {
        for (row, loss) in self.losses.iter().enumerate().take(group.rows) {
            totals[(group.first + row) % ROWS] += f64::from(*loss);
        }
    }
}

fn split<L: Source>(logits: L, count: usize) -> (L, L) {
    logits.split_at(count).unwrap_or((L::empty(), L::empty()))
}

/// The first `count`, or all if there are fewer, and the others.
fn split_mut(values: &mut [f32], count: usize) -> (&mut [f32], &mut [f32]) {
    let count = count.min(values.len());
    values.split_at_mut(count)
}

//! The cross-entropy of matrices.

use crate::compare::{Outputs, UNTOUCHED, assert_same, is_same};
use online_softmax::{Backend, CrossEntropy, Error, Outcome, Softmax};
use support::loss::{LossSetting, Targets};
use support::verify::expected_outcome;
use support::{Bounds, is_fused, ulp};

/// A matrix with targets, and the options of its loss.
pub(crate) struct Losses<'a> {
    logits: &'a [f32],
    columns: usize,
    targets: Targets,
    setting: LossSetting,
    upstream: Vec<f32>,
}

impl<'a> Losses<'a> {
    /// Of the first values of `row`, with what `choice` and `pattern` say.
    pub(crate) fn new(row: &'a [f32], choice: usize, pattern: &[f32]) -> Self {
        let columns = 1 + choice % row.len().clamp(1, 300);
        let rows = (row.len() / columns).min(200);
        // NaN becomes the largest.
        let at = |i: usize| pattern.get(i).map_or(1.0, |value| value.abs().min(1e6));
        let targets = if choice.is_multiple_of(3) {
            let targets = (0..rows * columns).map(|i| [0.0, 0.25, 0.5, 1.0][at(i) as usize % 4]);
            Targets::Distributions(targets.collect())
        } else {
            Targets::Classes((0..rows).map(|row| (row * 7 + choice) % columns).collect())
        };
        let weights = (0..columns).map(|i| at(i).clamp(0.001, 1000.0)).collect();
        Losses {
            logits: &row[..rows * columns],
            columns,
            setting: LossSetting {
                label_smoothing: [0.0, 0.1, 1.0, 0.0][choice / 3 % 4],
                class_weights: (choice & 4 != 0).then_some(weights),
                ignored: (choice & 8 != 0 && !choice.is_multiple_of(3)).then_some(0),
            },
            targets,
            upstream: (0..rows).map(|row| at(row).clamp(1e-3, 1e3)).collect(),
        }
    }

    /// The losses and gradients, which are those of `f64` within their bounds.
    pub(crate) fn outputs(&self, softmax: Softmax<'_>, backend: Backend) -> Outputs {
        let outputs = self.compute(softmax).unwrap();
        self.assert_losses(backend, &outputs);
        outputs
    }

    /// In place the gradients are the same.
    fn compute(&self, softmax: Softmax<'_>) -> Result<Outputs, Error> {
        let (logits, columns, upstream) = (self.logits, self.columns, &self.upstream[..]);
        let mut loss = CrossEntropy::new()
            .softmax(softmax)
            .label_smoothing(self.setting.label_smoothing);
        if let Some(weights) = &self.setting.class_weights {
            loss = loss.class_weights(weights);
        }
        if let Some(ignored) = self.setting.ignored {
            loss = loss.ignore(ignored);
        }
        let mut losses = vec![UNTOUCHED; upstream.len()];
        let [mut gradient, mut by_row] = [(); 2].map(|()| vec![UNTOUCHED; logits.len()]);
        let [mut in_place, mut by_row_in_place] = [(); 2].map(|()| logits.to_vec());
        let (sum, mean, means);
        match &self.targets {
            Targets::Classes(targets) => {
                loss.rows(logits, columns, targets, &mut losses)?;
                sum = loss.sum(logits, columns, targets)?;
                mean = loss.mean(logits, columns, targets)?;
                means = [
                    loss.gradient(logits, columns, targets, &mut gradient)?,
                    loss.gradient_in_place(&mut in_place, columns, targets)?,
                ];
                loss.gradient_rows(logits, columns, targets, upstream, &mut by_row)?;
                loss.gradient_rows_in_place(&mut by_row_in_place, columns, targets, upstream)?;
            }
            Targets::Distributions(targets) => {
                loss.soft_rows(logits, columns, targets, &mut losses)?;
                sum = loss.soft_sum(logits, columns, targets)?;
                mean = loss.soft_mean(logits, columns, targets)?;
                means = [
                    loss.soft_gradient(logits, columns, targets, &mut gradient)?,
                    loss.soft_gradient_in_place(&mut in_place, columns, targets)?,
                ];
                loss.soft_gradient_rows(logits, columns, targets, upstream, &mut by_row)?;
                loss.soft_gradient_rows_in_place(&mut by_row_in_place, columns, targets, upstream)?;
            }
        }
        let what = format_args!("loss in place and apart, {softmax:?}");
        assert_same(&means, &[mean; 2], what);
        assert_same(&in_place, &gradient, what);
        assert_same(&by_row_in_place, &by_row, what);
        let mut outputs = Outputs::default();
        outputs.add("losses", losses);
        outputs.add("sum and mean", vec![sum, mean]);
        outputs.add("gradient", gradient);
        outputs.add("gradient by row", by_row);
        Ok(outputs)
    }

    fn assert_losses(&self, backend: Backend, outputs: &Outputs) {
        let columns = self.columns;
        let bound = if is_fused(backend) { 4.0 } else { 5.0 };
        let is_masked = vec![false; columns];
        for (row, loss) in outputs.get("losses").iter().enumerate() {
            let range = row * columns..(row + 1) * columns;
            let logits = &self.logits[range.clone()];
            let gradient = &outputs.get("gradient by row")[range];
            let is_ignored = match &self.targets {
                Targets::Classes(targets) => Some(targets[row]) == self.setting.ignored,
                Targets::Distributions(_) => false,
            };
            let who = format_args!("{backend:?}: loss of row {row}");
            if is_ignored {
                assert!(is_same(*loss, 0.0) && gradient.iter().all(|value| *value == 0.0));
                continue;
            }
            if expected_outcome(logits) != Outcome::Finite {
                assert!(loss.is_nan(), "{who} is {loss:e}");
                assert!(gradient.iter().all(|value| value.is_nan()), "{who}");
                continue;
            }
            let truth = self
                .setting
                .of_row(logits, None, &is_masked, &self.targets, row);
            // Weights may be 1000: a term that overflows may be smaller than that.
            if truth.loss < 1e35 || truth.loss == f64::INFINITY {
                let error = ulp::error(*loss, truth.loss);
                assert!(error <= bound, "{who} = {loss:e} for {:e}", truth.loss);
            }
            let upstream = f64::from(self.upstream[row]);
            let truths = truth.gradient.iter().zip(&truth.size);
            for (got, (truth, size)) in gradient.iter().zip(truths) {
                let error = (f64::from(*got) - truth * upstream).abs();
                // The weights are at most 1000, and so are their sums on average.
                let small = Bounds::SMALL * (1.0 + upstream * 1e3 * columns as f64);
                let bound = size * upstream * 2_f64.powi(-20) + small;
                assert!(error <= bound, "{who}: {got:e} for {:e}", truth * upstream);
            }
        }
    }
}

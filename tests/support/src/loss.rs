//! The true cross-entropy of rows and its gradient, in `f64`, by the textbook formulas.

use crate::oracle::Truth;

/// The options of a cross-entropy beside those of the softmax.
#[derive(Clone, Debug, Default)]
pub struct LossSetting {
    pub label_smoothing: f32,
    pub class_weights: Option<Vec<f32>>,
    pub ignored: Option<usize>,
}

#[derive(Clone, Debug)]
pub enum Targets {
    Classes(Vec<usize>),
    /// A distribution for each row.
    Distributions(Vec<f32>),
}

impl Targets {
    /// The target distribution of a row.
    fn distribution(&self, row: usize, columns: usize) -> Vec<f64> {
        match self {
            Targets::Classes(classes) => (0..columns)
                .map(|column| f64::from(u8::from(classes[row] == column)))
                .collect(),
            Targets::Distributions(targets) => targets[row * columns..][..columns]
                .iter()
                .map(|target| f64::from(*target))
                .collect(),
        }
    }
}

/// What is true of a row.
#[derive(Clone, Debug)]
pub struct LossOfRow {
    pub loss: f64,
    pub gradient: Vec<f64>,
    /// The larger of the two terms whose difference is the gradient.
    pub size: Vec<f64>,
    /// What a mean counts the row as.
    pub count: f64,
}

impl LossSetting {
    /// That of a row of preprocessed logits, of which some are masked. One more may be in the
    /// denominator.
    pub fn of_row(
        &self,
        logits: &[f32],
        sink: Option<f32>,
        is_masked: &[bool],
        targets: &Targets,
        row: usize,
    ) -> LossOfRow {
        let columns = logits.len();
        let weight = |class: usize| {
            let weights = self.class_weights.as_ref();
            weights.map_or(1.0, |weights| f64::from(weights[class]))
        };
        let class = match targets {
            Targets::Classes(classes) => Some(classes[row]),
            Targets::Distributions(_) => None,
        };
        if class.is_some() && class == self.ignored {
            return LossOfRow {
                loss: 0.0,
                gradient: vec![0.0; columns],
                size: vec![0.0; columns],
                count: 0.0,
            };
        }
        let with_sink: Vec<f32> = logits.iter().copied().chain(sink).collect();
        let truth = Truth::of(&with_sink);
        let smoothing = f64::from(self.label_smoothing);
        let classes = is_masked.iter().filter(|is_masked| !**is_masked).count();
        let q = targets.distribution(row, columns);
        let target = |class: usize| {
            let uniform = if is_masked[class] {
                0.0
            } else {
                smoothing / classes as f64
            };
            weight(class) * ((1.0 - smoothing) * q[class] + uniform)
        };
        let total: f64 = (0..columns).map(target).sum();
        let terms = (0..columns).filter(|class| target(*class) != 0.0);
        let loss = terms
            .map(|class| target(class) * -truth.log_probability(logits[class]))
            .sum();
        let gradient = (0..columns).map(|column| {
            if is_masked[column] {
                0.0
            } else if class == Some(column) && smoothing == 0.0 {
                // Accurate near p = 1.
                weight(column) * truth.log_probability(logits[column]).exp_m1()
            } else {
                truth.probability(logits[column]) * total - target(column)
            }
        });
        let size = (0..columns).map(|column| {
            let probability = truth.probability(logits[column]) * total;
            probability.abs().max(target(column).abs())
        });
        LossOfRow {
            loss,
            gradient: gradient.collect(),
            size: size.collect(),
            count: class.map_or(1.0, weight),
        }
    }
}

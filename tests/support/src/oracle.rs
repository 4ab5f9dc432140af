//! The true softmax of a row, in `f64` and by other means than the crate's.

/// What the results of a row are made of. With the maximum's own term left out of the compensated
/// sum, they are good to about 1e-15, relative, however confident the row.
#[derive(Clone, Copy, Debug)]
pub struct Truth {
    max: f64,
    log_denominator: f64,
    denominator: f64,
}

impl Truth {
    /// Of a row without NaN and +∞, and with one finite logit at least.
    pub fn of(row: &[f32]) -> Self {
        let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        assert!(max.is_finite(), "the oracle is for finite rows");
        let max = f64::from(max);
        let mut is_left_out = false;
        let mut rest = NeumaierSum::default();
        for logit in row {
            let below = f64::from(*logit) - max;
            if below == 0.0 && !is_left_out {
                is_left_out = true;
            } else if below > -746.0 {
                rest.add(below.exp());
            }
        }
        let rest = rest.total();
        Truth {
            max,
            log_denominator: rest.ln_1p(),
            denominator: 1.0 + rest,
        }
    }

    /// Of a row of runs of equal logits: each logit and how many there are.
    pub fn of_runs(runs: &[(f32, usize)]) -> Self {
        let logits = runs.iter().map(|(logit, _)| *logit);
        let max = f64::from(logits.fold(f32::NEG_INFINITY, f32::max));
        assert!(max.is_finite(), "the oracle is for finite rows");
        let mut is_left_out = false;
        let mut rest = NeumaierSum::default();
        for (logit, count) in runs {
            let below = f64::from(*logit) - max;
            let mut count = *count;
            if below == 0.0 && !is_left_out && count > 0 {
                is_left_out = true;
                count -= 1;
            }
            rest.add(count as f64 * below.exp());
        }
        let rest = rest.total();
        Truth {
            max,
            log_denominator: rest.ln_1p(),
            denominator: 1.0 + rest,
        }
    }

    pub fn denominator(&self) -> f64 {
        self.denominator
    }

    pub fn probability(&self, logit: f32) -> f64 {
        (f64::from(logit) - self.max).exp() / self.denominator
    }

    pub fn log_probability(&self, logit: f32) -> f64 {
        (f64::from(logit) - self.max) - self.log_denominator
    }

    pub fn log_sum_exp(&self) -> f64 {
        self.max + self.log_denominator
    }
}

/// Neumaier's compensated sum.
#[derive(Default)]
struct NeumaierSum {
    sum: f64,
    lost: f64,
}

impl NeumaierSum {
    fn add(&mut self, term: f64) {
        let sum = self.sum + term;
        self.lost += if self.sum.abs() >= term.abs() {
            (self.sum - sum) + term
        } else {
            (term - sum) + self.sum
        };
        self.sum = sum;
    }

    fn total(&self) -> f64 {
        self.sum + self.lost
    }
}

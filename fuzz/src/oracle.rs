//! What is true, in `f64`, and how far a result is from it.

use online_softmax::Outcome;

/// The outcome of a row, by a plain scan.
#[must_use]
pub fn outcome(row: &[f32]) -> Outcome {
    if row.iter().any(|x| x.is_nan()) {
        Outcome::NaN
    } else if row.contains(&f32::INFINITY) {
        Outcome::PositiveInfinity
    } else if row.is_empty() {
        Outcome::Empty
    } else if row.iter().all(|x| *x == f32::NEG_INFINITY) {
        Outcome::FullyMasked
    } else {
        Outcome::Finite
    }
}

/// The truth about a row whose outcome is finite.
#[derive(Clone, Copy, Debug)]
pub struct Oracle {
    /// The largest logit.
    pub max: f64,
    /// Σ e^(x − max), the maximum's own term left out (once).
    pub rest: f64,
}

impl Oracle {
    /// Of a finite row.
    #[must_use]
    pub fn new(row: &[f32]) -> Self {
        let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let own = row.iter().position(|x| *x == max);
        let (mut sum, mut compensation) = (0.0_f64, 0.0);
        for (i, x) in row.iter().enumerate() {
            if Some(i) == own {
                continue;
            }
            // Neumaier's sum; no term is negative.
            let term = (f64::from(*x) - f64::from(max)).exp();
            let next = sum + term;
            compensation += if sum >= term {
                (sum - next) + term
            } else {
                (term - next) + sum
            };
            sum = next;
        }
        Oracle {
            max: max.into(),
            rest: sum + compensation,
        }
    }

    /// Of a logit.
    #[must_use]
    pub fn probability(&self, logit: f32) -> f64 {
        (f64::from(logit) - self.max).exp() / (1.0 + self.rest)
    }

    /// Of a logit; near zero as precise as elsewhere.
    #[must_use]
    pub fn log_probability(&self, logit: f32) -> f64 {
        (f64::from(logit) - self.max) - self.rest.ln_1p()
    }

    /// log Σ e^x.
    #[must_use]
    pub fn log_sum_exp(&self) -> f64 {
        self.max + self.rest.ln_1p()
    }
}

/// The spacing of `f32` at `truth`; that of the largest binade beyond it.
#[must_use]
pub fn spacing(truth: f64) -> f64 {
    let exponent = (truth.to_bits() >> 52 & 0x7FF) as i32 - 1023;
    2_f64.powi(exponent.clamp(-126, 127) - 23)
}

/// The distance of `result` from `truth` in units of the spacing at `truth`. Beyond the range of
/// `f32` the truth is 2^128, and so is infinity. NaN is infinitely far from everything.
#[must_use]
pub fn ulps(result: f32, truth: f64) -> f64 {
    units(result, truth, spacing(truth))
}

/// [`ulps`] in units of the spacing at max(1, |truth|).
#[must_use]
pub fn ulps_above_one(result: f32, truth: f64) -> f64 {
    units(result, truth, spacing(truth.abs().max(1.0)))
}

fn units(result: f32, truth: f64, unit: f64) -> f64 {
    let range = |value: f64| value.clamp(-(2_f64.powi(128)), 2_f64.powi(128));
    let distance = (range(result.into()) - range(truth)).abs();
    if distance.is_nan() {
        f64::INFINITY
    } else {
        distance / unit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_those_of_neighbours() {
        let powers = [
            1e-45,
            1e-40,
            f32::MIN_POSITIVE,
            0.25,
            1.0,
            1e30,
            -1.0,
            -1e-40,
        ];
        for value in powers.into_iter().chain([1.5, 0.1, -0.3, 3e38]) {
            let next = f32::from_bits(value.to_bits() + 1);
            assert_eq!(ulps(next, value.into()), 1.0, "{value}");
            assert_eq!(ulps(value, value.into()), 0.0, "{value}");
            let middle = (f64::from(value) + f64::from(next)) / 2.0;
            assert_eq!(ulps(value, middle), 0.5, "{value}");
        }
    }

    #[test]
    fn distances_from_zero_and_infinity() {
        assert_eq!(ulps(1e-45, 0.0), 1.0);
        assert_eq!(ulps(-1e-45, 0.0), 1.0);
        assert_eq!(ulps(0.0, f64::from(f32::MIN_POSITIVE)), 8_388_608.0);
        assert_eq!(ulps(f32::NEG_INFINITY, -6.8e38), 0.0);
        assert_eq!(ulps(f32::MIN, -6.8e38), 1.0);
        assert_eq!(ulps(f32::INFINITY, f64::from(f32::MAX)), 1.0);
        assert!(ulps(f32::NEG_INFINITY, 0.0) > 1e6);
        assert!(ulps(f32::INFINITY, -6.8e38) > 1e6);
        assert_eq!(ulps(f32::NAN, 0.0), f64::INFINITY);
        assert_eq!(ulps(0.0, f64::NAN), f64::INFINITY);
        assert_eq!(ulps_above_one(0.0, 2_f64.powi(-23)), 1.0);
        assert_eq!(ulps_above_one(-4.0, -5.0), 2_f64.powi(21));
    }

    #[test]
    fn truth_of_known_rows() {
        let confident = Oracle::new(&[0.0, 30.0]);
        assert_eq!(confident.rest, (-30_f64).exp());
        // −log(1 + e^−30), whose second term is seen in f64 only.
        let log_probability = -9.357_622_968_839_737e-14;
        assert!((confident.log_probability(30.0) / log_probability - 1.0).abs() < 1e-15);
        let equal = Oracle::new(&[-1e30; 1000]);
        assert_eq!((equal.max, equal.rest), (f64::from(-1e30_f32), 999.0));
        assert_eq!(equal.probability(-1e30), 1e-3);
        assert_eq!(Oracle::new(&[f32::NEG_INFINITY, 2.0]).log_sum_exp(), 2.0);
    }

    #[test]
    fn outcome_by_precedence() {
        let (nan, inf) = (f32::NAN, f32::INFINITY);
        assert_eq!(outcome(&[inf, nan, -inf]), Outcome::NaN);
        assert_eq!(outcome(&[-inf, inf, 1.0]), Outcome::PositiveInfinity);
        assert_eq!(outcome(&[-inf, f32::MIN]), Outcome::Finite);
        assert_eq!(outcome(&[-inf, -inf]), Outcome::FullyMasked);
        assert_eq!(outcome(&[]), Outcome::Empty);
    }
}

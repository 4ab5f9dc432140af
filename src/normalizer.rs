//! The state of a softmax: the maximum and the denominator.

/// The maximum m of the logits seen and their denominator d = Σ e^(x − m). A softmax needs no more
/// of a row. Blocks, threads and machines combine these states.
///
/// ```text
/// push x:    m' = max(m, x)      d' = d · e^(m − m') + e^(x − m')
/// merge:     (m, d) ⊕ (m', d') = (M, d·e^(m−M) + d'·e^(m'−M)),  M = max(m, m')
/// identity:  (−∞, 0)
/// ```
///
/// (Milakov and Gimelshein, "Online normalizer calculation for softmax", arXiv 1805.02867.)
///
/// The denominator is kept as 1 + other terms. The term of the maximum is 1; the others are summed
/// in `f64`, so log-probabilities near zero keep their accuracy. Each step loses a few ULP of
/// `f64`: [`log_sum_exp`](Self::log_sum_exp) of a million pushed logits is accurate to 1 ULP of
/// `f32`. For speed, give slices to a [`Stream`](crate::Stream) instead, or merge the normalizers
/// of slices.
///
/// The normalizer that a softmax or log-softmax of a row returns has the sum of that operation, in
/// two `f32`: its denominator can differ from that of
/// [`Softmax::normalizer`](crate::Softmax::normalizer) and [`Stream`](crate::Stream) by a few ULP
/// of `f32`.
///
/// With a scale or a soft cap, "logits" are the preprocessed ones, also as arguments of the methods
/// here. Each normalizer of a [`Softmax`](crate::Softmax) with a sink includes the sink: of parts
/// to be merged, only one may have it.
///
/// ```
/// use online_softmax::Normalizer;
///
/// let (first, second) = ([1.0, 2.0], [3.0, f32::NEG_INFINITY]);
/// let a: Normalizer = first.into_iter().collect();
/// let b: Normalizer = second.into_iter().collect();
/// let all = a.merge(b);
/// assert_eq!(all.max(), 3.0);
/// assert!((all.log_sum_exp() - 3.407606).abs() < 1e-6);
/// assert!((all.probability(3.0) - 0.66524094).abs() < 1e-7);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Normalizer {
    max: f32,
    /// d − 1; −1 while empty, 0 if fully masked, NaN if a logit was NaN.
    other_terms: f64,
}

/// What kind of row a [`Normalizer`] has seen, so that a caller can branch without reading the row
/// again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The largest logit is finite, and the softmax is a distribution.
    Finite,
    /// No logit was seen.
    Empty,
    /// Every logit was −∞.
    FullyMasked,
    /// Some logit was +∞, and none NaN.
    PositiveInfinity,
    /// Some logit was NaN.
    NaN,
}

impl Normalizer {
    /// The identity of [`merge`](Self::merge): no logit seen.
    #[must_use]
    pub const fn new() -> Self {
        Normalizer {
            max: f32::NEG_INFINITY,
            other_terms: -1.0,
        }
    }

    /// Takes in one logit: the online recurrence.
    ///
    /// ```
    /// let mut normalizer = online_softmax::Normalizer::new();
    /// normalizer.push(5.0);
    /// normalizer.push(5.0);
    /// assert_eq!(normalizer.denominator(), 2.0);
    /// ```
    #[inline]
    pub fn push(&mut self, logit: f32) {
        *self = self.merge(Normalizer::from_parts(logit, 0.0));
    }

    /// The state of all that either has seen. Commutative, bit for bit; associative within
    /// rounding; [`new`](Self::new) is its identity, bit for bit. The same tree of merges gives the
    /// same bits.
    ///
    /// ```
    /// use online_softmax::Normalizer;
    ///
    /// let one: Normalizer = [0.5, -3.0].into_iter().collect();
    /// assert_eq!(one.merge(Normalizer::new()), one);
    /// ```
    #[inline]
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        let (smaller, larger) = if self.max < other.max {
            (self, other)
        } else {
            (other, self)
        };
        match (smaller.outcome(), larger.outcome()) {
            (Outcome::NaN, _) | (_, Outcome::NaN) => Normalizer::NAN,
            (Outcome::Empty, _) => larger,
            (_, Outcome::Empty) => smaller,
            (Outcome::FullyMasked, _) | (_, Outcome::PositiveInfinity) => larger,
            _ => {
                let other_terms = if smaller.max == larger.max {
                    (smaller.other_terms + larger.other_terms) + 1.0
                } else {
                    let gap = f64::from(smaller.max) - f64::from(larger.max);
                    larger.other_terms + (1.0 + smaller.other_terms) * libm::exp(gap)
                };
                Normalizer {
                    other_terms,
                    ..larger
                }
            }
        }
    }

    /// m, the largest logit; −∞ while empty or fully masked, NaN if a logit was.
    #[inline]
    #[must_use]
    pub fn max(&self) -> f32 {
        self.max
    }

    /// d = Σ e^(x − m), at least 1; 0 while empty or fully masked, NaN if a logit was +∞ or NaN.
    #[inline]
    #[must_use]
    pub fn denominator(&self) -> f32 {
        match self.outcome() {
            Outcome::Finite => (1.0 + self.other_terms) as f32,
            Outcome::Empty | Outcome::FullyMasked => 0.0,
            Outcome::PositiveInfinity | Outcome::NaN => f32::NAN,
        }
    }

    /// log Σ e^x = m + log d, correct to 1 ULP of max(1, |result|); −∞ while empty or fully
    /// masked, +∞ if a logit was, NaN if one was NaN.
    #[must_use]
    pub fn log_sum_exp(&self) -> f32 {
        match self.outcome() {
            Outcome::Finite => (f64::from(self.max) + self.log_denominator()) as f32,
            _ => self.max,
        }
    }

    /// The log-sum-exp with signs: log |Σ − Σ'| and the sign of Σ − Σ', −1, 0 or 1, where Σ is the
    /// sum of e^x over the logits seen, and Σ' that over those `other` has seen.
    ///
    /// The difference cancels where the sums are nearly equal: beside the rounding of the result,
    /// its error is at most 2^−22 · (Σ + Σ') / |Σ − Σ'|. Equal states give −∞ and 0. Both are NaN
    /// if a logit was NaN, or if +∞ was among the logits of both.
    ///
    /// Logits with factors b of any sign are x + log b where b > 0, and x + log(−b) for `other`
    /// where b < 0. For 5e − e²:
    ///
    /// ```
    /// use online_softmax::{Mask, Normalizer, Softmax};
    ///
    /// let logits = [1.0, 2.0];
    /// let positive = [5_f32.ln(), f32::NEG_INFINITY];
    /// let negative = [f32::NEG_INFINITY, 0.0];
    /// let sum_of = |factors| Softmax::new().mask(Mask::Additive(factors)).normalizer(&logits);
    /// let (log, sign) = sum_of(&positive)?.log_difference(sum_of(&negative)?);
    /// assert!((log - 1.824929).abs() < 1e-6);
    /// assert_eq!(sign, 1.0);
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    #[must_use]
    pub fn log_difference(self, other: Self) -> (f32, f32) {
        // The smaller maximum is subtracted; the sign says which one it is.
        let (smaller, larger, sign) = if self.max < other.max {
            (self, other, -1.0)
        } else {
            (other, self, 1.0)
        };
        match (smaller.outcome(), larger.outcome()) {
            (Outcome::NaN, _) | (_, Outcome::NaN) => (f32::NAN, f32::NAN),
            (Outcome::PositiveInfinity, _) => (f32::NAN, f32::NAN),
            (_, Outcome::PositiveInfinity) => (f32::INFINITY, sign),
            (_, Outcome::Empty | Outcome::FullyMasked) => (f32::NEG_INFINITY, 0.0),
            (Outcome::Empty | Outcome::FullyMasked, _) => (larger.log_sum_exp(), sign),
            _ => {
                let gap = f64::from(smaller.max) - f64::from(larger.max);
                let power = libm::exp(gap);
                let excess = larger.other_terms - (1.0 + smaller.other_terms) * power;
                if excess > -0.5 {
                    let log = f64::from(larger.max) + libm::log1p(excess);
                    return (log as f32, sign);
                }
                // 1 + excess, where equal terms cancel exactly.
                let other_terms = larger.other_terms - smaller.other_terms * power;
                let difference = other_terms - libm::expm1(gap);
                if difference == 0.0 {
                    (f32::NEG_INFINITY, 0.0)
                } else {
                    let log = f64::from(larger.max) + libm::log(difference.abs());
                    (log as f32, if difference > 0.0 { sign } else { -sign })
                }
            }
        }
    }

    /// e^(logit − m) / d: the share of `logit` in the softmax of the logits seen. It need not be
    /// one of them, and is not one more. NaN unless the outcome is [`Outcome::Finite`].
    #[must_use]
    pub fn probability(&self, logit: f32) -> f32 {
        match self.outcome() {
            Outcome::Finite => {
                let power = libm::exp(f64::from(logit) - f64::from(self.max));
                (power / (1.0 + self.other_terms)) as f32
            }
            _ => f32::NAN,
        }
    }

    /// (logit − m) − log d: the logarithm of [`probability`](Self::probability), to full relative
    /// precision however near to zero.
    ///
    /// ```
    /// let confident: online_softmax::Normalizer = [30.0, 0.0].into_iter().collect();
    /// assert_eq!(confident.log_probability(30.0), -9.3576229688e-14);
    /// ```
    #[must_use]
    pub fn log_probability(&self, logit: f32) -> f32 {
        match self.outcome() {
            Outcome::Finite => {
                ((f64::from(logit) - f64::from(self.max)) - self.log_denominator()) as f32
            }
            _ => f32::NAN,
        }
    }

    /// What kind of row was seen.
    #[inline]
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        if self.other_terms.is_nan() {
            Outcome::NaN
        } else if self.max == f32::INFINITY {
            Outcome::PositiveInfinity
        } else if self.max > f32::NEG_INFINITY {
            Outcome::Finite
        } else if self.other_terms < 0.0 {
            Outcome::Empty
        } else {
            Outcome::FullyMasked
        }
    }

    /// (m, d − 1): the whole state, for storage or sending.
    ///
    /// ```
    /// use online_softmax::Normalizer;
    ///
    /// let sent: Normalizer = [30.0, 0.0].into_iter().collect();
    /// let (max, rest) = sent.to_parts();
    /// assert_eq!(Normalizer::from_parts(max, rest), sent);
    /// ```
    #[inline]
    #[must_use]
    pub const fn to_parts(&self) -> (f32, f64) {
        (self.max, self.other_terms)
    }

    /// The state with maximum `max` and denominator 1 + `other_terms`; what
    /// [`to_parts`](Self::to_parts) gave comes back unchanged, and −0 counts as 0. Parts that no
    /// logits have (a negative `other_terms` with a finite maximum, say) make a state whose outcome
    /// is [`Outcome::NaN`].
    #[inline]
    #[must_use]
    pub fn from_parts(max: f32, other_terms: f64) -> Self {
        let is_state = if max == f32::NEG_INFINITY {
            other_terms == 0.0 || other_terms == -1.0
        } else if max == f32::INFINITY {
            other_terms == 0.0
        } else {
            !max.is_nan() && (0.0..f64::INFINITY).contains(&other_terms)
        };
        if is_state {
            // Adding zero makes −0 into +0: two states that are equal have the same bits.
            Normalizer {
                max: max + 0.0,
                other_terms: other_terms + 0.0,
            }
        } else {
            Normalizer::NAN
        }
    }

    /// As [`from_parts`](Self::from_parts), without checks: the parts are those of a row.
    #[inline]
    pub(crate) fn of_row(max: f32, other_terms: f64) -> Self {
        if other_terms.is_nan() {
            Normalizer::NAN
        } else {
            Normalizer { max, other_terms }
        }
    }

    /// Of logits that are all −∞.
    pub(crate) const FULLY_MASKED: Self = Normalizer {
        max: f32::NEG_INFINITY,
        other_terms: 0.0,
    };

    pub(crate) const NAN: Self = Normalizer {
        max: f32::NAN,
        other_terms: f64::NAN,
    };

    /// log d.
    #[inline]
    pub(crate) fn log_denominator(&self) -> f64 {
        libm::log1p(self.other_terms)
    }
}

impl Default for Normalizer {
    /// [`Normalizer::new`].
    fn default() -> Self {
        Normalizer::new()
    }
}

impl Extend<f32> for Normalizer {
    fn extend<I: IntoIterator<Item = f32>>(&mut self, logits: I) {
        for logit in logits {
            self.push(logit);
        }
    }
}

impl FromIterator<f32> for Normalizer {
    fn from_iter<I: IntoIterator<Item = f32>>(logits: I) -> Self {
        let mut normalizer = Normalizer::new();
        normalizer.extend(logits);
        normalizer
    }
}

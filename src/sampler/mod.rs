//! Sampling a class from a row of logits: temperature, top-k, top-p, min-p, and the draw.

use crate::backend::Backend;
use crate::checks;
use crate::dispatch::dispatch;
use crate::error::Error;
use crate::normalizer::Outcome;
use crate::simd::{Simd, WithSimd};
use crate::source::Source;
use crate::top_k::Candidate;
use fraction::{ceil_of, floor_of};
use histogram::{Amount, Measure, least_logit};
use maximum::maximum;
use search::{Found, Target, end_of_equals, find};
use walk::{Prefix, above, walk};
use weights::{Tempered, Tempering, Total};

mod filter;
mod fraction;
mod histogram;
mod maximum;
mod search;
mod walk;
mod weights;

/// Draws classes of rows of logits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampler {
    backend: Backend,
    temperature: f32,
    top_k: usize,
    top_p: f32,
    min_p: f32,
}

impl Default for Sampler {
    /// [`Sampler::new`].
    fn default() -> Self {
        Sampler::new()
    }
}

/// The classes that a [`Sampler`] draws from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Kept {
    /// The least logit among them; +∞ if there are none.
    pub threshold: f32,
    /// How many there are.
    pub count: usize,
    /// The sum of their probabilities in the whole row, as tempered.
    pub mass: f32,
    /// Of the classes with the least logit those before this column are kept.
    end: usize,
}

impl Kept {
    const NONE: Self = Kept {
        threshold: f32::INFINITY,
        count: 0,
        mass: 0.0,
        end: 0,
    };

    /// Whether the class of column `index` with this logit is among them.
    #[must_use]
    pub fn contains(&self, index: usize, logit: f32) -> bool {
        logit > self.threshold || logit == self.threshold && index < self.end
    }
}

impl Sampler {
    /// Temperature 1 and no filter, on the best backend.
    #[must_use]
    pub fn new() -> Self {
        Sampler {
            backend: Backend::best(),
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
        }
    }

    /// On `backend`.
    ///
    /// # Errors
    ///
    /// [`Error::UnavailableBackend`] if this machine cannot run it.
    pub fn backend(mut self, backend: Backend) -> Result<Self, Error> {
        checks::backend(backend)?;
        self.backend = backend;
        Ok(self)
    }

    /// T
    #[must_use]
    pub fn temperature(mut self, temperature: f32) -> Self {
        self.temperature = temperature;
        self
    }

    /// K
    #[must_use]
    pub fn top_k(mut self, k: usize) -> Self {
        self.top_k = k;
        self
    }

    /// P
    #[must_use]
    pub fn top_p(mut self, p: f32) -> Self {
        self.top_p = p;
        self
    }

    /// M
    #[must_use]
    pub fn min_p(mut self, p: f32) -> Self {
        self.min_p = p;
        self
    }

    /// D
    ///
    /// # Errors
    ///
    /// E
    pub fn draw(&self, logits: &[f32], uniform: f32) -> Result<Candidate, Error> {
        checks::sampler(self.temperature, self.top_p, self.min_p)?;
        checks::uniform(uniform)?;
        let drawn = dispatch(
            self.backend,
            Draw {
                sampler: self,
                logits,
                uniform,
            },
        );
        checks::distribution(drawn)
    }

    /// K
    #[must_use]
    pub fn kept(&self, logits: &[f32]) -> Kept {
        if checks::sampler(self.temperature, self.top_p, self.min_p).is_err() {
            return Kept::NONE;
        }
        let kept = dispatch(
            self.backend,
            Keep {
                sampler: self,
                logits,
            },
        );
        kept.unwrap_or(Kept::NONE)
    }
}

struct Draw<'a, L> {
    sampler: &'a Sampler,
    logits: L,
    uniform: f32,
}

impl<L: Source> WithSimd for Draw<'_, L> {
    type Output = Result<Candidate, Outcome>;

    #[cfg_attr(not(unoptimized), inline(always))]
    fn with_simd<S: Simd>(self, simd: S) -> Self::Output {
        let Draw {
            sampler,
            logits,
            uniform,
        } = self;
        let max = finite_maximum(simd, logits)?;
        let Some(row) = sampler.tempered(logits, max) else {
            let end = end_of_equals(simd, logits, max, 1);
            return Ok(Candidate {
                index: end.saturating_sub(1),
                logit: max,
                probability: 1.0,
            });
        };
        let selection = sampler.select(simd, row);
        let mut total = selection.total;
        let (mass, are_most_kept) = match selection.amount {
            Some(amount) => (amount.mass, amount.count > logits.len() / 2),
            None => (total.insert(Total::of(simd, row)).mass(), true),
        };
        let point = floor_of(mass, uniform);
        let index = walk(
            simd,
            row,
            selection.kept,
            are_most_kept,
            total.as_ref(),
            point,
        );
        let index = index.unwrap_or(0);
        let logit = logits.at(simd, index);
        Ok(Candidate {
            index,
            logit,
            probability: row.probability(simd, logit, mass),
        })
    }
}

struct Keep<'a, L> {
    sampler: &'a Sampler,
    logits: L,
}

impl<L: Source> WithSimd for Keep<'_, L> {
    type Output = Result<Kept, Outcome>;

    #[cfg_attr(not(unoptimized), inline(always))]
    fn with_simd<S: Simd>(self, simd: S) -> Self::Output {
        let Keep { sampler, logits } = self;
        let max = finite_maximum(simd, logits)?;
        let Some(row) = sampler.tempered(logits, max) else {
            return Ok(Kept {
                threshold: max,
                count: 1,
                mass: 1.0,
                end: end_of_equals(simd, logits, max, 1),
            });
        };
        let Selection {
            mut kept,
            amount,
            total,
        } = sampler.select(simd, row);
        let amount = amount.unwrap_or_else(|| above(simd, row, f32::NEG_INFINITY));
        if kept.end == 0 {
            // Kept are all above a bound: the least of them is still to be found.
            let target = Target {
                measure: Measure::Count,
                target: amount.count as u64,
                low: kept.threshold,
                available: amount,
            };
            if let Some(found) = find(simd, row, target) {
                kept = Prefix {
                    threshold: found.threshold,
                    end: usize::MAX,
                };
            }
        }
        let total = total.unwrap_or_else(|| Total::of(simd, row)).mass();
        Ok(Kept {
            threshold: kept.threshold,
            count: amount.count,
            mass: (amount.mass as f64 / total as f64) as f32,
            end: kept.end,
        })
    }
}

/// The largest logit, if it is finite.
#[cfg_attr(not(unoptimized), inline(always))]
fn finite_maximum<S: Simd, L: Source>(simd: S, logits: L) -> Result<f32, Outcome> {
    // Adding zero makes −0 into +0: which of the two is found differs by backend.
    let max = maximum(simd, logits) + 0.0;
    if max.is_finite() {
        Ok(max)
    } else if logits.len() == 0 {
        Err(Outcome::Empty)
    } else if max.is_nan() {
        Err(Outcome::NaN)
    } else if max > 0.0 {
        Err(Outcome::PositiveInfinity)
    } else {
        Err(Outcome::FullyMasked)
    }
}

/// What the filters leave.
struct Selection {
    kept: Prefix,
    /// `None` if they leave all.
    amount: Option<Amount>,
    /// The weights of all classes, if they were needed.
    total: Option<Total>,
}

impl Sampler {
    /// `None` if the most probable class is to be taken.
    fn tempered<L: Source>(&self, logits: L, max: f32) -> Option<Tempered<L>> {
        if self.temperature == 0.0 {
            return None;
        }
        Some(Tempered {
            logits,
            max,
            tempering: Tempering::new(max, self.temperature, logits.len())?,
        })
    }

    /// Applies the filters in their order.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn select<S: Simd, L: Source>(&self, simd: S, row: Tempered<L>) -> Selection {
        let mut selection = Selection {
            kept: Prefix::ALL,
            amount: None,
            total: None,
        };
        let len = row.logits.len();
        if self.top_k > 0 && self.top_k < len {
            let target = Target {
                measure: Measure::Count,
                target: self.top_k as u64,
                low: f32::NEG_INFINITY,
                available: Amount {
                    count: len,
                    mass: 0,
                },
            };
            if let Some(found) = find(simd, row, target) {
                selection.keep_up_to(simd, row.logits, found);
            }
        }
        if self.top_p < 1.0 {
            let available = selection.amount.unwrap_or_else(|| Amount {
                count: len,
                mass: selection.total.insert(Total::of(simd, row)).mass(),
            });
            let target = Target {
                measure: Measure::Mass,
                target: ceil_of(available.mass, self.top_p).max(1),
                low: selection.kept.bound(),
                available,
            };
            if let Some(found) = find(simd, row, target) {
                selection.keep_up_to(simd, row.logits, found);
            }
        }
        if self.min_p > 0.0 {
            let largest = f64::from(row.tempering.tempered(row.max));
            let least = largest + libm::log(f64::from(self.min_p));
            let bound = least_logit(row.max, |logit| {
                f64::from(row.tempering.tempered(logit)) >= least
            });
            if bound > selection.kept.threshold {
                let bound = bound.next_down();
                selection.kept = Prefix::above(bound);
                selection.amount = Some(above(simd, row, bound));
            }
        }
        selection
    }
}

impl Selection {
    /// Keeps the classes up to the last that was found.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn keep_up_to<S: Simd, L: Source>(&mut self, simd: S, logits: L, found: Found) {
        let end = if found.needed == found.equal {
            usize::MAX
        } else {
            end_of_equals(simd, logits, found.threshold, found.needed)
        };
        self.kept = Prefix {
            threshold: found.threshold,
            end,
        };
        self.amount = Some(found.amount);
    }
}

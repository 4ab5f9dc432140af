//! Sampling a class from a row of logits: temperature, top-k, top-p and min-p, and the draw.
//!
//! # The path of a draw
//!
//! ```text
//! maximum::maximum      the largest logit; is any NaN?                        1 read
//!    ↓  weights::Tempering      the shift of the weights
//! weights::Total        the weight of all classes, by parts of the row        1 read, if needed
//!    ↓  fraction                the weight that top-p must reach
//! search::find          the last class that is kept                           2 reads, each filter
//!    sampled histogram   → a range of logits that it is almost certainly in
//!    exact histogram     of that range, and the weight of all above it
//!    few classes         of the bin that the last class is in, sorted
//!    ↓  fraction                the weight that the uniform number stands for
//! walk::walk            the class where the sum exceeds it                    half a read
//! ```
//!
//! # Why integers
//!
//! The weight of a class is e^(x/T), scaled so that the largest is about 2^44 (more for short
//! rows), and rounded to an integer. Sums of integers are exact: they depend neither on the order nor on
//! the backend nor on how the row was cut. So the set that is kept, the drawn class and every tie
//! are the same whichever way led to them. A wrong guess of a range costs time, and nothing else.
//!
//! # Why there is no sort
//!
//! The last class is found as by radix selection: classes are counted and weighed by 256 bins of
//! the representations of their logits, and only the bin that the last one is in is looked at
//! again. Where many classes are near it, most of the time would go into the bins. So a 32nd of the
//! row is looked at first, for a narrow range that the last class is in, with the error that such a
//! sample has (three standard deviations). What is above the range is summed in registers, without
//! bins; if that is most of the row, what is below is, and subtracted.
//!
//! Sources: Holtzman et al., "The Curious Case of Neural Text Degeneration", arXiv 1904.09751
//! (top-p); Fan et al., "Hierarchical Neural Story Generation", arXiv 1805.04833 (top-k); Nguyen et
//! al., "Turning Up the Heat: Min-p Sampling", arXiv 2407.01082. Selection: Floyd and Rivest,
//! "Expected Time Bounds for Selection", CACM 18 (1975), for the range from a sample.

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

/// Draws a class of a row of logits, as text is generated. A small `Copy` value.
///
/// ```text
/// probability of class i      p_i = e^(x_i / T) / Σ e^(x_j / T)          T = temperature
/// kept classes                those that top-k, then top-p, then min-p leave
/// drawn class                 the first, in the order of the row, where the sum of the kept p
///                             exceeds uniform · (the sum of all kept p)
/// ```
///
/// The filters apply in the order of Hugging Face's transformers: temperature, top-k, top-p, min-p.
/// Each takes the most probable classes and leaves the others. Of equal logits the lower index is
/// the more probable class. The most probable class is always kept.
///
/// | filter | keeps | off |
/// |---|---|---|
/// | [`top_k`](Self::top_k) | the k most probable classes | 0, or at least the length of the row |
/// | [`top_p`](Self::top_p) | of these the fewest whose probabilities sum to p | 1 or more |
/// | [`min_p`](Self::min_p) | classes with a probability of at least p times the largest | 0 |
///
/// A class whose logit is −∞ has probability 0 and is never kept or drawn.
///
/// # Exactness
///
/// The row is not sorted, nothing is allocated, and the stack holds a histogram of 3 KiB. The
/// weights e^(x/T) have the accuracy of the crate's softmax; they are rounded to multiples of about
/// 2^−44 of the largest (2^−49 for short rows), and from there on all is exact in integers. So the
/// set that is kept is the smallest, not nearly the smallest. The same row, sampler and uniform
/// number give the same class on all backends of a class ([`Backend::Scalar`] and
/// [`Backend::Portable`]; the others): a seed reproduces a text.
///
/// # Examples
///
/// ```
/// use online_softmax::Sampler;
///
/// let logits = [1.0, 3.0, 2.0, f32::NEG_INFINITY];
/// let sampler = Sampler::new().temperature(0.7).top_p(0.9);
/// // The probabilities are 0.04, 0.77, 0.18 and 0.
/// assert_eq!(sampler.kept(&logits).count, 2);
/// let drawn = sampler.draw(&logits, 0.95)?;
/// assert_eq!((drawn.index, drawn.logit), (2, 2.0));
/// # Ok::<(), online_softmax::Error>(())
/// ```
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

/// The classes that a [`Sampler`] draws from: [`Sampler::kept`].
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

    /// Whether the class of column `index`, whose logit this is, is among them: its logit exceeds
    /// the threshold, or equals it and is one of the first that do.
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

    /// The same on `backend`.
    ///
    /// # Errors
    ///
    /// [`Error::UnavailableBackend`] if this machine cannot run it.
    ///
    /// ```
    /// use online_softmax::{Backend, Sampler};
    ///
    /// let reproducible = Sampler::new().top_k(40).backend(Backend::Portable)?;
    /// assert_eq!(reproducible.draw(&[0.5], 0.0)?.index, 0);
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    pub fn backend(mut self, backend: Backend) -> Result<Self, Error> {
        checks::backend(backend)?;
        self.backend = backend;
        Ok(self)
    }

    /// Divides every logit by `temperature`: multiplies it by 1/`temperature`, both rounded to
    /// `f32`. Below 1 probable classes become more probable. 0 takes the most probable class, the
    /// lowest index of equal ones, and so does a temperature so small that the quotient of the
    /// largest logit overflows.
    ///
    /// A negative, infinite or NaN temperature is an error of [`draw`](Self::draw).
    ///
    /// ```
    /// let greedy = online_softmax::Sampler::new().temperature(0.0);
    /// let drawn = greedy.draw(&[1.0, 3.0, 3.0], 0.99)?;
    /// assert_eq!((drawn.index, drawn.probability), (1, 1.0));
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    #[must_use]
    pub fn temperature(mut self, temperature: f32) -> Self {
        self.temperature = temperature;
        self
    }

    /// Keeps the `k` most probable classes. 0 keeps all.
    ///
    /// ```
    /// let sampler = online_softmax::Sampler::new().top_k(2);
    /// assert_eq!(sampler.kept(&[1.0, 3.0, 2.0]).threshold, 2.0);
    /// ```
    #[must_use]
    pub fn top_k(mut self, k: usize) -> Self {
        self.top_k = k;
        self
    }

    /// Keeps the fewest most probable classes whose probabilities sum to `p` or more (nucleus
    /// sampling), of those that [`top_k`](Self::top_k) leaves and in parts of their sum. 0 keeps the
    /// most probable class, 1 and more keep all.
    ///
    /// A negative or NaN `p` is an error of [`draw`](Self::draw).
    ///
    /// ```
    /// let sampler = online_softmax::Sampler::new().top_p(0.5);
    /// assert_eq!(sampler.kept(&[7.0; 10]).count, 5);
    /// ```
    #[must_use]
    pub fn top_p(mut self, p: f32) -> Self {
        self.top_p = p;
        self
    }

    /// Keeps the classes with a probability of at least `p` times the largest: with x/T ≥ max/T +
    /// log p, the logarithm in `f64`. 0 keeps all, 1 those with the largest logit.
    ///
    /// A `p` outside [0, 1] is an error of [`draw`](Self::draw).
    ///
    /// ```
    /// let sampler = online_softmax::Sampler::new().min_p(0.1);
    /// // 1, e^−2 = 0.14 and e^−3 = 0.05 of the largest.
    /// assert_eq!(sampler.kept(&[3.0, 1.0, 0.0]).count, 2);
    /// ```
    #[must_use]
    pub fn min_p(mut self, p: f32) -> Self {
        self.min_p = p;
        self
    }

    /// Draws a class, by a number that is uniform in [0, 1): the first class, in the order of the
    /// row, where the sum of the kept probabilities exceeds `uniform` of their sum. So the index
    /// rises with `uniform`.
    ///
    /// The probability of the [`Candidate`] is its share in the kept classes, the one that it was
    /// drawn with; [`Kept::mass`] times it is that in the whole row. A class with probability 0 is
    /// never drawn. The logit is that of the row, before the temperature.
    ///
    /// # Errors
    ///
    /// [`Error::ParameterOutOfRange`] if the temperature, p or `uniform` is out of its range;
    /// [`Error::NoDistribution`] if the row is empty, has a NaN or +∞, or is all −∞.
    ///
    /// ```
    /// use online_softmax::Sampler;
    ///
    /// let logits = [0.0, 0.0, f32::NEG_INFINITY, 0.0, 0.0];
    /// let drawn = Sampler::new().draw(&logits, 0.5)?;
    /// assert_eq!((drawn.index, drawn.probability), (3, 0.25));
    /// assert!(Sampler::new().draw(&logits, 1.0).is_err());
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
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

    /// The classes that [`draw`](Self::draw) draws from; none where it returns an error, whatever
    /// the uniform number.
    ///
    /// ```
    /// let logits = [2.0, 2.0, 2.0, 1.0];
    /// let kept = online_softmax::Sampler::new().top_k(2).kept(&logits);
    /// assert_eq!((kept.count, kept.threshold), (2, 2.0));
    /// assert!(kept.contains(1, logits[1]) && !kept.contains(2, logits[2]));
    /// ```
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

/// [`Sampler::draw`].
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
            let index = end_of_equals(simd, logits, max, 1).saturating_sub(1);
            return Ok(Candidate {
                index,
                // Not the maximum, which has lost the sign of a zero.
                logit: logits.at(simd, index),
                probability: 1.0,
            });
        };
        let selection = sampler.select(simd, row);
        let mut total = selection.total;
        let amount = selection.amount.unwrap_or_else(|| Amount {
            count: logits.len(),
            mass: total.insert(Total::of(simd, row)).mass(),
        });
        let point = floor_of(amount.mass, uniform);
        let index = walk(simd, row, selection.kept, amount, total.as_ref(), point);
        let index = index.unwrap_or(0);
        let logit = logits.at(simd, index);
        Ok(Candidate {
            index,
            logit,
            probability: row.probability(simd, logit, amount.mass),
        })
    }
}

/// [`Sampler::kept`].
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

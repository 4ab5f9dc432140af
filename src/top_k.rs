//! The most probable classes of a row, and its normalizer, from one read.

use crate::backend::Kernel;
use crate::error::Error;
use crate::kernel::{BLOCK, Logits, Online};
use crate::normalizer::Normalizer;
use crate::softmax::Softmax;
use crate::vector::{LANES, Simd, Vector};

/// One of the most probable classes of a row.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Candidate {
    /// Its column.
    pub index: usize,
    /// Its logit.
    pub logit: f32,
    /// The softmax of its logit in the whole row.
    pub probability: f32,
}

/// The most probable classes of a row on the best backend: [`Softmax::top_k`].
///
/// ```
/// use online_softmax::{Candidate, top_k};
///
/// let mut best = [Candidate::default(); 2];
/// let (normalizer, best) = top_k(&[1.0, 3.0, 2.0, 3.0], &mut best);
/// assert_eq!(best.iter().map(|candidate| candidate.index).collect::<Vec<_>>(), [1, 3]);
/// assert_eq!(best[0].probability, normalizer.probability(3.0));
/// ```
pub fn top_k<'b>(logits: &[f32], best: &'b mut [Candidate]) -> (Normalizer, &'b [Candidate]) {
    Softmax::new().top_k_of(logits, best)
}

impl Softmax<'_> {
    /// The `best.len()` largest logits of a row with their probabilities, in descending order, of
    /// equal ones that of lower index first; and the row's normalizer. One read of the row, which
    /// is not sorted.
    ///
    /// There are fewer candidates than `best` has places if the row is shorter. −∞ is a logit as
    /// any other; NaN is never a candidate, but makes every probability NaN.
    ///
    /// # Errors
    ///
    /// None without options.
    ///
    /// ```
    /// use online_softmax::{Candidate, Softmax};
    ///
    /// let mut best = [Candidate::default(); 5];
    /// let (_, best) = Softmax::new().top_k(&[0.0, f32::NEG_INFINITY], &mut best)?;
    /// assert_eq!(best.len(), 2);
    /// assert_eq!((best[0].probability, best[1].probability), (1.0, 0.0));
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    pub fn top_k<'b>(
        &self,
        logits: &[f32],
        best: &'b mut [Candidate],
    ) -> Result<(Normalizer, &'b [Candidate]), Error> {
        Ok(self.top_k_of(logits, best))
    }

    fn top_k_of<'b>(
        &self,
        logits: &[f32],
        best: &'b mut [Candidate],
    ) -> (Normalizer, &'b [Candidate]) {
        self.dispatch(TopK { logits, best })
    }
}

struct TopK<'a, 'b> {
    logits: &'a [f32],
    best: &'b mut [Candidate],
}

/// Logits that are read for their sum, then from the cache for the candidates among them.
const PART: usize = 16 * BLOCK;

impl<'b> Kernel for TopK<'_, 'b> {
    type Output = (Normalizer, &'b [Candidate]);

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Self::Output {
        let mut online = Online::new();
        let mut candidates = Candidates {
            best: self.best,
            found: 0,
        };
        let mut unread = self.logits;
        // The recurrence takes the first group of a row by itself.
        let mut size = LANES + PART;
        let mut start = 0;
        while !unread.is_empty() {
            let (part, others) = unread.split_at_checked(size).unwrap_or((unread, &[]));
            online.read(simd, part);
            candidates.look_through(simd, part, start);
            start += part.len();
            unread = others;
            size = PART;
        }
        let normalizer = online.finish(simd).normalizer();
        (normalizer, candidates.finish(&normalizer))
    }
}

/// The best so far, in order.
struct Candidates<'b> {
    best: &'b mut [Candidate],
    found: usize,
}

impl<'b> Candidates<'b> {
    #[inline(always)]
    fn look_through<S: Simd>(&mut self, simd: S, logits: &[f32], start: usize) {
        let mut start = start;
        let mut unread = logits;
        while !unread.is_empty() {
            let (group, others) = unread.cut_group();
            let mut has_candidate = true;
            if let Some(lowest) = self.lowest() {
                has_candidate = false;
                for register in 0..S::REGISTERS {
                    let logits = group.load(simd, register * S::Vector::WIDTH);
                    has_candidate |= logits.any_greater(simd.splat(lowest));
                }
            }
            if has_candidate {
                for (lane, logit) in group.iter().enumerate() {
                    self.consider(start + lane, *logit);
                }
            }
            start += LANES;
            unread = others;
        }
    }

    /// The logit that a new candidate must exceed; `None` while there is room for any.
    #[inline(always)]
    fn lowest(&self) -> Option<f32> {
        if self.found < self.best.len() {
            None
        } else {
            Some(self.best.last().map_or(f32::INFINITY, |last| last.logit))
        }
    }

    #[inline(always)]
    fn consider(&mut self, index: usize, logit: f32) {
        if logit.is_nan() || self.lowest().is_some_and(|lowest| logit <= lowest) {
            return;
        }
        self.insert(Candidate {
            index,
            logit,
            probability: 0.0,
        });
    }

    /// Puts a candidate behind all that are as good, and drops the last if there is no room.
    fn insert(&mut self, candidate: Candidate) {
        self.found = (self.found + 1).min(self.best.len());
        let mut place = self.found - 1;
        while let Some([before, here]) = place
            .checked_sub(1)
            .and_then(|before| self.best.get_mut(before..=place))
        {
            if before.logit >= candidate.logit {
                break;
            }
            *here = *before;
            place -= 1;
        }
        if let Some(here) = self.best.get_mut(place) {
            *here = candidate;
        }
    }

    #[inline(always)]
    fn finish(self, normalizer: &Normalizer) -> &'b [Candidate] {
        let (found, _) = self
            .best
            .split_at_mut_checked(self.found)
            .unwrap_or_default();
        for candidate in found.iter_mut() {
            candidate.probability = normalizer.probability(candidate.logit);
        }
        found
    }
}

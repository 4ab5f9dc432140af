//! The most probable classes of a row, and its normalizer, from one read.

use crate::backend::Kernel;
use crate::error::Error;
use crate::kernel::{BLOCK, Logits, Online, Terms, store_group};
use crate::normalizer::{Normalizer, Outcome};
use crate::softmax::{Softmax, reads};
use crate::vector::{Group, LANES, Lanewise, Simd, Vector};

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
    reads! {
        /// The `best.len()` largest logits of a row with their probabilities, in descending order, of
        /// equal ones that of lower index first; and the row's normalizer. One read of the row, which
        /// is not sorted.
        ///
        /// There are fewer candidates than `best` has places if the row is shorter. −∞ is a logit as
        /// any other, and what a masked logit counts as; NaN is never a candidate, but makes every
        /// probability NaN. The logits are those the softmax is taken of, after scale, cap and masks.
        ///
        /// # Errors
        ///
        /// None without options; [`Error::MaskMismatch`] or [`Error::LengthBeyondRow`] if a mask does
        /// not fit.
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
        fn top_k<'b>(logits, best: &'b mut [Candidate]) -> (Normalizer, &'b [Candidate])
            = checked_top_k, top_k
    }

    pub(crate) fn checked_top_k<'b, L: Logits>(
        &self,
        logits: L,
        best: &'b mut [Candidate],
    ) -> Result<(Normalizer, &'b [Candidate]), Error> {
        self.options.check(1, logits.len(), 1)?;
        Ok(self.top_k_of(logits, best))
    }

    fn top_k_of<'b, L: Logits>(
        &self,
        logits: L,
        best: &'b mut [Candidate],
    ) -> (Normalizer, &'b [Candidate]) {
        let mut online = Online::new();
        let mut candidates = Candidates {
            best,
            found: 0,
            bound: None,
        };
        let terms = self.options.terms(false);
        let mut normalizer = Normalizer::new();
        if self.options.leaves_logits() {
            self.dispatch(Read {
                online: &mut online,
                candidates: &mut candidates,
                logits,
                start: 0,
            });
        } else {
            let visible = self.for_each_prepared(logits, 0, |logits, start| {
                self.dispatch(Read {
                    online: &mut online,
                    candidates: &mut candidates,
                    logits,
                    start,
                });
            });
            for index in visible..logits.len() {
                normalizer = Normalizer::FULLY_MASKED;
                if candidates.is_full() {
                    break;
                }
                candidates.consider(index, f32::NEG_INFINITY);
            }
        }
        normalizer = normalizer.merge(self.dispatch(Finish(online)));
        normalizer = terms.with_sink(normalizer);
        (normalizer, candidates.finish(&normalizer, terms))
    }
}

/// Logits that are read for their sum, then from the cache for the candidates among them.
const PART: usize = 64 * BLOCK;

/// Takes in logits: all of a row, or some of it, whole blocks after a first group.
struct Read<'a, 'b, L> {
    online: &'a mut Online,
    candidates: &'a mut Candidates<'b>,
    logits: L,
    start: usize,
}

impl<L: Logits> Kernel for Read<'_, '_, L> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let mut unread = self.logits;
        let mut start = self.start;
        // The recurrence takes the first group of a row by itself.
        let mut size = if start == 0 { LANES + PART } else { PART };
        while unread.len() > 0 {
            let (part, others) = unread.cut(size).unwrap_or((unread, L::nothing()));
            self.online.read(simd, part);
            self.candidates.look_through(simd, part, start);
            start += part.len();
            unread = others;
            size = PART;
        }
    }
}

struct Finish(Online);

impl Kernel for Finish {
    type Output = Normalizer;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Normalizer {
        self.0.finish(simd).normalizer()
    }
}

/// The best so far, in order.
struct Candidates<'b> {
    best: &'b mut [Candidate],
    found: usize,
    /// What a new candidate must exceed; `None` if it need not exceed anything.
    bound: Option<f32>,
}

impl<'b> Candidates<'b> {
    fn is_full(&self) -> bool {
        self.found == self.best.len()
    }

    #[inline(always)]
    fn look_through<S: Simd, L: Logits>(&mut self, simd: S, part: L, start: usize) {
        if self.bound.is_none() {
            self.bound = exceeded_by(simd, part, self.best.len());
        }
        let mut start = start;
        let mut unread = part;
        while unread.len() > 0 {
            let (block, others) = unread.cut(BLOCK).unwrap_or((unread, L::nothing()));
            if self.may_have_candidate(simd, block) {
                let mut of_block = block;
                while of_block.len() > 0 {
                    let (group, others) = of_block.cut_group();
                    let first = start + block.len() - of_block.len();
                    self.look_through_group(simd, group, first);
                    of_block = others;
                }
            }
            start += BLOCK;
            unread = others;
        }
    }

    #[inline(always)]
    fn may_have_candidate<S: Simd, L: Logits>(&self, simd: S, block: L) -> bool {
        let Some(bound) = self.bound else {
            return true;
        };
        let bound = simd.splat(bound);
        let mut candidates = 0;
        for register in 0..BLOCK / S::Vector::WIDTH {
            let start = register * S::Vector::WIDTH;
            if start < block.len() {
                candidates |= block.load(simd, start).where_greater(bound);
            }
        }
        candidates != 0
    }

    #[inline(always)]
    fn look_through_group<S: Simd, L: Logits>(&mut self, simd: S, group: L, start: usize) {
        let mut candidates = u32::MAX;
        if let Some(bound) = self.bound {
            candidates = 0;
            for register in 0..S::REGISTERS {
                let first = register * S::Vector::WIDTH;
                let logits = group.load(simd, first);
                candidates |= logits.where_greater(simd.splat(bound)) << first;
            }
        }
        while candidates != 0 {
            let lane = candidates.trailing_zeros() as usize;
            candidates &= candidates - 1;
            if lane < group.len() {
                self.consider(start + lane, group.at(lane));
            }
        }
    }

    #[inline(always)]
    fn consider(&mut self, index: usize, logit: f32) {
        if logit.is_nan() || self.bound.is_some_and(|bound| logit <= bound) {
            return;
        }
        self.insert(Candidate {
            index,
            logit,
            probability: 0.0,
        });
        if self.is_full() {
            self.bound = Some(self.best.last().map_or(f32::INFINITY, |last| last.logit));
        }
    }

    /// Puts a candidate behind all that are as good, and drops the last if there is no room.
    #[inline(never)]
    fn insert(&mut self, candidate: Candidate) {
        self.found = (self.found + 1).min(self.best.len());
        let mut place = self.found.saturating_sub(1);
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

    fn finish(self, normalizer: &Normalizer, terms: Terms) -> &'b [Candidate] {
        let is_masked = normalizer.outcome() == Outcome::FullyMasked;
        let (found, _) = self
            .best
            .split_at_mut_checked(self.found)
            .unwrap_or_default();
        for candidate in found.iter_mut() {
            candidate.probability = if is_masked {
                terms.fully_masked
            } else {
                normalizer.probability(candidate.logit)
            };
        }
        found
    }
}

/// A value that `count` of the logits exceed at least, and few more, if one is found: by halving
/// between the maxima of the [`BLOCK`] columns that `part` makes as a matrix.
#[inline(always)]
fn exceeded_by<S: Simd, L: Logits>(simd: S, part: L, count: usize) -> Option<f32> {
    let mut maxima = [simd.splat(f32::NEG_INFINITY).group(); BLOCK / LANES];
    let mut unread = part;
    while let Ok((block, others)) = unread.cut(BLOCK) {
        for (index, maxima) in maxima.iter_mut().enumerate() {
            for (register, maxima) in maxima.as_mut().iter_mut().enumerate() {
                let start = index * LANES + register * S::Vector::WIDTH;
                // Not `order`: of NaN no use could be made.
                *maxima = block.load(simd, start).at_least(*maxima);
            }
        }
        unread = others;
    }
    let lanes = maxima.map(|group| store_group::<S>(&group));
    let ends = lanes.as_flattened().iter();
    let (mut low, mut high) = ends.fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), max| {
        (low.min(*max), high.max(*max))
    });
    if exceeding(simd, &maxima, low) < count {
        return None;
    }
    for _ in 0..10 {
        let middle = low + (high - low) / 2.0;
        if exceeding(simd, &maxima, middle) >= count {
            low = middle;
        } else {
            high = middle;
        }
    }
    Some(low)
}

/// How many lanes are greater than `bound`.
#[inline(always)]
fn exceeding<S: Simd>(simd: S, groups: &[Group<S>], bound: f32) -> usize {
    let bound = simd.splat(bound);
    let mut count = 0;
    for group in groups {
        for lanes in group.as_ref() {
            count += lanes.where_greater(bound).count_ones();
        }
    }
    count as usize
}

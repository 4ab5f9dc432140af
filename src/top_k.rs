//! The most probable classes of a row, and its normalizer, from one read.

use crate::backend::WithSimd;
use crate::error::Error;
use crate::kernel::{BLOCK, Online, Sink, Source, load_group, reduce, store_group};
use crate::normalizer::{Normalizer, Outcome};
use crate::softmax::{Softmax, reads};
use crate::vector::{LANES, Lanewise, Simd, SimdFnOnce, Vector};
use core::ops::Range;

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

    pub(crate) fn checked_top_k<'b, L: Source>(
        &self,
        logits: L,
        best: &'b mut [Candidate],
    ) -> Result<(Normalizer, &'b [Candidate]), Error> {
        self.options.check(1, logits.len(), 1)?;
        Ok(self.top_k_of(logits, best))
    }

    fn top_k_of<'b, L: Source>(
        &self,
        logits: L,
        best: &'b mut [Candidate],
    ) -> (Normalizer, &'b [Candidate]) {
        let mut online = Online::new();
        let mut candidates = Candidates::new(best);
        let mut visible = logits.len();
        if self.options.leaves_logits() {
            self.dispatch(Read {
                online: &mut online,
                candidates: &mut candidates,
                logits,
                start: 0,
            });
        } else {
            visible = self.for_each_prepared(logits, 0, |logits, start| {
                self.dispatch(Read {
                    online: &mut online,
                    candidates: &mut candidates,
                    logits,
                    start,
                });
            });
        }
        let mut normalizer = self.dispatch(Epilogue {
            online,
            candidates: &mut candidates,
        });
        if visible < logits.len() {
            normalizer = Normalizer::FULLY_MASKED.merge(normalizer);
            candidates.append_masked(visible..logits.len());
        }
        let sink = self.options.sink(false);
        normalizer = sink.with_sink(normalizer);
        (normalizer, candidates.finish(&normalizer, sink))
    }
}

/// Logits that are read for their sum, then from the cache for what else there is to know of them:
/// a bit for each block.
const PART: usize = u64::BITS as usize * BLOCK;

/// The most logits that are read before the first candidates are looked for among them, in the
/// second-level cache: of many logits the bound is a good one, and few exceed it.
const FIRST: usize = 8 * PART;

/// Takes in logits: all of a row, or some of it, whole blocks after a first group.
struct Read<'a, 'b, L> {
    online: &'a mut Online,
    candidates: &'a mut Candidates<'b>,
    logits: L,
    start: usize,
}

impl<L: Source> WithSimd for Read<'_, '_, L> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Read {
            online, candidates, ..
        } = self;
        let mut unread = self.logits;
        let mut start = self.start;
        while unread.len() > 0 {
            // The recurrence takes the first group of a row by itself.
            let group = if start == 0 { LANES } else { 0 };
            let is_first = candidates.bound.is_none();
            let size = if is_first { FIRST } else { PART };
            let (part, others) = unread
                .split_at(group + size)
                .unwrap_or((unread, L::empty()));
            unread = part;
            let mut size = group + PART;
            while unread.len() > 0 {
                let (part, others) = unread.split_at(size).unwrap_or((unread, L::empty()));
                online.read(simd, part);
                if is_first {
                    let maxima = &mut candidates.maxima;
                    simd.vectorize(RaiseMaxima { part, maxima });
                }
                unread = others;
                size = PART;
            }
            candidates.look_through(simd, part, start);
            start += part.len();
            unread = others;
        }
    }
}

struct Epilogue<'a, 'b> {
    online: Online,
    candidates: &'a mut Candidates<'b>,
}

impl WithSimd for Epilogue<'_, '_> {
    type Output = Normalizer;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Normalizer {
        simd.vectorize(Merge(self.candidates));
        self.online.finish(simd).normalizer()
    }
}

type Groups = [[f32; LANES]; BLOCK / LANES];

const NO_LOGITS: Groups = [[f32::NEG_INFINITY; LANES]; BLOCK / LANES];

/// The best so far, in order, and others to be merged with them.
struct Candidates<'b> {
    best: &'b mut [Candidate],
    found: usize,
    /// What a new candidate must exceed; `None` if it need not exceed anything.
    bound: Option<f32>,
    /// Of [`BLOCK`] columns that the logits make as a matrix, while there is no bound.
    maxima: Groups,
    /// The others in the order of the row: their logits, and −∞ in free places; where they are.
    logits: Groups,
    indices: [usize; BLOCK],
    collected: usize,
}

impl<'b> Candidates<'b> {
    fn new(best: &'b mut [Candidate]) -> Self {
        Candidates {
            best,
            found: 0,
            bound: None,
            maxima: NO_LOGITS,
            logits: NO_LOGITS,
            indices: [0; BLOCK],
            collected: 0,
        }
    }

    #[inline(always)]
    fn look_through<S: Simd, L: Source>(&mut self, simd: S, part: L, start: usize) {
        if self.bound.is_none() {
            self.bound = self.find_bound(simd);
        }
        let mut start = start;
        let mut unread = part;
        while unread.len() > 0 {
            let (part, others) = unread.split_at(PART).unwrap_or((unread, L::empty()));
            let mut blocks = match self.bound {
                Some(bound) => simd.vectorize(Scan { part, bound }),
                None => u64::MAX,
            };
            while blocks != 0 {
                let first = blocks.trailing_zeros() as usize * BLOCK;
                blocks &= blocks - 1;
                let Ok((_, from_block)) = part.split_at(first) else {
                    break;
                };
                match from_block.split_at(BLOCK) {
                    Ok((block, _)) => self.collect(simd, block, start + first),
                    Err(last) => self.collect(simd, last, start + first),
                }
            }
            start += part.len();
            unread = others;
        }
    }

    /// A value that as many of the logits exceed as are to be found, and few more: by halving
    /// between the maxima. `None` if not so many of these exceed the least.
    #[inline(always)]
    fn find_bound<S: Simd>(&self, simd: S) -> Option<f32> {
        let [mut low, mut high] = [self.maxima[0]; 2];
        for group in self.maxima {
            for ((low, high), maximum) in low.iter_mut().zip(&mut high).zip(group) {
                (*low, *high) = (low.min(maximum), high.max(maximum));
            }
        }
        let (mut low, mut high) = (reduce(low, LANES, f32::min), reduce(high, LANES, f32::max));
        let are_enough = |bound| greater_than(simd, &self.maxima, bound) >= self.best.len();
        if !are_enough(low) {
            return None;
        }
        for _ in 0..10 {
            let middle = low + (high - low) / 2.0;
            if are_enough(middle) {
                low = middle;
            } else {
                high = middle;
            }
        }
        Some(low)
    }

    /// Collects what exceeds the bound.
    #[inline(always)]
    fn collect<S: Simd, L: Source>(&mut self, simd: S, block: L, start: usize) {
        let mut lanes = u128::MAX;
        if let Some(bound) = self.bound {
            lanes = 0;
            for register in 0..BLOCK / S::Vector::WIDTH {
                let first = register * S::Vector::WIDTH;
                let greater = block.load(simd, first).gt_mask(simd.splat(bound));
                lanes |= u128::from(greater) << first;
            }
        }
        while lanes != 0 {
            let lane = lanes.trailing_zeros() as usize;
            lanes &= lanes - 1;
            let logit = block.at(lane);
            if lane >= block.len() || logit.is_nan() {
                continue;
            }
            let place = self.collected;
            if let (Some(to_logit), Some(to_index)) = (
                self.logits.as_flattened_mut().get_mut(place),
                self.indices.get_mut(place),
            ) {
                (*to_logit, *to_index) = (logit, start + lane);
                self.collected += 1;
            }
            if self.collected == BLOCK {
                simd.vectorize(Merge(self));
            }
        }
    }

    /// Logits that count as −∞ and are the last of the row.
    fn append_masked(&mut self, columns: Range<usize>) {
        for (place, index) in self.best.iter_mut().skip(self.found).zip(columns) {
            *place = Candidate {
                index,
                logit: f32::NEG_INFINITY,
                probability: 0.0,
            };
            self.found += 1;
        }
    }

    fn finish(self, normalizer: &Normalizer, sink: Sink) -> &'b [Candidate] {
        let is_masked = normalizer.outcome() == Outcome::FullyMasked;
        let (found, _) = self
            .best
            .split_at_mut_checked(self.found)
            .unwrap_or_default();
        for candidate in found.iter_mut() {
            candidate.probability = if is_masked {
                sink.fully_masked
            } else {
                normalizer.probability(candidate.logit)
            };
        }
        found
    }
}

/// Merges what was collected with the best.
struct Merge<'a, 'b>(&'a mut Candidates<'b>);

impl<S: Simd> SimdFnOnce<S> for Merge<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run(self, simd: S) {
        let candidates = self.0;
        let collected = candidates.collected;
        let groups = candidates.logits.get(..collected.div_ceil(LANES));
        let groups = groups.unwrap_or(&[]);
        let logits = groups.as_flattened();
        let mut min_max = [0_u8; BLOCK];
        // How many have found their places, from the first of their equals on.
        let mut equals = [0_u8; BLOCK];
        for (from, logit) in (0..=u8::MAX).zip(logits.iter().take(collected)) {
            let first = greater_than(simd, groups, *logit);
            if let Some(equals) = equals.get_mut(first) {
                if let Some(place) = min_max.get_mut(first + usize::from(*equals)) {
                    *place = from;
                }
                *equals += 1;
            }
        }

        // From the last on: those that there is no room for are left out.
        let (mut old, mut new) = (candidates.found, collected);
        while let Some(from) = new.checked_sub(1).and_then(|last| min_max.get(last)) {
            let from = usize::from(*from);
            let (Some(logit), Some(index)) = (logits.get(from), candidates.indices.get(from))
            else {
                break;
            };
            let place = old + new - 1;
            let last_old = old
                .checked_sub(1)
                .and_then(|last| candidates.best.get(last));
            let larger = match last_old {
                Some(last_old) if last_old.logit < *logit => {
                    old -= 1;
                    *last_old
                }
                _ => {
                    new -= 1;
                    Candidate {
                        index: *index,
                        logit: *logit,
                        probability: 0.0,
                    }
                }
            };
            if let Some(place) = candidates.best.get_mut(place) {
                *place = larger;
            }
        }

        candidates.found = (candidates.found + collected).min(candidates.best.len());
        candidates.logits = NO_LOGITS;
        candidates.collected = 0;
        if candidates.found == candidates.best.len() {
            let last = candidates.best.last();
            candidates.bound = Some(last.map_or(f32::INFINITY, |last| last.logit));
        }
    }
}

/// How many logits are greater than `bound`.
#[inline(always)]
fn greater_than<S: Simd>(simd: S, groups: &[[f32; LANES]], bound: f32) -> usize {
    let bound = simd.splat(bound);
    let mut count = 0;
    for group in groups {
        for logits in load_group::<S>(simd, group).as_ref() {
            // Not of a group's lanes together: LLVM counts those without the instruction for it.
            count += logits.gt_mask(bound).count_ones();
        }
    }
    count as usize
}

/// A bit for each block, the lowest for the first: whether some logit exceeds the bound.
struct Scan<L> {
    part: L,
    bound: f32,
}

impl<S: Simd, L: Source> SimdFnOnce<S> for Scan<L> {
    type Output = u64;

    #[inline(always)]
    fn run(self, simd: S) -> u64 {
        let bound = simd.splat(self.bound);
        let mut unread = self.part;
        let mut blocks = 0;
        for bit in 0..u64::BITS {
            let Ok((block, others)) = unread.split_at(BLOCK) else {
                // The last block is looked at in any case.
                return blocks | u64::from(unread.len() > 0) << bit;
            };
            let mut greater = 0;
            for register in 0..BLOCK / S::Vector::WIDTH {
                let logits = block.load(simd, register * S::Vector::WIDTH);
                greater |= logits.gt_mask(bound);
            }
            blocks |= u64::from(greater != 0) << bit;
            unread = others;
        }
        blocks
    }
}

/// Takes the logits of whole blocks into the maxima of their columns.
struct RaiseMaxima<'a, L> {
    part: L,
    maxima: &'a mut Groups,
}

impl<S: Simd, L: Source> SimdFnOnce<S> for RaiseMaxima<'_, L> {
    type Output = ();

    #[inline(always)]
    fn run(self, simd: S) {
        let mut maxima = self.maxima.map(|group| load_group(simd, &group));
        let mut unread = self.part;
        while let Ok((block, others)) = unread.split_at(BLOCK) {
            for (index, maxima) in maxima.iter_mut().enumerate() {
                for (register, maxima) in maxima.as_mut().iter_mut().enumerate() {
                    let start = index * LANES + register * S::Vector::WIDTH;
                    // Not `min_max`: of NaN no use could be made.
                    *maxima = block.load(simd, start).max_keep_nan(*maxima);
                }
            }
            unread = others;
        }
        *self.maxima = maxima.map(|group| store_group::<S>(&group));
    }
}

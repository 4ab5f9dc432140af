//! The candidates for the largest logits of a row: a short list in order, and a buffer of logits
//! that exceed its last.

use crate::math::reduce::reduce;
use crate::normalizer::{Normalizer, Outcome};
use crate::options::Sink;
use crate::rows::schedule::BLOCK;
use crate::simd::{LANES, Lanewise, Simd, Vector, load_group, store_group};
use crate::source::Source;
use core::ops::Range;

/// One of the most probable classes of a row.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Candidate {
    /// Its column.
    pub index: usize,
    /// Its logit.
    pub logit: f32,
    /// Its probability in the whole row.
    pub probability: f32,
}

/// Logits that are read for their sum, and then from the cache for candidates: a bit for each
/// block.
pub(super) const PART: usize = u64::BITS as usize * BLOCK;

type Groups = [[f32; LANES]; BLOCK / LANES];

const NO_LOGITS: [f32; LANES] = [f32::NEG_INFINITY; LANES];

/// Candidates that are collected before they are merged with the best.
const COLLECTED: usize = LANES;

/// The best so far, in order, and others that are to be merged with them.
pub(super) struct Candidates<'b> {
    best: &'b mut [Candidate],
    found: usize,
    /// What a new candidate must exceed; `None` if it need not exceed anything.
    bound: Option<f32>,
    /// The largest logit at each position of a block, until there is a bound.
    maxima: Groups,
    /// The logits of collected candidates in the order of the row, and −∞ in free places.
    logits: [[f32; LANES]; COLLECTED / LANES],
    indices: [usize; COLLECTED],
    collected: usize,
}

impl<'b> Candidates<'b> {
    pub(super) fn new(best: &'b mut [Candidate]) -> Self {
        Candidates {
            best,
            found: 0,
            bound: None,
            maxima: [NO_LOGITS; BLOCK / LANES],
            logits: [NO_LOGITS; COLLECTED / LANES],
            indices: [0; COLLECTED],
            collected: 0,
        }
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn look_through<S: Simd, L: Source>(&mut self, simd: S, part: L, start: usize) {
        if self.bound.is_none() {
            self.bound = self.find_bound(simd);
        }
        let mut start = start;
        let mut unread = part;
        while unread.len() > 0 {
            let (part, others) = unread.split_at(PART).unwrap_or((unread, L::empty()));
            let mut blocks = match self.bound {
                Some(bound) => simd.vectorize(
                    #[inline(always)]
                    move |simd| blocks_above(simd, part, bound),
                ),
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
    #[cfg_attr(not(unoptimized), inline(always))]
    fn find_bound<S: Simd>(&self, simd: S) -> Option<f32> {
        let [mut low, mut high] = [self.maxima[0]; 2];
        for group in self.maxima {
            for ((low, high), maximum) in low.iter_mut().zip(&mut high).zip(group) {
                (*low, *high) = (low.min(maximum), high.max(maximum));
            }
        }
        let (mut low, mut high) = (reduce(low, f32::min), reduce(high, f32::max));
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
    #[cfg_attr(not(unoptimized), inline(always))]
    fn collect<S: Simd, L: Source>(&mut self, simd: S, block: L, start: usize) {
        let len = block.len().min(BLOCK);
        let within = u128::MAX.checked_shr((BLOCK - len) as u32).unwrap_or(0);
        let mut lanes = within;
        if let Some(bound) = self.bound {
            let mut greater = 0;
            // Nothing is loaded past the end: that is slow on some processors.
            for register in 0..len.div_ceil(S::Vector::WIDTH) {
                let first = register * S::Vector::WIDTH;
                let lanes = block.load(simd, first).gt_mask(simd.splat(bound));
                greater |= u128::from(lanes) << first;
            }
            lanes = greater & within;
        }
        while lanes != 0 {
            let lane = lanes.trailing_zeros() as usize;
            lanes &= lanes - 1;
            let logit = block.at(simd, lane);
            if logit.is_nan() {
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
            if self.collected == COLLECTED {
                self.merge(simd);
            }
        }
    }

    /// Merges the collected candidates with the best.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn merge<S: Simd>(&mut self, simd: S) {
        simd.vectorize(
            #[inline(always)]
            |simd| self.merge_collected(simd),
        );
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn merge_collected<S: Simd>(&mut self, simd: S) {
        let collected = self.collected;
        let groups = self.logits.get(..collected.div_ceil(LANES));
        let groups = groups.unwrap_or(&[]);
        let logits = groups.as_flattened();
        let mut order = [0_u8; COLLECTED];
        // How many have found their places, from the first of their equals on.
        let mut equals = [0_u8; COLLECTED];
        for (from, logit) in (0..=u8::MAX).zip(logits.iter().take(collected)) {
            let first = greater_than(simd, groups, *logit);
            if let Some(equals) = equals.get_mut(first) {
                if let Some(place) = order.get_mut(first + usize::from(*equals)) {
                    *place = from;
                }
                *equals += 1;
            }
        }

        // From the last on: those that there is no room for are left out.
        let (mut old, mut new) = (self.found, collected);
        while let Some(from) = new.checked_sub(1).and_then(|last| order.get(last)) {
            let from = usize::from(*from);
            let (Some(logit), Some(index)) = (logits.get(from), self.indices.get(from)) else {
                break;
            };
            let place = old + new - 1;
            let last_old = old.checked_sub(1).and_then(|last| self.best.get(last));
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
            if let Some(place) = self.best.get_mut(place) {
                *place = larger;
            }
        }

        self.found = (self.found + collected).min(self.best.len());
        self.logits = [NO_LOGITS; COLLECTED / LANES];
        self.collected = 0;
        if self.found == self.best.len() {
            let last = self.best.last();
            self.bound = Some(last.map_or(f32::INFINITY, |last| last.logit));
        }
    }

    pub(super) fn has_bound(&self) -> bool {
        self.bound.is_some()
    }

    /// Takes the logits of whole blocks into the maxima of their columns.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn raise_maxima<S: Simd, L: Source>(&mut self, simd: S, part: L) {
        let maxima = &mut self.maxima;
        simd.vectorize(
            #[inline(always)]
            move |simd| raise_maxima(simd, part, maxima),
        );
    }

    /// Logits that count as −∞ and are the first of the row: before visible logits of −∞.
    pub(super) fn insert_masked(&mut self, columns: Range<usize>) {
        let found = self.best.iter().take(self.found);
        let above = found.take_while(|candidate| candidate.logit > f32::NEG_INFINITY);
        let place = above.count();
        let places = self.best.get_mut(place..).unwrap_or(&mut []);
        let count = columns.len().min(places.len());
        places.rotate_right(count);
        let of_visible = self.found - place;
        self.found = place;
        self.append_masked(columns);
        self.found = (self.found + of_visible).min(self.best.len());
    }

    /// Logits that count as −∞ and are the last of the row.
    pub(super) fn append_masked(&mut self, columns: Range<usize>) {
        for (place, index) in self.best.iter_mut().skip(self.found).zip(columns) {
            *place = Candidate {
                index,
                logit: f32::NEG_INFINITY,
                probability: 0.0,
            };
            self.found += 1;
        }
    }

    pub(super) fn finish(self, normalizer: &Normalizer, sink: Sink) -> &'b [Candidate] {
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

/// How many logits are greater than `bound`.
#[cfg_attr(not(unoptimized), inline(always))]
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
#[cfg_attr(not(unoptimized), inline(always))]
fn blocks_above<S: Simd, L: Source>(simd: S, part: L, bound: f32) -> u64 {
    let bound = simd.splat(bound);
    let mut unread = part;
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

#[cfg_attr(not(unoptimized), inline(always))]
fn raise_maxima<S: Simd, L: Source>(simd: S, part: L, maxima: &mut Groups) {
    let mut groups = maxima.map(|group| load_group(simd, &group));
    let mut unread = part;
    while let Ok((block, others)) = unread.split_at(BLOCK) {
        for (index, group) in groups.iter_mut().enumerate() {
            for (register, maxima) in group.as_mut().iter_mut().enumerate() {
                let start = index * LANES + register * S::Vector::WIDTH;
                // A NaN takes the place of the maximum; then the bound is only lower.
                *maxima = block.load(simd, start).max_keep_nan(*maxima);
            }
        }
        unread = others;
    }
    *maxima = groups.map(|group| store_group::<S>(&group));
}

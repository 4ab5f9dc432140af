//! The inverse of the distribution function: from a weight to the class where the sum over the kept
//! classes, in the order of the row, first exceeds it.

use super::filter::{Range, for_each_within};
use super::histogram::Amount;
use super::weights::{Tempered, Total};
use crate::math::integer_sum::{IntegerSum, to_integer};
use crate::rows::schedule::BLOCK;
use crate::simd::{Simd, Vector, lanes_of};
use crate::source::Source;

/// The kept classes: those with a logit above the threshold, and of those with the threshold itself
/// the ones before `end`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Prefix {
    pub(super) threshold: f32,
    pub(super) end: usize,
}

impl Prefix {
    /// All classes with a logit above −∞.
    pub(super) const ALL: Self = Prefix::above(f32::NEG_INFINITY);

    /// All kept logits are above it.
    pub(super) fn bound(self) -> f32 {
        if self.end == 0 {
            self.threshold
        } else {
            self.threshold.next_down()
        }
    }

    pub(super) const fn above(bound: f32) -> Self {
        Prefix {
            threshold: bound,
            end: 0,
        }
    }
}

/// Logits of a part that is walked class by class.
const PART: usize = 16 * BLOCK;

/// Where a class is looked for: the part of a row from column `start` on, and the weight of the kept
/// classes of the part that come before the class.
struct Place<L> {
    part: L,
    start: usize,
    missing: u64,
}

/// The index of the class; `None` if the kept classes, which amount to `kept_amount`, weigh no more
/// than `mass`. `total` is that of the row, if it was read.
#[cfg_attr(not(unoptimized), inline(always))]
pub(super) fn walk<S: Simd, L: Source>(
    simd: S,
    row: Tempered<L>,
    kept: Prefix,
    kept_amount: Amount,
    total: Option<&Total>,
    mass: u64,
) -> Option<usize> {
    let place = match total {
        Some(total) => place_in_part(simd, row, kept, kept_amount, total, mass)?,
        None => Place {
            part: row.logits,
            start: 0,
            missing: mass,
        },
    };
    let Place {
        mut part,
        mut start,
        mut missing,
    } = place;
    loop {
        let (first, others) = part.split_at(PART).unwrap_or((part, L::empty()));
        if others.len() > 0 {
            let logits = Tempered {
                logits: first,
                ..row
            };
            let of_first = kept_mass(simd, logits, start, kept);
            if of_first <= missing {
                missing -= of_first;
                start += first.len();
                part = others;
                continue;
            }
        }
        let part = Tempered {
            logits: first,
            ..row
        };
        return walk_part(simd, part, start, kept, missing);
    }
}

/// Finds the part from the nearer end of the row.
#[cfg_attr(not(unoptimized), inline(always))]
fn place_in_part<S: Simd, L: Source>(
    simd: S,
    row: Tempered<L>,
    kept: Prefix,
    kept_amount: Amount,
    total: &Total,
    mass: u64,
) -> Option<Place<L>> {
    let len = row.logits.len();
    let are_most_kept = kept_amount.count > len / 2;
    let is_in_first_half = mass < kept_amount.mass / 2;
    let count = len.div_ceil(total.step.max(1));
    // The weight of the kept classes before the next part; from the end on, of those up to its end.
    let mut before = if is_in_first_half {
        0
    } else {
        kept_amount.mass
    };
    for number in 0..count {
        let index = if is_in_first_half {
            number
        } else {
            count - 1 - number
        };
        let start = index * total.step;
        let part = row.logits.slice(start, total.step.min(len - start))?;
        let logits = Tempered {
            logits: part,
            ..row
        };
        // Differences saturate: where numbers are not rounded to nearest, the parts need not add up.
        let of_part = if are_most_kept {
            let others = mass_of_others(simd, logits, start, kept);
            total.part(index).saturating_sub(others)
        } else {
            kept_mass(simd, logits, start, kept)
        };
        if !is_in_first_half {
            before = before.saturating_sub(of_part);
        }
        let after = before + of_part;
        if (before..after).contains(&mass) {
            return Some(Place {
                part,
                start,
                missing: mass - before,
            });
        }
        if is_in_first_half {
            before = after;
        }
    }
    None
}

/// The walk through a part that begins at column `start`, class by class.
#[cfg_attr(not(unoptimized), inline(always))]
fn walk_part<S: Simd, L: Source>(
    simd: S,
    part: Tempered<L>,
    start: usize,
    kept: Prefix,
    mass: u64,
) -> Option<usize> {
    simd.vectorize(
        #[inline(always)]
        move |simd| {
            let weights = part.tempering.weights(simd);
            let mut missing = mass;
            for first in (0..part.logits.len()).step_by(S::Vector::WIDTH) {
                let logits = part.logits.load(simd, first);
                let column = start + first;
                let before_end = kept.end.saturating_sub(column).min(S::Vector::WIDTH);
                let inclusive = simd.splat(kept.threshold.next_down());
                let mut lanes = logits.gt_mask(inclusive) & ((1 << before_end) - 1)
                    | logits.gt_mask(simd.splat(kept.threshold));
                if lanes == 0 {
                    continue;
                }
                let of_logits = lanes_of(weights.of(logits));
                while lanes != 0 {
                    let lane = lanes.trailing_zeros() as usize;
                    let weight = to_integer(of_logits[lane % of_logits.len()]);
                    if weight > missing {
                        return Some(column + lane);
                    }
                    missing -= weight;
                    lanes &= lanes - 1;
                }
            }
            None
        },
    )
}

/// The part of a row that begins at column `start`, cut where the threshold itself is kept no more.
#[cfg_attr(not(unoptimized), inline(always))]
fn cut<L: Source>(part: Tempered<L>, start: usize, kept: Prefix) -> [Tempered<L>; 2] {
    let (first, others) = part
        .logits
        .split_at(kept.end.saturating_sub(start))
        .unwrap_or((part.logits, L::empty()));
    [first, others].map(|logits| Tempered { logits, ..part })
}

/// The weight of the kept classes of a part of a row that begins at column `start`.
#[cfg_attr(not(unoptimized), inline(always))]
fn kept_mass<S: Simd, L: Source>(simd: S, part: Tempered<L>, start: usize, kept: Prefix) -> u64 {
    let [first, others] = cut(part, start, kept);
    let of_first = above(simd, first, kept.threshold.next_down());
    of_first.mass + above(simd, others, kept.threshold).mass
}

/// The weight of its other classes.
#[cfg_attr(not(unoptimized), inline(always))]
fn mass_of_others<S: Simd, L: Source>(
    simd: S,
    part: Tempered<L>,
    start: usize,
    kept: Prefix,
) -> u64 {
    if kept.threshold == f32::NEG_INFINITY {
        return 0;
    }
    let [first, others] = cut(part, start, kept);
    let below = |high| Range {
        low: f32::NEG_INFINITY,
        high,
    };
    let of_first = amount(simd, first, below(kept.threshold.next_down()));
    of_first.mass + amount(simd, others, below(kept.threshold)).mass
}

/// The classes with a logit above `bound`.
#[cfg_attr(not(unoptimized), inline(always))]
pub(super) fn above<S: Simd, L: Source>(simd: S, row: Tempered<L>, bound: f32) -> Amount {
    let range = Range {
        low: bound,
        high: f32::INFINITY,
    };
    amount(simd, row, range)
}

/// The classes with a logit within a range.
#[cfg_attr(not(unoptimized), inline(always))]
fn amount<S: Simd, L: Source>(simd: S, row: Tempered<L>, range: Range) -> Amount {
    if row.logits.len() == 0 {
        return Amount::default();
    }
    simd.vectorize(
        #[inline(always)]
        move |simd| {
            let weights = row.tempering.weights(simd);
            let mut sum = IntegerSum::new();
            let mut count = 0;
            for_each_within(
                simd,
                row.logits,
                range,
                #[inline(always)]
                |logits| {
                    count += logits.len();
                    for start in (0..logits.len()).step_by(S::Vector::WIDTH) {
                        sum.add(weights.of(logits.load(simd, start)));
                    }
                },
            );
            Amount {
                count,
                mass: sum.total(),
            }
        },
    )
}

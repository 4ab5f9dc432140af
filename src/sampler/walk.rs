//! The inverse of the distribution function: from a weight to the class where the sum over the kept
//! classes, in the order of the row, first exceeds it.

use super::filter::{Range, for_each_within};
use super::histogram::Amount;
use super::weights::{Tempered, mass_of_all};
use crate::math::integer_sum::IntegerSum;
use crate::rows::schedule::BLOCK;
use crate::simd::{LANES, Simd, Vector};
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

/// Steps, each over parts of the part that the one before has found.
const STEPS: [usize; 4] = [16 * BLOCK, 2 * BLOCK, LANES, 1];

/// The index of the class; `None` if the kept classes weigh no more than `mass`.
#[cfg_attr(not(unoptimized), inline(always))]
pub(super) fn walk<S: Simd, L: Source>(
    simd: S,
    row: Tempered<L>,
    kept: Prefix,
    mass: u64,
) -> Option<usize> {
    let (mut part, mut start, mut missing) = (row.logits, 0, mass);
    for step in STEPS {
        loop {
            if part.len() == 0 {
                return None;
            }
            let (first, others) = part.split_at(step).unwrap_or((part, L::empty()));
            let of_first = kept_mass(
                simd,
                Tempered {
                    logits: first,
                    ..row
                },
                start,
                kept,
            );
            if of_first > missing {
                part = first;
                break;
            }
            missing -= of_first;
            start += first.len();
            part = others;
        }
    }
    Some(start)
}

/// The weight of the kept classes of a part of a row that begins at column `start`.
#[cfg_attr(not(unoptimized), inline(always))]
fn kept_mass<S: Simd, L: Source>(simd: S, part: Tempered<L>, start: usize, kept: Prefix) -> u64 {
    let inclusive = kept.end.saturating_sub(start);
    let mut mass = 0;
    let mut others = part.logits;
    if inclusive > 0 {
        let first;
        (first, others) = others.split_at(inclusive).unwrap_or((others, L::empty()));
        let first = Tempered {
            logits: first,
            ..part
        };
        mass += above(simd, first, kept.threshold.next_down()).mass;
    }
    let others = Tempered {
        logits: others,
        ..part
    };
    mass + above(simd, others, kept.threshold).mass
}

/// The classes with a logit above `bound`.
#[cfg_attr(not(unoptimized), inline(always))]
pub(super) fn above<S: Simd, L: Source>(simd: S, row: Tempered<L>, bound: f32) -> Amount {
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
                Range::above(bound),
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

/// The weight of all classes.
#[cfg_attr(not(unoptimized), inline(always))]
pub(super) fn total<S: Simd, L: Source>(simd: S, row: Tempered<L>) -> u64 {
    mass_of_all(simd, row.logits, row.tempering)
}

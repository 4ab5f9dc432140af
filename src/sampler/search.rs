//! The smallest set of most probable classes that reaches a count or a weight.

use super::filter::{Range, for_each_within, pack};
use super::histogram::{Amount, BINS, Bins, Histogram, Measure};
use super::weights::Tempered;
use crate::math::integer_sum::{IntegerSum, to_integer};
use crate::rows::schedule::BLOCK;
use crate::simd::{LANES, Simd, Vector, WIDEST};
use crate::source::Source;

/// What is looked for: the first classes, from the most probable on, that together reach `target`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    pub(super) measure: Measure,
    pub(super) target: u64,
    /// No class with this logit or a lower one can be needed.
    pub(super) low: f32,
    /// What all classes above `low` amount to. The count may be too high.
    pub(super) available: Amount,
}

/// The last of these classes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) threshold: f32,
    /// Classes with this logit.
    pub(super) equal: usize,
    /// How many of these are needed.
    pub(super) needed: usize,
    /// What all needed classes amount to.
    pub(super) amount: Amount,
}

/// Classes of a bin that are sorted, not searched by another histogram.
const FEW: usize = 64;

/// `None` if all classes together do not reach the target. In a function of its own, which frees its
/// histograms.
#[cfg_attr(not(unoptimized), inline(always))]
pub(super) fn find<S: Simd, L: Source>(simd: S, row: Tempered<L>, target: Target) -> Option<Found> {
    simd.vectorize(
        #[inline(always)]
        move |simd| search(simd, row, target),
    )
}

#[cfg_attr(not(unoptimized), inline(always))]
fn search<S: Simd, L: Source>(simd: S, row: Tempered<L>, target: Target) -> Option<Found> {
    // One for the sample and for all ranges: it takes most of the stack.
    let mut histogram = Histogram::new();
    let (mut range, mut outside) = simd.vectorize(
        #[inline(always)]
        |simd| first_range(simd, row, target, &mut histogram),
    );
    loop {
        let bins = Bins::of(range);
        histogram.clear();
        let above = add_to_histogram(simd, row, range, bins, outside, target, &mut histogram);
        if above.of(target.measure) >= target.target {
            // The guess was too low.
            range = Range {
                low: range.high,
                high: row.max,
            };
            outside = Outside::Known(Amount::default());
            continue;
        }
        let mut before = above;
        let found = histogram.descending().find(|(_, amount)| {
            let reached = before.plus(*amount);
            let is_enough = reached.of(target.measure) >= target.target;
            if !is_enough {
                before = reached;
            }
            is_enough
        });
        outside = Outside::Known(before);
        let Some((bin, amount)) = found else {
            if range.low <= target.low {
                return None;
            }
            // The guess was too high.
            range = Range {
                low: target.low,
                high: range.low,
            };
            continue;
        };
        range = bins.range(bin);
        if bins.are_single() {
            let equal = amount.count;
            return Some(among_equals(simd, row, target, before, range.high, equal));
        }
        if amount.count <= FEW {
            return Some(among_few(simd, row, target, before, range));
        }
    }
}

/// How what lies above a range is found out.
#[derive(Clone, Copy)]
enum Outside {
    Known(Amount),
    /// It is summed.
    SumAbove,
    /// What lies below is summed, as it is less, and subtracted from what is available.
    SumBelow,
}

/// Adds the classes of a range to a histogram. Returns what is above the range.
#[cfg_attr(not(unoptimized), inline(always))]
fn add_to_histogram<S: Simd, L: Source>(
    simd: S,
    row: Tempered<L>,
    range: Range,
    bins: Bins,
    outside: Outside,
    target: Target,
    histogram: &mut Histogram,
) -> Amount {
    simd.vectorize(
        #[inline(always)]
        |simd| {
            let weights = row.tempering.weights(simd);
            let (low, high) = (simd.splat(range.low), simd.splat(range.high));
            let mut sum = IntegerSum::new();
            let is_above = matches!(outside, Outside::SumAbove);
            let mut read = range;
            if is_above || range.high == row.max {
                read.high = f32::INFINITY;
            }
            if matches!(outside, Outside::SumBelow) {
                read.low = target.low;
            }
            let mut add = |logit, mass| histogram.add(bins.bin(logit), mass);
            let (mut within, mut count_within) = (Packed::new(), 0);
            let mut count_above = 0;
            let count = for_each_within(
                simd,
                row.logits,
                read,
                #[inline(always)]
                |logits| {
                    for start in (0..logits.len()).step_by(S::Vector::WIDTH) {
                        let logits = logits.load(simd, start);
                        let above = logits.gt_mask(high);
                        count_above += above.count_ones() as usize;
                        let of_logits = weights.of(logits);
                        if !matches!(outside, Outside::Known(_)) {
                            let of_above = logits.and_gt(high, of_logits);
                            let of_others = of_logits - logits.and_gt(low, of_logits);
                            sum.add(if is_above { of_above } else { of_others });
                        }
                        let lanes = logits.gt_mask(low) & !above;
                        count_within = within.add(logits, of_logits, lanes, count_within, &mut add);
                    }
                },
            );
            within.flush(count_within, &mut add);
            match outside {
                Outside::Known(above) => above,
                Outside::SumAbove => Amount {
                    count: count_above,
                    mass: sum.total(),
                },
                Outside::SumBelow => {
                    let inside: u64 = histogram.descending().map(|(_, amount)| amount.mass).sum();
                    Amount {
                        count,
                        mass: target.available.mass - sum.total() - inside,
                    }
                }
            }
        },
    )
}

/// So many packed classes, or some more, are added to a histogram at once.
const FLUSHED: usize = WIDEST;

/// Classes on their way to a histogram, side by side: few lanes of a register are. How many they are
/// is no field, as in [`pack`].
struct Packed {
    logits: [f32; FLUSHED + WIDEST],
    weights: [f32; FLUSHED + WIDEST],
}

impl Packed {
    #[cfg_attr(not(unoptimized), inline(always))]
    fn new() -> Self {
        Packed {
            logits: [0.0; FLUSHED + WIDEST],
            weights: [0.0; FLUSHED + WIDEST],
        }
    }

    /// Adds the classes of a register that `lanes` has a bit for to `count` others. Returns the new
    /// count.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn add<V: Vector>(
        &mut self,
        logits: V,
        weights: V,
        lanes: u32,
        count: usize,
        take: impl FnMut(f32, u64),
    ) -> usize {
        pack(weights, lanes, &mut self.weights, count);
        let count = pack(logits, lanes, &mut self.logits, count);
        if count < FLUSHED {
            return count;
        }
        self.flush(count, take);
        0
    }

    /// Hands the logits and weights of `count` classes on.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn flush(&self, count: usize, mut take: impl FnMut(f32, u64)) {
        for (logit, weight) in self.logits.iter().zip(&self.weights).take(count) {
            take(*logit, to_integer(*weight));
        }
    }
}

/// The classes of `range` are few: they are sorted. Those above it amount to `before`.
#[cfg_attr(not(unoptimized), inline(always))]
fn among_few<S: Simd, L: Source>(
    simd: S,
    row: Tempered<L>,
    target: Target,
    before: Amount,
    range: Range,
) -> Found {
    let mut few = [f32::NEG_INFINITY; FEW];
    let mut weights = [0.0; FEW];
    simd.vectorize(
        #[inline(always)]
        |simd| {
            let mut count = 0;
            for_each_within(
                simd,
                row.logits,
                range,
                #[inline(always)]
                |logits| {
                    for logit in logits {
                        insert(&mut few, count, *logit);
                        count += 1;
                    }
                },
            );
            let of = row.tempering.weights(simd);
            for start in (0..count.min(FEW)).step_by(S::Vector::WIDTH) {
                let logits = (&few[..]).load(simd, start);
                of.of(logits)
                    .store(weights.get_mut(start..).unwrap_or(&mut []));
            }
        },
    );
    let mut found = Found {
        threshold: range.high,
        equal: 0,
        needed: 0,
        amount: before,
    };
    for (logit, weight) in few.into_iter().zip(weights) {
        let is_enough = found.amount.of(target.measure) >= target.target;
        if is_enough && logit != found.threshold || logit == f32::NEG_INFINITY {
            break;
        }
        if logit != found.threshold {
            (found.threshold, found.equal, found.needed) = (logit, 0, 0);
        }
        found.equal += 1;
        if !is_enough {
            found.needed += 1;
            found.amount = found.amount.plus(Amount {
                count: 1,
                mass: to_integer(weight),
            });
        }
    }
    found
}

/// Puts a logit in its place among `count` others in descending order.
#[cfg_attr(not(unoptimized), inline(always))]
fn insert(sorted: &mut [f32; FEW], count: usize, logit: f32) {
    let mut logit = logit;
    for other in sorted.iter_mut().take(count + 1) {
        if logit > *other {
            core::mem::swap(other, &mut logit);
        }
    }
}

/// All classes of the bin have one logit.
#[cfg_attr(not(unoptimized), inline(always))]
fn among_equals<S: Simd, L: Source>(
    simd: S,
    row: Tempered<L>,
    target: Target,
    before: Amount,
    logit: f32,
    equal: usize,
) -> Found {
    let each = Amount {
        count: 1,
        mass: row.weight(simd, logit),
    };
    let missing = target.target.saturating_sub(before.of(target.measure));
    let needed = missing.div_ceil(each.of(target.measure).max(1));
    let needed = usize::try_from(needed).unwrap_or(equal).min(equal);
    Found {
        threshold: logit,
        equal,
        needed,
        amount: Amount {
            count: before.count + needed,
            mass: before.mass + needed as u64 * each.mass,
        },
    }
}

/// Of so many groups of [`LANES`] one is sampled.
const STRIDE: usize = 32;

/// Rows shorter than this are not sampled.
const SHORTEST_SAMPLED: usize = 4 * STRIDE * LANES;

/// Standard deviations of an estimate that are allowed for.
const DEVIATIONS: f64 = 3.0;

/// How far below the largest logit, as tempered, a sample is looked at if nothing else is known.
const DEPTH: f64 = 32.0;

/// A range that the last class is almost certainly in. Nothing but the time depends on it.
#[cfg_attr(not(unoptimized), inline(always))]
fn first_range<S: Simd, L: Source>(
    simd: S,
    row: Tempered<L>,
    target: Target,
    histogram: &mut Histogram,
) -> (Range, Outside) {
    let len = row.logits.len();
    let all = Range {
        low: target.low,
        high: row.max,
    };
    let largest = row.weight(simd, row.max).max(1) as f64;
    let depth = match target.measure {
        Measure::Count => DEPTH,
        Measure::Mass => {
            // Classes below would amount to less than what need not be reached, were all as heavy.
            let rest = target.available.mass.saturating_sub(target.target);
            -libm::log(rest.max(1) as f64 / (len as f64 * largest))
        }
    };
    let lowest = f64::from(row.max) - depth * row.tempering.temperature();
    let lowest = (lowest as f32 + 0.0).max(target.low);
    let bins_a_logit = BINS as f32 / (row.max - lowest);
    if !(bins_a_logit > 0.0 && bins_a_logit < f32::INFINITY) {
        return (all, NOTHING_ABOVE);
    }
    if len < SHORTEST_SAMPLED {
        let low = match target.measure {
            Measure::Count => all.low,
            Measure::Mass => lowest,
        };
        return (Range { low, ..all }, NOTHING_ABOVE);
    }

    let histogram_of_sample = &mut *histogram;
    let (sampled, mass) = simd.vectorize(
        #[inline(always)]
        move |simd| {
            let weights = row.tempering.weights(simd);
            let (low, floor) = (simd.splat(target.low), simd.splat(lowest));
            let mut add = |logit: f32, mass| {
                histogram_of_sample.add(((logit - lowest) * bins_a_logit) as u8, mass);
            };
            let (mut within, mut count_within) = (Packed::new(), 0);
            let mut sum = IntegerSum::new();
            let mut unread = row.logits;
            let mut sampled = 0;
            while unread.len() > 0 {
                let (group, _) = unread.split_group();
                for register in 0..S::REGISTERS {
                    let logits = group.load(simd, register * S::Vector::WIDTH);
                    let of_logits = weights.of(logits);
                    sum.add(logits.and_gt(low, of_logits));
                    let lanes = logits.gt_mask(floor);
                    count_within = within.add(logits, of_logits, lanes, count_within, &mut add);
                }
                sampled += group.len();
                let stride = STRIDE * LANES;
                (_, unread) = unread.split_at(stride).unwrap_or((unread, L::empty()));
            }
            within.flush(count_within, &mut add);
            (sampled, sum.total())
        },
    );

    let stride = len as f64 / sampled as f64;
    let square = |amount: Amount| {
        let mass = amount.mass as f64;
        if amount.count == 0 {
            0.0
        } else {
            mass * mass / amount.count as f64
        }
    };
    let mut below = mass as f64;
    let mut variance_below: f64 = histogram.descending().map(|(_, bin)| square(bin)).sum();
    let (mut count, mut weight) = (0.0, largest);
    let weight_ratio = libm::exp(-1.0 / (f64::from(bins_a_logit) * row.tempering.temperature()));
    let mut range = Range {
        low: if target.measure == Measure::Mass {
            lowest
        } else {
            target.low
        },
        ..all
    };
    for (bin, amount) in histogram.descending() {
        count += amount.count as f64;
        below -= amount.mass as f64;
        variance_below -= square(amount);
        weight *= weight_ratio;
        if amount.count == 0 && bin > 0 {
            continue;
        }
        // Of all above the lower edge of the bin. One more class may be there.
        let (estimate, variance) = match target.measure {
            Measure::Count => (count * stride, count + 1.0),
            Measure::Mass => (
                target.available.mass as f64 - below * stride,
                variance_below + weight * weight,
            ),
        };
        let distance = (estimate - target.target as f64) / (DEVIATIONS * stride);
        let is_certain = distance * distance > variance;
        let edge = lowest + bin as f32 / bins_a_logit + 0.0;
        if is_certain && distance > 0.0 {
            range.low = edge.max(range.low);
            break;
        }
        if is_certain && edge > range.low {
            range.high = edge;
        }
    }
    if range.low >= range.high {
        return (all, NOTHING_ABOVE);
    }
    // Of several filters the later ones see ties that an earlier one has cut.
    let is_all = target.measure == Measure::Mass && target.low == f32::NEG_INFINITY;
    let outside = if range.high == row.max {
        NOTHING_ABOVE
    } else if is_all && 2.0 * count > sampled as f64 {
        Outside::SumBelow
    } else {
        Outside::SumAbove
    };
    (range, outside)
}

const NOTHING_ABOVE: Outside = Outside::Known(Amount { count: 0, mass: 0 });

/// The index after that of occurrence `number` of a logit, counted from 1.
#[cfg_attr(not(unoptimized), inline(always))]
pub(super) fn end_of_equals<S: Simd, L: Source>(
    simd: S,
    row: L,
    logit: f32,
    number: usize,
) -> usize {
    let range = Range {
        low: logit.next_down(),
        high: logit,
    };
    simd.vectorize(
        #[inline(always)]
        move |simd| {
            let mut unread = row;
            let (mut start, mut missing) = (0, number);
            while unread.len() > 0 {
                let (block, others) = unread.split_at(BLOCK).unwrap_or((unread, L::empty()));
                for register in 0..block.len().div_ceil(S::Vector::WIDTH) {
                    let first = register * S::Vector::WIDTH;
                    let mut lanes = range.lanes(simd, block.load(simd, first));
                    while lanes != 0 {
                        missing = missing.saturating_sub(1);
                        if missing == 0 {
                            return start + first + lanes.trailing_zeros() as usize + 1;
                        }
                        lanes &= lanes - 1;
                    }
                }
                start += block.len();
                unread = others;
            }
            start
        },
    )
}

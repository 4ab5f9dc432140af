//! Counts and weights by bins of logits.

use super::filter::Range;

/// Bins of a histogram.
pub(super) const BINS: usize = 256;

/// What a set of classes is measured by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Measure {
    Count,
    Mass,
}

/// A number of classes, and their weight.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Amount {
    pub(super) count: usize,
    pub(super) mass: u64,
}

impl Amount {
    pub(super) fn plus(self, other: Self) -> Self {
        Amount {
            count: self.count + other.count,
            mass: self.mass + other.mass,
        }
    }

    pub(super) fn of(self, measure: Measure) -> u64 {
        match measure {
            Measure::Count => self.count as u64,
            Measure::Mass => self.mass,
        }
    }
}

/// The classes in each bin, at most 2^32 of them, and their weight: 3 KiB.
pub(super) struct Histogram {
    counts: [u32; BINS],
    masses: [u64; BINS],
}

impl Histogram {
    pub(super) fn new() -> Self {
        Histogram {
            counts: [0; BINS],
            masses: [0; BINS],
        }
    }

    pub(super) fn clear(&mut self) {
        self.counts.fill(0);
        self.masses.fill(0);
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn add(&mut self, bin: u8, mass: u64) {
        let count = &mut self.counts[usize::from(bin)];
        *count = count.wrapping_add(1);
        self.masses[usize::from(bin)] += mass;
    }

    /// Each bin with what it holds, from the highest logits to the lowest.
    pub(super) fn descending(&self) -> impl Iterator<Item = (usize, Amount)> {
        let amounts = self.counts.iter().zip(&self.masses);
        amounts.enumerate().rev().map(|(bin, (count, mass))| {
            let amount = Amount {
                count: *count as usize,
                mass: *mass,
            };
            (bin, amount)
        })
    }
}

/// A partition of a range by the representations of its logits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bins {
    first: u32,
    last: u32,
    shift: u32,
}

impl Bins {
    pub(super) fn of(range: Range) -> Self {
        let (first, last) = (key(range.low).saturating_add(1), key(range.high));
        let span = last.saturating_sub(first);
        Bins {
            first,
            last,
            shift: (u32::BITS - span.leading_zeros()).saturating_sub(BINS.trailing_zeros()),
        }
    }

    /// The bin of a logit within the range.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn bin(self, logit: f32) -> u8 {
        (key(logit).wrapping_sub(self.first) >> self.shift) as u8
    }

    /// The range of one bin.
    pub(super) fn range(self, bin: usize) -> Range {
        let before = (self.first - 1).saturating_add((bin as u32) << self.shift);
        let last = before.saturating_add((1 << self.shift) as u32);
        Range {
            low: logit(before),
            high: logit(last.min(self.last)),
        }
    }

    /// Whether each bin holds equal logits.
    pub(super) fn are_single(self) -> bool {
        self.shift == 0
    }
}

/// The representation of a logit as an integer in the same order. Those of −0 and +0 differ.
#[cfg_attr(not(unoptimized), inline(always))]
fn key(logit: f32) -> u32 {
    let bits = logit.to_bits();
    let sign = (bits.cast_signed() >> 31).cast_unsigned();
    bits ^ (sign | 1 << 31)
}

/// The logit with a key. The largest below 0 takes the place of −0, which counts as +0.
fn logit(key: u32) -> f32 {
    let logit = f32::from_bits(if key >> 31 == 1 { key ^ 1 << 31 } else { !key });
    if logit.to_bits() == 1 << 31 {
        0.0_f32.next_down()
    } else {
        logit
    }
}

/// The least logit for which `holds`: it holds for `max`, and for every logit above one for which
/// it holds.
pub(super) fn least_logit(max: f32, holds: impl Fn(f32) -> bool) -> f32 {
    let (mut fails, mut succeeds) = (key(f32::NEG_INFINITY), key(max));
    while succeeds - fails > 1 {
        let middle = fails + (succeeds - fails) / 2;
        if holds(logit(middle)) {
            succeeds = middle;
        } else {
            fails = middle;
        }
    }
    logit(succeeds)
}

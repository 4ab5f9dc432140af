//! The second pass over a row: numerators, and their sum by lanes.

use super::state::RowShift;
use crate::math::compensated_sum::{CompensatedSum, add_rounded};
use crate::math::exp::ExpConstants;
use crate::math::reduce::{first, fold_lanes};
use crate::math::shift::RegisterShift;
use crate::math::two_float::TwoFloat;
use crate::simd::{
    LANES, Lanewise, Simd, Unrolled, Vector, for_each_register, lanes_of, unroll, unroll_registers,
};
use crate::source::{LINE, Source, SrcDst};

/// Computes and sums the numerators of a row.
#[derive(Clone, Copy)]
pub(super) struct RowExpSum<S: Simd, const CLAMPED: bool, const PRECISE: bool> {
    simd: S,
    constants: ExpConstants<S::Vector>,
    offset: S::Vector,
    ahead: usize,
}

impl<S: Simd, const CLAMPED: bool, const PRECISE: bool> RowExpSum<S, CLAMPED, PRECISE> {
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn of(simd: S, shift: RegisterShift<S::Vector>, ahead: usize) -> Self {
        RowExpSum {
            simd,
            constants: shift.constants(simd),
            offset: shift.offset,
            ahead,
        }
    }

    /// The sums of at most [`SLICE`](super::schedule::SLICE) logits, by virtual lanes. They begin
    /// at `sum_start`, a power of two that is larger than every numerator. Numerators are stored
    /// where there is scratch.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn sums<R: SrcDst>(&self, row: R, sum_start: S::Vector) -> CompensatedSum<S> {
        if S::Vector::WIDTH == 1 && row.len() > LANES {
            // In a function of its own the loop is vectorized by the compiler: a third less time.
            return self.simd.vectorize(
                #[inline(always)]
                |_| self.step_by_step::<false, R>(row, sum_start),
            );
        }
        self.step_by_step::<false, R>(row, sum_start)
    }

    /// `IN_SLICES`: one slice of several.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn step_by_step<const IN_SLICES: bool, R: SrcDst>(
        &self,
        row: R,
        sum_start: S::Vector,
    ) -> CompensatedSum<S> {
        let sum_start = self.simd.group(sum_start);
        let sums = CompensatedSum::starting_at(self.simd, &sum_start);
        // With sums in four registers, eight numerators side by side gain nothing. With two they
        // gain 3 to 6 % in slices, and lose as much in shorter rows.
        let sums = if S::REGISTERS <= 4 && !(IN_SLICES && S::REGISTERS <= 2) {
            self.steps::<4, R>(row, sums)
        } else {
            self.steps::<8, R>(row, sums)
        };
        sums.remove_start(&sum_start)
    }

    /// Adds the sums of a slice to those of a row. Those of the first slice are taken as they are,
    /// without rounding.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn add_slice<R: SrcDst>(
        &self,
        slice: R,
        sum_start: S::Vector,
        sums: &mut CompensatedSum<S>,
        is_first: bool,
    ) {
        if S::LANE_BY_LANE {
            self.simd.vectorize(
                #[inline(always)]
                |_| self.lane_by_lane(slice, sum_start, sums, is_first),
            );
        } else {
            let of_slice = self.step_by_step::<true, R>(slice, sum_start);
            if is_first {
                *sums = of_slice;
            } else {
                add(sums, &of_slice);
            }
        }
    }

    /// For registers of one lane ([`Simd::LANE_BY_LANE`]).
    #[cfg_attr(not(unoptimized), inline(always))]
    fn lane_by_lane<R: SrcDst>(
        &self,
        slice: R,
        sum_start: S::Vector,
        sums: &mut CompensatedSum<S>,
        is_first: bool,
    ) {
        let zero = self.simd.splat(0.0);
        let mut slice = slice;
        let lanes = sums.high.as_mut().iter_mut().zip(sums.low.as_mut());
        // To those past the end of a last slice 0 is added: that renormalizes them.
        let count = if is_first { slice.len() } else { LANES };
        for (lane, (high, low)) in lanes.enumerate().take(count) {
            let mut sum = TwoFloat {
                high: sum_start,
                low: zero,
            };
            let mut index = lane;
            while index < slice.len() {
                let logit = slice.logits().load(self.simd, index);
                let numerator = self
                    .constants
                    .numerators::<CLAMPED, PRECISE>(logit, self.offset);
                sum.low = sum.low + add_rounded(&mut sum.high, numerator);
                if R::HAS_SCRATCH {
                    slice.store(index, numerator.value());
                }
                index += LANES;
            }
            sum.high = sum.high - sum_start;
            if is_first {
                (*high, *low) = (sum.high, sum.low);
            } else {
                add_to_sum(high, low, sum);
            }
        }
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn steps<const UNROLL: usize, R: SrcDst>(
        &self,
        slice: R,
        mut sum: CompensatedSum<S>,
    ) -> CompensatedSum<S> {
        let registers = UNROLL.max(S::REGISTERS);
        let constants = self.constants.unrolled::<UNROLL>();
        let mut slice = slice;
        let mut last = loop {
            match slice.split_at(registers * S::Vector::WIDTH) {
                Ok((mut block, others)) => {
                    if self.ahead > 0 {
                        for line in 0..registers * S::Vector::WIDTH / LINE {
                            block.prefetch(self.simd, self.ahead + line * LINE);
                        }
                    }
                    for step in 0..registers / UNROLL {
                        let first = step * UNROLL;
                        sum = self.step::<UNROLL, R>(&mut block, first, &constants, sum);
                    }
                    slice = others;
                }
                Err(last) => break last,
            }
        };
        if S::IS_SMALL {
            for register in 0..registers {
                self.add_last(&mut last, register, &mut sum);
            }
            return sum;
        }
        for step in 0..registers / UNROLL {
            unroll::<UNROLL>(
                #[inline(always)]
                |i| self.add_last(&mut last, step * UNROLL + i, &mut sum),
            );
        }
        sum
    }

    /// One register of what is left of a slice, if there is so much.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn add_last<R: SrcDst>(&self, last: &mut R, register: usize, sum: &mut CompensatedSum<S>) {
        let start = register * S::Vector::WIDTH;
        if start < last.len() {
            // Past the end −∞ is loaded, whose numerator is 0.
            let logits = last.logits().load(self.simd, start);
            let numerator = self
                .constants
                .numerators::<true, PRECISE>(logits, self.offset);
            sum.add(register % S::REGISTERS, numerator);
            if R::HAS_SCRATCH {
                last.store(start, numerator.value());
            }
        }
    }

    /// `UNROLL` registers from `first`.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn step<const UNROLL: usize, R: SrcDst>(
        &self,
        block: &mut R,
        first: usize,
        constants: &ExpConstants<Unrolled<S::Vector, UNROLL>>,
        mut sum: CompensatedSum<S>,
    ) -> CompensatedSum<S> {
        let mut logits = Unrolled::<_, UNROLL>::splat(self.offset);
        unroll::<UNROLL>(
            #[inline(always)]
            |i| {
                let start = (first + i) * S::Vector::WIDTH;
                logits.0[i] = block.logits().load(self.simd, start);
            },
        );
        let offset = Unrolled::<_, UNROLL>::splat(self.offset);
        let numerators = constants.numerators::<CLAMPED, PRECISE>(logits, offset);
        let values = numerators.value();
        unroll::<UNROLL>(
            #[inline(always)]
            |i| {
                sum.add((first + i) % S::REGISTERS, numerators.register(i));
                if R::HAS_SCRATCH {
                    block.store((first + i) * S::Vector::WIDTH, values.0[i]);
                }
            },
        );
        sum
    }
}

/// [`RowExpSum::sums`], clamped unless all logits are usual.
#[cfg_attr(not(unoptimized), inline(always))]
pub(super) fn exp_sums<const PRECISE: bool, S: Simd, R: SrcDst>(
    simd: S,
    shift: RowShift,
    are_usual: bool,
    ahead: usize,
    row: R,
    sum_start: S::Vector,
) -> CompensatedSum<S> {
    if are_usual {
        RowExpSum::<S, false, PRECISE>::of(simd, RegisterShift::unit(simd), ahead)
            .sums(row, sum_start)
    } else {
        RowExpSum::<S, true, PRECISE>::of(simd, shift.lanes(simd), ahead).sums(row, sum_start)
    }
}

/// Adds the lanes of one sum to those of another.
#[cfg_attr(not(unoptimized), inline(always))]
pub(super) fn add<S: Simd>(sums: &mut CompensatedSum<S>, other: &CompensatedSum<S>) {
    for_each_register::<S>(
        #[inline(always)]
        |i| {
            let parts = (sums.high.as_mut().get_mut(i), sums.low.as_mut().get_mut(i));
            let others = (other.high.as_ref().get(i), other.low.as_ref().get(i));
            if let ((Some(high), Some(low)), (Some(other_high), Some(other_low))) = (parts, others)
            {
                let other = TwoFloat {
                    high: *other_high,
                    low: *other_low,
                };
                add_to_sum(high, low, other);
            }
        },
    );
}

#[cfg_attr(not(unoptimized), inline(always))]
fn add_to_sum<V: Lanewise>(high: &mut V, low: &mut V, slice: TwoFloat<V>) {
    // The low parts of a slice can be as large as the high ones.
    let slice = TwoFloat::sum(slice.high, slice.low);
    let sum = TwoFloat {
        high: *high,
        low: *low,
    }
    .add(slice)
    // The low parts of thousands of slices would lose too much.
    .renormalized();
    (*high, *low) = (sum.high, sum.low);
}

/// The sum over the registers of a group, of a row of `columns` logits. Overwrites the group. If
/// `is_exact`, adding high parts loses nothing.
#[cfg_attr(not(unoptimized), inline(always))]
pub(super) fn total<S: Simd>(
    simd: S,
    sums: &mut CompensatedSum<S>,
    columns: usize,
    is_exact: bool,
) -> TwoFloat<S::Vector> {
    let zero = simd.splat(0.0);
    let (highs, lows) = (sums.high.as_mut(), sums.low.as_mut());
    if S::Vector::WIDTH > 1 {
        return combine(highs, lows, is_exact, zero);
    }
    // Lanes from `columns` on are zero.
    let mut half = columns.next_power_of_two().min(highs.len()) / 2;
    while half > 0 {
        halve_at(highs, lows, half, is_exact);
        half /= 2;
    }
    TwoFloat {
        high: first(highs, zero),
        low: first(lows, zero),
    }
}

/// The sum of two-floats: adds number i + n/2 to number i, then halves n, until one is left.
#[cfg_attr(not(unoptimized), inline(always))]
pub(super) fn combine<V: Lanewise>(
    highs: &mut [V],
    lows: &mut [V],
    is_exact: bool,
    zero: V,
) -> TwoFloat<V> {
    // Without a loop, which the compiler would unroll too late to keep the registers out of memory.
    halve::<16, V>(highs, lows, is_exact);
    halve::<8, V>(highs, lows, is_exact);
    halve::<4, V>(highs, lows, is_exact);
    halve::<2, V>(highs, lows, is_exact);
    halve::<1, V>(highs, lows, is_exact);
    TwoFloat {
        high: first(highs, zero),
        low: first(lows, zero),
    }
}

/// The sums of the lanes of each register of two squares, by the same tree: lane i is that of
/// register i. Overwrites the squares.
#[cfg_attr(not(unoptimized), inline(always))]
pub(super) fn combine_rows<V: Vector>(
    highs: &mut [V],
    lows: &mut [V],
    is_exact: bool,
    zero: V,
) -> TwoFloat<V> {
    fold_lanes::<V>(
        #[inline(always)]
        |step, i, j| {
            if highs.len() <= j || lows.len() <= j {
                return;
            }
            let (mut high, other_high) = V::fold_pair(step, highs[i], highs[j]);
            let (mut low, other_low) = V::fold_pair(step, lows[i], lows[j]);
            let other = TwoFloat {
                high: other_high,
                low: other_low,
            };
            add_to(&mut high, &mut low, other, is_exact);
            (highs[i], lows[i]) = (high, low);
        },
    );
    TwoFloat {
        high: first(highs, zero),
        low: first(lows, zero),
    }
}

/// The sum of the lanes of a register, by the same tree.
#[cfg_attr(not(unoptimized), inline(always))]
pub(super) fn combine_lanes<V: Vector>(sum: &TwoFloat<V>, is_exact: bool) -> TwoFloat<f32> {
    let (mut highs, mut lows) = (lanes_of(sum.high), lanes_of(sum.low));
    let highs = highs.get_mut(..V::WIDTH).unwrap_or(&mut []);
    let lows = lows.get_mut(..V::WIDTH).unwrap_or(&mut []);
    combine(highs, lows, is_exact, 0.0)
}

/// Adds the second `HALF` of the first 2 · `HALF` two-floats to the first. Does nothing if there
/// are fewer.
#[cfg_attr(not(unoptimized), inline(always))]
fn halve<const HALF: usize, V: Lanewise>(highs: &mut [V], lows: &mut [V], is_exact: bool) {
    if highs.len() < 2 * HALF || lows.len() < 2 * HALF {
        return;
    }
    unroll_registers::<HALF, V>(
        #[inline(always)]
        |i| {
            let other = TwoFloat {
                high: highs[i + HALF],
                low: lows[i + HALF],
            };
            add_to(&mut highs[i], &mut lows[i], other, is_exact);
        },
    );
}

/// The same for a `half` that is not a constant.
#[cfg_attr(not(unoptimized), inline(always))]
fn halve_at<V: Lanewise>(highs: &mut [V], lows: &mut [V], half: usize, is_exact: bool) {
    let (Some((highs, other_highs)), Some((lows, other_lows))) = (
        highs.split_at_mut_checked(half),
        lows.split_at_mut_checked(half),
    ) else {
        return;
    };
    let others = other_highs.iter().zip(other_lows.iter());
    for ((high, low), (other_high, other_low)) in highs.iter_mut().zip(lows).zip(others) {
        let other = TwoFloat {
            high: *other_high,
            low: *other_low,
        };
        add_to(high, low, other, is_exact);
    }
}

#[cfg_attr(not(unoptimized), inline(always))]
fn add_to<V: Lanewise>(high: &mut V, low: &mut V, other: TwoFloat<V>, is_exact: bool) {
    let sum = TwoFloat {
        high: *high,
        low: *low,
    };
    let sum = if is_exact {
        sum.add_exact_high(other)
    } else {
        sum.add(other)
    };
    (*high, *low) = (sum.high, sum.low);
}

#[cfg(test)]
mod tests {
    use super::{RowExpSum, add, total};
    use crate::math::compensated_sum::CompensatedSum;
    use crate::math::shift::RegisterShift;
    use crate::simd::scalar::Scalar;
    use crate::source::InPlace;

    const LONGEST: usize = 2048;

    /// The two orders of the loop over a slice give the same bits. Which one is used depends on the
    /// target.
    #[test]
    fn lane_by_lane_gives_the_same_bits() {
        let mut logits = [0.0; LONGEST];
        let mut state = 1_u32;
        for logit in &mut logits {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *logit = (state >> 8) as f32 / (1 << 19) as f32 - 16.0;
        }
        let shift = RegisterShift {
            offset: 3.0,
            ..RegisterShift::unit(Scalar)
        };
        let terms = RowExpSum::<Scalar, true, true>::of(Scalar, shift, 0);
        let sum_start = (1_u128 << 80) as f32;
        for len in (0..200).chain([1000, LONGEST - 1, LONGEST]) {
            let (mut by_lanes, mut by_steps) = (logits, logits);
            let mut lanes = CompensatedSum::new(Scalar);
            terms.lane_by_lane(InPlace(&mut by_lanes[..len]), sum_start, &mut lanes, true);
            let mut steps = terms.step_by_step::<true, _>(InPlace(&mut by_steps[..len]), sum_start);
            assert_eq!((lanes.high, lanes.low), (steps.high, steps.low), "{len}");
            assert_eq!(by_lanes, by_steps, "{len}");
            let totals = [&mut lanes, &mut steps]
                .map(|sums| total(Scalar, sums, len, false))
                .map(|total| (total.high, total.low));
            assert_eq!(totals[0], totals[1], "{len}");

            // The same after a whole slice.
            let sums =
                |logits: &mut [f32]| terms.step_by_step::<true, _>(InPlace(logits), sum_start);
            (by_lanes, by_steps) = (logits, logits);
            let (mut lanes, mut steps) = (sums(&mut by_lanes), sums(&mut by_steps));
            (by_lanes, by_steps) = (logits, logits);
            terms.lane_by_lane(InPlace(&mut by_lanes[..len]), sum_start, &mut lanes, false);
            add(&mut steps, &sums(&mut by_steps[..len]));
            assert_eq!((lanes.high, lanes.low), (steps.high, steps.low), "{len}");
        }
    }
}

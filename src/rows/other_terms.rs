//! The sum of all numerators of a row but the largest. Where that one is nearly all of the sum, the
//! sum is not precise enough to subtract it.

use super::state::{RowShift, as_two_float};
use super::sums::{combine_lanes, total};
use crate::math::compensated_sum::CompensatedSum;
use crate::math::two_float::TwoFloat;
use crate::simd::{LANES, Lanewise, Simd, Vector, WithSimd};
use crate::source::Source;

/// Where the other terms are less than this part of the maximum's, they are summed again without
/// it. If each lane has one term, the error of the sum is below 2^−35 of the maximum's term.
pub(super) const fn confidence_threshold(columns: usize) -> f32 {
    if columns <= LANES {
        1.0 / 256.0
    } else {
        1.0 / 16.0
    }
}

/// Sums the numerators of a row except those equal to `max_term`. The row holds logits, or
/// numerators if `STORED`. If `PRECISE`, the others are added as they are before they are rounded,
/// unless they were stored.
#[cfg_attr(not(unoptimized), inline(always))]
pub(super) fn other_terms<const PRECISE: bool, const STORED: bool, S: Simd, L: Source>(
    simd: S,
    row: L,
    shift: RowShift,
    max_term: f32,
) -> TwoFloat<f32> {
    let zero = simd.splat(0.0);
    let shift = shift.lanes(simd);
    let constants = shift.constants(simd);
    let mut sums = CompensatedSum::new(simd);
    for register in 0..row.len().div_ceil(S::Vector::WIDTH) {
        let loaded = row.load(simd, register * S::Vector::WIDTH);
        let (numerators, rest) = if STORED {
            // Past the end −∞ is loaded.
            (loaded.max_keep_nan(zero), zero)
        } else if PRECISE {
            let numerators = as_two_float(constants.exp_precise(loaded - shift.offset));
            (numerators.high, numerators.low)
        } else {
            let logits = loaded - shift.offset;
            (constants.exp_scaled(logits).value(), zero)
        };
        // Subnormal numerators count as zero, whether they were stored, and rescaled, or computed.
        let least = simd.splat(f32::MIN_POSITIVE);
        let (numerators, rest) = (
            numerators.and_gt(least, numerators),
            numerators.and_gt(least, rest),
        );
        let max_term = simd.splat(max_term);
        let (others, _) = numerators.select_eq(numerators, max_term, zero);
        let (rest, _) = rest.select_eq(numerators, max_term, zero);
        let place = register % S::REGISTERS;
        if let (Some(high), Some(low)) = (
            sums.high.as_mut().get_mut(place),
            sums.low.as_mut().get_mut(place),
        ) {
            let sum = TwoFloat::sum(*high, others);
            // Normalized at each step: the low parts of millions of terms would lose too much.
            let sum = TwoFloat::sum_ordered(sum.high, (*low + rest) + sum.low);
            (*high, *low) = (sum.high, sum.low);
        }
    }
    let sum = total(simd, &mut sums, row.len(), false);
    combine_lanes(&sum, false).renormalized()
}

/// Whether a logit is NaN.
pub(crate) struct HasNan<L>(pub(crate) L);

impl<L: Source> WithSimd for HasNan<L> {
    type Output = bool;

    #[cfg_attr(not(unoptimized), inline(always))]
    fn with_simd<S: Simd>(self, simd: S) -> bool {
        has_nan(simd, self.0)
    }
}

#[cfg_attr(not(unoptimized), inline(always))]
pub(super) fn has_nan<S: Simd, L: Source>(simd: S, logits: L) -> bool {
    for register in 0..logits.len().div_ceil(S::Vector::WIDTH) {
        let values = logits.load(simd, register * S::Vector::WIDTH);
        // All others equal themselves.
        let (_, equal) = values.select_eq(values, values, values);
        if equal < S::Vector::WIDTH as u32 {
            return true;
        }
    }
    false
}

//! The sum of all numerators of a row but the largest. Where that one is nearly all of the sum, the
//! sum is not precise enough to subtract it.

use super::state::RowShift;
use super::sums::{combine_lanes, total};
use crate::math::compensated_sum::CompensatedSum;
use crate::math::exp::ScaledExp;
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
    let sums = lane_sums::<PRECISE, STORED, S, L>(simd, row, shift, max_term);
    combine_lanes(&sums, false).renormalized()
}

/// The same by lanes, which are to be combined and renormalized.
#[cfg_attr(not(unoptimized), inline(always))]
pub(super) fn lane_sums<const PRECISE: bool, const STORED: bool, S: Simd, L: Source>(
    simd: S,
    row: L,
    shift: RowShift,
    max_term: f32,
) -> TwoFloat<S::Vector> {
    let zero = simd.splat(0.0);
    let shift = shift.lanes(simd);
    let constants = shift.constants(simd);
    let mut sums = CompensatedSum::new(simd);
    for register in 0..row.len().div_ceil(S::Vector::WIDTH) {
        let loaded = row.load(simd, register * S::Vector::WIDTH);
        let (numerators, parts) = if STORED {
            // Past the end −∞ is loaded.
            (loaded.max_keep_nan(zero), None)
        } else if PRECISE {
            let parts = constants.exp_precise(loaded - shift.offset);
            (parts.value(), Some(parts))
        } else {
            let logits = loaded - shift.offset;
            (constants.exp_scaled(logits).value(), None)
        };
        let (others, _) = numerators.select_eq(numerators, simd.splat(max_term), zero);
        // Subnormal numerators count as zero, whether they were stored, and rescaled, or computed.
        let others = others.and_gt(simd.splat(f32::MIN_POSITIVE), others);
        let rest = parts.map_or(
            zero,
            #[inline(always)]
            |parts| rest_of(simd, others, parts),
        );
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
    total(simd, &mut sums, row.len(), false)
}

/// What the rounding of numerators left out; of those that were set to zero, nothing.
#[cfg_attr(not(unoptimized), inline(always))]
fn rest_of<S: Simd>(simd: S, numerators: S::Vector, parts: ScaledExp<S::Vector>) -> S::Vector {
    let scale = numerators.and_gt(simd.splat(0.0), parts.scale);
    scale.mul_add(parts.expm1, scale - numerators)
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

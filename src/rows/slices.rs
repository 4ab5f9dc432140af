//! Reading one row. Up to [`SLICE`] columns it is read for the maximum, then for the numerators.
//!
//! A longer row is read from memory once before its last pass, slice by slice: while a slice is in
//! the first-level cache, its largest logit is found, then its numerators are computed and summed.
//! The shift must be known before the maximum of the row is. It is that of logits near zero as long
//! as the maximum so far allows it ([`NEAR_ZERO`]). When it does not, the rest of the row is
//! searched for the maximum, and what was computed is multiplied by a power of two, or by zero
//! where it is negligible. So the shift depends on the maximum, and on whether all logits are
//! usual, not on their order.

use super::other_terms::has_nan;
use super::schedule::{LONGEST_EXACT, SLICE};
use super::state::{Maxima, RowShift, ShiftedMaxima, States, extremes_of, start_over_scale};
use super::sums::{RowExpSum, combine_lanes, exp_sums, total};
use crate::math::compensated_sum::CompensatedSum;
use crate::math::epilogue::Epilogue;
use crate::math::reduce::{first_lane, largest_lane};
use crate::math::shift::{NEAR_ZERO, RegisterShift};
use crate::math::two_float::TwoFloat;
use crate::options::Sink;
use crate::simd::{Simd, Vector};
use crate::source::{Source, SrcDst};

/// The state of one row, in every lane.
pub(super) struct SingleRow<V> {
    pub(super) states: States<V>,
    /// Whether a NaN was found. It is looked for only where the maximum is +∞ or NaN; elsewhere the
    /// sum shows it.
    pub(super) has_nan: bool,
}

/// Reads one row of at least one column.
#[derive(Clone, Copy)]
pub(super) struct Reader<S> {
    pub(super) simd: S,
    pub(super) columns: usize,
    pub(super) sink: Sink,
    /// How far ahead memory is prefetched, in logits.
    pub(super) ahead: usize,
}

impl<S: Simd> Reader<S> {
    /// The maximum and the sum of the row. Numerators are stored where there is scratch.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn state<const PRECISE: bool, R: SrcDst>(self, row: &mut R) -> SingleRow<S::Vector> {
        if self.columns <= SLICE && !S::LANE_BY_LANE && !S::IS_SMALL {
            return self.only_slice::<PRECISE, R>(row);
        }
        let mut slices = Slices::<S, PRECISE>::new(self);
        slices.read(row);
        slices.state()
    }

    /// The same for a row of one slice: its maximum is found before its shift is needed.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn only_slice<const PRECISE: bool, R: SrcDst>(self, row: &mut R) -> SingleRow<S::Vector> {
        let (simd, columns) = (self.simd, self.columns);
        let extremes = extremes_of(simd, row.logits());
        let maxima = Maxima {
            max: simd.splat(largest_lane(extremes.highest)),
            are_usual: extremes.are_usual(simd),
        };
        let has_nan = first_lane(maxima.max) == f32::INFINITY && has_nan(simd, row.logits());
        let shifts = ShiftedMaxima::of::<S, PRECISE>(simd, &maxima, self.sink);
        let (shift, sum_start) = (
            RowShift::of_first(&shifts.shift),
            first_lane(shifts.sum_start(simd, columns)),
        );
        let (row, sum_start) = (row.reborrow(), simd.splat(sum_start));
        let mut sums =
            exp_sums::<PRECISE, S, _>(simd, shift, shifts.are_usual, self.ahead, row, sum_start);
        let is_exact = columns <= LONGEST_EXACT;
        let sum = combine_lanes(&total(simd, &mut sums, columns, is_exact), is_exact);
        SingleRow {
            states: States::of_one(simd, shifts, sum),
            has_nan,
        }
    }
}

/// The slices of a row that were read.
pub(super) struct Slices<S: Simd, const PRECISE: bool> {
    reader: Reader<S>,
    pub(super) sums: CompensatedSum<S>,
    /// The largest logit; of the whole row if `is_final`.
    pub(super) max: f32,
    pub(super) are_usual: bool,
    pub(super) shift: RegisterShift<S::Vector>,
    /// Whether `shift` is that of the whole row.
    pub(super) is_final: bool,
    /// `None` while the row is read. `Some` ends reading: a logit is NaN (true), or the largest is
    /// +∞ and none is NaN (false).
    has_nan: Option<bool>,
}

impl<S: Simd, const PRECISE: bool> Slices<S, PRECISE> {
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn new(reader: Reader<S>) -> Self {
        Slices {
            reader,
            sums: CompensatedSum::new(reader.simd),
            max: f32::NEG_INFINITY,
            are_usual: reader.sink.logit == f32::NEG_INFINITY,
            shift: RegisterShift::unit(reader.simd),
            is_final: false,
            has_nan: None,
        }
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn read<R: SrcDst>(&mut self, row: &mut R) {
        let columns = self.reader.columns;
        let mut start = 0;
        while start < columns && self.has_nan.is_none() {
            let len = SLICE.min(columns - start);
            self.slice(row, start, len);
            start += len;
        }
    }

    /// Reads the slice of `len` logits from `start`.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn slice<R: SrcDst>(&mut self, row: &mut R, start: usize, len: usize) {
        let Reader {
            simd,
            columns,
            sink,
            ahead,
        } = self.reader;
        let extremes = extremes_of(simd, row.slice(start, len).logits());
        let largest = largest_lane(extremes.highest);
        if largest.is_nan() {
            return self.stop_at_nan();
        }
        self.max = self.max.max(largest);
        self.are_usual &= extremes.are_usual(simd);
        let may_stay = NEAR_ZERO.contains(&self.max.max(sink.logit));
        if !(self.are_usual || self.is_final || may_stay) {
            self.raise_shift(row, start);
            if self.has_nan.is_some() {
                return;
            }
        }
        let constants = self.shift.constants(simd);
        let scale = constants
            .exp_scaled(simd.splat(largest) - self.shift.offset)
            .scale;
        let sum_start = scale * simd.splat(start_over_scale(columns));
        let slice = row.slice(start, len);
        let (sums, is_first) = (&mut self.sums, start == 0);
        if self.are_usual {
            RowExpSum::<S, false, PRECISE>::of(simd, RegisterShift::unit(simd), ahead)
                .add_slice(slice, sum_start, sums, is_first);
        } else {
            RowExpSum::<S, true, PRECISE>::of(simd, self.shift, ahead)
                .add_slice(slice, sum_start, sums, is_first);
        }
    }

    /// Finds the maximum of the row, of which the logits from `start` were not summed, and makes
    /// the shift hold for it.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn raise_shift<R: SrcDst>(&mut self, row: &mut R, start: usize) {
        let Reader {
            simd,
            columns,
            sink,
            ..
        } = self.reader;
        let before = self.max;
        let mut max = before;
        let mut is_nan = false;
        if let Some(rest) = row.logits().slice(start, columns - start) {
            // Not by reference to the row, which would keep it in memory.
            (max, is_nan) = simd.vectorize(
                #[inline(always)]
                move |simd| {
                    let highest = extremes_of(simd, rest).highest;
                    let largest = largest_lane(highest);
                    let max = before.max(largest);
                    let is_nan = max == f32::INFINITY && has_nan(simd, rest);
                    (max, is_nan || largest.is_nan())
                },
            );
        }
        self.is_final = true;
        if is_nan {
            return self.stop_at_nan();
        }
        self.max = max;
        if max == f32::INFINITY {
            self.has_nan = Some(self.total().high.is_nan());
            return;
        }
        self.shift = RegisterShift::of_row(simd, simd.splat(max.max(sink.logit)));
        if start > 0 {
            let factor = MultiplyTwice(self.shift.sqrt_factor_from_unit(simd));
            let sums = &mut self.sums;
            for part in sums.high.as_mut().iter_mut().chain(sums.low.as_mut()) {
                *part = factor.apply(*part);
            }
            if R::HAS_SCRATCH {
                let mut read = row.slice(0, start);
                for register in 0..start.div_ceil(S::Vector::WIDTH) {
                    let first = register * S::Vector::WIDTH;
                    let numerators = read.numerators().load(simd, first);
                    read.store(first, factor.apply(numerators));
                }
            }
        }
    }

    /// All results are NaN. Some backends lose a NaN among the maxima. There the sum shows it.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn stop_at_nan(&mut self) {
        self.max = f32::NAN;
        self.has_nan = Some(true);
    }

    /// The sum of all lanes, which are lost.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn total(&mut self) -> TwoFloat<f32> {
        let columns = self.reader.columns;
        let is_exact = columns <= LONGEST_EXACT;
        let total = total(self.reader.simd, &mut self.sums, columns, is_exact);
        combine_lanes(&total, is_exact)
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn state(&mut self) -> SingleRow<S::Vector> {
        let simd = self.reader.simd;
        let sum = if self.has_nan.is_some() {
            TwoFloat {
                high: f32::NAN,
                low: 0.0,
            }
        } else {
            self.total()
        };
        let max = simd.splat(self.max);
        let shifts = ShiftedMaxima::under::<S, PRECISE>(simd, max, self.shift, self.are_usual);
        SingleRow {
            states: States::of_one(simd, shifts, sum),
            has_nan: self.has_nan == Some(true),
        }
    }
}

/// Multiplies by the square of a power of two, which may itself be out of range.
#[derive(Clone, Copy)]
struct MultiplyTwice<V>(V);

impl<V: Vector> Epilogue<V> for MultiplyTwice<V> {
    #[cfg_attr(not(unoptimized), inline(always))]
    fn apply(&self, numerators: V) -> V {
        numerators * self.0 * self.0
    }
}

//! One long row in parts, each of which may be read by a thread of its own.
//!
//! ```text
//! SumPart        each part        numerators → scratch; the sum of each slice, and the extremes
//!    ↓  Plan                      Is the shift of the row the unit shift? If not, the same again
//! Total, LogTotal                 the sums of all slices, in their order
//!    ↓
//! NormalizePart, LogSoftmaxPart   each part
//! ```
//!
//! In place the numerators overwrite the logits, and nothing can be done again. So there the
//! extremes are found first ([`ExtremesOf`]).
//!
//! The bits are those of the row read by one thread ([`slices`](super::slices)). That one also sums
//! slice by slice, and adds the sums in their order. It starts with the unit shift, and may have to
//! rescale what it has. A row where it would ([`Plan::of`]) is not read in parts.

use super::batch::Batch;
use super::normalize::normalize;
use super::schedule::{LONGEST_STORED, prefetch_distance};
use super::slices::{Reader, SingleRow, Slices};
use super::state::{ShiftedMaxima, States, extremes_of};
use super::sums::add;
use crate::math::compensated_sum::CompensatedSum;
use crate::math::epilogue::{Constant, LogProbability};
use crate::math::reduce::{first_lane, largest_lane};
use crate::math::shift::{NEAR_ZERO, RegisterShift};
use crate::math::two_float::TwoFloat;
use crate::options::Sink;
use crate::simd::{LANES, Simd, WithSimd, load_group, store_group};
use crate::source::{Source, SrcDst, Unwritten};

pub(crate) use super::schedule::SLICE;

/// Logits of a part; the last part may have fewer.
pub(crate) const PART: usize = 16 * SLICE;

/// The extremes of a part of a row.
#[derive(Clone, Copy)]
pub(crate) struct PartExtremes {
    /// The largest logit. NaN if one was noticed; some backends lose a NaN.
    max: f32,
    are_usual: bool,
}

impl PartExtremes {
    /// Those of no logits.
    pub(crate) const NONE: Self = PartExtremes {
        max: f32::NEG_INFINITY,
        are_usual: true,
    };

    pub(crate) fn merge(self, other: Self) -> Self {
        let max = if self.max.is_nan() || self.max > other.max {
            self.max
        } else {
            other.max
        };
        PartExtremes {
            max,
            are_usual: self.are_usual && other.are_usual,
        }
    }
}

/// The extremes of logits.
pub(crate) struct ExtremesOf<L>(pub(crate) L);

impl<L: Source> WithSimd for ExtremesOf<L> {
    type Output = PartExtremes;

    #[cfg_attr(not(unoptimized), inline(always))]
    fn with_simd<S: Simd>(self, simd: S) -> PartExtremes {
        let extremes = extremes_of(simd, self.0);
        PartExtremes {
            max: largest_lane(extremes.highest),
            are_usual: extremes.are_usual(simd),
        }
    }
}

/// How all parts of a row are read.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    columns: usize,
    sink: Sink,
    /// The largest logit of the row, or −∞ if it is not known yet.
    max: f32,
    are_usual: bool,
    pub(crate) has_unit_shift: bool,
}

impl Plan {
    /// `None` if the row must be read as a whole: it has no softmax, or its shift would be raised
    /// after the first slice.
    pub(crate) fn of(
        columns: usize,
        sink: Sink,
        first_slice: PartExtremes,
        all: PartExtremes,
    ) -> Option<Self> {
        let is_unit = |extremes: PartExtremes| {
            extremes.are_usual && sink.logit == f32::NEG_INFINITY
                || NEAR_ZERO.contains(&extremes.max.max(sink.logit))
        };
        let plan = Plan {
            max: all.max,
            are_usual: all.are_usual && sink.logit == f32::NEG_INFINITY,
            has_unit_shift: is_unit(all),
            ..Self::unit(columns, sink)
        };
        let has_one_shift = plan.has_unit_shift || !is_unit(first_slice);
        (all.max.is_finite() && has_one_shift).then_some(plan)
    }

    /// For a row whose extremes are not known.
    pub(crate) fn unit(columns: usize, sink: Sink) -> Self {
        Plan {
            columns,
            sink,
            max: f32::NEG_INFINITY,
            are_usual: sink.logit == f32::NEG_INFINITY,
            has_unit_shift: true,
        }
    }

    /// Whether numerators are computed again by the last pass, and not stored.
    pub(crate) fn recomputes(&self) -> bool {
        self.columns > LONGEST_STORED
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn shift<S: Simd>(&self, simd: S) -> RegisterShift<S::Vector> {
        if self.has_unit_shift {
            RegisterShift::unit(simd)
        } else {
            RegisterShift::of_row(simd, simd.splat(self.max.max(self.sink.logit)))
        }
    }

    /// No slices, under the shift of the row.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn slices<S: Simd, const PRECISE: bool>(&self, simd: S) -> Slices<S, PRECISE> {
        let reader = Reader {
            simd,
            columns: self.columns,
            sink: self.sink,
            ahead: prefetch_distance(self.columns, SLICE, !PRECISE && !self.recomputes()),
        };
        let mut slices = Slices::new(reader);
        slices.max = self.max;
        slices.are_usual = self.are_usual;
        slices.shift = self.shift(simd);
        slices.is_final = true;
        slices
    }

    /// The state of the row.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn total<S: Simd, const PRECISE: bool>(
        &self,
        simd: S,
        parts: &[PartSums],
    ) -> SingleRow<S::Vector> {
        let mut slices = self.slices::<S, PRECISE>(simd);
        let sums = parts.iter().flat_map(|part| &part.sums);
        for (index, sum) in sums.take(self.columns.div_ceil(SLICE)).enumerate() {
            let (high, low) = (load_group(simd, &sum.high), load_group(simd, &sum.low));
            let of_slice = CompensatedSum::from_parts(high, low);
            if index == 0 {
                slices.sums = of_slice;
            } else {
                add(&mut slices.sums, &of_slice);
            }
        }
        slices.state()
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn batch<S: Simd>(&self, simd: S, columns: usize) -> Batch<S, true> {
        Batch::of_row(simd, columns, self.sink, 0, self.recomputes())
    }
}

/// What [`SumPart`] finds.
#[derive(Clone, Copy)]
pub(crate) struct PartSums {
    sums: [SliceSum; PART / SLICE],
    pub(crate) extremes: PartExtremes,
}

/// The sum of a slice, by virtual lanes.
#[derive(Clone, Copy)]
struct SliceSum {
    high: [f32; LANES],
    low: [f32; LANES],
}

impl PartSums {
    /// Those of no logits.
    pub(crate) const NONE: Self = PartSums {
        sums: [SliceSum {
            high: [0.0; LANES],
            low: [0.0; LANES],
        }; PART / SLICE],
        extremes: PartExtremes::NONE,
    };
}

/// Computes the numerators of a part, the sum of each of its slices, and its extremes. The
/// numerators are stored where there is scratch, unless `LOG`.
pub(crate) struct SumPart<'a, const LOG: bool, R> {
    pub(crate) part: R,
    pub(crate) plan: Plan,
    pub(crate) found: &'a mut PartSums,
}

impl<const LOG: bool, R: SrcDst> WithSimd for SumPart<'_, LOG, R> {
    type Output = ();

    #[cfg_attr(not(unoptimized), inline(always))]
    fn with_simd<S: Simd>(self, simd: S) {
        let SumPart {
            mut part,
            plan,
            found,
        } = self;
        if LOG || plan.recomputes() {
            let mut unwritten = Unwritten(part.logits());
            sum_part::<LOG, S, _>(simd, &mut unwritten, plan, found);
        } else {
            sum_part::<LOG, S, _>(simd, &mut part, plan, found);
        }
    }
}

#[cfg_attr(not(unoptimized), inline(always))]
fn sum_part<const LOG: bool, S: Simd, R: SrcDst>(
    simd: S,
    part: &mut R,
    plan: Plan,
    found: &mut PartSums,
) {
    let mut start = 0;
    for sum in found.sums.iter_mut().take(part.len().div_ceil(SLICE)) {
        let len = SLICE.min(part.len() - start);
        let mut slices = plan.slices::<S, LOG>(simd);
        slices.slice(&mut part.slice(start, len), 0, len);
        found.extremes = found.extremes.merge(PartExtremes {
            max: slices.max,
            are_usual: slices.are_usual,
        });
        *sum = SliceSum {
            high: store_group::<S>(&slices.sums.high),
            low: store_group::<S>(&slices.sums.low),
        };
        start += len;
    }
}

/// The denominator of a row.
#[derive(Clone, Copy)]
pub(crate) struct RowSum {
    plan: Plan,
    sum: TwoFloat<f32>,
}

/// Adds the sums of slices.
pub(crate) struct Total<'a> {
    pub(crate) plan: Plan,
    pub(crate) parts: &'a [PartSums],
}

impl WithSimd for Total<'_> {
    type Output = RowSum;

    #[cfg_attr(not(unoptimized), inline(always))]
    fn with_simd<S: Simd>(self, simd: S) -> RowSum {
        let sum = self.plan.total::<S, false>(simd, self.parts).states.sum;
        RowSum {
            plan: self.plan,
            sum: TwoFloat {
                high: first_lane(sum.high),
                low: first_lane(sum.low),
            },
        }
    }
}

/// The last pass of a softmax.
pub(crate) struct NormalizePart<R> {
    pub(crate) part: R,
    pub(crate) total: RowSum,
}

impl<R: SrcDst> WithSimd for NormalizePart<R> {
    type Output = ();

    #[cfg_attr(not(unoptimized), inline(always))]
    fn with_simd<S: Simd>(self, simd: S) {
        let NormalizePart {
            mut part,
            total: RowSum { plan, sum },
        } = self;
        let shifts = ShiftedMaxima::under::<S, false>(
            simd,
            simd.splat(plan.max),
            plan.shift(simd),
            plan.are_usual,
        );
        let states = States::of_one(simd, shifts, sum);
        plan.batch(simd, part.len()).normalize(&mut part, &states);
    }
}

/// What the last pass of a log-softmax applies.
#[derive(Clone, Copy)]
pub(crate) enum LogRow {
    LogSumExp(TwoFloat<f32>),
    Constant(f32),
}

/// Adds the sums of slices, and takes the logarithm.
pub(crate) struct LogTotal<'a, L> {
    pub(crate) logits: L,
    /// Without the sink.
    pub(crate) plan: Plan,
    pub(crate) parts: &'a [PartSums],
    pub(crate) sink: Sink,
}

impl<L: Source> WithSimd for LogTotal<'_, L> {
    type Output = LogRow;

    #[cfg_attr(not(unoptimized), inline(always))]
    fn with_simd<S: Simd>(self, simd: S) -> LogRow {
        let LogTotal {
            logits,
            plan,
            parts,
            sink,
        } = self;
        let states = plan.total::<S, true>(simd, parts).states;
        let mut batch = plan.batch(simd, plan.columns);
        batch.sink = sink;
        let other_terms = batch.other_terms::<true, false, _>(logits, &states);
        let denominators = batch.log_denominators(&states, other_terms);
        match denominators.rows().row(simd, 0) {
            Ok(LogProbability { log_sum_exp }) => LogRow::LogSumExp(TwoFloat {
                high: first_lane(log_sum_exp.high),
                low: first_lane(log_sum_exp.low),
            }),
            Err(Constant(constant)) => LogRow::Constant(first_lane(constant)),
        }
    }
}

/// Adds the sums of slices: the log-sum-exp of the row, if it has a softmax.
pub(crate) struct LogSumExpTotal<'a> {
    /// Without the sink.
    pub(crate) plan: Plan,
    pub(crate) parts: &'a [PartSums],
    pub(crate) sink: Sink,
}

impl WithSimd for LogSumExpTotal<'_> {
    type Output = Option<f32>;

    #[cfg_attr(not(unoptimized), inline(always))]
    fn with_simd<S: Simd>(self, simd: S) -> Option<f32> {
        let LogSumExpTotal { plan, parts, sink } = self;
        let states = plan.total::<S, true>(simd, parts).states;
        let mut batch = plan.batch(simd, plan.columns);
        batch.sink = sink;
        let denominators = batch.log_denominators(&states, states.other_terms(simd));
        let log_sum_exp = first_lane(denominators.log_sum_exp());
        denominators.has_softmax(0).then_some(log_sum_exp)
    }
}

/// The last pass of a log-softmax.
pub(crate) struct LogSoftmaxPart<R> {
    pub(crate) part: R,
    pub(crate) total: LogRow,
}

impl<R: SrcDst> WithSimd for LogSoftmaxPart<R> {
    type Output = ();

    #[cfg_attr(not(unoptimized), inline(always))]
    fn with_simd<S: Simd>(self, simd: S) {
        match self.total {
            LogRow::LogSumExp(TwoFloat { high, low }) => {
                let log_probability = LogProbability::of(TwoFloat {
                    high: simd.splat(high),
                    low: simd.splat(low),
                });
                normalize(simd, self.part, &log_probability);
            }
            LogRow::Constant(constant) => {
                normalize(simd, self.part, &Constant(simd.splat(constant)));
            }
        }
    }
}

//! The log-sum-exp of columns.

use super::algorithm::STRIP;
use super::log_softmax::LogProbabilities;
use super::rectangle::Rectangle;
use super::slab::{read_strip, strips};
use super::state::{GroupState, exact_terms};
use crate::math::logarithm::log1p;
use crate::math::two_float::TwoFloat;
use crate::normalizer::Normalizer;
use crate::options::Sink;
use crate::simd::{Simd, Vector, WIDEST, WithSimd, lanes_of, scalar::OneColumn, scalar::Scalar};
use crate::source::{Source, Unwritten};

/// log Σ e^x of each column of each slab of a tensor [outer, `axis`, `inner`].
pub(crate) struct LogSumExpColumns<'a, L> {
    pub(crate) logits: L,
    pub(crate) axis: usize,
    pub(crate) inner: usize,
    pub(crate) sink: Sink,
    /// outer · inner places.
    pub(crate) out: &'a mut [f32],
}

impl<L: Source> WithSimd for LogSumExpColumns<'_, L> {
    type Output = ();

    #[cfg_attr(not(unoptimized), inline(always))]
    fn with_simd<S: Simd>(self, simd: S) {
        if S::COLUMN_BY_COLUMN {
            return OneColumn.run(self);
        }
        let (inner, sink) = (self.inner, self.sink);
        let mut unread = self.logits;
        for out in self.out.chunks_mut(inner.max(1)) {
            let (slab, others) = unread
                .split_at(self.axis * inner)
                .unwrap_or((L::empty(), L::empty()));
            for strip in strips(simd, self.axis, inner) {
                let mut sums = [GroupState::new(simd); STRIP];
                let logits = &mut Unwritten(slab);
                read_strip::<LogProbabilities<S>, S, _>(strip, logits, &mut sums, sink);
                simd.vectorize(
                    #[inline(always)]
                    |_| write_strip(strip, slab, &sums, sink, out),
                );
            }
            unread = others;
        }
    }
}

/// Writes the results of the columns of a strip.
#[cfg_attr(not(unoptimized), inline(always))]
fn write_strip<S: Simd, L: Source>(
    strip: Rectangle<S>,
    slab: L,
    sums: &[GroupState<S>; STRIP],
    sink: Sink,
    out: &mut [f32],
) {
    for (columns, sums) in strip.groups().zip(sums) {
        for register in 0..S::REGISTERS {
            let column = columns.start + register * S::Vector::WIDTH;
            let end = columns.start + columns.width;
            if let Some(out) = out.get_mut(column..end).filter(|out| !out.is_empty()) {
                write_register(strip, slab, sums, register, column, sink, out);
            }
        }
    }
}

/// Writes the results of the columns of a register, the first of which is `column`, to the first
/// places of `out`. There may be fewer places than lanes.
#[cfg_attr(not(unoptimized), inline(always))]
fn write_register<S: Simd, L: Source>(
    strip: Rectangle<S>,
    slab: L,
    sums: &GroupState<S>,
    register: usize,
    column: usize,
    sink: Sink,
    out: &mut [f32],
) {
    let simd = strip.simd;
    let max = simd.register(&sums.maxima, register);
    let max_terms = exact_terms::<true, S>(&sums.shifts, register, max);
    let totals = sums.totals_of(register);
    let mut other_terms = [0.0; WIDEST];
    let [mut high, mut low] = [[0.0; WIDEST]; 2];
    for lane in 0..S::Vector::WIDTH {
        other_terms[lane] = totals[lane] / max_terms[lane];
        high[lane] = other_terms[lane] as f32;
        low[lane] = (other_terms[lane] - f64::from(high[lane])) as f32;
    }
    let log_denominator = log1p(
        simd,
        TwoFloat {
            high: simd.load(&high, 0.0),
            low: simd.load(&low, 0.0),
        },
    );
    let sum = TwoFloat::sum(max, log_denominator.high);
    (sum.high + (sum.low + log_denominator.low)).store(out);

    let lanes = lanes_of(max).into_iter().zip(totals).zip(other_terms);
    let places = out.iter_mut().take(S::Vector::WIDTH);
    for (lane, (out, ((max, total), other_terms))) in places.zip(lanes).enumerate() {
        let is_fully_masked = max == f32::NEG_INFINITY && !total.is_nan();
        let has_softmax = max.is_finite() && !total.is_nan();
        if is_fully_masked {
            *out = sink.merge_into(Normalizer::FULLY_MASKED).log_sum_exp();
        } else if !has_softmax {
            let has_nan = sink.logit.is_nan() || has_nan(strip, slab, column + lane);
            *out = if has_nan { f32::NAN } else { f32::INFINITY };
        } else if sink.logit != f32::NEG_INFINITY {
            let normalizer = Normalizer::from_parts(max, other_terms);
            *out = sink.merge_into(normalizer).log_sum_exp();
        }
    }
}

fn has_nan<S: Simd, L: Source>(strip: Rectangle<S>, slab: L, column: usize) -> bool {
    (0..strip.rows).any(|row| slab.at(Scalar, row * strip.inner + column).is_nan())
}

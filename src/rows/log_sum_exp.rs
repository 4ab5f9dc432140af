//! The log-sum-exp of rows.

use super::batch::{Batch, Even, Places, rows_of_batch};
use super::log_denominators::LogDenominators;
use super::other_terms::has_nan;
use super::schedule::{LONGEST_SHORT, SLICE, prefetch_distance};
use super::short;
use crate::options::Sink;
use crate::simd::{Simd, Vector, WithSimd, lanes_of};
use crate::source::{Layout, Source, Unwritten};

/// log Σ e^x of each row of a matrix, or of a part of it.
pub(crate) struct LogSumExpRows<'a, L> {
    pub(crate) logits: L,
    /// That of the whole matrix, whose logits tell what memory it is read from.
    pub(crate) layout: Layout,
    pub(crate) sink: Sink,
    pub(crate) out: &'a mut [f32],
}

impl<L: Source> WithSimd for LogSumExpRows<'_, L> {
    type Output = ();

    #[cfg_attr(not(unoptimized), inline(always))]
    fn with_simd<S: Simd>(self, simd: S) {
        let LogSumExpRows {
            logits,
            layout,
            sink,
            out,
        } = self;
        let Layout {
            columns, stride, ..
        } = layout;
        let matrix_len = layout.logits();
        if columns == 0 {
            out.fill(sink.logit);
            return;
        }
        let single = Batch::<S, true> {
            simd,
            rows: 1,
            places: Even { columns, stride },
            sink,
            ahead: prefetch_distance(matrix_len, columns.min(SLICE)),
        };
        if S::HAS_LANES && L::HAS_MATRICES && columns <= SLICE && out.len() > 1 {
            return simd.vectorize(
                #[inline(always)]
                |_| log_sum_exp_rows(single, logits, matrix_len, out),
            );
        }
        simd.vectorize(
            #[inline(always)]
            |_| {
                let mut unread = logits;
                for out in out.chunks_mut(1) {
                    let row = unread.slice(0, columns).unwrap_or(L::empty());
                    single.log_sum_exp(row, out);
                    (_, unread) = split(unread, stride);
                }
            },
        );
    }
}

#[cfg_attr(not(unoptimized), inline(always))]
fn log_sum_exp_rows<S: Simd, L: Source>(
    single: Batch<S, true>,
    logits: L,
    matrix_len: usize,
    out: &mut [f32],
) {
    let Batch {
        simd,
        places: Even { columns, stride },
        sink,
        ..
    } = single;
    let (mut unread, mut out) = (logits, out);
    if columns <= LONGEST_SHORT && stride == columns {
        (unread, out) = simd.vectorize(
            #[inline(always)]
            |simd| short::log_sum_exp(simd, unread, columns, sink, out),
        );
    }
    let rows_at_once = rows_of_batch::<S>(columns);
    for out in out.chunks_mut(rows_at_once) {
        let batch = Batch::<S, false> {
            simd,
            rows: out.len(),
            places: Even { columns, stride },
            sink,
            ahead: prefetch_distance(matrix_len, rows_at_once * stride),
        };
        let (rows, others) = split(unread, out.len() * stride);
        simd.vectorize(
            #[inline(always)]
            |_| batch.log_sum_exp(rows, out),
        );
        unread = others;
    }
}

/// The first `count`, or all if there are fewer, and the others.
#[cfg_attr(not(unoptimized), inline(always))]
fn split<L: Source>(logits: L, count: usize) -> (L, L) {
    logits
        .split_at(count)
        .unwrap_or_else(|all| (all, L::empty()))
}

impl<S: Simd, const ONE: bool, P: Places> Batch<S, ONE, P> {
    #[cfg_attr(not(unoptimized), inline(always))]
    fn log_sum_exp<L: Source>(self, rows: L, out: &mut [f32]) {
        let states = self.without_sink().states::<true, _>(&mut Unwritten(rows));
        let other_terms = states.other_terms(self.simd);
        let denominators = self.log_denominators(&states, other_terms);
        self.write(rows, &denominators, states.shifts.max, out);
    }

    /// Writes the results of rows.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn write<L: Source>(
        self,
        rows: L,
        denominators: &LogDenominators<S::Vector>,
        max: S::Vector,
        out: &mut [f32],
    ) {
        denominators.log_sum_exp().store(out);
        let maxima = lanes_of(max);
        for (index, out) in out.iter_mut().enumerate() {
            if !denominators.has_softmax(index) {
                let (start, columns) = self.places.of_row(index);
                let row = rows.slice(start, columns).unwrap_or(L::empty());
                let sink = self.sink.logit;
                *out = if sink.is_nan() || has_nan(self.simd, row) {
                    f32::NAN
                } else {
                    sink.max(maxima[index % maxima.len()])
                };
            }
        }
    }
}

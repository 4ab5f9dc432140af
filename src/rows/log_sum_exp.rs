//! The log-sum-exp of rows, and other results that the maximum and the denominator of a row make.

use super::batch::{Batch, Even, Places, rows_of_batch};
use super::results::RowResults;
use super::schedule::{SLICE, prefetch_distance};
use super::short;
use crate::options::Sink;
use crate::simd::{LANES, Simd, WithSimd};
use crate::source::{Layout, Source, Unwritten};

/// What is written to `out` of each row of a matrix, or of a part of it. `ONE`: there is one row, and
/// the code for several at once is not wanted.
pub(crate) struct LogSumExpRows<const ONE: bool, L, O> {
    pub(crate) logits: L,
    /// That of the whole matrix, whose logits tell what memory it is read from.
    pub(crate) layout: Layout,
    pub(crate) sink: Sink,
    pub(crate) out: O,
}

impl<const ONE: bool, L: Source, O: RowResults> WithSimd for LogSumExpRows<ONE, L, O> {
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
            return out.write_empty(sink);
        }
        let single = Batch::<S, true> {
            simd,
            rows: 1,
            places: Even { columns, stride },
            sink,
            ahead: prefetch_distance(matrix_len, columns.min(SLICE), false),
            recomputes: false,
        };
        if !ONE && S::HAS_LANES && L::HAS_MATRICES && columns <= SLICE && out.len() > 1 {
            return simd.vectorize(
                #[inline(always)]
                |_| log_sum_exp_rows(single, logits, matrix_len, out),
            );
        }
        simd.vectorize(
            #[inline(always)]
            |_| {
                let (mut unread, mut unwritten) = (logits, out);
                while unwritten.len() > 0 {
                    let row = unread.slice(0, columns).unwrap_or(L::empty());
                    let (out, others_out) = unwritten.split_at(1);
                    single.log_sum_exp(row, out);
                    (_, unread) = split(unread, stride);
                    unwritten = others_out;
                }
            },
        );
    }
}

#[cfg_attr(not(unoptimized), inline(always))]
fn log_sum_exp_rows<S: Simd, L: Source, O: RowResults>(
    single: Batch<S, true>,
    logits: L,
    matrix_len: usize,
    out: O,
) {
    let Batch {
        simd,
        places: Even { columns, stride },
        sink,
        ..
    } = single;
    let (mut unread, mut unwritten) = (logits, out);
    if columns <= LANES && stride == columns {
        (unread, unwritten) = simd.vectorize(
            #[inline(always)]
            |simd| short::log_sum_exp(simd, unread, columns, sink, unwritten),
        );
    }
    let rows_at_once = rows_of_batch::<S>(columns);
    while unwritten.len() > 0 {
        let (out, others_out) = unwritten.split_at(rows_at_once);
        let batch = Batch::<S, false> {
            simd,
            rows: out.len(),
            places: Even { columns, stride },
            sink,
            ahead: prefetch_distance(matrix_len, rows_at_once.saturating_mul(stride), false),
            recomputes: false,
        };
        let (rows, others) = split(unread, out.len().saturating_mul(stride));
        simd.vectorize(
            #[inline(always)]
            |_| batch.log_sum_exp(rows, out),
        );
        (unread, unwritten) = (others, others_out);
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
    fn log_sum_exp<L: Source, O: RowResults>(self, rows: L, out: O) {
        let states = self.without_sink().states::<true, _>(&mut Unwritten(rows));
        let other_terms = if O::IS_PRECISE {
            self.other_terms::<true, false, _>(rows, &states)
        } else {
            states.other_terms(self.simd)
        };
        let denominators = self.log_denominators(&states, other_terms);
        let max = states.shifts.max;
        let places = self.places;
        out.write(
            self.simd,
            rows,
            #[inline(always)]
            |index| places.of_row(index),
            self.sink,
            &denominators,
            max,
        );
    }
}

//! The log-sum-exp of rows, and other results that the maximum and the denominator of a row make.

use super::batch::{Batch, rows_of_batch};
use super::results::RowResults;
use super::schedule::{SLICE, prefetch_distance};
use super::short;
use crate::options::Sink;
use crate::simd::{Simd, WithSimd};
use crate::source::{Source, Unwritten};

/// What is written to `out` of each row of a matrix, or of a part of it.
pub(crate) struct LogSumExpRows<L, O> {
    pub(crate) logits: L,
    pub(crate) columns: usize,
    pub(crate) sink: Sink,
    /// The logits of the whole matrix, which tell what memory it is read from.
    pub(crate) matrix_len: usize,
    pub(crate) out: O,
}

impl<L: Source, O: RowResults> WithSimd for LogSumExpRows<L, O> {
    type Output = ();

    #[cfg_attr(not(unoptimized), inline(always))]
    fn with_simd<S: Simd>(self, simd: S) {
        let LogSumExpRows {
            logits,
            columns,
            sink,
            matrix_len,
            out,
        } = self;
        if columns == 0 {
            return out.write_empty(sink);
        }
        let single = Batch::<S, true> {
            simd,
            rows: 1,
            columns,
            sink,
            ahead: prefetch_distance(matrix_len, columns.min(SLICE)),
            recomputes: false,
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
                let (mut unread, mut unwritten) = (logits, out);
                while unwritten.len() > 0 {
                    let (row, others) = split(unread, columns);
                    let (out, others_out) = unwritten.split_at(1);
                    single.log_sum_exp(row, out);
                    (unread, unwritten) = (others, others_out);
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
        columns,
        sink,
        ..
    } = single;
    let (mut unread, mut unwritten) = (logits, out);
    if columns <= S::LONGEST_SHORT {
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
            columns,
            sink,
            ahead: prefetch_distance(matrix_len, rows_at_once * columns),
            recomputes: false,
        };
        let (rows, others) = split(unread, out.len() * columns);
        simd.vectorize(
            #[inline(always)]
            |_| batch.log_sum_exp(rows, out),
        );
        (unread, unwritten) = (others, others_out);
    }
}

#[cfg_attr(not(unoptimized), inline(always))]
fn split<L: Source>(logits: L, count: usize) -> (L, L) {
    logits.split_at(count).unwrap_or((L::empty(), L::empty()))
}

impl<S: Simd, const ONE: bool> Batch<S, ONE> {
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
        out.write(self.simd, rows, self.columns, self.sink, &denominators, max);
    }
}

//! The log-sum-exp of rows.

use super::batch::{Batch, rows_of_batch};
use super::log_denominators::LogDenominators;
use super::other_terms::has_nan;
use super::schedule::prefetch_distance;
use super::short::{self, SHORT};
use crate::options::Sink;
use crate::simd::{Simd, Vector, WithSimd, lanes_of};
use crate::source::{Source, Unwritten};

/// log Σ e^x of each row of a matrix.
pub(crate) struct LogSumExpRows<'a, L> {
    pub(crate) logits: L,
    pub(crate) columns: usize,
    pub(crate) sink: Sink,
    pub(crate) out: &'a mut [f32],
}

impl<L: Source> WithSimd for LogSumExpRows<'_, L> {
    type Output = ();

    #[cfg_attr(not(unoptimized), inline(always))]
    fn with_simd<S: Simd>(self, simd: S) {
        let LogSumExpRows {
            logits,
            columns,
            sink,
            out,
        } = self;
        if columns == 0 {
            out.fill(sink.logit);
            return;
        }
        let is_short = columns <= SHORT && S::Vector::WIDTH > 1;
        let mut batch = Batch {
            simd,
            rows: if is_short {
                S::Vector::WIDTH
            } else {
                rows_of_batch::<S>(columns)
            },
            columns,
            sink,
            ahead: prefetch_distance(logits.len()),
        };
        let mut unread = logits;
        for out in out.chunks_mut(batch.rows) {
            batch.rows = out.len();
            let (rows, others) = unread
                .split_at(batch.rows * columns)
                .unwrap_or((L::empty(), L::empty()));
            unread = others;
            let (denominators, max) = if is_short && batch.rows == S::Vector::WIDTH {
                short::log_sum_exp(simd, rows, columns, sink)
            } else {
                let states = batch
                    .without_sink()
                    .states(&mut Unwritten(rows), batch.max_pass(rows));
                let denominators = batch.log_denominators(rows, &states, false);
                (denominators, states.shifts.max)
            };
            write(batch, rows, &denominators, max, out);
        }
    }
}

#[cfg_attr(not(unoptimized), inline(always))]
fn write<S: Simd, L: Source>(
    batch: Batch<S>,
    rows: L,
    denominators: &LogDenominators<S::Vector>,
    max: S::Vector,
    out: &mut [f32],
) {
    denominators.log_sum_exp().store(out);
    let maxima = lanes_of(max);
    for (index, out) in out.iter_mut().enumerate() {
        if !denominators.has_softmax(index) {
            let row = rows.slice(index * batch.columns, batch.columns);
            let row = row.unwrap_or(L::empty());
            let sink = batch.sink.logit;
            *out = if sink.is_nan() || has_nan(batch.simd, row) {
                f32::NAN
            } else {
                sink.max(maxima[index % maxima.len()])
            };
        }
    }
}

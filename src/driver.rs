//! From options and a shape to the operations on parts of the logits. The callers have checked the
//! arguments.

use crate::backend::Backend;
use crate::columns::log_sum_exp::LogSumExpColumns;
use crate::columns::slab::Columns;
use crate::dispatch::dispatch;
use crate::normalizer::Normalizer;
use crate::options::{Options, Preprocessing, Sink};
use crate::rows::log_sum_exp::LogSumExpRows;
use crate::rows::matrix::Matrix;
use crate::rows::preprocess::{Fill, FillBelow, Preprocess, Preprocessed};
use crate::rows::recurrence::NormalizerOf;
use crate::rows::results::RowResults;
use crate::rows::row::Row;
use crate::rows::schedule::PREPROCESSED_LOGITS;
use crate::simd::WithSimd;
use crate::source::{Source, SrcDst};

/// A backend and options. `LOG` in a method makes it the log-softmax.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Driver<'a> {
    pub(crate) backend: Backend,
    pub(crate) options: Options<'a>,
}

impl Driver<'_> {
    #[inline]
    pub(crate) fn dispatch<O: WithSimd>(&self, operation: O) -> O::Output {
        dispatch(self.backend, operation)
    }

    /// The results of row `index` of a matrix. Inlined, so that the row is not copied in memory on
    /// its way to the kernel: a single row of 10 takes 50 ns, and each copy 5.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn row<const LOG: bool, R: SrcDst>(&self, row: R, index: usize) -> Normalizer {
        if self.options.are_given {
            return self.row_with_options::<LOG, R>(row, index);
        }
        let sink = Sink::NONE;
        dispatch(self.backend, Row::<LOG, R>::new(row, sink)).normalizer(sink)
    }

    #[inline(never)]
    fn row_with_options<const LOG: bool, R: SrcDst>(&self, mut row: R, index: usize) -> Normalizer {
        let sink = self.options.sink(LOG);
        let columns = row.len();
        let visible = self.options.visible(index, columns);
        let preprocessing = self.options.preprocessing_of(index, columns, 0);
        let mut normalizer = if !self.options.changes_logits() {
            self.visible_row::<LOG, _>(row.slice(0, visible), sink)
        } else if R::HAS_SCRATCH {
            self.dispatch(Preprocess {
                row: row.slice(0, visible),
                preprocessing,
            });
            self.visible_row::<LOG, _>(row.slice(0, visible).results(), sink)
        } else {
            let preprocessed = Preprocessed::new(row.slice(0, visible), &preprocessing);
            self.visible_row::<LOG, _>(preprocessed, sink)
        };
        if visible < columns {
            normalizer = normalizer.merge(Normalizer::FULLY_MASKED);
        }
        let written = if sink.allows_softmax() { visible } else { 0 };
        self.dispatch(Fill {
            row: row.slice(written, columns - written),
            value: sink.masked(&normalizer, LOG),
        });
        normalizer
    }

    /// The softmax of the visible logits. If the sink is +∞ or NaN, only the normalizer is
    /// computed, and the caller fills in the results.
    fn visible_row<const LOG: bool, R: SrcDst>(&self, row: R, sink: Sink) -> Normalizer {
        if sink.allows_softmax() {
            self.dispatch(Row::<LOG, R>::new(row, sink))
                .normalizer(sink)
        } else {
            sink.merge_into(self.dispatch(NormalizerOf(row.logits())))
        }
    }

    /// The results of some rows of a matrix of `matrix_len` logits. The first has the index `first`.
    pub(crate) fn rows<const LOG: bool, R: SrcDst>(
        &self,
        rows: R,
        columns: usize,
        first: usize,
        matrix_len: usize,
    ) {
        let sink = self.options.sink(LOG);
        if rows.len() == 0 {
            return;
        }
        if self.options.allows_whole_matrices() {
            self.dispatch(Matrix::<LOG, R> {
                rows,
                columns,
                sink,
                matrix_len,
            });
        } else {
            self.preprocessed_rows::<LOG, R>(rows, columns, first, sink);
        }
    }

    /// Preprocesses several rows at once. Goes row by row if rows have lengths, or if the results
    /// cannot hold preprocessed logits.
    fn preprocessed_rows<const LOG: bool, R: SrcDst>(
        &self,
        matrix: R,
        columns: usize,
        first: usize,
        sink: Sink,
    ) {
        let by_row = self.options.needs_single_rows() || !R::HAS_SCRATCH;
        let mut index = first;
        let mut unread = matrix;
        while unread.len() > 0 {
            let rows = if by_row {
                1
            } else {
                self.options
                    .rows_before_wrap(index, columns, PREPROCESSED_LOGITS)
            };
            let (mut rows, others) = match unread.split_at(rows.saturating_mul(columns)) {
                Ok((rows, others)) => (rows, Some(others)),
                Err(last) => (last, None),
            };
            let count = rows.len().checked_div(columns).unwrap_or(1);
            if by_row {
                self.row::<LOG, _>(rows, index);
            } else {
                self.dispatch(Preprocess {
                    row: rows.reborrow(),
                    preprocessing: self.options.preprocessing_of(index, columns, 0),
                });
                let matrix_len = rows.len();
                self.dispatch(Matrix::<LOG, _> {
                    rows: rows.results(),
                    columns,
                    sink,
                    matrix_len,
                });
            }
            index += count;
            match others {
                Some(others) => unread = others,
                None => return,
            }
        }
    }

    /// The results along the middle axis of some slabs, at least one, of a tensor [outer, `axis`,
    /// `inner`]. The first has the index `first`.
    pub(crate) fn axis<const LOG: bool, R: SrcDst>(
        &self,
        tensor: R,
        axis: usize,
        inner: usize,
        first: usize,
    ) {
        let sink = self.options.sink(LOG);
        if self.options.allows_whole_matrices() {
            return self.dispatch(Columns::<LOG, R> {
                tensor,
                axis,
                inner,
                sink,
            });
        }
        let visible = self.options.visible(0, axis);
        let mut index = first;
        let mut unread = tensor;
        while let Ok((mut slab, others)) = unread.split_at(axis * inner) {
            if sink.allows_softmax() && visible > 0 {
                self.visible_axis::<LOG, _>(slab.slice(0, visible * inner), index, axis, inner);
                self.dispatch(FillBelow {
                    results: slab.results(),
                    start: visible * inner,
                    inner,
                    value: if LOG { f32::NEG_INFINITY } else { 0.0 },
                });
            } else {
                let column = sink.merge_into(Normalizer::FULLY_MASKED);
                self.dispatch(Fill {
                    row: slab,
                    value: sink.masked(&column, LOG),
                });
            }
            index += 1;
            unread = others;
        }
    }

    /// Slab `index` of a tensor, as far as it is visible.
    fn visible_axis<const LOG: bool, R: SrcDst>(
        &self,
        mut slab: R,
        index: usize,
        axis: usize,
        inner: usize,
    ) {
        let sink = self.options.sink(LOG);
        let visible = slab.len().checked_div(inner).unwrap_or(0);
        let preprocessing = self.options.preprocessing_of(index, axis * inner, 0);
        if R::HAS_SCRATCH {
            self.dispatch(Preprocess {
                row: slab.reborrow(),
                preprocessing,
            });
            self.dispatch(Columns::<LOG, _> {
                tensor: slab.results(),
                axis: visible,
                inner,
                sink,
            });
        } else {
            self.dispatch(Columns::<LOG, _> {
                tensor: Preprocessed::new(slab, &preprocessing),
                axis: visible,
                inner,
                sink,
            });
        }
    }

    /// log Σ e^x along the middle axis of a tensor [outer, `axis`, `inner`]. `out` has
    /// outer · inner places.
    pub(crate) fn log_sum_exp_axis<L: Source>(
        &self,
        logits: L,
        axis: usize,
        inner: usize,
        out: &mut [f32],
    ) {
        let sink = self.options.sink(true);
        if self.options.allows_whole_matrices() {
            return self.dispatch(LogSumExpColumns {
                logits,
                axis,
                inner,
                sink,
                out,
            });
        }
        let visible = self.options.visible(0, axis);
        let mut unread = logits;
        for (index, out) in out.chunks_mut(inner.max(1)).enumerate() {
            let (slab, others) = unread
                .split_at(axis * inner)
                .unwrap_or((L::empty(), L::empty()));
            let seen = slab.slice(0, visible * inner).unwrap_or(slab);
            let preprocessing = self.options.preprocessing_of(index, axis * inner, 0);
            self.dispatch(LogSumExpColumns {
                logits: Preprocessed::new(seen, &preprocessing),
                axis: visible,
                inner,
                sink,
                out,
            });
            unread = others;
        }
    }

    /// The normalizer of row `index` of a matrix.
    pub(crate) fn normalizer<L: Source>(&self, logits: L, index: usize) -> Normalizer {
        if self.options.has_plain_denominator() {
            return self.dispatch(NormalizerOf(logits));
        }
        let (seen, preprocessing) = self.visible_logits(logits, index);
        let mut normalizer = if self.options.changes_logits() {
            self.dispatch(NormalizerOf(Preprocessed::new(seen, &preprocessing)))
        } else {
            self.dispatch(NormalizerOf(seen))
        };
        if seen.len() < logits.len() {
            normalizer = normalizer.merge(Normalizer::FULLY_MASKED);
        }
        self.options.sink(false).merge_into(normalizer)
    }

    /// log Σ e^x, or what else is written to `out`, of as many rows as `out` has places, of a matrix
    /// of `matrix_len` logits. The first has the index `first`.
    pub(crate) fn log_sum_exp_rows<L: Source, O: RowResults>(
        &self,
        logits: L,
        columns: usize,
        first: usize,
        matrix_len: usize,
        out: O,
    ) {
        let sink = self.options.sink(true);
        if self.options.allows_whole_matrices() {
            return self.dispatch(LogSumExpRows {
                logits,
                columns,
                sink,
                matrix_len,
                out,
            });
        }
        let (mut unread, mut unwritten, mut index) = (logits, out, first);
        while unwritten.len() > 0 {
            let (place, others_out) = unwritten.split_at(1);
            let (row, others) = unread.split_at(columns).unwrap_or((L::empty(), L::empty()));
            let (logits, preprocessing) = self.visible_logits(row, index);
            let columns = logits.len();
            if self.options.changes_logits() {
                self.dispatch(LogSumExpRows {
                    logits: Preprocessed::new(logits, &preprocessing),
                    columns,
                    sink,
                    matrix_len: columns,
                    out: place,
                });
            } else {
                self.dispatch(LogSumExpRows {
                    logits,
                    columns,
                    sink,
                    matrix_len: columns,
                    out: place,
                });
            }
            (unread, unwritten, index) = (others, others_out, index + 1);
        }
    }

    /// log Σ e^x of a row.
    pub(crate) fn log_sum_exp<L: Source>(&self, logits: L) -> f32 {
        let mut result = [f32::NEG_INFINITY];
        self.log_sum_exp_rows(logits, logits.len(), 0, logits.len(), &mut result[..]);
        result[0]
    }

    /// The visible logits of row `index` of a matrix, and their preprocessing.
    pub(crate) fn visible_logits<L: Source>(
        &self,
        logits: L,
        index: usize,
    ) -> (L, Preprocessing<'_>) {
        let columns = logits.len();
        let visible = self.options.visible(index, columns);
        (
            logits.slice(0, visible).unwrap_or(logits),
            self.options.preprocessing_of(index, columns, 0),
        )
    }
}

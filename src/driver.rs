//! From options and a shape to the operations on parts of the logits. The callers have checked the
//! arguments.

use crate::backend::Backend;
use crate::columns::log_sum_exp::LogSumExpColumns;
use crate::columns::slab::Columns;
use crate::dispatch::dispatch;
use crate::normalizer::Normalizer;
use crate::options::{Options, Preprocessing, RowOptions, Sink};
use crate::rows::log_sum_exp::LogSumExpRows;
use crate::rows::masked::MaskedRows;
use crate::rows::masked_staged::RowsPastCaches;
use crate::rows::matrix::Matrix;
use crate::rows::other_terms::HasNan;
use crate::rows::preprocess::{
    Fill, FillBelow, FillBeside, Preprocess, PreprocessRows, Preprocessed,
};
use crate::rows::recurrence::NormalizerOf;
use crate::rows::results::RowResults;
use crate::rows::row::Row;
use crate::rows::schedule::{BEYOND_CACHES, PREPROCESSED_LOGITS};
use crate::simd::{WIDEST, WithSimd};
use crate::source::{Layout, Source, SrcDst};
use core::ops::Range;

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

    /// The results of a row. Inlined, so that the row is not copied in memory on its way to the
    /// kernel: a single row of 10 takes 50 ns, and each copy 5.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn row<const LOG: bool, R: SrcDst>(&self, row: R) -> Normalizer {
        if self.options.are_given {
            return self.only_row_with_options::<LOG, R>(row);
        }
        let sink = Sink::NONE;
        dispatch(self.backend, Row::<LOG, R>::new(row, sink)).normalizer(sink)
    }

    #[inline(never)]
    fn only_row_with_options<const LOG: bool, R: SrcDst>(&self, row: R) -> Normalizer {
        let options = self.options.over_row(row.len());
        self.row_with_options::<LOG, R>(row, &options, 0)
    }

    /// The results of row `index` of a matrix.
    fn row_with_options<const LOG: bool, R: SrcDst>(
        &self,
        mut row: R,
        options: &RowOptions<'_>,
        index: usize,
    ) -> Normalizer {
        let sink = self.options.sink(LOG);
        let columns = row.len();
        let visible = options.visible(index);
        let (start, count) = (visible.start, visible.len());
        let preprocessing = options.preprocessing_of(index, start);
        let mut normalizer = if !self.options.changes_logits() {
            self.visible_row::<LOG, _>(row.slice(start, count), sink)
        } else if R::HAS_SCRATCH {
            self.dispatch(Preprocess {
                row: row.slice(start, count),
                preprocessing,
            });
            self.visible_row::<LOG, _>(row.slice(start, count).results(), sink)
        } else {
            let preprocessed = Preprocessed::new(row.slice(start, count), &preprocessing);
            self.visible_row::<LOG, _>(preprocessed, sink)
        };
        if count < columns {
            normalizer = normalizer.merge(Normalizer::FULLY_MASKED);
        }
        let written = if sink.allows_softmax() { visible } else { 0..0 };
        let value = sink.masked(&normalizer, LOG);
        for masked in [0..written.start, written.end..columns] {
            if !masked.is_empty() {
                self.dispatch(Fill {
                    row: row.slice(masked.start, masked.len()),
                    value,
                });
            }
        }
        normalizer
    }

    /// The softmax of the visible logits. If the sink is +∞ or NaN, the caller fills in the results.
    /// Beside such a sink only a NaN counts: the state of any other row is lost in the merge.
    fn visible_row<const LOG: bool, R: SrcDst>(&self, row: R, sink: Sink) -> Normalizer {
        if sink.allows_softmax() {
            self.dispatch(Row::<LOG, R>::new(row, sink))
                .normalizer(sink)
        } else if self.dispatch(HasNan(row.logits())) {
            Normalizer::NAN
        } else {
            sink.merge_into(Normalizer::FULLY_MASKED)
        }
    }

    /// The results of some rows of a matrix, of which `layout` is the layout. The first has the
    /// index `first`.
    pub(crate) fn rows<const LOG: bool, R: SrcDst>(&self, rows: R, layout: Layout, first: usize) {
        if rows.len() == 0 {
            return;
        }
        if self.options.allows_whole_matrices() {
            self.dispatch(Matrix::<LOG, R> {
                rows,
                layout,
                sink: self.options.sink(LOG),
            });
        } else {
            self.rows_with_options::<LOG, R>(rows, layout, first);
        }
    }

    /// Takes as many rows at a time as see the same columns, if they are not too few. Goes row by row
    /// if the sink is +∞ or NaN, or if the results cannot hold preprocessed logits or numerators. Not
    /// inlined, as its operands would be on the stack where no option was given.
    #[inline(never)]
    fn rows_with_options<const LOG: bool, R: SrcDst>(
        &self,
        mut matrix: R,
        layout: Layout,
        first: usize,
    ) {
        let Layout {
            columns, stride, ..
        } = layout;
        let sink = self.options.sink(LOG);
        let options = self.options.over(layout.rows, columns, 1);
        if layout.logits() >= BEYOND_CACHES && sink.allows_softmax() {
            let rows_past_caches = RowsPastCaches::<LOG, R> {
                rows: &mut matrix,
                layout,
                options: &options,
                first,
                sink,
            };
            if self.dispatch(rows_past_caches) {
                return;
            }
        }
        let changes_logits = self.options.changes_logits();
        let is_ragged = options.most_rows_alike() < WIDEST;
        if is_ragged && sink.allows_softmax() && R::HAS_SCRATCH {
            return self.dispatch(MaskedRows::<LOG, R> {
                rows: matrix,
                layout,
                options: &options,
                first,
                sink,
            });
        }
        let by_row = !sink.allows_softmax() || (changes_logits || is_ragged) && !R::HAS_SCRATCH;
        // Preprocessed logits stay in the first-level cache, results in the second-level one.
        let most = match (by_row, changes_logits) {
            (true, _) => 1,
            (false, true) => PREPROCESSED_LOGITS.checked_div(columns).unwrap_or(1),
            (false, false) => (4 * PREPROCESSED_LOGITS).checked_div(columns).unwrap_or(1),
        };
        let most = most.max(1);
        let mut index = first;
        let mut unread = matrix;
        while unread.len() > 0 {
            let count = options.rows_alike(index).min(most);
            let (mut rows, others) = match unread.split_at(count.saturating_mul(stride)) {
                Ok((rows, others)) => (rows, Some(others)),
                Err(last) => (last, None),
            };
            let count = layout.rows_in(rows.len());
            if by_row {
                self.row_with_options::<LOG, _>(rows.slice(0, columns), &options, index);
            } else {
                self.rows_alike::<LOG, _>(rows, layout, &options, index..index + count);
            }
            index += count;
            match others {
                Some(others) => unread = others,
                None => return,
            }
        }
    }

    /// The results of rows that see the same columns.
    fn rows_alike<const LOG: bool, R: SrcDst>(
        &self,
        mut rows: R,
        layout: Layout,
        options: &RowOptions<'_>,
        indices: Range<usize>,
    ) {
        let sink = self.options.sink(LOG);
        let visible = options.visible(indices.start);
        let layout = Layout {
            rows: indices.len(),
            ..layout
        };
        let seen = Layout {
            columns: visible.len(),
            ..layout
        };
        let (start, len) = (visible.start, seen.values());
        let value = sink.beside(visible.is_empty(), LOG);
        if !visible.is_empty() {
            let mut seen_rows = rows.slice(start, len);
            if self.options.changes_logits() {
                self.dispatch(PreprocessRows {
                    rows: seen_rows.reborrow(),
                    layout: seen,
                    options,
                    first: indices.start,
                    start,
                });
                self.dispatch(Matrix::<LOG, _> {
                    rows: seen_rows.results(),
                    layout: seen,
                    sink,
                });
            } else {
                self.dispatch(Matrix::<LOG, _> {
                    rows: seen_rows,
                    layout: seen,
                    sink,
                });
            }
        }
        if seen.columns < layout.columns {
            self.dispatch(FillBeside {
                rows,
                layout,
                visible,
                value,
            });
        }
    }

    /// The results along the middle axis of some slabs, at least one, of a tensor of `shape`. The
    /// first has the index `first`.
    pub(crate) fn axis<const LOG: bool, R: SrcDst>(
        &self,
        tensor: R,
        shape: [usize; 3],
        first: usize,
    ) {
        let [outer, axis, inner] = shape;
        let sink = self.options.sink(LOG);
        if self.options.allows_whole_matrices() {
            return self.dispatch(Columns::<LOG, R> {
                tensor,
                axis,
                inner,
                sink,
            });
        }
        let options = self.options.over(outer, axis, inner);
        let mut index = first;
        let mut unread = tensor;
        while let Ok((mut slab, others)) = unread.split_at(axis * inner) {
            // The first ones along the axis.
            let visible = options.visible(index).end;
            if sink.allows_softmax() && visible > 0 {
                let preprocessing = options.preprocessing_of(index, 0);
                let seen = slab.slice(0, visible * inner);
                self.visible_axis::<LOG, _>(seen, preprocessing, visible, inner);
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

    /// A slab, as far as it is visible.
    fn visible_axis<const LOG: bool, R: SrcDst>(
        &self,
        mut slab: R,
        preprocessing: Preprocessing<'_>,
        axis: usize,
        inner: usize,
    ) {
        let sink = self.options.sink(LOG);
        if R::HAS_SCRATCH {
            self.dispatch(Preprocess {
                row: slab.reborrow(),
                preprocessing,
            });
            self.dispatch(Columns::<LOG, _> {
                tensor: slab.results(),
                axis,
                inner,
                sink,
            });
        } else {
            self.dispatch(Columns::<LOG, _> {
                tensor: Preprocessed::new(slab, &preprocessing),
                axis,
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
        let slabs = out.len().checked_div(inner).unwrap_or(0);
        let options = self.options.over(slabs, axis, inner);
        let mut unread = logits;
        for (index, out) in out.chunks_mut(inner.max(1)).enumerate() {
            let visible = options.visible(index).end;
            let (slab, others) = unread
                .split_at(axis * inner)
                .unwrap_or((L::empty(), L::empty()));
            let seen = slab.slice(0, visible * inner).unwrap_or(slab);
            let preprocessing = options.preprocessing_of(index, 0);
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

    /// The normalizer of a row.
    pub(crate) fn normalizer<L: Source>(&self, logits: L) -> Normalizer {
        if self.options.has_plain_denominator() {
            return self.dispatch(NormalizerOf(logits));
        }
        let (seen, preprocessing, _) = self.visible_logits(logits);
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
    /// of which `layout` is the layout. The first has the index `first`.
    pub(crate) fn log_sum_exp_rows<L: Source, O: RowResults>(
        &self,
        logits: L,
        layout: Layout,
        first: usize,
        out: O,
    ) {
        let sink = self.options.sink(true);
        if self.options.allows_whole_matrices() {
            return self.dispatch(LogSumExpRows::<false, _, _> {
                logits,
                layout,
                sink,
                out,
            });
        }
        let options = self.options.over(layout.rows, layout.columns, 1);
        let by_row = self.options.changes_logits();
        let (mut index, mut unread, mut unwritten) = (first, logits, out);
        while unwritten.len() > 0 {
            let most = if by_row { 1 } else { unwritten.len() };
            let count = options.rows_alike(index).min(most);
            let (out, others_out) = unwritten.split_at(count);
            let visible = options.visible(index);
            let seen = Layout {
                rows: count,
                columns: visible.len(),
                ..layout
            };
            let logits = unread.slice(visible.start, seen.values());
            let logits = logits.unwrap_or(L::empty());
            if by_row {
                let preprocessing = options.preprocessing_of(index, visible.start);
                self.dispatch(LogSumExpRows::<false, _, _> {
                    logits: Preprocessed::new(logits, &preprocessing),
                    layout: seen,
                    sink,
                    out,
                });
            } else {
                self.dispatch(LogSumExpRows::<false, _, _> {
                    logits,
                    layout: seen,
                    sink,
                    out,
                });
            }
            unread = match unread.split_at(count.saturating_mul(layout.stride)) {
                Ok((_, others)) => others,
                Err(_) => L::empty(),
            };
            index += count;
            unwritten = others_out;
        }
    }

    /// log Σ e^x of a row.
    pub(crate) fn log_sum_exp<L: Source>(&self, logits: L) -> f32 {
        let mut result = [f32::NEG_INFINITY];
        let layout = Layout::of_row(logits.len());
        self.log_sum_exp_rows(logits, layout, 0, &mut result[..]);
        result[0]
    }

    /// The visible logits of a row, their preprocessing and their columns.
    pub(crate) fn visible_logits<L: Source>(
        &self,
        logits: L,
    ) -> (L, Preprocessing<'_>, Range<usize>) {
        let options = self.options.over_row(logits.len());
        let visible = options.visible(0);
        (
            logits
                .slice(visible.start, visible.len())
                .unwrap_or(L::empty()),
            options.preprocessing_of(0, visible.start),
            visible,
        )
    }
}

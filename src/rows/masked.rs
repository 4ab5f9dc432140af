//! The rows of a matrix that see different columns, under a causal mask, a window or lengths; and
//! short rows with gaps between them.
//!
//! Each row is that of its visible columns. Rows that follow one another and have one [`Form`] are a
//! batch, as the rows of a matrix are. Short ones are lanes ([`short::masked_rows`]) if they are as
//! many as a register has; else they are a batch too.

use super::batch::{Batch, Places};
use super::other_terms::confidence_threshold;
use super::preprocess::{Preprocess, fill_beside};
use super::row::Row;
use super::schedule::{BATCH_LOGITS, LONGEST_EXACT, is_row_by_row};
use super::short;
use super::state::start_over_scale;
use crate::options::{RowOptions, Sink};
use crate::simd::{LANES, Simd, Vector, WIDEST, WithSimd};
use crate::source::{Layout, SrcDst};
use core::num::NonZeroUsize;
use core::ops::Range;

/// The softmax of the visible columns of each row, or the log-softmax if `LOG`, and the results of
/// the masked ones. Results must have scratch, and the sink must allow a softmax.
pub(crate) struct MaskedRows<'a, const LOG: bool, R> {
    pub(crate) rows: R,
    /// That of the whole matrix.
    pub(crate) layout: Layout,
    pub(crate) options: &'a RowOptions<'a>,
    /// The index of the first row.
    pub(crate) first: usize,
    pub(crate) sink: Sink,
}

impl<const LOG: bool, R: SrcDst> WithSimd for MaskedRows<'_, LOG, R> {
    type Output = ();

    #[cfg_attr(not(unoptimized), inline(always))]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let Layout {
            columns, stride, ..
        } = self.layout;
        let end = self.first + self.layout.rows_in(self.rows.len());
        let mut start = 0;
        while self.first < end {
            let places = Ragged::next::<S>(self.options, self.layout, self.first..end);
            let len = places.rows.saturating_sub(1) * stride + columns;
            self.write_rows::<S>(simd, &places, start, len);
            start += places.rows * stride;
            self.first += places.rows;
        }
    }
}

impl<const LOG: bool, R: SrcDst> MaskedRows<'_, LOG, R> {
    /// The results of a batch, which lies in `len` values from `start` on.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn write_rows<S: Simd>(&mut self, simd: S, places: &Ragged, start: usize, len: usize) {
        let MaskedRows {
            layout,
            options,
            first,
            sink,
            ..
        } = *self;
        let Layout {
            columns, stride, ..
        } = layout;
        let mut rows = self.rows.slice(start, len);
        if options.changes_logits() {
            let rows = &mut rows;
            simd.vectorize(
                #[inline(always)]
                |simd| {
                    for index in 0..places.rows {
                        let (start, count) = places.of_row(index);
                        let column = start - index * stride;
                        Preprocess {
                            row: rows.slice(start, count),
                            preprocessing: options.preprocessing_of(first + index, column),
                        }
                        .with_simd(simd);
                    }
                },
            );
            let visible = rows.reborrow().results();
            places.visible_rows::<LOG, S, _>(simd, visible, layout, sink);
        } else {
            places.visible_rows::<LOG, S, _>(simd, rows.reborrow(), layout, sink);
        }
        if places.are_lanes::<S>() && places.longest == columns {
            return;
        }
        let masked = sink.beside(places.form == Form::Nothing, LOG);
        let mut results = rows.results();
        let place = |index| {
            let (start, count) = places.written::<S>(index);
            let first = index * stride;
            (first, start - first..start - first + count)
        };
        fill_beside(simd, &mut results, columns, places.rows, place, masked);
    }
}

/// The softmax, or the log-softmax if `LOG`, of rows of at most [`LANES`] columns with gaps between
/// them, as many at a time as a register has lanes. Returns the rows that are left.
#[cfg_attr(not(unoptimized), inline(always))]
pub(super) fn rows_with_gaps<const LOG: bool, S: Simd, R: SrcDst>(
    simd: S,
    matrix: R,
    layout: Layout,
    sink: Sink,
) -> R {
    let width = S::Vector::WIDTH;
    let places = Ragged::even::<S>(layout);
    let mut unread = matrix;
    while unread.len() > (width - 1).saturating_mul(layout.stride) {
        // After the last row there is no gap.
        let len = unread.len().min(width.saturating_mul(layout.stride));
        let mut rows = match unread.split_at(len) {
            Ok((rows, others)) => {
                unread = others;
                rows
            }
            Err(rest) => return rest,
        };
        places.lanes::<LOG, S, R>(simd, &mut rows, sink);
    }
    unread
}

/// What is done with a row of so many visible columns.
#[derive(Clone, Copy, PartialEq)]
enum Form {
    /// No column is visible.
    Nothing,
    /// The first columns, at most [`LANES`]: rows may be lanes.
    Short,
    /// At most [`LONGEST_EXACT`] columns.
    Exact,
    /// As many as rows of a batch may have.
    Batch,
    /// The row is no batch with others.
    Single,
}

impl Form {
    #[cfg_attr(not(unoptimized), inline(always))]
    fn of<S: Simd>(layout: Layout, visible: &Range<usize>) -> Self {
        let columns = visible.len();
        if columns == 0 {
            Form::Nothing
        } else if !S::HAS_LANES || is_row_by_row(layout.logits(), columns) {
            Form::Single
        } else if columns <= LANES && visible.start == 0 {
            Form::Short
        } else if columns <= LONGEST_EXACT {
            Form::Exact
        } else {
            Form::Batch
        }
    }
}

/// The visible columns of some rows.
struct Ragged {
    form: Form,
    rows: usize,
    longest: usize,
    stride: usize,
    starts: [usize; WIDEST],
    columns: [usize; WIDEST],
}

impl Ragged {
    /// The next rows of one form, as many as a batch may have.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn next<S: Simd>(options: &RowOptions<'_>, layout: Layout, indices: Range<usize>) -> Self {
        let mut places = Ragged {
            form: Form::Nothing,
            rows: 0,
            longest: 0,
            stride: layout.stride,
            starts: [0; WIDEST],
            columns: [0; WIDEST],
        };
        let mut logits = 0;
        let lanes = places.starts.iter_mut().zip(&mut places.columns);
        let lanes = lanes.take(S::Vector::WIDTH).enumerate();
        let visible = options.visible_from(indices.start).take(indices.len());
        for ((row, (start, columns)), visible) in lanes.zip(visible) {
            let form = Form::of::<S>(layout, &visible);
            logits += visible.len();
            let is_other = form != places.form || form == Form::Single || logits > BATCH_LOGITS;
            if row > 0 && is_other {
                break;
            }
            places.form = form;
            places.rows += 1;
            places.longest = places.longest.max(visible.len());
            (*start, *columns) = (row * layout.stride + visible.start, visible.len());
        }
        places
    }
}

impl Ragged {
    /// Rows of one length, one `stride` after another.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn even<S: Simd>(layout: Layout) -> Self {
        Ragged {
            form: Form::Short,
            rows: S::Vector::WIDTH,
            longest: layout.columns,
            stride: layout.stride,
            starts: core::array::from_fn(|row| row.saturating_mul(layout.stride)),
            columns: [layout.columns; WIDEST],
        }
    }

    /// The results of rows that are lanes.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn lanes<const LOG: bool, S: Simd, R: SrcDst>(&self, simd: S, rows: &mut R, sink: Sink) {
        simd.vectorize(
            #[inline(always)]
            |simd| short::masked_rows::<LOG, S, R>(simd, rows, self, sink),
        );
    }

    /// Whether each row is a lane of a register, none of which is left. Not where code is to be small:
    /// the form takes 32 KB of a program for wasm.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn are_lanes<S: Simd>(&self) -> bool {
        S::HAS_LANES && !S::IS_SMALL && self.form == Form::Short && self.rows == S::Vector::WIDTH
    }

    /// Where row `index` begins, and its columns, of which
    /// [`visible_rows`](Self::visible_rows) writes the results.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn written<S: Simd>(&self, index: usize) -> (usize, usize) {
        let (start, columns) = self.of_row(index);
        if self.are_lanes::<S>() {
            (start, self.longest)
        } else {
            (start, columns)
        }
    }

    /// The results of the visible columns.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn visible_rows<const LOG: bool, S: Simd, R: SrcDst>(
        &self,
        simd: S,
        mut rows: R,
        layout: Layout,
        sink: Sink,
    ) {
        match self.form {
            Form::Nothing => {}
            Form::Single => {
                let (start, count) = self.of_row(0);
                simd.run(Row::<LOG, _> {
                    row: rows.slice(start, count),
                    sink,
                    matrix_len: NonZeroUsize::new(layout.logits()),
                });
            }
            _ if self.are_lanes::<S>() => self.lanes::<LOG, S, R>(simd, &mut rows, sink),
            Form::Short | Form::Exact | Form::Batch => {
                let batch = Batch::<S, false, &Ragged> {
                    simd,
                    rows: self.rows,
                    places: self,
                    sink,
                    ahead: 0,
                    recomputes: false,
                };
                let rows = &mut rows;
                if LOG {
                    return simd.vectorize(
                        #[inline(always)]
                        |_| batch.log_softmax(rows),
                    );
                }
                // Each pass in a function of its own, for the stack's sake.
                let states = simd.vectorize(
                    #[inline(always)]
                    |_| batch.states::<false, R>(rows),
                );
                simd.vectorize(
                    #[inline(always)]
                    |_| batch.normalize(rows, &states),
                );
            }
        }
    }
}

impl Places for &Ragged {
    const ARE_IN_DEEP_CALLS: bool = true;

    #[cfg_attr(not(unoptimized), inline(always))]
    fn columns(self) -> usize {
        self.longest
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn of_row(self, index: usize) -> (usize, usize) {
        let index = index % WIDEST;
        (self.starts[index], self.columns[index])
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn stride(self) -> usize {
        self.stride
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn starts_over_scale<S: Simd>(self, simd: S) -> S::Vector {
        simd.load(&self.columns.map(start_over_scale), 0.0)
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn confidence_thresholds<S: Simd>(self, simd: S) -> S::Vector {
        simd.load(&self.columns.map(confidence_threshold), 0.0)
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn ends<S: Simd>(self, simd: S) -> Option<S::Vector> {
        let ends = self.columns.map(
            #[inline(always)]
            |columns| columns as f32,
        );
        Some(simd.load(&ends, 0.0))
    }
}

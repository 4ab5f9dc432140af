//! The rows of a matrix: which form for which length.

use super::batch::{Batch, Even, rows_of_batch};
use super::row::Row;
use super::schedule::{LONGEST_STAGED, are_past_caches, is_row_by_row, prefetch_distance};
use super::{masked, short, staged};
use crate::options::Sink;
use crate::simd::{LANES, Simd, WithSimd};
use crate::source::{Layout, SrcDst};
use core::num::NonZeroUsize;

/// The softmax of each row of a matrix, or of a part of it; the log-softmax if `LOG`.
pub(crate) struct Matrix<const LOG: bool, R> {
    pub(crate) rows: R,
    /// That of the whole matrix, whose logits tell what memory it is read from.
    pub(crate) layout: Layout,
    pub(crate) sink: Sink,
}

impl<const LOG: bool, R: SrcDst> WithSimd for Matrix<LOG, R> {
    type Output = ();

    #[cfg_attr(not(unoptimized), inline(always))]
    fn with_simd<S: Simd>(self, simd: S) {
        let Matrix { rows, layout, sink } = self;
        let columns = layout.columns;
        let mut unread = rows;
        if S::HAS_LANES {
            if layout.stride > columns {
                if columns <= LANES && !S::IS_SMALL {
                    unread = masked::rows_with_gaps::<LOG, S, R>(simd, unread, layout, sink);
                }
            } else if columns <= S::LONGEST_SHORT {
                unread = simd.vectorize(
                    #[inline(always)]
                    |simd| short::rows::<LOG, S, R>(simd, unread, columns, sink),
                );
            }
            let has_scratch = LOG || R::HAS_SCRATCH;
            if has_scratch && unread.len() > 0 && !is_row_by_row(layout.logits(), columns) {
                return simd.vectorize(
                    #[inline(always)]
                    |simd| batches::<LOG, S, R>(simd, unread, layout, sink),
                );
            }
        }
        rows_one_by_one::<LOG, S, R>(simd, unread, layout, sink);
    }
}

/// Each row by itself, as in [`Driver::row`](crate::driver::Driver::row).
#[cfg_attr(not(unoptimized), inline(always))]
fn rows_one_by_one<const LOG: bool, S: Simd, R: SrcDst>(
    simd: S,
    matrix: R,
    layout: Layout,
    sink: Sink,
) {
    let Layout {
        columns, stride, ..
    } = layout;
    let mut unread = matrix;
    if S::WRITES_PAST_CACHES
        && are_past_caches::<LOG>(layout.logits(), columns)
        && stride == columns
        && let Some((logits, results)) = unread.out_of_place()
    {
        return simd.vectorize(
            #[inline(always)]
            |simd| {
                if LOG {
                    // Nothing is kept.
                    staged::rows::<LOG, 0, S, _>(simd, logits, results, columns, sink);
                } else {
                    staged::rows::<LOG, LONGEST_STAGED, S, _>(simd, logits, results, columns, sink);
                }
            },
        );
    }
    let matrix_len = NonZeroUsize::new(layout.logits());
    while unread.len() > 0 {
        if !LOG
            && stride == columns
            && let Some(row) = unread.with_scratch(columns)
        {
            // Results of half precision have scratch in the places of later rows.
            simd.run(Row::<false, _> {
                row,
                sink,
                matrix_len,
            });
        } else {
            simd.run(Row::<LOG, _> {
                row: unread.slice(0, columns),
                sink,
                matrix_len,
            });
        }
        match unread.split_at(stride) {
            Ok((_, others)) => unread = others,
            Err(_) => return,
        }
    }
}

#[cfg_attr(not(unoptimized), inline(always))]
fn batches<const LOG: bool, S: Simd, R: SrcDst>(simd: S, matrix: R, layout: Layout, sink: Sink) {
    let Layout {
        columns, stride, ..
    } = layout;
    let rows = rows_of_batch::<S>(columns);
    let mut batch = Batch::<S, false> {
        simd,
        rows,
        places: Even { columns, stride },
        sink,
        ahead: prefetch_distance(layout.logits(), rows.saturating_mul(stride), !LOG),
        recomputes: false,
    };
    let mut unread = matrix;
    while unread.len() > 0 {
        let mut rows = match unread.split_at(batch.rows.saturating_mul(stride)) {
            Ok((rows, others)) => {
                unread = others;
                rows
            }
            Err(last) => {
                batch.rows = layout.rows_in(last.len());
                let count = last.len();
                let Ok((rows, others)) = last.split_at(count) else {
                    return;
                };
                unread = others;
                rows
            }
        };
        if LOG {
            batch.log_softmax(&mut rows);
        } else {
            batch.softmax(&mut rows);
        }
    }
}

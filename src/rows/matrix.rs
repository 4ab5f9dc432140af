//! The rows of a matrix: which form for which length.

use super::batch::{Batch, rows_of_batch};
use super::row::Row;
use super::schedule::{is_row_by_row, prefetch_distance};
use super::short;
use crate::options::Sink;
use crate::simd::{Simd, WithSimd};
use crate::source::SrcDst;
use core::num::NonZeroUsize;

/// The softmax of each row of a matrix, or of a part of it; the log-softmax if `LOG`.
pub(crate) struct Matrix<const LOG: bool, R> {
    pub(crate) rows: R,
    pub(crate) columns: usize,
    pub(crate) sink: Sink,
    /// The logits of the whole matrix, which tell what memory it is read from.
    pub(crate) matrix_len: usize,
}

impl<const LOG: bool, R: SrcDst> WithSimd for Matrix<LOG, R> {
    type Output = ();

    #[cfg_attr(not(unoptimized), inline(always))]
    fn with_simd<S: Simd>(self, simd: S) {
        let Matrix {
            rows,
            columns,
            sink,
            matrix_len,
        } = self;
        let mut unread = rows;
        if S::HAS_LANES {
            if columns <= S::LONGEST_SHORT {
                unread = simd.vectorize(
                    #[inline(always)]
                    |simd| short::rows::<LOG, S, R>(simd, unread, columns, sink),
                );
            }
            let has_scratch = LOG || R::HAS_SCRATCH;
            if has_scratch && unread.len() > 0 && !is_row_by_row(matrix_len, columns) {
                return simd.vectorize(
                    #[inline(always)]
                    |simd| batches::<LOG, S, R>(simd, unread, columns, sink, matrix_len),
                );
            }
        }
        rows_one_by_one::<LOG, S, R>(simd, unread, columns, sink, matrix_len);
    }
}

/// Each row by itself, as in [`Driver::row`](crate::driver::Driver::row).
#[cfg_attr(not(unoptimized), inline(always))]
fn rows_one_by_one<const LOG: bool, S: Simd, R: SrcDst>(
    simd: S,
    matrix: R,
    columns: usize,
    sink: Sink,
    matrix_len: usize,
) {
    let matrix_len = NonZeroUsize::new(matrix_len);
    let mut unread = matrix;
    while unread.len() > 0 {
        if !LOG && let Some(row) = unread.with_scratch(columns) {
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
        match unread.split_at(columns) {
            Ok((_, others)) => unread = others,
            Err(_) => return,
        }
    }
}

#[cfg_attr(not(unoptimized), inline(always))]
fn batches<const LOG: bool, S: Simd, R: SrcDst>(
    simd: S,
    matrix: R,
    columns: usize,
    sink: Sink,
    matrix_len: usize,
) {
    let rows = rows_of_batch::<S>(columns);
    let mut batch = Batch::<S, false> {
        simd,
        rows,
        columns,
        sink,
        ahead: prefetch_distance(matrix_len, rows * columns),
        recomputes: false,
    };
    let mut unread = matrix;
    while unread.len() > 0 {
        let mut rows = match unread.split_at(batch.rows * columns) {
            Ok((rows, others)) => {
                unread = others;
                rows
            }
            Err(last) => {
                batch.rows = last.len().checked_div(columns).unwrap_or(0);
                let Ok((rows, others)) = last.split_at(batch.rows * columns) else {
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

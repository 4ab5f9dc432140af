//! The rows of a matrix, overlapped. Between two passes a row has a long chain of dependent operations:
//! lanes are combined, a quotient is computed. A pass over another row fills that time.
//!
//! ```text
//! turn     finish     choose_shift, exp_sum_pass     normalize_pass     max_pass
//!  i       row i − 2  row i − 1                      row i − 2          row i        three rows
//! ```

use super::algorithm::Algorithm;
use super::log_softmax::LogSoftmax;
use super::schedule::{CACHED, OVERLAPPED, SHORT, prefetch_distance};
use super::streamed::Streamed;
use super::three_pass::ThreePass;
use crate::options::Sink;
use crate::simd::{Simd, WithSimd};
use crate::source::SrcDst;

/// The softmax of each row of a matrix, or the log-softmax if `LOG`. If `PLAIN`, there is no sink and
/// no fallback but NaN, and the code for both is left out.
pub(crate) struct Matrix<const LOG: bool, const PLAIN: bool, R> {
    pub(crate) matrix: R,
    pub(crate) columns: usize,
    pub(crate) sink: Sink,
}

impl<const LOG: bool, const PLAIN: bool, R: SrcDst> WithSimd for Matrix<LOG, PLAIN, R> {
    type Output = ();

    #[cfg_attr(not(unoptimized), inline(always))]
    fn with_simd<S: Simd>(self, simd: S) {
        let Matrix {
            matrix, columns, ..
        } = self;
        let sink = if PLAIN { Sink::NONE } else { self.sink };
        let ahead = prefetch_distance(matrix.len());
        if LOG {
            if columns <= SHORT {
                overlap_three_rows::<LogSoftmax, S, R>(simd, matrix, columns, sink, ahead);
            } else {
                overlap_two_rows::<LogSoftmax, S, R>(simd, matrix, columns, sink, ahead);
            }
        } else if columns > CACHED {
            // Other code than below, so in a function of its own.
            simd.vectorize(
                #[inline(always)]
                move |simd| overlap_two_rows::<Streamed, S, R>(simd, matrix, columns, sink, ahead),
            );
        } else if !R::HAS_SCRATCH {
            rows_with_borrowed_scratch::<ThreePass, S, R>(simd, matrix, columns, sink, ahead);
        } else if columns <= SHORT {
            overlap_three_rows::<ThreePass, S, R>(simd, matrix, columns, sink, ahead);
        } else {
            overlap_two_rows::<ThreePass, S, R>(simd, matrix, columns, sink, ahead);
        }
    }
}

/// Stores the numerators of a row in the places of the results of the next two rows. The last rows have
/// no such places and compute their numerators twice.
#[cfg_attr(not(unoptimized), inline(always))]
fn rows_with_borrowed_scratch<A: Algorithm, S: Simd, R: SrcDst>(
    simd: S,
    matrix: R,
    columns: usize,
    sink: Sink,
    ahead: usize,
) {
    let mut unread = matrix;
    let mut maxima = A::max_pass(simd, unread.slice(0, columns).logits());
    while unread.len() > 0 {
        let shift = A::choose_shift(simd, maxima, sink);
        let sums = if let Some(row) = unread.with_scratch(columns) {
            A::exp_sum_pass(simd, row, shift, ahead)
        } else {
            A::exp_sum_pass(simd, unread.slice(0, columns), shift, ahead)
        };
        maxima = A::max_pass(simd, unread.slice(columns, columns).logits());
        let algorithm = A::finish(simd, sums, sink);
        if let Some(row) = unread.with_scratch(columns) {
            algorithm.normalize_pass(simd, row);
        } else {
            algorithm.normalize_pass(simd, unread.slice(0, columns));
        }
        match unread.split_at(columns) {
            Ok((_, others)) => unread = others,
            Err(_) => return,
        }
    }
}

/// Overlaps three rows, which with their results fit in the first-level cache.
#[cfg_attr(not(unoptimized), inline(always))]
fn overlap_three_rows<A: Algorithm, S: Simd, R: SrcDst>(
    simd: S,
    matrix: R,
    columns: usize,
    sink: Sink,
    ahead: usize,
) {
    let mut unread = Some(matrix);
    let (mut scanned, mut summed) = (None, None);
    loop {
        let mut finished = None;
        if let Some((row, sums)) = summed.take() {
            finished = Some((row, A::finish(simd, sums, sink)));
        }
        if let Some((mut row, maxima)) = scanned.take() {
            let shift = A::choose_shift(simd, maxima, sink);
            let sums = A::exp_sum_pass(simd, R::reborrow(&mut row), shift, ahead);
            summed = Some((row, sums));
        }
        if let Some((row, algorithm)) = finished {
            algorithm.normalize_pass(simd, row);
        }
        match unread.take().map(|matrix| matrix.split_at(columns)) {
            Some(Ok((row, others))) => {
                let maxima = A::max_pass(simd, R::logits(&row));
                scanned = Some((row, maxima));
                unread = Some(others);
            }
            _ if summed.is_none() => return,
            _ => {}
        }
    }
}

/// Overlaps two rows while both fit in the second-level cache; otherwise one after another. Order of a
/// turn: finish of the row above, max_pass, normalize_pass of the row above, exp_sum_pass.
#[cfg_attr(not(unoptimized), inline(always))]
fn overlap_two_rows<A: Algorithm, S: Simd, R: SrcDst>(
    simd: S,
    matrix: R,
    columns: usize,
    sink: Sink,
    ahead: usize,
) {
    let mut unread = matrix;
    let mut summed: Option<(R, A::Sums<S>)> = None;
    loop {
        let mut finished = None;
        if let Some((row, sums)) = summed.take() {
            finished = Some((row, A::finish(simd, sums, sink)));
        }
        let Ok((mut row, others)) = unread.split_at(columns) else {
            if let Some((row, algorithm)) = finished {
                algorithm.normalize_pass(simd, row);
            }
            return;
        };
        let maxima = A::max_pass(simd, row.logits());
        let shift = A::choose_shift(simd, maxima, sink);
        if let Some((row, algorithm)) = finished {
            algorithm.normalize_pass(simd, row);
        }
        let sums = A::exp_sum_pass(simd, row.reborrow(), shift, ahead);
        if columns <= OVERLAPPED {
            summed = Some((row, sums));
        } else {
            A::finish(simd, sums, sink).normalize_pass(simd, row);
        }
        unread = others;
    }
}

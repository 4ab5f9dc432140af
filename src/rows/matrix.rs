//! The rows of a matrix, overlapped: what lies between two passes over a row is done while a pass over
//! a neighbour runs, which does not wait for it.

use super::algorithm::Algorithm;
use super::log_softmax::LogSoftmax;
use super::schedule::{CACHED, OVERLAPPED, SHORT, prefetch_distance};
use super::streamed::Streamed;
use super::three_pass::ThreePass;
use crate::options::Sink;
use crate::simd::{Simd, WithSimd};
use crate::source::SrcDst;

/// The softmax of each row of a matrix, or the log-softmax if `LOG`. If `PLAIN`, there is no sink and
/// no fallback but NaN, and neither costs anything.
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
                three_rows_under_way::<LogSoftmax, S, R>(simd, matrix, columns, sink, ahead);
            } else {
                two_rows_under_way::<LogSoftmax, S, R>(simd, matrix, columns, sink, ahead);
            }
        } else if columns > CACHED {
            simd.vectorize(
                #[inline(always)]
                move |simd| {
                    two_rows_under_way::<Streamed, S, R>(simd, matrix, columns, sink, ahead)
                },
            );
        } else if !R::HAS_SCRATCH {
            rows_with_scratch::<ThreePass, S, R>(simd, matrix, columns, sink, ahead);
        } else if columns <= SHORT {
            three_rows_under_way::<ThreePass, S, R>(simd, matrix, columns, sink, ahead);
        } else {
            two_rows_under_way::<ThreePass, S, R>(simd, matrix, columns, sink, ahead);
        }
    }
}

/// The numerators of a row wait in the places of later rows, as long as there are enough of these.
#[cfg_attr(not(unoptimized), inline(always))]
fn rows_with_scratch<A: Algorithm, S: Simd, R: SrcDst>(
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

#[cfg_attr(not(unoptimized), inline(always))]
fn three_rows_under_way<A: Algorithm, S: Simd, R: SrcDst>(
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

/// Two rows if they stay in the second-level cache, otherwise one.
#[cfg_attr(not(unoptimized), inline(always))]
fn two_rows_under_way<A: Algorithm, S: Simd, R: SrcDst>(
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

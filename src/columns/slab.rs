//! The passes over a slab, strip by strip.

use super::algorithm::{ColumnAlgorithm, STRIP, TILE};
use super::log_softmax::LogProbabilities;
use super::rectangle::{Rectangle, split_group};
use super::softmax::Probabilities;
use super::state::GroupState;
use crate::options::Sink;
use crate::simd::{Simd, WithSimd, scalar::OneColumn};
use crate::source::SrcDst;

/// The softmax, or the log-softmax if `LOG`, of each column of each slab of a tensor
/// [outer, `axis`, `inner`].
pub(crate) struct Columns<const LOG: bool, R> {
    pub(crate) tensor: R,
    pub(crate) axis: usize,
    pub(crate) inner: usize,
    pub(crate) sink: Sink,
}

impl<const LOG: bool, R: SrcDst> WithSimd for Columns<LOG, R> {
    type Output = ();

    #[cfg_attr(not(unoptimized), inline(always))]
    fn with_simd<S: Simd>(self, simd: S) {
        if S::COLUMN_BY_COLUMN {
            return OneColumn.run(self);
        }
        let mut unread = self.tensor;
        while let Ok((slab, others)) = unread.split_at(self.axis * self.inner) {
            if LOG {
                of_slab::<LogProbabilities<S>, S, R>(simd, slab, self.inner, self.sink);
            } else {
                of_slab::<Probabilities<S>, S, R>(simd, slab, self.inner, self.sink);
            }
            unread = others;
        }
    }
}

#[cfg_attr(not(unoptimized), inline(always))]
fn of_slab<A: ColumnAlgorithm<S>, S: Simd, R: SrcDst>(
    simd: S,
    mut slab: R,
    inner: usize,
    sink: Sink,
) {
    let rows = slab.len().checked_div(inner).unwrap_or(0);
    for strip in strips(simd, rows, inner) {
        let mut sums = [GroupState::new(simd); STRIP];
        read_strip::<A, S, R>(strip, &mut slab, &mut sums, sink);
        let have_no_exception = simd.vectorize(
            #[inline(always)]
            |simd| normalize_pass::<A, S, R>(simd, strip, &mut slab, &sums, sink),
        );
        // Here, where what the other groups needed is no longer on the stack.
        for (columns, (sums, has_no_exception)) in
            strip.groups().zip(sums.iter().zip(have_no_exception))
        {
            if !has_no_exception {
                simd.vectorize(
                    #[inline(always)]
                    |simd| {
                        normalize_with_exceptions::<A, S, R>(simd, columns, &mut slab, sums, sink)
                    },
                );
            }
        }
    }
}

/// The strips of a slab of `rows` rows.
#[cfg_attr(not(unoptimized), inline(always))]
pub(super) fn strips<S: Simd>(
    simd: S,
    rows: usize,
    inner: usize,
) -> impl Iterator<Item = Rectangle<S>> {
    (0..inner).step_by(STRIP * S::GROUP_LANES).map(
        #[inline(always)]
        move |start| Rectangle {
            simd,
            start,
            width: (STRIP * S::GROUP_LANES).min(inner - start),
            inner,
            rows,
        },
    )
}

/// The passes over a strip before the last. `sums` is not returned: a copy of it takes kilobytes of
/// stack.
#[cfg_attr(not(unoptimized), inline(always))]
pub(super) fn read_strip<A: ColumnAlgorithm<S>, S: Simd, R: SrcDst>(
    strip: Rectangle<S>,
    slab: &mut R,
    sums: &mut [GroupState<S>; STRIP],
    sink: Sink,
) {
    let simd = strip.simd;
    let mut first = 0;
    while first < strip.rows {
        simd.vectorize(
            #[inline(always)]
            |_| A::read_tile(sums, strip, first, slab, sink),
        );
        first += TILE;
    }
}

/// The last pass over a group with exceptions.
#[cfg_attr(not(unoptimized), inline(always))]
fn normalize_with_exceptions<A: ColumnAlgorithm<S>, S: Simd, R: SrcDst>(
    simd: S,
    columns: Rectangle<S>,
    slab: &mut R,
    sums: &GroupState<S>,
    sink: Sink,
) {
    let mut algorithm = A::new(simd);
    algorithm.finish(simd, sums, sink);
    algorithm.normalize_with_exceptions(columns, &mut A::last_pass(slab), sums, sink);
}

/// The last pass over the groups of a strip that have no exception. Returns which have none.
#[cfg_attr(not(unoptimized), inline(always))]
fn normalize_pass<A: ColumnAlgorithm<S>, S: Simd, R: SrcDst>(
    simd: S,
    strip: Rectangle<S>,
    slab: &mut R,
    sums: &[GroupState<S>; STRIP],
    sink: Sink,
) -> [bool; STRIP] {
    let mut algorithms = [A::new(simd); STRIP];
    let mut have_no_exception = [true; STRIP];
    let of_groups = algorithms.iter_mut().zip(&mut have_no_exception).zip(sums);
    for (columns, ((algorithm, has_no_exception), sums)) in strip.groups().zip(of_groups) {
        simd.vectorize(
            #[inline(always)]
            |simd| algorithm.finish(simd, sums, sink),
        );
        *has_no_exception = simd.vectorize(
            #[inline(always)]
            |_| A::has_no_exception(columns, sums, sink),
        );
    }
    let mut slab = A::last_pass(slab);
    // Row by row those of the whole groups that have no exception. A group that is not whole goes
    // by itself: its masked stores would delay the loads of the next row.
    let whole = strip.width / S::GROUP_LANES;
    if whole > 0 {
        for cells in strip.rows(&mut slab) {
            let mut unread = cells;
            let of_groups = algorithms.iter().zip(have_no_exception).zip(sums);
            for ((algorithm, has_no_exception), sums) in of_groups.take(whole) {
                let (mut cells, others) = split_group::<S, _>(unread);
                strip.prefetch(&cells);
                if has_no_exception {
                    algorithm.normalize_row(simd, &sums.shifts, &mut cells);
                }
                match others {
                    Some(others) => unread = others,
                    None => break,
                }
            }
        }
    }
    let of_groups = algorithms.iter().zip(have_no_exception).zip(sums);
    for (columns, ((algorithm, has_no_exception), sums)) in strip.groups().zip(of_groups) {
        if has_no_exception && columns.width < S::GROUP_LANES {
            for mut cells in columns.rows(&mut slab) {
                algorithm.normalize_row(simd, &sums.shifts, &mut cells);
            }
        }
    }
    have_no_exception
}

#[cfg(test)]
mod tests {
    use super::Columns;
    use crate::Softmax;
    use crate::columns::log_sum_exp::LogSumExpColumns;
    use crate::options::Sink;
    use crate::simd::{Simd, scalar::OneColumn, scalar::Scalar};
    use crate::source::{InPlace, OutOfPlace};
    use std::{vec, vec::Vec};

    /// Columns of every kind: usual, out of the usual range, rising through several shifts, masked,
    /// not finite, equal.
    fn tensor([outer, axis, inner]: [usize; 3]) -> Vec<f32> {
        let mut state = (outer * axis * inner) as u32;
        let mut tensor = Vec::new();
        for index in 0..outer * axis * inner {
            let (row, column) = (index / inner % axis, index % inner);
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let logit = (state >> 8) as f32 / (1 << 20) as f32 - 8.0;
            tensor.push(match column % 11 {
                1 => 1e4 * logit,
                2 => row as f32 * 2.5 - 90.0,
                3 => f32::NEG_INFINITY,
                4 if row == axis / 2 => f32::NAN,
                5 if row + 1 == axis => f32::INFINITY,
                6 if row % 2 == 0 => f32::NEG_INFINITY,
                7 => -2.0,
                8 => logit - 1e3,
                _ => logit,
            });
        }
        tensor
    }

    fn bits(results: &[f32]) -> Vec<u32> {
        results.iter().map(|result| result.to_bits()).collect()
    }

    fn columns<const LOG: bool>(shape: [usize; 3], sink: Sink) {
        let [_, axis, inner] = shape;
        let logits = tensor(shape);
        let [mut together, mut one_by_one, mut in_place] =
            [logits.clone(), vec![1.5; logits.len()], logits.clone()];
        Scalar.run(Columns::<LOG, _> {
            tensor: InPlace(&mut together),
            axis,
            inner,
            sink,
        });
        OneColumn.run(Columns::<LOG, _> {
            tensor: InPlace(&mut in_place),
            axis,
            inner,
            sink,
        });
        let tensor = OutOfPlace {
            logits: &logits[..],
            results: &mut one_by_one[..],
        };
        OneColumn.run(Columns::<LOG, _> {
            tensor,
            axis,
            inner,
            sink,
        });
        assert_eq!(
            bits(&one_by_one),
            bits(&together),
            "{shape:?} {sink:?} {LOG}"
        );
        assert_eq!(bits(&in_place), bits(&together), "{shape:?} {sink:?} {LOG}");
    }

    fn log_sum_exps(shape: [usize; 3], sink: Sink) {
        let [outer, axis, inner] = shape;
        let logits = &tensor(shape)[..];
        let [mut together, mut one_by_one] = [vec![1.5; outer * inner], vec![2.5; outer * inner]];
        Scalar.run(LogSumExpColumns {
            logits,
            axis,
            inner,
            sink,
            out: &mut together,
        });
        OneColumn.run(LogSumExpColumns {
            logits,
            axis,
            inner,
            sink,
            out: &mut one_by_one,
        });
        assert_eq!(bits(&one_by_one), bits(&together), "{shape:?} {sink:?}");
    }

    #[test]
    fn one_column_has_the_bits_of_many() {
        for softmax in [Softmax::new(), Softmax::new().sink(3.0)] {
            let sink = |log| softmax.driver.options.sink(log);
            for shape in [
                [1, 1, 1],
                [2, 3, 33],
                [1, 70, 140],
                [1, 200, 11],
                [3, 64, 5],
            ] {
                columns::<false>(shape, sink(false));
                columns::<true>(shape, sink(true));
                log_sum_exps(shape, sink(true));
            }
        }
    }
}

//! Rows with options of a matrix beyond the caches ([`staged`](super::staged)): those of which a mask
//! leaves some columns, and those whose logits are preprocessed. Masked columns are not read.

use super::preprocess::Preprocess;
use super::schedule::{BEYOND_CACHES, LONGEST_STAGED, STAGED_AHEAD, is_row_by_row};
use super::staged::{Beside, StagedRow, write_row};
use super::writer::Writer;
use crate::math::epilogue::{Constant, Epilogue};
use crate::math::reduce::first_lane;
use crate::options::{RowOptions, Sink};
use crate::simd::{Simd, WithSimd};
use crate::source::{InPlace, LINE, Layout, OutOfPlace, Source, SrcDst};

/// The softmax of each row, or the log-softmax if `LOG`, written past the caches. Returns whether
/// that is worth it; if not, nothing is written. The sink must allow a softmax.
pub(crate) struct RowsPastCaches<'a, const LOG: bool, R> {
    pub(crate) rows: &'a mut R,
    /// That of the whole matrix.
    pub(crate) layout: Layout,
    pub(crate) options: &'a RowOptions<'a>,
    /// The index of the first row.
    pub(crate) first: usize,
    pub(crate) sink: Sink,
}

impl<const LOG: bool, R: SrcDst> WithSimd for RowsPastCaches<'_, LOG, R> {
    type Output = bool;

    #[cfg_attr(not(unoptimized), inline(always))]
    fn with_simd<S: Simd>(self, simd: S) -> bool {
        let RowsPastCaches {
            rows,
            layout,
            options,
            first,
            sink,
        } = self;
        let columns = layout.columns;
        let is_worth_it = S::WRITES_PAST_CACHES
            && layout.logits() >= BEYOND_CACHES
            && is_row_by_row(layout.logits(), columns)
            && layout.stride == columns
            && (columns <= longest_preprocessed(LOG) || !options.changes_logits());
        if !is_worth_it {
            return false;
        }
        let Some((logits, results)) = rows.out_of_place() else {
            return false;
        };
        if LOG {
            masked_rows::<LOG, { longest_preprocessed(true) }, S, _>(
                simd, logits, results, columns, options, first, sink,
            );
        } else {
            masked_rows::<LOG, { longest_preprocessed(false) }, S, _>(
                simd, logits, results, columns, options, first, sink,
            );
        }
        true
    }
}

/// The longest row whose preprocessed logits are kept on the stack, of which a log-softmax needs more.
const fn longest_preprocessed(is_log: bool) -> usize {
    if is_log {
        LONGEST_STAGED / 2
    } else {
        LONGEST_STAGED
    }
}

/// The first row has the index `first`. Preprocessed rows have at most `LONGEST` columns.
#[cfg_attr(not(unoptimized), inline(always))]
fn masked_rows<const LOG: bool, const LONGEST: usize, S: Simd, L: Source>(
    simd: S,
    logits: L,
    results: &mut [f32],
    columns: usize,
    options: &RowOptions<'_>,
    first: usize,
    sink: Sink,
) {
    // Of a row's numerators, or of its preprocessed logits.
    let mut places = [0.0; LONGEST];
    let mut writer = Writer::new(results);
    let mut unread = logits;
    // In whole rows: they see about the same columns.
    let ahead = (STAGED_AHEAD / columns.max(1)).max(1) * columns;
    let mut visible = options.visible_from(first);
    let mut index = first;
    while let (Ok((row, others)), Some(visible)) = (unread.split_at(columns), visible.next()) {
        unread = others;
        let (before, row) = cut(row, visible.start);
        let (row, after) = cut(row, visible.len());
        let masked = Masked {
            before,
            after,
            value: sink.beside(visible.is_empty(), LOG),
        };
        if row.len() == 0 {
            masked.write(simd, &mut writer, masked.before, masked.value);
            masked.write(simd, &mut writer, masked.after, masked.value);
        } else if options.changes_logits() {
            let places = places.get_mut(..row.len()).unwrap_or(&mut []);
            simd.run(Preprocess {
                row: OutOfPlace {
                    logits: Prefetching { logits: row, ahead },
                    results: &mut *places,
                },
                preprocessing: options.preprocessing_of(index, visible.start),
            });
            simd.run(StagedRow::<LOG, _, _> {
                row: InPlace(places),
                writer: &mut writer,
                sink,
                ahead: 0,
                beside: masked,
            });
        } else {
            // What is prefetched on the way are whole blocks, not what is left of one.
            let last = row.len() - row.len() % (4 * LINE);
            for line in 0..4 {
                row.prefetch(simd, ahead + last + line * LINE);
            }
            write_row::<LOG, S, L>(simd, row, &mut places, &mut writer, sink, ahead, masked);
        }
        index += 1;
    }
    writer.finish(simd);
}

/// Logits. Where a register is loaded, what lies `ahead` logits beyond it is prefetched.
#[derive(Clone, Copy)]
struct Prefetching<L> {
    logits: L,
    ahead: usize,
}

impl<L: Source> Source for Prefetching<L> {
    #[cfg_attr(not(unoptimized), inline(always))]
    fn len(self) -> usize {
        self.logits.len()
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn split_at(self, count: usize) -> Result<(Self, Self), Self> {
        let Prefetching { logits, ahead } = self;
        let of = |logits| Prefetching { logits, ahead };
        match logits.split_at(count) {
            Ok((first, others)) => Ok((of(first), of(others))),
            Err(all) => Err(of(all)),
        }
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn empty() -> Self {
        Prefetching {
            logits: L::empty(),
            ahead: 0,
        }
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn load<S: Simd>(self, simd: S, start: usize) -> S::Vector {
        self.logits.prefetch(simd, start + self.ahead);
        self.logits.load(simd, start)
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn prefetch<S: Simd>(self, simd: S, distance: usize) {
        self.logits.prefetch(simd, distance);
    }
}

/// The first `count` and the others.
#[cfg_attr(not(unoptimized), inline(always))]
fn cut<L: Source>(row: L, count: usize) -> (L, L) {
    row.split_at(count).unwrap_or((row, L::empty()))
}

/// The masked logits of a row, and their results if the row has a softmax.
#[derive(Clone, Copy)]
struct Masked<L> {
    before: L,
    after: L,
    value: f32,
}

impl<L: Source> Masked<L> {
    /// Writes `value` for each of some logits, which are not read.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn write<S: Simd>(self, simd: S, writer: &mut Writer<'_>, logits: L, value: f32) {
        simd.vectorize(
            #[inline(always)]
            |simd| writer.write(simd, logits, Constant(simd.splat(value))),
        );
    }
}

impl<L: Source> Beside for Masked<L> {
    #[cfg_attr(not(unoptimized), inline(always))]
    fn write_row<S: Simd>(
        self,
        simd: S,
        writer: &mut Writer<'_>,
        row: impl Source,
        epilogue: impl Epilogue<S::Vector>,
    ) {
        // A row that has no softmax is NaN, or another constant.
        let is_nan = first_lane(epilogue.apply(row.load(simd, 0))).is_nan();
        let value = if is_nan { f32::NAN } else { self.value };
        self.write(simd, writer, self.before, value);
        writer.write(simd, row, epilogue);
        self.write(simd, writer, self.after, value);
    }
}

#[cfg(test)]
mod tests {
    use super::masked_rows;
    use crate::backend::Backend;
    use crate::dispatch::dispatch;
    use crate::rows::schedule::LONGEST_STAGED;
    use crate::rows::staged::tests::matrix;
    use crate::simd::{Simd, WithSimd};
    use crate::{FullyMasked, Mask, Softmax};
    use std::{vec, vec::Vec};

    /// Each row sees the columns that `softmax` says.
    struct MaskedRows<'a, const LOG: bool> {
        softmax: Softmax<'a>,
        logits: &'a [f32],
        results: &'a mut [f32],
        columns: usize,
    }

    impl<const LOG: bool> WithSimd for MaskedRows<'_, LOG> {
        type Output = ();

        fn with_simd<S: Simd>(self, simd: S) {
            let MaskedRows {
                softmax,
                logits,
                results,
                columns,
            } = self;
            let options = &softmax.driver.options;
            let (options, sink) = (
                &options.over(logits.len() / columns, columns, 1),
                options.sink(LOG),
            );
            simd.vectorize(
                #[inline(always)]
                |simd| {
                    masked_rows::<LOG, LONGEST_STAGED, S, _>(
                        simd, logits, results, columns, options, 0, sink,
                    );
                },
            );
        }
    }

    /// Softmax and log-softmax, at two alignments.
    fn check(backend: Backend, softmax: Softmax<'_>, logits: &[f32], columns: usize) {
        let bits = |results: &[f32]| -> Vec<u32> { results.iter().map(|r| r.to_bits()).collect() };
        let len = logits.len();
        let mut expected = vec![0.0; len];
        let mut memory = vec![f32::MAX; len + 1];
        for start in 0..2 {
            let results = &mut memory[start..][..len];
            softmax.rows(logits, columns, &mut expected).unwrap();
            dispatch(
                backend,
                MaskedRows::<false> {
                    softmax,
                    logits,
                    results,
                    columns,
                },
            );
            assert_eq!(bits(results), bits(&expected), "{softmax:?}, {columns}");
            softmax.log_rows(logits, columns, &mut expected).unwrap();
            dispatch(
                backend,
                MaskedRows::<true> {
                    softmax,
                    logits,
                    results,
                    columns,
                },
            );
            assert_eq!(
                bits(results),
                bits(&expected),
                "log, {softmax:?}, {columns}"
            );
        }
    }

    /// Masked rows have the bits that they have in a small matrix, and all results are written.
    #[test]
    fn staged_masked_rows_are_masked_rows() {
        let window = Mask::Window {
            before: 3,
            after: 1,
        };
        for backend in Backend::available() {
            let plain = Softmax::new().backend(backend).unwrap();
            for columns in [1, 2, 5, 16, 17, 40, 64, 100, 257, 1030, 1500] {
                let logits = matrix(columns);
                let len = logits.len();
                for mask in [
                    Mask::Causal { offset: 0 },
                    Mask::Causal { offset: -3 },
                    Mask::Causal {
                        offset: columns as isize - 4,
                    },
                    window,
                    Mask::Length(columns / 2),
                    Mask::Length(0),
                ] {
                    let bias: Vec<f32> = (0..len).map(|i| -((i % 5) as f32)).collect();
                    let masked = plain.mask(mask);
                    let with_options = masked
                        .scale(0.37)
                        .mask(Mask::Additive(&bias))
                        .sink(1.0)
                        .fully_masked(FullyMasked::Zero);
                    for softmax in [masked, masked.scale(2.5), with_options] {
                        if columns <= LONGEST_STAGED || !softmax.driver.options.changes_logits() {
                            check(backend, softmax, &logits, columns);
                        }
                    }
                }
            }
        }
    }
}

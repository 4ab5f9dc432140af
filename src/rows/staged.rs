//! Rows of a matrix beyond the caches, one by one. Their results are written past the caches
//! ([`Writer`]). The numerators of a softmax are kept on the stack meanwhile; those of longer rows are
//! computed again. Masked columns are not read.

use super::batch::Batch;
use super::normalize::Recompute;
use super::quotients::{Quotients, UnusualRow};
use super::schedule::{FAR_AHEAD, STAGED_AHEAD};
use super::state::RowShift;
use super::writer::Writer;
use crate::math::epilogue::{Constant, Epilogue};
use crate::math::reduce::first_lane;
use crate::options::{RowOptions, Sink};
use crate::simd::{Simd, WithSimd};
use crate::source::{LINE, OutOfPlace, Source, Unwritten};

/// The softmax of each row of a matrix, or the log-softmax if `LOG`. The numerators of up to `LONGEST`
/// columns are kept.
#[cfg_attr(not(unoptimized), inline(always))]
pub(super) fn rows<const LOG: bool, const LONGEST: usize, S: Simd, L: Source>(
    simd: S,
    logits: L,
    results: &mut [f32],
    columns: usize,
    sink: Sink,
) {
    let mut numerators = [0.0; LONGEST];
    let mut writer = Writer::new(results);
    let mut unread = logits;
    while let Ok((row, others)) = unread.split_at(columns) {
        let row = StagedRow::<LOG, true, _, _> {
            row,
            numerators: &mut numerators,
            writer: &mut writer,
            sink,
            ahead: if LOG { FAR_AHEAD } else { STAGED_AHEAD },
            beside: Nothing,
        };
        row.run(simd);
        unread = others;
    }
    writer.finish(simd);
}

/// As [`rows`], of the columns that are visible; and the results of the masked ones. The first row is
/// number `first`.
#[cfg_attr(not(unoptimized), inline(always))]
pub(super) fn masked_rows<const LOG: bool, const LONGEST: usize, S: Simd, L: Source>(
    simd: S,
    logits: L,
    results: &mut [f32],
    columns: usize,
    options: &RowOptions<'_>,
    first: usize,
    sink: Sink,
) {
    let mut numerators = [0.0; LONGEST];
    let mut writer = Writer::new(results);
    let mut unread = logits;
    // In whole rows: they see about the same columns.
    let ahead = (STAGED_AHEAD / columns.max(1)).max(1) * columns;
    let mut visible = options.visible_from(first);
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
            continue;
        }
        // What is prefetched on the way are whole blocks, not what is left of one.
        let last = row.len() - row.len() % (4 * LINE);
        for line in 0..4 {
            row.prefetch(simd, ahead + last + line * LINE);
        }
        let row = StagedRow::<LOG, true, _, _> {
            row,
            numerators: &mut numerators,
            writer: &mut writer,
            sink,
            ahead,
            beside: masked,
        };
        row.run(simd);
    }
    writer.finish(simd);
}

/// The first `count` and the others.
#[cfg_attr(not(unoptimized), inline(always))]
fn cut<L: Source>(row: L, count: usize) -> (L, L) {
    row.split_at(count).unwrap_or((row, L::empty()))
}

/// What is written beside the results of a row.
trait Beside: Copy {
    /// Writes the results of a row, by an epilogue, with what is beside them.
    fn write_row<S: Simd>(
        self,
        simd: S,
        writer: &mut Writer<'_>,
        row: impl Source,
        epilogue: impl Epilogue<S::Vector>,
    );
}

/// No column is masked.
#[derive(Clone, Copy)]
struct Nothing;

impl Beside for Nothing {
    #[cfg_attr(not(unoptimized), inline(always))]
    fn write_row<S: Simd>(
        self,
        simd: S,
        writer: &mut Writer<'_>,
        row: impl Source,
        epilogue: impl Epilogue<S::Vector>,
    ) {
        writer.write(simd, row, epilogue);
    }
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

/// A row. The numerators of a softmax are stored if `KEEPS`; else they are computed again.
struct StagedRow<'a, 'b, const LOG: bool, const KEEPS: bool, L, B> {
    row: L,
    /// Places for numerators.
    numerators: &'a mut [f32],
    writer: &'a mut Writer<'b>,
    sink: Sink,
    ahead: usize,
    beside: B,
}

impl<'a, 'b, const LOG: bool, L: Source, B: Beside> StagedRow<'a, 'b, LOG, true, L, B> {
    #[cfg_attr(not(unoptimized), inline(always))]
    fn run<S: Simd>(self, simd: S) {
        let StagedRow {
            row,
            numerators,
            writer,
            sink,
            ahead,
            beside,
        } = self;
        match numerators.get_mut(..row.len()) {
            Some(numerators) if !LOG => simd.run(StagedRow::<LOG, true, L, B> {
                row,
                numerators,
                writer,
                sink,
                ahead,
                beside,
            }),
            _ => simd.run(StagedRow::<LOG, false, L, B> {
                row,
                numerators: &mut [],
                writer,
                sink,
                ahead,
                beside,
            }),
        }
    }
}

impl<const LOG: bool, const KEEPS: bool, L: Source, B: Beside> WithSimd
    for StagedRow<'_, '_, LOG, KEEPS, L, B>
{
    type Output = ();

    #[cfg_attr(not(unoptimized), inline(always))]
    fn with_simd<S: Simd>(self, simd: S) {
        let StagedRow {
            row,
            numerators,
            writer,
            sink,
            ahead,
            beside,
        } = self;
        let batch = Batch::of_row(simd, row.len(), sink, ahead, false);
        if LOG {
            let state = batch
                .without_sink()
                .state::<true, _>(&mut Unwritten(row))
                .states;
            let other_terms = batch.other_terms::<true, false, _>(row, &state);
            match batch
                .log_denominators(&state, other_terms)
                .rows()
                .row(simd, 0)
            {
                Ok(log_probability) => beside.write_row(simd, writer, row, log_probability),
                Err(constant) => beside.write_row(simd, writer, row, constant),
            }
            return;
        }
        let mut stored = OutOfPlace {
            logits: row,
            results: numerators,
        };
        let states = if KEEPS {
            batch.state::<false, _>(&mut stored).states
        } else {
            batch.state::<false, _>(&mut Unwritten(row)).states
        };
        let mut write = Probabilities::<KEEPS, _, _> {
            writer,
            beside,
            row,
            numerators: &*stored.results,
            shift: RowShift::of_first(&states.shifts.shift),
        };
        let quotients = Quotients::of(simd, &states, sink);
        if quotients.are_usual {
            return write.by(simd, quotients.quotient);
        }
        match quotients.unusual_row(simd, 0) {
            UnusualRow::Probability(probability) => write.by(simd, probability),
            UnusualRow::ExactMax(exact_max) => write.by(simd, exact_max),
            UnusualRow::Constant(constant) => write.by(simd, constant),
        }
    }
}

/// What the results of a softmax are written from: the numerators if these are kept, else the logits.
struct Probabilities<'a, 'b, const KEEPS: bool, L, B> {
    writer: &'a mut Writer<'b>,
    beside: B,
    row: L,
    numerators: &'a [f32],
    shift: RowShift,
}

impl<const KEEPS: bool, L: Source, B: Beside> Probabilities<'_, '_, KEEPS, L, B> {
    #[cfg_attr(not(unoptimized), inline(always))]
    fn by<S: Simd>(&mut self, simd: S, epilogue: impl Epilogue<S::Vector>) {
        if KEEPS {
            self.beside
                .write_row(simd, self.writer, self.numerators, epilogue);
        } else {
            let epilogue = Recompute::new(simd, self.shift.lanes(simd), epilogue);
            self.beside.write_row(simd, self.writer, self.row, epilogue);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{masked_rows, rows};
    use crate::backend::Backend;
    use crate::dispatch::dispatch;
    use crate::options::Sink;
    use crate::rows::schedule::LONGEST_STAGED;
    use crate::simd::{Simd, WithSimd};
    use crate::{Mask, Softmax};
    use std::{vec, vec::Vec};

    struct Rows<'a, const LOG: bool> {
        logits: &'a [f32],
        results: &'a mut [f32],
        columns: usize,
    }

    impl<const LOG: bool> WithSimd for Rows<'_, LOG> {
        type Output = ();

        fn with_simd<S: Simd>(self, simd: S) {
            let Rows {
                logits,
                results,
                columns,
            } = self;
            simd.vectorize(
                #[inline(always)]
                |simd| {
                    rows::<LOG, LONGEST_STAGED, S, _>(simd, logits, results, columns, Sink::NONE)
                },
            );
        }
    }

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

    /// Rows of every kind: usual, out of the usual range, with equal logits, masked, not finite.
    fn matrix(columns: usize) -> Vec<f32> {
        let mut state = columns as u32;
        let mut logit = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 20) as f32 - 8.0
        };
        let mut logits: Vec<f32> = (0..8 * columns).map(|_| logit()).collect();
        let rows: Vec<&mut [f32]> = logits.chunks_exact_mut(columns).collect();
        for (index, row) in rows.into_iter().enumerate() {
            match index {
                1 => row.iter_mut().for_each(|logit| *logit *= 1e4),
                2 => row.fill(3.0),
                3 => row.fill(f32::NEG_INFINITY),
                4 => row[columns / 2] = f32::NAN,
                5 => row[columns - 1] = f32::INFINITY,
                6 => row[0] = f32::NEG_INFINITY,
                _ => {}
            }
        }
        logits
    }

    /// The bits of rows one by one, at every alignment, and nothing written beside them.
    #[test]
    fn staged_rows_are_rows() {
        const UNTOUCHED: f32 = 1.5;
        const BESIDE: usize = 32;
        let bits = |results: &[f32]| -> Vec<u32> { results.iter().map(|r| r.to_bits()).collect() };
        for backend in Backend::available() {
            let softmax = Softmax::new().backend(backend).unwrap();
            for columns in [
                1,
                5,
                15,
                16,
                17,
                31,
                33,
                100,
                257,
                1000,
                LONGEST_STAGED,
                1500,
            ] {
                let logits = matrix(columns);
                let len = logits.len();
                let (mut probabilities, mut logarithms) = (logits.clone(), logits.clone());
                for row in probabilities.chunks_exact_mut(columns) {
                    softmax.row_in_place(row).unwrap();
                }
                for row in logarithms.chunks_exact_mut(columns) {
                    softmax.log_row_in_place(row).unwrap();
                }
                for start in 0..16 {
                    let check = |expected: &[f32], is_log: bool| {
                        let mut memory = vec![UNTOUCHED; BESIDE + len + BESIDE];
                        let results = &mut memory[start..][..len];
                        if is_log {
                            let logits = &logits;
                            dispatch(
                                backend,
                                Rows::<true> {
                                    logits,
                                    results,
                                    columns,
                                },
                            );
                        } else {
                            let logits = &logits;
                            dispatch(
                                backend,
                                Rows::<false> {
                                    logits,
                                    results,
                                    columns,
                                },
                            );
                        }
                        let context = (backend, columns, start, is_log);
                        assert_eq!(bits(results), bits(expected), "{context:?}");
                        let (before, others) = memory.split_at(start);
                        let beside = before.iter().chain(&others[len..]);
                        assert!(beside.into_iter().all(|x| *x == UNTOUCHED), "{context:?}");
                    };
                    if columns <= LONGEST_STAGED {
                        check(&probabilities, false);
                    }
                    check(&logarithms, true);
                }
            }
        }
    }

    /// Masked rows have the bits that they have in a small matrix, and all results are written.
    #[test]
    fn staged_masked_rows_are_masked_rows() {
        let bits = |results: &[f32]| -> Vec<u32> { results.iter().map(|r| r.to_bits()).collect() };
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
                    let softmax = plain.mask(mask);
                    let mut expected = vec![0.0; len];
                    let mut memory = vec![f32::MAX; len + 1];
                    for start in 0..2 {
                        let results = &mut memory[start..][..len];
                        softmax.rows(&logits, columns, &mut expected).unwrap();
                        dispatch(
                            backend,
                            MaskedRows::<false> {
                                softmax,
                                logits: &logits,
                                results,
                                columns,
                            },
                        );
                        let context = (backend, columns, mask, start);
                        assert_eq!(bits(results), bits(&expected), "{context:?}");
                        softmax.log_rows(&logits, columns, &mut expected).unwrap();
                        dispatch(
                            backend,
                            MaskedRows::<true> {
                                softmax,
                                logits: &logits,
                                results,
                                columns,
                            },
                        );
                        assert_eq!(bits(results), bits(&expected), "log, {context:?}");
                    }
                }
            }
        }
    }
}

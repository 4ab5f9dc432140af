//! Rows of a matrix beyond the caches, one by one. Their results are written past the caches
//! ([`Writer`]). The numerators of a softmax are kept on the stack meanwhile; those of longer rows are
//! computed again.

use super::batch::Batch;
use super::normalize::Recompute;
use super::quotients::{Quotients, UnusualRow};
use super::schedule::{FAR_AHEAD, STAGED_AHEAD};
use super::state::RowShift;
use super::writer::Writer;
use crate::math::epilogue::Epilogue;
use crate::options::Sink;
use crate::simd::{Simd, WithSimd};
use crate::source::{OutOfPlace, Source, SrcDst, Unwritten};

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
    let ahead = if LOG { FAR_AHEAD } else { STAGED_AHEAD };
    let mut unread = logits;
    while let Ok((row, others)) = unread.split_at(columns) {
        write_row::<LOG, S, L>(
            simd,
            row,
            &mut numerators,
            &mut writer,
            sink,
            ahead,
            Nothing,
        );
        unread = others;
    }
    writer.finish(simd);
}

/// One row. Numerators are kept in `places`, if there are enough.
#[cfg_attr(not(unoptimized), inline(always))]
pub(super) fn write_row<const LOG: bool, S: Simd, L: Source>(
    simd: S,
    row: L,
    places: &mut [f32],
    writer: &mut Writer<'_>,
    sink: Sink,
    ahead: usize,
    beside: impl Beside,
) {
    match places.get_mut(..row.len()) {
        Some(places) if !LOG => simd.run(StagedRow::<LOG, _, _> {
            row: OutOfPlace {
                logits: row,
                results: places,
            },
            writer,
            sink,
            ahead,
            beside,
        }),
        _ => simd.run(StagedRow::<LOG, _, _> {
            row: Unwritten(row),
            writer,
            sink,
            ahead,
            beside,
        }),
    }
}

/// What is written beside the results of a row.
pub(super) trait Beside: Copy {
    /// Writes the results of a row, by an epilogue, with what is beside them.
    fn write_row<S: Simd>(
        self,
        simd: S,
        writer: &mut Writer<'_>,
        row: impl Source,
        epilogue: impl Epilogue<S::Vector>,
    );
}

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

/// A row, with places for the numerators of a softmax if it has scratch. If it has none, they are
/// computed again. A log-softmax needs none.
pub(super) struct StagedRow<'a, 'b, const LOG: bool, R, B> {
    pub(super) row: R,
    pub(super) writer: &'a mut Writer<'b>,
    pub(super) sink: Sink,
    pub(super) ahead: usize,
    pub(super) beside: B,
}

impl<const LOG: bool, R: SrcDst, B: Beside> WithSimd for StagedRow<'_, '_, LOG, R, B> {
    type Output = ();

    #[cfg_attr(not(unoptimized), inline(always))]
    fn with_simd<S: Simd>(self, simd: S) {
        let StagedRow {
            mut row,
            writer,
            sink,
            ahead,
            beside,
        } = self;
        let batch = Batch::of_row(simd, row.len(), sink, ahead, false);
        if LOG {
            let logits = row.logits();
            let state = batch
                .without_sink()
                .state::<true, _>(&mut Unwritten(logits))
                .states;
            let other_terms = batch.other_terms::<true, false, _>(logits, &state);
            match batch
                .log_denominators(&state, other_terms)
                .rows()
                .row(simd, 0)
            {
                Ok(log_probability) => beside.write_row(simd, writer, logits, log_probability),
                Err(constant) => beside.write_row(simd, writer, logits, constant),
            }
            return;
        }
        let states = batch.state::<false, R>(&mut row).states;
        let shift = RowShift::of_first(&states.shifts.shift);
        let quotients = Quotients::of(simd, &states, sink);
        if quotients.are_usual {
            return write_probabilities(simd, writer, beside, &row, shift, quotients.quotient);
        }
        match quotients.unusual_row(simd, 0) {
            UnusualRow::Probability(probability) => {
                write_probabilities(simd, writer, beside, &row, shift, probability);
            }
            UnusualRow::ExactMax(exact_max) => {
                write_probabilities(simd, writer, beside, &row, shift, exact_max);
            }
            UnusualRow::Constant(constant) => {
                beside.write_row(simd, writer, row.numerators(), constant);
            }
        }
    }
}

/// By an epilogue of numerators.
#[cfg_attr(not(unoptimized), inline(always))]
fn write_probabilities<S: Simd, R: SrcDst>(
    simd: S,
    writer: &mut Writer<'_>,
    beside: impl Beside,
    row: &R,
    shift: RowShift,
    epilogue: impl Epilogue<S::Vector>,
) {
    if R::HAS_SCRATCH {
        beside.write_row(simd, writer, row.numerators(), epilogue);
    } else {
        let epilogue = Recompute::new(simd, shift.lanes(simd), epilogue);
        beside.write_row(simd, writer, row.logits(), epilogue);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::rows;
    use crate::Softmax;
    use crate::backend::Backend;
    use crate::dispatch::dispatch;
    use crate::options::Sink;
    use crate::rows::schedule::LONGEST_STAGED;
    use crate::simd::{Simd, WithSimd};
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

    /// Rows of every kind: usual, out of the usual range, with equal logits, masked, not finite.
    pub(in crate::rows) fn matrix(columns: usize) -> Vec<f32> {
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
}

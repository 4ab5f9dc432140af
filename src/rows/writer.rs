//! Writes the results of rows past the caches. A cache line that is written whole is not read from
//! memory first; to read it takes as long as to write it. So results that begin or end within a line
//! wait for their neighbours.

use crate::math::epilogue::Epilogue;
use crate::simd::past_caches::PastCaches;
use crate::simd::{Simd, Unrolled, Vector, unroll};
use crate::source::{LINE, Source, align_offset};
use core::ops::Range;

/// Writes results one after another.
pub(super) struct Writer<'a> {
    results: PastCaches<'a>,
    /// How many results have been written.
    written: usize,
    /// The results that wait, at their places in a cache line, and room for more.
    line: [f32; 2 * LINE],
    waiting: Range<usize>,
}

impl<'a> Writer<'a> {
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn new(results: &'a mut [f32]) -> Self {
        let first = (LINE - align_offset(results).min(LINE)) % LINE;
        Writer {
            results: PastCaches::new(results),
            written: 0,
            line: [0.0; 2 * LINE],
            waiting: first..first,
        }
    }

    /// Applies an epilogue to a row. Writes the results, but for the last if they do not fill a
    /// line.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn write<S: Simd, L: Source>(
        &mut self,
        simd: S,
        row: L,
        epilogue: impl Epilogue<S::Vector>,
    ) {
        let mut others = row;
        if self.waiting.end > 0 {
            let count = (LINE - self.waiting.end).min(row.len());
            self.wait(simd, row, count, epilogue);
            if self.waiting.end < LINE {
                return;
            }
            self.write_waiting(simd);
            others = row.split_at(count).unwrap_or((row, L::empty())).1;
        }
        let others = self.write_blocks::<4, S, L>(simd, others, epilogue);
        let others = self.write_blocks::<1, S, L>(simd, others, epilogue);
        self.wait(simd, others, others.len(), epilogue);
    }

    /// Writes the last results.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn finish<S: Simd>(mut self, simd: S) {
        self.write_waiting(simd);
    }

    /// Writes whole registers, which are lines ([`WRITES_PAST_CACHES`](Simd::WRITES_PAST_CACHES)),
    /// `COUNT` at a time. Returns what is left.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn write_blocks<const COUNT: usize, S: Simd, L: Source>(
        &mut self,
        simd: S,
        row: L,
        epilogue: impl Epilogue<S::Vector>,
    ) -> L {
        let mut row = row;
        loop {
            let block = match row.split_at(COUNT * S::Vector::WIDTH) {
                Ok((block, others)) => {
                    row = others;
                    block
                }
                Err(last) => return last,
            };
            let mut loaded = Unrolled::<_, COUNT>::splat(simd.splat(0.0));
            unroll::<COUNT>(
                #[inline(always)]
                |i| loaded.0[i] = block.load(simd, i * S::Vector::WIDTH),
            );
            let results = epilogue.apply_unrolled(loaded);
            unroll::<COUNT>(
                #[inline(always)]
                |i| {
                    self.results
                        .store(self.written + i * S::Vector::WIDTH, results.0[i])
                },
            );
            self.written += COUNT * S::Vector::WIDTH;
        }
    }

    /// Puts the first `count` results, at most a line, beside those that wait.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn wait<S: Simd, L: Source>(
        &mut self,
        simd: S,
        row: L,
        count: usize,
        epilogue: impl Epilogue<S::Vector>,
    ) {
        let places = self.line.get_mut(self.waiting.end..).unwrap_or(&mut []);
        for register in 0..count.div_ceil(S::Vector::WIDTH) {
            let start = register * S::Vector::WIDTH;
            let results = epilogue.apply(row.load(simd, start));
            results.store(places.get_mut(start..).unwrap_or(&mut []));
        }
        self.waiting.end += count;
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn write_waiting<S: Simd>(&mut self, simd: S) {
        let waiting = self.line.get(self.waiting.clone()).unwrap_or(&[]);
        self.results.copy(simd, self.written, waiting);
        self.written += waiting.len();
        self.waiting = 0..0;
    }
}

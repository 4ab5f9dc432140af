//! Logits before their softmax: scale, soft cap, additive mask, keep mask. And rows whose results
//! are known without a softmax.
//!
//! Preprocessed logits are kept in the places of the results, if these are `f32` ([`Preprocess`]).
//! Results of half precision cannot hold them, and a normalizer has no results. In both cases
//! logits are preprocessed at every load ([`Preprocessed`]). The bits are the same.

use crate::math::exp::Exp;
use crate::math::tanh::Tanh;
use crate::options::{Preprocessing, RowOptions};
use crate::simd::{LANES, Lanewise, Simd, Vector, WIDEST, WithSimd};
use crate::source::{Layout, Source, SrcDst};
use core::ops::Range;

use super::normalize::normalize;

/// Writes preprocessed logits to the places of the results.
pub(crate) struct Preprocess<'a, R> {
    pub(crate) row: R,
    pub(crate) preprocessing: Preprocessing<'a>,
}

impl<R: SrcDst> WithSimd for Preprocess<'_, R> {
    type Output = ();

    #[cfg_attr(not(unoptimized), inline(always))]
    fn with_simd<S: Simd>(self, simd: S) {
        let (mut unread, mut start) = (self.row, 0);
        loop {
            // Whole registers apart from the last: their loads and stores do not look for the end.
            match unread.split_at(S::Vector::WIDTH) {
                Ok((register, others)) => {
                    preprocess_register(simd, register, &self.preprocessing, start);
                    (unread, start) = (others, start + S::Vector::WIDTH);
                }
                Err(last) => {
                    return preprocess_register(simd, last, &self.preprocessing, start);
                }
            }
        }
    }
}

/// At most one register of a row, from logit `start` of the preprocessing on.
#[cfg_attr(not(unoptimized), inline(always))]
fn preprocess_register<S: Simd, R: SrcDst>(
    simd: S,
    mut row: R,
    preprocessing: &Preprocessing<'_>,
    start: usize,
) {
    let logits = row.logits().load(simd, 0);
    row.store(0, preprocess(simd, logits, preprocessing, start));
}

/// The same for the visible columns of several rows.
pub(crate) struct PreprocessRows<'a, R> {
    /// From the first visible column of the first row on.
    pub(crate) rows: R,
    /// That of the visible columns.
    pub(crate) layout: Layout,
    pub(crate) options: &'a RowOptions<'a>,
    /// The index of the first row.
    pub(crate) first: usize,
    /// The first visible column.
    pub(crate) start: usize,
}

impl<R: SrcDst> WithSimd for PreprocessRows<'_, R> {
    type Output = ();

    #[cfg_attr(not(unoptimized), inline(always))]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let Layout {
            rows,
            columns,
            stride,
        } = self.layout;
        let mut row = 0;
        while row < rows {
            let index = self.first + row;
            // Rows without gaps whose masks follow one another are one.
            let count = if stride == columns {
                self.options.rows_in_sequence(index).min(rows - row)
            } else {
                1
            };
            Preprocess {
                row: self.rows.slice(row * stride, count * columns),
                preprocessing: self.options.preprocessing_of(index, self.start),
            }
            .with_simd(simd);
            row += count.max(1);
        }
    }
}

/// One register of logits, the first of which is logit `start` of the preprocessing.
#[cfg_attr(not(unoptimized), inline(always))]
fn preprocess<S: Simd>(
    simd: S,
    logits: S::Vector,
    preprocessing: &Preprocessing,
    start: usize,
) -> S::Vector {
    let mut logits = scaled(simd, logits, preprocessing);
    if let Some(cap) = preprocessing.soft_cap {
        let cap = simd.splat(cap);
        logits = Tanh::new(simd).of(logits.divide(cap)) * cap;
    }
    masked(simd, logits, preprocessing, start)
}

#[cfg_attr(not(unoptimized), inline(always))]
fn scaled<S: Simd>(simd: S, logits: S::Vector, preprocessing: &Preprocessing) -> S::Vector {
    match preprocessing.scale {
        Some(scale) => logits * simd.splat(scale),
        None => logits,
    }
}

#[cfg_attr(not(unoptimized), inline(always))]
fn masked<S: Simd>(
    simd: S,
    logits: S::Vector,
    preprocessing: &Preprocessing,
    start: usize,
) -> S::Vector {
    let masked = simd.splat(f32::NEG_INFINITY);
    let mut logits = logits;
    if let Some(additive) = preprocessing.additive {
        let additive = additive.load(simd, start);
        // −∞ masks even +∞ and NaN.
        (logits, _) = (logits + additive).select_eq(additive, masked, masked);
    }
    if let Some(keep) = preprocessing.keep {
        let kept = load_keep(simd, keep.get(start..).unwrap_or(&[]));
        (logits, _) = logits.select_eq(kept, simd.splat(0.0), masked);
    }
    logits
}

/// 1 for each logit that takes part, and 0 for those that are masked.
#[cfg_attr(not(unoptimized), inline(always))]
pub(super) fn unmasked<S: Simd>(simd: S, preprocessing: &Preprocessing, start: usize) -> S::Vector {
    let (zero, one) = (simd.splat(0.0), simd.splat(1.0));
    let logits = masked(simd, one, preprocessing, start);
    one.select_eq(logits, simd.splat(f32::NEG_INFINITY), zero).0
}

/// 1 for true, 0 for false.
#[cfg_attr(not(unoptimized), inline(always))]
fn load_keep<S: Simd>(simd: S, keep: &[bool]) -> S::Vector {
    let mut kept = [0.0; WIDEST];
    match keep.get(..S::Vector::WIDTH) {
        // Of known length: by vectors.
        Some(keep) => {
            for lane in 0..S::Vector::WIDTH {
                kept[lane] = f32::from(u8::from(keep[lane]));
            }
        }
        None => {
            for (kept, keep) in kept.iter_mut().zip(keep) {
                *kept = f32::from(u8::from(*keep));
            }
        }
    }
    simd.load(&kept, 0.0)
}

/// Logits that are preprocessed at every load.
#[derive(Clone, Copy)]
pub(crate) struct Preprocessed<'a, T> {
    pub(crate) logits: T,
    pub(crate) preprocessing: &'a Preprocessing<'a>,
    /// The place of the first logit in the masks.
    pub(crate) start: usize,
}

impl<'a, T> Preprocessed<'a, T> {
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn new(logits: T, preprocessing: &'a Preprocessing<'a>) -> Self {
        Preprocessed {
            logits,
            preprocessing,
            start: 0,
        }
    }

    /// Other logits, from place `start` of these on.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn with<U>(&self, logits: U, start: usize) -> Preprocessed<'a, U> {
        Preprocessed {
            logits,
            preprocessing: self.preprocessing,
            start: self.start + start,
        }
    }
}

impl<L: Source> Preprocessed<'_, L> {
    #[cfg_attr(not(unoptimized), inline(always))]
    fn load_preprocessed<S: Simd>(self, simd: S, start: usize, is_whole: bool) -> S::Vector {
        let logits = self.logits.load(simd, start);
        let preprocessed = preprocess(simd, logits, self.preprocessing, self.start + start);
        if is_whole {
            return preprocessed;
        }
        // Scale and cap may change the −∞ that was loaded past the end.
        let mut lanes = [f32::NEG_INFINITY; LANES];
        preprocessed.store(&mut lanes);
        let count = self.logits.len().saturating_sub(start);
        let lanes = lanes.get(..count).unwrap_or(&[]);
        lanes.load(simd, 0)
    }
}

impl<L: Source> Source for Preprocessed<'_, L> {
    /// The masks are those of one row.
    const HAS_MATRICES: bool = false;

    #[cfg_attr(not(unoptimized), inline(always))]
    fn len(self) -> usize {
        self.logits.len()
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn split_at(self, count: usize) -> Result<(Self, Self), Self> {
        match self.logits.split_at(count) {
            Ok((first, others)) => Ok((self.with(first, 0), self.with(others, count))),
            Err(_) => Err(self),
        }
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn empty() -> Self {
        Preprocessed::new(L::empty(), &Preprocessing::NONE)
    }

    /// Past the end −∞.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn load<S: Simd>(self, simd: S, start: usize) -> S::Vector {
        let is_whole = self.logits.len() >= start + S::Vector::WIDTH;
        if is_whole && self.preprocessing.soft_cap.is_none() {
            let logits = scaled(simd, self.logits.load(simd, start), self.preprocessing);
            return masked(simd, logits, self.preprocessing, self.start + start);
        }
        // A function of its own. Inlined at each load, it would be a fifth of the crate's code.
        simd.vectorize(
            #[inline(always)]
            move |simd| self.load_preprocessed(simd, start, is_whole),
        )
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn prefetch<S: Simd>(self, simd: S, distance: usize) {
        self.logits.prefetch(simd, distance);
    }
}

impl<R: SrcDst> SrcDst for Preprocessed<'_, R> {
    /// The logits are loaded again by the last pass.
    const HAS_SCRATCH: bool = false;

    #[cfg_attr(not(unoptimized), inline(always))]
    fn len(&self) -> usize {
        self.logits.len()
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn split_at(self, count: usize) -> Result<(Self, Self), Self> {
        let Preprocessed {
            logits,
            preprocessing,
            start,
        } = self;
        let part = |logits, start| Preprocessed {
            logits,
            preprocessing,
            start,
        };
        match logits.split_at(count) {
            Ok((first, others)) => Ok((part(first, start), part(others, start + count))),
            Err(logits) => Err(part(logits, start)),
        }
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn logits(&self) -> impl Source {
        self.with(self.logits.logits(), 0)
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn store<V: Vector>(&mut self, start: usize, results: V) {
        self.logits.store(start, results);
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn prefetch<S: Simd>(&self, simd: S, distance: usize) {
        self.logits.prefetch(simd, distance);
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn align_offset(&self) -> usize {
        self.logits.align_offset()
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn slice(&mut self, start: usize, len: usize) -> impl SrcDst {
        Preprocessed {
            logits: self.logits.slice(start, len),
            preprocessing: self.preprocessing,
            start: self.start + start,
        }
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn numerators(&self) -> impl Source {
        self.logits()
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn last_pass(self) -> impl SrcDst {
        Preprocessed {
            logits: self.logits.last_pass(),
            preprocessing: self.preprocessing,
            start: self.start,
        }
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn results(self) -> impl SrcDst {
        self.logits.results()
    }

    /// None: only rows one by one are preprocessed at every load, and these ask for no scratch.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn with_scratch(&mut self, _: usize) -> Option<impl SrcDst> {
        None::<Self>
    }
}

/// Writes `value` to all results.
pub(crate) struct Fill<R> {
    pub(crate) row: R,
    pub(crate) value: f32,
}

impl<R: SrcDst> WithSimd for Fill<R> {
    type Output = ();

    #[cfg_attr(not(unoptimized), inline(always))]
    fn with_simd<S: Simd>(self, simd: S) {
        fill(self.row, simd.splat(self.value));
    }
}

#[cfg_attr(not(unoptimized), inline(always))]
fn fill<R: SrcDst, V: Vector>(row: R, value: V) {
    let mut unwritten = row;
    loop {
        match unwritten.split_at(V::WIDTH) {
            Ok((mut register, others)) => {
                register.store(0, value);
                unwritten = others;
            }
            Err(mut last) => return last.store(0, value),
        }
    }
}

/// Writes `value` to the masked columns of rows. The visible ones have their results. A row whose
/// first visible result is NaN has no softmax and gets NaN.
pub(crate) struct FillBeside<R> {
    pub(crate) rows: R,
    pub(crate) layout: Layout,
    pub(crate) visible: Range<usize>,
    pub(crate) value: f32,
}

impl<R: SrcDst> WithSimd for FillBeside<R> {
    type Output = ();

    #[cfg_attr(not(unoptimized), inline(always))]
    fn with_simd<S: Simd>(self, simd: S) {
        let Range { start, end } = self.visible;
        let Layout {
            rows,
            columns,
            stride,
        } = self.layout;
        let mut results = self.rows.results();
        let mut first = 0;
        while first < rows {
            let count = WIDEST.min(rows - first);
            let visible = |row| ((first + row) * stride, start..end);
            fill_beside(simd, &mut results, columns, count, visible, self.value);
            first += count;
        }
    }
}

/// [`FillBeside`] of at most [`WIDEST`] rows of results. `place` says where a row begins, and which
/// of its columns are visible.
#[cfg_attr(not(unoptimized), inline(always))]
pub(super) fn fill_beside<S: Simd, R: SrcDst>(
    simd: S,
    results: &mut R,
    columns: usize,
    rows: usize,
    place: impl Fn(usize) -> (usize, Range<usize>),
    value: f32,
) {
    // All results are read before the first store.
    let mut values = [value; WIDEST];
    for (row, value) in values.iter_mut().take(rows).enumerate() {
        let (start, visible) = place(row);
        if !visible.is_empty() && results.logits().at(simd, start + visible.start).is_nan() {
            *value = f32::NAN;
        }
    }
    for (row, value) in values.into_iter().take(rows).enumerate() {
        let (start, visible) = place(row);
        let value = simd.splat(value);
        fill(results.slice(start, visible.start), value);
        let after = columns.saturating_sub(visible.end);
        fill(results.slice(start + visible.end, after), value);
    }
}

/// Writes `value` to the masked rows of a slab, those from offset `start` on. The rows above have
/// their results. A column whose first result is NaN has no softmax and gets NaN.
pub(crate) struct FillBelow<R> {
    pub(crate) results: R,
    pub(crate) start: usize,
    pub(crate) inner: usize,
    pub(crate) value: f32,
}

impl<R: SrcDst> WithSimd for FillBelow<R> {
    type Output = ();

    #[cfg_attr(not(unoptimized), inline(always))]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let (value, zero) = (simd.splat(self.value), simd.splat(0.0));
        let mut row = self.start;
        while row < self.results.len() {
            for register in 0..self.inner.div_ceil(S::Vector::WIDTH) {
                let start = register * S::Vector::WIDTH;
                let width = S::Vector::WIDTH.min(self.inner - start);
                let first = self.results.logits().load(simd, start);
                // 0 for a number, NaN for NaN. The maximum keeps −∞ from becoming NaN.
                let nan = first.max_keep_nan(zero) * zero;
                self.results.slice(row + start, width).store(0, value + nan);
            }
            row += self.inner;
        }
    }
}

/// e^x of each argument.
pub(crate) struct Exponential<R>(pub(crate) R);

impl<R: SrcDst> WithSimd for Exponential<R> {
    type Output = ();

    #[cfg_attr(not(unoptimized), inline(always))]
    fn with_simd<S: Simd>(self, simd: S) {
        normalize(simd, self.0, &Exp::new(simd));
    }
}

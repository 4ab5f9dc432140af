//! What is read and where results go: out of place or in place, `f32` or half precision.
//!
//! An algorithm sees two things. A [`Source`] loads logits by the register. A [`SrcDst`] is a
//! source with places for as many results, which may be the places of the logits themselves. Both
//! are split and sliced like slices, so no algorithm computes an address.
//!
//! # Scratch
//!
//! Between two passes the numerators of a row are kept in the places of its results, if they are
//! `f32` ([`SrcDst::HAS_SCRATCH`]). Results of half precision have no room for them. Their
//! numerators are kept where later rows of the matrix get their results
//! ([`SrcDst::with_scratch`]), or are computed again by the last pass.

use crate::simd::{LANES, Simd, Square, Vector, places_of};

#[cfg(feature = "half")]
mod scratch;

/// Logits in a cache line.
pub(crate) const LINE: usize = 16;

/// Where the rows of a matrix lie: row i begins i · `stride` values after the first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    /// At least `columns`.
    pub(crate) stride: usize,
}

impl Layout {
    pub(crate) fn of_row(columns: usize) -> Self {
        Layout {
            rows: 1,
            columns,
            stride: columns,
        }
    }

    /// The values from the first of the first row to the last of the last.
    pub(crate) fn values(self) -> usize {
        match self.rows.checked_sub(1) {
            Some(steps) => steps.saturating_mul(self.stride) + self.columns,
            None => 0,
        }
    }

    /// The logits of all rows.
    pub(crate) fn logits(self) -> usize {
        self.rows.saturating_mul(self.columns)
    }

    /// How many rows begin in so many values.
    pub(crate) fn rows_in(self, values: usize) -> usize {
        match values.checked_rem(self.stride) {
            Some(0) => values / self.stride,
            Some(_) => values / self.stride + 1,
            None => 0,
        }
    }
}

/// Logits to be read. A source does whatever is done to a logit as it is loaded.
pub(crate) trait Source: Copy + Send + Sync {
    /// Whether several rows may be given at once.
    const HAS_MATRICES: bool = true;

    fn len(self) -> usize;

    /// The first `count` and the others, or `Err(self)` if there are fewer.
    fn split_at(self, count: usize) -> Result<(Self, Self), Self>;

    /// The first [`LANES`], or all if there are fewer, and the others.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn split_group(self) -> (Self, Self) {
        self.split_at(LANES)
            .unwrap_or_else(|all| (all, Self::empty()))
    }

    fn empty() -> Self;

    /// `len` logits from `start`, if there are so many.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn slice(self, start: usize, len: usize) -> Option<Self> {
        let (_, from_start) = self.split_at(start).ok()?;
        let (slice, _) = from_start.split_at(len).ok()?;
        Some(slice)
    }

    /// A register of logits from `start`, and −∞ past the end.
    fn load<S: Simd>(self, simd: S, start: usize) -> S::Vector;

    /// Registers of logits as by [`load`](Self::load): register i from `start` + i · `stride` on.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn load_square<S: Simd>(self, simd: S, start: usize, stride: usize) -> Square<S> {
        let mut square = simd.splat(f32::NEG_INFINITY).square();
        for (row, register) in square.as_mut().iter_mut().enumerate() {
            *register = self.load(simd, start + row * stride);
        }
        square
    }

    /// One logit, and −∞ past the end.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn at<S: Simd>(self, simd: S, index: usize) -> f32 {
        let mut logit = [f32::NEG_INFINITY];
        self.load(simd, index).store(&mut logit);
        logit[0]
    }

    /// Prefetches the logit that is `distance` beyond the first.
    fn prefetch<S: Simd>(self, simd: S, distance: usize);
}

/// A type that logits and results are stored as: `f32`, and with the feature `half` `bf16` and
/// `f16`.
pub(crate) trait Element: Copy + Send + Sync {
    /// Whether a result's place can hold a numerator, which is an `f32`.
    const HOLDS_NUMERATOR: bool;

    /// What the last pass over results of this type reads: the numerators in their places, or the
    /// logits again.
    type LastPass<'a, L: Source>: SrcDst
    where
        Self: 'a;

    fn last_pass<'a, L: Source>(logits: L, results: &'a mut [Self]) -> Self::LastPass<'a, L>;

    /// The first of `values` in a register, and −∞ past the end.
    fn load<S: Simd>(simd: S, values: &[Self]) -> S::Vector;

    /// Registers as by [`load`](Self::load): register i from value i · `stride` on.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn load_square<S: Simd>(simd: S, values: &[Self], stride: usize) -> Square<S> {
        let mut square = simd.splat(f32::NEG_INFINITY).square();
        for (row, register) in square.as_mut().iter_mut().enumerate() {
            *register = Self::load(simd, values.get(row * stride..).unwrap_or(&[]));
        }
        square
    }

    /// Writes a register to the first of `places`, and nothing past the end.
    fn store<V: Vector>(register: V, places: &mut [Self]);

    /// Writes registers, one after another, as by [`store`](Self::store): the first `count` lanes of
    /// register i, or all if there are fewer, to the places from i · `stride` on.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn store_square<S: Simd>(
        simd: S,
        square: &Square<S>,
        places: &mut [Self],
        stride: usize,
        count: usize,
    ) {
        let _ = simd;
        for (row, register) in square.as_ref().iter().enumerate() {
            Self::store(
                *register,
                places_of(places, row * stride, count, S::Vector::WIDTH),
            );
        }
    }

    fn prefetch<S: Simd>(simd: S, values: &[Self], distance: usize);

    /// The results, if they are `f32`.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn as_floats(results: &mut [Self]) -> Option<&mut [f32]> {
        let _ = results;
        None
    }

    /// The first `columns` results of a matrix with their logits, and scratch for their numerators
    /// in the places of the next two rows.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn with_scratch<'a, L: Source>(
        logits: L,
        results: &'a mut [Self],
        columns: usize,
    ) -> Option<impl SrcDst> {
        let _ = (logits, results, columns);
        None::<InPlace<'a, f32>>
    }
}

impl Element for f32 {
    const HOLDS_NUMERATOR: bool = true;

    type LastPass<'a, L: Source> = InPlace<'a, f32>;

    #[cfg_attr(not(unoptimized), inline(always))]
    fn last_pass<'a, L: Source>(_: L, results: &'a mut [f32]) -> InPlace<'a, f32> {
        InPlace(results)
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn load<S: Simd>(simd: S, values: &[f32]) -> S::Vector {
        simd.load(values, f32::NEG_INFINITY)
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn load_square<S: Simd>(simd: S, values: &[f32], stride: usize) -> Square<S> {
        simd.load_square(values, stride, f32::NEG_INFINITY)
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn store<V: Vector>(register: V, places: &mut [f32]) {
        register.store(places);
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn store_square<S: Simd>(
        simd: S,
        square: &Square<S>,
        places: &mut [f32],
        stride: usize,
        count: usize,
    ) {
        simd.store_square(square, places, stride, count);
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn prefetch<S: Simd>(simd: S, values: &[f32], distance: usize) {
        simd.prefetch(values, distance);
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn as_floats(results: &mut [f32]) -> Option<&mut [f32]> {
        Some(results)
    }
}

impl<E: Element> Source for &[E] {
    #[cfg_attr(not(unoptimized), inline(always))]
    fn len(self) -> usize {
        <[E]>::len(self)
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn split_at(self, count: usize) -> Result<(Self, Self), Self> {
        self.split_at_checked(count).ok_or(self)
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn empty() -> Self {
        &[]
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn load<S: Simd>(self, simd: S, start: usize) -> S::Vector {
        E::load(simd, self.get(start..).unwrap_or(&[]))
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn load_square<S: Simd>(self, simd: S, start: usize, stride: usize) -> Square<S> {
        E::load_square(simd, self.get(start..).unwrap_or(&[]), stride)
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn prefetch<S: Simd>(self, simd: S, distance: usize) {
        E::prefetch(simd, self, distance);
    }
}

/// Logits, and places for as many results.
pub(crate) trait SrcDst: Sized + Send {
    /// Whether the places of the results can hold numerators between two passes.
    const HAS_SCRATCH: bool = true;

    /// Whether logits and results have places of their own.
    #[cfg(feature = "rayon")]
    const KEEPS_LOGITS: bool = false;

    fn len(&self) -> usize;

    /// The first `count` and the others, or `Err(self)` if there are fewer.
    fn split_at(self, count: usize) -> Result<(Self, Self), Self>;

    fn logits(&self) -> impl Source;

    /// Writes a register of results from `start`, and nothing past the end.
    fn store<V: Vector>(&mut self, start: usize, results: V);

    /// Writes registers, one after another, as by [`store`](Self::store): the first `count` lanes of
    /// register i, or all if there are fewer, from `start` + i · `stride` on.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn store_square<S: Simd>(
        &mut self,
        simd: S,
        start: usize,
        stride: usize,
        count: usize,
        square: &Square<S>,
    ) {
        let _ = simd;
        for (row, register) in square.as_ref().iter().enumerate() {
            self.slice(start + row * stride, count).store(0, *register);
        }
    }

    /// Prefetches the logit that is `distance` beyond the first.
    fn prefetch<S: Simd>(&self, simd: S, distance: usize);

    /// How many results come before the first that begins a cache line.
    fn align_offset(&self) -> usize;

    /// The same, borrowed for one pass.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn reborrow(&mut self) -> impl SrcDst {
        self.slice(0, self.len())
    }

    /// `len` logits and places from `start`; none if there are not so many.
    fn slice(&mut self, start: usize, len: usize) -> impl SrcDst;

    /// The numerators that were stored, if there is scratch.
    fn numerators(&self) -> impl Source;

    /// What the last pass reads and writes: the numerators that were stored, or the same logits if
    /// there is no scratch.
    fn last_pass(self) -> impl SrcDst;

    /// The results, to be read and written in place.
    fn results(self) -> impl SrcDst;

    /// Logits and results, if these are `f32` in places of their own.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn out_of_place(&mut self) -> Option<(impl Source, &mut [f32])> {
        None::<(&[f32], &mut [f32])>
    }

    /// The first row of a matrix, with scratch for its numerators in the places of later rows,
    /// whose content is lost. `None` if there are too few rows, or if the row has scratch already.
    fn with_scratch(&mut self, columns: usize) -> Option<impl SrcDst>;
}

/// Results beside their logits. The two have one length.
pub(crate) struct OutOfPlace<'a, L, E> {
    pub(crate) logits: L,
    pub(crate) results: &'a mut [E],
}

impl<L: Source, E: Element> SrcDst for OutOfPlace<'_, L, E> {
    const HAS_SCRATCH: bool = E::HOLDS_NUMERATOR;

    #[cfg(feature = "rayon")]
    const KEEPS_LOGITS: bool = true;

    #[cfg_attr(not(unoptimized), inline(always))]
    fn len(&self) -> usize {
        self.results.len()
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn split_at(self, count: usize) -> Result<(Self, Self), Self> {
        let (Ok((logits, other_logits)), true) =
            (self.logits.split_at(count), count <= self.results.len())
        else {
            return Err(self);
        };
        let (results, other_results) = self.results.split_at_mut(count);
        let others = OutOfPlace {
            logits: other_logits,
            results: other_results,
        };
        Ok((OutOfPlace { logits, results }, others))
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn logits(&self) -> impl Source {
        self.logits
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn store<V: Vector>(&mut self, start: usize, results: V) {
        E::store(results, self.results.get_mut(start..).unwrap_or(&mut []));
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn store_square<S: Simd>(
        &mut self,
        simd: S,
        start: usize,
        stride: usize,
        count: usize,
        square: &Square<S>,
    ) {
        let places = self.results.get_mut(start..).unwrap_or(&mut []);
        E::store_square(simd, square, places, stride, count);
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn prefetch<S: Simd>(&self, simd: S, distance: usize) {
        self.logits.prefetch(simd, distance);
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn align_offset(&self) -> usize {
        align_offset(self.results)
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn slice(&mut self, start: usize, len: usize) -> impl SrcDst {
        let range = start..start.saturating_add(len);
        match (self.logits.slice(start, len), self.results.get_mut(range)) {
            (Some(logits), Some(results)) => OutOfPlace { logits, results },
            _ => OutOfPlace {
                logits: L::empty(),
                results: &mut [],
            },
        }
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn numerators(&self) -> impl Source {
        &*self.results
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn last_pass(self) -> impl SrcDst {
        E::last_pass(self.logits, self.results)
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn results(self) -> impl SrcDst {
        InPlace(self.results)
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn out_of_place(&mut self) -> Option<(impl Source, &mut [f32])> {
        Some((self.logits, E::as_floats(self.results)?))
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn with_scratch(&mut self, columns: usize) -> Option<impl SrcDst> {
        E::with_scratch(self.logits, self.results, columns)
    }
}

/// Results in the places of their logits.
pub(crate) struct InPlace<'a, E>(pub(crate) &'a mut [E]);

impl<E: Element> SrcDst for InPlace<'_, E> {
    const HAS_SCRATCH: bool = E::HOLDS_NUMERATOR;

    #[cfg_attr(not(unoptimized), inline(always))]
    fn len(&self) -> usize {
        self.0.len()
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn split_at(self, count: usize) -> Result<(Self, Self), Self> {
        if count > self.0.len() {
            return Err(self);
        }
        let (first, others) = self.0.split_at_mut(count);
        Ok((InPlace(first), InPlace(others)))
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn logits(&self) -> impl Source {
        &*self.0
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn store<V: Vector>(&mut self, start: usize, results: V) {
        E::store(results, self.0.get_mut(start..).unwrap_or(&mut []));
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn store_square<S: Simd>(
        &mut self,
        simd: S,
        start: usize,
        stride: usize,
        count: usize,
        square: &Square<S>,
    ) {
        let places = self.0.get_mut(start..).unwrap_or(&mut []);
        E::store_square(simd, square, places, stride, count);
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn prefetch<S: Simd>(&self, simd: S, distance: usize) {
        E::prefetch(simd, self.0, distance);
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn align_offset(&self) -> usize {
        align_offset(self.0)
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn slice(&mut self, start: usize, len: usize) -> impl SrcDst {
        let range = start..start.saturating_add(len);
        InPlace(self.0.get_mut(range).unwrap_or(&mut []))
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn numerators(&self) -> impl Source {
        &*self.0
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn last_pass(self) -> impl SrcDst {
        self
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn results(self) -> impl SrcDst {
        self
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn with_scratch(&mut self, _: usize) -> Option<impl SrcDst> {
        None::<InPlace<'_, E>>
    }
}

/// Logits alone. What is written is lost.
pub(crate) struct Unwritten<L>(pub(crate) L);

impl<L: Source> SrcDst for Unwritten<L> {
    const HAS_SCRATCH: bool = false;

    #[cfg(feature = "rayon")]
    const KEEPS_LOGITS: bool = true;

    #[cfg_attr(not(unoptimized), inline(always))]
    fn len(&self) -> usize {
        self.0.len()
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn split_at(self, count: usize) -> Result<(Self, Self), Self> {
        match self.0.split_at(count) {
            Ok((first, others)) => Ok((Unwritten(first), Unwritten(others))),
            Err(all) => Err(Unwritten(all)),
        }
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn logits(&self) -> impl Source {
        self.0
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn store<V: Vector>(&mut self, _: usize, _: V) {}

    #[cfg_attr(not(unoptimized), inline(always))]
    fn prefetch<S: Simd>(&self, simd: S, distance: usize) {
        self.0.prefetch(simd, distance);
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn align_offset(&self) -> usize {
        0
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn slice(&mut self, start: usize, len: usize) -> impl SrcDst {
        Unwritten(self.0.slice(start, len).unwrap_or(L::empty()))
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn numerators(&self) -> impl Source {
        self.0
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn last_pass(self) -> impl SrcDst {
        self
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn results(self) -> impl SrcDst {
        self
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn with_scratch(&mut self, _: usize) -> Option<impl SrcDst> {
        None::<Self>
    }
}

/// How many of `results` come before the first that begins a cache line.
#[cfg_attr(not(unoptimized), inline(always))]
pub(crate) fn align_offset<E>(results: &[E]) -> usize {
    results.as_ptr().align_offset(LINE * size_of::<f32>())
}

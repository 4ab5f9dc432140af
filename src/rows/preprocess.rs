//! Logits before their softmax: scale, soft cap, additive mask, keep mask. And rows whose results
//! are known without a softmax.
//!
//! Preprocessed logits are kept in the places of the results, if these are `f32` ([`Preprocess`]).
//! Results of half precision cannot hold them, and a normalizer has no results. In both cases
//! logits are preprocessed at every load ([`Preprocessed`]). The bits are the same.

use crate::math::exp::Exp;
use crate::math::tanh::Tanh;
use crate::options::Preprocessing;
use crate::simd::{LANES, Lanewise, Simd, Vector, WithSimd};
use crate::source::{Source, SrcDst};

use super::normalize::normalize;

/// Writes preprocessed logits to the places of the results.
pub(crate) struct Preprocess<'a, R> {
    pub(crate) row: R,
    pub(crate) preprocessing: Preprocessing<'a>,
}

impl<R: SrcDst> WithSimd for Preprocess<'_, R> {
    type Output = ();

    #[cfg_attr(not(unoptimized), inline(always))]
    fn with_simd<S: Simd>(mut self, simd: S) {
        for register in 0..self.row.len().div_ceil(S::Vector::WIDTH) {
            let start = register * S::Vector::WIDTH;
            let logits = self.row.logits().load(simd, start);
            let preprocessed = preprocess(simd, logits, self.preprocessing.from(start));
            self.row.store(start, preprocessed);
        }
    }
}

/// One register of logits. The masks begin with the values for its first lane.
#[cfg_attr(not(unoptimized), inline(always))]
fn preprocess<S: Simd>(simd: S, logits: S::Vector, preprocessing: Preprocessing) -> S::Vector {
    let masked = simd.splat(f32::NEG_INFINITY);
    let mut logits = logits;
    if let Some(scale) = preprocessing.scale {
        logits = logits * simd.splat(scale);
    }
    if let Some(cap) = preprocessing.soft_cap {
        let cap = simd.splat(cap);
        logits = Tanh::new(simd).of(logits.divide(cap)) * cap;
    }
    if let Some(additive) = preprocessing.additive {
        let additive = additive.load(simd, 0);
        // −∞ masks even +∞ and NaN.
        (logits, _) = (logits + additive).select_eq(additive, masked, masked);
    }
    if let Some(keep) = preprocessing.keep {
        let mut kept = [0.0; LANES];
        for (kept, keep) in kept.iter_mut().zip(keep).take(S::Vector::WIDTH) {
            *kept = f32::from(u8::from(*keep));
        }
        let kept = (&kept[..]).load(simd, 0);
        (logits, _) = logits.select_eq(kept, simd.splat(0.0), masked);
    }
    logits
}

/// Logits that are preprocessed at every load.
#[derive(Clone, Copy)]
pub(crate) struct Preprocessed<'a, T> {
    pub(crate) logits: T,
    pub(crate) preprocessing: Preprocessing<'a>,
}

impl<L: Source> Source for Preprocessed<'_, L> {
    #[cfg_attr(not(unoptimized), inline(always))]
    fn len(self) -> usize {
        self.logits.len()
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn split_at(self, count: usize) -> Result<(Self, Self), Self> {
        match self.logits.split_at(count) {
            Ok((first, others)) => Ok((
                Preprocessed {
                    logits: first,
                    ..self
                },
                Preprocessed {
                    logits: others,
                    preprocessing: self.preprocessing.from(count),
                },
            )),
            Err(logits) => Err(Preprocessed { logits, ..self }),
        }
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn empty() -> Self {
        Preprocessed {
            logits: L::empty(),
            preprocessing: Preprocessing::default(),
        }
    }

    /// Past the end −∞.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn load<S: Simd>(self, simd: S, start: usize) -> S::Vector {
        let logits = self.logits.load(simd, start);
        let preprocessed = preprocess(simd, logits, self.preprocessing.from(start));
        if self.logits.len() >= start + S::Vector::WIDTH {
            return preprocessed;
        }
        // Scale and cap may change the −∞ that was loaded past the end.
        let mut lanes = [f32::NEG_INFINITY; LANES];
        preprocessed.store(&mut lanes);
        let count = self.logits.len().saturating_sub(start);
        let lanes = lanes.get(..count).unwrap_or(&[]);
        lanes.load(simd, 0)
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
        let preprocessing = self.preprocessing;
        match self.logits.split_at(count) {
            Ok((first, others)) => Ok((
                Preprocessed {
                    logits: first,
                    preprocessing,
                },
                Preprocessed {
                    logits: others,
                    preprocessing: preprocessing.from(count),
                },
            )),
            Err(logits) => Err(Preprocessed {
                logits,
                preprocessing,
            }),
        }
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn logits(&self) -> impl Source {
        Preprocessed {
            logits: self.logits.logits(),
            preprocessing: self.preprocessing,
        }
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
            preprocessing: self.preprocessing.from(start),
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
        }
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn results(self) -> impl SrcDst {
        self.logits.results()
    }

    /// A [`Matrix`](super::matrix::Matrix) is not preprocessed at every load.
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
    fn with_simd<S: Simd>(mut self, simd: S) {
        let value = simd.splat(self.value);
        for register in 0..self.row.len().div_ceil(S::Vector::WIDTH) {
            self.row.store(register * S::Vector::WIDTH, value);
        }
    }
}

/// Fills the results of a slab from offset `start` on. A column whose first result is NaN gets NaN.
/// The slab is read in place.
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

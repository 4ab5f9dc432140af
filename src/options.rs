//! What a softmax can be taken with: scale, soft cap, masks, sink.
//!
//! All that is done to a logit by itself is done in one pass ([`Prepare`]), which leaves the results
//! in the places of the softmax's own; the kernels then run in place and know nothing of it.

use crate::backend::WithSimd;
use crate::error::Error;
use crate::exp::Tanh;
use crate::kernel::{Sink, Source, SrcDst};
use crate::softmax::Softmax;
use crate::vector::{LANES, Lanewise, Simd, Vector};

/// Which logits of a row, or of a matrix row by row, take part, or what is added to them.
///
/// A masked logit counts as −∞, whatever it is: its probability is exactly 0, its log-probability
/// −∞. A `Keep` or `Additive` mask has a value for each logit, or fewer rows than the matrix, whole
/// ones, which then repeat.
///
/// ```
/// use online_softmax::{Mask, Softmax};
///
/// let mut probabilities = [0.0; 4];
/// let first_two = Softmax::new().mask(Mask::Length(2));
/// first_two.row(&[1.0, 1.0, 7.0, f32::NAN], &mut probabilities)?;
/// assert_eq!(probabilities, [0.5, 0.5, 0.0, 0.0]);
/// # Ok::<(), online_softmax::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Mask<'a> {
    /// The logits for which it is `true`.
    Keep(&'a [bool]),
    /// All, after the addition of its values; −∞ masks.
    Additive(&'a [f32]),
    /// The first so many columns. The others are not read.
    Length(usize),
    /// Of row i of a matrix the columns 0 ..= `first` + i. The others are not read.
    Causal {
        /// The last column that the first row sees.
        first: usize,
    },
}

/// What the results of a row are of which every logit is −∞ or masked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum FullyMasked {
    /// NaN: there is no softmax of nothing.
    #[default]
    Nan,
    /// 0 each, and −∞ as logarithms: nothing has no part in anything.
    Zero,
}

/// Logits that are prepared before their softmax is taken: so many stay in the first-level cache.
const PREPARED: usize = 4096;

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Options<'a> {
    scale: Option<f32>,
    soft_cap: Option<f32>,
    additive: Option<&'a [f32]>,
    keep: Option<&'a [bool]>,
    length: Option<usize>,
    causal: Option<usize>,
    sink: Option<f32>,
    fully_masked: FullyMasked,
}

impl<'a> Softmax<'a> {
    /// Multiplies every logit by `scale`, rounding to `f32`: 1/temperature, or 1/√d in attention.
    /// The results are, bit for bit, those of logits that were multiplied before.
    ///
    /// Any `scale` does what the formula says: 0 makes all finite logits equal (and ±∞ to NaN), a
    /// negative one reverses their order (and makes −∞ to +∞), an infinite one makes them ±∞ (and 0
    /// to NaN), NaN makes all NaN.
    ///
    /// ```
    /// let mut probabilities = [0.0; 2];
    /// let hot = online_softmax::Softmax::new().scale(0.5);
    /// hot.row(&[0.0, 2.0], &mut probabilities)?;
    /// assert!((probabilities[1] - 0.7310586).abs() < 1e-6);
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    #[must_use]
    pub fn scale(mut self, scale: f32) -> Self {
        self.options.scale = Some(scale);
        self
    }

    /// Bends every logit z, after the scale, to cap · tanh(z / cap), which is within ±`cap`.
    ///
    /// The quotient and the product are rounded to `f32`, and the tangent is within 3 ULP, on every
    /// backend. Any `cap` does what the formula says: 0, infinite and NaN ones make NaN of some
    /// logits; the sign does not matter.
    ///
    /// (Bello et al., "Neural Combinatorial Optimization with Reinforcement Learning", arXiv
    /// 1611.09940; Gemma 2 made it known in attention.)
    ///
    /// ```
    /// let mut row = [1000.0, -1000.0];
    /// online_softmax::Softmax::new().soft_cap(1.0).row_in_place(&mut row)?;
    /// assert!((row[0] - 0.880797).abs() < 1e-6);
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    #[must_use]
    pub fn soft_cap(mut self, cap: f32) -> Self {
        self.options.soft_cap = Some(cap);
        self
    }

    /// Masks logits, or adds to them, after scale and soft cap. Masks of different kinds hold
    /// together; of one kind the last.
    ///
    /// A mask that does not fit is refused by the call that would have to use it.
    ///
    /// ```
    /// use online_softmax::{Mask, Softmax};
    ///
    /// let mut attention = [0.0; 9];
    /// Softmax::new().mask(Mask::Causal { first: 0 }).rows_in_place(&mut attention, 3)?;
    /// assert_eq!(attention[..6], [1.0, 0.0, 0.0, 0.5, 0.5, 0.0]);
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    #[must_use]
    pub fn mask(mut self, mask: Mask<'a>) -> Self {
        match mask {
            Mask::Keep(keep) => self.options.keep = Some(keep),
            Mask::Additive(additive) => self.options.additive = Some(additive),
            Mask::Length(length) => self.options.length = Some(length),
            Mask::Causal { first } => self.options.causal = Some(first),
        }
        self
    }

    /// One more logit in the denominator of every row, and in nothing else, taken as it is, without
    /// scale and cap: the probabilities of a row sum to less than 1. −∞ is none; +∞ and NaN act as
    /// in a row. The [`Normalizer`](crate::Normalizer) of a row has it in.
    ///
    /// (Xiao et al., "Efficient Streaming Language Models with Attention Sinks", arXiv 2309.17453.)
    ///
    /// ```
    /// let mut row = [0.0];
    /// online_softmax::Softmax::new().sink(0.0).row_in_place(&mut row)?;
    /// assert_eq!(row, [0.5]);
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    #[must_use]
    pub fn sink(mut self, logit: f32) -> Self {
        self.options.sink = Some(logit);
        self
    }

    /// What the results of a fully masked row are; NaN unless this says otherwise. A row with a
    /// finite sink is not fully masked.
    ///
    /// ```
    /// use online_softmax::{FullyMasked, Mask, Softmax};
    ///
    /// let mut row = [1.0, 2.0];
    /// let nothing = Softmax::new().mask(Mask::Length(0)).fully_masked(FullyMasked::Zero);
    /// nothing.row_in_place(&mut row)?;
    /// assert_eq!(row, [0.0; 2]);
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    #[must_use]
    pub fn fully_masked(mut self, results: FullyMasked) -> Self {
        self.options.fully_masked = results;
        self
    }
}

impl<'a> Options<'a> {
    /// Whether each logit is to be taken as it is, and all of them.
    pub(crate) fn leaves_logits(&self) -> bool {
        !self.changes_logits() && !self.has_lengths()
    }

    /// Whether something is done to each logit by itself.
    pub(crate) fn changes_logits(&self) -> bool {
        self.scale.is_some()
            || self.soft_cap.is_some()
            || self.additive.is_some()
            || self.keep.is_some()
    }

    /// Whether rows have lengths of their own.
    pub(crate) fn has_lengths(&self) -> bool {
        self.length.is_some() || self.causal.is_some() || !self.sink_is_logit()
    }

    /// Of +∞ and NaN no weight could be taken.
    fn sink_is_logit(&self) -> bool {
        self.sink.is_none_or(|sink| sink < f32::INFINITY)
    }

    /// Whether there are none.
    pub(crate) fn is_plain(&self) -> bool {
        self.takes_logits_alone() && self.fully_masked == FullyMasked::Nan
    }

    /// Whether the softmax is of the logits as they are, and of nothing else.
    pub(crate) fn takes_logits_alone(&self) -> bool {
        self.leaves_logits() && self.sink.is_none()
    }

    /// How many rows from this one on can be prepared as one.
    pub(crate) fn rows_alike(&self, row: usize, columns: usize) -> usize {
        if self.has_lengths() {
            return 1;
        }
        let lens = [
            self.keep.map(<[bool]>::len),
            self.additive.map(<[f32]>::len),
        ];
        let mut rows = PREPARED.checked_div(columns).unwrap_or(1).max(1);
        for len in lens.into_iter().flatten() {
            let mask_rows = len.checked_div(columns).unwrap_or(1).max(1);
            rows = rows.min(mask_rows - row % mask_rows);
        }
        rows
    }

    pub(crate) fn scale(&self) -> Option<f32> {
        self.scale
    }

    pub(crate) fn is_zero_if_fully_masked(&self) -> bool {
        self.fully_masked == FullyMasked::Zero
    }

    pub(crate) fn sink(&self, is_log: bool) -> Sink {
        Sink {
            logit: self.sink.unwrap_or(f32::NEG_INFINITY),
            fully_masked: match (self.fully_masked, is_log) {
                (FullyMasked::Nan, _) => f32::NAN,
                (FullyMasked::Zero, false) => 0.0,
                (FullyMasked::Zero, true) => f32::NEG_INFINITY,
            },
        }
    }

    /// Refuses masks that do not fit rows of `columns` · `inner` logits.
    pub(crate) fn check(&self, rows: usize, columns: usize, inner: usize) -> Result<(), Error> {
        let logits = columns.saturating_mul(inner);
        let lens = [
            self.keep.map(<[bool]>::len),
            self.additive.map(<[f32]>::len),
        ];
        for given in lens.into_iter().flatten() {
            let is_whole = given.checked_rem(logits).unwrap_or(given) == 0;
            let mask_rows = given.checked_div(logits).unwrap_or(0);
            let fits = is_whole && (1..=rows).contains(&mask_rows);
            if !fits && rows > 0 && logits > 0 {
                return Err(Error::MaskMismatch {
                    rows,
                    columns: logits,
                    given,
                });
            }
        }
        match self.length {
            Some(given) if given > columns => Err(Error::LengthBeyondRow { columns, given }),
            _ => Ok(()),
        }
    }

    /// Refuses all that is done to logits or masks them: `operation` has none.
    pub(crate) fn check_none(&self, operation: &'static str) -> Result<(), Error> {
        let option = if self.scale.is_some() {
            "a scale"
        } else if self.soft_cap.is_some() {
            "a soft cap"
        } else if self.sink.is_some() {
            "a sink"
        } else if self.fully_masked != FullyMasked::Nan {
            "a result for fully masked rows"
        } else if !self.leaves_logits() {
            "a mask"
        } else {
            return Ok(());
        };
        Err(Error::UnsupportedOption { option, operation })
    }

    /// Refuses a soft cap.
    pub(crate) fn check_no_soft_cap(&self, operation: &'static str) -> Result<(), Error> {
        match self.soft_cap {
            None => Ok(()),
            Some(_) => Err(Error::UnsupportedOption {
                option: "a soft cap",
                operation,
            }),
        }
    }

    /// Refuses a causal mask.
    pub(crate) fn check_not_causal(&self, operation: &'static str) -> Result<(), Error> {
        match self.causal {
            None => Ok(()),
            Some(_) => Err(Error::UnsupportedOption {
                option: "a causal mask",
                operation,
            }),
        }
    }

    /// How many columns of a row are seen.
    pub(crate) fn visible(&self, row: usize, columns: usize) -> usize {
        let length = self.length.unwrap_or(columns);
        let causal = self
            .causal
            .map_or(columns, |first| first.saturating_add(row).saturating_add(1));
        columns.min(length).min(causal)
    }

    /// What is done to the logits `start` .. of a row.
    pub(crate) fn preprocessing_of(
        &self,
        row: usize,
        columns: usize,
        start: usize,
    ) -> Preprocessing<'a> {
        Preprocessing {
            scale: self.scale,
            soft_cap: self.soft_cap,
            additive: self.additive.map(|mask| of_row(mask, row, columns, start)),
            keep: self.keep.map(|mask| of_row(mask, row, columns, start)),
        }
    }

    /// A scale and nothing else.
    pub(crate) fn scale_alone(&self) -> Preprocessing<'a> {
        Preprocessing {
            scale: self.scale,
            ..Preprocessing::default()
        }
    }
}

/// The values of a mask, which may have fewer rows, from `start` in a row on.
fn of_row<T>(mask: &[T], row: usize, columns: usize, start: usize) -> &[T] {
    let rows = mask.len().checked_div(columns).unwrap_or(0);
    let row = row.checked_rem(rows).unwrap_or(0);
    mask.get(row * columns + start..).unwrap_or(&[])
}

/// What is done to each of some logits by itself, in this order; the masks begin with theirs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Preprocessing<'a> {
    scale: Option<f32>,
    soft_cap: Option<f32>,
    additive: Option<&'a [f32]>,
    keep: Option<&'a [bool]>,
}

/// Writes the logits that the softmax is to be taken of in the places of the results.
pub(crate) struct Prepare<'a, R> {
    pub(crate) row: R,
    pub(crate) preprocessing: Preprocessing<'a>,
}

impl<R: SrcDst> WithSimd for Prepare<'_, R> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let Preprocessing {
            scale,
            soft_cap,
            additive,
            keep,
        } = self.preprocessing;
        let tanh = Tanh::new(simd);
        let masked = simd.splat(f32::NEG_INFINITY);
        for register in 0..self.row.len().div_ceil(S::Vector::WIDTH) {
            let start = register * S::Vector::WIDTH;
            let mut logits = self.row.logits().load(simd, start);
            if let Some(scale) = scale {
                logits = logits * simd.splat(scale);
            }
            if let Some(cap) = soft_cap {
                let cap = simd.splat(cap);
                logits = tanh.of(logits.divide(cap)) * cap;
            }
            if let Some(additive) = additive {
                let additive = additive.load(simd, start);
                // Whatever the logit is.
                (logits, _) = (logits + additive).select_eq(additive, masked, masked);
            }
            if let Some(keep) = keep {
                let keep = keep.get(start..).unwrap_or(&[]);
                let mut kept = [0.0; LANES];
                for (kept, keep) in kept.iter_mut().zip(keep).take(S::Vector::WIDTH) {
                    *kept = f32::from(u8::from(*keep));
                }
                let kept = (&kept[..]).load(simd, 0);
                (logits, _) = logits.select_eq(kept, simd.splat(0.0), masked);
            }
            self.row.store(start, logits);
        }
    }
}

/// Writes `value` in the places of a slab from `start` on, or NaN below NaN.
pub(crate) struct FillBelow<R> {
    pub(crate) slab: R,
    pub(crate) start: usize,
    pub(crate) inner: usize,
    pub(crate) value: f32,
}

impl<R: SrcDst> WithSimd for FillBelow<R> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let value = simd.splat(self.value);
        let mut row = self.start;
        while row < self.slab.len() {
            for register in 0..self.inner.div_ceil(S::Vector::WIDTH) {
                let start = register * S::Vector::WIDTH;
                let width = S::Vector::WIDTH.min(self.inner - start);
                let above = self.slab.logits().load(simd, start);
                // Of a number this is zero, of NaN NaN; −∞ is not to become one.
                let nan = above.max_keep_nan(simd.splat(0.0)) * simd.splat(0.0);
                self.slab.part(row + start, width).store(0, value + nan);
            }
            row += self.inner;
        }
    }
}

/// Writes `value` in the place of each result.
pub(crate) struct Fill<R> {
    pub(crate) row: R,
    pub(crate) value: f32,
}

impl<R: SrcDst> WithSimd for Fill<R> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        for register in 0..self.row.len().div_ceil(S::Vector::WIDTH) {
            self.row
                .store(register * S::Vector::WIDTH, simd.splat(self.value));
        }
    }
}

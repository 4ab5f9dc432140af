//! The options of a softmax, and what they require of a row.

use crate::mask::{FullyMasked, Mask};
use crate::normalizer::{Normalizer, Outcome};

/// The options of a softmax.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Options<'a> {
    /// Whether any of them was set.
    pub(crate) are_given: bool,
    pub(crate) scale: Option<f32>,
    pub(crate) soft_cap: Option<f32>,
    pub(crate) additive: Option<&'a [f32]>,
    pub(crate) keep: Option<&'a [bool]>,
    pub(crate) length: Option<usize>,
    /// The last column that the first row sees.
    pub(crate) causal: Option<usize>,
    pub(crate) sink: Option<f32>,
    pub(crate) fully_masked: FullyMasked,
}

impl<'a> Options<'a> {
    pub(crate) fn set_mask(&mut self, mask: Mask<'a>) {
        match mask {
            Mask::Keep(keep) => self.keep = Some(keep),
            Mask::Additive(additive) => self.additive = Some(additive),
            Mask::Length(length) => self.length = Some(length),
            Mask::Causal { first } => self.causal = Some(first),
        }
    }

    /// Whether every logit takes part in the softmax, as it is given.
    pub(crate) fn allows_whole_matrices(&self) -> bool {
        !self.are_given || !self.changes_logits() && !self.needs_single_rows()
    }

    /// Whether some logits are preprocessed.
    pub(crate) fn changes_logits(&self) -> bool {
        self.scale.is_some()
            || self.soft_cap.is_some()
            || self.additive.is_some()
            || self.keep.is_some()
    }

    /// Whether each row is done by itself: it has a length or a causal mask, or the sink is +∞ or
    /// NaN.
    pub(crate) fn needs_single_rows(&self) -> bool {
        self.length.is_some() || self.causal.is_some() || !self.sink(false).allows_softmax()
    }

    /// Whether the denominator is that of the given logits and of nothing else.
    pub(crate) fn has_plain_denominator(&self) -> bool {
        !self.are_given || self.allows_whole_matrices() && self.sink.is_none()
    }

    /// How many columns of a row take part: those that a length and a causal mask leave.
    pub(crate) fn visible(&self, row: usize, columns: usize) -> usize {
        let length = self.length.unwrap_or(columns);
        let causal = self
            .causal
            .map_or(columns, |first| first.saturating_add(row).saturating_add(1));
        columns.min(length).min(causal)
    }

    /// The numbers of values of the masks that have values.
    pub(crate) fn mask_lens(&self) -> impl Iterator<Item = usize> {
        let lens = [
            self.keep.map(<[bool]>::len),
            self.additive.map(<[f32]>::len),
        ];
        lens.into_iter().flatten()
    }

    /// How many rows from this one on have masks that follow one another without a wrap, so that
    /// they can be preprocessed as one row of about `values` logits.
    pub(crate) fn rows_before_wrap(&self, row: usize, columns: usize, values: usize) -> usize {
        let mut rows = values.checked_div(columns).unwrap_or(1).max(1);
        for len in self.mask_lens() {
            let mask_rows = len.checked_div(columns).unwrap_or(1).max(1);
            rows = rows.min(mask_rows - row % mask_rows);
        }
        rows
    }

    /// The preprocessing of the logits from `start` of a row.
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

    /// The scale as the only preprocessing.
    pub(crate) fn scale_alone(&self) -> Preprocessing<'a> {
        Preprocessing {
            scale: self.scale,
            ..Preprocessing::NONE
        }
    }

    pub(crate) fn sink(&self, is_log: bool) -> Sink {
        if !self.are_given {
            return Sink::NONE;
        }
        Sink {
            logit: self.sink.unwrap_or(f32::NEG_INFINITY),
            fully_masked: match (self.fully_masked, is_log) {
                (FullyMasked::Nan, _) => f32::NAN,
                (FullyMasked::Zero, false) => 0.0,
                (FullyMasked::Zero, true) => f32::NEG_INFINITY,
            },
            log_merge: |row, logit| {
                let merged = row.merge(Normalizer::from_parts(logit, 0.0));
                (merged, merged.log_denominator())
            },
        }
    }
}

/// The values of a mask from `start` of a row. A mask of fewer rows repeats.
fn of_row<T>(mask: &[T], row: usize, columns: usize, start: usize) -> &[T] {
    let first = row.saturating_mul(columns).checked_rem(mask.len());
    mask.get(first.unwrap_or(0).saturating_add(start)..)
        .unwrap_or(&[])
}

/// What happens to each logit before the softmax, in this order. A mask begins with the value for
/// the first logit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Preprocessing<'a> {
    pub(crate) scale: Option<f32>,
    pub(crate) soft_cap: Option<f32>,
    pub(crate) additive: Option<&'a [f32]>,
    pub(crate) keep: Option<&'a [bool]>,
}

impl Preprocessing<'_> {
    pub(crate) const NONE: Preprocessing<'static> = Preprocessing {
        scale: None,
        soft_cap: None,
        additive: None,
        keep: None,
    };
}

/// The sink, and the results of rows that have no softmax.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sink {
    /// One more logit, in the denominator alone. −∞ is none.
    pub(crate) logit: f32,
    /// The results of a fully masked row.
    pub(crate) fully_masked: f32,
    /// Merges a row and the sink, and takes the logarithm of the denominator. A function pointer,
    /// so that a program that sets no option does not link `f64` arithmetic: 6 KB on a Cortex-M4F.
    pub(crate) log_merge: fn(Normalizer, f32) -> (Normalizer, f64),
}

impl Sink {
    pub(crate) const NONE: Self = Sink {
        logit: f32::NEG_INFINITY,
        fully_masked: f32::NAN,
        log_merge: |row, _| (row, f64::NAN),
    };

    /// Whether a row with this sink can have a softmax: the sink is not +∞ or NaN.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn allows_softmax(self) -> bool {
        self.logit < f32::INFINITY
    }

    /// The state of a row and the sink.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn merge_into(self, normalizer: Normalizer) -> Normalizer {
        if self.logit == f32::NEG_INFINITY {
            normalizer
        } else {
            normalizer.merge(Normalizer::from_parts(self.logit, 0.0))
        }
    }

    /// The result of a masked logit.
    pub(crate) fn masked(self, of_row: &Normalizer, is_log: bool) -> f32 {
        match of_row.outcome() {
            Outcome::Finite if is_log => f32::NEG_INFINITY,
            Outcome::Finite => 0.0,
            outcome => self.fallback(outcome == Outcome::FullyMasked),
        }
    }

    /// The results of a row that has no softmax.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn fallback(self, is_fully_masked: bool) -> f32 {
        if is_fully_masked {
            self.fully_masked
        } else {
            f32::NAN
        }
    }
}

//! The options of a softmax, and what they do to its logits.

use crate::on;
use online_softmax::{Backend, FullyMasked, Mask, Softmax};

#[derive(Clone, Debug, Default)]
pub struct Setting {
    pub scale: Option<f32>,
    pub soft_cap: Option<f32>,
    pub additive: Option<Vec<f32>>,
    pub keep: Option<Vec<bool>>,
    pub length: Option<usize>,
    pub causal: Option<usize>,
    pub sink: Option<f32>,
    /// Whether a fully masked row is zero.
    pub is_zero: bool,
}

/// A [`Setting`] with these options alone.
#[macro_export]
macro_rules! setting {
    ($($option:ident $(: $value:expr)?),* $(,)?) => {
        $crate::options::Setting {
            $($option $(: $value)?,)*
            ..$crate::options::Setting::default()
        }
    };
}

/// The numbers of rows that a mask of a matrix of `rows` rows may have.
pub fn divisors(rows: usize) -> Vec<usize> {
    (1..=rows)
        .filter(|count| rows.is_multiple_of(*count))
        .collect()
}

impl Setting {
    pub fn on(&self, backend: Backend) -> Softmax<'_> {
        self.of(on(backend))
    }

    /// `softmax` with these options.
    pub fn of<'a>(&'a self, mut softmax: Softmax<'a>) -> Softmax<'a> {
        // From the last to the first: the order of the calls does not matter.
        if self.is_zero {
            softmax = softmax.fully_masked(FullyMasked::Zero);
        }
        if let Some(sink) = self.sink {
            softmax = softmax.sink(sink);
        }
        if let Some(first) = self.causal {
            softmax = softmax.mask(Mask::Causal { first });
        }
        if let Some(length) = self.length {
            softmax = softmax.mask(Mask::Length(length));
        }
        if let Some(keep) = &self.keep {
            softmax = softmax.mask(Mask::Keep(keep));
        }
        if let Some(additive) = &self.additive {
            softmax = softmax.mask(Mask::Additive(additive));
        }
        if let Some(cap) = self.soft_cap {
            softmax = softmax.soft_cap(cap);
        }
        if let Some(scale) = self.scale {
            softmax = softmax.scale(scale);
        }
        softmax
    }

    /// What one row of a matrix is to be called with.
    pub fn of_row(&self, row: usize, columns: usize) -> Setting {
        let start = |len: usize| row % (len / columns) * columns;
        let mut of_row = self.clone();
        if let Some(keep) = &self.keep {
            of_row.keep = Some(keep[start(keep.len())..][..columns].to_vec());
        }
        if let Some(additive) = &self.additive {
            of_row.additive = Some(additive[start(additive.len())..][..columns].to_vec());
        }
        of_row.causal = self.causal.map(|first| first.saturating_add(row));
        of_row
    }

    /// How many columns a length and a causal mask leave of row `row`.
    pub fn visible(&self, row: usize, columns: usize) -> usize {
        let causal = self
            .causal
            .map_or(columns, |first| first.saturating_add(row).saturating_add(1));
        columns.min(self.length.unwrap_or(columns)).min(causal)
    }

    /// Whether all masks but the additive one keep the logit at `place`, in slabs of `axis` ·
    /// `inner`.
    fn is_kept(&self, place: usize, axis: usize, inner: usize) -> bool {
        let (row, column) = (place / (axis * inner), place / inner % axis);
        self.keep
            .as_ref()
            .is_none_or(|keep| keep[place % keep.len()])
            && self.length.is_none_or(|length| column < length)
            && self
                .causal
                .is_none_or(|first| column <= first.saturating_add(row))
    }

    /// The same, with one mask to keep in the place of all masks but the additive one.
    pub fn by_keep(&self, len: usize, axis: usize, inner: usize) -> Setting {
        Setting {
            keep: Some(
                (0..len)
                    .map(|place| self.is_kept(place, axis, inner))
                    .collect(),
            ),
            length: None,
            causal: None,
            ..self.clone()
        }
    }

    /// Logits as the masks leave them, after scale and soft cap, in slabs of `axis` · `inner`.
    pub fn masked(&self, logits: &[f32], axis: usize, inner: usize) -> Vec<f32> {
        let masked = logits.iter().enumerate().map(|(place, logit)| {
            let bias = self.additive.as_ref().map(|mask| mask[place % mask.len()]);
            if !self.is_kept(place, axis, inner) || bias == Some(f32::NEG_INFINITY) {
                f32::NEG_INFINITY
            } else {
                logit + bias.unwrap_or(-0.0)
            }
        });
        masked.collect()
    }

    /// The logits that the softmax is of, in slabs of `axis` · `inner`.
    pub fn prepared(
        &self,
        backend: Backend,
        logits: &[f32],
        axis: usize,
        inner: usize,
    ) -> Vec<f32> {
        let capped = logits.iter().map(|logit| {
            let scaled = self.scale.map_or(*logit, |scale| logit * scale);
            self.soft_cap
                .map_or(scaled, |cap| capped(backend, scaled, cap))
        });
        self.masked(&capped.collect::<Vec<f32>>(), axis, inner)
    }

    /// A row and the sink beside it.
    pub fn with_sink(&self, prepared: &[f32]) -> Vec<f32> {
        prepared.iter().copied().chain(self.sink).collect()
    }
}

/// cap · tanh(logit / cap) as the crate has it, which tests of the soft cap hold against the true
/// one.
pub fn capped(backend: Backend, logit: f32, cap: f32) -> f32 {
    let softmax = on(backend).soft_cap(cap);
    softmax.normalizer(&[logit]).unwrap().max()
}

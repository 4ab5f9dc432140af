//! The options of a softmax, and what they do to its logits.

use crate::on;
use crate::rows::Random;
use core::ops::Range;
use online_softmax::{Backend, FullyMasked, Mask, Softmax};

#[derive(Clone, Debug, Default)]
pub struct Setting {
    pub scale: Option<f32>,
    pub soft_cap: Option<f32>,
    pub additive: Option<Vec<f32>>,
    /// Items, heads and rows of a matrix. Without it the shape is the one that has so many rows.
    pub additive_shape: Option<[usize; 3]>,
    pub keep: Option<Vec<bool>>,
    pub keep_shape: Option<[usize; 3]>,
    pub length: Option<usize>,
    pub lengths: Option<Vec<usize>>,
    pub causal: Option<isize>,
    /// How many columns before and after its own a row sees.
    pub window: Option<(usize, usize)>,
    pub matrix_rows: Option<usize>,
    pub heads: Option<usize>,
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

/// The numbers of rows that matrices may have which make `rows` rows.
pub fn divisors(rows: usize) -> Vec<usize> {
    (1..=rows)
        .filter(|count| rows.is_multiple_of(*count))
        .collect()
}

/// `rows` rows as [items, heads, rows of a matrix].
pub fn random_dimensions(random: &mut Random, rows: usize) -> [usize; 3] {
    let matrix_rows = random.pick(&divisors(rows));
    let heads = random.pick(&divisors(rows / matrix_rows));
    [rows / matrix_rows / heads, heads, matrix_rows]
}

/// The shape of a mask: each dimension is full or 1.
pub fn random_shape(random: &mut Random, dimensions: [usize; 3]) -> [usize; 3] {
    dimensions.map(|full| random.pick(&[1, full]))
}

/// Which row of a mask of `shape` serves `row`.
pub fn row_of_mask(shape: [usize; 3], [_, heads, matrix_rows]: [usize; 3], row: usize) -> usize {
    let matrix = row / matrix_rows;
    let place = [matrix / heads, matrix % heads, row % matrix_rows];
    let mut index = 0;
    for (size, place) in shape.into_iter().zip(place) {
        index = index * size + if size == 1 { 0 } else { place };
    }
    index
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
        if let Some((before, after)) = self.window {
            softmax = softmax.mask(Mask::Window { before, after });
        }
        if let Some(offset) = self.causal {
            softmax = softmax.mask(Mask::Causal { offset });
        }
        if let Some(lengths) = &self.lengths {
            softmax = softmax.mask(Mask::Lengths(lengths));
        }
        if let Some(length) = self.length {
            softmax = softmax.mask(Mask::Length(length));
        }
        if let Some(keep) = &self.keep {
            softmax = softmax.mask(match self.keep_shape {
                Some(shape) => Mask::KeepShaped { keep, shape },
                None => Mask::Keep(keep),
            });
        }
        if let Some(additive) = &self.additive {
            softmax = softmax.mask(match self.additive_shape {
                Some(shape) => Mask::AdditiveShaped { additive, shape },
                None => Mask::Additive(additive),
            });
        }
        if let Some(heads) = self.heads {
            softmax = softmax.heads(heads);
        }
        if let Some(rows) = self.matrix_rows {
            softmax = softmax.matrix_rows(rows);
        }
        if let Some(cap) = self.soft_cap {
            softmax = softmax.soft_cap(cap);
        }
        if let Some(scale) = self.scale {
            softmax = softmax.scale(scale);
        }
        softmax
    }

    /// `rows` rows as [items, heads, rows of a matrix].
    pub fn dimensions(&self, rows: usize) -> [usize; 3] {
        let matrix_rows = self.matrix_rows.unwrap_or(rows);
        let heads = self.heads.unwrap_or(1);
        [rows / matrix_rows / heads, heads, matrix_rows]
    }

    /// Which row of a mask of `mask_rows` rows serves row `row` of `rows`.
    fn mask_row(
        &self,
        shape: Option<[usize; 3]>,
        mask_rows: usize,
        row: usize,
        rows: usize,
    ) -> usize {
        let dimensions = self.dimensions(rows);
        let [items, heads, matrix_rows] = dimensions;
        let shapes = (0..8).map(|bits| {
            let size = |bit: u32, full| if bits >> bit & 1 == 1 { full } else { 1 };
            [size(0, items), size(1, heads), size(2, matrix_rows)]
        });
        let mut fitting = shapes.filter(|[a, b, c]| a * b * c == mask_rows);
        let shape = shape.or_else(|| fitting.next()).unwrap();
        row_of_mask(shape, dimensions, row)
    }

    /// The mask values of row `row` of `rows`, each of `logits` logits.
    fn additive_of_row(&self, row: usize, rows: usize, logits: usize) -> Option<&[f32]> {
        let mask = self.additive.as_ref()?;
        let row = self.mask_row(self.additive_shape, mask.len() / logits, row, rows);
        Some(&mask[row * logits..][..logits])
    }

    fn keep_of_row(&self, row: usize, rows: usize, logits: usize) -> Option<&[bool]> {
        let mask = self.keep.as_ref()?;
        let row = self.mask_row(self.keep_shape, mask.len() / logits, row, rows);
        Some(&mask[row * logits..][..logits])
    }

    /// What row `row` of a matrix of `rows` rows is to be called with by itself.
    pub fn of_row(&self, row: usize, rows: usize, columns: usize) -> Setting {
        let place = (row % self.dimensions(rows)[2]) as isize;
        let (causal, window) = match (self.causal, self.window) {
            (Some(offset), window) => (Some(offset.saturating_add(place)), window),
            // What a row sees after its own column moves the diagonal.
            (None, Some((before, after))) => {
                // Further than the last column makes no difference.
                let after = after.min(columns);
                (
                    Some(place.saturating_add_unsigned(after)),
                    Some((before.saturating_add(after), 0)),
                )
            }
            (None, None) => (None, None),
        };
        Setting {
            additive: self
                .additive_of_row(row, rows, columns)
                .map(<[f32]>::to_vec),
            additive_shape: None,
            keep: self.keep_of_row(row, rows, columns).map(<[bool]>::to_vec),
            keep_shape: None,
            length: self.length_of_row(row, rows),
            lengths: None,
            causal,
            window,
            matrix_rows: None,
            heads: None,
            ..self.clone()
        }
    }

    fn length_of_row(&self, row: usize, rows: usize) -> Option<usize> {
        let [items, heads, matrix_rows] = self.dimensions(rows);
        let of_matrix = self.lengths.as_ref().map(|lengths| {
            let matrix = row / matrix_rows;
            if lengths.len() == items * heads {
                lengths[matrix]
            } else {
                assert_eq!(lengths.len(), items);
                lengths[matrix / heads]
            }
        });
        [self.length, of_matrix].into_iter().flatten().min()
    }

    /// Whether lengths, a causal mask and a window keep a column of row `row` of `rows`.
    fn sees(&self, column: usize, row: usize, rows: usize) -> bool {
        let place = (row % self.dimensions(rows)[2]) as i128;
        let own = place + self.causal.unwrap_or(0) as i128;
        let column_is_before = |end: i128| (column as i128) < end;
        self.length_of_row(row, rows)
            .is_none_or(|length| column < length)
            && (self.causal.is_none() || column_is_before(own + 1))
            && self.window.is_none_or(|(before, after)| {
                !column_is_before(own - before as i128) && column_is_before(own + after as i128 + 1)
            })
    }

    /// The columns that lengths, a causal mask and a window leave of row `row` of `rows`.
    pub fn visible(&self, row: usize, rows: usize, columns: usize) -> Range<usize> {
        let mut seen = (0..columns).filter(|column| self.sees(*column, row, rows));
        match seen.next() {
            Some(first) => first..seen.next_back().unwrap_or(first) + 1,
            None => 0..0,
        }
    }

    /// Which logits of row `row` of `rows` all masks but the additive one keep.
    fn kept(&self, row: usize, rows: usize, axis: usize, inner: usize) -> Vec<bool> {
        let keep = self.keep_of_row(row, rows, axis * inner);
        let seen = (0..axis).map(|column| self.sees(column, row, rows));
        let seen = seen.flat_map(|is_seen| core::iter::repeat_n(is_seen, inner));
        seen.enumerate()
            .map(|(place, is_seen)| is_seen && keep.is_none_or(|keep| keep[place]))
            .collect()
    }

    /// The same, with one mask to keep in the place of all masks but the additive one.
    pub fn by_keep(&self, len: usize, axis: usize, inner: usize) -> Setting {
        let rows = len / (axis * inner);
        let kept = (0..rows).flat_map(|row| self.kept(row, rows, axis, inner));
        Setting {
            keep: Some(kept.collect()),
            keep_shape: Some(self.dimensions(rows)),
            length: None,
            lengths: None,
            causal: None,
            window: None,
            ..self.clone()
        }
    }

    /// Logits as the masks leave them, after scale and soft cap, in slabs of `axis` · `inner`.
    pub fn masked(&self, logits: &[f32], axis: usize, inner: usize) -> Vec<f32> {
        let slab = axis * inner;
        let rows = logits.len() / slab;
        let mut masked = logits.to_vec();
        for (row, masked) in masked.chunks_mut(slab).enumerate() {
            let additive = self.additive_of_row(row, rows, slab);
            let kept = self.kept(row, rows, axis, inner);
            for (place, logit) in masked.iter_mut().enumerate() {
                let bias = additive.map_or(-0.0, |mask| mask[place]);
                *logit = if kept[place] && bias != f32::NEG_INFINITY {
                    *logit + bias
                } else {
                    f32::NEG_INFINITY
                };
            }
        }
        masked
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

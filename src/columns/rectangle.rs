//! Columns side by side: strips, tiles and groups, and how they are read and written.

use crate::simd::{Group, LANES, Simd, Vector, WIDEST, for_each_register, map_group};
use crate::source::{LINE, Source, SrcDst};

/// How far ahead memory is prefetched, in rows.
const ROWS_AHEAD: usize = 4;

/// A rectangle of a slab: adjacent columns, which are a strip or a group, in consecutive rows.
/// `start` is the index of its first value in the slab.
#[derive(Clone, Copy)]
pub(super) struct Rectangle<S> {
    pub(super) simd: S,
    pub(super) start: usize,
    pub(super) width: usize,
    pub(super) inner: usize,
    pub(super) rows: usize,
}

impl<S: Simd> Rectangle<S> {
    /// At most `rows` rows from `first` on.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn below(self, first: usize, rows: usize) -> Self {
        Rectangle {
            start: self.start + first * self.inner,
            rows: rows.min(self.rows - first),
            ..self
        }
    }

    /// The groups of a strip; the last may be smaller.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn groups(self) -> impl Iterator<Item = Self> {
        (0..self.width.div_ceil(S::GROUP_LANES)).map(move |group| Rectangle {
            start: self.start + group * S::GROUP_LANES,
            width: S::GROUP_LANES.min(self.width - group * S::GROUP_LANES),
            ..self
        })
    }

    /// The cells of each row. At least one row, even if `rows` is 0.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn rows<'a, R: SrcDst>(&self, slab: &'a mut R) -> Rows<impl SrcDst + use<'a, R, S>> {
        let before_last = self.rows.saturating_sub(1) * self.inner;
        Rows {
            unread: Some(slab.slice(self.start, before_last + self.width)),
            width: self.width,
            between: self.inner - self.width,
        }
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn prefetch<R: SrcDst>(&self, cells: &R) {
        for line in 0..S::GROUP_LANES / LINE {
            cells.prefetch(self.simd, ROWS_AHEAD * self.inner + line * LINE);
        }
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn maxima<R: SrcDst>(&self, slab: &mut R, mut maxima: Group<S>) -> Group<S> {
        for cells in self.rows(slab) {
            self.prefetch(&cells);
            maxima = larger(self.simd, maxima, &load(self.simd, &cells));
        }
        maxima
    }

    /// The lanes that have a column.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn lanes(&self) -> u32 {
        u32::MAX >> (LANES - self.width)
    }
}

/// [`Rectangle`], row by row.
pub(super) struct Rows<R> {
    unread: Option<R>,
    width: usize,
    between: usize,
}

impl<R: SrcDst> Iterator for Rows<R> {
    type Item = R;

    #[cfg_attr(not(unoptimized), inline(always))]
    fn next(&mut self) -> Option<R> {
        let Ok((cells, others)) = self.unread.take()?.split_at(self.width) else {
            return None;
        };
        if let Ok((_, below)) = others.split_at(self.between) {
            self.unread = Some(below);
        }
        Some(cells)
    }
}

/// The cells of a row, −∞ where there are none.
#[cfg_attr(not(unoptimized), inline(always))]
pub(super) fn load<S: Simd, R: SrcDst>(simd: S, cells: &R) -> Group<S> {
    let none = simd.group(simd.splat(f32::NEG_INFINITY));
    let logits = cells.logits();
    match logits.split_at(S::GROUP_LANES) {
        Ok((logits, _)) => map_group::<S>(
            none,
            #[inline(always)]
            |register, _| logits.load(simd, register * S::Vector::WIDTH),
        ),
        Err(logits) => map_group::<S>(
            none,
            #[inline(always)]
            |register, none| {
                let start = register * S::Vector::WIDTH;
                if start < logits.len() {
                    logits.load(simd, start)
                } else {
                    none
                }
            },
        ),
    }
}

/// Writes the cells of a row.
#[cfg_attr(not(unoptimized), inline(always))]
pub(super) fn store<S: Simd, R: SrcDst>(simd: S, cells: &mut R, group: &Group<S>) {
    let len = cells.len();
    if len >= S::GROUP_LANES {
        let mut cells = cells.slice(0, S::GROUP_LANES);
        for_each_register::<S>(
            #[inline(always)]
            |register| cells.store(register * S::Vector::WIDTH, simd.register(group, register)),
        );
    } else {
        for_each_register::<S>(
            #[inline(always)]
            |register| {
                let start = register * S::Vector::WIDTH;
                if start < len {
                    cells.store(start, simd.register(group, register));
                }
            },
        );
    }
}

/// A bit for each lane: whether that of `group` is greater than that of `bounds`.
#[cfg_attr(not(unoptimized), inline(always))]
pub(super) fn gt_mask<S: Simd>(simd: S, group: &Group<S>, bounds: &Group<S>) -> u32 {
    let mut greater = 0;
    for_each_register::<S>(
        #[inline(always)]
        |register| {
            let (lanes, bounds) = (
                simd.register(group, register),
                simd.register(bounds, register),
            );
            greater |= lanes.gt_mask(bounds) << (register * S::Vector::WIDTH);
        },
    );
    greater
}

/// The larger value in each lane. A NaN may be kept or lost.
#[cfg_attr(not(unoptimized), inline(always))]
pub(super) fn larger<S: Simd>(simd: S, group: Group<S>, other: &Group<S>) -> Group<S> {
    map_group::<S>(
        group,
        #[inline(always)]
        |register, lanes| lanes.min_max(simd.register(other, register)).1,
    )
}

/// The first cells of a row, as many as a group has lanes, or all if there are fewer; and the others.
#[cfg_attr(not(unoptimized), inline(always))]
pub(super) fn split_group<S: Simd, R: SrcDst>(cells: R) -> (R, Option<R>) {
    match cells.split_at(S::GROUP_LANES) {
        Ok((group, others)) if others.len() > 0 => (group, Some(others)),
        Ok((last, _)) | Err(last) => (last, None),
    }
}

/// Sets a register of a group to the first of `lanes`.
#[cfg_attr(not(unoptimized), inline(always))]
pub(super) fn set_register<S: Simd>(
    simd: S,
    group: &mut Group<S>,
    register: usize,
    lanes: &[f32; WIDEST],
) {
    if let Some(register) = group.as_mut().get_mut(register) {
        *register = simd.load(lanes, 0.0);
    }
}

//! The state of a group of columns while they are read.

use super::rectangle::{Rectangle, gt_mask, larger, load, store};
use crate::math::shift::{GroupShifts, RESCALE_THRESHOLD};
use crate::options::Sink;
use crate::simd::{Group, Lanewise, Simd, Vector, WIDEST, lanes_of, map_group, store_group};
use crate::source::SrcDst;

/// Columns whose maximum in the first tile is at most this far from zero get a shift without an
/// offset.
const NEAR: f32 = 104.0;

/// The largest logit that a shift of the first tile is used for. A column has an offset if its
/// maximum is above 208. Then terms below this limit are below e^−90 of the maximum's, less than
/// 2^−126.
const HIGHEST_LIMIT: f32 = 118.0;

/// The state of a group of columns. Lanes without a column have the maximum −∞ and the sum 0.
#[derive(Clone, Copy)]
pub(super) struct GroupState<S: Simd> {
    pub(super) maxima: Group<S>,
    pub(super) shifts: GroupShifts<S>,
    /// The largest logits that the shifts hold for; +∞ after a rescale.
    limits: Group<S>,
    /// Softmax: the sum of all numerators. Log-softmax: the sum without the maximum's. The sink is
    /// in neither.
    pub(super) totals: S::Totals,
}

/// More than every numerator of a tile with these maxima.
#[cfg_attr(not(unoptimized), inline(always))]
pub(super) fn sum_start<S: Simd>(shifts: &GroupShifts<S>, maxima: &Group<S>) -> Group<S> {
    let mut sum_start = *maxima;
    for (register, sum_start) in sum_start.as_mut().iter_mut().enumerate() {
        // Twice the power of two is more than the numerator.
        let scale = shifts.exp_scaled(register, *sum_start).scale;
        *sum_start = scale + scale;
    }
    sum_start
}

impl<S: Simd> GroupState<S> {
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn new(simd: S) -> Self {
        let empty = simd.group(simd.splat(f32::NEG_INFINITY));
        GroupState {
            maxima: empty,
            shifts: GroupShifts::of(simd, &empty),
            limits: empty,
            totals: S::Totals::default(),
        }
    }

    /// The sums of the columns of a register.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn totals_of(&self, register: usize) -> [f64; WIDEST] {
        let mut totals = [0.0; WIDEST];
        let sums = self
            .totals
            .as_ref()
            .chunks_exact(S::Vector::WIDTH)
            .nth(register);
        for (total, sum) in totals.iter_mut().zip(sums.unwrap_or(&[])) {
            *total = *sum;
        }
        totals
    }

    /// Raises the maxima by those of the tile whose first row is `first`, and makes the shifts hold
    /// for them.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn raise<R: SrcDst>(
        &mut self,
        columns: Rectangle<S>,
        first: usize,
        maxima: &Group<S>,
        slab: &mut R,
        sink: Sink,
    ) {
        self.raise_shift(columns, first, maxima, slab, sink);
        self.maxima = larger(columns.simd, self.maxima, maxima);
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn raise_shift<R: SrcDst>(
        &mut self,
        columns: Rectangle<S>,
        first: usize,
        maxima: &Group<S>,
        slab: &mut R,
        sink: Sink,
    ) {
        let simd = columns.simd;
        if first > 0 && gt_mask(simd, maxima, &self.limits) == 0 {
            return;
        }
        let with_sink = max_with_sink(simd, *maxima, sink);
        let not_far_below = gt_mask(simd, &with_sink, &simd.group(simd.splat(-NEAR)));
        let far_above = gt_mask(simd, &with_sink, &simd.group(simd.splat(NEAR)));
        if first == 0 && not_far_below & !far_above & columns.lanes() == columns.lanes() {
            self.shifts = GroupShifts::of(simd, &with_sink);
            self.limits = with_sink;
            for limit in self.limits.as_mut() {
                let above = *limit + simd.splat(RESCALE_THRESHOLD);
                *limit = above.min_drop_nan(simd.splat(HIGHEST_LIMIT));
            }
        } else {
            simd.vectorize(
                #[inline(always)]
                |_| self.rescale(columns, slab, first, sink),
            );
            self.limits = simd.group(simd.splat(f32::INFINITY));
        }
    }

    /// Makes the shifts those of the maxima of all rows. The rows above `first` have numerators, in
    /// the sums and in scratch; these are rescaled.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn rescale<R: SrcDst>(
        &mut self,
        columns: Rectangle<S>,
        slab: &mut R,
        first: usize,
        sink: Sink,
    ) {
        let simd = columns.simd;
        let maxima = columns.below(first, columns.rows).maxima(slab, self.maxima);
        let shifts = GroupShifts::of(simd, &max_with_sink(simd, maxima, sink));
        let roots = self.shifts.sqrt_rescale_factors(&shifts);
        self.shifts = shifts;
        let factors = store_group::<S>(&roots);
        for (total, factor) in self.totals.as_mut().iter_mut().zip(factors) {
            *total *= f64::from(factor) * f64::from(factor);
        }
        if R::HAS_SCRATCH {
            let mut scratch = slab.reborrow().last_pass();
            let above = Rectangle {
                rows: first,
                ..columns
            };
            for mut cells in above.rows(&mut scratch).take(first) {
                let numerators = map_group::<S>(
                    load(simd, &cells),
                    #[inline(always)]
                    |register, lanes| {
                        let factor = simd.register(&roots, register);
                        lanes * factor * factor
                    },
                );
                store(simd, &mut cells, &numerators);
            }
        }
    }
}

/// The largest logits of the columns and the sink.
#[cfg_attr(not(unoptimized), inline(always))]
fn max_with_sink<S: Simd>(simd: S, mut maxima: Group<S>, sink: Sink) -> Group<S> {
    for maximum in maxima.as_mut() {
        *maximum = maximum.max_keep_nan(simd.splat(sink.logit));
    }
    maxima
}

/// The exact numerators of a register of logits. Those of a group at once would take kilobytes of
/// stack.
#[cfg_attr(not(unoptimized), inline(always))]
pub(super) fn exact_terms<const PRECISE: bool, S: Simd>(
    shifts: &GroupShifts<S>,
    register: usize,
    logits: S::Vector,
) -> [f64; WIDEST] {
    let numerators = if PRECISE {
        shifts.exp_precise(register, logits)
    } else {
        shifts.exp_scaled(register, logits)
    };
    let (scales, expm1s) = (lanes_of(numerators.scale), lanes_of(numerators.expm1));
    let mut terms = [0.0; WIDEST];
    let lanes = scales.into_iter().zip(expm1s).take(S::Vector::WIDTH);
    for (term, (scale, expm1)) in terms.iter_mut().zip(lanes) {
        // The scale is a power of two.
        *term = f64::from(scale) * (1.0 + f64::from(expm1));
    }
    terms
}

/// What is added to each result of a column: −0, which changes nothing, if it has a softmax.
#[cfg_attr(not(unoptimized), inline(always))]
pub(super) fn fallback_of(maximum: f32, sum: f64, sink: Sink) -> f32 {
    let has_softmax = maximum.max(sink.logit).is_finite() && !maximum.is_nan() && !sum.is_nan();
    if has_softmax {
        -0.0
    } else {
        sink.fallback(maximum == f32::NEG_INFINITY && !sum.is_nan())
    }
}

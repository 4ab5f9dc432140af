//! What is known of a group of columns while they are read.

use super::NEAR;
use super::cells::{Cells, gt_mask, larger, load, store};
use crate::math::compensated_sum::CompensatedSum;
use crate::math::shift::{LaneShifts, RESCALE_THRESHOLD};
use crate::options::Sink;
use crate::simd::{Group, LANES, Lanewise, Simd, Vector, store_group};
use crate::source::SrcDst;

/// What is known of a group of columns. Lanes without a column have the maximum −∞ and the sum 0.
#[derive(Clone, Copy)]
pub(super) struct Sums<S: Simd> {
    simd: S,
    pub(super) maxima: Group<S>,
    pub(super) shifts: LaneShifts<S>,
    /// The largest logits that the shifts hold for.
    limits: Group<S>,
    /// The sum of a tile, which begins with a bias, and those of the tiles before it.
    pub(super) sum: CompensatedSum<S>,
    bias: Group<S>,
    pub(super) totals: [f64; LANES],
    /// Whether a column has an offset, or a numerator of the tile may be zero.
    pub(super) is_clamped: bool,
}

impl<S: Simd> Sums<S> {
    #[inline(always)]
    pub(super) fn new(simd: S) -> Self {
        let empty = simd.splat(f32::NEG_INFINITY).group();
        Sums {
            simd,
            maxima: empty,
            shifts: LaneShifts::of(simd, &empty),
            limits: empty,
            sum: CompensatedSum::new(simd),
            bias: simd.splat(0.0).group(),
            totals: [0.0; LANES],
            is_clamped: true,
        }
    }

    /// Begins a tile. The shifts hold for its maxima.
    #[inline(always)]
    pub(super) fn begin(&mut self, maxima: &Group<S>, least: S::Vector) {
        let simd = self.simd;
        self.maxima = larger(simd, self.maxima, maxima);
        self.bias = *maxima;
        for (register, bias) in self.bias.as_mut().iter_mut().enumerate() {
            // Twice the power of two is more than the numerator.
            let scale = self.shifts.exp_scaled(register, *bias).scale;
            *bias = scale + scale;
        }
        self.sum = CompensatedSum::with_bias(simd, &self.bias);
        self.is_clamped = self.shifts.may_clamp(least);
    }

    #[inline(always)]
    pub(super) fn end(&mut self) {
        self.sum.remove_bias(&self.bias).flush(&mut self.totals);
    }

    /// Makes the shifts hold for the maxima of the tile whose first row is `first`.
    #[inline(always)]
    pub(super) fn raise_shift<R: SrcDst>(
        &mut self,
        columns: Cells<S>,
        first: usize,
        maxima: &Group<S>,
        slab: &mut R,
        sink: Sink,
    ) {
        let simd = columns.simd;
        if first > 0 && gt_mask(simd, maxima, &self.limits) == 0 {
            return;
        }
        let known = max_with_sink(simd, *maxima, sink);
        let not_far_below = gt_mask(simd, &known, &simd.splat(-NEAR).group());
        let far_above = gt_mask(simd, &known, &simd.splat(NEAR).group());
        if first == 0 && not_far_below & !far_above & columns.lanes() == columns.lanes() {
            self.shifts = LaneShifts::of(simd, &known);
            self.limits = known;
            for limit in self.limits.as_mut() {
                *limit = *limit + simd.splat(RESCALE_THRESHOLD);
            }
        } else {
            self.rescale(columns, slab, first, sink);
            self.limits = simd.splat(f32::INFINITY).group();
        }
    }

    /// Makes the shifts those of the maxima of all rows. The rows above `first` have numerators, in
    /// the sums and in scratch; these are rescaled.
    #[inline(always)]
    fn rescale<R: SrcDst>(&mut self, columns: Cells<S>, slab: &mut R, first: usize, sink: Sink) {
        let simd = columns.simd;
        let maxima = columns.below(first, columns.rows).maxima(slab, self.maxima);
        let shifts = LaneShifts::of(simd, &max_with_sink(simd, maxima, sink));
        let half_factors = self.shifts.half_rescale_factors(&shifts);
        self.shifts = shifts;
        let factors = store_group::<S>(&half_factors).map(f64::from);
        for (total, factor) in self.totals.iter_mut().zip(factors) {
            *total *= factor * factor;
        }
        if R::HAS_SCRATCH {
            let mut scratch = slab.reborrow().last_pass();
            let above = Cells {
                rows: first,
                ..columns
            };
            for mut cells in above.rows(&mut scratch).take(first) {
                let mut numerators = load(simd, &cells);
                for (register, lanes) in numerators.as_mut().iter_mut().enumerate() {
                    let factor = simd.register(&half_factors, register);
                    *lanes = *lanes * factor * factor;
                }
                store(simd, &mut cells, 0..S::REGISTERS, &numerators);
            }
        }
    }
}

/// The largest logits of the columns and the sink.
#[inline(always)]
fn max_with_sink<S: Simd>(simd: S, mut maxima: Group<S>, sink: Sink) -> Group<S> {
    for maximum in maxima.as_mut() {
        *maximum = maximum.max_keep_nan(simd.splat(sink.logit));
    }
    maxima
}

/// The numerators of a logit in each lane: exact, and rounded as they are stored.
#[inline(always)]
pub(super) fn exp_scaled_once<S: Simd>(
    simd: S,
    shifts: &LaneShifts<S>,
    logits: &Group<S>,
) -> ([f64; LANES], Group<S>) {
    let (mut scales, mut expm1s, mut rounded) = (*logits, *logits, *logits);
    for register in 0..S::REGISTERS {
        let numerator = shifts.exp_scaled(register, simd.register(logits, register));
        for (group, lanes) in [
            (&mut scales, numerator.scale),
            (&mut expm1s, numerator.expm1),
            (&mut rounded, numerator.value()),
        ] {
            if let Some(register) = group.as_mut().get_mut(register) {
                *register = lanes;
            }
        }
    }
    let mut exact = [0.0; LANES];
    let parts = store_group::<S>(&scales)
        .into_iter()
        .zip(store_group::<S>(&expm1s));
    for (exact, (scale, expm1)) in exact.iter_mut().zip(parts) {
        *exact = f64::from(scale) + f64::from(scale) * f64::from(expm1);
    }
    (exact, rounded)
}

/// What is added to each result of a column: 0 if it has a softmax.
#[inline(always)]
pub(super) fn fallback_of(maximum: f32, sum: f64, sink: Sink) -> f32 {
    let has_softmax = maximum.max(sink.logit).is_finite() && !maximum.is_nan() && !sum.is_nan();
    if has_softmax {
        0.0
    } else {
        sink.fallback(maximum == f32::NEG_INFINITY && !sum.is_nan())
    }
}

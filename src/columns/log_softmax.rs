//! The log-softmax of columns.

use super::algorithm::{ColumnAlgorithm, STRIP, TILE};
use super::rectangle::{Rectangle, load, set_register, store};
use super::state::{GroupState, exact_terms, fallback_of};
use crate::math::compensated_sum::CompensatedSum;
use crate::math::epilogue::{Epilogue, LogProbability, beside_max_term, log_sum_exp};
use crate::math::shift::GroupShifts;
use crate::math::two_float::TwoFloat;
use crate::normalizer::{Normalizer, Outcome};
use crate::options::Sink;
use crate::simd::{Group, Simd, Vector, WIDEST, lanes_of, map_group};
use crate::source::SrcDst;

/// The steps of the recurrence over a tile, in every lane. The shifts are those of the whole
/// columns.
#[cfg_attr(not(unoptimized), inline(always))]
fn sum_others<S: Simd, R: SrcDst>(
    simd: S,
    cells: Rectangle<S>,
    slab: &mut R,
    sums: &mut GroupState<S>,
) {
    let shifts = sums.shifts;
    let mut maxima = sums.maxima;
    let mut sum = CompensatedSum::new(simd);
    for cells in cells.rows(slab) {
        let logits = load(simd, &cells);
        maxima = map_group::<S>(
            maxima,
            #[inline(always)]
            |register, maximum| {
                let (smaller, larger) = maximum.min_max(simd.register(&logits, register));
                sum.add_unordered(register, shifts.exp_precise(register, smaller));
                larger
            },
        );
    }
    sums.maxima = maxima;
    sum.flush(sums.totals.as_mut());
}

/// A [`LogProbability`] for each lane.
#[derive(Clone, Copy)]
pub(super) struct LogProbabilities<S: Simd> {
    simd: S,
    log_sum_exp: TwoFloat<Group<S>>,
    /// Zero, or what each result is where there is no softmax.
    fallback: Group<S>,
}

impl<S: Simd> ColumnAlgorithm<S> for LogProbabilities<S> {
    #[cfg_attr(not(unoptimized), inline(always))]
    fn read_tile<R: SrcDst>(
        sums: &mut [GroupState<S>; STRIP],
        strip: Rectangle<S>,
        first: usize,
        slab: &mut R,
        _: Sink,
    ) {
        for (columns, sums) in strip.groups().zip(sums) {
            if first == 0 {
                let maxima = columns.maxima(slab, sums.maxima);
                sums.shifts = GroupShifts::of(strip.simd, &maxima);
            }
            let tile = columns.below(first, TILE);
            strip.simd.vectorize(
                #[inline(always)]
                |simd| sum_others(simd, tile, slab, sums),
            );
        }
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn new(simd: S) -> Self {
        let zero = simd.group(simd.splat(0.0));
        LogProbabilities {
            simd,
            log_sum_exp: TwoFloat {
                high: zero,
                low: zero,
            },
            fallback: zero,
        }
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn finish(&mut self, simd: S, sums: &GroupState<S>, sink: Sink) {
        for (register, maxima) in sums.maxima.as_ref().iter().enumerate() {
            let max_terms = exact_terms::<true, S>(&sums.shifts, register, *maxima);
            let rests = lanes_of(sums.shifts.rest_of_precise(register, *maxima));
            let (maxima, totals) = (lanes_of(*maxima), sums.totals_of(register));
            let [mut high, mut low, mut fallback] = [[0.0; WIDEST]; 3];
            for lane in 0..S::Vector::WIDTH {
                let other_terms = beside_max_term(totals[lane], max_terms[lane], rests[lane]);
                let column = Normalizer::from_parts(maxima[lane], other_terms);
                let normalizer = sink.merge_into(column);
                if normalizer.outcome() == Outcome::Finite {
                    let log_denominator = normalizer.log_denominator();
                    let rounded = log_denominator as f32;
                    let sum = log_sum_exp(
                        normalizer.max(),
                        TwoFloat {
                            high: rounded,
                            low: (log_denominator - f64::from(rounded)) as f32,
                        },
                    );
                    (high[lane], low[lane]) = (sum.high, sum.low);
                }
                fallback[lane] = fallback_of(maxima[lane], totals[lane], sink);
            }
            set_register(simd, &mut self.log_sum_exp.high, register, &high);
            set_register(simd, &mut self.log_sum_exp.low, register, &low);
            set_register(simd, &mut self.fallback, register, &fallback);
        }
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn last_pass<R: SrcDst>(slab: &mut R) -> impl SrcDst {
        slab.reborrow()
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn normalize_row<R: SrcDst>(&self, simd: S, _: &GroupShifts<S>, cells: &mut R) {
        let results = map_group::<S>(
            load(simd, cells),
            #[inline(always)]
            |register, lanes| {
                let of = |group| self.simd.register(group, register);
                let log_probability = LogProbability::of(TwoFloat {
                    high: of(&self.log_sum_exp.high),
                    low: of(&self.log_sum_exp.low),
                });
                log_probability.apply(lanes) + of(&self.fallback)
            },
        );
        store(simd, cells, &results);
    }

    /// No group is unusual.
    fn normalize_with_exceptions<R: SrcDst>(
        &self,
        _: Rectangle<S>,
        _: &mut R,
        _: &GroupState<S>,
        _: Sink,
    ) {
    }
}

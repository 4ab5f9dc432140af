//! From denominators to what the last pass of a softmax applies, for as many rows at once as a
//! register has lanes.

use super::state::States;
use crate::math::epilogue::{Constant, Epilogue, ExactMax, NEGLIGIBLE, Probability, Quotient};
use crate::math::two_float::TwoFloat;
use crate::options::Sink;
use crate::simd::{Lanewise, Simd, Vector, WIDEST, lanes_of};

/// What numerators are multiplied by, and the exceptions from that; row i is lane i.
#[derive(Clone, Copy)]
pub(super) struct Quotients<V> {
    pub(super) quotient: Quotient<V>,
    /// A bit for each row whose maximum has a probability of about 1/k, k an integer: that
    /// probability is computed in two floats. The quotient of its rounded numerator may miss 1/k.
    pub(super) exact: u32,
    /// Whether no row is an exception and no result can be below 2^−126.
    pub(super) are_usual: bool,
    exceptions: Exceptions<V>,
}

/// 2^−50.
const NEGLIGIBLE_PART: f32 = 1.0 / (1_u64 << 50) as f32;

#[derive(Clone, Copy)]
struct Exceptions<V> {
    negligible: V,
    max_term: V,
    of_max: V,
    fallback: V,
    have_softmax: u32,
}

/// [`NEGLIGIBLE`] times 2^100, a normal number. [`NEGLIGIBLE_SCALE`] takes the 2^100 back.
const SCALED_NEGLIGIBLE: f32 = (NEGLIGIBLE * (1_u128 << 100) as f64) as f32;
const NEGLIGIBLE_SCALE: f32 = f32::from_bits((127 - 100) << 23);

impl<V: Vector> Quotients<V> {
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn of<S: Simd<Vector = V>>(simd: S, states: &States<V>, sink: Sink) -> Self {
        let (one, zero) = (simd.splat(1.0), simd.splat(0.0));
        let total = states.total(simd, sink);
        let inverse = one.divide(total.high);
        // One Newton step gives the low part.
        let product = TwoFloat::product(simd, inverse, total.high);
        let error = ((one - product.high) - product.low) - inverse * total.low;
        let low = inverse * error;
        // Less than 2^−50 of the inverse changes no quotient, but its products may be subnormal.
        let size = low.max_keep_nan(zero - low);
        let two_floats = TwoFloat {
            high: inverse,
            low: size.and_gt(inverse * simd.splat(NEGLIGIBLE_PART), low),
        };
        let quotient = Quotient::new(
            two_floats,
            #[inline(always)]
            |value| simd.splat(value),
        );

        let max_term = states.max_term();
        let (distance, tolerance) = distance_to_integer(simd, total.high.divide(max_term.high));
        let exact = tolerance.gt_mask(distance);
        let are_usual = states.shifts.are_usual && exact == 0;
        let mut exceptions = Exceptions {
            negligible: zero,
            max_term: zero,
            of_max: zero,
            fallback: zero,
            have_softmax: u32::MAX,
        };
        if !are_usual {
            let have_softmax = states.have_softmax(simd, total.high);
            exceptions = Exceptions {
                negligible: total.high
                    * simd.splat(NEGLIGIBLE_SCALE)
                    * simd.splat(SCALED_NEGLIGIBLE),
                // Divided by 0 in the lanes that are not near an integer: infinite, so no numerator
                // equals it.
                max_term: max_term.high.divide(tolerance.and_gt(distance, one)),
                of_max: divide(simd, max_term, total, inverse),
                fallback: states.fallback(simd, have_softmax, sink),
                have_softmax,
            };
        }
        Quotients {
            quotient,
            exact,
            are_usual,
            exceptions,
        }
    }

    /// For registers whose lanes are of different rows ([`short`](super::short)).
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn unusual<S: Simd<Vector = V>>(&self, simd: S) -> impl Epilogue<V> {
        UnusualRows {
            exact_max: ExactMax {
                probability: self.probability(simd),
                max_term: self.exceptions.max_term,
                of_max: self.exceptions.of_max,
            },
            fallback: self.exceptions.fallback,
        }
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn probability<S: Simd<Vector = V>>(&self, simd: S) -> Probability<V> {
        Probability::new(simd, self.quotient, self.exceptions.negligible)
    }

    /// For numerators of row `index`, if every lane is that row.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn unusual_row<S: Simd<Vector = V>>(&self, simd: S, index: usize) -> UnusualRow<V> {
        let is_in = |lanes: u32| (lanes >> (index % WIDEST)) & 1 == 1;
        if !is_in(self.exceptions.have_softmax) {
            UnusualRow::Constant(Constant(self.exceptions.fallback))
        } else if is_in(self.exact) {
            UnusualRow::ExactMax(ExactMax {
                probability: self.probability(simd),
                max_term: self.exceptions.max_term,
                of_max: self.exceptions.of_max,
            })
        } else {
            UnusualRow::Probability(self.probability(simd))
        }
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn rows(&self) -> RowQuotients {
        RowQuotients {
            inverse: lanes_of(self.quotient.inverse),
            inverse_rest: lanes_of(self.quotient.inverse_rest),
        }
    }
}

impl<V: Vector> Quotients<V> {
    /// Those of row `index` in every lane.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn of_row<S: Simd<Vector = V>>(&self, simd: S, index: usize) -> Self {
        let of = |lanes: V| simd.splat(lanes_of(lanes)[index % WIDEST]);
        let exceptions = &self.exceptions;
        Quotients {
            quotient: Quotient {
                inverse: of(self.quotient.inverse),
                inverse_rest: of(self.quotient.inverse_rest),
            },
            exceptions: Exceptions {
                negligible: of(exceptions.negligible),
                max_term: of(exceptions.max_term),
                of_max: of(exceptions.of_max),
                fallback: of(exceptions.fallback),
                have_softmax: exceptions.have_softmax,
            },
            ..*self
        }
    }
}

/// The quotients of rows one by one.
pub(super) struct RowQuotients {
    inverse: [f32; WIDEST],
    inverse_rest: [f32; WIDEST],
}

impl RowQuotients {
    /// That of row `index`, below [`WIDEST`].
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn row<S: Simd>(&self, simd: S, index: usize) -> Quotient<S::Vector> {
        Quotient {
            inverse: simd.splat(self.inverse[index % WIDEST]),
            inverse_rest: simd.splat(self.inverse_rest[index % WIDEST]),
        }
    }
}

/// How the numerators of an unusual row become probabilities.
pub(super) enum UnusualRow<V> {
    Probability(Probability<V>),
    ExactMax(ExactMax<V>),
    Constant(Constant<V>),
}

/// Each lane is a row, and some of these have exceptions.
#[derive(Clone, Copy)]
struct UnusualRows<V> {
    exact_max: ExactMax<V>,
    /// Added to each result: 0 for a row that has a softmax. The results of the others are 0 before
    /// this is added.
    fallback: V,
}

impl<V: Vector> Epilogue<V> for UnusualRows<V> {
    #[cfg_attr(not(unoptimized), inline(always))]
    fn apply(&self, numerators: V) -> V {
        self.exact_max.apply(numerators) + self.fallback
    }
}

/// The distances of positive values to the nearest integer, and 2^−19 of the values.
#[cfg_attr(not(unoptimized), inline(always))]
fn distance_to_integer<S: Simd>(simd: S, values: S::Vector) -> (S::Vector, S::Vector) {
    const ROUND: f32 = (1_u32 << 23) as f32;
    let round = simd.splat(ROUND);
    let difference = values - ((values + round) - round);
    let distance = difference.max_keep_nan(simd.splat(0.0) - difference);
    (distance, values * simd.splat(1.0 / (1_u32 << 19) as f32))
}

/// dividend / divisor, with one rounding, apart from errors near 2^−46. `inverse` is that of the
/// divisor.
#[cfg_attr(not(unoptimized), inline(always))]
fn divide<S: Simd>(
    simd: S,
    dividend: TwoFloat<S::Vector>,
    divisor: TwoFloat<S::Vector>,
    inverse: S::Vector,
) -> S::Vector {
    let quotient = dividend.high.divide(divisor.high);
    let product = TwoFloat::product(simd, quotient, divisor.high);
    let rest = (dividend.high - product.high) - product.low;
    let rest = rest + (dividend.low - quotient * divisor.low);
    quotient + rest * inverse
}

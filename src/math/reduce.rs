//! Lanes combined to one value, always by the same tree.

use crate::simd::{Group, Simd, Vector, WIDEST, lanes_of, unroll, unroll_registers};

/// All lanes, a power of two of them, combined by a tree: lane i with lane i + n/2 of n, and so on
/// with half as many.
#[cfg_attr(not(unoptimized), inline(always))]
pub(crate) fn reduce<const N: usize, T: Copy>(mut lanes: [T; N], combine: impl Fn(T, T) -> T) -> T {
    let mut half = N / 2;
    while half > 0 {
        for lane in 0..half {
            lanes[lane] = combine(lanes[lane], lanes[lane + half]);
        }
        half /= 2;
    }
    lanes[0]
}

/// The sum of all lanes.
#[cfg_attr(not(unoptimized), inline(always))]
pub(crate) fn total<const N: usize>(lanes: [f64; N]) -> f64 {
    reduce(lanes, |a, b| a + b)
}

/// The larger of two numbers.
#[cfg_attr(not(unoptimized), inline(always))]
pub(crate) fn larger(a: f32, b: f32) -> f32 {
    if b > a { b } else { a }
}

/// All values combined by a tree: i with i + n/2 of n, and so on with half as many. Their number is
/// a power of two, at most 32. The first holds the result.
#[cfg_attr(not(unoptimized), inline(always))]
pub(crate) fn fold<T: Copy>(values: &mut [T], combine: impl Fn(T, T) -> T) {
    halve::<16, T>(values, &combine);
    halve::<8, T>(values, &combine);
    halve::<4, T>(values, &combine);
    halve::<2, T>(values, &combine);
    halve::<1, T>(values, &combine);
}

#[cfg_attr(not(unoptimized), inline(always))]
fn halve<const HALF: usize, T: Copy>(values: &mut [T], combine: impl Fn(T, T) -> T) {
    if values.len() >= 2 * HALF {
        unroll_registers::<HALF, T>(
            #[inline(always)]
            |i| values[i] = combine(values[i], values[i + HALF]),
        );
    }
}

/// Combines all lanes of each register by the tree of [`fold`]; as many registers as one has lanes.
/// `combine(step, i, j)` is to replace register i by the combination of what
/// [`Vector::fold_pair`] makes of registers i and j. Lane i of register 0 is then that of register
/// i. To transpose the registers first would take twice as many shuffles.
#[cfg_attr(not(unoptimized), inline(always))]
pub(crate) fn fold_lanes<V: Vector>(mut combine: impl FnMut(usize, usize, usize)) {
    fold_step::<0, V>(&mut combine);
    fold_step::<1, V>(&mut combine);
    fold_step::<2, V>(&mut combine);
    fold_step::<3, V>(&mut combine);
}

#[cfg_attr(not(unoptimized), inline(always))]
fn fold_step<const STEP: usize, V: Vector>(combine: &mut impl FnMut(usize, usize, usize)) {
    let distance = V::FOLD_DISTANCES[STEP];
    let mut folded = 0;
    for of_step in V::FOLD_DISTANCES.iter().take(STEP + 1) {
        folded |= of_step;
    }
    if distance > 0 {
        unroll::<WIDEST>(
            #[inline(always)]
            |i| {
                if i < V::WIDTH && i & folded == 0 {
                    combine(STEP, i, i + distance);
                }
            },
        );
    }
}

/// The largest lane. If some lanes are NaN, the result may or may not be NaN.
#[cfg_attr(not(unoptimized), inline(always))]
pub(crate) fn largest_lane<V: Vector>(register: V) -> f32 {
    let mut lanes = lanes_of(register);
    let lanes = lanes.get_mut(..V::WIDTH).unwrap_or(&mut []);
    fold(lanes, larger);
    first(lanes, f32::NEG_INFINITY)
}

/// The first of some values.
#[cfg_attr(not(unoptimized), inline(always))]
pub(crate) fn first<T: Copy>(values: &[T], default: T) -> T {
    values.first().copied().unwrap_or(default)
}

/// The largest lane of a group. If some lanes are NaN, the result may or may not be NaN.
#[cfg_attr(not(unoptimized), inline(always))]
pub(crate) fn largest<S: Simd>(simd: S, group: &Group<S>) -> f32 {
    let mut highest = simd.splat(f32::NEG_INFINITY);
    for register in group.as_ref() {
        (_, highest) = highest.min_max(*register);
    }
    largest_lane(highest)
}

/// The first lane.
#[cfg_attr(not(unoptimized), inline(always))]
pub(crate) fn first_lane<V: Vector>(register: V) -> f32 {
    let mut lane = [0.0];
    register.store(&mut lane);
    lane[0]
}

/// Whether `value` is NaN, by its representation: LLVM 22 cannot compile a vectorised comparison of
/// a value with itself for wasm's simd128.
#[cfg_attr(not(unoptimized), inline(always))]
pub(crate) fn is_nan(value: &f32) -> bool {
    value.to_bits() & 0x7FFF_FFFF > 0x7F80_0000
}

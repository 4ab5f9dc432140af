//! The last pass over a row: each numerator, or logit, becomes a result.

use super::schedule::{BLOCK, LONGEST_UNALIGNED};
use crate::math::epilogue::Epilogue;
use crate::math::exp::ExpConstants;
use crate::math::shift::RegisterShift;
use crate::simd::{LANES, Simd, Unrolled, Vector};
use crate::source::{Source, SrcDst};

/// Reads a row, applies `epilogue`, and writes the results.
#[cfg_attr(not(unoptimized), inline(always))]
pub(crate) fn normalize<S: Simd, R: SrcDst>(
    simd: S,
    mut row: R,
    epilogue: &impl Epilogue<S::Vector>,
) {
    if S::LANE_BY_LANE {
        for index in 0..row.len() {
            let loaded = row.logits().load(simd, index);
            row.store(index, epilogue.apply(loaded));
        }
        return;
    }
    if row.len() > LONGEST_UNALIGNED {
        let align_offset = row.align_offset();
        match row.split_at(align_offset) {
            Ok((unaligned, others)) => {
                write_group(simd, unaligned, epilogue);
                row = others;
            }
            Err(all) => row = all,
        }
    }
    if epilogue.recomputes() {
        let epilogue = *epilogue;
        row = simd.vectorize(
            #[inline(always)]
            move |simd| write_blocks(simd, row, &epilogue),
        );
    }
    loop {
        match row.split_at(LANES) {
            Ok((group, others)) => {
                write_group(simd, group, epilogue);
                row = others;
            }
            Err(last) if last.len() > 0 => return write_group(simd, last, epilogue),
            Err(_) => return,
        }
    }
}

/// Writes the whole blocks of a row and returns the remainder.
#[cfg_attr(not(unoptimized), inline(always))]
fn write_blocks<S: Simd, R: SrcDst>(simd: S, mut row: R, epilogue: &impl Epilogue<S::Vector>) -> R {
    loop {
        match row.split_at(BLOCK) {
            Ok((block, others)) => {
                // Eight would need more than 64 KiB of stack without optimisation.
                write_block::<4, S, R>(simd, block, epilogue);
                row = others;
            }
            Err(last) => return last,
        }
    }
}

#[cfg_attr(not(unoptimized), inline(always))]
fn write_block<const UNROLL: usize, S: Simd, R: SrcDst>(
    simd: S,
    mut block: R,
    epilogue: &impl Epilogue<S::Vector>,
) {
    for step in 0..BLOCK / S::Vector::WIDTH / UNROLL {
        let first = step * UNROLL;
        let start = |i: usize| (first + i) * S::Vector::WIDTH;
        let mut loaded = Unrolled([simd.splat(0.0); UNROLL]);
        for (i, loaded) in loaded.0.iter_mut().enumerate() {
            *loaded = block.logits().load(simd, start(i));
        }
        let results = epilogue.apply_unrolled(loaded);
        for (i, results) in results.0.into_iter().enumerate() {
            block.store(start(i), results);
        }
    }
}

#[cfg_attr(not(unoptimized), inline(always))]
fn write_group<S: Simd, R: SrcDst>(simd: S, mut group: R, epilogue: &impl Epilogue<S::Vector>) {
    for register in 0..S::REGISTERS {
        let start = register * S::Vector::WIDTH;
        if start < group.len() {
            let loaded = group.logits().load(simd, start);
            group.store(start, epilogue.apply(loaded));
        }
    }
}

/// Computes the numerator of a logit first.
#[derive(Clone, Copy)]
pub(super) struct Recompute<V, E> {
    constants: ExpConstants<V>,
    offset: V,
    epilogue: E,
}

impl<V: Vector, E: Epilogue<V>> Recompute<V, E> {
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) fn new<S: Simd<Vector = V>>(simd: S, shift: RegisterShift<V>, epilogue: E) -> Self {
        Recompute {
            constants: shift.constants(simd),
            offset: shift.offset,
            epilogue,
        }
    }
}

impl<V: Vector, E: Epilogue<V>> Epilogue<V> for Recompute<V, E> {
    #[cfg_attr(not(unoptimized), inline(always))]
    fn recomputes(&self) -> bool {
        true
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn apply(&self, logits: V) -> V {
        let numerators = self.constants.exp_scaled(logits - self.offset).value();
        self.epilogue.apply(numerators)
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn apply_unrolled<const COUNT: usize>(&self, logits: Unrolled<V, COUNT>) -> Unrolled<V, COUNT> {
        let logits = logits - Unrolled([self.offset; COUNT]);
        let numerators = self.constants.unrolled().exp_scaled(logits).value();
        self.epilogue.apply_unrolled(numerators)
    }
}

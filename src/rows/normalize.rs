//! The last pass over a row: each numerator, or logit, becomes a result.

use super::schedule::LONGEST_UNALIGNED;
use crate::math::epilogue::Epilogue;
use crate::math::exp::ExpConstants;
use crate::math::shift::RegisterShift;
use crate::simd::{Simd, Unrolled, Vector, unroll};
use crate::source::{Source, SrcDst};

/// Reads a row, applies `epilogue`, and writes the results.
///
/// A row of at least one register is written by whole registers: the first and the last may overlap
/// their neighbours. They are loaded before anything is written. A store of a part of a register
/// would delay loads from the 64 bytes that the whole would cover: 5 to 8 ns a row of 100 columns,
/// beside one of 96, on an AMD EPYC core (family 26).
#[cfg_attr(not(unoptimized), inline(always))]
pub(crate) fn normalize<S: Simd, R: SrcDst>(
    simd: S,
    mut row: R,
    epilogue: &impl Epilogue<S::Vector>,
) {
    let (len, width) = (row.len(), S::Vector::WIDTH);
    if S::LANE_BY_LANE || len < width {
        for register in 0..len.div_ceil(width) {
            let loaded = row.logits().load(simd, register * width);
            row.store(register * width, epilogue.apply(loaded));
        }
        return;
    }
    let start = if len > LONGEST_UNALIGNED {
        row.align_offset().min(width)
    } else {
        0
    };
    let (left, last_start) = ((len - start) % width, len - width);
    let (mut first, mut last) = (simd.splat(0.0), simd.splat(0.0));
    if start > 0 {
        first = row.logits().load(simd, 0);
    }
    if left > 0 {
        last = row.logits().load(simd, last_start);
    }
    let inner = row.slice(start, len - start);
    if epilogue.recomputes() {
        let epilogue = *epilogue;
        simd.vectorize(
            #[inline(always)]
            move |simd| write_registers(simd, inner, &epilogue),
        );
    } else {
        write_registers(simd, inner, epilogue);
    }
    if start > 0 {
        row.store(0, epilogue.apply(first));
    }
    if left > 0 {
        row.store(last_start, epilogue.apply(last));
    }
}

/// Writes the whole registers of a row.
#[cfg_attr(not(unoptimized), inline(always))]
fn write_registers<S: Simd, R: SrcDst>(simd: S, mut row: R, epilogue: &impl Epilogue<S::Vector>) {
    // Eight registers would need more than 64 KiB of stack without optimization.
    row = write_blocks::<4, S, R>(simd, row, epilogue);
    write_blocks::<1, S, R>(simd, row, epilogue);
}

/// Writes `COUNT` registers at a time. Returns what is left.
#[cfg_attr(not(unoptimized), inline(always))]
fn write_blocks<const COUNT: usize, S: Simd, R: SrcDst>(
    simd: S,
    mut row: R,
    epilogue: &impl Epilogue<S::Vector>,
) -> R {
    loop {
        match row.split_at(COUNT * S::Vector::WIDTH) {
            Ok((mut block, others)) => {
                write_block::<COUNT, S, R>(simd, &mut block, epilogue);
                row = others;
            }
            Err(last) => return last,
        }
    }
}

#[cfg_attr(not(unoptimized), inline(always))]
fn write_block<const COUNT: usize, S: Simd, R: SrcDst>(
    simd: S,
    block: &mut R,
    epilogue: &impl Epilogue<S::Vector>,
) {
    let width = S::Vector::WIDTH;
    if !epilogue.recomputes() {
        return unroll::<COUNT>(
            #[inline(always)]
            |i| {
                let loaded = block.logits().load(simd, i * width);
                block.store(i * width, epilogue.apply(loaded));
            },
        );
    }
    let mut loaded = Unrolled::<_, COUNT>::splat(simd.splat(0.0));
    for (i, loaded) in loaded.0.iter_mut().enumerate() {
        *loaded = block.logits().load(simd, i * width);
    }
    let results = epilogue.apply_unrolled(loaded);
    for (i, results) in results.0.into_iter().enumerate() {
        block.store(i * width, results);
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
        let logits = logits - Unrolled::<_, COUNT>::splat(self.offset);
        let numerators = self.constants.unrolled().exp_scaled(logits).value();
        self.epilogue.apply_unrolled(numerators)
    }
}

//! Half precision: elements of 16 bits, and rows whose numerators are kept in the places of later
//! rows.

use super::{Element, InPlace, OutOfPlace, Source, SrcDst};
use crate::simd::{Simd, Vector, half::Half};

macro_rules! element {
    ($type:ty) => {
        impl Element for $type {
            const HOLDS_NUMERATOR: bool = false;

            type LastPass<'a, L: Source>
                = OutOfPlace<'a, L, Self>
            where
                Self: 'a;

            #[cfg_attr(not(unoptimized), inline(always))]
            fn last_pass<'a, L: Source>(
                logits: L,
                results: &'a mut [Self],
            ) -> OutOfPlace<'a, L, Self> {
                OutOfPlace { logits, results }
            }

            #[cfg_attr(not(unoptimized), inline(always))]
            fn load<S: Simd>(simd: S, values: &[Self]) -> S::Vector {
                Half::load(simd, values)
            }

            #[cfg_attr(not(unoptimized), inline(always))]
            fn store<V: Vector>(register: V, places: &mut [Self]) {
                Half::store(register, places);
            }

            #[cfg_attr(not(unoptimized), inline(always))]
            fn prefetch<S: Simd>(_: S, _: &[Self], _: usize) {}

            #[cfg_attr(not(unoptimized), inline(always))]
            fn with_scratch<L: Source>(
                logits: L,
                results: &mut [Self],
                columns: usize,
            ) -> Option<impl SrcDst> {
                Scratch::of_matrix(logits, results, columns)
            }
        }
    };
}

element!(half::bf16);
element!(half::f16);

/// A row of a matrix. Each numerator is kept in two places of the results of later rows.
struct Scratch<'a, L, H> {
    logits: L,
    results: &'a mut [H],
    numerators: &'a mut [u16],
}

impl<'a, L: Source, H: Half + Element> Scratch<'a, L, H> {
    #[cfg_attr(not(unoptimized), inline(always))]
    fn of_matrix(logits: L, results: &'a mut [H], columns: usize) -> Option<Self> {
        let logits = logits.slice(0, columns)?;
        let (results, others) = results.split_at_mut_checked(columns)?;
        let places = others.get_mut(..columns.checked_mul(2)?)?;
        Some(Scratch {
            logits,
            results,
            numerators: H::bits(places),
        })
    }
}

impl<L: Source, H: Half + Element> SrcDst for Scratch<'_, L, H> {
    #[cfg_attr(not(unoptimized), inline(always))]
    fn len(&self) -> usize {
        self.results.len()
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn split_at(self, count: usize) -> Result<(Self, Self), Self> {
        let (Ok((logits, other_logits)), true, true) = (
            self.logits.split_at(count),
            count <= self.results.len(),
            count <= self.numerators.len() / 2,
        ) else {
            return Err(self);
        };
        let (results, other_results) = self.results.split_at_mut(count);
        let (numerators, other_numerators) = self.numerators.split_at_mut(2 * count);
        let first = Scratch {
            logits,
            results,
            numerators,
        };
        let others = Scratch {
            logits: other_logits,
            results: other_results,
            numerators: other_numerators,
        };
        Ok((first, others))
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn logits(&self) -> impl Source {
        self.logits
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn store<V: Vector>(&mut self, start: usize, numerators: V) {
        numerators.store_in_pairs(self.numerators.get_mut(2 * start..).unwrap_or(&mut []));
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn prefetch<S: Simd>(&self, _: S, _: usize) {}

    #[cfg_attr(not(unoptimized), inline(always))]
    fn align_offset(&self) -> usize {
        0
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn slice(&mut self, start: usize, len: usize) -> impl SrcDst {
        let range = start..start.saturating_add(len);
        let in_pairs = 2 * range.start..2 * range.end.min(self.results.len());
        match (
            self.logits.slice(start, len),
            self.results.get_mut(range),
            self.numerators.get_mut(in_pairs),
        ) {
            (Some(logits), Some(results), Some(numerators)) => Scratch {
                logits,
                results,
                numerators,
            },
            _ => Scratch {
                logits: L::empty(),
                results: &mut [],
                numerators: &mut [],
            },
        }
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn numerators(&self) -> impl Source {
        Pairs(self.numerators)
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn last_pass(self) -> impl SrcDst {
        OutOfPlace {
            logits: Pairs(self.numerators),
            results: self.results,
        }
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn results(self) -> impl SrcDst {
        InPlace(self.results)
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn with_scratch(&mut self, _: usize) -> Option<impl SrcDst> {
        None::<InPlace<'_, H>>
    }
}

/// Values of 32 bits, each in two places of 16.
#[derive(Clone, Copy)]
struct Pairs<'a>(&'a [u16]);

impl Source for Pairs<'_> {
    #[cfg_attr(not(unoptimized), inline(always))]
    fn len(self) -> usize {
        self.0.len() / 2
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn split_at(self, count: usize) -> Result<(Self, Self), Self> {
        let halves = self.0.split_at_checked(count.saturating_mul(2));
        let (first, others) = halves.ok_or(self)?;
        Ok((Pairs(first), Pairs(others)))
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn empty() -> Self {
        Pairs(&[])
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn load<S: Simd>(self, simd: S, start: usize) -> S::Vector {
        simd.load_pairs(self.0.get(2 * start..).unwrap_or(&[]))
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn prefetch<S: Simd>(self, _: S, _: usize) {}
}

//! The passes over a row, written once for every instruction set.
//!
//! # The recurrence
//!
//! A row x_1 … x_N is read once, and two things are carried: the maximum so far and the sum of all
//! exponentials *but the maximum's own*. With `smaller`, `larger` = the maximum and a new logit in
//! order, a step is
//!
//! ```text
//! rest    ← rest · e^(reference − reference') + e^(smaller − reference')
//! maximum ← larger
//! ```
//!
//! which is the online softmax of Milakov and Gimelshein (arXiv 1805.02867),
//! d ← d · e^(m − m') + e^(x − m'), with d = (rest + e^(m − reference)) · e^(reference − m). Keeping
//! the maximum's own term out makes log1p(rest) as precise for a rest of 1e-30 as for one of 3, and
//! scaling by a reference instead of by the maximum makes the first factor 1 at almost every step:
//! the reference follows only when the maximum has risen by more than [`LAG`].
//!
//! ```text
//! maxima ← the first group of 32 logits                   one recurrence in each of 32 lanes
//! for each block of 128 logits
//!     if some logit > limit                               rare: raise the reference
//!         rest ← rest · e^(reference − reference')
//!     for each group of 32 in the block
//!         (smaller, maxima) ← order(maxima, group)
//!         sums ← sums + weight(smaller)                   f32, a power of two and its excess apart
//!     rest ← rest + sums;  sums ← 0                       f64
//! ```
//!
//! # The merge rule
//!
//! Two states combine as (m, d) ⊕ (m', d') = (M, d·e^(m−M) + d'·e^(m'−M)), M = max(m, m'). The 32
//! lanes share a reference, so theirs is [`Online::finish`]: all lane maxima but the largest join
//! the rest. Whole states with references of their own merge in [`Normalizer::merge`].
//!
//! # The same bits
//!
//! Lanes, blocks and the points where the reference moves are fixed by the position in the row and
//! its logits alone, not by the registers, by where a stream was cut, or by what is done with the
//! result. The second pass weighs each logit anew: nothing stored is read back, so working in
//! place is the same as not, and the result is more accurate than a stored weight times 1/d.

use crate::exp::{LAG, Lanes, Reference, Weight};
use crate::normalizer::{Normalizer, Outcome};
use crate::vector::{LANES, Simd, Vector};

/// Logits between two looks at whether the reference must be raised.
/// and of which the weights are summed in `f32` before the sum joins one in `f64`: few enough that
/// a large weight swallows little of the small ones in its lane.
pub(crate) const BLOCK: usize = 4 * LANES;

/// Logits to be read; the hook for all that is done to a logit as it is loaded.
pub(crate) trait Logits: Copy {
    fn len(self) -> usize;

    /// The first `count` and the others; `self` if there are fewer.
    fn cut(self, count: usize) -> Result<(Self, Self), Self>;

    /// The first [`LANES`], or all if there are fewer, and the others.
    #[inline(always)]
    fn cut_group(self) -> (Self, Self) {
        self.cut(LANES).unwrap_or_else(|all| (all, Self::nothing()))
    }

    fn nothing() -> Self;

    /// A register of logits from `start`; −∞ past the end.
    fn load<S: Simd>(self, simd: S, start: usize) -> S::Vector;
}

impl Logits for &[f32] {
    #[inline(always)]
    fn len(self) -> usize {
        <[f32]>::len(self)
    }

    #[inline(always)]
    fn cut(self, count: usize) -> Result<(Self, Self), Self> {
        self.split_at_checked(count).ok_or(self)
    }

    #[inline(always)]
    fn nothing() -> Self {
        &[]
    }

    #[inline(always)]
    fn load<S: Simd>(self, simd: S, start: usize) -> S::Vector {
        simd.load(self.get(start..).unwrap_or(&[]), f32::NEG_INFINITY)
    }
}

/// Logits, and places of the same number for the results.
pub(crate) trait Row: Sized {
    fn len(&self) -> usize;

    /// The first `count` and the others; `self` if there are fewer.
    fn cut(self, count: usize) -> Result<(Self, Self), Self>;

    fn logits(&self) -> impl Logits;

    /// Writes a register of results from `start`; nothing past the end.
    fn store<V: Vector>(&mut self, start: usize, results: V);

    /// The same row, borrowed for one pass.
    fn view(&mut self) -> impl Row;

    /// Whether the places of the results can keep something between two passes.
    const KEEPS: bool;

    /// A register of what was stored from `start`; zero past the end.
    fn kept<S: Simd>(&self, simd: S, start: usize) -> S::Vector;
}

/// Results beside their logits; the two have one length.
pub(crate) struct Apart<'a> {
    pub(crate) logits: &'a [f32],
    pub(crate) results: &'a mut [f32],
}

impl Row for Apart<'_> {
    #[inline(always)]
    fn len(&self) -> usize {
        self.results.len()
    }

    #[inline(always)]
    fn cut(self, count: usize) -> Result<(Self, Self), Self> {
        if count > self.logits.len() || count > self.results.len() {
            return Err(self);
        }
        let (logits, other_logits) = self.logits.split_at(count);
        let (results, other_results) = self.results.split_at_mut(count);
        let others = Apart {
            logits: other_logits,
            results: other_results,
        };
        Ok((Apart { logits, results }, others))
    }

    #[inline(always)]
    fn logits(&self) -> impl Logits {
        self.logits
    }

    #[inline(always)]
    fn store<V: Vector>(&mut self, start: usize, results: V) {
        results.store(self.results.get_mut(start..).unwrap_or(&mut []));
    }

    #[inline(always)]
    fn view(&mut self) -> impl Row {
        Apart {
            logits: self.logits,
            results: self.results,
        }
    }

    const KEEPS: bool = true;

    #[inline(always)]
    fn kept<S: Simd>(&self, simd: S, start: usize) -> S::Vector {
        simd.load(self.results.get(start..).unwrap_or(&[]), 0.0)
    }
}

/// Results in the place of their logits.
pub(crate) struct InPlace<'a>(pub(crate) &'a mut [f32]);

impl Row for InPlace<'_> {
    #[inline(always)]
    fn len(&self) -> usize {
        self.0.len()
    }

    #[inline(always)]
    fn cut(self, count: usize) -> Result<(Self, Self), Self> {
        if count > self.0.len() {
            return Err(self);
        }
        let (row, others) = self.0.split_at_mut(count);
        Ok((InPlace(row), InPlace(others)))
    }

    #[inline(always)]
    fn logits(&self) -> impl Logits {
        &*self.0
    }

    #[inline(always)]
    fn store<V: Vector>(&mut self, start: usize, results: V) {
        results.store(self.0.get_mut(start..).unwrap_or(&mut []));
    }

    #[inline(always)]
    fn view(&mut self) -> impl Row {
        InPlace(self.0)
    }

    const KEEPS: bool = false;

    #[inline(always)]
    fn kept<S: Simd>(&self, simd: S, _: usize) -> S::Vector {
        simd.splat(0.0)
    }
}

/// The recurrence between two reads: what a stream keeps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Online {
    /// The largest logit that each lane has seen.
    maxima: [f32; LANES],
    /// The sum of the weights of all its others.
    rest: [f64; LANES],
    /// Lanes that have seen a logit.
    lanes: usize,
    reference: Reference,
    /// The largest logit that `reference` is good for. −∞ before there is a finite logit and after
    /// +∞: then every block is looked at.
    limit: f32,
}

impl Online {
    pub(crate) fn new() -> Self {
        Online {
            maxima: [f32::NEG_INFINITY; LANES],
            rest: [0.0; LANES],
            lanes: 0,
            reference: Reference::of(0.0),
            limit: f32::NEG_INFINITY,
        }
    }

    pub(crate) fn is_new(&self) -> bool {
        self.lanes == 0
    }

    /// Reads logits: of a new row the first [`LANES`], then blocks of [`BLOCK`]. A group or block
    /// may be short only at the end of the row.
    #[inline(always)]
    pub(crate) fn read<S: Simd, L: Logits>(&mut self, simd: S, logits: L) {
        let mut running = Running::resume(simd, self);
        let mut unread = logits;
        if self.is_new() {
            let (group, others) = unread.cut_group();
            running.start(group);
            unread = others;
        }
        let last = loop {
            match unread.cut(BLOCK) {
                Ok((block, others)) => {
                    running.block(block);
                    unread = others;
                }
                Err(last) => break last,
            }
        };
        if last.len() > 0 {
            running.block(last);
        }
        *self = running.pause();
    }

    /// Merges the lanes: every maximum but the largest joins the rest.
    #[inline(always)]
    pub(crate) fn finish<S: Simd>(&self, simd: S) -> Denominator {
        // Adding zero makes −0 into +0: which of the two is found first differs by backend.
        let maximum = largest(self.maxima) + 0.0;
        let mut denominator = Denominator {
            maximum,
            own: 0.0,
            rest: total(self.rest),
            reference: self.reference,
            is_empty: self.lanes == 0,
        };
        if maximum == f32::INFINITY {
            if self.maxima.iter().any(|lane| lane.is_nan()) {
                denominator.rest = f64::NAN;
            }
            return denominator;
        }

        let reference = self.reference.splat(simd);
        denominator.own = weight_of(simd, &reference, maximum);
        let mut sum = Sum::new(simd);
        sum.totals = self.rest;
        let mut equal_lanes = 0;
        for (register, start) in (0..self.lanes).step_by(S::Vector::WIDTH).enumerate() {
            let maxima = (&self.maxima[..]).load(simd, start);
            let (others, equal) = maxima.replace_where_equal(
                maxima,
                simd.splat(maximum),
                simd.splat(f32::NEG_INFINITY),
            );
            sum.add(register, reference.weigh(others));
            equal_lanes += equal;
        }
        sum.end_block();
        denominator.rest = total(sum.totals) + (f64::from(equal_lanes) - 1.0) * denominator.own;
        denominator
    }

    /// [`Running::make_room_for`], out of the way of the loop.
    #[cold]
    #[inline(never)]
    fn make_room_for(&mut self, block: &[f32; BLOCK]) -> bool {
        let logits = || block.iter().chain(&self.maxima);
        let maximum = logits().fold(f32::NEG_INFINITY, |maximum, logit| maximum.max(*logit));
        if maximum == f32::INFINITY {
            if logits().any(|logit| logit.is_nan()) {
                self.rest = [f64::NAN; LANES];
            }
            self.maxima = [maximum; LANES];
            self.limit = f32::NEG_INFINITY;
            return false;
        }
        let reference = Reference::of(maximum);
        let rescaling = self.reference.rescaling_to(reference);
        for rest in &mut self.rest {
            // Before the first finite logit there is no rest, and the factor may be infinite.
            if *rest != 0.0 {
                *rest *= rescaling;
            }
        }
        self.reference = reference;
        self.limit = maximum + LAG;
        true
    }
}

/// The recurrence with its lanes in registers.
struct Running<S: Simd> {
    simd: S,
    maxima: Group<S>,
    sum: Sum<S>,
    lanes: usize,
    reference: Reference,
    in_lanes: Lanes<S::Vector>,
    limit: f32,
}

type Group<S> = <<S as Simd>::Vector as Vector>::Group;

/// A sum of weights: the two parts in `f32` within a block, then all in `f64`; by lanes.
struct Sum<S: Simd> {
    simd: S,
    powers: Group<S>,
    /// What large powers swallowed of small ones: Kahan's correction.
    swallowed: Group<S>,
    excesses: Group<S>,
    totals: [f64; LANES],
}

impl<S: Simd> Sum<S> {
    #[inline(always)]
    fn new(simd: S) -> Self {
        let zero = simd.splat(0.0).group();
        Sum {
            simd,
            powers: zero,
            swallowed: zero,
            excesses: zero,
            totals: [0.0; LANES],
        }
    }

    /// Adds to one register of the lanes.
    #[inline(always)]
    fn add(&mut self, register: usize, weight: Weight<S::Vector>) {
        if let (Some(powers), Some(swallowed), Some(excesses)) = (
            self.powers.as_mut().get_mut(register),
            self.swallowed.as_mut().get_mut(register),
            self.excesses.as_mut().get_mut(register),
        ) {
            let rounded = *powers + weight.power;
            *swallowed = *swallowed + ((*powers - rounded) + weight.power);
            *powers = rounded;
            *excesses = weight.power.mul_add(weight.excess, *excesses);
        }
    }

    #[inline(always)]
    fn end_block(&mut self) {
        let powers = self.powers.as_ref().iter();
        let small = self.swallowed.as_ref().iter().zip(self.excesses.as_ref());
        for (register, (powers, (swallowed, excesses))) in powers.zip(small).enumerate() {
            let start = register * S::Vector::WIDTH;
            let totals = self.totals.get_mut(start..).unwrap_or(&mut []);
            powers.add_to(totals);
            (*swallowed + *excesses).add_to(totals);
        }
        let totals = self.totals;
        *self = Sum {
            totals,
            ..Sum::new(self.simd)
        };
    }
}

impl<S: Simd> Running<S> {
    #[inline(always)]
    fn resume(simd: S, state: &Online) -> Self {
        Running {
            simd,
            maxima: load_group(simd, &state.maxima),
            sum: Sum {
                totals: state.rest,
                ..Sum::new(simd)
            },
            lanes: state.lanes,
            reference: state.reference,
            in_lanes: state.reference.splat(simd),
            limit: state.limit,
        }
    }

    #[inline(always)]
    fn pause(&self) -> Online {
        Online {
            maxima: store_group::<S>(&self.maxima),
            rest: self.sum.totals,
            lanes: self.lanes,
            reference: self.reference,
            limit: self.limit,
        }
    }

    /// The first group of a row: its logits are the lanes' maxima, and there is no rest yet.
    #[inline(always)]
    fn start<L: Logits>(&mut self, group: L) {
        for (lane, maxima) in self.maxima.as_mut().iter_mut().enumerate() {
            if lane * S::Vector::WIDTH < group.len() {
                *maxima = group.load(self.simd, lane * S::Vector::WIDTH);
            }
        }
        self.lanes = group.len();
        let maximum = largest(store_group::<S>(&self.maxima));
        if !maximum.is_infinite() {
            self.reference = Reference::of(maximum);
            self.in_lanes = self.reference.splat(self.simd);
            self.limit = maximum + LAG;
        }
    }

    #[inline(always)]
    fn block<L: Logits>(&mut self, block: L) {
        let groups = groups_of(block);
        let mut highest = block.load(self.simd, 0);
        for group in groups {
            for start in (0..LANES).step_by(S::Vector::WIDTH) {
                if start < group.len() {
                    (_, highest) = highest.order(group.load(self.simd, start));
                }
            }
        }
        if highest.any_greater(self.simd.splat(self.limit)) && !self.make_room_for(block) {
            return;
        }
        for group in groups {
            self.group(group);
        }
        self.sum.end_block();
    }

    /// One step of the recurrence in every lane.
    #[inline(always)]
    fn group<L: Logits>(&mut self, group: L) {
        for (register, maximum) in self.maxima.as_mut().iter_mut().enumerate() {
            if register * S::Vector::WIDTH < group.len() {
                let logits = group.load(self.simd, register * S::Vector::WIDTH);
                let (smaller, larger) = maximum.order(logits);
                *maximum = larger;
                self.sum.add(register, self.in_lanes.weigh(smaller));
            }
        }
    }

    /// Raises the reference for a block with a logit above the limit. False if all that can matter
    /// from here on, the block included, is whether there is a NaN: the maximum is +∞.
    #[inline(always)]
    fn make_room_for<L: Logits>(&mut self, block: L) -> bool {
        let mut logits = [f32::NEG_INFINITY; BLOCK];
        for start in (0..block.len()).step_by(S::Vector::WIDTH) {
            store(block.load(self.simd, start), &mut logits, start);
        }
        let mut state = self.pause();
        let goes_on = state.make_room_for(&logits);
        *self = Running::resume(self.simd, &state);
        goes_on
    }
}

#[inline(always)]
fn load_group<S: Simd>(simd: S, lanes: &[f32; LANES]) -> Group<S> {
    let mut group = simd.splat(0.0).group();
    for (lane, register) in group.as_mut().iter_mut().enumerate() {
        *register = (&lanes[..]).load(simd, lane * S::Vector::WIDTH);
    }
    group
}

#[inline(always)]
fn store_group<S: Simd>(group: &Group<S>) -> [f32; LANES] {
    let mut lanes = [0.0; LANES];
    for (lane, register) in group.as_ref().iter().enumerate() {
        store(*register, &mut lanes, lane * S::Vector::WIDTH);
    }
    lanes
}

#[inline(always)]
fn store<V: Vector>(register: V, values: &mut [f32], start: usize) {
    register.store(values.get_mut(start..).unwrap_or(&mut []));
}

#[inline(always)]
fn first_lane<V: Vector>(register: V) -> f32 {
    let mut lane = [0.0];
    register.store(&mut lane);
    lane[0]
}

/// The largest lane. One NaN among others may or may not be it.
#[inline(always)]
fn largest(mut lanes: [f32; LANES]) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            if lanes[lane + half] > lanes[lane] {
                lanes[lane] = lanes[lane + half];
            }
        }
        half /= 2;
    }
    lanes[0]
}

/// Σ lanes, always by the same tree.
#[inline(always)]
fn total(mut lanes: [f64; LANES]) -> f64 {
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            lanes[lane] += lanes[lane + half];
        }
        half /= 2;
    }
    lanes[0]
}

/// The groups of a block; of a short one the last are short or empty.
#[inline(always)]
fn groups_of<L: Logits>(block: L) -> [L; BLOCK / LANES] {
    let (first, others) = block.cut_group();
    let (second, others) = others.cut_group();
    let (third, fourth) = others.cut_group();
    [first, second, third, fourth]
}

/// A row's denominator, in weights under its reference: the maximum's own and the rest.
#[derive(Clone, Copy)]
pub(crate) struct Denominator {
    maximum: f32,
    own: f64,
    rest: f64,
    reference: Reference,
    is_empty: bool,
}

impl Denominator {
    /// Of a row of equal logits the rest is known exactly; the sum by lanes may miss it by so
    /// little that a probability misses 1/N.
    #[inline(always)]
    fn correct_if_constant<S: Simd, L: Logits>(&mut self, simd: S, logits: L) {
        let rest = (logits.len() as f64 - 1.0) * self.own;
        if (self.rest - rest).abs() < rest * 1e-6 && is_constant(simd, logits, self.maximum) {
            self.rest = rest;
        }
    }

    /// Relative to the maximum's own weight.
    #[inline(always)]
    pub(crate) fn normalizer(&self) -> Normalizer {
        if self.is_empty {
            Normalizer::new()
        } else if self.maximum.is_infinite() {
            // The rest is NaN if a logit was; there is no other use for it.
            Normalizer::from_parts(self.maximum, self.rest * 0.0)
        } else {
            Normalizer::from_parts(self.maximum, self.rest / self.own)
        }
    }
}

/// What the second pass makes of a logit.
trait Finish<V: Vector> {
    fn finish(&self, logits: V) -> V;

    /// The same, with what the first pass kept of these logits.
    #[inline(always)]
    fn finish_kept(&self, logits: V, kept: V) -> V {
        let _ = kept;
        self.finish(logits)
    }
}

/// e^(x − maximum) / denominator = 2^n · (c + c·t), with c the inverse of the denominator in two
/// floats, scaled to [1/4, 1] so that no exponent is lost. A result below 2^−127 is 0.
struct Probability<V> {
    lanes: Lanes<V>,
    inverse: V,
    inverse_residue: V,
}

impl<V: Vector> Probability<V> {
    #[inline(always)]
    fn new<S: Simd<Vector = V>>(simd: S, reference: Reference, denominator: f64) -> Self {
        let inverse = 1.0 / denominator;
        let exponent = (((inverse.to_bits() >> 52) & 0x7FF) as i32 - 1021) & !1;
        let scaled = inverse * f64::from_bits(((1023 - exponent) as u64) << 52);
        let high = scaled as f32;
        Probability {
            lanes: reference.scaled(exponent).splat(simd),
            inverse: simd.splat(high),
            inverse_residue: simd.splat((scaled - f64::from(high)) as f32),
        }
    }
}

impl<V: Vector> Finish<V> for Probability<V> {
    #[inline(always)]
    fn finish(&self, logits: V) -> V {
        self.finish_kept(logits, self.lanes.weigh(logits).excess)
    }

    #[inline(always)]
    fn finish_kept(&self, logits: V, excess: V) -> V {
        let residue = self.inverse_residue.mul_add(excess, self.inverse_residue);
        let quotient = self.inverse + self.inverse.mul_add(excess, residue);
        self.lanes.powers(logits) * quotient
    }
}

/// (x − maximum) − log(denominator): both terms have one sign, so nothing cancels.
struct LogProbability<V> {
    maximum: V,
    log_denominator: V,
}

impl<V: Vector> Finish<V> for LogProbability<V> {
    #[inline(always)]
    fn finish(&self, logits: V) -> V {
        (logits - self.maximum) - self.log_denominator
    }
}

/// The same, whatever the logit.
struct Constant<V>(V);

impl<V: Vector> Finish<V> for Constant<V> {
    #[inline(always)]
    fn finish(&self, _: V) -> V {
        self.0
    }
}

/// The second pass.
#[inline(always)]
fn write<S: Simd, R: Row>(simd: S, row: R, finish: &impl Finish<S::Vector>) {
    write_with::<false, S, R>(simd, row, finish);
}

/// The second pass; if `KEPT`, with what the first has kept.
#[inline(always)]
fn write_with<const KEPT: bool, S: Simd, R: Row>(
    simd: S,
    mut row: R,
    finish: &impl Finish<S::Vector>,
) {
    loop {
        match row.cut(LANES) {
            Ok((group, others)) => {
                write_group::<KEPT, S, R>(simd, group, finish);
                row = others;
            }
            Err(last) => return write_group::<KEPT, S, R>(simd, last, finish),
        }
    }
}

#[inline(always)]
fn write_group<const KEPT: bool, S: Simd, R: Row>(
    simd: S,
    mut group: R,
    finish: &impl Finish<S::Vector>,
) {
    for start in (0..LANES).step_by(S::Vector::WIDTH) {
        if start < group.len() {
            let logits = group.logits().load(simd, start);
            let results = if KEPT && R::KEEPS {
                finish.finish_kept(logits, group.kept(simd, start))
            } else {
                finish.finish(logits)
            };
            group.store(start, results);
        }
    }
}

#[inline(always)]
fn denominator<S: Simd, L: Logits>(simd: S, logits: L) -> Denominator {
    let mut online = Online::new();
    online.read(simd, logits);
    online.finish(simd)
}

/// The normalizer of a row: one read.
#[inline(always)]
pub(crate) fn normalizer<S: Simd, L: Logits>(simd: S, logits: L) -> Normalizer {
    denominator(simd, logits).normalizer()
}

/// The longest row that is read twice before it is written, which costs less than the recurrence
/// while the row stays in a cache. The two ways to sum differ in bits, so this is the same
/// everywhere.
pub(crate) const CACHED: usize = 1 << 21;

/// The longest row that is written after the next one was read: two of them, with their results,
/// stay in the first-level cache.
const SHORT: usize = 512;

/// The softmax of a row.
#[inline(always)]
pub(crate) fn softmax<S: Simd, R: Row>(simd: S, row: R) -> Normalizer {
    if row.len() <= CACHED {
        Cached::softmax(simd, row)
    } else {
        Streamed::softmax(simd, row)
    }
}

/// The softmax of each row of a matrix.
#[inline(always)]
pub(crate) fn softmax_rows<S: Simd, R: Row>(simd: S, matrix: R, columns: usize) {
    if columns <= CACHED {
        Cached::softmax_rows(simd, matrix, columns);
    } else {
        Streamed::softmax_rows(simd, matrix, columns);
    }
}

/// A softmax in two passes over a row.
trait TwoPasses: Sized {
    /// The first pass; it may keep something in the places of the results.
    fn read<S: Simd, R: Row>(simd: S, row: R) -> Self;

    /// The second pass, which writes the results.
    fn write<S: Simd, R: Row>(&self, simd: S, row: R);

    fn normalizer(&self) -> Normalizer;

    /// Of short rows, each is written after the next one was read, so that the processor can do
    /// both at once: between the passes there are few steps, but each waits for the one before.
    #[inline(always)]
    fn softmax_rows<S: Simd, R: Row>(simd: S, matrix: R, columns: usize) {
        let mut unread = matrix;
        let mut unwritten = None;
        while let Ok((mut row, others)) = unread.cut(columns) {
            let first = Self::read(simd, row.view());
            if columns > SHORT {
                first.write(simd, row);
            } else if let Some((row, first)) = unwritten.replace((row, first)) {
                Self::write(&first, simd, row);
            }
            unread = others;
        }
        if let Some((row, first)) = unwritten {
            Self::write(&first, simd, row);
        }
    }

    #[inline(always)]
    fn softmax<S: Simd, R: Row>(simd: S, mut row: R) -> Normalizer {
        let first = Self::read(simd, row.view());
        first.write(simd, row);
        first.normalizer()
    }
}

/// The recurrence reads the row, then each logit is weighed anew: two reads and one write, the
/// least there is.
struct Streamed(Denominator);

impl TwoPasses for Streamed {
    #[inline(always)]
    fn read<S: Simd, R: Row>(simd: S, row: R) -> Self {
        Streamed(denominator(simd, row.logits()))
    }

    #[inline(always)]
    fn write<S: Simd, R: Row>(&self, simd: S, row: R) {
        let mut denominator = self.0;
        denominator.correct_if_constant(simd, row.logits());
        write_probabilities::<false, S, R>(simd, row, &denominator);
    }

    #[inline(always)]
    fn normalizer(&self) -> Normalizer {
        self.0.normalizer()
    }
}

/// The three loops of the textbook: the maximum; the weights and their sum; the division. The
/// second keeps the excesses in the places of the results, if these are not the logits' own.
struct Cached(Denominator);

impl TwoPasses for Cached {
    #[inline(always)]
    fn read<S: Simd, R: Row>(simd: S, row: R) -> Self {
        let maximum = maximum(simd, row.logits());
        let is_masked = maximum == f32::NEG_INFINITY;
        let reference = Reference::of(if is_masked { 0.0 } else { maximum });
        let lanes = reference.splat(simd);
        let own = weight_of(simd, &lanes, maximum);
        let is_empty = row.len() == 0;
        let rest = if maximum == f32::INFINITY {
            if has_nan(simd, row.logits()) {
                f64::NAN
            } else {
                0.0
            }
        } else {
            let (others, maxima) = weigh(simd, row, &lanes, maximum);
            others + (maxima as f64 - 1.0) * own
        };
        Cached(Denominator {
            maximum,
            own,
            rest,
            reference,
            is_empty,
        })
    }

    #[inline(always)]
    fn write<S: Simd, R: Row>(&self, simd: S, row: R) {
        write_probabilities::<true, S, R>(simd, row, &self.0);
    }

    #[inline(always)]
    fn normalizer(&self) -> Normalizer {
        self.0.normalizer()
    }
}

#[inline(always)]
fn write_probabilities<const KEPT: bool, S: Simd, R: Row>(
    simd: S,
    row: R,
    denominator: &Denominator,
) {
    if denominator.maximum.is_finite() && !denominator.rest.is_nan() {
        let total = denominator.own + denominator.rest;
        let probability = Probability::new(simd, denominator.reference, total);
        write_with::<KEPT, S, R>(simd, row, &probability);
    } else {
        write(simd, row, &Constant(simd.splat(f32::NAN)));
    }
}

#[inline(always)]
fn is_constant<S: Simd, L: Logits>(simd: S, logits: L, value: f32) -> bool {
    let mut unread = logits;
    while unread.len() > 0 {
        let (group, others) = unread.cut_group();
        let equal: u32 = (0..group.len())
            .step_by(S::Vector::WIDTH)
            .map(|start| {
                let logits = group.load(simd, start);
                logits
                    .replace_where_equal(logits, simd.splat(value), logits)
                    .1
            })
            .sum();
        if equal as usize != group.len() {
            return false;
        }
        unread = others;
    }
    true
}

/// The weight of one logit.
#[inline(always)]
fn weight_of<S: Simd>(simd: S, lanes: &Lanes<S::Vector>, logit: f32) -> f64 {
    let weight = lanes.weigh(simd.splat(logit));
    let power = f64::from(first_lane(weight.power));
    let excess = f64::from(first_lane(weight.excess));
    power + power * excess
}

/// The maximum of a row; −∞ if it is empty.
#[inline(always)]
fn maximum<S: Simd, L: Logits>(simd: S, logits: L) -> f32 {
    let mut maxima = simd.splat(f32::NEG_INFINITY).group();
    let mut unread = logits;
    let last = loop {
        match unread.cut(BLOCK) {
            Ok((block, others)) => {
                raise(simd, &mut maxima, block);
                unread = others;
            }
            Err(last) => break last,
        }
    };
    raise(simd, &mut maxima, last);
    // Adding zero makes −0 into +0: which of the two is found first differs by backend.
    largest(store_group::<S>(&maxima)) + 0.0
}

#[inline(always)]
fn raise<S: Simd, L: Logits>(simd: S, maxima: &mut Group<S>, block: L) {
    for group in groups_of(block) {
        for (register, maximum) in maxima.as_mut().iter_mut().enumerate() {
            if register * S::Vector::WIDTH < group.len() {
                let logits = group.load(simd, register * S::Vector::WIDTH);
                (_, *maximum) = maximum.order(logits);
            }
        }
    }
}

#[inline(always)]
fn has_nan<S: Simd, L: Logits>(simd: S, logits: L) -> bool {
    (0..logits.len()).step_by(S::Vector::WIDTH).any(|start| {
        let mut values = [0.0; LANES];
        logits.load(simd, start).store(&mut values);
        values.iter().any(|value| value.is_nan())
    })
}

/// The sum of the weights of a row without those of the maximum, and how many these are; keeps the
/// excesses.
#[inline(always)]
fn weigh<S: Simd, R: Row>(
    simd: S,
    mut row: R,
    lanes: &Lanes<S::Vector>,
    maximum: f32,
) -> (f64, u64) {
    let maximum = simd.splat(maximum);
    let mut sum = Sum::new(simd);
    let mut maxima = 0;
    let mut groups = 0;
    let last = loop {
        match row.cut(LANES) {
            Ok((group, others)) => {
                maxima += u64::from(weigh_group(simd, group, lanes, maximum, &mut sum));
                groups += 1;
                if groups % (BLOCK / LANES) == 0 {
                    sum.end_block();
                }
                row = others;
            }
            Err(last) => break last,
        }
    };
    maxima += u64::from(weigh_group(simd, last, lanes, maximum, &mut sum));
    sum.end_block();
    (total(sum.totals), maxima)
}

#[inline(always)]
fn weigh_group<S: Simd, R: Row>(
    simd: S,
    mut group: R,
    lanes: &Lanes<S::Vector>,
    maximum: S::Vector,
    sum: &mut Sum<S>,
) -> u32 {
    let mut maxima = 0;
    for register in 0..S::REGISTERS {
        let start = register * S::Vector::WIDTH;
        if start < group.len() {
            let logits = group.logits().load(simd, start);
            let Weight { power, excess } = lanes.weigh(logits);
            let (power, equal) = power.replace_where_equal(logits, maximum, simd.splat(0.0));
            sum.add(register, Weight { power, excess });
            maxima += equal;
            if R::KEEPS {
                group.store(start, excess);
            }
        }
    }
    maxima
}

/// The log-softmax of a row.
#[inline(always)]
pub(crate) fn log_softmax<S: Simd, R: Row>(simd: S, row: R) -> Normalizer {
    Logarithmic::softmax(simd, row)
}

/// The log-softmax of each row of a matrix.
#[inline(always)]
pub(crate) fn log_softmax_rows<S: Simd, R: Row>(simd: S, matrix: R, columns: usize) {
    Logarithmic::softmax_rows(simd, matrix, columns);
}

/// The recurrence reads the row; the second pass subtracts.
struct Logarithmic(Normalizer);

impl TwoPasses for Logarithmic {
    #[inline(always)]
    fn read<S: Simd, R: Row>(simd: S, row: R) -> Self {
        Logarithmic(normalizer(simd, row.logits()))
    }

    #[inline(always)]
    fn write<S: Simd, R: Row>(&self, simd: S, row: R) {
        if self.0.outcome() == Outcome::Finite {
            let log_probability = LogProbability {
                maximum: simd.splat(self.0.max()),
                log_denominator: simd.splat(self.0.log_denominator() as f32),
            };
            write(simd, row, &log_probability);
        } else {
            write(simd, row, &Constant(simd.splat(f32::NAN)));
        }
    }

    #[inline(always)]
    fn normalizer(&self) -> Normalizer {
        self.0
    }
}

/// e^x for x ≤ 0; greater x counts as 0.
#[inline(always)]
pub(crate) fn exponential<S: Simd, R: Row>(simd: S, row: R) {
    let exponential = Exponential {
        lanes: Reference::unit().splat(simd),
        unit: simd.splat(Reference::UNIT),
        zero: simd.splat(0.0),
    };
    write(simd, row, &exponential);
}

struct Exponential<V> {
    lanes: Lanes<V>,
    unit: V,
    zero: V,
}

impl<V: Vector> Finish<V> for Exponential<V> {
    #[inline(always)]
    fn finish(&self, arguments: V) -> V {
        // 0 − max(0 − x, 0) is min(x, 0) and keeps a NaN.
        let arguments = self.zero - (self.zero - arguments).at_least(self.zero);
        self.lanes.weigh(arguments).value() * self.unit
    }
}

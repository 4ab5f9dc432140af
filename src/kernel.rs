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
//! for each block of 64 logits
//!     if some logit or lane maximum > limit               rare: raise the reference
//!         rest ← (rest + Σ sums) · e^(reference − reference');  sums ← 0
//!     for each group of 32 in the block
//!         (smaller, maxima) ← order(maxima, group)
//!         sums ← sums + weight(smaller)                   f32, a power of two and its excess apart
//!     every 8 blocks: rest ← rest + Σ sums;  sums ← 0     f64
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

use crate::exp::{LAG, Lanes, Reference};
use crate::normalizer::{Normalizer, Outcome};
use crate::vector::{LANES, Simd, Vector};

/// Logits between two looks at whether the reference must be raised.
pub(crate) const BLOCK: usize = 2 * LANES;

/// Blocks whose weights are summed in `f32` before the sum is added up in `f64`.
const BLOCKS_IN_F32: u32 = 8;

/// Logits to be read; the hook for all that is done to a logit as it is loaded.
pub(crate) trait Logits: Copy {
    fn len(self) -> usize;

    /// The first `count`, or all if there are fewer, and the others.
    fn cut(self, count: usize) -> (Self, Self);

    /// A register of logits from `start`; −∞ past the end.
    fn load<S: Simd>(self, simd: S, start: usize) -> S::Vector;
}

impl Logits for &[f32] {
    #[inline(always)]
    fn len(self) -> usize {
        <[f32]>::len(self)
    }

    #[inline(always)]
    fn cut(self, count: usize) -> (Self, Self) {
        self.split_at_checked(count).unwrap_or((self, &[]))
    }

    #[inline(always)]
    fn load<S: Simd>(self, simd: S, start: usize) -> S::Vector {
        simd.load(self.get(start..).unwrap_or(&[]), f32::NEG_INFINITY)
    }
}

/// Logits, and places of the same number for the results.
pub(crate) trait Row: Sized {
    fn len(&self) -> usize;

    /// The first `count`, or all if there are fewer, and the others.
    fn cut(self, count: usize) -> (Self, Self);

    fn logits(&self) -> impl Logits;

    /// Writes a register of results from `start`; nothing past the end.
    fn store<V: Vector>(&mut self, start: usize, results: V);
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
    fn cut(self, count: usize) -> (Self, Self) {
        if count > self.logits.len() || count > self.results.len() {
            let nothing = Apart {
                logits: &[],
                results: &mut [],
            };
            return (self, nothing);
        }
        let (logits, other_logits) = self.logits.split_at(count);
        let (results, other_results) = self.results.split_at_mut(count);
        let others = Apart {
            logits: other_logits,
            results: other_results,
        };
        (Apart { logits, results }, others)
    }

    #[inline(always)]
    fn logits(&self) -> impl Logits {
        self.logits
    }

    #[inline(always)]
    fn store<V: Vector>(&mut self, start: usize, results: V) {
        results.store(self.results.get_mut(start..).unwrap_or(&mut []));
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
    fn cut(self, count: usize) -> (Self, Self) {
        if count > self.0.len() {
            return (self, InPlace(&mut []));
        }
        let (row, others) = self.0.split_at_mut(count);
        (InPlace(row), InPlace(others))
    }

    #[inline(always)]
    fn logits(&self) -> impl Logits {
        &*self.0
    }

    #[inline(always)]
    fn store<V: Vector>(&mut self, start: usize, results: V) {
        results.store(self.0.get_mut(start..).unwrap_or(&mut []));
    }
}

/// The recurrence between two reads: what a stream keeps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Online {
    /// The largest logit that each lane has seen.
    maxima: [f32; LANES],
    /// The weights of all others since they were last added to `rest`, summed in their two parts.
    powers: [f32; LANES],
    excesses: [f32; LANES],
    /// Blocks in those sums.
    blocks: u32,
    /// Lanes that have seen a logit.
    lanes: usize,
    rest: f64,
    reference: Reference,
    /// The largest logit that `reference` is good for. −∞ before there is a finite logit and after
    /// +∞: then every block is looked at.
    limit: f32,
}

impl Online {
    pub(crate) fn new() -> Self {
        Online {
            maxima: [f32::NEG_INFINITY; LANES],
            powers: [0.0; LANES],
            excesses: [0.0; LANES],
            blocks: 0,
            lanes: 0,
            rest: 0.0,
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
            let (group, others) = unread.cut(LANES);
            running.start(group);
            unread = others;
        }
        while unread.len() >= BLOCK {
            let (block, others) = unread.cut(BLOCK);
            running.block(block);
            unread = others;
        }
        if unread.len() > 0 {
            running.block(unread);
        }
        *self = running.pause();
    }

    /// Merges the lanes: every maximum but the largest joins the rest.
    #[inline(always)]
    pub(crate) fn finish<S: Simd>(&self, simd: S) -> Denominator {
        // Adding zero makes −0 into +0: which of the two is found first differs by backend.
        let maximum = largest(self.maxima) + 0.0;
        let rest = self.rest + sum(&self.powers, &self.excesses);
        let mut denominator = Denominator {
            maximum,
            own: 0.0,
            rest,
            reference: self.reference,
            is_empty: self.lanes == 0,
        };
        if maximum == f32::INFINITY {
            if self.maxima.iter().any(|lane| lane.is_nan()) {
                denominator.rest = f64::NAN;
            }
            return denominator;
        }

        let lanes = self.reference.splat(simd);
        let own = lanes.weigh(simd.splat(maximum));
        let (power, excess) = (first_lane(own.power), first_lane(own.excess));
        denominator.own = power + power * excess;

        let mut powers = [0.0; LANES];
        let mut excesses = [0.0; LANES];
        let mut equal_lanes = 0;
        for start in (0..self.lanes).step_by(S::Vector::WIDTH) {
            let maxima = (&self.maxima[..]).load(simd, start);
            let (others, equal) =
                maxima.replace_equal(simd.splat(maximum), simd.splat(f32::NEG_INFINITY));
            let weight = lanes.weigh(others);
            store(weight.power, &mut powers, start);
            store(weight.power * weight.excess, &mut excesses, start);
            equal_lanes += equal;
        }
        denominator.rest +=
            sum(&powers, &excesses) + (f64::from(equal_lanes) - 1.0) * denominator.own;
        denominator
    }

    /// [`Running::make_room_for`], out of the way of the loop.
    #[cold]
    #[inline(never)]
    fn make_room_for(&mut self, block: &[f32; BLOCK]) -> bool {
        let is_nan = block.iter().chain(&self.maxima).any(|logit| logit.is_nan());
        let maximum = block
            .iter()
            .chain(&self.maxima)
            .fold(f32::NEG_INFINITY, |maximum, logit| maximum.max(*logit));
        self.rest += sum(&self.powers, &self.excesses);
        (self.powers, self.excesses, self.blocks) = ([0.0; LANES], [0.0; LANES], 0);
        if maximum == f32::INFINITY {
            self.maxima = [maximum; LANES];
            self.limit = f32::NEG_INFINITY;
            if is_nan {
                self.rest = f64::NAN;
            }
            return false;
        }
        let reference = Reference::of(maximum);
        if self.rest != 0.0 {
            self.rest *= self.reference.rescaling_to(reference);
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
    powers: Group<S>,
    excesses: Group<S>,
    blocks: u32,
    lanes: usize,
    rest: f64,
    reference: Reference,
    in_lanes: Lanes<S::Vector>,
    limit: f32,
}

type Group<S> = <<S as Simd>::Vector as Vector>::Group;

impl<S: Simd> Running<S> {
    #[inline(always)]
    fn resume(simd: S, state: &Online) -> Self {
        Running {
            simd,
            maxima: load_group(simd, &state.maxima),
            powers: load_group(simd, &state.powers),
            excesses: load_group(simd, &state.excesses),
            blocks: state.blocks,
            lanes: state.lanes,
            rest: state.rest,
            reference: state.reference,
            in_lanes: state.reference.splat(simd),
            limit: state.limit,
        }
    }

    #[inline(always)]
    fn pause(&self) -> Online {
        Online {
            maxima: store_group::<S>(&self.maxima),
            powers: store_group::<S>(&self.powers),
            excesses: store_group::<S>(&self.excesses),
            blocks: self.blocks,
            lanes: self.lanes,
            rest: self.rest,
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
        let (first, second) = block.cut(LANES);
        let mut highest = first.load(self.simd, 0);
        for part in [first, second] {
            for lane in 0..LANES / S::Vector::WIDTH {
                if lane * S::Vector::WIDTH < part.len() {
                    (_, highest) = highest.order(part.load(self.simd, lane * S::Vector::WIDTH));
                }
            }
        }
        if highest.any_greater(self.simd.splat(self.limit)) && !self.make_room_for(block) {
            return;
        }
        self.group(first);
        self.group(second);
        self.blocks += 1;
        if self.blocks == BLOCKS_IN_F32 {
            self.add_up();
        }
    }

    /// One step of the recurrence in every lane.
    #[inline(always)]
    fn group<L: Logits>(&mut self, group: L) {
        let lanes = self
            .maxima
            .as_mut()
            .iter_mut()
            .zip(self.powers.as_mut())
            .zip(self.excesses.as_mut());
        for (lane, ((maximum, powers), excesses)) in lanes.enumerate() {
            if lane * S::Vector::WIDTH < group.len() {
                let logits = group.load(self.simd, lane * S::Vector::WIDTH);
                let (smaller, larger) = maximum.order(logits);
                *maximum = larger;
                let weight = self.in_lanes.weigh(smaller);
                *powers = *powers + weight.power;
                *excesses = weight.power.mul_add(weight.excess, *excesses);
            }
        }
    }

    /// Adds the sums of the lanes to the rest.
    #[inline(always)]
    fn add_up(&mut self) {
        let zero = self.simd.splat(0.0).group();
        self.rest += sum(
            &store_group::<S>(&self.powers),
            &store_group::<S>(&self.excesses),
        );
        (self.powers, self.excesses, self.blocks) = (zero, zero, 0);
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
fn first_lane<V: Vector>(register: V) -> f64 {
    let mut lane = [0.0];
    register.store(&mut lane);
    f64::from(lane[0])
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

/// Σ (powers + excesses), in `f64` and always by the same tree.
#[inline(always)]
fn sum(powers: &[f32; LANES], excesses: &[f32; LANES]) -> f64 {
    let mut sums = [0.0; LANES];
    for lane in 0..LANES {
        sums[lane] = f64::from(powers[lane]) + f64::from(excesses[lane]);
    }
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            sums[lane] += sums[lane + half];
        }
        half /= 2;
    }
    sums[0]
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
}

/// e^(x − maximum) / denominator = 2^n · (c + c·t), with c the inverse of the denominator in two
/// floats, scaled to [1/4, 1] so that no exponent is lost.
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
        let weight = self.lanes.weigh(logits);
        let residue = self
            .inverse_residue
            .mul_add(weight.excess, self.inverse_residue);
        let quotient = self.inverse + self.inverse.mul_add(weight.excess, residue);
        weight.power * quotient
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
fn write<S: Simd, R: Row>(simd: S, mut row: R, finish: &impl Finish<S::Vector>) {
    while row.len() >= BLOCK {
        let (block, others) = row.cut(BLOCK);
        let (first, second) = block.cut(LANES);
        write_group(simd, first, finish);
        write_group(simd, second, finish);
        row = others;
    }
    let (first, second) = row.cut(LANES);
    write_group(simd, first, finish);
    write_group(simd, second, finish);
}

#[inline(always)]
fn write_group<S: Simd, R: Row>(simd: S, mut group: R, finish: &impl Finish<S::Vector>) {
    for lane in 0..LANES / S::Vector::WIDTH {
        let start = lane * S::Vector::WIDTH;
        if start < group.len() {
            let logits = group.logits().load(simd, start);
            group.store(start, finish.finish(logits));
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

/// The softmax of each row of a matrix; gives the normalizer of the last.
///
/// A row is written only after the next one was read, so that the processor can do both at once:
/// the steps between the passes are few but each waits for the one before.
#[inline(always)]
pub(crate) fn softmax<S: Simd, R: Row>(simd: S, matrix: R, columns: usize) -> Normalizer {
    let (mut row, mut unread) = matrix.cut(columns);
    let mut of_row = denominator(simd, row.logits());
    while unread.len() > 0 {
        let (next, others) = unread.cut(columns);
        let of_next = denominator(simd, next.logits());
        write_softmax(simd, row, of_row);
        (row, of_row, unread) = (next, of_next, others);
    }
    write_softmax(simd, row, of_row)
}

#[inline(always)]
fn write_softmax<S: Simd, R: Row>(simd: S, row: R, denominator: Denominator) -> Normalizer {
    let normalizer = denominator.normalizer();
    if normalizer.outcome() == Outcome::Finite {
        let count = row.len() as f64;
        let mut total = denominator.own + denominator.rest;
        let if_constant = count * denominator.own;
        // Of a row of equal logits the sum is known exactly; the lanes' sums may miss it by so
        // little that a probability misses 1/N.
        if (total - if_constant).abs() < total * 1e-6
            && is_constant(simd, row.logits(), denominator.maximum)
        {
            total = if_constant;
        }
        let probability = Probability::new(simd, denominator.reference, total);
        write(simd, row, &probability);
    } else {
        write(simd, row, &Constant(simd.splat(f32::NAN)));
    }
    normalizer
}

/// The log-softmax of a row.
#[inline(always)]
pub(crate) fn log_softmax<S: Simd, R: Row>(simd: S, row: R) -> Normalizer {
    let normalizer = normalizer(simd, row.logits());
    if normalizer.outcome() == Outcome::Finite {
        let log_probability = LogProbability {
            maximum: simd.splat(normalizer.max()),
            log_denominator: simd.splat(normalizer.log_denominator() as f32),
        };
        write(simd, row, &log_probability);
    } else {
        write(simd, row, &Constant(simd.splat(f32::NAN)));
    }
    normalizer
}

#[inline(always)]
fn is_constant<S: Simd, L: Logits>(simd: S, logits: L, value: f32) -> bool {
    let mut unread = logits;
    while unread.len() > 0 {
        let (group, others) = unread.cut(LANES);
        let mut equal = 0;
        for start in (0..group.len()).step_by(S::Vector::WIDTH) {
            equal += group
                .load(simd, start)
                .replace_equal(simd.splat(value), simd.splat(value))
                .1;
        }
        if equal as usize != group.len() {
            return false;
        }
        unread = others;
    }
    true
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

//! The inputs whose results are frozen: made of integers and powers of two alone, so that they are
//! the same on every target.
//!
//! Nothing here is shared with the other tests. Their inputs may change; these may not, or every
//! digest changes with them. (The row `inputs` of the table tells that case from the others.)

/// The splitmix64 generator.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^ (bits >> 31)
    }

    /// Less than `bound`, which is small; 0 if that is 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        ((self.next() >> 33) % bound.max(1) as u64) as usize
    }

    /// Within ±2^`exponent`, never 0: an odd integer of 24 bits times a power of two.
    pub(crate) fn within(&mut self, exponent: i32) -> f32 {
        let integer = 2 * (self.next() >> 41) as i32 + 1 - (1 << 23);
        integer as f32 * power_of_two(exponent - 23)
    }

    /// In [0, 1).
    pub(crate) fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 * power_of_two(-24)
    }

    /// `low` ..= `high`, in steps of 1/4096.
    fn between(&mut self, low: i32, high: i32) -> f32 {
        let steps = self.below(((high - low) * 4096 + 1) as usize) as i32;
        steps_of_4096(low * 4096 + steps)
    }
}

fn power_of_two(exponent: i32) -> f32 {
    f32::from_bits(((127 + exponent) as u32) << 23)
}

fn steps_of_4096(steps: i32) -> f32 {
    steps as f32 * power_of_two(-12)
}

/// What a row is like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    /// ±2^−9.
    Tiny,
    /// ±1.
    Small,
    /// −12 to 8: the row that everything is made for.
    Usual,
    /// −60 to 20.
    Wide,
    /// −104 to 208, where no maximum is subtracted.
    Unshifted,
    /// ±256.
    Large,
    /// ±2^20.
    VeryLarge,
    /// To ±3.4e38.
    Huge,
    /// 1e6 to 1e6 + 40.
    AboveMillion,
    /// −1e6 − 40 to −1e6.
    BelowMillion,
    /// 1e30 and its neighbours.
    NearHuge,
    /// −1e30 and its neighbours.
    NearLowest,
    /// The maximum is −104 exactly: the lowest that is not subtracted.
    AtLowerThreshold,
    /// The maximum is the next below.
    BelowLowerThreshold,
    /// The maximum is 208 exactly: the highest that is not subtracted.
    AtUpperThreshold,
    /// The maximum is the next above.
    AboveUpperThreshold,
    /// Any finite bits.
    AnyFinite,
    /// Subnormal numbers.
    Subnormal,
    /// 0 and −0.
    Zeros,
    /// The same logit.
    Equal,
    /// Two values, about half each.
    TwoValues,
    /// One logit far above all others: a confident row.
    Confident,
    /// Two confident logits of the same size.
    TwoConfident,
    /// The first half is −∞.
    LeadingMasked,
    /// One in three is −∞.
    SomeMasked,
    /// One in three is −1e30.
    MaskedByBillions,
    /// All but one are −∞.
    OneLeft,
    /// Rising by 200 from the first to the last.
    Ascending,
    /// Falling by 200.
    Descending,
    /// Rising by 30 every 64 logits.
    Staircase,
    /// All −∞.
    FullyMasked,
    /// One NaN.
    Nan,
    /// One +∞.
    Infinite,
    /// One NaN and one +∞.
    NanAndInfinite,
}

impl Kind {
    pub(crate) const EVERY: [Kind; 34] = [
        Kind::Tiny,
        Kind::Small,
        Kind::Usual,
        Kind::Wide,
        Kind::Unshifted,
        Kind::Large,
        Kind::VeryLarge,
        Kind::Huge,
        Kind::AboveMillion,
        Kind::BelowMillion,
        Kind::NearHuge,
        Kind::NearLowest,
        Kind::AtLowerThreshold,
        Kind::BelowLowerThreshold,
        Kind::AtUpperThreshold,
        Kind::AboveUpperThreshold,
        Kind::AnyFinite,
        Kind::Subnormal,
        Kind::Zeros,
        Kind::Equal,
        Kind::TwoValues,
        Kind::Confident,
        Kind::TwoConfident,
        Kind::LeadingMasked,
        Kind::SomeMasked,
        Kind::MaskedByBillions,
        Kind::OneLeft,
        Kind::Ascending,
        Kind::Descending,
        Kind::Staircase,
        Kind::FullyMasked,
        Kind::Nan,
        Kind::Infinite,
        Kind::NanAndInfinite,
    ];

    /// The usual one and one in `every` of the others: which, depends on `len`, so that rows of
    /// about the same length have all kinds between them.
    pub(crate) fn one_in(every: usize, len: usize) -> impl Iterator<Item = Kind> {
        let kinds = Kind::EVERY.into_iter().enumerate();
        kinds
            .filter(move |(index, kind)| {
                *kind == Kind::Usual || (index + len).is_multiple_of(every)
            })
            .map(|(_, kind)| kind)
    }

    /// Those to try rows of a length with: all where rows are short.
    pub(crate) fn of_length(len: usize) -> impl Iterator<Item = Kind> {
        let every = match len {
            0..=40 => 1,
            41..=600 => 3,
            601..=3000 => 10,
            3001..=5000 => 17,
            _ => Kind::EVERY.len(),
        };
        Kind::one_in(every, len)
    }

    /// A row of this kind. It depends on the kind, the length and the seed alone.
    pub(crate) fn row(self, len: usize, seed: u64) -> Vec<f32> {
        let seed = seed << 40 ^ (len as u64) << 8 ^ self as u64;
        let random = &mut Random(seed);
        let mut row: Vec<f32> = (0..len)
            .map(|index| self.logit(index, len, random))
            .collect();
        let peak = random.below(len);
        let other = random.below(len);
        match self {
            Kind::AtLowerThreshold => put(&mut row, peak, -104.0),
            Kind::BelowLowerThreshold => put(&mut row, peak, (-104.0_f32).next_down()),
            Kind::AtUpperThreshold => put(&mut row, peak, 208.0),
            Kind::AboveUpperThreshold => put(&mut row, peak, 208.0_f32.next_up()),
            Kind::Confident => put(&mut row, peak, 5.0),
            Kind::TwoConfident => {
                put(&mut row, peak, 5.0);
                put(&mut row, other, 5.0);
            }
            Kind::OneLeft => put(&mut row, peak, 0.375),
            Kind::Nan => put(&mut row, peak, f32::NAN),
            Kind::Infinite => put(&mut row, peak, f32::INFINITY),
            Kind::NanAndInfinite => {
                put(&mut row, peak, f32::INFINITY);
                put(&mut row, other, f32::NAN);
            }
            _ => {}
        }
        row
    }

    fn logit(self, index: usize, len: usize, random: &mut Random) -> f32 {
        let usual = random.between(-12, 8);
        // In steps of 1/4096, a rise of 200 in all.
        let rise = (index as u64 * 200 * 4096 / len as u64) as i32;
        match self {
            Kind::Tiny => random.within(-9),
            Kind::Small => random.within(0),
            Kind::Wide => random.between(-60, 20),
            Kind::Unshifted => random.between(-104, 208),
            Kind::Large => random.within(8),
            Kind::VeryLarge => random.within(20),
            Kind::Huge => random.within(128),
            Kind::AboveMillion => (16_000_000 + random.below(640) as i32) as f32 * power_of_two(-4),
            Kind::BelowMillion => {
                (-16_000_000 - random.below(640) as i32) as f32 * power_of_two(-4)
            }
            Kind::NearHuge => f32::from_bits(1e30_f32.to_bits() + random.below(4) as u32),
            Kind::NearLowest => f32::from_bits((-1e30_f32).to_bits() + random.below(4) as u32),
            Kind::AtLowerThreshold | Kind::BelowLowerThreshold => random.between(-150, -105),
            Kind::AtUpperThreshold | Kind::AboveUpperThreshold => random.between(170, 207),
            Kind::AnyFinite => {
                let bits = random.next() as u32;
                // The highest exponent, that of ∞ and NaN, loses a bit.
                let is_finite = bits & 0x7F80_0000 != 0x7F80_0000;
                f32::from_bits(if is_finite { bits } else { bits ^ 0x0080_0000 })
            }
            Kind::Subnormal => f32::from_bits(random.next() as u32 & 0x807F_FFFF),
            Kind::Zeros => f32::from_bits(random.next() as u32 & 0x8000_0000),
            Kind::Equal => 3.25,
            Kind::TwoValues => [1.5, -2.25][random.below(2)],
            Kind::Confident | Kind::TwoConfident => random.between(-28, -12),
            Kind::LeadingMasked if index < len / 2 => f32::NEG_INFINITY,
            Kind::SomeMasked if random.below(3) == 0 => f32::NEG_INFINITY,
            Kind::MaskedByBillions if random.below(3) == 0 => -1e30,
            Kind::OneLeft | Kind::FullyMasked => f32::NEG_INFINITY,
            Kind::Ascending => usual + steps_of_4096(rise - 100 * 4096),
            Kind::Descending => usual - steps_of_4096(rise - 100 * 4096),
            Kind::Staircase => usual + (index / 64 % 40) as f32 * 30.0,
            _ => usual,
        }
    }
}

fn put(row: &mut [f32], index: usize, logit: f32) {
    if let Some(place) = row.get_mut(index) {
        *place = logit;
    }
}

/// A matrix of usual rows, or, if `mixed`, of one kind after the other.
pub(crate) fn matrix(rows: usize, columns: usize, mixed: bool) -> Vec<f32> {
    let first = rows + columns;
    (0..rows)
        .flat_map(|row| {
            let kind = if mixed {
                Kind::EVERY[(first + row) % Kind::EVERY.len()]
            } else {
                Kind::Usual
            };
            kind.row(columns, row as u64 + 1)
        })
        .collect()
}

/// A tensor of `shape`: slabs whose columns are usual, and slabs of mixed columns, in turn.
pub(crate) fn tensor(shape: [usize; 3]) -> Vec<f32> {
    let [outer, axis, inner] = shape;
    let mut tensor = Vec::with_capacity(outer * axis * inner);
    for slab in 0..outer {
        let columns = matrix(inner, axis, (slab + axis + inner) % 2 == 1);
        for row in 0..axis {
            tensor.extend((0..inner).map(|column| columns[column * axis + row]));
        }
    }
    tensor
}

//! From bytes to rows, so that few bytes reach lanes, blocks, long rows and special values.

/// The longest row that is made.
pub const LONGEST: usize = 70_000;

/// What small integers are replaced by in the kinds that have special values.
const SPECIAL: [f32; 8] = [
    f32::NEG_INFINITY,
    -1e30,
    -0.0,
    1e-45,
    f32::MIN,
    f32::MAX,
    f32::INFINITY,
    f32::NAN,
];

/// Bytes, read from the front. Past the end there are zeros.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    /// All of `bytes`, unread.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Input(bytes)
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        let Some((byte, others)) = self.0.split_first() else {
            return 0;
        };
        self.0 = others;
        *byte
    }

    /// The next two bytes.
    pub fn word(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    /// A number that is mostly small: a byte, or a word behind one of the last bytes.
    pub fn count(&mut self) -> usize {
        match self.byte() {
            0xFC.. => self.word().into(),
            byte => byte.into(),
        }
    }

    /// A number: in an eighth of all cases the upper half of any bits of `f32`, otherwise a small
    /// integer times 2^−8 to 2^7.
    pub fn number(&mut self) -> f32 {
        match self.byte() {
            0xE0.. => upper_half([self.byte(), self.byte()]),
            byte => f32::from(self.byte().cast_signed()) * power_of_two(byte, -8, 16),
        }
    }

    /// Four numbers, as a row that is this long: each stands for so many values, and they repeat.
    pub fn pattern(&mut self, length: usize) -> Vec<f32> {
        let numbers = [(); 4].map(|()| self.number());
        let run = 1 + self.count();
        (0..length).map(|i| numbers[i / run % 4]).collect()
    }

    /// A shape [outer, axis, inner] of at most `most` values: the first below 16, the last small,
    /// any or a multiple of 256.
    pub fn shape(&mut self, most: usize) -> [usize; 3] {
        let kind = self.byte();
        let (axis, inner) = (self.count(), self.count());
        let inner = match kind & 3 {
            0 => 1 + inner % 4,
            1 => 256 * (1 + inner % 4),
            _ => inner,
        }
        .min(most);
        let outer = usize::from(kind >> 4).min(most / inner.max(1));
        [outer, axis.min(most / (outer * inner).max(1)), inner]
    }

    /// So many values: those of [`row`](Self::row) repeated, or zeros if it has none.
    #[must_use]
    pub fn values(self, length: usize) -> Vec<f32> {
        let mut row = self.row();
        if row.is_empty() {
            row.push(0.0);
        }
        row.into_iter().cycle().take(length).collect()
    }

    /// All bytes that are left as a row: one byte says of which kind and how long, and some kinds
    /// have parameters before the values.
    ///
    /// | low 3 bits | values |
    /// |---|---|
    /// | 0 | bits of `f32`, 4 bytes each |
    /// | 1 | the upper halves of such bits, 2 bytes each |
    /// | 2 | small integers, 1 byte each, times a scale, around an offset |
    /// | 3 | the same with special values among them |
    /// | 4 | as 2, with a slope along the row |
    /// | 5 | as 3, with a slope along the row |
    /// | 6 | two values, 1 bit each, and one certain place has the first |
    /// | 7 | runs of one value, 3 bytes each |
    ///
    /// | high 5 bits | length |
    /// |---|---|
    /// | 0 to 23 | as many values as there are |
    /// | 24 to 30 | below 2,048, the values repeated |
    /// | 31 | 4,465 to [`LONGEST`], the values repeated |
    #[must_use]
    pub fn row(mut self) -> Vec<f32> {
        let kind = self.byte();
        let length = match kind >> 3 {
            0..=23 => None,
            24..=30 => Some(usize::from(self.word() % 2048)),
            _ => Some(usize::from(self.word()) + LONGEST - usize::from(u16::MAX)),
        };
        let mut slope = 0.0;
        let mut certain = None;
        let values = match kind & 7 {
            0 => self.raw(),
            1 => self.upper_halves(),
            2 => self.integers(false),
            3 => self.integers(true),
            4 => {
                slope = self.slope();
                self.integers(false)
            }
            5 => {
                slope = self.slope();
                self.integers(true)
            }
            6 => {
                let first = f32::from(self.word().cast_signed()) * 0.03125;
                let second = first - f32::from(self.word()) * 0.00390625;
                certain = Some((usize::from(self.word()), first));
                self.two_values(first, second)
            }
            _ => self.runs(),
        };
        let length = length.unwrap_or(values.len()).min(LONGEST);
        let mut row: Vec<f32> = values.into_iter().cycle().take(length).collect();
        if slope != 0.0 {
            for (i, value) in row.iter_mut().enumerate() {
                *value += slope * i as f32;
            }
        }
        if let Some((place, first)) = certain
            && let Some(place) = place.checked_rem(row.len())
        {
            row[place] = first;
        }
        row
    }

    fn raw(self) -> Vec<f32> {
        let (values, _) = self.0.as_chunks();
        values
            .iter()
            .map(|bits| f32::from_le_bytes(*bits))
            .collect()
    }

    fn upper_halves(self) -> Vec<f32> {
        let (values, _) = self.0.as_chunks();
        values.iter().map(|bits| upper_half(*bits)).collect()
    }

    fn integers(mut self, with_special: bool) -> Vec<f32> {
        let offset = f32::from(self.word().cast_signed()) * power_of_two(self.byte(), -16, 32);
        let scale = power_of_two(self.byte(), -12, 16);
        let last_special = if with_special { self.byte() & 7 } else { 0 };
        let value = |byte: &u8| match byte {
            0x78..=0x7F if with_special => SPECIAL[usize::from((byte & 7).min(last_special))],
            _ => offset + scale * f32::from(byte.cast_signed()),
        };
        self.0.iter().map(value).collect()
    }

    fn slope(&mut self) -> f32 {
        f32::from(self.byte().cast_signed()) * power_of_two(self.byte(), -16, 16)
    }

    /// In half of all cases the second value only.
    fn two_values(mut self, first: f32, second: f32) -> Vec<f32> {
        let mask = if self.byte() < 0x80 { 0 } else { 0xFF };
        let bits = self
            .0
            .iter()
            .flat_map(|byte| (0..8).map(move |bit| (byte & mask) >> bit & 1));
        bits.map(|bit| if bit == 1 { first } else { second })
            .collect()
    }

    fn runs(self) -> Vec<f32> {
        let (runs, _) = self.0.as_chunks();
        let run = |[low, high, count]: &[u8; 3]| {
            std::iter::repeat_n(upper_half([*low, *high]), usize::from(*count) + 1)
        };
        runs.iter().flat_map(run).collect()
    }
}

fn upper_half(bytes: [u8; 2]) -> f32 {
    f32::from_bits(u32::from(u16::from_le_bytes(bytes)) << 16)
}

/// 2^lowest and the powers above, `count` of them.
fn power_of_two(byte: u8, lowest: i32, count: u8) -> f32 {
    2_f32.powi(lowest + i32::from(byte % count))
}

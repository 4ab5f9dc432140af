//! Rows to try, each from a few numbers that a failure can name.

/// The splitmix64 generator: integers only, so the same everywhere.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    #[expect(clippy::should_implement_trait, reason = "nothing iterates over it")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^ (bits >> 31)
    }

    /// In [0, 1).
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Less than `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// Fisher and Yates.
    pub fn shuffle<T>(&mut self, values: &mut [T]) {
        for last in (1..values.len()).rev() {
            values.swap(last, self.below(last + 1));
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Order {
    Ascending,
    Descending,
    Shuffled,
    /// One from the upper half, one from the lower.
    Alternating,
    /// Every 32, 64, 128 or 512 logits the row rises by its spread: a new maximum, time and again.
    Staircase,
}

/// A row of `len` logits from `max − spread` to `max`.
#[derive(Clone, Copy, Debug)]
pub struct Recipe {
    pub len: usize,
    pub order: Order,
    pub spread: f32,
    pub max: f32,
    /// All but the maximum, and in every second row one to three near it, are lower by this much: a
    /// confident row.
    pub gap: f32,
    pub seed: u64,
}

impl Recipe {
    pub fn fill(&self, row: &mut Vec<f32>) {
        let Recipe { len, order, .. } = *self;
        let mut random = Random(self.seed);
        let peak = match order {
            Order::Ascending => len.saturating_sub(1),
            Order::Descending => 0,
            Order::Shuffled | Order::Alternating => random.below(len),
            Order::Staircase => len.saturating_sub(1 + random.below(len.min(64))),
        };
        let step = random.pick(&[32, 64, 128, 512]);
        let steps = len.saturating_sub(1) / step;
        let top = f64::from(self.max) - f64::from(self.gap);
        row.clear();
        row.extend((0..len).map(|index| {
            let jitter = random.unit();
            let depth = match order {
                Order::Ascending => ((len - 1 - index) as f64 + jitter) / len as f64,
                Order::Descending => (index as f64 + jitter) / len as f64,
                Order::Shuffled => jitter,
                Order::Alternating => (jitter + (index % 2) as f64) / 2.0,
                Order::Staircase => (steps - index / step) as f64 + jitter / 2.0,
            };
            let logit = top - f64::from(self.spread) * depth;
            logit.clamp(f64::from(f32::MIN), f64::from(f32::MAX)) as f32
        }));
        if self.gap > 0.0 && random.below(2) == 0 {
            for _ in 0..=random.below(3) {
                let below = random.unit() * f64::from(self.gap.min(2.0));
                let place = random.below(len);
                if let Some(logit) = row.get_mut(place) {
                    *logit = ((f64::from(self.max) - below) as f32).max(f32::MIN);
                }
            }
        }
        if let Some(logit) = row.get_mut(peak) {
            *logit = self.max;
        }
    }

    pub fn row(&self) -> Vec<f32> {
        let mut row = Vec::new();
        self.fill(&mut row);
        row
    }
}

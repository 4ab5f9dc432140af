//! The sampler against a full sort in `f64`.

use crate::rows::Random;
use online_softmax::{Backend, Sampler};

/// A sampler's parameters, as given.
#[derive(Clone, Copy, Debug)]
pub struct Parameters {
    pub temperature: f32,
    pub k: usize,
    pub p: f32,
    pub min_p: f32,
}

pub const PLAIN: Parameters = Parameters {
    temperature: 1.0,
    k: 0,
    p: 1.0,
    min_p: 0.0,
};

impl Parameters {
    pub fn on(self, backend: Backend) -> Sampler {
        Sampler::new()
            .backend(backend)
            .expect("it is available")
            .temperature(self.temperature)
            .top_k(self.k)
            .top_p(self.p)
            .min_p(self.min_p)
    }

    pub fn random(random: &mut Random) -> Self {
        Parameters {
            temperature: random.pick(&[1.0, 0.7, 0.1, 1.5, 20.0, 0.0]),
            k: random.pick(&[0, 0, 1, 2, 40, 1000, 100_000]),
            p: random.pick(&[1.0, 2.0, 0.0, 0.1, 0.5, 0.9, 0.95, 0.999]),
            min_p: random.pick(&[0.0, 0.0, 0.001, 0.1, 0.9, 1.0]),
        }
    }
}

/// What a sampler must find, by a sort.
pub struct Truth {
    /// The classes with a probability above 0, the most probable first, with their weights: the
    /// first of the largest logits alone at temperature 0.
    pub order: Vec<(usize, f64)>,
    /// Relative error of a sum of weights: half a ULP of tempered logits, and a few of `f32`.
    tolerance: f64,
}

impl Truth {
    pub fn of(row: &[f32], temperature: f32) -> Self {
        let mut order: Vec<usize> = (0..row.len())
            .filter(|index| row[*index] > f32::NEG_INFINITY)
            .collect();
        order.sort_by(|a, b| row[*b].partial_cmp(&row[*a]).unwrap().then(a.cmp(b)));
        if temperature == 0.0 {
            order.truncate(1);
            return Truth {
                order: order.into_iter().map(|index| (index, 1.0)).collect(),
                tolerance: 0.0,
            };
        }
        let tempered = |index: usize| f64::from(row[index]) / f64::from(temperature);
        let max = tempered(order[0]);
        let order = order
            .into_iter()
            .map(|index| (index, (tempered(index) - max).exp()))
            .collect();
        Truth {
            order,
            tolerance: (16.0 + 2.0 * max.abs()) * 2_f64.powi(-23),
        }
    }

    pub fn mass(&self, count: usize) -> f64 {
        self.order[..count].iter().map(|(_, weight)| weight).sum()
    }

    /// The least and the largest number of classes that may be kept, by the tolerance.
    fn counts(&self, parameters: Parameters) -> (usize, usize) {
        let Parameters { k, p, min_p, .. } = parameters;
        let k = if k == 0 { usize::MAX } else { k };
        let within_k = k.min(self.order.len());
        let top_p = |p: f64| {
            if parameters.p >= 1.0 {
                return within_k;
            }
            let enough = p * self.mass(within_k);
            let mut mass = 0.0;
            let reached = self.order[..within_k].iter().position(|(_, weight)| {
                mass += weight;
                mass >= enough
            });
            reached.map_or(within_k, |last| last + 1)
        };
        let above_min = |p: f64| {
            let is_kept = |(_, weight): &&(usize, f64)| min_p == 0.0 || *weight >= p;
            self.order.iter().take_while(is_kept).count()
        };
        let (less, more) = (1.0 - self.tolerance, 1.0 + self.tolerance);
        let (p, min_p) = (f64::from(p), f64::from(min_p));
        (
            top_p(p * less).min(above_min(min_p * more)).max(1),
            top_p(p * more).min(above_min(min_p * less)),
        )
    }
}

/// What is kept, and what is drawn by several numbers. The largest logit of the row is finite.
pub fn check(backend: Backend, row: &[f32], parameters: Parameters) {
    let sampler = parameters.on(backend);
    let truth = Truth::of(row, parameters.temperature);
    let kept = sampler.kept(row);
    let what = || {
        format!(
            "{}, {}: {parameters:?}, {kept:?}",
            backend.name(),
            row.len()
        )
    };

    let (least, most) = truth.counts(parameters);
    assert!(
        (least..=most).contains(&kept.count),
        "{least}..={most}, {}",
        what()
    );
    let first = &truth.order[..kept.count];
    assert!(kept.threshold == row[first[kept.count - 1].0], "{}", what());
    let mut is_kept = vec![false; row.len()];
    for (index, _) in first {
        is_kept[*index] = true;
    }
    for (index, is_kept) in is_kept.into_iter().enumerate() {
        let contains = kept.contains(index, row[index]);
        assert_eq!(contains, is_kept, "{index}: {}", what());
    }
    let mass = truth.mass(kept.count);
    let share = mass / truth.mass(truth.order.len());
    assert!(
        (f64::from(kept.mass) - share).abs() <= truth.tolerance,
        "{share}, {}",
        what()
    );

    // The sum of the weights before each column, and of all.
    let mut sums = vec![0.0; row.len() + 1];
    for (index, weight) in first {
        sums[index + 1] = *weight;
    }
    for column in 0..row.len() {
        sums[column + 1] += sums[column];
    }
    let mut last = 0;
    for uniform in [
        0.0,
        1e-7,
        0.1,
        0.25,
        0.5,
        0.77,
        0.9,
        0.999,
        1.0_f32.next_down(),
    ] {
        let drawn = sampler.draw(row, uniform).unwrap();
        let what = || format!("{uniform}: {drawn:?}, {}", what());
        assert!(kept.contains(drawn.index, row[drawn.index]), "{}", what());
        assert_eq!(drawn.logit.to_bits(), row[drawn.index].to_bits());
        assert!(drawn.index >= last, "{last}, {}", what());
        last = drawn.index;
        let (point, error) = (f64::from(uniform) * mass, truth.tolerance * mass);
        assert!(sums[drawn.index] <= point + error, "{}", what());
        assert!(sums[drawn.index + 1] >= point - error, "{}", what());
        let probability = (sums[drawn.index + 1] - sums[drawn.index]) / mass;
        let difference = (f64::from(drawn.probability) - probability).abs();
        assert!(
            difference <= truth.tolerance * probability + 1e-15,
            "{}",
            what()
        );
        assert!(drawn.probability > 0.0, "{}", what());
    }
}

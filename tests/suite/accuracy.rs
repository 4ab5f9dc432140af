//! The accuracy table of the documentation, backend by backend, on rows of every length class,
//! order, spread and position on the number line; and what the textbook forms get on the same.
//!
//! `cargo test --release --test suite accuracy:: -- --nocapture` prints the worst errors; with
//! `ONLINE_SOFTMAX_EXHAUSTIVE=1` in the environment, of a hundred times as many short rows.

use online_softmax::{Backend, Normalizer, reference};
use std::sync::OnceLock;
use support::oracle::Truth;
use support::rows::{Order, Random, Recipe};
use support::{Bounds, EVERY_BACKEND, THOROUGH, on, processor_has, ulp};

support::on_every_backend!(
    all_rows_are_within_bounds,
    pushed_logits_are_within_bounds,
    many_small_weights_beside_a_large_one,
    many_negligible_terms
);

const ORDERS: [Order; 5] = [
    Order::Ascending,
    Order::Descending,
    Order::Shuffled,
    Order::Alternating,
    Order::Staircase,
];

const SPREADS: [f32; 12] = [
    0.0,
    1e-3,
    1.0,
    4.0,
    22.5,
    30.0,
    80.0,
    104.0,
    200.0,
    1e4,
    1e30,
    f32::MAX,
];

/// Around every number at which a method could change: 0, where e^x leaves `f32`, where the logits
/// stop being reduced as they are, where n · ln 2 stops being exact.
const MAXIMA: [f32; 33] = [
    0.0,
    -0.0,
    1e-3,
    -1e-40,
    1.0,
    -1.0,
    10.7,
    -50.3,
    88.5,
    -87.4,
    -103.0,
    -104.0_f32.next_up(),
    -104.0,
    -104.0_f32.next_down(),
    -104.5,
    -126.0,
    -300.0,
    186.0,
    207.0,
    208.0_f32.next_down(),
    208.0,
    208.0_f32.next_up(),
    208.5,
    230.1,
    1e3,
    -1e3,
    262_144.0,
    262_144.0_f32.next_down(),
    -262_144.0,
    1e6,
    -1e6,
    1e30,
    f32::MAX,
];

/// Of which lengths, and how many rows of each.
fn lengths() -> Vec<(usize, usize)> {
    let per = |thorough, else_| if THOROUGH { thorough } else { else_ };
    let around = |boundary: usize, rows: usize| {
        [boundary - 1, boundary, boundary + 1].map(|length| (length, rows))
    };
    let factor = if support::is_exhaustive() { 100 } else { 1 };
    let mut lengths: Vec<(usize, usize)> =
        (1..=300).map(|len| (len, per(150, 8) * factor)).collect();
    for boundary in (384..=1024).step_by(128) {
        lengths.extend(around(boundary, per(50, 3)));
    }
    for boundary in (1536..=4096).step_by(512) {
        lengths.extend(around(boundary, per(30, 1)));
    }
    for boundary in [8192, 16384, 32768, 65536] {
        lengths.extend(around(boundary, per(20, 1)));
    }
    if THOROUGH {
        for boundary in [1 << 17, 1 << 18, 1 << 20] {
            lengths.extend(around(boundary, 6));
        }
        lengths.extend([(3_000_001, 3), (1 << 24, 4)]);
    } else {
        lengths.push((1 << 18, 1));
    }
    lengths
}

/// Every row of this test, the same for all.
fn recipes() -> Vec<Recipe> {
    let mut random = Random(1);
    let mut recipes = Vec::new();
    let combinations = ORDERS.len() * SPREADS.len() * MAXIMA.len();
    let mut combination = 0;
    for (len, rows) in lengths() {
        for _ in 0..rows {
            // A step coprime to their number: all combinations come up, and soon all of one kind.
            combination = (combination + 1237) % combinations;
            recipes.push(Recipe {
                len,
                order: ORDERS[combination % ORDERS.len()],
                spread: SPREADS[combination / ORDERS.len() % SPREADS.len()],
                max: MAXIMA[combination / ORDERS.len() / SPREADS.len()],
                gap: 0.0,
                seed: random.next_u64(),
            });
        }
        // Confident rows, where the logarithm of a probability is near zero; at the wider gaps only
        // the sum of many is enough to be seen.
        for _ in 0..rows.div_ceil(3) {
            recipes.push(Recipe {
                len,
                order: random.pick(&ORDERS),
                spread: random.pick(&[0.0, 0.5, 5.0, 60.0]),
                max: random.pick(&MAXIMA),
                gap: 1.0 + 124.0 * random.unit() as f32,
                seed: random.next_u64(),
            });
        }
    }
    // So far below the maximum that only very many are seen beside it.
    for gap in 80..=130 {
        let len = match (THOROUGH, gap % 10) {
            (true, 0) => 1 << 22,
            (true, _) => 1 << 17,
            (false, 0) => 1 << 15,
            (false, _) => 1000,
        };
        recipes.push(Recipe {
            len,
            order: random.pick(&ORDERS),
            spread: 0.0,
            max: random.pick(&MAXIMA),
            gap: gap as f32,
            seed: random.next_u64(),
        });
    }
    if THOROUGH {
        // The sum at its longest, of equal and nearly equal terms.
        for (order, spread) in [
            (Order::Shuffled, 0.0),
            (Order::Shuffled, 1e-3),
            (Order::Ascending, 4.0),
            (Order::Shuffled, 30.0),
        ] {
            recipes.push(Recipe {
                len: 1 << 24,
                order,
                spread,
                max: 1.7,
                gap: 0.0,
                seed: random.next_u64(),
            });
        }
    }
    recipes
}

/// The largest error of an output, and where.
#[derive(Clone, Debug, Default)]
struct Worst {
    ulps: f64,
    place: String,
}

impl Worst {
    fn see(&mut self, ulps: f64, place: impl FnOnce() -> String) {
        if ulps > self.ulps {
            self.ulps = ulps;
            self.place = place();
        }
    }
}

/// The largest error of each output.
#[derive(Clone, Debug, Default)]
struct Errors {
    softmax: Worst,
    /// Of outputs below 2^−126, in units of 2^−126.
    small: Worst,
    log_softmax: Worst,
    log_sum_exp: Worst,
}

impl Errors {
    fn of_softmax(&mut self, recipe: &Recipe, row: &[f32], truth: &Truth, results: &[f32]) {
        for (index, (logit, p)) in row.iter().zip(results).enumerate() {
            let true_p = truth.probability(*logit);
            let (worst, error) = if true_p < Bounds::SMALL {
                let error = (f64::from(*p) - true_p).abs() / Bounds::SMALL;
                let error = if error.is_nan() { f64::INFINITY } else { error };
                (&mut self.small, error)
            } else {
                (&mut self.softmax, ulp::error(*p, true_p))
            };
            worst.see(error, || {
                format!("{recipe:?}: probability {index} of {logit:e} is {p:e}, not {true_p:e}")
            });
        }
    }

    fn of_log_softmax(&mut self, recipe: &Recipe, row: &[f32], truth: &Truth, results: &[f32]) {
        for (index, (logit, log_p)) in row.iter().zip(results).enumerate() {
            let true_log_p = truth.log_probability(*logit);
            self.log_softmax.see(ulp::error(*log_p, true_log_p), || {
                format!(
                    "{recipe:?}: log-probability {index} of {logit:e} is {log_p:e}, \
                     not {true_log_p:e}"
                )
            });
        }
    }

    fn of_log_sum_exp(&mut self, recipe: &Recipe, truth: &Truth, result: f32) {
        let true_result = truth.log_sum_exp();
        let error = ulp::error_above_one(result, true_result);
        self.log_sum_exp.see(error, || {
            format!("{recipe:?}: log-sum-exp is {result:e}, not {true_result:e}")
        });
    }

    fn outputs(&self) -> [(&'static str, &Worst); 4] {
        [
            ("softmax", &self.softmax),
            ("softmax < 2^-126", &self.small),
            ("log_softmax", &self.log_softmax),
            ("log_sum_exp", &self.log_sum_exp),
        ]
    }
}

fn measure(backend: Backend) -> Errors {
    let softmax = on(backend);
    let mut errors = Errors::default();
    let (mut row, mut results) = (Vec::new(), Vec::new());
    for recipe in recipes() {
        recipe.fill(&mut row);
        let truth = Truth::of(&row);
        results.clear();
        results.resize(row.len(), f32::NAN);
        softmax.row(&row, &mut results).unwrap();
        errors.of_softmax(&recipe, &row, &truth, &results);
        softmax.log_row(&row, &mut results).unwrap();
        errors.of_log_softmax(&recipe, &row, &truth, &results);
        let result = softmax.log_sum_exp(&row).unwrap();
        errors.of_log_sum_exp(&recipe, &truth, result);
    }
    errors
}

/// The textbook forms on the same rows: the logarithm of the three-loop softmax, and
/// x − max − log(sum).
fn measure_textbook() -> (Errors, Errors) {
    let (mut of_log, mut of_difference) = (Errors::default(), Errors::default());
    let (mut row, mut results) = (Vec::new(), Vec::new());
    for recipe in recipes() {
        recipe.fill(&mut row);
        let truth = Truth::of(&row);
        results.clear();
        results.resize(row.len(), f32::NAN);
        reference::three_loop(&row, &mut results);
        of_log.of_softmax(&recipe, &row, &truth, &results);
        for p in &mut results {
            *p = libm::logf(*p);
        }
        of_log.of_log_softmax(&recipe, &row, &truth, &results);

        let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f32 = row.iter().map(|logit| libm::expf(logit - max)).sum();
        let log_sum = libm::logf(sum);
        for (logit, result) in row.iter().zip(&mut results) {
            *result = logit - max - log_sum;
        }
        of_difference.of_log_softmax(&recipe, &row, &truth, &results);
        of_difference.of_log_sum_exp(&recipe, &truth, max + log_sum);
    }
    (of_log, of_difference)
}

/// Measured once, for the bounds and for the table.
fn measured(backend: Backend) -> &'static Errors {
    static MEASURED: [OnceLock<Errors>; EVERY_BACKEND.len()] =
        [const { OnceLock::new() }; EVERY_BACKEND.len()];
    let index = EVERY_BACKEND.iter().position(|other| *other == backend);
    MEASURED[index.unwrap()].get_or_init(|| measure(backend))
}

fn all_rows_are_within_bounds(backend: Backend) {
    let name = backend.name();
    let bounds = Bounds::of(backend);
    let errors = measured(backend);
    for (worst, bound) in [
        (&errors.softmax, bounds.softmax),
        (&errors.small, 1.0),
        (&errors.log_softmax, bounds.log_softmax),
        (&errors.log_sum_exp, bounds.log_sum_exp),
    ] {
        let Worst { ulps, place } = worst;
        assert!(*ulps <= bound, "{name}: {ulps} > {bound}: {place}");
    }
}

#[test]
fn table_of_worst_errors() {
    let (of_log, of_difference) = measure_textbook();
    let lines: Vec<(&str, &Errors)> = EVERY_BACKEND
        .into_iter()
        .filter(|backend| processor_has(*backend))
        .map(|backend| (backend.name(), measured(backend)))
        .chain([
            ("three loops, log of it", &of_log),
            ("x - max - log(sum)", &of_difference),
        ])
        .collect();
    println!(
        "\nworst error in ULP; of softmax < 2^-126 in 2^-126; of log_sum_exp in ULP of max(1, |it|)"
    );
    let header = Errors::default();
    print!("{:22}", "");
    for (output, _) in header.outputs() {
        print!(" {output:>16}");
    }
    for (name, errors) in &lines {
        print!("\n{name:22}");
        for (_, worst) in errors.outputs() {
            if worst.place.is_empty() {
                print!(" {:>16}", "-");
            } else {
                print!(" {:16.3}", worst.ulps);
            }
        }
    }
    println!("\n");
    for (name, errors) in &lines {
        for (output, Worst { ulps, place }) in errors.outputs() {
            if !place.is_empty() {
                println!("{name}, {output}: {ulps:.3}, {place}");
            }
        }
    }
    // The rows are hard enough to tell the forms apart.
    assert!(of_log.softmax.ulps > 20.0);
    assert!(of_difference.log_softmax.ulps > 20.0);
}

/// The state fed one logit after another, or slice by slice and merged, as threads would.
fn pushed_logits_are_within_bounds(backend: Backend) {
    let softmax = on(backend);
    let mut random = Random(2);
    let stride = if THOROUGH { 7 } else { 29 };
    for recipe in recipes().iter().step_by(stride) {
        if recipe.len > 1 << 20 {
            continue;
        }
        let row = recipe.row();
        let truth = Truth::of(&row);
        let mut pushed = Normalizer::new();
        let mut merged = Normalizer::new();
        let mut unread = &row[..];
        while !unread.is_empty() {
            let (slice, others) = unread.split_at(1 + random.below(unread.len()));
            pushed.extend(slice.iter().copied());
            merged = merged.merge(softmax.normalizer(slice).unwrap());
            unread = others;
        }
        for normalizer in [pushed, merged] {
            let context = format!("{}: {recipe:?}: {normalizer:?}", backend.name());
            let error = ulp::error_above_one(normalizer.log_sum_exp(), truth.log_sum_exp());
            assert!(error <= 1.0, "{error}: {context}");
            let error = ulp::error(normalizer.denominator(), truth.denominator());
            assert!(error <= 1.0, "{error}: {context}");
            for _ in 0..4 {
                let logit = random.pick(&row);
                let error = ulp::error(normalizer.probability(logit), truth.probability(logit));
                assert!(error <= 1.0, "{error}, {logit:e}: {context}");
                let log_p = normalizer.log_probability(logit);
                let error = ulp::error(log_p, truth.log_probability(logit));
                assert!(error <= 1.0, "{error}, {logit:e}: {context}");
            }
        }
    }
}

/// Equal logits far below one: the sum of their weights must not lose what a single one of them is
/// too small to add to the large one.
fn many_small_weights_beside_a_large_one(backend: Backend) {
    let softmax = on(backend);
    let bound = Bounds::of(backend).softmax;
    let mut worst: f64 = 0.0;
    let mut worst_log: f64 = 0.0;
    let lengths: &[usize] = if THOROUGH {
        &[1000, 3000, 1 << 16, 1 << 17, 1 << 18, 1 << 21]
    } else {
        &[3000, 1 << 16]
    };
    for len in lengths {
        let mut probabilities = vec![0.0; *len];
        for case in 0..if *len > 1 << 17 { 4 } else { 24 } {
            let max = [-1.2594758, -89.38336, 142.0987, -13.709273, 5.5, 1e4][case % 6];
            let below = max - [14.402223, 13.625, 17.33, 15.03, 16.6][case % 5];
            let mut row = vec![below; *len];
            row[case % len] = max;
            let truth = Truth::of(&row);
            let normalizer = softmax
                .row(&row, &mut probabilities)
                .expect("of one length");
            for index in [case % len, len - 1] {
                let error = ulp::error(probabilities[index], truth.probability(row[index]));
                assert!(
                    error <= bound,
                    "{}: {len} of {below} below {max}: {error} ULP",
                    backend.name()
                );
                worst = worst.max(error);
            }
            let error = ulp::error(normalizer.log_probability(max), truth.log_probability(max));
            assert!(
                error <= 2.0,
                "{}: {len} of {below} below {max}: {error} ULP",
                backend.name()
            );
            worst_log = worst_log.max(error);
        }
    }
    println!(
        "{}: {worst:.3} ULP, log-probability of the maximum {worst_log:.3}",
        backend.name()
    );
}

/// Many terms near the least numerator, beside one maximum: the result of the maximum is a small
/// logarithm that they make.
fn many_negligible_terms(backend: Backend) {
    let bounds = Bounds::of(backend);
    for max in [-16.0, -15.9, -1.0, 0.0, 0.1, 24.0, 25.0, 209.0] {
        for gap in [87.0, 103.0, 104.0, 104.61, 104.7, 110.0, 119.0, 120.4] {
            for count in [7, 12, 31, 100, 2047, 50_000] {
                let mut row = vec![max - gap; count];
                row.insert(count / 2, max);
                let truth = Truth::of(&row);
                let mut results = vec![f32::NAN; row.len()];
                on(backend).log_row(&row, &mut results).unwrap();
                for at in [0, count / 2] {
                    let error = ulp::error(results[at], truth.log_probability(row[at]));
                    assert!(
                        error <= bounds.log_softmax,
                        "{backend:?}: {max} and {count} times {gap} below: {error} ULP"
                    );
                }
            }
        }
    }
}

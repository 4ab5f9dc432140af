//! The sampler, on every backend, against a full sort in `f64`.

use online_softmax::{Backend, Error, Kept, Outcome, Sampler};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use support::rows::Random;
use support::sampling::{PLAIN, Parameters, Truth, check};
use support::{FUSED, THOROUGH, UNFUSED, backends};

support::on_every_backend!(
    filters_are_those_of_a_full_sort,
    rows_that_mislead_a_sample,
    ties_and_special_logits,
    any_row_and_any_parameters,
    equal_logits_are_counted_exactly,
    bounds_of_the_parameters,
    rows_without_a_distribution,
    temperature_zero_is_the_most_probable,
    draws_have_their_probabilities,
);

/// Nearly normal.
fn normal(random: &mut Random, len: usize, deviation: f64) -> Vec<f32> {
    let mut value = || {
        let sum: f64 = (0..6).map(|_| random.unit() - 0.5).sum();
        (sum * deviation * 2_f64.sqrt()) as f32
    };
    (0..len).map(|_| value()).collect()
}

const LENGTHS: [usize; 16] = [
    1, 2, 10, 31, 32, 33, 64, 100, 127, 129, 300, 2048, 2049, 4095, 4096, 5000,
];

fn filters_are_those_of_a_full_sort(backend: Backend) {
    let mut random = Random(1);
    for len in LENGTHS {
        for _ in 0..if THOROUGH { 20 } else { 2 } {
            let deviation = random.pick(&[0.1, 1.0, 4.0, 20.0]);
            let mut row = normal(&mut random, len, deviation);
            if random.below(3) == 0 {
                for logit in &mut row {
                    *logit = logit.round();
                }
            }
            check(backend, &row, Parameters::random(&mut random));
        }
    }
    let len = if THOROUGH { 128_256 } else { 20_000 };
    for deviation in [0.1, 2.0, 3.0, 4.0] {
        let row = normal(&mut random, len, deviation);
        for (temperature, k, p) in [
            (0.7, 0, 0.95),
            (0.7, 0, 0.5),
            (1.0, 50, 0.9),
            (1.0, 15_000, 0.9),
        ] {
            let parameters = Parameters {
                temperature,
                k,
                p,
                ..PLAIN
            };
            check(backend, &row, parameters);
        }
    }
}

/// Long rows in which the groups that are looked at first are unlike the others.
fn rows_that_mislead_a_sample(backend: Backend) {
    let mut random = Random(2);
    let distances: &[f32] = if THOROUGH {
        &[-30.0, -3.0, 3.0, 30.0]
    } else {
        &[-3.0, 30.0]
    };
    for distance in distances {
        let mut row = normal(&mut random, if THOROUGH { 10_000 } else { 5000 }, 1.0);
        for group in row.chunks_mut(1024) {
            for logit in group.iter_mut().take(32) {
                *logit += distance;
            }
        }
        for p in [0.1, 0.5, 0.99] {
            check(backend, &row, Parameters { p, ..PLAIN });
        }
        for k in [1, 400, 3000] {
            check(backend, &row, Parameters { k, ..PLAIN });
        }
    }
    // One class has nearly all, and the sample does not see it.
    let mut row = normal(&mut random, 10_000, 1.0);
    row[700] = 40.0;
    for p in [0.5, 0.95, 1.0_f32.next_down()] {
        check(backend, &row, Parameters { p, ..PLAIN });
    }
    // Far below it, all others: every representation has its turn.
    for offset in [0.0, 1e4, -1e4, 1e30] {
        let row: Vec<f32> = (0..6000).map(|i| offset + (i % 97) as f32 * 0.01).collect();
        check(
            backend,
            &row,
            Parameters {
                p: 0.6,
                k: 5000,
                ..PLAIN
            },
        );
    }
}

fn ties_and_special_logits(backend: Backend) {
    let mut random = Random(3);
    let special = [
        f32::NEG_INFINITY,
        -1e30,
        f32::MIN,
        -0.0,
        0.0,
        1e-45,
        1.0,
        2.0,
    ];
    for len in [1, 2, 33, 200, 5000] {
        for choices in 2..=special.len() {
            let mut row: Vec<f32> = (0..len).map(|_| random.pick(&special[..choices])).collect();
            row[len / 2] = special[choices - 1];
            for _ in 0..6 {
                let parameters = Parameters::random(&mut random);
                check(backend, &row, parameters);
            }
        }
    }
    check(backend, &[f32::MAX, f32::MAX, f32::MIN], PLAIN);
    check(backend, &[f32::MIN, f32::MIN.next_up()], PLAIN);
    // −0 and +0 are equal: the lower index is the more probable.
    for row in [[-0.0, 0.0], [0.0, -0.0]] {
        let kept = Parameters { k: 1, ..PLAIN }.on(backend).kept(&row);
        assert!(kept.contains(0, row[0]) && !kept.contains(1, row[1]));
    }
}

fn any_row_and_any_parameters(backend: Backend) {
    let logit = prop_oneof![
        8 => -30.0_f32..30.0,
        4 => (-8_i8..8).prop_map(f32::from),
        1 => Just(f32::NEG_INFINITY),
        1 => prop::num::f32::NORMAL.prop_map(|x| x % 1e4),
    ];
    let row = prop_oneof![
        3 => prop::collection::vec(logit.clone(), 1..40),
        2 => prop::collection::vec(logit, 40..600),
    ];
    let parameters = (
        prop_oneof![Just(1.0_f32), 0.05_f32..5.0],
        prop_oneof![Just(0_usize), 1_usize..50],
        prop_oneof![Just(1.0_f32), 0.0_f32..1.0],
        prop_oneof![Just(0.0_f32), 0.0_f32..1.0],
    );
    let config = Config {
        cases: if THOROUGH { 2000 } else { 40 },
        failure_persistence: None,
        ..Config::default()
    };
    let property = |(mut row, (temperature, k, p, min_p)): (Vec<f32>, _)| {
        row[0] = row[0].max(-1e4);
        let parameters = Parameters {
            temperature,
            k,
            p,
            min_p,
        };
        check(backend, &row, parameters);
        Ok(())
    };
    if let Err(error) = TestRunner::new(config).run(&(row, parameters), property) {
        panic!("{}: {error}", backend.name());
    }
}

/// Where all weights are equal there is no rounding at all.
fn equal_logits_are_counted_exactly(backend: Backend) {
    for len in [1, 3, 10, 64, 1000, 4096, 10_000] {
        for logit in [0.0, 7.5, -300.0, 1e30] {
            let row = vec![logit; len];
            for p in [0.0, 1e-6, 0.1, 0.25, 0.5, 0.9, 0.95, 1.0_f32.next_down()] {
                let kept = Parameters { p, ..PLAIN }.on(backend).kept(&row);
                let count = (f64::from(p) * len as f64).ceil().max(1.0) as usize;
                assert_eq!(kept.count, count, "{p} of {len}, {}", backend.name());
                assert!(kept.contains(count - 1, logit));
                assert!(count == len || !kept.contains(count, logit));
            }
            let sampler = PLAIN.on(backend);
            for uniform in [0.0, 0.3, 0.5, 0.75, 1.0_f32.next_down()] {
                let drawn = sampler.draw(&row, uniform).unwrap();
                let index = (f64::from(uniform) * len as f64).floor() as usize;
                assert_eq!(drawn.index, index, "{uniform} of {len}, {}", backend.name());
                assert_eq!(drawn.probability, (1.0 / len as f64) as f32);
            }
        }
    }
}

/// How a message shows a parameter.
fn shown(parameter: f32) -> &'static str {
    match parameter {
        1.0 => "1.000000000",
        -0.1 => "-0.100000001",
        -1e-45 => "-(less than 10^-9)",
        f32::INFINITY => "∞",
        parameter => {
            assert!(parameter.is_nan());
            "NaN"
        }
    }
}

fn bounds_of_the_parameters(backend: Backend) {
    let row = [1.0, 3.0, f32::NEG_INFINITY, 2.0];
    let refused = |parameters: Parameters, parameter, expected, given: f32| {
        let sampler = parameters.on(backend);
        let error = Error::ParameterOutOfRange {
            parameter,
            expected,
            given_bits: given.to_bits(),
        };
        assert_eq!(sampler.draw(&row, 0.5), Err(error));
        let kept = sampler.kept(&row);
        assert_eq!((kept.count, kept.mass), (0, 0.0));
        assert!(!row.iter().enumerate().any(|(i, x)| kept.contains(i, *x)));
    };
    for temperature in [-1.0, -1e-45, f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let parameters = Parameters {
            temperature,
            ..PLAIN
        };
        let expected = "finite and at least 0";
        refused(parameters, "the temperature", expected, temperature);
    }
    for p in [-0.1, f32::NAN, f32::NEG_INFINITY] {
        refused(Parameters { p, ..PLAIN }, "top-p", "at least 0", p);
    }
    for min_p in [-0.1, f32::NAN, 1.0_f32.next_up(), f32::INFINITY] {
        refused(Parameters { min_p, ..PLAIN }, "min-p", "from 0 to 1", min_p);
    }
    for temperature in [0.0, 1.0] {
        let parameters = Parameters {
            temperature,
            ..PLAIN
        };
        for uniform in [1.0, -0.1, -1e-45, f32::NAN, f32::INFINITY] {
            let error = parameters.on(backend).draw(&row, uniform).unwrap_err();
            let message = error.to_string();
            assert!(message.contains("the uniform number to be at least 0 and below 1"));
            assert!(message.contains(shown(uniform)), "{message}");
        }
        assert!(parameters.on(backend).draw(&row, -0.0).is_ok());
    }

    let count = |parameters: Parameters| parameters.on(backend).kept(&row).count;
    assert_eq!(count(PLAIN), 3);
    assert_eq!(
        count(Parameters {
            p: f32::INFINITY,
            ..PLAIN
        }),
        3
    );
    assert_eq!(count(Parameters { p: 0.0, ..PLAIN }), 1);
    assert_eq!(count(Parameters { p: -0.0, ..PLAIN }), 1);
    assert_eq!(
        count(Parameters {
            min_p: 1.0,
            ..PLAIN
        }),
        1
    );
    assert_eq!(
        count(Parameters {
            min_p: 1e-45,
            ..PLAIN
        }),
        3
    );
    for k in [3, 4, 5, usize::MAX] {
        assert_eq!(count(Parameters { k, ..PLAIN }), 3);
    }
    assert_eq!(PLAIN.on(backend).kept(&row).mass, 1.0);
    assert_eq!(Sampler::default(), Sampler::new());
}

fn rows_without_a_distribution(backend: Backend) {
    let (nan, infinity, masked) = (f32::NAN, f32::INFINITY, f32::NEG_INFINITY);
    for temperature in [0.0, 0.5] {
        for k in [0, 2] {
            let sampler = Parameters {
                temperature,
                k,
                ..PLAIN
            }
            .on(backend);
            let refused = |row: &[f32], outcome| {
                let error = Err(Error::NoDistribution { outcome });
                assert_eq!(sampler.draw(row, 0.5), error, "{}", row.len());
                let Kept { count, mass, .. } = sampler.kept(row);
                assert_eq!((count, mass), (0, 0.0));
            };
            refused(&[], Outcome::Empty);
            for len in [1, 8, 100, 5000] {
                refused(&vec![masked; len], Outcome::FullyMasked);
                for place in [0, len / 3, len - 1] {
                    for fill in [0.0, masked, infinity] {
                        let mut row = vec![fill; len];
                        row[place] = nan;
                        let has_infinity = fill == infinity && len > 1;
                        let outcome = if has_infinity {
                            None
                        } else {
                            Some(Outcome::NaN)
                        };
                        match outcome {
                            Some(outcome) => refused(&row, outcome),
                            None => assert!(sampler.draw(&row, 0.5).is_err()),
                        }
                        row[place] = infinity;
                        refused(&row, Outcome::PositiveInfinity);
                    }
                }
            }
        }
    }
}

fn temperature_zero_is_the_most_probable(backend: Backend) {
    let mut random = Random(4);
    for len in LENGTHS {
        let mut row = normal(&mut random, len, 3.0);
        for logit in &mut row {
            *logit = logit.round();
        }
        let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let index = row.iter().position(|logit| *logit == max).unwrap();
        // The last is so low that x/T overflows, unless it is 0.
        for temperature in [0.0, -0.0, 1e-45] {
            let parameters = Parameters {
                temperature,
                k: 3,
                p: 0.5,
                ..PLAIN
            };
            let sampler = parameters.on(backend);
            for uniform in [0.0, 0.5, 1.0_f32.next_down()] {
                let drawn = sampler.draw(&row, uniform).unwrap();
                assert_eq!((drawn.index, drawn.probability), (index, 1.0));
            }
            let kept = sampler.kept(&row);
            assert_eq!((kept.count, kept.threshold, kept.mass), (1, max, 1.0));
            assert!(kept.contains(index, max) && !kept.contains(index + 1, max));
        }
    }
}

/// Pearson's χ², of a fixed seed.
fn draws_have_their_probabilities(backend: Backend) {
    let draws = if THOROUGH { 1_000_000 } else { 3_000 };
    let mut random = Random(5);
    let mut row = normal(&mut random, 60, 1.5);
    row[7] = f32::NEG_INFINITY;
    let parameters = Parameters {
        temperature: 0.8,
        k: 40,
        p: 0.97,
        min_p: 0.005,
    };
    let sampler = parameters.on(backend);
    let count = sampler.kept(&row).count;
    assert!((10..40).contains(&count), "{count} classes make a test");
    let mut drawn = vec![0_u32; row.len()];
    for _ in 0..draws {
        let uniform = (random.next_u64() >> 40) as f32 / (1 << 24) as f32;
        drawn[sampler.draw(&row, uniform).unwrap().index] += 1;
    }
    let truth = Truth::of(&row, parameters.temperature);
    let mass = truth.mass(count);
    let mut statistic = 0.0;
    for (index, weight) in &truth.order[..count] {
        let expected = weight / mass * f64::from(draws);
        statistic += (f64::from(drawn[*index]) - expected).powi(2) / expected;
    }
    let kept: u32 = truth.order[..count]
        .iter()
        .map(|(index, _)| drawn[*index])
        .sum();
    assert_eq!(kept, draws, "others were drawn");
    // Six standard deviations above the mean of the distribution.
    let freedom = (count - 1) as f64;
    let bound = freedom + 6.0 * (2.0 * freedom).sqrt();
    assert!(
        statistic < bound,
        "{statistic} of {freedom}, {}",
        backend.name()
    );
}

/// Backends of one arithmetic keep and draw the same, to the bit.
#[test]
fn backends_of_a_class_agree() {
    let mut random = Random(6);
    for _ in 0..if THOROUGH { 2000 } else { 60 } {
        let len = match random.below(10) {
            0 => random.below(20_000),
            1..4 => random.below(3000),
            _ => random.below(100),
        };
        let deviation = random.pick(&[0.01, 1.0, 5.0, 100.0]);
        let mut row = normal(&mut random, len, deviation);
        if random.below(2) == 0 {
            for logit in &mut row {
                // As `bf16` has them: many are equal.
                *logit = f32::from_bits(logit.to_bits() & 0xFFFF_0000);
            }
        }
        let parameters = Parameters::random(&mut random);
        let uniform = (random.next_u64() >> 40) as f32 / (1 << 24) as f32;
        for class in [UNFUSED, FUSED] {
            let results: Vec<_> = backends()
                .filter(|backend| class.contains(backend))
                .map(|backend| {
                    let sampler = parameters.on(backend);
                    let kept = sampler.kept(&row);
                    let bits = (kept.threshold.to_bits(), kept.mass.to_bits());
                    let drawn = sampler.draw(&row, uniform);
                    let drawn = drawn.map(|drawn| (drawn.index, drawn.probability.to_bits()));
                    (kept.count, bits, drawn)
                })
                .collect();
            assert!(
                results.windows(2).all(|pair| pair[0] == pair[1]),
                "{parameters:?}"
            );
        }
    }
}

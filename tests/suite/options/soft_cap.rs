//! The soft cap is the cap times a hyperbolic tangent.

use super::*;

support::on_every_backend!(hyperbolic_tangent, soft_cap_is_cap_times_tangent,);

/// The documented bound of the tangent, as the soft cap of 1 shows it.
fn hyperbolic_tangent(backend: Backend) {
    let softmax = on(backend).soft_cap(1.0);
    let mut worst = (0.0, 0.0);
    // In descending order, as top_k gives them.
    let mut check = |arguments: &[f32]| {
        let mut places = [Candidate::default(); 64];
        let (_, found) = softmax.top_k(arguments, &mut places).unwrap();
        assert_eq!(found.len(), arguments.len());
        for candidate in found {
            let y = arguments[candidate.index];
            let error = ulp::error(candidate.logit, f64::from(y).tanh());
            assert!(
                error <= 3.0,
                "{backend:?}: tanh {y:e} is {:e}",
                candidate.logit
            );
            if error > worst.0 {
                worst = (error, y);
            }
        }
    };
    let step = match (is_exhaustive(), THOROUGH) {
        (true, _) => 1,
        (_, true) => 991,
        _ => 99_991,
    };
    // All magnitudes to +∞, and between 2^−6 and 16 more of them.
    let all = (0..=f32::INFINITY.to_bits()).rev().step_by(step);
    let middle = (0.015625_f32.to_bits()..16_f32.to_bits())
        .rev()
        .step_by(step.div_ceil(12));
    let magnitudes: Vec<f32> = if is_exhaustive() {
        Vec::new()
    } else {
        all.clone().chain(middle).map(f32::from_bits).collect()
    };
    let mut check_both = |chunk: &[f32]| {
        check(chunk);
        check(&chunk.iter().rev().map(|y| -y).collect::<Vec<f32>>());
    };
    if is_exhaustive() {
        let mut all = all.map(f32::from_bits).peekable();
        while all.peek().is_some() {
            check_both(&all.by_ref().take(64).collect::<Vec<f32>>());
        }
    }
    for chunk in magnitudes.chunks(64) {
        check_both(chunk);
    }
    check_both(&[
        f32::INFINITY,
        f32::MAX,
        20.0,
        9.1,
        1.0,
        f32::MIN_POSITIVE,
        1e-45,
        0.0,
    ]);
    println!(
        "{}: tanh {:.3} ULP at {:e}",
        backend.name(),
        worst.0,
        worst.1
    );

    for (y, expected) in [(f32::INFINITY, 1.0), (f32::NEG_INFINITY, -1.0), (0.0, 0.0)] {
        assert_eq!(capped(backend, y, 1.0), expected);
    }
    assert!(capped(backend, f32::NAN, 1.0).is_nan());
}

fn soft_cap_is_cap_times_tangent(backend: Backend) {
    let mut random = Random(5);
    let (mut worst, mut worst_result): (f64, f64) = (0.0, 0.0);
    for cap in [0.01, 0.1, 1.0, 5.0, 30.0, -50.0, 1e-30, 1e30] {
        for len in [1, 2, 33, 200, 700] {
            let logits = random_logits(&mut random, len);
            let tangent = |logit: &f32| f64::from(logit / cap).tanh();
            for logit in &logits {
                let expected = tangent(logit) * f64::from(cap);
                // 3 ULP of the tangent are at most 6 of the product.
                let error = ulp::error(capped(backend, *logit, cap), expected);
                assert!(error <= 6.5, "{backend:?}: {logit} to {cap}");
                worst = worst.max(error);
            }
            if cap.abs() > 100.0 {
                continue;
            }
            // The logits may be 4.5 · 2^−24 · cap from these, and so the maximum.
            let bound = Bounds::of(backend).softmax + 9.0 * f64::from(cap.abs());
            let correct: Vec<f32> = logits.iter().map(|z| tangent(z) as f32 * cap).collect();
            let truth = Truth::of(&correct);
            let mut results = vec![f32::MAX; len];
            let softmax = on(backend).soft_cap(cap);
            softmax.row(&logits, &mut results).unwrap();
            for (got, logit) in results.iter().zip(&correct) {
                let error = ulp::error(*got, truth.probability(*logit));
                assert!(error <= bound, "{backend:?}: {error} ULP, {cap}");
                if cap.abs() <= 0.1 {
                    worst_result = worst_result.max(error);
                }
            }
        }
    }
    let name = backend.name();
    println!("{name}: soft cap {worst:.3} ULP, softmax with a small one {worst_result:.3} ULP");
    for (cap, logit) in [(0.0, 0.0), (f32::INFINITY, 1.0), (f32::NAN, 1.0)] {
        let mut row = [2.0, logit];
        on(backend).soft_cap(cap).row_in_place(&mut row).unwrap();
        assert!(row.iter().all(|value| value.is_nan()), "{cap}");
    }
}

//! The gradients: of the cross-entropy with options, and which refuse which.

use super::*;

support::on_every_backend!(gradient_of_cross_entropy, gradients_refuse_options,);

/// Against finite differences of the loss in `f64`, and to the last places.
fn gradient_of_cross_entropy(backend: Backend) {
    let mut random = Random(15);
    let mut worst: f64 = 0.0;
    for len in [1, 2, 5, 33, 70] {
        for setting in settings(&mut random, 1, len, 1) {
            let logits: Vec<f32> = (0..len).map(|_| (random.unit() * 4.0) as f32).collect();
            let prepared = setting.prepared(backend, &logits, len, 1);
            let visible: Vec<usize> = (0..len).filter(|index| prepared[*index] > -1e29).collect();
            if setting.soft_cap.is_some() || visible.is_empty() {
                continue;
            }
            let target = random.pick(&visible);
            let softmax = setting.on(backend);
            let mut gradient = vec![7.0; len];
            let loss = softmax
                .cross_entropy_gradient(&logits, target, &mut gradient)
                .unwrap();
            assert_eq!(Ok(loss), softmax.cross_entropy(&logits, target));
            let mut in_place = logits.clone();
            let again = softmax.cross_entropy_gradient_in_place(&mut in_place, target);
            assert_eq!((again, bits_of(&in_place)), (Ok(loss), bits_of(&gradient)));

            let scale = f64::from(setting.scale.unwrap_or(1.0));
            let moved = |index: usize, by: f64| {
                let bias = |index: usize| {
                    let additive = setting.additive.as_ref();
                    additive.map_or(0.0, |additive| f64::from(additive[index]))
                };
                let logit = |other: usize| {
                    let by = if other == index { by } else { 0.0 };
                    (f64::from(logits[other]) + by) * scale + bias(other)
                };
                let top = setting.sink.map_or(0.0, |sink| f64::from(sink.max(0.0)));
                let mut sum: f64 = visible
                    .iter()
                    .map(|other| (logit(*other) - top).exp())
                    .sum();
                sum += setting
                    .sink
                    .map_or(0.0, |sink| (f64::from(sink) - top).exp());
                // Less what all have in common, for the precision of the difference.
                (top - bias(target) - logit(target) + bias(target)) + sum.ln()
            };
            let truth = Truth::of(&setting.with_sink(&prepared));
            for (index, got) in gradient.iter().enumerate() {
                if prepared[index] == f32::NEG_INFINITY {
                    assert_eq!(*got, 0.0);
                    continue;
                }
                let expected = if index == target {
                    truth.log_probability(prepared[index]).exp_m1()
                } else {
                    truth.probability(prepared[index])
                };
                if expected.abs() * scale.abs() >= Bounds::SMALL {
                    let error = ulp::error(*got, expected * scale);
                    // The multiplication may double it, in ULP, and rounds.
                    let bound = 2.0 * Bounds::of(backend).softmax + 0.5;
                    assert!(error <= bound, "{got:e}, {error} ULP: {setting:?}");
                    worst = worst.max(error);
                }
                if visible.contains(&index) && setting.sink.is_none_or(|sink| sink < 1e3) {
                    let slope = (moved(index, 1e-4) - moved(index, -1e-4)) / 2e-4;
                    let error = (f64::from(*got) - slope).abs();
                    assert!(
                        error <= 1e-6 * scale.abs().max(1.0),
                        "{got}, {slope}: {setting:?}"
                    );
                }
            }
        }
    }
    println!("{}: gradient with options {worst:.3} ULP", backend.name());
}

fn gradients_refuse_options(backend: Backend) {
    let softmax = on(backend);
    let mut out = [7.0; 3];
    for (softmax, name) in [
        (softmax.scale(1.0), "a scale"),
        (softmax.soft_cap(1.0), "a soft cap"),
        (softmax.mask(Mask::Keep(&[true; 3])), "a mask"),
        (softmax.mask(Mask::Additive(&[0.0; 3])), "a mask"),
        (softmax.mask(Mask::Length(3)), "a mask"),
        (softmax.mask(Mask::Causal { offset: 2 }), "a mask"),
        (softmax.sink(0.0), "a sink"),
        (softmax.fully_masked(FullyMasked::Zero), "fully masked"),
    ] {
        let results = [
            softmax.softmax_gradient(&[0.3; 3], &[1.0; 3], &mut out),
            softmax.log_softmax_gradient(&[-1.0; 3], &[1.0; 3], &mut out),
        ];
        for result in results {
            let error = result.unwrap_err();
            assert!(matches!(error, Error::UnsupportedOption { .. }), "{error}");
            assert!(error.to_string().contains(name), "{name} in {error}");
        }
    }
    let capped = softmax.soft_cap(1.0);
    for result in [
        capped.cross_entropy_gradient(&[1.0; 3], 1, &mut out),
        capped.cross_entropy_gradient_in_place(&mut out, 1),
    ] {
        let message = result.unwrap_err().to_string();
        assert!(message.contains("a soft cap") && message.contains("cross-entropy"));
    }
    assert_eq!(out, [7.0; 3]);
}

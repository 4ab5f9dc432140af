//! Sampling.

use crate::input::Input;
use online_softmax::{Backend, Outcome};
use support::sampling::{Parameters, check};
use support::verify::expected_outcome;
use support::{FUSED, UNFUSED};

/// What is kept and drawn is what a full sort in `f64` says, and the same on all backends of one
/// arithmetic. A row without a distribution and parameters out of range are refused.
pub fn sampling(bytes: &[u8]) -> usize {
    let mut input = Input::new(bytes);
    let parameters = Parameters {
        temperature: f32::from(input.byte()) / 64.0,
        k: input.count(),
        p: f32::from(input.byte()) / 250.0,
        min_p: f32::from(input.byte()) / 512.0,
    };
    let uniform = f32::from(input.word()) / 65_536.0;
    let refused = input.number();
    let row = input.row();

    let is_distribution = expected_outcome(&row) == Outcome::Finite;
    // Beyond that the rounding of x/T is all there is.
    let size = |x: &f32| if x.is_finite() { x.abs() } else { 0.0 };
    let largest = row.iter().map(size).fold(0.0, f32::max);
    let is_precise = largest <= 1e4 * parameters.temperature;
    for backend in Backend::available() {
        let sampler = parameters.on(backend);
        let drawn = sampler.draw(&row, uniform);
        assert_eq!(drawn.is_ok(), is_distribution, "{parameters:?}");
        assert_eq!(sampler.kept(&row).count > 0, is_distribution);
        if is_distribution && is_precise {
            check(backend, &row, parameters);
        }
        if !(0.0..1.0).contains(&refused) {
            assert!(sampler.draw(&row, refused).is_err());
        }
        if !(0.0..f32::INFINITY).contains(&refused) {
            assert!(sampler.temperature(refused).draw(&row, uniform).is_err());
        }
    }
    for class in [UNFUSED, FUSED] {
        let available = class.iter().filter(|backend| backend.is_available());
        let results: Vec<_> = available
            .map(|backend| {
                let sampler = parameters.on(*backend);
                let kept = sampler.kept(&row);
                let drawn = sampler.draw(&row, uniform).ok();
                let drawn = drawn.map(|drawn| (drawn.index, drawn.probability.to_bits()));
                (
                    kept.count,
                    kept.threshold.to_bits(),
                    kept.mass.to_bits(),
                    drawn,
                )
            })
            .collect();
        let agree = results.windows(2).all(|pair| pair[0] == pair[1]);
        assert!(agree, "{parameters:?}: {results:?}");
    }
    row.len()
}

//! The arguments of the exponential, and the inputs of the gradients.

use super::inputs::{Kind, Random};

/// Arguments whose exponential changes with the last bit of the last coefficient, half of them in the
/// unfused arithmetic, half in the fused one. They are less than one in a million, so that no others
/// might show it.
const SENSITIVE: [u32; 16] = [
    0xBE69_679A,
    0xBE93_93D9,
    0xBEA0_373A,
    0xBEA6_4CEE,
    0xBEB0_89FE,
    0xBEC4_404B,
    0xC141_4A4F,
    0xC1A9_2649,
    0xBE64_EC67,
    0xBEA1_340D,
    0xBEAC_D570,
    0xBEBA_61A7,
    0xBF81_E11F,
    0xBFD8_907C,
    0xC071_EA12,
    0xC157_69B0,
];

/// Arguments from −0 to −∞ in steps of many representations, more of them where the result is
/// neither 1 nor 0, all around the places where it becomes subnormal and 0; and a few that no
/// softmax has.
pub(crate) fn of_exponential() -> Vec<f32> {
    let negative_zero = (-0.0_f32).to_bits();
    let all = (negative_zero..f32::NEG_INFINITY.to_bits()).step_by(32_771);
    let usual = ((-0.5_f32).to_bits()..(-104.0_f32).to_bits()).step_by(257);
    let mut arguments: Vec<f32> = all.chain(usual).map(f32::from_bits).collect();
    arguments.extend(SENSITIVE.map(f32::from_bits));
    for place in [-87.336_55_f32, -103.278_93, -103.972_08, -126.0, -150.0] {
        let bits = place.to_bits();
        arguments.extend((bits - 64..bits + 64).map(f32::from_bits));
    }
    arguments.extend([
        0.0,
        -0.0,
        f32::NEG_INFINITY,
        f32::MIN,
        f32::NAN,
        1e-45,
        1.0,
        f32::INFINITY,
    ]);
    arguments
}

/// Results of a softmax or, if `log`, of a log-softmax, and the gradients by them.
pub(crate) fn of_gradient(log: bool, kind: Kind, len: usize) -> [Vec<f32>; 2] {
    let mut random = Random(len as u64);
    let results = (0..len).map(|index| {
        let unit = random.unit();
        match (log, random.below(16)) {
            (true, 0) => -100.0 * unit,
            (true, 1) if index % 2 == 0 => f32::NEG_INFINITY,
            (true, _) => -8.0 * unit,
            (false, 0) => 0.0,
            (false, _) => unit * unit,
        }
    });
    [results.collect(), kind.row(len, 3)]
}

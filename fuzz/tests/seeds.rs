//! Every committed seed passes its check, and seeds reach what they are for.

use online_softmax::Outcome;
use online_softmax_fuzz::CHECKS;
use online_softmax_fuzz::input::{Input, LONGEST};
use std::fs;
use std::path::Path;
use support::verify::expected_outcome;

#[test]
fn seeds_pass() {
    for (name, check) in CHECKS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("seeds")
            .join(name);
        let mut longest = 0;
        for seed in fs::read_dir(folder).unwrap() {
            let path = seed.unwrap().path();
            println!("{}", path.display());
            longest = longest.max(check(&fs::read(path).unwrap()));
        }
        assert!(
            longest > 32,
            "{name} has no seed of more than {longest} logits"
        );
    }
}

#[test]
fn bytes_become_rows() {
    let row = |bytes: &[u8]| Input::new(bytes).row();
    let bits = |row: Vec<f32>| row.iter().map(|x| x.to_bits()).collect::<Vec<u32>>();
    // Kinds 0 and 1: bits.
    assert_eq!(bits(row(&[0, 1, 2, 3, 4, 5])), [0x0403_0201]);
    assert_eq!(
        bits(row(&[1, 0x80, 0x3F, 0, 0x80])),
        [0x3F80_0000, 0x8000_0000]
    );
    // Kind 2: 2^2 · 3 and 2^2 · −1 around −5 · 2^−1; kind 3 with the special values up to the fourth.
    assert_eq!(row(&[2, 0xFB, 0xFF, 15, 14, 3, 0xFF]), [9.5, -6.5]);
    assert_eq!(
        row(&[3, 0, 0, 0, 12, 3, 7, 0x78, 0x7F]),
        [7.0, f32::NEG_INFINITY, 1e-45]
    );
    // Kind 4: a slope of 2^−15; kind 6: two values; kind 7: runs.
    assert_eq!(
        row(&[4 | 24 << 3, 5, 0, 1, 1, 0, 0, 0, 12, 0])[..3],
        [0.0, 2_f32.powi(-15), 2_f32.powi(-14)]
    );
    let two_values = [6, 32, 0, 0, 1, 3, 0, 0x80, 0b10];
    assert_eq!(row(&two_values)[..5], [0.0, 1.0, 0.0, 1.0, 0.0]);
    assert_eq!(
        row(&[6, 32, 0, 0, 1, 3, 0, 0, 0b10]).iter().sum::<f32>(),
        1.0
    );
    assert_eq!(row(&[7, 0x80, 0x3F, 1, 0x80, 0xBF, 0]), [1.0, 1.0, -1.0]);
    // Lengths.
    assert_eq!(row(&[7 | 25 << 3, 0xFF, 0x07, 0, 0, 4]).len(), 2047);
    assert_eq!(row(&[7 | 31 << 3, 0xFF, 0xFF, 0, 0, 4]).len(), LONGEST);
    assert!(row(&[7 | 31 << 3, 0xFF, 0xFF]).is_empty());
    assert_eq!(expected_outcome(&row(&[])), Outcome::Empty);
}

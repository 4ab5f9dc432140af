//! The same bits: of every backend of an arithmetic, on every machine, in every form of a call.

use online_softmax::{Backend, Mask, Normalizer, Stream};
use support::rows::{Order, Random, Recipe};
use support::{EVERY_BACKEND, THOROUGH, bits_of, bits_of_parts, is_fused, on, processor_has};

support::on_every_backend!(
    digest,
    in_place_and_apart,
    matrices_and_rows,
    short_matrices_and_rows,
    very_large_matrices_and_rows,
    very_large_matrices_with_masks,
    any_alignment_and_nothing_outside,
    streams_in_any_chunks,
);

/// The digests of the unfused and the fused backends. When a change of the kernels is meant to
/// change bits, take the new ones from the failure.
const UNFUSED_DIGEST: u64 = 0xd8ed_2fc1_a2fc_1d72;
const FUSED_DIGEST: u64 = 0x4fb3_ddd2_e829_aa5c;

/// Everything a row has bits of, NaN payloads and signs aside.
#[derive(Debug, PartialEq)]
struct Bits {
    softmax: Vec<u32>,
    log_softmax: Vec<u32>,
    log_sum_exp: Vec<u32>,
    /// Of the normalizers that the softmax, the log-softmax and `normalizer` give.
    parts: [(u32, u64); 3],
}

fn bits_on(backend: Backend, row: &[f32]) -> Bits {
    let softmax = on(backend);
    let mut results = vec![f32::MAX; row.len()];
    let of_row = softmax.row(row, &mut results).unwrap();
    let of_softmax = bits_of(&results);
    let of_log_row = softmax.log_row(row, &mut results).unwrap();
    let normalizers = [of_row, of_log_row, softmax.normalizer(row).unwrap()];
    Bits {
        softmax: of_softmax,
        log_softmax: bits_of(&results),
        log_sum_exp: bits_of(&[softmax.log_sum_exp(row).unwrap()]),
        parts: normalizers.map(bits_of_parts),
    }
}

/// Many rows of all kinds: lengths to 2000 and some to 100,000, spreads of 2^−10 to 2^20 and the
/// largest, all positions on the number line, special values, any bits at all.
fn for_each_row(elements: usize, mut test: impl FnMut(&[f32])) {
    let mut random = Random(6);
    let mut row = Vec::new();
    let mut count = 0;
    while count < elements {
        let len = match random.below(20) {
            0 => random.below(100_000.min(elements / 2)),
            1..8 => random.below(2000),
            _ => random.below(200),
        };
        if random.below(8) == 0 {
            row.clear();
            row.extend((0..len).map(|_| f32::from_bits(random.next_u64() as u32)));
        } else {
            let binade = 2_f32.powi(random.below(31) as i32 - 10);
            let max = (random.unit() * 2.0 - 1.0) as f32 * 2_f32.powi(random.below(21) as i32);
            Recipe {
                len,
                order: random.pick(&[
                    Order::Ascending,
                    Order::Descending,
                    Order::Shuffled,
                    Order::Alternating,
                    Order::Staircase,
                ]),
                spread: random.pick(&[binade, binade, 20.0, 100.0, f32::MAX]),
                max: random.pick(&[max, max, 0.0, -104.0, 208.0, f32::MAX]),
                gap: random.pick(&[0.0, 0.0, 0.0, 0.5, 20.0, 100.0]),
                seed: random.next_u64(),
            }
            .fill(&mut row);
        }
        if random.below(3) == 0 {
            for _ in 0..random.below(len / 4 + 1) {
                let place = random.below(len);
                row[place] = random.pick(&[f32::NEG_INFINITY, -1e30, 0.0, -0.0]);
            }
        }
        if random.below(10) == 0 && len > 0 {
            row[random.below(len)] = random.pick(&[f32::NAN, f32::INFINITY, -f32::NAN]);
        }
        count += len;
        test(&row);
    }
}

#[test]
fn backends_of_one_arithmetic() {
    let elements = if THOROUGH { 20_000_000 } else { 500_000 };
    for_each_row(elements, |row| {
        for fused in [false, true] {
            let mut class = EVERY_BACKEND
                .into_iter()
                .filter(|backend| processor_has(*backend) && is_fused(*backend) == fused);
            if let Some(first) = class.next() {
                let expected = bits_on(first, row);
                for backend in class {
                    let bits = bits_on(backend, row);
                    if bits != expected {
                        report_difference(row, (first, &expected), (backend, &bits));
                    }
                }
            }
        }
    });
}

fn report_difference(
    row: &[f32],
    (first, a): (Backend, &Bits),
    (second, b): (Backend, &Bits),
) -> ! {
    let output = if a.parts != b.parts || a.log_sum_exp != b.log_sum_exp {
        "normalizers"
    } else if a.softmax != b.softmax {
        "softmax"
    } else {
        "log_softmax"
    };
    let (a_bits, b_bits) = (a.softmax.iter().chain(&a.log_softmax), b.softmax.iter());
    let place = a_bits
        .zip(b_bits.chain(&b.log_softmax))
        .position(|(a, b)| a != b);
    let start = &row[..row.len().min(100)];
    panic!(
        "{} and {} differ: {output} of {} logits, {:x?} and {:x?}, first at {place:?}; {start:?}",
        first.name(),
        second.name(),
        row.len(),
        a.parts,
        b.parts,
    );
}

/// FNV-1a, 64 bits wide.
struct Digest(u64);

impl Digest {
    fn take(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3);
        }
    }

    fn take_bits(&mut self, bits: &[u32]) {
        for bits in bits {
            self.take(&bits.to_le_bytes());
        }
    }
}

/// The rows of the digest: of integers and powers of two alone, so the same on every target.
fn for_each_digest_row(mut test: impl FnMut(&[f32])) {
    let mut state = 1_u64;
    let mut random = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 32) as u32
    };
    let power_of_two = |exponent: i32| f32::from_bits(((127 + exponent) as u32) << 23);
    for len in [
        1, 2, 3, 5, 8, 13, 16, 17, 31, 32, 33, 47, 63, 64, 65, 95, 96, 97, 127, 128, 129, 160, 255,
        256, 257, 511, 512, 513, 544, 545, 1000, 1024, 1025, 2049, 4097, 10007,
    ] {
        // From a spread of 2^−6 to one of 2^100; the offsets are of the same grid, so exact.
        for exponent in [-30, -22, -20, -19, -18, -17, -16, -15, -12, -4, 76] {
            for offset in [0, -3, 5] {
                let mut row: Vec<f32> = (0..len)
                    .map(|_| {
                        let integer = (random() >> 8) as i32 - (1 << 23);
                        let offset = if exponent < 0 { offset << 21 } else { 0 };
                        (integer / 8 + offset) as f32 * power_of_two(exponent)
                    })
                    .collect();
                match random() % 16 {
                    0 => row.sort_by(f32::total_cmp),
                    1 => row.sort_by(|a, b| b.total_cmp(a)),
                    2 => row[..len / 2].fill(f32::NEG_INFINITY),
                    3 => row[random() as usize % len] = -1e30,
                    4 => row[random() as usize % len] = f32::INFINITY,
                    5 => row[random() as usize % len] = f32::NAN,
                    6 => row.fill(-0.0),
                    7 => row[random() as usize % len] = f32::MAX,
                    8 => row
                        .iter_mut()
                        .for_each(|logit| *logit = f32::from_bits(random() & 0xFF7F_FFFF)),
                    _ => {}
                }
                test(&row);
            }
        }
    }
}

fn digest(backend: Backend) {
    let mut digest = Digest(0xCBF2_9CE4_8422_2325);
    let mut exponentials = Vec::new();
    for_each_digest_row(|row| {
        let bits = bits_on(backend, row);
        digest.take_bits(&bits.softmax);
        digest.take_bits(&bits.log_softmax);
        digest.take_bits(&bits.log_sum_exp);
        for (max, rest) in bits.parts {
            digest.take_bits(&[max]);
            digest.take(&rest.to_le_bytes());
        }
        exponentials.clear();
        exponentials.resize(row.len(), f32::NAN);
        backend.exp(row, &mut exponentials).unwrap();
        digest.take_bits(&bits_of(&exponentials));
    });
    let expected = if is_fused(backend) {
        FUSED_DIGEST
    } else {
        UNFUSED_DIGEST
    };
    assert!(
        digest.0 == expected,
        "{}: expected the digest {expected:#018x}, not {:#018x}",
        backend.name(),
        digest.0
    );
}

/// How many elements the tests of the forms of a call go through.
const ELEMENTS_OF_FORMS: usize = if THOROUGH { 3_000_000 } else { 60_000 };

fn in_place_and_apart(backend: Backend) {
    let softmax = on(backend);
    let name = backend.name();
    for_each_row(ELEMENTS_OF_FORMS, |row| {
        let Bits {
            softmax: expected,
            log_softmax: expected_log,
            parts: [of_row, of_log_row, _],
            ..
        } = bits_on(backend, row);
        let mut in_place = row.to_vec();
        let normalizer = softmax.row_in_place(&mut in_place).unwrap();
        assert!(bits_of(&in_place) == expected, "{name}: {row:?}");
        assert_eq!(bits_of_parts(normalizer), of_row, "{name}: {row:?}");
        in_place.copy_from_slice(row);
        let normalizer = softmax.log_row_in_place(&mut in_place).unwrap();
        assert!(bits_of(&in_place) == expected_log, "{name}: {row:?}");
        assert_eq!(bits_of_parts(normalizer), of_log_row, "{name}: {row:?}");
    });
}

#[test]
fn free_functions_are_those_of_the_best_backend() {
    for_each_row(ELEMENTS_OF_FORMS / 4, |row| {
        let expected = bits_on(Backend::best(), row);
        let [of_row, of_log_row, of_normalizer] = expected.parts;
        let mut results = vec![f32::MAX; row.len()];
        let normalizer = online_softmax::softmax(row, &mut results).unwrap();
        assert!(bits_of(&results) == expected.softmax, "{row:?}");
        assert_eq!(bits_of_parts(normalizer), of_row);
        let normalizer = online_softmax::log_softmax(row, &mut results).unwrap();
        assert!(bits_of(&results) == expected.log_softmax, "{row:?}");
        assert_eq!(bits_of_parts(normalizer), of_log_row);
        results.copy_from_slice(row);
        let normalizer = online_softmax::softmax_in_place(&mut results);
        assert!(bits_of(&results) == expected.softmax, "{row:?}");
        assert_eq!(bits_of_parts(normalizer), of_row);
        results.copy_from_slice(row);
        let normalizer = online_softmax::log_softmax_in_place(&mut results);
        assert!(bits_of(&results) == expected.log_softmax, "{row:?}");
        assert_eq!(bits_of_parts(normalizer), of_log_row);
        let log_sum_exp = online_softmax::log_sum_exp(row);
        assert_eq!(bits_of(&[log_sum_exp]), expected.log_sum_exp);
        let mut stream = Stream::default();
        stream.extend(row);
        assert_eq!(bits_of_parts(stream.finish()), of_normalizer);
    });
}

fn matrices_and_rows(backend: Backend) {
    let softmax = on(backend);
    let mut random = Random(7);
    let mut matrix = Vec::new();
    for_each_row(ELEMENTS_OF_FORMS, |logits| {
        // A matrix of what one row has, of which the rest is dropped.
        let widest = random.pick(&[40, 70, 700]);
        let columns = 1 + random.below(logits.len().min(widest));
        matrix.clear();
        matrix.extend_from_slice(&logits[..logits.len() - logits.len() % columns]);
        let context = format!("{}: {columns} columns: {matrix:?}", backend.name());
        let rows = matrix.chunks_exact(columns);
        let each: Vec<Bits> = rows.map(|row| bits_on(backend, row)).collect();
        let expected: Vec<u32> = each.iter().flat_map(|row| row.softmax.clone()).collect();
        let mut results = vec![f32::MAX; matrix.len()];
        softmax.rows(&matrix, columns, &mut results).unwrap();
        assert!(bits_of(&results) == expected, "rows, {context}");
        results.copy_from_slice(&matrix);
        softmax.rows_in_place(&mut results, columns).unwrap();
        assert!(bits_of(&results) == expected, "rows_in_place, {context}");
        let expected: Vec<u32> = each
            .iter()
            .flat_map(|row| row.log_softmax.clone())
            .collect();
        softmax.log_rows(&matrix, columns, &mut results).unwrap();
        assert!(bits_of(&results) == expected, "log_rows, {context}");
        let expected: Vec<u32> = each
            .iter()
            .flat_map(|row| row.log_sum_exp.clone())
            .collect();
        let mut results = vec![f32::MAX; each.len()];
        softmax
            .log_sum_exp_rows(&matrix, columns, &mut results)
            .unwrap();
        assert!(bits_of(&results) == expected, "log_sum_exp_rows, {context}");
    });
}

/// Every number of columns that may be transposed, with whole groups of rows and some left over.
fn short_matrices_and_rows(backend: Backend) {
    const ROWS: usize = 35;
    let softmax = on(backend);
    let mut random = Random(9);
    for columns in 1..=66 {
        for spread in [1.0, 30.0, 300.0] {
            let logit = || ((random.unit() - 0.5) * spread) as f32;
            let mut matrix: Vec<f32> = std::iter::repeat_with(logit).take(ROWS * columns).collect();
            if spread > 100.0 {
                matrix[columns / 2] = f32::NEG_INFINITY;
            }
            let of_rows = |which: fn(Bits) -> Vec<u32>| -> Vec<u32> {
                let rows = matrix.chunks_exact(columns);
                rows.flat_map(|row| which(bits_on(backend, row))).collect()
            };
            let mut results = vec![f32::MAX; matrix.len()];
            softmax.rows(&matrix, columns, &mut results).unwrap();
            assert_eq!(bits_of(&results), of_rows(|row| row.softmax), "{columns}");
            softmax.log_rows(&matrix, columns, &mut results).unwrap();
            let expected = of_rows(|row| row.log_softmax);
            assert_eq!(bits_of(&results), expected, "{columns}");
            softmax
                .log_sum_exp_rows(&matrix, columns, &mut results[..ROWS])
                .unwrap();
            let expected = of_rows(|row| row.log_sum_exp);
            assert_eq!(bits_of(&results[..ROWS]), expected, "{columns}");
        }
    }
}

/// Matrices larger than the caches, whose results may be written past them.
fn very_large_matrices_and_rows(backend: Backend) {
    const LOGITS: usize = 1 << 22;
    if !THOROUGH {
        return;
    }
    let softmax = on(backend);
    let mut random = Random(10);
    for (columns, is_log) in [
        (100, false),
        (257, false),
        (1000, false),
        (1500, false),
        (1500, true),
    ] {
        let count = LOGITS + columns - LOGITS % columns;
        let logit = || ((random.unit() - 0.5) * 30.0) as f32;
        let mut matrix: Vec<f32> = std::iter::repeat_with(logit).take(count).collect();
        for index in (0..count).step_by(40_009) {
            matrix[index] = [f32::NEG_INFINITY, f32::NAN, 1e30][index % 3];
        }
        let mut expected = matrix.clone();
        let mut results = vec![f32::MAX; count + 1];
        let results = &mut results[1..];
        for row in expected.chunks_exact_mut(columns) {
            if is_log {
                softmax.log_row_in_place(row).unwrap();
            } else {
                softmax.row_in_place(row).unwrap();
            }
        }
        if is_log {
            softmax.log_rows(&matrix, columns, results).unwrap();
        } else {
            softmax.rows(&matrix, columns, results).unwrap();
        }
        assert!(bits_of(results) == bits_of(&expected), "{columns} columns");
    }
}

/// The same under masks: the visible columns are those of a row by itself, the others have no weight.
fn very_large_matrices_with_masks(backend: Backend) {
    if !THOROUGH {
        return;
    }
    let plain = on(backend);
    let mut random = Random(11);
    for (columns, is_log) in [(300, true), (1000, false), (1500, false), (2500, true)] {
        let square = columns * columns;
        let count = usize::div_ceil(1 << 22, square) * square;
        let logit = || ((random.unit() - 0.5) * 30.0) as f32;
        let mut logits: Vec<f32> = std::iter::repeat_with(logit).take(count).collect();
        for index in (0..count).step_by(40_009) {
            logits[index] = [f32::NEG_INFINITY, f32::NAN, 1e30][index % 3];
        }
        let window = Mask::Window {
            before: 700,
            after: 3,
        };
        let causal = Mask::Causal { offset: -5 };
        for (mask, before, offset, scale) in [
            (causal, usize::MAX, -5, None),
            (window, 700, 3, None),
            (window, 700, 3, Some(0.5)),
        ] {
            let mut softmax = plain.matrix_rows(columns).mask(mask);
            if let Some(scale) = scale {
                softmax = softmax.scale(scale);
            }
            let mut results = vec![f32::MAX; count];
            if is_log {
                softmax.log_rows(&logits, columns, &mut results).unwrap();
            } else {
                softmax.rows(&logits, columns, &mut results).unwrap();
            }
            for (index, (row, result)) in logits
                .chunks_exact(columns)
                .zip(results.chunks_exact(columns))
                .enumerate()
            {
                let row_of_matrix = index % columns;
                let start = row_of_matrix.saturating_sub(before);
                let end = (row_of_matrix + 1)
                    .saturating_add_signed(offset)
                    .min(columns);
                let mut expected = vec![if is_log { f32::NEG_INFINITY } else { 0.0 }; columns];
                if end == 0 {
                    expected.fill(f32::NAN);
                } else {
                    let visible = &mut expected[start..end];
                    visible.copy_from_slice(&row[start..end]);
                    for logit in &mut *visible {
                        *logit *= scale.unwrap_or(1.0);
                    }
                    if is_log {
                        plain.log_row_in_place(visible).unwrap();
                    } else {
                        plain.row_in_place(visible).unwrap();
                    }
                    if visible[0].is_nan() {
                        expected.fill(f32::NAN);
                    }
                }
                assert!(
                    bits_of(result) == bits_of(&expected),
                    "{mask:?}, row {index}"
                );
            }
        }
    }
}

/// The row at every alignment, between logits that would show in the result if they were read; and
/// nothing written beside the results.
fn any_alignment_and_nothing_outside(backend: Backend) {
    const MARGIN: usize = 64;
    const UNTOUCHED: f32 = 123.25;
    let softmax = on(backend);
    let mut random = Random(8);
    for_each_row(ELEMENTS_OF_FORMS, |row| {
        let expected = bits_on(backend, row);
        let [before, out_before] = [random.below(MARGIN), random.below(MARGIN)];
        let outside = random.pick(&[f32::NAN, f32::INFINITY, 1e5, f32::MAX]);
        let mut logits = vec![outside; before + row.len() + MARGIN];
        let place = before..before + row.len();
        logits[place.clone()].copy_from_slice(row);
        let mut out = vec![UNTOUCHED; out_before + row.len() + MARGIN];
        let out_place = out_before..out_before + row.len();
        let context = || format!("{}: {place:?} to {out_place:?}: {row:?}", backend.name());
        let is_untouched = |values: &[f32], place: &core::ops::Range<usize>, untouched: f32| {
            let mut outside = values[..place.start].iter().chain(&values[place.end..]);
            outside.all(|value| bits_of(&[*value]) == bits_of(&[untouched]))
        };

        let [of_row, of_log_row, of_normalizer] = expected.parts;
        let normalizer = softmax.normalizer(&logits[place.clone()]).unwrap();
        assert_eq!(bits_of_parts(normalizer), of_normalizer, "{}", context());
        for log in [false, true] {
            let (from, to) = (&logits[place.clone()], &mut out[out_place.clone()]);
            let (normalizer, expected_bits, parts) = if log {
                let normalizer = softmax.log_row(from, to).unwrap();
                (normalizer, &expected.log_softmax, of_log_row)
            } else {
                let normalizer = softmax.row(from, to).unwrap();
                (normalizer, &expected.softmax, of_row)
            };
            assert_eq!(bits_of_parts(normalizer), parts, "{}", context());
            assert!(
                bits_of(&out[out_place.clone()]) == *expected_bits,
                "{}",
                context()
            );
            assert!(is_untouched(&out, &out_place, UNTOUCHED), "{}", context());

            let mut in_place = logits.clone();
            let values = &mut in_place[place.clone()];
            if log {
                softmax.log_row_in_place(values).unwrap();
            } else {
                softmax.row_in_place(values).unwrap();
            }
            assert!(
                bits_of(&in_place[place.clone()]) == *expected_bits,
                "{}",
                context()
            );
            assert!(is_untouched(&in_place, &place, outside), "{}", context());
        }
    });
}

fn streams_in_any_chunks(backend: Backend) {
    let softmax = on(backend);
    let mut random = Random(9);
    for_each_row(ELEMENTS_OF_FORMS, |row| {
        let expected = bits_of_parts(softmax.normalizer(row).unwrap());
        let largest_chunk = random.pick(&[2, 33, 64, 65, 200, 5000]);
        let mut stream = Stream::new().backend(backend).unwrap();
        let mut unread = row;
        let mut cuts = Vec::new();
        while !unread.is_empty() {
            // Empty chunks too.
            let (chunk, others) = unread.split_at(random.below(largest_chunk).min(unread.len()));
            stream.extend(chunk);
            cuts.push(chunk.len());
            unread = others;
            if random.below(20) == 0 {
                // What was read so far, without disturbing what follows.
                let so_far = &row[..row.len() - unread.len()];
                let expected = softmax.normalizer(so_far).unwrap();
                assert_eq!(
                    bits_of_parts(stream.finish()),
                    bits_of_parts(expected),
                    "{}: {cuts:?} of {row:?}",
                    backend.name()
                );
            }
        }
        let streamed: Normalizer = stream.finish();
        assert_eq!(
            bits_of_parts(streamed),
            expected,
            "{}: {cuts:?} of {row:?}",
            backend.name()
        );
    });
}

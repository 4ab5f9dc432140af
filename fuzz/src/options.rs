//! Scale, soft cap, masks, sink, and what a fully masked row is.

use crate::axes::{Columns, outputs_of_axis};
use crate::compare::{
    Expected, Outputs, Row, UNTOUCHED, assert_arithmetics_agree, assert_same, assert_untouched,
};
use crate::input::Input;
use crate::operations::{loss_and_gradient, outputs_of_best, sorted};
use online_softmax::{Backend, Candidate, Error, FullyMasked, Mask, Softmax};
use support::options::{Setting, divisors};
use support::ulp::spacing;

/// The most logits: more than are prepared at once.
const MOST: usize = 9000;

/// Options do what doing it to the logits before does, bit for bit, in every operation; lengths, a
/// causal mask and a window leave what the visible columns by themselves give; rows with gaps give
/// what those without give; what the soft cap does is within its bound, and the results within those
/// of the contract for the logits so prepared. Masks that do not fit are refused.
pub fn options(bytes: &[u8]) -> usize {
    let mut input = Input::new(bytes);
    let flags = u16::from_le_bytes([input.byte(), input.byte()]);
    let has = |bit: u16| flags >> bit & 1 == 1;
    let [scale, soft_cap, sink] = [0, 1, 6].map(|bit| has(bit).then(|| input.number()));
    let is_zero = has(7);
    let [length, causal, target, k] = [(); 4].map(|()| input.count());
    let window = has(8).then(|| (input.count(), input.count()));
    let mut shape = input.shape(MOST);
    if has(5) || has(8) {
        // Neither has a meaning along an inner axis.
        shape = [shape[0], shape[1] * shape[2], 1];
    }
    let [outer, axis, inner] = shape;
    let columns = axis * inner;
    let mut divisor = |of: usize| {
        let choice = usize::from(input.byte());
        let divisors = divisors(of);
        let chosen = choice.checked_rem(divisors.len());
        chosen.map_or(1, |index| divisors[index])
    };
    let mut dimensions = [1, 1, outer];
    if has(9) {
        let matrix_rows = divisor(outer);
        let heads = divisor(outer / matrix_rows);
        dimensions = [outer / matrix_rows / heads, heads, matrix_rows];
    }
    let [items, heads, matrix_rows] = dimensions;
    let mask_shapes = [(); 2].map(|()| {
        let choice = input.byte();
        let size = |bit: u8, full| if choice >> bit & 1 == 1 { full } else { 1 };
        [size(2, items), size(1, heads), size(0, matrix_rows)]
    });
    let mask_lens = mask_shapes.map(|shape| shape.iter().product::<usize>() * columns);
    let lengths = has(10).then(|| {
        let count = if has(11) { items } else { items * heads };
        (0..count).map(|_| input.count() % (axis + 1)).collect()
    });
    let additive = input.pattern(mask_lens[0]);
    let keep: Vec<bool> = input
        .pattern(mask_lens[1])
        .iter()
        .map(|x| *x > 0.0)
        .collect();
    let logits = input.values(outer * columns);
    let causal = isize::try_from(causal).expect("a count is small");
    let setting = Setting {
        scale,
        soft_cap,
        additive: has(2).then_some(additive),
        additive_shape: Some(mask_shapes[0]),
        keep: has(3).then_some(keep),
        keep_shape: Some(mask_shapes[1]),
        length: has(4).then_some(length % (axis + 1)),
        lengths,
        causal: has(5).then_some(if has(12) { -causal } else { causal }),
        window,
        matrix_rows: has(9).then_some(matrix_rows),
        heads: has(9).then_some(heads),
        sink,
        is_zero,
    };
    if logits.is_empty() {
        return 0;
    }
    assert_arithmetics_agree(|plain, backend| {
        let capped = scaled_and_capped(&setting, plain, &logits);
        let mut outputs = Outputs::default();
        let rows = Matrix::new(&setting, &logits, &capped, [outer, columns, 1]);
        outputs.append(rows.assert_rows(plain, backend, target % columns, k));
        outputs.append(Matrix::new(&setting, &logits, &capped, shape).assert_axis(plain, backend));
        assert_strided(setting.of(plain), &logits, columns, 1 + k % 50);
        assert_refuses_misfits(setting.of(plain), &logits, columns);
        outputs
    });
    logits.len()
}

/// The logits after scale and soft cap. Of the soft cap they are what the crate says, as the logits
/// of top-k, if it is within its bound.
fn scaled_and_capped(setting: &Setting, plain: Softmax<'static>, logits: &[f32]) -> Vec<f32> {
    let scaled: Vec<f32> = logits
        .iter()
        .map(|x| setting.scale.map_or(*x, |scale| x * scale))
        .collect();
    let Some(cap) = setting.soft_cap else {
        return scaled;
    };
    let alone = support::setting!(scale: setting.scale, soft_cap: setting.soft_cap);
    let mut capped = vec![f32::NAN; logits.len()];
    for (logits, capped) in logits.chunks(64).zip(capped.chunks_mut(64)) {
        let mut places = [Candidate::default(); 64];
        let (_, best) = alone.of(plain).top_k(logits, &mut places).unwrap();
        for candidate in best {
            capped[candidate.index] = candidate.logit;
        }
    }
    for (z, result) in scaled.iter().zip(&capped) {
        assert_capped(*z, cap, *result);
    }
    capped
}

/// Rows that lie `gap` values further apart give the same, and nothing is read or written between
/// them.
fn assert_strided(softmax: Softmax, logits: &[f32], columns: usize, gap: usize) {
    let stride = columns + gap;
    let apart = |values: &[f32], filler: f32| {
        let mut apart = vec![filler; values.len() / columns * stride - gap];
        for (place, values) in apart.chunks_mut(stride).zip(values.chunks(columns)) {
            place[..columns].copy_from_slice(values);
        }
        apart
    };
    let strided = softmax.row_stride(stride);
    let logits_apart = apart(logits, f32::NAN);
    let expected = crate::outputs_of_rows(softmax, logits, columns);
    for is_log in [false, true] {
        let mut out = vec![UNTOUCHED; logits_apart.len()];
        let name = if is_log {
            strided.log_rows(&logits_apart, columns, &mut out).unwrap();
            "log_rows"
        } else {
            strided.rows(&logits_apart, columns, &mut out).unwrap();
            "rows"
        };
        let what = format_args!("{name}, {gap} between rows: {softmax:?}");
        assert_same(&out, &apart(expected.get(name), UNTOUCHED), what);
    }
    let mut in_place = apart(logits, UNTOUCHED);
    strided.rows_in_place(&mut in_place, columns).unwrap();
    let what = format_args!("in place, {gap} between rows: {softmax:?}");
    assert_same(&in_place, &apart(expected.get("rows"), UNTOUCHED), what);
    let mut sums = vec![UNTOUCHED; logits.len() / columns];
    strided
        .log_sum_exp_rows(&logits_apart, columns, &mut sums)
        .unwrap();
    assert_same(&sums, expected.get("log_sum_exp_rows"), what);
}

/// Masks with a value too many, or a length beyond the row, are refused, and nothing written.
fn assert_refuses_misfits(softmax: Softmax, logits: &[f32], columns: usize) {
    let given = logits.len() + 1;
    let misfit = Error::MaskMismatch {
        rows: logits.len() / columns,
        columns,
        given,
    };
    let beyond = Error::LengthBeyondRow {
        columns,
        given: columns + 1,
    };
    let (additive, keep) = (vec![0.0; given], vec![true; given]);
    let mut out = vec![UNTOUCHED; logits.len()];
    for (mask, error) in [
        (Mask::Additive(&additive), misfit),
        (Mask::Keep(&keep), misfit),
        (Mask::Length(columns + 1), beyond),
    ] {
        let softmax = softmax.mask(mask);
        assert_eq!(softmax.rows(logits, columns, &mut out), Err(error));
        assert_eq!(softmax.log_rows(logits, columns, &mut out), Err(error));
        assert_eq!(softmax.rows_in_place(&mut out, columns), Err(error));
        let out = &mut out[..logits.len() / columns];
        assert_eq!(softmax.log_sum_exp_rows(logits, columns, out), Err(error));
    }
    assert_untouched(&out);
}

/// cap · tanh(z / cap) of quotient and product in `f32` and a tangent within 3 ULP.
fn assert_capped(z: f32, cap: f32, result: f32) {
    let tanh = f64::from(z / cap).tanh();
    let truth = f64::from(cap) * tanh;
    let bound = f64::from(cap).abs() * 3.0 * spacing(tanh) + spacing(truth) / 2.0;
    let is_right = if truth.is_nan() {
        result.is_nan()
    } else if truth.is_infinite() {
        f64::from(result) == truth
    } else {
        (f64::from(result) - truth).abs() <= bound && result.abs() <= cap.abs()
    };
    assert!(
        is_right,
        "soft cap {cap:e} of {z:e}: {result:e} for {truth:e}"
    );
}

/// A matrix, or a tensor, and the options it is taken with.
struct Matrix<'a> {
    setting: &'a Setting,
    /// The same with one mask that keeps for five.
    by_keep: Setting,
    /// Those that neither change a logit nor mask it.
    beside: Setting,
    logits: &'a [f32],
    shape: [usize; 3],
    /// The logits as options leave them.
    prepared: Vec<f32>,
}

impl<'a> Matrix<'a> {
    fn new(setting: &'a Setting, logits: &'a [f32], capped: &[f32], shape: [usize; 3]) -> Self {
        let [_, axis, inner] = shape;
        Matrix {
            setting,
            by_keep: setting.by_keep(logits.len(), axis, inner),
            beside: support::setting!(sink: setting.sink, is_zero: setting.is_zero),
            logits,
            shape,
            prepared: setting.masked(capped, axis, inner),
        }
    }

    /// A row as its softmax sees it.
    fn row<'b>(&self, logits: &'b [f32]) -> Row<'b> {
        Row {
            logits,
            sink: self.setting.sink.unwrap_or(f32::NEG_INFINITY),
            fully_masked: if self.setting.is_zero {
                FullyMasked::Zero
            } else {
                FullyMasked::Nan
            },
        }
    }

    fn assert_rows(
        &self,
        plain: Softmax<'static>,
        backend: Backend,
        target: usize,
        k: usize,
    ) -> Outputs {
        let columns = self.shape[1];
        let beside = self.beside.of(plain);
        let mut outputs = Outputs::default();
        // With the setting, and with what it masks given by keeping: the sum of a row that ends
        // earlier begins elsewhere, and a log-sum-exp near zero may show it.
        let mut of_each = [const { [const { Vec::new() }; 3] }; 2];
        let rows = self
            .logits
            .chunks(columns)
            .zip(self.prepared.chunks(columns));
        for (i, (logits, prepared)) in rows.enumerate() {
            let of_row = [self.setting, &self.by_keep]
                .map(|setting| setting.of_row(i, self.shape[0], columns));
            let [given, by_keep] = of_row.each_ref().map(|setting| setting.of(plain));
            let best = sorted(prepared, k % 64);
            let of = |softmax: Softmax, row: &[f32]| {
                let mut outputs = Outputs::of_row(softmax, row);
                outputs.append(outputs_of_best(softmax, row, k % 64, &best));
                let loss = softmax.cross_entropy(row, target).unwrap();
                outputs.add("cross_entropy", vec![loss]);
                outputs
            };
            let expected = of(beside, prepared);
            let same = of(by_keep, logits);
            same.assert_same(&expected, format_args!("masked by keeping: {given:?}"));
            let results = of(given, logits);
            let what = format_args!("options and before: {given:?}");
            let visible = self.setting.visible(i, self.shape[0], columns);
            if visible == (0..columns) {
                results.assert_same(&expected, what);
            } else {
                let seen = Outputs::of_row(beside, &prepared[visible.clone()]);
                results.assert_has(&seen, visible.start, what);
            }

            let row = Expected::new(self.row(prepared));
            let (softmax, log_softmax) = (results.get("softmax"), results.get("log_softmax"));
            row.assert_results(backend, softmax, log_softmax);
            for (name, normalizer) in results.normalizers() {
                row.assert_normalizer(*normalizer, format_args!("{backend:?}: {name}"));
            }
            row.assert_loss(backend, target, results.get("cross_entropy")[0]);
            let result = loss_and_gradient(given, logits, target);
            if visible.contains(&target) {
                let place = target - visible.start;
                let seen = loss_and_gradient(beside, &prepared[visible.clone()], place);
                let result = result.map(|(loss, gradient)| (loss, gradient[visible].to_vec()));
                self.assert_gradient(seen, result);
            }

            for (of_each, outputs) in of_each.iter_mut().zip([&results, &same]) {
                for (of_each, name) in
                    of_each
                        .iter_mut()
                        .zip(["softmax", "log_softmax", "log_sum_exp"])
                {
                    of_each.extend_from_slice(outputs.get(name));
                }
            }
            outputs.append(results);
        }
        for (setting, of_each) in [self.setting, &self.by_keep].into_iter().zip(&of_each) {
            let of_rows = crate::outputs_of_rows(setting.of(plain), self.logits, columns);
            for (name, of_each) in ["rows", "log_rows", "log_sum_exp_rows"].iter().zip(of_each) {
                let what = format_args!("{name} and each row: {:?}", setting.of(plain));
                assert_same(of_rows.get(name), of_each, what);
            }
        }
        outputs
    }

    /// The gradient of the cross-entropy has the scale as a factor; with a soft cap there is none.
    fn assert_gradient(
        &self,
        expected: Result<(f32, Vec<f32>), Error>,
        result: Result<(f32, Vec<f32>), Error>,
    ) {
        if self.setting.soft_cap.is_some() {
            let is_refused = matches!(result, Err(Error::UnsupportedOption { .. }));
            assert!(is_refused, "{result:?}");
            return;
        }
        let (mut expected, result) = (expected.unwrap(), result.unwrap());
        if let Some(scale) = self.setting.scale {
            expected.1.iter_mut().for_each(|value| *value *= scale);
        }
        let what = format_args!("gradient with options and before");
        assert_same(&[result.0], &[expected.0], what);
        assert_same(&result.1, &expected.1, what);
    }

    fn assert_axis(&self, plain: Softmax<'static>, backend: Backend) -> Outputs {
        let beside = self.beside.of(plain);
        let expected = outputs_of_axis(beside, &self.prepared, self.shape);
        for setting in [self.setting, &self.by_keep] {
            let softmax = setting.of(plain);
            let results = outputs_of_axis(softmax, self.logits, self.shape);
            let what = format_args!("an axis with options and before: {softmax:?}");
            results.assert_same(&expected, what);
        }
        let columns = Columns::new(&self.prepared, self.shape);
        columns.assert_results(&columns.expected(self.row(&[])), backend, &expected);
        expected
    }
}

//! The softmax along an axis.

use crate::compare::{
    Expected, Outputs, Row, UNTOUCHED, assert_arithmetics_agree, assert_same, assert_untouched,
};
use crate::input::Input;
use online_softmax::{Backend, Error, Softmax};

/// The most logits: more than one strip of columns and one tile of rows.
const MOST: usize = 20_000;

/// Along an axis of any shape every column is within the bounds of the contract and as its table of
/// special values says; backends of one arithmetic have the same bits, in place as apart.
pub fn axes(bytes: &[u8]) -> usize {
    let mut input = Input::new(bytes);
    let shape = input.shape(MOST);
    let tensor = input.values(shape.iter().product());
    let columns = Columns::new(&tensor, shape);
    let expected = columns.expected(Row::new(&[]));
    assert_arithmetics_agree(|softmax, backend| {
        let outputs = outputs_of_axis(softmax, &tensor, shape);
        columns.assert_results(&expected, backend, &outputs);
        if shape[2] == 1 {
            let of_rows = crate::outputs_of_rows(softmax, &tensor, shape[1]);
            let what = format_args!("{backend:?}: an axis of {shape:?} and rows");
            assert_same(outputs.get("axis"), of_rows.get("rows"), what);
            assert_same(outputs.get("log_axis"), of_rows.get("log_rows"), what);
        }
        assert_refuses_other_shapes(softmax, &tensor, shape);
        outputs
    });
    tensor.len()
}

/// The results along an axis; in place they are the same.
pub(crate) fn outputs_of_axis(softmax: Softmax, tensor: &[f32], shape: [usize; 3]) -> Outputs {
    let mut apart = vec![UNTOUCHED; tensor.len()];
    softmax.axis(tensor, shape, &mut apart).unwrap();
    let mut in_place = tensor.to_vec();
    softmax.axis_in_place(&mut in_place, shape).unwrap();
    let what = format_args!("an axis of {shape:?} in place, {softmax:?}");
    assert_same(&in_place, &apart, what);
    softmax.log_axis(tensor, shape, &mut in_place).unwrap();
    let [outer, _, inner] = shape;
    let mut sums = vec![UNTOUCHED; outer * inner];
    softmax.log_sum_exp_axis(tensor, shape, &mut sums).unwrap();
    let mut outputs = Outputs::default();
    outputs.add("axis", apart);
    outputs.add("log_axis", in_place);
    outputs.add("log_sum_exp_axis", sums);
    outputs
}

/// A tensor, column by column.
pub(crate) struct Columns {
    shape: [usize; 3],
    columns: Vec<Vec<f32>>,
}

impl Columns {
    pub(crate) fn new(tensor: &[f32], shape: [usize; 3]) -> Self {
        let [outer, _, inner] = shape;
        Columns {
            shape,
            columns: (0..outer * inner)
                .map(|index| column(tensor, shape, index).copied().collect())
                .collect(),
        }
    }

    /// What is expected of each, with what `beside` has.
    pub(crate) fn expected<'a>(&'a self, beside: Row<'a>) -> Vec<Expected<'a>> {
        let expected = |logits| Expected::new(Row { logits, ..beside });
        self.columns.iter().map(|column| expected(column)).collect()
    }

    pub(crate) fn assert_results(
        &self,
        expected: &[Expected],
        backend: Backend,
        outputs: &Outputs,
    ) {
        let values = |name, index| -> Vec<f32> {
            let values = outputs.get(name);
            column(values, self.shape, index).copied().collect()
        };
        for (index, expected) in expected.iter().enumerate() {
            expected.assert_results(backend, &values("axis", index), &values("log_axis", index));
            let sum = outputs.get("log_sum_exp_axis")[index];
            let who = format_args!("{backend:?}: log_sum_exp_axis [{index}]");
            expected.assert_log_sum_exp(sum, who);
        }
    }
}

fn column<T>(tensor: &[T], [_, axis, inner]: [usize; 3], index: usize) -> impl Iterator<Item = &T> {
    let first = index / inner * axis * inner + index % inner;
    (0..axis).map(move |row| &tensor[first + row * inner])
}

/// Of a shape that the tensor has not every operation says so and writes nothing.
fn assert_refuses_other_shapes(softmax: Softmax, tensor: &[f32], [outer, axis, inner]: [usize; 3]) {
    let given = tensor.len();
    let mut out = vec![UNTOUCHED; given];
    let shape = [outer + 1, axis.max(1), inner.max(1)];
    let mismatch = Error::ShapeMismatch { shape, given };
    let shape_too_large = [usize::MAX, 2, inner.max(1)];
    let too_large = Error::TooLarge {
        shape: shape_too_large,
    };
    for (shape, error) in [(shape, mismatch), (shape_too_large, too_large)] {
        assert_eq!(softmax.axis(tensor, shape, &mut out), Err(error));
        assert_eq!(softmax.log_axis(tensor, shape, &mut out), Err(error));
        assert_eq!(
            softmax.log_sum_exp_axis(tensor, shape, &mut out),
            Err(error)
        );
        assert_eq!(softmax.axis_in_place(&mut out, shape), Err(error));
    }
    assert_untouched(&out);
}

//! Logits of half precision.

use crate::{number, result, shape, slice, slice_mut};
use half::{bf16, f16};
use online_softmax::{Logit, Probability, Softmax};

pub(crate) fn all_of(softmax: Softmax<'_>) {
    of::<bf16>(softmax);
    of::<f16>(softmax);
    into::<bf16, f32>(softmax);
    into::<f16, f16>(softmax);
    // With the four backends of x86-64 each takes minutes to compile, and differs from those above
    // only in how a result is rounded.
    #[cfg(not(target_arch = "x86_64"))]
    {
        into::<f16, f32>(softmax);
        into::<bf16, bf16>(softmax);
    }
}

fn of<L: Logit + 'static>(softmax: Softmax<'_>) {
    let softmax = softmax.of::<L>();
    result(softmax.row_in_place(slice_mut()));
    result(softmax.log_row_in_place(slice_mut()));
    result(softmax.normalizer(slice()));
    result(softmax.log_sum_exp(slice()));
    result(softmax.rows_in_place(slice_mut(), number()));
    result(softmax.log_sum_exp_rows(slice(), number(), slice_mut()));
    result(softmax.axis_in_place(slice_mut(), shape()));
    result(softmax.top_k(slice(), slice_mut()));
    result(softmax.cross_entropy(slice(), number()));
}

fn into<L: Logit + 'static, P: Probability<L> + 'static>(softmax: Softmax<'_>) {
    let softmax = softmax.of::<L>();
    result(softmax.row::<P>(slice(), slice_mut()));
    result(softmax.log_row::<P>(slice(), slice_mut()));
    result(softmax.rows::<P>(slice(), number(), slice_mut()));
    result(softmax.log_rows::<P>(slice(), number(), slice_mut()));
    result(softmax.axis::<P>(slice(), shape(), slice_mut()));
    result(softmax.log_axis::<P>(slice(), shape(), slice_mut()));
}

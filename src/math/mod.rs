//! Formulas over vectors: the exponential and its scale, sums, reductions, and the last operation
//! on a row. No logits or results are read or written here.

pub(crate) mod compensated_sum;
pub(crate) mod epilogue;
pub(crate) mod exp;
pub(crate) mod integer_sum;
pub(crate) mod logarithm;
pub(crate) mod reduce;
pub(crate) mod shift;
pub(crate) mod tanh;
pub(crate) mod two_float;

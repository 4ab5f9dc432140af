/work/main/tests/targets/digest/target/release/deps/online_softmax-98e2f4382ac5c7f5.d: /work/main/src/lib.rs /work/main/src/backend.rs /work/main/src/checks.rs /work/main/src/columns/mod.rs /work/main/src/columns/algorithm.rs /work/main/src/columns/cells.rs /work/main/src/columns/log_softmax.rs /work/main/src/columns/slab.rs /work/main/src/columns/softmax.rs /work/main/src/columns/sums.rs /work/main/src/dispatch.rs /work/main/src/driver.rs /work/main/src/error.rs /work/main/src/functions.rs /work/main/src/gradient.rs /work/main/src/loss.rs /work/main/src/mask.rs /work/main/src/math/mod.rs /work/main/src/math/compensated_sum.rs /work/main/src/math/epilogue.rs /work/main/src/math/exp.rs /work/main/src/math/logarithm.rs /work/main/src/math/reduce.rs /work/main/src/math/shift.rs /work/main/src/math/tanh.rs /work/main/src/math/two_float.rs /work/main/src/normalizer.rs /work/main/src/options.rs /work/main/src/reference.rs /work/main/src/rows/mod.rs /work/main/src/rows/batch.rs /work/main/src/rows/denominator.rs /work/main/src/rows/log_denominators.rs /work/main/src/rows/log_sum_exp.rs /work/main/src/rows/matrix.rs /work/main/src/rows/normalize.rs /work/main/src/rows/other_terms.rs /work/main/src/rows/preprocess.rs /work/main/src/rows/quotients.rs /work/main/src/rows/recurrence.rs /work/main/src/rows/row.rs /work/main/src/rows/schedule.rs /work/main/src/rows/short.rs /work/main/src/rows/slices.rs /work/main/src/rows/state.rs /work/main/src/rows/sums.rs /work/main/src/simd/mod.rs /work/main/src/simd/operations.rs /work/main/src/simd/portable.rs /work/main/src/simd/scalar.rs /work/main/src/simd/unrolled.rs /work/main/src/simd/x86_64/mod.rs /work/main/src/simd/x86_64/avx2.rs /work/main/src/simd/x86_64/avx512.rs /work/main/src/simd/x86_64/detect.rs /work/main/src/softmax.rs /work/main/src/source/mod.rs /work/main/src/stream.rs /work/main/src/top_k/mod.rs /work/main/src/top_k/candidates.rs /work/main/src/../README.md

/work/main/tests/targets/digest/target/release/deps/libonline_softmax-98e2f4382ac5c7f5.rlib: /work/main/src/lib.rs /work/main/src/backend.rs /work/main/src/checks.rs /work/main/src/columns/mod.rs /work/main/src/columns/algorithm.rs /work/main/src/columns/cells.rs /work/main/src/columns/log_softmax.rs /work/main/src/columns/slab.rs /work/main/src/columns/softmax.rs /work/main/src/columns/sums.rs /work/main/src/dispatch.rs /work/main/src/driver.rs /work/main/src/error.rs /work/main/src/functions.rs /work/main/src/gradient.rs /work/main/src/loss.rs /work/main/src/mask.rs /work/main/src/math/mod.rs /work/main/src/math/compensated_sum.rs /work/main/src/math/epilogue.rs /work/main/src/math/exp.rs /work/main/src/math/logarithm.rs /work/main/src/math/reduce.rs /work/main/src/math/shift.rs /work/main/src/math/tanh.rs /work/main/src/math/two_float.rs /work/main/src/normalizer.rs /work/main/src/options.rs /work/main/src/reference.rs /work/main/src/rows/mod.rs /work/main/src/rows/batch.rs /work/main/src/rows/denominator.rs /work/main/src/rows/log_denominators.rs /work/main/src/rows/log_sum_exp.rs /work/main/src/rows/matrix.rs /work/main/src/rows/normalize.rs /work/main/src/rows/other_terms.rs /work/main/src/rows/preprocess.rs /work/main/src/rows/quotients.rs /work/main/src/rows/recurrence.rs /work/main/src/rows/row.rs /work/main/src/rows/schedule.rs /work/main/src/rows/short.rs /work/main/src/rows/slices.rs /work/main/src/rows/state.rs /work/main/src/rows/sums.rs /work/main/src/simd/mod.rs /work/main/src/simd/operations.rs /work/main/src/simd/portable.rs /work/main/src/simd/scalar.rs /work/main/src/simd/unrolled.rs /work/main/src/simd/x86_64/mod.rs /work/main/src/simd/x86_64/avx2.rs /work/main/src/simd/x86_64/avx512.rs /work/main/src/simd/x86_64/detect.rs /work/main/src/softmax.rs /work/main/src/source/mod.rs /work/main/src/stream.rs /work/main/src/top_k/mod.rs /work/main/src/top_k/candidates.rs /work/main/src/../README.md

/work/main/tests/targets/digest/target/release/deps/libonline_softmax-98e2f4382ac5c7f5.rmeta: /work/main/src/lib.rs /work/main/src/backend.rs /work/main/src/checks.rs /work/main/src/columns/mod.rs /work/main/src/columns/algorithm.rs /work/main/src/columns/cells.rs /work/main/src/columns/log_softmax.rs /work/main/src/columns/slab.rs /work/main/src/columns/softmax.rs /work/main/src/columns/sums.rs /work/main/src/dispatch.rs /work/main/src/driver.rs /work/main/src/error.rs /work/main/src/functions.rs /work/main/src/gradient.rs /work/main/src/loss.rs /work/main/src/mask.rs /work/main/src/math/mod.rs /work/main/src/math/compensated_sum.rs /work/main/src/math/epilogue.rs /work/main/src/math/exp.rs /work/main/src/math/logarithm.rs /work/main/src/math/reduce.rs /work/main/src/math/shift.rs /work/main/src/math/tanh.rs /work/main/src/math/two_float.rs /work/main/src/normalizer.rs /work/main/src/options.rs /work/main/src/reference.rs /work/main/src/rows/mod.rs /work/main/src/rows/batch.rs /work/main/src/rows/denominator.rs /work/main/src/rows/log_denominators.rs /work/main/src/rows/log_sum_exp.rs /work/main/src/rows/matrix.rs /work/main/src/rows/normalize.rs /work/main/src/rows/other_terms.rs /work/main/src/rows/preprocess.rs /work/main/src/rows/quotients.rs /work/main/src/rows/recurrence.rs /work/main/src/rows/row.rs /work/main/src/rows/schedule.rs /work/main/src/rows/short.rs /work/main/src/rows/slices.rs /work/main/src/rows/state.rs /work/main/src/rows/sums.rs /work/main/src/simd/mod.rs /work/main/src/simd/operations.rs /work/main/src/simd/portable.rs /work/main/src/simd/scalar.rs /work/main/src/simd/unrolled.rs /work/main/src/simd/x86_64/mod.rs /work/main/src/simd/x86_64/avx2.rs /work/main/src/simd/x86_64/avx512.rs /work/main/src/simd/x86_64/detect.rs /work/main/src/softmax.rs /work/main/src/source/mod.rs /work/main/src/stream.rs /work/main/src/top_k/mod.rs /work/main/src/top_k/candidates.rs /work/main/src/../README.md

/work/main/src/lib.rs:
/work/main/src/backend.rs:
/work/main/src/checks.rs:
/work/main/src/columns/mod.rs:
/work/main/src/columns/algorithm.rs:
/work/main/src/columns/cells.rs:
/work/main/src/columns/log_softmax.rs:
/work/main/src/columns/slab.rs:
/work/main/src/columns/softmax.rs:
/work/main/src/columns/sums.rs:
/work/main/src/dispatch.rs:
/work/main/src/driver.rs:
/work/main/src/error.rs:
/work/main/src/functions.rs:
/work/main/src/gradient.rs:
/work/main/src/loss.rs:
/work/main/src/mask.rs:
/work/main/src/math/mod.rs:
/work/main/src/math/compensated_sum.rs:
/work/main/src/math/epilogue.rs:
/work/main/src/math/exp.rs:
/work/main/src/math/logarithm.rs:
/work/main/src/math/reduce.rs:
/work/main/src/math/shift.rs:
/work/main/src/math/tanh.rs:
/work/main/src/math/two_float.rs:
/work/main/src/normalizer.rs:
/work/main/src/options.rs:
/work/main/src/reference.rs:
/work/main/src/rows/mod.rs:
/work/main/src/rows/batch.rs:
/work/main/src/rows/denominator.rs:
/work/main/src/rows/log_denominators.rs:
/work/main/src/rows/log_sum_exp.rs:
/work/main/src/rows/matrix.rs:
/work/main/src/rows/normalize.rs:
/work/main/src/rows/other_terms.rs:
/work/main/src/rows/preprocess.rs:
/work/main/src/rows/quotients.rs:
/work/main/src/rows/recurrence.rs:
/work/main/src/rows/row.rs:
/work/main/src/rows/schedule.rs:
/work/main/src/rows/short.rs:
/work/main/src/rows/slices.rs:
/work/main/src/rows/state.rs:
/work/main/src/rows/sums.rs:
/work/main/src/simd/mod.rs:
/work/main/src/simd/operations.rs:
/work/main/src/simd/portable.rs:
/work/main/src/simd/scalar.rs:
/work/main/src/simd/unrolled.rs:
/work/main/src/simd/x86_64/mod.rs:
/work/main/src/simd/x86_64/avx2.rs:
/work/main/src/simd/x86_64/avx512.rs:
/work/main/src/simd/x86_64/detect.rs:
/work/main/src/softmax.rs:
/work/main/src/source/mod.rs:
/work/main/src/stream.rs:
/work/main/src/top_k/mod.rs:
/work/main/src/top_k/candidates.rs:
/work/main/src/../README.md:

/work/main/tests/targets/digest/target/release/deps/online_softmax_digest-70a5bd8954d23df0.d: src/lib.rs

/work/main/tests/targets/digest/target/release/deps/libonline_softmax_digest-70a5bd8954d23df0.rlib: src/lib.rs

/work/main/tests/targets/digest/target/release/deps/libonline_softmax_digest-70a5bd8954d23df0.rmeta: src/lib.rs

src/lib.rs:

/work/main/tests/targets/digest/target/release/deps/online_softmax_digest-9d437338faac5ab6.d: src/main.rs

/work/main/tests/targets/digest/target/release/deps/online_softmax_digest-9d437338faac5ab6: src/main.rs

src/main.rs:

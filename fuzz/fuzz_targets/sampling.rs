//! [`online_softmax_fuzz::sampling`] on what libFuzzer makes up.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    online_softmax_fuzz::sampling(bytes);
});

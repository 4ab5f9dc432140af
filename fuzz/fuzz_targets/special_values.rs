//! [`online_softmax_fuzz::special_values`] on what libFuzzer makes up.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    online_softmax_fuzz::special_values(bytes);
});

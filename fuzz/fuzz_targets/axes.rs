//! [`online_softmax_fuzz::axes`] on what libFuzzer makes up.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    online_softmax_fuzz::axes(bytes);
});

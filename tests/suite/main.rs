//! The integration tests, a module for each subject: `cargo test --test suite accuracy::` runs one.
//!
//! What they share (the oracle, the measure of error, the rows and options to try) is the crate
//! `support`, which the fuzz targets use too.

mod accuracy;
mod axes;
mod exponential;
#[cfg(target_arch = "x86_64")]
mod float_environment;
mod frozen;
#[cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
mod guard_pages;
#[cfg(feature = "half")]
mod half;
mod harness;
mod house;
mod losses;
mod operations;
mod options;
#[cfg(feature = "rayon")]
mod parallel;
mod properties;
mod same_bits;
mod sampling;
mod special_values;
#[cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
mod stack;
mod strides;
mod worst_rows;

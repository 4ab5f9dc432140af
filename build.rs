//! Sets two cfgs:
//!
//! - `unoptimized` in builds of `opt-level` 0. There the kernels are not inlined: see "Inlining" in
//!   `src/simd/mod.rs`.
//! - `small` where the size of the code counts: on wasm, and in builds for size.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(unoptimized, small)");
    let level = env::var("OPT_LEVEL").unwrap_or_default();
    if level == "0" {
        println!("cargo::rustc-cfg=unoptimized");
    }
    let is_wasm = env::var("CARGO_CFG_TARGET_FAMILY").is_ok_and(|family| family.contains("wasm"));
    if is_wasm || level == "s" || level == "z" {
        println!("cargo::rustc-cfg=small");
    }
}

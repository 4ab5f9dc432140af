//! Sets the cfg `unoptimized` in builds of `opt-level` 0. There the kernels are not inlined: see
//! "Inlining" in `src/simd/mod.rs`.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(unoptimized)");
    if std::env::var("OPT_LEVEL").is_ok_and(|level| level == "0") {
        println!("cargo::rustc-cfg=unoptimized");
    }
}

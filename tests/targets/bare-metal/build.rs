//! Puts `memory.x` of the target where the linker looks for it.

use std::{env, fs, path::PathBuf};

fn main() {
    let target = env::var("TARGET").unwrap();
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap());
    let is_riscv = target.starts_with("riscv32");
    let name = if is_riscv { "riscv32" } else { &target };
    fs::copy(format!("memory/{name}.x"), out.join("memory.x")).unwrap();
    println!("cargo:rustc-link-search={}", out.display());
    if is_riscv {
        println!("cargo:rustc-link-arg=-Tmemory.x");
    }
    println!("cargo:rustc-link-arg=-Tlink.x");
    println!("cargo:rerun-if-changed=memory");
}

//! How the program is linked: against the C library on Linux, which has `memcpy` and its like, and
//! against nothing elsewhere. A symbol that nobody defines is an error, or an import in wasm.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let arguments: &[&str] = match env::var("CARGO_CFG_TARGET_ARCH").as_deref() {
        Ok("wasm32") => &["--no-entry", "--export=call_everything"],
        Ok("arm") => &["--entry=call_everything"],
        _ => &[
            "-nostartfiles",
            "-lc",
            "-Wl,--entry=call_everything",
            "-Wl,--no-undefined",
        ],
    };
    for argument in arguments {
        println!("cargo::rustc-link-arg={argument}");
    }
}

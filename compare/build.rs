//! Hands the profile this crate is built with to the binaries, which refuse to measure a debug build.
//!
//! The build scripts of the C and C++ allocators look at the same `DEBUG` and `OPT_LEVEL`: with `debug = 1` in the release
//! profile snmalloc is compiled with its assertions, and every row it loses then is a false win.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for name in ["DEBUG", "OPT_LEVEL"] {
        let value = env::var(name).unwrap_or_default();
        println!("cargo::rustc-env=COMPARE_{name}={value}");
    }
}

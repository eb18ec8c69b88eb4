//! The workloads under mimalloc 3.
#![allow(unsafe_code)]

use compare::worker::{self, Peer};
use mimalloc::MiMalloc;
use std::ffi::c_int;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

unsafe extern "C" {
    safe fn mi_version() -> c_int;
}

/// Fails if the other version was linked, as happens when both features are on in one build.
fn version() -> Result<String, String> {
    let version = mi_version();
    let (major, minor, patch) = (version / 10_000, version / 100 % 100, version % 100);
    let text = format!("mimalloc {major}.{minor}.{patch}");
    if major == 3 { Ok(text) } else { Err(format!("linked with {text}, not with mimalloc 3")) }
}

fn main() -> ExitCode {
    worker::main(Peer { name: "mimalloc3", version })
}

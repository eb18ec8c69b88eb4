//! The workloads under snmalloc.

use compare::worker::{self, Peer};
use snmalloc_rs::SnMalloc;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: SnMalloc = SnMalloc::new();

/// snmalloc does not tell its version; the runner adds that of the crate from the lock file.
fn version() -> Result<String, String> {
    Ok("snmalloc".to_owned())
}

fn main() -> ExitCode {
    worker::main(Peer { name: "snmalloc", version })
}

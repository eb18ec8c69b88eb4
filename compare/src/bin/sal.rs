//! The workloads under SAL with its default, volatile heap.

use compare::worker::{self, Peer};
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: sal::SalAlloc = sal::SalAlloc::new();

/// The runner adds the crate's version from the lock file.
fn version() -> Result<String, String> {
    Ok("sal".to_owned())
}

fn main() -> ExitCode {
    worker::main(Peer { name: "sal", version })
}

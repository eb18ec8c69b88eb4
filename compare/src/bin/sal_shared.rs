//! The workloads under SAL with a heap in a file.

use compare::worker::{self, Peer};
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: sal::SalAlloc = sal::SalAlloc::file_backed();

/// The runner adds the crate's version from the lock file.
fn version() -> Result<String, String> {
    Ok("sal".to_owned())
}

fn main() -> ExitCode {
    worker::main(Peer { name: "sal_shared", version })
}

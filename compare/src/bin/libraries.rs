//! Allocators that are called by name, in a program whose global allocator is mimalloc 3.

use mimalloc::MiMalloc;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    compare::contests::main()
}

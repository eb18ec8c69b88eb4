//! Runs the workloads under every allocator in turn and compares what they cost.
//!
//! `cargo run -p compare --release -- --help` tells the options; `compare/README.md` tells the method.

mod runner;

use std::process::ExitCode;

fn main() -> ExitCode {
    match runner::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("compare: {message}");
            ExitCode::FAILURE
        }
    }
}

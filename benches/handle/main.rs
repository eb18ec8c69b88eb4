//! Handles: pins, reading, making, and moving values: `OPERATION/SIZE`, nanoseconds an operation unless it says otherwise.
//!
//! Each round runs every contender once, in turn; shown are the median round of each, its least and greatest, and the ratio to
//! the first. Memory that is not a heap's comes from mimalloc. With a word as an argument, only operations that have it in their names are
//! run; `SAL_BENCH_OBJECTS` says how many objects the heap has that is compacted.

mod compact;
mod growth;
mod one;
#[path = "../common/rounds.rs"]
mod rounds;
mod times;

use mimalloc::MiMalloc;

#[global_allocator]
static GLOBAL: MiMalloc = MiMalloc;

fn main() {
    // `cargo bench` passes `--bench`.
    let only = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let wanted = |name: &str| only.as_ref().is_none_or(|only| name.contains(only.as_str()));
    println!("{:<34}{:>12} {:>24}{:>8}", "", "median ns", "(least to greatest)", "ratio");
    one::run(&wanted);
    if wanted("growth") {
        growth::run();
    }
    if wanted("compact") {
        compact::run();
    }
    if wanted("compact_file") {
        compact::run_file();
    }
}

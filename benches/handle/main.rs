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
    let wanted = rounds::begin();
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

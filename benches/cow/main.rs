//! Shared values beside `std::sync::Arc` and `triomphe::Arc`: `OPERATION/SIZE`, nanoseconds an operation.
//!
//! Each round runs every contender once, in turn; shown are the median round of each, its least and greatest, and the ratio to
//! `Arc`. Theirs and this program's other memory comes from mimalloc. With a word as an argument, only operations that have it in
//! their names are run.

mod children;
mod one;
#[path = "../common/rounds.rs"]
mod rounds;

use mimalloc::MiMalloc;

#[global_allocator]
static GLOBAL: MiMalloc = MiMalloc;

fn main() {
    let wanted = rounds::begin();
    one::run(&wanted);
    children::run(&wanted);
}

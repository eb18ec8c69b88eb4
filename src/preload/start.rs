//! The first block, the library's constructor, and the end of the process.

use super::message;
use super::next;
use super::options::Options;
use crate::heap::untyped;
use crate::os::{kept_stderr, loader, process};
use core::sync::atomic::{AtomicBool, Ordering};

/// Whether somebody has said, or is saying, which options are ignored.
static HAS_TOLD: AtomicBool = AtomicBool::new(false);
static HAS_STATISTICS: AtomicBool = AtomicBool::new(false);

/// Makes the heap, unless that has been done; false if there is no memory for it.
///
/// Threads that come at once, and calls from inside of one another, all do the same; one of them makes the heap.
#[cold]
pub(super) fn begin() -> bool {
    if untyped::has_begun() {
        return true;
    }
    // Relaxed, here and below: nothing else is published by it.
    let tell = !HAS_TOLD.swap(true, Ordering::Relaxed);
    let options = Options::read(tell);
    untyped::purge_after(options.purge_after);
    if options.has_statistics && !HAS_STATISTICS.swap(true, Ordering::Relaxed) {
        kept_stderr::keep();
    }
    if untyped::begin(options.is_over_file) {
        return true;
    }
    if options.is_over_file && tell {
        message::say(format_args!("no temporary file could be made; blocks are in memory"));
    }
    options.is_over_file && untyped::begin(false)
}

/// Called when the library has been loaded: before `main`, or by `dlopen`.
extern "C" fn loaded() {
    next::find();
    let here = (loaded as extern "C" fn() as *const ()).cast();
    if loader::is_in_library(here) {
        // Threads call into it when they end, and forks.
        loader::keep_loaded(here);
        // The library has a standard library of its own, and nobody in it catches a panic (X1). The box is empty, so
        // nothing is allocated.
        std::panic::set_hook(Box::new(|panic| match panic.location() {
            Some(place) => message::abort(format_args!("panic at {}:{}", place.file(), place.line())),
            None => process::abort(),
        }));
    }
}

/// Called when the process exits, after the destructors of what was loaded later.
extern "C" fn unloaded() {
    if HAS_STATISTICS.load(Ordering::Relaxed) {
        if let Some(stats) = untyped::handle().and_then(crate::SalAlloc::stats) {
            message::write_at_exit(&format_args!("sal: statistics of process {}\n{stats}", process::id()));
        }
    }
}

#[cfg(not(test))]
#[used]
#[unsafe(link_section = ".init_array")]
static LOADED: extern "C" fn() = loaded;
#[cfg(not(test))]
#[used]
#[unsafe(link_section = ".fini_array")]
static UNLOADED: extern "C" fn() = unloaded;

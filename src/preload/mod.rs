//! SAL as the allocator of any program: a shared library with the C library's allocation functions.
//!
//! ```sh
//! cargo rustc --release --lib --features preload --crate-type cdylib
//! LD_PRELOAD=$PWD/target/release/libsal.so python3
//! ```
//! `malloc`, `calloc`, `realloc`, `reallocarray`, `free`, `free_sized`, `free_aligned_sized`, `memalign`, `aligned_alloc`,
//! `posix_memalign`, `valloc`, `pvalloc`, `malloc_usable_size`, `malloc_trim` and the `__libc_` names of the older ones are
//! served from a default heap ([`crate::heap::untyped`]). C++ needs nothing more: the operators `new` and `delete` of
//! libstdc++ and libc++ call these functions; and a size that `delete` or `free_sized` gives is not looked at, so a wrong
//! one does no harm. [`exports`] says how each function treats its odd arguments.
//!
//! # Options
//! Environment variables, read when the first block is allocated. A value that makes no sense is ignored, with a line on
//! standard error. Programs that run with raised privileges ignore all of them.
//!
//! | variable | values | what it does |
//! |---|---|---|
//! | `SAL_BACKING` | `memory` (as without it), `file` | where blocks live: in memory, or in a temporary file that the kernel pages to without swap; `SAL_TMPDIR` or `SAL_FILE` say where ([`crate::SalAlloc::file_backed`]) |
//! | `SAL_HUGE_PAGES` | `1` (as without it), `0` | whether the kernel is asked for huge pages |
//! | `SAL_PURGE` | bytes, with `K`, `M` or `G`; `1G` without it; `0` for never | after how many freed bytes free runs of 2 MiB are given back to the system |
//! | `SAL_STATS` | `0` (as without it), `1` | writes statistics to standard error when the process exits (not by `_exit`) |
//!
//! # What happens when
//! - *Before `main`.* The first call makes the heap, from whatever constructor or part of the C library it comes. Nothing on
//!   the way allocates, or calls what a program could replace: the environment is read directly.
//! - *Calls from inside.* Making the heap registers fork handlers, and a thread's first block its exit hook; the C library
//!   may allocate for both. By then the options are read, no lock is held, and the thread heap is in place.
//! - *Threads.* A thread finds its thread heap through thread-local storage of the initial-exec model
//!   (`alloc::current::initial_exec`): two loads, no call. When a thread's exit hook has run, later calls of the same thread
//!   share one thread heap under a lock (`alloc::stray`).
//! - *Forks.* All locks are held over a fork, so a child of a program with threads can allocate at once. What the threads
//!   that it does not have had at hand is lost to it.
//! - *Exit.* Nothing is torn down: static destructors and other threads go on as they like.
//! - *`dlopen`.* The library may be loaded so, and its functions found by `dlsym`; it then stays loaded for good.
//! - *Costs at the start.* Some 0.4 ms of processor time for each process, less than preloading libstdc++ costs; with a
//!   temporary file some 8 ms.
//! - *Blocks of another allocator* (of a plugin that was bound to the C library's by `RTLD_DEEPBIND`, say) are passed on to
//!   the next library's `free`, which knows them or ends the process. An address in the heap's own memory that is no block
//!   (freed twice as a large object, say) ends the process with a line on standard error. Small blocks that are freed twice
//!   are not noticed.
//!
//! # Invariants
//! - **X1** Nothing here unwinds: in a library, a panic ends the process from its hook, which writes the place to standard
//!   error and does not allocate.
#![allow(unsafe_code)]
#![cfg_attr(test, allow(dead_code, reason = "a test program has its own allocator"))]

mod exports;
mod message;
mod next;
mod options;
mod start;

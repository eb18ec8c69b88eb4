//! One set of workloads, run under several global allocators.
//!
//! A Rust program has one global allocator, so each allocator has a binary of its own in `src/bin`: it names the allocator
//! and calls [`worker::main`], which runs one of the [`workloads`] and prints what it cost as one line of JSON. The runner
//! (`src/main.rs`) builds those binaries, runs them in turn and draws up the comparison. The workloads know nothing of the
//! allocator they run on: they go through `Box`, `Vec`, `String` and `std::alloc`.
//!
//! Allocators that a program calls by name are compared in the module `contests`, behind the feature `libraries`.
//! With the feature `databases` the runner also compares durable commits: a heap beside what keeps a map in a file otherwise.

#[cfg(feature = "libraries")]
pub mod contests;
pub mod measure;
pub mod process;
pub mod random;
#[cfg(feature = "databases")]
pub mod sync_stores;
#[cfg(feature = "databases")]
pub mod sync_workloads;
pub mod worker;
pub mod workloads;

//! Atomics: those of `core`, or loom's when the crate is built with `--cfg loom`.
//!
//! Protocols that loom checks take their atomics from here and never say where these live, because loom's cannot lie
//! in a mapping.
//!
//! Under `--cfg loom` the crate consists of these protocols and their models alone:
//!
//! ```text
//! RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=target/loom cargo test --release --lib loom
//! ```

#[cfg(not(loom))]
pub(crate) use core::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering, fence};
#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering, fence};

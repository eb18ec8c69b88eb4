//! SAL: a memory allocator whose heap is a file.
#![cfg_attr(feature = "nightly", feature(allocator_api))]

extern crate self as sal;

pub mod collections;
mod error;
pub mod heap;
pub mod persist;

pub use heap::SalAlloc;
pub use persist::Persist;

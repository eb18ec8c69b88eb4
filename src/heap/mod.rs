//! Heaps and the handle through which memory is taken from them.
#![allow(unsafe_code)]

mod allocate;
mod allocator;
#[cfg(feature = "checked")]
mod checked;
mod defaults;
mod fork;
mod global;
mod handle;
pub(crate) mod placement;
mod temporary;

pub use handle::SalAlloc;

//! SAL: a memory allocator whose heap is a file.
#![cfg_attr(feature = "nightly", feature(allocator_api))]

extern crate self as sal;

#[cfg(not(loom))]
mod alloc;
#[cfg(not(loom))]
pub mod collections;
#[cfg(not(loom))]
mod error;
#[cfg(not(loom))]
mod format;
#[cfg(not(loom))]
pub mod heap;
#[cfg(not(loom))]
mod os;
#[cfg(not(loom))]
mod persist;
mod sync;

#[cfg(not(loom))]
pub use heap::SalAlloc;
#[cfg(not(loom))]
pub use persist::Persist;

// What loom checks. The rest cannot be built with its atomics, which lie neither in mappings nor in constants.
#[cfg(loom)]
#[allow(dead_code, unsafe_code)]
mod alloc {
    pub(crate) mod presence;
    pub(crate) mod remote_free;
}
#[cfg(loom)]
#[allow(dead_code, unsafe_code)]
mod os {
    pub(crate) mod lock;
    pub(crate) mod barrier {
        //! Both sides pass a full fence here; that one of them may be left to the kernel is for the kernel to prove.

        use loom::sync::atomic::{Ordering, fence};

        pub(crate) fn light() {
            fence(Ordering::SeqCst);
        }

        pub(crate) fn heavy() {
            fence(Ordering::SeqCst);
        }
    }
}

//! Heaps and the handle through which memory is taken from them.
#![allow(unsafe_code)]

use allocator_api2::alloc::{AllocError, Allocator, Global, Layout};
use core::ptr::NonNull;

pub(crate) mod placement;

/// The handle of a heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct SalAlloc {
    window: u32,
}

impl SalAlloc {
    /// The process's default heap.
    pub const fn new() -> Self {
        Self { window: 0 }
    }
}

// SAFETY: every call is passed on to `Global`.
unsafe impl Allocator for SalAlloc {
    fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        Global.allocate(layout)
    }
    unsafe fn deallocate(&self, ptr: NonNull<u8>, layout: Layout) {
        // SAFETY: the caller's promise is the one `Global` asks for.
        unsafe { Global.deallocate(ptr, layout) }
    }
}

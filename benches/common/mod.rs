//! What the benches of allocation share: the allocators behind one interface, and blocks taken from them.
//!
//! # Invariants
//! - **P1** A [`Block`] owns memory that its allocator gave for [`Block::LAYOUT`], and gives it back once, when dropped.
#![allow(unsafe_code)]

use allocator_api2::alloc::{AllocError, Allocator, Layout};
use core::alloc::GlobalAlloc;
use core::ptr::NonNull;
use criterion::Criterion;
use mimalloc::MiMalloc;
use std::alloc::System;
use std::hint::black_box;
use std::time::Duration;

/// A global allocator behind the interface that `SalAlloc` has.
#[derive(Debug)]
pub(crate) struct Peer<G>(G);

/// The allocator of the C library.
pub(crate) static SYSTEM: Peer<System> = Peer(System);
/// mimalloc, which is not the global allocator here.
pub(crate) static MIMALLOC: Peer<MiMalloc> = Peer(MiMalloc);

// SAFETY: `G` promises as much of its blocks as `Allocator` asks, and a `Peer` that is moved is the same unit value.
unsafe impl<G: GlobalAlloc> Allocator for Peer<G> {
    #[inline(always)]
    fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        if layout.size() == 0 {
            let dangling = NonNull::new(core::ptr::without_provenance_mut(layout.align())).ok_or(AllocError)?;
            return Ok(NonNull::slice_from_raw_parts(dangling, 0));
        }
        // SAFETY: the size is not zero.
        let block = unsafe { self.0.alloc(layout) };
        Ok(NonNull::slice_from_raw_parts(NonNull::new(block).ok_or(AllocError)?, layout.size()))
    }

    #[inline(always)]
    unsafe fn deallocate(&self, block: NonNull<u8>, layout: Layout) {
        if layout.size() != 0 {
            // SAFETY: by the caller's promise the block is live and was allocated with a layout that this one fits.
            unsafe { self.0.dealloc(block.as_ptr(), layout) }
        }
    }
}

/// What the benches need of an allocator.
pub(crate) trait Handle: Allocator + Copy + Send + Sync + 'static {}
impl<A: Allocator + Copy + Send + Sync + 'static> Handle for A {}

/// `SIZE` bytes of `A`, touched.
#[derive(Debug)]
pub(crate) struct Block<A: Handle, const SIZE: usize> {
    start: NonNull<u8>,
    allocator: A,
}

// SAFETY: by P1 it owns its memory, which nobody else knows of, and its allocator is Send itself.
unsafe impl<A: Handle, const SIZE: usize> Send for Block<A, SIZE> {}

impl<A: Handle, const SIZE: usize> Block<A, SIZE> {
    /// A constant, so that an allocator may choose the size class while it is compiled.
    const LAYOUT: Layout = match Layout::from_size_align(SIZE, 8) {
        Ok(layout) if SIZE > 0 => layout,
        _ => panic!("the size is not one to be measured"),
    };

    /// A block whose first byte was written.
    #[inline(always)]
    pub(crate) fn new(allocator: A) -> Self {
        let start = allocator.allocate(Self::LAYOUT).expect("there is memory for a bench").cast::<u8>();
        // SAFETY: the block is live and LAYOUT has at least one byte.
        unsafe { start.as_ptr().write_volatile(1) };
        // The result is dropped: the address escapes, but need not come back through memory.
        black_box(start);
        Self { start, allocator }
    }
}

impl<A: Handle, const SIZE: usize> Drop for Block<A, SIZE> {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: by P1 the allocator gave it for this layout, and this is the once.
        unsafe { self.allocator.deallocate(self.start, Self::LAYOUT) }
    }
}

/// Criterion as the command line configures it, with less time per bench than it takes by itself.
pub(crate) fn criterion() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(30)
        .configure_from_args()
}

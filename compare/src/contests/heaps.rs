//! What a heap of each mode costs in steady state: a random one of 100,000 blocks of 64 to 1,024 bytes is replaced.
//!
//! These take 54 MB, so that nearly each replacement leads to memory that no cache holds. With 10,000 (`10k_live`) all of
//! it is in a cache of the processor, and what is left is the allocators' own work. jemalloc, called by its own functions
//! and not as the global allocator, says how fast the machine is: it is known everywhere.
//!
//! The blocks are allocated through the handle of an open heap, within a write session where the mode needs one, and their
//! first byte is written. Before anything is measured as many blocks are replaced as are live, so that the pages exist and,
//! in an atomic heap, have been written since the heap was opened. No sync comes in between. In
//! `after_a_sync` one comes before each repetition, unmeasured, so that the first writes to clean pages are measured too.
#![allow(unsafe_code)]

use super::{Contest, JEMALLOC, MIMALLOC, SAL, Setting, contender};
use crate::random::Random;
use allocator_api2::alloc::{AllocError, Allocator, Global};
use sal::{Heap, HeapOptions, Mode, OpenError, SalAlloc};
use std::alloc::{GlobalAlloc, Layout};
use std::hint::black_box;
use std::path::Path;
use std::ptr::NonNull;
use tikv_jemallocator::Jemalloc;

const LIVE: usize = 100_000;
const FEW: usize = 10_000;
const OPERATIONS: usize = 200_000;
const TIMES: usize = 5;

pub(super) const CONTESTS: &[Contest] = &[
    Contest {
        name: "heap_churn/64..1024B",
        per: "replacement",
        contenders: &[
            contender("sal, Volatile", SAL, |setting| steady(setting, LIVE, volatile)),
            contender("sal, Shared", SAL, |setting| steady(setting, LIVE, shared)),
            contender("sal, Atomic", SAL, |setting| steady(setting, LIVE, atomic)),
            contender("sal, default heap", SAL, |setting| without_heap(setting, LIVE, SalAlloc::new())),
            contender("mimalloc3", MIMALLOC, |setting| without_heap(setting, LIVE, Global)),
            contender("jemalloc", JEMALLOC, |setting| without_heap(setting, LIVE, ByName)),
        ],
    },
    Contest {
        name: "heap_churn/64..1024B/10k_live",
        per: "replacement",
        contenders: &[
            contender("sal, Volatile", SAL, |setting| steady(setting, FEW, volatile)),
            contender("sal, Shared", SAL, |setting| steady(setting, FEW, shared)),
            contender("sal, Atomic", SAL, |setting| steady(setting, FEW, atomic)),
            contender("sal, default heap", SAL, |setting| without_heap(setting, FEW, SalAlloc::new())),
            contender("mimalloc3", MIMALLOC, |setting| without_heap(setting, FEW, Global)),
            contender("jemalloc", JEMALLOC, |setting| without_heap(setting, FEW, ByName)),
        ],
    },
    Contest {
        name: "heap_churn/after_a_sync",
        per: "replacement",
        contenders: &[
            contender("sal, Volatile", SAL, |setting| steady(setting, LIVE, volatile)),
            contender("sal, Atomic", SAL, synced),
        ],
    },
];

pub(super) fn volatile(_directory: &Path) -> Result<Heap, OpenError> {
    HeapOptions::new().volatile()
}

pub(super) fn shared(directory: &Path) -> Result<Heap, OpenError> {
    // SAFETY: the directory is this process's own.
    unsafe { HeapOptions::new().mode(Mode::Shared).create(directory.join("shared.sal")) }
}

fn atomic(directory: &Path) -> Result<Heap, OpenError> {
    // SAFETY: the directory is this process's own.
    unsafe { HeapOptions::new().mode(Mode::Atomic).discard(true).create(directory.join("atomic.sal")) }
}

/// jemalloc, beside whatever the global allocator is.
struct ByName;

// SAFETY: jemalloc keeps blocks until they are freed, and knows no instances.
unsafe impl Allocator for ByName {
    #[inline]
    fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        assert!(layout.size() != 0, "the contests ask for no empty blocks");
        // SAFETY: the size is not zero.
        let block = unsafe { Jemalloc.alloc(layout) };
        NonNull::new(std::ptr::slice_from_raw_parts_mut(block, layout.size())).ok_or(AllocError)
    }

    #[inline]
    unsafe fn deallocate(&self, block: NonNull<u8>, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { Jemalloc.dealloc(block.as_ptr(), layout) }
    }
}

/// Blocks of one allocator.
///
/// # Invariants
/// - **L1** Each element of `live` is a block that `allocator` has given out for the layout beside it, and nobody else's.
struct Blocks<A: Allocator> {
    allocator: A,
    random: Random,
    live: Vec<(NonNull<u8>, Layout)>,
}

impl<A: Allocator> Blocks<A> {
    /// As many as are to live, in the order of a heap that has been used.
    fn new(allocator: A, live: usize) -> Self {
        let mut blocks = Self { allocator, random: Random::new(71), live: Vec::with_capacity(live) };
        for _ in 0..live {
            let block = blocks.take();
            blocks.live.push(block);
        }
        blocks.replace(live);
        blocks
    }

    #[inline(always)]
    fn take(&mut self) -> (NonNull<u8>, Layout) {
        let layout = Layout::from_size_align(self.random.between(64, 1_024), 8).expect("the size is small");
        let block: NonNull<u8> = self.allocator.allocate(layout).expect("there is room for these few blocks").cast();
        // SAFETY: the block has a first byte and is ours.
        unsafe { block.as_ptr().write_volatile(1) };
        (black_box(block), layout)
    }

    fn replace(&mut self, count: usize) {
        for _ in 0..count {
            let place = self.random.below(self.live.len());
            let (block, layout) = self.live[place];
            // SAFETY: by L1 it is this allocator's, with this layout; another takes its place at once.
            unsafe { self.allocator.deallocate(block, layout) };
            self.live[place] = self.take();
        }
    }
}

impl<A: Allocator> Drop for Blocks<A> {
    fn drop(&mut self) {
        for &(block, layout) in &self.live {
            // SAFETY: by L1 it is this allocator's, with this layout; the list ends here.
            unsafe { self.allocator.deallocate(block, layout) };
        }
    }
}

fn without_heap(setting: &mut Setting<'_>, live: usize, allocator: impl Allocator) {
    let mut blocks = Blocks::new(allocator, live);
    setting.meter.repeat(TIMES, OPERATIONS, || blocks.replace(OPERATIONS));
}

fn steady(setting: &mut Setting<'_>, live: usize, open: fn(&Path) -> Result<Heap, OpenError>) {
    let heap = open(setting.directory).expect("a new heap can be made");
    let session = heap.write().expect("nobody else uses the heap");
    let mut blocks = Blocks::new(session.alloc(), live);
    setting.meter.repeat(TIMES, OPERATIONS, || blocks.replace(OPERATIONS));
}

fn synced(setting: &mut Setting<'_>) {
    let heap = atomic(setting.directory).expect("a new heap can be made");
    let write = || heap.write().expect("nobody else uses the heap");
    let mut session = write();
    let mut blocks = Blocks::new(session.alloc(), LIVE);
    for _ in 0..setting.meter.scaled(TIMES).max(3) {
        session.sync().expect("the disk takes what the heap has");
        session = write();
        setting.meter.once(OPERATIONS, || blocks.replace(OPERATIONS));
    }
}

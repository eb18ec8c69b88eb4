//! A thread's part of a heap: magazines in front, slabs behind.
//!
//! A *magazine* is a stack of pointers to free blocks of one class. Allocating pops, freeing pushes: two loads, a
//! compare and a store, no atomic operation, and no touch of the block or of any metadata, because the class follows
//! from the layout. An empty magazine is refilled with half its room, in address order, from the thread's slabs of
//! that class (`refill`); a full one gives its older half back to the slabs the blocks came from (`release`), its own
//! directly, others' through their remote bits ([`super::remote_free`]). Fresh slabs are cut from the thread's *lease*, an aligned part of
//! a segment that no other thread allocates from; leases grow with what the thread uses.
//!
//! # Invariants
//! - **H1** `floor <= top <= ceiling` for every magazine, and the slots from `floor` to `top` hold blocks of the class
//!   that nobody else holds.
//! - **H2** The empty thread heap has `floor = top = ceiling` everywhere, and no runs, so it is never written to.
//! - **H3** Every slab in `lists` is owned by this thread heap.
//! - **H4** `nothing`, right in front of the magazines, stays all zeros: full, and without a slot. So do the magazines of
//!   classes that the heap's ladder does not have.
//! - **H5** A thread heap's memory ends behind the slots of the last class of its heap's ladder: with the fine ladder, behind
//!   the end of [`ThreadHeap`] itself. So slots are reached through pointers to the whole.
//!
//! # Volatile
//! A thread heap is memory of the process. At a clean close all magazines have been given back.

mod closable;

use super::growers::Hints;
use super::heap_core::Core;
use super::magazine::{Magazine, ONE_TAKEN};
use super::presence;
use super::refill::LEASE_ORDERS;
use super::run_cache::OwnRuns;
use super::size_class::{ALL_CLASSES, CLASSES, Ladder, MAGAZINE_START, slab_units};
use super::slab::Slab;
use super::space::Lease;
use crate::format::UNIT;
use crate::os::mapping::{self, Access, Source};
use crate::sync::{AtomicU32, AtomicU64, Ordering};
use core::ptr;
use core::sync::atomic::{AtomicI32, AtomicI64, AtomicPtr};

/// Slots of a thread heap of a heap with the usual ladder, and of one with the fine ladder.
const SLOTS: usize = MAGAZINE_START[CLASSES] as usize;
pub(super) const MOST_SLOTS: usize = MAGAZINE_START[ALL_CLASSES] as usize;

/// One thread's part of one heap.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct ThreadHeap {
    /// See H4.
    #[cfg(feature = "preload")]
    nothing: Magazine,
    pub(super) magazines: [Magazine; ALL_CLASSES],
    /// Its heap; null in the empty one.
    pub(crate) core: *const Core,
    /// 1 while the thread works on a heap that can be closed; see [`crate::os::barrier`].
    pub(crate) busy: AtomicU32,
    /// Its number in the heap, from 1.
    pub(crate) number: u32,
    /// Whether a thread uses it (T2).
    pub(crate) is_live: bool,
    pub(crate) next_idle: u32,
    /// The next one of the same thread, of another heap.
    pub(crate) next_of_thread: *mut ThreadHeap,
    pub(super) threads: *mut AtomicPtr<ThreadHeap>,
    pub(super) lease: Lease,
    pub(super) lease_order: u32,
    /// For each class, its slabs with free blocks: head unit + 1, or 0.
    pub(super) lists: [u32; ALL_CLASSES],
    /// For each class, blocks taken out of slabs less blocks put back by this thread.
    pub(super) live: [AtomicI64; ALL_CLASSES],
    /// For each class, slabs made less slabs given up by this thread.
    pub(super) slabs: [AtomicI32; ALL_CLASSES],
    /// For each class, refills of the magazine, and halves of it given back.
    pub(super) slow_paths: [AtomicU64; ALL_CLASSES],
    /// Blocks freed that lie in slabs of others.
    pub(super) remote_frees: AtomicU64,
    /// Whether any of its counters may be other than zero: whether a thread has it. For those who count.
    pub(super) counts: AtomicU32,
    /// Bytes of large objects that this thread has allocated less those it has freed, by way of the runs at hand.
    pub(super) large_bytes: AtomicI64,
    /// Those that it has allocated so, and those that it has freed.
    pub(super) large_allocations: AtomicI64,
    pub(super) large_frees: AtomicI64,
    /// The thread whose runs were looked at last when there were none of its own.
    pub(super) victim: u32,
    /// Large objects since the last one for which there was a run at hand.
    pub(super) misses: u32,
    /// Where it freed growers last.
    grower_hints: Hints,
    pub(super) runs: OwnRuns,
    /// Slabs with frees from other threads: head unit + 1, or 0.
    pub(super) pending: Pending,
    /// Those of the magazines. Last, because there are [`MOST_SLOTS`] where the heap has the fine ladder (H5).
    pub(super) slots: [*mut u8; SLOTS],
}

/// On a line of its own: others write it.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Pending(pub(super) AtomicU32);

// SAFETY: T1 and T2 say who touches what.
unsafe impl Sync for ThreadHeap {}

/// What a thread without a thread heap has (H2).
pub(crate) static EMPTY: ThreadHeap = ThreadHeap {
    #[cfg(feature = "preload")]
    nothing: Magazine::nothing(),
    magazines: [const { Magazine::nothing() }; ALL_CLASSES],
    core: ptr::null(),
    busy: AtomicU32::new(0),
    number: 0,
    is_live: false,
    next_idle: 0,
    next_of_thread: ptr::null_mut(),
    threads: ptr::null_mut(),
    lease: Lease { segment: 0, free: 0, zeroed: 0 },
    lease_order: 0,
    lists: [0; ALL_CLASSES],
    live: [const { AtomicI64::new(0) }; ALL_CLASSES],
    slabs: [const { AtomicI32::new(0) }; ALL_CLASSES],
    slow_paths: [const { AtomicU64::new(0) }; ALL_CLASSES],
    remote_frees: AtomicU64::new(0),
    counts: AtomicU32::new(0),
    large_bytes: AtomicI64::new(0),
    large_allocations: AtomicI64::new(0),
    large_frees: AtomicI64::new(0),
    victim: 0,
    misses: 0,
    grower_hints: Hints::of_thread(1),
    runs: OwnRuns::new(),
    pending: Pending(AtomicU32::new(0)),
    slots: [ptr::null_mut(); SLOTS],
};

/// Bytes mapped for a thread heap of a heap with that ladder (H5).
const fn mapped_len(ladder: Ladder) -> usize {
    let slots_end =
        core::mem::offset_of!(ThreadHeap, slots) + MAGAZINE_START[ladder.classes()] as usize * size_of::<usize>();
    let len = if slots_end > size_of::<ThreadHeap>() { slots_end } else { size_of::<ThreadHeap>() };
    len.next_multiple_of(mapping::PAGE)
}

impl ThreadHeap {
    /// Maps and sets up a thread heap; null without memory.
    pub(crate) fn create(core: &Core, number: u32, threads: *mut AtomicPtr<Self>) -> *mut Self {
        let Ok(address) = mapping::map_anywhere(mapped_len(core.ladder), Access::ReadWrite, Source::Anonymous) else {
            return ptr::null_mut();
        };
        let heap: *mut Self = ptr::with_exposed_provenance_mut(address);
        // SAFETY: fresh memory of the right size and alignment; zeros are valid for all fields.
        unsafe {
            (*heap).core = core;
            (*heap).number = number;
            (*heap).is_live = true;
            (*heap).threads = threads;
            (*heap).lease_order = LEASE_ORDERS.0;
            (*heap).grower_hints = Hints::of_thread(number);
            (*heap).counts = AtomicU32::new(1);
            // The others stay full and empty at once, as all of the empty thread heap.
            for (class, magazine) in (*heap).magazines.iter_mut().enumerate().take(core.ladder.classes()) {
                let (floor, ceiling) = (MAGAZINE_START[class] as u16, MAGAZINE_START[class + 1] as u16);
                *magazine = Magazine::new(floor, ceiling);
            }
        }
        heap
    }

    /// Unmaps a thread heap.
    ///
    /// # Safety
    /// Nobody uses it any more, and its heap is still there.
    pub(crate) unsafe fn destroy(heap: *mut Self) {
        // SAFETY: mapped by `create`, with so many bytes; the caller's promise.
        let _ = unsafe { mapping::unmap(heap.expose_provenance(), mapped_len(Self::core(heap).ladder)) };
    }

    /// Takes a block of the class; null if the slow path cannot find one.
    ///
    /// # Safety
    /// `heap` is [`EMPTY`] or the calling thread's own (T1), and `class` is one. So it is for all functions here unless
    /// they say otherwise.
    #[inline(always)]
    pub(crate) unsafe fn allocate(heap: *mut Self, class: usize) -> Option<*mut u8> {
        // SAFETY: H1; the empty one has nothing to pop (H2).
        unsafe {
            debug_assert!(class < ALL_CLASSES);
            let magazine = (*heap).magazines.get_unchecked(class);
            let top = magazine.top();
            if top == magazine.floor {
                return None;
            }
            magazine.add(ONE_TAKEN - 1);
            Some((&raw const (*heap).slots).cast::<*mut u8>().add(top as usize - 1).read())
        }
    }

    /// Takes a block back; false if the magazine is full.
    ///
    /// # Safety
    /// As for [`ThreadHeap::allocate`]; `block` is a block of the class that nobody uses any more.
    #[inline(always)]
    pub(crate) unsafe fn free(heap: *mut Self, class: usize, block: *mut u8) -> bool {
        // SAFETY: H1; the empty one has no room (H2).
        unsafe {
            debug_assert!(class < ALL_CLASSES);
            let magazine = (*heap).magazines.get_unchecked(class);
            Self::push(heap, magazine, block)
        }
    }

    /// Puts a block into a magazine; false if that is full.
    ///
    /// # Safety
    /// As for [`ThreadHeap::free`]; the magazine is one of this thread heap.
    #[inline(always)]
    unsafe fn push(heap: *mut Self, magazine: &Magazine, block: *mut u8) -> bool {
        // SAFETY: H1; the thread is the one that the magazine belongs to, and its slots are its own, up to its ceiling.
        unsafe {
            let top = magazine.top();
            if top == magazine.ceiling {
                return false;
            }
            (&raw mut (*heap).slots).cast::<*mut u8>().add(top as usize).write(block);
            magazine.add(1);
            true
        }
    }

    /// As [`ThreadHeap::free`], for a block of the class before `number`; false also if `number` is 0.
    ///
    /// # Safety
    /// As for [`ThreadHeap::free`], unless `number` is 0; it is at most [`CLASSES`].
    #[cfg(feature = "preload")]
    #[inline(always)]
    pub(crate) unsafe fn free_numbered(heap: *mut Self, number: usize, block: *mut u8) -> bool {
        const {
            use core::mem::offset_of;
            assert!(offset_of!(ThreadHeap, magazines) == offset_of!(ThreadHeap, nothing) + size_of::<Magazine>());
        }
        // SAFETY: as in `free`; what lies in front of the first magazine has no room (H4).
        unsafe {
            debug_assert!(number <= CLASSES);
            let first = heap.byte_add(core::mem::offset_of!(ThreadHeap, nothing)).cast::<Magazine>();
            let magazine = &*first.add(number);
            Self::push(heap, magazine, block)
        }
    }

    pub(super) unsafe fn core<'a>(heap: *mut Self) -> &'a Core {
        // SAFETY: not the empty one; a heap outlives its thread heaps.
        unsafe { &*(*heap).core }
    }

    /// Where the thread freed growers last.
    ///
    /// # Safety
    /// As for [`ThreadHeap::allocate`], and not the empty one; no other reference to them is alive.
    #[inline(always)]
    pub(crate) unsafe fn grower_hints<'a>(heap: *mut Self) -> &'a mut Hints {
        // SAFETY: the caller's promise.
        unsafe { &mut (*heap).grower_hints }
    }

    /// Gives everything back that the thread only keeps at hand: blocks, slabs without a block in use, the rest of the
    /// lease; and the runs that any thread keeps. For when the heap seems full.
    ///
    /// # Safety
    /// As above, and not [`EMPTY`].
    #[cold]
    pub(crate) unsafe fn flush(heap: *mut Self) {
        // SAFETY: the thread's own.
        unsafe {
            let core = Self::core(heap);
            Self::empty_magazines(heap);
            Self::collect_pending(heap);
            for class in 0..core.ladder.classes() {
                let mut at = (&(*heap).lists)[class];
                while at != 0 {
                    let slab = Slab::new(core, at as usize - 1, class);
                    at = (*slab.local()).next;
                    if slab.is_empty() {
                        Self::give_up(heap, slab);
                    }
                }
            }
            let _guard = core.lock.lock();
            (*core.space.get()).give_lease(core::mem::take(&mut (*heap).lease));
            core.collect_orphans(u32::MAX);
            core.drain_runs(|_| true);
        }
    }

    unsafe fn empty_magazines(heap: *mut Self) {
        // SAFETY: the thread's own.
        unsafe {
            for class in 0..Self::core(heap).ladder.classes() {
                let magazine = &(&(*heap).magazines)[class];
                // The thread of a heap that has just been closed may still change the word, to no effect.
                let top = presence::what_is_left(&magazine.state) as u16;
                let count = u32::from(top - magazine.floor);
                if count > 0 {
                    let base = (&raw const (*heap).slots).cast::<*mut u8>().add(magazine.floor as usize);
                    Self::release(heap, class, base, count);
                    magazine.set_top(magazine.floor.into(), 0);
                }
            }
        }
    }

    /// Gives everything back, so that another thread can take the number over: magazines to their slabs, slabs to the
    /// heap, the runs to all threads, the rest of the lease.
    ///
    /// # Safety
    /// As above, and not [`EMPTY`]; or the caller has seen to it that the thread does not use it again. The thread heap
    /// is idle afterwards.
    pub(crate) unsafe fn retire(heap: *mut Self) {
        // SAFETY: the thread's own until it is given back under the lock.
        unsafe {
            let core = Self::core(heap);
            Self::empty_magazines(heap);
            Self::collect_pending(heap);
            let _guard = core.lock.lock();
            for class in 0..core.ladder.classes() {
                while (*heap).lists[class] != 0 {
                    let slab = Slab::new(core, (*heap).lists[class] as usize - 1, class);
                    slab.unlink(&raw mut (*heap).lists[class]);
                    (*slab.state()).owner.store(0, Ordering::Relaxed);
                    core.settle_orphan(slab);
                }
                Self::hand_over(heap, core, class);
            }
            let remote = (*heap).remote_frees.swap(0, Ordering::Relaxed);
            core.totals.remote_frees.fetch_add(remote, Ordering::Relaxed);
            core.inherit_runs(&(*heap).runs);
            Self::hand_over_large(heap, core);
            (*heap).counts.store(0, Ordering::Relaxed);
            (*core.space.get()).give_lease(core::mem::take(&mut (*heap).lease));
            (*heap).lease_order = LEASE_ORDERS.0;
            (*core.threads.get()).give(heap);
            core.ownerless.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Units that the thread has taken and not cut slabs from: the first of their segment, and a bit for each.
    ///
    /// # Safety
    /// As for [`ThreadHeap::allocate`], or no thread uses it at the moment.
    pub(crate) unsafe fn leased(heap: *const Self) -> (usize, u64) {
        // SAFETY: the caller's promise.
        unsafe { ((*heap).lease.segment, (*heap).lease.free) }
    }

    /// The free blocks of a class that the thread keeps at hand.
    ///
    /// # Safety
    /// As for [`ThreadHeap::leased`], as long as the blocks are looked at.
    pub(crate) unsafe fn cached<'a>(heap: *const Self, class: usize) -> &'a [*mut u8] {
        // SAFETY: the caller's promise; H1.
        unsafe {
            let magazine = &(&(*heap).magazines)[class];
            let first = (&raw const (*heap).slots).cast::<*mut u8>().add(magazine.floor as usize);
            core::slice::from_raw_parts(first, magazine.counts().0 as usize)
        }
    }

    /// The first slab of the thread's list of a class: its head unit + 1, or 0.
    ///
    /// # Safety
    /// As for [`ThreadHeap::leased`].
    pub(crate) unsafe fn first_slab(heap: *const Self, class: usize) -> u32 {
        // SAFETY: the caller's promise.
        unsafe { (*heap).lists[class] }
    }

    /// The slabs with frees from other threads.
    ///
    /// # Safety
    /// As for [`ThreadHeap::counters`].
    pub(crate) unsafe fn pending<'a>(heap: *const Self) -> &'a AtomicU32 {
        // SAFETY: the caller's promise; an atomic that all may share.
        unsafe { &(*heap).pending.0 }
    }
}

/// Classes whose slabs are so large that a block may have to stand alone as a large object.
#[inline(always)]
pub(crate) const fn is_medium(class: usize) -> bool {
    slab_units(class) * UNIT > 2 * UNIT
}

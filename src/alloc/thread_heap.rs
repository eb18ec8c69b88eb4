//! A thread's part of a heap: magazines in front, slabs behind.
//!
//! A *magazine* is a stack of pointers to free blocks of one class. Allocating pops, freeing pushes: two loads, a
//! compare and a store, no atomic operation, and no touch of the block or of any metadata, because the class follows
//! from the layout. An empty magazine is refilled with half its room, in address order, from the thread's slabs of
//! that class; a full one gives its older half back to the slabs the blocks came from, its own directly, others'
//! through their remote bits ([`super::remote_free`]). Fresh slabs are cut from the thread's *lease*, an aligned part of
//! a segment that no other thread allocates from; leases grow with what the thread uses.
//!
//! # Invariants
//! - **H1** `floor <= top <= ceiling` for every magazine, and the slots from `floor` to `top` hold blocks of the class
//!   that nobody else holds.
//! - **H2** The empty thread heap has `floor = top = ceiling` everywhere, so it is never written to.
//! - **H3** Every slab in `lists` is owned by this thread heap.
//! - **H4** `nothing`, right in front of the magazines, stays all zeros: full, and without a slot.
//!
//! # Volatile
//! A thread heap is memory of the process. At a clean close all magazines have been given back.

use super::heap_core::Core;
use super::orphans::push_to_owner;
use super::remote_free;
use super::size_class::{CLASSES, MAGAZINE_START, class_size, slab_units};
use super::slab::Slab;
use super::space::Lease;
use super::unit_map::first_aligned;
use crate::format::slab_entry::SlabEntry;
use crate::format::{SEGMENT_UNITS, UNIT};
use crate::os::mapping::{self, Access, Source};
use crate::sync::{AtomicU32, Ordering};
use core::ptr;
use core::sync::atomic::{AtomicI32, AtomicI64, AtomicPtr};

/// Bounds of one class's stack, as positions in the slots.
#[derive(Debug)]
#[repr(C)]
struct Magazine {
    /// Atomic only for those who count; its thread loads and stores it plainly (Relaxed).
    top: AtomicU32,
    floor: u32,
    ceiling: u32,
}

const SLOTS: usize = MAGAZINE_START[CLASSES] as usize;
/// A thread's first lease has 8 units, each further one twice as many up to a segment.
const LEASE_ORDERS: (u32, u32) = (3, 6);
/// Blocks of at least this size are taken from memory that reads as zeros, if there is some, when zeros are wanted.
const ZERO_FROM_SLAB: usize = 16 << 10;
/// Idle thread heaps whose pending frees are looked at in one go.
const SWEEP: u32 = 8;

/// One thread's part of one heap.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct ThreadHeap {
    /// See H4.
    #[cfg(feature = "preload")]
    nothing: Magazine,
    magazines: [Magazine; CLASSES],
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
    lease_order: u32,
    /// For each class, its slabs with free blocks: head unit + 1, or 0.
    pub(super) lists: [u32; CLASSES],
    /// For each class, blocks taken out of slabs less blocks put back by this thread.
    pub(super) live: [AtomicI64; CLASSES],
    /// For each class, slabs made less slabs given up by this thread.
    pub(super) slabs: [AtomicI32; CLASSES],
    slots: [*mut u8; SLOTS],
    /// Slabs with frees from other threads: head unit + 1, or 0.
    pending: Pending,
}

/// On a line of its own: others write it.
#[derive(Debug)]
#[repr(C, align(64))]
struct Pending(AtomicU32);

// SAFETY: T1 and T2 say who touches what.
unsafe impl Sync for ThreadHeap {}

/// What a thread without a thread heap has (H2).
pub(crate) static EMPTY: ThreadHeap = ThreadHeap {
    #[cfg(feature = "preload")]
    nothing: Magazine { top: AtomicU32::new(0), floor: 0, ceiling: 0 },
    magazines: [const { Magazine { top: AtomicU32::new(0), floor: 0, ceiling: 0 } }; CLASSES],
    core: ptr::null(),
    busy: AtomicU32::new(0),
    number: 0,
    is_live: false,
    next_idle: 0,
    next_of_thread: ptr::null_mut(),
    threads: ptr::null_mut(),
    lease: Lease { segment: 0, free: 0, zeroed: 0 },
    lease_order: 0,
    lists: [0; CLASSES],
    live: [const { AtomicI64::new(0) }; CLASSES],
    slabs: [const { AtomicI32::new(0) }; CLASSES],
    slots: [ptr::null_mut(); SLOTS],
    pending: Pending(AtomicU32::new(0)),
};

/// Bytes mapped for a thread heap.
const MAPPED: usize = size_of::<ThreadHeap>().next_multiple_of(mapping::PAGE);

impl ThreadHeap {
    /// Maps and sets up a thread heap; null without memory.
    pub(crate) fn create(core: &Core, number: u32, threads: *mut AtomicPtr<Self>) -> *mut Self {
        let Ok(address) = mapping::map_anywhere(MAPPED, Access::ReadWrite, Source::Anonymous) else {
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
            for (class, magazine) in (*heap).magazines.iter_mut().enumerate() {
                let (floor, ceiling) = (MAGAZINE_START[class], MAGAZINE_START[class + 1]);
                *magazine = Magazine { top: AtomicU32::new(floor), floor, ceiling };
            }
        }
        heap
    }

    /// Unmaps a thread heap.
    ///
    /// # Safety
    /// Nobody uses it any more.
    pub(crate) unsafe fn destroy(heap: *mut Self) {
        // SAFETY: mapped by `create`; the caller's promise.
        let _ = unsafe { mapping::unmap(heap.expose_provenance(), MAPPED) };
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
            debug_assert!(class < CLASSES);
            let magazine = (*heap).magazines.get_unchecked(class);
            let top = magazine.top.load(Ordering::Relaxed);
            if top == magazine.floor {
                return None;
            }
            magazine.top.store(top - 1, Ordering::Relaxed);
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
            debug_assert!(class < CLASSES);
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
        let top = magazine.top.load(Ordering::Relaxed);
        if top == magazine.ceiling {
            return false;
        }
        // SAFETY: H1; the magazine's slots are its own, up to its ceiling.
        unsafe { (&raw mut (*heap).slots).cast::<*mut u8>().add(top as usize).write(block) };
        magazine.top.store(top + 1, Ordering::Relaxed);
        true
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

    /// Refills the class's magazine and takes a block; null if the heap is full.
    ///
    /// # Safety
    /// As above, and not [`EMPTY`]; the magazine is empty.
    #[cold]
    pub(crate) unsafe fn allocate_slow(heap: *mut Self, class: usize) -> *mut u8 {
        // SAFETY: the thread's own; no other reference into it is alive.
        unsafe {
            let magazine = &(&(*heap).magazines)[class];
            let want = (magazine.ceiling - magazine.floor) / 2;
            let base = (&raw mut (*heap).slots).cast::<*mut u8>().add(magazine.floor as usize);
            let mut room = want;
            while room == want {
                if !Self::find_slab(heap, class) {
                    return ptr::null_mut();
                }
                while room > 0 && (*heap).lists[class] != 0 {
                    let slab = Slab::new(Self::core(heap), (*heap).lists[class] as usize - 1, class);
                    room -= slab.take(base.add(room as usize), room);
                    if !slab.has_blocks() {
                        slab.unlink(&raw mut (*heap).lists[class]);
                    }
                }
            }
            let got = want - room;
            if room > 0 {
                ptr::copy(base.add(room as usize), base, got as usize);
            }
            add64(&(&(*heap).live)[class], i64::from(got));
            magazine.top.store(magazine.floor + got - 1, Ordering::Relaxed);
            base.add(got as usize - 1).read()
        }
    }

    /// Makes sure that the thread has a slab of the class with a block to give.
    unsafe fn find_slab(heap: *mut Self, class: usize) -> bool {
        // SAFETY: the thread's own.
        unsafe {
            if (*heap).lists[class] != 0 {
                return true;
            }
            Self::collect_pending(heap);
            (*heap).lists[class] != 0 || Self::adopt(heap, class) || Self::make_slab(heap, class)
        }
    }

    /// Takes a block that reads as zeros.
    ///
    /// # Safety
    /// As above, and not [`EMPTY`].
    pub(crate) unsafe fn allocate_zeroed(heap: *mut Self, class: usize) -> *mut u8 {
        // SAFETY: the thread's own.
        unsafe {
            if class_size(class) >= ZERO_FROM_SLAB && Self::find_slab(heap, class) {
                let slab = Slab::new(Self::core(heap), (*heap).lists[class] as usize - 1, class);
                if let Some(block) = slab.take_zeroed() {
                    if !slab.has_blocks() {
                        slab.unlink(&raw mut (*heap).lists[class]);
                    }
                    add64(&(&(*heap).live)[class], 1);
                    return block;
                }
            }
            let block = match Self::allocate(heap, class) {
                Some(block) => block,
                None => Self::allocate_slow(heap, class),
            };
            if !block.is_null() {
                ptr::write_bytes(block, 0, class_size(class));
            }
            block
        }
    }

    /// Gives the older half of a full magazine back and puts `block` into it.
    ///
    /// # Safety
    /// As for [`ThreadHeap::free`], and not [`EMPTY`].
    #[cold]
    pub(crate) unsafe fn free_slow(heap: *mut Self, class: usize, block: *mut u8) {
        // SAFETY: the thread's own.
        unsafe {
            let magazine = &(&(*heap).magazines)[class];
            let old = (magazine.ceiling - magazine.floor) / 2;
            let base = (&raw mut (*heap).slots).cast::<*mut u8>().add(magazine.floor as usize);
            Self::release(heap, class, base, old);
            let kept = magazine.top.load(Ordering::Relaxed) - magazine.floor - old;
            ptr::copy(base.add(old as usize), base, kept as usize);
            base.add(kept as usize).write(block);
            magazine.top.store(magazine.floor + kept + 1, Ordering::Relaxed);
        }
    }

    /// Cuts a slab from the lease, taking a new one if need be.
    unsafe fn make_slab(heap: *mut Self, class: usize) -> bool {
        // SAFETY: the thread's own.
        unsafe {
            let units = slab_units(class);
            let order = units.trailing_zeros();
            let lease = &mut (*heap).lease;
            if first_aligned(lease.free, order).is_none() && !Self::renew_lease(heap, order) {
                return false;
            }
            let lease = &mut (*heap).lease;
            let Some(start) = first_aligned(lease.free, order) else { return false };
            let mask = (u64::MAX >> (SEGMENT_UNITS - units)) << start;
            let zeroed = lease.zeroed & mask == mask;
            lease.free &= !mask;
            lease.zeroed &= !mask;
            let head = lease.segment + start as usize;
            let slab = Slab::create(Self::core(heap), head, class, (*heap).number, zeroed);
            slab.link(&raw mut (*heap).lists[class]);
            add32(&(&(*heap).slabs)[class], 1);
            true
        }
    }

    unsafe fn renew_lease(heap: *mut Self, order: u32) -> bool {
        // SAFETY: the thread's own; the space is used under the lock.
        unsafe {
            let core = Self::core(heap);
            let _guard = core.lock.lock();
            let space = &mut *core.space.get();
            let generous = (*heap).lease_order.max(order);
            let Some(lease) = space.take_lease(&core.backing, order, generous) else { return false };
            space.give_lease(core::mem::replace(&mut (*heap).lease, lease));
            (*heap).lease_order = (generous + 1).min(LEASE_ORDERS.1);
            true
        }
    }

    /// Takes over what other threads freed of this thread's slabs.
    unsafe fn collect_pending(heap: *mut Self) {
        // SAFETY: the thread's own; a popped slab is on no stack (R1).
        unsafe {
            let core = Self::core(heap);
            remote_free::for_each_taken(&(*heap).pending.0, core.pending_next(), |index| {
                let head = index as usize;
                let SlabEntry::SlabHead { class } = core.entry(head) else { return };
                let slab = Slab::new(core, head, class as usize);
                let owner = (*slab.state()).owner.load(Ordering::Relaxed);
                if owner == (*heap).number {
                    let outcome = slab.collect();
                    Self::settle(heap, slab, outcome);
                } else {
                    // The slab changed hands after the push.
                    push_to_owner(core, (*heap).threads, owner, head);
                }
            });
        }
    }

    /// Takes over a slab that no thread owns.
    unsafe fn adopt(heap: *mut Self, class: usize) -> bool {
        // SAFETY: the thread's own; everything without an owner is used under the lock (K2).
        unsafe {
            let core = Self::core(heap);
            let soft = core.soft();
            // Relaxed: a stale look costs a lock or a fresh slab, nothing else.
            if core.ownerless.load(Ordering::Relaxed) == 0 && (*soft).pending.load(Ordering::Relaxed) == 0 {
                return false;
            }
            let _guard = core.lock.lock();
            core.collect_orphans(SWEEP);
            let list = &raw mut (*soft).locked.orphans[class];
            if *list == 0 {
                return false;
            }
            let slab = Slab::new(core, *list as usize - 1, class);
            slab.unlink(list);
            core.ownerless.fetch_sub(1, Ordering::Relaxed);
            // Relaxed: whoever reads the old owner pushes to it, and the slab is passed on from there.
            (*slab.state()).owner.store((*heap).number, Ordering::Relaxed);
            slab.link(&raw mut (*heap).lists[class]);
            true
        }
    }

    /// Gives everything back that the thread only keeps at hand: blocks, slabs without a block in use, the rest of the
    /// lease. For when the heap seems full.
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
            for class in 0..CLASSES {
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
        }
    }

    unsafe fn empty_magazines(heap: *mut Self) {
        // SAFETY: the thread's own.
        unsafe {
            for class in 0..CLASSES {
                let magazine = &(&(*heap).magazines)[class];
                let base = (&raw const (*heap).slots).cast::<*mut u8>().add(magazine.floor as usize);
                Self::release(heap, class, base, magazine.top.load(Ordering::Relaxed) - magazine.floor);
                magazine.top.store(magazine.floor, Ordering::Relaxed);
            }
        }
    }

    /// Gives everything back, so that another thread can take the number over: magazines to their slabs, slabs to the
    /// heap, the rest of the lease.
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
            let soft = core.soft();
            for class in 0..CLASSES {
                while (*heap).lists[class] != 0 {
                    let slab = Slab::new(core, (*heap).lists[class] as usize - 1, class);
                    slab.unlink(&raw mut (*heap).lists[class]);
                    (*slab.state()).owner.store(0, Ordering::Relaxed);
                    core.settle_orphan(slab);
                }
                // What a file says of itself may be anything.
                let live = (&(*heap).live)[class].swap(0, Ordering::Relaxed);
                (*soft).locked.live[class] = (*soft).locked.live[class].wrapping_add(live);
                let slabs = (&(*heap).slabs)[class].swap(0, Ordering::Relaxed);
                (*soft).locked.slabs[class] = (*soft).locked.slabs[class].wrapping_add_signed(slabs);
            }
            (*core.space.get()).give_lease(core::mem::take(&mut (*heap).lease));
            (*heap).lease_order = LEASE_ORDERS.0;
            (*core.threads.get()).give(heap);
            core.ownerless.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Blocks of the class taken out of slabs less those put back, blocks of them that lie in the magazine, and slabs
    /// made less slabs given up, all by this thread; for whoever counts.
    ///
    /// # Safety
    /// `heap` comes from [`ThreadHeap::create`] and has not been destroyed. Any thread may ask: no reference is made but
    /// to the counters and the magazine, whose plain fields never change.
    pub(crate) unsafe fn counters(heap: *const Self, class: usize) -> (i64, u32, i32) {
        // Relaxed: the figures are shown, nothing follows from them.
        // SAFETY: the caller's promise.
        unsafe {
            let magazine = &(&(*heap).magazines)[class];
            let cached = magazine.top.load(Ordering::Relaxed).saturating_sub(magazine.floor);
            let (live, slabs) = (&(&(*heap).live)[class], &(&(*heap).slabs)[class]);
            (live.load(Ordering::Relaxed), cached, slabs.load(Ordering::Relaxed))
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
            core::slice::from_raw_parts(first, (magazine.top.load(Ordering::Relaxed) - magazine.floor) as usize)
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

/// Adds to a counter that only its thread writes.
#[inline(always)]
pub(super) fn add64(counter: &AtomicI64, change: i64) {
    counter.store(counter.load(Ordering::Relaxed) + change, Ordering::Relaxed);
}

/// Adds to a counter that only its thread writes.
#[inline(always)]
pub(super) fn add32(counter: &AtomicI32, change: i32) {
    counter.store(counter.load(Ordering::Relaxed) + change, Ordering::Relaxed);
}

/// Classes whose slabs are so large that a block may have to stand alone as a large object.
#[inline(always)]
pub(crate) const fn is_medium(class: usize) -> bool {
    slab_units(class) * UNIT > 2 * UNIT
}

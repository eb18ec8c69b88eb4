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

use super::growers::Hints;
use super::heap_core::Core;
use super::orphans::push_to_owner;
use super::remote_free;
use super::run_cache::OwnRuns;
use super::size_class::{CLASSES, MAGAZINE_START, class_size, slab_units};
use super::slab::Slab;
use super::space::Lease;
use super::unit_map::first_aligned;
use crate::format::slab_entry::SlabEntry;
use crate::format::{SEGMENT_UNITS, UNIT};
use crate::os::mapping::{self, Access, Source};
use crate::sync::{AtomicU32, AtomicU64, Ordering};
use core::ptr;
use core::sync::atomic::{AtomicI32, AtomicI64, AtomicPtr};

/// One class's stack, as positions in the slots, and how many blocks were taken from it.
///
/// The count shares a word with the position, so that one addition changes both: allocating counts, and costs no more
/// than if it did not. The word is atomic only for those who look on; its thread loads and stores it plainly (Relaxed).
#[derive(Debug)]
#[repr(C)]
struct Magazine {
    /// The position behind the topmost block, and from bit [`TAKEN_SHIFT`] on the blocks taken.
    state: AtomicU64,
    floor: u16,
    ceiling: u16,
}

/// Where the blocks taken stand in a magazine's word: enough bits for a million allocations a second over nine years.
const TAKEN_SHIFT: u32 = 16;
const ONE_TAKEN: u64 = 1 << TAKEN_SHIFT;
const _: () = assert!(SLOTS < 1 << TAKEN_SHIFT && cfg!(target_endian = "little"));

impl Magazine {
    /// The position behind the topmost block.
    ///
    /// # Safety
    /// The calling thread is the only one that stores to the word.
    #[inline(always)]
    unsafe fn top(&self) -> u16 {
        // SAFETY: the low half of the word, on a little-endian machine; nobody stores to it meanwhile.
        unsafe { self.state.as_ptr().cast::<u16>().read() }
    }

    /// Changes the word, which only its thread stores to.
    #[inline(always)]
    fn add(&self, change: u64) {
        self.state.store(self.state.load(Ordering::Relaxed).wrapping_add(change), Ordering::Relaxed);
    }

    /// Moves the top, and counts blocks taken.
    fn set_top(&self, top: u32, taken: u64) {
        let counted = self.state.load(Ordering::Relaxed) >> TAKEN_SHIFT;
        self.state.store((counted + taken) << TAKEN_SHIFT | u64::from(top), Ordering::Relaxed);
    }

    /// The blocks in it and the blocks taken, for any thread.
    fn counts(&self) -> (u32, u64) {
        let state = self.state.load(Ordering::Relaxed);
        ((state as u16).saturating_sub(self.floor).into(), state >> TAKEN_SHIFT)
    }

    fn room(&self) -> u32 {
        u32::from(self.ceiling - self.floor)
    }
}

/// What one thread has counted of one class, as far as it has not been added to what its heap has.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counted {
    /// Blocks taken out of slabs less those put back.
    pub(crate) out: i64,
    /// Blocks of them that lie in the magazine.
    pub(crate) cached: u32,
    /// Slabs made less slabs given up.
    pub(crate) slabs: i32,
    /// Blocks that the program took.
    pub(crate) allocations: u64,
    /// Refills of the magazine, and halves of it given back.
    pub(crate) slow_paths: u64,
}

impl Counted {
    /// Blocks that the program gave back: what was taken and is neither out nor in the magazine. Not below zero, also
    /// where the counters were read at different moments.
    pub(crate) fn frees(&self) -> u64 {
        let in_use = self.out.saturating_sub(i64::from(self.cached));
        u64::try_from((self.allocations as i64).saturating_sub(in_use)).unwrap_or(0)
    }
}

/// What one thread has counted of large objects, as far as it has not been added to what its heap has.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CountedLarge {
    /// Those allocated less those freed.
    pub(crate) count: i64,
    /// The same in bytes.
    pub(crate) bytes: i64,
    pub(crate) allocations: i64,
}

impl CountedLarge {
    /// Those freed; not below zero, also where the counters were read at different moments.
    pub(crate) fn frees(&self) -> i64 {
        self.allocations.saturating_sub(self.count).max(0)
    }
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
    /// For each class, refills of the magazine, and halves of it given back.
    slow_paths: [AtomicU64; CLASSES],
    /// Blocks freed that lie in slabs of others.
    pub(super) remote_frees: AtomicU64,
    /// Whether any of its counters may be other than zero: whether a thread has it. For those who count.
    pub(super) counts: AtomicU32,
    slots: [*mut u8; SLOTS],
    /// Large objects that this thread has allocated less those it has freed, and their bytes, by way of the runs at hand.
    pub(super) large_count: AtomicI64,
    pub(super) large_bytes: AtomicI64,
    /// Those that it has allocated so.
    pub(super) large_allocations: AtomicI64,
    /// The thread whose runs were looked at last when there were none of its own.
    pub(super) victim: u32,
    /// Large objects since the last one for which there was a run at hand.
    pub(super) misses: u32,
    /// Where it freed growers last.
    grower_hints: Hints,
    pub(super) runs: OwnRuns,
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
    nothing: Magazine { state: AtomicU64::new(0), floor: 0, ceiling: 0 },
    magazines: [const { Magazine { state: AtomicU64::new(0), floor: 0, ceiling: 0 } }; CLASSES],
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
    slow_paths: [const { AtomicU64::new(0) }; CLASSES],
    remote_frees: AtomicU64::new(0),
    counts: AtomicU32::new(0),
    slots: [ptr::null_mut(); SLOTS],
    large_count: AtomicI64::new(0),
    large_bytes: AtomicI64::new(0),
    large_allocations: AtomicI64::new(0),
    victim: 0,
    misses: 0,
    grower_hints: Hints::of_thread(1),
    runs: OwnRuns::new(),
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
            (*heap).grower_hints = Hints::of_thread(number);
            (*heap).counts = AtomicU32::new(1);
            for (class, magazine) in (*heap).magazines.iter_mut().enumerate() {
                let (floor, ceiling) = (MAGAZINE_START[class] as u16, MAGAZINE_START[class + 1] as u16);
                *magazine = Magazine { state: AtomicU64::new(floor.into()), floor, ceiling };
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

    /// Refills the class's magazine and takes a block; null if the heap is full.
    ///
    /// # Safety
    /// As above, and not [`EMPTY`]; the magazine is empty.
    #[cold]
    pub(crate) unsafe fn allocate_slow(heap: *mut Self, class: usize) -> *mut u8 {
        // SAFETY: the thread's own; no other reference into it is alive.
        unsafe {
            let magazine = &(&(*heap).magazines)[class];
            let want = magazine.room() / 2;
            count_up(&(&(*heap).slow_paths)[class]);
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
            magazine.set_top(u32::from(magazine.floor) + got - 1, 1);
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
                    (&(*heap).magazines)[class].add(ONE_TAKEN);
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
            let old = magazine.room() / 2;
            count_up(&(&(*heap).slow_paths)[class]);
            let base = (&raw mut (*heap).slots).cast::<*mut u8>().add(magazine.floor as usize);
            Self::release(heap, class, base, old);
            let kept = u32::from(magazine.top() - magazine.floor) - old;
            ptr::copy(base.add(old as usize), base, kept as usize);
            base.add(kept as usize).write(block);
            magazine.set_top(u32::from(magazine.floor) + kept + 1, 0);
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
            core.purge_if_due();
            let _guard = core.lock.lock();
            let space = &mut *core.space.get();
            let generous = (*heap).lease_order.max(order);
            let Some(lease) = space.take_lease(&core.backing, order, generous) else { return false };
            space.give_lease(core::mem::replace(&mut (*heap).lease, lease));
            core.note_use();
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
            core.drain_runs(|_| true);
        }
    }

    unsafe fn empty_magazines(heap: *mut Self) {
        // SAFETY: the thread's own.
        unsafe {
            for class in 0..CLASSES {
                let magazine = &(&(*heap).magazines)[class];
                let base = (&raw const (*heap).slots).cast::<*mut u8>().add(magazine.floor as usize);
                Self::release(heap, class, base, (magazine.top() - magazine.floor).into());
                magazine.set_top(magazine.floor.into(), 0);
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
            for class in 0..CLASSES {
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

    /// Adds what the thread has counted of a class to what the heap has; its magazine is empty. Under the heap's lock.
    ///
    /// # Safety
    /// As for [`ThreadHeap::retire`].
    unsafe fn hand_over(heap: *mut Self, core: &Core, class: usize) {
        // SAFETY: the thread's own; the areas are mapped (K3).
        unsafe {
            let counted = Self::counters(heap, class);
            core.totals.take_over(class, &counted);
            // First there, then here: who looks meanwhile counts twice, which is shown, and not less than nothing.
            let locked = &(*core.soft()).locked;
            let live = locked.live[class].load(Ordering::Relaxed).saturating_add(counted.out);
            locked.live[class].store(live, Ordering::Relaxed);
            let slabs = locked.slabs[class].load(Ordering::Relaxed).wrapping_add_signed(counted.slabs);
            locked.slabs[class].store(slabs, Ordering::Relaxed);
            (&(*heap).live)[class].store(0, Ordering::Relaxed);
            (&(*heap).slabs)[class].store(0, Ordering::Relaxed);
            (&(*heap).slow_paths)[class].store(0, Ordering::Relaxed);
            let magazine = &(&(*heap).magazines)[class];
            magazine.state.store(magazine.floor.into(), Ordering::Relaxed);
        }
    }

    /// What this thread has counted of a class.
    ///
    /// # Safety
    /// `heap` comes from [`ThreadHeap::create`] and has not been destroyed. Any thread may ask: no reference is made but
    /// to the counters and the magazine, whose plain fields never change.
    #[inline]
    pub(crate) unsafe fn counters(heap: *const Self, class: usize) -> Counted {
        // Relaxed: the figures are shown, nothing follows from them.
        // SAFETY: the caller's promise.
        unsafe {
            let (cached, allocations) = (&(*heap).magazines)[class].counts();
            Counted {
                out: (&(*heap).live)[class].load(Ordering::Relaxed),
                cached,
                slabs: (&(*heap).slabs)[class].load(Ordering::Relaxed),
                allocations,
                slow_paths: (&(*heap).slow_paths)[class].load(Ordering::Relaxed),
            }
        }
    }

    /// Blocks that the thread has freed and that lie in slabs of others; none if no thread has it, and all its counters
    /// are zero.
    ///
    /// # Safety
    /// As for [`ThreadHeap::counters`].
    pub(crate) unsafe fn remote_frees(heap: *const Self) -> Option<u64> {
        // Relaxed: as above.
        // SAFETY: the caller's promise.
        unsafe {
            let counts = (*heap).counts.load(Ordering::Relaxed) != 0;
            counts.then(|| (*heap).remote_frees.load(Ordering::Relaxed))
        }
    }

    /// What the thread has counted of large objects.
    ///
    /// # Safety
    /// As for [`ThreadHeap::counters`].
    pub(crate) unsafe fn large_counters(heap: *const Self) -> CountedLarge {
        // Relaxed as in `counters`.
        // SAFETY: the caller's promise.
        unsafe {
            CountedLarge {
                count: (*heap).large_count.load(Ordering::Relaxed),
                bytes: (*heap).large_bytes.load(Ordering::Relaxed),
                allocations: (*heap).large_allocations.load(Ordering::Relaxed),
            }
        }
    }

    /// Adds what the thread has counted of large objects to what the heap has. Under the heap's lock.
    ///
    /// # Safety
    /// As for [`ThreadHeap::retire`].
    unsafe fn hand_over_large(heap: *mut Self, core: &Core) {
        // SAFETY: the thread's own.
        unsafe {
            let counted = Self::large_counters(heap);
            // First there, then here, as in `hand_over`.
            core.count_large_bytes(counted.bytes, counted.count);
            core.totals.count_large(counted.allocations, counted.frees());
            for counter in [&(*heap).large_count, &(*heap).large_bytes, &(*heap).large_allocations] {
                counter.store(0, Ordering::Relaxed);
            }
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

/// Adds one to a counter that only its thread writes.
fn count_up(counter: &AtomicU64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
}

/// Classes whose slabs are so large that a block may have to stand alone as a large object.
#[inline(always)]
pub(crate) const fn is_medium(class: usize) -> bool {
    slab_units(class) * UNIT > 2 * UNIT
}

//! Where the blocks of an empty magazine come from: the thread's slabs, those that others have freed blocks of, those that
//! no thread owns, and new ones.

use super::magazine::ONE_TAKEN;
use super::orphans::push_to_owner;
use super::remote_free;
use super::size_class::{class_size, slab_units};
use super::slab::Slab;
use super::thread_counts::{add32, add64, count_up};
use super::thread_heap::ThreadHeap;
use super::unit_map::first_aligned;
use crate::format::SEGMENT_UNITS;
use crate::format::slab_entry::SlabEntry;
use crate::sync::Ordering;
use core::ptr;

/// A thread's first lease has 8 units, each further one twice as many up to a segment.
pub(super) const LEASE_ORDERS: (u32, u32) = (3, 6);
/// So many refills of a class, the first ones of a thread, are of an eighth, a quarter, a half of what they are later.
const FIRST_REFILLS: u64 = 3;
/// Blocks of at least this size are taken from memory that reads as zeros, if there is some, when zeros are wanted.
const ZERO_FROM_SLAB: usize = 16 << 10;
/// A thread with so many slabs of one class uses them: its heap is no longer small.
const SLABS_OF_GROWTH: i32 = 3;
/// Idle thread heaps whose pending frees are looked at in one go.
const SWEEP: u32 = 8;

impl ThreadHeap {
    /// Refills the class's magazine and takes a block; null if the heap is full.
    ///
    /// # Safety
    /// As above, and not [`EMPTY`]; the magazine is empty.
    #[cold]
    pub(crate) unsafe fn allocate_slow(heap: *mut Self, class: usize) -> *mut u8 {
        // SAFETY: the thread's own; no other reference into it is alive.
        unsafe {
            let magazine = &(&(*heap).magazines)[class];
            // Less at first: a thread may end before it has used half a magazine of every class.
            let earlier = (&(*heap).slow_paths)[class].load(Ordering::Relaxed);
            let want = ((magazine.room() / 2) >> FIRST_REFILLS.saturating_sub(earlier)).max(1);
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
            let slabs = &(&(*heap).slabs)[class];
            add32(slabs, 1);
            if slabs.load(Ordering::Relaxed) == SLABS_OF_GROWTH {
                let core = Self::core(heap);
                core.backing.advise_first_segment(core.segments);
            }
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
    pub(super) unsafe fn collect_pending(heap: *mut Self) {
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
            // Relaxed: a stale look costs a lock or a fresh slab, nothing else.
            if core.ownerless.load(Ordering::Relaxed) == 0 && (*core.soft()).pending.load(Ordering::Relaxed) == 0 {
                return false;
            }
            let _guard = core.lock.lock();
            core.collect_orphans(SWEEP);
            let list = core.orphans(class);
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
}

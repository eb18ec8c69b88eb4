//! Blocks on their way from a magazine back to their slabs.
//!
//! Blocks that were allocated one behind the other tend to be freed so, too. A batch is therefore taken apart into runs
//! of one slab, and a run into words: one change of bits for each word, one look at the slab for each run. A block alone
//! in its run of units is told from a slab's at the first of each run: a slab fills the aligned units that it lies in.

use super::orphans::push_to_owner;
use super::size_class::{index_in_slab, slab_units};
use super::slab::{Returned, Slab};
use super::thread_counts::{add32, add64, count_up};
use super::thread_heap::{ThreadHeap, is_medium};
use crate::format::slab_entry::SlabEntry;
use crate::format::{SEGMENT_UNITS, UNIT};
use crate::sync::Ordering;

impl ThreadHeap {
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
            core::ptr::copy(base.add(old as usize), base, kept as usize);
            base.add(kept as usize).write(block);
            magazine.set_top(u32::from(magazine.floor) + kept + 1, 0);
        }
    }

    /// Puts blocks back into their slabs.
    pub(super) unsafe fn release(heap: *mut Self, class: usize, blocks: *const *mut u8, count: u32) {
        // SAFETY: the thread's own; the blocks are ours (H1) and of the class.
        unsafe {
            let core = Self::core(heap);
            let mut blocks = core::slice::from_raw_parts(blocks, count as usize);
            let mut returned = i64::from(count);
            while let Some(first) = blocks.first() {
                if is_medium(class) {
                    if let SlabEntry::LargeHead { .. } = core.entry(core.unit_of(first.addr())) {
                        // A block that stood alone because no slab could be had.
                        core.free_large(first.addr());
                        returned -= 1;
                        blocks = &blocks[1..];
                        continue;
                    }
                }
                let slab = Slab::new(core, core.slab_head(class, first.addr()), class);
                // Relaxed: if it is our number, we wrote it; any other one leads to the remote path, which puts up with
                // stale ones.
                let owner = (*slab.state()).owner.load(Ordering::Relaxed);
                let run = if owner == (*heap).number {
                    let run = for_each_word(slab, blocks, |word, mask| slab.put(word, mask));
                    Self::settle(heap, slab, slab.credit(run as u32));
                    run
                } else {
                    Self::release_remote(heap, slab, blocks)
                };
                blocks = &blocks[run..];
            }
            add64(&(&(*heap).live)[class], -returned);
        }
    }

    /// Frees the first blocks of `blocks`, as far as they lie in `slab`, which is another thread's; says how many.
    unsafe fn release_remote(heap: *mut Self, slab: Slab<'_>, blocks: &[*mut u8]) -> usize {
        let remote = slab.core.remote(slab.head, slab.class);
        // SAFETY: the blocks are ours (H1); after the count was raised from zero, the push is, too (R1).
        unsafe {
            let run = for_each_word(slab, blocks, |word, mask| {
                remote.set(word, mask);
            });
            let freed = &(*heap).remote_frees;
            // Relaxed: only this thread writes it.
            freed.store(freed.load(Ordering::Relaxed) + run as u64, Ordering::Relaxed);
            if remote.count(run as u32) {
                let owner = (*slab.state()).owner.load(Ordering::Relaxed);
                push_to_owner(slab.core, (*heap).threads, owner, slab.head);
            }
            run
        }
    }

    /// Lists a slab that got a block back, or gives it up if it is empty and not the last.
    #[inline(always)]
    pub(super) unsafe fn settle(heap: *mut Self, slab: Slab<'_>, outcome: Returned) {
        // SAFETY: the slab is ours (H3).
        unsafe {
            let list = &raw mut (*heap).lists[slab.class];
            if !slab.is_listed() && slab.has_blocks() {
                slab.link(list);
            }
            if outcome == Returned::Empty && (*list != slab.head as u32 + 1 || (*slab.local()).next != 0) {
                Self::give_up(heap, slab);
            }
        }
    }

    #[cold]
    pub(super) unsafe fn give_up(heap: *mut Self, slab: Slab<'_>) {
        // SAFETY: the slab is ours, empty, and listed (B3).
        unsafe {
            slab.unlink(&raw mut (*heap).lists[slab.class]);
            slab.dissolve();
            add32(&(&(*heap).slabs)[slab.class], -1);
            let units = slab_units(slab.class);
            let lease = &mut (*heap).lease;
            if lease.free != 0 && slab.head / SEGMENT_UNITS * SEGMENT_UNITS == lease.segment {
                lease.free |= (u64::MAX >> (SEGMENT_UNITS - units)) << (slab.head - lease.segment);
            } else {
                let core = Self::core(heap);
                let _guard = core.lock.lock();
                (*core.space.get()).give_run(slab.head, units);
            }
        }
    }
}

/// Calls `put` with the bits of each word of a slab that the first blocks of `blocks` have there, as far as they lie in
/// the slab; says how many those are. What lies one behind the other in a word is gathered.
///
/// # Safety
/// The first block lies in the slab, and all are of its class.
#[inline(always)]
unsafe fn for_each_word(slab: Slab<'_>, blocks: &[*mut u8], put: impl Fn(usize, u64)) -> usize {
    let start = slab.core.address_of(slab.head);
    let len = slab_units(slab.class) * UNIT;
    let (mut word, mut mask) = (0, 0);
    let mut count = 0;
    for block in blocks {
        let offset = block.addr().wrapping_sub(start);
        if offset >= len {
            break;
        }
        let index = index_in_slab(slab.class, offset) as usize;
        if index / 64 != word {
            if mask != 0 {
                put(word, mask);
            }
            (word, mask) = (index / 64, 0);
        }
        mask |= 1 << (index % 64);
        count += 1;
    }
    put(word, mask);
    count
}

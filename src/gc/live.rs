//! Which blocks of a heap in use are free.
//!
//! A block is free when its slab has never handed it out or has its free bit set, when its remote bit is set, or when
//! it lies in a thread's magazine. All other blocks are allocated.

use super::marks::Marks;
use super::runs::Runs;
use crate::alloc::heap_core::{Core, Run};
use crate::alloc::thread_heap::ThreadHeap;
use crate::alloc::threads::Threads;
use crate::os::CallError;
use crate::sync::Ordering;

/// Marks the free blocks of `runs`.
///
/// # Safety
/// `runs` are those of the heap at this moment, and the heap is quiet: no other thread allocates or frees in it meanwhile.
pub(crate) unsafe fn free_blocks(core: &Core, runs: &Runs) -> Result<Marks, CallError> {
    let free = Marks::new(runs.units())?;
    for run in runs.iter() {
        let Run::Slab { head, class } = run else { continue };
        let remote = core.remote(head, class);
        // SAFETY: the slab is one, and nobody else touches its state now.
        let fresh = unsafe { (*core.slab_state(head)).local.fresh } as usize;
        for (index, (word, all)) in Runs::mark_words(run).enumerate() {
            // SAFETY: as above; the word is the slab's.
            let bits = unsafe { *core.free_bits(head).add(index) };
            let handed_out = fresh.saturating_sub(index * 64);
            let never = if handed_out < 64 { u64::MAX << handed_out } else { 0 };
            // Relaxed: nobody else is there.
            let mask = (bits | remote.bits.get(index).map_or(0, |bits| bits.load(Ordering::Relaxed)) | never) & all;
            if mask != 0 {
                free.set_all(word, mask);
            }
        }
    }
    let (table, count) = {
        let _guard = core.lock.lock();
        // SAFETY: under the lock (K1).
        unsafe { ((*core.threads.get()).table(), (*core.threads.get()).count()) }
    };
    for number in 1..=count {
        let heap = Threads::find(table, number);
        for class in 0..core.ladder.classes() {
            // SAFETY: thread heaps live as long as their heap, and no thread uses its own now.
            for block in unsafe { ThreadHeap::cached(heap, class) } {
                let position = block.addr().wrapping_sub(core.segments);
                if let Some(block) = runs.find(position) {
                    free.set_all(block.word, block.bit);
                }
            }
        }
    }
    Ok(free)
}

/// A copy of the marks of `runs`, to which marks of reached blocks are added.
pub(crate) fn copy_of(free: &Marks, runs: &Runs) -> Result<Marks, CallError> {
    let marks = Marks::new(runs.units())?;
    for (word, _) in runs.iter().flat_map(Runs::mark_words) {
        match free.word(word) {
            0 => {}
            mask => marks.set_all(word, mask),
        }
    }
    Ok(marks)
}

//! Sweeping: blocks without a mark are given back, while the program allocates and frees.
//!
//! Each block goes back as any thread frees a block of somebody else's slab: its remote bit is set, the slab's count
//! raised, and whoever raises it from zero pushes the slab. From time to time the sweeper itself takes in what came back to slabs
//! without owner, so that empty ones become plain units at once.
//!
//! # Invariants
//! Why this is right although it looks at marks of a moment long past:
//! - **G1** Only blocks are freed here that were allocated in the image, by [`Runs`], and have no mark.
//! - **G2** The program holds only blocks that its roots reached in the image, which all have a mark, because marking finds
//!   at least those (V2); and blocks that it has allocated since. So nobody else frees a block of G1, and nobody reads it.
//! - **G3** A slab with a block of G1 has a block out until the sweep frees it. So until then the slab is not empty, is
//!   not given up, and is of the class that the image says; after that the sweep does not look at it again.
//! - **G4** A block of G1 was allocated all the time: it is in no magazine and has neither free nor remote bit. So a slab's
//!   frees are exactly counted.
//! - **G5** A large object without mark is neither freed nor resized by anybody else, for the reason of G2; so its
//!   length is that of the image.
//!
//! # What survives a crash
//! A sweep that is interrupted, or never begun, leaves a heap that is right and has blocks which nobody reaches.

use super::marks::Marks;
use super::runs::Runs;
use crate::alloc::count_table;
use crate::alloc::heap_core::{Core, Run};
use crate::alloc::orphans::push_to_owner;
use crate::alloc::size_class::{ALL_CLASSES, class_size};
use crate::alloc::thread_heap::ThreadHeap;
use crate::format::{PAGE, UNIT};
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

/// Slabs with lost blocks between two visits to the heap's lock.
const SLABS: u32 = 64;

/// How far a sweep has come: what it gave back, and up to which unit it has done so.
#[derive(Debug, Default)]
pub(crate) struct Swept {
    pub(crate) blocks: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) large_count: AtomicU64,
    pub(crate) large_bytes: AtomicU64,
    pub(crate) units: AtomicU64,
}

impl Swept {
    /// The same once more.
    pub(crate) fn copy(&self) -> Self {
        // Relaxed: the sweep has ended.
        let copy = |counter: &AtomicU64| AtomicU64::new(counter.load(Ordering::Relaxed));
        Self {
            blocks: copy(&self.blocks),
            bytes: copy(&self.bytes),
            large_count: copy(&self.large_count),
            large_bytes: copy(&self.large_bytes),
            units: copy(&self.units),
        }
    }
}

/// Gives back the blocks of `runs` that have no mark, from where `swept` says that an earlier sweep has stopped; stops
/// early when `tick`, which is called from time to time, says so with false. Returns whether it came to the end.
///
/// # Safety
/// `runs` held all runs of the heap at one moment at which all their blocks, but those with a mark, were allocated; and
/// no block without a mark is used by anybody, nor will be (G2). Until this returns the heap stays open. What is swept
/// before the unit in `swept` was swept with these runs and marks, and is not looked at again: its blocks may be anybody's.
pub(crate) unsafe fn sweep(
    core: &Core,
    runs: &Runs,
    marks: &Marks,
    swept: &Swept,
    mut tick: impl FnMut() -> bool,
) -> bool {
    let threads = {
        let _guard = core.lock.lock();
        // SAFETY: under the lock (K1). The table stays where it is.
        unsafe { (*core.threads.get()).table() }
    };
    let mut sweeper = Sweeper { core, threads, lost: [0; ALL_CLASSES], slabs: 0, swept };
    let mut is_complete = true;
    // Relaxed, here and below: whoever goes on has joined this one.
    let first = swept.units.load(Ordering::Relaxed) as usize;
    for run in runs.in_units(first..runs.units()) {
        // SAFETY: the caller's promise.
        unsafe {
            match run {
                Run::Slab { head, class } => sweeper.slab(marks, head, class),
                Run::Large { head, len_pages } => sweeper.large(marks, head, len_pages),
            }
        }
        swept.units.store(Runs::end_of(run) as u64, Ordering::Relaxed);
        if sweeper.slabs >= SLABS {
            sweeper.settle();
            if !tick() {
                is_complete = false;
                break;
            }
        }
    }
    sweeper.settle();
    is_complete
}

struct Sweeper<'a> {
    core: &'a Core,
    threads: *mut AtomicPtr<ThreadHeap>,
    /// Blocks given back since the last visit to the lock.
    lost: [u32; ALL_CLASSES],
    slabs: u32,
    swept: &'a Swept,
}

impl Sweeper<'_> {
    /// # Safety
    /// As for [`sweep`]; the run is one of the heap's then.
    unsafe fn slab(&mut self, marks: &Marks, head: usize, class: usize) {
        let core = self.core;
        let mut lost = 0;
        let remote = core.remote(head, class);
        let has_counts = count_table::is_mapped_at(core.address_of(head));
        for (index, (word, all)) in Runs::mark_words(Run::Slab { head, class }).enumerate() {
            let mask = !marks.word(word) & all;
            if mask == 0 {
                continue;
            }
            if has_counts {
                self.end_counts(head, class, index, mask);
            }
            // Relaxed: set before the heap was published.
            if cfg!(feature = "checked") || core.scrub_freed.load(Ordering::Relaxed) {
                self.prepare_blocks(head, class, index, mask);
            }
            remote.set(index, mask);
            lost += mask.count_ones();
        }
        if lost == 0 {
            return;
        }
        if remote.count(lost) {
            // SAFETY: the count was raised from zero, so the slab is neither on a stack nor given up (R1, R4).
            unsafe {
                // Relaxed: a stale owner passes the slab on.
                let owner = (*core.slab_state(head)).owner.load(Ordering::Relaxed);
                push_to_owner(core, self.threads, owner, head);
            }
        }
        self.lost[class] += lost;
        self.slabs += 1;
        // Relaxed: figures for who looks on.
        self.swept.blocks.fetch_add(u64::from(lost), Ordering::Relaxed);
        self.swept.bytes.fetch_add(u64::from(lost) * class_size(class) as u64, Ordering::Relaxed);
    }

    /// Of blocks that may be counted ones: a free block has no number.
    fn end_counts(&self, head: usize, class: usize, word: usize, mut mask: u64) {
        while mask != 0 {
            let index = word * 64 + mask.trailing_zeros() as usize;
            mask &= mask - 1;
            let block = self.core.address_of(head) + index * class_size(class);
            // SAFETY: counts are mapped in this window; atomic, and zeros are a count.
            unsafe { count_table::place_of(block, Some(class)).as_ref() }.end();
        }
    }

    #[cold]
    fn prepare_blocks(&self, head: usize, class: usize, word: usize, mut mask: u64) {
        while mask != 0 {
            let index = word * 64 + mask.trailing_zeros() as usize;
            mask &= mask - 1;
            self.prepare(self.core.address_of(head) + index * class_size(class), class_size(class));
        }
    }

    /// Notes that a block is about to be given back, and overwrites it if the heap wants that.
    fn prepare(&self, address: usize, len: usize) {
        #[cfg(feature = "checked")]
        self.core.note_collected(address);
        // Relaxed: set before the heap was published.
        if self.core.scrub_freed.load(Ordering::Relaxed) {
            let block: *mut u8 = core::ptr::with_exposed_provenance_mut(address);
            // SAFETY: a block of the heap's that nobody else uses (G2).
            unsafe { block.write_bytes(0, len) };
        }
    }

    /// # Safety
    /// As for [`sweep`]; the run is one of the heap's then.
    unsafe fn large(&mut self, marks: &Marks, head: usize, len_pages: u64) {
        let is_marked = Runs::mark_words(Run::Large { head, len_pages }).all(|(word, bit)| marks.word(word) & bit != 0);
        if is_marked {
            return;
        }
        let (address, len) = (self.core.address_of(head), len_pages as usize * PAGE);
        if count_table::is_mapped_at(address) {
            // SAFETY: as in `end_counts`.
            unsafe { count_table::place_of(address, None).as_ref() }.end();
        }
        self.prepare(address, len);
        self.core.free_large(address);
        // As dear as a slab, or more, if its entries are many.
        self.slabs += 1 + (len / UNIT / 64).min(SLABS as usize) as u32;
        // Relaxed: figures for who looks on.
        self.swept.blocks.fetch_add(1, Ordering::Relaxed);
        self.swept.bytes.fetch_add(len as u64, Ordering::Relaxed);
        self.swept.large_count.fetch_add(1, Ordering::Relaxed);
        self.swept.large_bytes.fetch_add(len as u64, Ordering::Relaxed);
    }

    /// Counts what was given back, and takes in what came back to slabs without owner.
    fn settle(&mut self) {
        let _guard = self.core.lock.lock();
        // SAFETY: under the lock (K1, K2).
        unsafe {
            // Relaxed: changed under the lock only.
            for (class, lost) in self.lost.iter_mut().enumerate().take(self.core.ladder.classes()) {
                let live = self.core.live_of(class);
                let lost = i64::from(core::mem::take(lost));
                live.store(live.load(Ordering::Relaxed).saturating_sub(lost), Ordering::Relaxed);
            }
            self.core.collect_orphans(0);
        }
        self.slabs = 0;
    }
}

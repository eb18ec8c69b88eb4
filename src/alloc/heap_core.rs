//! One open heap, as this process sees it: where its areas are mapped, its lock, its threads.
//!
//! # Invariants
//! - **K1** `space` and `threads` are touched only under `lock`.
//! - **K2** Slab states, free bits and lists of a slab are touched by the thread heap that owns it; if its owner is not
//!   live, under `lock`.
//! - **K3** All area pointers stay valid as long as the `Core`: a window is never unmapped while a `Core` exists.

use super::backing::Backing;
use super::class_state;
use super::counters::Totals;
use super::growers::Growers;
use super::marks::Marks;
use super::protection::Protection;
use super::remote_free::RemoteSlab;
use super::run_cache::SharedRuns;
use super::size_class::{Ladder, slab_blocks, slab_units};
use super::space::Space;
use super::thread_heap::ThreadHeap;
use super::threads::Threads;
use super::tuning::Tuning;
use super::windows;
use crate::format::layout::Layout;
use crate::format::slab_entry::{SlabEntry, units_of_pages};
use crate::format::soft::{SlabState, SoftHeader};
use crate::format::{SEGMENT_UNITS, UNIT, UNIT_SHIFT, WINDOW};
use crate::os::CallError;
use crate::os::barrier;
use crate::os::file::File;
use crate::os::lock::Lock;
use crate::os::mapping::{self, Access, Source};
use crate::os::signal::Signal;
use core::cell::UnsafeCell;
use core::ptr::with_exposed_provenance_mut as exposed;
use core::slice;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering};

/// Words of free bits, and of remote bits, that a unit has.
pub(crate) const WORDS_PER_UNIT: usize = crate::format::layout::BITS_PER_UNIT_BYTES / 8;

/// What a heap can do at the moment.
pub(crate) mod state {
    /// Everything.
    pub(crate) const OPEN: u32 = crate::alloc::presence::OPEN;
    /// Nothing more: allocations fail, frees do nothing.
    pub(crate) const RETIRED: u32 = 1;
    /// The same, because the file belongs to the parent of this process.
    pub(crate) const FOREIGN: u32 = 2;
    /// The same, because the heap is only read.
    pub(crate) const READ_ONLY: u32 = 3;
}

/// An open heap.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) base: usize,
    /// Address of the first unit.
    pub(crate) segments: usize,
    table: *mut AtomicU64,
    states: *mut SlabState,
    free_bits: *mut u64,
    remote_bits: *mut crate::sync::AtomicU64,
    soft: *mut SoftHeader,
    pub(crate) layout: Layout,
    /// The sizes of its blocks. No class is used but those that it has.
    pub(crate) ladder: Ladder,
    pub(crate) window: u32,
    /// See [`state`].
    pub(crate) state: AtomicU32,
    pub(crate) lock: Lock,
    pub(crate) space: UnsafeCell<Space>,
    pub(crate) threads: UnsafeCell<Threads>,
    pub(crate) backing: Backing,
    /// Whether the allocator's state is what somebody left there, a file, say, so that it may contradict itself.
    pub(crate) has_adopted_state: bool,
    /// Whether freed blocks are overwritten with zeros.
    pub(crate) scrub_freed: AtomicBool,
    /// Slabs in the orphan lists plus idle thread heaps, or more: whether looking there may be worth the lock.
    pub(crate) ownerless: AtomicU32,
    /// Who keeps this value: its owner and the threads that have a thread heap of it.
    pub(crate) holders: AtomicU32,
    /// The open file whose lock says that this process has the heap; in its own description, which no mapping pins.
    file_lock: UnsafeCell<Option<File>>,
    /// Threads that are just giving their thread heap back.
    pub(crate) leaving: AtomicU32,
    /// Where the thread heaps are, which never changes, for those who look without the lock.
    pub(crate) thread_table: *mut AtomicPtr<ThreadHeap>,
    /// Most bytes that blocks may take.
    pub(crate) capacity: u64,
    pub(crate) totals: Totals,
    /// For whoever maintains the heap; see [`super::prefault::event`].
    pub(crate) signal: Signal,
    pub(crate) tuning: Tuning,
    pub(crate) marks: Marks,
    pub(crate) protection: Protection,
    /// Of the default heap in memory, blocks that lie elsewhere.
    pub(crate) growers: Option<&'static Growers>,
    /// Free runs that all threads share; mapped by itself, as most of it is never touched.
    shared_runs: *mut SharedRuns,
    #[cfg(feature = "checked")]
    pub(crate) checked: super::checked::Shadow,
}

// SAFETY: what is shared is atomic, or guarded as K1 and K2 say.
unsafe impl Sync for Core {}
// SAFETY: nothing in it belongs to one thread.
unsafe impl Send for Core {}

/// Bytes mapped for a `Core`.
const MAPPED: usize = size_of::<Core>().next_multiple_of(mapping::PAGE);

/// Bytes mapped for the runs that all threads share.
const RUNS_MAPPED: usize = size_of::<SharedRuns>().next_multiple_of(mapping::PAGE);

/// What an address falls on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Run {
    Slab { head: usize, class: usize },
    Large { head: usize, len_pages: u64 },
}

impl Core {
    /// A heap whose window is mapped.
    ///
    /// # Safety
    /// The areas of `layout` are mapped at `window`'s address, hold an allocator state (zeros are the state of an empty
    /// heap), and belong to this `Core` alone.
    pub(crate) unsafe fn new(
        window: u32,
        layout: Layout,
        ladder: Ladder,
        capacity_units: usize,
        backing: Backing,
    ) -> Result<*mut Self, CallError> {
        // Before any thread has runs of its own (`super::bias`).
        barrier::register();
        let base = window as usize * WINDOW;
        let segments = base + layout.segments.offset as usize;
        if backing.is_anonymous() {
            backing.commit(base, layout.soft.offset as usize, layout.soft.len as usize)?;
        }
        backing.advise_segments(segments, layout.segments.len as usize);
        let soft: *mut SoftHeader = exposed(base + layout.soft.offset as usize);
        // Slabs that the last process left without owner are not counted; enough that the count stays above zero.
        // SAFETY: mapped, and nobody else is there yet.
        let has_orphans = unsafe { (0..ladder.classes()).any(|class| *class_state::orphans(soft, class) != 0) };
        // SAFETY: as above. Relaxed: nobody else is there.
        let has_adopted_state = unsafe { (*soft).committed_units.load(Ordering::Relaxed) } > 0;
        let ownerless = if has_orphans { 1 << 30 } else { 0 };
        let threads = Threads::new()?;
        let thread_table = threads.table();
        #[cfg(feature = "checked")]
        let checked = {
            // SAFETY: the caller's promise.
            let committed = unsafe { (*soft).committed_units.load(Ordering::Relaxed) };
            super::checked::Shadow::new(layout.segments.len as usize, committed as usize)?
        };
        let runs = mapping::map_anywhere(RUNS_MAPPED, Access::ReadWrite, Source::Anonymous)?;
        let place = mapping::map_anywhere(MAPPED, Access::ReadWrite, Source::Anonymous)?;
        let core: *mut Self = exposed(place);
        let value = Self {
            base,
            segments,
            table: exposed(base + layout.slab_table.offset as usize),
            states: exposed(base + layout.slab_states.offset as usize),
            free_bits: exposed(base + layout.free_bits.offset as usize),
            remote_bits: exposed(base + layout.remote_bits.offset as usize),
            soft,
            layout,
            ladder,
            window,
            state: AtomicU32::new(state::OPEN),
            lock: Lock::new(),
            // SAFETY: the caller's promise.
            space: UnsafeCell::new(unsafe { Space::new(base, layout, capacity_units) }),
            threads: UnsafeCell::new(threads),
            backing,
            has_adopted_state,
            scrub_freed: AtomicBool::new(false),
            ownerless: AtomicU32::new(ownerless),
            holders: AtomicU32::new(1),
            file_lock: UnsafeCell::new(None),
            leaving: AtomicU32::new(0),
            thread_table,
            capacity: (capacity_units * UNIT) as u64,
            totals: Totals::new(),
            signal: Signal::new(),
            tuning: Tuning::new(),
            marks: Marks::new(),
            protection: Protection::new(),
            growers: None,
            shared_runs: exposed(runs),
            #[cfg(feature = "checked")]
            checked,
        };
        // SAFETY: fresh memory of the right size, aligned to a page.
        unsafe {
            core.write(value);
            (*(*core).space.get()).signal = &raw const (*core).signal;
        }
        Ok(core)
    }

    /// Gives a new heap growers, at the windows from `place` on, or anywhere.
    ///
    /// # Safety
    /// Nobody else knows of the heap, which is never let go, and no other heap has these.
    pub(crate) unsafe fn begin_growers(core: *mut Self, growers: &'static Growers, place: Option<u32>) {
        // SAFETY: the caller's promise.
        unsafe {
            growers.begin(&*core, place);
            (*core).growers = Some(growers);
        }
    }

    /// Drops and unmaps the value.
    ///
    /// # Safety
    /// `core` comes from [`Core::new`], and nobody uses it any more.
    pub(crate) unsafe fn destroy(core: *mut Self) {
        // SAFETY: the caller's promise.
        unsafe {
            let runs = (*core).shared_runs.expose_provenance();
            core.drop_in_place();
            let _ = mapping::unmap(runs, RUNS_MAPPED);
            let _ = mapping::unmap(core.expose_provenance(), MAPPED);
        }
    }

    /// The heap's addresses.
    pub(crate) fn address_range(&self) -> core::ops::Range<usize> {
        self.base..self.base + self.layout.end() as usize
    }

    /// What a handle of the heap says.
    pub(crate) const fn name(&self) -> u32 {
        windows::name_of(self.window, self.ladder)
    }

    pub(crate) fn shared_runs(&self) -> &SharedRuns {
        // SAFETY: mapped by `new` until `destroy`; zeros are empty slots, and all of it is atomic.
        unsafe { &*self.shared_runs }
    }

    pub(crate) fn soft(&self) -> *mut SoftHeader {
        self.soft
    }

    /// Units that the heap has taken from its backing; takes the lock.
    pub(crate) fn committed_units(&self) -> usize {
        let _guard = self.lock.lock();
        // SAFETY: under the lock (K1).
        unsafe { (*self.space.get()).committed_units() }
    }

    /// The unit that an address of the segments area lies in.
    #[inline(always)]
    pub(crate) fn unit_of(&self, address: usize) -> usize {
        (address - self.segments) >> UNIT_SHIFT
    }

    #[inline(always)]
    pub(crate) fn address_of(&self, unit: usize) -> usize {
        self.segments + (unit << UNIT_SHIFT)
    }

    /// The head of the slab of `class` that `address` lies in.
    #[inline(always)]
    pub(crate) fn slab_head(&self, class: usize, address: usize) -> usize {
        self.unit_of(address) & !(slab_units(class) - 1)
    }

    #[inline(always)]
    pub(crate) fn slab_state(&self, head: usize) -> *mut SlabState {
        debug_assert!((head as u64) < self.layout.units);
        // SAFETY: the area has a state for each unit (K3).
        unsafe { self.states.add(head) }
    }

    #[inline(always)]
    pub(crate) fn free_bits(&self, head: usize) -> *mut u64 {
        // SAFETY: the area has words for each unit (K3).
        unsafe { self.free_bits.add(head * WORDS_PER_UNIT) }
    }

    /// The words through which other threads free the slab's blocks.
    #[inline(always)]
    pub(crate) fn remote(&self, head: usize, class: usize) -> RemoteSlab<'_> {
        let bits = self.remote_words(head, (slab_blocks(class) as usize).div_ceil(64));
        // SAFETY: the area has a state for each unit (K3); an atomic, which all may share.
        let count = unsafe { &(*self.slab_state(head)).remote_count };
        RemoteSlab { bits, count }
    }

    /// The first `words` words of remote bits from a unit on, which has [`WORDS_PER_UNIT`].
    #[inline(always)]
    pub(crate) fn remote_words(&self, unit: usize, words: usize) -> &[crate::sync::AtomicU64] {
        debug_assert!(unit * WORDS_PER_UNIT + words <= self.layout.units as usize * WORDS_PER_UNIT);
        // SAFETY: the area has words for each unit (K3); atomics, which all may share.
        unsafe { slice::from_raw_parts(self.remote_bits.add(unit * WORDS_PER_UNIT), words) }
    }

    /// Finds a slab's link in the stack of slabs with remote frees.
    pub(crate) fn pending_next<'a>(&'a self) -> impl Fn(u32) -> &'a crate::sync::AtomicU32 {
        // SAFETY: the area has a state for each unit (K3); an atomic, which all may share.
        |index| unsafe { &(*self.slab_state(index as usize)).pending_next }
    }

    #[inline(always)]
    fn entry_word(&self, unit: usize) -> &AtomicU64 {
        debug_assert!((unit as u64) < self.layout.units);
        // SAFETY: the table has an entry for each unit (K3), and all access is atomic.
        unsafe { &*self.table.add(unit) }
    }

    /// The table's word for a unit, which may be damaged.
    pub(crate) fn raw_entry(&self, unit: usize) -> u64 {
        // Relaxed: for recovery, before anybody else is there, and to look at the word alone.
        self.entry_word(unit).load(Ordering::Relaxed)
    }

    /// What the table says of a unit.
    pub(crate) fn entry(&self, unit: usize) -> SlabEntry {
        SlabEntry::decode(self.entry_word_of(unit)).unwrap_or(SlabEntry::Free)
    }

    /// The same as a word.
    #[inline(always)]
    pub(super) fn entry_word_of(&self, unit: usize) -> u64 {
        // Acquire pairs with the Release in `set_entry`: what was set up before the head was published is seen.
        self.entry_word(unit).load(Ordering::Acquire)
    }

    #[inline]
    pub(crate) fn set_entry(&self, unit: usize, entry: SlabEntry) {
        self.entry_word(unit).store(entry.encode(), Ordering::Release);
    }

    /// The run that an address belongs to, for any address whatsoever.
    pub(crate) fn run_of(&self, address: usize) -> Option<Run> {
        let offset = address.checked_sub(self.segments)?;
        let unit = offset >> UNIT_SHIFT;
        // SAFETY: the header of the allocator state is mapped (K3), and this is an atomic.
        // Relaxed: a stale value only hides the newest units, which the caller has no block of.
        let committed = unsafe { (*self.soft).committed_units.load(Ordering::Relaxed) } as usize;
        if unit >= committed {
            return None;
        }
        let (at, entry) = match self.entry(unit) {
            SlabEntry::Free => {
                let border = unit / SEGMENT_UNITS * SEGMENT_UNITS;
                (border, self.entry(border))
            }
            entry => (unit, entry),
        };
        let head = match entry {
            SlabEntry::SlabTail { back } | SlabEntry::LargeTail { back } => at.checked_sub(back as usize)?,
            SlabEntry::SlabHead { .. } | SlabEntry::LargeHead { .. } => at,
            SlabEntry::Free => return None,
        };
        match self.entry(head) {
            SlabEntry::SlabHead { class } => {
                let class = class as usize;
                (class < self.ladder.classes() && unit < head + slab_units(class)).then_some(Run::Slab { head, class })
            }
            SlabEntry::LargeHead { len_pages } => {
                (unit < head + units_of_pages(len_pages)).then_some(Run::Large { head, len_pages })
            }
            _ => None,
        }
    }

    /// Whether a thread has had a thread heap of this heap: without one no block can have been handed out.
    pub(crate) fn has_been_used(&self) -> bool {
        let _guard = self.lock.lock();
        // SAFETY: under the lock (K1).
        unsafe { (*self.threads.get()).count() > 0 }
    }

    /// Keeps the file's lock as long as the heap is open.
    pub(crate) fn keep_file_lock(&self, file: File) {
        let _guard = self.lock.lock();
        // SAFETY: under the lock.
        unsafe { *self.file_lock.get() = Some(file) };
    }

    /// The file that holds the lock, to give it back.
    pub(crate) fn take_file_lock(&self) -> Option<File> {
        let _guard = self.lock.lock();
        // SAFETY: under the lock.
        unsafe { (*self.file_lock.get()).take() }
    }

    /// Closes a child's copy of the lock's descriptor: the parent alone holds it. Under the heap's lock.
    pub(crate) fn forget_file_lock(&self) {
        // SAFETY: the child has one thread, which holds the lock.
        drop(unsafe { (*self.file_lock.get()).take() });
    }
}

#[cfg(test)]
pub(crate) mod testing {
    //! Heaps for the unit tests of this layer.

    use super::*;

    /// A heap in memory that nobody else knows of.
    pub(crate) struct TestHeap(pub(crate) *mut Core);

    impl TestHeap {
        pub(crate) fn new(capacity: u64) -> Self {
            Self::at(None, capacity)
        }

        pub(crate) fn with_ladder(capacity: u64, ladder: Ladder) -> Self {
            Self::made(None, capacity, ladder, Backing::anonymous(false))
        }

        pub(crate) fn at(window: Option<u32>, capacity: u64) -> Self {
            Self::made(window, capacity, Ladder::Usual, Backing::anonymous(false))
        }

        pub(crate) fn with_backing(capacity: u64, backing: Backing) -> Self {
            Self::made(None, capacity, Ladder::Usual, backing)
        }

        fn made(window: Option<u32>, capacity: u64, ladder: Ladder, backing: Backing) -> Self {
            let layout = Layout::for_capacity(capacity, false);
            let window = windows::reserve(window, layout.windows()).unwrap();
            // SAFETY: the window is reserved for this heap; a new mapping is all zeros.
            Self(unsafe { Core::new(window, layout, ladder, layout.units as usize, backing) }.unwrap())
        }

        /// A new, empty heap in place of this one; nobody else can take the window in between.
        pub(crate) fn begin_again(self) -> Self {
            let old = core::mem::ManuallyDrop::new(self);
            let (window, layout, ladder) = (old.window, old.layout, old.ladder);
            let len = layout.windows() as usize * WINDOW;
            let backing = Backing::anonymous(false);
            // SAFETY: tests begin again when nobody uses the heap; the window is still reserved, and a new mapping is all
            // zeros.
            unsafe {
                Core::let_go(old.0);
                mapping::replace(window as usize * WINDOW, len, Access::None, Source::Anonymous).unwrap();
                Self(Core::new(window, layout, ladder, layout.units as usize, backing).unwrap())
            }
        }
    }

    impl core::ops::Deref for TestHeap {
        type Target = Core;

        fn deref(&self) -> &Core {
            // SAFETY: alive until dropped.
            unsafe { &*self.0 }
        }
    }

    impl Drop for TestHeap {
        fn drop(&mut self) {
            let (window, windows) = (self.window, self.layout.windows());
            // SAFETY: tests drop the heap when nobody uses it any more.
            unsafe {
                Core::let_go(self.0);
                windows::release(window, windows);
            }
        }
    }
}

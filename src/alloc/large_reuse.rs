//! Large objects by way of the runs that are kept at hand.
//!
//! 1. Allocating takes a run of just as many units: the thread's own, one that all threads share, one of another thread.
//!    Otherwise [`Core::allocate_large`] takes units under the heap's lock.
//! 2. Freeing keeps the run: with the thread up to its limit, else where all threads find it, else as units.
//!
//! Both are counted by the thread, which adds its counters to the heap's when it ends.

use super::heap_core::Core;
use super::prefault::event;
use super::run_cache::{FreeRun, TOO_LONG, Wanted};
use super::thread_counts::add64;
use super::thread_heap::ThreadHeap;
use super::threads::Threads;
use super::tuning::purge;
use crate::format::layout::SEGMENTS_ALIGN;
use crate::format::slab_entry::{SlabEntry, units_of_pages};
use crate::format::{PAGE, UNIT};
use crate::sync::Ordering;
use core::ptr;
use core::sync::atomic::fence;

/// Other threads whose runs are looked at when nothing else is left.
const VICTIMS: u32 = 8;
/// So many times in a row there was no run of the length that was wanted: then those that there are only waste memory, and
/// become units, of which any length can be made.
const MISSES: u32 = 4;
/// The shared runs may have as many units as so many threads.
const SHARE: usize = 2;

impl ThreadHeap {
    /// Takes a large object out of the thread's own runs if that costs nothing, as it never does with the empty one (H2);
    /// otherwise null.
    ///
    /// # Safety
    /// As for [`ThreadHeap::allocate`].
    #[inline(always)]
    pub(crate) unsafe fn reuse_large_at_once(heap: *mut Self, size: usize, align: usize, zeroed: bool) -> *mut u8 {
        // SAFETY: the caller's promise; who has a run is not the empty one, and has it alone (Q1).
        unsafe {
            match wanted(size, align, zeroed).and_then(|wanted| (*heap).runs.take_at_once(wanted)) {
                Some(run) => Self::hand_out(heap, run, size, zeroed),
                None => ptr::null_mut(),
            }
        }
    }

    /// Takes a large object out of the runs at hand, those of others too; null if there is none of that length.
    ///
    /// # Safety
    /// As for [`ThreadHeap::allocate`], and not the empty one.
    #[inline]
    pub(crate) unsafe fn reuse_large(heap: *mut Self, size: usize, align: usize, zeroed: bool) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe {
            let block = Self::reuse_large_at_once(heap, size, align, zeroed);
            if block.is_null() { Self::reuse_large_slow(heap, size, align, zeroed) } else { block }
        }
    }

    #[cold]
    unsafe fn reuse_large_slow(heap: *mut Self, size: usize, align: usize, zeroed: bool) -> *mut u8 {
        let Some(wanted) = wanted(size, align, zeroed) else { return ptr::null_mut() };
        // SAFETY: the caller's, as in `reuse_large`; the run is ours alone (Q1).
        unsafe {
            match (*heap).runs.take(wanted).or_else(|| Self::borrow_run(heap, wanted)) {
                Some(run) => Self::hand_out(heap, run, size, zeroed),
                None => ptr::null_mut(),
            }
        }
    }

    /// Makes a large object of a run.
    ///
    /// # Safety
    /// As for [`ThreadHeap::allocate`], and not the empty one; the run is the caller's alone, and as long as the size needs.
    #[inline(always)]
    unsafe fn hand_out(heap: *mut Self, run: FreeRun, size: usize, zeroed: bool) -> *mut u8 {
        let len_pages = last_byte(size) / PAGE + 1;
        // SAFETY: the caller's promise.
        unsafe {
            let core = Self::core(heap);
            (*heap).misses = 0;
            core.set_entry(run.head, SlabEntry::LargeHead { len_pages: len_pages as u64 });
            add64(&(*heap).large_bytes, (len_pages * PAGE) as i64);
            add64(&(*heap).large_allocations, 1);
            let block: *mut u8 = ptr::with_exposed_provenance_mut(core.address_of(run.head));
            if zeroed && !run.is_zeroed {
                block.write_bytes(0, len_pages * PAGE);
            }
            block
        }
    }

    unsafe fn borrow_run(heap: *mut Self, wanted: Wanted) -> Option<FreeRun> {
        // SAFETY: the caller's, as in `reuse_large`; other thread heaps live as long as their heap, and of them only what all
        // may share is used.
        unsafe {
            let core = Self::core(heap);
            if let Some(run) = core.shared_runs().take(wanted) {
                return Some(run);
            }
            // Relaxed: a setting.
            let most = core.tuning.thread_units.load(Ordering::Relaxed);
            for _ in 0..VICTIMS {
                (*heap).victim += 1;
                let mut victim = Threads::find((*heap).threads, (*heap).victim);
                if victim.is_null() {
                    (*heap).victim = 1;
                    victim = Threads::find((*heap).threads, 1);
                }
                if victim.is_null() || victim == heap {
                    continue;
                }
                if let Some(run) = Self::runs(victim).steal(wanted, &(*heap).runs, most) {
                    // Those that came with it may have been on their way when somebody looked for them.
                    core.tell_kept();
                    return Some(run);
                }
            }
            (*heap).misses += 1;
            if (*heap).misses >= MISSES {
                (*heap).misses = 0;
                core.return_useless(&(*heap).runs);
            }
            None
        }
    }

    /// The runs that a thread keeps.
    ///
    /// # Safety
    /// As for [`ThreadHeap::counters`].
    pub(crate) unsafe fn runs<'a>(heap: *const Self) -> &'a super::run_cache::OwnRuns {
        // SAFETY: the caller's promise; atomics that all may share.
        unsafe { &(*heap).runs }
    }

    /// Frees the large object that starts at `address`.
    ///
    /// # Safety
    /// As for [`ThreadHeap::allocate`], and not the empty one; the object is the caller's to give.
    #[inline(always)]
    pub(crate) unsafe fn free_large(heap: *mut Self, address: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            let core = Self::core(heap);
            let Some(len_pages) = core.large_len_pages(address) else {
                debug_assert!(false, "a free of a large object that is none");
                return;
            };
            let run = Self::freed_run(core, address, len_pages);
            // Relaxed, here and below: settings.
            if core.tuning.purge.load(Ordering::Relaxed) != purge::EAGER && Self::may_keep(heap, run) {
                if let Some(room) = (*heap).runs.room_for(run) {
                    Self::count_freed(heap, len_pages);
                    // From here on nobody finds the object (Q2).
                    core.set_entry(run.head, SlabEntry::Free);
                    room.fill();
                    return core.tell_kept();
                }
            }
            Self::free_large_slow(heap, address, len_pages);
        }
    }

    #[cold]
    #[inline(never)]
    unsafe fn free_large_slow(heap: *mut Self, address: usize, len_pages: usize) {
        // SAFETY: the caller's, as in `free_large`.
        unsafe {
            let core = Self::core(heap);
            let mut run = Self::freed_run(core, address, len_pages);
            Self::count_freed(heap, len_pages);
            // From here on nobody finds the object (Q2).
            core.set_entry(run.head, SlabEntry::Free);
            if core.tuning.purge.load(Ordering::Relaxed) == purge::EAGER {
                run.is_zeroed = core.discard_run(run);
                // A run of a file that has lost its space needs the heap's units, which know how to get it again.
                if !core.backing.can_lose_space() && Self::may_keep(heap, run) && (*heap).runs.put(run) {
                    return core.tell_kept();
                }
            }
            core.keep_or_return(run);
        }
    }

    #[inline(always)]
    fn freed_run(core: &Core, address: usize, len_pages: usize) -> FreeRun {
        FreeRun {
            head: core.unit_of(address),
            units: units_of_pages(len_pages as u64),
            is_zeroed: false,
            // Relaxed: a setting.
            period: core.tuning.period.load(Ordering::Relaxed),
        }
    }

    /// Whether the limits let the thread keep a run.
    #[inline(always)]
    unsafe fn may_keep(heap: *mut Self, run: FreeRun) -> bool {
        // SAFETY: the caller's, as in `free_large`.
        unsafe {
            let tuning = &Self::core(heap).tuning;
            run.units <= tuning.largest_units.load(Ordering::Relaxed)
                && (*heap).runs.units() + run.units <= tuning.thread_units.load(Ordering::Relaxed)
        }
    }

    #[inline(always)]
    unsafe fn count_freed(heap: *mut Self, len_pages: usize) {
        // SAFETY: the caller's, as in `free_large`; counters of its thread.
        unsafe {
            add64(&(*heap).large_bytes, -((len_pages * PAGE) as i64));
            add64(&(*heap).large_frees, 1);
        }
    }
}

/// The number of an object's last byte; those without a size have one.
#[inline(always)]
const fn last_byte(size: usize) -> usize {
    size.saturating_sub(1)
}

/// The run that an object lies in, if there may be such ones at hand.
#[inline(always)]
const fn wanted(size: usize, align: usize, zeroed: bool) -> Option<Wanted> {
    let units = last_byte(size) / UNIT + 1;
    if units >= TOO_LONG || align as u64 > SEGMENTS_ALIGN {
        return None;
    }
    Some(Wanted::new(units, (align - 1) / UNIT + 1, zeroed))
}

impl Core {
    /// Gives the memory of a run back that the caller alone has; true if it reads as zeros now.
    #[cold]
    fn discard_run(&self, run: FreeRun) -> bool {
        let offset = self.layout.segments.offset as usize + run.head * UNIT;
        // SAFETY: nobody else has the run (Q1).
        let is_zeroed = unsafe { self.backing.purge(self.base, offset, run.units * UNIT) };
        if is_zeroed {
            self.totals.count_purge(run.units * UNIT);
        }
        is_zeroed
    }

    /// Tells whoever maintains the heap that a run is kept that may not be needed. Not that units are free: runs that are
    /// kept have an age of their own, so what is freed and allocated in turns need not put anything off.
    #[inline]
    fn tell_kept(&self) {
        if self.signal.is_heard() {
            self.tell_kept_slow();
        }
    }

    #[cold]
    fn tell_kept_slow(&self) {
        // Pairs with the fence in `keeps_runs`: either the run is found there, or what was told before is forgotten here.
        fence(Ordering::SeqCst);
        if !self.signal.is_told(event::FREED) {
            self.signal.tell(event::FREED);
        }
    }

    /// Whether anybody keeps a run. Who forgets what was told of them does so before it asks.
    pub(crate) fn keeps_runs(&self) -> bool {
        // Pairs with the fence in `tell_kept_slow`.
        fence(Ordering::SeqCst);
        // Under the lock, so that no run is on its way from an ending thread to all.
        let _guard = self.lock.lock();
        // SAFETY: under the lock; thread heaps live as long as their heap.
        unsafe {
            let (table, count) = ((*self.threads.get()).table(), (*self.threads.get()).count());
            self.shared_runs().units() > 0
                || (1..=count).any(|number| ThreadHeap::runs(Threads::find(table, number)).units() > 0)
        }
    }

    /// Keeps a run where all threads find it, or makes it plain units.
    #[cold]
    fn keep_or_return(&self, run: FreeRun) {
        // Relaxed: settings.
        let most = self.tuning.thread_units.load(Ordering::Relaxed).saturating_mul(SHARE);
        let fits = run.units <= self.tuning.largest_units.load(Ordering::Relaxed);
        let can_keep = fits && !(run.is_zeroed && self.backing.can_lose_space());
        if can_keep && self.shared_runs().put(run, most) {
            return self.tell_kept();
        }
        {
            let _guard = self.lock.lock();
            // SAFETY: under the lock.
            unsafe { self.return_run(run) };
            self.signal.tell(event::FREED | event::FREED_AGAIN);
        }
        self.purge_if_due();
    }

    /// Makes plain units of the calling thread's runs; if it has none, of those that all threads share.
    fn return_useless(&self, own: &super::run_cache::OwnRuns) {
        if own.units() == 0 && self.shared_runs().units() == 0 {
            return;
        }
        let _guard = self.lock.lock();
        // SAFETY: under the lock; a run that was taken is ours (Q1).
        unsafe {
            if own.units() > 0 {
                own.drain(|_| true, |run| self.return_run(run));
            } else {
                self.shared_runs().drain(|_| true, |run| self.return_run(run));
            }
        }
    }

    /// Makes plain units of all runs at hand.
    pub(crate) fn return_all_runs(&self) {
        let _guard = self.lock.lock();
        // SAFETY: under the lock.
        unsafe { self.drain_runs(|_| true) };
    }

    /// Gives back what a thread that ends has kept: to all threads as far as there is room.
    ///
    /// # Safety
    /// Under the heap's lock.
    pub(super) unsafe fn inherit_runs(&self, runs: &super::run_cache::OwnRuns) {
        let most = self.tuning.thread_units.load(Ordering::Relaxed).saturating_mul(SHARE);
        runs.drain(
            |_| true,
            |run| {
                if !self.shared_runs().put(run, most) {
                    // SAFETY: the caller's promise.
                    unsafe { self.return_run(run) };
                }
            },
        );
    }

    /// In a child process, which has none of the other threads: nobody is at any thread's runs.
    ///
    /// # Safety
    /// Under the heap's lock, and no other thread is there.
    pub(crate) unsafe fn begin_child_runs(&self) {
        // SAFETY: the caller's promise; thread heaps live as long as their heap.
        unsafe {
            let (table, count) = ((*self.threads.get()).table(), (*self.threads.get()).count());
            for number in 1..=count {
                ThreadHeap::runs(Threads::find(table, number)).begin_child();
            }
        }
    }

    /// Makes plain units of the runs at hand, of whatever thread, that `fits` says yes to.
    ///
    /// # Safety
    /// Under the heap's lock.
    pub(crate) unsafe fn drain_runs(&self, fits: impl Fn(FreeRun) -> bool) {
        // SAFETY: the caller's promise; thread heaps live as long as their heap, and a run that was taken is ours (Q1).
        unsafe {
            self.shared_runs().drain(&fits, |run| self.return_run(run));
            let (table, count) = ((*self.threads.get()).table(), (*self.threads.get()).count());
            for number in 1..=count {
                ThreadHeap::runs(Threads::find(table, number)).drain(&fits, |run| self.return_run(run));
            }
        }
    }

    /// Makes plain units of all runs at hand that nobody may keep any more, after a limit was lowered.
    pub(crate) fn enforce_cache_limits(&self) {
        let largest = self.tuning.largest_units.load(Ordering::Relaxed);
        let most = self.tuning.thread_units.load(Ordering::Relaxed);
        let _guard = self.lock.lock();
        // SAFETY: under the lock. Threads that keep more than they may give all of it up: rare, and simple.
        unsafe {
            self.drain_runs(|run| run.units > largest || run.units > most);
            if self.shared_runs().units() > most.saturating_mul(SHARE) {
                self.shared_runs().drain(|_| true, |run| self.return_run(run));
            }
            let (table, count) = ((*self.threads.get()).table(), (*self.threads.get()).count());
            for number in 1..=count {
                let runs = ThreadHeap::runs(Threads::find(table, number));
                if runs.units() > most {
                    runs.drain(|_| true, |run| self.return_run(run));
                }
            }
        }
    }
}

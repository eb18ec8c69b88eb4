//! What the calling thread has of each heap.
//!
//! A thread's thread heaps hang on one chain; the two default heaps and the four file heaps used last are found
//! without following it. None of this needs a destructor: a thread-exit hook gives the thread heaps back, and arms
//! itself again when later destructors of the same thread still free or allocate.
//!
//! With the feature `preload` all of this lies where a load from a fixed distance to the thread pointer finds it
//! (`initial_exec`), and a thread that has ended once gets no thread heap again (`super::stray`).

#[cfg(feature = "preload")]
mod initial_exec;

use super::heap_core::{Core, state};
use super::presence;
use super::thread_heap::{EMPTY, ThreadHeap};
use super::threads::Threads;
use super::windows;
use crate::os::thread_exit;
use crate::sync::AtomicU32;
use core::cell::Cell;
use core::ptr;
use core::sync::atomic::Ordering;

/// Which of the two default heaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Default {
    Anonymous = 0,
    File = 1,
}

const CACHED: usize = 4;

#[repr(C)]
struct Current {
    /// That of the default heap whose blocks are freed without their layout, or the empty one.
    #[cfg(feature = "preload")]
    untyped: Cell<*mut ThreadHeap>,
    defaults: [Cell<*mut ThreadHeap>; 2],
    /// The names of the file heaps used last, one in each place at most.
    names: [Cell<u32>; CACHED],
    /// The same, of those that a thread must enter for everything: see [`presence::can_take`].
    entered: [Cell<u32>; CACHED],
    cached: [Cell<*mut ThreadHeap>; CACHED],
    /// The file heap to which the thread gives nothing back at the moment; 0 for none.
    withheld: Cell<u32>,
    /// All thread heaps of the thread.
    chain: Cell<*mut ThreadHeap>,
    /// Whether the thread's exit hook has run.
    #[cfg(feature = "preload")]
    has_ended: Cell<bool>,
}

impl Current {
    fn forget_slot(&self, slot: usize) {
        self.names[slot].set(0);
        self.entered[slot].set(0);
        self.cached[slot].set(ptr::null_mut());
    }
}

const NOBODY: *mut ThreadHeap = (&raw const EMPTY).cast_mut();

#[cfg(not(feature = "preload"))]
thread_local! {
    static CURRENT: Current = const {
        Current {
            defaults: [const { Cell::new(NOBODY) }; 2],
            names: [const { Cell::new(0) }; CACHED],
            entered: [const { Cell::new(0) }; CACHED],
            cached: [const { Cell::new(ptr::null_mut()) }; CACHED],
            withheld: Cell::new(0),
            chain: Cell::new(ptr::null_mut()),
        }
    };
}

#[inline(always)]
fn with_current<R>(work: impl FnOnce(&Current) -> R) -> R {
    #[cfg(not(feature = "preload"))]
    return CURRENT.with(work);
    #[cfg(feature = "preload")]
    initial_exec::with_current(work)
}

/// The calling thread's thread heap of a default heap, or the empty one.
#[inline(always)]
pub(crate) fn of_default(which: Default) -> *mut ThreadHeap {
    with_current(|current| current.defaults[which as usize].get())
}

/// Gives the calling thread a thread heap of `core` and chains it; null without memory.
fn attach(core: &Core) -> *mut ThreadHeap {
    let heap = core.take_thread_heap();
    if !heap.is_null() {
        with_current(|current| {
            // SAFETY: the thread's own from now on (T1).
            unsafe { (*heap).next_of_thread = current.chain.replace(heap) };
        });
    }
    heap
}

/// Gives the calling thread a thread heap of a default heap; null without memory.
pub(crate) fn attach_default(which: Default, core: &Core) -> *mut ThreadHeap {
    // Relaxed: default heaps are never let go by their owner, so the count never gets near zero.
    core.holders.fetch_add(1, Ordering::Relaxed);
    let heap = attach(core);
    if !heap.is_null() {
        with_current(|current| current.defaults[which as usize].set(heap));
        // Last: the C library may allocate in it, through this very allocator.
        thread_exit::arm(at_thread_exit);
    }
    heap
}

/// The calling thread's thread heap of the heap whose blocks are freed without their layout, or the empty one.
#[cfg(feature = "preload")]
#[inline(always)]
pub(crate) fn of_untyped() -> *mut ThreadHeap {
    initial_exec::of_untyped()
}

/// As [`attach_default`], for the heap that [`of_untyped`] means; null also in a thread whose exit hook has run.
#[cfg(feature = "preload")]
pub(crate) fn attach_untyped(which: Default, core: &Core) -> *mut ThreadHeap {
    if with_current(|current| current.has_ended.get()) {
        return ptr::null_mut();
    }
    let present = of_default(which);
    if present != NOBODY {
        with_current(|current| current.untyped.set(present));
        return present;
    }
    // Relaxed as in `attach_default`.
    core.holders.fetch_add(1, Ordering::Relaxed);
    let heap = attach(core);
    if !heap.is_null() {
        with_current(|current| {
            current.untyped.set(heap);
            current.defaults[which as usize].set(heap);
        });
        thread_exit::arm(at_thread_exit);
    }
    heap
}

/// The calling thread's thread heap of the heap with that name, which may have been closed, if it can be used as
/// [`ThreadHeap::allocate_unless_closed`] does; otherwise the empty one.
#[inline(always)]
pub(crate) fn of_window(name: u32) -> *mut ThreadHeap {
    with_current(|current| {
        let slot = name as usize % CACHED;
        if current.names[slot].get() == name { current.cached[slot].get() } else { NOBODY }
    })
}

/// Runs `work` with the calling thread's thread heap of the heap with that name, while that heap cannot be closed; none if
/// it is not open.
#[inline(always)]
pub(crate) fn with_window<R>(name: u32, work: impl FnOnce(*mut ThreadHeap) -> R) -> Option<R> {
    with_current(|current| {
        let slot = name as usize % CACHED;
        loop {
            let heap = if current.names[slot].get() == name || current.entered[slot].get() == name {
                current.cached[slot].get()
            } else {
                find_or_attach(current, name)?
            };
            // SAFETY: thread heaps on the chain live until the thread gives them up, and so does their heap.
            unsafe {
                let leaving = Leave(&(*heap).busy);
                if presence::enter(leaving.0, &(*(*heap).core).state) {
                    return Some(work(heap));
                }
            }
            if !forget(current, heap) {
                return None;
            }
            // Another heap may have been opened at the window since.
        }
    })
}

/// As long as this lives the thread frees no block of the heap with that name but by way of [`with_window`], where
/// [`is_withholding`] tells.
#[derive(Debug)]
pub(crate) struct Withholding {
    name: u32,
    before: u32,
    /// It is the thread's.
    of_thread: core::marker::PhantomData<*const ()>,
}

impl Withholding {
    pub(crate) fn begin(name: u32) -> Self {
        with_current(|current| {
            let before = current.withheld.replace(name);
            forget_name(current, name);
            Self { name, before, of_thread: core::marker::PhantomData }
        })
    }
}

impl Drop for Withholding {
    fn drop(&mut self) {
        with_current(|current| {
            current.withheld.set(self.before);
            if self.before != self.name {
                forget_name(current, self.name);
                // It may have been used meanwhile, as one of which nothing is withheld.
                forget_name(current, self.before);
            }
        });
    }
}

/// Whether the thread has a [`Withholding`] of the heap with that name, the innermost one.
#[inline]
pub(crate) fn is_withholding(name: u32) -> bool {
    with_current(|current| current.withheld.get() == name)
}

/// Whether the thread has a [`Withholding`] of whatever heap: what it drops meanwhile may be where nobody may write.
#[inline(always)]
pub(crate) fn is_withholding_any() -> bool {
    with_current(|current| current.withheld.get() != 0)
}

/// The heap with that name is looked for on the chain when it is next used.
fn forget_name(current: &Current, name: u32) {
    let slot = name as usize % CACHED;
    if current.names[slot].get() == name || current.entered[slot].get() == name {
        current.forget_slot(slot);
    }
}

/// As [`with_window`], but only if the calling thread has used the heap already.
pub(crate) fn with_window_if_used<R>(name: u32, work: impl FnOnce(*mut ThreadHeap) -> R) -> Option<R> {
    let is_used = with_current(|current| {
        let mut heap = current.chain.get();
        // SAFETY: the chain holds the thread's own thread heaps.
        unsafe {
            while !heap.is_null() && (*(*heap).core).name() != name {
                heap = (*heap).next_of_thread;
            }
        }
        !heap.is_null()
    });
    if is_used { with_window(name, work) } else { None }
}

/// Takes a thread's announcement back, also if its work panics: otherwise closing the heap would wait for ever.
struct Leave<'a>(&'a AtomicU32);

impl Drop for Leave<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        presence::leave(self.0);
    }
}

#[cold]
fn find_or_attach(current: &Current, name: u32) -> Option<*mut ThreadHeap> {
    let mut heap = current.chain.get();
    // SAFETY: the chain holds the thread's own thread heaps; one that is forgotten goes, so its link is read first.
    unsafe {
        while !heap.is_null() {
            let next = (*heap).next_of_thread;
            match (*(*heap).core).state.load(Ordering::Relaxed) {
                state::RETIRED => {
                    forget(current, heap);
                }
                state::FOREIGN if (*(*heap).core).name() == name => return None,
                _ if (*(*heap).core).name() == name => break,
                _ => {}
            }
            heap = next;
        }
    }
    if heap.is_null() {
        let core = windows::hold(windows::window_of(name))?;
        // A handle may have outlived its heap; another one at the same place need not have its classes.
        // SAFETY: held by us now.
        heap = unsafe { if (*core).name() == name { attach(&*core) } else { ptr::null_mut() } };
        if heap.is_null() {
            // SAFETY: the hold is given back once.
            unsafe { Core::let_go(core) };
            return None;
        }
        thread_exit::arm(at_thread_exit);
    }
    let slot = name as usize % CACHED;
    // SAFETY: on the chain, so its heap lives. Relaxed: set before the heap was published.
    let scrubs = unsafe { (*(*heap).core).scrub_freed.load(Ordering::Relaxed) };
    let may_take = presence::can_take() && !scrubs && current.withheld.get() != name;
    let (taken, entered) = if may_take { (name, 0) } else { (0, name) };
    current.names[slot].set(taken);
    current.entered[slot].set(entered);
    current.cached[slot].set(heap);
    Some(heap)
}

/// Drops a thread heap whose heap has been closed; false if it stays on the chain, because the heap is another process's.
#[cold]
fn forget(current: &Current, heap: *mut ThreadHeap) -> bool {
    for slot in 0..CACHED {
        if current.cached[slot].get() == heap {
            current.forget_slot(slot);
        }
    }
    // SAFETY: the chain holds the thread's own thread heaps, and `heap` is one of them.
    unsafe {
        let core = (*heap).core.cast_mut();
        if (*core).state.load(Ordering::Relaxed) == state::FOREIGN {
            // The parent's bookkeeping, copied mid-flight; it stays as it is.
            return false;
        }
        let next = (*heap).next_of_thread;
        if current.chain.get() == heap {
            current.chain.set(next);
        } else {
            let mut before = current.chain.get();
            while (*before).next_of_thread != heap {
                before = (*before).next_of_thread;
            }
            (*before).next_of_thread = next;
        }
        Core::let_go(core);
    }
    true
}

/// Gives all thread heaps of the ending thread back.
unsafe extern "C" fn at_thread_exit(_value: *mut core::ffi::c_void) {
    with_current(|current| {
        #[cfg(feature = "preload")]
        {
            current.untyped.set(NOBODY);
            current.has_ended.set(true);
        }
        for default in &current.defaults {
            default.set(NOBODY);
        }
        for slot in 0..CACHED {
            current.forget_slot(slot);
        }
        let mut heap = current.chain.replace(ptr::null_mut());
        while !heap.is_null() {
            // SAFETY: the thread's own; after `retire` it is no longer, so the link is read first.
            unsafe {
                let next = (*heap).next_of_thread;
                let core = (*heap).core.cast_mut();
                // A retired thread heap may have its next thread at once, so its own flag will not do.
                if presence::enter_counted(&(*core).leaving, &(*core).state) {
                    ThreadHeap::retire(heap);
                }
                presence::leave_counted(&(*core).leaving);
                Core::let_go(core);
                heap = next;
            }
        }
    });
}

impl Core {
    /// Takes all other threads out of the heap, which has just been given another state than open: returns when none is
    /// inside, and none will come.
    pub(crate) fn wait_until_idle(&self) {
        presence::close();
        // No thread heap is made or taken after this: `take_thread_heap` looks at the state under the lock.
        // SAFETY: under the lock (K1).
        let (table, count) = unsafe {
            let _guard = self.lock.lock();
            ((*self.threads.get()).table(), (*self.threads.get()).count())
        };
        for number in 1..=count {
            let heap = Threads::find(table, number);
            // SAFETY: thread heaps live as long as their heap.
            while unsafe { !presence::is_nobody(&(*heap).busy) } {
                std::thread::yield_now();
            }
        }
        while !presence::is_nobody(&self.leaving) {
            std::thread::yield_now();
        }
    }

    /// Gives the contents of all thread heaps back to the slabs, so that the allocator state in the mapping is all
    /// there is.
    ///
    /// # Safety
    /// No thread is inside, nor will come: [`Core::wait_until_idle`].
    pub(crate) unsafe fn retire_all_threads(&self) {
        // SAFETY: nobody else is there.
        unsafe {
            let (table, count) = {
                let _guard = self.lock.lock();
                ((*self.threads.get()).table(), (*self.threads.get()).count())
            };
            for number in 1..=count {
                let heap = Threads::find(table, number);
                // Neither this nor the number changes any more (`take_thread_heap`).
                if (*heap).is_live {
                    ThreadHeap::retire(heap);
                }
            }
            let _guard = self.lock.lock();
            self.collect_orphans(count);
            self.drain_runs(|_| true);
        }
    }

    /// One holder less; the last one frees the value and all thread heaps.
    ///
    /// # Safety
    /// The caller holds it and does not use it again.
    pub(crate) unsafe fn let_go(core: *mut Self) {
        // AcqRel: the last holder sees everything the others did.
        // SAFETY: the caller's hold.
        unsafe {
            if (*core).holders.fetch_sub(1, Ordering::AcqRel) != 1 {
                return;
            }
            let (table, count) = ((*(*core).threads.get()).table(), (*(*core).threads.get()).count());
            for number in 1..=count {
                ThreadHeap::destroy(Threads::find(table, number));
            }
            Self::destroy(core);
        }
    }
}

#[cfg(test)]
mod tests;

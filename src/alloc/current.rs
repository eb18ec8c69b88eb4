//! What the calling thread has of each heap.
//!
//! A thread's thread heaps hang on one chain; the two default heaps and the four file heaps used last are found
//! without following it. None of this needs a destructor: a thread-exit hook gives the thread heaps back, and arms
//! itself again when later destructors of the same thread still free or allocate.

use super::heap_core::{Core, state};
use super::thread_heap::{EMPTY, ThreadHeap};
use super::threads::Threads;
use super::windows;
use crate::os::{barrier, thread_exit};
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

struct Current {
    defaults: [Cell<*mut ThreadHeap>; 2],
    windows: [Cell<u32>; CACHED],
    cached: [Cell<*mut ThreadHeap>; CACHED],
    /// All thread heaps of the thread.
    chain: Cell<*mut ThreadHeap>,
}

const NOBODY: *mut ThreadHeap = (&raw const EMPTY).cast_mut();

thread_local! {
    static CURRENT: Current = const {
        Current {
            defaults: [const { Cell::new(NOBODY) }; 2],
            windows: [const { Cell::new(0) }; CACHED],
            cached: [const { Cell::new(ptr::null_mut()) }; CACHED],
            chain: Cell::new(ptr::null_mut()),
        }
    };
}

/// The calling thread's thread heap of a default heap, or the empty one.
#[inline(always)]
pub(crate) fn of_default(which: Default) -> *mut ThreadHeap {
    CURRENT.with(|current| current.defaults[which as usize].get())
}

/// Gives the calling thread a thread heap of `core` and chains it; null without memory.
fn attach(core: &Core) -> *mut ThreadHeap {
    let heap = core.take_thread_heap();
    if !heap.is_null() {
        CURRENT.with(|current| {
            // SAFETY: the thread's own from now on (T1).
            unsafe { (*heap).next_of_thread = current.chain.replace(heap) };
        });
        thread_exit::arm(at_thread_exit);
    }
    heap
}

/// Gives the calling thread a thread heap of a default heap; null without memory.
pub(crate) fn attach_default(which: Default, core: &Core) -> *mut ThreadHeap {
    // Relaxed: default heaps are never let go by their owner, so the count never gets near zero.
    core.holders.fetch_add(1, Ordering::Relaxed);
    let heap = attach(core);
    if !heap.is_null() {
        CURRENT.with(|current| current.defaults[which as usize].set(heap));
    }
    heap
}

/// Runs `work` with the calling thread's thread heap of the heap at `window`, while that heap cannot be closed; none if
/// it is not open.
#[inline(always)]
pub(crate) fn with_window<R>(window: u32, work: impl FnOnce(*mut ThreadHeap) -> R) -> Option<R> {
    CURRENT.with(|current| {
        let slot = window as usize % CACHED;
        let heap = if current.windows[slot].get() == window {
            current.cached[slot].get()
        } else {
            find_or_attach(current, window)?
        };
        // SAFETY: thread heaps on the chain live until the thread gives them up, and so does their heap.
        unsafe {
            // Relaxed and then a light barrier: whoever closes the heap sets its state, passes the heavy barrier, and
            // then sees either this store, or this thread sees the state.
            (*heap).busy.store(1, Ordering::Relaxed);
            barrier::light();
            let result =
                if (*(*heap).core).state.load(Ordering::Relaxed) == state::OPEN { Some(work(heap)) } else { None };
            // Release pairs with the Acquire in `Core::wait_until_idle`.
            (*heap).busy.store(0, Ordering::Release);
            match result {
                Some(result) => Some(result),
                None => {
                    forget(current, heap);
                    None
                }
            }
        }
    })
}

#[cold]
fn find_or_attach(current: &Current, window: u32) -> Option<*mut ThreadHeap> {
    let mut heap = current.chain.get();
    // SAFETY: the chain holds the thread's own thread heaps.
    unsafe {
        while !heap.is_null() && (*(*heap).core).window != window {
            heap = (*heap).next_of_thread;
        }
    }
    if heap.is_null() {
        let core = windows::hold(window)?;
        // SAFETY: held by us now.
        heap = unsafe { attach(&*core) };
        if heap.is_null() {
            // SAFETY: the hold is given back once.
            unsafe { Core::let_go(core) };
            return None;
        }
    }
    let slot = window as usize % CACHED;
    current.windows[slot].set(window);
    current.cached[slot].set(heap);
    Some(heap)
}

/// Drops a thread heap whose heap has been closed.
#[cold]
fn forget(current: &Current, heap: *mut ThreadHeap) {
    for slot in 0..CACHED {
        if current.cached[slot].get() == heap {
            current.windows[slot].set(0);
            current.cached[slot].set(ptr::null_mut());
        }
    }
    // SAFETY: the chain holds the thread's own thread heaps, and `heap` is one of them.
    unsafe {
        let core = (*heap).core.cast_mut();
        if (*core).state.load(Ordering::Relaxed) == state::FOREIGN {
            // The parent's bookkeeping, copied mid-flight; it stays as it is.
            return;
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
}

/// Gives all thread heaps of the ending thread back.
unsafe extern "C" fn at_thread_exit(_value: *mut libc::c_void) {
    CURRENT.with(|current| {
        for default in &current.defaults {
            default.set(NOBODY);
        }
        for slot in 0..CACHED {
            current.windows[slot].set(0);
            current.cached[slot].set(ptr::null_mut());
        }
        let mut heap = current.chain.replace(ptr::null_mut());
        while !heap.is_null() {
            // SAFETY: the thread's own; after `retire` it is no longer, so the link is read first.
            unsafe {
                let next = (*heap).next_of_thread;
                let core = (*heap).core.cast_mut();
                // A retired thread heap may have its next thread at once, so its own flag will not do. SeqCst and the
                // load behind it pair with the heavy barrier, Release with the Acquire of whoever waits.
                (*core).leaving.fetch_add(1, Ordering::SeqCst);
                if (*core).state.load(Ordering::SeqCst) == state::OPEN {
                    ThreadHeap::retire(heap);
                }
                (*core).leaving.fetch_sub(1, Ordering::Release);
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
        barrier::heavy();
        // SAFETY: under the lock (K1).
        let (table, count) = unsafe {
            let _guard = self.lock.lock();
            ((*self.threads.get()).table(), (*self.threads.get()).count())
        };
        for number in 1..=count {
            let heap = Threads::find(table, number);
            // Acquire pairs with the Release at the end of a thread's work: it is seen whole.
            // SAFETY: thread heaps live as long as their heap.
            while unsafe { (*heap).busy.load(Ordering::Acquire) } != 0 {
                std::thread::yield_now();
            }
        }
        while self.leaving.load(Ordering::Acquire) != 0 {
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
            let (table, count) = ((*self.threads.get()).table(), (*self.threads.get()).count());
            for number in 1..=count {
                let heap = Threads::find(table, number);
                if (*heap).is_live {
                    ThreadHeap::retire(heap);
                }
            }
            let _guard = self.lock.lock();
            self.collect_orphans(count);
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

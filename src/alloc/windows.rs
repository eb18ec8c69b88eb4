//! Which windows of this process's address space belong to which heap.
//!
//! # Invariants
//! - **W1** A window's entry names the heap that has its address range, until the range is unmapped; it says which ladder that
//!   heap has before the heap is published.
//! - **W2** A heap that is found here under the registry's lock is alive: it takes itself out, under the lock, before it
//!   can go.

use super::count_table;
use super::heap_core::{Core, state};
use super::heat;
use super::size_class::Ladder;
use super::tracts;
use super::young;
use crate::format::{END_WINDOW, FIRST_WINDOW, WINDOW, WINDOW_SHIFT};
use crate::os::lock::Lock;
use crate::os::mapping::{self, Access, Source};
use crate::os::{CallError, errno};
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize, Ordering};

/// Set in the name of a heap with the fine ladder; the rest is its first window.
pub(crate) const FINE: u32 = 1 << 31;
const _: () = assert!(END_WINDOW < FINE);

/// The name of the heap with that first window.
pub(crate) const fn name_of(window: u32, ladder: Ladder) -> u32 {
    match ladder {
        Ladder::Usual => window,
        Ladder::Fine => window | FINE,
    }
}

/// The first window of the heap with that name.
pub(crate) const fn window_of(name: u32) -> u32 {
    name & !FINE
}

/// For each window, the name of the heap that has it, or 0.
static HEAP_OF: [AtomicU32; END_WINDOW as usize] = [const { AtomicU32::new(0) }; END_WINDOW as usize];
/// For each window that is taken, the bytes of addresses that are reserved in it.
static RESERVED: [AtomicUsize; END_WINDOW as usize] = [const { AtomicUsize::new(0) }; END_WINDOW as usize];
/// For each first window, its open heap.
static OPEN: [AtomicPtr<Core>; END_WINDOW as usize] = [const { AtomicPtr::new(ptr::null_mut()) }; END_WINDOW as usize];
/// Held while heaps come and go, and over `fork`.
pub(crate) static REGISTRY: Lock = Lock::new();

/// The name of the heap that has `address`, whatever its state.
#[inline]
pub(crate) fn heap_name_of(address: usize) -> Option<u32> {
    let window = address >> WINDOW_SHIFT;
    if !(FIRST_WINDOW as usize..END_WINDOW as usize).contains(&window) {
        return None;
    }
    // Relaxed: whoever has an address in a window got it after the window was taken.
    match HEAP_OF[window].load(Ordering::Relaxed) {
        0 => None,
        name => Some(name),
    }
}

/// The first window of that heap.
#[cfg(feature = "checked")]
pub(crate) fn heap_window_of(address: usize) -> Option<u32> {
    heap_name_of(address).map(window_of)
}

/// Reserves `windows` windows, and no memory: the wanted ones, or the lowest that are free.
pub(crate) fn reserve(wanted: Option<u32>, windows: u32) -> Result<u32, CallError> {
    reserve_part(wanted, windows, windows as usize * WINDOW)
}

/// As [`reserve`], but only of the first `len` bytes the addresses, too: where there is a limit on these.
pub(crate) fn reserve_part(wanted: Option<u32>, windows: u32, len: usize) -> Result<u32, CallError> {
    reserve_for(None, wanted, windows, len)
}

/// As [`reserve_part`], for the heap whose first window is `heap`: their addresses are that heap's.
pub(crate) fn reserve_beside(heap: u32, wanted: Option<u32>, windows: u32, len: usize) -> Result<u32, CallError> {
    reserve_for(Some(heap), wanted, windows, len)
}

fn reserve_for(heap: Option<u32>, wanted: Option<u32>, windows: u32, len: usize) -> Result<u32, CallError> {
    let last = END_WINDOW.saturating_sub(windows);
    let candidates = match wanted {
        Some(window) => window..=window,
        None => FIRST_WINDOW..=last,
    };
    if windows == 0 || wanted.is_some_and(|first| first < FIRST_WINDOW || first.saturating_add(windows) > END_WINDOW) {
        return Err(CallError { call: "mmap", errno: errno::NO_MEMORY });
    }
    let mut refused = CallError { call: "mmap", errno: errno::EXISTS };
    let _guard = REGISTRY.lock();
    for first in candidates {
        let mut range = first as usize..(first + windows) as usize;
        if range.any(|window| HEAP_OF[window].load(Ordering::Relaxed) != 0) {
            continue;
        }
        match mapping::map_at(first as usize * WINDOW, len, Access::None, Source::Anonymous) {
            Ok(()) => {
                for (at, window) in (first..first + windows).enumerate() {
                    RESERVED[window as usize].store(len.saturating_sub(at * WINDOW).min(WINDOW), Ordering::Relaxed);
                    HEAP_OF[window as usize].store(heap.unwrap_or(first), Ordering::Relaxed);
                }
                return Ok(first);
            }
            // A limit on addresses or on mappings, which is the same everywhere.
            Err(error) if error.errno == errno::NO_MEMORY => return Err(error),
            Err(error) => refused = error,
        }
    }
    Err(refused)
}

/// Gives reserved windows back.
///
/// # Safety
/// They were reserved by the caller, and nobody uses their addresses any more.
pub(crate) unsafe fn release(first: u32, windows: u32) {
    let _guard = REGISTRY.lock();
    // SAFETY: the caller's promise.
    unsafe {
        young::release(first, windows);
        count_table::release(first, windows);
        tracts::release(first, windows);
        heat::release(first, windows);
    }
    // SAFETY: as above.
    let _ = unsafe { mapping::unmap(first as usize * WINDOW, windows as usize * WINDOW) };
    for window in first..first + windows {
        HEAP_OF[window as usize].store(0, Ordering::Relaxed);
    }
}

/// Maps a table of a window that begins with zeros, unless there is one; false without addresses.
#[must_use]
pub(super) fn ensure_table<T>(place: &AtomicPtr<T>, len: usize) -> bool {
    let _guard = REGISTRY.lock();
    // Relaxed: under the lock.
    if place.load(Ordering::Relaxed).is_null() {
        let Ok(table) = mapping::map_anywhere(len, Access::ReadWrite, Source::Anonymous) else { return false };
        // Release pairs with the Acquire of who looks for the table.
        place.store(ptr::with_exposed_provenance_mut(table), Ordering::Release);
    }
    true
}

/// Bytes of addresses that are reserved in a window.
pub(super) fn reserved_in(window: usize) -> usize {
    // Relaxed: as in `heap_name_of`.
    RESERVED.get(window).map_or(0, |len| len.load(Ordering::Relaxed))
}

/// Puts the ladder of a heap that nobody knows yet into the entries of its windows (W1).
pub(crate) fn note_ladder(first: u32, windows: u32, ladder: Ladder) {
    let _guard = REGISTRY.lock();
    for window in first..first + windows {
        HEAP_OF[window as usize].store(name_of(first, ladder), Ordering::Relaxed);
    }
}

/// Makes a heap known under its window.
pub(crate) fn publish(core: *mut Core, window: u32) {
    let _guard = REGISTRY.lock();
    OPEN[window as usize].store(core, Ordering::Release);
}

/// Takes a heap out; nobody finds it any more.
pub(crate) fn withdraw(window: u32) {
    let _guard = REGISTRY.lock();
    OPEN[window as usize].store(ptr::null_mut(), Ordering::Release);
}

/// The open heap of that window, with one more holder.
pub(crate) fn hold(window: u32) -> Option<*mut Core> {
    if !(FIRST_WINDOW..END_WINDOW).contains(&window) {
        return None;
    }
    let _guard = REGISTRY.lock();
    let core = OPEN[window as usize].load(Ordering::Acquire);
    if core.is_null() {
        return None;
    }
    // SAFETY: published heaps are alive under the lock (W2).
    unsafe {
        if (*core).state.load(Ordering::Acquire) != state::OPEN {
            return None;
        }
        (*core).holders.fetch_add(1, Ordering::Relaxed);
    }
    Some(core)
}

/// Calls `visit` with every published heap.
///
/// # Safety
/// The registry is locked by the caller, or no other thread exists.
pub(crate) unsafe fn for_each_open(mut visit: impl FnMut(&Core)) {
    for entry in &OPEN {
        let core = entry.load(Ordering::Acquire);
        if !core.is_null() {
            // SAFETY: alive under the lock (W2).
            visit(unsafe { &*core });
        }
    }
}

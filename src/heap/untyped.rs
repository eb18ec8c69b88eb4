//! Blocks of a default heap for programs that free without saying what: C's.
//!
//! One of the two default heaps is chosen, when it is made, to be covered by a table from which the class of a block's unit
//! is read (`alloc::unit_classes`). The fast paths are those of [`super::allocate`] with that load in front; everything else
//! goes through [`with_heap`], which also serves threads that may have no thread heap any more.
//!
//! # Invariants
//! - **U1** `CHOSEN`, once set, is the covered heap, which is never closed.

use super::allocate::{self, Kind, kind_of};
use super::defaults;
use super::grow;
use super::handle::SalAlloc;
use crate::alloc::current::{self, Default};
use crate::alloc::growers::{self, GROWERS};
use crate::alloc::heap_core::{Core, Run};
use crate::alloc::size_class::{CLASSES, LOOKED_UP, Ladder, MAX_SMALL, class_of_last, class_size};
use crate::alloc::thread_heap::ThreadHeap;
use crate::alloc::{stray, unit_classes};
use crate::format::{PAGE, SEGMENT_UNITS};
use crate::os::CallError;
use core::alloc::Layout;
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize, Ordering};

/// What blocks without a layout are aligned to.
const ALIGN: usize = 16;

static CHOSEN: AtomicPtr<Core> = AtomicPtr::new(ptr::null_mut());
/// Which one that is, plus one; 0 before.
static WHICH: AtomicU32 = AtomicU32::new(0);
/// After how many freed bytes free memory is given back; 0 for never.
static PURGE_AFTER: AtomicUsize = AtomicUsize::new(0);
/// Bytes freed since that was done last, about.
static FREED: AtomicUsize = AtomicUsize::new(0);

/// Why there is nothing to be done with an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotOurs {
    /// It is outside of the heap's memory.
    Foreign,
    /// It is in the heap's memory, but in no block: the block was freed, or never was.
    NoBlock,
}

/// Covers a heap that is being made, unless another one is covered. Under the lock of those who make one.
pub(super) fn cover(which: Default, core: &Core) -> Result<(), CallError> {
    // Relaxed: under the lock. Tests of the table cover heaps of their own.
    if !cfg!(test) && CHOSEN.load(Ordering::Relaxed).is_null() {
        unit_classes::cover(core)?;
        WHICH.store(which as u32 + 1, Ordering::Relaxed);
        // Release pairs with the Acquire in `chosen`.
        CHOSEN.store(ptr::from_ref(core).cast_mut(), Ordering::Release);
    }
    Ok(())
}

#[inline]
fn chosen() -> Option<(&'static Core, Default)> {
    // Acquire pairs with the Release in `cover`.
    let core = CHOSEN.load(Ordering::Acquire);
    let which = match WHICH.load(Ordering::Relaxed) {
        1 => Default::Anonymous,
        _ => Default::File,
    };
    // SAFETY: never destroyed (U1).
    (!core.is_null()).then(|| (unsafe { &*core }, which))
}

/// Whether there is a heap to allocate from.
pub(crate) fn has_begun() -> bool {
    chosen().is_some()
}

/// Makes the heap, in memory or over a temporary file, unless there is one; false if that cannot be.
pub(crate) fn begin(over_file: bool) -> bool {
    let which = if over_file { Default::File } else { Default::Anonymous };
    // The first one that is made is covered; it may have been another.
    defaults::get(which).is_some() && has_begun()
}

/// The handle of the heap.
pub(crate) fn handle() -> Option<SalAlloc> {
    chosen().map(|(_, which)| match which {
        Default::Anonymous => SalAlloc::new(),
        Default::File => SalAlloc::file_backed(),
    })
}

/// Has free memory given back whenever so many bytes have been freed; 0 for never.
pub(crate) fn purge_after(bytes: usize) {
    // Relaxed: nothing follows from when it is seen.
    PURGE_AFTER.store(bytes, Ordering::Relaxed);
}

/// Gives all free memory back to the system; returns how many bytes.
pub(crate) fn purge() -> usize {
    let Some((core, _)) = chosen() else { return 0 };
    // SAFETY: the calling thread's own, or whoever has it stands for one.
    with_heap(|heap| unsafe { ThreadHeap::flush(heap) });
    core.purge(1)
}

/// Runs `work` with the calling thread's thread heap, or with the one for threads that have none. None before
/// [`begin`], and without memory.
#[cold]
fn with_heap<R>(work: impl FnOnce(*mut ThreadHeap) -> R) -> Option<R> {
    let heap = current::of_untyped();
    // SAFETY: reads a field that only its thread writes.
    if unsafe { !(*heap).core.is_null() } {
        return Some(work(heap));
    }
    let (core, which) = chosen()?;
    let heap = current::attach_untyped(which, core);
    if heap.is_null() { stray::with_stray(core, work) } else { Some(work(heap)) }
}

/// A block of at least `size` bytes, aligned to 16, if one is at hand and the size is below those that most blocks have.
#[inline(always)]
pub(crate) fn take_small(size: usize) -> Option<*mut u8> {
    let last = size.wrapping_sub(1);
    if last >= LOOKED_UP {
        return None;
    }
    // SAFETY: the calling thread's own, or the empty one.
    unsafe { ThreadHeap::allocate(current::of_untyped(), class_of_last(last)) }
}

/// A block of at least `size` bytes, aligned to 16, if one is at hand.
#[inline(always)]
pub(crate) fn take(size: usize) -> Option<*mut u8> {
    let last = size.wrapping_sub(1);
    if last >= MAX_SMALL {
        return None;
    }
    // SAFETY: the calling thread's own, or the empty one.
    unsafe { ThreadHeap::allocate(current::of_untyped(), class_of_last(last)) }
}

/// Takes a block back if there is room for it at hand.
///
/// # Safety
/// `block` is the caller's to free, or no block of this heap.
#[inline(always)]
pub(crate) unsafe fn give(block: *mut u8) -> bool {
    match unit_classes::number_at(block.addr()) {
        // SAFETY: the calling thread's own, or the empty one; the block's class (N1), or nothing happens.
        Some(number) => unsafe { ThreadHeap::free_numbered(current::of_untyped(), number, block) },
        None => false,
    }
}

/// A block for the layout; null without memory, and before [`begin`].
#[cold]
#[inline(never)]
pub(crate) fn allocate(layout: Layout, zeroed: bool) -> *mut u8 {
    with_heap(|heap| match kind_of(Ladder::Usual, layout) {
        Kind::Small(class) if zeroed => allocate::allocate_zeroed_slow(heap, class),
        Kind::Small(class) => allocate::allocate_slow(heap, class),
        Kind::Large => allocate::allocate_large_from(heap, layout, zeroed),
    })
    .unwrap_or(ptr::null_mut())
}

/// What lies at an address.
#[derive(Clone, Copy)]
enum Found {
    Small { class: usize },
    Large { core: &'static Core, len: usize },
    Grower { len: usize },
}

#[inline]
fn find(address: usize) -> Result<Found, NotOurs> {
    match unit_classes::number_at(address) {
        None if GROWERS.has(address) => match GROWERS.len_of(address) {
            Some(len) => Ok(Found::Grower { len }),
            None => Err(NotOurs::NoBlock),
        },
        None => Err(NotOurs::Foreign),
        Some(number @ 1..=CLASSES) => Ok(Found::Small { class: number - 1 }),
        Some(_) => {
            let (core, _) = chosen().ok_or(NotOurs::Foreign)?;
            // Not all of the heap's table can be read everywhere, but this looks first.
            match core.run_of(address) {
                Some(Run::Large { head, len_pages }) if core.address_of(head) == address => {
                    Ok(Found::Large { core, len: len_pages as usize * PAGE })
                }
                _ => Err(NotOurs::NoBlock),
            }
        }
    }
}

/// Frees a block.
///
/// # Safety
/// `block` is the caller's to free, or not in use by anybody as a block of this heap.
#[cold]
#[inline(never)]
pub(crate) unsafe fn free(block: *mut u8) -> Result<(), NotOurs> {
    let bytes = match find(block.addr())? {
        Found::Small { class } => {
            // Without memory for a thread heap the block is lost.
            with_heap(|heap| allocate::free_slow_unless(heap, class, block));
            // Half a magazine.
            class_size(class) * 64
        }
        Found::Large { core, len } => {
            // SAFETY: the calling thread's own, or whoever has it stands for one; the object is the caller's to give.
            if with_heap(|heap| unsafe { ThreadHeap::free_large(heap, block.addr()) }).is_none() {
                core.free_large(block.addr());
            }
            len
        }
        Found::Grower { len } => {
            // SAFETY: the caller's promise.
            unsafe { grow::free_grower(block) };
            len
        }
    };
    let after = PURGE_AFTER.load(Ordering::Relaxed);
    // Relaxed: only a count. Of two threads that come to the limit, one is soon there again.
    if after != 0 && FREED.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) >= after {
        FREED.store(0, Ordering::Relaxed);
        if let Some((core, _)) = chosen() {
            core.purge(SEGMENT_UNITS);
        }
    }
    Ok(())
}

/// Bytes that a block has.
#[inline]
pub(crate) fn usable_size(address: usize) -> Result<usize, NotOurs> {
    find(address).map(|found| match found {
        Found::Small { class } => class_size(class),
        Found::Large { len, .. } | Found::Grower { len } => len,
    })
}

/// Makes a block hold `size` bytes where it is, and not many more; false if it must move.
///
/// # Safety
/// `block` is the caller's.
#[inline]
pub(crate) unsafe fn resize_in_place(block: *mut u8, size: usize) -> Result<bool, NotOurs> {
    Ok(match find(block.addr())? {
        Found::Small { class } => size <= class_size(class) && size >= class_size(class) / 2,
        Found::Large { core, len } => {
            size > MAX_SMALL && (size.div_ceil(PAGE) * PAGE == len || core.resize_large(block.addr(), size))
        }
        Found::Grower { len } if size >= len / 2 => size > growers::LEAST && GROWERS.resize(block.addr(), size),
        Found::Grower { .. } => {
            let stays = size > MAX_SMALL;
            if stays {
                GROWERS.shrink(block.addr(), size);
            }
            stays
        }
    })
}

/// A place to grow on for a block of the heap that must move to hold `size` bytes, if it has been shorter.
pub(crate) fn take_to_grow(block: *mut u8, size: usize) -> Option<*mut u8> {
    let (_, which) = chosen()?;
    let layout = Layout::from_size_align(size, ALIGN).ok()?;
    let is_shorter = usable_size(block.addr()).is_ok_and(|usable| usable < size);
    if is_shorter { grow::take_grower(SalAlloc::of_default(which), layout) } else { None }
}

//! From one layout to another: in place where that can be, otherwise by a move.
//!
//! A block of the default heap that has to move because it has grown moves to where it can go on growing
//! ([`crate::alloc::growers`]). Which blocks those are is told by their addresses, and only layouts that are not common
//! ([`super::allocate`]) have any, so that most frees never ask.

use super::allocate::{Kind, allocate, free, kind_of, resize_large};
use super::handle::SalAlloc;
use crate::alloc::current::{self, Default};
use crate::alloc::growers::{self, GROWERS, Hints, Moved};
use crate::alloc::size_class::Ladder;
use crate::alloc::thread_heap::ThreadHeap;
use crate::alloc::tuning::purge;
use crate::format::PAGE;
use core::alloc::Layout;
use core::ptr;
use core::sync::atomic::Ordering;

/// Whether a block of that layout is a grower.
#[inline(always)]
pub(super) fn is_grower(heap: SalAlloc, block: *mut u8, layout: Layout) -> bool {
    // What is told by the address alone first: no other block goes any further.
    growers::is_near(block.addr()) && is_grower_nearby(heap, block, layout)
}

#[cold]
#[inline(never)]
fn is_grower_nearby(heap: SalAlloc, block: *mut u8, layout: Layout) -> bool {
    let is_long = matches!(kind_of(Ladder::Usual, layout), Kind::Large)
        || layout.size().next_multiple_of(layout.align()) > growers::LEAST;
    heap == SalAlloc::new() && is_long && GROWERS.has(block.addr())
}

/// # Safety
/// The block is a grower, and the caller's to give.
#[cold]
#[inline(never)]
pub(super) unsafe fn free_grower(block: *mut u8) {
    let heap = current::of_default(Default::Anonymous);
    // SAFETY: the calling thread's own, or the empty one, whose heap is none; a heap outlives its thread heaps.
    unsafe {
        let Some(core) = (*heap).core.as_ref() else { return GROWERS.free(block.addr(), &mut Hints::of_thread(1)) };
        // SAFETY: no other hints of the thread are alive; the block is the caller's to give.
        GROWERS.free(block.addr(), ThreadHeap::grower_hints(heap));
        // Relaxed: settings.
        let tuning = &core.tuning;
        if tuning.purge.load(Ordering::Relaxed) == purge::EAGER || tuning.thread_units.load(Ordering::Relaxed) == 0 {
            GROWERS.discard(core, block.addr());
        }
    }
}

/// Makes a block fit another size without moving it; false if it must move.
///
/// # Safety
/// As for [`free`], but that the block stays in use.
#[inline]
unsafe fn resize_in_place(heap: SalAlloc, block: *mut u8, old: Layout, new: Layout) -> bool {
    #[cfg(feature = "checked")]
    if !super::checked::may_resize(heap.place(), block, old) {
        return false;
    }
    if is_grower(heap, block, old) {
        // SAFETY: the caller's promise.
        return unsafe { resize_grower(block, old, new) };
    }
    let fits = match (kind_of(Ladder::Usual, old), kind_of(Ladder::Usual, new)) {
        (Kind::Small(of_old), Kind::Small(of_new)) => of_old == of_new && share_class(heap, old, new),
        (Kind::Large, Kind::Large) => resize_large(heap.place(), block, new.size()),
        _ => false,
    };
    #[cfg(feature = "checked")]
    if fits {
        super::checked::resized(heap.place(), block, new);
    }
    fits
}

/// Whether layouts that share a class of the usual ladder share one of the heap's: others share none (C4).
#[inline(always)]
fn share_class(heap: SalAlloc, old: Layout, new: Layout) -> bool {
    heap == SalAlloc::new() || kind_of(heap.ladder(), old) == kind_of(heap.ladder(), new)
}

/// As [`resize_in_place`], of a grower.
///
/// # Safety
/// As there.
#[inline(always)]
unsafe fn resize_grower(block: *mut u8, old: Layout, new: Layout) -> bool {
    if new.size() >= old.size() { GROWERS.resize(block.addr(), new.size()) } else { shrink_grower(block, old, new) }
}

/// A small block that shrinks is a grower no more: it will hardly grow again, and it may not be one at its new size.
#[cold]
#[inline(never)]
fn shrink_grower(block: *mut u8, old: Layout, new: Layout) -> bool {
    let stays = match kind_of(Ladder::Usual, new) {
        Kind::Small(_) => kind_of(Ladder::Usual, old) == kind_of(Ladder::Usual, new),
        Kind::Large => true,
    };
    if stays {
        GROWERS.shrink(block.addr(), new.size());
    }
    stays
}

/// A place to grow on for a block that must move because it has grown.
#[inline]
pub(super) fn take_grower(heap: SalAlloc, new: Layout) -> Option<*mut u8> {
    let is_long = new.size() > growers::LEAST_TAKEN && new.align() <= growers::ALIGN;
    if heap != SalAlloc::new() || !is_long {
        return None;
    }
    let heap = current::of_default(Default::Anonymous);
    // SAFETY: the calling thread's own, or the empty one, whose heap is none; no other hints of the thread are alive.
    unsafe {
        let has_none = (*heap).core.is_null();
        if has_none { None } else { GROWERS.take(new.size(), ThreadHeap::grower_hints(heap)) }
    }
}

/// Gives the contents of a block a block of another size: in place, or by copying. Null, and the old
/// block stays, if there is no room.
///
/// # Safety
/// As for [`free`]; `new` has the alignment of `old` or a smaller one.
#[inline]
pub(super) unsafe fn reallocate(heap: SalAlloc, block: *mut u8, old: Layout, new: Layout) -> *mut u8 {
    // SAFETY: the caller's promise; the old block is freed once, after its contents have been taken.
    unsafe {
        if resize_in_place(heap, block, old, new) {
            return block;
        }
        let grower = if new.size() > old.size() { take_grower(heap, new) } else { None };
        if let (Some(grower), Kind::Large) = (grower, kind_of(Ladder::Usual, old)) {
            return move_to_grower(heap, block, grower, old, new);
        }
        let moved = grower.unwrap_or_else(|| allocate(heap, new));
        move_contents(heap, block, moved, old, new)
    }
}

/// Gives a block's contents to another one, which may be null, and frees it then.
///
/// # Safety
/// As for [`free`]; the other block is the caller's, has the new layout, and is not the same.
#[inline(always)]
unsafe fn move_contents(heap: SalAlloc, block: *mut u8, moved: *mut u8, old: Layout, new: Layout) -> *mut u8 {
    // SAFETY: the caller's promise; the old block is freed once, after its contents have been taken.
    unsafe {
        if !moved.is_null() {
            ptr::copy_nonoverlapping(block, moved, old.size().min(new.size()));
            free(heap, block, old);
        }
        moved
    }
}

/// As [`move_contents`], from a large block to a grower that is longer; of a long one pages are moved and not bytes.
///
/// # Safety
/// As there.
#[cold]
#[inline(never)]
unsafe fn move_to_grower(heap: SalAlloc, block: *mut u8, grower: *mut u8, old: Layout, new: Layout) -> *mut u8 {
    // SAFETY: the caller's promise. A large block that is no grower has whole pages of the heap, which is anonymous memory.
    unsafe {
        let moved = if GROWERS.has(block.addr()) {
            Moved::No
        } else {
            GROWERS.move_in(grower.addr(), block.addr(), old.size().next_multiple_of(PAGE))
        };
        match moved {
            Moved::Yes => {
                free(heap, block, old);
                grower
            }
            Moved::No => move_contents(heap, block, grower, old, new),
            Moved::Lost => move_contents(heap, block, allocate(heap, new), old, new),
        }
    }
}

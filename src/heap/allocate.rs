//! From a layout to a block: the way that every allocation takes.
//!
//! 1. The size is rounded up to the alignment, which leads to a class whose blocks are aligned (C2). Which ladder of classes
//!    the heap has, its handle says.
//! 2. The calling thread's thread heap is found: one load from thread-local storage for a default heap, a compare more
//!    for a file heap.
//! 3. Its magazine of the class is popped, or refilled first ([`ThreadHeap::allocate_slow`]). That of a file heap is
//!    popped only if the heap is open still ([`ThreadHeap::allocate_unless_closed`]); what is more than that is done while
//!    the heap cannot be closed ([`current::with_window`]).
//!
//! Freeing goes the same way back and touches neither the block nor the slab: the layout names the class. What is
//! larger than [`MAX_SMALL`] is a run of units of its own.

use super::defaults;
use super::grow::{free_grower, is_grower};
use super::handle::{Place, SalAlloc};
use super::seal::protect;
use super::watermarks;
use super::withheld::{self, Freed};
use crate::alloc::current::{self, Default};
use crate::alloc::growers;
use crate::alloc::heap_core::Core;
use crate::alloc::size_class::{
    LEAST_ALIGN, LOOKED_UP, Ladder, MAX_SMALL, class_align, class_of_last, class_size, fine_class_of_last,
};
use crate::alloc::thread_heap::{ThreadHeap, is_medium};
use crate::format::PAGE;
use core::alloc::Layout;
use core::ptr;
use core::sync::atomic::Ordering;

/// What a layout asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Small(usize),
    Large,
}

/// The usual class of a layout that most allocations have: of up to 1 KiB, and aligned as all blocks are.
#[inline(always)]
const fn class_of_common(layout: Layout) -> Option<usize> {
    const { assert!(LOOKED_UP % LEAST_ALIGN == 0) };
    let last = layout.size().wrapping_sub(1);
    // One test for both: an alignment up to the least scales to less than the limit, and a larger one to more.
    if (last | ((layout.align() - 1) * (LOOKED_UP / LEAST_ALIGN))) < LOOKED_UP {
        Some(class_of_last(last))
    } else {
        None
    }
}

/// What [`class_of_common`] is in a heap other than the default one.
#[inline(always)]
const fn class_elsewhere(heap: SalAlloc, class: usize, layout: Layout) -> usize {
    match heap.ladder() {
        Ladder::Usual => class,
        Ladder::Fine => fine_class_of_last(layout.size().wrapping_sub(1)),
    }
}

/// Whether a layout's block lies in a slab, and of which class of the ladder. A layout without a size counts as large.
#[inline(always)]
pub(super) const fn kind_of(ladder: Ladder, layout: Layout) -> Kind {
    // Cannot overflow: `Layout` promises that the rounded size fits.
    let rounded = (layout.size() + layout.align() - 1) & !(layout.align() - 1);
    let last = rounded.wrapping_sub(1);
    if last < MAX_SMALL { Kind::Small(ladder.class_of_last(last)) } else { Kind::Large }
}

/// Bytes that the block of a layout really has in a heap with that ladder.
#[inline(always)]
pub(super) const fn usable_size(ladder: Ladder, layout: Layout) -> usize {
    match kind_of(ladder, layout) {
        Kind::Small(class) => class_size(class),
        Kind::Large => layout.size().next_multiple_of(PAGE),
    }
}

/// Allocates; null if the heap has no room or is not open.
#[inline(always)]
pub(super) fn allocate(heap: SalAlloc, layout: Layout) -> *mut u8 {
    #[cfg(feature = "checked")]
    return super::checked::allocated(heap.place(), layout, allocate_unchecked(heap, layout));
    #[cfg(not(feature = "checked"))]
    allocate_unchecked(heap, layout)
}

/// What is short enough to become part of the caller; the rest stands apart, so that it does.
#[inline(always)]
fn allocate_unchecked(heap: SalAlloc, layout: Layout) -> *mut u8 {
    match class_of_common(layout) {
        Some(class) if heap == SalAlloc::new() => allocate_default(Default::Anonymous, class),
        Some(class) => allocate_elsewhere(heap, class_elsewhere(heap, class, layout)),
        None if heap == SalAlloc::new() => allocate_default_other(layout),
        None => allocate_other(heap, layout),
    }
}

#[inline(never)]
fn allocate_default_other(layout: Layout) -> *mut u8 {
    match kind_of(Ladder::Usual, layout) {
        Kind::Small(class) => allocate_default(Default::Anonymous, class),
        Kind::Large => allocate_default_large(layout),
    }
}

#[inline(never)]
fn allocate_other(heap: SalAlloc, layout: Layout) -> *mut u8 {
    match kind_of(heap.ladder(), layout) {
        Kind::Small(class) => allocate_elsewhere(heap, class),
        Kind::Large => allocate_large(heap.place(), layout, false),
    }
}

#[inline(always)]
fn allocate_elsewhere(heap: SalAlloc, class: usize) -> *mut u8 {
    match heap.place() {
        Place::Default(which) => allocate_default(which, class),
        Place::Window(name) => {
            // SAFETY: the calling thread's own, or the empty one.
            match unsafe { ThreadHeap::allocate_unless_closed(current::of_window(name), class) } {
                Some(block) => block,
                None => allocate_window_slow(name, class),
            }
        }
    }
}

#[inline(always)]
fn allocate_default(which: Default, class: usize) -> *mut u8 {
    // SAFETY: the calling thread's own, or the empty one.
    match unsafe { ThreadHeap::allocate(current::of_default(which), class) } {
        Some(block) => block,
        None => allocate_default_slow(which, class),
    }
}

#[inline(always)]
fn allocate_default_large(layout: Layout) -> *mut u8 {
    let heap = current::of_default(Default::Anonymous);
    // SAFETY: the calling thread's own, or the empty one.
    let block = unsafe { ThreadHeap::reuse_large_at_once(heap, layout.size(), layout.align(), false) };
    if block.is_null() { allocate_large(Place::Default(Default::Anonymous), layout, false) } else { block }
}

/// The calling thread's thread heap of a default heap, made if need be.
#[inline(always)]
fn default_heap(which: Default) -> Option<*mut ThreadHeap> {
    let heap = current::of_default(which);
    // SAFETY: reads a field that only its thread writes.
    if unsafe { !(*heap).core.is_null() } { Some(heap) } else { make_default_heap(which) }
}

#[cold]
#[inline(never)]
fn make_default_heap(which: Default) -> Option<*mut ThreadHeap> {
    let heap = current::attach_default(which, defaults::get(which)?);
    (!heap.is_null()).then_some(heap)
}

#[cold]
#[inline(never)]
fn allocate_default_slow(which: Default, class: usize) -> *mut u8 {
    default_heap(which).map_or(ptr::null_mut(), |heap| allocate_slow(heap, class))
}

/// From outside of the heap, so that what is to be told can be told after it.
#[cold]
#[inline(never)]
fn allocate_window_slow(name: u32, class: usize) -> *mut u8 {
    in_window(name, |heap| allocate_slow(heap, class)).unwrap_or(ptr::null_mut())
}

/// Runs `work` as [`current::with_window`] does; then tells whatever mark has been passed.
fn in_window<R>(name: u32, work: impl FnOnce(*mut ThreadHeap) -> R) -> Option<R> {
    let (done, has_news) = current::with_window(name, |heap| {
        let done = work(heap);
        // SAFETY: the heap is open, and outlives its thread heaps.
        (done, unsafe { (*(*heap).core).marks.has_news() })
    })?;
    if has_news {
        watermarks::tell_news(name);
    }
    Some(done)
}

/// A block of the class near another one of the heap, if there is one at hand.
#[inline(never)]
pub(super) fn allocate_near(heap: SalAlloc, class: usize, address: usize) -> Option<*mut u8> {
    // SAFETY: the calling thread's own, of an open heap.
    let from = |heap| unsafe { ThreadHeap::allocate_near(heap, class, address) };
    match heap.place() {
        Place::Default(which) => default_heap(which).and_then(from),
        Place::Window(name) => in_window(name, from).flatten(),
    }
}

/// A block from a slab, or one that stands alone if there is no room for a whole slab.
#[cold]
#[inline(never)]
pub(super) fn allocate_slow(heap: *mut ThreadHeap, class: usize) -> *mut u8 {
    // SAFETY: the calling thread's own, whose magazine is empty.
    let take = || unsafe {
        let block = ThreadHeap::allocate(heap, class).unwrap_or_else(|| ThreadHeap::allocate_slow(heap, class));
        if block.is_null() && is_medium(class) {
            return (*(*heap).core).allocate_large(class_size(class), class_align(class), false);
        }
        block
    };
    or_after_flush(heap, take)
}

/// What `take` gets from a heap; if it gets nothing, once more after the thread has given back what it keeps at hand, and again
/// when the blocks have been freed that waited for that.
#[inline]
fn or_after_flush(heap: *mut ThreadHeap, take: impl Fn() -> *mut u8) -> *mut u8 {
    let block = take();
    if !block.is_null() {
        return block;
    }
    // SAFETY: the calling thread's own, of an open heap.
    unsafe { ThreadHeap::flush(heap) };
    let block = take();
    // SAFETY: as above, and this thread is not in the midst of anything there.
    if !block.is_null() || !unsafe { protect::free_withheld(heap) } {
        return block;
    }
    // SAFETY: as above.
    unsafe { ThreadHeap::flush(heap) };
    take()
}

/// Runs `work` with the heap, if it is open.
#[inline]
pub(super) fn with_core<R>(place: Place, work: impl FnOnce(&Core) -> R) -> Option<R> {
    match place {
        Place::Default(which) => defaults::get(which).map(work),
        // SAFETY: the heap is open while the closure runs, and outlives its thread heaps.
        Place::Window(name) => current::with_window(name, |heap| work(unsafe { &*(*heap).core })),
    }
}

#[inline(never)]
fn allocate_large(place: Place, layout: Layout, zeroed: bool) -> *mut u8 {
    let from = |heap| allocate_large_from(heap, layout, zeroed);
    match place {
        Place::Default(which) => default_heap(which).map_or(ptr::null_mut(), from),
        Place::Window(name) => in_window(name, from).unwrap_or(ptr::null_mut()),
    }
}

/// A large object from the runs at hand, or from the units of the thread heap's heap.
#[inline]
pub(super) fn allocate_large_from(heap: *mut ThreadHeap, layout: Layout, zeroed: bool) -> *mut u8 {
    // SAFETY: the calling thread's own, of an open heap, which outlives it.
    unsafe {
        let block = ThreadHeap::reuse_large(heap, layout.size(), layout.align(), zeroed);
        if !block.is_null() {
            return block;
        }
        or_after_flush(heap, || (*(*heap).core).allocate_large(layout.size(), layout.align(), zeroed))
    }
}

/// Allocates zeros; memory that reads as zeros already is not written.
#[inline]
pub(super) fn allocate_zeroed(heap: SalAlloc, layout: Layout) -> *mut u8 {
    let place = heap.place();
    let block = match kind_of(heap.ladder(), layout) {
        Kind::Large => allocate_large(place, layout, true),
        Kind::Small(class) => allocate_small_zeroed(place, class),
    };
    #[cfg(feature = "checked")]
    return super::checked::allocated(place, layout, block);
    #[cfg(not(feature = "checked"))]
    block
}

/// Allocates a run of pages, for any layout with a size; null as for [`allocate`].
pub(super) fn allocate_run(place: Place, layout: Layout, zeroed: bool) -> *mut u8 {
    let block = allocate_large(place, layout, zeroed);
    #[cfg(feature = "checked")]
    return super::checked::allocated(place, layout, block);
    #[cfg(not(feature = "checked"))]
    block
}

#[inline]
fn allocate_small_zeroed(place: Place, class: usize) -> *mut u8 {
    let from = |heap| allocate_zeroed_slow(heap, class);
    match place {
        Place::Default(which) => default_heap(which).map_or(ptr::null_mut(), from),
        Place::Window(name) => in_window(name, from).unwrap_or(ptr::null_mut()),
    }
}

/// A block of zeros from a slab, or one that stands alone.
#[inline]
pub(super) fn allocate_zeroed_slow(heap: *mut ThreadHeap, class: usize) -> *mut u8 {
    // SAFETY: the calling thread's own, of an open heap.
    or_after_flush(heap, || unsafe {
        let block = ThreadHeap::allocate_zeroed(heap, class);
        if block.is_null() && is_medium(class) {
            return (*(*heap).core).allocate_large(class_size(class), class_align(class), true);
        }
        block
    })
}

/// Frees a block.
///
/// # Safety
/// `block` was allocated from `place` with `layout` or one that fits the same block, and nobody uses it any more.
#[inline(always)]
pub(super) unsafe fn free(heap: SalAlloc, block: *mut u8, layout: Layout) {
    #[cfg(feature = "checked")]
    if !super::checked::freed(heap.place(), block, layout) {
        return;
    }
    // SAFETY: the caller's promise.
    unsafe { free_unchecked(heap, block, layout) }
}

/// As short as [`allocate_unchecked`].
#[inline(always)]
unsafe fn free_unchecked(heap: SalAlloc, block: *mut u8, layout: Layout) {
    // SAFETY: the caller's promise.
    unsafe {
        if heap != SalAlloc::new() {
            return free_elsewhere(heap, block, layout);
        }
        match class_of_common(layout) {
            Some(class) => free_default(Default::Anonymous, class, block),
            None => free_default_other(block, layout),
        }
    }
}

/// # Safety
/// As for [`free`], of a block of the default heap.
#[inline(never)]
unsafe fn free_default_other(block: *mut u8, layout: Layout) {
    // What is told by the address alone first: no other block goes any further.
    if growers::is_near(block.addr()) {
        // SAFETY: the caller's promise.
        return unsafe { free_near_growers(block, layout) };
    }
    // SAFETY: the caller's promise; no grower lies elsewhere.
    unsafe { free_run_or_small(block, layout) }
}

/// # Safety
/// As for [`free`], of a block of the default heap.
#[cold]
#[inline(never)]
unsafe fn free_near_growers(block: *mut u8, layout: Layout) {
    // SAFETY: the caller's promise.
    unsafe {
        if is_grower(SalAlloc::new(), block, layout) {
            free_grower(block);
        } else {
            free_run_or_small(block, layout);
        }
    }
}

/// # Safety
/// As for [`free`], of a block of the default heap that is no grower.
#[inline(always)]
unsafe fn free_run_or_small(block: *mut u8, layout: Layout) {
    match kind_of(Ladder::Usual, layout) {
        // SAFETY: the caller's promise.
        Kind::Small(class) => unsafe { free_default(Default::Anonymous, class, block) },
        Kind::Large => free_default_large(Default::Anonymous, block),
    }
}

/// # Safety
/// As for [`free`].
#[inline(never)]
unsafe fn free_other(heap: SalAlloc, block: *mut u8, layout: Layout) {
    match kind_of(heap.ladder(), layout) {
        // SAFETY: the caller's promise.
        Kind::Small(class) => unsafe { free_class_elsewhere(heap, class, block) },
        Kind::Large => free_large(heap.place(), block, layout.size()),
    }
}

/// What a caller of [`free`] has of all heaps but the default one: a call. The rest would keep `free` from becoming part of it.
///
/// # Safety
/// As for [`free`].
#[inline(never)]
unsafe fn free_elsewhere(heap: SalAlloc, block: *mut u8, layout: Layout) {
    // SAFETY: the caller's promise.
    unsafe {
        match class_of_common(layout) {
            Some(class) => free_class_elsewhere(heap, class_elsewhere(heap, class, layout), block),
            None => free_other(heap, block, layout),
        }
    }
}

/// Everything but the shortest way ends in another call, so that this one saves no register.
///
/// # Safety
/// As for [`free`], of a block of the class. So it is for the next two.
#[inline(always)]
unsafe fn free_class_elsewhere(heap: SalAlloc, class: usize, block: *mut u8) {
    // SAFETY: the caller's promise; the thread heap is the calling thread's own, or the empty one.
    unsafe {
        let Place::Window(name) = heap.place() else { return free_default_file(class, block) };
        if !ThreadHeap::free_unless_closed(current::of_window(name), class, block) {
            free_window_slow(name, class, block);
        }
    }
}

#[inline(never)]
unsafe fn free_default_file(class: usize, block: *mut u8) {
    // SAFETY: the caller's promise.
    unsafe { free_default(Default::File, class, block) }
}

#[inline(always)]
unsafe fn free_default(which: Default, class: usize, block: *mut u8) {
    // SAFETY: the calling thread's own, or the empty one; the block is the caller's to give.
    if unsafe { !ThreadHeap::free(current::of_default(which), class, block) } {
        free_default_slow(which, class, block);
    }
}

/// # Safety
/// As for [`free`], of a block of the class.
#[cold]
#[inline(never)]
unsafe fn free_window_slow(name: u32, class: usize, block: *mut u8) {
    // A closed heap takes nothing back.
    current::with_window(name, |heap| {
        if withheld::take(name, block.addr(), Freed::OfClass(class)) {
            return;
        }
        // SAFETY: the heap is open; the block is the caller's to give and of the class.
        unsafe { scrub(&*(*heap).core, block, class_size(class)) };
        free_slow_unless(heap, class, block);
    });
}

/// Frees a block that was withheld.
///
/// # Safety
/// The block was freed by its owner, and is not given back yet.
pub(super) unsafe fn free_withheld(heap: SalAlloc, block: *mut u8, freed: Freed) {
    let Place::Window(name) = heap.place() else { return };
    match freed {
        // SAFETY: the caller's promise.
        Freed::OfClass(class) => unsafe { free_window_slow(name, class, block) },
        Freed::Large(len) => free_window_large(name, block, len),
        // Its count is to be ended first.
        Freed::Counted(_) => {}
    }
}

/// Overwrites a block, or a part of one, that is about to be freed, if the heap wants that: all of it, since it may have been
/// longer, and the program may use the bytes behind the size it asked for.
///
/// # Safety
/// The block is the caller's, of at least `len` bytes.
#[inline(always)]
pub(super) unsafe fn scrub(core: &Core, block: *mut u8, len: usize) {
    // Relaxed: set before the heap was published.
    if core.scrub_freed.load(Ordering::Relaxed) {
        // SAFETY: the caller's promise.
        unsafe { block.write_bytes(0, len) };
    }
}

#[inline(always)]
pub(super) fn free_slow_unless(heap: *mut ThreadHeap, class: usize, block: *mut u8) {
    // SAFETY: the calling thread's own; the block is the caller's to give.
    unsafe {
        if !ThreadHeap::free(heap, class, block) {
            ThreadHeap::free_slow(heap, class, block);
        }
    }
}

#[cold]
#[inline(never)]
fn free_default_slow(which: Default, class: usize, block: *mut u8) {
    if let Some(heap) = default_heap(which) {
        free_slow_unless(heap, class, block);
    }
}

#[inline(never)]
fn free_large(place: Place, block: *mut u8, len: usize) {
    match place {
        Place::Default(which) => free_default_large(which, block),
        Place::Window(name) => free_window_large(name, block, len),
    }
}

#[inline(always)]
fn free_default_large(which: Default, block: *mut u8) {
    let heap = current::of_default(which);
    // SAFETY: the calling thread's own, or the empty one; as for `free`, whose caller's block this is.
    unsafe {
        if (*heap).core.is_null() {
            free_default_large_slow(which, block);
        } else {
            ThreadHeap::free_large(heap, block.addr());
        }
    }
}

#[cold]
#[inline(never)]
fn free_default_large_slow(which: Default, block: *mut u8) {
    if let Some(heap) = default_heap(which) {
        // SAFETY: the calling thread's own; as for `free`, whose caller's block this is.
        unsafe { ThreadHeap::free_large(heap, block.addr()) };
    } else if let Some(core) = defaults::made(which) {
        core.free_large(block.addr());
    }
}

#[inline(never)]
fn free_window_large(name: u32, block: *mut u8, len: usize) {
    // A closed heap takes nothing back.
    current::with_window(name, |heap| {
        if withheld::take(name, block.addr(), Freed::Large(len)) {
            return;
        }
        // SAFETY: the calling thread's own, of an open heap; as for `free`, whose caller's block this is.
        unsafe {
            scrub(&*(*heap).core, block, len.next_multiple_of(PAGE));
            ThreadHeap::free_large(heap, block.addr());
        }
    });
}

/// Frees a run of [`allocate_run`].
///
/// # Safety
/// As for [`free`].
pub(super) unsafe fn free_run(place: Place, run: *mut u8, layout: Layout) {
    #[cfg(feature = "checked")]
    if !super::checked::freed(place, run, layout) {
        return;
    }
    free_large(place, run, layout.size());
}

/// Makes a run of [`allocate_run`] fit another size without moving it; false if it cannot.
///
/// # Safety
/// As for [`resize_in_place`].
pub(super) unsafe fn resize_run(place: Place, run: *mut u8, old: Layout, new: Layout) -> bool {
    #[cfg(feature = "checked")]
    if !super::checked::may_resize(place, run, old) {
        return false;
    }
    // Only the checked build asks what it was.
    let _ = old;
    let fits = resize_large(place, run, new.size());
    #[cfg(feature = "checked")]
    if fits {
        super::checked::resized(place, run, new);
    }
    fits
}

pub(super) fn resize_large(place: Place, block: *mut u8, size: usize) -> bool {
    let resize = |core: &Core| {
        let (pages, wanted) = (core.large_len_pages(block.addr()).unwrap_or(0), size.div_ceil(PAGE));
        if wanted < pages {
            // SAFETY: the caller's block, which is about to lose these pages.
            unsafe { scrub(core, block.add(wanted * PAGE), (pages - wanted) * PAGE) };
        }
        pages == wanted || core.resize_large(block.addr(), size)
    };
    match place {
        Place::Default(which) => defaults::get(which).is_some_and(resize),
        // SAFETY: the heap is open while the closure runs, and outlives its thread heaps.
        Place::Window(name) => in_window(name, |heap| resize(unsafe { &*(*heap).core })) == Some(true),
    }
}

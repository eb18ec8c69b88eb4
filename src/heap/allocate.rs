//! From a layout to a block: the way that every allocation takes.
//!
//! 1. The size is rounded up to the alignment, which leads to a class whose blocks are aligned (C2).
//! 2. The calling thread's thread heap is found: one load from thread-local storage for a default heap, a compare more
//!    for a file heap.
//! 3. Its magazine of the class is popped, or refilled first ([`ThreadHeap::allocate_slow`]).
//!
//! Freeing goes the same way back and touches neither the block nor the slab: the layout names the class. What is
//! larger than [`MAX_SMALL`] is a run of units of its own.

use super::defaults;
use super::handle::Place;
use super::watermarks;
use crate::alloc::current::{self, Default};
use crate::alloc::growers::{self, GROWERS, Hints, Moved};
use crate::alloc::heap_core::Core;
use crate::alloc::size_class::{MAX_SMALL, class_align, class_of_last, class_size};
use crate::alloc::thread_heap::{ThreadHeap, is_medium};
use crate::alloc::tuning::purge;
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

/// Whether a layout's block lies in a slab, and of which class. A layout without a size counts as large.
#[inline(always)]
pub(super) const fn kind_of(layout: Layout) -> Kind {
    // Cannot overflow: `Layout` promises that the rounded size fits.
    let rounded = (layout.size() + layout.align() - 1) & !(layout.align() - 1);
    let last = rounded.wrapping_sub(1);
    if last < MAX_SMALL { Kind::Small(class_of_last(last)) } else { Kind::Large }
}

/// Bytes that the block of a layout really has.
#[inline(always)]
pub(super) const fn usable_size(layout: Layout) -> usize {
    match kind_of(layout) {
        Kind::Small(class) => class_size(class),
        Kind::Large => layout.size().next_multiple_of(PAGE),
    }
}

/// Allocates; null if the heap has no room or is not open.
#[inline(always)]
pub(super) fn allocate(place: Place, layout: Layout) -> *mut u8 {
    #[cfg(feature = "checked")]
    return super::checked::allocated(place, layout, allocate_unchecked(place, layout));
    #[cfg(not(feature = "checked"))]
    allocate_unchecked(place, layout)
}

#[inline(always)]
fn allocate_unchecked(place: Place, layout: Layout) -> *mut u8 {
    let Kind::Small(class) = kind_of(layout) else { return allocate_large(place, layout, false) };
    match place {
        Place::Default(which) => {
            // SAFETY: the calling thread's own, or the empty one.
            match unsafe { ThreadHeap::allocate(current::of_default(which), class) } {
                Some(block) => block,
                None => allocate_default_slow(which, class),
            }
        }
        Place::Window(window) => {
            // SAFETY: the calling thread's own, of an open heap.
            match current::with_window(window, |heap| unsafe { ThreadHeap::allocate(heap, class) }) {
                Some(Some(block)) => block,
                _ => allocate_window_slow(window, class),
            }
        }
    }
}

/// The calling thread's thread heap of a default heap, made if need be.
fn default_heap(which: Default) -> Option<*mut ThreadHeap> {
    let heap = current::of_default(which);
    // SAFETY: reads a field that only its thread writes.
    if unsafe { !(*heap).core.is_null() } {
        return Some(heap);
    }
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
fn allocate_window_slow(window: u32, class: usize) -> *mut u8 {
    in_window(window, |heap| allocate_slow(heap, class)).unwrap_or(ptr::null_mut())
}

/// Runs `work` as [`current::with_window`] does; then tells whatever mark has been passed.
fn in_window<R>(window: u32, work: impl FnOnce(*mut ThreadHeap) -> R) -> Option<R> {
    let (done, has_news) = current::with_window(window, |heap| {
        let done = work(heap);
        // SAFETY: the heap is open, and outlives its thread heaps.
        (done, unsafe { (*(*heap).core).marks.has_news() })
    })?;
    if has_news {
        watermarks::tell_news(window);
    }
    Some(done)
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

/// What `take` gets from a heap; if it gets nothing, once more after the thread has given back what it keeps at hand.
#[inline]
fn or_after_flush(heap: *mut ThreadHeap, take: impl Fn() -> *mut u8) -> *mut u8 {
    let block = take();
    if !block.is_null() {
        return block;
    }
    // SAFETY: the calling thread's own, of an open heap.
    unsafe { ThreadHeap::flush(heap) };
    take()
}

/// Runs `work` with the heap, if it is open.
#[inline]
pub(super) fn with_core<R>(place: Place, work: impl FnOnce(&Core) -> R) -> Option<R> {
    match place {
        Place::Default(which) => defaults::get(which).map(work),
        // SAFETY: the heap is open while the closure runs, and outlives its thread heaps.
        Place::Window(window) => current::with_window(window, |heap| work(unsafe { &*(*heap).core })),
    }
}

#[inline(never)]
fn allocate_large(place: Place, layout: Layout, zeroed: bool) -> *mut u8 {
    let from = |heap| allocate_large_from(heap, layout, zeroed);
    match place {
        Place::Default(which) => default_heap(which).map_or(ptr::null_mut(), from),
        Place::Window(window) => in_window(window, from).unwrap_or(ptr::null_mut()),
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
pub(super) fn allocate_zeroed(place: Place, layout: Layout) -> *mut u8 {
    let block = match kind_of(layout) {
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
        Place::Window(window) => in_window(window, from).unwrap_or(ptr::null_mut()),
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
pub(super) unsafe fn free(place: Place, block: *mut u8, layout: Layout) {
    #[cfg(feature = "checked")]
    if !super::checked::freed(place, block, layout) {
        return;
    }
    // SAFETY: the caller's promise.
    unsafe { free_unchecked(place, block, layout) }
}

#[inline(always)]
unsafe fn free_unchecked(place: Place, block: *mut u8, layout: Layout) {
    if is_near_growers(place, block, layout) {
        // SAFETY: the block is the caller's to give.
        return unsafe { free_near_growers(place, block, layout) };
    }
    // SAFETY: the caller's promise.
    unsafe { free_ordinary(place, block, layout) }
}

/// As [`free_unchecked`], of a block that is no grower.
///
/// # Safety
/// As for [`free`].
#[inline(always)]
unsafe fn free_ordinary(place: Place, block: *mut u8, layout: Layout) {
    let Kind::Small(class) = kind_of(layout) else { return free_large(place, block, layout.size()) };
    match place {
        Place::Default(which) => {
            // SAFETY: the calling thread's own, or the empty one; the block is the caller's to give.
            if unsafe { !ThreadHeap::free(current::of_default(which), class, block) } {
                free_default_slow(which, class, block);
            }
        }
        Place::Window(window) => {
            // A closed heap takes nothing back.
            current::with_window(window, |heap| {
                // SAFETY: the heap is open; the block is the caller's to give and as large as its layout says.
                unsafe { scrub(&*(*heap).core, block, layout.size()) };
                free_slow_unless(heap, class, block);
            });
        }
    }
}

/// Whether a block of that layout lies where growers do. Of a small layout that the compiler knows this costs nothing, of any
/// other small one a comparison that tells how its class is found, too.
#[inline(always)]
fn is_near_growers(place: Place, block: *mut u8, layout: Layout) -> bool {
    let rounded = (layout.size() + layout.align() - 1) & !(layout.align() - 1);
    matches!(place, Place::Default(Default::Anonymous))
        && rounded.wrapping_sub(1) >= growers::LEAST
        && growers::is_near(block.addr())
}

/// Whether a block of that layout is a grower.
#[inline(always)]
fn is_grower(place: Place, block: *mut u8, layout: Layout) -> bool {
    is_near_growers(place, block, layout) && GROWERS.has(block.addr())
}

/// # Safety
/// As for [`free`].
#[cold]
#[inline(never)]
unsafe fn free_near_growers(place: Place, block: *mut u8, layout: Layout) {
    // SAFETY: the caller's promise.
    unsafe { if GROWERS.has(block.addr()) { free_grower(block) } else { free_ordinary(place, block, layout) } }
}

/// # Safety
/// The block is a grower, and the caller's to give.
#[inline]
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

/// Overwrites a block that is about to be freed, if the heap wants that.
///
/// # Safety
/// The block is the caller's, of at least `len` bytes.
#[inline(always)]
unsafe fn scrub(core: &Core, block: *mut u8, len: usize) {
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
        Place::Default(which) => {
            if let Some(heap) = default_heap(which) {
                // SAFETY: the calling thread's own; as for `free`, whose caller's block this is.
                unsafe { ThreadHeap::free_large(heap, block.addr()) };
            } else if let Some(core) = defaults::made(which) {
                core.free_large(block.addr());
            }
        }
        Place::Window(window) => {
            // A closed heap takes nothing back.
            current::with_window(window, |heap| {
                // SAFETY: as above, and the heap is open.
                unsafe {
                    scrub(&*(*heap).core, block, len);
                    ThreadHeap::free_large(heap, block.addr());
                }
            });
        }
    }
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

fn resize_large(place: Place, block: *mut u8, size: usize) -> bool {
    let resize = |core: &Core| {
        let pages = core.large_len_pages(block.addr()).unwrap_or(0);
        pages == size.div_ceil(PAGE) || core.resize_large(block.addr(), size)
    };
    match place {
        Place::Default(which) => defaults::get(which).is_some_and(resize),
        // SAFETY: the heap is open while the closure runs, and outlives its thread heaps.
        Place::Window(window) => in_window(window, |heap| resize(unsafe { &*(*heap).core })) == Some(true),
    }
}

/// Makes a block fit another size without moving it; false if it must move.
///
/// # Safety
/// As for [`free`], but that the block stays in use.
#[inline]
pub(super) unsafe fn resize_in_place(place: Place, block: *mut u8, old: Layout, new: Layout) -> bool {
    #[cfg(feature = "checked")]
    if !super::checked::may_resize(place, block, old) {
        return false;
    }
    if is_grower(place, block, old) {
        // SAFETY: the caller's promise.
        return unsafe { resize_grower(block, old, new) };
    }
    let fits = match (kind_of(old), kind_of(new)) {
        (Kind::Small(old), Kind::Small(new)) => old == new,
        (Kind::Large, Kind::Large) => resize_large(place, block, new.size()),
        _ => false,
    };
    #[cfg(feature = "checked")]
    if fits {
        super::checked::resized(place, block, new);
    }
    fits
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
    let stays = match kind_of(new) {
        Kind::Small(_) => kind_of(old) == kind_of(new),
        Kind::Large => true,
    };
    if stays {
        GROWERS.shrink(block.addr(), new.size());
    }
    stays
}

/// A place to grow on for a block that must move because it has grown.
#[inline]
pub(super) fn take_grower(place: Place, new: Layout) -> Option<*mut u8> {
    let is_long = new.size() > growers::LEAST_TAKEN && new.align() <= growers::ALIGN;
    if !matches!(place, Place::Default(Default::Anonymous)) || !is_long {
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
pub(super) unsafe fn reallocate(place: Place, block: *mut u8, old: Layout, new: Layout) -> *mut u8 {
    // SAFETY: the caller's promise; the old block is freed once, after its contents have been taken.
    unsafe {
        if resize_in_place(place, block, old, new) {
            return block;
        }
        let grower = if new.size() > old.size() { take_grower(place, new) } else { None };
        if let (Some(grower), Kind::Large) = (grower, kind_of(old)) {
            return move_to_grower(place, block, grower, old, new);
        }
        let moved = grower.unwrap_or_else(|| allocate(place, new));
        move_contents(place, block, moved, old, new)
    }
}

/// Gives a block's contents to another one, which may be null, and frees it then.
///
/// # Safety
/// As for [`free`]; the other block is the caller's, has the new layout, and is not the same.
#[inline(always)]
unsafe fn move_contents(place: Place, block: *mut u8, moved: *mut u8, old: Layout, new: Layout) -> *mut u8 {
    // SAFETY: the caller's promise; the old block is freed once, after its contents have been taken.
    unsafe {
        if !moved.is_null() {
            ptr::copy_nonoverlapping(block, moved, old.size().min(new.size()));
            free(place, block, old);
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
unsafe fn move_to_grower(place: Place, block: *mut u8, grower: *mut u8, old: Layout, new: Layout) -> *mut u8 {
    // SAFETY: the caller's promise. A large block that is no grower has whole pages of the heap, which is anonymous memory.
    unsafe {
        let moved = if GROWERS.has(block.addr()) {
            Moved::No
        } else {
            GROWERS.move_in(grower.addr(), block.addr(), old.size().next_multiple_of(PAGE))
        };
        match moved {
            Moved::Yes => {
                free(place, block, old);
                grower
            }
            Moved::No => move_contents(place, block, grower, old, new),
            Moved::Lost => move_contents(place, block, allocate(place, new), old, new),
        }
    }
}

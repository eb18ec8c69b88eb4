//! Objects that may be moved: where they are made, and how what they took is given back.
//!
//! How they lie there, [`crate::handle`] says. Each thread puts objects behind the last one in a tract, which it shares with an eighth of
//! the others. A tract that has no room for the next object is closed, and free again when its objects are gone.

use super::SalAlloc;
use super::allocate;
use super::defaults;
use super::handle::Place;
use super::memory_locks;
use super::placement::heap_of_address;
use super::withheld;
use crate::alloc::current::Withholding;
use crate::alloc::prefault::event;
use crate::alloc::tracts::{self, FILLS, Fill, Left, TRACT, Table, Tract};
use crate::alloc::windows::window_of;
use crate::alloc::young;
use crate::format::WINDOW;
use crate::handle::object::Shape;
use crate::handle::{limbo, pin};
use core::alloc::Layout;
use core::ops::Range;
use core::ptr;
use core::sync::atomic::Ordering;

/// The layout of a tract.
const TRACT_LAYOUT: Layout = match Layout::from_size_align(TRACT, TRACT) {
    Ok(layout) => layout,
    Err(_) => panic!("it is a power of two"),
};

/// Where the addresses of a heap begin; none if it is a default one that cannot be made.
fn home_of(heap: SalAlloc) -> Option<usize> {
    match heap.place() {
        Place::Default(which) => defaults::get(which).map(|core| core.base),
        Place::Window(name) => Some(window_of(name) as usize * WINDOW),
    }
}

/// The table of a heap's first window, where its fills are.
pub(super) fn home_table(heap: SalAlloc) -> Option<&'static Table> {
    tracts::ensure_table_at(home_of(heap)?)
}

/// Room for an object, which is the caller's: its address. None if the heap has none, or is not open.
#[inline]
pub(crate) fn allocate(heap: SalAlloc, shape: Shape) -> Option<usize> {
    if shape.stands_alone() {
        let block = allocate::allocate(heap, shape.block()?);
        return (!block.is_null()).then(|| block.expose_provenance());
    }
    // Slots lie that far apart.
    let number = ptr::from_ref(pin::own()).addr() / align_of::<pin::Slot>() % FILLS;
    put_in(heap, &home_table(heap)?.fills[number], shape)
}

/// Room behind the last object of a fill, or in a new tract.
pub(super) fn put_in(heap: SalAlloc, fill: &Fill, shape: Shape) -> Option<usize> {
    put_in_new(fill, shape, || begin_tract(heap))
}

/// As [`put_in`], with tracts that `begin` begins, if it does.
pub(super) fn put_in_new(fill: &Fill, shape: Shape, mut begin: impl FnMut() -> Option<usize>) -> Option<usize> {
    loop {
        if let Some(address) = take(fill, shape) {
            return Some(address);
        }
        // Without the lock: somebody may be told that the heap has passed a mark, and make objects.
        close(fill, Some(begin()?));
    }
}

/// A new tract, into which objects are to be put.
pub(super) fn begin_tract(heap: SalAlloc) -> Option<usize> {
    // Rather what waits than memory that nobody has touched yet.
    let home = home_of(heap)?;
    limbo::finish_memory(home);
    let mut new = allocate::allocate(heap, TRACT_LAYOUT);
    if new.is_null() && limbo::finish_memory_of_before(home) {
        new = allocate::allocate(heap, TRACT_LAYOUT);
    }
    if new.is_null() {
        return None;
    }
    let start = new.expose_provenance();
    let Some(table) = tracts::ensure_table_at(start) else {
        // SAFETY: allocated just now.
        unsafe { allocate::free(heap, new, TRACT_LAYOUT) };
        return None;
    };
    table.begin(start);
    Some(start)
}

/// The tract of a fill, the bytes that are free behind its last object, and the granules that were put there; none without a tract.
pub(super) fn open_tract(fill: &Fill) -> Option<(usize, usize, u32)> {
    let _guard = fill.lock.lock();
    // Relaxed, all: under the lock.
    let (next, end) = (fill.next.load(Ordering::Relaxed) as usize, fill.end.load(Ordering::Relaxed) as usize);
    (end != 0).then(|| (end - TRACT, end - next, fill.granules.load(Ordering::Relaxed)))
}

#[inline]
fn take(fill: &Fill, shape: Shape) -> Option<usize> {
    let _guard = fill.lock.lock();
    // Relaxed, all: under the lock.
    let start = (fill.next.load(Ordering::Relaxed) as usize).next_multiple_of(shape.align);
    let end = start + shape.len;
    if end > fill.end.load(Ordering::Relaxed) as usize {
        return None;
    }
    fill.next.store(end as u64, Ordering::Relaxed);
    fill.granules.store(fill.granules.load(Ordering::Relaxed) + shape.granules(), Ordering::Relaxed);
    Some(start)
}

/// Closes the tract of a fill if at most a part of what was put there is alive.
pub(super) fn close_if_sparse(fill: &Fill, sparse: f64) {
    let is_sparse = {
        let _guard = fill.lock.lock();
        // Relaxed, all: under the lock.
        let (end, put) = (fill.end.load(Ordering::Relaxed) as usize, fill.granules.load(Ordering::Relaxed));
        let tract = tracts::table_at(end.wrapping_sub(TRACT)).map(|table| table.tract(end - TRACT));
        tract.is_some_and(|tract| f64::from(tract.live_of(put)) <= sparse * f64::from(put))
    };
    if is_sparse {
        close(fill, None);
    }
}

/// Closes the tract of a fill, and goes on in another one, if there is one.
pub(super) fn close(fill: &Fill, next: Option<usize>) {
    let (end, granules) = {
        let _guard = fill.lock.lock();
        // Relaxed, all: under the lock.
        let old = (fill.end.load(Ordering::Relaxed) as usize, fill.granules.load(Ordering::Relaxed));
        fill.next.store(next.unwrap_or(0) as u64, Ordering::Relaxed);
        fill.end.store(next.map_or(0, |start| start + TRACT) as u64, Ordering::Relaxed);
        fill.granules.store(0, Ordering::Relaxed);
        old
    };
    if end != 0 {
        let start = end - TRACT;
        if tracts::table_at(start).is_some_and(|table| table.tract(start).release(granules)) {
            // SAFETY: the thread was told that it is empty (T3).
            unsafe { retire(start) };
        }
    }
}

/// Closes all tracts of a heap into which objects are being put.
fn close_all(heap: &Range<usize>) {
    if let Some(home) = tracts::table_at(heap.start) {
        home.fills.iter().for_each(|fill| close(fill, None));
    }
}

/// The object at an address is finished, and may be moved as soon as its entry leads there.
#[inline(always)]
pub(crate) fn begin(address: usize, shape: Shape) {
    if !shape.stands_alone() {
        if let Some(table) = tracts::table_at(address) {
            table.tract(address).note_begun(address);
        }
    }
}

/// What an object in a tract took is not used any more; those who may still see it have pins.
#[inline]
pub(crate) fn give_up(address: usize, granules: u32) {
    let Some(table) = tracts::table_at(address) else { return };
    match table.tract(address).give(granules) {
        Left::Some => {}
        Left::Little => tell_sparse(address),
        // SAFETY: the thread was told that it is empty (T3).
        Left::Nothing => unsafe { retire(address & !(TRACT - 1)) },
    }
}

/// Tells who maintains the heap that there is something to compact.
#[cold]
#[inline(never)]
fn tell_sparse(address: usize) {
    if let Some(heap) = heap_of_address(address) {
        allocate::with_core(heap.place(), |core| core.signal.tell(event::SPARSE));
    }
}

/// The tracts of a heap, and where they begin.
pub(super) fn tracts_of(heap: Range<usize>) -> impl Iterator<Item = (usize, &'static Table, &'static Tract)> {
    let first = heap.start / WINDOW * WINDOW;
    (first..heap.end)
        .step_by(WINDOW)
        .filter_map(|start| Some((start, tracts::table_at(start)?)))
        .flat_map(|(start, table)| table.known().map(move |(at, tract)| (start + at, table, tract)))
}

/// The heap at some addresses knows nothing of its objects any more: they are about to be found again.
///
/// # Safety
/// Nobody uses the heap but what its roots lead to, nor makes objects meanwhile.
pub(super) unsafe fn begin_anew(heap: &Range<usize>) {
    limbo::finish_some(heap.start);
    // What other threads have pins for, who have nothing of this heap.
    limbo::forget(heap);
    close_all(heap);
    limbo::forget(heap);
    for (start, _, tract) in tracts_of(heap.clone()) {
        // It may turn out to be free memory.
        make_plain(start, tract);
        // SAFETY: the caller's promise.
        unsafe { tract.forget() };
    }
}

/// What waits for readers is done, and tracts into which objects were being put are closed: before the heap is.
pub(super) fn tidy(heap: &Range<usize>) {
    limbo::finish_some(heap.start);
    close_all(heap);
    limbo::finish_some(heap.start);
}

/// All objects of a heap have been found: what is in its tracts is known.
pub(super) fn settle(heap: &Range<usize>) {
    for (start, _, tract) in tracts_of(heap.clone()) {
        if tracts::is_complete() && tract.settle() {
            // SAFETY: the thread was told that it is empty (T3).
            unsafe { retire(start) };
        }
    }
}

/// What was found of a heap's objects means nothing.
pub(super) fn unfind(heap: &Range<usize>) {
    tracts_of(heap.clone()).for_each(|(_, _, tract)| tract.unfind());
}

/// Where tracts begin into which objects are being put.
pub(super) fn filling(heap: &Range<usize>) -> impl Iterator<Item = usize> {
    let fills = tracts::table_at(heap.start).map(|home| &home.fills).into_iter().flatten();
    // Relaxed: asked while nobody puts anything there.
    fills.filter_map(|fill| (fill.end.load(Ordering::Relaxed) as usize).checked_sub(TRACT))
}

/// Nothing that waits is done any more in memory that is about to go.
pub(super) fn forget(heap: &Range<usize>) {
    limbo::forget(heap);
}

/// As long as the answer lives, what the thread frees of the heap at an address is [withheld], if that heap does so.
pub(crate) fn withhold(address: usize) -> Option<Withholding> {
    heap_of_address(address).and_then(withheld::withhold)
}

/// Whether the last commit may lead to a value where it lies: then nobody writes there, also if the heap was closed since.
pub(crate) fn is_sealed_at(location: usize) -> bool {
    young::is_noted(location)
}

/// Gives back what an object took that nobody sees any more.
///
/// # Safety
/// It was made by [`allocate`] with this shape, and is the caller's.
pub(crate) unsafe fn free(address: usize, shape: Shape) {
    if !shape.stands_alone() {
        return give_up(address, shape.granules());
    }
    if let (Some(heap), Some(layout)) = (heap_of_address(address), shape.block()) {
        let _withholding = withheld::withhold(heap);
        // SAFETY: the caller's promise.
        unsafe { allocate::free(heap, ptr::with_exposed_provenance_mut(address), layout) };
    }
}

/// A tract is none of the hot ones any more, if it was one, and not locked for that.
pub(super) fn make_plain(start: usize, tract: &Tract) {
    if tract.set_hot(false) {
        memory_locks::unlock_tract(start);
    }
}

/// Frees a tract when nobody sees its objects any more.
///
/// # Safety
/// It is empty, and the caller's.
#[cold]
#[inline(never)]
unsafe fn retire(start: usize) {
    unsafe fn finish(start: usize, _: usize) {
        let (Some(table), Some(heap)) = (tracts::table_at(start), heap_of_address(start)) else { return };
        // The last commit may lead to what lay there.
        let _withholding = withheld::withhold(heap);
        // SAFETY: empty since it was put here, and nobody else goes on with it (T3). Whoever had a pin then is gone (L1).
        unsafe {
            table.tract(start).forget();
            allocate::free(heap, ptr::with_exposed_provenance_mut(start), TRACT_LAYOUT);
        }
    }
    if let Some(table) = tracts::table_at(start) {
        // Nobody reads there but who has a pin already.
        make_plain(start, table.tract(start));
    }
    // SAFETY: once, and it only gives a tract back.
    unsafe { limbo::put_memory(start, finish) };
}

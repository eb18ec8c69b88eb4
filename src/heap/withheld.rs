//! Blocks that were freed and may not be used again yet.
//!
//! The file of a shared heap changes at any moment, so what its last durable commit reaches must stay as it is until the next
//! one is durable: also when the program has freed it. Values are sealed, so nobody changes them; and when the last pointer to a
//! sealed value goes, its block, and every block that the value frees as it is dropped, is noted here instead of being given back.
//! What lies in those blocks is dropped by `ptr::drop_moved`, which does not write to them.
//!
//! # Invariants
//! - **W1** A noted block is free for everybody but its heap's allocator, which counts it as in use.
//! - **W2** What was noted before the gate closed for a commit is given back when that is durable, and not sooner.

use super::SalAlloc;
use super::allocate;
use super::counted;
use super::handle::Place;
use crate::alloc::current::{self, Withholding};
use crate::alloc::windows;
use crate::format::END_WINDOW;
use std::alloc::Layout;
use std::collections::HashMap;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How a block is freed in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Freed {
    OfClass(usize),
    /// Of so many bytes.
    Large(usize),
    /// With its count.
    Counted(Layout),
}

#[derive(Debug, Default)]
struct Lists {
    /// Since the gate last closed for a commit that was to be durable.
    new: Vec<(usize, Freed)>,
    /// Of before.
    before: Vec<(usize, Freed)>,
}

static HEAPS: Mutex<Option<HashMap<u32, Lists>>> = Mutex::new(None);

/// Of each window, whether its heap withholds, so that others need not ask for the lists.
static WITHHOLDS: [AtomicBool; END_WINDOW as usize] = [const { AtomicBool::new(false) }; END_WINDOW as usize];

fn heaps() -> MutexGuard<'static, Option<HashMap<u32, Lists>>> {
    // Nothing panics while it is locked.
    HEAPS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn set(name: u32, withholds: bool) {
    // Relaxed: set before anybody has the heap, and unset when nobody is to have its blocks again.
    WITHHOLDS[windows::window_of(name) as usize].store(withholds, Ordering::Relaxed);
}

/// From now on sealed blocks of the heap are withheld. Before anybody has it.
pub(super) fn begin(heap: SalAlloc) {
    if let Place::Window(name) = heap.place() {
        heaps().get_or_insert_default().insert(name, Lists::default());
        set(name, true);
    }
}

/// The heap is closed: what was withheld is forgotten.
pub(super) fn end(heap: SalAlloc) {
    if let Place::Window(name) = heap.place() {
        set(name, false);
        if let Some(heaps) = heaps().as_mut() {
            heaps.remove(&name);
        }
    }
}

/// Whether sealed blocks of a heap are withheld.
#[inline]
pub(crate) fn is_withheld(heap: SalAlloc) -> bool {
    let Place::Window(name) = heap.place() else { return false };
    // Relaxed: as in `set`.
    WITHHOLDS.get(windows::window_of(name) as usize).is_some_and(|withholds| withholds.load(Ordering::Relaxed))
}

/// As long as the answer lives, what the thread frees of the heap is withheld; none if the heap does not do so.
pub(crate) fn withhold(heap: SalAlloc) -> Option<Withholding> {
    match heap.place() {
        Place::Window(name) if is_withheld(heap) => Some(Withholding::begin(name)),
        _ => None,
    }
}

/// Notes a block that is being freed, if the thread withholds those of the heap; the heap is open.
#[inline]
pub(super) fn take(name: u32, block: usize, freed: Freed) -> bool {
    current::is_withholding(name) && note(name, block, freed)
}

/// Notes a counted block that is being freed, if its heap withholds and is open.
pub(super) fn note_counted(heap: SalAlloc, block: NonNull<u8>, layout: Layout) -> bool {
    let Place::Window(name) = heap.place() else { return false };
    is_withheld(heap)
        && allocate::with_core(heap.place(), |_| ()).is_some()
        && note(name, block.addr().get(), Freed::Counted(layout))
}

#[cold]
fn note(name: u32, block: usize, freed: Freed) -> bool {
    match heaps().as_mut().and_then(|heaps| heaps.get_mut(&name)) {
        Some(lists) => {
            lists.new.push((block, freed));
            true
        }
        None => false,
    }
}

/// The gate is closed for a commit that is to be durable.
pub(super) fn gate_closed(heap: SalAlloc) {
    with_lists(heap, |lists| {
        let new = std::mem::take(&mut lists.new);
        lists.before.extend(new);
    });
}

/// The commit is durable: gives back what it does not reach any more.
pub(super) fn give_back(heap: SalAlloc) {
    for (block, freed) in with_lists(heap, |lists| std::mem::take(&mut lists.before)).unwrap_or_default() {
        let Some(block) = NonNull::new(std::ptr::with_exposed_provenance_mut(block)) else { continue };
        // SAFETY: freed by its owner in just this way, and noted once (W1).
        unsafe {
            match freed {
                Freed::Counted(layout) => counted::free_kept(block, layout),
                freed => allocate::free_withheld(heap, block.as_ptr(), freed),
            }
        }
    }
}

/// Where the blocks lie that are withheld.
pub(super) fn blocks(heap: SalAlloc) -> Vec<usize> {
    let blocks = |lists: &mut Lists| lists.new.iter().chain(&lists.before).map(|block| block.0).collect();
    with_lists(heap, blocks).unwrap_or_default()
}

fn with_lists<R>(heap: SalAlloc, work: impl FnOnce(&mut Lists) -> R) -> Option<R> {
    let Place::Window(name) = heap.place() else { return None };
    heaps().as_mut().and_then(|heaps| heaps.get_mut(&name)).map(work)
}

//! Where the count of a block lies.
//!
//! Below the windows there is a range of addresses for counts, a quarter as long, and a second one, a 256th as long. Where a
//! block's count lies follows from the block's address and size alone, without a look-up: with a size that the compiler knows it
//! is a few instructions. Blocks of slabs of 64 KiB have their counts one behind the other, so those of sixteen neighbours
//! share a cache line. All others are further than a kilobyte apart, and have the second range.
//!
//! The ranges of a window are mapped when its first counted block is made, or when its heap is opened and may have some; they are
//! this process's memory, never the file's.
//!
//! # Invariants
//! - **T1** No two blocks that are in use at the same time have the same place: slabs of 64 KiB are aligned to their length and do
//!   not overlap, and in them places follow from the block's number; other blocks begin more than [`COARSE`] bytes apart.
//! - **T2** The places of a window are mapped from the first counted block on until the window is given back.

use super::ref_count::RefCount;
use super::size_class::{CLASSES, class_size, index_in_slab, slab_blocks, slab_units};
use super::windows::{self, REGISTRY};
use crate::format::{END_WINDOW, FIRST_WINDOW, PAGE, UNIT, WINDOW, WINDOW_SHIFT};
use crate::os::mapping::{self, Access, Source};
use crate::os::{CallError, errno};
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicU8, Ordering};

/// Bytes of a slab whose blocks' counts lie close together.
const FINE_SLAB: usize = 2 * UNIT;
/// Bytes of a count, for each sixteen bytes of such a slab.
const FINE_SHIFT: u32 = 2;
/// Bytes for which there is one count elsewhere.
const COARSE: usize = 1 << COARSE_SHIFT;
const COARSE_SHIFT: u32 = 10;

/// What is taken from an address, divided by four, to have the place of its count. The range lies below the windows, where the
/// kernel lays nothing: programs that want to lie low lie below it, and all others far above the windows.
const FINE_BELOW: usize = 0x0400_0000_0000;
/// What is added to an address, divided by 256, for the second range, which lies between the first and the windows.
const COARSE_BASE: usize = 0x0FEF_C000_0000;

const _: () = {
    let (first, end) = (FIRST_WINDOW as usize * WINDOW, END_WINDOW as usize * WINDOW);
    // Above what a program at the bottom has, then one behind the other up to the windows.
    assert!((first >> FINE_SHIFT) - FINE_BELOW >= 64 << 30);
    assert!((end >> FINE_SHIFT) - FINE_BELOW <= COARSE_BASE + (first >> (COARSE_SHIFT - 2)));
    assert!(COARSE_BASE + (end >> (COARSE_SHIFT - 2)) <= first);
    assert!(FINE_SLAB / 16 * 4 == FINE_SLAB >> FINE_SHIFT);
    let mut class = 0;
    while class < CLASSES {
        // T1.
        assert!(is_fine(class) || class_size(class) > COARSE);
        class += 1;
    }
};

#[inline(always)]
const fn is_fine(class: usize) -> bool {
    slab_units(class) * UNIT == FINE_SLAB
}

/// The count of the block at `address`: of that class if it lies in a slab.
///
/// Only the place is told; it is mapped if [`ensure`] has been called for the block, or one in its window (T2).
#[inline(always)]
pub(crate) fn place_of(address: usize, class: Option<usize>) -> NonNull<RefCount> {
    let place = match class {
        Some(class) if is_fine(class) => {
            let slab = address & !(FINE_SLAB - 1);
            let number = index_in_slab(class, address & (FINE_SLAB - 1));
            (slab >> FINE_SHIFT) - FINE_BELOW + number as usize * size_of::<RefCount>()
        }
        _ => COARSE_BASE + (address >> COARSE_SHIFT) * size_of::<RefCount>(),
    };
    let place: *mut RefCount = ptr::with_exposed_provenance_mut(place);
    // SAFETY: of an address in a window nothing overflows, and the place is not zero.
    unsafe { NonNull::new_unchecked(place) }
}

/// The counts of a slab's blocks, in the order of the blocks.
///
/// # Safety
/// The slab is one of that class, and the counts of its window are mapped (T2) and stay so.
pub(crate) unsafe fn of_slab<'a>(slab: usize, class: usize) -> impl Iterator<Item = &'a RefCount> {
    let size = class_size(class);
    // Where they lie close together the place of one follows from that of the one before.
    let step = if is_fine(class) { size_of::<RefCount>() } else { 0 };
    let first = place_of(slab, Some(class));
    (0..slab_blocks(class) as usize).map(move |block| {
        let place = if step > 0 {
            // SAFETY: within the slab's counts (T1).
            unsafe { first.byte_add(block * step) }
        } else {
            place_of(slab + block * size, Some(class))
        };
        // SAFETY: mapped, by the caller's promise; atomic, and zeros are a count.
        unsafe { place.as_ref() }
    })
}

/// Of each window, what there is of counts; changed while the registry is locked.
static STATES: [AtomicU8; END_WINDOW as usize] = [const { AtomicU8::new(NONE) }; END_WINDOW as usize];
const NONE: u8 = 0;
/// They are mapped.
const MAPPED: u8 = 1;
/// And there are counted blocks, or have been.
const USED: u8 = 2;

/// Maps the counts of the window that has `address`, unless they are: before the first is written.
///
/// # Errors
/// If the addresses are taken, or there may be no more of them.
#[inline(always)]
pub(crate) fn ensure(address: usize) -> Result<(), CallError> {
    match STATES.get(address >> WINDOW_SHIFT) {
        // Acquire pairs with the Release in `raise`.
        Some(state) if state.load(Ordering::Acquire) == USED => Ok(()),
        _ => raise(address >> WINDOW_SHIFT, USED),
    }
}

/// Maps the counts of a heap's windows: before anybody gets to its blocks, of which some may be counted.
///
/// # Errors
/// As for [`ensure`].
pub(crate) fn prepare(first: u32, windows: u32) -> Result<(), CallError> {
    (first..first + windows).try_for_each(|window| raise(window as usize, MAPPED))
}

/// Whether the window that has `address` has counts.
pub(crate) fn is_mapped_at(address: usize) -> bool {
    // Acquire pairs with the Release in `raise`.
    STATES.get(address >> WINDOW_SHIFT).is_some_and(|state| state.load(Ordering::Acquire) != NONE)
}

/// Whether a heap's windows have counts, so that pointers to its values may have been handed out.
pub(crate) fn is_mapped(first: u32, windows: u32) -> bool {
    has_state(first, windows, |state| state != NONE)
}

/// Says that there are counted blocks in a heap's windows, mapped before, or that there are none.
pub(crate) fn set_used(first: u32, windows: u32, is_used: bool) {
    let _guard = REGISTRY.lock();
    for state in STATES.get(first as usize..(first + windows) as usize).into_iter().flatten() {
        // Release: as in `raise`.
        state.store(if is_used { USED } else { MAPPED }, Ordering::Release);
    }
}

/// Whether there are counted blocks in a heap's windows, or have been since it was opened.
pub(crate) fn is_used(first: u32, windows: u32) -> bool {
    has_state(first, windows, |state| state == USED)
}

/// Whether any of a heap's windows is in a state. Asked when nobody allocates any more.
fn has_state(first: u32, windows: u32, is_wanted: impl Fn(u8) -> bool) -> bool {
    let states = STATES.get(first as usize..(first + windows) as usize);
    // Relaxed: nobody changes it any more.
    states.is_some_and(|states| states.iter().any(|state| is_wanted(state.load(Ordering::Relaxed))))
}

/// The two ranges of a window of which so many bytes are used: where they begin, and their lengths.
fn ranges(window: usize, len: usize) -> [(usize, usize); 2] {
    let (start, len) = (window * WINDOW, len.next_multiple_of(FINE_SLAB));
    [
        ((start >> FINE_SHIFT) - FINE_BELOW, len >> FINE_SHIFT),
        (COARSE_BASE + (start >> (COARSE_SHIFT - 2)), (len >> (COARSE_SHIFT - 2)).next_multiple_of(PAGE)),
    ]
}

#[cold]
#[inline(never)]
fn raise(window: usize, to: u8) -> Result<(), CallError> {
    let refused = CallError { call: "mmap", errno: errno::NO_MEMORY };
    let state = STATES.get(window).ok_or(refused)?;
    windows::heap_name_of(window * WINDOW).ok_or(refused)?;
    let _guard = REGISTRY.lock();
    // Relaxed: under the lock.
    let before = state.load(Ordering::Relaxed);
    if before == NONE {
        map(window)?;
    }
    // Release pairs with the Acquire in `ensure`.
    state.store(to.max(before), Ordering::Release);
    Ok(())
}

fn map(window: usize) -> Result<(), CallError> {
    let [fine, coarse] = ranges(window, windows::reserved_in(window));
    mapping::map_at(fine.0, fine.1, Access::ReadWrite, Source::Anonymous)?;
    mapping::map_at(coarse.0, coarse.1, Access::ReadWrite, Source::Anonymous).inspect_err(|_| {
        // SAFETY: mapped just now, and nobody knows of it.
        let _ = unsafe { mapping::unmap(fine.0, fine.1) };
    })
}

/// Gives the counts of windows back.
///
/// # Safety
/// The registry is locked, and nobody uses a counted block of these windows any more.
pub(super) unsafe fn release(first: u32, windows: u32) {
    for window in first as usize..(first + windows) as usize {
        let Some(state) = STATES.get(window) else { continue };
        // Relaxed: under the lock, and nobody asks any more.
        if state.swap(NONE, Ordering::Relaxed) != NONE {
            for (start, len) in ranges(window, windows::reserved_in(window)) {
                // SAFETY: mapped by `map`, and the caller's promise.
                let _ = unsafe { mapping::unmap(start, len) };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    const FIRST: usize = FIRST_WINDOW as usize * WINDOW;

    #[test]
    fn blocks_of_one_slab_have_places_of_their_own_side_by_side() {
        for class in (0..CLASSES).filter(|&class| is_fine(class)) {
            let slab = FIRST + 5 * FINE_SLAB;
            let place = |index: usize| place_of(slab + index * class_size(class), Some(class)).addr().get();
            let blocks = slab_blocks(class) as usize;
            assert!((1..blocks).all(|index| place(index) == place(index - 1) + 4), "{class}");
            let next = place_of(slab + FINE_SLAB, Some(0)).addr().get();
            assert!(place(blocks - 1) < next && place(0) % 64 == 0);
        }
    }

    #[test]
    fn blocks_of_all_other_kinds_have_places_of_their_own() {
        let mut seen = HashSet::new();
        let classes = (0..CLASSES).filter(|&class| !is_fine(class)).map(Some).chain([None]);
        for (at, class) in classes.enumerate() {
            let len = class.map_or(UNIT, |class| slab_units(class) * UNIT);
            let size = class.map_or(UNIT, class_size);
            let slab = (FIRST + (at << 22)).next_multiple_of(len);
            for index in 0..len / size {
                assert!(seen.insert(place_of(slab + index * size, class)), "{class:?} {index}");
            }
        }
    }

    #[test]
    fn places_of_all_windows_lie_in_their_ranges() {
        for window in [FIRST >> WINDOW_SHIFT, 0x300, END_WINDOW as usize - 1] {
            let [fine, coarse] = ranges(window, WINDOW);
            for address in [window * WINDOW, (window + 1) * WINDOW - FINE_SLAB] {
                let place = place_of(address, Some(0)).addr().get();
                assert!(place >= fine.0 && place < fine.0 + fine.1);
                let place = place_of(address, None).addr().get();
                assert!(place >= coarse.0 && place < coarse.0 + coarse.1);
            }
        }
    }
}

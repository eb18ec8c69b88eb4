//! Where there are counted blocks that no seal has passed yet.
//!
//! A heap that seals notes, for each counted block that gets a value, the unit that the block lies in. Sealing takes the notes
//! and looks at the counts of all blocks in those units ([`RefCount::seal`](super::ref_count::RefCount::seal)). So it takes
//! time for what is new, not for what there is.
//!
//! Beside the notes there is a word for each segment, for the heap whose sealed values are to be read-only: what it means, whoever
//! makes them so says.
//!
//! How notes are made and taken at once, [`unit_notes`](super::unit_notes) says.
//!
//! # Volatile
//! All of it: whatever a file holds when it is opened counts as sealed.

use super::unit_notes::{note_unit, take_units};
use super::windows::REGISTRY;
use crate::format::{END_WINDOW, SEGMENT_UNITS, UNIT, UNIT_SHIFT, WINDOW, WINDOW_SHIFT};
use crate::os::CallError;
use crate::os::mapping::{self, Access, Source};
use crate::sync::{AtomicU32, AtomicU64, Ordering};
use core::ptr;
use core::sync::atomic::AtomicPtr;

const WORDS: usize = WINDOW >> UNIT_SHIFT >> 6;
const SUMMARIES: usize = WORDS / 64;

/// The notes of one window.
#[derive(Debug)]
#[repr(C)]
struct Notes {
    summaries: [AtomicU64; SUMMARIES],
    words: [AtomicU64; WORDS],
    segments: [AtomicU32; WINDOW / SEGMENT],
    has_segments: AtomicU32,
}

/// Bytes of a segment, which begins at a multiple of them.
pub(crate) const SEGMENT: usize = SEGMENT_UNITS * UNIT;

/// Of each window whose heap seals; null elsewhere.
static NOTES: [AtomicPtr<Notes>; END_WINDOW as usize] =
    [const { AtomicPtr::new(ptr::null_mut()) }; END_WINDOW as usize];

const LEN: usize = size_of::<Notes>().next_multiple_of(mapping::PAGE);

#[inline(always)]
fn notes_of(address: usize) -> Option<&'static Notes> {
    let notes = NOTES.get(address >> WINDOW_SHIFT)?;
    // Acquire pairs with the Release in `begin`.
    // SAFETY: mapped until nobody uses a counted block of the window any more.
    unsafe { notes.load(Ordering::Acquire).as_ref() }
}

/// Whether the heap that has an address seals.
#[inline(always)]
pub(crate) fn is_noted(address: usize) -> bool {
    notes_of(address).is_some()
}

/// Notes a block whose count has begun, if its heap seals.
#[inline(always)]
pub(crate) fn note(address: usize) {
    if let Some(notes) = notes_of(address) {
        note_unit(&notes.summaries, &notes.words, (address & (WINDOW - 1)) >> UNIT_SHIFT);
    }
}

/// The word of the segment that an address lies in, zero at first; none if the heap does not want such words.
#[inline]
pub(crate) fn segment(address: usize) -> Option<&'static AtomicU32> {
    // Relaxed: set before anybody else knew of the notes.
    let notes = notes_of(address).filter(|notes| notes.has_segments.load(Ordering::Relaxed) != 0)?;
    notes.segments.get((address & (WINDOW - 1)) / SEGMENT)
}

/// From now on the blocks of a heap's windows are noted; whether there is a word for each segment.
///
/// # Errors
/// If there is no memory for it. Nothing is noted then.
pub(crate) fn begin(first: u32, windows: u32, has_segments: bool) -> Result<(), CallError> {
    let _guard = REGISTRY.lock();
    for window in first..first + windows {
        let Some(place) = NOTES.get(window as usize) else { continue };
        let address = mapping::map_anywhere(LEN, Access::ReadWrite, Source::Anonymous).inspect_err(|_| {
            // SAFETY: nobody has noted anything.
            unsafe { release(first, windows) };
        })?;
        let notes: *mut Notes = ptr::with_exposed_provenance_mut(address);
        // SAFETY: mapped just now, and zeros are notes; nobody else knows of them.
        unsafe { (*notes).has_segments.store(has_segments.into(), Ordering::Relaxed) };
        // Release pairs with the Acquire in `notes_of`.
        place.store(notes, Ordering::Release);
    }
    Ok(())
}

/// Takes all notes of a heap's windows, and calls `found` with the address of each unit.
pub(crate) fn take(first: u32, windows: u32, mut found: impl FnMut(usize)) {
    for window in first as usize..(first + windows) as usize {
        if let Some(notes) = notes_of(window * WINDOW) {
            take_units(&notes.summaries, &notes.words, |unit| found(window * WINDOW + (unit << UNIT_SHIFT)));
        }
    }
}

/// Forgets all notes of windows.
///
/// # Safety
/// The registry is locked, and nobody makes a counted block in these windows any more.
pub(super) unsafe fn release(first: u32, windows: u32) {
    for notes in NOTES.get(first as usize..(first + windows) as usize).into_iter().flatten() {
        // Relaxed: under the lock, and nobody asks any more.
        let notes = notes.swap(ptr::null_mut(), Ordering::Relaxed);
        if !notes.is_null() {
            // SAFETY: mapped by `begin`, and the caller's promise.
            let _ = unsafe { mapping::unmap(notes.expose_provenance(), LEN) };
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::alloc::windows;

    #[test]
    fn each_unit_is_found_once_and_again_when_it_is_noted_again() {
        let window = windows::reserve(None, 2).unwrap();
        begin(window, 2, false).unwrap();
        assert!(segment(window as usize * WINDOW).is_none());
        let base = window as usize * WINDOW;
        let units = [
            0,
            5,
            63,
            64,
            4095,
            4096,
            (WINDOW >> UNIT_SHIFT) - 1,
            WINDOW >> UNIT_SHIFT,
            ((2 * WINDOW) >> UNIT_SHIFT) - 1,
        ];
        for round in 0..2 {
            for unit in units {
                (0..3).for_each(|block| note(base + (unit << UNIT_SHIFT) + block * 16 + round));
            }
            let mut found = Vec::new();
            take(window, 2, |unit| found.push((unit - base) >> UNIT_SHIFT));
            assert_eq!(found, units);
            take(window, 2, |_| panic!("taken before"));
        }
        // SAFETY: reserved above, and nothing is in it.
        unsafe { windows::release(window, 2) };
        assert!(!is_noted(base));
        note(base);
    }
}

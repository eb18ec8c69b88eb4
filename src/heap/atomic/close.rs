//! Closing an atomic heap: a last commit, everything folded into the file, the allocator's state, then the clean header.

use super::Atomic;
use crate::alloc::count_table;
use crate::alloc::heap_core::Core;
use crate::commit::journal::AppendError;
use crate::commit::storage::{Part, Storage};
use crate::error::{CloseError, SyncError};
use crate::format::header::{HOLDER_OFFSET, Holder};
use crate::format::layout::Layout;
use crate::format::{PAGE, UNIT};
use crate::heap::lifecycle::{PUNCH_AT_CLOSE, copy_used};
use crate::heap::owner::HeapInner;
use crate::heap::sync::SyncLevel;
use crate::os::CallError;
use crate::os::copy::copy_out;
use crate::os::env::random_bytes;
use crate::os::file_ranges::next_data;
use core::ops::Range;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use zerocopy::IntoBytes;

/// A number that no allocator state in any file has: a close that is interrupted may leave its state behind, which must not
/// be taken for that of a later one.
pub(super) fn new_epoch() -> u64 {
    let mut bytes = [0; 8];
    random_bytes(&mut bytes);
    // As large as headers allow, and not that of a file without state.
    u64::from_le_bytes(bytes) >> 1 | 1
}

/// Pages of allocator state that are written at once.
const BATCH: usize = 64;

/// Writes the file's last bytes and its clean header, and if that agrees with itself, the allocator's state. Nobody else is
/// inside.
pub(in crate::heap) fn finish(
    heap: &HeapInner,
    core: &Core,
    keep_copy: bool,
    is_state_sound: bool,
) -> Result<(), CloseError> {
    let Some(atomic) = &heap.atomic else { return Ok(()) };
    atomic.end_upkeep();
    atomic.wait_for_fold();
    let was_changed = core.has_been_used() || heap.written.load(Ordering::Relaxed);
    if !was_changed && is_state_sound && !atomic.is_soft_stale && !atomic.journal.has_begun() {
        // The file is as clean as it was.
        forget_holder(atomic);
        return Ok(());
    }
    atomic.journal.check_files().map_err(|error| CloseError::Sync(error.into()))?;
    // SAFETY: nobody else is inside.
    let units = unsafe { (*core.space.get()).trim() };
    let discards = atomic.discard || heap.gate.is_poisoned() || heap.is_unsound.load(Ordering::Relaxed);
    if !discards {
        let mut capture = atomic.capture();
        let commit = || {
            let taken = capture.take(core, &atomic.journal).map_err(|error| SyncError::os(error.call, error.errno));
            taken.and_then(|()| atomic.append(&mut capture, SyncLevel::Data))
        };
        atomic.with_room(commit).map_err(CloseError::Sync)?;
    }
    let mut header = heap.header.lock().unwrap_or_else(PoisonError::into_inner);
    let epoch = new_epoch();
    // Otherwise the file's allocator state keeps another epoch than the header, and the next opening rebuilds it.
    // Nor does the file say how many pointers a counted block has: they are counted anew, with what recovery marks.
    let has_counted = count_table::is_used(core.window, core.layout.windows());
    let is_sound = is_state_sound && !discards && !atomic.is_recovery_pending();
    let is_state_good = is_sound && !has_counted;
    // If it is as it was, so is its file.
    let gives_back = is_state_good || is_sound && (was_changed || atomic.journal.has_begun());
    let capacity = header.capacity;
    let used_len = core.layout.segments.offset + (units * UNIT) as u64;
    forget_holder(atomic);
    let finished = atomic.journal.finish(
        |storage| {
            if gives_back {
                let give_back = if is_state_good { clear_free_runs } else { punch_free_runs };
                give_back(core, storage)?;
                forget_checksums(&core.layout, storage, used_len)?;
                set_len(storage, atomic.journal.data_len(), used_len)?;
            }
            if is_state_good {
                // SAFETY: mapped and ours.
                unsafe { (*core.soft()).epoch = epoch };
                write_state(atomic, core, storage)?;
            }
            Ok(())
        },
        |header| {
            header.epoch = epoch;
            header.capacity = capacity;
            if gives_back {
                header.file_len = used_len;
            }
        },
    );
    finished.map_err(|error| match error {
        AppendError::Os(error) => CloseError::from(error),
        AppendError::Broken => CloseError::Sync(SyncError::Broken),
    })?;
    *header = atomic.journal.header();
    let storage = atomic.journal.storage();
    if keep_copy {
        storage.keep_length();
    }
    // Only what no block lies in; if it fails, the next opening does it.
    let _ = storage.set_len(Part::Data, header.file_len);
    if keep_copy {
        // Last, because it takes memory: whatever becomes of the process, the file is good.
        copy_used(core, units);
    }
    Ok(())
}

/// The file says no longer that this process has it; nothing depends on it.
fn forget_holder(atomic: &Atomic) {
    let _ = atomic.journal.storage().write_at(Part::Data, Holder::default().as_bytes(), HOLDER_OFFSET);
}

/// Clears large free runs in the file, and notes that they read as zeros. All commits have been folded into it, the one that freed these
/// runs too.
fn clear_free_runs(core: &Core, storage: &dyn Storage) -> Result<(), CallError> {
    let mut outcome = Ok(());
    // SAFETY: nobody else is inside.
    let space = unsafe { &mut *core.space.get() };
    space.give_back(PUNCH_AT_CLOSE, false, |offset, len| {
        let done = clear(&core.layout, storage, offset, len);
        let is_done = done.is_ok();
        outcome = outcome.and(done);
        is_done
    });
    outcome
}

/// Punches large free runs out of the file, as far as they take space there. What they read as is not noted, as the allocator's state is not
/// written: so nothing is done where nothing can be punched.
fn punch_free_runs(core: &Core, storage: &dyn Storage) -> Result<(), CallError> {
    let mut outcome = Ok(true);
    // SAFETY: nobody else is inside.
    let space = unsafe { &mut *core.space.get() };
    space.give_back(PUNCH_AT_CLOSE, false, |offset, len| {
        if outcome == Ok(true) {
            outcome = punch_data(&core.layout, storage, offset as u64..(offset + len) as u64);
        }
        false
    });
    outcome.map(drop)
}

/// Punches what is no hole yet; whether that is possible.
fn punch_data(layout: &Layout, storage: &dyn Storage, range: Range<u64>) -> Result<bool, CallError> {
    let mut at = range.start;
    while let Some(data) = next_data(storage.data_fd(), at, range.end)? {
        let page = PAGE as u64;
        let (start, end) = (data.start / page * page, data.end.next_multiple_of(page));
        if !storage.punch(Part::Data, start, end - start)? {
            return Ok(false);
        }
        clear_checksums(layout, storage, start / page, end / page)?;
        at = data.end;
    }
    Ok(true)
}

/// Makes the file long enough for the units that count as reserved. What it has behind the last commit's extent is nobody's,
/// and those units count as zeros.
fn set_len(storage: &dyn Storage, data_len: u64, used_len: u64) -> Result<(), CallError> {
    let len = storage.len(Part::Data)?;
    if len > data_len {
        storage.clear(Part::Data, data_len, len - data_len)?;
    }
    if len < used_len {
        storage.set_len(Part::Data, used_len)?;
    }
    Ok(())
}

/// Clears whole pages of the file, and their checksums.
pub(super) fn clear(layout: &Layout, storage: &dyn Storage, offset: usize, len: usize) -> Result<(), CallError> {
    storage.clear(Part::Data, offset as u64, len as u64)?;
    clear_checksums(layout, storage, (offset / PAGE) as u64, ((offset + len) / PAGE) as u64)
}

/// Makes the checksums of pages `first..end` say nothing.
fn clear_checksums(layout: &Layout, storage: &dyn Storage, first: u64, end: u64) -> Result<(), CallError> {
    if end <= first {
        return Ok(());
    }
    storage.clear(Part::Data, layout.checksums().offset + first * 4, (end - first) * 4)
}

/// Forgets the checksums of what lies behind `used_len` and will be cut off.
fn forget_checksums(layout: &Layout, storage: &dyn Storage, used_len: u64) -> Result<(), CallError> {
    let end = storage.len(Part::Data)?.min(layout.end());
    clear_checksums(layout, storage, used_len.div_ceil(PAGE as u64), end.div_ceil(PAGE as u64))
}

/// Writes the allocator's state, which no commit holds. If what the file has is not the state that was mapped, it is
/// cleared first: pages that were never touched count as zeros.
fn write_state(atomic: &Atomic, core: &Core, storage: &dyn Storage) -> Result<(), CallError> {
    let layout = &core.layout;
    let start = layout.soft.offset as usize;
    let end = (layout.remote_bits.offset + layout.remote_bits.len) as usize;
    if atomic.is_soft_stale {
        storage.clear(Part::Data, start as u64, (end - start) as u64)?;
    }
    let mut outcome = Ok(());
    let mut bytes = vec![0_u8; BATCH * PAGE];
    atomic.capture().tracker.private_pages(core.base + start, end - start, &mut |found| {
        for first in found.clone().step_by(BATCH * PAGE) {
            let bytes = &mut bytes[..(found.end - first).min(BATCH * PAGE)];
            // SAFETY: the heap's own mapping, and private pages of it, which have memory.
            unsafe { copy_out(first, bytes) };
            let written = storage.write_at(Part::Data, bytes, (first - core.base) as u64);
            outcome = outcome.and(written);
        }
    })?;
    outcome
}

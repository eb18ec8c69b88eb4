//! Heaps on any storage: on disks that are no files.

use super::open::open;
use super::{Atomic, read_only};
use crate::commit::storage::{Part, Storage};
use crate::error::OpenError;
use crate::format::PAGE;
use crate::format::header::HEADER_LEN;
use crate::heap::create::new_header;
use crate::heap::lifecycle::Chosen;
use crate::heap::lifecycle::newest_header;
use crate::heap::options::{HeapOptions, Mode};
use crate::heap::owner::{Heap, HeapInner};
use std::sync::Arc;

/// Opens the heap that a storage holds, or creates one if it is empty. The storage holds nothing but heaps.
pub(crate) fn open_or_create_on(storage: Arc<dyn Storage>, options: &HeapOptions) -> Result<Heap, OpenError> {
    let _chosen = Chosen;
    let mut slots = read_slots(&*storage)?;
    // A header is the last that is written of a new heap.
    if slots.as_flattened().iter().all(|&byte| byte == 0) {
        create(&*storage, options)?;
        slots = read_slots(&*storage)?;
    }
    let header = newest_header(&slots)?;
    let found = storage.len(Part::Data)?;
    if found < header.file_len {
        return Err(OpenError::Truncated { expected: header.file_len, found });
    }
    if options.read_only {
        return read_only::open(&*storage, header, None, options);
    }
    open(storage, header, None, options)
}

fn read_slots(storage: &dyn Storage) -> Result<[[u8; HEADER_LEN]; 2], OpenError> {
    let mut slots = [[0; HEADER_LEN]; 2];
    for (index, slot) in slots.iter_mut().enumerate() {
        storage.read_at(Part::Data, slot, (index * PAGE) as u64)?;
    }
    Ok(slots)
}

/// As for a file: everything is durable before the header is written.
fn create(storage: &dyn Storage, options: &HeapOptions) -> Result<(), OpenError> {
    let header = new_header(options, Mode::Atomic)?;
    storage.set_len(Part::Data, header.layout.segments.offset)?;
    storage.reserve(Part::Data, 0, 4 * PAGE as u64)?;
    storage.sync_data(Part::Data)?;
    storage.sync_directory()?;
    storage.write_at(Part::Data, &header.encode(), header.slot_offset())?;
    storage.sync_data(Part::Data)?;
    Ok(())
}

impl HeapInner {
    /// Waits until no thread folds the log, so that what comes next comes after.
    pub(crate) fn wait_for_fold(&self) {
        if let Some(atomic) = &self.atomic {
            atomic.wait_for_fold();
        }
    }

    /// Holds the heap's bookkeeping against itself; says what does not agree. Nothing, as long as recovery is under way: it gives
    /// blocks back first and counts them then.
    ///
    /// # Safety
    /// No other thread allocates or frees in the heap meanwhile, but recovery.
    pub(crate) unsafe fn check_bookkeeping(&self) -> Result<(), String> {
        if self.atomic.as_ref().is_some_and(Atomic::is_recovering) {
            return Ok(());
        }
        // SAFETY: the caller's promise.
        unsafe { self.core().check() }.map_err(|broken| format!("{broken:?}"))
    }
}

//! Opening an atomic heap for reading only, whether it was closed or not, and at another place if that is wanted and its own is
//! taken: no byte of its files changes.

use super::map::{SoftState, map, soft_state};
use super::open::check_data_len;
use crate::alloc::backing::Backing;
use crate::alloc::heap_core::Core;
use crate::alloc::rebuild::rebuild;
use crate::commit::inspect::Inspected;
use crate::commit::journal::Journal;
use crate::commit::storage::{Part, Storage};
use crate::error::OpenError;
use crate::format::header::{CLEAN, Header};
use crate::format::{PAGE, UNIT, WINDOW};
use crate::heap::lifecycle::{Reserved, limit_capacity, make_core, prepare_counts, publish};
use crate::heap::options::{HeapOptions, Mode};
use crate::heap::owner::Heap;
use crate::heap::relocated::move_pointers;
use crate::os::mapping::{self, Access};
use std::path::PathBuf;

/// Opens a heap for reading. Of one that was not closed, what the log holds is put into this process's memory only.
pub(super) fn open(
    storage: &dyn Storage,
    mut header: Header,
    path: Option<PathBuf>,
    options: &HeapOptions,
) -> Result<Heap, OpenError> {
    let inspected = Some(Journal::inspect(storage, &header)?).filter(|_| header.state != CLEAN);
    limit_capacity(&mut header, options)?;
    let soft = if inspected.is_some() { SoftState::Stale } else { soft_state(storage, &header)? };
    let data_len = inspected.as_ref().map_or(header.file_len, |inspected| inspected.data_len);
    check_data_len(&header, data_len)?;
    let units = data_len.saturating_sub(header.layout.segments.offset).div_ceil(UNIT as u64) as usize;
    let home = header.window;
    let place = Reserved::for_heap_or_copy(&mut header, options)?;
    let (core, moved) = place.keep(|| {
        // Without the log's last images it may be shorter than the commit says.
        map(&header, storage.data_fd(), data_len, storage.len(Part::Data)?, soft, false)?;
        if let Some(inspected) = &inspected {
            put_images(storage, &header, inspected)?;
        }
        let core = make_core(&header, Mode::Atomic, Backing::ReadOnly(None), options)?;
        if soft == SoftState::Stale {
            prepare_counts(core, &header)?;
            // SAFETY: just made; nobody else has it, and its memory can still be written to.
            unsafe { rebuild(core.as_ref(), units) }.inspect_err(|_| {
                // SAFETY: nobody knows of it.
                unsafe { Core::destroy(core.as_ptr()) }
            })?;
        }
        // SAFETY: as above.
        let moved = unsafe { move_pointers(core, home) }.inspect_err(|_| {
            // SAFETY: nobody knows of it.
            unsafe { Core::destroy(core.as_ptr()) }
        })?;
        let base = header.window as usize * WINDOW;
        // SAFETY: addresses of this heap alone; from here on it is only read.
        unsafe { mapping::protect(base, header.layout.end() as usize, Access::Read)? };
        Ok((core, moved))
    })?;
    if let Some(inspected) = &inspected {
        header.commit = inspected.commit;
    }
    Ok(publish(core, header, Mode::Atomic, path, None, moved, options))
}

/// Puts the newest images of the log into a mapped heap's memory.
pub(super) fn put_images(storage: &dyn Storage, header: &Header, inspected: &Inspected) -> Result<(), OpenError> {
    let base = header.window as usize * WINDOW;
    let mut image = [0_u8; PAGE];
    for (&page, &offset) in &inspected.images {
        Inspected::read_image(storage, offset, &mut image)?;
        let place: *mut [u8; PAGE] = std::ptr::with_exposed_provenance_mut(base + page as usize * PAGE);
        // SAFETY: the log was found to name pages of the heap only, which are mapped, and nobody reads them yet.
        unsafe { place.write(image) };
    }
    Ok(())
}

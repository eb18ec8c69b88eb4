//! Opening an atomic heap: replay if it was not closed, then its memory, then the allocator's state.

use super::Atomic;
use super::capture::Capture;
use super::map::{SoftState, map, soft_state};
use crate::alloc::backing::Backing;
use crate::alloc::rebuild::rebuild;
use crate::commit::journal::Journal;
use crate::commit::real::RealStorage;
use crate::commit::storage::{Part, Storage};
use crate::error::OpenError;
use crate::format::UNIT;
use crate::format::header::{CLEAN, HEADER_LEN, Header};
use crate::heap::create::{directory_of, log_path, to_c_string};
use crate::heap::lifecycle::{at_its_place, check_use, limit_capacity, make_core, publish};
use crate::heap::options::{DirtyTracking, HeapOptions, Mode, Recovery};
use crate::heap::owner::Heap;
use crate::os::dirty_pages::{Tracker, Tracking};
use crate::os::file::File;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

/// Opens a heap whose file is locked.
pub(in crate::heap) fn open_file(
    file: File,
    header: Header,
    path: Option<PathBuf>,
    read_only: bool,
    options: &HeapOptions,
) -> Result<Heap, OpenError> {
    let path = path.unwrap_or_default();
    let log = to_c_string(&log_path(&path))?;
    let directory = to_c_string(&directory_of(&path))?;
    let storage = Arc::new(RealStorage::new(file, log, directory, options.permissions));
    if read_only {
        return super::read_only::open(storage, header, Some(path), options);
    }
    open(storage, header, Some(path), options)
}

/// Opens a heap that nobody else has open.
pub(in crate::heap) fn open(
    storage: Arc<dyn Storage>,
    header: Header,
    path: Option<PathBuf>,
    options: &HeapOptions,
) -> Result<Heap, OpenError> {
    let tracker = Tracker::new(options.tracking.map(|tracking| match tracking {
        DirtyTracking::WriteProtect => Tracking::WriteProtect,
        DirtyTracking::Compare => Tracking::Compare,
    }))?;
    let was_clean = header.state == CLEAN;
    let mut replayed = None;
    let journal = if was_clean {
        // Behind it may lie what a close could not cut off any more; it must not show when the heap grows.
        if storage.len(Part::Data)? > header.file_len {
            storage.set_len(Part::Data, header.file_len)?;
        }
        Journal::of_clean(Arc::clone(&storage), header)
    } else {
        let (journal, done) = Journal::recover(Arc::clone(&storage), header)?;
        replayed = Some(done);
        journal
    };
    let mut header = journal.header();
    limit_capacity(&mut header, options)?;
    let data_len = journal.data_len();
    let soft = if was_clean { soft_state(&*storage, &header)? } else { SoftState::Stale };
    let units = data_len.saturating_sub(header.layout.segments.offset).div_ceil(UNIT as u64) as usize;
    let core = at_its_place(&header, || {
        map(&header, storage.data_fd(), data_len, soft, options.huge_pages)?;
        let core = make_core(&header, Backing::Private, options)?;
        if soft == SoftState::Stale && units > 0 {
            // SAFETY: just made; nobody else has it.
            let rebuilt = unsafe { rebuild(core.as_ref(), units) };
            todo!()
        }
        Ok(core)
    })?;
    todo!()
}

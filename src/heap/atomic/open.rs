//! Opening an atomic heap: replay if it was not closed, then its memory, then the allocator's state.

use super::Atomic;
use super::capture::Capture;
use super::map::{SoftState, map, plain_from, soft_state};
use super::preserve::{Kept, Preserving};
use super::read_only;
use super::recover::{State, recover};
use super::stats::Counters;
use super::upkeep::Upkeep;
use crate::alloc::backing::Backing;
use crate::alloc::heap_core::Core;
use crate::alloc::rebuild::rebuild;
use crate::commit::journal::Journal;
use crate::commit::real::RealStorage;
use crate::commit::storage::{Part, Storage};
use crate::error::OpenError;
use crate::format::header::{CLEAN, HOLDER_OFFSET, Header, Holder};
use crate::format::{UNIT, WINDOW};
use crate::heap::create::{directory_of, log_path, to_c_string};
use crate::heap::lifecycle::{at_its_place, check_use, limit_capacity, make_core, prepare_counts, publish};
use crate::heap::options::{DirtyTracking, HeapOptions, Mode};
use crate::heap::owner::Heap;
use crate::heap::unknown_counts;
use crate::os::dirty_pages::{Tracker, Tracking};
use crate::os::file::File;
use crate::os::process;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use zerocopy::IntoBytes;

/// Opens a heap whose file is locked.
pub(in crate::heap) fn open_file(
    file: File,
    header: Header,
    path: &Path,
    read_only: bool,
    options: &HeapOptions,
) -> Result<Heap, OpenError> {
    let log = to_c_string(&log_path(path))?;
    let directory = to_c_string(&directory_of(path))?;
    if read_only {
        let storage = RealStorage::read_only(file, log, directory);
        return read_only::open(&storage, header, Some(path.to_path_buf()), options);
    }
    let storage = Arc::new(RealStorage::new(file, log, directory, options.permissions));
    open(storage, header, Some(path.to_path_buf()), options)
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
    let kept = Arc::<Kept>::default();
    let storage: Arc<dyn Storage> = Arc::new(Preserving { files: storage, kept: Arc::clone(&kept) });
    let was_clean = header.state == CLEAN;
    let (journal, replayed) = Journal::open(Arc::clone(&storage), header)?;
    #[cfg(any(test, feature = "testing"))]
    let journal = match options.log_step {
        Some(least) => journal.with_growth(crate::commit::ring::Growth { least, most: 2 * least }),
        None => journal,
    };
    let journal = Arc::new(journal);
    let mut header = Header { commit: journal.last_commit(), ..journal.header() };
    limit_capacity(&mut header, options)?;
    let data_len = journal.data_len();
    check_data_len(&header, data_len)?;
    let soft = if was_clean { soft_state(&*storage, &header)? } else { SoftState::Stale };
    let units = data_len.saturating_sub(header.layout.segments.offset).div_ceil(UNIT as u64) as usize;
    let (core, (recovery, prepared)) = at_its_place(&header, || {
        map(&header, storage.data_fd(), data_len, storage.len(Part::Data)?, soft, options.huge_pages)?;
        let core = make_core(&header, Mode::Atomic, Backing::Private, options)?;
        if soft == SoftState::Stale {
            prepare_counts(core, &header)?;
            let recovered = rebuild_state(core, &header, units)
                // SAFETY: rebuilt just now, and nobody else has it; the journal's storage is the one above.
                .and_then(|()| unsafe { recover(core.as_ref(), units, &journal, &kept, replayed, options) });
            return recovered.map(|recovered| (core, recovered)).inspect_err(|_| {
                // SAFETY: nobody knows of it.
                unsafe { Core::destroy(core.as_ptr()) }
            });
        }
        Ok((core, (State::None, None)))
    })?;
    // For those who find the file locked; nothing depends on it.
    let holder = Holder { process: process::id(), unused: 0 };
    let _ = storage.write_at(Part::Data, holder.as_bytes(), HOLDER_OFFSET);
    let base = header.window as usize * WINDOW;
    let plain_from = plain_from(&header.layout, data_len);
    let capture = Capture::new(tracker, base, plain_from, header.layout.end() as usize);
    let atomic = Atomic {
        journal,
        tracking: capture.tracker.tracking(),
        leaves_free: AtomicBool::new(false),
        plain_from,
        counters: Counters::default(),
        capture: Arc::new(Mutex::new(capture)),
        upkeep: options.huge_pages.then(Upkeep::default),
        fold_at: options.fold_at,
        log_limit: options.log_limit,
        folding: Mutex::new(None),
        discard: options.discard,
        is_soft_stale: soft == SoftState::Stale,
        recovery: Mutex::new(recovery),
        kept,
    };
    let heap = publish(core, header, Mode::Atomic, path, Some(atomic), None, options);
    if prepared.is_some() {
        unknown_counts::begin(heap.alloc());
    }
    if let (Some(prepared), Some(atomic)) = (prepared, &heap.inner().atomic) {
        atomic.start_recovery(header.window, prepared, replayed);
    }
    Ok(heap)
}

/// What is mapped before the segments must be in the file.
pub(super) fn check_data_len(header: &Header, data_len: u64) -> Result<(), OpenError> {
    let layout = &header.layout;
    let is_possible = (layout.segments.offset..=layout.end()).contains(&data_len);
    is_possible.then_some(()).ok_or(OpenError::Inconsistent { field: "file length of a commit" })
}

/// Makes the allocator's state of a heap that nobody else has yet.
fn rebuild_state(core: NonNull<Core>, header: &Header, units: usize) -> Result<(), OpenError> {
    // SAFETY: made by the caller over fresh soft areas, and nobody else has it.
    let rebuilt = unsafe { rebuild(core.as_ref(), units) }?;
    check_use(header, rebuilt.used_units)
}

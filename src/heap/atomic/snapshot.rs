//! Copies of the last commit in a file of their own.
//!
//! The log is folded, and then stays unfolded until the copy is made: so the heap file holds the commit exactly, as far as
//! that commit reaches. Commits go on meanwhile; what they write to the heap file lies behind that. The copy's header is
//! written last, so an unfinished copy is no heap.

use super::Atomic;
use super::close::new_epoch;
use crate::commit::storage::{Part, Storage};
use crate::error::SyncError;
use crate::format::PAGE;
use crate::format::header::{CLEAN, Header};
use crate::heap::create::{directory_of, random_id, to_c_string};
use crate::heap::gate;
use crate::os::CallError;
use crate::os::file::{File, unlink};
use crate::os::file_ranges::{next_data, share_blocks};
use std::io;
use std::ops::ControlFlow;
use std::path::Path;

/// How far a snapshot has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SnapshotProgress {
    /// Bytes of the heap file that have been dealt with, holes included.
    pub done: u64,
    /// Bytes that there are.
    pub total: u64,
}

/// Bytes that are copied at once.
const STEP: usize = 1 << 20;

/// The first byte that is copied: what lies before is headers.
const START: u64 = 4 * PAGE as u64;

fn os(error: CallError) -> SyncError {
    SyncError::os(error.call, error.errno)
}

impl Atomic {
    /// Writes a copy of the last commit to a new file; returns the commit's number.
    pub(in crate::heap) fn snapshot(
        &self,
        path: &Path,
        permissions: u32,
        progress: &mut dyn FnMut(SnapshotProgress) -> ControlFlow<()>,
    ) -> Result<u64, SyncError> {
        self.wait_for_fold();
        // Also commits that nobody has waited for.
        self.journal.make_durable()?;
        self.journal.fold()?;
        let paused = self.journal.pause_folding();
        let header = self.journal.header();
        let bad_path = |_| SyncError::os("open", io::ErrorKind::InvalidInput);
        let name = to_c_string(path).map_err(bad_path)?;
        let directory = to_c_string(&directory_of(path)).map_err(bad_path)?;
        let file = File::create_new(&name, permissions).map_err(os)?;
        let copied = copy(&**self.journal.storage(), &header, &file, progress);
        drop(paused);
        copied
            .and_then(|()| File::open_directory(&directory).and_then(|directory| directory.sync_all()).map_err(os))
            .inspect_err(|_| {
            let _ = unlink(&name);
        })?;
        Ok(header.folded_through)
    }
}

fn copy(
    storage: &dyn Storage,
    source: &Header,
    file: &File,
    progress: &mut dyn FnMut(SnapshotProgress) -> ControlFlow<()>,
) -> Result<(), SyncError> {
    let total = source.file_len;
    let mut tell = |done| match gate::without_syncs(|| progress(SnapshotProgress { done, total })) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(SyncError::os("snapshot", io::ErrorKind::Interrupted)),
    };
    if share_blocks(storage.data_fd(), file) {
        file.set_len(total).map_err(os)?;
        file.write_at(&[0; START as usize], 0).map_err(os)?;
    } else {
        file.set_len(total).map_err(os)?;
        let mut bytes = vec![0; STEP];
        let mut at = START;
        while let Some(run) = next_data(storage.data_fd(), at, total).map_err(os)? {
            at = run.start;
            while at < run.end {
                let bytes = &mut bytes[..STEP.min((run.end - at) as usize)];
                let read = storage.read_at(Part::Data, bytes, at).map_err(os)?;
                if read < bytes.len() {
                    return Err(SyncError::os("pread", io::ErrorKind::UnexpectedEof));
                }
                file.write_at(bytes, at).map_err(os)?;
                at += read as u64;
                tell(at)?;
            }
        }
    }
    tell(total)?;
    file.sync_all().map_err(os)?;
    let header = Header {
        heap_id: random_id(),
        generation: 0,
        state: CLEAN,
        commit: source.folded_through,
        log_salt: 0,
        log_start: 0,
        log_previous: 0,
        // The allocator's state in the file is not that of this commit.
        epoch: new_epoch(),
        ..*source
    };
    file.write_at(&header.encode(), header.slot_offset()).map_err(os)?;
    file.sync_data().map_err(os)
}

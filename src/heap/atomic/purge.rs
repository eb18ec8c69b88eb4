//! Giving back what an atomic heap does not need, in memory and on the disk.
//!
//! # Invariants
//! - **G1** Memory is given back only where the file holds zeros, or nothing yet: it shows the file again from then on, or
//!   zeros. So the log must be empty: what it holds would be folded into the file later.
//! - **G2** A range is cleared in the file only if the last commit has no run there, and neither has the heap now; nobody
//!   can take it until that is durable.

use super::Atomic;
use super::close::clear;
use crate::alloc::heap_core::Core;
use crate::format::UNIT;
use crate::heap::committed_table::CommittedTable;
use crate::os::mapping;
use std::sync::TryLockError;

impl Atomic {
    /// Gives back free memory, but only runs of at least `least` units; returns how many bytes. What the last commit holds
    /// stays. Nothing while somebody commits.
    pub(in crate::heap) fn purge(&self, core: &Core, least: usize) -> usize {
        // What others fold is waited for first: who commits is not to wait for that as well. Nobody folds while a snapshot is made, nor is that
        // waited for: the caller may be what that tells of its progress. A fold needs nothing that the caller may have.
        if self.is_recovery_pending() || !matches!(self.journal.fold_unless_paused(), Ok(Some(_))) {
            return 0;
        }
        // While it is held, nobody captures or appends. It is not waited for: who has it may wait for the write session that
        // the caller has open.
        let capture = match self.capture.try_lock() {
            Ok(capture) => capture,
            // Whoever panicked had noted everything before.
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return 0,
        };
        // What was appended since. A recovery that was not pending does not become so.
        if !matches!(self.journal.try_fold(), Ok(Some(_))) {
            return 0;
        }
        let paused = self.journal.pause_folding();
        let (header, commit) = self.journal.inspect_paused(&paused);
        if !self.journal.is_folded() {
            return 0;
        }
        let storage = &**self.journal.storage();
        // Of what makes no sense nobody knows what it takes.
        let Ok(table) = CommittedTable::read(storage, &header, &commit) else { return 0 };
        if !table.is_whole() {
            return 0;
        }
        let file_len = header.file_len as usize;
        let mut runs = Vec::new();
        {
            let _guard = core.lock.lock();
            // SAFETY: under the lock (K1).
            let space = unsafe { &mut *core.space.get() };
            space.give_back(least, true, |offset, len| {
                let first = (offset - core.layout.segments.offset as usize) / UNIT;
                let in_commit = (first..first + len / UNIT).any(|unit| table.runs.is_used(unit));
                if !in_commit && (offset + len <= file_len || !capture.left_something()) {
                    runs.push((offset, len));
                }
                false
            });
            // From here on they are nobody else's.
            for &(offset, len) in &runs {
                space.hold(offset, len / UNIT);
            }
        }
        let in_file = |offset: usize, len: usize| (offset + len).min(file_len).saturating_sub(offset);
        let mut cleared = Ok(());
        for &(offset, len) in &runs {
            let len = in_file(offset, len);
            if len > 0 {
                cleared = cleared.and_then(|()| clear(&core.layout, storage, offset, len));
            }
        }
        // What reads as zeros from now on is in no commit: it must be so on the medium.
        let is_durable = cleared.is_ok() && self.journal.sync_heap_file().is_ok();
        let _guard = core.lock.lock();
        // SAFETY: under the lock (K1).
        let space = unsafe { &mut *core.space.get() };
        let mut bytes = 0;
        for (offset, len) in runs {
            // SAFETY: the range is held by this call alone; the file holds zeros there, or is not that long (G1).
            let is_zeroed = is_durable && unsafe { mapping::discard(core.base + offset, len).is_ok() };
            space.let_go(offset, len / UNIT, is_zeroed);
            bytes += if is_zeroed { len } else { 0 };
        }
        core.totals.count_purge(bytes);
        bytes
    }
}

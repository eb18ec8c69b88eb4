//! Folding: the newest durable images go into the heap file, and their records' space becomes free.
//!
//! A fold works on the records there are when it begins, without a lock that an append needs. One fold at a time, none
//! while somebody has a [`FoldPause`].

use super::apply::{self, Newest};
use super::clean::write_fold_mark;
use super::journal::{AppendError, Journal, lock};
use super::record::Record;
use super::storage::Part;
use crate::format::PAGE;
use crate::format::header::Header;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// What a fold did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Folded {
    /// Images that were written into the heap file.
    pub(crate) pages: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
}

/// Whose turn it is.
#[derive(Debug, Default)]
pub(super) struct Folding {
    /// How many have paused it, and whether somebody folds.
    turns: Mutex<(usize, bool)>,
    changed: Condvar,
}

/// While it lives, nothing is folded.
#[derive(Debug)]
pub(crate) struct FoldPause {
    folding: Arc<Folding>,
}

impl Drop for FoldPause {
    fn drop(&mut self) {
        lock(&self.folding.turns).0 -= 1;
        self.folding.changed.notify_all();
    }
}

/// The right to fold.
pub(super) struct Turn<'a> {
    folding: &'a Folding,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        lock(&self.folding.turns).1 = false;
        self.folding.changed.notify_all();
    }
}

impl Folding {
    /// Waits until nobody folds, and nobody has paused it.
    pub(super) fn turn(&self) -> Turn<'_> {
        let turns = lock(&self.turns);
        let busy = |turns: &mut (usize, bool)| turns.0 > 0 || turns.1;
        let mut turns = self.changed.wait_while(turns, busy).unwrap_or_else(PoisonError::into_inner);
        turns.1 = true;
        Turn { folding: self }
    }

    fn try_turn(&self) -> Option<Turn<'_>> {
        let mut turns = lock(&self.turns);
        if turns.0 > 0 || turns.1 {
            return None;
        }
        turns.1 = true;
        Some(Turn { folding: self })
    }
}

impl Journal {
    /// Stops folding until the guard is dropped; waits for a fold that is under way.
    pub(crate) fn pause_folding(&self) -> FoldPause {
        let turns = lock(&self.folding.turns);
        let mut turns = self.folding.changed.wait_while(turns, |turns| turns.1).unwrap_or_else(PoisonError::into_inner);
        turns.0 += 1;
        FoldPause { folding: Arc::clone(&self.folding) }
    }

    /// Whether somebody has a [`FoldPause`].
    pub(crate) fn is_folding_paused(&self) -> bool {
        lock(&self.folding.turns).0 > 0
    }

    /// Folds all commits that are durable now. Waits while folding is paused or another fold is under way.
    pub(crate) fn fold(&self) -> Result<Folded, AppendError> {
        let turn = self.folding.turn();
        self.fold_in(&turn)
    }

    /// As [`Journal::fold`]; none if it would have to wait.
    pub(crate) fn try_fold(&self) -> Result<Option<Folded>, AppendError> {
        self.folding.try_turn().map(|turn| self.fold_in(&turn)).transpose()
    }

    pub(super) fn fold_in(&self, _turn: &Turn<'_>) -> Result<Folded, AppendError> {
        self.check_files()?;
        let (records, header) = {
            let state = lock(&self.state);
            let durable = |record: &&Arc<Record>| record.header.commit <= state.durable;
            let records: Vec<_> = state.records.iter().take_while(durable).cloned().collect();
            let Some(last) = records.last() else { return Ok(Folded::default()) };
            let header = Header {
                commit: state.durable,
                folded_through: last.header.commit,
                // What follows is there, or will be, or will be jumped to from there.
                log_start: state.records.get(records.len()).map_or(state.ring.end(), |next| next.offset),
                log_previous: last.header.checksum,
                file_len: last.header.data_len,
                ..state.header
            };
            (records, header)
        };
        let (pages, folded) = self.apply(&records)?;
        self.sync(Part::Data)?;
        self.write_header(header)?;
        self.forget(records.len(), &pages);
        Ok(folded)
    }

    /// Writes what the records, all of them durable, say into the heap file (J2).
    pub(super) fn apply(&self, records: &[Arc<Record>]) -> Result<(Vec<Newest>, Folded), AppendError> {
        let Some(last) = records.last() else { return Ok(Default::default()) };
        let header = self.header();
        let data_len = last.header.data_len;
        let area = header.layout.checksums();
        let longest = records.iter().map(|record| record.header.data_len).fold(header.file_len, u64::max);
        let shortest = records.iter().map(|record| record.header.data_len).fold(data_len, u64::min);
        let pages = apply::newest(records, data_len);
        // What cannot be read back, or was read back otherwise than it was written, has to stay in the log.
        let written = write_fold_mark(&*self.storage, &header, last.header.commit)
            .and_then(|()| apply::write_images(&*self.storage, &pages, true))
            .and_then(|written| {
                if shortest < longest {
                    apply::clear_checksums(&*self.storage, area, shortest, longest)?;
                }
                apply::write_checksums(&*self.storage, area, &pages)?;
                Ok(written)
            })
            .map_err(|error| self.write_failed(error))?;
        Ok((pages, Folded { pages: written, bytes: written * PAGE as u64 }))
    }

    /// Takes the first `count` records, whose pages these are, out of memory and frees their space: the header that says
    /// that they are folded is durable (J1).
    pub(super) fn forget(&self, count: usize, pages: &[Newest]) {
        let mut state = lock(&self.state);
        let state = &mut *state;
        let through = state.header.folded_through;
        state.drain(count);
        // Not the next record's own place: a jump to it may lie where the header says that the chain goes on.
        let next = (!state.records.is_empty()).then_some(state.header.log_start);
        state.ring.free_before(next);
        if state.records.is_empty() {
            state.newest.clear();
        } else {
            for newest in pages {
                if state.newest.get(&newest.page).is_some_and(|(commit, _)| *commit <= through) {
                    state.newest.remove(&newest.page);
                }
            }
        }
    }
}

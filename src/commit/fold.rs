//! Folding: the newest durable images go into the heap file, and their records' space becomes free.
//!
//! A fold works on the records there are when it begins, without a lock that an append needs. One fold at a time, none
//! while somebody has a [`FoldPause`].

use super::apply::{self, Newest};
use super::clean::write_fold_mark;
use super::journal::{AppendError, Journal, lock};
use super::record::{Record, write_zeros};
use super::storage::Part;
use crate::format::PAGE;
use crate::format::header::Header;
use crate::format::log_record::RECORDS_START;
#[cfg(test)]
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

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
    turns: Mutex<Turns>,
    changed: Condvar,
    /// How many are about to pause it.
    #[cfg(test)]
    pausing: std::sync::atomic::AtomicUsize,
}

#[derive(Debug, Default)]
struct Turns {
    /// How many have paused it.
    paused: usize,
    /// How many wait for their turn.
    waiting: usize,
    /// Whether somebody folds.
    is_taken: bool,
}

impl Turns {
    fn is_free(&self) -> bool {
        self.paused == 0 && !self.is_taken
    }
}

/// While it lives, nothing is folded.
#[derive(Debug)]
pub(crate) struct FoldPause {
    folding: Arc<Folding>,
}

impl Drop for FoldPause {
    fn drop(&mut self) {
        lock(&self.folding.turns).paused -= 1;
        self.folding.changed.notify_all();
    }
}

/// The right to fold.
pub(super) struct Turn<'a> {
    folding: &'a Folding,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        lock(&self.folding.turns).is_taken = false;
        self.folding.changed.notify_all();
    }
}

impl Folding {
    /// Waits until nobody folds, and nobody has paused it.
    pub(super) fn turn(&self) -> Turn<'_> {
        let turns = lock(&self.turns);
        let mut turns =
            self.changed.wait_while(turns, |turns| !turns.is_free()).unwrap_or_else(PoisonError::into_inner);
        turns.is_taken = true;
        Turn { folding: self }
    }

    /// As [`Folding::turn`], for at most so long.
    fn turn_within(&self, limit: Duration) -> Option<Turn<'_>> {
        let mut turns = lock(&self.turns);
        turns.waiting += 1;
        let (mut turns, _) = self
            .changed
            .wait_timeout_while(turns, limit, |turns| !turns.is_free())
            .unwrap_or_else(PoisonError::into_inner);
        turns.waiting -= 1;
        let turn = self.take(turns);
        self.changed.notify_all();
        turn
    }

    /// As [`Folding::turn`]; none while somebody has paused it.
    fn turn_unless_paused(&self) -> Option<Turn<'_>> {
        let turns = lock(&self.turns);
        let waits = |turns: &mut Turns| turns.paused == 0 && turns.is_taken;
        self.take(self.changed.wait_while(turns, waits).unwrap_or_else(PoisonError::into_inner))
    }

    fn try_turn(&self) -> Option<Turn<'_>> {
        self.take(lock(&self.turns))
    }

    /// A turn, if it is free.
    fn take(&self, mut turns: MutexGuard<'_, Turns>) -> Option<Turn<'_>> {
        let is_free = turns.is_free();
        turns.is_taken |= is_free;
        // Made only then: one that is dropped ends the turn that somebody else has.
        is_free.then(|| Turn { folding: self })
    }
}

impl Journal {
    /// Stops folding until the guard is dropped; waits for a fold that is under way.
    pub(crate) fn pause_folding(&self) -> FoldPause {
        #[cfg(test)]
        self.folding.pausing.fetch_add(1, Ordering::Relaxed);
        let turns = lock(&self.folding.turns);
        let mut turns =
            self.folding.changed.wait_while(turns, |turns| turns.is_taken).unwrap_or_else(PoisonError::into_inner);
        #[cfg(test)]
        self.folding.pausing.fetch_sub(1, Ordering::Relaxed);
        turns.paused += 1;
        FoldPause { folding: Arc::clone(&self.folding) }
    }

    /// Whether somebody has a [`FoldPause`].
    pub(crate) fn is_folding_paused(&self) -> bool {
        lock(&self.folding.turns).paused > 0
    }

    /// Whether somebody waits for a turn with a limit.
    #[cfg(test)]
    pub(super) fn is_fold_awaited(&self) -> bool {
        lock(&self.folding.turns).waiting > 0
    }

    /// Whether somebody waits until he can pause it.
    #[cfg(test)]
    pub(crate) fn is_pause_awaited(&self) -> bool {
        // Relaxed: a count.
        self.folding.pausing.load(Ordering::Relaxed) > 0
    }

    /// For who pauses folding again and again: lets those go first who wait for their turn with a limit, if nobody else has
    /// paused it.
    pub(crate) fn let_fold(&self) {
        let turns = lock(&self.folding.turns);
        let wanted = |turns: &mut Turns| turns.waiting > 0 && turns.paused == 0;
        // They are there, and need no more than to wake up.
        let waited = self.folding.changed.wait_timeout_while(turns, Duration::from_secs(1), wanted);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// Folds all commits that are durable now. Waits while folding is paused or another fold is under way.
    pub(crate) fn fold(&self) -> Result<Folded, AppendError> {
        let turn = self.folding.turn();
        self.fold_in(&turn)
    }

    /// As [`Journal::fold`]; none while folding is paused.
    pub(crate) fn fold_unless_paused(&self) -> Result<Option<Folded>, AppendError> {
        self.folding.turn_unless_paused().map(|turn| self.fold_in(&turn)).transpose()
    }

    /// As [`Journal::fold`]; none if it would have to wait.
    pub(crate) fn try_fold(&self) -> Result<Option<Folded>, AppendError> {
        self.folding.try_turn().map(|turn| self.fold_in(&turn)).transpose()
    }

    /// As [`Journal::fold`], also of what was only written; none if it would have to wait for longer than that.
    pub(crate) fn fold_within(&self, limit: Duration) -> Result<Option<Folded>, AppendError> {
        self.make_durable()?;
        self.folding.turn_within(limit).map(|turn| self.fold_in(&turn)).transpose()
    }

    /// As [`Journal::try_fold`], also of what was only written. The next record has all of the log then: otherwise it has
    /// what lies before or behind the place where the chain goes on.
    pub(crate) fn try_empty(&self) -> Result<Option<Folded>, AppendError> {
        let Some(turn) = self.folding.try_turn() else { return Ok(None) };
        // So that nothing is appended where the chain goes on no longer.
        let _appender = lock(&self.appending);
        self.make_durable_locked()?;
        let folded = self.fold_in(&turn)?;
        self.rewind()?;
        Ok(Some(folded))
    }

    /// Lets the chain go on at the start of the log. Everything has been folded, and nobody appends.
    fn rewind(&self) -> Result<(), AppendError> {
        let header = {
            let state = lock(&self.state);
            if !state.is_begun || !state.records.is_empty() || state.ring.end() == RECORDS_START {
                return Ok(());
            }
            Header { log_start: RECORDS_START, ..state.header }
        };
        // The record of a commit that a power cut took may lie there and continue the chain, if only the jump to it was
        // lost.
        write_zeros(&*self.storage, Part::Log, RECORDS_START, RECORDS_START + PAGE as u64)
            .map_err(|error| self.write_failed(error))?;
        self.sync(Part::Log)?;
        // Both slots: who found the one before would look for the next commit where the chain went on, and miss it.
        self.write_header(header)?;
        // That is where the medium says that the chain goes on, whatever becomes of the other slot.
        {
            let mut state = lock(&self.state);
            state.ring.rewind();
            self.show(&state);
        }
        self.write_header(self.header())
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
        self.show(state);
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever had waited in vain ended the turn of who folded, and a second one could fold at the same time.
    #[test]
    fn who_waits_in_vain_leaves_the_turn_to_who_has_it() {
        let folding = Folding::default();
        let turn = folding.turn();
        assert!(folding.turn_within(Duration::ZERO).is_none() && folding.try_turn().is_none());
        drop(turn);
        let turn = folding.try_turn();
        assert!(turn.is_some() && folding.turn_within(Duration::ZERO).is_none());
        drop(turn);
        assert!(folding.turn_unless_paused().is_some());
    }
}

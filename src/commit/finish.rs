//! Closing a heap well: everything goes into the heap file, and the log goes.

use super::journal::{AppendError, Journal, lock, rewrite_header};
use super::storage::{Part, Storage};
use crate::format::header::{CLEAN, Header};
use crate::os::CallError;
use core::sync::atomic::{AtomicBool, Ordering};

/// Passes calls on, and begins the journal before the first that changes the heap file: the header must not say *clean*
/// while it is changed.
#[derive(Debug)]
struct Soft<'a> {
    journal: &'a Journal,
    has_written: AtomicBool,
}

impl Soft<'_> {
    fn begin(&self) -> Result<(), CallError> {
        // Relaxed: one thread.
        self.has_written.store(true, Ordering::Relaxed);
        if lock(&self.journal.state).is_begun {
            return Ok(());
        }
        self.journal.begin().map_err(|error| match error {
            AppendError::Os(error) => error,
            AppendError::Broken => CallError { call: "write", errno: crate::os::errno::IO },
        })
    }
}

impl Storage for Soft<'_> {
    fn read_at(&self, part: Part, bytes: &mut [u8], offset: u64) -> Result<usize, CallError> {
        self.journal.storage.read_at(part, bytes, offset)
    }

    fn write_at(&self, part: Part, bytes: &[u8], offset: u64) -> Result<(), CallError> {
        self.begin()?;
        self.journal.storage.write_at(part, bytes, offset)
    }

    fn sync_data(&self, part: Part) -> Result<(), CallError> {
        self.journal.storage.sync_data(part)
    }

    fn reserve(&self, part: Part, offset: u64, len: u64) -> Result<(), CallError> {
        self.begin()?;
        self.journal.storage.reserve(part, offset, len)
    }

    fn set_len(&self, part: Part, len: u64) -> Result<(), CallError> {
        self.begin()?;
        self.journal.storage.set_len(part, len)
    }

    fn clear(&self, part: Part, offset: u64, len: u64) -> Result<(), CallError> {
        self.begin()?;
        self.journal.storage.clear(part, offset, len)
    }

    fn punch(&self, part: Part, offset: u64, len: u64) -> Result<bool, CallError> {
        self.begin()?;
        self.journal.storage.punch(part, offset, len)
    }

    fn len(&self, part: Part) -> Result<u64, CallError> {
        self.journal.storage.len(part)
    }

    fn open_log(&self) -> Result<bool, CallError> {
        self.journal.storage.open_log()
    }

    fn create_log(&self) -> Result<(), CallError> {
        self.journal.storage.create_log()
    }

    fn remove_log(&self) -> Result<(), CallError> {
        self.journal.storage.remove_log()
    }

    fn sync_directory(&self) -> Result<(), CallError> {
        self.journal.storage.sync_directory()
    }

    fn data_fd(&self) -> i32 {
        self.journal.storage.data_fd()
    }

    fn keep_length(&self) {
        self.journal.storage.keep_length();
    }

    fn close(&self) {}
}

impl Journal {
    /// For a clean close: folds everything, lets `write_soft` write further pages of the heap file, makes all of it
    /// durable, then the header, as `change` changes it, that says *clean*; then removes the log. Nothing is written when
    /// nothing was appended, nothing soft is written and nothing is changed.
    ///
    /// What the heap file has behind its valid length is cleared, not cut off: somebody may have it mapped. Waits while
    /// folding is paused.
    ///
    /// After a failure that did not break the journal it can be called again.
    pub(crate) fn finish(
        &self,
        write_soft: impl FnOnce(&dyn Storage) -> Result<(), CallError>,
        change: impl FnOnce(&mut Header),
    ) -> Result<(), AppendError> {
        let turn = self.folding.turn();
        let _appender = lock(&self.appending);
        // Also what was only written: nothing may reach the heap file whose record can still be lost (J2).
        let last = self.make_durable_locked()?;
        if self.names_direct_pages() {
            // They may lie in memory that has been freed since, and be cleared below: then no record may name them.
            self.fold_in(&turn)?;
        }
        let (records, data_len) = {
            let state = lock(&self.state);
            (state.records.iter().cloned().collect::<Vec<_>>(), state.data_len)
        };
        let (pages, _) = self.apply(&records)?;
        let soft = Soft { journal: self, has_written: AtomicBool::new(false) };
        write_soft(&soft).map_err(|error| self.write_failed(error))?;

        let before = self.header();
        let mut header = Header { commit: last, folded_through: last, file_len: data_len, ..before };
        change(&mut header);
        header = Header { state: CLEAN, log_salt: 0, log_start: 0, log_previous: 0, ..header };
        let is_begun = lock(&self.state).is_begun;
        if !is_begun && header == before {
            return Ok(());
        }
        let storage = &*self.storage;
        if is_begun {
            let len = storage.len(Part::Data).map_err(|error| self.fail(error, false))?;
            if len > header.file_len {
                storage
                    .clear(Part::Data, header.file_len, len - header.file_len)
                    .map_err(|error| self.write_failed(error))?;
            }
            self.sync(Part::Data)?;
        } else {
            // The other slot may be needed until this one is on the medium.
            rewrite_header(storage, &before).map_err(|error| self.fail(error, true))?;
        }
        self.write_header(header)?;
        self.forget(records.len(), &pages);
        if is_begun {
            lock(&self.state).is_begun = false;
            storage.remove_log().map_err(|error| self.fail(error, false))?;
            storage.sync_directory().map_err(|error| self.fail(error, true))?;
        }
        Ok(())
    }
}

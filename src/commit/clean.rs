//! Opening a heap whichever way it was left, and what is to be believed of a header that says *clean*.
//!
//! Of two header slots the newer counts. When it is damaged, the one before says what was so before: that the heap was
//! closed, for instance, although commits have been acknowledged since, all of them in the log. So who finds a clean
//! header looks at the log that may lie beside the file. After an ordinary crash it is one of these:
//! - the log of the opening that ended with this header, whose removal was interrupted: none of its commits is later than
//!   the header's, but for remains of commits that a power cut had taken, which continue nothing;
//! - a log that was begun and has no record, because the header that names it was not written yet.
//!
//! Neither holds at its start a whole record of the commit behind the header's that continues the log's own beginning: the
//! first kind began before the header's commit, or that record would be no part of a log without commits. Nor does any
//! record of theirs say that a later commit had been durable before it.

use super::apply::read_padded;
use super::chain::{self, Chain};
use super::journal::{Journal, rewrite_header};
use super::recovery::Replayed;
use super::storage::{Part, Storage};
use crate::error::OpenError;
use crate::format::PAGE;
use crate::format::fold_mark::{FOLD_MARK_LEN, FoldMark};
use crate::format::header::{CLEAN, Header, IN_USE};
use crate::format::log_record::{Identity, RECORDS_START};
use crate::os::CallError;
use std::sync::Arc;

impl Journal {
    /// Opens a heap for writing. Of one that was not closed the heap file holds the last commit afterwards.
    pub(crate) fn open(storage: Arc<dyn Storage>, header: Header) -> Result<(Self, Replayed), OpenError> {
        if header.state != CLEAN {
            return Self::recover(storage, header);
        }
        check_clean(&*storage, &header)?;
        // Behind it may lie what a close could not cut off any more; it must not show when the heap grows.
        if storage.len(Part::Data)? > header.file_len {
            // The header may be in the page cache only, and the one on the medium may need the rest.
            rewrite_header(&*storage, &header)?;
            storage.set_len(Part::Data, header.file_len)?;
        }
        Ok((Self::of_clean(storage, header), Replayed::default()))
    }
}

/// Fails if the files say that there were commits behind that of a clean header.
pub(super) fn check_clean(storage: &dyn Storage, header: &Header) -> Result<(), OpenError> {
    check_fold_mark(storage, header, header.commit)?;
    match later_log(storage, header)? {
        Some(later) => Err(later.error(header)),
        None => Ok(()),
    }
}

/// A log that goes on behind a clean header.
#[derive(Debug)]
pub(super) struct LaterLog {
    /// The header that it could have.
    pub(super) header: Header,
    pub(super) chain: Chain,
    /// Where the chain breaks off, if it does so by damage.
    damaged_at: Option<u64>,
}

impl LaterLog {
    pub(super) fn error(&self, header: &Header) -> OpenError {
        let expected = self.chain.last + u64::from(self.damaged_at.is_some());
        OpenError::CommitsMissing { found: header.commit, expected }
    }
}

/// Looks for a log with commits behind a clean header. What is no log of this heap does not count.
pub(super) fn later_log(storage: &dyn Storage, header: &Header) -> Result<Option<LaterLog>, OpenError> {
    if !storage.open_log()? {
        return Ok(None);
    }
    let mut page = [0; PAGE];
    read_padded(storage, Part::Log, &mut page, 0)?;
    let Some(log) = Identity::decode(&page).filter(|log| log.heap_id == header.heap_id) else { return Ok(None) };
    let header = Header {
        state: IN_USE,
        log_salt: log.salt,
        log_start: RECORDS_START,
        log_previous: log.seed(),
        folded_through: header.commit,
        ..*header
    };
    let (chain, damaged_at) = chain::read_prefix(storage, &header)?;
    let is_later = chain.last > header.commit || damaged_at.is_some();
    Ok(is_later.then_some(LaterLog { header, chain, damaged_at }))
}

/// Says in the heap file that what is written to it from here on is of commits up to `through`, all of them durable in the
/// log. It need not be durable itself.
pub(super) fn write_fold_mark(storage: &dyn Storage, header: &Header, through: u64) -> Result<(), CallError> {
    storage.write_at(Part::Data, &FoldMark::encode(header.heap_id, through), header.layout.fold_mark())
}

/// Fails if something of later commits than `last` may be in the heap file.
pub(super) fn check_fold_mark(storage: &dyn Storage, header: &Header, last: u64) -> Result<(), OpenError> {
    let mut mark = [0; FOLD_MARK_LEN];
    read_padded(storage, Part::Data, &mut mark, header.layout.fold_mark())?;
    match FoldMark::decode(&mark, header.heap_id) {
        Some(through) if through > last => Err(OpenError::CommitsMissing { found: last, expected: through }),
        _ => Ok(()),
    }
}

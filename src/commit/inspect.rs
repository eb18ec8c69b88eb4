//! Looking at a heap's last commit without changing a file.

use super::apply::{self, Newest};
use super::chain::{self, Chain};
use super::clean::{check_clean, check_fold_mark, later_log};
use super::fold::FoldPause;
use super::journal::{Journal, lock};
use super::record::Record;
use super::recovery::read_chain;
use super::storage::{Part, Storage};
use crate::error::OpenError;
use crate::format::PAGE;
use crate::format::header::{CLEAN, Header};
use crate::os::CallError;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The last commit of a heap, found without changing a file.
#[derive(Debug)]
pub(crate) struct Inspected {
    pub(crate) commit: u64,
    /// Bytes of the heap file that are valid.
    pub(crate) data_len: u64,
    /// Where in the log the newest image of a page lies; every other page is as the heap file has it.
    pub(crate) images: BTreeMap<u64, u64>,
    /// What the log says of each page that it names, by page.
    pub(crate) named: Vec<Newest>,
}

impl Inspected {
    /// A commit that is in the heap file as a whole.
    pub(crate) fn in_file(commit: u64, data_len: u64) -> Self {
        Self { commit, data_len, images: BTreeMap::new(), named: Vec::new() }
    }

    fn of_records(commit: u64, data_len: u64, records: &[Arc<Record>]) -> Self {
        let named = apply::newest(records, data_len);
        let images = named.iter().filter_map(|newest| Some((newest.page, newest.image?))).collect();
        Self { commit, data_len, images, named }
    }

    fn of_chain(chain: &Chain) -> Self {
        Self::of_records(chain.last, chain.data_len, &chain.records)
    }

    /// What the log says of a page: its checksum, and where its image lies; none if it was written to the heap file.
    pub(crate) fn named_page(&self, page: u64) -> Option<(u32, Option<u64>)> {
        let at = self.named.binary_search_by_key(&page, |newest| newest.page).ok()?;
        Some((self.named[at].checksum, self.named[at].image))
    }

    /// Reads an image at a place that `images` names.
    pub(crate) fn read_image(storage: &dyn Storage, offset: u64, into: &mut [u8; PAGE]) -> Result<(), CallError> {
        apply::read_exactly(storage, Part::Log, into, offset)
    }

    /// A page as of the commit.
    pub(crate) fn read_page(&self, storage: &dyn Storage, page: u64, into: &mut [u8; PAGE]) -> Result<(), CallError> {
        if page >= self.data_len / PAGE as u64 {
            into.fill(0);
            return Ok(());
        }
        match self.images.get(&page) {
            Some(&offset) => Self::read_image(storage, offset, into),
            None => apply::read_padded(storage, Part::Data, into, page * PAGE as u64),
        }
    }
}

impl Journal {
    /// Finds the last commit without changing anything, for a heap that is only read, whether it was closed or not.
    pub(crate) fn inspect(storage: &dyn Storage, header: &Header) -> Result<Inspected, OpenError> {
        if header.state == CLEAN {
            check_clean(storage, header)?;
            return Ok(Inspected::in_file(header.commit, header.file_len));
        }
        Ok(Inspected::of_chain(&read_chain(storage, header)?))
    }

    /// As [`Journal::inspect`], with what can be had of a log that is damaged, missing, another heap's, or not known to the
    /// header: its longest good beginning. Then pages that the log no longer tells of may be newer in the heap file than
    /// the commit is. Also says what is wrong, and makes the header one that names the log.
    pub(crate) fn salvage(storage: &dyn Storage, header: &mut Header) -> (Inspected, Option<OpenError>) {
        let (found, flaw) = Self::salvage_log(storage, header);
        let flaw = flaw.or_else(|| check_fold_mark(storage, header, found.commit).err());
        (found, flaw)
    }

    fn salvage_log(storage: &dyn Storage, header: &mut Header) -> (Inspected, Option<OpenError>) {
        if header.state == CLEAN {
            return match later_log(storage, header) {
                Ok(Some(later)) => {
                    let error = later.error(header);
                    *header = later.header;
                    (Inspected::of_chain(&later.chain), Some(error))
                }
                done => (Inspected::in_file(header.commit, header.file_len), done.err()),
            };
        }
        let read = match storage.open_log() {
            Ok(true) => chain::read_prefix(storage, header),
            Ok(false) => Err(OpenError::LogMissing),
            Err(error) => Err(OpenError::os(error.call, error.errno)),
        };
        match read {
            Ok((chain, damaged_at)) => {
                (Inspected::of_chain(&chain), damaged_at.map(|offset| OpenError::DamagedLog { offset }))
            }
            Err(error) => (Inspected::in_file(header.folded_through, header.file_len), Some(error)),
        }
    }

    /// The last commit, and the header in the file, of a heap that is open. Commits that come later are not seen, and what
    /// they write lies elsewhere, as long as folding is paused.
    pub(crate) fn inspect_paused(&self, _paused: &FoldPause) -> (Header, Inspected) {
        let state = lock(&self.state);
        let records: Vec<_> = state.records.iter().cloned().collect();
        (state.header, Inspected::of_records(state.last, state.data_len, &records))
    }
}

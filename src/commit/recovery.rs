//! Opening a heap that was not closed: its last commit, from the heap file and the log.
//!
//! What is read may be in the page cache only: of a process that was killed before it synced, or whose sync failed. So
//! the header, and each record that is not known to be durable, is written again and synced before an image goes into
//! the heap file; else a power cut could leave half of what a lost record says.

use super::apply::{self, Newest};
use super::chain::{self, Chain};
use super::clean::{check_fold_mark, write_fold_mark};
use super::journal::{Journal, State, rewrite_header};
use super::record::Record;
use super::ring::{Growth, Ring};
use super::storage::{Part, Storage};
use crate::error::OpenError;
use crate::format::PAGE;
use crate::format::header::Header;
use crate::format::log_record::BLOCK;
use crate::os::CallError;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a recovery did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Replayed {
    /// Commits that were in the log.
    pub(crate) commits: u64,
    /// Pages that were written into the heap file.
    pub(crate) pages: u64,
    /// Bytes of the log that were read for them.
    pub(crate) bytes: u64,
    /// The commit that the heap is at now.
    pub(crate) last_commit: u64,
    /// How long it took.
    pub(crate) took: Duration,
}

pub(super) fn read_chain(storage: &dyn Storage, header: &Header) -> Result<Chain, OpenError> {
    if !storage.open_log()? {
        return Err(OpenError::LogMissing);
    }
    let found = storage.len(Part::Data)?;
    if found < header.file_len {
        return Err(OpenError::Truncated { expected: header.file_len, found });
    }
    let chain = chain::read(storage, header)?;
    check_fold_mark(storage, header, chain.last)?;
    check_direct(storage, &chain)?;
    Ok(chain)
}

/// Looks whether the heap file holds the pages that commits wrote to it directly: a copy of the files may be of two moments.
/// All of them are read, as the log is: together they are what folding keeps within bounds.
fn check_direct(storage: &dyn Storage, chain: &Chain) -> Result<(), OpenError> {
    let found = storage.len(Part::Data)?;
    let mut direct = apply::newest(&chain.records, chain.data_len);
    direct.retain(|newest| newest.image.is_none());
    match direct.last().map(|newest| (newest.page + 1) * PAGE as u64) {
        Some(expected) if expected > found => return Err(OpenError::Truncated { expected, found }),
        _ => {}
    }
    match apply::first_changed(storage, &direct)? {
        Some(page) => Err(OpenError::DamagedPage { offset: page * PAGE as u64 }),
        None => Ok(()),
    }
}

/// Writes a range of the log once more, as it reads.
fn rewrite(storage: &dyn Storage, from: u64, to: u64, buffer: &mut Vec<u8>) -> Result<(), CallError> {
    let mut at = from;
    while at < to {
        buffer.resize((to - at).min(1 << 20) as usize, 0);
        apply::read_exactly(storage, Part::Log, buffer, at)?;
        storage.write_at(Part::Log, buffer, at)?;
        at += buffer.len() as u64;
    }
    Ok(())
}

/// Makes zero what the heap file got since `folded_through` and no commit names, between `from` and `to`: remains of direct
/// pages whose commit failed, and of a tail that an earlier recovery cut off.
fn clear_unnamed(storage: &dyn Storage, from: u64, to: u64, pages: &[Newest]) -> Result<(), CallError> {
    let (first, end) = (from / PAGE as u64, to.div_ceil(PAGE as u64));
    let mut from = first;
    let named = pages.iter().map(|newest| newest.page).filter(|page| (first..end).contains(page));
    for page in named.chain([end]) {
        if page > from {
            storage.clear(Part::Data, from * PAGE as u64, (page - from) * PAGE as u64)?;
        }
        from = page + 1;
    }
    Ok(())
}

/// Makes durable what recovery rests on.
fn secure(storage: &dyn Storage, header: &Header, chain: &Chain) -> Result<(), CallError> {
    let mut buffer = Vec::new();
    let unsure = |record: &&Arc<Record>| record.header.commit > chain.durable;
    for record in chain.records.iter().filter(unsure) {
        if let Some(at) = record.jump_at {
            rewrite(storage, at, at + BLOCK, &mut buffer)?;
        }
        rewrite(storage, record.offset, record.offset + record.header.record_len(), &mut buffer)?;
    }
    storage.sync_data(Part::Log)?;
    storage.sync_directory()?;
    // The slot that the next header goes to may be the one that the medium still needs.
    rewrite_header(storage, header)
}

impl Journal {
    /// Recovers a heap whose header says *in use*: afterwards the heap file holds the last commit, and the journal goes
    /// on behind it. The log stays as it is until the next fold, so the heap file need not be synced.
    pub(crate) fn recover(storage: Arc<dyn Storage>, header: Header) -> Result<(Self, Replayed), OpenError> {
        let started = Instant::now();
        let chain = read_chain(&*storage, &header)?;
        secure(&*storage, &header, &chain)?;
        let pages = apply::newest(&chain.records, chain.data_len);
        let found = storage.len(Part::Data)?;
        storage.set_len(Part::Data, chain.data_len)?;
        clear_unnamed(&*storage, header.file_len, found.min(chain.data_len), &pages)?;
        if !chain.records.is_empty() {
            write_fold_mark(&*storage, &header, chain.last)?;
        }
        let written = apply::write_images(&*storage, &pages, false)?;

        let replayed = Replayed {
            commits: chain.records.len() as u64,
            pages: written,
            bytes: chain.records.iter().map(|record| record.header.record_len()).sum(),
            last_commit: chain.last,
            took: Duration::ZERO,
        };
        let growth = Growth::default();
        let mut state = State {
            header,
            is_begun: true,
            is_broken: false,
            records: VecDeque::new(),
            direct_pages: 0,
            longest: 0,
            // A write of zeros that was broken off can have left part of a block.
            ring: Ring::new(header.log_start, chain.log_len / BLOCK * BLOCK, growth),
            newest: HashMap::new(),
            last: chain.last,
            durable: chain.last,
            checksum: chain.checksum,
            data_len: chain.data_len,
        };
        for record in chain.records {
            state.take(record);
        }
        Ok((Self::with(storage, state, growth), Replayed { took: started.elapsed(), ..replayed }))
    }
}

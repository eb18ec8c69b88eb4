//! The slab table of a commit, read from a heap's files.

use crate::alloc::whole_runs::drop_broken_runs;
use crate::commit::inspect::Inspected;
use crate::commit::storage::Storage;
use crate::error::OpenError;
use crate::format::header::Header;
use crate::format::slab_entry::SlabEntry;
use crate::format::{PAGE, UNIT};
use crate::gc::runs::Runs;
use core::convert::Infallible;

/// What a commit's slab table says.
#[derive(Debug)]
pub(crate) struct CommittedTable {
    /// The runs that are whole.
    pub(crate) runs: Runs,
    /// Entries that make no sense: which unit's, and why.
    pub(crate) flaws: Vec<(usize, &'static str)>,
    /// Pages that could not be read, by their offset in the file; what they held counts as free.
    pub(crate) unreadable: Vec<u64>,
}

/// Entries of a page.
const ENTRIES: usize = PAGE / 8;

/// Units that a heap file of that length reaches into.
pub(crate) fn units_of(header: &Header, data_len: u64) -> usize {
    let units = data_len.saturating_sub(header.layout.segments.offset).div_ceil(UNIT as u64);
    units.min(header.layout.units) as usize
}

impl CommittedTable {
    /// Reads the table of a commit.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub(crate) fn read(storage: &dyn Storage, header: &Header, commit: &Inspected) -> Result<Self, OpenError> {
        let units = units_of(header, commit.data_len);
        let mut words = vec![0_u64; units];
        let mut unreadable = Vec::new();
        let mut page = [0; PAGE];
        for (index, words) in words.chunks_mut(ENTRIES).enumerate() {
            let offset = header.layout.slab_table.offset + (index * PAGE) as u64;
            if commit.read_page(storage, offset / PAGE as u64, &mut page).is_err() {
                unreadable.push(offset);
                continue;
            }
            for (word, bytes) in words.iter_mut().zip(page.chunks_exact(8)) {
                *word = bytes.try_into().map_or(0, u64::from_le_bytes);
            }
        }
        let mut flaws = Vec::new();
        let words = &mut words[..];
        let _: Result<u64, Infallible> =
            drop_broken_runs(&mut { &mut *words }, units, header.ladder(), |unit, what| {
                flaws.push((unit, what));
                Ok(())
            });
        flaws.reverse();
        let entry = |unit: usize| SlabEntry::decode(words[unit]).unwrap_or(SlabEntry::Free);
        Ok(Self { runs: Runs::from_entries(units, header.ladder(), entry)?, flaws, unreadable })
    }

    /// Whether all of it makes sense, so that a unit that belongs to no run is free.
    pub(crate) fn is_whole(&self) -> bool {
        self.flaws.is_empty() && self.unreadable.is_empty()
    }
}

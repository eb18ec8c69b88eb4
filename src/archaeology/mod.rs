//! Looking at heap files without believing them.
//!
//! [`Archaeology`] opens any heap file, closed well or not, of any mode, damaged or whole, and gives its bytes, never
//! references to the objects in it: so it is safe, whatever the file holds. Nothing in the file or its log is changed, and
//! nothing is mapped from them ([`image`]): what is looked at is a private copy, of the last commit.
//!
//! # Invariants
//! - **H1** No value that was read from the file decides what memory is touched without having been compared with what
//!   there is; all of it is reached through [`Archaeology::bytes`], or lies in a run of the table that was checked.
#![allow(unsafe_code)]

mod blocks;
mod image;
mod open;
mod roots;

pub use blocks::BlockRecord;
pub use open::ArchaeologyOptions;
pub use roots::RootRecord;

use crate::commit::inspect::Inspected;
use crate::commit::real::RealStorage;
use crate::error::OpenError;
use crate::format::header::{CLEAN, Header};
use crate::format::{PAGE, WINDOW};
use crate::gc::marks::Marks;
use crate::heap::committed_table::CommittedTable;
use crate::heap::lifecycle::mode_of;
use crate::heap::scrub::Scrub;
use crate::heap::{Finding, Flaw, Mode, ScrubProgress, ScrubReport, VerifyReport};
use image::{Files, Image};
use std::fmt;
use std::ops::{ControlFlow, Range};
use std::path::Path;
use std::sync::OnceLock;

/// A heap file that is looked at: its header, its roots, its blocks, its bytes.
///
/// All offsets count from the start of the file, which is also where the heap's addresses begin. Memory is used for what
/// is looked at.
///
/// ```
/// use sal::prelude::*;
/// use sal::Archaeology;
///
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("heap.sal");
/// // SAFETY: the file was written only through SAL; nothing else changes it while it is open.
/// let heap = unsafe { Heap::open(&path)? };
/// heap.set_root(Root::new("answer"), 42_u64)?;
/// heap.close()?;
///
/// let found = Archaeology::open(&path)?;
/// assert!(found.is_clean() && found.verify().is_good());
/// let root = &found.roots()[0];
/// assert_eq!((root.info.tag.to_string(), root.info.type_name.as_str()), ("\"answer\"".into(), "u64"));
/// assert_eq!(found.bytes(root.offset.unwrap(), 8), Some(&42_u64.to_le_bytes()[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Archaeology {
    header: Header,
    storage: RealStorage,
    commit: Inspected,
    table: CommittedTable,
    image: Image,
    damage: Vec<Finding>,
    free: OnceLock<Option<Marks>>,
}

impl Archaeology {
    /// Opens a heap file as of its last commit. No heap may have it open for writing.
    ///
    /// A damaged header is no error as long as the other one is good, nor is a file that is too short: see
    /// [`Archaeology::damage`].
    ///
    /// # Errors
    /// [`OpenError::NotAHeap`], [`OpenError::NotAFile`], [`OpenError::Locked`]; [`OpenError::Damaged`] when both headers
    /// are; [`OpenError::NewerVersion`], [`OpenError::UnknownFeatures`], [`OpenError::OtherMachine`],
    /// [`OpenError::Inconsistent`] when the file is not of this format; [`OpenError::LogMissing`],
    /// [`OpenError::ForeignLog`], [`OpenError::DamagedLog`], [`OpenError::CommitsMissing`] unless
    /// [`ArchaeologyOptions::salvage`] says otherwise; [`OpenError::Os`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        Self::options().open(path)
    }

    /// Options to open a heap file in spite of damage, or of somebody who has it open.
    pub fn options() -> ArchaeologyOptions {
        ArchaeologyOptions::default()
    }

    fn files(&self) -> Files<'_> {
        Files { storage: &self.storage, commit: &self.commit }
    }

    /// What was found to be wrong when the file was opened.
    pub fn damage(&self) -> &[Finding] {
        &self.damage
    }

    /// What the heap promises about its contents.
    pub fn mode(&self) -> Mode {
        mode_of(&self.header)
    }

    /// The heap's number, which a copy of the file shares.
    pub fn id(&self) -> [u8; 16] {
        self.header.heap_id
    }

    /// The number of the commit that is looked at.
    pub fn commit(&self) -> u64 {
        self.commit.commit
    }

    /// Whether the heap was closed well.
    pub fn is_clean(&self) -> bool {
        self.header.state == CLEAN
    }

    /// Most bytes that blocks may take.
    pub fn capacity(&self) -> u64 {
        self.header.capacity
    }

    /// Bytes of the heap at this commit, holes included.
    pub fn len(&self) -> u64 {
        self.commit.data_len
    }

    /// Whether there is nothing at all: never, since a heap has a header.
    pub fn is_empty(&self) -> bool {
        self.commit.data_len == 0
    }

    /// The addresses at which the heap is mapped when it is open.
    pub fn address_range(&self) -> Range<u64> {
        let start = self.header.window as u64 * WINDOW as u64;
        start..start + self.header.layout.end()
    }

    /// Whether the private copy lies at the heap's own addresses, so that a debugger that follows its pointers finds what
    /// has been looked at. It does if they were free.
    pub fn is_at_its_own_address(&self) -> bool {
        self.image.address() as u64 == self.address_range().start
    }

    /// All addresses at which the heap has ever begun, oldest first.
    pub fn bases(&self) -> impl Iterator<Item = u64> + '_ {
        self.header.bases.iter().copied().filter(|&base| base != 0)
    }

    /// Where an address that was stored in the heap, at any time of its history, points to now. If the heap was at
    /// several places that contain the address, the newest counts.
    pub fn rebase(&self, address: u64) -> Option<u64> {
        let now = self.address_range().start;
        let mut bases: Vec<u64> = self.bases().collect();
        bases.push(now);
        bases.iter().rev().find_map(|base| address.checked_sub(*base).filter(|&offset| offset < self.len()))
    }

    /// Bytes of the heap; none if they reach past its end, or cannot be had: the file is too short, or cannot be read.
    pub fn bytes(&self, offset: u64, len: u64) -> Option<&[u8]> {
        self.image.bytes(&self.files(), offset, len)
    }

    /// As [`Archaeology::bytes`], to change: in the private copy alone. Roots and blocks stay as they were found.
    pub fn bytes_mut(&mut self, offset: u64, len: u64) -> Option<&mut [u8]> {
        let files = Files { storage: &self.storage, commit: &self.commit };
        self.image.bytes_mut(&files, offset, len)
    }

    /// Looks the file through for damage: what was found when it was opened, the slab table, the directory of roots and
    /// the type table.
    pub fn verify(&self) -> VerifyReport {
        let mut report = VerifyReport { findings: self.damage.clone(), ..VerifyReport::default() };
        let table = self.header.layout.slab_table.offset;
        report.table_entries = self.table.runs.units() as u64;
        for &offset in &self.table.unreadable {
            report.add(Some(offset), Flaw::Unreadable { call: "pread" });
        }
        for &(unit, part) in &self.table.flaws {
            report.add(Some(table + unit as u64 * 8), Flaw::TableEntry { part });
        }
        self.verify_roots(&mut report);
        report
    }

    /// Reads the files through and reports the pages that are not as they were written; see
    /// [`Heap::scrub`](crate::Heap::scrub).
    pub fn scrub(&self, mut progress: impl FnMut(ScrubProgress) -> ControlFlow<()>) -> ScrubReport {
        let Self { header, storage, commit, table, .. } = self;
        Scrub { storage, header, commit, table }.all(&mut progress)
    }

    /// Offsets of the pages that were asked for so far and could not be had.
    pub fn missing_pages(&self) -> Vec<u64> {
        self.image.missing().iter().map(|page| page * PAGE as u64).collect()
    }
}

impl fmt::Debug for Archaeology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Archaeology")
            .field("mode", &self.mode())
            .field("commit", &self.commit())
            .field("is_clean", &self.is_clean())
            .finish_non_exhaustive()
    }
}

//! Reading a heap file through and holding its pages against their checksums.
//!
//! Folding notes the checksum of each page that it writes; those are read from front to back, 1,024 pages at a time, and
//! where there are none nothing is read. A page that the live log names is good if its image there is, because that is
//! what counts. Units that are free are left out.
//!
//! Of a heap that is open this is done in steps: during each, folding is paused, and what the log names is taken
//! anew.

use super::committed_table::CommittedTable;
use super::create::{directory_of, log_path, to_c_string};
use super::gate;
use super::lifecycle::read_header;
use super::owner::{Heap, HeapInner};
use crate::commit::inspect::Inspected;
use crate::commit::journal::Journal;
use crate::commit::real::RealStorage;
use crate::commit::storage::{Part, Storage};
use crate::format::header::{ATOMIC, Header};
use crate::format::{PAGE, UNIT_SHIFT};
use crate::os::CallError;
use crate::os::file::File;
use std::fmt;
use std::ops::{ControlFlow, Range};

/// How far a scrub has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScrubProgress {
    /// Bytes of the heap file that have been dealt with, those that were left out included.
    pub done: u64,
    /// Bytes that there are.
    pub total: u64,
}

/// What a scrub found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScrubReport {
    /// Whether the file has checksums: only those of [`Mode::Atomic`](crate::Mode::Atomic) heaps do.
    pub has_checksums: bool,
    /// Pages that were read.
    pub pages_checked: u64,
    /// Pages with a checksum that were left out, because they are free.
    pub pages_free: u64,
    /// Pages that are damaged, by their offsets.
    pub damaged: Vec<DamagedPage>,
    /// Whether the end of the file was reached.
    pub is_complete: bool,
}

/// A page of 4 KiB that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DamagedPage {
    /// Where in the heap file the page lies.
    pub offset: u64,
    /// What lies there.
    pub place: Place,
    /// What is wrong.
    pub damage: PageDamage,
}

/// What is wrong with a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PageDamage {
    /// It is not what its checksum says, or the checksum is damaged itself.
    Checksum,
    /// The commit log holds it, and has not kept it as it was written.
    LogImage {
        /// Where in the log.
        offset: u64,
    },
    /// It cannot be read.
    Unreadable,
}

/// What a page holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Place {
    /// A part of the slab table, which says what the segments are used for.
    SlabTable,
    /// A part of the directory of roots.
    Roots,
    /// A part of the type table.
    Types,
    /// Blocks, or a part of one.
    Blocks {
        /// Where the first of them begins.
        offset: u64,
        /// Bytes of each.
        len: u64,
        /// How many have bytes in the page.
        count: u64,
    },
    /// Anything else.
    Other,
}

impl ScrubReport {
    /// Whether no damage was found.
    pub fn is_good(&self) -> bool {
        self.damaged.is_empty()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SlabTable => f.write_str("slab table"),
            Self::Roots => f.write_str("root directory"),
            Self::Types => f.write_str("type table"),
            Self::Blocks { offset, len, count: 1 } => write!(f, "the block of {len} bytes at {offset:#x}"),
            Self::Blocks { offset, len, count } => write!(f, "{count} blocks of {len} bytes from {offset:#x} on"),
            Self::Other => f.write_str("no block"),
        }
    }
}

impl fmt::Display for DamagedPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at {:#x}: ", self.offset)?;
        match self.damage {
            PageDamage::Checksum => f.write_str("wrong checksum")?,
            PageDamage::LogImage { offset } => write!(f, "wrong checksum of its image in the log, at {offset:#x}")?,
            PageDamage::Unreadable => f.write_str("unreadable")?,
        }
        write!(f, " ({})", self.place)
    }
}

impl fmt::Display for ScrubReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.has_checksums {
            return writeln!(f, "the heap has no checksums");
        }
        writeln!(
            f,
            "{} pages checked, {} free, {} damaged{}",
            self.pages_checked,
            self.pages_free,
            self.damaged.len(),
            if self.is_complete { "" } else { "; broken off" }
        )?;
        self.damaged.iter().try_for_each(|page| writeln!(f, "{page}"))
    }
}

/// Pages whose checksums fill a page.
const GROUP: u64 = (PAGE / 4) as u64;
/// Groups of one step in a heap that is open: 64 MiB.
const STEP: u64 = 16;
/// Pages that are read at once.
const RUN: usize = 64;

/// One commit of a heap whose pages are looked at.
pub(crate) struct Scrub<'a> {
    pub(crate) storage: &'a dyn Storage,
    pub(crate) header: &'a Header,
    pub(crate) commit: &'a Inspected,
    pub(crate) table: &'a CommittedTable,
}

impl Scrub<'_> {
    /// Looks at all pages.
    pub(crate) fn all(&self, progress: &mut dyn FnMut(ScrubProgress) -> ControlFlow<()>) -> ScrubReport {
        let mut report = ScrubReport { has_checksums: self.header.mode == ATOMIC, ..ScrubReport::default() };
        report.is_complete = !report.has_checksums || self.groups(0..u64::MAX, &mut report, progress).is_continue();
        report
    }

    /// Pages of the file at the commit.
    fn pages(&self) -> u64 {
        self.commit.data_len.max(self.header.file_len).min(self.header.layout.end()) / PAGE as u64
    }

    /// Looks at the pages of some groups.
    fn groups(
        &self,
        groups: Range<u64>,
        report: &mut ScrubReport,
        progress: &mut dyn FnMut(ScrubProgress) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let end = self.pages();
        let mut checksums = [0; PAGE];
        for group in groups.start..groups.end.min(end.div_ceil(GROUP)) {
            let pages = group * GROUP..((group + 1) * GROUP).min(end);
            self.read_checksums(group, &mut checksums, report);
            let named = self.commit.named.partition_point(|newest| newest.page < pages.start);
            let mut named = self.commit.named[named..].iter().peekable();
            let mut wanted: Vec<(u64, u32)> = Vec::new();
            for (page, checksum) in pages.clone().zip(checksums.chunks_exact(4)) {
                let checksum = checksum.try_into().map_or(0, u32::from_le_bytes);
                match named.next_if(|newest| newest.page == page) {
                    Some(newest) => match newest.image {
                        Some(offset) => self.check_image(page, newest.checksum, offset, report),
                        None => wanted.push((page, newest.checksum.max(1))),
                    },
                    // It says nothing of what lies behind the commit that it was written for.
                    None if checksum == 0 || page >= self.header.file_len / PAGE as u64 => {}
                    None if self.is_free(page) => report.pages_free += 1,
                    None => wanted.push((page, checksum)),
                }
            }
            for run in wanted.chunk_by(|before, after| after.0 == before.0 + 1).flat_map(|run| run.chunks(RUN)) {
                self.check_run(run, report);
            }
            progress(ScrubProgress { done: pages.end * PAGE as u64, total: end * PAGE as u64 })?;
        }
        ControlFlow::Continue(())
    }

    fn read_checksums(&self, group: u64, checksums: &mut [u8; PAGE], report: &mut ScrubReport) {
        let area = self.header.layout.checksums();
        checksums.fill(0);
        if group * PAGE as u64 >= area.len {
            return;
        }
        let offset = area.offset + group * PAGE as u64;
        if self.storage.read_at(Part::Data, checksums, offset).is_err() {
            checksums.fill(0);
            self.note(offset / PAGE as u64, PageDamage::Unreadable, report);
        }
    }

    fn check_image(&self, page: u64, checksum: u32, offset: u64, report: &mut ScrubReport) {
        let mut image = [0; PAGE];
        report.pages_checked += 1;
        let is_good =
            Inspected::read_image(self.storage, offset, &mut image).is_ok() && crc32c::crc32c(&image) == checksum;
        if !is_good {
            self.note(page, PageDamage::LogImage { offset }, report);
        }
    }

    fn check_run(&self, run: &[(u64, u32)], report: &mut ScrubReport) {
        let Some(&(first, _)) = run.first() else { return };
        let mut bytes = vec![0; run.len() * PAGE];
        let is_read = self.read(&mut bytes, first);
        for (&(page, checksum), bytes) in run.iter().zip(bytes.chunks_exact_mut(PAGE)) {
            report.pages_checked += 1;
            // One page that cannot be read hides the others.
            if is_read.is_err() && self.read(bytes, page).is_err() {
                self.note(page, PageDamage::Unreadable, report);
            } else if crc32c::crc32c(bytes).max(1) != checksum {
                self.note(page, PageDamage::Checksum, report);
            }
        }
    }

    fn read(&self, bytes: &mut [u8], page: u64) -> Result<(), CallError> {
        let read = self.storage.read_at(Part::Data, bytes, page * PAGE as u64)?;
        bytes[read..].fill(0);
        Ok(())
    }

    fn is_free(&self, page: u64) -> bool {
        let position = (page * PAGE as u64).checked_sub(self.header.layout.segments.offset);
        let unit = position.map(|position| (position >> UNIT_SHIFT) as usize);
        self.table.is_whole() && unit.is_some_and(|unit| !self.table.runs.is_used(unit))
    }

    fn note(&self, page: u64, damage: PageDamage, report: &mut ScrubReport) {
        let offset = page * PAGE as u64;
        report.damaged.push(DamagedPage { offset, place: place_of(self.header, self.table, offset), damage });
    }
}

/// What a page holds.
fn place_of(header: &Header, table: &CommittedTable, offset: u64) -> Place {
    let layout = &header.layout;
    for (area, place) in
        [(layout.slab_table, Place::SlabTable), (layout.roots, Place::Roots), (layout.types, Place::Types)]
    {
        if (area.offset..area.offset + area.len).contains(&offset) {
            return place;
        }
    }
    let Some(start) = offset.checked_sub(layout.segments.offset).map(|start| start as usize) else {
        return Place::Other;
    };
    let Some(first) = table.runs.find(start) else { return Place::Other };
    let blocks = (start + PAGE - first.start).div_ceil(first.len);
    // The last ones may lie behind the slab's end.
    let count = (1..=blocks).rev().find(|count| {
        table.runs.find(first.start + (count - 1) * first.len).is_some_and(|block| block.len == first.len)
    });
    Place::Blocks {
        offset: layout.segments.offset + first.start as u64,
        len: first.len as u64,
        count: count.unwrap_or(1) as u64,
    }
}

impl Heap {
    /// Reads the heap file of a [`Mode::Atomic`](crate::Mode::Atomic) heap as of the last commit, and reports the pages
    /// that are not as they were written. Pages that were only committed to the log so far are looked at there.
    ///
    /// The heap can be used meanwhile, and the log is folded between steps of 64 MiB. `progress` is told how far it has
    /// come, and can break it off. A page's checksum is as new as its contents in the file, so what was damaged in memory
    /// before a commit is not found.
    ///
    /// ```
    /// use sal::prelude::*;
    /// use std::ops::ControlFlow;
    ///
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("heap.sal");
    /// // SAFETY: the file was written only through SAL; nothing else changes it while it is open.
    /// let heap = unsafe { Heap::open(&path)? };
    /// heap.set_root(Root::new("answer"), 42_u64)?;
    /// heap.sync()?;
    /// let report = heap.scrub(|_| ControlFlow::Continue(()));
    /// assert!(report.is_good() && report.is_complete, "{report}");
    /// # heap.close()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn scrub(&self, mut progress: impl FnMut(ScrubProgress) -> ControlFlow<()>) -> ScrubReport {
        let heap = self.inner();
        if heap.is_forked() {
            return ScrubReport::default();
        }
        match &heap.atomic {
            Some(atomic) => scrub_open(atomic.journal(), &mut progress),
            None => heap.scrub_read_only(&mut progress).unwrap_or_default(),
        }
    }
}

/// Scrubs a heap that is in use.
fn scrub_open(journal: &Journal, progress: &mut dyn FnMut(ScrubProgress) -> ControlFlow<()>) -> ScrubReport {
    let mut report = ScrubReport { has_checksums: true, ..ScrubReport::default() };
    let storage = &**journal.storage();
    let mut group = 0;
    loop {
        let paused = journal.pause_folding();
        let (header, commit) = journal.inspect_paused(&paused);
        let Ok(table) = CommittedTable::read(storage, &header, &commit) else { return report };
        let mut progress = |at| gate::without_syncs(|| progress(at));
        let step = Scrub { storage, header: &header, commit: &commit, table: &table };
        if step.groups(group..group + STEP, &mut report, &mut progress).is_break() {
            return report;
        }
        drop(paused);
        journal.let_fold();
        group += STEP;
        if group * GROUP >= step.pages() {
            report.is_complete = true;
            return report;
        }
    }
}

impl HeapInner {
    /// Scrubs a heap that is only read: through files of its own, since its memory is all that it has kept.
    fn scrub_read_only(&self, progress: &mut dyn FnMut(ScrubProgress) -> ControlFlow<()>) -> Option<ScrubReport> {
        let path = self.path.as_deref()?;
        let file = File::open(&to_c_string(path).ok()?, false).ok()?;
        let header = read_header(&file).ok().filter(|header| header.heap_id == self.id())?;
        if header.mode != ATOMIC {
            return None;
        }
        let log = to_c_string(&log_path(path)).ok()?;
        let storage = RealStorage::read_only(file, log, to_c_string(&directory_of(path)).ok()?);
        let commit = Journal::inspect(&storage, &header).ok()?;
        let table = CommittedTable::read(&storage, &header, &commit).ok()?;
        Some(Scrub { storage: &storage, header: &header, commit: &commit, table: &table }.all(progress))
    }
}

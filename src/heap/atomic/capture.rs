//! Finding what a commit has to hold, and taking it aside.
//!
//! While write sessions are shut out, the pages written since the last capture are found and copied. Threads that have
//! no session may allocate, free and write to their own blocks meanwhile. So the order is fixed: first all areas are
//! scanned, then the pages are copied, then the heap's extent is read.
//!
//! # Invariants
//! - **Q1** A page that was written before the gate closed is in the capture, or in a run that stays noted until a
//!   capture that holds it has been committed. A scan arms pages again, so what it reports is noted before anything
//!   can fail; of a scan that fails, the whole range is noted.
//! - **Q2** If a captured table entry says that a unit is in use, what was written to the unit before that capture
//!   began is captured too, because the scan came before the copy; and the unit lies within the captured extent, because
//!   that was read after it.
//! - **Q3** What is written to the heap file before the record that makes it valid lies behind the extent of the last
//!   commit: no earlier commit holds anything of it.

use super::page_runs::PageRuns;
use super::regions::Regions;
use crate::alloc::heap_core::Core;
use crate::commit::journal::{Commit, Journal};
use crate::commit::storage::Part;
use crate::format::{PAGE, SEGMENT_UNITS, UNIT};
use crate::os::CallError;
use crate::os::buffer::Buffer;
use crate::os::copy::{copy_out, copy_out_many};
use crate::os::dirty_pages::{Memory, Tracker};
use core::ops::Range;

/// New pages go straight to the heap file if a capture has at least this many of them; fewer go to the log, which saves a
/// flush of the heap file.
const BULK: u64 = 256;

/// So many bytes of them are copied like other pages, and written when the gate is open again; more are written while it
/// is closed, because memory for them may be missing.
const MOST_COPIED: usize = 64 << 20;

/// Bytes of the buffer that are kept from one capture to the next.
const KEPT_BUFFER: usize = 64 << 20;

/// Bytes of one write of new pages: from here on the disk is as fast as it gets.
const CHUNK: usize = 4 << 20;

/// What is kept from one capture to the next, and the last capture's contents.
#[derive(Debug)]
pub(super) struct Capture {
    pub(super) tracker: Tracker,
    is_registered: bool,
    /// Where the heap begins, and where in it the memory that nothing of the file was ever mapped to.
    pub(super) base: usize,
    anonymous_from: usize,
    /// Pages that were found written and are in no commit yet (Q1).
    pub(super) dirty: PageRuns,
    /// Whether pages are noted there that may not have been written.
    pub(super) is_guessed: bool,
    /// Where in that memory huge pages may have been split.
    pub(super) regions: Regions,
    /// The pages that go to the log, and the bytes of all that were copied: these first, then those of `direct`.
    pages: Vec<u64>,
    addresses: Vec<usize>,
    images: Buffer,
    /// Pages that go to the heap file directly, and the checksums of those that are there.
    direct: Vec<Range<u64>>,
    direct_checksums: Vec<u32>,
    data_len: u64,
    /// Whether a commit failed whose pages may be in the heap file, behind what is valid of it.
    left_something: bool,
}

impl Capture {
    /// For a heap at `base`, which is plain memory from the offset `anonymous_from` on.
    pub(super) fn new(tracker: Tracker, base: usize, anonymous_from: usize, end: usize) -> Self {
        Self {
            tracker,
            is_registered: false,
            base,
            anonymous_from,
            regions: Regions::new(base + anonymous_from..base + end),
            dirty: PageRuns::default(),
            is_guessed: false,
            pages: Vec::new(),
            addresses: Vec::new(),
            images: Buffer::new(),
            direct: Vec::new(),
            direct_checksums: Vec::new(),
            data_len: 0,
            left_something: false,
        }
    }

    /// What the last capture holds, as a commit.
    pub(super) fn commit(&self) -> Commit<'_> {
        Commit {
            pages: &self.pages,
            images: &self.images.as_slice()[..self.pages.len() * PAGE],
            direct: &self.direct,
            direct_checksums: &self.direct_checksums,
            data_len: self.data_len,
        }
    }

    /// Pages that the last capture holds.
    pub(super) fn len(&self) -> u64 {
        self.pages.len() as u64 + self.direct_pages() as u64
    }

    fn direct_pages(&self) -> usize {
        self.direct.iter().map(|run| (run.end - run.start) as usize).sum()
    }

    /// Whether the last capture holds nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.pages.is_empty() && self.direct.is_empty()
    }

    /// The captured pages have been committed.
    pub(super) fn committed(&mut self) {
        self.dirty.clear();
        self.is_guessed = false;
        self.forget();
    }

    /// The commit of the captured pages failed.
    pub(super) fn failed(&mut self) {
        self.left_something |= !self.direct.is_empty();
    }

    /// Whether the heap file may hold something behind its valid part.
    pub(super) fn left_something(&self) -> bool {
        self.left_something
    }

    /// Drops the contents of the last capture; what it found stays noted.
    fn forget(&mut self) {
        self.pages.clear();
        self.direct.clear();
        self.direct_checksums.clear();
        self.images.clear();
        self.images.shrink_to(KEPT_BUFFER);
    }

    /// Looks at memory for the first time, before the gate is closed: what was mapped from the file and read takes long
    /// then, and a short time ever after. What has been written already is noted (Q1).
    pub(super) fn look_first(&mut self, core: &Core) -> Result<(), CallError> {
        if !self.is_registered {
            self.register(core)?;
            self.scan(tracked_ranges(core));
        }
        Ok(())
    }

    /// Registers all that can ever be scanned, once, so that what is added to the heap needs no call.
    pub(super) fn register(&mut self, core: &Core) -> Result<(), CallError> {
        if self.is_registered {
            return Ok(());
        }
        for (offset, len) in tracked_areas(core) {
            self.tracker.register(core.base + offset, len)?;
        }
        self.is_registered = true;
        Ok(())
    }

    /// Finds the pages that were written since the last capture that was committed, and takes them aside. The caller has
    /// closed the gate.
    pub(super) fn take(&mut self, core: &Core, journal: &Journal) -> Result<(), CallError> {
        self.forget();
        let ranges = tracked_ranges(core);
        self.register(core)?;
        self.scan(ranges);
        self.take_pages(core, journal).inspect_err(|_| self.left_something = true)?;
        // Last (Q2).
        let peak_end = {
            let _guard = core.lock.lock();
            // SAFETY: under the lock (K1).
            let space = unsafe { &mut *core.space.get() };
            space.peak_end()
        };
        let extent = core.layout.segments.offset + (peak_end * UNIT) as u64;
        // Also pages of units that are free again by now.
        let last = self.pages.last().map_or(0, |page| page + 1).max(self.direct.last().map_or(0, |run| run.end));
        let segments = core.layout.segments.offset;
        let last = segments + (last * PAGE as u64).saturating_sub(segments).next_multiple_of(UNIT as u64);
        self.data_len = extent.max(journal.data_len()).max(last);
        Ok(())
    }

    /// Notes what was written (Q1), and whether some of it is to be compared because it may not have been.
    fn scan(&mut self, [hard, segments]: [(usize, usize); 2]) {
        let Self { tracker, dirty, is_guessed, regions, base, anonymous_from, .. } = self;
        let [hard, segments] = [hard, segments].map(|(offset, len)| *base + offset..*base + offset + len);
        let boundary = (*base + *anonymous_from).clamp(segments.start, segments.end);
        let parts = [
            (hard, Memory::Mixed),
            (segments.start..boundary, Memory::Mixed),
            (boundary..segments.end, Memory::Anonymous),
        ];
        let mut add = |found: Range<usize>| dirty.add(page_of(*base, found.start)..page_of(*base, found.end));
        let mut scans = tracker.begin();
        let mut is_exact = scans.is_ok();
        for (part, memory) in parts.into_iter().filter(|(part, _)| !part.is_empty()) {
            let scanned = scans.as_mut().map_err(|error| *error).and_then(|scans| {
                scans.scan(part.start, part.len(), memory, &mut |found| {
                    if memory == Memory::Anonymous {
                        regions.note(&found);
                    }
                    add(found);
                })
            });
            if scanned.is_err() {
                is_exact = false;
                add(part);
            }
        }
        *is_guessed |= !is_exact || !tracker.sees_exactly();
    }

    fn take_pages(&mut self, core: &Core, journal: &Journal) -> Result<(), CallError> {
        let first_new = journal.direct_floor().div_ceil(PAGE as u64);
        let runs = self.dirty.runs();
        let new_pages: u64 = runs.iter().map(|run| run.end.saturating_sub(run.start.max(first_new))).sum();
        let logged_end = if new_pages >= BULK { first_new } else { u64::MAX };
        for run in runs {
            let logged = run.start..run.end.min(logged_end);
            self.pages.extend(logged);
            let direct = run.start.max(logged_end)..run.end;
            if !direct.is_empty() {
                self.direct.push(direct);
            }
        }
        if self.is_guessed {
            self.keep_changed(core, journal)?;
        }
        let copies_direct = self.direct_pages() * PAGE <= MOST_COPIED;
        let direct = self.direct.iter().filter(|_| copies_direct).flat_map(Range::clone);
        self.addresses.clear();
        self.addresses.extend(self.pages.iter().copied().chain(direct).map(|page| core.base + page as usize * PAGE));
        let images = self.images.append(self.addresses.len() * PAGE)?;
        // SAFETY: pages of the heap's own mapping, all of which is readable, and of the file only as far as it reaches.
        unsafe { copy_out_many(&self.addresses, images) };
        if !copies_direct {
            let mut chunk = Buffer::new();
            let chunk = chunk.append(CHUNK)?;
            for part in self.direct.iter().cloned().flat_map(chunks) {
                let bytes = &mut chunk[..(part.end - part.start) as usize * PAGE];
                // SAFETY: in the heap's window, all of which is readable.
                unsafe { copy_out(core.base + part.start as usize * PAGE, bytes) };
                self.direct_checksums.extend(checksums(bytes));
                // They would drive everything else out of the page cache.
                journal.storage().write_around(Part::Data, bytes, part.start * PAGE as u64)?;
            }
        }
        Ok(())
    }

    /// Writes to the heap file what is to lie there and is not there yet; before the commit is appended, and with the gate
    /// open.
    pub(super) fn write_out(&mut self, journal: &Journal) -> Result<(), CallError> {
        if self.direct_checksums.is_empty() {
            let mut rest = &self.images.as_slice()[self.pages.len() * PAGE..];
            for part in self.direct.iter().cloned().flat_map(chunks) {
                let (bytes, behind) = rest.split_at((part.end - part.start) as usize * PAGE);
                self.direct_checksums.extend(checksums(bytes));
                journal.storage().write_at(Part::Data, bytes, part.start * PAGE as u64)?;
                rest = behind;
            }
        }
        Ok(())
    }

    /// Drops the pages that are as the last commit has them.
    fn keep_changed(&mut self, core: &Core, journal: &Journal) -> Result<(), CallError> {
        let mut live = [0_u8; PAGE];
        let mut committed = [0_u8; PAGE];
        let mut kept = 0;
        for at in 0..self.pages.len() {
            let page = self.pages[at];
            // SAFETY: as in `take_pages`.
            unsafe { copy_out(core.base + page as usize * PAGE, &mut live) };
            journal.committed_page(page, &mut committed)?;
            if live != committed {
                self.pages[kept] = page;
                kept += 1;
            }
        }
        self.pages.truncate(kept);
        Ok(())
    }
}

/// Parts of a run of pages, a chunk at most each.
fn chunks(run: Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let step = (CHUNK / PAGE) as u64;
    (run.start..run.end).step_by(step as usize).map(move |start| start..run.end.min(start + step))
}

fn checksums(pages: &[u8]) -> impl Iterator<Item = u32> {
    pages.chunks_exact(PAGE).map(crc32c::crc32c)
}

/// The page of a heap that an address lies in.
pub(super) fn page_of(base: usize, address: usize) -> u64 {
    ((address - base) / PAGE) as u64
}

/// The parts of a heap that commits hold: offsets and lengths. Allocator state is not among them: it can be rebuilt.
fn tracked_areas(core: &Core) -> [(usize, usize); 2] {
    let layout = &core.layout;
    let hard = layout.slab_table.offset as usize;
    let hard_end = (layout.types.offset + layout.types.len) as usize;
    [(hard, hard_end - hard), (layout.segments.offset as usize, layout.segments.len as usize)]
}

/// What of them can have been written to. The areas before the segments follow each other, and what of them nobody has
/// touched costs next to nothing to look at.
fn tracked_ranges(core: &Core) -> [(usize, usize); 2] {
    let [hard, (segments, _)] = tracked_areas(core);
    let used = {
        let _guard = core.lock.lock();
        // SAFETY: under the lock (K1).
        let space = unsafe { &*core.space.get() };
        // Behind the last unit ever in use nobody has written, but somebody may have made pages ready.
        space.committed_units().min(space.peak_end().next_multiple_of(SEGMENT_UNITS))
    };
    [hard, (segments, used * UNIT)]
}

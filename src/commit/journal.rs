//! The journal of one heap: its header, its log, and what of the log has not been folded.
//!
//! # The order of writes
//! - **Begin** (before the first commit after a clean close): the log, with its identity, and the directory; then the
//!   header that says *in use* and has the log's salt; then the first record.
//! - **Append**: direct pages, heap file synced; the record, log synced: the commit.
//! - **Fold**: the mark, images and checksums into the heap file, synced; the header with `folded_through` and `log_start`,
//!   synced; only then may the space of the folded records be written to again.
//! - **Finish**: a fold first if records name direct pages, which may be cleared now; everything folded and synced; the
//!   header that says *clean* and has no salt, synced; the log's name.
//! - **Recover** ([`recovery`](super::recovery)): what a killed process left in the page cache alone is written again
//!   and synced before anything rests on it.
//!
//! # Invariants
//! - **J1** Whatever a header on the medium, or one that may get there, needs of the log is whole on the medium and is not
//!   written to. The heap file at `folded_through` was durable before that header was written.
//! - **J2** An image is written into the heap file only when its record is durable.
//! - **J3** No record before it names a direct page, and it lies behind what any commit since `folded_through` says is the
//!   heap file's length: [`Journal::direct_floor`]. So nobody misses what it overwrites, and no older image is ever
//!   written over it.
//! - **J4** After a failed sync, or a failed write that may have done anything, nothing more is written: the journal is
//!   broken. A full disk does not break it: what was written of the attempt is no whole record, lies where the next attempt
//!   will be, and nothing refers to it.
//!
//! # Locks
//! `appending` is held for a whole append, `folding` for a whole fold; `state` never over a write or a sync. Who needs
//! several takes them in the order folding, appending, state.

use super::apply::{read_exactly, read_padded};
use super::fold::Folding;
use super::record::{Assembler, Record, write_zeros};
use super::ring::{Growth, Place, Ring};
use super::storage::{Part, Storage};
use crate::format::PAGE;
use crate::format::header::{HEADER_LEN, Header, IN_USE};
use crate::format::log_record::{DIRECT, Entry, IMAGE, Identity, JUMP, RECORDS_START, RecordHeader};
use crate::os::env::random_bytes;
use crate::os::{CallError, errno};
use core::fmt;
use core::ops::Range;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What becomes durable together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Commit<'a> {
    /// Numbers of pages of the heap file, ascending.
    pub(crate) pages: &'a [u64],
    /// Their images, a page each, in the same order.
    pub(crate) images: &'a [u8],
    /// Pages, ascending, that have been written to [`Part::Data`] already. None of them lies before
    /// [`Journal::direct_floor`], and none was written after the journal had broken: it may be a page of the very commit
    /// that broke it and is found at the next opening.
    pub(crate) direct: &'a [Range<u64>],
    /// The checksums of these pages, in the same order.
    pub(crate) direct_checksums: &'a [u32],
    /// Bytes of the heap file that are valid, a multiple of the page. What one commit cuts off and a later one takes in
    /// again without naming it is unknown.
    pub(crate) data_len: u64,
}

/// What a commit is to survive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    /// The end of the process, however it ends; after a power cut it may be missing, with all that followed it.
    Written,
    /// A power cut.
    Durable,
}

/// Why a commit did not become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AppendError {
    /// A system call failed. Whether the journal is broken can be asked for.
    Os(CallError),
    /// An earlier failure left behind what nobody knows: nothing more can be made durable.
    Broken,
}

impl fmt::Display for AppendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Os(error) => error.fmt(f),
            Self::Broken => f.write_str("the journal is broken"),
        }
    }
}

/// What is only touched under the lock `state`.
#[derive(Debug)]
pub(super) struct State {
    pub(super) header: Header,
    /// Whether there is a log, and the header says so.
    pub(super) is_begun: bool,
    pub(super) is_broken: bool,
    /// Those behind `folded_through`; [`State::take`] and [`State::drain`] alone change them.
    pub(super) records: VecDeque<Arc<Record>>,
    /// Their direct pages, and the longest heap file that one of them says, which every sync asks for.
    pub(super) direct_pages: u64,
    pub(super) longest: u64,
    pub(super) ring: Ring,
    /// For each page that the records have an image of, the newest one's commit and its place in the log.
    pub(super) newest: HashMap<u64, (u64, u64)>,
    /// The last commit, and the last that is known to be durable.
    pub(super) last: u64,
    pub(super) durable: u64,
    /// The last record's checksum.
    pub(super) checksum: u32,
    /// As the last commit says.
    pub(super) data_len: u64,
}

impl State {
    /// Takes a record in that has been written.
    pub(super) fn take(&mut self, record: Arc<Record>) {
        let (header, commit) = (&record.header, record.header.commit);
        self.ring.take(record.offset, record.jump_at, header.record_len());
        self.newest.extend(record.images().map(|(entry, offset)| (entry.page, (commit, offset))));
        self.last = commit;
        self.checksum = header.checksum;
        self.data_len = header.data_len;
        self.direct_pages += record.direct().len() as u64;
        self.longest = self.longest.max(header.data_len);
        self.records.push_back(record);
    }

    /// Takes the first `count` records out.
    pub(super) fn drain(&mut self, count: usize) {
        let drained = self.records.drain(..count.min(self.records.len()));
        self.direct_pages -= drained.map(|record| record.direct().len() as u64).sum::<u64>();
        self.longest = self.records.iter().map(|record| record.header.data_len).max().unwrap_or(0);
    }

    pub(super) fn identity(&self) -> Identity {
        Identity { heap_id: self.header.heap_id, salt: self.header.log_salt }
    }

    fn direct_floor(&self) -> u64 {
        self.longest.max(self.header.file_len)
    }
}

/// What of the state all may see without its lock. Relaxed: nothing follows from it.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    last: AtomicU64,
    log_bytes: AtomicU64,
    is_broken: AtomicBool,
}

impl Seen {
    fn show(&self, state: &State) {
        self.last.store(state.last, Ordering::Relaxed);
        self.log_bytes.store(state.ring.used(), Ordering::Relaxed);
        self.is_broken.store(state.is_broken, Ordering::Relaxed);
    }

    /// The last commit's number.
    pub(crate) fn last_commit(&self) -> u64 {
        self.last.load(Ordering::Relaxed)
    }

    /// Bytes of the log that are in use.
    pub(crate) fn log_bytes(&self) -> u64 {
        self.log_bytes.load(Ordering::Relaxed)
    }

    /// Whether nothing more can become durable.
    pub(crate) fn is_broken(&self) -> bool {
        self.is_broken.load(Ordering::Relaxed)
    }
}

/// What only the appending thread needs.
#[derive(Debug, Default)]
pub(super) struct Appender {
    assembler: Assembler,
    entries: Vec<Entry>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Journal {
    pub(super) storage: Arc<dyn Storage>,
    pub(super) growth: Growth,
    /// This opening's random number, in each of its records.
    opening: u64,
    pub(super) folding: Arc<Folding>,
    pub(super) appending: Mutex<Appender>,
    pub(super) state: Mutex<State>,
    seen: Seen,
}

/// Takes a lock. A panic of somebody who held it leaves a state that says less than was done, which is what a failed
/// append leaves, too.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn random() -> u64 {
    let mut bytes = [0; 8];
    random_bytes(&mut bytes);
    u64::from_le_bytes(bytes)
}

/// Whether nothing but space was missing.
fn is_for_want_of_space(error: &CallError) -> bool {
    [errno::NO_SPACE, errno::OVER_QUOTA, errno::FILE_TOO_BIG].contains(&error.errno)
}

impl Journal {
    /// The journal of a heap whose header is clean, or brand new. Nothing is written before the first append.
    pub(crate) fn of_clean(storage: Arc<dyn Storage>, header: Header) -> Self {
        let growth = Growth::default();
        let state = State {
            is_begun: false,
            is_broken: false,
            records: VecDeque::new(),
            direct_pages: 0,
            longest: 0,
            ring: Ring::new(RECORDS_START, 0, growth),
            newest: HashMap::new(),
            last: header.commit,
            durable: header.commit,
            checksum: 0,
            data_len: header.file_len,
            header,
        };
        Self::with(storage, state, growth)
    }

    pub(super) fn with(storage: Arc<dyn Storage>, state: State, growth: Growth) -> Self {
        let seen = Seen::default();
        seen.show(&state);
        Self {
            storage,
            growth,
            seen,
            opening: random(),
            folding: Arc::default(),
            appending: Mutex::default(),
            state: Mutex::new(state),
        }
    }

    /// Lets the log grow in other steps.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn with_growth(mut self, growth: Growth) -> Self {
        self.growth = growth;
        lock(&self.state).ring.set_growth(growth);
        self
    }

    /// What can be seen of it at any moment, without waiting.
    pub(crate) fn seen(&self) -> &Seen {
        &self.seen
    }

    /// Lets all see what the state has become.
    pub(super) fn show(&self, state: &State) {
        self.seen.show(state);
    }

    /// The last commit's number.
    pub(crate) fn last_commit(&self) -> u64 {
        lock(&self.state).last
    }

    /// Bytes of the heap file that are valid at the last commit.
    pub(crate) fn data_len(&self) -> u64 {
        lock(&self.state).data_len
    }

    /// The header as it was last written.
    pub(crate) fn header(&self) -> Header {
        lock(&self.state).header
    }

    /// The header that the file should have, and both slots that it has. Waits for a fold that is under way.
    pub(crate) fn header_slots(&self) -> Result<(Header, [[u8; HEADER_LEN]; 2]), CallError> {
        let _paused = self.pause_folding();
        // Its first append writes a header.
        let _appender = lock(&self.appending);
        let mut slots = [[0; HEADER_LEN]; 2];
        for (index, slot) in slots.iter_mut().enumerate() {
            read_padded(&*self.storage, Part::Data, slot, (index * PAGE) as u64)?;
        }
        Ok((self.header(), slots))
    }

    /// Bytes of the log that are in use.
    pub(crate) fn log_bytes(&self) -> u64 {
        lock(&self.state).ring.used()
    }

    /// Bytes that opening the heap after a crash would have to read: of the log, and of pages that were written to the heap
    /// file directly.
    pub(crate) fn unfolded_bytes(&self) -> u64 {
        let state = lock(&self.state);
        state.ring.used() + state.direct_pages * PAGE as u64
    }

    /// Whether the log names pages that were written to the heap file directly.
    pub(super) fn names_direct_pages(&self) -> bool {
        lock(&self.state).direct_pages > 0
    }

    /// Makes what was written to the heap file durable, its commits apart.
    pub(crate) fn sync_heap_file(&self) -> Result<(), AppendError> {
        self.sync(Part::Data)
    }

    /// Whether the log holds nothing that the heap file does not.
    pub(crate) fn is_folded(&self) -> bool {
        lock(&self.state).records.is_empty()
    }

    /// Whether there is a log, and the header says that the heap is in use.
    pub(crate) fn has_begun(&self) -> bool {
        lock(&self.state).is_begun
    }

    /// Whether an earlier failure left behind what nobody knows.
    pub(crate) fn is_broken(&self) -> bool {
        lock(&self.state).is_broken
    }

    pub(crate) fn storage(&self) -> &Arc<dyn Storage> {
        &self.storage
    }

    /// Where direct pages may begin, in bytes of the heap file (J3). A fold can lower it, an append raise it.
    pub(crate) fn direct_floor(&self) -> u64 {
        lock(&self.state).direct_floor()
    }

    /// Notes a failure; with `breaks`, nothing goes on from here.
    pub(super) fn fail(&self, error: CallError, breaks: bool) -> AppendError {
        if breaks {
            let mut state = lock(&self.state);
            state.is_broken = true;
            self.show(&state);
        }
        AppendError::Os(error)
    }

    /// A write failed.
    pub(super) fn write_failed(&self, error: CallError) -> AppendError {
        self.fail(error, !is_for_want_of_space(&error))
    }

    pub(super) fn sync(&self, part: Part) -> Result<(), AppendError> {
        self.storage.sync_data(part).map_err(|error| self.fail(error, true))
    }

    pub(super) fn check_whole(&self) -> Result<(), AppendError> {
        if self.is_broken() { Err(AppendError::Broken) } else { Ok(()) }
    }

    /// Breaks the journal if the files are no longer what they were when it last wrote to them.
    pub(crate) fn check_files(&self) -> Result<(), AppendError> {
        let (data_len, log_len) = {
            let state = lock(&self.state);
            if state.is_broken {
                return Err(AppendError::Broken);
            }
            (state.data_len, state.is_begun.then(|| state.ring.len()))
        };
        self.storage.check(data_len, log_len).map_err(|error| self.fail(error, true))
    }

    /// Makes `next` the header, in the slot of its turn.
    pub(super) fn write_header(&self, mut next: Header) -> Result<(), AppendError> {
        next.generation += 1;
        self.storage
            .write_at(Part::Data, &next.encode(), next.slot_offset())
            .map_err(|error| self.write_failed(error))?;
        self.sync(Part::Data)?;
        lock(&self.state).header = next;
        Ok(())
    }

    /// Creates the log and says so in the header.
    pub(super) fn begin(&self) -> Result<(), AppendError> {
        let header = self.header();
        let other = |error| self.fail(error, false);
        if self.storage.open_log().map_err(other)? {
            // Somebody was stopped between the clean header and the log's removal: the header may be in the page cache
            // only, and what is on the medium may still need that log.
            rewrite_header(&*self.storage, &header).map_err(|error| self.fail(error, true))?;
        }
        let log = Identity { heap_id: header.heap_id, salt: random().max(1) };
        self.storage.create_log().map_err(other)?;
        self.storage.write_at(Part::Log, &log.encode(), 0).map_err(|error| self.write_failed(error))?;
        let len = self.growth.first_len();
        write_zeros(&*self.storage, Part::Log, RECORDS_START, len).map_err(|error| self.write_failed(error))?;
        self.sync(Part::Log)?;
        self.storage.sync_directory().map_err(|error| self.fail(error, true))?;
        self.write_header(Header {
            state: IN_USE,
            log_salt: log.salt,
            log_start: RECORDS_START,
            log_previous: log.seed(),
            folded_through: header.commit,
            ..header
        })?;
        let mut state = lock(&self.state);
        state.ring = Ring::new(RECORDS_START, len, self.growth);
        // The first record is behind none; this number no other log has.
        state.checksum = log.seed();
        state.is_begun = true;
        self.show(&state);
        Ok(())
    }

    /// Appends a commit and returns its number. Nothing is acknowledged when it fails; if it was for want of space, the
    /// next attempt may go well.
    pub(crate) fn append(&self, commit: &Commit<'_>, durability: Durability) -> Result<u64, AppendError> {
        debug_assert!(commit.images.len() == commit.pages.len() * PAGE && commit.data_len % PAGE as u64 == 0);
        debug_assert!(commit.direct.iter().flat_map(Range::clone).count() == commit.direct_checksums.len());
        let mut appender = lock(&self.appending);
        let appender = &mut *appender;
        let (is_begun, data_len) = {
            let state = lock(&self.state);
            if state.is_broken {
                return Err(AppendError::Broken);
            }
            debug_assert!(
                commit.direct.iter().all(|pages| pages.is_empty() || pages.start * PAGE as u64 >= state.direct_floor()),
                "J3: direct pages that an earlier commit may need"
            );
            (state.is_begun, state.data_len)
        };
        if !is_begun {
            self.begin()?;
        }
        self.lengthen_data(data_len, commit.data_len)?;
        self.make_entries(commit, &mut appender.entries)?;

        let (mut header, place, file_len, jump) = {
            let state = lock(&self.state);
            let log = state.identity();
            let mut header = RecordHeader::new(&log, self.opening, state.last + 1);
            header.durable_before = state.durable;
            header.data_len = commit.data_len;
            header.images = commit.pages.len() as u32;
            header.direct = (appender.entries.len() - commit.pages.len()) as u32;
            header.previous = state.checksum;
            let place = state.ring.place(header.record_len());
            let jump = place.jump_at.map(|at| {
                let mut jump = RecordHeader { kind: JUMP, target: place.at, images: 0, direct: 0, ..header };
                jump.seal(&[]);
                (at, jump)
            });
            (header, place, state.ring.len(), jump)
        };
        header.seal(&appender.entries);
        appender.assembler.prepare(durability);
        let written = self.lengthen_log(&place, header.record_len(), file_len).and_then(|len| {
            if let Some((at, jump)) = jump {
                appender.assembler.write_record(&*self.storage, at, &jump, &[], &[])?;
            }
            let images = commit.images;
            appender.assembler.write_record(&*self.storage, place.at, &header, &appender.entries, images)?;
            Ok(len)
        });
        let file_len = written.map_err(|error| {
            if place.file_len[0] > file_len {
                // Gives the space back that does not suffice. If that fails, the file is just longer than it needs to be.
                let _ = self.storage.set_len(Part::Log, file_len);
            }
            self.write_failed(error)
        })?;
        if durability == Durability::Durable {
            self.sync(Part::Log)?;
        }
        let entries = appender.entries.as_slice().into();
        let record = Arc::new(Record { header, offset: place.at, jump_at: place.jump_at, entries });
        let mut state = lock(&self.state);
        state.ring.grown(file_len);
        state.take(record);
        if durability == Durability::Durable {
            state.durable = header.commit;
        }
        self.show(&state);
        Ok(header.commit)
    }

    /// Makes all commits durable that are only written so far; returns the last commit's number.
    pub(crate) fn make_durable(&self) -> Result<u64, AppendError> {
        let _appender = lock(&self.appending);
        self.make_durable_locked()
    }

    /// As [`Journal::make_durable`], for who has `appending`.
    pub(super) fn make_durable_locked(&self) -> Result<u64, AppendError> {
        self.check_whole()?;
        let (last, durable) = {
            let state = lock(&self.state);
            (state.last, state.durable)
        };
        if durable < last {
            self.sync(Part::Log)?;
            lock(&self.state).durable = last;
        }
        Ok(last)
    }

    /// Sees to it that the heap file is as long as the commit says; somebody may be making it still longer.
    fn lengthen_data(&self, before: u64, after: u64) -> Result<(), AppendError> {
        if after <= before || self.storage.len(Part::Data).map_err(|error| self.fail(error, false))? >= after {
            return Ok(());
        }
        self.storage.reserve(Part::Data, after - PAGE as u64, PAGE as u64).map_err(|error| self.write_failed(error))
    }

    /// The commit's entries, after its direct pages have been made durable.
    fn make_entries(&self, commit: &Commit<'_>, entries: &mut Vec<Entry>) -> Result<(), AppendError> {
        entries.clear();
        let images = commit.pages.iter().zip(commit.images.chunks_exact(PAGE));
        entries.extend(images.map(|(&page, image)| Entry { page, checksum: crc32c::crc32c(image), kind: IMAGE }));
        let direct = commit.direct.iter().flat_map(Range::clone).zip(commit.direct_checksums);
        entries.extend(direct.map(|(page, &checksum)| Entry { page, checksum, kind: DIRECT }));
        if entries.len() > commit.pages.len() { self.sync(Part::Data) } else { Ok(()) }
    }

    /// Makes the log long enough for a record at `place`; returns its new length. What the record itself will fill is not
    /// written twice.
    fn lengthen_log(&self, place: &Place, record_len: u64, file_len: u64) -> Result<u64, CallError> {
        let record_end = place.at + record_len;
        let mut last = Ok(file_len);
        for wanted in [place.file_len[1], place.file_len[0]] {
            if wanted <= file_len {
                return Ok(file_len);
            }
            last = write_zeros(&*self.storage, Part::Log, record_end.max(file_len), wanted).map(|()| wanted);
            match &last {
                Err(error) if is_for_want_of_space(error) => {}
                _ => return last,
            }
            // What there is of the longer step would take the space that the shorter one needs.
            let _ = self.storage.set_len(Part::Log, file_len);
        }
        last
    }

    /// A page as of the last commit: its newest image, or what the heap file has.
    pub(crate) fn committed_page(&self, page: u64, into: &mut [u8; PAGE]) -> Result<(), CallError> {
        // Held while reading, so that the image's space is not used again meanwhile.
        let state = lock(&self.state);
        if page >= state.data_len / PAGE as u64 {
            into.fill(0);
            return Ok(());
        }
        match state.newest.get(&page) {
            Some(&(_, offset)) => read_exactly(&*self.storage, Part::Log, into, offset),
            None => read_padded(&*self.storage, Part::Data, into, page * PAGE as u64),
        }
    }
}

/// Writes the header that counts once more, where it stands, and makes it durable: it may be in the page cache only, and
/// after a failed sync the system believes that it is not.
pub(crate) fn rewrite_header(storage: &dyn Storage, header: &Header) -> Result<(), CallError> {
    storage.write_at(Part::Data, &header.encode(), header.slot_offset())?;
    storage.sync_data(Part::Data)
}

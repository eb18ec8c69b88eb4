//! What a heap must hold: all commits that were begun, and which of them must be there after a crash at a given moment.

use crate::commit::journal::{AppendError, Commit, Durability, Journal};
use crate::commit::ring::Growth;
use crate::commit::simulated::SimulatedDisk;
use crate::commit::simulated::crash::{CrashImage, Random};
use crate::commit::simulated::medium::Contents;
use crate::commit::storage::{Part, Storage};
use crate::format::header::{ATOMIC, CLEAN, HEADER_LEN, Header, newest};
use crate::format::layout::Layout;
use crate::format::{FIRST_WINDOW, PAGE};
use crate::os::CallError;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

pub(super) const PAGE_LEN: u64 = PAGE as u64;
/// So small that records often have to jump.
pub(super) const GROWTH: Growth = Growth { least: 44 << 10, most: 72 << 10 };
/// The page that a clean close writes.
const SOFT: u64 = 40;

/// A page's contents, other ones in each sector, from a number; zeros from 0.
pub(super) fn page_of(page: u64, stamp: u64) -> [u8; PAGE] {
    let mut bytes = [0; PAGE];
    if stamp != 0 {
        for (sector, bytes) in bytes.chunks_exact_mut(512).enumerate() {
            bytes[..8].copy_from_slice(&stamp.to_le_bytes());
            bytes[8..16].copy_from_slice(&page.to_le_bytes());
            bytes[504] = sector as u8;
        }
    }
    bytes
}

/// A commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    pub(super) pages: BTreeMap<u64, u64>,
    pub(super) data_len: u64,
}

#[derive(Clone, Debug)]
enum Event {
    Begun(u64, State),
    Acknowledged(u64, Durability),
    Reopening,
    Reopened(u64),
}

/// A heap, a model of it, and what happened to both.
pub(super) struct World {
    pub(super) disk: Arc<SimulatedDisk>,
    pub(super) journal: Journal,
    pub(super) random: Random,
    /// Commits as they would be read now, attempts included.
    commits: BTreeMap<u64, State>,
    /// The last that was acknowledged, whatever its durability.
    acknowledged: u64,
    events: Vec<(usize, Event)>,
    stamp: u64,
    first_len: u64,
}

/// What may be found after a crash.
#[derive(Debug)]
pub(super) struct Expected {
    pub(super) least: u64,
    pub(super) commits: BTreeMap<u64, State>,
}

pub(super) fn read_header(storage: &dyn Storage) -> Header {
    let mut slots = [[0; HEADER_LEN]; 2];
    storage.read_at(Part::Data, &mut slots[0], 0).unwrap();
    storage.read_at(Part::Data, &mut slots[1], PAGE_LEN).unwrap();
    newest([&slots[0], &slots[1]]).unwrap()
}

fn new_image() -> CrashImage {
    let layout = Layout::for_capacity(1 << 22, true);
    let mut header = Header::new([3; 16], FIRST_WINDOW, ATOMIC, 1 << 22, layout);
    header.file_len = layout.segments.offset;
    let mut data = Contents::default();
    data.set_len(header.file_len);
    data.write(0, &header.encode());
    CrashImage { data, log: None }
}

pub(super) fn open(disk: &Arc<SimulatedDisk>) -> Journal {
    let storage: Arc<dyn Storage> = Arc::<SimulatedDisk>::clone(disk);
    let header = read_header(&*storage);
    let (journal, _) = Journal::open(storage, header).unwrap_or_else(|error| panic!("{error}, {header:?}"));
    journal.with_growth(GROWTH)
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let disk = Arc::new(SimulatedDisk::new(&new_image()).unwrap());
        let journal = open(&disk);
        let first_len = journal.data_len();
        let state = State { pages: BTreeMap::new(), data_len: first_len };
        let commits = BTreeMap::from([(0, state)]);
        let events = Vec::new();
        Self { disk, journal, random: Random::new(seed), commits, acknowledged: 0, events, stamp: 0, first_len }
    }

    /// One that goes on from what a crash left.
    pub(super) fn after(disk: Arc<SimulatedDisk>, journal: Journal, state: State, seed: u64, first_len: u64) -> Self {
        let last = journal.last_commit();
        let commits = BTreeMap::from([(last, state)]);
        Self {
            disk,
            journal,
            random: Random::new(seed),
            commits,
            acknowledged: last,
            events: vec![(0, Event::Reopened(last))],
            stamp: seed << 20,
            first_len,
        }
    }

    fn note(&mut self, event: Event) {
        self.events.push((self.disk.operations(), event));
    }

    fn last(&self) -> State {
        self.commits[&self.acknowledged].clone()
    }

    pub(super) fn first_len(&self) -> u64 {
        self.first_len
    }

    /// A commit of random pages; a growing one has direct pages, holes, and images behind the old length.
    pub(super) fn commit(&mut self, grows: bool, durability: Durability) -> Result<(), AppendError> {
        if self.journal.is_broken() {
            // Direct pages of a commit that nobody knows the fate of may lie where the next ones would.
            return Err(AppendError::Broken);
        }
        let mut state = self.last();
        let (mut direct, mut checksums) = (Vec::new(), Vec::new());
        let mut pages = BTreeSet::new();
        let segments = self.first_len / PAGE_LEN;
        for _ in 0..self.random.below(6) {
            let at = self.random.below(10);
            pages.insert(if at < 5 { 20 + at } else { segments - 10 + at });
        }
        self.stamp += 1;
        if grows {
            let floor = self.journal.direct_floor() / PAGE_LEN;
            let first = floor + self.random.below(2);
            let second = first + 3;
            direct = vec![first..first + 2, second..second + 1];
            pages.insert(second + 2);
            state.data_len = (second + 5) * PAGE_LEN;
            for page in direct.iter().flat_map(Range::clone) {
                state.pages.insert(page, self.stamp);
                let bytes = page_of(page, self.stamp);
                checksums.push(crc32c::crc32c(&bytes));
                // First what an attempt could have left.
                for bytes in [page_of(page, self.stamp + 77), bytes] {
                    self.disk.write_at(Part::Data, &bytes, page * PAGE_LEN).map_err(AppendError::Os)?;
                }
            }
        }
        let pages: Vec<u64> = pages.into_iter().filter(|page| *page < state.data_len / PAGE_LEN).collect();
        let images: Vec<u8> = pages.iter().flat_map(|&page| page_of(page, self.stamp)).collect();
        state.pages.extend(pages.iter().map(|&page| (page, self.stamp)));
        let (direct_checksums, data_len) = (&checksums, state.data_len);
        let commit = Commit { pages: &pages, images: &images, direct: &direct, direct_checksums, data_len };
        let number = self.acknowledged + 1;
        self.note(Event::Begun(number, state.clone()));
        self.commits.insert(number, state);
        let appended = self.journal.append(&commit, durability)?;
        assert_eq!(appended, number);
        self.acknowledged = number;
        self.note(Event::Acknowledged(number, durability));
        Ok(())
    }

    pub(super) fn finish(&mut self) -> Result<(), AppendError> {
        let epoch = self.journal.header().epoch + 1;
        let soft = |storage: &dyn Storage| storage.write_at(Part::Data, &page_of(SOFT, epoch), SOFT * PAGE_LEN);
        self.journal.finish(soft, |header| header.epoch = epoch)
    }

    /// Leaves what a direct write leaves whose commit never comes, and kills the process.
    pub(super) fn write_in_vain(&self) -> Result<(), CallError> {
        let floor = self.journal.direct_floor();
        self.disk.write_at(Part::Data, &page_of(floor / PAGE_LEN + 1, 999), floor + PAGE_LEN)
    }

    /// The process is killed, and the heap opened again: what was written is there.
    pub(super) fn reopen(&mut self) {
        self.note(Event::Reopening);
        self.journal = open(&self.disk);
        let last = self.journal.last_commit();
        assert!(last >= self.acknowledged, "{last} is older than {}", self.acknowledged);
        check(&self.journal, &self.commits[&last], self.first_len);
        self.commits.retain(|number, _| *number <= last);
        self.acknowledged = last;
        self.note(Event::Reopened(last));
    }

    /// A random step.
    pub(super) fn step(&mut self) -> Result<(), AppendError> {
        match self.random.below(20) {
            0..=6 => self.commit(false, Durability::Durable),
            7..=10 => self.commit(false, Durability::Written),
            11 => self.commit(true, Durability::Durable),
            12 => self.commit(true, Durability::Written),
            13..=14 => self.journal.fold().map(drop),
            15 => self.journal.try_empty().map(drop),
            16 => self.finish(),
            17 => self.journal.make_durable().map(|last| self.note(Event::Acknowledged(last, Durability::Durable))),
            18 => {
                self.reopen();
                Ok(())
            }
            _ => {
                self.write_in_vain().map_err(AppendError::Os)?;
                self.reopen();
                Ok(())
            }
        }
    }

    /// What may be found after a power cut when the first `point` operations had been done.
    pub(super) fn expected_at(&self, point: usize) -> Expected {
        let first = State { pages: BTreeMap::new(), data_len: self.first_len };
        let (least, commits) = match self.events.first() {
            Some((_, Event::Reopened(last))) => (*last, BTreeMap::from([(*last, self.commits[last].clone())])),
            _ => (0, BTreeMap::from([(0, first)])),
        };
        let mut expected = Expected { least, commits };
        for (at, event) in &self.events {
            match event {
                Event::Begun(number, state) if *at <= point => {
                    expected.commits.insert(*number, state.clone());
                }
                Event::Acknowledged(number, Durability::Durable) if *at <= point => expected.least = *number,
                Event::Reopened(last) if *at <= point => {
                    expected.commits.retain(|number, _| number <= last);
                    // An opening that found the heap clean or whole; what it found it made durable.
                    expected.least = *last;
                }
                _ => {}
            }
        }
        expected
    }
}

/// Compares every page that could have been touched.
pub(super) fn check(journal: &Journal, state: &State, first_len: u64) {
    assert_eq!(journal.data_len(), state.data_len);
    let segments = first_len / PAGE_LEN;
    let pages = (20..30).chain(segments - 12..state.data_len / PAGE_LEN + 8);
    for page in pages {
        let mut bytes = [1; PAGE];
        journal.committed_page(page, &mut bytes).unwrap();
        let stamp = state.pages.get(&page).copied().unwrap_or(0);
        assert!(bytes == page_of(page, stamp), "page {page} of commit {}", journal.last_commit());
    }
}

/// Looks whether what is noted of the pages' checksums is right; everything has been folded.
pub(super) fn check_checksums(journal: &Journal, state: &State) {
    let area = journal.header().layout.checksums();
    for (&page, &stamp) in &state.pages {
        let mut noted = [0; 4];
        journal.storage().read_at(Part::Data, &mut noted, area.offset + page * 4).unwrap();
        assert_eq!(u32::from_le_bytes(noted), crc32c::crc32c(&page_of(page, stamp)), "page {page}");
    }
}

/// Opens what a power cut left and looks whether it is as it must be; returns what is open now.
pub(super) fn check_image(
    image: &CrashImage,
    expected: &Expected,
    first_len: u64,
) -> (Arc<SimulatedDisk>, Journal, State) {
    let disk = Arc::new(SimulatedDisk::new(image).unwrap());
    let header = read_header(&*disk);
    let inspected = Journal::inspect(&*disk, &header).unwrap_or_else(|error| panic!("{error}, {header:?}"));
    if header.state == CLEAN {
        let mut soft = [0; PAGE];
        disk.read_at(Part::Data, &mut soft, SOFT * PAGE_LEN).unwrap();
        assert!(soft == page_of(SOFT, header.epoch), "soft state is not of epoch {}", header.epoch);
    }
    let mut seen = BTreeMap::new();
    for &page in expected.commits.values().flat_map(|state| state.pages.keys()) {
        let mut bytes = [0; PAGE];
        inspected.read_page(&*disk, page, &mut bytes).unwrap();
        seen.insert(page, bytes);
    }
    let journal = open(&disk);
    let last = journal.last_commit();
    assert!(last >= expected.least, "commit {last} where {} was acknowledged", expected.least);
    let Some(state) = expected.commits.get(&last) else { panic!("commit {last} was not begun") };
    check(&journal, state, first_len);
    assert_eq!((inspected.commit, inspected.data_len), (last, state.data_len));
    for (page, bytes) in seen {
        let stamp = state.pages.get(&page).copied().unwrap_or(0);
        assert!(bytes == page_of(page, stamp), "page {page} seen without recovery");
    }
    (disk, journal, state.clone())
}

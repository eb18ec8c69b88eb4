//! The journal on real files: each step does what it says, without a crash.

use crate::commit::journal::{AppendError, Commit, Durability, Journal};
use crate::commit::real::RealStorage;
use crate::commit::storage::{Part, Storage};
use crate::error::OpenError;
use crate::format::header::{ATOMIC, CLEAN, HEADER_LEN, Header, IN_USE, newest};
use crate::format::layout::Layout;
use crate::format::{FIRST_WINDOW, PAGE};
use crate::os::file::File;
use std::ffi::CString;
use std::sync::Arc;

/// Bytes of a record of one page.
const RECORD: usize = 2 * PAGE;
const PAGE_LEN: u64 = PAGE as u64;

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> CString {
        CString::new(self.0.path().join(name).to_str().unwrap()).unwrap()
    }

    fn create(&self) -> (Arc<dyn Storage>, Header) {
        let data = File::create_new(&self.path("heap"), 0o600).unwrap();
        let layout = Layout::for_capacity(1 << 22, true);
        let mut header = Header::new([3; 16], FIRST_WINDOW, ATOMIC, 1 << 22, layout);
        header.file_len = layout.segments.offset;
        data.set_len(header.file_len).unwrap();
        data.write_at(&header.encode(), 0).unwrap();
        (self.storage(data), header)
    }

    fn storage(&self, data: File) -> Arc<dyn Storage> {
        let directory = CString::new(self.0.path().to_str().unwrap()).unwrap();
        Arc::new(RealStorage::new(data, self.path("heap-log"), directory, 0o600))
    }

    fn open(&self) -> (Arc<dyn Storage>, Header) {
        let data = File::open(&self.path("heap"), true).unwrap();
        let mut slots = [[0; HEADER_LEN]; 2];
        data.read_at(&mut slots[0], 0).unwrap();
        data.read_at(&mut slots[1], PAGE_LEN).unwrap();
        (self.storage(data), newest([&slots[0], &slots[1]]).unwrap())
    }

    fn log_exists(&self) -> bool {
        self.0.path().join("heap-log").exists()
    }
}

fn page_of(byte: u8) -> [u8; PAGE] {
    [byte; PAGE]
}

fn append(journal: &Journal, pages: &[(u64, u8)]) -> u64 {
    let numbers: Vec<u64> = pages.iter().map(|page| page.0).collect();
    let images: Vec<u8> = pages.iter().flat_map(|page| page_of(page.1)).collect();
    let commit =
        Commit { pages: &numbers, images: &images, direct: &[], direct_checksums: &[], data_len: journal.data_len() };
    journal.append(&commit, Durability::Durable).unwrap()
}

fn committed(journal: &Journal, page: u64) -> u8 {
    let mut bytes = [0xee; PAGE];
    journal.committed_page(page, &mut bytes).unwrap();
    assert!(bytes.iter().all(|byte| *byte == bytes[0]));
    bytes[0]
}

fn in_file(storage: &dyn Storage, page: u64) -> u8 {
    let mut bytes = [0xee; PAGE];
    storage.read_at(Part::Data, &mut bytes, page * PAGE_LEN).unwrap();
    assert!(bytes.iter().all(|byte| *byte == bytes[0]));
    bytes[0]
}

#[test]
fn commits_are_recovered_from_the_log_and_the_newest_image_counts() {
    let place = Place::new();
    let (storage, header) = place.create();
    let journal = Journal::of_clean(storage, header);
    assert_eq!(append(&journal, &[(100, 1), (101, 1), (200, 1)]), 1);
    assert_eq!(append(&journal, &[(101, 2), (300, 2)]), 2);
    assert_eq!([100, 101, 200, 300, 301].map(|page| committed(&journal, page)), [1, 2, 1, 2, 0]);
    drop(journal);

    let (storage, header) = place.open();
    assert_eq!(header.state, IN_USE);
    assert_eq!([100, 101, 200, 300].map(|page| in_file(&*storage, page)), [0; 4]);
    let inspected = Journal::inspect(&*storage, &header).unwrap();
    assert_eq!((inspected.commit, inspected.images.len()), (2, 4));
    let mut bytes = [0; PAGE];
    inspected.read_page(&*storage, 101, &mut bytes).unwrap();
    assert_eq!(bytes, page_of(2));
    let (journal, replayed) = Journal::recover(storage.clone(), header).unwrap();
    assert_eq!((replayed.commits, replayed.pages, replayed.last_commit), (2, 4, 2));
    assert_eq!([100, 101, 200, 300].map(|page| in_file(&*storage, page)), [1, 2, 1, 2]);
    assert_eq!(append(&journal, &[(100, 3)]), 3);
    drop(journal);

    let (storage, header) = place.open();
    let (journal, replayed) = Journal::recover(storage, header).unwrap();
    assert_eq!((replayed.last_commit, committed(&journal, 100)), (3, 3));
}

#[test]
fn a_fold_empties_the_log_and_notes_checksums() {
    let place = Place::new();
    let (storage, header) = place.create();
    let journal = Journal::of_clean(storage.clone(), header);
    assert_eq!(journal.fold().unwrap().pages, 0);
    append(&journal, &[(100, 1), (101, 1), (5000, 1)]);
    append(&journal, &[(101, 2)]);
    assert_eq!(journal.log_bytes(), 4 * PAGE_LEN + RECORD as u64);
    let folded = journal.fold().unwrap();
    assert_eq!((folded.pages, journal.log_bytes()), (3, 0));
    assert_eq!([100, 101, 5000].map(|page| in_file(&*storage, page)), [1, 2, 1]);
    let header = journal.header();
    assert_eq!((header.folded_through, header.commit, header.state), (2, 2, IN_USE));
    for (page, expected) in [(100_u64, crc32c::crc32c(&page_of(1))), (101, crc32c::crc32c(&page_of(2))), (102, 0)] {
        let mut checksum = [0; 4];
        storage.read_at(Part::Data, &mut checksum, header.layout.checksums().offset + page * 4).unwrap();
        assert_eq!(u32::from_le_bytes(checksum), expected, "page {page}");
    }
    append(&journal, &[(100, 7)]);
    drop(journal);
    let (storage, header) = place.open();
    let (journal, replayed) = Journal::recover(storage, header).unwrap();
    assert_eq!((replayed.commits, replayed.last_commit), (1, 3));
    assert_eq!([100, 101].map(|page| committed(&journal, page)), [7, 2]);
}

#[test]
fn finishing_leaves_one_clean_file() {
    let place = Place::new();
    let (storage, header) = place.create();
    let journal = Journal::of_clean(storage.clone(), header);
    journal.finish(|_| Ok(()), |_| {}).unwrap();
    assert_eq!(journal.header(), header, "nothing was asked to be written");
    append(&journal, &[(100, 1)]);
    assert!(place.log_exists());
    let soft = |storage: &dyn Storage| storage.write_at(Part::Data, &page_of(9), 50 * PAGE_LEN);
    journal.finish(soft, |header| header.epoch += 1).unwrap();
    assert!(!place.log_exists());
    drop(journal);

    let (storage, header) = place.open();
    assert_eq!((header.state, header.commit, header.epoch, header.log_salt), (CLEAN, 1, 1, 0));
    assert_eq!([100, 50].map(|page| in_file(&*storage, page)), [1, 9]);
    let journal = Journal::of_clean(storage, header);
    assert_eq!(append(&journal, &[(100, 2)]), 2);
    assert_eq!(committed(&journal, 100), 2);
}

#[test]
fn direct_pages_are_made_valid_by_their_record() {
    let place = Place::new();
    let (storage, header) = place.create();
    let journal = Journal::of_clean(storage.clone(), header);
    let first = journal.direct_floor() / PAGE_LEN;
    let bytes = [page_of(4), page_of(5), page_of(6)].concat();
    storage.write_at(Part::Data, &bytes, first * PAGE_LEN).unwrap();
    let direct_checksums = &[4, 5, 6].map(|byte| crc32c::crc32c(&page_of(byte)));
    let direct = [first..first + 1, first + 1..first + 3];
    let data_len = (first + 10) * PAGE_LEN;
    let commit = Commit { pages: &[7], images: &page_of(1), direct: &direct, direct_checksums, data_len };
    journal.append(&commit, Durability::Durable).unwrap();
    assert_eq!((journal.data_len(), journal.direct_floor()), (data_len, data_len));
    assert_eq!(storage.len(Part::Data).unwrap(), data_len);
    // What a failed attempt leaves.
    storage.write_at(Part::Data, &page_of(8), data_len).unwrap();
    drop(journal);

    let (storage, header) = place.open();
    let (journal, _) = Journal::recover(storage.clone(), header).unwrap();
    assert_eq!(storage.len(Part::Data).unwrap(), data_len);
    let pages = [7, first, first + 1, first + 2, first + 3, first + 10];
    assert_eq!(pages.map(|page| committed(&journal, page)), [1, 4, 5, 6, 0, 0]);
    journal.fold().unwrap();
    let mut checksum = [0; 4];
    let area = header.layout.checksums();
    storage.read_at(Part::Data, &mut checksum, area.offset + (first + 1) * 4).unwrap();
    assert_eq!(u32::from_le_bytes(checksum), crc32c::crc32c(&page_of(5)));
}

#[test]
fn a_missing_or_foreign_or_cut_log_is_refused() {
    let place = Place::new();
    let (storage, header) = place.create();
    let journal = Journal::of_clean(storage, header);
    append(&journal, &[(100, 1)]);
    append(&journal, &[(100, 2)]);
    journal.fold().unwrap();
    append(&journal, &[(101, 2)]);
    drop(journal);
    let log = place.0.path().join("heap-log");
    let bytes = std::fs::read(&log).unwrap();
    let refused = |bytes: &[u8]| {
        std::fs::write(&log, bytes).unwrap();
        let (storage, header) = place.open();
        Journal::recover(storage, header).unwrap_err()
    };
    let mut foreign = bytes.clone();
    foreign[..PAGE].copy_from_slice(&crate::format::log_record::Identity { heap_id: [3; 16], salt: 1 }.encode());
    assert!(matches!(refused(&foreign), OpenError::ForeignLog));
    assert!(matches!(refused(&bytes[..PAGE - 1][..10]), OpenError::DamagedLog { offset: 0 }));
    std::fs::remove_file(&log).unwrap();
    let (storage, header) = place.open();
    assert!(matches!(Journal::recover(storage, header), Err(OpenError::LogMissing)));
    std::fs::write(&log, &bytes).unwrap();
    let (storage, header) = place.open();
    assert!(Journal::recover(storage, header).is_ok());
}

#[test]
fn a_bad_record_before_a_durable_one_is_damage_and_at_the_end_it_is_a_tail() {
    let place = Place::new();
    let (storage, header) = place.create();
    let journal = Journal::of_clean(storage, header);
    for number in 1..=5 {
        append(&journal, &[(100, number)]);
    }
    drop(journal);
    let log = place.0.path().join("heap-log");
    let bytes = std::fs::read(&log).unwrap();
    let with_flipped = |record: usize| {
        let mut damaged = bytes.clone();
        damaged[PAGE + record * RECORD + 2000] ^= 1;
        std::fs::write(&log, damaged).unwrap();
        let (storage, header) = place.open();
        Journal::recover(storage, header).map(|(_, replayed)| replayed.last_commit)
    };
    for record in 0..3 {
        let offset = (PAGE + record * RECORD) as u64;
        assert!(matches!(with_flipped(record), Err(OpenError::DamagedLog { offset: at }) if at == offset));
    }
    // The fifth record says that the fourth was durable before it, of the fifth itself nobody says so.
    assert!(matches!(with_flipped(3), Err(OpenError::DamagedLog { .. })));
    assert_eq!(with_flipped(4).unwrap(), 4);
}

#[test]
fn a_paused_journal_does_not_fold() {
    let place = Place::new();
    let (storage, header) = place.create();
    let journal = Journal::of_clean(storage.clone(), header);
    append(&journal, &[(100, 1)]);
    let pause = journal.pause_folding();
    let second = journal.pause_folding();
    assert_eq!(journal.try_fold(), Ok(None));
    drop(pause);
    assert_eq!(journal.try_fold(), Ok(None));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| journal.fold().unwrap().pages);
        append(&journal, &[(101, 1)]);
        assert_eq!(in_file(&*storage, 100), 0);
        drop(second);
        assert!(waiting.join().unwrap() >= 1);
    });
    assert_eq!(in_file(&*storage, 100), 1);
    assert!(!matches!(journal.try_fold(), Err(AppendError::Broken)));
}

#[test]
fn what_followed_a_lost_commit_does_not_follow_the_same_commit_made_again() {
    let place = Place::new();
    let (storage, header) = place.create();
    let journal = Journal::of_clean(storage, header);
    append(&journal, &[(100, 1)]);
    let written = |journal: &Journal, byte| {
        let commit = Commit {
            pages: &[100],
            images: &page_of(byte),
            direct: &[],
            direct_checksums: &[],
            data_len: journal.data_len(),
        };
        journal.append(&commit, Durability::Written).unwrap()
    };
    assert_eq!((written(&journal, 2), written(&journal, 3)), (2, 3));
    drop(journal);
    // A power cut: the second record did not arrive in full, the third did.
    let log = place.0.path().join("heap-log");
    let mut bytes = std::fs::read(&log).unwrap();
    bytes[PAGE + RECORD..][..512].fill(0);
    std::fs::write(&log, bytes).unwrap();
    let (storage, header) = place.open();
    let (journal, replayed) = Journal::recover(storage, header).unwrap();
    assert_eq!(replayed.last_commit, 1);
    assert_eq!(written(&journal, 2), 2);
    drop(journal);
    let (storage, header) = place.open();
    let (journal, replayed) = Journal::recover(storage, header).unwrap();
    assert_eq!((replayed.last_commit, committed(&journal, 100)), (2, 2));
}

#[test]
fn what_no_commit_named_is_zero_where_the_heap_grew() {
    let place = Place::new();
    let (storage, header) = place.create();
    let journal = Journal::of_clean(storage.clone(), header);
    let first = header.file_len / PAGE_LEN;
    let data_len = (first + 5) * PAGE_LEN;
    let pages = [first, first + 3];
    let images = [page_of(1), page_of(2)].concat();
    journal
        .append(
            &Commit { pages: &pages, images: &images, direct: &[], direct_checksums: &[], data_len },
            Durability::Durable,
        )
        .unwrap();
    drop(journal);
    // As after a power cut that undid an earlier recovery's cut.
    for page in first..first + 5 {
        storage.write_at(Part::Data, &page_of(9), page * PAGE_LEN).unwrap();
    }
    let (storage, header) = place.open();
    let (journal, _) = Journal::recover(storage, header).unwrap();
    assert_eq!([0, 1, 2, 3, 4].map(|page| committed(&journal, first + page)), [1, 0, 0, 2, 0]);
}

/// As above, but the commit that is made again is folded before the next crash. Where the chain begins nothing was known
/// of the record before, so what had followed the lost commit was taken for what follows now.
#[test]
fn what_followed_a_lost_commit_does_not_follow_the_same_commit_made_again_and_folded() {
    let place = Place::new();
    let (storage, header) = place.create();
    let journal = Journal::of_clean(storage, header);
    append(&journal, &[(100, 1)]);
    for byte in [2, 3] {
        let commit = Commit {
            pages: &[100],
            images: &page_of(byte),
            direct: &[],
            direct_checksums: &[],
            data_len: journal.data_len(),
        };
        journal.append(&commit, Durability::Written).unwrap();
    }
    drop(journal);
    let log = place.0.path().join("heap-log");
    let mut bytes = std::fs::read(&log).unwrap();
    bytes[PAGE + RECORD..][..512].fill(0);
    std::fs::write(&log, bytes).unwrap();
    let (storage, header) = place.open();
    let (journal, replayed) = Journal::recover(storage, header).unwrap();
    assert_eq!(replayed.last_commit, 1);
    assert_eq!(append(&journal, &[(100, 7)]), 2);
    journal.fold().unwrap();
    drop(journal);
    let (storage, header) = place.open();
    let (journal, replayed) = Journal::recover(storage, header).unwrap();
    assert_eq!((replayed.last_commit, committed(&journal, 100)), (2, 7));
}

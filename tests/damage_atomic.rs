//! Damaged atomic heaps: the files of a killed process, with one kind of damage after the other. Opening, verifying,
//! scrubbing and looking at them give errors, or exactly a commit that there was; never a crash, never anything else.
//!
//! Everything runs in a process of its own, so that a crash is told from a failure. Blocks are covered by checksums of
//! their pages: what opening believes of them, `scrub` finds.
#![allow(unsafe_code)]

mod support;

use sal::prelude::*;
use sal::{Archaeology, Flaw, HeapOptions, OpenError, PageDamage, RootError};
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use support::bytes::{self, header};
use support::heaps::{log_of, run_and_kill, unmap};
use support::{Random, alone, fresh_path, process, seed};

const STATE: Root<SalVec<u64>> = Root::new("state");
const TEXT: Root<SalString> = Root::new("text");
const PAGE: u64 = 4096;
const COMMITS: u64 = 5;
/// Words of the state; more than a page.
const WORDS: u64 = 2000;

fn options() -> HeapOptions {
    HeapOptions::new().discard(true)
}

fn open(options: &HeapOptions, path: &Path) -> Result<Heap, OpenError> {
    // SAFETY: only these tests write to the files; what they damage is covered by checksums, or is not believed.
    unsafe { options.open(path) }
}

/// What a commit holds.
fn state_of(commit: u64) -> impl Iterator<Item = u64> {
    (0..WORDS).map(move |word| word * 1_000 + commit * u64::from(word % 7 == commit % 7 || word < 3))
}

/// Commits `COMMITS` times and is killed; with the role `folded`, the second commit has been folded, and the first heap was
/// closed once; else all of it is in the log, the pages that are new too.
fn write(role: &str, path: &Path) {
    // SAFETY: as in `open`.
    let mut heap = unsafe { HeapOptions::new().huge_pages(role == "folded").create(path) }.unwrap();
    for commit in 1..=COMMITS {
        let tx = heap.write().unwrap();
        let state = tx.root_or_default(STATE).unwrap();
        state.clear();
        state.extend(state_of(commit));
        if commit == 1 {
            tx.root_or_default(TEXT).unwrap().push_str("as it was");
        }
        drop(tx);
        heap.sync().unwrap();
        if role == "folded" && commit == 1 {
            unmap(heap);
            heap = open(&options(), path).unwrap();
        }
        if role == "folded" && commit == 2 {
            heap.sync_with(sal::SyncLevel::Full).unwrap();
        }
    }
    process::say("done");
    process::hear();
}

/// A heap's two files, and a way to damage copies of them.
struct Case {
    path: PathBuf,
    log: Vec<u8>,
}

impl Case {
    fn read(path: &Path) -> Self {
        Self { path: path.to_owned(), log: std::fs::read(log_of(path)).unwrap() }
    }

    fn restore_log(&self) {
        std::fs::write(log_of(&self.path), &self.log).unwrap();
    }

    /// Damages the heap file, tries everything, and mends it again.
    fn with_data<R>(&self, at: u64, damage: &[u8], work: impl FnOnce(&Path) -> R) -> R {
        let file = bytes::writable(&self.path);
        let mut good = vec![0; damage.len()];
        file.read_exact_at(&mut good, at).unwrap();
        file.write_all_at(damage, at).unwrap();
        let result = work(&self.path);
        file.write_all_at(&good, at).unwrap();
        result
    }

    /// The same with the log, which may become shorter.
    fn with_log<R>(&self, log: &[u8], work: impl FnOnce(&Path) -> R) -> R {
        std::fs::write(log_of(&self.path), log).unwrap();
        let result = work(&self.path);
        self.restore_log();
        result
    }

    /// Where each record of a commit lies, and its length, in the order of the commits.
    fn records(&self) -> Vec<(usize, usize)> {
        let half = |at: usize| u32::from_le_bytes(self.log[at..at + 4].try_into().unwrap()) as usize;
        let mut at = bytes::word(&bytes::newest(&self.path), header::LOG_START) as usize;
        let mut commit = bytes::word(&bytes::newest(&self.path), header::FOLDED_THROUGH);
        let mut records = Vec::new();
        while self.log.get(at..).is_some_and(|rest| rest.starts_with(b"\x8eSALrec\n")) {
            let (images, direct, is_jump) = (half(at + 72), half(at + 76), half(at + 80) == 2);
            if bytes::word(&self.log[at..], 40) != commit + 1 {
                break;
            }
            if is_jump {
                at = bytes::word(&self.log[at..], 64) as usize;
                continue;
            }
            let len = (96 + (images + direct) * 16 + images * 4096).next_multiple_of(4096);
            records.push((at, len));
            at += len;
            commit += 1;
        }
        assert_eq!(commit, COMMITS);
        records
    }
}

/// What came of looking at a heap.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Commit(u64),
    /// Some root could not be had.
    Damaged,
    Refused(String),
}

/// Opens a heap read-only and reads all of it; panics on what is neither a commit nor an error.
fn see(path: &Path) -> Seen {
    let heap = match open(&HeapOptions::new().read_only(true), path) {
        Ok(heap) => heap,
        Err(error) => return Seen::Refused(format!("{error:?}")),
    };
    let _ = heap.verify();
    let seen = {
        let read = heap.read().unwrap();
        match (read.root(STATE), read.root(TEXT)) {
            (Ok(state), Ok(text)) => {
                assert_eq!(text.as_str(), "as it was");
                let commit = (1..=COMMITS).find(|&commit| state.iter().copied().eq(state_of(commit)));
                Seen::Commit(commit.expect("no commit was like this"))
            }
            (Err(RootError::Damaged { .. } | RootError::NotFound { .. }), _)
            | (_, Err(RootError::Damaged { .. } | RootError::NotFound { .. })) => Seen::Damaged,
            (state, text) => panic!("{state:?} {text:?}"),
        }
    };
    unmap(heap);
    seen
}

/// Looks at a heap in every other way; returns whether nothing was found to be wrong.
fn dig(path: &Path) -> bool {
    let Ok(found) = Archaeology::options().salvage(true).open(path) else { return false };
    let (report, scrubbed) = (found.verify(), found.scrub(|_| ControlFlow::Continue(())));
    for root in found.roots() {
        let _ = root.offset.map(|offset| found.bytes(offset, root.info.len).map(<[u8]>::len));
    }
    let blocks = found.blocks().filter(|block| found.bytes(block.offset, block.len).is_some()).count();
    let orphans = found.orphans().unwrap().len();
    assert!(orphans <= blocks + found.missing_pages().len() * 256);
    println!("{report}{scrubbed}");
    report.is_good() && scrubbed.is_good()
}

fn in_a_process_of_its_own(name: &str, work: impl Fn(&Case)) {
    with_heaps_of(name, &["folded", "log"], work);
}

/// As [`in_a_process_of_its_own`], with heaps that were made in these ways only.
fn with_heaps_of(name: &str, roles: &[&str], work: impl Fn(&Case)) {
    match process::role() {
        Some((role, path)) if role == "work" => work(&Case::read(&path)),
        Some((role, path)) => write(&role, &path),
        None => {
            let _alone = alone();
            for role in roles {
                let (_directory, path) = fresh_path();
                run_and_kill(name, role, &path);
                process::run(name, "work", &path);
            }
        }
    }
}

#[test]
fn damaged_bytes_of_every_field_of_log_records_are_errors_or_the_commit_before_the_last() {
    let name = "damaged_bytes_of_every_field_of_log_records_are_errors_or_the_commit_before_the_last";
    in_a_process_of_its_own(name, |case| {
        assert_eq!(see(&case.path), Seen::Commit(COMMITS));
        assert!(dig(&case.path));
        let records = case.records();
        assert!(records.len() >= 3, "{records:?}");
        for (number, &(at, len)) in records.iter().enumerate() {
            let is_last = number == records.len() - 1;
            // Each field of the header; of the first two entries; the first, a middle and the last byte of images.
            let fields = [0, 8, 24, 32, 40, 48, 56, 64, 72, 76, 80, 84, 88, 92, 96, 104, 108, 112, 120, 124];
            for field in fields.into_iter().chain([200, len / 2, 96 + 16 + 4095]) {
                let mut damaged = case.log.clone();
                damaged[at + field] ^= 0x41;
                let seen = case.with_log(&damaged, |path| (see(path), dig(path)));
                match (is_last, &seen.0) {
                    (true, Seen::Commit(commit)) => assert!(*commit >= COMMITS - 1, "{field}"),
                    // In the padding behind the images.
                    (false, Seen::Commit(COMMITS)) => assert!(field > 120, "{field}"),
                    (false, Seen::Refused(error)) => {
                        assert_eq!(*error, format!("DamagedLog {{ offset: {at} }}"), "{field}");
                        assert!(!seen.1);
                    }
                    (_, other) => panic!("record {number}, field {field}: {other:?}"),
                }
            }
        }
        assert_eq!(see(&case.path), Seen::Commit(COMMITS));
    });
}

#[test]
fn a_log_cut_at_every_sector_is_an_error_or_the_commit_that_was_durable_there() {
    let name = "a_log_cut_at_every_sector_is_an_error_or_the_commit_that_was_durable_there";
    in_a_process_of_its_own(name, |case| {
        let records = case.records();
        let end = records.iter().map(|(at, len)| at + len).max().unwrap();
        let first_commit = COMMITS + 1 - records.len() as u64;
        let check = |cut: usize, log: &[u8]| {
            let is_whole = |&(at, len): &(usize, usize)| log.get(at..at + len) == Some(&case.log[at..at + len]);
            let whole = records.iter().take_while(|record| is_whole(record)).count();
            let expected = first_commit + whole as u64 - 1;
            match case.with_log(log, see) {
                Seen::Commit(commit) => assert_eq!(commit, expected, "cut at {cut}"),
                // Before there was any root.
                Seen::Damaged => assert_eq!(expected, 0, "cut at {cut}"),
                // Also a later record, which lies before an earlier one because the log's space goes round.
                Seen::Refused(error) => assert!(
                    error.contains("DamagedLog") && (cut < 4096 || records[whole..].iter().any(is_whole)),
                    "cut at {cut}: {error}"
                ),
            }
        };
        for cut in (0..=end + 512).step_by(512) {
            check(cut, &case.log[..cut]);
            // The same bytes as zeros.
            let mut zeros = case.log.clone();
            zeros[cut..].fill(0);
            check(cut, &zeros);
            if cut % 65_536 == 0 {
                case.with_log(&case.log[..cut], dig);
            }
        }
    });
}

#[test]
fn a_hole_in_the_middle_of_the_log_is_an_error_and_never_a_shorter_history() {
    let name = "a_hole_in_the_middle_of_the_log_is_an_error_and_never_a_shorter_history";
    in_a_process_of_its_own(name, |case| {
        let records = case.records();
        for &(at, len) in &records[..records.len() - 1] {
            for start in [at, at + 512, at + len - 512] {
                let mut damaged = case.log.clone();
                damaged[start..start + 512].fill(0);
                if damaged == case.log {
                    continue;
                }
                let seen = case.with_log(&damaged, see);
                assert!(matches!(&seen, Seen::Refused(error) if error.contains("DamagedLog")), "{start}: {seen:?}");
            }
            // Two records exchanged, or one of them twice.
            let mut twice = case.log.clone();
            let (next, next_len) = records[records.len() - 1];
            twice.copy_within(next..next + next_len.min(len), at);
            let seen = case.with_log(&twice, see);
            assert!(matches!(&seen, Seen::Refused(error) if error.contains("DamagedLog")), "{seen:?}");
        }
    });
}

#[test]
fn a_missing_log_and_one_of_another_heap_are_refused() {
    let name = "a_missing_log_and_one_of_another_heap_are_refused";
    in_a_process_of_its_own(name, |case| {
        let log = log_of(&case.path);
        std::fs::remove_file(&log).unwrap();
        assert_eq!(see(&case.path), Seen::Refused("LogMissing".into()));
        assert!(!dig(&case.path));
        std::fs::create_dir(&log).unwrap();
        assert!(matches!(see(&case.path), Seen::Refused(_)));
        assert!(!dig(&case.path));
        std::fs::remove_dir(&log).unwrap();
        case.restore_log();
        for at in [8, 30] {
            // Another heap's number, another log of the same heap: with a right checksum.
            let mut foreign = case.log.clone();
            foreign[at] ^= 1;
            let checksum = crc32c::crc32c(&foreign[..36]);
            foreign[36..40].copy_from_slice(&checksum.to_le_bytes());
            assert_eq!(case.with_log(&foreign, see), Seen::Refused("ForeignLog".into()));
        }
        for at in 0..40 {
            let mut damaged = case.log.clone();
            damaged[at] ^= 1;
            let seen = case.with_log(&damaged, see);
            assert_eq!(seen, Seen::Refused("DamagedLog { offset: 0 }".into()), "byte {at}");
        }
        assert_eq!(see(&case.path), Seen::Commit(COMMITS));
    });
}

#[test]
fn damaged_headers_leave_the_other_one_or_are_refused() {
    let name = "damaged_headers_leave_the_other_one_or_are_refused";
    in_a_process_of_its_own(name, |case| {
        let [(newest, _), (older, old)] = bytes::slots(&case.path);
        let was_clean = bytes::half_word(&old, header::STATE) == 1;
        for at in (0..header::LEN as u64).step_by(12) {
            let seen = case.with_data(older + at, &[0x5A, 0xA5], see);
            assert_eq!(seen, Seen::Commit(COMMITS), "the older slot, byte {at}");
            // The header before says what was so before: how far the log was folded, or that the heap was clean.
            let seen = case.with_data(newest + at, &[0x5A, 0xA5], |path| (see(path), dig(path)));
            assert!(!seen.1, "byte {at}");
            match seen.0 {
                Seen::Commit(commit) => assert!(commit == COMMITS && !was_clean, "byte {at}: {commit}"),
                Seen::Refused(error) if was_clean => {
                    assert_eq!(error, format!("CommitsMissing {{ found: 0, expected: {COMMITS} }}"), "byte {at}");
                }
                Seen::Refused(_) => {}
                Seen::Damaged => panic!("byte {at}"),
            }
        }
        case.with_data(newest, &[0; header::LEN], |path| {
            case.with_data(older, &[0; header::LEN], |_| {
                assert_eq!(see(path), Seen::Refused("NotAHeap".into()));
                assert!(!dig(path));
            });
        });
    });
}

/// The first commits of an opening are in the log alone, and the header before says that the heap was closed. Where the
/// newer one was damaged, the log was ignored, and removed by the next commit.
#[test]
fn a_log_with_commits_beside_a_header_that_says_clean_is_refused_in_every_way_of_opening_and_can_be_salvaged() {
    let name =
        "a_log_with_commits_beside_a_header_that_says_clean_is_refused_in_every_way_of_opening_and_can_be_salvaged";
    with_heaps_of(name, &["log"], |case| {
        let [(newest, _), (_, old)] = bytes::slots(&case.path);
        assert_eq!(bytes::half_word(&old, header::STATE), 1, "the older header does not say clean");
        case.with_data(newest, &[0; header::LEN], |path| {
            let before = [bytes::hash(path), bytes::hash(&log_of(path))];
            let is_missing =
                |error: &OpenError| matches!(error, OpenError::CommitsMissing { found: 0, expected: COMMITS });
            for options in [HeapOptions::new(), options(), HeapOptions::new().read_only(true)] {
                assert!(open(&options, path).is_err_and(|error| is_missing(&error)), "{options:?}");
                // SAFETY: as in `open`.
                let opened = unsafe { options.open_or_create(path) };
                assert!(opened.is_err_and(|error| is_missing(&error)), "{options:?}");
            }
            assert!(Archaeology::open(path).is_err_and(|error| is_missing(&error)));
            let found = Archaeology::options().salvage(true).open(path).unwrap();
            assert_eq!((found.commit(), found.is_clean(), found.roots().len()), (COMMITS, false, 2));
            assert!(found.damage().iter().any(|found| matches!(found.flaw, Flaw::Log { .. })));
            assert!(found.scrub(|_| ControlFlow::Continue(())).is_good());
            drop(found);
            assert_eq!([bytes::hash(path), bytes::hash(&log_of(path))], before);
            // Without the log nothing tells, and a file that is none of this heap's says nothing.
            for log in [&b""[..], b"a file of the user's", &[0x5A; 10_000]] {
                assert_eq!(case.with_log(log, see), Seen::Damaged);
            }
        });
        assert_eq!(see(&case.path), Seen::Commit(COMMITS));
    });
}

#[test]
fn random_damage_to_tables_log_and_headers_is_an_error_or_a_commit() {
    let name = "random_damage_to_tables_log_and_headers_is_an_error_or_a_commit";
    let seed = seed(0x000D_A3A6_E2A7);
    in_a_process_of_its_own(name, |case| {
        println!("seed {seed}");
        let mut random = Random(seed);
        let newest = bytes::newest(&case.path);
        let [table, roots, types, soft] =
            [header::SLAB_TABLE, header::ROOTS, header::TYPES, header::SOFT].map(|field| bytes::word(&newest, field));
        let areas = [(0, 512), (bytes::SLOT, 512), (table, 512), (roots, 256), (types, 600), (soft, 2000)];
        let end = case.records().iter().map(|(at, len)| at + len).max().unwrap();
        let mut refused = 0;
        for round in 0..100 {
            let mut damage: Vec<u8> = (0..1 << random.below(4)).map(|_| random.next() as u8).collect();
            let seen = if random.below(3) > 0 {
                let (start, len) = areas[random.below(areas.len())];
                let at = start + random.below(len - damage.len()) as u64;
                println!("round {round}: {damage:x?} at {at:#x}");
                case.with_data(at, &damage, |path| (see(path), dig(path)))
            } else {
                let at = random.below(end - damage.len());
                println!("round {round}: {damage:x?} in the log at {at:#x}");
                let mut log = case.log.clone();
                log[at..at + damage.len()].swap_with_slice(&mut damage);
                case.with_log(&log, |path| (see(path), dig(path)))
            };
            refused += usize::from(!matches!(seen.0, Seen::Commit(_)));
        }
        assert!(refused > 3, "{refused}");
        assert_eq!(see(&case.path), Seen::Commit(COMMITS));
    });
}

#[test]
fn files_cut_short_or_flipped_in_their_pages_are_reported_with_offsets() {
    let name = "files_cut_short_or_flipped_in_their_pages_are_reported_with_offsets";
    in_a_process_of_its_own(name, |case| {
        let is_folded = case.records().len() < COMMITS as usize;
        // Closed: everything is in one file.
        let heap = open(&options(), &case.path).unwrap();
        unmap(heap);
        assert_eq!(see(&case.path), Seen::Commit(COMMITS));
        let (len, newest) = (std::fs::metadata(&case.path).unwrap().len(), bytes::newest(&case.path));
        let segments = bytes::word(&newest, header::SEGMENTS);
        let found = Archaeology::open(&case.path).unwrap();
        let is_covered = |page: u64| page >= segments && found.block_at(page).is_some();
        let pages: Vec<_> = bytes::pages(&case.path).into_iter().filter(|(page, _)| is_covered(*page)).collect();
        drop(found);
        assert!(pages.len() > 3);
        for (page, contents) in pages.into_iter().step_by(5) {
            for torn in [false, true] {
                let mut damaged = contents.clone();
                if torn {
                    damaged[512..].fill(0);
                } else {
                    damaged[1000] ^= 0x10;
                }
                if damaged == contents {
                    continue;
                }
                let report = case.with_data(page, &damaged, |path| {
                    Archaeology::open(path).unwrap().scrub(|_| ControlFlow::Continue(()))
                });
                assert_eq!(report.damaged.len(), 1, "folded {is_folded}, {page:#x}: {report}");
                assert_eq!((report.damaged[0].offset, report.damaged[0].damage), (page, PageDamage::Checksum));
            }
        }
        for cut in [0, 100, 5000, PAGE * 16, segments - 1, segments, len - PAGE, len - 1] {
            let copy = case.path.with_file_name("cut");
            bytes::copy(&case.path, &copy);
            bytes::writable(&copy).set_len(cut).unwrap();
            let seen = see(&copy);
            if cut < 5000 {
                assert!(matches!(&seen, Seen::Refused(error) if error == "NotAHeap" || error == "Damaged"), "{seen:?}");
            } else {
                assert_eq!(seen, Seen::Refused(format!("Truncated {{ expected: {len}, found: {cut} }}")));
            }
            assert!(!dig(&copy));
        }
    });
}

#[test]
fn another_capacity_is_taken_or_refused_and_loses_nothing() {
    let name = "another_capacity_is_taken_or_refused_and_loses_nothing";
    in_a_process_of_its_own(name, |case| {
        for capacity in [1 << 30, 1 << 16, 1, 40 << 30, 1 << 45, u64::MAX, 0] {
            match open(&options().capacity(capacity), &case.path) {
                Ok(heap) => {
                    assert_eq!(heap.capacity(), capacity);
                    assert!(heap.verify().is_good());
                    unmap(heap);
                }
                Err(
                    OpenError::CapacityBelowUse { .. } | OpenError::CapacityTooLarge { .. } | OpenError::ZeroCapacity,
                ) => {}
                Err(other) => panic!("{capacity}: {other:?}"),
            }
            assert_eq!(see(&case.path), Seen::Commit(COMMITS), "{capacity}");
        }
    });
}

#[test]
fn an_unclean_file_that_is_too_short_is_refused_or_its_commit_comes_from_the_log() {
    let name = "an_unclean_file_that_is_too_short_is_refused_or_its_commit_comes_from_the_log";
    in_a_process_of_its_own(name, |case| {
        let newest = bytes::newest(&case.path);
        let folded = bytes::word(&newest, header::FILE_LEN);
        let len = std::fs::metadata(&case.path).unwrap().len();
        assert!(len >= folded);
        let mut refused = 0;
        for cut in (folded.saturating_sub(2 * PAGE)..=len).step_by(PAGE as usize * 16) {
            let [copy, log] = [case.path.with_file_name("short"), case.path.with_file_name("short-log")];
            bytes::copy(&case.path, &copy);
            std::fs::write(&log, &case.log).unwrap();
            bytes::writable(&copy).set_len(cut).unwrap();
            let seen = see(&copy);
            dig(&copy);
            match &seen {
                Seen::Commit(commit) => assert!(*commit == COMMITS && cut >= folded, "{cut}"),
                Seen::Refused(error) => {
                    assert!(error.contains("Truncated"), "{cut}: {error}");
                    refused += 1;
                }
                Seen::Damaged => panic!("{cut}"),
            }
            // For writing it is the same.
            match (open(&options(), &copy), seen) {
                (Ok(heap), Seen::Commit(_)) => {
                    unmap(heap);
                    assert_eq!(see(&copy), Seen::Commit(COMMITS), "{cut}");
                }
                (Err(error), Seen::Refused(other)) => assert_eq!(format!("{error:?}"), other),
                (opened, seen) => panic!("{cut}: {opened:?} and {seen:?}"),
            }
        }
        assert!(refused > 0);
    });
}

#[test]
fn a_file_that_claims_more_than_its_heap_has_room_for_is_not_mapped() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    // SAFETY: as in `open`.
    unmap(unsafe { HeapOptions::new().create(&path) }.unwrap());
    let end = {
        let found = Archaeology::open(&path).unwrap();
        found.address_range().end - found.address_range().start
    };
    for (claimed, len) in [(end + PAGE, end + PAGE), (end + (1 << 36), end + (1 << 36)), (u64::MAX, end)] {
        bytes::edit_header(&path, |slot| bytes::put(slot, header::FILE_LEN, claimed.to_le_bytes()));
        bytes::writable(&path).set_len(len).unwrap();
        for read_only in [false, true] {
            let error = open(&options().read_only(read_only), &path).unwrap_err();
            let is_expected =
                matches!(error, OpenError::Inconsistent { field: "file length" } | OpenError::Truncated { .. });
            assert!(is_expected, "{error:?}");
        }
        assert!(matches!(Archaeology::open(&path), Err(OpenError::Inconsistent { field: "file length" })));
    }
}

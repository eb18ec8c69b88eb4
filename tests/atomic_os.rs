//! Atomic heaps when the system refuses, or somebody interferes: full disks, forks, copied, removed and cut files, closed
//! descriptors. A sync that could not commit says so, and the last good commit is there.
#![allow(unsafe_code)]

mod support;

use sal::prelude::*;
use sal::{CloseError, DirtyTracking, HeapOptions, OpenError, SalCollect, SyncError, SyncLevel};
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use support::heaps::{log_of, open, open_with, run_and_kill, unmap};
use support::{alone, bytes, fresh_path, process};

const NUMBERS: Root<SalVec<u64>> = Root::new("numbers");

const TRACKINGS: [(&str, DirtyTracking); 2] =
    [("protect", DirtyTracking::WriteProtect), ("compare", DirtyTracking::Compare)];

/// Makes all of `count` numbers the same.
fn set_all(heap: &Heap, count: usize, number: u64) {
    let tx = heap.write().unwrap();
    let numbers = tx.root_or_default(NUMBERS).unwrap();
    numbers.clear();
    numbers.extend(std::iter::repeat_n(number, count));
}

/// The number that all are; none if there are none. Panics if they differ.
fn the_number(heap: &Heap) -> Option<u64> {
    let read = heap.read().unwrap();
    let numbers = read.root(NUMBERS).ok()?;
    assert!(numbers.iter().all(|number| *number == numbers[0]), "half of a session");
    numbers.first().copied()
}

/// Copies a heap file and its log, in this order, as they are.
fn copy(from: &Path, to: &Path) {
    bytes::copy(from, to);
    let _ = fs::remove_file(log_of(to));
    if log_of(from).exists() {
        let _ = fs::copy(log_of(from), log_of(to));
    }
}

fn is_full(error: &SyncError) -> bool {
    matches!(error, SyncError::Os { source, .. } if source.kind() == std::io::ErrorKind::StorageFull)
}

/// In a process of its own: the heap at `path`, or a copy of it, holds so many of this number.
fn assert_holds(test: &str, path: &Path, count: usize, number: u64) {
    process::run(test, &format!("check {count} {number}"), path);
}

fn check(role: &str, path: &Path) {
    let words: Vec<u64> = role.split(' ').skip(1).map(|word| word.parse().unwrap()).collect();
    let heap = open_with(&HeapOptions::new().read_only(true), path).unwrap();
    assert_eq!(the_number(&heap), Some(words[1]));
    assert_eq!(heap.read().unwrap().root(NUMBERS).unwrap().len() as u64, words[0]);
}

#[test]
fn a_sync_on_a_full_disk_fails_and_the_next_one_commits_when_there_is_room() {
    let name = "a_sync_on_a_full_disk_fails_and_the_next_one_commits_when_there_is_room";
    const COUNT: usize = 400_000;
    match process::role() {
        None => {
            let (_directory, path) = fresh_path();
            for (role, _) in TRACKINGS {
                if let Some(child) = process::start_on_small_disk(name, role, &path, 64) {
                    child.succeed();
                }
            }
        }
        Some((role, path)) if role.starts_with("check") => check(&role, &path),
        Some((role, path)) => {
            let tracking = TRACKINGS.iter().find(|(name, _)| *name == role).unwrap().1;
            let disk = path.parent().unwrap();
            let (_elsewhere, copied) = fresh_path();
            let heap = open_with(&HeapOptions::new().dirty_tracking(tracking).fold_at(1 << 20), &path).unwrap();
            // Not even room for the log.
            let filler = process::fill_disk(disk);
            set_all(&heap, 100, 1);
            assert!(is_full(&heap.sync().unwrap_err()));
            assert_eq!(the_number(&heap), Some(1));
            drop(filler);
            let first = heap.sync().unwrap();
            copy(&path, &copied);
            assert_holds(name, &copied, 100, 1);
            // New pages, which go to the heap file.
            let filler = process::fill_disk(disk);
            set_all(&heap, COUNT, 2);
            for level in [SyncLevel::Data, SyncLevel::Async, SyncLevel::Full] {
                assert!(is_full(&heap.sync_with(level).unwrap_err()));
            }
            assert_eq!(the_number(&heap), Some(2), "in memory the heap goes on");
            copy(&path, &copied);
            assert_holds(name, &copied, 100, 1);
            drop(filler);
            assert!(heap.sync().unwrap() > first);
            copy(&path, &copied);
            assert_holds(name, &copied, COUNT, 2);
            // Pages that have been committed, which go to the log.
            let filler = process::fill_disk(disk);
            set_all(&heap, COUNT, 3);
            assert!(is_full(&heap.sync().unwrap_err()), "the log has no such room");
            assert!(is_full(&heap.sync_with(SyncLevel::Full).unwrap_err()));
            copy(&path, &copied);
            assert_holds(name, &copied, COUNT, 2);
            drop(filler);
            heap.sync_with(SyncLevel::Full).unwrap();
            copy(&path, &copied);
            assert_holds(name, &copied, COUNT, 3);
            set_all(&heap, 10, 9);
            heap.close().unwrap();
            assert_holds(name, &path, 10, 9);
            fs::remove_file(&path).unwrap();
        }
    }
}

#[test]
fn a_close_on_a_full_disk_fails_and_the_last_commit_is_there() {
    let name = "a_close_on_a_full_disk_fails_and_the_last_commit_is_there";
    match process::role() {
        None => {
            let (_directory, path) = fresh_path();
            if let Some(child) = process::start_on_small_disk(name, "close", &path, 64) {
                child.succeed();
            }
        }
        Some((role, path)) if role.starts_with("check") => check(&role, &path),
        Some((_, path)) => {
            let heap = open(&path);
            set_all(&heap, 1000, 1);
            heap.sync().unwrap();
            set_all(&heap, 400_000, 2);
            let filler = process::fill_disk(path.parent().unwrap());
            let first = heap.read().unwrap().root(NUMBERS).unwrap()[0];
            assert_eq!(first, 2);
            assert!(matches!(heap.close(), Err(CloseError::Sync(error)) if is_full(&error)));
            let (_elsewhere, copied) = fresh_path();
            copy(&path, &copied);
            assert_holds(name, &copied, 1000, 1);
            drop(filler);
        }
    }
}

#[test]
fn what_a_parent_wrote_before_and_after_a_fork_is_in_its_next_commit() {
    let name = "what_a_parent_wrote_before_and_after_a_fork_is_in_its_next_commit";
    const COUNT: usize = 50_000;
    if let Some((role, path)) = process::role() {
        let tracking = TRACKINGS.iter().find(|(name, _)| *name == role).unwrap().1;
        let heap = open_with(&HeapOptions::new().dirty_tracking(tracking), &path).unwrap();
        set_all(&heap, COUNT, 1);
        heap.sync().unwrap();
        for round in 2..10 {
            let tx = heap.write().unwrap();
            let numbers = tx.root_mut(NUMBERS).unwrap();
            let (before, after) = numbers.split_at_mut(COUNT / 2);
            before.fill(round);
            // SAFETY: the child uses what it was given, and ends.
            let child = unsafe { libc::fork() };
            if child == 0 {
                let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    before.fill(77);
                    after.fill(78);
                    assert!(matches!(heap.sync(), Err(SyncError::Forked)));
                    assert!(matches!(heap.try_sync(), Err(SyncError::Forked)));
                }));
                // SAFETY: ends the child at once.
                unsafe { libc::_exit(if outcome.is_ok() { 7 } else { 1 }) };
            }
            let mut status = 0;
            // SAFETY: our child, waited for once.
            assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
            assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 7);
            after.fill(round);
            tx.sync().unwrap();
        }
        process::say("done");
        process::hear();
        return;
    }
    let _alone = alone();
    for (role, _) in TRACKINGS {
        let (_directory, path) = fresh_path();
        run_and_kill(name, role, &path);
        let heap = open(&path);
        assert_eq!((the_number(&heap), heap.read().unwrap().root(NUMBERS).unwrap().len()), (Some(9), COUNT));
        unmap(heap);
    }
}

#[test]
fn a_plain_copy_of_a_heap_in_use_opens_at_a_commit_or_is_refused() {
    let name = "a_plain_copy_of_a_heap_in_use_opens_at_a_commit_or_is_refused";
    if let Some((_, path)) = process::role() {
        let heap = open_with(&HeapOptions::new().fold_at(64 << 10), &path).unwrap();
        for number in 1.. {
            set_all(&heap, 3000 + number as usize * 1000 % 7001, number);
            heap.sync().unwrap();
            process::say(&format!("committed {number} ."));
        }
    }
    let _alone = alone();
    let (directory, path) = fresh_path();
    let mut child = process::start(name, "write", &path);
    child.wait_for(".");
    let lines = child.listen();
    let copied = directory.path().join("copy.sal");
    let (mut opened, mut before) = (0, 1);
    for _ in 0..40 {
        for line in lines.try_iter() {
            if let Some(number) = line.strip_prefix("committed ").and_then(|line| line.strip_suffix(" .\n")) {
                before = number.parse().unwrap();
            }
        }
        copy(&path, &copied);
        match open_with(&HeapOptions::new(), &copied) {
            Ok(heap) => {
                let number = the_number(&heap).unwrap();
                assert!(number >= before, "a copy that was begun after {before} holds {number}");
                let len = heap.read().unwrap().root(NUMBERS).unwrap().len();
                assert_eq!(len, 3000 + number as usize * 1000 % 7001);
                opened += 1;
                unmap(heap);
            }
            Err(error) => println!("{error}"),
        }
        fs::remove_file(&copied).unwrap();
    }
    println!("{opened} of 40 could be opened, {before} commits");
    child.kill();
}

#[test]
fn a_sync_into_files_that_have_lost_their_names_is_an_error() {
    let _alone = alone();
    let (directory, path) = fresh_path();
    for way in 0..3 {
        let heap = open(&path);
        set_all(&heap, 1000, 1);
        heap.sync().unwrap();
        set_all(&heap, 1000, 2);
        match way {
            0 => fs::remove_file(&path).unwrap(),
            1 => {
                let other = directory.path().join("other");
                fs::write(&other, "a file that somebody saves over the heap").unwrap();
                fs::rename(&other, &path).unwrap();
            }
            _ => fs::remove_file(log_of(&path)).unwrap(),
        }
        assert!(matches!(heap.sync(), Err(SyncError::Os { .. })));
        assert!(matches!(heap.sync(), Err(SyncError::Broken)));
        assert!(matches!(heap.snapshot_to(directory.path().join("snapshot")), Err(SyncError::Broken)));
        assert!(!directory.path().join("snapshot").exists());
        assert_eq!(the_number(&heap), Some(2), "in memory the heap goes on");
        set_all(&heap, 1000, 3);
        assert!(heap.close().is_err());
        let _ = fs::remove_file(log_of(&path));
        let _ = fs::remove_file(&path);
    }
}

#[test]
fn a_close_into_files_that_have_lost_their_names_is_an_error() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    let heap = open(&path);
    set_all(&heap, 1000, 1);
    fs::remove_file(&path).unwrap();
    assert!(matches!(heap.close(), Err(CloseError::Sync(SyncError::Os { .. }))));
}

#[test]
fn a_heap_whose_file_somebody_cut_off_syncs_no_more() {
    let name = "a_heap_whose_file_somebody_cut_off_syncs_no_more";
    const COUNT: usize = 1_000_000;
    if let Some((_, path)) = process::role() {
        let heap = open_with(&HeapOptions::new().fold_at(4096), &path).unwrap();
        set_all(&heap, COUNT, 1);
        heap.sync_with(SyncLevel::Full).unwrap();
        let len = fs::metadata(&path).unwrap().len();
        let file = bytes::writable(&path);
        file.set_len(len - 4096).unwrap();
        assert!(matches!(heap.sync(), Err(SyncError::Os { .. })), "nothing else has changed");
        // Also when it is as long again: what was cut off is gone.
        file.set_len(len).unwrap();
        assert!(matches!(heap.sync(), Err(SyncError::Broken)));
        assert!(heap.close().is_err());
        return;
    }
    let (_directory, path) = fresh_path();
    process::run(name, "cut", &path);
}

#[test]
fn a_process_that_closes_all_descriptors_cannot_sync_and_writes_into_no_file_of_others() {
    let name = "a_process_that_closes_all_descriptors_cannot_sync_and_writes_into_no_file_of_others";
    if let Some((role, path)) = process::role() {
        if role.starts_with("check") {
            return check(&role, &path);
        }
        let heap = open_with(&HeapOptions::new().fold_at(4096), &path).unwrap();
        set_all(&heap, 5000, 1);
        heap.sync_with(SyncLevel::Full).unwrap();
        set_all(&heap, 5000, 2);
        // SAFETY: nobody else in this process uses a descriptor meanwhile.
        assert_eq!(unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) }, 0);
        let mut others = Vec::new();
        if role == "reuse" {
            // As large as the heap, so that its size alone tells nothing.
            let len = fs::metadata(&path).unwrap().len() + (1 << 20);
            for number in 0..12 {
                let name = path.with_extension(format!("other{number}"));
                let file = fs::File::options().create_new(true).read(true).write(true).open(name).unwrap();
                file.set_len(len).unwrap();
                others.push(file);
            }
        }
        assert!(matches!(heap.sync(), Err(SyncError::Os { .. })));
        assert!(matches!(heap.sync(), Err(SyncError::Broken)));
        set_all(&heap, 500_000, 3);
        assert_eq!(the_number(&heap), Some(3), "in memory the heap goes on");
        std::mem::forget(heap);
        for other in &others {
            let mut start = [1; 16 << 10];
            other.read_exact_at(&mut start, 0).unwrap();
            assert!(start.iter().all(|&byte| byte == 0));
            assert!(std::os::unix::fs::MetadataExt::blocks(&other.metadata().unwrap()) == 0, "something was written");
        }
        process::say("done");
        process::hear();
        return;
    }
    for role in ["close", "reuse"] {
        let (_directory, path) = fresh_path();
        run_and_kill(name, role, &path);
        assert_holds(name, &path, 5000, 1);
    }
}

/// What the program opened under the number of the heap file was asked for that file's holes. Nothing in them was marked, so
/// live blocks were freed.
#[test]
fn collecting_after_all_descriptors_were_closed_frees_nothing_that_is_reached() {
    let name = "collecting_after_all_descriptors_were_closed_frees_nothing_that_is_reached";
    const VECTORS: Root<SalVec<SalVec<u64>>> = Root::new("vectors");
    if let Some((role, path)) = process::role() {
        let heap = open(&path);
        if role == "fill" {
            let tx = heap.write().unwrap();
            let vectors = tx.root_or_default(VECTORS).unwrap();
            vectors.extend((0..2000).map(|number| SalVec::from_iter([number; 20])));
            drop(tx);
            return unmap(heap);
        }
        // SAFETY: nobody else in this process uses a descriptor meanwhile.
        assert_eq!(unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) }, 0);
        let other = tempfile::tempfile().unwrap();
        other.set_len(1 << 40).unwrap();
        let _others: Vec<_> = (0..12).map(|_| other.try_clone().unwrap()).collect();
        // SAFETY: no other thread uses the heap, and only roots hold anything in it.
        let (leaks, collected) = unsafe { (heap.leak_report().unwrap(), heap.collect().unwrap()) };
        assert_eq!((leaks.blocks, collected.reclaimed_blocks), (0, 0));
        assert!(collected.marked_blocks > 2000);
        std::mem::forget(heap);
        return;
    }
    let (_directory, path) = fresh_path();
    process::run(name, "fill", &path);
    process::run(name, "collect", &path);
}

#[test]
fn a_system_that_does_not_give_the_addresses_is_told_from_other_errors() {
    let name = "a_system_that_does_not_give_the_addresses_is_told_from_other_errors";
    if let Some((_, path)) = process::role() {
        let limit = libc::rlimit { rlim_cur: 32 << 30, rlim_max: 32 << 30 };
        // SAFETY: plain call.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limit) }, 0);
        let existed = path.exists();
        let error = open_with(&HeapOptions::new(), &path).unwrap_err();
        assert!(matches!(&error, OpenError::Os { source, .. } if source.kind() == std::io::ErrorKind::OutOfMemory));
        assert!(error.to_string().contains("vm.overcommit_memory=2"), "{error}");
        assert_eq!(path.exists(), existed, "a failed creation leaves no file");
        return;
    }
    let (_directory, path) = fresh_path();
    process::run(name, "limited", &path);
    let heap = open(&path);
    set_all(&heap, 10, 1);
    unmap(heap);
    process::run(name, "limited", &path);
}

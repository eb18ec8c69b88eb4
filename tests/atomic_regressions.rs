//! What once went wrong with atomic heaps. Each test says what broke, and why.
#![allow(unsafe_code)]

mod support;

use allocator_api2::alloc::Allocator;
use sal::prelude::*;
use sal::testing::{Effect, Granularity, SimulatedDisk};
use sal::{HeapOptions, OpenError, Recovery, RecoveryPhase, SyncError, SyncLevel};
use std::alloc::Layout;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;
use support::heaps::unmap;
use support::{alone, fresh_path, process};

const NUMBERS: Root<SalVec<u64>> = Root::new("numbers");
const SECOND: Root<SalVec<u64>> = Root::new("second");
const THIRD: Root<SalVec<u64>> = Root::new("third");
const LISTS: Root<SalVec<SalVec<u64>>> = Root::new("lists");
/// Addresses of blocks that nothing else leads to.
const BLOCKS: Root<SalVec<u64>> = Root::new("blocks");

const NO_SPACE: i32 = 28;
const IO: i32 = 5;

fn options() -> HeapOptions {
    HeapOptions::new().capacity(256 << 20).recovery(Recovery::Eager)
}

fn open_file(options: &HeapOptions, path: &Path) -> Result<Heap, OpenError> {
    // SAFETY: the tests write these files through this crate only.
    unsafe { options.open_or_create(path) }
}

fn kill(disk: &SimulatedDisk, heap: Heap) {
    // SAFETY: nothing of the heap is used afterwards.
    unsafe { disk.kill(heap) };
}

/// Adds numbers to a root.
fn extend(heap: &Heap, root: Root<SalVec<u64>>, numbers: std::ops::Range<u64>) {
    heap.write().unwrap().root_or_default(root).unwrap().extend(numbers);
}

fn holds(heap: &Heap, root: Root<SalVec<u64>>, numbers: std::ops::Range<u64>) -> bool {
    heap.read().unwrap().root(root).unwrap().iter().copied().eq(numbers)
}

/// A block that reads as zeros but for its first word, and that [`BLOCKS`] leads to.
fn take_zeroed(heap: &Heap, len: usize) -> usize {
    let tx = heap.write().unwrap();
    let block = heap.alloc().allocate_zeroed(Layout::from_size_align(len, 4096).unwrap()).unwrap().cast::<u64>();
    let address = block.as_ptr() as usize;
    // SAFETY: a new block, and not empty.
    unsafe { block.write(address as u64) };
    tx.root_or_default(BLOCKS).unwrap().push(address as u64);
    address
}

/// Waits for the good end of another process, which may hang.
fn must_end(mut process: process::Process) {
    let lines = process.listen();
    let mut said = String::new();
    loop {
        match lines.recv_timeout(Duration::from_secs(60)) {
            Ok(line) => said.push_str(&line),
            Err(RecvTimeoutError::Timeout) => panic!("it hangs; it said:\n{said}"),
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    let (status, _) = process.end();
    assert!(status.success() && said.contains("1 passed"), "{status}; it said:\n{said}");
}

/// A clean close rounds what is in use up to a whole segment, and the header said so before the file was that long. A
/// power cut between the two, or one that took the new length, left a heap that was refused as truncated.
#[test]
fn a_power_cut_at_any_moment_of_a_close_and_after_it_leaves_a_heap_that_opens() {
    let _alone = alone();
    for len in [0, 2_500_000] {
        let disk = SimulatedDisk::new();
        let heap = disk.open(&options()).unwrap();
        extend(&heap, NUMBERS, 0..20_000);
        heap.sync().unwrap();
        if len > 0 {
            take_zeroed(&heap, len);
        }
        heap.sync().unwrap();
        let first = disk.operations();
        unmap(heap);
        let last = disk.operations();
        for point in first..=last {
            for image in disk.crash_images(point, Granularity::Sector, 3, point as u64) {
                let heap =
                    image.open(&options()).unwrap_or_else(|error| panic!("{point} of {first}..={last}: {error}"));
                assert!(holds(&heap, NUMBERS, 0..20_000), "{point} of {first}..={last}");
                kill(&image, heap);
            }
        }
        // It was not worth anything if the heap that opens then cannot be closed, or opened once more.
        for image in disk.crash_images(last, Granularity::Page, 3, 1) {
            for _ in 0..2 {
                let heap = image.open(&options()).unwrap();
                extend(&heap, SECOND, 0..100);
                assert!(holds(&heap, NUMBERS, 0..20_000));
                unmap(heap);
            }
        }
    }
}

/// How a heap can be closed without writing the allocator's state.
#[derive(Clone, Copy, Debug)]
enum Stateless {
    Discards,
    Poisoned,
    StillRecovers,
}

/// A close that fails half-way can leave its allocator state in the file, marked with the number of the next close. The
/// next close that does not write any state used that very number, and so the old state counted as its own: blocks that
/// had been handed out since were free in it, and what was acknowledged was overwritten after the next opening.
#[test]
fn allocator_state_of_an_interrupted_close_does_not_count_after_a_close_that_writes_none() {
    let _alone = alone();
    for way in [Stateless::Discards, Stateless::Poisoned, Stateless::StillRecovers] {
        let mut skip = 0;
        while !interrupt_a_close_and_go_on(skip, way) {
            skip += 1;
        }
        assert!(skip > 5, "a close has more than {skip} calls");
    }
}

/// Lets a close fail from a call on; whether it has not so many calls.
fn interrupt_a_close_and_go_on(skip: u64, way: Stateless) -> bool {
    let disk = SimulatedDisk::new();
    let heap = disk.open(&options()).unwrap();
    extend(&heap, NUMBERS, 0..1000);
    unmap(heap);
    let heap = disk.open(&options()).unwrap();
    extend(&heap, NUMBERS, 1000..1001);
    heap.sync().unwrap();
    disk.fail_from(skip, NO_SPACE, Effect::Nothing);
    // SAFETY: nothing of the heap is used afterwards.
    let closed = unsafe { heap.close_and_unmap() };
    disk.heal();
    if closed.is_ok() {
        return true;
    }
    let options = match way {
        Stateless::Discards => options().discard(true),
        Stateless::Poisoned => options(),
        Stateless::StillRecovers => options().recovery(Recovery::Background),
    };
    let heap = disk.open(&options).unwrap();
    extend(&heap, SECOND, 0..30_000);
    heap.sync().unwrap();
    if let Stateless::Poisoned = way {
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let _tx = heap.write().unwrap();
            std::panic::resume_unwind(Box::new(()));
        }));
        assert!(panicked.is_err() && heap.is_poisoned());
    }
    // SAFETY: nothing of the heap is used afterwards.
    let _ = unsafe { heap.close_and_unmap() };

    let heap = disk.open(&self::options()).unwrap();
    heap.write().unwrap().root_or_default(THIRD).unwrap().extend((0..30_000).map(|_| 0xDEAD));
    assert!(holds(&heap, SECOND, 0..30_000), "overwritten, {way:?} after a close that failed at call {skip}");
    assert!(holds(&heap, NUMBERS, 0..1001));
    heap.sync().unwrap();
    unmap(heap);
    let heap = disk.open(&self::options()).unwrap();
    assert!(holds(&heap, SECOND, 0..30_000) && holds(&heap, NUMBERS, 0..1001));
    kill(&disk, heap);
    false
}

/// A purge punches free ranges out of the heap file and counts them as zeros from then on, so that a zeroed block there
/// costs nothing, and no commit holds its untouched pages. But the punches were not made durable, and a commit syncs
/// the log alone: after a power cut the old bytes were back.
#[test]
fn memory_that_was_zero_after_a_purge_is_zero_after_a_power_cut() {
    const LEN: usize = 4_000_000;
    let _alone = alone();
    let disk = SimulatedDisk::new();
    let heap = disk.open(&options()).unwrap();
    heap.write().unwrap().root_or_default(SECOND).unwrap().extend((0..500_000).map(|_| 0x7777_7777_7777_7777));
    heap.sync_with(SyncLevel::Full).unwrap();
    *heap.write().unwrap().root_mut(SECOND).unwrap() = SalVec::default();
    heap.sync_with(SyncLevel::Full).unwrap();
    assert!(heap.purge() >= LEN / 2);
    let address = take_zeroed(&heap, LEN);
    heap.sync().unwrap();
    let point = disk.operations();
    kill(&disk, heap);
    for granularity in [Granularity::Sector, Granularity::Page] {
        for image in disk.crash_images(point, granularity, 8, 3) {
            let heap = image.open(&options()).unwrap();
            assert!(holds(&heap, BLOCKS, address as u64..address as u64 + 1));
            // SAFETY: the block, behind its first word; nobody else writes.
            let bytes = unsafe { std::slice::from_raw_parts((address + 8) as *const u8, LEN - 8) };
            assert_eq!(bytes.iter().filter(|&&byte| byte != 0).count(), 0);
            kill(&image, heap);
        }
    }
}

/// Pages in bulk go straight to the heap file, and the log has only their checksums, which nobody looked at when the
/// heap was opened. A plain copy of the files of a heap in use, first the heap file, then, after such a commit, the log,
/// opened with zeros in place of those pages.
#[test]
fn a_heap_file_that_is_older_than_its_log_is_refused() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    let [copy, log, log_of_copy] = ["copy", "heap.sal-log", "copy-log"].map(|name| path.with_file_name(name));
    let heap = open_file(&options(), &path).unwrap();
    extend(&heap, NUMBERS, 0..10);
    heap.sync().unwrap();
    support::bytes::copy(&path, &copy);
    extend(&heap, SECOND, 1..1_000_001);
    heap.sync().unwrap();
    std::fs::copy(&log, &log_of_copy).unwrap();
    unmap(heap);
    for reads_only in [true, false] {
        let options = options().read_only(reads_only);
        // SAFETY: as above.
        if let Ok(heap) = unsafe { options.open(&copy) } {
            assert!(holds(&heap, NUMBERS, 0..10));
            // Without that commit there is no such root.
            let read = heap.read().unwrap();
            assert!(read.root(SECOND).map_or(true, |second| second.iter().copied().eq(1..1_000_001)));
            drop(read);
            unmap(heap);
        }
    }
}

/// The names of the log and of its directory were made from the path as it was given. A program that opened a heap by a
/// relative path and then went to another directory put the log there: after a crash the heap was without one.
#[test]
fn the_log_lies_beside_the_heap_file_wherever_the_program_goes() {
    let name = "the_log_lies_beside_the_heap_file_wherever_the_program_goes";
    if let Some((_, path)) = process::role() {
        let (here, elsewhere) = (path.parent().unwrap(), path.with_file_name("elsewhere"));
        std::fs::create_dir(&elsewhere).unwrap();
        std::env::set_current_dir(here).unwrap();
        let heap = open_file(&options(), Path::new("heap.sal")).unwrap();
        std::env::set_current_dir(&elsewhere).unwrap();
        extend(&heap, NUMBERS, 0..10);
        heap.sync().unwrap();
        extend(&heap, NUMBERS, 10..20);
        // It ends without a close.
        std::mem::forget(heap);
        return;
    }
    let _alone = alone();
    let (_directory, path) = fresh_path();
    process::run(name, "work", &path);
    assert!(path.with_file_name("heap.sal-log").exists());
    assert_eq!(std::fs::read_dir(path.with_file_name("elsewhere")).unwrap().count(), 0);
    let heap = open_file(&options(), &path).unwrap();
    assert!(holds(&heap, NUMBERS, 0..10));
    unmap(heap);
}

/// Only durable commits are folded, and those of asynchronous syncs never became durable: the log of a program that did
/// no other syncs grew without end.
#[test]
fn asynchronous_syncs_alone_leave_the_log_bounded() {
    const FOLD_AT: u64 = 256 << 10;
    let _alone = alone();
    let disk = SimulatedDisk::new();
    let heap = disk.open(&options().fold_at(FOLD_AT)).unwrap();
    for round in 0..400 {
        let tx = heap.write().unwrap();
        let numbers = tx.root_or_default(NUMBERS).unwrap();
        numbers.clear();
        numbers.extend([round; 4000]);
        drop(tx);
        heap.sync_with(SyncLevel::Async).unwrap();
        let log = heap.stats().commits.unwrap().log_bytes;
        assert!(log <= 8 * FOLD_AT, "{log} bytes of log in round {round}");
    }
    kill(&disk, heap);
    let heap = disk.open(&options()).unwrap();
    assert_eq!(heap.read().unwrap().root(NUMBERS).unwrap().as_slice(), [399; 4000]);
    kill(&disk, heap);
}

/// The callback is called by one of the marking threads. When it panicked, the others waited for ever for work that this
/// one had taken, and the heap's window stayed taken.
#[test]
fn a_panic_in_the_recovery_callback_comes_out_of_open_and_leaves_its_place_free() {
    let name = "a_panic_in_the_recovery_callback_comes_out_of_open_and_leaves_its_place_free";
    const PAYLOAD: u64 = 0x5A1;
    if let Some((role, path)) = process::role() {
        let lists = role.parse().unwrap();
        if !path.exists() {
            let heap = open_file(&options(), &path).unwrap();
            let tx = heap.write().unwrap();
            tx.root_or_default(LISTS).unwrap().extend((0..lists).map(|number| SalVec::from([number])));
            drop(tx);
            heap.sync().unwrap();
            // It ends without a close.
            std::mem::forget(heap);
            return;
        }
        let calls = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&calls);
        let panics = options().on_recovery(move |progress| {
            if progress.phase != RecoveryPhase::Marking {
                return ControlFlow::Continue(());
            }
            counter.fetch_add(1, Ordering::Relaxed);
            std::panic::resume_unwind(Box::new(PAYLOAD));
        });
        match catch_unwind(AssertUnwindSafe(|| open_file(&panics, &path))) {
            Ok(heap) => {
                assert_eq!(calls.load(Ordering::Relaxed), 0, "the panic was swallowed");
                unmap(heap.unwrap());
            }
            Err(payload) => assert_eq!(payload.downcast_ref::<u64>(), Some(&PAYLOAD)),
        }
        let heap = open_file(&options(), &path).unwrap();
        let read = heap.read().unwrap();
        assert!(read.root(LISTS).unwrap().iter().map(|list| list[0]).eq(0..lists));
        drop(read);
        unmap(heap);
        if calls.load(Ordering::Relaxed) > 0 {
            std::fs::write(path.with_file_name("called"), []).unwrap();
        }
        return;
    }
    let _alone = alone();
    // The callback is not called by a recovery that is over at once.
    for lists in [100_000, 400_000, 1_600_000, 6_400_000] {
        let (_directory, path) = fresh_path();
        for _ in 0..2 {
            must_end(process::start(name, &u64::to_string(&lists), &path));
        }
        if path.with_file_name("called").exists() {
            return;
        }
    }
    panic!("the callback was never called");
}

/// Callbacks run while folding is paused and locks may be held. One that uses the heap that it is told about gets an
/// error, or nothing done; it does not wait for itself.
#[test]
fn a_progress_callback_that_syncs_purges_or_copies_the_same_heap_does_not_wait_for_itself() {
    let name = "a_progress_callback_that_syncs_purges_or_copies_the_same_heap_does_not_wait_for_itself";
    if let Some((_, path)) = process::role() {
        let heap = open_file(&options().fold_at(1), &path).unwrap();
        extend(&heap, NUMBERS, 0..100_000);
        extend(&heap, SECOND, 0..1_000_000);
        heap.sync().unwrap();
        *heap.write().unwrap().root_mut(SECOND).unwrap() = SalVec::default();
        heap.sync_with(SyncLevel::Full).unwrap();
        let inner = path.with_file_name("inner");
        let mut next = 100_000;
        let mut disturb = || {
            extend(&heap, NUMBERS, next..next + 1);
            next += 1;
            assert!(matches!(heap.sync(), Err(SyncError::SessionHeld)));
            assert!(matches!(heap.sync_with(SyncLevel::Full), Err(SyncError::SessionHeld)));
            assert!(matches!(heap.sync_with(SyncLevel::Async), Err(SyncError::SessionHeld)));
            assert!(matches!(heap.try_sync(), Err(SyncError::SessionHeld)));
            assert!(matches!(heap.write().unwrap().sync(), Err(SyncError::SessionHeld)));
            assert!(matches!(heap.snapshot_to(&inner), Err(SyncError::SessionHeld)));
            assert_eq!(heap.purge(), 0);
        };
        let mut calls = [0, 0];
        heap.snapshot_with(path.with_file_name("copy"), |_| {
            disturb();
            let scrubbed = heap.scrub(|_| ControlFlow::Continue(()));
            assert!(scrubbed.is_good());
            calls[0] += 1;
            ControlFlow::Continue(())
        })
        .unwrap();
        let scrubbed = heap.scrub(|_| {
            disturb();
            calls[1] += 1;
            ControlFlow::Continue(())
        });
        assert!(scrubbed.is_good() && scrubbed.is_complete && calls[0] > 0 && calls[1] > 0);
        assert!(!inner.exists());
        // Afterwards all of it works.
        heap.sync_with(SyncLevel::Full).unwrap();
        heap.snapshot_to(&inner).unwrap();
        assert!(heap.purge() > 0);
        assert!(holds(&heap, NUMBERS, 0..next));
        return unmap(heap);
    }
    let _alone = alone();
    let (_directory, path) = fresh_path();
    must_end(process::start(name, "work", &path));
}

/// Of the log the copy has the beginning, and of the heap file its header, as they were before a fold, and the rest as it
/// was afterwards: what `cp` makes of a heap in use when the log comes first. The header leads to a commit that the file
/// has left behind, and it opened as a mixture of both.
#[test]
fn a_copy_of_a_log_and_of_a_header_that_are_older_than_the_rest_of_the_heap_file_is_refused() {
    let _alone = alone();
    for folds_by_opening in [false, true] {
        let (_directory, path) = fresh_path();
        let [copy, log, log_of_copy] = ["copy", "heap.sal-log", "copy-log"].map(|name| path.with_file_name(name));
        let set = |heap: &Heap, number: u64| {
            for (root, len) in [(NUMBERS, 5000), (SECOND, 10)] {
                let tx = heap.write().unwrap();
                let numbers = tx.root_mut(root).unwrap();
                numbers.clear();
                numbers.extend((0..len).map(|_| number));
            }
            heap.sync().unwrap()
        };
        let heap = open_file(&options(), &path).unwrap();
        extend(&heap, NUMBERS, 0..10);
        extend(&heap, SECOND, 0..10);
        heap.sync_with(SyncLevel::Full).unwrap();
        let older = set(&heap, 1);
        std::fs::copy(&log, &log_of_copy).unwrap();
        let headers = support::bytes::read(&path, 0, 2 * support::bytes::SLOT as usize);
        let newer = set(&heap, 2);
        assert_eq!((older, newer), (2, 3));
        if folds_by_opening {
            // The log and the header stay as they are, and the heap file gets what the log holds.
            support::bytes::copy(&path, &copy);
            let whole_log = std::fs::read(&log).unwrap();
            unmap(heap);
            std::fs::remove_file(&path).unwrap();
            support::bytes::copy(&copy, &path);
            std::fs::write(&log, whole_log).unwrap();
            let heap = open_file(&options(), &path).unwrap();
            support::bytes::copy(&path, &copy);
            unmap(heap);
        } else {
            heap.sync_with(SyncLevel::Full).unwrap();
            support::bytes::copy(&path, &copy);
            unmap(heap);
        }
        support::bytes::write(&copy, 0, &headers);
        for reads_only in [true, false] {
            // SAFETY: as above.
            let opened = unsafe { options().read_only(reads_only).open(&copy) };
            let is_refused = matches!(opened, Err(OpenError::CommitsMissing { found: 2, expected: 3 }));
            assert!(is_refused, "{folds_by_opening}: {opened:?}");
        }
    }
}

/// The heap file was long enough, because it grows before its pages arrive.
#[test]
fn a_heap_file_without_the_pages_that_its_log_names_is_refused_however_long_it_is() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    let [copy, log, log_of_copy] = ["copy", "heap.sal-log", "copy-log"].map(|name| path.with_file_name(name));
    let heap = open_file(&options(), &path).unwrap();
    extend(&heap, NUMBERS, 0..10);
    heap.sync().unwrap();
    support::bytes::copy(&path, &copy);
    extend(&heap, SECOND, 1..1_000_001);
    heap.sync().unwrap();
    std::fs::copy(&log, &log_of_copy).unwrap();
    let len = std::fs::metadata(&path).unwrap().len();
    support::bytes::writable(&copy).set_len(len).unwrap();
    let before = support::bytes::hash(&copy);
    for reads_only in [true, false] {
        // SAFETY: as above.
        let opened = unsafe { options().read_only(reads_only).open(&copy) };
        assert!(matches!(opened, Err(OpenError::DamagedPage { .. })), "{opened:?}");
    }
    assert_eq!(support::bytes::hash(&copy), before);
    // With them it is good.
    support::bytes::copy(&path, &copy);
    unmap(heap);
    let heap = open_file(&options(), &copy).unwrap();
    assert!(holds(&heap, NUMBERS, 0..10) && holds(&heap, SECOND, 1..1_000_001));
    unmap(heap);
}

/// Freed memory is punched out of the heap file when the heap is closed, and the log may still name its pages as written
/// there: whoever compared them after a power cut in the middle of the close refused the heap.
#[test]
fn a_power_cut_in_a_close_that_clears_pages_which_the_log_names_leaves_a_heap_that_opens() {
    let _alone = alone();
    let disk = SimulatedDisk::new();
    let heap = disk.open(&options()).unwrap();
    extend(&heap, NUMBERS, 0..1000);
    extend(&heap, SECOND, 0..1_000_000);
    heap.sync().unwrap();
    *heap.write().unwrap().root_mut(SECOND).unwrap() = SalVec::default();
    heap.sync().unwrap();
    let first = disk.operations();
    unmap(heap);
    for point in first..=disk.operations() {
        for image in disk.crash_images(point, Granularity::Page, 4, point as u64) {
            let heap = image.open(&options()).unwrap_or_else(|error| panic!("{point}: {error}"));
            assert!(holds(&heap, NUMBERS, 0..1000));
            kill(&image, heap);
        }
    }
}

/// What a close writes of the allocator's state are the pages that were touched: the others count as zeros. After a crash
/// the file still has those of the close before, and where they were not cleared, memory that had been freed long ago
/// counted as used.
#[test]
fn allocator_state_of_the_close_before_a_crash_does_not_show_after_the_next_close() {
    // More units than a page of the map of used units has bits.
    const LEN: usize = 1100 << 20;
    let _alone = alone();
    let options = options().capacity(1200 << 20);
    let disk = SimulatedDisk::new();
    let heap = disk.open(&options).unwrap();
    extend(&heap, NUMBERS, 0..1000);
    let address = take_zeroed(&heap, LEN);
    unmap(heap);

    let heap = disk.open(&options).unwrap();
    let layout = Layout::from_size_align(LEN, 4096).unwrap();
    heap.write().unwrap().root_mut(BLOCKS).unwrap().clear();
    // SAFETY: taken above, and nothing leads to it any more.
    unsafe { heap.alloc().deallocate(std::ptr::NonNull::new(address as *mut u8).unwrap(), layout) };
    heap.sync().unwrap();
    kill(&disk, heap);

    let heap = disk.open(&options).unwrap();
    assert!(holds(&heap, NUMBERS, 0..1000));
    unmap(heap);

    let heap = disk.open(&options).unwrap();
    assert!(heap.verify().is_good());
    let used = heap.stats().used;
    assert!(used < LEN as u64, "{used} bytes in use");
    take_zeroed(&heap, LEN);
    assert!(holds(&heap, NUMBERS, 0..1000));
    kill(&disk, heap);
}

/// Pages in bulk go to the heap file before the record that names them. Without that record they are cut off when the heap
/// is opened again, but nothing syncs the file then: after a power cut they were back, in memory that the next commits had
/// taken in as zeros.
#[test]
fn pages_of_a_commit_that_failed_do_not_show_in_zeros_of_later_commits() {
    const LEN: usize = 3_000_000;
    let _alone = alone();
    // So that a page that was not touched is not committed.
    let options = options().huge_pages(false);
    for skip in 0.. {
        let disk = SimulatedDisk::new();
        let heap = disk.open(&options).unwrap();
        extend(&heap, NUMBERS, 0..10);
        heap.sync_with(SyncLevel::Full).unwrap();
        heap.write().unwrap().root_or_default(SECOND).unwrap().extend((0..500_000).map(|_| 0x7777_7777_7777_7777));
        disk.fail_from(skip, IO, Effect::Nothing);
        let synced = heap.sync();
        kill(&disk, heap);
        disk.heal();
        if synced.is_ok() {
            assert!(skip > 5, "a sync has more than {skip} calls");
            return;
        }
        let heap = disk.open(&options).unwrap();
        if heap.read().unwrap().root(SECOND).is_ok() {
            // Only the sync failed, and what it was for can be read.
            kill(&disk, heap);
            continue;
        }
        let address = take_zeroed(&heap, LEN);
        heap.sync().unwrap();
        let point = disk.operations();
        kill(&disk, heap);
        for image in disk.crash_images(point, Granularity::Page, 6, skip) {
            let heap = image.open(&options).unwrap();
            assert!(holds(&heap, BLOCKS, address as u64..address as u64 + 1));
            // SAFETY: the block, behind its first word; nobody else writes.
            let bytes = unsafe { std::slice::from_raw_parts((address + 8) as *const u8, LEN - 8) };
            assert_eq!(bytes.iter().filter(|&&byte| byte != 0).count(), 0, "the sync failed at call {skip}");
            kill(&image, heap);
        }
    }
}

fn log_bytes(heap: &Heap) -> u64 {
    heap.stats().commits.unwrap().log_bytes
}

const LOG_LIMIT: u64 = 1 << 20;
/// What a commit of [`change`] may add to the log.
const ONE_COMMIT: u64 = 300_000;

fn change(heap: &Heap, round: u64) -> Result<u64, SyncError> {
    let tx = heap.write().unwrap();
    let numbers = tx.root_or_default(NUMBERS).unwrap();
    numbers.clear();
    numbers.extend((0..20_000).map(|_| round));
    drop(tx);
    heap.sync()
}

/// While a snapshot is copied nothing is folded, and the log grew for as long as that took. The syncs of another thread wait
/// at its limit, and give up where the snapshot waits for them.
#[test]
fn the_log_has_a_limit_while_a_snapshot_is_made_even_if_that_waits_for_a_sync() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    let options = options().fold_at(256 << 10).log_limit(LOG_LIMIT).sync_timeout(Duration::from_millis(200));
    let heap = open_file(&options, &path).unwrap();
    change(&heap, 1).unwrap();
    let mut full = 0;
    heap.snapshot_with(path.with_file_name("copy"), |_| {
        let sync = || {
            for round in 2..100 {
                match change(&heap, round) {
                    Ok(_) => assert!(log_bytes(&heap) <= LOG_LIMIT + ONE_COMMIT),
                    Err(SyncError::LogFull { bytes }) if bytes >= LOG_LIMIT => return,
                    Err(error) => panic!("{error}"),
                }
            }
            panic!("{} bytes of log", log_bytes(&heap));
        };
        std::thread::scope(|scope| scope.spawn(sync).join().unwrap());
        full += 1;
        if full < 2 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })
    .unwrap_err();
    assert_eq!(full, 2);
    for round in 100..110 {
        change(&heap, round).unwrap();
    }
    assert!(log_bytes(&heap) <= LOG_LIMIT + ONE_COMMIT);
    assert!(heap.read().unwrap().root(NUMBERS).unwrap().iter().all(|&number| number == 109));
    unmap(heap);
}

/// A sync that waits at the limit goes on when the snapshot, or a step of a scrub, has ended.
#[test]
fn syncs_at_the_limit_of_the_log_go_on_as_soon_as_it_can_be_folded() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    let options = options().fold_at(256 << 10).log_limit(LOG_LIMIT).sync_timeout(Duration::MAX);
    let heap = open_file(&options, &path).unwrap();
    extend(&heap, SECOND, 0..1_000_000);
    heap.sync_with(SyncLevel::Full).unwrap();
    for scrubs in [false, true] {
        let (sender, reports) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            let heap = &heap;
            scope.spawn(move || {
                for round in 0..40 {
                    change(heap, round).unwrap();
                    assert!(log_bytes(heap) <= LOG_LIMIT + 2 * ONE_COMMIT);
                    // Nobody listens any more at last.
                    let _ = sender.send(log_bytes(heap));
                }
            });
            // The first time it goes on when the log is full.
            let mut is_full = false;
            let mut wait = || {
                while !is_full {
                    is_full = reports.recv_timeout(Duration::from_secs(60)).unwrap() >= LOG_LIMIT;
                }
                ControlFlow::Continue(())
            };
            if scrubs {
                assert!(heap.scrub(|_| wait()).is_good());
            } else {
                heap.snapshot_with(path.with_file_name("copy"), |_| wait()).unwrap();
            }
        });
    }
    assert!(holds(&heap, SECOND, 0..1_000_000));
    unmap(heap);
}

//! Whole heaps on disks in whose calls something else happens, or that are full.

use super::open_or_create_on;
use crate::collections::SalVec;
use crate::commit::simulated::crash::CrashImage;
use crate::commit::simulated::hooked::Hooked;
use crate::commit::simulated::medium::Contents;
use crate::commit::simulated::{Call, CallKind, SimulatedDisk};
use crate::commit::storage::Part;
use crate::error::SyncError;
use crate::heap::{Heap, HeapOptions, Recovery, SyncLevel};
use crate::ptr::{SalCow, SalRc};
use crate::root::{Root, SalRoots};
use allocator_api2::alloc::Allocator;
use std::alloc::Layout;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const FIRST: Root<SalVec<u64>> = Root::new("first");
const SECOND: Root<SalVec<u64>> = Root::new("second");

/// A heap is opened again where it was: no other may have taken the place meanwhile.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn empty_disk() -> Arc<SimulatedDisk> {
    Arc::new(SimulatedDisk::new(&CrashImage { data: Contents::default(), log: None }).unwrap())
}

fn options() -> HeapOptions {
    HeapOptions::new().capacity(1 << 30).recovery(Recovery::Eager)
}

fn open(disk: &Arc<SimulatedDisk>) -> (Arc<Hooked>, Heap) {
    let storage = Hooked::new(disk);
    let heap = open_or_create_on(Arc::<Hooked>::clone(&storage), &options()).unwrap();
    (storage, heap)
}

/// Ends a heap as if its process had been killed.
fn kill(storage: &Hooked, heap: Heap) {
    storage.cut();
    // SAFETY: nothing of the heap is used afterwards.
    let _ = unsafe { heap.close_and_unmap() };
}

fn fill(heap: &Heap, root: Root<SalVec<u64>>, numbers: u64) {
    let tx = heap.write().unwrap();
    let vec = tx.root_or_default(root).unwrap();
    vec.clear();
    vec.reserve(numbers as usize);
    vec.extend(0..numbers);
}

fn assert_holds(heap: &Heap, root: Root<SalVec<u64>>, numbers: Range<u64>) {
    assert!(heap.read().unwrap().root(root).unwrap().iter().copied().eq(numbers));
}

fn assert_is_consistent(heap: &Heap) {
    // SAFETY: the test is all there is.
    unsafe { heap.inner().check_bookkeeping() }.unwrap();
}

/// Where a capture stands: its scan is over, and its pages are being written to the heap file.
fn writes_pages(call: &Call) -> bool {
    call.kind == CallKind::Write && call.part == Part::Data && call.len >= 1 << 20
}

fn writes_to_data(call: &Call) -> bool {
    call.kind == CallKind::Write && call.part == Part::Data
}

/// Lets another thread, without a session, free blocks that it had made before, just when a commit is being captured.
fn free_beside_a_commit(storage: &Hooked, heap: &Heap, blocks: &[(usize, &[usize])]) {
    let alloc = heap.alloc();
    let blocks: Vec<(usize, Layout)> = blocks
        .iter()
        .map(|&(len, touched)| {
            let layout = Layout::from_size_align(len, 8).unwrap();
            let block = alloc.allocate(layout).unwrap().cast::<u8>();
            for &at in touched {
                assert!(at < len);
                // SAFETY: in a new block.
                unsafe { block.add(at).write(1) };
            }
            (block.as_ptr() as usize, layout)
        })
        .collect();
    let free = move || {
        for (address, layout) in blocks {
            let block = NonNull::new(std::ptr::with_exposed_provenance_mut(address)).unwrap();
            // SAFETY: allocated above, and freed once.
            unsafe { alloc.deallocate(block, layout) };
        }
    };
    storage.before(writes_pages, 0, move || std::thread::spawn(free).join().unwrap());
    heap.sync().unwrap();
    assert!(storage.has_happened());
}

/// The extent of a commit is read when its pages have been copied. What a thread without a session freed in between was
/// behind that extent, or reached over it, but the captured table still had it. The heap was refused then, or its
/// bookkeeping did not agree with itself.
#[test]
fn runs_that_are_freed_while_a_commit_is_captured_may_lie_behind_its_extent() {
    let _alone = alone();
    for touched in [&[][..], &[0], &[0, (3 << 20) - 1]] {
        let disk = empty_disk();
        let (storage, heap) = open(&disk);
        fill(&heap, FIRST, 1 << 18);
        free_beside_a_commit(&storage, &heap, &[(3 << 20, touched)]);
        kill(&storage, heap);
        for _ in 0..2 {
            let (storage, heap) = open(&disk);
            assert_holds(&heap, FIRST, 0..1 << 18);
            assert_is_consistent(&heap);
            fill(&heap, SECOND, 1 << 19);
            assert_is_consistent(&heap);
            heap.sync().unwrap();
            kill(&storage, heap);
        }
    }
}

/// Entries of the table that lie behind a commit's extent were left as they were when the heap was rebuilt. A large
/// object that grew over them does not write the entries inside it, so theirs showed: its addresses were taken for those
/// of the old runs, and after the next crash the object was gone.
#[test]
fn table_entries_behind_the_extent_do_not_show_in_what_grows_over_them() {
    let _alone = alone();
    let disk = empty_disk();
    let (storage, heap) = open(&disk);
    fill(&heap, FIRST, 1 << 18);
    free_beside_a_commit(&storage, &heap, &[(60 << 15, &[][..]); 4]);
    kill(&storage, heap);

    let (storage, heap) = open(&disk);
    fill(&heap, SECOND, 1 << 20);
    let start = heap.with_root(SECOND, |second| second.as_ptr() as usize).unwrap();
    let whole = heap.locate(start).unwrap();
    for at in (start..start + (8 << 20)).step_by(1 << 15) {
        assert_eq!(heap.locate(at), Some(whole), "{at:#x}");
    }
    assert_is_consistent(&heap);
    heap.sync().unwrap();
    kill(&storage, heap);

    let (storage, heap) = open(&disk);
    assert_eq!(heap.locate(start), Some(whole));
    assert_holds(&heap, FIRST, 0..1 << 18);
    assert_holds(&heap, SECOND, 0..1 << 20);
    assert_is_consistent(&heap);
    kill(&storage, heap);
}

fn is_for_want_of_space<T>(result: &Result<T, SyncError>) -> bool {
    matches!(result, Err(SyncError::Os { source, .. }) if source.kind() == std::io::ErrorKind::StorageFull)
}

/// Long before the log is as long as it may be, the disk can be full. Then every sync failed, although folding would
/// have made the log's space free.
#[test]
fn a_sync_on_a_full_disk_makes_room_in_the_log_and_goes_on() {
    let _alone = alone();
    let disk = empty_disk();
    let (storage, heap) = open(&disk);
    fill(&heap, FIRST, 80_000);
    heap.sync_with(SyncLevel::Full).unwrap();
    storage.limit_log(3 << 20);
    // Each changes some 160 pages; the log has room for four such commits, or so.
    for round in 1..=40_u64 {
        add_one(&heap);
        let level = [SyncLevel::Data, SyncLevel::Async][round as usize % 2];
        heap.sync_with(level).unwrap_or_else(|error| panic!("round {round}: {error}"));
    }
    kill(&storage, heap);
    let (storage, heap) = open(&disk);
    assert_holds(&heap, FIRST, 40..80_040);
    kill(&storage, heap);
}

fn add_one(heap: &Heap) {
    heap.write().unwrap().root_mut(FIRST).unwrap().iter_mut().for_each(|number| *number += 1);
}

/// Ends the waiting of a hook, also when the test fails.
struct Release(Arc<AtomicBool>);

impl Drop for Release {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Room can also be on its way, by a fold on a thread of its own. The sync did not wait for that, and failed although it
/// could have gone on a moment later.
#[test]
fn a_sync_on_a_full_disk_waits_for_the_fold_that_is_making_room() {
    let _alone = alone();
    let disk = empty_disk();
    let storage = Hooked::new(&disk);
    let heap = open_or_create_on(Arc::<Hooked>::clone(&storage), &options().fold_at(1 << 20)).unwrap();
    fill(&heap, FIRST, 80_000);
    heap.sync_with(SyncLevel::Full).unwrap();
    storage.limit_log(3 << 20);
    let release = Release(Arc::default());
    let (of_hook, is_over) = (Arc::downgrade(&storage), Arc::clone(&release.0));
    // The fold stands here until the log is full, and has been found too short for the smaller step, too.
    storage.before(writes_to_data, 0, move || {
        while !is_over.load(Ordering::Relaxed) && of_hook.upgrade().is_some_and(|storage| storage.refused() < 2) {
            std::thread::yield_now();
        }
    });
    for round in 1..=8 {
        add_one(&heap);
        heap.sync().unwrap_or_else(|error| panic!("round {round}: {error}"));
    }
    assert!(storage.has_happened() && storage.refused() > 0);
    drop(release);
    kill(&storage, heap);
    let (storage, heap) = open(&disk);
    assert_holds(&heap, FIRST, 8..80_008);
    kill(&storage, heap);
}

/// The chain goes on behind the last record, folded or not, so a record of more than half of the log fitted neither before
/// that place nor behind it.
#[test]
fn commits_that_need_nearly_all_of_a_log_that_cannot_grow_follow_each_other() {
    let _alone = alone();
    let disk = empty_disk();
    let (storage, heap) = open(&disk);
    fill(&heap, FIRST, 350_000);
    heap.sync_with(SyncLevel::Full).unwrap();
    storage.limit_log(3 << 20);
    for round in 1..=5_u64 {
        add_one(&heap);
        let level = [SyncLevel::Data, SyncLevel::Async][round as usize % 2];
        heap.sync_with(level).unwrap_or_else(|error| panic!("round {round}: {error}"));
        assert!(heap.stats().commits.unwrap().log_bytes > 2_800_000);
    }
    assert!(storage.refused() > 3);
    kill(&storage, heap);
    let (storage, heap) = open(&disk);
    assert_holds(&heap, FIRST, 5..350_005);
    kill(&storage, heap);
}

/// Where folding does not make enough room: the sync fails, nothing is lost, and as soon as there is room
/// again all goes on, also a close.
#[test]
fn a_commit_for_which_there_is_no_room_at_all_fails_and_is_made_later() {
    let _alone = alone();
    for closes in [false, true] {
        let disk = empty_disk();
        let (storage, heap) = open(&disk);
        fill(&heap, FIRST, 80_000);
        let good = heap.sync_with(SyncLevel::Full).unwrap();
        storage.limit_log(256 << 10);
        add_one(&heap);
        for _ in 0..3 {
            assert!(is_for_want_of_space(&heap.sync()));
            assert_eq!(heap.last_commit().unwrap(), good);
        }
        storage.limit_log(u64::MAX);
        if closes {
            // SAFETY: nothing of the heap is used afterwards.
            unsafe { heap.close_and_unmap() }.unwrap();
        } else {
            assert_eq!(heap.sync().unwrap(), good + 1);
            kill(&storage, heap);
        }
        let (storage, heap) = open(&disk);
        assert_holds(&heap, FIRST, 1..80_001);
        kill(&storage, heap);
    }
}

/// It gave nothing back while a thread of the heap folded, which the sync before it had begun.
#[test]
fn a_purge_waits_for_a_fold_and_gives_back_then() {
    let _alone = alone();
    let disk = empty_disk();
    let (storage, heap) = open(&disk);
    fill(&heap, FIRST, 1 << 20);
    heap.sync().unwrap();
    *heap.write().unwrap().root_mut(FIRST).unwrap() = SalVec::new();
    heap.sync().unwrap();
    let (is_in_fold, fold_on) = storage.hold(|call| call.kind == CallKind::Write && call.part == Part::Data);
    std::thread::scope(|scope| {
        let folds = scope.spawn(|| heap.atomic().unwrap().journal.fold());
        is_in_fold.recv().unwrap();
        let purges = scope.spawn(|| heap.purge());
        // One that gives up does so at once.
        std::thread::sleep(Duration::from_millis(100));
        assert!(heap.atomic().unwrap().capture.try_lock().is_ok(), "who commits would wait, too");
        drop(fold_on);
        assert!(purges.join().unwrap() >= 8 << 20);
        folds.join().unwrap().unwrap();
    });
    assert!(heap.verify().is_good());
    kill(&storage, heap);
}

/// At each close all that was free was given back again, and a log made for that.
#[test]
fn closing_a_heap_that_was_not_changed_gives_nothing_back_again_also_with_counted_objects() {
    let _alone = alone();
    let disk = empty_disk();
    let layout = Layout::from_size_align(8 << 20, 8).unwrap();
    for (is_changed, can_punch) in [(true, false), (false, false), (true, true), (false, true)] {
        let (storage, heap) = open(&disk);
        if !can_punch {
            storage.forbid_punching();
        }
        if is_changed {
            let hole = heap.alloc().allocate(layout).unwrap();
            // SAFETY: a new block of that size.
            unsafe { hole.cast::<u8>().write_bytes(5, layout.size()) };
            heap.write().unwrap().set_root(Root::<SalRc<u64>>::new("counted"), heap.rc(7)).unwrap();
            // Behind it, so that it is not cut off.
            fill(&heap, FIRST, 1 << 20);
            heap.sync().unwrap();
            // SAFETY: allocated above, freed once.
            unsafe { heap.alloc().deallocate(hole.cast(), layout) };
        }
        let gives_back = |call: &Call| call.kind == CallKind::Clear && call.part == Part::Data && call.len >= 4 << 20;
        let makes_log = |call: &Call| call.kind == CallKind::CreateLog;
        storage.before(if is_changed { gives_back } else { makes_log }, 0, || ());
        // SAFETY: nothing of the heap is used afterwards.
        unsafe { heap.close_and_unmap() }.unwrap();
        assert_eq!(storage.has_happened(), is_changed && can_punch);
    }
    let (_, heap) = open(&disk);
    assert_holds(&heap, FIRST, 0..1 << 20);
    assert!(heap.verify().is_good());
    // SAFETY: nothing of the heap is used afterwards.
    unsafe { heap.close_and_unmap() }.unwrap();
}

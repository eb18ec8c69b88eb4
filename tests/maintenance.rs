//! Maintenance as a program sees it: when the thread wakes, what is ready, what is given back, what ends it.
#![allow(unsafe_code)]

use allocator_api2::alloc::{Allocator, Layout};
use sal::{
    Heap, HeapOptions, MaintenanceError, MaintenanceOptions, MaintenanceStats, Mode, Purge, Root, SalAlloc, Tuning,
};
use std::ptr::NonNull;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// The tests of this file count threads and faults of the process: one at a time.
static ALONE: Mutex<()> = Mutex::new(());

const MANY: Root<sal::collections::SalVec<u64>> = Root::new("many");

fn volatile() -> Heap {
    HeapOptions::new().capacity(1 << 30).huge_pages(false).volatile().unwrap()
}

fn atomic(directory: &tempfile::TempDir, options: HeapOptions) -> Heap {
    // SAFETY: the file is this test's own.
    unsafe { options.mode(Mode::Atomic).capacity(1 << 30).create(directory.path().join("heap.sal")) }.unwrap()
}

/// Waits until maintenance has done something.
#[track_caller]
fn wait_for(heap: &Heap, is_done: impl Fn(&MaintenanceStats) -> bool) -> MaintenanceStats {
    let began = Instant::now();
    loop {
        let stats = heap.stats().maintenance.unwrap_or_default();
        if is_done(&stats) {
            return stats;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{stats:?}");
        std::thread::yield_now();
    }
}

/// For each maintenance thread of the process, how often it has gone to sleep.
fn sleeps() -> Vec<u64> {
    let mut sleeps = Vec::new();
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let status = std::fs::read_to_string(task.unwrap().path().join("status")).unwrap_or_default();
        if status.lines().next().is_some_and(|name| name.ends_with("sal-maintenance")) {
            let line = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches")).unwrap();
            sleeps.push(line.split_whitespace().nth(1).unwrap().parse().unwrap());
        }
    }
    sleeps
}

/// Page faults of the calling thread.
fn faults() -> i64 {
    // SAFETY: zeros are a valid value, and the call writes one.
    unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        assert_eq!(libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage), 0);
        usage.ru_minflt
    }
}

fn touched(handle: SalAlloc, layout: Layout) -> NonNull<u8> {
    let block = handle.allocate(layout).unwrap().cast::<u8>();
    for byte in (0..layout.size()).step_by(4096) {
        // SAFETY: in the block, which is ours.
        unsafe { block.add(byte).write_volatile(1) };
    }
    block
}

#[test]
fn an_idle_heap_never_wakes_its_thread_and_neither_does_one_that_does_not_grow() {
    let _alone = ALONE.lock();
    let heap = volatile();
    let handle = heap.alloc();
    // So that its slab is there.
    let layout = Layout::new::<[u64; 8]>();
    let kept: Vec<_> = (0..1000).map(|_| handle.allocate(layout).unwrap()).collect();
    let guard = heap.start_maintenance(MaintenanceOptions::new()).unwrap();
    wait_for(&heap, |done| done.prefaulted_bytes >= 8 << 20);
    // It has slept once more than it was woken when it is through with that.
    let mut before = (sleeps(), guard.report().done.wakeups);
    let settled = Instant::now();
    while settled.elapsed() < Duration::from_millis(100) {
        before = (sleeps(), guard.report().done.wakeups);
    }
    let began = Instant::now();
    let mut pairs = 0_u64;
    while began.elapsed() < Duration::from_millis(500) {
        for _ in 0..1000 {
            let block = handle.allocate(layout).unwrap();
            // SAFETY: allocated just now.
            unsafe { handle.deallocate(block.cast(), layout) };
            pairs += 1;
        }
    }
    assert!(pairs > 0);
    assert_eq!((sleeps(), guard.report().done.wakeups), before);
    // SAFETY: allocated above, freed once.
    kept.iter().for_each(|block| unsafe { handle.deallocate(block.cast(), layout) });
}

#[test]
fn whoever_touches_memory_that_is_ready_waits_for_no_page() {
    let _alone = ALONE.lock();
    let pages = 8 << 20 >> 12;
    let count = |heap: &Heap| {
        let layout = Layout::from_size_align(4096, 8).unwrap();
        let before = faults();
        for _ in 0..pages {
            touched(heap.alloc(), layout);
        }
        faults() - before
    };
    let without = count(&volatile());
    assert!(without >= pages, "{without} faults");
    let heap = volatile();
    let _guard = heap.start_maintenance(MaintenanceOptions::new().prefault(64 << 20)).unwrap();
    wait_for(&heap, |done| done.prefaulted_bytes >= 64 << 20);
    let with = count(&heap);
    println!("{without} faults without, {with} with");
    // What the checked build notes of each block is not made ready.
    let notes = if cfg!(feature = "checked") { without - pages } else { 0 };
    assert!(with < 64 + notes, "{with} faults");
    // Half of it is still ready: nobody was told.
    let wakeups = heap.stats().maintenance.unwrap().wakeups;
    (0..3).for_each(|_| assert!(count(&heap) < 64 + notes));
    assert_eq!(heap.stats().maintenance.unwrap().wakeups, wakeups);
    // It keeps ahead.
    count(&heap);
    wait_for(&heap, |done| done.prefaulted_bytes >= 90 << 20);
}

#[test]
fn memory_that_stays_free_is_given_back() {
    let _alone = ALONE.lock();
    let directory = tempfile::tempdir().unwrap();
    for heap in [volatile(), atomic(&directory, HeapOptions::new())] {
        let options = MaintenanceOptions::new().prefault(0).purge_after(Some(Duration::from_millis(20)));
        let guard = heap.start_maintenance(options).unwrap();
        let layout = Layout::from_size_align(16 << 20, 8).unwrap();
        let block = touched(heap.alloc(), layout);
        if heap.mode() == Mode::Atomic {
            // What the last commit holds stays until the next.
            heap.sync().unwrap();
        }
        // SAFETY: allocated above, freed once.
        unsafe { heap.alloc().deallocate(block, layout) };
        if heap.mode() == Mode::Atomic {
            heap.sync().unwrap();
        }
        wait_for(&heap, |done| done.purged_bytes >= 16 << 20);
        assert!(guard.stop().last_error.is_none());
        assert!(heap.stats().purged_bytes >= 16 << 20);
    }
}

#[test]
fn what_others_free_of_threads_that_have_ended_is_given_back() {
    let _alone = ALONE.lock();
    let heap = volatile();
    let handle = heap.alloc();
    let layout = Layout::from_size_align(1000, 8).unwrap();
    // This thread keeps its own thread heap, and takes over none.
    let own = touched(handle, layout);
    let fill = move || (0..20_000).map(|_| touched(handle, layout).as_ptr().expose_provenance()).collect::<Vec<_>>();
    let blocks = std::thread::spawn(fill).join().unwrap();
    let options = MaintenanceOptions::new().prefault(0).purge_after(Some(Duration::from_millis(20)));
    let guard = heap.start_maintenance(options).unwrap();
    // Until there is nothing more to do.
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(200) {
        std::thread::yield_now();
    }
    let before = heap.stats().purged_bytes;
    for block in blocks {
        let block = NonNull::new(std::ptr::with_exposed_provenance_mut(block)).unwrap();
        // SAFETY: allocated above, freed once.
        unsafe { handle.deallocate(block, layout) };
    }
    wait_for(&heap, |done| done.purged_bytes >= before + (16 << 20));
    assert!(guard.stop().last_error.is_none());
    // SAFETY: as above.
    unsafe { handle.deallocate(own, layout) };
}

#[test]
fn what_is_kept_at_hand_and_taken_again_in_time_stays() {
    let _alone = ALONE.lock();
    let heap = volatile();
    let layout = Layout::from_size_align(16 << 20, 8).unwrap();
    let options = MaintenanceOptions::new().prefault(0).purge_after(Some(Duration::from_secs(3600)));
    let guard = heap.start_maintenance(options).unwrap();
    let block = touched(heap.alloc(), layout);
    // SAFETY: allocated above, freed once.
    unsafe { heap.alloc().deallocate(block, layout) };
    let before = faults();
    let block = touched(heap.alloc(), layout);
    assert!(faults() - before < 64);
    // SAFETY: as above.
    unsafe { heap.alloc().deallocate(block, layout) };
    // By hand nothing is waited for.
    assert!(heap.maintain(Duration::from_secs(60)).done.purged_bytes >= 16 << 20);
    assert!(guard.stop().last_error.is_none());
}

#[test]
fn the_thread_does_as_the_policy_of_the_heap_says_and_hears_when_that_changes() {
    let _alone = ALONE.lock();
    let options = HeapOptions::new().capacity(1 << 30).tuning(Tuning::new().purge(Purge::Retain));
    let heap = options.volatile().unwrap();
    let guard = heap.start_maintenance(MaintenanceOptions::new()).unwrap();
    let layout = Layout::from_size_align(16 << 20, 8).unwrap();
    let block = touched(heap.alloc(), layout);
    // SAFETY: allocated above, freed once.
    unsafe { heap.alloc().deallocate(block, layout) };
    wait_for(&heap, |done| done.prefaulted_bytes >= 8 << 20);
    assert_eq!(heap.stats().purges, 0);
    assert!(heap.alloc().tune(&Tuning::new().purge(Purge::Background(Duration::from_millis(20)))));
    wait_for(&heap, |done| done.purged_bytes >= 16 << 20);
    assert!(guard.stop().last_error.is_none());
}

#[test]
fn closing_ends_a_thread_that_is_about_to_purge() {
    let _alone = ALONE.lock();
    for round in 0..200 {
        let heap = volatile();
        let options = MaintenanceOptions::new().prefault(0).purge_after(Some(Duration::from_nanos(1)));
        let guard = heap.start_maintenance(options).unwrap();
        let layout = Layout::from_size_align(2 << 20, 8).unwrap();
        for _ in 0..round % 10 {
            let block = touched(heap.alloc(), layout);
            // SAFETY: allocated above, freed once.
            unsafe { heap.alloc().deallocate(block, layout) };
        }
        heap.close().unwrap();
        assert!(!guard.is_running());
    }
}

#[test]
fn a_long_log_is_folded_by_the_thread_and_what_was_committed_is_there() {
    let _alone = ALONE.lock();
    let directory = tempfile::tempdir().unwrap();
    let heap = atomic(&directory, HeapOptions::new().fold_at(64 << 10));
    let guard = heap.start_maintenance(MaintenanceOptions::new()).unwrap();
    let mut synced = 0;
    while heap.stats().maintenance.unwrap_or_default().folds < 3 {
        let tx = heap.write().unwrap();
        tx.root_or_default(MANY).unwrap().extend((0..1000).map(|number| synced + number));
        tx.sync().unwrap();
        synced += 1000;
    }
    assert!(guard.stop().last_error.is_none());
    // Without the thread as before.
    let tx = heap.write().unwrap();
    tx.root_or_default(MANY).unwrap().push(synced);
    tx.sync().unwrap();
    assert!(heap.verify().is_good());
    // SAFETY: nothing of the heap is used any more.
    unsafe { heap.close_and_unmap().unwrap() };
    // SAFETY: the file is this test's own.
    let heap = unsafe { Heap::open(directory.path().join("heap.sal")) }.unwrap();
    assert!(heap.read().unwrap().root(MANY).unwrap().iter().copied().eq(0..=synced));
}

#[test]
fn a_second_thread_is_refused_until_the_first_has_stopped() {
    let _alone = ALONE.lock();
    let heap = volatile();
    let guard = heap.start_maintenance(MaintenanceOptions::new()).unwrap();
    let again = heap.start_maintenance(MaintenanceOptions::new());
    assert!(matches!(again, Err(MaintenanceError::AlreadyRunning)));
    let _ = guard.stop();
    assert_eq!(sleeps().len(), 0);
    let guard = heap.start_maintenance(MaintenanceOptions::new()).unwrap();
    assert!(guard.is_running());
    drop(guard);
    assert_eq!(sleeps().len(), 0);
}

#[test]
fn options_without_sense_and_heaps_that_are_only_read_are_refused() {
    let _alone = ALONE.lock();
    for senseless in
        [MaintenanceOptions::new().purge_after(Some(Duration::ZERO)), MaintenanceOptions::new().compact_rate(0)]
    {
        assert!(matches!(volatile().start_maintenance(senseless), Err(MaintenanceError::InvalidOptions { .. })));
    }
    let directory = tempfile::tempdir().unwrap();
    atomic(&directory, HeapOptions::new()).close().unwrap();
    let path = directory.path().join("heap.sal");
    // SAFETY: the file is this test's own; nothing of the heap is left that is used.
    let heap = unsafe { HeapOptions::new().read_only(true).open(&path) };
    // The closed heap may still have its place; then there is nothing to try.
    if let Ok(heap) = heap {
        let refused = heap.start_maintenance(MaintenanceOptions::new());
        assert!(matches!(refused, Err(MaintenanceError::ReadOnly)));
        assert!(matches!(heap.maintain(Duration::from_secs(1)).last_error, Some(MaintenanceError::ReadOnly)));
    }
}

#[test]
fn by_hand_everything_is_done_that_the_budget_allows() {
    let _alone = ALONE.lock();
    let directory = tempfile::tempdir().unwrap();
    // The log becomes half as long, which is enough by hand, and not as long, or the sync would begin a fold of its own.
    let heap = atomic(&directory, HeapOptions::new().fold_at(24 << 20));
    let layout = Layout::from_size_align(16 << 20, 8).unwrap();
    let block = touched(heap.alloc(), layout);
    // SAFETY: allocated above, freed once.
    unsafe { heap.alloc().deallocate(block, layout) };
    let tx = heap.write().unwrap();
    tx.root_or_default(MANY).unwrap().extend(0..100_000);
    tx.sync().unwrap();
    assert_eq!(heap.maintain(Duration::ZERO).done, MaintenanceStats::default());
    let done = heap.maintain(Duration::from_secs(60)).done;
    assert!(done.folds == 1 && done.purged_bytes > 0 && done.prefaulted_bytes >= 8 << 20, "{done:?}");
    assert_eq!(heap.stats().maintenance, Some(done));
    let again = heap.maintain(Duration::from_secs(60)).done;
    assert_eq!((again.folds, again.purged_bytes, again.prefaulted_bytes), (0, 0, 0));
}

#[test]
fn what_goes_wrong_is_told_and_counted() {
    let _alone = ALONE.lock();
    let directory = tempfile::tempdir().unwrap();
    // A huge page counts as a whole, and would make the log so long that the sync has it folded.
    let heap = atomic(&directory, HeapOptions::new().huge_pages(false).fold_at(1 << 20));
    let tx = heap.write().unwrap();
    tx.root_or_default(MANY).unwrap().extend(0..100_000);
    tx.sync().unwrap();
    // Somebody spoils the log.
    let log = std::fs::OpenOptions::new().write(true).open(directory.path().join("heap.sal-log")).unwrap();
    log.set_len(0).unwrap();
    let report = heap.maintain(Duration::from_secs(60));
    let is_error = |error: &Option<MaintenanceError>| matches!(error, Some(MaintenanceError::Os { .. }));
    assert!(report.done.errors == 1 && is_error(&report.last_error), "{report:?}");
    assert_eq!(heap.stats().maintenance.unwrap().errors, 1);
    let guard = heap.start_maintenance(MaintenanceOptions::new()).unwrap();
    assert!(is_error(&guard.stop().last_error), "it is known from then on");
}

#[test]
fn a_forked_child_has_no_such_thread_and_its_guard_does_nothing() {
    let _alone = ALONE.lock();
    let heap = volatile();
    let guard = heap.start_maintenance(MaintenanceOptions::new()).unwrap();
    wait_for(&heap, |done| done.prefaulted_bytes >= 8 << 20);
    // SAFETY: the child does little and leaves without running anything else of this program.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let refused = heap.start_maintenance(MaintenanceOptions::new());
        let is_right = !guard.is_running()
            && matches!(refused, Err(MaintenanceError::Forked))
            && matches!(heap.maintain(Duration::from_secs(1)).last_error, Some(MaintenanceError::Forked));
        drop(guard);
        drop(heap);
        // SAFETY: as above.
        unsafe { libc::_exit(i32::from(!is_right)) };
    }
    let mut status = 0;
    // SAFETY: the child is ours.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "{status:#x}");
    assert!(guard.is_running());
}

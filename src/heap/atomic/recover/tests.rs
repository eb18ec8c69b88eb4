//! Recoveries that several threads want something of at once, and files that are others by now.

use super::*;
use crate::collections::SalVec;
use crate::commit::real::RealStorage;
use crate::commit::simulated::crash::CrashImage;
use crate::commit::simulated::hooked::Hooked;
use crate::commit::simulated::medium::Contents;
use crate::commit::simulated::{Call, CallKind, SimulatedDisk};
use crate::commit::storage::Part;
use crate::format::PAGE;
use crate::format::header::{ATOMIC, Header};
use crate::format::layout::Layout;
use crate::heap::atomic::open_or_create_on;
use crate::heap::recovery::tests::gated;
use crate::heap::{Heap, SyncLevel};
use crate::os::file::File;
use crate::root::Root;
use std::ffi::CString;
use std::os::fd::AsRawFd;
use std::sync::mpsc::channel;
use std::time::Duration;

/// What is to happen at once is given up for hung after that time.
const AT_ONCE: Duration = Duration::from_secs(20);

const NUMBERS: Root<SalVec<u64>> = Root::new("numbers");

fn empty_heap() -> (Arc<Hooked>, Heap) {
    let disk = Arc::new(SimulatedDisk::new(&CrashImage { data: Contents::default(), log: None }).unwrap());
    let storage = Hooked::new(&disk);
    let heap = open_or_create_on(Arc::<Hooked>::clone(&storage), &HeapOptions::new().capacity(1 << 30)).unwrap();
    (storage, heap)
}

fn unmap(heap: Heap) {
    // SAFETY: nothing of the heap is used afterwards.
    unsafe { heap.close_and_unmap() }.unwrap();
}

fn running(background: Background) -> State {
    State::Running(Arc::new(background), Replayed::default())
}

/// It was told that there was no recovery, although there was one under way that it had not waited for.
#[test]
fn who_waits_for_a_recovery_waits_on_if_it_is_broken_off_and_resumed() {
    let (_storage, heap) = empty_heap();
    let atomic = heap.atomic().unwrap();
    let (begin_first, first) = gated();
    let (begin_second, second) = gated();
    let first = Arc::new(first);
    *atomic.recovery() = State::Running(Arc::clone(&first), Replayed::default());
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| atomic.wait_for_recovery());
        // One holder is this thread, one the state.
        while Arc::strong_count(&first) < 3 {
            std::hint::spin_loop();
        }
        let mut state = atomic.recovery();
        first.recovery().abort();
        drop(begin_first);
        assert_eq!(first.wait(), Err(RecoveryError::Aborted));
        *state = running(second);
        drop(state);
        drop(begin_second);
        assert!(waiter.join().unwrap().is_some_and(|report| report.collected.reclaimed_blocks > 0));
    });
    unmap(heap);
}

fn writes_to_data(call: &Call) -> bool {
    call.kind == CallKind::Write && call.part == Part::Data
}

/// Two threads that resumed a recovery: the second one waited until the first one's had come to its end. And while one of
/// them waited for a fold, so did everybody who asked how far the recovery was.
#[test]
fn resuming_waits_neither_for_a_recovery_nor_lets_others_wait_for_a_fold() {
    let (storage, heap) = empty_heap();
    heap.write().unwrap().root_or_default(NUMBERS).unwrap().extend(0..1000);
    heap.sync().unwrap();
    let atomic = heap.atomic().unwrap();
    let (begin_first, first) = gated();
    first.recovery().abort();
    drop(begin_first);
    first.wait().unwrap_err();
    *atomic.recovery() = running(first);
    let (begin_second, second) = gated();
    let (is_in_fold, fold_on) = storage.hold(writes_to_data);
    std::thread::scope(|scope| {
        let folds = scope.spawn(|| heap.sync_with(SyncLevel::Full));
        is_in_fold.recv().unwrap();
        let resumes = scope.spawn(|| heap.resume_recovery());
        while !atomic.journal.is_pause_awaited() {
            std::hint::spin_loop();
        }
        let (tell, told) = channel();
        scope.spawn(move || tell.send(heap_progress(atomic)));
        let progress = told.recv_timeout(AT_ONCE);
        // Another thread has resumed it meanwhile.
        let begun = Arc::new(second);
        // Dropped before that, also when the test fails.
        let begin_second = begin_second;
        if progress.is_ok() {
            *atomic.recovery() = State::Running(Arc::clone(&begun), Replayed::default());
        }
        drop(fold_on);
        assert!(progress.unwrap().is_some());
        folds.join().unwrap().unwrap();
        let (tell, told) = channel();
        scope.spawn(move || tell.send(resumes.join().unwrap()));
        let resumed = told.recv_timeout(AT_ONCE);
        assert!(!begun.is_done());
        drop(begin_second);
        assert_eq!(resumed, Ok(true));
    });
    assert!(heap.wait_for_recovery().is_some());
    unmap(heap);
}

fn heap_progress(atomic: &Atomic) -> Option<RecoveryProgress> {
    atomic.recovery_progress()
}

/// A purge in a write session waited for a sync that waited for that session.
#[test]
fn a_purge_does_not_wait_for_who_commits() {
    let (_storage, heap) = empty_heap();
    let atomic = heap.atomic().unwrap();
    let capture = atomic.capture();
    std::thread::scope(|scope| {
        let (tell, told) = channel();
        let heap = &heap;
        scope.spawn(move || tell.send(heap.purge()));
        let purged = told.recv_timeout(AT_ONCE);
        drop(capture);
        assert_eq!(purged, Ok(0));
    });
    unmap(heap);
}

/// Its holes were taken for those of the heap file, so nothing in them was marked, and what was reached from there was
/// freed.
#[test]
fn a_file_that_has_got_the_descriptors_number_says_nothing_about_holes() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| CString::new(directory.path().join(name).to_str().unwrap()).unwrap();
    let data = File::create_new(&path("heap"), 0o600).unwrap();
    let layout = Layout::for_capacity(1 << 22, true);
    let mut header = Header::new([3; 16], crate::format::FIRST_WINDOW, ATOMIC, 1 << 22, layout);
    header.file_len = layout.segments.offset;
    data.set_len(header.file_len).unwrap();
    data.write_at(&[1; PAGE], 5 * PAGE as u64).unwrap();
    let len = header.file_len as usize;
    let storage = Arc::new(RealStorage::new(data, path("heap-log"), path("."), 0o600));
    let journal = Journal::of_clean(storage, header);
    assert!(data_of_file(&journal, len).unwrap().unwrap().has(5 * PAGE));
    let other = tempfile::tempfile().unwrap();
    other.set_len(1 << 40).unwrap();
    let number = journal.storage().data_fd();
    // SAFETY: the number is the storage's, which puts up with that.
    assert_eq!(unsafe { libc::dup2(other.as_raw_fd(), number) }, number);
    assert!(data_of_file(&journal, len).unwrap().is_none());
    // SAFETY: made above, and nobody else's.
    unsafe { libc::close(number) };
}

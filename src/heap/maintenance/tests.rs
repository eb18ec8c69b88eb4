use super::*;
use crate::HeapOptions;
use crate::format::{PAGE, SEGMENT_UNITS, UNIT};
use crate::heap::options::Mode;
use allocator_api2::alloc::Allocator;
use std::alloc::Layout;

const SEGMENT: Layout = match Layout::from_size_align(2 << 20, 2 << 20) {
    Ok(layout) => layout,
    Err(_) => panic!(),
};

fn atomic_heap(directory: &tempfile::TempDir, huge_pages: bool) -> Heap {
    let options = HeapOptions::new().mode(Mode::Atomic).capacity(256 << 20).huge_pages(huge_pages);
    // SAFETY: the file is this test's own.
    unsafe { options.create(directory.path().join("heap.sal")) }.unwrap()
}

/// Writes a byte to each of these pages of a block.
fn write(block: std::ptr::NonNull<[u8]>, pages: impl Iterator<Item = usize>) {
    for page in pages {
        // SAFETY: in the block, which is the caller's.
        unsafe { block.cast::<u8>().add(page * PAGE).write_volatile(page as u8 + 1) };
    }
}

#[test]
fn what_is_written_to_a_segment_that_is_just_made_ready_is_in_the_next_commit() {
    let directory = tempfile::tempdir().unwrap();
    let heap = atomic_heap(&directory, false);
    let atomic = heap.inner().atomic.as_ref().unwrap();
    let core = heap.inner().core();
    heap.sync().unwrap();
    // Somebody is faster and has taken and written to the segment that is made ready now.
    let block = heap.alloc().allocate(SEGMENT).unwrap();
    write(block, [3, 500].into_iter());
    let unit = core.unit_of(block.cast::<u8>().as_ptr().addr());
    atomic.make_ready(core, &(unit..unit + SEGMENT_UNITS)).unwrap();
    write(block, [4].into_iter());
    heap.sync().unwrap();
    let mut committed = [0; PAGE];
    let first = (block.cast::<u8>().as_ptr().addr() - core.base) / PAGE;
    for page in [3, 4, 500] {
        atomic.journal().committed_page((first + page) as u64, &mut committed).unwrap();
        assert_eq!(committed[0], page as u8 + 1);
    }
}

#[test]
fn memory_that_is_ready_adds_no_page_to_a_commit() {
    for huge_pages in [false, true] {
        let pages = [false, true].map(|prefaults| {
            let directory = tempfile::tempdir().unwrap();
            let heap = atomic_heap(&directory, huge_pages);
            heap.sync().unwrap();
            if prefaults {
                let done = heap.maintain(Duration::from_secs(60)).done;
                let is_possible =
                    huge_pages || heap.stats().commits.unwrap().tracking == crate::DirtyTracking::WriteProtect;
                assert_eq!(done.prefaulted_bytes >= options::PREFAULT, is_possible);
            }
            let before = heap.stats().commits.unwrap().pages;
            let block = heap.alloc().allocate(SEGMENT).unwrap();
            write(block, [0, 7, 100].into_iter());
            heap.sync().unwrap();
            write(block, [7].into_iter());
            heap.sync().unwrap();
            heap.stats().commits.unwrap().pages - before
        });
        println!("huge pages {huge_pages}: {pages:?} pages");
        if huge_pages {
            // All of a huge page is committed once, if the machine has them.
            assert!(pages[1] <= 512 + 16, "{pages:?}");
        } else {
            assert_eq!(pages[0], pages[1]);
        }
    }
}

#[test]
fn what_a_recovered_heap_holds_is_committed_when_it_is_changed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("heap.sal");
    let heap = atomic_heap(&directory, true);
    let block = heap.alloc().allocate(SEGMENT).unwrap();
    write(block, [1, 2].into_iter());
    heap.sync().unwrap();
    // As a process that was killed leaves them.
    let copy = tempfile::tempdir().unwrap();
    for name in ["heap.sal", "heap.sal-log"] {
        std::fs::copy(directory.path().join(name), copy.path().join(name)).unwrap();
    }
    // SAFETY: nothing in the heap is used any more.
    unsafe { heap.close_and_unmap().unwrap() };
    for name in ["heap.sal", "heap.sal-log"] {
        std::fs::copy(copy.path().join(name), directory.path().join(name)).unwrap();
    }
    // SAFETY: the file is this test's own.
    let heap = unsafe { HeapOptions::new().open(&path) }.unwrap();
    let guard = heap.start_maintenance(MaintenanceOptions::new()).unwrap();
    let core = heap.inner().core();
    let before = heap.stats().commits.unwrap().pages;
    // Nothing reaches the block, so recovery frees it; its memory is still what commits look at.
    heap.wait_for_recovery();
    write(block, [300].into_iter());
    heap.sync().unwrap();
    assert!(heap.stats().commits.unwrap().pages > before);
    let mut committed = [0; PAGE];
    let page = (block.cast::<u8>().as_ptr().addr() - core.base) / PAGE + 300;
    heap.inner().atomic.as_ref().unwrap().journal().committed_page(page as u64, &mut committed).unwrap();
    assert_eq!(committed[0], 300_usize as u8 + 1);
    drop(guard);
}

#[test]
fn the_thread_has_ended_when_the_heap_is_closed_or_dropped_in_whatever_order() {
    for closes in [true, false] {
        let heap = HeapOptions::new().capacity(256 << 20).volatile().unwrap();
        let guard = heap.start_maintenance(MaintenanceOptions::new()).unwrap();
        assert!(guard.is_running());
        if closes {
            heap.close().unwrap()
        } else {
            drop(heap)
        }
        assert!(!guard.is_running());
        assert!(guard.stop().last_error.is_none());
    }
    let heap = HeapOptions::new().capacity(256 << 20).volatile().unwrap();
    std::mem::forget(heap.start_maintenance(MaintenanceOptions::new()).unwrap());
    drop(heap);
}

#[test]
fn a_purge_is_put_off_while_more_is_freed_but_not_for_ever() {
    let signal = crate::os::signal::Signal::new();
    signal.listen(0);
    assert_eq!(run::times_put_off(&signal, || signal.tell(event::FREED_AGAIN)), 8);
    assert_eq!(run::times_put_off(&signal, || ()), 0);
}

#[test]
fn growth_is_told_when_half_of_what_was_ready_is_used_or_a_purge_may_have_taken_it() {
    let heap = HeapOptions::new().capacity(256 << 20).huge_pages(false).volatile().unwrap();
    let signal = &heap.inner().core().signal;
    signal.listen(0);
    // Eight megabytes, each time.
    assert!(heap.maintain(Duration::from_secs(60)).done.prefaulted_bytes >= options::PREFAULT);
    let grow = || {
        signal.forget(event::GROWN);
        heap.alloc().allocate(SEGMENT).unwrap();
        signal.is_told(event::GROWN)
    };
    assert_eq!([grow(), grow(), grow()], [false, false, true]);
    heap.maintain(Duration::from_secs(60));
    assert!(!grow());
    heap.purge();
    assert!(grow());
    signal.deafen();
}

#[test]
fn growth_is_told_before_all_that_was_ready_is_used_however_little_that_is() {
    let piece = |units: usize| Layout::from_size_align(units * UNIT, UNIT).unwrap();
    for used in (12..64).step_by(4) {
        for ahead in [1, 2, 3] {
            let heap = HeapOptions::new().capacity(256 << 20).huge_pages(false).volatile().unwrap();
            let (core, signal) = (heap.inner().core(), &heap.inner().core().signal);
            signal.listen(0);
            let take = |units: usize| {
                core.unit_of(heap.alloc().allocate(piece(units)).unwrap().cast::<u8>().addr().get()) + units
            };
            take(used);
            work::prefault(heap.inner(), ahead << 21, &report::Counters::default(), &|| true);
            signal.forget(event::GROWN);
            let ready_end = heap.inner().maintenance.ready_end();
            let mut end = 0;
            while !signal.is_told(event::GROWN) {
                end = take(9);
            }
            assert!(end <= ready_end, "{used} units used, {ahead} segments ahead: told at {end}, ready to {ready_end}");
            signal.deafen();
        }
    }
}

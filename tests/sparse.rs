//! Large objects that were written here and there only: what looks through a heap does not read their holes, which takes
//! memory, and where there is none left, ends the process.
#![allow(unsafe_code)]

mod support;

use allocator_api2::alloc::Allocator;
use sal::prelude::*;
use sal::{HeapOptions, Recovery, SalCollect};
use std::alloc::Layout;
use support::heaps::{opened, run_and_kill, unmap};
use support::{Address, alone, bytes, fresh_path, process};

/// Addresses of two large objects and of a small block that only the first one leads to.
const PLACES: Root<SalVec<Address>> = Root::new("places");
const LEN: usize = 8 << 30;
/// Words of the first one that lead on: its first and its last, and one in between.
const WORDS: [usize; 3] = [0, LEN / 16, LEN / 8 - 1];

fn word(address: u64, at: usize) -> *mut u64 {
    std::ptr::with_exposed_provenance_mut::<u64>(address as usize).wrapping_add(at)
}

fn make(heap: &Heap) {
    let take = |len| {
        let block = heap.alloc().allocate_zeroed(Layout::from_size_align(len, 8).unwrap()).unwrap();
        block.cast::<u8>().as_ptr().expose_provenance() as u64
    };
    let (first, lost) = (take(LEN), take(LEN));
    let tx = heap.write().unwrap();
    let places = tx.root_or_default(PLACES).unwrap();
    places.push(Address(first));
    for at in WORDS {
        // Kept under another name than the conservative search knows.
        let small = take(100);
        places.push(Address(!small));
        // SAFETY: within blocks that were taken above.
        unsafe {
            word(small, 0).write(at as u64);
            word(first, at).write(small);
        }
    }
    // SAFETY: as above.
    unsafe { word(lost, LEN / 16).write(first) };
    tx.sync().unwrap();
}

/// Whether what the first object leads to is there.
fn check(heap: &Heap) {
    let read = heap.read().unwrap();
    let places = read.root(PLACES).unwrap();
    for (place, at) in WORDS.into_iter().enumerate() {
        // SAFETY: blocks that were committed, and are reached from the root.
        unsafe {
            assert_eq!(*word(places[0].0, at), !places[place + 1].0);
            assert_eq!(*word(!places[place + 1].0, 0), at as u64);
        }
    }
}

#[test]
fn a_sparse_object_of_8_gib_is_recovered_on_a_full_disk_of_64_mib() {
    let name = "a_sparse_object_of_8_gib_is_recovered_on_a_full_disk_of_64_mib";
    if let Some((role, path)) = process::role() {
        let options = HeapOptions::new().capacity(32 << 30);
        if role == "make" {
            let heap = opened(&options, &path);
            make(&heap);
            process::say("done");
            process::hear();
            return;
        }
        run_and_kill(name, "make", &path);
        let taken = bytes::disk(&path);
        for recovery in [Recovery::Eager, Recovery::Background] {
            // Replaying what the log holds takes space; of the second time the file is as the first has left it.
            let heap = opened(&options.clone().recovery(recovery).discard(true), &path);
            let report = heap.wait_for_recovery().unwrap().collected;
            assert_eq!((report.reclaimed_large, report.reclaimed_large_bytes), (1, LEN as u64), "{recovery:?}");
            assert!(report.marked_bytes >= LEN as u64 && report.marked_blocks >= 5, "{recovery:?}: {report}");
            check(&heap);
            unmap(heap);
        }
        let grown = bytes::disk(&path) - taken;
        assert!(grown < 8 << 20, "recovery took {grown} bytes");
        let full = process::fill_disk(path.parent().unwrap());
        for recovery in [Recovery::Eager, Recovery::Background] {
            let heap = opened(&options.clone().recovery(recovery).discard(true), &path);
            let report = heap.wait_for_recovery().unwrap().collected;
            assert_eq!(report.reclaimed_large, 1, "{recovery:?}");
            // SAFETY: no other thread uses the heap.
            let leaks = unsafe { heap.leak_report() }.unwrap();
            assert_eq!(leaks.blocks, 0, "{recovery:?}: {leaks}");
            // SAFETY: as above, and only roots hold anything.
            let collected = unsafe { heap.collect() }.unwrap();
            assert_eq!((collected.marked_blocks, collected.reclaimed_blocks), (report.marked_blocks, 0));
            check(&heap);
            unmap(heap);
        }
        drop(full);
        return;
    }
    let _alone = alone();
    let (_directory, path) = fresh_path();
    let Some(child) = process::start_on_small_disk(name, "recover", &path, 64) else { return };
    child.succeed();
}

#[test]
fn a_sparse_object_takes_no_time_and_no_memory_to_be_recovered_and_collected() {
    let name = "a_sparse_object_takes_no_time_and_no_memory_to_be_recovered_and_collected";
    if let Some((_, path)) = process::role() {
        let heap = opened(&HeapOptions::new().capacity(32 << 30), &path);
        make(&heap);
        process::say("done");
        process::hear();
        return;
    }
    let _alone = alone();
    let (_directory, path) = fresh_path();
    run_and_kill(name, "make", &path);
    for recovery in [Recovery::Eager, Recovery::Background] {
        let before = page_tables_and_memory();
        let heap = opened(&HeapOptions::new().recovery(recovery).discard(true), &path);
        let report = heap.wait_for_recovery().unwrap().collected;
        assert_eq!(report.reclaimed_large, 1, "{recovery:?}: {report}");
        // SAFETY: no other thread uses the heap, and only roots hold anything.
        assert_eq!(unsafe { heap.collect() }.unwrap().reclaimed_blocks, 0, "{recovery:?}");
        let grown = page_tables_and_memory().saturating_sub(before);
        assert!(grown < 200 << 20, "{recovery:?} took {grown} bytes, page tables included");
        check(&heap);
        unmap(heap);
    }
}

#[test]
fn collecting_sees_what_no_commit_has_seen_and_what_only_the_log_holds() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    let heap = opened(&HeapOptions::new().capacity(32 << 30), &path);
    make(&heap);
    // SAFETY: no other thread uses the heap, and only roots hold anything.
    let collected = unsafe { heap.collect() }.unwrap();
    assert_eq!((collected.reclaimed_blocks, collected.reclaimed_large_bytes), (1, LEN as u64));
    check(&heap);
    let tx = heap.write().unwrap();
    let places = tx.root_mut(PLACES).unwrap();
    places.extend((0..100_000).map(Address));
    let taken = heap.alloc().allocate_zeroed(Layout::from_size_align(LEN, 8).unwrap()).unwrap();
    let taken = taken.cast::<u8>().as_ptr().expose_provenance() as u64;
    // SAFETY: within a block that was taken just now, and one that the root leads to.
    unsafe {
        word(taken, LEN / 32).write(7);
        word(places[0].0, LEN / 32).write(taken);
    }
    drop(tx);
    // SAFETY: as above.
    let collected = unsafe { heap.collect() }.unwrap();
    assert_eq!(collected.reclaimed_blocks, 0);
    check(&heap);
    unmap(heap);
}

fn page_tables_and_memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
    };
    field("VmRSS:") + field("VmPTE:")
}

/// What lay in the second page was shown as zeros if the first one was a hole.
#[test]
fn a_leak_report_shows_what_a_block_over_two_pages_begins_with() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    let heap = opened(&HeapOptions::new().capacity(1 << 30).huge_pages(false), &path);
    let layout = Layout::from_size_align(48, 8).unwrap();
    let mut starts: Vec<usize> =
        (0..600).map(|_| heap.alloc().allocate(layout).unwrap().cast::<u8>().as_ptr().expose_provenance()).collect();
    starts.sort_unstable();
    let over_two = |start: &&usize| **start % 4096 == 4096 - 16 && **start > starts[0] + 4096;
    let start = *starts.iter().find(over_two).unwrap();
    // SAFETY: within the block.
    unsafe { word(start as u64, 2).write(u64::from_le_bytes(*b"wordword")) };
    // SAFETY: no other thread uses the heap.
    let report = unsafe { heap.leak_report() }.unwrap();
    let leak = report.largest.iter().find(|leak| leak.block.start == start).unwrap();
    assert_eq!(leak.first_bytes[..24], [&[0; 16][..], b"wordword"].concat());
    unmap(heap);
}

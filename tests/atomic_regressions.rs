//! What once went wrong with atomic heaps when the power was cut, or the disk failed. Each test says what broke, and why.
#![allow(unsafe_code)]

mod support;

use allocator_api2::alloc::Allocator;
use sal::prelude::*;
use sal::testing::{Effect, Granularity, SimulatedDisk};
use sal::{HeapOptions, Recovery, SyncLevel};
use std::alloc::Layout;
use std::panic::{AssertUnwindSafe, catch_unwind};
use support::heaps::unmap;
use support::{Address, alone};

const NUMBERS: Root<SalVec<u64>> = Root::new("numbers");
const SECOND: Root<SalVec<u64>> = Root::new("second");
const THIRD: Root<SalVec<u64>> = Root::new("third");
/// Addresses of blocks that nothing else leads to.
const BLOCKS: Root<SalVec<Address>> = Root::new("blocks");

const NO_SPACE: i32 = 28;
const IO: i32 = 5;

fn options() -> HeapOptions {
    HeapOptions::new().capacity(256 << 20).recovery(Recovery::Eager)
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
    tx.root_or_default(BLOCKS).unwrap().push(Address(address as u64));
    address
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
            assert_eq!(**heap.read().unwrap().root(BLOCKS).unwrap(), [Address(address as u64)]);
            // SAFETY: the block, behind its first word; nobody else writes.
            let bytes = unsafe { std::slice::from_raw_parts((address + 8) as *const u8, LEN - 8) };
            assert_eq!(bytes.iter().filter(|&&byte| byte != 0).count(), 0);
            kill(&image, heap);
        }
    }
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
            assert_eq!(**heap.read().unwrap().root(BLOCKS).unwrap(), [Address(address as u64)]);
            // SAFETY: the block, behind its first word; nobody else writes.
            let bytes = unsafe { std::slice::from_raw_parts((address + 8) as *const u8, LEN - 8) };
            assert_eq!(bytes.iter().filter(|&&byte| byte != 0).count(), 0, "the sync failed at call {skip}");
            kill(&image, heap);
        }
    }
}

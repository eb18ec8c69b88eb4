//! What a heap has once everything in it was freed and maintenance has been: next to nothing of its peak, in memory and on the
//! disk.
#![allow(unsafe_code)]

mod support;

use allocator_api2::alloc::Allocator;
use sal::{Heap, HeapOptions, MaintenanceOptions, Mode, SalAlloc, SalCow};
use std::alloc::Layout;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::time::{Duration, Instant};
use support::heaps::{each_kind, log_of, opened, resident, unmap};
use support::{Random, alone, bytes, seed};

const MIB: usize = 1 << 20;
/// What each of the loads below takes.
const LOAD: usize = 160 * MIB;

struct Block(NonNull<u8>, Layout);

// SAFETY: it has its block alone.
unsafe impl Send for Block {}

fn take(heap: SalAlloc, size: usize) -> Block {
    let layout = Layout::from_size_align(size, 8).unwrap();
    let block: NonNull<u8> = heap.allocate(layout).unwrap().cast();
    // SAFETY: a new block of that size.
    unsafe { block.write_bytes(0x5A, size) };
    Block(block, layout)
}

fn free(heap: SalAlloc, Block(block, layout): Block) {
    // SAFETY: `take` made it, and nobody else has it.
    unsafe { heap.deallocate(block, layout) };
}

/// The sizes of a load.
type Sizes = fn(&mut Random) -> usize;
const LOADS: [(&str, Sizes); 3] = [
    ("small", |random| 1 + random.below(2000)),
    ("large", |random| 300_000 + random.below(6 * MIB)),
    ("mixed", |random| match random.below(100) {
        0 => 256 * 1024 + random.below(3 * MIB),
        1..=20 => 1 + random.below(100_000),
        _ => 1 + random.below(300),
    }),
];

/// Takes a load, each third of it on a thread that ends.
fn fill(heap: SalAlloc, sizes: Sizes, seed: u64) -> Vec<Block> {
    let part = move |number: u64| {
        let mut random = Random(seed + number);
        let (mut blocks, mut bytes) = (Vec::new(), 0);
        while bytes < LOAD / 3 {
            let size = sizes(&mut random);
            bytes += size;
            blocks.push(take(heap, size));
        }
        blocks
    };
    let mut blocks: Vec<_> = std::thread::scope(|scope| {
        let threads = [0, 1, 2].map(|number| scope.spawn(move || part(number)));
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let mut random = Random(seed);
    for at in (1..blocks.len()).rev() {
        blocks.swap(at, random.below(at + 1));
    }
    blocks
}

/// Frees a load in its order, each half of it on a thread that ends.
fn free_all(heap: SalAlloc, mut blocks: Vec<Block>) {
    let others = blocks.split_off(blocks.len() / 2);
    std::thread::scope(|scope| {
        let threads = [blocks, others].map(|half| scope.spawn(|| half.into_iter().for_each(|block| free(heap, block))));
        // The scope by itself waits for less than their ends.
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

/// A directory with a name that what the kernel says of memory has too.
fn directory() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("Rss: 0 kB").tempdir().unwrap()
}

/// Bytes on the disk: of the file, and of the log beside it.
fn disk(path: Option<&Path>) -> u64 {
    let Some(path) = path else { return 0 };
    let log = log_of(path);
    bytes::disk(path) + if log.exists() { bytes::disk(&log) } else { 0 }
}

fn commit(heap: &Heap) {
    if heap.mode() == Mode::Atomic {
        heap.sync().unwrap();
    }
}

/// Fills a heap, empties it, and has `maintain` done, which is told how to find out whether little is left, and returns how many
/// bytes it has made ready for what comes next.
fn left_of_peak(
    (kind, heap, path): &(&str, Heap, Option<PathBuf>),
    (load, sizes): (&str, Sizes),
    maintain: impl FnOnce(&dyn Fn(usize) -> bool) -> usize,
) {
    let seed = seed(14);
    let what = format!("{load} blocks, heap {kind}, seed {seed}");
    let (before, before_on_disk) = (resident(heap), disk(path.as_deref()));
    let blocks = fill(heap.alloc(), sizes, seed);
    commit(heap);
    let (peak, peak_on_disk) = (resident(heap), disk(path.as_deref()));
    assert!(peak >= LOAD && (path.is_none() || peak_on_disk as usize >= LOAD), "{what}: {peak} and {peak_on_disk}");
    free_all(heap.alloc(), blocks);
    assert_eq!((heap.stats().live_bytes, heap.stats().large_objects), (0, 0), "{what}");
    commit(heap);
    let left = |ready: usize| {
        let on_disk_ready = if path.is_some() { ready as u64 } else { 0 };
        (resident(heap).saturating_sub(ready), disk(path.as_deref()).saturating_sub(on_disk_ready))
    };
    let is_little = |(memory, on_disk)| memory <= peak / 20 && on_disk <= peak_on_disk / 20;
    let ready = maintain(&|ready| is_little(left(ready)));
    let (now, now_on_disk) = left(ready);
    println!(
        "{what}: {before}, {peak}, {now} bytes in memory, {before_on_disk}, {peak_on_disk}, {now_on_disk} on the disk"
    );
    assert!(
        is_little((now, now_on_disk)),
        "{what}: {now} of {peak} bytes in memory, {now_on_disk} of {peak_on_disk} on the disk"
    );
    assert!(heap.verify().is_good(), "{what}");
}

#[test]
fn maintained_by_hand_an_emptied_heap_keeps_no_more_than_a_twentieth() {
    let _alone = alone();
    for load in LOADS {
        let directory = directory();
        for kind in each_kind(&HeapOptions::new().capacity(1 << 30), directory.path()) {
            left_of_peak(&kind, load, |is_little| {
                let (mut ready, began) = (0, Instant::now());
                loop {
                    commit(&kind.1);
                    let report = kind.1.maintain(Duration::from_secs(60));
                    assert!(report.last_error.is_none(), "{report:?}");
                    ready += report.done.prefaulted_bytes as usize;
                    // Of an atomic heap the last commit may still hold what was empty only then: as a program does, again later.
                    let is_atomic = kind.1.mode() == Mode::Atomic;
                    if !is_atomic || is_little(ready) || began.elapsed() > Duration::from_secs(20) {
                        break ready;
                    }
                }
            });
        }
    }
}

#[test]
fn maintained_by_a_thread_an_emptied_heap_keeps_no_more_than_a_twentieth() {
    let _alone = alone();
    for load in LOADS {
        let directory = directory();
        for kind in each_kind(&HeapOptions::new().capacity(1 << 30), directory.path()) {
            let options = MaintenanceOptions::new().prefault(0).purge_after(Some(Duration::from_millis(20)));
            let maintenance = kind.1.start_maintenance(options).unwrap();
            left_of_peak(&kind, load, |is_little| {
                let began = Instant::now();
                let mut commits = 0;
                while !is_little(0) && began.elapsed() < Duration::from_secs(20) {
                    // As a program does from time to time.
                    if began.elapsed() > Duration::from_millis(100) * commits {
                        commit(&kind.1);
                        commits += 1;
                    }
                    std::thread::yield_now();
                }
                0
            });
            assert!(maintenance.stop().last_error.is_none());
        }
    }
}

/// Of a heap with counted objects nothing was given back at a close.
#[test]
fn the_file_of_a_closed_heap_keeps_nothing_large_that_is_free() {
    let _alone = alone();
    for mode in [Mode::Shared, Mode::Atomic] {
        for has_counted in [false, true] {
            let directory = directory();
            let path = directory.path().join("heap");
            let heap = opened(&HeapOptions::new().capacity(1 << 30).mode(mode), &path);
            let empty = disk(Some(&path));
            let counted = has_counted.then(|| heap.rc(1_u64));
            let blocks = fill(heap.alloc(), LOADS[0].1, seed(15));
            heap.sync().unwrap();
            let peak = disk(Some(&path));
            free_all(heap.alloc(), blocks);
            drop(counted);
            unmap(heap);
            let closed = disk(Some(&path));
            assert!(
                peak > empty + LOAD as u64 && closed < peak / 20,
                "{mode:?}, {has_counted}: {empty}, {peak}, {closed}"
            );
            // As good as before.
            let heap = opened(&HeapOptions::new(), &path);
            heap.wait_for_recovery();
            assert!(heap.verify().is_good(), "{mode:?}, {has_counted}");
            unmap(heap);
        }
    }
}

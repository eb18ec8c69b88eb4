//! Scenarios that end with a kill: what a heap that commits has to get through, besides those of `scenarios`.
//!
//! Each test is about a failure that some persistent allocator has had: a commit of one of two alternating writers that is
//! lost, pages that are still in the cache when a file says that it was closed, space that leaks with each commit, blocks
//! that recovery frees twice or that run into each other afterwards, live data cut off by a smaller capacity.
#![allow(unsafe_code)]

mod support;

use allocator_api2::alloc::Allocator;
use allocator_api2::boxed::Box as SalBox;
use sal::prelude::*;
use sal::{HeapOptions, OpenError, SyncLevel, Tag};
use std::alloc::Layout;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::mpsc;
use support::heaps::{log_of, open, open_with, run_and_kill, unmap, wait_for_the_kill};
use support::{Address, Random, alone, bytes, fresh_path, process, seed};

const NUMBERS: Root<SalVec<u64>> = Root::new("numbers");
const WORDS: Root<SalHashMap<u64, SalString>> = Root::new("words");

#[test]
fn alternating_writers_lose_no_commit() {
    let name = "alternating_writers_lose_no_commit";
    let lists: [fn() -> Root<SalVec<u64>>; 2] = [|| Root::new("first"), || Root::new("second")];
    if let Some((_, path)) = process::role() {
        let heap = open_with(&HeapOptions::new().fold_at(32 << 10), &path).unwrap();
        std::thread::scope(|scope| {
            let (to_first, from_second) = mpsc::channel();
            let (to_second, from_first) = mpsc::channel();
            to_first.send(0).unwrap();
            let ends = [(from_second, to_second), (from_first, to_first)];
            for (writer, (turn, other)) in ends.into_iter().enumerate() {
                let heap = &heap;
                scope.spawn(move || {
                    let mut last = 0;
                    for number in 0..100 {
                        let before: u64 = turn.recv().unwrap();
                        heap.with_session(|tx| {
                            tx.root_or_default(lists[writer]())?.push(number);
                            Ok(())
                        })
                        .unwrap();
                        let commit = heap.sync().unwrap();
                        assert!(commit > before && commit > last, "each has a commit of its own");
                        last = commit;
                        let _ = other.send(commit);
                    }
                });
            }
        });
        return wait_for_the_kill();
    }
    let _alone = alone();
    let (_directory, path) = fresh_path();
    run_and_kill(name, "write", &path);
    let heap = open(&path);
    let read = heap.read().unwrap();
    for list in lists {
        assert!(read.root(list()).unwrap().iter().copied().eq(0..100));
    }
    assert_eq!(heap.last_commit().unwrap(), 200);
    drop(read);
    unmap(heap);
}

/// Pages of a file that are in the cache only, or on their way to the disk; none where the system does not tell.
fn unflushed(path: &Path) -> Option<u64> {
    const SYS_CACHESTAT: libc::c_long = 451;
    let file = std::fs::File::open(path).unwrap();
    let range = [0_u64; 2];
    // Pages in the cache, dirty ones, those that are being written, and two more.
    let mut found = [0_u64; 5];
    // SAFETY: the arrays are laid out as the call's structures, and live.
    let returned = unsafe { libc::syscall(SYS_CACHESTAT, file.as_raw_fd(), range.as_ptr(), found.as_mut_ptr(), 0_u32) };
    (returned == 0).then_some(found[1] + found[2])
}

#[test]
fn nothing_is_unflushed_when_a_sync_or_a_close_returns() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    std::fs::write(path.with_extension("probe"), vec![1; 1 << 20]).unwrap();
    match unflushed(&path.with_extension("probe")) {
        None => return println!("the system does not say what is unflushed"),
        Some(0) => println!("the file system does not say what is unflushed"),
        Some(_) => {}
    }
    let heap = open_with(&HeapOptions::new().fold_at(64 << 10), &path).unwrap();
    let mut log_len = 0;
    for round in 0..20_u64 {
        heap.with_session(|tx| {
            tx.root_or_default(NUMBERS)?.extend(0..round * 3000);
            tx.root_or_default(WORDS)?.insert(round, SalString::from("x".repeat(5000).as_str()));
            Ok(())
        })
        .unwrap();
        let is_full = round % 3 == 0;
        heap.sync_with(if is_full { SyncLevel::Full } else { SyncLevel::Data }).unwrap();
        assert_eq!(unflushed(&log_of(&path)), Some(0), "the log, in round {round}");
        if is_full {
            assert_eq!(unflushed(&path), Some(0), "the heap file, in round {round}");
        }
        log_len = std::fs::metadata(log_of(&path)).unwrap().len();
    }
    assert!(log_len > 0);
    heap.with_session(|tx| tx.take_root(NUMBERS).map(drop)).unwrap();
    unmap(heap);
    assert_eq!(unflushed(&path), Some(0));
    let copy = path.with_extension("copy");
    bytes::copy(&path, &copy);
    assert_eq!(bytes::hash(&path), bytes::hash(&copy));
    let heap = open(&copy);
    assert_eq!(heap.read().unwrap().root(WORDS).unwrap().len(), 20);
    unmap(heap);
}

#[test]
fn five_thousand_commits_leak_nothing_and_leave_the_files_small() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    let heap = open_with(&HeapOptions::new().fold_at(256 << 10), &path).unwrap();
    let mut random = Random(5);
    let (mut live, mut disk) = ([0, u64::MAX], [0, 0]);
    for round in 0..5000_u64 {
        heap.with_session(|tx| {
            let words = tx.root_or_default(WORDS)?;
            words.insert(round, SalString::from("x".repeat(100 + random.below(300)).as_str()));
            if round >= 100 {
                words.remove(&(round - 100)).unwrap();
            }
            Ok(())
        })
        .unwrap();
        let level = if round % 100 == 99 { SyncLevel::Data } else { SyncLevel::Async };
        assert_eq!(heap.sync_with(level).unwrap(), round + 1);
        let half = usize::from(round >= 2500);
        disk[half] = disk[half].max(bytes::disk(&path) + bytes::disk(&log_of(&path)));
        if round >= 1000 {
            let now = heap.stats().live_bytes;
            live = [live[0].max(now), live[1].min(now)];
        }
    }
    assert!(live[0] < 2 * live[1], "{live:?} bytes");
    // The log grows by steps of 1 MiB when a fold is slow.
    assert!(disk[1] <= disk[0] + (1 << 20) + (64 << 10), "{disk:?} bytes");
    assert!(disk[1] < 8 << 20, "{disk:?} bytes");
    unmap(heap);
    assert!(bytes::disk(&path) < 4 << 20, "{} bytes", bytes::disk(&path));
}

/// Blocks: address, size, and the byte that they are full of. The list is itself a root.
const BLOCKS: Root<SalVec<(Address, u32, u32)>> = Root::new("blocks");

fn take(heap: SalAlloc, size: usize, tag: u8) -> (Address, u32, u32) {
    let block = heap.allocate(Layout::from_size_align(size, 16).unwrap()).unwrap().cast::<u8>();
    // SAFETY: a new block of that size.
    unsafe { block.write_bytes(tag, size) };
    (Address(block.addr().get() as u64), size as u32, u32::from(tag))
}

fn check(&(Address(address), size, tag): &(Address, u32, u32)) {
    let start = std::ptr::with_exposed_provenance::<u8>(address as usize);
    // SAFETY: a block of an open heap, which is always mapped at the same address; nobody writes to it.
    let bytes = unsafe { std::slice::from_raw_parts(start, size as usize) };
    assert!(bytes.iter().all(|byte| u32::from(*byte) == tag), "{size} bytes at {address:#x}");
}

fn give_back(heap: SalAlloc, block: (Address, u32, u32)) {
    check(&block);
    let start = NonNull::new(std::ptr::with_exposed_provenance_mut::<u8>(block.0.0 as usize)).unwrap();
    // SAFETY: a block of this heap, freed once.
    unsafe { heap.deallocate(start, Layout::from_size_align(block.1 as usize, 16).unwrap()) };
}

/// Takes and frees blocks at random.
fn churn(heap: SalAlloc, blocks: &mut Vec<(Address, u32, u32)>, random: &mut Random, rounds: usize) {
    for _ in 0..rounds {
        if blocks.len() < 300 || random.below(2) == 0 {
            let size = match random.below(30) {
                0 => 1 + random.below(700_000),
                1..=5 => 1 + random.below(40_000),
                _ => 1 + random.below(800),
            };
            blocks.push(take(heap, size, random.below(256) as u8));
        } else {
            give_back(heap, blocks.swap_remove(random.below(blocks.len())));
        }
    }
}

#[test]
fn blocks_never_overlap_and_none_is_freed_twice_over_generations_that_are_killed() {
    let name = "blocks_never_overlap_and_none_is_freed_twice_over_generations_that_are_killed";
    if let Some((role, path)) = process::role() {
        let seed: u64 = role.parse().unwrap();
        let heap = open_with(&HeapOptions::new().fold_at(128 << 10), &path).unwrap();
        let handle = heap.alloc();
        let mut random = Random(seed);
        for _ in 0..4 {
            let tx = heap.write().unwrap();
            let list = tx.root_or_default(BLOCKS).unwrap();
            let blocks: Vec<_> = list.drain(..).collect();
            blocks.iter().for_each(check);
            let parts = [0, 1].map(|part| blocks.iter().skip(part).step_by(2).copied().collect::<Vec<_>>());
            let seeds = [random.next(), random.next()];
            std::thread::scope(|scope| {
                let threads = parts.into_iter().zip(seeds).map(|(mut blocks, seed)| {
                    scope.spawn(move || {
                        churn(handle, &mut blocks, &mut Random(seed), 1500);
                        blocks
                    })
                });
                let threads: Vec<_> = threads.collect();
                threads.into_iter().for_each(|thread| list.extend(thread.join().unwrap()));
            });
            tx.sync().unwrap();
        }
        // What comes now is lost: blocks that are freed come back, and new ones have never been.
        let tx = heap.write().unwrap();
        let mut lost: Vec<_> = tx.root_mut(BLOCKS).unwrap().drain(..).collect();
        churn(handle, &mut lost, &mut random, 3000);
        return wait_for_the_kill();
    }
    let _alone = alone();
    let seed = seed(0xB10C);
    println!("seed {seed}");
    let (_directory, path) = fresh_path();
    for generation in 0..5 {
        run_and_kill(name, &(seed + generation * 77).to_string(), &path);
    }
    let heap = open(&path);
    let tx = heap.write().unwrap();
    let list = tx.root_mut(BLOCKS).unwrap();
    let mut blocks: Vec<_> = list.drain(..).collect();
    assert!(blocks.len() >= 600);
    let mut random = Random(seed);
    // As many new ones beside them, at random: none lies in another.
    let new: Vec<_> = (0..2000).map(|_| take(heap.alloc(), 1 + random.below(3000), 0xEE)).collect();
    blocks.extend(new);
    blocks.sort_unstable();
    assert!(blocks.windows(2).all(|pair| pair[0].0.0 + u64::from(pair[0].1) <= pair[1].0.0));
    blocks.into_iter().for_each(|block| give_back(heap.alloc(), block));
    drop(tx);
    unmap(heap);
}

#[test]
fn two_large_blocks_beside_each_other_stay_apart_over_kills() {
    let name = "two_large_blocks_beside_each_other_stay_apart_over_kills";
    const LARGE: usize = 16 << 20;
    if let Some((role, path)) = process::role() {
        let heap = open(&path);
        let tx = heap.write().unwrap();
        let list = tx.root_or_default(BLOCKS).unwrap();
        match role.as_str() {
            "take" => (1..=3).for_each(|tag| list.push(take(heap.alloc(), LARGE, tag))),
            // The one in the middle goes and comes again, larger and smaller.
            _ => {
                list.iter().for_each(check);
                give_back(heap.alloc(), list.swap_remove(1));
                list.push(take(heap.alloc(), LARGE / 2 - 5, 9));
                list.push(take(heap.alloc(), LARGE + 5, 10));
                list.swap(1, 2);
            }
        }
        tx.sync().unwrap();
        return wait_for_the_kill();
    }
    let _alone = alone();
    let (_directory, path) = fresh_path();
    for role in ["take", "change", "change"] {
        run_and_kill(name, role, &path);
    }
    let heap = open(&path);
    let tx = heap.write().unwrap();
    let list = tx.root_mut(BLOCKS).unwrap();
    assert_eq!(list.len(), 5);
    list.drain(..).for_each(|block| give_back(heap.alloc(), block));
    assert_eq!(heap.stats().large_objects, 0);
    drop(tx);
    unmap(heap);
}

#[test]
fn frees_in_reverse_order_leave_nothing_in_the_file() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    let empty = {
        let heap = open(&path);
        heap.with_session(|tx| tx.set_root(NUMBERS, SalVec::new())).unwrap();
        unmap(heap);
        std::fs::metadata(&path).unwrap().len()
    };
    let mut disks = Vec::new();
    for _ in 0..3 {
        let heap = open(&path);
        let before = heap.stats().live_bytes;
        let blocks: Vec<_> = (0..20_000).map(|n| take(heap.alloc(), 16 + n % 1500, n as u8)).collect();
        heap.sync().unwrap();
        blocks.into_iter().rev().for_each(|block| give_back(heap.alloc(), block));
        heap.sync().unwrap();
        assert_eq!(heap.stats().live_bytes, before);
        unmap(heap);
        let (len, disk) = (std::fs::metadata(&path).unwrap().len(), bytes::disk(&path));
        assert!(len <= empty + (1 << 20) && disk < 4 << 20, "{len} bytes, {disk} on the disk, {empty} when empty");
        disks.push(disk);
    }
    assert!(disks[2] <= disks[0] + (64 << 10), "{disks:?}");
}

#[test]
fn a_killed_heap_is_opened_with_more_capacity_or_less_but_never_cut_below_what_lives() {
    let name = "a_killed_heap_is_opened_with_more_capacity_or_less_but_never_cut_below_what_lives";
    if let Some((_, path)) = process::role() {
        let heap = open_with(&HeapOptions::new().capacity(32 << 20), &path).unwrap();
        heap.with_session(|tx| tx.set_root(NUMBERS, (0..2 << 20).collect())).unwrap();
        heap.sync().unwrap();
        assert!(heap.alloc().allocate(Layout::new::<[u8; 20 << 20]>()).is_err());
        return wait_for_the_kill();
    }
    let _alone = alone();
    let (_directory, path) = fresh_path();
    let with = |capacity| open_with(&HeapOptions::new().capacity(capacity), &path);
    let is_whole = |heap: &Heap| heap.read().unwrap().root(NUMBERS).unwrap().iter().copied().eq(0..2 << 20);
    for capacity in [1 << 20, 24 << 20, 32 << 20, 256 << 20] {
        let _ = std::fs::remove_file(&path);
        run_and_kill(name, "fill", &path);
        for too_small in [1 << 20, 8 << 20] {
            assert!(matches!(with(too_small), Err(OpenError::CapacityBelowUse { asked, used })
                if asked == too_small && used >= 16 << 20));
        }
        if capacity >= 24 << 20 {
            let heap = with(capacity).unwrap();
            assert!(is_whole(&heap) && heap.capacity() == capacity);
            let has_room = heap.alloc().allocate(Layout::new::<[u8; 20 << 20]>()).is_ok();
            assert_eq!(has_room, capacity > 32 << 20);
            unmap(heap);
        }
        let heap = open(&path);
        assert!(is_whole(&heap));
        unmap(heap);
    }
}

#[test]
fn a_killed_heap_whose_file_is_too_short_is_refused_and_not_touched() {
    let name = "a_killed_heap_whose_file_is_too_short_is_refused_and_not_touched";
    if let Some((_, path)) = process::role() {
        let heap = open(&path);
        heap.with_session(|tx| tx.set_root(NUMBERS, (0..1 << 20).collect())).unwrap();
        heap.sync_with(SyncLevel::Full).unwrap();
        heap.with_root_mut(NUMBERS, |numbers| numbers[0] = 5).unwrap();
        heap.sync().unwrap();
        return wait_for_the_kill();
    }
    let _alone = alone();
    let (_directory, path) = fresh_path();
    run_and_kill(name, "fill", &path);
    let whole = path.with_extension("whole");
    bytes::copy(&path, &whole);
    let len = std::fs::metadata(&path).unwrap().len();
    let log = bytes::hash(&log_of(&path));
    for cut in [4096, 1 << 20, 8 << 20] {
        bytes::writable(&path).set_len(len - cut).unwrap();
        let before = bytes::hash(&path);
        for read_only in [false, true] {
            let refused = open_with(&HeapOptions::new().read_only(read_only), &path);
            assert!(matches!(refused, Err(OpenError::Truncated { expected, found })
                if found == len - cut && expected <= len && expected > found));
        }
        assert!(bytes::hash(&path) == before && bytes::hash(&log_of(&path)) == log);
    }
    bytes::copy(&whole, &path);
    let heap = open(&path);
    let read = heap.read().unwrap();
    assert!(read.root(NUMBERS).unwrap()[1..].iter().copied().eq(1..1 << 20));
    assert_eq!(read.root(NUMBERS).unwrap()[0], 5);
    drop(read);
    unmap(heap);
}

#[test]
fn roots_are_counted_exactly_after_kills() {
    let name = "roots_are_counted_exactly_after_kills";
    const CLASS: Root<SalString> = Root::class(0xC1A55);
    if let Some((role, path)) = process::role() {
        let heap = open(&path);
        let generation: u64 = role.parse().unwrap();
        heap.with_session(|tx| {
            for number in 0..50 {
                tx.add_root(CLASS, SalString::from(format!("{generation} {number}").as_str()))?;
            }
            for _ in 0..20 {
                tx.take_root(CLASS)?;
            }
            tx.set_root(NUMBERS, [generation].into_iter().collect())?;
            Ok(())
        })
        .unwrap();
        heap.sync().unwrap();
        // Nobody will know of these.
        heap.with_session(|tx| {
            tx.take_root(NUMBERS)?;
            for _ in 0..25 {
                tx.take_root(CLASS)?;
                tx.add_root(WORDS, SalHashMap::new())?;
            }
            Ok(())
        })
        .unwrap();
        return wait_for_the_kill();
    }
    let _alone = alone();
    let (_directory, path) = fresh_path();
    for generation in 0..4 {
        run_and_kill(name, &generation.to_string(), &path);
        let heap = open_with(&HeapOptions::new().read_only(true), &path).unwrap();
        let read = heap.read().unwrap();
        let roots = read.roots().unwrap();
        let of_class = roots.iter().filter(|root| root.tag == Tag::Class(0xC1A55)).count() as u64;
        assert_eq!((roots.len() as u64, of_class), (30 * (generation + 1) + 1, 30 * (generation + 1)));
        assert_eq!(read.root(NUMBERS).unwrap()[..], [generation]);
        drop(read);
        unmap(heap);
    }
}

/// A list that is as deep as it is long.
#[derive(Persist)]
#[repr(C)]
struct Node {
    number: u64,
    /// One or none.
    next: SalVec<Node>,
}

const LIST: Root<SalVec<Node>> = Root::new("list");
const WIDE: Root<SalVec<SalBox<u64, SalAlloc>>> = Root::new("wide");

#[test]
fn a_graph_a_million_deep_and_two_million_wide_is_recovered_and_dropped() {
    let name = "a_graph_a_million_deep_and_two_million_wide_is_recovered_and_dropped";
    const DEEP: u64 = 1_000_000;
    const BROAD: u64 = 2_000_000;
    if let Some((_, path)) = process::role() {
        let heap = open(&path);
        let handle = heap.alloc();
        let tx = heap.write().unwrap();
        let list = tx.root_or_default(LIST).unwrap();
        for number in 0..DEEP {
            let next = std::mem::take(list);
            list.push(Node { number, next });
        }
        let wide = tx.root_or_default(WIDE).unwrap();
        wide.extend((0..BROAD).map(|number| SalBox::new_in(number, handle)));
        tx.sync().unwrap();
        return wait_for_the_kill();
    }
    let _alone = alone();
    let (_directory, path) = fresh_path();
    run_and_kill(name, "build", &path);
    let heap = open(&path);
    let tx = heap.write().unwrap();
    let wide = tx.root_mut(WIDE).unwrap();
    assert!(wide.iter().map(|number| **number).eq(0..BROAD));
    drop(std::mem::take(wide));
    let mut list = std::mem::take(tx.root_mut(LIST).unwrap());
    for number in (0..DEEP).rev() {
        let node = list.pop().unwrap();
        assert_eq!(node.number, number);
        list = node.next;
    }
    assert!(list.is_empty());
    drop(tx);
    let live = heap.stats().live_bytes;
    // Blocks of the slabs that were begun count as taken until marking has found that nobody has them.
    assert!(live < 1 << 20, "{live} bytes are left");
    unmap(heap);
}

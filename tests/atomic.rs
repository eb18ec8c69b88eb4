//! Atomic heaps: what a sync has made durable is there again, whatever became of the process, and nothing else is.
#![allow(unsafe_code)]

mod support;

use sal::prelude::*;
use sal::{DirtyTracking, HeapOptions, Mode, OpenError, Recovery};
use std::path::Path;
use support::heaps::{log_of, open_with, run_and_kill, unmap};
use support::{Random, alone, fresh_path, process};

const NUMBERS: Root<SalVec<u64>> = Root::new("numbers");
const WORDS: Root<SalHashMap<u64, SalString>> = Root::new("words");

fn open(path: &Path) -> Result<Heap, OpenError> {
    open_with(&HeapOptions::new(), path)
}

#[test]
fn a_new_heap_file_is_atomic_and_closed_it_is_one_file() {
    let _alone = alone();
    let (directory, path) = fresh_path();
    let heap = open(&path).unwrap();
    assert_eq!(heap.mode(), Mode::Atomic);
    let tx = heap.write().unwrap();
    tx.root_or_default(NUMBERS).unwrap().extend(0..1000);
    let first = tx.sync().unwrap();
    let tx = heap.write().unwrap();
    tx.root_mut(NUMBERS).unwrap().push(1000);
    assert_eq!(tx.sync().unwrap(), first + 1);
    assert_eq!(heap.sync().unwrap(), first + 1, "nothing was written");
    assert!(log_of(&path).exists());
    unmap(heap);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    let heap = open(&path).unwrap();
    assert!(heap.read().unwrap().root(NUMBERS).unwrap().iter().copied().eq(0..=1000));
    unmap(heap);
}

#[test]
fn a_killed_process_leaves_exactly_its_last_sync() {
    let name = "a_killed_process_leaves_exactly_its_last_sync";
    if let Some((role, path)) = process::role() {
        let mut options = HeapOptions::new();
        if role == "compare" {
            options = options.dirty_tracking(DirtyTracking::Compare);
        }
        let heap = open_with(&options, &path).unwrap();
        let mut random = Random(7);
        for round in 0..20_u64 {
            let tx = heap.write().unwrap();
            let words = tx.root_or_default(WORDS).unwrap();
            for _ in 0..500 {
                let key = random.next() % 3000;
                if random.below(3) == 0 {
                    words.remove(&key);
                } else {
                    words.insert(key, SalString::from(format!("{key} in round {round}").as_str()));
                }
            }
            tx.root_or_default(NUMBERS).unwrap().push(round);
            if round == 19 {
                drop(tx);
                process::say("done");
                process::hear();
            } else {
                tx.sync().unwrap();
            }
        }
        return;
    }
    let _alone = alone();
    for role in ["protect", "compare"] {
        let (_directory, path) = fresh_path();
        run_and_kill(name, role, &path);
        let mut model = std::collections::HashMap::new();
        let mut random = Random(7);
        for round in 0..19 {
            for _ in 0..500 {
                let key = random.next() % 3000;
                if random.below(3) == 0 {
                    model.remove(&key);
                } else {
                    model.insert(key, format!("{key} in round {round}"));
                }
            }
        }
        for recovery in [Recovery::Eager, Recovery::Background] {
            let heap = open_with(&HeapOptions::new().recovery(recovery), &path).unwrap();
            let read = heap.read().unwrap();
            assert!(read.root(NUMBERS).unwrap().iter().copied().eq(0..19), "{role}");
            let words = read.root(WORDS).unwrap();
            assert_eq!(words.len(), model.len());
            assert!(words.iter().all(|(key, word)| model.get(key).is_some_and(|other| word.as_str() == other)));
            drop(read);
            unmap(heap);
        }
    }
}

#[test]
fn what_no_sync_has_seen_is_committed_by_closing_and_dropped_by_discarding() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    let heap = open(&path).unwrap();
    heap.with_session(|tx| tx.set_root(NUMBERS, (0..10).collect())).unwrap();
    unmap(heap);
    let heap = open_with(&HeapOptions::new().discard(true), &path).unwrap();
    assert_eq!(heap.read().unwrap().root(NUMBERS).unwrap().len(), 10);
    heap.with_root_mut(NUMBERS, |numbers| numbers.push(10)).unwrap();
    heap.sync().unwrap();
    heap.with_root_mut(NUMBERS, |numbers| numbers.clear()).unwrap();
    unmap(heap);
    let heap = open(&path).unwrap();
    assert_eq!(heap.read().unwrap().root(NUMBERS).unwrap().len(), 11);
    unmap(heap);
}

#[test]
fn an_unclean_heap_without_its_log_or_with_a_foreign_one_is_refused() {
    let name = "an_unclean_heap_without_its_log_or_with_a_foreign_one_is_refused";
    if let Some((_, path)) = process::role() {
        let heap = open(&path).unwrap();
        heap.with_session(|tx| tx.set_root(NUMBERS, (0..10).collect())).unwrap();
        heap.sync().unwrap();
        process::say("done");
        process::hear();
        return;
    }
    let _alone = alone();
    let (_directory, path) = fresh_path();
    let (_other_directory, other) = fresh_path();
    for path in [&path, &other] {
        run_and_kill(name, "writer", path);
    }
    let kept = path.with_file_name("kept");
    std::fs::rename(log_of(&path), &kept).unwrap();
    assert!(matches!(open(&path), Err(OpenError::LogMissing)));
    std::fs::copy(log_of(&other), log_of(&path)).unwrap();
    assert!(matches!(open(&path), Err(OpenError::ForeignLog)));
    std::fs::rename(&kept, log_of(&path)).unwrap();
    let heap = open(&path).unwrap();
    assert_eq!(heap.read().unwrap().root(NUMBERS).unwrap().len(), 10);
    unmap(heap);
}
#[test]
fn memory_that_a_crash_left_unreachable_is_given_back() {
    let name = "memory_that_a_crash_left_unreachable_is_given_back";
    if let Some((_, path)) = process::role() {
        let heap = open(&path).unwrap();
        let handle = heap.alloc();
        heap.with_session(|tx| tx.set_root(NUMBERS, (0..10_000).collect())).unwrap();
        // Reachable from this stack only, when the commit is made.
        let lost: Vec<_> = (0..2000_u64).map(|n| allocator_api2::boxed::Box::new_in([n; 16], handle)).collect();
        let large = allocator_api2::vec![in handle; 7_u8; 5 << 20];
        heap.sync().unwrap();
        process::say("done");
        process::hear();
        drop((lost, large));
        return;
    }
    let _alone = alone();
    for recovery in [Recovery::Eager, Recovery::Background] {
        let (_directory, path) = fresh_path();
        run_and_kill(name, "writer", &path);
        let heap = open_with(&HeapOptions::new().recovery(recovery), &path).unwrap();
        let report = heap.wait_for_recovery().unwrap();
        assert!(report.collected.reclaimed_bytes >= 2000 * 128 + (5 << 20), "{report:?}");
        let stats = heap.stats();
        assert_eq!(stats.large_objects, 0, "{recovery:?}");
        assert!(stats.live_bytes < 200_000, "{stats}");
        assert!(heap.read().unwrap().root(NUMBERS).unwrap().iter().copied().eq(0..10_000));
        unmap(heap);
    }
}

#[test]
fn a_purge_gives_back_what_the_last_commit_does_not_hold_and_no_more() {
    use allocator_api2::alloc::Allocator;
    use std::alloc::Layout;
    let _alone = alone();
    let (_directory, path) = fresh_path();
    let heap = open(&path).unwrap();
    let layouts = [40, 3000, 70_000, 900_000].map(|size| Layout::from_size_align(size, 8).unwrap());
    let fill = |byte: u8| -> Vec<_> {
        let layouts = layouts.iter().flat_map(|&layout| (0..(10 << 20) / layout.size()).map(move |_| layout));
        let blocks = layouts.map(|layout| (heap.alloc().allocate(layout).unwrap().cast::<u8>(), layout));
        // SAFETY: a new block of that size.
        blocks.inspect(|&(block, layout)| unsafe { block.write_bytes(byte, layout.size()) }).collect()
    };
    let free = |blocks: Vec<(std::ptr::NonNull<u8>, Layout)>| {
        for (block, layout) in blocks {
            // SAFETY: allocated with that layout, freed once.
            unsafe { heap.alloc().deallocate(block, layout) };
        }
    };
    free(fill(1));
    assert!(heap.purge() > 30 << 20, "no commit has seen these blocks");
    let blocks = fill(2);
    heap.sync().unwrap();
    let peak = support::bytes::disk(&path);
    assert!(peak > 40 << 20);
    free(blocks);
    assert_eq!(heap.purge(), 0, "the last commit holds them");
    heap.sync().unwrap();
    assert!(heap.purge() > 30 << 20);
    assert!(support::bytes::disk(&path) < peak / 5, "{} of {peak}", support::bytes::disk(&path));
    // What was given back reads as zeros, in memory and in the next commits.
    let zeroed = heap.alloc().allocate_zeroed(Layout::from_size_align(20 << 20, 8).unwrap()).unwrap();
    // SAFETY: a new block of that size.
    assert!(unsafe { zeroed.as_ref() }.iter().all(|&byte| byte == 0));
    heap.with_session(|tx| tx.set_root(NUMBERS, (0..100_000).collect())).unwrap();
    heap.sync().unwrap();
    unmap(heap);
    let heap = open(&path).unwrap();
    assert!(heap.read().unwrap().root(NUMBERS).unwrap().iter().copied().eq(0..100_000));
    unmap(heap);
}

//! Everything that looks through a whole heap, on heaps that hold next to nothing: of every mode, new, opened again, opened
//! for reading only and left behind by a killed process.
#![allow(unsafe_code)]

mod support;

use allocator_api2::alloc::Allocator;
use sal::prelude::*;
use sal::{Archaeology, HeapOptions, Mode, Recovery, SalCollect};
use std::alloc::Layout;
use std::ops::ControlFlow;
use std::path::Path;
use support::heaps::{opened, run_and_kill, unmap};
use support::{alone, fresh_path, process};

const NUMBER: Root<u64> = Root::new("number");
const NUMBERS: Root<SalVec<u64>> = Root::new("numbers");
const WORDS: Root<SalVec<SalString>> = Root::new("words");
const LARGE: usize = 1 << 20;

/// What was done to a heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Untouched,
    OnlyLookedAt,
    Synced,
    /// Nothing leads to its only block.
    OneLostBlock,
    OneLostLargeObject,
    OneNumber,
    OneNumberForgotten,
    OneEmptyVector,
    OneLargeVector,
    /// Blocks of several sizes and their roots, all given back.
    AllFreed,
}

use State::*;
const STATES: [State; 10] = [
    Untouched,
    OnlyLookedAt,
    Synced,
    OneLostBlock,
    OneLostLargeObject,
    OneNumber,
    OneNumberForgotten,
    OneEmptyVector,
    OneLargeVector,
    AllFreed,
];

impl State {
    fn lost(self) -> u64 {
        u64::from(matches!(self, OneLostBlock | OneLostLargeObject))
    }

    fn roots(self) -> usize {
        usize::from(matches!(self, OneNumber | OneEmptyVector | OneLargeVector))
    }

    fn bring_about(self, heap: &Heap) {
        let lose = |bytes| {
            // It is never written to either.
            heap.alloc().allocate(Layout::from_size_align(bytes, 8).unwrap()).unwrap();
        };
        match self {
            Untouched => {}
            OnlyLookedAt => {
                assert!(heap.read().unwrap().root(NUMBER).is_err());
                assert!(heap.write().unwrap().take_root(NUMBERS).is_err());
            }
            Synced => {
                let _ = heap.sync();
            }
            OneLostBlock => lose(40),
            OneLostLargeObject => lose(LARGE),
            OneNumber => drop(heap.set_root(NUMBER, 42).unwrap()),
            OneNumberForgotten => {
                heap.set_root(NUMBER, 42).unwrap();
                heap.write().unwrap().take_root(NUMBER).unwrap();
            }
            OneEmptyVector => drop(heap.write().unwrap().root_or_default(NUMBERS).unwrap()),
            OneLargeVector => heap.write().unwrap().root_or_default(NUMBERS).unwrap().resize(LARGE / 8, 7),
            AllFreed => {
                let tx = heap.write().unwrap();
                tx.root_or_default(NUMBERS).unwrap().resize(LARGE, 7);
                let words = tx.root_or_default(WORDS).unwrap();
                words.extend((0..3000).map(|at| SalString::from("x".repeat(at % 200).as_str())));
                drop(tx);
                let tx = heap.write().unwrap();
                drop((tx.take_root(NUMBERS).unwrap(), tx.take_root(WORDS).unwrap()));
            }
        }
    }
}

/// Looks through a heap in all ways that there are; `lost` blocks have been forgotten. With `frees`, gives them back.
fn look_through(heap: &Heap, what: &str, [roots, lost]: [u64; 2], frees: bool) {
    heap.wait_for_recovery();
    assert!(heap.recovery_progress().is_none() || heap.wait_for_recovery().is_some(), "{what}");
    let is_good = || {
        let report = heap.verify();
        assert!(report.is_good(), "{what}: {report}");
        assert_eq!(report.roots, roots, "{what}");
        // SAFETY: no other thread uses the heap.
        let report = unsafe { heap.verify_quiet() };
        assert!(report.is_good(), "{what}: {report}");
    };
    is_good();
    assert_eq!(heap.read().unwrap().roots().unwrap().len() as u64, roots, "{what}");
    let stats = heap.stats();
    assert!(stats.live_bytes <= stats.used && stats.used <= stats.committed, "{what}: {stats}");
    let of_handle = heap.alloc().stats().unwrap();
    assert_eq!(
        (of_handle.used, of_handle.live_bytes, of_handle.classes),
        (stats.used, stats.live_bytes, stats.classes)
    );
    assert!(heap.scrub(|_| ControlFlow::Continue(())).is_good(), "{what}");

    // SAFETY: as above.
    let leaks = unsafe { heap.leak_report() }.unwrap();
    assert_eq!((leaks.blocks, leaks.largest.len() as u64), (lost, lost), "{what}: {leaks}");
    // SAFETY: as above.
    let objects: Vec<_> = unsafe { heap.objects() }.unwrap().collect();
    assert!(objects.len() as u64 >= lost, "{what}");
    for block in &objects {
        let found = heap.locate(block.start + block.len - 1).unwrap();
        assert_eq!((found.start, found.len, found.is_large), (block.start, block.len, block.is_large), "{what}");
    }
    let range = heap.address_range();
    let addresses =
        [0, 1, range.start - 1, range.start, range.end - 1, range.end, usize::MAX, &raw const range as usize];
    for address in addresses.into_iter().chain(range.clone().step_by((range.len() / 1000).next_multiple_of(4096))) {
        let Some(block) = heap.locate(address) else { continue };
        assert!(block.start <= address && address < block.start + block.len, "{what}");
    }

    // SAFETY: as above, and nothing but roots holds anything.
    let collected = unsafe { heap.collect() };
    if !frees {
        assert!(collected.is_err(), "{what}");
        assert_eq!(heap.purge(), 0, "{what}");
        return;
    }
    let collected = collected.unwrap();
    assert_eq!(collected.reclaimed_blocks, lost, "{what}: {collected}");
    assert_eq!(collected.marked_blocks, objects.len() as u64 - lost, "{what}: {collected}");
    heap.purge();
    is_good();
    // SAFETY: as above.
    assert_eq!(unsafe { heap.leak_report() }.unwrap().blocks, 0, "{what}");
    // SAFETY: as above.
    assert_eq!(unsafe { heap.collect() }.unwrap().reclaimed_blocks, 0, "{what}");
    let _ = heap.sync();
    is_good();
}

/// Looks through the file of a heap that nobody has open, and through a snapshot of it if there can be one.
fn look_through_file(path: &Path, what: &str, [roots, lost]: [u64; 2]) {
    let found = Archaeology::open(path).unwrap();
    let report = found.verify();
    assert!(report.is_good(), "{what}: {report}");
    assert!(found.scrub(|_| ControlFlow::Continue(())).is_good(), "{what}");
    assert_eq!(found.roots().len() as u64, roots, "{what}");
    let blocks = found.blocks().count() as u64;
    if found.knows_free_blocks() {
        assert_eq!(found.orphans().unwrap().len() as u64, lost, "{what}");
        assert!(blocks >= lost, "{what}");
    } else {
        found.orphans().unwrap();
    }
    assert!(found.block_at(0).is_none() && found.block_at(u64::MAX).is_none(), "{what}");
    assert!(found.missing_pages().is_empty(), "{what}");
}

#[test]
fn heaps_that_end_with_the_process_can_be_looked_through() {
    let _alone = alone();
    let (directory, path) = fresh_path();
    for options in [HeapOptions::new().capacity(1 << 30), HeapOptions::new().temporary_in(directory.path())] {
        for state in STATES {
            let heap = options.volatile().unwrap();
            let what = format!("{state:?} of {options:?}");
            println!("{what}");
            state.bring_about(&heap);
            assert!(heap.snapshot_to(&path).is_err() && !path.exists(), "{what}");
            look_through(&heap, &what, [state.roots() as u64, state.lost()], true);
            unmap(heap);
        }
    }
}

#[test]
fn heap_files_can_be_looked_through() {
    let _alone = alone();
    for mode in [Mode::Shared, Mode::Atomic] {
        for discard in [false, true] {
            for state in STATES {
                let what = format!("{state:?} {mode:?} discard={discard}");
                println!("{what}");
                let options = HeapOptions::new().mode(mode).discard(discard);
                let (directory, path) = fresh_path();
                let copy = directory.path().join("copy.sal");
                let counts = [state.roots() as u64, state.lost()];
                let heap = opened(&options, &path);
                state.bring_about(&heap);
                let snapshot = heap.snapshot_to(&copy);
                assert_eq!(snapshot.is_ok(), mode == Mode::Atomic, "{what}: {snapshot:?}");
                unmap(heap);
                // Nothing was synced.
                let is_dropped = discard && mode == Mode::Atomic;
                let counts = if is_dropped { [0, 0] } else { counts };
                look_through_file(&path, &what, counts);
                let heap = opened(&options.clone().read_only(true), &path);
                look_through(&heap, &format!("{what}, read only"), counts, false);
                unmap(heap);
                let heap = opened(&options, &path);
                look_through(&heap, &format!("{what}, again"), counts, true);
                unmap(heap);
                look_through_file(&path, &format!("{what}, collected"), [counts[0], 0]);
                if mode == Mode::Atomic {
                    let what = format!("{what}, snapshot");
                    look_through_file(&copy, &what, [0, 0]);
                    let heap = opened(&options, &copy);
                    look_through(&heap, &what, [0, 0], true);
                    unmap(heap);
                }
            }
        }
    }
}

#[test]
fn heaps_of_killed_processes_can_be_looked_through_and_recovered() {
    let name = "heaps_of_killed_processes_can_be_looked_through_and_recovered";
    if let Some((role, path)) = process::role() {
        let (synced, state) = role.split_once(' ').unwrap();
        let state = STATES[state.parse::<usize>().unwrap()];
        let heap = opened(&HeapOptions::new(), &path);
        state.bring_about(&heap);
        if synced == "synced" {
            heap.sync().unwrap();
        }
        process::say("done");
        process::hear();
        return;
    }
    let _alone = alone();
    for (index, state) in STATES.into_iter().enumerate() {
        for synced in ["synced", "lost"] {
            let (_directory, path) = fresh_path();
            run_and_kill(name, &format!("{synced} {index}"), &path);
            let [roots, lost] = if synced == "synced" { [state.roots() as u64, state.lost()] } else { [0, 0] };
            let what = format!("{state:?} {synced}");
            println!("{what}");
            look_through_file(&path, &what, [roots, lost]);
            let heap = opened(&HeapOptions::new().read_only(true), &path);
            assert!(heap.verify().is_good(), "{what}");
            // SAFETY: no other thread uses the heap.
            let leaks = unsafe { heap.leak_report() }.unwrap();
            // SAFETY: as above.
            assert!(unsafe { heap.objects() }.unwrap().count() as u64 >= leaks.blocks, "{what}");
            assert!(heap.scrub(|_| ControlFlow::Continue(())).is_good(), "{what}");
            unmap(heap);
            for recovery in [Recovery::Eager, Recovery::Background] {
                let heap = opened(&HeapOptions::new().recovery(recovery).discard(true), &path);
                look_through(&heap, &format!("{what} {recovery:?}"), [roots, 0], true);
                unmap(heap);
            }
        }
    }
}

#[test]
fn looking_through_a_heap_needs_no_space_on_a_full_disk() {
    let name = "looking_through_a_heap_needs_no_space_on_a_full_disk";
    if let Some((role, path)) = process::role() {
        let directory = path.parent().unwrap();
        for (index, state) in STATES.into_iter().enumerate() {
            let counts = [state.roots() as u64, state.lost()];
            let what = format!("{state:?} {role}");
            println!("{what}");
            if role == "temporary" {
                let heap = HeapOptions::new().temporary_in(directory).volatile().unwrap();
                state.bring_about(&heap);
                let full = process::fill_disk(directory);
                look_through(&heap, &what, counts, true);
                drop(full);
                unmap(heap);
                continue;
            }
            let path = directory.join(format!("{index}.sal"));
            let options = HeapOptions::new().mode(if role == "shared" { Mode::Shared } else { Mode::Atomic });
            let heap = opened(&options, &path);
            state.bring_about(&heap);
            let full = process::fill_disk(directory);
            look_through(&heap, &what, counts, true);
            drop(full);
            unmap(heap);
            let full = process::fill_disk(directory);
            let counts = [counts[0], 0];
            look_through_file(&path, &what, counts);
            let heap = opened(&options.clone().read_only(true), &path);
            look_through(&heap, &format!("{what}, read only"), counts, false);
            unmap(heap);
            drop(full);
        }
        return;
    }
    let _alone = alone();
    for role in ["temporary", "shared", "atomic"] {
        let (_directory, path) = fresh_path();
        let Some(child) = process::start_on_small_disk(name, role, &path, 64) else { return };
        child.succeed();
    }
}

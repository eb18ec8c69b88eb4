//! What a copy-on-write heap for a database must live through: the scenarios of such an engine's own tests, and the weak spots that were
//! found in one.
//!
//! Some stand elsewhere: alternating writers in `scenarios_atomic.rs` (`alternating_writers_lose_no_commit`); blocks that nobody counts and
//! that recovery could free twice there too; errors of `fdatasync` and of every other call in `crash.rs`
//! (`an_input_output_error_of_any_call_is_reported_and_loses_nothing_that_was_acknowledged`), with disks that tear and forget, and full ones in
//! `atomic_os.rs`; a number of pointers that is too large in `alloc::ref_count`; files that are cut short by others in
//! `scenarios_atomic.rs` and `heap_open.rs`; five thousand commits of one change in `versions.rs`.
#![allow(unsafe_code)]

mod support;

use sal::collections::CowMap;
use sal::prelude::*;
use sal::{HeapOptions, Recovery, RootError, SalArcCell, SalBox, SalCollect, SalWeak};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use support::heaps::{open, opened, run_and_kill, unmap, wait_for_the_kill};
use support::{Random, SetAtEnd, alone, fresh_path, process};

/// A node with two children, as of a tree whose versions share what has not changed.
#[derive(Clone)]
struct Node {
    number: u64,
    left: Option<SalRc<Node>>,
    right: Option<SalRc<Node>>,
}

fn tree(heap: &Heap, depth: u32, number: u64) -> SalRc<Node> {
    let below = |number| (depth > 0).then(|| tree(heap, depth - 1, number));
    let node = Node { number, left: below(2 * number), right: below(2 * number + 1) };
    heap.rc(node)
}

/// Adds one to the numbers on the way that the bits of `path` are.
fn modify(node: &mut SalRc<Node>, path: u64) {
    let node = SalRc::make_mut(node);
    node.number += 1;
    if let Some(child) = if path & 1 == 0 { &mut node.left } else { &mut node.right } {
        modify(child, path >> 1);
    }
}

fn sum(node: &SalRc<Node>) -> u64 {
    node.number + node.left.as_ref().map_or(0, sum) + node.right.as_ref().map_or(0, sum)
}

#[test]
fn modifying_a_shared_tree_copies_the_way_and_retains_what_hangs_on_it() {
    const DEPTH: u32 = 10;
    let heap = HeapOptions::new().volatile().unwrap();
    let mut root = tree(&heap, DEPTH, 1);
    let (whole, nodes) = (sum(&root), heap.stats().live_bytes);
    // Nobody else has it: in place.
    modify(&mut root, 0);
    assert_eq!((heap.stats().live_bytes, sum(&root)), (nodes, whole + 11));
    let version = root.clone();
    modify(&mut root, 0);
    let copied = heap.stats().live_bytes - nodes;
    assert_eq!(copied, nodes / 2047 * 11, "the nodes on the way, and no other");
    // Again: what was copied is this version's own.
    modify(&mut root, 0);
    assert_eq!(heap.stats().live_bytes - nodes, copied);
    assert_eq!((sum(&version), sum(&root)), (whole + 11, whole + 33));
    // The other child of each copied node has two pointers, which the two versions are.
    let shared = root.right.as_ref().unwrap();
    assert!(SalRc::ptr_eq(shared, version.right.as_ref().unwrap()) && SalRc::strong_count(shared) == 2);
    drop(version);
    assert_eq!((heap.stats().live_bytes, SalRc::strong_count(root.right.as_ref().unwrap())), (nodes, 1));
    drop(root);
    assert_eq!(heap.stats().live_bytes, 0);
}

#[test]
fn a_number_of_pointers_that_is_too_large_sticks_and_nothing_throws() {
    struct Dropped<'f>(&'f AtomicBool);
    impl Drop for Dropped<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    static WAS_DROPPED: AtomicBool = AtomicBool::new(false);
    let value = SalRc::new(Dropped(&WAS_DROPPED));
    let weak = SalRc::downgrade(&value);
    // Each counts as 2^17, so that there are more than 2^28.
    let cells: Vec<SalArcCell<_>> = (0..2100).map(|_| SalArcCell::new(value.clone())).collect();
    assert!(cells.iter().all(|cell| SalRc::ptr_eq(&cell.load(), &value)));
    drop(cells);
    let mut others: Vec<_> = (0..1000).map(|_| value.clone()).collect();
    assert!(others.iter_mut().all(|other| SalRc::get_mut(other).is_none()));
    drop((value, others));
    assert!(!WAS_DROPPED.load(Ordering::Relaxed));
    assert!(weak.upgrade().is_some_and(|value| !value.0.load(Ordering::Relaxed)));
}

/// A list whose nodes are shared values.
#[derive(Clone, Persist)]
#[repr(C)]
struct Link {
    number: u64,
    next: Option<SalRc<Link>>,
}

const LIST: Root<Option<SalRc<Link>>> = Root::new("list");
const LONG: u64 = 1_000_000;

fn list_of(heap: &Heap, len: u64) -> Option<SalRc<Link>> {
    (0..len).fold(None, |next, number| Some(heap.rc(Link { number, next })))
}

fn is_list(mut at: Option<&SalRc<Link>>, len: u64) {
    for number in (0..len).rev() {
        let link = at.expect("as long as it was made");
        assert_eq!(link.number, number);
        at = link.next.as_ref();
    }
    assert!(at.is_none());
}

#[test]
fn a_list_of_a_million_shared_nodes_is_collected_and_dropped() {
    let heap = HeapOptions::new().volatile().unwrap();
    heap.set_root(LIST, list_of(&heap, LONG)).unwrap();
    // SAFETY: only the root holds anything in the heap, and no other thread uses it.
    unsafe { heap.collect() }.unwrap();
    is_list(heap.read().unwrap().root(LIST).unwrap().as_ref(), LONG);
    let list = heap.take_root(LIST).unwrap();
    assert!(list.as_ref().is_some_and(|first| SalRc::strong_count(first) == 1));
    drop(list);
    assert_eq!(heap.stats().live_bytes, 0);
}

#[test]
fn a_list_of_a_million_shared_nodes_is_recovered_counted_and_dropped() {
    if let Some((_, path)) = process::role() {
        let heap = open(&path);
        heap.set_root(LIST, list_of(&heap, LONG)).unwrap();
        heap.sync().unwrap();
        return wait_for_the_kill();
    }
    let _alone = alone();
    let (_directory, path) = fresh_path();
    run_and_kill("a_list_of_a_million_shared_nodes_is_recovered_counted_and_dropped", "writer", &path);
    for recovery in [Recovery::Background, Recovery::Eager] {
        let heap = opened(&HeapOptions::new().recovery(recovery), &path);
        is_list(heap.read().unwrap().root(LIST).unwrap().as_ref(), LONG);
        if recovery == Recovery::Eager {
            let list = heap.take_root(LIST).unwrap();
            assert!(list.as_ref().is_some_and(|first| SalRc::strong_count(first) == 1));
            drop(list);
            let live = heap.stats().live_bytes;
            assert!(live < 4096, "{live} bytes are left");
        }
        unmap(heap);
    }
}

const TAGGED: Root<CowMap<u64, SalRc<[u64]>>> = Root::new("tagged");
const KEYS: usize = 2000;

fn tagged(heap: &Heap, key: u64, random: &mut Random) -> SalRc<[u64]> {
    let len = 1 + random.below(60);
    heap.rc_slice(std::iter::repeat_n(key, len))
}

/// Whether all values are whole, and no two lie in the same place.
fn check_tagged(map: &CowMap<u64, SalRc<[u64]>>) {
    map.check().unwrap();
    let mut places = std::collections::HashSet::new();
    for (key, value) in map {
        assert!(!value.is_empty() && value.iter().all(|tag| tag == key), "{key}: {value:?}");
        assert!(places.insert(SalRc::as_ptr(value).addr()), "two values in one place");
    }
}

/// Replaces and removes values, keeps versions of which some go again, and is killed between two syncs.
fn churn_and_wait(path: &Path, seed: u64) {
    let mut random = Random(seed);
    let heap = opened(&HeapOptions::new().recovery(Recovery::Background), path);
    for round in 0..20 {
        heap.with_root_mut(TAGGED, |map| {
            for _ in 0..200 {
                let key = random.below(KEYS) as u64;
                if random.below(3) == 0 {
                    drop(map.remove(&key));
                } else {
                    let value = tagged(&heap, key, &mut random);
                    map.insert(key, value);
                }
            }
        })
        .unwrap();
        heap.keep_version(TAGGED, ["one", "two", "three"][round % 3]).unwrap();
        if round % 4 == 0 {
            heap.sync().unwrap();
        }
    }
    wait_for_the_kill();
}

#[test]
fn recovery_frees_no_shared_value_twice() {
    if let Some((role, path)) = process::role() {
        return churn_and_wait(&path, role.parse().unwrap());
    }
    let _alone = alone();
    let (_directory, path) = fresh_path();
    let heap = open(&path);
    heap.set_root(TAGGED, CowMap::new()).unwrap();
    heap.sync().unwrap();
    unmap(heap);
    for generation in 0..4_u64 {
        run_and_kill("recovery_frees_no_shared_value_twice", &format!("{}", 77 + generation), &path);
        let heap = opened(&HeapOptions::new().recovery(Recovery::Background), &path);
        let mut random = Random(generation);
        // Dropped while pointers are counted, and once more made where something is free.
        heap.with_root_mut(TAGGED, |map| {
            for key in (0..KEYS as u64).step_by(3) {
                drop(map.remove(&key));
                map.insert(key, tagged(&heap, key, &mut random));
            }
        })
        .unwrap();
        heap.drop_version(TAGGED, "two").unwrap();
        heap.wait_for_recovery().unwrap();
        let more: Vec<_> = (0..5000).map(|_| tagged(&heap, u64::MAX, &mut random)).collect();
        check_tagged(heap.read().unwrap().root(TAGGED).unwrap());
        for version in ["one", "three"] {
            check_tagged(&heap.open_version(TAGGED, version).unwrap());
        }
        assert!(more.iter().all(|value| value.iter().all(|&tag| tag == u64::MAX)));
        drop(more);
        assert!(heap.verify().is_good());
        heap.sync().unwrap();
        unmap(heap);
    }
    let heap = opened(&HeapOptions::new().recovery(Recovery::Eager), &path);
    for version in ["one", "three"] {
        heap.drop_version(TAGGED, version).unwrap();
    }
    drop(heap.take_root(TAGGED).unwrap());
    let live = heap.stats().live_bytes;
    assert!(live < 4096, "{live} bytes are left");
    unmap(heap);
}

const SLICES: Root<SalVec<SalRc<[u64]>>> = Root::new("slices");

fn disk_bytes(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().blocks() * 512
}

#[test]
fn freed_space_is_used_again_and_then_given_back_to_the_disk() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    let heap = open(&path);
    let slices = |len: u64| (0..len).map(|n| heap.rc_slice(std::iter::repeat_n(n, 1000))).collect::<Vec<_>>();
    heap.set_root(SLICES, SalVec::new()).unwrap();
    heap.with_root_mut(SLICES, |all| all.extend(slices(2000))).unwrap();
    heap.sync().unwrap();
    let used = heap.stats().used;
    for _ in 0..10 {
        // As many go as come.
        heap.with_root_mut(SLICES, |all| {
            all.truncate(1000);
            all.extend(slices(1000));
        })
        .unwrap();
        heap.sync().unwrap();
    }
    assert!(heap.stats().used < used + used / 4, "{} after {used}", heap.stats().used);
    heap.with_root_mut(SLICES, |all| {
        all.truncate(20);
        all.shrink_to_fit();
    })
    .unwrap();
    heap.sync().unwrap();
    heap.purge_idle();
    unmap(heap);
    let (len, disk) = (std::fs::metadata(&path).unwrap().len(), disk_bytes(&path));
    assert!(used > 16_000_000 && disk < used / 3, "{disk} of {used} bytes on disk, in a file of {len}");
    // The tail is cut off, and the heap opens again, and grows.
    let heap = open(&path);
    assert!(heap.read().unwrap().root(SLICES).unwrap().iter().zip(0..).all(|(slice, n)| **slice == [n; 1000]));
    heap.with_root_mut(SLICES, |all| all.extend((20..2000).map(|n| heap.rc_slice(std::iter::repeat_n(n, 1000)))))
        .unwrap();
    unmap(heap);
    assert!(std::fs::metadata(&path).unwrap().len() > len, "it was cut when it was closed with less in it");
    let heap = open(&path);
    assert_eq!(heap.read().unwrap().root(SLICES).unwrap().len(), 2000);
    assert!(heap.read().unwrap().root(SLICES).unwrap().iter().zip(0..).all(|(slice, n)| **slice == [n; 1000]));
    unmap(heap);
}

const WRITERS: u64 = 4;

fn of_writer(writer: u64) -> Root<CowMap<u64, SalRc<str>>> {
    Root::class(100 + writer)
}

#[test]
fn writers_with_their_own_roots_go_on_beside_readers_of_old_versions() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    let heap = open(&path);
    for writer in 0..WRITERS {
        heap.set_root(of_writer(writer), CowMap::new()).unwrap();
        heap.with_root_mut(of_writer(writer), |map| drop(map.insert(0_u64, heap.rc_str("0")))).unwrap();
        heap.keep_version(of_writer(writer), "begin").unwrap();
    }
    let is_done = AtomicBool::new(false);
    std::thread::scope(|threads| {
        let _done = SetAtEnd(&is_done);
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let heap = &heap;
                threads.spawn(move || {
                    for round in 1..=300_u64 {
                        heap.with_root_mut(of_writer(writer), |map| {
                            // One number in all of its entries: a version is whole or it is none.
                            for key in 0..8 {
                                map.insert(key, heap.rc_str(&format!("{round}")));
                            }
                        })
                        .unwrap();
                        // The one before is replaced when nobody is just looking it up.
                        while let Err(error) = heap.keep_version(of_writer(writer), "last") {
                            assert!(matches!(error, RootError::RootBusy { .. }), "{error}");
                        }
                        if round % 50 == 0 {
                            heap.sync().unwrap();
                        }
                    }
                })
            })
            .collect();
        for _ in 0..2 {
            threads.spawn(|| {
                let mut seen = [0; WRITERS as usize];
                while !is_done.load(Ordering::Relaxed) {
                    for writer in 0..WRITERS {
                        let Ok(begin) = heap.open_version(of_writer(writer), "begin") else { continue };
                        assert!(begin.len() == 1 && *begin[&0] == *"0");
                        let Ok(last) = heap.open_version(of_writer(writer), "last") else { continue };
                        let round: u64 = last[&0].parse().unwrap();
                        assert!(last.len() == 8 && last.values().all(|text| text.parse() == Ok(round)));
                        assert!(seen[writer as usize] <= round, "a version older than one that was seen");
                        seen[writer as usize] = round;
                    }
                }
            });
        }
        writers.into_iter().for_each(|writer| writer.join().unwrap());
    });
    unmap(heap);
    let heap = open(&path);
    for writer in 0..WRITERS {
        let session = heap.read().unwrap();
        let map = session.root(of_writer(writer)).unwrap();
        assert!(map.len() == 8 && map.values().all(|text| **text == *"300"));
    }
    unmap(heap);
}

/// More than the numbers that tell copies of one object apart in engines that have sixteen bits for that.
const MANY: u64 = 70_000;

const VALUE: Root<SalRc<[u64; 4]>> = Root::new("value");

#[test]
fn a_stale_copy_never_wins_however_many_have_been_made() {
    if let Some((_, path)) = process::role() {
        let heap = open(&path);
        heap.set_root(VALUE, heap.rc([0; 4])).unwrap();
        heap.sync().unwrap();
        for number in 1..=MANY {
            let tx = heap.write().unwrap();
            let value = tx.root_mut(VALUE).unwrap();
            // The one before is there until the new one is, so each is a copy at another place.
            let before = value.clone();
            SalRc::make_mut(value).fill(number);
            assert_eq!(before[0], number - 1);
            drop((before, tx));
            if number % 10_000 == 0 {
                heap.sync().unwrap();
            }
        }
        return wait_for_the_kill();
    }
    let _alone = alone();
    let (_directory, path) = fresh_path();
    run_and_kill("a_stale_copy_never_wins_however_many_have_been_made", "writer", &path);
    let heap = opened(&HeapOptions::new().recovery(Recovery::Eager), &path);
    let value = heap.take_root(VALUE).unwrap();
    assert_eq!((*value, SalRc::strong_count(&value)), ([MANY; 4], 1));
    drop(value);
    unmap(heap);
}

#[test]
fn a_weak_pointer_never_comes_back_as_what_was_made_in_its_place() {
    let heap = HeapOptions::new().volatile().unwrap();
    let value = heap.rc([u64::MAX; 4]);
    let (weak, place): (SalWeak<[u64; 4]>, _) = (SalRc::downgrade(&value), SalRc::as_ptr(&value));
    let cell = SalArcCell::new(heap.rc([0; 4]));
    let stale = cell.load();
    drop(value);
    for number in 1..=MANY {
        let new = heap.rc([number; 4]);
        assert!(SalRc::as_ptr(&new) != place && weak.upgrade().is_none());
        cell.store(new);
        assert!(cell.compare_exchange(&stale, heap.rc([0; 4])).is_err(), "{number}: what is held is not there again");
    }
    assert_eq!((stale[0], cell.load()[0]), (0, MANY));
    let boxed: SalBox<[u64; 4]> = heap.boxed([1; 4]);
    drop((weak, stale, cell, boxed));
    assert_eq!(heap.stats().live_bytes, 0);
}

//! Memory that holds only sealed values is read-only: what faults, what goes on as before, and what becomes of freed blocks.
#![allow(unsafe_code)]

mod support;

use sal::collections::{CowHashMap, CowMap, CowVec};
use sal::prelude::*;
use sal::{DirtyTracking, HeapOptions, Mode, Recovery, SalBox, SalCollect, SealPolicy, SealStats, SyncLevel};
use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use support::heaps::{opened, run_and_kill, unmap, wait_for_the_kill};
use support::process::{self, role, say};
use support::{Random, SetAtEnd, alone, fresh_path};

/// Bytes of what is made read-only as a whole.
const SEGMENT: u64 = 2 << 20;

type Node = [u64; 32];

const NODES: Root<SalVec<SalRc<Node>>> = Root::new("nodes");
const MAP: Root<CowMap<u64, [u64; 4]>> = Root::new("map");

fn options() -> HeapOptions {
    HeapOptions::new().capacity(256 << 20).seal_policy(SealPolicy::Mprotect)
}

fn volatile() -> Heap {
    options().volatile().unwrap()
}

fn of_mode(mode: Mode, path: &Path) -> Heap {
    if mode == Mode::Volatile { volatile() } else { opened(&options().mode(mode).recovery(Recovery::Eager), path) }
}

fn node(n: u64) -> Node {
    std::array::from_fn(|at| n * 1000 + at as u64)
}

fn nodes(heap: &Heap, count: u64) -> Vec<SalRc<Node>> {
    (0..count).map(|n| heap.rc(node(n))).collect()
}

fn large(heap: &Heap, len: usize) -> SalRc<[u8]> {
    SalRc::try_from_slice_in(&vec![7; len], heap.alloc()).unwrap()
}

fn seal(heap: &Heap) -> SealStats {
    heap.sync_with(SyncLevel::Seal).unwrap();
    seals(heap)
}

fn seals(heap: &Heap) -> SealStats {
    heap.stats().seals.unwrap()
}

/// Nodes that fill some segments, and parts of others.
const MANY: u64 = 40_000;

/// Writes as a wild pointer would.
fn scribble<T>(value: *const T) {
    // SAFETY: not at all, if the memory is writable: nobody looks at the value afterwards.
    unsafe { value.cast_mut().cast::<u8>().write_volatile(1) };
}

/// The lines of the process's mappings that lie in a heap.
fn mappings_of(heap: &Heap) -> usize {
    let window = heap.address_range();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let starts = maps.lines().map(|line| usize::from_str_radix(line.split('-').next().unwrap(), 16).unwrap());
    starts.filter(|start| window.contains(start)).count()
}

#[test]
fn a_stray_write_to_a_sealed_value_ends_the_process() {
    const TEST: &str = "a_stray_write_to_a_sealed_value_ends_the_process";
    let modes = [("Volatile", Mode::Volatile), ("Shared", Mode::Shared), ("Atomic", Mode::Atomic)];
    if let Some((role, path)) = role() {
        let (mode, what) = role.split_once(' ').unwrap();
        let mode = modes.iter().find(|(name, _)| *name == mode).unwrap().1;
        let heap = of_mode(mode, &path);
        let nodes = nodes(&heap, MANY);
        let large = large(&heap, 5 << 20);
        if what != "unsealed" {
            assert!(seal(&heap).protected_bytes >= 4 * SEGMENT);
        }
        say("sealed");
        match what {
            "large" => scribble(&raw const large[3 << 20]),
            _ => scribble(SalRc::as_ptr(&nodes[MANY as usize / 2])),
        }
        say("survived");
        return;
    }
    for (mode, _) in modes {
        for (what, faults) in [("small", true), ("large", true), ("unsealed", false)] {
            let (_directory, path) = fresh_path();
            let (status, said) = process::start(TEST, &format!("{mode} {what}"), &path).end();
            assert!(said.contains("sealed"), "{said}");
            assert_eq!(status.signal() == Some(libc::SIGSEGV), faults, "{mode} {what}: {status} {said}");
            assert_eq!(said.contains("survived"), !faults);
        }
    }
}

#[test]
fn what_shares_its_segment_with_others_stays_writable() {
    let heap = volatile();
    // A few values, and many with a plain block in each segment.
    let few = nodes(&heap, 1000);
    assert_eq!((seal(&heap).protected_bytes, mappings_of(&heap) < 20), (0, true));
    scribble(&raw const *few[500]);
    let mut plain = Vec::new();
    let mut many = Vec::new();
    for n in 0..MANY {
        many.push(heap.rc(node(n)));
        if n % 1000 == 0 {
            plain.push(allocator_api2::boxed::Box::new_in(node(n), heap.alloc()));
        }
    }
    assert_eq!(seal(&heap).protected_bytes, 0);
    plain.iter_mut().for_each(|boxed| boxed[3] = 7);
    assert!(many.iter().zip(0..).all(|(value, n)| **value == node(n)));
    // Freed, they leave holes, which values fill.
    drop(plain);
    many.extend(nodes(&heap, 100));
    let stats = seal(&heap);
    assert!(stats.protected_bytes >= 2 * SEGMENT && stats.ranges >= 1, "{stats}");
    drop((few, many));
    assert_eq!(heap.stats().live_bytes, 0);
}

#[test]
fn plain_blocks_of_other_sizes_are_written_to_beside_sealed_values() {
    let heap = volatile();
    let (mut values, mut plain) = (Vec::new(), Vec::new());
    for round in 0..3 {
        for n in 0..MANY {
            values.push(heap.rc(node(n)));
            if n % 50 == 0 {
                plain.push(allocator_api2::boxed::Box::new_in([n; 100], heap.alloc()));
            }
        }
        seal(&heap);
        plain.iter_mut().for_each(|boxed| boxed[99] += round);
    }
    assert!(plain.iter().all(|boxed| boxed[99] >= boxed[0]));
    assert!(values.iter().zip((0..MANY).cycle()).all(|(value, n)| **value == node(n)));
}

static DROPPING_SEALS: AtomicBool = AtomicBool::new(false);

/// Seals its heap while it is dropped, and then writes to itself.
struct Sealing<'a>(&'a Heap, [u64; 31]);

impl Drop for Sealing<'_> {
    fn drop(&mut self) {
        if DROPPING_SEALS.swap(false, Ordering::Relaxed) {
            seal(self.0);
            self.1.fill(1);
            std::hint::black_box(&self.1);
        }
    }
}

#[test]
fn no_seal_finds_a_value_that_is_being_dropped() {
    // Values borrow nothing.
    let heap: &'static Heap = Box::leak(Box::new(volatile()));
    for is_boxed in [true, false] {
        let value = |n| Sealing(heap, [n; 31]);
        let (mut boxes, mut shared) = (Vec::new(), Vec::new());
        for n in 0..MANY {
            if is_boxed {
                boxes.push(SalBox::new_in(value(n), heap.alloc()));
            } else {
                shared.push(heap.rc(value(n)));
            }
        }
        DROPPING_SEALS.store(true, Ordering::Relaxed);
        let doomed = MANY as usize / 2;
        if is_boxed {
            drop(boxes.swap_remove(doomed));
        } else {
            drop(shared.swap_remove(doomed));
        }
        assert!(!DROPPING_SEALS.load(Ordering::Relaxed) && seals(heap).protected_bytes >= 2 * SEGMENT);
        // The block serves again.
        let again = heap.rc(value(7));
        assert_eq!(again.1[30], 7);
    }
    assert_eq!(heap.stats().live_bytes, 0);
}

#[test]
fn freed_blocks_wait_until_an_eighth_of_their_segment_does_and_then_serve_again() {
    let heap = volatile();
    let mut all = nodes(&heap, MANY);
    let protected = seal(&heap).protected_bytes;
    let live = heap.stats().live_bytes;
    // Changed in turns, as a copy-on-write structure does it: each leaves its old block behind.
    let (mut most_withheld, mut most_protected) = (0, 0);
    for round in 1..40 {
        for (n, value) in all.iter_mut().enumerate().filter(|(n, _)| n % 40 == round) {
            SalRc::make_mut(value)[0] = n as u64;
        }
        let stats = seal(&heap);
        most_withheld = most_withheld.max(stats.withheld_bytes);
        most_protected = most_protected.max(stats.protected_bytes);
        assert!(stats.withheld_bytes <= stats.protected_bytes / 8, "{stats}");
        assert_eq!(heap.stats().live_bytes, live + stats.withheld_bytes);
    }
    assert!(most_withheld > 0 && most_protected >= protected);
    assert!(all.iter().enumerate().all(|(n, value)| n % 40 == 0 || value[0] == n as u64));
    assert!(all.iter().zip(0..).all(|(value, n)| value[1..] == node(n)[1..]));
    drop(all);
    let stats = seals(&heap);
    assert_eq!((heap.stats().live_bytes, stats.withheld_bytes, stats.protected_bytes, stats.ranges), (0, 0, 0, 0));
    assert_eq!(stats.failed_calls, 0);
    // The same memory, filled and sealed again.
    let used = heap.stats().used;
    let all = nodes(&heap, MANY);
    assert!(seal(&heap).protected_bytes >= 2 * SEGMENT);
    assert!(heap.stats().used <= used.max(live + live / 4) + 4 * SEGMENT);
    assert!(all.iter().zip(0..).all(|(value, n)| **value == node(n)));
}

#[test]
fn what_waits_is_had_when_the_heap_is_full() {
    let heap = options().capacity(16 << 20).volatile().unwrap();
    let mut all = Vec::new();
    while let Ok(value) = SalRc::try_new_in(node(all.len() as u64), heap.alloc()) {
        all.push(Some(value));
    }
    assert!(seal(&heap).protected_bytes >= 4 * SEGMENT);
    assert!(SalRc::try_new_in(node(0), heap.alloc()).is_err());
    // Fewer than an eighth.
    let count = all.len();
    let freed = all.iter_mut().step_by(16).map(|value| *value = None).count();
    let waiting = seals(&heap).withheld_bytes;
    assert!(waiting > 0, "{freed} of {count}");
    let again: Vec<_> = std::iter::from_fn(|| SalRc::try_new_in(node(7), heap.alloc()).ok()).collect();
    assert_eq!((again.len(), seals(&heap).withheld_bytes), (freed, 0));
    // Plain blocks get it as well, and large objects.
    seal(&heap);
    all.iter_mut().step_by(32).skip(1).for_each(|value| *value = None);
    all.iter_mut().skip(1).step_by(16).for_each(|value| *value = None);
    assert!(seals(&heap).withheld_bytes > 0);
    let boxed = allocator_api2::boxed::Box::try_new_in(node(1), heap.alloc());
    assert!(boxed.is_ok());
    let live = heap.stats().live_bytes;
    drop((boxed, again));
    assert!(heap.stats().live_bytes < live);
    drop(all);
    assert_eq!(heap.stats().live_bytes, 0);
}

#[test]
fn boxes_move_out_of_read_only_memory_and_values_are_dropped_there() {
    let heap = volatile();
    let mut boxes: Vec<_> = (0..MANY).map(|n| SalBox::new_in((node(n), vec![n; 3]), heap.alloc())).collect();
    assert!(seal(&heap).protected_bytes >= 2 * SEGMENT);
    for (n, boxed) in boxes.iter_mut().enumerate() {
        match n % 4 {
            0 => boxed.0[31] += 1,
            1 => boxed.1.push(7),
            _ => {}
        }
    }
    seal(&heap);
    for (n, boxed) in boxes.into_iter().enumerate() {
        let expected = node(n as u64)[31] + u64::from(n % 4 == 0);
        assert_eq!((boxed.0[31], boxed.1.len()), (expected, 3 + usize::from(n % 4 == 1)));
        if n % 2 == 0 {
            assert_eq!(SalBox::into_inner(boxed).1[0], n as u64);
        }
    }
    let large: Vec<_> = (0..20).map(|_| large(&heap, 700_000)).collect();
    assert!(seal(&heap).protected_bytes >= 4 * SEGMENT);
    assert!(large.iter().all(|value| value[699_999] == 7));
    drop(large);
    assert_eq!((heap.stats().live_bytes, seals(&heap).protected_bytes), (0, 0));
}

#[test]
fn values_are_made_shared_and_dropped_by_any_thread_while_another_seals() {
    let heap = volatile();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let over = SetAtEnd(&is_over);
        let sealer = scope.spawn(|| {
            let mut most = 0;
            while !is_over.load(Ordering::Relaxed) {
                most = most.max(seal(&heap).protected_bytes);
            }
            most
        });
        let workers: Vec<_> = (0..3_u64)
            .map(|worker| {
                let heap = &heap;
                scope.spawn(move || {
                    let mut random = Random(worker);
                    let mut kept = Vec::new();
                    let mut boxes = Vec::new();
                    for n in 0..30_000 {
                        kept.push((n, heap.rc(node(n))));
                        boxes.push(SalBox::new_in(vec![n], heap.alloc()));
                        if kept.len() > 10_000 {
                            let (n, value) = kept.swap_remove(random.below(kept.len()));
                            assert_eq!(*value.clone(), node(n));
                            drop(boxes.swap_remove(random.below(boxes.len())));
                        }
                    }
                    assert!(kept.iter().all(|(n, value)| **value == node(*n)));
                })
            })
            .collect();
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        drop(over);
        assert!(sealer.join().unwrap() > 0);
    });
    assert_eq!((heap.stats().live_bytes, seals(&heap).withheld_bytes), (0, 0));
}

/// Changes collections that fill many segments, with seals and versions in between.
fn change_at_random(heap: &Heap, seed: u64, mut between: impl FnMut(&mut Random)) {
    println!("seed {seed}");
    const KEYS: usize = 60_000;
    let mut random = Random(seed);
    let value = |n: u64| [n; 4];
    let mut model: BTreeMap<u64, u64> = (0..KEYS as u64).map(|n| (n, n)).collect();
    let mut list: Vec<u64> = (0..KEYS as u64).collect();
    let (mut map, mut hashed, mut vec) = (CowMap::new(), CowHashMap::new(), CowVec::new());
    let session = heap.write().unwrap();
    for &n in model.keys() {
        map.insert(n, value(n));
        hashed.insert(n, heap.rc(value(n)));
        vec.push(heap.rc(value(n)));
    }
    drop(session);
    let mut versions = Vec::new();
    let is_same = |map: &CowMap<_, _>,
                   hashed: &CowHashMap<_, SalRc<_>>,
                   vec: &CowVec<SalRc<_>>,
                   model: &BTreeMap<_, _>,
                   list: &[u64]| {
        map.check().unwrap();
        hashed.check().unwrap();
        assert!(map.iter().map(|(&key, &found)| (key, found)).eq(model.iter().map(|(&key, &n)| (key, value(n)))));
        assert!(hashed.len() == model.len());
        assert!(hashed.iter().all(|(key, found)| model.get(key).map(|&n| value(n)) == Some(**found)));
        assert!(vec.iter().map(|found| **found).eq(list.iter().map(|&n| value(n))));
    };
    for step in 0..8_000_u64 {
        // Mostly in one part, so that others stay whole.
        let key = random.below(if step % 8 == 0 { KEYS } else { KEYS / 8 }) as u64;
        match random.below(8) {
            0..=2 => {
                model.insert(key, step);
                map.insert(key, value(step));
                hashed.insert(key, heap.rc(value(step)));
            }
            3 => {
                model.remove(&key);
                map.remove(&key);
                hashed.remove(&key);
            }
            4 | 5 => {
                let at = random.below(list.len());
                list[at] = step;
                *SalRc::make_mut(vec.get_mut(at).unwrap()) = value(step);
                if let Some(n) = model.get_mut(&key) {
                    *n = step;
                    *map.get_mut(&key).unwrap() = value(step);
                    *SalRc::make_mut(hashed.get_mut(&key).unwrap()) = value(step);
                }
            }
            6 => {
                vec.push(heap.rc(value(step)));
                list.push(step);
            }
            _ if random.below(200) == 0 => {
                versions.push((map.clone(), hashed.clone(), vec.clone(), model.clone(), list.clone()));
                if versions.len() > 3 {
                    versions.swap_remove(random.below(3));
                }
            }
            _ => between(&mut random),
        }
        if step % 4000 == 3999 {
            is_same(&map, &hashed, &vec, &model, &list);
            versions.iter().for_each(|(map, hashed, vec, model, list)| is_same(map, hashed, vec, model, list));
        }
    }
    drop(versions);
    assert!(map.into_iter().eq(model.into_iter().map(|(key, n)| (key, value(n)))));
    assert!(vec.into_iter().map(|found| *found).eq(list.into_iter().map(value)));
}

#[test]
fn collections_and_their_versions_are_right_with_seals_in_between() {
    let heap = volatile();
    let (mut protected, mut withheld) = (0, 0);
    change_at_random(&heap, 20_261_129, |random| {
        if random.below(20) == 0 {
            let stats = seal(&heap);
            protected = protected.max(stats.protected_bytes);
            withheld = withheld.max(stats.withheld_bytes);
        }
    });
    assert!(protected >= SEGMENT && withheld > 0, "{protected} {withheld}");
    assert_eq!((heap.stats().live_bytes, seals(&heap).withheld_bytes), (0, 0));
}

fn check_root(heap: &Heap, changed: u64) {
    let session = heap.read().unwrap();
    let found = session.root(NODES).unwrap();
    assert_eq!(found.len() as u64, MANY);
    let expected = |n: u64| if n % 16 == 0 && n < changed { node(n + 1) } else { node(n) };
    assert!(found.iter().zip(0..).all(|(value, n)| **value == expected(n)));
}

/// Fills a heap's root, and changes some of it, with syncs in between: all of it is protected before it is changed.
fn fill_root(heap: &Heap) {
    let tx = heap.write().unwrap();
    tx.root_or_default(NODES).unwrap().extend(nodes(heap, MANY));
    tx.sync().unwrap();
    assert!(seals(heap).protected_bytes >= 2 * SEGMENT);
    for end in [MANY / 2, MANY] {
        let tx = heap.write().unwrap();
        for (n, value) in (0..end).zip(tx.root_mut(NODES).unwrap().iter_mut()).step_by(16) {
            *SalRc::make_mut(value) = node(n + 1);
        }
        tx.sync().unwrap();
    }
}

#[test]
fn commits_hold_what_was_protected_changed_and_protected_again() {
    let _turn = alone();
    for tracking in [DirtyTracking::WriteProtect, DirtyTracking::Compare] {
        let (_directory, path) = fresh_path();
        let options = options().mode(Mode::Atomic).dirty_tracking(tracking).recovery(Recovery::Eager);
        let heap = opened(&options, &path);
        fill_root(&heap);
        check_root(&heap, MANY);
        // What is freed serves again: pages that were written, sealed, read-only, writable, and are written again.
        let spare = nodes(&heap, MANY);
        heap.sync().unwrap();
        drop(spare);
        let tx = heap.write().unwrap();
        let again = nodes(&heap, MANY);
        tx.root_mut(NODES).unwrap().iter_mut().zip(again).for_each(|(value, new)| *value = new);
        tx.sync().unwrap();
        // Nothing has been written since.
        let commits = heap.stats().commits.unwrap();
        assert_eq!(heap.sync().unwrap(), commits.last_commit);
        assert_eq!(heap.stats().commits.unwrap().pages, commits.pages);
        let snapshot = path.with_extension("copy");
        heap.snapshot_to(&snapshot).unwrap();
        // As after a kill: what is not committed is gone.
        let heap_of_kill = path.with_extension("killed");
        std::fs::copy(&path, &heap_of_kill).unwrap();
        std::fs::copy(support::heaps::log_of(&path), support::heaps::log_of(&heap_of_kill)).unwrap();
        check_root(&heap, 0);
        unmap(heap);
        for path in [&path, &snapshot, &heap_of_kill] {
            let heap = opened(&options, path);
            check_root(&heap, 0);
            assert!(heap.verify().is_good());
            unmap(heap);
        }
    }
}

#[test]
fn a_heap_is_closed_reopened_and_filled_further() {
    let _turn = alone();
    for mode in [Mode::Shared, Mode::Atomic] {
        let (_directory, path) = fresh_path();
        let heap = of_mode(mode, &path);
        fill_root(&heap);
        let kept = heap.read().unwrap().root(NODES).unwrap()[7].clone();
        let used = heap.stats().live_bytes;
        // Closed with much that is read-only, and something that waits.
        assert!(seals(&heap).protected_bytes > 0 && seals(&heap).withheld_bytes > 0, "{:?}", seals(&heap));
        let waiting = seals(&heap).withheld_bytes;
        heap.close().unwrap();
        assert_eq!(*kept, node(7));
        drop(kept);
        process::run("a_heap_in_a_file_is_as_it_was_left", &format!("{mode:?} {}", used - waiting), &path);
    }
}

/// Run by others, in a process of its own.
#[test]
fn a_heap_in_a_file_is_as_it_was_left() {
    let Some((role, path)) = role() else { return };
    let (mode, live) = role.split_once(' ').unwrap();
    let mode = if mode == "Shared" { Mode::Shared } else { Mode::Atomic };
    let heap = of_mode(mode, &path);
    check_root(&heap, MANY);
    assert!(heap.verify().is_good());
    if let Ok(live) = live.parse::<u64>() {
        assert_eq!(heap.stats().live_bytes, live);
    }
    // What was in the file may be anything: plain blocks are written to as before.
    let tx = heap.write().unwrap();
    tx.root_or_default(MAP).unwrap().extend((0..50_000).map(|n| (n, [n; 4])));
    let more = nodes(&heap, MANY);
    tx.sync().unwrap();
    assert!(seals(&heap).protected_bytes >= 2 * SEGMENT);
    let tx = heap.write().unwrap();
    let found = tx.root_mut(NODES).unwrap();
    found.iter_mut().step_by(8).for_each(|value| SalRc::make_mut(value)[0] += 1);
    found.reverse();
    tx.sync().unwrap();
    drop(more);
    heap.close().unwrap();
}

#[test]
fn a_heap_whose_process_is_killed_recovers() {
    const TEST: &str = "a_heap_whose_process_is_killed_recovers";
    if let Some((role, path)) = role() {
        let heap = of_mode(if role == "Shared" { Mode::Shared } else { Mode::Atomic }, &path);
        fill_root(&heap);
        // Neither is reached by a root.
        let lost = nodes(&heap, MANY);
        heap.sync().unwrap();
        assert!(seals(&heap).protected_bytes > 2 * SEGMENT && seals(&heap).withheld_bytes > 0);
        std::mem::forget(lost);
        wait_for_the_kill();
    }
    for mode in ["Shared", "Atomic"] {
        let (_directory, path) = fresh_path();
        run_and_kill(TEST, mode, &path);
        if mode == "Shared" {
            // SAFETY: everything was sealed when the process was killed.
            let heap = unsafe { options().accept_unclean().open(&path) }.unwrap();
            unmap(heap);
        }
        process::run("a_heap_in_a_file_is_as_it_was_left", &format!("{mode} unknown"), &path);
    }
}

#[test]
fn collecting_finds_everything_writable_and_leaves_no_freed_block_that_looks_alive() {
    let heap = volatile();
    fill_root_of_volatile(&heap);
    std::mem::forget(nodes(&heap, MANY));
    std::mem::forget(large(&heap, 3 << 20));
    let protected = seal(&heap).protected_bytes;
    let tx = heap.write().unwrap();
    tx.root_mut(NODES).unwrap().iter_mut().take(10_000).step_by(32).for_each(|value| *value = heap.rc(node(0)));
    drop(tx);
    assert!(seals(&heap).withheld_bytes > 0);
    // SAFETY: nobody else is there, and only the root holds anything.
    let report = unsafe { heap.collect() }.unwrap();
    assert_eq!(report.reclaimed_blocks, MANY + 1);
    let stats = seals(&heap);
    assert_eq!((stats.withheld_bytes, stats.protected_bytes, stats.ranges), (0, 0, 0));
    // What was read-only is so again, but for what was collected.
    let stats = seal(&heap);
    assert!(stats.protected_bytes > 0 && stats.protected_bytes < protected - 2 * SEGMENT, "{stats} {protected}");
    // The freed blocks go to whoever wants some.
    let mut plain: Vec<_> = (0..MANY).map(|n| allocator_api2::boxed::Box::new_in(node(n), heap.alloc())).collect();
    let values = nodes(&heap, 100);
    seal(&heap);
    plain.iter_mut().for_each(|boxed| boxed[0] = 1);
    drop((plain, values));
    heap.write().unwrap().take_root(NODES).unwrap();
    assert_eq!(heap.stats().live_bytes, 0);
}

fn fill_root_of_volatile(heap: &Heap) {
    let tx = heap.write().unwrap();
    tx.root_or_default(NODES).unwrap().extend(nodes(heap, MANY));
}

#[test]
fn a_forked_child_reads_and_drops_what_is_read_only_and_the_parent_goes_on() {
    for mode in [Mode::Volatile, Mode::Shared, Mode::Atomic] {
        let (_directory, path) = fresh_path();
        let heap = of_mode(mode, &path);
        let mut all = nodes(&heap, MANY);
        let protected = seal(&heap).protected_bytes;
        assert!(protected >= 2 * SEGMENT);
        // SAFETY: the child only uses what it has, and ends without running anything of the parent's.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let is_right = all.iter().zip(0..).all(|(value, n)| **value == node(n));
            drop(all);
            let has_failed = heap.sync_with(SyncLevel::Seal).is_err() && heap.stats().seals.is_some();
            // SAFETY: ends the child at once.
            unsafe { libc::_exit(if is_right && has_failed { 7 } else { 1 }) };
        }
        let mut status = 0;
        // SAFETY: our child, waited for once.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert_eq!((libc::WIFEXITED(status), libc::WEXITSTATUS(status)), (true, 7), "{mode:?} {status}");
        assert_eq!(seals(&heap).protected_bytes, protected);
        all.truncate(MANY as usize / 2);
        assert!(all.iter().zip(0..).all(|(value, n)| **value == node(n)));
        drop(all);
        // What is freed of a shared heap comes back with the next commit, of whose roots there is a copy.
        let copies = if mode == Mode::Shared { heap.sync().map(|_| 200).unwrap() } else { 0 };
        assert!(heap.stats().live_bytes <= copies);
        heap.close().unwrap();
    }
}

#[test]
fn mappings_are_no_more_than_two_for_each_range() {
    let heap = volatile();
    // Every other segment is kept writable by what is freed in it.
    let mut all: Vec<_> = nodes(&heap, 160_000).into_iter().map(Some).collect();
    let before = mappings_of(&heap);
    seal(&heap);
    let start = heap.address_range().start as u64;
    for value in &mut all {
        let at = SalRc::as_ptr(value.as_ref().unwrap()) as u64 - start;
        if at / SEGMENT % 2 == 0 && at % SEGMENT < SEGMENT / 4 {
            *value = None;
        }
    }
    let stats = seal(&heap);
    assert!(stats.ranges >= 8, "{stats}");
    assert!(mappings_of(&heap) <= before + 2 * stats.ranges as usize + 1, "{} {stats}", mappings_of(&heap));
    drop(all);
    assert_eq!(seals(&heap).ranges, 0);
    assert!(mappings_of(&heap) <= before + 1, "{} {before}", mappings_of(&heap));
}

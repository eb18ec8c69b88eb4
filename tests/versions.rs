//! Versions of roots: kept, read while writers go on, brought back, dropped.
#![allow(unsafe_code)]

mod support;

use sal::collections::CowMap;
use sal::prelude::*;
use sal::{HeapOptions, Recovery, RootError, SalRc, SalVersions};
use support::heaps::{opened, run_and_kill, unmap};
use support::{Random, alone, fresh_path, process};

/// A list whose tail is shared.
#[derive(Clone, Persist)]
#[repr(C)]
struct Cell {
    number: u64,
    next: SalVec<SalRc<Cell>>,
}

const LIST: Root<SalVec<SalRc<Cell>>> = Root::new("list");
const COUNT: Root<u64> = Root::class(7);

fn push(heap: &Heap, number: u64) {
    let tx = heap.write().unwrap();
    let list = tx.root_or_default(LIST).unwrap();
    let mut next = SalVec::new();
    next.extend(list.pop());
    list.push(heap.rc(Cell { number, next }));
}

fn numbers(list: &SalVec<SalRc<Cell>>) -> Vec<u64> {
    let mut numbers = Vec::new();
    let mut at = list.first();
    while let Some(cell) = at {
        numbers.push(cell.number);
        at = cell.next.first();
    }
    numbers
}

#[test]
fn a_version_stays_as_it_was_and_shares_what_has_not_changed() {
    let heap = HeapOptions::new().volatile().unwrap();
    (0..1000).for_each(|number| push(&heap, number));
    let before = heap.stats().live_bytes;
    heap.keep_version(LIST, "thousand").unwrap();
    assert!(heap.stats().live_bytes - before < 1000, "a clone of the first pointer, and the entry");
    (1000..1100).for_each(|number| push(&heap, number));
    assert_eq!(numbers(&heap.open_version(LIST, "thousand").unwrap()).len(), 1000);
    heap.with_root(LIST, |list| assert_eq!(numbers(list).len(), 1100)).unwrap();
    heap.roll_back(LIST, "thousand").unwrap();
    heap.with_root(LIST, |list| assert_eq!(numbers(list)[0], 999)).unwrap();
    // The hundred that nothing leads to any more are gone.
    assert!(heap.stats().live_bytes - before < 1000);
    heap.forget_root(LIST.tag().clone()).unwrap();
    heap.roll_back(LIST, "thousand").unwrap();
    heap.with_root(LIST, |list| assert_eq!(numbers(list).len(), 1000)).unwrap();
}

#[test]
fn versions_are_listed_replaced_and_dropped_by_their_names() {
    let heap = HeapOptions::new().volatile().unwrap();
    heap.set_root(COUNT, 1).unwrap();
    push(&heap, 5);
    for (name, count) in [("a", 1), ("b", 2), ("a", 3)] {
        heap.with_root_mut(COUNT, |value| *value = count).unwrap();
        heap.keep_version(COUNT, name).unwrap();
    }
    heap.keep_version(LIST, "a").unwrap();
    assert_eq!(heap.versions(COUNT).unwrap(), ["a", "b"]);
    assert_eq!(heap.versions(LIST).unwrap(), ["a"]);
    assert_eq!((heap.open_version(COUNT, "a"), heap.open_version(COUNT, "b")), (Ok(3), Ok(2)));
    heap.drop_version(COUNT, "a").unwrap();
    assert_eq!(heap.versions(COUNT).unwrap(), ["b"]);
    assert!(matches!(heap.open_version(COUNT, "a"), Err(RootError::NotFound { .. })));
    assert!(matches!(heap.roll_back(COUNT, "a"), Err(RootError::NotFound { .. })));
    assert!(matches!(heap.keep_version(Root::<u64>::new("none"), "a"), Err(RootError::NotFound { .. })));
    // A version has the type of its root.
    assert!(matches!(heap.open_version(Root::<u32>::class(7), "b"), Err(RootError::OtherType { .. })));
}

#[test]
fn a_version_is_kept_and_read_while_others_read_and_change_the_root() {
    let heap = HeapOptions::new().volatile().unwrap();
    (0..10).for_each(|number| push(&heap, number));
    let reader = heap.read().unwrap();
    let list = reader.root(LIST).unwrap();
    heap.keep_version(LIST, "ten").unwrap();
    assert_eq!(numbers(list), numbers(reader.version(LIST, "ten").unwrap()));
    drop(reader);
    let reader = heap.read().unwrap();
    let version = reader.version(LIST, "ten").unwrap();
    push(&heap, 10);
    assert_eq!(version.first().unwrap().number, 9);
    assert_eq!(reader.versions(LIST).unwrap(), ["ten"]);
    let tx = heap.write().unwrap();
    let _busy = tx.root_mut(LIST).unwrap();
    assert!(matches!(tx.keep_version(LIST, "eleven"), Err(RootError::RootBusy { by_this_session: true, .. })));
}

#[test]
fn several_roots_and_their_versions_change_together_or_not_at_all() {
    let name = "several_roots_and_their_versions_change_together_or_not_at_all";
    if let Some((_, path)) = process::role() {
        let heap = opened(&HeapOptions::new(), &path);
        heap.set_root(COUNT, 0).unwrap();
        for number in 0..20 {
            push(&heap, number);
            heap.with_root_mut(COUNT, |count| *count += 1).unwrap();
            heap.keep_version(LIST, &format!("v{number}")).unwrap();
        }
        heap.sync().unwrap();
        // Not synced.
        push(&heap, 20);
        heap.with_root_mut(COUNT, |count| *count += 1).unwrap();
        heap.drop_version(LIST, "v3").unwrap();
        return support::heaps::wait_for_the_kill();
    }
    let _alone = alone();
    let (_directory, path) = fresh_path();
    run_and_kill(name, "writer", &path);
    let heap = opened(&HeapOptions::new().recovery(Recovery::Eager), &path);
    assert_eq!(heap.with_root(COUNT, |count| *count), Ok(20));
    heap.with_root(LIST, |list| assert_eq!(numbers(list).len(), 20)).unwrap();
    assert_eq!(heap.versions(LIST).unwrap().len(), 20);
    for number in 0..20 {
        assert_eq!(numbers(&heap.open_version(LIST, &format!("v{number}")).unwrap()).len() as u64, number + 1);
    }
    // All of it can be dropped, and nothing is left but what roots take.
    heap.set_root(LIST, SalVec::new()).unwrap();
    for number in 0..20 {
        heap.drop_version(LIST, &format!("v{number}")).unwrap();
    }
    assert!(heap.stats().live_bytes < 2000, "{}", heap.stats());
    unmap(heap);
}

const MAP: Root<CowMap<u64, SalString>> = Root::new("map");

/// Bytes that a file takes on the disk.
fn disk_bytes(path: &std::path::Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).unwrap().blocks() * 512
}

#[test]
fn five_thousand_commits_of_one_change_leave_nothing_behind() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    let heap = opened(&HeapOptions::new(), &path);
    let text = |number: u64| SalString::from(&*format!("a text of some length, and number {number}"));
    heap.set_root(MAP, CowMap::new()).unwrap();
    heap.with_root_mut(MAP, |map| (0..30_000).for_each(|key| _ = map.insert(key, text(key)))).unwrap();
    heap.sync().unwrap();
    let live = heap.stats().live_bytes;
    let mut random = Random(7);
    let mut versions = std::collections::VecDeque::new();
    for commit in 0..5000_u64 {
        let tx = heap.write().unwrap();
        let map = tx.root_mut(MAP).unwrap();
        let key = random.next() % 30_000;
        map.insert(key, text(key + commit % 7));
        // A few readers' versions, which come and go.
        versions.push_back(map.clone());
        if versions.len() > 5 {
            versions.pop_front();
        }
        tx.sync().unwrap();
    }
    drop(versions);
    let after = heap.stats().live_bytes;
    assert!(after.abs_diff(live) < live / 20, "{live} bytes before, {after} after");
    unmap(heap);
    let closed = disk_bytes(&path);
    println!("{after} bytes live, {closed} bytes on the disk");
    // Beside what every heap has.
    assert!(closed < after * 3 / 2 + (1 << 20), "{closed} bytes on the disk for {after}");

    let heap = opened(&HeapOptions::new().recovery(Recovery::Eager), &path);
    drop(heap.take_root(MAP).unwrap());
    assert_eq!(heap.stats().live_bytes, 0, "{}", heap.stats());
    unmap(heap);
}

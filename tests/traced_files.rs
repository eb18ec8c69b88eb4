//! Heap files with shared values whose roots have types: after any stop there are exactly the pointers that the values have.
//!
//! What a collection has moved out of a slot still stands there. When every word counted as a pointer, such a value was kept for
//! ever after the next opening; here nothing may be left once everything is dropped. Where types are not known for all of
//! a heap, what is still wanted must be there, and numbers are never too low.
#![allow(unsafe_code)]

mod support;

use sal::collections::{CowHashMap, CowMap, CowVec};
use sal::persist::{BlockVisitor, Describer, Node, TypeDescription};
use sal::prelude::*;
use sal::{HeapOptions, Mode, Recovery, SalBox, SalCollect, SealPolicy, Trace};
use std::path::Path;
use support::heaps::{opened, run_and_kill, unmap, wait_for_the_kill};
use support::{alone, fresh_path, process};

#[derive(Clone, Persist)]
#[repr(u8)]
enum Cell {
    Empty,
    Full(SalRc<SalString>),
}

type Value = SalRc<SalString>;
type Version = (CowMap<u64, Value>, CowHashMap<u64, Value>, CowVec<Value>);

#[derive(Persist)]
#[repr(C)]
struct Store {
    stack: SalVec<Value>,
    table: SalHashMap<u64, Value>,
    tree: SalBTreeMap<u64, Value>,
    cells: [Cell; 8],
    slices: SalVec<SalRc<[Value]>>,
    boxes: SalVec<SalBox<SalVec<Value>>>,
    versions: SalVec<Version>,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            stack: SalVec::new(),
            table: SalHashMap::new(),
            tree: SalBTreeMap::new(),
            cells: [const { Cell::Empty }; 8],
            slices: SalVec::new(),
            boxes: SalVec::new(),
            versions: SalVec::new(),
        }
    }
}

/// Without blocks that the heap has for itself, and giving all back at once.
fn unsealed() -> HeapOptions {
    HeapOptions::new().seal_policy(SealPolicy::Off)
}

const STORE: Root<Store> = Root::new("store");

fn value(number: u64) -> Value {
    SalRc::new(SalString::from(&*format!("value {number}")))
}

/// Fills a store, and takes most out of it again, so that their words stand where nothing is.
fn fill(heap: &Heap) {
    let tx = heap.write().unwrap();
    let store = tx.root_or_default(STORE).unwrap();
    let kept: Vec<Value> = (0..10).map(value).collect();
    store.stack.extend((0..100).map(value));
    store.stack.truncate(60);
    store.stack.extend(kept.iter().cloned());
    (0..20).for_each(|_| drop(store.stack.pop()));
    for key in 0..200 {
        store.table.insert(key, value(key));
        store.tree.insert(key, value(key));
    }
    store.table.retain(|key, _| key % 7 == 0);
    store.tree.retain(|key, _| key % 7 == 0);
    for cell in &mut store.cells {
        *cell = Cell::Full(value(1));
    }
    for cell in store.cells.iter_mut().step_by(2) {
        *cell = Cell::Empty;
    }
    store.slices.extend((0..20).map(|len| SalRc::from(&kept[..len % 10])));
    store.slices.truncate(15);
    store.boxes.extend((0..20).map(|_| SalBox::new(kept.iter().cloned().collect())));
    for boxed in store.boxes.iter_mut() {
        boxed.truncate(3);
    }
    store.versions.push(Default::default());
    for version in 0..5 {
        let (mut map, mut table, mut vector) = store.versions[version].clone();
        for key in 0..50 {
            map.insert(key * 11 % 97, kept[key as usize % 10].clone());
            table.insert(key * 13 % 97, kept[key as usize % 10].clone());
            vector.push(value(key));
        }
        for key in 0..20 {
            map.remove(&key);
            table.remove(&key);
            vector.pop();
        }
        store.versions.push((map, table, vector));
    }
    store.versions.swap_remove(0);
    drop(tx);
}

/// How many pointers there are to each of some values.
fn numbers(heap: &Heap) -> Vec<usize> {
    let read = heap.read().unwrap();
    let store = read.root(STORE).unwrap();
    let cells = store.cells.iter().filter_map(|cell| match cell {
        Cell::Empty => None,
        Cell::Full(value) => Some(value),
    });
    let versions = store.versions.iter().flat_map(|(map, table, vector)| {
        map.values().chain(table.iter().map(|(_, value)| value)).chain(vector.iter()).collect::<Vec<_>>()
    });
    let mut named: Vec<_> = (store.stack.iter().chain(store.tree.values()).chain(cells))
        .chain(store.slices.iter().flat_map(|slice| slice.iter()))
        .chain(store.boxes.iter().flat_map(|boxed| boxed.iter()))
        .chain(versions)
        .map(|value| (value.as_str().to_owned(), SalRc::strong_count(value)))
        .collect();
    named.extend(store.table.values().map(|value| (value.as_str().to_owned(), SalRc::strong_count(value))));
    named.sort();
    named.into_iter().map(|value| value.1).collect()
}

/// Takes everything out and drops it: nothing is left.
fn empty(heap: &Heap, what: &str) {
    let tx = heap.write().unwrap();
    drop(tx.take_root(STORE).unwrap());
    drop(tx);
    // SAFETY: no other thread uses the heap.
    let left = unsafe { heap.objects() }.unwrap().count();
    assert_eq!(left, 0, "{what}: {}", heap.stats());
}

#[test]
fn after_a_clean_close_numbers_are_what_they_were_and_nothing_is_left() {
    let _alone = alone();
    for mode in [Mode::Atomic, Mode::Shared] {
        for recovery in [Recovery::Eager, Recovery::Background] {
            let what = format!("{mode:?}, {recovery:?}");
            let (_directory, path) = fresh_path();
            let options = unsealed().mode(mode).recovery(recovery);
            let heap = opened(&options, &path);
            fill(&heap);
            let expected = numbers(&heap);
            unmap(heap);
            for _ in 0..2 {
                let heap = opened(&options, &path);
                if let Some(report) = heap.wait_for_recovery() {
                    assert!(report.collected.is_precise, "{what}: {report}");
                }
                assert_eq!(numbers(&heap), expected, "{what}");
                unmap(heap);
            }
            let heap = opened(&options, &path);
            heap.wait_for_recovery();
            empty(&heap, &what);
            unmap(heap);
        }
    }
}

fn fill_and_wait(path: &Path) {
    let heap = opened(&unsealed(), path);
    fill(&heap);
    heap.sync().unwrap();
    // What no commit holds.
    fill(&heap);
    wait_for_the_kill();
}

#[test]
fn after_a_kill_numbers_are_those_of_the_commit_and_nothing_is_left() {
    if let Some((_, path)) = process::role() {
        return fill_and_wait(&path);
    }
    let _alone = alone();
    let expected = {
        let heap = unsealed().volatile().unwrap();
        fill(&heap);
        numbers(&heap)
    };
    for recovery in [Recovery::Eager, Recovery::Background] {
        let (_directory, path) = fresh_path();
        run_and_kill("after_a_kill_numbers_are_those_of_the_commit_and_nothing_is_left", "writer", &path);
        let heap = opened(&unsealed().recovery(recovery), &path);
        let report = heap.wait_for_recovery().unwrap();
        assert!(report.collected.is_precise, "{report}");
        assert_eq!(numbers(&heap), expected);
        empty(&heap, "killed");
        unmap(heap);
    }
}

#[test]
fn values_dropped_before_they_were_counted_leave_nothing() {
    if let Some((_, path)) = process::role() {
        return fill_and_wait(&path);
    }
    let _alone = alone();
    let (_directory, path) = fresh_path();
    run_and_kill("values_dropped_before_they_were_counted_leave_nothing", "writer", &path);
    let heap = opened(&unsealed().recovery(Recovery::Background), &path);
    let tx = heap.write().unwrap();
    drop(tx.take_root(STORE).unwrap());
    drop(tx);
    heap.wait_for_recovery().unwrap();
    // SAFETY: no other thread uses the heap.
    assert_eq!(unsafe { heap.objects() }.unwrap().count(), 0, "{}", heap.stats());
    unmap(heap);
}

fn share_and_wait(path: &Path) {
    let heap = opened(&unsealed().mode(Mode::Shared), path);
    fill(&heap);
    heap.sync().unwrap();
    wait_for_the_kill();
}

#[test]
fn a_shared_heap_that_was_not_closed_counts_the_same() {
    if let Some((_, path)) = process::role() {
        return share_and_wait(&path);
    }
    let _alone = alone();
    let (_directory, path) = fresh_path();
    run_and_kill("a_shared_heap_that_was_not_closed_counts_the_same", "writer", &path);
    // SAFETY: the process did nothing when it was killed.
    let options = unsafe { unsealed().mode(Mode::Shared).accept_unclean() };
    let heap = opened(&options, &path);
    let volatile = unsealed().volatile().unwrap();
    fill(&volatile);
    assert_eq!(numbers(&heap), numbers(&volatile));
    empty(&heap, "not closed");
    unmap(heap);
}

/// A container of the program's own, which owns a shared value by a word that only it knows of.
#[repr(transparent)]
struct Own(Value);

// SAFETY: as what it holds; described as a container with a number of its own.
unsafe impl Persist for Own {
    const OWNS_BLOCKS: bool = true;
    fn describe(_: &mut Describer) -> Node {
        Node::container::<Self>(0x7000_0000_1234_5678, "Own", 1, Vec::new())
    }
    fn visit_blocks(&self, visitor: &mut BlockVisitor<'_>) {
        visitor.value(&self.0);
    }
}

const OWN: Root<SalVec<Own>> = Root::new("own");

#[test]
fn a_root_of_an_unknown_type_makes_all_count_by_their_words_and_none_too_low() {
    assert!(Store::is_known() && !Own::is_known() && !SalVec::<Own>::is_known());
    assert!(TypeDescription::of::<Store>().is_known());
    let _alone = alone();
    for mode in [Mode::Atomic, Mode::Shared] {
        let (_directory, path) = fresh_path();
        let options = unsealed().mode(mode).recovery(Recovery::Eager);
        let heap = opened(&options, &path);
        fill(&heap);
        let tx = heap.write().unwrap();
        let own = tx.root_or_default(OWN).unwrap();
        own.extend(tx.root_mut(STORE).unwrap().stack.iter().map(|value| Own(value.clone())));
        drop(tx);
        let expected = numbers(&heap);
        unmap(heap);
        let heap = opened(&options, &path);
        if let Some(report) = heap.wait_for_recovery() {
            assert!(!report.collected.is_precise, "{report}");
        }
        let counted = numbers(&heap);
        assert!(counted.len() == expected.len() && counted.iter().sum::<usize>() >= expected.iter().sum());
        let tx = heap.write().unwrap();
        drop(tx.take_root(STORE).unwrap());
        let own = tx.take_root(OWN).unwrap();
        assert!(own.iter().all(|own| own.0.starts_with("value ")));
        drop(own);
        drop(tx);
        // Without that root types can be followed again, and what words kept goes.
        // SAFETY: no other thread uses the heap, and nothing holds anything of it.
        let report = unsafe { heap.collect() }.unwrap();
        assert!(report.is_precise);
        // SAFETY: as above.
        assert_eq!(unsafe { heap.objects() }.unwrap().count(), 0);
        unmap(heap);
    }
}

#[derive(Persist)]
#[repr(C)]
struct Chain {
    number: u64,
    next: Next,
}

#[derive(Persist)]
#[repr(C, u8)]
enum Next {
    End,
    Chain(SalRc<Chain>),
}

const CHAIN: Root<SalVec<SalRc<Chain>>> = Root::new("chain");

#[test]
fn a_list_of_a_million_is_counted_and_dropped_after_it_was_closed() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    for mode in [Mode::Atomic, Mode::Shared] {
        let path = path.with_extension(format!("{mode:?}"));
        let options = unsealed().mode(mode);
        let heap = opened(&options, &path);
        let tx = heap.write().unwrap();
        let mut chain = heap.rc(Chain { number: 0, next: Next::End });
        for number in 1..1_000_000 {
            chain = heap.rc(Chain { number, next: Next::Chain(chain) });
        }
        tx.root_or_default(CHAIN).unwrap().push(chain);
        drop(tx);
        unmap(heap);
        let heap = opened(&options, &path);
        heap.wait_for_recovery();
        let tx = heap.write().unwrap();
        let chain = tx.take_root(CHAIN).unwrap();
        assert_eq!((chain[0].number, SalRc::strong_count(&chain[0])), (999_999, 1));
        drop(chain);
        drop(tx);
        // SAFETY: no other thread uses the heap.
        assert_eq!(unsafe { heap.objects() }.unwrap().count(), 0);
        unmap(heap);
    }
}

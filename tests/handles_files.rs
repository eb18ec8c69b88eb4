//! Handles in heap files: reopened, collected, after kills, with commits beside a compactor.
#![allow(unsafe_code)]

use sal::prelude::*;
use sal::{CompactOptions, Handle, HeapOptions, Mode, Movable, SalCollect, SalMovable};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

mod support;
use support::bytes::{pages, write};
use support::{Random, SetAtEnd, alone, fresh_path, seed};

#[derive(Persist, Movable, Clone, Debug, PartialEq)]
#[repr(C)]
struct Record {
    number: u64,
    name: SalString,
    tags: SalVec<u32>,
}

impl Record {
    fn new(number: u64) -> Self {
        let mut tags = SalVec::new();
        tags.extend((0..number as u32 % 5).map(|tag| tag * 3));
        Self { number, name: format!("record {number}").as_str().into(), tags }
    }

    fn check(&self) {
        assert_eq!(*self, Self::new(self.number));
    }
}

#[derive(Persist)]
#[repr(C)]
struct Store {
    records: SalHashMap<u64, Handle<Record>>,
    plain: SalVec<Handle<[u64; 4]>>,
    texts: SalVec<Option<Handle<str>>>,
    slices: SalVec<Handle<[SalRc<u64>]>>,
}

const STORE: Root<Store> = Root::new("store");

fn open(path: &Path) -> Heap {
    // SAFETY: written only through SAL, and nothing else changes it.
    unsafe { HeapOptions::new().recovery(sal::Recovery::Eager).open_or_create(path) }.unwrap()
}

fn close(heap: Heap) {
    // SAFETY: nothing of the heap is used any more.
    unsafe { heap.close_and_unmap() }.unwrap();
}

fn fill(heap: &Heap, count: u64) {
    let tx = heap.write().unwrap();
    let new = Store { records: SalHashMap::new(), plain: SalVec::new(), texts: SalVec::new(), slices: SalVec::new() };
    tx.set_root(STORE, new).unwrap();
    let store = tx.root_mut(STORE).unwrap();
    for n in 0..count {
        store.records.insert(n, heap.handle(Record::new(n)));
        store.plain.push(heap.handle([n; 4]));
        store.texts.push((n % 3 != 0).then(|| heap.handle_str(&"t".repeat(n as usize % 50))));
        store.slices.push(heap.handle_slice(&[heap.rc(n), heap.rc(n + 1)]));
    }
    drop(tx);
}

fn check(heap: &Heap, records: impl Iterator<Item = u64>, count: u64) {
    let pin = heap.pin();
    let session = heap.read().unwrap();
    let store = session.root(STORE).unwrap();
    let mut seen = 0;
    for n in records {
        let record = store.records.get(&n).unwrap().get(&pin);
        assert_eq!(record.number, n);
        record.check();
        seen += 1;
    }
    assert_eq!(store.records.len(), seen);
    for n in 0..count {
        assert_eq!(*store.plain[n as usize].get(&pin), [n; 4]);
        let text = store.texts[n as usize].as_ref().map(|text| text.get(&pin).len());
        assert_eq!(text, (n % 3 != 0).then_some(n as usize % 50));
        let slice = store.slices[n as usize].get(&pin);
        assert_eq!((slice.len(), *slice[0], *slice[1]), (2, n, n + 1));
        assert_eq!(SalRc::strong_count(&slice[0]), 1);
        assert_eq!(store.plain[n as usize].strong_count(), 1);
    }
}

#[test]
fn values_are_there_again_and_can_be_moved_replaced_and_dropped() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    let heap = open(&path);
    fill(&heap, 20_000);
    heap.sync().unwrap();
    check(&heap, 0..20_000, 20_000);
    close(heap);
    for round in 1..4 {
        let heap = open(&path);
        let of = |round: u64| (0..20_000).filter(move |n| n % 4 >= round - 1);
        check(&heap, of(round), 20_000);
        {
            let tx = heap.write().unwrap();
            let store = tx.root_mut(STORE).unwrap();
            store.records.retain(|n, _| n % 4 >= round);
            for n in 0..100 {
                store.plain[n as usize].update([n; 4]).unwrap();
            }
        }
        let report = heap.compact_with(CompactOptions::new().sparse(0.95)).unwrap();
        assert!(report.moved_objects > 5_000, "{report}");
        check(&heap, of(round + 1), 20_000);
        if round % 2 == 1 {
            heap.sync().unwrap();
        }
        close(heap);
    }
    let heap = open(&path);
    heap.take_root(STORE).unwrap();
    heap.compact().unwrap();
    heap.compact().unwrap();
    let stats = heap.stats();
    assert!(stats.live_bytes < 4 << 20, "{} bytes are left", stats.live_bytes);
    close(heap);
}

#[test]
fn a_heap_whose_values_were_dropped_has_no_object_after_it_was_opened_again() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    let heap = open(&path);
    fill(&heap, 5_000);
    // Nobody has these.
    std::mem::forget((0..5_000).map(|n| heap.handle(Record::new(n))).collect::<Vec<_>>());
    close(heap);
    let heap = open(&path);
    check(&heap, 0..5_000, 5_000);
    heap.take_root(STORE).unwrap();
    close(heap);
    let heap = open(&path);
    // SAFETY: nobody else uses the heap, and nothing in it is held.
    let left: Vec<_> = unsafe { heap.objects() }.unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    close(heap);
}

#[test]
fn a_collection_finds_exactly_the_objects_of_the_roots() {
    // What is moved here stays where it was, too, as long as a pin of another test's heap is held.
    let _alone = alone();
    let heap = HeapOptions::new().volatile().unwrap();
    fill(&heap, 5_000);
    std::mem::forget((0..50_000).map(|n| heap.handle([n; 10])).collect::<Vec<_>>());
    let with_lost = heap.stats().live_bytes;
    // SAFETY: only the root holds anything.
    let report = unsafe { heap.collect() }.unwrap();
    assert!(report.is_precise, "{report:?}");
    check(&heap, 0..5_000, 5_000);
    heap.compact_with(CompactOptions::new().sparse(1.0)).unwrap();
    heap.compact().unwrap();
    check(&heap, 0..5_000, 5_000);
    let left = heap.stats().live_bytes;
    assert!(left * 3 < with_lost * 2, "{left} of {with_lost}");
    // SAFETY: as above.
    let again = unsafe { heap.collect() }.unwrap();
    assert!(again.is_precise);
    check(&heap, 0..5_000, 5_000);
    heap.take_root(STORE).unwrap();
    // SAFETY: as above.
    unsafe { heap.collect() }.unwrap();
    // SAFETY: as above.
    assert_eq!(unsafe { heap.objects() }.unwrap().count(), 0);
}

#[test]
fn what_a_commit_beside_a_compactor_holds_is_whole() {
    let _alone = alone();
    let (directory, path) = fresh_path();
    let mut random = Random(seed(11));
    let mut model: BTreeMap<u64, u64> = BTreeMap::new();
    const MAP: Root<SalBTreeMap<u64, Handle<Record>>> = Root::new("map");
    let heap = open(&path);
    heap.set_root(MAP, SalBTreeMap::new()).unwrap();
    let copy = directory.path().join("copy.sal");
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let over = SetAtEnd(&is_over);
        let (heap, is_over) = (&heap, &is_over);
        let moves = scope.spawn(move || {
            let mut moved = 0;
            while !is_over.load(Ordering::Relaxed) {
                moved += heap.compact_with(CompactOptions::new().sparse(1.0)).unwrap().moved_objects;
            }
            moved
        });
        for _ in 0..60 {
            let tx = heap.write().unwrap();
            let map = tx.root_mut(MAP).unwrap();
            for _ in 0..200 {
                let key = random.below(3_000) as u64;
                match random.below(4) {
                    0 => {
                        map.remove(&key);
                        model.remove(&key);
                    }
                    1 if map.contains_key(&key) => {
                        let number = random.next();
                        map.get(&key).unwrap().update(Record::new(number)).unwrap();
                        model.insert(key, number);
                    }
                    _ => {
                        let number = random.next();
                        map.insert(key, heap.handle(Record::new(number)));
                        model.insert(key, number);
                    }
                }
            }
            tx.sync().unwrap();
        }
        drop(over);
        assert!(moves.join().unwrap() > 1_000);
    });
    // As a crash leaves it: what was synced is in the file and its log.
    std::fs::copy(&path, &copy).unwrap();
    std::fs::copy(log_of(&path), log_of(&copy)).unwrap();
    close(heap);
    let heap = open(&copy);
    {
        let pin = heap.pin();
        let session = heap.read().unwrap();
        let map = session.root(MAP).unwrap();
        assert!(map.iter().map(|(key, handle)| (*key, handle.get(&pin).number)).eq(model));
        map.values().for_each(|handle| handle.get(&pin).check());
    }
    heap.take_root(MAP).unwrap();
    close(heap);
}

#[test]
fn damaged_entries_and_objects_end_no_opening() {
    let _alone = alone();
    let (directory, path) = fresh_path();
    // A small file.
    // SAFETY: as in `open`.
    let heap = unsafe { HeapOptions::new().capacity(24 << 20).open_or_create(&path) }.unwrap();
    fill(&heap, 300);
    let range = {
        let pin = heap.pin();
        let session = heap.read().unwrap();
        let store = session.root(STORE).unwrap();
        let first = std::ptr::from_ref(store.plain[0].get(&pin)).addr();
        // SAFETY: nobody else uses the heap.
        let objects = unsafe { heap.objects() }.unwrap();
        // Where its window begins.
        let base = first & !((64 << 30) - 1);
        let blocks: Vec<(usize, usize)> = objects.map(|block| (block.start - base, block.len.min(1 << 16))).collect();
        (blocks, first - base)
    };
    close(heap);
    let whole = pages(&path);
    let len = std::fs::metadata(&path).unwrap().len();
    let mut random = Random(seed(5));
    let copy = directory.path().join("copy.sal");
    for _ in 0..60 {
        let _ = std::fs::remove_file(&copy);
        std::fs::File::create_new(&copy).unwrap().set_len(len).unwrap();
        whole.iter().for_each(|(at, bytes)| write(&copy, *at, bytes));
        for _ in 0..1 + random.below(20) {
            let (start, block) = range.0[random.below(range.0.len())];
            let at = if random.below(4) == 0 { range.1 + random.below(20_000) } else { start + random.below(block) };
            let byte = [0, 1, 0xFF, random.next() as u8, 1 << random.below(8)][random.below(5)];
            write(&copy, at as u64, &[byte]);
        }
        // SAFETY: what it holds is not looked at.
        if let Ok(heap) = unsafe { HeapOptions::new().recovery(sal::Recovery::Eager).open(&copy) } {
            heap.compact_with(CompactOptions::new().sparse(1.0)).unwrap();
            close(heap);
        }
    }
}

fn log_of(path: &Path) -> std::path::PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-log");
    name.into()
}

#[test]
fn a_killed_shared_heap_has_its_handles_when_they_are_vouched_for() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    // SAFETY: written only through SAL.
    let heap = unsafe { HeapOptions::new().mode(Mode::Shared).open_or_create(&path) }.unwrap();
    fill(&heap, 3_000);
    heap.sync().unwrap();
    close(heap);
    let heap = open(&path);
    check(&heap, 0..3_000, 3_000);
    {
        let tx = heap.write().unwrap();
        tx.root_mut(STORE).unwrap().records.retain(|n, _| n % 2 == 0);
    }
    let report = heap.compact_with(CompactOptions::new().sparse(1.0)).unwrap();
    assert!(report.moved_objects > 1_000);
    check(&heap, (0..3_000).step_by(2), 3_000);
    close(heap);
    let heap = open(&path);
    check(&heap, (0..3_000).step_by(2), 3_000);
    close(heap);
}

//! What the last sync of a shared heap leads to stays as it is while it is dropped, to the last byte, until the next sync.
//!
//! Values of counted pointers were moved out of their blocks before they were dropped, but those in plain containers that such a value
//! owns were dropped where they lay. Collections wrote there that they have no block any more, and after a kill they were empty.
#![allow(unsafe_code)]

mod support;

use allocator_api2::boxed::Box as HeapBox;
use allocator_api2::vec::Vec as HeapVec;
use sal::collections::{
    CowHashMap, CowHashSet, CowMap, CowSet, CowVec, SalBTreeMap, SalBTreeSet, SalHashMap, SalHashSet, SalVec,
};
use sal::persist::BlockVisitor;
use sal::prelude::*;
use sal::{HeapOptions, Mode, Persist, SalAlloc, SalBox};
use std::fmt::Debug;
use std::hash::{Hash, Hasher};
use std::mem::take;
use std::path::Path;
use std::thread;
use support::heaps::{opened, run_and_kill, unmap, wait_for_the_kill};
use support::{alone, fresh_path, process};

fn open(path: &Path) -> Heap {
    opened(&HeapOptions::new().mode(Mode::Shared).capacity(256 << 20), path)
}

/// Writes to itself when it is dropped, and owns something.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Persist)]
#[repr(C)]
struct Scribbler {
    number: u64,
    text: SalString,
}

impl Drop for Scribbler {
    fn drop(&mut self) {
        self.number = !0;
        self.text = "what is dropped".into();
    }
}

/// Writes to itself when it is dropped, and owns nothing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Persist)]
#[repr(C)]
struct Mark([u64; 3]);

impl Drop for Mark {
    fn drop(&mut self) {
        self.0 = [!0; 3];
    }
}

/// Takes itself apart when it is dropped, and stops half-way.
#[derive(Clone, Debug, Persist)]
#[repr(C)]
struct Unpacker {
    moved: SalVec<Scribbler>,
    drained: SalVec<Scribbler>,
    truncated: SalVec<Scribbler>,
    filtered: SalVec<Scribbler>,
    hashed: SalHashMap<u64, Scribbler>,
    sorted: SalBTreeMap<u64, Scribbler>,
}

impl Drop for Unpacker {
    fn drop(&mut self) {
        drop(take(&mut self.moved).into_iter().next());
        drop(self.drained.drain(..).next());
        self.truncated.truncate(1);
        self.filtered.retain(|_| false);
        drop(take(&mut self.hashed).into_iter().next());
        drop(take(&mut self.sorted).into_iter().next());
    }
}

/// Does not fit on the stack when it is moved.
#[derive(Clone, Debug, Persist)]
#[repr(C)]
struct Large {
    first: Scribbler,
    bytes: [u64; 2100],
    last: Scribbler,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Persist)]
#[repr(u8)]
enum Shape {
    Text(SalString),
    List(SalVec<SalString>),
    Mark(Mark),
}

/// A key whose hash is that of all others: the map has them in a list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Persist)]
#[repr(C)]
struct SameHash(u64);

impl Hash for SameHash {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(0);
    }
}

/// A value in all that can hold one.
#[derive(Clone, Debug, Persist)]
#[repr(C)]
struct Held<E: Persist> {
    vec: SalVec<E>,
    hash_map: SalHashMap<u64, E>,
    btree_map: SalBTreeMap<u64, E>,
    cow_vec: CowVec<E>,
    cow_map: CowMap<u64, E>,
    cow_hash_map: CowHashMap<u64, E>,
    same: CowHashMap<SameHash, E>,
    deep: SalVec<SalVec<SalHashMap<u64, SalBTreeMap<u64, E>>>>,
    tuple: (u64, SalVec<(u64, E)>),
    array: SalVec<[E; 2]>,
    shared: SalRc<E>,
    slice: SalRc<[E]>,
    option: SalVec<Option<SalRc<E>>>,
    own: SalVec<SalBox<E>>,
}

impl<E: Persist + Clone> Held<E> {
    fn of(make: fn(u64) -> E) -> Self {
        let pairs = |len| (0..len).map(move |n| (n, make(n)));
        let mut hash_map: SalHashMap<u64, E> = pairs(40).collect();
        hash_map.retain(|key, _| key % 5 != 0);
        let mut btree_map: SalBTreeMap<u64, E> = pairs(40).collect();
        btree_map.retain(|key, _| key % 5 != 0);
        Self {
            vec: (0..9).map(make).collect(),
            hash_map,
            btree_map,
            cow_vec: (0..40).map(make).collect(),
            cow_map: pairs(40).collect(),
            cow_hash_map: pairs(40).collect(),
            same: pairs(20).map(|(n, value)| (SameHash(n), value)).collect(),
            deep: SalVec::from([[(1, pairs(3).collect())].into_iter().collect()].map(|map| SalVec::from([map]))),
            tuple: (1, pairs(3).collect()),
            array: SalVec::from([[make(1), make(2)], [make(3), make(4)]]),
            shared: SalRc::new(make(1)),
            slice: (0..3).map(make).collect(),
            option: (0..3).map(|n| (n != 1).then(|| SalRc::new(make(n)))).collect(),
            own: (0..3).map(|n| SalBox::new(make(n))).collect(),
        }
    }
}

/// A value in what holds it as a key.
#[derive(Clone, Debug, Persist)]
#[repr(C)]
struct Keys<E: Persist> {
    hash_set: SalHashSet<E>,
    hash_map: SalHashMap<E, E>,
    btree_set: SalBTreeSet<E>,
    btree_map: SalBTreeMap<E, E>,
    cow_set: CowSet<E>,
    cow_map: CowMap<E, E>,
    cow_hash_set: CowHashSet<E>,
    cow_hash_map: CowHashMap<E, E>,
}

impl<E: Persist + Clone + Ord + Hash> Keys<E> {
    fn of(make: fn(u64) -> E) -> Self {
        let pairs = || (0..40).map(|n| (make(n), make(n)));
        Self {
            hash_set: (0..40).map(make).collect(),
            hash_map: pairs().collect(),
            btree_set: (0..40).map(make).collect(),
            btree_map: pairs().collect(),
            cow_set: (0..40).map(make).collect(),
            cow_map: pairs().collect(),
            cow_hash_set: (0..40).map(make).collect(),
            cow_hash_map: pairs().collect(),
        }
    }
}

/// A value in containers that others have written, which drop it where it lies.
#[derive(Clone, Debug, Persist)]
#[repr(C)]
struct Foreign<E: Persist> {
    vec: HeapVec<E, SalAlloc>,
    boxed: HeapBox<E, SalAlloc>,
    nested: SalVec<HeapVec<E, SalAlloc>>,
}

impl<E: Persist + Clone> Foreign<E> {
    fn of(make: fn(u64) -> E, heap: SalAlloc) -> Self {
        let vec = || {
            let mut vec = HeapVec::new_in(heap);
            vec.extend((0..5).map(make));
            vec
        };
        Self { vec: vec(), boxed: HeapBox::new_in(make(1), heap), nested: SalVec::from([vec(), vec()]) }
    }
}

fn text(n: u64) -> SalString {
    format!("the text of {n}, which is not short").as_str().into()
}

fn texts(n: u64) -> impl Iterator<Item = SalString> {
    (n..n + 3).map(text)
}

fn entries(n: u64) -> impl Iterator<Item = (u64, SalString)> {
    (n..n + 3).map(|n| (n, text(n)))
}

fn scribbler(n: u64) -> Scribbler {
    Scribbler { number: n, text: text(n) }
}

fn unpacker(n: u64) -> Unpacker {
    let some = || (n..n + 4).map(scribbler);
    let pairs = || (n..n + 4).map(|n| (n, scribbler(n)));
    Unpacker {
        moved: some().collect(),
        drained: some().collect(),
        truncated: some().collect(),
        filtered: some().collect(),
        hashed: pairs().collect(),
        sorted: pairs().collect(),
    }
}

fn shape(n: u64) -> Shape {
    match n % 3 {
        0 => Shape::Text(text(n)),
        1 => Shape::List(texts(n).collect()),
        _ => Shape::Mark(Mark([n; 3])),
    }
}

fn large(n: u64) -> Large {
    Large { first: scribbler(n), bytes: [n; 2100], last: scribbler(n) }
}

/// `Graph`, with a field for each of these, and how it is made.
macro_rules! graph {
    ($heap:ident; $($field:ident: $type:ty = $value:expr;)*) => {
        /// Everything in everything.
        #[derive(Clone, Debug, Persist)]
        #[repr(C)]
        struct Graph {
            $($field: $type,)*
        }

        impl Graph {
            fn new($heap: SalAlloc) -> Self {
                Self { $($field: $value,)* }
            }
        }
    };
}

graph! {
    heap;
    string: Held<SalString> = Held::of(text);
    vec: Held<SalVec<SalString>> = Held::of(|n| texts(n).collect());
    numbers: Held<SalVec<u64>> = Held::of(|n| (0..n).collect());
    hash_map: Held<SalHashMap<u64, SalString>> = Held::of(|n| entries(n).collect());
    hash_set: Held<SalHashSet<SalString>> = Held::of(|n| texts(n).collect());
    btree_map: Held<SalBTreeMap<u64, SalString>> = Held::of(|n| entries(n).collect());
    btree_set: Held<SalBTreeSet<SalString>> = Held::of(|n| texts(n).collect());
    cow_map: Held<CowMap<u64, SalString>> = Held::of(|n| entries(n).collect());
    cow_set: Held<CowSet<SalString>> = Held::of(|n| texts(n).collect());
    cow_vec: Held<CowVec<SalString>> = Held::of(|n| texts(n).collect());
    cow_hash_map: Held<CowHashMap<u64, SalString>> = Held::of(|n| entries(n).collect());
    cow_hash_set: Held<CowHashSet<SalString>> = Held::of(|n| texts(n).collect());
    option: Held<Option<SalRc<SalString>>> = Held::of(|n| (n % 3 > 0).then(|| SalRc::new(text(n))));
    boxed: Held<SalBox<SalVec<SalString>>> = Held::of(|n| SalBox::new(texts(n).collect()));
    tuple: Held<(SalString, u8, SalVec<SalString>)> = Held::of(|n| (text(n), 7, texts(n).collect()));
    shape: Held<Shape> = Held::of(shape);
    scribbler: Held<Scribbler> = Held::of(scribbler);
    mark: Held<Mark> = Held::of(|n| Mark([n; 3]));
    unpacker: Held<Unpacker> = Held::of(unpacker);
    large: SalVec<Large> = (0..3).map(large).collect();
    large_map: SalHashMap<u64, Large> = (0..3).map(|n| (n, large(n))).collect();
    large_tree: SalBTreeMap<u64, Large> = (0..3).map(|n| (n, large(n))).collect();
    string_keys: Keys<SalString> = Keys::of(text);
    vec_keys: Keys<SalVec<SalString>> = Keys::of(|n| texts(n).collect());
    tree_keys: Keys<SalBTreeMap<u64, SalString>> = Keys::of(|n| entries(n).collect());
    set_keys: Keys<SalBTreeSet<SalString>> = Keys::of(|n| texts(n).collect());
    tuple_keys: Keys<(SalString, u64)> = Keys::of(|n| (text(n), n));
    shape_keys: Keys<Shape> = Keys::of(|n| if n % 3 == 2 { Shape::Mark(Mark([n; 3])) } else { shape(n) });
    scribbler_keys: Keys<Scribbler> = Keys::of(scribbler);
    mark_keys: Keys<Mark> = Keys::of(|n| Mark([n; 3]));
    foreign_string: Foreign<SalString> = Foreign::of(text, heap);
    foreign_vec: Foreign<SalVec<Scribbler>> = Foreign::of(|n| (n..n + 3).map(scribbler).collect(), heap);
    foreign_map: Foreign<SalHashMap<u64, Scribbler>> = Foreign::of(|n| (n..n + 3).map(|n| (n, scribbler(n))).collect(), heap);
    foreign_tree: Foreign<SalBTreeMap<u64, Scribbler>> = Foreign::of(|n| (n..n + 3).map(|n| (n, scribbler(n))).collect(), heap);
    foreign_cow: Foreign<CowHashMap<u64, Scribbler>> = Foreign::of(|n| (n..n + 3).map(|n| (n, scribbler(n))).collect(), heap);
}

const MAP: Root<CowMap<u64, Graph>> = Root::new("map");
const SHARED: Root<SalRc<Graph>> = Root::new("shared");
const OTHER: Root<CowHashMap<u64, SalRc<SalVec<Graph>>>> = Root::class(3);

fn fill(heap: &Heap) {
    let tx = heap.write().unwrap();
    let alloc = heap.alloc();
    let map = tx.root_or_default(MAP).unwrap();
    (0..2).for_each(|key| drop(map.insert(key, Graph::new(alloc))));
    tx.set_root(SHARED, SalRc::new(Graph::new(alloc))).unwrap();
    let graphs = SalVec::from([Graph::new(alloc)]);
    tx.set_root(OTHER, [(1, SalRc::new(graphs))].into_iter().collect()).unwrap();
}

/// All that the roots hold, as text.
fn state_of(heap: &Heap) -> String {
    let read = heap.read().unwrap();
    format!("{:#?}\n{:#?}\n{:#?}", read.root(MAP).unwrap(), read.root(SHARED).unwrap(), read.root(OTHER).unwrap())
}

/// The bytes of a block.
struct Block {
    start: *const u8,
    bytes: Vec<u8>,
}

impl Block {
    fn read(start: *const u8, len: usize) -> Vec<u8> {
        // SAFETY: in the window of an open heap, as all blocks are; volatile, since values may lie there that are dropped by now.
        (0..len).map(|at| unsafe { start.add(at).read_volatile() }).collect()
    }

    /// Where a byte is not what it was.
    fn difference(&self) -> Option<(usize, u8, u8)> {
        let now = Self::read(self.start, self.bytes.len());
        (0..now.len()).find(|&at| now[at] != self.bytes[at]).map(|at| (at, self.bytes[at], now[at]))
    }
}

/// All blocks that the roots lead to.
fn blocks_of(heap: &Heap) -> Vec<Block> {
    let read = heap.read().unwrap();
    let mut blocks = Vec::new();
    let mut note = |start: std::ptr::NonNull<u8>, layout: std::alloc::Layout| {
        let start = start.as_ptr().cast_const();
        blocks.push(Block { start, bytes: Block::read(start, layout.size()) });
    };
    let mut visitor = BlockVisitor::observing(heap.address_range(), heap.alloc(), &mut note);
    visitor.value(read.root(MAP).unwrap());
    visitor.value(read.root(SHARED).unwrap());
    visitor.value(read.root(OTHER).unwrap());
    visitor.finish().unwrap();
    blocks
}

fn clear_and_take(heap: &Heap) {
    let tx = heap.write().unwrap();
    tx.root_mut(MAP).unwrap().clear();
    drop(tx.take_root(SHARED).unwrap());
    tx.root_mut(OTHER).unwrap().clear();
}

fn overwrite(heap: &Heap) {
    let tx = heap.write().unwrap();
    let graph = Graph::new(heap.alloc());
    *tx.root_mut(MAP).unwrap() = CowMap::new();
    *tx.root_mut(SHARED).unwrap() = SalRc::new(graph);
    tx.set_root(OTHER, CowHashMap::new()).unwrap();
}

fn remove_one_by_one(heap: &Heap) {
    let tx = heap.write().unwrap();
    let map = tx.root_mut(MAP).unwrap();
    (0..2).for_each(|key| drop(map.remove(&key).unwrap()));
    tx.root_mut(OTHER).unwrap().remove(&1).unwrap();
    drop(tx.take_root(SHARED).unwrap());
}

/// The last pointers are dropped by a thread that has no session.
fn drop_elsewhere(heap: &Heap) {
    let tx = heap.write().unwrap();
    let (map, shared, other) =
        (tx.take_root(MAP).unwrap(), tx.take_root(SHARED).unwrap(), tx.take_root(OTHER).unwrap());
    drop(tx);
    thread::scope(|scope| scope.spawn(|| drop((map, shared, other))).join().unwrap());
}

type Way = (&'static str, fn(&Heap));
const WAYS: [Way; 4] = [
    ("clear_and_take", clear_and_take),
    ("overwrite", overwrite),
    ("remove_one_by_one", remove_one_by_one),
    ("drop_elsewhere", drop_elsewhere),
];

#[test]
fn no_byte_of_what_a_sync_leads_to_changes_when_it_is_dropped() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    let mut heap = open(&path);
    for (name, way) in WAYS {
        // What a heap file holds when it is opened is sealed, too.
        for is_reopened in [false, true] {
            fill(&heap);
            heap.sync().unwrap();
            if is_reopened {
                unmap(heap);
                heap = open(&path);
            }
            let blocks = blocks_of(&heap);
            assert!(blocks.len() > 10_000, "{}", blocks.len());
            let len: u64 = blocks.iter().map(|block| block.bytes.len() as u64).sum();
            way(&heap);
            let different: Vec<_> = blocks.iter().filter_map(|block| Some((block, block.difference()?))).collect();
            for (block, (at, before, now)) in different.iter().take(9) {
                println!("{:?}+{at} of {}: {before:#x} is {now:#x}", block.start, block.bytes.len());
            }
            assert_eq!(different.len(), 0, "{name}: blocks, of {}, that were changed", blocks.len());
            let withheld = heap.stats().live_bytes;
            heap.sync().unwrap();
            let freed = withheld - heap.stats().live_bytes;
            println!("{name}, reopened: {is_reopened}: {freed} bytes are free after the next sync, of {len}");
            // Where pointers were counted anew, words that were left behind in slots that are not in use keep some values.
            assert!(len > 10 << 20 && freed >= if is_reopened { len / 4 } else { len });
            assert!(heap.verify().is_good());
        }
    }
    unmap(heap);
}

#[test]
fn a_killed_heap_has_what_was_being_dropped() {
    if let Some((role, path)) = process::role() {
        let heap = open(&path);
        fill(&heap);
        heap.sync().unwrap();
        std::fs::write(path.with_extension("state"), state_of(&heap)).unwrap();
        WAYS.iter().find(|way| way.0 == role).unwrap().1(&heap);
        wait_for_the_kill();
    }
    let _alone = alone();
    for (name, _) in WAYS {
        let (_directory, path) = fresh_path();
        run_and_kill("a_killed_heap_has_what_was_being_dropped", name, &path);
        let heap = open(&path);
        let (found, expected) = (state_of(&heap), std::fs::read_to_string(path.with_extension("state")).unwrap());
        let mut lines = found.lines().zip(expected.lines());
        assert_eq!(lines.find(|(found, expected)| found != expected), None, "{name}");
        assert!(found == expected, "{name}");
        assert!(heap.verify().is_good());
        unmap(heap);
    }
}

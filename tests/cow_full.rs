//! Heaps that are full, under collections whose versions share nodes: whatever finds no room leaves a collection that is in order and has
//! what it had, older versions as they were, and nothing lost.
//!
//! A heap is filled to the brim in every size of block. Then the operation under test gets no block, one of each size, two, and so
//! on, until it is served: so each allocation in it is refused once.
#![allow(unsafe_code)]

use allocator_api2::alloc::Allocator;
use sal::collections::{CowHashMap, CowHashSet, CowMap, CowSet, CowVec, TryReserveError};
use sal::{Heap, HeapOptions, SalRc};
use std::alloc::Layout;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::ptr::NonNull;
use std::sync::Arc;

/// Blocks of each size that are held at first.
const HELD: usize = 150;

/// A heap, and the blocks that fill it.
struct Full<'h> {
    heap: &'h Heap,
    /// Of the sizes of all blocks that nodes and lists of entries lie in, the largest first.
    sizes: Vec<usize>,
    held: BTreeMap<usize, Vec<NonNull<u8>>>,
}

fn small_heap() -> Heap {
    HeapOptions::new().capacity(16 << 20).volatile().unwrap()
}

impl<'h> Full<'h> {
    fn new(heap: &'h Heap) -> Self {
        let mut full = Self {
            heap,
            sizes: heap.size_classes().sizes().filter(|&size| size <= 4096).collect(),
            held: BTreeMap::new(),
        };
        full.sizes.reverse();
        full.make_room();
        full
    }

    /// Gives all blocks back, but some of each size, so that there are some that can be given back later.
    fn make_room(&mut self) {
        self.empty();
        for size in self.sizes.clone() {
            for _ in 0..HELD {
                assert!(self.take(size));
            }
        }
    }

    fn layout(size: usize) -> Layout {
        Layout::from_size_align(size, 8).unwrap()
    }

    fn take(&mut self, size: usize) -> bool {
        let Ok(block) = self.heap.alloc().allocate(Self::layout(size)) else { return false };
        self.held.entry(size).or_default().push(block.cast());
        true
    }

    /// Takes all there is, the largest first.
    fn fill(&mut self) {
        for size in self.sizes.clone() {
            while self.take(size) {}
        }
    }

    /// Gives so many blocks of each size back.
    fn allow(&mut self, blocks: usize) {
        for size in self.sizes.clone() {
            for _ in 0..blocks {
                let block = self.held.get_mut(&size).and_then(Vec::pop);
                let block = block.unwrap_or_else(|| panic!("none of {size} bytes is held any more"));
                // SAFETY: allocated with that layout, freed once.
                unsafe { self.heap.alloc().deallocate(block, Self::layout(size)) };
            }
        }
    }

    /// Gives all blocks back.
    fn empty(&mut self) {
        for (size, blocks) in std::mem::take(&mut self.held) {
            for block in blocks {
                // SAFETY: allocated with that layout, freed once.
                unsafe { self.heap.alloc().deallocate(block, Self::layout(size)) };
            }
        }
    }
}

impl Drop for Full<'_> {
    fn drop(&mut self) {
        self.empty();
        if !std::thread::panicking() {
            assert_eq!(self.heap.stats().live_bytes, 0, "something is lost");
        }
    }
}

/// A collection, and what is to be in it.
trait Subject: Clone {
    type Model: Clone;
    fn verify(&self, model: &Self::Model);
}

/// Does something until it is served, and returns how often it was refused.
fn until_served<C: Subject, R>(
    full: &mut Full<'_>,
    collection: &mut C,
    model: &C::Model,
    mut work: impl FnMut(&mut C) -> Result<R, TryReserveError>,
) -> (R, usize) {
    for blocks in 0.. {
        full.fill();
        full.allow(blocks);
        match work(collection) {
            Ok(done) => return (done, blocks),
            Err(error) => {
                assert!(matches!(error, TryReserveError::AllocError { .. }), "{error}");
                collection.verify(model);
            }
        }
        assert!(blocks < 60, "never served");
    }
    unreachable!()
}

fn random(state: &Cell<u64>, below: u64) -> u64 {
    let mut n = state.get();
    n ^= n << 13;
    n ^= n >> 7;
    n ^= n << 17;
    state.set(n);
    n % below
}

/// Versions and what they are to have: the newest first ones go.
struct Versions<C: Subject>(Vec<(C, C::Model)>);

impl<C: Subject> Versions<C> {
    fn keep(&mut self, collection: &C, model: &C::Model) {
        if self.0.len() == 3 {
            self.0.remove(0);
        }
        self.0.push((collection.clone(), model.clone()));
    }

    fn verify(&self) {
        self.0.iter().for_each(|(collection, model)| collection.verify(model));
    }
}

type Element = Arc<u64>;

impl Subject for CowVec<Element> {
    type Model = Vec<u64>;

    fn verify(&self, model: &Vec<u64>) {
        self.check().unwrap();
        assert!(self.iter().map(|element| **element).eq(model.iter().copied()), "{} {}", self.len(), model.len());
    }
}

#[test]
fn a_vector_in_a_full_heap_has_what_it_had() {
    let state = Cell::new(0x5EED_1234_5678_9ABC);
    let heap = small_heap();
    let (mut full, session) = (Full::new(&heap), heap.write().unwrap());
    let elements: Vec<Element> = (0..8).map(Arc::new).collect();
    let pick = || Arc::clone(&elements[random(&state, 8) as usize]);
    let mut refused = [0; 10];
    {
        // Around a leaf, a branch and a tree of two levels.
        for start in [0, 31, 32, 33, 200, 512, 513, 8191, 8192, 8193] {
            full.make_room();
            let mut vec: CowVec<Element> = (0..start).map(|_| pick()).collect();
            let mut model: Vec<u64> = vec.iter().map(|element| **element).collect();
            let mut versions = Versions(Vec::new());
            for _ in 0..40 {
                if random(&state, 2) == 0 {
                    versions.keep(&vec, &model);
                }
                let kind = random(&state, 10) as usize;
                let at = random(&state, model.len() as u64 + 1) as usize;
                let element = pick();
                let before = model.clone();
                let times = match kind {
                    0 => {
                        model.push(*element);
                        until_served(&mut full, &mut vec, &before, |vec| vec.try_push(element.clone())).1
                    }
                    1 => {
                        let at = at.max(before.len().saturating_sub(100));
                        model.insert(at, *element);
                        until_served(&mut full, &mut vec, &before, |vec| vec.try_insert(at, element.clone())).1
                    }
                    2 => {
                        let (popped, times) = until_served(&mut full, &mut vec, &before, CowVec::try_pop);
                        assert_eq!(popped.map(|element| *element), model.pop());
                        times
                    }
                    3 if at.max(model.len().saturating_sub(100)) < model.len() => {
                        let at = at.max(model.len().saturating_sub(100));
                        let (removed, times) = until_served(&mut full, &mut vec, &before, |vec| vec.try_remove(at));
                        assert_eq!(*removed, model.remove(at));
                        times
                    }
                    4 if at < model.len() => {
                        model[at] = *element;
                        let set = |vec: &mut CowVec<Element>| {
                            vec.try_get_mut(at).map(|place| *place.unwrap() = element.clone())
                        };
                        until_served(&mut full, &mut vec, &before, set).1
                    }
                    5 => {
                        let kept = at.max(model.len().saturating_sub(40));
                        model.truncate(kept);
                        until_served(&mut full, &mut vec, &before, |vec| vec.try_truncate(kept)).1
                    }
                    6 => {
                        let more: Vec<Element> = (0..random(&state, 70)).map(|_| pick()).collect();
                        model.extend(more.iter().map(|element| **element));
                        until_served(&mut full, &mut vec, &before, |vec| vec.try_extend_from_slice(&more)).1
                    }
                    7 => {
                        full.make_room();
                        let mut other: CowVec<Element> = (0..random(&state, 70)).map(|_| pick()).collect();
                        let others: Vec<u64> = other.iter().map(|element| **element).collect();
                        model.extend(&others);
                        let append = |vec: &mut CowVec<Element>| {
                            let appended = vec.try_append(&mut other);
                            other.verify(if appended.is_ok() { &[][..] } else { &others[..] }.to_vec().as_ref());
                            appended
                        };
                        until_served(&mut full, &mut vec, &before, append).1
                    }
                    8 => {
                        let at = at.max(model.len().saturating_sub(300)) / 32 * 32;
                        let (behind, times) = until_served(&mut full, &mut vec, &before, |vec| vec.try_split_off(at));
                        behind.verify(&model.split_off(at));
                        times
                    }
                    9 => {
                        let at = at.max(model.len().saturating_sub(100));
                        let (behind, times) = until_served(&mut full, &mut vec, &before, |vec| vec.try_split_off(at));
                        behind.verify(&model.split_off(at));
                        times
                    }
                    _ => continue,
                };
                refused[kind] += times;
                vec.verify(&model);
                versions.verify();
            }
        }
    }
    drop(session);
    assert!(refused.iter().all(|&times| times > 5), "{refused:?}");
    assert!(elements.iter().all(|element| Arc::strong_count(element) == 1), "an element is lost");
}

#[test]
fn a_vector_that_finds_no_room_for_a_branch_keeps_the_leaf_in_its_tail() {
    let heap = small_heap();
    let (mut full, session) = (Full::new(&heap), heap.write().unwrap());
    let elements: Vec<Element> = (0..32).map(Arc::new).collect();
    let mut vec: CowVec<Element> = elements.iter().cloned().collect();
    let model: Vec<u64> = (0..32).collect();
    full.fill();
    // A leaf is to be had, a branch is not.
    let leaf = full.held.get_mut(&256).and_then(Vec::pop).unwrap();
    // SAFETY: allocated with that layout, freed once.
    unsafe { full.heap.alloc().deallocate(leaf, Full::layout(256)) };
    assert!(vec.try_push(elements[0].clone()).is_err());
    vec.verify(&model);
    assert!(elements.iter().all(|element| Arc::strong_count(element) == 2), "each is here and in the vector");
    full.allow(1);
    vec.try_push(elements[0].clone()).unwrap();
    assert_eq!(vec.len(), 33);
    vec.check().unwrap();
    drop((vec, session));
}

#[test]
fn what_is_added_before_the_heap_is_full_stays() {
    let heap = small_heap();
    let (mut full, session) = (Full::new(&heap), heap.write().unwrap());
    full.fill();
    full.allow(20);
    let mut vec = CowVec::new();
    assert!(vec.try_extend(0..1 << 20_u64).is_err());
    assert!(vec.len() >= 20 * 32 && vec.iter().copied().eq(0..vec.len() as u64));
    vec.check().unwrap();
    assert!(CowVec::try_from_iter(0..1 << 20_u64).is_err());
    drop(vec);

    let mut map = CowMap::new();
    assert!(map.try_extend((0..1 << 20_u64).map(|n| (n, n))).is_err());
    assert!(map.len() > 100 && map.iter().all(|(key, value)| key == value));
    map.check().unwrap();
    drop(map);
    assert!(CowMap::try_from_iter((0..1 << 20_u64).map(|n| (n, n))).is_err());
    assert!(CowMap::try_from_sorted((0..1 << 20_u64).map(|n| (n, n))).is_err());
    let mut set = CowSet::new();
    assert!(set.try_extend(0..1 << 20_u64).is_err() && !set.is_empty());
    set.check().unwrap();
    drop(set);
    assert!(CowSet::try_from_iter(0..1 << 20_u64).is_err() && CowSet::try_from_sorted(0..1 << 20_u64).is_err());

    let mut map = CowHashMap::new();
    assert!(map.try_extend((0..1 << 20_u64).map(|n| (n, n))).is_err());
    assert!(map.len() > 100 && map.iter().all(|(key, value)| key == value));
    map.check().unwrap();
    drop(map);
    assert!(CowHashMap::try_from_iter((0..1 << 20_u64).map(|n| (n, n))).is_err());
    let mut set = CowHashSet::new();
    assert!(set.try_extend(0..1 << 20_u64).is_err() && !set.is_empty());
    set.check().unwrap();
    drop(set);
    assert!(CowHashSet::try_from_iter(0..1 << 20_u64).is_err());
    drop(session);
}

impl Subject for CowMap<u64, Element> {
    type Model = BTreeMap<u64, u64>;

    fn verify(&self, model: &BTreeMap<u64, u64>) {
        self.check().unwrap();
        assert!(self.iter().map(|(key, value)| (*key, **value)).eq(model.iter().map(|(key, value)| (*key, *value))));
    }
}

#[test]
fn an_ordered_map_in_a_full_heap_has_what_it_had() {
    let state = Cell::new(0x1357_9BDF_0246_8ACE);
    let heap = small_heap();
    let (mut full, session) = (Full::new(&heap), heap.write().unwrap());
    let elements: Vec<Element> = (0..8).map(Arc::new).collect();
    let mut refused = [0; 6];
    for start in [0, 1, 30, 31, 32, 500, 3000] {
        full.make_room();
        let mut map: CowMap<u64, Element> = (0..start).map(|n| (n * 10, elements[n as usize % 8].clone())).collect();
        let mut model: BTreeMap<u64, u64> = (0..start).map(|n| (n * 10, n % 8)).collect();
        let mut versions = Versions(Vec::new());
        for _ in 0..60 {
            if random(&state, 2) == 0 {
                versions.keep(&map, &model);
            }
            let kind = random(&state, 6) as usize;
            // New keys close to each other, so that leaves are full, and old ones.
            let key = if random(&state, 2) == 0 { random(&state, 60) } else { random(&state, start + 1) * 10 };
            let element = elements[random(&state, 8) as usize].clone();
            let before = model.clone();
            let times = match kind {
                0 | 1 => {
                    let inserted =
                        until_served(&mut full, &mut map, &before, |map| map.try_insert(key, element.clone()));
                    assert_eq!(inserted.0.map(|value| *value), model.insert(key, *element));
                    inserted.1
                }
                2 => {
                    let removed = until_served(&mut full, &mut map, &before, |map| map.try_remove(&key));
                    assert_eq!(removed.0.map(|value| *value), model.remove(&key));
                    removed.1
                }
                3 => {
                    let first = random(&state, 2) == 0;
                    let popped = until_served(&mut full, &mut map, &before, |map| {
                        if first { map.try_pop_first() } else { map.try_pop_last() }
                    });
                    let expected = if first { model.pop_first() } else { model.pop_last() };
                    assert_eq!(popped.0.map(|(key, value)| (key, *value)), expected);
                    popped.1
                }
                4 => {
                    let set = until_served(&mut full, &mut map, &before, |map| {
                        map.try_get_mut(&key).map(|place| place.map(|place| *place = element.clone()))
                    });
                    assert_eq!(set.0.is_some(), model.get_mut(&key).map(|place| *place = *element).is_some());
                    set.1
                }
                _ => {
                    let entered = until_served(&mut full, &mut map, &before, |map| match map.entry(key) {
                        sal::collections::cow_map::Entry::Occupied(_) => Ok(false),
                        sal::collections::cow_map::Entry::Vacant(entry) => {
                            entry.try_insert(element.clone()).map(|value| **value == *element)
                        }
                    });
                    assert_eq!(entered.0, !model.contains_key(&key));
                    model.entry(key).or_insert(*element);
                    entered.1
                }
            };
            refused[kind] += times;
            map.verify(&model);
            versions.verify();
        }
    }
    drop(session);
    assert!(refused.iter().all(|&times| times > 5), "{refused:?}");
    assert!(elements.iter().all(|element| Arc::strong_count(element) == 1), "an element is lost");
}

/// A key whose hash is that of many others.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Key {
    number: u64,
    hashes: u64,
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.number % self.hashes);
    }
}

impl Subject for CowHashMap<Key, Element> {
    type Model = BTreeMap<u64, u64>;

    fn verify(&self, model: &BTreeMap<u64, u64>) {
        self.check().unwrap();
        let found: BTreeMap<u64, u64> = self.iter().map(|(key, value)| (key.number, **value)).collect();
        assert!(found == *model && self.len() == model.len());
    }
}

#[test]
fn a_hash_map_in_a_full_heap_has_what_it_had() {
    let state = Cell::new(0x0F1E_2D3C_4B5A_6978);
    let heap = small_heap();
    let (mut full, session) = (Full::new(&heap), heap.write().unwrap());
    let elements: Vec<Element> = (0..8).map(Arc::new).collect();
    let mut refused = [0; 4];
    // All of one hash are a list behind all the branches there can be.
    for (start, hashes) in [(0, u64::MAX), (15, u64::MAX), (16, u64::MAX), (2000, u64::MAX), (14, 1), (45, 3), (300, 7)]
    {
        let key = |number| Key { number, hashes };
        full.make_room();
        let mut map: CowHashMap<Key, Element> =
            (0..start).map(|n| (key(n), elements[n as usize % 8].clone())).collect();
        let mut model: BTreeMap<u64, u64> = (0..start).map(|n| (n, n % 8)).collect();
        let mut versions = Versions(Vec::new());
        for _ in 0..60 {
            if random(&state, 2) == 0 {
                versions.keep(&map, &model);
            }
            let kind = random(&state, 4) as usize;
            let number = random(&state, start + 20);
            let element = elements[random(&state, 8) as usize].clone();
            let before = model.clone();
            let times = match kind {
                0 | 1 => {
                    let insert = |map: &mut CowHashMap<_, _>| map.try_insert(key(number), element.clone());
                    let inserted = until_served(&mut full, &mut map, &before, insert);
                    assert_eq!(inserted.0.map(|value| *value), model.insert(number, *element));
                    inserted.1
                }
                2 => {
                    let removed = until_served(&mut full, &mut map, &before, |map| map.try_remove(&key(number)));
                    assert_eq!(removed.0.map(|value| *value), model.remove(&number));
                    removed.1
                }
                _ => {
                    let set = until_served(&mut full, &mut map, &before, |map| {
                        map.try_get_mut(&key(number)).map(|place| place.map(|place| *place = element.clone()))
                    });
                    assert_eq!(set.0.is_some(), model.get_mut(&number).map(|place| *place = *element).is_some());
                    set.1
                }
            };
            refused[kind] += times;
            map.verify(&model);
            versions.verify();
        }
    }
    drop(session);
    assert!(refused.iter().all(|&times| times > 5), "{refused:?}");
    assert!(elements.iter().all(|element| Arc::strong_count(element) == 1), "an element is lost");
}

#[test]
fn sets_in_a_full_heap_have_what_they_had() {
    let heap = small_heap();
    let (mut full, session) = (Full::new(&heap), heap.write().unwrap());
    let (mut ordered, mut hashed): (CowSet<u64>, CowHashSet<u64>) = ((0..500).collect(), (0..500).collect());
    let before = (ordered.clone(), hashed.clone());
    full.fill();
    assert!(ordered.try_insert(1000_u64).is_err() && hashed.try_insert(1000_u64).is_err());
    assert!(ordered.try_remove(&7).is_err() && hashed.try_remove(&7).is_err());
    assert!(ordered.try_take(&7).is_err() && hashed.try_take(&7).is_err());
    assert!(ordered.try_pop_first().is_err() && ordered.try_pop_last().is_err());
    // What is not there is not copied.
    assert!(ordered.try_remove(&777) == Ok(false) && hashed.try_remove(&777) == Ok(false));
    assert!(ordered == before.0 && hashed == before.1 && ordered.ptr_eq(&before.0) && hashed.ptr_eq(&before.1));
    full.allow(10);
    assert!(ordered.try_insert(1000_u64) == Ok(true) && hashed.try_insert(1000_u64) == Ok(true));
    assert!(ordered.try_remove(&7) == Ok(true) && hashed.try_take(&7) == Ok(Some(7)));
    assert!(ordered.check().and(hashed.check()).and(before.0.check()).and(before.1.check()).is_ok());
    assert_eq!((ordered.len(), hashed.len(), before.0.len(), before.1.len()), (500, 500, 500, 500));
    drop((ordered, hashed, before, session));
}

#[test]
fn a_value_near_another_is_refused_where_there_is_no_room() {
    let heap = small_heap();
    let mut full = Full::new(&heap);
    let value = SalRc::new_in([1_u64; 8], full.heap.alloc());
    full.fill();
    assert!(SalRc::try_new_near([2_u64; 8], &value).is_err());
    full.allow(1);
    assert_eq!(*SalRc::try_new_near([2_u64; 8], &value).unwrap(), [2; 8]);
    drop(value);
}

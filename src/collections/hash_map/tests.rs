//! What only the crate itself can test: maps filled under another way of hashing.

use super::*;
use crate::collections::hash::override_fingerprint;
use crate::collections::raw_block::refusal;
use crate::heap::placement::scoped_heap;
use core::cell::Cell;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

std::thread_local! {
    /// What [`Salted`] feeds into a hasher besides its number.
    static SALT: Cell<u64> = const { Cell::new(0) };
    /// How many more hashes of [`Salted`] there may be.
    static HASHES_LEFT: Cell<u64> = const { Cell::new(u64::MAX) };
}

/// A type whose hash changes like one of the standard library may.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Salted(u64);

impl Hash for Salted {
    fn hash<H: Hasher>(&self, state: &mut H) {
        assert_ne!(HASHES_LEFT.get(), 0, "out of hashes");
        HASHES_LEFT.set(HASHES_LEFT.get() - 1);
        state.write_u64(self.0);
        state.write_u64(SALT.get());
    }
}

/// Changes how the thread hashes, and its fingerprint with it; undone on drop.
struct OtherBuild;

impl OtherBuild {
    fn with_salt(salt: u64) -> Self {
        SALT.set(salt);
        override_fingerprint(Some(1000 + salt));
        Self
    }
}

impl Drop for OtherBuild {
    fn drop(&mut self) {
        SALT.set(0);
        HASHES_LEFT.set(u64::MAX);
        override_fingerprint(None);
    }
}

fn filled(n: u64) -> SalHashMap<Salted, u64> {
    let mut map: SalHashMap<Salted, u64> = (0..n + n / 2).map(|i| (Salted(i), i * 10)).collect();
    for i in n..n + n / 2 {
        map.remove(&Salted(i)); // leaves deleted slots
    }
    map
}

fn assert_holds(map: &SalHashMap<Salted, u64>, n: u64) {
    map.check().unwrap();
    assert_eq!(map.len() as u64, n);
    for i in 0..n {
        assert_eq!(map.get(&Salted(i)), Some(&(i * 10)), "key {i}");
    }
    assert!(!map.contains_key(&Salted(n)));
}

#[test]
fn lookups_find_everything_when_hashing_has_changed() {
    for n in [1, 3, 13, 14, 100, 1000] {
        let map = filled(n);
        let _other = OtherBuild::with_salt(1);
        assert_holds(&map, n);
        assert_eq!(map.clone(), map);
    }
}

#[test]
fn first_change_puts_every_entry_where_the_new_hashing_looks() {
    for n in [1, 3, 14, 100, 1000] {
        let mut map = filled(n);
        let _other = OtherBuild::with_salt(2);
        let block = map.table.block;
        *map.get_mut(&Salted(0)).unwrap() = 0;
        assert_eq!(map.filled_under, 1002);
        assert_eq!(map.table.block, block, "no block is needed for that");
        assert_holds(&map, n);
        map.insert(Salted(n), n * 10);
        assert_holds(&map, n + 1);
    }
}

#[test]
fn every_way_to_change_settles_first() {
    let ways: &[fn(&mut SalHashMap<Salted, u64>)] = &[
        |map| assert!(map.insert(Salted(5), 50).is_some()),
        |map| assert_eq!(map.entry(Salted(5)).or_insert(0), &50),
        |map| assert!(matches!(map.entry_ref(&Salted(5)), EntryRef::Occupied(_))),
        |map| assert_eq!(map.remove(&Salted(1000)), None),
        |map| map.reserve(10_000),
        |map| map.shrink_to_fit(),
        |map| map.extend([(Salted(6), 60)]),
    ];
    for way in ways {
        let mut map = filled(50);
        let _other = OtherBuild::with_salt(3);
        way(&mut map);
        assert_eq!(map.filled_under, 1003);
        assert_holds(&map, 50);
    }
}

#[test]
fn removals_that_need_no_hash_work_unsettled() {
    let mut map = filled(100);
    let _other = OtherBuild::with_salt(4);
    map.retain(|key, _| key.0 < 40);
    assert_holds(&map, 40);
    assert_eq!(map.drain().count(), 40);
    map.check().unwrap();
    map.insert(Salted(0), 0);
    assert_holds(&map, 1);
}

#[test]
fn hash_that_panics_while_settling_loses_nothing() {
    let mut map = filled(500);
    for allowed in 0..=500 {
        let _other = OtherBuild::with_salt(allowed + 10);
        HASHES_LEFT.set(allowed);
        let outcome = catch_unwind(AssertUnwindSafe(|| map.rehash()));
        HASHES_LEFT.set(u64::MAX);
        assert_eq!(outcome.is_err(), allowed < 500);
        map.check().unwrap();
        if allowed % 50 == 0 {
            assert_holds(&map, 500);
        }
    }
}

#[test]
fn hash_that_panics_while_growing_loses_nothing() {
    let mut map = filled(14);
    map.shrink_to_fit();
    assert_eq!(map.table.growth_left, 0);
    HASHES_LEFT.set(8);
    assert!(catch_unwind(AssertUnwindSafe(|| map.insert(Salted(99), 1))).is_err());
    HASHES_LEFT.set(u64::MAX);
    assert_holds(&map, 14);
}

#[test]
fn own_change_of_hashing_is_healed_by_rehash() {
    let mut map = filled(100);
    SALT.set(77);
    assert!(map.check().is_err());
    map.rehash();
    assert_holds(&map, 100);
    SALT.set(0);
}

#[test]
fn steady_removal_and_insertion_never_grows_the_block() {
    let mut map: SalHashMap<u64, u64> = (0..1000).map(|i| (i, i)).collect();
    let slots = map.table.slots;
    for i in 0..20_000 {
        map.remove(&i);
        map.insert(i + 1000, i);
    }
    map.check().unwrap();
    assert_eq!((map.len(), map.table.slots), (1000, slots));
}

/// An empty map has to point nowhere: what it pointed to would be gone in the next process.
#[test]
fn map_without_entries_after_giving_them_up_has_no_pointer_or_its_own_block() {
    fn full() -> SalHashMap<String, u32> {
        (0..20).map(|i| (i.to_string(), i)).collect()
    }
    let words =
        |map: &SalHashMap<String, u32>| (map.table.block, map.table.slots, map.table.len, map.table.growth_left);
    let nothing = (None, 0, 0, 0);

    assert_eq!(words(&SalHashMap::new()), nothing);
    assert_eq!(words(&SalHashMap::with_capacity(0)), nothing);
    assert_eq!(words(&[].into_iter().collect()), nothing);

    let mut map = full();
    core::mem::forget(map.drain());
    assert_eq!(words(&map), nothing);

    let mut map = full();
    let block = map.table.block;
    drop(map.drain());
    assert_eq!(map.table.block, block);
    map.shrink_to_fit();
    assert_eq!(words(&map), nothing);

    let mut map = full();
    drop(core::mem::take(&mut map));
    assert_eq!(words(&map), nothing);

    let mut map = full();
    map.clear();
    map.shrink_to_fit();
    assert_eq!(words(&map.clone()), nothing);
    assert_eq!(words(&map), nothing);
}

#[test]
fn equal_seeds_give_equal_tables() {
    let build = || {
        let mut map: SalHashMap<u64, u64> = SalHashMap::new();
        (map.seed, map.filled_under) = (42, fingerprint());
        map.extend((0..100).map(|i| (i * 3, i)));
        map
    };
    assert!(build().iter().eq(build().iter()));
}

/// The order of entries shows their slots, and those depend on the hash function, the group size and the search: the
/// format of the file.
#[test]
fn places_of_entries_are_those_of_the_format() {
    let mut map: SalHashMap<u64, ()> = SalHashMap::new();
    (map.seed, map.filled_under) = (42, fingerprint());
    map.extend((0..24).map(|i| (i, ())));
    let order: Vec<u64> = map.keys().copied().collect();
    assert_eq!(order, [0, 2, 4, 5, 7, 9, 12, 17, 18, 19, 20, 21, 23, 1, 3, 6, 8, 10, 11, 13, 14, 15, 16, 22]);
}

#[test]
fn seeds_differ_from_map_to_map() {
    let seed = || {
        let map: SalHashMap<u8, u8> = [(1, 1)].into();
        map.seed
    };
    assert_ne!(seed(), seed());
}

#[test]
fn map_is_what_the_model_is_under_changing_builds() {
    let mut map: SalHashMap<Salted, u64> = SalHashMap::new();
    let mut model = HashMap::new();
    for round in 0..40 {
        let _other = OtherBuild::with_salt(round);
        for i in 0..30 {
            let key = (round * 17 + i * 7) % 200;
            if i % 3 == 0 {
                assert_eq!(map.remove(&Salted(key)), model.remove(&key));
            } else {
                assert_eq!(map.insert(Salted(key), round), model.insert(key, round));
            }
        }
        map.check().unwrap();
    }
    assert_eq!(map.len(), model.len());
    assert!(model.iter().all(|(key, value)| map.get(&Salted(*key)) == Some(value)));
}

#[test]
fn map_is_as_it_was_when_no_block_can_be_had() {
    let mut map: SalHashMap<u64, Box<u64>> = SalHashMap::new();
    let mut refused = 0;
    for n in 0..1000 {
        refusal::allow(Some(0));
        let capacity = map.capacity();
        let outcome = map.try_insert(n, Box::new(n));
        assert_eq!(outcome.is_err(), n as usize == capacity);
        if outcome.is_err() {
            refused += 1;
            map.check().unwrap();
            assert_eq!((map.len() as u64, map.get(&n)), (n, None));
            if let Entry::Vacant(entry) = map.entry(n) {
                assert!(entry.try_insert(Box::new(n)).is_err());
            }
            assert!(map.try_reserve(1).is_err());
            refusal::allow(Some(1));
            assert_eq!(map.try_insert(n, Box::new(n)), Ok(None));
        }
    }
    assert!(refused >= 8);
    map.retain(|n, _| *n < 10);
    refusal::allow(Some(0));
    assert!(map.try_shrink_to_fit().is_err());
    refusal::allow(None);
    map.check().unwrap();
    assert_eq!(map.len(), 10);
}

/// A key that notes whether it is made for a heap of somebody's choice.
#[derive(Debug)]
struct Made {
    number: u64,
    in_scope: bool,
}

impl PartialEq for Made {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Made {}

impl Hash for Made {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.number.hash(state);
    }
}

impl From<&u64> for Made {
    fn from(number: &u64) -> Self {
        Self { number: *number, in_scope: scoped_heap().is_some() }
    }
}

impl core::borrow::Borrow<u64> for Made {
    fn borrow(&self) -> &u64 {
        &self.number
    }
}

impl KeyFrom<u64> for Made {
    const ALLOCATES: bool = true;
    fn key_from(number: u64) -> Self {
        Self::from(&number)
    }
}

impl IntoKey<Made> for u64 {}

impl Default for Made {
    fn default() -> Self {
        Self::from(&0)
    }
}

#[test]
fn keys_and_values_made_on_the_way_are_made_for_the_heap_of_the_map() {
    let mut map: SalHashMap<u64, Made> = SalHashMap::new();
    assert!(map.entry(1).or_default().in_scope);
    assert!(map.entry(2).or_insert_with(|| Made::from(&2)).in_scope);
    let mut keys: SalHashMap<Made, Made> = SalHashMap::new();
    assert!(keys.entry_ref(&2).or_insert_with(|| Made::from(&2)).in_scope);
    keys.insert(5, Made::default());
    assert!(!keys[&5].in_scope, "a value given by the caller is the caller's matter");
    assert!(keys.keys().all(|key| key.in_scope));
    assert_eq!(scoped_heap(), None);
}

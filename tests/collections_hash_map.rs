//! `SalHashMap` against `std::collections::HashMap`, and where things go wrong.

mod counted;

use counted::{Bomb, Counted, alive, never_panic, panic_after};
use proptest::prelude::*;
use sal::collections::hash_map::{Entry, EntryRef};
use sal::collections::{SalHashMap, SalHashSet, SalString, TryReserveError};
use std::collections::{HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};

#[derive(Clone, Debug)]
enum Step {
    Insert(u64, u64),
    Remove(u64),
    Look(u64),
    OrInsert(u64, u64),
    Entry(u64, u64),
    AndModify(u64),
    RemoveEntry(u64),
    Retain(u64),
    ExtractSome(u64, usize),
    IncrementAll,
    Extend(Vec<(u64, u64)>),
    Reserve(usize),
    ShrinkToFit,
    ShrinkTo(usize),
    DrainSome(usize),
    IntoIterSome(usize),
    Clear,
    CloneItself,
    Rehash,
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0..80u64;
    prop_oneof![
        12 => (key.clone(), any::<u64>()).prop_map(|(k, v)| Step::Insert(k, v)),
        10 => key.clone().prop_map(Step::Remove),
        4 => key.clone().prop_map(Step::Look),
        5 => (key.clone(), any::<u64>()).prop_map(|(k, v)| Step::OrInsert(k, v)),
        3 => (key.clone(), any::<u64>()).prop_map(|(k, v)| Step::Entry(k, v)),
        2 => key.clone().prop_map(Step::AndModify),
        2 => key.clone().prop_map(Step::RemoveEntry),
        1 => (2..5u64).prop_map(Step::Retain),
        1 => (2..5u64, 0..10usize).prop_map(|(n, take)| Step::ExtractSome(n, take)),
        1 => Just(Step::IncrementAll),
        1 => prop::collection::vec((key, any::<u64>()), 0..40).prop_map(Step::Extend),
        1 => (0..100usize).prop_map(Step::Reserve),
        2 => Just(Step::ShrinkToFit),
        1 => (0..100usize).prop_map(Step::ShrinkTo),
        1 => (0..10usize).prop_map(Step::DrainSome),
        1 => (0..10usize).prop_map(Step::IntoIterSome),
        1 => Just(Step::Clear),
        1 => Just(Step::CloneItself),
        1 => Just(Step::Rehash),
    ]
}

type Map<const H: u64> = SalHashMap<Counted<H>, Counted>;

fn apply<const H: u64>(step: &Step, map: &mut Map<H>, model: &mut HashMap<u64, u64>) {
    let (key, value) = (Counted::<H>::new, Counted::<0>::new);
    let number = |value: Option<Counted>| value.map(|value| value.number);
    match step.clone() {
        Step::Insert(k, v) => assert_eq!(number(map.insert(key(k), value(v))), model.insert(k, v)),
        Step::Remove(k) => assert_eq!(number(map.remove(&key(k))), model.remove(&k)),
        Step::Look(k) => {
            assert_eq!(map.get(&key(k)).map(|v| v.number), model.get(&k).copied());
            assert_eq!(map.get_mut(&key(k)).map(|v| v.number), model.get(&k).copied());
            assert_eq!(map.get_key_value(&key(k)).map(|(k, _)| k.number), model.get(&k).map(|_| k));
            assert_eq!(map.contains_key(&key(k)), model.contains_key(&k));
        }
        Step::OrInsert(k, v) => {
            let was = map.entry(key(k)).or_insert_with(|| value(v)).number;
            assert_eq!(was, *model.entry(k).or_insert(v));
        }
        Step::Entry(k, v) => match map.entry(key(k)) {
            Entry::Occupied(mut entry) => {
                assert_eq!((entry.key().number, entry.get().number), (k, model[&k]));
                entry.insert(value(v));
                model.insert(k, v);
            }
            Entry::Vacant(entry) => {
                assert_eq!(entry.key().number, k);
                assert!(!model.contains_key(&k));
                assert_eq!(entry.into_key().number, k);
            }
        },
        Step::AndModify(k) => {
            let _ = map.entry(key(k)).and_modify(|v| v.number /= 2);
            model.entry(k).and_modify(|v| *v /= 2);
        }
        Step::RemoveEntry(k) => {
            if let Entry::Occupied(entry) = map.entry(key(k)) {
                assert_eq!(Some(entry.remove_entry().1.number), model.remove(&k));
            }
        }
        Step::Retain(n) => {
            map.retain(|k, _| k.number % n != 0);
            model.retain(|k, _| k % n != 0);
        }
        Step::ExtractSome(n, take) => {
            for (k, v) in map.extract_if(|k, _| k.number % n == 0).take(take) {
                assert_eq!((k.number % n, model.remove(&k.number)), (0, Some(v.number)));
            }
        }
        Step::IncrementAll => {
            map.iter_mut().for_each(|(_, v)| v.number = v.number.wrapping_add(1));
            map.values_mut().for_each(|v| v.number = v.number.wrapping_mul(3));
            model.values_mut().for_each(|v| *v = v.wrapping_add(1).wrapping_mul(3));
        }
        Step::Extend(entries) => {
            map.extend(entries.iter().map(|(k, v)| (key(*k), value(*v))));
            model.extend(entries);
        }
        Step::Reserve(n) => {
            map.reserve(n);
            assert!(map.capacity() >= map.len() + n);
        }
        Step::ShrinkToFit => {
            map.shrink_to_fit();
            assert!(map.capacity() < 16.max(3 * map.len()));
        }
        Step::ShrinkTo(n) => {
            let before = map.capacity();
            map.shrink_to(n);
            assert!(map.capacity() >= n.min(before));
            // A smaller block can have more room if many entries of the larger one had been removed.
            assert!(map.capacity() <= before || map.capacity() < 16.max(3 * map.len().max(n)));
        }
        Step::DrainSome(n) => {
            let before = map.capacity();
            for (k, v) in map.drain().take(n) {
                assert_eq!(model[&k.number], v.number);
            }
            model.clear();
            assert!(map.capacity() >= before && map.is_empty());
        }
        Step::IntoIterSome(n) => {
            for (k, v) in std::mem::take(map).into_iter().take(n) {
                assert_eq!(model[&k.number], v.number);
            }
            model.clear();
        }
        Step::Clear => {
            map.clear();
            model.clear();
        }
        Step::CloneItself => {
            let copy = map.clone();
            copy.check().unwrap();
            assert_eq!(copy, *map);
            map.clone_from(&copy);
        }
        Step::Rehash => map.rehash(),
    }
}

fn compare<const H: u64>(map: &Map<H>, model: &HashMap<u64, u64>) {
    map.check().unwrap();
    assert_eq!(map.len(), model.len());
    assert_eq!(map.iter().len(), model.len());
    let entries: HashMap<u64, u64> = map.iter().map(|(k, v)| (k.number, v.number)).collect();
    assert_eq!(&entries, model);
    assert_eq!(alive(), 2 * model.len());
}

fn run<const H: u64>(steps: &[Step]) {
    let (mut map, mut model) = (Map::<H>::new(), HashMap::new());
    for step in steps {
        apply(step, &mut map, &mut model);
        compare(&map, &model);
    }
    drop(map);
    assert_eq!(alive(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn map_does_what_the_model_does(steps in prop::collection::vec(step(), 0..250)) {
        run::<0>(&steps);
    }

    #[test]
    fn map_with_four_hashes_does_what_the_model_does(steps in prop::collection::vec(step(), 0..200)) {
        run::<4>(&steps);
    }

    #[test]
    fn map_with_one_hash_does_what_the_model_does(steps in prop::collection::vec(step(), 0..200)) {
        run::<1>(&steps);
    }

    /// Whatever comparison, hash or clone panics: nothing is lost twice, and the map is in order.
    #[test]
    fn panics_of_keys_leave_a_map_in_order(steps in prop::collection::vec((step(), 0..60u32), 0..100)) {
        let mut map = Map::<4>::new();
        for (step, fuel) in &steps {
            let mut model: HashMap<u64, u64> = map.iter().map(|(k, v)| (k.number, v.number)).collect();
            panic_after(*fuel);
            let outcome = catch_unwind(AssertUnwindSafe(|| apply(step, &mut map, &mut model)));
            never_panic();
            map.check().unwrap();
            assert_eq!(alive(), 2 * map.len());
            if outcome.is_ok() {
                compare(&map, &model);
            }
        }
        drop(map);
        assert_eq!(alive(), 0);
    }
}

#[test]
fn large_map_finds_everything_and_nothing_else() {
    let mut map = SalHashMap::new();
    for i in 0..100_000u64 {
        assert_eq!(map.insert(i << 16, i), None);
    }
    map.check().unwrap();
    for i in 0..100_000u64 {
        assert_eq!(map.get(&(i << 16)), Some(&i));
        assert_eq!(map.get(&((i << 16) + 1)), None);
    }
    for i in (0..100_000u64).step_by(2) {
        assert_eq!(map.remove(&(i << 16)), Some(i));
    }
    map.check().unwrap();
    map.shrink_to_fit();
    map.check().unwrap();
    assert_eq!(map.len(), 50_000);
    assert_eq!(map.into_values().sum::<u64>(), (1..100_000u64).step_by(2).sum::<u64>());
}

#[test]
fn entry_ref_makes_a_key_only_if_it_is_missing() {
    let mut map: SalHashMap<Counted, u32> = SalHashMap::new();
    for round in 0..3 {
        for n in 0..50u64 {
            panic_after(0); // making a key needs fuel, and so does hashing one
            let is_new = matches!(map.entry_ref(&n), EntryRef::Vacant(_));
            never_panic();
            assert_eq!(is_new, round == 0);
            let entry = map.entry_ref(&n).and_modify(|count| *count += 1);
            assert_eq!(entry.key(), &n);
            assert_eq!(*entry.or_default(), round);
            assert_eq!(alive(), map.len());
        }
    }
    map.check().unwrap();
}

#[test]
fn key_that_is_there_stays_when_its_value_is_replaced() {
    let mut map = SalHashMap::new();
    #[derive(Debug)]
    struct Named(u64, &'static str);
    impl PartialEq for Named {
        fn eq(&self, other: &Self) -> bool {
            self.0 == other.0
        }
    }
    impl Eq for Named {}
    impl Hash for Named {
        fn hash<H: Hasher>(&self, state: &mut H) {
            self.0.hash(state);
        }
    }
    map.insert(Named(1, "first"), 1);
    map.insert(Named(1, "second"), 2);
    *map.entry(Named(1, "third")).or_insert(0) += 1;
    assert_eq!(map.get_key_value(&Named(1, "")).map(|(k, v)| (k.1, *v)), Some(("first", 3)));
}

#[test]
fn types_are_inferred_as_for_the_standard_map() {
    let mut inferred = SalHashMap::new();
    inferred.insert(1u8, "one");
    let mut literals: SalHashMap<u64, Option<u32>> = SalHashMap::new();
    literals.insert(1, None);
    literals.insert("2".parse().unwrap(), Some(3));
    let mut nested: SalHashMap<Option<(u8, i64)>, f32> = SalHashMap::new();
    nested.insert(None, 1.0);
    nested.insert(Some((1, -1)), 2.0);
    fn generic<K: Eq + Hash>(key: K) -> SalHashMap<K, ()> {
        let mut map = SalHashMap::new();
        map.insert(key, ());
        map
    }
    assert_eq!(inferred.len() + literals.len() + nested.len() + generic("x").len(), 6);
}

#[test]
fn keys_and_values_without_size_are_counted() {
    let mut map = SalHashMap::new();
    assert_eq!(map.insert((), ()), None);
    assert_eq!(map.insert((), ()), Some(()));
    assert_eq!(map.iter().collect::<Vec<_>>(), [(&(), &())]);
    assert_eq!(map.remove(&()), Some(()));
    map.check().unwrap();

    let mut set: SalHashMap<u16, ()> = (0..1000).map(|n| (n, ())).collect();
    set.retain(|n, ()| n % 3 == 0);
    set.check().unwrap();
    assert_eq!(set.len(), 334);
}

#[test]
fn over_aligned_entries_lie_where_they_must() {
    #[derive(Clone, Debug, PartialEq)]
    #[repr(align(128))]
    struct Wide(u8);
    let mut map = SalHashMap::new();
    for n in 0..200u8 {
        map.insert(n, Wide(n));
        assert!(map.values().all(|wide| (wide as *const Wide).is_aligned()));
    }
    map.check().unwrap();
    assert_eq!(map.clone(), map);
    assert!((0..200).all(|n| map.remove(&n) == Some(Wide(n))));
}

#[test]
fn forgotten_iterators_lose_entries_but_nothing_else() {
    let fill = || (0..30u64).map(|n| (n, Box::new(n))).collect::<SalHashMap<_, _>>();
    let mut map = fill();
    let mut drain = map.drain();
    assert!(drain.next().is_some());
    let held: Vec<_> = drain.by_ref().collect(); // nothing is left to leak but the block
    std::mem::forget(drain);
    assert_eq!((held.len(), map.len(), map.capacity()), (29, 0, 0));
    map.check().unwrap();
    map.insert(1, Box::new(1));
    assert_eq!(map.len(), 1);

    let mut map = fill();
    let mut extract = map.extract_if(|n, _| n % 2 == 0);
    assert!(extract.next().is_some());
    std::mem::forget(Box::new(extract));
    assert_eq!(map.len(), 29);
    map.check().unwrap();
}

fn bombs(armed: u64) -> SalHashMap<u64, Bomb> {
    (0..40).map(|n| (n, Bomb { counted: Counted::new(n), armed: n == armed })).collect()
}

#[test]
fn drop_that_panics_drops_the_others_too() {
    for armed in [0, 17, 39] {
        let panics = |act: &mut dyn FnMut()| assert!(catch_unwind(AssertUnwindSafe(act)).is_err());
        let mut map = Some(bombs(armed));
        panics(&mut || drop(map.take()));
        assert_eq!(alive(), 0);

        let mut map = bombs(armed);
        panics(&mut || map.clear());
        map.check().unwrap();
        assert_eq!((alive(), map.len()), (0, 0));

        let mut map = bombs(armed);
        panics(&mut || drop(map.drain()));
        map.check().unwrap();
        assert_eq!((alive(), map.len()), (0, 0));

        let mut map = Some(bombs(armed));
        panics(&mut || drop(map.take().map(IntoIterator::into_iter)));
        assert_eq!(alive(), 0);

        let mut map = bombs(armed);
        panics(&mut || map.retain(|_, _| false));
        map.check().unwrap();
        assert_eq!(alive(), map.len());
    }
}

#[test]
fn closure_that_panics_leaves_the_entries_it_was_not_asked_about() {
    let mut map: SalHashMap<u64, Counted> = (0..50).map(|n| (n, Counted::new(n))).collect();
    let mut asked = 0;
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        map.retain(|_, _| {
            asked += 1;
            assert!(asked <= 20, "enough");
            false
        });
    }));
    assert!(outcome.is_err());
    map.check().unwrap();
    assert_eq!((map.len(), alive()), (30, 30));
    let outcome = catch_unwind(AssertUnwindSafe(|| map.entry(99).or_insert_with(|| panic!("no value")).number));
    assert!(outcome.is_err() && !map.contains_key(&99));
}

#[test]
fn room_that_cannot_be_is_an_error_and_changes_nothing() {
    let mut map: SalHashMap<u64, u64> = [(1, 2)].into();
    assert_eq!(map.try_reserve(usize::MAX), Err(TryReserveError::CapacityOverflow));
    assert_eq!(map.try_reserve(usize::MAX / 20), Err(TryReserveError::CapacityOverflow));
    assert!(SalHashMap::<u64, u64>::try_with_capacity(usize::MAX / 64).is_err());
    map.check().unwrap();
    assert_eq!(map.try_insert(3, 4), Ok(None));
    assert_eq!(map.try_insert(3, 5), Ok(Some(4)));
    assert_eq!((map[&1], map[&3]), (2, 5));
}

#[test]
#[should_panic(expected = "no entry for this key")]
fn index_of_a_missing_key_panics() {
    let map: SalHashMap<u64, u64> = SalHashMap::new();
    let _ = map[&1];
}

#[test]
fn maps_with_equal_entries_are_equal_whatever_their_history() {
    let a: SalHashMap<u64, u64> = (0..100).map(|n| (n, n)).collect();
    let mut b: SalHashMap<u64, u64> = (0..200).rev().map(|n| (n, n)).collect();
    assert_ne!(a, b);
    b.retain(|n, _| *n < 100);
    assert_eq!(a, b);
    b.insert(5, 6);
    assert_ne!(a, b);
}

#[test]
fn debug_shows_a_map() {
    let map: SalHashMap<u64, char> = [(1, 'a')].into();
    assert_eq!(format!("{map:?} {:?} {:?}", map.keys(), map.values()), "{1: 'a'} [1] ['a']");
}

#[test]
fn map_is_as_shareable_and_as_covariant_as_its_entries() {
    fn shareable<T: Send + Sync>() {}
    shareable::<SalHashMap<String, Vec<u8>>>();
    fn shorter<'a>(map: SalHashMap<&'static str, &'static str>) -> SalHashMap<&'a str, &'a str> {
        map
    }
    let key = String::from("short-lived");
    let mut map = shorter(SalHashMap::new());
    map.insert(key.as_str(), "x");
    assert_eq!(map.len(), 1);
}

#[cfg(feature = "serde")]
#[test]
fn serde_brings_back_an_equal_map() {
    let map: SalHashMap<String, Vec<u8>> = (0..20u8).map(|n| (n.to_string(), vec![n; 3])).collect();
    let json = serde_json::to_string(&map).unwrap();
    assert_eq!(serde_json::from_str::<SalHashMap<String, Vec<u8>>>(&json).unwrap(), map);
    assert!(serde_json::from_str::<SalHashMap<String, Vec<u8>>>("[1]").is_err());
}

#[test]
fn string_keys_may_be_given_in_any_way_to_write_a_string() {
    let mut map: SalHashMap<SalString, u32> = SalHashMap::new();
    map.insert("a", 1);
    map.insert(&String::from("b"), 2);
    map.insert(SalString::from("c"), 3);
    let written = SalString::from("a");
    map.insert(&written, 4);
    assert_eq!(map.try_insert("d", 5), Ok(None));
    *map.entry_ref("b").or_default() += 10;
    assert_eq!([map["a"], map["b"], map["c"], map["d"]], [4, 12, 3, 5]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn set_does_what_the_standard_set_does(
        a in prop::collection::vec(0..60u64, 0..60), b in prop::collection::vec(0..60u64, 0..60),
    ) {
        let (x, y): (SalHashSet<u64>, SalHashSet<u64>) = (a.iter().copied().collect(), b.iter().copied().collect());
        let (p, q): (HashSet<u64>, HashSet<u64>) = (a.into_iter().collect(), b.into_iter().collect());
        let same = |ours: &SalHashSet<u64>, theirs: HashSet<u64>| {
            ours.check().unwrap();
            assert_eq!(ours.iter().copied().collect::<HashSet<_>>(), theirs);
            assert_eq!(ours.len(), theirs.len());
        };
        same(&(&x | &y), &p | &q);
        same(&(&x & &y), &p & &q);
        same(&(&x ^ &y), &p ^ &q);
        same(&(&x - &y), &p - &q);
        prop_assert_eq!(x.is_subset(&y), p.is_subset(&q));
        prop_assert_eq!(x.is_superset(&y), p.is_superset(&q));
        prop_assert_eq!(x.is_disjoint(&y), p.is_disjoint(&q));
        prop_assert_eq!(x == y, p == q);
        let (mut x, mut p) = (x, p);
        for n in 0..60 {
            match n % 4 {
                0 => prop_assert_eq!(x.insert(n), p.insert(n)),
                1 => prop_assert_eq!(x.remove(&n), p.remove(&n)),
                2 => prop_assert_eq!(x.take(&n), p.take(&n)),
                _ => prop_assert_eq!(x.replace(n), p.replace(n)),
            }
        }
        same(&x, p.clone());
        x.retain(|n| n % 3 != 0);
        p.retain(|n| n % 3 != 0);
        same(&x, p.clone());
        prop_assert_eq!(x.extract_if(|n| n % 2 == 0).count(), p.iter().filter(|n| **n % 2 == 0).count());
        p.retain(|n| n % 2 != 0);
        same(&x, p.clone());
        prop_assert_eq!(x.clone().into_iter().collect::<HashSet<_>>(), p.clone());
        prop_assert_eq!(x.drain().collect::<HashSet<_>>(), p);
        prop_assert!(x.is_empty());
    }
}

#[cfg(feature = "serde")]
#[test]
fn serde_brings_back_an_equal_set() {
    let set: SalHashSet<u32> = (0..20).collect();
    let json = serde_json::to_string(&set).unwrap();
    assert_eq!(serde_json::from_str::<SalHashSet<u32>>(&json).unwrap(), set);
}

//! `SalBTreeMap` against `std::collections::BTreeMap`, and where things go wrong.

mod counted;

use counted::{Bomb, Counted, alive, never_panic, panic_after};
use proptest::prelude::*;
use sal::collections::btree_map::{Entry, EntryRef};
use sal::collections::{SalBTreeMap, SalBTreeSet, SalString};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};

#[derive(Clone, Debug)]
enum Step {
    Insert(u64, u64),
    InsertRun(u64, u64),
    Remove(u64),
    RemoveRun(u64, u64),
    Look(u64),
    OrInsert(u64, u64),
    Entry(u64, u64),
    AndModify(u64),
    PopFirst(u8),
    PopLast(u8),
    Retain(u64),
    ExtractSome(u64, usize),
    IncrementAll,
    RangeMut(Bound<u64>, Bound<u64>, usize),
    Extend(Vec<(u64, u64)>),
    Rebuild(Vec<(u64, u64)>),
    Append(Vec<(u64, u64)>),
    AppendBehind(u64),
    SplitOff(u64, bool),
    IntoIterSome(usize, usize),
    Clear,
    CloneItself,
}

const KEYS: u64 = 1200;

fn bound() -> impl Strategy<Value = Bound<u64>> {
    prop_oneof![(0..KEYS).prop_map(Bound::Included), (0..KEYS).prop_map(Bound::Excluded), Just(Bound::Unbounded)]
}

fn entries(n: usize) -> impl Strategy<Value = Vec<(u64, u64)>> {
    prop::collection::vec((0..KEYS, any::<u64>()), 0..n)
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0..KEYS;
    prop_oneof![
        8 => (key.clone(), any::<u64>()).prop_map(|(k, v)| Step::Insert(k, v)),
        4 => (key.clone(), 0..120u64).prop_map(|(k, n)| Step::InsertRun(k, n)),
        8 => key.clone().prop_map(Step::Remove),
        3 => (key.clone(), 0..100u64).prop_map(|(k, n)| Step::RemoveRun(k, n)),
        3 => key.clone().prop_map(Step::Look),
        4 => (key.clone(), any::<u64>()).prop_map(|(k, v)| Step::OrInsert(k, v)),
        3 => (key.clone(), any::<u64>()).prop_map(|(k, v)| Step::Entry(k, v)),
        2 => key.clone().prop_map(Step::AndModify),
        2 => (0..40u8).prop_map(Step::PopFirst),
        2 => (0..40u8).prop_map(Step::PopLast),
        1 => (2..9u64).prop_map(Step::Retain),
        1 => (1..5u64, 0..60usize).prop_map(|(n, take)| Step::ExtractSome(n, take)),
        1 => Just(Step::IncrementAll),
        3 => (bound(), bound(), 0..100usize).prop_map(|(a, b, n)| Step::RangeMut(a, b, n)),
        2 => entries(200).prop_map(Step::Extend),
        1 => entries(900).prop_map(Step::Rebuild),
        2 => entries(200).prop_map(Step::Append),
        2 => (0..200u64).prop_map(Step::AppendBehind),
        2 => (key, any::<bool>()).prop_map(|(k, keep)| Step::SplitOff(k, keep)),
        1 => (0..40usize, 0..40usize).prop_map(|(a, b)| Step::IntoIterSome(a, b)),
        1 => Just(Step::Clear),
        1 => Just(Step::CloneItself),
    ]
}

type Map = SalBTreeMap<Counted, Counted>;
type Model = BTreeMap<u64, u64>;

fn pair((key, value): (u64, u64)) -> (Counted, Counted) {
    (Counted::new(key), Counted::new(value))
}

fn numbers((key, value): (Counted, Counted)) -> (u64, u64) {
    (key.number, value.number)
}

/// Whether a range of these bounds panics, here and in the standard library.
fn is_wrong(start: Bound<u64>, end: Bound<u64>) -> bool {
    match (start, end) {
        (Bound::Excluded(a), Bound::Excluded(b)) => a >= b,
        (Bound::Included(a) | Bound::Excluded(a), Bound::Included(b) | Bound::Excluded(b)) => a > b,
        _ => false,
    }
}

fn apply(step: &Step, map: &mut Map, model: &mut Model) {
    let (key, value) = (Counted::<0>::new, Counted::<0>::new);
    let number = |value: Option<Counted>| value.map(|value| value.number);
    match step.clone() {
        Step::Insert(k, v) => assert_eq!(number(map.insert(key(k), value(v))), model.insert(k, v)),
        Step::InsertRun(k, n) => {
            for k in k..k + n {
                assert_eq!(number(map.insert(key(k), value(n))), model.insert(k, n));
            }
        }
        Step::Remove(k) => assert_eq!(number(map.remove(&k)), model.remove(&k)),
        Step::RemoveRun(k, n) => {
            for k in (k..k + n).rev() {
                assert_eq!(map.remove_entry(&k).map(numbers), model.remove_entry(&k));
            }
        }
        Step::Look(k) => {
            assert_eq!(map.get(&k).map(|v| v.number), model.get(&k).copied());
            assert_eq!(map.get_mut(&key(k)).map(|v| v.number), model.get(&k).copied());
            assert_eq!(map.get_key_value(&k).map(|(k, _)| k.number), model.get(&k).map(|_| k));
            assert_eq!(map.contains_key(&k), model.contains_key(&k));
            let first = map.first_key_value().map(|(k, v)| (k.number, v.number));
            assert_eq!(first, model.first_key_value().map(|(k, v)| (*k, *v)));
            let last = map.last_key_value().map(|(k, v)| (k.number, v.number));
            assert_eq!(last, model.last_key_value().map(|(k, v)| (*k, *v)));
        }
        Step::OrInsert(k, v) => {
            let ours = map.entry(key(k)).or_insert_with(|| value(v));
            ours.number ^= 1;
            *model.entry(k).or_insert(v) ^= 1;
        }
        Step::Entry(k, v) => match map.entry(key(k)) {
            Entry::Occupied(mut entry) => {
                assert_eq!((entry.key().number, entry.get().number), (k, model[&k]));
                if v % 2 == 0 {
                    entry.insert(value(v));
                    model.insert(k, v);
                } else {
                    assert_eq!(Some(numbers(entry.remove_entry())), model.remove_entry(&k));
                }
            }
            Entry::Vacant(entry) => {
                assert_eq!(entry.key().number, k);
                assert!(!model.contains_key(&k));
                assert_eq!(entry.into_key().number, k);
            }
        },
        Step::AndModify(k) => {
            let _ = map.entry_ref(&k).and_modify(|v| v.number /= 2);
            model.entry(k).and_modify(|v| *v /= 2);
        }
        Step::PopFirst(n) => {
            if n % 4 == 0 {
                let ours = map.first_entry().map(|entry| numbers(entry.remove_entry()));
                assert_eq!(ours, model.pop_first());
            }
            for _ in 0..n {
                assert_eq!(map.pop_first().map(numbers), model.pop_first());
            }
        }
        Step::PopLast(n) => {
            if n % 4 == 0 {
                let ours = map.last_entry().map(|entry| numbers(entry.remove_entry()));
                assert_eq!(ours, model.pop_last());
            }
            for _ in 0..n {
                assert_eq!(map.pop_last().map(numbers), model.pop_last());
            }
        }
        Step::Retain(n) => {
            map.retain(|k, _| k.number % n != 0);
            model.retain(|k, _| k % n != 0);
        }
        Step::ExtractSome(n, take) => {
            let wanted: Vec<u64> = model.keys().copied().filter(|k| k % n == 0).take(take).collect();
            let taken: Vec<u64> = map.extract_if(|k, _| k.number % n == 0).take(take).map(|(k, _)| k.number).collect();
            assert_eq!(taken, wanted);
            model.retain(|k, _| !wanted.contains(k));
        }
        Step::IncrementAll => {
            map.iter_mut().rev().for_each(|(_, v)| v.number = v.number.wrapping_add(1));
            map.values_mut().for_each(|v| v.number = v.number.wrapping_mul(3));
            model.values_mut().for_each(|v| *v = v.wrapping_add(1).wrapping_mul(3));
        }
        Step::RangeMut(start, end, n) => {
            if is_wrong(start, end) {
                assert!(catch_unwind(AssertUnwindSafe(|| map.range::<u64, _>((start, end)).count())).is_err());
                return;
            }
            let ours: Vec<_> = map.range::<u64, _>((start, end)).map(|(k, v)| (k.number, v.number)).collect();
            let theirs: Vec<_> = model.range((start, end)).map(|(k, v)| (*k, *v)).collect();
            assert_eq!(ours, theirs);
            let back: Vec<_> = map.range::<u64, _>((start, end)).rev().map(|(k, v)| (k.number, v.number)).collect();
            assert!(back.iter().rev().eq(&theirs));
            // From both ends, until they meet.
            let (mut ours, mut theirs) = (map.range_mut::<u64, _>((start, end)), model.range_mut((start, end)));
            for i in 0..n {
                let (x, y) =
                    if i % 3 == 0 { (ours.next_back(), theirs.next_back()) } else { (ours.next(), theirs.next()) };
                assert_eq!(x.is_some(), y.is_some());
                if let (Some((_, x)), Some((_, y))) = (x, y) {
                    x.number ^= i as u64;
                    *y ^= i as u64;
                }
            }
        }
        Step::Extend(entries) => {
            map.extend(entries.iter().copied().map(pair));
            model.extend(entries);
        }
        Step::Rebuild(entries) => {
            *map = entries.iter().copied().map(pair).collect();
            *model = entries.into_iter().collect();
        }
        Step::Append(entries) => {
            let mut other: Map = entries.iter().copied().map(pair).collect();
            map.append(&mut other);
            assert!(other.is_empty());
            model.extend(entries);
        }
        Step::AppendBehind(n) => {
            let first = model.last_key_value().map_or(0, |(k, _)| k + 1);
            map.append(&mut (first..first + n).map(|k| pair((k, n))).collect());
            model.extend((first..first + n).map(|k| (k, n)));
        }
        Step::SplitOff(k, keep_tail) => {
            let (mut tail, mut model_tail) = (map.split_off(&k), model.split_off(&k));
            tail.check().unwrap();
            map.check().unwrap();
            if keep_tail {
                std::mem::swap(map, &mut tail);
                std::mem::swap(model, &mut model_tail);
            }
            assert!(tail.keys().map(|k| k.number).eq(model_tail.keys().copied()));
        }
        Step::IntoIterSome(a, b) => {
            let (mut ours, mut theirs) = (std::mem::take(map).into_iter(), std::mem::take(model).into_iter());
            assert!(ours.by_ref().take(a).map(numbers).eq(theirs.by_ref().take(a)));
            assert!(ours.by_ref().rev().take(b).map(numbers).eq(theirs.by_ref().rev().take(b)));
            assert_eq!(ours.len(), theirs.len());
        }
        Step::Clear => {
            map.clear();
            model.clear();
        }
        Step::CloneItself => {
            let copy = map.clone();
            copy.check().unwrap();
            assert_eq!(copy, *map);
            assert_eq!(copy.cmp(map), std::cmp::Ordering::Equal);
            map.clone_from(&copy);
        }
    }
}

fn compare(map: &Map, model: &Model) {
    map.check().unwrap();
    assert_eq!(map.len(), model.len());
    assert_eq!(map.iter().len(), model.len());
    assert!(map.iter().map(|(k, v)| (k.number, v.number)).eq(model.iter().map(|(k, v)| (*k, *v))));
    assert_eq!(alive(), 2 * model.len());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn map_does_what_the_model_does(steps in prop::collection::vec(step(), 0..150)) {
        let (mut map, mut model) = (Map::new(), Model::new());
        for step in &steps {
            apply(step, &mut map, &mut model);
            compare(&map, &model);
        }
        drop(map);
        assert_eq!(alive(), 0);
    }

    /// Whatever comparison or clone panics: nothing is lost twice, and the map is in order.
    #[test]
    fn panics_of_keys_leave_a_map_in_order(steps in prop::collection::vec((step(), 0..2000u32), 0..60)) {
        let mut map = Map::new();
        for (step, fuel) in &steps {
            let mut model: Model = map.iter().map(|(k, v)| (k.number, v.number)).collect();
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

    #[test]
    fn random_order_in_and_out(keys in Just((0..3000u32).collect::<Vec<_>>()).prop_shuffle(), out in Just((0..3000u32).collect::<Vec<_>>()).prop_shuffle()) {
        let mut map = SalBTreeMap::new();
        for key in keys {
            map.insert(key, key);
        }
        map.check().unwrap();
        assert!(map.keys().copied().eq(0..3000));
        for (i, key) in out.into_iter().enumerate() {
            assert_eq!(map.remove(&key), Some(key));
            if i % 64 == 0 {
                map.check().unwrap();
            }
        }
        assert!(map.is_empty());
    }
}

#[test]
fn every_size_can_be_built_grown_and_emptied_from_either_end() {
    for n in 0..700u32 {
        let built: SalBTreeMap<u32, u32> = (0..n).map(|i| (i, i)).collect();
        built.check().unwrap();
        let mut ascending = SalBTreeMap::new();
        (0..n).for_each(|i| assert_eq!(ascending.insert(i, i), None));
        let mut descending = SalBTreeMap::new();
        (0..n).rev().for_each(|i| assert_eq!(descending.insert(i, i), None));
        assert_eq!(built, ascending);
        assert_eq!(built, descending);
        if n % 50 == 1 {
            while let Some((key, _)) = ascending.pop_first() {
                assert_eq!(key + 1 + ascending.len() as u32, n);
                ascending.check().unwrap();
            }
            while let Some((key, _)) = descending.pop_last() {
                assert_eq!(key as usize, descending.len());
                descending.check().unwrap();
            }
        }
    }
}

#[test]
fn later_of_equal_keys_counts_when_collecting() {
    let map: SalBTreeMap<u8, char> = [(1, 'a'), (2, 'b'), (1, 'c'), (1, 'd')].into();
    assert_eq!(map.into_iter().collect::<Vec<_>>(), [(1, 'd'), (2, 'b')]);
}

#[test]
fn entry_ref_makes_a_key_only_if_it_is_missing() {
    let mut map: SalBTreeMap<Counted, u32> = SalBTreeMap::new();
    for round in 0..3 {
        for n in 0..200u64 {
            panic_after(0); // making a key needs fuel
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
fn string_keys_may_be_given_in_any_way_to_write_a_string() {
    let mut map: SalBTreeMap<SalString, u32> = SalBTreeMap::new();
    map.insert("b", 1);
    map.insert(&String::from("a"), 2);
    map.insert(SalString::from("c"), 3);
    *map.entry_ref("b").or_default() += 10;
    assert_eq!([map["a"], map["b"], map["c"]], [2, 11, 3]);
    assert_eq!(map.range::<str, _>((Bound::Included("b"), Bound::Unbounded)).count(), 2);
    let words: Vec<SalString> = (0..500).map(|n| SalString::from(format!("{:05}", n * 7919 % 500).as_str())).collect();
    words.iter().for_each(|word| *map.entry_ref(&**word).or_default() += 1);
    map.check().unwrap();
    assert_eq!(map.len(), 503);
}

#[test]
fn keys_and_values_without_size_are_counted() {
    let mut map = SalBTreeMap::new();
    assert_eq!(map.insert((), ()), None);
    assert_eq!(map.insert((), ()), Some(()));
    assert_eq!(map.iter().collect::<Vec<_>>(), [(&(), &())]);
    assert_eq!(map.remove(&()), Some(()));
    assert!(map.is_empty());
    let mut set: SalBTreeMap<u16, ()> = (0..1000).map(|n| (n, ())).collect();
    set.retain(|n, ()| n % 3 == 0);
    set.check().unwrap();
    assert_eq!(set.len(), 334);
}

#[test]
fn over_aligned_values_lie_where_they_must() {
    #[derive(Clone, Debug, PartialEq)]
    #[repr(align(128))]
    struct Wide(u16);
    let mut map = SalBTreeMap::new();
    for n in 0..400u16 {
        map.insert(n, Wide(n));
    }
    assert!(map.values().all(|wide| (wide as *const Wide).is_aligned()));
    map.check().unwrap();
    assert_eq!(map.clone(), map);
    assert!((0..400).all(|n| map.remove(&n) == Some(Wide(n))));
}

/// An order that contradicts itself gives wrong answers, and only that.
#[test]
fn order_that_contradicts_itself_loses_nothing_twice() {
    #[derive(Debug)]
    struct Confused {
        _counted: Counted,
    }
    let confused = |n| Confused { _counted: Counted::new(n) };
    std::thread_local! { static STATE: std::cell::Cell<u64> = const { std::cell::Cell::new(88172645463325252) }; }
    impl PartialEq for Confused {
        fn eq(&self, _: &Self) -> bool {
            false
        }
    }
    impl Eq for Confused {}
    impl PartialOrd for Confused {
        fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
            Some(self.cmp(other))
        }
    }
    impl Ord for Confused {
        fn cmp(&self, _: &Self) -> std::cmp::Ordering {
            let mut x = STATE.get();
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            STATE.set(x);
            if x % 8 == 0 { std::cmp::Ordering::Equal } else { (x % 2).cmp(&((x >> 1) % 2)) }
        }
    }
    let mut map = SalBTreeMap::new();
    for n in 0..2000 {
        map.insert(confused(n), Counted::<0>::new(n));
        if n % 3 == 0 {
            map.remove(&confused(n));
        }
        if n % 50 == 0 {
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                let mut range = map.range_mut(confused(1)..confused(2));
                let mut held = Vec::new();
                while let Some((_, value)) = range.next() {
                    held.push(value);
                    held.extend(range.next_back().map(|(_, value)| value));
                }
                let addresses: std::collections::HashSet<*const Counted> =
                    held.iter().map(|v| &raw const **v).collect();
                assert_eq!(addresses.len(), held.len(), "no value is lent twice");
            }));
            if let Err(panic) = outcome {
                assert!(panic.downcast_ref::<&str>().is_some_and(|text| text.contains("range")), "{panic:?}");
            }
        }
        assert_eq!(alive(), 2 * map.len());
        assert_eq!(map.iter().count(), map.len());
    }
    drop(map.split_off(&confused(0)));
    drop(map);
    assert_eq!(alive(), 0);
}

#[test]
fn forgotten_iterators_lose_entries_but_nothing_else() {
    let mut map: SalBTreeMap<u64, Box<u64>> = (0..300).map(|n| (n, Box::new(n))).collect();
    let mut extract = map.extract_if(|n, _| n % 2 == 0);
    assert_eq!(extract.next().map(|(n, _)| n), Some(0));
    assert_eq!(extract.next().map(|(n, _)| n), Some(2));
    std::mem::forget(Box::new(extract));
    map.check().unwrap();
    assert_eq!(map.len(), 298);
    std::mem::forget(Box::new(map.range_mut(5..10)));
    map.check().unwrap();
}

fn bombs(armed: u64) -> SalBTreeMap<u64, Bomb> {
    (0..400).map(|n| (n, Bomb { counted: Counted::new(n), armed: n == armed })).collect()
}

#[test]
fn drop_that_panics_drops_the_others_too() {
    for armed in [0, 17, 200, 399] {
        let panics = |act: &mut dyn FnMut()| assert!(catch_unwind(AssertUnwindSafe(act)).is_err());
        let mut map = Some(bombs(armed));
        panics(&mut || drop(map.take()));
        assert_eq!(alive(), 0);

        let mut map = bombs(armed);
        panics(&mut || map.clear());
        map.check().unwrap();
        assert_eq!((alive(), map.len()), (0, 0));

        let mut map = Some(bombs(armed));
        panics(&mut || {
            let mut rest = map.take().unwrap().into_iter();
            rest.next_back().into_iter().for_each(|(_, mut bomb)| bomb.armed = false);
            rest.next().into_iter().for_each(|(_, mut bomb)| bomb.armed = false);
            drop(rest);
            if [0, 399].contains(&armed) {
                panic!("was disarmed");
            }
        });
        assert_eq!(alive(), 0);

        let mut map = bombs(armed);
        panics(&mut || map.retain(|_, _| false));
        map.check().unwrap();
        assert_eq!(alive(), map.len());
    }
}

#[test]
fn closure_that_panics_leaves_the_entries_it_was_not_asked_about() {
    let mut map: SalBTreeMap<u64, Counted> = (0..500).map(|n| (n, Counted::new(n))).collect();
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        map.retain(|n, _| {
            assert!(*n < 200, "enough");
            false
        });
    }));
    assert!(outcome.is_err());
    map.check().unwrap();
    assert!(map.keys().copied().eq(200..500));
    assert_eq!(alive(), 300);
    let outcome = catch_unwind(AssertUnwindSafe(|| map.entry(999).or_insert_with(|| panic!("no value")).number));
    assert!(outcome.is_err() && !map.contains_key(&999));
}

#[test]
#[should_panic(expected = "no entry for this key")]
fn index_of_a_missing_key_panics() {
    let map: SalBTreeMap<u64, u64> = SalBTreeMap::new();
    let _ = map[&1];
}

#[test]
fn debug_shows_a_map() {
    let map: SalBTreeMap<u64, char> = [(2, 'b'), (1, 'a')].into();
    assert_eq!(format!("{map:?} {:?} {:?}", map.keys(), map.range(2..)), "{1: 'a', 2: 'b'} [1, 2] [(2, 'b')]");
}

#[test]
fn map_is_as_shareable_and_as_covariant_as_its_entries() {
    fn shareable<T: Send + Sync>() {}
    shareable::<SalBTreeMap<String, Vec<u8>>>();
    fn shorter<'a>(map: SalBTreeMap<&'static str, &'static str>) -> SalBTreeMap<&'a str, &'a str> {
        map
    }
    let key = String::from("short-lived");
    let mut map = shorter(SalBTreeMap::new());
    map.insert(key.as_str(), "x");
    assert_eq!(map.len(), 1);
}

#[test]
fn equal_maps_hash_equally_and_compare_by_their_entries() {
    use std::hash::{BuildHasher, RandomState};
    let state = RandomState::new();
    let a: SalBTreeMap<u32, u32> = (0..100).map(|n| (n, n)).collect();
    let mut b: SalBTreeMap<u32, u32> = (0..300).map(|n| (n, n)).collect();
    assert!(a < b);
    b.retain(|n, _| *n < 100);
    assert_eq!(state.hash_one(&a), state.hash_one(&b));
    b.insert(50, 49);
    assert!(b < a);
}

#[cfg(feature = "serde")]
#[test]
fn serde_brings_back_an_equal_map() {
    let map: SalBTreeMap<String, Vec<u8>> = (0..40u8).map(|n| (n.to_string(), vec![n; 3])).collect();
    let json = serde_json::to_string(&map).unwrap();
    assert_eq!(serde_json::from_str::<SalBTreeMap<String, Vec<u8>>>(&json).unwrap(), map);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn set_does_what_the_standard_set_does(
        a in prop::collection::vec(0..90u64, 0..90), b in prop::collection::vec(0..90u64, 0..90), from in 0..90u64,
    ) {
        let (x, y): (SalBTreeSet<u64>, SalBTreeSet<u64>) = (a.iter().copied().collect(), b.iter().copied().collect());
        let (p, q): (BTreeSet<u64>, BTreeSet<u64>) = (a.into_iter().collect(), b.into_iter().collect());
        let same = |ours: &SalBTreeSet<u64>, theirs: &BTreeSet<u64>| {
            ours.check().unwrap();
            assert!(ours.iter().eq(theirs));
            assert!(ours.iter().rev().eq(theirs.iter().rev()));
            assert_eq!((ours.len(), ours.first(), ours.last()), (theirs.len(), theirs.first(), theirs.last()));
        };
        same(&(&x | &y), &(&p | &q));
        same(&(&x & &y), &(&p & &q));
        same(&(&x ^ &y), &(&p ^ &q));
        same(&(&x - &y), &(&p - &q));
        prop_assert_eq!(x.is_subset(&y), p.is_subset(&q));
        prop_assert_eq!(x.is_superset(&y), p.is_superset(&q));
        prop_assert_eq!(x.is_disjoint(&y), p.is_disjoint(&q));
        prop_assert_eq!(x.cmp(&y), p.cmp(&q));
        prop_assert!(x.range(from..).rev().eq(p.range(from..).rev()));
        let (mut x, mut p, mut y, mut q) = (x, p, y, q);
        for n in 0..90 {
            match n % 4 {
                0 => prop_assert_eq!(x.insert(n), p.insert(n)),
                1 => prop_assert_eq!(x.remove(&n), p.remove(&n)),
                2 => prop_assert_eq!(x.take(&n), p.take(&n)),
                _ => prop_assert_eq!(x.replace(n), p.replace(n)),
            }
        }
        same(&x, &p);
        same(&x.split_off(&from), &p.split_off(&from));
        x.append(&mut y);
        p.append(&mut q);
        same(&x, &p);
        x.retain(|n| n % 3 != 0);
        p.retain(|n| n % 3 != 0);
        prop_assert_eq!((x.pop_first(), x.pop_last()), (p.pop_first(), p.pop_last()));
        same(&x, &p);
        prop_assert!(x.clone().into_iter().eq(p));
        x.clear();
        prop_assert!(x.is_empty());
    }
}

#[cfg(feature = "serde")]
#[test]
fn serde_brings_back_an_equal_set() {
    let set: SalBTreeSet<u32> = (0..40).collect();
    let json = serde_json::to_string(&set).unwrap();
    assert_eq!(serde_json::from_str::<SalBTreeSet<u32>>(&json).unwrap(), set);
}

//! `CowMap` and its versions against `std::collections::BTreeMap`, and where things go wrong.

mod counted;
mod support;

use counted::{Bomb, Counted, alive, never_panic, panic_after};
use proptest::prelude::*;
use sal::collections::SalVec;
use sal::collections::cow_map::{Difference, Entry};
use sal::collections::{CowMap, CowSet, SalString, cow_set};
use sal::{HeapOptions, Mode, Root, SalRc};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use support::heaps::{opened, unmap};
use support::{alone, fresh_path};

#[derive(Clone, Debug)]
enum Step {
    Insert(u64, u64),
    InsertRun(u64, u64),
    Remove(u64),
    RemoveRun(u64, u64),
    Look(u64),
    GetMut(u64, u64),
    Entry(u64, u64),
    PopFirst(u8),
    PopLast(u8),
    Retain(u64),
    Range(Bound<u64>, Bound<u64>, usize),
    Extend(Vec<(u64, u64)>),
    Rebuild(Vec<(u64, u64)>),
    FromSorted(Vec<(u64, u64)>),
    Append(Vec<(u64, u64)>),
    SplitOff(u64, bool),
    IntoIterSome(usize, usize),
    Clear,
    Keep,
    Forget(usize),
    GoBack(usize),
    Diff(usize),
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
        4 => (key.clone(), 0..220u64).prop_map(|(k, n)| Step::InsertRun(k, n)),
        8 => key.clone().prop_map(Step::Remove),
        4 => (key.clone(), 0..200u64).prop_map(|(k, n)| Step::RemoveRun(k, n)),
        3 => key.clone().prop_map(Step::Look),
        3 => (key.clone(), any::<u64>()).prop_map(|(k, v)| Step::GetMut(k, v)),
        4 => (key.clone(), any::<u64>()).prop_map(|(k, v)| Step::Entry(k, v)),
        2 => (0..60u8).prop_map(Step::PopFirst),
        2 => (0..60u8).prop_map(Step::PopLast),
        1 => (2..9u64).prop_map(Step::Retain),
        3 => (bound(), bound(), 0..100usize).prop_map(|(a, b, n)| Step::Range(a, b, n)),
        2 => entries(200).prop_map(Step::Extend),
        1 => entries(900).prop_map(Step::Rebuild),
        1 => entries(300).prop_map(Step::FromSorted),
        1 => entries(200).prop_map(Step::Append),
        1 => (key, any::<bool>()).prop_map(|(k, keep)| Step::SplitOff(k, keep)),
        1 => (0..80usize, 0..80usize).prop_map(|(a, b)| Step::IntoIterSome(a, b)),
        1 => Just(Step::Clear),
        5 => Just(Step::Keep),
        3 => any::<usize>().prop_map(Step::Forget),
        2 => any::<usize>().prop_map(Step::GoBack),
        3 => any::<usize>().prop_map(Step::Diff),
    ]
}

type Map = CowMap<Counted, Counted>;
type Model = BTreeMap<u64, u64>;

/// A map, the versions of it that are kept, and what must be in them.
#[derive(Default)]
struct World {
    map: Map,
    model: Model,
    versions: Vec<(Map, Model)>,
}

fn pair((key, value): (u64, u64)) -> (Counted, Counted) {
    (Counted::new(key), Counted::new(value))
}

fn numbers((key, value): (Counted, Counted)) -> (u64, u64) {
    (key.number, value.number)
}

fn pairs(map: &Map) -> impl DoubleEndedIterator<Item = (u64, u64)> {
    map.iter().map(|(key, value)| (key.number, value.number))
}

/// Whether a range of these bounds panics, here and in the standard library.
fn is_wrong(start: Bound<u64>, end: Bound<u64>) -> bool {
    match (start, end) {
        (Bound::Excluded(a), Bound::Excluded(b)) => a >= b,
        (Bound::Included(a) | Bound::Excluded(a), Bound::Included(b) | Bound::Excluded(b)) => a > b,
        _ => false,
    }
}

/// What `diff` must say, from the models.
fn model_diff(before: &Model, after: &Model) -> Vec<(u64, Option<u64>, Option<u64>)> {
    let mut keys: Vec<u64> = before.keys().chain(after.keys()).copied().collect();
    keys.sort_unstable();
    keys.dedup();
    let both = keys.into_iter().map(|key| (key, before.get(&key).copied(), after.get(&key).copied()));
    both.filter(|(_, before, after)| before != after).collect()
}

fn diff(before: &Map, after: &Map) -> Vec<(u64, Option<u64>, Option<u64>)> {
    let plain = |difference: Difference<'_, Counted, Counted>| match difference {
        Difference::Added(key, value) => (key.number, None, Some(value.number)),
        Difference::Removed(key, value) => (key.number, Some(value.number), None),
        Difference::Changed { key, before, after } => (key.number, Some(before.number), Some(after.number)),
    };
    before.diff(after).map(plain).collect()
}

fn apply(step: &Step, world: &mut World) {
    let World { map, model, versions } = world;
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
            assert_eq!(map.get_key_value(&k).map(|(k, _)| k.number), model.get(&k).map(|_| k));
            assert_eq!(map.contains_key(&k), model.contains_key(&k));
            let first = map.first_key_value().map(|(k, v)| (k.number, v.number));
            assert_eq!(first, model.first_key_value().map(|(k, v)| (*k, *v)));
            let last = map.last_key_value().map(|(k, v)| (k.number, v.number));
            assert_eq!(last, model.last_key_value().map(|(k, v)| (*k, *v)));
        }
        Step::GetMut(k, v) => {
            let (ours, theirs) = (map.get_mut(&k), model.get_mut(&k));
            assert_eq!(ours.is_some(), theirs.is_some());
            if let (Some(ours), Some(theirs)) = (ours, theirs) {
                (ours.number, *theirs) = (v, v);
            }
        }
        Step::Entry(k, v) => match map.entry(key(k)) {
            Entry::Occupied(mut entry) => {
                assert_eq!((entry.key().number, entry.get().number), (k, model[&k]));
                match v % 3 {
                    0 => {
                        entry.insert(value(v));
                        model.insert(k, v);
                    }
                    1 => assert_eq!(Some(numbers(entry.remove_entry())), model.remove_entry(&k)),
                    _ => {
                        entry.into_mut().number = v;
                        model.insert(k, v);
                    }
                }
            }
            Entry::Vacant(entry) => {
                assert!(!model.contains_key(&k));
                if v % 2 == 0 {
                    entry.insert(value(v)).number ^= 1;
                    model.insert(k, v ^ 1);
                } else {
                    assert_eq!(entry.into_key().number, k);
                }
            }
        },
        Step::PopFirst(n) => (0..n).for_each(|_| assert_eq!(map.pop_first().map(numbers), model.pop_first())),
        Step::PopLast(n) => (0..n).for_each(|_| assert_eq!(map.pop_last().map(numbers), model.pop_last())),
        Step::Retain(n) => {
            map.retain(|k, _| k.number % n != 0);
            model.retain(|k, _| k % n != 0);
        }
        Step::Range(start, end, n) => {
            if is_wrong(start, end) {
                assert!(catch_unwind(AssertUnwindSafe(|| map.range::<u64, _>((start, end)).count())).is_err());
                return;
            }
            let number = |(k, v): (&Counted, &Counted)| (k.number, v.number);
            let ours: Vec<_> = map.range::<u64, _>((start, end)).map(number).collect();
            let theirs: Vec<_> = model.range((start, end)).map(|(k, v)| (*k, *v)).collect();
            assert_eq!(ours, theirs);
            assert!(map.range::<u64, _>((start, end)).rev().map(number).eq(theirs.iter().rev().copied()));
            // From both ends, until they meet.
            let (mut ours, mut theirs) = (map.range::<u64, _>((start, end)), theirs.into_iter());
            for i in 0..n {
                let (x, y) =
                    if i % 3 == 0 { (ours.next_back(), theirs.next_back()) } else { (ours.next(), theirs.next()) };
                assert_eq!(x.map(number), y);
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
        Step::FromSorted(mut entries) => {
            let len = entries.len();
            // Some are out of order.
            entries[len / 4..].sort_unstable();
            *map = CowMap::from_sorted(entries.iter().copied().map(pair));
            *model = entries.into_iter().collect();
        }
        Step::Append(entries) => {
            let mut other: Map = entries.iter().copied().map(pair).collect();
            map.append(&mut other);
            assert!(other.is_empty());
            model.extend(entries);
        }
        Step::SplitOff(k, keep_tail) => {
            let (mut tail, mut model_tail) = (map.split_off(&k), model.split_off(&k));
            tail.check().unwrap();
            map.check().unwrap();
            if keep_tail {
                std::mem::swap(map, &mut tail);
                std::mem::swap(model, &mut model_tail);
            }
            assert!(pairs(&tail).eq(model_tail));
        }
        Step::IntoIterSome(a, b) => {
            let (mut ours, mut theirs) = (std::mem::take(map).into_iter(), std::mem::take(model).into_iter());
            assert!(ours.by_ref().take(a).map(numbers).eq(theirs.by_ref().take(a)));
            assert!(ours.by_ref().rev().take(b).map(numbers).eq(theirs.by_ref().rev().take(b)));
            assert_eq!(ours.len(), theirs.len());
            if a % 2 == 0 {
                assert!(ours.map(numbers).eq(theirs));
            }
        }
        Step::Clear => {
            map.clear();
            model.clear();
        }
        Step::Keep => {
            let version = map.clone();
            assert!(version.ptr_eq(map) && version.diff(map).next().is_none());
            versions.push((version, model.clone()));
        }
        Step::Forget(which) if !versions.is_empty() => drop(versions.swap_remove(which % versions.len())),
        Step::GoBack(which) if !versions.is_empty() => {
            let version = &versions[which % versions.len()];
            (*map, *model) = (version.0.clone(), version.1.clone());
        }
        Step::Diff(which) if !versions.is_empty() => {
            let (version, version_model) = &versions[which % versions.len()];
            assert_eq!(diff(version, map), model_diff(version_model, model));
            assert_eq!(diff(map, version), model_diff(model, version_model));
            assert_eq!(*version == *map, *version_model == *model);
        }
        Step::Forget(_) | Step::GoBack(_) | Step::Diff(_) => {}
    }
}

fn compare(map: &Map, model: &Model) {
    map.check().unwrap();
    assert_eq!(map.len(), model.len());
    assert_eq!(map.iter().len(), model.len());
    assert!(pairs(map).eq(model.iter().map(|(k, v)| (*k, *v))));
    assert!(pairs(map).rev().eq(model.iter().rev().map(|(k, v)| (*k, *v))));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn map_and_its_versions_do_what_the_models_do(steps in prop::collection::vec(step(), 0..150)) {
        let mut world = World::default();
        for step in &steps {
            apply(step, &mut world);
            compare(&world.map, &world.model);
        }
        for (version, model) in &world.versions {
            compare(version, model);
        }
        drop(world);
        assert_eq!(alive(), 0);
    }

    /// Whatever comparison or clone panics: nothing is lost twice, the map is in order, and the versions are as they were.
    #[test]
    fn panics_of_keys_and_values_leave_a_map_in_order(steps in prop::collection::vec((step(), 0..2000u32), 0..60)) {
        let mut world = World::default();
        for (step, fuel) in &steps {
            world.model = pairs(&world.map).collect();
            panic_after(*fuel);
            let outcome = catch_unwind(AssertUnwindSafe(|| apply(step, &mut world)));
            never_panic();
            world.map.check().unwrap();
            if outcome.is_ok() {
                compare(&world.map, &world.model);
            }
            for (version, model) in &world.versions {
                compare(version, model);
            }
        }
        drop(world);
        assert_eq!(alive(), 0);
    }

    #[test]
    fn random_order_in_and_out(keys in Just((0..3000u32).collect::<Vec<_>>()).prop_shuffle(), out in Just((0..3000u32).collect::<Vec<_>>()).prop_shuffle()) {
        let mut map = CowMap::new();
        for key in keys {
            map.insert(key, key);
        }
        map.check().unwrap();
        assert!(map.keys().copied().eq(0..3000));
        let full = map.clone();
        for (i, key) in out.into_iter().enumerate() {
            assert_eq!(map.remove(&key), Some(key));
            if i % 64 == 0 {
                map.check().unwrap();
            }
        }
        assert!(map.is_empty());
        assert!(full.into_keys().eq(0..3000));
    }
}

#[test]
fn every_size_can_be_built_grown_and_emptied_from_either_end() {
    for n in 0..1300u32 {
        let built = CowMap::from_sorted((0..n).map(|i| (i, i)));
        built.check().unwrap();
        if n % 50 > 1 {
            continue;
        }
        let mut ascending = CowMap::new();
        (0..n).for_each(|i| assert_eq!(ascending.insert(i, i), None));
        let mut descending = CowMap::new();
        (0..n).rev().for_each(|i| assert_eq!(descending.insert(i, i), None));
        assert_eq!(built, ascending);
        assert_eq!(built, descending);
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

/// Versions of texts, in a heap of their own, which is empty when the last of them is gone.
#[test]
fn versions_of_texts_leave_nothing_behind() {
    let heap = HeapOptions::new().volatile().unwrap();
    let before = heap.stats().live_bytes;
    {
        let _session = heap.write().unwrap();
        let mut map: CowMap<SalString, SalString> = CowMap::new();
        let mut versions = Vec::new();
        for n in 0..4000_u64 {
            let name = format!("a name that is long enough for a block: {}", n * 7919 % 1000);
            if n % 5 == 4 {
                map.remove(name.as_str());
            } else {
                map.insert(name.as_str(), SalString::from(name.as_str()));
            }
            if n % 100 == 0 {
                versions.push(map.clone());
            }
            if versions.len() > 5 {
                versions.swap_remove(n as usize * 31 % 5);
            }
        }
        map.check().unwrap();
        assert!(map.iter().all(|(key, value)| key == value));
        assert!(versions.iter().all(|version| version.iter().all(|(key, value)| key == value)));
        let taken: Vec<_> = versions.swap_remove(0).into_iter().take(300).collect();
        assert!(taken.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert!(heap.stats().live_bytes > before + 100_000);
    }
    assert_eq!(heap.stats().live_bytes, before);
}

/// Versions in a file share their nodes there too, and go on from there when it is opened again.
#[test]
fn versions_in_a_file_are_there_when_it_is_opened_again() {
    const VERSIONS: Root<SalVec<CowMap<SalString, u64>>> = Root::new("versions");
    let name = |n: u64| format!("a name that is long enough for a block: {n:05}");
    let _turn = alone();
    for mode in [Mode::Atomic, Mode::Shared] {
        let (_directory, path) = fresh_path();
        let options = HeapOptions::new().mode(mode);
        let heap = opened(&options, &path);
        let session = heap.write().unwrap();
        let versions = session.root_or_default(VERSIONS).unwrap();
        versions.push((0..3000).map(|n| (SalString::from(name(n).as_str()), n)).collect());
        for round in 1..10_u64 {
            let mut next = versions[versions.len() - 1].clone();
            next.insert(name(round * 300).as_str(), 0);
            next.remove(name(round * 300 + 1).as_str());
            versions.push(next);
        }
        session.sync().unwrap();
        // Ten maps of their own would take ten times as much.
        let live = heap.stats().live_bytes;
        assert!(live < 1 << 20, "{live}");
        unmap(heap);

        let heap = opened(&options, &path);
        let session = heap.write().unwrap();
        let versions = session.root_or_default(VERSIONS).unwrap();
        for (number, version) in versions.iter().enumerate() {
            version.check().unwrap();
            assert_eq!(version.len(), 3000 - number);
        }
        assert_eq!(versions[0].diff(&versions[9]).count(), 18);
        for n in 0..3000 {
            versions[9].insert(name(n).as_str(), 7);
        }
        versions[9].check().unwrap();
        assert!(versions[9].values().all(|value| *value == 7) && versions[0].iter().map(|(_, n)| *n).eq(0..3000));
        session.sync().unwrap();
        heap.close().unwrap();
    }
}

/// A change writes to the nodes on its way and to little else, with a version kept and without.
#[test]
fn a_commit_of_one_change_writes_few_pages() {
    const VERSIONS: Root<[CowMap<u64, u64>; 2]> = Root::new("versions");
    let _turn = alone();
    let (_directory, path) = fresh_path();
    let heap = opened(&HeapOptions::new().mode(Mode::Atomic), &path);
    let session = heap.write().unwrap();
    let map = CowMap::from_sorted((0..100_000).map(|n| (n * 2, n)));
    session.set_root(VERSIONS, [map, CowMap::new()]).unwrap();
    session.sync().unwrap();
    let pages = || heap.stats().commits.unwrap().pages;
    for keeps_a_version in [false, true] {
        let mut most = 0;
        for round in 0..20_u64 {
            let before = pages();
            let session = heap.write().unwrap();
            let versions = session.root_mut(VERSIONS).unwrap();
            if keeps_a_version {
                versions[1] = versions[0].clone();
            }
            versions[0].insert(round * 9_876 + 1, 1);
            session.sync().unwrap();
            most = most.max(pages() - before);
        }
        println!("{most} pages, {keeps_a_version}");
        assert!(most <= 16, "{most} pages");
        heap.read().unwrap().root(VERSIONS).unwrap()[0].check().unwrap();
    }
    unmap(heap);
}

/// What is copied on the way to a change lies in the map's heap, not in that of the session.
#[test]
fn copies_lie_in_the_heap_of_the_map() {
    let (heap, other) = (HeapOptions::new().volatile().unwrap(), HeapOptions::new().volatile().unwrap());
    let mut map: CowMap<SalString, SalRc<u64>> = CowMap::new();
    {
        let _session = heap.write().unwrap();
        for n in 0..500_u64 {
            map.insert(format!("a name that is long enough for a block: {n}").as_str(), SalRc::new(n));
        }
    }
    let _session = other.write().unwrap();
    let before = other.stats().live_bytes;
    let version = map.clone();
    for n in 0..500_u64 {
        let name = format!("a name that is long enough for a block: {n}");
        assert!(map.get_mut(name.as_str()).is_some());
        map.insert(format!("{name}, and another one").as_str(), version[name.as_str()].clone());
    }
    map.check().unwrap();
    drop(version);
    assert_eq!(other.stats().live_bytes, before);
}

#[test]
fn readers_see_their_version_while_a_writer_goes_on() {
    let mut map: CowMap<u64, SalString> = CowMap::from_sorted((0..5000).map(|n| (n, SalString::from("0"))));
    std::thread::scope(|scope| {
        for round in 1..=20_u64 {
            let version = map.clone();
            let expected = round - 1;
            scope.spawn(move || {
                for (key, value) in &version {
                    let number: u64 = value.parse().unwrap();
                    assert!(number <= expected && (number == 0 || key % 20 == number), "{key} {value} {expected}");
                    let is_changed = key % 20 <= expected && key % 20 != 0;
                    assert_eq!(is_changed, number != 0);
                }
                version.check().unwrap();
                assert_eq!(version.into_iter().count(), 5000);
            });
            for key in (0..5000).filter(|key| key % 20 == round) {
                map.insert(key, SalString::from(round.to_string().as_str()));
            }
        }
    });
    map.check().unwrap();
}

#[test]
fn diff_of_a_few_changes_looks_at_little() {
    let map: CowMap<Counted, u64> = CowMap::from_sorted((0..100_000).map(|n| (Counted::new(n * 2), n)));
    let mut changed = map.clone();
    changed.insert(Counted::new(777), 1);
    changed.remove(&50_000);
    *changed.get_mut(&199_998).unwrap() = 5;
    // A comparison takes fuel: a few nodes may be looked through, and no more.
    panic_after(2000);
    let differences: Vec<_> = map.diff(&changed).collect();
    never_panic();
    assert!(matches!(
        differences[..],
        [Difference::Added(_, 1), Difference::Removed(_, 25_000), Difference::Changed { .. }]
    ));
}

#[test]
fn later_of_equal_keys_counts_when_collecting() {
    let map: CowMap<u8, char> = [(1, 'a'), (2, 'b'), (1, 'c'), (1, 'd')].into();
    assert_eq!(map.into_iter().collect::<Vec<_>>(), [(1, 'd'), (2, 'b')]);
    let map = CowMap::from_sorted([(1, 'a'), (2, 'b'), (1, 'c'), (2, 'd'), (3, 'e')]);
    assert_eq!(map.into_iter().collect::<Vec<_>>(), [(1, 'c'), (2, 'd'), (3, 'e')]);
}

#[test]
fn keys_and_values_without_size_are_counted() {
    let mut map = CowMap::new();
    assert_eq!(map.insert((), ()), None);
    assert_eq!(map.insert((), ()), Some(()));
    assert_eq!(map.iter().collect::<Vec<_>>(), [(&(), &())]);
    assert_eq!(map.remove(&()), Some(()));
    assert!(map.is_empty());
    let mut set: CowMap<u16, ()> = (0..1000).map(|n| (n, ())).collect();
    set.retain(|n, ()| n % 3 == 0);
    set.check().unwrap();
    assert_eq!(set.len(), 334);
}

#[test]
fn over_aligned_values_lie_where_they_must() {
    #[derive(Clone, Debug, PartialEq)]
    #[repr(align(128))]
    struct Wide(u16);
    let mut map = CowMap::new();
    for n in 0..400u16 {
        map.insert(n, Wide(n));
    }
    assert!(map.values().all(|wide| (wide as *const Wide).is_aligned()));
    map.check().unwrap();
    assert!((0..400).all(|n| map.remove(&n) == Some(Wide(n))));
}

/// An order that contradicts itself gives wrong answers, and only that.
#[test]
fn order_that_contradicts_itself_loses_nothing_twice() {
    std::thread_local! { static STATE: std::cell::Cell<u64> = const { std::cell::Cell::new(88172645463325252) }; }
    println!("seed {}", STATE.get());
    #[derive(Clone, Debug)]
    struct Confused {
        _counted: Counted,
    }
    let confused = |n| Confused { _counted: Counted::new(n) };
    impl PartialEq for Confused {
        fn eq(&self, _: &Self) -> bool {
            self.cmp(self).is_eq()
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
    let mut map = CowMap::new();
    let mut versions = Vec::new();
    for n in 0..3000 {
        map.insert(confused(n), Counted::<0>::new(n));
        if n % 3 == 0 {
            map.remove(&confused(n));
        }
        if n % 100 == 0 {
            versions.push(map.clone());
            let _ = catch_unwind(AssertUnwindSafe(|| map.range(confused(1)..confused(2)).count()));
            let _ = map.diff(&versions[n as usize / 200]).count();
        }
        assert_eq!(map.iter().count(), map.len());
    }
    drop(map.split_off(&confused(0)));
    let from_confused = CowMap::from_sorted((0..500).map(|n| (confused(n), Counted::<0>::new(n))));
    assert_eq!(from_confused.iter().count(), from_confused.len());
    drop((from_confused, map, versions));
    assert_eq!(alive(), 0);
}

#[test]
fn drop_that_panics_drops_no_element_twice() {
    #[derive(Debug)]
    struct Fuse(Bomb);
    impl Clone for Fuse {
        fn clone(&self) -> Self {
            Fuse(Bomb { counted: self.0.counted.clone(), armed: self.0.armed })
        }
    }
    for armed in [0, 17, 200, 399] {
        let bombs = || -> CowMap<u64, Fuse> {
            CowMap::from_sorted((0..400).map(|n| (n, Fuse(Bomb { counted: Counted::new(n), armed: n == armed }))))
        };
        let panics = |act: &mut dyn FnMut()| assert!(catch_unwind(AssertUnwindSafe(act)).is_err());
        let mut map = bombs();
        panics(&mut || map.clear());
        assert!(map.is_empty());
        map.check().unwrap();

        let mut map = bombs();
        let version = map.clone();
        panics(&mut || drop(map.insert(armed, Fuse(Bomb { counted: Counted::new(7), armed: false }))));
        map.check().unwrap();
        std::mem::forget(version);

        let mut map = bombs();
        panics(&mut || map.retain(|_, _| false));
        map.check().unwrap();

        let mut map = Some(bombs());
        panics(&mut || assert_eq!(map.take().unwrap().into_iter().rev().take(100).count(), 100));
    }
}

#[test]
#[should_panic(expected = "no entry for this key")]
fn index_of_a_missing_key_panics() {
    let map: CowMap<u64, u64> = CowMap::new();
    let _ = map[&1];
}

#[test]
fn debug_shows_a_map() {
    let map: CowMap<u64, char> = [(2, 'b'), (1, 'a')].into();
    assert_eq!(format!("{map:?} {:?} {:?}", map.keys(), map.range(2..)), "{1: 'a', 2: 'b'} [1, 2] [(2, 'b')]");
    assert_eq!(format!("{:?}", map.diff(&CowMap::new())), "[Removed(1, 'a'), Removed(2, 'b')]");
}

#[test]
fn map_is_as_shareable_as_its_entries() {
    fn shareable<T: Send + Sync>() {}
    shareable::<CowMap<String, Vec<u8>>>();
}

#[test]
fn equal_maps_hash_equally_and_compare_by_their_entries() {
    use std::hash::{BuildHasher, RandomState};
    let state = RandomState::new();
    let a: CowMap<u32, u32> = (0..100).map(|n| (n, n)).collect();
    let mut b: CowMap<u32, u32> = (0..300).map(|n| (n, n)).collect();
    assert!(a < b);
    b.retain(|n, _| *n < 100);
    assert_eq!(state.hash_one(&a), state.hash_one(&b));
    b.insert(50, 49);
    assert!(b < a);
}

#[cfg(feature = "serde")]
#[test]
fn serde_brings_back_an_equal_map() {
    let map: CowMap<String, Vec<u8>> = (0..40u8).map(|n| (n.to_string(), vec![n; 3])).collect();
    let json = serde_json::to_string(&map).unwrap();
    assert_eq!(serde_json::from_str::<CowMap<String, Vec<u8>>>(&json).unwrap(), map);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn set_does_what_the_standard_set_does(
        a in prop::collection::vec(0..90u64, 0..90), b in prop::collection::vec(0..90u64, 0..90), from in 0..90u64,
    ) {
        let (mut x, mut p): (CowSet<u64>, BTreeSet<u64>) = (a.iter().copied().collect(), a.into_iter().collect());
        let (version, model) = (x.clone(), p.clone());
        prop_assert!(version.ptr_eq(&x));
        for n in b {
            if n % 3 > 0 {
                prop_assert_eq!(x.insert(n), p.insert(n));
            } else {
                prop_assert_eq!(x.remove(&n), p.remove(&n));
            }
        }
        x.check().unwrap();
        prop_assert!(x.iter().eq(&p) && x.iter().rev().eq(p.iter().rev()) && version.iter().eq(&model));
        prop_assert_eq!((x.len(), x.first(), x.last(), x.contains(&from)), (p.len(), p.first(), p.last(), p.contains(&from)));
        prop_assert!(x.range(from..).rev().eq(p.range(from..).rev()));
        let (mut added, mut removed) = (Vec::new(), Vec::new());
        version.diff(&x).for_each(|difference| match difference {
            cow_set::Difference::Added(n) => added.push(*n),
            cow_set::Difference::Removed(n) => removed.push(*n),
        });
        prop_assert!(added.iter().eq(p.difference(&model)) && removed.iter().eq(model.difference(&p)));
        prop_assert!(x.split_off(&from).into_iter().eq(p.split_off(&from)));
        x.append(&mut version.clone());
        p.append(&mut model.clone());
        x.retain(|n| n % 3 != 0);
        p.retain(|n| n % 3 != 0);
        prop_assert_eq!((x.pop_first(), x.pop_last()), (p.pop_first(), p.pop_last()));
        prop_assert!(x.into_iter().eq(p));
    }
}

#[cfg(feature = "serde")]
#[test]
fn serde_brings_back_an_equal_set() {
    let set: CowSet<u32> = (0..40).collect();
    let json = serde_json::to_string(&set).unwrap();
    assert_eq!(serde_json::from_str::<CowSet<u32>>(&json).unwrap(), set);
}

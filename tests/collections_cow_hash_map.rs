//! `CowHashMap` against `std::collections::HashMap`, with versions kept, and where things go wrong.
#![allow(unsafe_code)]

mod counted;

use counted::{Bomb, Counted, alive, never_panic, panic_after};
use sal::collections::cow_hash_map::{Difference, Entry};
use sal::collections::{CowHashMap, CowHashSet, SalString, SalVec};
use sal::{HeapOptions, Root};
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// A seed that is another each time, and is told.
fn seed() -> u64 {
    let seed = std::env::var("SAL_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| RandomState::new().hash_one(1));
    eprintln!("SAL_SEED={seed}");
    seed | 1
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

fn same<const H: u64>(ours: &CowHashMap<Counted<H>, Counted>, theirs: &HashMap<u64, u64>) {
    ours.check().unwrap();
    assert_eq!((ours.len(), ours.iter().len()), (theirs.len(), theirs.len()));
    let mut met = 0;
    for (key, value) in ours {
        assert_eq!(theirs.get(&key.number), Some(&value.number));
        met += 1;
    }
    assert_eq!(met, theirs.len());
}

/// The difference of two versions is that of their models.
fn differs<const H: u64>(
    old: &CowHashMap<Counted<H>, Counted>,
    old_model: &HashMap<u64, u64>,
    new: &CowHashMap<Counted<H>, Counted>,
    new_model: &HashMap<u64, u64>,
) {
    let mut patched = old_model.clone();
    let mut count = 0;
    for difference in old.diff(new) {
        count += 1;
        match difference {
            Difference::Added(key, value) => assert_eq!(patched.insert(key.number, value.number), None),
            Difference::Removed(key, value) => assert_eq!(patched.remove(&key.number), Some(value.number)),
            Difference::Changed { key, old, new } => {
                assert_ne!(old, new);
                assert_eq!(patched.insert(key.number, new.number), Some(old.number));
            }
        }
    }
    assert_eq!(&patched, new_model);
    assert_eq!(old == new, count == 0);
}

/// Random changes of a few versions, each with its model; hashes of so many values.
fn versions<const H: u64>(steps: u64, keys: u64) {
    let mut random = Random(seed());
    {
        let mut versions: Vec<(CowHashMap<Counted<H>, Counted>, HashMap<u64, u64>)> =
            vec![(CowHashMap::new(), HashMap::new())];
        let number = |value: Option<Counted>| value.map(|value| value.number);
        for step in 0..steps {
            let (at, several) = (random.below(versions.len() as u64) as usize, versions.len() > 1);
            let (map, model) = &mut versions[at];
            // Some keys are more likely, so that removing finds them.
            let key = if random.below(2) == 0 { random.below(keys) } else { random.below(keys / 8 + 1) };
            // Growing and shrinking take turns.
            let grows = step / (keys * 2) % 2 == 0;
            match random.below(20) {
                0..=8 if grows => {
                    let value = random.next();
                    assert_eq!(number(map.insert(Counted::new(key), Counted::new(value))), model.insert(key, value));
                }
                0..=10 => {
                    let removed = map.remove(&Counted::<H>::new(key));
                    assert_eq!(number(removed), model.remove(&key));
                }
                11..=13 => {
                    let value = random.next();
                    assert_eq!(number(map.insert(Counted::new(key), Counted::new(value))), model.insert(key, value));
                }
                14 | 15 => {
                    let value = map.get_mut(&Counted::<H>::new(key));
                    let there = model.get_mut(&key);
                    assert_eq!(value.is_some(), there.is_some());
                    if let (Some(ours), Some(theirs)) = (value, there) {
                        ours.number += 1;
                        *theirs += 1;
                    }
                }
                16 | 17 => {
                    assert_eq!(map.get(&Counted::<H>::new(key)).map(|value| value.number), model.get(&key).copied());
                }
                18 if random.below(20) == 0 => {
                    let copy = (map.clone(), model.clone());
                    assert!(copy.0.ptr_eq(map) && copy.0 == *map);
                    versions.push(copy);
                }
                19 if random.below(30) == 0 && several => drop(versions.swap_remove(at)),
                18 if random.below(20) == 0 => {
                    let wanted = random.below(7) + 1;
                    map.retain(|key, _| key.number % 8 < wanted);
                    model.retain(|key, _| key % 8 < wanted);
                }
                18 if random.below(3) == 0 => match map.entry(Counted::new(key)) {
                    Entry::Occupied(entry) => {
                        let (key, value) = entry.remove_entry();
                        assert_eq!(model.remove(&key.number), Some(value.number));
                    }
                    Entry::Vacant(entry) => {
                        entry.insert(Counted::new(step)).number += 1;
                        assert_eq!(model.insert(key, step + 1), None);
                    }
                },
                19 if random.below(100) == 0 => {
                    // With and without another version of it.
                    let kept = (step % 2 == 0).then(|| map.clone());
                    let parts = std::mem::take(map).into_iter();
                    assert_eq!(parts.len(), model.len());
                    let most = random.below(2 * model.len() as u64 + 1) as usize;
                    *map = parts.take(most).collect();
                    let left: Vec<u64> = map.keys().map(|key| key.number).collect();
                    assert_eq!(left.len(), most.min(model.len()));
                    let before = std::mem::take(model);
                    model.extend(left.into_iter().map(|key| (key, before[&key])));
                    if let Some(kept) = kept {
                        same(&kept, &before);
                    }
                }
                19 if random.below(30) == 0 => {
                    map.iter_mut().for_each(|(_, value)| value.number ^= 1);
                    model.values_mut().for_each(|value| *value ^= 1);
                }
                _ => {}
            }
            if random.below(steps / 40) == 0 {
                let (one, other) = (&versions[0], &versions[versions.len() - 1]);
                differs(&one.0, &one.1, &other.0, &other.1);
                differs(&other.0, &other.1, &one.0, &one.1);
                versions.iter().for_each(|(map, model)| same(map, model));
            }
            if versions.len() > 6 {
                versions.remove(0);
            }
        }
        versions.iter().for_each(|(map, model)| same(map, model));
    }
    assert_eq!(alive(), 0);
}

#[test]
fn versions_do_what_the_standard_map_does() {
    versions::<0>(30_000, 700);
    versions::<0>(60_000, 5000);
}

#[test]
fn versions_of_colliding_keys_do_what_the_standard_map_does() {
    versions::<1>(6_000, 60);
    versions::<7>(20_000, 400);
    versions::<40>(20_000, 900);
}

#[test]
fn heap_is_empty_at_the_end() {
    let heap = HeapOptions::new().volatile().unwrap();
    let session = heap.write().unwrap();
    let mut map: CowHashMap<u64, Box<u64>> = CowHashMap::new();
    let mut versions = Vec::new();
    for n in 0..20_000_u64 {
        map.insert(n, Box::new(n));
        if n % 1000 == 0 {
            versions.push(map.clone());
        }
    }
    assert!(heap.stats().live_bytes > 0);
    for (at, version) in versions.iter().enumerate() {
        assert_eq!(version.len(), at * 1000 + 1);
        version.check().unwrap();
    }
    for n in 0..20_000 {
        assert_eq!(map.remove(&n), Some(Box::new(n)));
    }
    map.check().unwrap();
    assert!(map.is_empty());
    drop(versions);
    assert_eq!(heap.stats().live_bytes, 0);
    drop((map, session));
}

/// Whatever hashes, compares or clones panics at every moment: the map is in order, has what it had, and nothing is lost.
#[test]
fn panics_of_keys_and_values_leave_a_map_in_order() {
    fn all<const H: u64>(random: &mut Random) {
        let len = random.below(120);
        let mut map: CowHashMap<Counted<H>, Counted> = (0..len).map(|n| (Counted::new(n), Counted::new(n))).collect();
        let version = (random.below(3) > 0).then(|| map.clone());
        let before = map.clone();
        let (key, fuel) = (random.below(140), random.below(60) as u32);
        let action = random.below(7);
        drop((action < 3).then_some(before));
        panic_after(fuel);
        let outcome = catch_unwind(AssertUnwindSafe(|| match action {
            0 => drop(map.insert(Counted::new(key), Counted::new(key))),
            1 => drop(map.remove(&Counted::<H>::new(key))),
            2 => map.entry(Counted::new(key)).or_insert_with(|| Counted::new(key)).number += 0,
            3 => map.iter_mut().for_each(|(_, value)| value.number += 0),
            4 => map.retain(|key, _| key.number % 3 != 0),
            5 => assert_eq!(
                std::mem::take(&mut map).into_iter().map(|(key, _)| key.number).filter(|&n| n >= len).count(),
                0
            ),
            _ => map.rehash(),
        }));
        never_panic();
        map.check().unwrap();
        if outcome.is_err() && !(4..6).contains(&action) {
            assert!((0..len).all(|n| map.get(&Counted::<H>::new(n)).is_some_and(|value| value.number == n)));
            assert_eq!(map.len() as u64, len);
        }
        if let Some(version) = version {
            version.check().unwrap();
            assert!((0..len).all(|n| version.get(&Counted::<H>::new(n)).is_some_and(|value| value.number == n)));
        }
        drop(map);
        assert_eq!(alive(), 0);
    }
    let mut random = Random(seed());
    for _ in 0..800 {
        all::<0>(&mut random);
        all::<3>(&mut random);
    }
}

fn bombs(armed: u64) -> CowHashMap<u64, std::rc::Rc<Bomb>> {
    (0..400).map(|n| (n, std::rc::Rc::new(Bomb { counted: Counted::new(n), armed: n == armed }))).collect()
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

        let mut map = bombs(armed);
        panics(&mut || map.retain(|_, _| false));
        map.check().unwrap();
        assert_eq!(alive(), map.len());
        drop(map);
        assert_eq!(alive(), 0);

        let mut map = Some(bombs(armed));
        panics(&mut || drop(map.take().unwrap().into_iter()));
        assert_eq!(alive(), 0);
    }
}

/// Hashes and equality that contradict themselves give wrong answers, and only that.
#[test]
fn keys_that_contradict_themselves_lose_nothing_twice() {
    #[derive(Clone, Debug)]
    struct Confused {
        _counted: Counted,
    }
    std::thread_local! { static STATE: std::cell::RefCell<Random> = RefCell::new(Random(seed())); }
    use std::cell::RefCell;
    fn any(n: u64) -> u64 {
        STATE.with_borrow_mut(|random| random.below(n))
    }
    impl PartialEq for Confused {
        fn eq(&self, _: &Self) -> bool {
            any(8) == 0
        }
    }
    impl Eq for Confused {}
    impl std::hash::Hash for Confused {
        fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
            any(50).hash(state);
        }
    }
    let confused = |n| Confused { _counted: Counted::new(n) };
    let mut versions = vec![CowHashMap::new()];
    for n in 0..6000 {
        let at = any(versions.len() as u64) as usize;
        let map: &mut CowHashMap<Confused, Counted> = &mut versions[at];
        map.insert(confused(n), Counted::new(n));
        if n % 3 == 0 {
            map.remove(&confused(n));
            map.entry(confused(n)).or_insert_with(|| Counted::new(n)).number += 1;
        }
        match map.entry(confused(n)) {
            Entry::Occupied(entry) if n % 7 == 0 => drop(entry.remove_entry()),
            _ => {}
        }
        if n % 100 == 0 {
            assert_eq!(map.iter().count(), map.len());
            let copy = map.clone();
            copy.diff(&versions[0]).for_each(drop);
            versions.push(copy);
        }
        if n % 400 == 0 {
            versions[at].rehash();
            let len = versions[at].len();
            versions[at].retain(|_, value| value.number % 5 != 0);
            assert!(versions[at].len() <= len);
            versions.swap_remove(any(versions.len() as u64) as usize);
        }
    }
    versions.into_iter().for_each(|map| drop(map.into_iter().collect::<Vec<_>>()));
    assert_eq!(alive(), 0);
}

#[test]
fn threads_read_versions_while_one_writes() {
    let heap = HeapOptions::new().volatile().unwrap();
    let session = heap.write().unwrap();
    let mut map: CowHashMap<u64, SalString> = CowHashMap::new();
    for n in 0..3000 {
        map.insert(n, "first".into());
    }
    std::thread::scope(|threads| {
        for round in 0..40_u64 {
            let version = map.clone();
            let expected: HashMap<u64, String> = version.iter().map(|(n, text)| (*n, text.to_string())).collect();
            threads.spawn(move || {
                for n in 0..4000 {
                    assert_eq!(version.get(&n).map(|text| &**text), expected.get(&n).map(|text| &**text));
                }
                assert_eq!(version.iter().count(), expected.len());
                let mut own = version.clone();
                own.remove(&round);
                drop(version);
                own.check().unwrap();
            });
            for n in 0..200 {
                map.insert(round * 97 % 3500 + n, round.to_string().as_str().into());
                map.remove(&(n * 13 + round));
            }
        }
    });
    map.check().unwrap();
    drop(map);
    assert_eq!(heap.stats().live_bytes, 0);
    drop(session);
}

const MAPS: Root<SalVec<CowHashMap<SalString, u64>>> = Root::new("maps");

/// A new heap file with a map and earlier versions of it.
fn create_file(path: &Path) {
    // SAFETY: the file is the test's own.
    let heap = unsafe { HeapOptions::new().create(path) }.unwrap();
    let session = heap.write().unwrap();
    let maps = session.root_or_default(MAPS).unwrap();
    maps.push(CowHashMap::new());
    for n in 0..5000_u64 {
        if n % 1000 == 0 {
            let version = maps[0].clone();
            maps.push(version);
        }
        maps[0].insert(n.to_string().as_str(), n);
    }
    session.sync().unwrap();
    // SAFETY: nothing of the heap is used any more.
    unsafe { heap.close_and_unmap() }.unwrap();
}

#[test]
fn map_and_its_versions_are_found_again_in_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("maps.sal");
    create_file(&path);
    // SAFETY: the file is this test's own.
    let heap = unsafe { HeapOptions::new().open(&path) }.unwrap();
    let session = heap.read().unwrap();
    let maps = session.root(MAPS).unwrap();
    assert!(maps.iter().map(CowHashMap::len).eq([5000, 0, 1000, 2000, 3000, 4000]));
    maps.iter().for_each(|map| map.check().unwrap());
    assert_eq!(maps[4].diff(&maps[5]).count(), 1000);
    assert!((0..5000_u64).all(|n| maps[0].get(n.to_string().as_str()) == Some(&n)));
}

#[test]
fn map_and_its_versions_are_changed_in_a_file_that_is_opened_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("maps.sal");
    create_file(&path);
    // SAFETY: the file is this test's own.
    let heap = unsafe { HeapOptions::new().open(&path) }.unwrap();
    let session = heap.write().unwrap();
    let maps = session.root_mut(MAPS).unwrap();
    for n in 0..5000_u64 {
        assert_eq!(maps[0].remove(n.to_string().as_str()), Some(n));
        maps[2].insert("more", n);
    }
    maps.iter().for_each(|map| map.check().unwrap());
    assert!(maps.iter().map(CowHashMap::len).eq([0, 0, 1001, 2000, 3000, 4000]));
    session.sync().unwrap();
}

#[test]
fn keys_and_values_without_size_or_with_an_alignment_of_their_own() {
    let mut map = CowHashMap::new();
    assert_eq!((map.insert((), ()), map.insert((), ())), (None, Some(())));
    assert_eq!(map.iter().collect::<Vec<_>>(), [(&(), &())]);
    assert_eq!(map.remove(&()), Some(()));
    #[derive(Clone, Debug, PartialEq)]
    #[repr(align(128))]
    struct Wide(u16);
    let mut map = CowHashMap::new();
    for n in 0..400_u16 {
        map.insert(n, Wide(n));
    }
    let version = map.clone();
    map.values_mut().for_each(|wide| wide.0 += 1);
    assert!(map.values().chain(version.values()).all(|wide| (wide as *const Wide).is_aligned()));
    map.check().unwrap();
    assert!((0..400).all(|n| map.remove(&n) == Some(Wide(n + 1)) && version[&n] == Wide(n)));
    // Of each size of leaves.
    let mut large: CowHashMap<u16, [u64; 40]> = (0..500).map(|n| (n, [u64::from(n); 40])).collect();
    let version = large.clone();
    assert!((0..250).all(|n| large.remove(&n).is_some()));
    large.check().unwrap();
    assert!(large.iter().all(|(n, value)| version[n] == *value) && (large.len(), version.len()) == (250, 500));
}

/// Comparisons, hashes and clones of keys and values are counted as fuel. The seed decides how full the changed leaves are:
/// 640 to 1,070 were seen, where looking at everything takes more than 20,000.
#[test]
fn what_two_versions_share_is_not_looked_at() {
    let old: CowHashMap<Counted, Counted> = (0..5000).map(|n| (Counted::new(n), Counted::new(n))).collect();
    let mut new = old.clone();
    for n in 0..3 {
        new.insert(Counted::new(n), Counted::new(n));
        new.insert(Counted::new(n * 5000), Counted::new(7));
        new.remove(&(n * 1000 + 1000));
    }
    panic_after(2500);
    assert_eq!((old.diff(&new).count(), new.diff(&old).count()), (6, 6));
    assert!(old != new && old == old.clone());
    new.retain(|_, _| true);
    never_panic();
    let version = new.clone();
    panic_after(100);
    assert!(new == version && new.diff(&version).next().is_none());
    never_panic();
    drop((old, new, version));
    assert_eq!(alive(), 0);
}

#[test]
fn sets_do_what_the_standard_set_does() {
    let mut random = Random(seed());
    let (mut set, mut model): (CowHashSet<SalString>, HashSet<String>) = (CowHashSet::new(), HashSet::new());
    let (mut kept, mut kept_model) = (set.clone(), model.clone());
    for step in 0..10_000 {
        let text = random.below(600).to_string();
        match random.below(9) {
            0..=3 => assert_eq!(set.insert(&text), model.insert(text)),
            4 | 5 => assert_eq!(set.remove(text.as_str()), model.remove(&text)),
            6 => assert_eq!(set.take(text.as_str()).map(|text| text.to_string()), model.take(&text)),
            7 => assert_eq!(set.contains(text.as_str()), model.contains(&text)),
            _ => assert_eq!(set.get(text.as_str()).map(|text| &**text), model.get(&text).map(|text| &**text)),
        }
        if step % 1000 == 0 {
            set.check().unwrap();
            assert_eq!(set.diff(&kept).count(), model.symmetric_difference(&kept_model).count());
            assert_eq!(
                (set.is_subset(&kept), set.is_disjoint(&kept)),
                (model.is_subset(&kept_model), model.is_disjoint(&kept_model))
            );
            (kept, kept_model) = (set.clone(), model.clone());
            assert!(set == kept && set.ptr_eq(&kept));
            set.retain(|text| text.len() != 2);
            model.retain(|text| text.len() != 2);
            assert!(set.len() == model.len() && set.iter().all(|text| model.contains(&**text)));
        }
    }
    kept.check().unwrap();
    assert_eq!(kept.into_iter().map(|text| text.to_string()).collect::<HashSet<_>>(), kept_model);
}

#[test]
#[should_panic(expected = "no entry for this key")]
fn index_of_a_missing_key_panics() {
    let map: CowHashMap<u64, u64> = CowHashMap::new();
    let _ = map[&1];
}

#[test]
fn debug_shows_a_map_and_a_map_is_as_shareable_as_its_entries() {
    let map: CowHashMap<u64, char> = [(1, 'a')].into();
    assert_eq!(format!("{map:?} {:?} {:?}", map.keys(), map.iter()), "{1: 'a'} [1] [(1, 'a')]");
    fn shareable<T: Send + Sync>() {}
    shareable::<CowHashMap<String, Vec<u8>>>();
}

#[cfg(feature = "serde")]
#[test]
fn serde_brings_back_an_equal_map() {
    let map: CowHashMap<String, Vec<u8>> = (0..40u8).map(|n| (n.to_string(), vec![n; 3])).collect();
    let json = serde_json::to_string(&map).unwrap();
    assert_eq!(serde_json::from_str::<CowHashMap<String, Vec<u8>>>(&json).unwrap(), map);
}

//! `CowHashMap` against `std::collections::HashMap`, with versions kept, and where things go wrong.

mod counted;

use counted::{Counted, alive};
use sal::HeapOptions;
use sal::collections::CowHashMap;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

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
                19 if random.below(30) == 0 => {
                    map.iter_mut().for_each(|(_, value)| value.number ^= 1);
                    model.values_mut().for_each(|value| *value ^= 1);
                }
                _ => {}
            }
            if random.below(steps / 40) == 0 {
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

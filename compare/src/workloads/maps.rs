//! Hash and tree maps from numbers to strings: entries that come and go, and whole maps built and dropped.
//!
//! The hash map hashes without a random key, so every run does the same. Strings have 8 to 40 bytes.

use super::Workload;
use crate::measure::Meter;
use crate::random::Random;
use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasherDefault;
use std::hint::black_box;

type FixedHashMap = HashMap<u64, String, BuildHasherDefault<DefaultHasher>>;

const LIVE: usize = 100_000;
const CHURN: usize = 100_000;

pub(super) const WORKLOADS: &[Workload] = &[
    Workload::new("hash_map/churn", "entry", churn::<FixedHashMap>).quick(),
    Workload::new("hash_map/build_drop", "entry", build_and_drop::<FixedHashMap>),
    Workload::new("btree_map/churn", "entry", churn::<BTreeMap<u64, String>>).quick(),
    Workload::new("btree_map/build_drop", "entry", build_and_drop::<BTreeMap<u64, String>>),
];

/// What the two maps have in common here.
trait Map: Default {
    fn put(&mut self, key: u64, value: String);
    fn take(&mut self, key: u64);
}

impl Map for FixedHashMap {
    fn put(&mut self, key: u64, value: String) {
        self.insert(key, value);
    }
    fn take(&mut self, key: u64) {
        self.remove(&key);
    }
}

impl Map for BTreeMap<u64, String> {
    fn put(&mut self, key: u64, value: String) {
        self.insert(key, value);
    }
    fn take(&mut self, key: u64) {
        self.remove(&key);
    }
}

fn text(random: &mut Random) -> String {
    const LETTERS: &str = "the quick brown fox jumps over the lazy dog";
    LETTERS[..random.between(8, 40)].to_owned()
}

fn filled<M: Map>(random: &mut Random, keys: &mut Vec<u64>) -> M {
    let mut map = M::default();
    for _ in 0..LIVE {
        let key = random.bits();
        keys.push(key);
        map.put(key, text(random));
    }
    map
}

fn churn<M: Map>(meter: &mut Meter) {
    let mut random = Random::new(4);
    let mut keys = Vec::with_capacity(LIVE);
    let mut map = filled::<M>(&mut random, &mut keys);
    meter.repeat(5, CHURN, || {
        for _ in 0..CHURN {
            let key = &mut keys[random.below(LIVE)];
            map.take(*key);
            *key = random.bits();
            map.put(*key, text(&mut random));
        }
    });
    drop(black_box(map));
}

fn build_and_drop<M: Map>(meter: &mut Meter) {
    let mut keys = Vec::with_capacity(LIVE);
    meter.repeat(5, LIVE, || {
        keys.clear();
        drop(black_box(filled::<M>(&mut Random::new(5), &mut keys)));
    });
}

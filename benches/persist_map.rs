//! Maps that are kept, beside those of the standard library.
//!
//! `persist_map/insert_100k/1t/KIND` fills a map with `u64 -> u64`, `persist_map/get_100k/1t/KIND` looks all keys up in
//! another order, `persist_map/words/1t/KIND` counts words through `entry_ref` (or `entry` with a `String`). KIND is `std`
//! or `std_btree`, and `hash` or `btree` in a shared heap.
#![allow(unsafe_code)]

mod common;

use sal::HeapOptions;
use sal::collections::{SalBTreeMap, SalHashMap, SalString};
use std::collections::{BTreeMap, HashMap};
use std::hint::black_box;

const LEN: u64 = 100_000;

/// All numbers below `LEN` in an order that no map likes.
fn keys() -> impl Iterator<Item = u64> {
    (0..LEN).map(|at| at.wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

fn main() {
    let mut criterion = common::criterion();
    let directory = tempfile::tempdir_in(".").expect("a directory for the heap");
    // SAFETY: the file is this program's own.
    let heap = unsafe { HeapOptions::new().create(directory.path().join("map.sal")) }.expect("a new heap");
    let session = heap.write().expect("a session");

    let mut group = criterion.benchmark_group("persist_map/insert_100k/1t");
    group.bench_function("std", |bencher| bencher.iter(|| keys().map(|key| (key, key)).collect::<HashMap<_, _>>()));
    group.bench_function("hash", |bencher| bencher.iter(|| keys().map(|key| (key, key)).collect::<SalHashMap<_, _>>()));
    group.bench_function("std_btree", |bencher| {
        bencher.iter(|| {
            let mut map = BTreeMap::new();
            for key in keys() {
                map.insert(key, key);
            }
            map
        });
    });
    group.bench_function("btree", |bencher| {
        bencher.iter(|| {
            let mut map = SalBTreeMap::new();
            for key in keys() {
                map.insert(key, key);
            }
            map
        });
    });
    group.finish();

    let mut group = criterion.benchmark_group("persist_map/get_100k/1t");
    let std_hash: HashMap<u64, u64> = keys().map(|key| (key, key)).collect();
    let hash: SalHashMap<u64, u64> = keys().map(|key| (key, key)).collect();
    let std_btree: BTreeMap<u64, u64> = keys().map(|key| (key, key)).collect();
    let btree: SalBTreeMap<u64, u64> = keys().map(|key| (key, key)).collect();
    group.bench_function("std", |bencher| bencher.iter(|| keys().filter_map(|key| std_hash.get(&key)).sum::<u64>()));
    group.bench_function("hash", |bencher| bencher.iter(|| keys().filter_map(|key| hash.get(&key)).sum::<u64>()));
    group.bench_function("std_btree", |bencher| {
        bencher.iter(|| keys().filter_map(|key| std_btree.get(&key)).sum::<u64>())
    });
    group.bench_function("btree", |bencher| bencher.iter(|| keys().filter_map(|key| btree.get(&key)).sum::<u64>()));
    group.finish();

    let mut group = criterion.benchmark_group("persist_map/words/1t");
    let text: Vec<String> = keys().map(|key| format!("word{}", key % 5000)).collect();
    group.bench_function("std", |bencher| {
        bencher.iter(|| {
            let mut words: HashMap<String, u64> = HashMap::new();
            for word in &text {
                *words.entry(word.clone()).or_default() += 1;
            }
            black_box(words.len())
        });
    });
    group.bench_function("hash", |bencher| {
        bencher.iter(|| {
            let mut words: SalHashMap<SalString, u64> = SalHashMap::new();
            for word in &text {
                *words.entry_ref(word.as_str()).or_default() += 1;
            }
            black_box(words.len())
        });
    });
    group.finish();
    drop(session);
    criterion.final_summary();
}

//! Ordinary operations between syncs, beside a heap that is never synced.

use super::report::{Aim, Report};
use super::{Bench, close, machine, remove};
use allocator_api2::boxed::Box;
use sal::collections::{SalBTreeMap, SalHashMap, SalVec};
use sal::{Heap, HeapOptions, Root};
use std::hint::black_box;

const BEGUN: Root<u64> = Root::new("begun");

/// What is done in one fresh heap: some operations, and nanoseconds of CPU time for one of each.
struct Family {
    operations: &'static [&'static str],
    run: fn(&Heap, u64) -> Vec<f64>,
    /// How many of each operation.
    count: u64,
}

const FAMILIES: [Family; 4] = [
    Family { operations: &["vec_push"], run: push, count: 4_000_000 },
    Family { operations: &["hash_insert", "hash_lookup", "hash_remove"], run: hash, count: 500_000 },
    Family { operations: &["btree_insert", "btree_lookup", "btree_remove"], run: btree, count: 500_000 },
    Family { operations: &["box_64B_pair", "box_64B_batch", "box_64B_batch_again"], run: boxes, count: 4_000_000 },
];

pub(crate) fn run(bench: &Bench, report: &mut Report) {
    for Family { operations, run, count } in FAMILIES {
        let count = if bench.options.is_trial { count / 100 } else { count };
        let mut times = vec![[vec![], vec![]]; operations.len()];
        for round in 0..bench.options.rounds {
            // The one that goes first changes.
            for which in [round % 2, 1 - round % 2] {
                let heap = fresh(bench, which == 1);
                for (times, time) in times.iter_mut().zip(run(&heap, count)) {
                    times[which].push(time);
                }
                close(heap);
            }
        }
        for (name, [base, values]) in operations.iter().zip(times) {
            report.add(format!("ops/{name}"), "ns", values, Some(base), Some(Aim::Ratio(1.1)));
        }
    }
    remove(&bench.heap_path("operations"));
}

/// A new volatile heap, or one that is kept and was synced once, so that what it has for that is in place.
fn fresh(bench: &Bench, is_kept: bool) -> Heap {
    if !is_kept {
        return HeapOptions::new().volatile().expect("a volatile heap");
    }
    let path = bench.heap_path("operations");
    remove(&path);
    // SAFETY: the file is this program's own.
    let heap = unsafe { bench.heap_options().discard(true).create(path) }.expect("a new heap");
    let tx = heap.write().expect("a session");
    *tx.root_or_default(BEGUN).expect("the root") = 1;
    tx.sync().expect("the disk works");
    heap
}

/// Nanoseconds of CPU time for one of `count` operations.
fn timed(count: u64, body: impl FnOnce()) -> f64 {
    let start = machine::thread_cpu_ns();
    body();
    (machine::thread_cpu_ns() - start) as f64 / count as f64
}

/// The keys in an order that no map likes.
fn keys(count: u64) -> impl Iterator<Item = u64> {
    (0..count).map(|at| at.wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

fn push(heap: &Heap, count: u64) -> Vec<f64> {
    let session = heap.write().expect("a session");
    let mut numbers = SalVec::new();
    let time = timed(count, || {
        for number in 0..count {
            numbers.push(black_box(number));
        }
    });
    drop(numbers);
    drop(session);
    vec![time]
}

fn hash(heap: &Heap, count: u64) -> Vec<f64> {
    let session = heap.write().expect("a session");
    let mut map = SalHashMap::new();
    let insert = timed(count, || {
        for key in keys(count) {
            map.insert(key, key);
        }
    });
    let lookup = timed(count, || assert_eq!(keys(count).filter(|key| map.get(key) == Some(key)).count() as u64, count));
    let remove = timed(count, || assert!(keys(count).all(|key| map.remove(&key).is_some())));
    drop(map);
    drop(session);
    vec![insert, lookup, remove]
}

fn btree(heap: &Heap, count: u64) -> Vec<f64> {
    let session = heap.write().expect("a session");
    let mut map = SalBTreeMap::new();
    let insert = timed(count, || {
        for key in keys(count) {
            map.insert(key, key);
        }
    });
    let lookup = timed(count, || assert_eq!(keys(count).filter(|key| map.get(key) == Some(key)).count() as u64, count));
    let remove = timed(count, || assert!(keys(count).all(|key| map.remove(&key).is_some())));
    drop(map);
    drop(session);
    vec![insert, lookup, remove]
}

/// One box after the other, and all of them before the first is dropped: in memory that is touched for the first time, and
/// again.
fn boxes(heap: &Heap, count: u64) -> Vec<f64> {
    let handle = heap.alloc();
    let pair = timed(count, || (0..count).for_each(|number| drop(black_box(Box::new_in([number; 8], handle)))));
    let count = count / 8;
    let mut boxes = Vec::with_capacity(count as usize);
    let mut batch = || {
        timed(count, || {
            boxes.extend((0..count).map(|number| Box::new_in([number; 8], handle)));
            black_box(&boxes);
            boxes.clear();
        })
    };
    vec![pair, batch(), batch()]
}

//! A vector that is kept: filling, reading and syncing it in a file, beside memory.
//!
//! `persist_vec/push_1M_u64/1t/KIND` fills a vector that starts empty; `persist_vec/sum_1M_u64/1t/KIND` reads it;
//! `persist_vec/sync_4KiB_dirty/1t/shared` changes one page and makes it durable. KIND is `std` (`Vec`), `volatile` and
//! `shared` (`SalVec` in a heap of that mode), `shared_api2` (`Vec<u64, SalAlloc>`).
#![cfg_attr(feature = "nightly", feature(allocator_api))]
#![allow(unsafe_code)]

mod common;

use sal::collections::SalVec;
use sal::{Heap, HeapOptions, Root};
use std::hint::black_box;

const NUMBERS: Root<SalVec<u64>> = Root::new("numbers");
const LEN: u64 = 1_000_000;

fn main() {
    let mut criterion = common::criterion();
    let directory = tempfile::tempdir_in(".").expect("a directory for the heap");
    let volatile = HeapOptions::new().volatile().expect("a volatile heap");
    // SAFETY: the file is this program's own.
    let shared = unsafe { HeapOptions::new().create(directory.path().join("vec.sal")) }.expect("a new heap");

    let mut group = criterion.benchmark_group("persist_vec/push_1M_u64/1t");
    group.bench_function("std", |bencher| bencher.iter(|| (0..LEN).fold(Vec::new(), pushed)));
    for (name, heap) in [("volatile", &volatile), ("shared", &shared)] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let tx = heap.write().expect("a session");
                let mut numbers = SalVec::new();
                for number in 0..LEN {
                    numbers.push(black_box(number));
                }
                drop(numbers);
                drop(tx);
            });
        });
    }
    group.bench_function("shared_api2", |bencher| {
        bencher.iter(|| {
            let mut numbers = allocator_api2::vec::Vec::new_in(shared.alloc());
            for number in 0..LEN {
                numbers.push(black_box(number));
            }
            numbers
        });
    });
    group.finish();

    let mut group = criterion.benchmark_group("persist_vec/sum_1M_u64/1t");
    let plain: Vec<u64> = (0..LEN).collect();
    group.bench_function("std", |bencher| bencher.iter(|| black_box(&plain).iter().sum::<u64>()));
    for (name, heap) in [("volatile", &volatile), ("shared", &shared)] {
        fill(heap);
        let session = heap.read().expect("a session");
        let numbers = session.root(NUMBERS).expect("the root");
        group.bench_function(name, |bencher| bencher.iter(|| black_box(numbers).iter().sum::<u64>()));
    }
    group.finish();

    let mut group = criterion.benchmark_group("persist_vec/sync_4KiB_dirty/1t");
    group.bench_function("shared", |bencher| {
        bencher.iter(|| {
            let tx = shared.write().expect("a session");
            tx.root_mut(NUMBERS).expect("the root")[0] += 1;
            tx.sync().expect("the disk works")
        });
    });
    group.finish();
    criterion.final_summary();
}

fn pushed(mut numbers: Vec<u64>, number: u64) -> Vec<u64> {
    numbers.push(black_box(number));
    numbers
}

fn fill(heap: &Heap) {
    let tx = heap.write().expect("a session");
    tx.root_or_default(NUMBERS).expect("the root").extend(0..LEN);
}

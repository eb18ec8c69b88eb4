//! Sealing values: `seal_new/1GiB_of_SIZE/POLICY/1t` is one seal of a gibibyte of values that were made since the last one, of which the
//! gate is closed for all; `seal_one/1GiB/POLICY/1t` one of a single new value in a heap with a gibibyte that is sealed;
//! `replace/1GiB/POLICY/1t` is a value made in place of a sealed one, with a seal after every thousand.
//!
//! Values lie in a vector outside of the heap, so that there is nothing else in it. All of it is in memory.

mod common;

use sal::prelude::*;
use sal::{HeapOptions, SealPolicy, SyncLevel};
use std::hint::black_box;
use std::time::{Duration, Instant};

const TOTAL: usize = 1 << 30;

fn main() {
    let mut criterion = common::criterion().sample_size(10);
    for (name, policy) in [("logical", SealPolicy::Logical), ("mprotect", SealPolicy::Mprotect)] {
        bench_new::<64>(&mut criterion, "64B", name, policy);
        bench_new::<256>(&mut criterion, "256B", name, policy);
        bench_new::<1024>(&mut criterion, "1KiB", name, policy);
        bench_new::<65_536>(&mut criterion, "64KiB", name, policy);
        bench_small(&mut criterion, name, policy);
    }
    criterion.final_summary();
}

fn made(policy: SealPolicy) -> Heap {
    HeapOptions::new().capacity(4 << 30).seal_policy(policy).volatile().expect("a heap")
}

fn filled<const SIZE: usize>(heap: &Heap) -> Vec<SalRc<[u8; SIZE]>> {
    (0..TOTAL / SIZE).map(|n| heap.rc([n as u8; SIZE])).collect()
}

fn seal(heap: &Heap) -> Duration {
    let start = Instant::now();
    heap.sync_with(SyncLevel::Seal).expect("a seal");
    start.elapsed()
}

fn bench_new<const SIZE: usize>(criterion: &mut criterion::Criterion, size: &str, name: &str, policy: SealPolicy) {
    let mut group = criterion.benchmark_group(format!("seal_new/1GiB_of_{size}/{name}"));
    group.bench_function("1t", |bencher| {
        bencher.iter_custom(|rounds| {
            (0..rounds).fold(Duration::ZERO, |total, _| {
                let heap = made(policy);
                let values = filled::<SIZE>(&heap);
                let spent = seal(&heap);
                drop(values);
                total + spent
            })
        });
    });
    group.finish();
}

fn bench_small(criterion: &mut criterion::Criterion, name: &str, policy: SealPolicy) {
    let heap = made(policy);
    let mut values = filled::<256>(&heap);
    seal(&heap);
    println!("{}", heap.stats().seals.map(|seals| seals.to_string()).unwrap_or_default());
    let mut group = criterion.benchmark_group(format!("seal_one/1GiB/{name}"));
    let mut at = 0;
    group.bench_function("1t", |bencher| {
        bencher.iter_custom(|rounds| {
            (0..rounds).fold(Duration::ZERO, |total, _| {
                at = (at + 7919) % values.len();
                values[at] = black_box(heap.rc([1; 256]));
                total + seal(&heap)
            })
        });
    });
    group.finish();
    let mut group = criterion.benchmark_group(format!("replace/1GiB/{name}"));
    group.bench_function("1t", |bencher| {
        bencher.iter(|| {
            at = (at + 7919) % values.len();
            values[at] = black_box(heap.rc([1; 256]));
            if at % 1000 == 0 {
                seal(&heap);
            }
        });
    });
    group.finish();
    println!("{}", heap.stats().seals.map(|seals| seals.to_string()).unwrap_or_default());
}

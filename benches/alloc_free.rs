//! One block allocated, touched and freed: `alloc_free/SIZE/THREADS/ALLOCATOR`.
//!
//! The allocators are called through the `Allocator` trait with a layout known at compile time, as a collection would. With
//! several threads each does as many pairs, and the time is that of the slowest.

#![cfg_attr(feature = "nightly", feature(allocator_api))]
mod common;
mod peers;

use criterion::Criterion;
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Throughput};
use peers::{Block, Handle};
use sal::SalAlloc;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

fn main() {
    let mut criterion = common::criterion();
    for threads in [1, 2] {
        sizes::<16>(&mut criterion, "16B", threads);
        sizes::<64>(&mut criterion, "64B", threads);
        sizes::<256>(&mut criterion, "256B", threads);
        sizes::<1024>(&mut criterion, "1KiB", threads);
        sizes::<4096>(&mut criterion, "4KiB", threads);
    }
    criterion.final_summary();
}

fn sizes<const SIZE: usize>(criterion: &mut Criterion, size: &str, threads: usize) {
    let mut group = criterion.benchmark_group(format!("alloc_free/{size}/{threads}t"));
    group.throughput(Throughput::Elements(threads as u64));
    bench::<_, SIZE>(&mut group, "sal", SalAlloc::new(), threads);
    bench::<_, SIZE>(&mut group, "system", &peers::SYSTEM, threads);
    bench::<_, SIZE>(&mut group, "mimalloc", &peers::MIMALLOC, threads);
    group.finish();
}

fn bench<A: Handle, const SIZE: usize>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    allocator: A,
    threads: usize,
) {
    group.bench_function(name, |bencher| match threads {
        1 => bencher.iter(|| drop(Block::<A, SIZE>::new(allocator))),
        _ => bencher.iter_custom(|pairs| on_threads::<A, SIZE>(allocator, threads, pairs)),
    });
}

/// The longest time that one of `threads` threads took for `pairs` pairs, all starting together.
fn on_threads<A: Handle, const SIZE: usize>(allocator: A, threads: usize, pairs: u64) -> Duration {
    let barrier = Barrier::new(threads);
    let work = || {
        drop(Block::<A, SIZE>::new(allocator));
        barrier.wait();
        let start = Instant::now();
        for _ in 0..pairs {
            drop(Block::<A, SIZE>::new(allocator));
        }
        start.elapsed()
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let times = workers.into_iter().map(|worker| worker.join().expect("allocating does not panic"));
        times.max().unwrap_or_default()
    })
}

//! Blocks that one thread allocates and others free: `remote_free/SIZE/THREADS/ALLOCATOR`, where THREADS free.
//!
//! The blocks travel in batches over a bounded channel, so what the channel costs is spread over many and the same for all.
//! The time runs from the first allocation until the last block has been freed; with more threads than cores it holds waiting too.

#![cfg_attr(feature = "nightly", feature(allocator_api))]
mod common;
mod peers;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput};
use peers::{Block, Handle};
use sal::SalAlloc;
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::{Duration, Instant};

const BATCH: u64 = 256;

fn main() {
    let mut criterion = common::criterion();
    for threads in [1, 8] {
        sizes::<64>(&mut criterion, "64B", threads);
        sizes::<1024>(&mut criterion, "1KiB", threads);
    }
    criterion.final_summary();
}

fn sizes<const SIZE: usize>(criterion: &mut Criterion, size: &str, threads: usize) {
    let mut group = criterion.benchmark_group(format!("remote_free/{size}/{threads}t"));
    group.throughput(Throughput::Elements(1));
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
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|blocks| hand_over::<A, SIZE>(allocator, threads, blocks));
    });
}

/// The time until `blocks` blocks of this thread were freed by `threads` others.
fn hand_over<A: Handle, const SIZE: usize>(allocator: A, threads: usize, blocks: u64) -> Duration {
    let (mut channels, mut consumers) = (Vec::new(), Vec::new());
    for _ in 0..threads {
        let (sender, receiver) = sync_channel::<Vec<Block<A, SIZE>>>(8);
        channels.push(sender);
        consumers.push(thread::spawn(move || receiver.into_iter().for_each(drop)));
    }
    let start = Instant::now();
    let mut left = blocks;
    for channel in channels.iter().cycle() {
        let count = left.min(BATCH);
        if count == 0 {
            break;
        }
        let batch = (0..count).map(|_| Block::new(allocator)).collect();
        channel.send(batch).expect("consumers live until the channels close");
        left -= count;
    }
    drop(channels);
    for consumer in consumers {
        consumer.join().expect("freeing does not panic");
    }
    start.elapsed()
}

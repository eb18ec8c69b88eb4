//! Threads that write to their own small objects again and again: is a cache line of theirs also another's?
//!
//! Both are after the tests of the same names that came with Hoard (Emery Berger). In `cache_thrash` each thread allocates an
//! object, writes to it many times and frees it: an allocator that deals objects of one line to several threads makes the
//! threads wait for each other (active false sharing). In `cache_scratch` each thread first gets an object that the main thread
//! allocated beside those of the others, and frees it: an allocator that lets it keep the memory has false sharing handed to
//! it (passive). Most of an operation is the writes, which cost the same under all; what is above the best is sharing.

use super::Workload;
use super::block::Owned;
use crate::measure::Meter;
use std::sync::Barrier;
use std::thread;

const THREADS: usize = 2;
const SIZE: usize = 8;
/// Times that each byte of an object is written.
const WRITES: usize = 100;

pub(super) const WORKLOADS: &[Workload] = &[
    Workload::new("cache_scratch/8B/2t", "object", |meter| hammer(meter, true)).quick(),
    Workload::new("cache_thrash/8B/2t", "object", |meter| hammer(meter, false)).quick(),
];

fn hammer(meter: &mut Meter, given: bool) {
    let objects = meter.scaled(20_000);
    meter.repeat(5, THREADS * objects, || {
        let gifts: Vec<Option<Owned>> = (0..THREADS).map(|_| given.then(|| Owned::new(SIZE))).collect();
        let barrier = Barrier::new(THREADS);
        thread::scope(|scope| {
            for gift in gifts {
                let barrier = &barrier;
                scope.spawn(move || {
                    // None may be done before another begins.
                    barrier.wait();
                    drop(gift);
                    for _ in 0..objects {
                        Owned::new(SIZE).hammer(WRITES, 2);
                    }
                });
            }
        });
    });
}

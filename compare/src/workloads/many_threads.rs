//! The same work by two threads and by sixty-four: what it costs that there are more threads than cores.
//!
//! Each thread replaces random ones of its own blocks. All begin together, so that sixty-four threads have caches at a time,
//! and the kernel switches between them. The sum of the operations is the same.

use super::Workload;
use super::block::Owned;
use crate::measure::Meter;
use crate::random::Random;
use std::sync::Barrier;
use std::thread;

pub(super) const WORKLOADS: &[Workload] = &[
    Workload::new("many_threads/2t", "replacement", |meter| replace(meter, 2)),
    Workload::new("many_threads/64t", "replacement", |meter| replace(meter, 64)).quick(),
];

const LIVE: usize = 256;

fn replace(meter: &mut Meter, threads: usize) {
    let each = meter.scaled(1_280_000) / threads;
    meter.repeat(5, threads * each, || {
        let barrier = Barrier::new(threads);
        thread::scope(|scope| {
            for seed in 0..threads as u64 {
                let barrier = &barrier;
                scope.spawn(move || {
                    let mut random = Random::new(500 + seed);
                    let take = |random: &mut Random| Owned::new(random.between(16, 512));
                    let mut live: Vec<Owned> = (0..LIVE).map(|_| take(&mut random)).collect();
                    barrier.wait();
                    for _ in 0..each {
                        live[random.below(LIVE)] = take(&mut random);
                    }
                });
            }
        });
    });
}

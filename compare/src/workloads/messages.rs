//! Blocks that one thread allocates and another frees.
//!
//! `producer_consumer`: one thread boxes, the other drops, batches pass through a bounded channel. `xmalloc`: two threads each
//! allocate batches of mixed sizes for the other and free what they are given. `larson`: threads replace random blocks of
//! their own and hand all of them to a successor, so the dead leave blocks to the living. Batches keep the price of the
//! channel, which is the same for all, a few nanoseconds per block.

use super::Workload;
use super::block::{Block, Owned, new_block};
use crate::measure::Meter;
use crate::random::Random;
use std::sync::mpsc::sync_channel;
use std::thread;

const BATCH: usize = 128;

pub(super) const WORKLOADS: &[Workload] = &[
    Workload::new("producer_consumer/64B/2t", "pair", producer_consumer::<64>).quick(),
    Workload::new("producer_consumer/1KiB/2t", "pair", producer_consumer::<1024>),
    Workload::new("xmalloc/16..512B/2t", "pair", xmalloc).quick(),
    Workload::new("larson/16..512B/2t", "pair", larson).quick(),
];

fn mixed(random: &mut Random) -> Owned {
    Owned::new(random.between(16, 512))
}

fn producer_consumer<const SIZE: usize>(meter: &mut Meter) {
    let batches = meter.scaled(4_000);
    meter.repeat(5, batches * BATCH, || {
        let (sender, receiver) = sync_channel::<Vec<Box<Block<SIZE>>>>(32);
        thread::scope(|scope| {
            scope.spawn(move || {
                for _ in 0..batches {
                    let batch = (0..BATCH).map(|_| new_block::<SIZE>()).collect();
                    sender.send(batch).expect("the consumer lives until the channel is empty");
                }
            });
            receiver.into_iter().for_each(drop);
        });
    });
}

fn xmalloc(meter: &mut Meter) {
    let batches = meter.scaled(2_000);
    meter.repeat(5, 2 * batches * BATCH, || {
        let (to_left, from_right) = sync_channel::<Vec<Owned>>(8);
        let (to_right, from_left) = sync_channel::<Vec<Owned>>(8);
        thread::scope(|scope| {
            for (seed, sender, receiver) in [(9, to_left, from_left), (10, to_right, from_right)] {
                scope.spawn(move || {
                    let mut random = Random::new(seed);
                    for _ in 0..batches {
                        let batch = (0..BATCH).map(|_| mixed(&mut random)).collect();
                        // Each side sends before it receives, so neither channel ever holds more than two batches.
                        sender.send(batch).expect("the other side receives as many batches as it sends");
                        drop(receiver.recv().expect("the other side sends as many batches as it receives"));
                    }
                });
            }
        });
    });
}

fn larson(meter: &mut Meter) {
    const LIVE: usize = 1_000;
    const GENERATIONS: u64 = 10;
    let replacements = meter.scaled(40_000);
    let lane = |lane: u64| {
        let mut random = Random::new(lane);
        let mut blocks: Vec<Owned> = (0..LIVE).map(|_| mixed(&mut random)).collect();
        for generation in 0..GENERATIONS {
            let successor = thread::spawn(move || {
                let mut random = Random::new(lane << 8 | generation);
                for _ in 0..replacements {
                    blocks[random.below(LIVE)] = mixed(&mut random);
                }
                blocks
            });
            blocks = successor.join().expect("replacing blocks does not panic");
        }
    };
    meter.repeat(3, 2 * GENERATIONS as usize * replacements, || {
        thread::scope(|scope| {
            scope.spawn(|| lane(11));
            scope.spawn(|| lane(12));
        });
    });
}

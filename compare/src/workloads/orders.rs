//! Batches that are freed partly newest first and partly oldest first, while some blocks outlive them.
//!
//! After the descriptions of sh6bench and sh8bench (MicroQuill): blocks of 1 to 1,000 bytes, small ones in larger numbers; of
//! each batch a part is freed in the order of a stack and a part in that of a queue, and every fourth batch leaves some blocks
//! behind that are freed three batches later. In `sh8` two threads do so and free each other's leavings. It stresses free
//! lists whose order neither matches nor opposes that of the allocations, and pages that a few survivors keep from being empty.

use super::Workload;
use super::block::Owned;
use crate::measure::Meter;
use crate::random::Random;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

pub(super) const WORKLOADS: &[Workload] =
    &[Workload::new("sh6/1..1000B", "pair", sh6).quick(), Workload::new("sh8/1..1000B/2t", "pair", sh8).quick()];

const BATCH: usize = 2_000;

/// Where the survivors of a batch go, and where those come from that are to be freed.
struct Leavings {
    give: Sender<Vec<Owned>>,
    take: Receiver<Vec<Owned>>,
}

fn batches(count: usize, seed: u64, leavings: &Leavings) {
    let mut random = Random::new(seed);
    // Each power of two is as likely as the others, up to 1,000 bytes.
    let sizes: Vec<usize> = (0..BATCH).map(|_| random.between(1, 1_000) >> random.below(7)).collect();
    for batch in 0..count {
        let mut blocks: Vec<Owned> = sizes.iter().map(|&size| Owned::new(size.max(1))).collect();
        if batch % 4 == 0 {
            // Every eighth block, so that survivors lie all over the batch's memory.
            let (mut survivors, mut others) = (Vec::with_capacity(BATCH / 8), Vec::with_capacity(BATCH));
            for (index, block) in blocks.into_iter().enumerate() {
                if index % 8 == 0 { survivors.push(block) } else { others.push(block) }
            }
            blocks = others;
            // Who would take them may have ended: then they are freed here.
            drop(leavings.give.send(survivors));
        } else if batch % 4 == 3 {
            leavings.take.try_iter().for_each(drop);
        }
        let oldest_first = blocks.split_off(blocks.len() / 2);
        while let Some(newest) = blocks.pop() {
            drop(newest);
        }
        oldest_first.into_iter().for_each(drop);
    }
}

fn sh6(meter: &mut Meter) {
    let count = meter.scaled(100);
    meter.repeat(5, count * BATCH, || {
        let (give, take) = channel();
        batches(count, 31, &Leavings { give, take });
    });
}

fn sh8(meter: &mut Meter) {
    let count = meter.scaled(100);
    meter.repeat(5, 2 * count * BATCH, || {
        let ((to_left, from_right), (to_right, from_left)) = (channel(), channel());
        let left = Leavings { give: to_left, take: from_left };
        let right = Leavings { give: to_right, take: from_right };
        thread::scope(|scope| {
            scope.spawn(move || batches(count, 32, &left));
            scope.spawn(move || batches(count, 33, &right));
        });
    });
}

//! Objects most of which are small and most of which die young, the rest living for long.
//!
//! After the description of alloc-test (OLogN Technologies): each thread has a table of objects. An operation picks a slot; if
//! it is empty an object of up to 1 KiB goes there and is filled, else the object is read and freed. Sizes and slots follow a
//! Pareto distribution: a few slots change all the time, most hardly ever. So the free lists that are in use stay warm while
//! the heap around them is large.

use super::Workload;
use super::block::Owned;
use crate::measure::Meter;
use crate::random::Random;
use std::hint::black_box;
use std::thread;

pub(super) const WORKLOADS: &[Workload] = &[
    Workload::new("alloc_test/1t", "operation", |meter| alloc_test(meter, 1)),
    Workload::new("alloc_test/2t", "operation", |meter| alloc_test(meter, 2)).quick(),
];

/// Slots of a thread.
const SLOTS: usize = 1 << 17;
const LARGEST: usize = 1_024;
/// Entries of the tables that save computing a power for each operation.
const TABLE: usize = 1 << 14;

/// Numbers from `least` to `most`, of which one in ten is above ten times the least: a Pareto distribution with the exponent 1.
fn pareto(random: &mut Random, least: usize, most: usize) -> Vec<u32> {
    // The k-th of equally likely parts: the distribution is met exactly, and by every run alike.
    let part = |index: usize| (least * TABLE / (TABLE - index)).min(most) as u32;
    let mut table: Vec<u32> = (0..TABLE).map(part).collect();
    for index in (1..TABLE).rev() {
        table.swap(index, random.below(index + 1));
    }
    table
}

struct Thread {
    random: Random,
    sizes: Vec<u32>,
    places: Vec<u32>,
    slots: Vec<Option<Owned>>,
}

impl Thread {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let sizes = pareto(&mut random, 16, LARGEST);
        let places = pareto(&mut random, SLOTS / 128, SLOTS - 1);
        // Half of the slots are taken from the start, as after a while.
        let first = |index: usize| (index % 2 == 0).then(|| Owned::new(sizes[index % TABLE] as usize));
        let slots = (0..SLOTS).map(first).collect();
        Self { random, sizes, places, slots }
    }

    fn work(&mut self, operations: usize) {
        for _ in 0..operations {
            let bits = self.random.bits() as usize;
            // A number below what the table gives spreads the slots within each part.
            let place = (bits >> 32) % self.places[bits % TABLE] as usize;
            let slot = &mut self.slots[place];
            *slot = match slot.take() {
                Some(object) => {
                    black_box(object.first_byte());
                    None
                }
                None => {
                    let mut object = Owned::new(self.sizes[(bits >> 16) % TABLE] as usize);
                    object.fill(3);
                    Some(object)
                }
            };
        }
    }
}

fn alloc_test(meter: &mut Meter, threads: usize) {
    let operations = meter.scaled(400_000);
    let mut all: Vec<Thread> = (0..threads as u64).map(|thread| Thread::new(41 + thread)).collect();
    meter.repeat(5, threads * operations, || {
        thread::scope(|scope| {
            for thread in &mut all {
                scope.spawn(|| thread.work(operations));
            }
        });
    });
}

#[cfg(test)]
mod tests {
    use super::{TABLE, pareto};
    use crate::random::Random;

    #[test]
    fn one_in_ten_is_above_ten_times_the_least() {
        let table = pareto(&mut Random::new(1), 16, 1_024);
        assert!(table.iter().all(|number| (16..=1_024).contains(number)), "seed 1");
        let above = table.iter().filter(|&&number| number > 160).count();
        assert!((TABLE / 11..TABLE / 9).contains(&above), "seed 1: {above}");
    }
}

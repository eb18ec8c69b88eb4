//! A full heap in which a random block gives way to a new one: how a cache evicts.
//!
//! The new block has the size of the old one, so an allocator that hands back what was freed last touches no cold metadata.
//! In the mixed rows it has a size of its own. Before anything is measured as many blocks are replaced as are live, so that
//! neighbours in memory are strangers.
#![allow(unsafe_code)]

use super::Workload;
use super::block::{boxed, drop_boxed, free_raw, raw};
use crate::measure::Meter;
use crate::random::Random;

const TIMES: usize = 5;
const OPERATIONS: usize = 200_000;

pub(super) const WORKLOADS: &[Workload] = &[
    Workload::new("churn/64B/100k_live", "replacement", same_size::<64, 100_000>).quick(),
    Workload::new("churn/64B/1M_live", "replacement", same_size::<64, 1_000_000>).quick(),
    Workload::new("churn/1KiB/100k_live", "replacement", same_size::<1024, 100_000>).quick(),
    Workload::new("churn/1KiB/1M_live", "replacement", same_size::<1024, 1_000_000>),
    Workload::new("churn/16..1024B/100k_live", "replacement", mixed::<100_000>).quick(),
    Workload::new("churn/16..1024B/1M_live", "replacement", mixed::<1_000_000>),
];

fn same_size<const SIZE: usize, const LIVE: usize>(meter: &mut Meter) {
    let mut random = Random::new(2);
    let mut slots: Vec<*mut u8> = (0..LIVE).map(|_| boxed::<SIZE>()).collect();
    let mut replace = |count: usize| {
        for _ in 0..count {
            let slot = &mut slots[random.below(LIVE)];
            // SAFETY: every slot holds a block of `boxed::<SIZE>`, and this one gets another at once.
            unsafe { drop_boxed::<SIZE>(*slot) };
            *slot = boxed::<SIZE>();
        }
    };
    replace(LIVE);
    meter.repeat(TIMES, OPERATIONS, || replace(OPERATIONS));
    for block in slots {
        // SAFETY: every slot holds a block of `boxed::<SIZE>`; the slots end here.
        unsafe { drop_boxed::<SIZE>(block) };
    }
}

fn mixed<const LIVE: usize>(meter: &mut Meter) {
    let mut random = Random::new(3);
    let take = |random: &mut Random| {
        let size = random.between(16, 1024);
        (raw(size), size)
    };
    let mut slots: Vec<(*mut u8, usize)> = (0..LIVE).map(|_| take(&mut random)).collect();
    let mut replace = |count: usize| {
        for _ in 0..count {
            let slot = &mut slots[random.below(LIVE)];
            // SAFETY: every slot holds a block of `raw` with its size, and this one gets another at once.
            unsafe { free_raw(slot.0, slot.1) };
            *slot = take(&mut random);
        }
    };
    replace(LIVE);
    meter.repeat(TIMES, OPERATIONS, || replace(OPERATIONS));
    for (block, size) in slots {
        // SAFETY: every slot holds a block of `raw` with its size; the slots end here.
        unsafe { free_raw(block, size) };
    }
}

//! Objects of 1 to 64 MiB: allocated, every page touched, freed.
//!
//! An allocator that keeps the memory pays once; one that gives it back pays the page faults again each time. In the mixed
//! row four objects of random sizes are live at a time. `malloc_large` replaces a random one of twenty objects of 5 to 25 MiB, so
//! that holes of all sizes lie between those that live.
#![allow(unsafe_code)]

use super::Workload;
use super::block::{Owned, PAGE, free_raw, raw_touched};
use crate::measure::Meter;
use crate::random::Random;
use std::ptr;

const MIB: usize = 1 << 20;

pub(super) const WORKLOADS: &[Workload] = &[
    Workload::new("large/1MiB", "4KiB page", one_size::<1>).quick().large_blocks(),
    Workload::new("large/4MiB", "4KiB page", one_size::<4>).large_blocks(),
    Workload::new("large/16MiB", "4KiB page", one_size::<16>).large_blocks(),
    Workload::new("large/64MiB", "4KiB page", one_size::<64>).quick().large_blocks(),
    Workload::new("large/1..64MiB", "4KiB page", mixed).large_blocks(),
    Workload::new("malloc_large/5..25MiB", "4KiB page", twenty_live).large_blocks(),
];

fn one_size<const SIZE_MIB: usize>(meter: &mut Meter) {
    let size = SIZE_MIB * MIB;
    let count = 64 / SIZE_MIB;
    meter.repeat(5, count * size / PAGE, || {
        for _ in 0..count {
            let block = raw_touched(size);
            // SAFETY: it was allocated with this size a line above.
            unsafe { free_raw(block, size) };
        }
    });
}

fn mixed(meter: &mut Meter) {
    let mut random = Random::new(8);
    let count = meter.scaled(24);
    // Powers of two are as likely as each other, and what is between them too.
    let sizes: Vec<usize> = (0..count).map(|_| random.between(MIB, 2 * MIB) << random.below(6)).collect();
    let pages = sizes.iter().map(|size| size / PAGE).sum();
    let mut live = [(ptr::null_mut::<u8>(), 0); 4];
    meter.repeat(3, pages, || {
        for (turn, &size) in sizes.iter().enumerate() {
            let slot = &mut live[turn % 4];
            if !slot.0.is_null() {
                // SAFETY: a slot that is not null holds a block of `raw` with its size, and gets another at once.
                unsafe { free_raw(slot.0, slot.1) };
            }
            *slot = (raw_touched(size), size);
        }
    });
    for (block, size) in live.into_iter().filter(|slot| !slot.0.is_null()) {
        // SAFETY: as above; the slots end here.
        unsafe { free_raw(block, size) };
    }
}

fn twenty_live(meter: &mut Meter) {
    const LIVE: usize = 20;
    const REPLACED: usize = 12;
    let mut random = Random::new(13);
    let size = |random: &mut Random| random.between(5 * MIB, 25 * MIB);
    let mut live: Vec<Owned> = (0..LIVE).map(|_| Owned::touched(size(&mut random))).collect();
    // The same objects in each repetition, so that the repetitions do the same work.
    let turns: Vec<(usize, usize)> = (0..REPLACED).map(|_| (random.below(LIVE), size(&mut random))).collect();
    let pages = turns.iter().map(|turn| turn.1 / PAGE).sum();
    meter.repeat(3, pages, || {
        for &(slot, size) in &turns {
            live[slot] = Owned::touched(size);
        }
    });
}

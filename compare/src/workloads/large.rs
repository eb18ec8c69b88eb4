//! Objects of 1 to 64 MiB: allocated, every page touched, freed.
//!
//! An allocator that keeps the memory pays once; one that gives it back pays the page faults again each time. In the mixed
//! row four objects of random sizes are live at a time.
#![allow(unsafe_code)]

use super::Workload;
use super::block::{free_raw, raw};
use crate::measure::Meter;
use crate::random::Random;
use std::ptr;

const MIB: usize = 1 << 20;
const PAGE: usize = 4096;

pub(super) const WORKLOADS: &[Workload] = &[
    Workload::new("large/1MiB", "4KiB page", one_size::<1>).quick(),
    Workload::new("large/4MiB", "4KiB page", one_size::<4>),
    Workload::new("large/16MiB", "4KiB page", one_size::<16>),
    Workload::new("large/64MiB", "4KiB page", one_size::<64>).quick(),
    Workload::new("large/1..64MiB", "4KiB page", mixed),
];

fn raw_touched(size: usize) -> *mut u8 {
    let block = raw(size);
    for page in (0..size).step_by(PAGE) {
        // SAFETY: `page` is less than the block's size.
        unsafe { block.add(page).write_volatile(1) };
    }
    block
}

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

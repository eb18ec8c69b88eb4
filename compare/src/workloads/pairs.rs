//! Allocate and free at once, and sixty-four allocated and then freed, for five sizes.
//!
//! `const` sizes are types (`Box<Block<64>>`): the compiler can choose the size class. `runtime` sizes pass through a black
//! box before each call, as for a string or a vector. A batch is freed newest first (`lifo`) or oldest first (`fifo`).
#![allow(unsafe_code)]

use super::Workload;
use super::block::{boxed, drop_boxed, free_raw, raw};
use crate::measure::Meter;
use crate::random::Random;
use std::hint::black_box;

const BATCH: usize = 64;
const TIMES: usize = 9;
const OPERATIONS: usize = 1 << 20;

pub(super) const WORKLOADS: &[Workload] = &[
    Workload::new("pair/16B/const", "pair", pair_const::<16>),
    Workload::new("pair/64B/const", "pair", pair_const::<64>).quick(),
    Workload::new("pair/256B/const", "pair", pair_const::<256>),
    Workload::new("pair/1KiB/const", "pair", pair_const::<1024>).quick(),
    Workload::new("pair/4KiB/const", "pair", pair_const::<4096>).large_blocks(),
    Workload::new("pair/16B/runtime", "pair", pair_runtime::<16>),
    Workload::new("pair/64B/runtime", "pair", pair_runtime::<64>).quick(),
    Workload::new("pair/256B/runtime", "pair", pair_runtime::<256>),
    Workload::new("pair/1KiB/runtime", "pair", pair_runtime::<1024>),
    Workload::new("pair/4KiB/runtime", "pair", pair_runtime::<4096>).quick().large_blocks(),
    Workload::new("pair/16..1024B/runtime", "pair", pair_mixed).quick(),
    Workload::new("batch_lifo/16B/const", "pair", lifo_const::<16>),
    Workload::new("batch_lifo/64B/const", "pair", lifo_const::<64>).quick(),
    Workload::new("batch_lifo/256B/const", "pair", lifo_const::<256>),
    Workload::new("batch_lifo/1KiB/const", "pair", lifo_const::<1024>),
    Workload::new("batch_lifo/4KiB/const", "pair", lifo_const::<4096>).quick().large_blocks(),
    Workload::new("batch_lifo/16B/runtime", "pair", lifo_runtime::<16>),
    Workload::new("batch_lifo/64B/runtime", "pair", lifo_runtime::<64>),
    Workload::new("batch_lifo/256B/runtime", "pair", lifo_runtime::<256>),
    Workload::new("batch_lifo/1KiB/runtime", "pair", lifo_runtime::<1024>),
    Workload::new("batch_lifo/4KiB/runtime", "pair", lifo_runtime::<4096>).large_blocks(),
    Workload::new("batch_fifo/16B/const", "pair", fifo_const::<16>),
    Workload::new("batch_fifo/64B/const", "pair", fifo_const::<64>).quick(),
    Workload::new("batch_fifo/256B/const", "pair", fifo_const::<256>),
    Workload::new("batch_fifo/1KiB/const", "pair", fifo_const::<1024>).quick(),
    Workload::new("batch_fifo/4KiB/const", "pair", fifo_const::<4096>).large_blocks(),
    Workload::new("batch_fifo/16B/runtime", "pair", fifo_runtime::<16>),
    Workload::new("batch_fifo/64B/runtime", "pair", fifo_runtime::<64>),
    Workload::new("batch_fifo/256B/runtime", "pair", fifo_runtime::<256>),
    Workload::new("batch_fifo/1KiB/runtime", "pair", fifo_runtime::<1024>),
    Workload::new("batch_fifo/4KiB/runtime", "pair", fifo_runtime::<4096>).large_blocks(),
];

fn pair_const<const SIZE: usize>(meter: &mut Meter) {
    meter.repeat(TIMES, OPERATIONS, || {
        for _ in 0..OPERATIONS {
            let block = boxed::<SIZE>();
            // SAFETY: it was allocated with this size a line above.
            unsafe { drop_boxed::<SIZE>(block) };
        }
    });
}

fn pair_runtime<const SIZE: usize>(meter: &mut Meter) {
    meter.repeat(TIMES, OPERATIONS, || {
        for _ in 0..OPERATIONS {
            let size = black_box(SIZE);
            let block = raw(size);
            // SAFETY: it was allocated with this size a line above.
            unsafe { free_raw(block, size) };
        }
    });
}

fn pair_mixed(meter: &mut Meter) {
    let mut random = Random::new(1);
    let sizes: Vec<usize> = (0..4096).map(|_| random.between(16, 1024)).collect();
    meter.repeat(TIMES, OPERATIONS, || {
        for _ in 0..OPERATIONS / sizes.len() {
            for &size in &sizes {
                let block = raw(size);
                // SAFETY: it was allocated with this size a line above.
                unsafe { free_raw(block, size) };
            }
        }
    });
}

/// Runs batches: `take` fills each of the slots, then `give` gets each once, in the order of `newest_first`.
///
/// One block beside them stays. Without it the batch is all there is at the end of the heap, and glibc, which returns an
/// empty end to the kernel, would be measured doing that: a matter of luck in a program that has other blocks.
#[inline(always)]
fn batches(meter: &mut Meter, newest_first: bool, take: impl Fn() -> *mut u8, give: impl Fn(*mut u8)) {
    let operations = meter.scaled(OPERATIONS);
    let mut slots = [(); BATCH].map(|()| take());
    let neighbour = take();
    slots.into_iter().for_each(&give);
    meter.repeat(TIMES, operations, || {
        for _ in 0..operations / BATCH {
            for slot in &mut slots {
                *slot = take();
            }
            if newest_first {
                slots.iter().rev().for_each(|&slot| give(slot));
            } else {
                slots.iter().for_each(|&slot| give(slot));
            }
        }
    });
    give(neighbour);
}

fn lifo_const<const SIZE: usize>(meter: &mut Meter) {
    // SAFETY: `batches` gives back each block of `boxed::<SIZE>` once.
    batches(meter, true, boxed::<SIZE>, |block| unsafe { drop_boxed::<SIZE>(block) });
}

fn fifo_const<const SIZE: usize>(meter: &mut Meter) {
    // SAFETY: `batches` gives back each block of `boxed::<SIZE>` once.
    batches(meter, false, boxed::<SIZE>, |block| unsafe { drop_boxed::<SIZE>(block) });
}

fn lifo_runtime<const SIZE: usize>(meter: &mut Meter) {
    // SAFETY: `batches` gives back each block of `raw` once; the black box returns the same size every time.
    batches(meter, true, || raw(black_box(SIZE)), |block| unsafe { free_raw(block, black_box(SIZE)) });
}

fn fifo_runtime<const SIZE: usize>(meter: &mut Meter) {
    // SAFETY: `batches` gives back each block of `raw` once; the black box returns the same size every time.
    batches(meter, false, || raw(black_box(SIZE)), |block| unsafe { free_raw(block, black_box(SIZE)) });
}

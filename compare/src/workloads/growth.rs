//! Memory that grows: vectors pushed to 80 and to 800 MB, and blocks doubled by `realloc`.
//!
//! The cold vector is the first thing its process does, so page faults decide it; the warm one has grown and been dropped
//! before. In the doubling rows each new half gets one byte written at its end. What an allocator must copy it pays for;
//! `mremap` and free neighbours make it cheap.
#![allow(unsafe_code)]

use super::Workload;
use super::block::{free_raw, layout, raw};
use crate::measure::Meter;
use std::alloc::{handle_alloc_error, realloc};
use std::hint::black_box;

const PUSHES: usize = 10_000_000;
/// A hundred million elements.
const MORE_PUSHES: usize = 10 * PUSHES;

pub(super) const WORKLOADS: &[Workload] = &[
    Workload::new("vec_growth/80MB/cold", "push", |meter| meter.once(PUSHES, || grow_vector(PUSHES)))
        .quick()
        .cold()
        .large_blocks(),
    Workload::new("vec_growth/80MB/warm", "push", |meter| meter.repeat(5, PUSHES, || grow_vector(PUSHES)))
        .quick()
        .large_blocks(),
    Workload::new("vec_growth/800MB/warm", "push", |meter| meter.repeat(3, MORE_PUSHES, || grow_vector(MORE_PUSHES)))
        .large_blocks(),
    Workload::new("realloc/64B..1MiB", "doubling", |meter| doubling(meter, 64, 1 << 20, 500)).quick().large_blocks(),
    Workload::new("realloc/1MiB..64MiB", "doubling", |meter| doubling(meter, 1 << 20, 64 << 20, 4)).large_blocks(),
];

fn grow_vector(pushes: usize) {
    let mut vector = Vec::<u64>::new();
    for number in 0..pushes as u64 {
        vector.push(number);
    }
    black_box(&vector);
}

fn doubling(meter: &mut Meter, first: usize, last: usize, chains: usize) {
    let chains = meter.scaled(chains);
    let steps = (last / first).ilog2() as usize;
    meter.repeat(5, chains * steps, || {
        for _ in 0..chains {
            let (mut block, mut size) = (raw(first), first);
            while size < last {
                // SAFETY: the block has the layout of `size`, and twice that is neither zero nor near isize::MAX.
                block = unsafe { realloc(block, layout(size), size * 2) };
                size *= 2;
                if block.is_null() {
                    handle_alloc_error(layout(size));
                }
                // SAFETY: the block is live and has `size` bytes.
                unsafe { block.add(size - 1).write_volatile(1) };
                black_box(block);
            }
            // SAFETY: a block that grew from one of `raw` has the layout of its size; it is not used again.
            unsafe { free_raw(block, size) };
        }
    });
}

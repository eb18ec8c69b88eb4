//! Beginnings and ends: threads that live for a few allocations, blocks nobody has touched before, an idle process.
//!
//! `fresh_memory` times each of the first blocks of a process by itself and reports what one in a thousand exceeds: where a
//! fresh page costs a fault, a block of 256 bytes meets one every sixteen times; where huge pages come, hardly ever.
#![allow(unsafe_code)]

use super::block::{boxed, drop_boxed, free_raw, raw};
use super::{Unit, Workload};
use crate::measure::{self, Meter};
use crate::process;
use crate::random::Random;
use std::thread;

pub(super) const WORKLOADS: &[Workload] = &[
    Workload::new("thread_churn/64_allocations", "thread", thread_churn).quick(),
    Workload::new("cold_objects/64B", "block", cold_objects::<64>).quick().cold(),
    Workload::new("cold_objects/256B", "block", cold_objects::<256>).cold(),
    Workload { unit: Unit::Tail { per: "block" }, ..Workload::new("fresh_memory/256B", "", fresh_memory).cold() },
    Workload { unit: Unit::ResidentAtStart, ..Workload::new("resident_at_start", "", |_| {}).quick().cold() },
];

fn thread_churn(meter: &mut Meter) {
    const ALLOCATIONS: usize = 64;
    let threads = meter.scaled(400);
    meter.repeat(5, threads, || {
        for seed in 0..threads as u64 {
            let thread = thread::spawn(move || {
                let mut random = Random::new(seed);
                let blocks = [(); ALLOCATIONS].map(|()| {
                    let size = random.between(16, 1024);
                    (raw(size), size)
                });
                for (block, size) in blocks {
                    // SAFETY: it was allocated with this size above and is freed once.
                    unsafe { free_raw(block, size) };
                }
            });
            thread.join().expect("allocating does not panic");
        }
    });
}

/// The first million blocks of a process; that they are freed is not measured.
fn cold_objects<const SIZE: usize>(meter: &mut Meter) {
    let count = meter.scaled(1_000_000);
    let mut blocks = Vec::with_capacity(count);
    blocks.resize(count, std::ptr::null_mut());
    meter.once(count, || blocks.iter_mut().for_each(|slot| *slot = boxed::<SIZE>()));
    for block in blocks {
        // SAFETY: every slot holds a block of `boxed::<SIZE>`; the slots end here.
        unsafe { drop_boxed::<SIZE>(block) };
    }
}

/// The slowest allocations of a process that begins, each with the first write to its block.
fn fresh_memory(meter: &mut Meter) {
    const SIZE: usize = 256;
    const BLOCKS: usize = 400_000;
    // Both are written now, so that only the blocks are fresh memory.
    let (mut blocks, mut times) = (vec![std::ptr::without_provenance_mut::<u8>(1); BLOCKS], vec![1_u32; BLOCKS]);
    let mut before = process::wall_ns();
    for (block, time) in blocks.iter_mut().zip(&mut times) {
        *block = boxed::<SIZE>();
        let now = process::wall_ns();
        *time = u32::try_from(now - before).unwrap_or(u32::MAX);
        before = now;
    }
    meter.report(BLOCKS, measure::exceeded_by_one_in(1_000, &mut times));
    for block in blocks {
        // SAFETY: every slot holds a block of `boxed::<SIZE>`; the slots end here.
        unsafe { drop_boxed::<SIZE>(block) };
    }
}

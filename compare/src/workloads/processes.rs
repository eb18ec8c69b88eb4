//! Beginnings and ends: threads that live for a few allocations, blocks nobody has touched before, an idle process.
#![allow(unsafe_code)]

use super::block::{boxed, drop_boxed, free_raw, raw};
use super::{Unit, Workload};
use crate::measure::Meter;
use crate::random::Random;
use std::thread;

pub(super) const WORKLOADS: &[Workload] = &[
    Workload::new("thread_churn/64_allocations", "thread", thread_churn).quick(),
    Workload::new("cold_objects/64B", "block", cold_objects::<64>).quick().cold(),
    Workload::new("cold_objects/256B", "block", cold_objects::<256>).cold(),
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

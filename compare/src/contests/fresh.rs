//! The slowest allocations of memory that nobody has touched before, with and without a thread that makes it ready.
//!
//! Each of 50,000 blocks of a page is allocated, written to for the first time, and timed by itself, in wall time; between two of
//! them the program does something else for five microseconds. What is reported is the time that one in a thousand exceeds.
#![allow(unsafe_code)]

use super::heaps::{shared, volatile};
use super::{Contest, MIMALLOC, SAL, Setting, contender};
use crate::measure;
use crate::process;
use allocator_api2::alloc::{Allocator, Global};
use sal::{Heap, MaintenanceOptions, OpenError};
use std::alloc::Layout;
use std::path::Path;
use std::ptr::NonNull;

const BLOCKS: usize = 50_000;
const LAYOUT: Layout = Layout::new::<[u64; 512]>();
const PAUSE_NS: u64 = 5_000;

pub(super) const CONTESTS: &[Contest] = &[Contest {
    name: "fresh_memory/4KiB",
    per: "block, p99.9",
    contenders: &[
        contender("sal, Volatile, maintained", SAL, |setting| in_heap(setting, volatile, true)),
        contender("sal, Shared, maintained", SAL, |setting| in_heap(setting, shared, true)),
        contender("sal, Volatile", SAL, |setting| in_heap(setting, volatile, false)),
        contender("sal, Shared", SAL, |setting| in_heap(setting, shared, false)),
        contender("mimalloc3", MIMALLOC, |setting| tail(setting, Global)),
    ],
}];

fn in_heap(setting: &mut Setting<'_>, open: fn(&Path) -> Result<Heap, OpenError>, is_maintained: bool) {
    let heap = open(setting.directory).expect("a new heap can be made");
    let maintenance = is_maintained
        .then(|| heap.start_maintenance(MaintenanceOptions::new()).expect("a heap of its own has no such thread yet"));
    tail(setting, heap.alloc());
    drop(maintenance);
}

fn tail(setting: &mut Setting<'_>, allocator: impl Allocator) {
    let count = setting.meter.scaled(BLOCKS);
    // Both are written now, so that only the blocks are fresh memory.
    let (mut blocks, mut times) = (vec![NonNull::<u8>::dangling(); count], vec![1_u32; count]);
    for (block, time) in blocks.iter_mut().zip(&mut times) {
        let before = process::wall_ns();
        *block = allocator.allocate(LAYOUT).expect("there is room for these few blocks").cast();
        // SAFETY: the block has a first byte and is ours.
        unsafe { block.as_ptr().write_volatile(1) };
        let after = process::wall_ns();
        *time = u32::try_from(after - before).unwrap_or(u32::MAX);
        while process::wall_ns() < after + PAUSE_NS {
            std::hint::spin_loop();
        }
    }
    setting.meter.report(count, measure::exceeded_by_one_in(1_000, &mut times));
    for block in blocks {
        // SAFETY: allocated above with this layout, freed once.
        unsafe { allocator.deallocate(block, LAYOUT) };
    }
}

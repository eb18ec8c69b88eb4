//! Many objects that die together, beside bumpalo, an arena.
//!
//! An operation is one object of 64 bytes: ten thousand are made, their addresses kept, and all freed, by an arena at once and
//! by an allocator one by one, oldest first. The arena keeps its largest chunk, and the region, which holds objects of one type,
//! its memory.
use super::{Contest, MIMALLOC, SAL, Setting, contender};
use allocator_api2::alloc::{Allocator, Global};
use allocator_api2::boxed::Box;
use bumpalo::Bump;
use sal::{Region, SalAlloc};
use std::hint::black_box;
use std::ptr;

type Object = [u64; 8];

const OBJECTS: usize = 10_000;
const TIMES: usize = 5;

pub(super) const CONTESTS: &[Contest] = &[Contest {
    name: "arena/64B/10k_objects",
    per: "object",
    contenders: &[
        contender("bumpalo", ("bumpalo", ""), bumpalo),
        contender("mimalloc3, one by one", MIMALLOC, |setting| one_by_one(setting, Global)),
        contender("sal, one by one", SAL, |setting| one_by_one(setting, SalAlloc::new())),
        contender("sal, Region", SAL, region),
    ],
}];

fn bumpalo(setting: &mut Setting<'_>) {
    let rounds = setting.meter.scaled(100);
    let mut arena = Bump::new();
    let mut places: Vec<*mut Object> = Vec::with_capacity(OBJECTS);
    setting.meter.repeat(TIMES, rounds * OBJECTS, || {
        for round in 0..rounds as u64 {
            places.extend((0..OBJECTS).map(|_| &raw mut *arena.alloc(black_box([round; 8]))));
            black_box(&places);
            places.clear();
            arena.reset();
        }
    });
}

fn region(setting: &mut Setting<'_>) {
    let rounds = setting.meter.scaled(100);
    let mut region = Region::with_capacity_in(OBJECTS, SalAlloc::new());
    let mut places: Vec<*mut Object> = Vec::with_capacity(OBJECTS);
    setting.meter.repeat(TIMES, rounds * OBJECTS, || {
        for round in 0..rounds as u64 {
            places.extend((0..OBJECTS).map(|_| {
                region.push(black_box([round; 8]));
                region.last_mut().map_or(ptr::null_mut(), ptr::from_mut)
            }));
            black_box(&places);
            places.clear();
            region.clear();
        }
    });
}

fn one_by_one<A: Allocator + Copy>(setting: &mut Setting<'_>, allocator: A) {
    let rounds = setting.meter.scaled(100);
    let mut objects: Vec<Box<Object, A>> = Vec::with_capacity(OBJECTS);
    setting.meter.repeat(TIMES, rounds * OBJECTS, || {
        for round in 0..rounds as u64 {
            objects.extend((0..OBJECTS).map(|_| Box::new_in(black_box([round; 8]), allocator)));
            black_box(&objects);
            objects.clear();
        }
    });
}

//! A vector that is made, written to and dropped at once: `Vec<T, SalAlloc>` beside `Vec<T>`.
//!
//! With a capacity that the compiler knows it can choose SAL's size class, and the allocator's name is a constant, so nothing
//! is left to be looked up. In the second contest the capacity is known only when running. The third grows a vector to a
//! thousand elements by pushing.

use super::{Contest, MIMALLOC, SAL, Setting, contender};
use allocator_api2::alloc::{Allocator, Global};
use allocator_api2::vec::Vec;
use sal::SalAlloc;
use std::hint::black_box;

const PAIRS: usize = 1 << 20;
const TIMES: usize = 9;

pub(super) const CONTESTS: &[Contest] = &[
    Contest {
        name: "vec/64B/const",
        per: "vector",
        contenders: &[
            contender("mimalloc3, Vec<T>", MIMALLOC, |setting| constant(setting, || Global)),
            contender("Vec<T, SalAlloc>", SAL, |setting| constant(setting, SalAlloc::new)),
        ],
    },
    Contest {
        name: "vec/64B/runtime",
        per: "vector",
        contenders: &[
            contender("mimalloc3, Vec<T>", MIMALLOC, |setting| runtime(setting, || Global)),
            contender("Vec<T, SalAlloc>", SAL, |setting| runtime(setting, SalAlloc::new)),
        ],
    },
    Contest {
        name: "vec/1000_pushes",
        per: "push",
        contenders: &[
            contender("mimalloc3, Vec<T>", MIMALLOC, |setting| pushes(setting, || Global)),
            contender("Vec<T, SalAlloc>", SAL, |setting| pushes(setting, SalAlloc::new)),
        ],
    },
];

#[inline(always)]
fn constant<A: Allocator>(setting: &mut Setting<'_>, allocator: impl Fn() -> A) {
    setting.meter.repeat(TIMES, PAIRS, || {
        for number in 0..PAIRS as u64 {
            let mut vector = Vec::with_capacity_in(8, allocator());
            vector.push(number);
            black_box(vector.as_ptr());
        }
    });
}

#[inline(always)]
fn runtime<A: Allocator>(setting: &mut Setting<'_>, allocator: impl Fn() -> A) {
    setting.meter.repeat(TIMES, PAIRS, || {
        for number in 0..PAIRS as u64 {
            let mut vector = Vec::with_capacity_in(black_box(8), allocator());
            vector.push(number);
            black_box(vector.as_ptr());
        }
    });
}

#[inline(always)]
fn pushes<A: Allocator>(setting: &mut Setting<'_>, allocator: impl Fn() -> A) {
    const PUSHES: usize = 1_000;
    let vectors = setting.meter.scaled(2_000);
    setting.meter.repeat(TIMES, vectors * PUSHES, || {
        for _ in 0..vectors {
            let mut vector = Vec::new_in(allocator());
            for number in 0..PUSHES as u64 {
                vector.push(number);
            }
            black_box(vector.as_ptr());
        }
    });
}

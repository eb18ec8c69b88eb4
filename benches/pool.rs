//! Collected pools: making objects, marking, sweeping, steps.
//!
//! Figures are for each object, in time of the thread. `pool/alloc/16B` makes objects in fresh chunks; `pool/alloc_free/16B` frees each before the next one is made;
//! `pool/get/16B` reaches objects through their pool; `pool/mark/SHAPE` marks objects of 16 bytes that are a list in the order of
//! their addresses, a list in a random order, or a tree; `pool/sweep_1000/16B` frees a thousand of a million, `pool/sweep_drop/16B` one with a `Drop`,
//! `pool/sweep_half_1000/16B` each second of a thousand; `pool/young/changed_1_in_100` is a collection of the young in which some of the old were changed, for
//! each old one. `pool/step/1ms` is the longest of all steps of a collection, for a budget of a
//! millisecond.
#![allow(unsafe_code)]

mod common;

use sal::collections::SalVec;
use sal::pool::Step;
use sal::{Collector, Gc, Persist, Pool};
use std::hint::black_box;
use std::time::Duration;

const LEN: u64 = 1_000_000;

#[derive(Persist)]
#[repr(C)]
struct Cell {
    next: Option<Gc<Cell>>,
    number: u64,
}

#[derive(Persist)]
#[repr(C)]
struct Branch {
    children: [Option<Gc<Branch>>; 2],
}

#[derive(Persist)]
#[repr(C)]
struct Dropped(u64, u64);

impl Drop for Dropped {
    fn drop(&mut self) {
        black_box(self.0 + self.1);
    }
}

fn cells(len: u64) -> (Pool<Cell>, Vec<Gc<Cell>>) {
    let mut pool = Pool::new();
    let all = (0..len).map(|number| pool.insert(Cell { next: None, number })).collect();
    (pool, all)
}

fn list(order: impl FnOnce(&mut Vec<Gc<Cell>>)) -> (Pool<Cell>, Gc<Cell>) {
    let (mut pool, mut all) = cells(LEN);
    order(&mut all);
    all.windows(2).for_each(|pair| pool[pair[0]].next = Some(pair[1]));
    (pool, all[0])
}

/// How long the calling thread has computed: others have the processor as well.
fn thread_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the place is good.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The time that `work` takes for each of the objects, of which it says how long it took for all.
fn each(iterations: u64, mut work: impl FnMut() -> Duration) -> Duration {
    (0..iterations).map(|_| work()).sum::<Duration>() / LEN as u32
}

/// As [`each`], for a thousand: less than a nanosecond cannot be told.
fn each_thousand(iterations: u64, mut work: impl FnMut() -> Duration) -> Duration {
    (0..iterations).map(|_| work()).sum::<Duration>() / (LEN / 1000) as u32
}

fn timed<R>(work: impl FnOnce() -> R) -> Duration {
    let started = thread_time();
    black_box(work());
    thread_time() - started
}

fn main() {
    let mut criterion = common::criterion();
    let collector = Collector::new();

    let mut group = criterion.benchmark_group("pool");
    group.bench_function("alloc/16B", |bencher| {
        bencher.iter_custom(|iterations| each(iterations, || timed(|| cells(LEN).0)));
    });
    group.bench_function("alloc_free/16B", |bencher| {
        let mut pool = Pool::new();
        pool.insert([0_u64; 2]);
        bencher.iter_custom(|iterations| {
            timed(|| {
                for _ in 0..iterations {
                    let gc = pool.insert(black_box([1_u64, 2]));
                    let _ = black_box(pool.free(black_box(gc)));
                }
            })
        });
    });
    group.bench_function("get/16B", |bencher| {
        let (pool, all) = cells(10_000);
        bencher.iter_custom(|iterations| {
            let again = all.iter().cycle().take(iterations as usize);
            timed(|| again.filter_map(|&gc| pool.get(black_box(gc))).map(|cell| cell.number).sum::<u64>())
        });
    });
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    let shuffle = |all: &mut Vec<Gc<Cell>>| {
        for at in (1..all.len()).rev() {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            all.swap(at, (random >> 33) as usize % (at + 1));
        }
    };
    for (name, (mut pool, first)) in [("mark/list", list(|_| ())), ("mark/shuffled_list", list(shuffle))] {
        let guard = collector.root(first);
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|iterations| each(iterations, || timed(|| collector.collect(&mut pool).unwrap())));
        });
        drop(guard);
    }
    group.bench_function("mark/tree", |bencher| {
        let mut pool = Pool::new();
        let mut level: Vec<Gc<Branch>> = (0..LEN / 2).map(|_| pool.insert(Branch { children: [None, None] })).collect();
        while level.len() > 1 {
            level = level
                .chunks(2)
                .map(|pair| pool.insert(Branch { children: [Some(pair[0]), pair.get(1).copied()] }))
                .collect();
        }
        let guard = collector.root(level[0]);
        bencher.iter_custom(|iterations| each(iterations, || timed(|| collector.collect(&mut pool).unwrap())));
        drop(guard);
    });
    group.bench_function("mark/wide", |bencher| {
        let (mut pool, all) = cells(LEN);
        let mut wide = (Pool::new(), SalVec::from_iter(all), std::mem::take(&mut pool));
        let top: Gc<u64> = wide.0.insert(1);
        let guard = collector.root(top);
        bencher.iter_custom(|iterations| each(iterations, || timed(|| collector.collect(&mut wide).unwrap())));
        drop(guard);
    });
    group.bench_function("sweep_1000/16B", |bencher| {
        bencher.iter_custom(|iterations| {
            each_thousand(iterations, || {
                let mut pool = cells(LEN).0;
                collector.collect(&mut pool).unwrap().sweeping
            })
        });
    });
    group.bench_function("sweep_drop/16B", |bencher| {
        bencher.iter_custom(|iterations| {
            each(iterations, || {
                let mut pool = Pool::new();
                (0..LEN).map(|number| pool.insert(Dropped(number, 1))).for_each(|_| ());
                collector.collect(&mut pool).unwrap().sweeping
            })
        });
    });
    group.bench_function("sweep_half_1000/16B", |bencher| {
        bencher.iter_custom(|iterations| {
            each_thousand(iterations, || {
                let (mut pool, all) = cells(LEN);
                let kept: Vec<_> = all.iter().step_by(2).map(|&gc| collector.root(gc)).collect();
                let sweeping = collector.collect(&mut pool).unwrap().sweeping;
                drop(kept);
                sweeping
            })
        });
    });
    group.bench_function("young/changed_1_in_100", |bencher| {
        let (mut pool, first) = list(|_| ());
        let guard = collector.root(first);
        collector.collect(&mut pool).unwrap();
        let changed: Vec<Gc<Cell>> = pool.objects().map(|(gc, _)| gc).take(LEN as usize / 100).collect();
        bencher.iter_custom(|iterations| {
            each(iterations, || {
                changed.iter().for_each(|&gc| pool[gc].number += 1);
                timed(|| collector.collect_young(&mut pool).unwrap())
            })
        });
        drop(guard);
    });
    group.bench_function("step/1ms", |bencher| {
        let (mut pool, first) = list(|_| ());
        let guard = collector.root(first);
        bencher.iter_custom(|iterations| {
            let mut longest = || {
                let mut longest = Duration::ZERO;
                loop {
                    let started = thread_time();
                    let step = collector.step(&mut pool, Duration::from_millis(1)).unwrap();
                    longest = longest.max(thread_time() - started);
                    if matches!(step, Step::Done(_)) {
                        return longest;
                    }
                    let any = pool.insert(Cell { next: None, number: 0 });
                    pool[first].number += pool[any].number;
                }
            };
            (0..iterations).map(|_| longest()).sum()
        });
        drop(guard);
    });
    group.finish();
}

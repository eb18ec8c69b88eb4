//! What servers do: threads with objects of very different sizes and lives, some of which change hands.
//!
//! `mstress` is after the description of the test of that name in mimalloc (Daan Leijen): each thread allocates mostly small
//! and sometimes large objects, keeps some to its end, frees others soon, and swaps some with a table that all threads
//! share; then the threads end and others begin, while half of the table lives on. `rptest` is after that of rpmalloc's test
//! (Mattias Jansson): each thread has a table of objects of 16 bytes to 16 KiB, small ones more often, replaces stretches of
//! it at random places, and now and then gives a bundle of objects to another thread to free.

use super::Workload;
use super::block::Owned;
use crate::measure::Meter;
use crate::random::Random;
use std::mem;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

const THREADS: usize = 2;

pub(super) const WORKLOADS: &[Workload] = &[
    Workload::new("mstress/2t", "object", mstress).quick().large_blocks(),
    Workload::new("rptest/16B..16KiB/2t", "object", rptest).quick().large_blocks(),
];

/// Mostly up to 512 bytes, one in a hundred up to 32 KiB, one in two thousand up to 256 KiB.
fn server_object(random: &mut Random) -> Owned {
    match random.below(2_000) {
        0 => Owned::touched(random.between(64 << 10, 256 << 10)),
        1..=20 => Owned::touched(random.between(1 << 10, 32 << 10)),
        _ => Owned::new(random.between(8, 512)),
    }
}

fn mstress(meter: &mut Meter) {
    const TRANSFERS: usize = 1_000;
    const GENERATIONS: u64 = 4;
    let objects = meter.scaled(40_000);
    let transfers: Vec<Mutex<Option<Owned>>> = (0..TRANSFERS).map(|_| Mutex::new(None)).collect();
    let swap = |place: usize, object: Option<Owned>| {
        mem::replace(&mut *transfers[place].lock().unwrap_or_else(PoisonError::into_inner), object)
    };
    let work = |seed: u64| {
        let mut random = Random::new(seed);
        let (mut kept, mut passing) = (Vec::new(), Vec::new());
        for turn in 0..objects {
            if turn % 3 == 0 {
                kept.push(server_object(&mut random));
            } else {
                passing.push(server_object(&mut random));
            }
            // Of eight turns five free an object and two swap one, so that there are always some.
            let what = random.below(8);
            if what == 7 || passing.is_empty() {
                continue;
            }
            let object = passing.swap_remove(random.below(passing.len()));
            if what > 4 {
                passing.extend(swap(random.below(TRANSFERS), Some(object)));
            }
        }
    };
    meter.repeat(7, GENERATIONS as usize * THREADS * objects, || {
        for generation in 0..GENERATIONS {
            thread::scope(|scope| {
                for thread in 0..THREADS as u64 {
                    scope.spawn(move || work(100 + generation * THREADS as u64 + thread));
                }
            });
            // What the dead left in the other half is freed by the living.
            (0..TRANSFERS).step_by(2).for_each(|place| drop(swap(place, None)));
        }
    });
}

/// 16 bytes to 16 KiB: the lesser of two numbers, so that sizes get rarer as they grow.
fn falling_off(random: &mut Random) -> Owned {
    let (one, other) = (random.between(16, 16_000), random.between(16, 16_000));
    Owned::new(one.min(other))
}

fn rptest(meter: &mut Meter) {
    const LIVE: usize = 4_096;
    const STRETCH: usize = 256;
    let loops = meter.scaled(400);
    let work = |seed: u64, sender: Sender<Vec<Owned>>, receiver: Receiver<Vec<Owned>>| {
        let mut random = Random::new(seed);
        let mut live: Vec<Option<Owned>> = (0..LIVE).map(|_| None).collect();
        for turn in 0..loops {
            let start = random.below(LIVE);
            // An odd step visits slots that are far from each other, so frees come in no order of addresses.
            let step = random.below(LIVE / 2) * 2 + 1;
            let places = (0..STRETCH).map(|index| (start + index * step) % LIVE);
            if turn % 4 == 3 {
                let bundle = places.filter_map(|place| live[place].take()).collect();
                // The other thread may have ended: then the bundle is freed here.
                drop(sender.send(bundle));
            } else {
                for place in places {
                    live[place] = Some(falling_off(&mut random));
                }
            }
            receiver.try_iter().for_each(drop);
        }
    };
    let allocated = THREADS * STRETCH * (loops - loops / 4);
    meter.repeat(5, allocated, || {
        let ((to_left, from_right), (to_right, from_left)) = (channel(), channel());
        thread::scope(|scope| {
            scope.spawn(|| work(21, to_left, from_left));
            scope.spawn(|| work(22, to_right, from_right));
        });
    });
}

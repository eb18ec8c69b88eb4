//! What is done with one value, or one after the other.

use crate::rounds::{compare, contender};
use sal::{Handle, HeapOptions, MaintenanceOptions, SalMovable};
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

const MANY: usize = 500_000;

pub(crate) fn run(wanted: &dyn Fn(&str) -> bool) {
    let heap = HeapOptions::new().volatile().expect("there is memory");
    if wanted("pin_unpin") {
        compare("pin_unpin", MANY, vec![contender("sal", |n| (0..n).for_each(|_| drop(black_box(heap.pin()))))]);
    }
    if wanted("get/64B") {
        let boxes: Vec<Box<[u64; 8]>> = (0..MANY as u64).map(|n| Box::new([n; 8])).collect();
        let handles: Vec<Handle<[u64; 8]>> = (0..MANY as u64).map(|n| heap.handle([n; 8])).collect();
        compare(
            "get/64B in order",
            MANY,
            vec![
                contender("reference", |n| {
                    black_box(boxes[..n].iter().map(|value| value[3]).sum::<u64>());
                }),
                contender("one pin", |n| {
                    let pin = heap.pin();
                    black_box(handles[..n].iter().map(|handle| handle.get(&pin)[3]).sum::<u64>());
                }),
                contender("a pin each", |n| {
                    black_box(handles[..n].iter().map(|handle| handle.get(&heap.pin())[3]).sum::<u64>());
                }),
            ],
        );
    }
    if wanted("new_drop/64B") {
        compare(
            "new_drop/64B",
            MANY,
            vec![
                contender("arc", |n| (0..n).for_each(|_| drop(black_box(Arc::new([1_u64; 8]))))),
                contender("sal", |n| (0..n).for_each(|_| drop(black_box(heap.handle([1_u64; 8]))))),
            ],
        );
    }
    if wanted("clone_drop/64B") {
        let (std, sal) = (Arc::new([1_u64; 8]), heap.handle([1_u64; 8]));
        compare(
            "clone_drop/64B",
            MANY,
            vec![
                contender("arc", |n| (0..n).for_each(|_| drop(black_box(Arc::clone(black_box(&std)))))),
                contender("sal", |n| (0..n).for_each(|_| drop(black_box(black_box(&sal).clone())))),
            ],
        );
    }
    if wanted("growth") {
        growth(None);
        growth(Some(MaintenanceOptions::new().prefault(64 << 20)));
    }
}

/// How long single calls take while a heap grows, with a maintenance thread or none.
fn growth(maintained: Option<MaintenanceOptions>) {
    let mut worst = Vec::new();
    for _ in 0..5 {
        let heap = HeapOptions::new().volatile().expect("there is memory");
        let maintenance = maintained.clone().map(|options| heap.start_maintenance(options).expect("it can be started"));
        // What is made ready first is there before the program begins.
        std::thread::sleep(Duration::from_millis(if maintenance.is_some() { 200 } else { 0 }));
        let mut handles = Vec::with_capacity(2_000_000);
        let mut times: Vec<u64> = (0..2_000_000_u64)
            .map(|n| {
                // It does something besides.
                let pause = Instant::now();
                while pause.elapsed() < Duration::from_nanos(500) {}
                let began = Instant::now();
                let new = heap.handle([n; 4]);
                let took = began.elapsed().as_nanos() as u64;
                handles.push(new);
                took
            })
            .collect();
        times.sort_unstable();
        worst.push([times[times.len() / 2], times[times.len() * 9999 / 10_000], times[times.len() - 1]]);
    }
    worst.sort_unstable_by_key(|times| times[2]);
    let [median, rare, most] = worst[worst.len() / 2];
    let with = if maintained.is_some() { "maintained" } else { "by itself" };
    println!("growth/32B/{with}: 2,000,000 made, median {median} ns, one in 10,000 above {rare} ns, longest {most} ns");
}

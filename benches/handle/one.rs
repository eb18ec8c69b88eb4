//! What is done with one value, or one after the other.

use crate::rounds::{compare, contender};
use sal::{Handle, HeapOptions, SalMovable};
use std::hint::black_box;
use std::sync::Arc;

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
}

//! What is done with one shared value.

use crate::rounds::{compare, contender};
use sal::{HeapOptions, SalRc};
use std::hint::black_box;
use std::sync::Arc;

const MANY: usize = 200_000;

type Value = [u64; 8];

/// A list whose nodes lie in the order in which they were made.
macro_rules! list {
    ($node:ident, $pointer:ident, $make:expr) => {{
        struct $node {
            next: Option<$pointer<$node>>,
            value: u64,
        }
        let mut list: Option<$pointer<$node>> = None;
        for value in 0..MANY as u64 {
            list = Some($make($node { next: list, value }));
        }
        move |operations: usize| {
            let (mut at, mut sum) = (list.as_ref(), 0);
            for _ in 0..operations {
                let Some(node) = at else { break };
                sum += node.value;
                at = node.next.as_ref();
            }
            black_box(sum);
        }
    }};
}

pub(crate) fn run(wanted: &dyn Fn(&str) -> bool) {
    let heap = HeapOptions::new().volatile().expect("there is memory");
    let (std, other, sal) =
        (Arc::new([1_u64; 8]), triomphe::Arc::new([1_u64; 8]), SalRc::new_in([1_u64; 8], heap.alloc()));
    if wanted("clone_drop/64B") {
        compare(
            "clone_drop/64B",
            MANY,
            vec![
                contender("arc", |n| (0..n).for_each(|_| drop(black_box(Arc::clone(black_box(&std)))))),
                contender("triomphe", |n| {
                    (0..n).for_each(|_| drop(black_box(triomphe::Arc::clone(black_box(&other)))))
                }),
                contender("sal", |n| (0..n).for_each(|_| drop(black_box(SalRc::clone(black_box(&sal)))))),
            ],
        );
    }
    if wanted("deref/64B") {
        compare(
            "deref/64B",
            MANY,
            vec![
                contender("arc", |n| (0..n).for_each(|_| _ = black_box(black_box(&std)[3]))),
                contender("triomphe", |n| (0..n).for_each(|_| _ = black_box(black_box(&other)[3]))),
                contender("sal", |n| (0..n).for_each(|_| _ = black_box(black_box(&sal)[3]))),
            ],
        );
    }
    if wanted("deref/list") {
        let handle = heap.alloc();
        compare(
            "deref/list",
            MANY,
            vec![
                contender("arc", list!(Std, Arc, Arc::new)),
                contender("sal", list!(Sal, SalRc, |node| SalRc::new_in(node, handle))),
            ],
        );
    }
    if wanted("alloc_release/64B") {
        let handle = heap.alloc();
        compare(
            "alloc_release/64B",
            MANY,
            vec![
                contender("arc", |n| (0..n).for_each(|_| drop(black_box(Arc::new(black_box([1_u64; 8])))))),
                contender("triomphe", |n| {
                    (0..n).for_each(|_| drop(black_box(triomphe::Arc::new(black_box([1_u64; 8])))))
                }),
                contender("sal", |n| {
                    (0..n).for_each(|_| drop(black_box(SalRc::new_in(black_box([1_u64; 8]), handle))))
                }),
            ],
        );
    }
    if wanted("make_mut/unique") {
        let (mut std, mut other, mut sal) =
            (Arc::new([1_u64; 8]), triomphe::Arc::new([1_u64; 8]), SalRc::new_in([1_u64; 8], heap.alloc()));
        compare(
            "make_mut/unique",
            MANY,
            vec![
                contender("arc", |n| (0..n).for_each(|_| Arc::make_mut(black_box(&mut std))[3] += 1)),
                contender("triomphe", |n| (0..n).for_each(|_| triomphe::Arc::make_mut(black_box(&mut other))[3] += 1)),
                contender("sal", |n| (0..n).for_each(|_| SalRc::make_mut(black_box(&mut sal))[3] += 1)),
            ],
        );
    }
    if wanted("make_mut/shared") {
        let std: Arc<Value> = Arc::new([1; 8]);
        let other: triomphe::Arc<Value> = triomphe::Arc::new([1; 8]);
        let sal: SalRc<Value> = SalRc::new_in([1; 8], heap.alloc());
        compare(
            "make_mut/shared",
            MANY,
            vec![
                contender("arc", |n| (0..n).for_each(|_| Arc::make_mut(black_box(&mut std.clone()))[3] += 1)),
                contender("triomphe", |n| {
                    (0..n).for_each(|_| triomphe::Arc::make_mut(black_box(&mut other.clone()))[3] += 1)
                }),
                contender("sal", |n| (0..n).for_each(|_| SalRc::make_mut(black_box(&mut sal.clone()))[3] += 1)),
            ],
        );
    }
}

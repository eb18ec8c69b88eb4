//! Copying a wide node: each of its children gets a pointer more, and loses one with the copy.
//!
//! Eight million children lie in the heap. `near` ones were made beside their siblings, one parent after the other; `apart` are
//! the children of a parent all over the heap, as in a structure that grew at random. An operation is one child.

use crate::rounds::{compare, contender};
use sal::{HeapOptions, SalAlloc, SalRc};
use std::hint::black_box;
use std::sync::Arc;

const OBJECTS: usize = 8 << 20;
const OPERATIONS: usize = 1 << 20;

type Child = [u64; 4];

/// A permutation that leaves no two neighbours near each other.
fn scattered(at: usize) -> usize {
    at.wrapping_mul(0x9E37_79B1) % OBJECTS
}

/// All children, as the parents have them: `width` for each, `apart` or not.
fn parents<P>(apart: bool, mut make: impl FnMut(Child) -> P) -> Vec<P> {
    let made: Vec<P> = (0..OBJECTS as u64).map(|number| make([number; 4])).collect();
    if !apart {
        return made;
    }
    let mut made: Vec<Option<P>> = made.into_iter().map(Some).collect();
    (0..OBJECTS).map(|at| made[scattered(at)].take().expect("a permutation")).collect()
}

fn copies<P: Clone>(children: &[P], width: usize, start: &mut usize, operations: usize) {
    for _ in 0..operations / width {
        // Another parent each time, all over the heap.
        *start = (*start + 7919 * width) % (OBJECTS - width);
        let first = *start / width * width;
        let copy: Vec<P> = black_box(children[first..first + width].to_vec());
        drop(copy);
    }
}

pub(crate) fn run(wanted: &dyn Fn(&str) -> bool) {
    for width in [16, 256] {
        let name = format!("children/{width}");
        if !wanted(&name) {
            continue;
        }
        let heap = HeapOptions::new().volatile().expect("there is memory");
        let handle: SalAlloc = heap.alloc();
        let std = [false, true].map(|apart| parents(apart, Arc::new));
        let sal = [false, true].map(|apart| parents::<SalRc<Child>>(apart, |child| SalRc::new_in(child, handle)));
        let mut starts = [0; 4];
        let [first, second, third, fourth] = &mut starts;
        compare(
            &name,
            OPERATIONS,
            vec![
                contender("arc/near", |n| copies(&std[0], width, first, n)),
                contender("arc/apart", |n| copies(&std[1], width, second, n)),
                contender("sal/near", |n| copies(&sal[0], width, third, n)),
                contender("sal/apart", |n| copies(&sal[1], width, fourth, n)),
            ],
        );
    }
}

//! What recovery does with a heap of many objects, per object: `recovery/SHAPE/64B/all`, where the shapes are a list in
//! the order of its addresses and one in random order, a map (one wide block and what it refers to) in both, a deep tree,
//! and blocks that nothing reaches any more. Of these objects no types are known: each word of them is looked at. The shapes
//! whose names begin with `typed_` are made of shared values, which are followed by their types and counted.
//!
//! It is done to a live heap in memory that nobody else uses, by the same code that an unclean stop calls for: marking from
//! the roots, then sweeping. What a file would add, reading its pages, is not in it. The number of objects is 10 million;
//! `SAL_BENCH_OBJECTS` gives another.
//!
//! Two more open a heap file after its process was killed; the file's pages are in the cache:
//!
//! - `recovery/first_answer/64B/N`: from the call that opens a heap of N objects in a list to the value of a root, without
//!   the time that replaying the log took. A process of its own each time, which is killed then.
//! - `recovery/replay/SHAPE/4KiB`: reading the log and writing its pages into the heap file, where they have neighbours, are
//!   alone, or fill holes.
//!
//! The files lie in the directory for temporary files, or in `SAL_BENCH_DIR`.
#![allow(unsafe_code)]

#[path = "../common/mod.rs"]
mod common;
mod killed;

use allocator_api2::boxed::Box as SalBox;
use criterion::{Criterion, Throughput};
use sal::collections::SalVec;
use sal::{Heap, HeapOptions, Offset, Persist, Root, SalCollect, SalCow, SalRc};
use std::time::Duration;

/// What the shapes begin with.
const HEADS: Root<SalVec<Offset<Node>>> = Root::new("heads");
const TYPED: Root<SalVec<SalRc<Typed>>> = Root::new("typed heads");

type Node = [u64; 8];

/// A node with a type, of the same size.
#[derive(Persist)]
#[repr(C)]
struct Typed {
    number: u64,
    left: Link,
    right: Link,
    more: [u64; 3],
}

#[derive(Persist)]
#[repr(C, u8)]
enum Link {
    End,
    Node(SalRc<Typed>),
}

const _: () = assert!(size_of::<Typed>() == size_of::<Node>());

fn main() {
    if killed::play_role() {
        return;
    }
    let objects = std::env::var("SAL_BENCH_OBJECTS").ok().and_then(|text| text.parse().ok()).unwrap_or(10_000_000);
    let mut criterion = common::criterion().sample_size(10).warm_up_time(Duration::from_millis(1));
    marking(&mut criterion, "list", objects, |nodes| link(&nodes, &(0..nodes.len()).collect::<Vec<_>>()));
    marking(&mut criterion, "list_shuffled", objects, |nodes| link(&nodes, &shuffled(nodes.len())));
    marking(&mut criterion, "map", objects, |nodes| nodes);
    marking(&mut criterion, "map_shuffled", objects, |nodes| {
        shuffled(nodes.len()).into_iter().map(|at| nodes[at]).collect()
    });
    marking(&mut criterion, "tree", objects, |nodes| {
        // Each node has a leaf and the rest of the tree below it.
        for pair in (0..nodes.len().saturating_sub(2)).step_by(2) {
            put(nodes[pair], 1, nodes[pair + 1]);
            put(nodes[pair], 5, nodes[pair + 2]);
        }
        vec![nodes[0]]
    });
    typed(&mut criterion, "typed_list", objects, |nodes| link_typed(nodes, false));
    typed(&mut criterion, "typed_list_shuffled", objects, |nodes| link_typed(nodes, true));
    typed(&mut criterion, "typed_map", objects, |nodes| nodes);
    typed(&mut criterion, "typed_map_shuffled", objects, |nodes| in_order(nodes, true).collect());
    sweeping(&mut criterion, objects);
    killed::first_answer(&mut criterion, objects);
    killed::replay(&mut criterion);
    criterion.final_summary();
}

fn new_heap() -> Heap {
    HeapOptions::new().capacity(16 << 30).volatile().expect("a heap")
}

/// The nodes in the order of their addresses, or in a random one.
fn in_order(nodes: Vec<SalRc<Typed>>, is_shuffled: bool) -> impl Iterator<Item = SalRc<Typed>> {
    let order = if is_shuffled { shuffled(nodes.len()) } else { (0..nodes.len()).rev().collect() };
    let mut nodes: Vec<_> = nodes.into_iter().map(Some).collect();
    order.into_iter().map(move |at| nodes[at].take().expect("each once"))
}

fn link_typed(nodes: Vec<SalRc<Typed>>, is_shuffled: bool) -> Vec<SalRc<Typed>> {
    let list = in_order(nodes, is_shuffled).reduce(|next, mut node| {
        SalRc::get_mut(&mut node).expect("nobody else has it").left = Link::Node(next);
        node
    });
    list.into_iter().collect()
}

fn offsets(heap: &Heap, nodes: Vec<u64>) -> impl Iterator<Item = Offset<Node>> {
    nodes.into_iter().map(|node| {
        let node = std::ptr::with_exposed_provenance(node as usize);
        Offset::of(heap.alloc(), node).expect("it lies in the heap")
    })
}

fn make(heap: &Heap, count: usize) -> Vec<u64> {
    (0..count).map(|_| &raw mut *SalBox::leak(SalBox::new_in(Node::default(), heap.alloc())) as u64).collect()
}

fn put(node: u64, word: usize, value: u64) {
    // SAFETY: a node that was leaked for this program to use.
    unsafe { std::ptr::with_exposed_provenance_mut::<u64>(node as usize).add(word).write(value) };
}

fn link(nodes: &[u64], order: &[usize]) -> Vec<u64> {
    for pair in order.windows(2) {
        put(nodes[pair[0]], 0, nodes[pair[1]]);
    }
    vec![nodes[order[0]]]
}

fn shuffled(count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    let mut random = 0x5EED_u64;
    for at in (1..count).rev() {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        order.swap(at, (random >> 33) as usize % (at + 1));
    }
    order
}

fn marking(criterion: &mut Criterion, shape: &str, objects: usize, arrange: impl FnOnce(Vec<u64>) -> Vec<u64>) {
    let heap = new_heap();
    let heads = arrange(make(&heap, objects));
    heap.write().expect("a session").root_or_default(HEADS).expect("a root").extend(offsets(&heap, heads));
    measure(criterion, shape, objects, &heap);
}

fn typed(
    criterion: &mut Criterion,
    shape: &str,
    objects: usize,
    arrange: impl FnOnce(Vec<SalRc<Typed>>) -> Vec<SalRc<Typed>>,
) {
    let heap = new_heap();
    let node = |number| Typed { number, left: Link::End, right: Link::End, more: [0; 3] };
    let heads = arrange((0..objects as u64).map(|number| heap.rc(node(number))).collect());
    heap.write().expect("a session").root_or_default(TYPED).expect("a root").extend(heads);
    measure(criterion, shape, objects, &heap);
}

fn measure(criterion: &mut Criterion, shape: &str, objects: usize, heap: &Heap) {
    let mut workers = 0;
    let mut collect = || {
        // SAFETY: nobody else uses the heap, and what is used hangs on its root.
        let report = unsafe { heap.collect() }.expect("memory for its tables");
        assert!(report.is_precise && report.reclaimed_blocks <= 1 && report.marked_blocks >= objects as u64);
        workers = report.workers;
        report.marking + report.sweeping
    };
    collect();
    let mut group = criterion.benchmark_group(format!("recovery/{shape}/64B"));
    group.throughput(Throughput::Elements(objects as u64));
    group.bench_function("all", |bencher| bencher.iter_custom(|rounds| (0..rounds).map(|_| collect()).sum()));
    group.finish();
}

fn sweeping(criterion: &mut Criterion, objects: usize) {
    let heap = new_heap();
    let mut group = criterion.benchmark_group("recovery/lost/64B");
    group.throughput(Throughput::Elements(objects as u64));
    group.bench_function("sweep", |bencher| {
        bencher.iter_custom(|rounds| {
            (0..rounds)
                .map(|_| {
                    make(&heap, objects);
                    // SAFETY: nobody else uses the heap, and nothing in it is used any more.
                    let report = unsafe { heap.collect() }.expect("memory for its tables");
                    assert_eq!(report.reclaimed_blocks, objects as u64);
                    report.sweeping
                })
                .sum()
        });
    });
    group.finish();
}

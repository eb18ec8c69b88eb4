//! A heap file with a pool, which every later version must open, and where the pool's bytes lie.
//!
//! `SAL_WRITE_GOLDEN=1` makes it anew; that is right only as long as no heap with such a pool exists outside of this repository.
#![allow(unsafe_code)]

mod support;

use sal::pool::{FinalizerId, QueueId};
use sal::prelude::*;
use sal::{Collector, Gc, GcWeak, HeapOptions, Mode, Pool};
use support::heaps::{opened, unmap};
use support::{alone, fresh_path, golden};

const GOLDEN: &str = "pool_v1.sal.parts";

#[derive(Persist)]
#[repr(C)]
struct Node {
    number: u64,
    next: Option<Gc<Node>>,
    text: SalString,
}

#[derive(Persist, Default)]
#[repr(C)]
struct Graph {
    nodes: Pool<Node>,
    first: Option<Gc<Node>>,
    weak: Option<GcWeak<Node>>,
}

const GRAPH: Root<Graph> = Root::new("graph");

/// Where heaps without a file, and most others, do not lie.
const HIGH: usize = 0x4800_0000_0000;

fn write_golden() {
    let (_directory, path) = fresh_path();
    loop {
        let _ = std::fs::remove_file(&path);
        // SAFETY: a file of our own.
        let heap = unsafe { HeapOptions::new().mode(Mode::Shared).create(&path) }.unwrap();
        let tx = heap.write().unwrap();
        let graph = tx.root_or_default(GRAPH).unwrap();
        let all: Vec<Gc<Node>> = (0..10)
            .map(|number| graph.nodes.insert(Node { number, next: None, text: number.to_string().as_str().into() }))
            .collect();
        if all[0].address() < HIGH {
            drop(tx);
            unmap(heap);
            continue;
        }
        (0..5).for_each(|at| graph.nodes[all[at]].next = Some(all[(at + 1) % 5]));
        graph.first = Some(all[0]);
        graph.weak = graph.nodes.downgrade(all[1]).ok();
        graph.nodes.downgrade_with_queue(all[7], QueueId(3)).unwrap();
        graph.nodes.arm(all[6], FinalizerId(9)).unwrap();
        graph.nodes.arm(all[2], FinalizerId(10)).unwrap();
        Collector::new().collect(graph).unwrap();
        graph.nodes.insert(Node { number: 100, next: None, text: "young".into() });
        drop(tx);
        unmap(heap);
        break;
    }
    golden::keep(&path, GOLDEN);
}

#[test]
fn a_pool_of_the_first_version_opens_and_is_collected() {
    let _alone = alone();
    if golden::is_to_be_made() {
        write_golden();
    }
    let (_directory, path) = fresh_path();
    golden::expand(GOLDEN, &path);
    let heap = opened(&HeapOptions::new().mode(Mode::Shared), &path);
    let tx = heap.write().unwrap();
    let graph = tx.root_mut(GRAPH).unwrap();
    graph.nodes.check();
    let numbers: Vec<(u64, &str)> = graph.nodes.objects().map(|(_, node)| (node.number, &*node.text)).collect();
    assert_eq!(numbers, [(0, "0"), (1, "1"), (2, "2"), (3, "3"), (4, "4"), (100, "young"), (6, "6")]);
    // Chunks are aligned to their size; behind a head of 64 bytes come two sets of bits, of 102 words each.
    let first = graph.first.unwrap();
    assert_eq!(first.address() % (1 << 18), 64 + 2 * 102 * 8);
    assert_eq!(graph.nodes.objects().nth(1).unwrap().0.address() - first.address(), 40);
    assert_eq!(graph.nodes.upgrade(graph.weak.unwrap()).map(|gc| graph.nodes[gc].number), Some(1));
    assert_eq!(graph.nodes.take_cleared(QueueId(3)).len(), 1);
    let waiting: Vec<_> = graph.nodes.finalizable().iter().map(|(gc, id)| (graph.nodes[*gc].number, *id)).collect();
    assert_eq!(waiting, [(6, FinalizerId(9))]);
    let report = Collector::new().collect_young(graph).unwrap();
    assert_eq!((report.is_young, report.visited, report.freed, report.live), (true, 0, 1, 6));
    drop(tx);
    unmap(heap);
}

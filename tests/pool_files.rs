//! Collected pools in heap files: after a reopening, after a kill, with roots of a heap, in steps over several sessions.
#![allow(unsafe_code)]

mod support;

use sal::pool::{FinalizerId, Finalizers, GcError, QueueId, Step};
use sal::prelude::*;
use sal::{Collector, Gc, GcWeak, HeapOptions, Mode, Pool, Recovery, RootError, SalCollect};
use std::path::Path;
use std::time::Duration;
use support::heaps::{open, opened, run_and_kill, unmap};
use support::{alone, fresh_path, process};

#[derive(Persist)]
#[repr(C)]
struct Node {
    number: u64,
    next: Option<Gc<Node>>,
    text: SalString,
    shared: SalRc<u64>,
    others: SalVec<Gc<Node>>,
}

#[derive(Persist, Default)]
#[repr(C)]
struct Graph {
    nodes: Pool<Node>,
    first: Option<Gc<Node>>,
    weak: Option<GcWeak<Node>>,
}

const GRAPH: Root<Graph> = Root::new("graph");
const FAVOURITE: Root<Gc<Node>> = Root::new("favourite");

fn node(heap: &Heap, number: u64) -> Node {
    Node {
        number,
        next: None,
        text: SalString::from(&*number.to_string().repeat(9)),
        shared: heap.rc(number),
        others: SalVec::new(),
    }
}

/// A ring of `reached` nodes that the graph has, as many that only they lead to, and `lost` ones in a ring of their own.
fn fill(heap: &Heap, graph: &mut Graph, reached: u64, lost: u64) {
    let mut ring = |from: u64, len: u64| {
        let all: Vec<Gc<Node>> = (0..len).map(|at| graph.nodes.insert(node(heap, from + at))).collect();
        for (at, &gc) in all.iter().enumerate() {
            graph.nodes[gc].next = Some(all[(at + 1) % all.len()]);
        }
        all
    };
    let (kept, leaves) = (ring(0, reached), ring(1_000_000, reached));
    ring(2_000_000, lost);
    for (&from, &to) in kept.iter().zip(&leaves) {
        graph.nodes[from].others.push(to);
        // Values of counted pointers that several objects have.
        graph.nodes[from].shared = graph.nodes[to].shared.clone();
    }
    graph.first = Some(kept[0]);
    let [weak, queued] = [kept[1], leaves[2]].map(|gc| graph.nodes.downgrade_with_queue(gc, QueueId(3)).unwrap());
    graph.weak = Some(weak);
    graph.nodes.arm(leaves[3], FinalizerId(5)).unwrap();
    assert_eq!(graph.nodes.upgrade(queued), Some(leaves[2]));
}

/// Whether the ring and what it leads to are as they were filled.
fn check(graph: &Graph, reached: u64) {
    graph.nodes.check();
    let (first, mut count) = (graph.first.unwrap(), 0);
    let mut at = first;
    loop {
        let node = &graph.nodes[at];
        let leaf = &graph.nodes[node.others[0]];
        assert_eq!((node.number, leaf.number, *node.shared), (count, 1_000_000 + count, 1_000_000 + count));
        assert_eq!(&*node.text, &*count.to_string().repeat(9));
        assert_eq!(SalRc::strong_count(&node.shared), 2);
        count += 1;
        at = node.next.unwrap();
        if at == first {
            break;
        }
    }
    assert_eq!(count, reached);
    assert_eq!(graph.nodes.upgrade(graph.weak.unwrap()).map(|gc| graph.nodes[gc].number), Some(1));
}

#[test]
fn a_pool_is_collected_after_a_reopening_by_the_types_of_its_roots() {
    let _alone = alone();
    for mode in [Mode::Atomic, Mode::Shared] {
        let (_directory, path) = fresh_path();
        let options = HeapOptions::new().mode(mode);
        let heap = opened(&options, &path);
        let tx = heap.write().unwrap();
        fill(&heap, tx.root_or_default(GRAPH).unwrap(), 1_000, 700);
        tx.set_root(Root::new("text"), SalString::from("of a type that has nothing to do with pools")).unwrap();
        drop(tx);
        let favourite = heap.with_root(GRAPH, |graph| graph.nodes.objects().last().unwrap().0).unwrap();
        heap.set_root(FAVOURITE, favourite).unwrap();
        unmap(heap);

        let heap = opened(&options, &path);
        let collector = Collector::new();
        let mut tx = heap.write().unwrap();
        assert!(matches!(tx.collect_pools(&collector), Err(GcError::UnknownRoot { .. })));
        tx.root_mut(GRAPH).unwrap();
        assert_eq!(tx.collect_pools(&collector), Err(GcError::UnknownRoot { root: "\"favourite\"".into() }));
        let favourite = *tx.root(FAVOURITE).unwrap();
        assert!(matches!(tx.collect_pools(&collector), Err(GcError::Root(RootError::RootBusy { .. }))));
        tx.release_roots().unwrap();
        let report = tx.collect_pools(&collector).unwrap();
        // The favourite one is of the ring that is lost otherwise.
        assert_eq!((report.visited, report.freed, report.pools), (2_700, 0, 1), "{mode:?}");
        assert_eq!(tx.take_root(FAVOURITE), Ok(favourite));
        let report = tx.collect_pools(&collector).unwrap();
        assert_eq!((report.visited, report.freed), (2_000, 700), "{mode:?}");
        tx.sync().unwrap();
        heap.wait_for_recovery();
        heap.with_root(GRAPH, |graph| check(graph, 1_000)).unwrap();
        unmap(heap);

        // What is old is so in the file, and what was freed is free.
        let heap = opened(&options, &path);
        // Until then nobody says how many share a value.
        heap.wait_for_recovery();
        let tx = heap.write().unwrap();
        let graph = tx.root_mut(GRAPH).unwrap();
        check(graph, 1_000);
        let report = collector.collect_young(graph).unwrap();
        assert_eq!((report.is_young, report.visited, report.live), (true, 0, 2_000));
        graph.first = None;
        let report = collector.collect(graph).unwrap();
        assert_eq!((report.finalizable, report.cleared, report.freed), (1, 2, 1_999 - 999), "{mode:?}");
        assert_eq!(graph.nodes.take_cleared(QueueId(3)).len(), 2);
        tx.sync().unwrap();
        unmap(heap);

        // What waits for a finalizer does so in the file, with all that it leads to.
        let heap = opened(&options, &path);
        heap.wait_for_recovery();
        let tx = heap.write().unwrap();
        let graph = tx.root_mut(GRAPH).unwrap();
        assert_eq!((graph.nodes.len(), graph.nodes.finalizable().len()), (1_000, 1));
        let mut said = 0;
        let mut finalizers = Finalizers::new();
        finalizers.register(FinalizerId(5), |pool: &mut Pool<Node>, gc| said = pool[gc].number);
        assert_eq!(graph.nodes.finalize(&mut finalizers), 1);
        drop(finalizers);
        assert_eq!(said, 1_000_003);
        assert_eq!(collector.collect(graph).unwrap().freed, 1_000);
        assert_eq!(graph.nodes.reserved_bytes(), 0);
        drop(tx);
        drop(heap.take_root(GRAPH).unwrap());
        heap.take_root(Root::<SalString>::new("text")).unwrap();
        // SAFETY: nobody else uses the heap.
        let left = unsafe { heap.objects() }.unwrap().map(|block| block.len).collect::<Vec<_>>();
        assert_eq!(left, [], "{mode:?}: nothing is left");
        unmap(heap);
    }
}

fn killed(name: &str, path: &Path, work: impl FnOnce(&Heap)) -> bool {
    if let Some((_, path)) = process::role() {
        let heap = open(&path);
        work(&heap);
        process::say("done");
        process::hear();
        unreachable!("killed before");
    }
    run_and_kill(name, "fill", path);
    true
}

#[test]
fn after_a_kill_every_object_is_there_and_the_next_collection_frees_what_nothing_leads_to() {
    let name = "after_a_kill_every_object_is_there_and_the_next_collection_frees_what_nothing_leads_to";
    let _alone = alone();
    let (_directory, path) = fresh_path();
    killed(name, &path, |heap| {
        let tx = heap.write().unwrap();
        fill(heap, tx.root_or_default(GRAPH).unwrap(), 500, 300);
        tx.sync().unwrap();
        // What comes after the sync is gone, and so is what was freed.
        let tx = heap.write().unwrap();
        let graph = tx.root_mut(GRAPH).unwrap();
        graph.first = None;
        Collector::new().collect(graph).unwrap();
        fill(heap, graph, 2_000, 1);
        drop(tx);
    });
    for recovery in [Recovery::Eager, Recovery::Background] {
        let copy = path.with_extension("copy");
        support::bytes::copy(&path, &copy);
        support::bytes::copy(&support::heaps::log_of(&path), &support::heaps::log_of(&copy));
        let heap = opened(&HeapOptions::new().recovery(recovery), &copy);
        let report = heap.wait_for_recovery().unwrap();
        assert!(report.collected.is_precise);
        let tx = heap.write().unwrap();
        let graph = tx.root_mut(GRAPH).unwrap();
        assert_eq!(graph.nodes.len(), 1_300);
        check(graph, 500);
        let report = Collector::new().collect_young(graph).unwrap();
        assert_eq!((report.is_young, report.visited, report.freed), (false, 1_000, 300));
        check(graph, 500);
        drop(tx);
        // SAFETY: nobody else uses the heap, and only roots hold anything in it.
        let report = unsafe { heap.collect() }.unwrap();
        assert!(report.is_precise && report.reclaimed_blocks == 0, "{report}");
        unmap(heap);
    }
}

#[derive(Persist)]
#[repr(C)]
struct Wide {
    next: Option<Gc<Wide>>,
    all: SalVec<Gc<Wide>>,
}

const DEEP: u64 = 1_000_000;
/// In the debug build a fifth, which is more than any stack has room for.
const WIDE: u64 = if cfg!(debug_assertions) { 2_000_000 } else { 10_000_000 };

#[test]
fn a_graph_that_is_very_deep_and_very_wide_goes_through_recovery_collection_and_drop() {
    const NODES: Root<(Pool<Wide>, Option<Gc<Wide>>)> = Root::new("nodes");
    let name = "a_graph_that_is_very_deep_and_very_wide_goes_through_recovery_collection_and_drop";
    let _alone = alone();
    let (_directory, path) = fresh_path();
    killed(name, &path, |heap| {
        let tx = heap.write().unwrap();
        let (nodes, top) = tx.root_or_insert_with(NODES, || (Pool::new(), None)).unwrap();
        let mut next = None;
        for _ in 0..DEEP {
            next = Some(nodes.insert(Wide { next, all: SalVec::new() }));
        }
        let mut all = SalVec::with_capacity(WIDE as usize);
        (0..WIDE).for_each(|_| all.push(nodes.insert(Wide { next: None, all: SalVec::new() })));
        *top = Some(nodes.insert(Wide { next, all }));
        tx.sync().unwrap();
    });
    let heap = opened(&HeapOptions::new().recovery(Recovery::Eager), &path);
    assert!(heap.wait_for_recovery().unwrap().collected.is_precise);
    let tx = heap.write().unwrap();
    let nodes = tx.root_mut(NODES).unwrap();
    let collector = Collector::new();
    let report = collector.collect(nodes).unwrap();
    assert_eq!((report.visited, report.freed), (DEEP + WIDE + 1, 0));
    let top = nodes.1.unwrap();
    nodes.0[top].all = SalVec::new();
    assert_eq!(collector.collect(nodes).unwrap().freed, WIDE);
    drop(tx);
    drop(heap.take_root(NODES).unwrap());
    assert_eq!(heap.stats().live_bytes, 0);
    unmap(heap);
}

#[test]
fn a_collection_goes_on_in_steps_over_several_sessions_with_guards_of_other_sessions() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    let heap = open(&path);
    let collector = Collector::new();
    let guard = {
        let tx = heap.write().unwrap();
        let graph = tx.root_or_default(GRAPH).unwrap();
        fill(&heap, graph, 3_000, 5_000);
        collector.root(graph.nodes.objects().last().unwrap().0)
    };
    let mut steps = 0;
    let first = loop {
        let tx = heap.write().unwrap();
        let graph = tx.root_mut(GRAPH).unwrap();
        let step = collector.step(graph, Duration::from_micros(100)).unwrap();
        graph.nodes.insert(node(&heap, 9_000_000));
        steps += 1;
        tx.sync().unwrap();
        if let Step::Done(report) = step {
            break report;
        }
    };
    // The ring that the guard was on, and what was made while marking went on, is left for the next one.
    assert!(first.steps == steps && steps > 2 && first.freed <= steps.into(), "{first:?}");
    drop(guard);
    heap.with_root(GRAPH, |graph| check(graph, 3_000)).unwrap();
    let report = heap.with_root_mut(GRAPH, |graph| collector.collect(graph)).unwrap().unwrap();
    assert_eq!((report.freed, report.live), (5_000 + u64::from(steps) - first.freed, 6_000));
    unmap(heap);
}

#[test]
fn a_pointer_into_another_heap_is_refused() {
    let [one, other] = [0, 1].map(|_| HeapOptions::new().capacity(64 << 20).volatile().unwrap());
    let foreign = {
        let tx = other.write().unwrap();
        let graph = tx.root_or_default(GRAPH).unwrap();
        graph.nodes.insert(node(&other, 1))
    };
    assert!(matches!(one.set_root(FAVOURITE, foreign), Err(RootError::ForeignBlock { .. })));
    other.set_root(FAVOURITE, foreign).unwrap();
}

#[test]
fn a_pool_without_room_says_so_and_goes_on() {
    let heap = HeapOptions::new().capacity(4 << 20).volatile().unwrap();
    let tx = heap.write().unwrap();
    let pool = tx.root_or_default(Root::<Pool<[u64; 64]>>::new("pool")).unwrap();
    let mut count = 0;
    while pool.try_insert([count; 64]).is_ok() {
        count += 1;
    }
    assert!(count > 2_000);
    pool.check();
    let (gc, _) = pool.objects().next().unwrap();
    pool.free(gc).unwrap();
    assert_eq!(pool.try_insert([7; 64]), Ok(gc));
    assert!(pool.try_insert([7; 64]).is_err());
    assert_eq!(Collector::new().collect(pool).unwrap().freed, count);
    assert!(pool.try_insert([7; 64]).is_ok());
}

/// With the feature `testing`.
#[cfg(feature = "testing")]
mod power_cuts {
    use super::{Collector, Gc, Persist, Pool, Root};
    use sal::testing::CrashTester;

    #[derive(Persist)]
    #[repr(C)]
    struct Item {
        number: u64,
        next: Option<Gc<Item>>,
    }

    type Chain = (Pool<Item>, Option<Gc<Item>>);
    const CHAIN: Root<Chain> = Root::new("chain");

    #[test]
    fn after_a_power_cut_a_pool_is_as_a_commit_found_it() {
        let collector = Collector::new();
        // SAFETY: nothing that lies in the heap leaves these closures.
        let report = unsafe {
            CrashTester::new().images(2).run(
                Vec::new(),
                |scenario| {
                    for round in 0..4_u64 {
                        scenario.change(|tx, model: &mut Vec<u64>| {
                            let (pool, first) = tx.root_or_insert_with(CHAIN, || (Pool::new(), None)).unwrap();
                            for number in 0..3 {
                                *first = Some(pool.insert(Item { number: round * 10 + number, next: *first }));
                                model.insert(0, round * 10 + number);
                            }
                            if round % 2 == 1 {
                                // The newest two go, and with them what the chain had of its own.
                                let second = pool[first.unwrap()].next;
                                *first = pool[second.unwrap()].next;
                                model.drain(..2);
                            }
                        });
                        scenario.change(|tx, _| {
                            collector.collect(tx.root_mut(CHAIN).unwrap()).unwrap();
                        });
                        scenario.sync();
                    }
                },
                |heap, model| {
                    let read = heap.read().unwrap();
                    let Ok((pool, first)) = read.root(CHAIN) else { return assert!(model.is_empty()) };
                    pool.check();
                    let mut at = *first;
                    for &number in model {
                        let item = &pool[at.unwrap()];
                        (at, _) = (item.next, assert_eq!(item.number, number));
                    }
                    assert!(at.is_none());
                },
            )
        };
        println!("{report}");
    }
}

#[test]
fn what_is_freed_in_a_heap_that_scrubs_is_overwritten() {
    let heap = HeapOptions::new().scrub_freed(true).volatile().unwrap();
    let tx = heap.write().unwrap();
    let pool = tx.root_or_default(Root::<Pool<[u64; 3]>>::new("pool")).unwrap();
    let all: Vec<Gc<[u64; 3]>> = (0..10).map(|_| pool.insert([0x5EC4E7; 3])).collect();
    let collector = Collector::new();
    let guard = collector.root(all[0]);
    pool.free(all[1]).unwrap();
    assert_eq!(collector.collect(pool).unwrap().freed, 8);
    for &gc in &all[1..] {
        // SAFETY: the slots are still the pool's, which has a chunk with the first object, and numbers may be anything.
        assert_eq!(unsafe { *gc.as_ref() }, [0; 3]);
    }
    assert_eq!(pool[guard.gc()], [0x5EC4E7; 3]);
}

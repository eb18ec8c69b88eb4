//! What is marked of graphs that are built by hand.

use super::super::marks::Marks;
use super::super::sweep::{Swept, sweep};
use super::super::testing::{Graph, Node, Stopped};
use super::*;
use crate::alloc::heap_core::WORDS_PER_UNIT;
use crate::format::PAGE;
use crate::format::root_entry::RootEntry;
use proptest::prelude::*;
use std::collections::HashSet;
use std::sync::atomic::Ordering::Relaxed;

const SEED: u64 = 0x5EED_06C0;

fn set_bits(marks: &Marks, stopped: &Stopped) -> u64 {
    (0..stopped.rebuilt.units * WORDS_PER_UNIT).map(|word| u64::from(marks.word(word).count_ones())).sum()
}

/// A random graph: nodes, and which of them a root reaches. Nodes refer to each other by addresses and offsets, to their
/// starts and insides.
fn random_graph(graph: &mut Graph, count: usize) -> (Vec<Node>, HashSet<usize>) {
    let sizes: Vec<usize> = (0..count)
        .map(|_| match graph.below(100) {
            0 => 256 * 1024 + graph.below(1 << 20),
            1..=5 => graph.below(250_000),
            6..=20 => graph.below(4000),
            _ => graph.below(200),
        })
        .collect();
    let nodes: Vec<Node> = sizes.into_iter().map(|size| graph.node(size.max(8))).collect();
    let mut edges = vec![Vec::new(); count];
    for from in 0..count {
        for _ in 0..graph.below(4) {
            let to = graph.below(count);
            let inside = if graph.below(2) == 0 { 0 } else { graph.below(nodes[to].len) };
            let base = if graph.below(2) == 0 { 0 } else { graph.heap.base };
            let words = nodes[from].len / 8;
            let word = if graph.below(3) == 0 { words - 1 } else { graph.below(words) };
            edges[from].retain(|&(at, _)| at != word);
            edges[from].push((word, to));
            nodes[from].put(word, nodes[to].address + inside - base);
        }
    }
    let mut open = Vec::new();
    for _ in 0..3 {
        let at = graph.below(count);
        graph.root(nodes[at], None);
        open.push(at);
    }
    let mut reached = HashSet::new();
    while let Some(at) = open.pop() {
        if reached.insert(at) {
            open.extend(edges[at].iter().map(|&(_, to)| to));
        }
    }
    (nodes, reached)
}

fn hold(stopped: &Stopped, nodes: &[Node], reached: &HashSet<usize>, marks: &Marks, marked: u64) {
    for (at, &node) in nodes.iter().enumerate() {
        assert_eq!(stopped.is_marked(marks, node), reached.contains(&at), "seed {SEED:#x}, node {at}: {node:?}");
    }
    assert_eq!(marked, reached.len() as u64);
    assert_eq!(set_bits(marks, stopped), marked);
}

#[test]
fn exactly_what_roots_reach_is_marked_and_the_sweep_frees_exactly_the_rest() {
    for round in 0..4 {
        let mut graph = Graph::new(1 << 30, SEED + round);
        let (nodes, reached) = random_graph(&mut graph, 4000);
        let stopped = graph.stop();
        let (marks, marked) = stopped.mark_alone();
        hold(&stopped, &nodes, &reached, &marks, marked);
        let swept = Swept::default();
        // SAFETY: nobody uses any block.
        assert!(unsafe { sweep(&stopped.heap, &stopped.runs, &marks, &swept, || true) });
        let all = stopped.rebuilt.blocks + stopped.rebuilt.large_count;
        assert_eq!(swept.blocks.load(Relaxed), all - marked);
        // SAFETY: nobody else is there.
        unsafe {
            assert_eq!(stopped.heap.check(), Ok(()));
            // What is out of its slab is what is marked.
            let locked = &(*stopped.heap.soft()).locked;
            assert_eq!(
                locked.live.iter().map(|live| live.load(Relaxed)).sum::<i64>() as u64
                    + locked.large_count.load(Relaxed),
                marked
            );
        }
        // A slab without a marked block is gone, and the others hold their marked blocks.
        for (at, &node) in nodes.iter().enumerate() {
            assert!(!reached.contains(&at) || stopped.heap.run_of(node.address).is_some());
        }
        let heads = super::super::testing::runs(&stopped.heap, stopped.rebuilt.units);
        for run in heads.iter() {
            assert!(Runs::mark_words(run).any(|(word, all)| marks.word(word) & all != 0), "{run:?}");
        }
    }
}

#[test]
fn any_number_of_workers_and_any_stack_give_the_same_marks() {
    let mut graph = Graph::new(1 << 30, SEED);
    let (nodes, reached) = random_graph(&mut graph, 2000);
    let stopped = graph.stop();
    let mut overflowed = 0;
    for (workers, stack) in [(1, 1), (1, 7), (2, 1), (2, 50), (4, 1 << 16), (3, 0)] {
        let (marks, marked, rounds) = stopped.mark(workers, stack);
        hold(&stopped, &nodes, &reached, &marks, marked);
        overflowed += u64::from(rounds > 0);
    }
    assert!(overflowed >= 3, "stacks were meant to be too small");
}

/// Nodes of `size` bytes in a random order, of which each has the next one's address in word `word`.
fn list(graph: &mut Graph, count: usize, size: usize, word: usize) -> Vec<Node> {
    let mut nodes: Vec<Node> = (0..count).map(|_| graph.node(size)).collect();
    for at in (1..count).rev() {
        let other = graph.below(at + 1);
        nodes.swap(at, other);
    }
    for pair in nodes.windows(2) {
        pair[0].put(word, pair[1].address);
    }
    graph.root(nodes[0], None);
    nodes
}

#[test]
fn lists_of_a_million_nodes_need_hardly_any_stack() {
    for word in [0, 3] {
        let mut graph = Graph::new(1 << 30, SEED);
        let count = 1_000_000;
        list(&mut graph, count, 32, word);
        let stopped = graph.stop();
        let (_, marked, rounds) = stopped.mark(1, 4);
        assert_eq!((marked, rounds), (count as u64, 0));
    }
}

#[test]
fn trees_a_million_deep_fit_on_the_stack() {
    for (child, leaf) in [(0, 1), (1, 0)] {
        let mut graph = Graph::new(1 << 30, SEED);
        let count = 1_000_000;
        let mut top = graph.node(32);
        for _ in 1..count {
            let (above, beside) = (graph.node(32), graph.node(16));
            above.put(child, top.address);
            above.put(leaf, beside.address);
            top = above;
        }
        graph.root(top, None);
        let stopped = graph.stop();
        let (_, marked) = stopped.mark_alone();
        assert_eq!(marked, 2 * count as u64 - 1);
    }
}

#[test]
fn a_wide_block_needs_little_stack() {
    let mut graph = Graph::new(1 << 30, SEED);
    let count = 500_000;
    let wide = graph.node(count * 8);
    for word in 0..count {
        let leaf = graph.node(16);
        wide.put(word, leaf.address);
    }
    graph.root(wide, None);
    let stopped = graph.stop();
    assert_eq!(stopped.mark(1, 4096).1, count as u64 + 1);
    let (_, marked, rounds) = stopped.mark(2, 4096);
    assert_eq!((marked, rounds), (count as u64 + 1, 0));
}

#[test]
fn what_lies_behind_the_last_block_of_a_slab_or_the_last_page_of_a_run_reaches_nothing() {
    let mut graph = Graph::new(1 << 30, SEED);
    let (root, small, large) = (graph.node(64), graph.node(48), graph.node(300_000));
    root.put(0, large.address + large.len);
    let slab = small.address & !(2 * crate::format::UNIT - 1);
    root.put(1, slab + 2 * crate::format::UNIT - 1);
    root.put(2, graph.heap.segments - 1);
    root.put(3, graph.heap.base);
    root.put(4, usize::MAX);
    root.put(5, large.address + large.len - 1);
    graph.root(root, None);
    let stopped = graph.stop();
    let (marks, marked) = stopped.mark_alone();
    assert!(stopped.is_marked(&marks, large) && !stopped.is_marked(&marks, small));
    assert_eq!(marked, 2);
}

#[test]
fn an_image_elsewhere_gives_the_same_marks() {
    let mut graph = Graph::new(256 << 20, SEED);
    let (nodes, reached) = random_graph(&mut graph, 500);
    let stopped = graph.stop();
    let layout = stopped.heap.layout;
    let len = layout.segments.offset as usize + stopped.rebuilt.units * crate::format::UNIT;
    let mut copied = super::super::zeroed::Zeroed::<u8>::new(len).unwrap();
    let segments = layout.segments.offset as usize..len;
    for range in [layout.roots.offset as usize..layout.roots.offset as usize + PAGE, segments] {
        let start = std::ptr::with_exposed_provenance::<u8>(stopped.heap.base + range.start);
        // SAFETY: usable memory of the heap.
        copied[range.clone()].copy_from_slice(unsafe { std::slice::from_raw_parts(start, range.len()) });
    }
    // From now on the window says something else.
    for &node in &nodes {
        node.put(0, nodes[0].address);
    }
    let marks = Marks::new(stopped.rebuilt.units).unwrap();
    // SAFETY: the copy lives as long as the image.
    let image = unsafe { Image::new(copied.as_ptr(), stopped.heap.window, layout, stopped.rebuilt.units) };
    let job = Job::default();
    let marker = Marker::new(image, &stopped.runs, &marks, &job);
    marker.work(|| ()).unwrap();
    hold(&stopped, &nodes, &reached, &marks, job.counters.blocks.load(Relaxed));
}

#[test]
fn names_are_kept_with_their_roots_and_damaged_entries_keep_what_they_can() {
    let mut graph = Graph::new(256 << 20, SEED);
    let [value, name, other, extra] = [100, 20, 30, 40].map(|size| graph.node(size));
    // SAFETY: a block of the test's own heap.
    unsafe { std::ptr::with_exposed_provenance_mut::<[u8; 4]>(name.address).write(*b"name") };
    graph.root(value, Some((name, b"name")));
    let (slot, entry) = graph.root(other, None);
    let class_like = RootEntry { tag: graph.offset_of(extra) as u64, ..entry };
    let class_like = RootEntry { checksum: class_like.expected_checksum(&[]), ..class_like };
    graph.damage_root(slot, class_like);
    let stopped = graph.stop();
    let marked =
        |stopped: &Stopped, marks: &Marks| [value, name, other, extra].map(|node| stopped.is_marked(marks, node));
    // A class that looks like an offset is none.
    assert_eq!(marked(&stopped, &stopped.mark_alone().0), [true, true, true, false]);

    let start = stopped.heap.base + stopped.heap.layout.roots.offset as usize;
    let entries = std::ptr::with_exposed_provenance_mut::<RootEntry>(start);
    // SAFETY: a page of entries, in a heap that only the test knows of.
    unsafe { (*entries.add(slot as usize)).checksum ^= 1 };
    assert_eq!(marked(&stopped, &stopped.mark_alone().0), [true, true, true, true]);
}

#[test]
fn an_abort_stops_all_workers_and_says_so() {
    let mut graph = Graph::new(1 << 30, SEED);
    list(&mut graph, 100_000, 64, 0);
    let stopped = graph.stop();
    let marks = Marks::new(stopped.rebuilt.units).unwrap();
    let job = Job::default();
    let marker = Marker::new(stopped.image(), &stopped.runs, &marks, &job).with(2, STACK);
    std::thread::scope(|scope| {
        scope.spawn(|| marker.work(|| ()));
        marker
            .work(|| {
                if job.counters.blocks.load(Relaxed) > 10_000 {
                    job.pool.abort()
                }
            })
            .unwrap();
        // Whoever did not tick asks the other one to stop.
        if job.counters.blocks.load(Relaxed) > 10_000 {
            job.pool.abort();
        }
    });
    assert!(!job.pool.is_done());
    assert!(job.counters.blocks.load(Relaxed) < 100_000);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_directory_crashes_it(words in prop::collection::vec(prop_oneof![any::<u64>(), 0_u64..9, (0_u64..4).prop_map(|part| (1 << 30) * part)], 64)) {
        let mut graph = Graph::new(64 << 20, SEED);
        let node = graph.node(100);
        let (_, good) = graph.root(node, None);
        for (at, chunk) in words.chunks(8).enumerate() {
            let words: [u64; 8] = chunk.try_into().unwrap();
            let entry: RootEntry = zerocopy::transmute!(words);
            let state = [good.state, crate::format::root_entry::BY_NAME, entry.state, 0][at % 4];
            graph.damage_root(at as u64, RootEntry { state, ..entry });
        }
        graph.stop().mark_alone();
    }
}

//! Heaps in which tests build graphs of blocks by hand, stop, and mark.

use super::image::Image;
use super::marker::{Job, Marker, STACK};
use super::marks::Marks;
use super::runs::{Block, Runs};
use crate::alloc::heap_core::testing::TestHeap;
use crate::alloc::rebuild::{Rebuilt, rebuild};
use crate::alloc::size_class::{MAX_SMALL, class_of, class_size};
use crate::alloc::thread_heap::ThreadHeap;
use crate::format::root_entry::{BY_CLASS, BY_NAME, COUNTS, RootEntry};
use crate::format::{PAGE, UNIT};
use std::ptr::with_exposed_provenance_mut as exposed;

/// See the module.
pub(crate) struct Graph {
    pub(crate) heap: TestHeap,
    thread: *mut ThreadHeap,
    roots: u64,
    random: u64,
}

/// A block by its address and its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) address: usize,
    pub(crate) len: usize,
}

impl Node {
    pub(crate) fn put(self, word: usize, value: usize) {
        assert!(word * 8 < self.len);
        // SAFETY: a block of a heap that only the test knows of.
        unsafe { exposed::<usize>(self.address).add(word).write(value) };
    }
}

impl Graph {
    pub(crate) fn new(capacity: u64, seed: u64) -> Self {
        let heap = TestHeap::new(capacity);
        let thread = heap.take_thread_heap();
        commit_roots(&heap);
        Self { heap, thread, roots: 0, random: seed }
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) as usize % end
    }

    /// A block whose words are zeros.
    pub(crate) fn node(&mut self, size: usize) -> Node {
        let (block, len) = if size > MAX_SMALL {
            (self.heap.allocate_large(size, 1, false), size.next_multiple_of(PAGE))
        } else {
            let class = class_of(size);
            // SAFETY: the calling thread's own.
            let block = unsafe {
                ThreadHeap::allocate(self.thread, class)
                    .unwrap_or_else(|| ThreadHeap::allocate_slow(self.thread, class))
            };
            (block, class_size(class))
        };
        assert!(!block.is_null());
        // SAFETY: new, and as long as its class.
        unsafe { block.write_bytes(0, len) };
        Node { address: block.addr(), len }
    }

    /// A node's position as an offset from the heap's start.
    pub(crate) fn offset_of(&self, node: Node) -> usize {
        node.address - self.heap.base
    }

    fn write_entry(&self, slot: u64, entry: RootEntry) {
        let start = self.heap.base + self.heap.layout.roots.offset as usize;
        // SAFETY: made usable in `new`, and tests have few roots.
        unsafe { exposed::<RootEntry>(start).add(slot as usize).write(entry) };
    }

    /// A root of that value, by name if it has one; returns its slot and entry.
    pub(crate) fn root(&mut self, value: Node, name: Option<(Node, &[u8])>) -> (u64, RootEntry) {
        self.roots += 1;
        let mut counts = RootEntry { state: COUNTS, tag: self.roots, sequence: self.roots, ..RootEntry::default() };
        counts.checksum = counts.expected_checksum(&[]);
        self.write_entry(0, counts);
        let mut entry = RootEntry {
            state: if name.is_some() { BY_NAME } else { BY_CLASS },
            name_len: name.map_or(0, |(_, bytes)| bytes.len() as u32),
            tag: name.map_or(7, |(node, _)| self.offset_of(node) as u64),
            sequence: self.roots,
            value: self.offset_of(value) as u64,
            value_len: value.len as u64,
            value_align_log2: 3,
            ..RootEntry::default()
        };
        entry.checksum = entry.expected_checksum(name.map_or(&[], |(_, bytes)| bytes));
        self.write_entry(self.roots, entry);
        (self.roots, entry)
    }

    /// Writes over a root's entry, or over the one that counts them, without mending the checksum.
    pub(crate) fn damage_root(&self, slot: u64, entry: RootEntry) {
        self.write_entry(slot, entry);
    }

    /// Stops: nothing but table, roots and blocks is there afterwards, in a heap at the same place.
    pub(crate) fn stop(self) -> Stopped {
        // SAFETY: nobody else is there.
        let units = unsafe { (*self.heap.space.get()).committed_units() };
        let layout = self.heap.layout;
        let heap = {
            let kept = [layout.slab_table, layout.roots].map(|area| {
                let len = if area == layout.roots { PAGE } else { units * 8 };
                (area.offset as usize, copy(self.heap.base + area.offset as usize, len))
            });
            let segments = copy(self.heap.segments, units * UNIT);
            let heap = self.heap.begin_again();
            for (offset, bytes) in kept.into_iter().chain([(layout.segments.offset as usize, segments)]) {
                heap.backing.commit(heap.base, offset, bytes.len()).unwrap();
                // SAFETY: made usable just now.
                unsafe { exposed::<u8>(heap.base + offset).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
            }
            commit_roots(&heap);
            heap
        };
        // SAFETY: the heap is new.
        let rebuilt = unsafe { rebuild(&heap, units) }.unwrap();
        let runs = runs(&heap, rebuilt.units);
        Stopped { heap, rebuilt, runs }
    }
}

/// All of it is readable in a mapped file.
fn commit_roots(heap: &TestHeap) {
    for area in [heap.layout.roots, heap.layout.types] {
        heap.backing.commit(heap.base, area.offset as usize, area.len as usize).unwrap();
    }
}

fn copy(start: usize, len: usize) -> Vec<u8> {
    // SAFETY: usable memory of a heap that only the test knows of.
    unsafe { std::slice::from_raw_parts(exposed::<u8>(start), len) }.to_vec()
}

pub(crate) fn runs(heap: &TestHeap, units: usize) -> Runs {
    // SAFETY: nobody else is there.
    unsafe { Runs::of(heap, units) }.unwrap()
}

/// A heap after an unclean stop, rebuilt.
pub(crate) struct Stopped {
    pub(crate) heap: TestHeap,
    pub(crate) rebuilt: Rebuilt,
    pub(crate) runs: Runs,
}

impl Stopped {
    /// The window itself.
    pub(crate) fn image(&self) -> Image<'static> {
        let start = exposed::<u8>(self.heap.base);
        // SAFETY: tests change nothing while they mark.
        unsafe { Image::new(start, self.heap.window, self.heap.layout, self.rebuilt.units) }
    }

    pub(crate) fn block(&self, node: Node) -> Block {
        let block = self.runs.find(node.address - self.heap.segments).unwrap();
        assert_eq!(block.len, node.len);
        block
    }

    pub(crate) fn is_marked(&self, marks: &Marks, node: Node) -> bool {
        let block = self.block(node);
        marks.word(block.word) & block.bit != 0
    }

    /// Marks with so many workers and so small stacks; returns the marks, how many there are, and the rounds it took.
    pub(crate) fn mark(&self, workers: usize, stack: usize) -> (Marks, u64, u64) {
        let marks = Marks::new(self.rebuilt.units).unwrap();
        let job = Job::default();
        let marker = Marker::new(self.image(), &self.runs, &marks, &job).with(workers, stack);
        std::thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(|| marker.work(|| ()).unwrap());
            }
        });
        assert!(job.pool.is_done());
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(std::sync::atomic::Ordering::Relaxed);
        let (blocks, rounds) = (count(&job.counters.blocks), count(&job.counters.rounds));
        (marks, blocks, rounds)
    }

    pub(crate) fn mark_alone(&self) -> (Marks, u64) {
        let (marks, blocks, rounds) = self.mark(1, STACK);
        assert_eq!(rounds, 0, "the stack was too small");
        (marks, blocks)
    }
}

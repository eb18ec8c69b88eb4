//! Scenarios that every allocator of this kind has to pass, on a heap file.
#![allow(unsafe_code)]

mod support;

use allocator_api2::alloc::Allocator;
use allocator_api2::vec::Vec as SalVector;
use sal::collections::{SalHashMap, SalString, SalVec};
use sal::{HeapOptions, OpenError, Root, SalAlloc};
use std::alloc::Layout;
use std::ptr::NonNull;
use std::sync::mpsc;
use support::heaps::{each_kind, open};
use support::{Ends, Random, all_are, fresh_path, seed};

/// A block that knows what it holds.
struct Tagged {
    block: NonNull<u8>,
    layout: Layout,
    tag: u8,
    heap: SalAlloc,
}

// SAFETY: the block is the value's own.
unsafe impl Send for Tagged {}

impl Tagged {
    fn take(heap: SalAlloc, size: usize, align: usize, tag: u8) -> Self {
        let layout = Layout::from_size_align(size, align).unwrap();
        let block = heap.allocate(layout).unwrap();
        assert!(block.len() >= size && block.cast::<u8>().addr().get() % align == 0);
        // SAFETY: a new block of that size, all of which may be used.
        unsafe { block.cast::<u8>().write_bytes(tag, block.len()) };
        Self { block: block.cast(), layout, tag, heap }
    }

    fn resize(&mut self, size: usize) {
        let new = Layout::from_size_align(size, self.layout.align()).unwrap();
        // SAFETY: our block and its layout.
        unsafe {
            self.block = if size >= self.layout.size() {
                self.heap.grow(self.block, self.layout, new)
            } else {
                self.heap.shrink(self.block, self.layout, new)
            }
            .unwrap()
            .cast();
            let kept = size.min(self.layout.size());
            assert!(all_are(std::slice::from_raw_parts(self.block.as_ptr(), kept), self.tag));
            self.block.write_bytes(self.tag, size);
        }
        self.layout = new;
    }

    fn check(&self) {
        // SAFETY: our block.
        let bytes = unsafe { std::slice::from_raw_parts(self.block.as_ptr(), self.layout.size()) };
        assert!(all_are(bytes, self.tag), "{:?} at {:?}", self.layout, self.block);
    }
}

impl Drop for Tagged {
    fn drop(&mut self) {
        self.check();
        // SAFETY: our block and its layout, freed once.
        unsafe { self.heap.deallocate(self.block, self.layout) };
    }
}

fn churn(heap: SalAlloc, seed: u64, rounds: usize, inbox: &mpsc::Receiver<Tagged>, outbox: &mpsc::Sender<Tagged>) {
    let mut random = Random(seed);
    let mut blocks: Vec<Tagged> = Vec::new();
    for _ in 0..rounds {
        match random.below(10) {
            0..=4 => {
                let size = match random.below(25) {
                    0 => 1 + random.below(3 << 20),
                    1..=5 => 1 + random.below(50_000),
                    _ => 1 + random.below(700),
                };
                let align = if random.below(20) == 0 { 1 << random.below(17) } else { 1 << random.below(5) };
                blocks.push(Tagged::take(heap, size, align, random.below(256) as u8));
            }
            5 if !blocks.is_empty() => {
                let at = random.below(blocks.len());
                let size = 1 + random.below(blocks[at].layout.size() * 2 + 100);
                blocks[at].resize(size);
            }
            6 if !blocks.is_empty() => {
                let _ = outbox.send(blocks.swap_remove(random.below(blocks.len())));
            }
            _ if !blocks.is_empty() => drop(blocks.swap_remove(random.below(blocks.len()))),
            _ => {}
        }
        if let Ok(block) = inbox.try_recv() {
            drop(block);
        }
        while blocks.len() > 400 {
            blocks.swap_remove(random.below(blocks.len()));
        }
    }
}

#[test]
fn tagged_churn_from_one_to_eight_threads_corrupts_nothing_and_leaves_nothing() {
    let seed = seed(0x7A66ED);
    println!("seed {seed}");
    let (_directory, path) = fresh_path();
    let heap = open(&path);
    for threads in [1, 2, 4, 8] {
        let (outboxes, inboxes): (Vec<_>, Vec<_>) = (0..threads).map(|_| mpsc::channel()).unzip();
        std::thread::scope(|scope| {
            let mut ends = Ends::default();
            for (thread, inbox) in inboxes.into_iter().enumerate() {
                let outbox = outboxes[(thread + 1) % threads].clone();
                let handle = heap.alloc();
                ends.of(scope.spawn(move || churn(handle, seed + thread as u64, 16_000 / threads, &inbox, &outbox)));
            }
            drop(outboxes);
        });
        assert_eq!(heap.stats().live_bytes, 0, "{threads} threads: {}", heap.stats());
    }
    heap.close().unwrap();
}

#[test]
fn batches_freed_in_reverse_order_keep_the_file_within_bounds() {
    let (_directory, path) = fresh_path();
    let heap = open(&path);
    let mut ends = Vec::new();
    for _ in 0..15 {
        let mut batch: Vec<_> = (0..500).map(|at| Tagged::take(heap.alloc(), 200 + at * 131, 8, at as u8)).collect();
        ends.push(batch.iter().map(|block| block.block.addr().get() + block.layout.size()).max().unwrap());
        while let Some(block) = batch.pop() {
            drop(block);
        }
    }
    let most = |batches: &[usize]| batches.iter().copied().max().unwrap();
    assert!(most(&ends[10..]) <= most(&ends[..5]), "{ends:x?}");
    assert_eq!(heap.stats().live_bytes, 0);
    heap.close().unwrap();
}

#[test]
fn neighbours_above_16_mib_touch_nobody_when_they_come_grow_and_go() {
    let (_directory, path) = fresh_path();
    let heap = open(&path);
    let mut blocks: Vec<_> =
        (0..5).map(|tag| Tagged::take(heap.alloc(), (16 << 20) + 4096 * usize::from(tag) + 1, 8, tag)).collect();
    drop(blocks.remove(2));
    blocks.push(Tagged::take(heap.alloc(), 17 << 20, 4 << 20, 77));
    blocks[1].resize(24 << 20);
    blocks[0].resize(3 << 20);
    blocks.push(Tagged::take(heap.alloc(), 12 << 20, 8, 78));
    for block in &blocks {
        block.check();
    }
    drop(blocks);
    assert_eq!(heap.stats().live_bytes, 0);
    heap.close().unwrap();
}

#[test]
fn alignments_from_1_byte_to_4_mib_and_odd_sizes_are_honoured_by_each_kind_of_heap() {
    let directory = tempfile::tempdir().unwrap();
    for (kind, heap, _) in each_kind(&HeapOptions::new().capacity(8 << 30), directory.path()) {
        let mut blocks = Vec::new();
        for align in (0..=22).map(|power| 1_usize << power) {
            for size in [1, 3, 15, 17, 100, 333, 1000, 4097, 5000, 33_333, 70_001, 262_145, 300_001, (2 << 20) + 1] {
                let mut block = Tagged::take(heap.alloc(), size, align, (blocks.len() % 251) as u8);
                if blocks.len() % 4 == 0 {
                    block.resize(size * 3 / 2 + 1);
                    block.resize(size);
                }
                blocks.push(block);
            }
            // What is larger than the heap's segments are aligned to cannot be had.
            assert!(heap.alloc().allocate(Layout::from_size_align(align, 8 << 20).unwrap()).is_err(), "{kind}");
            if blocks.len() > 60 {
                blocks.drain(..30);
            }
        }
        drop(blocks);
        assert_eq!(heap.stats().live_bytes, 0, "{kind}");
        assert!(heap.verify().is_good(), "{kind}");
    }
}

#[test]
fn zero_sizes_are_answered_without_a_block() {
    let (_directory, path) = fresh_path();
    let heap = open(&path);
    let handle = heap.alloc();
    for align in [1, 8, 4096, 1 << 22, 1 << 30] {
        let layout = Layout::from_size_align(0, align).unwrap();
        for block in [handle.allocate(layout), handle.allocate_zeroed(layout)] {
            let block = block.unwrap();
            assert!(block.is_empty() && block.cast::<u8>().addr().get() % align == 0);
            // SAFETY: given for this layout.
            unsafe { handle.deallocate(block.cast(), layout) };
        }
    }
    let empty = Layout::from_size_align(0, 8).unwrap();
    let some = Layout::from_size_align(100, 8).unwrap();
    // SAFETY: blocks are passed on with the layouts that they have at the moment.
    unsafe {
        let block = handle.grow_zeroed(handle.allocate(empty).unwrap().cast(), empty, some).unwrap();
        assert!((0..100).all(|at| block.cast::<u8>().add(at).read() == 0));
        let block = handle.shrink(block.cast(), some, empty).unwrap();
        assert_eq!(block.len(), 0);
    }
    assert_eq!(heap.stats().live_bytes, 0);
    let mut units: SalVector<(), SalAlloc> = SalVector::new_in(handle);
    units.resize(1_000_000, ());
    assert_eq!(units.len(), 1_000_000);
    heap.close().unwrap();
}

#[test]
fn overflowing_and_absurd_layouts_are_errors() {
    let (_directory, path) = fresh_path();
    let heap = open(&path);
    let handle = heap.alloc();
    for (size, align) in [
        (isize::MAX as usize, 1),
        (isize::MAX as usize - 4095, 4096),
        (1 << 62, 8),
        ((64 << 30) + 1, 8),
        (1, 1 << 40),
        (8 << 20, 8 << 20),
        ((1 << 36) + 1, 1 << 22),
    ] {
        let layout = Layout::from_size_align(size, align).unwrap();
        assert!(handle.allocate(layout).is_err(), "{layout:?}");
        assert!(handle.allocate_zeroed(layout).is_err(), "{layout:?}");
    }
    let mut words: SalVector<u64, SalAlloc> = SalVector::new_in(handle);
    words.push(1);
    assert!(words.try_reserve(usize::MAX / 8).is_err() && words.try_reserve(usize::MAX).is_err());
    assert!(words.try_reserve(1 << 50).is_err());
    assert_eq!(words[..], [1]);
    heap.close().unwrap();
}

#[test]
fn a_capacity_of_zero_is_refused_and_one_below_a_unit_gives_nothing() {
    let (_directory, path) = fresh_path();
    assert!(matches!(HeapOptions::new().capacity(0).volatile(), Err(OpenError::ZeroCapacity)));
    // SAFETY: only these tests write to the file.
    let heap = unsafe { HeapOptions::new().capacity(1).create(&path) }.unwrap();
    assert_eq!(heap.capacity(), 0);
    assert!(heap.alloc().allocate(Layout::new::<u8>()).is_err());
    let root = heap.write().unwrap().set_root(Root::new("x"), 1_u8);
    assert!(matches!(root, Err(sal::RootError::OutOfMemory { .. })));
    heap.close().unwrap();
}

#[test]
fn a_session_shared_by_threads_fills_roots_in_the_right_heap() {
    let (_directory, path) = fresh_path();
    let heap = open(&path);
    let tx = heap.write().unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let tx = &tx;
            scope.spawn(move || {
                let _attached = tx.attach();
                let words = tx
                    .root_or_default(Root::<SalHashMap<SalString, SalVec<u64>>>::named(format!("words {thread}")))
                    .unwrap();
                for word in 0..500 {
                    let key = SalString::from(format!("a word that needs a block: {word}").as_str());
                    words.entry(key).or_default().extend(0..word % 40);
                }
            });
        }
    });
    // Debug builds look for blocks of other heaps here.
    tx.sync().unwrap();
    let session = heap.read().unwrap();
    for root in session.roots().unwrap() {
        let words = session.root(Root::<SalHashMap<SalString, SalVec<u64>>>::id(root.id)).unwrap();
        assert_eq!(words.len(), 500);
    }
    drop(session);
    heap.close().unwrap();
}

//! Threads by the hundred on one heap, of each kind: alive at once, one after the other, passing blocks on, and freeing while they
//! end.
#![allow(unsafe_code)]

mod support;

use allocator_api2::alloc::Allocator;
use sal::{Heap, HeapOptions, SalAlloc};
use std::alloc::Layout;
use std::cell::RefCell;
use std::ptr::NonNull;
use std::sync::{Barrier, Mutex, mpsc};
use std::thread;
use support::heaps::each_kind;

/// A block that says at both ends whose it is.
struct Tagged {
    block: NonNull<u8>,
    layout: Layout,
    heap: SalAlloc,
    tag: u64,
}

// SAFETY: it has its block alone.
unsafe impl Send for Tagged {}

impl Tagged {
    /// Of at least 16 bytes.
    fn new(heap: SalAlloc, size: usize, tag: u64) -> Self {
        let layout = Layout::from_size_align(size, 8).unwrap();
        let block: NonNull<u8> = heap.allocate(layout).unwrap().cast();
        let tagged = Self { block, layout, heap, tag };
        for end in tagged.ends() {
            // SAFETY: within the block.
            unsafe { end.write_unaligned(tag) };
        }
        tagged
    }

    fn ends(&self) -> [*mut u64; 2] {
        let last = self.layout.size() - 8;
        [0, last].map(|at| self.block.as_ptr().wrapping_add(at).cast())
    }
}

impl Drop for Tagged {
    fn drop(&mut self) {
        for end in self.ends() {
            // SAFETY: written when the block was taken.
            assert_eq!(unsafe { end.read_unaligned() }, self.tag, "{:?}", self.layout);
        }
        // SAFETY: allocated with that layout, freed once.
        unsafe { self.heap.deallocate(self.block, self.layout) };
    }
}

fn is_empty(heap: &Heap) -> bool {
    let stats = heap.stats();
    (stats.live_bytes, stats.large_objects) == (0, 0) && heap.verify().is_good()
}

fn with_little_stack() -> thread::Builder {
    thread::Builder::new().stack_size(128 << 10)
}

#[test]
fn fifty_producers_and_fifty_freers_exchange_100_000_tagged_blocks_each() {
    const BATCH: u64 = 100;
    let directory = tempfile::tempdir().unwrap();
    for (kind, heap, _) in each_kind(&HeapOptions::new().capacity(4 << 30), directory.path()) {
        let handle = heap.alloc();
        thread::scope(|scope| {
            let mut ends = Vec::new();
            for pair in 0..50_u64 {
                let (sender, receiver) = mpsc::sync_channel::<Vec<Tagged>>(4);
                let producer = move || {
                    for batch in 0..100_000 / BATCH {
                        let tags = (batch * BATCH..).map(|number| pair << 32 | number);
                        let sized = tags.map(|tag| Tagged::new(handle, 16 + tag as usize * 13 % 300, tag));
                        sender.send(sized.take(BATCH as usize).collect()).unwrap();
                    }
                };
                ends.push(with_little_stack().spawn_scoped(scope, producer).unwrap());
                let freer = move || {
                    let mut next = pair << 32;
                    for block in receiver.into_iter().flatten() {
                        assert_eq!(block.tag, next);
                        next += 1;
                    }
                    assert_eq!(next, pair << 32 | 100_000);
                };
                ends.push(with_little_stack().spawn_scoped(scope, freer).unwrap());
            }
            ends.into_iter().for_each(|end| end.join().unwrap());
        });
        assert!(is_empty(&heap), "{kind}: {}", heap.stats());
    }
}

#[test]
fn five_hundred_threads_at_once_free_what_their_neighbours_took() {
    const THREADS: usize = 500;
    let directory = tempfile::tempdir().unwrap();
    for (kind, heap, _) in each_kind(&HeapOptions::new().capacity(4 << 30), directory.path()) {
        let handle = heap.alloc();
        let (all, given) = (Barrier::new(THREADS), [const { Mutex::new(Vec::new()) }; THREADS]);
        thread::scope(|scope| {
            let work = |number: usize| {
                let (all, given) = (&all, &given);
                move || {
                    let sizes = (1..40).map(|size| size * 50).chain([300_000]);
                    *given[number].lock().unwrap() =
                        sizes.map(|size| Tagged::new(handle, size, (number * size) as u64)).collect::<Vec<_>>();
                    all.wait();
                    given[(number + 1) % THREADS].lock().unwrap().clear();
                    Tagged::new(handle, 64, number as u64)
                }
            };
            let threads: Vec<_> =
                (0..THREADS).map(|number| with_little_stack().spawn_scoped(scope, work(number)).unwrap()).collect();
            threads.into_iter().for_each(|thread| drop(thread.join().unwrap()));
        });
        assert!(heap.stats().threads as usize >= THREADS, "{kind}");
        assert!(is_empty(&heap), "{kind}: {}", heap.stats());
    }
}

#[test]
fn a_thousand_threads_one_after_the_other_use_what_the_first_ones_used() {
    let directory = tempfile::tempdir().unwrap();
    for (kind, heap, _) in each_kind(&HeapOptions::new().capacity(4 << 30), directory.path()) {
        let handle = heap.alloc();
        let mut used = Vec::new();
        for round in 0..1000_usize {
            let one = move || {
                let sizes = (1..30).map(|size| size * 100).chain([400_000, 1 << 20]);
                let blocks: Vec<_> = sizes.map(|size| Tagged::new(handle, size, (round + size) as u64)).collect();
                // Half of them outlive it.
                blocks
                    .into_iter()
                    .enumerate()
                    .filter_map(|(at, block)| (at % 2 == 0).then_some(block))
                    .collect::<Vec<_>>()
            };
            let left = with_little_stack().spawn(one).unwrap().join().unwrap();
            drop(left);
            used.push(heap.stats().used);
        }
        assert!(heap.stats().threads <= 2, "{kind}");
        let most = |rounds: &[u64]| rounds.iter().copied().max().unwrap();
        // Blocks that others kept at hand settle where they were freed.
        let (first, last) = (most(&used[..500]), most(&used[900..]));
        assert!(last <= first + first / 8, "{kind}: {first}, then {last}");
        assert!(is_empty(&heap), "{kind}: {}", heap.stats());
    }
}

thread_local! {
    static EARLY: RefCell<Vec<Tagged>> = const { RefCell::new(Vec::new()) };
    static LATE: Late = const { Late(RefCell::new(Vec::new())) };
}

/// Allocates and frees while other destructors of its thread may have run.
struct Late(RefCell<Vec<Tagged>>);

impl Drop for Late {
    fn drop(&mut self) {
        let blocks = self.0.get_mut();
        let Some(heap) = blocks.first().map(|first| first.heap) else { return };
        for size in [24, 5000, 600_000] {
            blocks.push(Tagged::new(heap, size, size as u64));
        }
        blocks.remove(0);
    }
}

#[test]
fn destructors_of_thread_locals_may_free_and_allocate_small_and_large() {
    let directory = tempfile::tempdir().unwrap();
    let options = HeapOptions::new().capacity(4 << 30);
    for (kind, heap, _) in each_kind(&options, directory.path()) {
        for handle in [heap.alloc(), SalAlloc::new(), SalAlloc::file_backed()] {
            for round in 0..50 {
                // Which of them is dropped first is for the order of their first uses.
                let one = move || {
                    let sizes = [16, 700, 40_000, 300_000, 3 << 20];
                    let take = |size| Tagged::new(handle, size, (round + size) as u64);
                    if round % 2 == 0 {
                        LATE.with(|late| late.0.borrow_mut().extend(sizes.map(take)));
                    }
                    EARLY.with_borrow_mut(|early| early.extend(sizes.map(take)));
                    LATE.with(|late| late.0.borrow_mut().extend(sizes.map(take)));
                };
                with_little_stack().spawn(one).unwrap().join().unwrap();
            }
        }
        assert!(is_empty(&heap), "{kind}: {}", heap.stats());
    }
}

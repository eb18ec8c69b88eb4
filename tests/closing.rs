//! Closing: what was in the heap stays readable, nothing goes in or out any more, and the file is whole.
#![cfg_attr(feature = "nightly", feature(allocator_api))]
#![allow(unsafe_code)]

mod support;

use allocator_api2::alloc::Allocator;
use allocator_api2::boxed::Box as SalBox;
use allocator_api2::vec::Vec as SalVector;
use sal::collections::SalVec;
use sal::{CloseError, Heap, HeapOptions, Root, SalAlloc, SalRoots, SessionError};
use std::alloc::Layout;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use support::bytes::{self, header};
use support::heaps::open;
use support::process::{self, say};
use support::{Random, SetAtEnd, all_are, fresh_path, seed};

type Numbers = SalVector<u64, SalAlloc>;
const NUMBERS: Root<Numbers> = Root::new("numbers");

fn is_clean(path: &Path) -> bool {
    bytes::half_word(&bytes::newest(path), header::STATE) == 1
}

fn numbers(heap: SalAlloc, len: u64, first: u64) -> Numbers {
    let mut numbers = SalVector::new_in(heap);
    numbers.extend(first..first + len);
    numbers
}

fn holds(numbers: &[u64], first: u64) -> bool {
    numbers.iter().zip(first..).all(|(&number, expected)| number == expected)
}

/// A heap file with this and that in it, and references of every kind that outlive the heap.
struct Kept {
    small: Numbers,
    large: Numbers,
    boxed: SalBox<[u64; 100], SalAlloc>,
    leaked: &'static mut [u64],
    handle: SalAlloc,
}

impl Kept {
    fn fill(heap: &Heap) -> Self {
        let handle = heap.alloc();
        Self {
            small: numbers(handle, 50, 1),
            large: numbers(handle, 700_000, 2),
            boxed: SalBox::new_in([3; 100], handle),
            leaked: numbers(handle, 300_000, 4).leak(),
            handle,
        }
    }

    fn check(&self) {
        assert!(self.small.len() == 50 && holds(&self.small, 1));
        assert!(self.large.len() == 700_000 && holds(&self.large, 2));
        assert!(self.boxed.iter().all(|&number| number == 3));
        assert!(holds(self.leaked, 4));
    }

    /// Nothing can be had, changed in size or given back, and trying does no harm.
    fn check_retired(mut self) {
        self.check();
        for size in [1, 100, 40_000, 3 << 20] {
            assert!(self.handle.allocate(Layout::from_size_align(size, 8).unwrap()).is_err());
            assert!(self.handle.allocate_zeroed(Layout::from_size_align(size, 8).unwrap()).is_err());
        }
        assert!(self.small.try_reserve(1000).is_err() && self.large.try_reserve(10_000_000).is_err());
        assert!(SalBox::try_new_in(1, self.handle).is_err());
        self.check();
        let (boxed, large) = (&raw const *self.boxed, self.large.as_ptr());
        let Self { small, large: last, boxed: also, leaked, .. } = self;
        drop((small, last, also));
        assert!(holds(leaked, 4));
        // SAFETY: closing never unmaps, and nothing was freed in truth.
        unsafe {
            assert_eq!(*boxed, [3; 100]);
            assert_eq!((*large, *large.add(699_999)), (2, 700_001));
        }
    }
}

#[test]
fn what_outlives_a_closed_heap_stays_readable_and_nothing_more_can_be_had() {
    let (_directory, path) = fresh_path();
    let heap = open(&path);
    let kept = Kept::fill(&heap);
    heap.close().unwrap();
    assert!(is_clean(&path));
    kept.check_retired();

    let (_directory, path) = fresh_path();
    let heap = open(&path);
    let kept = Kept::fill(&heap);
    drop(heap);
    assert!(is_clean(&path));
    std::thread::spawn(move || kept.check_retired()).join().unwrap();

    let heap = HeapOptions::new().volatile().unwrap();
    let kept = Kept::fill(&heap);
    heap.close().unwrap();
    kept.check_retired();
}

#[test]
fn what_stays_is_not_touched_by_whoever_opens_the_file_next() {
    let name = "what_stays_is_not_touched_by_whoever_opens_the_file_next";
    if let Some((role, path)) = process::role() {
        let heap = open(&path);
        let tx = heap.write().unwrap();
        if role == "change" {
            for number in tx.root_mut(NUMBERS).unwrap() {
                *number = u64::MAX;
            }
            let _filler = numbers(heap.alloc(), 4_000_000, 5).leak();
        } else {
            drop(tx.take_root(NUMBERS).unwrap());
        }
        drop(tx);
        if role == "free" {
            heap.purge();
        }
        return heap.close().unwrap();
    }
    let (_directory, path) = fresh_path();
    let heap = open(&path);
    let root = numbers(heap.alloc(), 2_000_000, 9);
    let (start, len) = (root.as_ptr(), root.len());
    heap.write().unwrap().set_root(NUMBERS, root).unwrap();
    let kept = Kept::fill(&heap);
    heap.close().unwrap();
    // SAFETY: closing never unmaps; the owner of the block is in the file, and nobody here changes it.
    let old = unsafe { std::slice::from_raw_parts(start, len) };
    for role in ["change", "free"] {
        process::run(name, role, &path);
        kept.check();
        assert!(holds(old, 9), "after {role}");
    }
    kept.check_retired();
}

#[test]
fn a_shorter_file_does_not_take_the_copies_of_an_earlier_user_with_it() {
    let name = "a_shorter_file_does_not_take_the_copies_of_an_earlier_user_with_it";
    if let Some((_, path)) = process::role() {
        let heap = open(&path);
        drop(heap.write().unwrap().take_root(NUMBERS).unwrap());
        return heap.close().unwrap();
    }
    let (_directory, path) = fresh_path();
    let heap = open(&path);
    let root = numbers(heap.alloc(), 4_000_000, 9);
    let (start, len) = (root.as_ptr(), root.len());
    heap.write().unwrap().set_root(NUMBERS, root).unwrap();
    heap.close().unwrap();
    let before = (std::fs::metadata(&path).unwrap().len(), bytes::disk(&path));
    process::run(name, "free", &path);
    assert!(bytes::disk(&path) + (25 << 20) < before.1, "the space is given back all the same");
    // SAFETY: closing never unmaps; the owner of the block was in the file.
    assert!(holds(unsafe { std::slice::from_raw_parts(start, len) }, 9));

    // Without an earlier user the file itself becomes shorter.
    let (_directory, other) = fresh_path();
    let heap = open(&other);
    heap.write().unwrap().set_root(NUMBERS, numbers(heap.alloc(), 4_000_000, 9)).unwrap();
    // SAFETY: nothing of it is used again.
    unsafe { heap.close_and_unmap() }.unwrap();
    process::run(name, "free", &other);
    assert!(std::fs::metadata(&other).unwrap().len() + (25 << 20) < before.0);
}

#[test]
fn threads_that_write_to_their_memory_go_on_while_the_heap_is_closed() {
    let (_directory, path) = fresh_path();
    let heap = open(&path);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let stops = SetAtEnd(&stop);
        let writers: Vec<_> = (0..2_u64)
            .map(|writer| {
                let mut words = numbers(heap.alloc(), 60_000, 0);
                let stop = &stop;
                scope.spawn(move || {
                    let mut round = 1;
                    while !stop.load(Ordering::Relaxed) || round < 20 {
                        for (at, word) in words.iter_mut().enumerate() {
                            assert!(round == 1 || *word == (round - 1) << 32 | at as u64 | writer << 60);
                            *word = round << 32 | at as u64 | writer << 60;
                        }
                        round += 1;
                    }
                })
            })
            .collect();
        std::thread::yield_now();
        heap.close().unwrap();
        drop(stops);
        for writer in writers {
            writer.join().unwrap();
        }
    });
    assert!(is_clean(&path));
}

/// What the threads of one round of the stress below have, block by block.
fn churn(heap: SalAlloc, mut random: Random, refused: &AtomicUsize) {
    let mut blocks: Vec<(NonNull<u8>, Layout, u8)> = Vec::new();
    let mut failures = 0;
    while failures < 20 {
        if blocks.len() < 30 || random.below(2) == 0 {
            let size = match random.below(12) {
                0 => 1 + random.below(600_000),
                1..=3 => 1 + random.below(30_000),
                _ => 1 + random.below(500),
            };
            let layout = Layout::from_size_align(size, 1 << random.below(7)).unwrap();
            match heap.allocate(layout) {
                Ok(block) => {
                    let tag = random.below(256) as u8;
                    // SAFETY: the block is new and as large as asked for.
                    unsafe { block.cast::<u8>().write_bytes(tag, size) };
                    blocks.push((block.cast(), layout, tag));
                }
                Err(_) => failures += 1,
            }
        } else {
            let at = random.below(blocks.len());
            let (block, layout, tag) = blocks.swap_remove(at);
            // SAFETY: our block, freed once.
            unsafe {
                let bytes = std::slice::from_raw_parts(block.as_ptr(), layout.size());
                assert!(all_are(bytes, tag));
                heap.deallocate(block, layout);
            }
        }
    }
    refused.fetch_add(1, Ordering::Relaxed);
    for (block, layout, tag) in blocks {
        // SAFETY: as above; the heap is closed, and its memory stays.
        unsafe {
            assert!(all_are(std::slice::from_raw_parts(block.as_ptr(), layout.size()), tag));
            heap.deallocate(block, layout);
        }
    }
}

const ROUNDS: u64 = 50;

#[test]
fn threads_that_allocate_while_another_closes_the_heap_do_no_harm() {
    let name = "threads_that_allocate_while_another_closes_the_heap_do_no_harm";
    if let Some((_, directory)) = process::role() {
        for round in 0..ROUNDS {
            // All of these have windows of their own, so one process can look at one after the other.
            let heap = open(&directory.join(format!("{round}.sal")));
            let tx = heap.write().unwrap();
            assert!(holds(tx.root(NUMBERS).unwrap(), round));
            let mut more = Vec::new();
            for size in [16, 200, 3000, 30_000, 500_000] {
                // In the session's heap.
                more.extend((0..40).map(|at| SalVec::from(vec![at; size])));
            }
            assert!(more.iter().enumerate().all(|(at, block)| all_are(block, at as u8 % 40)));
            assert!(holds(tx.root(NUMBERS).unwrap(), round), "blocks of round {round} were handed out twice");
            drop(more);
            drop(tx);
            heap.close().unwrap();
        }
        return say("all good");
    }
    let seed = seed(0xC105E);
    println!("seed {seed}");
    let directory = tempfile::tempdir().unwrap();
    for round in 0..ROUNDS {
        let path = directory.path().join(format!("{round}.sal"));
        let heap = open(&path);
        heap.write().unwrap().set_root(NUMBERS, numbers(heap.alloc(), 5000, round)).unwrap();
        let refused = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for thread in 0..3 {
                let (handle, refused) = (heap.alloc(), &refused);
                scope.spawn(move || churn(handle, Random(seed ^ round << 8 ^ thread), refused));
            }
            std::thread::sleep(std::time::Duration::from_micros(round * 150));
            heap.close().unwrap();
        });
        assert_eq!(refused.into_inner(), 3);
        assert!(is_clean(&path), "round {round}");
    }
    process::run(name, "look", directory.path());
}

#[test]
fn the_first_block_that_is_ever_taken_stays_readable_though_the_heap_is_being_closed() {
    for round in 0..40 {
        let (_directory, path) = fresh_path();
        let heap = open(&path);
        let handle = heap.alloc();
        let together = std::sync::Barrier::new(2);
        std::thread::scope(|scope| {
            let taker = scope.spawn(|| {
                together.wait();
                handle.allocate(Layout::new::<[u64; 8]>()).map(|block| {
                    let block: NonNull<u8> = block.cast();
                    // SAFETY: the block is new and as large as that.
                    unsafe { block.write_bytes(7, 64) };
                    block.as_ptr().expose_provenance()
                })
            });
            together.wait();
            (0..round * 100).for_each(|_| std::hint::spin_loop());
            heap.close().unwrap();
            if let Ok(address) = taker.join().unwrap() {
                let block: *const u8 = std::ptr::with_exposed_provenance(address);
                // SAFETY: the block is ours; the heap is closed, and its memory stays.
                assert_eq!(unsafe { block.read_volatile() }, 7, "round {round}");
            }
        });
    }
}

#[test]
fn a_close_beside_a_live_session_says_so_and_happens_when_the_session_ends() {
    let name = "a_close_beside_a_live_session_says_so_and_happens_when_the_session_ends";
    if let Some((_, path)) = process::role() {
        let heap = open(&path);
        assert!(holds(heap.read().unwrap().root(NUMBERS).unwrap(), 77));
        return heap.close().unwrap();
    }
    let (_directory, path) = fresh_path();
    let heap = open(&path);
    let handle = heap.alloc();
    let (begun, has_begun) = mpsc::channel();
    let (end, may_end) = mpsc::channel::<()>();
    let session = std::thread::spawn(move || {
        handle.with_session(|tx| {
            begun.send(()).unwrap();
            may_end.recv().unwrap();
            tx.set_root(NUMBERS, numbers(handle, 1000, 77)).map(drop)
        })
    });
    has_begun.recv().unwrap();
    assert!(matches!(heap.close(), Err(CloseError::SessionsOpen { count: 1 })));
    // Nobody gets in any more, or the end would never come.
    let late = handle.with_session(|_| Ok(()));
    assert_eq!(late, Err(sal::RootError::Session(SessionError::Closed)));
    end.send(()).unwrap();
    session.join().unwrap().unwrap();
    assert!(is_clean(&path));
    assert!(handle.allocate(Layout::new::<u64>()).is_err());
    process::run(name, "look", &path);
}

#[test]
fn a_heap_that_is_closed_within_a_session_of_the_same_thread_closes_behind_it() {
    let (_directory, path) = fresh_path();
    let heap = open(&path);
    let handle = heap.alloc();
    handle
        .with_session(|tx| {
            assert!(matches!(heap.close(), Err(CloseError::SessionsOpen { count: 1 })));
            tx.set_root(Root::new("late"), 5_u64).map(drop)
        })
        .unwrap();
    assert!(is_clean(&path));
    assert_eq!(handle.roots(), Err(sal::RootError::Session(SessionError::Closed)));
}

#[test]
fn a_heap_that_was_only_read_leaves_nothing_of_its_file_mapped() {
    let (_directory, path) = fresh_path();
    let heap = open(&path);
    heap.write().unwrap().set_root(NUMBERS, numbers(heap.alloc(), 1000, 1)).unwrap();
    // SAFETY: nothing of it is used again.
    unsafe { heap.close_and_unmap() }.unwrap();
    // SAFETY: only these tests write to the file.
    let heap = unsafe { HeapOptions::new().read_only(true).open(&path) }.unwrap();
    assert!(holds(heap.read().unwrap().root(NUMBERS).unwrap(), 1));
    heap.close().unwrap();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    assert!(!maps.contains(path.to_str().unwrap()), "{maps}");
}

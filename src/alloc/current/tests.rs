//! Heaps that are closed while threads take blocks from them and give them back.

use super::super::heap_core::Run;
use super::super::heap_core::testing::TestHeap;
use super::super::size_class::index_in_slab;
use super::*;
use crate::os::barrier;
use std::sync::atomic::AtomicU64;

fn next(random: &mut u64, end: u64) -> u64 {
    *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*random >> 33) % end
}

fn seed() -> u64 {
    let seed = std::env::var("SAL_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64);
    println!("SAL_TEST_SEED={seed}");
    seed
}

/// As every allocation through a handle does it; null if the heap is closed.
fn allocate(window: u32, class: usize) -> *mut u8 {
    // SAFETY: the calling thread's own, or the empty one; in the slow path, of an open heap.
    unsafe {
        match ThreadHeap::allocate_unless_closed(of_window(window), class) {
            Some(block) => block,
            None => {
                let slow =
                    |heap| ThreadHeap::allocate(heap, class).unwrap_or_else(|| ThreadHeap::allocate_slow(heap, class));
                with_window(window, slow).unwrap_or(ptr::null_mut())
            }
        }
    }
}

/// # Safety
/// The block is of the class, and the caller's.
unsafe fn free(window: u32, class: usize, block: *mut u8) {
    // SAFETY: the caller's promise.
    unsafe {
        if !ThreadHeap::free_unless_closed(of_window(window), class, block) {
            with_window(window, |heap| {
                if !ThreadHeap::free(heap, class, block) {
                    ThreadHeap::free_slow(heap, class, block);
                }
            });
        }
    }
}

fn close(heap: &TestHeap) {
    windows::withdraw(heap.window);
    heap.state.store(state::RETIRED, Ordering::SeqCst);
    heap.wait_until_idle();
    // SAFETY: the heap is closed, and nobody is inside.
    unsafe { heap.retire_all_threads() };
}

/// Whether a slab could hand the block out again.
fn is_free(heap: &Core, block: *mut u8) -> bool {
    let Some(Run::Slab { head, class }) = heap.run_of(block.addr()) else { return true };
    let index = index_in_slab(class, block.addr() - heap.address_of(head));
    // SAFETY: the heap is closed and quiet; the word is the slab's.
    let (word, state) = unsafe { (*heap.free_bits(head).add(index as usize / 64), &*heap.slab_state(head)) };
    index >= state.local.fresh || word >> (index % 64) & 1 == 1
}

/// Takes and gives blocks until the heap is closed: those that it has then.
fn churn(window: u32, mut random: u64, steps: &AtomicU64) -> Vec<*mut u8> {
    let mut blocks: Vec<(*mut u8, usize)> = Vec::new();
    loop {
        for _ in 0..next(&mut random, 40) {
            // Two classes with magazines of different sizes, of which one overflows often.
            let class = [3, 60][next(&mut random, 2) as usize];
            let block = allocate(window, class);
            if block.is_null() {
                return blocks.into_iter().map(|(block, _)| block).collect();
            }
            blocks.push((block, class));
        }
        for _ in 0..next(&mut random, 41).min(blocks.len() as u64) {
            let (block, class) = blocks.swap_remove(next(&mut random, blocks.len() as u64) as usize);
            // SAFETY: taken from this heap and class, and removed from the list.
            unsafe { free(window, class, block) };
        }
        steps.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn blocks_that_threads_have_when_their_heap_is_closed_are_in_use() {
    barrier::register();
    assert!(presence::can_take(), "the kernel has no barriers for whole processes, so that nothing would be tested");
    let mut random = seed();
    for round in 0..300 {
        let heap = TestHeap::new(64 << 20);
        let (window, steps) = (heap.window, AtomicU64::new(0));
        windows::publish(heap.0, window);
        let seeds = [next(&mut random, u64::MAX), next(&mut random, u64::MAX)];
        let until = next(&mut random, 300);
        std::thread::scope(|scope| {
            let kept = seeds.map(|seed| {
                let steps = &steps;
                scope.spawn(move || {
                    churn(window, seed, steps).into_iter().map(|block| block.expose_provenance()).collect()
                })
            });
            while steps.load(Ordering::Relaxed) < until {
                std::hint::spin_loop();
            }
            close(&heap);
            // SAFETY: closed.
            assert_eq!(unsafe { heap.check() }, Ok(()), "round {round}");
            let kept: Vec<usize> =
                kept.into_iter().flat_map(|thread| -> Vec<usize> { thread.join().unwrap() }).collect();
            for block in kept {
                assert!(!is_free(&heap, ptr::with_exposed_provenance_mut(block)), "round {round}: {block:#x} is free");
            }
        });
    }
}

#[test]
fn a_heap_without_threads_in_it_gets_every_block_back() {
    barrier::register();
    let heap = TestHeap::new(64 << 20);
    let window = heap.window;
    windows::publish(heap.0, window);
    let blocks: Vec<*mut u8> = (0..500).map(|_| allocate(window, 3)).collect();
    for block in blocks {
        // SAFETY: taken just now.
        unsafe { free(window, 3, block) };
    }
    assert!(of_window(window) != NOBODY, "the window is at hand");
    close(&heap);
    // SAFETY: closed and quiet.
    let used = unsafe { (*heap.space.get()).used_units() };
    assert_eq!(used, 0);
    assert!(allocate(window, 3).is_null() && of_window(window) == NOBODY);
}

#[test]
fn a_block_of_the_next_heap_at_the_window_does_not_end_up_in_the_last_one() {
    barrier::register();
    let first = TestHeap::new(64 << 20);
    let window = first.window;
    windows::publish(first.0, window);
    let block = allocate(window, 3);
    // SAFETY: taken just now.
    unsafe { free(window, 3, block) };
    let old = of_window(window);
    close(&first);
    drop(first);
    let second = TestHeap::at(Some(window), 64 << 20);
    windows::publish(second.0, window);
    let other = std::thread::spawn(move || allocate(window, 3).expose_provenance()).join().unwrap();
    assert_eq!(of_window(window), old, "the thread does not know yet");
    // SAFETY: the thread that took it gave it away.
    unsafe { free(window, 3, ptr::with_exposed_provenance_mut(other)) };
    close(&second);
    assert!(is_free(&second, ptr::with_exposed_provenance_mut(other)));
}

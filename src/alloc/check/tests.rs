//! Churn that the walk agrees with, and damage that it finds.

use super::super::heap_core::testing::TestHeap;
use super::super::size_class::Ladder;
use super::*;

/// Two thread heaps of one heap, played by one thread, and the blocks that are out.
struct Played {
    heap: TestHeap,
    threads: [*mut ThreadHeap; 2],
    blocks: Vec<(*mut u8, usize)>,
    large: Vec<*mut u8>,
    random: u64,
}

impl Played {
    fn new() -> Self {
        Self::with_ladder(Ladder::Usual)
    }

    fn with_ladder(ladder: Ladder) -> Self {
        let heap = TestHeap::with_ladder(256 << 20, ladder);
        let threads = [heap.take_thread_heap(), heap.take_thread_heap()];
        Self { heap, threads, blocks: Vec::new(), large: Vec::new(), random: 0xDECADE }
    }

    fn below(&mut self, end: usize) -> usize {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) as usize % end
    }

    fn step(&mut self) {
        let thread = self.threads[self.below(2)];
        match self.below(20) {
            0 if self.large.len() < 60 => {
                let size = (self.below(300) + 1) * 10_000;
                self.large.push(self.heap.allocate_large(size, 1, false));
            }
            1 if !self.large.is_empty() => {
                let at = self.below(self.large.len());
                self.heap.free_large(self.large.swap_remove(at).addr());
            }
            2 if !self.large.is_empty() => {
                let at = self.below(self.large.len());
                let size = (self.below(300) + 1) * 10_000;
                self.heap.resize_large(self.large[at].addr(), size);
            }
            3..=11 => {
                let size = if self.below(4) == 0 { self.below(60_000) } else { self.below(300) };
                let class = self.heap.ladder.class_of_last(size);
                // SAFETY: this thread plays both threads.
                let block = unsafe {
                    match ThreadHeap::allocate(thread, class) {
                        Some(block) => block,
                        None => ThreadHeap::allocate_slow(thread, class),
                    }
                };
                assert!(!block.is_null());
                self.blocks.push((block, class));
            }
            _ if !self.blocks.is_empty() => {
                let at = self.below(self.blocks.len());
                let (block, class) = self.blocks.swap_remove(at);
                self.free(thread, block, class);
            }
            _ => {}
        }
    }

    fn free(&self, thread: *mut ThreadHeap, block: *mut u8, class: usize) {
        // SAFETY: as above; the block is out and of that class.
        unsafe {
            if !ThreadHeap::free(thread, class, block) {
                ThreadHeap::free_slow(thread, class, block);
            }
        }
    }

    fn check(&self) -> Result<(), Broken> {
        // SAFETY: no other thread knows of the heap.
        unsafe { self.heap.check() }
    }

    /// A listed slab with free bits and without remote ones, and its class.
    fn used_slab(&self) -> (usize, usize) {
        (0..self.heap.layout.units as usize)
            .find_map(|head| match self.heap.entry(head) {
                SlabEntry::SlabHead { class } => {
                    // SAFETY: no other thread knows of the heap.
                    let state = unsafe { &*self.heap.slab_state(head) };
                    let fits = state.local.free > 1
                        && state.local.fresh < state.local.blocks
                        && state.remote_count.load(Ordering::Relaxed) == 0;
                    fits.then_some((head, class as usize))
                }
                _ => None,
            })
            .unwrap()
    }
}

#[test]
fn a_heap_agrees_with_itself_all_through_churn_and_when_its_threads_have_ended() {
    agrees_with_itself(Ladder::Usual);
}

#[test]
fn a_heap_with_the_fine_ladder_agrees_with_itself_all_the_same() {
    agrees_with_itself(Ladder::Fine);
}

fn agrees_with_itself(ladder: Ladder) {
    let mut played = Played::with_ladder(ladder);
    for round in 0..30_000 {
        played.step();
        if round % 512 == 0 {
            assert_eq!(played.check(), Ok(()), "seed 0xDECADE round {round}");
        }
    }
    // One ends with blocks of both out; the other frees them and takes over what is left.
    // SAFETY: this thread plays both threads.
    unsafe { ThreadHeap::retire(played.threads[0]) };
    assert_eq!(played.check(), Ok(()));
    for (block, class) in std::mem::take(&mut played.blocks) {
        played.free(played.threads[1], block, class);
    }
    for block in std::mem::take(&mut played.large) {
        played.heap.free_large(block.addr());
    }
    assert_eq!(played.check(), Ok(()));
    // SAFETY: nobody else is there.
    unsafe { played.heap.retire_all_threads() };
    assert_eq!(played.check(), Ok(()));
    // SAFETY: as above.
    let used = unsafe { (*played.heap.space.get()).used_units() };
    assert_eq!(used, 0, "all blocks are back, but units are not");
}

#[test]
fn every_kind_of_damage_is_found() {
    let mut played = Played::new();
    for _ in 0..5_000 {
        played.step();
    }
    assert_eq!(played.check(), Ok(()));
    let (head, class) = played.used_slab();
    let heap = &played.heap;
    let found = |change: &dyn Fn(bool)| {
        change(true);
        let found = played.check();
        change(false);
        assert_eq!(played.check(), Ok(()));
        found.unwrap_err()
    };
    let state = heap.slab_state(head);
    let large = heap.unit_of(played.large[0].addr());
    let (tail, large_head) = (heap.entry(head + 1), heap.entry(large));
    // SAFETY: no other thread knows of the heap; each change is taken back.
    unsafe {
        let first_clear = (*heap.free_bits(head)).trailing_ones();
        let flip = |_| *heap.free_bits(head) ^= 1 << first_clear;
        assert_eq!(found(&flip), Broken::SlabBits { unit: head });
        let step = |word: *mut u32, up: bool| *word = if up { *word + 1 } else { *word - 1 };
        assert_eq!(found(&|on| step(&raw mut (*state).local.fresh, on)), Broken::ClassCounters { class });
        let previous = (*state).local.previous;
        let relink = |on| (*state).local.previous = if on { previous ^ 1 } else { previous };
        assert_eq!(found(&relink), Broken::List { class });
        assert_eq!(found(&|on| step(&raw mut (*state).local.is_listed, !on)), Broken::Listing { unit: head });
        let count = |on| (*state).remote_count.store(u32::from(on), Ordering::Relaxed);
        assert_eq!(found(&count), Broken::RemoteCount { unit: head });
        let cut = |on| heap.set_entry(head + 1, if on { SlabEntry::Free } else { tail });
        assert_eq!(found(&cut), Broken::Tail { unit: head + 1 });
        let map = &raw mut (*heap.space.get()).map;
        let unmark = |on| if on { (*map).give(head, 1) } else { (*map).take(head, 1) };
        assert_eq!(found(&unmark), Broken::UsedUnits);
        let empty = |on| heap.set_entry(large, if on { SlabEntry::LargeHead { len_pages: 0 } } else { large_head });
        assert_eq!(found(&empty), Broken::LargeHead { unit: large });
        let lose = |on| heap.set_entry(large, if on { SlabEntry::Free } else { large_head });
        assert_eq!(found(&lose), Broken::Lost { unit: large });
        let bytes = |_| _ = (*heap.soft()).locked.large_bytes.fetch_xor(1, Ordering::Relaxed);
        assert_eq!(found(&bytes), Broken::LargeCounters);
        let stray = |_| *heap.free_bits(large) ^= 4;
        assert_eq!(found(&stray), Broken::StrayBits { unit: large });
        let push = |on| (*heap.soft()).pending.store(if on { head as u32 + 1 } else { 0 }, Ordering::Relaxed);
        assert_eq!(found(&push), Broken::Pending);
    }
}

#[test]
fn a_closed_heap_does_not_stand_in_the_way_of_the_next_one_at_its_window() {
    use super::super::heap_core::state;
    use super::super::{current, windows};
    let first = TestHeap::new(64 << 20);
    let window = first.window;
    // SAFETY: the calling thread's own.
    let block = |heap| unsafe { ThreadHeap::allocate(heap, 3).unwrap_or_else(|| ThreadHeap::allocate_slow(heap, 3)) };
    let close = |heap: &TestHeap| {
        heap.state.store(state::RETIRED, Ordering::SeqCst);
        windows::withdraw(window);
        heap.wait_until_idle();
        // SAFETY: the heap is closed, and nobody is inside.
        unsafe { heap.retire_all_threads() };
    };
    windows::publish(first.0, window);
    assert!(current::with_window(window, block).is_some());
    close(&first);
    drop(first);
    let second = TestHeap::at(Some(window), 64 << 20);
    windows::publish(second.0, window);
    // SAFETY: the calling thread's own.
    let found = current::with_window(window, |heap| (!block(heap).is_null(), unsafe { (*heap).core }));
    assert_eq!(found, Some((true, second.0.cast_const())));
    close(&second);
    assert!(second.take_thread_heap().is_null(), "a heap that is closing takes no new threads");
    assert_eq!(current::with_window(window, |_| ()), None);
}

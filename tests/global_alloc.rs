//! SAL as the global allocator of a whole test program: threads, destructors of thread locals, every alignment.

#![allow(unsafe_code)]

use sal::SalAlloc;
use std::alloc::{GlobalAlloc, Layout};
use std::collections::BTreeMap;
use std::sync::mpsc;

mod support;
use support::all_are;

#[global_allocator]
static GLOBAL: SalAlloc = SalAlloc::new();

/// A generator with a printed seed; the same on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }
}

#[test]
fn random_churn_with_byte_tags_from_1_to_16_threads_corrupts_nothing() {
    for threads in [1, 2, 4, 16] {
        std::thread::scope(|scope| {
            for thread in 0..threads {
                scope.spawn(move || churn(0xC0FFEE + thread, 20_000 / threads as usize + 2_000));
            }
        });
    }
}

fn churn(seed: u64, rounds: usize) {
    let mut random = Random(seed);
    let mut blocks: Vec<(Vec<u8>, u8)> = Vec::new();
    for round in 0..rounds {
        if blocks.len() < 50 || random.below(100) < 51 {
            let size = match random.below(20) {
                0 => random.below(1 << 20),
                1..=4 => random.below(40_000),
                _ => random.below(600),
            };
            let tag = random.below(256) as u8;
            blocks.push((vec![tag; size], tag));
        } else {
            let at = random.below(blocks.len());
            let (block, tag) = blocks.swap_remove(at);
            assert!(all_are(&block, tag), "seed {seed:#x} round {round}");
        }
        if round % 64 == 0 && !blocks.is_empty() {
            let at = random.below(blocks.len());
            let (block, tag) = &mut blocks[at];
            let (more, tag) = (random.below(5_000), *tag);
            block.extend(std::iter::repeat_n(tag, more));
        }
    }
    for (block, tag) in blocks {
        assert!(all_are(&block, tag), "seed {seed:#x} at the end");
    }
}

#[test]
fn every_alignment_up_to_4_mib_and_odd_sizes_are_honoured() {
    let mut blocks = Vec::new();
    for align in (0..=22).map(|power| 1_usize << power) {
        for size in [1, 3, 15, 17, 100, 333, 1000, 5000, 70_001, 300_001, (4 << 20) + 1] {
            let layout = Layout::from_size_align(size, align).unwrap();
            // SAFETY: the layouts have sizes; every block is freed once, with its layout.
            unsafe {
                let block = GLOBAL.alloc(layout);
                assert!(!block.is_null() && block.addr() % align == 0, "{layout:?}");
                block.write_bytes(0xA5, size);
                let zeroed = GLOBAL.alloc_zeroed(layout);
                assert!(zeroed.addr() % align == 0);
                assert!((0..size).step_by(61).all(|at| *zeroed.add(at) == 0), "{layout:?}");
                zeroed.write_bytes(0x5A, size);
                blocks.push((block, layout));
                blocks.push((zeroed, layout));
            }
        }
    }
    for (block, layout) in blocks {
        // SAFETY: as above.
        unsafe { GLOBAL.dealloc(block, layout) };
    }
}

#[test]
fn a_larger_alignment_than_4_mib_is_refused() {
    let layout = Layout::from_size_align(8 << 20, 8 << 20).unwrap();
    // SAFETY: the layout has a size.
    assert!(unsafe { GLOBAL.alloc(layout) }.is_null());
}

#[test]
fn zeroed_memory_is_zero_also_when_it_was_used_before() {
    for size in [8, 100, 4096, 20_000, 100_000, 260_000, 300_000, 5 << 20] {
        for _ in 0..20 {
            let mut used = vec![0_u8; size];
            assert!(all_are(&used, 0), "{size}");
            used.fill(0xEE);
        }
    }
}

#[test]
fn reallocation_keeps_the_contents_through_every_path() {
    let mut random = Random(42);
    for _ in 0..200 {
        let mut grown: Vec<u32> = Vec::new();
        let steps = 1 + random.below(18);
        for step in 0..steps {
            let target = 1 << step;
            grown.extend(grown.len() as u32..target as u32 * 16);
            if random.below(4) == 0 {
                let keep = grown.len() / 2;
                grown.truncate(keep);
                grown.shrink_to_fit();
            }
            assert!(grown.iter().enumerate().all(|(at, &value)| at == value as usize));
        }
    }
}

#[test]
fn growing_past_huge_sizes_keeps_every_byte() {
    let mut words: Vec<u64> = Vec::new();
    let mut in_the_way = Vec::new();
    for word in 0..6_000_000_u64 {
        words.push(word);
        if word.is_power_of_two() {
            in_the_way.push(vec![1_u8; 600_000]);
        }
    }
    assert!(words.iter().enumerate().all(|(at, &word)| at as u64 == word));
}

#[test]
fn neighbours_above_16_mib_do_not_touch_each_other() {
    let mut blocks: Vec<Vec<u8>> = (0..6).map(|tag| vec![tag; (16 << 20) + 4096 * usize::from(tag)]).collect();
    blocks.swap_remove(2);
    blocks.push(vec![9; 17 << 20]);
    for block in &blocks {
        assert!(all_are(block, block[0]));
    }
}

#[test]
fn fifty_producers_and_fifty_freers_exchange_100_000_tagged_blocks_each() {
    std::thread::scope(|scope| {
        for pair in 0..50_u64 {
            let (sender, receiver) = mpsc::sync_channel::<Box<[u64; 11]>>(256);
            scope.spawn(move || {
                for at in 0..100_000 {
                    sender.send(Box::new([pair << 32 | at; 11])).unwrap();
                }
            });
            scope.spawn(move || {
                for at in 0..100_000 {
                    let block = receiver.recv().unwrap();
                    assert!(block.iter().all(|&word| word == pair << 32 | at));
                }
            });
        }
    });
}

#[test]
fn collections_of_the_standard_library_work() {
    let mut tree = BTreeMap::new();
    let mut random = Random(7);
    for _ in 0..20_000 {
        tree.insert(random.below(5_000), format!("{}", random.below(1_000_000)));
        if random.below(3) == 0 {
            tree.pop_first();
        }
    }
    assert!(tree.iter().all(|(key, value)| *key < 5_000 && value.parse::<u32>().is_ok()));
}

#[test]
fn zero_sizes_and_overflowing_sizes_are_answered_not_crashed_on() {
    let empty: Vec<u64> = Vec::with_capacity(0);
    assert_eq!(empty.capacity(), 0);
    assert!(Vec::<u8>::new().try_reserve_exact(isize::MAX as usize).is_err());
    assert!(Vec::<u64>::new().try_reserve(usize::MAX / 4).is_err());
}

//! Blocks that grow: contents are kept on every way that a block takes, and memory is what is used.
#![cfg_attr(feature = "nightly", feature(allocator_api))]
#![allow(unsafe_code)]

use allocator_api2::alloc::Allocator;
use sal::{SalAlloc, Tuning};
use std::alloc::{GlobalAlloc, Layout};
use std::process::Command;
use std::ptr::NonNull;
use std::sync::mpsc;
use std::sync::{Mutex, MutexGuard, PoisonError};

mod support;
use support::all_are;

#[global_allocator]
static GLOBAL: SalAlloc = SalAlloc::new();

/// What one test measures the others would change.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a test in a new process, unless this is that process.
fn was_run_alone(test: &str) -> bool {
    if std::env::var_os("IN_A_NEW_PROCESS").is_some() {
        return false;
    }
    let mut child = Command::new(std::env::current_exe().unwrap());
    let output = child.args(["--exact", test, "--test-threads", "1"]).env("IN_A_NEW_PROCESS", "1").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    true
}

/// A generator with a printed seed; the same on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }
}

/// Bytes of this process that are in memory.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<usize>().unwrap() << 10
}

const fn layout(size: usize, align: usize) -> Layout {
    match Layout::from_size_align(size, align) {
        Ok(layout) => layout,
        Err(_) => panic!("no such layout"),
    }
}

/// The byte that belongs at a place of a block.
fn tag(at: usize, of: usize) -> u8 {
    (at / 61 + of) as u8
}

/// A block whose bytes are known.
struct Tagged {
    block: *mut u8,
    layout: Layout,
    of: usize,
}

// SAFETY: it owns its block.
unsafe impl Send for Tagged {}

impl Tagged {
    fn new(size: usize, align: usize, of: usize) -> Self {
        let layout = layout(size, align);
        // SAFETY: the layout has a size.
        let block = unsafe { GLOBAL.alloc(layout) };
        assert!(!block.is_null());
        let new = Self { block, layout, of };
        new.fill(0, size);
        new
    }

    /// Every 61st byte and the last one: enough to tell whose memory it is.
    fn places(from: usize, to: usize) -> impl Iterator<Item = usize> {
        (from.next_multiple_of(61)..to).step_by(61).chain((from < to).then(|| to - 1))
    }

    fn fill(&self, from: usize, to: usize) {
        for at in Self::places(from, to) {
            // SAFETY: within the block.
            unsafe { self.block.add(at).write(tag(at, self.of)) };
        }
    }

    fn check(&self, upto: usize) {
        for at in Self::places(0, upto.saturating_sub(1)).take_while(|at| at % 61 == 0) {
            // SAFETY: within the block, and written.
            assert_eq!(unsafe { self.block.add(at).read() }, tag(at, self.of), "{at} of {:?}", self.layout);
        }
    }

    fn resize(&mut self, size: usize) {
        let old = self.layout.size();
        // SAFETY: the block has this layout; the new size is not zero.
        let block = unsafe { GLOBAL.realloc(self.block, self.layout, size) };
        assert!(!block.is_null() && block.addr() % self.layout.align() == 0);
        self.block = block;
        self.layout = layout(size, self.layout.align());
        self.check(old.min(size));
        if size > old {
            self.fill(old, size);
        }
    }
}

impl Drop for Tagged {
    fn drop(&mut self) {
        self.check(self.layout.size());
        // SAFETY: the block has this layout, and is not used again.
        unsafe { GLOBAL.dealloc(self.block, self.layout) };
    }
}

#[test]
fn contents_are_kept_from_a_byte_to_8_mebibytes_and_back() {
    let _alone = alone();
    for align in [1, 8, 16, 64, 128, 4096, 1 << 16] {
        for (factor, of) in [(20, 3), (11, 7), (15, 250)] {
            let mut block = Tagged::new(1, align, of);
            let mut sizes = vec![1];
            while sizes[sizes.len() - 1] < 8 << 20 {
                sizes.push(sizes[sizes.len() - 1] * factor / 10 + 1);
                block.resize(sizes[sizes.len() - 1]);
            }
            for &size in sizes.iter().rev() {
                block.resize(size);
            }
        }
    }
}

#[test]
fn random_sizes_up_and_down_in_four_threads_that_free_each_others_blocks_corrupt_nothing() {
    let _alone = alone();
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..4).map(|_| mpsc::channel::<Tagged>()).unzip();
    std::thread::scope(|scope| {
        for (thread, receiver) in receivers.into_iter().enumerate() {
            let next = senders[(thread + 1) % 4].clone();
            scope.spawn(move || {
                let seed = 0xF00D + thread as u64;
                println!("seed {seed:#x}");
                let mut random = Random(seed);
                let mut blocks = Vec::new();
                for round in 0..3_000 {
                    let power = 4 + random.below(17);
                    let size = 1 + random.below(1 << power);
                    if blocks.len() < 30 || random.below(3) == 0 {
                        blocks.push(Tagged::new(size, 8, round));
                    } else {
                        let at = random.below(blocks.len());
                        match random.below(4) {
                            0 => drop(blocks.swap_remove(at)),
                            // Freed here, if the other thread has ended.
                            1 => drop(next.send(blocks.swap_remove(at))),
                            _ => blocks[at].resize(size),
                        }
                    }
                    // Some of these are used on, others freed here.
                    for (turn, block) in receiver.try_iter().enumerate() {
                        if turn % 2 == 0 {
                            blocks.push(block);
                        }
                    }
                }
            });
        }
        drop(senders);
    });
}

#[test]
fn what_grow_zeroed_adds_is_zero_also_where_others_have_been() {
    let _alone = alone();
    let heap = SalAlloc::new();
    for round in 0..20_usize {
        let mut old = layout(100, 8);
        let mut block: NonNull<u8> = heap.allocate(old).unwrap().cast();
        // SAFETY: the block has 100 bytes.
        unsafe { block.write_bytes(0xEE, 100) };
        let mut filled = 100;
        while old.size() < 1 << 21 {
            let new = layout(old.size() * 2 + round * 8, 8);
            // SAFETY: the block has the old layout, which is shorter.
            let slice = unsafe { heap.grow_zeroed(block, old, new) }.unwrap();
            block = slice.cast();
            // SAFETY: all of it has been written by the caller or the allocator.
            let bytes = unsafe { std::slice::from_raw_parts(block.as_ptr(), slice.len()) };
            assert!(all_are(&bytes[..filled], 0xEE));
            assert!(all_are(&bytes[old.size()..], 0), "round {round}: {old:?} to {new:?}");
            // All that was returned may be used.
            // SAFETY: the block has so many bytes.
            unsafe { block.write_bytes(0xEE, slice.len()) };
            filled = new.size();
            old = new;
        }
        // SAFETY: the block has this layout.
        unsafe { heap.deallocate(block, old) };
    }
}

#[test]
fn a_thousand_vectors_that_stopped_at_8_kib_take_about_8_mib() {
    let _alone = alone();
    SalAlloc::new().stats().unwrap();
    let before = resident();
    let vectors: Vec<Vec<u64>> = (0..1000)
        .map(|_| {
            let mut vector = Vec::new();
            (0..1024).for_each(|number| vector.push(number));
            vector
        })
        .collect();
    let more = resident().saturating_sub(before);
    assert!(more < 13 << 20, "{more}");
    assert!(vectors.iter().all(|vector| vector.iter().copied().eq(0..1024)));
}

#[test]
fn growth_to_an_eighth_of_a_gibibyte_moves_nothing_that_is_long() {
    let _alone = alone();
    let mut vector: Vec<u64> = Vec::new();
    let (mut moved, mut at) = (0, vector.as_ptr());
    for number in 0..1 << 24 {
        vector.push(number);
        if vector.as_ptr() != at {
            moved += vector.len() * 8;
            at = vector.as_ptr();
        }
    }
    if !cfg!(feature = "checked") {
        assert!(moved < 8 << 20, "{moved}");
        assert_eq!(SalAlloc::of_address(at.addr()), Some(SalAlloc::new()));
    }
    assert!((0..1 << 24).step_by(509).all(|number| vector[number as usize] == number));
}

#[test]
fn what_freed_growers_hold_goes_before_the_heap_takes_more() {
    let _alone = alone();
    // Where the heap holds nothing else that is free.
    if was_run_alone("what_freed_growers_hold_goes_before_the_heap_takes_more") {
        return;
    }
    SalAlloc::new().stats().unwrap();
    let mut vector: Vec<u8> = Vec::new();
    while vector.len() < 100 << 20 {
        vector.extend_from_slice(&[7; 8192]);
    }
    let high = resident();
    drop(vector);
    let blocks: Vec<Vec<u8>> = (0..80_000).map(|_| vec![1; 1000]).collect();
    let now = resident();
    assert!(now < high + (30 << 20), "{now} after {high}");
    drop(blocks);
}

#[test]
fn a_long_block_that_grows_for_the_first_time_takes_no_second_copy_of_its_memory() {
    let _alone = alone();
    for round in 0..3 {
        let mut block = Tagged::new(64 << 20, 8, round);
        let behind = Tagged::new(1 << 20, 8, round);
        let before = resident();
        // SAFETY: the block has this layout.
        let moved = unsafe { GLOBAL.realloc(block.block, block.layout, 100 << 20) };
        let more = resident().saturating_sub(before);
        (block.block, block.layout) = (moved, layout(100 << 20, 8));
        block.check(64 << 20);
        block.fill(64 << 20, 100 << 20);
        assert!(cfg!(feature = "checked") || more < 16 << 20, "{more}");
        block.resize(300 << 20);
        drop(behind);
    }
}

#[test]
fn statistics_and_purges_take_growers_in() {
    let _alone = alone();
    // Where nobody else allocates.
    if was_run_alone("statistics_and_purges_take_growers_in") {
        return;
    }
    let heap = SalAlloc::new();
    let of = || heap.stats().unwrap();
    let before = of();
    let mut block = Tagged::new(100, 8, 1);
    block.resize(1 << 20);
    block.resize(3 << 20);
    let now = of();
    let grown = now.live_bytes - before.live_bytes;
    assert!((3 << 20..(3 << 20) + 65_536).contains(&grown), "{grown}");
    assert!(now.used >= now.live_bytes && now.committed >= now.used && now.large_objects > before.large_objects);
    drop(block);
    let after = of();
    assert_eq!(after.large_objects, before.large_objects);
    assert_eq!(after.large_allocations - before.large_allocations, after.large_frees - before.large_frees);
    let mut vector = Vec::<u8>::new();
    (0..24 << 20).for_each(|_| vector.push(1));
    drop(vector);
    let before = resident();
    assert!(heap.tune(&Tuning::new().purge(sal::Purge::Eager)));
    drop(Tagged::new(100, 8, 1));
    let mut vector = Vec::<u8>::new();
    (0..24 << 20).for_each(|_| vector.push(1));
    drop(vector);
    let after = resident();
    assert!(after + (20 << 20) < before, "{after} after {before}");
    assert!(heap.tune(&Tuning::new().purge(sal::Purge::Background(std::time::Duration::from_secs(10)))));
}

#[test]
fn a_limit_holds_for_blocks_that_grow_and_goes_again() {
    let _alone = alone();
    let heap = SalAlloc::new();
    let used = heap.stats().unwrap().used;
    assert!(heap.tune(&Tuning::new().max_bytes(used + (16 << 20))));
    let mut block = Tagged::new(100, 8, 1);
    block.resize(1 << 20);
    // SAFETY: the block has this layout; what is null is not used.
    assert!(unsafe { GLOBAL.realloc(block.block, block.layout, 64 << 20) }.is_null());
    block.check(1 << 20);
    assert!(heap.tune(&Tuning::new().max_bytes(u64::MAX)));
    block.resize(64 << 20);
}

#[test]
fn in_a_forked_child_blocks_grow_on_and_the_parents_stay() {
    let _alone = alone();
    let mut block = Tagged::new(100, 8, 9);
    block.resize(100_000);
    // SAFETY: the child uses only the allocator, whose locks are held over a fork, and ends.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            block.resize(10 << 20);
            let mut other = Tagged::new(100, 8, 77);
            other.resize(1 << 20);
            // SAFETY: the child's copy; whatever it stores stays there.
            unsafe { block.block.write_bytes(0, 1 << 20) };
        }));
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(if outcome.is_ok() { 7 } else { 1 }) };
    }
    block.resize(5 << 20);
    let mut status = 0;
    // SAFETY: our child, waited for once.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!(libc::WEXITSTATUS(status), 7);
    block.check(5 << 20);
}

#[test]
fn under_a_limit_on_addresses_blocks_grow_all_the_same() {
    if std::env::var_os("UNDER_A_LIMIT").is_some() {
        return;
    }
    let this = std::env::current_exe().unwrap();
    // Room for the heap's addresses or not, but not for those of growers beside them.
    // The checked build needs more for a heap of that length.
    for kibibytes in [1 << 20, 290 << 20].into_iter().take(if cfg!(feature = "checked") { 1 } else { 2 }) {
        let run = format!("ulimit -v {kibibytes}; exec \"$0\" contents_are_kept --test-threads 1");
        let output = Command::new("sh").args(["-c", &run]).arg(&this).env("UNDER_A_LIMIT", "1").output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{kibibytes}: {text}");
    }
}

/// Not of the checked build, whose blocks move when they grow and whose own tables the limit counts, too.
#[test]
#[cfg(not(feature = "checked"))]
fn what_has_grown_and_gone_leaves_room_under_a_limit_on_data() {
    if was_run_alone("what_has_grown_and_gone_leaves_room_under_a_limit_on_data") {
        return;
    }
    let limit = libc::rlimit { rlim_cur: 3 << 30, rlim_max: 3 << 30 };
    // SAFETY: sets a limit of this process.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_DATA, &raw const limit) }, 0);
    let mut bytes = Vec::new();
    while bytes.len() < 260 << 20 {
        bytes.extend_from_slice(&[1_u8; 1 << 20]);
    }
    drop(bytes);
    Vec::<u8>::new().try_reserve_exact(1200 << 20).unwrap();
}

#[test]
fn where_memory_is_locked_and_cannot_be_given_back_blocks_move_when_they_grow() {
    if was_run_alone("where_memory_is_locked_and_cannot_be_given_back_blocks_move_when_they_grow") {
        return;
    }
    assert!(SalAlloc::new().tune(&Tuning::new().purge(sal::Purge::Eager)));
    let mut first = Tagged::new(100, 8, 1);
    first.resize(128 << 10);
    let at = first.block;
    // SAFETY: the block's own pages.
    if unsafe { libc::mlock(at.cast(), 128 << 10) } != 0 {
        println!("skipped: this process may not lock memory");
        return;
    }
    drop(first);
    let mut second = Tagged::new(100, 8, 2);
    second.resize(128 << 10);
    assert!(second.block != at || cfg!(feature = "checked"), "it found the locked pages again");
    second.resize(8 << 20);
    second.check(8 << 20);
}

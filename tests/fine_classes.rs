//! Heaps with the fine ladder of block sizes do all that other heaps do, and stay what they are in their files.
#![allow(unsafe_code)]

mod support;

use allocator_api2::alloc::Allocator;
use sal::prelude::*;
use sal::{Archaeology, HeapOptions, Mode, Recovery, SalCollect, SizeClasses};
use std::alloc::Layout;
use std::collections::BTreeMap;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::mpsc::{self, Receiver, Sender};
use support::bytes::{self, header, word};
use support::heaps::{each_kind, opened, run_and_kill, unmap, wait_for_the_kill};
use support::{Ends, Random, all_are, alone, fresh_path, process, seed};

const WORDS: Root<SalHashMap<u64, SalString>> = Root::new("words");
const NUMBERS: Root<SalVec<SalVec<u64>>> = Root::new("numbers");

fn fine() -> HeapOptions {
    HeapOptions::new().size_classes(SizeClasses::fine()).capacity(2 << 30)
}

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, 1).unwrap()
}

/// A block, filled with its tag.
struct Owned {
    block: NonNull<u8>,
    layout: Layout,
    tag: u8,
}

// SAFETY: a block may be used and freed by any thread.
unsafe impl Send for Owned {}

impl Owned {
    fn check(&self, len: usize) {
        // SAFETY: ours, and filled up to `len` at least.
        let bytes = unsafe { std::slice::from_raw_parts(self.block.as_ptr(), len) };
        assert!(all_are(bytes, self.tag), "{:?} is not {}", self.layout, self.tag);
    }

    fn fill(&self, len: usize) {
        // SAFETY: ours, with so many bytes at least.
        unsafe { self.block.as_ptr().write_bytes(self.tag, len) };
    }
}

fn random_layout(random: &mut Random) -> Layout {
    let size = match random.below(40) {
        0 => 1 + random.below(1 << 20),
        1..=3 => 1 + random.below(260_000),
        4..=20 => 250 + random.below(4_000),
        _ => 1 + random.below(700),
    };
    Layout::from_size_align(size, 1 << random.below(if size > 5_000 { 14 } else { 10 })).unwrap()
}

/// Whether what was returned is what the ladder says.
fn assert_fits(heap: SalAlloc, layout: Layout, returned: NonNull<[u8]>) {
    assert_eq!(returned.len(), heap.usable_size(layout), "{layout:?}");
    assert_eq!(returned.cast::<u8>().addr().get() % layout.align(), 0, "{layout:?}");
    let rounded = layout.size().next_multiple_of(layout.align());
    if (257..=256 << 10).contains(&rounded) {
        assert!((returned.len() - rounded) * 16 < returned.len(), "{layout:?}");
    }
}

/// Takes blocks, grows and shrinks them, frees them, and hands them to the next thread, which frees them.
fn churn(heap: SalAlloc, seed: u64, rounds: usize, next: &Sender<Owned>, from_before: &Receiver<Owned>) {
    let mut random = Random(seed);
    let mut owned: Vec<Owned> = Vec::new();
    let free = |one: Owned| {
        one.check(one.layout.size());
        // SAFETY: ours, freed once.
        unsafe { heap.deallocate(one.block, one.layout) };
    };
    for _ in 0..rounds {
        from_before.try_iter().take(8).for_each(free);
        match random.below(10) {
            0..=3 if owned.len() < 500 => {
                let (layout, tag) = (random_layout(&mut random), random.next() as u8);
                let is_zeroed = random.below(3) == 0;
                let returned = if is_zeroed { heap.allocate_zeroed(layout) } else { heap.allocate(layout) }.unwrap();
                assert_fits(heap, layout, returned);
                let mut one = Owned { block: returned.cast(), layout, tag: 0 };
                if is_zeroed {
                    one.check(returned.len());
                }
                one.tag = tag;
                one.fill(returned.len());
                owned.push(one);
            }
            4 | 5 if !owned.is_empty() => {
                let at = random.below(owned.len());
                let one = &mut owned[at];
                // Most stay within a class or go to the next one.
                let size = match random.below(3) {
                    0 => random_layout(&mut random).size(),
                    _ => (one.layout.size() * (90 + random.below(22)) / 100).max(1),
                };
                let (old, new) = (one.layout, Layout::from_size_align(size, one.layout.align()).unwrap());
                // SAFETY: ours; the old block is not used afterwards.
                let returned = unsafe {
                    if size >= old.size() { heap.grow(one.block, old, new) } else { heap.shrink(one.block, old, new) }
                }
                .unwrap();
                assert_fits(heap, new, returned);
                (one.block, one.layout) = (returned.cast(), new);
                one.check(size.min(old.size()));
                one.fill(returned.len());
            }
            6 if !owned.is_empty() => {
                let at = random.below(owned.len());
                // It may have ended.
                if let Err(refused) = next.send(owned.swap_remove(at)) {
                    free(refused.0);
                }
            }
            _ if !owned.is_empty() => {
                let at = random.below(owned.len());
                free(owned.swap_remove(at));
            }
            _ => {}
        }
    }
    owned.into_iter().for_each(free);
}

#[test]
fn threads_allocate_resize_and_free_for_each_other_in_every_kind_of_heap() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let seed = seed(11);
    for (kind, heap, _) in each_kind(&fine(), directory.path()) {
        println!("{kind}, seed {seed}");
        let threads = 3;
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..threads).map(|_| mpsc::channel::<Owned>()).unzip();
        let left = std::thread::scope(|scope| {
            let mut ends = Ends::default();
            let (left, all_left) = mpsc::channel();
            for (at, receiver) in receivers.into_iter().enumerate() {
                let (next, handle, left) = (senders[(at + 1) % threads].clone(), heap.alloc(), left.clone());
                ends.of(scope.spawn(move || {
                    churn(handle, seed + at as u64, 6_000, &next, &receiver);
                    left.send(receiver).unwrap();
                }));
            }
            drop((senders, ends));
            all_left
        });
        for one in left.into_iter().flat_map(|receiver| receiver.into_iter().collect::<Vec<_>>()) {
            one.check(one.layout.size());
            // SAFETY: whoever sent it has it no longer; freed once.
            unsafe { heap.alloc().deallocate(one.block, one.layout) };
        }
        let stats = heap.stats();
        assert_eq!((stats.live_bytes, stats.large_objects), (0, 0), "{kind}, seed {seed}");
        assert!(stats.remote_frees > 0 && stats.classes.iter().all(|class| class.live == 0), "{kind}");
        assert!(stats.classes.iter().any(|class| class.size == 272) && stats.classes.len() > 96, "{kind}");
        assert!(stats.classes.is_sorted_by_key(|class| class.size));
        // The threads have ended, and this one gives back what it keeps of the finer classes, too.
        heap.purge();
        let stats = heap.stats();
        assert_eq!((stats.used, stats.cached_bytes), (0, 0), "{kind}: {stats}");
        let report = heap.verify();
        assert!(report.is_good(), "{kind}: {report}");
        unmap(heap);
    }
}

fn fill(heap: &Heap) {
    let tx = heap.write().unwrap();
    let words = tx.root_or_default(WORDS).unwrap();
    let numbers = tx.root_or_default(NUMBERS).unwrap();
    for key in 0..3_000 {
        words.insert(key, SalString::from("x".repeat(key as usize % 900).as_str()));
        numbers.push((0..key % 400).collect());
    }
    words.retain(|key, _| key % 3 != 0);
}

fn assert_filled(heap: &Heap) {
    let session = heap.read().unwrap();
    let words = session.root(WORDS).unwrap();
    assert_eq!(words.len(), 2_000);
    for key in (0..3_000).filter(|key| key % 3 != 0) {
        assert_eq!(words.get(&key).unwrap().as_str(), "x".repeat(key as usize % 900));
    }
    let numbers = session.root(NUMBERS).unwrap();
    assert!(numbers.len() == 3_000 && numbers.iter().zip(0..).all(|(list, len)| list.iter().copied().eq(0..len % 400)));
}

/// Sizes of the blocks in use, and how many there are of each.
fn sizes_in_use(heap: &Heap) -> BTreeMap<usize, u64> {
    // SAFETY: the test is all there is.
    let objects = unsafe { heap.objects() }.unwrap();
    let mut sizes = BTreeMap::new();
    for object in objects.filter(|object| !object.is_large) {
        let found = heap.locate(object.start + object.len - 1).unwrap();
        assert_eq!((found.start, found.len, found.is_large), (object.start, object.len, false));
        *sizes.entry(object.len).or_default() += 1;
    }
    sizes
}

/// Whether only sizes of the fine ladder are in use, those too that no other has.
fn assert_is_fine(heap: &Heap) {
    assert_eq!((heap.size_classes(), heap.alloc().size_classes()), (SizeClasses::fine(), SizeClasses::fine()));
    assert_eq!(SalAlloc::of_address(heap.address_range().end - 1), Some(heap.alloc()));
    let sizes = sizes_in_use(heap);
    let ladder: Vec<_> = SizeClasses::fine().sizes().collect();
    assert!(sizes.keys().all(|size| ladder.binary_search(size).is_ok()));
    assert!(sizes.keys().any(|size| !SizeClasses::default().sizes().any(|usual| usual == *size)));
    let counted: BTreeMap<_, _> =
        heap.stats().classes.iter().filter(|class| class.live > 0).map(|class| (class.size, class.live)).collect();
    // A shared heap has up to three blocks of its own, for copies of its roots.
    let own = if heap.mode() == Mode::Shared { 3 } else { 0 };
    assert!(counted.values().sum::<u64>() <= sizes.values().sum::<u64>() + own, "{sizes:?} {counted:?}");
    assert!(sizes.iter().all(|(size, number)| counted.get(size).is_some_and(|counted| counted >= number)));
}

#[test]
fn a_file_keeps_its_ladder_whatever_the_options_say() {
    let _alone = alone();
    for mode in [Mode::Shared, Mode::Atomic] {
        let (_directory, path) = fresh_path();
        let heap = opened(&fine().mode(mode), &path);
        fill(&heap);
        assert_is_fine(&heap);
        unmap(heap);
        for round in 0..3 {
            let heap = opened(&HeapOptions::new(), &path);
            assert_filled(&heap);
            assert_is_fine(&heap);
            // What the last process left free is used, and what it left in use is freed.
            let before = heap.stats().live_bytes;
            let tx = heap.write().unwrap();
            tx.root_or_default(WORDS).unwrap().clear();
            tx.root_or_default(NUMBERS).unwrap().clear();
            drop(tx);
            assert!(heap.stats().live_bytes < before / 10);
            fill(&heap);
            assert_filled(&heap);
            let report = heap.verify();
            assert!(report.is_good(), "{mode:?}, round {round}: {report}");
            unmap(heap);
        }
        let heap = opened(&HeapOptions::new().read_only(true), &path);
        assert_filled(&heap);
        assert_is_fine(&heap);
        unmap(heap);

        // And the other way round.
        let (_directory, path) = fresh_path();
        unmap(opened(&HeapOptions::new().mode(mode), &path));
        let heap = opened(&fine(), &path);
        assert_eq!(heap.size_classes(), SizeClasses::default());
        fill(&heap);
        let usual: Vec<_> = SizeClasses::default().sizes().collect();
        assert!(sizes_in_use(&heap).keys().all(|size| usual.binary_search(size).is_ok()));
        unmap(heap);
    }
}

#[test]
fn what_a_file_says_of_the_finer_classes_lies_where_it_always_will() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    let heap = opened(&fine().mode(Mode::Shared), &path);
    let handle = heap.alloc();
    // The first and the last of the finer classes, and a usual one; so few that each has one slab.
    let take = |size: usize| handle.allocate(layout(size)).unwrap().cast::<u8>().addr().get();
    let blocks = [(272, 7), (253_952, 3), (288, 5)].map(|(size, count)| (0..count).map(|_| take(size)).min().unwrap());
    let range = heap.address_range();
    unmap(heap);
    let [(_, slot), _] = bytes::slots(&path);
    assert_eq!(slot[header::INCOMPATIBLE..header::INCOMPATIBLE + 8], [1, 0, 0, 0, 0, 0, 0, 0]);
    let state = bytes::read(&path, word(&slot, header::SOFT), 4096);
    let (finer, usual) = (1592, 16 + 32);
    // First slabs without owner, numbers of slabs, blocks out of them.
    assert_eq!(word(&state, finer + 80 * 8), 7);
    assert_eq!(word(&state, finer + 80 * 8 + 79 * 8), 3);
    assert_eq!(word(&state, usual + 96 * 8 + 16 * 8), 5);
    assert_eq!([finer + 80 * 4, finer + 80 * 4 + 79 * 4].map(|at| bytes::half_word(&state, at)), [1, 1]);
    for (address, (class, list)) in blocks.into_iter().zip([(96, finer), (175, finer + 79 * 4), (16, usual + 16 * 4)]) {
        let unit = ((address - range.start) as u64 - word(&slot, header::SEGMENTS)) / 32_768;
        let head = u64::from(bytes::half_word(&state, list)) - 1;
        assert_eq!(head, unit, "class {class}");
        let entry = bytes::read(&path, word(&slot, header::SLAB_TABLE) + head * 8, 8);
        assert_eq!(word(&entry, 0), 1 | class << 8);
    }
    assert!(state[finer + 1280..].iter().all(|&byte| byte == 0));
}

#[test]
fn a_look_at_the_file_and_a_snapshot_of_it_know_the_ladder() {
    let _alone = alone();
    let (directory, path) = fresh_path();
    let copy = directory.path().join("copy.sal");
    let heap = opened(&fine(), &path);
    fill(&heap);
    heap.sync().unwrap();
    heap.snapshot_to(&copy).unwrap();
    let sizes = sizes_in_use(&heap);
    unmap(heap);
    let found = Archaeology::open(&path).unwrap();
    assert!(found.damage().is_empty() && found.verify().is_good());
    let mut seen = BTreeMap::new();
    for block in found.blocks().filter(|block| !block.is_large) {
        *seen.entry(block.len as usize).or_default() += 1_u64;
    }
    assert_eq!(seen, sizes);
    assert_eq!(found.orphans().unwrap(), []);
    drop(found);
    let heap = opened(&HeapOptions::new().recovery(Recovery::Eager), &copy);
    assert_filled(&heap);
    assert_is_fine(&heap);
    unmap(heap);
}

/// In another process: a heap that is killed with blocks that nothing reaches, and some that were freed since the sync.
fn make_and_be_killed(mode: Mode, path: &Path) {
    let heap = opened(&fine().mode(mode), path);
    fill(&heap);
    for size in (200..4_000).step_by(7) {
        heap.alloc().allocate(layout(size)).unwrap();
    }
    heap.sync().unwrap();
    if mode == Mode::Atomic {
        let tx = heap.write().unwrap();
        tx.root_or_default(WORDS).unwrap().clear();
        for size in (200..100_000).step_by(1_001) {
            heap.alloc().allocate(layout(size)).unwrap();
        }
    }
    wait_for_the_kill();
}

#[test]
fn a_killed_heap_is_what_it_was_at_the_last_sync_and_what_was_lost_comes_back() {
    let name = "a_killed_heap_is_what_it_was_at_the_last_sync_and_what_was_lost_comes_back";
    if let Some((role, path)) = process::role() {
        return make_and_be_killed(if role == "shared" { Mode::Shared } else { Mode::Atomic }, &path);
    }
    let _alone = alone();
    let lost = (200..4_000).step_by(7).count() as u64;
    for (role, recovery) in [("atomic", Recovery::Eager), ("atomic", Recovery::Background), ("shared", Recovery::Eager)]
    {
        let (_directory, path) = fresh_path();
        run_and_kill(name, role, &path);
        let mut options = HeapOptions::new().recovery(recovery);
        if role == "shared" {
            // SAFETY: the process was killed when it stored nothing.
            options = unsafe { options.accept_unclean() };
        }
        let heap = opened(&options, &path);
        assert_filled(&heap);
        heap.wait_for_recovery();
        assert_is_fine(&heap);
        // SAFETY: the test is all there is.
        let leaks = unsafe { heap.leak_report() }.unwrap();
        // What looks like a reference may be none.
        assert!(leaks.blocks < lost / 10, "{role}: {leaks:?}");
        let report = heap.verify();
        assert!(report.is_good(), "{role}: {report}");
        fill(&heap);
        unmap(heap);
        let heap = opened(&HeapOptions::new(), &path);
        assert_is_fine(&heap);
        unmap(heap);
    }
}

#[test]
fn a_handle_of_a_heap_that_is_gone_gets_no_size_that_the_next_heap_lacks() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    let heap = opened(&fine(), &path);
    let stale = heap.alloc();
    let window = heap.address_range().start;
    unmap(heap);
    let mut bytes_of_other = None;
    // Another heap at the same place: the header says where it is to be.
    let (_other_directory, other) = fresh_path();
    unmap(opened(&HeapOptions::new().capacity(2 << 30), &other));
    for (at, mut slot) in bytes::slots(&other) {
        if slot[header::MAGIC] == 0x89 {
            slot[header::WINDOW..header::WINDOW + 4].copy_from_slice(&((window >> 36) as u32).to_le_bytes());
            let sum = crc32c::crc32c(&slot[..header::CHECKSUM]);
            slot[header::CHECKSUM..].copy_from_slice(&sum.to_le_bytes());
            std::os::unix::fs::FileExt::write_all_at(&bytes::writable(&other), &slot, at).unwrap();
            bytes_of_other = Some(slot);
        }
    }
    assert!(bytes_of_other.is_some());
    let heap = opened(&HeapOptions::new(), &other);
    assert_eq!((heap.address_range().start, heap.size_classes()), (window, SizeClasses::default()));
    assert_ne!(heap.alloc(), stale);
    for _ in 0..3 {
        assert!(stale.allocate(layout(600)).is_err() && stale.allocate_zeroed(layout(2_049)).is_err());
        let block = heap.alloc().allocate(layout(600)).unwrap();
        assert_eq!(block.len(), 640);
        // SAFETY: allocated just now.
        unsafe { heap.alloc().deallocate(block.cast(), layout(600)) };
    }
    assert!(heap.verify().is_good() && heap.stats().live_bytes == 0);
    unmap(heap);
}

#[test]
fn a_block_stays_where_it_is_only_within_its_own_class() {
    let heap = fine().volatile().unwrap();
    let handle = heap.alloc();
    // 1,040 and 1,100 bytes are of one class by default.
    let block = handle.allocate(layout(1_040)).unwrap();
    assert_eq!(block.len(), 1_088);
    let (at, stays, moves) = (block.cast::<u8>(), layout(1_088), layout(1_100));
    // SAFETY: each block is given up for the next, and the last one freed.
    unsafe {
        let same = handle.grow(at, layout(1_040), stays).unwrap();
        assert_eq!((same.cast(), same.len()), (at, 1_088));
        let moved = handle.grow(at, stays, moves).unwrap();
        assert_eq!(moved.len(), 1_152);
        assert_ne!(moved.cast(), at);
        let back = handle.shrink(moved.cast(), moves, stays).unwrap();
        assert_eq!(back.len(), 1_088);
        handle.deallocate(back.cast(), stays);
    }
    let stats = heap.stats();
    let of = |size: usize| {
        stats.classes.iter().find(|class| class.size == size).map(|class| (class.live, class.allocations))
    };
    assert_eq!((of(1_088), of(1_152)), (Some((0, 2)), Some((0, 1))));
}

/// The checked build knows the finer classes apart.
#[cfg(feature = "checked")]
#[test]
fn a_block_that_is_freed_with_a_size_of_the_neighbouring_class_ends_the_program() {
    let name = "a_block_that_is_freed_with_a_size_of_the_neighbouring_class_ends_the_program";
    if let Some((_, path)) = process::role() {
        let heap = opened(&fine(), &path);
        let block = heap.alloc().allocate(layout(1_040)).unwrap().cast::<u8>();
        // SAFETY: none; but the checked build does not let it pass.
        unsafe { heap.alloc().deallocate(block, layout(1_100)) };
        return;
    }
    let (_directory, path) = fresh_path();
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env("SAL_TEST_ROLE", "free")
        .env("SAL_TEST_PATH", &path)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("wrong layout") && said.contains("1088-byte blocks"), "{said}");
}

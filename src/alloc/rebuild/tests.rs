//! State made anew from the table of a heap that was used, and from tables that are mixtures or damaged.

use super::super::check::Broken;
use super::super::heap_core::testing::TestHeap;
use super::super::heap_core::{Core, Run};
use super::super::size_class::Ladder;
use super::super::thread_heap::ThreadHeap;
use super::*;
use crate::alloc::size_class::CLASSES;
use crate::format::slab_entry::large_tail_units;
use proptest::prelude::*;
use std::collections::BTreeSet;

const SEED: u64 = 0x0AB5_E11E;

/// A heap in which only the table is left of `old`, as after an unclean stop.
fn after_a_stop(old: &Core, units: usize) -> TestHeap {
    let new = TestHeap::with_ladder(old.layout.segments.len, old.ladder);
    write_table(&new, (0..units).map(|unit| old.raw_entry(unit)));
    new
}

fn write_table(heap: &Core, words: impl ExactSizeIterator<Item = u64>) {
    let offset = heap.layout.slab_table.offset as usize;
    heap.backing.commit(heap.base, offset, words.len() * 8).unwrap();
    for (unit, word) in words.enumerate() {
        // SAFETY: just made usable, and nobody else is there.
        unsafe { core::ptr::with_exposed_provenance_mut::<u64>(heap.base + offset).add(unit).write(word) };
    }
}

fn entries(heap: &Core, units: usize) -> Vec<u64> {
    (0..units).map(|unit| heap.raw_entry(unit)).collect()
}

fn check(heap: &Core) -> Result<(), Broken> {
    // SAFETY: nobody else knows of the heap.
    unsafe { heap.check() }
}

fn run(heap: &Core, units: usize) -> Result<Rebuilt, RebuildError> {
    // SAFETY: the heap is new.
    unsafe { rebuild(heap, units) }
}

#[test]
fn what_was_alive_is_in_use_and_freeing_it_empties_the_heap() {
    is_in_use_until_it_is_freed(Ladder::Usual);
}

#[test]
fn what_was_alive_in_a_heap_with_the_fine_ladder_is_in_use_all_the_same() {
    is_in_use_until_it_is_freed(Ladder::Fine);
}

fn is_in_use_until_it_is_freed(ladder: Ladder) {
    let old = TestHeap::with_ladder(512 << 20, ladder);
    let thread = old.take_thread_heap();
    let mut state = SEED;
    let mut below = |end: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % end
    };
    let (mut small, mut large) = (BTreeSet::new(), BTreeSet::new());
    for _ in 0..40_000 {
        match below(40) {
            0 if large.len() < 60 => drop(large.insert(old.allocate_large((below(300) + 1) * 10_000, 1, false).addr())),
            0..=25 => {
                let class = ladder.class_of_last(if below(4) == 0 { below(60_000) } else { below(600) });
                // SAFETY: the calling thread's own.
                let block = unsafe {
                    ThreadHeap::allocate(thread, class).unwrap_or_else(|| ThreadHeap::allocate_slow(thread, class))
                };
                assert!(!block.is_null());
                small.insert((block.addr(), class));
            }
            26..=28 => {}
            _ if below(60) == 0 && !large.is_empty() => {
                let address = *large.iter().nth(below(large.len())).unwrap();
                large.remove(&address);
                old.free_large(address);
            }
            _ => {
                let Some((address, class)) = small.pop_first() else { continue };
                let block = core::ptr::with_exposed_provenance_mut(address);
                // SAFETY: the calling thread's own; the block is out.
                unsafe {
                    if !ThreadHeap::free(thread, class, block) {
                        ThreadHeap::free_slow(thread, class, block);
                    }
                }
            }
        }
    }
    // SAFETY: under no lock, but nobody else is there.
    let units = unsafe { (*old.space.get()).committed_units() };
    let heap = after_a_stop(&old, units);
    let rebuilt = run(&heap, units).unwrap();
    assert_eq!(check(&heap), Ok(()), "seed {SEED:#x}");
    assert_eq!((rebuilt.dropped, rebuilt.orphan_tails, rebuilt.large_count), (0, 0, large.len() as u64));
    assert_eq!(entries(&heap, units), entries(&old, units));
    let moved = |address: usize| address - old.segments + heap.segments;
    for &(address, class) in &small {
        let head = heap.slab_head(class, moved(address));
        assert_eq!(heap.run_of(moved(address)), Some(Run::Slab { head, class }));
    }
    // New blocks lie elsewhere than all old ones.
    let thread = heap.take_thread_heap();
    for class in [0, 3, 20, 60] {
        // SAFETY: the calling thread's own.
        let block = unsafe { ThreadHeap::allocate_slow(thread, class) };
        let head = heap.slab_head(class, block.addr());
        assert_eq!(old.entry(head), SlabEntry::Free, "a block of an old slab was handed out");
        // SAFETY: as above.
        assert!(unsafe { ThreadHeap::free(thread, class, block) });
    }
    // All blocks of all slabs, alive or not, come back through a thread that does not own them.
    for unit in 0..units {
        match old.entry(unit) {
            SlabEntry::LargeHead { .. } => heap.free_large(heap.address_of(unit)),
            SlabEntry::SlabHead { class } => {
                let class = class as usize;
                for index in 0..slab_blocks(class) as usize {
                    let address = heap.address_of(unit) + index * class_size(class);
                    let block = core::ptr::with_exposed_provenance_mut(address);
                    // SAFETY: as above; it counts as handed out (E2).
                    unsafe {
                        if !ThreadHeap::free(thread, class, block) {
                            ThreadHeap::free_slow(thread, class, block);
                        }
                    }
                }
            }
            _ => {}
        }
    }
    // SAFETY: nobody else is there.
    unsafe { heap.retire_all_threads() };
    assert_eq!(check(&heap), Ok(()));
    // SAFETY: as above.
    assert_eq!(unsafe { (*heap.space.get()).used_units() }, 0);
}

/// The words of a table of that many units in which `runs` were written one after the other.
fn table(units: usize, runs: &[(usize, SlabEntry)]) -> Vec<u64> {
    let mut words = vec![0; units];
    for &(head, entry) in runs {
        match entry {
            SlabEntry::SlabHead { class } => {
                for back in 1..slab_units(class as usize) {
                    words[head + back] = SlabEntry::SlabTail { back: back as u64 }.encode();
                }
            }
            SlabEntry::LargeHead { len_pages } => {
                for unit in large_tail_units(head, units_of_pages(len_pages)) {
                    words[unit] = SlabEntry::LargeTail { back: (unit - head) as u64 }.encode();
                }
            }
            _ => {}
        }
        words[head] = entry.encode();
    }
    words
}

fn large(units: u64) -> SlabEntry {
    SlabEntry::LargeHead { len_pages: units * 8 }
}

/// The heads that stay.
fn heads_after(words: &[u64]) -> (Vec<usize>, Rebuilt) {
    let heap = TestHeap::new(64 << 20);
    write_table(&heap, words.iter().copied());
    let rebuilt = run(&heap, words.len()).unwrap();
    assert_eq!(check(&heap), Ok(()));
    let is_head = |unit: &usize| matches!(heap.entry(*unit), SlabEntry::SlabHead { .. } | SlabEntry::LargeHead { .. });
    ((0..words.len()).filter(is_head).collect(), rebuilt)
}

#[test]
fn of_overlapping_runs_the_inner_one_stays() {
    let slab = SlabEntry::SlabHead { class: 0 };
    assert_eq!(heads_after(&table(512, &[(8, slab), (64, large(200)), (300, slab)])).0, [8, 64, 300]);
    let (heads, rebuilt) = heads_after(&table(512, &[(64, large(200)), (100, slab)]));
    assert_eq!((heads, rebuilt.dropped), (vec![100], 1));
    // A large object inside one that lies inside another.
    assert_eq!(heads_after(&table(512, &[(64, large(300)), (100, large(100)), (150, large(3))])).0, [150]);
}

#[test]
fn runs_without_their_tails_and_tails_without_their_run_become_free() {
    let slab = SlabEntry::SlabHead { class: 0 };
    let mut words = table(512, &[(8, slab), (10, slab), (64, large(200))]);
    words[9] = 0;
    assert_eq!(heads_after(&words).0, [10, 64]);
    words[128] = 0;
    let (heads, rebuilt) = heads_after(&words);
    // The other tails at the next two borders and up to the first one.
    assert_eq!((heads, rebuilt.dropped, rebuilt.orphan_tails), (vec![10], 2, 63 + 2));
    let mut words = table(512, &[(64, large(200))]);
    words[70 + 64] = SlabEntry::LargeTail { back: 3 }.encode();
    let (heads, rebuilt) = heads_after(&words);
    assert_eq!((heads, rebuilt.orphan_tails), (vec![64], 1));
}

#[test]
fn entries_that_no_moment_can_have_had_are_damage() {
    let slab = |class| SlabEntry::SlabHead { class };
    let past_the_end = SlabEntry::LargeHead { len_pages: 8 * 100 };
    for (unit, word) in [
        (4, slab(96).encode()),
        (9, slab(0).encode()),
        (126, slab(95).encode()),
        (30, past_the_end.encode()),
        (30, SlabEntry::LargeHead { len_pages: (1 << 48) - 1 }.encode()),
        (30, SlabEntry::LargeHead { len_pages: 0 }.encode()),
        (7, 77),
    ] {
        let heap = TestHeap::new(64 << 20);
        let mut words = vec![0; 128];
        words[unit] = word;
        write_table(&heap, words.into_iter());
        let offset = heap.layout.slab_table.offset + unit as u64 * 8;
        let error = run(&heap, 128).unwrap_err();
        let expected = |error: &RebuildError| matches!(error, RebuildError::Damaged { unit: found, offset: at, .. } if (*found, *at) == (unit, offset));
        assert!(expected(&error), "{word:#x}: {error:?}");
    }
}

/// The last page of the table reaches behind a commit's extent. Were what stands there left, it would show inside a large
/// object that grows over it, which does not write the entries inside itself.
#[test]
fn entries_behind_the_extent_become_free() {
    let slab = SlabEntry::SlabHead { class: 0 };
    let heap = TestHeap::new(64 << 20);
    write_table(&heap, table(512, &[(8, slab), (130, slab), (200, large(100)), (511, SlabEntry::Free)]).into_iter());
    run(&heap, 128).unwrap();
    assert_eq!(check(&heap), Ok(()));
    assert!(entries(&heap, 128)[8] != 0);
    assert!(entries(&heap, 512)[128..].iter().all(|&word| word == 0));
}

/// A commit takes it for its extent. Were that to follow the heap down, a run that was freed after its table entry had
/// been captured would reach behind the extent, and count as damage when the heap is opened.
#[test]
fn the_peak_stays_behind_every_run_there_ever_was() {
    let heap = TestHeap::new(64 << 20);
    let peak = || {
        let _guard = heap.lock.lock();
        // SAFETY: under the lock (K1).
        unsafe { (*heap.space.get()).peak_end() }
    };
    assert_eq!(peak(), 0);
    let block = heap.allocate_large(5 << 20, 8, false);
    let end = heap.unit_of(block.addr()) + units_of_pages(5 << 8);
    assert_eq!(peak(), end);
    heap.free_large(block.addr());
    assert_eq!(peak(), end);
}

/// Commits look no further. Were it to begin anew, what is changed in place of a heap that was recovered would be in none.
#[test]
fn the_peak_of_a_rebuilt_heap_lies_behind_all_it_has() {
    let slab = SlabEntry::SlabHead { class: 0 };
    let heap = TestHeap::new(64 << 20);
    write_table(&heap, table(512, &[(8, slab), (100, slab)]).into_iter());
    run(&heap, 128).unwrap();
    let _guard = heap.lock.lock();
    // SAFETY: under the lock (K1).
    assert!(unsafe { (*heap.space.get()).peak_end() } >= 102);
}

fn any_word() -> impl Strategy<Value = u64> {
    prop_oneof![
        6 => Just(0),
        3 => (0_u64..100).prop_map(|class| 1 | class << 8),
        3 => (0_u64..70).prop_map(|back| 2 | back << 16),
        2 => (0_u64..600).prop_map(|pages| 3 | pages << 16),
        3 => (0_u64..300).prop_map(|back| 4 | back << 16),
        1 => any::<u64>(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_table_crashes_it_and_what_it_accepts_makes_sense(words in prop::collection::vec(any_word(), 256), damaged: bool) {
        let heap = TestHeap::new(64 << 20);
        // Without the words that are damage on their own, so that more of the rest is seen.
        let words: Vec<u64> = words.into_iter().enumerate().map(|(unit, word)| match SlabEntry::decode(word) {
            _ if damaged => word,
            Some(SlabEntry::SlabHead { class }) => {
                let class = class as usize;
                let fits = class < CLASSES && unit % slab_units(class) == 0;
                if fits && unit + slab_units(class) <= 256 { word } else { 0 }
            }
            Some(SlabEntry::LargeHead { len_pages }) if len_pages == 0 || unit + units_of_pages(len_pages) > 256 => 0,
            None => 0,
            _ => word,
        }).collect();
        write_table(&heap, words.iter().copied());
        let rebuilt = run(&heap, words.len());
        if rebuilt.is_ok() {
            prop_assert_eq!(check(&heap), Ok(()));
        }
        prop_assert!(rebuilt.is_ok() || damaged);
    }
}

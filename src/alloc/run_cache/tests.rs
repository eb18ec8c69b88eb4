use super::*;
use crate::alloc::heap_core::testing::TestHeap;
use crate::alloc::thread_heap::ThreadHeap;
use crate::alloc::tuning::purge;
use crate::format::UNIT;
use crate::format::slab_entry::SlabEntry;

const MIB: usize = 1 << 20;

fn run(head: usize, units: usize, is_zeroed: bool) -> FreeRun {
    FreeRun { head, units, is_zeroed, period: 5 }
}

#[test]
fn a_word_holds_a_run_or_says_that_it_cannot() {
    for run in [run(0, 1, false), run((1 << 31) - 1, TOO_LONG - 1, true), run(77, 64, false)] {
        assert_eq!(run.encode().map(FreeRun::decode), Some(run));
    }
    for run in [run(1 << 31, 1, false), run(0, TOO_LONG, false), run(0, 0, false)] {
        assert_eq!(run.encode(), None);
    }
    assert_eq!(run(0, 1, false).age(5), 0);
    assert_eq!(FreeRun { period: 2047, ..run(0, 1, false) }.age(2049), 2, "periods wrap around");
}

#[test]
fn classes_of_lengths_are_in_order_and_narrow() {
    let mut last = 0;
    for units in 1..100_000 {
        let class = run_class(units);
        assert!(class >= last, "{units}");
        if class == run_class(units + 1) && units > 3 {
            assert_eq!(class, run_class(units | 1), "{units}");
        }
        last = class;
    }
    assert!(run_class(TOO_LONG - 1) < RUN_CLASSES);
    assert!(run_class(64) != run_class(80) && run_class(64) == run_class(79));
}

#[test]
fn zeros_are_taken_when_zeros_are_wanted_and_only_then_if_there_is_a_choice() {
    let own = OwnRuns::new();
    for run in [run(64, 64, false), run(128, 64, true), run(192, 64, false), run(32, 64, true), run(256, 65, true)] {
        assert!(own.put(run));
    }
    let take = |zeroed, align| own.take(Wanted::new(64, align, zeroed)).map(|run| run.head);
    assert_eq!((take(true, 1), take(false, 1), take(false, 64)), (Some(128), Some(64), Some(192)));
    assert_eq!((take(false, 64), take(false, 1), take(false, 1)), (None, Some(32), None));
    assert_eq!(own.units(), 65);
}

#[test]
fn what_does_not_fit_is_refused_and_counts_nothing() {
    let own = OwnRuns::new();
    let kept = (0..20).filter(|&at| own.put(run(at * 64, 64, false))).count();
    assert_eq!((kept, own.units()), (16, 16 * 64));
    // SAFETY: zeros are empty slots.
    let shared: Box<SharedRuns> = unsafe { Box::new_zeroed().assume_init() };
    let kept = (0..100).filter(|&at| shared.put(run(at * 64, 64, false), 50 * 64)).count();
    assert_eq!((kept, shared.units()), (50, 50 * 64));
    let kept = (100..200).filter(|&at| shared.put(run(at * 64, 64, false), usize::MAX >> 1)).count();
    assert_eq!((kept, shared.units()), (14, 64 * 64));
}

fn reuse(heap: *mut ThreadHeap, size: usize, zeroed: bool) -> *mut u8 {
    // SAFETY: this thread plays the thread.
    unsafe { ThreadHeap::reuse_large(heap, size, 8, zeroed) }
}

fn free(heap: *mut ThreadHeap, block: *mut u8) {
    // SAFETY: this thread plays the thread, and has the block.
    unsafe { ThreadHeap::free_large(heap, block.addr()) }
}

#[test]
fn a_freed_object_is_free_in_the_table_and_comes_back_whole_with_any_length_of_as_many_units() {
    let heap = TestHeap::new(64 << 20);
    let thread = heap.take_thread_heap();
    let block = heap.allocate_large(5 * MIB + 1, 8, false);
    let head = heap.unit_of(block.addr());
    free(thread, block);
    assert_eq!(heap.entry(head), SlabEntry::Free);
    for address in [block.addr(), block.addr() + MIB, block.addr() + 5 * MIB] {
        assert_eq!(heap.run_of(address), None);
    }
    assert!(reuse(thread, 5 * MIB, false).is_null(), "that is one unit less");
    let again = reuse(thread, 5 * MIB + 8192, false);
    assert_eq!(again, block);
    for address in [block.addr(), block.addr() + MIB, block.addr() + 5 * MIB] {
        let len_pages = (5 * MIB + 8192) as u64 / 4096;
        assert_eq!(heap.run_of(address), Some(crate::alloc::heap_core::Run::Large { head, len_pages }));
    }
    // SAFETY: nobody else is there.
    assert_eq!(unsafe { heap.check() }, Ok(()));
    free(thread, again);
    // SAFETY: as above.
    assert_eq!(unsafe { heap.check() }, Ok(()));
    assert!(reuse(thread, 5 * MIB + 1, false).is_null(), "checking has made units of it");
}

#[test]
fn zeros_are_zeros_also_in_a_run_that_was_written_to() {
    let heap = TestHeap::new(64 << 20);
    let thread = heap.take_thread_heap();
    for mode in [purge::RETAIN, purge::EAGER] {
        heap.tuning.purge.store(mode, Ordering::Relaxed);
        let mut block = heap.allocate_large(MIB, 8, false);
        for _ in 0..3 {
            // SAFETY: our block of that size.
            unsafe { block.write_bytes(0xA5, MIB) };
            free(thread, block);
            block = reuse(thread, MIB, true);
            // SAFETY: as above.
            let bytes = unsafe { core::slice::from_raw_parts(block, MIB) };
            assert!(bytes.iter().all(|&byte| byte == 0));
        }
    }
}

#[test]
fn a_thread_keeps_up_to_its_limit_the_next_ones_find_the_rest_and_nothing_is_lost() {
    let heap = TestHeap::new(1 << 30);
    heap.tuning.thread_units.store(4 * MIB / UNIT, Ordering::Relaxed);
    let [first, second] = [0; 2].map(|_| heap.take_thread_heap());
    let blocks: Vec<_> = (0..40).map(|_| heap.allocate_large(MIB, 8, false)).collect();
    blocks.iter().for_each(|&block| free(first, block));
    // SAFETY: this thread plays both.
    let own = unsafe { ThreadHeap::runs(first) };
    assert_eq!((own.units() * UNIT, heap.shared_runs().units() * UNIT), (4 * MIB, 8 * MIB));
    let mut again: Vec<_> = (0..12).map(|_| reuse(second, MIB, false)).collect();
    assert!(again.iter().all(|block| blocks.contains(block)));
    again.sort_unstable();
    again.dedup();
    assert_eq!((again.len(), own.units(), heap.shared_runs().units()), (12, 0, 0));
    assert!(reuse(second, MIB, false).is_null() && reuse(first, MIB, false).is_null());
    again.into_iter().for_each(|block| free(second, block));
    // SAFETY: as above.
    unsafe {
        assert_eq!(ThreadHeap::runs(second).units() * UNIT, 4 * MIB);
        ThreadHeap::retire(second);
        assert_eq!((ThreadHeap::runs(second).units(), heap.shared_runs().units() * UNIT), (0, 8 * MIB));
        assert_eq!(heap.check(), Ok(()));
        assert_eq!((*heap.space.get()).used_units(), 0);
    }
}

#[test]
fn limits_that_are_lowered_count_at_once() {
    let heap = TestHeap::new(1 << 30);
    let thread = heap.take_thread_heap();
    let blocks: Vec<_> = (0..20).map(|at| heap.allocate_large(MIB << (at % 3), 8, false)).collect();
    blocks.into_iter().for_each(|block| free(thread, block));
    // SAFETY: this thread plays the thread.
    let own = unsafe { ThreadHeap::runs(thread) };
    let all = own.units() + heap.shared_runs().units();
    assert_eq!(all * UNIT, (7 + 2 * 7 + 4 * 6) * MIB);
    heap.tuning.largest_units.store(2 * MIB / UNIT, Ordering::Relaxed);
    heap.enforce_cache_limits();
    assert_eq!((own.units() + heap.shared_runs().units()) * UNIT, (7 + 14) * MIB);
    heap.tuning.thread_units.store(0, Ordering::Relaxed);
    heap.enforce_cache_limits();
    assert_eq!(own.units() + heap.shared_runs().units(), 0);
    let block = heap.allocate_large(MIB, 8, false);
    free(thread, block);
    assert_eq!(own.units() + heap.shared_runs().units(), 0);
    // SAFETY: nobody else is there.
    assert_eq!(unsafe { (*heap.space.get()).used_units() }, 0);
}

#[test]
fn runs_that_nobody_wants_become_units() {
    let heap = TestHeap::new(1 << 30);
    let thread = heap.take_thread_heap();
    let block = heap.allocate_large(8 * MIB, 8, false);
    free(thread, block);
    for _ in 0..4 {
        assert!(reuse(thread, 3 * MIB, false).is_null());
    }
    assert_eq!(heap.allocate_large(3 * MIB, 8, false), block);
}

#[test]
fn threads_that_allocate_and_free_for_each_other_never_share_a_run() {
    let heap = TestHeap::new(4 << 30);
    let core: &crate::alloc::heap_core::Core = &heap;
    core.tuning.thread_units.store(6 * MIB / UNIT, Ordering::Relaxed);
    std::thread::scope(|scope| {
        let (sender, receiver) = std::sync::mpsc::channel::<usize>();
        let receiver = std::sync::Arc::new(std::sync::Mutex::new(receiver));
        for number in 0..3_u64 {
            let (sender, receiver) = (sender.clone(), std::sync::Arc::clone(&receiver));
            scope.spawn(move || {
                let thread = core.take_thread_heap();
                for round in 0..3_000_u64 {
                    let size = MIB << (round % 2);
                    let mut block = reuse(thread, size, false);
                    if block.is_null() {
                        block = core.allocate_large(size, 8, false);
                    }
                    assert!(!block.is_null());
                    let tag = number << 32 | round;
                    // SAFETY: our block, which is larger than that.
                    unsafe { block.cast::<u64>().write(tag) };
                    std::hint::spin_loop();
                    // SAFETY: as above.
                    assert_eq!(unsafe { block.cast::<u64>().read() }, tag);
                    sender.send(block.expose_provenance()).unwrap();
                    let other = receiver.lock().unwrap().try_recv();
                    if let Ok(other) = other {
                        free(thread, core::ptr::with_exposed_provenance_mut(other));
                    }
                }
                // SAFETY: the thread's own, and not used again.
                unsafe { ThreadHeap::retire(thread) };
            });
        }
        drop(sender);
    });
    // SAFETY: all threads have ended.
    assert_eq!(unsafe { heap.check() }, Ok(()));
}

#[test]
fn a_longer_object_over_units_that_were_kept_holds_none_of_their_entries() {
    let heap = TestHeap::new(64 << 20);
    let thread = heap.take_thread_heap();
    let blocks = [60, 40, 30].map(|units| heap.allocate_large(units * UNIT, 8, false));
    assert_eq!(blocks.map(|block| heap.unit_of(block.addr())), [0, 60, 100]);
    blocks.into_iter().for_each(|block| free(thread, block));
    heap.return_all_runs();
    let long = heap.allocate_large(200 * UNIT, 8, false);
    assert_eq!(long, blocks[0]);
    for unit in 0..200 {
        let run = heap.run_of(heap.address_of(unit));
        assert!(matches!(run, Some(crate::alloc::heap_core::Run::Large { head: 0, .. })), "unit {unit}");
    }
    // SAFETY: nobody else is there.
    assert_eq!(unsafe { heap.check() }, Ok(()));
}

#[test]
fn who_takes_from_another_thread_takes_half_as_far_as_it_may_keep_them() {
    let [victim, own] = [OwnRuns::new(), OwnRuns::new()];
    for at in 0..9 {
        assert!(victim.put(run(at * 64, 64, false)));
    }
    assert!(victim.put(run(64 * 64, 65, false)));
    let wanted = Wanted::new(64, 1, true);
    let first = victim.steal(wanted, &own, usize::MAX >> 1).unwrap();
    assert_eq!((first.units, own.units(), victim.units()), (64, 4 * 64, 4 * 64 + 65));
    assert!(victim.steal(wanted, &own, 5 * 64).is_some());
    assert_eq!((own.units(), victim.units()), (5 * 64, 2 * 64 + 65), "there was room for one");
    assert!(victim.steal(wanted, &own, 5 * 64).is_some() && victim.steal(wanted, &own, 5 * 64).is_some());
    assert_eq!((victim.steal(wanted, &own, usize::MAX >> 1), victim.units()), (None, 65));
    let mut heads: Vec<_> = core::iter::from_fn(|| own.take(wanted)).map(|run| run.head).collect();
    heads.sort_unstable();
    heads.dedup();
    assert_eq!((heads.len(), own.units()), (5, 0));
}

#[test]
fn an_owner_that_does_not_come_to_an_end_keeps_its_runs_and_one_that_a_child_does_not_have_does_not() {
    let [owner, other] = [OwnRuns::new(), OwnRuns::new()];
    assert!(owner.put(run(0, 64, false)));
    let drain = || {
        let mut drained = Vec::new();
        owner.drain(|_| true, |run| drained.push(run));
        drained
    };
    core::mem::forget(owner.bias.alone());
    assert_eq!((owner.steal(Wanted::new(64, 1, false), &other, 64), drain()), (None, vec![]));
    owner.begin_child();
    assert_eq!(drain(), [run(0, 64, false)]);
}

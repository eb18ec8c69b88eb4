//! Handles: values that are moved while they are read, replaced and dropped.

use sal::prelude::*;
use sal::{CompactOptions, Handle, HeapOptions, MaintenanceOptions, Movable, SalMovable};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

mod support;
use support::{Random, SetAtEnd, seed};

fn heap() -> Heap {
    HeapOptions::new().volatile().unwrap()
}

/// Counts its drops.
#[derive(Movable)]
struct Counted {
    number: u64,
    drops: Arc<AtomicUsize>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.drops.fetch_add(1, Ordering::SeqCst);
    }
}

/// What waits for other threads' pins in this process waits for moments only.
fn until(heap: &Heap, what: impl Fn() -> bool) {
    while !what() {
        heap.compact().unwrap();
        thread::yield_now();
    }
}

#[test]
fn a_value_is_what_was_put_there_for_every_clone() {
    let heap = heap();
    let first = heap.handle(vec![1, 2, 3]);
    let second = first.clone();
    assert!(first.ptr_eq(&second) && first.strong_count() == 2 && first.heap() == heap.alloc());
    let pin = heap.pin();
    assert_eq!(second.get(&pin), &[1, 2, 3]);
    drop(first);
    assert_eq!((second.get(&pin).len(), second.strong_count()), (3, 1));
}

#[test]
fn what_a_pin_has_seen_stays_when_it_is_replaced_and_when_its_handle_is_dropped() {
    let heap = heap();
    let drops = Arc::new(AtomicUsize::new(0));
    let of = |number| Counted { number, drops: Arc::clone(&drops) };
    let handle = heap.handle(of(1));
    let pin = heap.pin();
    let old = handle.get(&pin);
    handle.update(of(2)).unwrap();
    let new = handle.get(&pin);
    drop(handle);
    let report = heap.compact().unwrap();
    assert!(report.waiting >= 2 && !report.readers.is_empty(), "{report}");
    assert_eq!((old.number, new.number, drops.load(Ordering::SeqCst)), (1, 2, 0));
    drop(pin);
    until(&heap, || drops.load(Ordering::SeqCst) == 2);
}

#[test]
fn values_of_all_sizes_and_alignments_are_whole_after_they_were_moved() {
    #[derive(Movable, Clone, Copy, PartialEq, Debug)]
    #[repr(align(256))]
    struct Wide([u8; 256]);
    let heap = heap();
    let (mut small, mut wide, mut texts, mut slices, mut none) = (vec![], vec![], vec![], vec![], vec![]);
    for n in 0..3_000_u32 {
        small.push(heap.handle((n, n as u8)));
        wide.push(heap.handle(Wide([n as u8; 256])));
        texts.push(heap.handle_str(&"x".repeat(n as usize % 300)));
        slices.push(heap.handle_slice(&vec![u128::from(n); n as usize % 40]));
        none.push(heap.handle(()));
    }
    let large = heap.handle_slice(&vec![7_u8; 300 << 10]);
    let keep = |n: usize| n % 7 == 3;
    let kept = |handles: usize| (0..handles).filter(move |&n| keep(n));
    for n in (0..3_000).rev().filter(|&n| !keep(n)) {
        small.swap_remove(n);
        wide.swap_remove(n);
        texts.swap_remove(n);
        slices.swap_remove(n);
        none.swap_remove(n);
    }
    let numbers: Vec<u32> = small.iter().map(|handle| handle.get(&heap.pin()).0).collect();
    let before: Vec<usize> = small.iter().map(|handle| std::ptr::from_ref(handle.get(&heap.pin())).addr()).collect();
    let report = heap.compact().unwrap();
    assert!(report.moved_objects > 1_000 && report.is_complete, "{report}");
    let pin = heap.pin();
    let moved = small.iter().zip(&before).filter(|(handle, at)| std::ptr::from_ref(handle.get(&pin)).addr() != **at);
    assert!(moved.count() > 300);
    assert_eq!(numbers.len(), kept(3_000).count());
    for (at, &n) in numbers.iter().enumerate() {
        assert_eq!(*small[at].get(&pin), (n, n as u8));
        assert_eq!(*wide[at].get(&pin), Wide([n as u8; 256]));
        assert_eq!(std::ptr::from_ref(wide[at].get(&pin)).addr() % 256, 0);
        assert_eq!(texts[at].get(&pin).len(), n as usize % 300);
        assert_eq!(*slices[at].get(&pin), *vec![u128::from(n); n as usize % 40]);
        let () = none[at].get(&pin);
    }
    assert!(large.get(&pin).iter().all(|&byte| byte == 7));
}

#[test]
fn a_heap_whose_values_are_gone_gives_all_memory_back() {
    let heap = heap();
    let all: Vec<_> = (0..200_000_u64).map(|n| heap.handle([n; 6])).collect();
    let large = heap.handle_slice(&vec![0_u8; 1 << 20]);
    assert!(heap.stats().live_bytes > 10 << 20);
    drop((all, large));
    until(&heap, || {
        heap.compact().unwrap();
        // One tract at most is still open for each eighth of the threads, and one for what is moved.
        heap.stats().live_bytes <= 4 << 20
    });
}

#[test]
fn compacting_a_sparse_heap_leaves_little_more_than_what_is_alive() {
    let heap = heap();
    let mut random = Random(seed(42));
    let mut all: Vec<_> = (0..300_000_u64).map(|n| heap.handle([n; 10])).collect();
    all.retain(|_| random.below(10) < 4);
    let report = heap.compact_with(CompactOptions::new().sparse(0.9)).unwrap();
    until(&heap, || heap.stats().live_bytes < report.live_bytes * 13 / 10 + (4 << 20) + all.len() as u64 * 16);
    let pin = heap.pin();
    assert!(all.iter().all(|handle| handle.get(&pin).iter().all(|n| *n == handle.get(&pin)[0])));
}

#[test]
fn weak_handles_do_not_keep_a_value_and_never_lead_to_another() {
    let heap = heap();
    let drops = Arc::new(AtomicUsize::new(0));
    let handle = heap.handle(Counted { number: 1, drops: Arc::clone(&drops) });
    let weak = handle.downgrade();
    assert!(weak.upgrade().is_some_and(|strong| strong.ptr_eq(&handle)));
    drop(handle);
    // Others come, and none at the same entry.
    let others: Vec<_> = (0..1_000).map(|n| heap.handle(n)).collect();
    assert!(weak.upgrade().is_none() && weak.clone().upgrade().is_none());
    until(&heap, || drops.load(Ordering::SeqCst) == 1);
    drop(weak);
    drop(others);
}

#[test]
fn a_list_of_a_million_handles_is_dropped_without_recursion() {
    #[derive(Movable)]
    struct Node {
        _next: Option<Handle<Node>>,
        drops: Arc<AtomicUsize>,
    }
    impl Drop for Node {
        fn drop(&mut self) {
            self.drops.fetch_add(1, Ordering::SeqCst);
        }
    }
    let heap = heap();
    let drops = Arc::new(AtomicUsize::new(0));
    let mut list = None;
    for _ in 0..1_000_000 {
        list = Some(heap.handle(Node { _next: list, drops: Arc::clone(&drops) }));
    }
    drop(list);
    until(&heap, || drops.load(Ordering::SeqCst) == 1_000_000);
}

#[test]
fn a_long_list_of_wide_nodes_is_dropped_without_recursion() {
    #[derive(Movable)]
    struct Node {
        _next: Option<Handle<Node>>,
        _leaves: Vec<Handle<Counted>>,
    }
    const NODES: usize = 20_000;
    const LEAVES: usize = 70;
    let heap = heap();
    let drops = Arc::new(AtomicUsize::new(0));
    let mut list = None;
    for number in 0..NODES as u64 {
        let leaf = || heap.handle(Counted { number, drops: Arc::clone(&drops) });
        list = Some(heap.handle(Node { _next: list, _leaves: (0..LEAVES).map(|_| leaf()).collect() }));
    }
    drop(list);
    until(&heap, || drops.load(Ordering::SeqCst) == NODES * LEAVES);
}

#[test]
fn update_with_loses_no_change_of_any_thread() {
    let heap = heap();
    let sum = heap.handle((0_u64, 0_u64));
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let _over = SetAtEnd(&is_over);
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                heap.compact_with(CompactOptions::new().sparse(1.0)).unwrap();
            }
        });
        let changing: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..5_000 {
                        sum.update_with(|&(a, b)| (a + 1, b + 2)).unwrap();
                    }
                })
            })
            .collect();
        changing.into_iter().for_each(|thread| thread.join().unwrap());
    });
    assert_eq!(*sum.get(&heap.pin()), (15_000, 30_000));
}

#[test]
fn readers_writers_drops_and_a_compactor_at_once_see_whole_values_only() {
    const SLOTS: usize = 2_000;
    const ROUNDS: usize = 30_000;
    let heap = heap();
    let seed = seed(7);
    let value = |n: u64| -> Vec<u64> { vec![n; 3 + n as usize % 5] };
    let slots: Vec<Mutex<Handle<Vec<u64>>>> = (0..SLOTS as u64).map(|n| Mutex::new(heap.handle(value(n)))).collect();
    let plain: Vec<Mutex<Handle<[u64; 9]>>> = (0..SLOTS as u64).map(|n| Mutex::new(heap.handle([n; 9]))).collect();
    let (is_over, moved) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let over = SetAtEnd(&is_over);
        let work = |number| {
            let (heap, slots, plain, is_over, moved) = (&heap, &slots, &plain, &is_over, &moved);
            scope.spawn(move || {
                let mut random = Random(seed + number);
                let mut round = 0;
                // Also until enough was moved meanwhile.
                let is_enough = || moved.load(Ordering::Relaxed) >= 10_000 || is_over.load(Ordering::Relaxed);
                while round < ROUNDS || !is_enough() {
                    round += 1;
                    let at = random.below(SLOTS);
                    let n = random.next() % (1 << 40);
                    match random.below(10) {
                        0 => *slots[at].lock().unwrap() = heap.handle(value(n)),
                        1 => *plain[at].lock().unwrap() = heap.handle([n; 9]),
                        2 => plain[at].lock().unwrap().clone().update([n; 9]).unwrap(),
                        3 => slots[at].lock().unwrap().clone().update(value(n)).unwrap(),
                        _ => {
                            let handles = (slots[at].lock().unwrap().clone(), plain[at].lock().unwrap().clone());
                            let pin = heap.pin();
                            let (one, other) = (handles.0.get(&pin), handles.1.get(&pin));
                            drop(handles);
                            assert!(one.iter().all(|n| *n == one[0]) && one.len() == 3 + one[0] as usize % 5);
                            assert!(other.iter().all(|n| *n == other[0]));
                        }
                    }
                }
            })
        };
        let workers = [0, 1, 2, 3].map(work);
        while !workers.iter().all(thread::ScopedJoinHandle::is_finished) {
            let report = heap.compact_with(CompactOptions::new().sparse(1.0)).unwrap();
            moved.fetch_add(report.moved_objects, Ordering::Relaxed);
        }
        drop(over);
    });
    drop((slots, plain));
    until(&heap, || heap.stats().live_bytes <= 22 << 20);
}

#[test]
fn values_lie_in_the_order_in_which_they_were_named() {
    let heap = heap();
    let mut all: Vec<_> = (0..50_000_u64).map(|n| heap.handle([n; 5])).collect();
    let mut random = Random(seed(42));
    for at in (1..all.len()).rev() {
        all.swap(at, random.below(at + 1));
    }
    let report = heap.place_in_order(&all).unwrap();
    assert_eq!(report.moved_objects, all.len() as u64);
    let pin = heap.pin();
    let places: Vec<usize> = all.iter().map(|handle| std::ptr::from_ref(handle.get(&pin)).addr()).collect();
    let follow = places.windows(2).filter(|pair| pair[1] == pair[0] + 48).count();
    assert!(follow > all.len() - 10, "{follow} of {} follow each other", all.len());
}

#[test]
fn a_budget_ends_a_compaction_before_all_is_moved_and_the_next_goes_on() {
    let heap = heap();
    let mut all: Vec<_> = (0..400_000_u64).map(|n| heap.handle([n; 4])).collect();
    let mut number = 0;
    all.retain(|_| {
        number += 1;
        number % 3 == 0
    });
    let options = CompactOptions::new().budget(std::time::Duration::from_micros(1));
    let first = heap.compact_with(options).unwrap();
    assert!(!first.is_complete && first.moved_objects > 0 && first.moved_objects < all.len() as u64 / 2, "{first}");
    let rest = heap.compact().unwrap();
    assert!(rest.is_complete && rest.moved_objects > 0);
    let pin = heap.pin();
    assert!(all.iter().enumerate().all(|(at, handle)| handle.get(&pin)[0] == at as u64 * 3 + 2));
}

#[test]
fn a_maintenance_thread_moves_values_together_when_told_to() {
    let heap = heap();
    let maintenance = heap.start_maintenance(MaintenanceOptions::new().compact(true)).unwrap();
    let mut all: Vec<_> = (0..200_000_u64).map(|n| heap.handle([n; 8])).collect();
    let mut number = 0;
    all.retain(|_| {
        number += 1;
        number % 8 == 0
    });
    while maintenance.report().done.moved_bytes < 500_000 {
        thread::yield_now();
    }
    let pin = heap.pin();
    assert!(all.iter().enumerate().all(|(at, handle)| handle.get(&pin)[7] == at as u64 * 8 + 7));
    assert!(maintenance.stop().last_error.is_none());
}

/// Values of which every eighth is left, and how many bytes they take where they are moved to.
fn an_eighth_of_many(heap: &Heap) -> (Vec<Handle<[u64; 15]>>, u64) {
    let mut number = 0;
    let mut all: Vec<_> = (0..1_200_000_u64).map(|n| heap.handle([n; 15])).collect();
    all.retain(|_| {
        number += 1;
        number % 8 == 0
    });
    let bytes = all.len() as u64 * 128;
    (all, bytes)
}

#[test]
fn no_more_is_moved_in_a_second_than_the_rate_says() {
    const RATE: u64 = 50_000_000;
    let least = |moved: u64| std::time::Duration::from_secs_f64(moved as f64 / 2.0 / RATE as f64);
    let one = heap();
    let (all, bytes) = an_eighth_of_many(&one);
    // The time is over before the second step.
    let stopped = one.compact_with(CompactOptions::new().rate(1).budget(std::time::Duration::from_secs(1))).unwrap();
    assert!(!stopped.is_complete && stopped.moved_objects > 0, "{stopped}");
    assert!(!one.compact_with(CompactOptions::new().rate(0)).unwrap().is_complete);
    let rest = one.compact_with(CompactOptions::new().rate(RATE)).unwrap();
    assert!(rest.is_complete && rest.moved_bytes > bytes / 2 && rest.took >= least(rest.moved_bytes), "{rest}");
    let pin = one.pin();
    assert!(all.iter().enumerate().all(|(at, handle)| handle.get(&pin)[14] == at as u64 * 8 + 7));

    let other = heap();
    let (_all, bytes) = an_eighth_of_many(&other);
    let began = std::time::Instant::now();
    let maintenance = other.start_maintenance(MaintenanceOptions::new().compact(true).compact_rate(RATE)).unwrap();
    let moved = || maintenance.report().done.moved_bytes;
    while moved() < bytes / 4 * 3 {
        thread::yield_now();
    }
    assert!(began.elapsed() >= least(moved()), "{:?}", began.elapsed());
    assert!(maintenance.stop().last_error.is_none());
}

#[test]
fn the_default_heap_has_handles_too() {
    let all: Vec<_> = (0..100_000_u64).map(|n| Handle::new_in([n; 3], SalAlloc::new())).collect();
    let kept: Vec<_> = all.iter().step_by(50).cloned().collect();
    drop(all);
    SalAlloc::new().compact().unwrap();
    let heap = SalAlloc::new();
    let pin = heap.pin();
    assert!(kept.iter().enumerate().all(|(at, handle)| *handle.get(&pin) == [at as u64 * 50; 3]));
}

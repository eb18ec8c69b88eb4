//! The hot set: what is read often comes there and stays there, within its budget, and is kept in memory if the system lets us.
#![allow(unsafe_code)]

use sal::collections::SalVec;
use sal::prelude::*;
use sal::{
    CompactOptions, Handle, HeapOptions, HotSetError, HotSetOptions, HotSetStats, LockError, MaintenanceOptions, Mode,
    Order, SalCollect, SalHotSet, SalMovable, Unlocked,
};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

mod support;
use support::heaps::{each_kind, open, unmap};
use support::{Random, SetAtEnd, all_are, alone, fresh_path, process, seed};

const MIB: u64 = 1 << 20;
/// Numbers of a value; with the word before it, it takes 256 bytes.
const NUMBERS: usize = 31;
type Value = [u64; NUMBERS];

/// Draws numbers below an end, the first ones more often, as Zipf's law says; `shift` later ones take their place.
struct Zipf {
    sums: Vec<f64>,
    random: Random,
    shift: usize,
}

impl Zipf {
    fn new(end: usize, random: u64) -> Self {
        let mut sum = 0.0;
        let sums = (1..=end).map(|rank| {
            sum += 1.0 / rank as f64;
            sum
        });
        Self { sums: sums.collect(), random: Random(random), shift: 0 }
    }

    fn draw(&mut self) -> usize {
        let all = self.sums[self.sums.len() - 1];
        let at = (self.random.next() % (1 << 40)) as f64 / (1_u64 << 40) as f64 * all;
        // Neighbours in rank do not lie side by side.
        (self.sums.partition_point(|&sum| sum <= at) * 7919 + self.shift) % self.sums.len()
    }

    /// The part of draws that the first so many numbers have.
    fn part(&self, first: usize) -> f64 {
        self.sums[first - 1] / self.sums[self.sums.len() - 1]
    }
}

fn values(heap: &Heap, number: usize) -> Vec<Handle<Value>> {
    (0..number as u64).map(|n| heap.handle([n; NUMBERS])).collect()
}

fn read(heap: &Heap, all: &[Handle<Value>], zipf: &mut Zipf, times: usize) {
    for _ in 0..times {
        let at = zipf.draw();
        assert_eq!(all[at].get(&heap.pin())[7], at as u64);
    }
}

/// The part of reads that find their value in the hot set.
fn hit_rate(heap: &Heap, all: &[Handle<Value>], zipf: &mut Zipf) -> f64 {
    let before = heap.hot_set_stats().unwrap();
    read(heap, all, zipf, 200_000);
    heap.hot_set_stats().unwrap().hit_rate(Some(&before))
}

fn is_within_budget(stats: &HotSetStats) -> bool {
    stats.hot_bytes <= stats.budget && stats.locked_bytes <= stats.hot_bytes && stats.object_bytes <= stats.hot_bytes
}

/// Bytes that the system keeps in memory of this process.
fn locked_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmLck:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

/// Whether this process may lock as much as the tests want to.
fn may_lock() -> bool {
    let bytes = vec![0_u8; 16 << 20];
    // SAFETY: our own memory, of which nothing is changed.
    unsafe {
        libc::mlock(bytes.as_ptr().cast(), bytes.len()) == 0 && libc::munlock(bytes.as_ptr().cast(), bytes.len()) == 0
    }
}

#[test]
fn what_is_read_most_often_comes_into_the_hot_set_and_little_moves_from_then_on() {
    let _alone = alone();
    let heap = HeapOptions::new().volatile().unwrap();
    let all = values(&heap, 65_536);
    let mut zipf = Zipf::new(all.len(), seed(11));
    heap.hot_set(HotSetOptions::new(4 * MIB).sample_every(2)).unwrap();
    let ideal = zipf.part((4 * MIB) as usize / 256);
    for _ in 0..6 {
        read(&heap, &all, &mut zipf, 200_000);
        let stats = heap.adjust_hot_set().unwrap();
        assert!(is_within_budget(&stats), "{stats}");
    }
    let rate = hit_rate(&heap, &all, &mut zipf);
    println!("{:.3} of {ideal:.3} that are possible; {}", rate, heap.hot_set_stats().unwrap());
    assert!(rate >= ideal * 0.95 && rate <= ideal * 1.03, "{rate:.3} of {ideal:.3}");
    // It goes on so, and a fiftieth of the budget moves in each round at most.
    let before = heap.hot_set_stats().unwrap();
    for _ in 0..10 {
        read(&heap, &all, &mut zipf, 200_000);
        heap.adjust_hot_set().unwrap();
    }
    let stats = heap.hot_set_stats().unwrap();
    let moved = stats.promotions - before.promotions + stats.demotions - before.demotions;
    println!("{moved} moves in ten rounds; {stats}");
    assert!(moved / 10 <= 16_384 / 50, "{moved} moves in ten rounds");
    assert!(hit_rate(&heap, &all, &mut zipf) >= ideal * 0.95);
}

#[test]
fn another_distribution_drives_out_what_was_read_often_before() {
    let _alone = alone();
    let heap = HeapOptions::new().volatile().unwrap();
    let all = values(&heap, 32_768);
    let mut zipf = Zipf::new(all.len(), seed(12));
    heap.hot_set(HotSetOptions::new(2 * MIB).sample_every(1)).unwrap();
    let ideal = zipf.part((2 * MIB) as usize / 256);
    let rounds = |zipf: &mut Zipf, number: usize| {
        for _ in 0..number {
            read(&heap, &all, zipf, 100_000);
            let stats = heap.adjust_hot_set().unwrap();
            assert!(is_within_budget(&stats), "{stats}");
        }
        hit_rate(&heap, &all, zipf)
    };
    assert!(rounds(&mut zipf, 25) >= ideal * 0.95);
    zipf.shift = 1234;
    let before = heap.hot_set_stats().unwrap();
    let moved = hit_rate(&heap, &all, &mut zipf);
    assert!(moved < ideal * 0.8, "{moved:.3}: the old ones serve the new distribution");
    // Half as many reads as there were of the others.
    let rate = rounds(&mut zipf, 12);
    let stats = heap.hot_set_stats().unwrap();
    println!("{rate:.3} of {ideal:.3} that are possible after the change; {stats}");
    assert!(rate >= ideal * 0.95, "{rate:.3} of {ideal:.3}; {stats}");
    assert!(stats.demotions - before.demotions > 2_000 && stats.halvings > before.halvings, "{stats}");
}

#[test]
fn one_pass_through_everything_changes_little() {
    let _alone = alone();
    let heap = HeapOptions::new().volatile().unwrap();
    let all = values(&heap, 65_536);
    let mut zipf = Zipf::new(all.len(), seed(13));
    heap.hot_set(HotSetOptions::new(4 * MIB).sample_every(1)).unwrap();
    for _ in 0..6 {
        read(&heap, &all, &mut zipf, 200_000);
        heap.adjust_hot_set().unwrap();
    }
    let before = heap.hot_set_stats().unwrap();
    let pin = heap.pin();
    assert!(all.iter().enumerate().all(|(n, handle)| handle.get(&pin)[1] == n as u64));
    drop(pin);
    let stats = heap.adjust_hot_set().unwrap();
    assert!(stats.promotions - before.promotions <= 16_384 / 20, "{stats}");
    // Nor does a compaction take away what is hot.
    heap.compact_with(CompactOptions::new().sparse(1.0)).unwrap();
    let after = heap.hot_set_stats().unwrap();
    assert_eq!((after.hot_bytes, after.object_bytes), (stats.hot_bytes, stats.object_bytes));
    assert!(hit_rate(&heap, &all, &mut zipf) >= zipf.part(16_384) * 0.95);
}

#[test]
fn a_smaller_budget_is_kept_from_the_next_adjustment_on() {
    let _alone = alone();
    let heap = HeapOptions::new().volatile().unwrap();
    let all = values(&heap, 65_536);
    heap.hot_set(HotSetOptions::new(8 * MIB).sample_every(1)).unwrap();
    let read_all = || {
        let pin = heap.pin();
        assert!(all.iter().enumerate().all(|(n, handle)| handle.get(&pin)[1] == n as u64));
    };
    read_all();
    let stats = heap.adjust_hot_set().unwrap();
    assert!(stats.hot_bytes == 8 * MIB && stats.object_bytes > 7 * MIB, "{stats}");
    heap.hot_set(HotSetOptions::new(5 * MIB).sample_every(1)).unwrap();
    read_all();
    let stats = heap.adjust_hot_set().unwrap();
    assert!(is_within_budget(&stats) && stats.budget == 5 * MIB && stats.hot_bytes == 4 * MIB, "{stats}");
    read_all();
    assert_eq!(heap.hot_set(HotSetOptions::new(MIB)), Err(HotSetError::BudgetTooSmall { least: 2 * MIB }));
}

#[test]
fn without_a_hot_set_nothing_is_counted_and_after_its_end_nothing_is_locked() {
    let _alone = alone();
    let locked_before = locked_bytes();
    let heap = HeapOptions::new().volatile().unwrap();
    let all = values(&heap, 20_000);
    assert!(heap.hot_set_stats().is_none() && heap.end_hot_set().is_none());
    assert_eq!(heap.adjust_hot_set(), Err(HotSetError::None));
    heap.hot_set(HotSetOptions::new(2 * MIB).sample_every(1)).unwrap();
    let pin = heap.pin();
    all.iter().for_each(|handle| assert!(handle.get(&pin)[0] < 20_000));
    drop(pin);
    let stats = heap.adjust_hot_set().unwrap();
    assert_eq!((stats.samples, stats.hits), (20_000, 0));
    assert_eq!((stats.hot_bytes, stats.unlocked_because.is_none()), (2 * MIB, may_lock()));
    assert_eq!(locked_bytes() - locked_before, stats.locked_bytes);
    assert!(heap.end_hot_set().is_some_and(|last| last == stats));
    assert_eq!((locked_bytes(), heap.hot_set_stats()), (locked_before, None));
    // A second one begins with nothing.
    heap.hot_set(HotSetOptions::new(2 * MIB).without_lock()).unwrap();
    let stats = heap.adjust_hot_set().unwrap();
    assert_eq!((stats.hot_bytes, stats.locked_bytes), (0, 0));
    // Closing ends it, too.
    heap.hot_set(HotSetOptions::new(2 * MIB).sample_every(1)).unwrap();
    all.iter().for_each(|handle| assert!(handle.get(&heap.pin())[0] < 20_000));
    assert!(heap.adjust_hot_set().unwrap().hot_bytes > 0);
    drop(all);
    drop(heap);
    assert_eq!(locked_bytes(), locked_before);
}

#[test]
fn values_of_all_sizes_stay_whole_and_large_ones_stay_where_they_are() {
    let _alone = alone();
    let heap = HeapOptions::new().volatile().unwrap();
    #[derive(sal::Movable, Clone, Copy)]
    #[repr(align(512))]
    struct Wide([u8; 512]);
    let texts: Vec<_> = (0..2_000).map(|n| heap.handle_str(&"x".repeat(n))).collect();
    let wide: Vec<_> = (0..500_u32).map(|n| heap.handle(Wide([n as u8; 512]))).collect();
    let large = heap.handle_slice(&vec![7_u8; 300 << 10]);
    heap.hot_set(HotSetOptions::new(16 * MIB).sample_every(1)).unwrap();
    let check = || {
        let pin = heap.pin();
        assert!(texts.iter().enumerate().all(|(n, text)| text.get(&pin).len() == n));
        assert!(wide.iter().enumerate().all(|(n, wide)| wide.get(&pin).0 == [n as u8; 512]));
        large.get(&pin).as_ptr()
    };
    let at = check();
    let stats = heap.adjust_hot_set().unwrap();
    assert_eq!((stats.promotions, stats.samples), (2_500, 2_501));
    assert_eq!(check(), at);
    let after = heap.hot_set_stats().unwrap();
    assert!(after.hits == 2_500 && after.object_bytes >= 2_000 * 1_000 + 500 * 512, "{after}");
}

#[test]
fn threads_read_replace_and_drop_values_while_these_come_and_go() {
    let _alone = alone();
    const SLOTS: usize = 16_384;
    let seed = seed(14);
    let heap = HeapOptions::new().volatile().unwrap();
    let slots: Vec<Mutex<Handle<Value>>> = (0..SLOTS as u64).map(|n| Mutex::new(heap.handle([n; NUMBERS]))).collect();
    heap.hot_set(HotSetOptions::new(2 * MIB).sample_every(1)).unwrap();
    let (is_over, most) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let _over = SetAtEnd(&is_over);
        let workers: Vec<_> = (0..2)
            .map(|number| {
                let (heap, slots) = (&heap, &slots);
                scope.spawn(move || {
                    let mut zipf = Zipf::new(SLOTS, seed + number);
                    for round in 0..60_000_u64 {
                        zipf.shift = round as usize / 20_000 * 4_321;
                        let at = zipf.draw();
                        match zipf.random.below(10) {
                            0 => *slots[at].lock().unwrap() = heap.handle([round; NUMBERS]),
                            1 => slots[at].lock().unwrap().update([round; NUMBERS]).unwrap(),
                            _ => {
                                let handle = slots[at].lock().unwrap().clone();
                                let pin = heap.pin();
                                let value = handle.get(&pin);
                                drop(handle);
                                assert!(value.iter().all(|n| *n == value[0]));
                            }
                        }
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                let stats = heap.adjust_hot_set_within(Duration::from_millis(5)).unwrap();
                assert!(is_within_budget(&stats), "{stats}");
                most.fetch_max(stats.promotions, Ordering::Relaxed);
                heap.compact().unwrap();
            }
        });
        workers.into_iter().for_each(|worker| worker.join().unwrap());
    });
    assert!(most.load(Ordering::Relaxed) > 2_000, "{}", heap.hot_set_stats().unwrap());
    let pin = heap.pin();
    let is_whole = |slot: &Mutex<Handle<Value>>| slot.lock().unwrap().get(&pin).windows(2).all(|two| two[0] == two[1]);
    assert!(slots.iter().all(is_whole));
}

#[test]
fn a_hot_set_whose_values_are_dropped_gives_its_memory_back() {
    let _alone = alone();
    let locked_before = locked_bytes();
    let heap = HeapOptions::new().volatile().unwrap();
    let mut all = values(&heap, 32_768);
    heap.hot_set(HotSetOptions::new(6 * MIB).sample_every(1)).unwrap();
    all.iter().for_each(|handle| assert!(handle.get(&heap.pin())[0] < 32_768));
    assert_eq!(heap.adjust_hot_set().unwrap().hot_bytes, 6 * MIB);
    all.clear();
    // One is open still.
    let stats = heap.adjust_hot_set().unwrap();
    assert!(stats.hot_bytes <= 2 * MIB && stats.object_bytes == 0, "{stats}");
    assert_eq!(locked_bytes() - locked_before, stats.locked_bytes);
    // What comes to lie at the same entries is not taken for what was read.
    let others = values(&heap, 32_768);
    let promotions = stats.promotions;
    assert_eq!(heap.adjust_hot_set().unwrap().promotions, promotions);
    drop(others);
}

#[test]
fn a_process_that_may_lock_nothing_or_little_goes_on_and_says_so() {
    const NAME: &str = "a_process_that_may_lock_nothing_or_little_goes_on_and_says_so";
    let Some((role, _)) = process::role() else {
        let (_directory, path) = fresh_path();
        for role in ["nothing", "little"] {
            process::run(NAME, role, &path);
        }
        return;
    };
    let limit = if role == "nothing" { 0 } else { 2 * MIB };
    let set = libc::rlimit { rlim_cur: limit, rlim_max: limit };
    // SAFETY: this process is about this test only. Who is privileged has no limit.
    unsafe {
        assert_eq!(libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const set), 0);
        assert!(libc::geteuid() != 0 || libc::setuid(65_534) == 0);
    }
    let heap = HeapOptions::new().volatile().unwrap();
    let all = values(&heap, 32_768);
    heap.hot_set(HotSetOptions::new(4 * MIB).sample_every(1)).unwrap();
    all.iter().for_each(|handle| assert!(handle.get(&heap.pin())[0] < 32_768));
    let stats = heap.adjust_hot_set().unwrap();
    assert_eq!((stats.hot_bytes, stats.locked_bytes, stats.limit), (4 * MIB, limit, Some(limit)));
    assert_eq!((stats.unlocked_because, locked_bytes()), (Some(Unlocked::Refused), limit));
    assert!(stats.to_string().contains("not all is locked: this process may not lock more"), "{stats}");
    assert!(all.iter().enumerate().all(|(n, handle)| handle.get(&heap.pin())[3] == n as u64));
    let at = std::ptr::from_ref(all[0].get(&heap.pin())).addr();
    let refused = heap.lock_range(at..at + 4 * MIB as usize).unwrap_err();
    assert!(matches!(refused, LockError::Refused { limit: Some(found), .. } if found == limit), "{refused}");
    assert!(refused.to_string().contains(&limit.to_string()));
    assert_eq!(locked_bytes(), limit, "what was locked before is");
}

#[test]
fn heaps_of_all_kinds_have_hot_sets_and_what_they_commit_is_right() {
    let _alone = alone();
    const ALL: Root<SalVec<Handle<Value>>> = Root::new("all");
    let directory = tempfile::tempdir().unwrap();
    for (kind, heap, _) in each_kind(&HeapOptions::new(), directory.path()) {
        if heap.mode() == Mode::Shared {
            // Handles are no copy-on-write values.
            continue;
        }
        let mut zipf = Zipf::new(20_000, seed(15));
        let handles = values(&heap, 20_000);
        heap.write().unwrap().root_or_default(ALL).unwrap().extend(handles.iter().cloned());
        heap.hot_set(HotSetOptions::new(2 * MIB).sample_every(1)).unwrap();
        for round in 0..4 {
            read(&heap, &handles, &mut zipf, 50_000);
            zipf.shift += 777;
            let stats = heap.adjust_hot_set().unwrap();
            assert!(is_within_budget(&stats) && stats.promotions > 1_000, "{kind}: {stats}");
            if heap.mode() == Mode::Atomic {
                heap.sync().unwrap();
                // Nothing moves, and so nothing is written.
                let before = heap.stats().commits.unwrap().pages;
                read(&heap, &handles, &mut zipf, 100);
                heap.sync().unwrap();
                let pages = heap.stats().commits.unwrap().pages - before;
                assert!(pages <= 2, "{round}: {pages} pages");
            }
        }
        drop(handles);
        let read = heap.read().unwrap();
        assert!(read.root(ALL).unwrap().iter().enumerate().all(|(n, handle)| handle.get(&heap.pin())[9] == n as u64));
        drop(read);
    }
}

#[test]
fn pages_that_are_locked_are_read_in_and_are_not_written() {
    let _alone = alone();
    const TABLE: Root<SalVec<u64>> = Root::new("table");
    let (_directory, path) = fresh_path();
    let heap = open(&path);
    heap.write().unwrap().root_or_default(TABLE).unwrap().extend(0..400_000);
    heap.sync().unwrap();
    unmap(heap);
    let heap = open(&path);
    let locked_before = locked_bytes();
    match heap.lock_root(TABLE) {
        Err(error) => assert!(!may_lock() && matches!(error, LockError::Refused { .. }), "{error}"),
        Ok(lock) => {
            assert!(lock.bytes() >= 3_200_000 && lock.bytes() < 6_000_000, "{}", lock.bytes());
            assert_eq!(locked_bytes() - locked_before, lock.bytes());
            let before = heap.stats().commits.unwrap().pages;
            heap.sync().unwrap();
            assert_eq!(heap.stats().commits.unwrap().pages, before);
            heap.write().unwrap().root_mut(TABLE).unwrap()[300_000] = 1;
            heap.sync().unwrap();
            let pages = heap.stats().commits.unwrap().pages - before;
            assert!(pages > 0 && pages < 10, "{pages}");
            drop(lock);
        }
    }
    assert_eq!(locked_bytes(), locked_before);
    assert!(matches!(heap.lock_root(Root::<u64>::new("none")), Err(LockError::Root(_))));
    unmap(heap);
    let heap = open(&path);
    let sum = heap.read().unwrap().root(TABLE).unwrap().iter().sum::<u64>();
    assert_eq!(sum, (0..400_000).sum::<u64>() - 300_000 + 1);
    unmap(heap);
}

#[test]
fn a_range_stays_locked_until_nobody_wants_it_any_more() {
    let _alone = alone();
    if !may_lock() {
        return;
    }
    let locked_before = locked_bytes();
    let now = || locked_bytes() - locked_before;
    let heap = HeapOptions::new().volatile().unwrap();
    let mut bytes = allocator_api2::vec::Vec::new_in(heap.alloc());
    bytes.resize(4 << 20, 1_u8);
    let start = bytes.as_ptr().addr().next_multiple_of(4096);
    let lock = |from: usize, to: usize| heap.lock_range(start + from * 4096..start + to * 4096).unwrap();
    let (first, second) = (lock(0, 100), lock(50, 200));
    assert_eq!((first.bytes(), now()), (100 * 4096, 200 * 4096));
    drop(first);
    assert_eq!(now(), 150 * 4096);
    let third = lock(0, 300);
    drop(second);
    assert_eq!(now(), 300 * 4096);
    assert!(matches!(heap.lock_range(0..4096), Err(LockError::OutsideHeap { .. })));
    assert!(matches!(heap.lock_range(start..usize::MAX), Err(LockError::OutsideHeap { .. })));
    // What is freed under a lock is given back all the same, and is empty when it is taken again.
    drop(bytes);
    heap.purge();
    let mut bytes = allocator_api2::vec::Vec::<u8, _>::new_in(heap.alloc());
    bytes.resize(4 << 20, 0);
    assert!(all_are(&bytes, 0));
    drop(bytes);
    drop(heap);
    assert_eq!(now(), 0);
    drop(third);
}

#[test]
fn a_forked_child_has_the_values_and_nothing_locked() {
    const NAME: &str = "a_forked_child_has_the_values_and_nothing_locked";
    if process::role().is_none() {
        let (_directory, path) = fresh_path();
        return process::run(NAME, "forks", &path);
    }
    let heap = SalAlloc::new();
    let all: Vec<Handle<Value>> = (0..20_000).map(|n| heap.handle([n; NUMBERS])).collect();
    heap.hot_set(HotSetOptions::new(2 * MIB).sample_every(1)).unwrap();
    let read_all = || all.iter().enumerate().all(|(n, handle)| handle.get(&heap.pin())[5] == n as u64);
    assert!(read_all() && heap.adjust_hot_set().unwrap().hot_bytes == 2 * MIB);
    // SAFETY: the child uses what this crate promises to work there, and ends without destructors.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let is_right =
            read_all() && locked_bytes() == 0 && heap.hot_set_stats().is_some_and(|stats| stats.locked_bytes == 0);
        drop(all);
        // SAFETY: as said.
        unsafe { libc::_exit(i32::from(!(is_right && heap.adjust_hot_set().is_ok()))) };
    }
    let mut status = 0;
    // SAFETY: `status` is ours.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!(status, 0);
    assert!(read_all() && heap.end_hot_set().is_some_and(|stats| stats.hot_bytes == 2 * MIB));
}

#[test]
fn the_hot_set_does_not_unlock_what_somebody_has_locked() {
    let _alone = alone();
    if !may_lock() {
        return;
    }
    let locked_before = locked_bytes();
    let heap = HeapOptions::new().volatile().unwrap();
    let all = values(&heap, 16_000);
    heap.hot_set(HotSetOptions::new(2 * MIB).sample_every(1)).unwrap();
    all.iter().for_each(|handle| assert!(handle.get(&heap.pin())[0] < 16_000));
    heap.adjust_hot_set().unwrap();
    let place = |handle: &Handle<Value>| std::ptr::from_ref(handle.get(&heap.pin())).addr();
    let lock = heap.lock_range(place(&all[0])..place(&all[0]) + 1).unwrap();
    assert_eq!(locked_bytes() - locked_before, 2 * MIB);
    heap.end_hot_set();
    assert_eq!(locked_bytes() - locked_before, 4096);
    heap.hot_set(HotSetOptions::new(2 * MIB)).unwrap();
    drop(lock);
    assert_eq!(locked_bytes(), locked_before);
}

#[test]
fn a_maintenance_thread_adjusts_the_hot_set_and_so_does_maintaining_by_hand() {
    let _alone = alone();
    let heap = HeapOptions::new().volatile().unwrap();
    let all = values(&heap, 20_000);
    let maintenance = heap.start_maintenance(MaintenanceOptions::new()).unwrap();
    let every = Duration::from_millis(3);
    heap.hot_set(HotSetOptions::new(2 * MIB).sample_every(1).adjust_every(every)).unwrap();
    let promotions = || heap.hot_set_stats().unwrap().promotions;
    let read =
        |from: usize| all[from..from + 1_000].iter().for_each(|handle| assert!(handle.get(&heap.pin())[0] < 20_000));
    for round in 1..4 {
        read(round * 2_000);
        while promotions() < round as u64 * 1_000 {
            thread::yield_now();
        }
    }
    assert!(maintenance.stop().last_error.is_none());
    read(10_000);
    thread::sleep(2 * every);
    assert_eq!(promotions(), 3_000);
    heap.maintain(Duration::from_secs(10));
    assert_eq!(promotions(), 4_000);
    // Closing does not find sessions of its own thread.
    let _maintenance = heap.start_maintenance(MaintenanceOptions::new()).unwrap();
    heap.hot_set(HotSetOptions::new(2 * MIB).sample_every(1).adjust_every(Duration::ZERO)).unwrap();
    drop(all);
    heap.close().unwrap();
}

#[test]
fn a_compaction_in_the_order_of_access_puts_what_is_read_often_side_by_side() {
    let _alone = alone();
    let heap = HeapOptions::new().volatile().unwrap();
    let all = values(&heap, 40_000);
    heap.hot_set(HotSetOptions::new(2 * MIB).sample_every(1)).unwrap();
    for _ in 0..20 {
        assert!(all.iter().step_by(100).all(|handle| handle.get(&heap.pin())[0] % 100 == 0));
    }
    let spread = || {
        let mut pages: Vec<usize> =
            all.iter().step_by(100).map(|handle| std::ptr::from_ref(handle.get(&heap.pin())).addr() / 4096).collect();
        pages.sort_unstable();
        pages.dedup();
        pages.len()
    };
    assert!(spread() > 390);
    heap.compact_with(CompactOptions::new().sparse(1.0).order(Order::Access)).unwrap();
    let pages = spread();
    assert!(pages <= 400 * 256 / 4096 + 20, "{pages} pages");
}

#[test]
fn a_collection_leaves_nothing_locked_that_is_free_and_the_hot_set_goes_on() {
    let _alone = alone();
    const ALL: Root<SalVec<Handle<Value>>> = Root::new("all");
    let (_directory, path) = fresh_path();
    let heap = open(&path);
    let locked_before = locked_bytes();
    let mut handles = values(&heap, 20_000);
    heap.write().unwrap().root_or_default(ALL).unwrap().extend(handles.iter().step_by(2).cloned());
    heap.hot_set(HotSetOptions::new(4 * MIB).sample_every(1)).unwrap();
    handles.iter().skip(1).step_by(2).for_each(|handle| assert!(handle.get(&heap.pin())[0] < 20_000));
    assert_eq!(heap.adjust_hot_set().unwrap().hot_bytes, 4 * MIB);
    // All that is hot is lost.
    handles.drain(..).for_each(std::mem::forget);
    // SAFETY: no other thread has the heap, and nothing but the root has blocks of it that are used.
    unsafe { heap.collect() }.unwrap();
    let stats = heap.hot_set_stats().unwrap();
    assert_eq!(locked_bytes() - locked_before, stats.locked_bytes);
    let is_whole = || {
        let read = heap.read().unwrap();
        let all = read.root(ALL).unwrap();
        all.len() == 10_000 && all.iter().enumerate().all(|(n, handle)| handle.get(&heap.pin())[4] == 2 * n as u64)
    };
    assert!(is_whole());
    let stats = heap.adjust_hot_set().unwrap();
    assert!(is_within_budget(&stats) && stats.object_bytes >= 10_000 * 256, "{stats}");
    assert!(is_whole());
    heap.sync().unwrap();
    unmap(heap);
    let heap = open(&path);
    let sum: u64 = heap.read().unwrap().root(ALL).unwrap().iter().map(|handle| handle.get(&heap.pin())[4]).sum();
    assert_eq!(sum, (0..10_000).map(|n| 2 * n).sum());
    unmap(heap);
}

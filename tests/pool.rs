//! Collected pools in memory: what is kept, what is freed, and what is found out about wrong pointers.

mod support;

use sal::collections::{CowMap, SalHashMap, SalVec};
use sal::pool::{FinalizerId, Finalizers, GcError, NotAnObject, QueueId, Step};
use sal::{Collector, Gc, GcWeak, Persist, Pool, Rooted, SalRc};
use std::cell::Cell;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::rc::Rc;
use std::time::Duration;
use support::Random;

/// A node of a graph, which counts its drops in its thread.
#[derive(Persist)]
#[repr(C)]
struct Node {
    number: u64,
    next: Option<Gc<Node>>,
    others: SalVec<Gc<Node>>,
}

thread_local! {
    static DROPPED: Cell<u64> = const { Cell::new(0) };
}

impl Drop for Node {
    fn drop(&mut self) {
        DROPPED.set(DROPPED.get() + 1);
    }
}

fn node(number: u64) -> Node {
    Node { number, next: None, others: SalVec::new() }
}

fn numbers(pool: &Pool<Node>) -> BTreeSet<u64> {
    pool.check();
    pool.objects().map(|(_, node)| node.number).collect()
}

#[test]
fn cycles_are_freed_and_dropped_once_nothing_leads_to_them() {
    let (mut pool, collector) = (Pool::new(), Collector::new());
    let [a, b, c, d] = [0, 1, 2, 3].map(|number| pool.insert(node(number)));
    pool[a].next = Some(b);
    pool[b].others.extend([a, c, b]);
    pool[d].next = Some(d);
    let before = DROPPED.get();
    let guard = collector.root(b);
    let report = collector.collect(&mut pool).unwrap();
    assert_eq!((report.visited, report.freed, report.live, report.pools), (3, 1, 3, 1));
    assert_eq!((DROPPED.get() - before, numbers(&pool)), (1, BTreeSet::from([0, 1, 2])));
    drop(guard);
    let report = collector.collect(&mut pool).unwrap();
    assert_eq!((report.visited, report.freed, report.live), (0, 3, 0));
    assert_eq!(DROPPED.get() - before, 4);
    assert_eq!(pool.reserved_bytes(), 0, "a chunk without objects is given back");
    assert_eq!(report.released_bytes, 1 << 18);
}

#[test]
fn an_object_dropped_with_its_pool_is_dropped_once() {
    let before = DROPPED.get();
    let mut pool = Pool::new();
    (0..20_000).map(|number| pool.insert(node(number))).for_each(|_| ());
    pool.remove(pool.objects().next().unwrap().0).unwrap();
    drop(pool);
    assert_eq!(DROPPED.get() - before, 20_000);
}

/// Pools of two types whose objects lead to each other, and pointers beside them.
#[derive(Persist, Default)]
#[repr(C)]
struct World {
    towns: Pool<Town>,
    roads: Pool<Road>,
    capital: Option<Gc<Town>>,
    by_name: SalHashMap<u64, Gc<Town>>,
}

#[derive(Persist)]
#[repr(C)]
struct Town {
    roads: SalVec<Gc<Road>>,
}

#[derive(Persist)]
#[repr(C, u8)]
enum Road {
    Closed { _since: u64 },
    Between([Gc<Town>; 2]),
    Shared(SalRc<SalVec<Gc<Town>>>),
}

#[test]
fn pools_of_one_value_are_collected_together_and_its_own_pointers_are_roots() {
    let (mut world, collector) = (World::default(), Collector::new());
    let towns: Vec<Gc<Town>> = (0..6).map(|_| world.towns.insert(Town { roads: SalVec::new() })).collect();
    let road = world.roads.insert(Road::Between([towns[0], towns[1]]));
    world.towns[towns[0]].roads.push(road);
    let shared = world.roads.insert(Road::Shared(SalRc::from(SalVec::from([towns[2], towns[0]]))));
    world.towns[towns[1]].roads.push(shared);
    let closed = world.roads.insert(Road::Closed { _since: 7 });
    world.towns[towns[3]].roads.push(closed);
    world.capital = Some(towns[0]);
    world.by_name.insert(5, towns[5]);
    let report = collector.collect(&mut world).unwrap();
    assert_eq!((report.pools, report.visited, report.freed), (2, 6, 3));
    let left = [0, 1, 2, 5].map(|number: usize| towns[number]);
    assert!(world.towns.objects().map(|(gc, _)| gc).eq(left));
    assert!(!world.roads.contains(closed) && world.roads.contains(shared));
    world.capital = None;
    assert_eq!(collector.collect(&mut world).unwrap().freed, 5);
}

#[test]
fn pools_that_others_may_have_too_are_refused() {
    let collector = Collector::new();
    let mut shared = SalRc::from(Pool::<u64>::new());
    assert!(matches!(collector.collect(&mut shared), Err(GcError::SharedPool { .. })));
    let mut nested = Pool::<Pool<u64>>::new();
    assert!(collector.collect(&mut nested).is_err() && collector.collect_young(&mut nested).is_err());
    assert!(collector.step(&mut nested, Duration::ZERO).is_err() && collector.mark(&mut nested).is_err());
    let mut tree = CowMap::<u64, Gc<u64>>::new();
    assert_eq!(collector.collect(&mut tree).unwrap().pools, 0);
}

#[test]
fn wrong_pointers_are_found_out_and_nothing_is_done() {
    let (mut pool, mut other) = (Pool::new(), Pool::new());
    let [a, b] = [1, 2].map(|number| pool.insert(node(number)));
    let foreign = other.insert(node(3));
    assert_eq!(pool.free(foreign), Err(NotAnObject::Foreign));
    assert_eq!(Pool::new().free(a), Err(NotAnObject::Foreign));
    assert_eq!((pool.free(a), pool.free(a)), (Ok(()), Err(NotAnObject::Free)));
    assert!(pool.get(a).is_none() && pool.get_mut(a).is_none() && pool.downgrade(a).is_err());
    assert!(std::panic::catch_unwind(|| pool[a].number).is_err());
    // Other types' pointers to the same place do not fit their slots.
    let mut words = Pool::<[u64; 2]>::new();
    let word = words.insert([4, 5]);
    assert_eq!(words.locate(word.address() + 9), Some(word));
    assert_eq!(words.locate(word.address() + 16), None);
    assert_eq!(words.locate(0), None);
    assert_eq!(words.locate(usize::MAX), None);
    assert_eq!(words.locate(word.address() - 1), None, "the head of a chunk");
    assert_eq!(numbers(&pool), BTreeSet::from([2]));
    assert_eq!(pool.remove(b).unwrap().number, 2);
    assert!(pool.is_empty());
    pool.check();
}

#[test]
fn slots_are_taken_again_lowest_first_and_empty_chunks_go_at_once() {
    let mut pool = Pool::new();
    let all: Vec<Gc<[u64; 2]>> = (0..40_000).map(|number| pool.insert([number, 0])).collect();
    assert_eq!(pool.reserved_bytes(), 3 << 18);
    for &gc in &all[100..200] {
        pool.free(gc).unwrap();
    }
    pool.check();
    let mut sorted = all[100..200].to_vec();
    sorted.sort_unstable();
    // Where objects are made now, then what was freed.
    let last = (0..48_384 - 40_000).map(|_| pool.insert([1, 1])).last().unwrap();
    assert!(pool.contains(last));
    assert!(sorted.iter().all(|&expected| pool.insert([2, 2]) == expected));
    assert_eq!(pool.reserved_bytes(), 3 << 18);
    pool.check();
    let mut gone: Vec<_> = pool.objects().map(|(gc, _)| gc).collect();
    let mut random = Random(0x9E02);
    while !gone.is_empty() {
        let at = random.below(gone.len());
        pool.free(gone.swap_remove(at)).unwrap();
    }
    pool.check();
    assert!(pool.is_empty() && pool.reserved_bytes() <= 1 << 18);
}

#[test]
fn objects_of_any_size_and_alignment_have_their_place() {
    #[derive(Persist)]
    #[repr(C, align(4096))]
    struct Page([u8; 4096]);
    fn check<T: Persist>(make: impl Fn(u8) -> T, is: impl Fn(&T, u8) -> bool) {
        let (mut pool, collector) = (Pool::new(), Collector::new());
        let all: Vec<Rooted<'_, T>> = (0..20).map(|number| collector.root(pool.insert(make(number)))).collect();
        assert_eq!(collector.collect(&mut pool).unwrap().visited, 20);
        for (number, gc) in all.iter().enumerate() {
            assert!(gc.address() % align_of::<T>() == 0 && is(&pool[gc.gc()], number as u8));
            let last = gc.address() + size_of::<T>().saturating_sub(1);
            assert_eq!(pool.locate(last), Some(gc.gc()));
        }
        drop(all);
        assert_eq!(collector.collect(&mut pool).unwrap().freed, 20);
        pool.check();
    }
    check(|_| (), |_, _| true);
    check(|number| number, |is, number| *is == number);
    check(|number| [number; 17], |is, number| *is == [number; 17]);
    check(|number| Page([number; 4096]), |is, number| is.0 == [number; 4096]);
    // Larger than what the collector in C could do.
    check(|number| [number; 17 << 10], |is, number| is.iter().all(|byte| *byte == number));
    // Objects come by value, so the largest want a stack for that.
    let largest = || check(|number| [u64::from(number); 1 << 17], |is, number| is[77] == u64::from(number));
    std::thread::Builder::new().stack_size(64 << 20).spawn(largest).unwrap().join().unwrap();
}

#[test]
fn guards_keep_what_they_name_and_can_be_moved_to_another() {
    let (mut pool, collector) = (Pool::new(), Collector::new());
    let [a, b] = [1_u64, 2].map(|number| pool.insert(number));
    let mut guard = collector.root(a);
    let second = guard.clone();
    guard.set(b);
    assert_eq!(collector.collect(&mut pool).unwrap().freed, 0);
    assert_eq!((guard.address(), second.gc()), (b.address(), a));
    drop(second);
    assert_eq!(collector.collect(&mut pool).unwrap().freed, 1);
    assert!(pool.contains(*guard));
    // Another collector knows nothing of it.
    assert_eq!(Collector::new().collect(&mut pool).unwrap().freed, 1);
    assert_eq!(collector.collect(&mut pool).unwrap().visited, 0, "a guard of nothing keeps nothing");
}

#[test]
fn words_that_look_like_pointers_keep_objects_and_free_slots_are_not_marked() {
    let (mut pool, collector) = (Pool::new(), Collector::new());
    let all: Vec<Gc<[u64; 4]>> = (0..10).map(|number| pool.insert([number; 4])).collect();
    pool.free(all[3]).unwrap();
    // At the start, inside, in a free slot, in the head, nowhere.
    let words = [all[0].address(), all[1].address() + 31, all[3].address(), all[0].address() - 1, 1, usize::MAX];
    let source = collector.add_root_source(move |roots| {
        let mut bytes = vec![0xA5; 7 + size_of_val(&words)];
        // Words count where they are aligned, wherever the bytes begin.
        let start = bytes.as_ptr().align_offset(size_of::<usize>());
        for (place, word) in bytes[start..].chunks_exact_mut(size_of::<usize>()).zip(words) {
            place.copy_from_slice(&word.to_ne_bytes());
        }
        roots.visit_conservative(&bytes);
        roots.visit_conservative(&[]);
        roots.visit_conservative(&bytes[1..7]);
    });
    let marked = collector.mark(&mut pool).unwrap();
    assert!(marked.is_reachable(all[1]) && !marked.is_reachable(all[3]), "nothing is there to be marked");
    let report = marked.sweep();
    assert_eq!((report.visited, report.freed, pool.len()), (2, 7, 2));
    assert!(pool.contains(all[0]) && pool.contains(all[1]) && !pool.contains(all[3]));
    assert!(collector.remove_root_source(source) && !collector.remove_root_source(source));
    assert_eq!(collector.collect(&mut pool).unwrap().freed, 2);
}

#[test]
fn a_source_may_visit_values_and_pools_that_are_not_collected() {
    let mut outside = Pool::new();
    let (mut pool, collector) = (Pool::new(), Collector::new());
    let [a, b, c] = [1_u64, 2, 3].map(|number| pool.insert(number));
    outside.insert(a);
    let list = SalVec::from([Some(b), None]);
    collector.add_root_source(move |roots| {
        roots.visit_value(&outside);
        roots.visit_value(&list);
    });
    assert_eq!(collector.collect(&mut pool).unwrap().freed, 1);
    assert!(!pool.contains(c));
}

#[test]
fn what_is_reachable_is_known_between_marking_and_sweeping() {
    let (mut pool, collector) = (Pool::new(), Collector::new());
    let [a, b, c] = [1, 2, 3].map(|number| pool.insert(node(number)));
    pool[a].next = Some(b);
    let guard = collector.root(a);
    let marked = collector.mark(&mut pool).unwrap();
    assert!(marked.is_reachable(a) && marked.is_reachable(b) && !marked.is_reachable(c));
    drop(marked);
    assert_eq!(pool.len(), 3, "nothing is freed without a sweep");
    // After marking without a sweep nothing may be taken for old.
    assert!(!collector.collect_young(&mut pool).unwrap().is_young);
    assert_eq!(numbers(&pool), BTreeSet::from([1, 2]));
    drop(guard);
}

#[test]
fn weak_pointers_are_cleared_and_never_mean_another_object() {
    const QUEUE: QueueId = QueueId(7);
    let (mut pool, collector) = (Pool::new(), Collector::new());
    let [kept, lost, freed] = [1_u64, 2, 3].map(|number| pool.insert(number));
    let guard = collector.root(kept);
    let [a, b, c] = [kept, lost, freed].map(|gc| pool.downgrade_with_queue(gc, QUEUE).unwrap());
    let silent = pool.downgrade(lost).unwrap();
    let elsewhere = pool.downgrade_with_queue(lost, QueueId(8)).unwrap();
    assert_eq!(pool.downgrade_with_queue(lost, QUEUE), Ok(b), "one for each object and queue");
    assert_eq!([a, b, c].map(|weak| pool.upgrade(weak)), [Some(kept), Some(lost), Some(freed)]);
    pool.free(freed).unwrap();
    let report = collector.collect(&mut pool).unwrap();
    assert_eq!((report.cleared, report.freed), (3, 1));
    assert_eq!([a, b, c, silent].map(|weak| pool.upgrade(weak)), [Some(kept), None, None, None]);
    assert_eq!(pool.take_cleared(QUEUE), [c, b]);
    assert_eq!((pool.take_cleared(QUEUE), pool.take_cleared(QueueId(8))), (vec![], vec![elsewhere]));
    // New objects at the same places, and new weak pointers in the same entries.
    for number in 0..10 {
        let gc = pool.insert(number);
        let weak: GcWeak<u64> = pool.downgrade(gc).unwrap();
        assert!(![a, b, c, silent, elsewhere].contains(&weak));
    }
    assert_eq!([b, c, silent].map(|weak| pool.upgrade(weak)), [None, None, None]);
    pool.check();
    drop(guard);
}

#[test]
fn a_finalizer_runs_once_and_may_bring_its_object_back() {
    const KEEP: FinalizerId = FinalizerId(1);
    const UNKNOWN: FinalizerId = FinalizerId(2);
    let collector = Collector::new();
    let kept = Rc::new(Cell::new(None));
    let calls = Cell::new(0);
    let mut finalizers = Finalizers::new();
    assert!(!finalizers.register(KEEP, |pool: &mut Pool<Node>, gc: Gc<Node>| {
        calls.set(calls.get() + 1);
        assert_eq!(pool[pool[gc].next.unwrap()].number, 2, "what it leads to is still there");
        kept.set(Some(collector.root(gc)));
    }));
    let mut pool = Pool::new();
    let [a, b, c] = [1, 2, 3].map(|number| pool.insert(node(number)));
    pool[a].next = Some(b);
    pool.arm(a, KEEP).unwrap();
    pool.arm(c, UNKNOWN).unwrap();
    let weak = pool.downgrade(a).unwrap();
    assert_eq!(pool.finalize(&mut finalizers), 0);
    let report = collector.collect(&mut pool).unwrap();
    assert_eq!((report.finalizable, report.freed, report.cleared), (2, 0, 1));
    assert_eq!(pool.finalizable().into_iter().collect::<HashMap<_, _>>(), HashMap::from([(a, KEEP), (c, UNKNOWN)]));
    assert_eq!(pool.upgrade(weak), None, "weak pointers go before finalizers run");
    assert_eq!(collector.collect(&mut pool).unwrap().finalizable, 0, "it waits, and is found once");
    assert_eq!((pool.finalize(&mut finalizers), calls.get()), (1, 1));
    assert_eq!(collector.collect(&mut pool).unwrap().freed, 0, "it was brought back");
    drop(kept.take());
    let report = collector.collect(&mut pool).unwrap();
    assert_eq!((report.freed, report.finalizable), (2, 0), "and is not finalized again");
    assert_eq!((pool.finalize(&mut finalizers), calls.get(), pool.len()), (0, 1, 1));
    // One that was armed again is.
    let [a, b] = [1, 2].map(|number| pool.insert(node(number)));
    pool[a].next = Some(b);
    for _ in 0..2 {
        pool.arm(a, KEEP).unwrap();
        collector.collect(&mut pool).unwrap();
        assert_eq!(pool.finalize(&mut finalizers), 1);
        drop(kept.take());
    }
    assert_eq!(calls.get(), 3);
    assert!(pool.disarm(c) && !pool.disarm(c), "one that waits is let go");
    assert_eq!(collector.collect(&mut pool).unwrap().freed, 3);
}

#[test]
fn only_each_so_manieth_collection_sweeps_a_pool_that_wants_it() {
    let (mut world, collector) = (World::default(), Collector::new());
    world.towns.sweep_every(3).unwrap();
    let freed: Vec<u64> = (0..6)
        .map(|_| {
            world.towns.insert(Town { roads: SalVec::new() });
            world.roads.insert(Road::Closed { _since: 1 });
            collector.collect(&mut world).unwrap().freed
        })
        .collect();
    assert_eq!(freed, [1, 1, 4, 1, 1, 4]);
}

/// Of 16 bytes, so that 256 lie in a page of 4 KiB.
#[derive(Persist)]
#[repr(C)]
struct Cell16 {
    next: Option<Gc<Cell16>>,
    number: u64,
}

#[test]
fn of_what_survived_only_changed_pages_are_looked_at_again() {
    let (mut pool, collector) = (Pool::new(), Collector::new());
    let all: Vec<Gc<Cell16>> = (0..10_000).map(|number| pool.insert(Cell16 { next: None, number })).collect();
    let guards: Vec<_> = all.iter().map(|&gc| collector.root(gc)).collect();
    let report = collector.collect_young(&mut pool).unwrap();
    assert!(!report.is_young && report.visited == 10_000, "the first one is of all");
    let report = collector.collect_young(&mut pool).unwrap();
    assert_eq!((report.is_young, report.visited, report.remembered, report.freed), (true, 0, 0, 0));
    // Slot 0 is at 4 KiB, so pages have 256 each. Three changes in two pages.
    for number in [256, 300, 5_000] {
        let young = pool.insert(Cell16 { next: None, number: 1 });
        pool[all[number]].next = Some(young);
    }
    let lost = pool.insert(Cell16 { next: None, number: 2 });
    let report = collector.collect_young(&mut pool).unwrap();
    assert_eq!((report.is_young, report.remembered, report.visited, report.freed), (true, 512, 515, 1));
    assert!(!pool.contains(lost));
    // What was young is old now; what old ones lose stays until all are collected.
    pool[all[256]].next = None;
    drop(guards);
    let report = collector.collect_young(&mut pool).unwrap();
    assert_eq!((report.visited, report.freed, report.live), (256, 0, 10_003));
    assert_eq!(collector.collect(&mut pool).unwrap().freed, 10_003);
}

#[test]
fn a_collection_of_other_pools_is_followed_by_one_of_all() {
    let (mut world, collector) = (World::default(), Collector::new());
    let town = world.towns.insert(Town { roads: SalVec::new() });
    world.capital = Some(town);
    world.roads.insert(Road::Closed { _since: 0 });
    collector.collect(&mut world).unwrap();
    let road = world.roads.insert(Road::Closed { _since: 0 });
    world.towns[town].roads.push(road);
    // This one forgets that the town was changed, and sees no road.
    let guard = collector.root(town);
    assert!(!collector.collect_young(&mut world.towns).unwrap().is_young);
    let report = collector.collect_young(&mut world).unwrap();
    assert_eq!((report.is_young, report.freed), (false, 0));
    assert!(world.roads.contains(road));
    assert!(collector.collect_young(&mut world).unwrap().is_young);
    drop(guard);
}

/// Until it is done; `between` runs after each step.
fn steps<W: Persist>(
    collector: &Collector<'_>,
    world: &mut W,
    mut between: impl FnMut(&mut W),
) -> sal::pool::PoolReport {
    loop {
        match collector.step(world, Duration::from_micros(20)).unwrap() {
            Step::Done(report) => return report,
            _ => between(world),
        }
    }
}

#[test]
fn what_moves_behind_the_back_of_a_marking_in_steps_is_not_lost() {
    let (mut pool, collector) = (Pool::new(), Collector::new());
    let list: Vec<Gc<Cell16>> = (0..20_000).map(|number| pool.insert(Cell16 { next: None, number })).collect();
    for pair in list.windows(2) {
        pool[pair[0]].next = Some(pair[1]);
    }
    let guard = collector.root(list[0]);
    let mut random = Random(0x57E9);
    // The list is cut where marking has not come yet, and hung behind objects that are marked already, again and again.
    let mut count = 0;
    let report = steps(&collector, &mut pool, |pool| {
        count += 1;
        let cut = random.below(list.len() - 2) + 1;
        let tail = pool[list[cut]].next.take();
        let fresh = pool.insert(Cell16 { next: tail, number: 1 << 40 });
        pool[list[cut]].next = Some(fresh);
        let young = pool.insert(Cell16 { next: None, number: 1 << 41 });
        let first = pool[list[0]].next;
        pool[young].next = first;
        pool[list[0]].next = Some(young);
    });
    assert!(report.steps > 3, "{report:?}");
    let (mut at, mut seen) = (Some(list[0]), 0);
    while let Some(gc) = at {
        (at, seen) = (pool[gc].next, seen + 1);
    }
    assert_eq!(seen, 20_000 + 2 * count, "every node of the list is there");
    pool.check();
    drop(guard);
    assert_eq!(collector.collect(&mut pool).unwrap().freed, seen);
}

#[test]
fn steps_begin_again_when_others_collect_or_pools_come_and_go() {
    let collector = Collector::new();
    let mut world = World::default();
    let towns: Vec<_> = (0..5_000).map(|_| world.towns.insert(Town { roads: SalVec::new() })).collect();
    for &town in &towns {
        let road = world.roads.insert(Road::Between([town, towns[0]]));
        world.towns[town].roads.push(road);
        world.by_name.insert(town.address() as u64, town);
    }
    let mut taken = false;
    let mut count = 0;
    let report = steps(&collector, &mut world, |world| {
        count += 1;
        if count % 2 == 0 && count < 20 {
            // Without its roads, marking would not find what they lead to.
            let roads = std::mem::take(&mut world.roads);
            let _ = collector.step(world, Duration::ZERO).unwrap();
            world.roads = roads;
            taken = true;
        } else if count < 20 {
            Collector::new().collect(world).unwrap();
        }
    });
    assert!(taken || count < 2);
    assert_eq!((report.freed, world.towns.len(), world.roads.len()), (0, 5_000, 5_000));
}

#[test]
fn what_is_made_while_a_sweep_goes_on_in_steps_is_not_swept() {
    let (mut pool, collector) = (Pool::new(), Collector::new());
    // Four chunks without a free slot, of which only the first objects are kept.
    let all: Vec<Gc<Cell16>> = (0..4 * 16_128).map(|number| pool.insert(Cell16 { next: None, number })).collect();
    let guard = collector.root(all[0]);
    let mut made = Vec::new();
    let report = loop {
        match collector.step(&mut pool, Duration::ZERO).unwrap() {
            Step::Done(report) => break report,
            Step::Sweeping if made.is_empty() => {
                // In places of dead ones that are not swept yet, and in places that are free already.
                let freed: Vec<_> = all.iter().copied().filter(|&gc| pool.contains(gc) && gc != all[0]).collect();
                for gc in [freed[0], freed[freed.len() / 2], freed[freed.len() - 1]] {
                    pool.free(gc).unwrap();
                }
                let weak = pool.downgrade(freed[1]).unwrap();
                pool.arm(freed[1], FinalizerId(1)).unwrap();
                made.extend((0..20_000).map(|_| collector.root(pool.insert(Cell16 { next: None, number: 1 << 50 }))));
                assert_eq!(pool.upgrade(weak), Some(freed[1]));
            }
            _ => {}
        }
    };
    pool.check();
    assert!(report.freed > 0 && made.len() == 20_000);
    assert!(made.iter().all(|guard| pool.get(guard.gc()).is_some_and(|cell| cell.number == 1 << 50)));
    // What was left is found by the next one; the armed one waits then.
    let report = collector.collect_young(&mut pool).unwrap();
    assert!(made.iter().all(|guard| pool.contains(guard.gc())), "{report:?}");
    let report = collector.collect(&mut pool).unwrap();
    assert!(report.live - pool.finalizable().len() as u64 == 20_001, "{report:?}");
    drop(guard);
}

#[test]
fn a_random_graph_is_what_a_model_says_after_each_kind_of_collection() {
    for seed in 0..6 {
        println!("seed {seed}");
        let mut random = Random(seed);
        let (mut pool, collector) = (Pool::new(), Collector::new());
        let mut model: HashMap<u64, Vec<u64>> = HashMap::new();
        let mut places: HashMap<u64, Gc<Node>> = HashMap::new();
        let mut guards: Vec<Rooted<'_, Node>> = Vec::new();
        let mut next = 0;
        for _ in 0..4_000 {
            // What nothing leads to may be freed by the next step, so nobody uses it.
            let known: Vec<u64> = reached(&model, &pool, &guards).into_iter().collect();
            let any = |random: &mut Random| known.get(random.below(known.len().max(1))).copied();
            match random.below(20) {
                0..8 => {
                    let gc = pool.insert(node(next));
                    model.insert(next, Vec::new());
                    places.insert(next, gc);
                    if let (Some(from), true) = (any(&mut random), random.below(4) > 0) {
                        pool[places[&from]].others.push(gc);
                        model.get_mut(&from).unwrap().push(next);
                    }
                    next += 1;
                }
                8..12 => {
                    if let (Some(from), Some(to)) = (any(&mut random), any(&mut random)) {
                        pool[places[&from]].others.push(places[&to]);
                        model.get_mut(&from).unwrap().push(to);
                    }
                }
                12..15 => {
                    if let Some(from) = any(&mut random) {
                        pool[places[&from]].others.clear();
                        model.get_mut(&from).unwrap().clear();
                    }
                }
                15 => guards.extend(any(&mut random).map(|number| collector.root(places[&number]))),
                16 if !guards.is_empty() => drop(guards.swap_remove(random.below(guards.len()))),
                17 => {
                    collector.collect_young(&mut pool).unwrap();
                    let left = numbers(&pool);
                    assert!(reached(&model, &pool, &guards).is_subset(&left));
                    keep(&mut model, &mut places, &left);
                }
                18 => {
                    let _ = collector.step(&mut pool, Duration::from_nanos(random.next() % 2_000)).unwrap();
                    let left = numbers(&pool);
                    assert!(reached(&model, &pool, &guards).is_subset(&left));
                    keep(&mut model, &mut places, &left);
                }
                19 => {
                    collector.collect(&mut pool).unwrap();
                    let left = numbers(&pool);
                    assert_eq!(reached(&model, &pool, &guards), left, "exactly what is reached is left");
                    keep(&mut model, &mut places, &left);
                }
                _ => {}
            }
        }
        drop(guards);
    }
}

fn reached(model: &HashMap<u64, Vec<u64>>, pool: &Pool<Node>, guards: &[Rooted<'_, Node>]) -> BTreeSet<u64> {
    let mut left: Vec<u64> = guards.iter().map(|guard| pool[guard.gc()].number).collect();
    let mut reached = BTreeSet::new();
    while let Some(number) = left.pop() {
        if reached.insert(number) {
            left.extend(&model[&number]);
        }
    }
    reached
}

/// What is freed is forgotten; what leads to it is not reached, and forgets it too.
fn keep(model: &mut HashMap<u64, Vec<u64>>, places: &mut HashMap<u64, Gc<Node>>, left: &BTreeSet<u64>) {
    model.retain(|number, _| left.contains(number));
    places.retain(|number, _| left.contains(number));
    let dangling: HashSet<u64> =
        model.iter().filter(|(_, to)| to.iter().any(|to| !left.contains(to))).map(|(&number, _)| number).collect();
    // Of objects that nothing leads to, which a later collection frees.
    for number in dangling {
        model.get_mut(&number).unwrap().retain(|to| left.contains(to));
    }
}

#[test]
fn a_list_of_a_million_is_marked_swept_and_dropped_without_a_deep_stack() {
    let run = || {
        let (mut pool, collector) = (Pool::new(), Collector::new());
        let mut first = None;
        for number in 0..1_000_000 {
            first = Some(pool.insert(Cell16 { next: first, number }));
        }
        let guard = collector.root(first.unwrap());
        let report = collector.collect(&mut pool).unwrap();
        assert_eq!((report.visited, report.freed), (1_000_000, 0));
        drop(guard);
        assert_eq!(collector.collect(&mut pool).unwrap().freed, 1_000_000);
        (0..1_000_000).fold(None, |next, number| Some(pool.insert(Cell16 { next, number })));
    };
    std::thread::Builder::new().stack_size(128 << 10).spawn(run).unwrap().join().unwrap();
}

#[test]
fn an_object_that_leads_to_more_than_the_stack_has_room_for_keeps_them_all() {
    #[derive(Persist)]
    #[repr(C)]
    struct Wide {
        all: SalVec<Gc<Wide>>,
    }
    let (mut pool, collector) = (Pool::new(), Collector::new());
    let top = pool.insert(Wide { all: SalVec::new() });
    for _ in 0..1_500_000 {
        let below = pool.insert(Wide { all: SalVec::new() });
        pool.get_mut(top).unwrap().all.push(below);
    }
    let guard = collector.root(top);
    let report = collector.collect(&mut pool).unwrap();
    assert_eq!((report.visited, report.freed), (1_500_001, 0));
    drop(guard);
    assert_eq!(collector.collect(&mut pool).unwrap().freed, 1_500_001);
}

#[test]
fn ten_million_allocations_with_a_collection_after_each_hundredth() {
    let (mut pool, collector) = (Pool::new(), Collector::new());
    let mut first = collector.root(pool.insert(Cell16 { next: None, number: 0 }));
    let (mut freed, mut live) = (0, 1);
    for number in 1..10_000_000_u64 {
        let next = (number % 64 != 0).then_some(first.gc());
        live = if number % 64 == 0 { 1 } else { live + 1 };
        first.set(pool.insert(Cell16 { next, number }));
        if number % 100 == 0 {
            let report = collector.collect(&mut pool).unwrap();
            assert_eq!((report.visited, report.live), (live, live));
            freed += report.freed;
        }
    }
    assert_eq!(freed + pool.len() as u64, 10_000_000);
    assert!(pool.reserved_bytes() <= 1 << 18);
    assert_eq!(pool[first.gc()].number, 9_999_999);
}

#[test]
fn an_object_whose_drop_panics_is_dropped_once_and_the_pool_stays_right() {
    #[derive(Persist)]
    #[repr(transparent)]
    struct Bomb(u64);
    impl Drop for Bomb {
        fn drop(&mut self) {
            if self.0 == 7 {
                panic!("as it was meant to");
            }
        }
    }
    let (mut pool, collector) = (Pool::new(), Collector::new());
    (0..200).map(|number| pool.insert(Bomb(number))).for_each(|_| ());
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| collector.collect(&mut pool)));
    assert!(panicked.is_err());
    pool.check();
    let left = pool.len() as u64;
    assert!(pool.objects().all(|(_, bomb)| bomb.0 != 7));
    assert_eq!(collector.collect(&mut pool).unwrap().freed, left);
    pool.check();
}

#[test]
fn pools_and_collectors_may_change_threads() {
    let collector = Collector::new();
    let mut pool = Pool::new();
    let guard = collector.root(pool.insert(node(1)));
    let (pool, report) = std::thread::scope(|scope| {
        let collector = &collector;
        let moved = scope.spawn(move || {
            pool.insert(node(2));
            let report = collector.collect(&mut pool).unwrap();
            (pool, report)
        });
        moved.join().unwrap()
    });
    assert_eq!((report.freed, numbers(&pool)), (1, BTreeSet::from([1])));
    drop(guard);
}

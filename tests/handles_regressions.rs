//! What went wrong with values that may be moved, found by a review: each was memory that somebody still had, a thread that waited for
//! ever, or memory that was lost, or not used again. Pins hold for the whole process, so these tests take turns.
#![allow(unsafe_code)]

mod support;

use sal::prelude::*;
use sal::{CompactOptions, Handle, HeapOptions, Mode, Movable, Recovery, RecoveryPhase, SalCollect, SalMovable};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;
use support::{alone, fresh_path};

/// Waits within its destructor until it is told to go on.
#[derive(Movable)]
struct Slow {
    go_on: Arc<Mutex<mpsc::Receiver<()>>>,
    is_dropping: Arc<AtomicBool>,
    numbers: SalVec<u64>,
}

impl Drop for Slow {
    fn drop(&mut self) {
        self.is_dropping.store(true, Ordering::SeqCst);
        self.go_on.lock().unwrap().recv().unwrap();
        assert!(self.numbers.iter().copied().eq(0..self.numbers.len() as u64));
    }
}

#[test]
fn a_thread_that_has_nothing_to_do_with_a_heap_drops_nothing_there() {
    let _alone = alone();
    let heap = HeapOptions::new().volatile().unwrap();
    let other = HeapOptions::new().volatile().unwrap();
    let (go_on, told) = mpsc::channel();
    let is_dropping = Arc::new(AtomicBool::new(false));
    let numbers = {
        let _session = heap.write().unwrap();
        (0..100_u64).collect::<SalVec<u64>>()
    };
    let slow = Slow { go_on: Arc::new(Mutex::new(told)), is_dropping: Arc::clone(&is_dropping), numbers };
    drop(heap.handle(slow));
    thread::spawn(move || {
        for _ in 0..100 {
            drop(other.handle(vec![1_u8]));
            other.compact().unwrap();
        }
    })
    .join()
    .unwrap();
    assert!(!is_dropping.load(Ordering::SeqCst));
    go_on.send(()).unwrap();
    // SAFETY: nobody else uses the heap, and nothing in it is wanted.
    unsafe { heap.collect() }.unwrap();
    assert!(is_dropping.load(Ordering::SeqCst));
    // SAFETY: as above.
    assert_eq!(unsafe { heap.objects() }.unwrap().count(), 0);
}

#[test]
fn a_value_that_compacts_its_heap_when_it_is_dropped_ends() {
    let _alone = alone();
    #[derive(Movable)]
    struct Compacts(SalAlloc, Arc<AtomicBool>);
    impl Drop for Compacts {
        fn drop(&mut self) {
            self.0.compact().unwrap();
            self.1.store(true, Ordering::SeqCst);
        }
    }
    let heap = SalAlloc::new();
    let is_dropped = Arc::new(AtomicBool::new(false));
    drop(heap.handle(Compacts(heap, Arc::clone(&is_dropped))));
    while !is_dropped.load(Ordering::SeqCst) {
        heap.compact().unwrap();
        thread::yield_now();
    }
}

#[test]
fn who_names_handles_may_compact_meanwhile() {
    let _alone = alone();
    let heap = HeapOptions::new().volatile().unwrap();
    let all: Vec<_> = (0..1_000_u64).map(|n| heap.handle(n)).collect();
    let report = heap.place_in_order(all.iter().inspect(|_| drop(heap.compact().unwrap()))).unwrap();
    assert_eq!(report.moved_objects, 1_000);
}

#[test]
fn a_sync_does_not_wait_for_one_who_waits_to_move() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    let options = HeapOptions::new().sync_timeout(Duration::from_secs(20));
    // SAFETY: written only through SAL.
    let heap = unsafe { options.open_or_create(&path) }.unwrap();
    let all: Vec<_> = (0..200_u64).map(|n| heap.handle(n)).collect();
    let (has_begun, is_named) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        let tx = heap.write().unwrap();
        let (heap, all, has_begun, is_named) = (&heap, &all, &has_begun, &is_named);
        let places = scope.spawn(move || {
            let slowly = all.iter().inspect(|_| {
                has_begun.store(true, Ordering::SeqCst);
                is_named.fetch_add(1, Ordering::SeqCst);
                thread::sleep(Duration::from_millis(1));
            });
            heap.place_in_order(slowly).unwrap();
        });
        while !has_begun.load(Ordering::SeqCst) && !places.is_finished() {
            thread::yield_now();
        }
        let syncs = scope.spawn(move || heap.sync());
        heap.compact().unwrap();
        drop(tx);
        syncs.join().unwrap().unwrap();
    });
    assert_eq!(is_named.load(Ordering::SeqCst), 200);
    drop(all);
    support::heaps::unmap(heap);
}

#[test]
fn a_forked_child_compacts_whoever_moved_in_its_parent() {
    let _alone = alone();
    let heap = SalAlloc::new();
    let other = HeapOptions::new().volatile().unwrap();
    let all: Vec<_> = (0..300_u64).map(|n| other.handle(n)).collect();
    let has_begun = AtomicBool::new(false);
    thread::scope(|scope| {
        let places = scope.spawn(|| {
            let slowly = all.iter().inspect(|_| {
                has_begun.store(true, Ordering::SeqCst);
                thread::sleep(Duration::from_millis(1));
            });
            other.place_in_order(slowly).unwrap();
        });
        while !has_begun.load(Ordering::SeqCst) && !places.is_finished() {
            thread::yield_now();
        }
        // SAFETY: the child calls nothing that another thread's locks are needed for, but what is tested.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // SAFETY: plain calls. Whoever waits for ever is ended.
            unsafe {
                libc::alarm(20);
                let is_done = heap.compact().is_ok();
                libc::_exit(if is_done { 7 } else { 8 });
            }
        }
        let mut status = 0;
        // SAFETY: our own child.
        unsafe { libc::waitpid(child, &raw mut status, 0) };
        assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 7, "{status:#x}");
    });
}

#[test]
fn a_heap_that_is_opened_used_and_closed_again_and_again_does_not_grow() {
    let _alone = alone();
    for mode in [Mode::Shared, Mode::Atomic] {
        let (_directory, path) = fresh_path();
        let mut used = Vec::new();
        for _ in 0..5 {
            // SAFETY: written only through SAL.
            let heap = unsafe { HeapOptions::new().mode(mode).open_or_create(&path) }.unwrap();
            used.push(heap.stats().large_bytes);
            drop(heap.handle(1_u64));
            support::heaps::unmap(heap);
        }
        assert!(used.iter().all(|&bytes| bytes == 0), "{mode:?}: {used:?}");
    }
}

const ALL: Root<SalVec<Handle<[u64; 12]>>> = Root::new("all");

#[test]
fn a_recovery_that_was_broken_off_is_exact_when_it_is_taken_up_again() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    // SAFETY: written only through SAL.
    let heap = unsafe { HeapOptions::new().open_or_create(&path) }.unwrap();
    {
        let tx = heap.write().unwrap();
        let all = tx.root_or_default(ALL).unwrap();
        all.extend((0..200_000_u64).map(|n| heap.handle([n; 12])));
    }
    support::heaps::unmap(heap);
    let is_broken = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&is_broken);
    let options = HeapOptions::new().recovery(Recovery::Eager).on_recovery(move |progress| {
        let breaks = progress.phase == RecoveryPhase::Marking && !told.swap(true, Ordering::SeqCst);
        if breaks { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    // SAFETY: as above.
    let heap = unsafe { options.open(&path) }.unwrap();
    assert!(is_broken.load(Ordering::SeqCst));
    let _ = heap.resume_recovery();
    let report = heap.wait_for_recovery().unwrap();
    assert!(report.collected.is_precise);
    {
        let tx = heap.write().unwrap();
        let mut number = 0;
        tx.root_mut(ALL).unwrap().retain(|_| {
            number += 1;
            number % 10 == 0
        });
    }
    let report = heap.compact_with(CompactOptions::new()).unwrap();
    assert!(report.held_bytes[1] < report.held_bytes[0] / 2, "{report}");
    support::heaps::unmap(heap);
}

#[derive(Persist)]
#[persist(same_build)]
enum Own {
    Handle(Handle<[u64; 4]>),
    #[expect(dead_code, reason = "what makes a value of the type unknown")]
    Numbers(u64, u64),
}

#[derive(Persist)]
#[repr(C)]
struct Both {
    typed: SalVec<Handle<[u64; 4]>>,
    own: SalVec<Own>,
}

#[test]
fn values_that_only_words_of_unknown_meaning_lead_to_stay_where_others_go() {
    const BOTH: Root<Both> = Root::new("both");
    let _alone = alone();
    let (_directory, path) = fresh_path();
    // SAFETY: written only through SAL.
    let heap = unsafe { HeapOptions::new().open_or_create(&path) }.unwrap();
    {
        let tx = heap.write().unwrap();
        tx.set_root(BOTH, Both { typed: SalVec::new(), own: SalVec::new() }).unwrap();
        let both = tx.root_mut(BOTH).unwrap();
        for n in 0..1_000_u64 {
            both.typed.push(heap.handle([n; 4]));
            both.own.push(Own::Handle(heap.handle([n + 5_000; 4])));
        }
    }
    support::heaps::unmap(heap);
    // SAFETY: as above.
    let heap = unsafe { HeapOptions::new().recovery(Recovery::Eager).open(&path) }.unwrap();
    {
        let tx = heap.write().unwrap();
        let both = tx.root_mut(BOTH).unwrap();
        both.typed.clear();
        heap.compact_with(CompactOptions::new().sparse(1.0)).unwrap();
        heap.compact().unwrap();
        // Memory that was free is somebody else's now.
        let other: SalVec<u64> = (0..1 << 18).map(|_| 0xDEAD).collect();
        let pin = heap.pin();
        for (n, own) in both.own.iter().enumerate() {
            let Own::Handle(handle) = own else { continue };
            assert_eq!(handle.get(&pin), &[n as u64 + 5_000; 4]);
        }
        drop(other);
    }
    support::heaps::unmap(heap);
}

#[test]
fn values_that_are_replaced_again_and_again_take_no_more_memory_though_nobody_compacts() {
    let _alone = alone();
    let heap = HeapOptions::new().volatile().unwrap();
    let all: Vec<_> = (0..1_000_u64).map(|n| heap.handle([n; 30])).collect();
    for round in 0..300 {
        all.iter().for_each(|handle| handle.update([round; 30]).unwrap());
    }
    // Thirty tracts would have been filled.
    let live = heap.stats().live_bytes;
    assert!(live <= 4 * (2 << 20), "{live}");
}

#[test]
fn memory_of_values_that_are_gone_is_used_again_at_once() {
    let _alone = alone();
    let heap = HeapOptions::new().volatile().unwrap();
    let fill = || (0..200_000_u64).map(|n| heap.handle([n; 12])).collect::<Vec<_>>();
    let resident = || heap.residency().unwrap().resident;
    drop(fill());
    let once = resident();
    assert!(once > 20 << 20);
    for _ in 0..4 {
        drop(fill());
    }
    // Eleven tracts waited for what else there would be to do.
    assert!(resident() < once + (8 << 20), "{} became {}", once, resident());
}

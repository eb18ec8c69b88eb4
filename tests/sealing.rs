//! What a sync has sealed is not changed in place: at which level, in which mode, and for whom.
#![allow(unsafe_code)]

mod support;

use sal::collections::{CowHashMap, CowMap, CowVec};
use sal::prelude::*;
use sal::{HeapOptions, Mode, SalBox, SealPolicy, SyncLevel};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use support::heaps::unmap;
use support::{Random, SetAtEnd, alone, fresh_path};

fn options(mode: Mode) -> HeapOptions {
    HeapOptions::new().mode(mode).capacity(256 << 20)
}

fn open(options: &HeapOptions, path: &Path) -> Heap {
    // SAFETY: only written by this crate, and nobody else has it open.
    unsafe { options.open_or_create(path) }.unwrap()
}

/// Whether a value is changed in place.
fn stays<T: Copy + 'static>(value: &mut SalRc<T>) -> bool {
    let (place, can_be_had) = (SalRc::as_ptr(value), SalRc::get_mut(value).is_some());
    let content = *SalRc::make_mut(value);
    *SalRc::make_mut(value) = content;
    let stays = SalRc::as_ptr(value) == place;
    assert_eq!(stays, can_be_had);
    stays
}

#[test]
fn each_level_from_seal_on_seals_and_a_copy_is_not_sealed() {
    for mode in [Mode::Atomic, Mode::Shared] {
        let (_directory, path) = fresh_path();
        let heap = open(&options(mode).seal_policy(SealPolicy::Logical), &path);
        let mut small = heap.rc([7_u64; 5]);
        let mut large = heap.rc([7_u8; 300_000]);
        let mut medium = heap.rc([7_u8; 100_000]);
        for (level, seals) in [
            (SyncLevel::None, false),
            (SyncLevel::Seal, true),
            (SyncLevel::Async, true),
            (SyncLevel::Data, true),
            (SyncLevel::Full, true),
        ] {
            heap.sync_with(level).unwrap();
            for _ in 0..2 {
                assert_eq!(stays(&mut small), !seals, "{mode:?} {level:?}");
                assert_eq!(stays(&mut large), !seals, "{mode:?} {level:?}");
                assert_eq!(stays(&mut medium), !seals, "{mode:?} {level:?}");
                if seals {
                    assert!(stays(&mut small) && stays(&mut large) && stays(&mut medium));
                    break;
                }
            }
        }
        assert_eq!((small[4], large[1 << 18], medium[9]), (7, 7, 7));
        heap.try_sync().unwrap();
        assert!(!stays(&mut small));
        drop((small, large, medium));
        heap.close().unwrap();
    }
}

#[test]
fn heaps_that_do_not_need_it_do_not_seal_unless_they_are_asked_to() {
    let (_directory, path) = fresh_path();
    let heap = open(&options(Mode::Atomic), &path);
    let mut value = heap.rc(1_u64);
    heap.sync().unwrap();
    assert!(stays(&mut value));
    drop(value);
    heap.close().unwrap();

    for (policy, seals) in [(SealPolicy::Off, false), (SealPolicy::Logical, true)] {
        let heap = HeapOptions::new().seal_policy(policy).volatile().unwrap();
        let mut value = heap.rc(1_u64);
        heap.sync_with(SyncLevel::Seal).unwrap();
        assert_eq!(stays(&mut value), !seals);
    }

    let (_directory, path) = fresh_path();
    let heap = open(&options(Mode::Shared), &path);
    let mut value = heap.rc(1_u64);
    heap.sync().unwrap();
    assert!(!stays(&mut value));
    drop(value);
    heap.close().unwrap();
}

#[test]
fn a_box_moves_its_value_once_and_leaves_no_block_behind() {
    let heap = HeapOptions::new().seal_policy(SealPolicy::Logical).volatile().unwrap();
    let mut boxed = SalBox::new_in(vec![1, 2, 3], heap.alloc());
    let mut slice = {
        let _session = heap.write().unwrap();
        SalBox::<[u32]>::from(&[1, 2, 3][..])
    };
    let place = |boxed: &SalBox<Vec<i32>>| std::ptr::from_ref(&**boxed);
    let first = place(&boxed);
    boxed.push(4);
    assert_eq!(place(&boxed), first);
    let live = heap.stats().live_bytes;
    for round in 5..8 {
        heap.sync_with(SyncLevel::Seal).unwrap();
        let sealed = place(&boxed);
        boxed.push(round);
        slice[1] += 1;
        let moved = place(&boxed);
        assert_ne!(moved, sealed);
        boxed.push(round);
        assert_eq!(place(&boxed), moved);
        assert_eq!(heap.stats().live_bytes, live);
    }
    assert_eq!((&boxed[..], &slice[..]), (&[1, 2, 3, 4, 5, 5, 6, 6, 7, 7][..], &[1, 5, 3][..]));
    // A sealed one can be had back, and taken out.
    heap.sync_with(SyncLevel::Seal).unwrap();
    let boxed = SalBox::try_from_rc(SalBox::into_rc(boxed)).unwrap();
    assert_eq!(SalBox::into_inner(boxed).len(), 10);
    drop(slice);
    assert_eq!(heap.stats().live_bytes, 0);
}

#[test]
fn weak_pointers_and_sealing_do_not_get_in_each_others_way() {
    let heap = HeapOptions::new().seal_policy(SealPolicy::Logical).volatile().unwrap();
    let mut value = heap.rc(7_u64);
    let weak = SalRc::downgrade(&value);
    heap.sync_with(SyncLevel::Seal).unwrap();
    drop(weak);
    assert!(!stays(&mut value) && stays(&mut value));
    let weak = SalRc::downgrade(&value);
    heap.sync_with(SyncLevel::Seal).unwrap();
    assert_eq!(weak.upgrade().as_deref(), Some(&7));
    assert!(!stays(&mut value));
    // The old value went when the copy took its place.
    assert!(weak.upgrade().is_none());
    drop(weak);
    heap.sync_with(SyncLevel::Seal).unwrap();
    assert_eq!(SalRc::try_unwrap(value), Ok(7));
    assert_eq!(heap.stats().live_bytes, 0);
}

#[test]
fn what_was_in_the_file_is_sealed_when_it_is_opened() {
    const VALUE: Root<SalRc<u64>> = Root::new("value");
    const MAP: Root<CowMap<u64, u64>> = Root::new("map");
    let _turn = alone();
    for mode in [Mode::Atomic, Mode::Shared] {
        let (_directory, path) = fresh_path();
        let options = options(mode).seal_policy(SealPolicy::Logical).recovery(sal::Recovery::Eager);
        let heap = open(&options, &path);
        heap.set_root(VALUE, heap.rc(1)).unwrap();
        let tx = heap.write().unwrap();
        tx.root_or_default(MAP).unwrap().extend((0..1000).map(|n| (n, n)));
        tx.sync().unwrap();
        unmap(heap);
        let heap = open(&options, &path);
        let tx = heap.write().unwrap();
        let value = tx.root_mut(VALUE).unwrap();
        assert!(!stays(value) && stays(value) && **value == 1, "{mode:?}");
        let map = tx.root_mut(MAP).unwrap();
        let place = map.get(&500).map(std::ptr::from_ref);
        *map.get_mut(&500).unwrap() += 1;
        assert_ne!(map.get(&500).map(std::ptr::from_ref), place, "{mode:?}");
        drop(tx);
        unmap(heap);
    }
}

/// Writes to itself when it is dropped.
#[repr(C)]
struct Marked<const LEN: usize>([u64; LEN]);

impl<const LEN: usize> Drop for Marked<LEN> {
    fn drop(&mut self) {
        self.0.fill(u64::MAX);
    }
}

#[test]
fn a_sealed_value_does_not_write_to_its_block_when_it_is_dropped() {
    fn check<const LEN: usize>(heap: &Heap) {
        for seals in [false, true] {
            let value = heap.rc(Marked([7; LEN]));
            let slice = SalRc::from_iter_in((0..3).map(|_| Marked([7; LEN])), heap.alloc());
            let places = [SalRc::as_ptr(&value).cast::<u64>(), std::ptr::from_ref(&slice[2]).cast()];
            if seals {
                heap.sync_with(SyncLevel::Seal).unwrap();
            }
            drop((value, slice));
            for place in places {
                // SAFETY: the heap's memory, which stays mapped; nobody has the blocks.
                let words = (1..LEN).map(|at| unsafe { place.add(at).read_volatile() });
                let expected = if seals { 7 } else { u64::MAX };
                assert!(words.into_iter().all(|word| word == expected), "{LEN} {seals}");
            }
        }
    }
    let heap = HeapOptions::new().seal_policy(SealPolicy::Logical).volatile().unwrap();
    check::<4>(&heap);
    check::<4000>(&heap);
}

/// Changes collections at random, with syncs in between, and compares them and their versions with the standard ones.
fn change_at_random(heap: &Heap, seed: u64, steps: usize, mut between: impl FnMut(&mut Random)) {
    let mut random = Random(seed);
    let mut maps = (CowMap::new(), CowHashMap::new(), CowVec::new());
    {
        let _session = heap.write().unwrap();
        // The first nodes, which say where all others lie.
        maps.0.insert(0_u64, heap.rc(0_u64));
        maps.1.insert(0_u64, SalRc::new(0_u64));
        maps.2.push(SalRc::new(0_u64));
    }
    let rc = |value: u64| heap.rc(value);
    let mut model = (BTreeMap::from([(0, 0)]), vec![0]);
    let mut versions = Vec::new();
    for step in 0..steps {
        let key = random.below(300) as u64;
        let value = step as u64;
        match random.below(10) {
            0..=3 => {
                maps.0.insert(key, rc(value));
                maps.1.insert(key, rc(value));
                model.0.insert(key, value);
                maps.2.push(rc(value));
                model.1.push(value);
            }
            4 | 5 if key > 0 => {
                let removed = model.0.remove(&key);
                assert_eq!(maps.0.remove(&key).as_deref().copied(), removed);
                assert_eq!(maps.1.remove(&key).as_deref().copied(), removed);
                if model.1.len() > 1 {
                    assert_eq!(maps.2.pop().as_deref().copied(), model.1.pop());
                }
            }
            6 | 7 => {
                if let Some(old) = model.0.get_mut(&key) {
                    *old += 1;
                    *SalRc::make_mut(maps.0.get_mut(&key).unwrap()) += 1;
                    *SalRc::make_mut(maps.1.get_mut(&key).unwrap()) += 1;
                }
                let at = random.below(model.1.len());
                model.1[at] += 1;
                *SalRc::make_mut(maps.2.get_mut(at).unwrap()) += 1;
            }
            8 if random.below(4) == 0 => {
                versions.push((maps.clone(), model.clone()));
                if versions.len() > 5 {
                    versions.swap_remove(random.below(5));
                }
            }
            8 if random.below(20) == 0 => {
                let kept = random.below(model.1.len()) + 1;
                maps.2.truncate(kept);
                model.1.truncate(kept);
                maps.1.retain(|&key, _| key == 0 || key % 7 != 3);
                let doomed: Vec<u64> = maps.0.keys().copied().filter(|&key| key != 0 && key % 7 == 3).collect();
                doomed.iter().for_each(|key| drop(maps.0.remove(key)));
                model.0.retain(|&key, _| key == 0 || key % 7 != 3);
            }
            9 => between(&mut random),
            _ => {}
        }
        if step % 500 == 0 || step + 1 == steps {
            for (maps, model) in versions.iter().map(|(maps, model)| (maps, model)).chain([(&maps, &model)]) {
                maps.0.check().unwrap();
                maps.1.check().unwrap();
                assert!(maps.0.iter().map(|(&key, value)| (key, **value)).eq(model.0.iter().map(|(&k, &v)| (k, v))));
                assert!(maps.1.len() == model.0.len());
                assert!(maps.1.iter().all(|(key, value)| model.0.get(key) == Some(&**value)));
                assert!(maps.2.iter().map(|value| **value).eq(model.1.iter().copied()));
            }
        }
    }
    // Taken apart while they are shared, and while they are not.
    let mut taken: Vec<u64> = maps.2.into_iter().map(|value| *value).collect();
    assert_eq!(taken, model.1);
    taken = maps.1.into_iter().map(|(_, value)| *value).collect();
    taken.sort_unstable();
    let mut expected: Vec<u64> = model.0.values().copied().collect();
    expected.sort_unstable();
    assert_eq!(taken, expected);
    assert!(maps.0.into_iter().map(|(key, value)| (key, *value)).eq(model.0));
}

#[test]
fn collections_and_their_versions_are_right_with_seals_in_between() {
    let seed = 20_261_129;
    println!("seed {seed}");
    let heap = HeapOptions::new().seal_policy(SealPolicy::Logical).volatile().unwrap();
    for round in 0..4 {
        change_at_random(&heap, seed + round, 5000, |random| {
            if random.below(3) == 0 {
                heap.sync_with(SyncLevel::Seal).unwrap();
            }
        });
        assert_eq!(heap.stats().live_bytes, 0);
    }
}

/// Whoever works outside of sessions may find a value sealed between two looks at it.
#[test]
fn collections_are_right_while_another_thread_seals_all_the_time() {
    let seed = 7;
    println!("seed {seed}");
    let heap = HeapOptions::new().seal_policy(SealPolicy::Logical).volatile().unwrap();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let over = SetAtEnd(&is_over);
        let sealer = scope.spawn(|| {
            let mut seals = 0_u64;
            while !is_over.load(Ordering::Relaxed) {
                heap.sync_with(SyncLevel::Seal).unwrap();
                seals += 1;
            }
            seals
        });
        change_at_random(&heap, seed, 20_000, |_| {});
        drop(over);
        assert!(sealer.join().unwrap() > 100);
    });
    assert_eq!(heap.stats().live_bytes, 0);
}

//! Collections of another crate in a heap: `rpds`, whose pointers are [`SalRcK`].
#![allow(unsafe_code)]

use archery::{SharedPointer, SharedPointerKind};
use rpds::{HashTrieMap, List, RedBlackTreeMap, Vector};
use sal::{Heap, HeapOptions, SalRcK};
use std::cell::Cell;
use std::collections::hash_map::RandomState;
use std::panic::{AssertUnwindSafe, catch_unwind};

fn heap() -> Heap {
    HeapOptions::new().volatile().unwrap()
}

#[test]
fn maps_and_their_versions_live_in_a_heap_and_leave_nothing_there() {
    let heap = heap();
    let session = heap.write().unwrap();
    let mut hashed: HashTrieMap<u64, String, SalRcK> = HashTrieMap::new_with_hasher_and_ptr_kind(RandomState::new());
    let mut ordered: RedBlackTreeMap<u64, String, SalRcK> = RedBlackTreeMap::new_with_ptr_kind();
    let mut vector: Vector<u64, SalRcK> = Vector::new_with_ptr_kind();
    let mut list: List<u64, SalRcK> = List::new_with_ptr_kind();
    let mut versions = Vec::new();
    for n in 0..5000 {
        hashed.insert_mut(n * 7 % 5000, n.to_string());
        ordered.insert_mut(n * 7 % 5000, n.to_string());
        vector.push_back_mut(n);
        list.push_front_mut(n);
        if n % 1000 == 0 {
            versions.push((n, hashed.clone(), ordered.clone(), vector.clone(), list.clone()));
        }
    }
    assert!(heap.stats().live_bytes > 4 * 5000 * 16);
    for (n, hashed, ordered, vector, list) in &versions {
        assert_eq!([hashed.size(), ordered.size(), vector.len(), list.len()], [*n as usize + 1; 4]);
        assert!(
            (0..=*n).all(|n| hashed[&(n * 7 % 5000)] == n.to_string() && ordered[&(n * 7 % 5000)] == n.to_string())
        );
        assert!(vector.iter().copied().eq(0..=*n) && list.iter().copied().eq((0..=*n).rev()));
    }
    // Threads read versions, and drop them.
    let others: Vec<_> = versions
        .drain(..)
        .map(|version| std::thread::spawn(move || assert_eq!(version.1.size(), version.0 as usize + 1)))
        .collect();
    others.into_iter().for_each(|other| other.join().unwrap());
    for n in 0..5000 {
        assert!(hashed.remove_mut(&n) && ordered.remove_mut(&n));
    }
    drop((hashed, ordered, vector, list, session));
    assert_eq!(heap.stats().live_bytes, 0);
}

#[test]
fn values_that_borrow_are_dropped_at_once_however_deep_they_are() {
    /// Counts the links before it that are gone.
    struct Link<'c>(&'c Cell<u32>, Option<SharedPointer<Link<'c>, SalRcK>>);
    impl Drop for Link<'_> {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }
    let dropped = Cell::new(0);
    let mut chain = None;
    for _ in 0..1000 {
        chain = Some(SharedPointer::new(Link(&dropped, chain)));
    }
    assert!(chain.as_ref().is_some_and(|link| link.1.is_some()));
    drop(chain);
    assert_eq!(dropped.get(), 1000);
}

#[test]
fn pointers_count_copy_and_come_apart_as_those_of_the_crate_do() {
    fn check<P: SharedPointerKind>() -> Vec<String> {
        let mut said = Vec::new();
        let mut pointer: SharedPointer<String, P> = SharedPointer::from(Box::new("a".to_string()));
        said.push(format!("{:?}", SharedPointer::get_mut(&mut pointer)));
        let other = pointer.clone();
        said.push(format!("{} {:?}", SharedPointer::strong_count(&other), SharedPointer::get_mut(&mut pointer)));
        SharedPointer::make_mut(&mut pointer).push('b');
        said.push(format!("{pointer} {other} {}", SharedPointer::strong_count(&pointer)));
        let place = SharedPointer::as_ptr(&pointer);
        SharedPointer::make_mut(&mut pointer).push('c');
        said.push(format!("{}", SharedPointer::as_ptr(&pointer) == place));
        let again = other.clone();
        let other = SharedPointer::try_unwrap(other).unwrap_err();
        drop(again);
        said.push(format!("{:?} {:?}", SharedPointer::try_unwrap(other), SharedPointer::try_unwrap(pointer)));
        let unit: SharedPointer<(), P> = SharedPointer::new(());
        said.push(format!("{:?}", SharedPointer::ptr_eq(&unit, &unit.clone())));
        said
    }
    assert_eq!(check::<SalRcK>(), check::<archery::ArcK>());
}

#[test]
fn a_value_that_panics_leaves_no_block() {
    struct Panics;
    impl Drop for Panics {
        fn drop(&mut self) {
            panic!("as the test wants");
        }
    }
    let heap = heap();
    let session = heap.write().unwrap();
    let pointer: SharedPointer<Panics, SalRcK> = SharedPointer::new(Panics);
    assert!(catch_unwind(AssertUnwindSafe(|| drop(pointer))).is_err());
    drop(session);
    assert_eq!(heap.stats().live_bytes, 0);
}

#[test]
fn copies_stay_in_the_heap_of_what_they_were_made_from() {
    let heap = heap();
    let session = heap.write().unwrap();
    let mut pointer: SharedPointer<[u64; 8], SalRcK> = SharedPointer::new([1; 8]);
    drop(session);
    let other = pointer.clone();
    SharedPointer::make_mut(&mut pointer)[0] = 2;
    assert_eq!((other[0], pointer[0], heap.stats().live_bytes), (1, 2, 128));
    drop((pointer, other));
    assert_eq!(heap.stats().live_bytes, 0);
}

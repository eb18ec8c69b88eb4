use super::super::{SalBox, SalRc};
use crate::{HeapOptions, SalAlloc, SizeClasses};
use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

struct Counted(&'static AtomicUsize);

/// A counter for one test.
fn counter() -> &'static AtomicUsize {
    Box::leak(Box::default())
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_value_is_dropped_with_its_last_pointer_and_its_block_is_free_again() {
    let heap = HeapOptions::new().volatile().unwrap();
    let dropped = counter();
    let first = SalRc::new_in(Counted(dropped), heap.alloc());
    let others = vec![first.clone(); 10];
    assert_eq!(SalRc::strong_count(&first), 11);
    drop(first);
    assert_eq!((dropped.load(Ordering::Relaxed), SalRc::strong_count(&others[0])), (0, 10));
    drop(others);
    assert_eq!((dropped.load(Ordering::Relaxed), heap.stats().live_bytes), (1, 0));
}

#[test]
fn a_shared_value_is_copied_where_it_lies_and_one_that_is_not_is_changed_in_place() {
    let heap = HeapOptions::new().volatile().unwrap();
    let mut value = SalRc::new_in([1_u64; 4], heap.alloc());
    let place = SalRc::as_ptr(&value);
    SalRc::make_mut(&mut value)[0] = 2;
    assert_eq!(SalRc::as_ptr(&value), place);
    let old = value.clone();
    SalRc::make_mut(&mut value)[0] = 3;
    assert!(SalRc::as_ptr(&value) != place && SalRc::heap(&value) == heap.alloc());
    assert_eq!((old[0], value[0], SalRc::strong_count(&old)), (2, 3, 1));
    assert_eq!(SalRc::unwrap_or_clone(old), [2, 1, 1, 1]);
}

#[test]
fn values_of_all_sizes_and_alignments_keep_their_own_counts() {
    #[repr(align(4096))]
    struct Aligned(u8);
    fn check<T: 'static>(make: impl Fn() -> T) {
        let fine = HeapOptions::new().size_classes(SizeClasses::fine()).volatile().unwrap();
        for heap in [SalAlloc::new(), fine.alloc()] {
            check_in(heap, &make);
        }
        assert_eq!(fine.stats().live_bytes, 0);
    }
    fn check_in<T: 'static>(heap: SalAlloc, make: &impl Fn() -> T) {
        let all: Vec<SalRc<T>> = (0..200).map(|_| SalRc::new_in(make(), heap)).collect();
        let copies: Vec<Vec<SalRc<T>>> = all.iter().enumerate().map(|(n, rc)| vec![rc.clone(); n % 7]).collect();
        for (n, rc) in all.iter().enumerate() {
            assert_eq!(SalRc::strong_count(rc), 1 + n % 7, "{n}");
            assert_eq!(SalRc::as_ptr(rc) as usize % align_of::<T>(), 0);
        }
        drop(copies);
        assert!(all.iter().all(|rc| SalRc::strong_count(rc) == 1));
    }
    check(|| ());
    check(|| 1_u8);
    check(|| [1_u64; 3]);
    check(|| [1_u64; 33]);
    check(|| [1_u64; 100]);
    check(|| [1_u8; 5000]);
    check(|| [1_u8; 20_000]);
    check(|| [1_u8; 300_000]);
    check(|| Aligned(1));
    assert_eq!(Aligned(1).0, 1);
}

#[test]
fn slices_and_texts_keep_their_lengths_and_what_is_in_them() {
    let dropped = counter();
    let slice = SalRc::from_iter_in((0..5).map(|_| Counted(dropped)), SalAlloc::new());
    assert_eq!((slice.len(), size_of_val(&slice)), (5, 8));
    drop(slice.clone());
    assert_eq!(dropped.load(Ordering::Relaxed), 0);
    drop(slice);
    assert_eq!(dropped.load(Ordering::Relaxed), 5);

    let empty: SalRc<[u128]> = SalRc::from(&[][..]);
    assert!(empty.is_empty() && SalRc::as_ptr(&empty).cast::<u128>().is_aligned());
    let text: SalRc<str> = "grüße".into();
    let mut other = text.clone();
    SalRc::make_mut(&mut other).make_ascii_uppercase();
    assert_eq!((&*text, &*other), ("grüße", "GRüßE"));
    let wide: SalRc<[u128]> = (0..3).collect();
    assert_eq!(wide[..], [0, 1, 2]);
    assert!(SalRc::as_ptr(&wide).cast::<u128>().is_aligned());
}

#[test]
fn a_clone_of_an_element_that_panics_leaves_no_block_and_no_element() {
    struct Fragile(&'static Cell<i32>);
    impl Clone for Fragile {
        fn clone(&self) -> Self {
            assert_ne!(self.0.get(), 3, "as the test wants");
            self.0.set(self.0.get() + 1);
            Self(self.0)
        }
    }
    impl Drop for Fragile {
        fn drop(&mut self) {
            self.0.set(self.0.get() - 1);
        }
    }
    let heap = HeapOptions::new().volatile().unwrap();
    let alive: &'static Cell<i32> = Box::leak(Box::default());
    let originals: Vec<Fragile> = (0..5).map(|_| Fragile(alive)).collect();
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        SalRc::try_from_slice_in(&originals, heap.alloc()).map(drop)
    }));
    assert!(caught.is_err());
    assert_eq!((alive.get(), heap.stats().live_bytes), (0, 0));
    originals.into_iter().for_each(std::mem::forget);
}

#[test]
fn a_value_comes_out_of_its_only_pointer() {
    let text = SalRc::new(String::from("text"));
    let other = text.clone();
    let text = SalRc::try_unwrap(text).unwrap_err();
    assert_eq!(SalRc::into_inner(text), None);
    assert_eq!(SalRc::try_unwrap(other).unwrap(), "text");
}

#[test]
fn a_weak_pointer_ends_with_the_value_and_keeps_its_block() {
    let heap = HeapOptions::new().volatile().unwrap();
    let dropped = counter();
    let mut value = SalRc::new_in(Counted(dropped), heap.alloc());
    let weak = SalRc::downgrade(&value);
    assert!(SalRc::get_mut(&mut value).is_none());
    let again = weak.clone();
    assert_eq!((SalRc::weak_count(&value), weak.strong_count()), (2, 1));
    let upgraded = weak.upgrade().unwrap();
    drop((value, again));
    assert_eq!(dropped.load(Ordering::Relaxed), 0);
    drop(upgraded);
    assert_eq!((dropped.load(Ordering::Relaxed), heap.stats().live_bytes > 0), (1, true));
    assert!(weak.upgrade().is_none());
    drop(weak);
    assert_eq!(heap.stats().live_bytes, 0);
    // Of a value that is alive.
    let mut value = SalRc::new_in(7, heap.alloc());
    drop(SalRc::downgrade(&value));
    assert!(SalRc::get_mut(&mut value).is_some());
}

#[test]
fn a_list_of_a_million_is_dropped_without_recursion() {
    struct Node(Option<SalRc<Node>>);
    let heap = HeapOptions::new().volatile().unwrap();
    let mut list = None;
    for _ in 0..1_000_000 {
        list = Some(SalRc::new_in(Node(list), heap.alloc()));
    }
    assert!(list.as_ref().is_some_and(|node| node.0.is_some()));
    drop(list);
    assert_eq!(heap.stats().live_bytes, 0);
}

#[test]
fn a_box_becomes_shared_and_comes_back_when_nobody_else_has_it() {
    let mut boxed = SalBox::new([1, 2, 3]);
    boxed[1] = 7;
    let place: *const [i32; 3] = &*boxed;
    let shared = SalBox::into_rc(boxed);
    let other = shared.clone();
    let shared = SalBox::try_from_rc(shared).unwrap_err();
    drop(other);
    let boxed = SalBox::try_from_rc(shared).unwrap();
    assert!(std::ptr::eq(place, &*boxed));
    assert_eq!(SalBox::into_inner(boxed.clone()), [1, 7, 3]);
}

#[test]
fn threads_that_clone_and_drop_leave_nothing() {
    let heap = HeapOptions::new().volatile().unwrap();
    let dropped = counter();
    let values: Vec<SalRc<Counted>> = (0..100).map(|_| SalRc::new_in(Counted(dropped), heap.alloc())).collect();
    // Joined one by one: a scope does not wait until its threads have handed over what they have counted.
    std::thread::scope(|threads| {
        let clone_and_drop = |mine: Vec<SalRc<Counted>>| (0..100).for_each(|_| drop(mine.clone()));
        let all = [(); 4].map(|()| values.clone()).map(|mine| threads.spawn(move || clone_and_drop(mine)));
        drop(values);
        all.into_iter().for_each(|thread| thread.join().unwrap());
    });
    assert_eq!((dropped.load(Ordering::Relaxed), heap.stats().live_bytes), (100, 0));
}

#[test]
fn values_made_near_another_lie_beside_it_also_in_a_heap_full_of_holes() {
    let heap = HeapOptions::new().volatile().unwrap();
    let mut all: Vec<SalRc<[u64; 4]>> = (0..20_000).map(|n| SalRc::new_in([n; 4], heap.alloc())).collect();
    // Every second one goes, in an order that leaves the magazine nothing near.
    let mut kept = Vec::new();
    for (at, value) in all.drain(..).enumerate() {
        if at % 2 == 0 {
            kept.push(value);
        }
    }
    let mut near = 0;
    let children: Vec<_> = (0..kept.len())
        .step_by(7)
        .map(|at| (at, SalRc::new_near([at as u64; 4], &kept[at])))
        .inspect(|(at, child)| {
            let distance = (SalRc::as_ptr(child) as usize).abs_diff(SalRc::as_ptr(&kept[*at]) as usize);
            near += usize::from(distance <= 16 * 32);
        })
        .collect();
    assert!(near * 10 > children.len() * 9, "{near} of {}", children.len());
    for (at, child) in &children {
        assert_eq!((child[0], SalRc::strong_count(child)), (*at as u64, 1));
        assert_eq!(kept[*at][1], *at as u64 * 2);
    }
    drop((kept, children));
    assert_eq!(heap.stats().live_bytes, 0);
    // Of a value of another size there is no neighbour, and of one in another heap the heap.
    let other = SalRc::new_in([0_u8; 300], heap.alloc());
    assert_eq!(SalRc::heap(&SalRc::new_near(7_u8, &other)), heap.alloc());
}

#[test]
fn a_long_list_is_dropped_without_recursion_also_while_the_thread_panics() {
    struct Node(Option<SalRc<Node>>);
    struct Panics(Option<SalRc<Node>>);
    impl Drop for Panics {
        fn drop(&mut self) {
            assert!(std::thread::panicking() && self.0.as_ref().is_some_and(|node| node.0.is_some()));
        }
    }
    let thread = std::thread::spawn(|| {
        let mut list = None;
        for _ in 0..500_000 {
            list = Some(SalRc::new(Node(list)));
        }
        let _dropped_late = Panics(list);
        panic!("as the test wants");
    });
    assert!(thread.join().is_err());
}

#[test]
fn whoever_changes_a_value_in_place_has_the_only_pointer_whatever_becomes_of_weak_ones() {
    // One thread upgrades, downgrades again and drops, so that the note of weak pointers comes and goes.
    for _ in 0..2000 {
        let mut value = SalRc::new(std::sync::atomic::AtomicBool::new(false));
        let weak = SalRc::downgrade(&value);
        let other = std::thread::spawn(move || {
            let mut weak = weak;
            for _ in 0..20 {
                let Some(strong) = weak.upgrade() else { return };
                assert!(!strong.load(Ordering::Relaxed), "somebody has it alone");
                weak = SalRc::downgrade(&strong);
            }
        });
        while !other.is_finished() {
            if let Some(value) = SalRc::get_mut(&mut value) {
                // Nobody can see this.
                *value.get_mut() = true;
                std::hint::spin_loop();
                *value.get_mut() = false;
            }
        }
        other.join().unwrap();
    }
}

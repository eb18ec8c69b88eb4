//! What the pointers have of `std`'s `Arc`, `Weak` and `Box`: conversions, raw pointers, values that point to themselves, and what the
//! compiler is told about threads and panics.
#![allow(unsafe_code)]

use sal::{HeapOptions, SalArcCell, SalBox, SalRc, SalWeak};
use std::borrow::Cow;
use std::cell::Cell;
use std::error::Error;
use std::panic::{AssertUnwindSafe, RefUnwindSafe, UnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Barrier, OnceLock};

/// Counts how often it is dropped.
struct Counted(&'static AtomicUsize);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn counter() -> &'static AtomicUsize {
    Box::leak(Box::default())
}

#[test]
fn what_the_standard_library_owns_becomes_shared_with_its_elements_moved() {
    let dropped = counter();
    let elements = || vec![Counted(dropped), Counted(dropped), Counted(dropped)];
    let shared: [SalRc<[Counted]>; 3] = [
        elements().into(),
        elements().into_boxed_slice().into(),
        <[Counted; 3]>::try_from(elements()).ok().unwrap().into(),
    ];
    let boxed: [SalBox<[Counted]>; 4] = [
        elements().into(),
        elements().into_boxed_slice().into(),
        <[Counted; 3]>::try_from(elements()).ok().unwrap().into(),
        elements().into_iter().collect(),
    ];
    let alone: (SalRc<Counted>, SalBox<Counted>) =
        (Box::new(Counted(dropped)).into(), Box::new(Counted(dropped)).into());
    assert!(shared.iter().all(|slice| slice.len() == 3) && boxed.iter().all(|slice| slice.len() == 3));
    assert_eq!(dropped.load(Ordering::Relaxed), 0, "nothing is dropped when it is moved");
    drop((shared, boxed, alone));
    assert_eq!(dropped.load(Ordering::Relaxed), 23);
}

#[test]
fn texts_are_made_of_all_that_owns_or_lends_one() {
    let all: [SalRc<str>; 6] = [
        "grüße".into(),
        String::from("grüße").into(),
        Box::<str>::from("grüße").into(),
        Cow::Borrowed("grüße").into(),
        Cow::<str>::Owned("grüße".into()).into(),
        SalBox::<str>::from(String::from("grüße")).into(),
    ];
    assert!(all.iter().all(|text| **text == *"grüße"));
    let boxed: [SalBox<str>; 3] =
        [Box::<str>::from("a").into(), Cow::Borrowed("a").into(), Cow::<str>::Owned("a".into()).into()];
    assert!(boxed.iter().all(|text| **text == *"a"));
    let borrowed = Cow::Borrowed(&[1_u64, 2][..]);
    assert_eq!(SalRc::<[u64]>::from(borrowed.clone()), SalRc::<[u64]>::from(borrowed.into_owned()));
    let [text, ..] = all;
    let place = SalRc::as_ptr(&text).cast::<u8>();
    let bytes: SalRc<[u8]> = text.into();
    assert_eq!((&bytes[..], SalRc::as_ptr(&bytes).cast(), SalRc::strong_count(&bytes)), ("grüße".as_bytes(), place, 1));
}

#[test]
fn defaults_are_empty_or_the_values_own() {
    assert!(SalRc::<str>::default().is_empty() && SalRc::<[Counted]>::default().is_empty());
    assert!(SalBox::<str>::default().is_empty() && SalBox::<[u128]>::default().is_empty());
    assert_eq!((*SalRc::<u32>::default(), *SalBox::<bool>::default()), (0, false));
    assert!(SalArcCell::<str>::default().load().is_empty() && *SalArcCell::<u64>::default().load() == 0);
    assert!(SalWeak::<str>::default().upgrade().is_none());
}

#[test]
fn the_heap_of_a_session_is_where_conversions_go() {
    let heap = HeapOptions::new().volatile().unwrap();
    let tx = heap.write().unwrap();
    let text = SalRc::<str>::from(String::from("text"));
    let slice = SalRc::<[u8]>::from(vec![1, 2]);
    let empty = SalRc::<[u8]>::default();
    assert!([SalRc::heap(&text), SalRc::heap(&slice), SalRc::heap(&empty)].iter().all(|&at| at == heap.alloc()));
    drop((text, slice, empty, tx));
    assert_eq!(heap.stats().live_bytes, 0);
}

#[test]
fn a_heap_without_room_asks_an_iterator_for_nothing() {
    let heap = HeapOptions::new().capacity(4 << 20).volatile().unwrap();
    let none = (0..1 << 20_u32).map(|_| -> u64 { unreachable!("there is no room for it") });
    assert!(SalRc::try_from_iter_in(none, heap.alloc()).is_err());
    assert!(SalBox::try_from_slice_in(&[0_u8; 8 << 20][..], heap.alloc()).is_err());
    assert!(SalBox::try_from_str_in(&"x".repeat(8 << 20), heap.alloc()).is_err());
    assert_eq!(heap.stats().live_bytes, 0);
}

#[test]
fn raw_pointers_go_on_counting_until_they_are_taken_back() {
    fn check<T: ?Sized + sal::Target>(shared: SalRc<T>, dropped: Option<&AtomicUsize>) {
        let heap = SalRc::heap(&shared);
        let place = SalRc::as_ptr(&shared);
        let raw = SalRc::into_raw(shared.clone());
        assert!(std::ptr::eq(raw, place) && SalRc::strong_count(&shared) == 2);
        // SAFETY: of `into_raw`; counted once more, and taken back twice.
        let again = unsafe {
            SalRc::increment_strong_count(raw);
            assert_eq!(SalRc::strong_count(&shared), 3);
            SalRc::decrement_strong_count(raw);
            SalRc::from_raw(raw)
        };
        assert!(SalRc::ptr_eq(&again, &shared) && SalRc::heap(&again) == heap);
        drop(shared);
        assert_eq!((dropped.map_or(0, |dropped| dropped.load(Ordering::Relaxed)), SalRc::strong_count(&again)), (0, 1));
    }
    #[repr(align(64))]
    #[derive(Clone, Copy)]
    struct Aligned(u8);
    let heap = HeapOptions::new().volatile().unwrap();
    let (first, second) = (counter(), counter());
    check(SalRc::new_in(Counted(first), heap.alloc()), Some(first));
    check(SalRc::from_iter_in((0..3).map(|_| Counted(second)), heap.alloc()), Some(second));
    check(SalRc::from_iter_in([Aligned(1); 3], heap.alloc()), None);
    check(SalRc::try_from_str_in("text", heap.alloc()).unwrap(), None);
    check(SalRc::new_in((), heap.alloc()), None);
    assert_eq!((first.load(Ordering::Relaxed), second.load(Ordering::Relaxed)), (1, 3));
    assert_eq!((heap.stats().live_bytes, Aligned(1).0), (0, 1));

    let mut boxed = SalBox::from_iter_in([String::from("a"), String::from("b")], heap.alloc());
    boxed[0].push('x');
    let raw = SalBox::into_raw(boxed);
    // SAFETY: of `into_raw`, once; nobody else has it.
    let boxed = unsafe {
        (&mut *raw)[1].push('y');
        SalBox::from_raw(raw)
    };
    assert_eq!(boxed[..], ["ax", "by"]);
    drop(boxed);
    assert_eq!(heap.stats().live_bytes, 0);
}

#[test]
fn what_is_leaked_stays_as_it_is_also_when_its_heap_is_closed() {
    let heap = HeapOptions::new().volatile().unwrap();
    let text: &'static str = SalRc::leak(SalRc::try_from_str_in("text", heap.alloc()).unwrap());
    let numbers: &'static mut [u64] = SalBox::leak(SalBox::from_iter_in((0..1000_u32).map(u64::from), heap.alloc()));
    heap.close().unwrap();
    numbers[999] += 1;
    assert_eq!((text, numbers[999], numbers[998]), ("text", 1000, 998));
}

#[test]
fn a_weak_pointer_that_leads_nowhere_is_nobodys() {
    let nowhere = SalWeak::<u64>::new();
    let other = nowhere.clone();
    assert!(nowhere.upgrade().is_none() && nowhere.ptr_eq(&other) && nowhere.ptr_eq(&SalWeak::default()));
    assert_eq!((nowhere.strong_count(), nowhere.weak_count()), (0, 0));
    // SAFETY: of `into_raw`, once.
    let again = unsafe { SalWeak::from_raw(other.into_raw()) };
    assert!(again.ptr_eq(&nowhere));
    let some = SalRc::new(7);
    assert!(!SalRc::downgrade(&some).ptr_eq(&SalWeak::new()));
    drop((nowhere, again));
    static SLICE: SalWeak<[String]> = SalWeak::new();
    assert!(SLICE.upgrade().is_none());
}

#[test]
fn a_raw_weak_pointer_keeps_the_block_and_not_the_value() {
    let heap = HeapOptions::new().volatile().unwrap();
    let dropped = counter();
    let value = SalRc::new_in(Counted(dropped), heap.alloc());
    let weak = SalRc::downgrade(&value);
    assert_eq!(weak.as_ptr(), SalRc::as_ptr(&value));
    assert_eq!((weak.weak_count(), weak.strong_count()), (1, 1));
    let raw = weak.into_raw();
    assert_eq!(SalRc::weak_count(&value), 1);
    drop(value);
    assert!(dropped.load(Ordering::Relaxed) == 1 && heap.stats().live_bytes > 0);
    // SAFETY: of `into_raw`, once.
    let weak = unsafe { SalWeak::from_raw(raw) };
    assert!(weak.upgrade().is_none() && weak.weak_count() == 0);
    drop(weak);
    assert_eq!(heap.stats().live_bytes, 0);
}

/// A node that knows itself.
struct Node {
    itself: SalWeak<Node>,
    of: Counted,
}

#[test]
fn a_value_can_hold_a_weak_pointer_to_itself() {
    let heap = HeapOptions::new().volatile().unwrap();
    let dropped = counter();
    let outside = OnceLock::new();
    let mut node = SalRc::new_cyclic_in(heap.alloc(), |itself| {
        assert!(itself.upgrade().is_none() && itself.strong_count() == 0);
        outside.set(itself.clone()).ok().unwrap();
        Node { itself: itself.clone(), of: Counted(dropped) }
    });
    assert_eq!((SalRc::strong_count(&node), SalRc::weak_count(&node)), (1, 2));
    assert!(SalRc::ptr_eq(&node, &node.itself.upgrade().unwrap()) && SalRc::get_mut(&mut node).is_none());
    let outside = outside.into_inner().unwrap();
    assert_eq!(outside.upgrade().unwrap().of.0.load(Ordering::Relaxed), 0);
    drop(node);
    assert_eq!((dropped.load(Ordering::Relaxed), outside.upgrade().is_none()), (1, true));
    assert!(heap.stats().live_bytes > 0, "the weak pointer outside keeps the block");
    drop(outside);
    assert_eq!(heap.stats().live_bytes, 0);
}

#[test]
fn a_value_outlives_the_weak_pointers_it_was_made_with() {
    let heap = HeapOptions::new().volatile().unwrap();
    let mut value = SalRc::new_cyclic_in(heap.alloc(), |_| [7_u64; 8]);
    let other = SalRc::new_in([8_u64; 8], heap.alloc());
    assert!(!SalRc::ptr_eq(&value, &other) && *value == [7; 8] && SalRc::weak_count(&value) == 0);
    SalRc::make_mut(&mut value)[0] = 6;
    assert_eq!((value[0], other[0]), (6, 8));
    drop((value, other));
    assert_eq!(heap.stats().live_bytes, 0);
}

#[test]
fn a_value_that_is_not_made_after_all_leaves_weak_pointers_that_lead_nowhere() {
    let heap = HeapOptions::new().volatile().unwrap();
    for leaves_one in [false, true] {
        let mut outside = None;
        let caught = catch_unwind(AssertUnwindSafe(|| {
            SalRc::<Node>::new_cyclic_in(heap.alloc(), |itself| {
                outside = leaves_one.then(|| itself.clone());
                panic!("as the test wants")
            })
        }));
        assert!(caught.is_err());
        assert_eq!(heap.stats().live_bytes > 0, leaves_one);
        assert!(outside.as_ref().is_none_or(|weak| weak.upgrade().is_none()));
        drop(outside);
        assert_eq!(heap.stats().live_bytes, 0);
    }
}

#[test]
fn a_value_is_whole_for_threads_that_wait_for_it() {
    for _ in 0..200 {
        let start = Barrier::new(2);
        std::thread::scope(|threads| {
            let value = SalRc::new_cyclic(|itself: &SalWeak<[u64; 8]>| {
                let (weak, start) = (itself.clone(), &start);
                threads.spawn(move || {
                    start.wait();
                    loop {
                        if let Some(value) = weak.upgrade() {
                            return assert_eq!(*value, [7; 8]);
                        }
                        std::hint::spin_loop();
                    }
                });
                start.wait();
                [7; 8]
            });
            // Alive until the thread has seen it.
            while SalRc::weak_count(&value) > 0 {
                std::hint::spin_loop();
            }
        });
    }
}

#[test]
fn cells_are_changed_by_many_threads_and_no_change_is_lost() {
    let heap = HeapOptions::new().volatile().unwrap();
    let cell = SalArcCell::new(SalRc::new_in([0_u64; 2], heap.alloc()));
    let change = || {
        for _ in 0..500 {
            let after = cell.update(|value| value[0] += 1);
            assert!(after[0] > 0 && SalRc::heap(&after) == heap.alloc());
            cell.rcu(|value| SalRc::new_near([value[0], value[1] + 1], value));
        }
    };
    // Joined one by one: a scope does not wait until its threads have handed over what they have counted.
    std::thread::scope(|threads| {
        let changers = [(); 4].map(|()| threads.spawn(change));
        changers.into_iter().for_each(|thread| thread.join().unwrap());
    });
    assert_eq!(*cell.into_inner(), [2000, 2000]);
    assert_eq!(heap.stats().live_bytes, 0);
}

#[test]
fn a_change_that_panics_leaves_the_cell_as_it_was() {
    let cell = SalArcCell::from(String::from("before"));
    let caught = catch_unwind(|| cell.update(|_| panic!("as the test wants")));
    assert!(caught.is_err() && catch_unwind(|| cell.rcu(|_| panic!("as the test wants"))).is_err());
    let value = cell.into_inner();
    assert_eq!((&**value, SalRc::strong_count(&value)), ("before", 1));
}

#[test]
fn an_error_that_is_shared_is_an_error_with_its_cause() {
    #[derive(Debug)]
    struct Outer(std::num::ParseIntError);
    impl std::fmt::Display for Outer {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("outer")
        }
    }
    impl Error for Outer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }
    let error = || Outer("x".parse::<u32>().unwrap_err());
    let errors: [Box<dyn Error>; 2] = [Box::new(SalRc::new(error())), Box::new(SalBox::new(error()))];
    for error in errors {
        assert!(
            error.to_string() == "outer" && error.source().is_some_and(|cause| cause.to_string().contains("digit"))
        );
    }
}

#[test]
fn boxed_iterators_go_on_and_pointers_are_shown_by_their_places() {
    let mut numbers = SalBox::new(0..10);
    assert_eq!((numbers.next(), numbers.next_back(), numbers.len(), numbers.nth(2)), (Some(0), Some(9), 8, Some(3)));
    assert_eq!(numbers.map(|n| n * 2).collect::<Vec<_>>(), [8, 10, 12, 14, 16]);
    let boxed = SalBox::new(7);
    assert_eq!(format!("{boxed:p}"), format!("{:p}", SalBox::as_ptr(&boxed)));
}

#[test]
fn pinned_values_stay_where_they_are() {
    use std::marker::PhantomPinned;
    let pinned = SalRc::pin((7, PhantomPinned));
    let other = pinned.clone();
    assert!(std::ptr::eq(&*pinned, &*other) && pinned.0 == 7);
}

/// Whether a type has a trait, asked without demanding it.
macro_rules! has {
    ($type:ty: $trait:path) => {{
        #[allow(dead_code)]
        trait Not {
            const HAS: bool = false;
        }
        impl<T: ?Sized> Not for T {}
        struct Is<T: ?Sized>(std::marker::PhantomData<T>);
        #[allow(dead_code)]
        impl<T: ?Sized + $trait> Is<T> {
            const HAS: bool = true;
        }
        Is::<$type>::HAS
    }};
}

#[test]
fn threads_and_panics_are_told_to_the_compiler_as_by_the_standard_library() {
    use std::sync::{Arc, MutexGuard};
    // Neither is both: a cell may be sent and not shared, a guard shared and not sent.
    type Sent = Cell<u64>;
    type Shared = MutexGuard<'static, u64>;
    macro_rules! same {
        ($($ours:ident $theirs:ident;)*) => {$(
            for (ours, theirs) in [
                (has!($ours<Sent>: Send), has!($theirs<Sent>: Send)),
                (has!($ours<Sent>: Sync), has!($theirs<Sent>: Sync)),
                (has!($ours<Shared>: Send), has!($theirs<Shared>: Send)),
                (has!($ours<Shared>: Sync), has!($theirs<Shared>: Sync)),
                (has!($ours<u64>: Send), has!($theirs<u64>: Send)),
                (has!($ours<u64>: Sync), has!($theirs<u64>: Sync)),
                (has!($ours<Sent>: UnwindSafe), has!($theirs<Sent>: UnwindSafe)),
                (has!($ours<Sent>: RefUnwindSafe), has!($theirs<Sent>: RefUnwindSafe)),
                (has!($ours<u64>: UnwindSafe), has!($theirs<u64>: UnwindSafe)),
                (has!($ours<u64>: RefUnwindSafe), has!($theirs<u64>: RefUnwindSafe)),
                (has!($ours<std::marker::PhantomPinned>: Unpin), true),
            ] {
                assert_eq!(ours, theirs, "{}", stringify!($ours));
            }
        )*};
    }
    use std::sync::Weak;
    same! {
        SalRc Arc;
        SalBox Box;
        SalWeak Weak;
        SalArcCell Arc;
    }
    assert!(has!(SalBox<Sent>: Send) && !has!(SalRc<Sent>: Send));
}

#[test]
fn a_box_is_sent_with_a_value_that_is_only_sent() {
    let heap = HeapOptions::new().volatile().unwrap();
    let boxed = SalBox::new_in(Cell::new(1), heap.alloc());
    let back = std::thread::scope(|threads| {
        let sent = threads.spawn(move || {
            boxed.set(boxed.get() + 1);
            // Shared and alone again, on this thread.
            let shared = SalBox::into_rc(boxed);
            shared.clone().set(shared.get() + 1);
            SalBox::try_from_rc(shared).ok().unwrap()
        });
        sent.join().unwrap()
    });
    assert_eq!(back.get(), 3);
    std::thread::spawn(move || drop(back)).join().unwrap();
    assert_eq!(heap.stats().live_bytes, 0);
}

#[cfg(feature = "serde")]
#[test]
fn slices_and_texts_come_back_from_what_they_were_serialised_to() {
    fn check<T: ?Sized + sal::Target + PartialEq + std::fmt::Debug + serde::Serialize>(value: SalRc<T>, text: &str)
    where
        SalRc<T>: serde::de::DeserializeOwned,
        SalBox<T>: serde::de::DeserializeOwned + serde::Serialize,
    {
        assert_eq!(serde_json::to_string(&value).unwrap(), text);
        assert_eq!(serde_json::from_str::<SalRc<T>>(text).unwrap(), value);
        let boxed: SalBox<T> = serde_json::from_str(text).unwrap();
        assert_eq!((&*boxed, serde_json::to_string(&boxed).unwrap()), (&*value, text.to_string()));
    }
    check(SalRc::<str>::from("a\"b"), r#""a\"b""#);
    check(SalRc::<[u32]>::from([1, 2, 3]), "[1,2,3]");
    check(SalRc::new(vec![Some(1), None]), "[1,null]");
    assert!(serde_json::from_str::<SalRc<str>>("7").is_err() && serde_json::from_str::<SalRc<[u8]>>("\"a\"").is_err());

    let full = HeapOptions::new().capacity(4 << 20).volatile().unwrap();
    let tx = full.write().unwrap();
    let long = format!("\"{}\"", "x".repeat(8 << 20));
    assert!(serde_json::from_str::<SalRc<str>>(&long).unwrap_err().to_string().contains("no room"));
    drop(tx);
    assert_eq!(full.stats().live_bytes, 0);
}

//! [`SalVec`] does what [`Vec`] does, and loses nothing when foreign code panics.
#![allow(unsafe_code)]

mod ledger;
mod model;
mod panics;

use ledger::{Element, Ledger, values};
use sal::collections::{SalVec, TryReserveError};
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::io::Write;
use std::iter;
use std::mem;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

#[test]
fn a_forgotten_drain_leaves_the_elements_before_it() {
    let mut vec = SalVec::from([1, 2, 3, 4]);
    mem::forget(vec.drain(1..3));
    assert_eq!(vec, [1]);
    vec.extend([5, 6]);
    assert_eq!(vec, [1, 5, 6]);
}

#[test]
fn a_forgotten_vector_or_iterator_drops_nothing() {
    let ledger = Ledger::default();
    let vec = SalVec::from([ledger.element(1), ledger.element(2)]);
    // SAFETY: both copies are forgotten without a look at their elements, so `vec` remains the only owner.
    let (first, second) = unsafe { (std::ptr::read(&vec), std::ptr::read(&vec)) };
    mem::forget(first);
    mem::forget(second.into_iter());
    assert_eq!(ledger.alive(), 2);
    assert_eq!(values(&vec), [1, 2]);
}

#[test]
fn a_vector_moved_to_the_heap_and_back_keeps_its_elements() {
    let vec = SalVec::from([1, 2, 3]);
    let mut boxed = Box::new(vec);
    boxed.push(4);
    let mut back = *boxed;
    back.extend([5; 200]);
    assert_eq!(back[..5], [1, 2, 3, 4, 5]);
    assert_eq!(back.len(), 204);
}

#[test]
fn elements_without_bytes_need_no_block() {
    let mut units = SalVec::new();
    assert_eq!(units.capacity(), usize::MAX);
    units.resize(1000, ());
    units.insert(500, ());
    assert_eq!(units.drain(10..20).count(), 10);
    units.swap_remove(3);
    units.shrink_to_fit();
    assert_eq!(units.len(), 990);
    assert_eq!(units.split_off(900).into_iter().rev().count(), 90);
    units.retain(|()| false);
    assert!(units.is_empty());
}

#[test]
fn elements_without_bytes_are_dropped_once_each() {
    thread_local!(static DROPS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) });
    struct Bell;
    impl Drop for Bell {
        fn drop(&mut self) {
            DROPS.set(DROPS.get() + 1);
        }
    }
    let mut bells: SalVec<Bell> = iter::repeat_with(|| Bell).take(10).collect();
    drop(bells.drain(2..5));
    assert_eq!(DROPS.get(), 3);
    let mut rest = bells.into_iter();
    rest.next();
    assert_eq!(DROPS.get(), 4);
    drop(rest);
    assert_eq!(DROPS.get(), 10);
}

#[test]
fn more_elements_than_can_be_counted_are_an_error() {
    let mut units = SalVec::new();
    // SAFETY: a unit has no bytes, so as many as one likes are initialised.
    unsafe { units.set_len(usize::MAX) };
    assert_eq!(units.try_push(()), Err(TryReserveError::CapacityOverflow));
    assert_eq!(units.try_reserve(1), Err(TryReserveError::CapacityOverflow));
    assert_eq!(units.try_insert(0, ()), Err(TryReserveError::CapacityOverflow));
}

#[test]
fn over_aligned_elements_stay_aligned() {
    #[derive(Clone, PartialEq, Debug)]
    #[repr(align(1024))]
    struct Page(u8);

    let mut pages: SalVec<Page> = SalVec::new();
    assert!(pages.as_ptr().is_aligned());
    for n in 0..20 {
        pages.push(Page(n));
        assert!(pages.as_ptr().is_aligned());
    }
    pages.drain(..15);
    pages.shrink_to_fit();
    assert!(pages.as_ptr().is_aligned());
    assert_eq!(pages, [15, 16, 17, 18, 19].map(Page));
}

#[test]
fn a_size_hint_is_not_believed() {
    struct Liar(Range<u32>, usize);
    impl Iterator for Liar {
        type Item = u32;
        fn next(&mut self) -> Option<u32> {
            self.0.next()
        }
        fn size_hint(&self) -> (usize, Option<usize>) {
            (self.1, Some(self.1))
        }
    }
    for hint in [0, 1, 500] {
        assert!(Liar(0..100, hint).collect::<SalVec<_>>().iter().copied().eq(0..100));
    }
}

#[test]
fn a_failed_call_leaves_the_vector_as_it_was() {
    let mut vec = SalVec::from([1_u64, 2]);
    let all = isize::MAX as usize / size_of::<u64>();
    assert_eq!(vec.try_reserve(usize::MAX), Err(TryReserveError::CapacityOverflow));
    assert_eq!(vec.try_reserve(all), Err(TryReserveError::CapacityOverflow));
    let no_memory = vec.try_reserve_exact(all - 1000);
    assert!(matches!(no_memory, Err(TryReserveError::AllocError { .. })));
    assert!(vec.try_resize(all - 1000, 0).is_err());
    assert!(vec.try_resize_with(all - 1000, || 0).is_err());
    assert!(SalVec::<u64>::try_with_capacity(all - 1000).is_err());
    assert_eq!(vec, [1, 2]);
    assert!(catch_unwind(AssertUnwindSafe(|| vec.reserve(usize::MAX))).is_err());
    assert_eq!(vec, [1, 2]);
}

#[test]
fn an_index_behind_the_end_panics_and_changes_nothing() {
    let ledger = Ledger::default();
    let mut vec = SalVec::from([ledger.element(1)]);
    let mut refused = |act: &dyn Fn(&mut SalVec<Element>)| {
        assert!(catch_unwind(AssertUnwindSafe(|| act(&mut vec))).is_err());
        assert_eq!(values(&vec), [1]);
    };
    refused(&|vec| vec.insert(2, ledger.element(2)));
    refused(&|vec| drop(vec.remove(1)));
    refused(&|vec| drop(vec.swap_remove(1)));
    refused(&|vec| drop(vec.split_off(2)));
    refused(&|vec| drop(vec.drain(..2)));
    refused(&|vec| vec.extend_from_within(1..3));
    assert_eq!(ledger.alive(), 1);
}

#[test]
fn shrinking_an_empty_vector_gives_the_block_back() {
    let mut vec = SalVec::from([1, 2, 3]);
    vec.clear();
    assert!(vec.capacity() >= 3);
    vec.shrink_to_fit();
    assert_eq!(vec.capacity(), 0);
    vec.push(4);
    assert_eq!(vec, [4]);
}

#[test]
fn pushing_doubles_the_capacity() {
    let mut vec = SalVec::new();
    let mut blocks = 0;
    let mut capacity = 0;
    for n in 0..100_000 {
        vec.push(n);
        if vec.capacity() != capacity {
            capacity = vec.capacity();
            blocks += 1;
        }
    }
    assert!(blocks <= 17, "{blocks} blocks");
}

#[test]
fn comparing_hashing_and_printing_are_those_of_the_slice() {
    let hash = |value: &dyn Fn(&mut DefaultHasher)| {
        let mut hasher = DefaultHasher::new();
        value(&mut hasher);
        hasher.finish()
    };
    let vec = SalVec::from([1, 2, 3]);
    assert_eq!(hash(&|h| vec.hash(h)), hash(&|h| [1, 2, 3][..].hash(h)));
    assert_eq!(format!("{vec:?} {vec:#?}"), format!("{:?} {:#?}", [1, 2, 3], [1, 2, 3]));
    let (below, above) = (SalVec::from([1, 2]), SalVec::from([1, 3]));
    assert!(below < vec && vec < above);
    let (array, slice, std) = ([1, 2, 3], &[1, 2, 3][..], vec![1, 2, 3]);
    assert!(vec == array && vec == slice && vec == *slice && vec == std && vec == vec.clone());
    assert!(array == vec && slice == vec && *slice == vec && std == vec);
    assert_eq!(vec, &array);
    assert_eq!(&array, vec);
    assert_eq!(vec.iter().rev().collect::<SalVec<_>>(), [&3, &2, &1]);
}

#[test]
fn conversions_keep_the_elements() {
    let ledger = Ledger::default();
    let given = vec![ledger.element(1), ledger.element(2)];
    let ours = SalVec::from(given);
    assert_eq!((values(&ours), ledger.alive()), (vec![1, 2], 2));
    let back = Vec::from(ours);
    assert_eq!((values(&back), ledger.alive()), (vec![1, 2], 2));
    assert_eq!(values(&SalVec::from(&back[..])), [1, 2]);
    drop(back);
    assert_eq!(ledger.alive(), 0);
    assert_eq!(SalVec::from("ab"), b"ab");
    assert_eq!(SalVec::from(&mut [1, 2][..]), [1, 2]);
    assert_eq!(SalVec::from([0; 0]), [0; 0]);
}

#[test]
fn bytes_can_be_written_to() {
    let mut page = SalVec::from(*b"head ");
    page.write_all(b"body").unwrap();
    writeln!(page, " {}", 7).unwrap();
    page.flush().unwrap();
    assert_eq!(page, b"head body 7\n");
}

#[test]
fn elements_can_be_changed_sorted_and_found_as_in_a_slice() {
    let mut vec: SalVec<_> = (0..10).rev().collect();
    vec.sort();
    for n in &mut vec {
        *n *= 2;
    }
    assert_eq!(vec.binary_search(&8), Ok(4));
    assert_eq!(vec[2..4], [4, 6]);
    assert_eq!((&vec).into_iter().sum::<i32>(), 90);
    vec[0] = 1;
    assert_eq!(vec.first(), Some(&1));
}

#[test]
fn vectors_cross_threads_as_far_as_their_elements_do() {
    fn both<T: Send + Sync>() {}
    both::<SalVec<u8>>();
    both::<sal::collections::vec::IntoIter<u8>>();
    both::<sal::collections::vec::Drain<'_, u8>>();

    /// Two impls for a `Send` type make `ask` ambiguous, so naming it compiles for other types only.
    trait NotSend<A> {
        fn ask() {}
    }
    impl<T: ?Sized> NotSend<()> for T {}
    impl<T: ?Sized + Send> NotSend<u8> for T {}
    <SalVec<Rc<u8>> as NotSend<_>>::ask();
}

#[test]
fn a_vector_of_longer_lived_elements_is_one_of_shorter_lived() {
    fn shorten<'short>(vec: SalVec<&'static str>, _: &'short str) -> SalVec<&'short str> {
        vec
    }
    let local = String::from("local");
    let mut vec = shorten(SalVec::from(["static"]), &local);
    vec.push(&local);
    assert_eq!(vec, ["static", "local"]);
}

#[cfg(feature = "serde")]
#[test]
fn a_vector_is_written_as_a_sequence_and_read_back() {
    let vec: SalVec<SalVec<u32>> = [SalVec::from([1, 2]), SalVec::new()].into();
    let text = serde_json::to_string(&vec).unwrap();
    assert_eq!(text, "[[1,2],[]]");
    assert_eq!(serde_json::from_str::<SalVec<SalVec<u32>>>(&text).unwrap(), vec);
    assert!(serde_json::from_str::<SalVec<u32>>("[1,\"two\"]").is_err());
}

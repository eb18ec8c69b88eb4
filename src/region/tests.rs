use super::*;
use crate::HeapOptions;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

fn heap() -> crate::Heap {
    HeapOptions::new().capacity(256 << 20).volatile().unwrap()
}

/// Counts how many of its kind are alive.
struct Counted(Rc<Cell<i32>>);

impl Counted {
    fn new(alive: &Rc<Cell<i32>>) -> Self {
        alive.set(alive.get() + 1);
        Self(Rc::clone(alive))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

#[test]
fn every_element_is_dropped_once_whichever_way_it_leaves() {
    let heap = heap();
    let alive = Rc::new(Cell::new(0));
    let mut region = Region::with_capacity_in(10_000, heap.alloc());
    region.extend((0..10_000).map(|_| Counted::new(&alive)));
    drop(region.pop());
    region.truncate(9_000);
    assert_eq!(alive.get(), 9_000);
    let mut elements = region.into_iter();
    drop((elements.next(), elements.next_back()));
    assert_eq!((alive.get(), elements.len()), (8_998, 8_998));
    drop(elements);
    assert_eq!(alive.get(), 0);
    let mut region = Region::from_fn_in(100, heap.alloc(), |_| Counted::new(&alive));
    region.clear();
    assert_eq!(alive.get(), 0);
    region.push(Counted::new(&alive));
    assert!(region.try_push(Counted::new(&alive)).is_ok());
    drop(region);
    assert_eq!((alive.get(), heap.stats().large_objects), (0, 0));
}

#[test]
fn a_panic_in_a_destructor_drops_the_rest_and_gives_the_pages_back() {
    struct Panics {
        _counted: Counted,
        on_drop: bool,
    }
    impl Drop for Panics {
        fn drop(&mut self) {
            assert!(!self.on_drop, "as asked for");
        }
    }
    let heap = heap();
    let alive = Rc::new(Cell::new(0));
    for by_iterator in [false, true] {
        let region =
            Region::from_fn_in(10, heap.alloc(), |n| Panics { _counted: Counted::new(&alive), on_drop: n == 4 });
        let dropped =
            catch_unwind(AssertUnwindSafe(|| if by_iterator { drop(region.into_iter()) } else { drop(region) }));
        assert!(dropped.is_err());
        assert_eq!((alive.get(), heap.stats().large_objects), (0, 0));
    }
}

#[test]
fn a_panic_while_elements_are_made_keeps_those_that_there_are() {
    let heap = heap();
    let alive = Rc::new(Cell::new(0));
    let made = catch_unwind(AssertUnwindSafe(|| {
        Region::from_fn_in(10, heap.alloc(), |n| {
            assert!(n < 7, "as asked for");
            Counted::new(&alive)
        })
    }));
    assert!(made.is_err());
    assert_eq!((alive.get(), heap.stats().large_objects), (0, 0));
}

#[test]
fn a_region_grows_where_it_is_until_something_is_in_its_way_and_again_once_that_is_gone() {
    let heap = heap();
    let mut region = Region::new_in(heap.alloc());
    region.push(0_u64);
    let place = region.as_ptr();
    for n in 1..1_000_000 {
        region.push(n);
    }
    let behind = Region::<u8>::with_capacity_in(1, heap.alloc());
    let mut n = 1_000_000;
    while region.try_push(n).is_ok() {
        n += 1;
    }
    assert_eq!((region.len() as u64, region.capacity()), (n, region.len()));
    assert!(!region.try_grow_in_place(1));
    assert!(matches!(region.try_reserve(1 << 20), Err(RegionError::CannotGrow { .. })));
    assert!(catch_unwind(AssertUnwindSafe(|| region.push(0))).is_err());
    drop(behind);
    assert!(region.try_grow_in_place(1 << 20));
    assert_eq!(region.as_ptr(), place);
    assert!(region.iter().copied().eq(0..n));
}

#[test]
fn a_region_of_two_to_the_n_and_one_byte_wastes_less_than_a_page() {
    let heap = heap();
    for power in [12, 16, 18, 21, 24] {
        let len = (1 << power) + 1;
        let region = Region::<u8>::with_capacity_in(len, heap.alloc());
        assert!(region.capacity_bytes() - len < PAGE);
        assert_eq!(heap.stats().large_bytes as usize, region.capacity_bytes());
    }
}

#[test]
fn elements_of_any_alignment_are_aligned_and_those_without_bytes_take_no_page() {
    #[repr(align(65536))]
    struct Wide(u8);
    let heap = heap();
    let wide = Region::from_fn_in(3, heap.alloc(), |n| Wide(n as u8));
    assert!(wide.iter().enumerate().all(|(n, element)| element.0 as usize == n));
    assert_eq!(wide.as_ptr().addr() % 65536, 0);
    drop(wide);
    let mut nothing = Region::new_in(heap.alloc());
    nothing.extend([(); 1000]);
    assert_eq!((nothing.len(), nothing.capacity(), nothing.capacity_bytes()), (1000, usize::MAX, 0));
    assert_eq!(nothing.try_reserve(usize::MAX), Err(RegionError::TooLarge { len: usize::MAX }));
    assert_eq!(nothing.into_iter().count(), 1000);
    assert_eq!(heap.stats().threads, 1);
}

#[test]
fn sizes_that_overflow_or_exceed_the_heap_are_errors() {
    let heap = heap();
    let of = |len| Region::<u64>::try_with_capacity_in(len, heap.alloc()).err();
    assert_eq!(of(usize::MAX), Some(RegionError::TooLarge { len: usize::MAX }));
    assert_eq!(of(usize::MAX / 8), Some(RegionError::TooLarge { len: usize::MAX / 8 }));
    assert!(matches!(of((isize::MAX / 8) as usize), Some(RegionError::TooLarge { .. })));
    assert_eq!(of(1 << 40), Some(RegionError::NoRoom { bytes: 8 << 40 }));
    let mut region = Region::<u64>::with_capacity_in(1, heap.alloc());
    assert!(matches!(region.try_reserve(usize::MAX), Err(RegionError::TooLarge { .. })));
    assert!(matches!(region.try_reserve(1 << 40), Err(RegionError::CannotGrow { .. })));
    region.push(1);
    assert!(matches!(region.try_reserve(usize::MAX), Err(RegionError::TooLarge { .. })));
    assert_eq!(region, [1]);
}

#[test]
fn zeroed_regions_are_zeros_also_in_pages_that_were_used_before() {
    let heap = heap();
    for _ in 0..3 {
        let mut region = Region::<u32>::zeroed_in(1 << 20, heap.alloc());
        assert!(region.iter().all(|&n| n == 0));
        region.fill(7);
    }
    let defaults = Region::<String>::default_in(10, heap.alloc());
    assert!(defaults.iter().all(String::is_empty));
}

#[test]
fn arrays_and_slices_are_appended_whole_or_not_at_all() {
    let heap = heap();
    let mut region = Region::with_capacity_in(1, heap.alloc());
    let _behind = Region::<u8>::with_capacity_in(1, heap.alloc());
    region.try_extend_from_array(["a", "b"].map(String::from)).unwrap();
    region.extend_from_slice(&["c".to_string()]);
    assert_eq!(region.concat(), "abc");
    let many: [String; 4096] = std::array::from_fn(|n| n.to_string());
    let many = region.try_extend_from_array(many).unwrap_err();
    assert_eq!(many[4095], "4095");
    assert!(region.try_extend_from_slice(&many).is_err());
    assert_eq!(region.len(), 3);
}

#[test]
fn shrinking_gives_pages_back_and_an_empty_region_all_of_them() {
    let heap = heap();
    let mut region = Region::<u8>::with_capacity_in(10 << 20, heap.alloc());
    region.extend_from_slice(&[9; 5000]);
    region.shrink_to_fit();
    assert_eq!((heap.stats().large_bytes, region.capacity()), (8192, 8192));
    assert!(region.iter().all(|&byte| byte == 9));
    region.clear();
    region.shrink_to_fit();
    assert_eq!((heap.stats().large_objects, region.capacity()), (0, 0));
    region.push(1);
    assert_eq!(region, [1]);
}

#[test]
fn advice_reaches_the_pages_of_a_range_and_is_taken_back() {
    let files = tempfile::tempdir().unwrap();
    for heap in [heap(), HeapOptions::new().capacity(64 << 20).temporary_in(files.path()).volatile().unwrap()] {
        let mut region = Region::<u64>::default_in(100_000, heap.alloc());
        region.fill(3);
        for advice in [Advice::Sequential, Advice::Random, Advice::Normal, Advice::Cold, Advice::WillNeed] {
            region.advise(100..=70_000, advice).unwrap();
        }
        region.prefetch(..).unwrap();
        region.prefetch(5..5).unwrap();
        assert!(catch_unwind(|| region.prefetch(..=region.capacity())).is_err());
        #[expect(clippy::reversed_empty_ranges, reason = "that is what is refused")]
        let reversed = catch_unwind(|| region.prefetch(9..5));
        assert!(reversed.is_err());
        // Not all kernels know these.
        for advice in [Advice::PageOut, Advice::Populate, Advice::HugePages] {
            let _ = region.advise(.., advice);
        }
        assert!(region.iter().all(|&n| n == 3), "no advice changes what is there");
        region.advise(.., Advice::Random).unwrap();
        assert!(region.is_advised.load(std::sync::atomic::Ordering::Relaxed));
        region.clear();
        region.shrink_to_fit();
        assert!(!region.is_advised.load(std::sync::atomic::Ordering::Relaxed));
    }
}

#[test]
fn a_region_goes_to_another_thread_and_its_pages_come_back() {
    let heap = heap();
    let region = Region::from_fn_in(300_000, heap.alloc(), |n| n as u64);
    let sum = std::thread::spawn(move || region.iter().sum::<u64>()).join().unwrap();
    assert_eq!((sum, heap.stats().large_objects), (300_000 * 299_999 / 2, 0));
}

#[test]
fn a_region_outlives_its_heap_readable_and_without_room() {
    let heap = heap();
    let handle = heap.alloc();
    let mut region = Region::with_capacity_in(1, handle);
    region.push(5_u64);
    heap.close().unwrap();
    assert_eq!(region, [5]);
    assert!(!region.try_grow_in_place(1 << 20));
    assert!(matches!(Region::<u8>::try_with_capacity_in(1, handle), Err(RegionError::NoRoom { .. })));
    assert_eq!(region.leak(), [5]);
}

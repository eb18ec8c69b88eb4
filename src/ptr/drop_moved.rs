//! Dropping values without writing to the places where they lie.
//!
//! A value may write to itself when it is dropped: that is for its `Drop` to say. But what the last durable commit of a shared heap
//! leads to must not change before the next one is durable. So the value of a sealed block is moved out of it, and dropped where it
//! has been moved to. What it owns may be a plain block with more values, which are dropped by the collection that has them; for as
//! long as a sealed value is dropped the thread withholds what it frees (`heap::withheld`), and by that a collection knows that it
//! has to move each element out of its block as well. At all other times elements are dropped where they are.
//!
//! The nodes of copy-on-write collections are values of counted pointers: what is in them has been moved with them.
//!
//! # Invariants
//! - **D1** The collections and pointers of this crate write nothing to themselves, nor to their blocks, when they are dropped: others
//!   may drop them where they lie.
//! - **D2** Elements in plain blocks are dropped by [`drop_element`] or [`drop_elements`], or are moved out at all times, as those of a
//!   `SalBTreeMap` are.
#![allow(unsafe_code)]

use crate::alloc::current;
use core::mem::needs_drop;

/// Bytes of a value that finds room on the stack.
const FITS_STACK: usize = 1 << 10;

/// Drops an element of a collection: where it is, or [moved out](drop_moved) if that may not be written to.
///
/// # Safety
/// It is dropped by nobody else, nor used any more.
#[inline(always)]
pub(crate) unsafe fn drop_element<T>(element: *mut T) {
    // SAFETY: the caller's promise.
    unsafe {
        if needs_drop::<T>() {
            if current::is_withholding_any() { drop_moved(element) } else { element.drop_in_place() }
        }
    }
}

/// As [`drop_element`], of elements that follow each other. If one panics the others are dropped, and then it goes on.
///
/// # Safety
/// As for [`drop_element`].
#[inline(always)]
pub(crate) unsafe fn drop_elements<T>(elements: *mut [T]) {
    // SAFETY: the caller's promise.
    unsafe {
        if needs_drop::<T>() {
            if current::is_withholding_any() { drop_each_moved(elements) } else { elements.drop_in_place() }
        }
    }
}

/// Moves a value out of its place, and drops it.
///
/// # Safety
/// As for [`drop_element`].
#[cold]
#[inline(never)]
pub(super) unsafe fn drop_moved<T>(value: *mut T) {
    // SAFETY: the caller's promise: the value is moved out, byte by byte where it does not fit on the stack.
    unsafe {
        if size_of::<T>() <= FITS_STACK {
            drop(value.read());
        } else {
            let mut moved = Box::<T>::new_uninit();
            moved.as_mut_ptr().copy_from_nonoverlapping(value, 1);
            drop(moved.assume_init());
        }
    }
}

/// As [`drop_moved`], of values that follow each other, one by one. If one panics the others are dropped, and then it goes on.
///
/// # Safety
/// As for [`drop_element`].
#[cold]
#[inline(never)]
pub(super) unsafe fn drop_each_moved<T>(values: *mut [T]) {
    /// Goes on with the rest if a value panics when it is dropped.
    struct Rest<T>(*mut T, usize);
    impl<T> Rest<T> {
        fn go_on(&mut self) {
            while self.1 > 0 {
                let value = self.0;
                // SAFETY: the caller's promise: so many values are left.
                unsafe {
                    self.0 = value.add(1);
                    self.1 -= 1;
                    drop_moved(value);
                }
            }
        }
    }
    impl<T> Drop for Rest<T> {
        fn drop(&mut self) {
            self.go_on();
        }
    }
    Rest(values.cast::<T>(), values.len()).go_on();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alloc::current::Withholding;
    use core::cell::Cell;
    use core::mem::ManuallyDrop;

    /// Notes where it is dropped, and changes itself.
    struct Noted<'t>(&'t Cell<Vec<(usize, u64)>>, u64);

    impl Drop for Noted<'_> {
        fn drop(&mut self) {
            let mut notes = self.0.take();
            notes.push((core::ptr::from_ref(self).addr(), self.1));
            self.0.set(notes);
            let number = core::mem::replace(&mut self.1, 99);
            assert_ne!(number, 13, "as the test wants");
        }
    }

    fn elements<'t>(notes: &'t Cell<Vec<(usize, u64)>>, numbers: &[u64]) -> Vec<ManuallyDrop<Noted<'t>>> {
        numbers.iter().map(|&number| ManuallyDrop::new(Noted(notes, number))).collect()
    }

    #[test]
    fn elements_are_dropped_where_they_are_and_moved_out_only_while_the_thread_withholds() {
        let notes = Cell::default();
        for moves in [false, true] {
            let withholding = moves.then(|| Withholding::begin(u32::MAX));
            let mut values = elements(&notes, &[1, 2, 3]);
            let start: *mut Noted<'_> = values.as_mut_ptr().cast();
            // SAFETY: three values, which nobody else drops.
            unsafe {
                drop_element(start);
                drop_elements(core::ptr::slice_from_raw_parts_mut(start.add(1), 2));
            }
            drop(withholding);
            let noted = notes.take();
            assert!(noted.iter().map(|note| note.1).eq([1, 2, 3]));
            for (value, note) in values.iter().zip(noted) {
                assert_eq!(core::ptr::from_ref(value).addr() != note.0, moves);
                assert_eq!(value.1 != 99, moves);
            }
        }
        assert!(!current::is_withholding_any());
    }

    #[test]
    fn a_panic_of_one_that_was_moved_leaves_none_of_the_others() {
        let notes = Cell::default();
        let mut values = elements(&notes, &[1, 13, 2, 3]);
        let all = core::ptr::slice_from_raw_parts_mut(values.as_mut_ptr().cast::<Noted<'_>>(), 4);
        let caught = std::panic::catch_unwind(core::panic::AssertUnwindSafe(|| {
            let _withholding = Withholding::begin(u32::MAX);
            // SAFETY: four values, which nobody else drops.
            unsafe { drop_elements(all) }
        }));
        assert!(caught.is_err() && !current::is_withholding_any());
        assert!(notes.take().iter().map(|note| note.1).eq([1, 13, 2, 3]));
        assert!(values.iter().map(|value| value.1).eq([1, 13, 2, 3]));
    }

    #[test]
    fn a_value_that_is_too_large_for_the_stack_is_moved_all_the_same() {
        struct Large<'t>(Noted<'t>, [u8; FITS_STACK]);
        let notes = Cell::default();
        let value = ManuallyDrop::new(Box::new(Large(Noted(&notes, 7), [1; FITS_STACK])));
        // SAFETY: nobody else drops it.
        unsafe { drop_moved((&raw const **value).cast_mut()) };
        assert_ne!(notes.take()[0].0, core::ptr::from_ref(&value.0).addr());
        assert_eq!((value.0.1, value.1[FITS_STACK - 1]), (7, 1));
    }
}

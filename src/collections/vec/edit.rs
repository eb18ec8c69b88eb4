//! Elements put in, taken out and moved between vectors.

use super::{Drain, SalVec, TryReserveError, or_raise, resolve};
use crate::collections::raw_block::heap_of_block;
use crate::heap::placement::HeapScope;
use crate::ptr::drop_moved::drop_elements;
use core::ops::RangeBounds;
use core::ptr;

impl<T> SalVec<T> {
    /// Adds `value` at the end.
    ///
    /// # Panics
    /// As [`reserve`](Self::reserve).
    #[inline]
    #[track_caller]
    pub fn push(&mut self, value: T) {
        or_raise(self.try_push(value));
    }

    /// As [`push`](Self::push), but reports failure. The value is dropped then; to keep it, call
    /// [`try_reserve`](Self::try_reserve) first.
    ///
    /// # Errors
    /// As [`try_reserve`](Self::try_reserve).
    #[inline]
    pub fn try_push(&mut self, value: T) -> Result<(), TryReserveError> {
        if self.len == self.capacity() {
            self.grow_slow(1)?;
        }
        // SAFETY: there was room, or there is now.
        unsafe { self.push_within_capacity(value) };
        Ok(())
    }

    /// Takes the last element.
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        let last = self.len.checked_sub(1)?;
        self.len = last;
        // SAFETY: by V3 the element is ours; `len` no longer counts it.
        Some(unsafe { self.end().read() })
    }

    /// Puts `value` before the element with number `index`, or at the end if `index` is the length.
    ///
    /// ```
    /// use sal::collections::SalVec;
    ///
    /// let mut letters = SalVec::from(['a', 'c']);
    /// letters.insert(1, 'b');
    /// assert_eq!(letters, ['a', 'b', 'c']);
    /// ```
    ///
    /// # Panics
    /// If `index` is more than the length; else as [`reserve`](Self::reserve).
    #[track_caller]
    pub fn insert(&mut self, index: usize, value: T) {
        or_raise(self.try_insert(index, value));
    }

    /// As [`insert`](Self::insert), but reports that there is no memory. The value is dropped then.
    ///
    /// # Errors
    /// As [`try_reserve`](Self::try_reserve).
    ///
    /// # Panics
    /// If `index` is more than the length.
    #[track_caller]
    pub fn try_insert(&mut self, index: usize, value: T) -> Result<(), TryReserveError> {
        let len = self.len;
        assert!(index <= len, "cannot insert at {index} into {len} elements");
        self.try_reserve(1)?;
        // SAFETY: there is room for one element more, so the elements from `index` on may move up by one;
        // the place they leave is then written, and no foreign code runs between.
        unsafe {
            let place = self.as_mut_ptr().add(index);
            ptr::copy(place, place.add(1), len - index);
            place.write(value);
        }
        self.len = len + 1;
        Ok(())
    }

    /// Takes the element with number `index`; those behind it move down.
    ///
    /// # Panics
    /// If there is no such element.
    #[track_caller]
    pub fn remove(&mut self, index: usize) -> T {
        let len = self.len;
        assert!(index < len, "cannot remove element {index} of {len}");
        // SAFETY: by V3 the element is ours; the copy overwrites its place or, if it was the last, `len`
        // no longer counts it. No foreign code runs between.
        unsafe {
            let place = self.as_mut_ptr().add(index);
            let value = place.read();
            ptr::copy(place.add(1), place, len - index - 1);
            self.len = len - 1;
            value
        }
    }

    /// Takes the element with number `index` and puts the last one in its place.
    ///
    /// # Panics
    /// If there is no such element.
    #[track_caller]
    pub fn swap_remove(&mut self, index: usize) -> T {
        let len = self.len;
        assert!(index < len, "cannot remove element {index} of {len}");
        self.swap(index, len - 1);
        self.len = len - 1;
        // SAFETY: by V3 the element is ours; `len` no longer counts it.
        unsafe { self.end().read() }
    }

    /// Drops the elements from number `len` on. The capacity stays.
    pub fn truncate(&mut self, len: usize) {
        if len >= self.len {
            return;
        }
        let surplus = ptr::from_mut(&mut self.as_mut_slice()[len..]);
        self.len = len;
        // SAFETY: by V3 these elements were ours; `len` no longer counts them, so a panic here loses none
        // and drops none twice (V4).
        unsafe { drop_elements(surplus) }
    }

    /// Drops all elements. The capacity stays.
    #[inline]
    pub fn clear(&mut self) {
        self.truncate(0);
    }

    /// Moves all elements of `other` to the end of this vector.
    ///
    /// ```
    /// use sal::collections::SalVec;
    ///
    /// let (mut left, mut right) = (SalVec::from([1, 2]), SalVec::from([3]));
    /// left.append(&mut right);
    /// assert_eq!(left, [1, 2, 3]);
    /// assert!(right.is_empty());
    /// ```
    ///
    /// # Panics
    /// As [`reserve`](Self::reserve).
    #[track_caller]
    pub fn append(&mut self, other: &mut Self) {
        or_raise(self.try_append(other));
    }

    /// As [`append`](Self::append), but reports failure; both vectors are then as they were.
    ///
    /// # Errors
    /// As [`try_reserve`](Self::try_reserve).
    pub fn try_append(&mut self, other: &mut Self) -> Result<(), TryReserveError> {
        self.try_reserve(other.len)?;
        let moved = other.len;
        other.len = 0;
        // SAFETY: there is room behind our elements; `other` is another vector, whose `len` no longer counts
        // what is moved here (V3).
        unsafe { ptr::copy_nonoverlapping(other.as_ptr(), self.end(), moved) };
        self.len += moved;
        Ok(())
    }

    /// Moves the elements from number `at` on into a vector of their own.
    ///
    /// The new vector takes its block as [`with_capacity`](Self::with_capacity) does.
    ///
    /// # Panics
    /// If `at` is more than the length.
    #[track_caller]
    pub fn split_off(&mut self, at: usize) -> Self {
        or_raise(self.try_split_off(at))
    }

    /// As [`split_off`](Self::split_off), but reports that there is no memory; the vector is then as it was.
    ///
    /// # Errors
    /// As [`try_with_capacity`](Self::try_with_capacity).
    ///
    /// # Panics
    /// If `at` is more than the length.
    #[track_caller]
    pub fn try_split_off(&mut self, at: usize) -> Result<Self, TryReserveError> {
        let len = self.len;
        assert!(at <= len, "cannot split {len} elements at {at}");
        // The elements may own blocks of this vector's heap, so the tail belongs there too.
        let _scope = self.block.map(|block| HeapScope::enter(heap_of_block(block.cast())));
        let mut tail = Self::try_with_capacity(len - at)?;
        self.len = at;
        // SAFETY: `tail` has room for the elements from `at` on, which `len` no longer counts (V3).
        unsafe { ptr::copy_nonoverlapping(self.end(), tail.as_mut_ptr(), len - at) };
        tail.len = len - at;
        Ok(tail)
    }

    /// Takes the elements in `range` out, one by one.
    ///
    /// Dropping the iterator drops what it has not returned and closes the gap. Forgetting it leaks the
    /// elements of the range and those behind it.
    ///
    /// ```
    /// use sal::collections::SalVec;
    ///
    /// let mut queue = SalVec::from([1, 2, 3, 4]);
    /// let batch: Vec<i32> = queue.drain(..3).collect();
    /// assert_eq!(batch, [1, 2, 3]);
    /// assert_eq!(queue, [4]);
    /// ```
    ///
    /// # Panics
    /// If the range begins after its end or ends after the last element.
    #[track_caller]
    pub fn drain(&mut self, range: impl RangeBounds<usize>) -> Drain<'_, T> {
        let range = resolve(range, self.len);
        Drain::new(self, range)
    }
}

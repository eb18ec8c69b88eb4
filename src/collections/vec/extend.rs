//! Many elements added at once: from slices, from iterators, from copies of one value.
//!
//! A [`Filler`] writes the elements and counts them in the end, also if that end is a panic in `clone` or in
//! an iterator. Its count stays in a register, so that cloning plain numbers becomes one copy of memory.

use super::{SalVec, TryReserveError, or_raise, resolve};
use core::iter;
use core::ops::RangeBounds;
use core::ptr;

/// Fills the room behind the elements; when dropped, early or not, it adds what it wrote to the vector.
struct Filler<'v, T> {
    vec: &'v mut SalVec<T>,
    base: *mut T,
    len: usize,
    capacity: usize,
}

impl<'v, T> Filler<'v, T> {
    fn new(vec: &'v mut SalVec<T>) -> Self {
        let (base, len, capacity) = (vec.as_mut_ptr(), vec.len, vec.capacity());
        Self { vec, base, len, capacity }
    }

    fn is_full(&self) -> bool {
        self.len == self.capacity
    }

    /// # Safety
    /// The filler is not full.
    #[inline]
    unsafe fn push(&mut self, value: T) {
        debug_assert!(!self.is_full());
        // SAFETY: the vector has room for `capacity` elements (V1) and only the first `len` are in use.
        unsafe { self.base.add(self.len).write(value) };
        self.len += 1;
    }
}

impl<T> Drop for Filler<'_, T> {
    fn drop(&mut self) {
        self.vec.len = self.len;
    }
}

impl<T> SalVec<T> {
    /// Collects `items` into a new vector, as `collect` does, but reports failure.
    ///
    /// ```
    /// use sal::collections::{SalVec, TryReserveError};
    ///
    /// # fn main() -> Result<(), TryReserveError> {
    /// assert_eq!(SalVec::try_from_iter(1..4)?, [1, 2, 3]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If the capacity overflows or the heap cannot serve the block.
    pub fn try_from_iter(items: impl IntoIterator<Item = T>) -> Result<Self, TryReserveError> {
        let mut vec = Self::new();
        vec.try_extend(items)?;
        Ok(vec)
    }

    /// Adds all `items` at the end, as `extend` does, but reports failure. The items before the one that
    /// found no room stay in the vector; that one is dropped.
    ///
    /// # Errors
    /// As [`try_reserve`](Self::try_reserve).
    pub fn try_extend(&mut self, items: impl IntoIterator<Item = T>) -> Result<(), TryReserveError> {
        let mut items = items.into_iter();
        while let Some(item) = items.next() {
            if self.len == self.capacity() {
                self.grow_slow(items.size_hint().0.saturating_add(1))?;
            }
            let mut filler = Filler::new(self);
            // SAFETY: there was room, or there is now.
            unsafe { filler.push(item) };
            while !filler.is_full() {
                let Some(item) = items.next() else {
                    return Ok(());
                };
                // SAFETY: it is not full.
                unsafe { filler.push(item) };
            }
        }
        Ok(())
    }

    /// Makes the length `len`: drops the surplus or adds what `make` returns.
    ///
    /// # Panics
    /// As [`reserve`](Self::reserve).
    #[track_caller]
    pub fn resize_with(&mut self, len: usize, make: impl FnMut() -> T) {
        or_raise(self.try_resize_with(len, make));
    }

    /// As [`resize_with`](Self::resize_with), but reports failure; the vector is then as it was.
    ///
    /// # Errors
    /// As [`try_reserve`](Self::try_reserve).
    pub fn try_resize_with(&mut self, len: usize, make: impl FnMut() -> T) -> Result<(), TryReserveError> {
        let missing = len.saturating_sub(self.len);
        self.try_reserve(missing)?;
        self.truncate(len);
        self.try_extend(iter::repeat_with(make).take(missing))
    }

    /// Adds bitwise copies of `items` at the end and leaves the counting of `items` to the caller.
    ///
    /// # Safety
    /// Either `T` is `Copy`, or whoever owns `items` never uses or drops them again.
    pub(super) unsafe fn try_extend_bitwise(&mut self, items: &[T]) -> Result<(), TryReserveError> {
        self.try_reserve(items.len())?;
        // SAFETY: there is room behind our elements, and `items`, which is borrowed, does not lie there;
        // the caller says that the copies may be ours (V3).
        unsafe { ptr::copy_nonoverlapping(items.as_ptr(), self.end(), items.len()) };
        self.len += items.len();
        Ok(())
    }
}

impl<T: Copy> SalVec<T> {
    /// As [`try_extend_from_slice`](Self::try_extend_from_slice), in one copy.
    #[inline]
    pub(crate) fn try_extend_from_copies(&mut self, items: &[T]) -> Result<(), TryReserveError> {
        // SAFETY: `T` is `Copy`.
        unsafe { self.try_extend_bitwise(items) }
    }
}

impl<T: Clone> SalVec<T> {
    /// Adds clones of all `items` at the end.
    ///
    /// # Panics
    /// As [`reserve`](Self::reserve).
    #[track_caller]
    pub fn extend_from_slice(&mut self, items: &[T]) {
        or_raise(self.try_extend_from_slice(items));
    }

    /// As [`extend_from_slice`](Self::extend_from_slice), but reports failure; the vector is then as it was.
    ///
    /// ```
    /// use sal::collections::{SalVec, TryReserveError};
    ///
    /// # fn main() -> Result<(), TryReserveError> {
    /// let mut log = SalVec::new();
    /// log.try_extend_from_slice(b"sealed\n")?;
    /// assert_eq!(log, b"sealed\n");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`try_reserve`](Self::try_reserve).
    pub fn try_extend_from_slice(&mut self, items: &[T]) -> Result<(), TryReserveError> {
        self.try_reserve(items.len())?;
        let mut filler = Filler::new(self);
        for item in items {
            // SAFETY: room for all items was reserved.
            unsafe { filler.push(item.clone()) };
        }
        Ok(())
    }

    /// Adds clones of the elements in `range` at the end.
    ///
    /// # Panics
    /// If the range does not lie within the vector; else as [`reserve`](Self::reserve).
    #[track_caller]
    pub fn extend_from_within(&mut self, range: impl RangeBounds<usize>) {
        let range = resolve(range, self.len);
        self.reserve(range.len());
        for index in range {
            let clone = self[index].clone();
            // SAFETY: room for the whole range was reserved.
            unsafe { self.push_within_capacity(clone) };
        }
    }

    /// Makes the length `len`: drops the surplus or adds clones of `value`.
    ///
    /// # Panics
    /// As [`reserve`](Self::reserve).
    #[track_caller]
    pub fn resize(&mut self, len: usize, value: T) {
        or_raise(self.try_resize(len, value));
    }

    /// As [`resize`](Self::resize), but reports failure; the vector is then as it was.
    ///
    /// # Errors
    /// As [`try_reserve`](Self::try_reserve).
    pub fn try_resize(&mut self, len: usize, value: T) -> Result<(), TryReserveError> {
        let missing = len.saturating_sub(self.len);
        self.try_reserve(missing)?;
        self.truncate(len);
        if missing > 0 {
            let mut filler = Filler::new(self);
            for _ in 1..missing {
                // SAFETY: room for all that is missing was reserved.
                unsafe { filler.push(value.clone()) };
            }
            // SAFETY: this is the last of them.
            unsafe { filler.push(value) };
        }
        Ok(())
    }

    /// As `clone`, but reports failure.
    ///
    /// The clone takes its block as [`with_capacity`](Self::with_capacity) does. To have it in the heap of
    /// another vector, use [`try_extend_from_slice`](Self::try_extend_from_slice) on that one.
    ///
    /// # Errors
    /// As [`try_with_capacity`](Self::try_with_capacity).
    pub fn try_clone(&self) -> Result<Self, TryReserveError> {
        let mut clone = Self::try_with_capacity(self.len)?;
        clone.try_extend_from_slice(self)?;
        Ok(clone)
    }
}

impl<T: Clone> Clone for SalVec<T> {
    #[track_caller]
    fn clone(&self) -> Self {
        or_raise(self.try_clone())
    }

    /// Keeps the block, and with it the heap, of `self` if it has one.
    #[track_caller]
    fn clone_from(&mut self, source: &Self) {
        self.truncate(source.len);
        let (assigned, added) = source.split_at(self.len);
        self.clone_from_slice(assigned);
        self.extend_from_slice(added);
    }
}

impl<T> Extend<T> for SalVec<T> {
    #[track_caller]
    fn extend<I: IntoIterator<Item = T>>(&mut self, items: I) {
        or_raise(self.try_extend(items));
    }
}

impl<'a, T: Copy + 'a> Extend<&'a T> for SalVec<T> {
    #[track_caller]
    fn extend<I: IntoIterator<Item = &'a T>>(&mut self, items: I) {
        or_raise(self.try_extend(items.into_iter().copied()));
    }
}

impl<T> FromIterator<T> for SalVec<T> {
    #[track_caller]
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        or_raise(Self::try_from_iter(items))
    }
}

//! Changing elements, and adding and removing single ones.
#![allow(unsafe_code)]

use super::CowVec;
use super::leaf::width;
use super::lookup::out_of_bounds;
use super::tree::Removed;
use crate::collections::TryReserveError;
use crate::collections::error::or_raise;
use crate::ptr::SalRc;
use core::mem;
use core::ops::IndexMut;

impl<T: Clone + 'static> CowVec<T> {
    /// Adds an element at the end.
    ///
    /// ```
    /// use sal::collections::CowVec;
    ///
    /// let mut numbers = CowVec::from([1, 2]);
    /// let before = numbers.clone();
    /// numbers.push(3);
    /// assert!(numbers == [1, 2, 3] && before == [1, 2]);
    /// ```
    #[inline]
    pub fn push(&mut self, element: T) {
        or_raise(self.try_push(element));
    }

    /// As [`push`](Self::push), for a heap that may be full.
    ///
    /// ```
    /// use sal::collections::{CowVec, TryReserveError};
    ///
    /// # fn main() -> Result<(), TryReserveError> {
    /// let mut numbers = CowVec::new();
    /// numbers.try_push(1)?;
    /// assert_eq!(numbers, [1]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`AllocError`](TryReserveError::AllocError). The vector has the elements it had, and `element` is dropped; nodes may have been
    /// copied, so that versions share less than before. (Memory that elements take to be cloned is not covered.)
    #[inline]
    pub fn try_push(&mut self, element: T) -> Result<(), TryReserveError> {
        let mut element = element;
        if let Some(tail) = self.tail.as_mut().and_then(SalRc::get_mut) {
            match tail.push(element) {
                Ok(()) => {
                    self.len += 1;
                    return Ok(());
                }
                Err(back) => element = back,
            }
        }
        self.push_slow(element)
    }

    #[cold]
    #[inline(never)]
    fn push_slow(&mut self, element: T) -> Result<(), TryReserveError> {
        let is_pushed = self.room()?.push(element).is_ok();
        debug_assert!(is_pushed);
        self.len += 1;
        Ok(())
    }

    /// Removes the last element and returns it; none if there is none.
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        or_raise(self.try_pop())
    }

    /// As [`pop`](Self::pop), for a heap that may be full: the last node becomes one that can be changed.
    ///
    /// # Errors
    /// [`AllocError`](TryReserveError::AllocError); the vector has the elements it had.
    #[inline]
    pub fn try_pop(&mut self) -> Result<Option<T>, TryReserveError> {
        if self.len == self.tree_len {
            if self.len == 0 {
                return Ok(None);
            }
            let last = self.leaves() - 1;
            // SAFETY: the tree has elements, and so a last leaf.
            unsafe { self.end_within(last, width::<T>())? };
        }
        let Some(tail) = self.own_tail()? else { return Ok(None) };
        let element = tail.pop();
        self.len -= 1;
        if self.len == 0 {
            self.clear();
        }
        Ok(element)
    }

    /// An element, to be changed; none behind the end. What other versions have on the way to it is copied.
    ///
    /// ```
    /// use sal::collections::CowVec;
    ///
    /// let mut numbers: CowVec<u32> = (0..1000).collect();
    /// *numbers.get_mut(7).unwrap() += 1;
    /// assert_eq!(numbers[7], 8);
    /// ```
    #[inline]
    pub fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        or_raise(self.try_get_mut(index))
    }

    /// As [`get_mut`](Self::get_mut), for a heap that may be full.
    ///
    /// # Errors
    /// [`AllocError`](TryReserveError::AllocError), if a copy is needed; the vector has the elements it had.
    #[inline]
    pub fn try_get_mut(&mut self, index: usize) -> Result<Option<&mut T>, TryReserveError> {
        if index < self.tree_len {
            // SAFETY: as in `get`.
            return Ok(Some(unsafe { self.leaf_mut(index / width::<T>())?.get_unchecked_mut(index % width::<T>()) }));
        }
        if index >= self.len {
            return Ok(None);
        }
        let at = index - self.tree_len;
        Ok(self.own_tail()?.and_then(|tail| tail.elements_mut().get_mut(at)))
    }

    /// The first element, to be changed.
    #[inline]
    pub fn first_mut(&mut self) -> Option<&mut T> {
        self.get_mut(0)
    }

    /// The last element, to be changed.
    #[inline]
    pub fn last_mut(&mut self) -> Option<&mut T> {
        self.get_mut(self.len.checked_sub(1)?)
    }

    /// Replaces an element and returns what it was.
    ///
    /// # Panics
    /// If there is none at this position.
    #[inline]
    #[track_caller]
    pub fn set(&mut self, index: usize, element: T) -> T {
        mem::replace(&mut self[index], element)
    }

    /// Lets two elements change places.
    ///
    /// # Panics
    /// If there is none at one of the positions.
    #[track_caller]
    pub fn swap(&mut self, a: usize, b: usize) {
        if a.max(b) >= self.len {
            out_of_bounds(a.max(b), self.len);
        }
        let (one, other) = (a / width::<T>(), b / width::<T>());
        let (a, b) = (a % width::<T>(), b % width::<T>());
        if one == other {
            or_raise(self.chunk_mut(one)).swap(a, b);
            return;
        }
        let first: *mut T = &mut or_raise(self.chunk_mut(one))[a];
        let second: *mut T = &mut or_raise(self.chunk_mut(other))[b];
        // SAFETY: both are elements of this vector, which is borrowed, in different nodes of its own: what is not shared
        // any more when the first is looked up is not copied for the second.
        unsafe { core::ptr::swap(first, second) };
    }

    /// As [`chunk`](Self::chunk), to be changed.
    #[inline]
    pub(super) fn chunk_mut(&mut self, number: usize) -> Result<&mut [T], TryReserveError> {
        if number < self.leaves() {
            // SAFETY: this many are there.
            return unsafe { self.leaf_mut(number) };
        }
        Ok(self.own_tail()?.map_or(&mut [], |tail| tail.elements_mut()))
    }

    /// Sees to it that chunks from a number on are this vector's own.
    fn own_chunks(&mut self, from: usize) -> Result<(), TryReserveError> {
        (from..self.chunk_count()).try_for_each(|number| self.chunk_mut(number).map(drop))
    }

    /// Inserts an element before the one at `index`, or at the end. Moves all behind it.
    ///
    /// # Panics
    /// If `index` is more than the length.
    #[track_caller]
    pub fn insert(&mut self, index: usize, element: T) {
        or_raise(self.try_insert(index, element));
    }

    /// As [`insert`](Self::insert), for a heap that may be full.
    ///
    /// # Errors
    /// As [`try_push`](Self::try_push).
    ///
    /// # Panics
    /// If `index` is more than the length.
    #[track_caller]
    pub fn try_insert(&mut self, index: usize, element: T) -> Result<(), TryReserveError> {
        if index > self.len {
            out_of_bounds(index, self.len);
        }
        if index == self.len {
            return self.try_push(element);
        }
        // All that takes memory comes first.
        self.own_chunks(index / width::<T>())?;
        self.room()?;
        let (mut carried, mut from) = (element, index % width::<T>());
        for number in index / width::<T>()..self.chunk_count() {
            let moved = &mut or_raise(self.chunk_mut(number))[from..];
            moved.rotate_right(1);
            mem::swap(&mut moved[0], &mut carried);
            from = 0;
        }
        self.try_push(carried)
    }

    /// Removes an element and returns it. Moves all behind it.
    ///
    /// # Panics
    /// If there is none at this position.
    #[track_caller]
    pub fn remove(&mut self, index: usize) -> T {
        or_raise(self.try_remove(index))
    }

    /// As [`remove`](Self::remove), for a heap that may be full.
    ///
    /// # Errors
    /// As [`try_pop`](Self::try_pop).
    ///
    /// # Panics
    /// If there is none at this position.
    #[track_caller]
    pub fn try_remove(&mut self, index: usize) -> Result<T, TryReserveError> {
        if index >= self.len {
            out_of_bounds(index, self.len);
        }
        if index < self.len - 1 {
            // All that takes memory comes first.
            self.own_chunks(index / width::<T>())?;
        }
        let mut carried = self.try_pop()?.expect("there is an element");
        if index == self.len {
            return Ok(carried);
        }
        for number in (index / width::<T>()..self.chunk_count()).rev() {
            let from = index.saturating_sub(number * width::<T>());
            let moved = &mut or_raise(self.chunk_mut(number))[from..];
            moved.rotate_left(1);
            let last = moved.len() - 1;
            mem::swap(&mut moved[last], &mut carried);
        }
        Ok(carried)
    }

    /// Drops all elements but the first `len`. Does nothing if there are no more.
    pub fn truncate(&mut self, len: usize) {
        or_raise(self.try_truncate(len));
    }

    /// As [`truncate`](Self::truncate), for a heap that may be full: what is kept of nodes that other versions have is copied.
    ///
    /// # Errors
    /// [`AllocError`](TryReserveError::AllocError); the vector has the elements it had.
    pub fn try_truncate(&mut self, len: usize) -> Result<(), TryReserveError> {
        if len >= self.len {
        } else if len == 0 {
            self.clear();
        } else if len < self.tree_len {
            let (leaves, kept) = (len / width::<T>(), len % width::<T>());
            if kept == 0 {
                let mut removed = Removed::new();
                let tail = self.cut(leaves, &mut removed)?;
                drop((removed, tail));
            } else {
                // SAFETY: the tree has the element behind the last one.
                unsafe { self.end_within(leaves, kept)? };
            }
        } else {
            self.truncate_tail(len - self.tree_len)?;
        }
        Ok(())
    }

    fn truncate_tail(&mut self, kept: usize) -> Result<(), TryReserveError> {
        let Some(tail) = &mut self.tail else { return Ok(()) };
        let len = self.tree_len + kept;
        if let Some(tail) = SalRc::get_mut(tail) {
            self.len = len;
            tail.truncate(kept);
        } else {
            let copy = match kept {
                0 => None,
                kept => Some(super::leaf::Tail::copy_of(&tail.elements()[..kept], tail)?),
            };
            self.len = len;
            self.tail = copy;
        }
        Ok(())
    }
}

impl<T: 'static> CowVec<T> {
    /// Drops all elements that no other version has. The vector belongs to no heap then.
    pub fn clear(&mut self) {
        drop(mem::take(self));
    }
}

impl<T: Clone + 'static> IndexMut<usize> for CowVec<T> {
    #[inline]
    #[track_caller]
    fn index_mut(&mut self, index: usize) -> &mut T {
        let len = self.len;
        match self.get_mut(index) {
            Some(element) => element,
            None => out_of_bounds(index, len),
        }
    }
}

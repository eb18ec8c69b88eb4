//! Changing elements, and adding and removing single ones.
#![allow(unsafe_code)]

use super::CowVec;
use super::leaf::width;
use super::lookup::out_of_bounds;
use super::tree::Removed;
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
        let mut element = element;
        if let Some(tail) = self.tail.as_mut().and_then(SalRc::get_mut) {
            match tail.push(element) {
                Ok(()) => {
                    self.len += 1;
                    return;
                }
                Err(back) => element = back,
            }
        }
        self.push_slow(element);
    }

    #[cold]
    #[inline(never)]
    fn push_slow(&mut self, element: T) {
        let is_pushed = self.room().push(element).is_ok();
        debug_assert!(is_pushed);
        self.len += 1;
    }

    /// Removes the last element and returns it; none if there is none.
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        if self.len == self.tree_len {
            if self.len == 0 {
                return None;
            }
            let last = self.leaves() - 1;
            // SAFETY: the tree has elements, and so a last leaf.
            unsafe { self.end_within(last, width::<T>()) };
        }
        let element = self.own_tail()?.pop();
        self.len -= 1;
        if self.len == 0 {
            self.clear();
        }
        element
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
        if index < self.tree_len {
            // SAFETY: as in `get`.
            return Some(unsafe { self.leaf_mut(index / width::<T>()).get_unchecked_mut(index % width::<T>()) });
        }
        if index >= self.len {
            return None;
        }
        let at = index - self.tree_len;
        self.own_tail()?.elements_mut().get_mut(at)
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
            self.chunk_mut(one).swap(a, b);
            return;
        }
        let first: *mut T = &mut self.chunk_mut(one)[a];
        let second: *mut T = &mut self.chunk_mut(other)[b];
        // SAFETY: both are elements of this vector, which is borrowed, in different nodes of its own: what is not shared
        // any more when the first is looked up is not copied for the second.
        unsafe { core::ptr::swap(first, second) };
    }

    /// As [`chunk`](Self::chunk), to be changed.
    #[inline]
    pub(super) fn chunk_mut(&mut self, number: usize) -> &mut [T] {
        if number < self.leaves() {
            // SAFETY: this many are there.
            return unsafe { self.leaf_mut(number) };
        }
        self.own_tail().map_or(&mut [], |tail| tail.elements_mut())
    }

    /// Inserts an element before the one at `index`, or at the end. Moves all behind it.
    ///
    /// # Panics
    /// If `index` is more than the length.
    #[track_caller]
    pub fn insert(&mut self, index: usize, element: T) {
        if index > self.len {
            out_of_bounds(index, self.len);
        }
        if index == self.len {
            return self.push(element);
        }
        let (mut carried, mut from) = (element, index % width::<T>());
        for number in index / width::<T>()..self.chunk_count() {
            let moved = &mut self.chunk_mut(number)[from..];
            moved.rotate_right(1);
            mem::swap(&mut moved[0], &mut carried);
            from = 0;
        }
        self.push(carried);
    }

    /// Removes an element and returns it. Moves all behind it.
    ///
    /// # Panics
    /// If there is none at this position.
    #[track_caller]
    pub fn remove(&mut self, index: usize) -> T {
        let Some(mut carried) = (index < self.len).then(|| self.pop()).flatten() else {
            out_of_bounds(index, self.len)
        };
        if index == self.len {
            return carried;
        }
        for number in (index / width::<T>()..self.chunk_count()).rev() {
            let from = index.saturating_sub(number * width::<T>());
            let moved = &mut self.chunk_mut(number)[from..];
            moved.rotate_left(1);
            let last = moved.len() - 1;
            mem::swap(&mut moved[last], &mut carried);
        }
        carried
    }

    /// Drops all elements but the first `len`. Does nothing if there are no more.
    pub fn truncate(&mut self, len: usize) {
        if len >= self.len {
        } else if len == 0 {
            self.clear();
        } else if len < self.tree_len {
            let (leaves, kept) = (len / width::<T>(), len % width::<T>());
            if kept == 0 {
                let mut removed = Removed::new();
                let tail = self.cut(leaves, &mut removed);
                drop((removed, tail));
            } else {
                // SAFETY: the tree has the element behind the last one.
                unsafe { self.end_within(leaves, kept) };
            }
        } else {
            self.truncate_tail(len - self.tree_len);
        }
    }

    fn truncate_tail(&mut self, kept: usize) {
        let Some(tail) = &mut self.tail else { return };
        let len = self.tree_len + kept;
        if let Some(tail) = SalRc::get_mut(tail) {
            self.len = len;
            tail.truncate(kept);
        } else {
            let copy = (kept > 0).then(|| super::leaf::Tail::copy_of(&tail.elements()[..kept], tail));
            self.len = len;
            self.tail = copy;
        }
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

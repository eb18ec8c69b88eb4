//! Working on a vector as a whole: joining, splitting, sieving.

use super::CowVec;
use super::leaf::width;
use crate::collections::TryReserveError;
use crate::collections::error::or_raise;
use crate::heap::placement::HeapScope;
use core::mem;

impl<T: Clone + 'static> CowVec<T> {
    /// Moves the elements of another vector behind those of this one; the other is empty then.
    ///
    /// If this one's length is a multiple of a leaf's, and both are in the same heap, then no element is moved or cloned: leaves are
    /// shared with the other versions of the other vector, and whole branches where their places allow it. A branch `n` levels above the leaves
    /// is shared if the number of leaves here is a multiple of 16ⁿ; so the time is that of visiting the other's branches down to
    /// there, and logarithmic at best. Else it is linear in the length of the other, whose elements are moved, or cloned if other versions
    /// have them.
    ///
    /// ```
    /// use sal::collections::CowVec;
    ///
    /// let mut numbers: CowVec<u32> = (0..100).collect();
    /// numbers.append(&mut (100..1000).collect());
    /// assert!(numbers.iter().copied().eq(0..1000));
    /// ```
    pub fn append(&mut self, other: &mut Self) {
        if self.shares_leaves_of(other) {
            or_raise(self.append_leaves(other));
            *other = Self::new();
        } else {
            let _scope = HeapScope::enter(self.heap());
            self.extend(mem::take(other));
        }
    }

    /// As [`append`](Self::append), for a heap that may be full.
    ///
    /// # Errors
    /// [`AllocError`](TryReserveError::AllocError); both vectors have the elements they had. So that they can have, elements are cloned
    /// where `append` would move them.
    pub fn try_append(&mut self, other: &mut Self) -> Result<(), TryReserveError> {
        // Going back must not take memory, as cutting the vector might.
        let before = self.clone();
        let appended = if self.shares_leaves_of(other) {
            self.append_leaves(other)
        } else {
            let _scope = HeapScope::enter(self.heap());
            self.try_extend(other.iter().cloned())
        };
        match appended {
            Ok(()) => *other = Self::new(),
            Err(_) => *self = before,
        }
        appended
    }

    /// Whether another vector's leaves can follow this one's as they are.
    fn shares_leaves_of(&self, other: &Self) -> bool {
        other.is_empty() || self.len % width::<T>() == 0 && self.heap() == other.heap()
    }

    /// Adds the leaves and the tail of a vector whose leaves can be shared. If there is no room, some of them may have been added.
    fn append_leaves(&mut self, other: &Self) -> Result<(), TryReserveError> {
        if other.is_empty() {
            return Ok(());
        }
        if self.is_empty() {
            *self = other.clone();
            return Ok(());
        }
        self.room()?;
        if let Some(root) = &other.root {
            self.push_leaves_of(root, 0, 0, other.leaves())?;
        }
        if other.len > other.tree_len {
            self.tail.clone_from(&other.tail);
            self.len += other.len - other.tree_len;
        }
        Ok(())
    }

    /// Cuts the vector at a position, and returns what is behind it, in the same heap.
    ///
    /// If the position is a multiple of a leaf's length, both parts share leaves with other versions, and whole branches where their
    /// places allow it: those `n` levels above the leaves if the leaves before the position are a multiple of 16ⁿ, so that the time is
    /// logarithmic at best. Else the elements behind the position are cloned, in time linear in their number.
    ///
    /// # Panics
    /// If `at` is more than the length.
    ///
    /// ```
    /// use sal::collections::CowVec;
    ///
    /// let mut numbers: CowVec<u32> = (0..1000).collect();
    /// let behind = numbers.split_off(300);
    /// assert_eq!((numbers.len(), behind.len(), behind[0]), (300, 700, 300));
    /// ```
    #[track_caller]
    pub fn split_off(&mut self, at: usize) -> Self {
        or_raise(self.try_split_off(at))
    }

    /// As [`split_off`](Self::split_off), for a heap that may be full.
    ///
    /// # Errors
    /// [`AllocError`](TryReserveError::AllocError); the vector has the elements it had.
    ///
    /// # Panics
    /// If `at` is more than the length.
    #[track_caller]
    pub fn try_split_off(&mut self, at: usize) -> Result<Self, TryReserveError> {
        if at > self.len {
            super::lookup::out_of_bounds(at, self.len);
        }
        if at == 0 {
            return Ok(mem::take(self));
        }
        let mut behind = Self::new();
        if at == self.len {
            return Ok(behind);
        }
        let heap = self.heap();
        let _scope = HeapScope::enter(heap);
        if at % width::<T>() == 0 {
            if let Some(root) = self.root.as_ref().filter(|_| at < self.tree_len) {
                behind.push_leaves_of(root, 0, at / width::<T>(), self.leaves())?;
            }
            if self.len > self.tree_len {
                behind.tail.clone_from(&self.tail);
                behind.len += self.len - self.tree_len;
            }
        } else {
            behind.extend_in(heap, self.range(at..).cloned())?;
        }
        self.try_truncate(at)?;
        Ok(behind)
    }

    /// Keeps only the elements for which `is_kept` says so, in order.
    ///
    /// What is before the first one that is not kept stays shared with other versions. If the closure panics, elements that it
    /// was not asked about may be lost.
    ///
    /// ```
    /// use sal::collections::CowVec;
    ///
    /// let mut numbers: CowVec<u32> = (0..10).collect();
    /// numbers.retain(|n| n % 3 == 1);
    /// assert_eq!(numbers, [1, 4, 7]);
    /// ```
    pub fn retain(&mut self, mut is_kept: impl FnMut(&T) -> bool) {
        let Some(first) = self.iter().position(|element| !is_kept(element)) else { return };
        let heap = self.heap();
        let behind = self.split_off(first);
        or_raise(self.extend_in(heap, behind.into_iter().skip(1).filter(|element| is_kept(element))));
    }

    /// Sorts the elements by a comparison, and keeps equal ones in order. Takes them all out and puts them back.
    ///
    /// If the comparison panics, the vector is empty afterwards.
    pub fn sort_by(&mut self, compare: impl FnMut(&T, &T) -> core::cmp::Ordering) {
        if self.is_empty() {
            return;
        }
        let heap = self.heap();
        let mut elements = Vec::from(mem::take(self));
        elements.sort_by(compare);
        or_raise(self.extend_in(heap, elements));
    }

    /// As [`sort_by`](Self::sort_by), by the order of the elements.
    pub fn sort(&mut self)
    where
        T: Ord,
    {
        self.sort_by(T::cmp);
    }
}

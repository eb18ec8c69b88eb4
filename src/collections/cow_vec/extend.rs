//! Building and extending by many elements at once, in linear time: leaves are filled one after the other.

use super::CowVec;
use super::leaf::{Tail, width};
use crate::collections::TryReserveError;
use crate::collections::error::or_raise;
use crate::heap::SalAlloc;
use crate::heap::placement::HeapScope;

impl<T: Clone + 'static> CowVec<T> {
    /// Adds copies of a slice's elements at the end.
    pub fn extend_from_slice(&mut self, elements: &[T]) {
        let _scope = HeapScope::enter(self.heap());
        or_raise(self.fill(&mut elements.iter().cloned()));
    }

    /// As [`extend_from_slice`](Self::extend_from_slice), for a heap that may be full.
    ///
    /// # Errors
    /// As [`try_push`](Self::try_push); none of the elements is there then.
    pub fn try_extend_from_slice(&mut self, elements: &[T]) -> Result<(), TryReserveError> {
        let _scope = HeapScope::enter(self.heap());
        // Going back must not take memory, as cutting the vector might.
        let before = self.clone();
        let filled = self.fill(&mut elements.iter().cloned());
        if filled.is_err() {
            *self = before;
        }
        filled
    }

    /// As [`extend`](Extend::extend), for a heap that may be full. The elements before the one that found no room stay in the
    /// vector; that one is dropped.
    ///
    /// # Errors
    /// As [`try_push`](Self::try_push).
    pub fn try_extend<I: IntoIterator<Item = T>>(&mut self, elements: I) -> Result<(), TryReserveError> {
        self.fill(&mut elements.into_iter())
    }

    /// As [`collect`](Iterator::collect), for a heap that may be full.
    ///
    /// # Errors
    /// As [`try_push`](Self::try_push); the elements taken so far are dropped.
    pub fn try_from_iter<I: IntoIterator<Item = T>>(elements: I) -> Result<Self, TryReserveError> {
        let mut vec = Self::new();
        vec.try_extend(elements)?;
        Ok(vec)
    }

    /// Adds elements until there are none.
    fn fill(&mut self, elements: &mut impl Iterator<Item = T>) -> Result<(), TryReserveError> {
        /// Counts what is in the tail, also if the iterator panics.
        struct Count<'v, T: 'static>(&'v mut CowVec<T>);
        impl<T: 'static> Drop for Count<'_, T> {
            fn drop(&mut self) {
                self.0.count_tail();
            }
        }
        // Without a first element there is to be no node.
        let Some(first) = elements.next() else { return Ok(()) };
        self.try_push(first)?;
        loop {
            let vec = Count(self);
            if let Some(tail) = vec.0.own_tail()? {
                tail.fill(elements);
            }
            drop(vec);
            if self.len - self.tree_len < width::<T>() {
                return Ok(());
            }
            let Some(next) = elements.next() else { return Ok(()) };
            self.try_push(next)?;
        }
    }

    /// As `extend`, into a heap if there is none yet.
    pub(super) fn extend_in(
        &mut self,
        heap: SalAlloc,
        elements: impl IntoIterator<Item = T>,
    ) -> Result<(), TryReserveError> {
        /// Forgets the heap if nothing was put there (V3).
        struct Settle<'v, T: 'static>(&'v mut CowVec<T>);
        impl<T: 'static> Drop for Settle<'_, T> {
            fn drop(&mut self) {
                if self.0.is_empty() {
                    self.0.tail = None;
                }
            }
        }
        if self.is_empty() {
            self.tail = Some(Tail::new_in(heap)?);
        }
        Settle(self).0.try_extend(elements)
    }
}

impl<T: 'static> CowVec<T> {
    /// Makes the length that of the tree and of the tail as it is.
    fn count_tail(&mut self) {
        self.len = self.tree_len + self.tail.as_ref().map_or(0, |tail| tail.len());
    }
}

impl<T: Clone + 'static> Extend<T> for CowVec<T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, elements: I) {
        or_raise(self.try_extend(elements));
    }
}

impl<'e, T: Copy + 'e + 'static> Extend<&'e T> for CowVec<T> {
    fn extend<I: IntoIterator<Item = &'e T>>(&mut self, elements: I) {
        or_raise(self.try_extend(elements.into_iter().copied()));
    }
}

impl<T: Clone + 'static> FromIterator<T> for CowVec<T> {
    fn from_iter<I: IntoIterator<Item = T>>(elements: I) -> Self {
        or_raise(Self::try_from_iter(elements))
    }
}

impl<T: Clone + 'static> From<&[T]> for CowVec<T> {
    fn from(elements: &[T]) -> Self {
        let mut vec = Self::new();
        vec.extend_from_slice(elements);
        vec
    }
}

impl<T: Clone + 'static> From<Vec<T>> for CowVec<T> {
    /// Moves the elements.
    fn from(elements: Vec<T>) -> Self {
        elements.into_iter().collect()
    }
}

impl<T: Clone + 'static, const N: usize> From<[T; N]> for CowVec<T> {
    fn from(elements: [T; N]) -> Self {
        elements.into_iter().collect()
    }
}

impl<T: Clone + 'static> From<CowVec<T>> for Vec<T> {
    /// Moves the elements that no other version has, and clones the others.
    fn from(elements: CowVec<T>) -> Self {
        elements.into_iter().collect()
    }
}

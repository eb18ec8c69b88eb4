//! Reading elements by their position.
#![allow(unsafe_code)]

use super::leaf::width;
use super::{Chunks, CowVec, Iter};
use crate::collections::vec::resolve;
use core::cmp::Ordering;
use core::ops::{Index, RangeBounds};

impl<T: 'static> CowVec<T> {
    /// The element at a position; none behind the end.
    ///
    /// ```
    /// use sal::collections::CowVec;
    ///
    /// let letters = CowVec::from(['a', 'b']);
    /// assert_eq!((letters.get(1), letters.get(2)), (Some(&'b'), None));
    /// ```
    #[inline]
    pub fn get(&self, index: usize) -> Option<&T> {
        if index < self.tree_len {
            // SAFETY: the tree has this leaf (V1), and a leaf as many elements as a number divided by them may leave.
            return Some(unsafe { self.leaf(index / width::<T>()).elements().get_unchecked(index % width::<T>()) });
        }
        self.tail.as_ref()?.elements().get(index - self.tree_len)
    }

    /// The first element.
    #[inline]
    pub fn first(&self) -> Option<&T> {
        self.get(0)
    }

    /// The last element.
    #[inline]
    pub fn last(&self) -> Option<&T> {
        self.get(self.len.checked_sub(1)?)
    }

    /// How many chunks there are.
    #[inline]
    pub(super) fn chunk_count(&self) -> usize {
        self.leaves() + usize::from(self.len > self.tree_len)
    }

    /// The elements of one leaf, or of the tail behind them. All but the last have as many as a leaf.
    #[inline]
    pub(super) fn chunk(&self, number: usize) -> &[T] {
        if number < self.leaves() {
            // SAFETY: this many are there.
            return unsafe { self.leaf(number) }.elements();
        }
        self.tail.as_ref().map_or(&[], |tail| tail.elements())
    }

    /// The elements, in order.
    ///
    /// ```
    /// use sal::collections::CowVec;
    ///
    /// let numbers: CowVec<u32> = (0..1000).collect();
    /// assert_eq!(numbers.iter().sum::<u32>(), 499_500);
    /// assert_eq!(numbers.iter().rev().nth(9), Some(&990));
    /// ```
    #[inline]
    pub fn iter(&self) -> Iter<'_, T> {
        Iter::new(self, 0..self.len)
    }

    /// The elements at some positions, in order.
    ///
    /// # Panics
    /// If the range begins after its end, or ends behind the end of the vector.
    ///
    /// ```
    /// use sal::collections::CowVec;
    ///
    /// let numbers: CowVec<u32> = (0..1000).collect();
    /// assert!(numbers.range(500..503).eq(&[500, 501, 502]));
    /// ```
    #[track_caller]
    pub fn range(&self, positions: impl RangeBounds<usize>) -> Iter<'_, T> {
        Iter::new(self, resolve(positions, self.len))
    }

    /// The slices in which the elements lie, in order. None is empty; how long they are is not promised.
    ///
    /// ```
    /// use sal::collections::CowVec;
    ///
    /// let numbers: CowVec<u32> = (0..1000).collect();
    /// assert_eq!(numbers.chunks().map(|chunk| chunk.iter().sum::<u32>()).sum::<u32>(), 499_500);
    /// assert_eq!(numbers.chunks().collect::<Vec<_>>().concat(), numbers.to_vec());
    /// ```
    #[inline]
    pub fn chunks(&self) -> Chunks<'_, T> {
        Chunks::new(self)
    }

    /// Whether an element equals `wanted`. Looks at all, one after the other.
    pub fn contains(&self, wanted: &T) -> bool
    where
        T: PartialEq,
    {
        self.chunks().any(|chunk| chunk.contains(wanted))
    }

    /// Copies of the elements, in memory of the process's global allocator.
    pub fn to_vec(&self) -> Vec<T>
    where
        T: Clone,
    {
        let mut copies = Vec::with_capacity(self.len);
        self.chunks().for_each(|chunk| copies.extend_from_slice(chunk));
        copies
    }

    /// Where in a sorted vector an element is, or might be inserted; see [`slice::binary_search`].
    ///
    /// # Errors
    /// The position at which it would have to be, if it is not there.
    pub fn binary_search(&self, wanted: &T) -> Result<usize, usize>
    where
        T: Ord,
    {
        self.binary_search_by(|element| element.cmp(wanted))
    }

    /// As [`binary_search`](Self::binary_search), with a function that says on which side of the wanted element one is.
    ///
    /// # Errors
    /// The position at which it would have to be, if it is not there.
    ///
    /// ```
    /// use sal::collections::CowVec;
    ///
    /// let squares: CowVec<u32> = (0..100).map(|n| n * n).collect();
    /// assert_eq!(squares.binary_search_by(|n| n.cmp(&144)), Ok(12));
    /// assert_eq!(squares.binary_search_by(|n| n.cmp(&145)), Err(13));
    /// ```
    pub fn binary_search_by(&self, mut side: impl FnMut(&T) -> Ordering) -> Result<usize, usize> {
        // The chunk first: the last one whose first element is not behind what is wanted.
        let (mut from, mut to) = (0, self.chunk_count());
        while from < to {
            let middle = from + (to - from) / 2;
            if side(&self.chunk(middle)[0]) == Ordering::Greater {
                to = middle;
            } else {
                from = middle + 1;
            }
        }
        let chunk = from.saturating_sub(1);
        let start = chunk * width::<T>();
        self.chunk(chunk).binary_search_by(side).map(|at| start + at).map_err(|at| start + at)
    }

    /// How many elements, from the first on, satisfy `is_before`, if none behind these does; see
    /// [`slice::partition_point`].
    pub fn partition_point(&self, mut is_before: impl FnMut(&T) -> bool) -> usize {
        self.binary_search_by(|element| if is_before(element) { Ordering::Less } else { Ordering::Greater })
            .unwrap_or_else(|at| at)
    }
}

impl<T: 'static> Index<usize> for CowVec<T> {
    type Output = T;

    #[inline]
    #[track_caller]
    fn index(&self, index: usize) -> &T {
        match self.get(index) {
            Some(element) => element,
            None => out_of_bounds(index, self.len),
        }
    }
}

#[cold]
#[inline(never)]
#[track_caller]
pub(super) fn out_of_bounds(index: usize, len: usize) -> ! {
    panic!("there are {len} elements, and none at {index}")
}

//! [`CowVec`]: a vector whose versions share what they have in common.
//!
//! Elements lie in leaves of 256 bytes, in order, all of them full; a tree of branches leads to them. The
//! number of a leaf is the way to it: each branch takes some of its bits. What was pushed last lies in the tail,
//! which becomes a leaf when it is full, so most pushes touch no branch.
//!
//! A clone has the same root and the same tail. A change copies the nodes on the way to what it changes, if another version has
//! them, and writes in place otherwise. `leaf` and `branch` are the nodes, `tree` goes through them, and all
//! else works on chunks: the slices of the leaves, and of the tail.
//!
//! # Invariants
//! - **V1** There is a root if and only if `tree_len` is not 0. It is a branch of level `height`, which is 0 without one, and
//!   leads to `tree_len / width` leaves.
//! - **V2** `len - tree_len` elements are in the tail; none if there is no tail.
//! - **V3** Without elements there are no nodes.
//! - **V4** All of this holds whenever foreign code runs: a closure, an iterator, `Clone` or `Drop` of an element. What
//!   is removed is dropped when the vector is in order again. A panic leaves a valid vector.
//!
//! # What survives a crash
//! The words and the nodes as the last sync found them. How many versions share a node is counted anew by recovery, which
//! finds pointers to nodes only where there are some: unused places in nodes are zeros.
#![allow(unsafe_code)]

mod branch;
mod change;
mod check;
mod diff;
mod extend;
mod into_iter;
mod iter;
mod iter_mut;
mod leaf;
mod lookup;
mod persist;
#[cfg(feature = "serde")]
mod serde;
#[cfg(test)]
mod tests;
mod traits;
mod tree;
mod whole;

pub use diff::{Diff, Difference};
pub use into_iter::IntoIter;
pub use iter::{Chunks, Iter};
pub use iter_mut::IterMut;

use crate::gc::trace::layouts::cow_vec;
use crate::ptr::SalRc;
use branch::Branch;
use core::mem::offset_of;
use leaf::Tail;

/// A vector that is cloned in constant time, and whose clones share what they have in common.
///
/// It is meant for keeping versions: a clone is a version that nothing changes any more, and costs two counts. A
/// change of either copies a leaf of 256 bytes and the few branches that lead to it; further changes near it
/// are made in place. Without clones it is a vector in pieces: pushing, looking up and scanning cost about what they cost
/// with `Vec`.
///
/// Where its nodes live follows from where the vector lives when it needs the first one: inside a heap's window
/// they go to that heap, elsewhere to the heap of the thread's session, or else to the process's default heap. Later
/// nodes go to the heap of those before, wherever the vector is moved.
///
/// What changes a vector needs elements that can be cloned, since another version may have them. A heap without
/// room is a call of [`handle_alloc_error`](std::alloc::handle_alloc_error).
///
/// # Complexity
/// | | time |
/// |---|---|
/// | `clone`, `ptr_eq`, `len` | constant |
/// | `push`, `pop` | constant, amortized |
/// | `get`, `get_mut`, `set`, `truncate` | logarithmic, to the base 16 |
/// | `diff` | like the difference |
/// | `append`, `split_off` at a multiple of a leaf | like the branches that cannot be shared; see there |
/// | building, `insert`, `remove`, and these two elsewhere | linear in what is built, or lies behind |
///
/// # Layout
/// | offset | bytes | field |
/// |---|---|---|
/// | 0 | 8 | pointer to the root of the tree; 0 if it has no leaves |
/// | 8 | 8 | pointer to the tail; 0 if there is none |
/// | 16 | 8 | number of elements |
/// | 24 | 8 | number of elements in the tree |
/// | 32 | 8 | height of the tree: branches on the way to a leaf |
///
/// A leaf is as many elements as fit 256 bytes, but 4 at least. A branch is 4 bytes that say how high it is, 4 that
/// say how many children it has, and room for 16 pointers. A tail is 8 bytes with its number of elements, and room for
/// those of a leaf.
///
/// # Example
/// ```
/// use sal::collections::CowVec;
///
/// let mut numbers: CowVec<u64> = (0..1000).collect();
/// let version = numbers.clone();
/// numbers[500] = 0;
/// numbers.push(1000);
/// assert_eq!((version[500], version.len()), (500, 1000));
/// assert_eq!(version.diff(&numbers).count(), 2);
/// ```
#[repr(C)]
pub struct CowVec<T: 'static> {
    root: Option<SalRc<Branch<T>>>,
    tail: Option<SalRc<Tail<T>>>,
    len: usize,
    tree_len: usize,
    height: usize,
}

const _: () = {
    assert!(size_of::<CowVec<u8>>() == 40 && align_of::<CowVec<u128>>() == 8);
    assert!(offset_of!(CowVec<u8>, root) == 0 && offset_of!(CowVec<u8>, tail) == 8);
    assert!(offset_of!(CowVec<u8>, len) == 16 && offset_of!(CowVec<u8>, tree_len) == 24);
    assert!(offset_of!(CowVec<u8>, height) == 32);
    assert!(cow_vec::ROOT == 0 && cow_vec::TAIL == 8 && cow_vec::SIZE == 40);
};

impl<T: 'static> CowVec<T> {
    /// An empty vector. It owns no block and belongs to no heap.
    ///
    /// ```
    /// use sal::collections::CowVec;
    ///
    /// static NONE: CowVec<u32> = CowVec::new();
    /// assert!(NONE.is_empty());
    /// ```
    #[inline]
    pub const fn new() -> Self {
        Self { root: None, tail: None, len: 0, tree_len: 0, height: 0 }
    }

    /// How many elements there are.
    #[inline]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no element.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether both are the same version: they share all nodes. Vectors that were filled apart are not, even if they are
    /// equal; empty ones are.
    ///
    /// ```
    /// use sal::collections::CowVec;
    ///
    /// let numbers = CowVec::from([1, 2, 3]);
    /// assert!(numbers.ptr_eq(&numbers.clone()));
    /// assert!(!numbers.ptr_eq(&CowVec::from([1, 2, 3])));
    /// ```
    pub fn ptr_eq(&self, other: &Self) -> bool {
        fn same<N: 'static>(a: &Option<SalRc<N>>, b: &Option<SalRc<N>>) -> bool {
            match (a, b) {
                (Some(a), Some(b)) => SalRc::ptr_eq(a, b),
                (a, b) => a.is_none() && b.is_none(),
            }
        }
        self.len == other.len && same(&self.root, &other.root) && same(&self.tail, &other.tail)
    }
}

impl<T: 'static> Clone for CowVec<T> {
    /// Another pointer to the same nodes, in constant time. No element is cloned.
    #[inline]
    fn clone(&self) -> Self {
        Self { root: self.root.clone(), tail: self.tail.clone(), ..*self }
    }
}

impl<T: 'static> Default for CowVec<T> {
    #[inline]
    fn default() -> Self {
        Self::new()
    }
}

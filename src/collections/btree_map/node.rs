//! The nodes of the tree, and what moves pairs between them.
//!
//! | offset in the block | what |
//! |---|---|
//! | 0 | number of pairs, 64 bits |
//! | 8, or the alignment of a key | room for 15 keys, the first so many in use, ascending |
//! | after that, aligned for a value | room for 15 values |
//! | after that, aligned for a pointer; only if the node is not a leaf | room for 16 children, one more in use than pairs |
//!
//! Blocks are as large as `repr(C)` makes them: [`Leaf`] or [`Internal`]. A node does not know whether it is a leaf;
//! the map knows the height of the tree, and whoever walks down counts. The *height* of a node is its distance from
//! the leaves.
//!
//! # Invariants
//! - **N1** A node in a tree is a block of the layout of its height which only that tree uses.
//! - **N2** Its first `len` keys and values are initialised and owned; of a node that is no leaf the first `len + 1`
//!   children are nodes of one height less, each in no other place.
#![allow(unsafe_code)]

use crate::collections::{TryReserveError, raw_block};
use crate::gc::trace::layouts::{Shape, sal_btree_map};
use core::alloc::Layout;
use core::mem::{MaybeUninit, offset_of};
use core::ptr::{self, NonNull};

/// Most pairs in a node.
pub(super) const CAPACITY: usize = 15;
/// Fewest pairs in a node other than the root.
pub(super) const MIN_LEN: usize = CAPACITY / 2;

/// What every node begins with, and all there is to a leaf.
#[repr(C)]
pub(super) struct Leaf<K, V> {
    len: u64,
    keys: [MaybeUninit<K>; CAPACITY],
    values: [MaybeUninit<V>; CAPACITY],
}

/// A node with children.
#[repr(C)]
struct Internal<K, V> {
    leaf: Leaf<K, V>,
    children: [MaybeUninit<Node<K, V>>; CAPACITY + 1],
}

const _: () = {
    type A = Leaf<u64, u32>;
    assert!(offset_of!(A, len) == 0 && offset_of!(A, keys) == 8 && offset_of!(A, values) == 128);
    assert!(size_of::<A>() == 192 && offset_of!(Internal<u64, u32>, children) == 192);
    assert!(size_of::<Internal<u64, u32>>() == 192 + 16 * size_of::<usize>());
};

/// Whether what follows types has the same byte map.
const fn is_traced<K, V>() -> bool {
    let node = sal_btree_map::node(Shape::of::<K>(), Shape::of::<V>());
    node.len == offset_of!(Leaf<K, V>, len)
        && node.keys == offset_of!(Leaf<K, V>, keys)
        && node.values == offset_of!(Leaf<K, V>, values)
        && node.children == offset_of!(Internal<K, V>, children)
        && node.leaf.size == size_of::<Leaf<K, V>>()
        && node.internal.size == size_of::<Internal<K, V>>()
        && sal_btree_map::CAPACITY == CAPACITY
}

const _: () = assert!(is_traced::<u64, u32>() && is_traced::<u8, [u64; 3]>() && is_traced::<u128, u8>());
const _: () = assert!(is_traced::<[u8; 3], ()>() && is_traced::<(), u128>() && is_traced::<u16, u128>());

/// The address of a node. Copies of it are as good as it: who may do what with the node is said by who holds it.
#[repr(transparent)]
pub(super) struct Node<K, V>(NonNull<Leaf<K, V>>);

impl<K, V> Clone for Node<K, V> {
    #[inline]
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for Node<K, V> {}

impl<K, V> PartialEq for Node<K, V> {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<K, V> Node<K, V> {
    /// The layout of a node of this height.
    pub(super) fn layout(height: usize) -> Layout {
        if height == 0 { Layout::new::<Leaf<K, V>>() } else { Layout::new::<Internal<K, V>>() }
    }

    /// A node without pairs, in the heap of the node `beside`, or if there is none, where a map at `place` belongs.
    pub(super) fn allocate(height: usize, place: usize, beside: Option<Self>) -> Result<Self, TryReserveError> {
        let layout = Self::layout(height);
        let block = match beside {
            Some(node) => raw_block::allocate_beside(place, node.block(), layout)?,
            None => raw_block::allocate_for(place, layout)?,
        };
        let node = Self(block.cast());
        // SAFETY: the block is new and large enough.
        unsafe { (*node.0.as_ptr()).len = 0 };
        Ok(node)
    }

    /// Frees the node; what it owns leaks.
    ///
    /// # Safety
    /// It has this height (N1), and is not used again.
    pub(super) unsafe fn free(self, height: usize) {
        // SAFETY: by N1 the block has this layout, came from `raw_block`, and is not used again.
        unsafe { raw_block::deallocate(self.block(), Self::layout(height)) };
    }

    /// The block the node is.
    #[inline]
    pub(super) fn block(self) -> NonNull<u8> {
        self.0.cast()
    }

    /// How many pairs there are.
    ///
    /// # Safety
    /// The node is in use. (So for all methods; those that say no more need no more.)
    #[inline]
    pub(super) unsafe fn len(self) -> usize {
        // SAFETY: N1.
        unsafe { (*self.0.as_ptr()).len as usize }
    }

    /// # Safety
    /// N2 must hold with this length.
    #[inline]
    unsafe fn set_len(self, len: usize) {
        debug_assert!(len <= CAPACITY);
        // SAFETY: N1.
        unsafe { (*self.0.as_ptr()).len = len as u64 };
    }

    /// # Safety
    /// `at <= CAPACITY`.
    #[inline]
    pub(super) unsafe fn key(self, at: usize) -> *mut K {
        debug_assert!(at <= CAPACITY);
        // SAFETY: N1; at most one past the keys.
        unsafe { (&raw mut (*self.0.as_ptr()).keys).cast::<K>().add(at) }
    }

    /// # Safety
    /// `at <= CAPACITY`.
    #[inline]
    pub(super) unsafe fn value(self, at: usize) -> *mut V {
        debug_assert!(at <= CAPACITY);
        // SAFETY: N1; at most one past the values.
        unsafe { (&raw mut (*self.0.as_ptr()).values).cast::<V>().add(at) }
    }

    /// # Safety
    /// The node is no leaf, and `at <= CAPACITY + 1`.
    #[inline]
    unsafe fn child_slot(self, at: usize) -> *mut Self {
        debug_assert!(at <= CAPACITY + 1);
        // SAFETY: N1 with a height above 0; at most one past the children.
        unsafe { (&raw mut (*self.0.cast::<Internal<K, V>>().as_ptr()).children).cast::<Self>().add(at) }
    }

    /// # Safety
    /// The node is no leaf, and `at <= len`.
    #[inline]
    pub(super) unsafe fn child(self, at: usize) -> Self {
        // SAFETY: N2.
        unsafe { self.child_slot(at).read() }
    }

    /// Puts a pair at `at`, and `right`, if the node is no leaf, behind it.
    ///
    /// # Safety
    /// `at <= len < CAPACITY`; there is a `right` just if the node is no leaf, and it has the height of a child. If
    /// the node has no pairs and no children yet, its first child must be [set](Self::set_first_child).
    pub(super) unsafe fn insert(self, at: usize, key: K, value: V, right: Option<Self>) {
        // SAFETY: what is moved lies below `len + 1 <= CAPACITY` pairs and `CAPACITY + 1` children afterwards; the
        // gap is filled, so N2 holds for one pair more.
        unsafe {
            let len = self.len();
            ptr::copy(self.key(at), self.key(at + 1), len - at);
            ptr::copy(self.value(at), self.value(at + 1), len - at);
            self.key(at).write(key);
            self.value(at).write(value);
            if let Some(right) = right {
                ptr::copy(self.child_slot(at + 1), self.child_slot(at + 2), len - at);
                self.child_slot(at + 1).write(right);
            }
            self.set_len(len + 1);
        }
    }

    /// Gives a node without pairs its one child.
    ///
    /// # Safety
    /// The node is no leaf and has no pairs, and the child has one height less.
    pub(super) unsafe fn set_first_child(self, child: Self) {
        // SAFETY: N1; N2 holds for a length of 0.
        unsafe { self.child_slot(0).write(child) };
    }

    /// Takes out the pair at `at` of a leaf.
    ///
    /// # Safety
    /// The node is a leaf, and `at < len`.
    pub(super) unsafe fn remove(self, at: usize) -> (K, V) {
        // SAFETY: N2; the gap is closed, so it holds for one pair less.
        unsafe {
            let len = self.len();
            let pair = (self.key(at).read(), self.value(at).read());
            ptr::copy(self.key(at + 1), self.key(at), len - at - 1);
            ptr::copy(self.value(at + 1), self.value(at), len - at - 1);
            self.set_len(len - 1);
            pair
        }
    }

    /// Moves what is behind the pair at `at` to `right` and returns that pair.
    ///
    /// # Safety
    /// `at < len`; `right` is a new node of this `height`.
    pub(super) unsafe fn split(self, height: usize, at: usize, right: Self) -> (K, V) {
        // SAFETY: N2 for `self`; `right` has room for all. Each pair and child is in one node afterwards, or returned.
        unsafe {
            let moved = self.len() - at - 1;
            ptr::copy_nonoverlapping(self.key(at + 1), right.key(0), moved);
            ptr::copy_nonoverlapping(self.value(at + 1), right.value(0), moved);
            if height > 0 {
                ptr::copy_nonoverlapping(self.child_slot(at + 1), right.child_slot(0), moved + 1);
            }
            right.set_len(moved);
            self.set_len(at);
            (self.key(at).read(), self.value(at).read())
        }
    }

    /// Moves `count` pairs from child `at` through the pair at `at` to child `at + 1`.
    ///
    /// # Safety
    /// The node is no leaf, `at < len`, the children have `height`, the left one more than `count` pairs or as many,
    /// the right one room for them; `count > 0`.
    pub(super) unsafe fn move_right(self, at: usize, height: usize, count: usize) {
        // SAFETY: N2 for the three nodes. The pair in the parent goes to place `count - 1` of the right node, the last
        // `count - 1` of the left one before it, the one before those to the parent; likewise the children.
        unsafe {
            let (left, right) = (self.child(at), self.child(at + 1));
            let (left_len, right_len) = (left.len() - count, right.len());
            ptr::copy(right.key(0), right.key(count), right_len);
            ptr::copy(right.value(0), right.value(count), right_len);
            ptr::copy_nonoverlapping(left.key(left_len + 1), right.key(0), count - 1);
            ptr::copy_nonoverlapping(left.value(left_len + 1), right.value(0), count - 1);
            ptr::copy_nonoverlapping(self.key(at), right.key(count - 1), 1);
            ptr::copy_nonoverlapping(self.value(at), right.value(count - 1), 1);
            ptr::copy_nonoverlapping(left.key(left_len), self.key(at), 1);
            ptr::copy_nonoverlapping(left.value(left_len), self.value(at), 1);
            if height > 0 {
                ptr::copy(right.child_slot(0), right.child_slot(count), right_len + 1);
                ptr::copy_nonoverlapping(left.child_slot(left_len + 1), right.child_slot(0), count);
            }
            left.set_len(left_len);
            right.set_len(right_len + count);
        }
    }

    /// Moves one pair from child `at + 1` through the pair at `at` to child `at`.
    ///
    /// # Safety
    /// The node is no leaf, `at < len`, the children have `height`, the right one has a pair and the left one room
    /// for it.
    pub(super) unsafe fn move_left(self, at: usize, height: usize) {
        // SAFETY: N2 for the three nodes; each pair and child is in one of them afterwards.
        unsafe {
            let (left, right) = (self.child(at), self.child(at + 1));
            let (left_len, right_len) = (left.len(), right.len() - 1);
            ptr::copy_nonoverlapping(self.key(at), left.key(left_len), 1);
            ptr::copy_nonoverlapping(self.value(at), left.value(left_len), 1);
            ptr::copy_nonoverlapping(right.key(0), self.key(at), 1);
            ptr::copy_nonoverlapping(right.value(0), self.value(at), 1);
            ptr::copy(right.key(1), right.key(0), right_len);
            ptr::copy(right.value(1), right.value(0), right_len);
            if height > 0 {
                left.child_slot(left_len + 1).write(right.child(0));
                ptr::copy(right.child_slot(1), right.child_slot(0), right_len + 1);
            }
            left.set_len(left_len + 1);
            right.set_len(right_len);
        }
    }

    /// Moves the pair at `at` and all of child `at + 1` to child `at`, and frees the former.
    ///
    /// # Safety
    /// The node is no leaf, `at < len`, the children have `height`, and both together less than [`CAPACITY`] pairs.
    pub(super) unsafe fn merge(self, at: usize, height: usize) {
        // SAFETY: N2 for the three nodes; each pair and child is in one of the two left over, and the third is not
        // used again.
        unsafe {
            let (left, right) = (self.child(at), self.child(at + 1));
            let (len, left_len, right_len) = (self.len(), left.len(), right.len());
            left.key(left_len).write(self.key(at).read());
            left.value(left_len).write(self.value(at).read());
            ptr::copy_nonoverlapping(right.key(0), left.key(left_len + 1), right_len);
            ptr::copy_nonoverlapping(right.value(0), left.value(left_len + 1), right_len);
            if height > 0 {
                ptr::copy_nonoverlapping(right.child_slot(0), left.child_slot(left_len + 1), right_len + 1);
            }
            left.set_len(left_len + 1 + right_len);
            ptr::copy(self.key(at + 1), self.key(at), len - at - 1);
            ptr::copy(self.value(at + 1), self.value(at), len - at - 1);
            ptr::copy(self.child_slot(at + 2), self.child_slot(at + 1), len - at - 1);
            self.set_len(len - 1);
            right.free(height);
        }
    }

    /// Frees the node and all below it; what they own leaks. Recurses as deep as the tree is high.
    ///
    /// # Safety
    /// It has this height, and neither it nor what is below is used again.
    pub(super) unsafe fn free_all(self, height: usize) {
        // SAFETY: N2 names the children; none is used again.
        unsafe {
            if height > 0 {
                for at in 0..=self.len() {
                    self.child(at).free_all(height - 1);
                }
            }
            self.free(height);
        }
    }
}

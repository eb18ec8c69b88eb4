//! [`CowMap`]: an ordered map whose versions share what they have in common.
//!
//! It is a B+ tree of nodes that [`SalRc`] pointers lead to: leaves hold pairs, and branches hold children and copies of keys
//! that bound them. All leaves have the same distance from the root. The byte map of a node is in `node.rs`. The map itself is
//! two words: the root, null in an empty map, and the number of pairs.
//!
//! A clone of a map is one more pointer to its root. Whoever changes a map goes down from the root and makes each node on the
//! way its own: it is copied if another version has it too, and is left where it is if not. On the way full nodes are split, if
//! a pair is to come, and small ones are filled up or merged, if a pair is to go; so each step concerns one node and one or two
//! of its children, and leaves a tree that is in order.
//!
//! # Invariants
//! N1 to N3 of `node.rs`; and
//! - **B1** There is a root just when `len` is not 0, but for a call that was broken off by a panic, which may leave a leaf
//!   without pairs as root.
//! - **B2** A node other than the root is at least a quarter full.
//! - **B3** `len` is the number of pairs.
//! - **B4** Keys ascend; a bound is greater than all keys before it and not greater than those behind. Only answers depend on
//!   this, never memory safety.
//!
//! # What survives a crash
//! All of it, as of the last commit, and all versions that are stored: a map has no state outside its words and its nodes. The
//! numbers of pointers to the nodes are counted again.

mod build;
mod change;
mod check;
mod copy;
mod cursor;
mod diff;
mod entry;
mod into_iter;
mod iter;
mod lookup;
mod node;
mod persist;
mod range;
mod search;
#[cfg(feature = "serde")]
mod serde;
mod shape;
mod slots;
#[cfg(test)]
mod tests;
mod traits;
mod whole;

pub use diff::{Diff, Difference};
pub use entry::{Entry, OccupiedEntry, VacantEntry};
pub use into_iter::{IntoIter, IntoKeys, IntoValues};
pub use iter::{Iter, Keys, Values};
pub use range::Range;

use crate::SalAlloc;
use crate::SalRc;
use crate::gc::trace::layouts::cow_map;
use crate::heap::placement::heap_for_value_at;
use core::mem::offset_of;
use node::Link;

/// An ordered map without a handle, in a documented format, whose clones share their nodes.
///
/// [`clone`](Clone::clone) takes constant time, whatever the size, and a clone stays as it is while the map is changed: it is a
/// version. A change copies the nodes on the way from the root to the pair that another version has too, a few hundred bytes
/// each, and changes in place those that no other version has. [`diff`](Self::diff) tells what two versions do not have in
/// common, in time that depends on that alone.
///
/// Keys and values are cloned with their nodes: what is large, or slow to clone, is best kept in a [`SalRc`].
///
/// Looking up, inserting and removing take logarithmic time.
///
/// ```
/// use sal::collections::CowMap;
///
/// let mut prices: CowMap<String, u32> = CowMap::new();
/// prices.insert("pear".to_string(), 30);
/// let monday = prices.clone();
/// prices.insert("apple".to_string(), 25);
/// *prices.get_mut("pear").unwrap() += 5;
/// assert_eq!(monday.iter().collect::<Vec<_>>(), [(&"pear".to_string(), &30)]);
/// assert_eq!((prices.len(), prices["pear"]), (2, 35));
/// ```
#[repr(C)]
pub struct CowMap<K: 'static, V: 'static> {
    root: Option<Link<K, V>>,
    len: usize,
}

const _: () = {
    type Any = CowMap<u8, u8>;
    assert!(size_of::<Any>() == 2 * size_of::<usize>());
    assert!(offset_of!(Any, root) == cow_map::ROOT && size_of::<Any>() == cow_map::SIZE);
    assert!(offset_of!(Any, root) == 0 && offset_of!(Any, len) == size_of::<usize>());
};

impl<K: 'static, V: 'static> CowMap<K, V> {
    /// An empty map. It has no block, and belongs to no heap.
    #[inline]
    pub const fn new() -> Self {
        Self { root: None, len: 0 }
    }

    /// How many entries there are.
    #[inline]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Takes all entries out; those of other versions stay.
    pub fn clear(&mut self) {
        *self = Self::new();
    }

    /// Whether both are the same version: not only equal, but with all nodes in common. Takes constant time.
    pub fn ptr_eq(&self, other: &Self) -> bool {
        match (&self.root, &other.root) {
            (Some(a), Some(b)) => SalRc::ptr_eq(a, b),
            (None, None) => true,
            _ => false,
        }
    }

    /// The heap from which the map takes its nodes.
    fn heap(&self) -> SalAlloc {
        match &self.root {
            Some(root) => SalRc::heap(root),
            None => heap_for_value_at(self as *const Self as usize),
        }
    }
}

impl<K: 'static, V: 'static> Default for CowMap<K, V> {
    #[inline]
    fn default() -> Self {
        Self::new()
    }
}

impl<K: 'static, V: 'static> Clone for CowMap<K, V> {
    /// Another pointer to the same nodes, in the same heap. Takes constant time, and clones no key and no value.
    #[inline]
    fn clone(&self) -> Self {
        Self { root: self.root.clone(), len: self.len }
    }
}

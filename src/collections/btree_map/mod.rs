//! [`SalBTreeMap`]: an ordered map that can live in a file.
//!
//! It is a B-tree: every node holds up to 15 pairs, those that are no leaves one child more than pairs, and all
//! leaves have the same distance from the root. The byte map of a node is in `node.rs`. The map itself is three
//! words: the root, null in an empty map; the height, which is the number of levels below the root; and the number of
//! pairs.
//!
//! # Invariants
//! N1 and N2 of `node.rs`; and
//! - **B1** There is a root just when `len` is not 0. It has `height`, and at least one pair.
//! - **B2** Every other node has at least 7 pairs.
//! - **B3** `len` is the number of pairs.
//! - **B4** Keys ascend from one leaf edge to the last. Only answers depend on this, never memory safety.
//!
//! # What survives a crash
//! All of it, as of the last commit: the map has no state outside its words and its nodes.
#![allow(unsafe_code)]

mod build;
mod change;
mod check;
mod entry;
mod entry_ref;
mod into_iter;
mod iter;
mod lookup;
mod node;
mod path;
mod persist;
mod range;
#[cfg(feature = "serde")]
mod serde;
#[cfg(test)]
mod tests;
mod traits;
mod walk;
mod whole;

pub(super) use build::sorted;
pub use entry::{Entry, OccupiedEntry, VacantEntry};
pub use entry_ref::{EntryRef, VacantEntryRef};
pub use into_iter::{IntoIter, IntoKeys, IntoValues};
pub(super) use iter::project;
pub use iter::{Iter, IterMut, Keys, Values, ValuesMut};
pub use range::{Range, RangeMut};
pub use walk::ExtractIf;

use crate::SalAlloc;
use crate::collections::raw_block;
use crate::gc::trace::layouts::sal_btree_map;
use crate::heap::placement::heap_for_value_at;
use core::mem::offset_of;
use node::Node;
use path::Path;

/// An ordered map without a handle, in a documented format, with the interface of [`std::collections::BTreeMap`].
///
/// What differs from it:
/// - [`insert`](Self::insert) takes what a key [can be made from](super::KeyFrom): `map.insert("word", 1)`.
/// - [`entry_ref`](Self::entry_ref) makes a key only if it is missing, and makes it in the heap of the map.
/// - `try_` twins ([`try_insert`](Self::try_insert), [`VacantEntry::try_insert`]) report a full disk as an error.
///   (Not to be mistaken for the standard library's unstable `try_insert`, which refuses keys that exist.)
///
/// ```
/// use sal::collections::SalBTreeMap;
///
/// let mut prices: SalBTreeMap<String, u32> = SalBTreeMap::new();
/// prices.insert("pear".to_string(), 30);
/// *prices.entry_ref("apple").or_default() += 25;
/// assert_eq!(prices.range("banana".to_string()..).count(), 1);
/// assert_eq!(prices.last_key_value(), Some((&"pear".to_string(), &30)));
/// ```
#[repr(C)]
pub struct SalBTreeMap<K, V> {
    root: Option<Node<K, V>>,
    height: usize,
    len: usize,
}

const _: () = {
    type Any = SalBTreeMap<u8, u8>;
    assert!(size_of::<Any>() == 3 * size_of::<usize>() && offset_of!(Any, root) == 0);
    assert!(offset_of!(Any, root) == sal_btree_map::ROOT && offset_of!(Any, height) == sal_btree_map::HEIGHT);
    assert!(offset_of!(Any, height) == size_of::<usize>() && offset_of!(Any, len) == 2 * size_of::<usize>());
};

// SAFETY: the nodes are the map's alone; it is as if the keys and values lay in the map.
unsafe impl<K: Send, V: Send> Send for SalBTreeMap<K, V> {}
// SAFETY: through `&self` nothing but `&K` and `&V` is handed out.
unsafe impl<K: Sync, V: Sync> Sync for SalBTreeMap<K, V> {}

impl<K, V> SalBTreeMap<K, V> {
    /// An empty map. It has no block, and belongs to no heap.
    #[inline]
    pub const fn new() -> Self {
        Self { root: None, height: 0, len: 0 }
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

    /// Drops all entries and frees all nodes.
    pub fn clear(&mut self) {
        drop(core::mem::take(self));
    }

    /// The entries, in the order of their keys.
    #[inline]
    pub fn iter(&self) -> Iter<'_, K, V> {
        Iter::new(self)
    }

    /// The entries, with their values mutable, in the order of their keys.
    #[inline]
    pub fn iter_mut(&mut self) -> IterMut<'_, K, V> {
        IterMut::new(self)
    }

    /// The keys, in order.
    #[inline]
    pub fn keys(&self) -> Keys<'_, K, V> {
        Keys(self.iter())
    }

    /// The values, in the order of their keys.
    #[inline]
    pub fn values(&self) -> Values<'_, K, V> {
        Values(self.iter())
    }

    /// The values, mutable, in the order of their keys.
    #[inline]
    pub fn values_mut(&mut self) -> ValuesMut<'_, K, V> {
        ValuesMut(self.iter_mut())
    }

    /// The keys, in order, taken from the map.
    pub fn into_keys(self) -> IntoKeys<K, V> {
        IntoKeys(self.into_iter())
    }

    /// The values, in the order of their keys, taken from the map.
    pub fn into_values(self) -> IntoValues<K, V> {
        IntoValues(self.into_iter())
    }

    /// Keeps the entries for which `keep` says so, asked in the order of their keys. If it panics, the entries not
    /// yet asked about stay.
    pub fn retain(&mut self, mut keep: impl FnMut(&K, &mut V) -> bool) {
        let mut walk = walk::Walk::new(self);
        while walk.take_next(|key, value| !keep(key, value)).is_some() {}
    }

    /// Takes out the entries for which `wanted` says so, one at each step of the iterator. If the iterator is dropped
    /// early the entries not yet asked about stay.
    pub fn extract_if<F: FnMut(&K, &mut V) -> bool>(&mut self, wanted: F) -> ExtractIf<'_, K, V, F> {
        ExtractIf::new(self, wanted)
    }

    /// The entry with the smallest key.
    pub fn first_key_value(&self) -> Option<(&K, &V)> {
        self.iter().next()
    }

    /// The entry with the largest key.
    pub fn last_key_value(&self) -> Option<(&K, &V)> {
        self.iter().next_back()
    }

    /// Removes the entry with the smallest key.
    pub fn pop_first(&mut self) -> Option<(K, V)> {
        let mut path = self.end(false);
        // SAFETY: it is the first leaf edge, and not the last if there is any pair.
        self.root.map(|_| unsafe { self.remove_ahead(&mut path).0 })
    }

    /// Removes the entry with the largest key.
    pub fn pop_last(&mut self) -> Option<(K, V)> {
        let mut path = self.end(true);
        // SAFETY: it is the last leaf edge; after a step back it is not.
        unsafe {
            path.previous()?;
            Some(self.remove_ahead(&mut path).0)
        }
    }

    /// The address by which the heap of the first node is chosen.
    #[inline]
    fn place(&self) -> usize {
        self as *const Self as usize
    }

    /// The heap from which the map takes its nodes.
    fn heap(&self) -> SalAlloc {
        match self.root {
            Some(root) => raw_block::heap_of_block(root.block()),
            None => heap_for_value_at(self.place()),
        }
    }

    /// The first or the last leaf edge; nowhere if the map is empty.
    fn end(&self, last: bool) -> Path<K, V> {
        match self.root {
            // SAFETY: B1.
            Some(root) => unsafe { Path::to_end(root, self.height, last) },
            None => Path::new(),
        }
    }
}

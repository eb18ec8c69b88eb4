//! [`CowHashMap`]: a hash map whose clones are versions that share what they have in common.
//!
//! It is a trie over the bits of the hash. Its leaves hold entries, up to 15 in each, found by comparing sixteen tags at once
//! (`leaf.rs`); branches above them take three bits of the hash at a time, and share a leaf among slots while there are too few
//! entries to fill more (`branch.rs`). Entries whose hashes are the same to the last bit, too many for a leaf, are a list.
//! All nodes are counted pointers' ([`SalRc`](crate::SalRc)): a clone of the map is one more pointer to the root, and a
//! change copies the nodes on its path that another version has too, and no others. The map itself is five words:
//!
//! | word | what |
//! |---|---|
//! | 0 | the root, zero in an empty map |
//! | 1 | what kind of node it is: 0 a leaf, 0x20 a branch, 0x40 there is none, 0x80 a list |
//! | 2 | entries |
//! | 3 | seed of the [hash function](super::hash), chosen anew for each map that begins empty |
//! | 4 | fingerprint of how the process hashed that filled the map; 0 for none |
//!
//! # When hashing changes
//! As in a [`SalHashMap`](super::SalHashMap): a map that was filled by a process that hashed otherwise compares all keys one by
//! one when something is looked up through `&self`, and the first use through `&mut self` that needs hashes builds it anew, of
//! clones of its entries. It shares no nodes with its versions then.
//!
//! # Invariants
//! L1 and L2 of `leaf.rs`, R1 to R3 of `branch.rs`, K1 of `link.rs`; and
//! - **M1** The root is of the kind that `kind` says, and `kind::NONE` where the link is zero.
//! - **M2** There are at most `LEVELS` branches on a way down, and a list only below as many.
//! - **M3** `len` is the number of entries.
//! - **M4** Where `filled_under` is the process's fingerprint, each entry is where the hash that `seed` gives leads, with the
//!   hash's tag, and no key is there twice. Only answers depend on this, never memory safety.
//!
//! # What survives a crash
//! All of it, as of the last commit: the map has no state outside its words and its nodes. The numbers of pointers to nodes
//! are counted anew.
#![allow(unsafe_code)]

mod branch;
mod check;
mod diff;
mod entry;
mod insert;
mod into_iter;
mod iter;
mod leaf;
mod link;
mod lookup;
mod persist;
mod remove;
mod retain;
#[cfg(feature = "serde")]
mod serde;
mod tags;
#[cfg(test)]
mod tests;
mod traits;
mod walk;

pub use diff::{Diff, Difference};
pub use entry::{Entry, OccupiedEntry, VacantEntry};
pub use into_iter::IntoIter;
pub use iter::{Iter, IterMut, Keys, Values, ValuesMut};

use super::TryReserveError;
use super::error::or_raise;
use super::hash::{SalHashBuilder, SalHasher, UNKNOWN_FINGERPRINT, fingerprint};
use crate::SalAlloc;
use crate::gc::trace::layouts::cow_hash_map;
use crate::heap::placement::{HeapScope, heap_for_value_at};
#[allow(unused_imports, reason = "named in the documentation")]
use branch::LEVELS;
use branch::kind;
use core::hash::{Hash, Hasher};
use core::mem::offset_of;
use link::Link;

/// A hash map whose clones share what they have in common, in a documented format, without a handle.
///
/// [`clone`](Clone::clone) takes a few nanoseconds whatever the size; the clone is a *version* that later changes of the other
/// do not touch. A change copies the nodes on the way to its entry that other versions have too (about one for each
/// three bits that the number of entries has, and one with up to 15 entries), and changes in place what nobody else has.
/// So keys and values must be [`Clone`] to be changed. Versions may be read by other threads while one is changed.
///
/// The interface is that of [`std::collections::HashMap`], without capacities and without a choice of hasher;
/// [`insert`](Self::insert) takes what a key [can be made from](super::KeyFrom).
///
/// Looking up, inserting and removing take time that grows with the logarithm of the number of entries to the base of 8.
///
/// ```
/// use sal::collections::CowHashMap;
///
/// let mut stock: CowHashMap<String, u32> = CowHashMap::new();
/// stock.insert("apples".to_string(), 3);
/// let before = stock.clone();
/// stock.insert("pears".to_string(), 1);
/// *stock.get_mut("apples").unwrap() += 1;
/// assert_eq!((stock.len(), stock["apples"]), (2, 4));
/// assert_eq!((before.len(), before["apples"]), (1, 3));
/// ```
#[repr(C)]
pub struct CowHashMap<K: 'static, V: 'static> {
    root: Link<K, V>,
    kind: u64,
    len: usize,
    seed: u64,
    filled_under: u64,
}

const _: () = {
    type Any = CowHashMap<u8, u8>;
    assert!(size_of::<Any>() == 2 * size_of::<usize>() + 24 && offset_of!(Any, root) == 0);
    assert!(
        offset_of!(Any, root) == cow_hash_map::ROOT
            && offset_of!(Any, kind) == cow_hash_map::KIND
            && size_of::<Any>() == cow_hash_map::SIZE
    );
    assert!(
        offset_of!(Any, kind) == 8 && offset_of!(Any, len) == 16 && offset_of!(Any, seed) == 16 + size_of::<usize>()
    );
};

/// The hash of `key` in a map with this seed.
#[inline]
fn hash_of<Q: Hash + ?Sized>(seed: u64, key: &Q) -> u64 {
    let mut hasher = SalHasher::with_seed(seed);
    key.hash(&mut hasher);
    hasher.finish()
}

impl<K: 'static, V: 'static> CowHashMap<K, V> {
    /// An empty map. It has no block, and belongs to no heap.
    #[inline]
    pub const fn new() -> Self {
        Self { root: Link::none(), kind: kind::NONE as u64, len: 0, seed: 0, filled_under: UNKNOWN_FINGERPRINT }
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

    /// Drops all entries, or leaves them to the versions that have them too.
    pub fn clear(&mut self) {
        drop(core::mem::take(self));
    }

    /// Whether both are the same version: nothing was changed in either since one was cloned from the other.
    ///
    /// ```
    /// use sal::collections::CowHashMap;
    ///
    /// let map: CowHashMap<u32, u32> = (0..100).map(|n| (n, n)).collect();
    /// let mut other = map.clone();
    /// assert!(map.ptr_eq(&other));
    /// other.insert(5, 5);
    /// assert!(!map.ptr_eq(&other) && map == other);
    /// ```
    pub fn ptr_eq(&self, other: &Self) -> bool {
        self.root.ptr_eq(&other.root)
    }

    /// The entries, in no particular order.
    #[inline]
    pub fn iter(&self) -> Iter<'_, K, V> {
        Iter::new(self)
    }

    /// The keys, in no particular order.
    #[inline]
    pub fn keys(&self) -> Keys<'_, K, V> {
        Keys(self.iter())
    }

    /// The values, in no particular order.
    #[inline]
    pub fn values(&self) -> Values<'_, K, V> {
        Values(self.iter())
    }

    /// What kind of node the root is.
    #[inline(always)]
    fn kind(&self) -> u8 {
        self.kind as u8
    }

    /// The heap from which the map takes its nodes.
    #[inline]
    fn heap(&self) -> SalAlloc {
        if self.root.is_none() {
            heap_for_value_at((&raw const *self).addr())
        } else {
            // SAFETY: M1.
            unsafe { self.root.heap(self.kind()) }
        }
    }
}

impl<K: Clone + 'static, V: Clone + 'static> CowHashMap<K, V> {
    /// The entries with their values mutable, in no particular order. The nodes that the iterator comes to are copied if other
    /// versions have them.
    #[inline]
    pub fn iter_mut(&mut self) -> IterMut<'_, K, V> {
        IterMut::new(self)
    }

    /// The values, mutable, in no particular order; see [`iter_mut`](Self::iter_mut).
    #[inline]
    pub fn values_mut(&mut self) -> ValuesMut<'_, K, V> {
        ValuesMut(self.iter_mut())
    }
}

impl<K: Eq + Hash + Clone + 'static, V: Clone + 'static> CowHashMap<K, V> {
    /// Puts all entries where their hashes say they belong, as copies. Of use only after the way a key of yours hashes has
    /// changed; that it has for a type of the standard library is noticed without help.
    pub fn rehash(&mut self) {
        self.filled_under = UNKNOWN_FINGERPRINT;
        or_raise(self.settle());
    }

    /// Establishes M4. Without room for that the map stays as it is.
    #[inline(always)]
    fn settle(&mut self) -> Result<(), TryReserveError> {
        if self.filled_under != fingerprint() { self.settle_slow() } else { Ok(()) }
    }

    #[cold]
    #[inline(never)]
    fn settle_slow(&mut self) -> Result<(), TryReserveError> {
        if self.root.is_none() {
            self.seed = SalHashBuilder::random().seed();
            self.filled_under = fingerprint();
            return Ok(());
        }
        let heap = self.heap();
        let _scope = HeapScope::enter(heap);
        let mut settled = Self::new();
        (settled.seed, settled.filled_under) = (self.seed, fingerprint());
        for (key, value) in self.iter() {
            settled.insert_in(heap, hash_of(self.seed, key), key.clone(), value.clone())?;
        }
        *self = settled;
        Ok(())
    }
}

impl<K: 'static, V: 'static> Drop for CowHashMap<K, V> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: M1; the map goes away, and with it the link, which stays as it is (D1 of `ptr::drop_moved`): it is released once.
        unsafe { core::ptr::read(&self.root).release(self.kind()) };
    }
}

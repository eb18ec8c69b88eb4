//! [`SalHashMap`]: a hash map that can live in a file.
//!
//! It is an open-addressing table of its own: one block holds sixteen control bytes to a group, of which a search
//! compares all at once, and the entries. The byte map of the block is in `table.rs`, the meaning of a control byte
//! in `control.rs`; both are the same on every CPU. The map itself is six words:
//!
//! | word | what |
//! |---|---|
//! | 0 | the block, null while there is none |
//! | 1 | slots of the block: 0, 4, 8, or 16 times a power of two |
//! | 2 | entries |
//! | 3 | entries that may be added before the table must be rehashed |
//! | 4 | seed of the [hash function](super::hash), chosen anew for each map that begins empty |
//! | 5 | fingerprint of how the process hashed that filled the map; 0 for none |
//!
//! An entry is the key, then the value, as in a `repr(C)` struct.
//!
//! # When hashing changes
//! What the standard library's types feed into a hasher may change with the compiler. A map therefore notes a
//! fingerprint of it. Where that differs from the process's, looking up through `&self` compares all keys one by one,
//! and the first use through `&mut self` that needs hashes puts all entries in their new places (in the same block). A
//! change of your *own* `Hash` is not noticed: call [`rehash`](SalHashMap::rehash) after one.
//!
//! # Invariants
//! T1 to T5 of `table.rs`; and
//! - **M1** The table is settled (T5) for the hashes that `seed` gives wherever `filled_under` is the process's
//!   fingerprint.
//!
//! # What survives a crash
//! All of it, as of the last commit: the map has no state outside its words and its block, and no pointer to
//! anything else, also when empty.
#![allow(unsafe_code)]

mod check;
mod control;
mod drain;
mod entry;
mod entry_ref;
mod into_iter;
mod into_key;
mod iter;
mod lookup;
mod persist;
mod raw_iter;
mod rehash;
#[cfg(feature = "serde")]
mod serde;
mod table;
#[cfg(test)]
mod tests;
mod traits;

pub(super) use drain::Walk;
pub use drain::{Drain, ExtractIf};
pub use entry::{Entry, OccupiedEntry, VacantEntry};
pub use entry_ref::{EntryRef, VacantEntryRef};
pub use into_iter::{IntoIter, IntoKeys, IntoValues};
pub use into_key::{IntoKey, KeyFrom};
pub(super) use iter::project;
pub use iter::{Iter, IterMut, Keys, Values, ValuesMut};

use super::TryReserveError;
use super::error::or_raise;
use super::hash::{SalHashBuilder, SalHasher, UNKNOWN_FINGERPRINT, fingerprint};
use core::fmt;
use core::hash::{Hash, Hasher};
use core::mem::offset_of;
use table::RawTable;

/// A key and its value, as they lie in the block.
#[repr(C)]
struct Pair<K, V> {
    key: K,
    value: V,
}

/// A hash map without a handle, in a documented format, with the interface of [`std::collections::HashMap`].
///
/// What differs from it:
/// - There is no choice of hasher; a key's [`Hash`] goes through [`SalHasher`].
/// - [`insert`](Self::insert) takes what a key [can be made from](KeyFrom): `map.insert("word", 1)`.
/// - [`entry_ref`](Self::entry_ref) makes a key only if it is missing, and makes it in the heap of the map.
/// - `try_` twins ([`try_insert`](Self::try_insert), [`try_reserve`](Self::try_reserve),
///   [`try_shrink_to_fit`](Self::try_shrink_to_fit), [`VacantEntry::try_insert`]) report a full disk as an error.
///   (Not to be mistaken for the standard library's unstable `try_insert`, which refuses keys that exist.)
///
/// ```
/// use sal::collections::SalHashMap;
///
/// let mut stock: SalHashMap<String, u32> = SalHashMap::new();
/// stock.insert("apples".to_string(), 3);
/// *stock.entry_ref("pears").or_default() += 1;
/// *stock.entry_ref("apples").or_default() += 1; // a hit: allocates nothing
/// assert_eq!(stock["apples"], 4);
/// assert_eq!(stock.get("plums"), None);
/// ```
#[repr(C)]
pub struct SalHashMap<K, V> {
    table: RawTable<Pair<K, V>>,
    seed: u64,
    filled_under: u64,
}

const _: () = {
    type Any = SalHashMap<u8, u8>;
    assert!(offset_of!(Any, table) == 0 && offset_of!(Any, seed) == 4 * size_of::<usize>());
    assert!(offset_of!(Any, filled_under) == 4 * size_of::<usize>() + 8);
    assert!(size_of::<Any>() == 4 * size_of::<usize>() + 16);
};

// SAFETY: the block is the map's alone; it is as if the keys and values lay in the map.
unsafe impl<K: Send, V: Send> Send for SalHashMap<K, V> {}
// SAFETY: through `&self` nothing but `&K` and `&V` is handed out.
unsafe impl<K: Sync, V: Sync> Sync for SalHashMap<K, V> {}

/// The hash of `key` in a map with this seed.
#[inline]
fn hash_of<Q: Hash + ?Sized>(seed: u64, key: &Q) -> u64 {
    let mut hasher = SalHasher::with_seed(seed);
    key.hash(&mut hasher);
    hasher.finish()
}

impl<K, V> SalHashMap<K, V> {
    /// An empty map. It has no block, and belongs to no heap.
    #[inline]
    pub const fn new() -> Self {
        Self { table: RawTable::new(), seed: 0, filled_under: UNKNOWN_FINGERPRINT }
    }

    /// How many entries there are.
    #[inline]
    pub const fn len(&self) -> usize {
        self.table.len
    }

    /// Whether there are none.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.table.len == 0
    }

    /// How many entries find room without another block, as far as is known now (removed ones may take up some
    /// of it).
    #[inline]
    pub const fn capacity(&self) -> usize {
        self.table.len + self.table.growth_left
    }

    /// Drops all entries and keeps the block.
    pub fn clear(&mut self) {
        self.table.clear();
    }

    /// The entries, in no particular order.
    #[inline]
    pub fn iter(&self) -> Iter<'_, K, V> {
        Iter::new(&self.table)
    }

    /// The entries with their values mutable, in no particular order.
    #[inline]
    pub fn iter_mut(&mut self) -> IterMut<'_, K, V> {
        IterMut::new(&mut self.table)
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

    /// The values, mutable, in no particular order.
    #[inline]
    pub fn values_mut(&mut self) -> ValuesMut<'_, K, V> {
        ValuesMut(self.iter_mut())
    }

    /// The keys, taken from the map.
    pub fn into_keys(self) -> IntoKeys<K, V> {
        IntoKeys(self.into_iter())
    }

    /// The values, taken from the map.
    pub fn into_values(self) -> IntoValues<K, V> {
        IntoValues(self.into_iter())
    }

    /// Takes all entries out and keeps the block.
    ///
    /// If the iterator is forgotten the map is empty and without a block, and what it held leaks.
    pub fn drain(&mut self) -> Drain<'_, K, V> {
        Drain::new(&mut self.table)
    }

    /// Keeps the entries for which `keep` says so. If it panics, the entries not yet asked about stay.
    pub fn retain(&mut self, mut keep: impl FnMut(&K, &mut V) -> bool) {
        self.extract_if(|key, value| !keep(key, value)).for_each(drop);
    }

    /// Takes out the entries for which `wanted` says so, one at each step of the iterator. If the iterator is dropped
    /// early the entries not yet asked about stay.
    ///
    /// ```
    /// use sal::collections::SalHashMap;
    ///
    /// let mut map: SalHashMap<u32, u32> = (0..10).map(|n| (n, n * n)).collect();
    /// assert_eq!(map.extract_if(|key, _| key % 2 == 0).count(), 5);
    /// assert_eq!(map.len(), 5);
    /// ```
    pub fn extract_if<F: FnMut(&K, &mut V) -> bool>(&mut self, wanted: F) -> ExtractIf<'_, K, V, F> {
        ExtractIf { walk: self.walk(), wanted }
    }

    /// A walk that may take out what it meets.
    pub(super) fn walk(&mut self) -> Walk<'_, K, V> {
        Walk::new(&mut self.table)
    }
}

impl<K: Eq + Hash, V> SalHashMap<K, V> {
    /// An empty map with room for `capacity` entries, in a block of the heap of the current session.
    ///
    /// # Panics
    /// If that is more than `isize::MAX` bytes. The process ends if the heap cannot serve it.
    pub fn with_capacity(capacity: usize) -> Self {
        or_raise(Self::try_with_capacity(capacity))
    }

    /// As [`with_capacity`](Self::with_capacity).
    ///
    /// # Errors
    /// [`CapacityOverflow`](TryReserveError::CapacityOverflow) and [`AllocError`](TryReserveError::AllocError).
    pub fn try_with_capacity(capacity: usize) -> Result<Self, TryReserveError> {
        let mut map = Self::new();
        map.try_reserve(capacity)?;
        Ok(map)
    }

    /// Makes room for `additional` more entries.
    ///
    /// # Panics
    /// If that is more than `isize::MAX` bytes or [`ForeignHeap`](TryReserveError::ForeignHeap). The process ends if
    /// the heap cannot serve it.
    pub fn reserve(&mut self, additional: usize) {
        or_raise(self.try_reserve(additional));
    }

    /// As [`reserve`](Self::reserve).
    ///
    /// # Errors
    /// Each of [`TryReserveError`]; the map is as it was.
    pub fn try_reserve(&mut self, additional: usize) -> Result<(), TryReserveError> {
        self.settle();
        if additional <= self.table.growth_left { Ok(()) } else { self.reserve_slow(additional) }
    }

    /// The part of reserving that does something.
    fn reserve_slow(&mut self, additional: usize) -> Result<(), TryReserveError> {
        let (seed, settled_under) = (self.seed, self.filled_under);
        self.filled_under = UNKNOWN_FINGERPRINT; // should hashing panic
        let result = self.table.reserve_slow(additional, |pair| hash_of(seed, &pair.key));
        self.filled_under = settled_under;
        result
    }

    /// Gives back as much of the block as the entries do not need, all of it if there are none.
    pub fn shrink_to_fit(&mut self) {
        self.shrink_to(0);
    }

    /// As [`shrink_to_fit`](Self::shrink_to_fit), but keeps room for `min_capacity` entries if there is.
    ///
    /// # Panics
    /// On [`ForeignHeap`](TryReserveError::ForeignHeap). The process ends if the heap cannot serve the smaller block.
    pub fn shrink_to(&mut self, min_capacity: usize) {
        or_raise(self.try_shrink_to(min_capacity));
    }

    /// As [`shrink_to_fit`](Self::shrink_to_fit).
    ///
    /// # Errors
    /// The smaller block may not be served; the map is as it was.
    pub fn try_shrink_to_fit(&mut self) -> Result<(), TryReserveError> {
        self.try_shrink_to(0)
    }

    fn try_shrink_to(&mut self, min_capacity: usize) -> Result<(), TryReserveError> {
        self.settle();
        let (seed, min) = (self.seed, min_capacity.min(self.capacity()));
        self.table.shrink_to(min, |pair| hash_of(seed, &pair.key))
    }

    /// Puts all entries where their hashes say they belong. Of use only after the way a key of yours hashes has
    /// changed; that it has for a type of the standard library is noticed without help.
    pub fn rehash(&mut self) {
        self.filled_under = UNKNOWN_FINGERPRINT;
        self.settle();
    }

    /// Establishes M1.
    #[inline]
    fn settle(&mut self) {
        if self.filled_under != fingerprint() {
            self.settle_slow();
        }
    }

    #[cold]
    #[inline(never)]
    fn settle_slow(&mut self) {
        if self.table.block.is_none() {
            self.seed = SalHashBuilder::random().seed();
        }
        let seed = self.seed;
        self.filled_under = UNKNOWN_FINGERPRINT; // should hashing panic
        self.table.rehash_in_place(|pair| hash_of(seed, &pair.key));
        self.filled_under = fingerprint();
    }
}

impl<K, V> Drop for SalHashMap<K, V> {
    fn drop(&mut self) {
        /// Frees the block even if an entry panics.
        struct Free<'a, K, V>(&'a RawTable<Pair<K, V>>);
        impl<K, V> Drop for Free<'_, K, V> {
            fn drop(&mut self) {
                // SAFETY: the map goes away, and its entries were dropped.
                unsafe { self.0.free_block() };
            }
        }
        // Nothing is written to the map, nor to its control bytes (D1 of `ptr::drop_moved`).
        let table = Free(&self.table);
        if core::mem::needs_drop::<Pair<K, V>>() {
            // SAFETY: full slots have values (T3), and the map goes away.
            unsafe { table.0.iter().drop_all() };
        }
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for SalHashMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self).finish()
    }
}

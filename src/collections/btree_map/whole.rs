//! Joining, splitting and filling whole maps.

use super::SalBTreeMap;
use super::build::Builder;
use super::walk::Walk;
use crate::collections::error::or_raise;
use crate::heap::placement::HeapScope;
use core::borrow::Borrow;
use core::mem::take;

impl<K: Ord, V> SalBTreeMap<K, V> {
    /// Moves everything from `other` into `self`; where a key is in both the value of `other` counts. The nodes of
    /// `self` may come from another heap than those of `other`.
    ///
    /// # Panics
    /// As [`insert`](Self::insert).
    pub fn append(&mut self, other: &mut Self) {
        let is_behind = match (self.last_key_value(), other.first_key_value()) {
            (Some((last, _)), Some((first, _))) => last < first,
            _ => true,
        };
        if is_behind {
            self.push_ascending(take(other));
        } else {
            self.extend(take(other));
        }
    }

    /// Takes out all entries with this key and larger ones, in a new map, in the heap of this one.
    ///
    /// # Panics
    /// As [`insert`](Self::insert).
    pub fn split_off<Q: Ord + ?Sized>(&mut self, key: &Q) -> Self
    where
        K: Borrow<Q>,
    {
        let _scope = HeapScope::enter(self.heap());
        let mut tail = Self::new();
        {
            let from = self.edge(key, false);
            let mut walk = Walk::from(self, from);
            let mut builder = Builder::new(&mut tail);
            while let Some((key, value)) = walk.take_next(|_, _| true) {
                or_raise(builder.push(key, value));
            }
        }
        tail
    }
}

impl<K, V> SalBTreeMap<K, V> {
    /// Adds entries whose keys ascend and are larger than all that are there.
    pub(super) fn push_ascending(&mut self, entries: impl IntoIterator<Item = (K, V)>) {
        let mut builder = Builder::new(self);
        for (key, value) in entries {
            or_raise(builder.push(key, value));
        }
    }
}

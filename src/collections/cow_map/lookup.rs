//! Finding an entry, and changing its value.

use super::CowMap;
use super::copy::own;
use super::node::{Link, Node};
use crate::SalRc;
use crate::collections::TryReserveError;
use crate::collections::error::or_raise;
use core::borrow::Borrow;
use core::ops::Index;

impl<K: 'static, V: 'static> CowMap<K, V> {
    /// The value of `key`.
    #[inline]
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q> + Ord,
    {
        self.get_key_value(key).map(|(_, value)| value)
    }

    /// The key in the map that equals `key`, and its value.
    #[inline]
    pub fn get_key_value<Q: Ord + ?Sized>(&self, key: &Q) -> Option<(&K, &V)>
    where
        K: Borrow<Q> + Ord,
    {
        let leaf = self.root.as_ref()?.leaf_of(key);
        let at = leaf.find(key).ok()?;
        Some((&leaf.keys()[at], &leaf.values()[at]))
    }

    /// Whether `key` is in the map.
    #[inline]
    pub fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q> + Ord,
    {
        self.get_key_value(key).is_some()
    }

    /// The entry with the smallest key.
    pub fn first_key_value(&self) -> Option<(&K, &V)> {
        let leaf = self.end(false)?;
        Some((leaf.keys().first()?, leaf.values().first()?))
    }

    /// The entry with the largest key.
    pub fn last_key_value(&self) -> Option<(&K, &V)> {
        let leaf = self.end(true)?;
        Some((leaf.keys().last()?, leaf.values().last()?))
    }

    /// The first or the last leaf.
    fn end(&self, last: bool) -> Option<&Node<K, V>> {
        let mut node: &Node<K, V> = self.root.as_ref()?;
        while !node.is_leaf() {
            node = &node.children()[if last { node.len() - 1 } else { 0 }];
        }
        Some(node)
    }
}

impl<K: Ord + Clone + 'static, V: Clone + 'static> CowMap<K, V> {
    /// The value of `key`, to be changed. Nodes on the way to it that another version has are copied, unless the key is missing.
    pub fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        or_raise(self.try_get_mut(key))
    }

    /// As [`get_mut`](Self::get_mut), for a heap that may be full.
    ///
    /// # Errors
    /// [`AllocError`](TryReserveError::AllocError), if a copy is needed. The map has the entries it had; nodes may have been copied.
    #[inline]
    pub fn try_get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Result<Option<&mut V>, TryReserveError>
    where
        K: Borrow<Q>,
    {
        let Some(mut link) = self.root.as_mut() else { return Ok(None) };
        let mut is_known = false;
        loop {
            if !is_known {
                let Some(found) = is_missing(link, key) else { return Ok(None) };
                is_known = found;
            }
            let node = own(link)?;
            if node.is_leaf() {
                let found = node.find(key).ok();
                return Ok(found.and_then(|at| node.values_mut().get_mut(at)));
            }
            let at = node.child_of(key);
            link = &mut node.children_mut()[at];
        }
    }
}

/// Whether a node would be copied on the way to a key that is under it: none if it would be, and the key is not.
#[inline]
pub(super) fn is_missing<K: Borrow<Q> + 'static, V: 'static, Q: Ord + ?Sized>(
    link: &mut Link<K, V>,
    key: &Q,
) -> Option<bool> {
    if SalRc::get_mut(link).is_some() {
        return Some(false);
    }
    link.leaf_of(key).find(key).ok().map(|_| true)
}

impl<K: Ord + Borrow<Q> + 'static, Q: Ord + ?Sized, V: 'static> Index<&Q> for CowMap<K, V> {
    type Output = V;

    /// # Panics
    /// If the key is not in the map.
    #[inline]
    fn index(&self, key: &Q) -> &V {
        self.get(key).expect("no entry for this key")
    }
}

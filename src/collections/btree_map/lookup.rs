//! Finding, inserting and removing one entry.
#![allow(unsafe_code)]

use super::SalBTreeMap;
use super::node::Node;
use super::path::Path;
use crate::collections::TryReserveError;
use crate::collections::error::or_raise;
use crate::collections::hash_map::{IntoKey, KeyFrom};
use crate::heap::placement::HeapScope;
use core::borrow::Borrow;
use core::cmp::Ordering;
use core::mem::{needs_drop, replace};
use core::ops::Index;

/// The number of keys of a node before `key`, and whether the next one equals it.
///
/// # Safety
/// The node is in use.
#[inline]
unsafe fn search<K: Borrow<Q>, V, Q: Ord + ?Sized>(node: Node<K, V>, key: &Q) -> (usize, bool) {
    // SAFETY: N2; the keys are borrowed only here, and comparing them cannot change the map.
    let keys = unsafe { core::slice::from_raw_parts(node.key(0).cast_const(), node.len()) };
    if size_of::<K>() <= 8 && !needs_drop::<K>() {
        // Comparing is so cheap that guessing where to go on is not worth it.
        for (at, candidate) in keys.iter().enumerate() {
            match key.cmp(candidate.borrow()) {
                Ordering::Greater => {}
                Ordering::Equal => return (at, true),
                Ordering::Less => return (at, false),
            }
        }
        return (keys.len(), false);
    }
    match keys.binary_search_by(|candidate| candidate.borrow().cmp(key)) {
        Ok(at) => (at, true),
        Err(at) => (at, false),
    }
}

impl<K, V> SalBTreeMap<K, V> {
    /// The node and position of a key.
    #[inline]
    fn find<Q: Ord + ?Sized>(&self, key: &Q) -> Option<(Node<K, V>, usize)>
    where
        K: Borrow<Q>,
    {
        let (mut node, mut height) = (self.root?, self.height);
        loop {
            // SAFETY: B1 and N2: the node is in use and of this height.
            unsafe {
                let (at, found) = search(node, key);
                if found {
                    return Some((node, at));
                }
                if height == 0 {
                    return None;
                }
                node = node.child(at);
            }
            height -= 1;
        }
    }

    /// The path to a key and `true`, else to the leaf edge where it belongs and `false`.
    pub(super) fn find_path<Q: Ord + ?Sized>(&self, key: &Q) -> (Path<K, V>, bool)
    where
        K: Borrow<Q>,
    {
        let mut path = Path::new();
        let Some(mut node) = self.root else {
            return (path, false);
        };
        loop {
            // SAFETY: as in `find`; the path is as deep as the tree just when it has come to a leaf.
            unsafe {
                let (at, found) = search(node, key);
                path.push(node, at);
                if found || path.depth() > self.height {
                    return (path, found);
                }
                node = node.child(at);
            }
        }
    }

    /// Removes the pair to which a path leads.
    ///
    /// # Safety
    /// The path came from [`find_path`](Self::find_path) with `true`, and the map was not changed since.
    pub(super) unsafe fn remove_found(&mut self, mut path: Path<K, V>) -> (K, V) {
        // SAFETY: going on down from the child before the pair, always to the right, leads to the leaf edge before the
        // pair; in a leaf the path is that already.
        unsafe {
            path.descend(self.height + 1, true);
            self.remove_ahead(&mut path).0
        }
    }

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
        // SAFETY: the pair was found; it lives as long as the map is borrowed.
        self.find(key).map(|(node, at)| unsafe { (&*node.key(at), &*node.value(at)) })
    }

    /// The value of `key`, mutable.
    #[inline]
    pub fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q> + Ord,
    {
        // SAFETY: the pair was found; it lives as long as the map is borrowed, and mutably so.
        self.find(key).map(|(node, at)| unsafe { &mut *node.value(at) })
    }

    /// Whether `key` is in the map.
    #[inline]
    pub fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q> + Ord,
    {
        self.find(key).is_some()
    }

    /// Gives `key` a value and returns the one it had. A key that is there already stays as it is.
    ///
    /// What is not yet a key is [made one](KeyFrom) in the heap of the map, also if an equal one is there already:
    /// [`entry_ref`](Self::entry_ref) spares that.
    ///
    /// # Panics
    /// On [`ForeignHeap`](TryReserveError::ForeignHeap). The process ends if the heap cannot serve a node.
    #[inline]
    pub fn insert<Q: IntoKey<K>>(&mut self, key: Q, value: V) -> Option<V>
    where
        K: KeyFrom<Q> + Ord,
    {
        or_raise(self.try_insert(key, value))
    }

    /// As [`insert`](Self::insert), for a disk that may be full.
    ///
    /// # Errors
    /// [`AllocError`](TryReserveError::AllocError) and [`ForeignHeap`](TryReserveError::ForeignHeap); the map is as
    /// it was, key and value are dropped. (Memory that a key takes when it is made from something else is not
    /// covered: make the key yourself.)
    pub fn try_insert<Q: IntoKey<K>>(&mut self, key: Q, value: V) -> Result<Option<V>, TryReserveError>
    where
        K: KeyFrom<Q> + Ord,
    {
        let key = {
            let _scope = K::ALLOCATES.then(|| HeapScope::enter(self.heap()));
            K::key_from(key)
        };
        let (path, found) = self.find_path(&key);
        if found {
            let (node, at) = path.last();
            // SAFETY: the pair was found.
            return Ok(Some(replace(unsafe { &mut *node.value(at) }, value)));
        }
        // SAFETY: the path leads to the leaf edge where the key belongs.
        unsafe { self.insert_at(&path, key, value) }.map(|_| None)
    }

    /// Removes `key` and returns its value.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q> + Ord,
    {
        self.remove_entry(key).map(|(_, value)| value)
    }

    /// Removes `key` and returns it as it was in the map, with its value.
    pub fn remove_entry<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<(K, V)>
    where
        K: Borrow<Q> + Ord,
    {
        let (path, found) = self.find_path(key);
        // SAFETY: the path leads to the pair.
        found.then(|| unsafe { self.remove_found(path) })
    }
}

impl<K: Ord + Borrow<Q>, Q: Ord + ?Sized, V> Index<&Q> for SalBTreeMap<K, V> {
    type Output = V;

    /// # Panics
    /// If the key is not in the map.
    #[inline]
    fn index(&self, key: &Q) -> &V {
        self.get(key).expect("no entry for this key")
    }
}

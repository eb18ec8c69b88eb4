//! What changes many entries of a map at once.

use super::CowMap;
use super::node::Node;
use crate::SalRc;
use crate::collections::error::or_raise;
use core::borrow::Borrow;

impl<K: Ord + Clone + 'static, V: Clone + 'static> CowMap<K, V> {
    /// Keeps the entries for which `keep` says so. All are asked about first, in the order of their keys, and then those that are
    /// not kept are removed one by one: what they do not touch stays shared with other versions. If `keep` panics none is removed.
    pub fn retain(&mut self, mut keep: impl FnMut(&K, &V) -> bool) {
        let removed: Vec<K> =
            self.iter().filter(|&(key, value)| !keep(key, value)).map(|(key, _)| key.clone()).collect();
        if removed.len() == self.len() {
            self.clear();
        }
        for key in removed {
            self.remove(&key);
        }
    }

    /// Moves everything from `other` into `self`; of equal keys the value of `other` counts. Takes time proportional to what there
    /// is in `other`, with a factor that is the logarithm of the size.
    pub fn append(&mut self, other: &mut Self) {
        let other = core::mem::take(other);
        if self.is_empty() {
            *self = other;
        } else {
            self.extend(other);
        }
    }

    /// Takes out the entries with this key and all larger ones, in a new map in the same heap.
    ///
    /// Takes time proportional to what is taken out, with a factor that is the logarithm of the size.
    pub fn split_off<Q: Ord + ?Sized>(&mut self, key: &Q) -> Self
    where
        K: Borrow<Q>,
    {
        let mut tail = Self::new();
        if let Some(root) = &self.root {
            tail.root = Some(SalRc::new_near(Node::empty(0), root));
        }
        while self.last_key_value().is_some_and(|(last, _)| last.borrow() >= key) {
            let Some((key, value)) = self.pop_last() else { break };
            or_raise(tail.insert_pair(key, value));
        }
        tail.lower_root();
        tail
    }
}

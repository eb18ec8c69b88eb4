//! The invariants of a map, as code.
#![allow(unsafe_code)]

use super::branch::{BITS, LEVELS, WIDTH, kind, slot};
use super::leaf::{Pair, capacity};
use super::link::Link;
use super::tags::tag;
use super::{CowHashMap, hash_of};
use crate::collections::hash::fingerprint;
use core::hash::Hash;

/// What is looked at on the way down.
struct Check {
    seed: u64,
    is_settled: bool,
    /// The bits of the hash that lead here, and which bits those are.
    hash: u64,
    known: u64,
    depth: usize,
    found: usize,
}

impl<K: Eq + Hash + 'static, V: 'static> CowHashMap<K, V> {
    /// Whether the map is in order; else what is not. Looks at everything, and so takes its time.
    ///
    /// Of a map that only safe code has used it always is.
    ///
    /// # Errors
    /// The first thing that is not in order.
    pub fn check(&self) -> Result<(), &'static str> {
        let mut check = Check {
            seed: self.seed,
            is_settled: self.filled_under == fingerprint(),
            hash: 0,
            known: 0,
            depth: 0,
            found: 0,
        };
        if self.kind != u64::from(self.kind()) {
            return Err("the root has no kind (M1)");
        }
        // SAFETY: M1, of which no more can be checked here.
        unsafe { check.link(&self.root, self.kind())? };
        if check.found == self.len { Ok(()) } else { Err("the length is not the number of entries (M3)") }
    }
}

impl Check {
    /// # Safety
    /// If the link leads to a node, that is of this kind.
    unsafe fn link<K: Eq + Hash + 'static, V: 'static>(
        &mut self,
        link: &Link<K, V>,
        kind: u8,
    ) -> Result<(), &'static str> {
        if link.is_none() != (kind == kind::NONE) {
            return Err("a link is not of its kind (R2, M1)");
        }
        // SAFETY: the caller's promise; kinds of links further down are those of their ranges (R2).
        unsafe {
            match kind {
                kind::NONE => Ok(()),
                kind::LEAF => {
                    let leaf = link.leaf();
                    let (tags, entries) = (leaf.tags(), leaf.entries());
                    if tags.full().count_ones() as usize != entries.len() || entries.len() > capacity::<K, V>() {
                        return Err("the places with a tag are not the first ones (L1)");
                    }
                    if entries.is_empty() {
                        return Err("a leaf is empty");
                    }
                    if !leaf.is_clean() {
                        return Err("something is left in a place without an entry (L2)");
                    }
                    if self.is_settled
                        && !entries.iter().zip(&tags.0).all(|(pair, &there)| there == tag(self.hash(pair)))
                    {
                        return Err("a tag is not that of its key's hash (M4)");
                    }
                    self.entries(entries)
                }
                kind::SAME if self.depth < LEVELS => Err("a list lies too high (M2)"),
                kind::SAME => self.entries(link.same()),
                kind::BRANCH if self.depth == LEVELS => Err("a branch lies too deep (M2)"),
                kind::BRANCH => {
                    let branch = link.branch();
                    if branch.only().is_some_and(|kind| kind == kind::NONE) {
                        return Err("a branch leads nowhere");
                    }
                    let (hash, known, shift) = (self.hash, self.known, self.depth as u32 * BITS);
                    let mut at = 0;
                    while at < WIDTH {
                        let (first, kind) = branch.range(at);
                        let len = branch.len_of(at);
                        let is_range = first == at && at % len == 0 && at + len <= WIDTH;
                        if !is_range || (at..at + len).any(|slot| branch.range(slot) != (first, kind)) {
                            return Err("the slots are not divided into ranges (R1)");
                        }
                        if (at + 1..at + len).any(|slot| !branch.link(slot).is_none()) {
                            return Err("a slot that begins no range has a link (R3)");
                        }
                        self.known = known | ((WIDTH - len) as u64) << shift;
                        self.hash = hash | (at as u64) << shift;
                        self.depth += 1;
                        self.link(branch.link(at), kind)?;
                        self.depth -= 1;
                        at += len;
                    }
                    debug_assert_eq!(slot(hash >> shift, 0), 0);
                    (self.hash, self.known) = (hash, known);
                    Ok(())
                }
                _ => Err("a link has no kind (R2)"),
            }
        }
    }

    fn hash<K: Hash + 'static, V: 'static>(&self, pair: &Pair<K, V>) -> u64 {
        hash_of(self.seed, &pair.key)
    }

    fn entries<K: Eq + Hash + 'static, V: 'static>(&mut self, entries: &[Pair<K, V>]) -> Result<(), &'static str> {
        self.found += entries.len();
        for (at, pair) in entries.iter().enumerate().filter(|_| self.is_settled) {
            if self.hash(pair) & self.known != self.hash {
                return Err("an entry is not where its key's hash leads (M4)");
            }
            if entries[..at].iter().any(|other| other.key == pair.key) {
                return Err("a key is there twice (M4)");
            }
        }
        Ok(())
    }
}

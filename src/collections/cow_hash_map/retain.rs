//! Keeping some entries.
#![allow(unsafe_code)]

use super::CowHashMap;
use super::branch::{WIDTH, kind};
use super::leaf::Pair;
use super::link::{Link, clean};

impl<K: Clone + 'static, V: Clone + 'static> CowHashMap<K, V> {
    /// Keeps the entries for which `keep` says so. If it panics, the entries not yet asked about stay.
    ///
    /// Of the nodes that other versions have, those with entries are copied only if one of their entries goes.
    ///
    /// ```
    /// use sal::collections::CowHashMap;
    ///
    /// let all: CowHashMap<u32, char> = ('a'..='z').map(|letter| (letter.into(), letter)).collect();
    /// let mut vowels = all.clone();
    /// vowels.retain(|_, letter| "aeiou".contains(*letter));
    /// assert_eq!((vowels.len(), all.len()), (5, 26));
    /// ```
    pub fn retain(&mut self, mut keep: impl FnMut(&K, &V) -> bool) {
        let kind = self.kind();
        // SAFETY: M1; the kind is noted before anything that was removed is dropped.
        let _gone = unsafe {
            let (kind, gone) = retain_below(&mut self.root, kind, &mut keep, &mut self.len);
            self.kind = u64::from(kind);
            gone
        };
    }
}

/// Takes out what is not to be kept, and subtracts its number. Returns the kind of the link afterwards, and what was in a node with
/// entries, to be dropped when the kind is noted. Recurses as deep as there are branches.
///
/// # Safety
/// If the link leads to a node, that is of this kind.
unsafe fn retain_below<K: Clone + 'static, V: Clone + 'static>(
    link: &mut Link<K, V>,
    kind: u8,
    keep: &mut impl FnMut(&K, &V) -> bool,
    len: &mut usize,
) -> (u8, Vec<Pair<K, V>>) {
    // SAFETY: the caller's promise; R2, and what a link leads to is noted with its kind before any code of keys, values and
    // `keep` runs again.
    unsafe {
        if kind == kind::BRANCH {
            let branch = link.branch_mut();
            let mut from = 0;
            while let Some(at) = branch.next(from) {
                let (_, before) = branch.range(at);
                let (after, gone) = retain_below(branch.link_mut(at), before, keep, len);
                branch.set_kind(at, after);
                drop(gone);
                from = at + 1;
            }
            // Not before all were asked about: ranges are joined with those that come later.
            let mut at = 0;
            while at < WIDTH {
                let (first, kind) = branch.range(at);
                if first == at {
                    branch.join_around(at, kind);
                }
                at += 1;
            }
            return (link.shorten(), Vec::new());
        }
        let goes: Vec<usize> =
            (0..).zip(link.entries(kind)).filter(|(_, pair)| !keep(&pair.key, &pair.value)).map(|(at, _)| at).collect();
        let mut gone = Vec::with_capacity(goes.len());
        if goes.is_empty() {
            return (kind, gone);
        }
        let left = match kind {
            kind::LEAF => {
                let mut leaf = link.leaf_mut();
                *len -= goes.len();
                gone.extend(goes.iter().rev().map(|&at| leaf.take(at).0));
                leaf.len()
            }
            _ => {
                let entries = link.same_mut();
                *len -= goes.len();
                gone.extend(goes.iter().rev().map(|&at| entries.swap_remove(at)));
                clean(entries);
                entries.len()
            }
        };
        (if left == 0 { link.clear(kind) } else { kind }, gone)
    }
}

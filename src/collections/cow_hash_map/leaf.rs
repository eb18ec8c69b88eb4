//! Leaves: nodes with entries.
//!
//! | bytes | content |
//! |---|---|
//! | 0..16 | the [tags](super::tags) of the entries |
//! | from 16 on, or where their alignment allows | the entries, each a key and a value as in a `repr(C)` struct |
//!
//! There is room for 15, 7 or 3 entries, as their size decides ([`rung`]); those there are come first.
//!
//! # Invariants
//! - **L1** The places with a tag are the first ones, and their entries are values. All others have neither tag nor value.
//! - **L2** The bytes of a place without a value are zeros, so that no word in them keeps a block alive.
#![allow(unsafe_code)]

use super::tags::{GROUP, Tags};
use crate::gc::trace::layouts::{Shape, cow_hash_map, sal_hash_map};
use core::borrow::Borrow;
use core::mem::{MaybeUninit, offset_of};
use core::{ptr, slice};

/// A key and its value, as they lie in a leaf.
#[derive(Clone)]
#[repr(C)]
pub(super) struct Pair<K: 'static, V: 'static> {
    pub(super) key: K,
    pub(super) value: V,
}

/// Entries of a leaf of each rung.
pub(super) const LARGE: usize = 15;
pub(super) const MIDDLE: usize = 7;
pub(super) const SMALL: usize = 3;

/// Which leaves a map has: 0 for [`LARGE`], 1 for [`MIDDLE`], 2 for [`SMALL`]. A function of the entry's size alone.
pub(super) const fn rung<K: 'static, V: 'static>() -> usize {
    match size_of::<Pair<K, V>>() {
        0..=48 => 0,
        49..=112 => 1,
        _ => 2,
    }
}

/// Entries of a leaf of such a map.
pub(super) const fn capacity<K: 'static, V: 'static>() -> usize {
    [LARGE, MIDDLE, SMALL][rung::<K, V>()]
}

/// A node with up to `N` entries.
#[repr(C)]
pub(super) struct Leaf<K: 'static, V: 'static, const N: usize> {
    tags: Tags,
    pairs: [MaybeUninit<Pair<K, V>>; N],
}

const _: () = {
    assert!(offset_of!(Leaf<u64, u64, LARGE>, pairs) == 16 && size_of::<Leaf<u64, u64, LARGE>>() == 256);
    assert!(LARGE < GROUP);
};

/// Whether what follows types has the same byte map.
const fn is_traced<K: 'static, V: 'static, const N: usize>() -> bool {
    let (value, pair) = sal_hash_map::pair(Shape::of::<K>(), Shape::of::<V>());
    let (pairs, leaf) = cow_hash_map::leaf(pair);
    value == offset_of!(Pair<K, V>, value)
        && cow_hash_map::leaf_capacity(pair) == capacity::<K, V>()
        && capacity::<K, V>() == N
        && pairs == offset_of!(Leaf<K, V, N>, pairs)
        && leaf.size == size_of::<Leaf<K, V, N>>()
}

const _: () = assert!(is_traced::<u64, u64, LARGE>() && is_traced::<u8, u128, LARGE>() && is_traced::<u8, (), LARGE>());
const _: () = assert!(is_traced::<[u64; 7], u8, MIDDLE>() && is_traced::<[u64; 20], u32, SMALL>());

impl<K: 'static, V: 'static, const N: usize> Leaf<K, V, N> {
    /// A leaf without entries.
    #[inline(always)]
    pub(super) const fn new() -> Self {
        Self { tags: Tags::EMPTY, pairs: [const { MaybeUninit::zeroed() }; N] }
    }

    #[inline(always)]
    pub(super) fn view(&self) -> LeafRef<'_, K, V> {
        LeafRef { tags: &self.tags, pairs: &self.pairs }
    }

    #[inline(always)]
    pub(super) fn edit(&mut self) -> LeafMut<'_, K, V> {
        LeafMut { tags: &mut self.tags, pairs: &mut self.pairs }
    }
}

impl<K: Clone + 'static, V: Clone + 'static, const N: usize> Leaf<K, V, N> {
    /// Clones the entries into an empty leaf, to the same places. If a clone panics, those made before are there.
    #[inline]
    pub(super) fn copy_to(&self, empty: &mut Self) {
        debug_assert!(empty.tags.len() == 0);
        for (at, pair) in self.view().entries().iter().enumerate() {
            // First the value, then the tag (L1). The tags are not read as a whole meanwhile, which would wait for the last one.
            empty.pairs[at].write(pair.clone());
            empty.tags.0[at] = self.tags.0[at];
        }
    }
}

impl<K: 'static, V: 'static, const N: usize> Drop for Leaf<K, V, N> {
    #[inline]
    fn drop(&mut self) {
        if core::mem::needs_drop::<Pair<K, V>>() {
            let len = self.tags.len();
            // SAFETY: the first entries are values (L1), and nobody uses the leaf any more.
            unsafe {
                ptr::drop_in_place(ptr::slice_from_raw_parts_mut(self.pairs.as_mut_ptr().cast::<Pair<K, V>>(), len))
            };
        }
    }
}

/// A leaf of any rung.
pub(super) struct LeafRef<'a, K: 'static, V: 'static> {
    tags: &'a Tags,
    pairs: &'a [MaybeUninit<Pair<K, V>>],
}

impl<K: 'static, V: 'static> Clone for LeafRef<'_, K, V> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<K: 'static, V: 'static> Copy for LeafRef<'_, K, V> {}

/// A leaf of any rung that nobody else has.
pub(super) struct LeafMut<'a, K: 'static, V: 'static> {
    tags: &'a mut Tags,
    pairs: &'a mut [MaybeUninit<Pair<K, V>>],
}

impl<'a, K: 'static, V: 'static> LeafRef<'a, K, V> {
    #[inline(always)]
    pub(super) fn tags(self) -> &'a Tags {
        self.tags
    }

    /// Whether L2 holds.
    pub(super) fn is_clean(self) -> bool {
        self.pairs[self.tags.len()..].iter().all(|place| {
            let bytes: *const u8 = place.as_ptr().cast();
            // SAFETY: the bytes are the place's, and were written as zeros (L2).
            (0..size_of::<Pair<K, V>>()).all(|at| unsafe { bytes.add(at).read() } == 0)
        })
    }

    /// The entries.
    #[inline(always)]
    pub(super) fn entries(self) -> &'a [Pair<K, V>] {
        // SAFETY: so many are values (L1).
        unsafe { slice::from_raw_parts(self.pairs.as_ptr().cast(), self.tags.len()) }
    }

    /// The place of a key whose hash has this tag.
    #[inline(always)]
    pub(super) fn find<Q: Eq + ?Sized>(self, tag: u8, key: &Q) -> Option<usize>
    where
        K: Borrow<Q>,
    {
        let mut matching = self.tags.matching(tag);
        while matching != 0 {
            let at = matching.trailing_zeros() as usize;
            // SAFETY: a place with a tag has a value (L1).
            let pair = unsafe { self.pair(at) };
            if pair.key.borrow() == key {
                return Some(at);
            }
            matching &= matching - 1;
        }
        None
    }

    /// The entry at a place.
    ///
    /// # Safety
    /// The place has a tag.
    #[inline(always)]
    pub(super) unsafe fn pair(self, at: usize) -> &'a Pair<K, V> {
        // SAFETY: L1.
        unsafe { self.pairs.get_unchecked(at).assume_init_ref() }
    }
}

impl<'a, K: 'static, V: 'static> LeafMut<'a, K, V> {
    #[inline(always)]
    pub(super) fn view(&self) -> LeafRef<'_, K, V> {
        LeafRef { tags: self.tags, pairs: self.pairs }
    }

    #[inline(always)]
    pub(super) fn len(&self) -> usize {
        self.tags.len()
    }

    #[inline(always)]
    pub(super) fn is_full(&self) -> bool {
        self.len() == self.pairs.len()
    }

    /// The entries. What is written there must be values.
    #[inline(always)]
    pub(super) fn into_entries(self) -> &'a mut [Pair<K, V>] {
        // SAFETY: so many are values (L1).
        unsafe { slice::from_raw_parts_mut(self.pairs.as_mut_ptr().cast(), self.tags.len()) }
    }

    /// The entry at a place.
    ///
    /// # Safety
    /// The place has a tag.
    #[inline(always)]
    pub(super) unsafe fn into_pair(self, at: usize) -> &'a mut Pair<K, V> {
        // SAFETY: L1.
        unsafe { self.pairs.get_unchecked_mut(at).assume_init_mut() }
    }

    /// Adds an entry, and returns its place.
    ///
    /// # Safety
    /// The leaf is not full.
    #[inline(always)]
    pub(super) unsafe fn push(&mut self, tag: u8, pair: Pair<K, V>) -> usize {
        let at = self.len();
        debug_assert!(at < self.pairs.len() && tag & 0x80 != 0);
        // SAFETY: the caller's promise; first the value, then the tag (L1).
        unsafe { self.pairs.get_unchecked_mut(at) }.write(pair);
        self.tags.0[at] = tag;
        at
    }

    /// Takes an entry out, and tells how many are left; the last one comes to its place.
    ///
    /// # Safety
    /// The place has a tag.
    #[inline]
    pub(super) unsafe fn take(&mut self, at: usize) -> (Pair<K, V>, usize) {
        let last = self.len() - 1;
        debug_assert!(at <= last);
        // SAFETY: both places have values (L1). That of the last is moved or returned, and its place zeroed (L2).
        unsafe {
            let pairs = self.pairs.as_mut_ptr();
            let taken = (*pairs.add(at)).assume_init_read();
            if at != last {
                ptr::copy_nonoverlapping(pairs.add(last), pairs.add(at), 1);
            }
            ptr::write_bytes(pairs.add(last), 0, 1);
            self.tags.0[at] = self.tags.0[last];
            self.tags.0[last] = 0;
            (taken, last)
        }
    }

    /// Moves the entries for which `goes` says so to the end of another leaf. It is asked about places from the last to
    /// the first, of each once, and must not panic.
    ///
    /// # Safety
    /// The other leaf has room for them.
    pub(super) unsafe fn move_to(&mut self, other: &mut LeafMut<'_, K, V>, mut goes: impl FnMut(usize) -> bool) {
        let (mut len, mut other_len) = (self.len(), other.len());
        for at in (0..len).rev().filter(|&at| goes(at)) {
            debug_assert!(other_len < other.pairs.len());
            len -= 1;
            // SAFETY: `at` has a value, as the places behind it up to the last have; the caller's promise. The last value comes to
            // the place of the one that goes, and its own place is zeroed (L1, L2).
            unsafe {
                let (from, to) = (self.pairs.as_mut_ptr(), other.pairs.as_mut_ptr());
                ptr::copy_nonoverlapping(from.add(at), to.add(other_len), 1);
                ptr::copy(from.add(len), from.add(at), 1);
                ptr::write_bytes(from.add(len), 0, 1);
            }
            other.tags.0[other_len] = self.tags.0[at];
            self.tags.0[at] = self.tags.0[len];
            self.tags.0[len] = 0;
            other_len += 1;
        }
    }
}

//! Branches: nodes that lead to others.
//!
//! | bytes | content |
//! |---|---|
//! | 0..8 | of each slot, the first slot of its range (3 bits), and what that leads to (the upper bits, see [`kind`]) |
//! | 8..72 | 8 links, words; those of slots that begin no range are zero |
//!
//! The next three bits of a hash are a slot. A range of slots shares a link: a new branch has one range, and where a leaf
//! overflows its range is halved. So leaves are about two thirds full whatever the number of entries, and finding a link
//! takes two loads and no counting of bits. With more slots a way down is shorter, but a branch that is copied has more
//! pointers to count: eight make a change of a clone fastest, and look-ups in small maps a tenth slower than thirty-two do.
//!
//! # Invariants
//! - **R1** Ranges are 1, 2, 4 or 8 slots long and begin at a multiple of their length; all bytes of a range are the
//!   same, and name its first slot.
//! - **R2** A link that is not zero is of the kind that its range's bytes say, and counts as a pointer. One that is zero
//!   leads nowhere, whatever the kind; in a branch that a map has, the kind is then [`kind::NONE`].
//! - **R3** Links of slots that begin no range are zero.
#![allow(unsafe_code)]

use super::link::Link;
use core::mem::offset_of;
use core::ptr::NonNull;

/// Bits of a hash that choose a slot.
pub(super) const BITS: u32 = 3;
/// Slots of a branch.
pub(super) const WIDTH: usize = 1 << BITS;
/// The bits of an index byte that are a slot.
const SLOT: u8 = WIDTH as u8 - 1;
/// Branches on the longest way down: each uses up bits of the hash, and the last what is left of them.
pub(super) const LEVELS: usize = u64::BITS.div_ceil(BITS) as usize;

/// What a link leads to.
pub(super) mod kind {
    /// A leaf.
    pub(in super::super) const LEAF: u8 = 0;
    /// A branch.
    pub(in super::super) const BRANCH: u8 = 0x20;
    /// Nothing: there are no entries.
    pub(in super::super) const NONE: u8 = 0x40;
    /// A list of entries all of whose hashes are the same.
    pub(in super::super) const SAME: u8 = 0x80;
}

/// A node with up to 8 links.
#[repr(C)]
pub(super) struct Branch<K: 'static, V: 'static> {
    index: [u8; WIDTH],
    links: [Link<K, V>; WIDTH],
}

const _: () = {
    assert!(size_of::<Branch<u8, u8>>() == 72 && offset_of!(Branch<u8, u8>, links) == 8);
    assert!(kind::LEAF & SLOT == 0 && kind::BRANCH & SLOT == 0 && kind::NONE & SLOT == 0 && kind::SAME & SLOT == 0);
};

const _: () = {
    use crate::gc::trace::layouts::cow_hash_map;
    type Any = Branch<u8, u8>;
    assert!(cow_hash_map::kind::MASK == !SLOT && cow_hash_map::branch::WIDTH == WIDTH);
    assert!(cow_hash_map::kind::LEAF == kind::LEAF && cow_hash_map::kind::BRANCH == kind::BRANCH);
    assert!(cow_hash_map::kind::NONE == kind::NONE && cow_hash_map::kind::SAME == kind::SAME);
    assert!(offset_of!(Any, index) == 0 && offset_of!(Any, links) == cow_hash_map::branch::LINKS);
    assert!(size_of::<Any>() == cow_hash_map::branch::SIZE);
};

/// The slot that a hash chooses in a branch below which `shift` bits are used up.
#[inline(always)]
pub(super) const fn slot(hash: u64, shift: u32) -> usize {
    (hash >> shift) as usize & (WIDTH - 1)
}

impl<K: 'static, V: 'static> Branch<K, V> {
    /// A branch of one range that leads nowhere.
    #[inline]
    pub(super) const fn new() -> Self {
        Self { index: [kind::NONE; WIDTH], links: [const { Link::none() }; WIDTH] }
    }

    /// The first slot of a slot's range, and the kind of its link.
    #[inline(always)]
    pub(super) fn range(&self, slot: usize) -> (usize, u8) {
        let byte = self.index[slot];
        ((byte & SLOT) as usize, byte & !SLOT)
    }

    #[inline(always)]
    pub(super) fn link(&self, slot: usize) -> &Link<K, V> {
        &self.links[slot]
    }

    /// The link. Its kind must stay; see [`Branch::put`].
    #[inline(always)]
    pub(super) fn link_mut(&mut self, slot: usize) -> &mut Link<K, V> {
        &mut self.links[slot]
    }

    /// Where a link lies.
    ///
    /// # Safety
    /// There is a branch, and it has the slot.
    #[inline(always)]
    pub(super) unsafe fn link_ptr(this: NonNull<Self>, slot: usize) -> NonNull<Link<K, V>> {
        // SAFETY: the caller's promise.
        unsafe { NonNull::new_unchecked((&raw mut (*this.as_ptr()).links).cast::<Link<K, V>>().add(slot)) }
    }

    /// How many slots the range that begins at a slot has.
    #[inline]
    pub(super) fn len_of(&self, first: usize) -> usize {
        let mut len = 1;
        // R1: a range that is longer than `len` has twice as many at least.
        while first + len < WIDTH && (self.index[first + len] & SLOT) as usize == first {
            len *= 2;
        }
        len
    }

    /// The first slot of a range that begins at or behind a slot and leads somewhere.
    #[inline]
    pub(super) fn next(&self, from: usize) -> Option<usize> {
        (from..WIDTH).find(|&at| !self.links[at].is_none())
    }

    /// Makes slots a range that leads to `link`, and returns the link that was at the first of them.
    ///
    /// # Safety
    /// The slots may be a range (R1), all ranges in them but the first lead nowhere, and `link` is of that kind.
    #[inline]
    pub(super) unsafe fn put(&mut self, first: usize, len: usize, link: Link<K, V>, kind: u8) -> Link<K, V> {
        debug_assert!(len.is_power_of_two() && first % len == 0 && first + len <= WIDTH);
        debug_assert!(self.links[first + 1..first + len].iter().all(Link::is_none));
        self.index[first..first + len].fill(first as u8 | kind);
        core::mem::replace(&mut self.links[first], link)
    }

    /// Takes the link at a slot out, and leaves one that leads nowhere.
    #[inline]
    pub(super) fn take(&mut self, first: usize) -> Link<K, V> {
        core::mem::replace(&mut self.links[first], Link::none())
    }

    /// The kind of the only range's link, if there is only one.
    #[inline]
    pub(super) fn only(&self) -> Option<u8> {
        let (first, kind) = self.range(WIDTH - 1);
        (first == 0).then_some(kind)
    }

    /// Puts the same links into a branch that leads nowhere; the nodes are shared.
    #[inline]
    pub(super) fn copy_to(&self, empty: &mut Self) {
        empty.index = self.index;
        for (at, link) in self.links.iter().enumerate() {
            if !link.is_none() {
                // SAFETY: it is of this kind (R2).
                empty.links[at] = unsafe { link.share(self.range(at).1) };
            }
        }
    }
}

impl<K: 'static, V: 'static> Drop for Branch<K, V> {
    fn drop(&mut self) {
        /// Drops the links that are left, also if an entry panics when it is dropped.
        struct Rest<'a, K: 'static, V: 'static>(&'a Branch<K, V>, usize);
        impl<K: 'static, V: 'static> Rest<'_, K, V> {
            fn release(&mut self) {
                while let Some(at) = self.0.next(self.1) {
                    self.1 = at + 1;
                    let kind = self.0.range(at).1;
                    // SAFETY: it is of this kind (R2), and nobody uses the branch any more, in which it stays as it is: it is
                    // released once.
                    unsafe { core::ptr::read(self.0.link(at)).release(kind) };
                }
            }
        }
        impl<K: 'static, V: 'static> Drop for Rest<'_, K, V> {
            fn drop(&mut self) {
                self.release();
            }
        }
        Rest(self, 0).release();
    }
}

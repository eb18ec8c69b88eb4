//! What there is to say of each size class.

use crate::alloc::counters::ClassCount;
use crate::alloc::size_class::{ALL_CLASSES, class_size, slab_blocks, slab_units};
use crate::format::UNIT;
use crate::format::layout::BITS_PER_UNIT_BYTES;
use crate::format::soft::SlabState;
use std::fmt;
use std::mem::MaybeUninit;
use std::ops::Deref;
use std::slice;

/// Table entry, slab state, free bits and remote bits.
pub(super) const TABLE_BYTES_PER_UNIT: u64 = (8 + size_of::<SlabState>() + 2 * BITS_PER_UNIT_BYTES) as u64;

/// What a heap has in use of one size class, and what has happened in it since the heap was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct ClassStats {
    /// Bytes of a block.
    pub size: usize,
    /// Slabs.
    pub slabs: u64,
    /// Blocks in these slabs.
    pub blocks: u64,
    /// Blocks that the program has.
    pub live: u64,
    /// Free blocks that threads keep at hand.
    pub cached: u64,
    /// Bytes of the slabs.
    pub bytes: u64,
    /// Blocks that the program took.
    pub allocations: u64,
    /// Blocks that the program gave back.
    pub frees: u64,
    /// How often a thread had none at hand, or too many, and turned to its slabs.
    pub slow_paths: u64,
}

impl ClassStats {
    pub(super) fn new(class: usize, count: &ClassCount) -> Self {
        let slabs = u64::try_from(count.slabs).unwrap_or(0);
        Self {
            size: class_size(class),
            slabs,
            blocks: slabs.saturating_mul(slab_blocks(class).into()),
            live: u64::try_from(count.out).unwrap_or(0).saturating_sub(count.cached),
            cached: count.cached,
            bytes: slabs.saturating_mul((slab_units(class) * UNIT) as u64),
            allocations: count.allocations,
            frees: count.frees,
            slow_paths: count.slow_paths,
        }
    }

    /// Share of the slabs' bytes that is in live blocks, from 0 to 1.
    pub fn utilisation(&self) -> f64 {
        ((self.live as f64 * self.size as f64) / (self.bytes as f64).max(1.0)).min(1.0)
    }
}

/// Size classes by size, in place: a slice of [`ClassStats`].
//
// The first `len` are initialised; most heaps have far fewer classes than there is room for.
#[derive(Clone)]
pub struct Classes {
    classes: [MaybeUninit<ClassStats>; ALL_CLASSES],
    len: usize,
}

impl Classes {
    pub(super) fn push(&mut self, class: ClassStats) {
        if let Some(place) = self.classes.get_mut(self.len) {
            place.write(class);
            self.len += 1;
        }
    }
}

impl Default for Classes {
    fn default() -> Self {
        Self { classes: [const { MaybeUninit::uninit() }; ALL_CLASSES], len: 0 }
    }
}

impl Deref for Classes {
    type Target = [ClassStats];

    fn deref(&self) -> &[ClassStats] {
        // SAFETY: the first `len`, which are no more than there is room for, were written by `push`.
        unsafe { slice::from_raw_parts(self.classes.as_ptr().cast(), self.len) }
    }
}

impl<'a> IntoIterator for &'a Classes {
    type Item = &'a ClassStats;
    type IntoIter = std::slice::Iter<'a, ClassStats>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl PartialEq for Classes {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Classes {}

impl fmt::Debug for Classes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&**self).finish()
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Classes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(&**self)
    }
}

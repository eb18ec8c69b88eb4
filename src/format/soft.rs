//! Allocator state that recovery can rebuild. It is valid only while its epoch is the header's.

use crate::sync::AtomicU32;

/// Size classes that the format has room for.
pub(crate) const CLASSES: usize = 96;
/// Units of a group of the unit map.
pub(crate) const GROUP_UNITS: usize = 4096;

/// The first page of the allocator state: the slabs that no thread owns.
#[derive(Debug)]
#[repr(C, align(4096))]
pub(crate) struct SoftHeader {
    /// The clean close that wrote this state; 0 for none.
    pub(crate) epoch: u64,
    /// Units that disk space or memory has been reserved for.
    pub(crate) committed_units: u64,
    /// Units in use.
    pub(crate) used_units: u64,
    pub(crate) unused: u64,
    /// Bytes in live large objects.
    pub(crate) large_bytes: u64,
    /// Live large objects.
    pub(crate) large_count: u64,
    /// For each class, the first slab with free blocks that no thread owns: its head unit + 1, or 0.
    pub(crate) orphans: [u32; CLASSES],
    /// For each class, its slabs.
    pub(crate) slabs: [u32; CLASSES],
    /// For each class, blocks handed out less blocks taken back; exact after a clean close.
    pub(crate) live: [i64; CLASSES],
    /// Stack of ownerless slabs with remote frees: head unit + 1, or 0.
    pub(crate) pending: AtomicU32,
}

/// What the allocator knows of a slab besides its table entry; at the index of its head unit.
///
/// Two cache lines: the first belongs to whoever owns the slab, the second is written by everyone else.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct SlabState {
    /// The thread heap that owns the slab, or 0. Read by all, written by the owner or under the heap's lock.
    pub(crate) owner: AtomicU32,
    /// Free bits that are set: blocks freed and not handed out again.
    pub(crate) free: u32,
    /// Blocks from here on were never handed out; their free bits are clear.
    pub(crate) fresh: u32,
    /// Blocks of the slab.
    pub(crate) blocks: u32,
    /// Next and previous slab in the owner's list of its class: head unit + 1, or 0.
    pub(crate) next: u32,
    pub(crate) previous: u32,
    /// Whether the slab is in that list.
    pub(crate) is_listed: u32,
    /// Remote frees whose bits were taken before they were counted.
    pub(crate) remote_early: u32,
    /// Whether blocks from `fresh` on read as zeros.
    pub(crate) is_zeroed: u32,
    pub(crate) unused: [u32; 7],
    /// Remote frees that were counted and not yet taken. Whoever raises it from 0 pushes the slab.
    pub(crate) remote_count: AtomicU32,
    /// The next slab in the stack of slabs with remote frees: head unit + 1, or 0.
    pub(crate) pending_next: AtomicU32,
}

#[cfg(not(loom))]
const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<SoftHeader>() == super::PAGE);
    assert!(offset_of!(SoftHeader, orphans) == 48 && offset_of!(SoftHeader, live) == 816);
    assert!(offset_of!(SoftHeader, pending) == 1584);
    assert!(size_of::<SlabState>() == 128 && offset_of!(SlabState, remote_count) == 64);
};

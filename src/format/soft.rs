//! Allocator state that recovery can rebuild. It is valid only while its epoch is the header's.

use super::ladder::{CLASSES, FINER_CLASSES};
use crate::sync::{AtomicU32, AtomicU64};
use core::sync::atomic::AtomicI64;

/// Units of a group of the unit map.
pub(crate) const GROUP_UNITS: usize = 4096;

/// The first page of the allocator state.
///
/// # Invariants
/// - **F1** No `&mut` covers more of it than one field that is not atomic: the atomic ones are used by threads that do not
///   hold the heap's lock, while somebody who does changes the others.
#[derive(Debug)]
#[repr(C, align(4096))]
pub(crate) struct SoftHeader {
    /// The clean close that wrote this state; 0 for none.
    pub(crate) epoch: u64,
    /// Units that disk space or memory has been reserved for. Read by all, written under the heap's lock.
    pub(crate) committed_units: AtomicU64,
    /// What is only changed under the heap's lock.
    pub(crate) locked: SoftLocked,
    /// Stack of ownerless slabs with remote frees: head unit + 1, or 0. Used by all.
    pub(crate) pending: AtomicU32,
    /// Zeros in a heap with the usual ladder; of others, changed under the heap's lock like `locked`.
    pub(crate) finer: SoftFiner,
}

/// The part of the [`SoftHeader`] that is changed only under the heap's lock: counters, which all may read, and the slabs
/// that no thread owns.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct SoftLocked {
    /// Units in use.
    pub(crate) used_units: AtomicU64,
    pub(crate) unused: u64,
    /// Bytes in live large objects.
    pub(crate) large_bytes: AtomicU64,
    /// Live large objects.
    pub(crate) large_count: AtomicU64,
    /// For each class of the usual ladder, the first slab with free blocks that no thread owns: its head unit + 1, or 0.
    pub(crate) orphans: [u32; CLASSES],
    /// For each of these classes, its slabs.
    pub(crate) slabs: [AtomicU32; CLASSES],
    /// For each of these classes, blocks handed out less blocks taken back; exact after a clean close.
    pub(crate) live: [AtomicI64; CLASSES],
}

/// What [`SoftLocked`] has of the usual classes, of those that only the fine ladder has.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct SoftFiner {
    pub(crate) orphans: [u32; FINER_CLASSES],
    pub(crate) slabs: [AtomicU32; FINER_CLASSES],
    pub(crate) live: [AtomicI64; FINER_CLASSES],
}

/// What the allocator knows of a slab besides its table entry; at the index of its head unit.
///
/// Two cache lines: the first belongs to whoever owns the slab, the second is written by everyone else.
///
/// # Invariants
/// - **F2** No reference covers more of it than one field: the owner holds `&mut` to `local` while others use the rest.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct SlabState {
    /// The thread heap that owns the slab, or 0. Read by all, written by the owner or under the heap's lock.
    pub(crate) owner: AtomicU32,
    /// What only whoever has the owner's rights touches.
    pub(crate) local: SlabLocal,
    /// Remote frees that were counted and not yet taken. Whoever raises it from 0 pushes the slab.
    pub(crate) remote_count: AtomicU32,
    /// The next slab in the stack of slabs with remote frees: head unit + 1, or 0.
    pub(crate) pending_next: AtomicU32,
}

/// The part of the [`SlabState`] that belongs to the slab's owner.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct SlabLocal {
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
}

const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<SoftHeader>() == super::PAGE && offset_of!(SoftHeader, committed_units) == 8);
    assert!(offset_of!(SoftHeader, locked) == 16 && offset_of!(SoftHeader, pending) == 1584);
    assert!(offset_of!(SoftLocked, orphans) == 32 && offset_of!(SoftLocked, live) == 800);
    assert!(offset_of!(SoftHeader, finer) == 1592 && size_of::<SoftFiner>() == 1280);
    assert!(size_of::<SlabState>() == 128 && offset_of!(SlabState, local) == 4 && size_of::<SlabLocal>() == 60);
    assert!(offset_of!(SlabState, remote_count) == 64 && offset_of!(SlabState, pending_next) == 68);
};

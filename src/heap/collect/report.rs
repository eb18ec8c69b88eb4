//! What is told about the blocks of a heap, and about what was done with them.

use crate::gc::marker::Counters;
use crate::gc::sweep::Swept;
use crate::heap::stats::Bytes;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Bytes of a leaked block that a report shows.
pub(super) const LEAK_BYTES: usize = 32;

/// A block of a heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BlockInfo {
    /// Address of its first byte.
    pub start: usize,
    /// Bytes that it really has, of which its owner may have asked for fewer.
    pub len: usize,
    /// Whether it stands alone, and lies in no slab with others of its size.
    pub is_large: bool,
    /// Whether it is allocated; none if only the thread that owns the slab knows. A block that was freed a moment ago may
    /// still count as allocated, because threads keep such blocks at hand.
    pub is_allocated: Option<bool>,
}

/// What [`SalCollect::collect`](super::SalCollect::collect) found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CollectReport {
    /// Blocks that the roots reach.
    pub marked_blocks: u64,
    /// Bytes in them.
    pub marked_bytes: u64,
    /// Blocks that were given back; large objects included.
    pub reclaimed_blocks: u64,
    /// Bytes in them.
    pub reclaimed_bytes: u64,
    /// Large objects that were given back.
    pub reclaimed_large: u64,
    /// Bytes in them.
    pub reclaimed_large_bytes: u64,
    /// How long it took to find what the roots reach.
    pub marking: Duration,
    /// How long it took to give back the rest.
    pub sweeping: Duration,
    /// Threads that looked.
    pub workers: usize,
    /// Whether types were followed, so that nothing was kept by a word that only looks like a pointer; see
    /// [`Trace`](crate::Trace). If not, some root is of a type that is not known to the last part, or something is not as
    /// any value is.
    pub is_precise: bool,
}

impl CollectReport {
    pub(in crate::heap) fn new(
        counters: &Counters,
        swept: &Swept,
        [marking, sweeping]: [Duration; 2],
        workers: usize,
    ) -> Self {
        // Relaxed: the workers have been joined.
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Self {
            marked_blocks: of(&counters.blocks),
            marked_bytes: of(&counters.bytes),
            reclaimed_blocks: of(&swept.blocks),
            reclaimed_bytes: of(&swept.bytes),
            reclaimed_large: of(&swept.large_count),
            reclaimed_large_bytes: of(&swept.large_bytes),
            marking,
            sweeping,
            workers,
            is_precise: false,
        }
    }
}

/// Blocks that are allocated and that no root reaches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeakReport {
    /// How many there are.
    pub blocks: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// The largest thousand of them, the largest first.
    pub largest: Vec<Leak>,
}

/// A block that no root reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Leak {
    /// Where it lies.
    pub block: BlockInfo,
    /// What it begins with, or all of it and zeros.
    pub first_bytes: [u8; LEAK_BYTES],
}

impl fmt::Display for CollectReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "reached {} blocks with {} in {:.1?} by {} threads, gave back {} with {} in {:.1?}, {} large ones with {} among them",
            self.marked_blocks,
            Bytes(self.marked_bytes),
            self.marking,
            self.workers,
            self.reclaimed_blocks,
            Bytes(self.reclaimed_bytes),
            self.sweeping,
            self.reclaimed_large,
            Bytes(self.reclaimed_large_bytes)
        )
    }
}

impl fmt::Display for LeakReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} blocks with {} are reached by no root", self.blocks, Bytes(self.bytes))?;
        self.largest.iter().try_for_each(|leak| {
            write!(f, "{:#x} {:>10}", leak.block.start, Bytes(leak.block.len as u64))?;
            leak.first_bytes.iter().take(leak.block.len).try_for_each(|byte| write!(f, " {byte:02x}"))?;
            writeln!(f)
        })
    }
}

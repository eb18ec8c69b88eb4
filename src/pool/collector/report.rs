//! What a collection did.

use core::time::Duration;

/// What a collection did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolReport {
    /// Pools that were collected together.
    pub pools: usize,
    /// Objects that are left, of all these pools.
    pub live: u64,
    /// Objects that were looked at. Of a collection of all, that are all that are reached.
    pub visited: u64,
    /// Those among them that were looked at because they, or a neighbour, may have been changed.
    pub remembered: u64,
    /// Objects that were freed.
    pub freed: u64,
    /// Objects that were found dead, and now wait for their finalizers.
    pub finalizable: u64,
    /// Weak pointers whose objects were found dead.
    pub cleared: u64,
    /// Bytes that were given back to the heap.
    pub released_bytes: u64,
    /// Whether what survived the last collection was taken for alive.
    pub is_young: bool,
    /// Calls that it took.
    pub steps: u32,
    /// How long marking took, all steps together.
    pub marking: Duration,
    /// How long sweeping took.
    pub sweeping: Duration,
}

/// How far a step came.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// Not all is marked that is kept.
    Marking,
    /// What is not kept is being freed.
    Sweeping,
    /// The cycle is complete; the next step begins another one.
    Done(PoolReport),
}

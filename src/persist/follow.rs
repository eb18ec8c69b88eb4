//! Following pointers to collected objects through values of any type.
//!
//! A [`BlockVisitor`] that has a [`Follow`] tells it of pools and of pointers to their objects instead of blocks. The objects
//! that these lead to it is told by the follower, one by one, so nothing here is as deep as the graph.

use super::{BlockVisitor, Persist};
use crate::gc::trace::layouts::Shape;
use crate::gc::trace::layouts::pool::{Geometry, geometry};
use core::mem::needs_drop;
use core::ptr::NonNull;

/// Visits a value of one type, whose address it is given.
pub(crate) type Visit = unsafe fn(*const u8, &mut BlockVisitor<'_>);

/// What a pool does with the objects of its type.
#[derive(Debug)]
pub(crate) struct PoolKind {
    pub(crate) geometry: Geometry,
    pub(crate) visit: Visit,
    /// None if there is nothing to do.
    pub(crate) drop: Option<unsafe fn(*mut u8)>,
}

/// A pool that a visitor came to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FoundPool {
    /// Its control block.
    pub(crate) control: NonNull<u8>,
    pub(crate) kind: &'static PoolKind,
}

/// Who is told.
pub(crate) trait Follow {
    /// Pointers to objects; they may be such that are no more.
    fn pointers(&mut self, addresses: &[usize]);

    /// A word that may be anything.
    fn word(&mut self, word: usize);

    /// A pool; whether it is one of those that are collected.
    fn pool(&mut self, pool: FoundPool) -> bool;

    /// After pointers as above, the next object to visit.
    fn next(&mut self, addresses: &[usize]) -> Option<(*const u8, Visit)>;
}

/// # Safety
/// A `T` lies at `value`, and nobody changes it meanwhile.
pub(crate) unsafe fn visit<T: Persist>(value: *const u8, visitor: &mut BlockVisitor<'_>) {
    // SAFETY: the caller's promise.
    unsafe { (*value.cast::<T>()).visit_blocks(visitor) }
}

impl PoolKind {
    /// Of a type.
    pub(crate) const fn of<T: Persist>(drop: unsafe fn(*mut u8)) -> Self {
        let Some(geometry) = geometry(Shape::of::<T>()) else {
            panic!("objects of a pool have 2 MiB at most, and are aligned to 1 MiB at most");
        };
        Self { geometry, visit: visit::<T>, drop: if needs_drop::<T>() { Some(drop) } else { None } }
    }
}

#![doc = include_str!("../README.md")]
#![cfg_attr(feature = "nightly", feature(allocator_api))]

extern crate self as sal;

mod alloc;
pub mod collections;
mod error;
mod format;
pub mod heap;
mod os;
pub mod persist;
mod root;
mod sync;

pub use error::{CloseError, Error, OpenError, RootError, SessionError, SyncError};
pub use heap::{Attached, ClassStats, Heap, HeapOptions, Mode, Read, SalAlloc, Stats, Write};
pub use persist::Persist;
pub use root::{Root, RootId, RootInfo, SalRoots, Tag};

#[doc = include_str!("design.md")]
pub mod design {}

/// What most programs need.
pub mod prelude {
    pub use crate::collections::{SalBTreeMap, SalHashMap, SalHashSet, SalString, SalVec};
    pub use crate::{Heap, Persist, Root, SalAlloc, SalRoots};
}

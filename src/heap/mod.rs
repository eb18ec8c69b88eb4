//! Heaps and the handle through which memory is taken from them.
#![allow(unsafe_code)]

mod allocate;
mod allocator;
mod atomic;
#[cfg(feature = "checked")]
mod checked;
mod create;
mod defaults;
mod fork;
mod gate;
mod global;
mod group_commit;
mod handle;
mod lifecycle;
mod options;
mod owner;
pub(crate) mod placement;
mod session;
mod shared;
mod stats;
mod sync;
mod table;
mod temporary;
mod verify;

pub use atomic::{CommitStats, SnapshotProgress};
pub use handle::SalAlloc;
pub use options::{DirtyTracking, HeapOptions, Mode, Recovery};
pub use owner::Heap;
pub(crate) use owner::{Attachment, HeapInner};
pub use session::{Attached, Read, Write};
pub use stats::{ClassStats, Stats};
pub use sync::{SalSync, SyncLevel};
pub use verify::{Finding, Flaw, VerifyReport};

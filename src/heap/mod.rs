//! Heaps and the handle through which memory is taken from them.
#![allow(unsafe_code)]

mod allocate;
mod allocator;
mod atomic;
#[cfg(feature = "checked")]
mod checked;
mod collect;
pub(crate) mod committed_table;
pub(crate) mod compact;
pub(crate) mod counted;
pub(crate) mod create;
mod defaults;
mod fork;
pub(crate) mod former;
mod gate;
mod global;
mod group_commit;
mod grow;
mod handle;
pub(crate) mod hot_set;
pub(crate) mod lifecycle;
mod maintenance;
pub(crate) mod memory_locks;
pub(crate) mod movable;
mod options;
mod owner;
pub(crate) mod placement;
pub(crate) mod recovery;
mod relocated;
mod run;
pub(crate) mod scrub;
mod seal;
mod session;
mod shared;
mod size_classes;
mod stats;
mod sync;
mod table;
mod temporary;
mod tuning;
pub(crate) mod unknown_counts;
#[cfg(feature = "preload")]
pub(crate) mod untyped;
pub(crate) mod verify;
mod watermarks;
mod withheld;

#[cfg(any(test, feature = "testing"))]
pub(crate) use atomic::open_or_create_on;
pub use atomic::{CommitStats, SnapshotProgress};
pub use collect::{BlockInfo, CollectReport, Leak, LeakReport, Objects, SalCollect};
pub use compact::{CompactOptions, CompactReport, Order};
pub use handle::SalAlloc;
pub use hot_set::{HotSetOptions, HotSetStats, Unlocked};
pub use maintenance::{Maintenance, MaintenanceOptions, MaintenanceReport, MaintenanceStats};
pub use memory_locks::MemoryLock;
pub use options::{DirtyTracking, HeapOptions, Mode, Recovery};
pub use owner::Heap;
pub(crate) use owner::{Attachment, HeapInner};
pub use recovery::{RecoveryPhase, RecoveryProgress, RecoveryReport};
pub use scrub::{DamagedPage, PageDamage, Place, ScrubProgress, ScrubReport};
pub use seal::{SealPolicy, SealStats};
pub(crate) use session::in_session;
pub use session::{Attached, Read, Write};
pub use size_classes::SizeClasses;
pub use stats::{ClassStats, Classes, Residency, Stats};
pub use sync::{SalSync, SyncLevel};
pub use tuning::{Growth, Purge, Tuning};
pub use verify::{Finding, Flaw, VerifyReport};
pub use watermarks::{Watermark, WatermarkReached};

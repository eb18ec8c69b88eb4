#![doc = include_str!("../README.md")]
#![cfg_attr(feature = "nightly", feature(allocator_api))]

extern crate self as sal;

#[cfg(not(loom))]
mod alloc;
#[cfg(not(loom))]
mod archaeology;
#[cfg(not(loom))]
pub mod collections;
#[cfg(not(loom))]
mod commit;
#[cfg(not(loom))]
mod error;
#[cfg(not(loom))]
mod format;
#[cfg(not(loom))]
mod gc;
#[cfg(not(loom))]
mod handle;
#[cfg(not(loom))]
pub mod heap;
#[cfg(not(loom))]
mod os;
#[cfg(not(loom))]
pub mod persist;
#[cfg(not(loom))]
pub mod pool;
#[cfg(all(feature = "preload", not(loom)))]
mod preload;
#[cfg(not(loom))]
mod ptr;
#[cfg(not(loom))]
pub mod region;
#[cfg(not(loom))]
mod root;
#[cfg(not(loom))]
mod schema;
mod sync;
#[cfg(all(any(test, feature = "testing"), not(loom)))]
pub mod testing;

#[cfg(not(loom))]
pub use archaeology::{Archaeology, ArchaeologyOptions, BlockRecord, RootRecord};
#[cfg(not(loom))]
pub use error::{
    CloseError, CollectError, Error, HotSetError, LockError, MaintenanceError, OpenError, RegionError, RootError,
    SessionError, SessionHolder, SyncError, UpdateError,
};
#[cfg(not(loom))]
pub use heap::{
    Attached, BlockInfo, ClassStats, Classes, CollectReport, CommitStats, CompactOptions, CompactReport, DamagedPage,
    DirtyTracking, Finding, Flaw, Growth, Heap, HeapOptions, HotSetOptions, HotSetStats, Leak, LeakReport, Maintenance,
    MaintenanceOptions, MaintenanceReport, MaintenanceStats, MemoryLock, Mode, Objects, Order, PageDamage, Place,
    Purge, Read, Recovery, RecoveryPhase, RecoveryProgress, RecoveryReport, Residency, SalAlloc, SalCollect, SalSync,
    ScrubProgress, ScrubReport, SealPolicy, SealStats, SizeClasses, SnapshotProgress, Stats, SyncLevel, Tuning,
    Unlocked, VerifyReport, Watermark, WatermarkReached, Write,
};
#[cfg(not(loom))]
pub use persist::{Persist, Trace};
#[cfg(not(loom))]
pub use pool::{Collector, Gc, GcWeak, Pool, Rooted};
#[cfg(all(feature = "archery", not(loom)))]
pub use ptr::SalRcK;
#[cfg(not(loom))]
pub use ptr::{
    CloneTarget, Handle, Movable, Offset, Pinned, SalArcCell, SalBox, SalCow, SalMovable, SalRc, SalWeak, Target,
    WeakHandle,
};
#[cfg(not(loom))]
pub use region::Region;
#[cfg(not(loom))]
pub use root::{Root, RootId, RootInfo, SalHotSet, SalRoots, SalVersions, Tag};

#[doc = include_str!("design.md")]
pub mod design {}

/// What most programs need.
#[cfg(not(loom))]
pub mod prelude {
    pub use crate::collections::{SalBTreeMap, SalHashMap, SalHashSet, SalString, SalVec};
    pub use crate::{Heap, Persist, Root, SalAlloc, SalCow, SalRc, SalRoots, SalSync, SalVersions};
}

// What loom checks. The rest cannot be built with its atomics, which lie neither in mappings nor in constants.
#[cfg(loom)]
#[allow(dead_code, unsafe_code)]
mod alloc {
    pub(crate) mod bias;
    pub(crate) mod growers {
        mod slot;
    }
    pub(crate) mod presence;
    pub(crate) mod ref_count;
    pub(crate) mod remote_free;
    pub(crate) mod run_cache;
    pub(crate) mod split_count;
    mod unit_notes;
}
#[cfg(loom)]
#[allow(dead_code, unsafe_code)]
mod handle {
    pub(crate) mod moving;
    pub(crate) mod pin;
}
#[cfg(loom)]
#[allow(dead_code, unsafe_code)]
mod os {
    mod futex;
    pub(crate) mod lock;
    pub(crate) mod signal;
    pub(crate) mod barrier {
        //! Both sides pass a full fence here; that one of them may be left to the kernel is for the kernel to prove.

        use loom::sync::atomic::{Ordering, fence};

        pub(crate) fn light() {
            fence(Ordering::SeqCst);
        }

        pub(crate) fn is_one_sided() -> bool {
            true
        }

        pub(crate) fn light_when_one_sided() {
            fence(Ordering::SeqCst);
        }

        pub(crate) fn heavy() {
            fence(Ordering::SeqCst);
        }
    }
}

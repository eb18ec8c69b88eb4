//! Heaps and the handle through which memory is taken from them.
#![allow(unsafe_code)]

mod allocate;
mod allocator;
#[cfg(feature = "checked")]
mod checked;
mod collect;
mod defaults;
mod fork;
mod gate;
mod global;
mod handle;
mod lifecycle;
mod options;
mod owner;
pub(crate) mod placement;
pub(crate) mod recovery;
mod session;
mod stats;
mod table;
mod temporary;

pub use collect::{BlockInfo, CollectReport, Leak, LeakReport, Objects, SalCollect};
pub use handle::SalAlloc;
pub use options::{HeapOptions, Mode};
pub use owner::Heap;
pub(crate) use owner::{Attachment, HeapInner};
pub use recovery::{RecoveryPhase, RecoveryProgress, RecoveryReport};
pub use session::{Attached, Read, Write};
pub use stats::{ClassStats, Stats};

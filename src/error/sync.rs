//! Making a heap durable.

use std::fmt;
use std::io;

use super::SessionHolder;

/// Why a sync failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum SyncError {
    /// The calling thread has a session of its own open, for which the sync would wait for ever.
    SessionHeld,
    /// The heap is volatile: there is nothing that could be made durable.
    Volatile,
    /// The heap is open for reading only.
    ReadOnly,
    /// The heap is closed.
    Closed,
    /// The heap belongs to the process that this one was forked from.
    Forked,
    /// A thread panicked in a write session, so the heap may hold something half done. See
    /// [`Heap::clear_poison`](crate::Heap::clear_poison).
    Poisoned,
    /// An earlier sync failed to write, and what reached the disk is not known. The heap can be used on, but nothing more
    /// becomes durable; opening it again gives the last good commit.
    Broken,
    /// Write sessions stayed open for longer than the sync was to wait.
    GateTimeout {
        /// Who had them open.
        holders: Vec<SessionHolder>,
    },
    /// The commit log is as long as it may be, and a snapshot, a scrub or a recovery in the background keeps it from being
    /// folded. Nothing was committed; when that has ended, the next sync works. See
    /// [`HeapOptions::log_limit`](crate::HeapOptions::log_limit).
    LogFull {
        /// Bytes of the log that are in use.
        bytes: u64,
    },
    /// In a debug or checked build: a root holds a block or a handle of another heap.
    ForeignBlock {
        /// The root.
        root: String,
        /// Where the block lies.
        address: usize,
    },
    /// A system call failed.
    #[non_exhaustive]
    Os {
        /// As in its manual page.
        call: &'static str,
        /// What it reported.
        source: io::Error,
    },
}

impl SyncError {
    /// The same error once more, for each of those who shared a sync.
    pub(crate) fn duplicate(&self) -> Self {
        match self {
            Self::SessionHeld => Self::SessionHeld,
            Self::Volatile => Self::Volatile,
            Self::ReadOnly => Self::ReadOnly,
            Self::Closed => Self::Closed,
            Self::Forked => Self::Forked,
            Self::Poisoned => Self::Poisoned,
            Self::Broken => Self::Broken,
            Self::GateTimeout { holders } => Self::GateTimeout { holders: holders.clone() },
            Self::LogFull { bytes } => Self::LogFull { bytes: *bytes },
            Self::ForeignBlock { root, address } => Self::ForeignBlock { root: root.clone(), address: *address },
            Self::Os { call, source } => Self::Os {
                call,
                source: source
                    .raw_os_error()
                    .map_or_else(|| io::Error::new(source.kind(), source.to_string()), io::Error::from_raw_os_error),
            },
        }
    }
}

impl fmt::Display for SyncError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SessionHeld => f.write_str("the calling thread has a session open, for which the sync would wait"),
            Self::Volatile => f.write_str("a volatile heap cannot be made durable"),
            Self::ReadOnly => f.write_str("the heap is open for reading only"),
            Self::Closed => f.write_str("the heap is closed"),
            Self::Forked => f.write_str("the heap belongs to the process that this one was forked from"),
            Self::Poisoned => f.write_str("a thread panicked in a write session of the heap"),
            Self::Broken => f.write_str("an earlier sync failed, and nothing more can be made durable"),
            Self::GateTimeout { holders } => {
                f.write_str("write sessions stayed open")?;
                holders.iter().try_for_each(|holder| write!(f, "; {holder}"))
            }
            Self::LogFull { bytes } => {
                write!(
                    f,
                    "the commit log has {bytes} bytes, and a snapshot, scrub or recovery keeps it from being folded"
                )
            }
            Self::ForeignBlock { root, address } => {
                write!(f, "root {root} holds a block of another heap, at {address:#x}")
            }
            Self::Os { call, .. } => write!(f, "{call} failed while the heap was synced"),
        }
    }
}

from_os!(SyncError);
source_of_os!(SyncError);

//! Closing a heap.

use std::fmt;
use std::io;

use super::SyncError;

/// Why a heap could not be closed well.
#[derive(Debug)]
#[non_exhaustive]
pub enum CloseError {
    /// Sessions that were begun through a [`SalAlloc`](crate::SalAlloc) are still open; the heap is closed when the last of them ends.
    SessionsOpen {
        /// How many.
        count: usize,
    },
    /// In a debug or checked build: a root holds a block or a handle of another heap. The file is closed, and the root
    /// must not be used.
    ForeignBlock {
        /// The root.
        root: String,
        /// Where the block lies.
        address: usize,
    },
    /// The heap belongs to the process that this one was forked from.
    Forked,
    /// In a debug or checked build: the allocator's state, which the file held, contradicts itself. The file of an atomic heap
    /// is closed, and the next opening makes that state anew; one of another mode is not marked as closed well.
    DamagedState,
    /// The last sync of an atomic heap failed: the file is at the commit before, and opening it recovers that.
    Sync(SyncError),
    /// A system call failed. The file is not marked as closed well.
    #[non_exhaustive]
    Os {
        /// As in its manual page.
        call: &'static str,
        /// What it reported.
        source: io::Error,
    },
}

impl fmt::Display for CloseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SessionsOpen { count } => {
                write!(f, "{count} sessions are still open, and the heap is closed when the last of them ends")
            }
            Self::ForeignBlock { root, address } => {
                write!(f, "root {root} holds a block of another heap, at {address:#x}")
            }
            Self::Forked => f.write_str("the heap belongs to the process that this one was forked from"),
            Self::DamagedState => f.write_str("the allocator's state that the file held contradicts itself"),
            Self::Sync(error) => write!(f, "the last sync failed: {error}"),
            Self::Os { call, .. } => write!(f, "{call} failed while the heap was closed"),
        }
    }
}

from_os!(CloseError);
source_of_os!(CloseError);

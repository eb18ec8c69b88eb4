//! A thread that maintains a heap.

use std::fmt;
use std::io;

/// Why a heap could not be maintained, or what went wrong while it was.
#[derive(Debug)]
#[non_exhaustive]
pub enum MaintenanceError {
    /// The options make no sense.
    InvalidOptions {
        /// Why.
        reason: &'static str,
    },
    /// The heap has such a thread already.
    AlreadyRunning,
    /// The heap is only read.
    ReadOnly,
    /// The heap is another process's.
    Forked,
    /// An earlier failure keeps anything more from becoming durable.
    Broken,
    /// The thread panicked, and has ended.
    Panicked,
    /// A system call failed.
    #[non_exhaustive]
    Os {
        /// As in its manual page.
        call: &'static str,
        /// What it reported.
        source: io::Error,
    },
}

impl fmt::Display for MaintenanceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidOptions { reason } => write!(f, "the options make no sense: {reason}"),
            Self::AlreadyRunning => f.write_str("the heap is being maintained already"),
            Self::ReadOnly => f.write_str("the heap is only read"),
            Self::Forked => f.write_str("the heap belongs to the process that this one was forked from"),
            Self::Broken => f.write_str("an earlier failure keeps anything more from becoming durable"),
            Self::Panicked => f.write_str("the thread that maintained the heap panicked"),
            Self::Os { call, source } => write!(f, "{call} failed: {source}"),
        }
    }
}

from_os!(MaintenanceError);
source_of_os!(MaintenanceError);

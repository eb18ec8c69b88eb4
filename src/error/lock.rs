//! Locking memory.

use std::fmt;
use std::io;
use std::ops::Range;

use super::RootError;

/// Why memory could not be locked.
#[derive(Debug)]
#[non_exhaustive]
pub enum LockError {
    /// Not all of the range belongs to the heap, or the heap is closed.
    OutsideHeap {
        /// The range of addresses.
        range: Range<usize>,
    },
    /// The root could not be read.
    Root(RootError),
    /// The system does not let this process lock so much. The pages are being read in all the same.
    #[non_exhaustive]
    Refused {
        /// Bytes that were to be locked.
        bytes: u64,
        /// Bytes that the process may lock altogether (`RLIMIT_MEMLOCK`); none without a limit.
        limit: Option<u64>,
        /// What the system reported.
        source: io::Error,
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

impl fmt::Display for LockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutsideHeap { range } => {
                write!(f, "the range {:#x}..{:#x} does not lie in the heap", range.start, range.end)
            }
            Self::Root(error) => error.fmt(f),
            Self::Refused { bytes, limit: Some(limit), source } => {
                write!(f, "{bytes} bytes cannot be locked, of {limit} that this process may lock: {source}")
            }
            Self::Refused { bytes, limit: None, source } => write!(f, "{bytes} bytes cannot be locked: {source}"),
            Self::Os { call, source } => write!(f, "{call} failed: {source}"),
        }
    }
}

impl std::error::Error for LockError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Refused { source, .. } | Self::Os { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl From<RootError> for LockError {
    fn from(error: RootError) -> Self {
        Self::Root(error)
    }
}

from_os!(LockError);

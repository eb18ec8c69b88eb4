//! Looking a heap through for what nothing leads to.

use std::fmt;
use std::io;

/// Why a heap could not be looked through.
#[derive(Debug)]
#[non_exhaustive]
pub enum CollectError {
    /// The heap is open for reading only, and nothing in it can be given back.
    ReadOnly,
    /// The heap belongs to the process that this one was forked from.
    Forked,
    /// The heap was not closed well the last time, and is still being recovered from that.
    Recovering,
    /// Not everything was looked at, so nothing was given back.
    Incomplete,
    /// A system call failed: there was no memory for the tables.
    #[non_exhaustive]
    Os {
        /// As in its manual page.
        call: &'static str,
        /// What it reported.
        source: io::Error,
    },
}

impl fmt::Display for CollectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReadOnly => f.write_str("the heap is open for reading only"),
            Self::Forked => f.write_str("the heap belongs to the process that this one was forked from"),
            Self::Recovering => f.write_str("the heap is still being recovered"),
            Self::Incomplete => f.write_str("not everything in the heap was looked at"),
            Self::Os { call, .. } => write!(f, "{call} failed while a heap was looked through"),
        }
    }
}

from_os!(CollectError);
source_of_os!(CollectError);

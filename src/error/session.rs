//! Beginning a session.

use std::fmt;
use std::panic::Location;
use std::time::Duration;

/// Why a session could not begin.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionError {
    /// The heap is closed.
    Closed,
    /// The heap is open for reading only.
    ReadOnly,
    /// The heap belongs to the process that this one was forked from.
    Forked,
    /// The handle names a default heap, which has no roots.
    NoRoots,
}

/// Somebody who has a write session open.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionHolder {
    /// The thread's name, or its number if it has none.
    pub thread: String,
    /// How long the session had been open.
    pub open_for: Duration,
    /// Where in the program it was begun.
    pub begun_at: &'static Location<'static>,
}

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "the heap is closed",
            Self::ReadOnly => "the heap is open for reading only",
            Self::Forked => "the heap belongs to the process that this one was forked from",
            Self::NoRoots => "the default heaps have no roots",
        })
    }
}

impl fmt::Display for SessionHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "thread {} for {:?}, begun at {}", self.thread, self.open_for, self.begun_at)
    }
}

impl std::error::Error for SessionError {}

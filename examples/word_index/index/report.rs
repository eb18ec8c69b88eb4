//! What a run tells: while it goes on, and at its end.

use sal::collections::TryReserveError;
use std::fmt;
use std::io;
use std::path::PathBuf;

/// Hears how a run goes on. Calls come from several threads.
pub(crate) trait Observer: Sync {
    /// So many files were found up to now.
    fn found(&self, _files: u64) {}
    /// So many files of so many bytes are to be read.
    fn planned(&self, _files: u64, _bytes: u64) {}
    /// One more file, of so many bytes, was read.
    fn read(&self, _bytes: u64) {}
    /// What has been read up to now is durable, as the commit with this number.
    fn synced(&self, _commit: u64) {}
}

impl Observer for () {}

/// What a run did.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// Files whose words are in the index now and were not before the run.
    pub(crate) indexed: u64,
    /// Bytes of these.
    pub(crate) bytes: u64,
    /// Files that were in the index, or known to be no text, and have not changed.
    pub(crate) unchanged: u64,
    /// Files that were taken out because they vanished.
    pub(crate) removed: u64,
    /// Syncs that were made.
    pub(crate) syncs: u64,
    /// What was noticed about single files.
    pub(crate) problems: Vec<Problem>,
}

/// Something noticed about one file. It does not end the run.
#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) path: PathBuf,
    pub(crate) kind: ProblemKind,
}

/// What was noticed.
#[derive(Debug)]
pub(crate) enum ProblemKind {
    /// The file, or the directory, cannot be read; it is skipped.
    Unreadable(String),
    /// The file was found and then was no more; it is skipped.
    Vanished,
    /// The file is no text; it is skipped.
    Binary,
    /// The file is text, but not all of it is UTF-8; the rest is indexed.
    NotUtf8,
}

impl Problem {
    pub(crate) fn of_io(path: PathBuf, error: &io::Error) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::NotFound => ProblemKind::Vanished,
            _ => ProblemKind::Unreadable(error.to_string()),
        };
        Self { path, kind }
    }

    pub(crate) fn of_walk(path: PathBuf, error: ignore::Error) -> Self {
        match error {
            ignore::Error::WithPath { path, err } => Self::of_walk(path, *err),
            ignore::Error::WithDepth { err, .. } => Self::of_walk(path, *err),
            ignore::Error::Io(error) => Self::of_io(path, &error),
            error => Self { path, kind: ProblemKind::Unreadable(error.to_string()) },
        }
    }
}

impl fmt::Display for ProblemKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(reason) => write!(f, "skipped: {reason}"),
            Self::Vanished => f.write_str("skipped: it vanished"),
            Self::Binary => f.write_str("skipped: it is no text"),
            Self::NotUtf8 => f.write_str("not all of it is UTF-8; the rest was indexed"),
        }
    }
}

/// Why a run ended before its time. What it had indexed until its last sync is in the index.
#[derive(Debug)]
pub(crate) enum IndexError {
    /// A directory to index is not there.
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The heap, or the disk, is full.
    Full(TryReserveError),
    /// The heap reported an error.
    Heap(sal::Error),
}

impl fmt::Display for IndexError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory { path, .. } => write!(f, "{} cannot be indexed", path.display()),
            Self::Full(_) => f.write_str("the heap is full; what fitted is in the index"),
            Self::Heap(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for IndexError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Directory { source, .. } => Some(source),
            Self::Full(error) => Some(error),
            Self::Heap(error) => error.source(),
        }
    }
}

impl From<TryReserveError> for IndexError {
    fn from(error: TryReserveError) -> Self {
        Self::Full(error)
    }
}

macro_rules! from_heap_errors {
    ($($name:ident)*) => {
        $(impl From<sal::$name> for IndexError {
            fn from(error: sal::$name) -> Self {
                Self::Heap(error.into())
            }
        })*
    };
}

from_heap_errors!(SessionError RootError SyncError);

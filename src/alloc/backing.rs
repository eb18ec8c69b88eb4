//! What lies under a heap's window, and how memory is reserved before it is used.

use crate::os::file::File;
use crate::os::mapping::{self, Access, Advice, PAGE};
use crate::os::{CallError, errno};
use core::sync::atomic::{AtomicBool, Ordering};

/// Where a heap's bytes live.
#[derive(Debug)]
pub(crate) enum Backing {
    /// Memory of this process; inaccessible until committed.
    Anonymous { huge_pages: bool },
    /// A file that is mapped as a whole, shared.
    File {
        file: File,
        /// Whether this process was forked from the file's and has its memory to itself.
        is_detached: AtomicBool,
    },
    /// Private memory over a file that others write: what is stored here reaches it by commits, which find the space.
    Private,
    /// A mapping that is only read.
    ReadOnly(Option<File>),
}

impl Backing {
    pub(crate) const fn of_file(file: File) -> Self {
        Self::File { file, is_detached: AtomicBool::new(false) }
    }

    /// In a forked child: the file is the parent's, and the window holds private memory from now on.
    pub(crate) fn detach(&self) {
        if let Self::File { is_detached, .. } = self {
            // Relaxed: the child has one thread.
            is_detached.store(true, Ordering::Relaxed);
        }
    }

    /// Whether memory that reads as zeros may have no disk space, because it was given back.
    pub(crate) fn can_lose_space(&self) -> bool {
        self.own_file().is_some()
    }

    /// The file that is written by writing to the window.
    fn own_file(&self) -> Option<&File> {
        match self {
            // Relaxed: changes only in a process with one thread.
            Self::File { file, is_detached } => (!is_detached.load(Ordering::Relaxed)).then_some(file),
            _ => None,
        }
    }

    /// Makes a range of the window usable: disk space is reserved, so that a full disk is an error here and no signal
    /// later, and memory is counted where the kernel counts it.
    pub(crate) fn commit(&self, base: usize, offset: usize, len: usize) -> Result<(), CallError> {
        let start = offset & !(PAGE - 1);
        let len = (offset + len).next_multiple_of(PAGE) - start;
        match self {
            // SAFETY: the range lies in the heap's own window, and more rights hurt nobody.
            Self::Anonymous { .. } => unsafe { mapping::protect(base + start, len, Access::ReadWrite) },
            Self::File { .. } => self.own_file().map_or(Ok(()), |file| file.reserve(start as u64, len as u64)),
            // One that is only read is rebuilt in memory of its own before that is protected.
            Self::Private | Self::ReadOnly(None) => Ok(()),
            Self::ReadOnly(Some(_)) => Err(CallError { call: "fallocate", errno: errno::READ_ONLY }),
        }
    }

    /// Advice for the segments area of a new mapping.
    pub(crate) fn advise_segments(&self, address: usize, len: usize) {
        if let Self::Anonymous { huge_pages: true } = self {
            // Without huge pages everything works, only slower.
            let _ = mapping::advise(address, len, Advice::HugePage);
        }
    }

    pub(crate) fn has_huge_pages(&self) -> bool {
        matches!(self, Self::Anonymous { huge_pages: true })
    }

    /// Gives the memory and the disk space of a free range back; true if it reads as zeros from now on.
    ///
    /// # Safety
    /// The range lies in the heap's window at `base`, and nobody relies on what it holds.
    pub(crate) unsafe fn purge(&self, base: usize, offset: usize, len: usize) -> bool {
        match self {
            // SAFETY: the caller's promise.
            Self::Anonymous { .. } => unsafe { mapping::discard(base + offset, len).is_ok() },
            Self::File { .. } => self.own_file().is_some_and(|file| file.punch(offset as u64, len as u64).is_ok()),
            // Memory that is dropped shows the file again, which may hold other bytes than zeros.
            Self::Private | Self::ReadOnly(_) => false,
        }
    }

    pub(crate) fn is_anonymous(&self) -> bool {
        matches!(self, Self::Anonymous { .. })
    }

    /// The file that the window shows.
    pub(crate) fn file(&self) -> Option<&File> {
        match self {
            Self::ReadOnly(file) => file.as_ref(),
            _ => self.own_file(),
        }
    }
}

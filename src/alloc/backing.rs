//! What lies under a heap's window, and how memory is reserved before it is used.

use crate::os::file::File;
use crate::os::mapping::{self, Access, Advice, PAGE};
use crate::os::{CallError, Errno};

/// Where a heap's bytes live.
#[derive(Debug)]
pub(crate) enum Backing {
    /// Memory of this process; inaccessible until committed.
    Anonymous { huge_pages: bool },
    /// A file that is mapped as a whole, shared.
    File(File),
    /// A mapping that is only read.
    ReadOnly(File),
}

impl Backing {
    /// Makes a range of the window usable: disk space is reserved, so that a full disk is an error here and no signal
    /// later, and memory is counted where the kernel counts it.
    pub(crate) fn commit(&self, base: usize, offset: usize, len: usize) -> Result<(), CallError> {
        let start = offset & !(PAGE - 1);
        let len = (offset + len).next_multiple_of(PAGE) - start;
        match self {
            // SAFETY: the range lies in the heap's own window, and more rights hurt nobody.
            Self::Anonymous { .. } => unsafe { mapping::protect(base + start, len, Access::ReadWrite) },
            Self::File(file) => file.reserve(start as u64, len as u64),
            Self::ReadOnly(_) => Err(CallError { call: "fallocate", errno: Errno(libc_erofs()) }),
        }
    }

    /// Advice for the segments area of a new mapping.
    pub(crate) fn advise_segments(&self, address: usize, len: usize) {
        if let Self::Anonymous { huge_pages: true } = self {
            // Without huge pages everything works, only slower.
            let _ = mapping::advise(address, len, Advice::HugePage);
        }
    }

    /// Gives the memory and the disk space of a free range back; true if it reads as zeros from now on.
    ///
    /// # Safety
    /// The range lies in the heap's window at `base`, and nobody relies on what it holds.
    pub(crate) unsafe fn purge(&self, base: usize, offset: usize, len: usize) -> bool {
        match self {
            // SAFETY: the caller's promise.
            Self::Anonymous { .. } => unsafe { mapping::discard(base + offset, len).is_ok() },
            Self::File(file) => file.punch(offset as u64, len as u64).is_ok(),
            Self::ReadOnly(_) => false,
        }
    }

    pub(crate) fn is_anonymous(&self) -> bool {
        matches!(self, Self::Anonymous { .. })
    }

    pub(crate) fn file(&self) -> Option<&File> {
        match self {
            Self::Anonymous { .. } => None,
            Self::File(file) | Self::ReadOnly(file) => Some(file),
        }
    }
}

/// "Read-only file system", the number for a write to a heap that is only read.
const fn libc_erofs() -> i32 {
    30
}

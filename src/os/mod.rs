//! The only place with system calls.
//!
//! Thin, total wrappers: each returns the raw error number, none allocates, prints or panics, so that they may be
//! called from inside a global allocator.
#![allow(unsafe_code)]

pub(crate) mod barrier;
pub(crate) mod buffer;
pub(crate) mod clock;
pub(crate) mod copy;
mod descriptor;
pub(crate) mod dirty_pages;
pub(crate) mod env;
pub(crate) mod file;
pub(crate) mod file_ranges;
pub(crate) mod fork;
mod futex;
pub(crate) mod image;
mod inode;
#[cfg(feature = "preload")]
pub(crate) mod kept_stderr;
#[cfg(any(feature = "preload", feature = "checked"))]
pub(crate) mod line;
#[cfg(feature = "preload")]
pub(crate) mod loader;
pub(crate) mod lock;
pub(crate) mod mapping;
pub(crate) mod memory_lock;
mod pagemap;
pub(crate) mod process;
pub(crate) mod residency;
pub(crate) mod signal;
pub(crate) mod thread_exit;
mod userfault;

use core::fmt;

/// The error number of a failed system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Errno(pub(crate) i32);

/// The error numbers that callers tell apart.
pub(crate) mod errno {
    use crate::os::Errno;

    pub(crate) const NO_MEMORY: Errno = Errno(libc::ENOMEM);
    pub(crate) const EXISTS: Errno = Errno(libc::EEXIST);
    pub(crate) const NOT_FOUND: Errno = Errno(libc::ENOENT);
    pub(crate) const IS_DIRECTORY: Errno = Errno(libc::EISDIR);
    pub(crate) const INVALID: Errno = Errno(libc::EINVAL);
    pub(crate) const NOT_SUPPORTED: Errno = Errno(libc::EOPNOTSUPP);
    pub(crate) const NAME_TOO_LONG: Errno = Errno(libc::ENAMETOOLONG);
    pub(crate) const READ_ONLY: Errno = Errno(libc::EROFS);
    pub(crate) const IO: Errno = Errno(libc::EIO);
    pub(crate) const NO_SPACE: Errno = Errno(libc::ENOSPC);
    pub(crate) const OVER_QUOTA: Errno = Errno(libc::EDQUOT);
    pub(crate) const FILE_TOO_BIG: Errno = Errno(libc::EFBIG);
    pub(crate) const BAD_DESCRIPTOR: Errno = Errno(libc::EBADF);
    pub(crate) const STALE: Errno = Errno(libc::ESTALE);
}

impl Errno {
    /// The number that the calling thread's last failed call left.
    pub(crate) fn last() -> Self {
        // SAFETY: `__errno_location` returns the address of this thread's own variable.
        Self(unsafe { *libc::__errno_location() })
    }

    /// Leaves the number for the calling thread to find.
    #[cfg(feature = "preload")]
    pub(crate) fn set(self) {
        // SAFETY: as in `last`.
        unsafe { *libc::__errno_location() = self.0 };
    }
}

impl From<Errno> for std::io::Error {
    fn from(errno: Errno) -> Self {
        Self::from_raw_os_error(errno.0)
    }
}

/// A call's name, as in its manual page, and the error number it gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CallError {
    pub(crate) call: &'static str,
    pub(crate) errno: Errno,
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failed with error {}", self.call, self.errno.0)
    }
}

/// Turns the return value of a call that says -1 on failure into a result.
fn check(call: &'static str, returned: i64) -> Result<i64, CallError> {
    if returned == -1 { Err(CallError { call, errno: Errno::last() }) } else { Ok(returned) }
}

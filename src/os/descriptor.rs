//! Descriptors that are kept for long.
//!
//! Daemons close whatever is open when they start (`closefrom`, `close_range`), also what libraries opened behind their
//! backs, and the number then soon names something else. A kept descriptor remembers the inode it was opened on, looks
//! whether that is still behind its number, and never uses or closes what is not.

use super::inode::Metadata;
use super::{CallError, Errno, check};

/// An open descriptor; closed on drop, if it is still ours.
#[derive(Debug)]
pub(super) struct Descriptor {
    fd: i32,
    device: u64,
    inode: u64,
}

impl Descriptor {
    /// Takes over what a call that opens something has returned.
    pub(super) fn new(call: &'static str, returned: i64) -> Result<Self, CallError> {
        let fd = check(call, returned)? as i32;
        match identity(fd) {
            Ok((device, inode)) => Ok(Self { fd, device, inode }),
            Err(errno) => {
                // SAFETY: the descriptor has just been opened and nobody else knows of it.
                unsafe { libc::close(fd) };
                Err(CallError { call: "fstat", errno })
            }
        }
    }

    pub(super) fn fd(&self) -> i32 {
        self.fd
    }

    /// Whether the number still names what was opened.
    pub(super) fn is_intact(&self) -> bool {
        identity(self.fd) == Ok((self.device, self.inode))
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        if self.is_intact() {
            // SAFETY: the descriptor is ours and this was its last use.
            unsafe { libc::close(self.fd) };
        }
    }
}

fn identity(fd: i32) -> Result<(u64, u64), Errno> {
    Metadata::of(fd).map(|found| (found.device, found.inode))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open_null() -> i64 {
        // SAFETY: the path is a terminated string.
        i64::from(unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) })
    }

    #[test]
    fn a_number_that_names_something_else_is_not_closed() {
        let kept = Descriptor::new("open", open_null()).unwrap();
        assert!(kept.is_intact());
        let file = tempfile::tempfile().unwrap();
        // SAFETY: both descriptors are open, and `kept` is ours to replace.
        unsafe { libc::dup3(std::os::fd::AsRawFd::as_raw_fd(&file), kept.fd(), libc::O_CLOEXEC) };
        assert!(!kept.is_intact());
        let fd = kept.fd();
        drop(kept);
        // SAFETY: the number names the copy made above.
        assert_eq!(unsafe { libc::close(fd) }, 0, "the copy was closed by someone who does not own it");
    }
}

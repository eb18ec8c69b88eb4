//! What an open file's inode says.
//!
//! It is asked for without the times. A file system that has told when a file was last changed gives the next change a time of its
//! own, so that the two can be told apart, and then every `fdatasync` has an inode to write: a third of a small commit.

use super::Errno;

/// What a file's inode says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Metadata {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    /// Bytes.
    pub(crate) len: u64,
    /// Bytes that take space on the disk.
    pub(crate) allocated: u64,
    pub(crate) is_regular: bool,
    /// Names that it has.
    pub(crate) links: u64,
}

const ASKED: u32 = libc::STATX_TYPE | libc::STATX_NLINK | libc::STATX_INO | libc::STATX_SIZE | libc::STATX_BLOCKS;

impl Metadata {
    /// What the inode behind a descriptor says.
    pub(super) fn of(fd: i32) -> Result<Self, Errno> {
        // An old kernel has no `statx`, a filter of system calls may not know it, a file system may not tell all.
        Self::by_statx(fd).map_or_else(|| Self::by_fstat(fd), Ok)
    }

    fn by_statx(fd: i32) -> Option<Self> {
        // SAFETY: `statx` is plain data, for which zeros are a value.
        let mut stat: libc::statx = unsafe { core::mem::zeroed() };
        // SAFETY: the path is empty, and `stat` is ours and of the right type.
        let returned = unsafe { libc::statx(fd, c"".as_ptr(), libc::AT_EMPTY_PATH, ASKED, &raw mut stat) };
        (returned == 0 && stat.stx_mask & ASKED == ASKED).then(|| Self {
            device: libc::makedev(stat.stx_dev_major, stat.stx_dev_minor),
            inode: stat.stx_ino,
            len: stat.stx_size,
            allocated: stat.stx_blocks * 512,
            is_regular: u32::from(stat.stx_mode) & libc::S_IFMT == libc::S_IFREG,
            links: u64::from(stat.stx_nlink),
        })
    }

    fn by_fstat(fd: i32) -> Result<Self, Errno> {
        // SAFETY: `stat` is plain data, for which zeros are a value.
        let mut stat: libc::stat = unsafe { core::mem::zeroed() };
        // SAFETY: `stat` is ours and of the right type.
        if unsafe { libc::fstat(fd, &raw mut stat) } != 0 {
            return Err(Errno::last());
        }
        Ok(Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            len: stat.st_size as u64,
            allocated: stat.st_blocks as u64 * 512,
            is_regular: stat.st_mode & libc::S_IFMT == libc::S_IFREG,
            links: stat.st_nlink as u64,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::errno;
    use std::fs::File;
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::{FileExt, MetadataExt};

    #[test]
    fn both_calls_say_the_same_and_neither_knows_a_closed_descriptor() {
        let mut file = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut file, &[1; 10_000]).unwrap();
        let (pipe, _other) = std::io::pipe().unwrap();
        let null = File::open("/dev/null").unwrap();
        for fd in [file.as_raw_fd(), pipe.as_raw_fd(), null.as_raw_fd()] {
            let seen = Metadata::by_fstat(fd).unwrap();
            assert_eq!(Metadata::of(fd), Ok(seen));
            // Where there is `statx` at all.
            assert!(Metadata::by_statx(fd).is_none_or(|told| told == seen), "descriptor {fd}");
        }
        assert_eq!(Metadata::of(file.as_raw_fd()).map(|told| (told.len, told.is_regular)), Ok((10_000, true)));
        assert_eq!((Metadata::by_statx(-1), Metadata::of(-1)), (None, Err(errno::BAD_DESCRIPTOR)));
    }

    #[test]
    fn a_look_does_not_give_the_next_change_a_time_of_its_own() {
        let coarse_clock = || {
            let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
            // SAFETY: `now` is ours and of the right type.
            assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_REALTIME_COARSE, &raw mut now) }, 0);
            (now.tv_sec, now.tv_nsec)
        };
        let (mut of_the_tick, mut of_its_own) = (0, 0);
        while of_the_tick < 3 {
            let file = tempfile::tempfile().unwrap();
            // From the beginning of a tick on, as others have not looked at anything then.
            let last = coarse_clock();
            let mut before = last;
            while before == last {
                std::hint::spin_loop();
                before = coarse_clock();
            }
            file.write_at(&[1], 0).unwrap();
            assert!(Metadata::of(file.as_raw_fd()).is_ok());
            file.write_at(&[2], 0).unwrap();
            let after = coarse_clock();
            let seen = file.metadata().unwrap();
            if before != after {
                continue;
            }
            if (seen.mtime(), seen.mtime_nsec()) == before {
                of_the_tick += 1;
            } else {
                // After a look by any program at any file that was then changed, all files have a later time until the tick ends.
                of_its_own += 1;
                assert!(of_its_own < 100, "each change has a time of its own");
            }
        }
    }
}

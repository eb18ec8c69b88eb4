//! Which parts of a file hold data, and copies that share the disk's blocks.

use super::file::File;
use super::{CallError, Errno, check};
use core::ops::Range;

/// The next part of a file that may hold something else than zeros, at or behind `from`; all of the rest where the file
/// system knows no holes.
///
/// `fd` is open.
pub(crate) fn next_data(fd: i32, from: u64, end: u64) -> Result<Option<Range<u64>>, CallError> {
    if from >= end {
        return Ok(None);
    }
    // SAFETY: plain call that changes nothing but the descriptor's position, which nobody uses.
    let start = match check("lseek", unsafe { libc::lseek(fd, from as i64, libc::SEEK_DATA) }) {
        Ok(start) => start.unsigned_abs(),
        Err(CallError { errno: Errno(libc::ENXIO), .. }) => return Ok(None),
        Err(CallError { errno: Errno(libc::EINVAL), .. }) => return Ok(Some(from..end)),
        Err(error) => return Err(error),
    };
    if start >= end {
        return Ok(None);
    }
    // SAFETY: as above.
    let hole = check("lseek", unsafe { libc::lseek(fd, start as i64, libc::SEEK_HOLE) })?;
    Ok(Some(start..hole.unsigned_abs().clamp(start + 1, end)))
}

/// Makes `to` a copy of the file `from` that shares its blocks; false where the file system cannot.
pub(crate) fn share_blocks(from: i32, to: &File) -> bool {
    // SAFETY: plain call on open descriptors.
    unsafe { libc::ioctl(to.fd(), libc::FICLONE, from) == 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::FileExt;

    #[test]
    fn holes_are_left_out_and_data_is_not() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(10 << 20).unwrap();
        let written = [(0, 10), (1 << 20, 100_000), (9 << 20, 1 << 20)];
        for (at, len) in written {
            file.write_all_at(&vec![1; len], at).unwrap();
        }
        let end = (9 << 20) + 5000;
        let (mut at, mut found) = (0, Vec::new());
        while let Some(run) = next_data(file.as_raw_fd(), at, end).unwrap() {
            assert!(run.start >= at && run.end > run.start && run.end <= end);
            at = run.end;
            found.push(run);
        }
        for (start, len) in written {
            for byte in [start, start + len as u64 - 1] {
                assert!(byte >= end || found.iter().any(|run| run.contains(&byte)), "{byte} of {found:?}");
            }
        }
        assert_eq!(next_data(file.as_raw_fd(), 20 << 20, 30 << 20).unwrap(), None);
    }
}

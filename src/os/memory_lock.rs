//! Pages that stay in memory.
//!
//! A range is locked page by page, as its pages come (`MLOCK_ONFAULT`, Linux 4.4): locking all at once would write to each page
//! of a private, writable mapping, and so make a copy of what has only been read.

use super::mapping::{self, Advice};
use super::{CallError, Errno, check};
use core::ptr;

/// Keeps the pages of a range in memory: those that are there from now on, others from when they come.
///
/// # Errors
/// `ENOMEM` above the limit, and where part of the range is not mapped; `EPERM` if the process may lock nothing.
pub(crate) fn lock(address: usize, len: usize) -> Result<(), CallError> {
    // SAFETY: locking changes no contents.
    let returned = unsafe {
        libc::syscall(
            libc::SYS_mlock2,
            ptr::with_exposed_provenance::<u8>(address),
            len,
            libc::MLOCK_ONFAULT as libc::c_long,
        )
    };
    check("mlock2", returned).map(drop)
}

/// The pages of a range may go again when memory is short.
pub(crate) fn unlock(address: usize, len: usize) {
    // SAFETY: unlocking changes no contents. What is not mapped any more is not locked.
    let _ = unsafe { libc::munlock(ptr::with_exposed_provenance(address), len) };
}

/// Bytes that the process may lock, unless it is privileged; none without a limit.
pub(crate) fn limit() -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is ours and of the right type.
    let returned = unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) };
    (returned == 0 && limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur)
}

/// Whether the call failed because no more may be locked, or nothing at all.
pub(crate) fn is_refused(error: CallError) -> bool {
    matches!(error.errno, Errno(libc::ENOMEM | libc::EPERM | libc::EAGAIN))
}

/// Brings every page of a range into memory, and writes to none. Before Linux 5.14 they come in the background, and only those of files.
///
/// # Errors
/// If a page cannot be had.
pub(crate) fn read_in(address: usize, len: usize) -> Result<(), CallError> {
    match mapping::advise(address, len, Advice::PopulateRead) {
        Err(CallError { errno: Errno(libc::EINVAL), .. }) => mapping::advise(address, len, Advice::WillNeed),
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use super::super::mapping::{Access, PAGE, Source, discard, map_anywhere, unmap};
    use super::super::residency;
    use super::*;
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::FileExt;

    /// Bytes of the mapping that begins at an address that the kernel keeps in memory; none if it has no mapping that begins there.
    fn locked_at(address: usize) -> Option<u64> {
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let head = format!("{address:x}-");
        let mut lines = maps.lines().skip_while(|line| !line.starts_with(&head));
        lines.next()?;
        let line = lines.find(|line| line.starts_with("Locked:"))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib << 10)
    }

    #[test]
    fn pages_of_a_private_file_that_are_locked_and_read_in_are_not_copied() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&[7; 16 * PAGE], 0).unwrap();
        let at = map_anywhere(16 * PAGE, Access::ReadWrite, Source::PrivateFile(file.as_raw_fd())).unwrap();
        if let Err(error) = lock(at, 8 * PAGE) {
            assert!(is_refused(error), "{error}");
            return;
        }
        read_in(at, 8 * PAGE).unwrap();
        let pages = residency::pages(at, 8 * PAGE).unwrap();
        assert_eq!((pages.present, pages.private), (8, 0));
        assert_eq!(locked_at(at), Some(8 * PAGE as u64));
        unlock(at, 8 * PAGE);
        assert_eq!(locked_at(at), Some(0));
        // SAFETY: mapped above, and nobody uses it.
        unsafe { unmap(at, 16 * PAGE).unwrap() };
    }

    #[test]
    fn what_was_locked_can_be_dropped_once_it_is_unlocked() {
        let at = map_anywhere(4 * PAGE, Access::ReadWrite, Source::Anonymous).unwrap();
        let byte: *mut u8 = ptr::with_exposed_provenance_mut(at);
        // SAFETY: mapped above, and nobody else knows of it.
        unsafe {
            let is_locked = lock(at, 4 * PAGE).is_ok();
            byte.write_volatile(9);
            assert_eq!((discard(at, 4 * PAGE).is_err(), byte.read_volatile() == 9), (is_locked, is_locked));
            unlock(at, 4 * PAGE);
            discard(at, 4 * PAGE).unwrap();
            assert_eq!(byte.read_volatile(), 0);
            unmap(at, 4 * PAGE).unwrap();
        }
    }
}

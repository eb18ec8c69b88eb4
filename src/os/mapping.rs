//! Address ranges: reserving, mapping, advising.

use super::{CallError, Errno};
use core::ffi::c_void;
use core::hint::black_box;
use core::ptr;
use core::sync::atomic::{AtomicU8, Ordering};

/// Bytes of one page, as the format and the allocator assume it.
pub(crate) const PAGE: usize = 4096;

/// Bytes of one page of this machine.
pub(crate) fn page_size() -> usize {
    // SAFETY: `sysconf` only reads.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).unwrap_or(PAGE)
}

/// Bytes of physical memory, or 0 when that cannot be told.
pub(crate) fn physical_memory() -> usize {
    // Not `sysconf`, which reads a file in some C libraries, and allocates for it.
    let mut info = core::mem::MaybeUninit::<libc::sysinfo>::zeroed();
    // SAFETY: the call fills a structure of this type; zeros are one, too.
    let (returned, info) = unsafe { (libc::sysinfo(info.as_mut_ptr()), info.assume_init()) };
    if returned == 0 { (info.totalram as usize).saturating_mul(info.mem_unit as usize) } else { 0 }
}

/// How a mapping may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    None,
    Read,
    ReadWrite,
}

impl Access {
    fn flags(self) -> i32 {
        match self {
            Self::None => libc::PROT_NONE,
            Self::Read => libc::PROT_READ,
            Self::ReadWrite => libc::PROT_READ | libc::PROT_WRITE,
        }
    }
}

/// What lies under a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// Zeroed memory of this process.
    Anonymous,
    /// A file's pages, shared with everyone who maps it.
    SharedFile(i32),
    /// A file's pages, copied when first written.
    PrivateFile(i32),
}

fn map(address: usize, len: usize, access: Access, source: Source, placement: i32) -> Result<usize, CallError> {
    map_part(address, len, access, source, 0, placement)
}

fn map_part(
    address: usize,
    len: usize,
    access: Access,
    source: Source,
    offset: u64,
    placement: i32,
) -> Result<usize, CallError> {
    let (flags, fd) = match source {
        Source::Anonymous => (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1),
        Source::SharedFile(fd) => (libc::MAP_SHARED, fd),
        Source::PrivateFile(fd) => (libc::MAP_PRIVATE, fd),
    };
    // SAFETY: without MAP_FIXED the call takes only free address space; with it (`replace`) the caller owns the range.
    let mapped = unsafe {
        libc::mmap(
            ptr::with_exposed_provenance_mut::<c_void>(address),
            len,
            access.flags(),
            flags | libc::MAP_NORESERVE | placement,
            fd,
            offset as i64,
        )
    };
    if mapped == libc::MAP_FAILED {
        return Err(CallError { call: "mmap", errno: Errno::last() });
    }
    Ok(mapped.expose_provenance())
}

/// Maps `len` bytes of `source`, from its start, wherever the kernel likes.
pub(crate) fn map_anywhere(len: usize, access: Access, source: Source) -> Result<usize, CallError> {
    map(0, len, access, source, 0)
}

/// Maps `len` bytes of `source` at `address`, which must be free: `EEXIST` otherwise.
pub(crate) fn map_at(address: usize, len: usize, access: Access, source: Source) -> Result<(), CallError> {
    let mapped = map(address, len, access, source, libc::MAP_FIXED_NOREPLACE)?;
    if mapped != address {
        // A kernel before 4.17 takes the address for a hint.
        // SAFETY: the range has just been mapped by this call and nobody knows of it.
        let _ = unsafe { unmap(mapped, len) };
        return Err(CallError { call: "mmap", errno: Errno(libc::EEXIST) });
    }
    Ok(())
}

/// Puts `len` bytes of `source` where something of ours is mapped, in one step: no other mapping can slip in between.
///
/// # Safety
/// The range belongs to the caller, and nobody relies on what it held unless `source` holds the same.
pub(crate) unsafe fn replace(address: usize, len: usize, access: Access, source: Source) -> Result<(), CallError> {
    map(address, len, access, source, libc::MAP_FIXED).map(drop)
}

/// As [`replace`], with a part of a file that is copied when first written.
///
/// # Safety
/// As for [`replace`].
pub(crate) unsafe fn replace_with_part(
    address: usize,
    len: usize,
    access: Access,
    fd: i32,
    offset: u64,
) -> Result<(), CallError> {
    map_part(address, len, access, Source::PrivateFile(fd), offset, libc::MAP_FIXED).map(drop)
}

/// Gives an address range back.
///
/// # Safety
/// The range belongs to the caller and nobody uses it any more.
pub(crate) unsafe fn unmap(address: usize, len: usize) -> Result<(), CallError> {
    // SAFETY: the caller's promise.
    let returned = unsafe { libc::munmap(ptr::with_exposed_provenance_mut(address), len) };
    super::check("munmap", i64::from(returned)).map(drop)
}

/// Changes the length of a private mapping, which may move.
///
/// # Safety
/// The range belongs to the caller, is one mapping, and nobody uses its old address after this.
pub(crate) unsafe fn resize(address: usize, old_len: usize, len: usize) -> Result<usize, CallError> {
    // SAFETY: the caller's promise.
    let moved = unsafe {
        libc::mremap(ptr::with_exposed_provenance_mut::<c_void>(address), old_len, len, libc::MREMAP_MAYMOVE)
    };
    if moved == libc::MAP_FAILED {
        return Err(CallError { call: "mremap", errno: Errno::last() });
    }
    Ok(moved.expose_provenance())
}

/// Moves what an anonymous range holds to another place, where nothing is left of what was mapped; the range itself stays, and
/// reads as zeros. Of pages nothing is copied. If it fails, nothing may be mapped at the other place any more.
///
/// # Safety
/// Both ranges are the caller's, whole pages, apart from each other, and nobody relies on what the target holds.
pub(crate) unsafe fn move_pages(from: usize, to: usize, len: usize) -> Result<(), CallError> {
    let (from, to): (*mut c_void, *mut c_void) =
        (ptr::with_exposed_provenance_mut(from), ptr::with_exposed_provenance_mut(to));
    let how = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED | libc::MREMAP_DONTUNMAP;
    // SAFETY: the caller's promise.
    let moved = unsafe { libc::mremap(from, len, len, how, to) };
    if moved == libc::MAP_FAILED {
        return Err(CallError { call: "mremap", errno: Errno::last() });
    }
    Ok(())
}

/// Changes what may be done with a range.
///
/// # Safety
/// The range belongs to the caller, and nobody uses it in a way that is forbidden from now on.
pub(crate) unsafe fn protect(address: usize, len: usize, access: Access) -> Result<(), CallError> {
    // SAFETY: the caller's promise.
    let returned = unsafe { libc::mprotect(ptr::with_exposed_provenance_mut(address), len, access.flags()) };
    super::check("mprotect", i64::from(returned)).map(drop)
}

/// Advice that keeps the contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Advice {
    /// Serve the range from huge pages.
    HugePage,
    /// Serve the range from small pages only.
    NoHugePage,
    /// Write every page once, without changing it: a private file page becomes our own copy.
    PopulateWrite,
    /// Read every page once.
    PopulateRead,
    /// Move what lies in a range now into huge pages.
    Collapse,
    /// Neither of the next two.
    Normal,
    /// Read ahead far.
    Sequential,
    /// Do not read ahead.
    Random,
    /// Read in, in the background, what is not in memory.
    WillNeed,
    /// First to go when memory is short.
    Cold,
    /// Write out and drop now.
    PageOut,
}

/// Advice of Linux 6.1, which the C library's headers may not name.
const MADV_COLLAPSE: i32 = 25;

/// Gives the kernel `advice` about a range.
pub(crate) fn advise(address: usize, len: usize, advice: Advice) -> Result<(), CallError> {
    let advice = match advice {
        Advice::HugePage => libc::MADV_HUGEPAGE,
        Advice::NoHugePage => libc::MADV_NOHUGEPAGE,
        Advice::PopulateWrite => libc::MADV_POPULATE_WRITE,
        Advice::PopulateRead => libc::MADV_POPULATE_READ,
        Advice::Collapse => MADV_COLLAPSE,
        Advice::Normal => libc::MADV_NORMAL,
        Advice::Sequential => libc::MADV_SEQUENTIAL,
        Advice::Random => libc::MADV_RANDOM,
        Advice::WillNeed => libc::MADV_WILLNEED,
        Advice::Cold => libc::MADV_COLD,
        Advice::PageOut => libc::MADV_PAGEOUT,
    };
    // SAFETY: these kinds of advice change no contents.
    let returned = unsafe { libc::madvise(ptr::with_exposed_provenance_mut(address), len, advice) };
    super::check("madvise", i64::from(returned)).map(drop)
}

/// Drops the contents of an anonymous range; it reads as zeros from then on.
///
/// # Safety
/// The range is anonymous memory of the caller's, and nobody relies on what it holds.
pub(crate) unsafe fn discard(address: usize, len: usize) -> Result<(), CallError> {
    // SAFETY: the caller's promise.
    let returned = unsafe { libc::madvise(ptr::with_exposed_provenance_mut(address), len, libc::MADV_DONTNEED) };
    super::check("madvise", i64::from(returned)).map(drop)
}

/// Makes every page of a private, writable file mapping our own copy, whatever else is written meanwhile by this
/// process's threads.
pub(crate) fn copy_private_pages(address: usize, len: usize) {
    let start = address & !(PAGE - 1);
    let end = (address + len).next_multiple_of(PAGE);
    if start == end || advise(start, end - start, Advice::PopulateWrite).is_ok() {
        return;
    }
    copy_private_pages_by_touch(start, end);
}

/// As [`copy_private_pages`], of memory that nobody writes to. A page that cannot be had is an error, and no signal if the
/// kernel does it.
pub(crate) fn copy_private_range(address: usize, len: usize) -> Result<(), CallError> {
    let start = address & !(PAGE - 1);
    let end = (address + len).next_multiple_of(PAGE);
    match advise(start, end - start, Advice::PopulateWrite) {
        Err(CallError { errno: Errno(libc::EINVAL), .. }) => {
            copy_private_pages_by_touch(start, end);
            Ok(())
        }
        done => done,
    }
}

/// The fallback for kernels before 5.14: an atomic write that changes nothing, of a kind that the compiler keeps.
fn copy_private_pages_by_touch(start: usize, end: usize) {
    for page in (start..end).step_by(PAGE) {
        // SAFETY: the caller's mapping is readable and writable, and an exchange of a byte for itself changes nothing,
        // not even beside writes of other threads. If it fails, somebody has just written to the page.
        unsafe {
            let byte: *mut AtomicU8 = ptr::with_exposed_provenance_mut(page);
            let held = black_box((*byte).load(Ordering::Relaxed));
            let _ = (*byte).compare_exchange(held, black_box(held), Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::FileExt;

    #[test]
    fn pages_copied_either_way_no_longer_follow_the_file() {
        for copy in [copy_private_pages as fn(usize, usize), |at, len| copy_private_pages_by_touch(at, at + len)] {
            let file = tempfile::tempfile().unwrap();
            file.write_all_at(&[7; 3 * PAGE], 0).unwrap();
            let at = map_anywhere(3 * PAGE, Access::ReadWrite, Source::PrivateFile(file.as_raw_fd())).unwrap();
            copy(at, 2 * PAGE);
            file.write_all_at(&[8; 3 * PAGE], 0).unwrap();
            // SAFETY: mapped above, and read before it is unmapped.
            let bytes = unsafe { std::slice::from_raw_parts(ptr::with_exposed_provenance::<u8>(at), 3 * PAGE) };
            assert!(bytes[..2 * PAGE].iter().all(|&byte| byte == 7));
            assert_eq!(bytes[2 * PAGE], 8, "this page was left alone");
            // SAFETY: as above.
            unsafe { unmap(at, 3 * PAGE).unwrap() };
        }
    }
}

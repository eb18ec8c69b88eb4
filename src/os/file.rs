//! Files: opening, locking, reserving disk space, reading and writing at an offset.

use super::inode::Metadata;
use super::{CallError, Errno, check};
use core::ffi::CStr;
use core::sync::atomic::{AtomicI32, Ordering};
use std::io::Write;

/// An open file description, closed on drop.
#[derive(Debug)]
pub(crate) struct File {
    /// -1 once it has been closed early.
    fd: AtomicI32,
}

/// Where the lock lies that guards a file's length; far behind all data.
const LENGTH_LOCK: i64 = 1 << 62;

impl File {
    fn open_with(path: &CStr, flags: i32, mode: u32) -> Result<Self, CallError> {
        loop {
            // SAFETY: `path` is a terminated string.
            let fd = unsafe { libc::open(path.as_ptr(), flags | libc::O_CLOEXEC, mode) };
            if fd >= 0 {
                return Ok(Self { fd: AtomicI32::new(fd) });
            }
            let errno = Errno::last();
            if errno.0 != libc::EINTR {
                return Err(CallError { call: "open", errno });
            }
        }
    }

    /// Opens what exists; does not wait for the other end of a pipe.
    pub(crate) fn open(path: &CStr, writable: bool) -> Result<Self, CallError> {
        let access = if writable { libc::O_RDWR } else { libc::O_RDONLY };
        Self::open_with(path, access | libc::O_NONBLOCK | libc::O_NOCTTY, 0)
    }

    /// Creates a file with these permissions; `EEXIST` when there is one.
    pub(crate) fn create_new(path: &CStr, mode: u32) -> Result<Self, CallError> {
        Self::open_with(path, libc::O_RDWR | libc::O_CREAT | libc::O_EXCL, mode)
    }

    /// Opens the same file once more, to write around the page cache: from memory, to places and in lengths that are
    /// multiples of a page. Not every file system can; `EINVAL` from here or from a write says so.
    pub(crate) fn open_direct(&self) -> Result<Self, CallError> {
        let mut path = [0; 32];
        // It has room for any number.
        let _ = write!(&mut path[..31], "/proc/self/fd/{}", self.fd());
        let path = CStr::from_bytes_until_nul(&path).unwrap_or_default();
        Self::open_with(path, libc::O_WRONLY | libc::O_DIRECT | libc::O_NONBLOCK | libc::O_NOCTTY, 0)
    }

    /// Creates a file without a name in `directory`.
    pub(crate) fn create_unnamed(directory: &CStr) -> Result<Self, CallError> {
        Self::open_with(directory, libc::O_RDWR | libc::O_TMPFILE | libc::O_EXCL, 0o600)
    }

    /// Creates a file that lies in memory.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn create_in_memory() -> Result<Self, CallError> {
        // SAFETY: the name is a terminated string.
        let fd = unsafe { libc::memfd_create(c"sal".as_ptr(), libc::MFD_CLOEXEC) };
        Ok(Self { fd: AtomicI32::new(check("memfd_create", i64::from(fd))? as i32) })
    }

    /// Opens a directory, to make its entries durable.
    pub(crate) fn open_directory(path: &CStr) -> Result<Self, CallError> {
        Self::open_with(path, libc::O_RDONLY | libc::O_DIRECTORY, 0)
    }

    pub(crate) fn fd(&self) -> i32 {
        // Relaxed: who closes a file sees to it that nobody uses it.
        self.fd.load(Ordering::Relaxed)
    }

    /// Closes the descriptor before the value goes; all calls fail from now on.
    pub(crate) fn close(&self) {
        let fd = self.fd.swap(-1, Ordering::Relaxed);
        if fd >= 0 {
            // SAFETY: the descriptor is ours and nobody uses it after this. A failure leaves nothing to do.
            unsafe { libc::close(fd) };
        }
    }

    /// Leaves the descriptor to whoever has it by now: somebody has closed it under us.
    pub(crate) fn forget(&self) {
        // Relaxed: as in `fd`.
        self.fd.store(-1, Ordering::Relaxed);
    }

    /// Takes the lock on the file's length, which is not that of [`File::try_lock`]: a mapping keeps it, too, so it lasts
    /// as long as anything of this open file description does. False when another one has it.
    pub(crate) fn try_lock_length(&self, exclusive: bool) -> bool {
        // SAFETY: `flock` is plain data, for which zeros are a value.
        let mut lock: libc::flock = unsafe { core::mem::zeroed() };
        lock.l_type = if exclusive { libc::F_WRLCK } else { libc::F_RDLCK } as libc::c_short;
        lock.l_whence = libc::SEEK_SET as libc::c_short;
        (lock.l_start, lock.l_len) = (LENGTH_LOCK, 1);
        // SAFETY: `lock` is ours and of the right type.
        unsafe { libc::fcntl(self.fd(), libc::F_OFD_SETLK, &raw const lock) == 0 }
    }

    /// Whether the whole file reads as zeros.
    pub(crate) fn is_zero(&self) -> Result<bool, CallError> {
        let mut bytes = [0_u8; 4096];
        let mut at = 0;
        loop {
            // SAFETY: plain call on our own descriptor.
            let data = unsafe { libc::lseek(self.fd(), at, libc::SEEK_DATA) };
            match check("lseek", data) {
                Ok(data) => at = data,
                Err(CallError { errno: Errno(libc::ENXIO), .. }) => return Ok(true),
                // A file system that knows no holes.
                Err(CallError { errno: Errno(libc::EINVAL), .. }) => {}
                Err(error) => return Err(error),
            }
            let read = self.read_at(&mut bytes, at.unsigned_abs())?;
            if bytes[..read].iter().any(|&byte| byte != 0) {
                return Ok(false);
            }
            if read == 0 {
                return Ok(true);
            }
            at += read as i64;
        }
    }

    /// Takes the lock of this open file description without waiting; false when another one holds it.
    pub(crate) fn try_lock(&self, exclusive: bool) -> Result<bool, CallError> {
        let operation = if exclusive { libc::LOCK_EX } else { libc::LOCK_SH };
        // SAFETY: plain call on our own descriptor.
        let returned = unsafe { libc::flock(self.fd(), operation | libc::LOCK_NB) };
        match check("flock", i64::from(returned)) {
            Ok(_) => Ok(true),
            Err(CallError { errno: Errno(libc::EWOULDBLOCK), .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Gives the lock back, also when a mapping or a child still pins the description.
    pub(crate) fn unlock(&self) -> Result<(), CallError> {
        // SAFETY: plain call on our own descriptor.
        let returned = unsafe { libc::flock(self.fd(), libc::LOCK_UN) };
        check("flock", i64::from(returned)).map(drop)
    }

    pub(crate) fn metadata(&self) -> Result<Metadata, CallError> {
        Metadata::of(self.fd()).map_err(|errno| CallError { call: "fstat", errno })
    }

    /// A number that no other mounting of the file's file system has in this run of the system, in the time before or after (Linux 6.8);
    /// none if the system does not say.
    pub(crate) fn mounting(&self) -> Option<u64> {
        // SAFETY: `statx` is plain data, for which zeros are a value.
        let mut stat: libc::statx = unsafe { core::mem::zeroed() };
        let asked = libc::STATX_MNT_ID_UNIQUE;
        // SAFETY: the path is empty, and `stat` is ours and of the right type.
        let returned = unsafe { libc::statx(self.fd(), c"".as_ptr(), libc::AT_EMPTY_PATH, asked, &raw mut stat) };
        (returned == 0 && stat.stx_mask & asked != 0).then_some(stat.stx_mnt_id)
    }

    /// Makes the file `len` bytes long.
    pub(crate) fn set_len(&self, len: u64) -> Result<(), CallError> {
        // SAFETY: plain call on our own descriptor.
        let returned = unsafe { libc::ftruncate(self.fd(), len as i64) };
        check("ftruncate", i64::from(returned)).map(drop)
    }

    /// Reserves disk space for a range and makes the file at least that long. File systems without the call get
    /// zeros written where the file has no data yet.
    pub(crate) fn reserve(&self, offset: u64, len: u64) -> Result<(), CallError> {
        loop {
            // SAFETY: plain call on our own descriptor.
            let returned = unsafe { libc::fallocate(self.fd(), 0, offset as i64, len as i64) };
            match check("fallocate", i64::from(returned)) {
                Ok(_) => return Ok(()),
                Err(CallError { errno: Errno(libc::EINTR), .. }) => {}
                Err(error) if Self::is_unsupported(error) => return self.reserve_by_writing(offset, len),
                Err(error) => return Err(error),
            }
        }
    }

    /// The fallback of [`File::reserve`]: writes back what each page holds, or zeros past the end.
    pub(crate) fn reserve_by_writing(&self, offset: u64, len: u64) -> Result<(), CallError> {
        let mut page = [0_u8; 4096];
        let end = offset + len;
        let mut at = offset;
        while at < end {
            let step = usize::try_from((end - at).min(4096)).unwrap_or(4096);
            let read = self.read_at(&mut page[..step], at)?;
            page[read..].fill(0);
            self.write_at(&page[..step], at)?;
            at += step as u64;
        }
        Ok(())
    }

    /// Gives the disk space of a range back; it reads as zeros from then on.
    pub(crate) fn punch(&self, offset: u64, len: u64) -> Result<(), CallError> {
        let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        // SAFETY: plain call on our own descriptor.
        let returned = unsafe { libc::fallocate(self.fd(), mode, offset as i64, len as i64) };
        check("fallocate", i64::from(returned)).map(drop)
    }

    /// Whether that is what a call says that the file system, or the kernel, does not have.
    pub(crate) fn is_unsupported(error: CallError) -> bool {
        matches!(error.errno, Errno(libc::EOPNOTSUPP | libc::ENOSYS))
    }

    /// Makes a range read as zeros, and gives its disk space back where the file system can.
    pub(crate) fn clear(&self, offset: u64, len: u64) -> Result<(), CallError> {
        match self.punch(offset, len) {
            Err(error) if Self::is_unsupported(error) => {}
            done => return done,
        }
        let zeros = [0_u8; 4096];
        let mut at = offset;
        while at < offset + len {
            let step = (offset + len - at).min(zeros.len() as u64);
            self.write_at(&zeros[..step as usize], at)?;
            at += step;
        }
        Ok(())
    }

    /// Reads until `bytes` is full or the file ends; returns how many bytes were read.
    pub(crate) fn read_at(&self, bytes: &mut [u8], offset: u64) -> Result<usize, CallError> {
        let mut done = 0;
        while done < bytes.len() {
            let rest = &mut bytes[done..];
            let at = (offset + done as u64) as i64;
            // SAFETY: `rest` is ours and writable for its length.
            let returned = unsafe { libc::pread(self.fd(), rest.as_mut_ptr().cast(), rest.len(), at) };
            match check("pread", returned as i64) {
                Ok(0) => break,
                Ok(read) => done += read.unsigned_abs() as usize,
                Err(CallError { errno: Errno(libc::EINTR), .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    /// Writes all of `bytes`.
    pub(crate) fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), CallError> {
        let mut done = 0;
        while done < bytes.len() {
            let rest = &bytes[done..];
            let at = (offset + done as u64) as i64;
            // SAFETY: `rest` is readable for its length.
            let returned = unsafe { libc::pwrite(self.fd(), rest.as_ptr().cast(), rest.len(), at) };
            match check("pwrite", returned as i64) {
                Ok(0) => return Err(CallError { call: "pwrite", errno: Errno(libc::EIO) }),
                Ok(written) => done += written.unsigned_abs() as usize,
                Err(CallError { errno: Errno(libc::EINTR), .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Makes the file's data, and what is needed to read it back, durable: pages written through a shared mapping
    /// included.
    pub(crate) fn sync_data(&self) -> Result<(), CallError> {
        // SAFETY: plain call on our own descriptor.
        check("fdatasync", i64::from(unsafe { libc::fdatasync(self.fd()) })).map(drop)
    }

    /// Makes everything about the file durable; on a directory, its entries.
    pub(crate) fn sync_all(&self) -> Result<(), CallError> {
        // SAFETY: plain call on our own descriptor.
        check("fsync", i64::from(unsafe { libc::fsync(self.fd()) })).map(drop)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        self.close();
    }
}

/// The absolute path of a file that exists, without symbolic links.
pub(crate) fn resolve(path: &CStr) -> Result<std::path::PathBuf, CallError> {
    // SAFETY: `path` is a terminated string; without a buffer the call allocates one, with the C library's `malloc`.
    let resolved = unsafe { libc::realpath(path.as_ptr(), core::ptr::null_mut()) };
    if resolved.is_null() {
        return Err(CallError { call: "realpath", errno: Errno::last() });
    }
    // SAFETY: a terminated string that is ours.
    let bytes = unsafe { CStr::from_ptr(resolved) }.to_bytes().to_vec();
    // SAFETY: allocated by the call, and not used any more.
    unsafe { libc::free(resolved.cast()) };
    Ok(std::path::PathBuf::from(<std::ffi::OsString as std::os::unix::ffi::OsStringExt>::from_vec(bytes)))
}

/// Removes a name.
pub(crate) fn unlink(path: &CStr) -> Result<(), CallError> {
    // SAFETY: `path` is a terminated string.
    check("unlink", i64::from(unsafe { libc::unlink(path.as_ptr()) })).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CString;

    fn file_in(directory: &tempfile::TempDir) -> (CString, File) {
        let path = CString::new(directory.path().join("file").to_str().unwrap()).unwrap();
        let file = File::create_new(&path, 0o600).unwrap();
        (path, file)
    }

    #[test]
    fn reserving_by_writing_keeps_what_is_there_and_takes_real_space() {
        let directory = tempfile::tempdir().unwrap();
        let (_, file) = file_in(&directory);
        file.write_at(&[7; 6000], 1000).unwrap();
        file.reserve_by_writing(0, 100_001).unwrap();
        let metadata = file.metadata().unwrap();
        assert_eq!(metadata.len, 100_001);
        assert!(metadata.allocated >= 100_001);
        let mut bytes = vec![1; 100_001];
        assert_eq!(file.read_at(&mut bytes, 0), Ok(100_001));
        assert!(bytes.iter().enumerate().all(|(at, &byte)| byte == if (1000..7000).contains(&at) { 7 } else { 0 }));
        // A hole in the middle of a longer file, from and to the middle of pages.
        file.set_len(1 << 20).unwrap();
        file.reserve_by_writing(500_000, 50_000).unwrap();
        assert_eq!(file.metadata().unwrap().len, 1 << 20);
        assert_eq!(file.reserve_by_writing(0, 0), Ok(()));
    }

    #[test]
    fn a_full_disk_is_an_error_of_the_fallback_too() {
        let Ok(full) = File::open(c"/dev/full", true) else { return };
        assert!(full.reserve_by_writing(0, 4096).is_err());
    }

    #[test]
    fn a_cleared_range_reads_as_zeros_and_its_neighbours_stay() {
        let directory = tempfile::tempdir().unwrap();
        let (_, file) = file_in(&directory);
        file.write_at(&[9; 40_000], 0).unwrap();
        file.clear(5000, 20_000).unwrap();
        let mut bytes = [1; 40_000];
        assert_eq!(file.read_at(&mut bytes, 0), Ok(40_000));
        assert!(bytes.iter().enumerate().all(|(at, &byte)| byte == if (5000..25_000).contains(&at) { 0 } else { 9 }));
    }

    #[test]
    fn only_files_without_a_byte_but_zero_are_zero() {
        let directory = tempfile::tempdir().unwrap();
        let (_, file) = file_in(&directory);
        assert_eq!(file.is_zero(), Ok(true));
        file.set_len(3 << 30).unwrap();
        file.reserve(1 << 30, 100_000).unwrap();
        file.write_at(&[0; 10_000], 5000).unwrap();
        assert_eq!(file.is_zero(), Ok(true));
        file.write_at(&[1], (3 << 30) - 1).unwrap();
        assert_eq!(file.is_zero(), Ok(false));
    }

    #[test]
    fn a_mapping_keeps_the_lock_on_the_length_when_its_file_is_closed() {
        use crate::os::mapping::{self, Access, Source};
        let directory = tempfile::tempdir().unwrap();
        let (path, file) = file_in(&directory);
        file.set_len(4096).unwrap();
        assert!(file.try_lock_length(true) && file.try_lock_length(false));
        let mapped = mapping::map_anywhere(4096, Access::ReadWrite, Source::PrivateFile(file.fd())).unwrap();
        drop(file);
        let other = File::open(&path, true).unwrap();
        assert!(!other.try_lock_length(true));
        assert!(other.try_lock_length(false));
        // SAFETY: mapped above and not used.
        unsafe { mapping::unmap(mapped, 4096) }.unwrap();
        assert!(other.try_lock_length(true));
    }
}

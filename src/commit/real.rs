//! The files of a heap on a real disk.

use super::storage::{Part, Storage};
use crate::format::PAGE;
use crate::os::file::{File, unlink};
use crate::os::{CallError, errno};
use core::ffi::CStr;
use core::sync::atomic::{AtomicBool, Ordering};
use std::ffi::CString;
use std::sync::{Arc, Mutex, PoisonError};

/// A descriptor, and which file it led to when it was opened.
#[derive(Debug)]
struct Known {
    file: File,
    /// Device and inode.
    identity: Option<(u64, u64)>,
}

impl Known {
    fn new(file: File) -> Self {
        let identity = file.metadata().ok().map(|metadata| (metadata.device, metadata.inode));
        Self { file, identity }
    }

    /// Whether the descriptor still leads to the file, and that has a name and so many bytes.
    fn check(&self, len: u64) -> Result<(), CallError> {
        let metadata = self.file.metadata().inspect_err(|_| self.file.forget())?;
        if self.identity != Some((metadata.device, metadata.inode)) {
            // Somebody closed all descriptors of the process, and this number is another file's by now.
            self.file.forget();
            return Err(CallError { call: "fstat", errno: errno::BAD_DESCRIPTOR });
        }
        if metadata.links == 0 || metadata.len < len {
            return Err(CallError { call: "fstat", errno: errno::STALE });
        }
        Ok(())
    }
}

/// A file that is opened twice: as usual, and to write whole pages around the page cache, where the system can. What goes
/// that way need not be copied to pages of the cache, found there again and written back, which takes several times as
/// long for a large write.
#[derive(Debug)]
struct Opened {
    cached: Known,
    direct: Option<Known>,
    /// What a write around the cache, its memory and its place are multiples of.
    grain: usize,
    /// Whether the file system has refused such a write.
    is_refused: AtomicBool,
}

impl Opened {
    fn new(file: File, is_writable: bool) -> Self {
        let direct = if is_writable { file.open_direct().ok().map(Known::new) } else { None };
        let cached = Known::new(file);
        // Whatever is mounted there is believed to lead to the same file only if it does.
        let direct = direct.filter(|direct| direct.identity.is_some() && direct.identity == cached.identity);
        Self { cached, direct, grain: PAGE, is_refused: AtomicBool::new(false) }
    }

    fn write_around(&self, bytes: &[u8], offset: u64) -> Result<(), CallError> {
        let is_whole = || {
            let parts = [bytes.as_ptr().addr(), bytes.len(), offset as usize];
            parts.iter().all(|part| part % self.grain == 0)
        };
        match &self.direct {
            // Relaxed, here and below: who does not know yet is refused, too.
            Some(direct) if is_whole() && !self.is_refused.load(Ordering::Relaxed) => {
                match direct.file.write_at(bytes, offset) {
                    Err(CallError { errno: errno::INVALID, .. }) => self.is_refused.store(true, Ordering::Relaxed),
                    done => return done,
                }
            }
            _ => {}
        }
        self.cached.file.write_at(bytes, offset)
    }

    fn check(&self, len: u64) -> Result<(), CallError> {
        self.direct.as_ref().map_or(Ok(()), |direct| direct.check(len))?;
        self.cached.check(len)
    }

    fn close(&self) {
        if let Some(direct) = &self.direct {
            direct.file.close();
        }
        self.cached.file.close();
    }
}

/// The heap file, its log, and the directory they lie in.
#[derive(Debug)]
pub(crate) struct RealStorage {
    data: Opened,
    log: Mutex<Option<Arc<Opened>>>,
    log_path: CString,
    directory: CString,
    permissions: u32,
    is_writable: bool,
}

impl RealStorage {
    /// `directory` is where `log_path` leads to; a log that is created gets these permissions.
    pub(crate) fn new(data: File, log_path: CString, directory: CString, permissions: u32) -> Self {
        Self::with(data, log_path, directory, permissions, true)
    }

    /// For [`Journal::inspect`](super::journal::Journal::inspect) alone.
    pub(crate) fn read_only(data: File, log_path: CString, directory: CString) -> Self {
        Self::with(data, log_path, directory, 0, false)
    }

    fn with(data: File, log_path: CString, directory: CString, permissions: u32, is_writable: bool) -> Self {
        let data = Opened::new(data, is_writable);
        Self { data, log: Mutex::new(None), log_path, directory, permissions, is_writable }
    }

    fn set_log(&self, log: Option<File>) {
        let log = log.map(|log| Arc::new(Opened::new(log, self.is_writable)));
        *self.log.lock().unwrap_or_else(PoisonError::into_inner) = log;
    }

    fn log(&self) -> Option<Arc<Opened>> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn opened<R>(&self, part: Part, operation: impl FnOnce(&Opened) -> Result<R, CallError>) -> Result<R, CallError> {
        match part {
            Part::Data => operation(&self.data),
            Part::Log => match self.log() {
                Some(log) => operation(&log),
                None => Err(CallError { call: "open", errno: errno::BAD_DESCRIPTOR }),
            },
        }
    }

    fn on<R>(&self, part: Part, operation: impl FnOnce(&File) -> Result<R, CallError>) -> Result<R, CallError> {
        self.opened(part, |opened| operation(&opened.cached.file))
    }

    fn unlink_log(path: &CStr) -> Result<(), CallError> {
        match unlink(path) {
            Err(CallError { errno: errno::NOT_FOUND, .. }) => Ok(()),
            done => done,
        }
    }
}

impl Storage for RealStorage {
    fn read_at(&self, part: Part, bytes: &mut [u8], offset: u64) -> Result<usize, CallError> {
        self.on(part, |file| file.read_at(bytes, offset))
    }

    fn write_at(&self, part: Part, bytes: &[u8], offset: u64) -> Result<(), CallError> {
        self.on(part, |file| file.write_at(bytes, offset))
    }

    fn write_around(&self, part: Part, bytes: &[u8], offset: u64) -> Result<(), CallError> {
        self.opened(part, |opened| opened.write_around(bytes, offset))
    }

    fn sync_data(&self, part: Part) -> Result<(), CallError> {
        self.on(part, File::sync_data)
    }

    fn reserve(&self, part: Part, offset: u64, len: u64) -> Result<(), CallError> {
        self.on(part, |file| file.reserve(offset, len))
    }

    fn set_len(&self, part: Part, len: u64) -> Result<(), CallError> {
        self.on(part, |file| {
            let old = file.metadata()?.len;
            // Memory of a closed heap may still show what lies there.
            if part == Part::Log || len >= old || file.try_lock_length(true) {
                file.set_len(len)
            } else {
                file.clear(len, old - len)
            }
        })
    }

    fn clear(&self, part: Part, offset: u64, len: u64) -> Result<(), CallError> {
        self.on(part, |file| file.clear(offset, len))
    }

    fn punch(&self, part: Part, offset: u64, len: u64) -> Result<bool, CallError> {
        match self.on(part, |file| file.punch(offset, len)) {
            Ok(()) => Ok(true),
            Err(error) if File::is_unsupported(error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn len(&self, part: Part) -> Result<u64, CallError> {
        self.on(part, |file| Ok(file.metadata()?.len))
    }

    fn open_log(&self) -> Result<bool, CallError> {
        match File::open(&self.log_path, self.is_writable) {
            Ok(log) => {
                self.set_log(Some(log));
                Ok(true)
            }
            Err(CallError { errno: errno::NOT_FOUND, .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn create_log(&self) -> Result<(), CallError> {
        self.set_log(None);
        Self::unlink_log(&self.log_path)?;
        self.set_log(Some(File::create_new(&self.log_path, self.permissions)?));
        Ok(())
    }

    fn remove_log(&self) -> Result<(), CallError> {
        self.set_log(None);
        Self::unlink_log(&self.log_path)
    }

    fn sync_directory(&self) -> Result<(), CallError> {
        File::open_directory(&self.directory)?.sync_all()
    }

    fn check(&self, data_len: u64, log_len: Option<u64>) -> Result<(), CallError> {
        self.data.check(data_len)?;
        match (self.log(), log_len) {
            (Some(log), Some(len)) => log.check(len),
            _ => Ok(()),
        }
    }

    fn data_fd(&self) -> i32 {
        self.data.cached.file.fd()
    }

    fn keep_length(&self) {
        self.data.cached.file.try_lock_length(false);
    }

    fn close(&self) {
        self.set_log(None);
        self.data.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::buffer::Buffer;

    /// A file whose writes around the cache land in another one, and that one.
    fn split(directory: &tempfile::TempDir, grain: usize) -> (Opened, File) {
        let file = |name: &str| {
            let path = directory.path().join(name);
            File::create_new(&CString::new(path.to_str().unwrap()).unwrap(), 0o600).unwrap()
        };
        let other = file("other");
        let mut opened = Opened::new(file("file"), true);
        // A file system that cannot do it leaves nothing to be seen here but the usual way.
        opened.direct = opened.direct.and_then(|_| other.open_direct().ok().map(Known::new));
        opened.grain = grain;
        (opened, other)
    }

    fn pages(count: usize, byte: u8) -> Buffer {
        let mut buffer = Buffer::new();
        buffer.append(count * PAGE).unwrap().fill(byte);
        buffer
    }

    fn first(file: &File) -> u8 {
        let mut bytes = [0];
        file.read_at(&mut bytes, 0).unwrap();
        bytes[0]
    }

    #[test]
    fn whole_pages_go_around_the_cache_and_all_else_does_not() {
        let directory = tempfile::tempdir().unwrap();
        let (opened, other) = split(&directory, PAGE);
        opened.write_around(&pages(3, 2).as_slice()[8..][..2 * PAGE], 0).unwrap();
        opened.write_around(pages(2, 2).as_slice(), 512).unwrap();
        opened.write_around(&pages(3, 2).as_slice()[..2 * PAGE + 512], 0).unwrap();
        assert_eq!((first(&opened.cached.file), first(&other)), (2, 0), "odd memory, place or length");
        opened.write_around(pages(2, 3).as_slice(), 0).unwrap();
        let expected = if opened.direct.is_some() { (2, 3) } else { (3, 0) };
        assert_eq!((first(&opened.cached.file), first(&other)), expected);
    }

    #[test]
    fn what_the_file_system_refuses_goes_through_the_cache_from_then_on() {
        let directory = tempfile::tempdir().unwrap();
        // No alignment is asked for here, so the kernel refuses.
        let (opened, other) = split(&directory, 1);
        opened.write_around(&[1; 100], 0).unwrap();
        opened.write_around(pages(2, 2).as_slice(), 0).unwrap();
        let refuses = opened.direct.is_some() && opened.is_refused.load(Ordering::Relaxed);
        assert!(refuses || first(&other) != 0 || opened.direct.is_none());
        if refuses {
            assert_eq!((first(&opened.cached.file), first(&other)), (2, 0));
        }
    }

    #[test]
    fn without_a_second_descriptor_all_goes_through_the_cache() {
        let directory = tempfile::tempdir().unwrap();
        let (mut opened, other) = split(&directory, PAGE);
        opened.direct = None;
        opened.write_around(pages(2, 7).as_slice(), 0).unwrap();
        assert_eq!((first(&opened.cached.file), first(&other)), (7, 0));
        opened.check(2 * PAGE as u64).unwrap();
    }
}

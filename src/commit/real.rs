//! The files of a heap on a real disk.

use super::storage::{Part, Storage};
use crate::os::file::{File, unlink};
use crate::format::PAGE;
use crate::os::{CallError, errno};
use core::ffi::CStr;
use core::sync::atomic::{AtomicBool, Ordering};
use std::ffi::CString;
use std::sync::{Arc, Mutex, PoisonError};

/// A file, and which one it was when it was opened.
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

/// The log, opened once for reading and for odd writes, and once to write whole pages around the page cache: nobody reads
/// them before the next fold, and a page that is not cached need not be found, copied and written back.
#[derive(Debug)]
struct Log {
    known: Known,
    direct: Option<Known>,
    /// Whether the file system has refused such a write.
    is_refused: AtomicBool,
}

impl Log {
    fn new(file: File, path: &CStr, is_writable: bool) -> Self {
        let known = Known::new(file);
        let direct = if is_writable { File::open_direct(path).ok().map(Known::new) } else { None };
        // Somebody may have put another file there meanwhile.
        let direct = direct.filter(|direct| direct.identity.is_some() && direct.identity == known.identity);
        Self { known, direct, is_refused: AtomicBool::new(false) }
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), CallError> {
        let is_whole = [bytes.as_ptr().addr(), bytes.len(), offset as usize].iter().all(|at| at % PAGE == 0);
        // Relaxed, here and below: who does not know yet is refused, too.
        match &self.direct {
            Some(direct) if is_whole && !self.is_refused.load(Ordering::Relaxed) => {
                match direct.file.write_at(bytes, offset) {
                    Err(CallError { errno: errno::INVALID, .. }) => self.is_refused.store(true, Ordering::Relaxed),
                    done => return done,
                }
            }
            _ => {}
        }
        self.known.file.write_at(bytes, offset)
    }

    fn check(&self, len: u64) -> Result<(), CallError> {
        self.direct.as_ref().map_or(Ok(()), |direct| direct.check(len))?;
        self.known.check(len)
    }
}

/// The heap file, its log, and the directory they lie in.
#[derive(Debug)]
pub(crate) struct RealStorage {
    data: Known,
    log: Mutex<Option<Arc<Log>>>,
    log_path: CString,
    directory: CString,
    permissions: u32,
    is_writable: bool,
}

impl RealStorage {
    /// `directory` is where `log_path` leads to; a log that is created gets these permissions.
    pub(crate) fn new(data: File, log_path: CString, directory: CString, permissions: u32) -> Self {
        Self { data: Known::new(data), log: Mutex::new(None), log_path, directory, permissions, is_writable: true }
    }

    /// For [`Journal::inspect`](super::journal::Journal::inspect) alone.
    pub(crate) fn read_only(data: File, log_path: CString, directory: CString) -> Self {
        Self { is_writable: false, ..Self::new(data, log_path, directory, 0) }
    }

    fn set_log(&self, log: Option<File>) {
        let log = log.map(|log| Arc::new(Log::new(log, &self.log_path, self.is_writable)));
        *self.log.lock().unwrap_or_else(PoisonError::into_inner) = log;
    }

    fn log(&self) -> Option<Arc<Log>> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn on<R>(&self, part: Part, operation: impl FnOnce(&File) -> Result<R, CallError>) -> Result<R, CallError> {
        match part {
            Part::Data => operation(&self.data.file),
            Part::Log => match self.log() {
                Some(log) => operation(&log.known.file),
                None => Err(CallError { call: "open", errno: errno::BAD_DESCRIPTOR }),
            },
        }
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
        match self.log() {
            Some(log) if part == Part::Log => log.write_at(bytes, offset),
            _ => self.on(part, |file| file.write_at(bytes, offset)),
        }
    }

    unsafe fn write_raw_at(&self, part: Part, start: *const u8, len: usize, offset: u64) -> Result<(), CallError> {
        // SAFETY: the caller's promise.
        self.on(part, |file| unsafe { file.write_raw_at(start, len, offset) })
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
        self.data.file.fd()
    }

    fn keep_length(&self) {
        self.data.file.try_lock_length(false);
    }

    fn close(&self) {
        self.set_log(None);
        self.data.file.close();
    }
}

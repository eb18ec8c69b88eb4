//! A simulated disk in whose calls something else happens, whose log can be full, and which can be taken away.

use super::{Call, CallKind, SimulatedDisk};
use crate::commit::storage::{Part, Storage};
use crate::os::{CallError, errno};
use core::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

/// What is to happen, and before which call.
struct Hook {
    matches: fn(&Call) -> bool,
    skip: u64,
    work: Box<dyn FnOnce() + Send>,
}

/// One opening's connection to a disk.
pub(crate) struct Hooked {
    disk: Arc<SimulatedDisk>,
    hook: Mutex<Option<Hook>>,
    log_limit: AtomicU64,
    refused: AtomicU64,
    is_cut: AtomicBool,
    cannot_punch: AtomicBool,
}

impl fmt::Debug for Hooked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooked").field("disk", &self.disk).finish_non_exhaustive()
    }
}

impl Hooked {
    pub(crate) fn new(disk: &Arc<SimulatedDisk>) -> Arc<Self> {
        Arc::new(Self {
            disk: Arc::clone(disk),
            hook: Mutex::new(None),
            log_limit: AtomicU64::new(u64::MAX),
            refused: AtomicU64::new(0),
            is_cut: AtomicBool::new(false),
            cannot_punch: AtomicBool::new(false),
        })
    }

    /// Does something once, before the call that comes after `skip` others that match, and in its thread.
    pub(crate) fn before(&self, matches: fn(&Call) -> bool, skip: u64, work: impl FnOnce() + Send + 'static) {
        *self.hook.lock().unwrap_or_else(PoisonError::into_inner) = Some(Hook { matches, skip, work: Box::new(work) });
    }

    /// Holds the first such call back; returns what tells that it has come, and what lets it go on when it is dropped.
    pub(crate) fn hold(&self, matches: fn(&Call) -> bool) -> (Receiver<()>, Sender<()>) {
        let (come, has_come) = channel();
        let (go_on, word) = channel();
        self.before(matches, 0, move || {
            come.send(()).expect("somebody waits for it");
            let _ = word.recv();
        });
        (has_come, go_on)
    }

    /// Drops what has not happened yet; whether it has.
    pub(crate) fn has_happened(&self) -> bool {
        self.hook.lock().unwrap_or_else(PoisonError::into_inner).take().is_none()
    }

    /// From now on no space can be given back.
    pub(crate) fn forbid_punching(&self) {
        self.cannot_punch.store(true, Ordering::Relaxed);
    }

    /// From now on the disk is full when the log is that long.
    pub(crate) fn limit_log(&self, len: u64) {
        // Relaxed, as below: tests set this when nobody calls.
        self.log_limit.store(len, Ordering::Relaxed);
    }

    /// How often the log was full.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Nothing reaches the disk any more: the process has been killed.
    pub(crate) fn cut(&self) {
        self.is_cut.store(true, Ordering::Relaxed);
    }

    fn call(&self, kind: CallKind, part: Part, offset: u64, len: u64) -> Result<&SimulatedDisk, CallError> {
        if self.is_cut.load(Ordering::Relaxed) {
            return Err(CallError { call: "simulated", errno: errno::IO });
        }
        let is_now = {
            let mut hook = self.hook.lock().unwrap_or_else(PoisonError::into_inner);
            match &mut *hook {
                Some(Hook { matches, skip, .. }) if matches(&Call { kind, part, offset, len }) => {
                    let is_now = *skip == 0;
                    *skip = skip.saturating_sub(1);
                    if is_now { hook.take() } else { None }
                }
                _ => None,
            }
        };
        if let Some(hook) = is_now {
            (hook.work)();
        }
        let grows = matches!(kind, CallKind::Write | CallKind::Reserve | CallKind::SetLen);
        if grows && part == Part::Log && offset + len > self.log_limit.load(Ordering::Relaxed) {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Err(CallError { call: "simulated", errno: errno::NO_SPACE });
        }
        Ok(&self.disk)
    }
}

impl Storage for Hooked {
    fn read_at(&self, part: Part, bytes: &mut [u8], offset: u64) -> Result<usize, CallError> {
        self.call(CallKind::Read, part, offset, bytes.len() as u64)?.read_at(part, bytes, offset)
    }

    fn write_at(&self, part: Part, bytes: &[u8], offset: u64) -> Result<(), CallError> {
        self.call(CallKind::Write, part, offset, bytes.len() as u64)?.write_at(part, bytes, offset)
    }

    fn sync_data(&self, part: Part) -> Result<(), CallError> {
        self.call(CallKind::Sync, part, 0, 0)?.sync_data(part)
    }

    fn reserve(&self, part: Part, offset: u64, len: u64) -> Result<(), CallError> {
        self.call(CallKind::Reserve, part, offset, len)?.reserve(part, offset, len)
    }

    fn set_len(&self, part: Part, len: u64) -> Result<(), CallError> {
        self.call(CallKind::SetLen, part, len, 0)?.set_len(part, len)
    }

    fn clear(&self, part: Part, offset: u64, len: u64) -> Result<(), CallError> {
        self.call(CallKind::Clear, part, offset, len)?.clear(part, offset, len)
    }

    fn punch(&self, part: Part, offset: u64, len: u64) -> Result<bool, CallError> {
        // Relaxed: tests set this when nobody calls.
        if self.cannot_punch.load(Ordering::Relaxed) { Ok(false) } else { self.clear(part, offset, len).map(|()| true) }
    }

    fn len(&self, part: Part) -> Result<u64, CallError> {
        self.call(CallKind::Len, part, 0, 0)?.len(part)
    }

    fn open_log(&self) -> Result<bool, CallError> {
        self.call(CallKind::OpenLog, Part::Log, 0, 0)?.open_log()
    }

    fn create_log(&self) -> Result<(), CallError> {
        self.call(CallKind::CreateLog, Part::Log, 0, 0)?.create_log()
    }

    fn remove_log(&self) -> Result<(), CallError> {
        self.call(CallKind::RemoveLog, Part::Log, 0, 0)?.remove_log()
    }

    fn sync_directory(&self) -> Result<(), CallError> {
        self.call(CallKind::SyncDirectory, Part::Log, 0, 0)?.sync_directory()
    }

    fn data_fd(&self) -> i32 {
        self.disk.data_fd()
    }

    fn keep_length(&self) {}

    /// The disk stays for the next opening.
    fn close(&self) {
        self.cut();
    }
}

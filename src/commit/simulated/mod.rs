//! A disk in memory for one heap, which loses, tears and refuses what it is asked to.
//!
//! What the heap sees lies in memory files, which can be mapped. Beside them everything that is done is recorded, and a
//! [`crash::Trace`] of it gives the images that a power cut at any moment could leave: of what was not synced, each
//! sector may have any of the contents it had since, the length and the names likewise. A disk can be made from an image
//! again. Calls can be told to fail, altogether or half-way.
//!
//! A failed sync is the worst that real systems have: what was written is read back as if all were well, and never
//! reaches the medium unless it is written again.

pub(crate) mod crash;
#[cfg(test)]
pub(crate) mod hooked;
pub(crate) mod medium;

use self::crash::{CrashImage, Trace};
use self::medium::{Change, Contents, Medium, Operation};
use super::storage::{Part, Storage};
use crate::format::PAGE;
use crate::os::file::File;
use crate::os::{CallError, Errno, errno};
use core::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What was asked of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallKind {
    Read,
    Write,
    Sync,
    Reserve,
    SetLen,
    Clear,
    Len,
    OpenLog,
    CreateLog,
    RemoveLog,
    SyncDirectory,
}

/// One call.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(test), expect(dead_code, reason = "only faults of the crate's own tests look at all of it"))]
pub(crate) struct Call {
    pub(crate) kind: CallKind,
    /// Of directory operations, the log.
    pub(crate) part: Part,
    #[expect(dead_code, reason = "for those who look for a fault")]
    pub(crate) offset: u64,
    pub(crate) len: u64,
}

/// What is to go wrong.
pub(crate) struct Fault {
    /// Which calls it is about.
    pub(crate) matches: Box<dyn Fn(&Call) -> bool + Send>,
    /// How many of them go well before.
    pub(crate) skip: u64,
    /// How many fail then.
    pub(crate) times: u64,
    pub(crate) errno: Errno,
    pub(crate) effect: Effect,
}

/// What a call that fails has done nevertheless.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Nothing. After a sync, what was to be written still may be.
    Nothing,
    /// Of a write, the first half. A sync has lost what it was to write, though reading still shows it.
    Half,
    /// All of it.
    Whole,
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fault").field("skip", &self.skip).field("times", &self.times).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Inner {
    /// The log that has the name, and the one that is open.
    named: Option<Arc<File>>,
    log: Option<Arc<File>>,
    trace: Trace,
    calls: u64,
    faults: Vec<Fault>,
    hits: u64,
}

/// The disk.
#[derive(Debug)]
pub(crate) struct SimulatedDisk {
    data: File,
    inner: Mutex<Inner>,
}

fn materialize(contents: &Contents) -> Result<File, CallError> {
    let file = File::create_in_memory()?;
    file.set_len(contents.len())?;
    for (number, page) in contents.pages() {
        let start = number * PAGE as u64;
        let len = (contents.len().saturating_sub(start)).min(PAGE as u64) as usize;
        file.write_at(&page[..len], start)?;
    }
    Ok(file)
}

impl SimulatedDisk {
    /// A disk on which everything is durable.
    pub(crate) fn new(image: &CrashImage) -> Result<Self, CallError> {
        let named = image.log.as_ref().map(materialize).transpose()?.map(Arc::new);
        let base = Medium::new(image.data.clone(), image.log.clone());
        Ok(Self {
            data: materialize(&image.data)?,
            inner: Mutex::new(Inner {
                named,
                log: None,
                trace: Trace { base, operations: Vec::new() },
                calls: 0,
                faults: Vec::new(),
                hits: 0,
            }),
        })
    }

    /// Everything that was done so far.
    pub(crate) fn trace(&self) -> Trace {
        self.inner().trace.clone()
    }

    /// How many operations changed something so far: a point of the trace.
    pub(crate) fn operations(&self) -> usize {
        self.inner().trace.operations.len()
    }

    /// How many calls there were so far.
    pub(crate) fn calls(&self) -> u64 {
        self.inner().calls
    }

    /// Lets calls fail from now on.
    pub(crate) fn inject(&self, fault: Fault) {
        self.inner().faults.push(fault);
    }

    /// Lets all calls go well; returns how many failed.
    pub(crate) fn heal(&self) -> u64 {
        let mut inner = self.inner();
        inner.faults.clear();
        std::mem::take(&mut inner.hits)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call; says whether it is to fail, and how far it gets.
    fn call(&self, kind: CallKind, part: Part, offset: u64, len: u64) -> Result<(), (CallError, Effect)> {
        let mut inner = self.inner();
        inner.calls += 1;
        let call = Call { kind, part, offset, len };
        let mut failed = None;
        for fault in &mut inner.faults {
            if fault.times > 0 && (fault.matches)(&call) {
                if fault.skip > 0 {
                    fault.skip -= 1;
                } else if failed.is_none() {
                    fault.times -= 1;
                    failed = Some((CallError { call: "simulated", errno: fault.errno }, fault.effect));
                }
            }
        }
        match failed {
            Some(failed) => {
                inner.hits += 1;
                Err(failed)
            }
            None => Ok(()),
        }
    }

    fn record(&self, operation: Operation) {
        self.inner().trace.operations.push(operation);
    }

    fn on<R>(&self, part: Part, operation: impl FnOnce(&File) -> Result<R, CallError>) -> Result<R, CallError> {
        match part {
            Part::Data => operation(&self.data),
            Part::Log => {
                let log = self.inner().log.clone();
                operation(&*log.ok_or(CallError { call: "open", errno: errno::BAD_DESCRIPTOR })?)
            }
        }
    }

    /// Carries a change out unless it is to fail.
    fn change(
        &self,
        kind: CallKind,
        part: Part,
        (offset, len): (u64, u64),
        change: Change,
        operation: impl FnOnce(&File) -> Result<(), CallError>,
    ) -> Result<(), CallError> {
        self.call(kind, part, offset, len).map_err(|(error, _)| error)?;
        self.on(part, operation)?;
        self.record(Operation::Change(part, change));
        Ok(())
    }
}

impl Storage for SimulatedDisk {
    fn read_at(&self, part: Part, bytes: &mut [u8], offset: u64) -> Result<usize, CallError> {
        self.call(CallKind::Read, part, offset, bytes.len() as u64).map_err(|(error, _)| error)?;
        self.on(part, |file| file.read_at(bytes, offset))
    }

    fn write_at(&self, part: Part, bytes: &[u8], offset: u64) -> Result<(), CallError> {
        let failed = self.call(CallKind::Write, part, offset, bytes.len() as u64).err();
        let written = match failed {
            None => bytes,
            Some((_, Effect::Whole)) => bytes,
            Some((_, Effect::Half)) => &bytes[..bytes.len() / 2 / 512 * 512],
            Some((error, Effect::Nothing)) => return Err(error),
        };
        self.on(part, |file| file.write_at(written, offset))?;
        self.record(Operation::Change(part, Change::Write(offset, written.into())));
        failed.map_or(Ok(()), |(error, _)| Err(error))
    }

    fn sync_data(&self, part: Part) -> Result<(), CallError> {
        let failed = self.call(CallKind::Sync, part, 0, 0).err();
        self.on(part, |_| Ok(()))?;
        match failed {
            Some((_, Effect::Nothing)) => {}
            Some((_, Effect::Half)) => self.record(Operation::Lose(part)),
            _ => self.record(Operation::Sync(part)),
        }
        failed.map_or(Ok(()), |(error, _)| Err(error))
    }

    fn reserve(&self, part: Part, offset: u64, len: u64) -> Result<(), CallError> {
        let change = Change::Lengthen(offset + len);
        self.change(CallKind::Reserve, part, (offset, len), change, |file| file.reserve(offset, len))
    }

    fn set_len(&self, part: Part, len: u64) -> Result<(), CallError> {
        self.change(CallKind::SetLen, part, (len, 0), Change::SetLen(len), |file| file.set_len(len))
    }

    fn clear(&self, part: Part, offset: u64, len: u64) -> Result<(), CallError> {
        let change = Change::Clear(offset, len);
        self.change(CallKind::Clear, part, (offset, len), change, |file| file.clear(offset, len))
    }

    fn len(&self, part: Part) -> Result<u64, CallError> {
        self.call(CallKind::Len, part, 0, 0).map_err(|(error, _)| error)?;
        self.on(part, |file| Ok(file.metadata()?.len))
    }

    fn open_log(&self) -> Result<bool, CallError> {
        self.call(CallKind::OpenLog, Part::Log, 0, 0).map_err(|(error, _)| error)?;
        let mut inner = self.inner();
        if inner.named.is_some() {
            inner.log = inner.named.clone();
            inner.trace.operations.push(Operation::OpenLog);
        }
        Ok(inner.named.is_some())
    }

    fn create_log(&self) -> Result<(), CallError> {
        self.call(CallKind::CreateLog, Part::Log, 0, 0).map_err(|(error, _)| error)?;
        let log = Arc::new(File::create_in_memory()?);
        let mut inner = self.inner();
        (inner.named, inner.log) = (Some(Arc::clone(&log)), Some(log));
        // The old name goes first.
        inner.trace.operations.extend([Operation::RemoveLog, Operation::CreateLog]);
        Ok(())
    }

    fn remove_log(&self) -> Result<(), CallError> {
        self.call(CallKind::RemoveLog, Part::Log, 0, 0).map_err(|(error, _)| error)?;
        let mut inner = self.inner();
        (inner.named, inner.log) = (None, None);
        inner.trace.operations.push(Operation::RemoveLog);
        Ok(())
    }

    fn sync_directory(&self) -> Result<(), CallError> {
        let failed = self.call(CallKind::SyncDirectory, Part::Log, 0, 0).err();
        if matches!(failed, None | Some((_, Effect::Whole))) {
            self.record(Operation::SyncDirectory);
        }
        failed.map_or(Ok(()), |(error, _)| Err(error))
    }

    fn data_fd(&self) -> i32 {
        self.data.fd()
    }

    fn keep_length(&self) {}

    fn close(&self) {
        self.data.close();
        self.inner().log = None;
    }
}

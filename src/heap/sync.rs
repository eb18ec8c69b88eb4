//! Making a heap durable: the levels, and the ways to ask for one.
//!
//! Every way leads to [`HeapInner::sync_with`]. Syncs that are waited for go through a [group](super::group_commit), so
//! that many threads that ask at once share one; then [`HeapInner::commit_now`] does what the heap's mode asks for. It
//! counts at the [gate](super::gate) as under way, for which closing waits.

use super::atomic::SnapshotProgress;
use super::gate::{self, Capture};
use super::handle::SalAlloc;
use super::options::Mode;
use super::owner::{Heap, HeapInner};
use super::session::Write;
use super::shared::SharedCommits;
use super::withheld;
use crate::error::{CollectError, SessionError, SyncError};
use crate::os::file::File;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// How long a sync waits for write sessions to end, unless the heap's options say otherwise.
pub(super) const SYNC_TIMEOUT: Duration = Duration::from_secs(10);

/// How much a sync does, and so what survives. Each level includes those before it.
///
/// | level | [`Mode::Shared`], process killed | power cut | [`Mode::Atomic`], process killed | power cut |
/// |---|---|---|---|---|
/// | `None` | last `Seal` or more | last `Data` | last `Async` or more | last `Data`, or an `Async` since |
/// | `Seal` | this one | last `Data` | last `Async` or more | last `Data`, or an `Async` since |
/// | `Async` | this one | last `Data` | this one | last `Data`, or an `Async` since |
/// | `Data`, `Full` | this one | this one | this one | this one |
///
/// What a shared heap has of a sync that did not wait for the disk counts on Linux 6.8 or later, as long as the file system stays mounted
/// for the process that opens it; otherwise its last `Data` does. Of a shared heap all that holds for roots that are copy-on-write ([`HeapOptions::drop_plain_roots`](crate::HeapOptions::drop_plain_roots)),
/// if it seals; of an atomic one for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum SyncLevel {
    /// Nothing is written and nobody waited for: what survives is what the heap's [`Mode`] promises without a sync.
    None,
    /// What is there is sealed, if the heap does so ([`SealPolicy`](crate::SealPolicy)), also in memory; nothing is written to the
    /// disk. A shared heap whose process is killed, while the system goes on, goes back to here. Blocks that are freed are not used
    /// again before the next [`SyncLevel::Data`]. A shared heap that has no room for a list of the values that were moved or replaced does
    /// what that does.
    Seal,
    /// A commit is written, but not waited for: it survives when the process is killed, and a power cut only if the
    /// system has happened to write it to the disk by then.
    Async,
    /// What `sync` does: the commit is on the disk and survives a power cut.
    Data,
    /// As [`SyncLevel::Data`], and the heap file itself is brought up to date and synced with its metadata, so that
    /// whoever opens it next has nothing to catch up with.
    Full,
}

/// Syncing a heap through its handle.
///
/// Code that has a [`SalAlloc`] but not the [`Heap`] works through this.
///
/// ```
/// use sal::prelude::*;
/// use sal::SyncLevel;
///
/// const VISITS: Root<u64> = Root::new("visits");
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("visits.sal");
/// // SAFETY: the file was written only through SAL; nothing else changes it while it is open.
/// let heap = unsafe { Heap::open(&path)? };
/// let handle = heap.alloc();
/// handle.set_root(VISITS, 1)?;
/// let first = handle.sync()?;
/// handle.with_root_mut(VISITS, |visits| *visits += 1)?;
/// assert!(handle.sync_with(SyncLevel::Full)? > first);
/// # heap.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait SalSync {
    /// Makes everything durable that was changed in sessions before; see [`Heap::sync`].
    fn sync(&self) -> Result<u64, SyncError> {
        self.sync_with(SyncLevel::Data)
    }

    /// As [`SalSync::sync`], with more or less effort; see [`Heap::sync_with`].
    fn sync_with(&self, level: SyncLevel) -> Result<u64, SyncError>;

    /// The number of the last commit; see [`Heap::last_commit`].
    fn last_commit(&self) -> Result<u64, SyncError>;

    /// Writes a copy of the heap; see [`Heap::snapshot_to`].
    fn snapshot_to(&self, path: impl AsRef<Path>) -> Result<u64, SyncError>;
}

fn find(handle: SalAlloc) -> Result<Arc<HeapInner>, SyncError> {
    HeapInner::find(handle).map_err(|error| match error {
        SessionError::Closed => SyncError::Closed,
        SessionError::ReadOnly => SyncError::ReadOnly,
        SessionError::Forked => SyncError::Forked,
        // The default heaps.
        SessionError::NoRoots => SyncError::Volatile,
    })
}

impl SalSync for SalAlloc {
    fn sync_with(&self, level: SyncLevel) -> Result<u64, SyncError> {
        find(*self)?.sync_with(level)
    }

    fn last_commit(&self) -> Result<u64, SyncError> {
        find(*self)?.last_commit()
    }

    fn snapshot_to(&self, path: impl AsRef<Path>) -> Result<u64, SyncError> {
        find(*self)?.snapshot_to(path.as_ref(), &mut |_| ControlFlow::Continue(()))
    }
}

impl SalSync for Heap {
    fn sync_with(&self, level: SyncLevel) -> Result<u64, SyncError> {
        self.inner().sync_with(level)
    }

    fn last_commit(&self) -> Result<u64, SyncError> {
        self.inner().last_commit()
    }

    fn snapshot_to(&self, path: impl AsRef<Path>) -> Result<u64, SyncError> {
        self.inner().snapshot_to(path.as_ref(), &mut |_| ControlFlow::Continue(()))
    }
}

impl Heap {
    /// Writes everything to the disk and waits until it is there; returns the number of the commit, which grows with
    /// each sync. Threads that sync at the same time share one commit.
    ///
    /// It waits until no write session is open, for as long as [`HeapOptions::sync_timeout`] says; sessions that begin
    /// meanwhile wait for it, but not while the disk is written to.
    ///
    /// A [`Mode::Shared`] heap that is not closed afterwards goes back to this sync if its roots are copy-on-write, and is refused
    /// otherwise: pages that were written before this sync may lie beside pages written after it. Values that are freed keep their
    /// memory until the next sync is durable.
    ///
    /// # Errors
    /// [`SyncError::SessionHeld`] when the calling thread has a session of any heap open, or is attached to one;
    /// [`SyncError::GateTimeout`], which names the sessions that stayed open; [`SyncError::Poisoned`] when a thread
    /// panicked in a write session; [`SyncError::LogFull`] when the log could not be folded for too long;
    /// [`SyncError::Volatile`], [`SyncError::ReadOnly`], [`SyncError::Forked`]; [`SyncError::Os`] when the disk reports an
    /// error.
    ///
    /// [`HeapOptions::sync_timeout`]: crate::HeapOptions::sync_timeout
    pub fn sync(&self) -> Result<u64, SyncError> {
        self.sync_with(SyncLevel::Data)
    }

    /// As [`Heap::sync`], with more or less effort; returns the number of the last commit.
    ///
    /// # Errors
    /// As for [`Heap::sync`], at every level.
    pub fn sync_with(&self, level: SyncLevel) -> Result<u64, SyncError> {
        self.inner().sync_with(level)
    }

    /// As [`Heap::sync`], but only if no write session is open.
    ///
    /// # Errors
    /// As for [`Heap::sync`]; [`SyncError::GateTimeout`] at once, with the sessions that are open.
    pub fn try_sync(&self) -> Result<u64, SyncError> {
        self.inner().try_sync()
    }

    /// The number of the last commit, zero before the first.
    ///
    /// # Errors
    /// [`SyncError::Forked`] in a forked child.
    pub fn last_commit(&self) -> Result<u64, SyncError> {
        self.inner().last_commit()
    }

    /// Writes the last commit to a new file, which can be opened as a heap of its own; returns the commit's number. What
    /// was changed since is not in it, so [`Heap::sync`] comes first if it is to be. No file may have that name.
    ///
    /// Sessions and syncs go on meanwhile. The copy shares the heap's address, so in a process only one of both can be open for
    /// writing, and the other one [relocated](crate::Heap::open_relocated); it shares the disk's blocks where the file system can.
    ///
    /// Only a heap that commits can do so: not a [`Mode::Shared`] one, whose file can be copied when it is closed.
    ///
    /// # Errors
    /// As for [`Heap::sync`]; [`SyncError::Os`] when the file exists or cannot be written, and with
    /// [`Unsupported`](std::io::ErrorKind::Unsupported) in the mode [`Mode::Shared`].
    pub fn snapshot_to(&self, path: impl AsRef<Path>) -> Result<u64, SyncError> {
        self.inner().snapshot_to(path.as_ref(), &mut |_| ControlFlow::Continue(()))
    }

    /// As [`Heap::snapshot_to`]; `progress` is told how far the copy has come, and can break it off.
    ///
    /// # Errors
    /// As for [`Heap::snapshot_to`]; [`SyncError::Os`] with [`Interrupted`](std::io::ErrorKind::Interrupted) when it was
    /// broken off. There is no file then.
    pub fn snapshot_with(
        &self,
        path: impl AsRef<Path>,
        mut progress: impl FnMut(SnapshotProgress) -> ControlFlow<()>,
    ) -> Result<u64, SyncError> {
        self.inner().snapshot_to(path.as_ref(), &mut progress)
    }

    /// Whether a thread panicked in a write session, so that the heap may hold something half done. Syncs fail then with
    /// [`SyncError::Poisoned`].
    pub fn is_poisoned(&self) -> bool {
        self.inner().gate.is_poisoned()
    }

    /// Says that the heap's contents are good in spite of a panic in a write session: looked through, or put right.
    /// Syncs work again.
    ///
    /// ```
    /// # use sal::prelude::*;
    /// # use std::panic::{AssertUnwindSafe, catch_unwind};
    /// const SUM: Root<u64> = Root::new("sum");
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("sum.sal");
    /// // SAFETY: the file was written only through SAL; nothing else changes it while it is open.
    /// let heap = unsafe { Heap::open(&path)? };
    /// let panicked = catch_unwind(AssertUnwindSafe(|| {
    ///     let tx = heap.write().unwrap();
    ///     *tx.root_or_default(SUM).unwrap() = 1;
    ///     panic!("before the rest");
    /// }));
    /// assert!(panicked.is_err() && heap.is_poisoned() && heap.sync().is_err());
    /// *heap.write()?.root_mut(SUM)? = 0;
    /// heap.clear_poison();
    /// heap.sync()?;
    /// # heap.close()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn clear_poison(&self) {
        self.inner().gate.clear_poison();
    }
}

impl Write<'_> {
    /// Ends the session and makes the heap durable, as [`Heap::sync`](crate::Heap::sync) does; returns the number of the
    /// commit.
    ///
    /// # Errors
    /// As for [`Heap::sync`](crate::Heap::sync): also when the calling thread has another session open. The session has
    /// ended all the same, and its changes are in memory.
    pub fn sync(self) -> Result<u64, SyncError> {
        self.sync_with(SyncLevel::Data)
    }

    /// As [`Write::sync`], with more or less effort.
    ///
    /// # Errors
    /// As for [`Write::sync`].
    pub fn sync_with(self, level: SyncLevel) -> Result<u64, SyncError> {
        let heap = self.heap_inner();
        drop(self);
        heap.sync_with(level)
    }
}

impl HeapInner {
    /// Whether the calling thread may sync at all. Before any lock: in a forked child another thread may have had it for
    /// ever.
    fn check_caller(&self) -> Result<(), SyncError> {
        if self.is_forked() {
            return Err(SyncError::Forked);
        }
        if gate::is_held_by_this_thread() {
            return Err(SyncError::SessionHeld);
        }
        Ok(())
    }

    pub(super) fn sync_with(&self, level: SyncLevel) -> Result<u64, SyncError> {
        self.check_caller()?;
        let limit = Some(self.sync_timeout);
        if level < SyncLevel::Data {
            return self.commit_now(level, limit);
        }
        let shared = self.group.run(level, |level| self.commit_now(level, limit).map_err(Arc::new));
        shared.map_err(|error| Arc::try_unwrap(error).unwrap_or_else(|error| error.duplicate()))
    }

    fn try_sync(&self) -> Result<u64, SyncError> {
        self.check_caller()?;
        // Looked at first, because a sync that waits for them may be under way.
        let holders = self.gate.holders();
        if !holders.is_empty() {
            return Err(SyncError::GateTimeout { holders });
        }
        self.commit_now(SyncLevel::Data, Some(Duration::ZERO))
    }

    fn last_commit(&self) -> Result<u64, SyncError> {
        if self.is_forked() {
            return Err(SyncError::Forked);
        }
        Ok(self.header.lock().unwrap_or_else(PoisonError::into_inner).commit)
    }

    /// Commits at once, once the write sessions have ended; returns the number of the last commit. The calling thread has
    /// no session open, and the process is the one that opened the heap.
    pub(super) fn commit_now(&self, level: SyncLevel, limit: Option<Duration>) -> Result<u64, SyncError> {
        if self.read_only {
            return Err(SyncError::ReadOnly);
        }
        if self.mode == Mode::Volatile && level >= SyncLevel::Async {
            return Err(SyncError::Volatile);
        }
        let Some(_syncing) = self.gate.begin_sync() else { return Err(SyncError::Closed) };
        if self.gate.is_poisoned() {
            return Err(SyncError::Poisoned);
        }
        match self.mode {
            _ if level == SyncLevel::None => self.last_commit(),
            _ if level == SyncLevel::Seal && self.shared.get().is_none() => {
                self.seal(&self.close_gate(limit)?);
                self.last_commit()
            }
            Mode::Volatile => Err(SyncError::Volatile),
            Mode::Shared => self.sync_shared(level, limit),
            Mode::Atomic => self.sync_atomic(level, limit),
        }
    }

    /// Makes the last durable commit one of now, where blocks that it leads to are not to be freed.
    pub(super) fn commit_if_shared(&self) -> Result<(), CollectError> {
        let Some((commits, file)) = self.shared_commits() else { return Ok(()) };
        let limit = if gate::is_held_by_this_thread() { Duration::ZERO } else { self.sync_timeout };
        match commits.commit(self, file, SyncLevel::Data, Some(limit)) {
            Ok(_) => Ok(()),
            Err(SyncError::Os { call, source, .. }) => Err(CollectError::os(call, source)),
            Err(_) => Err(CollectError::Incomplete),
        }
    }

    /// What a shared heap that seals has besides, and its file.
    pub(super) fn shared_commits(&self) -> Option<(&SharedCommits, &File)> {
        self.shared.get().zip(self.core().backing.file())
    }

    /// Blocks that are in use though no root leads to them.
    pub(super) fn kept_blocks(&self) -> Vec<usize> {
        let mut kept = self.shared.get().map_or_else(Vec::new, SharedCommits::copies);
        kept.extend(withheld::blocks(self.alloc()));
        kept
    }

    /// Keeps write sessions out, once those that are open have ended.
    pub(super) fn close_gate(&self, limit: Option<Duration>) -> Result<Capture<'_>, SyncError> {
        let capture = self.gate.close_for_capture(limit).map_err(|holders| SyncError::GateTimeout { holders })?;
        // Somebody may have panicked since the sync began.
        if self.gate.is_poisoned() { Err(SyncError::Poisoned) } else { Ok(capture) }
    }

    /// Writes the pages of a shared mapping to the disk. The kernel has them already, so they survive the process.
    fn sync_shared(&self, level: SyncLevel, limit: Option<Duration>) -> Result<u64, SyncError> {
        if let Some((commits, file)) = self.shared_commits() {
            return commits.commit(self, file, level, limit);
        }
        let capture = self.close_gate(limit)?;
        self.before_sync()?;
        self.seal(&capture);
        // Who changes a page while it is written has it written again by a later sync.
        drop(capture);
        if let (Some(file), true) = (self.core().backing.file(), level >= SyncLevel::Data) {
            let synced = if level == SyncLevel::Full { file.sync_all() } else { file.sync_data() };
            synced.map_err(|error| SyncError::os(error.call, error.errno))?;
        }
        let mut header = self.header.lock().unwrap_or_else(PoisonError::into_inner);
        header.commit += 1;
        Ok(header.commit)
    }

    /// Appends what was written since the last commit to the log.
    fn sync_atomic(&self, level: SyncLevel, limit: Option<Duration>) -> Result<u64, SyncError> {
        let Some(atomic) = &self.atomic else { return Err(SyncError::ReadOnly) };
        let commit = atomic.commit(self, level, limit);
        // Also if only what came after the commit failed.
        self.header.lock().unwrap_or_else(PoisonError::into_inner).commit = atomic.last_commit();
        commit
    }

    fn snapshot_to(
        &self,
        path: &Path,
        progress: &mut dyn FnMut(SnapshotProgress) -> ControlFlow<()>,
    ) -> Result<u64, SyncError> {
        self.check_caller()?;
        match self.mode {
            Mode::Volatile => Err(SyncError::Volatile),
            Mode::Shared => Err(SyncError::os("snapshot", io::ErrorKind::Unsupported)),
            Mode::Atomic => {
                let Some(atomic) = &self.atomic else { return Err(SyncError::ReadOnly) };
                let Some(_syncing) = self.gate.begin_sync() else { return Err(SyncError::Closed) };
                atomic.snapshot(path, self.permissions, progress)
            }
        }
    }
}

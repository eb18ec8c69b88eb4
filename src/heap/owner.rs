//! An open heap and its owner.

use super::atomic::Atomic;
use super::gate::{self, Gate};
use super::group_commit::GroupCommit;
use super::handle::SalAlloc;
use super::hot_set;
use super::lifecycle;
use super::maintenance::Slot;
use super::memory_locks;
use super::movable;
use super::options::{HeapOptions, Mode};
use super::recovery::{RecoveryProgress, RecoveryReport};
use super::seal::protect;
use super::session::{Read, Write};
use super::shared::SharedCommits;
use super::sync::SyncLevel;
use super::table::HEAPS;
use super::watermarks::Watermarks;
use super::withheld;
use crate::alloc::backing::Backing;
use crate::alloc::current::Withholding;
use crate::alloc::heap_core::Core;
use crate::alloc::{tracts, windows};
use crate::error::{CloseError, OpenError, SessionError, SyncError};
use crate::format::header::Header;
use crate::gc::relocate::Moved;
use crate::handle::limbo;
use crate::os::process;
use std::any::Any;
use std::fmt;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// An open heap. Dropping it closes it, once the sessions that others began through a handle have ended.
///
/// Blocks are taken through the handle that [`Heap::alloc`] gives, or by the collections of
/// [`sal::collections`](crate::collections), which find their heap by themselves. What is to be found again after a
/// restart hangs on a [root](crate::Root) and is reached through a session: [`Heap::write`] or [`Heap::read`].
///
/// Closing never unmaps: references into the heap that outlive it stay readable, as a private copy.
///
/// ```
/// use sal::prelude::*;
///
/// const VISITS: Root<u64> = Root::new("visits");
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("visits.sal");
/// // SAFETY: the file was written only through SAL; nothing else changes it while it is open.
/// let heap = unsafe { Heap::open(&path)? };
/// let tx = heap.write()?;
/// *tx.root_or_default(VISITS)? += 1;
/// tx.sync()?;
/// assert_eq!(*heap.read()?.root(VISITS)?, 1);
/// heap.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a heap is closed when it is dropped"]
pub struct Heap {
    inner: Arc<HeapInner>,
    /// Whether dropping it waits for sessions that were begun through a handle.
    waits: bool,
}

/// What an open heap is, shared by its owner and its sessions.
pub(crate) struct HeapInner {
    core: NonNull<Core>,
    pub(super) mode: Mode,
    pub(super) path: Option<PathBuf>,
    pub(super) read_only: bool,
    /// The process that opened it.
    process: u64,
    id: [u8; 16],
    pub(super) header: Mutex<Header>,
    pub(super) gate: Gate,
    /// The syncs that are waited for.
    pub(super) group: GroupCommit<SyncLevel, u64, Arc<SyncError>>,
    /// How long a sync waits for write sessions to end.
    pub(super) sync_timeout: Duration,
    pub(super) watermarks: Watermarks,
    /// Of files that are made for it.
    pub(super) permissions: u32,
    attachment: OnceLock<Box<dyn Attachment>>,
    /// Whether it is closed; held while it is.
    pub(super) shut: Mutex<bool>,
    /// Whether a write session was ever begun, so that values may have been moved out of roots.
    pub(super) written: AtomicBool,
    /// Whether the last look at the roots found a block of another heap, so that nothing more may be committed.
    pub(super) is_unsound: AtomicBool,
    pub(super) maintenance: Slot,
    /// What an atomic heap has besides.
    pub(super) atomic: Option<Atomic>,
    /// What a shared heap that seals has besides.
    pub(super) shared: OnceLock<SharedCommits>,
    /// What became of the roots of a heap that lies elsewhere than where it belongs.
    pub(super) moved: Option<Moved>,
}

// SAFETY: the core is shared by all threads anyway (it is `Sync`); all else is guarded.
unsafe impl Send for HeapInner {}
// SAFETY: as above.
unsafe impl Sync for HeapInner {}

/// What a higher layer keeps for an open heap.
pub(crate) trait Attachment: Any + Send + Sync {
    /// A session has ended; what it held is free.
    fn session_ended(&self, session: u64);
    /// A sync is about to happen: the layer's own checks.
    fn before_sync(&self, heap: &HeapInner) -> Result<(), SyncError>;
    fn as_any(&self) -> &dyn Any;
}

impl HeapInner {
    pub(super) fn new(
        core: NonNull<Core>,
        header: Header,
        mode: Mode,
        path: Option<PathBuf>,
        atomic: Option<Atomic>,
        moved: Option<Moved>,
        options: &HeapOptions,
    ) -> Arc<Self> {
        // SAFETY: the caller's, and alive.
        let read_only = matches!(unsafe { core.as_ref() }.backing, Backing::ReadOnly(_));
        let inner = Arc::new(Self {
            core,
            mode,
            path,
            read_only,
            process: process::incarnation(),
            id: header.heap_id,
            header: Mutex::new(header),
            gate: Gate::default(),
            group: GroupCommit::default(),
            sync_timeout: options.sync_timeout,
            watermarks: options.watermarks.clone(),
            permissions: options.permissions,
            attachment: OnceLock::new(),
            shut: Mutex::new(false),
            written: AtomicBool::new(false),
            is_unsound: AtomicBool::new(false),
            maintenance: Slot::default(),
            atomic,
            shared: OnceLock::new(),
            moved,
        });
        HEAPS.add(&inner);
        inner
    }

    /// The open heap that a handle names.
    pub(crate) fn find(handle: SalAlloc) -> Result<Arc<Self>, SessionError> {
        let super::handle::Place::Window(name) = handle.place() else { return Err(SessionError::NoRoots) };
        HEAPS.find(windows::window_of(name)).filter(|heap| heap.core().name() == name).ok_or(SessionError::Closed)
    }

    pub(crate) fn core(&self) -> &Core {
        // SAFETY: this value is one of the core's holders until it is dropped.
        unsafe { self.core.as_ref() }
    }

    pub(crate) fn alloc(&self) -> SalAlloc {
        SalAlloc::of_name(self.core().name())
    }

    pub(super) fn id(&self) -> [u8; 16] {
        self.id
    }

    pub(crate) fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Whether this process is another one than that which opened the heap.
    pub(crate) fn is_forked(&self) -> bool {
        self.process != process::incarnation()
    }

    /// What a higher layer keeps for this heap, made when first asked for.
    pub(crate) fn attachment<T: Attachment>(&self, make: impl FnOnce() -> T) -> Option<&T> {
        self.attachment.get_or_init(|| Box::new(make())).as_any().downcast_ref()
    }

    pub(super) fn session_ended(&self, session: u64) {
        if let Some(attachment) = self.attachment.get() {
            attachment.session_ended(session);
        }
    }

    /// As long as the answer lives, what the thread frees of the heap is kept until the last durable commit does not lead to it any
    /// more, if the heap does so.
    pub(crate) fn withhold(&self) -> Option<Withholding> {
        withheld::withhold(self.alloc())
    }

    /// Makes a range of a hard area usable: disk space or memory is reserved for it.
    pub(crate) fn reserve_area(&self, offset: u64, len: u64) -> bool {
        let core = self.core();
        core.backing.commit(core.base, offset as usize, len as usize).is_ok()
    }

    /// The checks of the layers above.
    pub(super) fn before_sync(&self) -> Result<(), SyncError> {
        self.attachment.get().map_or(Ok(()), |attachment| attachment.before_sync(self))
    }

    /// Closes the heap unless a session is open; none begins any more in either case.
    fn close(&self, unmap: bool) -> Result<(), CloseError> {
        if self.is_forked() {
            return Err(CloseError::Forked);
        }
        // It may have a session of its own.
        self.maintenance.end();
        match self.gate.close() {
            0 => self.shut(unmap),
            count => Err(CloseError::SessionsOpen { count }),
        }
    }

    /// Closes the heap, once.
    pub(super) fn shut(&self, unmap: bool) -> Result<(), CloseError> {
        if self.is_forked() {
            return Err(CloseError::Forked);
        }
        let mut shut = self.shut.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::replace(&mut *shut, true) {
            return Ok(());
        }
        hot_set::forget(self.alloc());
        memory_locks::forget(&(self.core().base..self.core().base + self.core().layout.end() as usize));
        if !self.read_only {
            movable::tidy(&self.core().address_range());
        }
        let checked = if self.read_only { Ok(()) } else { self.before_sync() };
        // Relaxed: read by this thread.
        self.is_unsound.store(checked.is_err(), Ordering::Relaxed);
        lifecycle::shut(self, unmap)?;
        match checked {
            Err(SyncError::ForeignBlock { root, address }) => Err(CloseError::ForeignBlock { root, address }),
            _ => Ok(()),
        }
    }
}

impl Drop for HeapInner {
    fn drop(&mut self) {
        // An error cannot be told to anybody; the file then says itself that it was not closed.
        if let Err(CloseError::Forked) = self.shut(false) {
            windows::withdraw(self.core().window);
            self.maintenance.forget();
        }
        // SAFETY: this value's own hold, given back once.
        unsafe { Core::let_go(self.core.as_ptr()) };
    }
}

impl Heap {
    pub(super) fn from_inner(inner: Arc<HeapInner>) -> Self {
        Self { inner, waits: true }
    }

    /// Opens a heap file with the default options, or creates it.
    ///
    /// Opening takes the same short time whatever the size of the heap: it is mapped where it was before, and nothing
    /// is read but its header.
    ///
    /// # Errors
    /// See [`OpenError`]: above all [`OpenError::Locked`] when the heap is open already, here or elsewhere, and
    /// [`OpenError::Unclean`] when its last user did not close it.
    ///
    /// # Safety
    /// The file's bytes become objects of this program. The caller vouches that
    /// - the file, if it exists, was written only through this crate, and no block of another heap was stored in it by
    ///   ways that [`Write::set_root`] does not check;
    /// - nothing but this heap changes it while it is open: no other program that ignores the lock, no truncation.
    pub unsafe fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        // SAFETY: the caller's promise.
        unsafe { HeapOptions::new().open_or_create(path) }
    }

    /// The handle through which containers take blocks from this heap.
    pub fn alloc(&self) -> SalAlloc {
        self.inner.alloc()
    }

    /// Begins a session that may change roots. Several may be open at once, each with roots of its own. While a sync
    /// captures the heap it waits, unless the calling thread has such a session already.
    ///
    /// # Errors
    /// [`SessionError::ReadOnly`], and [`SessionError::Forked`] in a forked child.
    #[track_caller]
    pub fn write(&self) -> Result<Write<'_>, SessionError> {
        Write::begin(&self.inner, false)
    }

    /// Begins a session that reads roots.
    ///
    /// # Errors
    /// [`SessionError::Forked`] in a forked child.
    pub fn read(&self) -> Result<Read<'_>, SessionError> {
        Read::begin(&self.inner, false)
    }

    /// What the heap promises.
    pub fn mode(&self) -> Mode {
        self.inner.mode
    }

    /// The heap's file, if it has one with a name.
    pub fn path(&self) -> Option<&Path> {
        self.inner.path.as_deref()
    }

    /// A number that no other heap has; a copy of a file shares it.
    pub fn id(&self) -> [u8; 16] {
        self.inner.id
    }

    /// Most bytes that blocks may take.
    pub fn capacity(&self) -> u64 {
        self.inner.core().capacity
    }

    /// The address range that the heap is mapped at.
    pub fn address_range(&self) -> std::ops::Range<usize> {
        let core = self.inner.core();
        core.base..core.base + core.layout.end() as usize
    }

    /// Gives memory that no block uses back to the system, in memory and on the disk; returns how many bytes. What is
    /// given back has to be faulted in again when it is next used. What other threads keep at hand stays theirs: free blocks,
    /// and slabs whose blocks were freed by others.
    ///
    /// Of an atomic heap, what its last commit holds stays, and the log is folded first. It gives nothing back while a recovery runs,
    /// or is broken off and not resumed, nor while another thread syncs or a snapshot is made: this does not wait for them.
    pub fn purge(&self) -> usize {
        if self.inner.read_only || self.inner.is_forked() {
            return 0;
        }
        self.inner.maintenance.forget_ready();
        self.inner.core().forget_ready();
        protect::free_all_withheld(self.inner.core());
        let addresses = self.inner.core().address_range();
        limbo::finish_some(addresses.start);
        self.inner.flush_thread();
        tracts::purge(&addresses);
        match &self.inner.atomic {
            Some(atomic) => {
                self.inner.core().return_all_runs();
                self.inner.core().take_orphans_in();
                atomic.purge(self.inner.core(), 1)
            }
            None => self.inner.core().purge(1),
        }
    }

    /// Waits until the heap, if it was not closed well the last time, has been recovered: until all memory that the stop left
    /// unreachable has been given back. The report says what was done; none if there was nothing to recover, or recovery
    /// is broken off, or was while this waited.
    pub fn wait_for_recovery(&self) -> Option<RecoveryReport> {
        self.atomic().and_then(Atomic::wait_for_recovery)
    }

    /// None in a forked child, where another thread may have had its locks for ever.
    pub(super) fn atomic(&self) -> Option<&Atomic> {
        if self.inner.is_forked() { None } else { self.inner.atomic.as_ref() }
    }

    /// How far a recovery in the background has come, or had come when it was broken off; none if there is none, or it has been
    /// waited for.
    pub fn recovery_progress(&self) -> Option<RecoveryProgress> {
        self.atomic().and_then(Atomic::recovery_progress)
    }

    /// Breaks off a recovery in the background. What it has not found yet stays occupied until the recovery is
    /// [resumed](Heap::resume_recovery), or the heap is opened again. Until then the process keeps what resuming needs: some
    /// bytes for each block there may be, about a hundredth of the heap, and if it had not found yet what is in use, a copy
    /// in memory of each page of before that is written to the heap file.
    pub fn abort_recovery(&self) {
        if let Some(atomic) = self.atomic() {
            atomic.stop_recovery();
        }
    }

    /// Takes up, in the background, a recovery that [`Heap::abort_recovery`] or [`HeapOptions::on_recovery`] has broken off.
    /// If that had found out what is in use, this one goes on giving back the rest; otherwise it begins anew. What the
    /// program has allocated, freed and moved meanwhile does not matter: exactly that is given back which would have been.
    ///
    /// Returns whether a recovery is under way now. None is if there is nothing to resume, or no memory for it; then the next
    /// opening does it.
    ///
    /// ```
    /// use sal::prelude::*;
    ///
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("heap.sal");
    /// // SAFETY: the file was written only through SAL; nothing else changes it while it is open.
    /// let heap = unsafe { Heap::open(&path)? };
    /// # assert!(!heap.resume_recovery()); // it was closed well, or is new
    /// heap.abort_recovery(); // this is a bad moment
    /// // ... and now is a better one:
    /// if heap.resume_recovery() {
    ///     let report = heap.wait_for_recovery();
    ///     println!("{report:?}");
    /// }
    /// # heap.close()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn resume_recovery(&self) -> bool {
        self.atomic().is_some_and(|atomic| atomic.resume_recovery(self.inner.core().window))
    }

    /// Closes the heap: everything is written to the disk, then the file is marked as closed and its lock given back.
    ///
    /// References into the heap that still exist (a leaked box, a vector on the stack) stay readable: if anything was
    /// allocated since it was opened, the pages in use become a private copy, which takes time and memory in proportion to
    /// what the heap holds. [`Heap::close_and_unmap`] does without. A heap that is only read and has shared values
    /// ([`SalRc`](crate::SalRc)) keeps its lock as long as the process lives, so that nobody changes what they lead to.
    ///
    /// # Errors
    /// [`CloseError::SessionsOpen`]; [`CloseError::Forked`]; [`CloseError::Sync`], [`CloseError::Os`], after which the file is
    /// not marked as closed; in a debug or checked build [`CloseError::ForeignBlock`] and [`CloseError::DamagedState`].
    pub fn close(mut self) -> Result<(), CloseError> {
        self.waits = false;
        self.inner.close(false)
    }

    /// Closes the heap and gives its addresses back: the way to open the same file again in the same process.
    ///
    /// # Errors
    /// As for [`Heap::close`].
    ///
    /// # Safety
    /// Nothing that lies in the heap is used afterwards: no reference, no container, no box, not even to drop it.
    pub unsafe fn close_and_unmap(mut self) -> Result<(), CloseError> {
        self.waits = false;
        self.inner.close(true)
    }

    pub(crate) fn inner(&self) -> &Arc<HeapInner> {
        &self.inner
    }
}

impl Drop for Heap {
    fn drop(&mut self) {
        // A session of this very thread cannot be waited for; then the heap is closed when that ends.
        if self.waits && !self.inner.is_forked() && !gate::is_held_by_this_thread() {
            self.inner.gate.close();
            self.inner.gate.wait_until_empty();
            // An error cannot be told to anybody; the file then says itself that it was not closed.
            let _ = self.inner.shut(false);
        }
    }
}

impl fmt::Debug for Heap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Heap")
            .field("path", &self.path())
            .field("mode", &self.mode())
            .field("alloc", &self.alloc())
            .finish()
    }
}

impl fmt::Debug for HeapInner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeapInner").field("path", &self.path).field("mode", &self.mode).finish_non_exhaustive()
    }
}

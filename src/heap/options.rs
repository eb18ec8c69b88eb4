//! How a heap is to be opened.

use super::lifecycle::{self, Existing};
use super::owner::Heap;
use super::recovery::RecoveryProgress;
use super::seal::SealPolicy;
use super::size_classes::SizeClasses;
use super::sync::SYNC_TIMEOUT;
use super::tuning::Tuning;
use super::watermarks::Watermarks;
use crate::alloc::size_class::Ladder;
use crate::error::OpenError;
use std::fmt;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// What a heap promises about its contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mode {
    /// Nothing outlives the process. Memory, or a temporary file without a name.
    Volatile,
    /// A file that is mapped shared. It outlives the process; a `sync` writes it to the disk. A heap that was not closed goes back to
    /// the last sync, if its roots lead to what they own by way of [`SalRc`](crate::SalRc), [`Handle`](crate::Handle) or the
    /// copy-on-write collections; other values are changed in place, so that they may be of different moments, and it is refused
    /// ([`HeapOptions::drop_plain_roots`], [`HeapOptions::accept_unclean`]).
    Shared,
    /// A file that changes by syncs only. Whatever happens between two of them, opening it gives exactly what the last
    /// one made durable. What is written between syncs waits in memory.
    Atomic,
}

impl Mode {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Volatile => "volatile",
            Self::Shared => "shared",
            Self::Atomic => "atomic",
        }
    }
}

/// When the memory that a crash left unreachable is found and given back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Recovery {
    /// On a thread of its own while the heap is used already. Until that is done, such memory stays occupied.
    #[default]
    Background,
    /// Before the heap is opened.
    Eager,
}

/// How the pages are found that were written since the last sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub enum DirtyTracking {
    /// The kernel notes the first write to each page (Linux 6.8.10, where `userfaultfd` is allowed).
    WriteProtect,
    /// All pages that were ever written are compared with what was committed: works everywhere, and costs time in
    /// proportion to all that was written since the heap was opened.
    Compare,
}

/// See [`HeapOptions::on_recovery`].
#[derive(Clone)]
pub(super) struct OnRecovery(pub(super) Arc<Tell>);

type Tell = dyn Fn(&RecoveryProgress) -> ControlFlow<()> + Send + Sync;

impl fmt::Debug for OnRecovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnRecovery(..)")
    }
}

/// Default for [`HeapOptions::fold_at`].
const FOLD_AT: u64 = 64 << 20;

/// Default for [`HeapOptions::log_limit`].
const LOG_LIMIT: u64 = 4 << 30;

/// Default for [`HeapOptions::capacity`]: 60 GiB, which fits in one window.
const CAPACITY: u64 = 60 << 30;

/// How a heap is to be opened or created.
///
/// ```
/// use sal::{HeapOptions, Mode};
///
/// let heap = HeapOptions::new().capacity(1 << 30).volatile()?;
/// assert_eq!(heap.mode(), Mode::Volatile);
/// assert_eq!(heap.capacity(), 1 << 30);
/// # Ok::<(), sal::OpenError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct HeapOptions {
    pub(super) capacity: Option<u64>,
    pub(super) size_classes: SizeClasses,
    pub(super) mode: Option<Mode>,
    pub(super) seal_policy: Option<SealPolicy>,
    pub(super) recovery: Recovery,
    pub(super) on_recovery: Option<OnRecovery>,
    pub(super) tracking: Option<DirtyTracking>,
    pub(super) fold_at: u64,
    pub(super) log_limit: u64,
    pub(super) discard: bool,
    pub(super) accept_unclean: bool,
    pub(super) drop_plain_roots: bool,
    pub(super) huge_pages: bool,
    pub(super) temporary: Option<PathBuf>,
    pub(super) read_only: bool,
    /// Whether it may lie elsewhere if its addresses are taken; only one that is read.
    pub(super) relocates: bool,
    pub(super) permissions: u32,
    pub(super) scrub_freed: bool,
    pub(super) sync_timeout: Duration,
    pub(super) tuning: Tuning,
    pub(super) watermarks: Watermarks,
    /// Bytes by which the commit log grows, at least.
    #[cfg(any(test, feature = "testing"))]
    pub(super) log_step: Option<u64>,
}

impl Default for HeapOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl HeapOptions {
    /// A [`Mode::Atomic`] heap of up to 60 GiB, readable and writable by its owner only.
    pub const fn new() -> Self {
        Self {
            capacity: None,
            size_classes: SizeClasses::of(Ladder::Usual),
            mode: None,
            seal_policy: None,
            recovery: Recovery::Background,
            on_recovery: None,
            tracking: None,
            fold_at: FOLD_AT,
            log_limit: LOG_LIMIT,
            discard: false,
            accept_unclean: false,
            drop_plain_roots: false,
            huge_pages: true,
            temporary: None,
            read_only: false,
            relocates: false,
            permissions: 0o600,
            scrub_freed: false,
            sync_timeout: SYNC_TIMEOUT,
            tuning: Tuning::new(),
            watermarks: Watermarks::NONE,
            #[cfg(any(test, feature = "testing"))]
            log_step: None,
        }
    }

    /// The commit log grows by no less than this and no more than twice as much: so that small ones go round.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) const fn log_step(mut self, bytes: u64) -> Self {
        self.log_step = Some(bytes);
        self
    }

    /// Most bytes that blocks may take, in units of 32 KiB; past it allocations fail.
    ///
    /// When a heap is created, its file is laid out for this capacity or for 60 GiB, whichever is more, as a sparse
    /// file: capacity that is not used takes no disk space. The file remembers the limit. When it is opened with this
    /// option, the new limit replaces the old one, and must lie between what is in use and what the file was laid out
    /// for; without it the old one stays.
    pub const fn capacity(mut self, bytes: u64) -> Self {
        self.capacity = Some(bytes);
        self
    }

    /// The sizes of the blocks of a heap that is made; [`SizeClasses::default`] unless said otherwise.
    ///
    /// A file that exists is opened with its own sizes, whatever the options say. Versions of this crate that do not know other
    /// sizes than the default refuse it with [`OpenError::UnknownFeatures`].
    ///
    /// ```
    /// use sal::{HeapOptions, SizeClasses};
    /// use std::alloc::Layout;
    ///
    /// let heap = HeapOptions::new().size_classes(SizeClasses::fine()).volatile()?;
    /// assert_eq!(heap.alloc().usable_size(Layout::new::<[u8; 600]>()), 608);
    /// # Ok::<(), sal::OpenError>(())
    /// ```
    pub const fn size_classes(mut self, classes: SizeClasses) -> Self {
        self.size_classes = classes;
        self
    }

    /// What the heap promises: of a file that is created, [`Mode::Atomic`] unless said otherwise. A file keeps its mode;
    /// opening it with another one fails.
    pub const fn mode(mut self, mode: Mode) -> Self {
        self.mode = Some(mode);
        self
    }

    /// Whether a sync makes copy-on-write values unchangeable; what the mode asks for unless said otherwise. It holds for this
    /// opening, not for the file.
    pub const fn seal_policy(mut self, policy: SealPolicy) -> Self {
        self.seal_policy = Some(policy);
        self
    }

    /// When memory that a crash left unreachable is given back; on a thread of its own unless said otherwise.
    pub const fn recovery(mut self, recovery: Recovery) -> Self {
        self.recovery = recovery;
        self
    }

    /// Is told from time to time how far an eager recovery has come, and can break it off: then what was not found yet
    /// stays occupied until [`Heap::resume_recovery`](crate::Heap::resume_recovery), or the next opening.
    pub fn on_recovery(mut self, tell: impl Fn(&RecoveryProgress) -> ControlFlow<()> + Send + Sync + 'static) -> Self {
        self.on_recovery = Some(OnRecovery(Arc::new(tell)));
        self
    }

    /// How an atomic heap finds the pages that were written; the best way that works here unless said otherwise.
    pub const fn dirty_tracking(mut self, tracking: DirtyTracking) -> Self {
        self.tracking = Some(tracking);
        self
    }

    /// Bytes of the commit log from which on it is folded into the heap file; 64 MiB unless said otherwise. A larger log
    /// writes a page that changes often less often, and takes longer to replay after a crash.
    pub const fn fold_at(mut self, bytes: u64) -> Self {
        self.fold_at = bytes;
        self
    }

    /// Bytes that the commit log may have while a snapshot, a scrub or a recovery in the background keeps it from being
    /// folded; 4 GiB unless said otherwise, [`u64::MAX`] for as much as there is room for. At this limit a sync waits for
    /// that to end, and gives up with [`SyncError::LogFull`](crate::SyncError::LogFull) when
    /// [`HeapOptions::sync_timeout`] has passed. The last commit before may be the one that exceeds it.
    pub const fn log_limit(mut self, bytes: u64) -> Self {
        self.log_limit = bytes;
        self
    }

    /// Whether closing an atomic heap, or dropping it, drops what no sync has committed; it commits that by default. So the
    /// next opening finds the last sync, as it would after a crash.
    pub const fn discard(mut self, discard: bool) -> Self {
        self.discard = discard;
        self
    }

    /// Opens a shared heap that was not closed without those of its roots that are not copy-on-write, instead of refusing it with
    /// [`OpenError::PlainRoots`]. The others are as of the last sync in any case.
    ///
    /// A root is copy-on-write if the blocks that its value owns are reached by way of [`SalRc`](crate::SalRc),
    /// [`Handle`](crate::Handle) or the copy-on-write collections only; what lies behind those may be anything. If there are
    /// handles anywhere, all types must be known to the last part: with an enum whose layout the compiler chose, a leaf of a type of its own or a
    /// [`Pool`](crate::Pool) it is none.
    pub const fn drop_plain_roots(mut self, drop: bool) -> Self {
        self.drop_plain_roots = drop;
        self
    }

    /// Opens a shared heap although it was not closed when its last user stopped: its memory as the kernel still has it, or
    /// as far as it had reached the disk.
    ///
    /// # Safety
    /// Objects may be half written. The caller vouches that whatever it reaches is whole: because the last user was stopped
    /// when it did not write, for instance, and the machine went on.
    pub const unsafe fn accept_unclean(mut self) -> Self {
        self.accept_unclean = true;
        self
    }

    /// Whether a volatile or atomic heap asks the kernel for huge pages; it does by default. They make first use of memory
    /// ten times cheaper and use more of it. In a temporary file it is the page cache that gets them, and writes them out
    /// whole; a shared heap never asks for any, because each of its syncs would.
    pub const fn huge_pages(mut self, wanted: bool) -> Self {
        self.huge_pages = wanted;
        self
    }

    /// A volatile heap lies in a file without a name in this directory, instead of in memory, so that the kernel can
    /// page it out without swap space.
    pub fn temporary_in(mut self, directory: impl Into<PathBuf>) -> Self {
        self.temporary = Some(directory.into());
        self
    }

    /// Opens for reading only: several processes may do so at once, none of them changes a byte.
    /// [`HeapOptions::open_relocated`] does that also where the heap's addresses are taken.
    pub const fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// The permissions of a file that is created: 0600 unless said otherwise. A heap file is a picture of the
    /// program's memory; whoever may read it sees everything in it, freed blocks included.
    pub const fn permissions(mut self, permissions: u32) -> Self {
        self.permissions = permissions;
        self
    }

    /// Whether blocks are overwritten with zeros when they are freed, so that the file does not keep what the program
    /// has dropped. It does not by default.
    pub const fn scrub_freed(mut self, scrub: bool) -> Self {
        self.scrub_freed = scrub;
        self
    }

    /// How long a sync waits for write sessions to end before it gives up with
    /// [`SyncError::GateTimeout`](crate::SyncError::GateTimeout): ten seconds unless said otherwise. Sessions that want to
    /// begin wait meanwhile. [`Duration::MAX`] stands for as long as it takes.
    pub const fn sync_timeout(mut self, limit: Duration) -> Self {
        self.sync_timeout = limit;
        self
    }

    /// How the heap deals with free memory, and how much it may take. [`SalAlloc::tune`](crate::SalAlloc::tune) changes that
    /// while it is used.
    pub const fn tuning(mut self, tuning: Tuning) -> Self {
        self.tuning = tuning;
        self
    }

    /// Makes a heap that ends with the process.
    ///
    /// Closing it keeps the blocks that are still in use readable, and their memory with them;
    /// [`Heap::close_and_unmap`] gives all of it back.
    ///
    /// # Errors
    /// [`OpenError::ZeroCapacity`], [`OpenError::CapacityTooLarge`], [`OpenError::InvalidOptions`] for a read-only heap,
    /// and [`OpenError::Os`] when address space or the temporary file cannot be had.
    pub fn volatile(&self) -> Result<Heap, OpenError> {
        lifecycle::volatile(self)
    }

    /// Creates a heap file; there must be none.
    ///
    /// # Errors
    /// As [`HeapOptions::open_or_create`], and [`OpenError::Os`] with `AlreadyExists`.
    ///
    /// # Safety
    /// As for [`Heap::open`].
    pub unsafe fn create(&self, path: impl AsRef<Path>) -> Result<Heap, OpenError> {
        // SAFETY: the caller's promise.
        unsafe { lifecycle::open(path.as_ref(), self, Existing::Refuse) }
    }

    /// Opens a heap file, which must exist.
    ///
    /// # Errors
    /// As [`HeapOptions::open_or_create`], and [`OpenError::Os`] with `NotFound`.
    ///
    /// # Safety
    /// As for [`Heap::open`].
    pub unsafe fn open(&self, path: impl AsRef<Path>) -> Result<Heap, OpenError> {
        // SAFETY: the caller's promise.
        unsafe { lifecycle::open(path.as_ref(), self, Existing::Require) }
    }

    /// Opens a heap file, or creates it if there is none.
    ///
    /// # Errors
    /// All of [`OpenError`] but [`OpenError::InvalidOptions`], which only contradictory options give.
    ///
    /// # Safety
    /// As for [`Heap::open`].
    pub unsafe fn open_or_create(&self, path: impl AsRef<Path>) -> Result<Heap, OpenError> {
        // SAFETY: the caller's promise.
        unsafe { lifecycle::open(path.as_ref(), self, Existing::Accept) }
    }

    /// Bytes that a new heap may use.
    pub(super) fn capacity_or_default(&self) -> u64 {
        self.capacity.unwrap_or(CAPACITY)
    }

    /// Bytes that a new file is laid out for.
    pub(super) fn laid_out_capacity(&self) -> u64 {
        self.capacity_or_default().max(CAPACITY)
    }
}

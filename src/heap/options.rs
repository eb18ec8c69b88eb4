//! How a heap is to be opened.

use super::lifecycle::{self, Existing};
use super::owner::Heap;
use super::sync::SYNC_TIMEOUT;
use crate::error::OpenError;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What a heap promises about its contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mode {
    /// Nothing outlives the process. Memory, or a temporary file without a name.
    Volatile,
    /// A file that is mapped shared. It outlives the process; a `sync` writes it to the disk, but a power cut
    /// between or during syncs may leave any mixture of old and new pages. A heap that was not closed is refused.
    Shared,
}

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
    pub(super) mode: Mode,
    pub(super) huge_pages: bool,
    pub(super) temporary: Option<PathBuf>,
    pub(super) read_only: bool,
    pub(super) permissions: u32,
    pub(super) scrub_freed: bool,
    pub(super) sync_timeout: Duration,
}

impl Default for HeapOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl HeapOptions {
    /// A [`Mode::Shared`] heap of up to 60 GiB, readable and writable by its owner only.
    pub const fn new() -> Self {
        Self {
            capacity: None,
            mode: Mode::Shared,
            huge_pages: true,
            temporary: None,
            read_only: false,
            permissions: 0o600,
            scrub_freed: false,
            sync_timeout: SYNC_TIMEOUT,
        }
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

    /// What the heap promises; for [`HeapOptions::create`], [`HeapOptions::open`] and
    /// [`HeapOptions::open_or_create`] only [`Mode::Shared`] makes sense.
    pub const fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// Whether a volatile heap in memory asks the kernel for huge pages; it does by default. They make first use of
    /// memory ten times cheaper and use more of it.
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

//! Heaps that are opened at other addresses than their own, to be read.
//!
//! What a heap file holds are addresses of one place. If that is taken, a copy of the file can be read all the same: it is mapped
//! privately at another place, the pointers that its roots lead to are rewritten there ([`crate::gc::relocate`]), and from
//! then on it is a heap that is only read. The header in memory names the place where it lies; the one in the file is not touched,
//! nor anything else of the file.
//!
//! # Invariants
//! - **V1** Of a heap that was moved, a root is handed out only if [`Moved`] says that all it leads to was rewritten.
//!
//! # What survives a crash
//! Nothing of it: the file is as it was.

use super::lifecycle;
use super::options::HeapOptions;
use super::owner::{Heap, HeapInner};
use crate::alloc::heap_core::Core;
use crate::alloc::windows;
use crate::error::OpenError;
use crate::format::WINDOW;
use crate::format::root_entry::RootEntry;
use crate::gc::image::Image;
use crate::gc::live::free_blocks;
use crate::gc::relocate::{Journey, Moved, Unmoved, relocate};
use crate::gc::runs::Runs;
use std::path::Path;
use std::ptr::NonNull;

/// Rewrites the pointers of a heap whose addresses begin at window `home`, unless that is where it lies.
///
/// # Safety
/// The heap was just mapped, privately and to be written to, and nobody else knows of it.
pub(super) unsafe fn move_pointers(core: NonNull<Core>, home: u32) -> Result<Option<Moved>, OpenError> {
    // SAFETY: the caller's promise.
    let core = unsafe { core.as_ref() };
    if core.window == home {
        return Ok(None);
    }
    let units = core.committed_units();
    let start = std::ptr::with_exposed_provenance(core.base);
    let journey = Journey {
        distance: (core.base as u64).wrapping_sub(u64::from(home) * WINDOW as u64),
        names: [windows::name_of(home, core.ladder), core.name()],
    };
    // SAFETY: the heap is mapped, its first units at least, and nobody else is there.
    unsafe {
        let runs = Runs::of(core, units)?;
        let free = free_blocks(core, &runs)?;
        let image = Image::new(start, home, core.layout, units);
        Ok(Some(relocate(image, &runs, &free, journey)?))
    }
}

impl HeapInner {
    /// Whether the heap lies elsewhere than where it belongs.
    pub(super) fn is_relocated(&self) -> bool {
        self.moved.is_some()
    }

    /// Whether a root may be handed out, or why not: which part of it could not be moved.
    pub(crate) fn check_moved(&self, entry: &RootEntry) -> Result<(), &'static str> {
        let Some(moved) = &self.moved else { return Ok(()) };
        moved.check(entry).map_err(|why| match why {
            Unmoved::Type => "its type is not known to the last part, or has a pool in it",
            Unmoved::Hidden => "an enum whose layout the compiler chose may hold pointers",
            Unmoved::Opaque => "a leaf of a type of its own holds an address",
            Unmoved::Contents => "it leads to something that cannot be",
        })
    }
}

impl HeapOptions {
    /// Opens a heap file for reading, at other addresses if its own are taken; see [`Heap::open_relocated`].
    ///
    /// # Errors
    /// As for [`Heap::open_relocated`].
    ///
    /// # Safety
    /// As for [`Heap::open`].
    pub unsafe fn open_relocated(&self, path: impl AsRef<Path>) -> Result<Heap, OpenError> {
        let options = Self { read_only: true, relocates: true, ..self.clone() };
        // SAFETY: the caller's promise.
        unsafe { lifecycle::open(path.as_ref(), &options, lifecycle::Existing::Require) }
    }
}

impl Heap {
    /// Opens a heap file for reading, also if the addresses at which it belongs are taken in this process: by the original of
    /// which it is a copy, for instance. No byte of the file or of its log changes, and several processes may have it open so.
    ///
    /// If the heap's own addresses are free this is what [`HeapOptions::read_only`] does, and takes as little time. Otherwise it
    /// is mapped elsewhere, and every pointer that its roots lead to is rewritten for that place, in memory of this process. That
    /// takes time for all that is reached, some 150 to 400 ns for each object, and memory for each page that has such a pointer,
    /// beside four bytes for each object while it lasts; a damaged file is looked through several times. Then
    /// [`Read::root`](crate::Read::root) gives references as always: to collections, to shared values, which can be cloned and
    /// dropped, to versions. How many pointers share a value is not counted.
    ///
    /// A root that could not be moved as a whole is refused with [`RootError::NotMoved`](crate::RootError::NotMoved) when it is
    /// asked for, and the others are handed out. That is so if it has a [`Pool`](crate::Pool) or a [`Gc`](crate::Gc) in it, if its type is not
    /// known to the last part
    /// ([`Trace::is_known`](crate::Trace::is_known)); if there is a value in it that may hold pointers in places of the
    /// compiler's choice: an enum with `#[persist(same_build)]` and no `repr`; if a [leaf](crate::persist::Node::Leaf) with an id
    /// of one's own holds an address; and if it leads to something that cannot be, because the file is damaged. What an
    /// [`Offset`](crate::Offset) says is right at any place.
    ///
    /// ```
    /// use sal::prelude::*;
    ///
    /// const WORDS: Root<SalHashMap<SalString, SalVec<u64>>> = Root::new("words");
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("words.sal");
    /// # let backup = directory.path().join("backup.sal");
    /// // SAFETY: the files were written only through SAL; nothing else changes them while they are open.
    /// let heap = unsafe { Heap::open(&path)? };
    /// heap.set_root(WORDS, SalHashMap::new())?;
    /// heap.with_root_mut(WORDS, |words| words.entry_ref("sal").or_default().push(1))?;
    /// heap.sync()?;
    /// heap.snapshot_to(&backup)?;
    /// heap.with_root_mut(WORDS, |words| words.entry_ref("sal").or_default().push(2))?;
    ///
    /// // The copy believes to be where the original is.
    /// // SAFETY: as above.
    /// let old = unsafe { Heap::open_relocated(&backup)? };
    /// assert!(old.is_relocated());
    /// let (now, then) = (heap.read()?, old.read()?);
    /// assert_eq!(now.root(WORDS)?["sal"].as_slice(), [1, 2]);
    /// assert_eq!(then.root(WORDS)?["sal"].as_slice(), [1]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As for [`HeapOptions::open`] of a heap that is [only read](HeapOptions::read_only); [`OpenError::AddressTaken`] only if there
    /// is no other place for it either.
    ///
    /// # Safety
    /// As for [`Heap::open`].
    pub unsafe fn open_relocated(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        // SAFETY: the caller's promise.
        unsafe { HeapOptions::new().open_relocated(path) }
    }

    /// Whether the heap lies at other addresses than those it was made for; only if it was opened by [`Heap::open_relocated`].
    pub fn is_relocated(&self) -> bool {
        self.inner().is_relocated()
    }
}

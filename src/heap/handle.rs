//! The handle through which blocks of a heap are taken.

use super::owner::HeapInner;
use crate::alloc::heap_core::{Core, state};
use crate::alloc::size_class::Ladder;
use crate::alloc::windows::{self, FINE};
use core::fmt;
use core::sync::atomic::Ordering;

/// A heap's name, four bytes long: it stays valid inside a heap file, because a heap is always mapped at the same place, or the
/// names in it are [rewritten](crate::Heap::open_relocated).
///
/// [`SalAlloc::new`] names the process's default heap, in memory; [`SalAlloc::file_backed`] one over an unlinked
/// temporary file, which the kernel pages to without swap. Both are made when first used and live as long as the
/// process. Every other handle comes from [`Heap::alloc`](crate::Heap::alloc).
///
/// There is no `Default`: a container that made its own handle would put blocks of one heap into another.
///
/// ```
/// use allocator_api2::vec::Vec;
/// use sal::SalAlloc;
///
/// #[global_allocator]
/// static GLOBAL: SalAlloc = SalAlloc::new();
///
/// let mut numbers = Vec::new_in(SalAlloc::new());
/// numbers.extend(0..1000_u64);
/// assert_eq!(numbers.iter().sum::<u64>(), 499_500);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct SalAlloc {
    /// The number of a default heap, or a heap's name: see [`windows::name_of`].
    name: u32,
}

const _: () = assert!(size_of::<SalAlloc>() == 4);

/// Numbers below the first window's stand for the default heaps.
const ANONYMOUS: u32 = 0;
const FILE_BACKED: u32 = 1;

/// What a handle names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Default(crate::alloc::current::Default),
    /// A heap at a window, by its name.
    Window(u32),
}

impl SalAlloc {
    /// The process's default heap.
    #[inline]
    #[expect(clippy::new_without_default, reason = "a container that made its own handle would mix heaps")]
    pub const fn new() -> Self {
        Self { name: ANONYMOUS }
    }

    /// The process's default heap over a temporary file.
    ///
    /// The file has no name. It lies in the directory that `SAL_TMPDIR` names, else `TMPDIR`, else `/var/tmp`, else
    /// `/tmp`; with `SAL_FILE` it is created under that very name, which must be free, and the name is removed at once.
    /// Programs that run with raised privileges ignore these variables. After a `fork` the child gets a private copy, for which the parent waits.
    #[inline]
    pub const fn file_backed() -> Self {
        Self { name: FILE_BACKED }
    }

    /// A default heap.
    #[cfg(feature = "preload")]
    pub(crate) const fn of_default(which: crate::alloc::current::Default) -> Self {
        match which {
            crate::alloc::current::Default::Anonymous => Self::new(),
            crate::alloc::current::Default::File => Self::file_backed(),
        }
    }

    /// The heap at a window that has that name.
    pub(crate) const fn of_name(name: u32) -> Self {
        Self { name }
    }

    /// The ladder of the heap, which the handle itself says: so a class is known before the heap is looked at.
    #[inline(always)]
    pub(crate) const fn ladder(self) -> Ladder {
        if self.name & FINE == 0 { Ladder::Usual } else { Ladder::Fine }
    }

    #[inline(always)]
    pub(crate) const fn place(self) -> Place {
        use crate::alloc::current::Default;
        // One comparison for the compiler, not two: which default heap it is then is the number itself.
        if self.name > FILE_BACKED {
            Place::Window(self.name)
        } else if self.name == ANONYMOUS {
            Place::Default(Default::Anonymous)
        } else {
            Place::Default(Default::File)
        }
    }

    /// The addresses of the heap; none if it is not open, or not made yet.
    pub(crate) fn address_range(self) -> Option<core::ops::Range<usize>> {
        super::allocate::with_core(self.place(), Core::address_range).or_else(|| {
            // In one that is only read nobody is let in who would allocate.
            let heap = HeapInner::find(self).ok()?;
            // Relaxed: it is only asked, and the heap is kept.
            let is_open = heap.core().state.load(Ordering::Relaxed) == state::READ_ONLY;
            is_open.then(|| heap.core().address_range())
        })
    }

    /// Whether what is freed in the heap is overwritten.
    pub(crate) fn scrubs_freed(self) -> bool {
        match self.place() {
            // Default heaps have no options.
            Place::Default(_) => false,
            // Relaxed: set before the heap was published.
            place => super::allocate::with_core(place, |core| core.scrub_freed.load(Ordering::Relaxed)) == Some(true),
        }
    }

    /// The heap that `address` belongs to, open or closed, if it is one of this process's.
    ///
    /// ```
    /// use sal::SalAlloc;
    /// let heap = SalAlloc::new();
    /// let boxed = allocator_api2::boxed::Box::new_in(7, heap);
    /// assert_eq!(SalAlloc::of_address((&raw const *boxed).addr()), Some(heap));
    /// assert_eq!(SalAlloc::of_address(&raw const heap as usize), None); // on the stack
    /// ```
    #[inline]
    pub fn of_address(address: usize) -> Option<Self> {
        let name = windows::heap_name_of(address)?;
        // Default heaps have the usual ladder.
        Some(match super::defaults::which(name) {
            Some(crate::alloc::current::Default::Anonymous) => Self::new(),
            Some(crate::alloc::current::Default::File) => Self::file_backed(),
            None => Self::of_name(name),
        })
    }
}

impl fmt::Debug for SalAlloc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name {
            ANONYMOUS => f.write_str("SalAlloc(default)"),
            FILE_BACKED => f.write_str("SalAlloc(file-backed default)"),
            name => write!(f, "SalAlloc(window {})", windows::window_of(name)),
        }
    }
}

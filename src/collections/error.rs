//! Why a collection could not get the memory it needed.

use core::{error, fmt};
use std::alloc::{Layout, handle_alloc_error};
use std::io;

/// Why a collection could not grow or shrink.
///
/// The collection is as it was before the call.
///
/// ```
/// use sal::collections::{SalVec, TryReserveError};
///
/// let mut numbers: SalVec<u64> = SalVec::new();
/// assert_eq!(numbers.try_reserve(usize::MAX), Err(TryReserveError::CapacityOverflow));
/// assert!(numbers.is_empty());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TryReserveError {
    /// The capacity asked for is more than `isize::MAX` bytes.
    CapacityOverflow,
    /// The heap could not serve the block: its disk is full, its window is, or it was closed.
    AllocError {
        /// The block that was asked for.
        layout: Layout,
    },
    /// The collection lies in one heap and its block in another. Growing it would tie the two files
    /// together for good, so it is refused; clone the contents into a collection of the right heap.
    ForeignHeap,
}

impl TryReserveError {
    /// What the methods without `try_` do with the error: memory goes to [`handle_alloc_error`], the rest
    /// is a panic that says why.
    #[cold]
    #[inline(never)]
    #[track_caller]
    pub(crate) fn raise(self) -> ! {
        match self {
            Self::AllocError { layout } => handle_alloc_error(layout),
            Self::CapacityOverflow | Self::ForeignHeap => panic!("{self}"),
        }
    }
}

impl fmt::Display for TryReserveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CapacityOverflow => f.write_str("the capacity is more than isize::MAX bytes"),
            Self::AllocError { layout } => {
                write!(f, "the heap could not serve a block of {} bytes", layout.size())
            }
            Self::ForeignHeap => f.write_str("the collection lies in one heap and its block in another"),
        }
    }
}

impl error::Error for TryReserveError {}

impl From<TryReserveError> for io::Error {
    /// The kind is [`OutOfMemory`](io::ErrorKind::OutOfMemory), except for
    /// [`ForeignHeap`](TryReserveError::ForeignHeap), which no amount of memory would help.
    fn from(error: TryReserveError) -> Self {
        let kind = match error {
            TryReserveError::ForeignHeap => io::ErrorKind::InvalidInput,
            _ => io::ErrorKind::OutOfMemory,
        };
        Self::new(kind, error)
    }
}

/// That a heap could not serve the block of a node.
#[cold]
pub(crate) fn no_room_for<N>() -> TryReserveError {
    TryReserveError::AllocError { layout: Layout::new::<N>() }
}

/// The value, or what [`TryReserveError::raise`] does.
#[inline]
#[track_caller]
pub(crate) fn or_raise<V>(result: Result<V, TryReserveError>) -> V {
    match result {
        Ok(value) => value,
        Err(error) => error.raise(),
    }
}

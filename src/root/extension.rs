//! Roots through a handle.

use super::access::RootInfo;
use super::key::{Root, RootId, Tag};
use crate::error::RootError;
use crate::heap::{Heap, HeapInner, Read, SalAlloc, Write};
use crate::persist::Persist;

/// Roots of the heap that a handle names, one short session for each call.
///
/// Code that has a handle but not the [`Heap`] works through this; whoever has the heap has more freedom with
/// [`Heap::write`] and [`Heap::read`].
///
/// ```
/// use sal::prelude::*;
/// use sal::HeapOptions;
///
/// const LIMIT: Root<u64> = Root::new("limit");
/// let heap = HeapOptions::new().volatile()?;
/// let handle = heap.alloc();
/// handle.set_root(LIMIT, 7)?;
/// handle.with_root_mut(LIMIT, |limit| *limit += 1)?;
/// assert_eq!(handle.with_root(LIMIT, |limit| *limit)?, 8);
/// assert_eq!(handle.take_root(LIMIT)?, 8);
/// # Ok::<(), sal::Error>(())
/// ```
pub trait SalRoots {
    /// Runs `work` in a writing session.
    ///
    /// # Errors
    /// [`RootError::Session`], and what `work` returns.
    #[track_caller]
    fn with_session<R>(&self, work: impl FnOnce(&Write<'_>) -> Result<R, RootError>) -> Result<R, RootError>;

    /// Runs `work` on the value of a root; see [`Read::root`](crate::Read::root) for the errors.
    fn with_root<T: Persist, R>(&self, key: Root<T>, work: impl FnOnce(&T) -> R) -> Result<R, RootError>;

    /// All roots; see [`Read::roots`](crate::Read::roots).
    fn roots(&self) -> Result<Vec<RootInfo>, RootError>;

    /// Runs `work` on the value of a root, which it may change; see [`Write::root_mut`](crate::Write::root_mut).
    #[track_caller]
    fn with_root_mut<T: Persist, R>(&self, key: Root<T>, work: impl FnOnce(&mut T) -> R) -> Result<R, RootError> {
        self.with_session(|tx| Ok(work(tx.root_mut(key)?)))
    }

    /// Gives a root a value; see [`Write::set_root`](crate::Write::set_root).
    #[track_caller]
    fn set_root<T: Persist>(&self, key: Root<T>, value: T) -> Result<Option<T>, RootError> {
        self.with_session(|tx| tx.set_root(key, value))
    }

    /// Makes a further root with the same tag; see [`Write::add_root`](crate::Write::add_root).
    #[track_caller]
    fn add_root<T: Persist>(&self, key: Root<T>, value: T) -> Result<RootId, RootError> {
        self.with_session(|tx| tx.add_root(key, value))
    }

    /// Removes a root and returns its value; see [`Write::take_root`](crate::Write::take_root).
    #[track_caller]
    fn take_root<T: Persist>(&self, key: Root<T>) -> Result<T, RootError> {
        self.with_session(|tx| tx.take_root(key))
    }

    /// Removes a root whatever its type; see [`Write::forget_root`](crate::Write::forget_root).
    #[track_caller]
    fn forget_root(&self, tag: Tag) -> Result<(), RootError> {
        self.with_session(|tx| tx.forget_root(tag))
    }
}

impl SalRoots for SalAlloc {
    #[track_caller]
    fn with_session<R>(&self, work: impl FnOnce(&Write<'_>) -> Result<R, RootError>) -> Result<R, RootError> {
        let heap = HeapInner::find(*self)?;
        let tx = Write::begin(&heap, true)?;
        work(&tx)
    }

    fn with_root<T: Persist, R>(&self, key: Root<T>, work: impl FnOnce(&T) -> R) -> Result<R, RootError> {
        let heap = HeapInner::find(*self)?;
        let session = Read::begin(&heap, true)?;
        Ok(work(session.root(key)?))
    }

    fn roots(&self) -> Result<Vec<RootInfo>, RootError> {
        let heap = HeapInner::find(*self)?;
        Read::begin(&heap, true)?.roots()
    }
}

impl SalRoots for Heap {
    #[track_caller]
    fn with_session<R>(&self, work: impl FnOnce(&Write<'_>) -> Result<R, RootError>) -> Result<R, RootError> {
        self.alloc().with_session(work)
    }

    fn with_root<T: Persist, R>(&self, key: Root<T>, work: impl FnOnce(&T) -> R) -> Result<R, RootError> {
        self.alloc().with_root(key, work)
    }

    fn roots(&self) -> Result<Vec<RootInfo>, RootError> {
        self.alloc().roots()
    }
}

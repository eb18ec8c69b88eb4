//! Versions: values of roots that are kept under names of their own.
//!
//! A version is a root as well, with the tag and the name of the version in its name, and a clone of the value. With a value
//! whose clone shares what it leads to ([`SalRc`](crate::SalRc), the copy-on-write collections) keeping one takes the same time
//! however large the value is: what both lead to is copied when one of them is changed, and only as far as it is. So a
//! version costs what differs from the next one.
//!
//! What a root leads to was checked when it became one ([`RootError::ForeignBlock`]). Of a clone what it shares with the root is not
//! looked at again.

use super::access::{Inserted, RootInfo};
use super::extension::SalRoots;
use super::key::{Root, Tag};
use crate::error::RootError;
use crate::heap::placement::HeapScope;
use crate::heap::{Heap, Read, SalAlloc, Write};
use crate::persist::Persist;

/// What stands between a root's tag and the name of a version: no name that a person would write has it.
const SEPARATOR: &str = "\u{1F}version\u{1F}";

fn prefix(tag: &Tag) -> String {
    match tag {
        Tag::Name(name) => format!("{name}{SEPARATOR}"),
        other => format!("{SEPARATOR}{other}{SEPARATOR}"),
    }
}

fn version_of<T>(key: &Root<T>, name: &str) -> Root<T> {
    Root::named(format!("{}{name}", prefix(key.tag())))
}

fn names_of<T>(key: &Root<T>, roots: Vec<RootInfo>) -> Vec<String> {
    let prefix = prefix(key.tag());
    let name = |root: RootInfo| match root.tag {
        Tag::Name(name) => name.strip_prefix(&prefix).map(str::to_owned),
        _ => None,
    };
    roots.into_iter().filter_map(name).collect()
}

impl Read<'_> {
    /// The names of a root's versions, the oldest first. The root itself need not be there any more.
    ///
    /// # Errors
    /// As for [`Read::roots`].
    pub fn versions<T: Persist>(&self, key: Root<T>) -> Result<Vec<String>, RootError> {
        Ok(names_of(&key, self.roots()?))
    }

    /// A version of a root, as it was when it was kept. Other sessions may change the root meanwhile.
    ///
    /// # Errors
    /// As for [`Read::root`].
    pub fn version<T: Persist>(&self, key: Root<T>, name: &str) -> Result<&T, RootError> {
        self.root(version_of(&key, name))
    }
}

impl Write<'_> {
    /// Keeps a clone of a root's value under a name, in place of what was kept under it before.
    ///
    /// # Errors
    /// As for [`Write::root`], and [`RootError::OutOfMemory`], [`RootError::DirectoryFull`], [`RootError::NameTooLong`].
    pub fn keep_version<T: Persist + Clone>(&self, key: Root<T>, name: &str) -> Result<(), RootError> {
        let value = self.clone_of(&key)?;
        self.check_own_blocks(key.tag(), &value)?;
        self.replace(&version_of(&key, name), value)
    }

    /// Makes a clone of a version the root's value, also of a root that is not there any more. The version stays.
    ///
    /// # Errors
    /// [`RootError::NotFound`] if there is no such version; otherwise as for [`Write::keep_version`].
    pub fn roll_back<T: Persist + Clone>(&self, key: Root<T>, name: &str) -> Result<(), RootError> {
        let value = self.clone_of(&version_of(&key, name))?;
        self.check_own_blocks(key.tag(), &value)?;
        self.replace(&key, value)
    }

    /// Drops a version, and with it what nothing else leads to.
    ///
    /// # Errors
    /// As for [`Write::take_root`].
    pub fn drop_version<T: Persist>(&self, key: Root<T>, name: &str) -> Result<(), RootError> {
        self.take_root(version_of(&key, name)).map(drop)
    }

    /// The names of a root's versions, the oldest first.
    ///
    /// # Errors
    /// As for [`Write::roots`].
    pub fn versions<T: Persist>(&self, key: Root<T>) -> Result<Vec<String>, RootError> {
        Ok(names_of(&key, self.roots()?))
    }

    /// A clone of a root's value, in this heap.
    fn clone_of<T: Persist + Clone>(&self, key: &Root<T>) -> Result<T, RootError> {
        self.with_shared(key, |value| {
            let _scope = HeapScope::enter(self.alloc());
            value.clone()
        })
    }

    /// Gives a root a value that was a root's value, or makes it.
    fn replace<T: Persist>(&self, key: &Root<T>, mut value: T) -> Result<(), RootError> {
        loop {
            let mut new = Some(value);
            let old = self.with_taken(key, |old| new.take().map(|new| core::mem::replace(old, new)));
            match (old, new) {
                (Ok(_old), _) => return Ok(()),
                (Err(RootError::NotFound { .. }), Some(new)) => match self.insert(key.tag(), new, true)? {
                    Inserted::New(_) => return Ok(()),
                    // Another session was quicker.
                    Inserted::Exists(back) => value = back,
                },
                (Err(error), _) => return Err(error),
            }
        }
    }
}

/// Versions of a heap's roots, one short session for each call.
///
/// ```
/// use sal::prelude::*;
/// use sal::{HeapOptions, SalRc, SalVersions};
///
/// const LIST: Root<SalRc<SalVec<u64>>> = Root::new("list");
/// let heap = HeapOptions::new().volatile()?;
/// heap.set_root(LIST, heap.rc(SalVec::new()))?;
/// heap.keep_version(LIST, "empty")?;
/// heap.with_root_mut(LIST, |list| SalRc::make_mut(list).push(7))?;
/// assert_eq!(heap.versions(LIST)?, ["empty"]);
/// assert!(heap.open_version(LIST, "empty")?.is_empty());
/// heap.roll_back(LIST, "empty")?;
/// assert!(heap.with_root(LIST, |list| list.is_empty())?);
/// heap.drop_version(LIST, "empty")?;
/// # Ok::<(), sal::Error>(())
/// ```
pub trait SalVersions: SalRoots {
    /// Keeps a clone of a root's value under a name; see [`Write::keep_version`](crate::Write::keep_version).
    #[track_caller]
    fn keep_version<T: Persist + Clone>(&self, key: Root<T>, name: &str) -> Result<(), RootError> {
        self.with_session(|tx| tx.keep_version(key, name))
    }

    /// The names of a root's versions, the oldest first.
    fn versions<T: Persist>(&self, key: Root<T>) -> Result<Vec<String>, RootError> {
        Ok(names_of(&key, self.roots()?))
    }

    /// A clone of a version, which stays as it is while writers go on, and when the version is dropped.
    fn open_version<T: Persist + Clone>(&self, key: Root<T>, name: &str) -> Result<T, RootError> {
        self.with_root(version_of(&key, name), T::clone)
    }

    /// Makes a clone of a version the root's value; see [`Write::roll_back`](crate::Write::roll_back).
    #[track_caller]
    fn roll_back<T: Persist + Clone>(&self, key: Root<T>, name: &str) -> Result<(), RootError> {
        self.with_session(|tx| tx.roll_back(key, name))
    }

    /// Drops a version; see [`Write::drop_version`](crate::Write::drop_version).
    #[track_caller]
    fn drop_version<T: Persist>(&self, key: Root<T>, name: &str) -> Result<(), RootError> {
        self.with_session(|tx| tx.drop_version(key, name))
    }
}

impl SalVersions for SalAlloc {}
impl SalVersions for Heap {}

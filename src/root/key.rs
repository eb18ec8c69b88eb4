//! Keys of roots.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

/// What a root is found by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Tag {
    /// A name.
    Name(Cow<'static, str>),
    /// A number of the program's own.
    Class(u64),
    /// The number that the heap gave this very entry.
    Id(RootId),
}

/// The number of one entry, unique in its heap for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RootId(pub(super) u64);

impl RootId {
    pub(crate) fn new(number: u64) -> Self {
        Self(number)
    }
}

impl fmt::Display for RootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "\"{}\"", name.escape_debug()),
            Self::Class(class) => write!(f, "class {class:#x}"),
            Self::Id(id) => id.fmt(f),
        }
    }
}

/// The key of a root: its tag and its type in one place.
///
/// Several roots may have the same tag ([`Write::add_root`](crate::Write::add_root)); a key by name or class means the
/// oldest of them, one by [`RootId`] exactly one.
///
/// ```
/// use sal::Root;
/// use sal::collections::{SalHashMap, SalString, SalVec};
///
/// const WORDS: Root<SalHashMap<SalString, SalVec<u64>>> = Root::new("words");
/// const SETTINGS: Root<u64> = Root::class(0x5e77_1465);
/// assert_eq!(WORDS.to_string(), "\"words\"");
/// # let _ = SETTINGS;
/// ```
pub struct Root<T> {
    pub(super) tag: Tag,
    of: PhantomData<fn() -> T>,
}

impl<T> Root<T> {
    /// A root with a name.
    pub const fn new(name: &'static str) -> Self {
        Self { tag: Tag::Name(Cow::Borrowed(name)), of: PhantomData }
    }

    /// A root with a name that is known when the program runs.
    pub fn named(name: impl Into<String>) -> Self {
        Self { tag: Tag::Name(Cow::Owned(name.into())), of: PhantomData }
    }

    /// A root with a number.
    pub const fn class(class: u64) -> Self {
        Self { tag: Tag::Class(class), of: PhantomData }
    }

    /// One certain entry.
    pub const fn id(id: RootId) -> Self {
        Self { tag: Tag::Id(id), of: PhantomData }
    }

    /// What the root is found by.
    pub fn tag(&self) -> &Tag {
        &self.tag
    }
}

impl<T> Clone for Root<T> {
    fn clone(&self) -> Self {
        Self { tag: self.tag.clone(), of: PhantomData }
    }
}

impl<T> fmt::Display for Root<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.tag.fmt(f)
    }
}

impl<T> fmt::Debug for Root<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Root").field(&self.tag).finish()
    }
}

//! Having or changing a root.

use std::fmt;

use super::SessionError;

/// Why a root could not be had or changed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RootError {
    /// No root has this key.
    NotFound {
        /// The key, as it is shown to people.
        root: String,
    },
    /// Another session has the root, or this one has handed it out already.
    RootBusy {
        /// The key.
        root: String,
        /// Whether it is this very session.
        by_this_session: bool,
    },
    /// The root was stored as another type, or as the same type with another layout.
    OtherType {
        /// The key.
        root: String,
        /// The path to the first field that differs, empty for the type itself.
        field: String,
        /// What is stored.
        stored: String,
        /// What was asked for.
        asked: String,
    },
    /// The value holds a block or a handle of another heap.
    ForeignBlock {
        /// The key.
        root: String,
        /// Where the block lies.
        address: usize,
    },
    /// The heap has no room for the root.
    OutOfMemory {
        /// The key.
        root: String,
    },
    /// The root directory or the type table is full.
    DirectoryFull,
    /// The name of the root is too long to be stored.
    NameTooLong {
        /// Its bytes.
        len: usize,
        /// The most that are possible.
        longest: usize,
    },
    /// What the file says of the root makes no sense.
    Damaged {
        /// The key, as far as it is known.
        root: String,
        /// Which part.
        part: &'static str,
    },
    /// The heap lies at other addresses than its own, and what the root leads to could not be rewritten for them as a whole. See
    /// [`Heap::open_relocated`](crate::Heap::open_relocated).
    NotMoved {
        /// The key.
        root: String,
        /// Why not.
        reason: &'static str,
    },
    /// The session could not begin.
    Session(SessionError),
}

impl fmt::Display for RootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound { root } => write!(f, "there is no root {root}"),
            Self::RootBusy { root, by_this_session: true } => {
                write!(f, "root {root} is borrowed already by this session")
            }
            Self::RootBusy { root, .. } => write!(f, "root {root} is held by another session"),
            Self::OtherType { root, field, stored, asked } if field.is_empty() => {
                write!(f, "root {root} is stored as {stored}, and {asked} was asked for")
            }
            Self::OtherType { root, field, stored, asked } => {
                write!(f, "root {root} differs in `{field}`: stored as {stored}, asked for as {asked}")
            }
            Self::ForeignBlock { root, address } => {
                write!(f, "the value for root {root} holds a block of another heap, at {address:#x}")
            }
            Self::OutOfMemory { root } => write!(f, "the heap has no room for root {root}"),
            Self::NameTooLong { len, longest } => {
                write!(f, "the name of a root has {len} bytes, and at most {longest} are possible")
            }
            Self::DirectoryFull => f.write_str("the heap's directory of roots is full"),
            Self::Damaged { root, part } => write!(f, "root {root} is damaged: {part}"),
            Self::NotMoved { root, reason } => {
                write!(
                    f,
                    "the heap lies at other addresses than its own, and root {root} cannot be read there: {reason}"
                )
            }
            Self::Session(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for RootError {}

impl From<SessionError> for RootError {
    fn from(error: SessionError) -> Self {
        Self::Session(error)
    }
}

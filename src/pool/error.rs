//! Why something cannot be done with pools.

use crate::error::RootError;
use core::fmt;

/// Why an address is not that of an object of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotAnObject {
    /// It is in none of the pool's slots.
    Foreign,
    /// It is inside an object, and not where the object begins.
    Interior,
    /// Nothing is there: the object was freed or collected.
    Free,
}

/// Why pools could not be collected.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GcError {
    /// A pool lies where the value does not have it alone: behind pointers that share what they lead to, in an object of another
    /// pool, or in a container that is not one of this crate's.
    SharedPool {
        /// The type of the value.
        type_name: String,
    },
    /// A root has pools, or pointers to objects, and its type has not been named in this process: nothing was collected. Look at the
    /// root once, with [`Write::root`](crate::Write::root).
    UnknownRoot {
        /// The root.
        root: String,
    },
    /// A root could not be had.
    Root(RootError),
}

impl fmt::Display for NotAnObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Foreign => "the address is not in the pool",
            Self::Interior => "the address is inside an object",
            Self::Free => "there is no object any more",
        })
    }
}

impl std::error::Error for NotAnObject {}

impl fmt::Display for GcError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SharedPool { type_name } => {
                write!(f, "a pool in {type_name} lies where it may be shared, and cannot be collected")
            }
            Self::UnknownRoot { root } => {
                write!(f, "root {root} leads to pools, and its type has not been named in this process")
            }
            Self::Root(_) => f.write_str("a root could not be had"),
        }
    }
}

impl std::error::Error for GcError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Root(error) => Some(error),
            _ => None,
        }
    }
}

impl From<RootError> for GcError {
    fn from(error: RootError) -> Self {
        Self::Root(error)
    }
}

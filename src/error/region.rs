//! Making or growing a region.

use std::fmt;

/// Why a [`Region`](crate::Region) has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegionError {
    /// So many elements have more bytes than there are addresses.
    TooLarge {
        /// Elements that were asked for.
        len: usize,
    },
    /// The heap has no run of pages as long as that, has reached a limit, or is closed.
    NoRoom {
        /// Bytes that were asked for.
        bytes: usize,
    },
    /// The region has to grow, and what lies behind it is in use: it would have to move.
    CannotGrow {
        /// Bytes that it would have to have.
        bytes: usize,
    },
}

impl fmt::Display for RegionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { len } => write!(f, "{len} elements are more than there are addresses for"),
            Self::NoRoom { bytes } => write!(f, "the heap has no room for a region of {bytes} bytes"),
            Self::CannotGrow { bytes } => {
                write!(f, "the region cannot grow to {bytes} bytes, as what lies behind it is in use")
            }
        }
    }
}

impl std::error::Error for RegionError {}

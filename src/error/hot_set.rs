//! Having a hot set.

use std::fmt;

use super::SessionError;

/// Why a heap has no hot set.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HotSetError {
    /// The heap cannot be changed.
    Session(SessionError),
    /// The budget is smaller than the grain in which it is used.
    BudgetTooSmall {
        /// Bytes it must have.
        least: u64,
    },
    /// There is none: it was never asked for, or has been ended.
    None,
    /// The system refuses the addresses that counting needs.
    OutOfMemory,
}

impl fmt::Display for HotSetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Session(error) => error.fmt(f),
            Self::BudgetTooSmall { least } => write!(f, "a hot set takes {least} bytes at least"),
            Self::None => f.write_str("the heap has no hot set"),
            Self::OutOfMemory => f.write_str("there are no addresses for counting reads"),
        }
    }
}

impl std::error::Error for HotSetError {}

impl From<SessionError> for HotSetError {
    fn from(error: SessionError) -> Self {
        Self::Session(error)
    }
}

//! Putting a value in the place of another one.

use std::fmt;

use super::SessionError;

/// Why a value could not be put in the place of another one.
#[derive(Debug)]
#[non_exhaustive]
pub enum UpdateError {
    /// The heap cannot be changed.
    Session(SessionError),
    /// The heap has no room for the new value.
    OutOfMemory,
}

impl fmt::Display for UpdateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Session(error) => error.fmt(f),
            Self::OutOfMemory => f.write_str("the heap has no room for the new value"),
        }
    }
}

impl std::error::Error for UpdateError {}

impl From<SessionError> for UpdateError {
    fn from(error: SessionError) -> Self {
        Self::Session(error)
    }
}

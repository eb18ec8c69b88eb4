//! One error enum for each operation, each in a file that is named for it, and [`Error`], which any of them turns into.

use std::fmt;

/// How a failed system call becomes the error.
macro_rules! from_os {
    ($name:ident) => {
        impl $name {
            /// A failed system call.
            pub(crate) fn os(call: &'static str, errno: impl Into<io::Error>) -> Self {
                Self::Os { call, source: errno.into() }
            }
        }
    };
}

/// The cause of the error, if it is a failed system call.
macro_rules! source_of_os {
    ($name:ident) => {
        impl std::error::Error for $name {
            fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
                match self {
                    Self::Os { source, .. } => Some(source),
                    _ => None,
                }
            }
        }
    };
}

mod close;
mod collect;
mod hot_set;
mod lock;
mod maintenance;
mod open;
mod region;
mod root;
mod session;
mod sync;
mod update;

pub use close::CloseError;
pub use collect::CollectError;
pub use hot_set::HotSetError;
pub use lock::LockError;
pub use maintenance::MaintenanceError;
pub use open::OpenError;
pub use region::RegionError;
pub use root::RootError;
pub use session::{SessionError, SessionHolder};
pub use sync::SyncError;
pub use update::UpdateError;

/// Any error of this crate.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A heap could not be opened.
    Open(OpenError),
    /// A heap could not be closed.
    Close(CloseError),
    /// A session could not begin.
    Session(SessionError),
    /// A root could not be had or changed.
    Root(RootError),
    /// A sync failed.
    Sync(SyncError),
    /// A heap could not be looked through.
    Collect(CollectError),
    /// A heap could not be maintained.
    Maintenance(MaintenanceError),
    /// A region could not be made or grown.
    Region(RegionError),
    /// A value could not be put in the place of another one.
    Update(UpdateError),
    /// A heap has no hot set.
    HotSet(HotSetError),
    /// Memory could not be locked.
    Lock(LockError),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(error) => error.fmt(f),
            Self::Close(error) => error.fmt(f),
            Self::Session(error) => error.fmt(f),
            Self::Root(error) => error.fmt(f),
            Self::Sync(error) => error.fmt(f),
            Self::Collect(error) => error.fmt(f),
            Self::Maintenance(error) => error.fmt(f),
            Self::Region(error) => error.fmt(f),
            Self::Update(error) => error.fmt(f),
            Self::HotSet(error) => error.fmt(f),
            Self::Lock(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Open(error) => error.source(),
            Self::Close(error) => error.source(),
            Self::Session(error) => error.source(),
            Self::Root(error) => error.source(),
            Self::Sync(error) => error.source(),
            Self::Collect(error) => error.source(),
            Self::Maintenance(error) => error.source(),
            Self::Region(error) => error.source(),
            Self::Update(error) => error.source(),
            Self::HotSet(error) => error.source(),
            Self::Lock(error) => error.source(),
        }
    }
}

macro_rules! into_error {
    ($($variant:ident $name:ident)*) => {
        $(impl From<$name> for Error {
            fn from(error: $name) -> Self {
                Self::$variant(error)
            }
        })*
    };
}

into_error!(Open OpenError Close CloseError Session SessionError Root RootError Sync SyncError Collect CollectError);
into_error!(Maintenance MaintenanceError Region RegionError Update UpdateError HotSet HotSetError Lock LockError);

//! Roots: the named, typed values from which everything alive in a heap is reached.
//!
//! The [directory](directory) in the file has an entry for each root: its tag (a name or a number), where its value
//! lies, and which record of the [type table](types) describes the value's layout. A root is [borrowed](borrows) through
//! a session, mutably by one session or immutably by several, for as long as the session lasts; the borrows are kept in
//! the process and vanish with it.
//!
//! # Invariants
//! - **D1** A value is referred to mutably only by the session that has its root's exclusive borrow, and that session
//!   hands the reference out once.
//! - **D2** A value is read as a `T` only after the stored description has been compared with `T`'s and found equal.
//!
//! # What survives a crash
//! An entry is whole or absent: its state word is written last and cleared first. Names and values are ordinary blocks.
#![allow(unsafe_code)]

mod access;
mod borrows;
mod copy_on_write;
mod directory;
mod extension;
mod hot_set;
mod key;
mod registry;
mod taken;
mod types;
mod verify;
mod versions;

pub use access::RootInfo;
pub use extension::SalRoots;
pub use hot_set::SalHotSet;
pub use key::{Root, RootId, Tag};
pub use versions::SalVersions;

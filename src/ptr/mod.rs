//! Pointers into a heap that are eight bytes long, have a niche, and hold no handle.
//!
//! [`Offset`] is a position in its heap, and owns nothing. [`SalRc`] shares a value, [`SalWeak`] may come back to it, and
//! [`SalBox`] has one alone. The number of those that share a value lies apart from it, so that taking and dropping a pointer
//! writes to no page of the heap; [`SalRc::make_mut`] changes a value that nobody else has where it is, and a copy of it
//! otherwise. [`SalArcCell`] is a place for a [`SalRc`] that threads read and change without a lock.
//!
//! Bottom to top: [`target`] says what can be pointed to, and how it lies in its block; [`tagged`] is the word itself;
//! [`drop_moved`] drops what may not be written to, and [`drop_later`] chains of any length; [`weak_table`] knows who is pointed
//! to weakly.
#![allow(unsafe_code)]

mod arc_cell;
#[cfg(feature = "archery")]
mod archery;
mod cow;
mod drop_later;
pub(crate) mod drop_moved;
mod handle;
mod offset;
mod option;
mod sal_box;
mod sal_rc;
mod sal_weak;
mod tagged;
mod target;
mod weak_table;

pub use arc_cell::SalArcCell;
#[cfg(feature = "archery")]
pub use archery::SalRcK;
pub use cow::SalCow;
pub use handle::{Handle, Movable, Pinned, SalMovable, WeakHandle};
pub use offset::Offset;
pub use sal_box::SalBox;
pub use sal_rc::SalRc;
pub use sal_weak::SalWeak;
pub use target::{CloneTarget, Target};

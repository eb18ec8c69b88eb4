//! Commits: what makes the changes of an atomic heap durable, all of them or none.
//!
//! An atomic heap's file changes only when this layer says so. A commit is one record appended to the log; afterwards,
//! in bulk, the newest images are *folded* into the heap file. [`journal`] has the rules and the order of writes. All of
//! it goes through one [`storage::Storage`], for which a simulated disk can stand in.
//!
//! This layer may allocate: nothing in it is called from an allocation.
#![allow(unsafe_code)]

mod apply;
mod chain;
mod clean;
mod finish;
pub(crate) mod fold;
pub(crate) mod inspect;
pub(crate) mod journal;
pub(crate) mod real;
mod record;
pub(crate) mod recovery;
pub(crate) mod ring;
#[cfg(any(test, feature = "testing"))]
pub(crate) mod simulated;
pub(crate) mod storage;
#[cfg(test)]
mod tests;

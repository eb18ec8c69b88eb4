//! Commits: what makes the changes of an atomic heap durable, all of them or none.
//!
//! An atomic heap's file changes only when this layer says so. A commit is one record appended to the log
//! ([`log`]); afterwards, in bulk, the newest images are *folded* into the heap file. All of it goes through one
//! [`storage::Storage`], for which a simulated disk can stand in.
//!
//! This layer may allocate: nothing in it is called from an allocation.
#![allow(unsafe_code)]

pub(crate) mod storage;

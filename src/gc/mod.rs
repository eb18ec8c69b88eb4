//! Finding what a heap's roots reach, and giving back what they do not.
//!
//! Marking is *precise* where all roots are of known types: pointers of values are followed, by the descriptions that are stored with
//! the roots ([`trace`]). Otherwise it is *conservative*: any aligned word of a reached block that, as an address or as an
//! offset from the heap's start, falls into a block of the heap reaches that block, interior positions included. That needs no
//! types; a number that looks like a position keeps a block for nothing, which is a leak and never an error.
//!
//! Bottom to top: [`zeroed`] is memory for tables; [`image`] is the heap's bytes at one moment, and [`data_pages`] says where
//! they are not zeros; [`runs`] says which block a position falls into, and [`marks`] which blocks were reached, and [`tallies`] by
//! how many pointers that are counted; [`stack`], [`aside`] and [`pool`] hold what is still to be looked at, of one worker, of those
//! whose stacks are full, and of all; [`trace`] knows where values have pointers; [`marker`] does the work; [`sweep`] gives
//! back what has no mark. [`live`] finds out which blocks of a heap in use are free. [`relocate`] follows types as marking does, and
//! rewrites the pointers of a heap that lies elsewhere; so does [`former`], and leads entries of values that may be moved back to what a commit has.
//!
//! This layer may use the standard library's containers: no allocation calls it. It believes nothing that it reads
//! from a heap, and never panics on it.
//!
//! # What survives a crash
//! Nothing of this layer's. Whoever is interrupted marks again.
#![allow(unsafe_code)]

pub(crate) mod aside;
pub(crate) mod data_pages;
pub(crate) mod former;
pub(crate) mod image;
pub(crate) mod live;
pub(crate) mod marker;
pub(crate) mod marks;
pub(crate) mod pool;
pub(crate) mod relocate;
pub(crate) mod runs;
pub(crate) mod stack;
pub(crate) mod sweep;
pub(crate) mod tallies;
pub(crate) mod trace;
pub(crate) mod zeroed;

#[cfg(test)]
pub(crate) mod testing;

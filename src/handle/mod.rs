//! Objects that may be moved while they are read.
//!
//! A [`Handle`](crate::Handle) leads to an *entry*, a counted block of sixteen bytes, and the entry says where the object lies. Objects lie
//! one behind the other in *tracts*, segments of the heap that hold nothing else ([`crate::alloc::tracts`]). So an object is moved
//! by copying it and changing one word, and a tract whose objects are gone, or have been moved, is free as a whole.
//!
//! Who reads has a *pin*, and what it may still see is kept until the pin is gone ([`pin`]); what waits for that stands in a list
//! ([`limbo`]). Who drops an object while others are moved does so under a lock, and otherwise without one ([`moving`]). [`object`] is how an object lies in its tract.
//! One read of many is counted ([`sample`]), if the heap keeps what is read often together.
//!
//! # What survives a crash
//! Entries and objects, as any other blocks. Which objects of a tract are alive is found out again by whoever marks.
#![allow(unsafe_code)]

pub(crate) mod limbo;
pub(crate) mod moving;
pub(crate) mod object;
pub(crate) mod pin;
pub(crate) mod sample;

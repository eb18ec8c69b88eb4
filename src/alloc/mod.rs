//! The allocator: size classes, slabs, thread heaps, large objects, over memory that somebody else mapped.
//!
//! Bottom to top: [`unit_map`] knows which 32 KiB units of a heap are used; [`space`] adds what reads as zeros and how
//! far memory has been reserved; [`slab`] cuts runs of units into blocks of one class; [`thread_heap`] is what one
//! thread has at hand, with a `magazine` for each class, which `refill` fills and `release` empties; `near` gets blocks side by side; [`large`] hands out
//! runs of units themselves, [`run_cache`] keeps those that were freed, where `bias` lets a thread take its own cheaply;
//! [`idle`] gives back what was not needed for a while;
//! [`growers`] are blocks that grow where they are; [`heap_core`] is one open heap; [`current`] finds the calling thread's part
//! of it and [`presence`] gets threads out of it; [`windows`] knows which addresses belong to which heap; [`counters`]
//! counts for those who look on; [`prefault`] makes memory ready ahead of them; [`check`] holds all of it against each
//! other; [`rebuild`] makes it anew from the table alone, of those runs that [`whole_runs`] lets stay.
//!
//! [`ref_count`] is how many pointers share a block, and [`count_table`] where that is noted, of blocks that have such pointers;
//! [`split_count`] is a pointer that threads take and replace at once. [`young`] tells which of these blocks no sync has sealed yet,
//! by way of `unit_notes`; [`protection`] counts what is read-only because all its blocks are. [`tracts`] are segments with objects that
//! may be moved, and [`heat`] is how often these have been read of late.
//!
//! With the feature `preload`, `unit_classes` finds the class of a block without its layout, and `stray` serves threads that
//! have ended.
//!
//! Nothing here allocates through the global allocator, prints, or panics: it may be what serves them.
#![allow(unsafe_code)]

pub(crate) mod backing;
mod bias;
pub(crate) mod check;
#[cfg(feature = "checked")]
pub(crate) mod checked;
mod class_state;
pub(crate) mod count_table;
pub(crate) mod counters;
pub(crate) mod current;
pub(crate) mod growers;
pub(crate) mod heap_core;
pub(crate) mod heat;
pub(crate) mod idle;
pub(crate) mod large;
mod large_reuse;
mod magazine;
pub(crate) mod marks;
mod near;
pub(crate) mod orphans;
pub(crate) mod prefault;
pub(crate) mod presence;
pub(crate) mod protection;
pub(crate) mod rebuild;
pub(crate) mod ref_count;
mod refill;
mod release;
pub(crate) mod remote_free;
pub(crate) mod run_cache;
pub(crate) mod size_class;
pub(crate) mod slab;
pub(crate) mod space;
pub(crate) mod split_count;
#[cfg(feature = "preload")]
pub(crate) mod stray;
pub(crate) mod thread_counts;
pub(crate) mod thread_heap;
pub(crate) mod threads;
pub(crate) mod tracts;
pub(crate) mod tuning;
#[cfg(feature = "preload")]
pub(crate) mod unit_classes;
pub(crate) mod unit_map;
mod unit_notes;
pub(crate) mod whole_runs;
pub(crate) mod windows;
pub(crate) mod young;

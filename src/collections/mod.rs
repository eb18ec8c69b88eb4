//! Collections that live in a heap file: `repr(C)`, documented, without a handle.
//!
//! A collection here is a few words: where its block is, how much of it is used, how large it is. It stores
//! no handle of a heap, so an empty one belongs nowhere and may be moved into any heap. Where blocks come
//! from is decided when the first one is needed, by the place of the collection itself; a later block comes
//! from the heap of the one before it. See [`TryReserveError::ForeignHeap`] for the one case this refuses.
//!
//! Dropping a collection frees memory and does nothing else: one that is forgotten leaks its block, which
//! the heap's collector finds again. Nothing is written to a collection that is dropped, nor to its blocks, to which
//! the last commit of a shared heap may lead; elements, which may write to themselves, are dropped by
//! `ptr::drop_moved`, which moves them out first where that matters.

pub mod btree_map;
pub mod btree_set;
pub mod cow_hash_map;
pub mod cow_hash_set;
pub mod cow_map;
pub mod cow_set;
pub mod cow_vec;
mod error;
pub mod hash;
pub mod hash_map;
pub mod hash_set;
mod movable;
pub(crate) mod raw_block;
pub mod string;
pub mod vec;

pub use btree_map::SalBTreeMap;
pub use btree_set::SalBTreeSet;
pub use cow_hash_map::CowHashMap;
pub use cow_hash_set::CowHashSet;
pub use cow_map::CowMap;
pub use cow_set::CowSet;
pub use cow_vec::CowVec;
pub use error::TryReserveError;
pub use hash_map::{IntoKey, KeyFrom, SalHashMap};
pub use hash_set::SalHashSet;
pub use string::SalString;
pub use vec::SalVec;

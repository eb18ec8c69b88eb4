//! What may be stored in a heap file.
#![allow(unsafe_code)]

/// A type that stays valid in another process.
///
/// # Safety
/// See the module docs.
pub unsafe trait Persist: Send + Sync + 'static {}

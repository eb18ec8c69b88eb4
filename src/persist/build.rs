//! The identity of this build of the program, for `#[persist(same_build)]`.
//!
//! A type whose layout is the compiler's choice can be read by the very build that wrote it and by no other. What
//! names a build is the linker's build id, a hash of the result: it is looked up in the loaded image that holds the
//! code of the type's `describe`, the executable or a library, in memory, so that a file replaced meanwhile does not
//! matter. Without a build id the executable's file is hashed (its time would not do: many build systems set it to a
//! constant). A library without a build id gets a number that no other process has, so what it stores is refused
//! rather than misread.

use crate::os::image::{Image, hash_of_executable, image_of};
use core::hash::{BuildHasher, Hasher};
use std::{collections::hash_map::RandomState, sync::OnceLock};

/// Marks ids of builds among the ids of leaves.
const BUILD_ID_BIT: u64 = 1 << 63;

/// The id of the build whose image holds the code at `address`.
pub(super) fn build_of(address: *const ()) -> u64 {
    static EXECUTABLE: OnceLock<Option<u64>> = OnceLock::new();
    static UNREPEATABLE: OnceLock<u64> = OnceLock::new();
    let known = match image_of(address.addr()) {
        Image::BuildId(hash) => Some(hash),
        Image::Executable => *EXECUTABLE.get_or_init(hash_of_executable),
        Image::Other => None,
    };
    BUILD_ID_BIT | known.unwrap_or_else(|| *UNREPEATABLE.get_or_init(|| RandomState::new().build_hasher().finish()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here() -> *const () {
        build_of as fn(*const ()) -> u64 as *const ()
    }

    #[test]
    fn the_build_is_the_same_all_the_time() {
        assert_eq!(build_of(here()), build_of(here()));
        assert_ne!(build_of(here()), build_of(core::ptr::without_provenance(1)));
    }
}

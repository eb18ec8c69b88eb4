//! Serialising the value, and back.
//!
//! What was shared is not any more: each pointer gets a value of its own, in the heap that [`SalRc::new`] would choose. Lack of memory
//! for it is an error of the reader.

use super::SalRc;
use super::make::current_heap;
use crate::ptr::target::Target;
use core::fmt;
use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What a heap without room is to a reader.
fn no_room<E: Error>(_: allocator_api2::alloc::AllocError) -> E {
    E::custom("the heap has no room for the value")
}

impl<T: ?Sized + Target + Serialize> Serialize for SalRc<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (**self).serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de> + 'static> Deserialize<'de> for SalRc<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::try_new_in(T::deserialize(deserializer)?, current_heap()).map_err(no_room)
    }
}

impl<'de, T: Deserialize<'de> + 'static> Deserialize<'de> for SalRc<[T]> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::try_from_iter_in(Vec::deserialize(deserializer)?, current_heap()).map_err(no_room)
    }
}

impl<'de> Deserialize<'de> for SalRc<str> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Lent, not given: the text is copied into a block of our own in any case.
        deserializer.deserialize_str(Text)
    }
}

struct Text;

impl Visitor<'_> for Text {
    type Value = SalRc<str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<SalRc<str>, E> {
        SalRc::try_from_str_in(text, current_heap()).map_err(no_room)
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<SalRc<str>, E> {
        match core::str::from_utf8(bytes) {
            Ok(text) => self.visit_str(text),
            Err(_) => Err(E::invalid_value(Unexpected::Bytes(bytes), &self)),
        }
    }
}

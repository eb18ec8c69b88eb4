//! Serialising as a sequence, and back.
//!
//! A vector that is read takes its blocks as one that is collected does: from the heap of the thread's
//! session, or else from the process's default heap. Lack of memory is an error of the reader.

use super::SalVec;
use core::fmt;
use core::marker::PhantomData;
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The most bytes reserved because the input says so; what it really holds beyond that is grown into.
const MAX_TRUSTED_BYTES: usize = 1 << 20;

impl<T: Serialize> Serialize for SalVec<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.as_slice().serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for SalVec<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Elements(PhantomData))
    }
}

struct Elements<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Elements<T> {
    type Value = SalVec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sequence")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<SalVec<T>, A::Error> {
        let trusted = MAX_TRUSTED_BYTES / size_of::<T>().max(1);
        let capacity = items.size_hint().unwrap_or(0).min(trusted);
        let mut vec = SalVec::try_with_capacity(capacity).map_err(A::Error::custom)?;
        while let Some(item) = items.next_element()? {
            vec.try_push(item).map_err(A::Error::custom)?;
        }
        Ok(vec)
    }
}

//! Serialising as a sequence, and back.

use super::CowVec;
use core::fmt;
use core::marker::PhantomData;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

impl<T: Serialize + 'static> Serialize for CowVec<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self)
    }
}

/// In the heap of the thread's session, or else in the process's default heap. What was shared with other versions is not any more.
impl<'de, T: Clone + Deserialize<'de> + 'static> Deserialize<'de> for CowVec<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Elements(PhantomData))
    }
}

struct Elements<T: 'static>(PhantomData<T>);

impl<'de, T: Clone + Deserialize<'de> + 'static> Visitor<'de> for Elements<T> {
    type Value = CowVec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sequence")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<CowVec<T>, A::Error> {
        let mut vec = CowVec::new();
        while let Some(element) = elements.next_element()? {
            vec.push(element);
        }
        Ok(vec)
    }
}

//! Sets as serde sequences.

use super::SalHashSet;
use core::fmt;
use core::hash::Hash;
use core::marker::PhantomData;
use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};
use serde::ser::{Serialize, Serializer};

impl<K: Serialize> Serialize for SalHashSet<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self)
    }
}

impl<'de, K: Deserialize<'de> + Eq + Hash> Deserialize<'de> for SalHashSet<K> {
    /// A full disk is an error, and so is any other that [`try_insert`](SalHashSet::try_insert) reports.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Elements<K>(PhantomData<K>);

        impl<'de, K: Deserialize<'de> + Eq + Hash> Visitor<'de> for Elements<K> {
            type Value = SalHashSet<K>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a sequence")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
                let mut set = SalHashSet::new();
                // A hint may lie, so it is not believed beyond a page or so.
                set.try_reserve(elements.size_hint().unwrap_or(0).min(256)).map_err(A::Error::custom)?;
                while let Some(element) = elements.next_element::<K>()? {
                    set.try_insert(element).map_err(A::Error::custom)?;
                }
                Ok(set)
            }
        }
        deserializer.deserialize_seq(Elements(PhantomData))
    }
}

//! Sets as serde sequences.

use super::CowSet;
use core::fmt;
use core::marker::PhantomData;
use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};
use serde::ser::{Serialize, Serializer};

impl<K: Serialize + 'static> Serialize for CowSet<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self)
    }
}

impl<'de, K: Deserialize<'de> + Ord + Clone + 'static> Deserialize<'de> for CowSet<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Elements<K: 'static>(PhantomData<K>);

        impl<'de, K: Deserialize<'de> + Ord + Clone + 'static> Visitor<'de> for Elements<K> {
            type Value = CowSet<K>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a sequence")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
                let mut set = CowSet::new();
                while let Some(element) = elements.next_element::<K>()? {
                    set.insert(element);
                }
                Ok(set)
            }
        }
        deserializer.deserialize_seq(Elements(PhantomData))
    }
}

//! Serialising the value, and back, as [`SalRc`] does.

use super::SalBox;
use crate::ptr::sal_rc::SalRc;
use crate::ptr::target::Target;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

impl<T: ?Sized + Target + Serialize> Serialize for SalBox<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (**self).serialize(serializer)
    }
}

impl<'de, T: ?Sized + Target> Deserialize<'de> for SalBox<T>
where
    SalRc<T>: Deserialize<'de>,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        SalRc::deserialize(deserializer).map(Self::of)
    }
}

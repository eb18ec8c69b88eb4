//! The containers may be moved while they are read: they are pointers and numbers, and their elements lie elsewhere.
#![allow(unsafe_code)]

use super::{
    CowHashMap, CowHashSet, CowMap, CowSet, CowVec, SalBTreeMap, SalBTreeSet, SalHashMap, SalHashSet, SalString, SalVec,
};
use crate::Movable;

macro_rules! movable {
    ($($of:ident<$($parameter:ident),*>),* $(,)?) => {
        $(
            // SAFETY: no element lies in the value's own bytes, none of which changes behind a shared reference.
            unsafe impl<$($parameter: Send + Sync + 'static),*> Movable for $of<$($parameter),*> {}
        )*
    };
}

movable! {
    SalVec<T>, SalBTreeSet<T>, SalBTreeMap<K, V>, SalHashSet<K>, SalHashMap<K, V>, CowVec<T>, CowSet<K>, CowMap<K, V>,
    CowHashSet<K>, CowHashMap<K, V>,
}

// SAFETY: as above.
unsafe impl Movable for SalString {}

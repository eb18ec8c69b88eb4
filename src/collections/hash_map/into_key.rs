//! What a key may be given as.

use crate::collections::SalString;

/// What a key can be made from; what a map's `insert` takes.
///
/// `Into` would do, but with it no literal could be a key (`insert(1, x)` into a map of `u64`: which integer is it?).
/// This relation holds for a key and itself, and for each way to write a string and the string type of the
/// crate. It is stated twice, from the key's side and from the [other side](IntoKey), so that the compiler can find
/// out the one type from the other in both directions. Only where the key is a string, what is given must have a known
/// type: `insert(SalString::from(x), 1)`, not `insert(x.into(), 1)`.
///
// A program of its own: where such a relation is known, literals have no type in other examples, which are compiled together.
/// Implement both for your own keys in the same way:
/// ```standalone_crate
/// use sal::collections::SalHashMap;
/// use sal::collections::hash_map::{IntoKey, KeyFrom};
///
/// #[derive(PartialEq, Eq, Hash)]
/// struct Id(u64);
///
/// impl KeyFrom<u64> for Id {
///     const ALLOCATES: bool = false;
///     fn key_from(number: u64) -> Id {
///         Id(number)
///     }
/// }
/// impl IntoKey<Id> for u64 {}
///
/// let mut names = SalHashMap::new();
/// names.insert(Id(1), "one");
/// names.insert(2, "two");
/// assert_eq!(names[&Id(2)], "two");
/// ```
pub trait KeyFrom<Q>: Sized {
    /// Whether making the key may take memory; then it is made in the heap of the map.
    const ALLOCATES: bool;

    /// The key.
    fn key_from(from: Q) -> Self;
}

/// The other side of [`KeyFrom`].
pub trait IntoKey<K: KeyFrom<Self>>: Sized {}

impl<K> KeyFrom<K> for K {
    const ALLOCATES: bool = false;

    #[inline(always)]
    fn key_from(key: K) -> K {
        key
    }
}

impl<K> IntoKey<K> for K {}

/// A way to write a string that is copied into a [`SalString`].
macro_rules! string_key_from {
    ($($from:ty),*) => {$(
        impl KeyFrom<$from> for SalString {
            const ALLOCATES: bool = true;

            #[inline]
            fn key_from(from: $from) -> Self {
                Self::from(from as &str)
            }
        }

        impl IntoKey<SalString> for $from {}
    )*};
}

string_key_from!(&str, &String, &SalString);

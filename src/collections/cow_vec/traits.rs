//! What the standard library's traits make of a vector.

use super::CowVec;
use core::cmp::Ordering;
use core::fmt;
use core::hash::{Hash, Hasher};

impl<T: PartialEq + 'static> PartialEq for CowVec<T> {
    fn eq(&self, other: &Self) -> bool {
        // Chunks of a number are as long in both, since all but the last are full.
        self.len == other.len && self.chunks().eq(other.chunks())
    }
}

impl<T: Eq + 'static> Eq for CowVec<T> {}

macro_rules! equal_to_slices {
    ($([$($generics:tt)*] $right:ty;)*) => {$(
        impl<T: PartialEq<U> + 'static, U, $($generics)*> PartialEq<$right> for CowVec<T> {
            fn eq(&self, other: &$right) -> bool {
                is_equal(self, &other[..])
            }
        }
    )*};
}

equal_to_slices! {
    [] [U];
    [] &[U];
    [] Vec<U>;
    [const N: usize] [U; N];
    [const N: usize] &[U; N];
}

fn is_equal<T: PartialEq<U> + 'static, U>(vec: &CowVec<T>, mut slice: &[U]) -> bool {
    vec.len == slice.len()
        && vec.chunks().all(|chunk| {
            let (front, back) = slice.split_at(chunk.len());
            slice = back;
            chunk == front
        })
}

impl<T: PartialOrd + 'static> PartialOrd for CowVec<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.iter().partial_cmp(other)
    }
}

impl<T: Ord + 'static> Ord for CowVec<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.iter().cmp(other)
    }
}

impl<T: Hash + 'static> Hash for CowVec<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_usize(self.len);
        self.chunks().for_each(|chunk| T::hash_slice(chunk, state));
    }
}

impl<T: fmt::Debug + 'static> fmt::Debug for CowVec<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self).finish()
    }
}

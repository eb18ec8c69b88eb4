//! Places in heap files that have a pointer or none.
#![allow(unsafe_code)]

use super::{Handle, Offset, SalBox, SalRc, Target};
use crate::persist::{BlockVisitor, Describer, Node, OPTION_ID, Persist};

macro_rules! options {
    ($([$($generics:tt)*] $pointer:ty;)*) => {$(
        // SAFETY: the pointer is one word, transparent down to `NonNull` or `NonZero`: for such types the language guarantees that the
        // option is the word, and that `None` is zero, which is no block's address. The id, with the pointer below it, says just that.
        unsafe impl<$($generics)*> Persist for Option<$pointer>
        where
            $pointer: Persist,
        {
            const OWNS_BLOCKS: bool = <$pointer as Persist>::OWNS_BLOCKS;

            fn describe(describer: &mut Describer) -> Node {
                let parameters = vec![describer.node_of::<$pointer>()];
                Node::container::<Self>(OPTION_ID, "Option", 1, parameters)
            }

            fn visit_blocks(&self, visitor: &mut BlockVisitor<'_>) {
                if let Some(pointer) = self {
                    pointer.visit_blocks(visitor);
                }
            }
        }
    )*};
}

options! {
    [T: ?Sized + Target] SalRc<T>;
    [T: ?Sized + Target] SalBox<T>;
    [T: ?Sized + Target] Handle<T>;
    [T: 'static] Offset<T>;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::persist::TypeDescription;
    use core::mem::transmute;

    #[test]
    fn none_is_a_word_of_zeros_and_some_is_the_pointer() {
        let pointer = SalRc::<str>::from("text");
        // SAFETY: words, as the impl says.
        let (none, some) = unsafe {
            (transmute::<Option<SalRc<str>>, usize>(None), transmute::<Option<SalRc<str>>, usize>(Some(pointer)))
        };
        assert!(none == 0 && some != 0);
        // SAFETY: the word of the pointer above, once.
        let back = unsafe { transmute::<usize, Option<SalRc<str>>>(some) };
        assert_eq!(back.as_deref(), Some("text"));
    }

    #[test]
    fn options_of_different_pointers_are_described_differently() {
        let all = [
            TypeDescription::of::<Option<SalRc<u64>>>(),
            TypeDescription::of::<Option<SalBox<u64>>>(),
            TypeDescription::of::<Option<SalRc<[u64]>>>(),
            TypeDescription::of::<Option<Offset<u64>>>(),
            TypeDescription::of::<SalRc<u64>>(),
        ];
        for (at, one) in all.iter().enumerate() {
            for (other_at, other) in all.iter().enumerate() {
                assert_eq!(one.difference(other).is_none(), at == other_at);
            }
        }
    }
}

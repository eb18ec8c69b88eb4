//! Control bytes, one for each slot of a table, read sixteen at a time.
//!
//! | byte | meaning |
//! |---|---|
//! | `0x00..=0x7f` | the slot is full; the byte is its *tag*, the upper seven bits of the hash |
//! | `0x80` | deleted: empty, but a search goes on past its group |
//! | `0xff` | empty: a search that meets one in a group ends there |
//!
//! A group is sixteen bytes on every CPU. How they are compared depends on the CPU; what the comparison
//! says does not: bit `i` of a [`Mask`] is about byte `i`.
#![allow(unsafe_code)]

/// Slots to a group.
pub(super) const GROUP: usize = 16;
/// The control byte of a slot that was never full since the last rehash, or whose group never filled up.
pub(super) const EMPTY: u8 = 0xff;
/// The control byte of a slot that was emptied in a group without an empty one.
pub(super) const DELETED: u8 = 0x80;

/// Whether `control` is that of a full slot.
#[inline]
pub(super) const fn is_full(control: u8) -> bool {
    control & 0x80 == 0
}

/// The control byte of a full slot whose entry has this hash.
#[inline]
pub(super) const fn tag(hash: u64) -> u8 {
    (hash >> 57) as u8
}

/// A set of bytes of a group; iterates over their positions in ascending order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mask(pub(super) u16);

impl Mask {
    #[inline]
    pub(super) fn any(self) -> bool {
        self.0 != 0
    }

    /// The lowest position.
    #[inline]
    pub(super) fn first(self) -> Option<usize> {
        if self.0 == 0 { None } else { Some(self.0.trailing_zeros() as usize) }
    }
}

impl Iterator for Mask {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        let first = self.first()?;
        self.0 &= self.0 - 1;
        Some(first)
    }
}

#[cfg(all(target_arch = "x86_64", target_feature = "sse2", not(miri)))]
pub(super) use sse2::Group;
#[cfg(not(all(target_arch = "x86_64", target_feature = "sse2", not(miri))))]
pub(super) use swar::Group;

#[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
#[cfg_attr(miri, allow(dead_code))]
mod sse2 {
    use super::{EMPTY, Mask};
    use core::arch::x86_64::{__m128i, _mm_cmpeq_epi8, _mm_load_si128, _mm_movemask_epi8, _mm_set1_epi8};

    /// Sixteen control bytes in a vector register.
    #[derive(Clone, Copy)]
    pub(in super::super) struct Group(__m128i);

    impl Group {
        /// # Safety
        /// The sixteen bytes at `bytes` are initialised and readable, and `bytes` is a multiple of 16.
        #[inline]
        pub(in super::super) unsafe fn load(bytes: *const u8) -> Self {
            // SAFETY: sixteen readable bytes, aligned, by the caller's promise; the target has SSE2.
            Self(unsafe { _mm_load_si128(bytes.cast()) })
        }

        #[inline]
        pub(in super::super) fn matching(self, byte: u8) -> Mask {
            #[allow(unused_unsafe)]
            // SAFETY: the target has SSE2.
            Mask(unsafe { _mm_movemask_epi8(_mm_cmpeq_epi8(self.0, _mm_set1_epi8(byte as i8))) } as u16)
        }

        #[inline]
        pub(in super::super) fn empty(self) -> Mask {
            self.matching(EMPTY)
        }

        /// Empty and deleted ones.
        #[inline]
        pub(in super::super) fn free(self) -> Mask {
            #[allow(unused_unsafe)]
            // SAFETY: the target has SSE2.
            Mask(unsafe { _mm_movemask_epi8(self.0) } as u16)
        }

        #[inline]
        pub(in super::super) fn full(self) -> Mask {
            Mask(!self.free().0)
        }
    }
}

#[cfg(any(test, miri, not(all(target_arch = "x86_64", target_feature = "sse2"))))]
#[cfg_attr(test, allow(dead_code))]
mod swar {
    use super::{EMPTY, Mask};

    const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    const ONES: u64 = 0x0101_0101_0101_0101;

    /// Sixteen control bytes in two words, the first byte lowest.
    #[derive(Clone, Copy)]
    pub(in super::super) struct Group([u64; 2]);

    /// Gathers the upper bits of eight bytes in one.
    #[inline]
    fn gather(word: u64) -> u64 {
        // Bit 8i moves to bit 56 + i; the partial products meet nowhere.
        ((word >> 7) & ONES).wrapping_mul(0x0102_0408_1020_4080) >> 56
    }

    impl Group {
        /// # Safety
        /// The sixteen bytes at `bytes` are initialised and readable.
        #[inline]
        pub(in super::super) unsafe fn load(bytes: *const u8) -> Self {
            // SAFETY: sixteen readable bytes by the caller's promise; any alignment will do.
            let words = unsafe { bytes.cast::<[u64; 2]>().read_unaligned() };
            Self(words.map(u64::from_le))
        }

        #[inline]
        fn mask(self, test: impl Fn(u64) -> u64) -> Mask {
            Mask((gather(test(self.0[0])) | gather(test(self.0[1])) << 8) as u16)
        }

        #[inline]
        pub(in super::super) fn matching(self, byte: u8) -> Mask {
            self.mask(|word| {
                let difference = word ^ (ONES * u64::from(byte));
                // The upper bit of a byte stays clear just where the byte is zero: no carry leaves a byte.
                !(((difference & LOW) + LOW) | difference)
            })
        }

        #[inline]
        pub(in super::super) fn empty(self) -> Mask {
            self.matching(EMPTY)
        }

        /// Empty and deleted ones.
        #[inline]
        pub(in super::super) fn free(self) -> Mask {
            self.mask(|word| word)
        }

        #[inline]
        pub(in super::super) fn full(self) -> Mask {
            self.mask(|word| !word)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[repr(align(16))]
    struct Bytes([u8; GROUP]);

    proptest! {
        #[test]
        fn every_group_says_what_a_loop_says(
            bytes in proptest::array::uniform16(prop_oneof![Just(EMPTY), Just(DELETED), 0u8..0x80, 0u8..3]),
            wanted in prop_oneof![0u8..0x80, 0u8..3],
        ) {
            let bytes = Bytes(bytes);
            let set = |test: &dyn Fn(u8) -> bool| {
                Mask((0..GROUP).map(|i| u16::from(test(bytes.0[i])) << i).sum())
            };
            // SAFETY: `bytes` holds sixteen aligned bytes.
            let (chosen, words) = unsafe { (Group::load(bytes.0.as_ptr()), swar::Group::load(bytes.0.as_ptr())) };
            prop_assert_eq!([chosen.matching(wanted), words.matching(wanted)], [set(&|b| b == wanted); 2]);
            prop_assert_eq!([chosen.empty(), words.empty()], [set(&|b| b == EMPTY); 2]);
            prop_assert_eq!([chosen.free(), words.free()], [set(&|b| !is_full(b)); 2]);
            prop_assert_eq!([chosen.full(), words.full()], [set(&is_full); 2]);
        }
    }
}

//! The sixteen tags of a leaf, compared all at once.
//!
//! | byte | meaning |
//! |---|---|
//! | `0x00` | the place is empty |
//! | `0x80..=0xff` | the place is full; the lower seven bits are the upper seven of the hash |
//!
//! How they are compared depends on the CPU; what the comparison says does not: bit `i` of a mask is about byte `i`.
#![allow(unsafe_code)]

/// Bytes that are compared at once.
pub(super) const GROUP: usize = 16;

/// The tag of a place whose entry has this hash.
#[inline(always)]
pub(super) const fn tag(hash: u64) -> u8 {
    0x80 | (hash >> 57) as u8
}

/// The tags of a leaf.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(16))]
pub(super) struct Tags(pub(super) [u8; GROUP]);

impl Tags {
    /// Of a leaf without entries.
    pub(super) const EMPTY: Self = Self([0; GROUP]);

    /// The places with this tag.
    #[inline(always)]
    pub(super) fn matching(&self, tag: u8) -> u32 {
        #[cfg(all(target_arch = "x86_64", target_feature = "sse2", not(miri)))]
        {
            sse2::matching(self, tag)
        }
        #[cfg(not(all(target_arch = "x86_64", target_feature = "sse2", not(miri))))]
        {
            words::matching(self, tag)
        }
    }

    /// The places that are full.
    #[inline(always)]
    pub(super) fn full(&self) -> u32 {
        #[cfg(all(target_arch = "x86_64", target_feature = "sse2", not(miri)))]
        {
            sse2::full(self)
        }
        #[cfg(not(all(target_arch = "x86_64", target_feature = "sse2", not(miri))))]
        {
            words::full(self)
        }
    }

    /// How many places are full, of a leaf in which those are the first.
    #[inline(always)]
    pub(super) fn len(&self) -> usize {
        self.full().trailing_ones() as usize
    }
}

#[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
#[cfg_attr(miri, allow(dead_code))]
mod sse2 {
    use super::Tags;
    use core::arch::x86_64::{__m128i, _mm_cmpeq_epi8, _mm_load_si128, _mm_movemask_epi8, _mm_set1_epi8};

    #[inline(always)]
    fn load(tags: &Tags) -> __m128i {
        // SAFETY: sixteen bytes, aligned to as many; the target has SSE2.
        unsafe { _mm_load_si128((&raw const tags.0).cast()) }
    }

    #[inline(always)]
    pub(super) fn matching(tags: &Tags, tag: u8) -> u32 {
        #[allow(unused_unsafe)]
        // SAFETY: the target has SSE2.
        unsafe {
            _mm_movemask_epi8(_mm_cmpeq_epi8(load(tags), _mm_set1_epi8(tag as i8))) as u32
        }
    }

    #[inline(always)]
    pub(super) fn full(tags: &Tags) -> u32 {
        #[allow(unused_unsafe)]
        // SAFETY: the target has SSE2.
        unsafe {
            _mm_movemask_epi8(load(tags)) as u32
        }
    }
}

#[cfg(any(test, miri, not(all(target_arch = "x86_64", target_feature = "sse2"))))]
#[cfg_attr(test, allow(dead_code))]
mod words {
    use super::Tags;

    const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    const ONES: u64 = 0x0101_0101_0101_0101;

    /// Gathers the upper bits of eight bytes in one.
    fn gather(word: u64) -> u32 {
        // Bit 8i moves to bit 56 + i; the partial products meet nowhere.
        (((word >> 7) & ONES).wrapping_mul(0x0102_0408_1020_4080) >> 56) as u32
    }

    fn both(tags: &Tags, of_word: impl Fn(u64) -> u64) -> u32 {
        let (low, high) = tags.0.split_at(8);
        let [low, high] = [low, high].map(|half| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(half);
            gather(of_word(u64::from_le_bytes(bytes)))
        });
        low | high << 8
    }

    pub(super) fn matching(tags: &Tags, tag: u8) -> u32 {
        both(tags, |word| {
            let differs = word ^ (u64::from(tag) * ONES);
            // The upper bit of each byte that is zero; nothing is carried from one to the next.
            !(((differs & LOW) + LOW) | differs)
        })
    }

    pub(super) fn full(tags: &Tags) -> u32 {
        both(tags, |word| word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_to_compare_say_the_same() {
        for n in 0..2000_u64 {
            let byte = |at: u64| (n * 7919 + at * (n % 13 + 1) * 31) as u8 | 0x80;
            let full = (n % 17) as usize;
            let mut tags = Tags::EMPTY;
            (0..full).for_each(|at| tags.0[at] = byte(at as u64));
            assert_eq!((words::full(&tags), tags.len()), (tags.full(), full));
            for tag in [byte(0), byte(1), byte(9), 0x80, 0xff, 0] {
                let expected = (0..GROUP).filter(|&at| tags.0[at] == tag).fold(0, |mask, at| mask | 1 << at);
                assert_eq!((tags.matching(tag), words::matching(&tags, tag)), (expected, expected));
            }
        }
    }
}

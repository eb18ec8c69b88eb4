//! The mark that folds and recoveries leave in the heap file before they change it: how far the commits reach that they
//! write there.
//!
//! Those commits are durable in the log before that, so no crash leaves a file whose mark is ahead of its header and its
//! log. A header that has been damaged does, when the one before counts, and so do copies of the two files that were made at
//! different moments.

use super::PAGE;
use core::mem::offset_of;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The last bytes of the area of checksums; see [`Layout::fold_mark`](super::layout::Layout::fold_mark).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct FoldMark {
    heap_id: [u8; 16],
    /// The last commit of which something may be in the heap file.
    through: u64,
    unused: u32,
    /// CRC32C of all bytes before it.
    checksum: u32,
}

/// Bytes of the mark.
pub(crate) const FOLD_MARK_LEN: usize = 32;
const _: () = assert!(size_of::<FoldMark>() == FOLD_MARK_LEN && offset_of!(FoldMark, checksum) == FOLD_MARK_LEN - 4);
const _: () = assert!(PAGE % FOLD_MARK_LEN == 0, "it is torn by no power cut");

impl FoldMark {
    /// The mark's bytes.
    pub(crate) fn encode(heap_id: [u8; 16], through: u64) -> [u8; FOLD_MARK_LEN] {
        let mut mark = Self { heap_id, through, unused: 0, checksum: 0 };
        mark.checksum = crc32c::crc32c(&mark.as_bytes()[..FOLD_MARK_LEN - 4]);
        zerocopy::transmute!(mark)
    }

    /// The commit that a heap's mark names; none if there is none, or it is damaged, or that of the heap that this one is a
    /// copy of.
    pub(crate) fn decode(bytes: &[u8; FOLD_MARK_LEN], heap_id: [u8; 16]) -> Option<u64> {
        let mark: Self = zerocopy::transmute!(*bytes);
        let is_good = mark.checksum == crc32c::crc32c(&bytes[..FOLD_MARK_LEN - 4]) && mark.heap_id == heap_id;
        is_good.then_some(mark.through)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_its_heaps_own_and_every_flipped_bit_makes_it_none() {
        let bytes = FoldMark::encode([7; 16], 9);
        assert_eq!(FoldMark::decode(&bytes, [7; 16]), Some(9));
        assert_eq!(FoldMark::decode(&bytes, [8; 16]), None);
        assert_eq!(FoldMark::decode(&[0; FOLD_MARK_LEN], [0; 16]), None);
        for bit in 0..FOLD_MARK_LEN * 8 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(FoldMark::decode(&damaged, [7; 16]), None);
        }
    }
}

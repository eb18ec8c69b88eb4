//! The ladders of block sizes that heaps can have, and how many classes each has.
//!
//! A class's number means the same size in every heap. The usual classes come first, by size; the finer ones, which lie
//! between two of them, follow behind, so that what is kept for each class of a usual heap is where it always was.

/// Classes of heaps with the usual ladder.
pub(crate) const CLASSES: usize = 96;
/// Classes that only heaps with the fine ladder have.
pub(crate) const FINER_CLASSES: usize = 80;
/// Classes of heaps with the fine ladder.
pub(crate) const ALL_CLASSES: usize = CLASSES + FINER_CLASSES;

/// Which classes a heap has. A heap keeps its ladder: the layout of a block alone leads to its class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Ladder {
    /// Steps of 16 bytes up to 128 bytes, then eight to each doubling.
    #[default]
    Usual,
    /// Steps of 16 bytes up to 256 bytes, then sixteen to each doubling.
    Fine,
}

impl Ladder {
    /// Classes from 0 on that heaps with this ladder have.
    #[inline(always)]
    pub(crate) const fn classes(self) -> usize {
        match self {
            Self::Usual => CLASSES,
            Self::Fine => ALL_CLASSES,
        }
    }
}

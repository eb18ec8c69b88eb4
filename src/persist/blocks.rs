//! Finding what belongs to another heap.
//!
//! `mem::swap` of two roots of different heaps compiles, and so does pushing a `String` of one heap into a `Vec` of
//! another. When either heap is opened alone, such a block is not there. The visitor is handed every block and handle
//! of a value and compares addresses: each heap's file is mapped in one window of its own.
//!
//! # Invariants
//! - **B1** `found` is the first find and never changes again.

use crate::SalAlloc;
use core::{alloc::Layout, fmt, ops::Range, ptr::NonNull};

/// Walks a value through [`Persist::visit_blocks`](super::Persist::visit_blocks) and notes the first block or handle
/// that does not belong to the heap.
///
/// ```
/// use sal::{Persist, SalAlloc, persist::BlockVisitor};
///
/// // The default heap has no window: every address will do.
/// let mut visitor = BlockVisitor::new(0..usize::MAX, SalAlloc::new());
/// [1u64, 2, 3].visit_blocks(&mut visitor);
/// assert!(visitor.finish().is_ok());
/// ```
pub struct BlockVisitor<'observer> {
    window: Range<usize>,
    handle: SalAlloc,
    found: Option<Foreign>,
    observer: Option<&'observer mut dyn FnMut(NonNull<u8>, Layout)>,
}

/// What belongs to another heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Foreign {
    /// A block that does not lie wholly in the heap's window.
    #[non_exhaustive]
    Block {
        /// Of its first byte.
        address: usize,
        /// Bytes, as its owner knows it.
        size: usize,
    },
    /// The handle of another heap.
    #[non_exhaustive]
    Handle {
        /// The handle found.
        handle: SalAlloc,
    },
}

/// A value cannot live in a heap, because it owns a block of another or holds its handle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignBlock {
    found: Foreign,
    window: Range<usize>,
    handle: SalAlloc,
}

impl<'observer> BlockVisitor<'observer> {
    /// A visitor for the heap of `handle`, whose blocks lie in `window`. A heap without a window, such as the default
    /// one, passes `0..usize::MAX`.
    pub fn new(window: Range<usize>, handle: SalAlloc) -> Self {
        Self { window, handle, found: None, observer: None }
    }

    /// As [`BlockVisitor::new`], and `observer` is told every block, foreign ones too, with the layout its owner
    /// knows. After the first foreign find some blocks may be left out.
    pub fn observing(
        window: Range<usize>,
        handle: SalAlloc,
        observer: &'observer mut dyn FnMut(NonNull<u8>, Layout),
    ) -> Self {
        Self { window, handle, found: None, observer: Some(observer) }
    }

    /// Takes note of a block that the visited value owns: the one it would free with `layout`.
    pub fn block(&mut self, start: NonNull<u8>, layout: Layout) {
        if let Some(observer) = &mut self.observer {
            observer(start, layout);
        }
        let (address, size) = (start.addr().get(), layout.size());
        let inside =
            self.window.contains(&address) && address.checked_add(size).is_some_and(|end| end <= self.window.end);
        if !inside {
            self.found.get_or_insert(Foreign::Block { address, size });
        }
    }

    /// Takes note of a handle inside the visited value.
    pub fn handle(&mut self, handle: SalAlloc) {
        if handle != self.handle {
            self.found.get_or_insert(Foreign::Handle { handle });
        }
    }

    /// Whether something foreign was found already, so that a container may stop visiting its elements.
    pub fn has_found(&self) -> bool {
        self.found.is_some()
    }

    /// What the visit came to.
    ///
    /// # Errors
    /// The first block or handle that was foreign.
    pub fn finish(self) -> Result<(), ForeignBlock> {
        match self.found {
            None => Ok(()),
            Some(found) => Err(ForeignBlock { found, window: self.window, handle: self.handle }),
        }
    }
}

impl fmt::Debug for BlockVisitor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockVisitor")
            .field("window", &self.window)
            .field("handle", &self.handle)
            .field("found", &self.found)
            .finish_non_exhaustive()
    }
}

impl ForeignBlock {
    /// What was found.
    pub fn found(&self) -> Foreign {
        self.found
    }
}

impl fmt::Display for ForeignBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.found {
            Foreign::Block { address, size } => write!(
                f,
                "the value owns a block of {size} bytes at {address:#x}, outside the heap's window {:#x}..{:#x}",
                self.window.start, self.window.end
            ),
            Foreign::Handle { handle } => {
                write!(f, "the value holds {handle:?}, the handle of another heap than {:?}", self.handle)
            }
        }
    }
}

impl core::error::Error for ForeignBlock {}

#[cfg(test)]
mod tests {
    use super::*;

    fn block_at(visitor: &mut BlockVisitor<'_>, address: usize, size: usize) {
        let start = NonNull::new(core::ptr::without_provenance_mut(address)).expect("not null");
        visitor.block(start, Layout::from_size_align(size, 1).expect("small"));
    }

    #[test]
    fn a_block_that_fills_the_window_is_no_foreigner() {
        let mut visitor = BlockVisitor::new(0x1000..0x2000, SalAlloc::new());
        block_at(&mut visitor, 0x1000, 0x1000);
        assert_eq!(visitor.finish(), Ok(()));
    }

    #[test]
    fn a_block_that_leaves_the_window_at_either_end_is_found() {
        for (address, size) in [(0xfff, 2), (0x2000, 1), (0x1fff, 2), (usize::MAX, 2), (1, 1)] {
            let mut visitor = BlockVisitor::new(0x1000..0x2000, SalAlloc::new());
            block_at(&mut visitor, address, size);
            let error = visitor.finish().expect_err("outside");
            assert_eq!(error.found(), Foreign::Block { address, size });
            assert!(error.to_string().contains("0x1000..0x2000"), "{error}");
        }
    }

    #[test]
    fn the_first_find_is_the_one_reported() {
        let mut visitor = BlockVisitor::new(0x1000..0x2000, SalAlloc::new());
        for address in [0x1000, 0x9000, 0xa000] {
            block_at(&mut visitor, address, 8);
        }
        assert!(visitor.has_found());
        assert_eq!(visitor.finish().expect_err("outside").found(), Foreign::Block { address: 0x9000, size: 8 });
    }

    #[test]
    fn an_observer_is_told_every_block() {
        let mut seen = Vec::new();
        let mut observer = |start: NonNull<u8>, layout: Layout| seen.push((start.addr().get(), layout.size()));
        let mut visitor = BlockVisitor::observing(0x1000..0x2000, SalAlloc::new(), &mut observer);
        block_at(&mut visitor, 0x1000, 8);
        block_at(&mut visitor, 0x3000, 8);
        assert!(visitor.finish().is_err());
        assert_eq!(seen, [(0x1000, 8), (0x3000, 8)]);
    }
}

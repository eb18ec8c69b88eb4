//! The sizes that a heap's blocks come in, for programs that choose them or ask for them.

use super::allocate;
use super::handle::SalAlloc;
use super::owner::Heap;
use crate::alloc::size_class::{Ladder, class_size};
use core::alloc::Layout;

/// The sizes that a heap's blocks come in.
///
/// They are chosen when a heap is made ([`HeapOptions::size_classes`](crate::HeapOptions::size_classes)) and stay: a heap file is
/// always opened with its own. There are two ladders of sizes, both up to 256 KiB; what is larger is a large object, of whole
/// pages.
///
/// | | steps of 16 bytes | then | lost in a block | mean |
/// |---|---|---|---|---|
/// | `SizeClasses::default()` | up to 128 bytes | 8 sizes to a doubling | at most 12.5 % above 128 bytes | 4 % |
/// | [`SizeClasses::fine()`] | up to 256 bytes | 16 sizes to a doubling | less than 6.25 % above 256 bytes | 2.1 % |
///
/// ```
/// use sal::SizeClasses;
///
/// assert!(SizeClasses::default().sizes().skip(15).take(4).eq([256, 288, 320, 352]));
/// assert!(SizeClasses::fine().sizes().skip(15).take(4).eq([256, 272, 288, 304]));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SizeClasses(Ladder);

impl SizeClasses {
    pub(super) const fn of(ladder: Ladder) -> Self {
        Self(ladder)
    }

    /// Twice as many sizes above 256 bytes as by default.
    ///
    /// Blocks lose half as much. In return there are more slabs with room left in them, and more sizes of which each thread keeps
    /// blocks at hand: this is for heaps with many blocks of many sizes, not for small ones.
    pub const fn fine() -> Self {
        Self(Ladder::Fine)
    }

    /// Bytes of the blocks that slabs are cut into, from small to large.
    ///
    /// ```
    /// use sal::SizeClasses;
    ///
    /// let fine = SizeClasses::fine();
    /// assert_eq!((fine.sizes().len(), fine.sizes().last()), (176, Some(256 << 10)));
    /// ```
    pub fn sizes(self) -> impl ExactSizeIterator<Item = usize> + DoubleEndedIterator {
        (0..self.0.classes()).map(move |rank| class_size(self.0.class_at(rank)))
    }

    /// Bytes that a block for this layout really has, all of which may be used. `Allocator::allocate` says the same of the block
    /// that it gives.
    ///
    /// ```
    /// use sal::SizeClasses;
    /// use std::alloc::Layout;
    ///
    /// let layout = Layout::new::<[u8; 1040]>();
    /// assert_eq!(SizeClasses::default().usable_size(layout), 1152);
    /// assert_eq!(SizeClasses::fine().usable_size(layout), 1088);
    /// ```
    #[inline]
    pub const fn usable_size(self, layout: Layout) -> usize {
        allocate::usable_size(self.0, layout)
    }

    pub(super) const fn ladder(self) -> Ladder {
        self.0
    }
}

impl SalAlloc {
    /// The sizes of the heap's blocks, also when it is closed.
    ///
    /// ```
    /// use sal::SalAlloc;
    ///
    /// let classes = SalAlloc::new().size_classes();
    /// assert!(classes.sizes().take(3).eq([16, 32, 48]));
    /// ```
    #[inline]
    pub const fn size_classes(self) -> SizeClasses {
        SizeClasses(self.ladder())
    }

    /// Bytes that a block of this heap for this layout really has: see [`SizeClasses::usable_size`].
    ///
    /// ```
    /// use sal::SalAlloc;
    /// use std::alloc::Layout;
    ///
    /// assert_eq!(SalAlloc::new().usable_size(Layout::new::<[u8; 100]>()), 112);
    /// ```
    #[inline(always)]
    pub const fn usable_size(self, layout: Layout) -> usize {
        allocate::usable_size(self.ladder(), layout)
    }
}

impl Heap {
    /// The sizes of the heap's blocks.
    ///
    /// ```
    /// use sal::{HeapOptions, SizeClasses};
    ///
    /// let heap = HeapOptions::new().size_classes(SizeClasses::fine()).volatile()?;
    /// assert_eq!(heap.size_classes(), SizeClasses::fine());
    /// # Ok::<(), sal::OpenError>(())
    /// ```
    pub fn size_classes(&self) -> SizeClasses {
        self.alloc().size_classes()
    }
}

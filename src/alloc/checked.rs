//! What the checked build remembers of every block, and how it tells a good free from a bad one.
//!
//! A table of the process, outside the heap, has one word for each 16 bytes of the segments. The word of a block's first
//! bytes says whether it is alive and what layout it was asked for with; a large block keeps its size in the words of
//! its next bytes. A free looks at the slab table first (is there a block at this address?) and then changes the word
//! from alive to freed in one exchange, so that of two threads that free the same block, one is told. Blocks in
//! magazines are neither alive nor marked in their slab, which is why the slab's own bits cannot say it.
//!
//! # Invariants
//! - **M1** The word of a block that was handed out by this process says alive, with its layout, from before its first
//!   use until its free is accepted.
//! - **M2** Only whoever changes a word from alive to freed may give the block back.
//!
//! # Volatile
//! The table starts empty: of blocks that an earlier process made nothing is known but what the slabs say, so the first
//! free of one is accepted with any layout of the right class.

use super::heap_core::{Core, Run};
use super::size_class::{class_size, index_in_slab, slab_blocks};
use super::threads::Threads;
use super::windows;
use crate::format::{PAGE, UNIT_SHIFT};
use crate::os::CallError;
use crate::os::mapping::{self, Access, Source};
use core::alloc::Layout;
use core::ptr;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

/// What a program did wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Misuse {
    pub(crate) address: usize,
    pub(crate) kind: Kind,
    /// The block that the address falls into, if one does.
    pub(crate) block: Option<Block>,
}

/// How it was wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The block was free already; what it had been allocated with, if that is known.
    DoubleFree { allocated: Option<Layout> },
    /// No block of the heap begins there.
    Foreign(Where),
    /// The address is inside a block.
    Interior { block_start: usize, offset: usize },
    /// The block was allocated with a layout that does not fit the one it is freed with.
    WrongLayout { allocated: Layout, freed: Layout },
    /// The allocator made a block out of one that is alive: the heap is damaged.
    HandedOutTwice { allocated: Layout },
}

/// Where a foreign address lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Where {
    /// In no heap.
    NoHeap,
    /// In the heap of that window.
    OtherHeap(u32),
    /// Among the heap's own data.
    Bookkeeping,
    /// In memory that holds no blocks.
    NoRun,
    /// Where a slab has no block, or one that was never handed out.
    NoBlock,
}

/// What the slab table says of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) start: usize,
    /// Bytes that it has, whatever was asked for.
    pub(crate) size: usize,
    /// Start of its slab; none if it stands alone.
    pub(crate) slab: Option<usize>,
}

/// Bytes that a word stands for.
const GRANULE: usize = 16;

/// A word: two bits of state, one for large, five for the alignment's power of two, the rest for a small size less one.
mod word {
    #[cfg(test)]
    pub(super) const UNKNOWN: u32 = 0;
    pub(super) const ALIVE: u32 = 1;
    pub(super) const FREED: u32 = 2;
    pub(super) const STATE: u32 = 3;
    pub(super) const LARGE: u32 = 4;
    pub(super) const ALIGN_SHIFT: u32 = 3;
    pub(super) const SIZE_SHIFT: u32 = 8;
    /// Sizes from here on are large: their blocks begin at a unit and have words to spare.
    pub(super) const LARGE_FROM: usize = 1 << (32 - SIZE_SHIFT);
}

const _: () = assert!(super::size_class::MAX_SMALL <= word::LARGE_FROM);
const _: () =
    assert!(crate::format::layout::SEGMENTS_ALIGN.trailing_zeros() < 1 << (word::SIZE_SHIFT - word::ALIGN_SHIFT));

/// The table of one heap.
#[derive(Debug)]
pub(crate) struct Shadow {
    words: *mut AtomicU32,
    len: usize,
    /// Units below this one may have blocks of an earlier process.
    earlier_units: AtomicUsize,
}

impl Shadow {
    /// A table that knows nothing; `earlier_units` units may hold blocks already. It reserves address space of a quarter
    /// of the segments, and memory only as it is used.
    pub(crate) fn new(segments_len: usize, earlier_units: usize) -> Result<Self, CallError> {
        let len = segments_len / GRANULE;
        let words = mapping::map_anywhere(len * size_of::<u32>(), Access::ReadWrite, Source::Anonymous)?;
        Ok(Self { words: ptr::with_exposed_provenance_mut(words), len, earlier_units: AtomicUsize::new(earlier_units) })
    }

    /// Says that units below this one may have blocks of an earlier process; before the heap is used.
    pub(super) fn set_earlier_units(&self, units: usize) {
        // Relaxed: the heap is published behind it.
        self.earlier_units.store(units, Ordering::Relaxed);
    }

    /// The word for an offset into the segments.
    fn word(&self, offset: usize) -> &AtomicU32 {
        debug_assert!(offset / GRANULE < self.len);
        // SAFETY: in bounds, as the segments have as many granules as the table has words; zeros are valid atomics.
        unsafe { &*self.words.add(offset / GRANULE) }
    }

    /// Writes the size words of a large block and returns the word for its layout, in that state.
    fn encode(&self, offset: usize, layout: Layout, state: u32) -> u32 {
        let head = state | layout.align().trailing_zeros() << word::ALIGN_SHIFT;
        if layout.size() >= word::LARGE_FROM {
            // Relaxed: published by the store of the word itself.
            self.word(offset + GRANULE).store(layout.size() as u32, Ordering::Relaxed);
            self.word(offset + 2 * GRANULE).store((layout.size() >> 32) as u32, Ordering::Relaxed);
            return head | word::LARGE;
        }
        head | (layout.size() as u32 - 1) << word::SIZE_SHIFT
    }

    fn decode(&self, offset: usize, value: u32) -> Option<Layout> {
        let align = 1_usize << (value >> word::ALIGN_SHIFT & 31);
        let size = if value & word::LARGE != 0 {
            let [low, high] = [1, 2].map(|at| self.word(offset + at * GRANULE).load(Ordering::Relaxed) as usize);
            low | high << 32
        } else {
            (value >> word::SIZE_SHIFT) as usize + 1
        };
        Layout::from_size_align(size, align).ok()
    }
}

impl Drop for Shadow {
    fn drop(&mut self) {
        // SAFETY: the table is ours, and a heap that is dropped is used by nobody.
        let _ = unsafe { mapping::unmap(self.words.expose_provenance(), self.len * size_of::<u32>()) };
    }
}

/// Which layouts a block may be given back with: the alignment it was asked for with, and a size from that asked for to
/// that of the block which such a layout gets.
fn fits(asked: Layout, usable: usize, given: Layout) -> bool {
    given.align() == asked.align() && (asked.size()..=usable).contains(&given.size())
}

impl Core {
    /// Notes a new block (M1).
    pub(crate) fn note_allocated(&self, address: usize, layout: Layout) -> Result<(), Misuse> {
        let offset = address - self.segments;
        let value = self.checked.encode(offset, layout, word::ALIVE);
        // AcqRel: publishes the size words, and sees those of a block that is alive.
        let before = self.checked.word(offset).swap(value, Ordering::AcqRel);
        if before & word::STATE == word::ALIVE {
            let kind = Kind::HandedOutTwice { allocated: layout };
            return Err(Misuse { address, kind, block: self.block_of(address) });
        }
        Ok(())
    }

    /// Notes that a live block has another layout from now on; its holder alone may ask that.
    pub(crate) fn note_resized(&self, address: usize, layout: Layout) {
        let offset = address - self.segments;
        let value = self.checked.encode(offset, layout, word::ALIVE);
        // Release publishes the size words.
        self.checked.word(offset).store(value, Ordering::Release);
    }

    /// Notes that a block has been freed by other means than [`Core::note_freed`], as a collector does.
    #[cfg(test)]
    pub(crate) fn forget_block(&self, address: usize) {
        // Relaxed: nothing follows from an unknown block.
        self.checked.word(address - self.segments).store(word::UNKNOWN, Ordering::Relaxed);
    }

    /// Notes that a block which nobody reaches is about to be given back; of an earlier process's nothing is known.
    pub(crate) fn note_collected(&self, address: usize) {
        let word = self.checked.word(address - self.segments);
        // Relaxed: nobody else has the block.
        let value = word.load(Ordering::Relaxed);
        if value & word::STATE == word::ALIVE {
            word.store((value & !word::STATE) | word::FREED, Ordering::Relaxed);
        }
    }

    /// Says whether `address` is a live block that `layout` fits. `number` is that of the calling thread's thread heap, or
    /// 0; `usable` gives the size of the block that is made for a layout.
    pub(crate) fn check_block(
        &self,
        address: usize,
        layout: Layout,
        number: u32,
        usable: impl Fn(Layout) -> usize,
    ) -> Result<(), Misuse> {
        self.examine(address, layout, number, usable, |_, _| true)
    }

    /// Accepts or refuses a free; once it is accepted, the block is the caller's to give back (M2).
    pub(crate) fn note_freed(
        &self,
        address: usize,
        layout: Layout,
        number: u32,
        usable: impl Fn(Layout) -> usize,
    ) -> Result<(), Misuse> {
        self.examine(address, layout, number, usable, |word, alive| {
            let freed = alive & !word::STATE | word::FREED;
            // Relaxed: the exchange decides between racing frees; all else of a block is ordered by how it travels.
            word.compare_exchange(alive, freed, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        })
    }

    /// Finds the live word of `address` and lets `accept` have it, again and again until it agrees.
    fn examine(
        &self,
        address: usize,
        given: Layout,
        number: u32,
        usable: impl Fn(Layout) -> usize,
        accept: impl Fn(&AtomicU32, u32) -> bool,
    ) -> Result<(), Misuse> {
        let block = self.block_of(address);
        let refuse = |kind| Err(Misuse { address, kind, block });
        match windows::heap_window_of(address) {
            None => return refuse(Kind::Foreign(Where::NoHeap)),
            Some(window) if window != self.window => return refuse(Kind::Foreign(Where::OtherHeap(window))),
            Some(_) => {}
        }
        let offset = address.wrapping_sub(self.segments);
        if offset >= self.checked.len * GRANULE {
            return refuse(Kind::Foreign(Where::Bookkeeping));
        }
        if let Some(Block { start, .. }) = block {
            if start != address {
                return refuse(Kind::Interior { block_start: start, offset: address - start });
            }
        }
        let word = self.checked.word(offset);
        loop {
            // Acquire pairs with whoever wrote the layout: the size words are seen.
            let value = word.load(Ordering::Acquire);
            let known = self.checked.decode(offset, value);
            match (value & word::STATE, block) {
                // Large blocks leave no run behind, so this comes first.
                (word::FREED, _) if address % GRANULE == 0 => return refuse(Kind::DoubleFree { allocated: known }),
                (_, None) => return refuse(Kind::Foreign(self.where_no_block(address))),
                (word::ALIVE, Some(_)) => {
                    if let Some(allocated) = known.filter(|&known| !fits(known, usable(known), given)) {
                        return refuse(Kind::WrongLayout { allocated, freed: given });
                    }
                    if accept(word, value) {
                        return Ok(());
                    }
                }
                (_, Some(block)) => {
                    if offset >> UNIT_SHIFT >= self.checked.earlier_units.load(Ordering::Relaxed) {
                        return refuse(Kind::Foreign(Where::NoBlock));
                    }
                    if self.is_surely_free(address, number) {
                        return refuse(Kind::DoubleFree { allocated: None });
                    }
                    // What an earlier process allocated it with is unknown; the block's size need be right.
                    let size = usable(given);
                    if size != block.size && !(block.slab.is_none() && size.next_multiple_of(PAGE) == block.size) {
                        let align = given.align().min(1 << address.trailing_zeros());
                        let allocated = Layout::from_size_align(block.size, align).unwrap_or(given);
                        return refuse(Kind::WrongLayout { allocated, freed: given });
                    }
                    let unknown = self.checked.encode(offset, given, word::ALIVE);
                    // The next round takes it as any other; whoever comes second finds the first one's word.
                    let _ = word.compare_exchange(value, unknown, Ordering::AcqRel, Ordering::Relaxed);
                }
            }
        }
    }

    /// The block that `address` falls into, if it does.
    fn block_of(&self, address: usize) -> Option<Block> {
        match self.run_of(address)? {
            Run::Slab { head, class } => {
                let slab = self.address_of(head);
                let index = index_in_slab(class, address - slab);
                let start = slab + index as usize * class_size(class);
                (index < slab_blocks(class)).then_some(Block { start, size: class_size(class), slab: Some(slab) })
            }
            Run::Large { head, len_pages } => {
                Some(Block { start: self.address_of(head), size: len_pages as usize * PAGE, slab: None })
            }
        }
    }

    fn where_no_block(&self, address: usize) -> Where {
        if self.run_of(address).is_some() { Where::NoBlock } else { Where::NoRun }
    }

    /// Whether the slab itself says that a block is free, as far as the caller may look.
    fn is_surely_free(&self, address: usize, number: u32) -> bool {
        let Some(Run::Slab { head, class }) = self.run_of(address) else { return false };
        let index = index_in_slab(class, address - self.address_of(head));
        // Relaxed: what an earlier process freed was there before this one began.
        if self.remote(head, class).bits[index as usize / 64].load(Ordering::Relaxed) >> (index % 64) & 1 != 0 {
            return true;
        }
        // SAFETY: an atomic, which all may read.
        let owner = || unsafe { (*self.slab_state(head)).owner.load(Ordering::Relaxed) };
        // SAFETY: called with the owner's rights (K2).
        let is_free = || unsafe {
            let bits = *self.free_bits(head).add(index as usize / 64);
            index >= (*self.slab_state(head)).local.fresh || bits >> (index % 64) & 1 != 0
        };
        if number != 0 && owner() == number {
            return is_free();
        }
        let _guard = self.lock.lock();
        // SAFETY: under the lock (K1, T2).
        let is_owned = unsafe {
            let heap = Threads::find((*self.threads.get()).table(), owner());
            !heap.is_null() && (*heap).is_live
        };
        !is_owned && is_free()
    }
}

#[cfg(test)]
mod tests {
    use super::super::heap_core::testing::TestHeap;
    use super::super::size_class::{MAX_SMALL, class_of};
    use super::super::thread_heap::ThreadHeap;
    use super::*;

    fn usable(layout: Layout) -> usize {
        if layout.size() <= MAX_SMALL {
            class_size(class_of(layout.size()))
        } else {
            layout.size().next_multiple_of(PAGE)
        }
    }

    fn layout(size: usize) -> Layout {
        Layout::from_size_align(size, 8).unwrap()
    }

    fn allocate(heap: &TestHeap, thread: *mut ThreadHeap, size: usize) -> usize {
        let class = class_of(size);
        // SAFETY: this thread plays the thread.
        let block =
            unsafe { ThreadHeap::allocate(thread, class).unwrap_or_else(|| ThreadHeap::allocate_slow(thread, class)) };
        heap.note_allocated(block.addr(), layout(size)).unwrap();
        block.addr()
    }

    #[test]
    fn of_two_threads_that_free_a_block_at_once_exactly_one_is_told() {
        let heap = TestHeap::new(64 << 20);
        let thread = heap.take_thread_heap();
        let blocks: Vec<usize> = (0..2_000).map(|_| allocate(&heap, thread, 60)).collect();
        let start = std::sync::Barrier::new(2);
        let core: &Core = &heap;
        let free_all = || {
            start.wait();
            blocks.iter().map(|&block| core.note_freed(block, layout(60), 0, usable)).collect::<Vec<_>>()
        };
        let (first, second) = std::thread::scope(|scope| {
            let other = scope.spawn(free_all);
            (free_all(), other.join().unwrap())
        });
        for (first, second) in first.into_iter().zip(second) {
            let told = first.and(second).unwrap_err();
            assert_eq!(told.kind, Kind::DoubleFree { allocated: Some(layout(60)) });
            assert!(first.is_ok() || second.is_ok());
        }
    }

    #[test]
    fn a_block_that_is_handed_out_twice_is_noticed() {
        let heap = TestHeap::new(64 << 20);
        let block = allocate(&heap, heap.take_thread_heap(), 100);
        let misuse = heap.note_allocated(block, layout(100)).unwrap_err();
        assert_eq!(misuse.kind, Kind::HandedOutTwice { allocated: layout(100) });
        heap.forget_block(block);
        assert_eq!(heap.note_allocated(block, layout(100)), Ok(()));
    }

    #[test]
    fn sizes_beyond_four_gigabytes_are_kept() {
        let heap = TestHeap::new(64 << 20);
        let block = heap.allocate_large(1 << 20, 1, false).addr();
        let huge = layout((5 << 30) + 12_345);
        heap.note_allocated(block, huge).unwrap();
        let told = heap.note_freed(block, layout(1), 0, usable).unwrap_err();
        assert_eq!(told.kind, Kind::WrongLayout { allocated: huge, freed: layout(1) });
        assert_eq!(heap.note_freed(block, huge, 0, usable), Ok(()));
        heap.free_large(block);
        let told = heap.note_freed(block, huge, 0, usable).unwrap_err();
        assert_eq!(told.kind, Kind::DoubleFree { allocated: Some(huge) }, "also when the object is gone");
    }

    #[test]
    fn blocks_of_an_earlier_process_are_freed_once_with_the_right_class() {
        let earlier = TestHeap::new(64 << 20);
        let thread = earlier.take_thread_heap();
        let [kept, freed, mistaken] = [0; 3].map(|_| allocate(&earlier, thread, 5_000));
        let large = earlier.allocate_large(400_000, 1, false).addr();
        // SAFETY: this thread plays the thread; nobody else is there.
        unsafe {
            let class = class_of(5_000);
            assert!(ThreadHeap::free(thread, class, ptr::with_exposed_provenance_mut(freed)));
            earlier.retire_all_threads();
            // The next process: the same memory, another table.
            let core = Core::new(
                earlier.window,
                earlier.layout,
                earlier.ladder,
                earlier.layout.units as usize,
                super::super::backing::Backing::anonymous(false),
            );
            let later = core.unwrap();
            let free =
                |address, size| (*later).note_freed(address, layout(size), 0, usable).map_err(|misuse| misuse.kind);
            assert_eq!(free(kept, 5_100), Ok(()), "any size of the class, as the one asked for is unknown");
            assert_eq!(free(kept, 5_100), Err(Kind::DoubleFree { allocated: Some(layout(5_100)) }));
            assert_eq!(free(freed, 5_000), Err(Kind::DoubleFree { allocated: None }), "the slab's bits say so");
            assert!(matches!(free(mistaken, 6_000), Err(Kind::WrongLayout { .. })));
            assert_eq!(free(mistaken + 8, 5_000), Err(Kind::Interior { block_start: mistaken, offset: 8 }));
            assert_eq!(free(large, 399_000), Ok(()));
            assert_eq!(free(large + 4096, 399_000), Err(Kind::Interior { block_start: large, offset: 4096 }));
            Core::let_go(later);
        }
    }
}

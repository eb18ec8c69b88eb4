//! Finding what belongs to another heap.
//!
//! `mem::swap` of two roots of different heaps compiles, and so does pushing a `String` of one heap into a `Vec` of
//! another. When either heap is opened alone, such a block is not there. The visitor is handed every block and handle
//! of a value and compares addresses: each heap's file is mapped in one window of its own.
//!
//! # Invariants
//! - **B1** `found` is the first find and never changes again.
//! - **B2** What `later` names is a value within the one that the outermost call of [`BlockVisitor::value`] borrows, and
//!   the list is emptied before that call returns. After a panic `depth` never becomes zero again, and it stays unread.
#![allow(unsafe_code)]

use super::Persist;
use super::follow::{Follow, FoundPool};
use crate::SalAlloc;
use crate::handle::pin::Pins;
use core::{alloc::Layout, fmt, ops::Range, ptr::NonNull};
use std::collections::HashSet;

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
    /// Who is told of pointers to collected objects; then blocks and handles do not matter.
    follower: Option<&'observer mut dyn Follow>,
    /// Pointers that it has not been told of yet, and how many.
    pointers: [usize; TOLD_AT_ONCE],
    untold: usize,
    /// Calls of [`BlockVisitor::value`] within each other.
    depth: u32,
    later: Vec<Later>,
    /// While there are some.
    pins: Option<Pins>,
    /// Addresses of blocks that several pointers share, and that have been met.
    shared: HashSet<usize>,
    /// Whether what they hold is left out.
    is_shallow: bool,
}

/// Values that are visited within each other; those further down wait, so that a list of any length fits the stack.
const DEEPEST: u32 = 50;

/// Pointers that a follower is told of together: a call for each would cost as much as what is done with it.
const TOLD_AT_ONCE: usize = 16;

/// A value that waits to be visited.
#[derive(Clone, Copy)]
struct Later {
    value: *const (),
    visit: unsafe fn(*const (), &mut BlockVisitor<'_>),
}

/// # Safety
/// `value` is a `T` that is borrowed.
unsafe fn visit<T: Persist>(value: *const (), visitor: &mut BlockVisitor<'_>) {
    // SAFETY: the caller's promise.
    unsafe { (*value.cast::<T>()).visit_blocks(visitor) }
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
        Self {
            window,
            handle,
            found: None,
            observer: None,
            follower: None,
            pointers: [0; TOLD_AT_ONCE],
            untold: 0,
            depth: 0,
            later: Vec::new(),
            pins: None,
            shared: HashSet::new(),
            is_shallow: false,
        }
    }

    /// A visitor that looks for pointers to collected objects, and for nothing else.
    pub(crate) fn following(follower: &'observer mut dyn Follow) -> Self {
        Self { follower: Some(follower), ..Self::new(0..usize::MAX, SalAlloc::new()) }
    }

    /// Leaves out what lies in blocks that several pointers share.
    pub(crate) fn shallow(self) -> Self {
        Self { is_shallow: true, ..self }
    }

    /// As [`BlockVisitor::new`], and `observer` is told every block, foreign ones too, with the layout its owner
    /// knows. After the first foreign find some blocks may be left out.
    pub fn observing(
        window: Range<usize>,
        handle: SalAlloc,
        observer: &'observer mut dyn FnMut(NonNull<u8>, Layout),
    ) -> Self {
        Self { observer: Some(observer), ..Self::new(window, handle) }
    }

    /// Takes note of a block that the visited value owns: the one it would free with `layout`.
    pub fn block(&mut self, start: NonNull<u8>, layout: Layout) {
        if self.follower.is_some() {
            return;
        }
        if let Some(observer) = &mut self.observer {
            observer(start, layout);
        }
        self.check(start.addr().get(), layout.size());
    }

    fn check(&mut self, address: usize, size: usize) {
        let inside =
            self.window.contains(&address) && address.checked_add(size).is_some_and(|end| end <= self.window.end);
        if !inside {
            self.found.get_or_insert(Foreign::Block { address, size });
        }
    }

    /// Takes note of a block that the visited value shares with others; false if it has been met, and its content visited, before.
    pub fn shared_block(&mut self, start: NonNull<u8>, layout: Layout) -> bool {
        let is_new = self.shared.insert(start.addr().get());
        if is_new {
            self.block(start, layout);
        }
        is_new && !self.is_shallow
    }

    /// Takes note of an object that may be moved: it lies in the heap, and mostly in no block of its own.
    pub(crate) fn object(&mut self, start: NonNull<u8>, layout: Layout) {
        let observer = self.observer.take();
        self.block(start, layout);
        self.observer = observer;
    }

    /// Takes note of a handle inside the visited value.
    pub fn handle(&mut self, handle: SalAlloc) {
        if handle != self.handle && self.follower.is_none() {
            self.found.get_or_insert(Foreign::Handle { handle });
        }
    }

    /// Takes note of a pointer to a collected object, which the visited value does not own.
    #[inline]
    pub(crate) fn pointer(&mut self, address: usize, size: usize) {
        if self.follower.is_none() {
            return self.check(address, size);
        }
        if self.untold == TOLD_AT_ONCE {
            self.tell();
        }
        self.pointers[self.untold % TOLD_AT_ONCE] = address;
        self.untold += 1;
    }

    /// Tells the follower what it has not been told yet. Who has one calls this in the end.
    pub(crate) fn tell(&mut self) {
        let untold = core::mem::take(&mut self.untold).min(TOLD_AT_ONCE);
        if let Some(follower) = &mut self.follower {
            follower.pointers(&self.pointers[..untold]);
        }
    }

    /// Takes note of a word that may be a pointer to a collected object, or into one.
    pub(crate) fn word(&mut self, word: usize) {
        if let Some(follower) = &mut self.follower {
            follower.word(word);
        }
    }

    /// Takes note of a pool; true if its objects are not to be visited as those of other containers are.
    pub(crate) fn pool(&mut self, pool: FoundPool) -> bool {
        self.follower.as_mut().is_some_and(|follower| follower.pool(pool))
    }

    /// Visits what the follower asks for, until it asks no more.
    ///
    /// # Safety
    /// What it names are values of the types that it says, and nobody changes them meanwhile.
    pub(crate) unsafe fn follow(&mut self) {
        loop {
            let untold = core::mem::take(&mut self.untold).min(TOLD_AT_ONCE);
            let Some(follower) = &mut self.follower else { return };
            let Some((value, visit)) = follower.next(&self.pointers[..untold]) else { return };
            // SAFETY: the caller's promise.
            unsafe { visit(value, self) };
        }
    }

    /// Visits a value that lies in a block of the visited one: an element of a container. Called instead of
    /// [`Persist::visit_blocks`], it keeps chains of any length from overflowing the stack.
    pub fn value<T: Persist>(&mut self, value: &T) {
        if !T::OWNS_BLOCKS || self.found.is_some() {
            return;
        }
        if self.depth == DEEPEST {
            self.visit_later(Later { value: core::ptr::from_ref(value).cast(), visit: visit::<T> });
            return;
        }
        self.depth += 1;
        value.visit_blocks(self);
        if self.depth == 1 && !self.later.is_empty() {
            self.visit_waiting();
        }
        self.depth -= 1;
    }

    #[cold]
    fn visit_later(&mut self, later: Later) {
        // If it was come to by a handle, it stays where it is: who visits what a handle leads to has a pin as well.
        self.pins.get_or_insert_with(Pins::begin);
        self.later.push(later);
    }

    #[cold]
    fn visit_waiting(&mut self) {
        while let Some(later) = self.later.pop() {
            // SAFETY: B2.
            unsafe { (later.visit)(later.value, self) };
        }
        self.pins = None;
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

    /// A chain that is as deep as it is long.
    struct Link(Option<Box<Link>>, usize);

    // SAFETY: for these tests only, which store it nowhere.
    unsafe impl Persist for Link {
        const OWNS_BLOCKS: bool = true;
        fn describe(describer: &mut crate::persist::Describer) -> crate::persist::Node {
            u64::describe(describer)
        }
        fn visit_blocks(&self, visitor: &mut BlockVisitor<'_>) {
            block_at(visitor, self.1, 1);
            if let Some(next) = &self.0 {
                visitor.value::<Link>(next);
            }
        }
    }

    #[test]
    fn all_values_of_a_long_chain_are_visited_and_the_stack_holds_few_of_them() {
        const LONG: usize = 300_000;
        let mut chain = Link(None, LONG);
        for at in (1..LONG).rev() {
            chain = Link(Some(Box::new(chain)), at);
        }
        let mut seen = Vec::new();
        let mut observer = |start: NonNull<u8>, _: Layout| seen.push(start.addr().get());
        let mut visitor = BlockVisitor::observing(0..usize::MAX, SalAlloc::new(), &mut observer);
        visitor.value(&chain);
        assert!(visitor.later.is_empty());
        assert!(visitor.finish().is_ok());
        assert!(seen.into_iter().eq(1..=LONG));
        // The last is found, too.
        let mut visitor = BlockVisitor::new(0..LONG, SalAlloc::new());
        chain.visit_blocks(&mut visitor);
        assert!(visitor.finish().is_err());
        while let Some(next) = chain.0.take() {
            chain = *next;
        }
    }

    /// What a handle leads to would be moved, and its old place be used again, before it was visited.
    #[test]
    fn a_value_that_waits_stays_where_it_is_until_it_is_visited() {
        let chain = |len: usize| (1..=len).rfold(None, |next, at| Some(Box::new(Link(next, at)))).expect("it is long");
        let (long, short) = (chain(2 * DEEPEST as usize), chain(10));
        let mut pinned = Vec::new();
        let mut observer =
            |start: NonNull<u8>, _: Layout| pinned.push((start.addr().get(), crate::handle::pin::is_pinned()));
        let mut visitor = BlockVisitor::observing(0..usize::MAX, SalAlloc::new(), &mut observer);
        for chain in [&short, &long, &short] {
            visitor.value::<Link>(chain);
            assert!(visitor.later.is_empty() && !crate::handle::pin::is_pinned());
        }
        assert!(visitor.finish().is_ok());
        // From where the first one waited on.
        let waits = |at: &usize| *at > DEEPEST as usize;
        assert!(pinned.iter().all(|(at, is_pinned)| *is_pinned == waits(at)), "{pinned:?}");
        assert_eq!(pinned.len(), 2 * DEEPEST as usize + 20);
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

//! Dropping chains of any length.
//!
//! The last pointer to a value drops it, and with it the pointers in it, which may be the last of theirs. Up to a depth that is
//! done as one call within another; what lies deeper waits until the outermost one gets to it. So a list of ten million
//! nodes needs hardly any stack, and a list of one entry.

use core::cell::{Cell, RefCell};
use core::ptr::NonNull;

/// Values that are dropped within each other.
const DEEPEST: u32 = 32;

/// Drops the value in a block, and does what is to be done with the block then.
pub(super) type Finish = unsafe fn(NonNull<u8>);

std::thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    static LATER: RefCell<Vec<(NonNull<u8>, Finish)>> = const { RefCell::new(Vec::new()) };
}

/// Leaves a depth, also by a panic.
struct Within(u32);

impl Drop for Within {
    #[inline]
    fn drop(&mut self) {
        DEPTH.set(self.0);
        if self.0 == 0 {
            drop_waiting();
        }
    }
}

/// Runs `finish` with a block, now or when the calls that it is within have come to their ends.
///
/// # Safety
/// As `finish` demands, also if it is called later by this thread.
#[inline]
pub(super) unsafe fn run(block: NonNull<u8>, finish: Finish) {
    let depth = DEPTH.get();
    if depth >= DEEPEST && put_off(block, finish) {
        return;
    }
    DEPTH.set(depth + 1);
    let _within = Within(depth);
    // SAFETY: the caller's promise.
    unsafe { finish(block) };
}

/// False if the thread is ending, and its list gone.
#[cold]
fn put_off(block: NonNull<u8>, finish: Finish) -> bool {
    LATER.try_with(|later| later.borrow_mut().push((block, finish))).is_ok()
}

/// What was put off last; the list is not borrowed while it is dropped.
#[inline]
fn next() -> Option<(NonNull<u8>, Finish)> {
    LATER.try_with(|later| later.borrow_mut().pop()).ok().flatten()
}

#[inline]
fn drop_waiting() {
    /// Goes on with the rest if a value panics when it is dropped.
    struct Rest;
    impl Drop for Rest {
        fn drop(&mut self) {
            DEPTH.set(0);
            drop_waiting();
        }
    }
    while let Some((block, finish)) = next() {
        // As within another call, so that nothing else takes from the list meanwhile.
        DEPTH.set(1);
        let rest = Rest;
        // SAFETY: promised when it was put off.
        unsafe { finish(block) };
        // Also if the thread is panicking for another reason.
        core::mem::forget(rest);
        DEPTH.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Chain {
        left: usize,
        panics_at: usize,
        dropped: *const Cell<usize>,
    }

    /// Stands for a value that holds the last pointer to the next one.
    unsafe fn drop_link(link: NonNull<u8>) {
        let link: NonNull<Chain> = link.cast();
        // SAFETY: the test's own, and alive.
        let (link, dropped) = unsafe { (&mut *link.as_ptr(), &*link.as_ref().dropped) };
        dropped.set(dropped.get() + 1);
        if link.left > 0 {
            link.left -= 1;
            // SAFETY: as above.
            unsafe { run(NonNull::from(&mut *link).cast(), drop_link) };
        }
        assert_ne!(dropped.get(), link.panics_at, "as the test wants");
    }

    #[test]
    fn a_chain_is_dropped_whole_whatever_its_length() {
        for left in [0, 1, 31, 32, 33, 1000, 1_000_000] {
            let dropped = Cell::new(0);
            let mut chain = Chain { left, panics_at: usize::MAX, dropped: &dropped };
            // SAFETY: alive for the call.
            unsafe { run(NonNull::from(&mut chain).cast(), drop_link) };
            assert_eq!(dropped.get(), left + 1);
            assert_eq!(DEPTH.get(), 0);
        }
    }

    #[test]
    fn a_panic_of_one_leaves_none_of_the_others() {
        let dropped = Cell::new(0);
        let mut chain = Chain { left: 100, panics_at: 64, dropped: &dropped };
        let block: NonNull<u8> = NonNull::from(&mut chain).cast();
        // SAFETY: alive for the call.
        let caught = std::panic::catch_unwind(|| unsafe { run(NonNull::new(block.as_ptr()).unwrap(), drop_link) });
        assert!(caught.is_err() && DEPTH.get() == 0 && next().is_none());
        assert_eq!(dropped.get(), 101);
    }
}

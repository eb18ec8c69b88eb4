//! What is not reachable any more, and waits for the pins of those who may still see it.
//!
//! # Invariants
//! - **L1** What is done with an item is done once, after all pins have gone that there were when it was [put](put) there.
//! - **L2** No lock is held while it is done, so it may put more here.

use super::pin::{self, CLOCK};
use core::cell::Cell;
use core::ops::Range;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Between two looks whether something can be done so many items are put.
const EVERY: usize = 64;

/// What is to be done with an address; the number is whatever who put it wants to know then.
pub(crate) type Finish = unsafe fn(address: usize, number: usize);

struct Item {
    /// When it was not reachable any more.
    time: u64,
    address: usize,
    number: usize,
    finish: Finish,
}

struct Waiting {
    items: VecDeque<Item>,
    /// Length at which somebody looks next.
    look_at: usize,
}

static WAITING: Mutex<Waiting> = Mutex::new(Waiting { items: VecDeque::new(), look_at: EVERY });

fn waiting() -> MutexGuard<'static, Waiting> {
    // Nothing panics while it is locked.
    WAITING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Does `finish` when nobody can see any more what the caller has just made unreachable.
///
/// # Safety
/// `finish` may be called with these by any thread once nobody sees it (L1).
pub(crate) unsafe fn put(address: usize, number: usize, finish: Finish) {
    let is_due = {
        let mut waiting = waiting();
        // Under the lock, so that times rise along the list.
        let time = CLOCK.advance();
        waiting.items.push_back(Item { time, address, number, finish });
        waiting.items.len() >= waiting.look_at
    };
    if is_due {
        finish_some();
    }
}

std::thread_local! {
    static IS_FINISHING: Cell<bool> = const { Cell::new(false) };
}

/// The thread does what waits, until this is dropped, also by a panic.
struct Finishing;

impl Drop for Finishing {
    fn drop(&mut self) {
        IS_FINISHING.set(false);
    }
}

/// Does what can be done; returns how many items are left. Within what is being done nothing is: whoever does that comes to what is put
/// here meanwhile, and a chain of any kind needs no deep stack.
pub(crate) fn finish_some() -> usize {
    if IS_FINISHING.replace(true) {
        return waiting().items.len();
    }
    let _finishing = Finishing;
    loop {
        if waiting().items.is_empty() {
            return 0;
        }
        // What is put here from now on may be seen by who pins from now on, also if nobody has a pin at this moment.
        let now = CLOCK.now();
        let oldest = pin::oldest(pin::all()).unwrap_or(now);
        if let Some(left) = finish_older_than(oldest) {
            return left;
        }
        // What was done may have put more here: a list is dropped link by link.
    }
}

/// Does what was put here before a time; returns how many items are left if there was nothing to do.
fn finish_older_than(oldest: u64) -> Option<usize> {
    let mut is_first = true;
    loop {
        let item = {
            let mut waiting = waiting();
            if waiting.items.front().is_none_or(|item| item.time >= oldest) {
                let left = waiting.items.len();
                waiting.look_at = left + EVERY;
                return is_first.then_some(left);
            }
            waiting.items.pop_front()
        };
        if let Some(Item { address, number, finish, .. }) = item {
            // SAFETY: the promise of who put it; nobody shows a time as early (E1), and it is out of the list (L1).
            unsafe { finish(address, number) };
        }
        is_first = false;
    }
}

/// The threads whose pins something waits for, by the numbers that the system gives them.
pub(crate) fn readers() -> Vec<u32> {
    let oldest = waiting().items.front().map(|item| item.time);
    oldest.map_or_else(Vec::new, pin::threads_before)
}

/// Leaves undone what waits for addresses of a range, which are about to go.
pub(crate) fn forget(range: &Range<usize>) {
    waiting().items.retain(|item| !range.contains(&item.address));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    static DONE: AtomicUsize = AtomicUsize::new(0);

    unsafe fn count(_: usize, number: usize) {
        DONE.fetch_add(number, Ordering::Relaxed);
    }

    #[test]
    fn what_waits_is_done_when_the_pins_of_before_are_gone() {
        // Other tests of this process have pins for moments only.
        let until_done = |number| {
            while DONE.load(Ordering::Relaxed) < number {
                finish_some();
                std::thread::yield_now();
            }
        };
        let pins = pin::Pins::begin();
        // SAFETY: it only counts.
        unsafe { put(1, 1, count) };
        finish_some();
        assert_eq!(DONE.load(Ordering::Relaxed), 0);
        drop(pins);
        until_done(1);
        // A pin that begins later is not waited for.
        // SAFETY: as above.
        unsafe { put(1, 10, count) };
        let _pins = pin::Pins::begin();
        until_done(11);
        // SAFETY: as above.
        unsafe { put(77, 100, count) };
        forget(&(77..78));
        finish_some();
        assert_eq!(DONE.load(Ordering::Relaxed), 11);
    }

    std::thread_local! {
        static SEEN: std::cell::RefCell<Option<pin::Pins>> = const { std::cell::RefCell::new(None) };
        static IS_WAITED_FOR: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
    }

    unsafe fn pin_and_put_another(_: usize, _: usize) {
        unsafe fn done_too_soon(_: usize, _: usize) {
            SEEN.with_borrow(|pins| assert!(pins.is_none(), "somebody may still see it"));
        }
        // Another test's thread may have come first.
        if IS_WAITED_FOR.get() {
            SEEN.set(Some(pin::Pins::begin()));
            // SAFETY: it only looks.
            unsafe { put(3, 0, done_too_soon) };
        }
    }

    #[test]
    fn what_is_put_while_something_is_done_waits_for_the_pins_that_there_are_by_then() {
        IS_WAITED_FOR.set(true);
        for _ in 0..100 {
            // SAFETY: it only pins, and puts something harmless.
            unsafe { put(2, 0, pin_and_put_another) };
            finish_some();
            SEEN.set(None);
        }
    }
}

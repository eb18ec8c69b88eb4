//! What is not reachable any more, and waits for the pins of those who may still see it.
//!
//! # Invariants
//! - **L1** What is done with an item is done once, after all pins have gone that there were when it was [put](put) there.
//! - **L2** No lock is held while it is done, so it may put more here.
//! - **L3** It is done by a thread that uses the heap by itself: who has nothing to do with a heap does nothing there, so who knows of no
//!   other thread in a heap has it alone.
//! - **L4** What is being done is listed, so that who takes the memory away can wait for it.
//! - **L5** What is *memory* is only given back, which drops no value: it may be done wherever memory is needed.

use super::pin::{self, CLOCK};
use crate::alloc::windows;
use crate::os::lock::Lock;
use core::cell::{Cell, UnsafeCell};
use core::ops::Range;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};

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

/// What waits in one heap.
struct Queue {
    /// The heap's name.
    heap: u32,
    items: VecDeque<Item>,
    /// What is memory (L5).
    memory: VecDeque<Item>,
    /// Length at which somebody looks next.
    look_at: usize,
}

impl Queue {
    fn len(&self) -> usize {
        self.items.len() + self.memory.len()
    }

    /// Takes out what was put here before a time, memory first.
    fn pop_older_than(&mut self, oldest: u64, what: What) -> Option<Item> {
        let queues = match what {
            What::All => [Some(&mut self.memory), Some(&mut self.items)],
            What::Memory => [Some(&mut self.memory), None],
        };
        queues.into_iter().flatten().find_map(|queue| {
            // Times rise along each.
            let is_old = queue.front().is_some_and(|item| item.time < oldest);
            if is_old { queue.pop_front() } else { None }
        })
    }
}

/// What is to be done of what waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    All,
    /// Only what is memory (L5).
    Memory,
}

struct Waiting {
    /// Of each heap in which something has waited.
    queues: Vec<Queue>,
    /// Addresses of what is being done, and who does it.
    running: Vec<(usize, usize)>,
}

/// What waits. A lock that a forked child can begin anew, whoever held it.
struct Limbo {
    lock: Lock,
    waiting: UnsafeCell<Waiting>,
}

// SAFETY: what waits is touched under the lock; items may be done by any thread.
unsafe impl Sync for Limbo {}

static LIMBO: Limbo = Limbo { lock: Lock::new(), waiting: UnsafeCell::new(Waiting::new()) };

impl Waiting {
    const fn new() -> Self {
        Self { queues: Vec::new(), running: Vec::new() }
    }

    fn queue(&mut self, heap: u32) -> &mut Queue {
        let at = self.queues.iter().position(|queue| queue.heap == heap).unwrap_or_else(|| {
            let (items, memory) = (VecDeque::new(), VecDeque::new());
            self.queues.push(Queue { heap, items, memory, look_at: EVERY });
            self.queues.len() - 1
        });
        &mut self.queues[at]
    }
}

/// The heap that has an address, by its name.
fn heap_at(address: usize) -> u32 {
    windows::heap_name_of(address).unwrap_or(0)
}

/// Runs `work` with what waits. It drops nothing that is anybody's, and calls nobody.
fn with<R>(work: impl FnOnce(&mut Waiting) -> R) -> R {
    let _guard = LIMBO.lock.lock();
    // SAFETY: under the lock, and `work` does not come here again.
    work(unsafe { &mut *LIMBO.waiting.get() })
}

/// A number that no other thread has at this time.
fn this_thread() -> usize {
    IS_FINISHING.with(|flag| core::ptr::from_ref(flag).addr())
}

/// In a forked child: what other threads were doing is done by nobody.
pub(crate) fn begin_child() {
    // SAFETY: the child has one thread. If another one held the lock in the parent, what waits may be half changed, and is left alone.
    unsafe {
        let waiting = LIMBO.waiting.get();
        if LIMBO.lock.is_held() {
            waiting.write(Waiting::new());
            LIMBO.lock.release();
        } else {
            (*waiting).running.retain(|&(_, thread)| thread == this_thread());
        }
    }
}

/// Does `finish` when nobody can see any more what the caller has just made unreachable.
///
/// # Safety
/// `finish` may be called with these by any thread once nobody sees it (L1).
pub(crate) unsafe fn put(address: usize, number: usize, finish: Finish) {
    let is_due = with(|waiting| {
        // Under the lock, so that times rise along the list.
        let time = CLOCK.advance();
        let queue = waiting.queue(heap_at(address));
        queue.items.push_back(Item { time, address, number, finish });
        queue.len() >= queue.look_at
    });
    if is_due {
        finish_some(address);
    }
}

/// As [`put`], of memory (L5), which is given back at once if nobody can see it.
///
/// # Safety
/// As for [`put`], and `finish` drops no value.
pub(crate) unsafe fn put_memory(address: usize, finish: Finish) {
    with(|waiting| {
        // As above.
        let time = CLOCK.advance();
        waiting.queue(heap_at(address)).memory.push_back(Item { time, address, number: 0, finish });
    });
    finish_memory(address);
}

/// Gives the memory back that waits in the heap that has an address, as far as it can be, unless it waits for the calling thread itself.
pub(crate) fn finish_memory(address: usize) {
    if !pin::is_pinned() {
        finish_memory_of_before(address);
    }
}

/// As [`finish_memory`], also if the calling thread has a pin, of what is from before that. Whether there was any.
pub(crate) fn finish_memory_of_before(address: usize) -> bool {
    let heap = heap_at(address);
    let has_any = !with(|waiting| waiting.queue(heap).memory.is_empty());
    has_any && finish_older_than(heap, oldest_seen(), What::Memory).is_none()
}

/// What was put here before this time is seen by nobody.
fn oldest_seen() -> u64 {
    // What is put here from now on may be seen by who pins from now on; and slots are looked at one after the other, so who had none
    // when it was looked at may show this time, and another one a later time.
    let now = CLOCK.now();
    pin::oldest(pin::all()).map_or(now, |oldest| oldest.min(now))
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

/// Does what can be done in the heap that has an address; returns how many items of it are left. Within what is being done nothing is:
/// whoever does that comes to what is put here meanwhile, and a chain of any kind needs no deep stack.
pub(crate) fn finish_some(address: usize) -> usize {
    let heap = heap_at(address);
    if IS_FINISHING.replace(true) {
        return len(heap);
    }
    let _finishing = Finishing;
    loop {
        if len(heap) == 0 {
            return 0;
        }
        if let Some(left) = finish_older_than(heap, oldest_seen(), What::All) {
            return left;
        }
        // What was done may have put more here: a list is dropped link by link.
    }
}

fn len(heap: u32) -> usize {
    with(|waiting| waiting.queue(heap).len())
}

/// What is done with an item is over, also if it panics.
struct Running(usize);

impl Drop for Running {
    fn drop(&mut self) {
        let thread = this_thread();
        with(|waiting| {
            let own = waiting.running.iter().position(|running| *running == (self.0, thread));
            own.map(|own| waiting.running.swap_remove(own));
        });
    }
}

/// Does what was put here before a time; returns how many items are left if there was nothing to do.
fn finish_older_than(heap: u32, oldest: u64, what: What) -> Option<usize> {
    let (mut is_first, thread) = (true, this_thread());
    loop {
        let next = with(|waiting| {
            let queue = waiting.queue(heap);
            match queue.pop_older_than(oldest, what) {
                Some(item) => {
                    waiting.running.push((item.address, thread));
                    Ok(item)
                }
                None => {
                    if what == What::All {
                        queue.look_at = queue.len() + EVERY;
                    }
                    Err(queue.len())
                }
            }
        });
        let Item { address, number, finish, .. } = match next {
            Ok(item) => item,
            Err(left) => return is_first.then_some(left),
        };
        let _running = Running(address);
        // What a value says when it is dropped concerns nobody here.
        // SAFETY: the promise of who put it; nobody shows a time as early (E1), and it is out of the list (L1).
        let _ = catch_unwind(AssertUnwindSafe(|| unsafe { finish(address, number) }));
        is_first = false;
    }
}

/// The threads whose pins something in the heap at an address waits for, by the numbers that the system gives them.
pub(crate) fn readers(address: usize) -> Vec<u32> {
    let heap = heap_at(address);
    let oldest = with(|waiting| {
        let queue = waiting.queue(heap);
        queue.items.front().into_iter().chain(queue.memory.front()).map(|item| item.time).min()
    });
    oldest.map_or_else(Vec::new, pin::threads_before)
}

/// Leaves undone what waits for addresses of a range, which are about to go, and waits until nothing is done there by other threads.
pub(crate) fn forget(range: &Range<usize>) {
    let thread = this_thread();
    while with(|waiting| {
        for queue in &mut waiting.queues {
            queue.items.retain(|item| !range.contains(&item.address));
            queue.memory.retain(|item| !range.contains(&item.address));
        }
        waiting.running.iter().any(|&(address, other)| range.contains(&address) && other != thread)
    }) {
        std::thread::yield_now();
    }
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
                finish_some(1);
                std::thread::yield_now();
            }
        };
        let pins = pin::Pins::begin();
        // SAFETY: it only counts.
        unsafe { put(1, 1, count) };
        finish_some(1);
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
        finish_some(1);
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
            finish_some(1);
            SEEN.set(None);
        }
    }
}

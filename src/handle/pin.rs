//! Pins: readers say that they are there, and whoever takes something away waits until those who may see it are gone.
//!
//! There is a clock, one for the process. A thread that pins stores what the clock shows in a slot of its own; one that wants
//! to give something back first makes it unreachable, then moves the clock on, and gives it back when no slot shows the time before
//! that or an earlier one. The thread's store has to be seen before it looks at anything; whoever waits makes all threads pass a
//! barrier instead ([`barrier`]), so pinning is a load and a store. This is epoch-based reclamation (Fraser, *Practical
//! lock-freedom*, 2004), with times that a slot keeps instead of three generations.
//!
//! Beside it a slot has a flag for what must not overlap with moving objects ([`begin_ending`]); it is set for a few instructions only, so
//! that whoever moves waits for it.
//!
//! # Invariants
//! - **E1** What was made unreachable before [`Clock::advance`] returned `time` is seen by no thread whose slot is empty or shows a
//!   later time than `time`, at any moment after the [`heavy`](barrier::heavy) barrier of [`oldest`].
//! - **E2** A thread's slot shows a time as long as it has a pin.
//! - **E3** A thread that is inside of [`begin_ending`] and was told that nothing is being moved is waited for by whoever begins to move.

use crate::os::barrier;
use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// What a slot shows without a pin.
const NONE: u64 = 0;

/// The time.
#[derive(Debug)]
pub(crate) struct Clock(AtomicU64);

impl Clock {
    #[cfg(not(loom))]
    pub(crate) const fn new() -> Self {
        Self(AtomicU64::new(1))
    }

    #[cfg(loom)]
    pub(super) fn new() -> Self {
        Self(AtomicU64::new(1))
    }

    /// What it shows.
    pub(crate) fn now(&self) -> u64 {
        // Acquire: as in `Slot::enter`.
        self.0.load(Ordering::Acquire)
    }

    /// Moves the clock on; returns what it showed.
    pub(crate) fn advance(&self) -> u64 {
        // Release: what was made unreachable before is so for who reads the new time (E1).
        self.0.fetch_add(1, Ordering::AcqRel)
    }
}

/// What one thread announces.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Slot {
    time: AtomicU64,
    ending: AtomicU32,
}

impl Slot {
    #[cfg(not(loom))]
    const fn new() -> Self {
        Self { time: AtomicU64::new(NONE), ending: AtomicU32::new(0) }
    }

    #[cfg(loom)]
    pub(super) fn new() -> Self {
        Self { time: AtomicU64::new(NONE), ending: AtomicU32::new(0) }
    }

    /// The thread pins; it has no pin yet.
    #[inline(always)]
    pub(crate) fn enter(&self, clock: &Clock) {
        // Acquire pairs with `Clock::advance`: with a later time comes what was made unreachable before it (E1).
        let time = clock.0.load(Ordering::Acquire);
        // Release pairs with the Acquire in `shows`: whoever sees it sees the end of the pin before.
        self.time.store(time, Ordering::Release);
        // Its partner is the barrier of `oldest`.
        barrier::light();
    }

    /// The thread's only pin is gone.
    #[inline(always)]
    pub(crate) fn leave(&self) {
        // Release pairs with the Acquire in `shows`: all that was read was read before.
        self.time.store(NONE, Ordering::Release);
    }

    fn shows(&self) -> Option<u64> {
        // Acquire pairs with `leave` and `enter`.
        match self.time.load(Ordering::Acquire) {
            NONE => None,
            time => Some(time),
        }
    }

    /// The thread is about to end an object, unless objects are being moved; whether they are. In both cases it must
    /// [`Slot::leave_ending`].
    #[inline(always)]
    #[must_use]
    pub(crate) fn begin_ending(&self, is_moving: &AtomicU32) -> bool {
        // Relaxed, and then the barrier, whose partner is that of `begin_moving`.
        self.ending.store(1, Ordering::Relaxed);
        barrier::light();
        // Acquire pairs with the Release in `end_moving`: where objects were moved is seen.
        is_moving.load(Ordering::Acquire) != 0
    }

    /// As it says.
    #[inline(always)]
    pub(crate) fn leave_ending(&self) {
        // Release pairs with the Acquire in `begin_moving`.
        self.ending.store(0, Ordering::Release);
    }
}

/// The earliest time that a slot shows, of those that count (E1); none if no slot shows one.
pub(crate) fn oldest<'a>(slots: impl Iterator<Item = &'a Slot>) -> Option<u64> {
    barrier::heavy();
    slots.filter_map(Slot::shows).min()
}

/// Says that objects are being moved, and waits until all threads know (E3).
pub(crate) fn begin_moving<'a>(is_moving: &AtomicU32, slots: impl Iterator<Item = &'a Slot>, wait: impl Fn()) {
    // Relaxed, and then the barrier, whose partner is that of `begin_ending`.
    is_moving.store(1, Ordering::Relaxed);
    barrier::heavy();
    for slot in slots {
        // Acquire pairs with `leave_ending`.
        while slot.ending.load(Ordering::Acquire) != 0 {
            wait();
        }
    }
}

/// Says that nothing is being moved any more.
pub(crate) fn end_moving(is_moving: &AtomicU32) {
    // Release pairs with the Acquire in `begin_ending`.
    is_moving.store(0, Ordering::Release);
}

#[cfg(not(loom))]
pub(crate) use slots::{CLOCK, Pins, all, begin_child, is_pinned, own, threads_before};

/// Each thread's slot, in memory.
#[cfg(not(loom))]
mod slots {
    use super::{Clock, Slot};
    use crate::os::process;
    use core::cell::Cell;
    use core::marker::PhantomData;
    use core::ptr;
    use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

    pub(crate) static CLOCK: Clock = Clock::new();

    /// A slot in the list of all. None is ever taken out, so the list is as long as there were threads at once.
    struct Listed {
        slot: Slot,
        next: *const Listed,
        is_taken: AtomicU32,
        /// The number that the system gives the thread that has it, or had it last.
        thread: AtomicU32,
    }

    // SAFETY: the link is written before the slot is listed.
    unsafe impl Sync for Listed {}

    static FIRST: AtomicPtr<Listed> = AtomicPtr::new(ptr::null_mut());

    std::thread_local! {
        static OWN: Cell<Option<&'static Slot>> = const { Cell::new(None) };
        /// So many that nobody gets to the end of them.
        static PINS: Cell<u64> = const { Cell::new(0) };
        static KEEPER: Keeper = const { Keeper(Cell::new(None)) };
    }

    /// Gives a thread's slot to the next one.
    struct Keeper(Cell<Option<&'static Listed>>);

    impl Drop for Keeper {
        fn drop(&mut self) {
            // What a pin keeps that was leaked, or lies in a thread local that goes later, is kept: the slot stays taken.
            if let Some(listed) = self.0.get().filter(|_| PINS.get() == 0) {
                OWN.set(None);
                listed.slot.leave();
                // Release pairs with the Acquire in `take`.
                listed.is_taken.store(0, Ordering::Release);
            }
        }
    }

    /// All slots, as of when the first one is asked for.
    pub(crate) fn all() -> impl Iterator<Item = &'static Slot> {
        listed().map(|listed| &listed.slot)
    }

    fn listed() -> impl Iterator<Item = &'static Listed> {
        // The first one is looked for when the first is asked for: behind the barrier of who looks through them, so that no slot is
        // missed whose thread does not see what was done before it.
        core::iter::once_with(|| FIRST.load(Ordering::Acquire)).flat_map(|first| {
            // SAFETY: listed slots live for ever. Acquire pairs with the exchange in `take`.
            core::iter::successors(unsafe { first.as_ref() }, |listed| unsafe { listed.next.as_ref() })
        })
    }

    /// The threads, by the numbers that the system gives them, that have had a pin since that time or before.
    pub(crate) fn threads_before(time: u64) -> Vec<u32> {
        let is_older = |listed: &&'static Listed| listed.slot.shows().is_some_and(|shown| shown <= time);
        // Relaxed: for a person to read.
        listed().filter(is_older).map(|listed| listed.thread.load(Ordering::Relaxed)).collect()
    }

    /// The calling thread's slot.
    #[inline(always)]
    pub(crate) fn own() -> &'static Slot {
        match OWN.get() {
            Some(slot) => slot,
            None => take(),
        }
    }

    #[cold]
    #[inline(never)]
    fn take() -> &'static Slot {
        // Acquire pairs with the Release in `Keeper`.
        let is_free = |listed: &&'static Listed| {
            listed.is_taken.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_ok()
        };
        let thread = process::thread_id();
        let taken = listed().find(is_free).unwrap_or_else(|| {
            let mut new = Box::new(Listed {
                slot: Slot::new(),
                next: ptr::null(),
                is_taken: AtomicU32::new(1),
                thread: AtomicU32::new(thread),
            });
            let mut first = FIRST.load(Ordering::Relaxed);
            loop {
                new.next = first;
                let raw = Box::into_raw(new);
                // Release: whoever finds the slot finds it whole.
                match FIRST.compare_exchange(first, raw, Ordering::Release, Ordering::Relaxed) {
                    // SAFETY: never freed.
                    Ok(_) => return unsafe { &*raw },
                    // SAFETY: nobody has seen it.
                    Err(found) => (first, new) = (found, unsafe { Box::from_raw(raw) }),
                }
            }
        });
        taken.thread.store(thread, Ordering::Relaxed);
        OWN.set(Some(&taken.slot));
        // In a destructor of another thread local the keeper may be gone; then the slot stays taken, and empty.
        let _ = KEEPER.try_with(|keeper| keeper.0.set(Some(taken)));
        &taken.slot
    }

    /// The other threads are not in this process, nor are their pins.
    pub(crate) fn begin_child() {
        let own = OWN.get().map(ptr::from_ref);
        for listed in listed().filter(|listed| own != Some(&raw const listed.slot)) {
            listed.slot.leave();
            listed.slot.leave_ending();
            listed.is_taken.store(0, Ordering::Release);
        }
    }

    /// Whether the calling thread has a pin.
    pub(crate) fn is_pinned() -> bool {
        PINS.get() > 0
    }

    /// One pin of the calling thread; there may be others.
    #[derive(Debug)]
    pub(crate) struct Pins {
        /// It must end on the thread on which it began.
        not_send: PhantomData<*const ()>,
    }

    impl Pins {
        #[inline(always)]
        pub(crate) fn begin() -> Self {
            let pins = PINS.get();
            if pins == 0 {
                own().enter(&CLOCK);
            }
            PINS.set(pins + 1);
            Self { not_send: PhantomData }
        }
    }

    impl Drop for Pins {
        #[inline(always)]
        fn drop(&mut self) {
            let pins = PINS.get();
            PINS.set(pins.saturating_sub(1));
            if pins == 1 {
                own().leave();
            }
        }
    }
}

#[cfg(all(test, loom))]
mod loom_models {
    use super::*;
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;
    use loom::thread;

    struct World {
        clock: Clock,
        slots: [Slot; 2],
        /// 0 or 1: which of the two objects is reachable.
        reachable: AtomicU32,
        objects: [UnsafeCell<u32>; 2],
        is_moving: AtomicU32,
    }

    impl World {
        fn new() -> Arc<Self> {
            Arc::new(Self {
                clock: Clock::new(),
                slots: [Slot::new(), Slot::new()],
                reachable: AtomicU32::new(0),
                objects: [UnsafeCell::new(7), UnsafeCell::new(7)],
                is_moving: AtomicU32::new(0),
            })
        }

        fn read(&self, slot: usize) {
            self.slots[slot].enter(&self.clock);
            let which = self.reachable.load(Ordering::Acquire) as usize;
            // SAFETY: that is what loom checks here.
            self.objects[which].with(|object| assert_eq!(unsafe { *object }, 7));
            self.slots[slot].leave();
        }

        fn replace_and_destroy(&self) {
            self.reachable.store(1, Ordering::Release);
            let time = self.clock.advance();
            while oldest(self.slots.iter()).is_some_and(|oldest| oldest <= time) {
                thread::yield_now();
            }
            // SAFETY: that is what loom checks here.
            self.objects[0].with_mut(|object| unsafe { *object = 0 });
        }
    }

    #[test]
    fn nobody_sees_what_is_destroyed_when_the_pins_of_before_are_gone() {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(|| {
            let world = World::new();
            let readers: Vec<_> = (0..2)
                .map(|slot| {
                    let world = Arc::clone(&world);
                    thread::spawn(move || {
                        world.read(slot);
                    })
                })
                .collect();
            world.replace_and_destroy();
            for reader in readers {
                reader.join().unwrap();
            }
        });
    }

    #[test]
    fn a_thread_that_pins_again_is_waited_for_only_if_it_may_see_the_old() {
        loom::model(|| {
            let world = World::new();
            let other = Arc::clone(&world);
            let reader = thread::spawn(move || {
                other.read(0);
                other.read(0);
            });
            world.replace_and_destroy();
            reader.join().unwrap();
        });
    }

    #[test]
    fn who_ends_an_object_without_the_lock_is_waited_for_by_who_moves() {
        loom::model(|| {
            let world = World::new();
            let other = Arc::clone(&world);
            let ends = thread::spawn(move || {
                if !other.slots[0].begin_ending(&other.is_moving) {
                    // SAFETY: that is what loom checks here.
                    other.objects[0].with_mut(|object| unsafe { *object = 1 });
                }
                other.slots[0].leave_ending();
            });
            begin_moving(&world.is_moving, world.slots.iter(), thread::yield_now);
            // SAFETY: that is what loom checks here.
            world.objects[0].with_mut(|object| unsafe { *object = 2 });
            end_moving(&world.is_moving);
            ends.join().unwrap();
        });
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_pin_within_another_keeps_its_time_and_the_last_one_ends_it() {
        let time = || own().shows();
        assert_eq!(time(), None);
        let outer = Pins::begin();
        let first = time();
        assert!(first.is_some());
        CLOCK.advance();
        let inner = Pins::begin();
        assert_eq!(time(), first);
        drop(outer);
        assert_eq!(time(), first);
        drop(inner);
        assert_eq!(time(), None);
    }

    #[test]
    fn what_was_taken_away_before_a_pin_began_does_not_wait_for_it() {
        let slots = [Slot::new(), Slot::new()];
        let clock = Clock::new();
        slots[0].enter(&clock);
        let before = clock.advance();
        slots[1].enter(&clock);
        assert_eq!(oldest(slots.iter()), Some(before));
        slots[0].leave();
        assert!(oldest(slots.iter()).is_some_and(|oldest| oldest > before));
        slots[1].leave();
        assert_eq!(oldest(slots.iter()), None);
    }

    #[test]
    fn the_slot_of_a_thread_that_ended_is_had_by_another() {
        let of_thread = || std::thread::spawn(|| core::ptr::from_ref(own()).addr()).join().unwrap();
        let used: std::collections::HashSet<usize> = (0..50).map(|_| of_thread()).collect();
        // Other tests of this process may take some meanwhile.
        assert!(used.len() < 25, "{}", used.len());
    }
}

//! Moving an object while it is read, replaced and dropped.
//!
//! Who moves an object copies it, and then leads its entry to the copy by one exchange, which fails if the entry leads elsewhere by then.
//! What is left to be seen to is that the entry is still one: its memory is used for something else as soon as its last handle is gone.
//! So who drops the last handle ends the object before it frees the entry, and does so under a lock if objects are being moved; under the
//! same lock an object is found not to have ended, and moved. While nothing is moved there is no lock: a thread says that it is
//! about to end an object, and who begins to move waits for that ([`pin`](super::pin)).
//!
//! # Invariants
//! - **M1** An object ends once: by who replaces it, by who drops its entry's last handle, or by who moves it.
//! - **M2** Between [`Moving::begin`] and [`Moving::end`] no last handle's object ends but under the lock.
//! - **M3** An entry's memory is freed after its object has ended.

use super::pin::{self, Slot};
use crate::os::lock::Lock;
use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// Where an object's value lies: what leads to it. Sixteen bytes, since no block is smaller.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Entry {
    location: AtomicU64,
    /// Where the value was at the last durable commit, if it has been led elsewhere since ([`Former`]).
    former: AtomicU64,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Entry>() == 16 && core::mem::offset_of!(Entry, location) == 0);
#[cfg(not(loom))]
const _: () = assert!(core::mem::offset_of!(Entry, former) == 8);

/// Where a value was at the last durable commit of a heap whose file changes at any moment, and in which of the heap's runs, from 1 on,
/// it was led elsewhere since. What an earlier run has left says nothing, and nor does zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Former(u64);

impl Former {
    /// Bits of an address.
    const ADDRESS: u32 = 47;
    /// The last run that can be told from others.
    pub(crate) const LAST_RUN: u32 = (1 << (64 - Self::ADDRESS)) - 1;

    /// What a word of an entry says.
    pub(crate) const fn of_word(word: u64) -> Self {
        Self(word)
    }

    const fn new(location: u64, run: u32) -> Self {
        Self(location & ((1 << Self::ADDRESS) - 1) | (run as u64) << Self::ADDRESS)
    }

    /// The location, if the value was led elsewhere in that run.
    pub(crate) const fn in_run(self, run: u32) -> Option<u64> {
        if run != 0 && self.0 >> Self::ADDRESS == run as u64 { Some(self.0 & ((1 << Self::ADDRESS) - 1)) } else { None }
    }
}

impl Entry {
    /// Leads to the value at an address.
    pub(crate) fn new(location: usize) -> Self {
        Self { location: AtomicU64::new(location as u64), former: AtomicU64::new(0) }
    }

    /// The address of the value. To be followed by who has a pin, or the entry's only handle.
    #[inline(always)]
    pub(crate) fn location(&self) -> usize {
        // Acquire pairs with the Release of who has put it there: the value is seen whole.
        self.location.load(Ordering::Acquire) as usize
    }

    /// Leads to another object from now on; returns where the value was that it led to.
    #[inline]
    pub(crate) fn replace(&self, location: usize) -> usize {
        // AcqRel: as in `location`, and the old one is seen whole by who drops it.
        self.location.swap(location as u64, Ordering::AcqRel) as usize
    }

    /// Leads to another object, if it still leads to that one.
    #[inline]
    pub(crate) fn replace_if(&self, from: usize, to: usize) -> bool {
        // AcqRel: as in `replace`.
        self.location.compare_exchange(from as u64, to as u64, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Notes where the value is, before it is led elsewhere in a heap that goes back to its last durable commit; true if that has not been
    /// noted since. Both words lie in one line of memory, and this one is written first: so whatever the disk gets of it has the
    /// place of the commit.
    ///
    /// To be called in a write session of the heap, in that run, until [`Entry::settle_former`] has been for the last commit.
    pub(crate) fn keep_former(&self, run: u32) -> bool {
        // Acquire pairs with the Release in `settle_former`: who finds that a commit was settled finds the place of it, or a later one.
        let before = self.former.load(Ordering::Acquire);
        if Former(before).in_run(run).is_some() {
            return false;
        }
        let former = Former::new(self.location.load(Ordering::Acquire), run);
        // Release: whoever sees the value led elsewhere sees this. Another one may have been first.
        self.former.compare_exchange(before, former.0, Ordering::Release, Ordering::Relaxed).is_ok()
    }

    /// A commit is durable in which the value was at `location`, and before which it had been led elsewhere: whether it has been
    /// once more since, as far as that is noted.
    pub(crate) fn settle_former(&self, location: usize, run: u32) -> bool {
        let is_elsewhere = self.location() != location;
        let former = if is_elsewhere { Former::new(location as u64, run).0 } else { 0 };
        // Release: as above. Nobody else writes it: it says that the place has been noted.
        self.former.store(former, Ordering::Release);
        is_elsewhere
    }
}

/// Whether objects are being moved, by one thread at a time.
#[derive(Debug)]
pub(crate) struct Moving {
    is_moving: AtomicU32,
    pub(crate) lock: Lock,
}

/// In all heaps.
#[cfg(not(loom))]
pub(crate) static MOVING: Moving = Moving { is_moving: AtomicU32::new(0), lock: Lock::new() };

impl Moving {
    /// From now on last handles go under the lock.
    pub(crate) fn begin<'a>(&self, slots: impl Iterator<Item = &'a Slot>, wait: impl Fn()) {
        pin::begin_moving(&self.is_moving, slots, wait);
    }

    /// They need not any more.
    pub(crate) fn end(&self) {
        pin::end_moving(&self.is_moving);
    }

    /// The last handle of an entry is gone: `note_ended` notes that the object has ended whose value lies where it is told. Returns
    /// that place.
    #[inline(always)]
    pub(crate) fn end_last(&self, slot: &Slot, entry: &Entry, note_ended: impl Fn(usize)) -> usize {
        if slot.begin_ending(&self.is_moving) {
            slot.leave_ending();
            let _guard = self.lock.lock();
            let location = entry.location();
            note_ended(location);
            return location;
        }
        let location = entry.location();
        note_ended(location);
        slot.leave_ending();
        location
    }

    /// Moves an object between [`Moving::begin`] and [`Moving::end`]. `find` says which entry leads to it, where its value lies and where it
    /// would lie, unless it has ended; `copy` copies it, and is told of the entry, and `note` notes that the copy has begun and the object ended. Whether it was moved.
    pub(crate) fn try_move<'e>(
        &self,
        find: impl FnOnce() -> Option<(&'e Entry, usize, usize)>,
        copy: impl FnOnce(&Entry),
        note: impl FnOnce(),
    ) -> bool {
        // M2: what has not ended now does not before the lock is given back, but by being replaced, and then the exchange fails.
        let _guard = self.lock.lock();
        let Some((entry, from, to)) = find() else { return false };
        if entry.location() != from {
            return false;
        }
        copy(entry);
        let is_moved = entry.replace_if(from, to);
        if is_moved {
            note();
        }
        is_moved
    }
}

#[cfg(all(test, loom))]
mod loom_models {
    use super::*;
    use crate::handle::pin::{Clock, oldest};
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;
    use loom::thread;

    /// An entry with two handles, three places for its object, of which the first has it, and two threads beside the one that moves.
    struct World {
        moving: Moving,
        clock: Clock,
        slots: [Slot; 3],
        handles: AtomicU32,
        entry: UnsafeCell<Option<Entry>>,
        places: [UnsafeCell<u32>; 3],
        begun: AtomicU32,
        ended: AtomicU32,
    }

    impl World {
        fn new(handles: u32) -> Arc<Self> {
            Arc::new(Self {
                moving: Moving { is_moving: AtomicU32::new(0), lock: Lock::new() },
                clock: Clock::new(),
                slots: [Slot::new(), Slot::new(), Slot::new()],
                handles: AtomicU32::new(handles),
                entry: UnsafeCell::new(Some(Entry::new(0))),
                places: [7, 0, 0].map(UnsafeCell::new),
                begun: AtomicU32::new(1),
                ended: AtomicU32::new(0),
            })
        }

        fn entry(&self) -> &Entry {
            // SAFETY: loom checks that nobody frees it meanwhile.
            self.entry.with(|entry| unsafe { (*entry).as_ref() }).expect("it is in use")
        }

        fn note_begun(&self, place: usize) {
            self.begun.fetch_or(1 << place, Ordering::Release);
        }

        fn note_ended(&self, place: usize) {
            let before = self.ended.fetch_or(1 << place, Ordering::Release);
            assert_eq!(before >> place & 1, 0, "it ended twice (M1)");
        }

        /// Nobody sees what is at a place any more.
        fn destroy(&self, place: usize) {
            let time = self.clock.advance();
            while oldest(self.slots.iter()).is_some_and(|oldest| oldest <= time) {
                thread::yield_now();
            }
            // SAFETY: that is what loom checks here.
            self.places[place].with_mut(|value| unsafe { *value = 0 });
        }

        fn drop_handle(&self, slot: usize) {
            if self.handles.fetch_sub(1, Ordering::AcqRel) == 1 {
                let place = self.moving.end_last(&self.slots[slot], self.entry(), |place| self.note_ended(place));
                // SAFETY: that is what loom checks here (M3).
                self.entry.with_mut(|entry| unsafe { *entry = None });
                self.destroy(place);
            }
        }

        fn replace(&self, place: usize) {
            // SAFETY: nobody else has the place.
            self.places[place].with_mut(|value| unsafe { *value = 7 });
            self.note_begun(place);
            let old = self.entry().replace(place);
            self.note_ended(old);
            self.destroy(old);
        }

        fn read(&self, slot: usize) {
            self.slots[slot].enter(&self.clock);
            let place = self.entry().location();
            // SAFETY: that is what loom checks here.
            self.places[place].with(|value| assert_eq!(unsafe { *value }, 7));
            self.slots[slot].leave();
        }

        /// Moves what is at the first place to the second.
        fn move_it(&self) -> bool {
            self.moving.begin(self.slots.iter(), thread::yield_now);
            self.slots[2].enter(&self.clock);
            let is_live = || self.begun.load(Ordering::Acquire) & !self.ended.load(Ordering::Acquire) & 1 != 0;
            let is_moved = self.moving.try_move(
                || is_live().then(|| (self.entry(), 0, 1)),
                |_| {
                    // SAFETY: that is what loom checks here.
                    let value = self.places[0].with(|value| unsafe { *value });
                    // SAFETY: nobody else has the place.
                    self.places[1].with_mut(|place| unsafe { *place = value });
                },
                || {
                    self.note_begun(1);
                    self.note_ended(0);
                },
            );
            self.slots[2].leave();
            self.moving.end();
            if is_moved {
                self.destroy(0);
            }
            is_moved
        }

        /// All is gone at the end.
        fn check(&self) {
            assert_eq!(self.begun.load(Ordering::Acquire), self.ended.load(Ordering::Acquire));
        }
    }

    fn model(handles: u32, others: [fn(&World, usize); 2]) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(2);
        builder.check(move || {
            let world = World::new(handles);
            let threads: Vec<_> = (0..2)
                .map(|slot| {
                    let world = Arc::clone(&world);
                    thread::spawn(move || others[slot](&world, slot))
                })
                .collect();
            world.move_it();
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            world.check();
        });
    }

    #[test]
    fn an_object_that_is_moved_replaced_and_dropped_at_once_ends_once_at_each_place() {
        model(
            2,
            [
                |world, slot| {
                    world.replace(2);
                    world.drop_handle(slot);
                },
                |world, slot| world.drop_handle(slot),
            ],
        );
    }

    #[test]
    fn readers_see_a_whole_value_while_it_is_moved_and_dropped() {
        model(
            2,
            [
                |world, slot| {
                    world.read(slot);
                    world.drop_handle(slot);
                },
                |world, slot| world.drop_handle(slot),
            ],
        );
    }

    #[test]
    fn readers_see_a_whole_value_while_it_is_moved_and_replaced() {
        model(
            2,
            [
                |world, slot| {
                    world.read(slot);
                    world.drop_handle(slot);
                },
                |world, slot| {
                    world.replace(2);
                    world.drop_handle(slot);
                },
            ],
        );
    }

    const RUN: u32 = 5;

    /// An entry that a commit has at place 7, and a former one at 3: settled for that commit while two threads lead it elsewhere.
    #[test]
    fn what_an_entry_says_of_its_last_commit_is_listed_or_is_where_it_leads() {
        loom::model(|| {
            let entry = Arc::new(Entry::new(3 * 8));
            assert!(entry.keep_former(RUN));
            entry.replace(7 * 8);
            let threads: Vec<_> = [9, 11]
                .map(|place| {
                    let entry = Arc::clone(&entry);
                    thread::spawn(move || {
                        let is_listed = entry.keep_former(RUN);
                        entry.replace(place * 8);
                        is_listed
                    })
                })
                .into();
            let was_listed = entry.settle_former(7 * 8, RUN);
            let listed = threads.into_iter().map(|thread| thread.join().unwrap()).filter(|&listed| listed).count();
            assert!(listed <= 1, "noted twice");
            let is_listed = was_listed || listed > 0;
            let former = Former(entry.former.load(Ordering::Acquire)).in_run(RUN);
            // The next commit lists the entry, or the next who leads it elsewhere notes the place of that commit.
            assert_eq!(is_listed, former.is_some());
            if !is_listed {
                let committed = entry.location() as u64;
                assert!(entry.keep_former(RUN));
                entry.replace(13 * 8);
                assert_eq!(Former(entry.former.load(Ordering::Acquire)).in_run(RUN), Some(committed));
            }
        });
    }
}

//! Telling a thread that sleeps that there is something to do.
//!
//! One word holds a bit for each kind of event that was told and not yet taken, whether anybody listens, and whether the
//! listener sleeps. Telling costs a load while nobody listens, an atomic "or" while somebody does, and a system call only
//! if the listener sleeps and this is news to it: what it does not want to be woken for it marks as told before it sleeps.
//!
//! # Invariants
//! - **G1** The listener sleeps only while the word is what it last put there, with [`ASLEEP`] and without an event that it
//!   wants; whoever sets such an event finds [`ASLEEP`] and wakes it. So no wake-up is lost.
//! - **G2** Whoever tells that something has changed under a lock does so before it gives the lock back, and the listener
//!   looks under the same lock after it began to listen. So either it sees the change, or it began before: then the one who
//!   tells sees that somebody listens.

use super::futex::{Word, wait_for, wake_one};
use crate::sync::Ordering;
use core::time::Duration;
use std::time::Instant;

/// Nobody listens.
const DEAF: u32 = 1 << 31;
const ASLEEP: u32 = 1 << 30;
/// Bits of events that wake nobody.
pub(crate) const QUIET: u32 = 0xFF << 16;
/// Bits of events that wake the listener.
const LOUD: u32 = (1 << 16) - 1;

/// Events for one listener.
#[derive(Debug)]
pub(crate) struct Signal {
    word: Word,
}

impl Signal {
    #[cfg(not(loom))]
    pub(crate) const fn new() -> Self {
        Self { word: Word::new(DEAF) }
    }

    #[cfg(loom)]
    pub(crate) fn new() -> Self {
        Self { word: Word::new(DEAF) }
    }

    /// Somebody listens from now on, to whom `events` have been told already.
    pub(crate) fn listen(&self, events: u32) {
        // Relaxed: G2.
        self.word.store(events, Ordering::Relaxed);
    }

    /// Nobody listens any more.
    pub(crate) fn deafen(&self) {
        self.word.store(DEAF, Ordering::Relaxed);
    }

    /// Whether somebody listens.
    #[inline]
    pub(crate) fn is_heard(&self) -> bool {
        // Relaxed: G2.
        self.word.load(Ordering::Relaxed) & DEAF == 0
    }

    /// Tells the listener, if there is one.
    #[inline]
    pub(crate) fn tell(&self, events: u32) {
        if self.is_heard() {
            self.tell_listener(events);
        }
    }

    #[cold]
    fn tell_listener(&self, events: u32) {
        // Release pairs with the Acquire in `take`: what came before is seen by who takes the event.
        let before = self.word.fetch_or(events, Ordering::Release);
        if before & ASLEEP != 0 && events & LOUD & !before != 0 {
            // G1
            wake_one(&self.word);
        }
    }

    /// Forgets events that were told, if they were; whether one was.
    pub(crate) fn forget(&self, events: u32) -> bool {
        // Acquire as in `take`.
        self.word.fetch_and(!events, Ordering::Acquire) & events != 0
    }

    /// Whether one of these events was told.
    pub(crate) fn is_told(&self, events: u32) -> bool {
        // Relaxed: who sees it late sees it next time.
        self.word.load(Ordering::Relaxed) & events != 0
    }

    /// Sleeps until an event is told that wakes, other than `ignored` ones, or the time is over; returns what was told of
    /// them, and forgets it. The ignored ones count as told afterwards, until they are forgotten.
    pub(crate) fn wait(&self, ignored: u32, limit: Option<Duration>) -> u32 {
        let until = limit.and_then(|limit| Instant::now().checked_add(limit));
        loop {
            // Relaxed: the exchange below, or `take`, decides.
            let word = self.word.load(Ordering::Relaxed);
            if word & LOUD & !ignored != 0 {
                return self.take(ignored);
            }
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return self.take(ignored);
            }
            let asleep = word | ASLEEP | ignored;
            // Relaxed: nothing is read because of it (G1).
            if self.word.compare_exchange(word, asleep, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                wait_for(&self.word, asleep, left);
            }
        }
    }

    fn take(&self, ignored: u32) -> u32 {
        let wanted = LOUD & !ignored;
        // Acquire pairs with the Release in `tell_listener`.
        self.word.fetch_and(!(wanted | ASLEEP), Ordering::Acquire) & wanted
    }
}

#[cfg(all(test, loom))]
mod loom_models {
    use super::*;
    use loom::sync::atomic::AtomicU32;
    use loom::sync::{Arc, Mutex};
    use loom::thread;

    #[test]
    fn each_event_wakes_the_listener_which_sees_what_came_before_it() {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(2);
        builder.check(|| {
            let shared = Arc::new((Signal::new(), [AtomicU32::new(0), AtomicU32::new(0)]));
            shared.0.listen(0);
            let tellers: Vec<_> = (0..2)
                .map(|index| {
                    let shared = Arc::clone(&shared);
                    thread::spawn(move || {
                        shared.1[index].store(1, Ordering::Relaxed);
                        shared.0.tell(1 << index);
                    })
                })
                .collect();
            let mut told = 0;
            while told != 3 {
                let events = shared.0.wait(0, None);
                assert!(events != 0 && events & told == 0);
                for index in (0..2).filter(|index| events >> index & 1 != 0) {
                    assert_eq!(shared.1[index].load(Ordering::Relaxed), 1);
                }
                told |= events;
            }
            tellers.into_iter().for_each(|teller| teller.join().unwrap());
        });
    }

    #[test]
    fn ignored_and_quiet_events_hide_no_other_one() {
        loom::model(|| {
            let signal = Arc::new(Signal::new());
            signal.listen(0);
            let teller = {
                let signal = Arc::clone(&signal);
                thread::spawn(move || {
                    signal.tell(1 | 1 << 16);
                    signal.tell(2);
                })
            };
            assert_eq!(signal.wait(1, None), 2);
            assert!(signal.is_told(1 << 16));
            assert!(signal.forget(1));
            teller.join().unwrap();
            signal.tell(1);
            assert_eq!(signal.wait(0, None), 1);
        });
    }

    #[test]
    fn what_changes_as_somebody_begins_to_listen_is_seen_or_told() {
        loom::model(|| {
            let shared = Arc::new((Signal::new(), Mutex::new(false)));
            let teller = {
                let shared = Arc::clone(&shared);
                thread::spawn(move || {
                    let mut changed = shared.1.lock().unwrap();
                    *changed = true;
                    shared.0.tell(1);
                })
            };
            shared.0.listen(0);
            let is_seen = *shared.1.lock().unwrap();
            if !is_seen {
                assert_eq!(shared.0.wait(0, None), 1);
            }
            teller.join().unwrap();
        });
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_with_its_time_and_is_not_ended_by_what_is_ignored() {
        let signal = Signal::new();
        signal.tell(1);
        assert!(!signal.is_heard() && !signal.is_told(1), "nobody listens");
        signal.listen(4);
        assert_eq!(signal.wait(0, None), 4);
        signal.tell(1 | 1 << 16);
        assert_eq!(signal.wait(1, Some(Duration::from_millis(1))), 0);
        assert!(signal.is_told(1 << 16) && signal.is_told(1));
        assert_eq!(signal.wait(0, None), 1);
        signal.deafen();
        assert!(!signal.is_heard());
    }

    #[test]
    fn events_from_many_threads_are_all_taken() {
        let signal = Signal::new();
        signal.listen(0);
        std::thread::scope(|scope| {
            for event in 0..4 {
                let signal = &signal;
                scope.spawn(move || signal.tell(1 << event));
            }
            let mut told = 0;
            while told != 15 {
                told |= signal.wait(0, None);
            }
        });
    }
}
